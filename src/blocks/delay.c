/* libattn: a delay line.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/delay.h"

#include <string.h>

#include "kernels/kernels.h"

AttnDelay
attn_delay_plan (size_t n_waiting, size_t width, AttnArena *arena)
{
  AttnDelay delay = { .n_slots = ATTN_LANES, .width = width };

  /* In whole tiles, so that a block of rows that ends with a tile stands in one piece. */
  while (delay.n_slots < n_waiting + ATTN_LANES)
    delay.n_slots *= 2;
  delay.rows = attn_arena_take (arena, attn_size_mul (attn_size_mul (delay.n_slots, width), sizeof (float)));
  delay.present = attn_arena_take (arena, delay.n_slots);
  return delay;
}

void
attn_delay_put (AttnDelay *delay, uint64_t frame, const float *values)
{
  memcpy (attn_delay_add (delay, frame), values, delay->width * sizeof *values);
}

void
attn_delay_skip (AttnDelay *delay, uint64_t frame, uint64_t n)
{
  if (n > delay->n_slots)
    n = delay->n_slots;
  for (; n > 0; n--, frame++)
    delay->present[frame & (delay->n_slots - 1)] = false;
}

uint64_t
attn_delay_run (const AttnDelay *delay, uint64_t frame, uint64_t n)
{
  size_t slot = frame & (delay->n_slots - 1);
  const uint8_t *present = delay->present + slot;
  uint64_t i = 1;

  /* More than all slots: a jump over absent frames */
  if (n > delay->n_slots)
    return n;
  n = n < delay->n_slots - slot ? n : delay->n_slots - slot;
  if (present[0] && n > ATTN_LANES)
    n = ATTN_LANES;
  while (i < n && present[i] == present[0])
    i++;
  return i;
}
