/* libattn: the block `attention`, and its state in a stream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/attention.h"

#include <string.h>

#include "base/hash.h"
#include "blocks/linear.h"
#include "base/status.h"

/* ---- the block ---- */

static AttnProjection
identity (size_t n)
{
  return (AttnProjection){ .n_inputs = n, .n_outputs = n };
}

static AttnStatus
pack_model (AttnAttention *attention, const AttnModel *model, AttnError *error)
{
  const AttnSizes *sizes = &attention->sizes;
  const AttnKernels *kernels = attention->block.machine->kernels;
  AttnProjection *input = &attention->input, *output = &attention->output;
  AttnStatus status = attn_linear_init (input, sizes->n_features, sizes->n_projected, sizes->precision, error);

  if (status || (status = attn_linear_pack (input, 0, "query", &model->query, kernels, error))
      || (status = attn_linear_pack (input, sizes->n_query, "key", &model->key, kernels, error))
      || (status = attn_linear_pack (input, sizes->n_query + sizes->n_key, "value", &model->value, kernels, error)))
    return status;
  *output = identity (sizes->n_context);
  if (model->output.weight != NULL
      && ((status = attn_linear_init (output, sizes->n_context, sizes->n_outputs, sizes->precision, error))
          || (status = attn_linear_pack (output, 0, "output", &model->output, kernels, error))))
    return status;
  if (!sizes->is_split)
    return ATTN_OK;
  status = attn_linear_split (input, error);
  return status != ATTN_OK || output->weight == NULL ? status : attn_linear_split (output, error);
}

/* values [2][dk] become the arrays of the norm. */
static AttnNorm
make_norm (const AttnAttention *attention, const AttnNormVectors *vectors, float *values)
{
  const AttnSizes *sizes = &attention->sizes;
  const AttnKernels *kernels = attention->block.machine->kernels;
  size_t dk = sizes->dk, i;

  kernels->scale (values, vectors->weight, 1, dk);
  if (vectors->bias != NULL)
    kernels->scale (values + dk, vectors->bias, 1, dk);
  for (i = dk; i < 2 * dk; i++)
    values[i] += ATTN_GUARD;
  return (AttnNorm){ dk, sizes->qk_norm == ATTN_QK_NORM_RMS, sizes->qk_norm_eps, values, values + dk };
}

static AttnStatus
init_norms (AttnAttention *attention, const AttnModel *model, AttnError *error)
{
  size_t dk = attention->sizes.dk, bytes = attn_size_mul (dk, 4 * sizeof (float));

  if (attention->sizes.qk_norm == ATTN_QK_NORM_NONE)
    return ATTN_OK;
  attention->norm_values = attn_alloc (bytes);
  if (attention->norm_values == NULL)
    return attn_fail_memory (error, "norms of queries and keys", bytes);
  attention->query_norm = make_norm (attention, &model->query_norm, attention->norm_values);
  attention->key_norm = make_norm (attention, &model->key_norm, attention->norm_values + 2 * dk);
  return ATTN_OK;
}

static uint64_t
count_operations (const AttnSizes *sizes)
{
  uint64_t n_projecting =
      (uint64_t) sizes->n_projected * sizes->n_features + (uint64_t) sizes->n_context * sizes->n_outputs;
  size_t n_scores = sizes->position == ATTN_POSITION_TRANSFORMER_XL ? 2 : 1;
  uint64_t n_attending = (uint64_t) sizes->n_heads * sizes->span * (n_scores * sizes->dk + sizes->dv);

  return 2 * (n_projecting + n_attending);
}

static size_t
count_values (const AttnSizes *sizes)
{
  return sizes->n_features + sizes->n_projected + sizes->n_context + sizes->n_outputs;
}

