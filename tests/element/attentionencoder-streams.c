/*
 * The element `attentionencoder`: where streams begin and end, and the place of events in them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encodercheck.h"

static const gchar *const names[] = { "transformer-6-pre-gelu-ahead", "moonshine", "conv-strides", "conv-same",
                                      "conv-longer-than-stream" };

/* All frames of the golden file, present; in audio. */
static Encoder *
open_whole (const gchar *name, GstHarness **h)
{
  Encoder *e = encoder_open (name);

  memset (e->present, 1, e->n);
  encoder_expect (e);
  *h = encoder_harness (e);
  gst_harness_set_src_caps (*h, encoder_caps (e, FALSE, 0));
  return e;
}

static void
close_whole (Encoder *e, GstHarness *h)
{
  gst_harness_teardown (h);
  encoder_free (e);
}

/* ---- ends ---- */

GST_START_TEST (test_a_flush_forgets_what_waited)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__], &h);

  gst_harness_push (h, encoder_buffer (e, 0, e->n / 2 + 1));
  push_flush (h);
  drop_buffers (h);
  push_segment (h, 0);
  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (h, e->expected, e->n_out * e->n_outputs);
  close_whole (e, h);
}
GST_END_TEST;

static void
check_two_streams (GstHarness *h, const Encoder *e)
{
  gsize n_values = e->n_out * e->n_outputs, n_got;
  gfloat *got;

  gst_harness_push_event (h, gst_event_new_eos ());
  got = pull_all (h, &n_got);
  fail_unless_equals_uint64 (n_got, 2 * n_values);
  fail_unless (memcmp (got, e->expected, n_values * sizeof *got) == 0);
  fail_unless (memcmp (got + n_values, e->expected, n_values * sizeof *got) == 0);
  g_free (got);
}

GST_START_TEST (test_a_jump_back_drains_and_begins_a_new_stream)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__], &h);
  GstBuffer *buffer = encoder_buffer (e, 0, e->n);

  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  check_two_streams (h, e);
  close_whole (e, h);
}
GST_END_TEST;

GST_START_TEST (test_another_rate_drains_and_begins_a_new_stream)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__], &h);
  GstCaps *caps = encoder_caps (e, FALSE, 0);

  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  gst_caps_set_simple (caps, "rate", G_TYPE_INT, 2 * RATE, NULL);
  gst_harness_set_src_caps (h, caps);
  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  check_two_streams (h, e);
  close_whole (e, h);
}
GST_END_TEST;

GST_START_TEST (test_reuse_after_null)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__], &h);

  gst_harness_push (h, encoder_buffer (e, 1, e->n - 1));
  gst_element_set_state (h->element, GST_STATE_NULL);
  drop_buffers (h);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  push_segment (h, 0);
  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (h, e->expected, e->n_out * e->n_outputs);
  close_whole (e, h);
}
GST_END_TEST;

GST_START_TEST (test_no_frames_give_no_outputs)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__], &h);

  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 0);
  close_whole (e, h);
}
GST_END_TEST;

/* A model exists from the start on; a stream does not. */
GST_START_TEST (test_a_buffer_before_caps_is_refused)
{
  Encoder *e = encoder_open ("llama");
  GstHarness *h = encoder_harness (e);
  GstPad *sink = gst_element_get_static_pad (h->element, "sink");

  gst_pad_send_event (sink, gst_event_new_stream_start ("no caps"));
  push_segment (h, 0);
  fail_unless_equals_int (gst_pad_chain (sink, encoder_buffer (e, 0, 1)), GST_FLOW_NOT_NEGOTIATED);
  gst_object_unref (sink);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* ---- places ---- */

/* Behind all outputs whose frames came before it, and before all others. */
GST_START_TEST (test_events_keep_their_place_among_outputs)
{
  GstHarness *h;
  Encoder *e = open_whole (names[__i__ / 5], &h);
  guint cut = 4 + __i__ % 5;
  Seen seen;

  watch (h, &seen, e);
  seen.rate_n = RATE;
  gst_harness_push (h, encoder_buffer (e, 0, cut));
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("x")));
  gst_harness_push (h, encoder_buffer (e, cut, e->n - cut));
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_uint64 (seen.at_event, (cut + e->stride - 1) / e->stride);
  check_all_seen (&seen, FALSE);
  close_whole (e, h);
}
GST_END_TEST;

