/*
 * libattn: blocks that turn each frame into another one, without looking at its neighbours: linear layers, norms,
 * activations. Only their computation differs; all else is written once, here.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Their state holds frames between take () and give (), but nothing between pushes, so that their section of a saved
 * state is empty. Absent frames pass, any number at once.
 */
#ifndef ATTN_SRC_FRAMEWISE_H
#define ATTN_SRC_FRAMEWISE_H

#include "blocks/block.h"
#include "parameters/model.h"

/* The first member of each such block. */
typedef struct {
  AttnBlock block;
  size_t scratch_size; /* bytes that compute () needs beside its frames */
} AttnFramewise;

/* The state in a stream. */
typedef struct {
  const AttnFramewise *framewise;
  const AttnWork *work;
  AttnRun run;         /* the frames that are held; n = 0: none */
  const float *frames; /* [n][n_inputs], where the block in front left them */
  void *scratch;       /* [scratch_size] */
} AttnFramewiseState;

/* A kind of such blocks. */
typedef struct {
  AttnBlockKind kind; /* the first member */

  /* out [n][n_outputs] of the frames that are held. If the stream waits after the call, the call is repeated. */
  void (*compute) (const AttnFramewiseState *state, float *out);
} AttnFramewiseKind;

void *attn_framewise_plan (const AttnBlock *block, const AttnWork *work, AttnArena *arena);
void attn_framewise_reset (void *state, uint64_t first);
uint64_t attn_framewise_take (void *state, const AttnRun *run);
AttnRun attn_framewise_give (void *state, float *out);
void attn_framewise_end (void *state);
size_t attn_framewise_saved_size (const void *state);
uint8_t *attn_framewise_save (const void *state, uint8_t *bytes);
AttnStatus attn_framewise_check (const void *state, const uint8_t *bytes, size_t size, AttnProgress *progress,
                                 AttnError *error);
void attn_framewise_restore (void *state, const uint8_t *bytes, AttnProgress *progress);

/* Makes a kind of its own functions and the shared ones. */
#define ATTN_FRAMEWISE_KIND(name_, free_, settle_, multiplications_, hash_, compute_) \
  {                                                                                   \
    .kind = { .name = name_,                                                          \
              .free = free_,                                                          \
              .settle = settle_,                                                      \
              .multiplications = multiplications_,                                    \
              .hash = hash_,                                                          \
              .plan = attn_framewise_plan,                                            \
              .reset = attn_framewise_reset,                                          \
              .take = attn_framewise_take,                                            \
              .give = attn_framewise_give,                                            \
              .end = attn_framewise_end,                                              \
              .saved_size = attn_framewise_saved_size,                                \
              .save = attn_framewise_save,                                            \
              .check = attn_framewise_check,                                          \
              .restore = attn_framewise_restore },                                    \
    .compute = compute_                                                               \
  }

/* Memory for a block of `size` bytes, which begins with an AttnFramewise; NULL: out of memory, and `error` says so. */
void *attn_framewise_new (size_t size, const AttnFramewiseKind *kind, const AttnMachine *machine, size_t n_inputs,
                          size_t n_outputs, AttnError *error);

/* Applies the activation to `n` frames [n][width], each by itself, in place. */
void attn_activate_frames (const AttnKernels *kernels, float *frames, size_t n, size_t width,
                           AttnActivation activation);

/*
 * ---- the blocks ----
 *
 * Each copies its parameters, cleaned. `machine` must outlive the block. The caller has checked widths and all else
 * that a file may say. On failure *block is NULL, or the caller frees it by its kind's free ().
 */

/* activation (weight x + bias) */
AttnStatus attn_linear_block_new (const AttnMachine *machine, const AttnLinear *linear, AttnActivation activation,
                                  AttnPrecision precision, AttnBlock **block, AttnError *error);

/* weight [width] NULL: 1; bias [width] NULL: 0. eps: 1e-30 ... 1e30. */
AttnStatus attn_norm_new (const AttnMachine *machine, size_t width, bool is_rms, double eps, const float *weight,
                          const float *bias, AttnBlock **block, AttnError *error);

AttnStatus attn_activation_new (const AttnMachine *machine, size_t width, AttnActivation activation, AttnBlock **block,
                                AttnError *error);

/* The first half of a frame times the activation of the second; n_inputs is even. */
AttnStatus attn_glu_new (const AttnMachine *machine, size_t n_inputs, AttnActivation activation, AttnBlock **block,
                         AttnError *error);

/* x weight + bias, value by value; bias [width] NULL: 0 */
AttnStatus attn_affine_new (const AttnMachine *machine, size_t width, const float *weight, const float *bias,
                            AttnBlock **block, AttnError *error);

/*
 * x + sin and cos of (frame number + offset) base^(-2 i / width), i < width / 2; width is even. First all sines and
 * then all cosines (is_half), or in turns.
 */
AttnStatus attn_sinusoid_new (const AttnMachine *machine, size_t width, double base, uint64_t offset, bool is_half,
                              AttnBlock **block, AttnError *error);

#endif
