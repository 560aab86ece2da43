/* libattn: the mathematics of the block `attention`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/attention.h"

#include <string.h>

#include "blocks/linear.h"

/*
 * The size of the largest left operand: a block's frames, contexts or queries, or its weights, which take a step for
 * two tiles and one more where tiles do not follow each other: behind the sinks, where the ring begins anew, and at the
 * end.
 */
static size_t
max_left_size (const AttnRing *ring)
{
  const AttnSizes *sizes = ring->sizes;
  size_t n = sizes->n_features > sizes->n_context ? sizes->n_features : sizes->n_context;
  size_t n_steps = (ring->n_slots + 3) / 2;

  n = n > sizes->dk ? n : sizes->dk;
  return attn_left_size (n > n_steps * ATTN_STEP ? n : n_steps * ATTN_STEP);
}

static float *
take_rows (AttnArena *arena, size_t n_rows, size_t n)
{
  return attn_arena_take (arena, attn_size_mul (attn_size_mul (n_rows, n), sizeof (float)));
}

void
attn_scratch_plan (AttnScratch *scratch, const AttnAttention *attention, const AttnRing *ring, AttnArena *arena)
{
  const AttnSizes *sizes = &attention->sizes;
  size_t left_size = sizes->is_split ? max_left_size (ring) : 0;

  *scratch = (AttnScratch){ .left_size = left_size };
  scratch->projected = take_rows (arena, ATTN_LANES, sizes->n_projected);
  scratch->contexts = take_rows (arena, ATTN_LANES, sizes->n_context);
  scratch->scores = take_rows (arena, sizes->n_threads * ATTN_LANES * ATTN_LANES, ring->n_slots);
  scratch->slots = attn_arena_take (arena, ring->n_slots * sizeof (uint32_t));
  scratch->masks = attn_arena_take (arena, attn_size_mul (ring->n_slots, ATTN_LANES * sizeof (uint16_t)));
  scratch->left =
      attn_arena_take (arena, attn_size_mul (attn_size_mul (sizes->n_threads, left_size), sizeof (uint16_t)));
  if (attention->distances.n_tiles != 0) {
    scratch->queries = take_rows (arena, 2 * ATTN_LANES, sizes->n_query);
    scratch->distances = take_rows (arena, sizes->n_threads * ATTN_LANES, attn_distances_row (&attention->distances));
  }
  scratch->cosines = take_rows (arena, 1, sizes->n_rope_pairs);
  scratch->sines = take_rows (arena, 1, sizes->n_rope_pairs);
}

/* The threads that share the work on `n` frames; NULL: sharing is not worth it. */
static inline AttnPool *
pool_for (const AttnAttentionState *state, size_t n)
{
  const AttnAttention *attention = state->attention;

  return attn_work_pool (state->work, n * attention->n_operations, n * attention->n_values);
}

/* ---- frames to queries, keys and values ---- */

/* Rotates (RoPE) the queries and keys of frame number `frame`: projected [n_query + n_key]. */
static void
rotate_frame (AttnAttentionState *state, uint64_t frame, float *projected)
{
  const AttnAttention *attention = state->attention;
  const AttnSizes *sizes = &attention->sizes;
  AttnScratch *scratch = &state->scratch;
  size_t head;

  attn_rope_angles (attention->positions.turns, sizes->n_rope_pairs, frame, scratch->cosines, scratch->sines);
  for (head = 0; head < sizes->n_heads + sizes->n_kv_heads; head++)
    attention->block.machine->kernels->rotate (projected + head * sizes->dk, scratch->cosines, scratch->sines,
                                               sizes->n_rope_pairs, sizes->rope_layout);
}

void
attn_take_frames (AttnAttentionState *state, const float *frames, size_t n)
{
  attn_ring_prefetch (&state->ring);
  state->taken = frames;
  state->n_taken = n;
}

/* From the frames taken to scratch->projected [n_taken][n_projected]; the identity copies. False: the stream waits. */
static bool
project (AttnAttentionState *state)
{
  const AttnAttention *attention = state->attention;
  const AttnScratch *scratch = &state->scratch;
  size_t n_features = attention->sizes.n_features, i, copy;

  if (attention->input.weight != NULL)
    return attn_linear_share (attention->block.machine, state->work, pool_for (state, state->n_taken),
                              &attention->input, scratch->left, scratch->projected, state->taken, state->n_taken);
  for (i = 0; i < state->n_taken; i++)
    for (copy = 0; copy < 3; copy++)
      memcpy (scratch->projected + i * attention->sizes.n_projected + copy * n_features, state->taken + i * n_features,
              n_features * sizeof (float));
  return true;
}

