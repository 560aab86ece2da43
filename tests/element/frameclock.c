/*
 * Which timestamps mean that frames are missing: hours of simulated streams, against the frames really sent.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include <gst/check/gstcheck.h>

#include "frameclock.h"

#define THRESHOLD (40 * GST_MSECOND)

/* ---- sources ---- */

/* A source with a clock of its own; times are in nanoseconds. */
typedef struct {
  gint rate_n, rate_d;
  guint frames_per_buffer;
  gdouble drift;        /* parts per million: the clock gets later and later */
  gdouble jitter;       /* the largest error of times, uniform, in both directions */
  guint burst;          /* buffers that come at once, with the time of the first; 0: none */
  GstClockTime rounded; /* the unit that times are rounded to; 0: nanoseconds */
} Source;

typedef struct {
  Source source;
  FrameClock clock;
  GRand *rand;
  guint64 n_sent;    /* frames, the missing ones included */
  guint64 n_buffers; /* buffers that came */
  guint64 n_absent;  /* by the clock */
  guint64 n_others;  /* jumps back, or not of whole frames */
} Simulation;

static Simulation
simulation_new (const Source *source, guint32 seed)
{
  Simulation sim = { *source };
  GstClockTime frame = gst_util_uint64_scale_round (GST_SECOND, source->rate_d, source->rate_n);

  sim.rand = g_rand_new_with_seed (seed);
  frame_clock_forget (&sim.clock);
  frame_clock_set_rate (&sim.clock, source->rate_n, source->rate_d, frame / 4, MAX (THRESHOLD, frame - frame / 4));
  return sim;
}

static GstClockTime
time_of_buffer (Simulation *sim)
{
  const Source *source = &sim->source;
  guint64 late = source->burst ? sim->n_buffers % source->burst * source->frames_per_buffer : 0;
  gdouble time = 1e9 + (sim->n_sent - late) * 1e9 * source->rate_d / source->rate_n * (1 + source->drift / 1e6);

  if (source->jitter > 0)
    time += g_rand_double_range (sim->rand, -source->jitter, source->jitter);
  if (source->rounded == 0)
    return time + 0.5;
  return (GstClockTime) (time / source->rounded + 0.5) * source->rounded;
}

static void
send_buffer (Simulation *sim, gboolean is_discont)
{
  GstClockTime pts = time_of_buffer (sim);
  GstClockTimeDiff jump = frame_clock_jump (&sim->clock, pts, is_discont);
  guint64 n = frame_clock_count (&sim->clock, jump);

  frame_clock_skip (&sim->clock, n);
  if (jump != 0 && n == 0) {
    frame_clock_forget (&sim->clock);
    sim->n_others++;
  }
  sim->n_absent += n;
  frame_clock_advance (&sim->clock, pts, sim->source.frames_per_buffer);
  sim->n_sent += sim->source.frames_per_buffer;
  sim->n_buffers++;
}

static void
send_seconds (Simulation *sim, guint seconds, gboolean is_discont)
{
  guint64 end = sim->n_sent + (guint64) seconds * sim->source.rate_n / sim->source.rate_d;

  while (sim->n_sent < end)
    send_buffer (sim, is_discont);
}

static void
lose (Simulation *sim, guint n)
{
  sim->n_sent += n;
}

/* ---- nothing is missing ---- */

