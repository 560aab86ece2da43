/*
 * The contract of every encoder, whatever its blocks: a stream equals the whole sequence to the bit, outputs come when
 * the law says, absent frames follow its rules, an input reaches exactly the outputs that read it, and a saved stream
 * goes on elsewhere. The law stands in encoder-law.h, derived from the definitions.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   core-encoder-contract --restore FILE: the test of a new process starts this (see continue_in_new_process ()).
 */
#define _POSIX_C_SOURCE 200809L /* mkstemp (), setenv () */

#include <unistd.h>

#include "check.h"
#include "encoder-stories.h"
#include "processes.h"

#define N_KIND random_rounds (60)      /* encoders of each kind of block */
#define N_RANDOM random_rounds (2000)  /* encoders per property */
#define N_PROCESSES random_rounds (60) /* encoders */
#define N_WATCHED 4                    /* inputs whose reach is measured */
/*
 * Values against the definitions in double, of the largest output: a wrong frame, tap or sign changes a digit, but the
 * rounding of a dozen blocks does not, even if some norms magnify it a thousand times. The tests against PyTorch check
 * how exact the values are (encoder-golden.c).
 */
#define STRUCTURE 0x1p-8

/* ---- playing ---- */

/* The outputs of a stream so far, in a buffer that holds all possible outputs and one value more. */
typedef struct {
  size_t n;
  float *out;
} Outputs;

static Outputs
outputs_new (const Story *s)
{
  return (Outputs){ 0, new_values (s->n_out * s->encoder.n_out) };
}

/* Plays frames `begin` to before `end`, all present or all absent, and appends the outputs. */
static void
feed (AttnStream *stream, const Story *s, size_t begin, size_t end, Outputs *o)
{
  float *out = o->out + o->n * s->encoder.n_out;

  if (s->present[begin])
    o->n += attn_stream_push (stream, s->frames + begin * s->encoder.n_in, end - begin, out, NULL);
  else
    o->n += attn_stream_skip (stream, end - begin, out, NULL);
}

/* Plays frames `begin` to before `end` in pieces of `sizes`, in turn (n_sizes 0: random). False: the law is broken. */
static bool
play (AttnStream *stream, const Story *s, size_t begin, size_t end, const size_t *sizes, size_t n_sizes, Outputs *o)
{
  uint64_t before = law_ready (&s->law, begin) - o->n;

  for (size_t piece = 0, stop; begin < end; begin = stop) {
    size_t longest = n_sizes != 0 ? sizes[piece++ % n_sizes] : random_between (1, 40);

    stop = end_of_piece (s, begin, end, longest);
    feed (stream, s, begin, stop, o);
    if (before + o->n != law_ready (&s->law, stop)
        || !is_untouched (o->out + o->n * s->encoder.n_out, (s->n_out - before - o->n) * s->encoder.n_out + 1)) {
      printf ("# %llu outputs after %zu frames, %llu by the law\n", (unsigned long long) (before + o->n), stop,
              (unsigned long long) law_ready (&s->law, stop));
      return false;
    }
  }
  return true;
}

/* `before` outputs came from another stream. */
static bool
play_to_the_end (AttnStream *stream, const Story *s, size_t begin, const size_t *sizes, size_t n_sizes, Outputs *o)
{
  uint64_t before = law_ready (&s->law, begin) - o->n;

  if (!play (stream, s, begin, s->n, sizes, n_sizes, o))
    return false;
  o->n += attn_stream_drain (stream, o->out + o->n * s->encoder.n_out, NULL);
  if (before + o->n != s->n_out || !is_untouched (o->out + o->n * s->encoder.n_out, 1)) {
    printf ("# %llu outputs at the end, %zu by the law\n", (unsigned long long) (before + o->n), s->n_out);
    return false;
  }
  return true;
}

/* ---- the law ---- */

/* The whole stream by the definitions. Bit k of an output is set where input watched[k] reaches it. */
static Signal
signal_by_law (const Story *s, const size_t *watched, size_t n_watched)
{
  Signal in = signal_new (s->n, s->encoder.n_in, s->first), out;

  for (size_t t = 0; t < s->n; t++) {
    in.present[t] = s->present[t];
    for (size_t i = 0; i < s->encoder.n_in && s->present[t]; i++)
      signal_row (&in, t)[i] = s->frames[t * s->encoder.n_in + i];
    for (size_t k = 0; k < n_watched && s->present[t]; k++)
      in.touched[t] |= (uint64_t) (watched[k] == t) << k;
  }
  out = chain_signal (&s->encoder.chain, &in);
  signal_clear (&in);
  return out;
}

