/*
 * gst-attention: the element `spectralgain`: the gains over time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames of gains stand at the running time of their centre, and gains between two neighbours are interpolated.
 * Where none came (before the first, in a gap, behind the last) all gains are 1, and so is the whole frame next to it:
 * frames of ones are put a hop beside those that came, and between two of them there is nothing but ones.
 */
#include "gstspectralgain-private.h"

#include <math.h>

static gint64
to_ns (gdouble seconds)
{
  return (gint64) (seconds * GST_SECOND + 0.5);
}

/* Running time goes slower than the time of the stream where the rate is above 1. */
static gint64
in_running_time (GstSpectralGain *self, gdouble seconds)
{
  return to_ns (seconds / ABS (self->gains_segment.rate));
}

static gint64
get_hop (GstSpectralGain *self)
{
  SpectralBands bands = gst_spectral_gain_resolve_bands (self->bands, self->arriving.rate);

  return MAX (in_running_time (self, spectral_bands_get_hop_time (&bands)), 1);
}

static gint64
get_centre (GstSpectralGain *self, GstClockTime pts)
{
  SpectralBands bands = gst_spectral_gain_resolve_bands (self->bands, self->arriving.rate);

  return gst_spectral_gain_to_running_time (&self->gains_segment, pts)
         + in_running_time (self, spectral_bands_get_centre_time (&bands));
}

static void
free_frame (gpointer data)
{
  GainFrame *frame = data;

  if (frame->bands != NULL)
    g_rc_box_release (frame->bands);
  g_free (frame);
}

/* ---- frames ---- */

/* Tells the pad `gains` how much waits. */
static void
count_held (GstSpectralGain *self)
{
  GainFrame *first = g_queue_peek_head (&self->frames), *last = g_queue_peek_tail (&self->frames);

  GST_OBJECT_LOCK (self);
  self->gains_held = first != NULL ? last->time - first->time : 0;
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
}

static gint64
last_time (GstSpectralGain *self)
{
  return ((GainFrame *) g_queue_peek_tail (&self->frames))->time;
}

static gboolean
ends_with_ones (GstSpectralGain *self)
{
  GainFrame *last = g_queue_peek_tail (&self->frames);

  return last == NULL || last->bands == NULL;
}

/* gains [n_values], or NULL: ones. */
static void
append_frame (GstSpectralGain *self, gint64 time, const gfloat *gains)
{
  guint n_bins = gains != NULL ? self->bands->settings.n_bins : 0, i;
  GainFrame *frame = g_malloc (sizeof *frame + n_bins * sizeof *gains);
  gdouble floor;

  GST_OBJECT_LOCK (self);
  floor = pow (10, self->settings.floor / 20);
  GST_OBJECT_UNLOCK (self);
  frame->time = time;
  frame->bands = gains != NULL ? g_rc_box_acquire (self->bands) : NULL;
  frame->is_heard = gains != NULL && self->features.n_features > n_bins;
  frame->is_speech = frame->is_heard && self->is_speech;
  for (i = 0; i < n_bins; i++)
    frame->gains[i] = spectral_gain_limit (gains[i], floor);
  g_queue_push_tail (&self->frames, frame);
}

/* What comes last counts, where two are for the same time; where none are, there are ones. */
static void
add_frame (GstSpectralGain *self, gint64 time, const gfloat *gains)
{
  gint64 hop = get_hop (self);

  while (!g_queue_is_empty (&self->frames) && last_time (self) > time - hop / 2)
    free_frame (g_queue_pop_tail (&self->frames));
  if (!ends_with_ones (self) && time - last_time (self) > hop + hop / 2)
    append_frame (self, last_time (self) + hop, NULL);
  if (gains != NULL && (g_queue_is_empty (&self->frames) || time - last_time (self) > hop + hop / 2))
    append_frame (self, time - hop, NULL);
  append_frame (self, time, gains);
}

void
gst_spectral_gain_forget_gains (GstSpectralGain *self)
{
  g_queue_clear_full (&self->frames, free_frame);
  self->is_closed = FALSE;
  self->gains_pts = GST_CLOCK_TIME_NONE;
  self->is_speech = FALSE;
  count_held (self);
  GST_OBJECT_LOCK (self);
  self->gains_at = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
}

