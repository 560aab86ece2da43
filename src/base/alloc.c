/* libattn: memory: zeroed, aligned to cache lines, from the C library.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

void *
attn_alloc (size_t size)
{
  size_t padded = attn_round_up (size == 0 ? 1 : size, ATTN_ALIGNMENT);
  void *memory = padded == SIZE_MAX ? NULL : aligned_alloc (ATTN_ALIGNMENT, padded);

  if (memory != NULL)
    memset (memory, 0, padded);
  return memory;
}

void
attn_free (void *memory)
{
  free (memory);
}

void *
attn_arena_take (AttnArena *arena, size_t size)
{
  char *taken = arena->memory != NULL ? arena->memory + arena->used : NULL;

  arena->used = attn_size_add (arena->used, attn_round_up (size, ATTN_ALIGNMENT));
  return taken;
}
