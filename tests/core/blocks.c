/*
 * The blocks other than attention: each against its definition in float64, and as a stream: the same bits for any
 * cutting, absent frames by the rules, the right number of outputs after every push, states at any frame.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */
#include <math.h>

#include "base/alloc.h"
#include "blocks/chain.h"
#include "blocks/conv.h"
#include "blocks/framewise.h"
#include "check.h"
#include "random.h"

#define MOST_FRAMES 100
#define MOST_WIDTH 48
#define MOST_OUTPUTS 160 /* values of an output */
#define UNIT 0x1p-24     /* half of a last place of 1 */

static AttnMachine machine;
static double lost_by_unit; /* the most that a matrix unit loses of a product (matrix.h) */

/* ---- a stream through one block ---- */

typedef struct {
  AttnBlock *block;
  AttnChain chain; /* it alone */
  AttnChainState *state;
  void *memory;
  AttnProgress in;
  uint64_t n_out;                            /* outputs so far */
  float out[2 * MOST_FRAMES * MOST_OUTPUTS]; /* [n_out][n_outputs]; absent ones are 0 */
  uint8_t present[2 * MOST_FRAMES];          /* [n_out] */
} Stream;

/* For all streams: one thread, and no group. */
static AttnRequest no_request;
static const AttnWork alone = { .request = &no_request, .max_frames = SIZE_MAX };

static void
stream_open (Stream *stream, AttnBlock *block, uint64_t first)
{
  AttnArena arena = { 0 };

  stream->block = block;
  stream->chain = (AttnChain){ .blocks = &stream->block, .n_blocks = 1, .n_inputs = block->n_inputs };
  attn_chain_plan (&stream->chain, true, &alone, &arena);
  stream->memory = arena.memory = attn_alloc (arena.used);
  /* Nothing may depend on the old contents of the memory. */
  memset (arena.memory, 0xff, arena.used);
  arena.used = 0;
  stream->state = attn_chain_plan (&stream->chain, true, &alone, &arena);
  attn_chain_reset (stream->state, first);
  stream->in = (AttnProgress){ first, first, false };
  stream->n_out = 0;
}

static void
stream_close (Stream *stream)
{
  attn_free (stream->memory);
}

/* Numbers go on without a gap. */
static bool
collect (Stream *stream)
{
  const AttnBlock *block = stream->block;
  size_t width = block->n_outputs;
  AttnRun run;

  do {
    float out[ATTN_LANES * MOST_OUTPUTS];

    run = attn_chain_give (stream->state, out);
    if (run.n > 0 && run.first != stream->in.first / block->stride + stream->n_out)
      return false;
    for (uint64_t i = 0; i < run.n && stream->n_out + i < 2 * MOST_FRAMES; i++) {
      float *to = stream->out + (stream->n_out + i) * width;

      memset (to, 0, width * sizeof *to);
      if (run.present)
        memcpy (to, out + i * width, width * sizeof *to);
      stream->present[stream->n_out + i] = run.present;
    }
    stream->n_out += run.n;
  } while (run.more);
  return true;
}

/* Frames NULL: absent. False: the number of outputs is wrong. */
static bool
stream_push (Stream *stream, const float *frames, uint64_t n)
{
  AttnRun run = { .first = stream->in.next, .n = n, .present = frames != NULL, .values = frames };

  if (n > 0)
    attn_chain_take (stream->state, &run);
  stream->in.next += n;
  return collect (stream)
         && stream->n_out == attn_block_ready (stream->block, stream->in.first, stream->in.next - stream->in.first);
}

static bool
stream_end (Stream *stream)
{
  attn_chain_end (stream->state);
  stream->in.at_end = true;
  return collect (stream) && stream->n_out == attn_block_count (stream->block, stream->in.next - stream->in.first);
}

