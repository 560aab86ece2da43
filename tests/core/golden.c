/*
 * Against PyTorch and NumPy: the files that tests/golden/generate.py and position.py made with nn.MultiheadAttention,
 * and streaming.py by definitions, in float64. Also names the largest error of each.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>
#include <stdlib.h>

#include "attn.h"
#include "check.h"
#include "golden-file.h"

/*
 * Largest error relative to the largest output. Float32 has an error of about 2^-24 * sqrt (n) in each chain of n; the
 * longest here is 256.
 */
#define TOLERANCE 2e-6
/*
 * Where the scores are large: their rounding errors are proportional to them, and a weight changes by the factor exp
 * (error). Two units of rounding of the largest score, in the frame's own score and in the largest one it is compared
 * with.
 */
#define LARGE_GAIN_TOLERANCE(largest_score) (4 * 0x1p-24 * (largest_score))
/* Parameters, keys and values in 16 bits, where scores are of order one: as attn.h says. */
#define F16_TOLERANCE (2 * 0x1p-11)
#define BF16_TOLERANCE (2 * 0x1p-8)
/*
 * arithmetic=fast: a product is off by 3 * 2^-16 of itself at most (matrix.h), in either direction, and in a sum of
 * some ten products of either sign the errors cancel to a tenth of that; two projections, scores and contexts add up.
 */
#define FAST_TOLERANCE 0x1p-15
/*
 * A weight is at most 1: two roundings of a score (of order one, by chains of up to 20) in its exponent, those of the
 * exponential and of the sum.
 */
#define WEIGHT_TOLERANCE 1e-6
#define WEIGHTS_EVERY 7 /* frames; EVERY of position.py */
#define GOLDEN_VERSION "1"

typedef struct {
  AttnLayer *layer;
  size_t n_frames;
  float *in, *expected, *out;
  float *present; /* [n_frames], 0: absent; NULL: all are there */
  float *weights; /* of every seventh frame; NULL: not stored */
  size_t n_out;   /* values of `out` */
  double largest_score;
} Golden;

/* The index of the metadata's value in `names` [n]; 0 if it has none. */
static uint32_t
choice (const AttnSafetensors *file, const char *key, const char *const *names, uint32_t n)
{
  const char *text = attn_safetensors_metadata (file, key);

  for (uint32_t i = 0; text != NULL && i < n; i++)
    if (strcmp (text, names[i]) == 0)
      return i;
  return 0;
}

static AttnConfig
read_config (const AttnSafetensors *file)
{
  static const char *const positions[] = { "none", "rope", "alibi", "relative", "transformer-xl" };
  static const char *const layouts[] = { "half", "interleaved" };
  static const char *const norms[] = { "none", "layer", "rms" };
  AttnConfig config = attn_config_default ();

  config.n_heads = golden_number (file, "heads", 0);
  config.n_kv_heads = golden_number (file, "kv-heads", 0);
  config.window = golden_number (file, "window", ATTN_UNSET);
  config.look_ahead = golden_number (file, "look-ahead", ATTN_UNSET);
  config.chunk = golden_number (file, "chunk", ATTN_UNSET);
  config.chunks = golden_number (file, "chunks", ATTN_UNSET);
  config.n_sinks = golden_number (file, "sinks", 0);
  config.position = choice (file, "position", positions, 5);
  config.rope_layout = choice (file, "rope-layout", layouts, 2);
  config.rope_dimensions = golden_number (file, "rope-dimensions", 0);
  config.qk_norm = choice (file, "qk-norm", norms, 3);
  config.qk_norm_eps = golden_number (file, "qk-norm-eps", ATTN_UNSET_DOUBLE);
  config.softcap = golden_number (file, "softcap", ATTN_UNSET_DOUBLE);
  config.rope_base = golden_number (file, "rope-base", ATTN_UNSET_DOUBLE);
  return config;
}

