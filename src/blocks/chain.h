/*
 * libattn: blocks one after the other, which are the whole of a layer, or what a residual adds to its frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A chain is pulled: who wants outputs asks the last block, which asks the one before it when it has nothing itself. So
 * a block is given frames only when it is empty, and one run of frames at most waits between two blocks.
 */
#ifndef ATTN_SRC_CHAIN_H
#define ATTN_SRC_CHAIN_H

#include "blocks/block.h"

/*
 * The longest reach, ahead or back, and the largest stride of a chain, in frames that come in. Frame numbers have 64
 * bits, so that nothing is near an overflow.
 */
#define ATTN_MAX_REACH (UINT64_C (1) << 48)

struct AttnChain {
  AttnBlock **blocks; /* [n_blocks] */
  size_t n_blocks;
  size_t n_inputs; /* values per frame that comes in */
  size_t n_outputs;
  uint64_t stride, reach_back, reach_ahead; /* of all blocks together, in frames that come in */
};

/* The state in a stream. */
typedef struct {
  void *state;    /* of the block */
  AttnWork work;  /* of the stream, with as many frames as reach the block */
  AttnRun input;  /* what it has not taken yet */
  float *outputs; /* [16][n_outputs], on their way to the next block; the last has none */
  bool may_give;  /* it has been given something since it had nothing more */
} AttnLink;

struct AttnChainState {
  const AttnChain *chain;
  AttnLink *links; /* [n_blocks] */
  bool at_end;     /* no more frames will come */
  size_t n_ended;  /* so many blocks have been told */
};

/* A chain without blocks, with room for `n_blocks`, for frames of n_inputs values. */
AttnStatus attn_chain_init (AttnChain *chain, size_t n_inputs, size_t n_blocks, AttnError *error);
void attn_chain_clear (AttnChain *chain); /* frees the blocks; accepts a zeroed one */

/* Appends `block`, the chain's from now on. False: the chain would reach or stride beyond ATTN_MAX_REACH. */
bool attn_chain_add (AttnChain *chain, AttnBlock *block);

/* Outputs of a finished stream of `n` frames, and of one that goes on. */
uint64_t attn_chain_count (const AttnChain *chain, uint64_t n);
uint64_t attn_chain_ready (const AttnChain *chain, uint64_t n);

uint64_t attn_chain_hash (const AttnChain *chain, uint64_t hash);

/* As AttnBlockKind has them. */
AttnChainState *attn_chain_plan (const AttnChain *chain, const AttnWork *work, AttnArena *arena);
void attn_chain_reset (AttnChainState *state, uint64_t first);
AttnRun attn_chain_give (AttnChainState *state, float *out);
void attn_chain_end (AttnChainState *state);

/* Nothing is on its way between the blocks. */
void attn_chain_empty (AttnChainState *state, bool at_end);

/* All of `run` comes in. Nothing is ready to be given before. */
static inline void
attn_chain_take (AttnChainState *state, const AttnRun *run)
{
  state->links[0].input = *run;
}

/* ---- chain_state.c: a section of a saved state per block: 8 bytes that say how many follow, and these ---- */

size_t attn_chain_saved_size (const AttnChainState *state);
uint8_t *attn_chain_save (const AttnChainState *state, uint8_t *bytes);

/*
 * As the block's check () and restore (), but that `*bytes` moves on to behind the sections, none of which ends behind
 * `end`.
 */
AttnStatus attn_chain_check (const AttnChainState *state, const uint8_t **bytes, const uint8_t *end,
                             AttnProgress *progress, AttnError *error);
void attn_chain_restore (AttnChainState *state, const uint8_t **bytes, AttnProgress *progress);

#endif