/*
 * The values of a late stream are not compared, because its angles are beyond the precision of double; nor are those of
 * parameters in 16 bits.
 */
static bool
values_by_law (const Story *s, const Signal *law)
{
  size_t n = law->n * law->width;
  bool has_values = s->first < 1000000 && s->precision == ATTN_PRECISION_F32;
  double largest = 1e-3;

  for (size_t i = 0; i < n; i++)
    largest = fmax (largest, fabs (law->values[i]));
  for (size_t i = 0; i < n; i++) {
    bool present = law->present[i / law->width];
    uint32_t bits;

    memcpy (&bits, &s->expected[i], sizeof bits);
    if (!present ? bits != 0 : has_values && !(fabs (s->expected[i] - law->values[i]) <= STRUCTURE * largest)) {
      printf ("# output %zu, value %zu: %g, %g by the law%s\n", i / law->width, i % law->width, s->expected[i],
              law->values[i], present ? "" : ", as an absent frame");
      return false;
    }
  }
  return true;
}

/* Compares the layer's numbers, and the whole sequence, with the law. */
static bool
forward_keeps_the_law (const Story *s)
{
  Signal law = signal_by_law (s, NULL, 0);
  Law from_0 = s->law;
  bool kept = attn_layer_stride (s->layer) == s->law.stride && attn_layer_reach_back (s->layer) == s->law.back
              && attn_layer_reach_ahead (s->layer) == s->law.ahead && attn_layer_count (s->layer, s->n) == law.n;

  from_0.first = 0;
  kept = kept && attn_layer_ready (s->layer, s->n) == law_ready (&from_0, s->n);
  if (!kept)
    printf ("# stride %llu, reach %llu and %llu, %zu outputs: the law has %llu, %llu and %llu, %zu\n",
            (unsigned long long) attn_layer_stride (s->layer), (unsigned long long) attn_layer_reach_back (s->layer),
            (unsigned long long) attn_layer_reach_ahead (s->layer), s->n_out, (unsigned long long) s->law.stride,
            (unsigned long long) s->law.back, (unsigned long long) s->law.ahead, law.n);
  kept = kept && is_untouched (s->expected + s->n_out * s->encoder.n_out, 1) && values_by_law (s, &law);
  signal_clear (&law);
  return kept;
}

static bool
stream_equals_forward (const Story *s)
{
  static const size_t ones[] = { 1 }, uneven[] = { 3, 1, 7 }, primes[] = { 2, 17, 5, 31, 3, 13 }, all[] = { SIZE_MAX };
  static const struct {
    const size_t *sizes;
    size_t n;
  } cuttings[] = { { ones, 1 }, { uneven, 3 }, { primes, 6 }, { all, 1 }, { NULL, 0 } };
  bool equal = true;

  for (size_t i = 0; equal && i < sizeof cuttings / sizeof cuttings[0]; i++) {
    AttnStream *stream = poisoned_stream (s->layer, s->first);
    Outputs o = outputs_new (s);

    equal = play_to_the_end (stream, s, 0, cuttings[i].sizes, cuttings[i].n, &o)
            && same_bits (o.out, s->expected, s->n_out * s->encoder.n_out);
    if (!equal)
      printf ("# cutting %zu\n", i);
    free (o.out);
    attn_stream_free (stream);
  }
  return equal;
}

/* Runs the same way without outputs. */
static bool
nobody_looking_changes_nothing (const Story *s)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  size_t cut = random_between (0, s->n), n_unseen = 0;
  Outputs o = outputs_new (s);
  bool same;

  for (size_t i = 0; i < cut; i++)
    n_unseen += s->present[i] ? attn_stream_push (stream, s->frames + i * s->encoder.n_in, 1, NULL, NULL)
                              : attn_stream_skip (stream, 1, NULL, NULL);
  same = n_unseen == law_ready (&s->law, cut) && play_to_the_end (stream, s, cut, NULL, 0, &o)
         && same_bits (o.out, s->expected + n_unseen * s->encoder.n_out, o.n * s->encoder.n_out);
  free (o.out);
  attn_stream_free (stream);
  return same;
}

