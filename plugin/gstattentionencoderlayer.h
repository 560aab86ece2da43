/*
 * gst-attention: one layer of attention of the element `attentionencoder`, as a child of it: its heads are children of
 * this.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONENCODERLAYER_H
#define PLUGIN_GSTATTENTIONENCODERLAYER_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_ATTENTION_ENCODER_LAYER (gst_attention_encoder_layer_get_type ())
G_DECLARE_FINAL_TYPE (GstAttentionEncoderLayer, gst_attention_encoder_layer, GST, ATTENTION_ENCODER_LAYER, GstObject)

/* Named "layer" and its number, with so many heads. Transfer floating. */
GstAttentionEncoderLayer *gst_attention_encoder_layer_new (guint number, guint n_heads);

/* GstAttentionHeads; they never change. */
GPtrArray *gst_attention_encoder_layer_heads (GstAttentionEncoderLayer *self);

G_END_DECLS

#endif
