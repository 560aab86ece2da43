/*
 * arithmetic=fast: streams and sequences through a matrix unit, against float64 with bounds that are derived
 * (reference.h); frames that must not go through it equal exact to the bit. matrix-kernels.c tests the kernels alone.
 *
 * Everything is run with the matrix kernels of plain C, which do what the instructions are documented to do, and with
 * those of the processor's unit where it has one, which must give the same bits.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "check.h"
#include "sequences.h"
#include "units.h"

#define N_RANDOM random_rounds (60) /* configurations per property */

/* ---- layers ---- */

/* The kernels that layers of arithmetic=fast get from here on; NULL: those of the processor's unit, if it has one. */
static void
use_unit (const AttnMatrixKernels *unit)
{
  if (unit != NULL)
    setenv ("ATTN_MATRIX", unit->name, 1);
  else
    unsetenv ("ATTN_MATRIX");
}

/* The first output or weight that is beyond its bound. */
static void
check_bounds (const RandomLayer *r, const Sequence *s, const char *what, int i)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  Bounded *out = calloc (s->n * sizes->n_outputs + 1, sizeof *out);
  Bounded *weights = calloc (s->n * n_weights (r->layer) + 1, sizeof *weights);
  long wrong_out, wrong_weight;

  reference_forward (sizes, r->model, random_layer_scale (r), r->config.softcap, s->frames, s->present, s->n, s->first,
                     out, weights);
  wrong_out = first_beyond_bound (s->out, out, s->n * sizes->n_outputs);
  wrong_weight = first_beyond_bound (s->weights, weights, s->n * n_weights (r->layer));
  free (out);
  free (weights);
  CHECK_MSG (wrong_out < 0 && wrong_weight < 0, "%s, configuration %d: output %ld, weight %ld", what, i, wrong_out,
             wrong_weight);
}

TEST (forward_is_within_the_derived_bound_of_float64)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    RandomLayer r;
    Sequence s;

    use_unit (unit);
    r = random_layer_of (ATTN_ARITHMETIC_FAST);
    s = random_sequence (r.layer, random_between (4, 60), random_between (0, 1));
    MUST (attn_forward (r.layer, s.frames, s.present, s.n, s.first, s.out, s.weights, NULL));
    check_bounds (&r, &s, unit->name, i);
    sequence_clear (&s);
    random_layer_clear (&r);
  }
}

TEST (streams_are_within_the_derived_bound_however_they_are_cut)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    AttnStream *stream;
    RandomLayer r;
    Sequence s;

    use_unit (unit);
    r = random_layer_of (ATTN_ARITHMETIC_FAST);
    s = random_sequence (r.layer, random_between (4, 60), random_between (0, 1));
    CHECK (attn_stream_new (r.layer, &stream, NULL) == ATTN_OK);
    stream->work.shares_all = true;
    /* Twice, so that the second stream meets the remains of the first. */
    CHECK (stream_in_pieces (stream, r.layer, &s, NULL, 0) && stream_in_pieces (stream, r.layer, &s, NULL, 0));
    check_bounds (&r, &s, unit->name, i);
    attn_stream_free (stream);
    sequence_clear (&s);
    random_layer_clear (&r);
  }
}

#define N_GROUPED 6 /* streams: with look-ahead, or absent frames, blocks of fewer than that, too */

/* Frame t of each stream, in one call; the outputs follow those before. */
static void
push_frames (AttnGroup *group, const AttnLayer *layer, AttnStream *const *streams, Sequence *s, size_t t, size_t *n_out)
{
  AttnPush pushes[N_GROUPED];

  for (size_t i = 0; i < N_GROUPED; i++) {
    pushes[i] = (AttnPush){ .stream = streams[i], .n_frames = 1 };
    pushes[i].frames = s[i].present == NULL || s[i].present[t] ? s[i].frames + t * attn_layer_n_features (layer) : NULL;
    pushes[i].out = s[i].out + n_out[i] * attn_layer_n_outputs (layer);
    pushes[i].weights = s[i].weights + n_out[i] * n_weights (layer);
  }
  MUST (attn_group_push (group, pushes, N_GROUPED, NULL));
  for (size_t i = 0; i < N_GROUPED; i++)
    n_out[i] += pushes[i].n_out;
}

