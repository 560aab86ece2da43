/*
 * libattn: the block `conv`.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows are counted with the zeros on the left: output k of a stream reads the rows k stride + j dilation. The rows that
 * outputs may still read stand in one piece, oldest first; when there is no room behind them, they move to the front.
 */
#include "blocks/conv.h"

#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "blocks/framewise.h"
#include "blocks/linear.h"
#include "blocks/rows.h"

typedef struct {
  AttnBlock block;
  size_t n_taps, n_groups;
  uint64_t dilation, left, right;
  uint64_t span;               /* rows from the first to the last that an output reads */
  AttnProjection *projections; /* [n_groups], each over all taps of a group; NULL: each value is convolved by itself */
  float *weight;               /* [n_taps][width], if each value is convolved by itself */
  float *start;                /* [width] */
  AttnActivation activation;
} Conv;

/* The kinds of rows. */
enum { ABSENT, PRESENT, OUTSIDE };

typedef struct {
  const Conv *conv;
  const AttnWork *work;
  float *rows;       /* [n_slots][n_inputs], rows base ... end - 1; 0 unless PRESENT */
  uint8_t *presence; /* [n_slots] */
  size_t n_slots;
  float *gathered;      /* [16][n_taps][inputs of a group] */
  float *grouped;       /* [16][outputs of a group] */
  size_t group;         /* the groups before it are computed, if the stream waits */
  uint16_t *left;       /* room for a left operand (matrix.h) */
  uint64_t first;       /* the number of the first frame */
  uint64_t base, end;   /* numbers of rows, the zeros on the left included */
  uint64_t next_output; /* counted from 0 */
  uint64_t n_passed;    /* absent outputs before it that were not given yet */
  uint64_t n_absent;    /* number of absent frames at the end of those that came in */
  bool at_end;
} ConvState;

/* ---- the block ---- */

static const AttnBlockKind conv_kind;

static bool
is_depthwise (const AttnConv *conv)
{
  return conv->groups == conv->n_inputs && conv->n_outputs == conv->n_inputs;
}

/* As a linear layer over all taps of a group, the oldest first. */
static AttnStatus
pack_group (Conv *block, const AttnConv *conv, size_t group, AttnError *error)
{
  size_t n_inputs = conv->n_inputs / conv->groups, n_outputs = conv->n_outputs / conv->groups;
  size_t n_all = attn_size_mul (n_inputs, conv->kernel), bytes, o, i, tap;
  const float *weight = conv->weight + group * n_outputs * n_all;
  AttnProjection *projection = &block->projections[group];
  AttnLinear linear = { .n_outputs = n_outputs, .n_inputs = n_all };
  AttnStatus status = attn_linear_init (projection, n_all, n_outputs, conv->precision, error);

  bytes = attn_size_mul (attn_size_mul (n_outputs, n_all), sizeof (float));
  if (status != ATTN_OK)
    return status;
  if ((linear.weight = attn_alloc (bytes)) == NULL)
    return attn_fail_memory (error, "taps of a convolution", bytes);
  for (o = 0; o < n_outputs; o++)
    for (i = 0; i < n_inputs; i++)
      for (tap = 0; tap < conv->kernel; tap++)
        linear.weight[o * n_all + tap * n_inputs + i] = weight[(o * n_inputs + i) * conv->kernel + tap];
  linear.bias = conv->bias != NULL ? (float *) conv->bias + group * n_outputs : NULL;
  status = attn_linear_pack (projection, 0, "conv", &linear, block->block.machine->kernels, error);
  attn_free (linear.weight);
  return status != ATTN_OK || block->block.machine->matrix == NULL ? status : attn_linear_split (projection, error);
}

static AttnStatus
pack_groups (Conv *block, const AttnConv *conv, AttnError *error)
{
  size_t bytes = attn_size_mul (conv->groups, sizeof *block->projections), group;
  AttnStatus status = ATTN_OK;

  block->projections = attn_alloc (bytes);
  if (block->projections == NULL)
    return attn_fail_memory (error, "groups of a convolution", bytes);
  for (group = 0; group < conv->groups && status == ATTN_OK; group++)
    status = pack_group (block, conv, group, error);
  return status;
}

