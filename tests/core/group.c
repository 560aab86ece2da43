/*
 * Groups: many streams pushed in one call have the bits that each has alone, whoever shares the call, and parameters
 * are read once for all of them.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* setenv () */

#include "encoder-stories.h"

#define N_LAYERS random_rounds (250) /* of each kind */
#define N_ROUNDS 24                  /* calls of a group */
#define MAX_STREAMS 40               /* more than rows of a block */
#define MAX_PIECE 40                 /* frames of a stream in a call: more than rows of a block */
#define MAX_OUT (MAX_PIECE + 16)     /* outputs, and rows of an attention, of a stream in a call */

/* ---- a stream and its twin, which lives the same life alone ---- */

/* What one of the two has written. */
typedef struct {
  AttnStream *stream;
  float *out, *weights, *rows; /* of a call, and of the watched attention */
  uint8_t *marks;
  AttnWatch watch;
  size_t n_out;
} Half;

typedef struct {
  Half halves[2]; /* in a group, alone */
  float *frames;  /* of a call, [MAX_PIECE][n_in] */
  float *gains;   /* of the next rows */
} Twins;

/* What all twins of a test share. */
typedef struct {
  AttnLayer *layer;
  bool is_single;
  uint32_t n_in, n_out, n_attentions;
  size_t n_row;        /* weights of a row of the single attention */
  size_t n_longest;    /* weights of the longest row of any attention */
  uint32_t most_heads; /* of any attention */
  Twins twins[MAX_STREAMS];
  size_t n;
} Family;

static void
half_new (Half *half, const Family *f, uint64_t first)
{
  half->stream = poisoned_stream (f->layer, first);
  half->out = new_values (MAX_OUT * f->n_out);
  half->weights = new_values (f->is_single ? MAX_OUT * f->n_row : 0);
  half->rows = new_values (MAX_OUT * f->n_longest);
  half->marks = malloc (MAX_OUT);
}

static void
half_clear (Half *half)
{
  attn_stream_free (half->stream);
  free (half->out);
  free (half->weights);
  free (half->rows);
  free (half->marks);
}

static uint64_t
random_first (const Family *f)
{
  uint64_t far = random_between (0, 3) == 0 ? UINT64_C (1000000000000000) : 0;

  return (far / attn_layer_stride (f->layer) + random_between (0, 40)) * attn_layer_stride (f->layer);
}

static Family *
family_new (AttnLayer *layer, bool is_single)
{
  Family *f = calloc (1, sizeof *f);

  *f = (Family){ .layer = layer, .is_single = is_single, .n = random_between (1, MAX_STREAMS) };
  f->n_in = attn_layer_n_features (layer);
  f->n_out = attn_layer_n_outputs (layer);
  f->n_row = n_weights (layer);
  f->n_attentions = attn_layer_n_attentions (layer);
  for (uint32_t i = 0; i < f->n_attentions; i++) {
    const AttnConfig *a = attn_layer_attention (layer, i);
    size_t n = (size_t) a->n_heads * (a->n_sinks + a->window + a->look_ahead);

    f->n_longest = n > f->n_longest ? n : f->n_longest;
    f->most_heads = a->n_heads > f->most_heads ? a->n_heads : f->most_heads;
  }
  for (size_t i = 0; i < f->n; i++) {
    uint64_t first = random_first (f);

    for (int j = 0; j < 2; j++)
      half_new (&f->twins[i].halves[j], f, first);
    f->twins[i].frames = new_values (MAX_PIECE * f->n_in);
    f->twins[i].gains = new_values (MAX_PIECE * f->most_heads);
  }
  return f;
}

static void
family_free (Family *f)
{
  for (size_t i = 0; i < f->n; i++) {
    half_clear (&f->twins[i].halves[0]);
    half_clear (&f->twins[i].halves[1]);
    free (f->twins[i].frames);
    free (f->twins[i].gains);
  }
  free (f);
}

