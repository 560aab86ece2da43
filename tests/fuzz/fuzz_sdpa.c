/*
 * Any description of the plain operator, attn_sdpa (), as a case of ONNX may have it: computed within the bound of its
 * definition in float64 (core/sdpa.h), or refused with a sentence, and then nothing is written. The bytes are the
 * choices of a random problem and of the damage to its description. A tensor that the damaged description makes larger
 * than its array is NULL. Damaged problems, and those with values that are not finite or not small, have the bits of
 * the kernels in plain C.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <stddef.h>

#include "choices.h"

#include "../core/sdpa.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* ---- damage ---- */

#define FIELD(name) offsetof (AttnSdpa, name)

static const size_t numbers[] = {
  FIELD (n_batches),    FIELD (n_heads),     FIELD (n_kv_heads),   FIELD (n_queries),    FIELD (n_keys),
  FIELD (dk),           FIELD (dv),          FIELD (layout),       FIELD (mask_batches), FIELD (mask_heads),
  FIELD (mask_queries), FIELD (mask_keys),   FIELD (is_causal),    FIELD (left_window),  FIELD (right_window),
  FIELD (n_past),       FIELD (pad_mask),    FIELD (scores_stage), FIELD (type),         FIELD (value_type),
  FIELD (softmax_type), FIELD (reserved[0]), FIELD (reserved[5]),
};

static void
damage_number (AttnSdpa *s)
{
  static const uint32_t extremes[] = { 0, 1, 2, 3, 16, 65536, 65537, INT32_MAX, UINT32_MAX - 1, UINT32_MAX };
  uint32_t *number = (uint32_t *) ((char *) s + numbers[random_between (0, sizeof numbers / sizeof numbers[0] - 1)]);

  switch (random_between (0, 3)) {
  case 0:
    *number = extremes[random_between (0, sizeof extremes / sizeof extremes[0] - 1)];
    break;
  case 1:
    *number = random_between (0, 80);
    break;
  case 2:
    *number += 1;
    break;
  default:
    *number -= 1;
  }
}

static void
damage_real (AttnSdpa *s)
{
  static const double extremes[] = { 0, -1, NAN, INFINITY, -INFINITY, 1e-320, 1e-30, 1e30, 1e300, 0.3, 2 };
  double value = extremes[random_between (0, sizeof extremes / sizeof extremes[0] - 1)];

  *(random_between (0, 1) ? &s->scale : &s->softcap) = value;
}

static void
damage_offset (Problem *p)
{
  static const int64_t extremes[] = { INT64_MIN, INT64_MAX, -1, 0, 5, 1000, INT64_C (1) << 32, -(INT64_C (1) << 32) };
  int64_t value = extremes[random_between (0, sizeof extremes / sizeof extremes[0] - 1)];

  if (random_between (0, 1))
    p->s.query_offset = value;
  else
    p->n_valid_keys[random_between (0, 2)] = value;
}

/* ---- tensors ---- */

/* The product of the sizes; SIZE_MAX: too many. */
static size_t
product (const uint64_t sizes[4])
{
  size_t n = 1;

  for (int i = 0; i < 4; i++)
    if (sizes[i] == 0)
      return 0;
  for (int i = 0; i < 4; i++)
    n = attn_size_mul (n, sizes[i] < SIZE_MAX ? (size_t) sizes[i] : SIZE_MAX);
  return n;
}

/* A field of the description, and the bytes of the array that it points to. */
typedef struct {
  const void **field;
  size_t size;
} Tensor;

#define SIZE(element, ...) attn_size_mul (element, product ((const uint64_t[]){ __VA_ARGS__ }))
#define N_TENSORS 12
#define FIRST_OUTPUT 7

static void
list_tensors (AttnSdpa *s, Tensor list[N_TENSORS])
{
  uint64_t n_total = (uint64_t) s->n_past + s->n_keys, n_kv = s->n_kv_heads != 0 ? s->n_kv_heads : s->n_heads;
  uint64_t dv = s->dv != 0 ? s->dv : s->dk, n_masked = s->mask_keys != 0 ? s->mask_keys : n_total;
  uint64_t n_batches = s->n_batches, n_rows = s->n_queries, mask[3];
  size_t element = type_size (s->type), value = type_size (value_type (s));

  mask[0] = mask_size (s->mask_batches, s->n_batches);
  mask[1] = mask_size (s->mask_heads, s->n_heads);
  mask[2] = mask_size (s->mask_queries, s->n_queries);
  memcpy (list,
          (const Tensor[N_TENSORS]){
              { &s->query, SIZE (element, n_batches, s->n_heads, n_rows, s->dk) },
              { &s->key, SIZE (element, n_batches, n_kv, s->n_keys, s->dk) },
              { &s->value, SIZE (value, n_batches, n_kv, s->n_keys, dv) },
              { (const void **) &s->bool_mask, SIZE (1, mask[0], mask[1], mask[2], n_masked) },
              { &s->float_mask, SIZE (element, mask[0], mask[1], mask[2], n_masked) },
              { &s->past_key, SIZE (element, n_batches, n_kv, s->n_past, s->dk) },
              { &s->past_value, SIZE (value, n_batches, n_kv, s->n_past, dv) },
              { (const void **) &s->out, SIZE (element, n_batches, s->n_heads, n_rows, dv) },
              { (const void **) &s->weights, SIZE (element, n_batches, s->n_heads, n_rows, n_total) },
              { (const void **) &s->present_key, SIZE (element, n_batches, n_kv, n_total, s->dk) },
              { (const void **) &s->present_value, SIZE (value, n_batches, n_kv, n_total, dv) },
              { (const void **) &s->scores, SIZE (element, n_batches, s->n_heads, n_rows, n_total) },
          },
          N_TENSORS * sizeof *list);
}

