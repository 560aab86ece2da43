/*
 * The law of an encoder, by its definitions: which frames exist behind every block, which of them are absent, what each
 * of them reads, and its values in double. This code is independent of the library, and slow.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_ENCODER_LAW_H
#define TESTS_CORE_ENCODER_LAW_H

#include "encoders.h"

/* ---- stride, reach and counts ---- */

typedef struct {
  uint64_t stride, back, ahead; /* output i reads the inputs i stride - back ... i stride + ahead, besides sinks */
  bool has_sinks;
  Chain chain;
  uint64_t first; /* the number of the stream's first frame */
} Law;

static inline uint64_t chain_period (const Chain *chain);
static inline int64_t chain_end_of_reads (const Chain *chain, int64_t i, bool newest);

static inline uint64_t
common_multiple (uint64_t a, uint64_t b)
{
  uint64_t n = a;

  while (n % b != 0)
    n += a;
  return n;
}

/* Inputs until the chunks of a block begin together again. */
static inline uint64_t
node_period (const Node *node)
{
  if (node->kind == BLOCK_RESIDUAL)
    return chain_period (&node->inner);
  return node->kind == BLOCK_ATTENTION && node->a.chunk != 0 ? node->a.chunk : node->stride;
}

static inline uint64_t
chain_period (const Chain *chain)
{
  uint64_t period = 1, stride = 1;

  for (size_t i = 0; i < chain->n; i++) {
    period = common_multiple (period, stride * node_period (&chain->nodes[i]));
    stride *= chain->nodes[i].stride;
  }
  return period;
}

static inline int64_t
first_of_chunk (int64_t i, int64_t chunk)
{
  return i >= 0 ? i / chunk * chunk : -((-i + chunk - 1) / chunk * chunk);
}

/* The oldest or newest input that output `i` of a block reads, sinks aside. It need not exist. */
static inline int64_t
node_end_of_reads (const Node *node, int64_t i, bool newest)
{
  const AttentionNode *a = &node->a;

  switch (node->kind) {
  case BLOCK_ATTENTION:
    if (a->chunk != 0)
      return first_of_chunk (i, a->chunk) + (newest ? a->chunk - INT64_C (1) : -(int64_t) a->chunks * a->chunk);
    return newest ? i + a->look_ahead : i - a->window + 1;
  case BLOCK_RESIDUAL:
    return chain_end_of_reads (&node->inner, i, newest);
  case BLOCK_CONV:
  case BLOCK_CONV2D:
    i = i * node->stride - node->left;
    return newest ? i + (int64_t) (node->kernel - 1) * node->dilation : i;
  case BLOCK_STACK:
    return i * node->stride + (newest ? node->stride - 1 : 0);
  default:
    return i;
  }
}

static inline int64_t
chain_end_of_reads (const Chain *chain, int64_t i, bool newest)
{
  for (size_t n = chain->n; n-- > 0;)
    i = node_end_of_reads (&chain->nodes[n], i, newest);
  return i;
}

static inline bool
chain_has_sinks (const Chain *chain)
{
  bool has_sinks = false;

  for (size_t i = 0; i < chain->n; i++)
    has_sinks |= chain->nodes[i].kind == BLOCK_RESIDUAL ? chain_has_sinks (&chain->nodes[i].inner)
                                                        : chain->nodes[i].a.sinks != 0;
  return has_sinks;
}

/* The reach is the largest of all outputs in a period. */
static inline Law
chain_law (const Chain *chain)
{
  Law law = { .stride = 1, .has_sinks = chain_has_sinks (chain), .chain = *chain };
  uint64_t period = chain_period (chain);

  for (size_t i = 0; i < chain->n; i++)
    law.stride *= chain->nodes[i].stride;
  for (uint64_t frame = 0; frame < period; frame += law.stride) {
    uint64_t back = frame - chain_end_of_reads (chain, frame / law.stride, false);
    uint64_t ahead = chain_end_of_reads (chain, frame / law.stride, true) - frame;

    law.back = back > law.back ? back : law.back;
    law.ahead = ahead > law.ahead ? ahead : law.ahead;
  }
  return law;
}

/* The oldest or newest input of the stream that its output i reads, counted from its first one. */
static inline int64_t
law_end_of_reads (const Law *law, uint64_t i, bool newest)
{
  return chain_end_of_reads (&law->chain, (int64_t) (law->first / law->stride + i), newest) - (int64_t) law->first;
}