/* Plays in pieces, as play () does; checks the mark of each output, and the number of the next one. */
static bool
marks_by_law (const Story *s)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  Signal law = signal_by_law (s, NULL, 0);
  uint8_t *marks = malloc (s->n_out + 1);
  uint64_t first_output = s->first / s->law.stride, n = 0;
  size_t room = random_between (16, 40), n_more;
  bool kept = true;

  memset (marks, 2, s->n_out + 1);
  for (size_t begin = 0, stop; begin < s->n && kept; begin = stop) {
    stop = end_of_piece (s, begin, s->n, random_between (1, 40));
    n += attn_stream_run (stream, frames_from (s, begin), stop - begin, NULL, NULL, marks + n);
    kept = marks[n] == 2 && attn_stream_next_output (stream) == first_output + n;
  }
  while (kept && (n_more = attn_stream_finish (stream, NULL, NULL, marks + n, room)) > 0) {
    kept = n_more <= room;
    n += n_more;
  }
  kept = kept && n == s->n_out && memcmp (marks, law.present, n) == 0 && marks[n] == 2;
  if (!kept)
    printf ("# the marks of %llu outputs are not those of the law\n", (unsigned long long) n);
  signal_clear (&law);
  free (marks);
  attn_stream_free (stream);
  return kept;
}

static bool
keeps_the_law (const Story *s)
{
  return forward_keeps_the_law (s) && stream_equals_forward (s) && nobody_looking_changes_nothing (s);
}

TEST (every_kind_of_block_keeps_the_law)
{
  for (BlockKind kind = 0; kind < N_BLOCK_KINDS; kind++)
    for (int i = 0; i < N_KIND; i++) {
      uint64_t seed = random_state;
      Story s = story_of (encoder_of_one (kind));
      bool kept = keeps_the_law (&s);

      if (!kept)
        print_story (&s, seed);
      story_clear (&s);
      CHECK_MSG (kept, "%s %d", block_names[kind], i);
    }
}

TEST (stream_equals_forward_and_both_keep_the_law)
{
  check_stories (N_RANDOM, random_story, keeps_the_law);
}

TEST (each_output_is_marked_as_present_or_absent)
{
  check_stories (N_RANDOM, random_story, marks_by_law);
}

/* ---- reach ---- */

/*
 * Picks inputs at both ends of the reach of outputs, or any inputs; and for each the output that must change if the
 * whole stream is present, or SIZE_MAX. (An output that reads beyond the ends of the stream may read nothing at all.)
 */
static void
pick_watched (const Story *s, size_t *watched, size_t *output)
{
  for (size_t k = 0; k < N_WATCHED; k++) {
    size_t i = random_between (0, s->n_out - 1);
    int64_t oldest = law_end_of_reads (&s->law, i, false), newest = law_end_of_reads (&s->law, i, true);
    bool all_exists = oldest >= 0 && newest < (int64_t) s->n;

    output[k] = all_exists ? i : SIZE_MAX;
    watched[k] = random_between (0, s->n - 1);
    if (all_exists)
      watched[k] = (size_t) (k % 2 == 0 ? oldest : newest);
  }
}

/* Whether output `i` may read input `j`. */
static bool
law_reads (const Story *s, size_t i, size_t j)
{
  return (int64_t) j >= law_end_of_reads (&s->law, i, false) && (int64_t) j <= law_end_of_reads (&s->law, i, true);
}

/* Input `watched` becomes NaN: exactly the outputs named by the law change. */
static bool
reaches_what_reads_it (const Story *s, const Signal *law, size_t k, size_t watched)
{
  uint32_t n_in = s->encoder.n_in, n_out = s->encoder.n_out;
  float *frames = new_values (s->n * n_in), *out = new_values (s->n_out * n_out);
  bool right = true;

  memcpy (frames, s->frames, s->n * n_in * sizeof *frames);
  fill_bits (frames + watched * n_in, n_in, 0x7fc00000);
  MUST (attn_forward (s->layer, frames, s->present, s->n, s->first, out, NULL, NULL));
  for (size_t i = 0; right && i < s->n_out; i++) {
    bool touched = law->touched[i] >> k & 1;

    right = same_bits (out + i * n_out, s->expected + i * n_out, n_out) == !touched;
    right = right && (!touched || s->law.has_sinks || law_reads (s, i, watched));
    if (!right)
      printf ("# input %zu, output %zu, touched %d\n", watched, i, touched);
  }
  free (frames);
  free (out);
  return right;
}

