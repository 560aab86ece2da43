/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "alloc.h"
#include "cpu.h"
#include "kernels.h"
#include "status.h"

/* One call: everything that follows from the caller's description, and one key/value head as the kernels want it. */
typedef struct {
  AttnSdpa given; /* with its defaults resolved */
  const AttnKernels *kernels;
  float query_factor;
  AttnSoftcap softcap;
  size_t n_tiles;
  size_t dv_padded;
  size_t mask_strides[4]; /* elements to the next batch, head, query, key; 0 = the same for all */

  float *keys;      /* [n_tiles][dk][16] */
  float *values;    /* [n_tiles][16][dv_padded] */
  float *row;       /* [dk], a key or query, cleaned */
  float *scores;    /* [n_tiles][16] */
  uint32_t *slots;  /* [n_tiles]: tile i stands at i */
  uint16_t *finite; /* [n_tiles] */
  uint16_t *masks;  /* [n_tiles] */
} Operation;

AttnSdpa
attn_sdpa_default (void)
{
  return (AttnSdpa){
    .n_batches = 1,
    .n_heads = 1,
    .mask_batches = 1,
    .mask_heads = 1,
    .left_window = ATTN_UNLIMITED,
    .right_window = ATTN_UNLIMITED,
  };
}

/* ---- checks ---- */

static AttnStatus
check_size (const char *name, uint32_t value, AttnError *error)
{
  if (value >= 1 && value <= ATTN_MAX_FEATURES)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, expected 1 to %u", name, value, ATTN_MAX_FEATURES);
}

static AttnStatus
check_sizes (const AttnSdpa *s, AttnError *error)
{
  AttnStatus status;

  if ((status = check_size ("n_heads", s->n_heads, error)) || (status = check_size ("n_kv_heads", s->n_kv_heads, error))
      || (status = check_size ("dk", s->dk, error)) || (status = check_size ("dv", s->dv, error)))
    return status;
  if (s->n_heads % s->n_kv_heads != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "%u heads cannot share %u kv-heads: no whole number of heads for each",
                      s->n_heads, s->n_kv_heads);
  return ATTN_OK;
}

static AttnStatus
check_options (const AttnSdpa *s, AttnError *error)
{
  size_t i;

  if (s->layout > ATTN_LAYOUT_HEADS_INSIDE)
    return attn_fail (error, ATTN_ERROR_CONFIG, "layout is %u, expected 0 (heads outside) or 1 (heads inside)",
                      s->layout);
  if (s->is_causal > 1)
    return attn_fail (error, ATTN_ERROR_CONFIG, "is_causal is %u, expected 0 or 1", s->is_causal);
  for (i = 0; i < sizeof s->reserved / sizeof s->reserved[0]; i++)
    if (s->reserved[i] != 0)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "reserved field %zu of AttnSdpa is %llu, expected 0: start from attn_sdpa_default ()", i,
                        (unsigned long long) s->reserved[i]);
  return ATTN_OK;
}

/* That the bytes of a tensor can be addressed, and that it is there unless it is empty. */
static AttnStatus
check_tensor (const char *name, const void *tensor, bool optional, const uint32_t sizes[4], size_t element,
              AttnError *error)
{
  size_t bytes = element;
  bool empty = false;
  int i;

  if (optional && tensor == NULL)
    return ATTN_OK;
  for (i = 0; i < 4; i++) {
    empty = empty || sizes[i] == 0;
    bytes = attn_size_mul (bytes, sizes[i]);
  }
  if (empty)
    return ATTN_OK;
  if (bytes > PTRDIFF_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "%s would be too large to address: %u x %u x %u x %u values", name,
                      sizes[0], sizes[1], sizes[2], sizes[3]);
  if (tensor == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG, "%s is NULL, expected %u x %u x %u x %u values", name, sizes[0],
                      sizes[1], sizes[2], sizes[3]);
  return ATTN_OK;
}

static AttnStatus
check_tensors (const AttnSdpa *s, AttnError *error)
{
  const uint32_t query[] = { s->n_batches, s->n_heads, s->n_queries, s->dk };
  const uint32_t key[] = { s->n_batches, s->n_kv_heads, s->n_keys, s->dk };
  const uint32_t value[] = { s->n_batches, s->n_kv_heads, s->n_keys, s->dv };
  const uint32_t out[] = { s->n_batches, s->n_heads, s->n_queries, s->dv };
  const uint32_t weights[] = { s->n_batches, s->n_heads, s->n_queries, s->n_keys };
  AttnStatus status;

  if (s->out == NULL && s->weights == NULL && s->n_batches != 0 && s->n_queries != 0)
    return attn_fail (error, ATTN_ERROR_CONFIG, "out and weights are both NULL: nothing is asked for");
  if ((status = check_tensor ("query", s->query, false, query, sizeof (float), error))
      || (status = check_tensor ("key", s->key, false, key, sizeof (float), error))
      || (status = check_tensor ("value", s->value, false, value, sizeof (float), error))
      || (status = check_tensor ("out", s->out, true, out, sizeof (float), error)))
    return status;
  return check_tensor ("weights", s->weights, true, weights, sizeof (float), error);
}

