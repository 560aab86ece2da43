/*
 * Fuzzes the .npy header and the conversion of the values behind it: whatever the bytes, the reader answers, stays
 * inside them, and accepts no impossible header.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

#define REQUIRE(condition) \
  do {                     \
    if (!(condition))      \
      abort ();            \
  } while (0)

static void
check_header (const NpyHeader *header, size_t size)
{
  REQUIRE (header->header_size <= size);
  REQUIRE (header->n_features >= 1 && header->n_features <= NPY_MAX_FEATURES);
  REQUIRE (header->value_size == 2 || header->value_size == 4 || header->value_size == 8);
  REQUIRE (header->n_frames <= (G_MAXINT64 - header->header_size) / npy_header_frame_size (header));
}

/* An accepted header comes back the same when it is written and read again. */
static void
check_written (const NpyHeader *header)
{
  guint8 written[NPY_HEADER_SIZE];
  NpyHeader again;
  gsize needed;

  if (header->value_size != sizeof (gfloat))
    return;
  npy_header_write (written, header->n_frames, header->n_features);
  if (header->n_frames <= (G_MAXINT64 - NPY_HEADER_SIZE) / npy_header_frame_size (header)) {
    REQUIRE (npy_header_read (&again, written, sizeof written, &needed, NULL) == NPY_OK);
    REQUIRE (again.n_frames == header->n_frames && again.n_features == header->n_features);
  }
}

static void
check_values (const NpyHeader *header, const guint8 *data, size_t size)
{
  gsize n_values = (size - header->header_size) / header->value_size;
  gfloat *values = g_new (gfloat, n_values + 1);

  if (n_values > 0)
    npy_values_to_float (header, data + header->header_size, n_values, values);
  g_free (values);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  NpyHeader header;
  gsize needed = 0;
  GError *error = NULL;

  switch (npy_header_read (&header, data, size, &needed, &error)) {
  case NPY_OK:
    REQUIRE (error == NULL);
    check_header (&header, size);
    check_written (&header);
    check_values (&header, data, size);
    break;
  case NPY_MORE:
    REQUIRE (error == NULL && needed > size && needed <= NPY_MAX_DICT_SIZE + 12);
    break;
  case NPY_REFUSED:
    REQUIRE (error != NULL && g_utf8_validate (error->message, -1, NULL));
    g_error_free (error);
    break;
  }
  return 0;
}
