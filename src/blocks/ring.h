/*
 * libattn: the window of keys and values, as a ring of tiles.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frame f stands in lane f % 16 of tile f / 16. Inside a tile keys are dimension-major (a score kernel takes 16 frames
 * at once) and values row-major (a context kernel takes 16 values at once). A tile is never moved, and the two ends of
 * a window are masked. So one ring serves any buffer size and needs no second copy.
 *
 * Slots for tiles: first those of the sinks, which have tiles of their own, in the same lanes; then those of the
 * window, where tile T stands in slot T % n_window_slots.
 */
#ifndef ATTN_SRC_RING_H
#define ATTN_SRC_RING_H

#include <stdbool.h>

#include "base/pool.h"
#include "blocks/attention_sizes.h"

typedef struct {
  const AttnSizes *sizes;
  size_t n_sink_slots;
  size_t n_window_slots;
  size_t n_slots;         /* all */
  void *keys;             /* [n_kv_heads][n_slots][dk_stored][16], in the precision of the sizes (kernels.h) */
  void *values;           /* [n_kv_heads][n_slots][16][dv], and ATTN_VALUES_SLACK */
  uint16_t *present;      /* [n_slots], a bit per lane: the frame is present */
  uint16_t *finite;       /* [n_slots], a bit per lane: its values, old ones included, are finite */
  uint16_t *row;          /* [n_key + n_value], a frame on its way to 16 bits; NULL where the window is float32 */
  uint16_t *split_keys;   /* [n_kv_heads][n_slots] right operands of dk by 16 (matrix.h); NULL: nothing is split */
  uint16_t *split_values; /* [n_kv_heads] right operands of n_split_rows by dv, and half a step behind them */
  uint16_t *splittable;   /* [n_slots], as `finite`: split, and the values are small enough for that */
  size_t n_split_rows;    /* 16 n_slots, in whole steps */
  size_t n_since_large;   /* frames that came in since a block that was large enough for the unit */
  bool is_far;            /* larger than what a core's own caches keep */
  uint64_t first;         /* the number of the first frame since the reset */
  uint64_t next;          /* the number of the next frame */
} AttnRing;

/*
 * The tiles that up to 16 neighbouring frames attend to together, in the order of time: first those of sinks, then
 * those of the window. The caller owns the arrays.
 */
typedef struct {
  size_t n_tiles;
  size_t n_sink_tiles;  /* so many of them are of sinks: frames 0, 1, ... */
  uint64_t first_frame; /* the frame in lane 0 of the first tile of the window */
  uint32_t *slots;      /* [n_tiles] of [ring->n_slots] */
  uint16_t *masks;      /* [frames][n_tiles] of [16][ring->n_slots], a bit per frame that is attended to */
} AttnView;

/* Keys and values of frames on their way into the window; threads share their heads. */
typedef struct {
  AttnRing *ring;
  const AttnMachine *machine;
  const float *keys, *values; /* [n][stride], cleaned */
  size_t stride, n;
  size_t slot;   /* that they go to */
  bool is_split; /* they are split, too */
} AttnArrivals;

/* Takes a window out of the arena, for streams of up to `max_frames` (SIZE_MAX: any number). */
void attn_ring_plan (AttnRing *ring, const AttnSizes *sizes, size_t max_frames, AttnArena *arena);

/* Forgets everything; the next frame is number `first`. */
void attn_ring_reset (AttnRing *ring, uint64_t first);

/*
 * Prefetches a small window into the caches while something else is computed: where many streams take turns, it has
 * left the caches.
 */
void attn_ring_prefetch (const AttnRing *ring);

/*
 * Appends `n` frames that fit into the current tile: keys [n][stride], values [n][stride], cleaned. `pool` NULL: one
 * thread.
 */
void attn_ring_write (AttnRing *ring, const AttnMachine *machine, AttnPool *pool, const float *keys,
                      const float *values, size_t stride, size_t n);

/* Appends `n` absent frames, any number. */
void attn_ring_skip (AttnRing *ring, uint64_t n);

/* Whether `frame` is present. The window must still hold it; with `is_sink` it is one of the sinks. */
bool attn_ring_has (const AttnRing *ring, uint64_t frame, bool is_sink);

/* The same; if the frame is present, copies it to keys [n_key] and values [n_value]. */
bool attn_ring_read (const AttnRing *ring, uint64_t frame, bool is_sink, float *keys, float *values);

/* The keys and the values of a key/value head, from slot 0 on. */
static inline const void *
attn_ring_keys (const AttnRing *ring, size_t kv_head)
{
  size_t n = kv_head * ring->n_slots * ring->sizes->dk_stored * ATTN_LANES;

  return (const char *) ring->keys + n * attn_precision_size (ring->sizes->precision);
}

static inline const void *
attn_ring_values (const AttnRing *ring, size_t kv_head)
{
  size_t n = kv_head * ring->n_slots * ring->sizes->dv * ATTN_LANES;

  return (const char *) ring->values + n * attn_precision_size (ring->sizes->precision);
}

/* The same for a matrix unit. */
static inline const uint16_t *
attn_ring_split_keys (const AttnRing *ring, size_t kv_head)
{
  return ring->split_keys
         + kv_head * ring->n_slots
               * attn_right_size (ring->sizes->dk, ATTN_LANES, attn_right_parts (ring->sizes->precision));
}

static inline const uint16_t *
attn_ring_split_values (const AttnRing *ring, size_t kv_head)
{
  return ring->split_values
         + kv_head * attn_right_size (ring->n_split_rows, ring->sizes->dv, attn_right_parts (ring->sizes->precision));
}

/* How many frames fit into the current tile. */
static inline size_t
attn_ring_room (const AttnRing *ring)
{
  return ATTN_LANES - ring->next % ATTN_LANES;
}

/* Fills the view of the `n` <= 16 frames from number `frame` on. */
void attn_ring_view (const AttnRing *ring, uint64_t frame, size_t n, AttnView *view);

#endif
