/*
 * `attention`, or an encoder, while threads push buffers, change caps and states, set properties, and ask for pads, all
 * at once; then it must still do what it is for. The sanitizers find all other faults.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stresscheck.h"

#include <string.h>

#include "buscheck.h"
#include "corecheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define D 6
#define N 50

/* ---- attention, or an encoder ---- */

static gfloat frames[N * D], expected[N * D];

static AttnConfig
configuration (void)
{
  AttnConfig config = attn_config_default ();

  config.n_features = D;
  config.window = 8;
  config.look_ahead = 2;
  return config;
}

static void
setup (void)
{
  AttnConfig config = configuration ();

  fill_random (frames, N * D, 1);
  attend (&config, NULL, frames, NULL, N, expected, NULL);
}

static GstHarness *
new_subject (void)
{
  AttnConfig config = configuration ();
  GstHarness *h = subject_harness (&config);

  gst_harness_set_src_caps_str (h, CAPS_OF ("6"));
  gst_harness_set_drop_buffers (h, TRUE);
  return h;
}

/* A new stream has the right outputs. */
static void
check_still_works (GstHarness *h)
{
  gchar *gain = subject_gain (0);
  GstSegment segment;
  GstBuffer *out;
  guint n = 0;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_element_set_state (h->element, GST_STATE_NULL);
  if (!subject_is_encoder ())
    g_object_set (h->element, "heads", 1, "window", 8, "look-ahead", 2, NULL);
  gst_child_proxy_set (GST_CHILD_PROXY (h->element), gain, 1.0f, NULL);
  g_free (gain);
  gst_harness_set_drop_buffers (h, FALSE);
  gst_harness_play (h);
  push_flush (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("still"));
  gst_harness_set_src_caps_str (h, CAPS_OF ("6"));
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  while ((out = gst_harness_try_pull (h)))
    gst_buffer_unref (out);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frames, sizeof frames)), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((out = gst_harness_try_pull (h))) {
    gst_check_buffer_data (out, expected, sizeof expected);
    gst_buffer_unref (out);
    n++;
  }
  fail_unless_equals_int (n, 1);
}

GST_START_TEST (test_states_change_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow;

  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, gst_harness_stress_statechange_start_full (h, 500), NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstEvent *
other_caps (const Source *source, guint i)
{
  const gchar *const all[] = { CAPS_OF ("6"), CAPS_OF ("2"), CAPS_OF ("3") };
  GstCaps *caps = gst_caps_from_string (all[i % G_N_ELEMENTS (all)]);
  GstEvent *event = gst_event_new_caps (caps);

  gst_caps_unref (caps);
  return event;
}

GST_START_TEST (test_caps_change_while_buffers_flow)
{
  GstHarness *h = new_subject ();

  push_events (h, CAPS_OF ("6"), 24 * 5, other_caps);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_events_come_while_buffers_flow)
{
  GstHarness *h = new_subject ();

  push_events (h, CAPS_OF ("6"), 24 * 5, other_event);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_upstream_events_come_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow;
  GstEvent *qos = gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 1.5, 10, GST_SECOND),
           *reconfigure = gst_event_new_reconfigure (),
           *seek = gst_event_new_seek (1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0,
                                       GST_SEEK_TYPE_NONE, 0);

  if (!subject_is_encoder ())
    g_object_set (h->element, "qos", TRUE, NULL);
  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, gst_harness_stress_push_upstream_event_start_full (h, qos, 100),
           gst_harness_stress_push_upstream_event_start_full (h, reconfigure, 100),
           gst_harness_stress_push_upstream_event_start_full (h, seek, 100), NULL);
  gst_event_unref (seek);
  gst_event_unref (qos);
  gst_event_unref (reconfigure);
  if (!subject_is_encoder ())
    g_object_set (h->element, "qos", FALSE, NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstHarnessThread *
set_again_and_again (GstHarness *h, const gchar *name, const gchar *text)
{
  GParamSpec *spec = g_object_class_find_property (G_OBJECT_GET_CLASS (h->element), name);
  GValue value = G_VALUE_INIT;
  GstHarnessThread *thread;

  g_value_init (&value, G_PARAM_SPEC_VALUE_TYPE (spec));
  fail_unless (gst_value_deserialize (&value, text));
  thread = gst_harness_stress_property_start_full (h, name, &value, 50);
  g_value_unset (&value);
  return thread;
}

static void
set_gain (gpointer thread, gpointer h)
{
  static gfloat gain = 0;
  gchar *name = subject_gain (0);

  gain = gain >= 1 ? 0 : gain + 0.125f;
  gst_child_proxy_set (GST_CHILD_PROXY (((GstHarness *) h)->element), name, gain, NULL);
  g_free (name);
}

static void
set_heads (gpointer thread, gpointer h)
{
  static gint n;

  g_object_set (((GstHarness *) h)->element, "heads", 1 + g_atomic_int_add (&n, 7) % 5, NULL);
}

GST_START_TEST (test_properties_change_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow;
  GstBus *bus = attach_bus (h->element);

  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, set_again_and_again (h, "window", "12"), set_again_and_again (h, "look-ahead", "5"),
           set_again_and_again (h, "heads", "3"), set_again_and_again (h, "post-messages", "true"),
           set_again_and_again (h, "interval", "20000000"), set_again_and_again (h, "position", "alibi"),
           set_again_and_again (h, "state-file", ""), NULL);
  gst_bus_set_flushing (bus, TRUE);
  detach_bus (h->element, bus);
  g_object_set (h->element, "position", 0, "state-file", NULL, "post-messages", FALSE, NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_gains_change_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);

  let_run (h, flow, again_and_again (h, set_gain), NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_heads_come_and_go_in_several_threads)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *a = gst_harness_stress_custom_start (h, do_nothing, set_heads, h, 0),
                   *b = gst_harness_stress_custom_start (h, do_nothing, set_heads, h, 0);

  let_run (h, push_buffers (h, CAPS_OF ("6"), 24 * 5), a, b,
           gst_harness_stress_custom_start (h, do_nothing, set_heads, h, 0), NULL);
  fail_unless (gst_child_proxy_get_children_count (GST_CHILD_PROXY (h->element)) >= 1);
  check_still_works (h);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (h->element)), 1);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_weights_come_and_go_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow;
  GstPadTemplate *template =
      gst_element_get_pad_template (h->element, subject_is_encoder () ? "weights_%u" : "weights");

  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, gst_harness_stress_requestpad_start_full (h, template, subject_weights (), NULL, TRUE, 50),
           gst_harness_stress_statechange_start_full (h, 2000), NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
