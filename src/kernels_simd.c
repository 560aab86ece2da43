/*
 * libattn: the kernels over vectors of 16 lanes (lanes.h), compiled once per instruction set. The contracts stand in
 * kernels.h, and what each computes, simply written, in kernels_c.c; here it is arranged for speed:
 *
 *   project  a tile of frames times vectors of outputs stays in registers while it runs down a panel. For one frame,
 *            where reading the panels is the work, several panels are read side by side.
 *   scores   several tiles of keys, for several queries, at once: one chain of fma alone would wait for itself.
 *   context  several rows at once, for the same reason.
 *
 * The size of a register tile is a literal wherever the inlined functions are used, so that their arrays of Lanes are
 * registers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels.h"

#include <math.h>

#include "lanes.h"

#ifdef __FAST_MATH__
#error "these kernels promise bits: not with -ffast-math"
#endif

#if defined(__clang__)
#define UNROLL _Pragma ("clang loop unroll(full)")
#else
#define UNROLL _Pragma ("GCC unroll 32")
#endif

/* A loop that leaves nothing behind but its iterations. */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

#define N_LANES ((size_t) ATTN_LANES)

/* ---- values ---- */

LANES_INLINE Lanes
clean (Lanes x)
{
  x = lanes_select (lanes_is_tiny (x), lanes_set (0), x);
  return lanes_select (lanes_is_nan (x), lanes_set (attn_bits_float (0x7fc00000)), x);
}

/*
 * A vector of row `row` + `odd` of a stored matrix, from `column` on; `row` is even. The precision is a branch that the
 * compiler decides.
 */
LANES_INLINE Lanes
load_stored (AttnPrecision precision, const int odd, const void *array, size_t row, size_t width, size_t column)
{
  switch (precision) {
  case ATTN_PRECISION_F16:
    return lanes_load_f16 ((const uint16_t *) array + (row + odd) * width + column);
  case ATTN_PRECISION_BF16:
    return lanes_load_bf16 ((const uint16_t *) array + row * width + 2 * column, odd);
  default:
    return lanes_load ((const float *) array + (row + odd) * width + column);
  }
}

LANES_INLINE const void *
advance (AttnPrecision precision, const void *array, size_t n)
{
  return (const char *) array + n * attn_precision_size (precision);
}

LANES_INLINE void
store_first (float *p, Lanes x, size_t n)
{
  if (n >= N_LANES)
    lanes_store (p, x);
  else
    lanes_store_n (p, x, n);
}

/* At values [n], from `i` on, as far as they go. */
LANES_INLINE void
store_within (float *values, size_t i, size_t n, Lanes x)
{
  if (i < n)
    store_first (values + i, x, n - i);
}

LANES_INLINE Lanes
load_first (const float *p, size_t n)
{
  return n >= N_LANES ? lanes_load (p) : lanes_load_n (p, n);
}

static void
scale (float *out, const float *in, float factor, size_t n)
{
  for (size_t i = 0; i < n; i += N_LANES)
    store_first (out + i, clean (lanes_mul (load_first (in + i, n - i), lanes_set (factor))), n - i);
}

static bool
all_below (const float *values, size_t n, float limit)
{
  Lanes least = lanes_set (1);

  for (size_t i = 0; i < n; i += N_LANES) {
    LanesMask below = lanes_less (lanes_abs (load_first (values + i, n - i)), lanes_set (limit));

    least = lanes_select (below, least, lanes_set (0));
  }
  return lanes_sum (least) == ATTN_LANES;
}

static void
narrow (uint16_t *out, const float *in, size_t n, AttnPrecision precision)
{
  for (size_t i = 0; i < n; i += N_LANES) {
    size_t left = n - i < N_LANES ? n - i : N_LANES;
    uint16_t some[ATTN_LANES], *to = left == N_LANES ? out + i : some;

    if (precision == ATTN_PRECISION_F16)
      lanes_store_f16 (to, load_first (in + i, left));
    else
      lanes_store_bf16 (to, load_first (in + i, left));
    if (to == some)
      memcpy (out + i, some, left * sizeof *out);
  }
}

/*
 * out [n_rows][n] = cleaned rows of a register tile [n_rows][stride], each times its factor. Apart from the tile's own
 * loop, where it would be unrolled as often as there are accumulators.
 */
static void
finish (float *out, size_t out_stride, const float *tile, size_t stride, size_t n_rows, size_t n, const float *factors,
        size_t factor_stride)
{
  for (size_t r = 0; r < n_rows; r++)
    scale (out + r * out_stride, tile + r * stride, factors[r * factor_stride], n);
}

