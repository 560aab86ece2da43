/*
 * The core's outputs for frames, for tests that compare an element's outputs with them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_CORECHECK_H
#define TESTS_ELEMENT_CORECHECK_H

#include <gst/gst.h>

#include "attn.h"

/* Values from -2 to 2, the same ones for the same seed. */
static inline void
fill_random (gfloat *values, gsize n, guint32 seed)
{
  GRand *rand = g_rand_new_with_seed (seed);
  gsize i;

  for (i = 0; i < n; i++)
    values[i] = g_rand_double_range (rand, -2, 2);
  g_rand_free (rand);
}

/*
 * Attention over frames [n][n_features] of `config`; `model` NULL: parameter-free; `present` NULL: all; `weights`
 * NULL: not wanted.
 */
static inline void
attend (const AttnConfig *config, const AttnModel *model, const gfloat *frames, const guint8 *present, guint n,
        gfloat *out, gfloat *weights)
{
  AttnLayer *layer;

  g_assert (attn_layer_new (config, model, &layer, NULL) == ATTN_OK);
  g_assert (attn_forward (layer, frames, present, n, 0, out, weights, NULL) == ATTN_OK);
  attn_layer_free (layer);
}

#endif
