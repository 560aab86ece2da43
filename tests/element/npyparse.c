/*
 * The element `npyparse`: which files it reads, and which it refuses.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyparsecheck.h"

#include <math.h>

/* Runs `bytes` from a file, both ways, and expects the error. Takes the bytes. */
static void
check_refused (Bytes bytes, const gchar *expected_pull, const gchar *expected_push)
{
  gchar *path = write_temporary (&bytes);

  check_text (run_launch_line ("filesrc location=%s ! npyparse ! fakesink", path), expected_pull);
  check_text (run_launch_line ("filesrc location=%s ! queue ! npyparse ! fakesink", path), expected_push);
  check_text (
      run_launch_line ("filesrc location=%s blocksize=1 ! queue ! npyparse frames-per-buffer=7 ! fakesink", path),
      expected_push);
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}

static void
check_dict_refused (const gchar *dict, const gchar *expected)
{
  check_refused (make_npy (dict, NULL, 0), expected, expected);
}

GST_START_TEST (test_every_type_becomes_float32)
{
  static const gchar *const names[] = { "f2.npy",    "f4.npy",    "f8.npy",       "be-f2.npy",
                                        "be-f4.npy", "be-f8.npy", "version2.npy", "version3.npy" };
  Bytes expected = read_golden ("expected.f32");
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (names); i++)
    for (j = 0; j < G_N_ELEMENTS (feeds); j++) {
      GArray *values = read_golden_values (feeds[j], names[i]);

      fail_unless_equals_uint64 (values->len * sizeof (gfloat), expected.size);
      fail_unless (memcmp (values->data, expected.data, expected.size) == 0, "%s", names[i]);
      g_array_unref (values);
    }
  g_free (expected.data);
}
GST_END_TEST

/* float16 by its definition. */
static gdouble
half_value (guint bits)
{
  gint exponent = (bits >> 10) & 31, fraction = bits & 1023;
  gdouble size = exponent == 0    ? ldexp (fraction, -24)
                 : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                  : ldexp (1024 + fraction, exponent - 25);

  return bits & 0x8000 ? -size : size;
}

GST_START_TEST (test_every_float16_is_exact)
{
  GArray *values = read_golden_values (feeds[0], "every-half.npy");
  guint i;

  fail_unless_equals_int (values->len, 65536);
  for (i = 0; i < values->len; i++) {
    gfloat value = g_array_index (values, gfloat, i);
    gdouble expected = half_value (i);

    fail_unless (isnan (expected) ? isnan (value) : value == expected && !signbit (value) == !signbit (expected),
                 "0x%04x is %g, expected %g", i, value, expected);
  }
  g_array_unref (values);
}
GST_END_TEST

GST_START_TEST (test_float64_is_rounded_to_nearest_even)
{
  static const gfloat expected[] = { 1, 1 + 0x1p-22f, INFINITY, -INFINITY, 0, 0x1p-149f, INFINITY };
  GArray *values = read_golden_values (feeds[0], "rounding.npy");
  guint i;

  fail_unless_equals_int (values->len, G_N_ELEMENTS (expected) + 1);
  for (i = 0; i < G_N_ELEMENTS (expected); i++)
    fail_unless (g_array_index (values, gfloat, i) == expected[i], "value %u", i);
  fail_unless (isnan (g_array_index (values, gfloat, i)));
  g_array_unref (values);
}
GST_END_TEST

GST_START_TEST (test_one_dimension_is_one_feature)
{
  gchar *path = golden_path ("one-dimension.npy");
  GstElement *pipeline = new_pipeline (feeds[0], path, "");
  GstStructure *structure;
  GstSample *sample;
  gint channels;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  sample = pull_sample (pipeline);
  structure = gst_caps_get_structure (gst_sample_get_caps (sample), 0);
  fail_unless (gst_structure_get_int (structure, "channels", &channels) && channels == 1);
  fail_if (gst_structure_has_field (structure, "channel-mask"));
  fail_unless_equals_int (gst_buffer_get_size (gst_sample_get_buffer (sample)), sizeof (gfloat));
  gst_sample_unref (sample);
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

GST_START_TEST (test_header_in_any_order_and_spacing)
{
  static const gchar *const dicts[] = {
    "{\"shape\":(2,1),\"fortran_order\":False,\"descr\":\"<f4\"}",
    "  {  'fortran_order' : False , 'descr' :\t'<f4' , 'shape' : ( 2 , ) , }    \n  ",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }",
  };
  const guint32 data[] = { GUINT32_TO_LE (0x3f800000), GUINT32_TO_LE (0x40000000) };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (dicts); i++) {
    Bytes bytes = make_npy (dicts[i], data, sizeof data);
    gchar *path = write_temporary (&bytes);
    GArray *values = read_values (feeds[i], path, "");

    fail_unless (values->len == 2 && g_array_index (values, gfloat, 0) == 1 && g_array_index (values, gfloat, 1) == 2);
    g_array_unref (values);
    g_unlink (path);
    g_free (path);
    g_free (bytes.data);
  }
}
GST_END_TEST

