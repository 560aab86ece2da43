/*
 * libattn: the parts of the plain operator. sdpa_check.c makes a plan from the caller's description, sdpa_mask.c says
 * which keys a query attends to, sdpa_softmax.c has the precisions of the softmax, sdpa.c computes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_SDPA_H
#define ATTN_SRC_SDPA_H

#include "attn_sdpa.h"
#include "kernels/kernels.h"

/* Everything that follows from a description. */
typedef struct {
  AttnSdpa given; /* with all defaults resolved but that of query_offset */
  size_t n_total; /* keys: past and new ones */
  size_t n_tiles; /* of 16 keys */
  bool has_mask;
  size_t mask_strides[4]; /* elements to the next batch, head, query, key; 0 = the same for all */
  float query_factor;
  AttnSoftcap softcap;
} AttnSdpaPlan;

/* Checks `sdpa` and makes the plan. */
AttnStatus attn_sdpa_plan (AttnSdpaPlan *plan, const AttnSdpa *sdpa, AttnError *error);

/*
 * The place of the first value of row `i` of a head, in a tensor of n rows per head and `width` values per row, in
 * `layout`.
 */
static inline size_t
attn_sdpa_row (AttnLayout layout, size_t n_heads, size_t n, size_t width, size_t batch, size_t head, size_t i)
{
  if (layout == ATTN_LAYOUT_HEADS_INSIDE)
    return ((batch * n + i) * n_heads + head) * width;
  return ((batch * n_heads + head) * n + i) * width;
}

/* A range of keys, or of tiles of keys; empty when begin = end. */
typedef struct {
  size_t begin, end;
} AttnRange;

/* The keys that padding, is_causal and the windows leave to query `i`. */
AttnRange attn_sdpa_visible (const AttnSdpaPlan *plan, size_t batch, size_t i);

/* The masks for one row of scores. A row that broadcasting makes the same for many queries is made once. */
typedef struct {
  bool is_made;
  size_t element;  /* the element of the mask where the row begins */
  float *biases;   /* [n_tiles][16] of the float mask, denormals as 0; meaningless where a mask forbids the key */
  uint16_t *lanes; /* [n_tiles], a bit for each key that the masks allow */
} AttnMaskRow;

AttnStatus attn_mask_row_init (AttnMaskRow *row, const AttnSdpaPlan *plan, AttnError *error);
void attn_mask_row_clear (AttnMaskRow *row);

/* Makes at least the `tiles` of the row of a query. */
void attn_mask_row_make (AttnMaskRow *row, const AttnSdpaPlan *plan, size_t batch, size_t head, size_t i,
                         AttnRange tiles);

/*
 * Sets the `tiles` of lanes [n_tiles] to a bit for each of `keys` that the masks allow as well. `row` NULL: no masks.
 */
void attn_sdpa_lanes (uint16_t *lanes, AttnRange tiles, const AttnMaskRow *row, AttnRange keys);

/*
 * As AttnKernels.softmax, in the precision of `type`. If `type` asks for rounding, the weights are already divided by
 * their sum, and the reciprocals are 1. A row that attends to nothing gets 0, and so do its weights. `masks` is
 * rows->masks: keys whose scores become -inf by rounding are taken out.
 */
void attn_sdpa_softmax (const AttnKernels *kernels, AttnType type, const AttnRows *rows, uint16_t *masks);

#endif
