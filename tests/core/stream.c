/* A stream must equal attn_forward () to the bit, however it is fed.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fenv.h>

#include "check.h"
#include "base/float_mode.h"
#include "sequences.h"

#define N_RANDOM random_rounds (1000) /* configurations per property */

static bool
stream_equals_forward (const AttnLayer *layer, AttnStream *stream, size_t n, bool with_absent)
{
  static const size_t ones[] = { 1 }, uneven[] = { 3, 1, 7 }, tiles[] = { 16 }, blocks[] = { 64 },
                      all[] = { SIZE_MAX / 2 };
  static const struct {
    const size_t *sizes;
    size_t n;
  } feeds[] = { { ones, 1 }, { uneven, 3 }, { tiles, 1 }, { blocks, 1 }, { all, 1 }, { NULL, 0 } };
  Sequence whole = random_sequence (layer, n, with_absent), pieces = twin (layer, &whole);
  bool equal =
      attn_forward (layer, whole.frames, whole.present, n, whole.first, whole.out, whole.weights, NULL) == ATTN_OK;

  for (size_t i = 0; equal && i < sizeof feeds / sizeof feeds[0]; i++)
    equal =
        stream_in_pieces (stream, layer, &pieces, feeds[i].sizes, feeds[i].n) && same_outputs (layer, &whole, &pieces);
  twin_clear (&pieces);
  sequence_clear (&whole);
  return equal;
}

static void
check_stream_equals_forward (bool with_absent)
{
  for (int i = 0; i < N_RANDOM; i++) {
    uint64_t state = random_state;
    RandomLayer r = random_layer ();
    AttnStream *stream;
    bool equal = attn_stream_new (r.layer, &stream, NULL) == ATTN_OK;

    if (equal && random_between (0, 3) != 0)
      stream->work.shares_all = true; /* let its threads, if it has any, share even work that is not worth it */
    /* Twice, so that the second stream meets the remains of the first. */
    equal = equal && stream_equals_forward (r.layer, stream, random_between (0, 200), with_absent)
            && stream_equals_forward (r.layer, stream, random_between (0, 200), with_absent);
    attn_stream_free (stream);
    random_layer_clear (&r);
    CHECK_MSG (equal, "configuration %d, state %llu", i, (unsigned long long) state);
  }
}

TEST (stream_equals_forward_to_the_bit)
{
  check_stream_equals_forward (false);
}

TEST (stream_with_absent_frames_equals_forward_to_the_bit)
{
  check_stream_equals_forward (true);
}

TEST (forward_is_within_the_derived_bound_of_float64)
{
  for (int i = 0; i < N_RANDOM; i++) {
    RandomLayer r = random_layer ();
    const AttnSizes *sizes = &attn_layer_first (r.layer)->sizes;
    Sequence s = random_sequence (r.layer, random_between (1, 60), random_between (0, 1));
    Bounded *out = calloc (s.n * sizes->n_outputs, sizeof *out);
    Bounded *weights = calloc (s.n * n_weights (r.layer), sizeof *weights);
    long wrong_out, wrong_weight;

    MUST (attn_forward (r.layer, s.frames, s.present, s.n, s.first, s.out, s.weights, NULL));
    reference_forward (sizes, r.model, random_layer_scale (&r), r.config.softcap, s.frames, s.present, s.n, s.first,
                       out, weights);
    wrong_out = first_beyond_bound (s.out, out, s.n * sizes->n_outputs);
    wrong_weight = first_beyond_bound (s.weights, weights, s.n * n_weights (r.layer));
    free (out);
    free (weights);
    sequence_clear (&s);
    random_layer_clear (&r);
    CHECK_MSG (wrong_out < 0 && wrong_weight < 0, "configuration %d: output %ld, weight %ld", i, wrong_out,
               wrong_weight);
  }
}

TEST (every_row_of_kernels_gives_the_same_bits_end_to_end)
{
  bool runs;

  for (int i = 0; i < random_rounds (250); i++) {
    RandomLayer r = random_layer ();
    Sequence plain = random_sequence (r.layer, 100, true), other = twin (r.layer, &plain);
    bool equal = true;

    r.layer->machine.kernels = &attn_kernels_c;
    MUST (attn_forward (r.layer, plain.frames, plain.present, plain.n, plain.first, plain.out, plain.weights, NULL));
    for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
      r.layer->machine.kernels = attn_kernels_row (row, &runs);
      if (!runs)
        continue;
      MUST (attn_forward (r.layer, other.frames, other.present, other.n, other.first, other.out, other.weights, NULL));
      equal = equal && same_outputs (r.layer, &plain, &other);
    }
    twin_clear (&other);
    sequence_clear (&plain);
    random_layer_clear (&r);
    CHECK_MSG (equal, "configuration %d", i);
  }
}