/* ---- project ---- */

#define INPUTS_PER_PASS 128 /* of a panel, so that what several tiles of frames read stays in the first-level cache */
#define FRAMES_PER_BLOCK 16

static const float no_factor = 1;

/* Some inputs of a block of frames against one panel. */
typedef struct {
  const float *in;
  const void *weight; /* of the first of these inputs */
  const float *start; /* what the chains go on from: the bias [panel], the same for all frames, or `acc` */
  float *acc;         /* [FRAMES_PER_BLOCK][panel] */
  size_t in_stride, start_stride;
  size_t n_inputs;
  size_t panel;
} Pass;

/* Input i + odd of some frames, times its weights. */
LANES_INLINE void
project_input (const int n_frames, const int n_vectors, AttnPrecision precision, const int odd, const Pass *pass,
               const float *in, size_t i, size_t output, Lanes acc[6][5])
{
  Lanes w[5];

  EACH (c, n_vectors) w[c] = load_stored (precision, odd, pass->weight, i, pass->panel, output + c * N_LANES);
  EACH (r, n_frames)
  {
    Lanes x = lanes_set (in[r * pass->in_stride + i + odd]);

    EACH (c, n_vectors) acc[r][c] = lanes_fma (w[c], x, acc[r][c]);
  }
}

LANES_INLINE void
project_tile (const int n_frames, const int n_vectors, AttnPrecision precision, const Pass *pass_in, size_t frame,
              size_t output)
{
  const Pass copy = *pass_in, *pass = &copy; /* nobody else's, so that it stays in registers */
  const float *in = pass->in + frame * pass->in_stride, *start = pass->start + frame * pass->start_stride + output;
  size_t panel = pass->panel, i;
  float *out = pass->acc + frame * panel + output;
  Lanes acc[6][5];

  EACH (r, n_frames) EACH (c, n_vectors) acc[r][c] = lanes_load (start + r * pass->start_stride + c * N_LANES);
  for (i = 0; i + 2 <= pass->n_inputs; i += 2) {
    project_input (n_frames, n_vectors, precision, 0, pass, in, i, output, acc);
    project_input (n_frames, n_vectors, precision, 1, pass, in, i, output, acc);
  }
  if (i < pass->n_inputs)
    project_input (n_frames, n_vectors, precision, 0, pass, in, i, output, acc);
  EACH (r, n_frames) EACH (c, n_vectors) lanes_store (out + r * panel + c * N_LANES, acc[r][c]);
}

#define PROJECT_TILE(N_FRAMES, N_VECTORS)                                                                \
  static void project_##N_FRAMES##x##N_VECTORS (AttnPrecision precision, const Pass *pass, size_t frame, \
                                                size_t output)                                           \
  {                                                                                                      \
    if (precision == ATTN_PRECISION_F32)                                                                 \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_F32, pass, frame, output);                       \
    else if (precision == ATTN_PRECISION_F16)                                                            \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_F16, pass, frame, output);                       \
    else                                                                                                 \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_BF16, pass, frame, output);                      \
  }

typedef void (*ProjectTile) (AttnPrecision precision, const Pass *pass, size_t frame, size_t output);

#define PROJECT_TILES(N_VECTORS) \
  PROJECT_TILE (1, N_VECTORS)    \
  PROJECT_TILE (2, N_VECTORS)    \
  PROJECT_TILE (4, N_VECTORS)

#define TILES_OF(N_VECTORS) project_1x##N_VECTORS, project_2x##N_VECTORS, project_4x##N_VECTORS

/* [vectors][of 1, 2, 4 and 6 frames] */
#if LANES_ROOM >= 24
#define MAX_PROJECT_VECTORS 5
PROJECT_TILES (1)
PROJECT_TILES (2)
PROJECT_TILES (3)
PROJECT_TILES (4)
PROJECT_TILES (5)
PROJECT_TILE (6, 1)
PROJECT_TILE (6, 2)
PROJECT_TILE (6, 3)
PROJECT_TILE (6, 4)
static const ProjectTile project_tiles[][4] = {
  { 0 },
  { TILES_OF (1), project_6x1 },
  { TILES_OF (2), project_6x2 },
  { TILES_OF (3), project_6x3 },
  { TILES_OF (4), project_6x4 },
  { TILES_OF (5) },
};
#else
#define MAX_PROJECT_VECTORS 1
PROJECT_TILES (1)
PROJECT_TILE (6, 1)
static const ProjectTile project_tiles[][4] = { { 0 }, { TILES_OF (1), project_6x1 } };
#endif

