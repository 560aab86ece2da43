/*
 * Runs a fuzz target over every file of the directories given, without a fuzzer, and says so in TAP. The sanitizer or
 * abort () reports crashes: the name of the file is printed before it runs.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* scandir () */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* The block is as large as the file, so that a sanitizer or valgrind sees any step beyond it. */
static int
replay_file (const char *path, size_t size)
{
  FILE *file = fopen (path, "rb");
  uint8_t *data = malloc (size > 0 ? size : 1);
  int ok = file != NULL && data != NULL && fread (data, 1, size, file) == size;

  if (ok)
    LLVMFuzzerTestOneInput (data, size);
  if (file != NULL)
    fclose (file);
  free (data);
  return ok;
}

static int
replay_directory (const char *name, int *n_run)
{
  struct dirent **entries;
  int n_entries = scandir (name, &entries, NULL, alphasort), n_failed = 0, i;

  if (n_entries < 0) {
    printf ("Bail out! cannot read the directory %s\n", name);
    exit (1);
  }
  for (i = 0; i < n_entries; i++) {
    char path[4096];
    struct stat status;

    snprintf (path, sizeof path, "%s/%s", name, entries[i]->d_name);
    if (stat (path, &status) == 0 && S_ISREG (status.st_mode)) {
      int ok;

      printf ("# %s, %lld bytes\n", path, (long long) status.st_size);
      fflush (stdout);
      ok = replay_file (path, (size_t) status.st_size);
      n_failed += !ok;
      printf ("%s %d - %s\n", ok ? "ok" : "not ok", ++*n_run, entries[i]->d_name);
    }
    free (entries[i]);
  }
  free (entries);
  return n_failed;
}

int
main (int argc, char **argv)
{
  int n_run = 0, n_failed = 0, i;

  for (i = 1; i < argc; i++)
    n_failed += replay_directory (argv[i], &n_run);
  printf ("1..%d\n", n_run);
  return n_failed != 0 || n_run == 0;
}
