/*
 * Every element while threads push buffers, change caps and states, set properties, and ask for pads, all at once; then
 * it must still do what it is for. The sanitizers find all other faults.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include "buscheck.h"
#include "corecheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define D 6
#define N 50
#define STRESS_TIME (300 * G_TIME_SPAN_MILLISECOND)
#define CAPS_OF(channels)                                                                           \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, " \
                                                    "channels=(int)" channels

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

static GstHarnessThread *
push_buffers (GstHarness *h, const gchar *description, gsize size)
{
  GstCaps *caps = gst_caps_from_string (description);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  GstHarnessThread *thread;
  GstSegment segment;

  gst_buffer_memset (buffer, 0, 0, size);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  thread = gst_harness_stress_push_buffer_start (h, caps, &segment, buffer);
  gst_caps_unref (caps);
  gst_buffer_unref (buffer);
  return thread;
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

static void
let_run (GstHarness *h, GstHarnessThread *first, ...)
{
  GstHarnessThread *thread;
  va_list others;

  g_usleep (STRESS_TIME);
  va_start (others, first);
  while ((thread = va_arg (others, GstHarnessThread *)))
    gst_harness_stress_thread_stop (thread);
  va_end (others);
  gst_harness_stress_thread_stop (first);
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

/* Serialised events and buffers come one after the other, as from a source: in two threads, under a lock. */
typedef struct {
  GstHarness *h;
  gsize size;
  GMutex pushing;
  gint running;
} Source;

static gpointer
push_until_stopped (gpointer data)
{
  Source *source = data;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, source->size, NULL);

  gst_buffer_memset (buffer, 0, 0, source->size);
  while (g_atomic_int_get (&source->running)) {
    g_mutex_lock (&source->pushing);
    gst_harness_push (source->h, gst_buffer_ref (buffer));
    g_mutex_unlock (&source->pushing);
    g_thread_yield (); /* or the other thread never gets the lock where threads take turns, as under valgrind */
  }
  gst_buffer_unref (buffer);
  return NULL;
}

/* 500 events among the buffers. */
static void
push_events (GstHarness *h, const gchar *caps, gsize size, GstEvent *(*make_event) (const Source *source, guint i))
{
  Source source = { .h = h, .size = size, .running = TRUE };
  GThread *thread;
  guint i;

  g_mutex_init (&source.pushing);
  gst_harness_set_src_caps_str (h, caps);
  thread = g_thread_new ("source", push_until_stopped, &source);
  for (i = 0; i < 500; i++) {
    GstEvent *event = make_event (&source, i);
    gboolean flushes = GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP;
    GstSegment segment;

    g_usleep (200);
    gst_segment_init (&segment, GST_FORMAT_TIME);
    if (flushes) /* flowing buffers pass first */
      gst_harness_push_event (h, gst_event_new_flush_start ());
    g_mutex_lock (&source.pushing);
    gst_harness_push_event (h, event);
    if (flushes)
      gst_harness_push_event (h, gst_event_new_segment (&segment));
    g_mutex_unlock (&source.pushing);
  }
  g_atomic_int_set (&source.running, FALSE);
  g_thread_join (thread);
  g_mutex_clear (&source.pushing);
}

static GstEvent *
other_caps (const Source *source, guint i)
{
  const gchar *const all[] = { CAPS_OF ("6"), CAPS_OF ("2"), CAPS_OF ("3") };
  GstCaps *caps = gst_caps_from_string (all[i % G_N_ELEMENTS (all)]);
  GstEvent *event = gst_event_new_caps (caps);

  gst_caps_unref (caps);
  return event;
}