/* Moves the state, as bytes, into another stream. */
static bool
stream_move (Stream *stream)
{
  size_t size = attn_chain_saved_size (stream->state);
  uint8_t *bytes = malloc (size + 1);
  const uint8_t *at = bytes;
  Stream *other = malloc (sizeof *other);
  AttnProgress progress = stream->in;
  AttnError error;
  bool is_good;

  *other = *stream;
  is_good = attn_chain_save (stream->state, bytes) == bytes + size;
  stream_open (other, stream->block, 0);
  is_good &= attn_chain_check (other->state, &at, bytes + size, &progress, &error) == ATTN_OK && at == bytes + size;
  is_good &= progress.next - progress.first == stream->n_out;
  progress = stream->in;
  at = bytes;
  if (is_good)
    attn_chain_restore (other->state, &at, &progress);
  other->in = stream->in;
  other->n_out = stream->n_out;
  stream_close (stream);
  *stream = *other;
  stream->chain.blocks = &stream->block;
  stream->state->chain = &stream->chain;
  free (other);
  free (bytes);
  return is_good;
}

/* ---- kinds of blocks, random ones ---- */

typedef struct Case Case;

struct Case {
  const char *name;
  AttnBlock *block;
  size_t n_inputs, n_outputs; /* values of a frame */
  float weight[MOST_WIDTH * MOST_WIDTH * 8], bias[MOST_OUTPUTS];
  bool has_weight, has_bias;
  AttnActivation activation;
  bool flag; /* rms, half */
  uint64_t offset;
  AttnConv conv;
  /*
   * Output `i` for the frames [n], x (row, value) being a value of frame `row`; and the sum of its terms' magnitudes.
   */
  double (*expect) (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
                    double *magnitude);
};

static double
activated (AttnActivation activation, double x)
{
  switch (activation) {
  case ATTN_ACTIVATION_RELU:
    return x > 0 ? x : 0;
  case ATTN_ACTIVATION_GELU:
    return x * erfc (-x / sqrt (2)) / 2;
  case ATTN_ACTIVATION_GELU_TANH:
    return x * (1 + tanh (sqrt (2 / acos (-1)) * (x + 0.044715 * x * x * x))) / 2;
  case ATTN_ACTIVATION_SILU:
    return x / (1 + exp (-x));
  case ATTN_ACTIVATION_TANH:
    return tanh (x);
  case ATTN_ACTIVATION_SIGMOID:
    return 1 / (1 + exp (-x));
  default:
    return x;
  }
}

static double
expect_linear (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
               double *magnitude)
{
  double sum = c->has_bias ? c->bias[value] : 0;

  (void) first;
  (void) n;
  *magnitude = fabs (sum);
  for (size_t j = 0; j < c->n_inputs; j++) {
    double term = (double) frames[i * c->n_inputs + j] * c->weight[value * c->n_inputs + j];

    sum += term;
    *magnitude += fabs (term);
  }
  *magnitude *= c->n_inputs; /* a rounding for each term */
  return activated (c->activation, sum);
}

static double
expect_norm (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value, double *magnitude)
{
  const float *x = frames + i * c->n_inputs;
  double m = 0, v = 0, y;

  (void) first;
  (void) n;
  for (size_t j = 0; j < c->n_inputs && !c->flag; j++)
    m += (double) x[j] / c->n_inputs;
  for (size_t j = 0; j < c->n_inputs; j++)
    v += (x[j] - m) * (x[j] - m) / c->n_inputs;
  y = 1 / sqrt (v + 1e-3) * (c->has_weight ? c->weight[value] : 1);
  *magnitude = 40 * (fabs (y) + fabs (x[value] * y)); /* derived in core-frames */
  return (x[value] - m) * y + (c->has_bias ? c->bias[value] : 0);
}

static double
expect_activation (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
                   double *magnitude)
{
  double x = frames[i * c->n_inputs + value];

  (void) first;
  (void) n;
  *magnitude = 4 * fabs (x) + 1;
  return activated (c->activation, x);
}

static double
expect_glu (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value, double *magnitude)
{
  double x = frames[i * c->n_inputs + value], gate = frames[i * c->n_inputs + c->n_outputs + value];

  (void) first;
  (void) n;
  *magnitude = fabs (x) * (6 * fabs (gate) + 2);
  return x * activated (c->activation, gate);
}

static double
expect_affine (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
               double *magnitude)
{
  double x = (double) frames[i * c->n_inputs + value] * c->weight[value], b = c->has_bias ? c->bias[value] : 0;

  (void) first;
  (void) n;
  *magnitude = fabs (x) + fabs (b);
  return x + b;
}

