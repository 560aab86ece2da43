/*
 * gst-attention: which timestamps of a stream mean that something is missing.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "frameclock.h"

#include "framerate.h"

/* Two times that were rounded to a nanosecond, each in any direction. */
#define ROUNDING 2

/* The latest line falls by this part of the time that passes; jitter is forgotten in as many thresholds. */
#define FORGETTING 64

/* Buffers until the latest line is believed: that so many of them are early by a third of the band is rare, 3^-16. */
#define N_WARM 16

/* Times are exact within this part of a frame: a microsecond or so of ten milliseconds. */
#define EXACT 8192

#define MAX_TIME ((GstClockTime) G_MAXINT64)
#define MAX_THRESHOLD (MAX_TIME / FORGETTING)

void
frame_clock_set_rate (FrameClock *clock, gint rate_n, gint rate_d, GstClockTime tolerance, GstClockTime threshold)
{
  clock->rate_n = rate_n;
  clock->rate_d = rate_d;
  clock->tolerance = tolerance;
  clock->threshold = MIN (threshold, MAX_THRESHOLD);
}

void
frame_clock_forget (FrameClock *clock)
{
  clock->anchor = GST_CLOCK_TIME_NONE;
  clock->n_frames = 0;
  clock->late = clock->up = clock->down = 0;
  clock->n_seen = 0;
}

GstClockTime
frame_clock_duration (const FrameClock *clock, guint64 n)
{
  return frame_rate_duration (clock->rate_n, clock->rate_d, n);
}

guint64
frame_clock_round (const FrameClock *clock, GstClockTime time)
{
  return gst_util_uint64_scale_round (time, clock->rate_n, GST_SECOND * (guint64) clock->rate_d);
}

/* The same where the rate is unknown: frames last any time, none at least. */
static GstClockTime
least_duration (const FrameClock *clock, guint64 n)
{
  return clock->rate_n > 0 ? frame_clock_duration (clock, n) : 0;
}

GstClockTime
frame_clock_next (const FrameClock *clock)
{
  GstClockTime elapsed = least_duration (clock, clock->n_frames);

  if (!GST_CLOCK_TIME_IS_VALID (clock->anchor))
    return GST_CLOCK_TIME_NONE;
  return elapsed < GST_CLOCK_TIME_NONE - clock->anchor ? clock->anchor + elapsed : GST_CLOCK_TIME_NONE - 1;
}

static GstClockTimeDiff
difference (GstClockTime a, GstClockTime b)
{
  return a > b ? (GstClockTimeDiff) MIN (a - b, MAX_TIME) : -(GstClockTimeDiff) MIN (b - a, MAX_TIME);
}

/* Times go forth and back by so much. A hole that nobody noticed goes forth alone. */
static GstClockTime
jitter (const FrameClock *clock)
{
  return MIN (clock->up, clock->down);
}

static GstClockTime
distance_to_whole (const FrameClock *clock, GstClockTime time)
{
  return ABS (difference (time, frame_clock_duration (clock, frame_clock_round (clock, time))));
}

static gboolean
is_exact (const FrameClock *clock, GstClockTime jump)
{
  GstClockTime error = MAX (MAX (clock->up, clock->down), distance_to_whole (clock, jump));

  return error <= frame_clock_duration (clock, 1) / EXACT + ROUNDING;
}

GstClockTimeDiff
frame_clock_jump (const FrameClock *clock, GstClockTime pts, gboolean is_discont)
{
  GstClockTimeDiff step, jump, late = clock->late, allowed = MAX (clock->tolerance, jitter (clock));
  GstClockTimeDiff least = (GstClockTimeDiff) clock->threshold - ROUNDING;

  if (!GST_CLOCK_TIME_IS_VALID (pts) || !GST_CLOCK_TIME_IS_VALID (clock->anchor))
    return 0;
  step = difference (pts, frame_clock_next (clock));
  if (clock->rate_n <= 0) /* only that it is before the last buffer can be told */
    return is_discont ? MIN (step, 0) : 0;
  if (step >= -allowed && (step <= 0 || step - late <= allowed))
    return 0;
  jump = step > 0 ? step - late : step;
  if (is_discont)
    return jump;
  if (jump < 0 || (clock->n_seen < N_WARM && !is_exact (clock, jump)))
    least *= 2;
  return ABS (jump) >= least ? jump : 0;
}

guint64
frame_clock_count (const FrameClock *clock, GstClockTimeDiff jump)
{
  GstClockTime allowed = MAX (clock->tolerance, 2 * jitter (clock)); /* it may be larger than it was lately */

  if (jump <= 0 || clock->rate_n <= 0 || distance_to_whole (clock, jump) > allowed)
    return 0;
  return frame_clock_round (clock, jump);
}

void
frame_clock_skip (FrameClock *clock, guint64 n)
{
  clock->n_frames = n <= G_MAXUINT64 - clock->n_frames ? clock->n_frames + n : G_MAXUINT64;
}

void
frame_clock_move (FrameClock *clock, GstClockTime time)
{
  clock->anchor = time;
  clock->n_frames = 0;
}

static void
fall (GstClockTime *value, GstClockTime by)
{
  *value -= MIN (*value, by);
}

/* Exponentially, but to nothing. */
static void
forget (GstClockTime *value, GstClockTime time, GstClockTime threshold)
{
  if (*value > 0)
    fall (value, gst_util_uint64_scale_ceil (*value, time, FORGETTING * threshold));
}

/* A buffer begins at `pts`. */
static void
note_step (FrameClock *clock, GstClockTime pts)
{
  GstClockTimeDiff step = difference (pts, frame_clock_next (clock));
  GstClockTime size = ABS (step);

  if (step > 0) {
    clock->up = MAX (clock->up, size);
    fall (&clock->late, size);
  } else {
    clock->down = MAX (clock->down, size);
    clock->late = MIN (clock->late + size, MAX_TIME);
  }
}

void
frame_clock_advance (FrameClock *clock, GstClockTime pts, guint64 n)
{
  const GstClockTime threshold = clock->threshold, time = MIN (least_duration (clock, n), threshold);

  if (n == 0)
    return;
  if (GST_CLOCK_TIME_IS_VALID (pts)) {
    if (GST_CLOCK_TIME_IS_VALID (clock->anchor))
      note_step (clock, pts);
    clock->n_seen = MIN (clock->n_seen + 1, N_WARM);
    frame_clock_move (clock, pts);
  }
  frame_clock_skip (clock, n);
  forget (&clock->up, time, threshold);
  forget (&clock->down, time, threshold);
  fall (&clock->late, time / FORGETTING);
  if (MAX (clock->up, clock->down) <= clock->tolerance)
    clock->late = 0; /* times are steady: the last one counts */
}
