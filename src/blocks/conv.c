/*
 * libattn: the blocks `conv` and `conv2d`.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows are counted with the zeros on the left: output k of a stream reads the rows k stride + j dilation. The rows that
 * outputs may still read stand in one piece, oldest first; when there is no room behind them, they move to the front.
 */
#include "blocks/conv.h"

#include <string.h>

#include "base/status.h"
#include "blocks/conv_taps.h"
#include "blocks/rows.h"

typedef struct {
  AttnBlock block;
  AttnTaps taps;
  uint64_t dilation, left, right;
  uint64_t span; /* rows from the first to the last that an output reads */
} Conv;

/* The kinds of rows. */
enum { ABSENT, PRESENT, OUTSIDE };

typedef struct {
  const Conv *conv;
  const AttnWork *work;
  float *rows;       /* [n_slots][row_width], rows base ... end - 1; 0 unless PRESENT */
  uint8_t *presence; /* [n_slots] */
  size_t n_slots;
  AttnTapsRoom room;
  uint64_t first;       /* the number of the first frame */
  uint64_t base, end;   /* numbers of rows, the zeros on the left included */
  uint64_t next_output; /* counted from 0 */
  uint64_t n_passed;    /* absent outputs before it that were not given yet */
  uint64_t n_absent;    /* number of absent frames at the end of those that came in */
  bool at_end;
} ConvState;

/* ---- the block ---- */

static const AttnBlockKind conv_kind, conv2d_kind;

AttnStatus
attn_conv_new (const AttnMachine *machine, const AttnConv *conv, AttnBlock **result, AttnError *error)
{
  uint64_t span = (conv->kernel - 1) * conv->dilation + 1;
  Conv *block = attn_alloc (sizeof *block);

  *result = (AttnBlock *) block;
  if (block == NULL)
    return attn_fail_memory (error, "convolution", sizeof *block);
  *block = (Conv){ .block = { .kind = conv->has_bins ? &conv2d_kind : &conv_kind,
                              .machine = machine,
                              .n_inputs = conv->n_inputs * conv->n_bins,
                              .n_outputs = conv->n_outputs * attn_conv_bins_out (conv),
                              .stride = conv->stride,
                              .reach_back = conv->left,
                              .reach_ahead = span - 1 - conv->left },
                   .dilation = conv->dilation,
                   .left = conv->left,
                   .right = conv->right,
                   .span = span };
  return attn_taps_init (&block->taps, machine, conv, error);
}

void
attn_conv_join (AttnBlock *block, AttnBlock *next)
{
  AttnTaps *a = &((Conv *) block)->taps, *b = &((Conv *) next)->taps;

  if (block->kind != &conv2d_kind || next->kind != &conv2d_kind || a->conv.n_outputs != b->conv.n_inputs)
    return;
  a->out = b->in = (AttnFrameOrder){ .channel = 1, .bin = b->conv.n_inputs };
}

static void
conv_free (AttnBlock *data)
{
  Conv *conv = (Conv *) data;

  attn_taps_clear (&conv->taps);
  attn_free (conv);
}

static void
conv_settle (AttnBlock *block, AttnArena *arena)
{
  attn_taps_settle (&((Conv *) block)->taps, arena);
}

static double
conv_multiplications (const AttnBlock *block)
{
  const AttnTaps *taps = &((const Conv *) block)->taps;

  return (double) block->n_outputs * (taps->conv.n_inputs / taps->conv.groups) * taps->n_taps;
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
  return attn_taps_hash (hash, &((const Conv *) block)->taps);
}

/* ---- the state in a stream ---- */

static void *
conv_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena)
{
  const Conv *conv = (const Conv *) block;
  ConvState *state = attn_arena_take (arena, sizeof *state), plan = { .conv = conv, .work = work };

  /* Twice the span: the rows that move to the front have made room for as many. */
  plan.n_slots = attn_size_add (attn_size_mul (conv->span, 2), attn_size_add (conv->right, 4 * ATTN_LANES));
  plan.rows =
      attn_arena_take (arena, attn_size_mul (plan.n_slots, attn_size_mul (conv->taps.row_width, sizeof (float))));
  plan.presence = attn_arena_take (arena, plan.n_slots);
  plan.room = attn_taps_plan (&conv->taps, work, arena);
  if (state == NULL)
    return NULL;
  *state = plan;
  return state;
}

