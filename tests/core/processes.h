/*
 * Starts the test's program once more, in another process and with other kernels, to go on from a state.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_PROCESSES_H
#define TESTS_CORE_PROCESSES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *this_program; /* set it from argv[0]; with --restore and a path it goes on */

/* ATTN_TEST_EMULATOR, words with a space between, runs programs of another architecture. */
static inline void
execute (const char *path)
{
  char words[256] = "", *argv[16] = { NULL };
  const char *emulator = getenv ("ATTN_TEST_EMULATOR");
  int n = 0;

  snprintf (words, sizeof words, "%s", emulator != NULL ? emulator : "");
  for (char *word = strtok (words, " "); word != NULL && n < 12; word = strtok (NULL, " "))
    argv[n++] = word;
  argv[n++] = (char *) this_program;
  argv[n++] = (char *) "--restore";
  argv[n++] = (char *) path;
  setenv ("ATTN_CPU", "c", 1); /* other kernels as well */
  execvp (argv[0], argv);
  _exit (127);
}

/* The exit status of a new process, which goes on from the state in the file at `path`; -1: it has none. */
static inline int
run_this_program (const char *path)
{
  pid_t child;
  int status;

  fflush (stdout);
  child = fork ();
  if (child == 0)
    execute (path);
  return child > 0 && waitpid (child, &status, 0) == child && WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

#endif