static double
expect_sinusoid (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
                 double *magnitude)
{
  size_t half = c->n_inputs / 2, pair = c->flag ? value % half : value / 2;
  bool is_cosine = c->flag ? value >= half : value % 2;
  long double angle = (first + i + c->offset) * powl (100, -(long double) pair / half);

  (void) n;
  *magnitude = 2 + fabs (frames[i * c->n_inputs + value]);
  return frames[i * c->n_inputs + value] + (double) (is_cosine ? cosl (angle) : sinl (angle));
}

/* Absent frames are 0 in `frames`. */
static double
expect_conv (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value, double *magnitude)
{
  size_t per_group = c->n_inputs / c->conv.groups, group = value / (c->n_outputs / c->conv.groups);
  double sum = c->has_bias ? c->bias[value] : 0;

  (void) first;
  *magnitude = fabs (sum);
  for (size_t j = 0; j < c->conv.kernel; j++)
    for (size_t k = 0; k < per_group; k++) {
      int64_t at = (int64_t) (i * c->conv.stride + j * c->conv.dilation) - (int64_t) c->conv.left;
      double x = at >= 0 && at < n ? frames[(size_t) at * c->n_inputs + group * per_group + k] : 0;
      double term = x * c->weight[(value * per_group + k) * c->conv.kernel + j];

      sum += term;
      *magnitude += fabs (term);
    }
  *magnitude *= 1 + (double) c->conv.kernel * per_group; /* as n_terms () */
  return activated (c->activation, sum);
}

static double
expect_stack (const Case *c, const float *frames, uint64_t first, int64_t n, uint64_t i, size_t value,
              double *magnitude)
{
  (void) first;
  (void) n;
  *magnitude = 0;
  return frames[i * c->n_outputs + value];
}

static AttnActivation
random_activation (void)
{
  return random_between (ATTN_ACTIVATION_NONE, ATTN_ACTIVATION_SIGMOID);
}

/* The weights as a block holds them, for the definition: the block rounded them by itself. */
static void
round_weights (Case *c, AttnPrecision precision)
{
  for (size_t i = 0; i < sizeof c->weight / sizeof c->weight[0]; i++)
    if (precision == ATTN_PRECISION_F16)
      c->weight[i] = attn_float_from_f16 (attn_f16_from_float (c->weight[i]));
    else if (precision == ATTN_PRECISION_BF16)
      c->weight[i] = attn_float_from_bf16 (attn_bf16_from_float (c->weight[i]));
}

static void
make_linear (Case *c)
{
  AttnLinear linear = { c->n_outputs, c->n_inputs, c->weight, c->has_bias ? c->bias : NULL };
  AttnPrecision precision = random_between (0, 2);

  c->expect = expect_linear;
  MUST (attn_linear_block_new (&machine, &linear, c->activation, precision, &c->block, NULL));
  round_weights (c, precision);
}

static void
make_norm (Case *c)
{
  c->n_outputs = c->n_inputs;
  c->expect = expect_norm;
  MUST (attn_norm_new (&machine, c->n_inputs, c->flag, 1e-3, c->has_weight ? c->weight : NULL,
                       c->has_bias ? c->bias : NULL, &c->block, NULL));
}

static void
make_activation (Case *c)
{
  c->n_outputs = c->n_inputs;
  c->expect = expect_activation;
  MUST (attn_activation_new (&machine, c->n_inputs, c->activation, &c->block, NULL));
}

static void
make_glu (Case *c)
{
  c->n_outputs = c->n_inputs;
  c->n_inputs *= 2;
  c->expect = expect_glu;
  MUST (attn_glu_new (&machine, c->n_inputs, c->activation, &c->block, NULL));
}

static void
make_affine (Case *c)
{
  c->n_outputs = c->n_inputs;
  c->expect = expect_affine;
  MUST (attn_affine_new (&machine, c->n_inputs, c->weight, c->has_bias ? c->bias : NULL, &c->block, NULL));
}

