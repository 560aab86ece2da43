/*
 * libattn: the block `attention`: projections, a window of keys and values, softmax over it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   attention_sizes.c its sizes
 *   attention.c         the block: made, hashed, and its state in a stream: frames in, outputs out
 *   attention_rows.c    the mathematics: the queries of a block of frames against the window
 *   attention_state.c   the section of a saved state
 *   attention_watch.c   the watcher of its rows, and the gains that they are computed with
 */
#ifndef ATTN_SRC_ATTENTION_H
#define ATTN_SRC_ATTENTION_H

#include "blocks/block.h"
#include "blocks/attention_sizes.h"
#include "blocks/delay.h"
#include "blocks/distances.h"
#include "blocks/position.h"
#include "blocks/ring.h"

typedef struct {
  AttnBlock block;
  AttnConfig config; /* in effect */
  AttnSizes sizes;
  AttnProjection input;          /* [n_projected]: queries, keys and values of all heads, one after another */
  AttnProjection output;         /* [n_outputs] */
  AttnNorm query_norm, key_norm; /* width 0: there are none */
  float *norm_values;            /* [4][dk]: the arrays of both */
  AttnPositions positions;
  AttnDistances distances;
  uint64_t n_operations; /* of a frame */
  size_t n_values;       /* of a frame, that one step leaves to the next one */
} AttnAttention;

/* Working memory for up to ATTN_LANES frames. */
typedef struct {
  float *projected; /* [16][n_projected]: queries, keys and values of each frame */
  float *contexts;  /* [16][n_context] */
  float *scores;    /* [n_threads][16][n_slots][16]: the queries of a head, or the heads of a query */
  uint32_t *slots;  /* [n_slots] of a view */
  uint16_t *masks;  /* [16][n_slots] of a view */
  uint16_t *left;   /* [n_threads][left_size], left operands for a matrix unit */
  size_t left_size; /* 0: there is none */
  float *queries;   /* [2][16][n_query] plus u, and plus v; of Transformer-XL's positions, as the next ones */
  float *distances; /* [n_threads][16] rows of scores by distance */
  float *cosines;   /* [n_rope_pairs], of one frame */
  float *sines;     /* [n_rope_pairs] */
} AttnScratch;

/* The state in a stream. */
typedef struct {
  const AttnAttention *attention;
  const AttnWork *work;
  AttnRing ring;
  AttnDelay queries; /* [][n_query] of the frames that wait for their look-ahead */
  AttnScratch scratch;
  const float *taken;   /* [n_taken][n_features] */
  size_t n_taken;       /* frames whose projection the stream waits for */
  size_t n_projected;   /* frames in scratch.projected */
  size_t n_stored;      /* of them, frames in the ring */
  AttnRun given;        /* outputs whose contexts are computed, but not their projection; n = 0: none */
  uint64_t next_output; /* the number of the next frame to leave; ring.next - next_output wait */
  uint64_t n_absent;    /* number of absent frames at the end of those that came in */
  bool at_end;          /* no more frames will come */
  bool has_gains;       /* one of them is not 1 */
  float *gains;         /* [n_heads] */

  /* Rows, one for each output. */
  bool by_row;            /* one of these is set */
  float *weights;         /* [][n_heads][span] of the next rows; moves on with them. NULL: the call asks for none */
  AttnWatch *watch;       /* NULL: there is no watcher */
  const float *row_gains; /* [n_row_gains][n_heads] of the next rows; moves on with them */
  uint64_t n_row_gains;
} AttnAttentionState;

extern const AttnBlockKind attn_attention_kind;

/*
 * Makes the block that `config` and `model` (NULL: parameter-free) describe. On failure the caller frees *attention by
 * its kind's free (). `machine` must outlive the block.
 */
AttnStatus attn_attention_new (const AttnConfig *config, const AttnModel *model, const AttnMachine *machine,
                               AttnAttention **attention, AttnError *error);

/* ---- attention_watch.c ---- */

/* As attn_stream_set_gain (), attn_stream_set_row_gains () and attn_stream_watch (). */
AttnStatus attn_attention_set_gain (AttnAttentionState *state, uint32_t head, float gain);
AttnStatus attn_attention_set_row_gains (AttnAttentionState *state, const float *gains, uint64_t n);
void attn_attention_watch (AttnAttentionState *state, AttnWatch *watch);

/* The weights of the next rows go to `weights`; NULL: only to the watcher. */
void attn_attention_set_weights (AttnAttentionState *state, float *weights);

/*
 * Called, if by_row is set, before the rows of `run` are computed: sets their gains, and may shorten `run`. Returns
 * where its weights go; NULL: nowhere.
 */
float *attn_attention_begin_rows (AttnAttentionState *state, AttnRun *run);

/* The rows of `run` have been computed, unless they are absent. */
void attn_attention_end_rows (AttnAttentionState *state, const AttnRun *run, float *weights);

/* ---- attention_rows.c ---- */

void attn_scratch_plan (AttnScratch *scratch, const AttnAttention *attention, const AttnRing *ring, AttnArena *arena);

/* `n` <= 16 frames are the frames taken. They must stay where they are until they are projected. */
void attn_take_frames (AttnAttentionState *state, const float *frames, size_t n);

/*
 * Projects the frames taken, of which there are none then, and appends their queries to the delay line. Their keys and
 * values wait in scratch->projected for attn_store_frames (). False: the stream waits.
 */
bool attn_project_frames (AttnAttentionState *state);

/*
 * Appends the keys and values that wait to the ring, as many as fit into its current tile: outputs that are ready may
 * need what stands in the next one. False: none waits.
 */
bool attn_store_frames (AttnAttentionState *state);

/*
 * The `n` <= 16 frames from next_output on, whose queries [n][n_query] have waited, against the frames that the ring
 * holds for them. Writes contexts [n][n_context], times the gains, and, if wanted, weights [n][n_heads][span].
 */
void attn_attend (AttnAttentionState *state, size_t n, const float *queries, float *contexts, float *weights);

/* out [n][n_outputs] of scratch->contexts. False: the stream waits. */
bool attn_finish (AttnAttentionState *state, size_t n, float *out);

/* ---- attention_state.c, as AttnBlockKind has them ---- */

size_t attn_attention_saved_size (const void *state);
uint8_t *attn_attention_save (const void *state, uint8_t *bytes);
AttnStatus attn_attention_check (const void *state, const uint8_t *bytes, size_t size, AttnProgress *progress,
                                 AttnError *error);
void attn_attention_restore (void *state, const uint8_t *bytes, AttnProgress *progress);

#endif
