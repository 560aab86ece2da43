/*
 * libattn: blocks, the parts of a layer. A block turns a stream of frames into another one; a layer is a chain of
 * blocks (chain.h), and a stream runs frames through them.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A block has two parts. The block itself (parameters, sizes) never changes and is shared by any number of streams. Its
 * state in a stream (its past, and the outputs that it still owes) stands in the stream's arena and belongs to one
 * thread at a time. Each kind of block is one table of functions, as each instruction set is one table of kernels.
 *
 * Frames travel in runs of neighbours that are all present or all absent. A block takes as much of a run as it has room
 * for, and is then asked for its outputs until none is ready: every frame is computed once, and no block waits for
 * another.
 *
 * A block has a stride s, a reach back L and a reach ahead R: output i reads the inputs i s - L ... i s + R that exist.
 * So exactly max (0, floor ((n - 1 - R) / s) + 1) outputs are ready after n inputs. Frames are numbered at each block's
 * own rate: input i s is the first that output i counts from, and a stream begins at a frame whose number the strides
 * divide.
 *
 * Chunks are the exception: what an output reads depends on its number, and repeats after a period. L and R are then
 * the largest of all outputs.
 */
#ifndef ATTN_SRC_BLOCK_H
#define ATTN_SRC_BLOCK_H

#include <stdbool.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "kernels/machine.h"
#include "base/pool.h"

/* Neighbouring frames. */
typedef struct {
  uint64_t first;      /* the number of the first of them */
  uint64_t n;          /* at most ATTN_LANES if they are present, any number if absent */
  bool present;        /* all of them are present, or all absent */
  bool more;           /* in a run of outputs: more may be ready behind them */
  const float *values; /* [n][width] if they are present, cleaned; NULL in a run of outputs that are not wanted */
} AttnRun;

/*
 * What the blocks of a stream ask of a group of streams (group.c): a linear layer over some rows, which the group
 * computes for several streams at once. A stream has at most one request at a time.
 */
typedef struct {
  bool in_group;                    /* the stream is pushed by a group. Else no block asks for anything */
  const AttnProjection *projection; /* NULL: there is no request */
  const float *in;                  /* [n][n_inputs], n <= ATTN_LANES */
  float *out;                       /* [n][n_outputs] */
  size_t n;
  bool is_done;                   /* the group has written `out` */
  size_t max_inputs, max_outputs; /* the widest rows that the blocks ask for, as they note while they are planned */
} AttnRequest;

/* The blocks of a stream share its threads, the request, and the longest length that it can have. */
typedef struct {
  AttnPool *pool;       /* NULL: the caller alone */
  bool shares_all;      /* threads share even work that is not worth it, as tests want */
  size_t max_frames;    /* the most frames between two resets; SIZE_MAX: any number */
  AttnRequest *request; /* of the stream */
} AttnWork;

/* One or two microseconds of work, some times the cost of handing it over. */
#define ATTN_MIN_SHARED 400000

/*
 * Cores that share no cache hand over a value in the time of some 400 operations (AMD Zen 5: 64 bytes in 25 ns), others
 * several times as fast.
 */
#define ATTN_MIN_OPERATIONS_PER_VALUE 200

/* Whether threads should share `n_operations` that read and write `n_values`, parameters and window apart. */
static inline bool
attn_is_worth_sharing (uint64_t n_operations, uint64_t n_values)
{
  return n_operations >= ATTN_MIN_SHARED && n_operations >= n_values * ATTN_MIN_OPERATIONS_PER_VALUE;
}

/*
 * The threads that share such work; NULL: sharing is not worth it. In a group, whose threads share the streams, each
 * stream has one thread.
 */
static inline AttnPool *
attn_work_pool (const AttnWork *work, uint64_t n_operations, uint64_t n_values)
{
  bool shares = work->shares_all || attn_is_worth_sharing (n_operations, n_values);

  return shares && !work->request->in_group ? work->pool : NULL;
}

/* A block of the stream waits for what it has asked for. */
static inline bool
attn_work_waits (const AttnWork *work)
{
  return work->request->projection != NULL && !work->request->is_done;
}

/* A block that is being planned may ask for rows of these widths. */
static inline void
attn_work_note (const AttnWork *work, size_t n_inputs, size_t n_outputs)
{
  AttnRequest *request = work->request;

  request->max_inputs = n_inputs > request->max_inputs ? n_inputs : request->max_inputs;
  request->max_outputs = n_outputs > request->max_outputs ? n_outputs : request->max_outputs;
}

/*
 * How far a stream has come in front of a block. The block turns it into how far its own outputs have come, at its
 * rate.
 */
typedef struct {
  uint64_t first; /* the number of its first frame */
  uint64_t next;  /* the number of the next one */
  bool at_end;    /* no more frames will come */
} AttnProgress;

