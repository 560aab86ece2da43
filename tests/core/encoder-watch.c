/*
 * The attentions inside of an encoder, watched while it runs: rows equal those of the attention alone and of its
 * definition, and they come when the law says, numbered at the attention's own rate.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */

#include "encoder-attentions.h"
#include "layers.h"

#define N_RANDOM random_rounds (400) /* encoders per property */
#define MAX_ATTENTIONS 16
/*
 * Weights against the definition in double: a wrong slot, head or frame changes a digit, but the rounding of a dozen
 * blocks in front does not, even if some norms magnify it a thousand times.
 */
#define STRUCTURE 0x1p-8

/* ---- rows by the definition ---- */

/* The weight of slot `slot` of row t, from scores in double; 0 if nothing is attended to. */
static double
weight_by_law (const AttentionNode *a, const Signal *in, size_t t, size_t slot, const double *weights)
{
  size_t frame;

  if (slot >= a->sinks) {
    if (t + 1 + (slot - a->sinks) < a->window)
      return 0;
    frame = t + 1 + (slot - a->sinks) - a->window;
  } else {
    if (slot < in->first || slot - in->first > t || is_in_window (a, in, t, slot - in->first))
      return 0; /* there is no such sink, or the window still has it */
    return slot - in->first < in->n && attends (a, in, t, slot - in->first) ? weights[slot - in->first] : 0;
  }
  if (frame < in->n && !is_in_window (a, in, t, frame))
    return 0;
  return frame < in->n && attends (a, in, t, frame) ? weights[frame] : 0;
}

/* weights [n]: softmax of the scores of row t and `head` */
static void
softmax_by_law (const AttentionNode *a, const Signal *in, size_t t, uint32_t head, const double *q, const double *k,
                double *weights)
{
  uint32_t kv = head / (a->heads / a->kv_heads);
  double max = -INFINITY, sum = 0;

  for (size_t j = 0; j < in->n; j++)
    if (attends (a, in, t, j)) {
      weights[j] =
          attention_score (a, q + (t * a->heads + head) * a->dk, k + (j * a->kv_heads + kv) * a->dk, head, t, j);
      max = fmax (max, weights[j]);
    }
  for (size_t j = 0; j < in->n; j++)
    if (attends (a, in, t, j))
      sum += weights[j] = exp (weights[j] - max);
  for (size_t j = 0; j < in->n; j++)
    weights[j] /= sum;
}

static bool
rows_are_near (const Attention *a, const AttentionNode *given, const Signal *in)
{
  AttentionNode with_products = *given, *node = &with_products;
  double *q = project_signal (node, 0, in), *k = project_signal (node, 1, in);
  double *weights = malloc ((in->n + 1) * sizeof *weights);
  bool near = true;

  make_products (node, in->n, in->width);
  for (size_t t = 0; near && t < in->n; t++)
    for (uint32_t head = 0; near && head < node->heads; head++) {
      softmax_by_law (node, in, t, head, q, k, weights);
      for (size_t slot = 0; near && slot < a->span; slot++) {
        double expected = in->present[t] ? weight_by_law (node, in, t, slot, weights) : 0;
        float weight = a->weights[t * a->n_row + head * a->span + slot];

        near = fabs (weight - expected) <= STRUCTURE && (expected != 0 || weight == 0);
        if (!near)
          printf ("# attention %u, row %zu, head %u, slot %zu: %g, %g by the law\n", a->number, t, head, slot, weight,
                  expected);
      }
    }
  free (q);
  free (k);
  free (weights);
  free (node->products);
  return near;
}

