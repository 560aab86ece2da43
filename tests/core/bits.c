/*
 * The same bits everywhere: hashes of the outputs of fixed layers over fixed frames, which every compiler,
 * optimisation, instruction set and architecture must give.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * If these hashes change, the outputs of every user's stream change: NEWS.md must say so, with the reason. With the
 * argument "print" the program prints the table anew.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "kernels/kernels.h"
#include "layers.h"

/* One layer; with_model false: parameter-free, dk and dv unused. */
typedef struct {
  const char *name;
  bool with_model, with_bias, with_absent;
  uint32_t n_features, n_heads, n_kv_heads, dk, dv, n_outputs, window, look_ahead, n_sinks;
  uint64_t first_frame;
  float amplitude;
  uint64_t hash;
  AttnPosition position;
  double softcap;
  AttnPrecision precision;
} Case;

#define N_FRAMES 200

static const Case cases[] = {
  { "one feature", false, false, false, 1, 1, 1, 0, 0, 1, 64, 0, 0, 0, 1, 0x5d879ad85423b4eb },
  { "four heads", false, false, false, 64, 4, 4, 0, 0, 64, 64, 0, 0, 0, 1, 0xf6f538c8682345b9 },
  { "odd heads, look-ahead", false, false, false, 45, 3, 3, 0, 0, 45, 17, 5, 0, 0, 1, 0xd10b310bc3bfc8b0 },
  { "model", true, true, false, 80, 4, 4, 20, 20, 80, 100, 0, 0, 0, 1, 0xce8e4a489bdce40d },
  { "model, no bias", true, false, false, 33, 2, 2, 17, 31, 7, 50, 0, 0, 0, 1, 0xab70d8b1c9b4aaba },
  { "grouped queries, sinks", true, true, false, 48, 6, 2, 8, 16, 48, 20, 3, 5, 0, 1, 0xe449228b61ee550b },
  { "absent frames", true, true, true, 30, 2, 1, 15, 15, 30, 40, 7, 4, 0, 1, 0xd7f886d931914ae2 },
  { "late in a stream", true, true, true, 24, 2, 2, 12, 12, 24, 33, 0, 0, UINT64_C (1) << 50 | 7, 1,
    0x8f18be7359c7cf67 },
  { "large scores", true, true, false, 32, 2, 2, 16, 16, 32, 64, 0, 0, 0, 40, 0x451990d56a4613a8 },
  { "values near the smallest", true, false, false, 32, 2, 2, 16, 16, 32, 64, 0, 0, 0, 1e-37f, 0x0857960007fde268 },
  { "softcap", true, true, false, 32, 2, 2, 16, 16, 32, 64, 3, 2, 0, 10, 0xa27de2acc6b3c089, ATTN_POSITION_NONE, 5 },
  { "RoPE", true, true, true, 32, 4, 2, 16, 16, 32, 40, 3, 4, UINT64_C (1) << 50, 1, 0xb26b285cb91995cd,
    ATTN_POSITION_ROPE, 0 },
  { "ALiBi", true, true, true, 36, 6, 2, 6, 6, 36, 40, 3, 4, 0, 1, 0xb1c4e5e3eab3fd1f, ATTN_POSITION_ALIBI, 0 },
  { "f16", true, true, true, 80, 4, 2, 20, 20, 80, 40, 3, 4, 0, 1, 0x6de7064202866f0b, ATTN_POSITION_ROPE, 0,
    ATTN_PRECISION_F16 },
  { "bf16", true, true, true, 80, 4, 2, 20, 20, 80, 40, 3, 4, 0, 1, 0x30499d89856f9e27, ATTN_POSITION_ROPE, 0,
    ATTN_PRECISION_BF16 },
  { "f16, beyond its range", false, false, false, 32, 2, 2, 0, 0, 32, 64, 0, 0, 0, 50000, 0x6f2b8e25c96d01bf,
    ATTN_POSITION_NONE, 0, ATTN_PRECISION_F16 },
};

#define N_CASES (sizeof cases / sizeof cases[0])

/* FNV-1a (Fowler, Noll, Vo), 64 bits, over the values as little-endian bytes. */
static uint64_t
hash_values (uint64_t hash, const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;

    memcpy (&bits, &values[i], sizeof bits);
    for (int byte = 0; byte < 4; byte++)
      hash = (hash ^ (bits >> 8 * byte & 0xff)) * UINT64_C (0x100000001b3);
  }
  return hash;
}