/* Frames of different streams, one each, share the unit. */
TEST (streams_of_a_group_are_within_the_derived_bound)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    size_t n = random_between (4, 40), n_out[N_GROUPED] = { 0 };
    AttnStream *streams[N_GROUPED];
    Sequence s[N_GROUPED];
    AttnGroup *group;
    RandomLayer r;

    use_unit (unit);
    r = random_layer_of (ATTN_ARITHMETIC_FAST);
    MUST (attn_group_new (r.layer, N_GROUPED, &group, NULL));
    for (int j = 0; j < N_GROUPED; j++) {
      s[j] = random_sequence (r.layer, n, random_between (0, 1));
      MUST (attn_stream_new (r.layer, &streams[j], NULL));
      MUST (attn_stream_reset (streams[j], s[j].first, NULL));
    }
    for (size_t t = 0; t < n; t++)
      push_frames (group, r.layer, streams, s, t, n_out);
    for (int j = 0; j < N_GROUPED; j++) {
      attn_stream_drain (streams[j], s[j].out + n_out[j] * attn_layer_n_outputs (r.layer),
                         s[j].weights + n_out[j] * n_weights (r.layer));
      check_bounds (&r, &s[j], unit->name, i);
      attn_stream_free (streams[j]);
      sequence_clear (&s[j]);
    }
    attn_group_free (group);
    random_layer_clear (&r);
  }
}

/* A random layer twice: in exact, and in fast with `unit`. */
typedef struct {
  RandomLayer fast;
  AttnLayer *exact;
} Pair;

static Pair
random_pair (const AttnMatrixKernels *unit)
{
  Pair pair;
  AttnConfig config;

  use_unit (unit);
  pair.fast = random_layer_of (ATTN_ARITHMETIC_FAST);
  config = pair.fast.config;
  config.arithmetic = ATTN_ARITHMETIC_EXACT;
  if (attn_layer_new (&config, pair.fast.model, &pair.exact, NULL) != ATTN_OK)
    abort ();
  return pair;
}

static void
pair_clear (Pair *pair)
{
  attn_layer_free (pair->exact);
  random_layer_clear (&pair->fast);
}

/* Runs the sequence in pieces of `size` frames, and returns whether it equals attn_forward () of `exact` to the bit. */
static bool
pieces_are_exact (const Pair *pair, size_t size)
{
  Sequence whole = random_sequence (pair->exact, 100, true), pieces = twin (pair->exact, &whole);
  AttnStream *stream;
  bool equal;

  if (attn_stream_new (pair->fast.layer, &stream, NULL) != ATTN_OK)
    return false;
  MUST (attn_forward (pair->exact, whole.frames, whole.present, whole.n, whole.first, whole.out, whole.weights, NULL));
  equal = stream_in_pieces (stream, pair->fast.layer, &pieces, &size, 1) && same_outputs (pair->exact, &whole, &pieces);
  attn_stream_free (stream);
  twin_clear (&pieces);
  sequence_clear (&whole);
  return equal;
}

/* With look-ahead, waiting frames are computed in larger blocks when the stream ends. */
TEST (blocks_too_small_for_the_unit_are_exact)
{
  for (int i = 0; i < N_RANDOM; i++) {
    Pair pair = random_pair (&attn_matrix_c);

    for (size_t size = 1; size <= 4 && pair.fast.config.look_ahead == 0; size += 3)
      CHECK_MSG (pieces_are_exact (&pair, size), "configuration %d, blocks of %zu", i, size);
    pair_clear (&pair);
  }
}

/* Plain C's unit, which also counts its calls. */
static size_t n_splits, n_projects, n_scores, n_contexts;

static bool
counted_split (uint16_t *high, uint16_t *low, const float *in, size_t in_stride, size_t n_rows, size_t n)
{
  n_splits++;
  return attn_matrix_c.split (high, low, in, in_stride, n_rows, n);
}

static void
counted_project (float *out, size_t out_stride, const uint16_t *left, size_t n_frames, const AttnProjection *projection)
{
  n_projects++;
  attn_matrix_c.project (out, out_stride, left, n_frames, projection);
}

static void
counted_scores (const AttnRows *rows, const uint16_t *left, const uint16_t *keys, size_t n_parts, size_t dk)
{
  n_scores++;
  attn_matrix_c.scores (rows, left, keys, n_parts, dk);
}

