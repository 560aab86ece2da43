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
  bool is_used; /* something has been computed with, or will be */
} AttnNamedTensor;

typedef struct {
  AttnSafetensors *file;
  const char *label;        /* in front of every message: the path, or the path and a block's */
  AttnNamedTensor *by_name; /* [n], ascending */
  size_t n;
  bool header_only;    /* nothing is read */
  uint64_t n_read;     /* values that were read */
  uint64_t max_values; /* that may be; 0: any number */
} AttnTensors;

/* All tensors of `file`, which outlives them. */
AttnStatus attn_tensors_init (AttnTensors *tensors, AttnSafetensors *file, AttnError *error);
void attn_tensors_clear (AttnTensors *tensors); /* accepts a zeroed one */

/* The first tensor whose name begins with `prefix`, an index of by_name, and how many there are. */
size_t attn_tensors_under (const AttnTensors *tensors, const char *prefix, size_t *n);

/* The tensor called `first` and `second`, one behind the other; NULL: there is none. */
const AttnTensor *attn_tensors_find (const AttnTensors *tensors, const char *first, const char *second);

/* Its values first ... first + n - 1 to a new array, the caller's, also on failure. The tensor is used. */
AttnStatus attn_tensors_read (AttnTensors *tensors, const AttnTensor *tensor, uint64_t first, uint64_t n,
                              float **values, AttnError *error);

/* That the dtype is one of those that can be read. */
AttnStatus attn_tensors_check_dtype (const AttnTensors *tensors, const AttnTensor *tensor, AttnError *error);

/* "... has shape [3, 4], but " and `wanted`. */
AttnStatus attn_tensors_fail_shape (const AttnTensors *tensors, const AttnTensor *tensor, const char *wanted,
                                    AttnError *error);

/* Out of memory, or a size that cannot be addressed: for `what`. */
AttnStatus attn_tensors_fail_memory (const AttnTensors *tensors, size_t size, const char *what, AttnError *error);

#endif
