/*
 * Random encoders of every kind of block, as the bytes of a model file and as the list of their blocks, for the law
 * that they have to keep (encoder-law.h).  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_ENCODERS_H
#define TESTS_CORE_ENCODERS_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"
#include "base/bytes.h"
#include "random.h"

#define MAX_WIDTH 24   /* values per frame, except of a stack and of a conv2d */
#define MAX_STACKED 48 /* values per frame of a stack, or of a conv2d */
#define MAX_STRIDE 12  /* of a whole encoder, so that short streams have outputs */
#define MAX_DEPTH 3    /* residuals in each other */

/* ---- bytes ---- */

typedef struct {
  char *bytes;
  size_t size, room;
} Bytes;

static inline void
bytes_append (Bytes *b, const void *more, size_t n)
{
  if (b->size + n > b->room) {
    b->room = 2 * (b->size + n);
    b->bytes = realloc (b->bytes, b->room);
    if (b->bytes == NULL)
      abort ();
  }
  if (n != 0)
    memcpy (b->bytes + b->size, more, n);
  b->size += n;
}

__attribute__ ((format (printf, 2, 3))) static inline void
bytes_print (Bytes *b, const char *format, ...)
{
  char text[256];
  va_list args;

  va_start (args, format);
  bytes_append (b, text, (size_t) vsnprintf (text, sizeof text, format, args));
  va_end (args);
}

/* ---- blocks ---- */

typedef enum {
  BLOCK_LINEAR,
  BLOCK_NORM,
  BLOCK_ACTIVATION,
  BLOCK_GLU,
  BLOCK_AFFINE,
  BLOCK_SINUSOID,
  BLOCK_ATTENTION,
  BLOCK_RESIDUAL,
  BLOCK_CONV, /* this and the following kinds are not in the first set */
  BLOCK_CONV2D,
  BLOCK_STACK,
  N_BLOCK_KINDS
} BlockKind;

static const char *const block_names[N_BLOCK_KINDS] = { "linear", "norm",     "activation", "glu",
                                                        "affine", "sinusoid", "attention",  "residual",
                                                        "conv",   "conv2d",   "stack" };

typedef enum {
  ACT_NONE,
  ACT_RELU,
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_SILU,
  ACT_SIGMOID,
  ACT_TANH, /* up to here: may be a key of another block and, except tanh, of a glu */
  ACT_SOFTMAX,
  ACT_LOG_SOFTMAX
} Act;

static const char *const act_names[] = { "none",    "relu", "gelu",    "gelu-tanh",  "silu",
                                         "sigmoid", "tanh", "softmax", "log-softmax" };

/* A tensor [n_rows][n_columns] of the file; values NULL: there is none. */
typedef struct {
  uint32_t n_rows, n_columns;
  float *values;
  size_t begin; /* in the data of the file */
} Matrix;

typedef struct {
  uint32_t heads, kv_heads, dk, dv, window, look_ahead, sinks;
  uint32_t chunk, chunks; /* chunk 0: a window; else window and look_ahead are what chunks count as */
  AttnPosition position;
  AttnRopeLayout layout;
  uint32_t rope_dimensions;               /* 0: no RoPE */
  double scale, softcap;                  /* scale is never 0 */
  Matrix weights[4], biases[4], relative; /* query, key, value, output */
  AttnQkNorm norm;
  double norm_eps;
  Matrix norm_weights[2], norm_biases[2]; /* query, key */
  Matrix distances, u, v;                 /* of Transformer-XL's positions */
  double *products;                       /* while a signal is computed: encoder-law.h */
  size_t n_products;
} AttentionNode;

typedef struct Node Node;

typedef struct {
  Node *nodes;
  size_t n;
} Chain;

struct Node {
  BlockKind kind;
  uint32_t n_in, n_out;
  Act act;             /* also of a glu */
  Matrix weight, bias; /* linear, norm, affine, conv */
  bool is_rms;
  double eps;
  bool is_half; /* sinusoid, from here */
  double base;
  uint64_t offset;
  uint32_t kernel, stride, dilation, groups, left, right; /* conv, conv2d; stride also of a stack; of others it is 1 */
  /* conv2d: channels and bins, in and out; of a conv all values are channels, with one bin */
  uint32_t channels, bins, channels_out, bins_out, bin_kernel, bin_stride, low, high;
  AttentionNode a;
  Chain inner; /* of a residual */
};

