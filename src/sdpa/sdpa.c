/* libattn: the plain operator: carries out a plan.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sdpa/sdpa.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/float_mode.h"
#include "kernels/machine.h"
#include "base/status.h"
#include "sdpa/types.h"

/* Queries that are computed together, while the keys are in the processor's caches. */
#define BLOCK ATTN_LANES

/* One call: the plan, one key/value head in the form of the kernels, and one block of queries. */
typedef struct {
  AttnSdpaPlan plan;
  const AttnKernels *kernels;

  float *keys;      /* [n_tiles][dk][16] */
  float *values;    /* [n_tiles][16][dv], and ATTN_VALUES_SLACK */
  uint32_t *slots;  /* [n_tiles]: tile i stands at i */
  uint16_t *finite; /* [n_tiles], a bit for each key whose value is finite */

  AttnRange visible[BLOCK]; /* keys that position and padding leave to a query */
  AttnRange tiles;          /* tiles that any of the queries sees, or all tiles */
  float *queries;           /* [BLOCK][dk] */
  float *scores;            /* [BLOCK][n_tiles][16] */
  uint16_t *masks;          /* [BLOCK][n_tiles], the keys that a query attends to */
  float reciprocals[BLOCK];
  float *contexts;  /* [BLOCK][dv] */
  float *line;      /* [n_tiles][16] or [dk], a row on its way from or to a tensor */
  AttnMaskRow mask; /* of the query at hand */
} Operation;

/* ---- set-up ---- */

static AttnStatus
allocate (Operation *op, AttnError *error)
{
  const AttnSdpa *s = &op->plan.given;
  size_t n_tiles = op->plan.n_tiles, tile_row = attn_size_mul (n_tiles, ATTN_LANES * sizeof (float)), tile;
  size_t keys = attn_size_mul (tile_row, s->dk), values = attn_size_mul (tile_row, s->dv);
  size_t key = s->dk * sizeof (float);

  if ((op->keys = attn_alloc (keys)) && (op->values = attn_alloc (attn_size_add (values, ATTN_VALUES_SLACK)))
      && (op->slots = attn_alloc (n_tiles * sizeof *op->slots))
      && (op->finite = attn_alloc (n_tiles * sizeof *op->finite)) && (op->queries = attn_alloc (BLOCK * key))
      && (op->scores = attn_alloc (attn_size_mul (tile_row, BLOCK)))
      && (op->masks = attn_alloc (attn_size_mul (n_tiles, BLOCK * sizeof *op->masks)))
      && (op->contexts = attn_alloc (BLOCK * s->dv * sizeof (float)))
      && (op->line = attn_alloc (tile_row > key ? tile_row : key))) {
    for (tile = 0; tile < n_tiles; tile++)
      op->slots[tile] = (uint32_t) tile;
    return attn_mask_row_init (&op->mask, &op->plan, error);
  }
  return attn_fail_memory (error, "keys and values of one head", attn_size_add (keys, values));
}

/* Whether an output is wanted that has values. Else there may be any number of heads and keys, which do not count. */
static bool
has_outputs (const AttnSdpaPlan *plan)
{
  const AttnSdpa *s = &plan->given;
  bool has_scores = plan->n_total > 0 && (s->weights != NULL || s->scores != NULL);

  return s->n_batches > 0 && s->n_queries > 0 && (s->out != NULL || has_scores);
}

static AttnStatus
init (Operation *op, const AttnSdpa *sdpa, AttnError *error)
{
  AttnMachine machine;
  AttnStatus status;

  *op = (Operation){ .kernels = NULL };
  if ((status = attn_sdpa_plan (&op->plan, sdpa, error))
      || (status = attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, error)))
    return status;
  op->kernels = machine.kernels;
  return has_outputs (&op->plan) ? allocate (op, error) : ATTN_OK;
}

static void
clear (Operation *op)
{
  attn_free (op->keys);
  attn_free (op->values);
  attn_free (op->slots);
  attn_free (op->finite);
  attn_free (op->queries);
  attn_free (op->scores);
  attn_free (op->masks);
  attn_free (op->contexts);
  attn_free (op->line);
  attn_mask_row_clear (&op->mask);
}

/* ---- keys and values ---- */

