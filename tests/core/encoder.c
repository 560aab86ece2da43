/*
 * Streams over encoders: nested blocks, their states, their threads. (encoder-contract.c has the law over random ones.)
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "model-file.h"
#include "random.h"
#include "stream/stream.h"

#define MOST_WAITING 40 /* frames, in residuals */

static ModelFile file;

/* ---- an encoder ---- */

/* Text in which ' stands for ". */
static void
begin (const char *entry)
{
  size_t n;

  begin_file (&file);
  strcat (file.header, "'__metadata__':{'encoder':'");
  for (n = strlen (file.header); *entry != '\0'; entry++) {
    if (*entry == '\'')
      file.header[n++] = '\\';
    file.header[n++] = *entry;
  }
  strcpy (file.header + n, "'}");
}

/* A tensor of `n` values, whose shape is "2,3,4". */
static void
add_shape (const char *name, const char *shape, size_t n)
{
  size_t used = strlen (file.header), begin = file.n_data;

  file.n_data += n * sizeof (float);
  snprintf (file.header + used, sizeof file.header - used,
            ",'%s':{'dtype':'F32','shape':[%s],'data_offsets':[%zu,%zu]}", name, shape, begin, file.n_data);
}

/* The values of all tensors, in their order. */
static AttnLayer *
made_of (const float *values, uint32_t n_threads)
{
  AttnEncoderOptions options = attn_encoder_options_default ();
  AttnError error;
  AttnLayer *layer;

  options.n_threads = n_threads;
  end_file (&file);
  attn_put_floats (file.bytes + file.size - file.n_data, values, file.n_data / sizeof *values);
  if (attn_encoder_open_memory (file.bytes, file.size, &options, &layer, &error) != ATTN_OK)
    printf ("# %s\n", error.message);
  return layer;
}

/* Random values. */
static AttnLayer *
made (uint32_t n_threads)
{
  float *values = malloc (file.n_data);
  AttnLayer *layer;

  random_state = 5;
  random_fill (values, file.n_data / sizeof *values, 0.3f);
  layer = made_of (values, n_threads);
  free (values);
  return layer;
}

static void
add_attention (const char *name, unsigned width)
{
  static const char *const ends[] = { "q", "k", "v" };
  char whole[64];

  for (size_t i = 0; i < 3; i++) {
    snprintf (whole, sizeof whole, "%s.%s_proj.weight", name, ends[i]);
    add_tensor (&file, whole, "F32", width, width);
  }
}

static AttnLayer *
residual_encoder (void)
{
  begin ("{'version':1,'features':4,'blocks':[{'residual':[{'norm':null},"
         "{'attention':'a','heads':2,'window':5,'look-ahead':3}]}]}");
  add_attention ("a", 4);
  return made (1);
}

static AttnStream *
stream_over (const AttnLayer *layer)
{
  AttnStream *stream = NULL;
  AttnError error;

  if (layer != NULL && attn_stream_new (layer, &stream, &error) != ATTN_OK)
    printf ("# %s\n", error.message);
  return stream;
}

/* ---- frames that wait ---- */

