/*
 * The element `attention`: its outputs, their times and their order.  SPDX-License-Identifier: LGPL-2.1-or-later
 * The numbers are checked against attn_forward (), which is checked in tests/core.
 */
#include "outputcheck.h"

/* ---- numbers and framing ---- */

static const guint pieces_of_1[] = { 1, 0 }, pieces_uneven[] = { 3, 1, 7, 0 }, pieces_of_16[] = { 16, 0 },
                   pieces_of_64[] = { 64, 0 }, pieces_whole[] = { 200, 0 };
static const guint *all_pieces[] = { pieces_of_1, pieces_uneven, pieces_of_16, pieces_of_64, pieces_whole };

static void
push_in_pieces (GstHarness *h, const gfloat *frames, guint n, const guint *pieces)
{
  guint begin = 0, i = 0;

  while (begin < n) {
    guint piece = MIN (pieces[i], n - begin);

    push_frames (h, frames, begin, piece);
    begin += piece;
    i = pieces[i + 1] != 0 ? i + 1 : 0;
  }
}

GST_START_TEST (test_any_buffer_size_gives_the_same_bits)
{
  static const struct {
    guint heads, window, look_ahead;
  } cases[] = { { 1, 64, 0 }, { 2, 1, 0 }, { 3, 7, 0 }, { 6, 20, 5 }, { 2, 500, 0 }, { 1, 16, 40 }, { 3, 1, 300 } };
  guint i = __i__ / G_N_ELEMENTS (all_pieces);
  const guint *pieces = all_pieces[__i__ % G_N_ELEMENTS (all_pieces)];
  AttnConfig config = configuration (cases[i].heads, cases[i].window, cases[i].look_ahead);
  gfloat *frames = make_frames (200, D), *expected = expect (&config, frames, NULL, 200);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_in_pieces (h, frames, 200, pieces);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 200);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_one_buffer_out_per_buffer_in)
{
  static const guint sizes[] = { 3, 1, 7, 2, 30, 1, 1, 5 };
  AttnConfig config = configuration (2, 8, 4);
  gfloat *frames = make_frames (50, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i, begin = 0;

  for (i = 0; i < G_N_ELEMENTS (sizes); begin += sizes[i++])
    push_frames (h, frames, begin, sizes[i]);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (i = begin = 0; i < G_N_ELEMENTS (sizes); begin += sizes[i++]) {
    GstBuffer *buffer = gst_harness_try_pull (h);

    fail_unless (buffer != NULL);
    fail_unless_equals_int (gst_buffer_get_size (buffer), sizes[i] * D * sizeof (gfloat));
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), begin * FRAME_TIME);
    fail_unless_equals_clocktime (GST_BUFFER_DURATION (buffer), sizes[i] * FRAME_TIME);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), begin);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), begin + sizes[i]);
    gst_buffer_unref (buffer);
  }
  fail_unless (gst_harness_try_pull (h) == NULL);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_a_buffer_leaves_when_its_look_ahead_is_there)
{
  AttnConfig config = configuration (1, 8, 3);
  gfloat *frames = make_frames (10, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i;

  for (i = 0; i < 10; i++) {
    push_frames (h, frames, i, 1);
    fail_unless_equals_int (gst_harness_buffers_received (h), i < 3 ? 0 : i - 2);
  }
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_flags_and_metas_are_carried_over)
{
  AttnConfig config = configuration (1, 8, 2);
  gfloat *frames = make_frames (4, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstCaps *reference = gst_caps_new_empty_simple ("timestamp/x-test");
  GstBuffer *buffer = frames_buffer (frames, D, 0, 1);

  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_MARKER);
  gst_buffer_add_reference_timestamp_meta (buffer, reference, 42, GST_CLOCK_TIME_NONE);
  gst_harness_push (h, buffer);
  push_frames (h, frames, 1, 3);
  buffer = gst_harness_try_pull (h);
  fail_unless (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_MARKER));
  fail_unless (gst_buffer_get_reference_timestamp_meta (buffer, reference) != NULL);
  gst_buffer_unref (buffer);
  gst_caps_unref (reference);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_discont_stays_on_its_own_buffer)
{
  AttnConfig config = configuration (1, 8, 2);
  gfloat *frames = make_frames (6, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint i;

  for (i = 0; i < 6; i++) {
    GstBuffer *buffer = frames_buffer (frames, D, i, 1);

    if (i == 3)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    gst_harness_push (h, buffer);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  for (i = 0; i < 6; i++) {
    GstBuffer *buffer = gst_harness_try_pull (h);

    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), i == 3);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_zero_size_buffer_passes)
{
  AttnConfig config = configuration (1, 8, 1);
  gfloat *frames = make_frames (4, D), *expected = expect (&config, frames, NULL, 4);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 0);
  push_frames (h, frames, 0, 2);
  push_frames (h, frames, 2, 0);
  push_frames (h, frames, 2, 2);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 4);
  check_output (h, expected, 4);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_memory_may_be_read_only_in_pieces_and_at_odd_addresses)
{
  AttnConfig config = configuration (2, 8, 0);
  gfloat *frames = make_frames (8, D), *expected = expect (&config, frames, NULL, 8);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gsize half = 4 * D * sizeof (gfloat);
  guint8 *odd = g_malloc (half + 1);
  GstBuffer *buffer = gst_buffer_new ();

  memcpy (odd + 1, frames + 4 * D, half);
  /* One frame in two memories, cut inside a value; then three; all read-only. */
  gst_buffer_append_memory (buffer, gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, frames, half, 0, 10, NULL, NULL));
  gst_buffer_append_memory (buffer,
                            gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, frames, half, 10, half - 10, NULL, NULL));
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  buffer = gst_buffer_new ();
  gst_buffer_append_memory (buffer,
                            gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY, odd, half + 1, 1, half, NULL, NULL));
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  check_output (h, expected, 8);
  gst_harness_teardown (h);
  g_free (odd);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_one_frame_stream)
{
  AttnConfig config = configuration (2, 8, 5);
  gfloat *frames = make_frames (1, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 1);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 0);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, frames, 1); /* it can see nothing but itself */
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

