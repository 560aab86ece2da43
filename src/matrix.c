/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _DEFAULT_SOURCE /* syscall () */

#include "matrix.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "status.h"

#ifdef ATTN_HAVE_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

/*
 * Intel AMX: tiles of at least 16 rows of 64 bytes and products of bf16, vectors that become bf16, registers that the
 * operating system keeps, and its leave to use them, which it gives to a process once and for all its threads.
 */
static bool
has_amx (void)
{
#if defined(ATTN_HAVE_AMX) && defined(__linux__)
  const unsigned osxsave = 1u << 27, amx_tile = 1u << 24, amx_bf16 = 1u << 22, avx512_bf16 = 1u << 5;
  const unsigned tile_registers = 3u << 17;
  const unsigned arch_req_xcomp_perm = 0x1023, xtiledata = 18; /* asm/prctl.h, and XCR0's bit */
  unsigned a, b, c, d, xcr0;

  if (!attn_cpu_has_avx512 () || !__builtin_cpu_supports ("avx512bw") || !__builtin_cpu_supports ("avx512vl")
      || !__get_cpuid (1, &a, &b, &c, &d) || !(c & osxsave) || !__get_cpuid_count (7, 0, &a, &b, &c, &d)
      || !(d & amx_tile) || !(d & amx_bf16) || !__get_cpuid_count (7, 1, &a, &b, &c, &d) || !(a & avx512_bf16))
    return false;
  __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(d) : "c"(0));
  if ((xcr0 & tile_registers) != tile_registers)
    return false;
  /* Palette 1: bytes of a row in the lower half, registers in the upper; and the rows of one. */
  if (!__get_cpuid_count (0x1d, 1, &a, &b, &c, &d) || (b & 0xffff) < 64 || b >> 16 < 8 || (c & 0xffff) < 16)
    return false;
  return syscall (SYS_arch_prctl, arch_req_xcomp_perm, xtiledata) == 0;
#else
  return false;
#endif
}

static const AttnMatrixKernels *const rows[] = {
#ifdef ATTN_HAVE_AMX
  &attn_matrix_amx,
#endif
  &attn_matrix_c,
};

#define N_ROWS (sizeof rows / sizeof rows[0])

static bool
runs_here (const AttnMatrixKernels *matrix)
{
  return matrix == &attn_matrix_c || has_amx ();
}

const AttnMatrixKernels *
attn_matrix_row (size_t i, bool *is_usable)
{
  if (i >= N_ROWS)
    return NULL;
  *is_usable = runs_here (rows[i]);
  return rows[i];
}

static AttnStatus
pick_by_name (const char *name, const AttnMatrixKernels **matrix, AttnError *error)
{
  char known[64] = "";
  size_t i;

  for (i = 0; i < N_ROWS; i++) {
    if (strcmp (rows[i]->name, name) == 0) {
      if (!runs_here (rows[i]))
        return attn_fail (error, ATTN_ERROR_CONFIG, "ATTN_MATRIX is %.32s, but this processor cannot run these kernels",
                          name);
      *matrix = rows[i];
      return ATTN_OK;
    }
    strcat (strcat (known, i == 0 ? "" : ", "), rows[i]->name);
  }
  return attn_fail (error, ATTN_ERROR_CONFIG, "ATTN_MATRIX is \"%.32s\", expected one of: %s", name, known);
}

AttnStatus
attn_matrix_pick (const AttnKernels *kernels, const AttnMatrixKernels **matrix, AttnError *error)
{
  const char *name = getenv ("ATTN_MATRIX");

  *matrix = NULL;
  if (name != NULL && *name != '\0')
    return pick_by_name (name, matrix, error);
    /* Nobody gets plain C without asking: it is slower than what it stands for. */
#ifdef ATTN_HAVE_AMX
  if (kernels == &attn_kernels_avx512 && has_amx ())
    *matrix = &attn_matrix_amx;
#else
  (void) kernels;
#endif
  return ATTN_OK;
}
