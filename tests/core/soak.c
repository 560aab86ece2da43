/*
 * A long life: millions of frames (ATTN_TEST_PERCENT=10000: 10^8) through streams that are reset, skip frames, and give
 * way to streams of other layers, all at random. Memory stays flat, and nothing drifts: the last window is that of a
 * fresh stream, to the bit.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* sysconf () */

#include <stdlib.h>

#include "attn.h"
#include "check.h"
#include "memory.h"
#include "random.h"

#define N_FRAMES 1000000
#define N_TABLE 4096 /* frames, again and again */
#define MAX_D 8
#define MAX_BLOCK 64
#define MAX_HISTORY 256 /* a power of two above window + look_ahead */
#define MAX_SINKS 3

/* Streams and layers here take less than 32 KiB; this allows for the overhead of malloc (), with a margin. */
#define MAX_GROWTH_KIB 256

static float table[N_TABLE * MAX_D];

typedef struct {
  AttnConfig config;
  AttnLayer *layer;
  AttnStream *stream, *fresh;
  uint64_t first, next;         /* frames since the reset: numbers */
  uint8_t present[MAX_HISTORY]; /* of frame number modulo its size */
  uint8_t sink_present[MAX_SINKS];
  float last[MAX_D]; /* the last output */
  bool has_last;
} Soak;

/* Where frame `number` stands in the table. A block of frames may not run over its end. */
static const float *
frame_at (const Soak *soak, uint64_t number)
{
  return table + number % N_TABLE * soak->config.n_features;
}

static bool
renegotiate (Soak *soak)
{
  AttnConfig *config = &soak->config;

  attn_stream_free (soak->stream);
  attn_stream_free (soak->fresh);
  attn_layer_free (soak->layer);
  soak->stream = soak->fresh = NULL;
  *config = attn_config_default ();
  config->n_features = random_between (1, 2) * 4;
  config->n_heads = random_between (1, 2);
  config->window = random_between (1, 40);
  config->look_ahead = random_between (0, 4);
  config->n_sinks = random_between (0, MAX_SINKS);
  config->position = random_between (0, 2); /* none, rope, alibi */
  config->precision = random_between (0, 2);
  return attn_layer_new (config, NULL, &soak->layer, NULL) == ATTN_OK
         && attn_stream_new (soak->layer, &soak->stream, NULL) == ATTN_OK
         && attn_stream_new (soak->layer, &soak->fresh, NULL) == ATTN_OK;
}

static void
note_frames (Soak *soak, uint64_t n, uint8_t present)
{
  for (uint64_t i = n > MAX_HISTORY ? n - MAX_HISTORY : 0; i < n; i++)
    soak->present[(soak->next + i) % MAX_HISTORY] = present;
  for (uint64_t sink = soak->next - soak->first; sink < MAX_SINKS && sink < soak->next - soak->first + n; sink++)
    soak->sink_present[sink] = present;
  soak->next += n;
}

static void
keep_last (Soak *soak, const float *out, size_t n)
{
  size_t d = soak->config.n_features;

  if (n > 0)
    memcpy (soak->last, out + (n - 1) * d, d * sizeof *out);
  soak->has_last = soak->has_last || n > 0;
}

static void
step (Soak *soak)
{
  float out[(MAX_BLOCK + 8) * MAX_D];
  uint32_t n = random_between (1, MAX_BLOCK), left = N_TABLE - soak->next % N_TABLE;

  n = n < left ? n : left;
  if (random_between (0, 9) > 0) {
    keep_last (soak, out, attn_stream_push (soak->stream, frame_at (soak, soak->next), n, out, NULL));
    note_frames (soak, n, 1);
  } else {
    keep_last (soak, out, attn_stream_skip (soak->stream, n, out, NULL));
    note_frames (soak, n, 0);
  }
}

/* Plays the same frames one by one. Returns whether an output came, in `out`. */
static size_t
feed_fresh (Soak *soak, uint64_t number, uint8_t present, float *out)
{
  if (present)
    return attn_stream_push (soak->fresh, frame_at (soak, number), 1, out, NULL);
  return attn_stream_skip (soak->fresh, 1, out, NULL);
}

/* The sinks, and then only those frames that the last output saw: the others count as absent. */
static bool
last_window_is_fresh (Soak *soak)
{
  uint64_t n_seen = soak->config.window + soak->config.look_ahead, n_sinks = soak->config.n_sinks, number;
  uint64_t from = soak->next - soak->first > n_seen ? soak->next - n_seen : soak->first;
  float out[(4 + 1) * MAX_D];
  size_t n = 0;

  MUST (attn_stream_reset (soak->fresh, soak->first, NULL));
  for (number = soak->first; number < soak->first + n_sinks && number < from; number++)
    n = feed_fresh (soak, number, soak->sink_present[number - soak->first], out);
  if (number < from)
    attn_stream_skip (soak->fresh, from - number, NULL, NULL);
  for (number = from; number < soak->next; number++)
    n = feed_fresh (soak, number, soak->present[number % MAX_HISTORY], out);
  return !soak->has_last || (n == 1 && memcmp (out, soak->last, soak->config.n_features * sizeof *out) == 0);
}

static void
begin (Soak *soak)
{
  soak->first = soak->next = random_bits () >> random_between (1, 60); /* some 2^63 away, some near 0 */
  soak->has_last = false;
  MUST (attn_stream_reset (soak->stream, soak->first, NULL));
}

/* Runs until every path has been taken once: code is loaded into memory when it first runs. */
static bool
warm_up (Soak *soak)
{
  for (int i = 0; i < 100; i++) {
    if (!renegotiate (soak))
      return false;
    for (begin (soak); soak->next - soak->first < 200;)
      step (soak);
    if (!last_window_is_fresh (soak))
      return false;
  }
  return true;
}

TEST (long_life_leaves_memory_flat_and_does_not_drift)
{
  uint64_t n_frames = (uint64_t) random_rounds (N_FRAMES / 100) * 100, done = 0, n_sections = 0;
  long before, after;
  Soak soak = { 0 };

  random_fill (table, N_TABLE * MAX_D, 2);
  CHECK (warm_up (&soak));
  before = resident_kib ();
  while (done < n_frames) {
    uint64_t length = random_between (1, random_between (0, 3) == 0 ? 100 : 20000);

    if (n_sections++ % 8 == 0)
      CHECK (renegotiate (&soak));
    for (begin (&soak); soak.next - soak.first < length;)
      step (&soak);
    done += soak.next - soak.first;
    CHECK_MSG (last_window_is_fresh (&soak), "section %llu of %llu frames from %llu", (unsigned long long) n_sections,
               (unsigned long long) length, (unsigned long long) soak.first);
  }
  after = resident_kib ();
  printf ("# %llu frames in %llu sections, %ld KiB, then %ld KiB\n", (unsigned long long) done,
          (unsigned long long) n_sections, before, after);
  CHECK (after <= before + MAX_GROWTH_KIB);
  attn_stream_free (soak.stream);
  attn_stream_free (soak.fresh);
  attn_layer_free (soak.layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (long_life_leaves_memory_flat_and_does_not_drift);
  return check_done ();
}
