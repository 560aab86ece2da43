/*
 * gst-attention: the element `spectralgain`: from buffers of audio to buffers of audio.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A stretch is audio without a hole, in one format and one segment. It is cut into frames, of which the first ones
 * begin before it and the last ones end behind it, in silence, so that every sample is in as many frames as any other.
 * Frames begin at whole hops from the first sample of the stream, as those of logmel do, and keep to that behind a
 * hole.
 *
 * A frame is made when its audio and its gains are there. What ends a stretch waits in `items` until the last frame is.
 */
#include "gstspectralgain-private.h"

#include <gst/audio/audio.h>

#include <math.h>
#include <string.h>

/* Where a channel is wider than that it is none. */
#define MAX_FRAME_VALUES (1 << 26)

/* Of time, as in logmel. */
#define ALIGNMENT_THRESHOLD (40 * GST_MSECOND)
#define ROUNDING (GST_MSECOND - 1)

GstClockTime
gst_spectral_gain_duration (const AudioFormat *format, GstBuffer *buffer)
{
  if (!format->is_known)
    return 0;
  return gst_util_uint64_scale_round (gst_buffer_get_size (buffer) / format->frame_size, GST_SECOND, format->rate);
}

/* ---- output ---- */

static gboolean
is_flowing (GstSpectralGain *self)
{
  gboolean flows;

  GST_OBJECT_LOCK (self);
  flows = self->flow == GST_FLOW_OK && !self->is_flushing && !self->is_stopping;
  GST_OBJECT_UNLOCK (self);
  return flows;
}

static void
end_flow (GstSpectralGain *self, GstFlowReturn flow)
{
  GST_OBJECT_LOCK (self);
  self->flow = flow;
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
}

/* RFC 6464: decibels below full scale, 127 and more are silence. So is NaN, which is not a sound. */
static void
add_level (GstSpectralGain *self, GstBuffer *buffer, guint64 n_values)
{
  gdouble decibels = self->output_energy > 0 ? -10 * log10 (self->output_energy / n_values) : 127;

  if (self->is_heard)
    gst_buffer_add_audio_level_meta (buffer, (guint8) rint (CLAMP (decibels, 0, 127)), self->has_speech);
  self->output_energy = 0;
  self->is_heard = self->has_speech = FALSE;
}

