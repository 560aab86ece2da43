/*
 * The time that a frame takes, beside the least time that it could take: one line per run.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/layers.h"
#include "named-encoders.h"
#include "peaks.h"

#define MIN_ROOM 16 /* outputs, for attn_stream_finish () */

static const char usage[] =
    "usage: attn-bench D H W N [THREADS [PRECISION [ARITHMETIC [ISA]]]] [OPTION...]\n"
    "       attn-bench --encoder FILE N [THREADS [PRECISION [ARITHMETIC [ISA]]]] [OPTION...]\n"
    "       attn-bench --table fast [PRECISION] [--seconds S]\n"
    "\n"
    "Pushes blocks of N frames of D features through attention with H heads over a window of W frames, full, and "
    "prints\n"
    "the median and the 99th percentile of the time per frame in microseconds; the floor, which is the larger of the "
    "time\n"
    "for the arithmetic (8 D^2 + 4 W D flop) at the peak of fused multiply-add and of the time to read parameters and\n"
    "window once per block; and the ratio of median and floor. Peak and bandwidth are measured in the same run.\n"
    "\n"
    "With --encoder it measures a whole encoder: a model file as examples/export_encoder.py writes it, or one of "
    "these,\n"
    "with random parameters, pre-norm and GELU (erf):\n"
    "\n"
    "  E1  6 layers, D 320, 8 heads, 1280 hidden, window 17, look-ahead 4 4 0 0 4 4 (29.6 MB of parameters)\n"
    "  E2  4 layers, D 256, 4 heads, 1024 hidden, window 64 (12.6 MB)\n"
    "  E3  12 layers, D 64, 4 heads, 256 hidden, window 64 (2.4 MB)\n"
    "\n"
    "or one of these, of the size and with the blocks of Nemotron Speech Streaming 0.6B, from 128 log-mel bins (100\n"
    "frames per second) on: 24 layers, D 1024, 8 heads, 4096 hidden, depthwise convolutions of 9 taps, subsampled by "
    "8.\n"
    "Push a chunk at once. With bf16 they need 1.3 GB of memory, and twice as much while they are made:\n"
    "\n"
    "  nemotron-2      chunks of 2 frames of 80 ms: N = 16\n"
    "  nemotron-7      chunks of 7: N = 56\n"
    "  nemotron-small  4 layers, D 256, 1024 hidden, chunks of 7\n"
    "\n"
    "The floor is then 2 flop per parameter, 2 per value of a key or value in sight, and one reading of all of them. "
    "An\n"
    "encoder with a stride uses some parameters less often: no floor is printed.\n"
    "\n"
    "  THREADS     1\n"
    "  PRECISION   f32, f16, bf16\n"
    "  ARITHMETIC  exact, fast\n"
    "  ISA         as ATTN_CPU: avx512, avx2, neon, c (default: the best)\n"
    "\n"
    "--table fast prints how long arithmetic=fast takes over exact, for seven shapes and for pushes of 1 to 64 "
    "frames:\n"
    "below 1, fast is faster. Both take turns, so that other work on the machine slows both.\n"
    "\n"
    "  --encoder FILE   a model file, or a name such as E1 or nemotron-7\n"
    "  --seconds S      measure for S seconds (default 1)\n"
    "  --frames M       measure M frames, each block on its own, and print p50, p99, p99.9 and the worst,\n"
    "                   and the first two blocks of the stream\n"
    "  --streams S      S streams of one layer in turn, whose windows drive each other out of the caches (default 1)\n"
    "  --together       all of them in one call (attn_group_push ()), in turn and together alternately: prints both, "
    "and\n"
    "                   how many times as fast together is (the median of the ratios)\n"
    "  --silence        frames of denormals and zeros\n"
    "  --magnitude X    multiply random frames by X, such as 1e-37 (default 1)\n"
    "  --parameters X   multiply random parameters by X (default 1)\n"
    "  --no-model       without parameters: each head attends to its own slice of the frame\n"
    "  --model FILE     parameters: safetensors, PyTorch's names (default: random)\n"
    "  --input FILE     frames: raw float32 (default: random)\n"
    "  --output FILE    the outputs of one pass over the input, raw float32; nothing is measured\n";

