/*
 * Saved states: a stream that restores one goes on with the same bits; and the bytes of a state.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   core-state --restore FILE: the test of a new process starts this (see continue_in_new_process ()).
 */
#define _POSIX_C_SOURCE 200809L /* mkstemp (), setenv () */

#include <stddef.h>
#include <unistd.h>

#include "check.h"
#include "processes.h"
#include "states.h"

#define N_RANDOM random_rounds (1000) /* configurations per property */
#define N_PROCESSES random_rounds (300)

/* ---- streams ---- */

/* A random layer, and the frames of a stream over it. The same random_state gives the same story. */
typedef struct {
  RandomLayer random;
  const AttnLayer *layer;
  size_t n;
  uint64_t first;
  float *frames;
  uint8_t *present;
} Story;

static Story
random_story_of (RandomLayer random)
{
  Story s = { .random = random, .n = random_between (1, 250) };
  size_t i, n_features = attn_layer_n_features (s.random.layer);

  s.layer = s.random.layer;
  s.first = random_between (0, 2) == 0 ? random_between (0, 50) : 0;
  if (random_between (0, 4) == 0)
    s.first = UINT64_C (1000000000000000) + random_between (0, 50);
  s.frames = malloc (s.n * n_features * sizeof (float));
  random_fill (s.frames, s.n * n_features, 2);
  if (random_between (0, 4) == 0)
    s.frames[random_between (0, s.n * n_features - 1)] = random_between (0, 1) ? NAN : INFINITY;
  s.present = malloc (s.n);
  for (i = 0; i < s.n;) {
    uint8_t present = random_between (0, 3) != 0;
    size_t run = random_between (1, 40);

    for (; run > 0 && i < s.n; run--)
      s.present[i++] = present;
  }
  return s;
}

static Story
random_story (void)
{
  return random_story_of (random_layer ());
}

static void
story_clear (Story *s)
{
  random_layer_clear (&s->random);
  free (s->frames);
  free (s->present);
}

/* The outputs of a stream: out [n][Dout] and weights [n][n_heads][span]. */
typedef struct {
  size_t n, n_row, n_weights;
  float *out, *weights;
} Outputs;

static Outputs
outputs_new (const Story *s)
{
  Outputs o = { .n_row = attn_layer_n_outputs (s->layer),
                .n_weights = (size_t) attn_layer_n_heads (s->layer) * attn_layer_span (s->layer) };

  o.out = malloc ((s->n * o.n_row + 1) * sizeof (float));
  o.weights = malloc ((s->n * o.n_weights + 1) * sizeof (float));
  return o;
}

static void
outputs_clear (Outputs *o)
{
  free (o->out);
  free (o->weights);
}

/* Plays frames `begin` to before `end` of the story in random pieces, and appends the outputs. */
static void
play (AttnStream *stream, const Story *s, size_t begin, size_t end, Outputs *o)
{
  while (begin < end) {
    float *out = o->out + o->n * o->n_row, *weights = o->weights + o->n * o->n_weights;
    size_t stop = begin + 1, longest = random_between (1, 40);

    while (stop < end && stop < begin + longest && s->present[stop] == s->present[begin])
      stop++;
    if (s->present[begin])
      o->n +=
          attn_stream_push (stream, s->frames + begin * attn_layer_n_features (s->layer), stop - begin, out, weights);
    else
      o->n += attn_stream_skip (stream, stop - begin, out, weights);
    begin = stop;
  }
}

static void
play_to_the_end (AttnStream *stream, const Story *s, size_t begin, Outputs *o)
{
  play (stream, s, begin, s->n, o);
  o->n += attn_stream_drain (stream, o->out + o->n * o->n_row, o->weights + o->n * o->n_weights);
}

/* A stream over the story's layer that has seen other frames. */
static AttnStream *
used_stream (const Story *s)
{
  AttnStream *stream = stream_new (s->layer, random_between (0, 100));
  size_t n = random_between (0, 100);
  float *frames = malloc ((n * attn_layer_n_features (s->layer) + 1) * sizeof (float));

  random_fill (frames, n * attn_layer_n_features (s->layer), 100);
  attn_stream_push (stream, frames, n, NULL, NULL);
  if (random_between (0, 3) == 0)
    attn_stream_drain (stream, NULL, NULL);
  free (frames);
  return stream;
}