static bool
inputs_reach_what_reads_them (const Story *s)
{
  size_t watched[N_WATCHED], output[N_WATCHED];
  Signal law;
  bool right = true, all = true;

  if (s->n_out == 0)
    return true;
  for (size_t t = 0; t < s->n; t++)
    all = all && s->present[t];
  pick_watched (s, watched, output);
  law = signal_by_law (s, watched, N_WATCHED);
  for (size_t k = 0; right && k < N_WATCHED; k++) {
    right = reaches_what_reads_it (s, &law, k, watched[k]);
    if (right && all && output[k] != SIZE_MAX && !(law.touched[output[k]] >> k & 1)) {
      printf ("# input %zu, at the end of the reach, does not reach output %zu\n", watched[k], output[k]);
      right = false;
    }
  }
  signal_clear (&law);
  return right;
}

TEST (input_reaches_exactly_the_outputs_that_read_it)
{
  check_stories (N_RANDOM, random_story, inputs_reach_what_reads_them);
}

/* ---- saved and restored ---- */

/*
 * Restores `state` in a stream of `layer`: checks the state that it saves at once, and its outputs from frame `cut` on.
 */
static bool
goes_on (const Story *s, const AttnLayer *layer, size_t cut, const State *state)
{
  AttnStream *stream = poisoned_stream (layer, 0);
  size_t n_before = law_ready (&s->law, cut);
  Outputs o = outputs_new (s);
  AttnError error;
  State again;
  bool same = attn_stream_restore (stream, state->bytes, state->size, &error) == ATTN_OK;

  if (!same)
    printf ("# %s\n", error.message);
  again = save (stream);
  same = same && same_state (&again, state) && attn_stream_next_frame (stream) == s->first + cut
         && play_to_the_end (stream, s, cut, NULL, 0, &o)
         && same_bits (o.out, s->expected + n_before * s->encoder.n_out, o.n * s->encoder.n_out);
  free (again.bytes);
  free (o.out);
  attn_stream_free (stream);
  return same;
}

/* Saved at a random frame; both the stream that was saved and one with plain C that restores it go on. */
static bool
restored_goes_on (const Story *s)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  AttnLayer *other = open_layer (&s->encoder, s->precision, "c");
  size_t cut = random_between (0, s->n);
  Outputs o = outputs_new (s);
  bool same = play (stream, s, 0, cut, NULL, 0, &o);
  State state = save (stream);

  same = same && goes_on (s, s->layer, cut, &state) && goes_on (s, other, cut, &state)
         && play_to_the_end (stream, s, cut, NULL, 0, &o)
         && same_bits (o.out, s->expected, s->n_out * s->encoder.n_out);
  if (!same)
    printf ("# saved before frame %zu\n", cut);
  free (state.bytes);
  free (o.out);
  attn_stream_free (stream);
  attn_layer_free (other);
  return same;
}

TEST (restored_stream_goes_on_with_the_same_bits_on_other_kernels)
{
  check_stories (N_RANDOM, random_story, restored_goes_on);
}

/* Saves the stream, which is at its end. A state restores; no state, while outputs `may_be_left`: ATTN_ERROR_STATE. */
static bool
end_is_saved (const AttnStream *stream, AttnStream *other, bool may_be_left)
{
  State state = { .size = attn_stream_state_size (stream) };
  AttnStatus status;
  AttnError error;

  state.bytes = malloc (state.size);
  status = attn_stream_save (stream, state.bytes, state.size, &error);
  if (status == ATTN_OK) {
    status = attn_stream_restore (other, state.bytes, state.size, &error);
    may_be_left = false;
  }
  free (state.bytes);
  if (status == ATTN_OK || (may_be_left && status == ATTN_ERROR_STATE))
    return true;
  printf ("# %s\n", error.message);
  return false;
}

