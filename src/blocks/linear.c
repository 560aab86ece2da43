/* libattn: linear layers.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/linear.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/status.h"

/* The place of the weight of output `o` and input `i`. */
static size_t
packed_index (const AttnProjection *projection, size_t o, size_t i)
{
  size_t panel = projection->panel;

  return o / panel * panel * attn_stored_rows (projection->n_inputs, projection->precision)
         + attn_stored_index (i, panel, o % panel, projection->precision);
}

/*
 * Bytes of the weights of a layer from which on they do not arrive in time by themselves: those that leave the
 * third-level cache, or the half of it that other programs leave, before they are read again; on processors where this
 * cache is slow, those that leave the second-level cache. Asking for nearer ones costs a tenth and more (AMD Zen 5).
 */
static size_t
smallest_far (void)
{
  return (size_t) (attn_cpu_has_slow_cache () ? 2 : 16) << 20;
}

/*
 * Bytes that are read until the memory answers: measured with 2 to 6 frames, against 30 MB of weights in f32 and 1.2 GB
 * in bf16. It takes as long to compute with a weight of 16 bits as with one of 32, so half as many bytes are read in
 * this time.
 */
static size_t
time_to_answer (AttnPrecision precision)
{
  return (size_t) (attn_cpu_has_slow_cache () ? 512 : 4096) * attn_precision_size (precision);
}

/* Bytes. */
static size_t
weight_size (const AttnProjection *projection)
{
  size_t n_rows = attn_stored_rows (projection->n_inputs, projection->precision);

  return attn_size_mul (attn_size_mul (attn_round_up (projection->n_outputs, projection->panel), n_rows),
                        attn_precision_size (projection->precision));
}

AttnStatus
attn_linear_init (AttnProjection *projection, size_t n_inputs, size_t n_outputs, AttnPrecision precision,
                  AttnError *error)
{
  size_t panel = attn_panel (n_outputs), n_padded = attn_round_up (n_outputs, panel), bytes, i;

  *projection =
      (AttnProjection){ .n_inputs = n_inputs, .n_outputs = n_outputs, .panel = panel, .precision = precision };
  bytes = weight_size (projection);
  projection->weight = attn_alloc (bytes);
  projection->bias = attn_alloc (attn_size_mul (n_padded, sizeof (float)));
  projection->start = attn_alloc (attn_size_mul (n_padded, sizeof (float)));
  if (projection->weight == NULL || projection->bias == NULL || projection->start == NULL)
    return attn_fail_memory (error, "packed parameters", bytes);
  for (i = 0; i < n_padded; i++)
    projection->start[i] = ATTN_GUARD;
  return ATTN_OK;
}

/* A parameter that f16 cannot hold would become infinite. */
static AttnStatus
check_range (const char *name, const AttnLinear *linear, AttnPrecision precision, AttnError *error)
{
  const float limit = 65520; /* halfway from 65504 to 65536, and rounded up */
  size_t n = linear->n_outputs * linear->n_inputs, i;

  for (i = 0; i < n && precision == ATTN_PRECISION_F16; i++)
    if (fabsf (linear->weight[i]) >= limit && !isinf (linear->weight[i]))
      return attn_fail (
          error, ATTN_ERROR_MODEL,
          "the %s projection has the parameter %g at [%zu, %zu], but f16 ends at 65504; bf16 and f32 hold it", name,
          linear->weight[i], i / linear->n_inputs, i % linear->n_inputs);
  return ATTN_OK;
}

/* The results of the padding are never stored. */
AttnStatus
attn_linear_pack (AttnProjection *projection, size_t first, const char *name, const AttnLinear *linear,
                  const AttnKernels *kernels, AttnError *error)
{
  AttnStatus status = check_range (name, linear, projection->precision, error);
  size_t i, o;

  for (o = 0; o < linear->n_outputs && status == ATTN_OK; o++)
    for (i = 0; i < linear->n_inputs; i++) {
      size_t at = packed_index (projection, first + o, i);
      float value;

      kernels->scale (&value, &linear->weight[o * linear->n_inputs + i], 1, 1);
      if (projection->precision == ATTN_PRECISION_F32)
        ((float *) projection->weight)[at] = value;
      else
        kernels->narrow ((uint16_t *) projection->weight + at, &value, 1, projection->precision);
    }
  if (linear->bias == NULL || status != ATTN_OK)
    return status;
  kernels->scale (projection->bias + first, linear->bias, 1, linear->n_outputs);
  for (o = first; o < first + linear->n_outputs; o++)
    projection->start[o] = projection->bias[o] + ATTN_GUARD;
  return ATTN_OK;
}

static float
weight_of (const AttnProjection *projection, size_t o, size_t i)
{
  return attn_stored_value (projection->weight, packed_index (projection, o, i), projection->precision);
}