typedef struct {
  Chain chain;
  uint32_t n_in, n_out;
  uint32_t max_stride; /* that the remaining blocks may have together; 0: no blocks that reach, except attention */
  int n_left;          /* blocks that may still come */
  bool has_stack;      /* values of one frame have come from several */
  unsigned n_named;
  Bytes json, header, data; /* being written; in `json` ' stands for " */
  Bytes file;
} Encoder;

/* ---- tensors ---- */

/*
 * `shape`: the shape in the header for these rows and columns. Values of the size that keeps sums of them of order one.
 */
static inline Matrix
add_tensor (Encoder *e, const char *name, const char *part, const char *shape, uint32_t n_rows, uint32_t n_columns)
{
  Matrix m = { n_rows, n_columns, NULL, e->data.size };
  size_t n = (size_t) n_rows * n_columns;

  m.values = malloc ((n + 1) * sizeof (float));
  if (m.values == NULL)
    abort ();
  random_fill (m.values, n, n_columns == 1 ? 0.5f : sqrtf (3.0f / n_columns));
  for (size_t i = 0; i < n; i++) {
    uint8_t bytes[sizeof (float)];

    attn_put_floats (bytes, &m.values[i], 1);
    bytes_append (&e->data, bytes, sizeof bytes);
  }
  bytes_print (&e->header, ",\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", name, part, shape,
               m.begin, e->data.size);
  return m;
}

/* The test does not need the values beside the file. */
static inline void
only_in_file (Matrix m)
{
  free (m.values);
}

static inline Matrix
add_weight (Encoder *e, const char *name, const char *part, uint32_t n_rows, uint32_t n_columns)
{
  char shape[32];

  snprintf (shape, sizeof shape, "%u,%u", n_rows, n_columns);
  return add_tensor (e, name, part, shape, n_rows, n_columns);
}

static inline Matrix
add_vector (Encoder *e, const char *name, const char *part, uint32_t n)
{
  char shape[16];

  snprintf (shape, sizeof shape, "%u", n);
  return add_tensor (e, name, part, shape, n, 1);
}

static inline Matrix
maybe_bias (Encoder *e, const char *name, const char *part, uint32_t n)
{
  return random_between (0, 1) ? add_vector (e, name, part, n) : (Matrix){ 0 };
}

/* ---- one function per kind: fills the node, writes its tensors and its keys ---- */

static inline void
maybe_activation (Node *node, Bytes *keys)
{
  node->act = random_between (0, 1) ? random_between (ACT_NONE, ACT_TANH) : ACT_NONE;
  if (node->act != ACT_NONE || random_between (0, 3) == 0)
    bytes_print (keys, ",'activation':'%s'", act_names[node->act]);
}

/* n_out 0: any */
static inline void
make_linear (Encoder *e, Node *node, const char *name, Bytes *keys, uint32_t n_out)
{
  node->n_out = n_out != 0 ? n_out : random_between (1, MAX_WIDTH);
  node->weight = add_weight (e, name, ".weight", node->n_out, node->n_in);
  node->bias = maybe_bias (e, name, ".bias", node->n_out);
  maybe_activation (node, keys);
}

/* Returns whether the block has no tensors, and so no name. */
static inline bool
make_norm (Encoder *e, Node *node, const char *name, Bytes *keys)
{
  static const double eps[] = { 1e-5, 1e-6, 1e-3, 0.25 };

  node->is_rms = random_between (0, 1);
  node->eps = eps[random_between (0, 3)];
  if (node->is_rms || random_between (0, 1))
    bytes_print (keys, ",'kind':'%s'", node->is_rms ? "rms" : "layer");
  if (node->eps != 1e-5 || random_between (0, 1))
    bytes_print (keys, ",'eps':%g", node->eps);
  if (random_between (0, 3) == 0)
    return true;
  node->weight = add_vector (e, name, ".weight", node->n_in);
  if (!node->is_rms)
    node->bias = maybe_bias (e, name, ".bias", node->n_in);
  return false;
}

static inline void
make_sinusoid (Node *node, Bytes *keys)
{
  static const double bases[] = { 10000, 500, 1 };

  node->base = bases[random_between (0, 2)];
  node->is_half = random_between (0, 1);
  node->offset = random_between (0, 1) ? 0 : random_between (1, 100);
  if (node->base != 10000)
    bytes_print (keys, ",'base':%g", node->base);
  if (node->is_half || random_between (0, 1))
    bytes_print (keys, ",'layout':'%s'", node->is_half ? "half" : "interleaved");
  if (node->offset != 0)
    bytes_print (keys, ",'offset':%llu", (unsigned long long) node->offset);
}

