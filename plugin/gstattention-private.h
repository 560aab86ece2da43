/*
 * gst-attention: the inside of the element `attention`, for the files that it is made of, each of which knows those
 * below alone; what it shares with elements of its kind is GstFrameFilter:
 *   gstattention.c            the object, its layer and its heads
 *   gstattentionproperties.c  properties
 *   gstattentionweights.c     what each head attends to, on the pad `weights`
 *   gstattentionsummary.c     the same in a few numbers, on the bus
 *   gstattentionhead.c        the heads, children of the element
 *   gstattentionlayers.c      layers, shared between elements
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTION_PRIVATE_H
#define PLUGIN_GSTATTENTION_PRIVATE_H

#include "gstattention.h"
#include "gstattentionhead.h"
#include "gstattentionsummary.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

struct _GstAttention {
  GstFrameFilter parent;

  /* Properties; the object lock. */
  AttnConfig config;    /* what was set; all else is unset */
  AttnConfig in_effect; /* what the unset ones are, as far as is known */
  gchar *model_prefix;
  GPtrArray *heads; /* GstAttentionHeads, n_heads of them */

  /* The streaming thread's. */
  GPtrArray *layer_heads;       /* those of `heads` that the layer was made with */
  guint n_gain_changes;         /* as there were when the stream last read them */
  GstAttentionSummary *summary; /* NULL: nothing to be posted yet */
};

/* ---- gstattentionproperties.c ---- */

/*
 * What properties that nobody set are from now on (those of `config` that were set count as they are), and as many
 * children as there are heads. Notifies of what changes. Called without locks.
 */
void gst_attention_set_in_effect (GstAttention *self, const AttnConfig *config);

gchar *gst_attention_dup_prefix (GstAttention *self);
void gst_attention_install_properties (GObjectClass *object_class);
void gst_attention_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_attention_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/* ---- gstattentionweights.c ---- */

/* Of GstElementClass. */
GstPad *gst_attention_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name,
                                       const GstCaps *caps);
void gst_attention_release_pad (GstElement *element, GstPad *pad);

/* Of GstFrameFilterClass. */
void gst_attention_stream_ended (GstFrameFilter *filter, gboolean drained);
gboolean gst_attention_get_side_width (GstFrameFilter *filter, guint side, guint64 *width);
GstCaps *gst_attention_make_side_caps (GstFrameFilter *filter, guint side, GstCaps *caps);
void gst_attention_side_done (GstFrameFilter *filter, guint side, GstBuffer *buffer, const gfloat *weights,
                              guint64 n_frames);

#endif
