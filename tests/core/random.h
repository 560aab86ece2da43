/*
 * Random numbers for the core's tests: the same on every machine.  SPDX-License-Identifier: LGPL-2.1-or-later
 * The seed is printed and can be set with ATTN_TEST_SEED. ATTN_TEST_PERCENT is the share of the random rounds that are
 * run (100): less under an emulator, more over night.
 */
#ifndef TESTS_CORE_RANDOM_H
#define TESTS_CORE_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t random_state;

static inline void
random_seed (void)
{
  const char *seed = getenv ("ATTN_TEST_SEED");

  random_state = seed != NULL ? strtoull (seed, NULL, 0) : 20261122;
  printf ("# ATTN_TEST_SEED=%llu\n", (unsigned long long) random_state);
}

/* `n` rounds, scaled by ATTN_TEST_PERCENT; at least one. */
static inline int
random_rounds (int n)
{
  const char *percent = getenv ("ATTN_TEST_PERCENT");
  long rounds = percent != NULL ? (long) n * strtol (percent, NULL, 10) / 100 : n;

  return rounds > 0 ? (int) rounds : 1;
}

/* The step through `n` cases: 1, larger where ATTN_TEST_PERCENT is below 100; odd: it meets every remainder of 16. */
static inline size_t
random_step (size_t n)
{
  return (n / random_rounds ((int) n)) | 1;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t
random_bits (void)
{
  uint64_t z = random_state += 0x9e3779b97f4a7c15;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

/* From `min` to `max`, both included. */
static inline uint32_t
random_between (uint32_t min, uint32_t max)
{
  return min + random_bits () % ((uint64_t) max - min + 1);
}

/* Uniform in [-amplitude, amplitude). */
static inline float
random_float (float amplitude)
{
  return amplitude * (float) ((double) (int64_t) random_bits () / 9223372036854775808.0);
}

static inline void
random_fill (float *values, size_t n, float amplitude)
{
  for (size_t i = 0; i < n; i++)
    values[i] = random_float (amplitude);
}

#endif
