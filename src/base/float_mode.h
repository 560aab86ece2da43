/*
 * libattn: the floating-point mode that the core computes in.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An application may run with denormals flushed, with traps or with another rounding: the output must not depend on it.
 * Each architecture below defines
 * - attn_float_mode () and attn_float_set_mode (): the register, or registers, that hold the mode. Where one
 *   instruction reads it and one writes it, these two stand instead (ATTN_FLOAT_READ, ATTN_FLOAT_WRITE), with the type
 *   of the register (ATTN_FLOAT_REGISTER);
 * - ATTN_FLOAT_STANDARD: round to nearest, denormals on, no traps;
 * - ATTN_FLOAT_KEPT: the bits of the register that are not part of the mode, such as sticky flags of exceptions;
 * - ATTN_FLOAT_FLUSH: the bits that flush denormals to 0; 0 where the processor cannot do so.
 */
#ifndef ATTN_SRC_FLOAT_MODE_H
#define ATTN_SRC_FLOAT_MODE_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)

#include <xmmintrin.h>

/* MXCSR: all exceptions masked; flags; FTZ and DAZ. */
#define ATTN_FLOAT_STANDARD 0x1f80
#define ATTN_FLOAT_KEPT 0x3f
#define ATTN_FLOAT_FLUSH 0x8040

static inline uint64_t
attn_float_mode (void)
{
  return _mm_getcsr ();
}

static inline void
attn_float_set_mode (uint64_t mode)
{
  _mm_setcsr ((uint32_t) mode);
}

#elif defined(__i386__)

#include <xmmintrin.h>

/* MXCSR; above it the control word of the x87, which the C library's fma () uses on processors without FMA. */
#define ATTN_FLOAT_STANDARD (UINT64_C (0x37f) << 32 | 0x1f80)
#define ATTN_FLOAT_KEPT 0x3f
#define ATTN_FLOAT_FLUSH 0x8040

static inline uint64_t
attn_float_mode (void)
{
  uint16_t control;

  __asm__ volatile("fnstcw %0" : "=m"(control));
  return (uint64_t) control << 32 | _mm_getcsr ();
}

/* With traps on, the x87 would trap on exceptions that were raised while they were off: its flags are cleared first. */
static inline void
attn_float_set_mode (uint64_t mode)
{
  uint16_t control = (uint16_t) (mode >> 32);

  if ((control & 0x3f) != 0x3f)
    __asm__ volatile("fnclex");
  __asm__ volatile("fldcw %0" : : "m"(control));
  _mm_setcsr ((uint32_t) mode);
}

#elif defined(__aarch64__)

/* FPCR; the flags are in another register. */
#define ATTN_FLOAT_STANDARD 0
#define ATTN_FLOAT_KEPT 0
#define ATTN_FLOAT_FLUSH (1 << 24)
#define ATTN_FLOAT_REGISTER uint64_t
#define ATTN_FLOAT_READ "mrs %0, fpcr"
#define ATTN_FLOAT_WRITE "msr fpcr, %0"

#elif defined(__arm__) && defined(__VFP_FP__) && !defined(__SOFTFP__)

/* FPSCR of the VFP. (The NEON of these processors flushes in any mode: the core does not compute with it.) */
#define ATTN_FLOAT_STANDARD 0
#define ATTN_FLOAT_KEPT 0xf800009f
#define ATTN_FLOAT_FLUSH (1 << 24)
#define ATTN_FLOAT_REGISTER uint32_t
#define ATTN_FLOAT_READ "vmrs %0, fpscr"
#define ATTN_FLOAT_WRITE "vmsr fpscr, %0"

#elif defined(__powerpc64__) && defined(__ALTIVEC__)

#include <string.h>

/*
 * The lower half of FPSCR; above it VSCR, whose bit NJ flushes denormals in vectors, and is set when a process starts.
 */
#define ATTN_FLOAT_STANDARD 0
#define ATTN_FLOAT_KEPT (~(UINT64_C (0x10000) << 32 | 0xff))
#define ATTN_FLOAT_FLUSH (UINT64_C (0x10000) << 32 | 4)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ATTN_FLOAT_VSCR_WORD 0
#else
#define ATTN_FLOAT_VSCR_WORD 3
#endif

