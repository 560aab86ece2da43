/*
 * gst-attention: tests of the element spectralgain: the samples that come out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "spectralgaincheck.h"

/* ---- gains of 1 ---- */

typedef struct {
  const gchar *format, *properties;
  gint rate, n_channels, rate_n, rate_d; /* of the audio; of the gains */
} Case;

#define F32 GST_AUDIO_NE (F32)
#define S16 GST_AUDIO_NE (S16)

static const Case cases[] = {
  { F32, "", 16000, 1, 100, 1 },
  { S16, "", 16000, 1, 100, 1 },
  { F32, "", 8000, 2, 100, 1 },
  { S16, "", 11025, 5, 11025, 110 },
  { F32, "", 22050, 1, 100, 1 },
  { F32, "", 44100, 2, 100, 1 },
  { S16, "", 48000, 8, 100, 1 },
  { F32, "", 96000, 1, 100, 1 },
  { F32, "hop-length=5", 16000, 1, 200, 1 },
  { F32, "hop-length=12.5", 16000, 2, 80, 1 },  /* half of a frame */
  { S16, "hop-length=20", 16000, 1, 50, 1 },    /* more than that */
  { F32, "hop-length=40", 44100, 1, 25, 1 },    /* as after a subsampling model */
  { F32, "hop-length=0.0625", 16000, 1, 0, 1 }, /* one sample; the rate is unknown */
  { F32, "frame-length=0.125", 16000, 1, 0, 1 },
  { S16, "frame-length=32 hop-length=7", 16000, 1, 0, 1 },
  { F32, "style=whisper", 16000, 1, 100, 1 },
};

static guint8 *
make_samples (const Case *c, gsize n, gsize *size)
{
  gfloat *noise = make_noise (n);
  gint16 *samples;
  gsize i;

  *size = n * (strcmp (c->format, F32) == 0 ? sizeof *noise : sizeof *samples);
  if (strcmp (c->format, F32) == 0)
    return (guint8 *) noise;
  samples = g_new (gint16, n);
  for (i = 0; i < n; i++)
    samples[i] = (gint16) (noise[i] * 32768);
  samples[0] = G_MAXINT16;
  samples[n - 1] = G_MININT16;
  g_free (noise);
  return (guint8 *) samples;
}

static void
fail_unless_same (const Case *c, const GByteArray *bytes, const guint8 *samples, gsize size)
{
  const gfloat *got = (const gfloat *) bytes->data, *expected = (const gfloat *) samples;
  gsize i;

  fail_unless_equals_int (bytes->len, size);
  if (strcmp (c->format, S16) == 0) {
    fail_unless (memcmp (bytes->data, samples, size) == 0, "a sample differs");
    return;
  }
  for (i = 0; i < size / sizeof *got; i++)
    fail_unless (fabs (got[i] - expected[i]) <= TOLERANCE, "sample %" G_GSIZE_FORMAT, i);
}

/* Half a second and some samples, in buffers of 1000 samples; gains without timestamps. */
GST_START_TEST (test_gains_of_1_give_back_the_samples)
{
  const Case *c = &cases[__i__];
  Fixture fixture = fixture_new (c->properties);
  gsize n = (c->rate / 2 + 77) * c->n_channels, size, at, i;
  guint8 *samples = make_samples (c, n, &size);
  gsize chunk = 1000 * size / n * c->n_channels;
  GByteArray *bytes;

  start_audio (&fixture, c->format, c->rate, c->n_channels);
  fail_unless (start_gains (&fixture, N_BINS, c->rate_n, c->rate_d, ""));
  for (at = i = 0; at < size; at += chunk, i++) {
    GstClockTime pts = time_of (&fixture, i * 1000);

    fail_unless_equals_int (push_bytes (fixture.audio, samples + at, MIN (chunk, size - at), pts, 0), GST_FLOW_OK);
    fail_unless_equals_int (push_even_gains (&fixture, N_BINS, 1, i == 0 ? 0 : GST_CLOCK_TIME_NONE), GST_FLOW_OK);
  }
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  fail_unless_same (c, bytes, samples, size);
  fail_unless_no_error (&fixture);
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- the same gain in all bands ---- */

#define N_SAMPLES (RATE / 2)
#define N_FRAMES 48 /* those of logmel that lie in these samples */

static gdouble
a_quarter (guint i)
{
  return 0.25;
}

static gdouble
two (guint i)
{
  return 2;
}

/* At the ends, where no gains are, they are 1. */
static gdouble
quarter_at (gdouble centre)
{
  return interpolate (a_quarter, N_FRAMES, centre);
}

static gdouble
two_at (gdouble centre)
{
  return interpolate (two, N_FRAMES, centre);
}

static void
check_even (GainOf gain_of, GainAt gain_at)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, gain_at);

  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_gains (&fixture, 0, N_FRAMES, gain_of);
  push_eos (&fixture);
  fail_unless (fabs (expected[N_SAMPLES / 2] - gain_of (0) * samples[N_SAMPLES / 2]) < 1e-12);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}

