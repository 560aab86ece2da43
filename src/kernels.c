/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "status.h"

static bool
always (void)
{
  return true;
}

/* Best first, plain C last. */
static const struct {
  const AttnKernels *kernels;
  bool (*runs_here) (void);
} rows[] = {
#ifdef ATTN_HAVE_AVX512
  { &attn_kernels_avx512, attn_cpu_has_avx512 },
#endif
#ifdef ATTN_HAVE_AVX2
  { &attn_kernels_avx2, attn_cpu_has_avx2 },
#endif
#ifdef ATTN_HAVE_NEON
  { &attn_kernels_neon, always },
#endif
  { &attn_kernels_c, always },
};

#define N_ROWS (sizeof rows / sizeof rows[0])

const AttnKernels *
attn_kernels_row (size_t i, bool *runs_here)
{
  if (i >= N_ROWS)
    return NULL;
  *runs_here = rows[i].runs_here ();
  return rows[i].kernels;
}

static const AttnKernels *
pick_by_name (const char *name, AttnError *error)
{
  char known[128] = "";
  size_t i;

  for (i = 0; i < N_ROWS; i++) {
    if (strcmp (rows[i].kernels->name, name) == 0) {
      if (rows[i].runs_here ())
        return rows[i].kernels;
      attn_fail (error, ATTN_ERROR_CONFIG, "ATTN_CPU is %.32s, but this processor cannot run these kernels", name);
      return NULL;
    }
    strcat (strcat (known, i == 0 ? "" : ", "), rows[i].kernels->name);
  }
  attn_fail (error, ATTN_ERROR_CONFIG, "ATTN_CPU is \"%.32s\", expected one of: %s", name, known);
  return NULL;
}

const AttnKernels *
attn_kernels_pick (AttnError *error)
{
  const char *name = getenv ("ATTN_CPU");
  size_t i = 0;

  if (name != NULL && *name != '\0')
    return pick_by_name (name, error);
  while (!rows[i].runs_here ())
    i++;
  return rows[i].kernels;
}