static const Source sources[] = {
  { 100, 1, 1 },
  { 100, 1, 1, 0, 30e6 },
  { 100, 1, 1, 0, 39.9e6 },
  { 100, 1, 1, 1000 },
  { 100, 1, 1, -1000 },
  { 100, 1, 1, 2000 },
  { 100, 1, 1, -2000 },
  { 100, 1, 1, 50000 }, /* a clock that is simply wrong makes no hole either */
  { 100, 1, 1, -50000 },
  { 100, 1, 1, 2000, 30e6 },
  { 100, 1, 1, -2000, 30e6 },
  { 100, 1, 1, -2000, 5e6 },
  { 100, 1, 16, 2000, 30e6 },
  { 100, 1, 16, -2000, 30e6 },
  { 100, 1, 100, -600, 30e6 },
  { 100, 1, 1, 0, 0, 10 }, /* ten frames in a packet of a tenth of a second */
  { 100, 1, 1, 2000, 0, 50 },
  { 100, 1, 1, -2000, 1e6, 50 },
  { 25, 1, 1, 0, 30e6 },
  { 25, 1, 1, 2000, 30e6 },
  { 10, 1, 1, -2000, 30e6 },
  { 125, 2, 1, 2000, 30e6 },
  { 30000, 1001, 1, 0, 0, 0, GST_MSECOND }, /* a container that counts milliseconds */
  { 30000, 1001, 1, -2000, 30e6, 0, GST_MSECOND },
  { 44100, 1, 1024, 0, 0, 0, GST_MSECOND },
  { 44100, 1, 1024, 2000, 30e6 },
  { 44100, 1, 1024, -2000, 30e6 },
  { 16000, 1, 320, -2000 },
  { 1000, 1, 1, 2000, 30e6 },
  { 1000, 1, 1, 0, 0, 0, GST_MSECOND },
};

GST_START_TEST (test_jitter_and_drift_are_no_holes_in_an_hour)
{
  Simulation sim = simulation_new (&sources[__i__], 1 + __i__);

  send_seconds (&sim, 3600, FALSE);
  fail_unless_equals_uint64 (sim.n_absent, 0);
  fail_unless_equals_uint64 (sim.n_others, 0);
  g_rand_free (sim.rand);
}
GST_END_TEST;

/* The first two buffers of a stream may be as far apart as any others. */
GST_START_TEST (test_jitter_at_the_beginning_is_no_hole)
{
  const Source source = { 100, 1, 1, 0, 39.9e6 };
  guint seed;

  for (seed = 0; seed < 3000; seed++) {
    Simulation sim = simulation_new (&source, seed);

    send_seconds (&sim, 1, FALSE);
    fail_unless (sim.n_absent == 0 && sim.n_others == 0, "seed %u", seed);
    g_rand_free (sim.rand);
  }
}
GST_END_TEST;

/* Sources whose times are exact, drift or are rounded, in steps far below a quarter of a frame. */
GST_START_TEST (test_flag_on_every_buffer_is_no_hole)
{
  static const Source flagged[] = {
    { 100, 1, 1 },      { 100, 1, 2, 2000 },     { 100, 1, 2, -2000 }, { 30000, 1001, 7 },
    { 44100, 1, 1024 }, { 100, 1, 1, 0, 1.2e6 }, { 125, 2, 3, -2000 }, { 30000, 1001, 1, 0, 0, 0, GST_MSECOND },
  };
  Simulation sim = simulation_new (&flagged[__i__], 1);

  send_seconds (&sim, 3600, TRUE);
  fail_unless_equals_uint64 (sim.n_absent, 0);
  fail_unless_equals_uint64 (sim.n_others, 0);
  g_rand_free (sim.rand);
}
GST_END_TEST;

/* ---- something is missing ---- */

