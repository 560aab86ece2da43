/*
 * gst-attention: tests of the element logmel: the numbers.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The golden cases are made by tests/golden/logmel.py, which also describes their format.
 */
#include "logmelcheck.h"

#include <math.h>

/* Bins are natural or decimal logarithms; float32 alone has an error of up to 1e-6 for values around 20. */
#define TOLERANCE 1e-4

static const gchar *golden_names[] = { "speech-kaldi",    "speech-whisper", "8000-kaldi",     "11025-kaldi",
                                       "11025-whisper",   "44100-kaldi",    "44100-whisper",  "options-kaldi",
                                       "options-whisper", "sparse-kaldi",   "sparse-whisper", "128-whisper",
                                       "voxtral-whisper", "speech-nemo",    "128-nemo",       "11025-nemo",
                                       "options-nemo",    "sparse-nemo" };

/* --- audio --- */

typedef struct {
  guint rate, n_samples, n_frames, n_bins;
  gchar *properties;
  gint16 *samples;
  gdouble *frames;
} Golden;

#define GOLDEN_HEADER 256
#define GOLDEN_VERSION 1

static guint32
read_u32 (const gchar *data)
{
  guint32 value;

  memcpy (&value, data, sizeof value);
  return GUINT32_FROM_LE (value);
}

static gdouble
read_f64 (const gchar *data)
{
  union {
    guint64 bits;
    gdouble value;
  } u;

  memcpy (&u.bits, data, sizeof u.bits);
  u.bits = GUINT64_FROM_LE (u.bits);
  return u.value;
}

static Golden
golden_load (const gchar *name)
{
  gchar *path = g_strdup_printf ("%s/logmel-%s.bin", GOLDEN_DIR, name), *data = NULL;
  Golden golden;
  gsize size, i;

  fail_unless (g_file_get_contents (path, &data, &size, NULL), "%s is missing: tests/golden/logmel.py makes it", path);
  fail_unless (size > GOLDEN_HEADER && memcmp (data, "GSTLOGML", 8) == 0 && read_u32 (data + 8) == GOLDEN_VERSION,
               "%s is of another version: tests/golden/logmel.py makes it anew", path);
  golden.rate = read_u32 (data + 12);
  golden.n_samples = read_u32 (data + 16);
  golden.n_frames = read_u32 (data + 20);
  golden.n_bins = read_u32 (data + 24);
  fail_unless_equals_uint64 (size, GOLDEN_HEADER + 2 * golden.n_samples + 8 * golden.n_frames * golden.n_bins);

  golden.properties = g_strndup (data + 32, GOLDEN_HEADER - 32);
  golden.samples = g_new (gint16, golden.n_samples);
  for (i = 0; i < golden.n_samples; i++) {
    memcpy (&golden.samples[i], data + GOLDEN_HEADER + 2 * i, 2);
    golden.samples[i] = GINT16_FROM_LE (golden.samples[i]);
  }
  golden.frames = g_new (gdouble, golden.n_frames * golden.n_bins);
  for (i = 0; i < golden.n_frames * golden.n_bins; i++)
    golden.frames[i] = read_f64 (data + GOLDEN_HEADER + 2 * golden.n_samples + 8 * i);
  g_free (data);
  g_free (path);
  return golden;
}

static void
golden_free (Golden *golden)
{
  g_free (golden->properties);
  g_free (golden->samples);
  g_free (golden->frames);
}

static void
fail_unless_close (const Golden *golden, const GArray *values)
{
  gdouble max_error = 0.0;
  guint i;

  fail_unless_equals_int (values->len, golden->n_frames * golden->n_bins);
  for (i = 0; i < values->len; i++) {
    gdouble error = fabs (g_array_index (values, gfloat, i) - golden->frames[i]);

    fail_unless (error < TOLERANCE, "frame %u, bin %u: %g, expected %g", i / golden->n_bins, i % golden->n_bins,
                 g_array_index (values, gfloat, i), golden->frames[i]);
    max_error = MAX (max_error, error);
  }
  GST_INFO ("%s at %u Hz: largest error %g", golden->properties, golden->rate, max_error);
}

static gfloat *
make_float (const gint16 *samples, gsize n)
{
  gfloat *values = g_new (gfloat, n);
  gsize i;

  for (i = 0; i < n; i++)
    values[i] = samples[i] / 32768.0f;
  return values;
}

/* --- the numbers --- */

GST_START_TEST (test_frames_equal_the_reference)
{
  Golden golden = golden_load (golden_names[__i__]);
  gsize size = golden.n_samples * sizeof *golden.samples;
  GArray *values = run (golden.properties, GST_AUDIO_NE (S16), golden.rate, golden.samples, size, size);

  fail_unless_close (&golden, values);
  g_array_unref (values);
  golden_free (&golden);
}
GST_END_TEST;

