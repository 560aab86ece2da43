/* libattn: picks the kernels of a layer.  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _DEFAULT_SOURCE /* syscall () */

#include "kernels/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/status.h"

#ifdef ATTN_HAVE_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* One of several implementations, best first in its table. */
typedef struct {
  const void *kernels;     /* AttnKernels or AttnMatrixKernels */
  const char *const *name; /* the name in the kernels */
  bool (*runs_here) (void);
} Row;

static bool
always (void)
{
  return true;
}

#ifdef ATTN_HAVE_AMX
/*
 * Intel AMX: tiles of at least 16 rows of 64 bytes and products of bf16, vectors that become bf16, registers that the
 * operating system keeps, and its permission to use them, which it gives to a process once and for all its threads.
 */
static bool
has_amx (void)
{
#ifdef __linux__
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
  /* Palette 1: bytes of a row in the lower half, number of registers in the upper; and the rows of a register. */
  if (!__get_cpuid_count (0x1d, 1, &a, &b, &c, &d) || (b & 0xffff) < 64 || b >> 16 < 8 || (c & 0xffff) < 16)
    return false;
  return syscall (SYS_arch_prctl, arch_req_xcomp_perm, xtiledata) == 0;
#else
  return false;
#endif
}
#endif

#define ROW(kernels, runs_here)        \
  {                                    \
    &kernels, &kernels.name, runs_here \
  }

static const Row kernel_rows[] = {
#ifdef ATTN_HAVE_AVX512
  ROW (attn_kernels_avx512, attn_cpu_has_avx512),
#endif
#ifdef ATTN_HAVE_AVX2
  ROW (attn_kernels_avx2, attn_cpu_has_avx2),
#endif
#ifdef ATTN_HAVE_NEON
  ROW (attn_kernels_neon, always),
#endif
  ROW (attn_kernels_c, always),
};

static const Row matrix_rows[] = {
#ifdef ATTN_HAVE_AMX
  ROW (attn_matrix_amx, has_amx),
#endif
  ROW (attn_matrix_c, always),
};

#define N_ROWS(rows) (sizeof rows / sizeof rows[0])

const AttnKernels *
attn_kernels_row (size_t i, bool *runs_here)
{
  if (i >= N_ROWS (kernel_rows))
    return NULL;
  *runs_here = kernel_rows[i].runs_here ();
  return kernel_rows[i].kernels;
}

const AttnMatrixKernels *
attn_matrix_row (size_t i, bool *runs_here)
{
  if (i >= N_ROWS (matrix_rows))
    return NULL;
  *runs_here = matrix_rows[i].runs_here ();
  return matrix_rows[i].kernels;
}

/* The row that the environment variable names; row NULL: it is not set. */
static AttnStatus
pick_by_name (const char *variable, const Row *rows, size_t n_rows, const Row **row, AttnError *error)
{
  const char *name = getenv (variable);
  char known[128] = "";
  size_t i;

  *row = NULL;
  if (name == NULL || *name == '\0')
    return ATTN_OK;
  for (i = 0; i < n_rows; i++) {
    if (strcmp (*rows[i].name, name) == 0)
      *row = &rows[i];
    strcat (strcat (known, i == 0 ? "" : ", "), *rows[i].name);
  }
  if (*row == NULL)
    return attn_fail (error, ATTN_ERROR_CONFIG, "%s is \"%.32s\", expected one of: %s", variable, name, known);
  if (!(*row)->runs_here ())
    return attn_fail (error, ATTN_ERROR_CONFIG, "%s is %.32s, but this processor cannot run these kernels", variable,
                      name);
  return ATTN_OK;
}

static AttnStatus
pick_kernels (AttnMachine *machine, AttnError *error)
{
  const Row *row;
  AttnStatus status = pick_by_name ("ATTN_CPU", kernel_rows, N_ROWS (kernel_rows), &row, error);

  if (status != ATTN_OK)
    return status;
  for (row = row != NULL ? row : kernel_rows; !row->runs_here ();)
    row++;
  machine->kernels = row->kernels;
  return ATTN_OK;
}

/* Plain C is used only on request: it is slower than the kernels without a matrix unit. */
static AttnStatus
pick_matrix (AttnMachine *machine, AttnError *error)
{
  const Row *row;
  AttnStatus status = pick_by_name ("ATTN_MATRIX", matrix_rows, N_ROWS (matrix_rows), &row, error);

  if (row != NULL)
    machine->matrix = row->kernels;
#ifdef ATTN_HAVE_AMX
  else if (status == ATTN_OK && machine->kernels == &attn_kernels_avx512 && has_amx ())
    machine->matrix = &attn_matrix_amx;
#endif
  return status;
}

AttnStatus
attn_machine_pick (AttnMachine *machine, AttnArithmetic arithmetic, AttnError *error)
{
  AttnStatus status;

  *machine = (AttnMachine){ 0 };
  status = pick_kernels (machine, error);
  if (status == ATTN_OK && arithmetic == ATTN_ARITHMETIC_FAST)
    status = pick_matrix (machine, error);
  if (status == ATTN_OK)
    snprintf (machine->name, sizeof machine->name, "%s%s%s", machine->kernels->name, machine->matrix != NULL ? "+" : "",
              machine->matrix != NULL ? machine->matrix->name : "");
  return status;
}
