/*
 * gst-attention: GstFrameFilter: events in.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* The same frames at the same rate, however many of them a buffer has. */
static gboolean
changes_stream (GstCaps *caps, GstCaps *current)
{
  GstFeatures a, b;

  if (gst_caps_is_equal (caps, current))
    return FALSE;
  return !gst_features_from_caps (&a, caps, NULL) || !gst_features_from_caps (&b, current, NULL)
         || a.n_features != b.n_features || a.is_tensors != b.is_tensors || a.rate_n != b.rate_n
         || a.rate_d != b.rate_d;
}

static gboolean
changes_segment (GstFrameFilter *self, GstEvent *event)
{
  GstSegment current = GST_BASE_TRANSFORM (self)->segment;
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  current.position = segment->position; /* ours moves with the buffers */
  return !gst_segment_is_equal (segment, &current);
}

static gboolean
changes_caps (GstFrameFilter *self, GstEvent *event)
{
  GstCaps *caps, *current = gst_pad_get_current_caps (GST_BASE_TRANSFORM_SINK_PAD (self));
  gboolean changes;

  gst_event_parse_caps (event, &caps);
  changes = current == NULL || changes_stream (caps, current);
  gst_clear_caps (&current);
  return changes;
}

static gboolean
ends_stream (GstFrameFilter *self, GstEvent *event)
{
  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    return TRUE;
  case GST_EVENT_SEGMENT:
    return changes_segment (self, event);
  case GST_EVENT_CAPS:
    return changes_caps (self, event);
  default:
    return FALSE;
  }
}

/*
 * Handles the effect of `event` on the frames behind it; those before it have left, or wait in front of it. FALSE: it
 * goes no further.
 */
static gboolean
heed_event (GstFrameFilter *self, GstEvent *event)
{
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
    self->warned_new_stream = self->warned_jump = FALSE;
    return TRUE;
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    return gst_frame_filter_take_caps (self, caps);
  case GST_EVENT_SEGMENT:
    gst_event_replace (&self->held_segment, self->refused_caps != NULL ? event : NULL);
    return self->refused_caps == NULL;
  case GST_EVENT_GAP:
    return self->refused_caps == NULL;
  case GST_EVENT_EOS:
    gst_frame_filter_has_refused (self);
    return TRUE;
  default:
    return TRUE;
  }
}

/* Now, and the segment that waited for caps. */
static gboolean
forward_now (GstFrameFilter *self, GstEvent *event)
{
  gboolean is_caps = GST_EVENT_TYPE (event) == GST_EVENT_CAPS, ok = gst_frame_filter_forward_event (self, event, TRUE);

  if (is_caps && self->held_segment != NULL)
    gst_frame_filter_forward_event (self, g_steal_pointer (&self->held_segment), TRUE);
  return ok;
}

/* Nothing that came before `event` has still to leave by `line`. */
static gboolean
is_empty (GstFrameFilter *self, const Line *line)
{
  return self->resumed || gst_queue_array_get_length (line->waiting) == 0;
}

static void
wait_in (Line *line, GstEvent *event)
{
  Item item = { .event = event };

  gst_queue_array_push_tail_struct (line->waiting, &item);
}

/* By each pad now, or behind the rows before it. */
static gboolean
place (GstFrameFilter *self, GstEvent *event)
{
  gboolean ok = TRUE;
  guint i;

  gst_event_ref (event);
  if (is_empty (self, self->outputs))
    ok = gst_frame_filter_forward_event (self, event, FALSE);
  else
    wait_in (self->outputs, event);
  for (i = 0; i < self->sides->len; i++) {
    Line *line = gst_frame_filter_side (self, i);

    if (line != NULL && is_empty (self, line))
      gst_frame_filter_tell_side (self, line, event);
    else if (line != NULL)
      wait_in (line, gst_event_ref (event));
  }
  gst_event_unref (event);
  return ok;
}

/* `event` waits for its turn behind the buffers before it, and for as many absent frames, from `begin` on. */
static void
enqueue (GstFrameFilter *self, GstEvent *event, guint64 n_absent, GstClockTime begin)
{
  Item item = { .event = event, .n_frames = n_absent, .times = { 0, n_absent, begin, GST_CLOCK_TIME_NONE } };

  gst_frame_filter_take_item (self, &item, NULL);
  gst_frame_filter_note_place (self);
  gst_frame_filter_push_ready (self);
}

/* The stream ends before `event`. */
static void
end_stream (GstFrameFilter *self)
{
  if (!self->resumed)
    gst_frame_filter_finish_stream (self);
  gst_frame_filter_push_ready (self);
}

static gboolean
handle_serialized (GstFrameFilter *self, GstEvent *event)
{
  GstClockTime begin = GST_CLOCK_TIME_NONE;
  guint64 n_absent =
      GST_EVENT_TYPE (event) == GST_EVENT_GAP ? gst_frame_filter_count_gap_frames (self, event, &begin) : 0;
  gboolean ends = ends_stream (self, event);

  if (n_absent > 0)
    gst_frame_filter_adopt_restored (self);
  if (ends)
    end_stream (self);
  if (GST_EVENT_TYPE (event) == GST_EVENT_EOS) /* while somebody still listens to errors */
    gst_frame_filter_write_state_file (self);
  if (!heed_event (self, event)) {
    gst_event_unref (event);
    return TRUE;
  }
  if (ends)
    return forward_now (self, event);
  if (n_absent == 0)
    return place (self, event);
  enqueue (self, event, n_absent, begin);
  return TRUE;
}

gboolean
gst_frame_filter_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstFrameFilter *self = GST_FRAME_FILTER (trans);

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    gst_frame_filter_reset_flows (self);
    gst_clear_event (&self->held_segment);
    if (!self->resumed)
      gst_frame_filter_forget_stream (self);
  } else if (GST_EVENT_IS_SERIALIZED (event)) {
    return handle_serialized (self, event);
  }
  return gst_frame_filter_forward_event (self, event, TRUE);
}

gboolean
gst_frame_filter_src_event (GstBaseTransform *trans, GstEvent *event)
{
  return !gst_frame_filter_refuses_event (GST_FRAME_FILTER (trans), event)
         && gst_frame_filter_base_class->src_event (trans, event);
}
