/*
 * Tests of the element npyparse: rows of NaN as gaps, and which buffers continue the one before them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyparsecheck.h"

#include <math.h>

#include "corecheck.h"

#define N 50
#define D 6

/* 'first row, number of rows' of runs that are all NaN: single rows, several rows, at both ends. */
static const guint holes[][2] = { { 0, 2 }, { 5, 1 }, { 7, 1 }, { 15, 18 }, { 48, 2 } };

static gboolean
is_hole (guint row)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (holes); i++)
    if (row >= holes[i][0] && row < holes[i][0] + holes[i][1])
      return TRUE;
  return FALSE;
}

/* values [N][D]; one row has a NaN beside numbers, where `spoilt`. */
static void
fill (gdouble *values, gboolean spoilt)
{
  GRand *rand = g_rand_new_with_seed (7);
  guint i;

  for (i = 0; i < N * D; i++) {
    values[i] = (gfloat) g_rand_double_range (rand, -2, 2);
    if (is_hole (i / D))
      values[i] = i % 2 ? NAN : -NAN;
  }
  if (spoilt)
    values[10 * D + 3] = NAN;
  g_rand_free (rand);
}

static gchar *
write_array (const gdouble *values, gboolean is_double)
{
  gchar *dict = g_strdup_printf ("{'descr': '%s', 'fortran_order': False, 'shape': (%u, %u), }",
                                 is_double ? (G_BYTE_ORDER == G_LITTLE_ENDIAN ? "<f8" : ">f8") : NE_DESCR, N, D);
  gfloat singles[N * D];
  Bytes bytes;
  gchar *path;
  guint i;

  for (i = 0; i < N * D; i++)
    singles[i] = values[i];
  bytes = is_double ? make_npy (dict, values, N * D * sizeof (gdouble)) : make_npy (dict, singles, sizeof singles);
  path = write_temporary (&bytes);
  g_free (bytes.data);
  g_free (dict);
  return path;
}

/* --- gaps --- */

/* As many rows as the array has, in buffers of one kind each. */
static void
check_rows (GstElement *pipeline, const gdouble *values, guint frames_per_buffer)
{
  guint row = 0, i;
  GstSample *sample;

  for (; (sample = pull_sample (pipeline)); gst_sample_unref (sample)) {
    GstBuffer *buffer = gst_sample_get_buffer (sample);
    gboolean is_gap = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP);
    guint n = gst_buffer_get_size (buffer) / (D * sizeof (gfloat));
    gfloat got[N * D];

    fail_unless (n >= 1 && n <= frames_per_buffer);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), row);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), row * 10 * GST_MSECOND);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), row == 0);
    gst_buffer_extract (buffer, 0, got, sizeof got);
    for (i = 0; i < n * D; i++) {
      gfloat expected = is_gap ? 0 : values[row * D + i];

      fail_unless_equals_int (is_hole (row + i / D), is_gap);
      fail_unless (isnan (expected) ? isnan (got[i]) : got[i] == expected, "row %u", row + i / D);
    }
    row += n;
  }
  fail_unless_equals_int (row, N);
}

GST_START_TEST (test_rows_of_nan_are_gaps)
{
  static const gchar *const ways[] = { "filesrc location=%s", "filesrc location=%s ! queue",
                                       "filesrc location=%s blocksize=7 ! queue" };
  const guint frames_per_buffer[] = { 1, 4, 16, 1000 };
  gdouble values[N * D];
  gchar *path, *options;
  guint i, j;

  fill (values, TRUE);
  path = write_array (values, __i__);
  for (i = 0; i < G_N_ELEMENTS (frames_per_buffer); i++)
    for (j = 0; j < G_N_ELEMENTS (ways); j++) {
      GstElement *pipeline;

      options = g_strdup_printf ("nan-is-gap=true frames-per-buffer=%u", frames_per_buffer[i]);
      pipeline = new_pipeline (ways[j], path, options);
      gst_element_set_state (pipeline, GST_STATE_PLAYING);
      check_rows (pipeline, values, frames_per_buffer[i]);
      free_pipeline (pipeline);
      g_free (options);
    }
  g_unlink (path);
  g_free (path);
}
GST_END_TEST

