/*
 * Positions: RoPE, ALiBi and relative bias, against constants of 150 digits (tests/golden/position_tables.py) and at
 * frames that no float can number.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "golden/position/tables.h"
#include "layers.h"
#include "reference.h"

#define LENGTH(array) (sizeof (array) / sizeof (array)[0])

/* ---- constants ---- */

TEST (alibi_slopes_are_the_published_ones_to_the_bit)
{
  for (size_t i = 0; i < LENGTH (golden_n_heads); i++)
    for (size_t head = 0; head < golden_n_heads[i]; head++) {
      float slope = attn_alibi_slope (head, golden_n_heads[i]);

      CHECK_MSG (memcmp (&slope, &golden_slopes[i][head], sizeof slope) == 0, "head %zu of %u: %a", head,
                 golden_n_heads[i], slope);
    }
}

TEST (rope_turns_are_right_to_the_last_of_128_bits)
{
  for (size_t i = 0; i < LENGTH (golden_ropes); i++) {
    size_t n_pairs = golden_ropes[i].n / 2;
    AttnTurns turns[64];

    attn_rope_turns (turns, golden_ropes[i].base, n_pairs);
    for (size_t pair = 0; pair < n_pairs; pair++) {
      const uint64_t *golden = golden_ropes[i].turns[pair];

      CHECK_MSG (turns[pair].high == golden[0] && turns[pair].low == golden[1], "base %g, pair %zu of %zu: %llx %llx",
                 golden_ropes[i].base, pair, n_pairs, (unsigned long long) turns[pair].high,
                 (unsigned long long) turns[pair].low);
    }
  }
}

/* Each turn is off by at most half a unit of 2^-128, 2^64 times: half a unit of a phase, and rounding down. */
TEST (rope_phases_are_right_at_any_frame)
{
  AttnTurns turns[32];

  attn_rope_turns (turns, 10000, 32);
  for (size_t i = 0; i < LENGTH (golden_far_frames); i++)
    for (size_t pair = 0; pair < 32; pair++) {
      uint64_t phase = attn_rope_phase (turns[pair], golden_far_frames[i]);

      CHECK_MSG (phase - golden_far_phases[i][pair] + 1 <= 2, "frame %llu, pair %zu: %llx",
                 (unsigned long long) golden_far_frames[i], pair, (unsigned long long) phase);
    }
}

/* |got - expected| in units of the last place of `expected`. */
static double
units (float got, long double expected)
{
  return (double) (fabsl (got - expected) / ldexpl (1, ilogbl (expected) - 23));
}

/* 2^-40 is the error of the two polynomials and their evaluation in double; long double holds the phase to 2^-64. */
TEST (sine_and_cosine_are_rounded_once)
{
  const long double turn = 6.283185307179586476925286766559005768L;
  double worst = 0;

  for (uint64_t i = 0; i < 2000000; i++) {
    /* Also near the quarters, where one of them is small: 2^-i turns off. */
    uint64_t phase = i % 2 ? random_bits () : (i / 2 << 62) + (random_bits () >> i / 8 % 62) * (i & 8 ? 1 : -1);
    uint64_t quarter = (phase + (UINT64_C (1) << 61)) >> 62;
    long double rest = (int64_t) (phase - (quarter << 62));
    long double s = sinl (turn * rest * 0x1p-64L), c = cosl (turn * rest * 0x1p-64L), swap;
    float cosine, sine;

    for (uint64_t q = 0; q < quarter; q++, swap = s, s = c, c = -swap)
      ;
    attn_rope_angle (phase, &cosine, &sine);
    if (c != 0)
      worst = fmax (worst, units (cosine, c));
    if (s != 0)
      worst = fmax (worst, units (sine, s));
    CHECK_MSG (worst <= 0.5001, "phase %llx: cosine %a, sine %a, %.4f units", (unsigned long long) phase, cosine, sine,
               worst);
  }
  printf ("# largest error %.6f units in the last place\n", worst);
}

/* The same arithmetic in Python gives the same bits. */
TEST (sine_and_cosine_have_the_same_bits_everywhere)
{
  uint64_t state = random_state, hash = 0xcbf29ce484222325;

  random_state = 0;
  for (int i = 0; i < 65536; i++) {
    float angle[2];
    uint32_t bits[2];

    attn_rope_angle (random_bits (), &angle[0], &angle[1]);
    memcpy (bits, angle, sizeof bits);
    hash = (hash ^ bits[0]) * 0x100000001b3;
    hash = (hash ^ bits[1]) * 0x100000001b3;
  }
  random_state = state;
  CHECK_MSG (hash == golden_angles_hash, "%llx", (unsigned long long) hash);
}

