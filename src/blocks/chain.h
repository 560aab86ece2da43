/*
 * libattn: blocks one after the other: a whole layer, or the f of a residual x + f (x).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A chain is pulled: the caller asks the last block for outputs, and a block without any asks the block before it. So a
 * block is given frames only when it is empty, and at most one run of frames waits between two blocks.
 */
#ifndef ATTN_SRC_CHAIN_H
#define ATTN_SRC_CHAIN_H

#include "blocks/block.h"

/*
 * The longest reach, ahead or back, and the largest stride of a chain, in frames that come in. With 64-bit frame
 * numbers nothing comes near an overflow.
 */
#define ATTN_MAX_REACH (UINT64_C (1) << 48)

struct AttnChain {
  AttnBlock **blocks; /* [n_blocks] */
  size_t n_blocks;
  size_t n_inputs; /* values per frame that comes in */
  size_t n_outputs;
  uint64_t stride, reach_back, reach_ahead; /* of all blocks together, in frames that come in */
  uint64_t period; /* frames that come in until all chunks and the stride begin together again; 1: no chunks */
};

/* The state in a stream. */
typedef struct {
  void *state;    /* of the block */
  AttnWork work;  /* of the stream, with as many frames as reach the block */
  AttnRun input;  /* the frames that it has not taken yet */
  float *outputs; /* [16][n_outputs], on their way to the next block; the last has none */
  bool may_give;  /* it has taken frames since it last had no more outputs */
} AttnLink;

struct AttnChainState {
  const AttnChain *chain;
  AttnLink *links; /* [n_blocks] */
  float *cleaned;  /* [16][n_inputs], frames that the first block takes; NULL: those that come in are clean */
  bool at_end;     /* no more frames will come */
  size_t n_ended;  /* the number of blocks that have been told so */
};

/* A chain without blocks, with room for `n_blocks`, for frames of n_inputs values. */
AttnStatus attn_chain_init (AttnChain *chain, size_t n_inputs, size_t n_blocks, AttnError *error);
void attn_chain_clear (AttnChain *chain); /* frees the blocks; accepts a zeroed one */

/* Appends `block`, which the chain owns from now on. False: the chain would reach or stride beyond ATTN_MAX_REACH. */
bool attn_chain_add (AttnChain *chain, AttnBlock *block);

/*
 * Called when all blocks are there. Until then reach_back and reach_ahead are the sums of those of the blocks. With
 * chunks they become the largest of any output, which may be less. The period is at most ATTN_MAX_CHUNK.
 */
void attn_chain_sum_up (AttnChain *chain);

/*
 * *reads are frames behind the block `last` (NULL: behind all blocks), and become the inputs of the chain that these
 * frames read. `last` may stand inside of another block. False: it is not in the chain.
 */
bool attn_chain_reads (const AttnChain *chain, const AttnBlock *last, AttnReads *reads);

/* The reach of the blocks up to `last`, whose stride is `stride`. The chain is summed up. */
void attn_chain_reach (const AttnChain *chain, const AttnBlock *last, uint64_t stride, uint64_t *back, uint64_t *ahead);

/* The number of outputs of a finished stream of `n` frames, and of a stream from frame `first` on that goes on. */
uint64_t attn_chain_count (const AttnChain *chain, uint64_t n);
uint64_t attn_chain_ready (const AttnChain *chain, uint64_t first, uint64_t n);

/* Sums and multiplications per frame that comes in, on average. */
double attn_chain_operations (const AttnChain *chain);

/* Settles the blocks. */
void attn_chain_settle (AttnChain *chain, AttnArena *arena);

uint64_t attn_chain_hash (const AttnChain *chain, uint64_t hash);

/*
 * As AttnBlockKind has them; attn_chain_give () may wait, too. `cleans`: anybody may have made the frames that come in,
 * so the chain cleans them.
 */
AttnChainState *attn_chain_plan (const AttnChain *chain, bool cleans, const AttnWork *work, AttnArena *arena);
void attn_chain_reset (AttnChainState *state, uint64_t first);
AttnRun attn_chain_give (AttnChainState *state, float *out);
void attn_chain_end (AttnChainState *state);

/* No frame is on its way between the blocks. */
void attn_chain_empty (AttnChainState *state, bool at_end);

/* Takes all of `run`. Called only when no output is ready. */
static inline void
attn_chain_take (AttnChainState *state, const AttnRun *run)
{
  state->links[0].input = *run;
}

/* ---- chain_state.c: a section of a saved state per block: its length in 8 bytes, then its bytes ---- */

size_t attn_chain_saved_size (const AttnChainState *state);
uint8_t *attn_chain_save (const AttnChainState *state, uint8_t *bytes);

/* As the block's check () and restore (), but `*bytes` moves on behind the sections. No section ends behind `end`. */
AttnStatus attn_chain_check (const AttnChainState *state, const uint8_t **bytes, const uint8_t *end,
                             AttnProgress *progress, AttnError *error);
void attn_chain_restore (AttnChainState *state, const uint8_t **bytes, AttnProgress *progress);

#endif
