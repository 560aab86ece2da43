/*
 * Code for the tests of attention's states: frames, a model and a state file for each test, and runs over parts of the
 * frames.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_STATECHECK_H
#define TESTS_ELEMENT_STATECHECK_H

#include "attentioncheck.h"
#include "pipelinecheck.h"

#define D 64 /* as the model has it */
#define N 200
#define CAPS \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)64"

typedef struct {
  guint window, look_ahead, sinks;
  gboolean model; /* tests/golden/attention/four-heads.safetensors, for any window; an encoder has its own */
} Case;

static const Case cases[] = { { 1, 0, 0, FALSE },   { 20, 0, 0, FALSE }, { 20, 0, 5, FALSE },
                              { 64, 0, 17, FALSE }, { 64, 0, 0, TRUE },  { 64, 0, 3, TRUE } };

static gchar *state_file, *model_file; /* of this test */
static gfloat *frames;                 /* [N][D] */

/* A copy of the model whose metadata says nothing of window and look-ahead, because the names are changed. */
static inline void
copy_model (void)
{
  static const gchar *names[] = { "\"window\"", "\"look-ahead\"" };
  gchar *data;
  gsize size, i;

  fail_unless (g_file_get_contents (GOLDEN_DIR "/attention/four-heads.safetensors", &data, &size, NULL));
  for (i = 0; i < G_N_ELEMENTS (names); i++)
    g_strstr_len (data + 8, (gssize) size - 8, names[i])[1] = '_'; /* behind the length of the header */
  fail_unless (g_file_set_contents (model_file, data, (gssize) size, NULL));
  g_free (data);
}

static inline void
setup (void)
{
  make_folder ();
  state_file = path_of ("state");
  model_file = path_of ("model");
  copy_model ();
  frames = g_new (gfloat, N * D);
  fill_random (frames, N * D, 1);
}

static inline void
teardown (void)
{
  remove_folder ();
  g_clear_pointer (&model_file, g_free);
  g_clear_pointer (&state_file, g_free);
  g_clear_pointer (&frames, g_free);
}

static inline GstElement *
make_element (const Case *c, const gchar *file)
{
  AttnConfig config = attn_config_default ();
  GstElement *element;

  config.n_features = D;
  config.n_heads = 4;
  config.window = c->window;
  config.look_ahead = c->look_ahead;
  config.n_sinks = c->sinks;
  element = subject_new (&config);
  g_object_set (element, "state-file", file, NULL);
  if (c->model && !subject_is_encoder ())
    g_object_set (element, "model-file", model_file, "model-prefix", "attn.", NULL);
  return element;
}

static inline GstHarness *
start (const Case *c, const gchar *file)
{
  GstElement *element = make_element (c, file);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");

  gst_object_unref (element);
  gst_harness_set_src_caps_str (h, CAPS);
  return h;
}

/* Frames `begin` to before `end` in buffers of 1, 3 and 7. */
static inline void
push (GstHarness *h, guint begin, guint end)
{
  static const guint sizes[] = { 1, 3, 7 };
  guint i;

  for (i = 0; begin < end; i++) {
    guint n = MIN (sizes[i % 3], end - begin);

    fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, begin, n)), GST_FLOW_OK);
    begin += n;
  }
}

/* All that came out, appended to `bytes`; buffers carry the times of the frames from `begin` on. */
static inline void
pull (GstHarness *h, guint begin, GByteArray *bytes)
{
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h))) {
    GstMapInfo map;

    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), begin * FRAME_TIME);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    begin += map.size / (D * sizeof (gfloat));
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
}

/* Frames `begin` to before `end` as a stream of their own. */
static inline GByteArray *
undisturbed (const Case *c, guint begin, guint end)
{
  GstHarness *h = start (c, NULL);
  GByteArray *bytes = g_byte_array_new ();

  push (h, begin, end);
  gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, begin, bytes);
  fail_unless_equals_int (bytes->len, (end - begin) * D * sizeof (gfloat));
  gst_harness_teardown (h);
  return bytes;
}

/* A run over frames `begin` to before `end` with the state file; the outputs are appended. */
static inline void
run (const Case *c, guint begin, guint end, gboolean eos, GByteArray *bytes)
{
  GstHarness *h = start (c, state_file);

  push (h, begin, end);
  if (eos)
    gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, begin, bytes);
  gst_harness_teardown (h);
}

static inline void
fail_unless_frames (const GByteArray *got, guint at, const GByteArray *expected, guint from, guint n)
{
  gsize frame = D * sizeof (gfloat);

  fail_unless (got->len >= (at + n) * frame && expected->len >= (from + n) * frame, "too few frames");
  if (n == 0) /* and perhaps no data at all */
    return;
  fail_unless (memcmp (got->data + at * frame, expected->data + from * frame, n * frame) == 0, "the frames differ");
}

static inline GBytes *
read_state (void)
{
  gsize size;
  gchar *data = read_file ("state", &size);

  return g_bytes_new_take (data, size);
}

/* The file still holds `bytes`. */
static inline void
fail_unless_file_is (GBytes *bytes)
{
  GBytes *now = read_state ();

  fail_unless (g_bytes_equal (now, bytes), "the state file was touched");
  g_bytes_unref (now);
}

#endif
