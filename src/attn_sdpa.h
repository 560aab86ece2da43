/*
 * libattn: the plain operator: scaled dot-product attention on explicit tensors.
 *
 * Copyright (C) 2026 the gst-attention authors
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SDPA_H
#define ATTN_SDPA_H

#include "attn.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How queries, keys, values and outputs lie in memory, without gaps. S is n_queries or n_keys, d is dk or dv. Pasts,
 * presents, scores and weights have their heads outside in either layout.
 */
typedef enum {
  ATTN_LAYOUT_HEADS_OUTSIDE = 0, /* [n_batches][heads][S][d], the 4-D tensors of ONNX and PyTorch */
  ATTN_LAYOUT_HEADS_INSIDE       /* [n_batches][S][heads * d], the 3-D tensors of ONNX: a head is a slice of a frame */
} AttnLayout;

/* Types of values, by their numbers in ONNX (TensorProto.DataType). */
typedef enum {
  ATTN_TYPE_DEFAULT = 0,
  ATTN_TYPE_F32 = 1,
  ATTN_TYPE_F16 = 10, /* binary16 of IEEE 754 */
  ATTN_TYPE_F64 = 11, /* for the softmax alone */
  ATTN_TYPE_BF16 = 16 /* bfloat16, the upper half of a float32 */
} AttnType;

/* Which scores are stored. The numbers are those of qk_matmul_output_mode in ONNX. Its mode 3 asks for the weights. */
typedef enum {
  ATTN_SCORES_PRODUCT = 0, /* scale query . key, of every key */
  ATTN_SCORES_CAPPED,      /* the same after the softcap */
  ATTN_SCORES_MASKED       /* and with the float mask; -inf where the query does not attend to the key */
} AttnScores;

#define ATTN_UNLIMITED 0xffffffffu     /* of a window to the left or right; -1 in FlashAttention and ONNX */
#define ATTN_BESIDE_LAST_KEY INT64_MAX /* of query_offset */

/*
 * Scaled dot-product attention on explicit tensors: the operator Attention of ONNX, opsets 23, 24 and 25
 * (https://onnx.ai/onnx/operators/onnx__Attention.html). There are N = n_past + n_keys keys: those of the past, then
 * those of `key`. The values are arranged in the same way. For query i and key j of a batch and a head (which uses
 * key/value head head / (n_heads / n_kv_heads)):
 *
 *   score  = scale query_i . key_j                   softcap: score := softcap tanh (score / softcap)
 *   score += float_mask[i][j]                        -inf: i does not attend to j
 *   weight = softmax of the scores over those j that i attends to (Vaswani et al. 2017, equation 1)
 *   out_i  = sum over j of weight value_j
 *
 * i attends to j when all of these allow it: j < V; the bool mask is not 0; the float mask is not -inf; j <= p when
 * is_causal; p - left_window <= j <= p + right_window. V is n_valid_keys[batch], or N when there are none. p = i +
 * query_offset is the place of the query among the keys. By default query_offset is V - n_queries: the last query
 * stands beside the last key ("bottom-right", as in FlashAttention). A query that attends to nothing gives 0 for output
 * and weights, never NaN.
 *
 * A mask is [mask_batches][mask_heads][mask_queries][mask_keys] without gaps. Each size is that of the scores (N for
 * the keys), or 1: then the mask holds for all of them (broadcasting). 0 stands for the size of the scores. With
 * pad_mask a mask may end before the last key, and no query attends to the keys behind its end.
 *
 * In the words of ONNX: Q, K, V, Y are query, key, value, out; q_num_heads and kv_num_heads are n_heads and n_kv_heads;
 * -1 as the size of a window is ATTN_UNLIMITED; nonpad_kv_seqlen is n_valid_keys; softmax_precision is softmax_type;
 * qk_matmul_output is `scores` in the modes 0 to 2 and `weights` in mode 3. ONNX differs from the defaults here. Set
 * query_offset = n_past, unless there is a nonpad_kv_seqlen: without a past ONNX begins at the first key. Set pad_mask
 * = 1 from opset 24 on. The sizes of a mask with fewer than four dimensions are its last ones.
 *
 * Start from attn_sdpa_default (): later versions may put fields in the place of the reserved ones.
 */
