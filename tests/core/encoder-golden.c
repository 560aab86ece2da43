/*
 * Whole encoders against PyTorch: the files that tests/golden/encoder.py made with PyTorch's modules in float64, as a
 * sequence and as a stream. Also names the largest error of each.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>
#include <stdlib.h>

#include "attn.h"
#include "check.h"
#include "parameters/safetensors.h"

/*
 * Largest error relative to the largest output, times the number of attentions and convolutions behind each other: one
 * layer is off by 2e-6 at most (golden.c: scores of order one, chains of up to 256). Residuals and norms keep frames
 * and their errors at the size of one layer's output, so that at worst the errors add up. Other blocks (a norm, a
 * feed-forward) have shorter chains than an attention, and count with the layer before them.
 */
#define TOLERANCE_PER_LAYER 2e-6
/* In 16 bits, and with arithmetic=fast: the bound of golden.c for one layer, times the same number. */
#define F16_PER_LAYER (2 * 0x1p-11)
#define BF16_PER_LAYER (2 * 0x1p-8)
#define FAST_PER_LAYER 0x1p-15
#define GOLDEN_VERSION "1"

typedef struct {
  AttnLayer *layer;
  size_t n_frames, n_out; /* frames in, and frames out */
  float *in, *expected, *out;
  float *present, *out_present; /* [n_frames], [n_out], 0: absent; NULL: all are there */
  double n_layers;
} Golden;

/* A [n_frames][width] tensor; NULL: it is not there. */
static float *
read_tensor (AttnSafetensors *file, const char *name, size_t *n_frames)
{
  for (size_t i = 0; i < attn_safetensors_n_tensors (file); i++) {
    const AttnTensor *tensor = attn_safetensors_tensor (file, i);
    float *values;

    if (strcmp (tensor->name, name) != 0)
      continue;
    *n_frames = tensor->dims[0];
    values = malloc ((tensor->n_elements + 1) * sizeof *values);
    if (attn_safetensors_read (file, tensor, 0, tensor->n_elements, values, NULL) == ATTN_OK)
      return values;
    free (values);
  }
  return NULL;
}

static bool
read_golden (const char *path, Golden *golden)
{
  AttnError error;
  AttnSafetensors *file;
  const char *version, *layers;
  size_t n;

  if (attn_safetensors_open (path, &file, &error) != ATTN_OK) {
    printf ("# %s\n", error.message);
    return false;
  }
  version = attn_safetensors_metadata (file, "version");
  layers = attn_safetensors_metadata (file, "layers");
  if (version == NULL || strcmp (version, GOLDEN_VERSION) != 0 || layers == NULL) {
    printf ("# %s has version %s, not %s: run tests/golden/encoder.py\n", path, version ? version : "(none)",
            GOLDEN_VERSION);
    attn_safetensors_close (file);
    return false;
  }
  golden->n_layers = strtod (layers, NULL);
  golden->present = read_tensor (file, "present", &n);
  golden->out_present = read_tensor (file, "output_present", &n);
  golden->in = read_tensor (file, "input", &golden->n_frames);
  golden->expected = read_tensor (file, "output", &golden->n_out);
  attn_safetensors_close (file);
  return golden->in != NULL && golden->expected != NULL;
}

static bool
open_golden (const char *name, AttnPrecision precision, AttnArithmetic arithmetic, Golden *golden)
{
  AttnEncoderOptions options = attn_encoder_options_default ();
  char path[512];
  AttnError error;

  snprintf (path, sizeof path, "%s/encoder/%s.safetensors", GOLDEN_DIR, name);
  if (!read_golden (path, golden))
    return false;
  options.precision = precision;
  options.arithmetic = arithmetic;
  if (attn_encoder_open (path, &options, &golden->layer, &error) != ATTN_OK) {
    printf ("# %s\n", error.message);
    return false;
  }
  golden->out = malloc ((golden->n_out * attn_layer_n_outputs (golden->layer) + 1) * sizeof (float));
  if (attn_layer_count (golden->layer, golden->n_frames) != golden->n_out)
    printf ("# %llu frames out, PyTorch has %zu\n",
            (unsigned long long) attn_layer_count (golden->layer, golden->n_frames), golden->n_out);
  return attn_layer_count (golden->layer, golden->n_frames) == golden->n_out;
}