static AttnLayer *
make_layer (const Case *c)
{
  AttnConfig config = attn_config_default ();
  AttnModel model = { .name = (char *) c->name };
  AttnLayer *layer;
  AttnStatus status;

  config.n_features = c->n_features;
  config.n_heads = c->n_heads;
  config.n_kv_heads = c->n_kv_heads;
  config.window = c->window;
  config.look_ahead = c->look_ahead;
  config.n_sinks = c->n_sinks;
  config.position = c->position;
  config.softcap = c->softcap;
  config.precision = c->precision;
  if (!c->with_model)
    return attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK ? layer : NULL;

  model.query = random_linear (c->n_heads * c->dk, c->n_features, c->with_bias, 1);
  model.key = random_linear (c->n_kv_heads * c->dk, c->n_features, c->with_bias, 1);
  model.value = random_linear (c->n_kv_heads * c->dv, c->n_features, c->with_bias, 1);
  model.output = random_linear (c->n_outputs, c->n_heads * c->dv, c->with_bias, 1);
  status = attn_layer_new (&config, &model, &layer, NULL);
  free_linear (&model.query);
  free_linear (&model.key);
  free_linear (&model.value);
  free_linear (&model.output);
  return status == ATTN_OK ? layer : NULL;
}

/* A NaN, an infinity and denormals among the frames: their bits must be the same as well. */
static void
make_frames (const Case *c, float *frames, uint8_t *present)
{
  random_fill (frames, (size_t) N_FRAMES * c->n_features, c->amplitude);
  frames[150 * c->n_features] = NAN;
  frames[170 * c->n_features] = INFINITY;
  frames[120 * c->n_features] = 1e-41f;
  for (int t = 0; t < N_FRAMES; t++)
    present[t] = !c->with_absent || t % 23 < 17;
}

/* Outputs and weights of case `i`, with plain C or with row `kernels` (NULL: the row that is picked). */
static uint64_t
hash_case (size_t i, const AttnKernels *kernels)
{
  const Case *c = &cases[i];
  uint64_t hash = UINT64_C (0xcbf29ce484222325);
  AttnLayer *layer;
  uint8_t present[N_FRAMES];
  size_t n_out = (size_t) N_FRAMES * c->n_outputs;
  size_t n_weights = (size_t) N_FRAMES * c->n_heads * (c->n_sinks + c->window + c->look_ahead);
  float *frames = malloc (N_FRAMES * c->n_features * sizeof (float));
  float *out = malloc (n_out * sizeof (float)), *weights = malloc (n_weights * sizeof (float));

  random_state = i + 1;
  layer = make_layer (c);
  make_frames (c, frames, present);
  if (layer != NULL && kernels != NULL)
    layer->machine.kernels = kernels;
  if (layer != NULL && attn_forward (layer, frames, present, N_FRAMES, c->first_frame, out, weights, NULL) == ATTN_OK)
    hash = hash_values (hash_values (hash, out, n_out), weights, n_weights);
  attn_layer_free (layer);
  free (frames);
  free (out);
  free (weights);
  return hash;
}

/* ---- encoders ---- */

/* One of tests/golden/encoder, or, if it is a layer alone, of tests/golden/attention. */
typedef struct {
  const char *name;
  uint64_t hash;
  bool is_layer;
} EncoderCase;

static const EncoderCase encoder_cases[] = {
  { "transformer-6-pre-gelu-ahead", 0x25a3bc0c8c6f3c0f },
  { "twelve-post-one-head", 0x4ceee4c3d1109e8f },
  { "sinusoid-half-offset", 0x457cce258b6572b8 },
  { "log-softmax-head", 0xaf2e9cd1d4a8152b },
  { "softmax-head", 0x488f144490e4b34f },
  { "activations", 0xeefd8626a430c1db },
  { "glu-gelu-tanh", 0xd10d6b8f0a01103f },
  { "affine", 0x0445ac84eaa7ff1f },
  { "llama-sinks-absent", 0x4b32a6b35a0300a5 },
  { "mimi-half", 0x9368600a72393925 },
  { "conv-groups", 0xe23c74ec4b8fbd0d },
  { "conv-strides", 0xa947097d46d646cf },
  { "conformer", 0x42f4564d3e36d355 },
  { "moonshine", 0x826f61d15d291435 },
  { "stack", 0x4e93b4f5f866714d },
  { "conv2d-groups", 0x379fe60535982659 },
  { "conv2d-subsampling", 0x631e21cfc523baf4 },
  { "qk-norm-rms", 0xe91237f555aa30e0, true },
  { "qk-norm-layer", 0x778b8fd0a29e299c, true },
  { "chunk-sinks", 0x7e6771d268508558, true },
  { "transformer-xl-ahead", 0xcc4345c50ca69933, true },
  { "transformer-xl-chunk", 0xfcffe80eb6e6207e, true },
};