static bool
open_golden (const char *name, AttnPrecision precision, AttnArithmetic arithmetic, Golden *golden)
{
  char path[512];
  AttnError error;
  AttnSafetensors *file;
  AttnConfig config;
  AttnModel *model = NULL;
  AttnStatus status;
  const char *version;
  AttnTensor input, output, ignored;

  snprintf (path, sizeof path, "%s/attention/%s.safetensors", GOLDEN_DIR, name);
  if (attn_safetensors_open (path, &file, &error) != ATTN_OK) {
    printf ("# %s\n", error.message);
    return false;
  }
  version = attn_safetensors_metadata (file, "version");
  if (version == NULL || strcmp (version, GOLDEN_VERSION) != 0) {
    printf ("# %s has version %s, not %s: run tests/golden/generate.py\n", path, version ? version : "(none)",
            GOLDEN_VERSION);
    attn_safetensors_close (file);
    return false;
  }
  golden->largest_score = golden_number (file, "largest-score", 0);
  config = read_config (file);
  golden->present = golden_tensor (file, "present", &ignored);
  golden->weights = golden_tensor (file, "weights", &ignored);
  golden->in = golden_tensor (file, "input", &input);
  golden->expected = golden_tensor (file, "output", &output);
  attn_safetensors_close (file);
  if (golden->in == NULL || golden->expected == NULL)
    return false;
  golden->n_frames = input.dims[0];
  golden->n_out = output.n_elements;
  golden->out = malloc (golden->n_out * sizeof (float));
  config.n_features = input.dims[1];
  config.precision = precision;
  config.arithmetic = arithmetic;

  status = strcmp (name, "parameter-free") == 0 ? ATTN_OK : attn_model_open (path, "attn.", &model, &error);
  if (status == ATTN_OK)
    status = attn_layer_new (&config, model, &golden->layer, &error);
  attn_model_free (model);
  if (status != ATTN_OK)
    printf ("# %s\n", error.message);
  return status == ATTN_OK;
}

static void
golden_clear (Golden *golden)
{
  attn_layer_free (golden->layer);
  free (golden->in);
  free (golden->present);
  free (golden->weights);
  free (golden->expected);
  free (golden->out);
}

static double
relative_error (const Golden *golden)
{
  double worst = 0, largest = 0;

  for (size_t i = 0; i < golden->n_out; i++) {
    double difference = fabs ((double) golden->out[i] - golden->expected[i]);

    worst = difference <= worst ? worst : difference; /* a NaN stays */
    largest = fmax (largest, fabs (golden->expected[i]));
  }
  return worst / largest;
}

/* All frames through a stream, those that are absent one by one; returns how many outputs came. */
static size_t
run_stream (const Golden *golden, AttnStream *stream)
{
  size_t n_features = attn_layer_n_features (golden->layer), n_outputs = attn_layer_n_outputs (golden->layer), n = 0, i;

  if (golden->present == NULL)
    n = attn_stream_push (stream, golden->in, golden->n_frames, golden->out, NULL);
  else
    for (i = 0; i < golden->n_frames; i++)
      n += golden->present[i] != 0
               ? attn_stream_push (stream, golden->in + i * n_features, 1, golden->out + n * n_outputs, NULL)
               : attn_stream_skip (stream, 1, golden->out + n * n_outputs, NULL);
  return n + attn_stream_drain (stream, golden->out + n * n_outputs, NULL);
}

/* `tolerance` 0: from the largest score. */
static void
check_golden (const char *name, AttnPrecision precision, AttnArithmetic arithmetic, double tolerance)
{
  Golden golden = { 0 };
  bool opened = open_golden (name, precision, arithmetic, &golden);
  AttnStream *stream = NULL;
  double error = NAN;
  size_t n = 0;

  if (opened && attn_stream_new (golden.layer, &stream, NULL) == ATTN_OK) {
    n = run_stream (&golden, stream);
    error = relative_error (&golden);
    printf ("# %s: %.2g\n", name, error);
  }
  attn_stream_free (stream);
  opened = opened && n == golden.n_frames;
  golden_clear (&golden);
  CHECK (opened);
  if (tolerance == 0)
    tolerance = LARGE_GAIN_TOLERANCE (golden.largest_score);
  CHECK_MSG (error < tolerance, "%s: %g, not below %g", name, error, tolerance);
}

/* The largest difference of a weight of frames 0, 7, 14, ...; `weights` [n_frames][heads * span]. */
static double
weight_error (const Golden *golden, const float *weights)
{
  size_t n = (size_t) attn_layer_n_heads (golden->layer) * attn_layer_span (golden->layer), t, i;
  double worst = 0;

  for (t = 0; t < golden->n_frames; t += WEIGHTS_EVERY)
    for (i = 0; i < n; i++) {
      double difference = fabs ((double) weights[t * n + i] - golden->weights[t / WEIGHTS_EVERY * n + i]);

      worst = difference <= worst ? worst : difference; /* a NaN stays */
    }
  return worst;
}

