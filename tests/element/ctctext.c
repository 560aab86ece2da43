/*
 * The element `ctctext`: texts, their times, gaps, errors, and the events that end a stream.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ctctextcheck.h"

#include <math.h>

#define HELLO "-HHl-ll-o--WW-d-"
#define HELLO_TEXTS "hello @1-8|world @11-14"

/* ---- words ---- */

GST_START_TEST (test_words_have_the_times_of_their_frames)
{
  static const guint sizes[] = { 1, 3, 100 };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
    GstHarness *h = new_ctctext ("");

    push_path (h, HELLO, 0, sizes[i], GAP_EVENTS);
    push_eos (h);
    check_texts (h, HELLO_TEXTS);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* However the frames are cut into buffers, and however absent ones come. */
GST_START_TEST (test_words_are_those_of_the_definition)
{
  GRand *rand = g_rand_new_with_seed (3);
  guint i;

  for (i = 0; i < 60; i++) {
    gchar *random = random_path (rand, 60), *path = g_strconcat ("-", random, NULL);
    gchar *expected = expected_texts (path, " ");
    GstHarness *h = new_ctctext ("word-timeout=1000000000000 max-duration=1000000000000");

    push_path (h, path, 0, 1 + i % 7, i % N_ABSENCES);
    push_eos (h);
    check_texts (h, expected);
    gst_harness_teardown (h);
    g_free (expected);
    g_free (path);
    g_free (random);
  }
  g_rand_free (rand);
}
GST_END_TEST;

GST_START_TEST (test_tensors)
{
  GstHarness *h = new_harness ("");

  gst_harness_set_src_caps_str (h, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                   "dimensions=(string)8:4:1:1, framerate=(fraction)25/1");
  push_path (h, HELLO, 0, 4, GAP_EVENTS);
  push_eos (h);
  check_texts (h, HELLO_TEXTS);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* As behind filesrc: bytes from 0 on. */
GST_START_TEST (test_frames_without_timestamps_count_from_the_begin)
{
  GstHarness *h = new_ctctext ("");
  GstSegment segment;
  const GstSegment *out;
  GstEvent *event;
  guint t;

  while ((event = gst_harness_try_pull_event (h)) != NULL)
    gst_event_unref (event);
  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  event = pull_event (h, GST_EVENT_SEGMENT);
  gst_event_parse_segment (event, &out);
  fail_unless_equals_int (out->format, GST_FORMAT_TIME);
  gst_event_unref (event);
  for (t = 0; t < strlen (HELLO); t++) {
    GstBuffer *buffer = path_buffer (HELLO, t, 1);

    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
  }
  push_eos (h);
  check_texts (h, HELLO_TEXTS);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Neither a rate nor a timestamp: no time is better than a wrong one. */
GST_START_TEST (test_texts_without_any_time)
{
  static const gchar *const outputs[] = { "output=words", "output=partial" };
  static const gchar *const expected[] = { "he @|lo @", "he lo @" };
  guint i, t;

  for (i = 0; i < 2; i++) {
    GstHarness *h = new_harness (outputs[i]);

    gst_harness_set_src_caps_str (h, "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                     "dimensions=(string)8:1:1:1, framerate=(fraction)0/1");
    for (t = 0; t < 4; t++) {
      GstBuffer *buffer = path_buffer ("H_lo", t, 1);

      GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
      gst_harness_push (h, buffer);
    }
    push_eos (h);
    check_texts (h, expected[i]);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

GST_START_TEST (test_separator_stands_behind_words_but_not_inside)
{
  GstHarness *h = new_ctctext ("separator=/ max-duration=120000000");

  push_path (h, "HloloW-", 0, 1, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "helo@0-2|lo/@3-4|wor/@5-5");
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_blank_can_be_set)
{
  GstHarness *h;

  write_file ("tokens.txt", "a\n_\nb\nc\nd\ne\nf\ng\n", 16);
  h = new_ctctext ("blank=1");
  push_path (h, "-HlHHd", 0, 1, GAP_EVENTS); /* tokens 0, 1, 2, 1, 1, 5 */
  push_eos (h);
  check_texts (h, "abe @0-5");
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- partial results ---- */

GST_START_TEST (test_partial_results_come_once_per_interval)
{
  GstHarness *h = new_ctctext ("output=partial interval=160000000 word-timeout=200000000 separator=");

  push_path (h, "----HHl-ll-o--WW-d--------------", 0, 1, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "hel@4-7|hello@8-11|hello wor@12-15|hello world@16-19|hello world@20-22");
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A hole of two seconds: the phrase stays for as long as a pause needs. */
GST_START_TEST (test_partial_result_does_not_stand_over_a_hole)
{
  GstHarness *h = new_ctctext ("output=partial interval=160000000 word-timeout=200000000 separator=");

  push_path (h, "Hl..................................................HHHH", 0, 100, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "hel@0-1|hel@2-6|he@52-55");
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- gaps ---- */

/* All time up to the last frame belongs to one text or one gap, in order. */
static void
check_time_is_told (GstHarness *h, GstClockTime end)
{
  GstClockTime told = 0, timestamp, duration;
  GstEvent *event;
  GstBuffer *buffer;
  guint n = 0;

  /* A harness keeps buffers and events apart: gaps go on where texts end. */
  buffer = gst_harness_try_pull (h);
  event = pull_event (h, GST_EVENT_GAP);
  while (buffer != NULL || event != NULL) {
    if (event != NULL)
      gst_event_parse_gap (event, &timestamp, &duration);
    if (buffer != NULL && GST_BUFFER_PTS (buffer) == told) {
      told += GST_BUFFER_DURATION (buffer);
      gst_buffer_unref (buffer);
      buffer = gst_harness_try_pull (h);
    } else {
      fail_unless (event != NULL && timestamp == told, "nothing is told of %" GST_TIME_FORMAT, GST_TIME_ARGS (told));
      told += duration;
      gst_event_unref (event);
      event = pull_event (h, GST_EVENT_GAP);
    }
    n++;
  }
  fail_unless_equals_uint64 (told, end);
  fail_unless (n > 2);
}

GST_START_TEST (test_time_without_text_is_told_as_gaps)
{
  static const gchar *const outputs[] = { "", "output=partial interval=120000000" };
  static const gchar path[] = "---" HELLO "..........-----------------------------H-l------";
  guint i;

  for (i = 0; i < 2 * N_ABSENCES; i++) {
    GstHarness *h = new_ctctext (outputs[i % 2]);

    push_path (h, path, 0, 1 + i, i / 2);
    push_eos (h);
    check_time_is_told (h, strlen (path) * FRAME);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* As all events of a stream do, of which a seek or a flush began it. */
GST_START_TEST (test_gaps_have_the_seqnum_of_their_segment)
{
  GstHarness *h = new_ctctext ("");
  GstEvent *segment, *gap;

  push_path (h, "-----", 0, 1, GAP_EVENTS);
  segment = pull_event (h, GST_EVENT_SEGMENT);
  gap = pull_event (h, GST_EVENT_GAP);
  fail_unless (segment != NULL && gap != NULL);
  fail_unless_equals_int (gst_event_get_seqnum (gap), gst_event_get_seqnum (segment));
  gst_event_unref (segment);
  gst_event_unref (gap);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstClockTime
last_gap_end (GstHarness *h)
{
  GstClockTime timestamp, duration, end = 0;
  GstEvent *event;

  while ((event = pull_event (h, GST_EVENT_GAP)) != NULL) {
    gst_event_parse_gap (event, &timestamp, &duration);
    end = timestamp + duration;
    gst_event_unref (event);
  }
  return end;
}

/*
 * A gap is sent at once, so that downstream does not wait for the next word; but never beyond the begin of an
 * unfinished word.
 */
GST_START_TEST (test_gaps_come_with_their_frames)
{
  GstHarness *h = new_ctctext ("");

  push_path (h, "----", 0, 2, GAP_EVENTS);
  fail_unless_equals_uint64 (last_gap_end (h), 4 * FRAME);
  push_path (h, "----..", 4, 1, GAP_EVENTS);
  fail_unless_equals_uint64 (last_gap_end (h), 6 * FRAME);
  push_path (h, "----..-H-", 6, 3, GAP_EVENTS);
  fail_unless_equals_uint64 (last_gap_end (h), 7 * FRAME);
  push_path (h, "----..-H-l-", 9, 1, GAP_EVENTS);
  fail_unless_equals_uint64 (last_gap_end (h), 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_stream_is_sparse_text)
{
  GstHarness *h = new_ctctext ("");
  GstEvent *event = pull_event (h, GST_EVENT_STREAM_START);
  GstCaps *caps = gst_pad_get_current_caps (h->sinkpad);
  gchar *text = gst_caps_to_string (caps);
  GstStreamFlags flags;

  gst_event_parse_stream_flags (event, &flags);
  fail_unless (flags & GST_STREAM_FLAG_SPARSE);
  fail_unless_equals_string (text, "text/x-raw, format=(string)utf8");
  gst_event_unref (event);
  g_free (text);
  gst_caps_unref (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- damaged streams ---- */

GST_START_TEST (test_nan_counts_as_blank_and_is_said_once)
{
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);
  gfloat nan = NAN;
  guint t;

  for (t = 0; t < 5; t++) {
    GstBuffer *buffer = path_buffer ("HlllH", t, 1);

    if (t == 2 || t == 4)
      gst_buffer_fill (buffer, 7 * sizeof nan, &nan, sizeof nan);
    gst_harness_push (h, buffer);
  }
  push_eos (h);
  check_texts (h, "hell @0-3");
  fail_unless_said (bus, GST_MESSAGE_WARNING, "the frame at 0:00:00.080000000 has NaN");
  check_text (pop_text (bus, GST_MESSAGE_WARNING), NULL);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_jump_back_ends_the_word)
{
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);
  GstBuffer *buffer;

  push_path (h, "------Hl", 0, 1, GAP_EVENTS);
  buffer = path_buffer ("-Hlo", 2, 2);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  push_eos (h);
  check_texts (h, "hel @6-7|lo @2-3");
  fail_unless_said (bus, GST_MESSAGE_WARNING,
                    "timestamp 0:00:00.080000000 where 0:00:00.320000000 was expected: a jump back");
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Nothing overflows, and nothing hangs. */
GST_START_TEST (test_extreme_timestamps)
{
  static const GstClockTime times[] = { 0, G_MAXINT64 - 1, G_MAXUINT64 - 1, 1, G_MAXUINT64 / 2, G_MAXUINT64 - 2 };
  static const gchar *const outputs[] = { "output=words", "output=partial" };
  guint i, j;

  for (j = 0; j < 2; j++) {
    GstHarness *h = new_ctctext (outputs[j]);

    for (i = 0; i < 36; i++) {
      GstBuffer *buffer = path_buffer ("Hl-ooW", i % 6, 1);

      GST_BUFFER_PTS (buffer) = times[i % 6];
      GST_BUFFER_DURATION (buffer) = times[i / 6];
      fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
      gst_harness_push_event (h, gst_event_new_gap (MIN (times[i % 5], G_MAXINT64), times[i % 6]));
    }
    push_eos (h);
    drop_buffers (h);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* ---- ends of a stream ---- */

GST_START_TEST (test_stream_that_ends_gives_its_word)
{
  guint i;

  for (i = 0; i < 6; i++) {
    GstHarness *h = new_ctctext ("");
    GstSegment segment;

    gst_segment_init (&segment, GST_FORMAT_TIME);
    push_path (h, "-Hl", 0, 1, GAP_EVENTS);
    check_texts (h, "");
    segment.base = i == 3 ? GST_SECOND : 0;
    if (i == 0)
      push_eos (h);
    else if (i == 1)
      gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 3 * FRAME));
    else if (i == 2)
      gst_harness_push_event (h, gst_event_new_stream_start ("other"));
    else if (i < 5)
      gst_harness_push_event (h, gst_event_new_segment (&segment));
    else
      gst_harness_set_src_caps_str (
          h, "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)"
                                                               "interleaved, rate=(int)50, channels=(int)8");
    check_texts (h, i == 4 ? "" : "hel @1-2"); /* the same segment again changes nothing */
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

GST_START_TEST (test_flush_forgets_the_word)
{
  GstHarness *h = new_ctctext ("");

  push_path (h, "-Hl", 0, 1, GAP_EVENTS);
  push_flush (h);
  push_segment (h, 0);
  push_path (h, "---o", 3, 1, GAP_EVENTS);
  push_eos (h);
  check_texts (h, "o @3-3");
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_seeks_go_forward_in_time)
{
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);
  GstSegment segment;

  fail_if (gst_harness_push_upstream_event (
      h, gst_event_new_seek (-1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, 1)));
  fail_if (gst_harness_push_upstream_event (
      h, gst_event_new_seek (1, GST_FORMAT_BYTES, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, 0)));
  fail_unless_equals_int (gst_harness_upstream_events_received (h), 1); /* RECONFIGURE */
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.rate = -2;
  segment.stop = GST_SECOND;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  fail_unless_error (bus, "plays backwards, at rate -2");
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_only_time_is_the_same_on_both_sides)
{
  GstHarness *h = new_ctctext ("");

  check_only_time_passes (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- errors ---- */

static void
check_caps_error (const gchar *line, const gchar *caps, const gchar *part)
{
  GstHarness *h = new_harness (line);
  GstBus *bus = attach_bus (h->element);

  gst_harness_set_src_caps_str (h, caps);
  fail_unless_error (bus, part);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, FRAME_SIZE, NULL)),
                          GST_FLOW_NOT_NEGOTIATED);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}

GST_START_TEST (test_frames_of_another_width_are_an_error)
{
  check_caps_error ("",
                    "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)25, "
                                                                      "channels=(int)80",
                    "the file has 8 tokens, but the frames have 80 values");
  check_caps_error ("blank=8", CAPS, "blank=8 was set, but the frames have 8 values, 0 to 7");
}
GST_END_TEST;

GST_START_TEST (test_buffers_of_another_size_are_an_error)
{
  GstHarness *h = new_ctctext ("");
  GstBus *bus = attach_bus (h->element);

  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 30, NULL)), GST_FLOW_ERROR);
  fail_unless_error (bus, "a buffer of 30 bytes is not a whole number of frames: one of 8 features has 32 bytes");
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
check_start_error (const gchar *tokens, const gchar *part)
{
  GstElement *element = gst_element_factory_make ("ctctext", NULL);

  g_object_set (element, "tokens", tokens, NULL);
  fail_unless_start_refused (element, part);
}

GST_START_TEST (test_tokens_that_cannot_be_used_are_an_error_at_start)
{
  check_start_error (NULL, "tokens is not set");
  check_start_error ("/nowhere", "tokens: /nowhere: No such file or directory");
  check_start_error (folder, "is not a regular file");
  write_file ("tokens.txt", "a 0\nb 0\n", 8);
  check_start_error (tokens_path, "tokens.txt: line 2 has the number 0, as line 1 has");
}
GST_END_TEST;

GST_START_TEST (test_downstream_that_fails_stops_the_stream)
{
  GstHarness *h = new_ctctext ("");

  gst_pad_set_chain_function (h->sinkpad, refuse_buffer);
  fail_unless_equals_int (gst_harness_push (h, path_buffer ("Hl_W_H", 0, 6)), GST_FLOW_ERROR);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- latency ---- */

/* The longest time from the begin of a text to that of the frame with which it leaves, over a path. */
static GstClockTime
measure_latency (GstHarness *h, const gchar *path)
{
  GstClockTime worst = 0;
  GstBuffer *buffer;
  guint t;

  for (t = 0; path[t] != '\0'; t++) {
    gst_harness_push (h, path_buffer (path, t, 1));
    while ((buffer = gst_harness_try_pull (h)) != NULL) {
      worst = MAX (worst, t * FRAME - GST_BUFFER_PTS (buffer));
      gst_buffer_unref (buffer);
    }
  }
  return worst;
}

/* The longest word, without a pause, reaches the latency; no other path exceeds it. */
GST_START_TEST (test_latency_is_that_of_the_longest_word)
{
  static const gchar *const lines[] = { "word-timeout=200000000 max-duration=400000000",
                                        "word-timeout=190000000 max-duration=439000000",
                                        "word-timeout=1 max-duration=1", "output=partial interval=180000000" };
  static const guint n_frames[] = { 10 + 5, 10 + 5, 1 + 1, 5 };
  GRand *rand = g_rand_new_with_seed (4);
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (lines); i++) {
    GstClockTime own = (n_frames[i] - 1) * FRAME;
    GstHarness *h = new_ctctext (lines[i]);

    fail_unless_equals_uint64 (gst_harness_query_latency (h), own);
    fail_unless_equals_uint64 (measure_latency (h, "-HlHlHHlolololo-------------------------"), own);
    gst_harness_teardown (h);
    for (j = 0; j < 20; j++) {
      gchar *path = g_strdelimit (random_path (rand, 60), ".", '-');

      h = new_ctctext (lines[i]);
      fail_unless (measure_latency (h, path) <= own);
      gst_harness_teardown (h);
      g_free (path);
    }
  }
  g_rand_free (rand);
}
GST_END_TEST;

GST_START_TEST (test_latency_adds_to_that_of_upstream)
{
  GstHarness *h = new_ctctext ("word-timeout=200000000 max-duration=400000000");
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min;

  upstream_max = GST_CLOCK_TIME_NONE;
  gst_pad_set_query_function (h->srcpad, answer_latency);
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  gst_query_parse_latency (query, NULL, &min, NULL);
  fail_unless_equals_uint64 (min, 10 * GST_MSECOND + 14 * FRAME);
  gst_query_unref (query);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
add_words (TCase *tc)
{
  tcase_add_test (tc, test_words_have_the_times_of_their_frames);
  tcase_add_test (tc, test_words_are_those_of_the_definition);
  tcase_add_test (tc, test_tensors);
  tcase_add_test (tc, test_frames_without_timestamps_count_from_the_begin);
  tcase_add_test (tc, test_texts_without_any_time);
  tcase_add_test (tc, test_separator_stands_behind_words_but_not_inside);
  tcase_add_test (tc, test_blank_can_be_set);
  tcase_add_test (tc, test_partial_results_come_once_per_interval);
  tcase_add_test (tc, test_partial_result_does_not_stand_over_a_hole);
  tcase_add_test (tc, test_time_without_text_is_told_as_gaps);
  tcase_add_test (tc, test_gaps_have_the_seqnum_of_their_segment);
  tcase_add_test (tc, test_gaps_come_with_their_frames);
  tcase_add_test (tc, test_stream_is_sparse_text);
}

static Suite *
ctctext_suite (void)
{
  Suite *suite = suite_create ("ctctext");
  TCase *tc = tcase_create ("texts"), *tc_ends = tcase_create ("ends and errors");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  add_words (tc);
  suite_add_tcase (suite, tc_ends);
  tcase_add_checked_fixture (tc_ends, setup, teardown);
  tcase_add_test (tc_ends, test_nan_counts_as_blank_and_is_said_once);
  tcase_add_test (tc_ends, test_jump_back_ends_the_word);
  tcase_add_test (tc_ends, test_extreme_timestamps);
  tcase_add_test (tc_ends, test_stream_that_ends_gives_its_word);
  tcase_add_test (tc_ends, test_flush_forgets_the_word);
  tcase_add_test (tc_ends, test_seeks_go_forward_in_time);
  tcase_add_test (tc_ends, test_only_time_is_the_same_on_both_sides);
  tcase_add_test (tc_ends, test_frames_of_another_width_are_an_error);
  tcase_add_test (tc_ends, test_buffers_of_another_size_are_an_error);
  tcase_add_test (tc_ends, test_tokens_that_cannot_be_used_are_an_error_at_start);
  tcase_add_test (tc_ends, test_downstream_that_fails_stops_the_stream);
  tcase_add_test (tc_ends, test_latency_is_that_of_the_longest_word);
  tcase_add_test (tc_ends, test_latency_adds_to_that_of_upstream);
  return suite;
}

GST_CHECK_MAIN (ctctext);
