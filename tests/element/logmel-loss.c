/*
 * gst-attention: tests of the element logmel: lost audio, and audio that only looks lost by its flags and times.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "logmelcheck.h"

#include <math.h>

#define N_SAMPLES (3 * RATE)
#define SAMPLE_TIME(i) ((i) *GST_SECOND / RATE)

/* --- outputs --- */

/* Frames by their number, NaN where none came, from buffers whose times must be those of their numbers. */
static gfloat *
pull_by_number (GstHarness *h, guint n_frames, guint *n_disconts)
{
  gfloat *frames = g_new (gfloat, n_frames * N_BINS);
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < n_frames * N_BINS; i++)
    frames[i] = NAN;
  *n_disconts = 0;
  while ((buffer = gst_harness_try_pull (h))) {
    guint number = GST_BUFFER_OFFSET (buffer), end = GST_BUFFER_OFFSET_END (buffer);

    fail_unless (number < end && end <= n_frames, "%u to %u of %u", number, end, n_frames);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), GST_SECOND + number * 10 * GST_MSECOND);
    fail_unless_equals_uint64 (gst_buffer_extract (buffer, 0, frames + number * N_BINS, -1),
                               (end - number) * N_BINS * sizeof (gfloat));
    *n_disconts += GST_BUFFER_IS_DISCONT (buffer);
    gst_buffer_unref (buffer);
  }
  return frames;
}

/* Whether the frame holds one of the samples first ... end - 1 or, if there are none, reaches across their place. */
static gboolean
is_hit (guint frame, const gchar *style, guint first, guint end)
{
  guint begin = frame * HOP + HALF_FRAME - (strcmp (style, "style=kaldi") == 0 ? 0 : HALF_FRAME);

  end += strcmp (style, "style=nemo") == 0; /* the preemphasis of its first sample needs the one before */
  first += HALF_FRAME;                      /* both, so that nothing is below 0 */
  end += HALF_FRAME;
  return begin < end && begin + 2 * HALF_FRAME > first;
}

/* --- loss --- */

typedef struct {
  guint chunk, first, n; /* samples per buffer; the lost ones */
  GstBufferFlags flags;  /* of the buffer behind them */
  gboolean is_gap;       /* a GAP event announces it */
} Loss;

static const Loss losses[] = {
  { 256, 25600, 1024, 0 }, /* 64 ms of buffers of 16 ms, which is not a whole number of hops */
  { 256, 25600, 1024, GST_BUFFER_FLAG_DISCONT },
  { 256, 25600, 1024, 0, TRUE },
  { 160, 16000, 208, GST_BUFFER_FLAG_DISCONT }, /* 13 ms */
  { 160, 16000, 208, 0, TRUE },
  { 160, 16000, 280, GST_BUFFER_FLAG_DISCONT }, /* the first sample behind it is the first of a centred frame */
  { 1024, 20480, 208, GST_BUFFER_FLAG_DISCONT },
  { 1024, 20480, 3 * 1024, 0 },
  { 1024, 20480, 640, 0 },                   /* 40 ms: from here on without the flag */
  { 48, 9600, 16, GST_BUFFER_FLAG_DISCONT }, /* 1 ms: from here on with it */
  { 48, 9600, 24000, 0 },
  { 333, 9990, 1, 0, TRUE },
  { 7, 21000, 700, GST_BUFFER_FLAG_DISCONT },
};