/* All frames against the inputs of one pass, in tiles of as many frames as there is room for. */
static void
project_pass (AttnPrecision precision, const Pass *pass, size_t n_frames)
{
  size_t n_vectors = pass->panel / N_LANES < MAX_PROJECT_VECTORS ? pass->panel / N_LANES : MAX_PROJECT_VECTORS;
  const ProjectTile *tiles = project_tiles[n_vectors];

  for (size_t output = 0; output < pass->panel; output += n_vectors * N_LANES) {
    size_t frame = 0;

    for (; tiles[3] != NULL && frame + 6 <= n_frames; frame += 6)
      tiles[3](precision, pass, frame, output);
    for (; frame + 4 <= n_frames; frame += 4)
      tiles[2](precision, pass, frame, output);
    for (; frame + 2 <= n_frames; frame += 2)
      tiles[1](precision, pass, frame, output);
    if (frame < n_frames)
      tiles[0](precision, pass, frame, output);
  }
}

/* n_frames <= FRAMES_PER_BLOCK */
static void
project_block (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
               const AttnProjection *projection)
{
  size_t panel = projection->panel, n_inputs = projection->n_inputs;
  size_t n_rows = attn_stored_rows (n_inputs, projection->precision);
  _Alignas(ATTN_ALIGNMENT) float acc[FRAMES_PER_BLOCK * ATTN_MAX_PANEL];

  for (size_t o = 0; o < projection->n_outputs; o += panel) {
    size_t left = projection->n_outputs - o;

    for (size_t i = 0; i < n_inputs; i += INPUTS_PER_PASS) {
      Pass pass = {
        .in = in + i,
        .weight = advance (projection->precision, projection->weight, o * n_rows + i * panel),
        .start = i == 0 ? projection->bias + o : acc,
        .acc = acc,
        .in_stride = in_stride,
        .start_stride = i == 0 ? 0 : panel,
        .n_inputs = n_inputs - i < INPUTS_PER_PASS ? n_inputs - i : INPUTS_PER_PASS,
        .panel = panel,
      };

      project_pass (projection->precision, &pass, n_frames);
    }
    finish (out + o, out_stride, acc, panel, n_frames, left < panel ? left : panel, &no_factor, 0);
  }
}

/* Input i + odd of one frame, times its weights in several panels. */
LANES_INLINE void
project_input_of_frame (const int n_panels, const int n_vectors, AttnPrecision precision, const int odd,
                        const void *weight, size_t panel_rows, const float *in, size_t i, Lanes acc[4][5])
{
  Lanes x = lanes_set (in[i + odd]);

  EACH (p, n_panels)
  EACH (c, n_vectors)
  acc[p][c] = lanes_fma (load_stored (precision, odd, weight, p * panel_rows + i, n_vectors * N_LANES, c * N_LANES), x,
                         acc[p][c]);
}

/* One frame against panels side by side, each n_vectors wide: as many streams from memory as there are panels. */
LANES_INLINE void
project_panels (const int n_panels, const int n_vectors, AttnPrecision precision, float *out, const float *in,
                const AttnProjection *projection, size_t output)
{
  size_t panel = n_vectors * N_LANES, n_inputs = projection->n_inputs, left = projection->n_outputs - output, i;
  size_t rows = attn_stored_rows (n_inputs, precision);
  const void *weight = advance (precision, projection->weight, output * rows);
  const float *bias = projection->bias + output;
  Lanes acc[4][5];

  EACH (p, n_panels) EACH (c, n_vectors) acc[p][c] = lanes_load (bias + p * panel + c * N_LANES);
  for (i = 0; i + 2 <= n_inputs; i += 2) {
    project_input_of_frame (n_panels, n_vectors, precision, 0, weight, rows, in, i, acc);
    project_input_of_frame (n_panels, n_vectors, precision, 1, weight, rows, in, i, acc);
  }
  if (i < n_inputs)
    project_input_of_frame (n_panels, n_vectors, precision, 0, weight, rows, in, i, acc);
  EACH (p, n_panels) EACH (c, n_vectors) store_within (out + output, p * panel + c * N_LANES, left, clean (acc[p][c]));
}

#if LANES_ROOM >= 24
#define MAX_PANELS 4
#else
#define MAX_PANELS 1
#endif

