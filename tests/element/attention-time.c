/*
 * The element `attention`: how many frames are absent, by timestamps and GAP events, at rates whose frames are not a
 * whole number of nanoseconds. frameclock.c has hours of it.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include "buscheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define WINDOW 12

/* ---- helpers ---- */

typedef struct {
  gint n, d; /* frames per second */
} Rate;

static const Rate rates[] = {
  { 100, 1 },    { 16000, 1 },    { 22050, 1 },    { 44100, 1 }, { 48000, 1 },
  { 192000, 1 }, { 30000, 1001 }, { 24000, 1001 }, { 1, 3 },     { 1000000007, 10 },
};

/* The time of frame `t`, rounded down, to nearest or up, as different sources do. */
static GstClockTime
time_of (const Rate *rate, guint64 t)
{
  guint64 second = GST_SECOND * (guint64) rate->d;

  switch (t % 3) {
  case 0:
    return gst_util_uint64_scale (t, second, rate->n);
  case 1:
    return gst_util_uint64_scale_round (t, second, rate->n);
  default:
    return gst_util_uint64_scale_ceil (t, second, rate->n);
  }
}

static AttnConfig
configuration (guint look_ahead)
{
  AttnConfig config = attn_config_default ();

  config.n_features = 2;
  config.window = WINDOW;
  config.look_ahead = look_ahead;
  return config;
}

/* `threshold` 0: the default. */
static GstHarness *
start (const Rate *rate, guint look_ahead, GstClockTime threshold)
{
  AttnConfig config = configuration (look_ahead);
  GstHarness *h = subject_harness (&config);
  gchar *caps = g_strdup_printf ("other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                 "dimensions=(string)2:1:1:1, framerate=(fraction)%d/%d",
                                 rate->n, rate->d);

  if (threshold != 0)
    g_object_set (h->element, "alignment-threshold", threshold, NULL);
  gst_harness_set_src_caps_str (h, caps);
  g_free (caps);
  return h;
}

