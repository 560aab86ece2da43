/*
 * Kernels over frames: norms, softmax, and operations on single values. Each row equals plain C to the bit, at every
 * length around the vectors, between guard bands; plain C against float64; without denormals.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "check.h"
#include "flags.h"
#include "kernels/machine.h"
#include "random.h"

#define MOST_FRAMES 6
#define MOST_WIDTH 83 /* four vectors, one, and a part of one */
#define MOST_TAPS 4
#define MOST_BINS 3 /* of a tap */
#define MOST (MOST_FRAMES * MOST_WIDTH)
#define GUARD 32 /* values on either side of the output */
#define GUARD_BITS 0x7fabcdefu
#define UNIT 0x1p-24 /* half of a last place of 1: the most that a rounding loses */

/* The data of all kernels. */
static struct {
  size_t n_frames, width;
  float in[MOST * MOST_TAPS * 2], other[MOST], weight[MOST_WIDTH * MOST_TAPS * MOST_BINS], start[MOST_WIDTH];
  AttnNorm norm;
  AttnConvolution convolution;
} w;

typedef struct {
  const char *name;
  void (*run) (const AttnKernels *kernels, float *out);
} Operation;

static void
layer_norm (const AttnKernels *kernels, float *out)
{
  w.norm.is_rms = false;
  kernels->norm (out, w.in, w.n_frames, &w.norm);
}

static void
rms_norm (const AttnKernels *kernels, float *out)
{
  w.norm.is_rms = true;
  kernels->norm (out, w.in, w.n_frames, &w.norm);
}

static void
softmax (const AttnKernels *kernels, float *out)
{
  kernels->softmax_frames (out, w.in, w.n_frames, w.width, false);
}

static void
log_softmax (const AttnKernels *kernels, float *out)
{
  kernels->softmax_frames (out, w.in, w.n_frames, w.width, true);
}

static void
affine (const AttnKernels *kernels, float *out)
{
  for (size_t i = 0; i < w.n_frames; i++)
    kernels->affine (out + i * w.width, w.in + i * w.width, w.weight, w.start, w.width);
}

static void
multiply (const AttnKernels *kernels, float *out)
{
  kernels->multiply (out, w.in, w.other, w.n_frames * w.width);
}

static void
add (const AttnKernels *kernels, float *out)
{
  kernels->add (out, w.in, w.other, w.n_frames * w.width);
}

static void
convolve (const AttnKernels *kernels, float *out)
{
  kernels->convolve (out, w.in, w.n_frames, &w.convolution);
}

static const Operation operations[] = {
  { "layer norm", layer_norm }, { "rms norm", rms_norm }, { "softmax", softmax }, { "log-softmax", log_softmax },
  { "affine", affine },         { "multiply", multiply }, { "add", add },         { "convolve", convolve },
};
#define N_OPERATIONS (sizeof operations / sizeof operations[0])

/* A value around 1, or of any magnitude that is normal. */
static float
random_value (bool any)
{
  float x = random_float (any ? 1 : 3);

  return any ? attn_flush (ldexpf (x, (int) random_between (0, 240) - 120), 0x1p-126f) : x;
}

static void
fill (float *values, size_t n, bool any)
{
  for (size_t i = 0; i < n; i++)
    values[i] = random_value (any);
}

static void
prepare (size_t n_frames, size_t width, bool any)
{
  /* One after the other: the compiler chooses the order within an initializer. */
  size_t n_taps = random_between (1, MOST_TAPS);
  size_t n_bins = random_between (0, 1) ? 1 : random_between (2, MOST_BINS);
  size_t tap_stride = width * random_between (1, 2);
  size_t frame_stride = width * random_between (1, 3);

  w.n_frames = n_frames;
  w.width = width;
  fill (w.in, sizeof w.in / sizeof w.in[0], any);
  fill (w.other, MOST, any);
  fill (w.weight, MOST_WIDTH * MOST_TAPS * MOST_BINS, any);
  fill (w.start, MOST_WIDTH, any);
  for (size_t i = 0; i < width; i++)
    w.start[i] = i % 3 == 0 ? ATTN_GUARD : w.start[i] + ATTN_GUARD;
  w.norm = (AttnNorm){ .width = width, .eps = 1e-5f, .weight = w.weight, .start = w.start };
  w.convolution = (AttnConvolution){ .width = width,
                                     .n_taps = n_taps,
                                     .n_bins = n_bins,
                                     .tap_stride = tap_stride,
                                     .frame_stride = frame_stride,
                                     .weight = w.weight,
                                     .start = w.start };
}

