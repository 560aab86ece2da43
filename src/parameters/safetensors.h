/*
 * libattn: reading safetensors files (https://github.com/huggingface/safetensors).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The file is: header length N, 8 bytes, little-endian; N bytes of JSON; the data. Files come from strangers: every
 * field is checked before it is used, by the rules of the reference implementation (no duplicate names, no overlap, no
 * holes, the data ends where the file ends, N at most 16 MiB). Only the header is kept in memory; tensors are read on
 * demand, so a layer of a large checkpoint costs no more than itself.
 */
#ifndef ATTN_SRC_SAFETENSORS_H
#define ATTN_SRC_SAFETENSORS_H

#include "attn.h"

#define ATTN_TENSOR_MAX_DIMS 8

typedef enum {
  ATTN_DTYPE_F32,
  ATTN_DTYPE_F16,
  ATTN_DTYPE_BF16,
  ATTN_DTYPE_F64,
  ATTN_DTYPE_OTHER /* valid in the format (integers, F8, ...), but not read by attn_safetensors_read () */
} AttnDtype;

/* One entry of the header. Owned by the AttnSafetensors. */
typedef struct {
  const char *name;
  const char *dtype_name; /* as in the file, such as "F32" */
  AttnDtype dtype;
  unsigned n_dims;
  uint64_t dims[ATTN_TENSOR_MAX_DIMS]; /* outermost first */
  uint64_t n_elements;
  uint64_t begin, end; /* bytes, from the start of the data */
} AttnTensor;

typedef struct AttnSafetensors AttnSafetensors;

/* The caller owns *file; it is NULL on failure. `path` stands in front of every message. */
AttnStatus attn_safetensors_open (const char *path, AttnSafetensors **file, AttnError *error);
/* The caller keeps `data`, which must outlive *file; nothing is copied. */
AttnStatus attn_safetensors_open_memory (const void *data, size_t size, AttnSafetensors **file, AttnError *error);
void attn_safetensors_close (AttnSafetensors *file); /* accepts NULL */

/*
 * Closes it after the last read. `status` is the result so far, and is returned, except where somebody has written to
 * the file meanwhile: what was read may be half of one version and half of another. Accepts NULL.
 */
AttnStatus attn_safetensors_end (AttnSafetensors *file, AttnStatus status, AttnError *error);

size_t attn_safetensors_n_tensors (const AttnSafetensors *file);
const AttnTensor *attn_safetensors_tensor (const AttnSafetensors *file, size_t i);    /* in the order of their data */
const char *attn_safetensors_metadata (const AttnSafetensors *file, const char *key); /* NULL: no such entry */
size_t attn_safetensors_n_metadata (const AttnSafetensors *file);
/* Calls `take` with each entry until it returns another status than ATTN_OK, and returns that status. */
AttnStatus attn_safetensors_each_metadata (const AttnSafetensors *file,
                                           AttnStatus (*take) (void *data, const char *key, const char *value),
                                           void *data);
/* For messages: the path, or the end of a very long one; "memory" if it was opened from there. */
const char *attn_safetensors_path (const AttnSafetensors *file);

/*
 * Reads elements first ... first + n - 1 (of tensor->n_elements, in the order of the file) as float32 into values [n].
 * F64 is rounded to nearest even. A value that is not finite, before or after rounding, is refused: no parameter may be
 * NaN or infinite.
 */
AttnStatus attn_safetensors_read (AttnSafetensors *file, const AttnTensor *tensor, uint64_t first, uint64_t n,
                                  float *values, AttnError *error);

/* The shape for messages, such as "[240, 80]": attn_tensor_shape (tensor).text */
typedef struct {
  char text[ATTN_TENSOR_MAX_DIMS * 22 + 3];
} AttnShapeText;
AttnShapeText attn_tensor_shape (const AttnTensor *tensor);

#endif