GST_START_TEST (test_empty_stream)
{
  AttnConfig config = configuration (2, 8, 5);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 0);
  gst_harness_teardown (h);
  /* Not even caps have come. */
  h = harness_new (&config, NULL);
  gst_harness_push_event (h, gst_event_new_eos ());
  gst_harness_teardown (h);
}
GST_END_TEST;

/* D from 1 to the widest that is common, one frame per buffer and many. */
GST_START_TEST (test_any_number_of_features)
{
  static const guint widths[] = { 1, 2, 3, 17, 64, 80, 4096 };
  guint n_features = widths[__i__], n;
  GstHarness *h = gst_harness_new ("attention");
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=%u", n_features);
  gfloat *frames = make_frames (20, n_features), *expected;
  AttnConfig config = attn_config_default ();
  guint8 *got;
  gsize size = 20 * n_features * sizeof (gfloat), got_size;
  GstAdapter *adapter = gst_adapter_new ();

  config.n_features = n_features;
  expected = expect (&config, frames, NULL, 20);
  gst_harness_set_src_caps (h, gst_caps_from_string (caps));
  for (n = 0; n < 10; n++)
    gst_harness_push (h, gst_buffer_new_memdup (frames + n * n_features, n_features * sizeof (gfloat)));
  gst_harness_push (h, gst_buffer_new_memdup (frames + n * n_features, 10 * n_features * sizeof (gfloat)));
  while (gst_harness_buffers_in_queue (h) > 0)
    gst_adapter_push (adapter, gst_harness_pull (h));
  got_size = gst_adapter_available (adapter);
  fail_unless_equals_uint64 (got_size, size);
  got = gst_adapter_take (adapter, size);
  fail_unless (memcmp (got, expected, size) == 0);
  g_free (got);
  g_object_unref (adapter);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
  g_free (caps);
}
GST_END_TEST;

/* ---- life cycle ---- */

GST_START_TEST (test_reuse_after_null)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (10, D), *expected = expect (&config, frames, NULL, 10);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 3, 7); /* three wait */
  gst_element_set_state (h->element, GST_STATE_NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_segment (h, 0);
  push_frames (h, frames, 0, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 10);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_dispose_without_start)
{
  GstElement *element = gst_element_factory_make (subject_factory (), NULL);

  g_object_set (element, "model-file", "x", NULL);
  ASSERT_OBJECT_REFCOUNT (element, "element", 1);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_stop_with_waiting_buffers_leaks_nothing)
{
  AttnConfig config = configuration (2, 8, 30);
  gfloat *frames = make_frames (10, D);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);

  push_frames (h, frames, 0, 10);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("waits")));
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

static Suite *
attention_suite (void)
{
  Suite *suite = suite_create ("attention");
  TCase *numbers = tcase_create ("numbers"), *life = tcase_create ("life");

  suite_add_tcase (suite, numbers);
  tcase_add_loop_test (numbers, test_any_buffer_size_gives_the_same_bits, 0, 7 * G_N_ELEMENTS (all_pieces));
  tcase_add_test (numbers, test_one_buffer_out_per_buffer_in);
  tcase_add_test (numbers, test_a_buffer_leaves_when_its_look_ahead_is_there);
  tcase_add_test (numbers, test_flags_and_metas_are_carried_over);
  tcase_add_test (numbers, test_discont_stays_on_its_own_buffer);
  tcase_add_test (numbers, test_zero_size_buffer_passes);
  tcase_add_test (numbers, test_memory_may_be_read_only_in_pieces_and_at_odd_addresses);
  tcase_add_test (numbers, test_one_frame_stream);
  tcase_add_test (numbers, test_empty_stream);
  if (!subject_is_encoder ()) /* whose file knows one */
    tcase_add_loop_test (numbers, test_any_number_of_features, 0, 7);

  suite_add_tcase (suite, life);
  tcase_add_test (life, test_reuse_after_null);
  tcase_add_test (life, test_dispose_without_start);
  tcase_add_test (life, test_stop_with_waiting_buffers_leaks_nothing);
  return suite;
}

GST_CHECK_MAIN (attention);
