/* The matrix units that the tests go through.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_UNITS_H
#define TESTS_CORE_UNITS_H

#include <stdio.h>

#include "kernels/machine.h"

#define FOR_EACH_UNIT(unit)               \
  for (size_t row_ = 0; row_ < 4; row_++) \
    for (const AttnMatrixKernels *unit = runnable_unit (row_); unit != NULL; unit = NULL)

static inline const AttnMatrixKernels *
runnable_unit (size_t i)
{
  bool runs;
  const AttnMatrixKernels *unit = attn_matrix_row (i, &runs);

  return unit != NULL && runs ? unit : NULL;
}

/* The units that are tested. */
static inline void
print_units (void)
{
  for (size_t i = 0; i < 4; i++) {
    bool runs;
    const AttnMatrixKernels *unit = attn_matrix_row (i, &runs);

    if (unit != NULL)
      printf ("# %s: %s\n", unit->name, runs ? "tested" : "this processor has no such unit");
  }
}

#endif