/* Gains have come up to `pts`. */
static void
reach (GstSpectralGain *self, GstClockTime pts)
{
  gint64 at = gst_spectral_gain_to_running_time (&self->gains_segment, pts);

  self->gains_pts = pts;
  GST_OBJECT_LOCK (self);
  self->gains_at = MAX (at, 0);
  GST_OBJECT_UNLOCK (self);
  count_held (self);
}

void
gst_spectral_gain_add_gap (GstSpectralGain *self, GstClockTime pts, GstClockTime duration)
{
  gint64 first, last;

  if (!GST_CLOCK_TIME_IS_VALID (pts) || !GST_CLOCK_TIME_IS_VALID (duration) || duration > G_MAXINT64 - pts)
    return;
  first = get_centre (self, pts);
  last = get_centre (self, pts + duration) - get_hop (self);
  self->is_closed = FALSE;
  add_frame (self, first, NULL);
  if (last > first + get_hop (self) / 2)
    add_frame (self, last, NULL);
  reach (self, pts + duration);
}

void
gst_spectral_gain_close_gains (GstSpectralGain *self)
{
  if (!ends_with_ones (self))
    append_frame (self, last_time (self) + get_hop (self), NULL);
  self->is_closed = TRUE;
}

/* ---- speech ---- */

static void
post_speech (GstSpectralGain *self, GstClockTime pts, gfloat probability)
{
  SpectralBands bands = gst_spectral_gain_resolve_bands (self->bands, self->arriving.rate);
  GstClockTime centre = pts + to_ns (spectral_bands_get_centre_time (&bands));
  GstStructure *structure = gst_structure_new (
      "spectralgain", "timestamp", G_TYPE_UINT64, centre, "stream-time", G_TYPE_UINT64,
      gst_segment_to_stream_time (&self->gains_segment, GST_FORMAT_TIME, centre), "running-time", G_TYPE_UINT64,
      gst_segment_to_running_time (&self->gains_segment, GST_FORMAT_TIME, centre), "probability", G_TYPE_DOUBLE,
      (gdouble) probability, "speech", G_TYPE_BOOLEAN, self->is_speech, NULL);

  gst_element_post_message (GST_ELEMENT (self), gst_message_new_element (GST_OBJECT (self), structure));
}

/* NaN is neither above nor below. */
static void
hear (GstSpectralGain *self, GstClockTime pts, gfloat probability)
{
  gdouble threshold, least;

  GST_OBJECT_LOCK (self);
  threshold = self->settings.threshold;
  least = threshold - self->settings.hysteresis;
  GST_OBJECT_UNLOCK (self);
  if (self->is_speech ? probability < least : probability >= threshold) {
    self->is_speech = !self->is_speech;
    post_speech (self, pts, probability);
  }
}

/* ---- buffers ---- */

/* The PTS of frame `i` behind `pts`. */
static GstClockTime
pts_of (GstSpectralGain *self, GstClockTime pts, gsize i)
{
  GstClockTime elapsed = gst_features_duration (&self->features, i);
  SpectralBands bands = gst_spectral_gain_resolve_bands (self->bands, self->arriving.rate);

  if (!GST_CLOCK_TIME_IS_VALID (elapsed))
    elapsed = to_ns (spectral_bands_get_hop_time (&bands) * i);
  return pts > G_MAXINT64 - elapsed ? G_MAXINT64 : pts + elapsed;
}

static void
add_frames (GstSpectralGain *self, GstClockTime pts, const gfloat *values, gsize n)
{
  guint n_values = self->features.n_features, n_bins = self->bands->settings.n_bins;
  gsize i;

  for (i = 0; i < n; i++, values += n_values) {
    GstClockTime at = pts_of (self, pts, i);

    if (n_values > n_bins)
      hear (self, at, values[n_bins]);
    add_frame (self, get_centre (self, at), values);
  }
  reach (self, pts_of (self, pts, n));
}