/* One size of a mask: 0 becomes that of the scores. */
static AttnStatus
check_mask_size (const char *name, uint32_t *size, const char *of_scores, uint32_t full, AttnError *error)
{
  if (*size == 0)
    *size = full;
  if (*size == full || *size == 1)
    return ATTN_OK;
  return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %u, but %s is %u: expected that, or 1 to broadcast", name, *size,
                    of_scores, full);
}

/* The mask's sizes, and the strides that follow: 0 along what is broadcast. */
static AttnStatus
check_mask (AttnSdpa *s, size_t strides[4], AttnError *error)
{
  uint32_t sizes[4];
  size_t stride = 1;
  AttnStatus status;
  int i;

  if (s->bool_mask == NULL && s->float_mask == NULL)
    return ATTN_OK;
  if ((status = check_mask_size ("mask_batches", &s->mask_batches, "n_batches", s->n_batches, error))
      || (status = check_mask_size ("mask_heads", &s->mask_heads, "n_heads", s->n_heads, error))
      || (status = check_mask_size ("mask_queries", &s->mask_queries, "n_queries", s->n_queries, error))
      || (status = check_mask_size ("mask_keys", &s->mask_keys, "n_keys", s->n_keys, error)))
    return status;
  memcpy (sizes, (uint32_t[]){ s->mask_batches, s->mask_heads, s->mask_queries, s->mask_keys }, sizeof sizes);
  if ((status = check_tensor ("bool_mask", s->bool_mask, true, sizes, sizeof (uint8_t), error))
      || (status = check_tensor ("float_mask", s->float_mask, true, sizes, sizeof (float), error)))
    return status;
  for (i = 3; i >= 0; i--) {
    strides[i] = sizes[i] == 1 ? 0 : stride;
    stride *= sizes[i];
  }
  return ATTN_OK;
}

/* ---- set-up ---- */

static AttnStatus
resolve (Operation *op, const AttnSdpa *sdpa, AttnError *error)
{
  AttnSdpa *s = &op->given;
  AttnStatus status;

  *op = (Operation){ .given = *sdpa };
  s->n_kv_heads = s->n_kv_heads != 0 ? s->n_kv_heads : s->n_heads;
  s->dv = s->dv != 0 ? s->dv : s->dk;
  if ((status = check_options (s, error)) || (status = check_sizes (s, error))
      || (status = attn_config_scores (s->scale, s->softcap, s->dk, &op->query_factor, &op->softcap, error))
      || (status = check_tensors (s, error)) || (status = check_mask (s, op->mask_strides, error)))
    return status;
  op->n_tiles = ((size_t) s->n_keys + ATTN_LANES - 1) / ATTN_LANES;
  op->dv_padded = attn_round_up (s->dv, ATTN_LANES);
  op->kernels = attn_kernels_pick (error);
  return op->kernels != NULL ? ATTN_OK : ATTN_ERROR_CONFIG;
}

static AttnStatus
allocate (Operation *op, AttnError *error)
{
  size_t tile_row = attn_size_mul (op->n_tiles, ATTN_LANES * sizeof (float));
  size_t keys = attn_size_mul (tile_row, op->given.dk), values = attn_size_mul (tile_row, op->dv_padded), tile;

  if ((op->keys = attn_alloc (keys)) && (op->values = attn_alloc (values))
      && (op->row = attn_alloc (op->given.dk * sizeof (float))) && (op->scores = attn_alloc (tile_row))
      && (op->slots = attn_alloc (op->n_tiles * sizeof *op->slots))
      && (op->finite = attn_alloc (op->n_tiles * sizeof *op->finite))
      && (op->masks = attn_alloc (op->n_tiles * sizeof *op->masks))) {
    for (tile = 0; tile < op->n_tiles; tile++)
      op->slots[tile] = tile;
    return ATTN_OK;
  }
  return attn_fail_memory (error, "keys and values of one head", attn_size_add (keys, values));
}

