/* gst-attention: tests of npyparse. SPDX-License-Identifier: LGPL-2.1-or-later */
#include "npycheck.h"

#include <math.h>

/*
 * Who feeds npyparse: it pulls from filesrc itself, a queue pushes, and chunks of one byte are the smallest that exist.
 */
static const gchar *const feeds[] = { "filesrc location=%s", "filesrc location=%s ! queue",
                                      "filesrc location=%s blocksize=1 ! queue" };

static GstElement *
new_pipeline (const gchar *feed, const gchar *path, const gchar *options)
{
  gchar **parts = g_strsplit (feed, "%s", 2);
  gchar *line = g_strdup_printf ("%s%s%s ! npyparse name=parse %s ! appsink name=sink sync=false max-buffers=0",
                                 parts[0], path, parts[1], options);
  GstElement *pipeline = gst_parse_launch (line, NULL);

  fail_unless (pipeline != NULL, "%s", line);
  g_free (line);
  g_strfreev (parts);
  return pipeline;
}

static GstSample *
pull_sample (GstElement *pipeline)
{
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  GstSample *sample;

  g_signal_emit_by_name (sink, "pull-sample", &sample);
  gst_object_unref (sink);
  return sample;
}

/* The rest of the stream as one array, after checking that numbers and times fit together. The caller frees it. */
static GArray *
pull_values (GstElement *pipeline)
{
  GArray *values = g_array_new (FALSE, FALSE, sizeof (gfloat));
  guint64 offset = GST_BUFFER_OFFSET_NONE;
  GstClockTime end = GST_CLOCK_TIME_NONE;
  GstSample *sample;

  while ((sample = pull_sample (pipeline)) != NULL) {
    GstBuffer *buffer = gst_sample_get_buffer (sample);
    GstMapInfo map;

    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    if (offset != GST_BUFFER_OFFSET_NONE) {
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), offset);
      fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), end);
    }
    offset = GST_BUFFER_OFFSET_END (buffer);
    end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_array_append_vals (values, map.data, map.size / sizeof (gfloat));
    gst_buffer_unmap (buffer, &map);
    gst_sample_unref (sample);
  }
  return values;
}

static void
free_pipeline (GstElement *pipeline)
{
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

static GArray *
read_values (const gchar *feed, const gchar *path, const gchar *options)
{
  GstElement *pipeline = new_pipeline (feed, path, options);
  GstBus *bus = gst_element_get_bus (pipeline);
  GArray *values;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  values = pull_values (pipeline);
  check_text (pop_error (bus), NULL);
  gst_object_unref (bus);
  free_pipeline (pipeline);
  return values;
}

static GArray *
read_golden_values (const gchar *feed, const gchar *name)
{
  gchar *path = golden_path (name);
  GArray *values = read_values (feed, path, "");

  g_free (path);
  return values;
}

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
}
GST_END_TEST

GST_START_TEST (test_sizes_that_overflow_are_refused)
{
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1), }", "2^63-1");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
                      "less than 2^63 bytes");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 65537), }", "1 to 65536 features");
  check_dict_refused ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4294967297), }", "1 to 65536 features");
}
GST_END_TEST

GST_START_TEST (test_other_files_are_refused)
{
  Bytes bytes = { g_strdup ("RIFF....WAVEfmt "), 16 }, empty = { g_strdup (""), 0 };
  Bytes version = read_golden ("f4.npy"), length = read_golden ("version2.npy");

  check_refused (bytes, "no .npy file: it starts with \"RIFF", "no .npy file: it starts with \"R");
  check_refused (empty, "no .npy file: it is empty", "no .npy file: it is empty");
  version.data[6] = 9;
  check_refused (version, "version 9.0", "version 9.0");
  length.data[11] = 1;
  check_refused (length, "expected no more than 65535", "expected no more than 65535");
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

/* As npyenc leaves a file that it could not finish: whole frames, or a part of one, that the header does not count. */
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

/* Where nobody knows how long it is. */
GST_START_TEST (test_data_after_the_end_of_a_pipe_is_left_out_with_a_warning)
{
  GstHarness *harness = new_harness ("npyparse");
  GstBus *bus = gst_element_get_bus (harness->element);
  Bytes bytes = make_counting_npy (5, 3);
  GstMessage *message;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size));
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, 7)), GST_FLOW_EOS);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, 7)), GST_FLOW_EOS);
  gst_harness_push_event (harness, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (harness), 5);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING);
  fail_unless (message != NULL && gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR) == NULL);
  gst_message_unref (message);
  gst_object_unref (bus);
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