TEST (weights_of_every_position_scheme_are_those_of_the_definition)
{
  static const char *const names[] = { "rope",
                                       "rope-interleaved",
                                       "rope-partial",
                                       "rope-grouped",
                                       "alibi",
                                       "alibi-ahead",
                                       "alibi-grouped",
                                       "relative",
                                       "relative-grouped",
                                       "grouped",
                                       "qk-norm-rms",
                                       "qk-norm-layer",
                                       "chunk",
                                       "chunk-alone",
                                       "chunk-sinks",
                                       "transformer-xl",
                                       "transformer-xl-ahead",
                                       "transformer-xl-chunk" };

  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    Golden golden = { 0 };
    uint8_t present[100];
    float *weights = NULL;
    double error = NAN;

    if (open_golden (names[i], ATTN_PRECISION_F32, ATTN_ARITHMETIC_EXACT, &golden) && golden.weights != NULL) {
      weights = malloc (golden.n_frames * attn_layer_n_heads (golden.layer) * attn_layer_span (golden.layer)
                        * sizeof *weights);
      for (size_t t = 0; t < golden.n_frames; t++)
        present[t] = golden.present == NULL || golden.present[t] != 0;
      MUST (attn_forward (golden.layer, golden.in, present, golden.n_frames, 0, golden.out, weights, NULL));
      error = weight_error (&golden, weights);
    }
    printf ("# weights of %s: %.2g\n", names[i], error);
    free (weights);
    golden_clear (&golden);
    CHECK_MSG (error < WEIGHT_TOLERANCE, "%s: %g", names[i], error);
  }
}

#define GOLDEN(test, name)                                                     \
  TEST (test)                                                                  \
  {                                                                            \
    check_golden (name, ATTN_PRECISION_F32, ATTN_ARITHMETIC_EXACT, TOLERANCE); \
  }

GOLDEN (torch_one_feature_window_1, "tiny")
GOLDEN (torch_single_head, "single-head")
GOLDEN (torch_four_heads, "four-heads")
GOLDEN (torch_no_bias, "no-bias")
GOLDEN (torch_split_parameters, "split")
GOLDEN (torch_split_parameters_no_bias_f64, "split-no-bias")
GOLDEN (hugging_face_look_ahead, "hugging-face")
GOLDEN (hugging_face_o_proj, "hugging-face-o")
GOLDEN (annotated_transformer_bf16, "annotated")
GOLDEN (annotated_transformer_no_bias, "annotated-no-bias")
GOLDEN (window_longer_than_the_stream, "longer-than-stream")
GOLDEN (look_ahead_longer_than_the_stream, "longer-than-stream-ahead")
GOLDEN (wide_f16, "wide")
GOLDEN (wide_bf16_look_ahead, "wide-ahead")
GOLDEN (no_output_projection, "no-output")
GOLDEN (output_wider_than_input, "wider")
GOLDEN (parameter_free_slices, "parameter-free")
GOLDEN (rope_half, "rope")
GOLDEN (rope_interleaved_look_ahead, "rope-interleaved")
GOLDEN (rope_of_a_part_of_the_head, "rope-partial")
GOLDEN (rope_grouped_sinks_look_ahead_absent_frames, "rope-grouped")
GOLDEN (alibi_eight_heads, "alibi")
GOLDEN (alibi_six_heads_sinks_look_ahead, "alibi-ahead")
GOLDEN (alibi_grouped_sinks_absent_frames, "alibi-grouped")
GOLDEN (relative_bias, "relative")
GOLDEN (relative_bias_grouped_sinks_absent_frames, "relative-grouped")
GOLDEN (grouped_sinks_look_ahead_absent_frames, "grouped")
GOLDEN (rms_norm_of_queries_and_keys_before_rope, "qk-norm-rms")
GOLDEN (layer_norm_of_queries_and_keys_absent_frames, "qk-norm-layer")
GOLDEN (chunks_in_place_of_a_window, "chunk")
GOLDEN (chunks_that_see_themselves_alone_with_rope, "chunk-alone")
GOLDEN (chunks_sinks_absent_frames, "chunk-sinks")
GOLDEN (transformer_xl, "transformer-xl")
GOLDEN (transformer_xl_grouped_softcap_norm_look_ahead_absent_frames, "transformer-xl-ahead")
GOLDEN (transformer_xl_in_chunks, "transformer-xl-chunk")