GST_START_TEST (test_a_gain_in_all_bands_scales_the_samples)
{
  check_even (a_quarter, quarter_at);
  check_even (two, two_at);
}
GST_END_TEST;

/* 1.5 times what fits. */
GST_START_TEST (test_samples_of_16_bits_are_limited)
{
  Fixture fixture = fixture_new_started ("", S16, RATE);
  gint16 samples[4 * FRAME];
  GByteArray *bytes;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (samples); i++)
    samples[i] = i % 100 < 50 ? 30000 : -30000;
  push_bytes (fixture.audio, samples, sizeof samples, 0, 0);
  for (i = 0; i < 20; i++)
    push_even_gains (&fixture, N_BINS, 1.5f, i * HOP_TIME);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  fail_unless_equals_int (((gint16 *) bytes->data)[820], G_MAXINT16);
  fail_unless_equals_int (((gint16 *) bytes->data)[870], G_MININT16);
  g_byte_array_unref (bytes);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- values of gains ---- */

/* The factor of a sample in the middle. */
static gdouble
factor_of (const gchar *properties, gfloat gain)
{
  Fixture fixture = fixture_new_f32 (properties);
  gfloat *samples = make_noise (2000);
  GByteArray *bytes;
  gdouble factor;
  guint i;

  push_f32 (&fixture, samples, 0, 2000);
  for (i = 0; i < 11; i++)
    fail_unless_equals_int (push_even_gains (&fixture, N_BINS, gain, i * HOP_TIME), GST_FLOW_OK);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  factor = ((gfloat *) bytes->data)[1000] / (gdouble) samples[1000];
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
  return factor;
}

static void
fail_unless_near (gdouble value, gdouble expected)
{
  fail_unless (fabs (value - expected) <= TOLERANCE * MAX (1, expected), "%.9g, expected %.9g", value, expected);
}

GST_START_TEST (test_floor_is_the_least_gain)
{
  fail_unless_near (factor_of ("floor=-20", 0), 0.1);
  fail_unless_near (factor_of ("floor=-20", 0.05f), 0.1);
  fail_unless_near (factor_of ("floor=-20", 0.2f), 0.2);
  fail_unless_near (factor_of ("floor=0", 0.2f), 1);
  fail_unless_near (factor_of ("", 0), 0); /* 10^-6 */
}
GST_END_TEST;

GST_START_TEST (test_gains_that_are_none_count_as_0_and_huge_ones_as_1000)
{
  fail_unless_near (factor_of ("", NAN), 0);
  fail_unless_near (factor_of ("", -1), 0);
  fail_unless_near (factor_of ("", -INFINITY), 0);
  fail_unless_near (factor_of ("floor=-20", NAN), 0.1);
  fail_unless_near (factor_of ("floor=-20", -1e30f), 0.1);
  fail_unless_near (factor_of ("", 999), 999);
  fail_unless_near (factor_of ("", 1001), 1000);
  fail_unless_near (factor_of ("", 1e30f), 1000);
  fail_unless_near (factor_of ("", INFINITY), 1000);
}
GST_END_TEST;

/* ---- bands, against a reference in double that knows no FFT ---- */

#define FFT_SIZE 512
#define N_POINTS (FFT_SIZE / 2 + 1)

static gdouble
mel (gdouble hz)
{
  return 1127 * log (1 + hz / 700);
}