/* ---- long absence ---- */

/* The outputs for 20 frames with `n` absent ones between them. */
static GByteArray *
play_with_absence (const gchar *name, guint64 n)
{
  GstHarness *h;
  Encoder *e = open_whole (name, &h);
  GstBuffer *buffer;
  GByteArray *bytes;

  gst_harness_push (h, encoder_buffer (e, 0, 12));
  gst_harness_push_event (h, gst_event_new_gap (12 * FRAME_TIME, n * FRAME_TIME));
  buffer = encoder_buffer (e, 12, 12);
  GST_BUFFER_PTS (buffer) = (12 + n) * FRAME_TIME;
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  bytes = pull_bytes (h);
  close_whole (e, h);
  return bytes;
}

/* A hole of a hundred days is over at once, and has the outputs of a hole as long as the encoder reaches. */
GST_START_TEST (test_long_absence_takes_no_time_and_no_memory)
{
  static const gchar *const convolutions[] = { "conv-strides", "conv-absent", "conv-same", "conv-causal", "stack" };
  GByteArray *a = play_with_absence (convolutions[__i__], 120);
  GByteArray *b = play_with_absence (convolutions[__i__], 864000120);

  fail_unless (a->len > 0);
  fail_unless_equals_uint64 (a->len, b->len);
  fail_unless (memcmp (a->data, b->data, a->len) == 0);
  g_byte_array_unref (a);
  g_byte_array_unref (b);
}
GST_END_TEST;

/* ---- signals ---- */

GST_START_TEST (test_a_state_goes_on_in_another_element_by_signals)
{
  GstHarness *before, *after;
  Encoder *e = open_whole (names[__i__], &before), *same = open_whole (names[__i__], &after);
  guint cut = e->n / 2 + 1, first_output = (cut + e->stride - 1) / e->stride;
  gboolean restored;
  GBytes *state;

  gst_harness_push (before, encoder_buffer (e, 0, cut));
  g_signal_emit_by_name (before->element, "save-state", &state);
  fail_unless (state != NULL);
  g_signal_emit_by_name (after->element, "restore-state", state, &restored);
  fail_unless (restored);
  gst_harness_push (after, encoder_buffer (e, cut, e->n - cut));
  gst_harness_push_event (after, gst_event_new_eos ());
  check_values (after, e->expected + first_output * e->n_outputs, (e->n_out - first_output) * e->n_outputs);
  g_bytes_unref (state);
  close_whole (e, before);
  close_whole (same, after);
}
GST_END_TEST;

static Suite *
attentionencoder_streams_suite (void)
{
  Suite *suite = suite_create ("attentionencoder-streams");
  TCase *ends = tcase_create ("ends"), *places = tcase_create ("places");

  suite_add_tcase (suite, ends);
  tcase_add_loop_test (ends, test_a_flush_forgets_what_waited, 0, G_N_ELEMENTS (names));
  tcase_add_loop_test (ends, test_a_jump_back_drains_and_begins_a_new_stream, 0, G_N_ELEMENTS (names));
  tcase_add_loop_test (ends, test_another_rate_drains_and_begins_a_new_stream, 0, G_N_ELEMENTS (names));
  tcase_add_loop_test (ends, test_reuse_after_null, 0, G_N_ELEMENTS (names));
  tcase_add_loop_test (ends, test_no_frames_give_no_outputs, 0, G_N_ELEMENTS (names));
  tcase_add_test (ends, test_a_buffer_before_caps_is_refused);

  suite_add_tcase (suite, places);
  tcase_add_loop_test (places, test_events_keep_their_place_among_outputs, 0, 20);
  tcase_add_loop_test (places, test_long_absence_takes_no_time_and_no_memory, 0, 5);
  tcase_add_loop_test (places, test_a_state_goes_on_in_another_element_by_signals, 0, G_N_ELEMENTS (names));
  return suite;
}

GST_CHECK_MAIN (attentionencoder_streams);