AttnStatus
attn_attention_new (const AttnConfig *config, const AttnModel *model, const AttnMachine *machine,
                    AttnAttention **result, AttnError *error)
{
  AttnAttention *attention = *result = attn_alloc (sizeof *attention);
  AttnStatus status;

  if (attention == NULL)
    return attn_fail_memory (error, "layer", sizeof *attention);
  attention->block = (AttnBlock){ .kind = &attn_attention_kind, .machine = machine };
  if ((status = attn_attention_sizes (&attention->sizes, config, model, machine, error)))
    return status;
  attention->config = *config;
  attention->config.n_features = attention->sizes.n_features;
  attention->block.n_inputs = attention->sizes.n_features;
  attention->block.n_outputs = attention->sizes.n_outputs;
  attention->block.stride = 1;
  attention->block.reach_back = attention->sizes.window - 1;
  attention->block.reach_ahead = attention->sizes.look_ahead;
  attention->block.period = attention->sizes.chunk;
  attention->n_operations = count_operations (&attention->sizes);
  attention->n_values = count_values (&attention->sizes);
  if ((status = attn_positions_init (&attention->positions, &attention->sizes, model, error))
      || (status = attn_distances_init (&attention->distances, &attention->sizes, model, machine, error))
      || (status = init_norms (attention, model, error)))
    return status;
  if (model != NULL)
    return pack_model (attention, model, error);
  attention->input = attention->output = identity (attention->sizes.n_features);
  return ATTN_OK;
}

static void
attention_free (AttnBlock *block)
{
  AttnAttention *attention = (AttnAttention *) block;

  attn_linear_clear (&attention->input);
  attn_linear_clear (&attention->output);
  attn_positions_clear (&attention->positions);
  attn_distances_clear (&attention->distances);
  attn_free (attention->norm_values);
  attn_free (attention);
}

static void
attention_settle (AttnBlock *block, AttnArena *arena)
{
  AttnAttention *attention = (AttnAttention *) block;

  attn_linear_settle (&attention->input, arena);
  attn_linear_settle (&attention->output, arena);
}

/* Chunks see nothing behind their window, which reaches to the end of the chunk. */
static double
attention_multiplications (const AttnBlock *block)
{
  const AttnAttention *attention = (const AttnAttention *) block;
  const AttnSizes *sizes = &attention->sizes;
  double window = (double) sizes->window + (sizes->chunk != 0 ? 0 : sizes->look_ahead);
  double scores = sizes->n_sinks + window + (attention->distances.n_tiles != 0 ? window : 0);

  return attn_linear_multiplications (&attention->input) + attn_linear_multiplications (&attention->output)
         + scores * sizes->n_query + (sizes->n_sinks + window) * sizes->n_context;
}

static uint64_t
hash_positions (uint64_t hash, const AttnAttention *attention)
{
  const AttnSizes *sizes = &attention->sizes;
  const AttnPositions *positions = &attention->positions;
  size_t i;

  hash = attn_hash_number (hash, sizes->position, 1);
  hash = attn_hash_number (hash, sizes->rope_layout, 1);
  hash = attn_hash_number (hash, sizes->n_rope_pairs, 8);
  for (i = 0; i < sizes->n_rope_pairs; i++) {
    hash = attn_hash_number (hash, positions->turns[i].high, 8);
    hash = attn_hash_number (hash, positions->turns[i].low, 8);
  }
  if (positions->biases != NULL)
    hash = attn_hash_floats (hash, positions->biases, sizes->n_heads * positions->bias_stride);
  return hash;
}

/* What not every layer has changes the hash only where it is there: states of other layers stay valid. */
static uint64_t
hash_chunks (uint64_t hash, const AttnSizes *sizes)
{
  return sizes->chunk == 0 ? hash : attn_hash_number (attn_hash_number (hash, sizes->chunk, 8), sizes->chunks, 8);
}

static uint64_t
hash_norms (uint64_t hash, const AttnAttention *attention)
{
  const AttnSizes *sizes = &attention->sizes;

  if (sizes->qk_norm == ATTN_QK_NORM_NONE)
    return hash;
  hash = attn_hash_number (hash, sizes->qk_norm, 1);
  hash = attn_hash_floats (hash, &sizes->qk_norm_eps, 1);
  return attn_hash_floats (hash, attention->norm_values, 4 * sizes->dk);
}