/* Appends `n` rows of zeros, for which there is room. */
static void
append_zeros (ConvState *state, size_t n, uint8_t presence)
{
  size_t at = state->end - state->base, width = state->conv->taps.row_width;

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
  size_t width = state->conv->taps.row_width, n_old, n_left;

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
  const AttnTaps *taps = &state->conv->taps;
  size_t n = run->n, at;

  if (!run->present)
    return take_absent (state, run->n);
  make_room (state, n);
  at = state->end - state->base;
  attn_taps_store (taps, state->rows + at * taps->row_width, run->values, n, taps->in);
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

  for (tap = 0; tap < conv->taps.conv.kernel; tap++) {
    if (presence[tap * conv->dilation] == PRESENT)
      return true;
    is_outside &= presence[tap * conv->dilation] == OUTSIDE;
  }
  return is_outside;
}

/* The next `n` outputs. False: the stream waits. */
static bool
compute (ConvState *state, size_t n, float *out)
{
  const Conv *conv = state->conv;
  size_t row = state->next_output * conv->block.stride - state->base;

  return attn_taps_run (&conv->taps, state->work, &state->room, state->rows + row * conv->taps.row_width, n, out);
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
  const AttnTaps *taps = &state->conv->taps;
  uint64_t first = first_saved (state->conv, state->end, state->next_output), row;

  if (state->at_end)
    return bytes;
  bytes = attn_rows_mark (bytes, state->presence + (first - state->base), state->end - first);
  for (row = first - state->base; row < state->end - state->base; row++)
    if (state->presence[row] == PRESENT)
      bytes = attn_put_floats (bytes, attn_taps_frame (taps, &state->room, state->rows + row * taps->row_width),
                               state->conv->block.n_inputs);
  return bytes;
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
  AttnStatus status = attn_rows_check (bytes, size, n_rows, conv->block.n_inputs, conv->block.kind->name, error);

  move_behind (conv, progress);
  return status;
}

/* The next `n` rows, from checked bytes. */
static void
restore_rows (ConvState *state, const uint8_t *bytes, size_t n)
{
  const AttnTaps *taps = &state->conv->taps;
  AttnFrameOrder order = attn_channels_first (taps->conv.n_inputs, taps->conv.n_bins);
  const uint8_t *values = bytes + attn_rows_mark_bytes (n);
  size_t i;

  for (i = 0; i < n; i++) {
    bool present = attn_rows_is_marked (bytes, i);

    append_zeros (state, 1, present ? PRESENT : ABSENT);
    state->n_absent = present ? 0 : state->n_absent + 1;
    if (!present)
      continue;
    values = attn_get_floats (values, state->room.frame, state->conv->block.n_inputs);
    attn_taps_store (taps, state->rows + (state->end - 1 - state->base) * taps->row_width, state->room.frame, 1, order);
  }
}

static void
conv_restore (void *data, const uint8_t *bytes, AttnProgress *progress)
{
  ConvState *state = data;
  const Conv *conv = state->conv;
  uint64_t n = progress->next - progress->first, end = conv->left + n, first;

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
    state->base = state->end = first;
  restore_rows (state, bytes, end - first);
}

#define FUNCTIONS                                                                                                   \
  .free = conv_free, .settle = conv_settle, .multiplications = conv_multiplications, .count = conv_count,           \
  .hash = conv_hash, .plan = conv_plan, .reset = conv_reset, .take = conv_take, .give = conv_give, .end = conv_end, \
  .saved_size = conv_saved_size, .save = conv_save, .check = conv_check, .restore = conv_restore

static const AttnBlockKind conv_kind = { .name = "conv", FUNCTIONS };
static const AttnBlockKind conv2d_kind = { .name = "conv2d", FUNCTIONS };
