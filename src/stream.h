/* libattn: the inside of an AttnStream.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTN_SRC_STREAM_H
#define ATTN_SRC_STREAM_H

#include "attention.h"

struct AttnStream {
  const AttnLayer *layer;
  AttnRing ring;
  AttnScratch scratch;
  uint64_t next_output; /* the number of the next frame to leave; ring.next - next_output wait */
  bool at_end;          /* drained */
  float *gains;         /* [n_heads] */
  bool has_gains;       /* one of them is not 1 */

  /* What waits for later frames, by frame number modulo `n_waiting`. */
  size_t n_waiting; /* a power of two, at least ATTN_LANES */
  float *queries;   /* [n_waiting][n_query] */
  uint8_t *present; /* [n_waiting] */
};

/* Where frame number `frame` waits. */
static inline size_t
attn_stream_waiting (const AttnStream *stream, uint64_t frame)
{
  return frame & (stream->n_waiting - 1);
}

/* The frame that just came in waits for its look-ahead: queries [n_query], NULL when it is absent. */
void attn_stream_keep_query (AttnStream *stream, uint64_t frame, const float *queries);

#endif
