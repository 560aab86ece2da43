/*
 * gst-attention: tests of the element spectralgain: which pad waits for which, and for how long; in pipelines, too.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "spectralgaincheck.h"

#define N_SAMPLES (30 * HOP)

/* ---- gains that never come ---- */

GST_START_TEST (test_gains_that_never_come_are_an_error)
{
  Fixture fixture = fixture_new_f32 ("max-wait=50000000");
  gfloat *samples = make_noise (N_SAMPLES);

  push_flat_gains (&fixture, 0, 3, 1);
  push_f32 (&fixture, samples, 0, 10 * HOP);
  fail_unless_equals_int (push_bytes (fixture.audio, samples + 10 * HOP, 10 * HOP * sizeof *samples, 10 * HOP_TIME, 0),
                          GST_FLOW_ERROR);
  await_error (&fixture, "audio has come up to 0:00:00.200000000, but gains only up to 0:00:00.030000000 (running "
                         "time), and none came for 0.05 s");
  fail_unless_equals_int (push_even_gains (&fixture, N_BINS, 1, 0), GST_FLOW_ERROR);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The EOS event returns at once: the thread that brought it may also bring the gains. */
GST_START_TEST (test_gains_that_do_not_come_at_eos_are_an_error)
{
  Fixture fixture = fixture_new_f32 ("max-wait=50000000");
  gfloat *samples = make_noise (N_SAMPLES);

  push_f32 (&fixture, samples, 0, 4 * HOP);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  await_error (&fixture, "audio has come up to 0:00:00.040000000, but no gains at all (running time), and none came "
                         "for 0.05 s: the branch that makes them has stopped");
  fail_unless (!has_event (fixture.audio, GST_EVENT_EOS));
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_a_pad_that_nothing_is_linked_to_is_an_error)
{
  GstElement *pipeline =
      gst_parse_launch ("audiotestsrc num-buffers=20 ! spectralgain max-wait=50000000 ! fakesink", NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 20 * GST_SECOND, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_ERROR);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "no gains at all")
                   && strstr (error->message, "nothing is linked to the pad gains"),
               "%s", error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Anything may stand still while a pipeline is paused. Afterwards the waiting begins anew. */
GST_START_TEST (test_no_time_counts_while_paused)
{
  Fixture fixture = fixture_new_f32 ("max-wait=50000000");
  gfloat *samples = make_noise (N_SAMPLES);

  gst_element_set_state (element_of (&fixture), GST_STATE_PAUSED);
  push_f32 (&fixture, samples, 0, 4 * HOP);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  g_usleep (150000);
  fail_unless_no_error (&fixture);
  gst_element_set_state (element_of (&fixture), GST_STATE_PLAYING);
  await_error (&fixture, "no gains at all");
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static GstPadProbeReturn
take_time (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstElement *element = gst_pad_get_parent_element (pad);

  g_object_set (element, "max-wait", 50 * GST_MSECOND, NULL);
  g_usleep (150000);
  g_object_set (element, "max-wait", GST_CLOCK_TIME_NONE, NULL);
  gst_object_unref (element);
  return GST_PAD_PROBE_OK;
}

/* The gains are there, and downstream is slow. */
GST_START_TEST (test_slow_samples_are_no_lack_of_gains)
{
  Fixture fixture = fixture_new_f32 ("max-wait=18446744073709551615");
  gfloat *samples = make_noise (N_SAMPLES);
  GstPad *pad = gst_element_get_static_pad (element_of (&fixture), "src");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, take_time, NULL, NULL);
  push_f32 (&fixture, samples, 0, 4 * HOP);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  push_flat_gains (&fixture, 0, 2, 1);
  fail_unless (gst_harness_push_event (fixture.gains, gst_event_new_eos ()));
  fail_unless_no_error (&fixture);
  fail_unless_scaled (&fixture, samples, 4 * HOP, 1);
  gst_object_unref (pad);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* As when an application changes the elements behind. */
GST_START_TEST (test_samples_go_on_when_they_are_linked_again)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  GstPad *pad = gst_element_get_static_pad (element_of (&fixture), "src");

  push_flat_gains (&fixture, 0, 28, 1);
  gst_pad_unlink (pad, fixture.audio->sinkpad);
  fail_unless_equals_int (push_bytes (fixture.audio, samples, 10 * HOP * sizeof *samples, 0, 0), GST_FLOW_NOT_LINKED);
  fail_unless_equals_int (push_even_gains (&fixture, N_BINS, 1, 28 * HOP_TIME), GST_FLOW_OK);
  fail_unless_equals_int (gst_pad_link (pad, fixture.audio->sinkpad), GST_PAD_LINK_OK);
  push_f32 (&fixture, samples, 10 * HOP, 10 * HOP);
  fail_unless_equals_int (count_samples (&fixture), 10 * HOP);
  gst_object_unref (pad);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Half a minute of audio, of which a third may wait. */
static gpointer
push_too_much (gpointer data)
{
  gfloat *samples = g_new0 (gfloat, 10 * RATE);
  GstFlowReturn flow = GST_FLOW_OK;
  guint i;

  for (i = 0; i < 3 && flow == GST_FLOW_OK; i++)
    flow = push_bytes (((Fixture *) data)->audio, samples, 10 * RATE * sizeof *samples, i * 10 * GST_SECOND, 0);
  g_free (samples);
  return GINT_TO_POINTER (flow);
}

/* The waiting ends when the element is stopped or flushed, or when the gains come. */
GST_START_TEST (test_waiting_ends_when_there_is_a_reason)
{
  static const GstFlowReturn expected[] = { GST_FLOW_FLUSHING, GST_FLOW_FLUSHING, GST_FLOW_OK };
  Fixture fixture = fixture_new_f32 ("max-wait=11000000000");
  GThread *thread;

  thread = g_thread_new ("audio", push_too_much, &fixture);
  g_usleep (10000); /* most often it waits by now; the test holds if not */
  if (__i__ == 0)
    gst_element_set_state (element_of (&fixture), GST_STATE_NULL);
  else if (__i__ == 1)
    gst_harness_push_event (fixture.audio, gst_event_new_flush_start ());
  else
    fail_unless (gst_harness_push_event (fixture.gains, gst_event_new_eos ()));
  fail_unless_equals_int (GPOINTER_TO_INT (g_thread_join (thread)), expected[__i__]);
  fail_unless_no_error (&fixture);
  fixture_free (&fixture);
}
GST_END_TEST;

#define N_GAINS 300
static gint n_gains_pushed;

static gpointer
push_many_gains (gpointer data)
{
  guint i;

  for (i = 0; i < N_GAINS; i++) {
    g_atomic_int_inc (&n_gains_pushed);
    fail_unless_equals_int (push_even_gains (data, N_BINS, 1, i * 100 * GST_MSECOND), GST_FLOW_OK);
  }
  return NULL;
}

/* Half a minute of gains, and ten seconds may wait, so that the audio decides how much of them is held. */
GST_START_TEST (test_gains_wait_for_their_audio)
{
  Fixture fixture = fixture_new ("max-wait=10000000000 hop-length=100");
  gfloat *samples = g_new0 (gfloat, RATE / 10);
  GThread *thread;
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS, 10, 1, ""));
  thread = g_thread_new ("gains", push_many_gains, &fixture);
  g_usleep (10000); /* most often it waits by now; the test holds if not */
  fail_unless (g_atomic_int_get (&n_gains_pushed) <= 103);
  for (i = 0; i < N_GAINS; i++)
    push_bytes (fixture.audio, samples, RATE / 10 * sizeof *samples, i * 100 * GST_MSECOND, 0);
  g_thread_join (thread);
  push_eos (&fixture);
  fail_unless_equals_int (count_samples (&fixture), N_GAINS * RATE / 10);
  fail_unless_no_error (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- pipelines ---- */

static void
fail_unless_eos (GstBus *bus)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);

  fail_unless (message != NULL);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
  gst_message_unref (message);
}