/* ---- what happens to both between two calls ---- */

/* Both go on from the state of another stream. */
static void
restore_both (Twins *to, const Twins *from)
{
  State state = save (from->halves[0].stream);

  for (int j = 0; j < 2; j++)
    MUST (attn_stream_restore (to->halves[j].stream, state.bytes, state.size, NULL));
  free (state.bytes);
}

static void
change_gains (const Family *f, Twins *t, uint32_t attention)
{
  uint32_t n_heads = attn_layer_attention (f->layer, attention)->n_heads, head = random_between (0, n_heads - 1);
  float gain = random_between (0, 1) ? 0 : random_float (2);
  uint64_t n = random_between (0, 1) ? 0 : random_between (1, MAX_PIECE);

  for (size_t i = 0; i < MAX_PIECE * f->most_heads; i++)
    t->gains[i] = i > 0 && random_between (0, 1) ? t->gains[i - 1] : random_float (2);
  for (int j = 0; j < 2; j++) {
    MUST (attn_stream_set_gain (t->halves[j].stream, attention, head, gain));
    MUST (attn_stream_set_row_gains (t->halves[j].stream, attention, t->gains, n));
  }
}

static void
change_watch (const Family *f, Twins *t, uint32_t attention)
{
  uint64_t room = random_between (0, 3) == 0 ? 0 : random_between (1, MAX_OUT);
  bool wanted = random_between (0, 3) != 0;

  for (uint32_t i = 0; i < f->n_attentions; i++)
    for (int j = 0; j < 2; j++) {
      Half *half = &t->halves[j];

      half->watch = (AttnWatch){ .weights = half->rows, .room = room };
      MUST (attn_stream_watch (half->stream, i, wanted && i == attention ? &half->watch : NULL));
    }
}

static void
change_something (Family *f, Twins *t)
{
  uint32_t attention = f->n_attentions > 0 ? random_between (0, f->n_attentions - 1) : 0;
  uint64_t first = random_first (f);

  switch (random_between (0, 9)) {
  case 0:
    for (int j = 0; j < 2; j++)
      MUST (attn_stream_reset (t->halves[j].stream, first, NULL));
    break;
  case 1:
    restore_both (t, &f->twins[random_between (0, f->n - 1)]);
    break;
  case 2: /* until the next reset a push does nothing */
    for (int j = 0; j < 2; j++)
      attn_stream_drain (t->halves[j].stream, NULL, NULL);
    break;
  case 3:
    if (f->n_attentions > 0)
      change_gains (f, t, attention);
    break;
  case 4:
    if (f->n_attentions > 0)
      change_watch (f, t, attention);
    break;
  default:
    break;
  }
}

/* ---- calls ---- */

/* Frames as a live program has them: mostly one; sometimes none, a few, absent ones, or a long absence. */
static AttnPush
random_push (const Family *f, Twins *t)
{
  Half *half = &t->halves[0];
  bool is_present = random_between (0, 3) != 0;
  AttnPush push = { .stream = half->stream, .n_frames = 1 };

  random_fill (t->frames, MAX_PIECE * f->n_in, 2);
  if (random_between (0, 2) == 0)
    push.n_frames = random_between (0, random_between (0, 1) ? 3 : MAX_PIECE);
  push.frames = is_present ? t->frames : NULL;
  push.out = random_between (0, 9) != 0 ? half->out : NULL;
  push.weights = f->is_single && random_between (0, 2) == 0 ? half->weights : NULL;
  push.present = random_between (0, 1) ? half->marks : NULL;
  if (!is_present && random_between (0, 9) == 0) { /* nothing is written, so that its length does not matter */
    push.n_frames = UINT64_C (1) << random_between (6, 40);
    push.out = NULL;
    push.weights = NULL;
    push.present = NULL;
  }
  return push;
}

