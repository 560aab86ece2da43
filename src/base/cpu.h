/*
 * libattn: what the processor can do, and the floating-point mode that the core computes in.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_CPU_H
#define ATTN_SRC_CPU_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define ATTN_ARCH_X86 1
#include <cpuid.h>
#include <xmmintrin.h>
#endif

#define ATTN_FLOAT_FLAGS 0x3fu /* of MXCSR */

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

static inline bool
attn_cpu_has_avx512 (void)
{
#ifdef ATTN_ARCH_X86
  return __builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512dq") && attn_cpu_has_avx2 ();
#else
  return false;
#endif
}

/*
 * Sets round-to-nearest with denormals on, no traps, and returns the caller's mode for attn_float_leave (). An
 * application may run with denormals flushed or another rounding: the output must not depend on it. Sticky flags of
 * exceptions add up across both, as they do across any function.
 */
static inline uint64_t
attn_float_enter (void)
{
#if defined(ATTN_ARCH_X86)
  uint32_t mode = _mm_getcsr ();
  /* The state after reset, all exceptions masked, nearest, no FTZ, no DAZ; and the flags. */
  _mm_setcsr (0x1f80 | (mode & ATTN_FLOAT_FLAGS));
  return mode;
#elif defined(__aarch64__)
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t) 0));
  return mode;
#else
  return 0;
#endif
}

static inline void
attn_float_leave (uint64_t mode)
{
#if defined(ATTN_ARCH_X86)
  _mm_setcsr ((uint32_t) mode | (_mm_getcsr () & ATTN_FLOAT_FLAGS));
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
  (void) mode;
#endif
}

#endif
