/*
 * libattn: the mathematics: one frame's queries against a view of the window.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_ATTENTION_H
#define ATTN_SRC_ATTENTION_H

#include "layer.h"
#include "ring.h"

/* Working memory for blocks of up to ATTN_LANES frames. */
typedef struct {
  float *frames;   /* [16][n_features], cleaned input */
  float *queries;  /* [16][n_query] */
  float *keys;     /* [16][n_key] */
  float *values;   /* [16][n_value] */
  float *contexts; /* [16][n_context] */
  float *context;  /* [dv_padded], of one head */
  float *scores;   /* [max_tiles][16], of one head */
  uint16_t *masks; /* [max_tiles] */
  float *cosines;  /* [n_rope_pairs], of one frame */
  float *sines;    /* [n_rope_pairs] */
} AttnScratch;

/* `max_tiles`: attn_ring_max_tiles (). On failure the half-built scratch is for attn_scratch_clear (). */
AttnStatus attn_scratch_init (AttnScratch *scratch, const AttnSizes *sizes, size_t max_tiles, AttnError *error);
void attn_scratch_clear (AttnScratch *scratch); /* frees the arrays; accepts a zeroed scratch */

/* Projects `n` <= 16 frames and appends their keys and values to the ring; leaves their queries in scratch->queries. */
void attn_take_frames (const AttnLayer *layer, AttnRing *ring, AttnScratch *scratch, const float *frames, size_t n);

/*
 * All heads of one frame: queries [n_query] against what the ring holds for `frame`. Writes context [n_context], times
 * gains [n_heads] (NULL: 1), and, if not NULL, weights [n_heads][span].
 */
void attn_attend (const AttnLayer *layer, const AttnRing *ring, AttnScratch *scratch, uint64_t frame,
                  const float *queries, const float *gains, float *context, float *weights);

#endif