/* A parameter-free stream of one feature, and its outputs for frames 1, 2, 3, ... */
TEST (window_of_one_returns_the_frame)
{
  AttnLayer *layer = plain_layer (6, 2, 1, 0, 0);
  AttnStream *stream;
  float frames[5 * 6], out[5 * 6];

  random_fill (frames, 30, 1);
  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_stream_push (stream, frames, 5, out, NULL) == 5);
  CHECK (same_bits (frames, out, 30));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (first_frames_see_a_shorter_window_and_no_padding)
{
  AttnLayer *layer = plain_layer (1, 1, 4, 0, 0);
  float frames[6] = { 0, 0, 0, 0, 0, 0 }, out[6], weights[6 * 4];

  /* Equal scores: each weight is 1 / (frames seen). */
  MUST (attn_forward (layer, frames, NULL, 6, 0, out, weights, NULL));
  for (int t = 0; t < 6; t++)
    for (int slot = 0; slot < 4; slot++) {
      int seen = t < 3 ? t + 1 : 4;
      float expected = slot >= 4 - seen ? 1.0f / seen : 0;

      CHECK_MSG (weights[t * 4 + slot] == expected, "frame %d slot %d: %g, not %g", t, slot, weights[t * 4 + slot],
                 expected);
    }
  attn_layer_free (layer);
}