bool
attn_project_frames (AttnAttentionState *state)
{
  const AttnAttention *attention = state->attention;
  const AttnSizes *sizes = &attention->sizes;
  const AttnKernels *kernels = attention->block.machine->kernels;
  uint64_t frame = state->ring.next;
  size_t i;

  if (!project (state))
    return false;
  for (i = 0; i < state->n_taken; i++) {
    float *query = state->scratch.projected + i * sizes->n_projected;

    if (sizes->qk_norm != ATTN_QK_NORM_NONE) {
      kernels->norm (query, query, sizes->n_heads, &attention->query_norm);
      kernels->norm (query + sizes->n_query, query + sizes->n_query, sizes->n_kv_heads, &attention->key_norm);
    }
    if (sizes->position == ATTN_POSITION_ROPE)
      rotate_frame (state, frame + i, query);
    kernels->scale (attn_delay_add (&state->queries, frame + i), query, sizes->query_factor, sizes->n_query);
  }
  state->n_projected = state->n_taken;
  state->n_taken = state->n_stored = 0;
  return true;
}

bool
attn_store_frames (AttnAttentionState *state)
{
  const AttnSizes *sizes = &state->attention->sizes;
  const float *keys = state->scratch.projected + state->n_stored * sizes->n_projected + sizes->n_query;
  size_t room = attn_ring_room (&state->ring), n = state->n_projected - state->n_stored;

  if (n == 0)
    return false;
  n = n < room ? n : room;
  attn_ring_write (&state->ring, state->attention->block.machine, pool_for (state, n), keys, keys + sizes->n_key,
                   sizes->n_projected, n);
  state->n_stored += n;
  return true;
}

/* ---- rows of scores ---- */

/*
 * Rows of scores, and whose they are: row r belongs to head head + r head_step of frame number frame + r frame_step;
 * one of the steps is 1, the other 0.
 */
typedef struct {
  const AttnAttention *attention;
  const AttnMachine *machine;
  const AttnView *view;
  AttnRows rows;
  size_t head, head_step, kv_head; /* kv_head: the key/value head of `head` */
  uint64_t frame, frame_step;
  uint16_t *left;   /* room for a left operand; NULL: not for the matrix unit */
  float *distances; /* [n_rows][attn_distances_row ()], scores by distance; NULL: there are none */
} Rows;

/* A sink that the window has left behind: ALiBi counts its distance; a trained bias has no entry for it. */
static void
bias_sinks (const Rows *a, size_t head, uint64_t frame, float *scores)
{
  float biases[ATTN_LANES];
  size_t tile;

  if (a->attention->sizes.position != ATTN_POSITION_ALIBI)
    return;
  for (tile = 0; tile < a->view->n_sink_tiles; tile++) {
    attn_alibi_biases (a->attention->positions.slopes[head], frame, tile * ATTN_LANES, biases);
    a->machine->kernels->add_biases (scores + tile * ATTN_LANES, biases, 1);
  }
}

/*
 * What is added to the scores of a row in tiles whose first lane is frame `first`. Up to 15 lanes on either side of the
 * window may be asked for, which nobody attends to.
 */
static const float *
biases_of (const Rows *a, size_t row, uint64_t first)
{
  const AttnAttention *attention = a->attention;
  uint64_t frame = a->frame + row * a->frame_step;

  if (a->distances == NULL)
    return attn_position_bias (&attention->positions, &attention->sizes, a->head + row * a->head_step, frame, first);
  return a->distances + row * attn_distances_row (&attention->distances)
         + (first + ATTN_LANES + attention->sizes.window - 1 - frame);
}

/*
 * Adds ALiBi, the relative bias or the scores by distance, from the first tile with a frame that the row attends to: a
 * view of several frames may begin with a tile more, which the table does not reach. It ends with the same tile for all
 * of them, because frames come in up to the end of a tile, and what is ready then leaves before the next ones.
 */
static void
bias_row (const Rows *a, size_t row)
{
  const uint16_t *masks = a->rows.masks + row * a->rows.mask_stride;
  float *scores = a->rows.scores + row * a->rows.score_stride;
  size_t head = a->head + row * a->head_step, tile = a->view->n_sink_tiles, n_tiles = a->rows.n_tiles;
  uint64_t frame = a->frame + row * a->frame_step, first;

  bias_sinks (a, head, frame, scores);
  while (tile < n_tiles && masks[tile] == 0)
    tile++;
  first = a->view->first_frame + (tile - a->view->n_sink_tiles) * ATTN_LANES;
  if (tile < n_tiles)
    a->machine->kernels->add_biases (scores + tile * ATTN_LANES, biases_of (a, row, first), n_tiles - tile);
}