static void
clear_half (const Family *f, Half *half)
{
  fill_bits (half->out, MAX_OUT * f->n_out, untouched_bits);
  fill_bits (half->weights, f->is_single ? MAX_OUT * f->n_row : 0, untouched_bits);
  fill_bits (half->rows, MAX_OUT * f->n_longest, untouched_bits);
  memset (half->marks, 0xab, MAX_OUT);
}

/* The twin does the same alone. */
static void
push_alone (Twins *t, const AttnPush *push)
{
  Half *half = &t->halves[1];

  half->n_out =
      attn_stream_run (half->stream, push->frames, push->n_frames, push->out != NULL ? half->out : NULL,
                       push->weights != NULL ? half->weights : NULL, push->present != NULL ? half->marks : NULL);
}

static bool
same_halves (const Family *f, const Twins *t)
{
  const Half *a = &t->halves[0], *b = &t->halves[1];

  return a->n_out == b->n_out && same_bits (a->out, b->out, MAX_OUT * f->n_out)
         && same_bits (a->weights, b->weights, f->is_single ? MAX_OUT * f->n_row : 0)
         && same_bits (a->rows, b->rows, MAX_OUT * f->n_longest) && memcmp (a->marks, b->marks, MAX_OUT) == 0
         && a->watch.n_rows == b->watch.n_rows && a->watch.first == b->watch.first
         && attn_stream_next_frame (a->stream) == attn_stream_next_frame (b->stream)
         && attn_stream_next_output (a->stream) == attn_stream_next_output (b->stream);
}

/* Some of the twins, in any order, in one call. */
static bool
call_group (Family *f, AttnGroup *group)
{
  size_t who[MAX_STREAMS], n = random_between (0, f->n);
  AttnPush pushes[MAX_STREAMS];
  bool same = true;

  for (size_t i = 0; i < f->n; i++) {
    size_t j = random_between (0, i);

    who[i] = who[j];
    who[j] = i;
  }
  for (size_t i = 0; i < n; i++) {
    Twins *t = &f->twins[who[i]];

    clear_half (f, &t->halves[0]);
    clear_half (f, &t->halves[1]);
    pushes[i] = random_push (f, t);
    push_alone (t, &pushes[i]);
  }
  MUST (attn_group_push (group, pushes, n, NULL));
  for (size_t i = 0; i < n; i++) {
    f->twins[who[i]].halves[0].n_out = pushes[i].n_out;
    if (!same_halves (f, &f->twins[who[i]])) {
      printf ("# stream %zu of %zu, %llu frames\n", i, n, (unsigned long long) pushes[i].n_frames);
      same = false;
    }
  }
  return same;
}

/* Both halves have the same past. */
static bool
same_states (const Family *f)
{
  bool same = true;

  for (size_t i = 0; i < f->n; i++) {
    State a = save (f->twins[i].halves[0].stream), b = save (f->twins[i].halves[1].stream);

    same = same && same_state (&a, &b);
    free (a.bytes);
    free (b.bytes);
  }
  return same;
}

static bool
group_equals_alone (AttnLayer *layer, bool is_single)
{
  Family *f = family_new (layer, is_single);
  AttnGroup *group;
  bool same = true;

  MUST (attn_group_new (layer, f->n, &group, NULL));
  for (int round = 0; same && round < N_ROUNDS; round++) {
    for (size_t i = 0; i < f->n; i++)
      change_something (f, &f->twins[i]);
    same = call_group (f, group);
  }
  same = same && same_states (f);
  attn_group_free (group);
  family_free (f);
  return same;
}

TEST (streams_of_a_layer_have_the_bits_of_each_alone)
{
  for (int i = 0; i < N_LAYERS; i++) {
    uint64_t seed = random_state;
    RandomLayer r = random_layer ();
    bool same = group_equals_alone (r.layer, true);

    random_layer_clear (&r);
    CHECK_MSG (same, "layer %d: ATTN_TEST_SEED=%llu", i, (unsigned long long) seed);
  }
}

