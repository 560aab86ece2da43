/* libattn: the inside of an AttnStream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STREAM_H
#define ATTN_SRC_STREAM_H

#include "blocks/attention.h"
#include "stream/layer.h"

struct AttnStream {
  const AttnLayer *layer;
  AttnWork work;
  char *memory; /* of all that follows */
  AttnChainState *chain;
  AttnAttentionState **attentions; /* [n_attentions] of the layer */
  AttnProgress in;                 /* of the frames that came */
  uint64_t next_output;            /* the number of the next one to leave */
  bool is_watched;                 /* one of the attentions is */
};

/* For streams of up to `max_frames` between two resets; SIZE_MAX: any number. */
AttnStatus attn_stream_new_for (const AttnLayer *layer, size_t max_frames, AttnStream **stream, AttnError *error);

/* ---- watch.c ---- */

/*
 * A call begins, of a stream that is watched, or with `weights` that are wanted of a layer that is a single attention:
 * who watches has no rows yet.
 */
void attn_stream_begin_rows (AttnStream *stream, float *weights);

/* A call ends that had weights. */
void attn_stream_end_rows (AttnStream *stream);

#endif
