/*
 * The element `attention`: chunks in place of a window.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"

#define CHUNK 4

static AttnConfig
chunks_of (guint chunk, guint chunks)
{
  AttnConfig config = attn_config_default ();

  config.n_features = D;
  config.n_heads = 2;
  config.chunk = chunk;
  config.chunks = chunks;
  return config;
}

/* Pulls all that is there, from frame *left on, each with the time of its frame. */
static void
check_times (GstHarness *h, const gfloat *expected, guint *left)
{
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h)) != NULL) {
    GstMapInfo map;

    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), *left * FRAME_TIME);
    fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
    fail_unless_equals_uint64 (map.size, D * sizeof (gfloat));
    fail_unless (memcmp (map.data, expected + *left * D, map.size) == 0, "frame %u differs", *left);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
    ++*left;
  }
}

GST_START_TEST (test_frames_of_a_chunk_leave_with_its_last_one)
{
  AttnConfig config = chunks_of (CHUNK, 2);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (30, D), *expected = expect (&config, frames, NULL, 30);
  guint left = 0;

  for (guint t = 0; t < 30; t++) {
    push_frames (h, frames, t, 1);
    fail_unless_equals_int (gst_harness_buffers_in_queue (h), (t + 1) % CHUNK == 0 ? CHUNK : 0);
    check_times (h, expected, &left);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  check_times (h, expected, &left);
  fail_unless_equals_int (left, 30);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

/* Buffers of 7 frames, and absent ones across the end of a chunk. */
GST_START_TEST (test_chunks_give_the_bits_of_the_core_over_a_gap)
{
  AttnConfig config = chunks_of (__i__, 1);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (42, D), *expected;
  guint8 present[42];

  memset (present, 1, sizeof present);
  memset (present + 14, 0, 7);
  expected = expect (&config, frames, present, 42);
  for (guint t = 0; t < 42; t += 7)
    if (present[t])
      push_frames (h, frames, t, 7);
    else
      gst_harness_push_event (h, gst_event_new_gap (t * FRAME_TIME, 7 * FRAME_TIME));
  gst_harness_push_event (h, gst_event_new_eos ());
  memmove (expected + 14 * D, expected + 21 * D, 21 * D * sizeof *expected); /* the event left as an event */
  check_output (h, expected, 35);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_latency_of_chunks_is_a_chunk_less_one_frame)
{
  AttnConfig config = chunks_of (CHUNK, 2);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (1, D);

  fail_unless_equals_clocktime (gst_harness_query_latency (h), (CHUNK - 1) * FRAME_TIME);
  push_frames (h, frames, 0, 1);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), (CHUNK - 1) * FRAME_TIME);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* Buffers of 3 frames. */
GST_START_TEST (test_latency_covers_the_wait_for_a_chunk)
{
  AttnConfig config = chunks_of (__i__, 1);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (60, D);
  guint left = 0;

  for (guint i = 0; i < 20; i++) {
    push_frames (h, frames, 3 * i, 3);
    for (; left < gst_harness_buffers_received (h); left++)
      fail_unless ((i + 1) * 3 * FRAME_TIME <= (left + 1) * 3 * FRAME_TIME + gst_harness_query_latency (h));
  }
  fail_unless (left + (__i__ + 2) / 3 >= 20);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* How many frames later than it came in a buffer of `n` left at most, from frame *begin on; none waits at the end. */
static guint
measure_wait (GstHarness *h, const gfloat *frames, guint n, guint n_buffers, guint *begin)
{
  guint before = gst_harness_buffers_received (h), latest = 0;

  for (guint i = 0, left = 0; i < n_buffers; i++, *begin += n) {
    push_frames (h, frames, *begin, n);
    for (; left < gst_harness_buffers_received (h) - before; left++)
      latest = MAX (latest, (i - left) * n);
  }
  return latest;
}

/* Buffers of any constant size, long enough to end at each place of a chunk that they can end at. */
GST_START_TEST (test_latency_of_chunks_is_what_buffers_wait_for)
{
  static const guint sizes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 12, 16 };
  AttnConfig config = chunks_of (__i__, 1);
  gfloat *frames = make_frames (16 * 24, D);

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    GstHarness *h = harness_new (&config, AUDIO_CAPS);
    guint begin = 0, wait = measure_wait (h, frames, sizes[i], 24, &begin);

    fail_unless_equals_clocktime (gst_harness_query_latency (h), wait * FRAME_TIME);
    if (sizes[i] % __i__ == 0)
      fail_unless_equals_int (wait, 0);
    gst_harness_teardown (h);
  }
  g_free (frames);
}
GST_END_TEST;

