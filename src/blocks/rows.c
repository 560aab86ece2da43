/* libattn: waiting rows in a saved state.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/rows.h"

#include <string.h>

#include "base/status.h"

size_t
attn_rows_bytes (size_t n, size_t n_present, size_t width)
{
  return attn_rows_mark_bytes (n) + n_present * width * sizeof (uint32_t);
}

size_t
attn_rows_size (const uint8_t *present, size_t n, size_t width)
{
  size_t n_present = 0, i;

  for (i = 0; i < n; i++)
    n_present += present[i] == 1;
  return attn_rows_bytes (n, n_present, width);
}

uint8_t *
attn_rows_mark (uint8_t *bytes, const uint8_t *present, size_t n)
{
  size_t i;

  memset (bytes, 0, attn_rows_mark_bytes (n));
  for (i = 0; i < n; i++)
    bytes[i / 8] |= (present[i] == 1) << i % 8;
  return bytes + attn_rows_mark_bytes (n);
}

uint8_t *
attn_rows_save (uint8_t *bytes, const float *rows, const uint8_t *present, size_t n, size_t width)
{
  size_t i;

  bytes = attn_rows_mark (bytes, present, n);
  for (i = 0; i < n; i++)
    if (present[i] == 1)
      bytes = attn_put_floats (bytes, rows + i * width, width);
  return bytes;
}

AttnStatus
attn_rows_check (const uint8_t *bytes, size_t size, size_t n, size_t width, const char *name, AttnError *error)
{
  size_t n_present = 0, i;

  for (i = 0; i < n && size >= attn_rows_mark_bytes (n); i++)
    n_present += attn_rows_is_marked (bytes, i);
  if (size != attn_rows_bytes (n, n_present, width))
    return attn_fail (error, ATTN_ERROR_STATE,
                      "the state has %zu bytes for the %zu frames that wait in a %s, which take %zu", size, n, name,
                      attn_rows_bytes (n, n_present, width));
  if (n % 8 != 0 && bytes[n / 8] >> n % 8 != 0)
    return attn_fail (error, ATTN_ERROR_STATE, "the state marks more frames as present than the %zu that wait in a %s",
                      n, name);
  return ATTN_OK;
}

/* Cleans the values, as anybody may have written the state. */
void
attn_rows_restore (const AttnKernels *kernels, const uint8_t *bytes, float *rows, uint8_t *present, size_t n,
                   size_t width)
{
  const uint8_t *bits = bytes;
  size_t i;

  bytes += attn_rows_mark_bytes (n);
  for (i = 0; i < n; i++, rows += width) {
    present[i] = attn_rows_is_marked (bits, i);
    memset (rows, 0, width * sizeof *rows);
    if (!present[i])
      continue;
    bytes = attn_get_floats (bytes, rows, width);
    kernels->scale (rows, rows, 1, width);
  }
}
