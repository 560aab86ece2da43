/*
 * gst-attention: GstFrameFilter: frames that are missing: jumps of timestamps, GAP events.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* Once per stream of upstream's: a source that jumps does so again. */
static void
warn_of_jump (GstFrameFilter *self, GstClockTime pts, GstClockTimeDiff jump, gboolean is_discont)
{
  GstClockTime expected = frame_clock_next (&self->clock), frame = frame_clock_duration (&self->clock, 1);
  gboolean *warned = is_discont ? &self->warned_new_stream : &self->warned_jump;
  gdouble n = GST_CLOCK_TIME_IS_VALID (frame) ? (gdouble) jump / MAX (frame, 1) : 0;

  GST_DEBUG_OBJECT (self, "a jump by %" GST_STIME_FORMAT " to %" GST_TIME_FORMAT, GST_STIME_ARGS (jump),
                    GST_TIME_ARGS (pts));
  if (*warned)
    return;
  *warned = TRUE;
  GST_ELEMENT_WARNING (self, STREAM, FAILED,
                       ("a buffer has the timestamp %" GST_TIME_FORMAT " where %" GST_TIME_FORMAT
                        " was expected: %.2f frames, which is %s. %s",
                        GST_TIME_ARGS (pts), GST_TIME_ARGS (expected), n,
                        jump < 0 ? "a jump back" : "not a whole number",
                        is_discont ? "With the DISCONT flag a new stream begins, with an empty window"
                                   : "Without the DISCONT flag the stream goes on as if nothing were missing"),
                       ("said once per stream"));
}

/* The whole frames that are missing before `pts`; -1, after a warning: the time jumps in another way. */
static gint64
count_missing (GstFrameFilter *self, GstClockTime pts, gboolean is_discont)
{
  GstClockTimeDiff jump = frame_clock_jump (&self->clock, pts, is_discont);
  guint64 n = frame_clock_count (&self->clock, jump);

  if (jump == 0)
    return 0;
  if (n == 0) {
    warn_of_jump (self, pts, jump, is_discont);
    return -1;
  }
  GST_DEBUG_OBJECT (self, "%" G_GUINT64_FORMAT " frames are absent before %" GST_TIME_FORMAT, n, GST_TIME_ARGS (pts));
  frame_clock_skip (&self->clock, n);
  return MIN (n, G_MAXINT64);
}

void
gst_frame_filter_look_at_time (GstFrameFilter *self, GstBuffer *buffer)
{
  gboolean is_discont = GST_BUFFER_IS_DISCONT (buffer);
  GstClockTime begin = frame_clock_next (&self->clock);
  gint64 n = count_missing (self, GST_BUFFER_PTS (buffer), is_discont);
  Item absent = { .n_frames = MAX (n, 0), .times = { 0, MAX (n, 0), begin, GST_CLOCK_TIME_NONE } };

  if (n > 0)
    gst_frame_filter_take_item (self, &absent, NULL);
  else if (n < 0 && is_discont)
    gst_frame_filter_finish_stream (self);
  else if (n < 0)
    frame_clock_forget (&self->clock);
}

/*
 * Short gaps add up to as many frames as a long one: what rounding leaves over, or takes in advance, is the next's.
 */
static guint64
round_gap (GstFrameFilter *self, GstClockTime duration)
{
  GstClockTimeDiff time = MIN (duration, (GstClockTime) (G_MAXINT64 - MAX (self->gap_rest, 0))) + self->gap_rest;
  guint64 n = time > 0 ? frame_clock_round (&self->clock, time) : 0;

  self->gap_rest = GST_CLOCK_DIFF (frame_clock_duration (&self->clock, n), time);
  return n;
}

guint64
gst_frame_filter_count_gap_frames (GstFrameFilter *self, GstEvent *event, GstClockTime *begin)
{
  GstClockTime timestamp, duration;
  gint64 n_before;

  gst_event_parse_gap (event, &timestamp, &duration);
  if (self->stream == NULL || self->clock.rate_n <= 0 || !GST_CLOCK_TIME_IS_VALID (duration))
    return 0;
  if (frame_clock_round (&self->clock, duration) > 0)
    gst_frame_filter_adopt_restored (self); /* whose clock knows nothing yet */
  n_before = count_missing (self, timestamp, FALSE);
  *begin = timestamp - MIN (frame_clock_duration (&self->clock, MAX (n_before, 0)), timestamp);
  if (GST_CLOCK_TIME_IS_VALID (frame_clock_next (&self->clock))) /* else what fills an outage may have any time */
    frame_clock_move (&self->clock, timestamp + duration);
  return round_gap (self, duration) + MAX (n_before, 0);
}