GstFlowReturn
gst_spectral_gain_add_gains (GstSpectralGain *self, GstBuffer *buffer)
{
  GstClockTime pts = GST_BUFFER_PTS (buffer);
  gsize size = gst_buffer_get_size (buffer), n;
  gfloat *values;
  GError *error = NULL;

  if (!gst_features_count_frames (&self->features, size, &n, &error))
    goto wrong_size;
  if (n == 0)
    return GST_FLOW_OK;
  if (!GST_CLOCK_TIME_IS_VALID (pts))
    pts = GST_CLOCK_TIME_IS_VALID (self->gains_pts) ? self->gains_pts : self->gains_segment.start;
  pts = MIN (pts, G_MAXINT64);
  if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP)) {
    gst_spectral_gain_add_gap (self, pts, pts_of (self, pts, n) - pts);
    return GST_FLOW_OK;
  }
  values = g_malloc (size); /* the memory of a buffer may begin anywhere */
  if (gst_buffer_extract (buffer, 0, values, size) != size)
    goto unreadable;
  self->is_closed = FALSE;
  add_frames (self, pts, values, n);
  g_free (values);
  return GST_FLOW_OK;

  /* ERRORS */
unreadable:
  g_free (values);
  g_set_error (&error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ,
               "a buffer of %" G_GSIZE_FORMAT " bytes of gains cannot be read", size);
wrong_size:
  gst_spectral_gain_fail (self, error);
  return GST_FLOW_ERROR;
}

/* ---- the gains at a time ---- */

gboolean
gst_spectral_gain_is_known (GstSpectralGain *self, gint64 time, gint64 tolerance)
{
  return self->is_closed || (!g_queue_is_empty (&self->frames) && last_time (self) >= time - tolerance);
}

static gfloat
gain_of (const GainFrame *frame, guint bin)
{
  return frame->bands != NULL ? frame->gains[bin] : 1.0f;
}

/* `part` of the way from `a` to `b`. Where the bands have changed in between, the nearer one. */
static const gfloat *
mix (GstSpectralGain *self, const GainFrame *a, const GainFrame *b, gdouble part, SpectralBands **bands)
{
  guint i;

  if (a->bands != NULL && b->bands != NULL && a->bands != b->bands) {
    const GainFrame *nearer = part < 0.5 ? a : b;

    *bands = nearer->bands;
    return nearer->gains;
  }
  *bands = a->bands != NULL ? a->bands : b->bands;
  if (*bands == NULL)
    return NULL;
  for (i = 0; i < (*bands)->settings.n_bins; i++)
    self->mixed[i] = gain_of (a, i) + part * ((gdouble) gain_of (b, i) - gain_of (a, i));
  return self->mixed;
}

/* Frames of audio go back by less than two of them where another stretch begins. */
static void
drop_old (GstSpectralGain *self, gint64 time)
{
  gint64 keep = 2 * GST_SECOND * (gint64) self->sizes.frame_length / self->format.rate;
  GainFrame *second;

  while ((second = g_queue_peek_nth (&self->frames, 1)) != NULL && second->time < time - keep)
    free_frame (g_queue_pop_head (&self->frames));
  count_held (self);
}

const gfloat *
gst_spectral_gain_look_up (GstSpectralGain *self, gint64 time, gint64 tolerance, SpectralBands **bands)
{
  GainFrame *first, *second;
  GList *link;

  drop_old (self, time);
  link = self->frames.head;
  while (link != NULL && link->next != NULL && ((GainFrame *) link->next->data)->time <= time + tolerance)
    link = link->next;
  if (link == NULL)
    return NULL;
  first = link->data;
  second = link->next != NULL ? link->next->data : NULL;
  if (first->time > time + tolerance)
    return NULL;
  self->is_heard |= first->is_heard;
  self->has_speech |= first->is_speech;
  if (second != NULL && time - first->time > tolerance)
    return mix (self, first, second, (gdouble) (time - first->time) / (second->time - first->time), bands);
  *bands = first->bands;
  return first->bands != NULL && time - first->time <= tolerance ? first->gains : NULL;
}