static void
make_sinusoid (Case *c)
{
  c->n_inputs = c->n_outputs = 2 * (c->n_inputs / 2 + 1);
  c->offset = random_between (0, 3) * 1000;
  c->expect = expect_sinusoid;
  MUST (attn_sinusoid_new (&machine, c->n_inputs, 100, c->offset, c->flag, &c->block, NULL));
}

static void
make_conv (Case *c)
{
  size_t groups = random_between (1, 4), kernel = random_between (1, 6), dilation = random_between (1, 3);
  size_t span = (kernel - 1) * dilation, stride = random_between (1, 5);

  switch (random_between (0, 2)) {
  case 0:
    groups = c->n_outputs = c->n_inputs;
    break;
  case 1:
    c->n_inputs = groups * random_between (1, 6);
    c->n_outputs = groups * random_between (1, 12);
    break;
  default:
    groups = 1;
  }
  c->conv = (AttnConv){ .n_bins = 1,
                        .bin_kernel = 1,
                        .bin_stride = 1,
                        .n_inputs = c->n_inputs,
                        .n_outputs = c->n_outputs,
                        .kernel = kernel,
                        .groups = groups,
                        .stride = stride,
                        .dilation = dilation,
                        .left = random_between (0, span),
                        .right = random_between (0, span + stride - 1),
                        .weight = c->weight,
                        .bias = c->has_bias ? c->bias : NULL,
                        .activation = c->activation,
                        .precision = random_between (0, 2) };
  c->expect = expect_conv;
  MUST (attn_conv_new (&machine, &c->conv, &c->block, NULL));
  round_weights (c, c->conv.precision);
}

static void
make_stack (Case *c)
{
  uint64_t n = random_between (1, 5);

  c->n_inputs = random_between (1, MOST_OUTPUTS / 5);
  c->n_outputs = c->n_inputs * n;
  c->expect = expect_stack;
  MUST (attn_stack_new (&machine, c->n_inputs, n, &c->block, NULL));
}