/* Divides the weights of a row in its tiles and moves them to their slots [span]. */
static void
store_weights (const Rows *a, size_t row, float *weights)
{
  const AttnSizes *sizes = &a->attention->sizes;
  const uint16_t *masks = a->rows.masks + row * a->rows.mask_stride;
  float *scores = a->rows.scores + row * a->rows.score_stride;
  /* The offset from a frame's number to its slot; modulo 2^64, as the window may begin before frame 0. */
  uint64_t to_slot = sizes->n_sinks + sizes->window - 1 - (a->frame + row * a->frame_step);
  size_t tile, lane;

  memset (weights, 0, sizes->span * sizeof *weights);
  a->machine->kernels->scale (scores, scores, a->rows.reciprocals[row], a->rows.n_tiles * ATTN_LANES);
  for (tile = 0; tile < a->rows.n_tiles; tile++) {
    uint64_t slot = tile < a->view->n_sink_tiles
                        ? tile * ATTN_LANES
                        : a->view->first_frame + (tile - a->view->n_sink_tiles) * ATTN_LANES + to_slot;

    for (lane = 0; lane < ATTN_LANES; lane++)
      if (masks[tile] >> lane & 1)
        weights[slot + lane] = scores[tile * ATTN_LANES + lane];
  }
}

/*
 * Multiplies a head's context [dv] by its gain. A gain of 0 writes 0 whatever the context is: 0 * NaN would be NaN. A
 * gain of 1 multiplies nothing.
 */
static void
apply_gain (const AttnAttention *attention, float gain, float *context)
{
  if (gain == 0)
    memset (context, 0, attention->sizes.dv * sizeof *context);
  else if (gain != 1)
    attention->block.machine->kernels->scale (context, context, gain, attention->sizes.dv);
}

static void
score_rows (const Rows *a, const AttnRing *ring, const float *queries, size_t query_stride, size_t key_stride)
{
  const AttnAttention *attention = a->attention;
  size_t dk = attention->sizes.dk;

  if (a->left != NULL && attn_split_left (a->machine->matrix, a->left, queries, query_stride, a->rows.n_rows, dk))
    a->machine->matrix->scores (&a->rows, a->left, attn_ring_split_keys (ring, a->kv_head),
                                attn_right_parts (attention->sizes.precision), dk);
  else
    a->machine->kernels->scores (&a->rows, queries, query_stride, attn_ring_keys (ring, a->kv_head), key_stride, dk);
}

/* The tiles of distances that the rows reach: from the first to before the end. */
static void
reached_tiles (const Rows *a, size_t *first, size_t *end)
{
  const AttnSizes *sizes = &a->attention->sizes;
  size_t n_frames = a->frame_step != 0 ? a->rows.n_rows : 1, i;

  *first = a->attention->distances.n_tiles;
  *end = 0;
  for (i = 0; i < n_frames; i++) {
    uint64_t frame = a->frame + i, to_place = sizes->window - 1 - frame; /* modulo 2^64 */
    size_t oldest = attn_oldest_seen (sizes, frame) + to_place, last = attn_end_seen (sizes, frame) - 1 + to_place;

    *first = oldest / ATTN_LANES < *first ? oldest / ATTN_LANES : *first;
    *end = last / ATTN_LANES >= *end ? last / ATTN_LANES + 1 : *end;
  }
}

/* Scores by distance: queries, query_stride apart, times the products P r_d of their heads. */
static void
score_distances (const Rows *a, const float *queries, size_t query_stride)
{
  const AttnSizes *sizes = &a->attention->sizes;
  const AttnDistances *distances = &a->attention->distances;
  size_t stride = attn_distances_stride (distances, sizes), first, end, row;
  AttnRows rows = a->rows;

  reached_tiles (a, &first, &end);
  rows.n_tiles = end - first;
  rows.slots = distances->slots + first;
  rows.scores = a->distances + (first + 1) * ATTN_LANES;
  rows.score_stride = attn_distances_row (distances);
  a->machine->kernels->scores (&rows, queries, query_stride,
                               (const char *) distances->table
                                   + a->head * stride * attn_precision_size (sizes->precision),
                               a->head_step != 0 ? stride : 0, sizes->dk);
  for (row = 0; row < a->rows.n_rows; row++)
    bias_row (a, row);
}

