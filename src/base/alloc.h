/* libattn: overflow-checked sizes, aligned memory, arenas.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_ALLOC_H
#define ATTN_SRC_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* A cache line, and the widest vector of any instruction set we have kernels for. */
#define ATTN_ALIGNMENT 64

/*
 * a * b and a + b; SIZE_MAX when the result does not fit (and SIZE_MAX stays SIZE_MAX), so that one check at the end is
 * enough. Factors may be counts from a file, which have 64 bits on every machine.
 */
static inline size_t
attn_size_mul (uint64_t a, uint64_t b)
{
  return a == SIZE_MAX || b == SIZE_MAX || (b != 0 && a > SIZE_MAX / b) ? SIZE_MAX : (size_t) (a * b);
}

static inline size_t
attn_size_add (size_t a, size_t b)
{
  return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static inline size_t
attn_round_up (size_t n, size_t multiple)
{
  size_t padded = attn_size_add (n, multiple - 1);
  return padded == SIZE_MAX ? SIZE_MAX : padded / multiple * multiple;
}

/*
 * `size` zeroed bytes at a multiple of ATTN_ALIGNMENT, at least one byte; NULL when `size` is SIZE_MAX or out of
 * memory. From 2 MiB on the memory stands in huge pages where the system has them: the processor finds it faster there.
 */
void *attn_alloc (size_t size);
void *attn_alloc_unset (size_t size); /* the same, not zeroed: the system gives it pages as they are written */
void attn_free (void *memory);        /* accepts NULL */

/* The same for `size` bytes at most of memory: the system has the pages back at once, whatever the C library keeps. */
void attn_free_pages (void *memory, size_t size);

/*
 * One piece of memory for many arrays. The arrays are planned twice: first without memory, to add up how much they
 * need, and then with it.
 */
typedef struct {
  char *memory; /* NULL: only counting */
  size_t used;  /* bytes; SIZE_MAX: too large to address */
  size_t size;  /* of the memory in the end; 0 where nobody asks */
} AttnArena;

/* `size` bytes at a multiple of ATTN_ALIGNMENT, as attn_alloc () left them; NULL while counting. */
void *attn_arena_take (AttnArena *arena, size_t size);

#endif