/*
 * Hashes the numbers that the block computes with, not the fields of the configuration: the same layer in other words
 * (kv-heads 0, or as many as heads) has the same states.
 */
static uint64_t
attention_hash (const AttnBlock *block, uint64_t hash)
{
  const AttnAttention *attention = (const AttnAttention *) block;
  const AttnSizes *sizes = &attention->sizes;
  const uint64_t numbers[] = { sizes->n_features, sizes->n_outputs, sizes->n_heads,    sizes->n_kv_heads, sizes->dk,
                               sizes->dv,         sizes->window,    sizes->look_ahead, sizes->n_sinks };
  size_t i;

  for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    hash = attn_hash_number (hash, numbers[i], 8);
  hash = attn_hash_floats (hash, &sizes->query_factor, 1);
  hash = attn_linear_hash (hash, &attention->input);
  hash = attn_linear_hash (hash, &attention->output);
  hash = attn_hash_floats (hash, &sizes->softcap.factor, 1);
  hash = attn_hash_floats (hash, &sizes->softcap.cap, 1);
  hash = hash_positions (hash, attention);
  hash = attn_distances_hash (hash, &attention->distances, sizes);
  hash = hash_norms (hash, attention);
  hash = hash_chunks (hash, sizes);
  hash = attn_hash_number (hash, sizes->precision, 1);
  return attn_hash_number (hash, sizes->arithmetic, 1);
}

/* ---- the state in a stream ---- */

static void *
attention_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  const AttnAttention *attention = (const AttnAttention *) block;
  const AttnSizes *sizes = &attention->sizes;
  AttnAttentionState *state = attn_arena_take (arena, sizeof *state), plan = { .attention = attention, .work = work };
  size_t n_waiting = sizes->look_ahead < work->max_frames ? sizes->look_ahead : work->max_frames, head;

  attn_ring_plan (&plan.ring, sizes, work->max_frames, arena);
  plan.queries = attn_delay_plan (n_waiting, sizes->n_query, arena);
  attn_work_note (work, sizes->n_features, sizes->n_projected);
  attn_work_note (work, sizes->n_context, sizes->n_outputs);
  attn_scratch_plan (&plan.scratch, attention, &plan.ring, arena);
  plan.gains = attn_arena_take (arena, sizes->n_heads * sizeof (float));
  if (state == NULL)
    return NULL;
  *state = plan;
  for (head = 0; head < sizes->n_heads; head++)
    state->gains[head] = 1;
  return state;
}

static void
attention_reset (void *data, uint64_t first)
{
  AttnAttentionState *state = data;

  attn_ring_reset (&state->ring, first);
  state->next_output = first;
  state->n_projected = state->n_stored = 0;
  state->n_absent = 0;
  state->at_end = false;
  attn_attention_set_row_gains (state, NULL, 0);
}

/*
 * Takes as many absent frames as fit into the current tile, until all waiting frames are absent, too; then any number,
 * as nothing will read what was there.
 */
static uint64_t
take_absent (AttnAttentionState *state, uint64_t n)
{
  size_t room = attn_ring_room (&state->ring);

  if (state->n_absent < state->attention->sizes.look_ahead && n > room)
    n = room;
  attn_delay_skip (&state->queries, state->ring.next, n);
  attn_ring_skip (&state->ring, n);
  state->n_absent += n;
  return n;
}

static uint64_t
attention_take (void *data, const AttnRun *run)
{
  AttnAttentionState *state = data;

  if (!run->present)
    return take_absent (state, run->n);
  attn_take_frames (state, run->values, run->n);
  attn_project_frames (state);
  state->n_absent = 0;
  return run->n;
}

/* The number of frames that have all the later frames they attend to. */
static uint64_t
n_ready (const AttnAttentionState *state)
{
  const AttnSizes *sizes = &state->attention->sizes;
  uint64_t pending = state->ring.next - state->next_output, n_waiting = sizes->look_ahead;

  if (sizes->chunk != 0)
    n_waiting = state->ring.next % sizes->chunk;
  if (state->at_end)
    n_waiting = 0;
  return pending > n_waiting ? pending - n_waiting : 0;
}