static void
mix_rows (const Rows *a, const AttnRing *ring, float *contexts, size_t context_stride, size_t value_stride)
{
  const AttnAttention *attention = a->attention;
  size_t dv = attention->sizes.dv;

  if (a->left == NULL
      || !a->machine->matrix->context (&a->rows, contexts, context_stride, a->left,
                                       attn_ring_split_values (ring, a->kv_head),
                                       attn_right_parts (attention->sizes.precision), ring->n_split_rows, dv))
    a->machine->kernels->context (&a->rows, contexts, context_stride, attn_ring_values (ring, a->kv_head), value_stride,
                                  dv);
}

/*
 * From queries, query_stride apart, to contexts, context_stride apart. `weights`, if not NULL, points to the first
 * row's weights; the next row's stand weight_stride behind.
 */
static void
attend_rows (Rows *a, const AttnRing *ring, const float *queries, size_t query_stride, float *contexts,
             size_t context_stride, float *weights, size_t weight_stride)
{
  const AttnSizes *sizes = &a->attention->sizes;
  const AttnKernels *kernels = a->machine->kernels;
  bool own_keys = a->head_step != 0 && sizes->heads_per_kv == 1;
  size_t row;

  score_rows (a, ring, queries, query_stride, own_keys ? ring->n_slots * sizes->dk_stored * ATTN_LANES : 0);
  if (a->distances != NULL)
    score_distances (a, queries + ATTN_LANES * sizes->n_query, query_stride);
  for (row = 0; row < a->rows.n_rows && sizes->softcap.cap != 0; row++)
    kernels->softcap (a->rows.scores + row * a->rows.score_stride, sizes->softcap.factor, sizes->softcap.cap,
                      a->rows.n_tiles);
  for (row = 0; row < a->rows.n_rows && a->attention->positions.biases != NULL; row++)
    bias_row (a, row);
  kernels->softmax (&a->rows);
  mix_rows (a, ring, contexts, context_stride, own_keys ? ring->n_slots * sizes->dv * ATTN_LANES : 0);
  for (row = 0; row < a->rows.n_rows && weights != NULL; row++)
    store_weights (a, row, weights + row * weight_stride);
}

/* ---- blocks of frames ---- */

/*
 * The number of heads from a->head on, before `end`, that one call can take: their gains are not 0, and they share one
 * key/value head or have one each.
 */
static size_t
n_together (const Rows *a, const float *gains, size_t end)
{
  const AttnSizes *sizes = &a->attention->sizes;
  size_t end_of_group = (a->kv_head + 1) * sizes->heads_per_kv, head = a->head, n = 1;

  if (sizes->heads_per_kv != 1 && end_of_group < end)
    end = end_of_group;
  while (n < ATTN_LANES && head + n < end && (gains == NULL || gains[head + n] != 0))
    n++;
  return n;
}

/* A block of frames, whose heads the threads share. */
typedef struct {
  const AttnAttention *attention;
  const AttnMachine *machine;
  const AttnRing *ring;
  AttnScratch *scratch;
  AttnView view;
  uint64_t frame;
  size_t n;
  const float *queries, *gains;
  float *contexts, *weights;
  bool for_unit; /* scores and contexts go through the matrix unit */
} Frames;

/*
 * The block is large enough for a matrix unit, and all that it attends to is split. Other frames in those tiles, out of
 * sight or of another stream, are finite there, and their weights are 0.
 */
static bool
is_for_unit (const Frames *b)
{
  size_t tile, i;

  if (b->machine->matrix == NULL || b->n < attn_least_attended (b->attention->sizes.dk))
    return false;
  for (tile = 0; tile < b->view.n_tiles; tile++) {
    uint16_t not_split = ~b->ring->splittable[b->view.slots[tile]];

    for (i = 0; not_split != 0 && i < b->n; i++)
      if (b->view.masks[i * b->view.n_tiles + tile] & not_split)
        return false;
  }
  return true;
}

