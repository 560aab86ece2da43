/*
 * libattn: picks the kernels of a layer: the best that this processor can run, or those that the environment asks for.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef ATTN_SRC_MACHINE_H
#define ATTN_SRC_MACHINE_H

#include "kernels/kernels.h"
#include "kernels/matrix.h"

typedef struct {
  const AttnKernels *kernels;
  const AttnMatrixKernels *matrix; /* NULL: there is no matrix unit, or it was not asked for */
  char name[32];                   /* such as "avx512", "avx512+amx" */
} AttnMachine;

/*
 * The best kernels, or those that the environment variable ATTN_CPU names; for ATTN_ARITHMETIC_FAST also those of AMX,
 * where the processor has it beside AVX-512, or those that ATTN_MATRIX names: amx, or c, which is plain C for tests.
 * Fails if a variable names kernels that cannot run here.
 */
AttnStatus attn_machine_pick (AttnMachine *machine, AttnArithmetic arithmetic, AttnError *error);

/* Row `i`, best first, and whether this processor can run it; NULL behind the last. */
const AttnKernels *attn_kernels_row (size_t i, bool *runs_here);
const AttnMatrixKernels *attn_matrix_row (size_t i, bool *runs_here);

#endif
