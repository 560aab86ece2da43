/* Gains of heads: live, and nothing but a multiplication.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"
#include "layers.h"

#define N_RANDOM random_rounds (200) /* configurations per property */
#define N_FEW random_rounds (50)     /* and of those that run each several times */
#define N 60                         /* frames */

typedef struct {
  size_t n;
  float *out, *weights;
} Outputs;

static float *
random_frames (const AttnLayer *layer)
{
  float *frames = malloc (sizeof (float) * N * attn_layer_n_features (layer));

  random_fill (frames, (size_t) N * attn_layer_n_features (layer), 2);
  return frames;
}

/* N frames through a stream with `gains` [n_heads] (NULL: as it is), one at a time and drained. */
static Outputs
run (const AttnLayer *layer, const float *frames, const float *gains, bool with_weights)
{
  Outputs o = { .out = malloc (sizeof (float) * N * attn_layer_n_outputs (layer)),
                .weights = with_weights ? malloc (sizeof (float) * N * n_weights (layer)) : NULL };
  AttnStream *stream;

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    abort ();
  for (uint32_t head = 0; gains != NULL && head < attn_layer_n_heads (layer); head++)
    if (attn_stream_set_gain (stream, 0, head, gains[head]) != ATTN_OK)
      abort ();
  for (int t = 0; t < N; t++)
    o.n += attn_stream_push (stream, frames + t * attn_layer_n_features (layer), 1,
                             o.out + o.n * attn_layer_n_outputs (layer),
                             with_weights ? o.weights + o.n * n_weights (layer) : NULL);
  o.n += attn_stream_drain (stream, o.out + o.n * attn_layer_n_outputs (layer),
                            with_weights ? o.weights + o.n * n_weights (layer) : NULL);
  attn_stream_free (stream);
  return o;
}

static void
outputs_clear (Outputs *o)
{
  free (o->out);
  free (o->weights);
}

static bool
same_out (const AttnLayer *layer, const Outputs *a, const Outputs *b)
{
  return a->n == b->n && memcmp (a->out, b->out, a->n * attn_layer_n_outputs (layer) * sizeof (float)) == 0;
}

static bool
same_weights (const AttnLayer *layer, const Outputs *a, const Outputs *b)
{
  return a->n == b->n && memcmp (a->weights, b->weights, a->n * n_weights (layer) * sizeof (float)) == 0;
}

TEST (gain_of_1_changes_no_bit)
{
  float ones[16];

  for (int i = 0; i < 16; i++)
    ones[i] = 1;
  for (int i = 0; i < N_RANDOM; i++) {
    RandomLayer r = random_layer ();
    float *frames = random_frames (r.layer);
    Outputs with = run (r.layer, frames, ones, true), without = run (r.layer, frames, NULL, true);
    bool same;

    same = same_out (r.layer, &with, &without) && same_weights (r.layer, &with, &without);
    MUST (attn_forward (r.layer, frames, NULL, N, 0, without.out, NULL, NULL));
    same = same && same_out (r.layer, &with, &without);
    outputs_clear (&with);
    outputs_clear (&without);
    free (frames);
    random_layer_clear (&r);
    CHECK_MSG (same, "configuration %d", i);
  }
}

/* A layer like `r` whose output projection ignores `head`. */
static AttnLayer *
without_head (RandomLayer *r, uint32_t head)
{
  AttnLinear *output = &r->model->output;
  size_t dv = attn_layer_first (r->layer)->sizes.dv, size = sizeof (float) * output->n_outputs * output->n_inputs, o, i;
  float *weight = output->weight;
  AttnLayer *layer;

  output->weight = malloc (size);
  memcpy (output->weight, weight, size);
  for (o = 0; o < output->n_outputs; o++)
    for (i = head * dv; i < (head + 1) * dv; i++)
      output->weight[o * output->n_inputs + i] = 0;
  if (attn_layer_new (&r->config, r->model, &layer, NULL) != ATTN_OK)
    abort ();
  free (output->weight);
  output->weight = weight;
  return layer;
}

