/*
 * libattn: the window of keys and values, as a ring of tiles.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frame f stands in lane f % 16 of tile f / 16, and tile T in slot T % n_tiles of the ring. Inside a tile keys are
 * dimension-major (a score kernel takes 16 frames at once) and values row-major (a context kernel takes 16 values at
 * once). A tile is never moved, the two ends of a window are masked, so the same ring serves any buffer size and needs
 * no second copy. Sinks have tiles of their own, in the same lanes.
 */
#ifndef ATTN_SRC_RING_H
#define ATTN_SRC_RING_H

#include <stdbool.h>

#include "config.h"

/* Tiles of keys and values, per key/value head one after another, and which of their frames are there. */
typedef struct {
  size_t n_tiles;
  float *keys;       /* [n_kv_heads][n_tiles][dk][16] */
  float *values;     /* [n_kv_heads][n_tiles][16][dv_padded] */
  uint16_t *present; /* [n_tiles], a bit per lane */
} AttnTiles;

typedef struct {
  const AttnSizes *sizes;
  AttnTiles window;
  AttnTiles sinks;
  uint64_t first; /* the number of the first frame since the reset */
  uint64_t next;  /* the number of the next frame */
} AttnRing;

/*
 * What one frame attends to: up to three runs of neighbouring tiles in the order of time: sinks, then the window in two
 * pieces.
 */
typedef struct {
  const AttnTiles *tiles;
  size_t begin; /* slot of the first tile */
  size_t n_tiles;
  uint64_t first_frame; /* the frame in lane 0 of the first tile */
  bool is_sinks;
} AttnRun;

typedef struct {
  AttnRun runs[3];
  size_t n_runs;
  size_t n_tiles; /* of all runs */
  uint16_t
      *masks; /* [n_tiles], a bit per frame that is attended to; the caller's memory, attn_ring_max_tiles () long */
} AttnView;

/* The tiles that a stream needs when it writes at most one tile ahead of the frame that is being answered. */
size_t attn_ring_stream_tiles (const AttnSizes *sizes);

/* The most tiles a view may have. */
size_t attn_ring_max_tiles (const AttnRing *ring);

AttnStatus attn_ring_init (AttnRing *ring, const AttnSizes *sizes, size_t n_window_tiles, AttnError *error);
void attn_ring_clear (AttnRing *ring); /* frees the tiles; accepts a zeroed ring */

/* Forgets everything; the next frame is number `first`. */
void attn_ring_reset (AttnRing *ring, uint64_t first);

/* Appends `n` frames that fit into the current tile: keys [n][n_key], values [n][n_value]. */
void attn_ring_write (AttnRing *ring, const float *keys, const float *values, size_t n);

/* Appends `n` absent frames, any number. */
void attn_ring_skip (AttnRing *ring, uint64_t n);

/*
 * Whether `frame` is present; then keys [n_key] and values [n_value] receive it. It is one of the frames that the
 * window still holds, or with `is_sink` one of the sinks.
 */
bool attn_ring_read (const AttnRing *ring, uint64_t frame, bool is_sink, float *keys, float *values);

/* How many frames fit into the current tile. */
static inline size_t
attn_ring_room (const AttnRing *ring)
{
  return ATTN_LANES - ring->next % ATTN_LANES;
}

/* Fills in what `frame` attends to. */
void attn_ring_view (const AttnRing *ring, uint64_t frame, AttnView *view);

#endif
