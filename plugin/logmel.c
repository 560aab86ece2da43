/*
 * gst-attention: log-mel frames: the mathematics of the element `logmel`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "logmel.h"

#include <gst/gst.h>
#include <gst/fft/gstfftf64.h>

#include <float.h>
#include <math.h>
#include <string.h>

#define PREEMPHASIS 0.97        /* Kaldi's default, as HTK's */
#define POVEY_EXPONENT 0.85     /* Kaldi, feat/feature-window: a Hann window that goes to 0 like a Hamming window */
#define KALDI_FLOOR FLT_EPSILON /* both floors as in the originals, where they keep the logarithm finite */
#define WHISPER_FLOOR 1e-10
#define WHISPER_RANGE 8.0  /* log10: values further below the maximum count as silence */
#define NEMO_GUARD 0x1p-24 /* log_zero_guard_value, which is added */

/* Below this a weight is the rounding of an edge that falls on an FFT point, such as the last on half of the rate. */
#define MIN_WEIGHT 1e-12

/* The FFT points [first, first + n_weights) that a bin adds up. */
typedef struct {
  guint first, n_weights;
  const gdouble *weights;
} Filter;

struct _Logmel {
  LogmelSettings settings;
  LogmelSizes sizes;
  gdouble *window; /* [frame_length] */
  GArray *weights; /* gdouble: those of all filters, one after the other */
  Filter *filters; /* [n_bins] */
  GstFFTF64 *fft;
  gdouble *points;            /* [fft_size]; behind frame_length they stay 0 */
  GstFFTF64Complex *spectrum; /* [fft_size / 2 + 1] */
  gdouble *power;             /* [fft_size / 2 + 1] */
};

void
logmel_settings_init (LogmelSettings *settings, GstLogmelStyle style)
{
  gboolean is_kaldi = style == GST_LOGMEL_STYLE_KALDI;

  settings->style = style;
  settings->n_bins = 80;
  settings->frame_length = 25.0;
  settings->hop_length = 10.0;
  settings->fft_size = 0;
  settings->low_frequency = is_kaldi ? 20.0 : 0.0;
  settings->high_frequency = 0.0;
  settings->window_function = is_kaldi ? GST_LOGMEL_WINDOW_POVEY : GST_LOGMEL_WINDOW_HANN;
  settings->mel_scale = is_kaldi ? GST_LOGMEL_MEL_SCALE_HTK : GST_LOGMEL_MEL_SCALE_SLANEY;
  settings->log_maximum = 0.0;
}

gboolean
logmel_is_centred (GstLogmelStyle style)
{
  return style != GST_LOGMEL_STYLE_KALDI;
}

/* FALSE, with a sentence. */
#define fail(error, ...) (g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS, __VA_ARGS__), FALSE)

/* Rounded down, in the same order of operations as torchaudio, so that both come to the same number of samples. */
static gboolean
get_samples (const gchar *property, gdouble ms, guint rate, guint minimum, guint *n_samples, GError **error)
{
  gdouble n = rate * ms * 0.001;

  if (!(n >= minimum))
    return fail (error, "%s %g ms is %.3g samples at %u Hz, the least is %u", property, ms, n, rate, minimum);
  if (n > LOGMEL_MAX_FFT_SIZE)
    return fail (error, "%s %g ms is %.0f samples at %u Hz, the most is %u", property, ms, n, rate,
                 LOGMEL_MAX_FFT_SIZE);
  *n_samples = (guint) n;
  return TRUE;
}

static guint
get_default_fft_size (GstLogmelStyle style, guint frame_length)
{
  guint size = 2;

  if (style == GST_LOGMEL_STYLE_WHISPER)
    return frame_length + frame_length % 2; /* a real FFT has an even number of points */
  while (size < frame_length)
    size *= 2;
  return size;
}

gboolean
logmel_get_sizes (const LogmelSettings *settings, guint rate, LogmelSizes *sizes, GError **error)
{
  if (!get_samples ("frame-length", settings->frame_length, rate, 2, &sizes->frame_length, error)
      || !get_samples ("hop-length", settings->hop_length, rate, 1, &sizes->hop_length, error))
    return FALSE;

  sizes->fft_size = settings->fft_size;
  if (sizes->fft_size == 0)
    sizes->fft_size = get_default_fft_size (settings->style, sizes->frame_length);
  if (sizes->fft_size < sizes->frame_length)
    return fail (error, "fft-size %u is smaller than the frame: frame-length %g ms is %u samples at %u Hz",
                 sizes->fft_size, settings->frame_length, sizes->frame_length, rate);
  if (sizes->fft_size % 2 != 0)
    return fail (error, "fft-size %u is odd, an even number of points is needed", sizes->fft_size);
  return TRUE;
}

