/*
 * libattn: the arithmetic of a convolution: its parameters, packed, and its outputs from rows of frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A row is a frame as [bins][channels], with the zeros below and above its bins: so what an output reads of a row is
 * one piece, and the channels stand beside each other, as vectors want them.
 */
#ifndef ATTN_SRC_CONV_TAPS_H
#define ATTN_SRC_CONV_TAPS_H

#include "blocks/conv.h"
#include "parameters/model.h"

/* Where channel c of bin f of a frame stands: at c channel + f bin. `channel` is 1 if a frame is [bins][channels]. */
typedef struct {
  size_t channel, bin;
} AttnFrameOrder;

typedef struct {
  const AttnMachine *machine;
  AttnConv conv;               /* without weight and bias */
  size_t n_taps;               /* over time and bins */
  size_t n_bins;               /* of an output */
  size_t row_width;            /* values of a row */
  AttnFrameOrder in, out;      /* of frames that come in, and of outputs */
  AttnProjection *projections; /* [groups], each over all taps of a group; NULL: each channel is convolved by itself */
  size_t n_multiples;          /* outputs of each channel, if it is convolved by itself */
  float *weight;               /* [n_multiples][n_taps][n_inputs], if so */
  float *start;                /* [n_multiples][n_inputs] */
} AttnTaps;

/* Room for computing, part of a stream's state. */
typedef struct {
  float *gathered;  /* [16][n_taps][channels of a group] */
  float *positions; /* outputs before they go to their places: [16][outputs of a group], or [bins or 16][n_inputs] */
  float *frame;     /* [n_inputs][n_bins] */
  uint16_t *left;   /* for a left operand (matrix.h) */
  size_t n_done;    /* if the stream waits: the number of requests that are done, of those of all outputs */
} AttnTapsRoom;

/* On failure the caller clears what is half-built. */
AttnStatus attn_taps_init (AttnTaps *taps, const AttnMachine *machine, const AttnConv *conv, AttnError *error);
void attn_taps_clear (AttnTaps *taps);

/* `hash`, continued with everything that the outputs depend on. */
uint64_t attn_taps_hash (uint64_t hash, const AttnTaps *taps);

AttnTapsRoom attn_taps_plan (const AttnTaps *taps, const AttnWork *work, AttnArena *arena);

/* rows [n][row_width], whose zeros below and above the bins are there, = frames [n][n_inputs n_bins], cleaned. */
void attn_taps_store (const AttnTaps *taps, float *rows, const float *frames, size_t n, AttnFrameOrder order);

/* The opposite for one row: its frame as [channels][bins]. It stands in the row itself, or in room->frame. */
const float *attn_taps_frame (const AttnTaps *taps, const AttnTapsRoom *room, const float *row);

/* The order of a frame [channels][bins]. Where each channel has one bin, or where there is one channel, it is both. */
static inline AttnFrameOrder
attn_channels_first (size_t n_channels, size_t n_bins)
{
  return (AttnFrameOrder){ .channel = n_channels > 1 ? n_bins : 1, .bin = 1 };
}

/*
 * out [n][n_outputs of the block], n <= 16. The first of them reads from `rows` on. False: the stream waits, and the
 * same call follows.
 */
bool attn_taps_run (const AttnTaps *taps, const AttnWork *work, AttnTapsRoom *room, const float *rows, size_t n,
                    float *out);

#endif
