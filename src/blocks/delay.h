/*
 * libattn: a delay line: rows of values that wait, by frame number, for later frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_DELAY_H
#define ATTN_SRC_DELAY_H

#include <stdbool.h>

#include "base/alloc.h"

typedef struct {
  size_t n_slots;   /* a power of two, at least ATTN_LANES: frame t waits in slot t % n_slots */
  size_t width;     /* values of a row */
  float *rows;      /* [n_slots][width] */
  uint8_t *present; /* [n_slots] */
} AttnDelay;

/* Makes room for `n_waiting` rows and one more tile of frames that comes in. */
AttnDelay attn_delay_plan (size_t n_waiting, size_t width, AttnArena *arena);

/* The row of `frame`, and whether the frame is present. */
static inline float *
attn_delay_row (const AttnDelay *delay, uint64_t frame)
{
  return delay->rows + (frame & (delay->n_slots - 1)) * delay->width;
}

static inline bool
attn_delay_has (const AttnDelay *delay, uint64_t frame)
{
  return delay->present[frame & (delay->n_slots - 1)];
}

/* The row of `frame`, which is present from now on: the caller writes its values. */
static inline float *
attn_delay_add (AttnDelay *delay, uint64_t frame)
{
  delay->present[frame & (delay->n_slots - 1)] = true;
  return attn_delay_row (delay, frame);
}

/* Row `frame` = values [width]. */
void attn_delay_put (AttnDelay *delay, uint64_t frame, const float *values);

/* The `n` frames from `frame` on, any number, are absent. */
void attn_delay_skip (AttnDelay *delay, uint64_t frame, uint64_t n);

/*
 * How many of the `n` frames from `frame` on are alike, all present or all absent. Present rows stand in one piece, and
 * are at most 16.
 */
uint64_t attn_delay_run (const AttnDelay *delay, uint64_t frame, uint64_t n);

#endif