/* Compares the rows of each attention alone, the reference for streams, with the law. */
static bool
rows_by_law (const Story *s)
{
  bool has_values = s->first < 1000000 && s->precision == ATTN_PRECISION_F32, kept = true;

  for (uint32_t i = 0; kept && i < attn_layer_n_attentions (s->layer); i++) {
    Attention a = attention_of (s, i);
    Chain front = { a.path.nodes, a.path.n - 1 };
    Signal frames = signal_new (s->n, s->encoder.n_in, s->first), in = frames;
    Law from_0 = a.law;

    from_0.first = 0;
    memcpy (frames.present, s->present, s->n);
    for (size_t j = 0; j < s->n * s->encoder.n_in; j++)
      frames.values[j] = s->present[j / s->encoder.n_in] ? s->frames[j] : 0;
    if (front.n > 0)
      in = chain_signal (&front, &frames);
    kept = in.n == a.n && memcmp (in.present, a.present, a.n) == 0
           && attn_layer_attention_stride (s->layer, i) == a.law.stride
           && attn_layer_attention_ready (s->layer, i, s->n) == law_ready (&from_0, s->n)
           && (!has_values || rows_are_near (&a, &a.path.nodes[a.path.n - 1].a, &in));
    if (front.n > 0)
      signal_clear (&in);
    signal_clear (&frames);
    attention_clear (&a);
  }
  return kept;
}

TEST (rows_of_every_attention_keep_the_law)
{
  check_stories (N_RANDOM, story_with_attention, rows_by_law);
}

/* ---- streams that are watched ---- */

/* A watcher: the rows seen so far, and the room for the next call. */
typedef struct {
  const Attention *attention;
  AttnWatch watch;
  size_t n_seen;
  uint64_t n_next; /* rows that the next call will compute at most; known before */
  size_t n_memory; /* rows of memory; there is as much as all of them, whatever the room */
} Watcher;

static void
attach (AttnStream *stream, Watcher *w)
{
  MUST (attn_stream_watch (stream, w->attention->number, &w->watch));
}

/* Gives room for all rows that come, or for fewer, or for none. */
static void
before_call (Watcher *w, uint64_t n_next)
{
  w->n_next = n_next;
  w->n_memory = n_next + 2;
  w->watch.room = random_between (0, 4) == 0 ? random_between (0, n_next) : n_next;
  w->watch.weights = random_between (0, 9) == 0 ? NULL : new_values (w->n_memory * w->attention->n_row);
  w->watch.present = random_between (0, 3) == 0 ? NULL : malloc (w->n_memory);
  if (w->watch.present != NULL)
    memset (w->watch.present, 2, w->n_memory);
}

/* The rows that a call wrote equal those of the attention alone, and nothing is written behind them. */
static bool
after_call (Watcher *w)
{
  const Attention *a = w->attention;
  const AttnWatch *watch = &w->watch;
  size_t n = watch->n_rows < watch->room ? watch->n_rows : watch->room;
  bool right = watch->first == a->first + w->n_seen && watch->n_rows <= w->n_next && w->n_seen + watch->n_rows <= a->n;

  if (right && watch->weights != NULL)
    right = same_bits (watch->weights, a->weights + w->n_seen * a->n_row, n * a->n_row)
            && is_untouched (watch->weights + n * a->n_row, (w->n_memory - n) * a->n_row);
  if (right && watch->present != NULL)
    right = memcmp (watch->present, a->present + w->n_seen, n) == 0 && watch->present[n] == 2;
  if (!right)
    printf ("# attention %u, %zu rows seen: then %llu from %llu on, of at most %llu; room for %llu\n", a->number,
            w->n_seen, (unsigned long long) watch->n_rows, (unsigned long long) watch->first,
            (unsigned long long) w->n_next, (unsigned long long) watch->room);
  w->n_seen += watch->n_rows;
  free (watch->weights);
  free (watch->present);
  return right;
}

/* All the watchers of a story, and the outputs. */
typedef struct {
  const Story *story;
  AttnStream *stream;
  Attention attentions[MAX_ATTENTIONS];
  Watcher watchers[MAX_ATTENTIONS]; /* of each attention */
  bool watched[MAX_ATTENTIONS];
  uint32_t n;
  float *out;
  size_t n_out;
} Play;

