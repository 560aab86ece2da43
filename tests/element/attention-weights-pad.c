/*
 * The element `attention`: its pad `weights` comes and goes, is not linked, or leads to a branch that is slower than
 * the other.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "weightscheck.h"

/* ---- coming and going ---- */

GST_START_TEST (test_pad_that_comes_and_goes_changes_no_bit)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  Expected expected;
  gsize n;
  gfloat *got;

  expect (NULL, &expected);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, 12, 3);
  w = gst_harness_new_with_element (element, NULL, subject_weights ());
  push_in_pieces (h, 12, 24, 3);
  got = pull_all (w, &n); /* of the buffers that came after it */
  fail_unless_equals_uint64 (n, 9 * N_WEIGHTS);
  fail_unless (memcmp (got, expected.weights + 12 * N_WEIGHTS, n * sizeof (gfloat)) == 0);
  g_free (got);
  gst_harness_teardown (w);
  push_in_pieces (h, 24, 36, 3);
  w = gst_harness_new_with_element (element, NULL, subject_weights ());
  push_in_pieces (h, 36, N, 3);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (w, expected.weights + 36 * N_WEIGHTS, 4 * N_WEIGHTS);
  gst_harness_teardown (w);
  check_values (h, expected.out, N * D);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_pad_that_comes_late_is_told_what_went_before)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  GstEventType types[] = { GST_EVENT_STREAM_START, GST_EVENT_CAPS, GST_EVENT_SEGMENT, GST_EVENT_TAG };
  guint i;

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_harness_push_event (h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  push (h, 0, 12);
  w = gst_harness_new_with_element (element, NULL, subject_weights ());
  push (h, 12, 12);
  push (h, 24, 12);
  for (i = 0; i < G_N_ELEMENTS (types); i++) {
    GstEvent *event = gst_harness_try_pull_event (w);

    while (event != NULL && GST_EVENT_TYPE (event) != types[i]) {
      fail_unless (GST_EVENT_TYPE (event) == GST_EVENT_RECONFIGURE || GST_EVENT_TYPE (event) == GST_EVENT_LATENCY);
      gst_event_unref (event);
      event = gst_harness_try_pull_event (w);
    }
    fail_unless (event != NULL, "no %s", gst_event_type_get_name (types[i]));
    gst_event_unref (event);
  }
  fail_unless (gst_harness_buffers_received (w) > 0);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

static guint n_told; /* events, before any buffer */

static GstPadProbeReturn
see_event (GstPad *pad, GstPadProbeInfo *info, gpointer n_buffers)
{
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER)
    ++*(guint *) n_buffers;
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_CUSTOM_DOWNSTREAM && *(guint *) n_buffers == 0)
    n_told++;
  return GST_PAD_PROBE_OK;
}

/* It stands behind the frames that wait, and so before those of the pad. */
GST_START_TEST (test_event_that_waits_comes_to_a_new_pad_once)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  guint n_buffers = 0;

  n_told = 0;
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push (h, 0, 12);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("x")));
  w = gst_harness_new_with_element (element, NULL, subject_weights ());
  gst_pad_add_probe (w->sinkpad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_event, &n_buffers,
                     NULL);
  push_in_pieces (h, 12, N, 4);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (n_told, 1);
  fail_unless_equals_int (n_buffers, (N - 12) / 4);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