/* Some values that are not numbers. */
static void
sprinkle (void)
{
  static const uint32_t bits[] = { 0, 0x7f800000, 0xff800000, 0x7fc00000, 0x00800000, 0x7f7fffff };

  for (size_t i = random_between (0, 9); i < MOST; i += random_between (1, 90))
    w.in[i] = attn_bits_float (bits[random_between (0, 5)]);
}

static const AttnKernels *
runnable_row (size_t i)
{
  bool runs;
  const AttnKernels *kernels = attn_kernels_row (i, &runs);

  return kernels != NULL && runs ? kernels : NULL;
}

#define FOR_EACH_ROW(kernels)              \
  for (size_t row_ = 0; row_ < 16; row_++) \
    for (const AttnKernels *kernels = runnable_row (row_); kernels != NULL; kernels = NULL)

/* The output stands between guard bands, which must stay unchanged. */
static bool
runs_within (const AttnKernels *kernels, const Operation *operation, float *out)
{
  static float memory[MOST + 2 * GUARD];
  size_t n = w.n_frames * w.width;

  for (size_t i = 0; i < MOST + 2 * GUARD; i++)
    memory[i] = attn_bits_float (GUARD_BITS);
  operation->run (kernels, memory + GUARD);
  memcpy (out, memory + GUARD, n * sizeof *out);
  for (size_t i = 0; i < MOST + 2 * GUARD; i++)
    if ((i < GUARD || i >= GUARD + n) && attn_float_bits (memory[i]) != GUARD_BITS)
      return false;
  return true;
}

TEST (each_row_equals_plain_c)
{
  static float expected[MOST], got[MOST];

  for (size_t round = 0; round < (size_t) random_rounds (12); round++)
    for (size_t width = 1; width <= MOST_WIDTH; width++) {
      prepare (random_between (0, MOST_FRAMES), width, round % 3 == 2);
      if (round % 4 == 3)
        sprinkle ();
      for (size_t o = 0; o < N_OPERATIONS; o++) {
        CHECK_MSG (runs_within (&attn_kernels_c, &operations[o], expected), "%s", operations[o].name);
        FOR_EACH_ROW (kernels)
        {
          CHECK_MSG (runs_within (kernels, &operations[o], got), "%s by %s", operations[o].name, kernels->name);
          CHECK_MSG (memcmp (expected, got, w.n_frames * width * sizeof *got) == 0, "%s of %zu frames of %zu by %s",
                     operations[o].name, w.n_frames, width, kernels->name);
        }
      }
    }
}

TEST (each_row_may_work_in_place)
{
  static float expected[MOST], in[MOST];

  for (size_t width = 1; width <= MOST_WIDTH; width++)
    for (size_t o = 0; o + 1 < N_OPERATIONS; o++) { /* all but convolve */
      prepare (MOST_FRAMES, width, false);
      memcpy (in, w.in, sizeof in);
      operations[o].run (&attn_kernels_c, expected);
      FOR_EACH_ROW (kernels)
      {
        memcpy (w.in, in, sizeof in);
        operations[o].run (kernels, w.in);
        CHECK_MSG (memcmp (expected, w.in, w.n_frames * width * sizeof *in) == 0, "%s of %zu by %s", operations[o].name,
                   width, kernels->name);
      }
    }
}

/* Also for frames with values of all magnitudes. */
TEST (no_row_meets_a_denormal)
{
  static float out[MOST];
  size_t n_flagged = 0, n_calls = 0;

  if (!has_fma ())
    return;
  for (size_t round = 0; round < (size_t) random_rounds (3000); round++) {
    float scale = ldexpf (1, -(int) random_between (0, 120));

    prepare (MOST_FRAMES, random_between (1, MOST_WIDTH), round % 2);
    for (size_t i = 0; i < MOST && round % 2 == 0; i++)
      w.in[i] = attn_flush (w.in[i] * scale, 0x1p-126f);
    w.norm.eps = round % 3 ? 1e-5f : 1e-30f;
    for (size_t o = 0; o < N_OPERATIONS; o++)
      FOR_EACH_ROW (kernels)
      {
        clear_flags ();
        operations[o].run (kernels, out);
        n_flagged += tiny_flags () != 0;
        n_calls++;
      }
  }
  printf ("# %zu of %zu calls raised a flag\n", n_flagged, n_calls);
  CHECK (n_flagged * 1000 <= n_calls);
}

/* ---- against float64 ---- */