static inline void
make_position (Encoder *e, AttentionNode *a, uint32_t n_in, const char *name, Bytes *keys)
{
  static const char *const names[] = { "none", "rope", "alibi", "relative", "transformer-xl" };

  a->position = random_between (0, 2) == 0 ? ATTN_POSITION_NONE : random_between (1, 4);
  if (a->chunk != 0 && random_between (0, 1)) /* as models with chunks have it */
    a->position = ATTN_POSITION_TRANSFORMER_XL;
  if (a->position == ATTN_POSITION_TRANSFORMER_XL && (a->sinks != 0 || n_in % 2 != 0))
    a->position = ATTN_POSITION_NONE;
  if (a->position == ATTN_POSITION_RELATIVE && a->chunk != 0)
    a->position = ATTN_POSITION_ALIBI;
  if (a->position == ATTN_POSITION_ROPE && a->dk < 2)
    a->position = ATTN_POSITION_NONE;
  if (a->position != ATTN_POSITION_NONE || random_between (0, 3) == 0)
    bytes_print (keys, ",'position':'%s'", names[a->position]);
  if (a->position == ATTN_POSITION_RELATIVE)
    a->relative = add_weight (e, name, ".relative_bias", a->heads, a->window + a->look_ahead);
  if (a->position == ATTN_POSITION_TRANSFORMER_XL) {
    a->distances = add_weight (e, name, ".linear_pos.weight", a->heads * a->dk, n_in);
    a->u = add_weight (e, name, ".pos_bias_u", a->heads, a->dk);
    a->v = add_weight (e, name, ".pos_bias_v", a->heads, a->dk);
  }
  if (a->position != ATTN_POSITION_ROPE)
    return;
  a->layout = random_between (0, 1);
  a->rope_dimensions = 2 * random_between (1, a->dk / 2);
  bytes_print (keys, ",'rope-dimensions':%u,'rope-layout':'%s'", a->rope_dimensions,
               a->layout == ATTN_ROPE_HALF ? "half" : "interleaved");
}

static inline void
make_qk_norm (Encoder *e, AttentionNode *a, const char *name, Bytes *keys)
{
  static const char *const names[] = { "none", "layer", "rms" };
  static const char *const weights[] = { ".q_norm.weight", ".k_norm.weight" };
  static const char *const biases[] = { ".q_norm.bias", ".k_norm.bias" };

  a->norm = random_between (0, 2) == 0 ? random_between (ATTN_QK_NORM_LAYER, ATTN_QK_NORM_RMS) : ATTN_QK_NORM_NONE;
  a->norm_eps = random_between (0, 1) ? 1e-5 : 0.25;
  if (a->norm != ATTN_QK_NORM_NONE || random_between (0, 3) == 0)
    bytes_print (keys, ",'qk-norm':'%s'", names[a->norm]);
  if (a->norm == ATTN_QK_NORM_NONE)
    return;
  if (a->norm_eps != 1e-5)
    bytes_print (keys, ",'qk-norm-eps':%g", a->norm_eps);
  for (int i = 0; i < 2; i++) {
    a->norm_weights[i] = add_vector (e, name, weights[i], a->dk);
    if (a->norm == ATTN_QK_NORM_LAYER)
      a->norm_biases[i] = maybe_bias (e, name, biases[i], a->dk);
  }
}

/* A window, or chunks whose common multiple is small. */
static inline void
make_window (AttentionNode *a, Bytes *keys)
{
  a->window = random_between (1, random_between (0, 3) == 0 ? 40 : 9);
  a->look_ahead = random_between (0, 1) ? 0 : random_between (1, 5);
  a->chunk = random_between (0, 2) == 0 ? random_between (1, random_between (0, 3) == 0 ? 20 : 6) : 0;
  if (a->chunk == 0) {
    bytes_print (keys, ",'window':%u", a->window);
    if (a->look_ahead != 0 || random_between (0, 1))
      bytes_print (keys, ",'look-ahead':%u", a->look_ahead);
    return;
  }
  a->chunks = random_between (0, 3);
  a->window = a->chunks * a->chunk + a->chunk;
  a->look_ahead = a->chunk - 1;
  bytes_print (keys, ",'chunk':%u,'chunks':%u", a->chunk, a->chunks);
}

