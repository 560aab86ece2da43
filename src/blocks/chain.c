/* libattn: blocks one after the other.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/chain.h"

#include <string.h>

#include "base/hash.h"
#include "base/status.h"

/* ---- the chain ---- */

AttnStatus
attn_chain_init (AttnChain *chain, size_t n_inputs, size_t n_blocks, AttnError *error)
{
  size_t bytes = attn_size_mul (n_blocks, sizeof *chain->blocks);

  *chain = (AttnChain){ .n_inputs = n_inputs, .n_outputs = n_inputs, .stride = 1, .period = 1 };
  chain->blocks = attn_alloc (bytes);
  return chain->blocks != NULL ? ATTN_OK : attn_fail_memory (error, "list of blocks", bytes);
}

void
attn_chain_clear (AttnChain *chain)
{
  size_t i;

  for (i = 0; i < chain->n_blocks; i++)
    chain->blocks[i]->kind->free (chain->blocks[i]);
  attn_free (chain->blocks);
  *chain = (AttnChain){ 0 };
}

/* sum + stride * n; more than ATTN_MAX_REACH where that is more. */
static uint64_t
add_scaled (uint64_t sum, uint64_t stride, uint64_t n)
{
  return n > ATTN_MAX_REACH / stride ? ATTN_MAX_REACH + 1 : sum + stride * n;
}

/* The least common multiple; more than ATTN_MAX_CHUNK where that is more. */
static uint64_t
common_period (uint64_t a, uint64_t b)
{
  uint64_t x = a, y = b, rest;

  for (; y != 0; x = y, y = rest)
    rest = x % y;
  return a / x > ATTN_MAX_CHUNK / b ? ATTN_MAX_CHUNK + 1 : a / x * b;
}

bool
attn_chain_add (AttnChain *chain, AttnBlock *block)
{
  uint64_t stride = chain->stride;

  chain->blocks[chain->n_blocks++] = block;
  chain->n_outputs = block->n_outputs;
  chain->reach_back = add_scaled (chain->reach_back, chain->stride, block->reach_back);
  chain->reach_ahead = add_scaled (chain->reach_ahead, chain->stride, block->reach_ahead);
  chain->stride = add_scaled (0, chain->stride, block->stride);
  if (block->period > 1)
    chain->period = common_period (chain->period, add_scaled (0, stride, block->period));
  if (chain->period > 1)
    chain->period = common_period (chain->period, chain->stride);
  return chain->reach_back <= ATTN_MAX_REACH && chain->reach_ahead <= ATTN_MAX_REACH && chain->stride <= ATTN_MAX_REACH;
}

uint64_t
attn_chain_count (const AttnChain *chain, uint64_t n)
{
  size_t i;

  for (i = 0; i < chain->n_blocks; i++)
    n = attn_block_count (chain->blocks[i], n);
  return n;
}

uint64_t
attn_chain_ready (const AttnChain *chain, uint64_t first, uint64_t n)
{
  size_t i;

  for (i = 0; i < chain->n_blocks; i++) {
    n = attn_block_ready (chain->blocks[i], first, n);
    first /= chain->blocks[i]->stride;
  }
  return n;
}

/* ---- reach ---- */

bool
attn_chain_reads (const AttnChain *chain, const AttnBlock *last, AttnReads *reads)
{
  size_t i = chain->n_blocks;

  while (i-- > 0) {
    const AttnBlock *block = chain->blocks[i];

    if (last == NULL || block == last)
      *reads = attn_block_reads (block, *reads);
    else if (block->kind->inner == NULL || !attn_chain_reads (block->kind->inner (block), last, reads))
      continue;
    last = NULL;
  }
  return last == NULL;
}

/* A frame from which nothing reaches back to frame 0. */
#define FAR_FRAME (4 * ATTN_MAX_REACH)

void
attn_chain_reach (const AttnChain *chain, const AttnBlock *last, uint64_t stride, uint64_t *back, uint64_t *ahead)
{
  uint64_t n = chain->period > 1 ? chain->period / stride : 1, far = chain->period > 1 ? chain->period : stride, i;

  *back = *ahead = 0;
  for (i = 0; i < n; i++) {
    uint64_t frame = FAR_FRAME / far * far + i * stride;
    AttnReads reads = { frame / stride, frame / stride };

    attn_chain_reads (chain, last, &reads);
    *back = frame - reads.oldest > *back ? frame - reads.oldest : *back;
    *ahead = reads.newest - frame > *ahead ? reads.newest - frame : *ahead;
  }
}

void
attn_chain_sum_up (AttnChain *chain)
{
  if (chain->period > 1)
    attn_chain_reach (chain, NULL, chain->stride, &chain->reach_back, &chain->reach_ahead);
}

double
attn_chain_operations (const AttnChain *chain)
{
  double n = 0, stride = 1;
  size_t i;

  for (i = 0; i < chain->n_blocks; i++) {
    const AttnBlock *block = chain->blocks[i];

    if (block->kind->inner != NULL)
      n += attn_chain_operations (block->kind->inner (block)) / stride;
    stride *= (double) block->stride;
    if (block->kind->multiplications != NULL)
      n += 2 * block->kind->multiplications (block) / stride;
  }
  return n;
}