static gdouble
slaney (gdouble hz)
{
  return hz < 1000 ? hz * 3 / 200 : 15 + log (hz / 1000) / (log (6.4) / 27);
}

static gdouble
slaney_hz (gdouble mels)
{
  return mels < 15 ? mels * 200 / 3 : 1000 * exp ((mels - 15) * (log (6.4) / 27));
}

/* Gains of the points: triangles, transposed, divided by their sum; the nearest gain where there is no triangle. */
static void
spread (const gdouble *edges, guint n_bins, const gfloat *gains, gdouble (*position) (gdouble hz), gdouble *of_points)
{
  guint point, bin;

  for (point = 0; point < N_POINTS; point++) {
    gdouble at = position (point * (gdouble) RATE / FFT_SIZE), sum = 0, weights = 0;

    for (bin = 0; bin < n_bins; bin++) {
      gdouble up = (at - edges[bin]) / (edges[bin + 1] - edges[bin]);
      gdouble down = (edges[bin + 2] - at) / (edges[bin + 2] - edges[bin + 1]), weight = MAX (MIN (up, down), 0);

      sum += weight * gains[bin];
      weights += weight;
    }
    of_points[point] = weights > 0 ? sum / weights : at < edges[1] ? gains[0] : gains[n_bins - 1];
  }
}

/* One frame in place: the definition of the DFT, of the gains, and of its inverse. */
static void
filter_frame (gdouble *frame, const gdouble *gains)
{
  static gdouble cosines[FFT_SIZE], sines[FFT_SIZE];
  gdouble re[N_POINTS], im[N_POINTS];
  guint k, i;

  for (i = 0; i < FFT_SIZE; i++) {
    cosines[i] = cos (2 * G_PI * i / FFT_SIZE);
    sines[i] = sin (2 * G_PI * i / FFT_SIZE);
  }
  for (k = 0; k < N_POINTS; k++) {
    re[k] = im[k] = 0;
    for (i = 0; i < FRAME; i++) {
      re[k] += frame[i] * cosines[k * i % FFT_SIZE];
      im[k] -= frame[i] * sines[k * i % FFT_SIZE];
    }
    re[k] *= gains[k];
    im[k] *= gains[k];
  }
  for (i = 0; i < FRAME; i++) {
    frame[i] = re[0] + (i % 2 ? -1 : 1) * re[N_POINTS - 1];
    for (k = 1; k < N_POINTS - 1; k++)
      frame[i] += 2 * (re[k] * cosines[k * i % FFT_SIZE] - im[k] * sines[k * i % FFT_SIZE]);
    frame[i] /= FFT_SIZE;
  }
}

/* Passes samples [n] through frames at whole hops that all have these gains. */
static gdouble *
filter (const gfloat *samples, gint n, const gdouble *gains)
{
  gdouble *sums = g_new0 (gdouble, n), *norms = g_new0 (gdouble, n), frame[FRAME];
  gint begin, i;

  for (begin = -2 * HOP; begin < n; begin += HOP) {
    for (i = 0; i < FRAME; i++)
      frame[i] = begin + i >= 0 && begin + i < n ? samples[begin + i] * sin (G_PI * (i + 0.5) / FRAME) : 0;
    filter_frame (frame, gains);
    for (i = 0; i < FRAME; i++)
      if (begin + i >= 0 && begin + i < n) {
        sums[begin + i] += frame[i] * sin (G_PI * (i + 0.5) / FRAME);
        norms[begin + i] += pow (sin (G_PI * (i + 0.5) / FRAME), 2);
      }
  }
  for (i = 0; i < n; i++)
    sums[i] /= norms[i];
  g_free (norms);
  return sums;
}

#define N_FILTERED (24 * HOP)

/* The output of the element if all frames have these gains. */
static GByteArray *
filter_with_element (const gchar *properties, const gfloat *samples, const gfloat *gains, guint n_bins)
{
  Fixture fixture = fixture_new (properties);
  GByteArray *bytes;
  guint i;

  start_audio (&fixture, F32, RATE, 1);
  fail_unless (start_gains (&fixture, n_bins, 100, 1, ""));
  push_f32 (&fixture, samples, 0, N_FILTERED);
  for (i = 0; i < 30; i++)
    push_bytes (fixture.gains, gains, n_bins * sizeof *gains, i * HOP_TIME, 0);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  fixture_free (&fixture);
  return bytes;
}