/* Stores one key and its value, cleaned: key j goes to lane j % 16 of tile j / 16. */
static void
pack_key (Operation *op, size_t j, const void *key, size_t first_key, const void *value, size_t first_value)
{
  const AttnSdpa *s = &op->plan.given;
  float *keys = op->keys + j / ATTN_LANES * ATTN_LANES * s->dk + j % ATTN_LANES;
  float *values = op->values + j * s->dv;
  size_t d;

  attn_type_load (s->type, op->line, key, first_key, s->dk);
  op->kernels->scale (op->line, op->line, 1, s->dk);
  for (d = 0; d < s->dk; d++)
    keys[d * ATTN_LANES] = op->line[d];
  attn_type_load (s->value_type, values, value, first_value, s->dv);
  op->kernels->scale (values, values, 1, s->dv);
  if (!op->kernels->all_below (values, s->dv, attn_infinite_from (ATTN_PRECISION_F32)))
    op->finite[j / ATTN_LANES] &= ~(1u << j % ATTN_LANES);
}

/* The number of new keys that can be asked for: whole tiles, up to the last key that is not padding. */
static size_t
n_needed_keys (const AttnSdpa *s, size_t batch)
{
  size_t n;

  if (s->n_valid_keys == NULL || s->scores != NULL)
    return s->n_keys;
  n = attn_round_up ((size_t) s->n_valid_keys[batch], ATTN_LANES);
  return n < s->n_keys ? n : s->n_keys;
}

static void
pack_head (Operation *op, size_t batch, size_t head)
{
  const AttnSdpa *s = &op->plan.given;
  size_t n_keys = n_needed_keys (s, batch), j;

  memset (op->finite, 0xff, op->plan.n_tiles * sizeof *op->finite);
  for (j = 0; j < s->n_past; j++) {
    size_t row = attn_sdpa_row (ATTN_LAYOUT_HEADS_OUTSIDE, s->n_kv_heads, s->n_past, 1, batch, head, j);

    pack_key (op, j, s->past_key, row * s->dk, s->past_value, row * s->dv);
  }
  for (j = 0; j < n_keys; j++) {
    size_t row = attn_sdpa_row (s->layout, s->n_kv_heads, s->n_keys, 1, batch, head, j);

    pack_key (op, s->n_past + j, s->key, row * s->dk, s->value, row * s->dv);
  }
}

/* Copies one head's past rows and then its new ones, `size` bytes each, unchanged. */
static void
join_head (const AttnSdpa *s, uint8_t *present, const uint8_t *past, const uint8_t *added, size_t size, size_t batch,
           size_t head)
{
  size_t n_total = (size_t) s->n_past + s->n_keys, j;
  size_t past_row = (batch * s->n_kv_heads + head) * s->n_past;

  present += (batch * s->n_kv_heads + head) * n_total * size;
  if (s->n_past > 0)
    memcpy (present, past + past_row * size, s->n_past * size);
  for (j = 0; j < s->n_keys; j++)
    memcpy (present + (s->n_past + j) * size,
            added + attn_sdpa_row (s->layout, s->n_kv_heads, s->n_keys, size, batch, head, j), size);
}

static void
join_all (const AttnSdpa *s)
{
  size_t key_size = s->dk * attn_type_size (s->type), value_size = s->dv * attn_type_size (s->value_type);
  size_t batch, head;

  for (batch = 0; batch < s->n_batches; batch++)
    for (head = 0; head < s->n_kv_heads; head++) {
      join_head (s, s->present_key, s->past_key, s->key, key_size, batch, head);
      join_head (s, s->present_value, s->past_value, s->value, value_size, batch, head);
    }
}

/* ---- scores ---- */

static float *
scores_of (const Operation *op, size_t q)
{
  return op->scores + q * op->plan.n_tiles * ATTN_LANES;
}

static uint16_t *
masks_of (const Operation *op, size_t q)
{
  return op->masks + q * op->plan.n_tiles;
}