/* Nothing can come behind them. */
GST_START_TEST (test_caps_that_src_refuses_do_not_come_to_the_pad)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstPad *pad = gst_element_request_pad_simple (element, subject_weights ());

  gst_harness_set_sink_caps_str (h, "audio/x-raw, channels=(int)7");
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_if (gst_pad_has_current_caps (pad));
  gst_harness_set_sink_caps_str (h, "audio/x-raw");
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless (gst_pad_has_current_caps (pad));
  gst_element_release_request_pad (element, pad);
  gst_object_unref (pad);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_there_is_one_pad_for_the_weights_of_a_layer)
{
  GstElement *element = new_element ();
  GstPad *pad = gst_element_request_pad_simple (element, subject_weights ());

  fail_unless (pad != NULL);
  fail_unless (gst_element_request_pad (element, GST_PAD_PAD_TEMPLATE (pad), NULL, NULL) == NULL);
  gst_element_release_request_pad (element, pad);
  gst_object_unref (pad);
  pad = gst_element_request_pad_simple (element, subject_weights ());
  fail_unless (pad != NULL);
  gst_object_unref (pad); /* the element may go with it */
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_weights_survive_a_restart)
{
  Both both = start ();
  Expected expected;

  expect (NULL, &expected);
  push (both.h, 0, 20);
  fail_unless_equals_int (gst_element_set_state (both.h->element, GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
  fail_unless_equals_int (gst_element_set_state (both.h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  g_free (pull_all (both.w, &(gsize){ 0 }));
  gst_harness_push_event (both.h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, N);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  stop (both);
}
GST_END_TEST;

static void
check_flow_without (const gchar *linked)
{
  GstElement *element = new_element ();
  GstPad *pad = gst_element_request_pad_simple (element, subject_weights ());
  GstHarness *h = gst_harness_new_with_element (element, "sink", NULL);
  GstHarness *out = gst_harness_new_with_element (element, NULL, linked);

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, 0, 10)), GST_FLOW_OK);
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, 10, 10)), GST_FLOW_OK); /* it looks ahead */
  fail_unless_equals_int (gst_harness_buffers_in_queue (out), 1);
  gst_harness_teardown (out);
  gst_harness_teardown (h);
  gst_object_unref (pad);
  gst_object_unref (element);
}

GST_START_TEST (test_pad_that_is_not_linked_does_not_hold_up_the_other)
{
  check_flow_without ("src");
  check_flow_without (subject_weights ());
}
GST_END_TEST;

GST_START_TEST (test_nothing_linked_is_not_linked)
{
  AttnConfig config = configuration ();
  GstElement *element;
  GstPad *pad;
  GstHarness *h;

  config.look_ahead = 0;
  element = subject_new (&config);
  pad = gst_element_request_pad_simple (element, subject_weights ());
  h = gst_harness_new_with_element (element, "sink", NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, 0, 10)), GST_FLOW_NOT_LINKED);
  gst_harness_teardown (h);
  gst_object_unref (pad);
  gst_object_unref (element);
}
GST_END_TEST;

static GstPadProbeReturn
release (GstPad *pad, GstPadProbeInfo *info, gpointer element)
{
  gst_element_release_request_pad (element, pad);
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_pad_that_goes_while_it_is_pushed_stops_nothing)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstPad *pad = gst_element_request_pad_simple (element, subject_weights ());

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, release, element, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, N, 5);
  fail_unless_equals_int (gst_harness_buffers_received (h), (N - LOOK_AHEAD) / 5);
  gst_object_unref (pad);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_flush_forgets_what_a_branch_answered)
{
  Both both = start ();

  push (both.h, 0, 10);
  gst_pad_set_active (both.w->sinkpad, FALSE);
  fail_unless_equals_int (gst_harness_push (both.h, frames_buffer (frames, D, 10, 10)), GST_FLOW_FLUSHING);
  gst_pad_set_active (both.w->sinkpad, TRUE);
  push_flush (both.h);
  push_segment (both.h, 0);
  push_in_pieces (both.h, 0, N, 10);
  fail_unless_equals_int (gst_harness_buffers_received (both.w), 3);
  stop (both);
}
GST_END_TEST;

static gpointer
come_and_go (gpointer data)
{
  GstElement *element = data;
  guint i;

  for (i = 0; i < 300; i++) {
    GstPad *pad = gst_element_request_pad_simple (element, subject_weights ());

    g_thread_yield ();
    gst_element_release_request_pad (element, pad);
    gst_object_unref (pad);
  }
  return NULL;
}

GST_START_TEST (test_pad_comes_and_goes_in_another_thread)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GThread *thread;
  Expected expected;
  guint i;

  expect (NULL, &expected);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  thread = g_thread_new ("pads", come_and_go, element);
  for (i = 0; i < 100; i++) {
    push_flush (h);
    push_segment (h, 0);
    push_in_pieces (h, 0, N, 5);
    gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
    check_values (h, expected.out, N * D);
  }
  g_thread_join (thread);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- branches with queues ---- */

typedef struct {
  GMutex lock;
  GCond ended;
  gboolean has_ended;
  gint n_buffers;
} Branch;

