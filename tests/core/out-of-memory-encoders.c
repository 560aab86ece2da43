/*
 * Each allocation fails in turn (failures.h) while encoders of every kind of block are opened, and while streams and
 * groups over them are made. What comes later (pushes, watches, gains, states) does not allocate: core-real-time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* off_t, setenv */
#include <stdlib.h>

#include "encoders.h"
#include "failures-of-layers.h"

#define N_ROUNDS 40 /* of random encoders */

static const Encoder *encoder;
static AttnEncoderOptions options;

static AttnStatus
open_encoder (AttnError *error)
{
  AttnLayer *opened;
  AttnStatus status = attn_encoder_open_memory (encoder->file.bytes, encoder->file.size, &options, &opened, error);

  if (status != ATTN_OK && opened != NULL)
    return ATTN_OK; /* which is wrong */
  attn_layer_free (opened);
  return status;
}

/* It has no sentence to give. */
static AttnStatus
run_forward (AttnError *error)
{
  static float frames[MAX_STRIDE * MAX_WIDTH], out[(MAX_STRIDE + 1) * MAX_STACKED];

  error->message[0] = 'x';
  return attn_forward (layer, frames, NULL, 1, 0, out, NULL, NULL);
}

static void
fail_every_call (const Encoder *of)
{
  AttnError error;

  encoder = of;
  fail_each ("attn_encoder_open_memory", open_encoder);
  CHECK_MSG (attn_encoder_open_memory (of->file.bytes, of->file.size, &options, &layer, &error) == ATTN_OK, "%s",
             error.message);
  fail_each ("attn_stream_new", make_stream);
  fail_each ("attn_group_new", make_group);
  fail_each ("attn_forward", run_forward);
  attn_layer_free (layer);
}

static AttnEncoderOptions
options_of (AttnPrecision precision, AttnArithmetic arithmetic, uint32_t n_threads)
{
  AttnEncoderOptions result = attn_encoder_options_default ();

  result.precision = precision;
  result.arithmetic = arithmetic;
  result.n_threads = n_threads;
  return result;
}

TEST (every_kind_of_block_that_does_not_fit_is_a_status)
{
  for (BlockKind kind = 0; kind < N_BLOCK_KINDS; kind++) {
    Encoder e = encoder_of_one (kind);

    printf ("# %s\n", block_names[kind]);
    options = options_of (kind % 3, ATTN_ARITHMETIC_EXACT, 1);
    fail_every_call (&e);
    encoder_clear (&e);
    if (check_failed)
      return;
  }
}

TEST (random_encoder_that_does_not_fit_is_a_status)
{
  for (int i = 0, n = random_rounds (N_ROUNDS); i < n && !check_failed; i++) {
    Encoder e = random_encoder (12, true);

    options = options_of (random_between (0, 2), ATTN_ARITHMETIC_EXACT, random_between (1, 3));
    fail_every_call (&e);
    encoder_clear (&e);
  }
}

TEST (encoder_for_a_matrix_unit_that_does_not_fit_is_a_status)
{
  setenv ("ATTN_MATRIX", "c", 1);
  for (int i = 0, n = random_rounds (N_ROUNDS); i < n && !check_failed; i++) {
    Encoder e = random_encoder (8, true);

    options = options_of (random_between (0, 2), ATTN_ARITHMETIC_FAST, 2);
    fail_every_call (&e);
    encoder_clear (&e);
  }
  unsetenv ("ATTN_MATRIX");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (every_kind_of_block_that_does_not_fit_is_a_status);
  RUN (random_encoder_that_does_not_fit_is_a_status);
  RUN (encoder_for_a_matrix_unit_that_does_not_fit_is_a_status);
  return check_done ();
}
