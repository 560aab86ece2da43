/*
 * A file with an encoder, from any bytes: it opens or fails with a sentence, and an encoder that opens runs. The first
 * byte tells what the others are: a whole file; the text of the encoder, over existing tensors; or the choices of the
 * random encoders of the tests (core/encoders.h) and then some damage, so that most are nearly right. In an encoder
 * that opens, a stream in pieces equals the whole sequence to the bit, also across a restore, and gives as many outputs
 * as it says.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "choices.h"

#define MAX_BLOCKS 12
#define MAX_FRAMES 40
#define MAX_REACH 4096   /* of encoders that are run */
#define MAX_VALUES 65536 /* per frame */

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* ---- files ---- */

/* The text of an encoder over tensors for frames of four values. */
static Encoder
encoder_of_text (void)
{
  static const char *const q[] = { ".q_proj.weight", ".k_proj.weight", ".v_proj.weight", ".o_proj.weight" };
  Encoder e = { .n_in = 4 };
  Matrix unused[13];
  size_t n = 0;

  bytes_append (&e.json, input.data, input.size);
  unused[n++] = add_weight (&e, "l", ".weight", 4, 4);
  unused[n++] = add_vector (&e, "l", ".bias", 4);
  unused[n++] = add_weight (&e, "w", ".weight", 8, 4);
  unused[n++] = add_vector (&e, "n", ".weight", 4);
  unused[n++] = add_vector (&e, "n", ".bias", 4);
  unused[n++] = add_tensor (&e, "c", ".weight", "4,4,3", 4, 12);
  unused[n++] = add_tensor (&e, "d", ".weight", "4,1,2", 4, 2);
  unused[n++] = add_tensor (&e, "k", ".weight", "4,1,3,3", 4, 9);
  for (int i = 0; i < 4; i++)
    unused[n++] = add_weight (&e, "s", q[i], 4, 4);
  unused[n++] = add_weight (&e, "s", ".relative_bias", 2, 3);
  finish_file (&e);
  while (n > 0)
    free (unused[--n].values);
  return e;
}

/* Replaces some bytes in the middle of `text` by others, or by one of the words. */
static void
damage (Bytes *text)
{
  static const char *const words[] = { "0",  "-1",  "1e3",  "4294967296", "9007199254740993", "null",      "[]",
                                       "{}", "'x'", "true", "'stack':2",  "'residual':[]",    "'chunk':4", "0.5" };
  size_t at, n_gone, n_new;
  Bytes before = *text;
  const char *word;
  char other;

  if (before.size == 0)
    return;
  at = (random_between (0, 255) << 8 | random_between (0, 255)) % before.size;
  n_gone = random_between (0, 3) % (before.size - at + 1);
  word = words[random_between (0, sizeof words / sizeof words[0] - 1)];
  other = (char) random_between (0x20, 0x7e);
  if (random_between (0, 1))
    n_new = strlen (word);
  else
    word = &other, n_new = random_between (0, 1);
  *text = (Bytes){ 0 };
  bytes_append (text, before.bytes, at);
  bytes_append (text, word, n_new);
  bytes_append (text, before.bytes + at + n_gone, before.size - at - n_gone);
  free (before.bytes);
}

/* Every second file is right, and must open. */
static Encoder
encoder_of_choices (bool *is_right)
{
  int n_damages = random_between (0, 1) ? random_between (1, 3) : 0;
  Encoder e = random_encoder (MAX_BLOCKS, random_between (0, 1));

  *is_right = n_damages == 0;
  for (int i = 0; i < n_damages; i++)
    damage (random_between (0, 2) == 0 ? &e.header : &e.json);
  e.file.size = 0;
  finish_file (&e);
  return e;
}

/* ---- running ---- */

typedef struct {
  AttnLayer *layer;
  size_t n_in, n_out; /* values per frame */
  size_t n;
  float *frames;
  uint8_t present[MAX_FRAMES];
} Run;