static GstPadProbeReturn
watch_branch (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Branch *branch = data;

  g_mutex_lock (&branch->lock);
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER)
    branch->n_buffers++;
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_EOS)
    branch->has_ended = TRUE;
  g_cond_signal (&branch->ended);
  g_mutex_unlock (&branch->lock);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
block (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_PAD_PROBE_OK;
}

static void
wait_until_ended (Branch *branch)
{
  gint64 end = g_get_monotonic_time () + 30 * G_TIME_SPAN_SECOND;

  g_mutex_lock (&branch->lock);
  while (!branch->has_ended)
    fail_unless (g_cond_wait_until (&branch->ended, &branch->lock, end), "%d buffers, and no end", branch->n_buffers);
  g_mutex_unlock (&branch->lock);
}

static GstPad *
pad_of (GstElement *pipeline, const gchar *sink)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), sink);
  GstPad *pad = gst_element_get_static_pad (element, "sink");

  gst_object_unref (element);
  return pad;
}

/* One branch stands still while the other reaches its end; then the first may move, and reaches it too. */
static void
check_branches (const gchar *slow, const gchar *fast)
{
  AttnConfig config = { .n_features = 6, .n_heads = 1, .window = 20, .look_ahead = 5, .position = ATTN_POSITION_NONE };
  gchar *element = subject_line (&config);
  gchar *line =
      g_strdup_printf ("audiotestsrc num-buffers=100 samplesperbuffer=1 ! audio/x-raw, rate=100, channels=6 ! "
                       "%s name=a a.src ! queue ! fakesink name=src async=false a.%s ! "
                       "queue ! fakesink name=weights async=false",
                       element, subject_weights ());
  GstElement *pipeline = gst_parse_launch (line, NULL);
  const GstPadProbeType types = GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM;
  GstPad *slow_pad = pad_of (pipeline, slow), *fast_pad = pad_of (pipeline, fast);
  Branch slow_branch = { 0 }, fast_branch = { 0 };
  gulong blocking =
      gst_pad_add_probe (slow_pad, GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER, block, NULL, NULL);

  gst_pad_add_probe (slow_pad, types, watch_branch, &slow_branch, NULL);
  gst_pad_add_probe (fast_pad, types, watch_branch, &fast_branch, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_until_ended (&fast_branch);
  fail_unless_equals_int (fast_branch.n_buffers, 100);
  fail_if (slow_branch.has_ended);
  gst_pad_remove_probe (slow_pad, blocking);
  wait_until_ended (&slow_branch);
  fail_unless_equals_int (slow_branch.n_buffers, 100);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (slow_pad);
  gst_object_unref (fast_pad);
  gst_object_unref (pipeline);
  g_free (line);
  g_free (element);
}

GST_START_TEST (test_slow_branch_behind_a_queue_does_not_stall_the_other)
{
  check_branches ("src", "weights");
  check_branches ("weights", "src");
}
GST_END_TEST;

static Suite *
attention_weights_pad_suite (void)
{
  Suite *suite = suite_create ("attention-weights-pad");
  TCase *pad = tcase_create ("pad");

  suite_add_tcase (suite, pad);
  tcase_add_checked_fixture (pad, setup, NULL);
  tcase_add_test (pad, test_pad_that_comes_and_goes_changes_no_bit);
  tcase_add_test (pad, test_pad_that_comes_late_is_told_what_went_before);
  tcase_add_test (pad, test_event_that_waits_comes_to_a_new_pad_once);
  tcase_add_test (pad, test_caps_that_src_refuses_do_not_come_to_the_pad);
  tcase_add_test (pad, test_there_is_one_pad_for_the_weights_of_a_layer);
  tcase_add_test (pad, test_weights_survive_a_restart);
  tcase_add_test (pad, test_pad_that_is_not_linked_does_not_hold_up_the_other);
  tcase_add_test (pad, test_nothing_linked_is_not_linked);
  tcase_add_test (pad, test_pad_that_goes_while_it_is_pushed_stops_nothing);
  tcase_add_test (pad, test_flush_forgets_what_a_branch_answered);
  tcase_add_test (pad, test_pad_comes_and_goes_in_another_thread);
  tcase_add_test (pad, test_slow_branch_behind_a_queue_does_not_stall_the_other);
  return suite;
}

GST_CHECK_MAIN (attention_weights_pad);