/* Outputs `whole` from number `begin` on are `tail`, bit for bit. */
static bool
same_tail (const Outputs *whole, size_t begin, const Outputs *tail)
{
  return whole->n == begin + tail->n
         && memcmp (whole->out + begin * whole->n_row, tail->out, tail->n * tail->n_row * sizeof (float)) == 0
         && memcmp (whole->weights + begin * whole->n_weights, tail->weights,
                    tail->n * tail->n_weights * sizeof (float))
                == 0;
}

/*
 * Plays a story, saves on the way, and goes on in the stream that `make` returns. Both the saved and the restored
 * stream must give the outputs of an undisturbed one.
 */
static bool
goes_on (const Story *s, size_t cut, AttnStream *(*make) (const Story *) )
{
  Outputs whole = outputs_new (s), before = outputs_new (s), after = outputs_new (s);
  AttnStream *undisturbed = stream_new (s->layer, s->first), *saved = stream_new (s->layer, s->first);
  AttnStream *restored = make (s);
  State state;
  bool same;

  play_to_the_end (undisturbed, s, 0, &whole);
  play (saved, s, 0, cut, &before);
  state = save (saved);
  same = attn_stream_restore (restored, state.bytes, state.size, NULL) == ATTN_OK
         && attn_stream_next_frame (restored) == s->first + cut
         && attn_stream_pending (restored) == attn_stream_pending (saved);
  play_to_the_end (restored, s, cut, &after);
  same = same && same_tail (&whole, before.n, &after);
  play_to_the_end (saved, s, cut, &before);
  same = same && same_tail (&whole, 0, &before);

  free (state.bytes);
  attn_stream_free (undisturbed);
  attn_stream_free (saved);
  attn_stream_free (restored);
  outputs_clear (&whole);
  outputs_clear (&before);
  outputs_clear (&after);
  return same;
}

static void
check_goes_on (AttnStream *(*make) (const Story *) )
{
  for (int i = 0; i < N_RANDOM; i++) {
    uint64_t seed = random_state;
    Story s = random_story ();
    bool same = goes_on (&s, random_between (0, s.n), make) && goes_on (&s, random_between (0, s.n), make);

    story_clear (&s);
    CHECK_MSG (same, "configuration %d, state %llu", i, (unsigned long long) seed);
  }
}

static AttnStream *
fresh_stream (const Story *s)
{
  return stream_new (s->layer, 0);
}

TEST (restored_stream_goes_on_with_the_same_bits)
{
  check_goes_on (fresh_stream);
}

TEST (stream_that_has_seen_other_frames_restores_the_same_bits)
{
  check_goes_on (used_stream);
}

/* Frames wait, sinks are still in the window or have been left behind: each cut between them. */
TEST (sinks_and_a_long_look_ahead_go_on_with_the_same_bits)
{
  static const uint32_t look_aheads[] = { 41, 64, 100 }, sinks[] = { 1, 16, 37 };

  for (int i = 0; i < 9; i++) {
    RandomLayer random = { .layer = plain_layer (2, 1, 9, look_aheads[i / 3], sinks[i % 3]) };
    Story s = random_story_of (random);
    size_t cut;
    bool same = true;

    for (cut = 0; cut < s.n && same; cut++)
      same = goes_on (&s, cut, fresh_stream);
    story_clear (&s);
    CHECK_MSG (same, "look-ahead %u, %u sinks, cut before %zu", look_aheads[i / 3], sinks[i % 3], cut);
  }
}

/* ---- a new process ---- */

/* The two processes exchange this through the file, and behind it the state; the outputs come back. */
typedef struct {
  uint64_t seed; /* of the story */
  uint64_t cut;
  uint64_t n_outputs;
} Handover;

/* In the new process: reads the handover, restores, goes on, and leaves the outputs in the file's place. */
static int
restore_from_file (const char *path)
{
  static uint8_t bytes[1 << 24];
  Handover handover;
  FILE *file = fopen (path, "r+b");
  size_t size;
  Story s;
  Outputs o;
  AttnStream *stream;

  if (file == NULL || fread (&handover, sizeof handover, 1, file) != 1)
    return 2;
  size = fread (bytes, 1, sizeof bytes, file);
  random_state = handover.seed;
  s = random_story ();
  o = outputs_new (&s);
  stream = stream_new (s.layer, 0);
  if (attn_stream_restore (stream, bytes, size, NULL) != ATTN_OK)
    return 3;
  play_to_the_end (stream, &s, handover.cut, &o);
  rewind (file);
  handover.n_outputs = o.n;
  fwrite (&handover, sizeof handover, 1, file);
  fwrite (o.out, sizeof (float), o.n * o.n_row, file);
  fwrite (o.weights, sizeof (float), o.n * o.n_weights, file);
  attn_stream_free (stream);
  outputs_clear (&o);
  story_clear (&s);
  return fclose (file) == 0 ? 0 : 4;
}