static bool
counted_context (const AttnRows *rows, float *contexts, size_t context_stride, uint16_t *left, const uint16_t *values,
                 size_t n_parts, size_t n_rows, size_t dv)
{
  n_contexts++;
  return attn_matrix_c.context (rows, contexts, context_stride, left, values, n_parts, n_rows, dv);
}

/* A layer of two heads of 4 with parameters, whose unit counts; keys and values times a factor. */
static AttnLayer *
counting_layer (float key_factor, float value_factor, AttnLayer **exact)
{
  static AttnMatrixKernels counted;
  AttnModel model = { .name = (char *) "counted" };
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  counted = attn_matrix_c;
  counted.split = counted_split;
  counted.project = counted_project;
  counted.scores = counted_scores;
  counted.context = counted_context;
  use_unit (&attn_matrix_c);
  config.n_features = 8;
  config.n_heads = 2;
  config.window = 20;
  model.query = random_linear (8, 8, true, 1);
  model.key = random_linear (8, 8, true, key_factor);
  model.value = random_linear (8, 8, true, value_factor);
  model.output = random_linear (8, 8, true, 1);
  if (attn_layer_new (&config, &model, exact, NULL) != ATTN_OK)
    abort ();
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  if (attn_layer_new (&config, &model, &layer, NULL) != ATTN_OK)
    abort ();
  layer->machine.matrix = &counted;
  n_splits = n_projects = n_scores = n_contexts = 0;
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
  return layer;
}

/* Pushes `n` frames of 8 values, and checks whether the unit projects, and whether it attends for both heads. */
static void
push_counted (AttnStream *stream, size_t n, bool projects, bool attends)
{
  float frames[16 * 8], out[16 * 8];

  random_fill (frames, n * 8, 1);
  n_splits = n_projects = n_scores = n_contexts = 0;
  attn_stream_push (stream, frames, n, out, NULL);
  CHECK_MSG (n_projects == (projects ? 2 : 0) && n_scores == (attends ? 2 : 0) && n_contexts == (attends ? 2 : 0),
             "%zu frames: %zu, %zu, %zu", n, n_projects, n_scores, n_contexts);
  CHECK_MSG ((n_splits != 0) == (projects || attends), "%zu frames are split %zu times", n, n_splits);
}

/*
 * Input and output projection once each for a block, scores and contexts once for each head. What the unit is too slow
 * for costs no splitting either; so it attends only where the window of 20 holds large blocks alone.
 */
TEST (only_blocks_that_the_unit_is_faster_for_are_split)
{
  AttnLayer *exact, *layer = counting_layer (1, 1, &exact);
  AttnStream *stream;

  CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  push_counted (stream, 1, false, false);
  push_counted (stream, attn_least_projected (8) - 1, false, false);
  push_counted (stream, attn_least_projected (8), true, false); /* frames 8 to 15 */
  push_counted (stream, 16, true, false);                       /* frame 16 attends to frame 0 */
  push_counted (stream, 16, true, false);                       /* and frame 32 to frame 13 */
  push_counted (stream, 16, true, true);
  push_counted (stream, attn_least_attended (4), true, true);
  attn_stream_free (stream);
  attn_layer_free (layer);
  attn_layer_free (exact);
}

/* Pushes of 14 are cut where tiles end: the pieces of 2 to 12 are split like those of 14, which attend to them. */
TEST (small_pieces_of_large_pushes_are_split)
{
  AttnLayer *exact, *layer = counting_layer (1, 1, &exact);
  float frames[14 * 8], out[14 * 8];
  AttnStream *stream;

  random_fill (frames, 14 * 8, 1);
  CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK);
  n_scores = 0; /* a new stream has been warmed up */
  for (int push = 0; push < 16; push++)
    attn_stream_push (stream, frames, 14, out, NULL);
  /* 14 2+12 4+10 6+8 8+6 10+4 12+2 14, and the same again: 8 pieces of 12 or 14. */
  CHECK_MSG (n_scores == 8 * 2, "%zu", n_scores);
  attn_stream_free (stream);
  attn_layer_free (layer);
  attn_layer_free (exact);
}

