/*
 * The element `attention`: its messages, which are checked against the weights of attn_forward ().
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "weightscheck.h"

#include <math.h>

/* Runs N frames in pieces of `piece`; the messages that came, as structures. */
static GPtrArray *
messages_of (GstElement *element, const gchar *caps, guint piece)
{
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GPtrArray *structures = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_structure_free);
  GstBus *bus = gst_bus_new ();
  GstMessage *message;

  gst_element_set_bus (element, bus);
  gst_harness_set_src_caps_str (h, caps);
  push_in_pieces (h, 0, N, piece);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((message = pop_message (bus, GST_MESSAGE_ELEMENT))) {
    fail_unless (gst_message_has_name (message, "attention"));
    g_ptr_array_add (structures, gst_structure_copy (gst_message_get_structure (message)));
    gst_message_unref (message);
  }
  detach_bus (element, bus);
  gst_harness_teardown (h);
  return structures;
}

static gdouble
get_double (const GstStructure *structure, const gchar *field, guint head)
{
  return g_value_get_double (gst_value_array_get_value (gst_structure_get_value (structure, field), head));
}

static gint
get_int (const GstStructure *structure, const gchar *field, guint head)
{
  return g_value_get_int (gst_value_array_get_value (gst_structure_get_value (structure, field), head));
}

static guint64
get_uint64 (const GstStructure *structure, const gchar *field)
{
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (structure, field, &value)
               || gst_structure_get_clock_time (structure, field, &value));
  return value;
}

static void
fail_unless_close (gdouble got, gdouble expected)
{
  fail_unless (fabs (got - expected) < 1e-5, "%.9g, not %.9g", got, expected);
}

GST_START_TEST (test_messages_say_what_heads_attend_to)
{
  GstElement *element = new_element ();
  GPtrArray *messages;
  Expected expected;
  guint m, h, i;

  expect (NULL, &expected);
  g_object_set (element, "post-messages", TRUE, "interval", (guint64) 80 * GST_MSECOND, NULL);
  messages = messages_of (element, AUDIO_CAPS, 3);
  fail_unless_equals_int (messages->len, N / 8);
  for (m = 0; m < messages->len; m++)
    for (h = 0; h < HEADS; h++) {
      const GstStructure *message = g_ptr_array_index (messages, m);
      gdouble entropy = 0, moment = 0, window = 0, sinks = 0, slots[SPAN] = { 0 };
      guint peak = SINKS + WINDOW - 1;

      for (i = 0; i < 8 * SPAN; i++) {
        gdouble w = expected.weights[((m * 8 + i / SPAN) * HEADS + h) * SPAN + i % SPAN];

        entropy -= w > 0 ? w * log2 (w) : 0;
        slots[i % SPAN] += w;
      }
      for (i = 0; i < SPAN; i++) {
        if (i < SINKS)
          sinks += slots[i];
        else
          window += slots[i], moment += slots[i] * (SINKS + WINDOW - 1.0 - i);
        if (i >= SINKS && slots[i] > slots[peak])
          peak = i;
      }
      fail_unless_close (get_double (message, "entropy", h), entropy / 8);
      fail_unless_close (get_double (message, "mean-lag", h), moment / window);
      fail_unless_close (get_double (message, "sink-weight", h), sinks / 8);
      fail_unless_equals_int (get_int (message, "peak-lag", h), SINKS + WINDOW - 1 - (gint) peak);
    }
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_even_attention_has_the_entropy_of_its_frames)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GPtrArray *messages;
  const GstStructure *last;

  memset (frames, 0, sizeof frames);
  g_object_set (element, "sinks", 2, "window", 6, "post-messages", TRUE, NULL);
  messages = messages_of (element, AUDIO_CAPS, 10);
  fail_unless_equals_int (messages->len, 4);
  last = g_ptr_array_index (messages, 3);
  fail_unless_close (get_double (last, "entropy", 0), 3); /* 8 frames */
  fail_unless_close (get_double (last, "mean-lag", 0), 2.5);
  fail_unless_close (get_double (last, "sink-weight", 0), 0.25);
  fail_unless_equals_int (get_int (last, "peak-lag", 0), 0); /* the nearest of equals */
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