/* The exit status of the process that went on; its outputs are appended to `o`. */
static int
continue_in_new_process (const Handover *handover, const State *state, Outputs *o)
{
  char path[] = "/tmp/attn-state-XXXXXX";
  int fd = mkstemp (path), status;
  FILE *file = fd >= 0 ? fdopen (fd, "r+b") : NULL;
  Handover answer = { 0 };

  if (file == NULL)
    return -1;
  fwrite (handover, sizeof *handover, 1, file);
  fwrite (state->bytes, 1, state->size, file);
  fclose (file);
  status = run_this_program (path);
  file = fopen (path, "rb");
  if (status == 0 && fread (&answer, sizeof answer, 1, file) == 1) {
    o->n = answer.n_outputs;
    if (fread (o->out, sizeof (float), o->n * o->n_row, file) != o->n * o->n_row
        || fread (o->weights, sizeof (float), o->n * o->n_weights, file) != o->n * o->n_weights)
      status = -1;
  }
  fclose (file);
  unlink (path);
  return status;
}

TEST (new_process_goes_on_with_the_same_bits)
{
  for (int i = 0; i < N_PROCESSES; i++) {
    Handover handover = { .seed = random_state };
    Story s = random_story ();
    Outputs whole = outputs_new (&s), before = outputs_new (&s), after = outputs_new (&s);
    AttnStream *undisturbed = stream_new (s.layer, s.first), *saved = stream_new (s.layer, s.first);
    State state;
    bool same;
    int status;

    handover.cut = random_between (0, s.n);
    play_to_the_end (undisturbed, &s, 0, &whole);
    play (saved, &s, 0, handover.cut, &before);
    state = save (saved);
    status = continue_in_new_process (&handover, &state, &after);
    same = status == 0 && same_tail (&whole, before.n, &after);
    free (state.bytes);
    attn_stream_free (undisturbed);
    attn_stream_free (saved);
    outputs_clear (&whole);
    outputs_clear (&before);
    outputs_clear (&after);
    story_clear (&s);
    CHECK_MSG (same, "story %d, state %llu: exit status %d", i, (unsigned long long) handover.seed, status);
  }
}

/* ---- the bytes ---- */

/* For any cutting, for any earlier contents of the stream, and also after a restore. */
TEST (equal_content_gives_equal_bytes)
{
  for (int i = 0; i < N_RANDOM; i++) {
    Story s = random_story ();
    Outputs o = outputs_new (&s);
    AttnStream *a = stream_new (s.layer, s.first), *b = used_stream (&s), *c = used_stream (&s);
    State states[3];
    bool same;

    play (a, &s, 0, s.n, &o);
    o.n = 0;
    MUST (attn_stream_reset (b, s.first, NULL));
    play (b, &s, 0, s.n, &o);
    states[0] = save (a);
    states[1] = save (b);
    MUST (attn_stream_restore (c, states[0].bytes, states[0].size, NULL));
    states[2] = save (c);
    same = same_state (&states[0], &states[1]) && same_state (&states[0], &states[2]);
    for (int j = 0; j < 3; j++)
      free (states[j].bytes);
    attn_stream_free (a);
    attn_stream_free (b);
    attn_stream_free (c);
    outputs_clear (&o);
    story_clear (&s);
    CHECK_MSG (same, "configuration %d", i);
  }
}