/* Plain C's unit is used only on request, and no processor gets a unit that it does not have. */
TEST (without_a_unit_fast_is_exact)
{
  bool runs, has_amx = false;
  const AttnMatrixKernels *unit;

  for (size_t row = 0; (unit = attn_matrix_row (row, &runs)) != NULL; row++)
    has_amx |= runs && unit != &attn_matrix_c;
  for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
    const char *cpu = attn_kernels_row (row, &runs)->name;

    if (!runs)
      continue;
    setenv ("ATTN_CPU", cpu, 1);
    for (int i = 0; i < N_RANDOM / 4 + 1; i++) {
      Pair pair = random_pair (NULL);
      const char *name = attn_layer_kernels (pair.fast.layer);
      bool expects_unit = has_amx && strcmp (cpu, "avx512") == 0;

      CHECK_MSG (strcmp (name, expects_unit ? "avx512+amx" : cpu) == 0, "%s: %s", cpu, name);
      CHECK_MSG (expects_unit || pieces_are_exact (&pair, 16), "%s, configuration %d", cpu, i);
      pair_clear (&pair);
    }
  }
  unsetenv ("ATTN_CPU");
}

TEST (environment_picks_a_unit_or_refuses)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  AttnError error;

  config.n_features = 4;
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  setenv ("ATTN_CPU", "c", 1);
  setenv ("ATTN_MATRIX", "c", 1);
  CHECK (attn_layer_new (&config, NULL, &layer, &error) == ATTN_OK);
  CHECK (strcmp (attn_layer_kernels (layer), "c+c") == 0);
  attn_layer_free (layer);
  setenv ("ATTN_MATRIX", "abacus", 1);
  CHECK (attn_layer_new (&config, NULL, &layer, &error) == ATTN_ERROR_CONFIG && layer == NULL);
  CHECK_MSG (strstr (error.message, "\"abacus\"") && strstr (error.message, "c"), "%s", error.message);
  config.arithmetic = ATTN_ARITHMETIC_EXACT;
  CHECK (attn_layer_new (&config, NULL, &layer, &error) == ATTN_OK);
  CHECK (strcmp (attn_layer_kernels (layer), "c") == 0);
  attn_layer_free (layer);
  for (size_t i = 0; i < 4; i++) {
    bool runs;
    const AttnMatrixKernels *unit = attn_matrix_row (i, &runs);

    config.arithmetic = ATTN_ARITHMETIC_FAST;
    if (unit == NULL || runs)
      continue;
    setenv ("ATTN_MATRIX", unit->name, 1);
    CHECK (attn_layer_new (&config, NULL, &layer, &error) == ATTN_ERROR_CONFIG);
    CHECK_MSG (strstr (error.message, unit->name) && strstr (error.message, "cannot run"), "%s", error.message);
  }
  unsetenv ("ATTN_MATRIX");
  unsetenv ("ATTN_CPU");
}

/* The layer's outputs for the same frames on two units. */
TEST (every_unit_gives_the_bits_of_plain_c)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    RandomLayer r;
    Sequence plain, other;
    bool equal;

    use_unit (&attn_matrix_c);
    r = random_layer_of (ATTN_ARITHMETIC_FAST);
    plain = random_sequence (r.layer, 100, true);
    other = twin (r.layer, &plain);
    MUST (attn_forward (r.layer, plain.frames, plain.present, plain.n, plain.first, plain.out, plain.weights, NULL));
    r.layer->machine.matrix = unit;
    MUST (attn_forward (r.layer, other.frames, other.present, other.n, other.first, other.out, other.weights, NULL));
    equal = same_outputs (r.layer, &plain, &other);
    twin_clear (&other);
    sequence_clear (&plain);
    random_layer_clear (&r);
    CHECK_MSG (equal, "%s, configuration %d", unit->name, i);
  }
}

/* ---- values that cannot be split ---- */

/*
 * NaN, infinities and values that become infinite affect the outputs as in exact, and only as long as the window holds
 * them.
 */