/* All layers but those of large gain, whose scores are beyond 16 bits. */
static void
check_all (AttnPrecision precision, AttnArithmetic arithmetic, double tolerance)
{
  static const char *const names[] = {
    "tiny",
    "single-head",
    "four-heads",
    "no-bias",
    "split",
    "split-no-bias",
    "hugging-face",
    "hugging-face-o",
    "annotated",
    "annotated-no-bias",
    "longer-than-stream",
    "longer-than-stream-ahead",
    "wide",
    "wide-ahead",
    "no-output",
    "wider",
    "parameter-free",
    "rope",
    "rope-interleaved",
    "rope-partial",
    "rope-grouped",
    "alibi",
    "alibi-ahead",
    "alibi-grouped",
    "relative",
    "relative-grouped",
    "qk-norm-rms",
    "qk-norm-layer",
    "chunk",
    "chunk-alone",
    "chunk-sinks",
    "transformer-xl",
    "transformer-xl-ahead",
    "transformer-xl-chunk",
  };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    check_golden (names[i], precision, arithmetic, tolerance);
}

TEST (f16_is_within_its_bound)
{
  check_all (ATTN_PRECISION_F16, ATTN_ARITHMETIC_EXACT, F16_TOLERANCE);
}

TEST (bf16_is_within_its_bound)
{
  check_all (ATTN_PRECISION_BF16, ATTN_ARITHMETIC_EXACT, BF16_TOLERANCE);
}

TEST (fast_is_within_its_bound)
{
  setenv ("ATTN_MATRIX", "c", 1);
  check_all (ATTN_PRECISION_F32, ATTN_ARITHMETIC_FAST, FAST_TOLERANCE);
  check_all (ATTN_PRECISION_F16, ATTN_ARITHMETIC_FAST, F16_TOLERANCE);
  check_all (ATTN_PRECISION_BF16, ATTN_ARITHMETIC_FAST, BF16_TOLERANCE);
  unsetenv ("ATTN_MATRIX");
}

TEST (parameters_of_large_gain)
{
  check_golden ("large-gain", ATTN_PRECISION_F32, ATTN_ARITHMETIC_EXACT, 0);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (torch_one_feature_window_1);
  RUN (torch_single_head);
  RUN (torch_four_heads);
  RUN (torch_no_bias);
  RUN (torch_split_parameters);
  RUN (torch_split_parameters_no_bias_f64);
  RUN (hugging_face_look_ahead);
  RUN (hugging_face_o_proj);
  RUN (annotated_transformer_bf16);
  RUN (annotated_transformer_no_bias);
  RUN (window_longer_than_the_stream);
  RUN (look_ahead_longer_than_the_stream);
  RUN (wide_f16);
  RUN (wide_bf16_look_ahead);
  RUN (no_output_projection);
  RUN (output_wider_than_input);
  RUN (parameter_free_slices);
  RUN (rope_half);
  RUN (rope_interleaved_look_ahead);
  RUN (rope_of_a_part_of_the_head);
  RUN (rope_grouped_sinks_look_ahead_absent_frames);
  RUN (alibi_eight_heads);
  RUN (alibi_six_heads_sinks_look_ahead);
  RUN (alibi_grouped_sinks_absent_frames);
  RUN (relative_bias);
  RUN (relative_bias_grouped_sinks_absent_frames);
  RUN (grouped_sinks_look_ahead_absent_frames);
  RUN (rms_norm_of_queries_and_keys_before_rope);
  RUN (layer_norm_of_queries_and_keys_absent_frames);
  RUN (chunks_in_place_of_a_window);
  RUN (chunks_that_see_themselves_alone_with_rope);
  RUN (chunks_sinks_absent_frames);
  RUN (transformer_xl);
  RUN (transformer_xl_grouped_softcap_norm_look_ahead_absent_frames);
  RUN (transformer_xl_in_chunks);
  RUN (weights_of_every_position_scheme_are_those_of_the_definition);
  RUN (f16_is_within_its_bound);
  RUN (bf16_is_within_its_bound);
  RUN (fast_is_within_its_bound);
  RUN (parameters_of_large_gain);
  return check_done ();
}
