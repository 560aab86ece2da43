/*
 * gst-attention: tests of the element spectralgain: which gains belong to which samples, and when they leave.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "spectralgaincheck.h"

#define N_SAMPLES (40 * HOP + 17)
#define N_FRAMES 38 /* those of logmel that lie in these samples */

/* ---- gains that change ---- */

static gdouble
zigzag (guint i)
{
  return (i * 7 % 11) / 10.0;
}

static gdouble
zigzag_at (gdouble centre)
{
  return interpolate (zigzag, N_FRAMES, centre);
}

static gdouble
step (guint i)
{
  return i < 20 ? 1 : 0;
}

static void
check_zigzag (Fixture *fixture, const gfloat *samples)
{
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, zigzag_at);

  push_eos (fixture);
  check_output (fixture, expected, N_SAMPLES);
  fail_unless_no_error (fixture);
  g_free (expected);
  fixture_free (fixture);
}

/* The gains come behind all of the audio, in front of all of it, and frame by frame, some frames late. */
GST_START_TEST (test_gains_belong_to_their_samples_however_late_they_come)
{
  gfloat *samples = make_noise (N_SAMPLES);
  Fixture late = fixture_new_f32 (""), early = fixture_new_f32 ("");
  gint delay, i;

  push_in_chunks (&late, samples, N_SAMPLES, 1000);
  push_gains (&late, 0, N_FRAMES, zigzag);
  check_zigzag (&late, samples);
  push_gains (&early, 0, N_FRAMES, zigzag);
  push_in_chunks (&early, samples, N_SAMPLES, 1000);
  check_zigzag (&early, samples);

  for (delay = -3; delay <= 30; delay += 11) {
    Fixture fixture = fixture_new_f32 ("");

    for (i = -3; i < 80; i++) {
      if (i >= 0 && i * HOP < N_SAMPLES)
        push_f32 (&fixture, samples, i * HOP, MIN (HOP, N_SAMPLES - i * HOP));
      if (i - delay >= 0 && i - delay < N_FRAMES)
        push_gains (&fixture, i - delay, i - delay + 1, zigzag);
    }
    check_zigzag (&fixture, samples);
  }
  g_free (samples);
}
GST_END_TEST;

/* The same bits, however the audio is cut into buffers. */
GST_START_TEST (test_samples_do_not_depend_on_buffers)
{
  static const gsize chunks[] = { 1, 7, 160, 161, 399, 401, 4096 };
  gfloat *samples = make_noise (N_SAMPLES);
  GByteArray *expected = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (chunks); i++) {
    Fixture fixture = fixture_new_f32 ("");
    GByteArray *bytes;

    push_gains (&fixture, 0, N_FRAMES, zigzag);
    push_in_chunks (&fixture, samples, N_SAMPLES, chunks[i]);
    push_eos (&fixture);
    bytes = pull_audio (&fixture);
    if (expected == NULL)
      expected = g_byte_array_ref (bytes);
    fail_unless_equals_int (bytes->len, expected->len);
    fail_unless (memcmp (bytes->data, expected->data, bytes->len) == 0, "%" G_GSIZE_FORMAT " samples", chunks[i]);
    g_byte_array_unref (bytes);
    fixture_free (&fixture);
  }
  g_byte_array_unref (expected);
  g_free (samples);
}
GST_END_TEST;

/* Frame 19, the last with a gain of 1, has its centre at sample 3240; frame 20 at 3400. */
GST_START_TEST (test_a_step_appears_within_a_hop_of_its_time)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = g_new (gfloat, N_SAMPLES);
  GByteArray *bytes;
  const gfloat *got;
  guint i;

  for (i = 0; i < N_SAMPLES; i++)
    samples[i] = 1;
  push_in_chunks (&fixture, samples, N_SAMPLES, 512);
  push_gains (&fixture, 0, N_FRAMES, step);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  got = (const gfloat *) bytes->data;
  for (i = 0; i < 5000 && got[i] >= 0.5f; i++)
    ;
  fail_unless (i > 3240 && i < 3400, "half of the step is at sample %u", i);
  fail_unless (got[3240 - HOP] > 0.85f && got[3400 + HOP] < 0.15f);
  fail_unless (got[3040 - 1] > 0.999999f && got[3600] < 2e-6f); /* where no frame of the other side reaches */
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* A frame of gains every 40 ms, frames of audio every 10: straight lines between the centres. */
static gdouble
slow_at (gdouble centre)
{
  gdouble at = (centre - FRAME / 2.0) / (4 * HOP), part = at - floor (at);
  gint i = (gint) floor (at);
  gdouble a = i >= 0 && i < 10 ? zigzag (i) : 1, b = i + 1 >= 0 && i + 1 < 10 ? zigzag (i + 1) : 1;

  return a + part * (b - a);
}