static void
count_bytes (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer n)
{
  *(gsize *) n += gst_buffer_get_size (buffer);
}

static const gchar *const pipelines[] = {
  "! tee name=t t. ! spectralgain name=s ! fakesink name=out signal-handoffs=true t. ! logmel ! s.gains",
  "! tee name=t t. ! logmel ! s.gains t. ! spectralgain name=s ! fakesink name=out signal-handoffs=true",
  "! tee name=t t. ! queue ! spectralgain name=s ! fakesink name=out signal-handoffs=true t. ! queue ! logmel ! "
  "attention look-ahead=20 ! s.gains",
  "! tee name=t t. ! queue ! spectralgain name=s ! fakesink name=out signal-handoffs=true t. ! queue ! logmel "
  "style=whisper ! attention look-ahead=200 ! s.gains", /* two seconds */
};

static void
seek_to (GstElement *pipeline, guint second)
{
  fail_unless (gst_element_seek (pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET,
                                 second * GST_SECOND, GST_SEEK_TYPE_SET, 6 * GST_SECOND));
}

/* Also without any queue: no thread has to wait for another. Behind a seek all comes again. */
GST_START_TEST (test_sound_and_gains_come_from_a_tee)
{
  gchar *line = g_strdup_printf ("audiotestsrc samplesperbuffer=480 wave=pink-noise ! audio/x-raw, "
                                 "format=(string)" GST_AUDIO_NE (S16) ", rate=(int)16000, channels=(int)1 %s",
                                 pipelines[__i__]);
  GstElement *pipeline = gst_parse_launch (line, NULL), *sink;
  GstBus *bus = gst_element_get_bus (pipeline);
  gsize n = 0;

  sink = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  g_signal_connect (sink, "handoff", G_CALLBACK (count_bytes), &n);
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  fail_unless_equals_int (gst_element_get_state (pipeline, NULL, NULL, 30 * GST_SECOND), GST_STATE_CHANGE_SUCCESS);
  seek_to (pipeline, 1);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  fail_unless_eos (bus);
  fail_unless_equals_int (n, 5 * 16000 * 2);
  seek_to (pipeline, 0);
  fail_unless_eos (bus);
  fail_unless_equals_int (n, (5 + 6) * 16000 * 2);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (sink);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  g_free (line);
}
GST_END_TEST;

