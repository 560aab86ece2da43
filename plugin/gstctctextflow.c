/*
 * gst-attention: the element `ctctext`: from frames to texts and gaps.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All that leaves is put into a queue under the lock and pushed without it. Up to `told` downstream knows what there
 * is: a text, or a gap where there is none. While a word is being said nothing is told of the time behind its begin;
 * partial results are told at the end of each interval.
 */
#include "gstctctext-private.h"

#include <string.h>

/* ---- output ---- */

static GstFlowReturn
push_ready (GstCtcText *self)
{
  GstFlowReturn flow = GST_FLOW_OK;
  GstMiniObject *item;

  while ((item = g_queue_pop_head (&self->ready)) != NULL) {
    if (GST_IS_EVENT (item))
      gst_pad_push_event (self->srcpad, GST_EVENT (item));
    else if (flow == GST_FLOW_OK)
      flow = gst_pad_push (self->srcpad, GST_BUFFER (item));
    else
      gst_mini_object_unref (item);
  }
  return flow;
}

static void
queue_text (GstCtcText *self, const CtcText *text, GstClockTime begin, GstClockTime end)
{
  gchar *bytes = g_strconcat (text->text, text->is_cut ? "" : self->used.separator, NULL);
  gsize size = strlen (bytes);
  GstBuffer *buffer = gst_buffer_new_wrapped (bytes, size);

  if (self->has_time) {
    GST_BUFFER_PTS (buffer) = begin;
    GST_BUFFER_DURATION (buffer) = end - begin;
  }
  g_queue_push_tail (&self->ready, buffer);
}

static void
tell_gap (GstCtcText *self, GstClockTime until)
{
  GstEvent *gap;

  if (until <= self->told)
    return;
  gap = gst_event_new_gap (self->told, until - self->told);
  gst_event_set_seqnum (gap, self->seqnum);
  g_queue_push_tail (&self->ready, gap);
  self->told = until;
}

/* The phrase, for the time that has passed. Text NULL: there is none. */
static void
tell_partial (GstCtcText *self, const CtcText *text, GstClockTime until)
{
  if (text == NULL) {
    tell_gap (self, until);
  } else if (until > self->told || !self->has_time) {
    queue_text (self, text, self->told, until);
    self->told = until;
  }
}

static gboolean
is_partial (GstCtcText *self)
{
  return self->used.output == GST_CTC_TEXT_OUTPUT_PARTIAL;
}

/* With the lock, here and below. */
static void
tell_finished (GstCtcText *self)
{
  CtcText *text;

  while ((text = ctc_decoder_pop (self->decoder)) != NULL) {
    if (is_partial (self)) {
      tell_partial (self, text, text->known_at);
    } else {
      queue_text (self, text, text->begin, text->end);
      self->told = MAX (self->told, text->end);
    }
    ctc_text_free (text);
  }
}

/* Partial results, up to now. */
static void
tell_phrase (GstCtcText *self)
{
  GstClockTime now = ctc_decoder_get_now (self->decoder);
  CtcText *text = ctc_decoder_peek (self->decoder);

  if (GST_CLOCK_TIME_IS_VALID (now))
    tell_partial (self, text, now);
  ctc_text_free (text);
}

/* A frame has come. */
static void
tell_frame (GstCtcText *self)
{
  GstClockTime now = ctc_decoder_get_now (self->decoder);

  tell_finished (self);
  if (is_partial (self) && now > self->told && now - self->told >= self->used.interval)
    tell_phrase (self);
}

/* All frames of a buffer have come. */
static void
tell_silence (GstCtcText *self)
{
  if (!is_partial (self))
    tell_gap (self, MIN (ctc_decoder_get_begin (self->decoder), ctc_decoder_get_now (self->decoder)));
}

/* ---- streams ---- */

/* What is being said ends. */
static void
finish (GstCtcText *self)
{
  GstClockTime now = ctc_decoder_get_now (self->decoder);

  if (!GST_CLOCK_TIME_IS_VALID (now))
    return;
  ctc_decoder_finish (self->decoder);
  tell_finished (self);
  tell_gap (self, now);
}

static void
keep_state (GstCtcText *self)
{
  if (!GST_CLOCK_TIME_IS_VALID (ctc_decoder_get_now (self->decoder)))
    return;
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->ended = ctc_decoder_save (self->decoder, self->told);
}

