/*
 * Clocks that jump, behind a live source that takes its times from the clock of the pipeline: forwards the frames in
 * between are absent; backwards, which is to say that another clock counts from now on (no clock of GStreamer runs
 * backwards), the stream goes on, and says so once. No output depends on when it was computed.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/app/app.h>
#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gsttestclock.h>

#include "buscheck.h"
#include "corecheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define D 6
#define N 60         /* frames that come */
#define N_LOST 25    /* while the clock jumps forwards */
#define FORWARDS 20  /* before this frame */
#define BACKWARDS 40 /* before this frame, too */
#define FRAME_TIME (10 * GST_MSECOND)
#define N_ALL (N + N_LOST)

typedef struct {
  GstElement *pipeline, *element;
  GstAppSrc *source;
  GstAppSink *sink;
  GstTestClock *clock;
  GstBus *bus;
} Live;

static Live
live_new (const gchar *caps, const gchar *middle, GstElement *element)
{
  Live live = { .element = element };
  GError *error = NULL;
  gchar *line =
      g_strdup_printf ("appsrc name=source is-live=true do-timestamp=true format=time caps=\"%s\" %s", caps, middle);
  GstElement *front = gst_parse_bin_from_description (line, TRUE, &error),
             *back = gst_element_factory_make ("appsink", "sink");

  fail_unless (error == NULL, "%s", error != NULL ? error->message : "");
  g_free (line);
  live.pipeline = gst_pipeline_new (NULL);
  live.clock = GST_TEST_CLOCK (gst_test_clock_new ());
  gst_pipeline_use_clock (GST_PIPELINE (live.pipeline), GST_CLOCK (live.clock));
  g_object_set (back, "sync", FALSE, NULL);
  gst_bin_add_many (GST_BIN (live.pipeline), front, element, back, NULL);
  fail_unless (gst_element_link_many (front, element, back, NULL));
  live.source = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (live.pipeline), "source"));
  live.sink = GST_APP_SINK (gst_object_ref (back));
  live.bus = gst_element_get_bus (live.pipeline);
  gst_element_set_state (live.pipeline, GST_STATE_PLAYING);
  return live;
}

static void
live_free (Live *live)
{
  gst_element_set_state (live->pipeline, GST_STATE_NULL);
  gst_object_unref (live->bus);
  gst_object_unref (live->sink);
  gst_object_unref (live->source);
  gst_object_unref (live->clock);
  gst_object_unref (live->pipeline);
}

static void
jump_backwards (Live *live, GstClockTime by)
{
  GstElement *source = GST_ELEMENT (live->source);

  gst_element_set_base_time (source, gst_element_get_base_time (source) + by);
}

/* The time goes on, by ordinary steps and the two jumps. */
static void
move_clock (Live *live, guint i)
{
  gst_test_clock_advance_time (live->clock, i == FORWARDS ? (N_LOST + 1) * FRAME_TIME : FRAME_TIME);
  if (i == BACKWARDS)
    jump_backwards (live, 10 * FRAME_TIME);
}

static GstPadProbeReturn
note_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer has_left)
{
  g_atomic_int_set ((gint *) has_left, 1);
  return GST_PAD_PROBE_REMOVE;
}

/* Returns when the buffer has its time, so that the clock may move on. */
static void
push (Live *live, gconstpointer data, gsize size)
{
  GstPad *pad = gst_element_get_static_pad (GST_ELEMENT (live->source), "src");
  gint has_left = 0;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, note_buffer, &has_left, NULL);
  gst_app_src_push_buffer (live->source, gst_buffer_new_memdup (data, size));
  while (!g_atomic_int_get (&has_left))
    g_usleep (100);
  gst_object_unref (pad);
}

static GstBuffer *
pull (Live *live)
{
  GstSample *sample = gst_app_sink_try_pull_sample (live->sink, 20 * GST_SECOND);
  GstBuffer *buffer;

  fail_unless (sample != NULL, "nothing comes");
  buffer = gst_buffer_ref (gst_sample_get_buffer (sample));
  gst_sample_unref (sample);
  return buffer;
}

