/*
 * How many times as fast as plain C the kernels are: core-kernels --bench.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels-bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../bench/peaks.h"
#include "base/alloc.h"
#include "kernels/machine.h"
#include "random.h"

/* A layer of middle size: 256 features, 8 heads, a window of 256 frames, of which the first tile is left behind. */
enum { D = 256, N_HEADS = 8, HEAD = D / N_HEADS, N_TILES = 17, N_FRAMES = 16, N_SCORES = N_TILES * ATTN_LANES };
#define N_RIGHT_ROWS ((N_SCORES + ATTN_STEP - 1) / ATTN_STEP * ATTN_STEP)

/* The data of the kernels. Their results are as good an input as the original data. */
static struct {
  _Alignas(ATTN_ALIGNMENT) float frames[N_FRAMES * D], out[N_FRAMES * D], weight[D * D], bias[D], start[D];
  _Alignas(ATTN_ALIGNMENT) float keys[N_HEADS * N_SCORES * HEAD], values[N_HEADS * N_SCORES * HEAD + ATTN_LANES];
  _Alignas(ATTN_ALIGNMENT) float scores[N_FRAMES * N_SCORES], zeros[N_SCORES], cosines[HEAD / 2], sines[HEAD / 2];
  _Alignas(ATTN_ALIGNMENT) uint16_t narrow[2][D * D], left[(D / ATTN_STEP + N_TILES) * ATTN_STEP_SIZE];
  _Alignas(ATTN_ALIGNMENT) uint16_t right[2 * D * D + N_HEADS * N_RIGHT_ROWS * HEAD * 2 + ATTN_STEP_PART];
  uint32_t slots[N_TILES];
  uint16_t finite[N_TILES], masks[N_TILES];
  float reciprocals[N_FRAMES];
} w;

static AttnRows rows;
static AttnProjection projection;

static void
fill (void)
{
  random_fill (w.frames, N_FRAMES * D, 1);
  random_fill (w.weight, D * D, 0.1f);
  random_fill (w.keys, N_HEADS * N_SCORES * HEAD, 1);
  random_fill (w.values, N_HEADS * N_SCORES * HEAD, 1);
  random_fill (w.scores, N_FRAMES * N_SCORES, 1);
  attn_kernels_c.narrow (w.narrow[0], w.weight, D * D, ATTN_PRECISION_F16);
  attn_kernels_c.narrow (w.narrow[1], w.weight, D * D, ATTN_PRECISION_BF16);
  for (size_t i = 0; i < sizeof w.right / sizeof w.right[0]; i++)
    w.right[i] = w.narrow[1][i % (D * D)];
  for (size_t i = 0; i < N_TILES; i++) {
    w.slots[i] = i;
    w.finite[i] = w.masks[i] = 0xffff;
  }
  w.cosines[0] = 1;
  for (size_t i = 1; i < HEAD / 2; i++) {
    w.cosines[i] = 0.6f;
    w.sines[i] = 0.8f;
  }
}

/* Rows for one frame (the rows are its heads) or for a block (the rows are its frames). */
static AttnRows
rows_of (size_t n)
{
  return (AttnRows){ .n_rows = n,
                     .n_tiles = N_TILES,
                     .slots = w.slots,
                     .finite = w.finite,
                     .masks = w.masks,
                     .scores = w.scores,
                     .score_stride = N_SCORES,
                     .reciprocals = w.reciprocals };
}

static AttnProjection
projection_of (AttnPrecision precision)
{
  return (AttnProjection){ .n_inputs = D,
                           .n_outputs = D,
                           .panel = attn_panel (D),
                           .precision = precision,
                           .weight = precision == ATTN_PRECISION_F32 ? (void *) w.weight
                                                                     : w.narrow[precision - ATTN_PRECISION_F16],
                           .bias = w.bias,
                           .start = w.start,
                           .split = w.right };
}

/* ---- the kernels ---- */

static void
scale (const AttnKernels *k)
{
  k->scale (w.out, w.frames, 0.5f, D);
}

static void
all_below (const AttnKernels *k)
{
  w.reciprocals[0] = k->all_below (w.frames, D, 2);
}

static void
narrow_f16 (const AttnKernels *k)
{
  k->narrow (w.left, w.frames, D, ATTN_PRECISION_F16);
}

static void
narrow_bf16 (const AttnKernels *k)
{
  k->narrow (w.left, w.frames, D, ATTN_PRECISION_BF16);
}

static void
store_n (const AttnKernels *k, size_t n)
{
  AttnTiles tiles = { w.keys, w.values, N_SCORES * HEAD, N_SCORES * HEAD, N_HEADS / 2, HEAD, HEAD };

  k->store (&tiles, 0, w.frames, w.frames + D / 2, D, n);
}

static void
store_frame (const AttnKernels *k)
{
  store_n (k, 1);
}

static void
store_block (const AttnKernels *k)
{
  store_n (k, N_FRAMES);
}