GST_START_TEST (test_gains_are_interpolated_between_frames)
{
  Fixture fixture = fixture_new ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, slow_at);
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS, 25, 1, ""));
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  for (i = 0; i < 10; i++)
    push_even_gains (&fixture, N_BINS, (gfloat) zigzag (i), 4 * i * HOP_TIME);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* From frame 5 on there are other bands: if two neighbours cannot be mixed, the nearer one counts. */
static gdouble
other_at (gdouble centre)
{
  gdouble at = (centre - FRAME / 2.0) / (4 * HOP);

  if (at <= 0 || at >= 9) /* the last frame has a gain of 1, as all behind it */
    return at <= -1 || at >= 9 ? 1 : 1 + (at + 1) * (0.25 - 1);
  return at < 4.5 ? 0.25 : 1;
}

GST_START_TEST (test_bands_change_between_two_frames)
{
  Fixture fixture = fixture_new ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, other_at);
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS, 25, 1, ""));
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  for (i = 0; i < 5; i++)
    push_even_gains (&fixture, N_BINS, 0.25f, 4 * i * HOP_TIME);
  push_caps (fixture.gains, "audio/x-raw, format=(string)" GST_AUDIO_NE (
                                F32) ", layout=(string)interleaved, rate=(int)25, "
                                     "channels=(int)10, channel-mask=(bitmask)0, bins=(int)10");
  for (; i < 10; i++)
    push_even_gains (&fixture, 10, 1, 4 * i * HOP_TIME);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Whisper's timestamps are centres: all is half a frame earlier. */
static gdouble
whisper_at (gdouble centre)
{
  return interpolate (zigzag, N_FRAMES, centre + FRAME / 2.0);
}

GST_START_TEST (test_timestamps_of_whisper_and_nemo_are_centres)
{
  const gchar *styles[] = { ", style=(string)whisper", ", style=(string)nemo" };
  Fixture fixture = fixture_new ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, whisper_at);

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, styles[__i__]));
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_gains (&fixture, 0, N_FRAMES, zigzag);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The segments of the pads begin at different times: both share only the running time. */
GST_START_TEST (test_running_time_is_what_both_pads_share)
{
  const GstClockTime offset = 3600 * GST_SECOND, gains_offset = 1234567;
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, zigzag_at);
  guint i;

  push_segment_from (fixture.audio, offset);
  push_bytes (fixture.audio, samples, N_SAMPLES * sizeof *samples, offset, 0);
  push_segment_from (fixture.gains, gains_offset);
  for (i = 0; i < N_FRAMES; i++)
    push_even_gains (&fixture, N_BINS, (gfloat) zigzag (i), gains_offset + i * HOP_TIME);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  fail_unless_equals_uint64 (fixture.first_pts, offset);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* All running times shrink together, those of hops and centres too: the samples are those of the ordinary rate. */
GST_START_TEST (test_a_stream_that_plays_faster_has_the_same_samples)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, zigzag_at);

  push_segment_at (fixture.audio, 0, 2);
  push_segment_at (fixture.gains, 0, 2);
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_gains (&fixture, 0, N_FRAMES, zigzag);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* A third of a hop later: less than half, so that these take the place of the others. */
GST_START_TEST (test_gains_for_almost_the_same_time_are_replaced_by_the_last)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  GByteArray *bytes;
  guint i;

  for (i = 0; i < N_FRAMES; i++) {
    push_even_gains (&fixture, N_BINS, 0.25f, i * HOP_TIME);
    push_even_gains (&fixture, N_BINS, 0.75f, i * HOP_TIME + HOP_TIME / 3);
  }
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  for (i = 4 * FRAME; i < N_SAMPLES - 4 * FRAME; i++)
    fail_unless (fabs (((gfloat *) bytes->data)[i] - 0.75 * samples[i]) <= TOLERANCE, "sample %u", i);
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- missing frames ---- */