typedef struct {
  unsigned d, h, w, n, threads, n_streams;
  AttnPrecision precision;
  AttnArithmetic arithmetic;
  const char *precision_name, *arithmetic_name, *isa, *encoder, *model, *input, *output, *table;
  double seconds;
  size_t n_frames;
  float magnitude, parameters;
  bool silence, no_model, together;
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

/* The index of the value in the names [NULL behind the last]. */
static int
choice (const char *what, const char *const *names, const char *expected, const char *name)
{
  for (int i = 0; names[i] != NULL; i++)
    if (strcmp (name, names[i]) == 0)
      return i;
  die ("%s is \"%s\", expected %s", what, name, expected);
  return 0;
}

/* The value of an option that needs one. */
static const char *
value_of (char **argv, int *i)
{
  if (argv[*i + 1] == NULL)
    die ("%s needs a value", argv[*i]);
  return argv[++*i];
}

static void
take_precision (Options *o, const char *name)
{
  static const char *const precisions[] = { "f32", "f16", "bf16", NULL };

  o->precision_name = name;
  o->precision = choice ("PRECISION", precisions, "f32, f16 or bf16", name);
}

/* The arguments behind D, H and W (which an encoder's file gives): N, and optional ones. */
static void
take_positional (Options *o, const char *const *positional, int n)
{
  static const char *const arithmetics[] = { "exact", "fast", NULL };
  int n_shape = o->encoder != NULL ? 0 : 3;

  if (n <= n_shape)
    die (o->encoder != NULL ? "N is needed. See --help" : "D, H, W and N are needed. See --help");
  if (n > n_shape + 5)
    die ("what is \"%s\"? See --help", positional[n_shape + 5]);
  if (o->encoder != NULL && (o->model != NULL || o->no_model))
    die ("--encoder has parameters of its own: leave out --model and --no-model");
  if (o->encoder == NULL) {
    o->d = number ("D", positional[0]);
    o->h = number ("H", positional[1]);
    o->w = number ("W", positional[2]);
  }
  positional += n_shape;
  n -= n_shape;
  o->n = number ("N", positional[0]);
  if (n > 1)
    o->threads = number ("THREADS", positional[1]);
  if (n > 2)
    take_precision (o, positional[2]);
  if (n > 3)
    o->arithmetic_name = positional[3];
  o->arithmetic = choice ("ARITHMETIC", arithmetics, "exact or fast", o->arithmetic_name);
  o->isa = n > 4 ? positional[4] : NULL;
}

/* The arguments of --table. */
static void
take_table (Options *o, const char *const *positional, int n)
{
  static const char *const tables[] = { "fast", NULL };

  choice ("--table", tables, "fast", o->table);
  if (n > 1)
    die ("what is \"%s\"? See --help", positional[1]);
  if (n > 0)
    take_precision (o, positional[0]);
}

static Options
parse (char **argv)
{
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
    else if (strcmp (argv[i], "--together") == 0)
      o.together = true;
    else if (strcmp (argv[i], "--silence") == 0)
      o.silence = true;
    else if (strcmp (argv[i], "--magnitude") == 0)
      o.magnitude = strtof (value_of (argv, &i), NULL);
    else if (strcmp (argv[i], "--parameters") == 0)
      o.parameters = strtof (value_of (argv, &i), NULL);
    else if (strcmp (argv[i], "--no-model") == 0)
      o.no_model = true;
    else if (strcmp (argv[i], "--table") == 0)
      o.table = value_of (argv, &i);
    else if (strcmp (argv[i], "--encoder") == 0)
      o.encoder = value_of (argv, &i);
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
  if (o.table == NULL)
    take_positional (&o, positional, n);
  else
    take_table (&o, positional, n);
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
make_encoder (const Options *o)
{
  AttnEncoderOptions options = attn_encoder_options_default ();
  Bytes file = { 0 };
  AttnLayer *layer;
  AttnStatus status;
  AttnError error;

  options.precision = o->precision;
  options.arithmetic = o->arithmetic;
  options.n_threads = o->threads;
  if (named_encoder (o->encoder, &file))
    status = attn_encoder_open_memory (file.bytes, file.size, &options, &layer, &error);
  else
    status = attn_encoder_open (o->encoder, &options, &layer, &error);
  if (status != ATTN_OK)
    die ("%s", error.message);
  free (file.bytes);
  return layer;
}

static AttnLayer *
make_single (const Options *o)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model = NULL;
  AttnLayer *layer;
  AttnError error;

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
  return layer;
}

/* Never frees the encoder: the process ends soon. */
static AttnLayer *
make_layer (Options *o)
{
  AttnLayer *layer;

  if (o->isa != NULL)
    setenv ("ATTN_CPU", o->isa, 1);
  layer = o->encoder != NULL ? make_encoder (o) : make_single (o);
  o->d = attn_layer_n_features (layer);
  return layer;
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
  const AttnLayer *layer;
  AttnStream **streams; /* [o->n_streams] */
  unsigned turn;        /* the next one */
  AttnGroup *group;
  AttnPush *pushes; /* [o->n_streams] */
  const float *frames;
  float *out; /* [o->n_streams][room], of which a push in turn uses the first */
  size_t n_frames, at;
  double first, second; /* blocks of the first stream, in microseconds per frame */
} Feed;

/* The next block of frames. */
static const float *
next_block (Feed *feed)
{
  size_t at = feed->at + feed->o->n > feed->n_frames ? 0 : feed->at;

  feed->at = at + feed->o->n;
  return feed->frames + at * feed->o->d;
}

/* Returns the number of outputs. */
static size_t
push (Feed *feed)
{
  size_t n_out = attn_stream_push (feed->streams[feed->turn], next_block (feed), feed->o->n, feed->out, NULL);

  feed->turn = (feed->turn + 1) % feed->o->n_streams;
  return n_out;
}

/* The values that a block of a stream may give: with chunks, more outputs than it has frames. */
static size_t
room_for_block (const Options *o, const AttnLayer *layer)
{
  return (o->n + attn_layer_reach_ahead (layer) + MIN_ROOM) * attn_layer_n_outputs (layer);
}

/* A block of each stream. */
static void
push_together (Feed *feed)
{
  size_t room = room_for_block (feed->o, feed->layer);

  for (unsigned i = 0; i < feed->o->n_streams; i++)
    feed->pushes[i] = (AttnPush){
      .stream = feed->streams[i], .frames = next_block (feed), .n_frames = feed->o->n, .out = feed->out + i * room
    };
  if (attn_group_push (feed->group, feed->pushes, feed->o->n_streams, NULL) != ATTN_OK)
    die ("the streams cannot be pushed together");
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

/* Prints what is measured, in front of the results. */
static void
print_subject (const Feed *feed)
{
  const Options *o = feed->o;

  if (o->encoder != NULL)
    printf ("%s D=%u blocks=%u parameters=%llu N=%u", o->encoder, o->d, attn_layer_n_blocks (feed->layer),
            (unsigned long long) attn_layer_n_parameters (feed->layer), o->n);
  else
    printf ("D=%u H=%u W=%u N=%u", o->d, o->h, o->w, o->n);
}

/* Times every block on its own, as a real-time user meets it. Reading the clock costs some 25 ns. */
static void
print_tail (Feed *feed)
{
  size_t n = feed->o->n_frames / feed->o->n + 1;
  double *times = malloc (n * sizeof *times);

  sample (feed, times, n, 1);
  print_subject (feed);
  printf (" %s %zu blocks: p50 %.3f p99 %.3f p99.9 %.3f worst %.3f us/frame, first %.3f second %.3f\n",
          attn_layer_kernels (feed->layer), n, times[n / 2], times[n * 99 / 100], times[n * 999 / 1000], times[n - 1],
          feed->first, feed->second);
  free (times);
}

/* Floating-point operations of a frame, and the numbers that one push has to read. */
static void
count_work (const Feed *feed, double *flop, double *numbers)
{
  const Options *o = feed->o;

  *flop = 8.0 * o->d * o->d + 4.0 * o->w * o->d;
  *numbers = 4.0 * o->d * o->d + 2.0 * o->w * o->d;
  if (o->encoder == NULL)
    return;
  *numbers = (double) attn_layer_n_parameters (feed->layer);
  *flop = 2 * *numbers;
  for (uint32_t i = 0; i < attn_layer_n_attentions (feed->layer); i++) {
    const AttnSizes *sizes = &feed->layer->attentions[i]->sizes;

    *flop += 2.0 * sizes->span * sizes->n_heads * (sizes->dk + sizes->dv);
    *numbers += (double) sizes->span * (sizes->n_key + sizes->n_value);
  }
}

static void
print_floor (const Feed *feed, double median)
{
  double flop, numbers, peak = fma_peak (), bytes, bandwidth, arithmetic, reading, floor;

  count_work (feed, &flop, &numbers);
  bytes = numbers * (feed->o->precision == ATTN_PRECISION_F32 ? 4 : 2);
  bandwidth = read_bandwidth ((size_t) bytes);
  arithmetic = flop / peak * 1e6;
  reading = bytes / bandwidth * 1e6 / feed->o->n;
  floor = arithmetic > reading ? arithmetic : reading;
  printf (" floor %.2f (fma %.2f at %.0f GFLOP/s, reading %.2f at %.0f GB/s) x floor %.2f x fma %.2f", floor,
          arithmetic, peak * 1e-9, reading, bandwidth * 1e-9, median / floor, median / arithmetic);
}

static void
print_median (Feed *feed)
{
  const Options *o = feed->o;
  double one = now_us (), *times;
  size_t calls, n;

  for (int i = 0; i < 20; i++)
    push (feed);
  one = (now_us () - one) / 20;
  calls = one > 40 ? 1 : (size_t) (40 / one) + 1;
  n = (size_t) (o->seconds * 1e6 / (one * calls)) + 15;
  times = malloc (n * sizeof *times);
  sample (feed, times, n, calls);
  print_subject (feed);
  printf (" threads=%u streams=%u %s %s %s: %.3f us/frame p99 %.3f", o->threads, o->n_streams, o->precision_name,
          o->arithmetic_name, attn_layer_kernels (feed->layer), times[n / 2], times[n * 99 / 100]);
  if (attn_layer_stride (feed->layer) == 1)
    print_floor (feed, times[n / 2]);
  printf ("\n");
  free (times);
}

/* Pairs of rounds, each a block of every stream. */
static void
print_together (Feed *feed)
{
  const Options *o = feed->o;
  size_t n = 0, room = 1 << 16;
  double *times[3], end = now_us () + o->seconds * 1e6; /* in turn, together, their ratios */

  for (int i = 0; i < 3; i++)
    times[i] = malloc (room * sizeof *times[i]);
  for (; n < room && (n < 15 || now_us () < end); n++) {
    double start = now_us (), middle;

    for (unsigned i = 0; i < o->n_streams; i++)
      push (feed);
    middle = now_us ();
    push_together (feed);
    times[0][n] = (middle - start) / (o->n_streams * o->n);
    times[1][n] = (now_us () - middle) / (o->n_streams * o->n);
    times[2][n] = times[0][n] / times[1][n];
  }
  for (int i = 0; i < 3; i++)
    qsort (times[i], n, sizeof *times[i], by_size);
  print_subject (feed);
  printf (" threads=%u streams=%u %s %s %s: in turn %.2f us/frame, together %.2f, %.2f times as fast\n", o->threads,
          o->n_streams, o->precision_name, o->arithmetic_name, attn_layer_kernels (feed->layer), times[0][n / 2],
          times[1][n / 2], times[2][n / 2]);
  for (int i = 0; i < 3; i++)
    free (times[i]);
}

static void
write_output (Feed *feed)
{
  size_t size = attn_layer_n_outputs (feed->layer) * sizeof *feed->out, n_out;
  FILE *file = fopen (feed->o->output, "wb");

  if (file == NULL)
    die ("cannot write %s", feed->o->output);
  if (feed->o->n_streams > 1)
    die ("--output is for one stream, and not for %u", feed->o->n_streams);
  if (attn_stream_reset (feed->streams[0], 0, NULL) != ATTN_OK)
    die ("cannot reset the stream");
  feed->at = 0;
  for (size_t i = 0; i + feed->o->n <= feed->n_frames; i += feed->o->n)
    fwrite (feed->out, size, push (feed), file);
  while ((n_out = attn_stream_finish (feed->streams[0], feed->out, NULL, NULL, MIN_ROOM)) > 0)
    fwrite (feed->out, size, n_out, file);
  if (fclose (file) != 0)
    die ("cannot write %s", feed->o->output);
}

/* After so many frames the window of every attention is full: they all fill at once, so this is not the sum of them. */
static size_t
count_filling (const AttnLayer *layer)
{
  uint64_t most = 0;

  for (uint32_t i = 0; i < attn_layer_n_attentions (layer); i++) {
    uint64_t n = layer->attentions[i]->sizes.window * attn_layer_attention_stride (layer, i);

    most = n > most ? n : most;
  }
  return most + attn_layer_reach_ahead (layer);
}

static void
warm_up (Feed *feed)
{
  size_t n = count_filling (feed->layer);
  double start = now_us (), second;

  push (feed);
  second = now_us ();
  push (feed);
  feed->first = (second - start) / feed->o->n;
  feed->second = (now_us () - second) / feed->o->n;

  for (size_t i = 0; i < (n / feed->o->n + 65) * feed->o->n_streams; i++)
    push (feed);
}

static Feed
make_feed (Options *o)
{
  Feed feed = { .o = o, .layer = make_layer (o) };
  size_t n_out = o->n_streams * room_for_block (o, feed.layer);
  AttnError error;

  feed.frames = make_frames (o, &feed.n_frames);
  feed.out = malloc (n_out * sizeof *feed.out);
  memset (feed.out, 0, n_out * sizeof *feed.out);
  feed.pushes = malloc (o->n_streams * sizeof *feed.pushes);
  if (feed.n_frames < o->n)
    die ("%zu frames are less than one block of %u", feed.n_frames, o->n);
  feed.streams = malloc (o->n_streams * sizeof *feed.streams);
  for (unsigned i = 0; i < o->n_streams; i++)
    if (attn_stream_new (feed.layer, &feed.streams[i], &error) != ATTN_OK)
      die ("%s", error.message);
  if (attn_group_new (feed.layer, o->n_streams, &feed.group, &error) != ATTN_OK)
    die ("%s", error.message);
  warm_up (&feed);
  return feed;
}

/* ---- --table ---- */

static const struct {
  unsigned d, h, w;
} shapes[] = { { 64, 1, 64 },   { 64, 4, 64 },   { 80, 4, 100 },  { 256, 4, 128 },
               { 256, 8, 256 }, { 512, 8, 512 }, { 512, 8, 1500 } };
static const unsigned pushes[] = { 1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 32, 64 };

#define N_SHAPES (sizeof shapes / sizeof shapes[0])
#define N_PUSHES (sizeof pushes / sizeof pushes[0])

/*
 * The time of `fast` over that of `exact`: each takes the middle one of several stretches, in turn, which start at all
 * places of a tile.
 */
static double
ratio (Feed *fast, Feed *exact, double seconds)
{
  enum { n_stretches = 31 };
  double times[2][n_stretches], end = now_us () + 4000, each;
  size_t calls = 0;

  for (; now_us () < end; calls++)
    push (exact);
  each = seconds * 1e6 / (2 * n_stretches) / 4000;
  calls = (size_t) (calls * each) + 16;
  for (int i = 0; i < n_stretches; i++)
    for (int which = 0; which < 2; which++) {
      double start = now_us ();

      for (size_t call = 0; call < calls; call++)
        push (which == 0 ? fast : exact);
      times[which][i] = now_us () - start;
    }
  qsort (times[0], n_stretches, sizeof times[0][0], by_size);
  qsort (times[1], n_stretches, sizeof times[1][0], by_size);
  return times[0][n_stretches / 2] / times[1][n_stretches / 2];
}

static void
feed_clear (Feed *feed)
{
  for (unsigned i = 0; i < feed->o->n_streams; i++)
    attn_stream_free (feed->streams[i]);
  attn_group_free (feed->group);
  attn_layer_free ((AttnLayer *) feed->layer);
  free ((float *) feed->frames);
  free (feed->out);
  free (feed->streams);
  free (feed->pushes);
}

/* Fast over exact, a row per shape and a column per size of pushes. */
static void
print_fast_table (const Options *options)
{
  Options fast = *options, exact;

  fast.arithmetic = ATTN_ARITHMETIC_FAST;
  printf ("| fast / exact, by frames per push |");
  for (size_t p = 0; p < N_PUSHES; p++)
    printf (" %u |", pushes[p]);
  printf ("\n|---|");
  for (size_t p = 0; p < N_PUSHES; p++)
    printf ("--:|");
  for (size_t s = 0; s < N_SHAPES; s++) {
    fast.d = shapes[s].d, fast.h = shapes[s].h, fast.w = shapes[s].w;
    printf ("\n| %u/%u/%u |", fast.d, fast.h, fast.w);
    for (size_t p = 0; p < N_PUSHES; p++) {
      Feed a, b;

      fast.n = pushes[p];
      exact = fast;
      exact.arithmetic = ATTN_ARITHMETIC_EXACT;
      a = make_feed (&fast);
      b = make_feed (&exact);
      if (s == 0 && p == 0)
        fprintf (stderr, "kernels: %s and %s\n", attn_layer_kernels (a.layer), attn_layer_kernels (b.layer));
      printf (" %.2f |", ratio (&a, &b, options->seconds));
      fflush (stdout);
      feed_clear (&a);
      feed_clear (&b);
    }
  }
  printf ("\n");
}

int
main (int argc, char **argv)
{
  Options o = parse (argv);
  Feed feed;

  if (o.table != NULL) {
    print_fast_table (&o);
    return 0;
  }
  feed = make_feed (&o);
  if (o.output != NULL)
    write_output (&feed);
  else if (o.together)
    print_together (&feed);
  else if (o.n_frames != 0)
    print_tail (&feed);
  else
    print_median (&feed);
  return 0;
}