static bool
after_calls (Play *p, bool all)
{
  bool right = true;

  for (uint32_t i = 0; i < p->n; i++) {
    Watcher *w = &p->watchers[i];

    if (!p->watched[i])
      continue;
    right = after_call (w) && right && (!all || w->watch.n_rows == w->n_next);
    right = right && attn_stream_next_row (p->stream, i) == w->attention->first + w->n_seen;
  }
  return right;
}

/* Plays frames `begin` to before `end`, all present or all absent. */
static bool
play_piece (Play *p, size_t begin, size_t end)
{
  const Story *s = p->story;
  bool right = true;

  for (uint32_t i = 0; i < p->n; i++) {
    uint64_t n = attn_stream_rows_ready (p->stream, i, end - begin),
             n_pending = attn_stream_rows_pending (p->stream, i);

    right =
        right
        && attn_stream_next_row (p->stream, i) - p->attentions[i].first + n == law_ready (&p->attentions[i].law, end);
    right = right && n_pending <= s->n;
    if (p->watched[i])
      before_call (&p->watchers[i], n);
  }
  p->n_out += attn_stream_run (p->stream, frames_from (s, begin), end - begin, p->out + p->n_out * s->encoder.n_out,
                               NULL, NULL);
  return after_calls (p, true) && right;
}

/* Saves, and restores elsewhere: a watcher there sees the next rows. */
static bool
move_on (Play *p)
{
  State state = save (p->stream);
  bool right = true;

  attn_stream_free (p->stream);
  p->stream = poisoned_stream (p->story->layer, 0);
  for (uint32_t i = 0; i < p->n; i++)
    if (p->watched[i])
      attach (p->stream, &p->watchers[i]);
  MUST (attn_stream_restore (p->stream, state.bytes, state.size, NULL));
  for (uint32_t i = 0; i < p->n; i++)
    right = right
            && (!p->watched[i]
                || (p->watchers[i].watch.n_rows == 0
                    && p->watchers[i].watch.first == p->attentions[i].first + p->watchers[i].n_seen));
  free (state.bytes);
  return right;
}

/* In pieces, or all at once. */
static bool
play_end (Play *p)
{
  size_t room = random_between (0, 1) ? SIZE_MAX : random_between (16, 40), n;
  bool right = true;

  do {
    for (uint32_t i = 0; i < p->n; i++)
      if (p->watched[i])
        before_call (&p->watchers[i], attn_stream_rows_pending (p->stream, i));
    n = attn_stream_finish (p->stream, p->out + p->n_out * p->story->encoder.n_out, NULL, NULL, room);
    p->n_out += n;
    right = after_calls (p, room == SIZE_MAX) && right;
  } while (n > 0);
  for (uint32_t i = 0; i < p->n; i++)
    right = right && (!p->watched[i] || p->watchers[i].n_seen == p->attentions[i].n)
            && attn_stream_rows_pending (p->stream, i) == 0 && attn_stream_rows_ready (p->stream, i, 99) == 0;
  return right;
}

static Play
play_new (const Story *s)
{
  Play p = { .story = s, .n = attn_layer_n_attentions (s->layer), .out = new_values (s->n_out * s->encoder.n_out) };

  p.stream = poisoned_stream (s->layer, s->first);
  for (uint32_t i = 0; i < p.n; i++) {
    p.attentions[i] = attention_of (s, i);
    p.watched[i] = random_between (0, 3) != 0;
  }
  return p;
}

static void
play_clear (Play *p)
{
  for (uint32_t i = 0; i < p->n; i++)
    attention_clear (&p->attentions[i]);
  attn_stream_free (p->stream);
  free (p->out);
}