/* Whisper's windows end one sample behind the frame (periodic), those of Kaldi and of NeMo with it (symmetric). */
static gdouble
window_value (const LogmelSettings *settings, guint i, guint length)
{
  gboolean is_periodic = settings->style == GST_LOGMEL_STYLE_WHISPER;
  gdouble x = 2.0 * G_PI * i / (is_periodic ? length : length - 1);

  switch (settings->window_function) {
  case GST_LOGMEL_WINDOW_POVEY:
    return pow (0.5 - 0.5 * cos (x), POVEY_EXPONENT);
  case GST_LOGMEL_WINDOW_HANN:
    return 0.5 - 0.5 * cos (x);
  case GST_LOGMEL_WINDOW_HAMMING:
    return 0.54 - 0.46 * cos (x);
  case GST_LOGMEL_WINDOW_BLACKMAN:
    return 0.42 - 0.5 * cos (x) + 0.08 * cos (2.0 * x);
  case GST_LOGMEL_WINDOW_RECTANGULAR:
    break;
  }
  return 1.0;
}

/* Slaney, "Auditory Toolbox" (1998): 15 mel per 1000 Hz up to there, above 27 mel for each factor of 6.4. */
#define SLANEY_BREAK_HZ 1000.0
#define SLANEY_BREAK_MEL 15.0
#define SLANEY_MEL_PER_E (27.0 / log (6.4))

/* Young et al., "The HTK Book": 2595 log10 (1 + f / 700), with Kaldi's constant for the natural logarithm. */
#define HTK_HZ 700.0
#define HTK_MEL_PER_E 1127.0

static gdouble
hz_to_mel (GstLogmelMelScale scale, gdouble hz)
{
  if (scale == GST_LOGMEL_MEL_SCALE_HTK)
    return HTK_MEL_PER_E * log (1.0 + hz / HTK_HZ);
  if (hz < SLANEY_BREAK_HZ)
    return hz * SLANEY_BREAK_MEL / SLANEY_BREAK_HZ;
  return SLANEY_BREAK_MEL + log (hz / SLANEY_BREAK_HZ) * SLANEY_MEL_PER_E;
}

static gdouble
mel_to_hz (GstLogmelMelScale scale, gdouble mel)
{
  if (scale == GST_LOGMEL_MEL_SCALE_HTK)
    return HTK_HZ * (exp (mel / HTK_MEL_PER_E) - 1.0);
  if (mel < SLANEY_BREAK_MEL)
    return mel * SLANEY_BREAK_HZ / SLANEY_BREAK_MEL;
  return SLANEY_BREAK_HZ * exp ((mel - SLANEY_BREAK_MEL) / SLANEY_MEL_PER_E);
}

static gboolean
check_frequencies (const LogmelSettings *settings, guint rate, gdouble *low, gdouble *high, GError **error)
{
  gdouble nyquist = 0.5 * rate;

  *low = settings->low_frequency;
  *high = settings->high_frequency > 0.0 ? settings->high_frequency : nyquist + settings->high_frequency;
  if (!(*high <= nyquist))
    return fail (error, "high-frequency %g Hz is above %g Hz, half of the sample rate", *high, nyquist);
  if (!(*low >= 0.0 && *low < *high))
    return fail (error, "low-frequency %g Hz is not below high-frequency %g Hz (half of the sample rate: %g Hz)", *low,
                 *high, nyquist);
  return TRUE;
}

/* Bins are triangles from edges [bin] over [bin + 1] to [bin + 2], which lie at equal distances in mel. */
typedef struct {
  const LogmelSettings *settings;
  gdouble low_mel, mel_step;
} Edges;

static gboolean
find_edges (Edges *edges, const LogmelSettings *settings, guint rate, GError **error)
{
  gdouble low, high;

  if (!check_frequencies (settings, rate, &low, &high, error))
    return FALSE;
  edges->settings = settings;
  edges->low_mel = hz_to_mel (settings->mel_scale, low);
  edges->mel_step = (hz_to_mel (settings->mel_scale, high) - edges->low_mel) / (settings->n_bins + 1);
  return TRUE;
}