void
attn_chain_settle (AttnChain *chain, AttnArena *arena)
{
  size_t i;

  for (i = 0; i < chain->n_blocks; i++)
    if (chain->blocks[i]->kind->settle != NULL)
      chain->blocks[i]->kind->settle (chain->blocks[i], arena);
}

/* Includes the names of the kinds: two kinds may have the same parameters. */
uint64_t
attn_chain_hash (const AttnChain *chain, uint64_t hash)
{
  size_t i;

  hash = attn_hash_number (hash, chain->n_blocks, 8);
  for (i = 0; i < chain->n_blocks; i++) {
    const AttnBlockKind *kind = chain->blocks[i]->kind;

    hash = attn_hash_bytes (hash, (const uint8_t *) kind->name, strlen (kind->name) + 1);
    hash = kind->hash (chain->blocks[i], hash);
  }
  return hash;
}

/* ---- the state in a stream ---- */

static AttnWork
work_behind (const AttnBlock *block, AttnWork work)
{
  uint64_t n = work.max_frames == SIZE_MAX ? SIZE_MAX : attn_block_count (block, work.max_frames);

  work.max_frames = n < SIZE_MAX ? n : SIZE_MAX;
  return work;
}

AttnChainState *
attn_chain_plan (const AttnChain *chain, bool cleans, const AttnWork *work, AttnArena *arena)
{
  AttnChainState *state = attn_arena_take (arena, sizeof *state);
  AttnLink *links = attn_arena_take (arena, chain->n_blocks * sizeof *links), counted;
  float *cleaned = cleans ? attn_arena_take (arena, ATTN_LANES * chain->n_inputs * sizeof (float)) : NULL;
  AttnWork here = *work;
  size_t i;

  for (i = 0; i < chain->n_blocks; i++) {
    const AttnBlock *block = chain->blocks[i];
    AttnLink *link = links != NULL ? &links[i] : &counted;
    size_t n_values = i + 1 < chain->n_blocks ? ATTN_LANES * block->n_outputs : 0;

    *link = (AttnLink){ .work = here };
    link->state = block->kind->plan (block, &link->work, arena);
    link->outputs = attn_arena_take (arena, n_values * sizeof (float));
    here = work_behind (block, here);
  }
  if (state == NULL)
    return NULL;
  *state = (AttnChainState){ .chain = chain, .links = links, .cleaned = cleaned };
  return state;
}

void
attn_chain_empty (AttnChainState *state, bool at_end)
{
  size_t i;

  for (i = 0; i < state->chain->n_blocks; i++) {
    state->links[i].input.n = 0;
    state->links[i].may_give = false;
  }
  state->at_end = at_end;
  state->n_ended = at_end ? state->chain->n_blocks : 0;
}

void
attn_chain_reset (AttnChainState *state, uint64_t first)
{
  size_t i;

  attn_chain_empty (state, false);
  for (i = 0; i < state->chain->n_blocks; i++) {
    const AttnBlock *block = state->chain->blocks[i];

    block->kind->reset (state->links[i].state, first);
    first /= block->stride;
  }
}

void
attn_chain_end (AttnChainState *state)
{
  state->at_end = true;
}

/* Block `i` takes the frames that it has room for. A long push is cut where tiles begin. */
static void
take (AttnChainState *state, size_t i)
{
  const AttnBlock *block = state->chain->blocks[i];
  AttnLink *link = &state->links[i];
  AttnRun run = link->input;
  uint64_t n_all = run.n, n;

  if (n_all > ATTN_LANES && run.present)
    run.n = ATTN_LANES - run.first % ATTN_LANES;
  if (i == 0 && state->cleaned != NULL && run.present) {
    block->machine->kernels->scale (state->cleaned, run.values, 1, run.n * block->n_inputs);
    run.values = state->cleaned;
  }
  n = block->kind->take (link->state, &run);
  link->input.first += n;
  link->input.n = n_all - n;
  if (link->input.present)
    link->input.values += n * block->n_inputs;
  link->may_give = true;
}

/* All blocks are empty: tells the next of them that no more frames will come. False: all have been told. */
static bool
end_next (AttnChainState *state, size_t *i)
{
  if (!state->at_end || state->n_ended == state->chain->n_blocks)
    return false;
  *i = state->n_ended++;
  state->chain->blocks[*i]->kind->end (state->links[*i].state);
  state->links[*i].may_give = true;
  return true;
}

/* Goes from the last block back to one that has outputs, and forward with them. */
AttnRun
attn_chain_give (AttnChainState *state, float *out)
{
  size_t last = state->chain->n_blocks - 1, i = last;

  for (;;) {
    AttnLink *link = &state->links[i];

    if (link->may_give) {
      AttnRun run = state->chain->blocks[i]->kind->give (link->state, i == last ? out : link->outputs);

      if (attn_work_waits (&link->work))
        return (AttnRun){ .values = out };
      link->may_give = run.more;
      if (run.n > 0 && i == last) {
        run.more = run.more || last > 0 || link->input.n > 0 || state->at_end;
        return run;
      }
      if (run.n > 0)
        state->links[++i].input = run;
    } else if (link->input.n > 0)
      take (state, i);
    else if (i > 0)
      i--;
    else if (!end_next (state, &i))
      return (AttnRun){ .values = out };
  }
}