/* 40 frames are lost once a minute: the count is exact if times are, else within the error of the times. */
GST_START_TEST (test_holes_are_counted_without_the_flag)
{
  static const struct {
    Source source;
    guint error; /* frames */
  } cases[] = {
    { { 100, 1, 1 }, 0 },
    { { 100, 1, 16 }, 0 },
    { { 100, 1, 1, 1000 }, 0 },
    { { 100, 1, 1, -2000 }, 0 },
    { { 100, 1, 1, 2000 }, 0 },
    { { 100, 1, 1, 0, 2e6 }, 0 },
    { { 100, 1, 1, 0, 30e6 }, 6 },
    { { 100, 1, 1, 2000, 30e6 }, 6 },
    { { 100, 1, 1, -2000, 30e6 }, 7 },
    { { 100, 1, 1, 0, 0, 10 }, 1 },
    { { 30000, 1001, 1 }, 0 },
    { { 30000, 1001, 1, 0, 0, 0, GST_MSECOND }, 0 },
    { { 125, 2, 3, -1000 }, 0 },
    { { 1, 3, 1 }, 0 },
  };
  Simulation sim = simulation_new (&cases[__i__].source, 1);
  guint64 error = cases[__i__].error, before;
  guint i;

  for (i = 0; i < 60; i++) {
    send_seconds (&sim, 60, FALSE);
    while (sim.source.burst != 0 && sim.n_buffers % sim.source.burst != 0)
      send_buffer (&sim, FALSE);
    before = sim.n_absent;
    lose (&sim, 40);
    send_buffer (&sim, FALSE);
    fail_unless (sim.n_absent - before >= 40 - error && sim.n_absent - before <= 40 + error,
                 "%" G_GUINT64_FORMAT " frames", sim.n_absent - before);
  }
  fail_unless_equals_uint64 (sim.n_others, 0);
  g_rand_free (sim.rand);
}
GST_END_TEST;

/* As long as times are exact, the second buffer may follow a hole, and holes as short as the threshold count. */
GST_START_TEST (test_first_hole_is_counted_where_times_are_exact)
{
  static const Source exact[] = { { 100, 1, 1 }, { 100, 1, 4 }, { 30000, 1001, 1 }, { 44100, 1, 441 } };
  Simulation sim = simulation_new (&exact[__i__], 1);
  guint n =
      (THRESHOLD * exact[__i__].rate_n + GST_SECOND * exact[__i__].rate_d - 1) / (GST_SECOND * exact[__i__].rate_d);

  send_buffer (&sim, FALSE);
  lose (&sim, n);
  send_buffer (&sim, FALSE);
  fail_unless_equals_uint64 (sim.n_absent, n);
  lose (&sim, n - 1); /* too short to be told from jitter */
  send_buffer (&sim, FALSE);
  fail_unless_equals_uint64 (sim.n_absent, n);
  lose (&sim, n - 1);
  send_buffer (&sim, TRUE);
  fail_unless_equals_uint64 (sim.n_absent, 2 * n - 1);
  g_rand_free (sim.rand);
}
GST_END_TEST;

/* A hole that was too short to be counted is not counted later, either. */
GST_START_TEST (test_short_holes_do_not_add_up)
{
  const Source source = { 100, 1, 1 };
  Simulation sim = simulation_new (&source, 1);
  guint i;

  for (i = 0; i < 1000; i++) {
    send_buffer (&sim, FALSE);
    lose (&sim, i % 4);
  }
  fail_unless_equals_uint64 (sim.n_absent, 0);
  g_rand_free (sim.rand);
}
GST_END_TEST;

/* ---- decisions from one buffer to the next ---- */

static FrameClock
clock_after (guint n_buffers)
{
  FrameClock clock;
  guint i;

  frame_clock_forget (&clock);
  frame_clock_set_rate (&clock, 100, 1, 2500000, THRESHOLD);
  for (i = 0; i < n_buffers; i++)
    frame_clock_advance (&clock, GST_SECOND + i * 10 * GST_MSECOND, 1);
  return clock;
}

