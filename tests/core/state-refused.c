/*
 * Bytes that are not a state of the layer are refused, and leave the stream unchanged.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */

#include "check.h"
#include "parameters/config.h"
#include "states.h"

TEST (any_flipped_byte_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer), *other = stream_new (layer, 3);
  State state = save (stream);

  for (size_t i = 0; i < state.size; i++)
    for (int bit = 0; bit <= 8; bit++) {
      uint8_t flip = bit < 8 ? 1u << bit : 0xff;
      bool refused;

      state.bytes[i] ^= flip;
      refused = refuses (other, &state, "", "") && refuses (stream, &state, "", "");
      state.bytes[i] ^= flip;
      CHECK_MSG (refused, "byte %zu, flip %02x", i, flip);
    }
  CHECK (attn_stream_restore (other, state.bytes, state.size, NULL) == ATTN_OK);
  CHECK (is_undisturbed (stream, layer));
  CHECK (is_undisturbed (other, layer));
  free (state.bytes);
  attn_stream_free (stream);
  attn_stream_free (other);
  attn_layer_free (layer);
}

TEST (any_truncation_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  State state = save (stream), shorter = state, longer = { malloc (state.size + 1), state.size + 1 };
  char size[32], whole[32];

  snprintf (whole, sizeof whole, "%zu", state.size);
  for (shorter.size = 0; shorter.size < state.size; shorter.size++) {
    snprintf (size, sizeof size, "%zu bytes", shorter.size);
    CHECK (refuses (stream, &shorter, size, shorter.size < 48 + CHECKSUM_SIZE ? "56" : whole));
  }
  memcpy (longer.bytes, state.bytes, state.size);
  longer.bytes[state.size] = 0;
  snprintf (size, sizeof size, "%zu bytes", longer.size);
  CHECK (refuses (stream, &longer, size, whole));
  CHECK (is_undisturbed (stream, layer));
  free (longer.bytes);
  free (state.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (what_is_no_state_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  uint8_t text[100] = "This is not what you are looking for.";
  State state = { text, sizeof text };

  CHECK (refuses (stream, &state, "not a saved state", "attnstat"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (other_version_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  State state = save (stream);

  put_number (&state, 8, 77, 4);
  mend_checksum (&state);
  CHECK (refuses (stream, &state, "version 77", "version 2"));
  free (state.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Another value of each field of the configuration. */
static const struct {
  const char *field;
  double other;
  bool is_same_layer; /* means the same in other words, or changes no bit */
} others[] = {
  { "the number of features", 16, false },
  { "heads", 4, false },
  { "kv-heads", 2, true }, /* as many as heads, which 0 stands for */
  { "window", 4, false },
  { "look-ahead", 1, false },
  { "sinks", 2, false },
  { "scale", 0.25, false },
  { "scale", 0.5, true }, /* 1/sqrt of the head size */
  { "softcap", 2.5, false },
  { "position", ATTN_POSITION_ALIBI, false },
  { "position", ATTN_POSITION_NONE, false },
  { "rope-base", 500000, false },
  { "rope-layout", ATTN_ROPE_INTERLEAVED, false },
  { "rope-dimensions", 2, false },
  { "rope-dimensions", 4, true }, /* the whole head */
  { "threads", 2, true },
  { "precision", ATTN_PRECISION_F16, false },
  { "precision", ATTN_PRECISION_BF16, false },
  { "arithmetic", ATTN_ARITHMETIC_FAST, false },
};
#define N_OTHERS (sizeof others / sizeof others[0])

/* The layer of `config` with others[i] accepts or refuses the state, as the table says. */
static bool
other_is_told_apart (AttnConfig config, const AttnField *field, size_t i, const State *state)
{
  AttnLayer *layer;
  AttnStream *stream;
  bool right;

  attn_config_set (&config, field, others[i].other);
  if (attn_layer_new (&config, NULL, &layer, NULL) != ATTN_OK)
    return false;
  stream = stream_new (layer, 0);
  right = others[i].is_same_layer ? attn_stream_restore (stream, state->bytes, state->size, NULL) == ATTN_OK
                                  : refuses (stream, state, "another layer", "hash");
  attn_stream_free (stream);
  attn_layer_free (layer);
  return right;
}

/* A new field belongs in the table above and, if outputs depend on it, in the hash of the block. */
TEST (layer_that_differs_in_any_field_refuses_a_state)
{
  AttnConfig config = attn_config_default ();
  const AttnField *field;
  AttnLayer *layer;
  AttnStream *stream;
  State state;

  config.n_features = 8;
  config.n_heads = 2;
  config.window = 3;
  config.look_ahead = 2;
  config.n_sinks = 1;
  config.position = ATTN_POSITION_ROPE;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  stream = stream_new (layer, 0);
  state = save (stream);
  for (size_t f = 0; (field = attn_config_field (f)) != NULL; f++) {
    /* Norms need a model, and chunks allow no window: other_norms_are_refused, other_chunks_are_refused */
    size_t n_tried = strncmp (field->name, "qk-norm", 7) == 0 || strncmp (field->name, "chunk", 5) == 0;

    for (size_t i = 0; i < N_OTHERS; i++)
      if (strcmp (others[i].field, field->name) == 0) {
        CHECK_MSG (other_is_told_apart (config, field, i, &state), "%s %g", field->name, others[i].other);
        n_tried++;
      }
    CHECK_MSG (n_tried > 0, "no other value of %s is tried", field->name);
  }
  free (state.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* A layer with a model in which the value at `changed` (NULL: none) is another one by one unit in the last place. */
static AttnLayer *
changed_layer (RandomLayer *r, float *changed)
{
  float before = changed != NULL ? *changed : 0;
  AttnLayer *layer;

  if (changed != NULL)
    *changed = nextafterf (before, 100);
  if (attn_layer_new (&r->config, r->model, &layer, NULL) != ATTN_OK)
    abort ();
  if (changed != NULL)
    *changed = before;
  return layer;
}

TEST (other_parameters_are_refused)
{
  RandomLayer r;

  do {
    r = random_layer ();
    if (r.config.precision == ATTN_PRECISION_F32 && r.model != NULL && r.model->query.bias && r.model->key.bias
        && r.model->value.bias && r.model->output.bias)
      break;
    random_layer_clear (&r);
  } while (true);
  {
    AttnLinear *q = &r.model->query, *k = &r.model->key, *v = &r.model->value, *o = &r.model->output;
    float *changed[] = { NULL,      q->weight, q->bias,
                         k->weight, k->bias,   v->weight + (size_t) v->n_outputs * v->n_inputs - 1,
                         v->bias,   o->weight, o->bias + o->n_outputs - 1 };
    AttnStream *stream = stream_new (r.layer, 0);
    State state = save (stream);

    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
      AttnLayer *layer = changed_layer (&r, changed[i]);
      AttnStream *other = stream_new (layer, 0);
      bool right = changed[i] == NULL ? attn_stream_restore (other, state.bytes, state.size, NULL) == ATTN_OK
                                      : refuses (other, &state, "another layer", "hash");

      attn_stream_free (other);
      attn_layer_free (layer);
      CHECK_MSG (right, "parameter %zu", i);
    }
    free (state.bytes);
    attn_stream_free (stream);
  }
  random_layer_clear (&r);
}

/* A stream of `other` refuses a state of `layer`. */
static bool
is_told_apart (const AttnLayer *layer, const AttnLayer *other)
{
  AttnStream *stream = stream_new (layer, 0), *foreign = stream_new (other, 0);
  State state = save (stream);
  bool refused = refuses (foreign, &state, "another layer", "hash");

  free (state.bytes);
  attn_stream_free (stream);
  attn_stream_free (foreign);
  return refused;
}

TEST (other_relative_bias_is_refused)
{
  RandomLayer r = random_layer ();
  AttnLayer *other;
  AttnRelativeBias *bias;

  while (r.config.position != ATTN_POSITION_RELATIVE) {
    random_layer_clear (&r);
    r = random_layer ();
  }
  bias = &r.model->relative_bias;
  bias->values[bias->n_heads * bias->n_frames - 1] += 0.5f;
  other = changed_layer (&r, NULL);
  CHECK (is_told_apart (r.layer, other));
  attn_layer_free (other);
  random_layer_clear (&r);
}

TEST (other_positions_of_transformer_xl_are_refused)
{
  RandomLayer r = random_layer ();
  AttnLayer *layer;
  AttnLinear p;
  float *u, *v;
  size_t n;

  while (r.model == NULL || r.config.position != ATTN_POSITION_NONE || r.config.precision != ATTN_PRECISION_F32
         || r.config.n_sinks != 0 || r.config.n_features % 2 != 0) {
    random_layer_clear (&r);
    r = random_layer ();
  }
  n = r.model->query.n_outputs;
  p = random_linear (n, r.config.n_features, false, 1);
  u = calloc (n, sizeof *u);
  v = calloc (n, sizeof *v);
  r.config.position = ATTN_POSITION_TRANSFORMER_XL;
  r.model->transformer_xl = (AttnTransformerXl){ p, r.config.n_heads, n / r.config.n_heads, u, v };
  layer = changed_layer (&r, NULL);
  for (int i = 0; i < 3; i++) {
    /* a weight of a cosine: the sine of distance 0 is 0 */
    float *changed[] = { p.weight + 1, u + n - 1, v + n - 1 }, before = *changed[i];
    AttnLayer *other;

    *changed[i] += 1;
    other = changed_layer (&r, NULL);
    *changed[i] = before;
    CHECK_MSG (is_told_apart (layer, other), "change %d", i);
    attn_layer_free (other);
  }
  attn_layer_free (layer);
  free_linear (&p);
  free (u);
  free (v);
  random_layer_clear (&r);
}

TEST (other_norms_are_refused)
{
  RandomLayer r = random_layer ();
  AttnLayer *other;

  while (r.config.qk_norm == ATTN_QK_NORM_NONE || r.config.qk_norm_eps == 0.25) {
    random_layer_clear (&r);
    r = random_layer ();
  }
  for (int i = 0; i < 4; i++) {
    AttnConfig before = r.config;
    AttnNormVectors query_norm = r.model->query_norm, key_norm = r.model->key_norm;
    float *changed[] = { query_norm.weight, key_norm.weight + key_norm.n_values - 1, NULL, NULL };

    if (i == 2)
      r.config.qk_norm_eps = 0.25;
    if (i == 3) {
      r.config.qk_norm = ATTN_QK_NORM_LAYER + ATTN_QK_NORM_RMS - r.config.qk_norm;
      r.model->query_norm.bias = r.model->key_norm.bias = NULL;
    }
    other = changed_layer (&r, changed[i]);
    r.config = before;
    r.model->query_norm = query_norm;
    r.model->key_norm = key_norm;
    CHECK_MSG (is_told_apart (r.layer, other), "change %d", i);
    attn_layer_free (other);
  }
  random_layer_clear (&r);
}

/* Some of these count as the same window, or the same look-ahead. */
TEST (other_chunks_are_refused)
{
  static const uint32_t pairs[][2] = { { 3, 2 }, { 6, 0 }, { 2, 2 }, { 0, 0 } };
  AttnConfig config = attn_config_default (), other;
  AttnLayer *layer, *other_layer;

  config.n_features = 2;
  config.chunk = 3;
  config.chunks = 1;
  MUST (attn_layer_new (&config, NULL, &layer, NULL));
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    other = config;
    other.chunk = pairs[i][0];
    other.chunks = pairs[i][1];
    if (other.chunk == 0)
      other.window = 6, other.look_ahead = 2;
    MUST (attn_layer_new (&other, NULL, &other_layer, NULL));
    CHECK_MSG (is_told_apart (layer, other_layer), "chunk %u, chunks %u", pairs[i][0], pairs[i][1]);
    attn_layer_free (other_layer);
  }
  attn_layer_free (layer);
}

/* The divisor and the factor of a softcap are rounded separately: 2 / softcap is the same here. */
TEST (softcap_that_differs_in_a_last_place_is_refused)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *a, *b;

  config.n_features = 2;
  config.softcap = 50;
  MUST (attn_layer_new (&config, NULL, &a, NULL));
  do {
    config.softcap = nextafter (config.softcap * (1 + 0x1p-30), 100);
    MUST (attn_layer_new (&config, NULL, &b, NULL));
    if (attn_layer_first (a)->sizes.softcap.cap != attn_layer_first (b)->sizes.softcap.cap)
      break;
    attn_layer_free (b);
  } while (true);
  CHECK (attn_layer_first (a)->sizes.softcap.factor == attn_layer_first (b)->sizes.softcap.factor);
  CHECK (is_told_apart (a, b));
  attn_layer_free (a);
  attn_layer_free (b);
}

TEST (kernels_are_no_part_of_the_layer)
{
  bool runs;

  for (size_t row = 0; attn_kernels_row (row, &runs) != NULL; row++) {
    AttnLayer *layer, *other_layer;
    AttnStream *stream = small_stream (&layer), *other;
    State state = save (stream);

    if (runs) {
      setenv ("ATTN_CPU", attn_kernels_row (row, &runs)->name, 1);
      other_layer = plain_layer (2, 1, 3, 2, 1);
      unsetenv ("ATTN_CPU");
      other = stream_new (other_layer, 0);
      CHECK (attn_stream_restore (other, state.bytes, state.size, NULL) == ATTN_OK);
      CHECK (is_undisturbed (other, layer));
      attn_stream_free (other);
      attn_layer_free (other_layer);
    }
    free (state.bytes);
    attn_stream_free (stream);
    attn_layer_free (layer);
  }
}

TEST (forged_numbers_are_refused)
{
  static const struct {
    size_t at;
    int n_bytes;
    uint64_t value;
    const char *a, *b;
  } forged[] = {
    { 12, 4, 2, "flags 0x2", "0x1" },
    { 12, 4, 0xffffffff, "flags", "known" },
    { 12, 4, 1, "2 frames wait", "end of the stream" },
    { 32, 8, 6, "first 6", "leave 5" },
    { 32, 8, UINT64_MAX, "first 18446744073709551615", "come in 7" },
    { 32, 8, 4, "whose frames take", "bytes" },
    { 40, 8, 4, "leave 5", "come in 4" },
    { 40, 8, 0, "leave 5", "come in 0" },
    { 40, 8, 8, "3 frames wait", "look-ahead of 2" },
    { 40, 8, UINT64_C (1) << 62, "4611686018427387899 frames wait", "look-ahead of 2" },
    { 40, 8, UINT64_MAX, "counts 18446744073709551615 frames", "at most 4611686018427387904" },
    { 48, 8, UINT64_MAX, "ends inside its section 0", "of 1" },
    { 48, 8, 1000, "ends inside its section 0", "of 1" },
    { 48, 8, 7, "has 7 bytes for an attention", "at least 8" },
    { 48, 8, 8 + 1 + 5 * 16 + 8, "has 97 bytes for an attention", "frames take 105" },
    { 56, 8, 8, "leave 8", "come in 7" },
    { 56, 8, 0, "7 frames wait", "look-ahead of 2" },
    { 56, 8, UINT64_MAX, "leave 18446744073709551615", "come in 7" },
    { 56, 8, 6, "whose frames take", "bytes" },
    { HEADER_SIZE, 1, 0x0f, "whose frames take", "bytes" },
    { HEADER_SIZE, 1, 0x00, "whose frames take", "bytes" },
    { HEADER_SIZE, 1, 0x9f, "more frames as present", "than the 5" },
  };
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  State state = save (stream);

  for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
    uint64_t value = number_at (&state, forged[i].at, forged[i].n_bytes);
    bool refused;

    put_number (&state, forged[i].at, forged[i].value, forged[i].n_bytes);
    mend_checksum (&state);
    refused = refuses (stream, &state, forged[i].a, forged[i].b);
    put_number (&state, forged[i].at, value, forged[i].n_bytes);
    CHECK_MSG (refused, "forgery %zu", i);
  }
  CHECK (is_undisturbed (stream, layer));
  free (state.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (any_flipped_byte_is_refused);
  RUN (any_truncation_is_refused);
  RUN (what_is_no_state_is_refused);
  RUN (other_version_is_refused);
  RUN (layer_that_differs_in_any_field_refuses_a_state);
  RUN (other_parameters_are_refused);
  RUN (other_relative_bias_is_refused);
  RUN (other_positions_of_transformer_xl_are_refused);
  RUN (other_norms_are_refused);
  RUN (other_chunks_are_refused);
  RUN (softcap_that_differs_in_a_last_place_is_refused);
  RUN (kernels_are_no_part_of_the_layer);
  RUN (forged_numbers_are_refused);
  return check_done ();
}
