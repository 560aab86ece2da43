/*
 * gst-attention: the inside of the element `attentionencoder`, for the files that it is made of:
 *   gstattentionencoder.c       the object, its layer, pads and properties
 *   gstattentionencodergains.c  the layers of attention, children of the element, and the gains of their heads
 *   gstattentionencoderlayer.c  one of these layers
 * What it shares with `attention` is listed in gstattention-private.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONENCODER_PRIVATE_H
#define PLUGIN_GSTATTENTIONENCODER_PRIVATE_H

#include "gstattentionencoder.h"
#include "gstattentionencoderlayer.h"
#include "gstattentiongains.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

struct _GstAttentionEncoder {
  GstFrameFilter parent;

  GPtrArray *layers; /* GstAttentionEncoderLayers, of the file that is set; the object lock */
  AttnLayer *peeked; /* of that file, until start; NULL: none. The same */
  AttnEncoderOptions peeked_options;

  /* Of the layer that runs; the object lock. */
  GstStructure *model; /* empty: none does */
  guint64 latency_frames;

  /* The streaming thread's. */
  GPtrArray *gains; /* GstAttentionGains, of those of `layers` that the layer was made with; NULL: none runs */
};

/* ---- gstattentionencodergains.c ---- */

/* As many children as `layer` has attentions, with as many heads; NULL: none. Called without locks. */
void gst_attention_encoder_set_children (GstAttentionEncoder *self, const AttnLayer *layer);

/* Those that there are are the ones of the layer that runs; or none does. */
void gst_attention_encoder_use_children (GstAttentionEncoder *self, gboolean runs);

/* Of GstFrameFilterClass. */
gboolean gst_attention_encoder_follows_rows (GstFrameFilter *filter, guint side);
void gst_attention_encoder_before_rows (GstFrameFilter *filter, AttnStream *stream, guint64 n, gboolean is_new);

/* Of interfaces. */
void gst_attention_encoder_child_proxy_init (gpointer iface, gpointer data);
void gst_attention_encoder_preset_init (gpointer iface, gpointer data);

#endif
