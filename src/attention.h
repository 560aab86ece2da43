/*
 * libattn: the mathematics: a block of frames' queries against what the window holds.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_ATTENTION_H
#define ATTN_SRC_ATTENTION_H

#include "layer.h"
#include "ring.h"

/* Working memory for blocks of up to ATTN_LANES frames. */
typedef struct {
  float *frames;       /* [16][n_features], cleaned input */
  float *projected;    /* [16][n_projected]: queries, keys and values of each frame */
  float *contexts;     /* [16][n_context] */
  float *scores;       /* [n_threads][16][n_slots][16]: the queries of a head, or the heads of a query */
  uint32_t *slots;     /* [n_slots] of a view */
  uint16_t *masks;     /* [16][n_slots] of a view */
  uint16_t *left;      /* [n_threads][left_size], left operands for a matrix unit */
  size_t left_size;    /* 0: there is none */
  float *cosines;      /* [n_rope_pairs], of one frame */
  float *sines;        /* [n_rope_pairs] */
  AttnPool *pool;      /* NULL: one thread */
  uint64_t min_shared; /* operations, of a block, from which on threads share them */
} AttnScratch;

/*
 * For the ring's views, with as many threads as its sizes say. On failure the half-built scratch is for
 * attn_scratch_clear ().
 */
AttnStatus attn_scratch_init (AttnScratch *scratch, const AttnRing *ring, AttnError *error);
void attn_scratch_clear (AttnScratch *scratch); /* frees all; accepts a zeroed scratch */

/* The threads that share the work on a block of `n` frames; NULL: it is not worth it. */
AttnPool *attn_scratch_pool (const AttnLayer *layer, const AttnScratch *scratch, size_t n);

/*
 * Projects `n` <= 16 frames, and appends their keys and values to the ring, into whose current tile they fit. Leaves
 * their queries in scratch->projected, n_projected apart.
 */
void attn_take_frames (const AttnLayer *layer, AttnRing *ring, AttnScratch *scratch, const float *frames, size_t n);

/*
 * All heads of the `n` <= 16 frames from number `frame` on: queries [n][n_query] against what the ring holds for them.
 * Writes contexts [n][n_context], times gains [n_heads] (NULL: 1), and, if not NULL, weights [n][n_heads][span]. What
 * it writes for a frame that is absent means nothing.
 */
void attn_attend (const AttnLayer *layer, const AttnRing *ring, AttnScratch *scratch, uint64_t frame, size_t n,
                  const float *queries, const float *gains, float *contexts, float *weights);

#endif