/*
 * The roundings that add up in a sum over a frame: those of a lane, of the tree and of the guard. A mean is off by as
 * many units of the largest value; a difference by one more, a mean square by twice that and its own sum, a root by
 * half, then the quotient, two products and the bias.
 */
TEST (norms_are_those_of_float64)
{
  static float out[MOST];

  for (size_t width = 1; width <= MOST_WIDTH; width++)
    for (int is_rms = 0; is_rms <= 1; is_rms++) {
      double n_roundings = width / 16.0 + 6;

      prepare (1, width, false);
      operations[is_rms].run (&attn_kernels_c, out);
      {
        double m = 0, v = 0, largest = 0;

        for (size_t i = 0; i < width; i++) {
          m += is_rms ? 0 : (double) w.in[i] / width;
          if (fabs (w.in[i]) > largest)
            largest = fabs (w.in[i]);
        }
        for (size_t i = 0; i < width; i++)
          v += (w.in[i] - m) * (w.in[i] - m) / width;
        for (size_t i = 0; i < width; i++) {
          double r = 1 / sqrt (v + w.norm.eps), y = (w.in[i] - m) * r;
          double shift = (n_roundings + 1) * UNIT * largest * r; /* of a difference, times r */
          double bound = (shift + fabs (y) * (shift + n_roundings * UNIT + 5 * UNIT)) * fabs (w.weight[i]);
          double expected = y * w.weight[i] + w.start[i];

          CHECK_MSG (fabs (out[i] - expected) <= bound + fabs (expected) * UNIT * 2, "%zu of %zu: %g, not %g", i, width,
                     out[i], expected);
        }
      }
    }
}

/*
 * An exponential of d is off by two units and one for each unit of |d|; the sum by that of its largest terms, d ~ 0,
 * and its roundings; then two more.
 */
TEST (softmax_is_that_of_float64)
{
  static float out[MOST];

  for (size_t width = 1; width <= MOST_WIDTH; width++)
    for (int is_log = 0; is_log <= 1; is_log++) {
      double max = -INFINITY, sum = 0;

      prepare (1, width, false);
      for (size_t i = 0; i < width; i++)
        w.in[i] *= 5;
      operations[2 + is_log].run (&attn_kernels_c, out);
      for (size_t i = 0; i < width; i++)
        max = w.in[i] > max ? w.in[i] : max;
      for (size_t i = 0; i < width; i++)
        sum += exp (w.in[i] - max);
      for (size_t i = 0; i < width; i++) {
        double d = w.in[i] - max, expected = is_log ? d - log (sum) : exp (d) / sum;
        double of_sum = (width / 16.0 + 5 + 3) * UNIT, of_d = (2 + fabs (d)) * UNIT;
        double bound =
            is_log ? of_sum + (fabs (d) + log (sum) + fabs (expected)) * UNIT : expected * (of_sum + of_d + 2 * UNIT);

        CHECK_MSG (fabs (out[i] - expected) <= bound, "%zu of %zu: %g, not %g", i, width, out[i], expected);
      }
    }
}

TEST (softmax_of_what_is_no_number_is_nan)
{
  static const float values[][3] = {
    { 1, NAN, 2 }, { INFINITY, 0, 1 }, { -INFINITY, -INFINITY, -INFINITY }, { NAN, INFINITY, 0 }
  };

  FOR_EACH_ROW (kernels)
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
    for (int is_log = 0; is_log <= 1; is_log++) {
      float out[3];

      kernels->softmax_frames (out, values[i], 1, 3, is_log);
      for (size_t j = 0; j < 3; j++)
        CHECK_MSG (attn_float_bits (out[j]) == 0x7fc00000, "%s, frame %zu: %g", kernels->name, i, out[j]);
    }
}

TEST (softmax_takes_minus_infinity_as_impossible)
{
  const float in[3] = { 0, -INFINITY, 0 };

  FOR_EACH_ROW (kernels)
  {
    float out[3];

    kernels->softmax_frames (out, in, 1, 3, false);
    CHECK (out[0] == 0.5f && out[1] == 0 && out[2] == 0.5f);
    kernels->softmax_frames (out, in, 1, 3, true);
    CHECK (out[1] == -INFINITY && out[0] == out[2] && fabs (out[0] + log (2)) < UNIT);
  }
}

/* ---- the orders that encoder and stream rest on ---- */

