/*
 * gst-attention: the inside of the element `attention`, for the files that it is made of, each of which knows those
 * below alone; what it shares with elements of its kind is GstFrameFilter:
 *   gstattention.c            the object, its layer and its heads
 *   gstattentionproperties.c  properties
 * and, with `attentionencoder`:
 *   gstattentionweights.c     the weights of each head, on the pads of sides
 *   gstattentionsummary.c     the same in a few numbers, on the bus
 *   gstattentiongains.c       gains of heads, on their way to the core
 *   gstattentionhead.c        the heads, children of the element
 *   gstattentionlayers.c      layers, shared between elements
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTION_PRIVATE_H
#define PLUGIN_GSTATTENTION_PRIVATE_H

#include "gstattention.h"
#include "gstattentiongains.h"
#include "gstattentionhead.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

struct _GstAttention {
  GstFrameFilter parent;

  /* Properties; the object lock. */
  AttnConfig config;    /* the values that were set; all else is unset */
  AttnConfig in_effect; /* the values of the unset ones, as far as is known */
  gchar *model_prefix;
  GPtrArray *heads; /* GstAttentionHeads, n_heads of them */

  GstAttentionGains *gains; /* of those of `heads` that the layer was made with; the streaming thread's */
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

#endif