AttnStatus
attn_linear_split (AttnProjection *projection, AttnError *error)
{
  size_t n_rows = attn_round_up (projection->n_inputs, ATTN_STEP), i, o;
  size_t n_parts = attn_right_parts (projection->precision);
  size_t bytes = attn_size_mul (attn_right_size (n_rows, projection->n_outputs, n_parts), sizeof (uint16_t));
  bool can_split = true;

  projection->split = attn_alloc (bytes);
  if (projection->split == NULL)
    return attn_fail_memory (error, "split parameters", bytes);
  for (o = 0; o < projection->n_outputs; o++)
    for (i = 0; i < projection->n_inputs; i++) {
      float value = weight_of (projection, o, i);

      can_split &= fabsf (value) < ATTN_SPLIT_LIMIT;
      attn_set_right (projection->split, i, o, n_rows, n_parts, value);
    }
  if (!can_split) {
    attn_free (projection->split);
    projection->split = NULL;
  }
  return ATTN_OK;
}

void
attn_linear_settle (AttnProjection *projection, AttnArena *arena)
{
  size_t bytes = projection->weight != NULL ? weight_size (projection) : 0;
  void *weight = arena != NULL ? attn_arena_take (arena, bytes) : NULL;

  if (weight != NULL && bytes > 0) {
    memcpy (weight, projection->weight, bytes);
    attn_free_pages (projection->weight, bytes);
    projection->weight = weight;
    projection->ahead = arena->size >= smallest_far () ? time_to_answer (projection->precision) : 0;
  }
  if (arena == NULL)
    projection->weight = NULL;
}

void
attn_linear_clear (AttnProjection *projection)
{
  attn_free (projection->weight);
  attn_free (projection->bias);
  attn_free (projection->start);
  attn_free (projection->split);
}

/* Hashes the stored values as float32 in the order of the model, because the packing may change. */
uint64_t
attn_linear_hash (uint64_t hash, const AttnProjection *projection)
{
  size_t o, i;

  hash = attn_hash_number (hash, projection->weight != NULL, 1);
  hash = attn_hash_number (hash, projection->n_inputs, 8);
  hash = attn_hash_number (hash, projection->n_outputs, 8);
  if (projection->weight == NULL)
    return hash;
  for (o = 0; o < projection->n_outputs; o++)
    for (i = 0; i < projection->n_inputs; i++) {
      float value = weight_of (projection, o, i);

      hash = attn_hash_floats (hash, &value, 1);
    }
  return attn_hash_floats (hash, projection->bias, projection->n_outputs);
}

/* A projection that threads share: each takes a number of panels. */
typedef struct {
  const AttnMachine *machine;
  const AttnProjection *projection;
  float *out;
  const float *in;
  size_t n_frames;
  const uint16_t *left; /* the frames for the matrix unit; NULL: the unit is not used */
} Projecting;

/* The outputs of `panels`, which begin at `begin` of all outputs. */
static void
project_panels (const Projecting *p, const AttnProjection *panels, size_t begin)
{
  size_t n_outputs = p->projection->n_outputs;

  if (p->left != NULL)
    p->machine->matrix->project (p->out + begin, n_outputs, p->left, p->n_frames, panels);
  else
    p->machine->kernels->project (p->out + begin, n_outputs, p->in, panels->n_inputs, p->n_frames, panels);
}

static void
project_part (void *data, size_t part, size_t n_parts)
{
  const Projecting *p = data;
  AttnProjection panels = *p->projection;
  size_t n_panels = (panels.n_outputs + panels.panel - 1) / panels.panel;
  size_t begin = attn_share (n_panels, part, n_parts) * panels.panel;
  size_t end = attn_share (n_panels, part + 1, n_parts) * panels.panel;

  if (begin == end)
    return;
  panels.weight =
      (char *) panels.weight
      + begin * attn_stored_rows (panels.n_inputs, panels.precision) * attn_precision_size (panels.precision);
  panels.bias += begin;
  panels.start += begin;
  panels.n_outputs = (end < panels.n_outputs ? end : panels.n_outputs) - begin;
  if (p->left != NULL)
    panels.split += attn_right_size (panels.n_inputs, begin, attn_right_parts (panels.precision));
  project_panels (p, &panels, begin);
}

void
attn_linear_run (const AttnMachine *machine, AttnPool *pool, const AttnProjection *projection, uint16_t *left,
                 float *out, const float *in, size_t n)
{
  Projecting p = { machine, projection, out, in, n, NULL };
  size_t n_inputs = projection->n_inputs;

  if (projection->split != NULL && n >= attn_least_projected (n_inputs)
      && attn_split_left (machine->matrix, left, in, n_inputs, n, n_inputs))
    p.left = left;
  if (pool == NULL)
    project_panels (&p, projection, 0);
  else
    attn_pool_share (pool, project_part, &p);
}

bool
attn_linear_share (const AttnMachine *machine, const AttnWork *work, AttnPool *pool, const AttnProjection *projection,
                   uint16_t *left, float *out, const float *in, size_t n)
{
  AttnRequest *request = work->request;
  bool is_done = !request->in_group || request->is_done;

  if (!request->in_group)
    attn_linear_run (machine, pool, projection, left, out, in, n);
  else {
    request->projection = is_done ? NULL : projection;
    request->in = in;
    request->out = out;
    request->n = n;
    request->is_done = false;
  }
  return is_done;
}