static bool
watched_stream_shows_the_rows (const Story *s)
{
  Play p = play_new (s);
  bool right = true;

  for (uint32_t i = 0; i < p.n; i++) {
    p.watchers[i] = (Watcher){ .attention = &p.attentions[i], .watch = { .first = 9999, .n_rows = 9999 } };
    if (p.watched[i]) {
      attach (p.stream, &p.watchers[i]);
      right = right && p.watchers[i].watch.n_rows == 0 && p.watchers[i].watch.first == p.attentions[i].first;
    }
  }
  for (size_t begin = 0, end; right && begin < s->n; begin = end) {
    end = end_of_piece (s, begin, s->n, random_between (0, 9) == 0 ? LONG_ABSENCE : random_between (1, 40));
    right = play_piece (&p, begin, end) && (random_between (0, 9) != 0 || move_on (&p));
  }
  right = right && play_end (&p) && p.n_out == s->n_out && same_bits (p.out, s->expected, s->n_out * s->encoder.n_out);
  play_clear (&p);
  return right;
}

TEST (watched_rows_have_the_bits_of_the_attention_alone)
{
  check_stories (N_RANDOM, story_with_attention, watched_stream_shows_the_rows);
}

/* ---- watchers ---- */

/* Two attentions with 2 and 4 weights per row, the second at half the rate. */
static AttnLayer *
small_encoder (void)
{
  Encoder e = begin_encoder (1, 9, true);
  AttnLayer *layer;

  free (add_weight (&e, "a", ".k_proj.weight", 1, 1).values);
  free (add_weight (&e, "a", ".q_proj.weight", 1, 1).values);
  free (add_weight (&e, "a", ".v_proj.weight", 1, 1).values);
  bytes_print (&e.json, "{'attention':'a','heads':1,'window':2},{'stack':2},{'linear':'b'},");
  free (add_weight (&e, "b", ".weight", 1, 2).values);
  bytes_print (&e.json, "{'attention':'a','heads':1,'window':2,'look-ahead':2}");
  end_encoder (&e);
  layer = open_layer (&e, ATTN_PRECISION_F32, NULL);
  encoder_clear (&e);
  return layer;
}