static void
push_output (GstSpectralGain *self)
{
  guint64 n = self->output->len / MAX (self->format.frame_size, 1);
  GstBuffer *buffer;
  GstFlowReturn flow;

  if (n == 0)
    return;
  buffer = gst_buffer_new_memdup (self->output->data, self->output->len);
  g_byte_array_set_size (self->output, 0);
  GST_BUFFER_PTS (buffer) = self->output_pts;
  GST_BUFFER_DURATION (buffer) = gst_spectral_gain_duration (&self->format, buffer);
  GST_BUFFER_OFFSET (buffer) = self->n_output;
  GST_BUFFER_OFFSET_END (buffer) = self->n_output + n;
  if (self->is_discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  add_level (self, buffer, n * self->format.n_channels);
  self->n_output += n;
  self->is_discont = FALSE;
  flow = gst_pad_push (self->srcpad, buffer);
  if (flow != GST_FLOW_OK)
    end_flow (self, flow);
}

static void
read_samples (const AudioFormat *format, const guint8 *bytes, gsize n, gdouble *samples)
{
  gsize i;

  for (i = 0; i < n; i++) { /* memcpy (): the memory of a buffer may begin anywhere */
    gfloat f32;
    gint16 s16;

    if (format->is_float) {
      memcpy (&f32, bytes + i * sizeof f32, sizeof f32);
      samples[i] = f32;
    } else {
      memcpy (&s16, bytes + i * sizeof s16, sizeof s16);
      samples[i] = s16;
    }
  }
}

static void
append_output (GstSpectralGain *self, const gdouble *samples, gsize n)
{
  gdouble full_scale = self->format.is_float ? 1 : -(gdouble) G_MININT16;
  gsize i;

  for (i = 0; i < n; i++) {
    self->output_energy += samples[i] * samples[i] / (full_scale * full_scale);
    if (self->format.is_float) {
      gfloat f32 = (gfloat) samples[i];

      g_byte_array_append (self->output, (const guint8 *) &f32, sizeof f32);
    } else {
      gint16 s16 = (gint16) rint (CLAMP (samples[i], G_MININT16, G_MAXINT16));

      g_byte_array_append (self->output, (const guint8 *) &s16, sizeof s16);
    }
  }
}

/* ---- frames ---- */

static GstClockTime
samples_to_time (GstSpectralGain *self, guint64 n)
{
  return gst_util_uint64_scale_round (n, GST_SECOND, self->format.rate);
}

/* The PTS of the sample that comes next out of the adapter, as the last timestamp before it says. */
static GstClockTime
get_pts (GstSpectralGain *self)
{
  guint64 distance;
  GstClockTime pts = gst_adapter_prev_pts (self->adapter, &distance);

  if (!GST_CLOCK_TIME_IS_VALID (pts))
    return self->begin + samples_to_time (self, self->position);
  return pts + samples_to_time (self, distance / self->format.frame_size);
}

static gint64
in_running_time (GstSpectralGain *self, gdouble n_samples)
{
  return (gint64) rint (n_samples * GST_SECOND / (self->format.rate * ABS (self->segment.rate)));
}

/* The running time of the centre of the next frame. */
static gint64
get_centre (GstSpectralGain *self)
{
  gdouble half = 0.5 * self->sizes.frame_length;

  if (self->position < 0)
    return gst_spectral_gain_to_running_time (&self->segment, self->begin)
           + in_running_time (self, self->position + half);
  return gst_spectral_gain_to_running_time (&self->segment, get_pts (self)) + in_running_time (self, half);
}

/* No more than a frame. */
static void
push_silence (GstSpectralGain *self, gsize n_samples)
{
  gsize size = n_samples * self->format.frame_size;

  gst_adapter_push (self->adapter, gst_buffer_new_wrapped (g_malloc0 (size), size));
}

static gboolean
has_frame (GstSpectralGain *self)
{
  if (self->is_ended)
    return self->position < self->n_samples;
  return gst_adapter_available (self->adapter) / self->format.frame_size >= self->sizes.frame_length;
}

/* The bands of the gains that come next. */
static gboolean
map_bands (GstSpectralGain *self, SpectralBands *bands)
{
  SpectralBands resolved;
  GError *error = NULL;

  if (bands == self->mapped)
    return TRUE;
  resolved = gst_spectral_gain_resolve_bands (bands, self->format.rate);
  if (!spectral_gain_set_bands (self->filter, &resolved, self->format.rate, &error)) {
    gst_spectral_gain_fail (self, error);
    return FALSE;
  }
  g_clear_pointer (&self->mapped, g_rc_box_release);
  self->mapped = g_rc_box_acquire (bands);
  return TRUE;
}

/* The samples of `done` that belong to the stretch. */
static void
take_done (GstSpectralGain *self)
{
  gint64 begin = MAX (-self->position, 0), end = MIN (self->sizes.hop_length, self->n_samples - self->position);

  if (end <= begin)
    return;
  if (self->output->len == 0)
    self->output_pts = self->position < 0 ? self->begin : get_pts (self);
  append_output (self, self->done + begin * self->format.n_channels, (end - begin) * self->format.n_channels);
}

/* FALSE: its gains have not come, or do not fit. */
static gboolean
make_frame (GstSpectralGain *self)
{
  gsize length = self->sizes.frame_length, n_values = length * self->format.n_channels, available;
  gint64 centre = get_centre (self), tolerance = GST_SECOND / 2 / self->format.rate;
  SpectralBands *bands = NULL;
  const gfloat *gains;

  if (!gst_spectral_gain_is_known (self, centre, tolerance))
    return FALSE;
  gains = gst_spectral_gain_look_up (self, centre, tolerance, &bands);
  if (gains != NULL && !map_bands (self, bands))
    return FALSE;
  available = gst_adapter_available (self->adapter) / self->format.frame_size;
  if (available < length)
    push_silence (self, length - available);
  read_samples (&self->format, gst_adapter_map (self->adapter, length * self->format.frame_size), n_values,
                self->samples);
  gst_adapter_unmap (self->adapter);
  spectral_gain_process (self->filter, self->samples, gains, self->done);
  take_done (self);
  gst_adapter_flush (self->adapter, self->sizes.hop_length * self->format.frame_size);
  self->position += self->sizes.hop_length;
  return TRUE;
}

/* FALSE: something is missing that does not come from the pad `sink`. */
static gboolean
make_frames (GstSpectralGain *self)
{
  while (has_frame (self)) {
    if (!make_frame (self))
      return FALSE;
    if (self->output->len >= self->format.rate * self->format.frame_size) /* in pieces of a second */
      push_output (self);
    if (!is_flowing (self))
      return FALSE;
  }
  return TRUE;
}

/* ---- stretches ---- */

static void
end_stretch (GstSpectralGain *self)
{
  g_clear_pointer (&self->filter, spectral_gain_free);
  g_clear_pointer (&self->mapped, g_rc_box_release);
  g_clear_pointer (&self->samples, g_free);
  g_clear_pointer (&self->done, g_free);
  gst_adapter_clear (self->adapter);
  g_byte_array_set_size (self->output, 0);
  self->output_energy = 0;
  self->is_heard = self->has_speech = FALSE;
  frame_clock_forget (&self->clock);
  self->is_ended = FALSE;
}

void
gst_spectral_gain_forget_audio (GstSpectralGain *self)
{
  end_stretch (self);
  g_queue_clear_full (&self->items, (GDestroyNotify) gst_mini_object_unref);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  gst_segment_init (&self->arriving_segment, GST_FORMAT_UNDEFINED);
  self->has_grid = FALSE;
  self->n_output = 0;
  GST_OBJECT_LOCK (self);
  self->audio_held = 0;
  self->audio_at = GST_CLOCK_TIME_NONE;
  self->flow = GST_FLOW_OK;
  self->n_ending = 0;
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
}

/* Where in a hop the first sample of the stretch is. */
static guint
get_phase (GstSpectralGain *self)
{
  gint64 time = gst_spectral_gain_to_running_time (&self->segment, self->begin);
  guint64 n;

  if (!self->has_grid || time < self->grid) {
    self->grid = time;
    self->has_grid = TRUE;
  }
  n = gst_util_uint64_scale_round (time - self->grid, self->format.rate, GST_SECOND);
  return (guint) ((guint64) rint (n * ABS (self->segment.rate)) % self->sizes.hop_length);
}

static gboolean
make_filter (GstSpectralGain *self, GError **error)
{
  SpectralBands bands = gst_spectral_gain_resolve_bands (self->bands, self->format.rate);

  if (!spectral_gain_get_sizes (&bands, self->format.rate, &self->sizes, error))
    return FALSE;
  if ((guint64) self->sizes.frame_length * self->format.n_channels > MAX_FRAME_VALUES) {
    g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
                 "frames of %u samples in %d channels are %" G_GUINT64_FORMAT " values, the most is %d",
                 self->sizes.frame_length, self->format.n_channels,
                 (guint64) self->sizes.frame_length * self->format.n_channels, MAX_FRAME_VALUES);
    return FALSE;
  }
  self->filter = spectral_gain_new (&self->sizes, self->format.n_channels);
  self->samples = g_new (gdouble, (gsize) self->sizes.frame_length * self->format.n_channels);
  self->done = g_new (gdouble, (gsize) self->sizes.hop_length * self->format.n_channels);
  return TRUE;
}

