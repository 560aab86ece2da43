/*
 * The kernels of every instruction set against plain C, bit for bit, at every length around the unrolls, with guard
 * bands around the outputs. With --bench: the time of each. kernels-rows.c has the kernels over rows of scores.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "guarded.h"
#include "kernels-bench.h"

TEST (scale_equals_plain_c)
{
  const float factors[] = { random_float (2), -1e-3f, 1e-30f, 0x1p-126f, 1e30f, 0, NAN, INFINITY };

  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (size_t f = 0; f < sizeof factors / sizeof factors[0]; f++) {
      size_t n = lengths[l];
      float *in = random_values (n, f % 2 ? 1 : 1e-37f);
      Guarded expected = guarded (n), got = guarded (n);

      sprinkle (in, n);
      attn_kernels_c.scale (expected.values, in, factors[f], n);
      kernels->scale (got.values, in, factors[f], n);
      attn_free (in);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu values times %g", kernels->name, n, factors[f]);
    }
}

/* A product that would leave the normal range is 0; any other is not, up to the very limit. */
TEST (scale_loses_nothing_that_stays_normal)
{
  for (int round = 0; round < 100000; round++) {
    float factor = ldexpf (1 + fabsf (random_float (1)), -(int) random_between (1, 126)), in[3], out[3];
    float limit = attn_smallest_factor (factor);

    in[0] = nextafterf (limit, 0);
    in[1] = limit;
    in[2] = nextafterf (nextafterf (nextafterf (limit, 0), 0), 0);
    attn_kernels_c.scale (out, in, factor, 3);
    CHECK_MSG (out[0] == 0 && out[1] >= 0x1p-126f && (double) in[1] * factor >= 0x1p-126, "%a times %a", in[1], factor);
    CHECK_MSG ((double) in[2] * factor < 0x1p-126, "%a times %a", in[2], factor);
  }
}

TEST (scale_cleans_denormals_and_nans)
{
  static const uint32_t in_bits[] = { 1,          0x807fffff, 0x80000000, 0x7f800001,
                                      0xffc01234, 0x7f800000, 0x00800000, 0x3f800000 };
  static const uint32_t out_bits[] = { 0, 0, 0, 0x7fc00000, 0x7fc00000, 0x7f800000, 0x00800000, 0x3f800000 };
  float in[8], out[8];

  memcpy (in, in_bits, sizeof in);
  attn_kernels_c.scale (out, in, 1, 8);
  CHECK (memcmp (out, out_bits, sizeof out) == 0);
}

