/*
 * How long a frame takes, and how long it would have to take: one line per run.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/layers.h"
#include "peaks.h"

static const char usage[] =
    "usage: attn-bench D H W N [THREADS [PRECISION [ARITHMETIC [ISA]]]] [OPTION...]\n"
    "\n"
    "Pushes blocks of N frames of D features through attention with H heads over a window of W frames, full, and "
    "prints\n"
    "the median and the 99th percentile of the time per frame in microseconds; the floor, which is the larger of the "
    "time\n"
    "for the arithmetic (8 D^2 + 4 W D flop) at the peak of fused multiply-add and of the time to read parameters and\n"
    "window once per block; and the ratio of median and floor. Peak and bandwidth are measured in the same run.\n"
    "\n"
    "  THREADS     1\n"
    "  PRECISION   f32, f16, bf16\n"
    "  ARITHMETIC  exact, fast\n"
    "  ISA         as ATTN_CPU: avx512, avx2, neon, c (default: the best)\n"
    "\n"
    "  --seconds S      measure for S seconds (default 1)\n"
    "  --frames M       measure M frames, each block on its own, and print p50, p99, p99.9 and the worst\n"
    "  --streams S      S streams of one layer in turn, whose windows drive each other out of the caches (default 1)\n"
    "  --silence        frames of denormals and zeros\n"
    "  --magnitude X    multiply random frames by X, such as 1e-37 (default 1)\n"
    "  --parameters X   multiply random parameters by X (default 1)\n"
    "  --no-model       without parameters: each head attends to its own slice of the frame\n"
    "  --model FILE     parameters: safetensors, PyTorch's names (default: random)\n"
    "  --input FILE     frames: raw float32 (default: random)\n"
    "  --output FILE    what comes out for one pass over the input, raw float32; nothing is measured\n";

typedef struct {
  unsigned d, h, w, n, threads, n_streams;
  AttnPrecision precision;
  AttnArithmetic arithmetic;
  const char *precision_name, *arithmetic_name, *isa, *model, *input, *output;
  double seconds;
  size_t n_frames;
  float magnitude, parameters;
  bool silence, no_model;
} Options;

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fputs ("attn-bench: ", stderr);
  vfprintf (stderr, format, args);
  fputs ("\n", stderr);
  va_end (args);
  exit (2);
}

static unsigned
number (const char *name, const char *text)
{
  char *end;
  unsigned long value = strtoul (text, &end, 10);

  if (end == text || *end != '\0' || value < 1 || value > 1u << 24)
    die ("%s is \"%s\", expected a number from 1 to %u", name, text, 1u << 24);
  return (unsigned) value;
}

/* Which of the names [NULL behind the last] it is. */
static int
choice (const char *what, const char *const *names, const char *expected, const char *name)
{
  for (int i = 0; names[i] != NULL; i++)
    if (strcmp (name, names[i]) == 0)
      return i;
  die ("%s is \"%s\", expected %s", what, name, expected);
  return 0;
}

/* The value of an option that takes one. */
static const char *
value_of (char **argv, int *i)
{
  if (argv[*i + 1] == NULL)
    die ("%s needs a value", argv[*i]);
  return argv[++*i];
}