/* Sums in 16 lanes, ascending, and the tree: by hand. */
static float
sum_in_lanes (const float *values, size_t n)
{
  float lanes[16];

  for (size_t i = 0; i < 16; i++)
    lanes[i] = ATTN_GUARD;
  for (size_t i = 0; i < n; i++)
    lanes[i % 16] += values[i];
  for (size_t i = 0; i < 16; i++)
    lanes[i] -= ATTN_GUARD;
  for (size_t half = 8; half > 0; half /= 2)
    for (size_t i = 0; i < half; i++)
      lanes[i] += lanes[i + half];
  return lanes[0];
}

/* A norm with eps 1e30, weights 1e15 and no bias gives the difference to the mean, except for the rounding of 1e15. */
TEST (sums_of_a_norm_run_in_sixteen_lanes_and_a_tree)
{
  static float out[MOST];

  for (size_t width = 1; width <= MOST_WIDTH; width++) {
    float r = 1 / sqrtf (1e30f), m;

    prepare (1, width, false);
    m = sum_in_lanes (w.in, width) / width;
    w.norm.eps = 1e30f;
    for (size_t i = 0; i < width; i++) {
      w.weight[i] = 1e15f;
      w.start[i] = ATTN_GUARD;
    }
    layer_norm (&attn_kernels_c, out);
    for (size_t i = 0; i < width; i++)
      CHECK_MSG (out[i] == fmaf ((w.in[i] - m) * r, 1e15f, ATTN_GUARD) - ATTN_GUARD, "%zu of %zu", i, width);
  }
}

TEST (convolve_is_one_fma_chain_oldest_tap_first_and_lowest_bin)
{
  static float out[MOST];

  for (size_t width = 1; width <= MOST_WIDTH; width++) {
    prepare (MOST_FRAMES, width, false);
    convolve (&attn_kernels_c, out);
    for (size_t i = 0; i < w.n_frames * width; i++) {
      size_t n_bins = w.convolution.n_bins, frame = i / width * w.convolution.frame_stride;
      float acc = w.start[i % width];

      for (size_t tap = 0; tap < w.convolution.n_taps; tap++)
        for (size_t bin = 0; bin < n_bins; bin++)
          acc = fmaf (w.in[frame + tap * w.convolution.tap_stride + bin * width + i % width],
                      w.weight[(tap * n_bins + bin) * width + i % width], acc);
      CHECK_MSG (out[i] == acc - ATTN_GUARD, "%zu of %zu", i, width);
    }
  }
}

/* Hashes of plain C, which all other rows equal: every compiler and architecture gives the same. */
TEST (frames_have_the_bits_of_every_machine)
{
  static const uint64_t golden[N_OPERATIONS + 1] = { 0xf3410272922834a8, 0x683e5c5c5ef7e035, 0x477897c50193d8ed,
                                                     0x283891e1ff34416f, 0xe191cfa6c4e4c8a2, 0xe902886da5fcd2cb,
                                                     0xdb6372846ae86a8a, 0xd4c8a22d182c975a, 0x61924ac8269404b9 };
  static float out[MOST];
  uint64_t state = random_state, hash;

  random_state = 1;
  for (size_t o = 0; o < N_OPERATIONS; o++) {
    hash = ATTN_HASH_START;
    for (size_t width = 1; width <= MOST_WIDTH; width++) {
      prepare (MOST_FRAMES, width, width % 2);
      operations[o].run (&attn_kernels_c, out);
      hash = attn_hash_floats (hash, out, MOST_FRAMES * width);
    }
    CHECK_MSG (hash == golden[o], "%s: 0x%016llx", operations[o].name, (unsigned long long) hash);
  }
  hash = ATTN_HASH_START;
  for (AttnActivation activation = ATTN_ACTIVATION_NONE; activation <= ATTN_ACTIVATION_SIGMOID; activation++) {
    prepare (1, 1, activation % 2);
    attn_kernels_c.activate (out, w.in, MOST, activation);
    hash = attn_hash_floats (hash, out, MOST);
  }
  CHECK_MSG (hash == golden[N_OPERATIONS], "activations: 0x%016llx", (unsigned long long) hash);
  random_state = state;
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (each_row_equals_plain_c);
  RUN (each_row_may_work_in_place);
  RUN (no_row_meets_a_denormal);
  RUN (norms_are_those_of_float64);
  RUN (softmax_is_that_of_float64);
  RUN (softmax_of_what_is_no_number_is_nan);
  RUN (softmax_takes_minus_infinity_as_impossible);
  RUN (sums_of_a_norm_run_in_sixteen_lanes_and_a_tree);
  RUN (convolve_is_one_fma_chain_oldest_tap_first_and_lowest_bin);
  RUN (frames_have_the_bits_of_every_machine);
  return check_done ();
}
