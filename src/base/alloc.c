/* libattn: memory: zeroed, aligned to cache lines, from the C library.  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _DEFAULT_SOURCE /* madvise () */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>

#define LARGEST_PAGE ((size_t) 64 << 10) /* that systems have as their usual one */

#ifdef MADV_HUGEPAGE

/* Of most processors. Where it is another one, nothing is lost. */
#define HUGE_PAGE ((size_t) 2 << 20)

/* The system decides whether there are any; asked for before the memory is touched, they cost nothing. */
static void
ask_for_huge_pages (void *memory, size_t size)
{
  if (size >= HUGE_PAGE)
    madvise (memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
}

#else

#define HUGE_PAGE SIZE_MAX
#define ask_for_huge_pages(memory, size)

#endif

static size_t
padded_size (size_t size)
{
  return attn_round_up (size == 0 ? 1 : size, ATTN_ALIGNMENT);
}

/*
 * The pointer to what malloc () gave stands in front of the aligned memory. aligned_alloc () is of no use for large
 * parameters: it asks for more than it keeps, so a piece of memory that was freed never fits the next one of the same
 * size, and a layer would take twice its memory.
 */
void *
attn_alloc_unset (size_t size)
{
  size_t padded = padded_size (size);
  size_t alignment = size < HUGE_PAGE ? ATTN_ALIGNMENT : HUGE_PAGE;
  size_t whole = attn_size_add (padded, sizeof (void *) + alignment - 1);
  char *memory = whole == SIZE_MAX ? NULL : malloc (whole), *aligned;

  if (memory == NULL)
    return NULL;
  aligned = memory + sizeof (void *);
  aligned += (alignment - (uintptr_t) aligned % alignment) % alignment;
  memcpy (aligned - sizeof (void *), &memory, sizeof memory);
  ask_for_huge_pages (aligned, padded);
  return aligned;
}

void *
attn_alloc (size_t size)
{
  void *memory = attn_alloc_unset (size);

  return memory != NULL ? memset (memory, 0, padded_size (size)) : NULL;
}

void
attn_free (void *memory)
{
  char *whole = NULL;

  if (memory != NULL)
    memcpy (&whole, (char *) memory - sizeof whole, sizeof whole);
  free (whole);
}

void
attn_free_pages (void *memory, size_t size)
{
#ifdef MADV_DONTNEED
  uintptr_t begin = attn_round_up ((uintptr_t) memory, LARGEST_PAGE), end = (uintptr_t) memory + size;

  if (memory != NULL && begin + LARGEST_PAGE <= end)
    madvise ((void *) begin, (end - begin) / LARGEST_PAGE * LARGEST_PAGE, MADV_DONTNEED);
#endif
  attn_free (memory);
}

void *
attn_arena_take (AttnArena *arena, size_t size)
{
  char *taken = arena->memory != NULL ? arena->memory + arena->used : NULL;

  arena->used = attn_size_add (arena->used, attn_round_up (size, ATTN_ALIGNMENT));
  return taken;
}
