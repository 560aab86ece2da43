/*
 * gst-attention: the attention weights of each head, on pads and on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionweights.h"

#include "gstattentionsummary.h"
#include "gstfrontend.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

/* ---- pads ---- */

static guint64
span_of (const AttnConfig *config)
{
  return (guint64) config->n_sinks + config->window + config->look_ahead;
}

static gboolean
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
                      "weights may have: leave out the pad weights and post-messages, or use a smaller window",
                      config->n_heads, span_of (config), *width, GST_FEATURES_MAX_FEATURES),
                     ("attention %u of the layer", side));
  return FALSE;
}

/*
 * Where rows leave by themselves, at the rate of the frames that come to the attention: by the rule for all that we
 * make, and in other/tensors each in a buffer of its own.
 */
static GstCaps *
make_caps_at_rate (GstFrameFilter *filter, GstCaps *caps, guint width, guint64 stride)
{
  const GstFeatures *features = &filter->features;
  GstCaps *wide, *result;
  gint rate_n, rate_d;

  if (!gst_util_fraction_multiply (features->rate_n, features->rate_d, 1, (gint) stride, &rate_n, &rate_d))
    g_assert_not_reached (); /* `src`, whose stride is a multiple of this one, has such a rate */
  if (!features->is_tensors)
    return gst_features_to_caps (width, rate_n, rate_d, 1);
  wide = gst_features_replace_n_features (caps, width);
  result = gst_features_set_frames_per_buffer (wide, 1);
  gst_caps_set_simple (result, "framerate", GST_TYPE_FRACTION, rate_n, rate_d, NULL);
  gst_caps_unref (wide);
  return result;
}

/* Weights are not log-mel frames: the fields of the front end go, but for the sample rate of the sound. */
static GstCaps *
gst_attention_weights_make_side_caps (GstFrameFilter *filter, guint side, GstCaps *caps)
{
  const AttnConfig *config = attn_layer_attention (filter->layer, side);
  guint width = config->n_heads * span_of (config);

  if (gst_frame_filter_side_leaves_at_once (filter, side))
    caps = make_caps_at_rate (filter, caps, width, attn_layer_attention_stride (filter->layer, side));
  else
    caps = gst_features_replace_n_features (caps, width);
  caps = gst_front_end_remove (caps);
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

static void
gst_attention_weights_side_done (GstFrameFilter *filter, guint side, GstBuffer *buffer, const gfloat *weights,
                                 guint64 n_rows)
{
  GstAttentionSummary **summary = summary_of (filter, side);
  GstClockTime interval;
  gboolean wanted;

  GST_OBJECT_LOCK (filter);
  wanted = filter->post_messages && buffer != NULL;
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

/* Posts the rest of the numbers, if the stream was drained, or else forgets it. */
static void
gst_attention_weights_stream_ended (GstFrameFilter *filter, gboolean drained)
{
  guint i;

  for (i = 0; i < filter->summaries->len; i++) {
    GstAttentionSummary **summary = summary_of (filter, i);

    if (*summary != NULL && drained)
      gst_attention_summary_post (*summary);
    g_clear_pointer (summary, gst_attention_summary_free);
  }
}

/* ---- the class ---- */

void
gst_attention_weights_set_functions (GstFrameFilterClass *filter_class)
{
  filter_class->stream_ended = GST_DEBUG_FUNCPTR (gst_attention_weights_stream_ended);
  filter_class->get_side_width = GST_DEBUG_FUNCPTR (gst_attention_weights_get_side_width);
  filter_class->make_side_caps = GST_DEBUG_FUNCPTR (gst_attention_weights_make_side_caps);
  filter_class->side_done = GST_DEBUG_FUNCPTR (gst_attention_weights_side_done);
}
