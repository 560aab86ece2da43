/*
 * Random numbers whose choices are the bytes of the input, so that a fuzzer can change one of them; and the random
 * encoders (core/encoders.h) that are made with them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_FUZZ_CHOICES_H
#define TESTS_FUZZ_CHOICES_H

#define TESTS_CORE_RANDOM_H /* its functions stand below, as far as they are needed */
#include <stdint.h>
#include <stdlib.h>

static struct {
  const uint8_t *data;
  size_t size;
  uint64_t state; /* the state of the generator when all bytes are used */
} input;

/* SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t
more_bits (void)
{
  uint64_t z = input.state += 0x9e3779b97f4a7c15;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

static inline uint32_t
random_between (uint32_t min, uint32_t max)
{
  uint64_t bits = input.size == 0 ? more_bits () : *input.data;

  if (input.size != 0)
    input.size--, input.data++;
  return min + (uint32_t) (bits % ((uint64_t) max - min + 1));
}

/* Values are not choices: they would use up the input. */
static inline float
random_float (float amplitude)
{
  return amplitude * (float) ((double) (int64_t) more_bits () / 9223372036854775808.0);
}

static inline void
random_fill (float *values, size_t n, float amplitude)
{
  for (size_t i = 0; i < n; i++)
    values[i] = random_float (amplitude);
}

#include "../core/encoders.h"

/* A broken promise has to stop the fuzzer, with NDEBUG too. */
static inline void
must (int condition)
{
  if (!condition)
    abort ();
}

static inline float *
new_values (size_t n)
{
  float *values = malloc (n == 0 ? 1 : n * sizeof *values);

  must (values != NULL);
  return values;
}

#endif
