/* libattn: loops whose iterations must become code of their own.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_UNROLL_H
#define ATTN_SRC_UNROLL_H

#if defined(__clang__)
#define UNROLL _Pragma ("clang loop unroll(full)")
#else
#define UNROLL _Pragma ("GCC unroll 32")
#endif

/* A loop that the compiler unrolls completely. */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

#endif