GstFlowReturn
gst_ctc_text_end_stream (GstCtcText *self)
{
  g_mutex_lock (&self->lock);
  keep_state (self);
  finish (self);
  g_mutex_unlock (&self->lock);
  frame_clock_forget (&self->clock);
  return push_ready (self);
}

void
gst_ctc_text_forget_stream (GstCtcText *self)
{
  g_mutex_lock (&self->lock);
  keep_state (self);
  ctc_decoder_forget (self->decoder);
  g_mutex_unlock (&self->lock);
  frame_clock_forget (&self->clock);
}

/* The next frame begins at `begin`: the first one of a stream, or of one that was restored. */
static void
begin_frames (GstCtcText *self, GstClockTime begin)
{
  if (self->restored != NULL) {
    finish (self);
    ctc_decoder_restore (self->decoder, self->restored, begin, &self->told);
  } else if (!GST_CLOCK_TIME_IS_VALID (ctc_decoder_get_now (self->decoder))) {
    self->told = begin;
  }
  g_clear_pointer (&self->restored, g_bytes_unref);
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->changed = TRUE;
}

/* ---- time ---- */

/* Where the next frame begins, if nothing else says so. */
static GstClockTime
expected_time (GstCtcText *self)
{
  GstClockTime now = ctc_decoder_get_now (self->decoder);

  if (GST_CLOCK_TIME_IS_VALID (now))
    return now;
  return self->segment.format == GST_FORMAT_TIME ? MIN (self->segment.start, GST_CTC_TEXT_MAX_TIME) : 0;
}

/* Once per stream of upstream's. */
static void
warn_of_jump (GstCtcText *self, GstClockTime pts)
{
  if (!self->warned_jump)
    GST_ELEMENT_WARNING (self, STREAM, FAILED,
                         ("a buffer has the timestamp %" GST_TIME_FORMAT " where %" GST_TIME_FORMAT
                          " was expected: a jump back. The word before it ends there",
                          GST_TIME_ARGS (pts), GST_TIME_ARGS (frame_clock_next (&self->clock))),
                         ("said once per stream"));
  self->warned_jump = TRUE;
}

/* What the timestamp of a buffer means for the frames before it. */
static void
look_at_time (GstCtcText *self, GstClockTime pts, gboolean is_discont)
{
  GstClockTimeDiff jump = frame_clock_jump (&self->clock, pts, is_discont);

  if (jump < 0) {
    warn_of_jump (self, pts);
    g_mutex_lock (&self->lock);
    finish (self);
    g_mutex_unlock (&self->lock);
    frame_clock_forget (&self->clock);
  } else if (jump > 0) {
    GST_DEBUG_OBJECT (self, "frames are absent for %" GST_STIME_FORMAT " before %" GST_TIME_FORMAT,
                      GST_STIME_ARGS (jump), GST_TIME_ARGS (pts));
    gst_ctc_text_take_gap (self, pts - MIN (pts, (GstClockTime) jump), jump);
  }
}

/* Up to `end` all frames are absent. */
static void
skip (GstCtcText *self, GstClockTime end)
{
  if (is_partial (self))
    tell_phrase (self);
  ctc_decoder_skip (self->decoder, end);
  tell_finished (self);
  if (is_partial (self) && ctc_decoder_get_begin (self->decoder) == G_MAXUINT64)
    tell_phrase (self);
}

/* ---- frames ---- */

typedef struct {
  gsize n;
  GstClockTime begin, duration; /* of all */
} Frames;

static GstClockTime
time_of (const Frames *frames, gsize i)
{
  return frames->begin + gst_util_uint64_scale_round (i, frames->duration, frames->n);
}

/* values [n][D] */
static void
take_frames (GstCtcText *self, const Frames *frames, const gfloat *values)
{
  guint n_values = self->features.n_features;
  gsize i;

  for (i = 0; i < frames->n; i++, values += n_values) {
    gint best = ctc_best (values, n_values, self->blank);

    if (best < 0 && !GST_CLOCK_TIME_IS_VALID (self->nan_at))
      self->nan_at = time_of (frames, i);
    ctc_decoder_take (self->decoder, best == self->blank ? -1 : best, time_of (frames, i), time_of (frames, i + 1));
    tell_frame (self);
  }
}

