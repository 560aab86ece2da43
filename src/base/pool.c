/* libattn: threads that share a piece of work.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/float_mode.h"
#include "base/status.h"

/* How often a thread looks at a flag before it yields: some ten microseconds. */
#define N_LOOKS 500

/*
 * How often a worker yields before it sleeps. A sleeping worker would be woken on the caller's core, again and again,
 * although another core is idle: a scheduler only moves threads that are ready to run.
 */
#define N_YIELDS 20

/* Forks that led to this process. A thread belongs to the process that started it: after a fork it does not exist. */
static atomic_uint n_forks;
static pthread_once_t counts_forks = PTHREAD_ONCE_INIT;

typedef struct {
  AttnPool *pool;
  size_t part;
  pthread_t thread;
} Worker;

struct AttnPool {
  size_t n_parts; /* threads, the caller included */
  size_t n_workers;
  unsigned n_forks; /* when they were started */
  Worker *workers;  /* [n_parts - 1], of which n_workers run */
  AttnJob job;      /* of this round; NULL: end */
  void *data;
  atomic_uint round;      /* of jobs; the fields above are written before it changes */
  atomic_size_t n_busy;   /* workers that have not finished this round */
  atomic_size_t n_asleep; /* or about to be */
  pthread_mutex_t lock;   /* for sleeping only */
  pthread_cond_t wake;
};

static void
count_fork (void)
{
  atomic_fetch_add_explicit (&n_forks, 1, memory_order_relaxed);
}

static void
count_forks (void)
{
  pthread_atfork (NULL, NULL, count_fork);
}

static bool
has_lost_workers (const AttnPool *pool)
{
  return pool->n_forks != atomic_load_explicit (&n_forks, memory_order_relaxed);
}

/* Waits a while for a round other than `seen`. */
static bool
sees_round (AttnPool *pool, unsigned seen)
{
  int look;

  for (look = 0; look < N_LOOKS; look++) {
    if (atomic_load_explicit (&pool->round, memory_order_acquire) != seen)
      return true;
    attn_cpu_pause ();
  }
  return false;
}

/*
 * A worker that sleeps cannot miss a round: it says so before it looks, and the caller looks after it has changed the
 * round.
 */
static void
wait_for_round (AttnPool *pool, unsigned seen)
{
  int yield;

  for (yield = 0; yield < N_YIELDS; yield++, sched_yield ())
    if (sees_round (pool, seen))
      return;
  pthread_mutex_lock (&pool->lock);
  atomic_fetch_add (&pool->n_asleep, 1);
  while (atomic_load (&pool->round) == seen)
    pthread_cond_wait (&pool->wake, &pool->lock);
  atomic_fetch_sub (&pool->n_asleep, 1);
  pthread_mutex_unlock (&pool->lock);
}

static void *
work (void *data)
{
  Worker *worker = data;
  AttnPool *pool = worker->pool;
  unsigned round;

  attn_float_enter ();
  for (round = 0;; round++) {
    wait_for_round (pool, round);
    if (pool->job == NULL)
      return NULL;
    pool->job (pool->data, worker->part, pool->n_parts);
    atomic_fetch_sub_explicit (&pool->n_busy, 1, memory_order_release);
  }
}

static void
start_round (AttnPool *pool, AttnJob job, void *data)
{
  pool->job = job;
  pool->data = data;
  atomic_store_explicit (&pool->n_busy, pool->n_workers, memory_order_relaxed);
  atomic_fetch_add (&pool->round, 1);
  if (atomic_load (&pool->n_asleep) == 0)
    return;
  pthread_mutex_lock (&pool->lock);
  pthread_cond_broadcast (&pool->wake);
  pthread_mutex_unlock (&pool->lock);
}

AttnStatus
attn_pool_new (uint32_t n_threads, AttnPool **result, AttnError *error)
{
  AttnPool *pool = attn_alloc (sizeof *pool);

  *result = NULL;
  if (pool == NULL)
    return attn_fail_memory (error, "threads", sizeof *pool);
  pthread_once (&counts_forks, count_forks);
  pool->n_forks = atomic_load_explicit (&n_forks, memory_order_relaxed);
  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->wake, NULL);
  pool->n_parts = n_threads;
  pool->workers = attn_alloc ((n_threads - 1) * sizeof *pool->workers);
  for (; pool->workers != NULL && pool->n_workers < n_threads - 1; pool->n_workers++) {
    Worker *worker = &pool->workers[pool->n_workers];

    *worker = (Worker){ .pool = pool, .part = pool->n_workers + 1 };
    if (pthread_create (&worker->thread, NULL, work, worker) != 0)
      break;
  }
  if (pool->workers == NULL || pool->n_workers < n_threads - 1) {
    size_t n = pool->n_workers + 1;

    attn_pool_free (pool);
    return attn_fail (error, ATTN_ERROR_MEMORY, "only %zu of %u threads can be started", n, n_threads);
  }
  *result = pool;
  return ATTN_OK;
}

static void
end_workers (AttnPool *pool)
{
  size_t i;

  start_round (pool, NULL, NULL);
  for (i = 0; i < pool->n_workers; i++)
    pthread_join (pool->workers[i].thread, NULL);
  pthread_cond_destroy (&pool->wake);
  pthread_mutex_destroy (&pool->lock);
}

void
attn_pool_free (AttnPool *pool)
{
  if (pool == NULL)
    return;
  if (!has_lost_workers (pool))
    end_workers (pool);
  attn_free (pool->workers);
  attn_free (pool);
}

void
attn_pool_share (AttnPool *pool, AttnJob job, void *data)
{
  int look = 0;

  if (has_lost_workers (pool)) {
    for (size_t part = 0; part < pool->n_parts; part++)
      job (data, part, pool->n_parts);
    return;
  }
  start_round (pool, job, data);
  job (data, 0, pool->n_parts);
  while (atomic_load_explicit (&pool->n_busy, memory_order_acquire) != 0) {
    attn_cpu_pause ();
    if (++look % N_LOOKS == 0)
      sched_yield (); /* there may be more threads than cores */
  }
}