/* A tap of each value, as the precision holds it. */
static AttnStatus
pack_value (Conv *block, const AttnConv *conv, size_t i, AttnError *error)
{
  const AttnKernels *kernels = block->block.machine->kernels;
  uint16_t narrow;
  size_t tap;

  for (tap = 0; tap < conv->kernel; tap++) {
    float *to = &block->weight[tap * conv->n_inputs + i], value = conv->weight[i * conv->kernel + tap];

    if (conv->precision == ATTN_PRECISION_F16 && fabsf (value) >= attn_infinite_from (conv->precision)
        && !isinf (value))
      return attn_fail (error, ATTN_ERROR_MODEL,
                        "a convolution has the parameter %g at [%zu, 0, %zu], but f16 ends at 65504", value, i, tap);
    kernels->scale (to, &value, 1, 1);
    if (conv->precision == ATTN_PRECISION_F32)
      continue;
    kernels->narrow (&narrow, to, 1, conv->precision);
    *to = conv->precision == ATTN_PRECISION_F16 ? attn_float_from_f16 (narrow) : attn_float_from_bf16 (narrow);
    kernels->scale (to, to, 1, 1);
  }
  return ATTN_OK;
}

static AttnStatus
pack_values (Conv *block, const AttnConv *conv, AttnError *error)
{
  size_t width = conv->n_inputs, bytes = attn_size_mul (attn_size_mul (width, conv->kernel), sizeof (float)), i;
  AttnStatus status = ATTN_OK;

  block->weight = attn_alloc (bytes);
  block->start = attn_alloc (attn_size_mul (width, sizeof (float)));
  if (block->weight == NULL || block->start == NULL)
    return attn_fail_memory (error, "taps of a convolution", bytes);
  if (conv->bias != NULL)
    block->block.machine->kernels->scale (block->start, conv->bias, 1, width);
  for (i = 0; i < width && status == ATTN_OK; i++) {
    block->start[i] += ATTN_GUARD;
    status = pack_value (block, conv, i, error);
  }
  return status;
}

AttnStatus
attn_conv_new (const AttnMachine *machine, const AttnConv *conv, AttnBlock **result, AttnError *error)
{
  uint64_t span = (conv->kernel - 1) * conv->dilation + 1;
  Conv *block = attn_alloc (sizeof *block);

  *result = (AttnBlock *) block;
  if (block == NULL)
    return attn_fail_memory (error, "convolution", sizeof *block);
  *block = (Conv){ .block = { .kind = &conv_kind,
                              .machine = machine,
                              .n_inputs = conv->n_inputs,
                              .n_outputs = conv->n_outputs,
                              .stride = conv->stride,
                              .reach_back = conv->left,
                              .reach_ahead = span - 1 - conv->left },
                   .n_taps = conv->kernel,
                   .n_groups = conv->groups,
                   .dilation = conv->dilation,
                   .left = conv->left,
                   .right = conv->right,
                   .span = span,
                   .activation = conv->activation };
  return is_depthwise (conv) ? pack_values (block, conv, error) : pack_groups (block, conv, error);
}

static void
conv_free (AttnBlock *data)
{
  Conv *conv = (Conv *) data;
  size_t group;

  for (group = 0; group < conv->n_groups && conv->projections != NULL; group++)
    attn_linear_clear (&conv->projections[group]);
  attn_free (conv->projections);
  attn_free (conv->weight);
  attn_free (conv->start);
  attn_free (conv);
}

/* The number of outputs that read no row from `end` on. */
static uint64_t
n_outputs_before (const Conv *conv, uint64_t end)
{
  return end < conv->span ? 0 : (end - conv->span) / conv->block.stride + 1;
}

static uint64_t
conv_count (const AttnBlock *block, uint64_t n)
{
  const Conv *conv = (const Conv *) block;
  uint64_t end = n + conv->left + conv->right;

  return n == 0 ? 0 : n_outputs_before (conv, end < n ? UINT64_MAX : end);
}