/* Where on the axis that the triangles are straight on: mel for Kaldi, Hz for the others. */
static gdouble
edge_position (const Edges *edges, guint edge)
{
  gdouble mel = edges->low_mel + edge * edges->mel_step;

  return edges->settings->style == GST_LOGMEL_STYLE_KALDI ? mel : mel_to_hz (edges->settings->mel_scale, mel);
}

gdouble
logmel_get_position (const LogmelSettings *settings, gdouble hz)
{
  return settings->style == GST_LOGMEL_STYLE_KALDI ? hz_to_mel (settings->mel_scale, hz) : hz;
}

gboolean
logmel_get_edges (const LogmelSettings *settings, guint rate, gdouble *positions, GError **error)
{
  Edges edges;
  guint i;

  if (!find_edges (&edges, settings, rate, error))
    return FALSE;
  for (i = 0; positions != NULL && i < settings->n_bins + 2; i++)
    positions[i] = edge_position (&edges, i);
  return TRUE;
}

/* Appends the filter of a bin. *first is the point to look from and moves up with the bins. */
static void
append_filter (Logmel *self, const Edges *edges, guint bin, gdouble hz_per_point, guint *first)
{
  gdouble left = edge_position (edges, bin), centre = edge_position (edges, bin + 1),
          right = edge_position (edges, bin + 2);
  /* Kaldi's triangles have the height 1, the others the area 1 each. */
  gdouble height = self->settings.style == GST_LOGMEL_STYLE_KALDI ? 1.0 : 2.0 / (right - left);
  guint n_points = self->sizes.fft_size / 2 + 1, point;
  Filter *filter = &self->filters[bin];

  while (*first < n_points && logmel_get_position (edges->settings, *first * hz_per_point) <= left)
    (*first)++;
  for (point = *first; point < n_points; point++) {
    gdouble position = logmel_get_position (edges->settings, point * hz_per_point);
    gdouble weight = MIN ((position - left) / (centre - left), (right - position) / (right - centre));

    if (position >= right)
      break;
    if (!(weight > MIN_WEIGHT))
      continue;
    if (filter->n_weights == 0)
      filter->first = point;
    weight *= height;
    g_array_append_val (self->weights, weight);
    filter->n_weights++;
  }
}

static gboolean
make_filters (Logmel *self, guint rate, GError **error)
{
  const LogmelSettings *settings = &self->settings;
  gdouble hz_per_point = (gdouble) rate / self->sizes.fft_size;
  Edges edges;
  guint first = 0, n_weights = 0, bin;

  if (!find_edges (&edges, settings, rate, error))
    return FALSE;
  for (bin = 0; bin < settings->n_bins; bin++) {
    append_filter (self, &edges, bin, hz_per_point, &first);
    if (self->filters[bin].n_weights == 0)
      return fail (
          error,
          "bin %u of 0 to %u (%.1f to %.1f Hz) would always be empty: it lies between two points of the %u-point FFT, "
          "which are %g Hz apart at %u Hz: fewer bins or a larger fft-size help",
          bin, settings->n_bins - 1, mel_to_hz (settings->mel_scale, edges.low_mel + bin * edges.mel_step),
          mel_to_hz (settings->mel_scale, edges.low_mel + (bin + 2) * edges.mel_step), self->sizes.fft_size,
          hz_per_point, rate);
  }

  for (bin = 0; bin < settings->n_bins; bin++) { /* now that the array no longer moves */
    self->filters[bin].weights = &g_array_index (self->weights, gdouble, n_weights);
    n_weights += self->filters[bin].n_weights;
  }
  return TRUE;
}

static gboolean
check_maximum (const LogmelSettings *settings, GError **error)
{
  if (settings->log_maximum == 0.0 || settings->style == GST_LOGMEL_STYLE_WHISPER)
    return TRUE;
  return fail (error, "log-maximum %g is for style=whisper, but the style is %s", settings->log_maximum,
               settings->style == GST_LOGMEL_STYLE_KALDI ? "kaldi" : "nemo");
}