GST_START_TEST (test_jumps_are_told_from_what_goes_on)
{
  static const struct {
    gint64 ms;
    gint64 jump, flagged; /* ms */
    guint64 n;            /* frames of `flagged` */
  } cases[] = {
    { 0, 0, 0, 0 },     { 2, 0, 0, 0 },     { -2, 0, 0, 0 },      { 3, 0, 3, 0 },          { 8, 0, 8, 1 },
    { 10, 0, 10, 1 },   { 30, 0, 30, 3 },   { 40, 40, 40, 4 },    { 45, 45, 45, 0 },       { 400, 400, 400, 40 },
    { -10, 0, -10, 0 }, { -70, 0, -70, 0 }, { -80, -80, -80, 0 }, { -500, -500, -500, 0 },
  };
  FrameClock clock = clock_after (20);
  GstClockTime pts = frame_clock_next (&clock) + cases[__i__].ms * (gint64) GST_MSECOND;

  fail_unless_equals_int64 (frame_clock_jump (&clock, pts, FALSE), cases[__i__].jump * (gint64) GST_MSECOND);
  fail_unless_equals_int64 (frame_clock_jump (&clock, pts, TRUE), cases[__i__].flagged * (gint64) GST_MSECOND);
  fail_unless_equals_uint64 (frame_clock_count (&clock, frame_clock_jump (&clock, pts, TRUE)), cases[__i__].n);
}
GST_END_TEST;

/*
 * A difference of exactly the tolerance is rounding; a nanosecond more is a jump, which is not a whole number of
 * frames.
 */
GST_START_TEST (test_tolerance_is_tolerated)
{
  const GstClockTimeDiff tolerance = 2500000, whole = 400 * GST_MSECOND;
  FrameClock clock = clock_after (20);
  GstClockTime next = frame_clock_next (&clock);
  gint sign;

  for (sign = -1; sign <= 1; sign += 2) {
    fail_unless_equals_int64 (frame_clock_jump (&clock, next + sign * tolerance, TRUE), 0);
    fail_unless_equals_int64 (frame_clock_jump (&clock, next + sign * (tolerance + 1), TRUE), sign * (tolerance + 1));
    fail_unless_equals_uint64 (frame_clock_count (&clock, whole + sign * tolerance), 40);
    fail_unless_equals_uint64 (frame_clock_count (&clock, whole + sign * (tolerance + 1)), 0);
  }
}
GST_END_TEST;

/*
 * Below the threshold a jump is not noticed without the flag; times that never went back do not count as jitter for it.
 */
GST_START_TEST (test_unnoticed_hole_is_no_jitter)
{
  FrameClock clock = clock_after (20);

  frame_clock_advance (&clock, frame_clock_next (&clock) + 30 * GST_MSECOND, 1);
  fail_unless_equals_int64 (frame_clock_jump (&clock, frame_clock_next (&clock) + 20 * GST_MSECOND, TRUE),
                            20 * GST_MSECOND);
}
GST_END_TEST;

/* To a part of 1/e in 64 thresholds of steady times, by the formula of compound interest; each step may round up. */
GST_START_TEST (test_jitter_is_forgotten)
{
  const guint n = 64 * THRESHOLD / (10 * GST_MSECOND);
  FrameClock clock = clock_after (20);
  gdouble expected = 30 * GST_MSECOND * pow (1 - 1.0 / n, n);
  guint i;

  clock.up = clock.down = 30 * GST_MSECOND;
  for (i = 0; i < n; i++)
    frame_clock_advance (&clock, frame_clock_next (&clock), 1);
  fail_unless (fabs (clock.up - expected) <= n && clock.up == clock.down, "%" G_GUINT64_FORMAT ", not %f", clock.up,
               expected);
}
GST_END_TEST;

/* Frames are counted through buffers without a time; at an unknown rate only the order is known. */
GST_START_TEST (test_unknown_times_and_rates_are_no_jumps)
{
  FrameClock clock = clock_after (20);
  guint i;

  for (i = 0; i < 1000; i++) {
    fail_unless_equals_int64 (frame_clock_jump (&clock, GST_CLOCK_TIME_NONE, TRUE), 0);
    frame_clock_advance (&clock, GST_CLOCK_TIME_NONE, 1);
  }
  fail_unless_equals_uint64 (frame_clock_next (&clock), 11200 * GST_MSECOND);
  frame_clock_forget (&clock);
  fail_unless_equals_int64 (frame_clock_jump (&clock, 5 * GST_SECOND, TRUE), 0);
  frame_clock_set_rate (&clock, 0, 1, 0, THRESHOLD);
  frame_clock_advance (&clock, 5 * GST_SECOND, 1);
  fail_unless_equals_int64 (frame_clock_jump (&clock, 50 * GST_SECOND, TRUE), 0);
  fail_unless_equals_int64 (frame_clock_jump (&clock, 4 * GST_SECOND, FALSE), 0);
  fail_unless_equals_int64 (frame_clock_jump (&clock, 4 * GST_SECOND, TRUE), -(GstClockTimeDiff) GST_SECOND);
}
GST_END_TEST;

