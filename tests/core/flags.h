/*
 * The sticky flags of denormal operands and results, which a processor keeps.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_FLAGS_H
#define TESTS_CORE_FLAGS_H

#include "base/cpu.h"
#include "base/float_mode.h"

/* The flags of denormal operands, which fetestexcept () does not show, and of denormal results. */
static inline unsigned
tiny_flags (void)
{
#if defined(ATTN_ARCH_X86)
  return attn_float_mode () & 0x12; /* DE, UE */
#elif defined(__aarch64__)
  uint64_t flags;

  __asm__ volatile("mrs %0, fpsr" : "=r"(flags));
  return flags & 0x88; /* IDC, UFC */
#else
  return 0;
#endif
}

static inline void
clear_flags (void)
{
#if defined(ATTN_ARCH_X86)
  attn_float_set_mode (attn_float_mode () & ~(uint64_t) ATTN_FLOAT_KEPT);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpsr, %0" : : "r"((uint64_t) 0));
#endif
}

/* valgrind keeps no flags. */
static inline bool
has_flags (void)
{
  volatile float tiny = 1e-30f;
  unsigned flags;

  clear_flags ();
  tiny *= tiny;
  flags = tiny_flags ();
  clear_flags ();
  return flags != 0;
}

static inline bool
has_fma (void)
{
#ifdef ATTN_ARCH_X86
  return __builtin_cpu_supports ("fma");
#else
  return true;
#endif
}

#endif
