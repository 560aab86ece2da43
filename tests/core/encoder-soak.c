/*
 * A long life of an encoder of six layers: 10^5 frames (ATTN_TEST_PERCENT=10000: 10^7) through streams that are reset,
 * skip frames, and are saved and restored elsewhere, all at random. Memory stays flat, and nothing drifts: the outputs
 * that are left at the end are those of a fresh stream that was given only the frames which they read, to the bit.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* sysconf () */

#include <stdlib.h>

#include "check.h"
#include "encoders.h"
#include "memory.h"

#define N_FRAMES 100000
#define N_FEATURES 20
#define WIDTH 64
#define N_HIDDEN 128
#define N_LAYERS 6
#define N_OUTPUTS 10
#define N_TABLE 4096 /* frames, again and again */
#define MAX_BLOCK 48
#define MAX_HISTORY 4096 /* above reach back + reach ahead + stride */
#define MAX_OUTPUTS 256  /* of the end of a stream, with room to spare */

/* Pools of malloc (), with a margin: a stream takes some hundred KiB. */
#define MAX_GROWTH_KIB 1024

static float table[N_TABLE * N_FEATURES];

typedef struct {
  AttnLayer *layer;
  AttnStream *stream, *other;
  uint64_t first, next, stride, back, ahead;
  uint8_t present[MAX_HISTORY]; /* of frame number modulo its size */
  unsigned n_restored;
} Soak;

/* ---- the encoder ---- */

static void
add_layer (Encoder *e, int i)
{
  char attention[32], linear1[32], linear2[32], norm[32];

  snprintf (attention, sizeof attention, "layers.%d.attn", i);
  snprintf (linear1, sizeof linear1, "layers.%d.linear1", i);
  snprintf (linear2, sizeof linear2, "layers.%d.linear2", i);
  snprintf (norm, sizeof norm, "layers.%d.norm", i);
  only_in_file (add_vector (e, norm, ".weight", WIDTH));
  only_in_file (add_weight (e, attention, ".q_proj.weight", WIDTH, WIDTH));
  only_in_file (add_weight (e, attention, ".k_proj.weight", WIDTH, WIDTH));
  only_in_file (add_weight (e, attention, ".v_proj.weight", WIDTH, WIDTH));
  only_in_file (add_weight (e, attention, ".o_proj.weight", WIDTH, WIDTH));
  only_in_file (add_weight (e, linear1, ".weight", N_HIDDEN, WIDTH));
  only_in_file (add_weight (e, linear2, ".weight", WIDTH, N_HIDDEN));
  bytes_print (&e->json, ",{'residual':[{'norm':'%s'},{'attention':'%s','heads':4,'window':9,'look-ahead':%d,", norm,
               attention, i % 3);
  bytes_print (&e->json, "'position':'%s'}]}", i % 2 ? "rope" : "alibi");
  bytes_print (&e->json, ",{'residual':[{'norm':'%s'},{'linear':'%s','activation':'gelu'},{'linear':'%s'}]}", norm,
               linear1, linear2);
}

/* Two convolutions of stride 2, six layers, a convolution around each frame between them. */
static Encoder
six_layers (void)
{
  Encoder e = begin_encoder (N_FEATURES, 1, true);

  bytes_print (&e.json, "{'conv':'front.0','stride':2,'left':2,'activation':'gelu'},");
  bytes_print (&e.json, "{'conv':'front.1','stride':2,'left':1}");
  only_in_file (add_tensor (&e, "front.0", ".weight", "64,20,3", WIDTH, N_FEATURES * 3));
  only_in_file (add_tensor (&e, "front.1", ".weight", "64,64,3", WIDTH, WIDTH * 3));
  only_in_file (add_tensor (&e, "middle", ".weight", "64,1,5", WIDTH, 5));
  for (int i = 0; i < N_LAYERS; i++) {
    if (i == N_LAYERS / 2)
      bytes_print (&e.json, ",{'residual':[{'conv':'middle','groups':64,'left':2,'right':2,'activation':'silu'}]}");
    add_layer (&e, i);
  }
  only_in_file (add_weight (&e, "head", ".weight", N_OUTPUTS, WIDTH));
  bytes_print (&e.json, ",{'norm':null},{'linear':'head'}]}");
  finish_file (&e);
  return e;
}

/* ---- a stream ---- */

/* Frames in a row, which may not run over the end of the table. */
static const float *
frame_at (uint64_t number)
{
  return table + number % N_TABLE * N_FEATURES;
}

static void
begin (Soak *soak)
{
  soak->first = soak->next = (random_bits () >> random_between (4, 60)) / soak->stride * soak->stride;
  MUST (attn_stream_reset (soak->stream, soak->first, NULL));
}

/* The stream goes on elsewhere. */
static void
move (Soak *soak)
{
  AttnStream *old = soak->stream;
  size_t size = attn_stream_state_size (old);
  uint8_t *state = malloc (size);

  if (state == NULL)
    abort ();
  MUST (attn_stream_save (old, state, size, NULL));
  if (random_between (0, 3) == 0) {
    attn_stream_free (soak->other);
    MUST (attn_stream_new (soak->layer, &soak->other, NULL));
  }
  MUST (attn_stream_restore (soak->other, state, size, NULL));
  soak->stream = soak->other;
  soak->other = old;
  soak->n_restored++;
  free (state);
}