TEST (streams_of_every_kind_of_block_have_the_bits_of_each_alone)
{
  for (BlockKind kind = 0; kind < N_BLOCK_KINDS; kind++)
    for (int i = 0; i < random_rounds (20); i++) {
      uint64_t seed = random_state;
      Story s = story_of (encoder_of_one (kind));
      bool same = group_equals_alone (s.layer, false);

      if (!same)
        print_story (&s, seed);
      story_clear (&s);
      CHECK_MSG (same, "%s %d", block_names[kind], i);
    }
}

static bool
encoder_group_equals_alone (const Story *s)
{
  return group_equals_alone (s->layer, false);
}

TEST (streams_of_an_encoder_have_the_bits_of_each_alone)
{
  check_stories (N_LAYERS, random_story, encoder_group_equals_alone);
}

/* ---- what a call costs ---- */

static const AttnKernels *true_kernels;
static size_t n_projections, n_projected;

static void
count_project (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
               const AttnProjection *projection)
{
  n_projections++;
  n_projected += n_frames;
  true_kernels->project (out, out_stride, in, in_stride, n_frames, projection);
}

#define WIDTH 8

/* A linear layer, an attention over a window, as chunks give no output for most frames, and a linear layer. */
static void
three_blocks (Encoder *e)
{
  *e = (Encoder){ 0 };
  do {
    encoder_clear (e);
    *e = begin_encoder (WIDTH, 3, false);
    add_block (e, &e->chain, WIDTH, BLOCK_LINEAR, WIDTH, 0);
    add_block (e, &e->chain, WIDTH, BLOCK_ATTENTION, 0, 0);
    add_block (e, &e->chain, chain_width (&e->chain, 0), BLOCK_LINEAR, WIDTH, 0);
    end_encoder (e);
  } while (e->chain.nodes[1].a.chunk != 0);
}

/* The stream is at a frame of its own, and each frame that it gets from now on gives an output. */
static AttnStream *
stream_of_any_age (const AttnLayer *layer)
{
  AttnStream *stream = poisoned_stream (layer, random_between (0, 100));
  float frames[MAX_PIECE * WIDTH];

  random_fill (frames, MAX_PIECE * WIDTH, 1);
  attn_stream_push (stream, frames, random_between (5, MAX_PIECE), NULL, NULL);
  return stream;
}

/*
 * One call of 16 streams, which fill a block of rows. Or else (`is_full` false) the eighth has no frame, and those of
 * another two are absent, so that with a look-ahead they have an output to compute, but no frame.
 */
static bool
reads_each_parameter_once (AttnLayer *layer, const AttentionNode *a, bool is_full)
{
  size_t n_early = is_full ? 16 : 13, n_late = is_full ? 16 : a->look_ahead > 0 ? 15 : 13;
  size_t n_output = a->weights[3].values != NULL, n_linear = 3 + n_output;
  size_t n_rows = 2 * n_early + (n_output + 1) * n_late;
  float frames[16][WIDTH], out[16][WIDTH];
  AttnPush pushes[16];
  AttnGroup *group;
  bool right;

  MUST (attn_group_new (layer, 16, &group, NULL));
  random_fill (frames[0], 16 * WIDTH, 1);
  for (size_t i = 0; i < 16; i++) {
    pushes[i] = (AttnPush){ .stream = stream_of_any_age (layer), .n_frames = is_full || i != 7, .out = out[i] };
    pushes[i].frames = !is_full && (i == 0 || i == 11) ? NULL : frames[i];
  }
  n_projections = n_projected = 0;
  MUST (attn_group_push (group, pushes, 16, NULL));
  right = n_projections == n_linear && n_projected == n_rows;
  if (!right)
    printf ("# %zu projections of %zu rows in all, %zu linear layers of %zu rows\n", n_projections, n_projected,
            n_linear, n_rows);
  for (size_t i = 0; i < 16; i++) {
    right = right && pushes[i].n_out == pushes[i].n_frames;
    attn_stream_free (pushes[i].stream);
  }
  attn_group_free (group);
  return right;
}