TEST (rows_are_counted_at_the_rate_of_their_attention)
{
  AttnLayer *layer = small_encoder ();
  AttnStream *stream;

  MUST (attn_stream_new (layer, &stream, NULL));
  MUST (attn_stream_reset (stream, 10, NULL));
  CHECK (attn_layer_attention_stride (layer, 0) == 1 && attn_layer_attention_stride (layer, 1) == 2);
  CHECK (attn_stream_next_row (stream, 0) == 10 && attn_stream_next_row (stream, 1) == 5);
  CHECK (attn_stream_rows_ready (stream, 0, 7) == 7 && attn_stream_rows_ready (stream, 1, 7) == 1);
  attn_stream_skip (stream, 7, NULL, NULL);
  CHECK (attn_stream_next_row (stream, 0) == 17 && attn_stream_next_row (stream, 1) == 6);
  CHECK (attn_stream_rows_pending (stream, 0) == 0 && attn_stream_rows_pending (stream, 1) == 2);
  CHECK (attn_layer_attention_stride (layer, 2) == 0 && attn_stream_next_row (stream, 2) == 0);
  CHECK (attn_stream_rows_ready (stream, 2, 7) == 0 && attn_stream_rows_pending (stream, 2) == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (former_watcher_sees_nothing_and_there_is_no_third_attention)
{
  AttnLayer *layer = small_encoder ();
  float weights[2][8] = { { 9 }, { 9 } }, frame = 1;
  AttnWatch watch[2] = { { .weights = weights[0], .room = 2 }, { .weights = weights[1], .room = 2 } };
  AttnStream *stream;

  MUST (attn_stream_new (layer, &stream, NULL));
  CHECK (attn_stream_watch (stream, 2, &watch[0]) == ATTN_ERROR_CONFIG);
  MUST (attn_stream_watch (stream, 0, &watch[0]));
  MUST (attn_stream_watch (stream, 0, &watch[1]));
  attn_stream_push (stream, &frame, 1, NULL, NULL);
  CHECK (watch[0].n_rows == 0 && weights[0][0] == 9);
  CHECK (watch[1].n_rows == 1 && weights[1][0] == 0 && weights[1][1] == 1);
  weights[1][1] = 9;
  MUST (attn_stream_watch (stream, 0, NULL));
  attn_stream_push (stream, &frame, 1, NULL, NULL);
  CHECK (watch[1].n_rows == 1 && watch[1].first == 0 && weights[1][1] == 9);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* A watcher need not wait for 10^12 rows, only for the rows that it has room for. */
TEST (long_absence_is_counted_and_written_as_far_as_there_is_room)
{
  AttnLayer *layer = small_encoder ();
  float weights[3 * 4], frames[4] = { 1, 2, 3, 4 };
  uint8_t present[3];
  AttnWatch watch = { .weights = weights, .present = present, .room = 2 };
  AttnStream *stream;

  fill_bits (weights, 3 * 4, untouched_bits);
  memset (present, 2, sizeof present);
  MUST (attn_stream_new (layer, &stream, NULL));
  MUST (attn_stream_watch (stream, 1, &watch));
  attn_stream_push (stream, frames, 4, NULL, NULL);
  CHECK (watch.n_rows == 0 && is_untouched (weights, 12) && present[0] == 2);
  attn_stream_skip (stream, UINT64_C (1000000000000), NULL, NULL);
  CHECK (watch.first == 0 && watch.n_rows == UINT64_C (500000000000));
  CHECK (present[0] == 1 && present[1] == 1 && present[2] == 2 && is_untouched (weights + 8, 4));
  CHECK (fabsf (weights[1] + weights[2] - 1) <= 1e-6f && fabsf (weights[4] + weights[5] - 1) <= 1e-6f);
  attn_stream_skip (stream, 6, NULL, NULL);
  CHECK (watch.first == UINT64_C (500000000000) && watch.n_rows == 3 && present[0] == 0 && present[1] == 0);
  CHECK (weights[0] == 0 && weights[1] == 0 && weights[7] == 0 && present[2] == 2);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Rows that a call asks for go to its own array, and to the watcher as well. */
TEST (single_attention_is_watched_beside_the_weights_of_a_call)
{
  for (int i = 0; i < N_RANDOM / 4; i++) {
    RandomLayer r = random_layer ();
    size_t n_in = attn_layer_n_features (r.layer), n = random_between (1, 50), n_row = n_weights (r.layer), n_out;
    float *frames = new_values (n * n_in), *asked = new_values (n * n_row), *seen = new_values (n * n_row);
    float *out = new_values (n * attn_layer_n_outputs (r.layer));
    size_t room = random_between (0, n);
    AttnWatch watch = { .weights = seen, .room = room };
    AttnStream *stream;
    bool same;

    random_fill (frames, n * n_in, 2);
    MUST (attn_stream_new (r.layer, &stream, NULL));
    MUST (attn_stream_watch (stream, 0, &watch));
    n_out = attn_stream_push (stream, frames, n, NULL, asked);
    room = n_out < room ? n_out : room;
    same = watch.n_rows == n_out && same_bits (seen, asked, room * n_row)
           && is_untouched (seen + room * n_row, (n - room) * n_row + 1);
    watch.room = n;
    n_out += attn_stream_drain (stream, NULL, asked + n_out * n_row);
    same = same && n_out == n && same_bits (seen, asked + (n - watch.n_rows) * n_row, watch.n_rows * n_row);
    MUST (attn_forward (r.layer, frames, NULL, n, 0, out, seen, NULL));
    same = same && same_bits (seen, asked, n * n_row);
    free (frames);
    free (asked);
    free (seen);
    free (out);
    attn_stream_free (stream);
    random_layer_clear (&r);
    CHECK_MSG (same, "configuration %d", i);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (rows_of_every_attention_keep_the_law);
  RUN (watched_rows_have_the_bits_of_the_attention_alone);
  RUN (rows_are_counted_at_the_rate_of_their_attention);
  RUN (former_watcher_sees_nothing_and_there_is_no_third_attention);
  RUN (long_absence_is_counted_and_written_as_far_as_there_is_room);
  RUN (single_attention_is_watched_beside_the_weights_of_a_call);
  return check_done ();
}
