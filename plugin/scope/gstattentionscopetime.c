/*
 * gst-attention: the element `attentionscope`: its time, from columns to frames of video.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frame n of the video begins n frames after the first column; it is complete, and leaves, when columns have come up to
 * its end. A frame that comes too late leaves a hole; one that comes too early begins anew.
 */
#include "gstattentionscope-private.h"

/* ---- time ---- */

/* When frame `n` of the video begins, relative. */
static GstClockTime
frame_begin (GstAttentionScope *self, guint64 n)
{
  return gst_util_uint64_scale (n, GST_SECOND * (guint64) GST_VIDEO_INFO_FPS_D (&self->info),
                                GST_VIDEO_INFO_FPS_N (&self->info));
}

void
gst_attention_scope_restart (GstAttentionScope *self)
{
  self->has_base = FALSE;
  self->reached = self->filled = 0;
  self->n_frames = self->n_untimed = 0;
  self->discont = TRUE;
  if (self->picture != NULL)
    scope_picture_clear (self->picture);
}

void
gst_attention_scope_reset_qos (GstAttentionScope *self)
{
  GST_OBJECT_LOCK (self);
  self->earliest_time = GST_CLOCK_TIME_NONE;
  self->proportion = 1;
  GST_OBJECT_UNLOCK (self);
}

/* The frame that is in work, and all that come, have another rate: the base moves to where the last one ended. */
void
gst_attention_scope_set_info (GstAttentionScope *self, const GstVideoInfo *info)
{
  if (self->has_base) {
    GstClockTime begin = frame_begin (self, self->n_frames);

    self->base += begin;
    self->reached -= MIN (begin, self->reached);
    self->filled = self->reached;
    self->n_frames = self->n_untimed = 0;
  }
  self->info = *info;
  GST_OBJECT_LOCK (self);
  self->latency = frame_begin (self, 1);
  GST_OBJECT_UNLOCK (self);
  gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
}

/* ---- frames of video ---- */

static void
post_qos (GstAttentionScope *self, GstClockTime pts, GstClockTime duration, GstClockTimeDiff jitter)
{
  GstMessage *message = gst_message_new_qos (
      GST_OBJECT (self), FALSE, gst_segment_to_running_time (&self->time_segment, GST_FORMAT_TIME, pts),
      gst_segment_to_stream_time (&self->time_segment, GST_FORMAT_TIME, pts), pts, duration);
  gdouble proportion;

  GST_OBJECT_LOCK (self);
  proportion = self->proportion;
  GST_OBJECT_UNLOCK (self);
  gst_message_set_qos_values (message, jitter, proportion, 1000000);
  gst_message_set_qos_stats (message, GST_FORMAT_BUFFERS, self->n_pushed, self->n_dropped);
  gst_element_post_message (GST_ELEMENT (self), message);
}

/* Whether downstream has said that it will be too late for this frame; then it is counted. */
static gboolean
is_late (GstAttentionScope *self, GstClockTime pts, GstClockTime duration)
{
  GstClockTime end = gst_segment_to_running_time (&self->time_segment, GST_FORMAT_TIME, pts + duration), earliest;

  GST_OBJECT_LOCK (self);
  earliest = self->qos ? self->earliest_time : GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
  if (!GST_CLOCK_TIME_IS_VALID (earliest) || !GST_CLOCK_TIME_IS_VALID (end) || end > earliest)
    return FALSE;
  self->n_dropped++;
  self->discont = TRUE;
  post_qos (self, pts, duration, GST_CLOCK_DIFF (end, earliest));
  return TRUE;
}

static gboolean
draw (GstAttentionScope *self, GstBuffer *buffer, GstClockTime until)
{
  GstVideoFrame frame;

  if (!gst_video_frame_map (&frame, &self->info, buffer, GST_MAP_WRITE))
    return FALSE;
  scope_picture_write (self->picture, until, GST_VIDEO_FRAME_PLANE_DATA (&frame, 0),
                       GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0));
  gst_video_frame_unmap (&frame);
  return TRUE;
}

