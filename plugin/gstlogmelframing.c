/*
 * gst-attention: the element `logmel`: its framing, from buffers of audio to buffers of frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frame n covers samples n * hop - n_before to n * hop - n_before + frame_length, and is done when n * hop + n_after
 * samples have come. In Kaldi's style n_before is 0. In the others it is half a frame, and n_after at least a hop,
 * because n samples make n / hop frames: a frame may only leave when it is known not to be the one that is dropped at
 * the end.
 */
#include "gstlogmel-private.h"

#include <string.h>

/* An hour at 16 kHz is 115 MB; where odd settings make much more, the frames are spread over several buffers. */
#define MAX_BUFFER_SIZE ((gsize) 1 << 30)

void
gst_logmel_release_input (GstLogmel *self)
{
  if (self->input == NULL)
    return;
  gst_buffer_unmap (self->input, &self->map);
  gst_clear_buffer (&self->input);
  self->n_input = self->n_taken = 0;
}

void
gst_logmel_restart (GstLogmel *self)
{
  gst_logmel_release_input (self);
  self->n_history = self->n_before; /* room for the mirrored beginning */
  self->n_skip = self->n_samples = self->n_frames = 0;
  self->before = 0.0;
  self->first_pts = GST_CLOCK_TIME_NONE;
  self->shift = 0;
  self->is_behind_hole = FALSE;
  frame_clock_forget (&self->clock);
}

static gboolean
is_mirrored (GstLogmel *self)
{
  return self->style == GST_LOGMEL_STYLE_WHISPER;
}

/* A mirror of n samples needs n + 1 of them. */
guint
gst_logmel_get_n_first (GstLogmel *self)
{
  return is_mirrored (self) ? MAX (self->n_after, self->n_before + 1) : self->n_after;
}

/* Behind a hole the next one is far. */
guint64
gst_logmel_count_frames (GstLogmel *self, guint64 n)
{
  guint64 n_samples = self->n_samples + n, n_done;

  if (n_samples < gst_logmel_get_n_first (self))
    return 0;
  n_done = 1 + (n_samples - self->n_after) / self->sizes.hop_length;
  return n_done > self->n_frames ? n_done - self->n_frames : 0;
}

static void
read_samples (GstLogmel *self, gsize first, gsize n, gdouble *samples)
{
  gsize i;

  for (i = 0; i < n; i++) { /* memcpy (): the memory of a buffer may begin anywhere */
    gfloat f32;
    gint16 s16;

    if (self->is_float) {
      memcpy (&f32, self->map.data + (first + i) * sizeof f32, sizeof f32);
      samples[i] = f32 * self->scale;
    } else {
      memcpy (&s16, self->map.data + (first + i) * sizeof s16, sizeof s16);
      samples[i] = s16 * self->scale;
    }
  }
}

gboolean
gst_logmel_fill_history (GstLogmel *self)
{
  guint target = self->n_before + (self->n_frames == 0 ? gst_logmel_get_n_first (self) : self->n_after);

  while (self->n_history < target) {
    gsize n = self->n_input - self->n_taken;

    if (n == 0)
      return FALSE;
    if (self->n_skip > 0) {
      n = MIN (n, self->n_skip);
      self->n_skip -= n;
      read_samples (self, self->n_taken + n - 1, 1, &self->before);
    } else {
      n = MIN (n, target - self->n_history);
      read_samples (self, self->n_taken, n, self->history + self->n_history);
      logmel_preemphasise (self->style, self->history + self->n_history, n, &self->before);
      self->n_history += n;
    }
    self->n_taken += n;
    self->n_samples += n;
  }
  return TRUE;
}

/* What is in front of the first sample. Mirrored: sample n behind it; it is not doubled itself. Else zeros. */
static void
extend_beginning (GstLogmel *self)
{
  gdouble *first = self->history + self->n_before;
  guint i;

  for (i = 1; i <= self->n_before; i++)
    first[-(gint) i] = is_mirrored (self) ? first[i] : 0.0;
}

/* The same behind the last one. Where it is mirrored the samples of a frame in front of its centre suffice. */
static void
extend_end (GstLogmel *self)
{
  guint i;

  for (i = self->n_history; i < self->sizes.frame_length; i++)
    self->history[i] = is_mirrored (self) ? self->history[2 * self->n_history - 2 - i] : 0.0;
}

static void
make_frame (GstLogmel *self, gfloat *frame)
{
  guint hop = self->sizes.hop_length;

  if (self->n_frames == 0)
    extend_beginning (self);
  logmel_transform (self->logmel, self->history, frame);
  self->n_frames++;

  if (hop <= self->n_history) {
    self->n_history -= hop;
    memmove (self->history, self->history + hop, self->n_history * sizeof *self->history);
  } else {
    self->n_skip = hop - self->n_history;
    self->n_history = 0;
  }
}

/* `elapsed` behind the first sample. A clock that was put back may lead to before the beginning. */
static GstClockTime
time_after (GstLogmel *self, GstClockTime elapsed)
{
  GstClockTime back = self->shift < 0 ? -self->shift : 0;

  if (!GST_CLOCK_TIME_IS_VALID (self->first_pts))
    return GST_CLOCK_TIME_NONE;
  elapsed += self->first_pts;
  return elapsed < back ? 0 : elapsed + self->shift;
}