/* To the bit: adding 0 to a sum that is cleaned at its end changes nothing. */
TEST (gain_of_0_equals_output_columns_of_0)
{
  for (int i = 0; i < N_RANDOM;) {
    RandomLayer r = random_layer ();
    uint32_t head = random_between (0, attn_layer_n_heads (r.layer) - 1);
    float gains[16], *frames;
    AttnLayer *cut;
    Outputs silenced, expected;
    bool same;

    if (r.model == NULL || r.model->output.weight == NULL) {
      random_layer_clear (&r);
      continue;
    }
    for (uint32_t h = 0; h < attn_layer_n_heads (r.layer); h++)
      gains[h] = h == head ? 0 : 1;
    frames = random_frames (r.layer);
    cut = without_head (&r, head);
    silenced = run (r.layer, frames, gains, i % 2);
    expected = run (cut, frames, NULL, i % 2);
    same = same_out (r.layer, &silenced, &expected);
    outputs_clear (&silenced);
    outputs_clear (&expected);
    free (frames);
    attn_layer_free (cut);
    random_layer_clear (&r);
    CHECK_MSG (same, "configuration %d", i);
    i++;
  }
}

/* Without a model the output is the contexts themselves. */
TEST (gain_is_one_rounded_multiplication)
{
  static const float gains[] = { 0.5f, -1, 3, 0.1f, -7.77f, 1e30f, 1e-37f };
  AttnLayer *layer = plain_layer (6, 2, 9, 3, 2);
  float *frames = random_frames (layer);
  Outputs plain = run (layer, frames, NULL, false);

  for (size_t i = 0; i < sizeof gains / sizeof gains[0]; i++) {
    float both[2] = { 1, gains[i] };
    Outputs scaled = run (layer, frames, both, false);

    for (size_t j = 0; j < N * 6; j++) {
      float expected = j % 6 < 3 ? plain.out[j] : plain.out[j] * gains[i];

      if (fabsf (expected) < 1.17549435e-38f)
        expected = 0;
      CHECK_MSG (memcmp (&scaled.out[j], &expected, sizeof expected) == 0, "gain %g, value %zu: %g, not %g", gains[i],
                 j, scaled.out[j], expected);
    }
    outputs_clear (&scaled);
  }
  outputs_clear (&plain);
  free (frames);
  attn_layer_free (layer);
}

TEST (silenced_head_gives_0_even_of_nan_and_its_weights_are_still_there)
{
  AttnLayer *layer = plain_layer (6, 2, 9, 0, 0);
  float *frames = random_frames (layer), silent[2] = { 1, 0 };
  Outputs all, some, without_weights;

  frames[20 * 6 + 4] = NAN; /* the second head's */
  all = run (layer, frames, NULL, true);
  some = run (layer, frames, silent, true);
  without_weights = run (layer, frames, silent, false);
  CHECK (isnan (all.out[20 * 6 + 4]));
  for (size_t i = 0; i < N * 6; i++)
    CHECK (i % 6 < 3 ? memcmp (&all.out[i], &some.out[i], sizeof (float)) == 0 : some.out[i] == 0);
  CHECK (same_out (layer, &some, &without_weights));
  CHECK (same_weights (layer, &all, &some));
  outputs_clear (&all);
  outputs_clear (&some);
  outputs_clear (&without_weights);
  free (frames);
  attn_layer_free (layer);
}

/* With a look-ahead of 3, a gain that is set before frame 30 comes in applies from frame 27 on. */
static void
check_live_change (uint32_t look_ahead)
{
  AttnLayer *layer = plain_layer (4, 2, 8, look_ahead, 0);
  float *frames = random_frames (layer), halved[2] = { 1, 0.5f }, *out = malloc (sizeof (float) * N * 4);
  Outputs before = run (layer, frames, NULL, false), after = run (layer, frames, halved, false);
  size_t n = 0, change = 30 - look_ahead;
  AttnStream *stream;

  MUST (attn_stream_new (layer, &stream, NULL));
  for (int t = 0; t < N; t++) {
    if (t == 30)
      MUST (attn_stream_set_gain (stream, 0, 1, 0.5f));
    n += attn_stream_push (stream, frames + t * 4, 1, out + n * 4, NULL);
  }
  attn_stream_drain (stream, out + n * 4, NULL);
  CHECK (memcmp (out, before.out, change * 4 * sizeof (float)) == 0);
  CHECK (memcmp (out + change * 4, after.out + change * 4, (N - change) * 4 * sizeof (float)) == 0);
  CHECK (out[change * 4 + 2] != before.out[change * 4 + 2]);
  attn_stream_free (stream);
  outputs_clear (&before);
  outputs_clear (&after);
  free (out);
  free (frames);
  attn_layer_free (layer);
}