/* The end comes in pieces, as there is room for it. */
static bool
every_state_of_the_end_restores (const Story *s)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first), *other = poisoned_stream (s->layer, 0);
  size_t room = random_between (16, 40), n;
  bool right = true;

  for (size_t t = 0; t < s->n; t++)
    attn_stream_run (stream, frames_from (s, t), 1, NULL, NULL, NULL);
  do {
    n = attn_stream_finish (stream, NULL, NULL, NULL, room);
    right = right && end_is_saved (stream, other, n != 0);
  } while (n != 0);
  right = right && attn_stream_is_drained (other) && attn_stream_pending (other) == 0;
  attn_stream_free (stream);
  attn_stream_free (other);
  return right;
}

TEST (stream_is_not_saved_while_a_part_of_its_end_is_left)
{
  check_stories (N_RANDOM, random_story, every_state_of_the_end_restores);
}

static double
operations_of (const Chain *chain)
{
  double n = 0, stride = 1;

  for (size_t i = 0; i < chain->n; i++) {
    const Node *node = &chain->nodes[i];
    const AttentionNode *a = &node->a;
    double seen = a->sinks + a->window + (a->chunk == 0 ? a->look_ahead : 0.0);

    n += operations_of (&node->inner) / stride;
    stride *= node->stride;
    if (node->kind == BLOCK_LINEAR || node->kind == BLOCK_CONV)
      n += 2.0 * node->weight.n_rows * node->weight.n_columns / stride;
    if (node->kind == BLOCK_CONV2D)
      n += 2.0 * node->weight.n_rows * node->weight.n_columns * node->bins_out / stride;
    for (size_t j = 0; node->kind == BLOCK_ATTENTION && j < 4; j++)
      n += a->weights[j].values != NULL ? 2.0 * a->weights[j].n_rows * a->weights[j].n_columns / stride : 0;
    if (node->kind == BLOCK_ATTENTION)
      n += 2.0 * seen * a->heads * (a->dk * (a->distances.values != NULL ? 2 : 1) + a->dv) / stride;
  }
  return n;
}

/* Sums of whole numbers over strides: a few roundings. */
static bool
costs_what_its_matrices_have (const Story *s)
{
  double expected = operations_of (&s->encoder.chain), n = attn_layer_operations (s->layer);

  if (fabs (n - expected) <= 1e-12 * expected)
    return true;
  printf ("# %g operations, expected %g\n", n, expected);
  return false;
}

TEST (a_frame_costs_the_operations_of_matrices_and_windows)
{
  check_stories (N_RANDOM, random_story, costs_what_its_matrices_have);
}

/* The two processes exchange this through the file, and behind it the state. */
typedef struct {
  uint64_t seed; /* of the story */
  uint64_t cut;
} Handover;

/* In the new process, which makes the same story: 0 when it goes on with the same bits. */
static int
restore_from_file (const char *path)
{
  static uint8_t bytes[1 << 22];
  Handover handover;
  State state = { .bytes = bytes };
  FILE *file = fopen (path, "rb");
  Story s;
  bool same;

  if (file == NULL || fread (&handover, sizeof handover, 1, file) != 1)
    return 2;
  state.size = fread (bytes, 1, sizeof bytes, file);
  fclose (file);
  random_state = handover.seed;
  s = random_story ();
  same = goes_on (&s, s.layer, handover.cut, &state);
  story_clear (&s);
  return same ? 0 : 3;
}

/* The exit status of a new process that goes on. */
static int
continue_in_new_process (const Handover *handover, const State *state)
{
  char path[] = "/tmp/attn-encoder-XXXXXX";
  int fd = mkstemp (path), status;
  FILE *file = fd >= 0 ? fdopen (fd, "wb") : NULL;

  if (file == NULL)
    return -1;
  fwrite (handover, sizeof *handover, 1, file);
  fwrite (state->bytes, 1, state->size, file);
  fclose (file);
  status = run_this_program (path);
  unlink (path);
  return status;
}

TEST (new_process_goes_on_with_the_same_bits)
{
  for (int i = 0; i < N_PROCESSES; i++) {
    Handover handover = { .seed = random_state };
    Story s = random_story ();
    AttnStream *stream = poisoned_stream (s.layer, s.first);
    Outputs o = outputs_new (&s);
    State state;
    int status;

    handover.cut = random_between (0, s.n);
    play (stream, &s, 0, handover.cut, NULL, 0, &o);
    state = save (stream);
    status = continue_in_new_process (&handover, &state);
    if (status != 0)
      print_story (&s, handover.seed);
    free (state.bytes);
    free (o.out);
    attn_stream_free (stream);
    story_clear (&s);
    CHECK_MSG (status == 0, "encoder %d: exit status %d", i, status);
  }
}