static void
fail_unless_filtered (const GByteArray *bytes, const gfloat *samples, const gdouble *of_points)
{
  gdouble *expected = filter (samples, N_FILTERED, of_points);
  guint i;

  for (i = FRAME; i < N_FILTERED; i++) /* where all frames have gains */
    fail_unless (fabs (((gfloat *) bytes->data)[i] - expected[i]) <= TOLERANCE, "sample %u", i);
  g_free (expected);
}

static void
fill_with_noise (gfloat *gains, guint n)
{
  gfloat *noise = make_noise (n);
  guint i;

  for (i = 0; i < n; i++)
    gains[i] = fabsf (noise[i]);
  g_free (noise);
}

GST_START_TEST (test_bands_of_kaldi_equal_the_reference)
{
  gfloat *samples = make_noise (N_FILTERED), gains[N_BINS];
  gdouble edges[N_BINS + 2], of_points[N_POINTS];
  GByteArray *bytes;
  guint i;

  fill_with_noise (gains, N_BINS);
  for (i = 0; i < N_BINS + 2; i++)
    edges[i] = mel (60) + i * (mel (7600) - mel (60)) / (N_BINS + 1);
  spread (edges, N_BINS, gains, mel, of_points);
  bytes = filter_with_element ("low-frequency=60 high-frequency=-400", samples, gains, N_BINS);
  fail_unless_filtered (bytes, samples, of_points);
  g_byte_array_unref (bytes);
  g_free (samples);
}
GST_END_TEST;

static gdouble
itself (gdouble hz)
{
  return hz;
}

GST_START_TEST (test_bands_of_whisper_equal_the_reference)
{
  gfloat *samples = make_noise (N_FILTERED), gains[40];
  gdouble edges[42], of_points[N_POINTS];
  GByteArray *bytes;
  guint i;

  fill_with_noise (gains, 40);
  for (i = 0; i < 42; i++)
    edges[i] = slaney_hz (i * slaney (8000) / 41);
  spread (edges, 40, gains, itself, of_points);
  bytes = filter_with_element ("style=whisper bins=40", samples, gains, 40);
  fail_unless_filtered (bytes, samples, of_points);
  g_byte_array_unref (bytes);
  g_free (samples);
}
GST_END_TEST;

/*
 * A band of +-1200 Hz. In one of +-50 Hz the 40 Hz to which a frame of 25 ms can tell frequencies apart would let more
 * of the sine through, as the gain rises to the neighbours' from its centre on.
 */
GST_START_TEST (test_a_silent_band_removes_a_sine_in_its_middle)
{
  gfloat samples[N_FILTERED], gains[10];
  gdouble edges[12], of_points[N_POINTS], energy[2] = { 0, 0 };
  GByteArray *bytes;
  guint i;

  for (i = 0; i < 12; i++)
    edges[i] = mel (20) + i * (mel (8000) - mel (20)) / 11;
  for (i = 0; i < 10; i++)
    gains[i] = i == 8 ? 0 : 1;
  for (i = 0; i < N_FILTERED; i++)
    samples[i] = (gfloat) (0.5 * sin (2 * G_PI * 700 * (exp (edges[9] / 1127) - 1) * i / RATE));
  bytes = filter_with_element ("bins=10", samples, gains, 10);
  for (i = FRAME; i < N_FILTERED - FRAME; i++) {
    energy[0] += pow (samples[i], 2);
    energy[1] += pow (((gfloat *) bytes->data)[i], 2);
  }
  fail_unless (10 * log10 (energy[0] / energy[1]) >= 30, "%g dB", 10 * log10 (energy[0] / energy[1]));
  spread (edges, 10, gains, mel, of_points);
  of_points[0] = gains[0];
  fail_unless_filtered (bytes, samples, of_points);
  g_byte_array_unref (bytes);
}
GST_END_TEST;

/*
 * Gains that were made from audio at 16 kHz, for sound at 48 kHz: the sines below 8 kHz stay, those above are removed.
 */
