/*
 * The gains of any attention inside of an encoder, set while it runs: they reach the heads and the rows that they are
 * for.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */

#include "encoder-attentions.h"

#define N_RANDOM random_rounds (400) /* encoders per property */

/* ---- gains of rows ---- */

/* gains [n][n_heads]: runs of rows with the same gains. */
static float *
random_gains (const Attention *a)
{
  static const float some[] = { 0, 1, 1, -0.5f, 1e-39f };
  float *gains = new_values (a->n * a->n_heads);

  for (size_t i = 0; i < a->n * a->n_heads; i++)
    gains[i] = random_between (0, 2) == 0 ? random_float (2) : some[random_between (0, 4)];
  for (size_t row = 1; row < a->n; row++)
    if (random_between (0, 2) != 0)
      memcpy (gains + row * a->n_heads, gains + (row - 1) * a->n_heads, a->n_heads * sizeof *gains);
  return gains;
}

/* Frame by frame, with gains set before each row; for the end of the stream the gains per row are set in advance. */
static void
play_frame_by_frame (const Story *s, const Attention *a, const float *gains, float *out)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  size_t row = 0, n_out = 0;

  for (size_t t = 0; t < s->n; t++) {
    size_t n = attn_stream_rows_ready (stream, a->number, 1);

    if (n > 1) /* a chunk is complete */
      MUST (attn_stream_set_row_gains (stream, a->number, gains + row * a->n_heads, n));
    for (uint32_t head = 0; n == 1 && head < a->n_heads; head++)
      MUST (attn_stream_set_gain (stream, a->number, head, gains[row * a->n_heads + head]));
    row += n;
    n_out += attn_stream_run (stream, frames_from (s, t), 1, out + n_out * s->encoder.n_out, NULL, NULL);
  }
  MUST (attn_stream_set_row_gains (stream, a->number, gains + row * a->n_heads, a->n - row));
  attn_stream_drain (stream, out + n_out * s->encoder.n_out, NULL);
  attn_stream_free (stream);
}

/* The rows that the watcher had room for are those of the attention alone: its gains do not change its weights. */
static bool
saw_the_rows (const AttnWatch *watch, const Attention *a)
{
  uint64_t n = watch->n_rows < watch->room ? watch->n_rows : watch->room;

  return same_bits (watch->weights, a->weights + (watch->first - a->first) * a->n_row, n * a->n_row);
}

/*
 * In pieces, with the gains of all rows set at the beginning, or those of each piece before it. The watcher, if not
 * NULL, has room for some of the rows of a piece. False: it saw others.
 */
static bool
play_with_row_gains (const Story *s, const Attention *a, const float *gains, AttnWatch *watch, float *out)
{
  AttnStream *stream = poisoned_stream (s->layer, s->first);
  bool at_once = random_between (0, 1), right = true;
  size_t row = 0, n_out = 0, n;

  if (watch != NULL)
    MUST (attn_stream_watch (stream, a->number, watch));
  MUST (attn_stream_set_row_gains (stream, a->number, gains, a->n));
  for (size_t begin = 0, end; begin <= s->n; begin = end) {
    end = end_of_piece (s, begin, s->n, random_between (1, 40));
    n = begin < s->n ? attn_stream_rows_ready (stream, a->number, end - begin) : a->n - row;
    if (!at_once)
      MUST (attn_stream_set_row_gains (stream, a->number, gains + row * a->n_heads, n));
    if (watch != NULL)
      watch->room = random_between (0, n);
    row += n;
    if (begin < s->n)
      n_out +=
          attn_stream_run (stream, frames_from (s, begin), end - begin, out + n_out * s->encoder.n_out, NULL, NULL);
    else
      attn_stream_drain (stream, out + n_out * s->encoder.n_out, NULL);
    right = right && (watch == NULL || saw_the_rows (watch, a));
  }
  attn_stream_free (stream);
  return right;
}

static bool
row_gains_hold_row_by_row (const Story *s, bool is_watched)
{
  Attention a = attention_of (s, random_between (0, attn_layer_n_attentions (s->layer) - 1));
  float *gains = random_gains (&a), *one = new_values (s->n_out * s->encoder.n_out);
  float *other = new_values (s->n_out * s->encoder.n_out);
  AttnWatch watch = { .weights = new_values (a.n * a.n_row) };
  bool same;

  play_frame_by_frame (s, &a, gains, one);
  same = play_with_row_gains (s, &a, gains, is_watched ? &watch : NULL, other)
         && same_bits (one, other, s->n_out * s->encoder.n_out);
  free (gains);
  free (one);
  free (other);
  free (watch.weights);
  attention_clear (&a);
  return same;
}