TEST (live_change_holds_from_the_next_output_on)
{
  check_live_change (0);
  check_live_change (3);
}

TEST (weights_do_not_depend_on_gains)
{
  for (int i = 0; i < N_FEW; i++) {
    RandomLayer r = random_layer ();
    float *frames = random_frames (r.layer), gains[16];
    Outputs plain = run (r.layer, frames, NULL, true), other;
    bool same;

    for (int head = 0; head < 16; head++)
      gains[head] = random_between (0, 2) == 0 ? 0 : random_float (3);
    other = run (r.layer, frames, gains, true);
    same = same_weights (r.layer, &plain, &other);
    outputs_clear (&plain);
    outputs_clear (&other);
    free (frames);
    random_layer_clear (&r);
    CHECK_MSG (same, "configuration %d", i);
  }
}

/* `layer` over the frames in pieces, the first `n_rows` rows with gains of their own. */
static Outputs
run_with_row_gains (const AttnLayer *layer, const float *frames, const float *gains, size_t n_rows)
{
  Outputs o = { .out = malloc (sizeof (float) * N * attn_layer_n_outputs (layer)) };
  AttnStream *stream;

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK
      || attn_stream_set_row_gains (stream, 0, gains, n_rows) != ATTN_OK)
    abort ();
  for (uint32_t t = 0, n; t < N; t += n) {
    n = random_between (1, N - t < 25 ? N - t : 25);
    o.n += attn_stream_push (stream, frames + t * attn_layer_n_features (layer), n,
                             o.out + o.n * attn_layer_n_outputs (layer), NULL);
  }
  o.n += attn_stream_drain (stream, o.out + o.n * attn_layer_n_outputs (layer), NULL);
  attn_stream_free (stream);
  return o;
}

/* An output depends on the gains of its own row alone, so each is that of a stream which has these all the time. */
TEST (gains_of_rows_hold_for_their_row_to_the_last_of_a_drain)
{
  for (int i = 0; i < N_FEW; i++) {
    RandomLayer r = random_layer ();
    uint32_t n_heads = attn_layer_n_heads (r.layer), n_rows = random_between (1, N),
             n_out = attn_layer_n_outputs (r.layer);
    float sets[2][16], *frames = random_frames (r.layer), *gains = malloc (sizeof (float) * N * n_heads);
    uint32_t pick[N];
    Outputs whole[2], mixed;
    bool same;

    for (uint32_t j = 0; j < 2 * n_heads; j++)
      sets[j % 2][j / 2] = random_between (0, 2) == 0 ? j % 2 : random_float (2);
    for (uint32_t row = 0; row < N; row++) {
      pick[row] = row != 0 && (row >= n_rows || random_between (0, 2) != 0) ? pick[row - 1] : random_between (0, 1);
      memcpy (gains + row * n_heads, sets[pick[row]], n_heads * sizeof (float));
    }
    whole[0] = run (r.layer, frames, sets[0], false);
    whole[1] = run (r.layer, frames, sets[1], false);
    mixed = run_with_row_gains (r.layer, frames, gains, n_rows);
    same = mixed.n == N;
    for (uint32_t row = 0; same && row < N; row++)
      same = memcmp (mixed.out + row * n_out, whole[pick[row]].out + row * n_out, n_out * sizeof (float)) == 0;
    outputs_clear (&whole[0]);
    outputs_clear (&whole[1]);
    outputs_clear (&mixed);
    free (gains);
    free (frames);
    random_layer_clear (&r);
    CHECK_MSG (same, "configuration %d", i);
  }
}

/* The output of a layer of one head for one frame of 1. */
static float
push_one (AttnStream *stream)
{
  float frame = 1, out = 99;

  attn_stream_push (stream, &frame, 1, &out, NULL);
  return out;
}

