/*
 * gst-attention: the element `spectralgain`: how late samples leave, and how long they wait for their gains.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstspectralgain-private.h"

gint64
gst_spectral_gain_to_running_time (const GstSegment *segment, GstClockTime pts)
{
  guint64 time = 0;
  gint sign;

  if (segment->format != GST_FORMAT_TIME) /* a buffer without a segment, of which GStreamer warns */
    return 0;
  sign = gst_segment_to_running_time_full (segment, GST_FORMAT_TIME, MIN (pts, GST_SPECTRAL_GAIN_MAX_TIME), &time);
  return sign * (gint64) MIN (time, GST_SPECTRAL_GAIN_MAX_TIME);
}

gboolean
gst_spectral_gain_read_format (AudioFormat *format, GstCaps *caps)
{
  const GstStructure *structure = gst_caps_get_structure (caps, 0);

  format->is_float = g_strcmp0 (gst_structure_get_string (structure, "format"), GST_AUDIO_NE (F32)) == 0;
  format->is_known = gst_structure_get_int (structure, "rate", &format->rate)
                     && gst_structure_get_int (structure, "channels", &format->n_channels) && format->rate > 0
                     && format->n_channels > 0;
  format->frame_size = (gsize) format->n_channels * (format->is_float ? sizeof (gfloat) : sizeof (gint16));
  return format->is_known;
}

void
gst_spectral_gain_fail (GstSpectralGain *self, GError *error)
{
  gst_features_post_error (self, error);
  GST_OBJECT_LOCK (self);
  self->flow = GST_FLOW_ERROR;
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
}

void
gst_spectral_gain_set (GstSpectralGain *self, gboolean *flag, gboolean value)
{
  GST_OBJECT_LOCK (self);
  *flag = value;
  g_cond_broadcast (&self->changed);
  GST_OBJECT_UNLOCK (self);
}

/* ---- latency ---- */

void
gst_spectral_gain_update_latency (GstSpectralGain *self, const AudioFormat *format)
{
  SpectralBands bands;
  SpectralGainSizes sizes;
  GstClockTime latency;
  gint64 gains_latency;
  gboolean changed;

  if (!format->is_known)
    return;
  bands = gst_spectral_gain_resolve_bands (self->bands, format->rate);
  if (!spectral_gain_get_sizes (&bands, format->rate, &sizes, NULL))
    return; /* is said when audio comes */
  latency = gst_util_uint64_scale_ceil (sizes.frame_length - 1, GST_SECOND, format->rate);
  gains_latency = spectral_gain_get_wait (&bands, format->rate, &sizes);
  GST_OBJECT_LOCK (self);
  changed = latency != self->latency || gains_latency != self->gains_latency;
  self->latency = latency;
  self->gains_latency = gains_latency;
  GST_OBJECT_UNLOCK (self);
  if (changed)
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
}

typedef struct {
  gboolean is_live;
  GstClockTime min, max;
} Latency;

/* What lies before `pad`, and what this element adds on this side. */
static gboolean
query_side (GstPad *pad, gint64 own, GstClockTime held, Latency *latency)
{
  GstQuery *query = gst_query_new_latency ();
  gboolean answered = gst_pad_peer_query (pad, query);

  if (answered) {
    gst_query_parse_latency (query, &latency->is_live, &latency->min, &latency->max);
    latency->min = own < 0 ? latency->min - MIN ((GstClockTime) -own, latency->min) : latency->min + own;
    if (GST_CLOCK_TIME_IS_VALID (latency->max))
      latency->max = held < G_MAXINT64 ? latency->max + held : GST_CLOCK_TIME_NONE;
  }
  gst_query_unref (query);
  return answered;
}

gboolean
gst_spectral_gain_query_latency (GstSpectralGain *self, GstQuery *query)
{
  Latency audio, gains = { FALSE, 0, GST_CLOCK_TIME_NONE };
  GstClockTime own, held;
  gint64 own_gains;

  GST_OBJECT_LOCK (self);
  own = self->latency;
  own_gains = self->gains_latency;
  held = self->settings.max_wait;
  GST_OBJECT_UNLOCK (self);
  if (!query_side (self->sinkpad, own, held, &audio))
    return FALSE;
  if (gst_pad_is_linked (self->gainspad) && !query_side (self->gainspad, own_gains, held, &gains))
    return FALSE;
  if (!gains.is_live) /* what does not come in real time is there in time */
    gains.min = 0;
  gst_query_set_latency (query, audio.is_live || gains.is_live, MAX (audio.min, gains.min), MIN (audio.max, gains.max));
  return TRUE;
}

