/*
 * gst-attention: what the heads of an attention look at, in a few numbers, on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionsummary.h"

#include <math.h>
#include <string.h>

/* Sums over the frames since the last message. Absent frames, which attend to nothing, do not count. */
struct _GstAttentionSummary {
  GstFrameFilter *filter; /* that posts it */
  guint attention;        /* of its layer */
  guint n_heads, n_sinks, window, look_ahead, span;
  GstClockTime time;  /* of the first frame; NONE: unknown */
  guint64 n_frames;   /* all of them */
  guint64 n_attended; /* those that attended to something */
  gdouble *entropy;   /* [n_heads] */
  gdouble *weights;   /* [n_heads][span] */
};

GstAttentionSummary *
gst_attention_summary_new (GstFrameFilter *filter, guint attention)
{
  const AttnConfig *config = attn_layer_attention (filter->layer, attention);
  GstAttentionSummary *summary = g_new0 (GstAttentionSummary, 1);

  summary->filter = filter;
  summary->attention = attention;
  summary->n_heads = config->n_heads;
  summary->n_sinks = config->n_sinks;
  summary->window = config->window;
  summary->look_ahead = config->look_ahead;
  summary->span = config->n_sinks + config->window + config->look_ahead;
  summary->entropy = g_new0 (gdouble, summary->n_heads);
  summary->weights = g_new0 (gdouble, (gsize) summary->n_heads * summary->span);
  return summary;
}

void
gst_attention_summary_free (GstAttentionSummary *summary)
{
  g_free (summary->entropy);
  g_free (summary->weights);
  g_free (summary);
}

static void
clear (GstAttentionSummary *summary)
{
  memset (summary->entropy, 0, summary->n_heads * sizeof *summary->entropy);
  memset (summary->weights, 0, (gsize) summary->n_heads * summary->span * sizeof *summary->weights);
  summary->n_frames = summary->n_attended = 0;
}

/* One frame's weights [n_heads][span]. */
static void
add_frame (GstAttentionSummary *summary, const gfloat *weights)
{
  gsize i, n = (gsize) summary->n_heads * summary->span;
  gboolean attended = FALSE;

  for (i = 0; i < n; i++) {
    if (weights[i] == 0)
      continue;
    attended = TRUE;
    summary->weights[i] += weights[i];
    summary->entropy[i / summary->span] -= weights[i] * log2 (weights[i]);
  }
  summary->n_attended += attended;
  summary->n_frames++;
}

/* ---- the message ---- */

static gdouble
sum (const gdouble *values, guint n)
{
  gdouble total = 0;

  while (n-- > 0)
    total += *values++;
  return total;
}

/* Of slot `i` of the window: frames back, so negative in the look-ahead. */
static gint
lag_of (const GstAttentionSummary *summary, guint i)
{
  return (gint) summary->window - 1 - (gint) i;
}

/* Of weights [window + look_ahead], whose sum is `total`. */
static gdouble
mean_lag (const GstAttentionSummary *summary, const gdouble *weights, gdouble total)
{
  gdouble moment = 0;
  guint i;

  for (i = 0; i < summary->window + summary->look_ahead; i++)
    moment += weights[i] * lag_of (summary, i);
  return total != 0 ? moment / total : 0;
}

static gint
peak_lag (const GstAttentionSummary *summary, const gdouble *weights)
{
  guint i, peak = summary->window - 1;

  for (i = 0; i < summary->window + summary->look_ahead; i++)
    if (weights[i] > weights[peak])
      peak = i;
  return lag_of (summary, peak);
}