/* The heads from `begin` to before `end`, with the working memory of a thread. */
static void
attend_heads (const Frames *b, size_t begin, size_t end, size_t part)
{
  const AttnSizes *sizes = &b->attention->sizes;
  const AttnScratch *scratch = b->scratch;
  float reciprocals[ATTN_LANES];
  Rows a = { .attention = b->attention,
             .machine = b->machine,
             .view = &b->view,
             .frame = b->frame,
             .head_step = b->n == 1,
             .frame_step = b->n != 1 };
  size_t n_heads;

  a.left = b->for_unit ? scratch->left + part * scratch->left_size : NULL;
  if (scratch->distances != NULL)
    a.distances = scratch->distances + part * ATTN_LANES * attn_distances_row (&b->attention->distances);
  a.rows = (AttnRows){
    .n_tiles = b->view.n_tiles,
    .slots = b->view.slots,
    .finite = b->ring->finite,
    .masks = b->view.masks,
    .mask_stride = b->n == 1 ? 0 : b->view.n_tiles,
    .scores = scratch->scores + part * ATTN_LANES * b->ring->n_slots * ATTN_LANES,
    .score_stride = b->view.n_tiles * ATTN_LANES,
    .reciprocals = reciprocals,
    .precision = sizes->precision,
    .is_far = b->ring->is_far,
  };
  a.kv_head = begin / sizes->heads_per_kv;
  for (a.head = begin; a.head < end; a.head += n_heads) {
    bool is_heard = b->gains == NULL || b->gains[a.head] != 0 || b->weights != NULL; /* else nothing reads its result */

    while (a.head >= (a.kv_head + 1) * sizes->heads_per_kv) /* a division takes longer */
      a.kv_head++;
    n_heads = b->n == 1 && is_heard ? n_together (&a, b->weights == NULL ? b->gains : NULL, end) : 1;
    a.rows.n_rows = b->n == 1 ? n_heads : b->n;
    if (is_heard)
      attend_rows (&a, b->ring, b->queries + a.head * sizes->dk, b->n == 1 ? sizes->dk : sizes->n_query,
                   b->contexts + a.head * sizes->dv, b->n == 1 ? sizes->dv : sizes->n_context,
                   b->weights != NULL ? b->weights + a.head * sizes->span : NULL,
                   b->n == 1 ? sizes->span : sizes->n_heads * sizes->span);
  }
}

/* The queries plus u, and behind 16 of these the queries plus v. */
static void
add_query_biases (Frames *b)
{
  const AttnAttention *attention = b->attention;
  const AttnKernels *kernels = b->machine->kernels;
  size_t n_query = attention->sizes.n_query, i;
  float *plus_u = b->scratch->queries, *plus_v = plus_u + ATTN_LANES * n_query;

  for (i = 0; i < b->n; i++) {
    kernels->add (plus_u + i * n_query, b->queries + i * n_query, attention->distances.u, n_query);
    kernels->add (plus_v + i * n_query, b->queries + i * n_query, attention->distances.v, n_query);
  }
  b->queries = plus_u;
}

static void
attend_part (void *data, size_t part, size_t n_parts)
{
  const Frames *b = data;
  size_t n_heads = b->attention->sizes.n_heads;

  attend_heads (b, attn_share (n_heads, part, n_parts), attn_share (n_heads, part + 1, n_parts), part);
}

void
attn_attend (AttnAttentionState *state, size_t n, const float *queries, float *contexts, float *weights)
{
  const AttnAttention *attention = state->attention;
  const AttnSizes *sizes = &attention->sizes;
  AttnScratch *scratch = &state->scratch;
  Frames b = { .attention = attention,
               .machine = attention->block.machine,
               .ring = &state->ring,
               .scratch = scratch,
               .view = { .slots = scratch->slots, .masks = scratch->masks },
               .frame = state->next_output,
               .n = n,
               .queries = queries,
               .gains = state->has_gains ? state->gains : NULL,
               .contexts = contexts,
               .weights = weights };
  size_t head, i;

  if (scratch->queries != NULL)
    add_query_biases (&b);
  attn_ring_view (b.ring, b.frame, n, &b.view);
  b.for_unit = is_for_unit (&b);
  attn_pool_run (pool_for (state, n), attend_part, &b);
  for (i = 0; i < n && b.gains != NULL; i++)
    for (head = 0; head < sizes->n_heads; head++)
      apply_gain (attention, b.gains[head], b.contexts + i * sizes->n_context + head * sizes->dv);
}

bool
attn_finish (AttnAttentionState *state, size_t n, float *out)
{
  const AttnAttention *attention = state->attention;
  AttnScratch *scratch = &state->scratch;

  if (attention->output.weight != NULL)
    return attn_linear_share (attention->block.machine, state->work, pool_for (state, n), &attention->output,
                              scratch->left, out, scratch->contexts, n);
  memcpy (out, scratch->contexts, n * attention->sizes.n_outputs * sizeof *out);
  return true;
}
