/* libattn: the plain operator: which keys a query attends to.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sdpa/sdpa.h"

#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "sdpa/types.h"

AttnRange
attn_sdpa_visible (const AttnSdpaPlan *plan, size_t batch, size_t i)
{
  const AttnSdpa *s = &plan->given;
  int64_t n_valid = s->n_valid_keys != NULL ? s->n_valid_keys[batch] : (int64_t) plan->n_total;
  int64_t p = (int64_t) i + (s->query_offset == ATTN_BESIDE_LAST_KEY ? n_valid - s->n_queries : s->query_offset);
  int64_t right = s->is_causal ? 0 : s->right_window;
  int64_t begin = s->left_window == ATTN_UNLIMITED ? 0 : p - s->left_window;
  int64_t end = right == ATTN_UNLIMITED ? n_valid : p + right + 1;

  begin = begin > 0 ? begin : 0;
  end = end < n_valid ? end : n_valid;
  return end > begin ? (AttnRange){ (size_t) begin, (size_t) end } : (AttnRange){ 0, 0 };
}

/* ---- a row of the masks ---- */

AttnStatus
attn_mask_row_init (AttnMaskRow *row, const AttnSdpaPlan *plan, AttnError *error)
{
  size_t size = attn_size_mul (plan->n_tiles, ATTN_LANES * sizeof (float));

  *row = (AttnMaskRow){ 0 };
  if ((row->biases = attn_alloc (size)) && (row->lanes = attn_alloc (plan->n_tiles * sizeof (uint16_t))))
    return ATTN_OK;
  return attn_fail_memory (error, "a row of the mask", size);
}

void
attn_mask_row_clear (AttnMaskRow *row)
{
  attn_free (row->biases);
  attn_free (row->lanes);
}

/* Adds key `j`, whose element of the mask is `element`. */
static void
make_key (AttnMaskRow *row, const AttnSdpa *s, size_t element, size_t j)
{
  float bias = 0;

  if (s->float_mask != NULL)
    attn_type_load (s->type, &bias, s->float_mask, element, 1);
  bias = attn_flush (bias, FLT_MIN);
  if ((s->bool_mask != NULL && !s->bool_mask[element]) || bias == -INFINITY)
    return;
  row->biases[j] = bias;
  row->lanes[j / ATTN_LANES] |= 1u << j % ATTN_LANES;
}

void
attn_mask_row_make (AttnMaskRow *row, const AttnSdpaPlan *plan, size_t batch, size_t head, size_t i, AttnRange tiles)
{
  const size_t *strides = plan->mask_strides;
  size_t element = batch * strides[0] + head * strides[1] + i * strides[2];
  size_t n_keys = plan->given.pad_mask ? plan->given.mask_keys : plan->n_total, j;

  if (strides[2] == 0) { /* shared by all queries: made whole, whatever this query sees */
    if (row->is_made && row->element == element)
      return;
    tiles = (AttnRange){ 0, plan->n_tiles };
  }
  row->is_made = true;
  row->element = element;
  for (j = tiles.begin * ATTN_LANES; j < tiles.end * ATTN_LANES; j++) {
    if (j % ATTN_LANES == 0)
      row->lanes[j / ATTN_LANES] = 0;
    if (j < n_keys)
      make_key (row, &plan->given, element + j * strides[3], j);
  }
}

void
attn_sdpa_lanes (uint16_t *lanes, AttnRange tiles, const AttnMaskRow *row, AttnRange keys)
{
  size_t tile;

  for (tile = tiles.begin; tile < tiles.end; tile++) {
    size_t first = tile * ATTN_LANES, end = keys.end < first + ATTN_LANES ? keys.end : first + ATTN_LANES;
    size_t begin = keys.begin > first ? keys.begin : first;
    uint32_t visible = begin < end ? (1u << (end - first)) - (1u << (begin - first)) : 0;

    lanes[tile] = (uint16_t) (row != NULL ? visible & row->lanes[tile] : visible);
  }
}