static uint64_t
conv_hash (const AttnBlock *block, uint64_t hash)
{
  const Conv *conv = (const Conv *) block;
  const uint64_t numbers[] = { block->n_inputs, block->n_outputs, conv->n_taps, conv->n_groups,  block->stride,
                               conv->dilation,  conv->left,       conv->right,  conv->activation };
  size_t i;

  for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    hash = attn_hash_number (hash, numbers[i], 8);
  for (i = 0; i < conv->n_groups && conv->projections != NULL; i++)
    hash = attn_linear_hash (hash, &conv->projections[i]);
  if (conv->projections != NULL)
    return hash;
  hash = attn_hash_floats (hash, conv->weight, conv->n_taps * block->n_inputs);
  return attn_hash_floats (hash, conv->start, block->n_inputs);
}

/* ---- the state in a stream ---- */

static void *
conv_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  const Conv *conv = (const Conv *) block;
  ConvState *state = attn_arena_take (arena, sizeof *state), plan = { .conv = conv, .work = work };
  size_t row = attn_size_mul (block->n_inputs, sizeof (float)), inputs = attn_size_mul (row, conv->n_taps);

  /* Twice the span: the rows that move to the front have made room for as many. */
  plan.n_slots = attn_size_add (attn_size_mul (conv->span, 2), attn_size_add (conv->right, 4 * ATTN_LANES));
  plan.rows = attn_arena_take (arena, attn_size_mul (plan.n_slots, row));
  plan.presence = attn_arena_take (arena, plan.n_slots);
  if (conv->projections != NULL) {
    size_t n_values = conv->projections->n_inputs;

    attn_work_note (work, n_values, conv->projections->n_outputs);
    plan.gathered = attn_arena_take (arena, attn_size_mul (inputs / conv->n_groups, ATTN_LANES));
    plan.grouped = attn_arena_take (arena, ATTN_LANES * conv->projections->n_outputs * sizeof (float));
    if (block->machine->matrix != NULL)
      plan.left = attn_arena_take (arena, attn_size_mul (attn_left_size (n_values), sizeof (uint16_t)));
  }
  if (state == NULL)
    return NULL;
  *state = plan;
  return state;
}

/* Appends `n` rows of zeros, for which there is room. */
static void
append_zeros (ConvState *state, size_t n, uint8_t presence)
{
  size_t at = state->end - state->base, width = state->conv->block.n_inputs;

  memset (state->rows + at * width, 0, n * width * sizeof (float));
  memset (state->presence + at, presence, n);
  state->end += n;
}

static void
conv_reset (void *data, uint64_t first)
{
  ConvState *state = data;

  state->first = first;
  state->base = state->end = state->next_output = state->n_passed = state->n_absent = 0;
  state->at_end = false;
  append_zeros (state, state->conv->left, OUTSIDE);
}

/* The oldest row that an output may still read, or the next one to come. */
static uint64_t
oldest_row (const ConvState *state)
{
  uint64_t oldest = state->next_output * state->conv->block.stride;

  return oldest < state->end ? oldest : state->end;
}

/* Makes room for `n` rows. */
static void
make_room (ConvState *state, size_t n)
{
  size_t width = state->conv->block.n_inputs, n_old, n_left;

  if (state->end - state->base + n <= state->n_slots)
    return;
  n_old = oldest_row (state) - state->base;
  n_left = state->end - state->base - n_old;
  memmove (state->rows, state->rows + n_old * width, n_left * width * sizeof (float));
  memmove (state->presence, state->presence + n_old, n_left);
  state->base += n_old;
}

/* The number of outputs that have all the rows they read. */
static uint64_t
n_ready (const ConvState *state)
{
  return n_outputs_before (state->conv, state->end) - state->next_output;
}

/* An absence so long that outputs read nothing else: they pass with it, and only its end is stored. */
static void
pass_absent (ConvState *state, uint64_t n)
{
  uint64_t end = state->end += n;

  state->n_passed = n_ready (state);
  state->next_output += state->n_passed;
  state->base = state->end = oldest_row (state);
  append_zeros (state, end - state->base, ABSENT);
}

