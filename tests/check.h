/*
 * The test framework of the core: TAP on standard output, no dependencies, so that the core's tests also run where only
 * a cross compiler and an emulator are.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   TEST (window_of_one_copies_values) { ... CHECK (x == y); CHECK_MSG (x == y, "x %d, y %d", x, y); }
 *   int main (int argc, char **argv) { RUN (window_of_one_copies_values); return check_done (); }
 *
 * A failed check ends its test, not the program. With an argument, only tests whose names contain it run.
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_n_run, check_n_failed;
static bool check_failed;
static const char *check_only; /* set it from argv[1] */

#define TEST(name) static void test_##name (void)

#define CHECK_MSG(condition, ...)                               \
  do {                                                          \
    if (!(condition)) {                                         \
      printf ("# %s:%d: %s: ", __FILE__, __LINE__, #condition); \
      printf (__VA_ARGS__);                                     \
      printf ("\n");                                            \
      check_failed = true;                                      \
      return;                                                   \
    }                                                           \
  } while (0)

#define CHECK(condition) CHECK_MSG (condition, "failed")

/* A call of the core that the rest of the program depends on. */
#define MUST(call)                      \
  do {                                  \
    if ((call) != 0) {                  \
      printf ("Bail out! %s\n", #call); \
      exit (1);                         \
    }                                   \
  } while (0)

#define RUN(name) check_run (#name, test_##name)

static void
check_run (const char *name, void (*test) (void))
{
  if (check_only != NULL && strstr (name, check_only) == NULL)
    return;
  check_failed = false;
  test ();
  check_n_run++;
  check_n_failed += check_failed;
  printf ("%s %d - %s\n", check_failed ? "not ok" : "ok", check_n_run, name);
  fflush (stdout);
}

static int
check_done (void)
{
  printf ("1..%d\n", check_n_run);
  return check_n_failed != 0 || check_n_run == 0;
}

#endif