static void
golden_clear (Golden *golden)
{
  attn_layer_free (golden->layer);
  free (golden->in);
  free (golden->present);
  free (golden->out_present);
  free (golden->expected);
  free (golden->out);
}

/* The largest error, relative to the largest output; absent outputs must be 0. */
static double
relative_error (const Golden *golden)
{
  size_t width = attn_layer_n_outputs (golden->layer);
  double worst = 0, largest = 0;

  for (size_t i = 0; i < golden->n_out * width; i++) {
    double difference = fabs ((double) golden->out[i] - golden->expected[i]);

    if (golden->out_present != NULL && golden->out_present[i / width] == 0 && golden->out[i] != 0)
      return NAN;
    worst = difference <= worst ? worst : difference; /* a NaN stays */
    largest = fmax (largest, fabs (golden->expected[i]));
  }
  return worst / largest;
}

static double
forward_error (Golden *golden)
{
  uint8_t *present = malloc (golden->n_frames + 1);
  AttnStatus status;

  for (size_t i = 0; i < golden->n_frames; i++)
    present[i] = golden->present == NULL || golden->present[i] != 0;
  status = attn_forward (golden->layer, golden->in, present, golden->n_frames, 0, golden->out, NULL, NULL);
  free (present);
  return status == ATTN_OK ? relative_error (golden) : NAN;
}

/* Frame by frame. */
static double
stream_error (Golden *golden)
{
  size_t n_features = attn_layer_n_features (golden->layer), n_outputs = attn_layer_n_outputs (golden->layer), n = 0;
  AttnStream *stream;

  MUST (attn_stream_new (golden->layer, &stream, NULL));
  memset (golden->out, 0xff, golden->n_out * n_outputs * sizeof *golden->out);
  for (size_t i = 0; i < golden->n_frames; i++)
    n += golden->present == NULL || golden->present[i] != 0
             ? attn_stream_push (stream, golden->in + i * n_features, 1, golden->out + n * n_outputs, NULL)
             : attn_stream_skip (stream, 1, golden->out + n * n_outputs, NULL);
  n += attn_stream_drain (stream, golden->out + n * n_outputs, NULL);
  attn_stream_free (stream);
  return n == golden->n_out ? relative_error (golden) : NAN;
}

static void
check_golden (const char *name, AttnPrecision precision, AttnArithmetic arithmetic, double tolerance)
{
  Golden golden = { 0 };
  double whole = NAN, streamed = NAN;
  bool opened = open_golden (name, precision, arithmetic, &golden);

  if (opened) {
    whole = forward_error (&golden) / golden.n_layers;
    streamed = stream_error (&golden) / golden.n_layers;
    printf ("# %s: %.2g for each of %g layers\n", name, whole, golden.n_layers);
  }
  golden_clear (&golden);
  CHECK (opened);
  CHECK_MSG (whole < tolerance && streamed < tolerance, "%s: %g, as a stream %g, for each layer, not below %g", name,
             whole, streamed, tolerance);
}

#define GOLDEN(test, name)                                                               \
  TEST (test)                                                                            \
  {                                                                                      \
    check_golden (name, ATTN_PRECISION_F32, ATTN_ARITHMETIC_EXACT, TOLERANCE_PER_LAYER); \
  }

