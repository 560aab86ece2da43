/*
 * No operation takes or makes denormal numbers, which cost a hundred times as much on some processors. The test is
 * exact and needs no timing: the processor keeps sticky flags of both. Only cancellation can raise them, in fewer than
 * one sum of ten thousand; this is counted where it happens most.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Plain C is tested only where the processor has an instruction for fma; elsewhere fmaf () is a function, which may use
 * denormals.
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */

#include "base/alloc.h"
#include "check.h"
#include "flags.h"
#include "layers.h"
#include "sdpa.h"
#include "stream/stream.h"

#define MOST_PER_SUM 1e-4 /* sums that may be tiny by cancellation */

/* ---- the flags ---- */

static void
set_flushing (bool on)
{
  attn_float_set_mode ((attn_float_mode () & ~(uint64_t) ATTN_FLOAT_FLUSH) | (on ? ATTN_FLOAT_FLUSH : 0));
}

/* The rows that must keep this. */
static const AttnKernels *
row_with_fma (size_t i)
{
  bool runs;
  const AttnKernels *kernels = attn_kernels_row (i, &runs);

  return kernels != NULL && runs && has_fma () ? kernels : NULL;
}

#define FOR_EACH_ROW(kernels)              \
  for (size_t row_ = 0; row_ < 16; row_++) \
    for (const AttnKernels *kernels = row_with_fma (row_); kernels != NULL; kernels = NULL)

/* ---- values of all magnitudes ---- */

/* 10^exponent, 0 and infinity included. */
static float
power_of_ten (double exponent)
{
  return (float) pow (10, exponent);
}

static double
random_exponent (int least, int most)
{
  return least + (most - least) * (random_float (0.5f) + 0.5);
}

/* How the magnitudes of neighbouring values relate. */
typedef enum { UNIFORM, MIXED, FADING, ONE_LOUD, N_KINDS } Kind;

/* Rows of values around 10^exponent. Fading rows get smaller until they are denormal, and then 0. */
static void
fill (float *values, size_t n_rows, size_t n, Kind kind, double exponent)
{
  double fading = random_exponent (0, 4);
  size_t loud = random_between (0, n - 1);

  for (size_t row = 0; row < n_rows; row++)
    for (size_t i = 0; i < n; i++) {
      double e = kind == MIXED ? random_exponent (-38, 38) : exponent - (kind == FADING ? row * fading : 0);

      values[row * n + i] = random_float (1) * power_of_ten (kind == ONE_LOUD && i == loud ? 38 : e);
    }
}

static void
fill_linear (AttnLinear *linear, double limit)
{
  Kind kind = random_between (0, N_KINDS - 1);
  double exponent = random_exponent (-38, 38);

  if (linear->weight == NULL)
    return;
  fill (linear->weight, linear->n_outputs, linear->n_inputs, kind, exponent);
  for (size_t i = 0; i < (size_t) linear->n_outputs * linear->n_inputs; i++)
    linear->weight[i] = fminf (fmaxf (linear->weight[i], -limit), limit);
  if (linear->bias != NULL)
    fill (linear->bias, 1, linear->n_outputs, kind, random_between (0, 1) ? exponent : random_exponent (-38, 38));
}