static Options
parse (char **argv)
{
  static const char *const precisions[] = { "f32", "f16", "bf16", NULL }, *const arithmetics[] = { "exact", "fast",
                                                                                                   NULL };
  Options o = { .threads = 1,
                .n_streams = 1,
                .precision_name = "f32",
                .arithmetic_name = "exact",
                .seconds = 1,
                .magnitude = 1,
                .parameters = 1 };
  const char *positional[8] = { 0 };
  int n = 0;

  for (int i = 1; argv[i] != NULL; i++) {
    if (strcmp (argv[i], "--help") == 0 || strcmp (argv[i], "-h") == 0)
      exit (fputs (usage, stdout) == EOF);
    else if (strcmp (argv[i], "--seconds") == 0)
      o.seconds = atof (value_of (argv, &i));
    else if (strcmp (argv[i], "--frames") == 0)
      o.n_frames = number ("--frames", value_of (argv, &i));
    else if (strcmp (argv[i], "--streams") == 0)
      o.n_streams = number ("--streams", value_of (argv, &i));
    else if (strcmp (argv[i], "--silence") == 0)
      o.silence = true;
    else if (strcmp (argv[i], "--magnitude") == 0)
      o.magnitude = strtof (value_of (argv, &i), NULL);
    else if (strcmp (argv[i], "--parameters") == 0)
      o.parameters = strtof (value_of (argv, &i), NULL);
    else if (strcmp (argv[i], "--no-model") == 0)
      o.no_model = true;
    else if (strcmp (argv[i], "--model") == 0)
      o.model = value_of (argv, &i);
    else if (strcmp (argv[i], "--input") == 0)
      o.input = value_of (argv, &i);
    else if (strcmp (argv[i], "--output") == 0)
      o.output = value_of (argv, &i);
    else if (n < 8 && argv[i][0] != '-')
      positional[n++] = argv[i];
    else
      die ("what is \"%s\"? See --help", argv[i]);
  }
  if (n < 4)
    die ("D, H, W and N are needed. See --help");
  o.d = number ("D", positional[0]);
  o.h = number ("H", positional[1]);
  o.w = number ("W", positional[2]);
  o.n = number ("N", positional[3]);
  if (n > 4)
    o.threads = number ("THREADS", positional[4]);
  if (n > 5)
    o.precision_name = positional[5];
  o.precision = choice ("PRECISION", precisions, "f32, f16 or bf16", o.precision_name);
  if (n > 6)
    o.arithmetic_name = positional[6];
  o.arithmetic = choice ("ARITHMETIC", arithmetics, "exact or fast", o.arithmetic_name);
  o.isa = n > 7 ? positional[7] : NULL;
  return o;
}

/* As nn.MultiheadAttention is initialised, roughly. */
static AttnModel *
random_model (unsigned d, float magnitude)
{
  AttnModel *model = calloc (1, sizeof *model);

  model->query = random_linear (d, d, true, magnitude);
  model->key = random_linear (d, d, true, magnitude);
  model->value = random_linear (d, d, true, magnitude);
  model->output = random_linear (d, d, true, magnitude);
  return model;
}

static AttnLayer *
make_layer (const Options *o)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model = NULL;
  AttnLayer *layer;
  AttnError error;

  if (o->isa != NULL)
    setenv ("ATTN_CPU", o->isa, 1);
  if (o->model == NULL && !o->no_model)
    model = random_model (o->d, o->parameters);
  else if (o->model != NULL && attn_model_open (o->model, NULL, &model, &error) != ATTN_OK)
    die ("%s", error.message);
  config.n_features = o->d;
  config.n_heads = o->h;
  config.window = o->w;
  config.precision = o->precision;
  config.arithmetic = o->arithmetic;
  config.n_threads = o->threads;
  if (attn_layer_new (&config, model, &layer, &error) != ATTN_OK)
    die ("%s", error.message);
  return layer; /* the process ends soon */
}

static float *
make_frames (const Options *o, size_t *n)
{
  FILE *file = o->input != NULL ? fopen (o->input, "rb") : NULL;
  float *frames;

  if (o->input != NULL && file == NULL)
    die ("cannot read %s", o->input);
  *n = 4096;
  if (file != NULL) {
    fseek (file, 0, SEEK_END);
    *n = ftell (file) / (o->d * sizeof *frames);
    rewind (file);
  }
  frames = malloc (*n * o->d * sizeof *frames);
  if (file == NULL)
    random_fill (frames, *n * o->d, 1.7f * o->magnitude);
  else if (fread (frames, o->d * sizeof *frames, *n, file) != *n)
    die ("cannot read %s", o->input);
  for (size_t i = 0; i < *n * o->d && o->silence; i++)
    frames[i] = i % 3 == 0 ? 0 : 1e-40f;
  return frames;
}