LANES_INLINE void
project_frame_in (const int n_vectors, AttnPrecision precision, float *out, const float *in,
                  const AttnProjection *projection)
{
  size_t panel = n_vectors * N_LANES, output = 0, n = projection->n_outputs;

  /* n - output > k panel: k + 1 panels are left */
  for (; MAX_PANELS >= 4 && n > output + 3 * panel; output += 4 * panel)
    project_panels (4, n_vectors, precision, out, in, projection, output);
  for (; MAX_PANELS >= 2 && n > output + panel; output += 2 * panel)
    project_panels (2, n_vectors, precision, out, in, projection, output);
  for (; n > output; output += panel)
    project_panels (1, n_vectors, precision, out, in, projection, output);
}

#define PROJECT_FRAME(N_VECTORS)                                                                        \
  static void project_frame_##N_VECTORS (float *out, const float *in, const AttnProjection *projection) \
  {                                                                                                     \
    if (projection->precision == ATTN_PRECISION_F32)                                                    \
      project_frame_in (N_VECTORS, ATTN_PRECISION_F32, out, in, projection);                            \
    else if (projection->precision == ATTN_PRECISION_F16)                                               \
      project_frame_in (N_VECTORS, ATTN_PRECISION_F16, out, in, projection);                            \
    else                                                                                                \
      project_frame_in (N_VECTORS, ATTN_PRECISION_BF16, out, in, projection);                           \
  }
PROJECT_FRAME (1)
PROJECT_FRAME (2)
PROJECT_FRAME (3)
PROJECT_FRAME (4)
PROJECT_FRAME (5)

static void
project (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
         const AttnProjection *projection)
{
  static void (*const project_frame[]) (float *, const float *, const AttnProjection *) = {
    NULL, project_frame_1, project_frame_2, project_frame_3, project_frame_4, project_frame_5,
  };

  for (; n_frames > 1; n_frames -= n_frames < FRAMES_PER_BLOCK ? n_frames : FRAMES_PER_BLOCK) {
    project_block (out, out_stride, in, in_stride, n_frames < FRAMES_PER_BLOCK ? n_frames : FRAMES_PER_BLOCK,
                   projection);
    out += FRAMES_PER_BLOCK * out_stride;
    in += FRAMES_PER_BLOCK * in_stride;
  }
  if (n_frames == 1)
    project_frame[projection->panel / N_LANES](out, in, projection);
}

/* ---- scores ---- */

/* Dimension d + odd of some queries, times that of some tiles of keys. */
LANES_INLINE void
score_dimension (const int n_queries, const int n_tiles, AttnPrecision precision, const int odd, const float *query,
                 size_t query_stride, const void *const tiles[8], size_t d, Lanes acc[6][8])
{
  Lanes key[8];

  EACH (t, n_tiles) key[t] = load_stored (precision, odd, tiles[t], d, N_LANES, 0);
  EACH (q, n_queries)
  {
    Lanes x = lanes_set (query[q * query_stride + d + odd]);

    EACH (t, n_tiles) acc[q][t] = lanes_fma (key[t], x, acc[q][t]);
  }
}

/* `n_queries` rows over n_tiles tiles, from `row` and `tile` on; keys are those of `row`. */
LANES_INLINE void
score_tiles (const int n_queries, const int n_tiles, AttnPrecision precision, const AttnRows *rows, size_t row,
             size_t tile, const float *query, size_t query_stride, const void *keys, size_t dk)
{
  float *scores = rows->scores + row * rows->score_stride + tile * N_LANES;
  size_t tile_size = attn_stored_rows (dk, precision) * N_LANES, d;
  const void *tiles[8];
  Lanes acc[6][8];

  EACH (t, n_tiles) tiles[t] = advance (precision, keys, rows->slots[tile + t] * tile_size);
  EACH (q, n_queries) EACH (t, n_tiles) acc[q][t] = lanes_set (0);
  for (d = 0; d + 2 <= dk; d += 2) {
    score_dimension (n_queries, n_tiles, precision, 0, query, query_stride, tiles, d, acc);
    score_dimension (n_queries, n_tiles, precision, 1, query, query_stride, tiles, d, acc);
  }
  if (d < dk)
    score_dimension (n_queries, n_tiles, precision, 0, query, query_stride, tiles, d, acc);
  EACH (q, n_queries) EACH (t, n_tiles) lanes_store (scores + q * rows->score_stride + t * N_LANES, acc[q][t]);
}

#if LANES_ROOM >= 24
#define MAX_SCORE_TILES_1 8
#define MAX_SCORE_TILES_4 6
#else
#define MAX_SCORE_TILES_1 5
#define MAX_SCORE_TILES_4 1
#endif

