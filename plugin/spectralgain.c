/*
 * gst-attention: gains in the spectrum of audio: the mathematics of the element `spectralgain`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "spectralgain.h"

#include <gst/gst.h>
#include <gst/fft/gstfftf64.h>

#include <math.h>
#include <string.h>

/* Where on the bands a point of the FFT lies: between `band` and the next one, `part` of the way. */
typedef struct {
  guint band;
  gdouble part;
} Place;

struct _SpectralGain {
  SpectralGainSizes sizes;
  guint n_channels, n_bins;
  gdouble *analysis, *synthesis; /* [frame_length] */
  Place *places;                 /* [fft_size / 2 + 1] */
  GstFFTF64 *fft, *inverse;
  gdouble *points;            /* [fft_size] */
  GstFFTF64Complex *spectrum; /* [fft_size / 2 + 1] */
  gdouble *sums;              /* [n_channels][frame_length]: what frames so far add up to, from the next one on */
};

/* ---- sizes and times ---- */

static gboolean
refuse_frame (const SpectralBands *bands, guint rate, gdouble length, GError **error)
{
  g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
               "frame-length %g ms is %.3g samples at %u Hz, the least is 2 and the most %d",
               bands->settings.frame_length, length, rate, LOGMEL_MAX_FFT_SIZE);
  return FALSE;
}

/* As logmel cuts it: whole samples of its audio. Settings that do not fit count as they are. */
gdouble
spectral_bands_get_frame_time (const SpectralBands *bands)
{
  LogmelSizes sizes;

  if (!logmel_get_sizes (&bands->settings, bands->sample_rate, &sizes, NULL))
    return bands->settings.frame_length / 1000;
  return (gdouble) sizes.frame_length / bands->sample_rate;
}

/* The hop is hop [0] / hop [1] seconds. */
static void
get_hop (const SpectralBands *bands, guint64 hop[2])
{
  LogmelSizes sizes;

  if (bands->rate_n > 0) {
    hop[0] = bands->rate_d;
    hop[1] = bands->rate_n;
  } else if (logmel_get_sizes (&bands->settings, bands->sample_rate, &sizes, NULL)) {
    hop[0] = sizes.hop_length;
    hop[1] = bands->sample_rate;
  } else {
    hop[0] = MAX (bands->settings.hop_length, 1);
    hop[1] = 1000;
  }
}

gdouble
spectral_bands_get_hop_time (const SpectralBands *bands)
{
  guint64 hop[2];

  get_hop (bands, hop);
  return (gdouble) hop[0] / hop[1];
}

gdouble
spectral_bands_get_centre_time (const SpectralBands *bands)
{
  return logmel_is_centred (bands->settings.style) ? 0 : spectral_bands_get_frame_time (bands) / 2;
}

gboolean
spectral_gain_get_sizes (const SpectralBands *bands, guint rate, SpectralGainSizes *sizes, GError **error)
{
  LogmelSizes of_gains;
  guint64 hop[2], n_parts;
  gdouble length;

  if (!logmel_get_sizes (&bands->settings, bands->sample_rate, &of_gains, error)
      || !logmel_get_edges (&bands->settings, bands->sample_rate, NULL, error))
    return FALSE;
  length = rint ((gdouble) of_gains.frame_length * rate / bands->sample_rate);
  if (length < 2 || length > LOGMEL_MAX_FFT_SIZE)
    return refuse_frame (bands, rate, length, error);
  sizes->frame_length = (guint) length;

  get_hop (bands, hop);
  hop[0] *= rate; /* now in samples */
  n_parts = (hop[0] + hop[1] * (sizes->frame_length / 2) - 1) / (hop[1] * (sizes->frame_length / 2));
  sizes->hop_length = MAX (hop[0] / (hop[1] * MAX (n_parts, 1)), 1);
  for (sizes->fft_size = 2; sizes->fft_size < sizes->frame_length;)
    sizes->fft_size *= 2;
  return TRUE;
}

/*
 * Frames of audio have their centres at length / 2 + k hop, those of gains at `shift` + i gain_hop, where `shift` is
 * what lies between timestamp and centre. The distance from one to the next of the other is, modulo g, the same
 * everywhere.
 */
gint64
spectral_gain_get_wait (const SpectralBands *bands, guint rate, const SpectralGainSizes *sizes)
{
  guint64 hop[2], g;
  gdouble unit, shift, half = 0.5 * sizes->frame_length / rate, rest, gain_hop;

  get_hop (bands, hop);
  g = gst_util_greatest_common_divisor_int64 (sizes->hop_length * hop[1], hop[0] * rate);
  unit = (gdouble) g / ((gdouble) hop[1] * rate);
  gain_hop = spectral_bands_get_hop_time (bands);
  shift = spectral_bands_get_centre_time (bands);
  rest = fmod (shift - half, unit);
  if (rest < 0)
    rest += unit;
  if (rest > unit - 0.5 / rate) /* the same sample */
    rest -= unit;
  return (gint64) rint ((half - shift + gain_hop - unit + rest) * GST_SECOND);
}

