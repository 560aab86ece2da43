/*
 * gst-attention: which timestamps of a stream mean that something is missing. Arithmetic alone; no pads, no buffers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The clock counts frames: feature frames for `attention`, samples of audio for `logmel`. A buffer of n frames is
 * expected to last n / rate; its *step* is how much later than the end of the one before it it begins.
 *
 * With DISCONT somebody says that something is missing, and a step above `tolerance` is believed. Without the flag the
 * step is a jump from `threshold` on, and three things must not be taken for one:
 *
 *   rounding  of timestamps, to nanoseconds or to a container's milliseconds: below `tolerance`, and never added up, as
 *             each buffer is compared with the one before it.
 *   drift     of a clock: a buffer of T steps by T times some parts per million. As with rounding each step is measured
 *             anew, so that the sum of hours of drift plays no part, however fast the clock is.
 *   jitter    of times that were read from a clock when a buffer happened to arrive. Where each is off by less than
 *             J < threshold, two neighbours differ by up to 2 J, which may be above the threshold. So it is the latest
 *             line that counts, not the last buffer: `late` is how much earlier than it the last buffer was. A buffer
 *             that comes behind the line moves it there at once; else it falls, by T / 64 for a buffer of T and no
 *             more than threshold / 64, so that clocks that jitter and drift are followed up to 15000 ppm. A jump
 *             exceeds the line by the threshold. Times within +-J do so only behind a run of buffers that all lay
 *             early in the band: where they are independent and uniform, the buffer k before was early enough with a
 *             probability of 1 - threshold (1 - k / 64) / 2 J at most, and the product over k is the chance for one
 *             buffer: e^-28 for J = 3/4 threshold, e^-19 for J = threshold. Bursts, where buffers queue up somewhere
 *             and arrive at once, are jitter of another kind: the first of each burst defines the line, which falls by
 *             less than the threshold in bursts of up to 64 thresholds.
 *
 * If all recent steps were within the tolerance, the last buffer is the line.
 *
 * The line knows little before it has seen some buffers. So the first 16 must jump by twice the threshold, which two
 * times within +-threshold never do; unless all times so far, and the jump, are exact to 1/8192 of a frame.
 */
#ifndef PLUGIN_FRAMECLOCK_H
#define PLUGIN_FRAMECLOCK_H

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct {
  gint rate_n, rate_d;    /* frames per second; 0/1: unknown */
  GstClockTime tolerance; /* up to here, a difference is rounding */
  GstClockTime threshold; /* from here on, a jump without DISCONT is one */

  GstClockTime anchor; /* the time of some buffer, NONE: unknown */
  guint64 n_frames;    /* since then: there the next buffer continues the last one */
  GstClockTime late;   /* how much earlier the last buffer was than the latest line; 0 where nothing jitters */
  GstClockTime up;     /* the largest step lately */
  GstClockTime down;   /* the same, backwards */
  guint n_seen;        /* buffers with a time; no more than are needed */
} FrameClock;

/* Sets what is counted, and keeps everything that is known of the stream. */
void frame_clock_set_rate (FrameClock *clock, gint rate_n, gint rate_d, GstClockTime tolerance, GstClockTime threshold);

/* Another stream begins, at any time. */
void frame_clock_forget (FrameClock *clock);

/* The time at which the next buffer continues the last one; NONE: unknown. */
GstClockTime frame_clock_next (const FrameClock *clock);

/* The time that `n` frames take; NONE where the rate is unknown. */
GstClockTime frame_clock_duration (const FrameClock *clock, guint64 n);

/* The frames that last nearest to `time`, at a known rate. */
guint64 frame_clock_round (const FrameClock *clock, GstClockTime time);

/*
 * How far a buffer at `pts` (NONE: unknown) jumps: 0: it continues the one before it, or nothing is known; above 0: so
 * much time is missing; below 0: it jumps back. Changes nothing.
 */
GstClockTimeDiff frame_clock_jump (const FrameClock *clock, GstClockTime pts, gboolean is_discont);

/*
 * The whole number of frames in a jump, rounded. 0: it is not within the tolerance, or twice what times jittered by, of
 * one.
 */
guint64 frame_clock_count (const FrameClock *clock, GstClockTimeDiff jump);

/* `n` frames are missing before the next buffer. */
void frame_clock_skip (FrameClock *clock, guint64 n);

/* The frames so far end at `time`, with a GAP event. */
void frame_clock_move (FrameClock *clock, GstClockTime time);

/* A buffer of `n` frames at `pts` (NONE: unknown) has come, whatever frame_clock_jump () said of it. */
void frame_clock_advance (FrameClock *clock, GstClockTime pts, guint64 n);

G_END_DECLS

#endif