TEST (frames_too_large_to_be_split_do_what_they_do_in_exact)
{
  static const float kinds[] = { NAN, INFINITY, -INFINITY, 3.4e38f, 1e30f, 0x1.fffffep54f };

  FOR_EACH_UNIT (unit)
  for (int i = 0; i < 4 * N_RANDOM; i++) {
    Pair pair = random_pair (unit);
    const AttnSizes *sizes = &attn_layer_first (pair.exact)->sizes;
    Sequence exact = random_sequence (pair.exact, 120, random_between (0, 1)), fast = twin (pair.exact, &exact);
    size_t at = random_between (0, 60) * sizes->n_features, n = exact.n * sizes->n_outputs, o = 0;

    exact.frames[at] = kinds[i % (sizeof kinds / sizeof kinds[0])];
    MUST (attn_forward (pair.exact, exact.frames, exact.present, exact.n, exact.first, exact.out, exact.weights, NULL));
    MUST (attn_forward (pair.fast.layer, fast.frames, fast.present, fast.n, fast.first, fast.out, fast.weights, NULL));
    while (o < n && isnan (exact.out[o]) == isnan (fast.out[o]) && isinf (exact.out[o]) == isinf (fast.out[o]))
      o++;
    CHECK_MSG (o == n, "configuration %d, %g: output %zu is %g, exact %g", i, exact.frames[at], o, fast.out[o],
               exact.out[o]);
    twin_clear (&fast);
    sequence_clear (&exact);
    pair_clear (&pair);
  }
}

/*
 * Keys, or values, of 2^60 alone. Scores are so large that a frame attends to only one other; if keys were taken as 0,
 * it would attend to all.
 */
TEST (keys_and_values_too_large_to_be_split_are_left_to_exact)
{
  for (int of_values = 0; of_values < 2; of_values++) {
    AttnLayer *exact, *layer = counting_layer (of_values ? 1 : 0x1p60f, of_values ? 0x1p60f : 1, &exact);
    float frames[64 * 8], out[64 * 8], expected[64 * 8], largest = 0;

    random_fill (frames, 64 * 8, 1);
    CHECK (attn_forward (layer, frames, NULL, 64, 0, out, NULL, NULL) == ATTN_OK);
    CHECK (attn_forward (exact, frames, NULL, 64, 0, expected, NULL, NULL) == ATTN_OK);
    CHECK ((of_values || n_projects > 0) && n_scores == 0 && n_contexts == 0);
    for (size_t i = 0; i < 64 * 8; i++)
      largest = fmaxf (largest, fabsf (expected[i]));
    for (size_t i = 0; i < 64 * 8; i++)
      CHECK_MSG (fabsf (out[i] - expected[i]) < 1e-4f * largest, "%zu: %g, not %g", i, out[i], expected[i]);
    attn_layer_free (layer);
    attn_layer_free (exact);
  }
}

/* At the limit: in bf16 a value below it is rounded up to it, and such a value is not taken as 0. */
TEST (values_that_are_rounded_up_to_the_limit_are_not_lost)
{
  static const float values[] = { 0x1.fffffep51f, 0x1.fffffep52f, 0x1.fffffep53f, 0x1.fffffep54f, 0x1p53f, 0x1p54f };

  for (size_t v = 0; v < sizeof values / sizeof values[0]; v++)
    for (AttnPrecision precision = ATTN_PRECISION_F32; precision <= ATTN_PRECISION_BF16; precision += 2) {
      AttnConfig config = attn_config_default ();
      float frames[16 * 4], out[16 * 4];
      AttnLayer *layer;

      config.n_features = 4;
      config.precision = precision;
      config.scale = 1e-38;
      config.arithmetic = ATTN_ARITHMETIC_FAST;
      use_unit (&attn_matrix_c);
      CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
      for (size_t i = 0; i < 16 * 4; i++)
        frames[i] = values[v];
      CHECK (attn_forward (layer, frames, NULL, 16, 0, out, NULL, NULL) == ATTN_OK);
      for (size_t i = 0; i < 16 * 4; i++)
        CHECK_MSG (fabsf (out[i] / values[v] - 1) < 0x1p-7f, "%a in precision %d: %a", values[v], precision, out[i]);
      attn_layer_free (layer);
    }
}

