/*
 * Random encoders and random streams over them, for the tests of encoders' streams.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_CORE_ENCODER_STORIES_H
#define TESTS_CORE_ENCODER_STORIES_H

#include "check.h"
#include "encoder-law.h"
#include "states.h"
#include "stream/stream.h"

#define MAX_BLOCKS 12
#define MAX_FRAMES 150
#define LONG_ABSENCE 400 /* frames: longer than the part of an absence that blocks of short reach store */

/* A value that no encoder gives: memory that was not written still holds it. */
static const uint32_t untouched_bits = 0xffabcdef;

typedef struct {
  Encoder encoder;
  AttnPrecision precision;
  AttnLayer *layer;
  Law law;
  size_t n; /* frames of a stream */
  uint64_t first;
  float *frames;    /* [n][n_in]; of absent ones NaN */
  uint8_t *present; /* [n] */
  size_t n_out;     /* outputs of the whole stream */
  float *expected;  /* [n_out][n_out values], by attn_forward () */
} Story;

static inline void
fill_bits (float *values, size_t n, uint32_t bits)
{
  for (size_t i = 0; i < n; i++)
    memcpy (&values[i], &bits, sizeof bits);
}

static inline bool
is_untouched (const float *values, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (memcmp (&values[i], &untouched_bits, sizeof untouched_bits) != 0)
      return false;
  return true;
}

static inline bool
same_bits (const float *a, const float *b, size_t n)
{
  return n == 0 || memcmp (a, b, n * sizeof *a) == 0;
}

static inline float *
new_values (size_t n)
{
  float *values = malloc ((n + 1) * sizeof *values);

  if (values == NULL)
    abort ();
  fill_bits (values, n + 1, untouched_bits);
  return values;
}

/* With the kernels called `kernels`; NULL: those of this machine. */
static inline AttnLayer *
open_layer (const Encoder *e, AttnPrecision precision, const char *kernels)
{
  AttnEncoderOptions options = attn_encoder_options_default ();
  const char *before = getenv ("ATTN_CPU");
  char *kept = before != NULL ? strdup (before) : NULL;
  AttnLayer *layer;
  AttnError error;

  options.precision = precision;
  options.n_threads = random_between (0, 9) == 0 ? random_between (2, 4) : 0;
  if (kernels != NULL)
    setenv ("ATTN_CPU", kernels, 1);
  if (attn_encoder_open_memory (e->file.bytes, e->file.size, &options, &layer, &error) != ATTN_OK) {
    printf ("# %.*s\nBail out! random encoder: %s\n", (int) e->json.size, e->json.bytes, error.message);
    exit (1);
  }
  if (kernels != NULL && kept != NULL)
    setenv ("ATTN_CPU", kept, 1);
  else if (kernels != NULL)
    unsetenv ("ATTN_CPU");
  free (kept);
  return layer;
}

/* Makes absent runs, short or long ones; none in every second stream. */
static inline void
random_presence (Story *s)
{
  static const size_t lengths[] = { 2, 4, 30 };
  bool with_absent = random_between (0, 1);
  size_t longest = lengths[random_between (0, 2)];

  for (size_t i = 0; i < s->n;) {
    uint8_t present = !with_absent || random_between (0, 2) != 0;
    size_t run = random_between (1, s->n > MAX_FRAMES && !present ? LONG_ABSENCE : longest);

    for (; run > 0 && i < s->n; run--)
      s->present[i++] = present;
  }
  for (size_t i = 0; i < s->n; i++)
    if (!s->present[i])
      fill_bits (s->frames + i * s->encoder.n_in, s->encoder.n_in, 0x7fc00000);
}

/* The stream over an encoder; `frames` and what follows from them. The same random_state gives the same story. */
static inline Story
story_of (Encoder encoder)
{
  Story s = { .encoder = encoder, .law = chain_law (&encoder.chain) };

  s.precision = random_between (0, 3) == 0 ? random_between (1, 2) : ATTN_PRECISION_F32;
  s.layer = open_layer (&encoder, s.precision, NULL);
  s.n = random_between (0, 9) == 0 ? random_between (0, 3) : random_between (0, MAX_FRAMES);
  if (random_between (0, 9) == 0)
    s.n += LONG_ABSENCE;
  s.first = random_between (0, 2) == 0 ? random_between (0, 20) * s.law.stride : 0;
  if (random_between (0, 9) == 0)
    s.first = (UINT64_C (1000000000000000) / s.law.stride + random_between (0, 50)) * s.law.stride;
  s.law.first = s.first;
  s.frames = new_values (s.n * encoder.n_in);
  s.present = malloc (s.n + 1);
  random_fill (s.frames, s.n * encoder.n_in, 2);
  random_presence (&s);
  s.n_out = attn_layer_count (s.layer, s.n);
  s.expected = new_values (s.n_out * encoder.n_out);
  MUST (attn_forward (s.layer, s.frames, s.present, s.n, s.first, s.expected, NULL, NULL));
  return s;
}

static inline Story
random_story (void)
{
  return story_of (random_encoder (MAX_BLOCKS, random_between (0, 1)));
}

static inline void
story_clear (Story *s)
{
  attn_layer_free (s->layer);
  encoder_clear (&s->encoder);
  free (s->frames);
  free (s->present);
  free (s->expected);
}

/* Prints the story, for somebody who has to find a fault. */
static inline void
print_story (const Story *s, uint64_t seed)
{
  printf ("# ATTN_TEST_SEED=%llu: %.*s, %zu frames from %llu on, precision %d\n", (unsigned long long) seed,
          (int) s->encoder.json.size, s->encoder.json.bytes, s->n, (unsigned long long) s->first, (int) s->precision);
}

/* ---- streams ---- */

/* The frames from `begin` on; NULL where they are absent. */
static inline const float *
frames_from (const Story *s, size_t begin)
{
  return s->present[begin] ? s->frames + begin * s->encoder.n_in : NULL;
}

/* The end of a piece that begins with frame `begin`: up to `longest` frames before `end`, all present or all absent. */
static inline size_t
end_of_piece (const Story *s, size_t begin, size_t end, size_t longest)
{
  size_t stop = begin + 1;

  while (stop < end && stop - begin < longest && s->present[stop] == s->present[begin])
    stop++;
  return stop;
}

/* A stream that has seen NaN everywhere, so that all memory that it reads without writing it first is NaN. */
static inline AttnStream *
poisoned_stream (const AttnLayer *layer, uint64_t first)
{
  size_t n = random_between (0, 120), n_in = attn_layer_n_features (layer);
  float *frames = new_values (n * n_in);
  AttnStream *stream;

  fill_bits (frames, n * n_in, 0x7fc00000);
  MUST (attn_stream_new (layer, &stream, NULL));
  if (random_between (0, 1))
    stream->work.shares_all = true; /* let its threads, if it has any, share even work that is not worth it */
  attn_stream_push (stream, frames, n, NULL, NULL);
  if (random_between (0, 1))
    attn_stream_drain (stream, NULL, NULL);
  free (frames);
  MUST (attn_stream_reset (stream, first, NULL));
  return stream;
}

/* Makes `n` stories by `make`, and checks `property` of each. */
static inline void
check_stories (int n, Story (*make) (void), bool (*property) (const Story *))
{
  for (int i = 0; i < n; i++) {
    uint64_t seed = random_state;
    Story s = make ();
    bool kept = property (&s);

    if (!kept)
      print_story (&s, seed);
    story_clear (&s);
    CHECK_MSG (kept, "encoder %d", i);
  }
}

#endif
