/*
 * libattn: positions: the tables of a layer to rotate queries and keys (RoPE) or to add to scores (ALiBi, relative
 * bias).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All three depend on frame numbers only through differences, and no value that grows with them is ever rounded. A
 * float32 angle is off by 3.6e-3 after 10^6 frames; here an angle is a phase, a 64-bit fraction of a turn, computed in
 * integers.
 */
#ifndef ATTN_SRC_POSITION_H
#define ATTN_SRC_POSITION_H

#include "blocks/attention_sizes.h"

/*
 * Turns per frame times 2^128, to nearest. A phase is then less than 2^-63 turns from the true one at any frame number,
 * so that even a sink 10^15 frames back is seen at its exact angle. (64 bits would do for the window: an error that is
 * the same at every frame cancels in the difference of two; but it grows with distance.)
 */
typedef struct {
  uint64_t high, low;
} AttnTurns;

typedef struct {
  AttnTurns *turns; /* [sizes->n_rope_pairs] */
  float *slopes;    /* [n_heads] of ALiBi, as published */
  float *biases;    /* [n_heads][bias_stride] times log2 (e), or NULL: see attn_position_bias () */
  size_t bias_stride;
} AttnPositions;

/*
 * Makes the tables; none for ATTN_POSITION_NONE. On failure the caller clears the half-built positions by
 * attn_positions_clear ().
 */
AttnStatus attn_positions_init (AttnPositions *positions, const AttnSizes *sizes, const AttnModel *model,
                                AttnError *error);
void attn_positions_clear (AttnPositions *positions); /* frees the arrays; accepts zeroed positions */

/* ---- RoPE (Su et al. 2021) ---- */

/* turns [n_pairs], n_pairs > 0: pair i makes base^(-i / n_pairs) / (2 pi) turns per frame. */
void attn_rope_turns (AttnTurns *turns, double base, size_t n_pairs);

/* The phase at `frame`: the turns modulo 1, times 2^64, rounded down. */
uint64_t attn_rope_phase (AttnTurns turns, uint64_t frame);

/* Cosine and sine of a phase, each within 0.5001 units in the last place; the same bits everywhere. */
void attn_rope_angle (uint64_t phase, float *cosine, float *sine);

/* cosines, sines [n_pairs] of `frame`. */
void attn_rope_angles (const AttnTurns *turns, size_t n_pairs, uint64_t frame, float *cosines, float *sines);

/* ---- ALiBi (Press et al. 2022) and relative bias ---- */

/* The amount that a score loses per frame of distance, rounded to nearest; head < n_heads. */
float attn_alibi_slope (size_t head, size_t n_heads);

/* biases [16] times log2 (e) of the keys `first` ... `first` + 15, as seen by a frame that is not before them. */
void attn_alibi_biases (float slope, uint64_t frame, uint64_t first, float *biases);

/*
 * The biases of one head for the keys from frame `first` on, as frame `frame` sees them in its window. The caller may
 * ask for up to ATTN_LANES - 1 keys on either side of the window, as in a tile; their biases are 0.
 */
static inline const float *
attn_position_bias (const AttnPositions *positions, const AttnSizes *sizes, size_t head, uint64_t frame, uint64_t first)
{
  /* Modulo 2^64: the window may begin before frame 0. */
  return positions->biases + head * positions->bias_stride + (first + ATTN_LANES + sizes->window - 1 - frame);
}

#endif