#define SCORE_CASE(N_QUERIES, N_TILES)                                                                                 \
  case N_TILES:                                                                                                        \
    if (N_TILES <= MAX_SCORE_TILES_##N_QUERIES)                                                                        \
      score_tiles (N_QUERIES, N_TILES <= MAX_SCORE_TILES_##N_QUERIES ? N_TILES : 1, precision, rows, row, tile, query, \
                   query_stride, keys, dk);                                                                            \
    break;

/* How many of `n` tiles to take at once, where `most` can be: in parts of equal size. */
LANES_INLINE size_t
share (size_t n, size_t most)
{
  size_t n_parts = (n + most - 1) / most;

  return (n + n_parts - 1) / n_parts;
}

LANES_INLINE void
score_one (AttnPrecision precision, const AttnRows *rows, size_t row, const float *query, const void *keys, size_t dk)
{
  size_t query_stride = 0, tile = 0;

  while (tile < rows->n_tiles) {
    size_t n = share (rows->n_tiles - tile, MAX_SCORE_TILES_1);

    switch (n) {
      SCORE_CASE (1, 1)
      SCORE_CASE (1, 2)
      SCORE_CASE (1, 3)
      SCORE_CASE (1, 4)
      SCORE_CASE (1, 5)
      SCORE_CASE (1, 6)
      SCORE_CASE (1, 7)
      SCORE_CASE (1, 8)
    }
    tile += n;
  }
}

/* Rows [row, row + 4 n_fours), which share their keys. */
LANES_INLINE void
score_fours (AttnPrecision precision, const AttnRows *rows, size_t n_fours, const float *queries, size_t query_stride,
             const void *keys, size_t dk)
{
  size_t tile = 0;

  while (tile < rows->n_tiles) {
    size_t n = share (rows->n_tiles - tile, MAX_SCORE_TILES_4);

    for (size_t row = 0; row < 4 * n_fours; row += 4) {
      const float *query = queries + row * query_stride;

      switch (n) {
        SCORE_CASE (4, 1)
        SCORE_CASE (4, 2)
        SCORE_CASE (4, 3)
        SCORE_CASE (4, 4)
        SCORE_CASE (4, 5)
        SCORE_CASE (4, 6)
      }
    }
    tile += n;
  }
}

LANES_INLINE void
scores_in (AttnPrecision precision, const AttnRows *rows, const float *queries, size_t query_stride, const void *keys,
           size_t key_stride, size_t dk)
{
  size_t n_fours = key_stride == 0 ? rows->n_rows / 4 : 0;

  if (n_fours > 0)
    score_fours (precision, rows, n_fours, queries, query_stride, keys, dk);
  for (size_t row = 4 * n_fours; row < rows->n_rows; row++)
    score_one (precision, rows, row, queries + row * query_stride, advance (precision, keys, row * key_stride), dk);
}

static void
scores (const AttnRows *rows, const float *queries, size_t query_stride, const void *keys, size_t key_stride, size_t dk)
{
  if (rows->precision == ATTN_PRECISION_F32)
    scores_in (ATTN_PRECISION_F32, rows, queries, query_stride, keys, key_stride, dk);
  else if (rows->precision == ATTN_PRECISION_F16)
    scores_in (ATTN_PRECISION_F16, rows, queries, query_stride, keys, key_stride, dk);
  else
    scores_in (ATTN_PRECISION_BF16, rows, queries, query_stride, keys, key_stride, dk);
}

/* ---- scores to weights ---- */

/* As exp2_negative () of kernels_c.c. */
LANES_INLINE Lanes
exp2_negative (Lanes x)
{
  const Lanes shift = lanes_set (0x1.8p23f);
  Lanes sum = lanes_add (x, shift), r = lanes_sub (x, lanes_sub (sum, shift)), p = lanes_set (0x1.4b107ep-13f);

  p = lanes_fma (p, r, lanes_set (0x1.5fb504p-10f));
  p = lanes_fma (p, r, lanes_set (0x1.3b21cap-7f));
  p = lanes_fma (p, r, lanes_set (0x1.c6ada8p-5f));
  p = lanes_fma (p, r, lanes_set (0x1.ebfbe6p-3f));
  p = lanes_fma (p, r, lanes_set (0x1.62e432p-1f));
  p = lanes_fma (p, r, lanes_set (1));
  p = lanes_add_exponent (p, sum);
  p = lanes_select (lanes_less (x, lanes_set (-126)), lanes_set (0), p);
  return lanes_select (lanes_is_nan (x), lanes_set (attn_bits_float (0x7fc00000)), p);
}

/* As exp2m1_negative () of kernels_c.c. */
LANES_INLINE Lanes
exp2m1_negative (Lanes y)
{
  const Lanes shift = lanes_set (0x1.8p23f), most = lanes_set (64), one = lanes_set (1);
  Lanes sum, r, power, p = lanes_set (0x1.426feep-13f);

  y = lanes_select (lanes_less (most, y), most, y);
  sum = lanes_sub (shift, y);
  r = lanes_sub (lanes_sub (lanes_set (0), y), lanes_sub (sum, shift));
  p = lanes_fma (p, r, lanes_set (0x1.5ef4a2p-10f));
  p = lanes_fma (p, r, lanes_set (0x1.3b2c60p-7f));
  p = lanes_fma (p, r, lanes_set (0x1.c6af9ep-5f));
  p = lanes_fma (p, r, lanes_set (0x1.ebfbdep-3f));
  p = lanes_fma (p, r, lanes_set (0x1.62e430p-1f));
  power = lanes_add_exponent (one, sum);
  return lanes_fma (power, lanes_mul (p, r), lanes_sub (power, one));
}

static void
softcap (float *scores, float factor, float cap, size_t n_tiles)
{
  for (size_t i = 0; i < n_tiles * N_LANES; i += N_LANES) {
    Lanes score = lanes_load (scores + i), e = exp2m1_negative (lanes_mul (lanes_abs (score), lanes_set (factor)));
    Lanes quotient = lanes_div (lanes_sub (lanes_set (0), e), lanes_add (lanes_set (2), e));

    lanes_store (scores + i, lanes_copysign (lanes_mul (lanes_set (cap), quotient), score));
  }
}

#define ROWS_AT_ONCE 16

/* The score where the frame is attended to, else `other`. */
LANES_INLINE Lanes
masked (Lanes score, uint16_t mask, float other)
{
  return lanes_select (lanes_mask (mask), score, lanes_set (other));
}

LANES_INLINE Lanes
greatest_scores (const float *scores, const uint16_t *masks, size_t n_tiles)
{
  Lanes max = lanes_set (-INFINITY);

  for (size_t tile = 0; tile < n_tiles; tile++)
    max = lanes_max (masked (lanes_load (scores + tile * N_LANES), masks[tile], -INFINITY), max);
  return max;
}

LANES_INLINE Lanes
to_weights (float *scores, const uint16_t *masks, size_t n_tiles, Lanes max)
{
  Lanes sum = lanes_set (0);

  for (size_t tile = 0; tile < n_tiles; tile++) {
    float *s = scores + tile * N_LANES;
    Lanes weight = masked (exp2_negative (lanes_sub (lanes_load (s), max)), masks[tile], 0);

    lanes_store (s, weight);
    sum = lanes_add (sum, weight);
  }
  return sum;
}

/* Step by step for all rows: within a row each step would wait for the one before. */
static void
softmax (const AttnRows *rows)
{
  const size_t n = rows->n_tiles, stride = rows->score_stride, mask_stride = rows->mask_stride;
  Lanes lanes[ROWS_AT_ONCE];
  float max[ROWS_AT_ONCE];

  for (size_t row = 0, n_rows; row < rows->n_rows; row += n_rows) {
    float *scores = rows->scores + row * stride;
    const uint16_t *masks = rows->masks + row * mask_stride;

    n_rows = rows->n_rows - row < ROWS_AT_ONCE ? rows->n_rows - row : ROWS_AT_ONCE;
    for (size_t r = 0; r < n_rows; r++)
      lanes[r] = greatest_scores (scores + r * stride, masks + r * mask_stride, n);
    for (size_t r = 0; r < n_rows; r++)
      max[r] = lanes_greatest (lanes[r]);
    for (size_t r = 0; r < n_rows; r++)
      lanes[r] = to_weights (scores + r * stride, masks + r * mask_stride, n, lanes_set (max[r]));
    for (size_t r = 0; r < n_rows; r++)
      rows->reciprocals[row + r] = 1 / lanes_sum (lanes[r]);
  }
}

/* ---- context ---- */

/* What the rows from `row` on attend to in a tile, together. */
LANES_INLINE uint32_t
attended (const AttnRows *rows, const int n_rows, size_t row, size_t tile)
{
  const uint16_t *mask = rows->masks + row * rows->mask_stride + tile;
  uint32_t any = *mask;

  if (rows->mask_stride != 0)
    UNROLL for (int r = 1; r < n_rows; r++) any |= mask[r * rows->mask_stride];
  return any;
}

/* What mix_rows () works on. */
typedef struct {
  const AttnRows *rows;
  float *contexts;
  const void *values; /* of `row` */
  size_t context_stride, value_stride;
  size_t dv;
  size_t row; /* the first */
} Mix;

/* The values of frame `frame` + `odd` of a tile, times their weights. `shared`: all rows have the same values. */
LANES_INLINE void
mix_frame (const int n_rows, const int n_vectors, const bool shared, AttnPrecision precision, const int odd,
           const Mix *mix, const void *values, const float *weights, size_t frame, size_t column, Lanes acc[8][4])
{
  const size_t weight_stride = mix->rows->score_stride;

  EACH (r, n_rows)
  {
    Lanes weight = lanes_set (weights[r * weight_stride + frame + odd]), value[4];
    const void *v = advance (precision, values, shared ? 0 : r * mix->value_stride);

    EACH (c, n_vectors)
    {
      value[c] = load_stored (precision, odd, v, frame, mix->dv, column + c * N_LANES);
      acc[r][c] = lanes_fma (value[c], weight, acc[r][c]);
    }
  }
}

/*
 * Some rows, some vectors of their contexts, from `column` on. Frames that a row does not attend to are multiplied by
 * its weight of 0, except where `careful`, for values that are not finite: there it is one row.
 */
LANES_INLINE void
mix_rows (const int n_rows, const int n_vectors, const bool shared, const bool careful, AttnPrecision precision,
          const Mix *mix, size_t column)
{
  const AttnRows *rows = mix->rows;
  const float *weights = rows->scores + mix->row * rows->score_stride;
  _Alignas(ATTN_ALIGNMENT) float result[8 * 4 * ATTN_LANES];
  Lanes acc[8][4];

  EACH (r, n_rows) EACH (c, n_vectors) acc[r][c] = lanes_set (0);
  for (size_t tile = 0; tile < rows->n_tiles; tile++, weights += N_LANES) {
    uint32_t any = attended (rows, n_rows, mix->row, tile);
    const void *values = advance (precision, mix->values, rows->slots[tile] * N_LANES * mix->dv);
    uint32_t first = any != 0 ? __builtin_ctz (any) : 0, end = any != 0 ? 32 - __builtin_clz (any) : 0;

    for (uint32_t frame = first & ~1u; frame < end; frame += 2) {
      if (frame >= first && (!careful || any >> frame & 1))
        mix_frame (n_rows, n_vectors, shared, precision, 0, mix, values, weights, frame, column, acc);
      if (frame + 1 < end && (!careful || any >> (frame + 1) & 1))
        mix_frame (n_rows, n_vectors, shared, precision, 1, mix, values, weights, frame, column, acc);
    }
  }
  EACH (r, n_rows) EACH (c, n_vectors) lanes_store (result + (r * n_vectors + c) * N_LANES, acc[r][c]);
  finish (mix->contexts + mix->row * mix->context_stride + column, mix->context_stride, result, n_vectors * N_LANES,
          n_rows, mix->dv - column < n_vectors * N_LANES ? mix->dv - column : n_vectors * N_LANES,
          rows->reciprocals + mix->row, 1);
}

/* The rows and vectors that fit into the registers: 24 accumulators, or 6. */
#if LANES_ROOM >= 24
#define MOST_ROWS 8
#define MOST_VECTORS(n_rows) ((n_rows) == 8 ? 3 : 4)
#else
#define MOST_ROWS 4
#define MOST_VECTORS(n_rows) (4 / (n_rows))
#endif

#define MIX_CASE(N_ROWS, N_VECTORS)                                                                                   \
  case N_VECTORS:                                                                                                     \
    if (N_VECTORS <= MOST_VECTORS (N_ROWS))                                                                           \
      mix_rows (N_ROWS, N_VECTORS <= MOST_VECTORS (N_ROWS) ? N_VECTORS : 1, shared, careful, precision, mix, column); \
    break;

/* All columns of n_rows rows. */
#define MIX_ROWS(N_ROWS)                                                           \
  for (size_t column = 0, n; column < mix->dv; column += n * N_LANES) {            \
    n = share ((mix->dv - column + N_LANES - 1) / N_LANES, MOST_VECTORS (N_ROWS)); \
    switch (n) {                                                                   \
      MIX_CASE (N_ROWS, 1)                                                         \
      MIX_CASE (N_ROWS, 2)                                                         \
      MIX_CASE (N_ROWS, 3)                                                         \
      MIX_CASE (N_ROWS, 4)                                                         \
    }                                                                              \
  }                                                                                \
  mix->row += N_ROWS;                                                              \
  mix->values = advance (precision, mix->values, N_ROWS * mix->value_stride);

LANES_INLINE void
mix_all (const bool shared, const bool careful, AttnPrecision precision, Mix *mix)
{
  while (mix->row < mix->rows->n_rows) {
    size_t left = mix->rows->n_rows - mix->row;

    if (!careful && left >= 8 && MOST_ROWS >= 8 && mix->dv <= 3 * N_LANES) {
      MIX_ROWS (8)
    } else if (!careful && left >= 4) {
      MIX_ROWS (4)
    } else if (!careful && left >= 2) {
      MIX_ROWS (2)
    } else {
      MIX_ROWS (1)
    }
  }
}

static bool
all_finite (const AttnRows *rows)
{
  for (size_t tile = 0; tile < rows->n_tiles; tile++)
    if (rows->finite[rows->slots[tile]] != 0xffff)
      return false;
  return true;
}

#define CONTEXT(PRECISION, NAME)              \
  static void context_##NAME (Mix *mix)       \
  {                                           \
    if (!all_finite (mix->rows))              \
      mix_all (false, true, PRECISION, mix);  \
    else if (mix->value_stride == 0)          \
      mix_all (true, false, PRECISION, mix);  \
    else                                      \
      mix_all (false, false, PRECISION, mix); \
  }
CONTEXT (ATTN_PRECISION_F32, f32)
CONTEXT (ATTN_PRECISION_F16, f16)
CONTEXT (ATTN_PRECISION_BF16, bf16)

static void
context (const AttnRows *rows, float *contexts, size_t context_stride, const void *values, size_t value_stride,
         size_t dv)
{
  Mix mix = { rows, contexts, values, context_stride, value_stride, dv, 0 };

  if (rows->precision == ATTN_PRECISION_F32)
    context_f32 (&mix);
  else if (rows->precision == ATTN_PRECISION_F16)
    context_f16 (&mix);
  else
    context_bf16 (&mix);
}

/* ---- positions ---- */

static inline float
clean_one (float x)
{
  uint32_t magnitude = attn_float_bits (x) & 0x7fffffff;

  return magnitude < 0x00800000 ? 0 : magnitude > 0x7f800000 ? attn_bits_float (0x7fc00000) : x;
}

static void
rotate_neighbours (float *values, const float *cosines, const float *sines, size_t n_pairs)
{
  for (size_t i = 0; i < n_pairs; i++, values += 2) {
    float x = values[0], y = values[1];

    values[0] = clean_one (fmaf (-y, sines[i], x * cosines[i]));
    values[1] = clean_one (fmaf (x, sines[i], y * cosines[i]));
  }
}

static void
rotate_halves (float *xs, float *ys, const float *cosines, const float *sines, size_t n_pairs)
{
  for (size_t i = 0; i < n_pairs; i += N_LANES) {
    size_t n = n_pairs - i;
    Lanes x = load_first (xs + i, n), y = load_first (ys + i, n);
    Lanes c = load_first (cosines + i, n), s = load_first (sines + i, n);

    store_first (xs + i, clean (lanes_fma (lanes_sub (lanes_set (-0.0f), y), s, lanes_mul (x, c))), n);
    store_first (ys + i, clean (lanes_fma (x, s, lanes_mul (y, c))), n);
  }
}

static void
rotate (float *values, const float *cosines, const float *sines, size_t n_pairs, AttnRopeLayout layout)
{
  if (layout == ATTN_ROPE_HALF)
    rotate_halves (values, values + n_pairs, cosines, sines, n_pairs);
  else
    rotate_neighbours (values, cosines, sines, n_pairs);
}

static void
add_biases (float *scores, const float *biases, size_t n_tiles)
{
  for (size_t i = 0; i < n_tiles * N_LANES; i += N_LANES)
    lanes_store (scores + i, lanes_add (lanes_load (scores + i), lanes_load (biases + i)));
}

#define QUOTED(name) #name
#define NAME_OF(isa) QUOTED (isa)
#define TABLE_OF(isa) attn_kernels_##isa
#define TABLE(isa) TABLE_OF (isa)

const AttnKernels TABLE (LANES_ISA) = {
  NAME_OF (LANES_ISA), scale, all_below, narrow, project, scores, softcap, softmax, context, rotate, add_biases,
};
