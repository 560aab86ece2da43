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

/*
 * In frames, where buffers have `n`. Where an output leaves in the buffer of its frame, that leaves with its last
 * frame, when the look-ahead of that one is there. Else the output of frame i stride leaves with the buffer that frame
 * i stride + look_ahead is in: as much later than its own time as that buffer begins later. The buffers begin at
 * multiples of n, unless sizes vary.
 */
static guint64
count_late_frames (GstFrameFilter *self, guint64 look_ahead, guint64 n)
{
  if (!self->outputs->leaves_at_once)
    return self->varying ? look_ahead + n - 1 : (look_ahead + n - 1) / n * n;
  return self->varying
             ? look_ahead
             : look_ahead - look_ahead % gst_util_greatest_common_divisor_int64 (n, attn_layer_stride (self->layer));
}

/* Of the layer that there is: the properties may be those of the next one. Called with the object lock. */
static GstClockTime
compute_latency (GstFrameFilter *self)
{
  guint64 look_ahead = attn_layer_reach_ahead (self->layer), n = MAX (self->n_max, 1);
  GstFeatures rate = self->features;

  if (self->frame_rate_n > 0 || rate.rate_n <= 0)
    gst_frame_filter_get_other_rate (self, &rate.rate_n, &rate.rate_d);
  if (look_ahead == 0)
    return 0;
  if (rate.rate_n <= 0) {
    warn_of_rate (self, look_ahead);
    return 0;
  }
  return gst_features_duration (&rate, count_late_frames (self, look_ahead, n));
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

/* Buffers no longer begin where they did. */
void
gst_frame_filter_note_absent_frames (GstFrameFilter *self, guint64 n_frames)
{
  if (!self->outputs->leaves_at_once || self->varying || n_frames % MAX (self->n_max, 1) == 0)
    return;
  GST_OBJECT_LOCK (self);
  self->varying = TRUE;
  GST_OBJECT_UNLOCK (self);
  gst_frame_filter_update_latency (self);
}

gboolean
gst_frame_filter_query_latency (GstFrameFilter *self, GstQuery *query)
{
  GstClockTime own;

  GST_OBJECT_LOCK (self);
  own = self->latency;
  GST_OBJECT_UNLOCK (self);
  return gst_features_query_latency (GST_BASE_TRANSFORM_SINK_PAD (self), query, own);
}

gboolean
gst_frame_filter_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_frame_filter_query_latency (GST_FRAME_FILTER (trans), query);
  return gst_frame_filter_base_class->query (trans, direction, query);
}