#define N_ENCODER_CASES (sizeof encoder_cases / sizeof encoder_cases[0])

/* The metadata of a layer say all that it needs. */
static AttnLayer *
open_case (const EncoderCase *c)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model = NULL;
  AttnLayer *layer = NULL;
  char path[512];
  AttnError error;
  AttnStatus status;

  snprintf (path, sizeof path, "%s/%s/%s.safetensors", GOLDEN_DIR, c->is_layer ? "attention" : "encoder", c->name);
  if (!c->is_layer)
    status = attn_encoder_open (path, NULL, &layer, &error);
  else if ((status = attn_model_open (path, "attn.", &model, &error)) == ATTN_OK)
    status = attn_layer_new (&config, model, &layer, &error);
  attn_model_free (model);
  if (status != ATTN_OK)
    printf ("# %s\n", error.message);
  return layer;
}

/* As hash_case (); frames as there, some of them absent. */
static uint64_t
hash_encoder (size_t i, const AttnKernels *kernels)
{
  uint64_t hash = UINT64_C (0xcbf29ce484222325);
  Case c = { .with_absent = true, .amplitude = 2 };
  uint8_t present[N_FRAMES];
  float *frames, *out;
  AttnLayer *layer = open_case (&encoder_cases[i]);
  size_t n_out;

  if (layer == NULL)
    return 0;
  if (kernels != NULL)
    layer->machine.kernels = kernels;
  c.n_features = attn_layer_n_features (layer);
  n_out = attn_layer_count (layer, N_FRAMES) * attn_layer_n_outputs (layer);
  frames = malloc (N_FRAMES * c.n_features * sizeof (float));
  out = malloc ((n_out + 1) * sizeof (float));
  random_state = i + 1001;
  make_frames (&c, frames, present);
  if (attn_forward (layer, frames, present, N_FRAMES, 0, out, NULL, NULL) == ATTN_OK)
    hash = hash_values (hash, out, n_out);
  attn_layer_free (layer);
  free (frames);
  free (out);
  return hash;
}

TEST (outputs_have_the_bits_of_every_machine)
{
  for (size_t i = 0; i < N_CASES; i++)
    CHECK_MSG (hash_case (i, NULL) == cases[i].hash, "%s: 0x%016llx", cases[i].name,
               (unsigned long long) hash_case (i, NULL));
}

TEST (plain_c_has_the_bits_of_every_machine)
{
  for (size_t i = 0; i < N_CASES; i++)
    CHECK_MSG (hash_case (i, &attn_kernels_c) == cases[i].hash, "%s: 0x%016llx", cases[i].name,
               (unsigned long long) hash_case (i, &attn_kernels_c));
}

TEST (encoders_have_the_bits_of_every_machine)
{
  for (size_t i = 0; i < N_ENCODER_CASES; i++)
    CHECK_MSG (hash_encoder (i, NULL) == encoder_cases[i].hash, "%s: 0x%016llx", encoder_cases[i].name,
               (unsigned long long) hash_encoder (i, NULL));
}

TEST (encoders_in_plain_c_have_the_bits_of_every_machine)
{
  for (size_t i = 0; i < N_ENCODER_CASES; i++)
    CHECK_MSG (hash_encoder (i, &attn_kernels_c) == encoder_cases[i].hash, "%s: 0x%016llx", encoder_cases[i].name,
               (unsigned long long) hash_encoder (i, &attn_kernels_c));
}

int
main (int argc, char **argv)
{
  if (argc > 1 && strcmp (argv[1], "print") == 0) {
    for (size_t i = 0; i < N_CASES; i++)
      printf ("%s: 0x%016llx\n", cases[i].name, (unsigned long long) hash_case (i, NULL));
    for (size_t i = 0; i < N_ENCODER_CASES; i++)
      printf ("%s: 0x%016llx\n", encoder_cases[i].name, (unsigned long long) hash_encoder (i, NULL));
    return 0;
  }
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (outputs_have_the_bits_of_every_machine);
  RUN (plain_c_has_the_bits_of_every_machine);
  RUN (encoders_have_the_bits_of_every_machine);
  RUN (encoders_in_plain_c_have_the_bits_of_every_machine);
  return check_done ();
}
