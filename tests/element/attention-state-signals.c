/*
 * The element `attention`: streams that are saved and restored in memory, by its signals.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "statecheck.h"

#include "attn.h"

GST_START_TEST (test_signals_move_a_stream_to_another_element)
{
  const Case *c = &cases[__i__];
  GByteArray *expected = undisturbed (c, 0, N), *got = g_byte_array_new ();
  GstHarness *a = start (c, NULL), *b = start (c, NULL);
  GBytes *state;

  push (a, 0, 90);
  push (b, 30, 70); /* it has seen other frames */
  pull (b, 30, got);
  g_byte_array_set_size (got, 0);
  state = save (a);
  fail_unless (restore (b, state));
  push (b, 90, N);
  pull (b, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  /* Saving has not disturbed the other one. */
  push (a, 90, N);
  g_byte_array_set_size (got, 0);
  pull (a, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The GAP comes behind the frames of the state: like a frame, it starts the restored stream. */
GST_START_TEST (test_gap_after_restore_is_one_of_the_restored_stream)
{
  static const Case c = { 20, 0, 0, FALSE };
  GByteArray *expected = g_byte_array_new (), *got = g_byte_array_new ();
  GstHarness *a = start (&c, NULL), *b = start (&c, NULL);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  pull (a, 0, expected);
  g_byte_array_set_size (expected, 0);
  gst_harness_push_event (a, gst_event_new_gap (90 * FRAME_TIME, 5 * FRAME_TIME));
  push (a, 95, N);
  pull (a, 95, expected);
  push (b, 30, 70);
  pull (b, 30, got);
  g_byte_array_set_size (got, 0);
  fail_unless (restore (b, state));
  gst_harness_push_event (b, gst_event_new_gap (90 * FRAME_TIME, 5 * FRAME_TIME));
  push (b, 95, N);
  pull (b, 95, got);
  fail_unless_frames (got, 0, expected, 0, N - 95);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Buffers that wait get their own outputs, as at the end of their stream; those of the saved stream go nowhere. */
GST_START_TEST (test_restore_answers_what_waits_and_drops_what_it_owes)
{
  static const Case c = { 20, 7, 0, FALSE };
  GByteArray *whole = undisturbed (&c, 0, N), *other = undisturbed (&c, 30, 70), *got;
  GstHarness *a = start (&c, NULL), *b = start (&c, NULL);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  push (b, 30, 70);
  fail_unless (restore (b, state));
  push (b, 90, N);
  gst_harness_push_event (b, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (b), 12 + 31 - 1);
  got = pull_bytes (b);
  fail_unless_equals_int (got->len, (40 + N - 90) * D * sizeof (gfloat));
  fail_unless_frames (got, 0, other, 0, 40);
  fail_unless_frames (got, 40, whole, 90, N - 90);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (whole);
  g_byte_array_unref (other);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_refused_state_is_a_warning_and_the_stream_goes_on)
{
  static const Case c = { 20, 3, 2, FALSE }, foreign = { 21, 3, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *a = start (&foreign, NULL), *b = start (&c, NULL);
  GstBus *bus = attach_bus (b->element);
  GBytes *state, *cut, *before, *after;

  push (a, 0, 90);
  state = save (a);
  cut = g_bytes_new_from_bytes (state, 0, 70);
  push (b, 0, 90);
  before = save (b);
  fail_if (restore (b, state));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "another layer");
  fail_if (restore (b, cut));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "70 bytes");
  after = save (b);
  fail_unless (g_bytes_equal (before, after));
  push (b, 90, N);
  gst_harness_push_event (b, gst_event_new_eos ());
  pull (b, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  g_bytes_unref (state);
  g_bytes_unref (cut);
  g_bytes_unref (before);
  g_bytes_unref (after);
  detach_bus (b->element, bus);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Only a program over the core can make such a state. */
GST_START_TEST (test_state_of_a_drained_stream_is_refused)
{
  static const Case c = { 20, 3, 2, FALSE };
  AttnConfig config = attn_config_default ();
  GstHarness *h = start (&c, NULL);
  AttnLayer *layer;
  AttnStream *stream;
  GBytes *state;
  gsize size;

  config.n_features = D;
  config.n_heads = 4;
  config.window = c.window;
  config.look_ahead = c.look_ahead;
  config.n_sinks = c.sinks;
  g_assert (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  g_assert (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  attn_stream_drain (stream, NULL, NULL);
  size = attn_stream_state_size (stream);
  state = g_bytes_new_take (g_malloc (size), size);
  g_assert (attn_stream_save (stream, (gpointer) g_bytes_get_data (state, NULL), size, NULL) == ATTN_OK);
  fail_if (restore (h, state));
  g_assert (attn_stream_reset (stream, 0, NULL) == ATTN_OK);
  g_assert (attn_stream_save (stream, (gpointer) g_bytes_get_data (state, NULL), size, NULL) == ATTN_OK);
  fail_unless (restore (h, state));
  g_bytes_unref (state);
  attn_stream_free (stream);
  attn_layer_free (layer);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_there_is_no_state_before_the_caps)
{
  static const Case c = { 20, 0, 2, FALSE };
  GstElement *element = make_element (&c, NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  GBytes *nothing = g_bytes_new_static ("", 0);

  fail_unless (save (h) == NULL);
  fail_if (restore (h, nothing));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "no stream yet");
  g_bytes_unref (nothing);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_state_after_eos_is_that_of_the_last_frame)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;

  push (h, 0, 90);
  before = save (h);
  gst_harness_push_event (h, gst_event_new_eos ());
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  pull (h, 0, got);
  /* And it brings the stream back to life. */
  fail_unless (restore (h, after));
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, CAPS);
  push_segment (h, 0);
  push (h, 90, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  g_byte_array_set_size (got, 0);
  pull (h, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* A stream that ends without a frame leaves no state. */
GST_START_TEST (test_ends_without_frames_change_no_state)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;

  push (h, 0, 90);
  before = save (h);
  gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
  gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
  push_flush (h);
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_flush_leaves_the_state_of_the_last_frame)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;

  push (h, 0, 90);
  before = save (h);
  push_flush (h);
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Ten frames of half the width, as a stream of their own. */
static GByteArray *
undisturbed_half (const Case *c)
{
  GstCaps *caps = gst_caps_from_string (CAPS);
  GByteArray *bytes = g_byte_array_new ();
  GstElement *element = make_element (c, NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBuffer *buffer;

  gst_object_unref (element);
  gst_caps_set_simple (caps, "channels", G_TYPE_INT, D / 2, NULL);
  gst_harness_set_src_caps (h, caps);
  gst_harness_push (h, gst_buffer_new_memdup (frames, 10 * D / 2 * sizeof (gfloat)));
  gst_harness_push_event (h, gst_event_new_eos ());
  g_byte_array_set_size (bytes, 10 * D / 2 * sizeof (gfloat));
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (gst_buffer_extract (buffer, 0, bytes->data, bytes->len), bytes->len);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  return bytes;
}

/* Outputs that a restored stream owes are no longer waited for when another layer takes its place. */
GST_START_TEST (test_other_caps_owe_nothing)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *got = g_byte_array_new (), *other;
  GstCaps *caps = gst_caps_from_string (CAPS);
  GstBuffer *buffer;
  GstHarness *h;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  gst_caps_set_simple (caps, "channels", G_TYPE_INT, D / 2, NULL);
  gst_harness_set_src_caps (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frames, 10 * D / 2 * sizeof (gfloat))),
                          GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 1);
  /* The buffer holds its own outputs, not those of five frames later. */
  buffer = gst_harness_pull (h);
  other = undisturbed_half (&c);
  fail_unless_equals_int (gst_buffer_memcmp (buffer, 0, other->data, other->len), 0);
  gst_buffer_unref (buffer);
  g_byte_array_unref (other);
  gst_harness_teardown (h);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* If a stream is restored and stopped at once, the file holds the restored state. */
GST_START_TEST (test_restored_state_goes_to_the_file)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *a = start (&c, NULL), *b = start (&c, state_file);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  if (__i__ == 0) /* or no other stream has come */
    push (b, 30, 40);
  fail_unless (restore (b, state));
  gst_harness_teardown (b);
  fail_unless_file_is (state);
  g_bytes_unref (state);
  gst_harness_teardown (a);
}
GST_END_TEST;

typedef struct {
  GstHarness *h;
  gint stop;
} Saver;

static gpointer
save_all_the_time (gpointer data)
{
  Saver *saver = data;
  GBytes *cut = g_bytes_new_static ("attnstat", 8);
  guint n = 0;

  while (!g_atomic_int_get (&saver->stop)) {
    GBytes *state = save (saver->h);

    fail_unless (state != NULL);
    if (n++ % 8 == 0)
      fail_if (restore (saver->h, cut));
    g_bytes_unref (state);
    g_usleep (50); /* a mutex is not fair: let the buffers flow */
  }
  g_bytes_unref (cut);
  return NULL;
}

GST_START_TEST (test_other_threads_save_while_buffers_flow)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  Saver saver = { start (&c, NULL), 0 };
  GThread *thread = g_thread_new ("saver", save_all_the_time, &saver);

  push (saver.h, 0, N);
  gst_harness_push_event (saver.h, gst_event_new_eos ());
  g_atomic_int_set (&saver.stop, 1);
  g_thread_join (thread);
  pull (saver.h, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  gst_harness_teardown (saver.h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

static Suite *
attention_state_signals_suite (void)
{
  Suite *suite = suite_create ("attention-state-signals");
  TCase *memory = tcase_create ("signals");

  suite_add_tcase (suite, memory);
  tcase_add_checked_fixture (memory, setup, teardown);
  tcase_add_loop_test (memory, test_signals_move_a_stream_to_another_element, 0, G_N_ELEMENTS (cases));
  tcase_add_test (memory, test_gap_after_restore_is_one_of_the_restored_stream);
  tcase_add_test (memory, test_restore_answers_what_waits_and_drops_what_it_owes);
  tcase_add_test (memory, test_refused_state_is_a_warning_and_the_stream_goes_on);
  tcase_add_test (memory, test_state_after_eos_is_that_of_the_last_frame);
  tcase_add_test (memory, test_ends_without_frames_change_no_state);
  tcase_add_test (memory, test_flush_leaves_the_state_of_the_last_frame);
  if (!subject_is_encoder ()) { /* whose states are those of an encoder, and whose frames have one width */
    tcase_add_test (memory, test_there_is_no_state_before_the_caps);
    tcase_add_test (memory, test_state_of_a_drained_stream_is_refused);
    tcase_add_test (memory, test_other_caps_owe_nothing);
  }
  tcase_add_loop_test (memory, test_restored_state_goes_to_the_file, 0, 2);
  tcase_add_test (memory, test_other_threads_save_while_buffers_flow);
  return suite;
}

GST_CHECK_MAIN (attention_state_signals);
