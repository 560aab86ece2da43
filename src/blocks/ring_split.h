/*
 * libattn: the window once more, in the form that a matrix unit wants (matrix.h). The ring keeps it beside its own
 * tiles: keys are columns of their tile's right operand, values are rows of their head's.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_RING_SPLIT_H
#define ATTN_SRC_RING_SPLIT_H

#include "blocks/ring.h"

/* Takes the memory out of the arena, for a ring whose slots are known. */
void attn_ring_plan_split (AttnRing *ring, AttnArena *arena);

/* Writes key and value `head` of the first `n` arrivals to their places in `slot`. */
void attn_ring_split_head (const AttnArrivals *a, size_t head, size_t slot, size_t n);

/* Whether arrival `i` is small enough to be split. Others are stored as 0. */
bool attn_ring_can_split (const AttnArrivals *a, size_t i);

#endif