/* All slots have the same weight: the message names the frame itself, not one before or behind it. */
GST_START_TEST (test_peak_of_even_attention_is_the_frame_itself)
{
  GstElement *element = new_element ();
  GPtrArray *messages;
  guint m, h;

  memset (frames, 0, sizeof frames);
  g_object_set (element, "post-messages", TRUE, NULL);
  messages = messages_of (element, AUDIO_CAPS, 10);
  fail_unless_equals_int (messages->len, 4);
  for (m = 0; m < messages->len; m++)
    for (h = 0; h < HEADS; h++)
      fail_unless_equals_int (get_int (g_ptr_array_index (messages, m), "peak-lag", h), 0);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_shortest_interval_is_a_frame)
{
  GstElement *element = new_element ();
  GPtrArray *messages;

  g_object_set (element, "post-messages", TRUE, "interval", (guint64) 1, NULL);
  messages = messages_of (element, AUDIO_CAPS, 7);
  fail_unless_equals_int (messages->len, N);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_are_timed_by_their_frames)
{
  GstElement *element = new_element ();
  GPtrArray *messages;
  const GstStructure *message;

  g_object_set (element, "post-messages", TRUE, "interval", (guint64) 150 * GST_MSECOND, NULL);
  messages = messages_of (element, AUDIO_CAPS, 4);
  fail_unless_equals_int (messages->len, 3); /* 15, 15 and the 10 at the end */
  message = g_ptr_array_index (messages, 1);
  fail_unless_equals_uint64 (get_uint64 (message, "timestamp"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "stream-time"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "running-time"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "duration"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "endtime"), 30 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "frames"), 15);
  message = g_ptr_array_index (messages, 2);
  fail_unless_equals_uint64 (get_uint64 (message, "frames"), 10);
  fail_unless_equals_uint64 (get_uint64 (message, "endtime"), 40 * FRAME_TIME);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_do_not_depend_on_the_size_of_buffers)
{
  GPtrArray *messages[2];
  guint i;

  for (i = 0; i < 2; i++) {
    GstElement *element = new_element ();

    g_object_set (element, "post-messages", TRUE, NULL);
    messages[i] = messages_of (element, AUDIO_CAPS, i == 0 ? 1 : 13);
    gst_object_unref (element);
  }
  fail_unless_equals_int (messages[0]->len, 4);
  fail_unless_equals_int (messages[1]->len, 4);
  for (i = 0; i < 4; i++)
    fail_unless (gst_structure_is_equal (g_ptr_array_index (messages[0], i), g_ptr_array_index (messages[1], i)));
  g_ptr_array_unref (messages[0]);
  g_ptr_array_unref (messages[1]);
}
GST_END_TEST;

GST_START_TEST (test_without_a_rate_each_buffer_gives_a_message)
{
  GstElement *element = new_element ();
  GPtrArray *messages;

  g_object_set (element, "post-messages", TRUE, NULL);
  messages = messages_of (element,
                          "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                          "dimensions=(string)6:5:1:1, framerate=(fraction)0/1",
                          5);
  fail_unless_equals_int (messages->len, N / 5);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_count_frames_that_attended)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  GstBuffer *gap = frames_buffer (frames, D, 4, 4);
  GstMessage *message;

  g_object_set (element, "post-messages", TRUE, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push (h, 0, 4);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  gst_harness_push (h, gap);
  push (h, 8, 10);
  push (h, 18, 5);
  message = pop_message (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "frames"), 6);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "duration"), 10 * FRAME_TIME);
  gst_message_unref (message);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

/* So does a stop. */
GST_START_TEST (test_flush_forgets_what_was_not_posted)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  GstMessage *message;

  g_object_set (element, "post-messages", TRUE, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push (h, 0, 5);
  push (h, 5, 8);
  if (__i__ == 0) {
    push_flush (h);
  } else {
    gst_element_set_state (element, GST_STATE_NULL);
    gst_element_set_state (element, GST_STATE_PLAYING);
    gst_harness_push_event (h, gst_event_new_stream_start ("again"));
    gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  }
  push_segment (h, 0);
  push (h, 20, 10);
  push (h, 30, 4);
  message = pop_message (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "timestamp"), 20 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "frames"), 10);
  gst_message_unref (message);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_nobody_asked_for_messages)
{
  GstElement *element = new_element ();
  GPtrArray *messages = messages_of (element, AUDIO_CAPS, 4);

  fail_unless_equals_int (messages->len, 0);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_come_and_go_while_frames_flow)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  GstMessage *message;
  Expected expected;

  expect (NULL, &expected);
  g_object_set (element, "interval", (guint64) 50 * GST_MSECOND, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, 10, 5);
  g_object_set (element, "post-messages", TRUE, NULL);
  push_in_pieces (h, 10, 25, 5);
  message = pop_message (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "timestamp"), 10 * FRAME_TIME);
  gst_message_unref (message);
  message = pop_message (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  gst_message_unref (message);
  g_object_set (element, "post-messages", FALSE, NULL);
  push_in_pieces (h, 25, N, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless (pop_message (bus, GST_MESSAGE_ELEMENT) == NULL);
  check_values (h, expected.out, N * D);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_messages_suite (void)
{
  Suite *suite = suite_create ("attention-messages");
  TCase *messages = tcase_create ("messages");

  suite_add_tcase (suite, messages);
  tcase_add_checked_fixture (messages, setup, NULL);
  tcase_add_test (messages, test_messages_say_what_heads_attend_to);
  tcase_add_test (messages, test_peak_of_even_attention_is_the_frame_itself);
  tcase_add_test (messages, test_shortest_interval_is_a_frame);
  tcase_add_test (messages, test_messages_are_timed_by_their_frames);
  tcase_add_test (messages, test_messages_do_not_depend_on_the_size_of_buffers);
  tcase_add_test (messages, test_without_a_rate_each_buffer_gives_a_message);
  tcase_add_test (messages, test_messages_count_frames_that_attended);
  tcase_add_loop_test (messages, test_flush_forgets_what_was_not_posted, 0, 2);
  tcase_add_test (messages, test_nobody_asked_for_messages);
  tcase_add_test (messages, test_messages_come_and_go_while_frames_flow);
  if (!subject_is_encoder ()) /* whose layers are those of its file */
    tcase_add_test (messages, test_even_attention_has_the_entropy_of_its_frames);
  return suite;
}

GST_CHECK_MAIN (attention_messages);