TEST (layout_is_as_documented)
{
  /* The next to leave is frame 5, which sees 3 ... 7, and sink 0. */
  enum { n_frames = 5, keys_at = HEADER_SIZE + 1, queries_at = keys_at + n_frames * 16 };
  static const int held[n_frames] = { 0, 3, 4, 5, 6 };
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  State state = save (stream);

  CHECK (state.size == queries_at + 2 * 8 + CHECKSUM_SIZE);
  CHECK (memcmp (state.bytes, "attnstat", 8) == 0);
  CHECK (number_at (&state, 8, 4) == 2 && number_at (&state, 12, 4) == 0);
  CHECK (number_at (&state, 16, 8) == state.size);
  CHECK (number_at (&state, 32, 8) == 0 && number_at (&state, 40, 8) == 7);
  CHECK (number_at (&state, 48, 8) == state.size - 56 - CHECKSUM_SIZE && number_at (&state, 56, 8) == 5);
  CHECK (state.bytes[HEADER_SIZE] == 0x1f);
  for (int i = 0; i < n_frames; i++)
    for (int j = 0; j < 4; j++) {
      uint32_t bits = (uint32_t) number_at (&state, keys_at + (i * 4 + j) * 4, 4);
      float value;

      memcpy (&value, &bits, sizeof value);
      CHECK_MSG (value == 10 * held[i] + j % 2, "frame %d, value %d: %g", held[i], j, value);
    }
  CHECK (number_at (&state, state.size - 8, 8) == attn_hash_bytes (ATTN_HASH_START, state.bytes, state.size - 8));
  free (state.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Nothing stands for the frames that the window would reach if the stream had begun earlier. */
TEST (young_stream_is_saved_with_its_own_frames_alone)
{
  AttnLayer *layer = plain_layer (2, 1, 64, 0, 0);
  AttnStream *stream = stream_new (layer, 1000);
  float frames[] = { 1, 2, 3, 4 };

  CHECK (attn_stream_push (stream, frames, 2, NULL, NULL) == 2);
  CHECK (attn_stream_state_size (stream) == HEADER_SIZE + 1 + 2 * 16 + CHECKSUM_SIZE);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* The examples of the draft that defines it. */
TEST (checksum_is_fnv_1a)
{
  CHECK (attn_hash_bytes (ATTN_HASH_START, (const uint8_t *) "", 0) == UINT64_C (0xcbf29ce484222325));
  CHECK (attn_hash_bytes (ATTN_HASH_START, (const uint8_t *) "a", 1) == UINT64_C (0xaf63dc4c8601ec8c));
  CHECK (attn_hash_bytes (ATTN_HASH_START, (const uint8_t *) "foobar", 6) == UINT64_C (0x85944171f73967e8));
  CHECK (attn_hash_number (ATTN_HASH_START, 0x62616f6f66 /* "foo" "ab" */, 5)
         == attn_hash_bytes (ATTN_HASH_START, (const uint8_t *) "fooab", 5));
}

/* A state that somebody else wrote may hold values that no stream keeps. */
TEST (nans_and_denormals_of_a_state_are_cleaned)
{
  const uint32_t stored[] = { 0x7fc12345, 0xffc00001, 0x7f800001, 0x80000001 };
  const uint32_t cleaned[] = { 0x7fc00000, 0x7fc00000, 0x7fc00000, 0 };
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  State state = save (stream), again;

  for (int i = 0; i < 4; i++)
    put_number (&state, HEADER_SIZE + 1 + 8 * i, stored[i], 4);
  mend_checksum (&state);
  CHECK (attn_stream_restore (stream, state.bytes, state.size, NULL) == ATTN_OK);
  again = save (stream);
  for (int i = 0; i < 4; i++)
    CHECK (number_at (&again, HEADER_SIZE + 1 + 8 * i, 4) == cleaned[i]);
  free (state.bytes);
  free (again.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Rounded to f16, -1e-9 is -0. */
TEST (zeros_of_a_narrow_window_keep_their_signs)
{
  AttnConfig config = attn_config_default ();
  const float frame = -1e-9f;
  AttnLayer *layer;
  AttnStream *stream;
  State state, again;

  config.n_features = 1;
  config.window = 2;
  config.precision = ATTN_PRECISION_F16;
  CHECK (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  stream = stream_new (layer, 0);
  attn_stream_push (stream, &frame, 1, NULL, NULL);
  state = save (stream);
  CHECK (number_at (&state, HEADER_SIZE + 1, 4) == 0x80000000);
  CHECK (attn_stream_restore (stream, state.bytes, state.size, NULL) == ATTN_OK);
  again = save (stream);
  CHECK (same_state (&state, &again));
  free (state.bytes);
  free (again.bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (drained_stream_is_restored_drained)
{
  AttnLayer *layer;
  AttnStream *a = small_stream (&layer), *b = stream_new (layer, 0);
  float frame[2] = { 1, 2 }, out[2];
  State state;

  attn_stream_drain (a, NULL, NULL);
  state = save (a);
  CHECK (attn_stream_restore (b, state.bytes, state.size, NULL) == ATTN_OK);
  CHECK (attn_stream_is_drained (b) && attn_stream_push (b, frame, 1, out, NULL) == 0);
  CHECK (attn_stream_next_frame (b) == 7);
  MUST (attn_stream_reset (b, 0, NULL));
  CHECK (!attn_stream_is_drained (b));
  attn_stream_push (b, frame, 1, out, NULL);
  CHECK (attn_stream_next_frame (b) == 1);
  free (state.bytes);
  attn_stream_free (a);
  attn_stream_free (b);
  attn_layer_free (layer);
}

TEST (stream_is_saved_when_the_last_of_its_end_is_written)
{
  AttnLayer *layer = plain_layer (1, 1, 4, 40, 0);
  AttnStream *stream = stream_new (layer, 0);
  uint8_t bytes[1024] = { 0 };
  float frames[60] = { 0 };
  AttnError error;

  attn_stream_push (stream, frames, 60, NULL, NULL);
  CHECK (attn_stream_finish (stream, NULL, NULL, NULL, 16) == 16);
  CHECK (attn_stream_state_size (stream) <= sizeof bytes);
  CHECK (attn_stream_save (stream, bytes, attn_stream_state_size (stream), &error) == ATTN_ERROR_STATE);
  CHECK_MSG (strstr (error.message, "24 outputs"), "%s", error.message);
  CHECK (bytes[0] == 0);
  CHECK (attn_stream_drain (stream, NULL, NULL) == 24);
  CHECK (attn_stream_save (stream, bytes, attn_stream_state_size (stream), &error) == ATTN_OK);
  for (int restores = 0; restores < 2; restores++) {
    size_t size = attn_stream_state_size (stream);

    MUST (attn_stream_reset (stream, 0, NULL));
    attn_stream_push (stream, frames, 60, NULL, NULL);
    attn_stream_finish (stream, NULL, NULL, NULL, 16);
    MUST (restores ? attn_stream_restore (stream, bytes, size, NULL) : attn_stream_reset (stream, 0, NULL));
    CHECK (attn_stream_save (stream, bytes, attn_stream_state_size (stream), &error) == ATTN_OK);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (long_absence_is_saved_in_few_bytes)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer), *other = stream_new (layer, 0);
  State state;

  attn_stream_skip (stream, UINT64_C (1) << 50, NULL, NULL);
  state = save (stream);
  CHECK (state.size == HEADER_SIZE + 1 + 16 + CHECKSUM_SIZE); /* the sink alone */
  CHECK (attn_stream_restore (other, state.bytes, state.size, NULL) == ATTN_OK);
  CHECK (attn_stream_next_frame (other) == 7 + (UINT64_C (1) << 50));
  free (state.bytes);
  attn_stream_free (stream);
  attn_stream_free (other);
  attn_layer_free (layer);
}

TEST (wrong_size_to_save_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream = small_stream (&layer);
  size_t size = attn_stream_state_size (stream);
  uint8_t *bytes = calloc (1, size + 1);
  AttnError error;

  CHECK (attn_stream_save (stream, bytes, size - 1, &error) == ATTN_ERROR_STATE && error.status == ATTN_ERROR_STATE);
  CHECK (bytes[0] == 0);
  CHECK (attn_stream_save (stream, bytes, size + 1, NULL) == ATTN_ERROR_STATE && bytes[0] == 0);
  free (bytes);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  this_program = argv[0];
  if (argc == 3 && strcmp (argv[1], "--restore") == 0)
    return restore_from_file (argv[2]);
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (restored_stream_goes_on_with_the_same_bits);
  RUN (stream_that_has_seen_other_frames_restores_the_same_bits);
  RUN (sinks_and_a_long_look_ahead_go_on_with_the_same_bits);
  RUN (new_process_goes_on_with_the_same_bits);
  RUN (equal_content_gives_equal_bytes);
  RUN (layout_is_as_documented);
  RUN (young_stream_is_saved_with_its_own_frames_alone);
  RUN (checksum_is_fnv_1a);
  RUN (nans_and_denormals_of_a_state_are_cleaned);
  RUN (zeros_of_a_narrow_window_keep_their_signs);
  RUN (drained_stream_is_restored_drained);
  RUN (stream_is_saved_when_the_last_of_its_end_is_written);
  RUN (long_absence_is_saved_in_few_bytes);
  RUN (wrong_size_to_save_is_refused);
  return check_done ();
}
