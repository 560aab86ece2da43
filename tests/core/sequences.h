/* Random streams for the core's tests, their outputs, and comparisons.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_CORE_SEQUENCES_H
#define TESTS_CORE_SEQUENCES_H

#include "layers.h"
#include "reference.h"
#include "stream/stream.h"

/* The frames of one random stream, and all its outputs. */
typedef struct {
  size_t n;
  uint64_t first;
  float *frames;
  uint8_t *present; /* NULL: all */
  float *out, *weights;
} Sequence;

static inline Sequence
random_sequence (const AttnLayer *layer, size_t n, bool with_absent)
{
  Sequence s = { .n = n };
  size_t i;

  s.first = random_between (0, 2) == 0 ? random_between (0, 100) : 0;
  if (random_between (0, 9) == 0)
    s.first = (random_between (0, 1) ? UINT64_C (1000000000000000) : UINT64_C (1) << 63) + random_between (0, 100);
  s.frames = malloc (sizeof (float) * (n * attn_layer_n_features (layer) + 1));
  random_fill (s.frames, n * attn_layer_n_features (layer), 2);
  s.out = malloc (sizeof (float) * (n * attn_layer_n_outputs (layer) + 1));
  s.weights = malloc (sizeof (float) * (n * n_weights (layer) + 1));
  if (with_absent) {
    s.present = malloc (n + 1);
    for (i = 0; i < n;) {
      uint8_t present = random_between (0, 2) != 0;
      size_t run = random_between (1, 30);

      for (; run > 0 && i < n; run--)
        s.present[i++] = present;
    }
  }
  return s;
}

static inline void
sequence_clear (Sequence *s)
{
  free (s->frames);
  free (s->present);
  free (s->out);
  free (s->weights);
}

/* Feeds frames [begin, end), which are all present or all absent, and appends the outputs. */
static inline size_t
feed (AttnStream *stream, const AttnLayer *layer, Sequence *s, size_t begin, size_t end, size_t n_out)
{
  float *out = s->out + n_out * attn_layer_n_outputs (layer), *weights = s->weights + n_out * n_weights (layer);

  if (s->present != NULL && !s->present[begin])
    return attn_stream_skip (stream, end - begin, out, weights);
  return attn_stream_push (stream, s->frames + begin * attn_layer_n_features (layer), end - begin, out, weights);
}

/* Runs the sequence through a stream in pieces of `sizes` (repeated; 0: random); true if all outputs came. */
static inline bool
stream_in_pieces (AttnStream *stream, const AttnLayer *layer, Sequence *s, const size_t *sizes, size_t n_sizes)
{
  size_t begin, end, n_out = 0, piece = 0;

  MUST (attn_stream_reset (stream, s->first, NULL));
  for (begin = 0; begin < s->n; begin = end) {
    size_t size = n_sizes != 0 ? sizes[piece++ % n_sizes] : random_between (1, 40);

    for (end = begin + 1; end < s->n && end < begin + size; end++)
      if (s->present != NULL && s->present[end] != s->present[begin])
        break;
    n_out += feed (stream, layer, s, begin, end, n_out);
    if (n_out + attn_stream_pending (stream) != end)
      return false;
  }
  n_out +=
      attn_stream_drain (stream, s->out + n_out * attn_layer_n_outputs (layer), s->weights + n_out * n_weights (layer));
  return n_out == s->n;
}

/* Bits, not values: a NaN must be the same NaN, a zero the same zero. */
static inline bool
same_bits (const float *a, const float *b, size_t n)
{
  return n == 0 || memcmp (a, b, n * sizeof *a) == 0;
}

static inline bool
same_outputs (const AttnLayer *layer, const Sequence *a, const Sequence *b)
{
  return same_bits (a->out, b->out, a->n * attn_layer_n_outputs (layer))
         && same_bits (a->weights, b->weights, a->n * n_weights (layer));
}

/* `s` with room for other results. */
static inline Sequence
twin (const AttnLayer *layer, const Sequence *s)
{
  Sequence t = *s;

  t.out = malloc (sizeof (float) * (s->n * attn_layer_n_outputs (layer) + 1));
  t.weights = malloc (sizeof (float) * (s->n * n_weights (layer) + 1));
  return t;
}

static inline void
twin_clear (Sequence *s)
{
  free (s->out);
  free (s->weights);
}

/* The first value that is outside the reference's bound for float32; -1 = none. */
static inline long
first_beyond_bound (const float *values, const Bounded *reference, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (!(fabs (values[i] - reference[i].value) <= reference[i].error))
      return (long) i;
  return -1;
}

#endif