TEST (sixteen_streams_of_any_age_read_each_parameter_once)
{
  for (int i = 0; i < random_rounds (30); i++) {
    AttnKernels kernels;
    AttnLayer *layer;
    Encoder e;
    bool right;

    three_blocks (&e);
    layer = open_layer (&e, ATTN_PRECISION_F32, NULL);
    true_kernels = layer->machine.kernels;
    kernels = *true_kernels;
    kernels.project = count_project;
    layer->machine.kernels = &kernels;
    right = reads_each_parameter_once (layer, &e.chain.nodes[1].a, false)
            && reads_each_parameter_once (layer, &e.chain.nodes[1].a, true);
    attn_layer_free (layer);
    encoder_clear (&e);
    CHECK_MSG (right, "encoder %d", i);
  }
}

/* ---- errors ---- */

TEST (call_that_cannot_be_right_is_refused_and_changes_nothing)
{
  AttnLayer *layer = plain_layer (2, 1, 3, 0, 0), *other = plain_layer (2, 1, 4, 0, 0);
  float frame[2] = { 1, 2 }, out[4][2];
  AttnPush pushes[4];
  AttnGroup *group;
  AttnError error;

  MUST (attn_group_new (layer, 3, &group, NULL));
  for (int i = 0; i < 4; i++)
    pushes[i] = (AttnPush){ .stream = stream_new (layer, 0), .frames = frame, .n_frames = 1, .out = out[i] };
  CHECK (attn_group_push (group, pushes, 4, &error) == ATTN_ERROR_CONFIG);
  CHECK_MSG (strstr (error.message, "4 streams") != NULL && strstr (error.message, "for 3") != NULL, "%s",
             error.message);

  AttnPush twice[3] = { pushes[0], pushes[1], pushes[1] };
  CHECK (attn_group_push (group, twice, 3, &error) == ATTN_ERROR_CONFIG);
  CHECK_MSG (strstr (error.message, "pushes[1] and pushes[2]") != NULL, "%s", error.message);
  CHECK (attn_group_push (group, twice, 3, NULL) == ATTN_ERROR_CONFIG);

  AttnPush strange[2] = { pushes[0], { .stream = stream_new (other, 0), .frames = frame, .n_frames = 1 } };
  CHECK (attn_group_push (group, strange, 2, &error) == ATTN_ERROR_CONFIG);
  CHECK_MSG (strstr (error.message, "pushes[1]") != NULL, "%s", error.message);

  for (int i = 0; i < 4; i++)
    CHECK (attn_stream_next_frame (pushes[i].stream) == 0);
  CHECK (attn_group_push (group, pushes, 3, &error) == ATTN_OK && error.message[0] == '\0');
  CHECK (attn_group_push (group, NULL, 0, NULL) == ATTN_OK);
  for (int i = 0; i < 3; i++)
    CHECK (attn_stream_next_frame (pushes[i].stream) == 1 && pushes[i].n_out == 1 && out[i][1] == 2);
  CHECK (attn_stream_push (pushes[3].stream, frame, 1, out[3], NULL) == 1);
  for (int i = 0; i < 4; i++)
    attn_stream_free (pushes[i].stream);
  attn_stream_free (strange[1].stream);
  attn_group_free (group);
  attn_group_free (NULL);
  attn_layer_free (layer);
  attn_layer_free (other);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (streams_of_a_layer_have_the_bits_of_each_alone);
  RUN (streams_of_every_kind_of_block_have_the_bits_of_each_alone);
  RUN (streams_of_an_encoder_have_the_bits_of_each_alone);
  RUN (sixteen_streams_of_any_age_read_each_parameter_once);
  RUN (call_that_cannot_be_right_is_refused_and_changes_nothing);
  return check_done ();
}