TEST (quarter_turns_are_exact)
{
  static const float cosines[] = { 1, 0, -1, 0 }, sines[] = { 0, 1, 0, -1 };

  for (uint64_t quarter = 0; quarter < 4; quarter++) {
    float cosine, sine;

    attn_rope_angle (quarter << 62, &cosine, &sine);
    CHECK_MSG (cosine == cosines[quarter] && sine == sines[quarter], "quarter %d: %a, %a", (int) quarter, cosine, sine);
  }
}

/* ---- layers ---- */

static AttnLayer *
position_layer (AttnConfig config, const AttnModel *model)
{
  AttnLayer *layer;
  AttnError error;

  if (attn_layer_new (&config, model, &layer, &error) != ATTN_OK) {
    printf ("Bail out! layer: %s\n", error.message);
    exit (1);
  }
  return layer;
}

static AttnConfig
rope_config (uint32_t n_features, uint32_t n_heads)
{
  AttnConfig config = attn_config_default ();

  config.n_features = n_features;
  config.n_heads = n_heads;
  config.position = ATTN_POSITION_ROPE;
  return config;
}

static AttnConfig
alibi_config (uint32_t n_heads, uint32_t window, uint32_t look_ahead, uint32_t n_sinks)
{
  AttnConfig config = rope_config (n_heads, n_heads);

  config.position = ATTN_POSITION_ALIBI;
  config.window = window;
  config.look_ahead = look_ahead;
  config.n_sinks = n_sinks;
  return config;
}

TEST (rotated_values_are_the_first_of_the_head)
{
  enum { n = 40, d = 12 };
  AttnConfig config = rope_config (d, 2), plain = config;
  float frames[n * d] = { 0 }, rotated[n * d], expected[n * d];
  AttnLayer *layer, *other;

  config.rope_dimensions = 4;
  plain.position = ATTN_POSITION_NONE;
  for (int i = 0; i < n * d; i++)
    frames[i] = i % 6 < 4 ? 0 : random_float (2);
  layer = position_layer (config, NULL);
  other = position_layer (plain, NULL);
  MUST (attn_forward (layer, frames, NULL, n, 0, rotated, NULL, NULL));
  MUST (attn_forward (other, frames, NULL, n, 0, expected, NULL, NULL));
  CHECK (memcmp (rotated, expected, sizeof rotated) == 0);
  frames[3] = 1;
  frames[15] = 1; /* frame 1, its fourth value: turns against that of frame 0 */
  MUST (attn_forward (layer, frames, NULL, n, 0, rotated, NULL, NULL));
  MUST (attn_forward (other, frames, NULL, n, 0, expected, NULL, NULL));
  CHECK (memcmp (rotated, expected, sizeof rotated) != 0);
  attn_layer_free (layer);
  attn_layer_free (other);
}

/* The largest difference, relative to the largest value expected; a NaN stays. */
static double
relative_error (const float *out, const Bounded *expected, size_t n)
{
  double worst = 0, largest = 0;

  for (size_t i = 0; i < n; i++) {
    double difference = fabs (out[i] - expected[i].value), magnitude = fabs (expected[i].value);

    worst = difference <= worst ? worst : difference;
    largest = magnitude > largest ? magnitude : largest;
  }
  return worst / largest;
}

/* Frame numbers are only ever subtracted. */
TEST (rope_never_ages)
{
  enum { n = 200, d = 128 };
  static const uint64_t firsts[] = { 0, 1000000, 1000000000, UINT64_C (1000000000000000), UINT64_C (1) << 63 };
  AttnConfig config = rope_config (d, 2);
  AttnLayer *layer = position_layer (config, NULL);
  const AttnSizes *sizes = &attn_layer_first (layer)->sizes;
  float *frames = malloc (n * d * sizeof *frames), *out = malloc (n * d * sizeof *out);
  Bounded *expected = calloc (n * d, sizeof *expected);
  Bounded *weights = calloc ((size_t) n * sizes->n_heads * sizes->span, sizeof *weights);
  double errors[LENGTH (firsts)];

  random_fill (frames, n * d, 2);
  reference_forward (sizes, NULL, 1 / sqrt (sizes->dk), 0, frames, NULL, n, 0, expected, weights);
  for (size_t f = 0; f < LENGTH (firsts); f++) {
    MUST (attn_forward (layer, frames, NULL, n, firsts[f], out, NULL, NULL));
    errors[f] = relative_error (out, expected, n * d);
    printf ("# first frame %llu: %.3g of the largest output\n", (unsigned long long) firsts[f], errors[f]);
  }
  free (frames);
  free (out);
  free (expected);
  free (weights);
  attn_layer_free (layer);
  for (size_t f = 0; f < LENGTH (firsts); f++) {
    CHECK_MSG (errors[f] < 1e-6, "first frame %llu: %g", (unsigned long long) firsts[f], errors[f]);
    CHECK_MSG (errors[f] < 2 * errors[0], "first frame %llu: %g", (unsigned long long) firsts[f], errors[f]);
  }
}

