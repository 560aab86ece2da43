/*
 * gst-attention: the element `attention`: what each head attends to, on the pad `weights` and on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

/* ---- the pad ---- */

GstPad *
gst_attention_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name, const GstCaps *caps)
{
  return gst_frame_filter_add_side_pad (GST_FRAME_FILTER (element), 0, template, "weights");
}

void
gst_attention_release_pad (GstElement *element, GstPad *pad)
{
  gst_frame_filter_remove_side_pad (GST_FRAME_FILTER (element), pad);
}

static guint64
n_weights (const AttnLayer *layer)
{
  return (guint64) attn_layer_n_heads (layer) * attn_layer_span (layer);
}

gboolean
gst_attention_get_side_width (GstFrameFilter *filter, guint side, guint64 *width)
{
  AttnLayer *layer = filter->layer;

  *width = n_weights (layer);
  if (*width > GST_FEATURES_MAX_FEATURES)
    goto too_wide;
  return TRUE;

  /* ERRORS */
too_wide:
  GST_ELEMENT_ERROR (filter, LIBRARY, SETTINGS,
                     ("%u heads that attend to %u frames have %" G_GUINT64_FORMAT
                      " weights per frame, above the %u that a stream of "
                      "weights may have: do without the pad weights and post-messages, or with a smaller window",
                      attn_layer_n_heads (layer), attn_layer_span (layer), *width, GST_FEATURES_MAX_FEATURES),
                     (NULL));
  return FALSE;
}

GstCaps *
gst_attention_make_side_caps (GstFrameFilter *filter, guint side, GstCaps *caps)
{
  AttnLayer *layer = filter->layer;

  caps = gst_features_replace_n_features (caps, n_weights (layer));
  gst_caps_set_simple (caps, "heads", G_TYPE_INT, attn_layer_n_heads (layer), "sinks", G_TYPE_INT,
                       attn_layer_n_sinks (layer), "window", G_TYPE_INT, attn_layer_window (layer), "look-ahead",
                       G_TYPE_INT, attn_layer_attention (layer, 0)->look_ahead, NULL);
  return caps;
}

/* ---- the bus ---- */

void
gst_attention_side_done (GstFrameFilter *filter, guint side, GstBuffer *buffer, const gfloat *weights, guint64 n_rows)
{
  GstAttention *self = GST_ATTENTION (filter);
  GstClockTime interval;
  gboolean wanted;

  GST_OBJECT_LOCK (self);
  wanted = filter->post_messages;
  interval = filter->interval;
  GST_OBJECT_UNLOCK (self);
  if (!wanted) {
    g_clear_pointer (&self->summary, gst_attention_summary_free);
    return;
  }
  if (self->summary == NULL)
    self->summary = gst_attention_summary_new (filter);
  gst_attention_summary_add (self->summary, buffer, weights, n_rows, interval);
}

void
gst_attention_stream_ended (GstFrameFilter *filter, gboolean drained)
{
  GstAttention *self = GST_ATTENTION (filter);

  if (self->summary != NULL && drained)
    gst_attention_summary_post (self->summary);
  g_clear_pointer (&self->summary, gst_attention_summary_free);
}