GST_START_TEST (test_buffer_sizes_do_not_change_a_bit)
{
  const gsize chunks[] = { 1, 7, 160, 399, 400, 401, 16000 };
  const gchar *properties = styles[__i__];
  const gsize n = 16007;
  gint16 *samples = make_noise (n);
  GArray *whole = run_s16 (properties, samples, n);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (chunks); i++) {
    GArray *values = run (properties, GST_AUDIO_NE (S16), RATE, samples, n * 2, chunks[i] * 2);

    fail_unless_same_bits (whole, values);
    g_array_unref (values);
  }
  g_array_unref (whole);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_hops_of_one_sample_and_hops_longer_than_the_frame)
{
  const gchar *hops[] = { "style=kaldi hop-length=0.0625",   "style=kaldi hop-length=41",
                          "style=whisper hop-length=0.0625", "style=whisper hop-length=41",
                          "style=nemo hop-length=0.0625",    "style=nemo hop-length=41" };
  gint16 *samples = make_noise (1500);
  GArray *whole = run_s16 (hops[__i__], samples, 1500);
  GArray *pieces = run (hops[__i__], GST_AUDIO_NE (S16), RATE, samples, 3000, 14);
  const guint n_frames[] = { 1101, 2, 1500, 2, 1500, 2 };

  fail_unless_equals_int (whole->len, n_frames[__i__] * N_BINS);
  fail_unless_same_bits (whole, pieces);
  g_array_unref (whole);
  g_array_unref (pieces);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_s16_and_f32_agree_to_the_bit)
{
  const gsize n = 2000;
  gint16 *samples = make_noise (n);
  gfloat *values = make_float (samples, n);
  GArray *s16 = run_s16 (styles[__i__], samples, n);
  GArray *f32 = run (styles[__i__], GST_AUDIO_NE (F32), RATE, values, n * 4, 100);

  fail_unless_same_bits (s16, f32);
  g_array_unref (s16);
  g_array_unref (f32);
  g_free (values);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_memory_may_begin_at_any_byte)
{
  Fixture fixture = fixture_new_started ("", GST_AUDIO_NE (F32), RATE);
  gint16 *samples = make_noise (400);
  gfloat *values = make_float (samples, 400);
  guint8 *bytes = g_malloc0 (1601);
  GArray *expected = run_s16 ("", samples, 400), *frames;

  memcpy (bytes + 1, values, 1600);
  fail_unless_equals_int (
      gst_harness_push (fixture.h, gst_buffer_new_wrapped_full (0, bytes, 1601, 1, 1600, bytes, g_free)), GST_FLOW_OK);
  frames = pull_frames (&fixture);
  fail_unless_same_bits (expected, frames);
  g_array_unref (frames);
  g_array_unref (expected);
  g_free (values);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_kaldi_gives_only_whole_frames)
{
  const guint n_samples[] = { 0, 1, 399, 400, 401, 559, 560, 719, 720, 16000 };
  const guint n_frames[] = { 0, 0, 0, 1, 1, 1, 2, 2, 3, 98 };
  gint16 *samples = make_noise (16000);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (n_samples); i++) {
    GArray *values = run_s16 ("", samples, n_samples[i]);

    fail_unless_equals_int (values->len, n_frames[i] * N_BINS);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_whisper_gives_one_frame_for_each_whole_hop)
{
  const guint n_samples[] = { 201, 319, 320, 321, 399, 400, 401, 479, 480, 599, 600, 601, 15999, 16000 };
  gint16 *samples = make_noise (16000);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (n_samples); i++) {
    GArray *values = run_s16 ("style=whisper", samples, n_samples[i]);

    fail_unless_equals_int (values->len, n_samples[i] / HOP * N_BINS);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_whisper_gives_nothing_for_audio_too_short_to_mirror)
{
  gint16 *samples = make_noise (HALF_FRAME);
  guint n;

  for (n = 0; n <= HALF_FRAME; n += 25) {
    GArray *values = run_s16 ("style=whisper", samples, n);

    fail_unless_equals_int (values->len, 0);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

/* For any audio, however short: outside of it there are zeros. */
GST_START_TEST (test_nemo_gives_one_frame_for_each_whole_hop)
{
  const guint n_samples[] = { 0, 1, 159, 160, 199, 200, 201, 319, 320, 399, 400, 479, 480, 601, 15999, 16000 };
  gint16 *samples = make_noise (16000);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (n_samples); i++) {
    GArray *values = run_s16 ("style=nemo", samples, n_samples[i]);

    fail_unless_equals_int (values->len, n_samples[i] / HOP * N_BINS);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

/* What is added inside must equal what is added outside, for ends that fall anywhere in a hop. The preemphasis of the
 * first zero is no zero: the last sample is cancelled there. */
GST_START_TEST (test_nemo_is_zero_outside_of_the_audio)
{
  gint16 *samples = make_noise (1000);
  guint n;

  for (n = 1; n < 700; n += 13) {
    gfloat *longer = make_float (samples, n + HALF_FRAME);
    GArray *values = run_s16 ("style=nemo", samples, n), *expected;
    guint i;

    for (i = 0; i < HALF_FRAME; i++)
      longer[n + i] = 0.97 * longer[n + i - 1];
    expected = run ("style=nemo", GST_AUDIO_NE (F32), RATE, longer, 4 * (n + HALF_FRAME), 4 * (n + HALF_FRAME));
    g_array_set_size (expected, values->len);
    for (i = 0; i < values->len; i++)
      fail_unless (fabsf (g_array_index (values, gfloat, i) - g_array_index (expected, gfloat, i)) < TOLERANCE);
    g_array_unref (values);
    g_array_unref (expected);
    g_free (longer);
  }
  g_free (samples);
}
GST_END_TEST;

/* Mirroring inside must equal mirroring outside, for ends that fall anywhere in a hop. */
GST_START_TEST (test_whisper_mirrors_the_end)
{
  gint16 *samples = make_noise (1000);
  guint n, i;

  for (n = 201; n < 700; n += 13) {
    gint16 *mirrored = g_memdup2 (samples, (n + HALF_FRAME) * sizeof *samples);
    GArray *values = run_s16 ("style=whisper", samples, n), *longer;

    for (i = 0; i < HALF_FRAME; i++)
      mirrored[n + i] = samples[n - 2 - i];
    longer = run_s16 ("style=whisper", mirrored, n + HALF_FRAME);
    g_array_set_size (longer, values->len);
    fail_unless_same_bits (longer, values);
    g_array_unref (values);
    g_array_unref (longer);
    g_free (mirrored);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_silence_is_the_floor)
{
  const gfloat floors[] = { -15.942385f, -10.0f, -16.635532f }; /* ln of 2^-23, log10 of 1e-10, ln of 2^-24 */
  gint16 samples[800] = { 0 };
  GArray *values = run_s16 (styles[__i__], samples, 800);
  guint i;

  fail_unless (values->len > 0);
  for (i = 0; i < values->len; i++)
    fail_unless (fabsf (g_array_index (values, gfloat, i) - floors[__i__]) < 1e-6f);
  g_array_unref (values);
}
GST_END_TEST;

static gboolean
frame_is_finite (const GArray *values, guint frame)
{
  guint i;

  for (i = 0; i < N_BINS; i++)
    if (!isfinite (g_array_index (values, gfloat, frame * N_BINS + i)))
      return FALSE;
  return TRUE;
}

GST_START_TEST (test_nan_and_infinity_stay_in_their_frames)
{
  const gfloat bad[] = { NAN, INFINITY, -INFINITY };
  gint16 *samples = make_noise (3200);
  gfloat *values = make_float (samples, 3200);
  GArray *clean = run_s16 ("", samples, 3200), *frames;
  guint i;

  values[1000] = bad[__i__];
  frames = run ("", GST_AUDIO_NE (F32), RATE, values, 12800, 400);
  fail_unless_equals_int (frames->len, clean->len);
  for (i = 0; i < frames->len / N_BINS; i++) {
    gboolean has_bad = i * HOP <= 1000 && 1000 < i * HOP + 400;

    fail_unless_equals_int (frame_is_finite (frames, i), !has_bad);
    if (!has_bad)
      fail_unless (memcmp (frames->data + i * N_BINS * 4, clean->data + i * N_BINS * 4, N_BINS * 4) == 0);
  }
  g_array_unref (frames);
  g_array_unref (clean);
  g_free (values);
  g_free (samples);
}
GST_END_TEST;

static Suite *
logmel_suite (void)
{
  Suite *suite = suite_create ("logmel");
  TCase *tc = tcase_create ("general");
  const guint n_styles = G_N_ELEMENTS (styles);

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_frames_equal_the_reference, 0, G_N_ELEMENTS (golden_names));
  tcase_add_loop_test (tc, test_buffer_sizes_do_not_change_a_bit, 0, n_styles);
  tcase_add_loop_test (tc, test_hops_of_one_sample_and_hops_longer_than_the_frame, 0, 6);
  tcase_add_loop_test (tc, test_s16_and_f32_agree_to_the_bit, 0, n_styles);
  tcase_add_test (tc, test_memory_may_begin_at_any_byte);
  tcase_add_test (tc, test_kaldi_gives_only_whole_frames);
  tcase_add_test (tc, test_whisper_gives_one_frame_for_each_whole_hop);
  tcase_add_test (tc, test_whisper_gives_nothing_for_audio_too_short_to_mirror);
  tcase_add_test (tc, test_nemo_gives_one_frame_for_each_whole_hop);
  tcase_add_test (tc, test_nemo_is_zero_outside_of_the_audio);
  tcase_add_test (tc, test_whisper_mirrors_the_end);
  tcase_add_loop_test (tc, test_silence_is_the_floor, 0, n_styles);
  tcase_add_loop_test (tc, test_nan_and_infinity_stay_in_their_frames, 0, 3);
  return suite;
}

GST_CHECK_MAIN (logmel);
