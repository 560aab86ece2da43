/* libattn: the inside of an AttnStream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STREAM_H
#define ATTN_SRC_STREAM_H

#include "blocks/attention.h"
#include "stream/layer.h"

struct AttnStream {
  const AttnLayer *layer;
  AttnWork work;
  AttnRequest request;
  char *memory; /* of everything in the stream */
  AttnChainState *chain;
  AttnAttentionState **attentions; /* [n_attentions] of the layer */
  AttnProgress in;                 /* the frames that came in */
  uint64_t next_output;            /* the number of the next one to leave */
  bool is_watched;                 /* one of the attentions is watched */
  bool ran_out_of_room;            /* attn_stream_finish (): outputs of the end may be left */
};

/* For streams of up to `max_frames` between two resets; SIZE_MAX: any number. */
AttnStatus attn_stream_new_for (const AttnLayer *layer, size_t max_frames, AttnStream **stream, AttnError *error);

/* The memory of a stream, of which attn_layer_stream_size () is the size. While the arena counts, only the request. */
void attn_stream_plan (AttnStream *stream, AttnArena *arena);

/* Where the outputs of a call go. */
typedef struct {
  float *out;       /* [][n_outputs], the next ones; NULL: not wanted */
  uint8_t *present; /* [], their marks; NULL: not wanted */
  uint64_t room;    /* outputs that fit */
  uint64_t n;       /* outputs that are written */
} AttnOutlet;

/*
 * The parts of attn_stream_run (): frames go in, which a stream at its end refuses; outputs come out, and false means
 * that the stream waits for its group; the call ends.
 */
bool attn_stream_begin_run (AttnStream *stream, const float *frames, uint64_t n, float *weights);
bool attn_stream_give (AttnStream *stream, AttnOutlet *outlet);
void attn_stream_end_run (AttnStream *stream, const float *weights);

/* ---- watch.c ---- */

/*
 * A call begins on a stream that is watched, or that must write `weights` of a single attention: a watcher has no rows
 * yet.
 */
void attn_stream_begin_rows (AttnStream *stream, float *weights);

/* A call that had weights ends. */
void attn_stream_end_rows (AttnStream *stream);

#endif
