/*
 * libattn: a few threads that share the work of one stream.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every part of a job always runs in the same thread, so that the data it reads stay in that core's cache. Part 0 is
 * the caller's own. A waiting worker looks for its next job for some hundred microseconds and then sleeps. Waking it
 * takes a lock and a system call, so streams with one thread, the default, have no pool at all.
 */
#ifndef ATTN_SRC_POOL_H
#define ATTN_SRC_POOL_H

#include <stddef.h>

#include "attn.h"

typedef struct AttnPool AttnPool;

/* Part `part` of `n_parts` of a job. Runs in the floating-point mode of attn_float_enter (). */
typedef void (*AttnJob) (void *data, size_t part, size_t n_parts);

/* Where part `part` of `n` pieces of work begins. A single part, as every small block has, costs no division. */
static inline size_t
attn_share (size_t n, size_t part, size_t n_parts)
{
  return n_parts == 1 ? n * part : n * part / n_parts;
}

/* `n_threads` >= 2, the caller's included. */
AttnStatus attn_pool_new (uint32_t n_threads, AttnPool **pool, AttnError *error);
void attn_pool_free (AttnPool *pool); /* accepts NULL */

/* As attn_pool_run (), for a pool. */
void attn_pool_share (AttnPool *pool, AttnJob job, void *data);

/*
 * Runs all parts, side by side, and returns when they are done. `pool` NULL: one part, at once. One caller at a time.
 * In a process that was forked later, and has none of the pool's threads, the caller does all parts.
 */
static inline void
attn_pool_run (AttnPool *pool, AttnJob job, void *data)
{
  if (pool == NULL)
    job (data, 0, 1);
  else
    attn_pool_share (pool, job, data);
}

#endif
