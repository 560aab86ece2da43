/*
 * Times an ONNX model in ONNX Runtime on one thread, without a binding's overhead: a peer of attn-bench. Its library is
 * loaded at run time (npm's onnxruntime-node brings it). Its C interface is a table of functions that only ever grows
 * at its end (onnxruntime_c_api.h, OrtApi); the few functions needed here are given by their number.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peaks.h"

static const char usage[] =
    "usage: ort-bench LIBRARY MODEL [TENSOR...] [--seconds S] [--frames N]\n"
    "\n"
    "  in NAME SHAPE FILE     an input, raw float32, such as: in x 1x64 x.f32; FILE - = zeros\n"
    "  out NAME SHAPE FILE    an output, written raw when all is over; FILE - = nowhere\n"
    "  feed NAME SHAPE FILE   an input that moves through a file of frames, block by block, from the first to the "
    "last\n"
    "  keep NAME SHAPE FILE   an output of which all blocks of the first pass over the file are written\n"
    "  carry INPUT OUTPUT     the output becomes the next run's input (their tensors are named before)\n"
    "  ring INPUT OUTPUT      the output [H,N,d] overwrites the oldest rows of the input [H,R,d]\n"
    "\n"
    "Runs over the file once, writes, then prints the median time of a run in microseconds, divided by N.\n";

enum {
  GET_ERROR_MESSAGE = 2,
  CREATE_ENV = 3,
  CREATE_SESSION = 7,
  RUN = 9,
  CREATE_SESSION_OPTIONS = 10,
  SET_GRAPH_OPTIMIZATION_LEVEL = 23,
  SET_INTRA_OP_THREADS = 24,
  SET_INTER_OP_THREADS = 25,
  CREATE_TENSOR_WITH_DATA = 49,
  CREATE_CPU_MEMORY_INFO = 69
};

typedef void *Status; /* NULL: no error */
typedef void (*Function) (void);

static const Function *api;

#define CALL(number, types, ...) check (((Status (*) types) api[number]) (__VA_ARGS__))

static void
check (Status status)
{
  if (status == NULL)
    return;
  fprintf (stderr, "ort-bench: %s\n", ((const char *(*) (Status)) api[GET_ERROR_MESSAGE]) (status));
  exit (1);
}

#define MAX_TENSORS 64

typedef struct {
  const char *name, *file;
  enum { IN, OUT, FEED, KEEP } kind;
  int64_t shape[4];
  size_t n_dims, n; /* n: elements */
  float *data;
  void *value;  /* OrtValue over `data` */
  float *whole; /* FEED: the file; KEEP: what becomes one */
} Tensor;

/* After every run; input and output are numbers of tensors. */
typedef struct {
  bool is_ring;
  int input, output;
  size_t next; /* row of the ring */
} Move;

static Tensor tensors[MAX_TENSORS];
static Move moves[MAX_TENSORS];
static int n_tensors, n_moves;
static size_t n_blocks = 1, block; /* of the file */
static void *memory_info;

static int
tensor_called (const char *name)
{
  for (int i = 0; i < n_tensors; i++)
    if (strcmp (tensors[i].name, name) == 0)
      return i;
  fprintf (stderr, "ort-bench: there is no tensor %s\n", name);
  exit (2);
}

static void *
make_value (const Tensor *t, float *data)
{
  void *value;

  CALL (CREATE_TENSOR_WITH_DATA, (void *, void *, size_t, const int64_t *, size_t, int, void **), memory_info, data,
        t->n * sizeof *data, t->shape, t->n_dims, 1 /* float32 */, &value);
  return value;
}

static void
add_tensor (const char *kind, const char *name, const char *shape, const char *file)
{
  Tensor *t = &tensors[n_tensors++];
  FILE *f;

  t->kind = kind[0] == 'i' ? IN : kind[0] == 'o' ? OUT : kind[0] == 'f' ? FEED : KEEP;
  t->name = name;
  t->file = file;
  t->n = 1;
  for (const char *p = shape; t->n_dims < 4 && *p != '\0'; p += *p == 'x') {
    t->shape[t->n_dims] = strtol (p, (char **) &p, 10);
    t->n *= t->shape[t->n_dims++];
  }
  t->data = aligned_alloc (64, (t->n * sizeof *t->data + 63) / 64 * 64);
  memset (t->data, 0, t->n * sizeof *t->data);
  t->value = make_value (t, t->data);
  if ((t->kind != IN && t->kind != FEED) || strcmp (file, "-") == 0)
    return;
  f = fopen (file, "rb");
  if (f == NULL) {
    fprintf (stderr, "ort-bench: cannot read %s\n", file);
    exit (2);
  }
  if (t->kind == FEED) {
    fseek (f, 0, SEEK_END);
    n_blocks = ftell (f) / (t->n * sizeof *t->data);
    rewind (f);
    t->whole = malloc (n_blocks * t->n * sizeof *t->data);
  }
  if (fread (t->whole != NULL ? t->whole : t->data, t->n * sizeof *t->data, n_blocks, f) == 0)
    exit (2);
  fclose (f);
}

static void
copy_to_ring (Move *move)
{
  const Tensor *ring = &tensors[move->input], *new = &tensors[move->output];
  size_t rows = ring->shape[1], n = new->shape[1], d = new->shape[2];

  for (int64_t head = 0; head < ring->shape[0]; head++)
    for (size_t i = 0; i < n; i++)
      memcpy (ring->data + (head * rows + (move->next + i) % rows) * d, new->data + (head * n + i) * d,
              d * sizeof (float));
  move->next = (move->next + n) % rows;
}