/* The texts of all warnings so far; there is no error. */
static guint
count_warnings (Live *live, const gchar *part)
{
  GstMessage *message;
  guint n = 0;

  while ((message = pop_message (live->bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR)) != NULL) {
    gchar *text = text_of (message);

    fail_unless (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING && strstr (text, part) != NULL, "%s", text);
    g_free (text);
    gst_message_unref (message);
    n++;
  }
  return n;
}

static guint64
get_count (GstElement *element, const gchar *name)
{
  GstStructure *stats;
  guint64 value;

  g_object_get (element, "stats", &stats, NULL);
  fail_unless (gst_structure_get (stats, name, G_TYPE_UINT64, &value, NULL));
  gst_structure_free (stats);
  return value;
}

GST_START_TEST (test_jumps_of_the_clock_are_absent_frames_or_a_warning)
{
  gfloat frames[N_ALL * D], expected[N_ALL * D];
  guint8 present[N_ALL];
  AttnConfig config = attn_config_default ();
  guint i, number = 0;
  Live live;

  config.n_features = D;
  config.window = 8;
  config.position = ATTN_POSITION_ALIBI;
  fill_random (frames, N_ALL * D, 1);
  for (i = 0; i < N_ALL; i++)
    present[i] = i < FORWARDS || i >= FORWARDS + N_LOST;
  attend (&config, NULL, frames, present, N_ALL, expected, NULL);
  live = live_new ("audio/x-raw,format=" GST_AUDIO_NE (F32) ",layout=interleaved,rate=100,channels=6", "",
                   subject_new (&config));
  for (i = 0; i < N; i++, number++) {
    GstBuffer *out;

    move_clock (&live, i);
    number += i == FORWARDS ? N_LOST : 0;
    push (&live, frames + number * D, D * sizeof (gfloat));
    out = pull (&live);
    gst_check_buffer_data (out, expected + number * D, D * sizeof (gfloat));
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (get_count (live.element, "absent-frames"), N_LOST);
  fail_unless_equals_int (count_warnings (&live, "back"), 1);
  live_free (&live);
}
GST_END_TEST;

/* The same in front of a logmel, whose frames go on at their hops. */
GST_START_TEST (test_sound_that_a_jump_of_the_clock_lost_is_absent_frames)
{
  static gint16 samples[N * 160];
  AttnConfig config = attn_config_default ();
  guint64 n_frames, n_absent;
  guint i;
  Live live;

  config.n_features = 8;
  config.window = 4;
  for (i = 0; i < G_N_ELEMENTS (samples); i++)
    samples[i] = 1000 * ((gint) (i % 37) - 18);
  live = live_new ("audio/x-raw,format=" GST_AUDIO_NE (S16) ",layout=interleaved,rate=16000,channels=1",
                   "! logmel bins=8", subject_new (&config));
  for (i = 0; i < N; i++) {
    move_clock (&live, i);
    push (&live, samples + i * 160, 320);
    if (i >= 2 && (i < FORWARDS || i >= FORWARDS + 2)) /* a frame of 25 ms needs three */
      gst_buffer_unref (pull (&live));
  }
  n_frames = get_count (live.element, "frames");
  n_absent = get_count (live.element, "absent-frames");
  fail_unless_equals_uint64 (n_frames, N_ALL - 2);            /* none is missing, and none is there twice */
  fail_unless_equals_uint64 (n_absent, N_LOST + 2);           /* those that would read what was lost, too */
  fail_unless_equals_int (count_warnings (&live, "back"), 2); /* one by each element */
  live_free (&live);
}
GST_END_TEST;

static Suite *
clock_jumps_suite (void)
{
  Suite *suite = suite_create ("clock-jumps");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_jumps_of_the_clock_are_absent_frames_or_a_warning);
  tcase_add_test (tc, test_sound_that_a_jump_of_the_clock_lost_is_absent_frames);
  return suite;
}

GST_CHECK_MAIN (clock_jumps);
