/* libattn: the positions of Transformer-XL.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/distances.h"

#include "base/hash.h"
#include "base/status.h"
#include "blocks/position.h"
#include "parameters/model.h"

#define BASE 10000 /* of the angles; no model has another one */

/* What the table is made with. */
typedef struct {
  AttnProjection projection; /* P, in float32 */
  AttnTurns *turns;          /* [n_pairs] */
  size_t n_pairs;            /* D / 2 */
  float *sines;              /* [16][D]: r_d */
  float *products;           /* [16][n_query] */
  uint16_t *narrow;          /* [n_query] */
} Maker;

static AttnStatus
init_maker (Maker *maker, const AttnSizes *sizes, const AttnModel *model, const AttnMachine *machine, AttnError *error)
{
  size_t bytes = ATTN_LANES * sizeof (float) * (sizes->n_features + sizes->n_query);
  AttnStatus status =
      attn_linear_init (&maker->projection, sizes->n_features, sizes->n_query, ATTN_PRECISION_F32, error);

  if (status
      || (status = attn_linear_pack (&maker->projection, 0, "position", &model->transformer_xl.linear, machine->kernels,
                                     error)))
    return status;
  maker->n_pairs = sizes->n_features / 2;
  maker->turns = attn_alloc (maker->n_pairs * sizeof *maker->turns);
  maker->sines = attn_alloc (ATTN_LANES * sizes->n_features * sizeof (float));
  maker->products = attn_alloc (ATTN_LANES * sizes->n_query * sizeof (float));
  maker->narrow = attn_alloc (sizes->n_query * sizeof *maker->narrow);
  if (maker->turns == NULL || maker->sines == NULL || maker->products == NULL || maker->narrow == NULL)
    return attn_fail_memory (error, "sines of distances", bytes);
  attn_rope_turns (maker->turns, BASE, maker->n_pairs);
  return ATTN_OK;
}

static void
clear_maker (Maker *maker)
{
  attn_linear_clear (&maker->projection);
  attn_free (maker->turns);
  attn_free (maker->sines);
  attn_free (maker->products);
  attn_free (maker->narrow);
}

/* r [D] of one distance: sin, cos, sin ... A later frame has the sines of the opposite distance, negated. */
static void
fill_sines (const Maker *maker, int64_t distance, float *r)
{
  uint64_t length = distance < 0 ? -(uint64_t) distance : (uint64_t) distance;

  for (size_t i = 0; i < maker->n_pairs; i++) {
    float cosine, sine;

    attn_rope_angle (attn_rope_phase (maker->turns[i], length), &cosine, &sine);
    r[2 * i] = distance < 0 ? 0 - sine : sine;
    r[2 * i + 1] = cosine;
  }
}

/* P r_d [n_query] goes to its lane. */
static void
store (const AttnDistances *distances, const AttnSizes *sizes, const Maker *maker, const AttnKernels *kernels,
       size_t lane, size_t tile, const float *products)
{
  AttnPrecision precision = sizes->precision;

  if (precision != ATTN_PRECISION_F32)
    kernels->narrow (maker->narrow, products, sizes->n_query, precision);
  for (size_t i = 0; i < sizes->n_query; i++) {
    size_t at = (i / sizes->dk * distances->n_tiles + tile) * sizes->dk_stored * ATTN_LANES
                + attn_stored_index (i % sizes->dk, ATTN_LANES, lane, precision);

    if (precision == ATTN_PRECISION_F32)
      ((float *) distances->table)[at] = products[i];
    else
      ((uint16_t *) distances->table)[at] = maker->narrow[i];
  }
}

/* Lanes behind the last distance stay 0. */
static void
fill_table (const AttnDistances *distances, const AttnSizes *sizes, const Maker *maker, const AttnMachine *machine)
{
  size_t n = sizes->window + sizes->look_ahead, tile, lane;

  for (tile = 0; tile < distances->n_tiles; tile++) {
    size_t first = tile * ATTN_LANES, n_lanes = n - first < ATTN_LANES ? n - first : ATTN_LANES;

    for (lane = 0; lane < n_lanes; lane++)
      fill_sines (maker, (int64_t) (sizes->window - 1) - (int64_t) (first + lane),
                  maker->sines + lane * sizes->n_features);
    attn_linear_run (machine, NULL, &maker->projection, NULL, maker->products, maker->sines, n_lanes);
    for (lane = 0; lane < n_lanes; lane++)
      store (distances, sizes, maker, machine->kernels, lane, tile, maker->products + lane * sizes->n_query);
  }
}

static AttnStatus
take_memory (AttnDistances *distances, const AttnSizes *sizes, AttnError *error)
{
  size_t n_tiles = (sizes->window + sizes->look_ahead + ATTN_LANES - 1) / ATTN_LANES, i;
  size_t n = attn_size_mul (attn_size_mul (sizes->n_heads * n_tiles, sizes->dk_stored), ATTN_LANES);
  size_t bytes = attn_size_mul (n, attn_precision_size (sizes->precision));

  distances->n_tiles = n_tiles;
  distances->table = attn_alloc (bytes);
  distances->slots = attn_alloc (n_tiles * sizeof *distances->slots);
  distances->u = attn_alloc (sizes->n_query * sizeof (float));
  distances->v = attn_alloc (sizes->n_query * sizeof (float));
  if (distances->table == NULL || distances->slots == NULL || distances->u == NULL || distances->v == NULL)
    return attn_fail_memory (error, "projected distances", bytes);
  for (i = 0; i < n_tiles; i++)
    distances->slots[i] = (uint32_t) i;
  return ATTN_OK;
}

AttnStatus
attn_distances_init (AttnDistances *distances, const AttnSizes *sizes, const AttnModel *model,
                     const AttnMachine *machine, AttnError *error)
{
  Maker maker = { 0 };
  AttnStatus status;

  if (sizes->position != ATTN_POSITION_TRANSFORMER_XL)
    return ATTN_OK;
  status = take_memory (distances, sizes, error);
  if (status == ATTN_OK)
    status = init_maker (&maker, sizes, model, machine, error);
  if (status == ATTN_OK) {
    fill_table (distances, sizes, &maker, machine);
    machine->kernels->scale (distances->u, model->transformer_xl.u, sizes->query_factor, sizes->n_query);
    machine->kernels->scale (distances->v, model->transformer_xl.v, sizes->query_factor, sizes->n_query);
  }
  clear_maker (&maker);
  return status;
}

void
attn_distances_clear (AttnDistances *distances)
{
  attn_free (distances->table);
  attn_free (distances->slots);
  attn_free (distances->u);
  attn_free (distances->v);
}

uint64_t
attn_distances_hash (uint64_t hash, const AttnDistances *distances, const AttnSizes *sizes)
{
  size_t n = sizes->n_heads * attn_distances_stride (distances, sizes), i;

  if (distances->n_tiles == 0)
    return hash;
  for (i = 0; i < n; i++) {
    float value = attn_stored_value (distances->table, i, sizes->precision);

    hash = attn_hash_floats (hash, &value, 1);
  }
  hash = attn_hash_floats (hash, distances->u, sizes->n_query);
  return attn_hash_floats (hash, distances->v, sizes->n_query);
}