/* One dimension, or others of one: the bytes are those of C order. numpy.save () says True of a column. */
GST_START_TEST (test_fortran_order_of_a_single_dimension_is_read)
{
  static const gchar *const shapes[] = { "(2,)", "(2, 1)", "(1, 2)" };
  const guint32 data[] = { GUINT32_TO_LE (0x3f800000), GUINT32_TO_LE (0x40000000) };
  gchar *dict = g_strdup_printf ("{'descr': '<f4', 'fortran_order': True, 'shape': %s, }", shapes[__i__]);
  Bytes bytes = make_npy (dict, data, sizeof data);
  gchar *path = write_temporary (&bytes);
  GArray *values = read_values (feeds[0], path, "");

  fail_unless (values->len == 2 && g_array_index (values, gfloat, 0) == 1 && g_array_index (values, gfloat, 1) == 2);
  g_array_unref (values);
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
  g_free (dict);
}
GST_END_TEST

GST_START_TEST (test_no_frames_is_no_error)
{
  gchar *path = golden_path ("no-frames.npy");
  guint i;

  for (i = 0; i < G_N_ELEMENTS (feeds); i++) {
    GArray *values = read_values (feeds[i], path, "frames-per-buffer=4");

    fail_unless_equals_int (values->len, 0);
    g_array_unref (values);
  }
  g_free (path);
}
GST_END_TEST

GST_START_TEST (test_arrays_of_another_kind_are_refused)
{
  static const struct {
    const gchar *name, *error;
  } arrays[] = {
    { "fortran.npy", "Fortran order" },
    { "fortran.npy", "numpy.ascontiguousarray" },
    { "three-dimensions.npy", "(2, 3, 4)" },
    { "three-dimensions.npy", "array.reshape(frames, features)" },
    { "scalar.npy", "shape ()" },
    { "integers.npy", "'<i4'" },
    { "no-features.npy", "(4, 0)" },
    { "structured.npy", "[('x', '<f4'), ('y', '<f4')]" },
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (arrays); i++)
    check_refused (read_golden (arrays[i].name), arrays[i].error, arrays[i].error);
}
GST_END_TEST

GST_START_TEST (test_damaged_headers_are_refused)
{
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3)}", "shape: (3)");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 2)}", "(-3, 2)");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 2)}", "expected True or False");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False}", "no shape");
  check_dict_refused ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", "descr: '<f4'");
  check_dict_refused ("{'descr': '<f4', 'order': 'C', 'shape': (3, 2)}", "key 'order'");
  check_dict_refused ("{'descr': '<f4' 'fortran_order': False}", "a comma or the closing brace");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)} import os", "import os");
  check_dict_refused ("['descr']", "expected a dict");
  check_dict_refused ("{'descr': '0123456789012345678901234567890123456789+', 'fortran_order': False, 'shape': (3, 2)}",
                      "type '0123456789012345678901234567890123456789...'");
}
GST_END_TEST

GST_START_TEST (test_sizes_that_overflow_are_refused)
{
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1), }", "2^63-1");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
                      "less than 2^63 bytes");
  /* The values alone would fit. */
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (2305843009213693951,), }",
                      "less than 2^63 bytes");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 65537), }", "1 to 65536 features");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4294967297), }", "1 to 65536 features");
}
GST_END_TEST

GST_START_TEST (test_other_files_are_refused)
{
  Bytes bytes = { g_strdup ("RIFF....WAVEfmt "), 16 }, empty = { g_strdup (""), 0 };
  Bytes length = read_golden ("version2.npy");

  check_refused (bytes, "not a .npy file: it starts with \"RIFF", "not a .npy file: it starts with \"R");
  check_refused (empty, "not a .npy file: it is empty", "not a .npy file: it is empty");
  length.data[11] = 1;
  check_refused (length, "expected no more than 65535", "expected no more than 65535");
}
GST_END_TEST

GST_START_TEST (test_other_versions_are_refused)
{
  static const gchar versions[][2] = { { 0, 0 }, { 4, 0 }, { 9, 0 }, { 1, 1 } };
  const gchar *version = versions[__i__];
  Bytes bytes = read_golden ("f4.npy");
  gchar *text = g_strdup_printf ("version %d.%d of the .npy format, expected 1.0, 2.0 or 3.0", version[0], version[1]);

  memcpy (bytes.data + 6, version, 2);
  check_refused (bytes, text, text);
  g_free (text);
}
GST_END_TEST