static uint64_t
take_absent (ConvState *state, uint64_t n)
{
  if (state->n_absent >= state->conv->span && n > state->n_slots)
    pass_absent (state, n);
  else {
    n = n < ATTN_LANES ? n : ATTN_LANES;
    make_room (state, n);
    append_zeros (state, n, ABSENT);
  }
  state->n_absent += n;
  return n;
}

static uint64_t
conv_take (void *data, const AttnRun *run)
{
  ConvState *state = data;
  const AttnBlock *block = &state->conv->block;
  size_t n = run->n, at;

  if (!run->present)
    return take_absent (state, run->n);
  make_room (state, n);
  at = state->end - state->base;
  block->machine->kernels->scale (state->rows + at * block->n_inputs, run->values, 1, n * block->n_inputs);
  memset (state->presence + at, PRESENT, n);
  state->end += n;
  state->n_absent = 0;
  return n;
}

/* The output reads at least one present frame, or only rows outside of the stream, which do not make it absent. */
static bool
is_present (const ConvState *state, uint64_t output)
{
  const Conv *conv = state->conv;
  const uint8_t *presence = state->presence + (output * conv->block.stride - state->base);
  bool is_outside = true;
  size_t tap;

  for (tap = 0; tap < conv->n_taps; tap++) {
    if (presence[tap * conv->dilation] == PRESENT)
      return true;
    is_outside &= presence[tap * conv->dilation] == OUTSIDE;
  }
  return is_outside;
}

/* gathered [n][n_taps][width]: the `width` values, from `first` on, that the outputs read. */
static void
gather (const ConvState *state, const float *rows, size_t n, size_t first, size_t width)
{
  const Conv *conv = state->conv;
  float *to = state->gathered;
  size_t i, tap;

  for (i = 0; i < n; i++)
    for (tap = 0; tap < conv->n_taps; tap++, to += width)
      memcpy (to, rows + (i * conv->block.stride + tap * conv->dilation) * conv->block.n_inputs + first,
              width * sizeof *to);
}

/* False: the stream waits. */
static bool
compute_group (const ConvState *state, const float *rows, size_t n, size_t group, float *out)
{
  const Conv *conv = state->conv;
  const AttnProjection *projection = &conv->projections[group];
  size_t width = conv->block.n_inputs / conv->n_groups, n_outputs = projection->n_outputs, i;
  uint64_t n_operations = (uint64_t) 2 * projection->n_inputs * n_outputs * n;
  AttnPool *pool = attn_work_pool (state->work, n_operations);
  float *to = conv->n_groups == 1 ? out : state->grouped;

  gather (state, rows, n, group * width, width);
  if (!attn_linear_share (conv->block.machine, state->work, pool, projection, state->left, to, state->gathered, n))
    return false;
  for (i = 0; i < n && to != out; i++)
    memcpy (out + i * conv->block.n_outputs + group * n_outputs, to + i * n_outputs, n_outputs * sizeof *out);
  return true;
}

/* Computes the next `n` <= 16 outputs. False: the stream waits. */
static bool
compute (ConvState *state, size_t n, float *out)
{
  const Conv *conv = state->conv;
  const AttnKernels *kernels = conv->block.machine->kernels;
  size_t width = conv->block.n_inputs;
  const float *rows = state->rows + (state->next_output * conv->block.stride - state->base) * width;
  AttnConvolution convolution = { .width = width,
                                  .n_taps = conv->n_taps,
                                  .tap_stride = conv->n_taps > 1 ? conv->dilation * width : 0,
                                  .frame_stride = n > 1 ? conv->block.stride * width : 0,
                                  .weight = conv->weight,
                                  .start = conv->start };

  if (conv->projections == NULL)
    kernels->convolve (out, rows, n, &convolution);
  else
    for (; state->group < conv->n_groups; state->group++)
      if (!compute_group (state, rows, n, state->group, out))
        return false;
  state->group = 0;
  attn_activate_frames (kernels, out, n, conv->block.n_outputs, conv->activation);
  return true;
}

