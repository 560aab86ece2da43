/* libattn: the matrix unit's copy of a window.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/ring_split.h"

#include <string.h>

void
attn_ring_plan_split (AttnRing *ring, AttnArena *arena)
{
  const AttnSizes *sizes = ring->sizes;
  size_t n_parts = attn_right_parts (sizes->precision), keys, values;

  ring->n_split_rows = attn_round_up (attn_size_mul (ring->n_slots, ATTN_LANES), ATTN_STEP);
  keys = attn_size_mul (attn_size_mul (sizes->n_kv_heads, ring->n_slots),
                        attn_right_size (sizes->dk, ATTN_LANES, n_parts));
  values = attn_size_mul (sizes->n_kv_heads, attn_right_size (ring->n_split_rows, sizes->dv, n_parts));
  ring->split_keys = attn_arena_take (arena, attn_size_mul (keys, sizeof (uint16_t)));
  ring->split_values =
      attn_arena_take (arena, attn_size_mul (attn_size_add (values, ATTN_STEP_PART / 2), sizeof (uint16_t)));
  ring->splittable = attn_arena_take (arena, attn_size_mul (ring->n_slots, sizeof (uint16_t)));
  if (ring->splittable != NULL)
    memset (ring->splittable, 0xff, ring->n_slots * sizeof (uint16_t));
}

/* Rounds `n` values of some frames [n_frames][stride] as the window stores them, back in float32: widened [16][32]. */
static void
as_stored (const AttnArrivals *a, float *widened, const float *in, size_t n_frames, size_t n)
{
  AttnPrecision precision = a->ring->sizes->precision;
  uint16_t narrow[ATTN_STEP];

  for (size_t i = 0; i < n_frames; i++) {
    a->machine->kernels->narrow (narrow, in + i * a->stride, n, precision);
    for (size_t d = 0; d < n; d++)
      widened[i * ATTN_STEP + d] = attn_stored_value (narrow, d, precision);
  }
}

/* The same for up to 32 values, in two parts [2][16][32]; a frame with a value that is too large is all 0. */
static void
split_stored (const AttnArrivals *a, uint16_t *parts, const float *in, size_t n_frames, size_t n)
{
  bool is_f32 = a->ring->sizes->precision == ATTN_PRECISION_F32;
  size_t stride = is_f32 ? a->stride : ATTN_STEP, i;
  float widened[ATTN_LANES * ATTN_STEP];
  uint16_t *high = parts, *low = parts + ATTN_STEP_PART;

  if (!is_f32) {
    as_stored (a, widened, in, n_frames, n);
    in = widened;
  }
  if (a->machine->matrix->split (high, low, in, stride, n_frames, n))
    return;
  for (i = 0; i < n_frames; i++)
    if (!a->machine->matrix->split (high + i * ATTN_STEP, low + i * ATTN_STEP, in + i * stride, 0, 1, n)) {
      memset (high + i * ATTN_STEP, 0, ATTN_STEP * sizeof *high);
      memset (low + i * ATTN_STEP, 0, ATTN_STEP * sizeof *low);
    }
}

/* A pair of values of each of `n` rows of a step. */
static inline void
copy_pairs (uint16_t *restrict to, const uint16_t *restrict from, size_t n)
{
  for (size_t i = 0; i < n; i++)
    memcpy (to + 2 * i, from + i * ATTN_STEP, 2 * sizeof *to);
}

/* Keys are columns of their tile's right operand. */
static void
split_keys (const AttnArrivals *a, size_t head, size_t slot, size_t lane, size_t n)
{
  const AttnRing *ring = a->ring;
  size_t dk = ring->sizes->dk, n_rows = attn_round_up (dk, ATTN_STEP), d, part, pair;
  size_t n_parts = attn_right_parts (ring->sizes->precision);
  uint16_t *tile = ring->split_keys + (head * ring->n_slots + slot) * attn_right_size (dk, ATTN_LANES, n_parts);
  uint16_t parts[ATTN_STEP_SIZE];

  for (d = 0; d < dk; d += ATTN_STEP) {
    size_t n_dimensions = dk - d < ATTN_STEP ? dk - d : ATTN_STEP;

    split_stored (a, parts, a->keys + head * dk + d, n, n_dimensions);
    for (part = 0; part < n_parts; part++)
      for (pair = 0; pair < n_dimensions; pair += 2) {
        const uint16_t *from = parts + part * ATTN_STEP_PART + pair;
        uint16_t *to = tile + part * n_rows * ATTN_LANES + attn_right_index (d + pair, lane, n_rows, n_parts);

        if (n == ATTN_LANES)
          copy_pairs (to, from, ATTN_LANES); /* a number that compilers know */
        else
          copy_pairs (to, from, n);
      }
  }
}

/* Writes rows [n][32], 16 of their columns, in pairs to a right operand whose row 0 is `to`, from row `first` on. */
static void
store_rows (uint16_t *to, size_t first, const uint16_t *rows, size_t n)
{
  size_t i = 0, c;

  for (; i < n && (first + i) % 2 != 0; i++)
    for (c = 0; c < ATTN_LANES; c++)
      to[(first + i) / 2 * 2 * ATTN_LANES + 2 * c + 1] = rows[i * ATTN_STEP + c];
  for (; i + 2 <= n; i += 2)
    for (c = 0; c < ATTN_LANES; c++) {
      to[(first + i) * ATTN_LANES + 2 * c] = rows[i * ATTN_STEP + c];
      to[(first + i) * ATTN_LANES + 2 * c + 1] = rows[(i + 1) * ATTN_STEP + c];
    }
  for (c = 0; i < n && c < ATTN_LANES; c++)
    to[(first + i) * ATTN_LANES + 2 * c] = rows[i * ATTN_STEP + c];
}

/* Values are rows of their head's right operand. */
static void
split_values (const AttnArrivals *a, size_t head, size_t slot, size_t lane, size_t n)
{
  const AttnRing *ring = a->ring;
  size_t dv = ring->sizes->dv, n_parts = attn_right_parts (ring->sizes->precision), v, part, half;
  uint16_t *values = ring->split_values + head * attn_right_size (ring->n_split_rows, dv, n_parts);
  uint16_t parts[ATTN_STEP_SIZE];

  for (v = 0; v < dv; v += ATTN_STEP) {
    split_stored (a, parts, a->values + head * dv + v, n, dv - v < ATTN_STEP ? dv - v : ATTN_STEP);
    for (part = 0; part < n_parts; part++)
      for (half = 0; half < ATTN_STEP && v + half < dv; half += ATTN_LANES)
        store_rows (values + attn_right_index (0, v + half, ring->n_split_rows, n_parts)
                        + part * ring->n_split_rows * ATTN_LANES,
                    slot * ATTN_LANES + lane, parts + part * ATTN_STEP_PART + half, n);
  }
}

void
attn_ring_split_head (const AttnArrivals *a, size_t head, size_t slot, size_t n)
{
  split_keys (a, head, slot, a->ring->next % ATTN_LANES, n);
  split_values (a, head, slot, a->ring->next % ATTN_LANES, n);
}

bool
attn_ring_can_split (const AttnArrivals *a, size_t i)
{
  const AttnSizes *sizes = a->ring->sizes;
  const AttnKernels *kernels = a->machine->kernels;
  float infinite = attn_infinite_from (sizes->precision), largest = ATTN_SPLIT_LIMIT / 2; /* it may be rounded up */
  float limit = infinite < largest ? infinite : largest;

  return kernels->all_below (a->keys + i * a->stride, sizes->n_key, limit)
         && kernels->all_below (a->values + i * a->stride, sizes->n_value, limit);
}