static void
swap (Tensor *a, Tensor *b)
{
  void *value = a->value;
  float *data = a->data;

  a->value = b->value;
  a->data = b->data;
  b->value = value;
  b->data = data;
}

static void
run (void *session)
{
  const char *in_names[MAX_TENSORS], *out_names[MAX_TENSORS];
  void *in[MAX_TENSORS], *out[MAX_TENSORS];
  size_t n_in = 0, n_out = 0;

  for (int i = 0; i < n_tensors; i++) {
    Tensor *t = &tensors[i];

    if (t->kind == FEED)
      memcpy (t->data, t->whole + block * t->n, t->n * sizeof *t->data);
    if (t->kind == IN || t->kind == FEED) {
      in_names[n_in] = t->name;
      in[n_in++] = t->value;
    } else {
      out_names[n_out] = t->name;
      out[n_out++] = t->value;
    }
  }
  CALL (RUN, (void *, void *, const char **, void **, size_t, const char **, size_t, void **), session, NULL, in_names,
        in, n_in, out_names, n_out, out);
  for (int i = 0; i < n_moves; i++)
    if (moves[i].is_ring)
      copy_to_ring (&moves[i]);
    else
      swap (&tensors[moves[i].input], &tensors[moves[i].output]);
  block = (block + 1) % n_blocks;
}

static void
write_all (void)
{
  for (int i = 0; i < n_tensors; i++) {
    Tensor *t = &tensors[i];
    FILE *f = (t->kind == OUT || t->kind == KEEP) && strcmp (t->file, "-") != 0 ? fopen (t->file, "wb") : NULL;

    if (f == NULL)
      continue;
    fwrite (t->kind == KEEP ? t->whole : t->data, t->n * sizeof *t->data, t->kind == KEEP ? n_blocks : 1, f);
    fclose (f);
  }
}

static void
first_pass (void *session)
{
  for (int i = 0; i < n_tensors; i++)
    if (tensors[i].kind == KEEP)
      tensors[i].whole = malloc (n_blocks * tensors[i].n * sizeof (float));
  for (size_t b = 0; b < n_blocks; b++) {
    run (session);
    for (int i = 0; i < n_tensors; i++)
      if (tensors[i].kind == KEEP)
        memcpy (tensors[i].whole + b * tensors[i].n, tensors[i].data, tensors[i].n * sizeof (float));
  }
  write_all ();
}

static int
by_size (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

static double
median_time (void *session, double seconds)
{
  enum { most = 1 << 20 };
  double *times = malloc (most * sizeof *times), end = now_us () + seconds * 1e6;
  int n = 0;

  while (n < 15 || (n < most && now_us () < end)) {
    double start = now_us ();

    run (session);
    times[n++] = now_us () - start;
  }
  qsort (times, n, sizeof *times, by_size);
  return times[n / 2];
}

static void *
open_session (const char *library, const char *model)
{
  typedef struct {
    const Function *(*get_api) (uint32_t version);
  } ApiBase;
  void *handle = dlopen (library, RTLD_NOW), *env, *options, *session;
  const ApiBase *(*get_base) (void);

  if (handle == NULL || (*(void **) &get_base = dlsym (handle, "OrtGetApiBase")) == NULL) {
    fprintf (stderr, "ort-bench: cannot load %s: %s\n", library, dlerror ());
    exit (2);
  }
  api = get_base ()->get_api (1);
  CALL (CREATE_ENV, (int, const char *, void **), 3 /* errors */, "bench", &env);
  CALL (CREATE_SESSION_OPTIONS, (void **), &options);
  CALL (SET_INTRA_OP_THREADS, (void *, int), options, 1);
  CALL (SET_INTER_OP_THREADS, (void *, int), options, 1);
  CALL (SET_GRAPH_OPTIMIZATION_LEVEL, (void *, int), options, 99 /* all */);
  CALL (CREATE_SESSION, (void *, const char *, void *, void **), env, model, options, &session);
  CALL (CREATE_CPU_MEMORY_INFO, (int, int, void **), 1 /* arena */, 0 /* default */, &memory_info);
  return session;
}

int
main (int argc, char **argv)
{
  double seconds = 1, frames = 1;
  void *session;

  if (argc < 3 || strcmp (argv[1], "--help") == 0)
    return fputs (usage, stdout), argc < 3 ? 2 : 0;
  session = open_session (argv[1], argv[2]);
  for (int i = 3; i < argc; i++) {
    bool is_move = strcmp (argv[i], "ring") == 0 || strcmp (argv[i], "carry") == 0;
    int n_words = argv[i][0] == '-' ? 1 : is_move ? 2 : 3;

    if (i + n_words >= argc || n_tensors == MAX_TENSORS)
      return fputs (usage, stderr), 2;
    if (strcmp (argv[i], "--seconds") == 0)
      seconds = atof (argv[i + 1]);
    else if (strcmp (argv[i], "--frames") == 0)
      frames = atof (argv[i + 1]);
    else if (is_move)
      moves[n_moves++] = (Move){ argv[i][0] == 'r', tensor_called (argv[i + 1]), tensor_called (argv[i + 2]), 0 };
    else
      add_tensor (argv[i], argv[i + 1], argv[i + 2], argv[i + 3]);
    i += n_words;
  }
  first_pass (session);
  printf ("%.3f us/frame\n", median_time (session, seconds) / frames);
  return 0;
}