static AttnRun
conv_give (void *data, float *out)
{
  ConvState *state = data;
  uint64_t n = n_ready (state), first = state->first / state->conv->block.stride + state->next_output;
  AttnRun run = { .first = first - state->n_passed, .n = state->n_passed, .more = n > 0, .values = out };

  state->n_passed = 0;
  if (run.n > 0 || n == 0)
    return run;
  run.present = is_present (state, state->next_output);
  for (run.n = 1; run.n < n && run.n < ATTN_LANES; run.n++)
    if (is_present (state, state->next_output + run.n) != run.present)
      break;
  run.more = run.n < n;
  if (run.present && out != NULL && !compute (state, run.n, out))
    return run;
  state->next_output += run.n;
  return run;
}

static void
conv_end (void *data)
{
  ConvState *state = data;

  state->at_end = true;
  if (state->end == state->conv->left) /* there was no frame */
    return;
  make_room (state, state->conv->right);
  append_zeros (state, state->conv->right, OUTSIDE);
}

/* ---- a section of a saved state: the frames that outputs may still read; empty at the end of the stream ---- */

/* The first row that is saved. It is never one of the zeros on the left. */
static uint64_t
first_saved (const Conv *conv, uint64_t end, uint64_t next_output)
{
  uint64_t oldest = next_output * conv->block.stride;

  oldest = oldest > conv->left ? oldest : conv->left;
  return oldest < end ? oldest : end;
}

static size_t
conv_saved_size (const void *data)
{
  const ConvState *state = data;
  uint64_t first = first_saved (state->conv, state->end, state->next_output);

  if (state->at_end)
    return 0;
  return attn_rows_size (state->presence + (first - state->base), state->end - first, state->conv->block.n_inputs);
}

static uint8_t *
conv_save (const void *data, uint8_t *bytes)
{
  const ConvState *state = data;
  size_t width = state->conv->block.n_inputs;
  uint64_t first = first_saved (state->conv, state->end, state->next_output);

  if (state->at_end)
    return bytes;
  return attn_rows_save (bytes, state->rows + (first - state->base) * width, state->presence + (first - state->base),
                         state->end - first, width);
}

static void
move_behind (const Conv *conv, AttnProgress *progress)
{
  uint64_t n = progress->next - progress->first;

  n = progress->at_end ? conv_count (&conv->block, n) : attn_block_ready (&conv->block, 0, n);
  progress->first /= conv->block.stride;
  progress->next = progress->first + n;
}

static AttnStatus
conv_check (const void *data, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error)
{
  const ConvState *state = data;
  const Conv *conv = state->conv;
  uint64_t n = progress->next - progress->first, end = conv->left + n;
  uint64_t n_rows = progress->at_end ? 0 : end - first_saved (conv, end, attn_block_ready (&conv->block, 0, n));
  AttnStatus status = attn_rows_check (bytes, size, n_rows, conv->block.n_inputs, "conv", error);

  move_behind (conv, progress);
  return status;
}

static void
conv_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  ConvState *state = data;
  const Conv *conv = state->conv;
  uint64_t n = progress->next - progress->first, end = conv->left + n, first;
  size_t at;

  conv_reset (state, progress->first);
  state->at_end = progress->at_end;
  move_behind (conv, progress);
  state->next_output = progress->next - progress->first;
  first = first_saved (conv, end, state->next_output);
  if (state->at_end) {
    state->base = state->end = end + conv->right;
    return;
  }
  if (first > conv->left)
    state->base = first;
  at = first - state->base;
  attn_rows_restore (conv->block.machine->kernels, bytes, state->rows + at * conv->block.n_inputs, state->presence + at,
                     end - first, conv->block.n_inputs);
  state->end = end;
  while (state->n_absent < end - first && state->presence[end - state->base - 1 - state->n_absent] == ABSENT)
    state->n_absent++;
}

static const AttnBlockKind conv_kind = {
  .name = "conv",
  .free = conv_free,
  .count = conv_count,
  .hash = conv_hash,
  .plan = conv_plan,
  .reset = conv_reset,
  .take = conv_take,
  .give = conv_give,
  .end = conv_end,
  .saved_size = conv_saved_size,
  .save = conv_save,
  .check = conv_check,
  .restore = conv_restore,
};