static const struct {
  const char *name;
  void (*make) (Case *c);
} kinds[] = {
  { "linear", make_linear }, { "norm", make_norm },     { "activation", make_activation },
  { "glu", make_glu },       { "affine", make_affine }, { "sinusoid", make_sinusoid },
  { "conv", make_conv },     { "stack", make_stack },
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void
random_case (Case *c, size_t kind)
{
  *c = (Case){ .name = kinds[kind].name,
               .n_inputs = random_between (1, MOST_WIDTH / 2),
               .n_outputs = random_between (1, MOST_WIDTH),
               .has_weight = random_between (0, 1),
               .has_bias = random_between (0, 1),
               .activation = random_activation (),
               .flag = random_between (0, 1) };
  random_fill (c->weight, sizeof c->weight / sizeof c->weight[0], 1);
  random_fill (c->bias, MOST_OUTPUTS, 1);
  kinds[kind].make (c);
}

/* ---- frames, some of them absent ---- */

typedef struct {
  size_t n;
  float values[MOST_FRAMES * 2 * MOST_WIDTH]; /* 0 where absent */
  uint8_t present[MOST_FRAMES];
  uint64_t first;
} Frames;

static void
random_frames (Frames *frames, const Case *c, bool with_absent)
{
  bool present = true;

  frames->n = random_between (0, MOST_FRAMES);
  frames->first = c->block->stride * random_between (0, 1000);
  random_fill (frames->values, frames->n * c->n_inputs, 2);
  for (size_t i = 0; i < frames->n; i++) {
    if (with_absent && random_between (0, 4) == 0)
      present = !present;
    frames->present[i] = present;
    if (!present)
      memset (frames->values + i * c->n_inputs, 0, c->n_inputs * sizeof (float));
  }
}

/* How many frames from `i` on, up to `most`, are alike. */
static size_t
alike (const Frames *frames, size_t i, size_t most)
{
  size_t n = 1;

  while (n < most && i + n < frames->n && frames->present[i + n] == frames->present[i])
    n++;
  return n;
}

/*
 * Pushes all frames in pieces of up to `most`; 0: of any size. With `moves`, the stream's state moves to another stream
 * now and then.
 */
static bool
push_all (Stream *stream, const Case *c, const Frames *frames, size_t most, bool moves)
{
  for (size_t i = 0, n; i < frames->n; i += n) {
    n = alike (frames, i, most != 0 ? most : random_between (1, 40));
    if (!stream_push (stream, frames->present[i] ? frames->values + i * c->n_inputs : NULL, n))
      return false;
    if (moves && random_between (0, 2) == 0 && !stream_move (stream))
      return false;
  }
  return stream_end (stream) && (!moves || stream_move (stream));
}

/* By the rules: the output is there if one of the frames that it reads is, or if it reads none. */
static bool
should_be_present (const Case *c, const Frames *frames, uint64_t i)
{
  size_t n = c->expect == expect_conv ? c->conv.kernel : c->block->stride, n_there = 0;

  for (size_t j = 0; j < n; j++) {
    int64_t at = c->expect == expect_conv
                     ? (int64_t) (i * c->conv.stride + j * c->conv.dilation) - (int64_t) c->conv.left
                     : (int64_t) (i * n + j);

    if (at < 0 || at >= (int64_t) frames->n)
      continue;
    n_there++;
    if (frames->present[at])
      return true;
  }
  return n_there == 0;
}

/* The number of roundings in a linear layer or a convolution, one for each product. */
static double
n_terms (const Case *c)
{
  return c->expect == expect_conv ? 1 + (double) c->conv.kernel * c->n_inputs / c->conv.groups : (double) c->n_inputs;
}

static void
check_against_definition (const Case *c, const Frames *frames, const Stream *stream)
{
  for (uint64_t i = 0; i < stream->n_out; i++) {
    bool present = should_be_present (c, frames, i);

    CHECK_MSG (stream->present[i] == present, "%s, output %d of %d", c->name, (int) i, (int) stream->n_out);
    for (size_t j = 0; j < c->n_outputs && present; j++) {
      double magnitude, expected = c->expect (c, frames->values, frames->first, frames->n, i, j, &magnitude);
      float got = stream->out[i * c->n_outputs + j];

      /* Two more roundings, and the activation's error; no activation is steeper than 1.13. */
      CHECK_MSG (
          fabs (got - expected) <= 1.13 * magnitude * (UNIT + lost_by_unit / n_terms (c)) + 6 * fabs (expected) * UNIT,
          "%s, activation %d, value %zu of output %d: %g, not %g", c->name, c->activation, j, (int) i, got, expected);
    }
  }
}

static void
check_block (const Case *c, bool with_absent)
{
  static const size_t cuttings[] = { 1, 3, 7, 17, 0 };
  static Frames frames;
  static Stream whole, cut;

  random_frames (&frames, c, with_absent);
  stream_open (&whole, c->block, frames.first);
  if (!push_all (&whole, c, &frames, MOST_FRAMES, false))
    check_failed = true;
  stream_close (&whole);
  CHECK_MSG (!check_failed, "%s: %zu frames give %d outputs", c->name, frames.n, (int) whole.n_out);
  check_against_definition (c, &frames, &whole);
  for (size_t i = 0; i < sizeof cuttings / sizeof cuttings[0] && !check_failed; i++) {
    bool moves = random_between (0, 1), is_good;

    stream_open (&cut, c->block, frames.first);
    memset (cut.out, 0, sizeof cut.out);
    is_good = push_all (&cut, c, &frames, cuttings[i], moves);
    stream_close (&cut);
    CHECK_MSG (is_good, "%s: in pieces of %zu, %smoving", c->name, cuttings[i], moves ? "" : "not ");
    CHECK_MSG (memcmp (cut.out, whole.out, whole.n_out * c->n_outputs * sizeof (float)) == 0
                   && memcmp (cut.present, whole.present, whole.n_out) == 0,
               "%s: in pieces of %zu, %smoving", c->name, cuttings[i], moves ? "" : "not ");
  }
}

static void
check_kinds (bool with_absent)
{
  static Case c;

  for (int round = 0; round < random_rounds (150); round++)
    for (size_t kind = 0; kind < N_KINDS && !check_failed; kind++) {
      random_case (&c, kind);
      check_block (&c, with_absent);
      c.block->kind->free (c.block);
    }
}

TEST (blocks_are_their_definition_for_any_cutting)
{
  check_kinds (false);
}

TEST (absent_frames_go_by_the_rules)
{
  check_kinds (true);
}

/* 40 absent frames, seven that are there, and all others up to 10^12 are absent. */
static void
check_presence (const Case *c, const Stream *stream)
{
  static Frames frames = { .n = MOST_FRAMES };

  for (size_t i = 40; i < 47; i++)
    frames.present[i] = true;
  for (uint64_t i = 0; i * c->block->stride + c->block->reach_ahead < MOST_FRAMES; i++)
    CHECK_MSG (stream->present[i] == should_be_present (c, &frames, i), "%s: output %d", c->name, (int) i);
}

/* The outputs of a stream for frames, compared at the end with a stream that begins with them. */
static void
check_end (const Case *c, Stream *stream, const float *frames, size_t n)
{
  static Stream fresh;
  uint64_t n_before = stream->n_out;

  /* Its outputs are written from the front again; the numbers go on. */
  stream->in.first += n_before * c->block->stride;
  stream->n_out = 0;
  stream_open (&fresh, c->block, stream->in.next / c->block->stride * c->block->stride);
  {
    AttnRun run = { .first = stream->in.next, .n = n, .present = true, .values = frames };

    attn_chain_take (stream->state, &run);
    CHECK_MSG (collect (stream) && stream_push (&fresh, frames, n), "%s", c->name);
  }
  CHECK_MSG (stream->n_out >= fresh.n_out, "%s: %d outputs", c->name, (int) stream->n_out);
  for (size_t i = 1; i <= fresh.n_out; i++)
    if ((fresh.n_out - i) * c->block->stride >= c->block->reach_back)
      CHECK_MSG (memcmp (fresh.out + (fresh.n_out - i) * c->n_outputs, stream->out + (stream->n_out - i) * c->n_outputs,
                         c->n_outputs * sizeof (float))
                     == 0,
                 "%s: output %zu from the end", c->name, i);
  stream_close (&fresh);
}

TEST (many_absent_frames_pass_at_once)
{
  static Case c;
  static Stream stream;
  float frames[40 * 2 * MOST_WIDTH];

  for (int round = 0; round < random_rounds (30); round++)
    for (size_t kind = 0; kind < N_KINDS && !check_failed; kind++) {
      uint64_t n_far = UINT64_C (1000000000000);

      random_case (&c, kind);
      random_fill (frames, 40 * c.n_inputs, 1);
      n_far -= (n_far + 47) % c.block->stride; /* so that the next frame begins an output */
      stream_open (&stream, c.block, 0);
      CHECK_MSG (stream_push (&stream, NULL, 40) && stream_push (&stream, frames, 7), "%s", c.name);
      CHECK_MSG (stream_push (&stream, NULL, n_far), "%s", c.name);
      check_presence (&c, &stream);
      if (!check_failed)
        check_end (&c, &stream, frames, 40);
      stream_close (&stream);
      c.block->kind->free (c.block);
    }
}

/* The guard that keeps denormals out of the sums (kernels.h) leaves no trace. */
TEST (zeros_without_a_bias_give_zeros)
{
  static Case c;
  static Frames frames;
  static Stream stream;
  static const size_t with_weights[] = { 0, 1, 4, 6 };

  for (int round = 0; round < random_rounds (100); round++) {
    random_case (&c, with_weights[round % 4]);
    c.block->kind->free (c.block);
    c.has_bias = false;
    c.activation = ATTN_ACTIVATION_NONE;
    kinds[with_weights[round % 4]].make (&c);
    random_frames (&frames, &c, false);
    memset (frames.values, 0, sizeof frames.values);
    stream_open (&stream, c.block, frames.first);
    push_all (&stream, &c, &frames, 0, false);
    for (size_t i = 0; i < stream.n_out * c.n_outputs; i++)
      CHECK_MSG (stream.out[i] == 0 && !signbit (stream.out[i]), "%s: %g", c.name, stream.out[i]);
    stream_close (&stream);
    c.block->kind->free (c.block);
  }
}

/* Bits may only change within the reach, and must change at its ends. */
TEST (a_convolution_reaches_as_far_as_it_says)
{
  static Case c;
  static Frames frames;
  static Stream before, after;

  for (int round = 0; round < random_rounds (300); round++) {
    size_t at;

    random_case (&c, 6);
    c.activation = ATTN_ACTIVATION_NONE;
    c.block->kind->free (c.block);
    c.conv.activation = ATTN_ACTIVATION_NONE;
    MUST (attn_conv_new (&machine, &c.conv, &c.block, NULL));
    do
      random_frames (&frames, &c, false);
    while (frames.n < 2);
    stream_open (&before, c.block, frames.first);
    push_all (&before, &c, &frames, 0, false);
    at = random_between (0, frames.n - 1);
    for (size_t i = 0; i < c.n_inputs; i++)
      frames.values[at * c.n_inputs + i] += 1;
    stream_open (&after, c.block, frames.first);
    push_all (&after, &c, &frames, 0, false);
    for (int64_t i = 0; i < (int64_t) before.n_out; i++) {
      int64_t middle = i * (int64_t) c.conv.stride, oldest = middle - (int64_t) c.block->reach_back;
      int64_t newest = middle + (int64_t) c.block->reach_ahead;
      bool same = memcmp (before.out + i * c.n_outputs, after.out + i * c.n_outputs, c.n_outputs * sizeof (float)) == 0;

      if ((int64_t) at < oldest || (int64_t) at > newest)
        CHECK_MSG (same, "output %d, frame %zu", (int) i, at);
      if ((int64_t) at == oldest || (int64_t) at == newest)
        CHECK_MSG (!same, "output %d, frame %zu", (int) i, at);
    }
    stream_close (&before);
    stream_close (&after);
    c.block->kind->free (c.block);
  }
}

/* Whole linear layers and convolutions: each product loses 3 u^2 and a little more, u = 2^-8 (matrix.h). */
TEST (a_matrix_unit_comes_as_close_as_it_says)
{
  static const size_t by_unit[] = { 0, 6 };
  static Case c;
  static Frames frames;
  static Stream stream;

  setenv ("ATTN_MATRIX", "c", 1);
  MUST (attn_machine_pick (&machine, ATTN_ARITHMETIC_FAST, NULL));
  lost_by_unit = 3 * 0x1p-16 * (1 + 0x1p-8);
  for (int round = 0; round < random_rounds (60) && !check_failed; round++) {
    random_case (&c, by_unit[round % 2]);
    random_frames (&frames, &c, false);
    stream_open (&stream, c.block, frames.first);
    push_all (&stream, &c, &frames, MOST_FRAMES, false);
    check_against_definition (&c, &frames, &stream);
    stream_close (&stream);
    c.block->kind->free (c.block);
  }
  lost_by_unit = 0;
  unsetenv ("ATTN_MATRIX");
  MUST (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, NULL));
}

/* The error for the section of another block, or for a damaged one. */
TEST (sections_that_do_not_fit_are_refused)
{
  static Case c;
  static Stream stream;
  uint8_t bytes[64] = { 0xff };
  AttnError error;

  for (size_t kind = 0; kind < N_KINDS; kind++) {
    AttnProgress progress = { 0, 3, false };

    random_case (&c, kind);
    stream_open (&stream, c.block, 0);
    CHECK_MSG (c.block->kind->check (stream.state->links[0].state, bytes, 63, &progress, &error) == ATTN_ERROR_STATE
                   && strstr (error.message, "63") != NULL,
               "%s", c.name);
    stream_close (&stream);
    c.block->kind->free (c.block);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  MUST (attn_machine_pick (&machine, ATTN_ARITHMETIC_EXACT, NULL));
  RUN (blocks_are_their_definition_for_any_cutting);
  RUN (absent_frames_go_by_the_rules);
  RUN (many_absent_frames_pass_at_once);
  RUN (zeros_without_a_bias_give_zeros);
  RUN (a_convolution_reaches_as_far_as_it_says);
  RUN (a_matrix_unit_comes_as_close_as_it_says);
  RUN (sections_that_do_not_fit_are_refused);
  return check_done ();
}
