/* libattn: the features of the processor.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_CPU_H
#define ATTN_SRC_CPU_H

#include <stdbool.h>

#if defined(__x86_64__) || defined(__i386__)
#define ATTN_ARCH_X86 1
#include <cpuid.h>
#endif

#ifdef ATTN_ARCH_X86
/* Conversions of 16-bit floats; older compilers have no name for them. */
static inline bool
attn_cpu_has_f16c (void)
{
  unsigned a, b, c, d;

  return __get_cpuid (1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/*
 * Feature bits of CPUID, and the operating system keeps the registers (XCR0): __builtin_cpu_supports () looks at both.
 * Never the model number: it may be masked.
 */
static inline bool
attn_cpu_has_avx2 (void)
{
#ifdef ATTN_ARCH_X86
  return __builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma") && attn_cpu_has_f16c ();
#else
  return false;
#endif
}

/*
 * Whether one core reads the third-level cache slowly: on an Intel server with AMX at about 30 GB/s, a sixth of the
 * speed of the second level. AMD's is several times as fast.
 */
static inline bool
attn_cpu_has_slow_cache (void)
{
#ifdef ATTN_ARCH_X86
  return __builtin_cpu_is ("intel");
#else
  return false;
#endif
}

static inline bool
attn_cpu_has_avx512 (void)
{
#ifdef ATTN_ARCH_X86
  return __builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512dq") && attn_cpu_has_avx2 ();
#else
  return false;
#endif
}

/* For a loop that waits for another thread. */
static inline void
attn_cpu_pause (void)
{
#ifdef ATTN_ARCH_X86
  __builtin_ia32_pause ();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