GST_START_TEST (test_bands_are_those_of_the_sample_rate_in_the_caps)
{
  const gchar *const said = ", sample-rate=(int)16000";
  Fixture fixture = fixture_new ("");
  gfloat samples[9600], gains[N_BINS];
  gdouble low = 0, high = 0;
  GByteArray *bytes;
  guint i;

  for (i = 0; i < N_BINS; i++)
    gains[i] = i == N_BINS - 1 ? 0 : 1;
  for (i = 0; i < 9600; i++)
    samples[i] = (gfloat) (0.3 * cos (2 * G_PI * 3000 * i / 48000) + 0.3 * cos (2 * G_PI * 18000 * i / 48000));
  start_audio (&fixture, F32, 48000, 1);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, said));
  push_f32 (&fixture, samples, 0, 9600);
  for (i = 0; i < 18; i++)
    push_bytes (fixture.gains, gains, sizeof gains, i * HOP_TIME, 0);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  for (i = 4800; i < 7200; i++) {
    low += 2 * ((gfloat *) bytes->data)[i] * cos (2 * G_PI * 3000 * i / 48000) / 2400;
    high += 2 * ((gfloat *) bytes->data)[i] * cos (2 * G_PI * 18000 * i / 48000) / 2400;
  }
  fail_unless (fabs (low - 0.3) < 1e-4 && fabs (high) < 1e-4, "%g and %g", low, high);
  g_byte_array_unref (bytes);
  fixture_free (&fixture);
}
GST_END_TEST;

/* All channels get the same gains, and do not affect each other. */
GST_START_TEST (test_channels_are_filtered_alike)
{
  Fixture fixture = fixture_new ("");
  gfloat *noise = make_noise (N_FILTERED), *samples = g_new (gfloat, 3 * N_FILTERED), gains[N_BINS], *got;
  GByteArray *mono, *bytes;
  guint i;

  fill_with_noise (gains, N_BINS);
  for (i = 0; i < N_FILTERED; i++) {
    samples[3 * i] = noise[i];
    samples[3 * i + 1] = 0;
    samples[3 * i + 2] = -noise[i];
  }
  start_audio (&fixture, F32, RATE, 3);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, ""));
  push_bytes (fixture.audio, samples, 3 * N_FILTERED * sizeof *samples, 0, 0);
  for (i = 0; i < 30; i++)
    push_bytes (fixture.gains, gains, sizeof gains, i * HOP_TIME, 0);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  mono = filter_with_element ("", noise, gains, N_BINS);
  fail_unless_equals_int (bytes->len, 3 * mono->len);
  got = (gfloat *) bytes->data;
  for (i = 0; i < N_FILTERED; i++)
    fail_unless (got[3 * i] == ((gfloat *) mono->data)[i] && got[3 * i + 1] == 0 && got[3 * i + 2] == -got[3 * i]);
  g_byte_array_unref (mono);
  g_byte_array_unref (bytes);
  g_free (samples);
  g_free (noise);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
spectralgain_suite (void)
{
  Suite *suite = suite_create ("spectralgain");
  TCase *samples = tcase_create ("samples"), *bands = tcase_create ("bands");

  suite_add_tcase (suite, samples);
  tcase_add_loop_test (samples, test_gains_of_1_give_back_the_samples, 0, G_N_ELEMENTS (cases));
  tcase_add_test (samples, test_a_gain_in_all_bands_scales_the_samples);
  tcase_add_test (samples, test_samples_of_16_bits_are_limited);
  tcase_add_test (samples, test_floor_is_the_least_gain);
  tcase_add_test (samples, test_gains_that_are_none_count_as_0_and_huge_ones_as_1000);
  suite_add_tcase (suite, bands);
  tcase_add_test (bands, test_bands_of_kaldi_equal_the_reference);
  tcase_add_test (bands, test_bands_of_whisper_equal_the_reference);
  tcase_add_test (bands, test_a_silent_band_removes_a_sine_in_its_middle);
  tcase_add_test (bands, test_bands_are_those_of_the_sample_rate_in_the_caps);
  tcase_add_test (bands, test_channels_are_filtered_alike);
  return suite;
}

GST_CHECK_MAIN (spectralgain);