/* Whole frames of a pipe that breaks off are not held back. */
GST_START_TEST (test_frames_before_the_truncation_come_out)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size - 13));
  fail_unless_equals_int (gst_harness_buffers_received (harness), 3);
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, "60 bytes; the file ended after 47");
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_frame_leaves_with_its_last_byte)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  gsize header_size = bytes.size - 60, i;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  for (i = 0; i < bytes.size; i++) {
    gst_harness_push (harness, gst_buffer_new_memdup (bytes.data + i, 1));
    fail_unless_equals_int (gst_harness_buffers_received (harness),
                            i + 1 < header_size ? 0 : (i + 1 - header_size) / 12);
  }
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_harness_error (harness, NULL);
  g_free (bytes.data);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_frames_begin_at_a_cache_line)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  GstBuffer *buffer;

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_wrapped (bytes.data, bytes.size));
  gst_harness_push_event (harness, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_READ);
    fail_unless_equals_int (GPOINTER_TO_SIZE (map.data) % 64, 0);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_int (gst_harness_buffers_received (harness), 5);
  free_harness (harness);
}
GST_END_TEST

static GstHarness *
push_counting (const gchar *launch_line, guint n_frames, guint n_features)
{
  GstHarness *harness = gst_harness_new_parse (launch_line);
  Bytes bytes = make_counting_npy (n_frames, n_features);

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_wrapped (bytes.data, bytes.size));
  gst_harness_push_event (harness, gst_event_new_eos ());
  return harness;
}

static void
check_caps (GstHarness *harness, const gchar *expected)
{
  GstCaps *caps = gst_pad_get_current_caps (harness->sinkpad), *expected_caps = gst_caps_from_string (expected);

  fail_unless (gst_caps_is_equal (caps, expected_caps), "%" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (expected_caps);
}

GST_START_TEST (test_whole_rate_goes_out_as_audio)
{
  GstHarness *harness = push_counting ("npyparse frame-rate=50/1", 4, 3);
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=%s, layout=interleaved, rate=50, channels=3, channel-mask=(bitmask)0", NE_FORMAT);

  check_caps (harness, caps);
  fail_unless_equals_int (gst_harness_buffers_received (harness), 4);
  g_free (caps);
  gst_harness_teardown (harness);
}
GST_END_TEST

GST_START_TEST (test_fractional_rate_goes_out_as_tensors)
{
  GstHarness *harness = push_counting ("npyparse frame-rate=25/2 frames-per-buffer=3", 7, 2);
  const gchar *caps[] = { "(string)2:3:1:1", "(string)2:1:1:1" };
  GstEvent *event;
  guint n_caps = 0;

  fail_unless_equals_int (gst_harness_buffers_received (harness), 3);
  while ((event = gst_harness_try_pull_event (harness)) != NULL) {
    if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
      gchar *text = g_strdup_printf (
          "other/tensors, format=static, num_tensors=1, types=float32, dimensions=%s, framerate=25/2", caps[n_caps++]);
      GstCaps *expected = gst_caps_from_string (text), *got;

      gst_event_parse_caps (event, &got);
      fail_unless (gst_caps_is_equal (got, expected), "%" GST_PTR_FORMAT, got);
      gst_caps_unref (expected);
      g_free (text);
    }
    gst_event_unref (event);
  }
  fail_unless_equals_int (n_caps, 2); /* the last buffer is shorter, and says so */
  gst_harness_teardown (harness);
}
GST_END_TEST

GST_START_TEST (test_refused_tensors_name_the_rate)
{
  gchar *path = golden_path ("f4.npy");

  check_text (run_launch_line ("filesrc location=%s ! npyparse frame-rate=25/2 ! audio/x-raw ! fakesink", path),
              "frame-rate=25/2");
  check_text (run_launch_line ("filesrc location=%s ! npyparse frame-rate=100 ! audio/x-raw,rate=50 ! fakesink", path),
              "100 per second");
  g_free (path);
}
GST_END_TEST

/* i / rate, rounded to nearest. */
static GstClockTime
exact_time (guint64 frame, guint rate_n, guint rate_d)
{
  return (frame * rate_d * GST_SECOND + rate_n / 2) / rate_n;
}