static void
step (Soak *soak)
{
  uint64_t n = random_between (1, MAX_BLOCK), left = N_TABLE - soak->next % N_TABLE, what = random_between (0, 99);
  float out[(MAX_BLOCK + MAX_OUTPUTS) * N_OUTPUTS];

  n = n < left ? n : left;
  attn_stream_run (soak->stream, what < 12 ? NULL : frame_at (soak->next), n, out, NULL, NULL);
  for (uint64_t i = 0; i < n; i++)
    soak->present[(soak->next + i) % MAX_HISTORY] = what >= 12;
  soak->next += n;
  if (what == 99)
    move (soak);
}

/* ---- the end ---- */

typedef struct {
  float rows[MAX_OUTPUTS * N_OUTPUTS];
  uint8_t present[MAX_OUTPUTS];
  size_t n;
} Outputs;

static void
finish (AttnStream *stream, Outputs *outputs)
{
  size_t n;

  memset (outputs, 0, sizeof *outputs);
  while ((n = attn_stream_finish (stream, outputs->rows + outputs->n * N_OUTPUTS, NULL, outputs->present + outputs->n,
                                  MAX_OUTPUTS - outputs->n)))
    outputs->n += n;
}

/* The frames from the first that an output of the end reads. */
static void
feed_fresh (const Soak *soak, AttnStream *fresh)
{
  uint64_t reads = attn_stream_next_output (soak->stream) * soak->stride, from = soak->first;

  if (reads - soak->first > soak->back)
    from = (reads - soak->back) / soak->stride * soak->stride;
  MUST (attn_stream_reset (fresh, from, NULL));
  for (uint64_t number = from; number < soak->next; number++)
    attn_stream_run (fresh, soak->present[number % MAX_HISTORY] ? frame_at (number) : NULL, 1, NULL, NULL, NULL);
}

/* Ends the stream. */
static bool
end_is_fresh (Soak *soak)
{
  static Outputs got, expected;

  feed_fresh (soak, soak->other);
  if (attn_stream_next_output (soak->other) != attn_stream_next_output (soak->stream))
    return false;
  finish (soak->stream, &got);
  finish (soak->other, &expected);
  return got.n == expected.n && got.n < MAX_OUTPUTS && memcmp (&got, &expected, sizeof got) == 0;
}

/* ---- the soak ---- */

static bool
open_soak (Soak *soak)
{
  Encoder e = six_layers ();
  AttnError error = { 0 };

  if (attn_encoder_open_memory (e.file.bytes, e.file.size, NULL, &soak->layer, &error) != ATTN_OK
      || attn_stream_new (soak->layer, &soak->stream, &error) != ATTN_OK
      || attn_stream_new (soak->layer, &soak->other, &error) != ATTN_OK)
    printf ("# %s\n", error.message);
  encoder_clear (&e);
  if (error.message[0] != '\0')
    return false;
  soak->stride = attn_layer_stride (soak->layer);
  soak->back = attn_layer_reach_back (soak->layer);
  soak->ahead = attn_layer_reach_ahead (soak->layer);
  return soak->stride == 4 && soak->back + soak->ahead + soak->stride < MAX_HISTORY && soak->ahead > 20;
}

static bool
run_section (Soak *soak)
{
  uint64_t length = random_between (1, random_between (0, 3) == 0 ? 300 : 20000);

  for (begin (soak); soak->next - soak->first < length;)
    step (soak);
  return end_is_fresh (soak);
}

TEST (long_life_of_six_layers_leaves_memory_flat_and_does_not_drift)
{
  uint64_t n_frames = (uint64_t) random_rounds (N_FRAMES / 100) * 100, done = 0, n_sections = 0;
  long before = 0, after;
  Soak soak = { 0 };

  random_fill (table, N_TABLE * N_FEATURES, 2);
  CHECK (open_soak (&soak));
  while (done < n_frames) {
    CHECK_MSG (run_section (&soak), "section %llu, frames %llu to %llu", (unsigned long long) n_sections,
               (unsigned long long) soak.first, (unsigned long long) soak.next);
    done += soak.next - soak.first;
    n_sections++;
    if (before == 0 && soak.n_restored > 0)
      before = resident_kib (); /* when every path has been taken once */
  }
  after = resident_kib ();
  printf ("# %llu frames in %llu sections, %u restores; back %llu, ahead %llu; %ld KiB, then %ld KiB\n",
          (unsigned long long) done, (unsigned long long) n_sections, soak.n_restored, (unsigned long long) soak.back,
          (unsigned long long) soak.ahead, before, after);
  CHECK (before == 0 || after <= before + MAX_GROWTH_KIB);
  attn_stream_free (soak.stream);
  attn_stream_free (soak.other);
  attn_layer_free (soak.layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (long_life_of_six_layers_leaves_memory_flat_and_does_not_drift);
  return check_done ();
}