GOLDEN (one_layer_pre_norm_relu, "transformer-1-pre-relu")
GOLDEN (one_layer_post_norm_gelu_odd_width, "transformer-1-post-gelu")
GOLDEN (one_layer_pre_norm_final_norm, "transformer-1-pre-gelu-final")
GOLDEN (two_layers_pre_norm_look_ahead, "transformer-2-pre-gelu-final")
GOLDEN (two_layers_post_norm_relu, "transformer-2-post-relu")
GOLDEN (two_layers_post_norm_look_ahead, "transformer-2-post-gelu-final-ahead")
GOLDEN (six_layers_pre_norm_final_norm, "transformer-6-pre-relu-final")
GOLDEN (six_layers_pre_norm_look_ahead, "transformer-6-pre-gelu-ahead")
GOLDEN (six_layers_post_norm_look_ahead, "transformer-6-post-gelu")
GOLDEN (pre_norm_with_absent_frames, "transformer-absent-pre")
GOLDEN (post_norm_look_ahead_with_absent_frames, "transformer-absent-post-ahead")
GOLDEN (twelve_post_norm_layers_with_one_head, "twelve-post-one-head")
GOLDEN (windows_longer_than_the_stream, "longer-than-stream")
GOLDEN (sinusoids_in_front, "sinusoid-interleaved")
GOLDEN (sinusoids_halves_with_an_offset, "sinusoid-half-offset")
GOLDEN (alibi_six_heads_look_ahead, "alibi")
GOLDEN (log_softmax_head, "log-softmax-head")
GOLDEN (softmax_head, "softmax-head")
GOLDEN (layer_norm_alone, "layer-norm")
GOLDEN (layer_norm_without_parameters, "layer-norm-plain")
GOLDEN (glu_sigmoid, "glu")
GOLDEN (glu_gelu_tanh, "glu-gelu-tanh")
GOLDEN (activations_as_blocks_and_as_keys, "activations")
GOLDEN (affine_between_residuals, "affine")
GOLDEN (llama_rms_norm_swiglu_rope_grouped_heads, "llama")
GOLDEN (llama_sinks_look_ahead_absent_frames, "llama-sinks-absent")
GOLDEN (mimi_layer_scale_rope_interleaved, "mimi-interleaved")
GOLDEN (mimi_layer_scale_rope_half, "mimi-half")
GOLDEN (conv_zeros_at_both_ends, "conv-same")
GOLDEN (conv_causal_dilated, "conv-causal")
GOLDEN (conv_that_looks_ahead, "conv-ahead")
GOLDEN (conv_strides, "conv-strides")
GOLDEN (conv_stride_beyond_the_kernel, "conv-stride-beyond-kernel")
GOLDEN (conv_groups_and_depthwise, "conv-groups")
GOLDEN (conv_pointwise, "conv-pointwise")
GOLDEN (conv_longer_than_the_stream, "conv-longer-than-stream")
GOLDEN (conv_with_absent_frames, "conv-absent")
GOLDEN (conformer_convolution_module, "conformer")
GOLDEN (moonshine_strides_windows_norms_without_bias, "moonshine")
GOLDEN (frames_stacked_twice, "stack")
GOLDEN (conv2d_causal_in_time_zeros_below, "conv2d")
GOLDEN (conv2d_strides, "conv2d-strides")
GOLDEN (conv2d_stride_beyond_the_kernel, "conv2d-stride-beyond-kernel")
GOLDEN (conv2d_groups_and_depthwise, "conv2d-groups")
GOLDEN (conv2d_of_one_bin, "conv2d-one-bin")
GOLDEN (conv2d_longer_than_the_stream, "conv2d-longer-than-stream")
GOLDEN (conv2d_with_absent_frames, "conv2d-absent")
GOLDEN (conv2d_causal_subsampling_by_eight, "conv2d-subsampling")

/* NeMo's calc_length (): (T + 2 + 1 - 3) / 2 + 1 for each of three convolutions. */
TEST (causal_subsampling_has_the_counts_of_nemo)
{
  Golden golden = { 0 };

  CHECK (open_golden ("conv2d-subsampling", ATTN_PRECISION_F32, ATTN_ARITHMETIC_EXACT, &golden));
  CHECK (attn_layer_stride (golden.layer) == 8 && attn_layer_reach_ahead (golden.layer) == 0);
  for (uint64_t n = 1, expected; n < 300; n++) {
    expected = n;
    for (int i = 0; i < 3; i++)
      expected = expected / 2 + 1;
    CHECK_MSG (attn_layer_count (golden.layer, n) == expected, "%llu frames", (unsigned long long) n);
  }
  golden_clear (&golden);
}