/* The number of outputs that are ready after n frames of a stream that goes on: those that have all that they read. */
static inline uint64_t
law_ready (const Law *law, uint64_t n)
{
  uint64_t low = 0, high = n / law->stride + 1;

  while (low < high) {
    uint64_t middle = (low + high) / 2;

    if (law_end_of_reads (law, middle, true) < (int64_t) n)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The number of frames that leave a block when `n` have come and no more will. */
static inline size_t
node_count (const Node *node, size_t n)
{
  size_t all = n + node->left + node->right, span = (node->kernel - 1) * node->dilation + 1;

  if (n == 0)
    return 0;
  if (node->kind == BLOCK_CONV || node->kind == BLOCK_CONV2D)
    return all < span ? 0 : (all - span) / node->stride + 1;
  return n / node->stride;
}

/* ---- frames ---- */

/* The whole stream behind a block. Absent frames are zeros. */
typedef struct {
  size_t n;
  uint32_t width;
  uint64_t first;    /* the number of its first frame */
  double *values;    /* [n][width] */
  uint8_t *present;  /* [n] */
  uint64_t *touched; /* [n]: bit k: watched input k reaches this frame */
} Signal;

static inline Signal
signal_new (size_t n, uint32_t width, uint64_t first)
{
  Signal s = { .n = n, .width = width, .first = first };

  s.values = calloc (n * width + 1, sizeof *s.values);
  s.present = calloc (n + 1, 1);
  s.touched = calloc (n + 1, sizeof *s.touched);
  if (s.values == NULL || s.present == NULL || s.touched == NULL)
    abort ();
  return s;
}

static inline void
signal_clear (Signal *s)
{
  free (s->values);
  free (s->present);
  free (s->touched);
}

static inline double *
signal_row (const Signal *s, size_t t)
{
  return s->values + t * s->width;
}

/* ---- frame by frame ---- */

static inline double
act_value (Act act, double x)
{
  const double pi = 3.14159265358979323846;

  switch (act) {
  case ACT_RELU:
    return x > 0 ? x : 0;
  case ACT_GELU:
    return 0.5 * x * (1 + erf (x / sqrt (2)));
  case ACT_GELU_TANH:
    return 0.5 * x * (1 + tanh (sqrt (2 / pi) * (x + 0.044715 * x * x * x)));
  case ACT_SILU:
    return x / (1 + exp (-x));
  case ACT_SIGMOID:
    return 1 / (1 + exp (-x));
  case ACT_TANH:
    return tanh (x);
  default:
    return x;
  }
}

static inline void
act_row (Act act, double *x, size_t n)
{
  double max = -INFINITY, sum = 0;

  for (size_t i = 0; i < n; i++) {
    x[i] = act_value (act, x[i]);
    max = fmax (max, x[i]);
  }
  if (act < ACT_SOFTMAX)
    return;
  for (size_t i = 0; i < n; i++)
    sum += exp (x[i] - max);
  for (size_t i = 0; i < n; i++)
    x[i] = act == ACT_SOFTMAX ? exp (x[i] - max) / sum : x[i] - max - log (sum);
}

/* out [n_rows] = m in + bias */
static inline void
matrix_apply (const Matrix *m, const Matrix *bias, const double *in, double *out)
{
  for (uint32_t o = 0; o < m->n_rows; o++) {
    out[o] = bias->values != NULL ? bias->values[o] : 0;
    for (uint32_t i = 0; i < m->n_columns; i++)
      out[o] += m->values[(size_t) o * m->n_columns + i] * in[i];
  }
}

/* May work in place. */
static inline void
norm_row (uint32_t n, bool is_rms, double eps, const Matrix *weight, const Matrix *bias, const double *in, double *out)
{
  double mean = 0, squares = 0;

  for (uint32_t i = 0; i < n && !is_rms; i++)
    mean += in[i] / n;
  for (uint32_t i = 0; i < n; i++)
    squares += (in[i] - mean) * (in[i] - mean) / n;
  for (uint32_t i = 0; i < n; i++) {
    out[i] = (in[i] - mean) / sqrt (squares + eps);
    if (weight->values != NULL)
      out[i] *= weight->values[i];
    if (bias->values != NULL)
      out[i] += bias->values[i];
  }
}

static inline void
sinusoid_row (const Node *node, uint64_t t, const double *in, double *out)
{
  uint32_t half = node->n_in / 2;

  for (uint32_t i = 0; i < half; i++) {
    double angle = (double) (t + node->offset) * pow (node->base, -2.0 * i / node->n_in);
    uint32_t a = node->is_half ? i : 2 * i, b = node->is_half ? i + half : 2 * i + 1;

    out[a] = in[a] + sin (angle);
    out[b] = in[b] + cos (angle);
  }
}

static inline void
frame_row (const Node *node, uint64_t t, const double *in, double *out)
{
  uint32_t n = node->n_out;

  switch (node->kind) {
  case BLOCK_LINEAR:
    matrix_apply (&node->weight, &node->bias, in, out);
    act_row (node->act, out, n);
    break;
  case BLOCK_NORM:
    norm_row (n, node->is_rms, node->eps, &node->weight, &node->bias, in, out);
    break;
  case BLOCK_ACTIVATION:
    memcpy (out, in, n * sizeof *out);
    act_row (node->act, out, n);
    break;
  case BLOCK_GLU:
    for (uint32_t i = 0; i < n; i++)
      out[i] = in[i] * act_value (node->act, in[n + i]);
    break;
  case BLOCK_AFFINE:
    for (uint32_t i = 0; i < n; i++)
      out[i] = in[i] * node->weight.values[i] + (node->bias.values != NULL ? node->bias.values[i] : 0);
    break;
  default:
    sinusoid_row (node, t, in, out);
    break;
  }
}

static inline Signal
frames_signal (const Node *node, const Signal *in)
{
  Signal out = signal_new (in->n, node->n_out, in->first);

  for (size_t t = 0; t < in->n; t++) {
    out.present[t] = in->present[t];
    out.touched[t] = in->touched[t];
    if (in->present[t])
      frame_row (node, in->first + t, signal_row (in, t), signal_row (&out, t));
  }
  return out;
}

/* ---- blocks that reach ---- */

/* What tap j of channel o adds to bin f: x [channels][bins], with zeros below and above the bins. */
static inline double
conv_sum (const Node *node, const double *x, uint32_t o, uint32_t f, uint32_t j)
{
  uint32_t group_in = node->channels / node->groups, group_out = node->channels_out / node->groups;
  double sum = 0;

  for (uint32_t k = 0; k < node->bin_kernel; k++)
    for (uint32_t c = 0; c < group_in; c++) {
      int64_t bin = (int64_t) f * node->bin_stride - node->low + k;

      if (bin >= 0 && bin < node->bins)
        sum += node->weight.values[(((size_t) o * group_in + c) * node->kernel + j) * node->bin_kernel + k]
               * x[(o / group_out * group_in + c) * node->bins + bin];
    }
  return sum;
}

/* Taps beyond the ends, and absent ones, are zeros; only frames that are present touch the output. */
static inline void
conv_row (const Node *node, const Signal *in, size_t i, Signal *out)
{
  bool exists = false, present = false;
  double *y = signal_row (out, i);

  for (uint32_t o = 0; o < node->n_out; o++)
    y[o] = node->bias.values != NULL ? node->bias.values[o / node->bins_out] : 0;
  for (uint32_t j = 0; j < node->kernel; j++) {
    int64_t t = (int64_t) i * node->stride - node->left + (int64_t) j * node->dilation;

    if (t < 0 || t >= (int64_t) in->n)
      continue;
    exists = true;
    present |= in->present[t];
    out->touched[i] |= in->touched[t];
    for (uint32_t o = 0; o < node->n_out; o++)
      y[o] += conv_sum (node, signal_row (in, (size_t) t), o / node->bins_out, o % node->bins_out, j);
  }
  act_row (node->act, y, node->n_out);
  out->present[i] = present || !exists;
  if (!out->present[i])
    memset (y, 0, node->n_out * sizeof *y);
}

static inline Signal
conv_signal (const Node *node, const Signal *in)
{
  Signal out = signal_new (node_count (node, in->n), node->n_out, in->first / node->stride);

  for (size_t i = 0; i < out.n; i++)
    conv_row (node, in, i, &out);
  return out;
}

static inline Signal
stack_signal (const Node *node, const Signal *in)
{
  Signal out = signal_new (in->n / node->stride, node->n_out, in->first / node->stride);

  for (size_t i = 0; i < out.n * node->stride; i++) {
    out.present[i / node->stride] |= in->present[i];
    out.touched[i / node->stride] |= in->touched[i];
    memcpy (out.values + i * in->width, signal_row (in, i), in->width * sizeof *out.values);
  }
  return out;
}

/* x is added to f (x): absent where x is, and x where only f (x) is. */
static inline void
add_signal (Signal *f, const Signal *x)
{
  if (f->n != x->n || f->width != x->width)
    abort ();
  for (size_t t = 0; t < x->n; t++) {
    f->present[t] = x->present[t];
    f->touched[t] = x->present[t] ? f->touched[t] | x->touched[t] : 0;
    for (uint32_t i = 0; i < x->width; i++)
      signal_row (f, t)[i] = x->present[t] ? signal_row (f, t)[i] + signal_row (x, t)[i] : 0;
  }
}

/* ---- attention ---- */

/* values [dk] of frame t, turned */
static inline void
rotate_row (const AttentionNode *a, uint64_t t, double *values)
{
  uint32_t half = a->rope_dimensions / 2;

  for (uint32_t i = 0; i < half; i++) {
    double angle = (double) t * pow (10000, -2.0 * i / a->rope_dimensions), c = cos (angle), s = sin (angle);
    double *x = &values[a->layout == ATTN_ROPE_HALF ? i : 2 * i];
    double *y = &values[a->layout == ATTN_ROPE_HALF ? i + half : 2 * i + 1], turned = *x * c - *y * s;

    *y = *x * s + *y * c;
    *x = turned;
  }
}

/* rows [n][heads * dk] of a projection */
static inline double *
project_signal (const AttentionNode *a, int part, const Signal *in)
{
  const Matrix *m = &a->weights[part];
  double *rows = calloc (in->n * m->n_rows + 1, sizeof *rows);

  if (rows == NULL)
    abort ();
  for (size_t t = 0; t < in->n; t++) {
    matrix_apply (m, &a->biases[part], signal_row (in, t), rows + t * m->n_rows);
    for (uint32_t i = 0; part < 2 && i < m->n_rows; i += a->dk) {
      double *head = rows + t * m->n_rows + i;

      if (a->norm != ATTN_QK_NORM_NONE)
        norm_row (a->dk, a->norm == ATTN_QK_NORM_RMS, a->norm_eps, &a->norm_weights[part], &a->norm_biases[part], head,
                  head);
      rotate_row (a, in->first + t, head);
    }
  }
  return rows;
}

/* Press et al. 2022: a geometric sequence; between powers of two every other one of the next. */
static inline double
alibi_slope (uint32_t head, uint32_t n_heads)
{
  uint32_t lower = 1;

  while (2 * lower <= n_heads)
    lower *= 2;
  return exp2 (head < lower ? -8.0 * (head + 1) / lower : -4.0 * (2 * (head - lower) + 1) / lower);
}

static inline bool
is_in_window (const AttentionNode *a, const Signal *in, size_t t, size_t j)
{
  if (a->chunk != 0) {
    uint64_t chunk = (in->first + t) / a->chunk, other = (in->first + j) / a->chunk;

    return other <= chunk && other + a->chunks >= chunk;
  }
  return j + a->window > t && j <= t + a->look_ahead;
}

static inline bool
attends (const AttentionNode *a, const Signal *in, size_t t, size_t j)
{
  return in->present[j] && (is_in_window (a, in, t, j) || (in->first + j < a->sinks && j <= t));
}

/*
 * Dai et al. 2019: a->products [2 n - 1][heads * dk] of the distances n - 1 down to 1 - n, for streams of `n` frames of
 * `width` values. The caller frees them.
 */
static inline void
make_products (AttentionNode *a, size_t n, uint32_t width)
{
  double *sines = calloc (width + 1, sizeof *sines);
  size_t n_rows = n == 0 ? 0 : 2 * n - 1;

  a->n_products = n;
  a->products = calloc (n_rows * a->heads * a->dk + 1, sizeof *a->products);
  if (a->products == NULL || sines == NULL)
    abort ();
  for (size_t row = 0; row < n_rows && a->position == ATTN_POSITION_TRANSFORMER_XL; row++) {
    for (uint32_t i = 0; i < width; i += 2) {
      double angle = ((double) n - 1 - (double) row) * pow (10000, -(double) i / width);

      sines[i] = sin (angle);
      sines[i + 1] = cos (angle);
    }
    matrix_apply (&a->distances, &(Matrix){ 0 }, sines, a->products + row * a->heads * a->dk);
  }
  free (sines);
}

static inline double
attention_score (const AttentionNode *a, const double *q, const double *k, uint32_t head, size_t t, size_t j)
{
  bool is_xl = a->position == ATTN_POSITION_TRANSFORMER_XL;
  const double *product = a->products + (a->n_products - 1 + j - t) * a->heads * a->dk + head * a->dk;
  double score = 0;

  for (uint32_t d = 0; d < a->dk; d++)
    score += (q[d] + (is_xl ? a->u.values[head * a->dk + d] : 0)) * k[d];
  for (uint32_t d = 0; d < a->dk && is_xl; d++)
    score += (q[d] + a->v.values[head * a->dk + d]) * product[d];
  score *= a->scale;
  if (a->softcap != 0)
    score = a->softcap * tanh (score / a->softcap);
  if (a->position == ATTN_POSITION_ALIBI)
    score -= alibi_slope (head, a->heads) * fabs ((double) t - (double) j);
  if (a->position == ATTN_POSITION_RELATIVE && j + a->window > t)
    score += a->relative.values[head * (a->window + a->look_ahead) + (j + a->window - 1 - t)];
  return score;
}

/* context [dv] of one head of frame t; q of that frame and head, k and v of all frames */
static inline void
attention_head (const AttentionNode *a, const Signal *in, size_t t, uint32_t head, const double *q, const double *k,
                const double *v, double *context)
{
  uint32_t kv = head / (a->heads / a->kv_heads);
  double *scores = calloc (in->n, sizeof *scores), max = -INFINITY, sum = 0;

  if (scores == NULL)
    abort ();
  for (size_t j = 0; j < in->n; j++)
    if (attends (a, in, t, j)) {
      scores[j] = attention_score (a, q, k + (j * a->kv_heads + kv) * a->dk, head, t, j);
      max = fmax (max, scores[j]);
    }
  for (size_t j = 0; j < in->n; j++)
    if (attends (a, in, t, j))
      sum += exp (scores[j] - max);
  memset (context, 0, a->dv * sizeof *context);
  for (size_t j = 0; j < in->n; j++)
    for (uint32_t d = 0; d < a->dv && attends (a, in, t, j); d++)
      context[d] += exp (scores[j] - max) / sum * v[(j * a->kv_heads + kv) * a->dv + d];
  free (scores);
}

static inline Signal
attention_signal (const Node *node, const Signal *in)
{
  AttentionNode with_products = node->a, *a = &with_products;
  Signal out = signal_new (in->n, node->n_out, in->first);
  double *q = project_signal (a, 0, in), *k = project_signal (a, 1, in), *v = project_signal (a, 2, in), context[64];

  make_products (a, in->n, in->width);
  for (size_t t = 0; t < in->n; t++) {
    out.present[t] = in->present[t];
    if (!in->present[t])
      continue;
    for (size_t j = 0; j < in->n; j++)
      if (attends (a, in, t, j))
        out.touched[t] |= in->touched[j];
    for (uint32_t h = 0; h < a->heads; h++)
      attention_head (a, in, t, h, q + (t * a->heads + h) * a->dk, k, v, context + h * a->dv);
    if (a->weights[3].values != NULL)
      matrix_apply (&a->weights[3], &a->biases[3], context, signal_row (&out, t));
    else
      memcpy (signal_row (&out, t), context, node->n_out * sizeof *context);
  }
  free (q);
  free (k);
  free (v);
  free (a->products);
  return out;
}

/* ---- chains ---- */

static inline Signal chain_signal (const Chain *chain, const Signal *in);

static inline Signal
node_signal (const Node *node, const Signal *in)
{
  Signal out;

  switch (node->kind) {
  case BLOCK_ATTENTION:
    return attention_signal (node, in);
  case BLOCK_CONV:
  case BLOCK_CONV2D:
    return conv_signal (node, in);
  case BLOCK_STACK:
    return stack_signal (node, in);
  case BLOCK_RESIDUAL:
    out = chain_signal (&node->inner, in);
    add_signal (&out, in);
    return out;
  default:
    return frames_signal (node, in);
  }
}

/* The stream behind a chain of at least one block. */
static inline Signal
chain_signal (const Chain *chain, const Signal *in)
{
  Signal last = node_signal (&chain->nodes[0], in);

  for (size_t i = 1; i < chain->n; i++) {
    Signal next = node_signal (&chain->nodes[i], &last);

    signal_clear (&last);
    last = next;
  }
  return last;
}

#endif