/* Values out of sight, or of another stream, are forgotten: the unit is used again, with the bits of a new stream. */
TEST (a_frame_that_is_not_finite_is_forgotten_with_its_window)
{
  AttnLayer *exact, *layer = counting_layer (1, 1, &exact);
  float frames[64 * 8], out[64 * 8], expected[64 * 8];
  AttnStream *stream, *other;

  random_fill (frames, 64 * 8, 1);
  frames[17 * 8] = NAN;
  CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK && attn_stream_new (layer, &other, NULL) == ATTN_OK);
  attn_stream_push (stream, frames, 32, out, NULL);
  n_scores = 0;
  attn_stream_push (stream, frames + 32 * 8, 16, out, NULL); /* its window of 20 still holds frame 17 */
  CHECK (n_scores == 0);
  attn_stream_push (stream, frames + 48 * 8, 16, out, NULL); /* and that of frame 48 not */
  CHECK_MSG (n_scores == 2, "%zu", n_scores);

  frames[17 * 8] = 0;
  for (int i = 0; i < 2; i++)
    MUST (attn_stream_reset (i == 0 ? stream : other, 40, NULL));
  attn_stream_push (stream, frames, 64, out, NULL);
  attn_stream_push (other, frames, 64, expected, NULL);
  CHECK (same_bits (out, expected, 64 * 8));
  attn_stream_free (stream);
  attn_stream_free (other);
  attn_layer_free (layer);
  attn_layer_free (exact);
}

/*
 * With look-ahead, queries are stored where older ones stood, here a NaN. Absent frames have no query, and must not
 * read it.
 */
TEST (absent_frames_do_not_find_the_query_of_an_earlier_one)
{
  AttnConfig config = attn_config_default ();
  float frames[64 * 4], out[80 * 4], expected[80 * 4];
  AttnStream *stream, *other;
  AttnLayer *layer;

  config.n_features = 4;
  config.window = 10;
  config.look_ahead = 4;
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  use_unit (&attn_matrix_c);
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK && attn_stream_new (layer, &other, NULL) == ATTN_OK);
  random_fill (frames, 64 * 4, 1);
  frames[5 * 4] = NAN; /* waits where frame 37 will */
  attn_stream_push (stream, frames, 37, out, NULL);
  attn_stream_skip (stream, 1, out, NULL);
  frames[5 * 4] = 0;
  attn_stream_push (other, frames, 37, expected, NULL);
  attn_stream_skip (other, 1, expected, NULL);
  attn_stream_push (stream, frames + 38 * 4, 26, out, NULL);
  attn_stream_push (other, frames + 38 * 4, 26, expected, NULL);
  CHECK (same_bits (out, expected, 26 * 4));
  attn_stream_free (stream);
  attn_stream_free (other);
  attn_layer_free (layer);
}

TEST (parameters_too_large_to_be_split_are_left_to_exact)
{
  Pair pair = random_pair (&attn_matrix_c);
  AttnModel model = { .name = (char *) "infinite" };
  AttnConfig config = attn_config_default ();
  Sequence exact, fast;
  bool equal = true;

  config.n_features = 8;
  model.query = random_linear (8, 8, true, 1);
  model.key = random_linear (8, 8, true, 1);
  model.value = random_linear (8, 8, true, 1);
  model.output = random_linear (8, 8, true, 1);
  model.output.weight[20] = INFINITY;
  pair_clear (&pair);
  pair = (Pair){ 0 };
  CHECK (attn_layer_new (&config, &model, &pair.exact, NULL) == ATTN_OK);
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  CHECK (attn_layer_new (&config, &model, &pair.fast.layer, NULL) == ATTN_OK);
  CHECK (attn_layer_first (pair.fast.layer)->input.split != NULL
         && attn_layer_first (pair.fast.layer)->output.split == NULL);
  exact = random_sequence (pair.exact, 50, false);
  fast = twin (pair.exact, &exact);
  MUST (attn_forward (pair.exact, exact.frames, NULL, exact.n, 0, exact.out, exact.weights, NULL));
  MUST (attn_forward (pair.fast.layer, fast.frames, NULL, fast.n, 0, fast.out, fast.weights, NULL));
  for (size_t i = 0; i < 50 * 8; i++)
    equal &=
        i % 8 == 2 ? isinf (exact.out[i]) && exact.out[i] == fast.out[i] : fabsf (exact.out[i] - fast.out[i]) < 1e-4f;
  CHECK (equal);
  twin_clear (&fast);
  sequence_clear (&exact);
  attn_layer_free (pair.exact);
  pair.fast.model = NULL;
  random_layer_clear (&pair.fast);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
}

/* ---- streams ---- */