/* One value at the limit, a NaN or an infinity, at each place. */
TEST (all_below_sees_every_value)
{
  static const AttnPrecision precisions[] = { ATTN_PRECISION_F32, ATTN_PRECISION_F16, ATTN_PRECISION_BF16 };

  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (size_t i = 0; i < lengths[l]; i++) {
      float limit = attn_infinite_from (precisions[i % 3]), *values = random_values (lengths[l] + 1, 1);

      values[lengths[l]] = NAN; /* belongs to no frame */
      CHECK_MSG (kernels->all_below (values, lengths[l], limit), "%s, %zu values", kernels->name, lengths[l]);
      values[i] = i % 2 ? nextafterf (limit, 0) : -nextafterf (limit, 0);
      CHECK_MSG (kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      values[i] = i % 2 ? -limit : limit;
      CHECK_MSG (!kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      values[i] = NAN;
      CHECK_MSG (!kernels->all_below (values, lengths[l], limit), "%s, %zu of %zu", kernels->name, i, lengths[l]);
      attn_free (values);
    }
}

TEST (narrow_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (AttnPrecision precision = ATTN_PRECISION_F16; precision <= ATTN_PRECISION_BF16; precision++) {
      size_t n = lengths[l];
      float *in = random_values (n, l % 2 ? 1 : 1e5f);
      uint16_t expected[130], got[132];

      sprinkle (in, n);
      attn_kernels_c.scale (in, in, l % 3 ? 1 : 1e-6f, n); /* cleaned; some for the subnormals of f16 */
      memset (got, 0x55, sizeof got);
      attn_kernels_c.narrow (expected, in, n, precision);
      kernels->narrow (got, in, n, precision);
      attn_free (in);
      CHECK_MSG (memcmp (expected, got, n * sizeof *got) == 0 && got[n] == 0x5555, "%s, %zu values, precision %d",
                 kernels->name, n, precision);
    }
}

/* Round to nearest, ties to even: the neighbours of ties, and of both ends of the range. */
TEST (narrow_rounds_to_nearest_even)
{
  static const struct {
    float value;
    uint16_t f16, bf16;
  } cases[] = {
    { 1, 0x3c00, 0x3f80 },
    { 1 + 0x1p-11f, 0x3c00, 0x3f80 }, /* a tie in f16 */
    { 1 + 0x1.8p-10f, 0x3c02, 0x3f80 },
    { 1 + 0x1p-8f, 0x3c04, 0x3f80 }, /* a tie in bf16 */
    { 1 + 0x1.8p-7f, 0x3c0c, 0x3f82 },
    { -0x1.0101p0f, 0xbc04, 0xbf81 },
    { 65504, 0x7bff, 0x4780 },
    { 65519.996f, 0x7bff, 0x4780 },
    { 65520, 0x7c00, 0x4780 },
    { -1e6f, 0xfc00, 0xc974 },
    { 0x1p-24f, 0x0001, 0x3380 },
    { 0x1p-25f, 0x0000, 0x3300 }, /* a tie between 0 and the smallest subnormal */
    { 0x1.8p-24f, 0x0002, 0x33c0 },
    { 0x1.ffffp127f, 0x7c00, 0x7f80 },
    { 0x1.fefffep127f, 0x7c00, 0x7f7f },
    { INFINITY, 0x7c00, 0x7f80 },
    { NAN, 0x7e00, 0x7fc0 },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint16_t f16, bf16;

    attn_kernels_c.narrow (&f16, &cases[i].value, 1, ATTN_PRECISION_F16);
    attn_kernels_c.narrow (&bf16, &cases[i].value, 1, ATTN_PRECISION_BF16);
    CHECK_MSG (f16 == cases[i].f16 && bf16 == cases[i].bf16, "%a: 0x%04x and 0x%04x", cases[i].value, f16, bf16);
  }
}

/* Every 16-bit value comes back as it was. */
TEST (sixteen_bits_survive_float32)
{
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    float f16 = attn_float_from_f16 (bits), bf16 = attn_float_from_bf16 (bits);

    CHECK (f16 != f16 || attn_f16_from_float (f16) == bits);
    CHECK (bf16 != bf16 || attn_bf16_from_float (bf16) == bits);
  }
}

/* Every part of a tile, of heads one behind the other; what stands between them stays. */
TEST (store_equals_plain_c_and_writes_nothing_else)
{
  static const size_t widths[] = { 1, 7, 8, 15, 16, 17, 20, 32, 33, 64, 80 };
  enum { n_heads = 3, n_widths = sizeof widths / sizeof widths[0] };

  FOR_EACH_ROW (kernels)
  for (size_t w = 0; w < n_widths * n_widths; w++) {
    size_t dk = widths[w % n_widths], dv = widths[w / n_widths], lane = random_between (0, 15);
    size_t n_frames = w % 3 == 0 ? ATTN_LANES : (size_t) random_between (1, 15);
    size_t stride = n_heads * (dk + dv) + random_between (0, 5), n_key = dk * ATTN_LANES + 5, n_value = dv * ATTN_LANES;
    float *in = random_values (ATTN_LANES * stride, 1);
    Guarded keys[2], values[2];

    lane = lane + n_frames > ATTN_LANES ? ATTN_LANES - n_frames : lane;
    sprinkle (in, ATTN_LANES * stride);
    for (int i = 0; i < 2; i++) {
      AttnTiles tiles = { .key_stride = n_key, .value_stride = n_value, .n_heads = n_heads, .dk = dk, .dv = dv };

      keys[i] = guarded (n_heads * n_key);
      values[i] = guarded (n_heads * n_value);
      tiles.keys = keys[i].values;
      tiles.values = values[i].values;
      (i == 0 ? &attn_kernels_c : kernels)->store (&tiles, lane, in, in + n_heads * dk, stride, n_frames);
    }
    attn_free (in);
    CHECK_MSG (same_and_guarded (&keys[0], &keys[1]) && same_and_guarded (&values[0], &values[1]),
               "%s, %zu frames of %zu and %zu from lane %zu on", kernels->name, n_frames, dk, dv, lane);
  }
}

/* Frame i, dimension d of head h: row d, column lane + i of its keys; row lane + i, column d of its values. */
TEST (store_puts_each_value_in_its_place)
{
  enum { n_heads = 2, dk = 3, dv = 2, stride = n_heads * (dk + dv), n_frames = 4, lane = 9 };
  float in[n_frames * stride], keys[n_heads * dk * 16] = { 0 }, values[n_heads * 16 * dv] = { 0 };
  AttnTiles tiles = { keys, values, dk * 16, 16 * dv, n_heads, dk, dv };

  for (int i = 0; i < n_frames * stride; i++)
    in[i] = 1 + i;
  attn_kernels_c.store (&tiles, lane, in, in + n_heads * dk, stride, n_frames);
  for (int h = 0; h < n_heads; h++)
    for (int i = 0; i < 16; i++) {
      bool is_written = i >= lane && i < lane + n_frames;
      const float *frame = in + (is_written ? i - lane : 0) * stride;

      for (int d = 0; d < dk; d++)
        CHECK (keys[(h * dk + d) * 16 + i] == (is_written ? frame[h * dk + d] : 0));
      for (int d = 0; d < dv; d++)
        CHECK (values[(h * 16 + i) * dv + d] == (is_written ? frame[n_heads * dk + h * dv + d] : 0));
    }
}

static AttnProjection
random_projection (size_t n_outputs, size_t n_inputs, AttnPrecision precision)
{
  size_t panel = attn_panel (n_outputs), n_padded = attn_round_up (n_outputs, panel);
  void *weight = random_stored (n_padded * attn_stored_rows (n_inputs, precision), precision, false);
  float *start = random_values (n_padded, 1);

  for (size_t i = 0; i < n_padded; i++)
    start[i] = i % 3 == 0 ? ATTN_GUARD : start[i];
  return (AttnProjection){ .n_inputs = n_inputs,
                           .ahead = random_between (0, 1) << 13,
                           .n_outputs = n_outputs,
                           .panel = panel,
                           .precision = precision,
                           .weight = weight,
                           .start = start };
}

static void
free_projection (AttnProjection *projection)
{
  attn_free (projection->weight);
  attn_free (projection->start);
}

TEST (project_equals_plain_c)
{
  static const size_t n_frames[] = { 1, 2, 3, 6, 16, 17 };

  FOR_EACH_ROW (kernels)
  for (size_t o = 0; o < N_LENGTHS; o++)
    for (size_t i = 0; i < N_LENGTHS; i++)
      for (size_t f = 0; f < sizeof n_frames / sizeof n_frames[0]; f++) {
        AttnPrecision precision = random_between (0, 2);
        AttnProjection projection = random_projection (lengths[o], lengths[i], precision);
        float *in = random_values (n_frames[f] * lengths[i], 1);
        Guarded expected = guarded (n_frames[f] * lengths[o]), got = guarded (n_frames[f] * lengths[o]);

        if (random_between (0, 2) == 0)
          sprinkle (in, n_frames[f] * lengths[i]);
        attn_kernels_c.project (expected.values, lengths[o], in, lengths[i], n_frames[f], &projection);
        kernels->project (got.values, lengths[o], in, lengths[i], n_frames[f], &projection);
        attn_free (in);
        free_projection (&projection);
        CHECK_MSG (same_and_guarded (&expected, &got), "%s, precision %d, %zu frames of %zu to %zu", kernels->name,
                   precision, n_frames[f], lengths[i], lengths[o]);
      }
}

/* Panels of every width, several of them, and more inputs than one pass takes. */
TEST (project_equals_plain_c_over_many_panels)
{
  static const size_t outputs[] = { 192, 240, 320, 400, 432, 448, 768, 896, 960, 1040 };

  FOR_EACH_ROW (kernels)
  for (size_t o = 0; o < sizeof outputs / sizeof outputs[0]; o++)
    for (size_t n_frames = 1; n_frames <= 16; n_frames += 15) {
      AttnProjection projection = random_projection (outputs[o], 300, o % 3);
      float *in = random_values (n_frames * 300, 1);
      Guarded expected = guarded (n_frames * outputs[o]), got = guarded (n_frames * outputs[o]);

      attn_kernels_c.project (expected.values, outputs[o], in, 300, n_frames, &projection);
      kernels->project (got.values, outputs[o], in, 300, n_frames, &projection);
      attn_free (in);
      free_projection (&projection);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu frames to %zu", kernels->name, n_frames, outputs[o]);
    }
}

TEST (panels_waste_little)
{
  for (size_t n = 1; n <= 4096; n++) {
    size_t panel = attn_panel (n), padded = attn_round_up (n, panel), vectors = attn_round_up (n, ATTN_LANES);

    CHECK_MSG (panel % ATTN_LANES == 0 && panel <= ATTN_MAX_PANEL, "%zu outputs in panels of %zu", n, panel);
    CHECK_MSG (padded - vectors <= vectors / 5, "%zu outputs padded to %zu", n, padded);
  }
}

/* The order of design: one fma chain over the inputs, ascending, from the bias and the guard. */
TEST (project_is_one_fma_chain_from_the_bias)
{
  enum { inputs = 37, outputs = 21 };
  AttnProjection projection = random_projection (outputs, inputs, ATTN_PRECISION_F32);
  float *in = random_values (inputs, 1e-25f), out[outputs];
  size_t panel = attn_panel (outputs);

  attn_kernels_c.project (out, outputs, in, inputs, 1, &projection);
  for (size_t o = 0; o < outputs; o++) {
    float acc = projection.start[o];

    for (size_t i = 0; i < inputs; i++)
      acc = fmaf (in[i], ((float *) projection.weight)[(o / panel * inputs + i) * panel + o % panel], acc);
    CHECK_MSG (out[o] == acc - ATTN_GUARD, "output %zu", o);
  }
  attn_free (in);
  free_projection (&projection);
}

TEST (rotate_equals_plain_c)
{
  FOR_EACH_ROW (kernels)
  for (size_t l = 0; l < N_LENGTHS; l++)
    for (AttnRopeLayout layout = ATTN_ROPE_HALF; layout <= ATTN_ROPE_INTERLEAVED; layout++) {
      size_t n_pairs = lengths[l], n = 2 * n_pairs + 3; /* values behind the pairs are not touched */
      float *in = random_values (n, 1), *cosines = random_values (n_pairs, 1), *sines = random_values (n_pairs, 1);
      Guarded expected = guarded (n), got = guarded (n);

      if (random_between (0, 1) == 0)
        sprinkle (in, n);
      memcpy (expected.values, in, n * sizeof *in);
      memcpy (got.values, in, n * sizeof *in);
      attn_kernels_c.rotate (expected.values, cosines, sines, n_pairs, layout);
      kernels->rotate (got.values, cosines, sines, n_pairs, layout);
      CHECK_MSG (memcmp (got.values + 2 * n_pairs, in + 2 * n_pairs, 3 * sizeof *in) == 0, "%s, %zu pairs",
                 kernels->name, n_pairs);
      attn_free (in);
      attn_free (cosines);
      attn_free (sines);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu pairs, layout %d", kernels->name, n_pairs, layout);
    }
}

TEST (rotate_rounds_the_product_with_the_cosine_first)
{
  enum { n_pairs = 19 };
  float *in = random_values (2 * n_pairs, 1e-25f), *c = random_values (n_pairs, 1), *s = random_values (n_pairs, 1);
  float half[2 * n_pairs], interleaved[2 * n_pairs];

  for (int i = 0; i < n_pairs; i++) {
    half[i] = interleaved[2 * i] = in[2 * i];
    half[i + n_pairs] = interleaved[2 * i + 1] = in[2 * i + 1];
  }
  attn_kernels_c.rotate (half, c, s, n_pairs, ATTN_ROPE_HALF);
  attn_kernels_c.rotate (interleaved, c, s, n_pairs, ATTN_ROPE_INTERLEAVED);
  for (int i = 0; i < n_pairs; i++) {
    float x = in[2 * i], y = in[2 * i + 1];
    float xc = fmaf (x, c[i], ATTN_GUARD), yc = fmaf (y, c[i], ATTN_GUARD);

    CHECK_MSG (half[i] == fmaf (-y, s[i], xc) - ATTN_GUARD, "pair %d", i);
    CHECK_MSG (half[i + n_pairs] == fmaf (x, s[i], yc) - ATTN_GUARD, "pair %d", i);
    CHECK_MSG (half[i] == interleaved[2 * i] && half[i + n_pairs] == interleaved[2 * i + 1], "pair %d", i);
  }
  attn_free (in);
  attn_free (c);
  attn_free (s);
}

/* Biases begin anywhere in their table. */
TEST (add_biases_equals_plain_c_at_any_alignment)
{
  FOR_EACH_ROW (kernels)
  for (size_t n_tiles = 0; n_tiles < 10; n_tiles++)
    for (size_t offset = 0; offset < ATTN_LANES; offset++) {
      size_t n = n_tiles * ATTN_LANES;
      float *scores = random_values (n + 1, 3), *biases = random_values (n + ATTN_LANES, 3);
      Guarded expected = guarded (n), got = guarded (n);

      memcpy (expected.values, scores, n * sizeof *scores);
      memcpy (got.values, scores, n * sizeof *scores);
      attn_kernels_c.add_biases (expected.values, biases + offset, n_tiles);
      kernels->add_biases (got.values, biases + offset, n_tiles);
      for (size_t i = 0; i < n; i++)
        CHECK_MSG (got.values[i] == scores[i] + biases[offset + i], "%s, score %zu", kernels->name, i);
      attn_free (scores);
      attn_free (biases);
      CHECK_MSG (same_and_guarded (&expected, &got), "%s, %zu tiles, offset %zu", kernels->name, n_tiles, offset);
    }
}

TEST (environment_picks_a_row_or_refuses)
{
  const AttnKernels *best;
  AttnMachine machine;
  AttnError error;

  unsetenv ("ATTN_CPU");
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK);
  best = machine.kernels;
  setenv ("ATTN_CPU", "c", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK && machine.kernels == &attn_kernels_c);
  setenv ("ATTN_CPU", "", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_OK && machine.kernels == best);
  setenv ("ATTN_CPU", "mmx", 1);
  CHECK (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, &error) == ATTN_ERROR_CONFIG);
  CHECK_MSG (strstr (error.message, "mmx") && strstr (error.message, best->name), "%s", error.message);
  unsetenv ("ATTN_CPU");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  if (check_only != NULL && strcmp (check_only, "--bench") == 0)
    return kernels_bench (), 0;
  random_seed ();
  FOR_EACH_ROW (kernels)
  printf ("# kernels: %s\n", kernels->name);
  RUN (scale_equals_plain_c);
  RUN (scale_loses_nothing_that_stays_normal);
  RUN (scale_cleans_denormals_and_nans);
  RUN (all_below_sees_every_value);
  RUN (narrow_equals_plain_c);
  RUN (narrow_rounds_to_nearest_even);
  RUN (sixteen_bits_survive_float32);
  RUN (store_equals_plain_c_and_writes_nothing_else);
  RUN (store_puts_each_value_in_its_place);
  RUN (panels_waste_little);
  RUN (project_equals_plain_c);
  RUN (project_equals_plain_c_over_many_panels);
  RUN (project_is_one_fma_chain_from_the_bias);
  RUN (rotate_equals_plain_c);
  RUN (rotate_rounds_the_product_with_the_cosine_first);
  RUN (add_biases_equals_plain_c_at_any_alignment);
  RUN (environment_picks_a_row_or_refuses);
  return check_done ();
}