typedef struct {
  const void *query;        /* [n_batches, n_heads, n_queries, dk] in the order that `layout` says */
  const void *key;          /* [n_batches, n_kv_heads, n_keys, dk] */
  const void *value;        /* [n_batches, n_kv_heads, n_keys, dv] */
  const uint8_t *bool_mask; /* NULL = none; otherwise not 0 = attend */
  const void *float_mask;   /* NULL = none; is added to the scores, also beside a bool mask */
  void *out;                /* [n_batches, n_heads, n_queries, dv] in the order of `layout`; NULL: not wanted */
  void *weights;            /* [n_batches][n_heads][n_queries][N]; NULL: not wanted */
  uint32_t n_batches;       /* any; 0: nothing is computed. Default 1 */
  uint32_t n_heads;         /* 1 ... ATTN_MAX_FEATURES. Default 1 */
  uint32_t n_kv_heads;      /* divides n_heads; 0 = n_heads. Default 0 */
  uint32_t n_queries;       /* any; 0: nothing is computed. Default 0 */
  uint32_t n_keys;          /* any, N < 2^32; N = 0: nothing to attend to, the output is 0. Default 0 */
  uint32_t dk;              /* values of a query or key, 1 ... ATTN_MAX_FEATURES. Default 0, to be set */
  uint32_t dv;              /* values of a value or output, 1 ... ATTN_MAX_FEATURES; 0 = dk. Default 0 */
  uint32_t layout;          /* an AttnLayout. Default ATTN_LAYOUT_HEADS_OUTSIDE */
  uint32_t mask_batches;    /* n_batches, 1 or 0. Default 1 */
  uint32_t mask_heads;      /* n_heads, 1 or 0. Default 1 */
  uint32_t mask_queries;    /* n_queries, 1 or 0. Default 0 */
  uint32_t mask_keys;       /* N, 1 or 0; with pad_mask: up to N, 0 = N. Default 0 */
  uint32_t is_causal;       /* 0 or 1. Default 0 */
  uint32_t left_window;     /* keys before p, or ATTN_UNLIMITED. Default ATTN_UNLIMITED */
  uint32_t right_window;    /* keys behind p, or ATTN_UNLIMITED. Default ATTN_UNLIMITED */
  double scale;             /* as in AttnConfig */
  double softcap;           /* as in AttnConfig */

  const void *past_key;        /* [n_batches][n_kv_heads][n_past][dk]; NULL (and past_value NULL): no past */
  const void *past_value;      /* [n_batches][n_kv_heads][n_past][dv] */
  void *present_key;           /* [n_batches][n_kv_heads][N][dk], receives past and `key`; NULL: not wanted */
  void *present_value;         /* [n_batches][n_kv_heads][N][dv], receives past and `value`; NULL as present_key */
  const int64_t *n_valid_keys; /* [n_batches], 0 ... n_keys, later keys are padding; NULL: none. Not with a past */
  void *scores;                /* [n_batches][n_heads][n_queries][N]; NULL: not wanted */
  int64_t query_offset;        /* of p, -2^32 ... 2^32. Default ATTN_BESIDE_LAST_KEY: V - n_queries */
  uint32_t n_past;             /* keys in the past, any. Default 0 */
  uint32_t pad_mask;           /* 1: a mask of one key covers the first key, without broadcasting. Default 0 */
  uint32_t scores_stage;       /* an AttnScores. Default ATTN_SCORES_PRODUCT */
  uint32_t type;               /* of all tensors but bool_mask and the values: F32, F16 or BF16. Default F32 */
  uint32_t value_type;         /* of value, past_value, present_value. Default: `type` */
  uint32_t softmax_type;       /* an AttnType: see "Types" below. Default: float32 arithmetic */
  uint64_t reserved[6];        /* 0 */
} AttnSdpa;

ATTN_API AttnSdpa attn_sdpa_default (void);

/*
 * Computes what `sdpa` describes. The caller owns the arrays. They need the alignment of their types only, and outputs
 * may not overlap inputs. Allocates working memory of the size of one key/value head and 16 rows of scores. Returns
 * ATTN_ERROR_MEMORY if there is none, and ATTN_ERROR_CONFIG if sizes and options do not fit together; then nothing has
 * been written. `error` may be NULL. Any thread. Cost: O (n_batches n_heads n_queries N (dk + dv)), less the tiles of
 * 16 keys that a window leaves out.
 *
 * Bits: position j corresponds to the frame number of a stream. Over the frames of a parameter-free layer (frames
 * [n][D] as query, key and value, ATTN_LAYOUT_HEADS_INSIDE, left_window = window - 1, right_window = look_ahead) the
 * output is that of attn_forward (), to the bit. For a layer with chunks, pass a bool mask. For one with positions or
 * norms, put these into query and key, or into a float mask. A float mask is added after the softcap by one fma, mask
 * times log2 (e) plus score, on the scale of powers of two; finite entries beyond +-2^126 count as +-2^126, so that the
 * product is finite; NaN or +inf give a NaN row. Other options change no bit.
 *
 * Types: 16-bit tensors become float32 when they are read, which is exact; all arithmetic is that of float32 tensors;
 * `out`, `scores` and `weights` are rounded once, when they are stored, to nearest even (beyond the largest number of
 * the type to infinity). Nothing in between is rounded, unless softmax_type says so: then scores are rounded to that
 * type before the softmax (a key whose score becomes -inf is not attended to), and weights after it, before they are
 * multiplied by the values; with ATTN_TYPE_F64 the softmax is computed in float64, and its weights are rounded to
 * float32.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_sdpa (const AttnSdpa *sdpa, AttnError *error);

#ifdef __cplusplus
}
#endif

#endif