/* FALSE: it cannot begin, or not yet, while nothing is known of the gains. */
static gboolean
begin_stretch (GstSpectralGain *self, GstBuffer *buffer)
{
  gint64 phase, length, hop;
  GError *error = NULL;

  if (!self->has_gains_caps && !self->is_closed)
    return FALSE;
  if (!make_filter (self, &error)) {
    gst_spectral_gain_fail (self, error);
    return FALSE;
  }
  length = self->sizes.frame_length;
  hop = self->sizes.hop_length;
  self->begin = GST_BUFFER_PTS_IS_VALID (buffer) ? GST_BUFFER_PTS (buffer) : self->segment.position;
  self->begin = MIN (self->begin, G_MAXINT64);
  phase = get_phase (self);
  self->position = -phase - (length - 1 - phase) / hop * hop;
  self->n_samples = 0;
  self->is_discont = TRUE;
  if (self->position < 0)
    push_silence (self, -self->position);
  frame_clock_set_rate (&self->clock, self->format.rate, 1, ROUNDING, ALIGNMENT_THRESHOLD);
  return TRUE;
}

static void
drop_item (GstSpectralGain *self)
{
  gst_mini_object_unref (g_queue_pop_head (&self->items));
}

/* FALSE: it has to wait. */
static gboolean
take_buffer (GstSpectralGain *self, GstBuffer *buffer)
{
  guint64 n = gst_buffer_get_size (buffer) / self->format.frame_size;
  GstClockTime pts = GST_BUFFER_PTS (buffer), duration = gst_spectral_gain_duration (&self->format, buffer);

  if (n > 0 && self->filter == NULL && !begin_stretch (self, buffer))
    return FALSE;
  GST_OBJECT_LOCK (self);
  self->audio_held -= MIN (duration, self->audio_held);
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
  if (n > 0) {
    gst_adapter_push (self->adapter, gst_buffer_ref (buffer));
    frame_clock_advance (&self->clock, pts, n);
    self->n_samples += n;
    self->segment.position = (GST_CLOCK_TIME_IS_VALID (pts) ? pts : self->segment.position) + duration;
  }
  drop_item (self);
  return TRUE;
}

