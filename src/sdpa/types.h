/*
 * libattn: values of the types of tensors. Inside, all arithmetic is float32.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_TYPES_H
#define ATTN_SRC_TYPES_H

#include "attn_sdpa.h"

/* Bytes per value of F32, F16 or BF16. */
size_t attn_type_size (AttnType type);

/* Reads the values [first, first + n) of a tensor into out [n]; exact. */
void attn_type_load (AttnType type, float *out, const void *tensor, size_t first, size_t n);

/* Writes in [n], rounded to nearest even, to the values [first, first + n) of a tensor. */
void attn_type_store (AttnType type, void *tensor, size_t first, const float *in, size_t n);

/* The nearest value that the type has, ties to even. */
float attn_type_round (AttnType type, float x);

#endif