/* A random layer, with parameters and scores of all magnitudes. */
static RandomLayer
tiny_layer (AttnArithmetic arithmetic)
{
  RandomLayer r = random_layer_of (arithmetic);
  float limit = r.config.precision == ATTN_PRECISION_F16 ? 65504 : INFINITY; /* more is refused */
  AttnError error;

  attn_layer_free (r.layer);
  if (r.config.scale != 0 || random_between (0, 1))
    r.config.scale = pow (10, random_exponent (-60, 38));
  if (r.config.softcap != 0)
    r.config.softcap = pow (10, random_exponent (-30, 30));
  r.config.n_threads = random_between (0, 3) == 0 ? random_between (2, 3) : 0;
  if (r.model != NULL) {
    fill_linear (&r.model->query, limit);
    fill_linear (&r.model->key, limit);
    fill_linear (&r.model->value, limit);
    fill_linear (&r.model->output, limit);
    if (r.config.position == ATTN_POSITION_RELATIVE)
      fill (r.model->relative_bias.values, r.config.n_heads, r.config.window + r.config.look_ahead,
            random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  }
  if (attn_layer_new (&r.config, r.model, &r.layer, &error) != ATTN_OK) {
    printf ("Bail out! tiny layer: %s\n", error.message);
    exit (1);
  }
  return r;
}

/* ---- streams ---- */

#define N_FRAMES 120
#define N_LAYERS random_rounds (300)

static void
take_flags (void *data, size_t part, size_t n_parts)
{
  unsigned *flags = data;

  flags[part] = tiny_flags ();
  clear_flags ();
}

/* Of each thread of a stream; afterwards they are clear. */
static unsigned
flags_of_threads (const AttnStream *stream)
{
  unsigned flags[ATTN_MAX_THREADS] = { 0 }, any = 0;

  attn_pool_run (stream->work.pool, take_flags, flags);
  for (size_t i = 0; i < ATTN_MAX_THREADS; i++)
    any |= flags[i];
  return any;
}

/* The number of cases that raised a flag, of all cases. */
typedef struct {
  size_t n_flagged, n_calls; /* pushes and drains */
  size_t n_flagged_layers, n_layers;
} Count;

static void
set_gains (AttnStream *stream)
{
  for (uint32_t head = 0; head < attn_layer_first (stream->layer)->sizes.n_heads; head++)
    if (random_between (0, 2) == 0)
      MUST (attn_stream_set_gain (stream, 0, head, random_float (1) * power_of_ten (random_exponent (-38, 38))));
}

static void
note_call (Count *count, const AttnStream *stream)
{
  count->n_flagged += flags_of_threads (stream) != 0;
  count->n_calls++;
}

/* All frames, in pieces, with weights or without. */
static void
count_stream (Count *count, const AttnLayer *layer, const float *frames, float *out, float *weights, bool is_flushing)
{
  AttnStream *stream;
  size_t piece = random_between (1, 40);

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    abort ();
  stream->work.shares_all = true;
  set_gains (stream);
  set_flushing (is_flushing);
  flags_of_threads (stream);
  for (size_t i = 0, n; i < N_FRAMES; i += n) {
    n = N_FRAMES - i < piece ? N_FRAMES - i : piece;
    attn_stream_push (stream, frames + i * attn_layer_first (layer)->sizes.n_features, n, out, weights);
    note_call (count, stream);
  }
  attn_stream_skip (stream, 3, out, weights);
  attn_stream_drain (stream, out, weights);
  note_call (count, stream);
  set_flushing (false);
  attn_stream_free (stream);
}

static void
count_layer (Count *count, AttnLayer *layer, bool is_flushing)
{
  const AttnSizes *sizes = &attn_layer_first (layer)->sizes;
  float *frames = attn_alloc (N_FRAMES * sizes->n_features * sizeof (float));
  float *out = attn_alloc (N_FRAMES * sizes->n_outputs * sizeof (float));
  float *weights = attn_alloc (N_FRAMES * sizes->n_heads * sizes->span * sizeof (float));

  fill (frames, N_FRAMES, sizes->n_features, random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  FOR_EACH_ROW (kernels)
  {
    layer->machine.kernels = kernels;
    count_stream (count, layer, frames, out, random_between (0, 1) ? weights : NULL, is_flushing);
  }
  attn_free (frames);
  attn_free (out);
  attn_free (weights);
}

static Count
count_layers (AttnArithmetic arithmetic, bool is_flushing)
{
  Count count = { 0 };

  for (int round = 0; round < N_LAYERS; round++) {
    RandomLayer r = tiny_layer (arithmetic);
    size_t n_flagged = count.n_flagged;

    count_layer (&count, r.layer, is_flushing);
    count.n_flagged_layers += count.n_flagged > n_flagged;
    count.n_layers++;
    random_layer_clear (&r);
  }
  printf ("# %zu of %zu calls, %zu of %zu layers raised a flag\n", count.n_flagged, count.n_calls,
          count.n_flagged_layers, count.n_layers);
  return count;
}

/*
 * Every row of kernels meets a value that cancellation made tiny, and so does every call while the window holds it: so
 * layers are counted. A layer has a hundred thousand sums or more, so the limit is far below one sum of ten thousand.
 * Any cause other than cancellation would show in many layers.
 */
#define MOST_FLAGGED(n) (1 + (n) / 100)
#define CHECK_COUNT(count) CHECK ((count).n_flagged_layers <= MOST_FLAGGED ((count).n_layers))

TEST (no_push_meets_a_denormal)
{
  Count count = count_layers (ATTN_ARITHMETIC_EXACT, false);

  CHECK_COUNT (count);
}

TEST (no_push_of_a_caller_who_flushes_meets_a_denormal)
{
  Count count = count_layers (ATTN_ARITHMETIC_EXACT, true);

  CHECK_COUNT (count);
}

TEST (no_push_through_a_matrix_unit_meets_a_denormal)
{
  Count count;

  setenv ("ATTN_MATRIX", "c", 1);
  count = count_layers (ATTN_ARITHMETIC_FAST, false);
  unsetenv ("ATTN_MATRIX");
  CHECK_COUNT (count);
}

TEST (flags_of_the_caller_stay)
{
  AttnLayer *layer = plain_layer (4, 1, 3, 0, 0);
  float frame[4] = { 1, 2, 3, 4 }, out[4];
  AttnStream *stream;
  unsigned flags;
  volatile float tiny = 1e-30f;

  if (attn_stream_new (layer, &stream, NULL) != ATTN_OK)
    abort ();
  clear_flags ();
  tiny *= tiny;
  flags = tiny_flags ();
  attn_stream_push (stream, frame, 1, out, NULL);
  attn_stream_free (stream);
  attn_layer_free (layer);
  CHECK (flags != 0 && tiny_flags () == flags);
}

/* ---- the plain operator ---- */

static void
fill_tensor (uint32_t type, void *tensor, size_t n, Kind kind, double exponent)
{
  float *values = attn_alloc ((n + 1) * sizeof *values);

  if (n > 0)
    fill (values, n, 1, kind == ONE_LOUD ? MIXED : kind, exponent);
  for (size_t i = 0; i < n && tensor != NULL; i++)
    tensor_set (type, tensor, i, values[i]);
  attn_free (values);
}

/* Masks and scores as well, of any type and any precision of the softmax. */
static Problem
tiny_problem (void)
{
  static const uint32_t types[] = { ATTN_TYPE_F32, ATTN_TYPE_F32, ATTN_TYPE_F16, ATTN_TYPE_BF16 };
  static const uint32_t softmax_types[] = { ATTN_TYPE_DEFAULT, ATTN_TYPE_F64, ATTN_TYPE_F16, ATTN_TYPE_BF16 };
  Problem p = { .s = random_description () };
  AttnSdpa *s = &p.s;

  s->type = types[random_between (0, 3)];
  s->softmax_type = softmax_types[random_between (0, 3)];
  s->scores_stage = random_between (0, 2);
  if (random_between (0, 1))
    s->scale = pow (10, random_exponent (-60, 38));
  if (s->softcap != 0)
    s->softcap = pow (10, random_exponent (-30, 30));
  allocate_tensors (&p);
  add_random_masks (&p);
  s->scores = p.scores = tensor_new (s->type, p.n_weights);
  fill_tensor (s->type, p.query, p.n_query, random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  fill_tensor (s->type, p.key, p.n_key, random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  fill_tensor (value_type (s), p.value, p.n_value, random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  fill_tensor (s->type, p.float_mask, p.n_mask, random_between (0, N_KINDS - 1), random_exponent (-38, 38));
  return p;
}

TEST (no_operator_meets_a_denormal)
{
  size_t n_flagged = 0, n_problems = 0;

  for (; n_problems < (size_t) N_LAYERS; n_problems++) {
    Problem p = tiny_problem ();
    bool is_flagged = false;

    FOR_EACH_ROW (kernels)
    {
      setenv ("ATTN_CPU", kernels->name, 1);
      clear_flags ();
      if (attn_sdpa (&p.s, NULL) != ATTN_OK)
        abort ();
      is_flagged |= tiny_flags () != 0;
    }
    n_flagged += is_flagged;
    problem_clear (&p);
  }
  unsetenv ("ATTN_CPU");
  printf ("# %zu of %zu problems raised a flag\n", n_flagged, n_problems);
  CHECK (n_flagged <= MOST_FLAGGED (n_problems));
}

/* ---- single sums ---- */

/*
 * Where cancellation is most likely: products about as large as the guard, in sums of any length, one sum at a time.
 */
#define N_SUMS random_rounds (100000)
#define MOST_TERMS 300

/* Magnitudes around the square root of the guard. */
static void
fill_worst (float *values, size_t n)
{
  random_fill (values, n, ldexpf (1, random_between (0, 1) - 51));
}

typedef struct {
  float left[MOST_TERMS], right[(MOST_TERMS + ATTN_LANES) * ATTN_LANES], start[ATTN_LANES], out[ATTN_LANES];
  size_t n; /* terms */
} Sum;

/* One output; those of the padding are 0. */
static void
sum_output (const AttnKernels *kernels, Sum *sum)
{
  AttnProjection projection = {
    .n_inputs = sum->n, .n_outputs = 1, .panel = ATTN_LANES, .weight = sum->right, .start = sum->start
  };

  for (size_t i = 0; i < sum->n * ATTN_LANES; i++)
    sum->right[i] = i % ATTN_LANES == 0 ? sum->right[i] : 0;
  sum->start[0] = ATTN_GUARD + (sum->n % 2 ? ATTN_GUARD * sum->left[0] * 0x1p51f : 0);
  clear_flags ();
  kernels->project (sum->out, 1, sum->left, sum->n, 1, &projection);
}

/* The score of one key; the others are 0. */
static void
sum_score (const AttnKernels *kernels, Sum *sum)
{
  const uint32_t slot = 0;
  AttnRows rows = { .n_rows = 1, .n_tiles = 1, .slots = &slot, .scores = sum->out };

  for (size_t i = 0; i < sum->n * ATTN_LANES; i++)
    sum->right[i] = i % ATTN_LANES == 0 ? sum->right[i] : 0;
  clear_flags ();
  kernels->scores (&rows, sum->left, 0, sum->right, 0, sum->n);
}

/* One value of a context, of up to 16 frames. */
static void
sum_context (const AttnKernels *kernels, Sum *sum)
{
  const uint32_t slot = 0;
  const uint16_t finite = 0xffff, mask = 0xffff;
  float reciprocal = 1 / (1 + fabsf (sum->left[0]) * 0x1p55f), weights[ATTN_LANES];
  AttnRows rows = { 1, 1, &slot, &finite, &mask, 0, weights, 0, &reciprocal, ATTN_PRECISION_F32 };

  for (size_t i = 0; i < ATTN_LANES; i++)
    weights[i] = i < sum->n ? fabsf (sum->left[i]) : 0;
  clear_flags ();
  kernels->context (&rows, sum->out, 1, sum->right, 0, 1);
}

/* A rotated pair: two sums of two products. */
static void
sum_pair (const AttnKernels *kernels, Sum *sum)
{
  float cosine = sum->left[0] * 0x1p51f, sine = sum->left[1] * 0x1p51f;

  sum->right[0] *= 0x1p-51f;
  sum->right[1] *= 0x1p-51f;
  clear_flags ();
  kernels->rotate (sum->right, &cosine, &sine, 1, sum->n % 2);
}

/* Two scores about as large as the guard, and their exponentials. */
static void
sum_softmax (const AttnKernels *kernels, Sum *sum)
{
  const uint16_t mask = 3;
  float reciprocal;
  AttnRows rows = { .n_rows = 1, .n_tiles = 1, .masks = &mask, .scores = sum->out, .reciprocals = &reciprocal };

  memset (sum->out, 0, sizeof sum->out);
  for (size_t i = 0; i < 2; i++)
    sum->out[i] = fmaf (sum->left[i], sum->right[i], ATTN_GUARD);
  clear_flags ();
  kernels->softmax (&rows);
}

static void
sum_softcap (const AttnKernels *kernels, Sum *sum)
{
  float cap = power_of_ten (random_exponent (-30, 30));

  sum_softmax (kernels, sum);
  for (size_t i = 0; i < ATTN_LANES; i++)
    sum->out[i] = fmaf (sum->left[i % 2], sum->right[i], ATTN_GUARD);
  clear_flags ();
  kernels->softcap (sum->out, 2 / cap, cap * 0x1.715476p0f, 1);
}

static size_t
count_sums (const AttnKernels *kernels, const char *name, void (*make) (const AttnKernels *, Sum *), size_t least,
            size_t most)
{
  static Sum sum;
  size_t n_flagged = 0;

  for (int round = 0; round < N_SUMS; round++) {
    sum = (Sum){ .n = random_between (0, 9) ? random_between (least, least + 15) : random_between (least, most) };
    fill_worst (sum.left, sum.n);
    fill_worst (sum.right, (sum.n + 1) * ATTN_LANES);
    make (kernels, &sum);
    n_flagged += tiny_flags () != 0;
  }
  printf ("# %s: %zu of %d %s raised a flag\n", kernels->name, n_flagged, N_SUMS, name);
  return n_flagged;
}

TEST (cancellation_makes_fewer_than_one_sum_of_ten_thousand_tiny)
{
  FOR_EACH_ROW (kernels)
  {
    size_t outputs = count_sums (kernels, "outputs", sum_output, 1, MOST_TERMS);
    size_t scores = count_sums (kernels, "scores", sum_score, 1, MOST_TERMS);
    size_t contexts = count_sums (kernels, "contexts", sum_context, 1, ATTN_LANES);
    size_t pairs = count_sums (kernels, "pairs", sum_pair, 2, 2);
    size_t weights = count_sums (kernels, "pairs of weights", sum_softmax, 2, 2);
    size_t capped = count_sums (kernels, "capped scores", sum_softcap, 2, 2);

    CHECK_MSG (outputs <= MOST_PER_SUM * N_SUMS && scores <= MOST_PER_SUM * N_SUMS, "%s", kernels->name);
    CHECK_MSG (contexts <= MOST_PER_SUM * N_SUMS && pairs <= MOST_PER_SUM * N_SUMS, "%s", kernels->name);
    CHECK_MSG (weights <= MOST_PER_SUM * N_SUMS && capped <= MOST_PER_SUM * N_SUMS, "%s", kernels->name);
  }
}

/* ---- accuracy ---- */

/* The error of an output, relative to the largest one, where scores are of order one: as in attn.h, with a reserve. */
#define MOST_RELATIVE 1e-5

#define N_ACCURATE 40

/* Outputs and weights of frames around 10^x, against float64. */
static bool
is_accurate (const RandomLayer *r, double x, double *worst)
{
  const AttnSizes *sizes = &attn_layer_first (r->layer)->sizes;
  size_t n_out = N_ACCURATE * sizes->n_outputs, n_weights = N_ACCURATE * sizes->n_heads * sizes->span;
  float *frames = attn_alloc (N_ACCURATE * sizes->n_features * sizeof (float));
  float *out = attn_alloc (n_out * sizeof (float)), *weights = attn_alloc (n_weights * sizeof (float));
  Bounded *expected_out = attn_alloc (n_out * sizeof (Bounded)), *expected = attn_alloc (n_weights * sizeof (Bounded));
  double largest = 0, error = 0;
  bool is_within = true;

  random_fill (frames, N_ACCURATE * sizes->n_features, power_of_ten (x));
  if (attn_forward (r->layer, frames, NULL, N_ACCURATE, 0, out, weights, NULL) != ATTN_OK)
    abort ();
  reference_forward (sizes, r->model, random_layer_scale (r), r->config.softcap, frames, NULL, N_ACCURATE, 0,
                     expected_out, expected);
  for (size_t i = 0; i < n_weights; i++)
    is_within = is_within && fabs (weights[i] - expected[i].value) <= expected[i].error;
  for (size_t i = 0; i < n_out; i++) {
    is_within = is_within && fabs (out[i] - expected_out[i].value) <= expected_out[i].error;
    largest = fmax (largest, fabs (expected_out[i].value));
    error = fmax (error, fabs (out[i] - expected_out[i].value));
  }
  *worst = error / largest;
  attn_free (frames);
  attn_free (out);
  attn_free (weights);
  attn_free (expected_out);
  attn_free (expected);
  return is_within;
}

static void
multiply (AttnLinear *linear, double exponent)
{
  for (size_t i = 0; linear->weight != NULL && i < (size_t) linear->n_outputs * linear->n_inputs; i++)
    linear->weight[i] *= power_of_ten (exponent);
}

static void
multiply_bias (AttnLinear *linear, double exponent)
{
  for (size_t i = 0; linear->bias != NULL && i < linear->n_outputs; i++)
    linear->bias[i] *= power_of_ten (exponent);
}

/*
 * Frames around 10^x, with projections that give queries around 10^q, keys around 10^k, values around 10^v and outputs
 * around 10^o; a scale that gives scores around 10^s.
 */
typedef struct {
  double x, q, k, v, o, s;
} Magnitudes;

static Magnitudes
random_magnitudes (void)
{
  Magnitudes m = { 0 };
  double *all[] = { &m.x, &m.q, &m.k, &m.v, &m.o };

  for (size_t i = 0; i < 5; i++)
    *all[i] = random_exponent (-29, 29);
  m.s = random_between (0, 1) ? -0.5 : random_exponent (-29, 0);
  return m;
}

/* Parameters, scale and scaled queries, too, are within 1e-30 ... 1e30. */
static bool
is_in_range (const Magnitudes *m)
{
  return fabs (m->q - m->x) < 29 && fabs (m->k - m->x) < 29 && fabs (m->v - m->x) < 29 && fabs (m->o - m->v) < 29
         && fabs (m->s - m->k) < 29 && fabs (m->s - m->q - m->k) < 29 && fabs (m->s - m->x) < 29
         && fabs (m->s - 2 * m->x) < 29;
}

/* A norm would give queries and keys its own magnitude. */
static void
remove_norms (RandomLayer *r)
{
  r->config.qk_norm = ATTN_QK_NORM_UNSET;
  r->config.qk_norm_eps = ATTN_UNSET_DOUBLE;
  if (r->model == NULL)
    return;
  free_norm_vectors (&r->model->query_norm);
  free_norm_vectors (&r->model->key_norm);
  r->model->query_norm = r->model->key_norm = (AttnNormVectors){ 0 };
}

static RandomLayer
layer_of (const Magnitudes *m)
{
  RandomLayer r = random_layer ();
  AttnError error;

  remove_norms (&r);
  attn_layer_free (r.layer);
  r.config.precision = ATTN_PRECISION_F32;
  r.config.scale = pow (10, r.model != NULL ? m->s - m->q - m->k : m->s - 2 * m->x);
  if (r.model != NULL) {
    multiply (&r.model->query, m->q - m->x);
    multiply (&r.model->key, m->k - m->x);
    multiply (&r.model->value, m->v - m->x);
    multiply (&r.model->output, m->o - m->v);
    multiply_bias (&r.model->query, m->q);
    multiply_bias (&r.model->key, m->k);
    multiply_bias (&r.model->value, m->v);
    multiply_bias (&r.model->output, m->o);
  }
  if (attn_layer_new (&r.config, r.model, &r.layer, &error) != ATTN_OK) {
    printf ("Bail out! layer of magnitudes: %s\n", error.message);
    exit (1);
  }
  return r;
}

TEST (all_magnitudes_are_as_accurate_as_one)
{
  double worst = 0;

  for (int round = 0; round < N_LAYERS; round++) {
    Magnitudes m = random_magnitudes ();
    RandomLayer r;
    double relative;
    bool is_within;

    if (!is_in_range (&m)) {
      round--;
      continue;
    }
    r = layer_of (&m);
    is_within = is_accurate (&r, m.x, &relative);
    random_layer_clear (&r);
    worst = fmax (worst, relative);
    CHECK_MSG (is_within && relative <= MOST_RELATIVE,
               "round %d: frames 1e%.0f, queries 1e%.0f, keys 1e%.0f, values 1e%.0f, outputs 1e%.0f, scores 1e%.0f: %g",
               round, m.x, m.q, m.k, m.v, m.o, m.s, relative);
  }
  printf ("# largest error %.2g of the largest output\n", worst);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  if (!has_flags ()) {
    printf ("1..0 # SKIP there are no flags of exceptions here\n");
    return 0;
  }
  RUN (no_push_meets_a_denormal);
  RUN (no_push_of_a_caller_who_flushes_meets_a_denormal);
  RUN (no_push_through_a_matrix_unit_meets_a_denormal);
  RUN (flags_of_the_caller_stay);
  RUN (no_operator_meets_a_denormal);
  RUN (cancellation_makes_fewer_than_one_sum_of_ten_thousand_tiny);
  RUN (all_magnitudes_are_as_accurate_as_one);
  return check_done ();
}