/* In the scheme of Hugging Face; the output projection may be absent. */
static inline void
make_attention (Encoder *e, Node *node, const char *name, Bytes *keys)
{
  static const char *const weights[] = { ".q_proj.weight", ".k_proj.weight", ".v_proj.weight", ".o_proj.weight" };
  static const char *const biases[] = { ".q_proj.bias", ".k_proj.bias", ".v_proj.bias", ".o_proj.bias" };
  AttentionNode *a = &node->a;
  uint32_t rows[4];

  a->kv_heads = random_between (1, 2);
  a->heads = a->kv_heads * random_between (1, 2);
  a->dk = random_between (1, 6);
  a->dv = random_between (0, 1) ? a->dk : random_between (1, 6);
  bytes_print (keys, ",'heads':%u", a->heads);
  make_window (a, keys);
  a->sinks = random_between (0, 3) == 0 ? random_between (1, 5) : 0;
  a->scale = random_between (0, 3) == 0 ? 0.25 : 1 / sqrt (a->dk);
  a->softcap = random_between (0, 3) == 0 ? 2.5 : 0;
  node->n_out = random_between (0, 3) == 0 ? a->heads * a->dv : random_between (1, MAX_WIDTH);
  rows[0] = a->heads * a->dk, rows[1] = a->kv_heads * a->dk, rows[2] = a->kv_heads * a->dv, rows[3] = node->n_out;
  for (int i = 0; i < (node->n_out == a->heads * a->dv && random_between (0, 1) ? 3 : 4); i++) {
    a->weights[i] = add_weight (e, name, weights[i], rows[i], i < 3 ? node->n_in : a->heads * a->dv);
    a->biases[i] = maybe_bias (e, name, biases[i], rows[i]);
  }
  if (a->kv_heads != a->heads || random_between (0, 1))
    bytes_print (keys, ",'kv-heads':%u", a->kv_heads);
  if (a->sinks != 0)
    bytes_print (keys, ",'sinks':%u", a->sinks);
  if (a->scale == 0.25)
    bytes_print (keys, ",'scale':0.25");
  if (a->softcap != 0)
    bytes_print (keys, ",'softcap':%g", a->softcap);
  make_qk_norm (e, a, name, keys);
  make_position (e, a, node->n_in, name, keys);
}

/* Picks the zeros and the stride: in a residual count (T) = T. */
static inline void
make_conv_reach (Node *node, uint32_t max_stride, bool in_residual)
{
  uint32_t span;

  node->kernel = random_between (1, 5);
  node->dilation = random_between (0, 1) ? 1 : random_between (1, 3);
  if (random_between (0, 3) == 0)
    node->kernel = 2, node->dilation = 3; /* which may read around the middle frame but not the frame itself */
  span = (node->kernel - 1) * node->dilation;
  node->left = random_between (0, span);
  if (!in_residual) {
    node->stride = random_between (1, max_stride < 4 ? max_stride : 4);
    node->right = random_between (0, 1) ? 0 : random_between (0, span + node->stride - 1);
  } else
    node->right = span - node->left;
}

static inline void
make_conv (Encoder *e, Node *node, const char *name, Bytes *keys, bool in_residual)
{
  uint32_t group;
  char shape[48];

  do
    node->groups = random_between (0, 2) == 0 ? node->n_in : random_between (1, 4);
  while (node->n_in % node->groups != 0);
  group = node->n_in / node->groups;
  node->n_out = node->groups * random_between (1, node->groups < MAX_WIDTH ? MAX_WIDTH / node->groups : 1);
  node->channels = node->n_in, node->channels_out = node->n_out;
  node->bins = node->bins_out = node->bin_kernel = node->bin_stride = 1;
  make_conv_reach (node, e->max_stride, in_residual);
  snprintf (shape, sizeof shape, "%u,%u,%u", node->n_out, group, node->kernel);
  node->weight = add_tensor (e, name, ".weight", shape, node->n_out, group * node->kernel);
  node->bias = maybe_bias (e, name, ".bias", node->n_out);
  if (node->groups != 1)
    bytes_print (keys, ",'groups':%u", node->groups);
  if (node->stride != 1 || random_between (0, 3) == 0)
    bytes_print (keys, ",'stride':%u", node->stride);
  if (node->dilation != 1 || random_between (0, 3) == 0)
    bytes_print (keys, ",'dilation':%u", node->dilation);
  if (node->left != 0)
    bytes_print (keys, ",'left':%u", node->left);
  if (node->right != 0)
    bytes_print (keys, ",'right':%u", node->right);
  maybe_activation (node, keys);
  e->max_stride /= node->stride;
}

