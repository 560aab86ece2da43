/*
 * libattn: the numbers of one attention: its configuration, its model and its machine, checked together and spelled
 * out. The sizes of windows, delay lines and working memory are derived from these where they are made, and checked for
 * overflow there.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_ATTENTION_SIZES_H
#define ATTN_SRC_ATTENTION_SIZES_H

#include <stdbool.h>

#include "kernels/machine.h"

typedef struct {
  size_t n_features; /* D, values per input frame */
  size_t n_outputs;  /* Dout, values per output frame */
  size_t n_heads;
  size_t n_kv_heads;
  size_t heads_per_kv; /* n_heads / n_kv_heads */
  size_t dk;           /* values of a query or key, per head */
  size_t dv;           /* values of a value or context, per head */
  size_t dk_stored;    /* rows of keys in a tile of the window: dk, rounded up to pairs in bf16 */

  size_t n_query;     /* n_heads * dk: the queries of a frame */
  size_t n_key;       /* n_kv_heads * dk */
  size_t n_value;     /* n_kv_heads * dv */
  size_t n_context;   /* n_heads * dv: the contexts of a frame */
  size_t n_projected; /* n_query + n_key + n_value */

  size_t window;
  size_t look_ahead;
  size_t n_sinks;
  size_t span;  /* n_sinks + window + look_ahead: weights per head and frame */
  size_t chunk; /* frames of a chunk; 0: there are none, but a window */
  size_t chunks;

  AttnPosition position;
  AttnRopeLayout rope_layout;
  double rope_base;
  size_t n_rope_pairs; /* per head; 0 unless position is RoPE */

  AttnQkNorm qk_norm;
  float qk_norm_eps;

  float query_factor; /* scale * log2 (e): weights are powers of two of the scores */
  AttnSoftcap softcap;
  AttnPrecision precision;
  AttnArithmetic arithmetic;
  bool is_split;      /* parameters and window are stored a second time, for a matrix unit (matrix.h) */
  uint32_t n_threads; /* of a stream, as many as are worth it, at least 1 */
} AttnSizes;

/* The frames that `frame` attends to, besides sinks: from the oldest to before the end, those that exist. */
static inline uint64_t
attn_oldest_seen (const AttnSizes *sizes, uint64_t frame)
{
  uint64_t n_back = sizes->window - 1;

  if (sizes->chunk != 0)
    n_back = sizes->chunks * (uint64_t) sizes->chunk + frame % sizes->chunk;
  return frame < n_back ? 0 : frame - n_back;
}

static inline uint64_t
attn_end_seen (const AttnSizes *sizes, uint64_t frame)
{
  return frame + 1 + (sizes->chunk != 0 ? sizes->chunk - 1 - frame % sizes->chunk : sizes->look_ahead);
}

/* The sizes for a resolved configuration. `model` NULL: parameter-free. */
AttnStatus attn_attention_sizes (AttnSizes *sizes, const AttnConfig *config, const AttnModel *model,
                                 const AttnMachine *machine, AttnError *error);

#endif