/* The frames of the whole audio, without those that would hold a missing sample, or samples on both sides of it. */
GST_START_TEST (test_frames_beside_a_loss_are_those_of_the_whole_audio)
{
  const Loss *loss = &losses[__i__ / G_N_ELEMENTS (styles)];
  const gchar *style = styles[__i__ % G_N_ELEMENTS (styles)];
  Fixture whole = fixture_new_s16 (style), fixture = fixture_new_s16 (style);
  const guint n_frames = N_SAMPLES / HOP, end = loss->first + loss->n;
  gint16 *samples = make_noise (N_SAMPLES);
  gfloat *expected, *got;
  guint i, n, n_disconts, n_absent = 0;

  for (i = 0; i < N_SAMPLES; i += n) {
    n = MIN (loss->chunk, (i < loss->first ? loss->first : i < end ? end : N_SAMPLES) - i);
    push_s16 (&whole, samples + i, n, GST_SECOND + SAMPLE_TIME (i));
    if (i < loss->first || i >= end)
      push_bytes (&fixture, samples + i, n * 2, GST_SECOND + SAMPLE_TIME (i), i == end ? loss->flags : 0);
    else if (i == loss->first && loss->is_gap)
      gst_harness_push_event (fixture.h, gst_event_new_gap (GST_SECOND + SAMPLE_TIME (i), SAMPLE_TIME (loss->n)));
  }
  push_eos (&whole);
  push_eos (&fixture);
  expected = pull_by_number (whole.h, n_frames, &n_disconts);
  got = pull_by_number (fixture.h, n_frames, &n_disconts);
  fail_unless_equals_int (n_disconts, 2);
  for (i = 0; i < n_frames; i++) {
    gboolean is_absent = isnan (got[i * N_BINS]);

    if (!isnan (expected[i * N_BINS]))
      fail_unless_equals_int (is_absent, is_hit (i, style, loss->first, end));
    fail_unless (is_absent || memcmp (got + i * N_BINS, expected + i * N_BINS, N_BINS * sizeof (gfloat)) == 0,
                 "frame %u", i);
    n_absent += is_absent;
  }
  fail_unless (n_absent >= 2);
  g_free (expected);
  g_free (got);
  g_free (samples);
  fixture_free (&whole);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Not every transport carries these flags. */
static GstPadProbeReturn
drop_gaps (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_GAP ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

/* As many frames as without the loss, the impossible ones absent, whether GAP events are lost on the way or not. */
GST_START_TEST (test_attention_counts_what_is_absent)
{
  const Loss *loss = &losses[__i__ / 2];
  GstHarness *h = gst_harness_new_parse ("logmel ! attention window=100");
  GstElement *attention = gst_harness_find_element (h, "attention");
  GstPad *pad = gst_element_get_static_pad (attention, "sink");
  gint16 *samples = make_noise (N_SAMPLES);
  const guint end = loss->first + loss->n;
  guint i, n;

  if (__i__ % 2)
    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, drop_gaps, NULL, NULL);
  gst_harness_set_src_caps (h, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  for (i = 0; i < N_SAMPLES; i += n) {
    GstBuffer *buffer;

    n = MIN (loss->chunk, (i < loss->first ? loss->first : i < end ? end : N_SAMPLES) - i);
    if (i == loss->first && loss->is_gap)
      gst_harness_push_event (h, gst_event_new_gap (GST_SECOND + SAMPLE_TIME (i), SAMPLE_TIME (loss->n)));
    if (i >= loss->first && i < end)
      continue;
    buffer = gst_buffer_new_memdup (samples + i, n * 2);
    GST_BUFFER_PTS (buffer) = GST_SECOND + SAMPLE_TIME (i);
    GST_BUFFER_FLAG_SET (buffer, i == end ? loss->flags : 0);
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  fail_unless_equals_uint64 (get_stat (h, "frames"), 1 + (N_SAMPLES - 400) / HOP);
  for (i = n = 0; i < 1 + (N_SAMPLES - 400) / HOP; i++)
    n += is_hit (i, styles[0], loss->first, end);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), n);
  gst_object_unref (pad);
  gst_object_unref (attention);
  g_free (samples);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* 0.6 samples each: 1000 of them are 600 samples, which no frame holds. */
GST_START_TEST (test_short_gaps_add_up)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (1600);
  guint i;

  push_s16 (&fixture, samples, 1600, 0);
  drop_buffers (fixture.h);
  for (i = 0; i < 1000; i++)
    gst_harness_push_event (fixture.h, gst_event_new_gap (100 * GST_MSECOND + i * 37500, 37500));
  push_s16 (&fixture, samples, 600, 137500 * GST_USECOND);
  fail_unless_buffer (&fixture, 140 * GST_MSECOND, 20 * GST_MSECOND, 14, 16, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- nothing is lost --- */

typedef struct {
  guint chunk;
  gint ppm;
  guint flag_every; /* buffers; 0: never */
  guint rounded;    /* times, to ms */
  gint rate;
} Whole;

static const Whole wholes[] = {
  { 320, 0, 1, 0, 16000 },      { 320, 0, 5, 0, 16000 },    { 1024, 0, 1, 0, 16000 },    { 1024, 0, 1, 1, 44100 },
  { 1024, 0, 0, 1, 44100 },     { 160, 2000, 0, 0, 16000 }, { 160, -2000, 0, 0, 16000 }, { 1024, 2000, 0, 0, 44100 },
  { 1024, -2000, 0, 0, 44100 }, { 320, 2000, 7, 0, 16000 }, { 320, -2000, 7, 0, 16000 }, { 8000, 2000, 0, 0, 16000 },
};

static guint
push_whole (GstHarness *h, const Whole *c, const gint16 *samples, guint n_samples)
{
  GstClockTime unit = c->rounded ? GST_MSECOND : 1;
  guint i;

  for (i = 0; i + c->chunk <= n_samples; i += c->chunk) {
    GstBuffer *buffer = gst_buffer_new_memdup (samples + i, c->chunk * 2);

    GST_BUFFER_PTS (buffer) = (GST_SECOND + i * (1e9 + c->ppm * 1e3) / c->rate) / unit + 0.5;
    GST_BUFFER_PTS (buffer) *= unit;
    if (c->flag_every && i / c->chunk % c->flag_every == 0)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  return 1 + (i - c->rate / 40) / (c->rate / 100);
}

/* Every frame leaves, and its time is that of its audio, to 10 ms where the clock drifts. */
GST_START_TEST (test_flags_and_drift_lose_nothing)
{
  const Whole *c = &wholes[__i__];
  Fixture fixture = fixture_new_started ("bins=4", GST_AUDIO_NE (S16), c->rate);
  guint n_samples = 30 * c->rate, n_expected, n_frames = 0;
  gint16 *samples = make_noise (n_samples);
  GstBuffer *buffer;

  n_expected = push_whole (fixture.h, c, samples, n_samples);
  while ((buffer = gst_harness_try_pull (fixture.h))) {
    gdouble time = 1e9 + n_frames * 1e7 * (1 + c->ppm / 1e6);

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n_frames);
    fail_unless (GST_BUFFER_IS_DISCONT (buffer) == (n_frames == 0) || c->flag_every);
    fail_unless (ABS (GST_BUFFER_PTS (buffer) - time) < (c->ppm ? 10e6 : 1.5), "frame %u at %f ms is %f ms late",
                 n_frames, time / 1e6, (GST_BUFFER_PTS (buffer) - time) / 1e6);
    n_frames = GST_BUFFER_OFFSET_END (buffer);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_int (n_frames, n_expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/*
 * One stream from the first frame to the last: its state counts all frames that have come, and none of them is absent.
 */
GST_START_TEST (test_flags_and_drift_end_nothing)
{
  const Whole *c = &wholes[__i__];
  GstHarness *h = gst_harness_new_parse ("logmel bins=4 ! attention window=100");
  GstElement *attention = gst_harness_find_element (h, "attention");
  guint n_samples = 30 * c->rate, n_expected;
  gint16 *samples = make_noise (n_samples);
  gint64 next_frame;
  GBytes *state;

  gst_harness_set_src_caps (h, audio_caps (GST_AUDIO_NE (S16), c->rate, 1));
  n_expected = push_whole (h, c, samples, n_samples);
  fail_unless_equals_uint64 (get_stat (h, "frames"), n_expected);
  fail_unless_equals_uint64 (get_stat (h, "absent-frames"), 0);
  g_signal_emit_by_name (attention, "save-state", &state);
  memcpy (&next_frame, (const guint8 *) g_bytes_get_data (state, NULL) + 40, sizeof next_frame);
  fail_unless_equals_int64 (GINT64_FROM_LE (next_frame), n_expected);
  g_bytes_unref (state);
  gst_object_unref (attention);
  g_free (samples);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* As from a source that was paused: no frame reaches across, and the others stay in their place. */
GST_START_TEST (test_discont_a_little_back_keeps_the_frames_where_they_are)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (1600);

  push_s16 (&fixture, samples, 800, GST_SECOND);
  drop_buffers (fixture.h);
  push_bytes (&fixture, samples, 1120, GST_SECOND + 43 * GST_MSECOND, GST_BUFFER_FLAG_DISCONT);
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture.h), 1);
  {
    GstBuffer *buffer = gst_harness_pull (fixture.h);

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), 5);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), 7);
    fail_unless (GST_BUFFER_IS_DISCONT (buffer));
    gst_buffer_unref (buffer);
  }
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Frame 3 is whole with sample 2120, but waits, as all do, to be known not to be the last one. */
GST_START_TEST (test_whole_frame_that_waits_leaves_before_a_loss)
{
  const gchar *style = "style=whisper hop-length=40";
  Fixture fixture = fixture_new_s16 (style);
  gint16 *samples = make_noise (4000);
  GArray *expected = run_s16 (style, samples, 4000), *got;

  push_s16 (&fixture, samples, 2220, GST_SECOND);
  gst_harness_push_event (fixture.h, gst_event_new_gap (GST_SECOND + SAMPLE_TIME (2220), GST_SECOND));
  got = pull_frames (&fixture);
  fail_unless_equals_int (got->len, 4 * N_BINS);
  fail_unless (memcmp (got->data, expected->data, got->len * sizeof (gfloat)) == 0);
  g_array_unref (got);
  g_array_unref (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Frame 3 began 20 ms before the buffer that is now at 0. */
GST_START_TEST (test_time_that_was_put_back_to_the_beginning_is_not_below_it)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 800, 5 * GST_SECOND);
  drop_buffers (fixture.h);
  push_s16 (&fixture, samples, 160, 0);
  fail_unless_buffer (&fixture, 0, 10 * GST_MSECOND, 3, 4, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* A jump back by a second: the frames go on at the new times, and one message reports it. */
GST_START_TEST (test_jump_back_without_discont_goes_on_with_a_warning)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (1600);
  gchar *text;
  guint i;

  push_s16 (&fixture, samples, 800, 5 * GST_SECOND);
  drop_buffers (fixture.h);
  push_s16 (&fixture, samples, 160, 4 * GST_SECOND + 50 * GST_MSECOND);
  fail_unless_buffer (&fixture, 4 * GST_SECOND + 30 * GST_MSECOND, 10 * GST_MSECOND, 3, 4, FALSE);
  for (i = 0; i < 3; i++)
    push_s16 (&fixture, samples, 160, 0);
  text = pop_text (fixture.bus, GST_MESSAGE_WARNING);
  fail_unless (text != NULL && strstr (text, "0:00:04.050000000") && strstr (text, "0:00:05.050000000"), "%s", text);
  fail_unless (pop_text (fixture.bus, GST_MESSAGE_WARNING) == NULL);
  g_free (text);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_jump_back_is_said_again_of_another_stream)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);
  guint i, j;

  for (i = 0; i < 2; i++) {
    for (j = 0; j < 3; j++)
      push_s16 (&fixture, samples, 800, (5 - j) * GST_SECOND);
    check_text (pop_text (fixture.bus, GST_MESSAGE_WARNING), "a jump back");
    check_text (pop_text (fixture.bus, GST_MESSAGE_WARNING), NULL);
    gst_harness_push_event (fixture.h, gst_event_new_stream_start ("another"));
    push_segment (fixture.h, 0);
  }
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
logmel_loss_suite (void)
{
  Suite *suite = suite_create ("logmel-loss");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_frames_beside_a_loss_are_those_of_the_whole_audio, 0,
                       G_N_ELEMENTS (styles) * G_N_ELEMENTS (losses));
  tcase_add_loop_test (tc, test_attention_counts_what_is_absent, 0, 2 * G_N_ELEMENTS (losses));
  tcase_add_test (tc, test_short_gaps_add_up);
  tcase_add_loop_test (tc, test_flags_and_drift_lose_nothing, 0, G_N_ELEMENTS (wholes));
  tcase_add_loop_test (tc, test_flags_and_drift_end_nothing, 0, G_N_ELEMENTS (wholes));
  tcase_add_test (tc, test_discont_a_little_back_keeps_the_frames_where_they_are);
  tcase_add_test (tc, test_whole_frame_that_waits_leaves_before_a_loss);
  tcase_add_test (tc, test_time_that_was_put_back_to_the_beginning_is_not_below_it);
  tcase_add_test (tc, test_jump_back_is_said_again_of_another_stream);
  tcase_add_test (tc, test_jump_back_without_discont_goes_on_with_a_warning);
  return suite;
}

GST_CHECK_MAIN (logmel_loss);