/* ---- long absence ---- */

/*
 * Plays some frames, `n_absent` absent ones, and the story's; gives the outputs of the last part. The last frames have
 * the same numbers whatever n_absent is.
 */
static Outputs
play_after_absence (const Story *s, uint64_t n_absent, uint64_t longest)
{
  AttnStream *stream = poisoned_stream (s->layer, longest - n_absent);
  uint64_t n_before = 7 * s->law.stride;
  float *before = new_values (n_before * s->encoder.n_in);
  Outputs o = { 0, new_values ((s->n + s->law.back + s->law.ahead + 64) * s->encoder.n_out) };

  random_fill (before, n_before * s->encoder.n_in, 2);
  attn_stream_push (stream, before, n_before, NULL, NULL);
  attn_stream_skip (stream, n_absent, NULL, NULL);
  for (size_t i = 0; i < s->n; i++)
    feed (stream, s, i, i + 1, &o);
  o.n += attn_stream_drain (stream, o.out + o.n * s->encoder.n_out, NULL);
  free (before);
  attn_stream_free (stream);
  return o;
}

/* 10^12 absent frames have no effect beyond the reach, and are skipped at once, or this test would not end. */
static bool
absence_is_over_at_once (const Story *s)
{
  uint64_t stride = s->law.stride, longest = UINT64_C (1000000000000) / stride * stride;
  uint64_t shorter = (s->law.back + s->law.ahead + 2 * stride) / stride * stride;
  Outputs a, b;
  bool same;

  if (s->law.has_sinks)
    return true;
  a = play_after_absence (s, longest, longest);
  b = play_after_absence (s, shorter, longest);
  same = a.n == b.n && same_bits (a.out, b.out, a.n * s->encoder.n_out);
  if (!same)
    printf ("# %zu outputs behind %llu absent frames, %zu behind %llu\n", a.n, (unsigned long long) longest, b.n,
            (unsigned long long) shorter);
  free (a.out);
  free (b.out);
  return same;
}

TEST (long_absence_costs_nothing_and_leaves_nothing)
{
  check_stories (N_RANDOM, random_story, absence_is_over_at_once);
}

/* ---- first frames ---- */

static bool
first_frames_are_multiples (const Story *s)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  uint64_t off = s->law.stride == 1 ? 0 : random_between (1, s->law.stride - 1), wrong = s->first + off;
  char number[32], stride[32];
  AttnError error;
  bool right = off == 0;

  snprintf (number, sizeof number, "%llu", (unsigned long long) wrong);
  snprintf (stride, sizeof stride, "%llu", (unsigned long long) s->law.stride);
  if (off != 0)
    right =
        attn_stream_reset (stream, wrong, &error) == ATTN_ERROR_CONFIG && strstr (error.message, number) != NULL
        && strstr (error.message, stride) != NULL && attn_stream_next_frame (stream) == s->first
        && attn_forward (s->layer, s->frames, s->present, s->n, wrong, s->expected, NULL, NULL) == ATTN_ERROR_CONFIG;
  attn_stream_free (stream);
  return right;
}

TEST (first_frame_off_the_stride_is_refused)
{
  check_stories (random_rounds (200), random_story, first_frames_are_multiples);
}

/* ---- what is random ---- */

/* Block kinds have the first numbers. */
enum {
  OF_CHUNKS = N_BLOCK_KINDS,
  OF_OWN_CHUNK,
  CHUNKS_WITH_SINKS,
  DISTANCES_OF_WINDOWS,
  DISTANCES_OF_CHUNKS,
  QK_LAYER_NORM,
  QK_RMS_NORM,
  DEPTHWISE,
  STRIDE_IN_TIME,
  STRIDE_IN_FREQUENCY,
  GROUPS_OF_CHANNELS,
  ZEROS_IN_FREQUENCY,
  CHUNKS_BEHIND_STRIDE,
  N_FEATURES
};