/* ---- waiting ---- */

void
gst_spectral_gain_count_anew (GstSpectralGain *self)
{
  GST_OBJECT_LOCK (self);
  self->waiting_since = g_get_monotonic_time ();
  GST_OBJECT_UNLOCK (self);
}

static void
fail_for_lack (GstSpectralGain *self, GstClockTime audio_at, GstClockTime gains_at, GstClockTime waited)
{
  GError *error = NULL;
  gchar *gains = GST_CLOCK_TIME_IS_VALID (gains_at)
                     ? g_strdup_printf ("gains only up to %" GST_TIME_FORMAT, GST_TIME_ARGS (gains_at))
                     : g_strdup ("no gains at all");

  g_set_error (&error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
               "audio has come up to %" GST_TIME_FORMAT ", but %s (running time), and none came for %g s%s",
               GST_TIME_ARGS (audio_at), gains, waited / 1e9,
               gst_pad_is_linked (self->gainspad)
                   ? ": the branch that makes them has stopped, needs a queue, or is slower than max-wait"
                   : ": nothing is linked to the pad gains");
  g_free (gains);
  gst_spectral_gain_fail (self, error);
}

/* With the object lock. Whether the pad `sink` has to wait for gains. */
static gboolean
waits_for_gains (GstSpectralGain *self)
{
  return (self->n_ending > 0 || self->audio_held > self->settings.max_wait) && self->flow == GST_FLOW_OK
         && !self->is_flushing && !self->is_stopping;
}

/* With the object lock. Whether it has waited for too long. While the pipeline is paused anything may stand still. */
static gboolean
lacks_gains (GstSpectralGain *self, gint64 since)
{
  gint64 until = MAX (since, self->waiting_since) + (gint64) (self->settings.max_wait / GST_USECOND);

  if (self->is_working || self->is_paused) {
    g_cond_wait (&self->changed, GST_OBJECT_GET_LOCK (self));
    return FALSE;
  }
  if (g_cond_wait_until (&self->changed, GST_OBJECT_GET_LOCK (self), until))
    return FALSE;
  until = MAX (since, self->waiting_since) + (gint64) (self->settings.max_wait / GST_USECOND);
  return g_get_monotonic_time () >= until && !self->is_working && !self->is_paused && waits_for_gains (self);
}

/* Until there are gains, or there is a reason not to. It is an error when none come for too long. */
void
gst_spectral_gain_wait (GstSpectralGain *self)
{
  gint64 since = g_get_monotonic_time ();
  GstClockTime audio_at, gains_at, max_wait;
  gboolean lacks = FALSE;

  GST_OBJECT_LOCK (self);
  while (waits_for_gains (self) && !lacks)
    lacks = lacks_gains (self, since);
  audio_at = self->audio_at;
  gains_at = self->gains_at;
  max_wait = self->settings.max_wait;
  GST_OBJECT_UNLOCK (self);
  if (lacks)
    fail_for_lack (self, audio_at, gains_at, max_wait);
}

static gpointer
watch_ending (gpointer self)
{
  gst_spectral_gain_wait (self);
  return NULL;
}

void
gst_spectral_gain_join_watch (GstSpectralGain *self)
{
  GThread *watch;

  GST_OBJECT_LOCK (self);
  watch = g_steal_pointer (&self->watch);
  GST_OBJECT_UNLOCK (self);
  if (watch != NULL)
    g_thread_join (watch);
}

/*
 * The thread that brought EOS goes back, since the gains may come in the same one; another watches that they do come.
 */
void
gst_spectral_gain_start_watch (GstSpectralGain *self)
{
  GST_OBJECT_LOCK (self);
  if (self->watch == NULL && self->n_ending > 0 && waits_for_gains (self))
    self->watch = g_thread_new ("spectralgain-eos", watch_ending, self);
  GST_OBJECT_UNLOCK (self);
}
