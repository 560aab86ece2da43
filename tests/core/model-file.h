/*
 * Model files made in memory, good and bad ones, and the check that a refusal names its cause.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_MODEL_FILE_H
#define TESTS_CORE_MODEL_FILE_H

#include <stdint.h>
#include <stdlib.h>

#include "attn.h"
#include "check.h"

#define MODEL_FILE_SIZE (1 << 21)
#define MODEL_HEADER_SIZE 16384

/* `size` bytes of a file. Filled by make_file (), or by begin_file (), add_tensor () ... and end_file (). */
typedef struct {
  uint8_t bytes[MODEL_FILE_SIZE];
  size_t size;
  char header[MODEL_HEADER_SIZE]; /* with ' in place of ", as in make_file () */
  size_t n_data;
} ModelFile;

static inline void
put_length (uint8_t *bytes, uint64_t length)
{
  for (int i = 0; i < 8; i++)
    bytes[i] = (uint8_t) (length >> 8 * i);
}

/* A file of this header, in which ' stands for ", and of n_data bytes of zeros as its data. */
static inline void
make_file (ModelFile *file, const char *header, size_t n_data)
{
  size_t n = strlen (header);

  if (8 + n + n_data > sizeof file->bytes)
    abort ();
  put_length (file->bytes, n);
  for (size_t i = 0; i < n; i++)
    file->bytes[8 + i] = header[i] == '\'' ? '"' : (uint8_t) header[i];
  memset (file->bytes + 8 + n, 0, n_data);
  file->size = 8 + n + n_data;
}

static inline void
begin_file (ModelFile *file)
{
  strcpy (file->header, "{");
  file->n_data = 0;
}

/* n_inputs 0: a bias [n_outputs] */
static inline void
add_tensor (ModelFile *file, const char *name, const char *dtype, unsigned n_outputs, unsigned n_inputs)
{
  size_t used = strlen (file->header), element_size = strstr (dtype, "16") ? 2 : strstr (dtype, "64") ? 8 : 4;
  size_t size = element_size * n_outputs * (n_inputs == 0 ? 1 : n_inputs);
  char shape[32];

  if (strcmp (dtype, "I8") == 0 || strcmp (dtype, "BOOL") == 0)
    size /= element_size;
  snprintf (shape, sizeof shape, n_inputs == 0 ? "[%u]" : "[%u,%u]", n_outputs, n_inputs);
  snprintf (file->header + used, sizeof file->header - used,
            "%s'%s':{'dtype':'%s','shape':%s,'data_offsets':[%zu,%zu]}", used == 1 ? "" : ",", name, dtype, shape,
            file->n_data, file->n_data + size);
  file->n_data += size;
}

/* [1, 1, n, n], as causal masks are stored */
static inline void
add_tensor_4d (ModelFile *file, const char *name, const char *dtype, unsigned n)
{
  size_t used = strlen (file->header), size = 4 * n * n;

  snprintf (file->header + used, sizeof file->header - used,
            ",'%s':{'dtype':'%s','shape':[1,1,%u,%u],'data_offsets':[%zu,%zu]}", name, dtype, n, n, file->n_data,
            file->n_data + size);
  file->n_data += size;
}

static inline void
end_file (ModelFile *file)
{
  size_t used = strlen (file->header);

  strcpy (file->header + used, "}");
  make_file (file, file->header, file->n_data);
  file->header[used] = '\0'; /* more may follow */
}

/*
 * The bytes once more in memory of exactly their size, so that a memory checker sees a read past the end. free () it.
 */
static inline uint8_t *
exact_copy (const void *bytes, size_t size)
{
  uint8_t *copy = malloc (size == 0 ? 1 : size);

  if (copy == NULL)
    abort ();
  if (size != 0)
    memcpy (copy, bytes, size);
  return copy;
}

/*
 * `call` sets `error` and returns `wanted`; the sentence begins with `start` and contains each of the texts that
 * follow.
 */
#define CHECK_FAILS(call, wanted, start, ...)                                                                      \
  do {                                                                                                             \
    const char *texts_[] = { __VA_ARGS__ };                                                                        \
    AttnError error = { ATTN_OK, "" };                                                                             \
    AttnStatus status_ = (call);                                                                                   \
    CHECK_MSG (status_ == (wanted) && error.status == (wanted), "status %d: %s", status_, error.message);          \
    CHECK_MSG (strncmp (error.message, start ": ", strlen (start) + 2) == 0, "no \"%s\" first in: %s", start,      \
               error.message);                                                                                     \
    for (size_t text_ = 0; text_ < sizeof texts_ / sizeof texts_[0]; text_++)                                      \
      CHECK_MSG (strstr (error.message, texts_[text_]) != NULL, "no \"%s\" in: %s", texts_[text_], error.message); \
  } while (0)

#endif
