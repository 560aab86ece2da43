/*
 * libattn: from the name of a tensor to its checked values, for any block. An error names the file (and the block), the
 * tensor, and both numbers that disagree.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_TENSORS_H
#define ATTN_SRC_TENSORS_H

#include <stdbool.h>

#include "parameters/safetensors.h"

typedef struct {
  const AttnTensor *tensor;
  bool is_used; /* a block computes with it */
} AttnNamedTensor;

typedef struct {
  AttnSafetensors *file;
  const char *label;        /* in front of every message: the path, or the path and the block's name */
  AttnNamedTensor *by_name; /* [n], ascending */
  size_t n;
  bool header_only;    /* no values are read */
  uint64_t n_read;     /* number of values that were read */
  uint64_t max_values; /* the most that may be read; 0: any number */
} AttnTensors;

/* All tensors of `file`, which must outlive them. */
AttnStatus attn_tensors_init (AttnTensors *tensors, AttnSafetensors *file, AttnError *error);
void attn_tensors_clear (AttnTensors *tensors); /* accepts a zeroed one */

/* The first tensor whose name begins with `prefix`, an index of by_name, and how many there are. */
size_t attn_tensors_under (const AttnTensors *tensors, const char *prefix, size_t *n);

/* The tensor whose name is `first` followed by `second`; NULL: there is none. */
const AttnTensor *attn_tensors_find (const AttnTensors *tensors, const char *first, const char *second);

/*
 * Reads the tensor's values first ... first + n - 1 into a new array, which the caller owns, also on failure. Marks the
 * tensor as used.
 */
AttnStatus attn_tensors_read (AttnTensors *tensors, const AttnTensor *tensor, uint64_t first, uint64_t n,
                              float **values, AttnError *error);

/* Checks that the dtype can be read. */
AttnStatus attn_tensors_check_dtype (const AttnTensors *tensors, const AttnTensor *tensor, AttnError *error);

/* The error "... has shape [3, 4], but " and `wanted`. */
AttnStatus attn_tensors_fail_shape (const AttnTensors *tensors, const AttnTensor *tensor, const char *wanted,
                                    AttnError *error);

/* The error for `what`: out of memory, or a size that cannot be addressed. */
AttnStatus attn_tensors_fail_memory (const AttnTensors *tensors, size_t size, const char *what, AttnError *error);

#endif
