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
#include <time.h>

#include "peaks.h"

static const char usage[] =
    "usage: ort-bench LIBRARY MODEL [TENSOR...] [--seconds S] [--frames N] [--live MS]\n"
    "\n"
    "  in NAME SHAPE FILE     an input, raw float32, such as: in x 1x64 x.f32; FILE - = zeros\n"
    "  out NAME SHAPE FILE    an output, written raw when all is over; FILE - = nowhere\n"
    "  feed NAME SHAPE FILE   an input that moves through a file of frames, block by block, from the first to the "
    "last\n"
    "  keep NAME SHAPE FILE   an output of which all blocks of the first pass over the file are written\n"
    "  carry INPUT OUTPUT     the output becomes the next run's input (their tensors are named before)\n"
    "  ring INPUT OUTPUT      the output [H,N,d] overwrites the oldest rows of the input [H,R,d]\n"
    "  count NAME ROWS        an input of one int32: the rows of all blocks of the caches so far, and ROWS\n"
    "  cache INPUT ROWS       the input [1,H,R,d] is also the output present_INPUT, in place: a run of --frames N\n"
    "                         appends N rows; when it is full, the newest ROWS move to its front\n"
    "\n"
    "Runs over the file once, writes, then prints the median time of a run in microseconds, divided by N.\n"
    "With --live it runs once every MS milliseconds, and prints what share of one core that takes.\n";

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
  enum { IN, OUT, FEED, KEEP, COUNT } kind;
  int64_t shape[4];
  size_t n_dims, n; /* n: elements */
  int offset;       /* COUNT */
  float *data;
  void *value;  /* OrtValue over `data` */
  float *whole; /* FEED: the file; KEEP: what becomes one */
} Tensor;

/* After every run; input and output are numbers of tensors. */
typedef struct {
  enum { CARRY, RING, CACHE } kind;
  int input, output;
  size_t next; /* row of the ring */
  size_t rows; /* that a full cache keeps */
} Move;

static Tensor tensors[MAX_TENSORS];
static Move moves[MAX_TENSORS];
static int n_tensors, n_moves;
static size_t n_blocks = 1, block;    /* of the file */
static size_t n_frames = 1, n_cached; /* of a run; rows in every cache */
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
  const int float32 = 1, int32 = 6;
  void *value;

  CALL (CREATE_TENSOR_WITH_DATA, (void *, void *, size_t, const int64_t *, size_t, int, void **), memory_info, data,
        t->n * sizeof *data, t->shape, t->n_dims, t->kind == COUNT ? int32 : float32, &value);
  return value;
}

static void
add_tensor (const char *kind, const char *name, const char *shape, const char *file)
{
  Tensor *t = &tensors[n_tensors++];
  FILE *f;

  t->kind = kind[0] == 'i' ? IN : kind[0] == 'o' ? OUT : kind[0] == 'f' ? FEED : kind[0] == 'c' ? COUNT : KEEP;
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
add_count (const char *name, const char *rows)
{
  add_tensor ("count", name, "1", "-");
  tensors[n_tensors - 1].offset = atoi (rows);
}

static void
add_cache (const char *name, const char *rows)
{
  static char present[MAX_TENSORS][32];
  int input = tensor_called (name), output = n_tensors++;

  snprintf (present[output], sizeof present[output], "present_%s", name);
  tensors[output] = tensors[input];
  tensors[output].kind = OUT;
  tensors[output].name = present[output];
  moves[n_moves++] = (Move){ .kind = CACHE, .input = input, .rows = atoi (rows) };
}

/* The newest rows of a full cache move to its front. */
static void
rewind_cache (const Move *move)
{
  const Tensor *t = &tensors[move->input];
  size_t row = t->shape[3], room = t->shape[2];

  for (int64_t head = 0; head < t->shape[1]; head++)
    memmove (t->data + head * room * row, t->data + (head * room + n_cached - move->rows) * row,
             move->rows * row * sizeof (float));
}

/* After a run: is there room for the next one? */
static void
advance_caches (void)
{
  size_t rows = 0;

  n_cached += n_frames;
  for (int i = 0; i < n_moves; i++)
    if (moves[i].kind == CACHE && n_cached + n_frames > (size_t) tensors[moves[i].input].shape[2]) {
      rewind_cache (&moves[i]);
      rows = moves[i].rows;
    }
  if (rows > 0)
    n_cached = rows;
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
    if (t->kind == COUNT)
      *(int32_t *) t->data = (int32_t) n_cached + t->offset;
    if (t->kind == IN || t->kind == FEED || t->kind == COUNT) {
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
    if (moves[i].kind == RING)
      copy_to_ring (&moves[i]);
    else if (moves[i].kind == CARRY)
      swap (&tensors[moves[i].input], &tensors[moves[i].output]);
  advance_caches ();
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

static double
cpu_us (void)
{
  struct timespec t;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

/* Percent of a core. */
static double
live_share (void *session, double seconds, double every_us)
{
  double begin = now_us (), busy = cpu_us ();
  size_t n = seconds * 1e6 / every_us + 1;

  for (size_t i = 0; i < n; i++) {
    double wait = begin + i * every_us - now_us ();
    struct timespec t = { (time_t) (wait / 1e6), (long) (wait * 1e3) % 1000000000 };

    if (wait > 0)
      nanosleep (&t, NULL);
    run (session);
  }
  return (cpu_us () - busy) / (n * every_us) * 100;
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
  double seconds = 1, live = 0;
  void *session;

  if (argc < 3 || strcmp (argv[1], "--help") == 0)
    return fputs (usage, stdout), argc < 3 ? 2 : 0;
  session = open_session (argv[1], argv[2]);
  for (int i = 3; i < argc; i++) {
    bool is_ring = strcmp (argv[i], "ring") == 0, is_move = is_ring || strcmp (argv[i], "carry") == 0;
    bool is_count = strcmp (argv[i], "count") == 0, is_cache = strcmp (argv[i], "cache") == 0;
    int n_words = argv[i][0] == '-' ? 1 : is_move || is_count || is_cache ? 2 : 3;

    if (i + n_words >= argc || n_tensors == MAX_TENSORS)
      return fputs (usage, stderr), 2;
    if (strcmp (argv[i], "--seconds") == 0)
      seconds = atof (argv[i + 1]);
    else if (strcmp (argv[i], "--frames") == 0)
      n_frames = atoi (argv[i + 1]);
    else if (strcmp (argv[i], "--live") == 0)
      live = atof (argv[i + 1]);
    else if (is_move)
      moves[n_moves++] =
          (Move){ is_ring ? RING : CARRY, tensor_called (argv[i + 1]), tensor_called (argv[i + 2]), 0, 0 };
    else if (is_count)
      add_count (argv[i + 1], argv[i + 2]);
    else if (is_cache)
      add_cache (argv[i + 1], argv[i + 2]);
    else
      add_tensor (argv[i], argv[i + 1], argv[i + 2], argv[i + 3]);
    i += n_words;
  }
  first_pass (session);
  if (live > 0)
    return printf ("%.2f %% of one core\n", live_share (session, seconds, live * 1e3)), 0;
  printf ("%.3f us/frame\n", median_time (session, seconds) / n_frames);
  return 0;
}
