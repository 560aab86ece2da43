/*
 * Runs a fuzz target over files, without libFuzzer: every compiler can do that, so that the corpus, and with it every
 * crash that was ever found, is part of the fast tests. Arguments: directories; TAP.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Exactly `size` bytes, so that a memory checker sees a read past the end. */
static uint8_t *
load (const char *path, size_t *size)
{
  FILE *file = fopen (path, "rb");
  uint8_t *data = NULL;
  long length = -1;

  if (file == NULL)
    return NULL;
  if (fseek (file, 0, SEEK_END) == 0)
    length = ftell (file);
  rewind (file);
  if (length >= 0)
    data = malloc (length == 0 ? 1 : (size_t) length);
  if (data != NULL && fread (data, 1, (size_t) length, file) != (size_t) length) {
    free (data);
    data = NULL;
  }
  fclose (file);
  *size = (size_t) length;
  return data;
}

static int
replay (const char *directory, int n_run)
{
  struct dirent **entries;
  int n = scandir (directory, &entries, NULL, alphasort);

  for (int i = 0; i < n; i++) {
    char path[4096];
    uint8_t *data;
    size_t size;

    if (entries[i]->d_name[0] != '.') {
      snprintf (path, sizeof path, "%s/%s", directory, entries[i]->d_name);
      data = load (path, &size);
      if (data != NULL)
        LLVMFuzzerTestOneInput (data, size); /* a failure ends the program, and the plan below is missing */
      printf ("%s %d - %s\n", data != NULL ? "ok" : "not ok", ++n_run, entries[i]->d_name);
      fflush (stdout);
      free (data);
    }
    free (entries[i]);
  }
  if (n >= 0)
    free (entries);
  return n_run;
}

int
main (int argc, char **argv)
{
  int n_run = 0;

  for (int i = 1; i < argc; i++) {
    int n_before = n_run;

    n_run = replay (argv[i], n_run);
    if (n_run == n_before)
      printf ("not ok %d - %s is empty or cannot be read\n", ++n_run, argv[i]);
  }
  printf ("1..%d\n", n_run);
  return n_run == 0;
}