static void
push_frame (GstHarness *h, gfloat value, GstClockTime pts, gboolean is_discont)
{
  gfloat frame[2] = { value, 1 };
  GstBuffer *buffer = gst_buffer_new_memdup (frame, sizeof frame);

  GST_BUFFER_PTS (buffer) = pts;
  if (is_discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
}

/* ---- timestamps ---- */

/* Of one frame, of a few, of more than the window, of hours; and 0: DISCONT without a hole. */
static const guint64 holes[] = { 0, 1, 0, 2, 3, 0, 7, WINDOW, 1000, 999983, 44100 * 3600 * 5, 1, 0, 30, 4 };

GST_START_TEST (test_holes_are_whole_frames_at_any_rate)
{
  const Rate *rate = &rates[__i__];
  GstHarness *h = start (rate, 3, 0);
  guint64 t = 0, n_absent = 0;
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (holes); i++) {
    n_absent += holes[i];
    t += holes[i];
    for (j = 0; j < 10; j++, t++)
      push_frame (h, 1, time_of (rate, t), j == 0);
    fail_unless_equals_uint64 (get_stat (h, "absent-frames"), n_absent);
  }
  fail_unless_equals_uint64 (get_stat (h, "frames"), t);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Most sources never set the flag. */
GST_START_TEST (test_holes_count_without_the_flag_from_the_threshold_on)
{
  static const GstClockTime thresholds[] = { 0 /* the default */, 1, 40 * GST_MSECOND, GST_SECOND, 30 * GST_SECOND };
  const Rate *rate = &rates[__i__];
  GstClockTime threshold;
  guint i, j, k;

  for (k = 0; k < G_N_ELEMENTS (thresholds); k++) {
    GstHarness *h = start (rate, 3, thresholds[k]);
    guint64 t = 0, n_absent = 0;

    threshold = thresholds[k] != 0 ? thresholds[k] : 40 * GST_MSECOND;
    for (i = 0; i < G_N_ELEMENTS (holes); i++) {
      if (holes[i] > 0 && gst_util_uint64_scale (holes[i], GST_SECOND * (guint64) rate->d, rate->n) >= threshold)
        n_absent += holes[i];
      t += holes[i];
      for (j = 0; j < 20; j++, t++)
        push_frame (h, 1, time_of (rate, t), FALSE);
      fail_unless_equals_uint64 (get_stat (h, "absent-frames"), n_absent);
    }
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* Times read from a clock on arrival, of frames that were really sent: a tenth of an hour, one frame in each buffer. */
GST_START_TEST (test_frames_counted_are_frames_sent)
{
  GstHarness *h = start (&rates[0], 3, 0);
  GRand *rand = g_rand_new_with_seed (1);
  guint t;

  gst_harness_set_drop_buffers (h, TRUE);
  for (t = 0; t < 36000; t++)
    push_frame (h, 1, GST_SECOND + t * 10010 * GST_USECOND + g_rand_int_range (rand, 0, 60000000), FALSE);
  fail_unless_equals_uint64 (get_stat (h, "frames"), 36000);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  g_rand_free (rand);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A day and more of frames whose time is rounded, each called DISCONT, never lose one, or a stream. */
GST_START_TEST (test_rounded_times_do_not_drift)
{
  const Rate *rate = &rates[__i__];
  GstHarness *h = start (rate, 0, 0);
  guint64 begin = G_GUINT64_CONSTANT (4000000007), t;
  gint64 next_frame;
  GBytes *state;

  gst_harness_set_drop_buffers (h, TRUE);
  for (t = begin; t < begin + 3000; t++)
    push_frame (h, 1, time_of (rate, t), TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  g_signal_emit_by_name (h->element, "save-state", &state);
  memcpy (&next_frame, (const guint8 *) g_bytes_get_data (state, NULL) + 40, sizeof next_frame);
  fail_unless_equals_int64 (GINT64_FROM_LE (next_frame), 3000); /* one stream */
  g_bytes_unref (state);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Times in frames behind the end of the first ten, and the meaning of a DISCONT there. */
static const struct {
  gdouble time;
  gint n_absent; /* -1: a new stream */
} jumps[] = {
  { -1, -1 },   { -0.26, -1 }, { -0.24, 0 }, { 0, 0 },          { 0.24, 0 },    { 0.26, -1 }, { 0.5, -1 },
  { 0.74, -1 }, { 0.76, 1 },   { 1, 1 },     { 1.24, 1 },       { 1.26, -1 },   { 5.74, -1 }, { 5.76, 6 },
  { 6, 6 },     { 6.24, 6 },   { 6.26, -1 }, { 1000.24, 1000 }, { 1000.3, -1 },
};

GST_START_TEST (test_jumps_are_whole_within_a_quarter_of_a_frame)
{
  static const Rate rate = { 44100, 1 };
  GstHarness *h = start (&rate, 0, 0);
  gdouble frame_time = (gdouble) GST_SECOND / rate.n;
  gfloat out[2];
  GstBuffer *buffer;
  guint t;

  for (t = 0; t < 10; t++)
    push_frame (h, 1, time_of (&rate, t), FALSE);
  drop_buffers (h);
  push_frame (h, -1, (10 + jumps[__i__].time) * frame_time, TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), MAX (jumps[__i__].n_absent, 0));
  buffer = gst_harness_pull (h);
  gst_buffer_extract (buffer, 0, out, sizeof out);
  /* The first frame of a stream sees only itself, and so does one whose window is otherwise empty. */
  fail_unless_equals_int (out[0] == -1, jumps[__i__].n_absent < 0 || jumps[__i__].n_absent >= WINDOW);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The number of messages, and the text of the last one. */
static guint
pop_warnings (GstBus *bus, gchar **text)
{
  gchar *next;
  guint n = 0;

  *text = NULL;
  for (; (next = pop_text (bus, GST_MESSAGE_WARNING)) != NULL; n++) {
    g_free (*text);
    *text = next;
  }
  return n;
}

/*
 * Each is reported once, with the old and the new place of the stream: four kinds of jumps, and a new stream from
 * upstream.
 */
GST_START_TEST (test_jump_that_cannot_be_counted_is_said_once)
{
  static const struct {
    GstClockTimeDiff by;
    gboolean is_discont;
    guint n_streams;
    const gchar *words[3];
  } cases[] = {
    { 455 * GST_MSECOND,
      FALSE,
      1,
      { "0:00:01.455000000", "0:00:01.000000000", "45.50 frames, which is not a whole number" } },
    { 455 * GST_MSECOND,
      TRUE,
      5,
      { "0:00:01.455000000", "0:00:01.000000000", "45.50 frames, which is not a whole number" } },
    { -(GstClockTimeDiff) 500 * GST_MSECOND,
      FALSE,
      1,
      { "0:00:00.500000000", "0:00:01.000000000", "-50.00 frames, which is a jump back" } },
    { -(GstClockTimeDiff) 15 * GST_MSECOND,
      TRUE,
      5,
      { "0:00:00.985000000", "0:00:01.000000000", "-1.50 frames, which is a jump back" } },
  };
  GstHarness *h = start (&rates[0], 0, 0);
  GstBus *bus = attach_bus (h->element);
  GstClockTime pts = 0;
  gint64 next_frame;
  GBytes *state;
  gchar *text;
  guint i, j;

  for (i = 0; i < 5; i++) {
    for (j = 0; j < 100; j++, pts += 10 * GST_MSECOND)
      push_frame (h, 1, pts, j == 0 && cases[__i__].is_discont);
    pts += cases[__i__].by;
  }
  fail_unless_equals_int (pop_warnings (bus, &text), 1);
  for (i = 0; i < 3; i++)
    fail_unless (strstr (text, cases[__i__].words[i]) != NULL, "%s", text);
  g_free (text);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  g_signal_emit_by_name (h->element, "save-state", &state);
  memcpy (&next_frame, (const guint8 *) g_bytes_get_data (state, NULL) + 40, sizeof next_frame);
  fail_unless_equals_int64 (GINT64_FROM_LE (next_frame), 500 / cases[__i__].n_streams);
  g_bytes_unref (state);

  gst_harness_push_event (h, gst_event_new_stream_start ("another"));
  for (i = 0; i < 2; i++, pts += cases[__i__].by)
    for (j = 0; j < 100; j++, pts += 10 * GST_MSECOND)
      push_frame (h, 1, pts, j == 0 && cases[__i__].is_discont);
  fail_unless_equals_int (pop_warnings (bus, &text), 1);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Frames 0-3 and 8-11, in buffers of any size: as if the four in between had been pushed as absent ones. */
GST_START_TEST (test_window_has_room_for_what_was_lost)
{
  const guint size = 1 << __i__;
  GstHarness *h[2];
  GstBuffer *buffer[2];
  AttnConfig config = configuration (0);
  gfloat frames[24];
  guint i, t;

  config.window = 8;
  config.position = ATTN_POSITION_ALIBI;
  for (t = 0; t < 24; t++)
    frames[t] = (t * 7 % 11) / 5.0 - 1;
  for (i = 0; i < 2; i++) {
    h[i] = subject_harness (&config);
    gst_harness_set_src_caps_str (h[i], "audio/x-raw, format=(string)" GST_AUDIO_NE (
                                            F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)2");
    for (t = 0; t < 12; t += size) {
      buffer[i] = gst_buffer_new_memdup (frames + 2 * t, 2 * size * sizeof (gfloat));
      GST_BUFFER_PTS (buffer[i]) = t * 10 * GST_MSECOND;
      if (i == 0 && t >= 4 && t < 8)
        GST_BUFFER_FLAG_SET (buffer[i], GST_BUFFER_FLAG_GAP);
      if (i == 1 && t >= 4 && t < 8)
        gst_buffer_unref (buffer[i]);
      else
        gst_harness_push (h[i], buffer[i]);
    }
  }
  for (t = 0; t < 12; t += size) {
    GstMapInfo map;

    buffer[0] = gst_harness_pull (h[0]);
    if (t < 4 || t >= 8) {
      buffer[1] = gst_harness_pull (h[1]);
      gst_buffer_map (buffer[1], &map, GST_MAP_READ);
      fail_unless (gst_buffer_memcmp (buffer[0], 0, map.data, map.size) == 0, "frame %u", t);
      gst_buffer_unmap (buffer[1], &map);
      gst_buffer_unref (buffer[1]);
    }
    gst_buffer_unref (buffer[0]);
  }
  gst_harness_teardown (h[0]);
  gst_harness_teardown (h[1]);
}
GST_END_TEST;

/*
 * The property frame-rate replaces a rate that the caps do not give; without it nothing is counted, and no stream ends.
 */
GST_START_TEST (test_rate_that_caps_do_not_tell)
{
  static const Rate unknown = { 0, 1 };
  GstHarness *h = start (&unknown, 0, 0);
  guint i;

  for (i = 0; i < 2; i++) {
    if (i == 1) {
      gst_element_set_state (h->element, GST_STATE_READY);
      g_object_set (h->element, "frame-rate", 100, 1, NULL);
      gst_element_set_state (h->element, GST_STATE_PLAYING);
    }
    push_frame (h, 1, 0, TRUE);
    push_frame (h, 1, 70 * GST_MSECOND, FALSE);
    push_frame (h, 1, 120 * GST_MSECOND, TRUE);
    gst_harness_push_event (h, gst_event_new_gap (130 * GST_MSECOND, 20 * GST_MSECOND));
    fail_unless_equals_uint64 (get_stat (h, "absent-frames"), i == 0 ? 0 : 6 + 4 + 2);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Its time does not tell where the frames before it end. */
GST_START_TEST (test_buffer_without_frames_is_no_frame)
{
  AttnConfig config = configuration (0);
  GstHarness *h = subject_harness (&config);
  gfloat frames[4] = { 0 };
  GstBuffer *buffer;

  gst_harness_set_src_caps_str (h, "audio/x-raw, format=(string)" GST_AUDIO_NE (
                                       F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)2");
  push_frame (h, 1, 0, FALSE);
  gst_harness_push (h, gst_buffer_new ());
  buffer = gst_buffer_new_memdup (frames, sizeof frames);
  GST_BUFFER_PTS (buffer) = 40 * GST_MSECOND;
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 3);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- GAP events ---- */

GST_START_TEST (test_short_gaps_add_up)
{
  static const Rate rate = { 30000, 1001 };
  GstHarness *h = start (&rate, 0, 0);
  GstClockTime frame_time = gst_util_uint64_scale_round (1001, GST_SECOND, 30000), time = frame_time;
  guint i;

  push_frame (h, 1, 0, FALSE);
  for (i = 1; i <= 1000; i++, time += frame_time * 3 / 5) { /* 0.6 frames each */
    gst_harness_push_event (h, gst_event_new_gap (time, frame_time * 3 / 5));
    fail_unless_equals_uint64 (get_stat (h, "absent-frames"), (i * 6 + 5) / 10);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_one_gap_is_rounded)
{
  static const struct {
    guint milliseconds, n_frames;
  } gaps[] = { { 0, 0 }, { 4, 0 }, { 6, 1 }, { 14, 1 }, { 16, 2 }, { 1004, 100 }, { 1006, 101 } };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (gaps); i++) {
    GstHarness *h = start (&rates[0], 0, 0);

    push_frame (h, 1, 0, FALSE);
    gst_harness_push_event (h, gst_event_new_gap (10 * GST_MSECOND, gaps[i].milliseconds * GST_MSECOND));
    fail_unless_equals_uint64 (get_stat (h, "absent-frames"), gaps[i].n_frames);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* Two of the four are half a frame, which is rounded up; the others make up for it. */
GST_START_TEST (test_gaps_of_a_quarter_frame_add_up)
{
  static const guint n_absent[] = { 0, 1, 1, 1, 1, 2 };
  GstHarness *h = start (&rates[0], 0, 0);
  guint i;

  push_frame (h, 1, 0, FALSE);
  for (i = 0; i < G_N_ELEMENTS (n_absent); i++) {
    gst_harness_push_event (h, gst_event_new_gap (10 * GST_MSECOND + i * 2500 * GST_USECOND, 2500 * GST_USECOND));
    fail_unless_equals_uint64 (get_stat (h, "absent-frames"), n_absent[i]);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Ten unannounced frames before a GAP event of two: whole to within a quarter of a frame, which still counts. */
GST_START_TEST (test_gap_is_whole_up_to_a_quarter_of_a_frame)
{
  static const struct {
    GstClockTimeDiff off; /* ns */
    guint n_absent;
  } cases[] = {
    { 0, 12 }, { 2500000, 12 }, { -2500000, 12 }, { 2500001, 2 }, { -2500001, 2 },
  };
  GstHarness *h = start (&rates[0], 0, 0);

  push_frame (h, 1, 0, FALSE);
  gst_harness_push_event (h, gst_event_new_gap (110 * GST_MSECOND + cases[__i__].off, 20 * GST_MSECOND));
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), cases[__i__].n_absent);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The remainder of one stream's gaps does not count in the next. */
GST_START_TEST (test_new_stream_has_no_rest)
{
  GstHarness *h = start (&rates[0], 0, 0);
  guint i;

  for (i = 0; i < 3; i++) {
    push_frame (h, 1, 0, FALSE);
    gst_harness_push_event (h, gst_event_new_gap (10 * GST_MSECOND, 4 * GST_MSECOND));
    gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
  }
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_buffer_continues_a_gap)
{
  GstHarness *h = start (&rates[0], 0, 0);

  push_frame (h, 1, 0, FALSE);
  gst_harness_push_event (h, gst_event_new_gap (10 * GST_MSECOND, 50 * GST_MSECOND));
  push_frame (h, 1, 60 * GST_MSECOND, TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 5);
  push_frame (h, 1, 90 * GST_MSECOND, TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 7);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* 5 unannounced frames, and 3 of the gap. */
GST_START_TEST (test_gap_behind_a_hole)
{
  GstHarness *h = start (&rates[0], 0, 0);

  push_frame (h, 1, 0, FALSE);
  gst_harness_push_event (h, gst_event_new_gap (60 * GST_MSECOND, 30 * GST_MSECOND));
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 8);
  push_frame (h, 1, 90 * GST_MSECOND, TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 8);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* After a restore the application counts the missing frames; the next time stamps come from another clock. */
GST_START_TEST (test_gap_before_the_first_buffer_has_its_length_alone)
{
  GstHarness *h = start (&rates[0], 0, 0);
  gint64 next_frame;
  GBytes *state;

  gst_harness_push_event (h, gst_event_new_gap (0, 50 * GST_MSECOND));
  push_frame (h, 1, 13 * GST_MSECOND, TRUE);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 5);
  g_signal_emit_by_name (h->element, "save-state", &state);
  memcpy (&next_frame, (const guint8 *) g_bytes_get_data (state, NULL) + 40, sizeof next_frame);
  fail_unless_equals_int64 (GINT64_FROM_LE (next_frame), 6);
  g_bytes_unref (state);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_gap_of_unknown_length_passes)
{
  GstHarness *h = start (&rates[0], 0, 0);
  GstEvent *event;

  push_frame (h, 1, 0, FALSE);
  while ((event = gst_harness_try_pull_event (h)))
    gst_event_unref (event);
  gst_harness_push_event (h, gst_event_new_gap (10 * GST_MSECOND, GST_CLOCK_TIME_NONE));
  event = gst_harness_try_pull_event (h);
  fail_unless (event != NULL && GST_EVENT_TYPE (event) == GST_EVENT_GAP);
  gst_event_unref (event);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_longest_gaps_are_survived)
{
  GstHarness *h = start (&rates[__i__], 3, 0);
  guint i;

  for (i = 0; i < 3; i++) {
    push_frame (h, 1, i, FALSE);
    gst_harness_push_event (h, gst_event_new_gap (i, G_MAXUINT64 - 1 - i));
    push_frame (h, 1, G_MAXUINT64 - 1 - i, TRUE);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 6);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
attention_time_suite (void)
{
  Suite *suite = suite_create ("attention-time");
  TCase *time = tcase_create ("time");

  suite_add_tcase (suite, time);
  tcase_add_loop_test (time, test_holes_are_whole_frames_at_any_rate, 0, G_N_ELEMENTS (rates));
  tcase_add_loop_test (time, test_holes_count_without_the_flag_from_the_threshold_on, 0, G_N_ELEMENTS (rates));
  tcase_add_test (time, test_frames_counted_are_frames_sent);
  tcase_add_loop_test (time, test_rounded_times_do_not_drift, 0, G_N_ELEMENTS (rates));
  tcase_add_loop_test (time, test_jumps_are_whole_within_a_quarter_of_a_frame, 0, G_N_ELEMENTS (jumps));
  tcase_add_loop_test (time, test_jump_that_cannot_be_counted_is_said_once, 0, 4);
  tcase_add_loop_test (time, test_window_has_room_for_what_was_lost, 0, 3);
  tcase_add_test (time, test_rate_that_caps_do_not_tell);
  tcase_add_test (time, test_buffer_without_frames_is_no_frame);
  tcase_add_test (time, test_short_gaps_add_up);
  tcase_add_test (time, test_one_gap_is_rounded);
  tcase_add_test (time, test_gaps_of_a_quarter_frame_add_up);
  tcase_add_loop_test (time, test_gap_is_whole_up_to_a_quarter_of_a_frame, 0, 5);
  tcase_add_test (time, test_new_stream_has_no_rest);
  tcase_add_test (time, test_buffer_continues_a_gap);
  tcase_add_test (time, test_gap_behind_a_hole);
  tcase_add_test (time, test_gap_before_the_first_buffer_has_its_length_alone);
  tcase_add_test (time, test_gap_of_unknown_length_passes);
  tcase_add_loop_test (time, test_longest_gaps_are_survived, 0, G_N_ELEMENTS (rates));
  return suite;
}

GST_CHECK_MAIN (attention_time);
