/*
 * gst-attention: what each head attends to, on pads and on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionweights.h"

#include "gstattentionsummary.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

/* ---- pads ---- */

static guint64
span_of (const AttnConfig *config)
{
  return (guint64) config->n_sinks + config->window + config->look_ahead;
}

gboolean
gst_attention_weights_get_side_width (GstFrameFilter *filter, guint side, guint64 *width)
{
  const AttnConfig *config = attn_layer_attention (filter->layer, side);

  *width = config->n_heads * span_of (config);
  if (*width > GST_FEATURES_MAX_FEATURES)
    goto too_wide;
  return TRUE;

  /* ERRORS */
too_wide:
  GST_ELEMENT_ERROR (filter, LIBRARY, SETTINGS,
                     ("%u heads that attend to %" G_GUINT64_FORMAT " frames have %" G_GUINT64_FORMAT
                      " weights per frame, above the %u that a stream of "
                      "weights may have: do without the pad weights and post-messages, or with a smaller window",
                      config->n_heads, span_of (config), *width, GST_FEATURES_MAX_FEATURES),
                     ("attention %u of the layer", side));
  return FALSE;
}

/* Those of the frames that come to the attention. That is a whole number in audio/x-raw: its stride divides that of `src`. */
static void
set_rate (GstFrameFilter *filter, GstCaps *caps, guint64 stride)
{
  const GstFeatures *features = &filter->features;
  gint rate_n, rate_d;

  if (!gst_util_fraction_multiply (features->rate_n, features->rate_d, 1, (gint) stride, &rate_n, &rate_d))
    return; /* as `src`, whose stride is no shorter, says of itself */
  if (gst_structure_has_name (gst_caps_get_structure (caps, 0), "audio/x-raw"))
    gst_caps_set_simple (caps, "rate", G_TYPE_INT, rate_n / rate_d, NULL);
  else
    gst_caps_set_simple (caps, "framerate", GST_TYPE_FRACTION, rate_n, rate_d, NULL);
}

/* Where rows leave by themselves, each has a buffer of its own in other/tensors. */
static GstCaps *
set_pace (GstFrameFilter *filter, guint side, GstCaps *caps)
{
  GstCaps *result;

  if (!GST_FRAME_FILTER_GET_CLASS (filter)->has_chains)
    return caps;
  result = gst_features_set_frames_per_buffer (caps, 1);
  gst_caps_unref (caps);
  set_rate (filter, result, attn_layer_attention_stride (filter->layer, side));
  return result;
}

GstCaps *
gst_attention_weights_make_side_caps (GstFrameFilter *filter, guint side, GstCaps *caps)
{
  const AttnConfig *config = attn_layer_attention (filter->layer, side);

  caps = gst_features_replace_n_features (caps, config->n_heads * span_of (config));
  caps = set_pace (filter, side, caps);
  gst_caps_set_simple (caps, "heads", G_TYPE_INT, config->n_heads, "sinks", G_TYPE_INT, config->n_sinks, "window",
                       G_TYPE_INT, config->window, "look-ahead", G_TYPE_INT, config->look_ahead, NULL);
  return caps;
}

/* ---- the bus ---- */

static GstAttentionSummary **
summary_of (GstFrameFilter *filter, guint side)
{
  if (side >= filter->summaries->len)
    g_ptr_array_set_size (filter->summaries, side + 1);
  return (GstAttentionSummary **) &g_ptr_array_index (filter->summaries, side);
}

void
gst_attention_weights_side_done (GstFrameFilter *filter, guint side, GstBuffer *buffer, const gfloat *weights,
                                 guint64 n_rows)
{
  GstAttentionSummary **summary = summary_of (filter, side);
  GstClockTime interval;
  gboolean wanted;

  GST_OBJECT_LOCK (filter);
  wanted = filter->post_messages;
  interval = filter->interval;
  GST_OBJECT_UNLOCK (filter);
  if (!wanted) {
    g_clear_pointer (summary, gst_attention_summary_free);
    return;
  }
  if (*summary == NULL)
    *summary = gst_attention_summary_new (filter, side);
  gst_attention_summary_add (*summary, buffer, weights, n_rows, interval);
}

void
gst_attention_weights_end (GstFrameFilter *filter, gboolean drained)
{
  guint i;

  for (i = 0; i < filter->summaries->len; i++) {
    GstAttentionSummary **summary = summary_of (filter, i);

    if (*summary != NULL && drained)
      gst_attention_summary_post (*summary);
    g_clear_pointer (summary, gst_attention_summary_free);
  }
}