/* Buffers that are chunks wait for nothing, until a frame is missing. */
GST_START_TEST (test_latency_grows_when_buffers_no_longer_begin_with_chunks)
{
  AttnConfig config = chunks_of (CHUNK, 2);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  GstBus *bus = attach_bus (h->element);
  gfloat *frames = make_frames (64, D);
  guint begin = 0;
  GstMessage *message;

  fail_unless_equals_int (measure_wait (h, frames, CHUNK, 4, &begin), 0);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 0);
  gst_harness_push_event (h, gst_event_new_gap (begin * FRAME_TIME, CHUNK * FRAME_TIME));
  fail_unless_equals_clocktime (gst_harness_query_latency (h), 0);
  fail_unless (pop_message (bus, GST_MESSAGE_LATENCY) == NULL);
  begin += CHUNK;
  gst_harness_push_event (h, gst_event_new_gap (begin * FRAME_TIME, FRAME_TIME));
  message = pop_message (bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  begin++;
  fail_unless_equals_int (measure_wait (h, frames, CHUNK, 4, &begin), CHUNK);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), CHUNK * FRAME_TIME);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* A stream that begins with a gap, and so does not fit chunks from its first buffer on. */
GST_START_TEST (test_latency_of_a_stream_that_begins_with_a_gap_is_what_buffers_wait_for)
{
  AttnConfig config = chunks_of (CHUNK, 2);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  gfloat *frames = make_frames (64, D);
  guint begin = 1;

  gst_harness_push_event (h, gst_event_new_gap (0, FRAME_TIME));
  fail_unless_equals_int (measure_wait (h, frames, CHUNK, 8, &begin), CHUNK);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), CHUNK * FRAME_TIME);
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

/* The state of a stream of `n` frames. */
static GBytes *
state_after (const AttnConfig *config, const gfloat *frames, guint n)
{
  GstHarness *h = harness_new (config, AUDIO_CAPS);
  GBytes *state = NULL;

  push_frames (h, frames, 0, n);
  g_signal_emit_by_name (h->element, "save-state", &state);
  gst_harness_teardown (h);
  return state;
}

GST_START_TEST (test_latency_of_a_restored_stream_is_what_buffers_wait_for)
{
  AttnConfig config = chunks_of (CHUNK, 2);
  gfloat *frames = make_frames (64, D);
  GBytes *state = state_after (&config, frames, __i__);
  GstHarness *h = harness_new (&config, AUDIO_CAPS);
  guint begin = __i__, wait = __i__ % CHUNK == 0 ? 0 : CHUNK;
  gboolean restored = FALSE;

  g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  fail_unless (restored);
  fail_unless_equals_int (measure_wait (h, frames, CHUNK, 8, &begin), wait);
  fail_unless_equals_clocktime (gst_harness_query_latency (h), wait * FRAME_TIME);
  gst_harness_teardown (h);
  g_bytes_unref (state);
  g_free (frames);
}
GST_END_TEST;

static const struct {
  const gchar *line, *a, *b;
} refused[] = {
  { "attention chunk=4", "chunk is 4", "chunks is not given" },
  { "attention chunks=2", "chunks is 2", "chunk is not given" },
  { "attention chunk=4 chunks=2 window=64", "window is 64", "chunk is 4 and chunks is 2" },
  { "attention chunk=4 chunks=2 look-ahead=5", "look-ahead is 5", "chunk is 4 and chunks is 2" },
};

GST_START_TEST (test_chunks_that_make_no_sense_are_refused_with_both_values)
{
  GstElement *element = gst_parse_launch (refused[__i__].line, NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  gfloat frame[D] = { 0 };
  gchar *text;

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_NOT_NEGOTIATED);
  text = pop_error (bus);
  fail_unless (text != NULL && strstr (text, refused[__i__].a) && strstr (text, refused[__i__].b), "%s", text);
  g_free (text);
  detach_bus (element, bus);
  gst_object_unref (element);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
attention_chunks_suite (void)
{
  Suite *suite = suite_create ("attention-chunks");
  TCase *chunks = tcase_create ("chunks");

  suite_add_tcase (suite, chunks);
  tcase_add_test (chunks, test_frames_of_a_chunk_leave_with_its_last_one);
  tcase_add_loop_test (chunks, test_chunks_give_the_bits_of_the_core_over_a_gap, 1, 10);
  tcase_add_test (chunks, test_latency_of_chunks_is_a_chunk_less_one_frame);
  tcase_add_loop_test (chunks, test_latency_covers_the_wait_for_a_chunk, 1, 10);
  tcase_add_loop_test (chunks, test_latency_of_chunks_is_what_buffers_wait_for, 2, 8);
  tcase_add_test (chunks, test_latency_grows_when_buffers_no_longer_begin_with_chunks);
  tcase_add_test (chunks, test_latency_of_a_stream_that_begins_with_a_gap_is_what_buffers_wait_for);
  tcase_add_loop_test (chunks, test_latency_of_a_restored_stream_is_what_buffers_wait_for, 3, 6);
  tcase_add_loop_test (chunks, test_chunks_that_make_no_sense_are_refused_with_both_values, 0, G_N_ELEMENTS (refused));
  return suite;
}

GST_CHECK_MAIN (attention_chunks)