/* A pipeline is stopped at any point. */
GST_START_TEST (test_stopping_in_the_middle)
{
  guint i;

  for (i = 0; i < 20; i++) {
    gchar *line = g_strdup_printf ("audiotestsrc ! audio/x-raw, rate=(int)16000, channels=(int)1 %s",
                                   pipelines[i % G_N_ELEMENTS (pipelines)]);
    GstElement *pipeline = gst_parse_launch (line, NULL);

    gst_element_set_state (pipeline, i % 2 ? GST_STATE_PAUSED : GST_STATE_PLAYING);
    g_usleep (1000 * i);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
    g_free (line);
  }
}
GST_END_TEST;

static Suite *
spectralgain_waits_suite (void)
{
  Suite *suite = suite_create ("spectralgain-waits");
  TCase *waits = tcase_create ("waits"), *launched = tcase_create ("pipelines");

  suite_add_tcase (suite, waits);
  tcase_add_test (waits, test_gains_that_never_come_are_an_error);
  tcase_add_test (waits, test_gains_that_do_not_come_at_eos_are_an_error);
  tcase_add_test (waits, test_a_pad_that_nothing_is_linked_to_is_an_error);
  tcase_add_test (waits, test_no_time_counts_while_paused);
  tcase_add_test (waits, test_slow_samples_are_no_lack_of_gains);
  tcase_add_test (waits, test_samples_go_on_when_they_are_linked_again);
  tcase_add_loop_test (waits, test_waiting_ends_when_there_is_a_reason, 0, 3);
  tcase_add_test (waits, test_gains_wait_for_their_audio);
  suite_add_tcase (suite, launched);
  tcase_add_loop_test (launched, test_sound_and_gains_come_from_a_tee, 0, G_N_ELEMENTS (pipelines));
  tcase_add_test (launched, test_stopping_in_the_middle);
  return suite;
}

GST_CHECK_MAIN (spectralgain_waits);
