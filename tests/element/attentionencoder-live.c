/*
 * The element `attentionencoder` where it is live: the latency that it reports equals the one that a clock measures,
 * and a process that is killed is followed by another one that goes on.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encodercheck.h"

#include <gst/check/gsttestclock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipelinecheck.h"

/* ---- latency ---- */

typedef struct {
  GstClock *clock;
  GstClockTime latest; /* how much later than its time stamp an output has left */
  guint n_buffers;
  gint is_on; /* atomic; buffers before are not counted */
} Measurement;

static GstPadProbeReturn
measure (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Measurement *m = data;
  GstClockTime now = gst_clock_get_time (m->clock);

  if (!g_atomic_int_get (&m->is_on))
    return GST_PAD_PROBE_OK;
  m->latest = MAX (m->latest, now - GST_BUFFER_PTS (GST_PAD_PROBE_INFO_BUFFER (info)));
  m->n_buffers++;
  return GST_PAD_PROBE_OK;
}

/* The source's next buffer is complete as soon as the source waits for it; until the end. */
static void
let_time_pass (GstElement *pipeline, GstClock *clock)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  while (!(message = gst_bus_pop_filtered (bus, GST_MESSAGE_EOS | GST_MESSAGE_ERROR)))
    if (gst_test_clock_peek_id_count (GST_TEST_CLOCK (clock)) > 0)
      gst_test_clock_crank (GST_TEST_CLOCK (clock));
    else
      g_usleep (50);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_object_unref (bus);
}

static GstClockTime
reported_latency (GstPad *pad)
{
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean is_live;

  fail_unless (gst_pad_query (pad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (is_live);
  gst_query_unref (query);
  return min;
}

/*
 * `identity` waits for the latency that it heard in the last query, and the source can tell it once it has caps. Until
 * then buffers come through before they are complete. The sinks do not ask upstream before they have a buffer.
 */
static void
settle_latency (GstPad *pad, GstClock *clock)
{
  while (gst_test_clock_peek_id_count (GST_TEST_CLOCK (clock)) == 0)
    g_usleep (50);
  reported_latency (pad);
}

/* Plays a live `pipeline` with the encoder "e" to its end: how late buffers left a pad of it, as has been reported. */
static GstClockTime
measure_latency (GstElement *pipeline, const gchar *pad_name)
{
  Measurement m = { .clock = gst_test_clock_new () };
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  GstPad *pad = gst_element_get_static_pad (element, pad_name);
  gulong probe = gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, measure, &m, NULL);

  gst_pipeline_use_clock (GST_PIPELINE (pipeline), m.clock);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  settle_latency (pad, m.clock);
  g_atomic_int_set (&m.is_on, TRUE);
  let_time_pass (pipeline, m.clock);
  fail_unless (m.n_buffers > 10);
  fail_unless_equals_clocktime (m.latest, reported_latency (pad));
  gst_pad_remove_probe (pad, probe);
  gst_object_unref (pad);
  gst_object_unref (element);
  gst_object_unref (m.clock);
  return m.latest;
}

/* `identity` lets a buffer through when it is complete. Six layers that look ahead, behind strides of 1, 2 and 4. */
GST_START_TEST (test_latency_of_a_live_source_is_what_is_reported)
{
  static const guint look_ahead[] = { 2, 0, 3, 1, 0, 4 }, sizes[] = { 1, 2, 3, 7 };
  guint n_convolutions = __i__ / G_N_ELEMENTS (sizes), size = sizes[__i__ % G_N_ELEMENTS (sizes)];
  guint64 stride = 1 << n_convolutions, n_ahead = (stride - 1) + stride * (2 + 3 + 1 + 4), latency_frames;
  Encoder *e = encoder_write (0, n_convolutions, G_N_ELEMENTS (look_ahead), look_ahead);
  GstElement *pipeline =
      launch ("audiotestsrc is-live=true samplesperbuffer=%u num-buffers=100 ! audio/x-raw,format=" GST_AUDIO_NE (
                  F32) ",rate=100,channels=8 ! identity sync=true ! attentionencoder name=e model-file=\"%s\" ! "
                       "fakesink sync=false",
              size, e->file);
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  GstClockTime latency = measure_latency (pipeline, "src");

  if (size == 1) /* with one frame of the source's own */
    fail_unless_equals_clocktime (latency, (1 + n_ahead) * FRAME_TIME);
  g_object_get (element, "latency-frames", &latency_frames, NULL);
  fail_unless_equals_uint64 (latency_frames, n_ahead);
  gst_object_unref (element);
  free_pipeline (pipeline);
  g_unlink (e->file);
  encoder_free (e);
}
GST_END_TEST;

static const gchar *const chunked[] = {
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'chunk\\':4,\\'chunks\\':2}]},"
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'chunk\\':4,\\'chunks\\':1}]}",
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'chunk\\':3,\\'chunks\\':2}]},"
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'window\\':5,\\'look-ahead\\':1}]},"
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'chunk\\':2,\\'chunks\\':1}]}",
  "{\\'conv\\':\\'conv\\',\\'stride\\':2,\\'left\\':2},"
  "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'chunk\\':3,\\'chunks\\':2}]}",
};

/*
 * Chunks, in front of look-ahead and behind a stride; the outputs, and the rows of the last attention. With buffers of
 * a chunk nothing waits for later buffers.
 */
