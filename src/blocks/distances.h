/*
 * libattn: the positions of Transformer-XL (Dai et al. 2019): the products P r_d of every distance d that a window
 * reaches, computed once, when a layer is made. They are stored as keys are, in tiles of 16 distances, so that the
 * kernel of the scores multiplies them by queries. Distances fall, as those to the frames of a window do.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_DISTANCES_H
#define ATTN_SRC_DISTANCES_H

#include "blocks/attention_sizes.h"
#include "blocks/linear.h"

typedef struct {
  size_t n_tiles;  /* that hold the window + look_ahead distances, from window - 1 down; 0: no such positions */
  void *table;     /* [n_heads][n_tiles][dk_stored][16], in the precision of the sizes */
  uint32_t *slots; /* [n_tiles]: 0, 1, 2 ... */
  float *u, *v;    /* [n_query], times the factor of the queries */
} AttnDistances;

/*
 * Does nothing unless the position is ATTN_POSITION_TRANSFORMER_XL; then there is a model. On failure the caller clears
 * the half-built distances by attn_distances_clear ().
 */
AttnStatus attn_distances_init (AttnDistances *distances, const AttnSizes *sizes, const AttnModel *model,
                                const AttnMachine *machine, AttnError *error);
void attn_distances_clear (AttnDistances *distances); /* frees the arrays; accepts zeroed ones */

uint64_t attn_distances_hash (uint64_t hash, const AttnDistances *distances, const AttnSizes *sizes);

/* Elements of the table per head. */
static inline size_t
attn_distances_stride (const AttnDistances *distances, const AttnSizes *sizes)
{
  return distances->n_tiles * sizes->dk_stored * ATTN_LANES;
}

/* Values of a row of scores by distance: its tiles, and one more on either side, which the ends of a window reach. */
static inline size_t
attn_distances_row (const AttnDistances *distances)
{
  return (distances->n_tiles + 2) * ATTN_LANES;
}

#endif