/* scale q . R (-p) k of one head of 64 values, for the sink k at frame 0 and q at golden_far_frames[i]. */
static double
far_score (const float *q, const float *k, size_t i)
{
  double score = 0;

  for (size_t pair = 0; pair < 32; pair++) {
    double angle = (double) (int64_t) golden_far_phases[i][pair] * 0x1p-64 * 6.283185307179586;
    double x = cos (angle) * k[pair] + sin (angle) * k[pair + 32],
           y = cos (angle) * k[pair + 32] - sin (angle) * k[pair];

    score += q[pair] * x + q[pair + 32] * y;
  }
  return score / 8;
}

/* One of the two frames in view is 10^15 frames away: an angle that is only exact within a window would be wrong. */
TEST (sink_is_seen_at_its_exact_angle_after_any_time)
{
  /* A float32 chain of 64, and a logarithm of float32 weights; rounding turns to 64 bits gives 1e-4 at 10^15. */
  const double tolerance = 2e-6;
  AttnConfig config = rope_config (64, 1);
  AttnLayer *layer;
  AttnStream *stream;
  float frames[2][64], out[64], weights[2];

  config.window = config.n_sinks = 1;
  layer = position_layer (config, NULL);
  MUST (attn_stream_new (layer, &stream, NULL));
  random_fill (frames[0], 128, 1);
  for (size_t i = 0; golden_far_frames[i] != UINT64_MAX; i++) {
    double own = 0, expected = far_score (frames[1], frames[0], i), got;

    for (int d = 0; d < 64; d++)
      own += frames[1][d] * frames[1][d] / 8;
    MUST (attn_stream_reset (stream, 0, NULL));
    attn_stream_push (stream, frames[0], 1, out, NULL);
    attn_stream_skip (stream, golden_far_frames[i] - 1, NULL, NULL);
    CHECK (attn_stream_push (stream, frames[1], 1, out, weights) == 1);
    got = own + log (weights[0] / weights[1]);
    CHECK_MSG (fabs (got - expected) < tolerance, "%llu frames away: score %.9g, not %.9g",
               (unsigned long long) golden_far_frames[i], got, expected);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Equal scores: the weights are those of the slopes alone. */
TEST (alibi_counts_distance_in_both_directions)
{
  enum { heads = 6, window = 20, span = 2 * window - 1, n = 60, t = 30 };
  AttnConfig config = alibi_config (heads, window, window - 1, 0);
  AttnLayer *layer = position_layer (config, NULL);
  float frames[n * heads] = { 0 }, out[n * heads], weights[n][heads][span];

  MUST (attn_forward (layer, frames, NULL, n, 0, out, weights[0][0], NULL));
  for (int h = 0; h < heads; h++)
    for (int distance = 0; distance < window; distance++) {
      const float *here = &weights[t][h][window - 1];
      double expected = exp (-attn_alibi_slope (h, heads) * (double) distance);

      CHECK_MSG (here[distance] == here[-distance], "head %d, distance %d", h, distance);
      CHECK_MSG (fabs (here[distance] / here[0] - expected) < 1e-6, "head %d, distance %d: %g, not %g", h, distance,
                 here[distance] / here[0], expected);
    }
  attn_layer_free (layer);
}

TEST (alibi_counts_the_true_distance_of_a_sink)
{
  enum { heads = 8, window = 3, sinks = 19, span = sinks + window, n = 60 };
  AttnConfig config = alibi_config (heads, window, 0, sinks);
  AttnLayer *layer = position_layer (config, NULL);
  float frames[n * heads] = { 0 }, out[n * heads], weights[n][heads][span];

  MUST (attn_forward (layer, frames, NULL, n, 0, out, weights[0][0], NULL));
  for (int t = 0; t < n; t++)
    for (int h = 0; h < heads; h++)
      for (int sink = 0; sink < sinks && sink <= t - window; sink++) {
        double expected = exp (-attn_alibi_slope (h, heads) * (double) (t - sink));
        float ratio = weights[t][h][sink] / weights[t][h][span - 1];

        CHECK_MSG (fabs (ratio - expected) < 1e-6, "frame %d, head %d, sink %d: %g, not %g", t, h, sink, ratio,
                   expected);
      }
  attn_layer_free (layer);
}

/* Queries are 0, and so are the scores without the bias: `heads` heads on one value and key. */
static AttnModel
mute_model (uint32_t heads, uint32_t n_biases)
{
  AttnModel model = { .name = (char *) "mute" };

  model.query = random_linear (heads, 2, false, 0);
  model.key = random_linear (1, 2, false, 1);
  model.value = random_linear (1, 2, false, 1);
  model.relative_bias = (AttnRelativeBias){ heads, n_biases, calloc ((size_t) heads * n_biases, sizeof (float)) };
  return model;
}

static void
mute_model_clear (AttnModel *model)
{
  free_linear (&model->query);
  free_linear (&model->key);
  free_linear (&model->value);
  free (model->relative_bias.values);
}

static AttnConfig
mute_config (uint32_t heads, uint32_t window, uint32_t look_ahead, uint32_t n_sinks)
{
  AttnConfig config = alibi_config (heads, window, look_ahead, n_sinks);

  config.n_features = 0;
  config.n_kv_heads = 1;
  config.position = ATTN_POSITION_RELATIVE;
  return config;
}

/* The weights from the biases alone: slot [span] of frame t of n. */
static double
mute_weight (const AttnSizes *s, const float *bias, size_t n, uint64_t t, size_t slot)
{
  double sum = 0, exps[256] = { 0 };

  for (uint64_t j = 0; j < n; j++)
    if (reference_attends (s, t, j)) {
      size_t place = reference_slot (s, t, j);

      sum += exps[place] = place < s->n_sinks ? 1 : exp (bias[place - s->n_sinks]);
    }
  return exps[slot] / sum;
}

TEST (relative_bias_meets_its_frame)
{
  enum { heads = 3, window = 21, look_ahead = 5, sinks = 18, n = 90, span = sinks + window + look_ahead };
  AttnModel model = mute_model (heads, window + look_ahead);
  AttnLayer *layer;
  float frames[n * 2], out[n * heads], weights[n][heads][span];

  random_fill (model.relative_bias.values, heads * (window + look_ahead), 3);
  random_fill (frames, n * 2, 1);
  layer = position_layer (mute_config (heads, window, look_ahead, sinks), &model);
  MUST (attn_forward (layer, frames, NULL, n, 0, out, weights[0][0], NULL));
  for (int t = 0; t < n; t++)
    for (int h = 0; h < heads; h++)
      for (int slot = 0; slot < span; slot++) {
        const float *bias = model.relative_bias.values + h * (window + look_ahead);
        double expected = mute_weight (&attn_layer_first (layer)->sizes, bias, n, t, slot);

        CHECK_MSG (fabs (weights[t][h][slot] - expected) < 1e-6, "frame %d, head %d, slot %d: %g, not %g", t, h, slot,
                   weights[t][h][slot], expected);
      }
  attn_layer_free (layer);
  mute_model_clear (&model);
}

/* torch.finfo.min, with which people mask, or max: times log2 (e) it must not become infinite, nor the weights NaN. */
TEST (largest_bias_masks_and_never_gives_nan)
{
  enum { window = 4, n = 20 };
  AttnModel model = mute_model (3, window);
  float *bias = model.relative_bias.values, frames[n * 2], out[n * 3], weights[n][3][window];
  AttnLayer *layer;

  for (int i = 0; i < window; i++) {
    bias[i] = i == 1 ? 0 : -FLT_MAX; /* the first head sees one frame only, the second sees none better than another */
    bias[window + i] = -FLT_MAX;
    bias[2 * window + i] = i == 2 ? FLT_MAX : 0; /* and the third one alone again */
  }
  random_fill (frames, n * 2, 1);
  layer = position_layer (mute_config (3, window, 0, 0), &model);
  MUST (attn_forward (layer, frames, NULL, n, 0, out, weights[0][0], NULL));
  for (int t = window; t < n; t++)
    for (int i = 0; i < window; i++)
      CHECK_MSG (weights[t][0][i] == (i == 1) && weights[t][1][i] == 0.25f && weights[t][2][i] == (i == 2),
                 "frame %d, slot %d: %g, %g, %g", t, i, weights[t][0][i], weights[t][1][i], weights[t][2][i]);
  attn_layer_free (layer);
  mute_model_clear (&model);
}

TEST (biases_do_not_depend_on_the_callers_float_mode)
{
  enum { heads = 12, window = 300 };
  AttnConfig config = alibi_config (heads, window, 7, 0);
  AttnModel model = mute_model (heads, window + 7);

  random_fill (model.relative_bias.values, heads * (window + 7), 3);
  for (int relative = 0; relative < 2; relative++) {
    AttnLayer *nearest, *upward;
    bool same;

    if (relative)
      config = mute_config (heads, window, 7, 0);
    nearest = position_layer (config, relative ? &model : NULL);
    fesetround (FE_UPWARD);
    upward = position_layer (config, relative ? &model : NULL);
    fesetround (FE_TONEAREST);
    same = memcmp (attn_layer_first (nearest)->positions.biases, attn_layer_first (upward)->positions.biases,
                   heads * attn_layer_first (nearest)->positions.bias_stride * sizeof (float))
           == 0;
    attn_layer_free (nearest);
    attn_layer_free (upward);
    CHECK_MSG (same, "relative %d", relative);
  }
  mute_model_clear (&model);
}

/* ---- the table of biases ---- */

static const AttnLayer *watched;
static const AttnKernels *watched_kernels;
static size_t n_read, n_beyond;

/* Counts readings beyond the part of one head, where that of the next one begins. */
static void
watch_biases (float *scores, const float *biases, size_t n_tiles)
{
  const AttnPositions *positions = &attn_layer_first (watched)->positions;
  size_t at = (size_t) (biases - positions->biases) % positions->bias_stride;

  n_read++;
  n_beyond += at + n_tiles * ATTN_LANES > positions->bias_stride;
  watched_kernels->add_biases (scores, biases, n_tiles);
}

/* Also where frames come from the middle of a tile on: a block of them attends to more tiles than each of them does. */
TEST (a_frame_reads_the_biases_of_its_own_head_and_window)
{
  enum { heads = 2, look_ahead = 3, n_before = 5, n = 16 };
  float frames[n * 2], out[n * heads];

  random_fill (frames, n * 2, 1);
  for (uint32_t window = 1; window <= 40; window++) {
    AttnModel model = mute_model (heads, window + look_ahead);
    AttnLayer *layer = position_layer (mute_config (heads, window, look_ahead, 0), &model);
    AttnKernels kernels = *layer->machine.kernels;
    AttnStream *stream;

    watched = layer;
    watched_kernels = layer->machine.kernels;
    kernels.add_biases = watch_biases;
    layer->machine.kernels = &kernels;
    n_read = n_beyond = 0;
    MUST (attn_stream_new (layer, &stream, NULL));
    attn_stream_push (stream, frames, n_before, out, NULL);
    for (size_t i = 0; i < 5; i++)
      attn_stream_push (stream, frames, n, out, NULL);
    attn_stream_free (stream);
    attn_layer_free (layer);
    mute_model_clear (&model);
    CHECK_MSG (n_read >= 5 * n * heads && n_beyond == 0, "a window of %u: %zu of %zu", window, n_beyond, n_read);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (alibi_slopes_are_the_published_ones_to_the_bit);
  RUN (rope_turns_are_right_to_the_last_of_128_bits);
  RUN (rope_phases_are_right_at_any_frame);
  RUN (sine_and_cosine_are_rounded_once);
  RUN (sine_and_cosine_have_the_same_bits_everywhere);
  RUN (quarter_turns_are_exact);
  RUN (rotated_values_are_the_first_of_the_head);
  RUN (rope_never_ages);
  RUN (sink_is_seen_at_its_exact_angle_after_any_time);
  RUN (alibi_counts_distance_in_both_directions);
  RUN (alibi_counts_the_true_distance_of_a_sink);
  RUN (relative_bias_meets_its_frame);
  RUN (largest_bias_masks_and_never_gives_nan);
  RUN (biases_do_not_depend_on_the_callers_float_mode);
  RUN (a_frame_reads_the_biases_of_its_own_head_and_window);
  return check_done ();
}