static GstEvent *
other_event (const Source *source, guint i)
{
  GstSegment segment;

  switch (i % 7) {
  case 0:
    return gst_event_new_flush_stop (TRUE);
  case 1:
    gst_segment_init (&segment, GST_FORMAT_TIME);
    segment.base = i * GST_SECOND;
    return gst_event_new_segment (&segment);
  case 2:
    return gst_event_new_gap (i * GST_MSECOND, GST_SECOND / 10);
  case 3:
    return gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL));
  case 4:
    return gst_event_new_segment_done (GST_FORMAT_TIME, 0);
  case 5:
    return gst_event_new_stream_group_done (i);
  default:
    return gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, gst_structure_new_empty ("x"));
  }
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
           *reconfigure = gst_event_new_reconfigure ();

  if (!subject_is_encoder ())
    g_object_set (h->element, "qos", TRUE, NULL);
  flow = push_buffers (h, CAPS_OF ("6"), 24 * 5);
  let_run (h, flow, gst_harness_stress_push_upstream_event_start_full (h, qos, 100),
           gst_harness_stress_push_upstream_event_start_full (h, reconfigure, 100), NULL);
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

static void
do_nothing (gpointer thread, gpointer h)
{
}

static GstHarnessThread *
again_and_again (GstHarness *h, GFunc what)
{
  return gst_harness_stress_custom_start (h, do_nothing, what, h, 50);
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

/* ---- the others ---- */

static const struct {
  const gchar *factory, *caps;
  gsize size;
} others[] = {
  { "logmel", "audio/x-raw, format=(string)S16LE, layout=(string)interleaved, rate=(int)16000, channels=(int)1", 640 },
  { "attentionscope", CAPS_OF ("6") ", heads=(int)1, sinks=(int)1, window=(int)4, look-ahead=(int)1", 24 * 5 },
  { "attentionencoder", CAPS_OF ("6"), 24 * 5 },
  { "npyenc", CAPS_OF ("6"), 24 * 5 },
  { "npyparse", "application/octet-stream", 100 },
};

static GstHarness *
new_other (const gchar *factory)
{
  GstElement *element = gst_element_factory_make (factory, NULL);
  GstHarness *h;

  if (g_str_equal (factory, "attentionencoder")) /* required */
    g_object_set (element, "model-file", GOLDEN_DIR "/encoder/conv-strides.safetensors", NULL);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  return h;
}

GST_START_TEST (test_other_elements_change_state_while_buffers_flow)
{
  GstHarness *h = new_other (others[__i__].factory);
  GstHarnessThread *flow;

  gst_harness_set_drop_buffers (h, TRUE);
  gst_harness_set_src_caps_str (h, others[__i__].caps);
  flow = push_buffers (h, others[__i__].caps, others[__i__].size);
  let_run (h, flow, gst_harness_stress_statechange_start_full (h, 1000), NULL);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_other_elements_take_events_while_buffers_flow)
{
  GstHarness *h = new_other (others[__i__].factory);

  gst_harness_set_drop_buffers (h, TRUE);
  push_events (h, others[__i__].caps, others[__i__].size, other_event);
  gst_harness_teardown (h);
}
GST_END_TEST;

static gboolean
discard (const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
  return TRUE;
}

/*
 * GstHarness sends the sticky events again after it has changed the state, and its other thread pushes buffers in
 * between, or the state changes between two of them: GStreamer warns of that, but the element is not the cause.
 */
static void
expect_warnings_of_the_harness (void)
{
  static const gchar known[] = "Got data flow before (stream-start|segment) event"
                               "|Sticky event misordering, got '\\w+' before '(stream-start|caps)'";

  gst_check_add_log_filter ("GStreamer", G_LOG_LEVEL_WARNING, g_regex_new (known, 0, 0, NULL), discard, NULL, NULL);
}

static TCase *
others_case (void)
{
  TCase *other = tcase_create ("others");

  tcase_add_checked_fixture (other, expect_warnings_of_the_harness, NULL);
  tcase_add_loop_test (other, test_other_elements_change_state_while_buffers_flow, 0, G_N_ELEMENTS (others));
  tcase_add_loop_test (other, test_other_elements_take_events_while_buffers_flow, 0, G_N_ELEMENTS (others));
  return other;
}

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
  suite_add_tcase (suite, others_case ());
  return suite;
}

GST_CHECK_MAIN (stress);