/* Forgets the arrays of `valid` that are too small for the damaged description. */
static void
forget_small (AttnSdpa *damaged, AttnSdpa *valid)
{
  Tensor needed[N_TENSORS], there[N_TENSORS];

  list_tensors (damaged, needed);
  list_tensors (valid, there);
  for (int i = 0; i < N_TENSORS; i++)
    if (needed[i].size > there[i].size)
      *needed[i].field = NULL;
  if (damaged->n_batches > 3)
    damaged->n_valid_keys = NULL;
}

/* Puts values into query, key and value that are very large, denormal or not finite. */
static void
sprinkle (AttnSdpa *s)
{
  static const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-39f, -0.0f, 1e20f };
  Tensor tensors[N_TENSORS];

  list_tensors (s, tensors);
  for (int i = 0; i < 3; i++)
    for (uint32_t n = random_between (0, 3); n > 0 && tensors[i].size >= sizeof *odd; n--) {
      size_t at = more_bits () % (tensors[i].size / sizeof *odd);

      memcpy ((char *) (uintptr_t) *tensors[i].field + at * sizeof *odd, &odd[random_between (0, 7)], sizeof *odd);
    }
}

/* ---- outputs ---- */

typedef struct {
  uint8_t *bytes;
  size_t size;
} Outputs;

/* Copies what the outputs hold; the caller frees the bytes. */
static Outputs
outputs_of (AttnSdpa *s)
{
  Outputs outputs = { malloc (1), 0 };
  Tensor tensors[N_TENSORS];

  list_tensors (s, tensors);
  for (int i = FIRST_OUTPUT; i < N_TENSORS; i++)
    if (*tensors[i].field != NULL) {
      outputs.bytes = realloc (outputs.bytes, outputs.size + tensors[i].size + 1);
      must (outputs.bytes != NULL);
      memcpy (outputs.bytes + outputs.size, *tensors[i].field, tensors[i].size);
      outputs.size += tensors[i].size;
    }
  return outputs;
}

static bool
have_changed (const Outputs *before, AttnSdpa *s)
{
  Outputs now = outputs_of (s);
  bool changed = now.size != before->size || memcmp (now.bytes, before->bytes, now.size) != 0;

  free (now.bytes);
  return changed;
}

/* ---- one problem ---- */

static void
check_against_plain_c (AttnSdpa *s)
{
  Outputs outputs = outputs_of (s);

  setenv ("ATTN_CPU", "c", 1);
  must (attn_sdpa (s, NULL) == ATTN_OK && !have_changed (&outputs, s));
  unsetenv ("ATTN_CPU");
  free (outputs.bytes);
}

/* Some rows are enough: each takes a while in float64. */
static void
check_against_float64 (const AttnSdpa *s)
{
  Bounded *weights = malloc ((n_total (s) + 1) * sizeof *weights), *out = malloc (s->dv * sizeof *out);

  must (weights != NULL && out != NULL);
  for (int i = 0; i < 4; i++) {
    const size_t at[3] = { more_bits () % s->n_batches, more_bits () % s->n_heads, more_bits () % s->n_queries };

    must (is_row_right (s, at, (at[0] * s->n_heads + at[1]) * s->n_queries + at[2], weights, out));
  }
  free (weights);
  free (out);
}

static void
damage (Problem *p)
{
  AttnSdpa valid = p->s;

  for (uint32_t n = random_between (1, 3); n > 0; n--)
    switch (random_between (0, 5)) {
    case 0:
      damage_real (&p->s);
      break;
    case 1:
      damage_offset (p);
      break;
    default:
      damage_number (&p->s);
    }
  forget_small (&p->s, &valid);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  Problem p;
  AttnError error = { 0 };
  Outputs before;
  bool is_odd;

  input.data = data;
  input.size = size;
  input.state = size;
  random_onnx_problem (&p);
  is_odd = random_between (0, 2) == 0;
  if (is_odd)
    sprinkle (&p.s);
  if (random_between (0, 1) == 0) {
    damage (&p);
    is_odd = true;
  }
  before = outputs_of (&p.s);
  if (attn_sdpa (&p.s, &error) != ATTN_OK)
    must (error.message[0] != '\0' && !have_changed (&before, &p.s));
  else if (is_odd)
    check_against_plain_c (&p.s);
  else
    check_against_float64 (&p.s);
  free (before.bytes);
  problem_clear (&p);
  return 0;
}