TEST (gains_of_rows_end_with_the_last_of_them_and_with_the_stream)
{
  static const float gains[] = { 2, 3, 4, 5, 6, 7 };
  AttnLayer *layer = plain_layer (1, 1, 1, 0, 0);
  AttnStream *stream;
  uint8_t state[256];
  size_t size;

  MUST (attn_stream_new (layer, &stream, NULL));
  size = attn_stream_state_size (stream);
  CHECK (size <= sizeof state && attn_stream_save (stream, state, size, NULL) == ATTN_OK);
  MUST (attn_stream_set_row_gains (stream, 0, gains, 2));
  CHECK (push_one (stream) == 2 && push_one (stream) == 3 && push_one (stream) == 3);
  MUST (attn_stream_set_row_gains (stream, 0, gains, 6));
  CHECK (push_one (stream) == 2);
  MUST (attn_stream_reset (stream, 0, NULL));
  CHECK (push_one (stream) == 2);
  MUST (attn_stream_set_row_gains (stream, 0, gains, 6));
  CHECK (push_one (stream) == 2 && push_one (stream) == 3);
  MUST (attn_stream_restore (stream, state, size, NULL));
  CHECK (push_one (stream) == 3);
  MUST (attn_stream_set_row_gains (stream, 0, gains + 4, 2));
  MUST (attn_stream_set_row_gains (stream, 0, NULL, 0));
  CHECK (push_one (stream) == 3);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* The outputs for two frames after `set` on a stream whose gains were 2 and 3. */
TEST (wrong_heads_and_gains_are_refused_and_change_nothing)
{
  AttnLayer *layer = plain_layer (2, 2, 1, 0, 0);
  AttnStream *stream;
  float frame[2] = { 1, 1 }, out[2], fine[4] = { 5, 5, 5, 5 }, wrong[4] = { 5, 5, 5, NAN };

  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_stream_set_gain (stream, 0, 0, 2) == ATTN_OK && attn_stream_set_gain (stream, 0, 1, 3) == ATTN_OK);
  CHECK (attn_stream_set_gain (stream, 0, 2, 5) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_gain (stream, 0, UINT32_MAX, 5) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_gain (stream, 0, 1, NAN) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_gain (stream, 0, 1, INFINITY) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_gain (stream, 0, 1, -INFINITY) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_gain (stream, 1, 0, 5) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_row_gains (stream, 1, fine, 2) == ATTN_ERROR_CONFIG);
  CHECK (attn_stream_set_row_gains (stream, 0, wrong, 2) == ATTN_ERROR_CONFIG);
  attn_stream_push (stream, frame, 1, out, NULL);
  CHECK (out[0] == 2 && out[1] == 3);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (denormal_gain_counts_as_0)
{
  AttnLayer *layer = plain_layer (1, 1, 1, 0, 0);
  AttnStream *stream;
  float frame = NAN, out = 1;

  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_stream_set_gain (stream, 0, 0, -1e-39f) == ATTN_OK);
  attn_stream_push (stream, &frame, 1, &out, NULL);
  CHECK (out == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (gains_stay_through_reset_and_restore)
{
  AttnLayer *layer = plain_layer (1, 1, 1, 0, 0);
  AttnStream *stream, *other;
  float frame = 2, out = 0;
  uint8_t state[256];
  size_t size;

  MUST (attn_stream_new (layer, &stream, NULL));
  MUST (attn_stream_new (layer, &other, NULL));
  MUST (attn_stream_set_gain (stream, 0, 0, 5));
  MUST (attn_stream_reset (stream, 0, NULL));
  attn_stream_push (stream, &frame, 1, &out, NULL);
  CHECK (out == 10);
  MUST (attn_stream_set_gain (other, 0, 0, 7));
  size = attn_stream_state_size (other);
  CHECK (size <= sizeof state && attn_stream_save (other, state, size, NULL) == ATTN_OK);
  CHECK (attn_stream_restore (stream, state, size, NULL) == ATTN_OK);
  attn_stream_push (stream, &frame, 1, &out, NULL);
  CHECK (out == 10);
  attn_stream_free (stream);
  attn_stream_free (other);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (gain_of_1_changes_no_bit);
  RUN (gain_of_0_equals_output_columns_of_0);
  RUN (gain_is_one_rounded_multiplication);
  RUN (silenced_head_gives_0_even_of_nan_and_its_weights_are_still_there);
  RUN (live_change_holds_from_the_next_output_on);
  RUN (weights_do_not_depend_on_gains);
  RUN (gains_of_rows_hold_for_their_row_to_the_last_of_a_drain);
  RUN (gains_of_rows_end_with_the_last_of_them_and_with_the_stream);
  RUN (wrong_heads_and_gains_are_refused_and_change_nothing);
  RUN (denormal_gain_counts_as_0);
  RUN (gains_stay_through_reset_and_restore);
  return check_done ();
}