GST_START_TEST (test_nan_is_a_number_by_default)
{
  gdouble values[N * D];
  GstElement *pipeline;
  GstSample *sample;
  gfloat got;
  gchar *path;

  fill (values, FALSE);
  path = write_array (values, FALSE);
  pipeline = new_pipeline (feeds[0], path, "frames-per-buffer=16");
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  sample = pull_sample (pipeline);
  fail_if (GST_BUFFER_FLAG_IS_SET (gst_sample_get_buffer (sample), GST_BUFFER_FLAG_GAP));
  gst_buffer_extract (gst_sample_get_buffer (sample), 0, &got, sizeof got);
  fail_unless (isnan (got));
  gst_sample_unref (sample);
  free_pipeline (pipeline);
  g_unlink (path);
  g_free (path);
}
GST_END_TEST

/* expected [N][D]: attention over the rows that are there; zeros for the others. */
static void
attend_to_rows (const gdouble *values, gfloat *expected)
{
  AttnConfig config = attn_config_default ();
  guint8 present[N];
  gfloat frames[N * D];
  guint i;

  config.n_features = D;
  config.n_heads = 2;
  config.window = 5;
  config.look_ahead = 3;
  for (i = 0; i < N * D; i++) {
    present[i / D] = !is_hole (i / D);
    frames[i] = present[i / D] ? values[i] : 0;
  }
  attend (&config, NULL, frames, present, N, expected, NULL);
  for (i = 0; i < N * D; i++)
    expected[i] = is_hole (i / D) ? 0 : expected[i];
}

/* At 125/3 frames per second each size of buffer has caps of its own, which must change no stream. */
GST_START_TEST (test_attention_skips_rows_of_nan)
{
  static const gchar *const options[] = { "frame-rate=100/1", "frame-rate=125/3",
                                          "frame-rate=100/1 frames-per-buffer=16",
                                          "frame-rate=125/3 frames-per-buffer=16",
                                          "frame-rate=125/3 frames-per-buffer=7" };
  gfloat expected[N * D];
  gdouble values[N * D];
  gchar *path, *out = temporary_path ();
  Bytes bytes;

  fill (values, FALSE);
  attend_to_rows (values, expected);
  path = write_array (values, FALSE);
  check_text (
      run_launch_line ("filesrc location=%s ! npyparse nan-is-gap=true %s ! attention heads=2 window=5 look-ahead=3 ! "
                       "npyenc ! filesink location=%s",
                       path, options[__i__], out),
      NULL);
  bytes = read_bytes (out);
  fail_unless_equals_uint64 (bytes.size, HEADER_SIZE + sizeof expected);
  fail_unless (memcmp (bytes.data + HEADER_SIZE, expected, sizeof expected) == 0);
  g_free (bytes.data);
  g_unlink (path);
  g_unlink (out);
  g_free (path);
  g_free (out);
}
GST_END_TEST

/* --- discontinuities --- */

/* A discontinuity follows a flushing seek, and nothing else. */
GST_START_TEST (test_first_buffer_behind_a_seek_is_discont)
{
  gdouble values[N * D];
  GstElement *pipeline;
  GstSample *sample;
  guint n = 20;
  gchar *path;

  fill (values, FALSE);
  path = write_array (values, FALSE);
  pipeline = new_pipeline (feeds[__i__], path, "");
  preroll (pipeline);
  fail_unless (gst_element_seek (pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET,
                                 200 * GST_MSECOND, GST_SEEK_TYPE_NONE, -1));
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (; (sample = pull_sample (pipeline)); gst_sample_unref (sample), n++) {
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (gst_sample_get_buffer (sample)), n);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (gst_sample_get_buffer (sample)), n == 20);
  }
  fail_unless_equals_int (n, N);
  free_pipeline (pipeline);
  g_unlink (path);
  g_free (path);
}
GST_END_TEST

static Suite *
npyparse_gaps_suite (void)
{
  Suite *suite = suite_create ("npyparse-gaps");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_rows_of_nan_are_gaps, 0, 2);
  tcase_add_test (tc, test_nan_is_a_number_by_default);
  tcase_add_loop_test (tc, test_attention_skips_rows_of_nan, 0, 5);
  tcase_add_loop_test (tc, test_first_buffer_behind_a_seek_is_discont, 0, 2);
  return suite;
}

GST_CHECK_MAIN (npyparse_gaps)
