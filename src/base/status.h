/* libattn: filling in an AttnError.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STATUS_H
#define ATTN_SRC_STATUS_H

#include "attn.h"

#if defined(__GNUC__)
#define ATTN_PRINTF(text, first) __attribute__ ((format (printf, text, first)))
#else
#define ATTN_PRINTF(text, first)
#endif

/*
 * Writes status and sentence to `error` (NULL: nothing) and returns `status`, so that a check is a single `return
 * attn_fail (...)`.
 */
AttnStatus attn_fail (AttnError *error, AttnStatus status, const char *format, ...) ATTN_PRINTF (3, 4);

/* Out of memory while making `what`; `bytes` SIZE_MAX stands for a size that cannot be represented. */
AttnStatus attn_fail_memory (AttnError *error, const char *what, size_t bytes);

/* Success: an empty message. */
AttnStatus attn_succeed (AttnError *error);

#endif