/* values NULL: they are absent. */
static void
take_content (GstCtcText *self, const Frames *frames, const gfloat *values)
{
  g_mutex_lock (&self->lock);
  begin_frames (self, frames->begin);
  if (values != NULL)
    take_frames (self, frames, values);
  else
    skip (self, time_of (frames, frames->n));
  tell_silence (self);
  g_mutex_unlock (&self->lock);
}

static void
warn_of_nan (GstCtcText *self)
{
  if (!self->warned_nan && GST_CLOCK_TIME_IS_VALID (self->nan_at))
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
                         ("the frame at %" GST_TIME_FORMAT " has NaN in the place of a probability: it counts as blank",
                          GST_TIME_ARGS (self->nan_at)),
                         ("said once per stream"));
  self->warned_nan |= GST_CLOCK_TIME_IS_VALID (self->nan_at);
  self->nan_at = GST_CLOCK_TIME_NONE;
}

/* What a buffer says of its time, and where it says nothing, what those before it said. */
static Frames
read_times (GstCtcText *self, GstBuffer *buffer, gsize n)
{
  Frames frames = { n, GST_BUFFER_PTS (buffer), GST_BUFFER_DURATION (buffer) };

  self->has_time = GST_CLOCK_TIME_IS_VALID (frames.begin) || self->features.rate_n > 0;
  if (!GST_CLOCK_TIME_IS_VALID (frames.begin))
    frames.begin = expected_time (self);
  if (!GST_CLOCK_TIME_IS_VALID (frames.duration))
    frames.duration = self->features.rate_n > 0 ? gst_features_duration (&self->features, n) : 0;
  frames.begin = MIN (frames.begin, GST_CTC_TEXT_MAX_TIME);
  frames.duration = MIN (frames.duration, GST_CTC_TEXT_MAX_TIME);
  return frames;
}

/* FALSE after an error message. */
static gboolean
take_mapped (GstCtcText *self, GstBuffer *buffer, const Frames *frames)
{
  gpointer copy = NULL;
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    goto not_mapped;
  if (GPOINTER_TO_SIZE (map.data) % sizeof (gfloat) != 0) /* upstream may have cut a buffer at any byte */
    copy = g_memdup2 (map.data, map.size);
  if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP))
    take_content (self, frames, NULL);
  else
    take_content (self, frames, copy != NULL ? copy : (gpointer) map.data);
  g_free (copy);
  gst_buffer_unmap (buffer, &map);
  return TRUE;

  /* ERRORS */
not_mapped:
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("cannot map a buffer for reading"), (NULL));
  return FALSE;
}

GstFlowReturn
gst_ctc_text_take_buffer (GstCtcText *self, GstBuffer *buffer)
{
  GstFlowReturn flow = GST_FLOW_ERROR;
  GError *error = NULL;
  Frames frames;
  gsize n;

  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (buffer), &n, &error))
    goto wrong_size;
  if (n > 0) {
    look_at_time (self, GST_BUFFER_PTS (buffer), GST_BUFFER_IS_DISCONT (buffer));
    frames = read_times (self, buffer, n);
    if (!take_mapped (self, buffer, &frames))
      goto done;
    frame_clock_advance (&self->clock, GST_BUFFER_PTS (buffer), n);
    warn_of_nan (self);
  }
  flow = push_ready (self);
done:
  gst_buffer_unref (buffer);
  return flow;

  /* ERRORS */
wrong_size:
  gst_buffer_unref (buffer);
  gst_features_post_error (self, error);
  return GST_FLOW_ERROR;
}

GstFlowReturn
gst_ctc_text_take_gap (GstCtcText *self, GstClockTime timestamp, GstClockTime duration)
{
  Frames none = { 1, MIN (timestamp, GST_CTC_TEXT_MAX_TIME),
                  GST_CLOCK_TIME_IS_VALID (duration) ? MIN (duration, GST_CTC_TEXT_MAX_TIME) : 0 };

  self->has_time = TRUE;
  if (GST_CLOCK_TIME_IS_VALID (frame_clock_next (&self->clock)))
    frame_clock_move (&self->clock, none.begin + none.duration);
  take_content (self, &none, NULL);
  return push_ready (self);
}