/* It is in both orders, so that only its shape is wrong. */
GST_START_TEST (test_array_without_values_has_no_order)
{
  check_dict_refused ("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 2, 3), }", "the shape (0, 2, 3)");
}
GST_END_TEST

GST_START_TEST (test_truncated_header_is_refused)
{
  Bytes bytes = read_golden ("f4.npy"), magic = read_golden ("f4.npy");

  bytes.size = 60;
  check_refused (bytes, "needs 128 bytes or more; the file ended after 60",
                 "needs 128 bytes or more; the file ended after 60");
  magic.size = 5;
  check_refused (magic, "ended after 5", "ended after 5");
}
GST_END_TEST

GST_START_TEST (test_truncated_data_is_refused)
{
  Bytes bytes = make_counting_npy (100, 80);

  bytes.size -= 2;
  check_refused (bytes, "100 frames of 80 features, 32000 bytes; the file has 31998",
                 "100 frames of 80 features, 32000 bytes; the file ended after 31998");
}
GST_END_TEST

GST_START_TEST (test_missing_frames_are_refused)
{
  Bytes bytes = make_counting_npy (100, 80), header = make_counting_npy (100, 80);

  bytes.size -= 2 * 80 * sizeof (gfloat);
  check_refused (bytes, "32000 bytes; the file has 31360", "32000 bytes; the file ended after 31360");
  header.size -= 32000;
  check_refused (header, "32000 bytes; the file has 0", "32000 bytes; the file ended after 0");
}
GST_END_TEST

/* As npyenc leaves an unfinished file: with whole frames, or a part of one, that the header does not count. */
GST_START_TEST (test_data_after_the_end_is_left_out_with_a_warning)
{
  Bytes bytes = make_counting_npy (5, 3);
  gchar *path;
  guint i, j;

  bytes.data = g_realloc (bytes.data, bytes.size + 31);
  memset (bytes.data + bytes.size, 0, 31);
  bytes.size += 31;
  path = write_temporary (&bytes);
  for (i = 0; i < G_N_ELEMENTS (feeds); i++) {
    GstElement *pipeline = new_pipeline (feeds[i], path, "frames-per-buffer=2");
    GstBus *bus = gst_element_get_bus (pipeline);
    GstMessage *message;
    GArray *values;
    GError *warning;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    values = pull_values (pipeline);
    fail_unless_equals_int (values->len, 15);
    for (j = 0; j < 15; j++)
      fail_unless_equals_float (g_array_index (values, gfloat, j), j);
    message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING);
    fail_unless (message != NULL, "nothing was said");
    gst_message_parse_warning (message, &warning, NULL);
    check_text (g_strdup (warning->message),
                i == 0 ? "60 bytes; the file has 91, and" : "5 frames of 3 features, 60 bytes; the file has ");
    g_error_free (warning);
    gst_message_unref (message);
    fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR) == NULL, "it was said twice");
    g_array_unref (values);
    gst_object_unref (bus);
    free_pipeline (pipeline);
  }
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}
GST_END_TEST

static Suite *
npyparse_suite (void)
{
  Suite *suite = suite_create ("npyparse");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_every_type_becomes_float32);
  tcase_add_test (tc, test_every_float16_is_exact);
  tcase_add_test (tc, test_float64_is_rounded_to_nearest_even);
  tcase_add_test (tc, test_one_dimension_is_one_feature);
  tcase_add_test (tc, test_header_in_any_order_and_spacing);
  tcase_add_loop_test (tc, test_fortran_order_of_a_single_dimension_is_read, 0, 3);
  tcase_add_test (tc, test_no_frames_is_no_error);
  tcase_add_test (tc, test_arrays_of_another_kind_are_refused);
  tcase_add_test (tc, test_damaged_headers_are_refused);
  tcase_add_test (tc, test_sizes_that_overflow_are_refused);
  tcase_add_test (tc, test_other_files_are_refused);
  tcase_add_loop_test (tc, test_other_versions_are_refused, 0, 4);
  tcase_add_test (tc, test_array_without_values_has_no_order);
  tcase_add_test (tc, test_truncated_header_is_refused);
  tcase_add_test (tc, test_truncated_data_is_refused);
  tcase_add_test (tc, test_missing_frames_are_refused);
  tcase_add_test (tc, test_data_after_the_end_is_left_out_with_a_warning);
  return suite;
}

GST_CHECK_MAIN (npyparse)