static void
clear (Operation *op)
{
  attn_free (op->keys);
  attn_free (op->values);
  attn_free (op->row);
  attn_free (op->scores);
  attn_free (op->slots);
  attn_free (op->finite);
  attn_free (op->masks);
}

/* ---- the mathematics ---- */

/* Row `i` of `head` in a tensor of n_heads, n rows per head, `width` values per row: its distance from the start. */
static size_t
row_offset (const AttnSdpa *s, size_t n_heads, size_t n, size_t width, size_t batch, size_t head, size_t i)
{
  if (s->layout == ATTN_LAYOUT_HEADS_INSIDE)
    return ((batch * n + i) * n_heads + head) * width;
  return ((batch * n_heads + head) * n + i) * width;
}

/* Cleaned, key j to lane j % 16 of tile j / 16. */
static void
pack_head (Operation *op, size_t batch, size_t kv_head)
{
  const AttnSdpa *s = &op->given;
  size_t j, d;

  for (j = 0; j < s->n_keys; j++) {
    float *keys = op->keys + j / ATTN_LANES * ATTN_LANES * s->dk + j % ATTN_LANES;

    op->kernels->scale (op->row, s->key + row_offset (s, s->n_kv_heads, s->n_keys, s->dk, batch, kv_head, j), 1, s->dk);
    for (d = 0; d < s->dk; d++)
      keys[d * ATTN_LANES] = op->row[d];
    op->kernels->scale (op->values + j * op->dv_padded,
                        s->value + row_offset (s, s->n_kv_heads, s->n_keys, s->dv, batch, kv_head, j), 1, s->dv);
  }
}

/* The keys [begin, end) that is_causal and the windows leave to query i. */
static void
visible_keys (const AttnSdpa *s, size_t i, size_t *begin, size_t *end)
{
  int64_t p = (int64_t) i + s->n_keys - s->n_queries;
  int64_t right = s->is_causal ? 0 : s->right_window;
  int64_t first = s->left_window == ATTN_UNLIMITED ? 0 : p - s->left_window;
  int64_t last = right == ATTN_UNLIMITED ? s->n_keys - INT64_C (1) : p + right;

  first = first > 0 ? first : 0;
  last = last < s->n_keys ? last : s->n_keys - INT64_C (1);
  *begin = first;
  *end = last >= first ? last + 1 : first;
}

/* A float mask's entry in the range in which log2 (e) times it is finite; NaN and infinity stay. */
static inline float
limit_mask (float x)
{
  const float limit = 0x1p126f;

  if (fabsf (x) < FLT_MIN)
    return 0;
  if (!isinf (x) && fabsf (x) > limit)
    return copysignf (limit, x);
  return x;
}

/* What the masks leave of `lanes` of the tile that begins at key `first`. `mask`: the element of key 0. */
static uint16_t
attended_lanes (const Operation *op, size_t mask, size_t first, uint16_t lanes)
{
  const AttnSdpa *s = &op->given;
  int lane;

  for (lane = 0; lane < ATTN_LANES; lane++) {
    size_t element = mask + (first + lane) * op->mask_strides[3];

    if (!(lanes >> lane & 1)) /* it may be no key at all */
      continue;
    if ((s->bool_mask != NULL && !s->bool_mask[element])
        || (s->float_mask != NULL && s->float_mask[element] == -INFINITY))
      lanes &= ~(1u << lane);
  }
  return lanes;
}

/* Fills in op->masks for the tiles [begin / 16, ...) of keys [begin, end); false when nothing is left. */
static bool
mask_tiles (Operation *op, size_t mask, size_t begin, size_t end)
{
  bool masked = op->given.bool_mask != NULL || op->given.float_mask != NULL, any = false;
  size_t tile;

  for (tile = begin / ATTN_LANES; tile * ATTN_LANES < end; tile++) {
    size_t first = tile * ATTN_LANES;
    uint32_t lanes = 0xffff;

    if (begin > first)
      lanes = lanes << (begin - first) & 0xffff;
    if (end - first < ATTN_LANES)
      lanes &= 0xffff >> (first + ATTN_LANES - end);
    op->masks[tile] = masked ? attended_lanes (op, mask, first, lanes) : lanes;
    any = any || op->masks[tile] != 0;
  }
  return any;
}

/* Adds the float mask where a key is attended to. */
static void
add_mask (Operation *op, size_t mask, size_t begin_tile, size_t end_tile)
{
  const float log2_e = 0x1.715476p0f;
  size_t j;

  for (j = begin_tile * ATTN_LANES; j < end_tile * ATTN_LANES; j++)
    if (op->masks[j / ATTN_LANES] >> j % ATTN_LANES & 1)
      op->scores[j] = fmaf (limit_mask (op->given.float_mask[mask + j * op->mask_strides[3]]), log2_e, op->scores[j]);
}