static void
append_double (GValue *array, gdouble number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_DOUBLE);
  g_value_set_double (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

static void
append_int (GValue *array, gint number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_INT);
  g_value_set_int (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

static void
set_heads (const GstAttentionSummary *summary, GstStructure *structure)
{
  GValue entropies = G_VALUE_INIT, means = G_VALUE_INIT, peaks = G_VALUE_INIT, sinks = G_VALUE_INIT;
  gdouble n = MAX (summary->n_attended, 1);
  guint head;

  gst_value_array_init (&entropies, summary->n_heads);
  gst_value_array_init (&means, summary->n_heads);
  gst_value_array_init (&peaks, summary->n_heads);
  gst_value_array_init (&sinks, summary->n_heads);
  for (head = 0; head < summary->n_heads; head++) {
    const gdouble *of_sinks = summary->weights + (gsize) head * summary->span;
    const gdouble *of_window = of_sinks + summary->n_sinks;
    gdouble total = sum (of_window, summary->window + summary->look_ahead);

    append_double (&entropies, summary->entropy[head] / n);
    append_double (&means, mean_lag (summary, of_window, total));
    append_int (&peaks, peak_lag (summary, of_window));
    append_double (&sinks, sum (of_sinks, summary->n_sinks) / n);
  }
  gst_structure_take_value (structure, "entropy", &entropies);
  gst_structure_take_value (structure, "mean-lag", &means);
  gst_structure_take_value (structure, "peak-lag", &peaks);
  gst_structure_take_value (structure, "sink-weight", &sinks);
}

/* The time of `n` frames of the attention, which come at a rate of their own. */
static GstClockTime
duration_of (const GstAttentionSummary *summary, guint64 n)
{
  guint64 stride = attn_layer_attention_stride (summary->filter->layer, summary->attention);

  return gst_features_duration (&summary->filter->features, n * stride);
}

/* The fields of time are those of the element level. */
static GstStructure *
make_message (const GstAttentionSummary *summary)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (summary->filter)->segment;
  GstClockTime duration = duration_of (summary, summary->n_frames);
  GstClockTime time = summary->time, running_time = GST_CLOCK_TIME_NONE, stream_time = GST_CLOCK_TIME_NONE;
  GstClockTime end = GST_CLOCK_TIME_NONE;

  if (GST_CLOCK_TIME_IS_VALID (time) && segment->format == GST_FORMAT_TIME) {
    running_time = gst_segment_to_running_time (segment, GST_FORMAT_TIME, time);
    stream_time = gst_segment_to_stream_time (segment, GST_FORMAT_TIME, time);
    if (GST_CLOCK_TIME_IS_VALID (duration))
      end = gst_segment_to_running_time (segment, GST_FORMAT_TIME, time + duration);
  }
  return gst_structure_new ("attention", "endtime", GST_TYPE_CLOCK_TIME, end, "timestamp", G_TYPE_UINT64, time,
                            "stream-time", G_TYPE_UINT64, stream_time, "running-time", G_TYPE_UINT64, running_time,
                            "duration", G_TYPE_UINT64, duration, "frames", G_TYPE_UINT64, summary->n_attended, NULL);
}

void
gst_attention_summary_post (GstAttentionSummary *summary)
{
  GstStructure *structure;

  if (summary->n_frames == 0)
    return;
  structure = make_message (summary);
  set_heads (summary, structure);
  if (GST_FRAME_FILTER_GET_CLASS (summary->filter)->has_chains) /* there may be many */
    gst_structure_set (structure, "layer", G_TYPE_UINT, summary->attention, NULL);
  gst_element_post_message (GST_ELEMENT (summary->filter),
                            gst_message_new_element (GST_OBJECT (summary->filter), structure));
  clear (summary);
}

/* ---- when ---- */

/* The frames of a message; 0: the rate is unknown, and each buffer gives one. */
static guint64
frames_per_message (const GstAttentionSummary *summary, GstClockTime interval)
{
  const GstFeatures *features = &summary->filter->features;
  guint64 stride = attn_layer_attention_stride (summary->filter->layer, summary->attention), second;

  if (features->rate_n <= 0)
    return 0;
  second = gst_util_uint64_scale (GST_SECOND * (guint64) features->rate_d, stride, 1);
  return MAX (gst_util_uint64_scale_round (interval, features->rate_n, second), 1);
}

static GstClockTime
frame_time (const GstAttentionSummary *summary, GstBuffer *buffer, guint64 i)
{
  GstClockTime offset = duration_of (summary, i);

  if (!GST_BUFFER_PTS_IS_VALID (buffer))
    return GST_CLOCK_TIME_NONE;
  return GST_BUFFER_PTS (buffer) + (GST_CLOCK_TIME_IS_VALID (offset) ? offset : 0);
}

void
gst_attention_summary_add (GstAttentionSummary *summary, GstBuffer *buffer, const gfloat *weights, guint64 n_frames,
                           GstClockTime interval)
{
  gsize n_weights = (gsize) summary->n_heads * summary->span;
  guint64 i, limit = frames_per_message (summary, interval);

  for (i = 0; i < n_frames; i++) {
    if (summary->n_frames == 0)
      summary->time = frame_time (summary, buffer, i);
    add_frame (summary, weights + i * n_weights);
    if (limit != 0 ? summary->n_frames >= limit : i + 1 == n_frames)
      gst_attention_summary_post (summary);
  }
}