gfloat
spectral_gain_limit (gfloat gain, gdouble floor)
{
  gdouble limited = gain > 0 ? gain : 0; /* NaN is not above 0 */

  return (gfloat) CLAMP (limited, floor, SPECTRAL_GAIN_MAX);
}

/* ---- the object ---- */

/* Samples that are a whole number of hops apart meet at the same place. */
static void
make_windows (SpectralGain *self)
{
  guint length = self->sizes.frame_length, hop = self->sizes.hop_length, i, j;

  for (i = 0; i < length; i++)
    self->analysis[i] = sin (G_PI * (i + 0.5) / length);
  for (i = 0; i < hop; i++) {
    gdouble sum = 0;

    for (j = i; j < length; j += hop)
      sum += self->analysis[j] * self->analysis[j];
    for (j = i; j < length; j += hop)
      self->synthesis[j] = self->analysis[j] / (sum * self->sizes.fft_size); /* the inverse FFT does not divide */
  }
}

SpectralGain *
spectral_gain_new (const SpectralGainSizes *sizes, guint n_channels)
{
  SpectralGain *self = g_new0 (SpectralGain, 1);

  self->sizes = *sizes;
  self->n_channels = n_channels;
  self->analysis = g_new (gdouble, sizes->frame_length);
  self->synthesis = g_new (gdouble, sizes->frame_length);
  make_windows (self);
  self->fft = gst_fft_f64_new (sizes->fft_size, FALSE);
  self->inverse = gst_fft_f64_new (sizes->fft_size, TRUE);
  self->points = g_new0 (gdouble, sizes->fft_size);
  self->spectrum = g_new (GstFFTF64Complex, sizes->fft_size / 2 + 1);
  self->places = g_new0 (Place, sizes->fft_size / 2 + 1);
  self->sums = g_new0 (gdouble, (gsize) n_channels * sizes->frame_length);
  return self;
}

void
spectral_gain_free (SpectralGain *self)
{
  if (self == NULL)
    return;
  gst_fft_f64_free (self->fft);
  gst_fft_f64_free (self->inverse);
  g_free (self->analysis);
  g_free (self->synthesis);
  g_free (self->points);
  g_free (self->spectrum);
  g_free (self->places);
  g_free (self->sums);
  g_free (self);
}

gboolean
spectral_gain_set_bands (SpectralGain *self, const SpectralBands *bands, guint rate, GError **error)
{
  guint n_bins = bands->settings.n_bins, band = 0, point;
  gdouble *edges = g_new (gdouble, n_bins + 2), *centres = edges + 1;

  if (!logmel_get_edges (&bands->settings, bands->sample_rate, edges, error)) {
    g_free (edges);
    return FALSE;
  }
  for (point = 0; point <= self->sizes.fft_size / 2; point++) {
    gdouble at = logmel_get_position (&bands->settings, (gdouble) point * rate / self->sizes.fft_size);

    while (band + 1 < n_bins && centres[band + 1] <= at)
      band++;
    self->places[point].band = band;
    self->places[point].part =
        band + 1 < n_bins && at > centres[band] ? (at - centres[band]) / (centres[band + 1] - centres[band]) : 0;
  }
  self->n_bins = n_bins;
  g_free (edges);
  return TRUE;
}

static void
apply_gains (SpectralGain *self, const gfloat *gains)
{
  guint point;

  for (point = 0; point <= self->sizes.fft_size / 2; point++) {
    const Place *place = &self->places[point];
    gdouble gain = gains[place->band];

    if (place->part > 0)
      gain += place->part * ((gdouble) gains[place->band + 1] - gain);
    self->spectrum[point].r *= gain;
    self->spectrum[point].i *= gain;
  }
}

/* One channel: `samples` and `out` point to its first value; the next is n_channels further. */
static void
process_channel (SpectralGain *self, const gdouble *samples, const gfloat *gains, gdouble *sums, gdouble *out)
{
  guint length = self->sizes.frame_length, hop = self->sizes.hop_length, i;

  for (i = 0; i < length; i++)
    self->points[i] = samples[(gsize) i * self->n_channels] * self->analysis[i];
  memset (self->points + length, 0, (self->sizes.fft_size - length) * sizeof *self->points);
  gst_fft_f64_fft (self->fft, self->points, self->spectrum);
  if (gains != NULL)
    apply_gains (self, gains);
  gst_fft_f64_inverse_fft (self->inverse, self->spectrum, self->points);

  for (i = 0; i < length; i++)
    sums[i] += self->points[i] * self->synthesis[i];
  for (i = 0; i < hop; i++)
    out[(gsize) i * self->n_channels] = sums[i];
  memmove (sums, sums + hop, (length - hop) * sizeof *sums);
  memset (sums + length - hop, 0, hop * sizeof *sums);
}

void
spectral_gain_process (SpectralGain *self, const gdouble *samples, const gfloat *gains, gdouble *out)
{
  guint channel;

  for (channel = 0; channel < self->n_channels; channel++)
    process_channel (self, samples + channel, gains, self->sums + (gsize) channel * self->sizes.frame_length,
                     out + channel);
}