/* A stride may leave bins unread, between the kernels or behind the last one. */
static inline bool
reads_all_bins (const Node *node)
{
  uint32_t end = node->bins_out == 0 ? 0 : (node->bins_out - 1) * node->bin_stride + node->bin_kernel;

  return node->bin_kernel >= node->bin_stride && end >= node->low + node->bins;
}

/*
 * Picks the channels (0: any), the groups, and what the kernel does to the bins. Behind a stack, a bin may be all that
 * there is of a frame. All bins are read then, because the law says which frames are read.
 */
static inline void
make_bins (Node *node, uint32_t channels, bool reads_all)
{
  uint32_t all;

  node->channels = channels;
  while (node->channels == 0 || node->n_in % node->channels != 0)
    node->channels = random_between (1, node->n_in < 8 ? node->n_in : 8);
  node->bins = node->n_in / node->channels;
  do
    node->groups = random_between (0, 1) ? node->channels : random_between (1, 4);
  while (node->channels % node->groups != 0);
  do {
    node->bin_kernel = random_between (1, 4);
    node->bin_stride = random_between (1, 3);
    node->low = random_between (0, node->bin_kernel - 1);
    node->high = random_between (0, node->bin_kernel + node->bin_stride - 2);
    all = node->low + node->bins + node->high;
    node->bins_out = all < node->bin_kernel ? 0 : (all - node->bin_kernel) / node->bin_stride + 1;
  } while (node->bins_out == 0 || node->groups * node->bins_out > MAX_STACKED || (reads_all && !reads_all_bins (node)));
  all = MAX_WIDTH / (node->groups * node->bins_out);
  node->channels_out = node->groups * random_between (1, all > 0 ? all : 1);
  node->n_out = node->channels_out * node->bins_out;
}

static inline void
make_conv2d (Encoder *e, Node *node, const char *name, Bytes *keys, uint32_t channels, bool in_residual)
{
  uint32_t group;
  char shape[64];

  make_bins (node, channels, e->has_stack);
  make_conv_reach (node, e->max_stride, in_residual);
  if (node->dilation != 1) {
    node->kernel = (node->kernel - 1) * node->dilation + 1; /* the same reach */
    node->dilation = 1;
  }
  group = node->channels / node->groups;
  snprintf (shape, sizeof shape, "%u,%u,%u,%u", node->channels_out, group, node->kernel, node->bin_kernel);
  node->weight = add_tensor (e, name, ".weight", shape, node->channels_out, group * node->kernel * node->bin_kernel);
  node->bias = maybe_bias (e, name, ".bias", node->channels_out);
  if (node->groups != 1)
    bytes_print (keys, ",'groups':%u", node->groups);
  if (node->stride != 1 || node->bin_stride != 1 || random_between (0, 3) == 0)
    bytes_print (keys, ",'stride':[%u,%u]", node->stride, node->bin_stride);
  if (node->left != 0)
    bytes_print (keys, ",'left':%u", node->left);
  if (node->right != 0)
    bytes_print (keys, ",'right':%u", node->right);
  if (node->low != 0)
    bytes_print (keys, ",'low':%u", node->low);
  if (node->high != 0)
    bytes_print (keys, ",'high':%u", node->high);
  maybe_activation (node, keys);
  e->max_stride /= node->stride;
}

/* ---- chains ---- */

static inline void add_block (Encoder *e, Chain *chain, uint32_t n_in, BlockKind kind, uint32_t n_out, int depth);

static inline uint32_t
chain_width (const Chain *chain, uint32_t n_in)
{
  return chain->n == 0 ? n_in : chain->nodes[chain->n - 1].n_out;
}

/* Whether a block of this kind can stand here. */
static inline bool
may_stand (const Encoder *e, BlockKind kind, uint32_t n_in, int depth)
{
  switch (kind) {
  case BLOCK_GLU:
  case BLOCK_SINUSOID:
    return n_in % 2 == 0;
  case BLOCK_RESIDUAL: /* with a block in it, and one that restores its width */
    return depth < MAX_DEPTH && e->n_left >= 3;
  case BLOCK_CONV:
  case BLOCK_CONV2D:
    return e->max_stride != 0;
  case BLOCK_STACK:
    return depth == 0 && e->max_stride != 0 && n_in * 2 <= MAX_STACKED;
  default:
    return true;
  }
}