/* A stall that ended in a burst is forgotten, so that later holes are seen. */
GST_START_TEST (test_a_late_burst_is_forgotten)
{
  FrameClock clock = clock_after (100);
  GstClockTime pts = frame_clock_next (&clock) + 500 * GST_MSECOND;
  guint i;

  for (i = 0; i < 50; i++)
    frame_clock_advance (&clock, pts, 1);
  for (i = 0; i < 100; i++)
    frame_clock_advance (&clock, pts + (i + 1) * 10 * GST_MSECOND, 1);
  pts = frame_clock_next (&clock) + 40 * GST_MSECOND;
  fail_unless_equals_int64 (frame_clock_jump (&clock, pts, FALSE), 0); /* half a minute of distrust */
  for (i = 0; i < 3500; i++)
    frame_clock_advance (&clock, frame_clock_next (&clock), 1);
  pts = frame_clock_next (&clock) + 40 * GST_MSECOND;
  fail_unless_equals_int64 (frame_clock_jump (&clock, pts, FALSE), 40 * GST_MSECOND);
}
GST_END_TEST;

GST_START_TEST (test_wild_times_are_survived)
{
  static const GstClockTime wild[] = { 0, 1, G_MAXINT64, G_MAXINT64 + G_GUINT64_CONSTANT (1), G_MAXUINT64 - 1 };
  FrameClock clock = clock_after (0);
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (wild); i++)
    for (j = 0; j < G_N_ELEMENTS (wild); j++) {
      frame_clock_advance (&clock, wild[i], 1);
      frame_clock_skip (&clock, frame_clock_count (&clock, frame_clock_jump (&clock, wild[j], TRUE)));
      frame_clock_advance (&clock, wild[j], G_MAXUINT64);
      fail_unless (GST_CLOCK_TIME_IS_VALID (frame_clock_next (&clock)));
    }
}
GST_END_TEST;

static Suite *
frameclock_suite (void)
{
  Suite *suite = suite_create ("frameclock");
  TCase *tc = tcase_create ("frameclock");

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_jitter_and_drift_are_no_holes_in_an_hour, 0, G_N_ELEMENTS (sources));
  tcase_add_test (tc, test_jitter_at_the_beginning_is_no_hole);
  tcase_add_loop_test (tc, test_flag_on_every_buffer_is_no_hole, 0, 8);
  tcase_add_loop_test (tc, test_holes_are_counted_without_the_flag, 0, 14);
  tcase_add_loop_test (tc, test_first_hole_is_counted_where_times_are_exact, 0, 4);
  tcase_add_test (tc, test_short_holes_do_not_add_up);
  tcase_add_loop_test (tc, test_jumps_are_told_from_what_goes_on, 0, 14);
  tcase_add_test (tc, test_tolerance_is_tolerated);
  tcase_add_test (tc, test_unnoticed_hole_is_no_jitter);
  tcase_add_test (tc, test_jitter_is_forgotten);
  tcase_add_test (tc, test_unknown_times_and_rates_are_no_jumps);
  tcase_add_test (tc, test_a_late_burst_is_forgotten);
  tcase_add_test (tc, test_wild_times_are_survived);
  return suite;
}

GST_CHECK_MAIN (frameclock);