/* The next outputs that are ready and stand in one piece, behind `n_before` others of a run; n = 0: none is. */
static AttnRun
next_rows (AttnAttentionState *state, size_t n_before, bool is_wanted)
{
  float *contexts = state->scratch.contexts + n_before * state->attention->sizes.n_context, *weights = NULL;
  uint64_t n = n_ready (state);
  AttnRun rows = { .first = state->next_output };

  if (n == 0)
    return rows;
  rows.present = attn_delay_has (&state->queries, rows.first);
  rows.n = attn_delay_run (&state->queries, rows.first, n);
  if (rows.present && rows.n > ATTN_LANES - n_before)
    rows.n = ATTN_LANES - n_before;
  if (state->by_row)
    weights = attn_attention_begin_rows (state, &rows);
  if (rows.present && (is_wanted || weights != NULL))
    attn_attend (state, rows.n, attn_delay_row (&state->queries, rows.first), contexts, weights);
  if (state->by_row)
    attn_attention_end_rows (state, &rows, weights);
  state->next_output += rows.n;
  return rows;
}

/* A run of present outputs can go on: there is room, and the next one is present, too. */
static bool
goes_on (const AttnAttentionState *state, const AttnRun *run)
{
  return run->present && run->n < ATTN_LANES && attn_delay_has (&state->queries, state->next_output);
}

/*
 * The next run of outputs, with their contexts; n = 0: none is ready. It goes on where a tile or a delay line begins
 * anew: all blocks behind read their parameters once per run.
 */
static AttnRun
next_run (AttnAttentionState *state, bool is_wanted)
{
  AttnRun run = { .first = state->next_output }, rows;

  do {
    rows = next_rows (state, run.n, is_wanted);
    run.n += rows.n;
    run.present = rows.n > 0 ? rows.present : run.present;
    while (n_ready (state) == 0 && attn_store_frames (state))
      ;
    run.more = n_ready (state) > 0;
  } while (run.more && (run.n == 0 || goes_on (state, &run)));
  return run;
}

static AttnRun
attention_give (void *data, float *out)
{
  AttnAttentionState *state = data;
  AttnRun run = state->given;

  if (state->n_taken > 0 && !attn_project_frames (state))
    return run;
  if (run.n == 0)
    run = next_run (state, out != NULL);
  run.values = out;
  state->given.n = 0;
  if (run.n > 0 && run.present && out != NULL && !attn_finish (state, run.n, out))
    state->given = run;
  return run;
}

static void
attention_end (void *data)
{
  AttnAttentionState *state = data;

  state->at_end = true;
}

/* ---- chunks: these are called only where there are some ---- */

static uint64_t
attention_ready (const AttnBlock *block, uint64_t first, uint64_t n)
{
  uint64_t n_waiting = (first + n) % ((const AttnAttention *) block)->sizes.chunk;

  return n > n_waiting ? n - n_waiting : 0;
}

static AttnReads
attention_reads (const AttnBlock *block, AttnReads outputs)
{
  const AttnSizes *sizes = &((const AttnAttention *) block)->sizes;

  return (AttnReads){ attn_oldest_seen (sizes, outputs.oldest), attn_end_seen (sizes, outputs.newest) - 1 };
}

const AttnBlockKind attn_attention_kind = {
  .name = "attention",
  .free = attention_free,
  .ready = attention_ready,
  .reads = attention_reads,
  .settle = attention_settle,
  .multiplications = attention_multiplications,
  .hash = attention_hash,
  .plan = attention_plan,
  .reset = attention_reset,
  .take = attention_take,
  .give = attention_give,
  .end = attention_end,
  .saved_size = attn_attention_saved_size,
  .save = attn_attention_save,
  .check = attn_attention_check,
  .restore = attn_attention_restore,
};
