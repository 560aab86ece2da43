/*
 * gst-attention: GstFrameFilter: how late outputs leave.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* Called with the object lock. */
static void
warn_of_rate (GstFrameFilter *self, guint64 look_ahead)
{
  if (self->features.n_features == 0 || self->warned_rate)
    return;
  GST_WARNING_OBJECT (self,
                      "the frame rate is unknown: reporting no latency for a look-ahead of %" G_GUINT64_FORMAT
                      " frames; set frame-rate",
                      look_ahead);
  self->warned_rate = TRUE;
}

void
gst_frame_filter_get_other_rate (GstFrameFilter *self, gint *rate_n, gint *rate_d)
{
  guint32 numerator = 0, denominator = 1;

  if (self->frame_rate_n <= 0)
    attn_layer_frame_rate (self->layer, &numerator, &denominator);
  *rate_n = numerator != 0 ? (gint) numerator : self->frame_rate_n;
  *rate_d = numerator != 0 ? (gint) denominator : self->frame_rate_d;
}

/* How the rows of a line leave. */
typedef struct {
  gint side;                  /* or OUTPUTS */
  guint64 look_ahead, stride; /* in frames */
  gboolean leaves_at_once;
  GstClockTime latency; /* of a side: what is reported */
} Pace;

/* Else one output leaves for each frame, and therefore at least one row: the others are at the end. */
gboolean
gst_frame_filter_side_leaves_at_once (GstFrameFilter *self, guint side)
{
  return self->outputs->leaves_at_once || attn_layer_attention_stride (self->layer, side) != 1;
}

void
gst_frame_filter_note_paces (GstFrameFilter *self)
{
  guint i, n = self->stream != NULL ? self->n_sides : 0;
  GArray *paces = g_array_sized_new (FALSE, FALSE, sizeof (Pace), n), *old;

  for (i = 0; i < n; i++) {
    Pace pace = { .side = (gint) i,
                  .look_ahead = attn_layer_attention_reach_ahead (self->layer, i),
                  .stride = attn_layer_attention_stride (self->layer, i) };

    pace.leaves_at_once = gst_frame_filter_side_leaves_at_once (self, i);
    g_array_append_val (paces, pace);
  }
  GST_OBJECT_LOCK (self);
  old = self->side_paces;
  self->side_paces = paces;
  GST_OBJECT_UNLOCK (self);
  g_array_unref (old);
}

/* The rows that have left after `arrived` frames, in buffers of `n`. */
static guint64
count_left (GstFrameFilter *self, const Pace *pace, guint64 arrived, guint64 n)
{
  guint64 ready = pace->side == OUTPUTS ? attn_layer_ready (self->layer, arrived)
                                        : attn_layer_attention_ready (self->layer, (guint32) pace->side, arrived);

  return pace->leaves_at_once ? ready : ready / n * n;
}

/*
 * The same for chunks, if buffers of `n` begin at multiples of n: then the frames that end a chunk have places in their
 * buffers that repeat. Of the rows that leave with a buffer, the first one is the latest.
 */
static guint64
count_late_frames_of_chunks (GstFrameFilter *self, const Pace *pace, guint64 n, guint64 period)
{
  guint64 end = period / (guint64) gst_util_greatest_common_divisor_int64 ((gint64) period, (gint64) n) * n;
  guint64 begin, left = 0, late = 0;

  for (begin = 0; left * pace->stride < end; begin += n) {
    guint64 leaving = count_left (self, pace, begin + n, n);

    if (leaving > left && begin > left * pace->stride)
      late = MAX (late, begin - left * pace->stride);
    left = leaving;
  }
  return late;
}

/*
 * In frames, where buffers have `n`. Where an output leaves in the buffer of its frame, that leaves with its last
 * frame, when the look-ahead of that one is there. Else the output of frame i stride leaves with the buffer that frame
 * i stride + look_ahead is in: as much later than its own time as that buffer begins later. The buffers begin at
 * multiples of n, unless sizes vary or they have shifted. Then any frame of a chunk can be the last of its buffer, so
 * the longest wait is that of look_ahead frames.
 */
