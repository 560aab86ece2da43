/*
 * The time of attn_sdpa () over a whole sequence, causal, as in front of the first word of an answer.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn_sdpa.h"
#include "peaks.h"

static const char usage[] =
    "usage: sdpa-bench S H d QKV OUT [SECONDS]\n"
    "\n"
    "Causal attention of S queries over S keys, H heads of d values. QKV: raw float32 [3][H][S][d]; OUT receives "
    "[H][S][d].\n"
    "Prints the median time of a call in microseconds, and its ratio to the time of its arithmetic at the peak of "
    "fused\n"
    "multiply-add: 2 H d S (S + 1) flop, the half that the mask leaves, and no softmax.\n";

static int
by_size (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

static float *
read_floats (const char *path, size_t n)
{
  float *values = malloc (n * sizeof *values);
  FILE *file = fopen (path, "rb");

  if (values == NULL || file == NULL || fread (values, sizeof *values, n, file) != n) {
    fprintf (stderr, "sdpa-bench: cannot read %zu values from %s\n", n, path);
    exit (2);
  }
  fclose (file);
  return values;
}

int
main (int argc, char **argv)
{
  enum { most = 10000 };
  static double times[most];
  AttnSdpa s = attn_sdpa_default ();
  AttnError error = { ATTN_OK, "" };
  double seconds = argc > 6 ? atof (argv[6]) : 1, end, flop;
  size_t n, n_times = 0;
  float *qkv;
  FILE *file;

  if (argc < 6)
    return fputs (usage, argc > 1 && strcmp (argv[1], "--help") == 0 ? stdout : stderr), 2;
  s.n_queries = s.n_keys = strtoul (argv[1], NULL, 10);
  s.n_heads = strtoul (argv[2], NULL, 10);
  s.dk = strtoul (argv[3], NULL, 10);
  s.is_causal = 1;
  n = (size_t) s.n_heads * s.n_queries * s.dk;
  qkv = read_floats (argv[4], 3 * n);
  s.query = qkv;
  s.key = qkv + n;
  s.value = qkv + 2 * n;
  s.out = malloc (n * sizeof (float));
  end = now_us () + seconds * 1e6;
  while (n_times < most && (n_times < 5 || now_us () < end)) {
    double start = now_us ();

    if (attn_sdpa (&s, &error) != ATTN_OK)
      return fprintf (stderr, "sdpa-bench: %s\n", error.message), 1;
    times[n_times++] = now_us () - start;
  }
  qsort (times, n_times, sizeof *times, by_size);
  flop = 2.0 * s.n_heads * s.dk * s.n_queries * (s.n_queries + 1.0);
  printf ("%.1f us, %.2f x fma\n", times[n_times / 2], times[n_times / 2] * 1e-6 * fma_peak () / flop);
  file = fopen (argv[5], "wb");
  return file == NULL || fwrite (s.out, sizeof (float), n, file) != n || fclose (file) != 0;
}