static GstClockTime
time_of_frame (GstLogmel *self, guint64 frame)
{
  return time_after (self, gst_features_duration (&self->features, frame));
}

GstClockTime
gst_logmel_get_time (GstLogmel *self)
{
  return time_after (self, frame_clock_duration (&self->clock, self->n_samples));
}

/* A buffer for the next `n_frames`, or fewer where a buffer may not have as many. */
static GstBuffer *
new_buffer (GstLogmel *self, guint64 *n_frames)
{
  gsize frame_size = self->features.n_features * sizeof (gfloat);
  guint64 first = self->n_frames;
  GstBuffer *buffer;

  *n_frames = MIN (*n_frames, self->features.is_tensors ? 1 : MAX_BUFFER_SIZE / frame_size);
  buffer = gst_features_new_buffer (*n_frames * self->features.n_features);
  if (buffer == NULL)
    return NULL;
  GST_BUFFER_PTS (buffer) = time_of_frame (self, first);
  GST_BUFFER_DURATION (buffer) =
      gst_features_duration (&self->features, first + *n_frames) - gst_features_duration (&self->features, first);
  GST_BUFFER_OFFSET (buffer) = first;
  GST_BUFFER_OFFSET_END (buffer) = first + *n_frames;
  if (first == 0 || self->is_behind_hole)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->is_behind_hole = FALSE;
  return buffer;
}

GstFlowReturn
gst_logmel_make_buffer (GstLogmel *self, guint64 n_frames, gboolean is_draining, GstBuffer **buffer)
{
  GstMapInfo map;
  guint64 i;

  *buffer = new_buffer (self, &n_frames);
  if (*buffer == NULL || !gst_buffer_map (*buffer, &map, GST_MAP_WRITE))
    goto no_memory;

  for (i = 0; i < n_frames; i++) {
    if (is_draining)
      extend_end (self);
    else if (!gst_logmel_fill_history (self))
      g_assert_not_reached ();
    make_frame (self, (gfloat *) map.data + i * self->features.n_features);
  }
  gst_buffer_unmap (*buffer, &map);
  return GST_FLOW_OK;

  /* ERRORS */
no_memory:
  gst_clear_buffer (buffer);
  GST_ELEMENT_ERROR (
      self, RESOURCE, NO_SPACE_LEFT,
      ("no memory for a buffer of %" G_GUINT64_FORMAT " frames of %u bins", n_frames, self->features.n_features),
      (NULL));
  return GST_FLOW_ERROR;
}

/* Makes and pushes up to `n_frames` of the audio that has come. */
static GstFlowReturn
push_rest (GstLogmel *self, guint64 n_frames)
{
  GstBuffer *buffer;
  GstFlowReturn ret = gst_logmel_make_buffer (self, n_frames, TRUE, &buffer);

  return ret == GST_FLOW_OK ? gst_pad_push (GST_BASE_TRANSFORM_SRC_PAD (self), buffer) : ret;
}

/* No frame from `first` on until the next one. */
static void
push_gap (GstLogmel *self, guint64 first)
{
  GstClockTime pts = time_of_frame (self, first), end = time_of_frame (self, self->n_frames);

  if (self->n_frames > first && GST_CLOCK_TIME_IS_VALID (pts))
    gst_pad_push_event (GST_BASE_TRANSFORM_SRC_PAD (self), gst_event_new_gap (pts, end - pts));
}

GstFlowReturn
gst_logmel_lose (GstLogmel *self, guint64 n)
{
  guint hop = self->sizes.hop_length;
  guint64 first, position = self->n_samples + n;
  GstFlowReturn ret = GST_FLOW_OK;

  if (self->n_frames == 0 || position < n || position > G_MAXINT64) { /* nothing has left that could go on */
    gst_logmel_restart (self);
    return GST_FLOW_OK;
  }
  /* Centred ones wait to be known not to be the last one, longer than they need where the hop is long. */
  while (ret == GST_FLOW_OK && self->n_history >= self->sizes.frame_length)
    ret = push_rest (self, 1);

  first = self->n_frames;
  self->n_frames = MAX (first, (position + self->n_before + self->n_mixed + hop - 1) / hop);
  self->n_samples = position;
  self->n_history = 0;
  self->n_skip = self->n_frames * hop - self->n_before - position;
  self->is_behind_hole = TRUE;
  GST_DEBUG_OBJECT (
      self, "%" G_GUINT64_FORMAT " samples are missing: frame %" G_GUINT64_FORMAT " is followed by %" G_GUINT64_FORMAT,
      n, first - 1, self->n_frames);
  push_gap (self, first);
  return ret;
}

GstFlowReturn
gst_logmel_end_audio (GstLogmel *self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  if (self->logmel == NULL)
    return GST_FLOW_OK;
  if (logmel_is_centred (self->style) && (self->n_frames > 0 || !is_mirrored (self))) {
    guint64 n_frames = self->n_samples / self->sizes.hop_length;

    while (ret == GST_FLOW_OK && self->n_frames < n_frames)
      ret = push_rest (self, n_frames - self->n_frames);
  }
  gst_logmel_restart (self);
  return ret;
}