GST_START_TEST (test_time_stamps_do_not_drift)
{
  static const guint rates[][2] = { { 3, 1 }, { 44100, 1 }, { 30000, 1001 }, { 7, 3 }, { 1000000000, 1 } };
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (rates); i++) {
    gchar *line = g_strdup_printf ("npyparse frame-rate=%u/%u", rates[i][0], rates[i][1]);
    GstHarness *harness = push_counting (line, 1000, 1);

    for (j = 0; j < 1000; j++) {
      GstBuffer *buffer = gst_harness_pull (harness);
      GstClockTime time = exact_time (j, rates[i][0], rates[i][1]);

      fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), time);
      fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), exact_time (j + 1, rates[i][0], rates[i][1]) - time);
      fail_if (GST_BUFFER_DTS_IS_VALID (buffer));
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), j);
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), j + 1);
      gst_buffer_unref (buffer);
    }
    gst_harness_teardown (harness);
    g_free (line);
  }
}
GST_END_TEST

GST_START_TEST (test_frames_per_buffer)
{
  static const guint sizes[] = { 1, 2, 7, 999, 1000, 1001, G_MAXINT };
  Bytes bytes = make_counting_npy (1000, 33);
  gchar *path = write_temporary (&bytes);
  guint i, j, k;

  for (i = 0; i < G_N_ELEMENTS (sizes); i++)
    for (j = 0; j < 2; j++) {
      gchar *options = g_strdup_printf ("frames-per-buffer=%u", sizes[i]);
      GArray *values = read_values (feeds[j], path, options);

      fail_unless_equals_int (values->len, 33000);
      for (k = 0; k < values->len; k++)
        fail_unless (g_array_index (values, gfloat, k) == k);
      g_array_unref (values);
      g_free (options);
    }
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}
GST_END_TEST

GST_START_TEST (test_buffer_beyond_all_bounds_is_refused)
{
  Bytes bytes = make_npy ("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 65536), }", NULL, 0);
  gchar *path = write_temporary (&bytes);

  check_text (run_launch_line ("filesrc location=%s ! npyparse frames-per-buffer=1000000 ! fakesink", path),
              "frames-per-buffer of no more than 2047");
  g_unlink (path);
  g_free (path);
  g_free (bytes.data);
}
GST_END_TEST

/* Seeks after the preroll and collects what comes: frames [first, last) of an array of N_FRAMES, 100 per second. */
#define N_FRAMES 3000

static void
check_seek (const gchar *feed, guint frames_per_buffer, GstSeekFlags flags, GstFormat format, gint64 start, gint64 stop,
            guint first, guint last)
{
  Bytes bytes = make_counting_npy (N_FRAMES, 2);
  gchar *path = write_temporary (&bytes), *options = g_strdup_printf ("frames-per-buffer=%u", frames_per_buffer);
  GstElement *pipeline = new_pipeline (feed, path, options);
  GstBus *bus = gst_element_get_bus (pipeline);
  GArray *values;
  guint i;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_unless (gst_element_seek (pipeline, 1, format, flags | GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, start,
                                 stop == -1 ? GST_SEEK_TYPE_NONE : GST_SEEK_TYPE_SET, stop));
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  values = pull_values (pipeline);
  check_text (pop_error (bus), NULL);
  fail_unless (values->len == 2 * (last - first), "%u frames, expected %u", values->len / 2, last - first);
  for (i = 0; i < values->len; i++)
    fail_unless (g_array_index (values, gfloat, i) == 2 * first + i, "starts at frame %g, expected %u",
                 g_array_index (values, gfloat, 0) / 2, first);
  g_array_unref (values);
  gst_object_unref (bus);
  free_pipeline (pipeline);
  g_unlink (path);
  g_free (path);
  g_free (options);
  g_free (bytes.data);
}

static void
check_seeks (const gchar *feed, guint frames_per_buffer)
{
  const GstClockTime frame = 10 * GST_MSECOND;
  const GstSeekFlags flags[] = { 0, GST_SEEK_FLAG_ACCURATE, GST_SEEK_FLAG_KEY_UNIT };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (flags); i++) {
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 0, -1, 0, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame, -1, 17, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame - 1, -1, 16, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 2500 * frame + 1, -1, 2500, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 17 * frame, 42 * frame, 17, 42);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_TIME, 2400 * frame, 2442 * frame + 1, 2400, 2443);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_DEFAULT, 1234, -1, 1234, N_FRAMES);
    check_seek (feed, frames_per_buffer, flags[i], GST_FORMAT_DEFAULT, 2999, 3000, 2999, 3000);
  }
}