/* The stream goes on in another one. */
static AttnStream *
restored (const Run *run, AttnStream *stream)
{
  size_t size = attn_stream_state_size (stream);
  uint8_t *bytes = malloc (size);
  AttnStream *other;

  must (bytes != NULL && attn_stream_save (stream, bytes, size, NULL) == ATTN_OK);
  must (attn_stream_new (run->layer, &other, NULL) == ATTN_OK);
  must (attn_stream_restore (other, bytes, size, NULL) == ATTN_OK);
  free (bytes);
  attn_stream_free (stream);
  return other;
}

/* All frames in pieces, restored once; returns how many outputs came. */
static size_t
stream_in_pieces (const Run *run, float *out)
{
  size_t n_out = 0, cut = run->n / 2;
  AttnStream *stream;

  must (attn_stream_new (run->layer, &stream, NULL) == ATTN_OK);
  for (size_t begin = 0, end; begin < run->n; begin = end) {
    for (end = begin + 1; end < run->n && end - begin < 3 && run->present[end] == run->present[begin];)
      end++;
    if (run->present[begin])
      n_out += attn_stream_push (stream, run->frames + begin * run->n_in, end - begin, out + n_out * run->n_out, NULL);
    else
      n_out += attn_stream_skip (stream, end - begin, out + n_out * run->n_out, NULL);
    must (n_out == attn_layer_ready (run->layer, end));
    if (begin <= cut && cut < end)
      stream = restored (run, stream);
  }
  n_out += attn_stream_drain (stream, out + n_out * run->n_out, NULL);
  attn_stream_free (stream);
  return n_out;
}

static void
run_layer (AttnLayer *layer)
{
  Run run = { layer, attn_layer_n_features (layer), attn_layer_n_outputs (layer), MAX_FRAMES, NULL, { 0 } };
  size_t n = attn_layer_count (layer, run.n);
  float *out, *expected;

  if (attn_layer_reach_back (layer) + attn_layer_reach_ahead (layer) > MAX_REACH || run.n_in > MAX_VALUES
      || run.n_out > MAX_VALUES || n > 8 * MAX_REACH)
    return;
  run.frames = new_values (run.n * run.n_in);
  random_fill (run.frames, run.n * run.n_in, 2);
  for (size_t i = 0; i < run.n; i++)
    run.present[i] = more_bits () % 4 != 0;
  out = new_values (n * run.n_out);
  expected = new_values (n * run.n_out);
  must (attn_forward (layer, run.frames, run.present, run.n, 0, expected, NULL, NULL) == ATTN_OK);
  must (stream_in_pieces (&run, out) == n);
  must (n * run.n_out == 0 || memcmp (out, expected, n * run.n_out * sizeof *out) == 0);
  free (run.frames);
  free (out);
  free (expected);
}

static void
open_and_run (const void *data, size_t size, bool is_right)
{
  AttnError error;
  AttnLayer *layer;
  AttnStatus status = attn_encoder_open_memory (data, size, NULL, &layer, &error);

  must (status == error.status && (status == ATTN_OK) == (layer != NULL));
  must ((status == ATTN_OK) == (error.message[0] == '\0'));
  for (const char *c = error.message; *c != '\0'; c++)
    must (*c >= 0x20 && *c <= 0x7e);
  if (is_right && status != ATTN_OK)
    fprintf (stderr, "%s\n", error.message);
  must (!is_right || status == ATTN_OK);
  if (layer != NULL)
    run_layer (layer);
  attn_layer_free (layer);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  bool is_right = false;
  Encoder e;

  if (size == 0)
    return 0;
  input.data = data + 1;
  input.size = size - 1;
  input.state = size;
  if (*data % 4 == 0) {
    open_and_run (data + 1, size - 1, false);
    return 0;
  }
  e = *data % 4 == 1 ? encoder_of_text () : encoder_of_choices (&is_right);
  open_and_run (e.file.bytes, e.file.size, is_right);
  encoder_clear (&e);
  return 0;
}
