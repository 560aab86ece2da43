/*  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L
#include "peaks.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#define ON_X86 1
#endif

#define N_CHAINS 12 /* independent; more than latency times throughput anywhere */

double
now_us (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec * 1e-3;
}

/*
 * Vectors of the compiler, so that one text serves every width. This file is compiled with -ffp-contract=fast: a
 * product and a sum become one instruction.
 */
#define PEAK(NAME, N_FLOATS, TARGET)                                                     \
  typedef float NAME##_vector __attribute__ ((vector_size (N_FLOATS * sizeof (float)))); \
  TARGET static float fma_##NAME (size_t n)                                              \
  {                                                                                      \
    NAME##_vector acc[N_CHAINS], factor = { 0 }, term = { 0 }, sum = { 0 };              \
    float first[N_FLOATS];                                                               \
                                                                                         \
    factor += 0.999f;                                                                    \
    term += 1e-3f;                                                                       \
    for (int i = 0; i < N_CHAINS; i++)                                                   \
      acc[i] = term * (float) i;                                                         \
    for (size_t k = 0; k < n; k++)                                                       \
      for (int i = 0; i < N_CHAINS; i++)                                                 \
        acc[i] = acc[i] * factor + term;                                                 \
    for (int i = 0; i < N_CHAINS; i++)                                                   \
      sum += acc[i];                                                                     \
    memcpy (first, &sum, sizeof first);                                                  \
    return first[0];                                                                     \
  }                                                                                      \
  TARGET static float read_##NAME (const char *bytes, size_t size)                       \
  {                                                                                      \
    NAME##_vector acc[8] = { { 0 } }, sum = { 0 }, value;                                \
    float first[N_FLOATS];                                                               \
                                                                                         \
    for (size_t at = 0; at + 8 * sizeof value <= size; at += 8 * sizeof value)           \
      for (int i = 0; i < 8; i++) {                                                      \
        memcpy (&value, bytes + at + i * sizeof value, sizeof value);                    \
        acc[i] += value;                                                                 \
      }                                                                                  \
    for (int i = 0; i < 8; i++)                                                          \
      sum += acc[i];                                                                     \
    memcpy (first, &sum, sizeof first);                                                  \
    return first[0];                                                                     \
  }

#ifdef ON_X86
PEAK (avx512, 16, __attribute__ ((target ("avx512f,fma"))))
PEAK (avx2, 8, __attribute__ ((target ("avx2,fma"))))
#endif
PEAK (baseline, 4, )

typedef struct {
  size_t n_floats; /* of a vector */
  float (*fma) (size_t n);
  float (*read) (const char *bytes, size_t size);
} Isa;

static Isa
widest (void)
{
#ifdef ON_X86
  if (__builtin_cpu_supports ("avx512f"))
    return (Isa){ 16, fma_avx512, read_avx512 };
  if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma"))
    return (Isa){ 8, fma_avx2, read_avx2 };
#endif
  return (Isa){ 4, fma_baseline, read_baseline };
}

static volatile float sink;

/* The best of some 50 stretches of a millisecond: time that other processes take does not count. */
double
fma_peak (void)
{
  Isa isa = widest ();
  const size_t n = 100000;
  double best = 1e30;

  for (int i = 0; i < 50; i++) {
    double start = now_us (), time;

    sink = isa.fma (n);
    time = now_us () - start;
    best = time < best ? time : best;
  }
  return 2.0 * n * N_CHAINS * isa.n_floats / best * 1e6;
}

/* The median: a cache shared with others is not always free. */
static int
by_size (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

double
read_bandwidth (size_t bytes)
{
  enum { n = 101 };
  Isa isa = widest ();
  size_t size = (bytes + 4095) / 4096 * 4096, calls = (1 << 20) / size + 1;
  char *array = aligned_alloc (4096, size);
  double times[n];

  memset (array, 0, size);
  for (int i = 0; i < n; i++) {
    double start = now_us ();

    for (size_t call = 0; call < calls; call++)
      sink = isa.read (array, size);
    times[i] = (now_us () - start) / calls;
  }
  qsort (times, n, sizeof *times, by_size);
  free (array);
  return size / times[n / 2] * 1e6;
}