static inline BlockKind
random_kind (const Encoder *e, uint32_t n_in, int depth)
{
  BlockKind kind;

  do {
    kind = random_between (0, N_BLOCK_KINDS - 1);
    if (random_between (0, 3) == 0)
      kind = random_between (0, 1) ? BLOCK_ATTENTION : BLOCK_RESIDUAL;
  } while (!may_stand (e, kind, n_in, depth));
  return kind;
}

static inline void
make_residual (Encoder *e, Node *node, int depth)
{
  int n = random_between (1, 4), n_before = e->n_left;

  e->n_left--; /* for the block that may have to follow */
  for (int i = 0; i < n && (i == 0 || e->n_left > 0); i++) {
    uint32_t width = chain_width (&node->inner, node->n_in);

    add_block (e, &node->inner, width, random_kind (e, width, depth + 1), 0, depth + 1);
  }
  e->n_left++;
  if (chain_width (&node->inner, node->n_in) != node->n_in)
    add_block (e, &node->inner, chain_width (&node->inner, node->n_in), BLOCK_LINEAR, node->n_in, depth + 1);
  if (e->n_left >= n_before)
    abort ();
}

/* The value of the key that names the kind, and the keys behind it. channels: of a conv2d in front of it, or 0. */
static inline void
make_block (Encoder *e, Node *node, const char *name, Bytes *value, Bytes *keys, uint32_t n_out, uint32_t channels,
            int depth)
{
  bytes_print (value, "'%s'", name);
  switch (node->kind) {
  case BLOCK_LINEAR:
    make_linear (e, node, name, keys, n_out);
    break;
  case BLOCK_NORM:
    if (make_norm (e, node, name, keys)) {
      value->size = 0;
      bytes_print (value, "null");
    }
    break;
  case BLOCK_ACTIVATION:
  case BLOCK_GLU:
    node->act = random_between (ACT_NONE, node->kind == BLOCK_GLU ? ACT_SIGMOID : ACT_LOG_SOFTMAX);
    node->n_out = node->kind == BLOCK_GLU ? node->n_in / 2 : node->n_in;
    value->size = 0;
    bytes_print (value, "'%s'", act_names[node->act]);
    break;
  case BLOCK_AFFINE:
    node->weight = add_vector (e, name, ".weight", node->n_in);
    node->bias = maybe_bias (e, name, ".bias", node->n_in);
    break;
  case BLOCK_SINUSOID:
    value->size = 0;
    bytes_print (value, "true");
    make_sinusoid (node, keys);
    break;
  case BLOCK_ATTENTION:
    make_attention (e, node, name, keys);
    break;
  case BLOCK_CONV:
    make_conv (e, node, name, keys, depth > 0);
    break;
  case BLOCK_CONV2D:
    make_conv2d (e, node, name, keys, random_between (0, 1) ? channels : 0, depth > 0);
    break;
  case BLOCK_STACK:
    node->stride =
        random_between (1, MAX_STACKED / node->n_in < e->max_stride ? MAX_STACKED / node->n_in : e->max_stride);
    node->n_out = node->n_in * node->stride;
    e->max_stride /= node->stride;
    e->has_stack |= node->stride > 1;
    value->size = 0;
    bytes_print (value, "%u", node->stride);
    break;
  default:
    abort ();
  }
}

/* Appends a block to the chain and to the text; n_out: of a linear layer, 0: any. */
static inline void
add_block (Encoder *e, Chain *chain, uint32_t n_in, BlockKind kind, uint32_t n_out, int depth)
{
  Node node = { .kind = kind, .n_in = n_in, .n_out = n_in, .stride = 1 };
  const Node *last =
      chain->n > 0 && chain->nodes[chain->n - 1].kind == BLOCK_CONV2D ? &chain->nodes[chain->n - 1] : NULL;
  Bytes value = { 0 }, keys = { 0 };
  char name[32];

  e->n_left--;
  bytes_print (&e->json, "%s{", chain->n == 0 ? "" : ",");
  snprintf (name, sizeof name, "layers.%u.x", e->n_named++);
  if (kind == BLOCK_RESIDUAL) {
    bytes_print (&e->json, "'residual':[");
    make_residual (e, &node, depth);
    bytes_print (&e->json, "]}");
  } else {
    make_block (e, &node, name, &value, &keys, n_out, last != NULL ? last->channels_out : 0, depth);
    bytes_print (&e->json, "'%s':", block_names[kind]);
    bytes_append (&e->json, value.bytes, value.size);
    bytes_append (&e->json, keys.bytes, keys.size);
    bytes_print (&e->json, "}");
  }
  chain->nodes = realloc (chain->nodes, (chain->n + 1) * sizeof *chain->nodes);
  if (chain->nodes == NULL)
    abort ();
  chain->nodes[chain->n++] = node;
  free (value.bytes);
  free (keys.bytes);
}

