/*
 * How much memory this process has, for tests that run for long.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_MEMORY_H
#define TESTS_MEMORY_H

#include <stdio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMORY_IS_SANITIZED 1
#endif
#endif

/* Resident memory in KiB; 0 if it is unknown, or if a sanitizer keeps freed memory. */
static inline long
resident_kib (void)
{
#ifdef MEMORY_IS_SANITIZED
  return 0;
#else
  FILE *file = fopen ("/proc/self/statm", "r");
  long all, resident = 0;

  if (file == NULL)
    return 0;
  if (fscanf (file, "%ld %ld", &all, &resident) != 2)
    resident = 0;
  fclose (file);
  return resident * (sysconf (_SC_PAGESIZE) / 1024);
#endif
}

#endif