GST_START_TEST (test_seek_lands_on_the_frame)
{
  check_seeks (feeds[0], 1);
  check_seeks (feeds[0], 64);
}
GST_END_TEST

GST_START_TEST (test_seek_lands_on_the_frame_behind_a_queue)
{
  check_seeks (feeds[1], 1);
  check_seeks (feeds[1], 64);
}
GST_END_TEST

GST_START_TEST (test_seek_in_bytes_lands_on_the_frame)
{
  Bytes bytes = make_counting_npy (N_FRAMES, 2);
  gsize header_size = bytes.size - N_FRAMES * 2 * sizeof (gfloat);
  guint i;

  for (i = 0; i < 2; i++) {
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, 0, -1, 0, N_FRAMES);
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8, -1, 1000, N_FRAMES);
    check_seek (feeds[i], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8, header_size + 1100 * 8, 1000, 1100);
  }
  /* Inside a frame: it is whole where npyparse pulls; behind a queue its head was not sent. */
  check_seek (feeds[0], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8 + 3, -1, 1000, N_FRAMES);
  check_seek (feeds[1], 1, 0, GST_FORMAT_BYTES, header_size + 1000 * 8 + 3, -1, 1001, N_FRAMES);
  g_free (bytes.data);
}
GST_END_TEST

GST_START_TEST (test_seek_backwards_is_refused)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[0], path, "");

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_if (gst_element_seek (pipeline, -1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0,
                             GST_SEEK_TYPE_SET, 30 * GST_MSECOND));
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

static guint32 segment_seqnum;

static GstPadProbeReturn
see_segment (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_SEGMENT)
    segment_seqnum = gst_event_get_seqnum (GST_PAD_PROBE_INFO_EVENT (info));
  return GST_PAD_PROBE_OK;
}

/* So that an application finds what its seek brought. */
GST_START_TEST (test_segment_has_the_number_of_its_seek)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[__i__], path, ""),
             *parse = gst_bin_get_by_name (GST_BIN (pipeline), "parse");
  GstPad *pad = gst_element_get_static_pad (parse, "src");
  GstEvent *seek = gst_event_new_seek (1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 20 * GST_MSECOND,
                                       GST_SEEK_TYPE_NONE, 0);
  guint32 seqnum = gst_event_get_seqnum (seek);

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_segment, NULL, NULL);
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_unless (gst_element_send_event (pipeline, seek));
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (segment_seqnum, seqnum);
  gst_object_unref (pad);
  gst_object_unref (parse);
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

static GstFlowReturn
refuse_buffer (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;
}

/* What downstream refused before a flush is forgotten behind it. */
GST_START_TEST (test_flush_forgets_a_refusal)
{
  GstHarness *harness = new_harness ("npyparse");
  Bytes bytes = make_counting_npy (5, 3);
  GstPadChainFunction chain = GST_PAD_CHAINFUNC (harness->sinkpad);
  GstSegment segment;
  GstBuffer *buffer;
  guint n = 0;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_pad_set_chain_function (harness->sinkpad, refuse_buffer);
  fail_unless_equals_int (gst_harness_push (harness, gst_buffer_new_memdup (bytes.data, bytes.size)), GST_FLOW_ERROR);
  gst_pad_set_chain_function (harness->sinkpad, chain);
  gst_harness_push_event (harness, gst_event_new_flush_start ());
  gst_harness_push_event (harness, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (harness, gst_event_new_segment (&segment));
  buffer = gst_buffer_new_wrapped (bytes.data, bytes.size);
  GST_BUFFER_OFFSET (buffer) = 0;
  fail_unless_equals_int (gst_harness_push (harness, buffer), GST_FLOW_OK);
  gst_harness_push_event (harness, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    fail_if (GST_BUFFER_DTS_IS_VALID (buffer)); /* raw data has none */
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, 5);
  free_harness (harness);
}
GST_END_TEST

GST_START_TEST (test_duration_and_conversions)
{
  gchar *path = golden_path ("f4.npy");
  GstElement *pipeline = new_pipeline (feeds[0], path, "frame-rate=3/1"),
             *parse = gst_bin_get_by_name (GST_BIN (pipeline), "parse");
  gint64 value;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  fail_unless (gst_element_query_duration (pipeline, GST_FORMAT_TIME, &value));
  fail_unless_equals_int64 (value, 1666666667);
  fail_unless (gst_element_query_duration (pipeline, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 5);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 666666667, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 2);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 666666666, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 1);
  /* Frame 1 has a time stamp that was rounded down. */
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_TIME, 333333333, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 1);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_DEFAULT, 4, GST_FORMAT_BYTES, &value));
  fail_unless_equals_int64 (value, 128 + 4 * 12);
  fail_unless (gst_element_query_convert (parse, GST_FORMAT_BYTES, 128 + 4 * 12 - 1, GST_FORMAT_TIME, &value));
  fail_unless_equals_int64 (value, GST_SECOND);
  gst_object_unref (parse);
  free_pipeline (pipeline);
  g_free (path);
}
GST_END_TEST