static gdouble
half (guint i)
{
  return 0.5;
}

/* Frames 10 to 19 are absent: there all is 1, and so it is behind the last frame, 29. */
static gdouble
gap_at (gdouble centre)
{
  gdouble at = (centre - FRAME / 2.0) / HOP, part = at - floor (at);
  gint i = (gint) floor (at);
  gdouble a = (i >= 0 && i < 10) || (i >= 20 && i < 30) ? 0.5 : 1;
  gdouble b = (i + 1 >= 0 && i + 1 < 10) || (i + 1 >= 20 && i + 1 < 30) ? 0.5 : 1;

  return a + part * (b - a);
}

typedef enum { GAP_EVENT, GAP_BUFFER, JUMP } Absence;

GST_START_TEST (test_absent_gains_are_1)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *expected = scale_frames (samples, N_SAMPLES, FRAME, HOP, 0, gap_at);
  gfloat *zeros = g_new0 (gfloat, 10 * N_BINS);

  push_f32 (&fixture, samples, 0, N_SAMPLES / 2);
  push_gains (&fixture, 0, 10, half);
  if (__i__ == GAP_EVENT)
    gst_harness_push_event (fixture.gains, gst_event_new_gap (10 * HOP_TIME, 10 * HOP_TIME));
  else if (__i__ == GAP_BUFFER)
    for (guint i = 10; i < 20; i++)
      push_bytes (fixture.gains, zeros, N_BINS * sizeof *zeros, i * HOP_TIME, GST_BUFFER_FLAG_GAP);
  push_gains (&fixture, 20, 30, half);
  push_f32 (&fixture, samples, N_SAMPLES / 2, N_SAMPLES - N_SAMPLES / 2);
  push_eos (&fixture);
  check_output (&fixture, expected, N_SAMPLES);
  g_free (zeros);
  g_free (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The gap lets the audio go on before gains come behind it. */
GST_START_TEST (test_a_gap_of_gains_is_not_waited_for)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  GByteArray *bytes;

  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_gains (&fixture, 0, 10, half);
  gst_harness_push_event (fixture.gains, gst_event_new_gap (10 * HOP_TIME, 10 * HOP_TIME));
  bytes = pull_audio (&fixture);
  fail_unless_equals_int (bytes->len, 20 * HOP * sizeof *samples); /* up to frame 20, which needs gains */
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

#define N_BEFORE (20 * HOP)
#define N_LOST (10 * HOP + 17)

static gdouble
before_at (gdouble centre)
{
  return interpolate (zigzag, 60, centre);
}

static gdouble
behind_at (gdouble centre)
{
  return interpolate (zigzag, 60, centre + N_BEFORE + N_LOST);
}

/*
 * 10 frames and 17 samples of the audio are lost. Each part comes out as if it stood alone, and the frames behind the
 * hole stand where they would be without it.
 */
static void
check_hole (gboolean by_event, GstBufferFlags flags)
{
  const gint begin = N_BEFORE + N_LOST, n_behind = N_SAMPLES - begin;
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  gdouble *before = scale_frames (samples, N_BEFORE, FRAME, HOP, 0, before_at);
  gdouble *behind = scale_frames (samples + begin, n_behind, FRAME, HOP, -17, behind_at);
  GstEvent *event;

  push_f32 (&fixture, samples, 0, N_BEFORE);
  if (by_event)
    gst_harness_push_event (fixture.audio,
                            gst_event_new_gap (time_of (&fixture, N_BEFORE), time_of (&fixture, N_LOST)));
  push_bytes (fixture.audio, samples + begin, n_behind * sizeof *samples, time_of (&fixture, begin), flags);
  push_gains (&fixture, 0, 60, zigzag);
  push_eos (&fixture);

  check_output (&fixture, before, N_BEFORE);
  check_output (&fixture, behind, n_behind);
  fail_unless_equals_uint64 (fixture.first_pts, time_of (&fixture, begin));
  while ((event = gst_harness_try_pull_event (fixture.audio)) && GST_EVENT_TYPE (event) != GST_EVENT_GAP)
    gst_event_unref (event);
  fail_unless_equals_int (event != NULL, by_event);
  gst_clear_event (&event);
  g_free (before);
  g_free (behind);
  g_free (samples);
  fixture_free (&fixture);
}

GST_START_TEST (test_lost_audio_leaves_a_hole)
{
  check_hole (TRUE, 0);
  check_hole (FALSE, GST_BUFFER_FLAG_DISCONT);
  check_hole (FALSE, 0); /* a jump of 100 ms */
}
GST_END_TEST;

/* The flag alone, and jitter, change nothing. */
GST_START_TEST (test_jitter_of_audio_loses_nothing)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  GByteArray *bytes;
  guint i;

  fixture.jitter = 2 * GST_MSECOND;
  for (i = 0; i < 40; i++)
    push_bytes (fixture.audio, samples + i * HOP, HOP * sizeof *samples, i * HOP_TIME + (i % 3) * GST_MSECOND,
                i == 5 ? GST_BUFFER_FLAG_DISCONT : 0);
  push_eos (&fixture);
  bytes = pull_audio (&fixture);
  fail_unless_equals_int (bytes->len, 40 * HOP * sizeof *samples);
  for (i = 0; i < 40 * HOP; i++)
    fail_unless (fabs (((gfloat *) bytes->data)[i] - samples[i]) <= TOLERANCE, "sample %u", i);
  g_byte_array_unref (bytes);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- latency ---- */

/* The reported latency if each side has a latency of its own; 0 for a side: it is not live. */
static GstClockTime
latency_of (Fixture *fixture, GstClockTime audio, GstClockTime gains)
{
  if (audio > 0)
    gst_harness_set_upstream_latency (fixture->audio, audio);
  if (gains > 0)
    gst_harness_set_upstream_latency (fixture->gains, gains);
  return gst_harness_query_latency (fixture->audio);
}

/*
 * One sample per buffer. A buffer comes, and leaves, at the time of its end. A source of such buffers reports one
 * sample, which is not part of this element's latency.
 */
GST_START_TEST (test_latency_of_audio_is_what_is_reported)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (3000);
  GstClockTime longest = 0;
  GstBuffer *buffer;
  guint i;

  push_gains (&fixture, 0, 30, half);
  for (i = 0; i < 3000; i++) {
    push_f32 (&fixture, samples, i, 1);
    while ((buffer = gst_harness_try_pull (fixture.audio)) != NULL) {
      longest = MAX (longest, time_of (&fixture, i) - GST_BUFFER_PTS (buffer));
      gst_buffer_unref (buffer);
    }
  }
  fail_unless_equals_uint64 (longest, time_of (&fixture, FRAME - 1));
  fail_unless_equals_uint64 (latency_of (&fixture, 1, 0), 1 + longest);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

typedef struct {
  const gchar *properties;
  gint rate, rate_n, rate_d;
  guint gain_hop;     /* samples */
  const gchar *bands; /* in the caps of the gains */
} LatencyCase;

/*
 * In the last two, frames of both sides have the same centre: exactly, although fmod (0.05, 0.01) is not 0,
 * and within a quarter of a sample.
 */
static const LatencyCase latency_cases[] = {
  { "", 16000, 100, 1, 160, "" },
  { "", 44100, 100, 1, 441, "" },
  { "hop-length=40", 16000, 25, 1, 640, "" },
  { "hop-length=20", 16000, 50, 1, 320, "" },
  { "style=whisper", 16000, 100, 1, 160, "" },
  { "frame-length=32", 16000, 100, 1, 160, "" },
  { "style=whisper frame-length=100", 16000, 100, 1, 160, "" },
  { "frame-length=15 hop-length=20", 44100, 50, 1, 882, ", sample-rate=(int)16000" },
};

/*
 * All audio is there, frames of gains come one by one; samples that leave with frame i had to wait for its timestamp.
 */
GST_START_TEST (test_latency_of_gains_is_what_is_reported)
{
  const LatencyCase *c = &latency_cases[__i__];
  Fixture fixture = fixture_new (c->properties);
  gsize n = c->rate;
  gfloat *samples = make_noise (n);
  GstClockTimeDiff longest = -G_MAXINT64, own;
  const GstClockTime branch = GST_SECOND;
  const GstClockTimeDiff tolerance = 2;
  GstBuffer *buffer;
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), c->rate, 1);
  fail_unless (start_gains (&fixture, N_BINS, c->rate_n, c->rate_d, c->bands));
  push_f32 (&fixture, samples, 0, n);
  for (i = 0; (i + 4) * c->gain_hop < n; i++) {
    GstClockTime pts = time_of (&fixture, i * c->gain_hop);

    push_even_gains (&fixture, N_BINS, 0.5f, pts);
    while ((buffer = gst_harness_try_pull (fixture.audio)) != NULL) {
      longest = MAX (longest, GST_CLOCK_DIFF (GST_BUFFER_PTS (buffer), pts));
      gst_buffer_unref (buffer);
    }
  }
  own = latency_of (&fixture, 0, branch) - branch;
  fail_unless (ABS (own - longest) <= tolerance, "reported %" G_GINT64_FORMAT " ns, measured %" G_GINT64_FORMAT, own,
               longest);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_latency_is_that_of_the_slower_side)
{
  Fixture fixture = fixture_new_f32 ("");
  const GstClockTime own = time_of (&fixture, FRAME - 1);

  fail_unless_equals_uint64 (latency_of (&fixture, 20 * GST_MSECOND, 35 * GST_MSECOND), 20 * GST_MSECOND + own);
  fail_unless_equals_uint64 (latency_of (&fixture, 20 * GST_MSECOND, 85 * GST_MSECOND), 85 * GST_MSECOND);
  fixture_free (&fixture);
}
GST_END_TEST;