static int
by_size (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* Streams that are fed the same frames again and again, in blocks of n. */
typedef struct {
  const Options *o;
  AttnStream **streams; /* [o->n_streams] */
  unsigned turn;        /* the next one */
  const char *kernels;
  const float *frames;
  float *out;
  size_t n_frames, at;
} Feed;

static void
push (Feed *feed)
{
  if (feed->at + feed->o->n > feed->n_frames)
    feed->at = 0;
  attn_stream_push (feed->streams[feed->turn], feed->frames + feed->at * feed->o->d, feed->o->n, feed->out, NULL);
  feed->turn = (feed->turn + 1) % feed->o->n_streams;
  feed->at += feed->o->n;
}

/* Times [n], in microseconds per frame, of `calls` blocks each. Sorted. */
static void
sample (Feed *feed, double *times, size_t n, size_t calls)
{
  for (size_t i = 0; i < n; i++) {
    double start = now_us ();

    for (size_t call = 0; call < calls; call++)
      push (feed);
    times[i] = (now_us () - start) / (calls * feed->o->n);
  }
  qsort (times, n, sizeof *times, by_size);
}

/* Every block on its own: what a real-time user meets. A look at the clock costs some 25 ns. */
static void
print_tail (Feed *feed)
{
  size_t n = feed->o->n_frames / feed->o->n + 1;
  double *times = malloc (n * sizeof *times);

  sample (feed, times, n, 1);
  printf ("D=%u H=%u W=%u N=%u %s %zu blocks: p50 %.3f p99 %.3f p99.9 %.3f worst %.3f us/frame\n", feed->o->d,
          feed->o->h, feed->o->w, feed->o->n, feed->kernels, n, times[n / 2], times[n * 99 / 100],
          times[n * 999 / 1000], times[n - 1]);
  free (times);
}

static void
print_median (Feed *feed)
{
  const Options *o = feed->o;
  double flop = 8.0 * o->d * o->d + 4.0 * o->w * o->d, one, *times;
  double bytes = (4.0 * o->d * o->d + 2.0 * o->w * o->d) * (o->precision == ATTN_PRECISION_F32 ? 4 : 2);
  double peak = fma_peak (), bandwidth = read_bandwidth ((size_t) bytes);
  double arithmetic = flop / peak * 1e6, reading = bytes / bandwidth * 1e6 / o->n;
  double floor = arithmetic > reading ? arithmetic : reading;
  size_t calls, n;

  one = now_us ();
  for (int i = 0; i < 20; i++)
    push (feed);
  one = (now_us () - one) / 20;
  calls = one > 40 ? 1 : (size_t) (40 / one) + 1;
  n = (size_t) (o->seconds * 1e6 / (one * calls)) + 15;
  times = malloc (n * sizeof *times);
  sample (feed, times, n, calls);
  printf ("D=%u H=%u W=%u N=%u threads=%u streams=%u %s %s %s: %.2f us/frame p99 %.2f floor %.2f (fma %.2f at %.0f "
          "GFLOP/s, "
          "reading %.2f at %.0f GB/s) x floor %.2f x fma %.2f\n",
          o->d, o->h, o->w, o->n, o->threads, o->n_streams, o->precision_name, o->arithmetic_name, feed->kernels,
          times[n / 2], times[n * 99 / 100], floor, arithmetic, peak * 1e-9, reading, bandwidth * 1e-9,
          times[n / 2] / floor, times[n / 2] / arithmetic);
  free (times);
}

static void
write_output (Feed *feed)
{
  FILE *file = fopen (feed->o->output, "wb");

  if (file == NULL)
    die ("cannot write %s", feed->o->output);
  if (feed->o->n_streams > 1)
    die ("--output is for one stream, and not for %u", feed->o->n_streams);
  if (attn_stream_reset (feed->streams[0], 0, NULL) != ATTN_OK)
    die ("cannot reset the stream");
  feed->at = 0;
  for (size_t i = 0; i + feed->o->n <= feed->n_frames; i += feed->o->n) {
    push (feed);
    fwrite (feed->out, feed->o->d * sizeof *feed->out, feed->o->n, file);
  }
  if (fclose (file) != 0)
    die ("cannot write %s", feed->o->output);
}

int
main (int argc, char **argv)
{
  Options o = parse (argv);
  AttnLayer *layer = make_layer (&o);
  Feed feed = { .o = &o, .kernels = attn_layer_kernels (layer) };
  AttnError error;

  feed.frames = make_frames (&o, &feed.n_frames);
  feed.out = malloc ((size_t) o.n * o.d * sizeof *feed.out);
  if (feed.n_frames < o.n)
    die ("%zu frames are less than one block of %u", feed.n_frames, o.n);
  feed.streams = malloc (o.n_streams * sizeof *feed.streams);
  for (unsigned i = 0; i < o.n_streams; i++)
    if (attn_stream_new (layer, &feed.streams[i], &error) != ATTN_OK)
      die ("%s", error.message);
  for (size_t i = 0; i < (o.w / o.n + 64) * (size_t) o.n_streams; i++)
    push (&feed);
  if (o.output != NULL)
    write_output (&feed);
  else if (o.n_frames != 0)
    print_tail (&feed);
  else
    print_median (&feed);
  return 0;
}