TEST (threads_change_no_bit)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    Sequence one, several;
    AttnStream *stream;
    AttnLayer *threaded;
    RandomLayer r;
    const size_t size = 16;

    use_unit (unit);
    r = random_layer_of (ATTN_ARITHMETIC_FAST);
    r.config.n_threads = random_between (2, 4);
    CHECK (attn_layer_new (&r.config, r.model, &threaded, NULL) == ATTN_OK);
    one = random_sequence (r.layer, 100, true);
    several = twin (r.layer, &one);
    CHECK (attn_stream_new (r.layer, &stream, NULL) == ATTN_OK);
    CHECK (stream_in_pieces (stream, r.layer, &one, &size, 1));
    attn_stream_free (stream);
    CHECK (attn_stream_new (threaded, &stream, NULL) == ATTN_OK);
    stream->work.shares_all = true;
    CHECK (stream_in_pieces (stream, threaded, &several, &size, 1));
    attn_stream_free (stream);
    CHECK_MSG (same_outputs (r.layer, &one, &several), "configuration %d", i);
    twin_clear (&several);
    sequence_clear (&one);
    attn_layer_free (threaded);
    random_layer_clear (&r);
  }
}

/* A stream is saved where a block ends and continued by another stream, which must split the window anew. */
TEST (a_restored_stream_goes_on_to_the_bit)
{
  FOR_EACH_UNIT (unit)
  for (int i = 0; i < N_RANDOM; i++) {
    Pair pair = random_pair (unit);
    const AttnLayer *layer = pair.fast.layer;
    size_t n_features = attn_layer_n_features (layer), n_outputs = attn_layer_n_outputs (layer), size;
    float *frames = malloc (96 * n_features * sizeof *frames);
    float *out = calloc (200 * n_outputs, sizeof *out), *other_out = calloc (200 * n_outputs, sizeof *other_out);
    AttnStream *stream, *other, *exact;
    void *state;
    AttnError error;

    random_fill (frames, 96 * n_features, 2);
    CHECK (attn_stream_new (layer, &stream, NULL) == ATTN_OK && attn_stream_new (layer, &other, NULL) == ATTN_OK);
    attn_stream_push (stream, frames, 48, out, NULL);
    size = attn_stream_state_size (stream);
    state = malloc (size);
    CHECK (attn_stream_save (stream, state, size, &error) == ATTN_OK);
    CHECK (attn_stream_restore (other, state, size, &error) == ATTN_OK);
    attn_stream_push (stream, frames + 48 * n_features, 48, out, NULL);
    attn_stream_push (other, frames + 48 * n_features, 48, other_out, NULL);
    CHECK_MSG (same_bits (out, other_out, 48 * n_outputs), "configuration %d", i);

    CHECK (attn_stream_new (pair.exact, &exact, NULL) == ATTN_OK);
    CHECK (attn_stream_restore (exact, state, size, &error) == ATTN_ERROR_STATE);
    attn_stream_free (exact);
    attn_stream_free (stream);
    attn_stream_free (other);
    free (state);
    free (frames);
    free (out);
    free (other_out);
    pair_clear (&pair);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  print_units ();
  RUN (forward_is_within_the_derived_bound_of_float64);
  RUN (streams_are_within_the_derived_bound_however_they_are_cut);
  RUN (streams_of_a_group_are_within_the_derived_bound);
  RUN (blocks_too_small_for_the_unit_are_exact);
  RUN (only_blocks_that_the_unit_is_faster_for_are_split);
  RUN (small_pieces_of_large_pushes_are_split);
  RUN (without_a_unit_fast_is_exact);
  RUN (environment_picks_a_unit_or_refuses);
  RUN (every_unit_gives_the_bits_of_plain_c);
  RUN (frames_too_large_to_be_split_do_what_they_do_in_exact);
  RUN (keys_and_values_too_large_to_be_split_are_left_to_exact);
  RUN (values_that_are_rounded_up_to_the_limit_are_not_lost);
  RUN (a_frame_that_is_not_finite_is_forgotten_with_its_window);
  RUN (absent_frames_do_not_find_the_query_of_an_earlier_one);
  RUN (parameters_too_large_to_be_split_are_left_to_exact);
  RUN (threads_change_no_bit);
  RUN (a_restored_stream_goes_on_to_the_bit);
  return check_done ();
}