/* One file of each kind. */
static void
check_all (AttnPrecision precision, AttnArithmetic arithmetic, double tolerance)
{
  static const char *const names[] = { "transformer-1-pre-gelu-final",
                                       "transformer-2-post-relu",
                                       "transformer-6-pre-gelu-ahead",
                                       "transformer-absent-post-ahead",
                                       "twelve-post-one-head",
                                       "sinusoid-half-offset",
                                       "log-softmax-head",
                                       "layer-norm",
                                       "glu",
                                       "activations",
                                       "affine",
                                       "llama-sinks-absent",
                                       "mimi-half",
                                       "conv-groups",
                                       "conv-strides",
                                       "conv-absent",
                                       "conformer",
                                       "moonshine",
                                       "stack",
                                       "conv2d-groups",
                                       "conv2d-strides",
                                       "conv2d-absent",
                                       "conv2d-subsampling" };

  for (size_t i = 0; i < sizeof names / sizeof names[0] && !check_failed; i++)
    check_golden (names[i], precision, arithmetic, tolerance);
}

TEST (f16_is_within_its_bound)
{
  check_all (ATTN_PRECISION_F16, ATTN_ARITHMETIC_EXACT, F16_PER_LAYER);
}

TEST (bf16_is_within_its_bound)
{
  check_all (ATTN_PRECISION_BF16, ATTN_ARITHMETIC_EXACT, BF16_PER_LAYER);
}

TEST (fast_is_within_its_bound)
{
  setenv ("ATTN_MATRIX", "c", 1);
  check_all (ATTN_PRECISION_F32, ATTN_ARITHMETIC_FAST, FAST_PER_LAYER);
  check_all (ATTN_PRECISION_F16, ATTN_ARITHMETIC_FAST, F16_PER_LAYER);
  check_all (ATTN_PRECISION_BF16, ATTN_ARITHMETIC_FAST, BF16_PER_LAYER);
  unsetenv ("ATTN_MATRIX");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (one_layer_pre_norm_relu);
  RUN (one_layer_post_norm_gelu_odd_width);
  RUN (one_layer_pre_norm_final_norm);
  RUN (two_layers_pre_norm_look_ahead);
  RUN (two_layers_post_norm_relu);
  RUN (two_layers_post_norm_look_ahead);
  RUN (six_layers_pre_norm_final_norm);
  RUN (six_layers_pre_norm_look_ahead);
  RUN (six_layers_post_norm_look_ahead);
  RUN (pre_norm_with_absent_frames);
  RUN (post_norm_look_ahead_with_absent_frames);
  RUN (twelve_post_norm_layers_with_one_head);
  RUN (windows_longer_than_the_stream);
  RUN (sinusoids_in_front);
  RUN (sinusoids_halves_with_an_offset);
  RUN (alibi_six_heads_look_ahead);
  RUN (log_softmax_head);
  RUN (softmax_head);
  RUN (layer_norm_alone);
  RUN (layer_norm_without_parameters);
  RUN (glu_sigmoid);
  RUN (glu_gelu_tanh);
  RUN (activations_as_blocks_and_as_keys);
  RUN (affine_between_residuals);
  RUN (llama_rms_norm_swiglu_rope_grouped_heads);
  RUN (llama_sinks_look_ahead_absent_frames);
  RUN (mimi_layer_scale_rope_interleaved);
  RUN (mimi_layer_scale_rope_half);
  RUN (conv_zeros_at_both_ends);
  RUN (conv_causal_dilated);
  RUN (conv_that_looks_ahead);
  RUN (conv_strides);
  RUN (conv_stride_beyond_the_kernel);
  RUN (conv_groups_and_depthwise);
  RUN (conv_pointwise);
  RUN (conv_longer_than_the_stream);
  RUN (conv_with_absent_frames);
  RUN (conformer_convolution_module);
  RUN (moonshine_strides_windows_norms_without_bias);
  RUN (frames_stacked_twice);
  RUN (conv2d_causal_in_time_zeros_below);
  RUN (conv2d_strides);
  RUN (conv2d_stride_beyond_the_kernel);
  RUN (conv2d_groups_and_depthwise);
  RUN (conv2d_of_one_bin);
  RUN (conv2d_longer_than_the_stream);
  RUN (conv2d_with_absent_frames);
  RUN (conv2d_causal_subsampling_by_eight);
  RUN (causal_subsampling_has_the_counts_of_nemo);
  RUN (f16_is_within_its_bound);
  RUN (bf16_is_within_its_bound);
  RUN (fast_is_within_its_bound);
  return check_done ();
}