GST_START_TEST (test_error_then_restart)
{
  gchar *bad = golden_path ("fortran.npy"), *good = golden_path ("f8.npy");
  GstElement *pipeline = gst_parse_launch ("filesrc name=src ! npyparse ! fakesink", NULL);
  GstElement *src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  gint i;

  for (i = 0; i < 3; i++) {
    g_object_set (src, "location", bad, NULL);
    check_text (run_to_end (pipeline), "Fortran order");
    g_object_set (src, "location", good, NULL);
    check_text (run_to_end (pipeline), NULL);
  }
  gst_object_unref (src);
  gst_object_unref (pipeline);
  g_free (bad);
  g_free (good);
}
GST_END_TEST

GST_START_TEST (test_properties_keep_their_values)
{
  GstElement *element = gst_check_setup_element ("npyparse");
  guint frames_per_buffer;
  gint n, d;

  g_object_get (element, "frame-rate", &n, &d, "frames-per-buffer", &frames_per_buffer, NULL);
  fail_unless (n == 100 && d == 1 && frames_per_buffer == 1);
  g_object_set (element, "frame-rate", 25, 2, "frames-per-buffer", 4096, NULL);
  g_object_get (element, "frame-rate", &n, &d, "frames-per-buffer", &frames_per_buffer, NULL);
  fail_unless (n == 25 && d == 2 && frames_per_buffer == 4096);
  gst_check_teardown_element (element);
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
  tcase_add_test (tc, test_truncated_header_is_refused);
  tcase_add_test (tc, test_truncated_data_is_refused);
  tcase_add_test (tc, test_missing_frames_are_refused);
  tcase_add_test (tc, test_data_after_the_end_is_left_out_with_a_warning);
  tcase_add_test (tc, test_data_after_the_end_of_a_pipe_is_left_out_with_a_warning);
  tcase_add_test (tc, test_frames_before_the_truncation_come_out);
  tcase_add_test (tc, test_frame_leaves_with_its_last_byte);
  tcase_add_test (tc, test_frames_begin_at_a_cache_line);
  tcase_add_test (tc, test_whole_rate_goes_out_as_audio);
  tcase_add_test (tc, test_fractional_rate_goes_out_as_tensors);
  tcase_add_test (tc, test_refused_tensors_name_the_rate);
  tcase_add_test (tc, test_time_stamps_do_not_drift);
  tcase_add_test (tc, test_frames_per_buffer);
  tcase_add_test (tc, test_buffer_beyond_all_bounds_is_refused);
  tcase_add_test (tc, test_seek_lands_on_the_frame);
  tcase_add_test (tc, test_seek_lands_on_the_frame_behind_a_queue);
  tcase_add_test (tc, test_seek_in_bytes_lands_on_the_frame);
  tcase_add_test (tc, test_seek_backwards_is_refused);
  tcase_add_loop_test (tc, test_segment_has_the_number_of_its_seek, 0, 2);
  tcase_add_test (tc, test_flush_forgets_a_refusal);
  tcase_add_test (tc, test_duration_and_conversions);
  tcase_add_test (tc, test_error_then_restart);
  tcase_add_test (tc, test_properties_keep_their_values);
  return suite;
}

GST_CHECK_MAIN (npyparse)