static void
project_frame (const AttnKernels *k)
{
  projection = projection_of (ATTN_PRECISION_F32);
  k->project (w.out, D, w.frames, D, 1, &projection);
}

static void
project_frame_f16 (const AttnKernels *k)
{
  projection = projection_of (ATTN_PRECISION_F16);
  k->project (w.out, D, w.frames, D, 1, &projection);
}

static void
project_frame_bf16 (const AttnKernels *k)
{
  projection = projection_of (ATTN_PRECISION_BF16);
  k->project (w.out, D, w.frames, D, 1, &projection);
}

static void
project_block (const AttnKernels *k)
{
  projection = projection_of (ATTN_PRECISION_F32);
  k->project (w.out, D, w.frames, D, N_FRAMES, &projection);
}

static void
scores_of_frame (const AttnKernels *k)
{
  rows = rows_of (N_HEADS);
  k->scores (&rows, w.frames, HEAD, w.keys, N_SCORES * HEAD, HEAD);
}

static void
scores_of_block (const AttnKernels *k)
{
  rows = rows_of (N_FRAMES);
  k->scores (&rows, w.frames, D, w.keys, 0, HEAD);
}

static void
softcap (const AttnKernels *k)
{
  k->softcap (w.scores, 0.5f, 4, N_TILES);
}

static void
softmax_of_frame (const AttnKernels *k)
{
  rows = rows_of (N_HEADS);
  k->softmax (&rows);
}

static void
context_of_frame (const AttnKernels *k)
{
  rows = rows_of (N_HEADS);
  k->context (&rows, w.out, HEAD, w.values, N_SCORES * HEAD, HEAD);
}

static void
context_of_block (const AttnKernels *k)
{
  rows = rows_of (N_FRAMES);
  k->context (&rows, w.out, D, w.values, 0, HEAD);
}

static void
rotate_half (const AttnKernels *k)
{
  k->rotate (w.frames, w.cosines, w.sines, HEAD / 2, ATTN_ROPE_HALF);
}

static void
rotate_interleaved (const AttnKernels *k)
{
  k->rotate (w.frames, w.cosines, w.sines, HEAD / 2, ATTN_ROPE_INTERLEAVED);
}

static void
add_biases (const AttnKernels *k)
{
  k->add_biases (w.scores, w.zeros, N_TILES);
}

static void
relu (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_RELU);
}

static void
gelu (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_GELU);
}

static void
gelu_tanh (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_GELU_TANH);
}

static void
silu (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_SILU);
}

static void
hyperbolic_tangent (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_TANH);
}

static void
sigmoid (const AttnKernels *k)
{
  k->activate (w.out, w.frames, N_FRAMES * D, ATTN_ACTIVATION_SIGMOID);
}

static void
softmax_of_frames (const AttnKernels *k)
{
  k->softmax_frames (w.out, w.frames, N_FRAMES, D, false);
}

static void
log_softmax_of_frames (const AttnKernels *k)
{
  k->softmax_frames (w.out, w.frames, N_FRAMES, D, true);
}

static void
norm_of (const AttnKernels *k, size_t n_frames, bool is_rms)
{
  AttnNorm norm = { D, is_rms, 1e-5f, w.bias, w.start };

  k->norm (w.out, w.frames, n_frames, &norm);
}

static void
norm_of_frame (const AttnKernels *k)
{
  norm_of (k, 1, false);
}

static void
norm_of_block (const AttnKernels *k)
{
  norm_of (k, N_FRAMES, false);
}

static void
rms_of_block (const AttnKernels *k)
{
  norm_of (k, N_FRAMES, true);
}

static void
affine (const AttnKernels *k)
{
  k->affine (w.out, w.frames, w.bias, w.start, D);
}

static void
multiply (const AttnKernels *k)
{
  k->multiply (w.out, w.frames, w.weight, N_FRAMES * D);
}

static void
add (const AttnKernels *k)
{
  k->add (w.out, w.frames, w.weight, N_FRAMES * D);
}

static void
convolve (const AttnKernels *k)
{
  AttnConvolution convolution = { D, 9, 1, D, D, w.weight, w.start };

  k->convolve (w.out, w.frames, N_FRAMES - 8, &convolution);
}

/* The kernels of a matrix unit, with the preparation of their left operand. */
static void
matrix_project (const AttnMatrixKernels *m)
{
  projection = projection_of (ATTN_PRECISION_F32);
  attn_split_left (m, w.left, w.frames, D, N_FRAMES, D);
  m->project (w.out, D, w.left, N_FRAMES, &projection);
}

static void
matrix_scores (const AttnMatrixKernels *m)
{
  rows = rows_of (N_FRAMES);
  attn_split_left (m, w.left, w.frames, D, N_FRAMES, HEAD);
  m->scores (&rows, w.left, w.right, 2, HEAD);
}