static bool
row_gains_hold (const Story *s)
{
  return row_gains_hold_row_by_row (s, false);
}

static bool
watched_row_gains_hold (const Story *s)
{
  return row_gains_hold_row_by_row (s, true);
}

TEST (gains_of_rows_are_those_set_before_each_row)
{
  check_stories (N_RANDOM, story_with_attention, row_gains_hold);
}

/* A watcher without room for all rows cuts the runs that the gains are read for. */
TEST (gains_of_rows_hold_beside_a_watcher_of_fewer_rows)
{
  check_stories (N_RANDOM, story_with_attention, watched_row_gains_hold);
}

/* ---- gains of heads ---- */

/* The same encoder with the columns of one head in the output projection of its attention set to 0. */
static AttnLayer *
layer_without_head (const Story *s, const Attention *a, uint32_t head)
{
  const AttentionNode *node = &a->path.nodes[a->path.n - 1].a;
  const Matrix *m = &node->weights[3];
  Encoder changed = s->encoder;
  AttnLayer *layer;

  changed.data.bytes = malloc (s->encoder.data.size);
  memcpy (changed.data.bytes, s->encoder.data.bytes, s->encoder.data.size);
  for (uint32_t row = 0; row < m->n_rows; row++)
    memset (changed.data.bytes + m->begin + (row * m->n_columns + head * node->dv) * sizeof (float), 0,
            node->dv * sizeof (float));
  changed.file = (Bytes){ 0 };
  finish_file (&changed);
  layer = open_layer (&changed, s->precision, NULL);
  free (changed.data.bytes);
  free (changed.file.bytes);
  return layer;
}

/* The whole story through a stream of `layer` in pieces; *rows, if not NULL, are those of `watched`. */
static void
play_through (const Story *s, AttnStream *stream, const Attention *watched, float *out, float *rows)
{
  AttnWatch watch = { 0 };
  size_t n_out = 0, n_rows = 0;

  if (rows != NULL)
    MUST (attn_stream_watch (stream, watched->number, &watch));
  for (size_t begin = 0, end; begin <= s->n; begin = end) {
    end = end_of_piece (s, begin, s->n, 7);
    watch.weights = rows != NULL ? rows + n_rows * watched->n_row : NULL;
    watch.room = watched->n - n_rows;
    if (begin == s->n)
      attn_stream_drain (stream, out + n_out * s->encoder.n_out, NULL);
    else
      n_out +=
          attn_stream_run (stream, frames_from (s, begin), end - begin, out + n_out * s->encoder.n_out, NULL, NULL);
    n_rows += watch.n_rows;
  }
}

/* To the bit: adding 0 to a sum that is cleaned at its end changes nothing. */
static bool
silenced_head_is_columns_of_0 (const Story *s)
{
  uint32_t n = attn_layer_n_attentions (s->layer);
  Attention a = attention_of (s, random_between (0, n - 1)), b = attention_of (s, random_between (0, n - 1));
  uint32_t head = random_between (0, a.n_heads - 1);
  bool same = true, look = random_between (0, 1);

  if (a.path.nodes[a.path.n - 1].a.weights[3].values != NULL) {
    AttnLayer *cut = layer_without_head (s, &a, head);
    AttnStream *stream = poisoned_stream (s->layer, s->first), *other = poisoned_stream (cut, s->first);
    float *out[2], *rows[2] = { NULL, NULL };

    for (int i = 0; i < 2; i++) {
      out[i] = new_values (s->n_out * s->encoder.n_out);
      rows[i] = look ? new_values (b.n * b.n_row) : NULL;
    }
    MUST (attn_stream_set_gain (stream, a.number, head, 0));
    play_through (s, stream, &b, out[0], rows[0]);
    play_through (s, other, &b, out[1], rows[1]);
    same = same_bits (out[0], out[1], s->n_out * s->encoder.n_out)
           && (!look || same_bits (rows[0], rows[1], b.n * b.n_row))
           && (!look || b.number > a.number || same_bits (rows[0], b.weights, b.n * b.n_row));
    for (int i = 0; i < 2; i++) {
      free (out[i]);
      free (rows[i]);
    }
    attn_stream_free (stream);
    attn_stream_free (other);
    attn_layer_free (cut);
  }
  attention_clear (&a);
  attention_clear (&b);
  return same;
}

TEST (silenced_head_of_any_attention_equals_output_columns_of_0)
{
  check_stories (N_RANDOM, story_with_attention, silenced_head_is_columns_of_0);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (gains_of_rows_are_those_set_before_each_row);
  RUN (gains_of_rows_hold_beside_a_watcher_of_fewer_rows);
  RUN (silenced_head_of_any_attention_equals_output_columns_of_0);
  return check_done ();
}