static const char *const feature_names[N_FEATURES] = {
  [OF_CHUNKS] = "attention over chunks",
  [OF_OWN_CHUNK] = "over its own chunk alone",
  [CHUNKS_WITH_SINKS] = "chunks with sinks",
  [DISTANCES_OF_WINDOWS] = "Transformer-XL in windows",
  [DISTANCES_OF_CHUNKS] = "Transformer-XL in chunks",
  [QK_LAYER_NORM] = "qk-norm layer",
  [QK_RMS_NORM] = "qk-norm rms",
  [DEPTHWISE] = "depthwise conv",
  [STRIDE_IN_TIME] = "conv2d with a stride in time",
  [STRIDE_IN_FREQUENCY] = "conv2d with a stride in frequency",
  [GROUPS_OF_CHANNELS] = "conv2d with groups",
  [ZEROS_IN_FREQUENCY] = "conv2d with zeros in frequency",
  [CHUNKS_BEHIND_STRIDE] = "chunks behind a stride",
};

/* Adds the blocks to counts [N_FEATURES]. `stride`: of the blocks in front. */
static void
count_features (const Chain *chain, uint32_t stride, size_t *counts)
{
  for (size_t i = 0; i < chain->n; stride *= chain->nodes[i++].stride) {
    const Node *node = &chain->nodes[i];
    const AttentionNode *a = &node->a;
    bool by_distance = a->position == ATTN_POSITION_TRANSFORMER_XL, is_2d = node->kind == BLOCK_CONV2D;

    counts[node->kind]++;
    counts[OF_CHUNKS] += a->chunk > 1;
    counts[OF_OWN_CHUNK] += a->chunk > 1 && a->chunks == 0;
    counts[CHUNKS_WITH_SINKS] += a->chunk > 1 && a->sinks != 0;
    counts[DISTANCES_OF_WINDOWS] += by_distance && a->chunk == 0;
    counts[DISTANCES_OF_CHUNKS] += by_distance && a->chunk > 1;
    counts[QK_LAYER_NORM] += a->norm == ATTN_QK_NORM_LAYER;
    counts[QK_RMS_NORM] += a->norm == ATTN_QK_NORM_RMS;
    counts[DEPTHWISE] += node->kind == BLOCK_CONV && node->groups == node->n_in && node->n_in > 1;
    counts[STRIDE_IN_TIME] += is_2d && node->stride > 1;
    counts[STRIDE_IN_FREQUENCY] += is_2d && node->bin_stride > 1;
    counts[GROUPS_OF_CHANNELS] += is_2d && node->groups > 1;
    counts[ZEROS_IN_FREQUENCY] += is_2d && node->low + node->high > 0;
    counts[CHUNKS_BEHIND_STRIDE] += a->chunk > 1 && stride > 1;
    if (node->kind == BLOCK_RESIDUAL)
      count_features (&node->inner, stride, counts);
  }
}

/* Or the tests above would say nothing of it. */
TEST (random_encoders_have_blocks_of_every_kind)
{
  size_t counts[N_FEATURES] = { 0 };

  for (int i = 0; i < 1000; i++) {
    Encoder e = random_encoder (MAX_BLOCKS, true);

    count_features (&e.chain, 1, counts);
    encoder_clear (&e);
  }
  for (size_t i = 0; i < N_FEATURES; i++) {
    const char *name = i < N_BLOCK_KINDS ? block_names[i] : feature_names[i];

    printf ("# %zu of %s\n", counts[i], name);
    CHECK_MSG (counts[i] >= 20, "%zu of %s in 1000 encoders", counts[i], name);
  }
}

int
main (int argc, char **argv)
{
  this_program = argv[0];
  if (argc == 3 && strcmp (argv[1], "--restore") == 0)
    return restore_from_file (argv[2]);
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (every_kind_of_block_keeps_the_law);
  RUN (stream_equals_forward_and_both_keep_the_law);
  RUN (each_output_is_marked_as_present_or_absent);
  RUN (input_reaches_exactly_the_outputs_that_read_it);
  RUN (restored_stream_goes_on_with_the_same_bits_on_other_kernels);
  RUN (stream_is_not_saved_while_a_part_of_its_end_is_left);
  RUN (a_frame_costs_the_operations_of_matrices_and_windows);
  RUN (new_process_goes_on_with_the_same_bits);
  RUN (long_absence_costs_nothing_and_leaves_nothing);
  RUN (first_frame_off_the_stride_is_refused);
  RUN (random_encoders_have_blocks_of_every_kind);
  return check_done ();
}