TEST (look_ahead_delays_and_drain_answers_the_rest)
{
  AttnLayer *layer = plain_layer (2, 1, 3, 5, 0);
  AttnStream *stream;
  float frames[16] = { 1, 2, 3 }, out[16];

  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_layer_reach_ahead (layer) == 5);
  CHECK (attn_stream_push (stream, frames, 5, out, NULL) == 0);
  CHECK (attn_stream_pending (stream) == 5);
  CHECK (attn_stream_push (stream, frames, 2, out, NULL) == 2);
  CHECK (attn_stream_drain (stream, out, NULL) == 5);
  CHECK (attn_stream_drain (stream, out, NULL) == 0);
  CHECK (attn_stream_pending (stream) == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (push_after_drain_does_nothing_until_reset)
{
  AttnLayer *layer = plain_layer (2, 1, 3, 0, 0);
  AttnStream *stream;
  float frames[4] = { 1, 2, 3, 4 }, out[4];

  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_stream_push (stream, frames, 2, out, NULL) == 2);
  attn_stream_drain (stream, out, NULL);
  CHECK (attn_stream_push (stream, frames, 2, out, NULL) == 0);
  CHECK (attn_stream_skip (stream, 2, out, NULL) == 0);
  CHECK (attn_stream_next_frame (stream) == 2);
  MUST (attn_stream_reset (stream, 7, NULL));
  CHECK (attn_stream_next_frame (stream) == 7);
  CHECK (attn_stream_push (stream, frames, 2, out, NULL) == 2);
  CHECK (attn_stream_next_frame (stream) == 9);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (sink_stays_attended_and_is_seen_once)
{
  enum { window = 3, sinks = 2, span = sinks + window, n = 40 };
  AttnLayer *layer = plain_layer (1, 1, window, 0, sinks);
  float frames[n] = { 0 }, out[n], weights[n * span];

  MUST (attn_forward (layer, frames, NULL, n, 0, out, weights, NULL));
  for (int t = 0; t < n; t++)
    for (int slot = 0; slot < span; slot++) {
      int oldest = t - window + 1, n_sinks = oldest < 0 ? 0 : oldest < sinks ? oldest : sinks;
      int seen = n_sinks + (t + 1 < window ? t + 1 : window);
      bool there = slot < sinks ? slot < n_sinks : oldest + slot - sinks >= 0;

      CHECK_MSG (weights[t * span + slot] == (there ? 1.0f / seen : 0), "frame %d slot %d", t, slot);
    }
  attn_layer_free (layer);
}

TEST (absent_frames_give_zero_and_are_not_attended_to)
{
  AttnLayer *layer = plain_layer (1, 1, 4, 0, 0);
  float frames[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, out[8], weights[8 * 4];
  uint8_t present[8] = { 1, 1, 0, 0, 0, 0, 1, 1 };

  MUST (attn_forward (layer, frames, present, 8, 0, out, weights, NULL));
  for (int t = 2; t < 6; t++)
    CHECK_MSG (out[t] == 0, "absent frame %d gives %g", t, out[t]);
  CHECK (out[6] == 1 && weights[6 * 4 + 3] == 1 && weights[6 * 4 + 2] == 0);
  CHECK (weights[7 * 4 + 3] == 0.5f && weights[7 * 4 + 2] == 0.5f && weights[7 * 4 + 1] == 0);
  attn_layer_free (layer);
}

/*
 * A jump over any number of absent frames equals going through them (or, for the longest, through 8192: as many
 * windows).
 */
/* `n` absent frames, one at a time or all at once, with or without their outputs. */
static void
skip_in_pieces (AttnStream *stream, size_t n, size_t piece, float *out)
{
  for (size_t i = 0; i < n; i += piece)
    attn_stream_skip (stream, n - i < piece ? n - i : piece, out, NULL);
}

TEST (skipping_leaves_the_same_however_it_is_cut_and_whoever_looks)
{
  enum { before = 30, behind = 60, longest = 200 };

  for (int i = 0; i < N_RANDOM; i++) {
    RandomLayer r = random_layer ();
    size_t D = attn_layer_n_features (r.layer), n_out = attn_layer_n_outputs (r.layer);
    size_t n = random_between (0, 1) ? random_between (1, longest) : random_between (1, 40), n_before, size;
    float *frames = malloc (sizeof (float) * D * (before + behind)), *outs[3];
    bool equal = true;

    random_fill (frames, D * (before + behind), 2);
    n_before = random_between (0, before);
    size = sizeof (float) * n_out * (before + longest + behind + 1);
    for (int way = 0; way < 3; way++) {
      float *skipped = malloc (sizeof (float) * n_out * (before + longest + 1)), *out = outs[way] = calloc (1, size);
      AttnStream *stream;
      size_t n_done;

      if (attn_stream_new (r.layer, &stream, NULL) != ATTN_OK)
        abort ();
      attn_stream_push (stream, frames, n_before, out, NULL);
      skip_in_pieces (stream, n, way == 2 ? 1 : n, way == 0 ? NULL : skipped);
      memset (out, 0, size);
      n_done = attn_stream_push (stream, frames + before * D, behind, out, NULL);
      attn_stream_drain (stream, out + n_done * n_out, NULL);
      attn_stream_free (stream);
      free (skipped);
    }
    equal = same_bits (outs[0], outs[1], size / sizeof (float)) && same_bits (outs[0], outs[2], size / sizeof (float));
    for (int way = 0; way < 3; way++)
      free (outs[way]);
    free (frames);
    random_layer_clear (&r);
    CHECK_MSG (equal, "configuration %d, %zu skipped behind %zu", i, n, n_before);
  }
}

/* The weights [window] of a frame: those of absent frames are 0, those of the others are not. */
static bool
weights_tell_who_was_there (const float *weights, const bool *present, size_t window, size_t t)
{
  for (size_t slot = 0; slot < window; slot++) {
    bool exists = t + slot + 1 >= window;

    if ((weights[slot] != 0) != (exists && present[t + slot + 1 - window]))
      return false;
  }
  return true;
}

/* Tiles are used again: their contents from before an absence must not show behind it, whatever its length. */
TEST (what_stood_where_frames_are_absent_is_forgotten)
{
  enum { WINDOW = 40, BEFORE = 100, BEHIND = 50, LONGEST = 90, N_CASES = ATTN_LANES * (LONGEST - 1) };
  const float zeros[BEFORE + BEHIND] = { 0 }; /* equal scores: no weight is 0 by chance */
  bool present[BEFORE + LONGEST + BEHIND];
  AttnLayer *layer = plain_layer (1, 1, WINDOW, 0, 0);
  AttnStream *stream;
  float weights[BEHIND][WINDOW];

  MUST (attn_stream_new (layer, &stream, NULL));
  for (size_t i = 0; i < N_CASES; i += random_step (N_CASES)) {
    size_t begin = BEFORE - 1 - i % ATTN_LANES, n = 1 + i / ATTN_LANES;

    for (size_t t = 0; t < begin + n + BEHIND; t++)
      present[t] = t < begin || t >= begin + n;
    MUST (attn_stream_reset (stream, 0, NULL));
    attn_stream_push (stream, zeros, begin, NULL, NULL);
    attn_stream_skip (stream, n, NULL, NULL);
    attn_stream_push (stream, zeros, BEHIND, NULL, weights[0]);
    for (size_t j = 0; j < BEHIND; j++)
      CHECK_MSG (weights_tell_who_was_there (weights[j], present, WINDOW, begin + n + j),
                 "%zu frames absent from %zu on, %zu behind them", n, begin, j);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (long_absence_costs_nothing_and_leaves_only_sinks)
{
  static const uint64_t lengths[] = { 1, 15, 16, 17, 100, 4096, UINT64_C (1) << 50 };
  AttnLayer *layer = plain_layer (4, 2, 20, 3, 2);
  AttnStream *stream;
  float frames[40 * 4], out[60 * 4], after[2][60 * 4];

  random_fill (frames, 160, 1);
  MUST (attn_stream_new (layer, &stream, NULL));
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    size_t n[2];

    for (int jump = 0; jump < 2; jump++) {
      MUST (attn_stream_reset (stream, 0, NULL));
      attn_stream_push (stream, frames, 40, out, NULL);
      if (jump)
        attn_stream_skip (stream, lengths[i], NULL, NULL);
      else
        for (uint64_t gone = 0; gone < lengths[i] && gone < 8192; gone++)
          attn_stream_skip (stream, 1, out, NULL);
      n[jump] = attn_stream_push (stream, frames, 40, after[jump], NULL);
    }
    CHECK_MSG (n[0] == n[1] && same_bits (after[0], after[1], n[0] * 4), "absent for %llu frames",
               (unsigned long long) lengths[i]);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* One bad frame among clean ones. */
static void
check_reach (float bad)
{
  enum { n = 90, d = 6, at = 41, window = 9, look_ahead = 4 };
  AttnLayer *layer = plain_layer (d, 2, window, look_ahead, 0);
  float frames[n * d], clean[n * d], out[n * d];

  random_fill (frames, n * d, 1);
  MUST (attn_forward (layer, frames, NULL, n, 0, clean, NULL, NULL));
  frames[at * d + 1] = bad;
  MUST (attn_forward (layer, frames, NULL, n, 0, out, NULL, NULL));
  for (int t = 0; t < n; t++) {
    bool reached = t >= at - look_ahead && t < at + window;

    CHECK_MSG (same_bits (clean + t * d, out + t * d, d) == !reached, "frame %d, %g", t, bad);
    /* The second head does not see feature 1 at all. */
    CHECK_MSG (same_bits (clean + t * d + 3, out + t * d + 3, 3), "frame %d, second head, %g", t, bad);
    for (int i = 0; i < d; i++) {
      uint32_t bits;

      memcpy (&bits, &out[t * d + i], sizeof bits);
      CHECK_MSG (out[t * d + i] == out[t * d + i] || bits == 0x7fc00000, "frame %d: NaN %08x", t, bits);
    }
  }
  attn_layer_free (layer);
}

TEST (nan_reaches_only_the_windows_that_hold_it)
{
  check_reach (NAN);
}

TEST (infinity_reaches_only_the_windows_that_hold_it)
{
  check_reach (INFINITY);
  check_reach (-INFINITY);
}

/* Frame 1, a sink, is infinite before the reset and absent behind it: the values in its place must not count. */
TEST (infinite_sink_is_forgotten_with_its_stream)
{
  enum { n = 40, d = 6 };
  AttnLayer *layer = plain_layer (d, 2, 9, 0, 3);
  float frames[n * d], bad[n * d], out[n * d], expected[n * d];
  uint8_t present[n];
  AttnStream *stream;

  random_fill (frames, n * d, 1);
  memcpy (bad, frames, sizeof bad);
  bad[d] = INFINITY;
  memset (present, 1, n);
  present[1] = 0;
  MUST (attn_stream_new (layer, &stream, NULL));
  attn_stream_push (stream, bad, n, out, NULL);
  MUST (attn_stream_reset (stream, 0, NULL));
  attn_stream_push (stream, frames, 1, out, NULL);
  attn_stream_skip (stream, 1, out + d, NULL);
  attn_stream_push (stream, frames + 2 * d, n - 2, out + 2 * d, NULL);
  MUST (attn_forward (layer, frames, present, n, 0, expected, NULL, NULL));
  CHECK (same_bits (out, expected, n * d));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (denormal_input_counts_as_zero)
{
  AttnLayer *layer = plain_layer (2, 1, 4, 0, 0);
  float zeros[8] = { 0 }, denormals[8], a[8], b[8];

  for (int i = 0; i < 8; i++)
    denormals[i] = i % 2 ? 1e-39f : -1e-42f;
  MUST (attn_forward (layer, zeros, NULL, 4, 0, a, NULL, NULL));
  MUST (attn_forward (layer, denormals, NULL, 4, 0, b, NULL, NULL));
  CHECK (same_bits (a, b, 8));
  attn_layer_free (layer);
}

TEST (callers_float_mode_is_ignored_and_restored)
{
  AttnLayer *layer = plain_layer (8, 2, 30, 0, 0);
  AttnStream *stream;
  float frames[50 * 8], expected[50 * 8], out[50 * 8];
  uint64_t before, after;
  bool kept;

  random_fill (frames, 400, 2);
  MUST (attn_stream_new (layer, &stream, NULL));
  attn_stream_push (stream, frames, 50, expected, NULL);
  MUST (attn_stream_reset (stream, 0, NULL));
  fesetround (FE_UPWARD);
  attn_float_set_mode (attn_float_mode () | ATTN_FLOAT_FLUSH);
  before = attn_float_mode (); /* valgrind flushes nothing, and forgets the bits at once */
  attn_stream_push (stream, frames, 50, out, NULL);
  after = attn_float_mode ();
  kept = fegetround () == FE_UPWARD && ((before ^ after) & ~(uint64_t) ATTN_FLOAT_KEPT) == 0;
  attn_float_set_mode (before & ~(uint64_t) ATTN_FLOAT_FLUSH);
  fesetround (FE_TONEAREST);
  attn_stream_free (stream);
  attn_layer_free (layer);
  CHECK (kept);
  CHECK (same_bits (expected, out, 400));
}

TEST (layer_made_in_any_float_mode_is_the_same)
{
  AttnLayer *nearest = plain_layer (8, 2, 30, 0, 0), *upward;
  bool same;

  fesetround (FE_UPWARD);
  upward = plain_layer (8, 2, 30, 0, 0);
  fesetround (FE_TONEAREST);
  same = attn_layer_first (nearest)->sizes.query_factor == attn_layer_first (upward)->sizes.query_factor;
  attn_layer_free (nearest);
  attn_layer_free (upward);
  CHECK (same);
}

TEST (weights_do_not_change_the_output)
{
  RandomLayer r = random_layer ();
  Sequence s = random_sequence (r.layer, 100, false), t = twin (r.layer, &s);

  MUST (attn_forward (r.layer, s.frames, NULL, s.n, 0, s.out, s.weights, NULL));
  MUST (attn_forward (r.layer, s.frames, NULL, s.n, 0, t.out, NULL, NULL));
  CHECK (same_bits (s.out, t.out, s.n * attn_layer_n_outputs (r.layer)));
  twin_clear (&t);
  sequence_clear (&s);
  random_layer_clear (&r);
}

TEST (two_streams_of_a_layer_do_not_disturb_each_other)
{
  AttnLayer *layer = plain_layer (8, 2, 30, 2, 0);
  AttnStream *a, *b;
  float frames[2][50 * 8], expected[50 * 8], out[50 * 8], other[50 * 8];
  size_t n = 0;

  random_fill (frames[0], 800, 2);
  MUST (attn_forward (layer, frames[0], NULL, 50, 0, expected, NULL, NULL));
  MUST (attn_stream_new (layer, &a, NULL));
  MUST (attn_stream_new (layer, &b, NULL));
  for (int t = 0; t < 50; t++) {
    n += attn_stream_push (a, frames[0] + t * 8, 1, out + n * 8, NULL);
    attn_stream_push (b, frames[1] + t * 8, 1, other, NULL);
  }
  n += attn_stream_drain (a, out + n * 8, NULL);
  CHECK (n == 50 && same_bits (expected, out, 400));
  attn_stream_free (a);
  attn_stream_free (b);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (stream_equals_forward_to_the_bit);
  RUN (stream_with_absent_frames_equals_forward_to_the_bit);
  RUN (forward_is_within_the_derived_bound_of_float64);
  RUN (every_row_of_kernels_gives_the_same_bits_end_to_end);
  RUN (window_of_one_returns_the_frame);
  RUN (first_frames_see_a_shorter_window_and_no_padding);
  RUN (look_ahead_delays_and_drain_answers_the_rest);
  RUN (push_after_drain_does_nothing_until_reset);
  RUN (sink_stays_attended_and_is_seen_once);
  RUN (absent_frames_give_zero_and_are_not_attended_to);
  RUN (skipping_leaves_the_same_however_it_is_cut_and_whoever_looks);
  RUN (what_stood_where_frames_are_absent_is_forgotten);
  RUN (long_absence_costs_nothing_and_leaves_only_sinks);
  RUN (nan_reaches_only_the_windows_that_hold_it);
  RUN (infinity_reaches_only_the_windows_that_hold_it);
  RUN (infinite_sink_is_forgotten_with_its_stream);
  RUN (denormal_input_counts_as_zero);
  RUN (callers_float_mode_is_ignored_and_restored);
  RUN (layer_made_in_any_float_mode_is_the_same);
  RUN (weights_do_not_change_the_output);
  RUN (two_streams_of_a_layer_do_not_disturb_each_other);
  return check_done ();
}