/* ---- files ---- */

/* `e->file` becomes a safetensors file of the tensors and the text. */
static inline void
finish_file (Encoder *e)
{
  uint8_t length[8];
  Bytes header = { 0 };

  bytes_print (&header, "{\"__metadata__\":{\"encoder\":\"");
  for (size_t i = 0; i < e->json.size; i++)
    if (e->json.bytes[i] == '\'')
      bytes_append (&header, "\\\"", 2);
    else
      bytes_append (&header, &e->json.bytes[i], 1);
  bytes_print (&header, "\"}");
  bytes_append (&header, e->header.bytes, e->header.size);
  bytes_print (&header, "}");
  attn_put_number (length, header.size, sizeof length);
  bytes_append (&e->file, length, sizeof length);
  bytes_append (&e->file, header.bytes, header.size);
  bytes_append (&e->file, e->data.bytes, e->data.size);
  free (header.bytes);
}

static inline Encoder
begin_encoder (uint32_t n_in, int max_blocks, bool with_reach)
{
  Encoder e = { .n_in = n_in, .n_left = max_blocks, .max_stride = with_reach ? MAX_STRIDE : 0 };

  bytes_print (&e.json, "{'version':1,'features':%u,'blocks':[", n_in);
  return e;
}

static inline void
end_encoder (Encoder *e)
{
  bytes_print (&e->json, "]}");
  e->n_out = chain_width (&e->chain, e->n_in);
  finish_file (e);
}

/* An encoder of 1 to `max_blocks` blocks; with_reach: conv and stack as well. */
static inline Encoder
random_encoder (int max_blocks, bool with_reach)
{
  Encoder e = begin_encoder (random_between (1, MAX_WIDTH), random_between (1, max_blocks), with_reach);

  while (e.n_left > 0) {
    uint32_t width = chain_width (&e.chain, e.n_in);

    add_block (&e, &e.chain, width, random_kind (&e, width, 0), 0, 0);
  }
  end_encoder (&e);
  return e;
}

/* One block of this kind and, if it is a residual, the blocks inside. */
static inline Encoder
encoder_of_one (BlockKind kind)
{
  uint32_t n_in = random_between (1, MAX_WIDTH);
  bool even = kind == BLOCK_GLU || kind == BLOCK_SINUSOID;
  Encoder e = begin_encoder (even ? n_in + n_in % 2 : n_in, kind == BLOCK_RESIDUAL ? 5 : 1, kind >= BLOCK_CONV);

  add_block (&e, &e.chain, e.n_in, kind, 0, 0);
  end_encoder (&e);
  return e;
}

static inline void
matrix_clear (Matrix *m)
{
  free (m->values);
}

static inline void
chain_clear (Chain *chain)
{
  for (size_t i = 0; i < chain->n; i++) {
    Node *node = &chain->nodes[i];

    matrix_clear (&node->weight);
    matrix_clear (&node->bias);
    matrix_clear (&node->a.relative);
    matrix_clear (&node->a.distances);
    matrix_clear (&node->a.u);
    matrix_clear (&node->a.v);
    for (int j = 0; j < 2; j++) {
      matrix_clear (&node->a.norm_weights[j]);
      matrix_clear (&node->a.norm_biases[j]);
    }
    for (int j = 0; j < 4; j++) {
      matrix_clear (&node->a.weights[j]);
      matrix_clear (&node->a.biases[j]);
    }
    chain_clear (&node->inner);
  }
  free (chain->nodes);
}

static inline void
encoder_clear (Encoder *e)
{
  chain_clear (&e->chain);
  free (e->json.bytes);
  free (e->header.bytes);
  free (e->data.bytes);
  free (e->file.bytes);
}

#endif