/* ---- events ---- */

static gboolean
has_changed (GstSpectralGain *self, GstEvent *event)
{
  const GstSegment *segment;
  GstSegment before = self->segment;
  GstCaps *caps, *current;
  gboolean changed;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEGMENT) {
    gst_event_parse_segment (event, &segment);
    before.position = segment->position; /* ours has moved on */
    return !gst_segment_is_equal (segment, &before);
  }
  if (GST_EVENT_TYPE (event) != GST_EVENT_CAPS)
    return TRUE;
  gst_event_parse_caps (event, &caps);
  current = gst_pad_get_current_caps (self->srcpad);
  changed = current == NULL || !gst_caps_is_equal (current, caps);
  gst_clear_caps (&current);
  return changed;
}

static gboolean
ends_stretch (GstSpectralGain *self, GstMiniObject *item)
{
  if (GST_IS_BUFFER (item))
    return gst_buffer_get_size (GST_BUFFER (item)) > 0
           && frame_clock_jump (&self->clock, GST_BUFFER_PTS (item), GST_BUFFER_IS_DISCONT (item)) != 0;
  switch (GST_EVENT_TYPE (item)) {
  case GST_EVENT_CAPS:
  case GST_EVENT_SEGMENT:
    return has_changed (self, GST_EVENT (item));
  case GST_EVENT_STREAM_START:
  case GST_EVENT_GAP:
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    return TRUE;
  default:
    return FALSE;
  }
}

/* Everything before it has left, except audio that goes on behind it. */
static void
take_event (GstSpectralGain *self, GstEvent *event)
{
  gboolean is_eos = GST_EVENT_TYPE (event) == GST_EVENT_EOS, passes = has_changed (self, event);
  GstCaps *caps;

  gst_event_ref (event);
  drop_item (self);
  if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS && passes) {
    gst_event_parse_caps (event, &caps);
    gst_spectral_gain_read_format (&self->format, caps);
    self->has_grid = FALSE;
  }
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEGMENT && passes)
    gst_event_copy_segment (event, &self->segment);
  push_output (self);
  if (is_eos) {
    GST_OBJECT_LOCK (self);
    self->n_ending--;
    g_cond_broadcast (&self->changed);
    GST_OBJECT_UNLOCK (self);
  }
  if (passes)
    gst_pad_push_event (self->srcpad, gst_event_ref (event));
  gst_event_unref (event);
  if (is_eos && g_queue_is_empty (&self->items))
    end_flow (self, GST_FLOW_EOS);
}

/* ---- the flow ---- */

/* FALSE: it has to wait. */
static gboolean
take_item (GstSpectralGain *self)
{
  GstMiniObject *item = g_queue_peek_head (&self->items);

  if (item == NULL)
    return FALSE;
  if (self->filter != NULL && !self->is_ended && ends_stretch (self, item)) {
    self->is_ended = TRUE;
    return TRUE; /* after the frames that are left */
  }
  if (self->is_ended) {
    push_output (self);
    end_stretch (self);
  }
  if (GST_IS_BUFFER (item))
    return take_buffer (self, GST_BUFFER (item));
  take_event (self, GST_EVENT (item));
  return TRUE;
}

GstFlowReturn
gst_spectral_gain_advance (GstSpectralGain *self)
{
  GstFlowReturn flow;

  gst_spectral_gain_set (self, &self->is_working, TRUE);
  while (is_flowing (self))
    if ((self->filter != NULL && !make_frames (self)) || !take_item (self))
      break;
  if (is_flowing (self))
    push_output (self);
  gst_spectral_gain_count_anew (self);
  gst_spectral_gain_set (self, &self->is_working, FALSE);
  GST_OBJECT_LOCK (self);
  flow = self->flow;
  GST_OBJECT_UNLOCK (self);
  return flow;
}