/* Query `i` of a head becomes row `q` of the block. */
static void
take_query (Operation *op, size_t batch, size_t head, size_t i, size_t q)
{
  const AttnSdpa *s = &op->plan.given;
  float *query = op->queries + q * s->dk;
  size_t first = attn_sdpa_row (s->layout, s->n_heads, s->n_queries, s->dk, batch, head, i);

  attn_type_load (s->type, query, s->query, first, s->dk);
  op->kernels->scale (query, query, 1, s->dk); /* a denormal is 0 even if the factor is large */
  op->kernels->scale (query, query, op->plan.query_factor, s->dk);
  op->visible[q] = attn_sdpa_visible (&op->plan, batch, i);
}

/* The tiles that any of n queries sees; all of them when scores are stored. */
static AttnRange
tiles_of_block (const Operation *op, size_t n)
{
  AttnRange keys = op->visible[0];
  size_t q;

  if (op->plan.given.scores != NULL)
    return (AttnRange){ 0, op->plan.n_tiles };
  for (q = 1; q < n; q++) {
    AttnRange visible = op->visible[q];

    if (visible.begin == visible.end)
      continue;
    keys.begin = keys.begin == keys.end || visible.begin < keys.begin ? visible.begin : keys.begin;
    keys.end = visible.end > keys.end ? visible.end : keys.end;
  }
  return (AttnRange){ keys.begin / ATTN_LANES, (keys.end + ATTN_LANES - 1) / ATTN_LANES };
}

/* Limits a float mask's entry to the range in which log2 (e) times it is finite; NaN and infinity stay. */
static inline float
limit_bias (float x)
{
  const float limit = 0x1p126f;

  return !isinf (x) && fabsf (x) > limit ? copysignf (limit, x) : x;
}

static void
add_biases (float *scores, const float *biases, AttnRange tiles)
{
  const float log2_e = 0x1.715476p0f;
  size_t j;

  for (j = tiles.begin * ATTN_LANES; j < tiles.end * ATTN_LANES; j++)
    scores[j] = fmaf (limit_bias (biases[j]), log2_e, scores[j]);
}

/* ---- outputs ---- */

/* Sets values [n_tiles][16] to `other` wherever the query does not attend to a key. */
static void
fill_unattended (const Operation *op, size_t q, float *values, float other)
{
  size_t j;

  for (j = 0; j < op->plan.n_tiles * ATTN_LANES; j++) {
    size_t tile = j / ATTN_LANES;

    if (tile < op->tiles.begin || tile >= op->tiles.end || !(masks_of (op, q)[tile] >> j % ATTN_LANES & 1))
      values[j] = other;
  }
}

/* Stores the scores of `stage`, in units of 1 and without the guard, if the caller wants this stage. */
static void
store_scores (Operation *op, AttnScores stage, size_t q, size_t row)
{
  const AttnSdpa *s = &op->plan.given;
  const float ln_2 = 0x1.62e430p-1f, *scores = scores_of (op, q);
  size_t n = op->plan.n_tiles * ATTN_LANES, j;

  if (s->scores == NULL || s->scores_stage != stage)
    return;
  for (j = 0; j < n; j++) {
    bool is_biased = stage == ATTN_SCORES_MASKED && s->float_mask != NULL;
    float bias = is_biased ? op->mask.biases[j] : 0;

    op->line[j] = fmaf (scores[j] - ATTN_GUARD, ln_2, bias + ATTN_GUARD) - ATTN_GUARD;
  }
  op->kernels->scale (op->line, op->line, 1, n);
  if (stage == ATTN_SCORES_MASKED)
    fill_unattended (op, q, op->line, -INFINITY);
  attn_type_store (s->type, s->scores, row * op->plan.n_total, op->line, op->plan.n_total);
}

static void
store_weights (Operation *op, size_t q, size_t row)
{
  const AttnSdpa *s = &op->plan.given;
  size_t begin = op->tiles.begin * ATTN_LANES, n = (op->tiles.end - op->tiles.begin) * ATTN_LANES;

  op->kernels->scale (op->line + begin, scores_of (op, q) + begin, op->reciprocals[q], n);
  fill_unattended (op, q, op->line, 0);
  attn_type_store (s->type, s->weights, row * op->plan.n_total, op->line, op->plan.n_total);
}

/* ---- blocks of queries ---- */

/*
 * Computes the scores of query `i` before the softmax, and the keys that it attends to; stores the scores on the way if
 * the caller wants them.
 */
