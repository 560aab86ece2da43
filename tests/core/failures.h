/*
 * Calls of the core in which each allocation, each new thread and each read of a file fails in turn. The linker puts
 * the functions below in front of the core's own calls (-Wl,--wrap). Allocations of the JSON library do not fail: it is
 * shared, and jansson 2.14 itself does not survive that (https://github.com/akheron/jansson/issues/362).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_FAILURES_H
#define TESTS_CORE_FAILURES_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "attn.h"
#include "check.h"

static atomic_long countdown = -1; /* calls until the one that fails; below 0: none will */
static atomic_long n_alive;        /* pieces of memory */

static bool
fails (void)
{
  return atomic_load (&countdown) >= 0 && atomic_fetch_sub (&countdown, 1) == 0;
}

static void *
note (void *memory)
{
  atomic_fetch_add (&n_alive, memory != NULL);
  return memory;
}

void *__real_malloc (size_t size);
void *__real_calloc (size_t n, size_t size);
char *__real_strdup (const char *text);
void __real_free (void *memory);
int __real_pthread_create (pthread_t *thread, const pthread_attr_t *attr, void *(*start) (void *), void *data);
ssize_t __real_pread (int fd, void *data, size_t size, off_t offset);
ssize_t __real_pread64 (int fd, void *data, size_t size, off_t offset);

void *__wrap_malloc (size_t size);
void *__wrap_calloc (size_t n, size_t size);
char *__wrap_strdup (const char *text);
void __wrap_free (void *memory);
int __wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr, void *(*start) (void *), void *data);
ssize_t __wrap_pread (int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_pread64 (int fd, void *data, size_t size, off_t offset);

void *
__wrap_malloc (size_t size)
{
  return fails () ? NULL : note (__real_malloc (size));
}

void *
__wrap_calloc (size_t n, size_t size)
{
  return fails () ? NULL : note (__real_calloc (n, size));
}

char *
__wrap_strdup (const char *text)
{
  return fails () ? NULL : note (__real_strdup (text));
}

void
__wrap_free (void *memory)
{
  atomic_fetch_sub (&n_alive, memory != NULL);
  __real_free (memory);
}

int
__wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr, void *(*start) (void *), void *data)
{
  return fails () ? EAGAIN : __real_pthread_create (thread, attr, start, data);
}

/* A disk that breaks while it is read. */
ssize_t
__wrap_pread (int fd, void *data, size_t size, off_t offset)
{
  if (!fails ())
    return __real_pread (fd, data, size, offset);
  errno = EIO;
  return -1;
}

/* What pread () is called in the C library if offsets have 64 bits. */
ssize_t
__wrap_pread64 (int fd, void *data, size_t size, off_t offset)
{
  if (!fails ())
    return __real_pread64 (fd, data, size, offset);
  errno = EIO;
  return -1;
}

/* `try` with each of its allocations failing; the last time none does. */
static inline void
fail_each (const char *name, AttnStatus (*try) (AttnError *))
{
  long n, before = atomic_load (&n_alive);

  for (n = 0;; n++) {
    AttnError error = { 0 };
    AttnStatus status;
    bool failed;

    atomic_store (&countdown, n);
    status = try (&error);
    failed = atomic_exchange (&countdown, -1) < 0;
    CHECK_MSG (atomic_load (&n_alive) == before, "%s: failure %ld leaves memory behind", name, n);
    if (!failed) {
      CHECK_MSG (status == ATTN_OK, "%s: %s", name, error.message);
      break;
    }
    CHECK_MSG (status == ATTN_ERROR_MEMORY || status == ATTN_ERROR_FILE, "%s: failure %ld gives status %d", name, n,
               status);
    CHECK_MSG (error.message[0] != '\0', "%s: failure %ld gives no sentence", name, n);
  }
  printf ("# %s: %ld failures\n", name, n);
  CHECK_MSG (n > 0, "%s cannot fail", name);
}

#endif