ask (gpointer thread, gpointer data)
{
  GstHarness *h = data;
  GstQuery *queries[] = { gst_query_new_latency (), gst_query_new_caps (NULL),
                          gst_query_new_position (GST_FORMAT_TIME) };
  GstStructure *stats;
  GBytes *state = NULL;
  gboolean restored;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (queries); i++) {
    gst_pad_peer_query (h->sinkpad, queries[i]);
    gst_pad_peer_query (h->srcpad, queries[i]);
    gst_query_unref (queries[i]);
  }
  g_object_get (h->element, "stats", &stats, NULL);
  gst_structure_free (stats);
  g_signal_emit_by_name (h->element, "save-state", &state);
  if (state != NULL) {
    g_signal_emit_by_name (h->element, "restore-state", state, &restored);
    g_bytes_unref (state);
  }
}

GST_START_TEST (test_everybody_asks_while_buffers_flow)
{
  GstHarness *h = new_subject ();
  GstHarnessThread *flow;

  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, again_and_again (h, ask), again_and_again (h, ask), NULL);
  check_still_works (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
stress_suite (void)
{
  Suite *suite = suite_create ("stress");
  TCase *attention = tcase_create ("attention");

  suite_add_tcase (suite, attention);
  tcase_add_checked_fixture (attention, setup, NULL);
  tcase_add_checked_fixture (attention, expect_warnings_of_the_harness, NULL);
  tcase_add_test (attention, test_states_change_while_buffers_flow);
  tcase_add_test (attention, test_caps_change_while_buffers_flow);
  tcase_add_test (attention, test_events_come_while_buffers_flow);
  tcase_add_test (attention, test_upstream_events_come_while_buffers_flow);
  tcase_add_test (attention, test_everybody_asks_while_buffers_flow);
  tcase_add_test (attention, test_gains_change_while_buffers_flow);
  tcase_add_test (attention, test_weights_come_and_go_while_buffers_flow);
  if (subject_is_encoder ()) /* the other tests are not about it, or have run */
    return suite;
  tcase_add_test (attention, test_properties_change_while_buffers_flow);
  tcase_add_test (attention, test_heads_come_and_go_in_several_threads);
  return suite;
}

GST_CHECK_MAIN (stress);