/* Frames from the oldest to the newest. Whether they exist is another question. */
typedef struct {
  uint64_t oldest, newest;
} AttnReads;

typedef struct AttnBlock AttnBlock;
typedef struct AttnChain AttnChain;
typedef struct AttnChainState AttnChainState;

/*
 * Below, `state` is the state that plan () made for one stream. Between new and free nothing allocates, locks or fails.
 */
typedef struct {
  const char *name;

  void (*free) (AttnBlock *block);

  /*
   * Moves the weights of the block into the arena, in the order in which a frame meets them; only counts them while the
   * arena has no memory. `arena` NULL: the block ends, and leaves the weights to the layer, which frees them. A kind
   * with few weights leaves them where they are: settle is NULL.
   */
  void (*settle) (AttnBlock *block, AttnArena *arena);

  /* The number of outputs of a finished stream of `n` frames; NULL: n. count (0) is 0. */
  uint64_t (*count) (const AttnBlock *block, uint64_t n);

  /* With chunks: the number of outputs after `n` frames, from frame `first` on, of a stream that goes on. */
  uint64_t (*ready) (const AttnBlock *block, uint64_t first, uint64_t n);

  /* With chunks: the inputs that these outputs read. The outputs lie so far from 0 that no number is negative. */
  AttnReads (*reads) (const AttnBlock *block, AttnReads outputs);

  /* Multiplications of an output, each with a sum, when the window is full; NULL: a few per value, or those inside. */
  double (*multiplications) (const AttnBlock *block);

  /* `hash`, continued with everything that the outputs of the block depend on. */
  uint64_t (*hash) (const AttnBlock *block, uint64_t hash);

  /* Takes the state's memory out of the arena and sets it up; NULL while the arena counts. */
  void *(*plan) (const AttnBlock *block, const AttnWork *work, AttnArena *arena);

  /* Forgets everything; the next frame is number `first`. */
  void (*reset) (void *state, uint64_t first);

  /*
   * Takes the first frames of `run`, at least one, and returns how many. Called only when no output is ready. The
   * values of the run stay where they are until give () has no more outputs.
   */
  uint64_t (*take) (void *state, const AttnRun *run);

  /*
   * The next outputs that are ready, to out [16][n_outputs] (NULL: not wanted); n = 0: none is. If the stream waits
   * (attn_work_waits ()) after the call, its result does not count: the same call follows once the request is done.
   */
  AttnRun (*give) (void *state, float *out);

  /* No more frames will come, and no output is ready: all outputs still owed become ready. */
  void (*end) (void *state);

  /* A section of a saved state: its present size, and its bytes. */
  size_t (*saved_size) (const void *state);
  uint8_t *(*save) (const void *state, uint8_t *bytes);

  /*
   * Checks that `size` bytes can be the section of a stream that has come as far as `progress`, which the block moves
   * on.
   */
  AttnStatus (*check) (const void *state, const uint8_t *bytes, size_t size, AttnProgress *progress, AttnError *error);

  /* Restores the state from a checked section; moves `progress` on as check does. */
  void (*restore) (void *state, const uint8_t *bytes, AttnProgress *progress);

  /* The blocks inside of this one, and their state. NULL: there are none. */
  const AttnChain *(*inner) (const AttnBlock *block);
  AttnChainState *(*inner_state) (void *state);
} AttnBlockKind;

/* The first member of each block. */
struct AttnBlock {
  const AttnBlockKind *kind;
  const AttnMachine *machine;
  size_t n_inputs;      /* values per frame that comes in */
  size_t n_outputs;     /* and per frame that leaves */
  uint64_t stride;      /* s: frames that come in for each that leaves */
  uint64_t reach_back;  /* L: output i reads the inputs i s - L ... i s + R; sinks are not counted */
  uint64_t reach_ahead; /* R */
  uint64_t period;      /* frames that come in until chunks repeat; 0 or 1: there are no chunks */
};

/* The number of outputs that are ready after `n` frames, from frame `first` on, of a stream that goes on. */
static inline uint64_t
attn_block_ready (const AttnBlock *block, uint64_t first, uint64_t n)
{
  if (block->period > 1)
    return block->kind->ready (block, first, n);
  return n > block->reach_ahead ? (n - 1 - block->reach_ahead) / block->stride + 1 : 0;
}

/* The inputs that these outputs read. */
static inline AttnReads
attn_block_reads (const AttnBlock *block, AttnReads outputs)
{
  if (block->period > 1)
    return block->kind->reads (block, outputs);
  return (AttnReads){ outputs.oldest * block->stride - block->reach_back,
                      outputs.newest * block->stride + block->reach_ahead };
}

/* The number of outputs of a finished stream of `n` frames. */
static inline uint64_t
attn_block_count (const AttnBlock *block, uint64_t n)
{
  return block->kind->count != NULL ? block->kind->count (block, n) : n;
}

#endif