static void
finish_scores (Operation *op, size_t batch, size_t head, size_t i, size_t q)
{
  const AttnSdpaPlan *plan = &op->plan;
  size_t row = (batch * plan->given.n_heads + head) * plan->given.n_queries + i;
  float *scores = scores_of (op, q);

  store_scores (op, ATTN_SCORES_PRODUCT, q, row);
  if (plan->softcap.cap != 0)
    op->kernels->softcap (scores + op->tiles.begin * ATTN_LANES, plan->softcap.factor, plan->softcap.cap,
                          op->tiles.end - op->tiles.begin);
  store_scores (op, ATTN_SCORES_CAPPED, q, row);
  if (plan->has_mask)
    attn_mask_row_make (&op->mask, plan, batch, head, i, op->tiles);
  attn_sdpa_lanes (masks_of (op, q), op->tiles, plan->has_mask ? &op->mask : NULL, op->visible[q]);
  store_scores (op, ATTN_SCORES_MASKED, q, row);
  if (plan->given.float_mask != NULL)
    add_biases (scores, op->mask.biases, op->tiles);
}

/* Computes the weights, and the contexts if they are wanted, of queries [first, first + n) of one head. */
static void
attend (Operation *op, size_t batch, size_t head, size_t first, size_t n)
{
  const AttnSdpa *s = &op->plan.given;
  AttnRows rows = {
    .n_rows = n,
    .n_tiles = op->tiles.end - op->tiles.begin,
    .slots = op->slots + op->tiles.begin,
    .finite = op->finite,
    .masks = op->masks + op->tiles.begin,
    .mask_stride = op->plan.n_tiles,
    .scores = op->scores + op->tiles.begin * ATTN_LANES,
    .score_stride = op->plan.n_tiles * ATTN_LANES,
    .reciprocals = op->reciprocals,
    .precision = ATTN_PRECISION_F32,
  };
  size_t q;

  op->kernels->scores (&rows, op->queries, s->dk, op->keys, 0, s->dk);
  for (q = 0; q < n; q++)
    finish_scores (op, batch, head, first + q, q);
  attn_sdpa_softmax (op->kernels, s->softmax_type, &rows, op->masks + op->tiles.begin);
  if (s->out != NULL)
    op->kernels->context (&rows, op->contexts, s->dv, op->values, 0, s->dv);
}

/* Queries [first, first + n) of one head. */
static void
answer_block (Operation *op, size_t batch, size_t head, size_t first, size_t n)
{
  const AttnSdpa *s = &op->plan.given;
  size_t q;

  for (q = 0; q < n; q++)
    take_query (op, batch, head, first + q, q);
  op->tiles = tiles_of_block (op, n);
  attend (op, batch, head, first, n);
  for (q = 0; q < n; q++) {
    size_t out = attn_sdpa_row (s->layout, s->n_heads, s->n_queries, s->dv, batch, head, first + q);

    if (s->out != NULL)
      attn_type_store (s->type, s->out, out, op->contexts + q * s->dv, s->dv);
    if (s->weights != NULL)
      store_weights (op, q, (batch * s->n_heads + head) * s->n_queries + first + q);
  }
}

static void
answer_all (Operation *op)
{
  const AttnSdpa *s = &op->plan.given;
  size_t heads_per_kv = s->n_heads / s->n_kv_heads;
  size_t batch, head, i;

  for (batch = 0; batch < s->n_batches; batch++)
    for (head = 0; head < s->n_heads; head++) {
      if (head % heads_per_kv == 0)
        pack_head (op, batch, head / heads_per_kv);
      for (i = 0; i < s->n_queries; i += BLOCK)
        answer_block (op, batch, head, i, s->n_queries - i < BLOCK ? s->n_queries - i : BLOCK);
    }
}

AttnStatus
attn_sdpa (const AttnSdpa *sdpa, AttnError *error)
{
  uint64_t mode = attn_float_enter (); /* the factors of scores are rounded, too */
  Operation op;
  AttnStatus status = init (&op, sdpa, error);

  if (status == ATTN_OK) {
    if (has_outputs (&op.plan))
      answer_all (&op);
    if (op.plan.given.present_key != NULL && op.plan.n_total > 0)
      join_all (&op.plan.given);
    attn_succeed (error);
  }
  clear (&op);
  attn_float_leave (mode);
  return status;
}