/* The next frame of the video, which shows time up to `until`, relative. */
static GstFlowReturn
push_frame (GstAttentionScope *self, GstClockTime until)
{
  GstClockTime begin = frame_begin (self, self->n_frames), pts = self->base + begin;
  GstBuffer *buffer = NULL;
  GstFlowReturn flow;

  self->n_frames++;
  if (is_late (self, pts, until - begin))
    return GST_FLOW_OK;
  flow = gst_buffer_pool_acquire_buffer (self->pool, &buffer, NULL);
  if (flow != GST_FLOW_OK)
    return flow;
  if (!draw (self, buffer, until))
    goto not_mapped;
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_DURATION (buffer) = until - begin;
  GST_BUFFER_OFFSET (buffer) = self->n_frames - 1;
  GST_BUFFER_OFFSET_END (buffer) = self->n_frames;
  if (self->discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  else
    GST_BUFFER_FLAG_UNSET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
  self->n_pushed++;
  return gst_pad_push (self->srcpad, buffer);

  /* ERRORS */
not_mapped:
  gst_buffer_unref (buffer);
  GST_ELEMENT_ERROR (self, RESOURCE, WRITE, ("cannot map a buffer of downstream for writing"), (NULL));
  return GST_FLOW_ERROR;
}

/* Nothing but grey has been shown for as long as a picture is: the rest of the gap goes as an event. */
static void
skip_empty_frames (GstAttentionScope *self)
{
  GstClockTime begin = frame_begin (self, self->n_frames);
  guint64 n = gst_util_uint64_scale (self->reached, GST_VIDEO_INFO_FPS_N (&self->info),
                                     GST_SECOND * (guint64) GST_VIDEO_INFO_FPS_D (&self->info));

  if (begin < self->filled + scope_picture_get_span (self->picture) || n <= self->n_frames)
    return;
  self->n_frames = n;
  self->discont = TRUE;
  gst_pad_push_event (self->srcpad, gst_event_new_gap (self->base + begin, frame_begin (self, self->n_frames) - begin));
}

/* Time has come to `reached`, relative: pushes the frames that are complete with it. */
static GstFlowReturn
advance (GstAttentionScope *self, GstClockTime reached)
{
  GstFlowReturn flow = GST_FLOW_OK;

  self->reached = MAX (reached, self->reached);
  while (flow == GST_FLOW_OK && frame_begin (self, self->n_frames + 1) <= self->reached) {
    flow = push_frame (self, frame_begin (self, self->n_frames + 1));
    skip_empty_frames (self);
  }
  return flow;
}

GstFlowReturn
gst_attention_scope_finish (GstAttentionScope *self)
{
  GstFlowReturn flow = GST_FLOW_OK;

  if (self->has_base && self->picture != NULL && self->reached > frame_begin (self, self->n_frames))
    flow = push_frame (self, self->reached);
  gst_attention_scope_restart (self);
  return flow;
}

/* ---- columns ---- */

/* How far apart columns may be and still touch: half of one. */
static GstClockTime
tolerance (GstAttentionScope *self)
{
  GstClockTime duration = gst_features_duration (&self->features, 1);

  return GST_CLOCK_TIME_IS_VALID (duration) ? duration / 2 : 0;
}

/* What comes now begins at `pts`. Afterwards `self->reached` is there, relative to the base. */
static GstFlowReturn
go_to (GstAttentionScope *self, GstClockTime pts)
{
  GstFlowReturn flow = GST_FLOW_OK;

  if (self->has_base && pts + tolerance (self) < self->base + self->reached)
    flow = gst_attention_scope_finish (self);
  if (!self->has_base) {
    self->base = pts;
    self->has_base = TRUE;
  }
  if (flow != GST_FLOW_OK || pts <= self->base + self->reached)
    return flow;
  if (pts - self->base - self->reached <= tolerance (self))
    scope_picture_extend (self->picture, pts - self->base);
  return advance (self, pts - self->base);
}

/* What `n` columns take that have no timestamps: as the rate says, or a frame of video each. */
static GstClockTime
untimed_duration (GstAttentionScope *self, guint64 n)
{
  GstClockTime duration = gst_features_duration (&self->features, n);

  return GST_CLOCK_TIME_IS_VALID (duration) ? duration : frame_begin (self, n);
}

/* The next of such columns. They count from the first one, so that rounding does not add up. */
static void
get_untimed (GstAttentionScope *self, GstClockTime *pts, GstClockTime *duration)
{
  if (self->n_untimed == 0)
    self->untimed_base = self->has_base ? self->base + self->reached : self->time_segment.start;
  *pts = self->untimed_base + untimed_duration (self, self->n_untimed);
  self->n_untimed++;
  *duration = self->untimed_base + untimed_duration (self, self->n_untimed) - *pts;
}

/* Column `i` of the n of a buffer: the time it begins, and how long it lasts, NONE: until the next. */
static void
get_time (GstAttentionScope *self, GstBuffer *buffer, guint64 i, guint64 n, GstClockTime *pts, GstClockTime *duration)
{
  gboolean is_timed = GST_BUFFER_PTS_IS_VALID (buffer) && self->segment.format == GST_FORMAT_TIME;
  GstClockTime begin = gst_features_duration (&self->features, i);

  if (!is_timed && (GST_CLOCK_TIME_IS_VALID (begin) || !GST_BUFFER_DURATION_IS_VALID (buffer))) {
    get_untimed (self, pts, duration);
    return;
  }
  self->n_untimed = 0;
  if (GST_CLOCK_TIME_IS_VALID (begin)) {
    *duration = gst_features_duration (&self->features, i + 1) - begin;
  } else if (GST_BUFFER_DURATION_IS_VALID (buffer)) {
    begin = gst_util_uint64_scale (GST_BUFFER_DURATION (buffer), i, n);
    *duration = gst_util_uint64_scale (GST_BUFFER_DURATION (buffer), i + 1, n) - begin;
  } else {
    begin = 0;
    *duration = GST_CLOCK_TIME_NONE;
  }
  if (is_timed)
    *pts = GST_BUFFER_PTS (buffer) + begin;
  else
    *pts = self->has_base ? self->base + self->reached : self->time_segment.start;
}

static GstFlowReturn
add_column (GstAttentionScope *self, GstClockTime pts, GstClockTime duration, const gfloat *weights)
{
  GstFlowReturn flow = go_to (self, pts);
  guint64 begin = self->reached, end;

  if (flow != GST_FLOW_OK)
    return flow;
  end = GST_CLOCK_TIME_IS_VALID (duration) ? MAX (pts + duration, self->base + begin) - self->base : SCOPE_OPEN;
  scope_picture_add (self->picture, begin, end, weights);
  self->filled = end == SCOPE_OPEN ? begin : end;
  return advance (self, self->filled);
}

GstFlowReturn
gst_attention_scope_add_columns (GstAttentionScope *self, GstBuffer *buffer, const gfloat *weights, gsize n)
{
  GstFlowReturn flow = GST_FLOW_OK;
  gsize i;

  for (i = 0; i < n && flow == GST_FLOW_OK; i++) {
    GstClockTime pts, duration;

    get_time (self, buffer, i, n, &pts, &duration);
    flow = add_column (self, pts, duration, weights + i * self->features.n_features);
  }
  return flow;
}

GstFlowReturn
gst_attention_scope_add_gap (GstAttentionScope *self, GstClockTime pts, GstClockTime duration)
{
  GstFlowReturn flow = go_to (self, pts);

  self->n_untimed = 0;
  if (flow != GST_FLOW_OK)
    return flow;
  return advance (self, MAX (pts + duration, self->base + self->reached) - self->base);
}