GST_START_TEST (test_latency_of_live_chunks_is_what_is_reported)
{
  static const gchar *const rows[] = { "weights_1", "weights_2", "weights_0" };
  static const guint sizes[] = { 1, 2, 3, 4, 7, 12 };
  guint n_blocks = __i__ / G_N_ELEMENTS (sizes), size = sizes[__i__ % G_N_ELEMENTS (sizes)];
  const gchar *pad = __i__ % 2 == 0 ? "src" : rows[n_blocks];
  Encoder *e = encoder_of_blocks (chunked[n_blocks]);
  GstElement *pipeline =
      launch ("audiotestsrc is-live=true samplesperbuffer=%u num-buffers=100 ! audio/x-raw,format=" GST_AUDIO_NE (
                  F32) ",rate=100,channels=8 ! identity sync=true ! attentionencoder name=e model-file=\"%s\" e.%s ! "
                       "queue ! fakesink sync=false",
              size, e->file, pad);
  GstClockTime latency = measure_latency (pipeline, pad);

  if (n_blocks == 0 && size % 4 == 0)
    fail_unless_equals_clocktime (latency, size * FRAME_TIME);
  free_pipeline (pipeline);
  g_unlink (e->file);
  encoder_free (e);
}
GST_END_TEST;

/*
 * Buffers of two frames bring all frames that an output reads, but not the look-ahead of a row in the layer in front of
 * the stride.
 */
GST_START_TEST (test_latency_of_weights_is_what_is_reported_for_them)
{
  static const gchar blocks[] =
      "{\\'residual\\':[{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'window\\':9,\\'look-ahead\\':1}]},"
      "{\\'conv\\':\\'conv\\',\\'stride\\':2,\\'left\\':2}";
  guint size = __i__;
  Encoder *e = encoder_of_blocks (blocks);
  GstElement *pipeline =
      launch ("audiotestsrc is-live=true samplesperbuffer=%u num-buffers=50 ! audio/x-raw,format=" GST_AUDIO_NE (
                  F32) ",rate=100,channels=8 ! identity sync=true ! attentionencoder name=e "
                       "model-file=\"%s\" e.weights_0 ! queue ! fakesink sync=false",
              size, e->file);

  measure_latency (pipeline, "weights_0");
  free_pipeline (pipeline);
  g_unlink (e->file);
  encoder_free (e);
}
GST_END_TEST;

/* ---- a process that is killed ---- */

/* Frames begin ... end - 1 in buffers of 1, 3 and 7. */
static void
push_pieces (GstHarness *h, const Encoder *e, guint begin, guint end)
{
  static const guint sizes[] = { 1, 3, 7 };
  guint i, n;

  for (i = 0; begin < end; begin += n, i++) {
    n = MIN (sizes[i % 3], end - begin);
    fail_unless_equals_int (gst_harness_push (h, encoder_buffer (e, begin, n)), GST_FLOW_OK);
  }
}

/* Saves its state behind frame `cut`, goes on a little, and dies without ending anything. Never returns. */
static void
run_until_killed (const Encoder *e, guint cut)
{
  GstHarness *h = encoder_harness (e);
  GBytes *state;

  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  push_pieces (h, e, 0, cut);
  g_signal_emit_by_name (h->element, "save-state", &state);
  write_file ("state", g_bytes_get_data (state, NULL), g_bytes_get_size (state));
  push_pieces (h, e, cut, cut + 11);
  raise (SIGKILL);
}

/* Uses the file of another process as state-file, and returns the outputs from frame `cut` on. */
static void
check_goes_on (const Encoder *e, guint cut)
{
  guint first = (cut + e->stride - 1) / e->stride;
  gchar *path = path_of ("state");
  GstHarness *h = encoder_harness (e);

  gst_element_set_state (h->element, GST_STATE_NULL);
  g_object_set (h->element, "state-file", path, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  push_pieces (h, e, cut, e->n);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (h, e->expected + first * e->n_outputs, (e->n_out - first) * e->n_outputs);
  gst_harness_teardown (h);
  g_free (path);
}

/* Six layers that look ahead, behind two strides. */
GST_START_TEST (test_a_killed_process_is_followed_by_one_that_goes_on_with_equal_bytes)
{
  static const guint look_ahead[] = { 2, 0, 3, 1, 0, 4 };
  Encoder *e = encoder_write (0, 2, G_N_ELEMENTS (look_ahead), look_ahead);
  guint cut = 40 + __i__;
  int status;
  pid_t child;

  fail_unless_equals_uint64 (e->stride, 4);
  make_folder ();
  child = fork ();
  if (child == 0)
    run_until_killed (e, cut);
  fail_unless_equals_int (waitpid (child, &status, 0), child);
  fail_unless (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);
  check_goes_on (e, cut);
  remove_folder ();
  g_unlink (e->file);
  encoder_free (e);
}
GST_END_TEST;

static Suite *
attentionencoder_live_suite (void)
{
  Suite *suite = suite_create ("attentionencoder-live");
  TCase *live = tcase_create ("live");

  suite_add_tcase (suite, live);
  tcase_add_loop_test (live, test_latency_of_a_live_source_is_what_is_reported, 0, 3 * 4);
  tcase_add_loop_test (live, test_latency_of_live_chunks_is_what_is_reported, 0, G_N_ELEMENTS (chunked) * 6);
  tcase_add_loop_test (live, test_latency_of_weights_is_what_is_reported_for_them, 1, 5);
  tcase_add_loop_test (live, test_a_killed_process_is_followed_by_one_that_goes_on_with_equal_bytes, 0, 5);
  return suite;
}

GST_CHECK_MAIN (attentionencoder_live);