/* rows->scores for the query in op->row: on the scale of powers of two, masks included. */
static void
score_tiles (Operation *op, const AttnRows *rows, size_t mask, size_t begin)
{
  op->kernels->scores (rows, op->row, 0, op->keys, 0, op->given.dk);
  if (op->softcap.cap != 0)
    op->kernels->softcap (rows->scores, op->softcap.factor, op->softcap.cap, rows->n_tiles);
  if (op->given.float_mask != NULL)
    add_mask (op, mask, begin, begin + rows->n_tiles);
}

/* weights [n_keys], which are 0 so far: those that are attended to. */
static void
store_weights (const Operation *op, size_t begin_tile, size_t end_tile, float reciprocal, float *weights)
{
  size_t j;

  for (j = begin_tile * ATTN_LANES; j < end_tile * ATTN_LANES; j++)
    if (op->masks[j / ATTN_LANES] >> j % ATTN_LANES & 1)
      op->kernels->scale (&weights[j], &op->scores[j], reciprocal, 1);
}

/* One query of one head: out [dv] and weights [n_keys], each NULL when it is not wanted. */
static void
answer (Operation *op, const float *query, size_t mask, size_t i, float *out, float *weights)
{
  const AttnSdpa *s = &op->given;
  size_t begin, end, begin_tile, end_tile;
  float reciprocal;
  AttnRows rows = { .n_rows = 1, .finite = op->finite, .reciprocals = &reciprocal };

  visible_keys (s, i, &begin, &end);
  if (out != NULL)
    memset (out, 0, s->dv * sizeof *out);
  if (weights != NULL)
    memset (weights, 0, s->n_keys * sizeof *weights);
  if (!mask_tiles (op, mask, begin, end))
    return;

  begin_tile = begin / ATTN_LANES;
  end_tile = (end - 1) / ATTN_LANES + 1;
  op->kernels->scale (op->row, query, 1, s->dk); /* a denormal is 0 also when the factor is large */
  op->kernels->scale (op->row, op->row, op->query_factor, s->dk);
  rows.n_tiles = end_tile - begin_tile;
  rows.slots = op->slots + begin_tile;
  rows.masks = op->masks + begin_tile;
  rows.scores = op->scores + begin_tile * ATTN_LANES;
  score_tiles (op, &rows, mask, begin_tile);
  op->kernels->softmax (&rows);
  if (out != NULL)
    op->kernels->context (&rows, out, 0, op->values, 0, s->dv);
  if (weights != NULL)
    store_weights (op, begin_tile, end_tile, reciprocal, weights);
}

static void
answer_head (Operation *op, size_t batch, size_t head)
{
  const AttnSdpa *s = &op->given;
  size_t i;

  for (i = 0; i < s->n_queries; i++) {
    size_t mask = batch * op->mask_strides[0] + head * op->mask_strides[1] + i * op->mask_strides[2];
    size_t query = row_offset (s, s->n_heads, s->n_queries, s->dk, batch, head, i);
    size_t out = row_offset (s, s->n_heads, s->n_queries, s->dv, batch, head, i);
    size_t weights = ((batch * s->n_heads + head) * s->n_queries + i) * s->n_keys;

    answer (op, s->query + query, mask, i, s->out != NULL ? s->out + out : NULL,
            s->weights != NULL ? s->weights + weights : NULL);
  }
}

static void
answer_all (Operation *op)
{
  const AttnSdpa *s = &op->given;
  size_t heads_per_kv = s->n_heads / s->n_kv_heads;
  size_t batch, head;

  for (batch = 0; batch < s->n_batches; batch++)
    for (head = 0; head < s->n_heads; head++) {
      if (head % heads_per_kv == 0)
        pack_head (op, batch, head / heads_per_kv);
      answer_head (op, batch, head);
    }
}

AttnStatus
attn_sdpa (const AttnSdpa *sdpa, AttnError *error)
{
  uint64_t mode = attn_float_enter (); /* the factors of scores are rounded, too */
  Operation op;
  AttnStatus status = resolve (&op, sdpa, error);

  if (status == ATTN_OK)
    status = allocate (&op, error);
  if (status == ATTN_OK) {
    answer_all (&op);
    attn_succeed (error);
  }
  clear (&op);
  attn_float_leave (mode);
  return status;
}
