/* libattn: filling in an AttnError.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

AttnStatus
attn_fail (AttnError *error, AttnStatus status, const char *format, ...)
{
  va_list args;

  if (error == NULL)
    return status;
  error->status = status;
  va_start (args, format);
  vsnprintf (error->message, sizeof error->message, format, args);
  va_end (args);
  return status;
}

AttnStatus
attn_fail_memory (AttnError *error, const char *what, size_t bytes)
{
  if (bytes == SIZE_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "the %s would be too large to address", what);
  return attn_fail (error, ATTN_ERROR_MEMORY, "out of memory: %zu bytes for the %s", bytes, what);
}

AttnStatus
attn_succeed (AttnError *error)
{
  if (error != NULL) {
    error->status = ATTN_OK;
    error->message[0] = '\0';
  }
  return ATTN_OK;
}
