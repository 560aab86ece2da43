/*
 * libattn: kernels over 16 lanes: all but projections, scores and contexts; and the table.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels_simd.h"

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

/* In loops over heads, compilers would prepare each address on the stack, once per call. */
#define NEVER_INLINE __attribute__ ((noinline))

/*
 * Transposes 16 rows of up to 16 values into `n` rows of 16. Each round takes the upmost bit of a row's number and
 * makes it the lowest of a column's; four rounds exchange rows and columns.
 */
static void
transpose (float *out, const float *in, size_t in_stride, size_t n)
{
  Lanes rows[16], zipped[16];

  EACH (i, 16) rows[i] = load_first (in + i * in_stride, n);
  EACH (round, 4)
  {
    EACH (i, 8)
    {
      zipped[2 * i] = lanes_zip (rows[i], rows[i + 8], 0);
      zipped[2 * i + 1] = lanes_zip (rows[i], rows[i + 8], 1);
    }
    EACH (i, 16) rows[i] = zipped[i];
  }
  UNROLL for (size_t i = 0; i < 16; i++) if (i < n) lanes_store (out + i * N_LANES, rows[i]);
}

/* One by one: compilers would load a vector only to take it apart. */
static NEVER_INLINE void
store_key (volatile float *tile, const float *key, size_t dk)
{
  size_t d = 0;

  for (; d + 8 <= dk; d += 8)
    EACH (i, 8) tile[(d + i) * N_LANES] = key[d + i];
  for (; d < dk; d++)
    tile[d * N_LANES] = key[d];
}

static NEVER_INLINE void
store_keys (float *tile, const float *keys, size_t stride, size_t dk)
{
  for (size_t d = 0; d < dk; d += N_LANES)
    transpose (tile + d * N_LANES, keys + d, stride, dk - d);
}

static inline void
copy (float *out, const float *in, size_t n)
{
  size_t i = 0;

  for (; i + N_LANES <= n; i += N_LANES)
    lanes_store (out + i, lanes_load (in + i));
  if (i < n)
    lanes_store_n (out + i, lanes_load_n (in + i, n - i), n - i);
}

static void
store (const AttnTiles *tiles, size_t lane, const float *keys, const float *values, size_t stride, size_t n_frames)
{
  const size_t dk = tiles->dk, dv = tiles->dv;
  float *key_tile = tiles->keys, *value_tile = tiles->values + lane * dv;

  for (size_t h = 0; h < tiles->n_heads; h++, keys += dk, values += dv) {
    if (n_frames == N_LANES)
      store_keys (key_tile, keys, stride, dk);
    for (size_t i = 0; i < n_frames; i++) {
      if (n_frames < N_LANES)
        store_key (key_tile + lane + i, keys + i * stride, dk);
      copy (value_tile + i * dv, values + i * stride, dv);
    }
    key_tile += tiles->key_stride;
    value_tile += tiles->value_stride;
  }
}

/* ---- scores to weights ---- */

/* As exp2_negative () of kernels_c.c. */
LANES_INLINE Lanes
exp2_negative (Lanes x)
{
  const Lanes shift = lanes_set (0x1.8p23f);
  Lanes sum = lanes_add (x, shift), p = exp2_sum (lanes_sub (x, lanes_sub (sum, shift)), sum);

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
  const Lanes zero = lanes_set (0), limit = lanes_set (4 * attn_smallest_factor (factor));

  for (size_t i = 0; i < n_tiles * N_LANES; i += N_LANES) {
    Lanes guarded = lanes_load (scores + i), score = without_guard (guarded);
    LanesMask is_small = lanes_is_below (score, limit);
    Lanes x = lanes_select (is_small, zero, lanes_abs (score)), e = exp2m1_negative (lanes_mul (x, lanes_set (factor)));
    Lanes quotient = lanes_copysign (lanes_div (lanes_sub (zero, e), lanes_add (lanes_set (2), e)), score);
    Lanes capped = lanes_fma (lanes_set (cap), quotient, lanes_set (ATTN_GUARD));

    lanes_store (scores + i, lanes_select (is_small, guarded, capped));
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

/* Runs each step for all rows: within one row each step would wait for the one before. */
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

    values[0] = clean_one (fmaf (-y, sines[i], fmaf (x, cosines[i], ATTN_GUARD)) - ATTN_GUARD);
    values[1] = clean_one (fmaf (x, sines[i], fmaf (y, cosines[i], ATTN_GUARD)) - ATTN_GUARD);
  }
}

static void
rotate_halves (float *xs, float *ys, const float *cosines, const float *sines, size_t n_pairs)
{
  const Lanes guard = lanes_set (ATTN_GUARD);

  for (size_t i = 0; i < n_pairs; i += N_LANES) {
    size_t n = n_pairs - i;
    Lanes x = load_first (xs + i, n), y = load_first (ys + i, n), minus_y = lanes_sub (lanes_set (-0.0f), y);
    Lanes c = load_first (cosines + i, n), s = load_first (sines + i, n);

    store_first (xs + i, clean (without_guard (lanes_fma (minus_y, s, lanes_fma (x, c, guard)))), n);
    store_first (ys + i, clean (without_guard (lanes_fma (x, s, lanes_fma (y, c, guard)))), n);
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

const AttnKernels SIMD (kernels) = {
  .name = NAME_OF (LANES_ISA),
  .scale = simd_scale,
  .all_below = all_below,
  .narrow = narrow,
  .store = store,
  .project = SIMD (project),
  .scores = SIMD (scores),
  .softcap = softcap,
  .softmax = softmax,
  .context = SIMD (context),
  .rotate = rotate,
  .add_biases = add_biases,
  .activate = SIMD (activate),
  .softmax_frames = SIMD (softmax_frames),
  .norm = SIMD (norm),
  .affine = SIMD (affine),
  .multiply = SIMD (multiply),
  .add = SIMD (add),
  .convolve = SIMD (convolve),
};