static void
matrix_context (const AttnMatrixKernels *m)
{
  rows = rows_of (N_FRAMES);
  m->context (&rows, w.out, D, w.left, w.right, 2, N_RIGHT_ROWS, HEAD);
}

static const struct {
  const char *name;
  void (*run) (const AttnKernels *kernels);
  void (*matrix) (const AttnMatrixKernels *matrix); /* the same by a unit, or NULL */
} benches[] = {
  { "scale 256", scale, NULL },
  { "all_below 256", all_below, NULL },
  { "narrow 256, f16", narrow_f16, NULL },
  { "narrow 256, bf16", narrow_bf16, NULL },
  { "store 4 heads of 32, 1 frame", store_frame, NULL },
  { "store 4 heads of 32, 16 frames", store_block, NULL },
  { "project 256 to 256, 1 frame", project_frame, NULL },
  { "project 256 to 256, 1 frame, f16", project_frame_f16, NULL },
  { "project 256 to 256, 1 frame, bf16", project_frame_bf16, NULL },
  { "project 256 to 256, 16 frames", project_block, matrix_project },
  { "scores of 32, 17 tiles, 8 heads", scores_of_frame, NULL },
  { "scores of 32, 17 tiles, 16 frames", scores_of_block, matrix_scores },
  { "softcap 17 tiles", softcap, NULL },
  { "softmax 17 tiles, 8 rows", softmax_of_frame, NULL },
  { "context of 32, 17 tiles, 8 heads", context_of_frame, NULL },
  { "context of 32, 17 tiles, 16 frames", context_of_block, matrix_context },
  { "rotate 16 pairs, half", rotate_half, NULL },
  { "rotate 16 pairs, interleaved", rotate_interleaved, NULL },
  { "add_biases 17 tiles", add_biases, NULL },
  { "relu 4096", relu, NULL },
  { "gelu 4096", gelu, NULL },
  { "gelu-tanh 4096", gelu_tanh, NULL },
  { "silu 4096", silu, NULL },
  { "tanh 4096", hyperbolic_tangent, NULL },
  { "sigmoid 4096", sigmoid, NULL },
  { "softmax of 256, 16 frames", softmax_of_frames, NULL },
  { "log-softmax of 256, 16 frames", log_softmax_of_frames, NULL },
  { "norm of 256, 1 frame", norm_of_frame, NULL },
  { "norm of 256, 16 frames", norm_of_block, NULL },
  { "rms norm of 256, 16 frames", rms_of_block, NULL },
  { "affine 256", affine, NULL },
  { "multiply 4096", multiply, NULL },
  { "add 4096", add, NULL },
  { "convolve 256, 9 taps, 8 frames", convolve, NULL },
};

/* ---- time ---- */

enum { N_SAMPLES = 31, SAMPLE_US = 50 };

static void
run (size_t bench, const AttnKernels *kernels, const AttnMatrixKernels *matrix, size_t n_calls)
{
  for (size_t i = 0; i < n_calls; i++)
    if (matrix != NULL)
      benches[bench].matrix (matrix);
    else
      benches[bench].run (kernels);
}

static int
by_size (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* Nanoseconds of a call: the median of samples of at least 50 microseconds. */
static double
time_of (size_t bench, const AttnKernels *kernels, const AttnMatrixKernels *matrix)
{
  double times[N_SAMPLES], start;
  size_t n_calls = 1;

  do {
    start = now_us ();
    n_calls *= 2;
    run (bench, kernels, matrix, n_calls);
  } while (now_us () - start < SAMPLE_US);
  for (size_t i = 0; i < N_SAMPLES; i++) {
    start = now_us ();
    run (bench, kernels, matrix, n_calls);
    times[i] = (now_us () - start) / n_calls;
  }
  qsort (times, N_SAMPLES, sizeof *times, by_size);
  return times[N_SAMPLES / 2] * 1000;
}

static void
print (const char *name, const char *row, double ns, double c)
{
  printf ("%-36s %-8s %10.1f ns %8.1f times\n", name, row, ns, c / ns);
  fflush (stdout);
}

void
kernels_bench (void)
{
  fill ();
  for (size_t bench = 0; bench < sizeof benches / sizeof benches[0]; bench++) {
    double c = time_of (bench, &attn_kernels_c, NULL);
    const AttnKernels *kernels;
    const AttnMatrixKernels *matrix;
    bool runs;

    for (size_t row = 0; (kernels = attn_kernels_row (row, &runs)) != NULL; row++) {
      if (runs)
        print (benches[bench].name, kernels->name, kernels == &attn_kernels_c ? c : time_of (bench, kernels, NULL), c);
    }
    for (size_t row = 0; benches[bench].matrix != NULL && (matrix = attn_matrix_row (row, &runs)) != NULL; row++)
      if (runs && matrix != &attn_matrix_c)
        print (benches[bench].name, matrix->name, time_of (bench, NULL, matrix), c);
  }
}
