/*
 * Each element but those of stress.c, while threads push buffers and events, change states, set properties, use
 * signals, seek and flush, all at once. The sanitizers find the faults. ATTN_TEST_ELEMENT names one of the elements.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stresscheck.h"

#include "buscheck.h"

#define SOUND "audio/x-raw, layout=(string)interleaved, rate=(int)16000, channels=(int)1, format=(string)"

typedef struct {
  const gchar *factory, *caps;
  gsize size;
  const gchar *property, *value; /* that is required; NULL: none */
} Subject;

static const Subject subjects[] = {
  { "attentionencoder", CAPS_OF ("6"), 24 * 5, "model-file", GOLDEN_DIR "/encoder/conv-strides.safetensors" },
  { "attentionscope", CAPS_OF ("6") ", heads=(int)1, sinks=(int)1, window=(int)4, look-ahead=(int)1", 24 * 5, NULL,
    NULL },
  { "ctctext", CAPS_OF ("4"), 16 * 5, "tokens", TOKENS_FILE },
  { "logmel", SOUND "S16LE", 640, NULL, NULL },
  { "npyenc", CAPS_OF ("6"), 24 * 5, NULL, NULL },
  { "npyparse", "application/octet-stream", 100, NULL, NULL },
  { "spectralgain", SOUND GST_AUDIO_NE (F32), 4 * 320, NULL, NULL },
};

/* An element with its buffers, which flow until it is freed; spectralgain has gains as well. */
typedef struct {
  const Subject *subject;
  GstHarness *h, *gains;
  GstHarnessThread *gains_flow;
} Fixture;

static GstHarness *
harness_of (GstElement *element, const gchar *sink, const gchar *src, const gchar *caps)
{
  GstHarness *h = gst_harness_new_with_element (element, sink, src);

  gst_harness_set_drop_buffers (h, TRUE);
  gst_harness_play (h);
  gst_harness_set_src_caps_str (h, caps);
  return h;
}

static Fixture
fixture_new (const Subject *subject)
{
  GstElement *element = gst_element_factory_make (subject->factory, NULL);
  Fixture fixture = { .subject = subject };

  if (subject->property != NULL)
    g_object_set (element, subject->property, subject->value, NULL);
  fixture.h = harness_of (element, "sink", "src", subject->caps);
  if (g_str_equal (subject->factory, "spectralgain")) {
    fixture.gains = harness_of (element, "gains", NULL, CAPS_OF ("80"));
    fixture.gains_flow = push_buffers (fixture.gains, CAPS_OF ("80"), 4 * 80);
  }
  gst_object_unref (element);
  return fixture;
}

static void
fixture_free (Fixture *fixture)
{
  if (fixture->gains != NULL) {
    gst_element_set_state (fixture->h->element, GST_STATE_NULL); /* a thread may wait for the other pad */
    gst_harness_stress_thread_stop (fixture->gains_flow);
    gst_harness_teardown (fixture->gains);
  }
  gst_harness_teardown (fixture->h);
}

static GstHarnessThread *
flow_of (const Fixture *fixture)
{
  return push_buffers (fixture->h, fixture->subject->caps, fixture->subject->size);
}

static void
push_buffer (gpointer thread, gpointer data)
{
  const Fixture *fixture = data;
  gsize size = fixture->subject->size;

  gst_harness_push (fixture->h, gst_buffer_new_wrapped (g_malloc0 (size), size));
}

/* The same without the events that flow_of () begins with: the harness ends the process where a flush meets them. */
static GstHarnessThread *
flow_without_events (Fixture *fixture)
{
  return gst_harness_stress_custom_start (fixture->h, do_nothing, push_buffer, fixture, 0);
}

/* ---- what the other threads do ---- */

/* Each property of its own gets the value that it has. */
static void
set_properties_again (gpointer thread, gpointer data)
{
  GObject *element = G_OBJECT (((GstHarness *) data)->element);
  guint n, i;
  GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

  for (i = 0; i < n; i++) {
    GValue value = G_VALUE_INIT;

    if (specs[i]->owner_type == GST_TYPE_OBJECT || !(specs[i]->flags & G_PARAM_READABLE))
      continue;
    g_object_get_property (element, specs[i]->name, &value);
    if (specs[i]->flags & G_PARAM_WRITABLE)
      g_object_set_property (element, specs[i]->name, &value);
    g_value_unset (&value);
  }
  g_free (specs);
}

static void
ask (gpointer thread, gpointer data)
{
  GstHarness *h = data;
  GstQuery *queries[] = { gst_query_new_latency (), gst_query_new_caps (NULL), gst_query_new_position (GST_FORMAT_TIME),
                          gst_query_new_duration (GST_FORMAT_TIME), gst_query_new_seeking (GST_FORMAT_TIME) };
  GBytes *state = NULL;
  gboolean restored;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (queries); i++) {
    gst_pad_peer_query (h->sinkpad, queries[i]);
    gst_pad_peer_query (h->srcpad, queries[i]);
    gst_query_unref (queries[i]);
  }
  if (g_signal_lookup ("save-state", G_OBJECT_TYPE (h->element)) == 0)
    return;
  g_signal_emit_by_name (h->element, "save-state", &state);
  if (state != NULL) {
    g_signal_emit_by_name (h->element, "restore-state", state, &restored);
    g_bytes_unref (state);
  }
}