/* A latency that was reported to the pipeline holds until a message announces another. */
GST_START_TEST (test_a_new_latency_is_announced)
{
  Fixture fixture = fixture_new_f32 ("");
  GstMessage *message = pop_message (fixture.bus, GST_MESSAGE_LATENCY);

  fail_unless (message != NULL);
  gst_message_unref (message);
  while ((message = pop_message (fixture.bus, GST_MESSAGE_LATENCY)) != NULL)
    gst_message_unref (message);
  push_audio_caps (&fixture, GST_AUDIO_NE (F32), RATE, 2); /* the same */
  fail_unless (pop_message (fixture.bus, GST_MESSAGE_LATENCY) == NULL);
  push_audio_caps (&fixture, GST_AUDIO_NE (F32), 44100, 1);
  message = pop_message (fixture.bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
spectralgain_time_suite (void)
{
  Suite *suite = suite_create ("spectralgain-time");
  TCase *alignment = tcase_create ("alignment"), *missing = tcase_create ("missing"),
        *latency = tcase_create ("latency");

  suite_add_tcase (suite, alignment);
  tcase_add_test (alignment, test_gains_belong_to_their_samples_however_late_they_come);
  tcase_add_test (alignment, test_samples_do_not_depend_on_buffers);
  tcase_add_test (alignment, test_a_step_appears_within_a_hop_of_its_time);
  tcase_add_test (alignment, test_gains_are_interpolated_between_frames);
  tcase_add_test (alignment, test_bands_change_between_two_frames);
  tcase_add_loop_test (alignment, test_timestamps_of_whisper_and_nemo_are_centres, 0, 2);
  tcase_add_test (alignment, test_running_time_is_what_both_pads_share);
  tcase_add_test (alignment, test_a_stream_that_plays_faster_has_the_same_samples);
  tcase_add_test (alignment, test_gains_for_almost_the_same_time_are_replaced_by_the_last);
  suite_add_tcase (suite, missing);
  tcase_add_loop_test (missing, test_absent_gains_are_1, GAP_EVENT, JUMP + 1);
  tcase_add_test (missing, test_a_gap_of_gains_is_not_waited_for);
  tcase_add_test (missing, test_lost_audio_leaves_a_hole);
  tcase_add_test (missing, test_jitter_of_audio_loses_nothing);
  suite_add_tcase (suite, latency);
  tcase_add_test (latency, test_latency_of_audio_is_what_is_reported);
  tcase_add_loop_test (latency, test_latency_of_gains_is_what_is_reported, 0, G_N_ELEMENTS (latency_cases));
  tcase_add_test (latency, test_latency_is_that_of_the_slower_side);
  tcase_add_test (latency, test_a_new_latency_is_announced);
  return suite;
}

GST_CHECK_MAIN (spectralgain_time);