Logmel *
logmel_new (const LogmelSettings *settings, guint rate, GError **error)
{
  Logmel *self = g_new0 (Logmel, 1);
  guint i;

  self->settings = *settings;
  if (!logmel_get_sizes (settings, rate, &self->sizes, error) || !check_maximum (settings, error))
    goto wrong_settings;
  self->weights = g_array_new (FALSE, FALSE, sizeof (gdouble));
  self->filters = g_new0 (Filter, settings->n_bins);
  if (!make_filters (self, rate, error))
    goto wrong_settings;

  self->window = g_new (gdouble, self->sizes.frame_length);
  for (i = 0; i < self->sizes.frame_length; i++)
    self->window[i] = window_value (settings, i, self->sizes.frame_length);
  self->fft = gst_fft_f64_new (self->sizes.fft_size, FALSE);
  self->points = g_new0 (gdouble, self->sizes.fft_size);
  self->spectrum = g_new (GstFFTF64Complex, self->sizes.fft_size / 2 + 1);
  self->power = g_new (gdouble, self->sizes.fft_size / 2 + 1);
  return self;

  /* ERRORS */
wrong_settings:
  logmel_free (self);
  return NULL;
}

void
logmel_free (Logmel *self)
{
  if (self == NULL)
    return;
  g_clear_pointer (&self->weights, g_array_unref);
  g_clear_pointer (&self->fft, gst_fft_f64_free);
  g_free (self->window);
  g_free (self->filters);
  g_free (self->points);
  g_free (self->spectrum);
  g_free (self->power);
  g_free (self);
}

/*
 * Kaldi, within a frame: the mean goes, then every sample loses 0.97 of the one before it, the first (which has none)
 * of itself.
 */
static void
remove_dc_and_preemphasise (gdouble *samples, guint n_samples)
{
  gdouble mean = 0.0;
  guint i;

  for (i = 0; i < n_samples; i++)
    mean += samples[i];
  mean /= n_samples;
  for (i = 0; i < n_samples; i++)
    samples[i] -= mean;
  for (i = n_samples - 1; i > 0; i--)
    samples[i] -= PREEMPHASIS * samples[i - 1];
  samples[0] -= PREEMPHASIS * samples[0];
}

void
logmel_preemphasise (GstLogmelStyle style, gdouble *samples, gsize n, gdouble *before)
{
  gsize i;

  for (i = 0; style == GST_LOGMEL_STYLE_NEMO && i < n; i++) {
    gdouble sample = samples[i];

    samples[i] -= PREEMPHASIS * *before;
    *before = sample;
  }
}

static gdouble
at_least (gdouble value, gdouble least)
{
  return value < least ? least : value; /* not MAX (): a NaN must stay one */
}

static gdouble
log_of_energy (const LogmelSettings *settings, gdouble energy)
{
  gdouble value;

  switch (settings->style) {
  case GST_LOGMEL_STYLE_KALDI:
    return log (at_least (energy, KALDI_FLOOR));
  case GST_LOGMEL_STYLE_NEMO:
    return log (energy + NEMO_GUARD);
  case GST_LOGMEL_STYLE_WHISPER:
    break;
  }
  value = log10 (at_least (energy, WHISPER_FLOOR));
  if (settings->log_maximum == 0.0)
    return value;
  return (at_least (value, settings->log_maximum - WHISPER_RANGE) + 4.0) / 4.0;
}

void
logmel_transform (Logmel *self, const gdouble *samples, gfloat *frame)
{
  guint i, bin;

  memcpy (self->points, samples, self->sizes.frame_length * sizeof *samples);
  if (self->settings.style == GST_LOGMEL_STYLE_KALDI)
    remove_dc_and_preemphasise (self->points, self->sizes.frame_length);
  for (i = 0; i < self->sizes.frame_length; i++)
    self->points[i] *= self->window[i];

  gst_fft_f64_fft (self->fft, self->points, self->spectrum);
  for (i = 0; i <= self->sizes.fft_size / 2; i++)
    self->power[i] = self->spectrum[i].r * self->spectrum[i].r + self->spectrum[i].i * self->spectrum[i].i;

  for (bin = 0; bin < self->settings.n_bins; bin++) {
    const Filter *filter = &self->filters[bin];
    gdouble energy = 0.0;

    for (i = 0; i < filter->n_weights; i++)
      energy += filter->weights[i] * self->power[filter->first + i];
    frame[bin] = (gfloat) log_of_energy (&self->settings, energy);
  }
}