static void
seek (gpointer thread, gpointer data)
{
  static gint n;
  GstSeekFlags flags = g_atomic_int_add (&n, 1) % 2 ? GST_SEEK_FLAG_FLUSH : GST_SEEK_FLAG_NONE;

  gst_pad_push_event (((GstHarness *) data)->sinkpad,
                      gst_event_new_seek (1, n % 3 ? GST_FORMAT_TIME : GST_FORMAT_BYTES, flags, GST_SEEK_TYPE_SET, 0,
                                          GST_SEEK_TYPE_NONE, 0));
}

static void
flush (gpointer thread, gpointer data)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (data, gst_event_new_flush_start ());
  gst_harness_push_event (data, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (data, gst_event_new_segment (&segment));
}

static GstPadActivateModeFunction activate;

/*
 * The sink pad takes buffers already when the element has not started yet, and for a moment before its peer knows that
 * caps have to be sent again.
 */
static gboolean
push_and_activate (GstPad *pad, GstObject *element, GstPadMode mode, gboolean active)
{
  Fixture *fixture = g_object_get_data (G_OBJECT (pad), "fixture");
  gsize size = fixture->subject->size;

  gst_pad_chain (pad, gst_buffer_new_wrapped (g_malloc0 (size), size));
  push_buffer (NULL, fixture);
  return activate == NULL || activate (pad, element, mode, active);
}

/* ---- tests ---- */

/* A source that does not stop may push at any time: what is too early or too late is refused, or taken. */
GST_START_TEST (test_buffers_come_while_the_pad_goes_up_and_down)
{
  Fixture fixture = fixture_new (&subjects[__i__]);
  GstPad *pad = gst_pad_get_peer (fixture.h->srcpad);
  guint i;

  activate = GST_PAD_ACTIVATEMODEFUNC (pad);
  g_object_set_data (G_OBJECT (pad), "fixture", &fixture);
  gst_pad_set_activatemode_function (pad, push_and_activate);
  for (i = 0; i < 3; i++) {
    push_buffer (NULL, &fixture);
    ck_assert_int_eq (gst_element_set_state (fixture.h->element, GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
    push_buffer (NULL, &fixture);
    ck_assert_int_eq (gst_element_set_state (fixture.h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  }
  gst_pad_set_activatemode_function (pad, activate);
  gst_object_unref (pad);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_states_change_while_buffers_flow)
{
  Fixture fixture = fixture_new (&subjects[__i__]);
  GstHarnessThread *flow = flow_of (&fixture);

  let_run (fixture.h, flow, gst_harness_stress_statechange_start_full (fixture.h, 1000), NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_events_come_while_buffers_flow)
{
  Fixture fixture = fixture_new (&subjects[__i__]);

  push_events (fixture.h, fixture.subject->caps, fixture.subject->size, other_event);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_properties_are_set_while_buffers_flow)
{
  Fixture fixture = fixture_new (&subjects[__i__]);
  GstHarnessThread *flow = flow_of (&fixture);

  let_run (fixture.h, flow, again_and_again (fixture.h, set_properties_again),
           again_and_again (fixture.h, set_properties_again), NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_everybody_asks_and_seeks_while_buffers_flow)
{
  Fixture fixture = fixture_new (&subjects[__i__]);
  GstHarnessThread *flow = flow_of (&fixture);

  let_run (fixture.h, flow, again_and_again (fixture.h, ask), again_and_again (fixture.h, ask),
           again_and_again (fixture.h, seek), NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Nobody asks for the position: GstBaseTransform computes it from a segment that a flush may be resetting. */
GST_START_TEST (test_flushes_come_from_another_thread_while_buffers_flow)
{
  Fixture fixture = fixture_new (&subjects[__i__]);
  GstHarnessThread *flow = flow_without_events (&fixture);

  let_run (fixture.h, flow, gst_harness_stress_custom_start (fixture.h, do_nothing, flush, fixture.h, 1000),
           again_and_again (fixture.h, set_properties_again), NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Of the element that ATTN_TEST_ELEMENT names, or of all. */
static void
find_subjects (gint *begin, gint *end)
{
  const gchar *name = g_getenv ("ATTN_TEST_ELEMENT");

  *begin = 0;
  *end = G_N_ELEMENTS (subjects);
  while (name != NULL && *begin < *end && !g_str_equal (subjects[*begin].factory, name))
    ++*begin;
  g_assert_cmpint (*begin, <, *end);
  *end = name != NULL ? *begin + 1 : *end;
}

static Suite *
stress_elements_suite (void)
{
  Suite *suite = suite_create ("stress-elements");
  TCase *tcase = tcase_create ("general");
  gint begin, end;

  find_subjects (&begin, &end);
  suite_add_tcase (suite, tcase);
  tcase_add_checked_fixture (tcase, expect_warnings_of_the_harness, NULL);
  tcase_add_loop_test (tcase, test_buffers_come_while_the_pad_goes_up_and_down, begin, end);
  tcase_add_loop_test (tcase, test_states_change_while_buffers_flow, begin, end);
  tcase_add_loop_test (tcase, test_events_come_while_buffers_flow, begin, end);
  tcase_add_loop_test (tcase, test_properties_are_set_while_buffers_flow, begin, end);
  tcase_add_loop_test (tcase, test_everybody_asks_and_seeks_while_buffers_flow, begin, end);
  tcase_add_loop_test (tcase, test_flushes_come_from_another_thread_while_buffers_flow, begin, end);
  return suite;
}

GST_CHECK_MAIN (stress_elements);