TEST (push_and_drain_give_what_they_said_before)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  float frames[4 * 9], out[4 * 9];
  static const size_t pushes[] = { 1, 2, 1, 5 };

  CHECK (stream != NULL);
  random_fill (frames, 4 * 9, 1);
  for (size_t i = 0; i < 4; i++) {
    uint64_t ready = attn_stream_ready (stream, pushes[i]);

    CHECK (attn_stream_push (stream, frames, pushes[i], out, NULL) == ready);
  }
  CHECK (attn_stream_next_frame (stream) == 9 && attn_stream_pending (stream) == 3);
  CHECK (attn_stream_drain (stream, out, NULL) == 3);
  CHECK (attn_stream_pending (stream) == 0 && attn_stream_ready (stream, 100) == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Chunks count from frame 0, wherever the stream begins: its first frame is divided by the strides in front of them. */
TEST (pushes_say_before_what_chunks_behind_a_stride_will_give)
{
  AttnLayer *layer;
  AttnStream *stream;
  float frames[4 * 20], out[8 * 20];

  begin ("{'version':1,'features':4,'blocks':[{'stack':2},{'attention':'a','heads':2,'chunk':4,'chunks':1}]}");
  add_attention ("a", 8);
  layer = made (1);
  stream = stream_over (layer);
  CHECK (stream != NULL);
  random_fill (frames, 4 * 20, 1);
  for (uint64_t first = 0; first < 16; first += 2)
    for (size_t n = 1; n <= 20; n++) {
      uint64_t ready;

      CHECK (attn_stream_reset (stream, first, NULL) == ATTN_OK);
      ready = attn_stream_ready (stream, n);
      CHECK_MSG (attn_stream_push (stream, frames, n, out, NULL) == ready, "%zu frames from %llu on", n,
                 (unsigned long long) first);
    }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* A residual whose f gives zeros lets x through: frames wait for f's look-ahead and do not change. */
TEST (residual_adds_to_the_frame_it_belongs_to)
{
  AttnLayer *layer;
  AttnStream *stream;
  float frames[4 * 40], out[4 * 40];
  size_t n;

  begin ("{'version':1,'features':4,'blocks':[{'residual':[{'residual':[{'attention':'a','heads':1,'window':2,"
         "'look-ahead':5},{'attention':'a','heads':1,'window':2,'look-ahead':9}]},{'affine':'z'}]}]}");
  add_attention ("a", 4);
  add_tensor (&file, "z.weight", "F32", 4, 0);
  layer = made (1);
  attn_layer_free (layer);
  memset (file.bytes + file.size - 4 * sizeof (float), 0, 4 * sizeof (float)); /* z */
  CHECK (attn_encoder_open_memory (file.bytes, file.size, NULL, &layer, NULL) == ATTN_OK);
  stream = stream_over (layer);
  random_fill (frames, 4 * 40, 1);
  n = attn_stream_push (stream, frames, 40, out, NULL);
  CHECK (n == 26);
  n += attn_stream_drain (stream, out + 4 * n, NULL);
  CHECK (n == 40 && memcmp (frames, out, sizeof out) == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* x + f (x) of frames 1, 2, ... `n_present` and absent ones: `n_before` at once, then many. f waits and gives x. */
static bool
waiting_frames_double (AttnStream *stream, size_t n_present, uint64_t n_before)
{
  enum { MANY = 1000 };
  static float frames[MOST_WAITING], out[2 * MOST_WAITING + MANY];
  uint64_t n;

  for (size_t i = 0; i < n_present; i++)
    frames[i] = (float) (i + 1);
  if (attn_stream_reset (stream, 0, NULL) != ATTN_OK)
    return false;
  n = attn_stream_push (stream, frames, n_present, out, NULL);
  n += attn_stream_skip (stream, n_before, out + n, NULL);
  n += attn_stream_skip (stream, MANY, out + n, NULL);
  for (size_t i = 0; i < n; i++)
    if (out[i] != (i < n_present ? 2 * frames[i] : 0))
      return false;
  return n >= n_present;
}

/* However long it is, and wherever it is cut: before, while and after the last frame that is present waits. */
TEST (frames_that_wait_in_a_residual_outlive_an_absence)
{
  for (unsigned ahead = 1; ahead < MOST_WAITING; ahead += ahead < 4 ? 1 : 5) {
    float weight[MOST_WAITING] = { 1 };
    char entry[96], shape[32];
    AttnLayer *layer;
    AttnStream *stream;

    snprintf (entry, sizeof entry, "{'version':1,'features':1,'blocks':[{'residual':[{'conv':'c','right':%u}]}]}",
              ahead);
    begin (entry);
    snprintf (shape, sizeof shape, "1,1,%u", ahead + 1);
    add_shape ("c.weight", shape, ahead + 1);
    layer = made_of (weight, 1);
    stream = stream_over (layer);
    CHECK (stream != NULL);
    for (size_t n_present = 1; n_present <= MOST_WAITING; n_present += 13)
      for (uint64_t n_before = 0; n_before <= ahead + 1; n_before++)
        CHECK_MSG (waiting_frames_double (stream, n_present, n_before), "%zu frames, then %d of %u absent", n_present,
                   (int) n_before, ahead);
    attn_stream_free (stream);
    attn_layer_free (layer);
  }
}

TEST (encoder_without_attention_has_no_heads)
{
  AttnLayer *layer;
  AttnStream *stream;

  begin ("{'version':1,'features':4,'blocks':[{'activation':'relu'}]}");
  layer = made (1);
  stream = stream_over (layer);
  CHECK (stream != NULL && attn_layer_n_heads (layer) == 0 && attn_layer_span (layer) == 0);
  CHECK (attn_stream_set_gain (stream, 0, 0, 0.5f) == ATTN_ERROR_CONFIG);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/*
 * Every run reads the parameters of the blocks behind it. Behind a look-ahead of 3 the outputs of 16 frames begin in
 * the middle of a tile, and of a delay line.
 */
TEST (frames_that_come_together_leave_together)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  float frames[4 * ATTN_LANES], out[4 * ATTN_LANES];

  CHECK (stream != NULL);
  random_fill (frames, 4 * ATTN_LANES, 1);
  for (uint64_t push = 0; push < 5; push++) {
    AttnRun run = { .first = push * ATTN_LANES, .n = ATTN_LANES, .present = true, .values = frames };

    attn_chain_take (stream->chain, &run);
    run = attn_chain_give (stream->chain, out);
    CHECK_MSG (run.n == (push == 0 ? ATTN_LANES - 3 : ATTN_LANES), "%d in push %d", (int) run.n, (int) push);
    CHECK (attn_chain_give (stream->chain, out).n == 0);
  }
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* ---- threads ---- */

TEST (threads_of_an_encoder_change_no_bit)
{
  enum { N = 48, D = 64 };
  static float frames[N * D], one[N * D], three[N * D];
  AttnLayer *alone, *shared;

  begin ("{'version':1,'features':64,'blocks':[{'residual':[{'norm':null},{'linear':'up','activation':'gelu'},"
         "{'linear':'down'}]},{'attention':'a','heads':4,'window':40,'look-ahead':7}]}");
  add_tensor (&file, "up.weight", "F32", 1024, D);
  add_tensor (&file, "down.weight", "F32", D, 1024);
  add_attention ("a", D);
  alone = made (1);
  shared = made (3);
  CHECK (alone != NULL && shared != NULL);
  random_fill (frames, N * D, 1);
  CHECK (attn_forward (alone, frames, NULL, N, 0, one, NULL, NULL) == ATTN_OK);
  CHECK (attn_forward (shared, frames, NULL, N, 0, three, NULL, NULL) == ATTN_OK);
  CHECK (memcmp (one, three, sizeof one) == 0);
  attn_layer_free (alone);
  attn_layer_free (shared);
}

/* ---- memory ---- */

/* Two attentions of 16 values: each has the weights of 48 projected values, and the identity behind its heads. */
TEST (weights_stand_one_behind_the_other_as_frames_meet_them)
{
  enum { D = 16, N_WEIGHTS = 48 * D };
  AttnLayer *layer;
  const float *first;

  begin ("{'version':1,'features':16,'blocks':[{'attention':'a','heads':4,'window':4},"
         "{'residual':[{'linear':'up','activation':'relu'},{'linear':'down'}]},"
         "{'attention':'b','heads':4,'window':4}]}");
  add_attention ("a", D);
  add_tensor (&file, "up.weight", "F32", 64, D);
  add_tensor (&file, "down.weight", "F32", D, 64);
  add_attention ("b", D);
  layer = made (1);
  CHECK (layer != NULL);
  first = layer->attentions[0]->input.weight;
  CHECK (first == layer->weights);
  CHECK ((const float *) layer->attentions[1]->input.weight == first + N_WEIGHTS + 2 * 64 * D);
  attn_layer_free (layer);
}

TEST (large_memory_begins_with_a_huge_page)
{
#ifdef __linux__
  const size_t huge = 2 << 20;
  void *large = attn_alloc (huge);

  CHECK ((uintptr_t) large % huge == 0);
  attn_free (large);
#endif
}

static size_t
stream_size (unsigned window)
{
  char entry[128];
  AttnLayer *layer;
  size_t size;

  snprintf (entry, sizeof entry, "{'version':1,'features':4,'blocks':[{'attention':'a','heads':2,'window':%u}]}",
            window);
  begin (entry);
  add_attention ("a", 4);
  layer = made (1);
  size = attn_layer_stream_size (layer);
  attn_layer_free (layer);
  return size;
}

/* A window of 2^24 frames costs nothing until a stream is made, and can be seen before. */
TEST (size_of_a_stream_can_be_asked_before_it_is_made)
{
  CHECK (stream_size (5) < 1 << 20);
  CHECK (stream_size (16777216) > (size_t) 16777216 * 8 * sizeof (float));
}

/* ---- parameters ---- */

TEST (parameter_of_a_convolution_beyond_f16_is_named_by_its_place)
{
  static const struct {
    const char *block, *shape;
    size_t n, at;
    const char *place;
  } cases[] = {
    { "{'conv':'c'}", "6,4,3", 72, (2 * 4 + 1) * 3 + 2, "70000 at [2, 1, 2], but f16 ends at 65504" },
    { "{'conv':'c','groups':2}", "6,2,3", 36, (5 * 2 + 1) * 3, "70000 at [5, 1, 0], but" },
    { "{'conv2d':'c'}", "3,1,2,2", 12, (2 * 2 + 1) * 2, "70000 at [2, 0, 1, 0], but" },
    { "{'conv2d':'c','groups':2}", "4,2,2,1", 16, (3 * 2 + 1) * 2 + 1, "70000 at [3, 1, 1, 0], but" },
  };
  AttnEncoderOptions options = attn_encoder_options_default ();

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char entry[160];
    AttnLayer *layer;
    AttnError error;

    snprintf (entry, sizeof entry, "{'version':1,'features':4,'blocks':[%s]}", cases[i].block);
    begin (entry);
    add_shape ("c.weight", cases[i].shape, cases[i].n);
    end_file (&file);
    attn_put_number (file.bytes + file.size - file.n_data + cases[i].at * sizeof (float), 0x4788b800, 4); /* 70000 */
    options.precision = ATTN_PRECISION_F16;
    CHECK (attn_encoder_open_memory (file.bytes, file.size, &options, &layer, &error) == ATTN_ERROR_MODEL);
    CHECK_MSG (strstr (error.message, cases[i].place) != NULL, "%s", error.message);
    options.precision = ATTN_PRECISION_BF16;
    CHECK (attn_encoder_open_memory (file.bytes, file.size, &options, &layer, NULL) == ATTN_OK);
    attn_layer_free (layer);
  }
}

/*
 * The first gives two channels of six bins, x and 10 x; the second reads their values as four channels of three bins,
 * and gives the channels in the opposite order.
 */
TEST (convolution_over_bins_divides_frames_into_channels_of_its_own)
{
  const float values[2 + 4 * 4] = { 1, 10, [2 + 3] = 1, [2 + 6] = 1, [2 + 9] = 1, [2 + 12] = 1 };
  const float frame[6] = { 1, 2, 3, 4, 5, 6 }, expected[12] = { 40, 50, 60, 10, 20, 30, 4, 5, 6, 1, 2, 3 };
  AttnLayer *layer;
  float out[12];

  begin ("{'version':1,'features':6,'blocks':[{'conv2d':'a'},{'conv2d':'b'}]}");
  add_shape ("a.weight", "2,1,1,1", 2);
  add_shape ("b.weight", "4,4,1,1", 16);
  layer = made_of (values, 1);
  CHECK (layer != NULL && attn_forward (layer, frame, NULL, 1, 0, out, NULL, NULL) == ATTN_OK);
  CHECK (memcmp (out, expected, sizeof out) == 0);
  attn_layer_free (layer);
}

/* Each of the attentions has a reach of its own, which is searched in all blocks and in all frames of a period. */
TEST (chunks_of_many_attentions_that_repeat_too_seldom_are_refused)
{
  char entry[8192] = "{'version':1,'features':2,'blocks':[";
  AttnLayer *layer;
  AttnError error;

  for (size_t i = 0; i < 64; i++)
    sprintf (entry + strlen (entry), "%s{'attention':'a','heads':1,'chunk':65536,'chunks':0}", i == 0 ? "" : ",");
  strcat (entry, "]}");
  begin (entry);
  add_attention ("a", 2);
  end_file (&file);
  CHECK (attn_encoder_open_memory (file.bytes, file.size, NULL, &layer, &error) == ATTN_ERROR_MODEL);
  CHECK_MSG (strstr (error.message,
                     "blocks[45]: the chunks of all blocks up to here begin together after 65536 frames: "
                     "that times 46 blocks and 46 attentions is more than the 134217728")
                 != NULL,
             "%s", error.message);
}

/* ---- states ---- */

/* The offsets that attn.h gives: the residual's section begins at 56, the norm's at 64, the attention's at 72. */
enum { RESIDUAL_SIZE = 48, NORM_SIZE = 56, ATTENTION_SIZE = 64, NEXT_OUTPUT = 72, MAX_STATE = 2048 };

typedef struct {
  uint8_t bytes[MAX_STATE];
  size_t size;
} State;

static State
saved (AttnStream *stream)
{
  State state = { .size = attn_stream_state_size (stream) };

  if (state.size > MAX_STATE || attn_stream_save (stream, state.bytes, state.size, NULL) != ATTN_OK)
    abort ();
  return state;
}

static bool
refuses (AttnStream *stream, State state, size_t at, uint64_t value, size_t n_bytes, const char *a, const char *b)
{
  AttnError error;
  AttnStatus status;

  attn_put_number (state.bytes + at, value, (int) n_bytes);
  attn_put_number (state.bytes + state.size - 8, attn_hash_bytes (ATTN_HASH_START, state.bytes, state.size - 8), 8);
  status = attn_stream_restore (stream, state.bytes, state.size, &error);
  if (status == ATTN_ERROR_STATE && strstr (error.message, a) != NULL && strstr (error.message, b) != NULL)
    return true;
  printf ("# status %d, wanted \"%s\" and \"%s\": %s\n", status, a, b, error.message);
  return false;
}

TEST (forged_states_of_residuals_are_refused)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  float frames[4 * 8], out[4 * 10];
  size_t waiting;
  State state;

  CHECK (stream != NULL);
  attn_stream_skip (stream, 2, out, NULL);
  random_fill (frames, 4 * 8, 1);
  attn_stream_push (stream, frames, 8, out, NULL);
  state = saved (stream);
  waiting = state.size - 8 - 3 * 4 * sizeof (float) - 1; /* the bits that mark three waiting frames */
  CHECK (refuses (stream, state, RESIDUAL_SIZE, 1 << 20, 8, "ends inside its section 0", "of 1"));
  CHECK (refuses (stream, state, RESIDUAL_SIZE, state.size - 8 - 56 + 1, 8, "ends inside its section 0", "of 1"));
  CHECK (refuses (stream, state, NORM_SIZE, 1, 8, "1 bytes for a block (norm)", "keeps nothing"));
  CHECK (refuses (stream, state, ATTENTION_SIZE, 1 << 20, 8, "ends inside its section 1", "of 2"));
  CHECK (refuses (stream, state, waiting, 0x3, 1, "for the 3 frames that wait in a residual", "which take 33"));
  CHECK (refuses (stream, state, waiting, 0xf, 1, "more frames as present", "than the 3 that wait in a residual"));
  CHECK (refuses (stream, state, 32, 11, 8, "first 11", "come in 10"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* All frames are absent, so that the bytes fit. */
TEST (state_that_owes_less_than_it_has_to_is_refused)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  State state;

  CHECK (stream != NULL);
  attn_stream_skip (stream, 10, NULL, NULL);
  state = saved (stream);
  CHECK (refuses (stream, state, NEXT_OUTPUT, 8, 8, "a block (attention), and 8 have left it", "7 were ready"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* The same with chunks, where a frame may wait although its chunk is whole. */
TEST (state_that_owes_more_than_it_has_to_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream;
  State state;

  begin ("{'version':1,'features':4,'blocks':[{'attention':'a','heads':2,'chunk':4,'chunks':1}]}");
  add_attention ("a", 4);
  layer = made (1);
  stream = stream_over (layer);
  CHECK (stream != NULL && attn_stream_skip (stream, 5, NULL, NULL) == 4);
  state = saved (stream);
  CHECK (
      refuses (stream, state, 56, 3, 8, "5 frames have come to a block (attention), and 3 have left", "4 were ready"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (state_that_begins_between_two_strides_is_refused)
{
  AttnLayer *layer;
  AttnStream *stream;
  float frames[4 * 5], out[8 * 2];

  begin ("{'version':1,'features':4,'blocks':[{'stack':2}]}");
  layer = made (1);
  stream = stream_over (layer);
  random_fill (frames, 4 * 5, 1);
  CHECK (stream != NULL && attn_stream_push (stream, frames, 5, out, NULL) == 2);
  CHECK (refuses (stream, saved (stream), 32, 1, 8, "first frame is number 1", "multiple of the stride, which is 2"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Where blocks add what they reach to it, it would overflow: a convolution would look for the marks of all frames. */
TEST (state_that_counts_more_frames_than_can_come_is_refused)
{
  for (unsigned i = 0; i < 3 * 3 * 3; i++) {
    unsigned stride = 1 + i % 3, left = i / 3 % 3, right = i / 9;
    AttnLayer *layer;
    AttnStream *stream;
    char entry[160];

    snprintf (entry, sizeof entry,
              "{'version':1,'features':1,'blocks':[{'conv':'c','stride':%u,'left':%u,'right':%u}]}", stride, left,
              right);
    begin (entry);
    add_shape ("c.weight", "1,1,5", 5);
    layer = made (1);
    stream = stream_over (layer);
    CHECK (stream != NULL);
    for (uint64_t n = UINT64_MAX; n > UINT64_MAX - 20; n--)
      CHECK (refuses (stream, saved (stream), 40, n, 8, "frames, but at most 4611686018427387904", "have come in"));
    attn_stream_free (stream);
    attn_layer_free (layer);
  }
}

/* A zero below the bins, or above them: all other numbers are the same. */
TEST (convolutions_with_zeros_elsewhere_are_other_layers)
{
  static const char *const blocks[] = { "{'conv2d':'c','low':1}", "{'conv2d':'c','high':1}" };
  AttnLayer *layers[2];
  char entry[160];

  for (size_t i = 0; i < 2; i++) {

    snprintf (entry, sizeof entry, "{'version':1,'features':4,'blocks':[%s]}", blocks[i]);
    begin (entry);
    add_shape ("c.weight", "1,1,2,2", 4);
    layers[i] = made (1);
    CHECK (layers[i] != NULL);
  }
  CHECK (layers[0]->hash != layers[1]->hash);
  attn_layer_free (layers[0]);
  attn_layer_free (layers[1]);
}

TEST (bytes_behind_the_last_section_are_refused)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  State state;

  CHECK (stream != NULL);
  state = saved (stream);
  state.size += 8;
  CHECK (refuses (stream, state, 16, state.size, 8, "8 bytes behind its last section", "expected none"));
  attn_stream_free (stream);
  attn_layer_free (layer);
}

/* Anybody may have written them: a NaN becomes the one NaN, and a denormal 0. */
TEST (frames_that_wait_in_a_residual_are_cleaned)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  float frames[4 * 5], out[4 * 5];
  State state, again;
  size_t at;

  CHECK (stream != NULL);
  random_fill (frames, 4 * 5, 1);
  attn_stream_push (stream, frames, 5, out, NULL);
  state = saved (stream);
  at = state.size - 8 - 4 * sizeof (float); /* the last of the frames that wait */
  attn_put_number (state.bytes + at, 0xffc12345, 4);
  attn_put_number (state.bytes + at + 4, 0x80000001, 4);
  attn_put_number (state.bytes + state.size - 8, attn_hash_bytes (ATTN_HASH_START, state.bytes, state.size - 8), 8);
  CHECK (attn_stream_restore (stream, state.bytes, state.size, NULL) == ATTN_OK);
  again = saved (stream);
  CHECK (attn_get_number (again.bytes + at, 4) == 0x7fc00000 && attn_get_number (again.bytes + at + 4, 4) == 0);
  CHECK (memcmp (again.bytes + at + 8, state.bytes + at + 8, 8) == 0);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

TEST (every_byte_of_a_state_is_looked_at)
{
  AttnLayer *layer = residual_encoder ();
  AttnStream *stream = stream_over (layer);
  float frames[4 * 12], out[4 * 12];
  State state;

  CHECK (stream != NULL);
  random_fill (frames, 4 * 12, 1);
  attn_stream_push (stream, frames, 12, out, NULL);
  state = saved (stream);
  for (size_t i = 0; i < state.size; i++) {
    state.bytes[i] ^= 1;
    CHECK_MSG (attn_stream_restore (stream, state.bytes, state.size, NULL) == ATTN_ERROR_STATE, "byte %zu", i);
    state.bytes[i] ^= 1;
  }
  CHECK (attn_stream_restore (stream, state.bytes, state.size, NULL) == ATTN_OK);
  attn_stream_free (stream);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (push_and_drain_give_what_they_said_before);
  RUN (pushes_say_before_what_chunks_behind_a_stride_will_give);
  RUN (residual_adds_to_the_frame_it_belongs_to);
  RUN (frames_that_wait_in_a_residual_outlive_an_absence);
  RUN (encoder_without_attention_has_no_heads);
  RUN (frames_that_come_together_leave_together);
  RUN (threads_of_an_encoder_change_no_bit);
  RUN (weights_stand_one_behind_the_other_as_frames_meet_them);
  RUN (large_memory_begins_with_a_huge_page);
  RUN (size_of_a_stream_can_be_asked_before_it_is_made);
  RUN (parameter_of_a_convolution_beyond_f16_is_named_by_its_place);
  RUN (convolution_over_bins_divides_frames_into_channels_of_its_own);
  RUN (chunks_of_many_attentions_that_repeat_too_seldom_are_refused);
  RUN (forged_states_of_residuals_are_refused);
  RUN (state_that_owes_less_than_it_has_to_is_refused);
  RUN (state_that_owes_more_than_it_has_to_is_refused);
  RUN (state_that_begins_between_two_strides_is_refused);
  RUN (state_that_counts_more_frames_than_can_come_is_refused);
  RUN (convolutions_with_zeros_elsewhere_are_other_layers);
  RUN (bytes_behind_the_last_section_are_refused);
  RUN (frames_that_wait_in_a_residual_are_cleaned);
  RUN (every_byte_of_a_state_is_looked_at);
  return check_done ();
}