static inline uint64_t
attn_float_mode (void)
{
  double scalar;
  __vector int vscr = (__vector int) __builtin_altivec_mfvscr ();
  uint64_t bits;
  uint32_t words[4];

  __asm__ volatile("mffs %0" : "=d"(scalar));
  memcpy (&bits, &scalar, sizeof bits);
  memcpy (words, &vscr, sizeof words);
  return (uint64_t) words[ATTN_FLOAT_VSCR_WORD] << 32 | (bits & UINT32_MAX);
}

static inline void
attn_float_set_mode (uint64_t mode)
{
  uint64_t bits = mode & UINT32_MAX;
  double scalar;
  uint32_t words[4] = { 0 };
  __vector int vscr;

  words[ATTN_FLOAT_VSCR_WORD] = (uint32_t) (mode >> 32);
  memcpy (&scalar, &bits, sizeof scalar);
  memcpy (&vscr, words, sizeof vscr);
  __asm__ volatile("mtfsf 255, %0" : : "d"(scalar));
  __builtin_altivec_mtvscr (vscr);
}

#elif defined(__s390x__)

/* FPC: masks of traps, flags, the two modes of rounding. Only the rounding of binary numbers counts. */
#define ATTN_FLOAT_STANDARD 0
#define ATTN_FLOAT_KEPT 0x00ffff70
#define ATTN_FLOAT_FLUSH 0
#define ATTN_FLOAT_REGISTER uint32_t
#define ATTN_FLOAT_READ "efpc %0"
#define ATTN_FLOAT_WRITE "sfpc %0"

#elif defined(__riscv_flen)

/* frm, the rounding: there is no other mode. */
#define ATTN_FLOAT_STANDARD 0
#define ATTN_FLOAT_KEPT 0
#define ATTN_FLOAT_FLUSH 0
#define ATTN_FLOAT_REGISTER unsigned long
#define ATTN_FLOAT_READ "frrm %0"
#define ATTN_FLOAT_WRITE "fsrm %0"

#else

#include <fenv.h>

/* Standard C only has the rounding. */
#define ATTN_FLOAT_STANDARD FE_TONEAREST
#define ATTN_FLOAT_KEPT 0
#define ATTN_FLOAT_FLUSH 0

static inline uint64_t
attn_float_mode (void)
{
  return (uint64_t) fegetround ();
}

static inline void
attn_float_set_mode (uint64_t mode)
{
  fesetround ((int) mode);
}

#endif

#ifdef ATTN_FLOAT_REGISTER
static inline uint64_t
attn_float_mode (void)
{
  ATTN_FLOAT_REGISTER mode;

  __asm__ volatile(ATTN_FLOAT_READ : "=r"(mode));
  return mode;
}

static inline void
attn_float_set_mode (uint64_t mode)
{
  __asm__ volatile(ATTN_FLOAT_WRITE : : "r"((ATTN_FLOAT_REGISTER) mode));
}
#endif

/* The kept bits, if there are any, come from `kept`. */
static inline void
attn_float_change_mode (uint64_t mode, uint64_t kept)
{
  attn_float_set_mode ((mode & ~(uint64_t) ATTN_FLOAT_KEPT) | (kept & ATTN_FLOAT_KEPT));
}

static inline bool
attn_float_is_standard (uint64_t mode)
{
  return (mode & ~(uint64_t) ATTN_FLOAT_KEPT) == ATTN_FLOAT_STANDARD;
}

/*
 * Sets the standard mode, and returns the caller's for attn_float_leave (). Sticky flags of exceptions add up across
 * both calls, as they do across any function. Most callers have that mode already. Then it is not written, because a
 * processor may wait for all that it has begun before it writes the mode.
 */
static inline uint64_t
attn_float_enter (void)
{
  uint64_t mode = attn_float_mode ();

  if (!attn_float_is_standard (mode))
    attn_float_change_mode (ATTN_FLOAT_STANDARD, mode);
  return mode;
}

static inline void
attn_float_leave (uint64_t mode)
{
  if (!attn_float_is_standard (mode))
    attn_float_change_mode (mode, ATTN_FLOAT_KEPT != 0 ? attn_float_mode () : 0);
}

#endif