static guint64
count_late_frames (GstFrameFilter *self, const Pace *pace, guint64 n)
{
  guint64 look_ahead = pace->look_ahead, period = attn_layer_period (self->layer);

  if (period > 1 && !self->varying && !self->shifted)
    return count_late_frames_of_chunks (self, pace, n, period);
  if (!pace->leaves_at_once)
    return self->varying ? look_ahead + n - 1 : (look_ahead + n - 1) / n * n;
  return self->varying || self->shifted
             ? look_ahead
             : look_ahead - look_ahead % gst_util_greatest_common_divisor_int64 (n, pace->stride);
}

/* Called with the object lock. */
static GstClockTime
latency_of (GstFrameFilter *self, const Pace *pace)
{
  GstFeatures rate = self->features;

  if (self->frame_rate_n > 0 || rate.rate_n <= 0)
    gst_frame_filter_get_other_rate (self, &rate.rate_n, &rate.rate_d);
  if (pace->look_ahead == 0)
    return 0;
  if (rate.rate_n <= 0) {
    warn_of_rate (self, pace->look_ahead);
    return 0;
  }
  return gst_features_duration (&rate, count_late_frames (self, pace, MAX (self->n_max, 1)));
}

/* Of the layer that there is: the properties may be those of the next one. Called with the object lock. */
static GstClockTime
compute_latency (GstFrameFilter *self)
{
  Pace pace = { .side = OUTPUTS,
                .look_ahead = attn_layer_reach_ahead (self->layer),
                .stride = attn_layer_stride (self->layer),
                .leaves_at_once = self->outputs->leaves_at_once };

  return latency_of (self, &pace);
}

/*
 * A side has the latency of `src`, or its own where that is longer: the buffers that bring all frames of an output need
 * not bring all frames of a row. TRUE: one has grown. Called with the object lock.
 */
static gboolean
update_sides (GstFrameFilter *self)
{
  gboolean grew = FALSE;
  guint i;

  for (i = 0; i < self->side_paces->len; i++) {
    Pace *pace = &g_array_index (self->side_paces, Pace, i);
    GstClockTime latency = MAX (self->latency, latency_of (self, pace));

    grew = grew || latency > pace->latency;
    pace->latency = latency;
  }
  return grew;
}

void
gst_frame_filter_update_latency (GstFrameFilter *self)
{
  GstClockTime latency;
  gboolean grew;

  GST_OBJECT_LOCK (self);
  latency = compute_latency (self);
  grew = latency > self->latency;
  self->latency = latency;
  if (update_sides (self) && self->n_side_pads > 0)
    grew = TRUE;
  GST_OBJECT_UNLOCK (self);
  if (!grew)
    return;
  GST_DEBUG_OBJECT (self, "latency grew to %" GST_TIME_FORMAT, GST_TIME_ARGS (latency));
  gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
}

void
gst_frame_filter_note_buffer_size (GstFrameFilter *self, guint64 n_frames)
{
  if (n_frames == 0 || n_frames == self->n_max || (self->varying && n_frames < self->n_max))
    return;
  GST_OBJECT_LOCK (self);
  self->varying = self->n_max != 0;
  self->n_max = MAX (self->n_max, n_frames);
  GST_OBJECT_UNLOCK (self);
  gst_frame_filter_update_latency (self);
}

void
gst_frame_filter_note_place (GstFrameFilter *self)
{
  if (self->stream == NULL || self->varying || self->shifted
      || attn_stream_next_frame (self->stream) % MAX (self->n_max, 1) == 0)
    return;
  GST_OBJECT_LOCK (self);
  self->shifted = TRUE;
  GST_OBJECT_UNLOCK (self);
  gst_frame_filter_update_latency (self);
}

gboolean
gst_frame_filter_query_latency (GstFrameFilter *self, gint side, GstQuery *query)
{
  GstClockTime own;

  GST_OBJECT_LOCK (self);
  own = self->latency;
  if (side >= 0 && (guint) side < self->side_paces->len)
    own = MAX (own, g_array_index (self->side_paces, Pace, side).latency);
  GST_OBJECT_UNLOCK (self);
  return gst_features_query_latency (GST_BASE_TRANSFORM_SINK_PAD (self), query, own);
}

gboolean
gst_frame_filter_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_frame_filter_query_latency (GST_FRAME_FILTER (trans), OUTPUTS, query);
  return gst_frame_filter_base_class->query (trans, direction, query);
}
