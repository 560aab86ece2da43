/*
 * The element `attention`: streams that outlive their process, in a file and in memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "attentioncheck.h"

#include <glib/gstdio.h>

#include "attn.h"

#define D 64 /* as the model has it */
#define N 200
#define CAPS \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)64"

/* ---- helpers ---- */

typedef struct {
  guint window, look_ahead, sinks;
  gboolean model; /* tests/golden/attention/four-heads.safetensors, for any window */
} Case;

static gchar *folder, *state_file, *model_file; /* of this test */
static gfloat *frames;                          /* [N][D] */

/* A copy of the model whose metadata makes no claims about window and look-ahead: the names are others. */
static void
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

static void
setup (void)
{
  folder = g_dir_make_tmp ("attention-XXXXXX", NULL);
  state_file = g_build_filename (folder, "state", NULL);
  model_file = g_build_filename (folder, "model", NULL);
  copy_model ();
  frames = g_new (gfloat, N * D);
  fill_random (frames, N * D, 1);
}

static void
teardown (void)
{
  g_unlink (state_file);
  g_unlink (model_file);
  g_rmdir (folder);
  g_clear_pointer (&model_file, g_free);
  g_clear_pointer (&state_file, g_free);
  g_clear_pointer (&folder, g_free);
  g_clear_pointer (&frames, g_free);
}

static GstElement *
make_element (const Case *c, const gchar *file)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "heads", 4, "window", c->window, "look-ahead", c->look_ahead, "sinks", c->sinks, "state-file",
                file, NULL);
  if (c->model)
    g_object_set (element, "model-file", model_file, "model-prefix", "attn.", NULL);
  return element;
}

static GstHarness *
start (const Case *c, const gchar *file)
{
  GstElement *element = make_element (c, file);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");

  gst_object_unref (element);
  gst_harness_set_src_caps_str (h, CAPS);
  return h;
}

/* Frames `begin` to before `end` in buffers of 1, 3 and 7. */
static void
push (GstHarness *h, guint begin, guint end)
{
  static const guint sizes[] = { 1, 3, 7 };
  guint i;

  for (i = 0; begin < end; i++) {
    guint n = MIN (sizes[i % 3], end - begin);
    GstBuffer *buffer = gst_buffer_new_memdup (frames + begin * D, n * D * sizeof (gfloat));

    GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
    GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
    GST_BUFFER_OFFSET (buffer) = begin;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
    begin += n;
  }
}

/* All that came out, appended to `bytes`; buffers carry the times of the frames from `begin` on. */
static void
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
static GByteArray *
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

/* A run over frames `begin` to before `end` with the state file; what comes out is appended. */
static void
run (const Case *c, guint begin, guint end, gboolean eos, GByteArray *bytes)
{
  GstHarness *h = start (c, state_file);

  push (h, begin, end);
  if (eos)
    gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, begin, bytes);
  gst_harness_teardown (h);
}

static void
fail_unless_frames (const GByteArray *got, guint at, const GByteArray *expected, guint from, guint n)
{
  gsize frame = D * sizeof (gfloat);

  fail_unless (got->len >= (at + n) * frame && expected->len >= (from + n) * frame, "too few frames");
  fail_unless (memcmp (got->data + at * frame, expected->data + from * frame, n * frame) == 0, "the frames differ");
}

/* One message of this type is there, and its text holds `text`. */
static void
fail_unless_said (GstBus *bus, GstMessageType type, const gchar *text)
{
  GstMessage *message = gst_bus_pop_filtered (bus, type);
  GError *error = NULL;

  fail_unless (message != NULL, "nothing was said of %s", text);
  if (type == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, NULL);
  else
    gst_message_parse_warning (message, &error, NULL);
  fail_unless (strstr (error->message, text) != NULL, "no \"%s\" in: %s", text, error->message);
  g_error_free (error);
  gst_message_unref (message);
}

static GBytes *
read_file (void)
{
  gchar *data;
  gsize size;

  fail_unless (g_file_get_contents (state_file, &data, &size, NULL), "there is no state file");
  return g_bytes_new_take (data, size);
}

static void
write_file (GBytes *bytes)
{
  fail_unless (
      g_file_set_contents (state_file, g_bytes_get_data (bytes, NULL), (gssize) g_bytes_get_size (bytes), NULL));
}

/* The file still holds `bytes`. */
static void
fail_unless_file_is (GBytes *bytes)
{
  GBytes *now = read_file ();

  fail_unless (g_bytes_equal (now, bytes), "the state file was touched");
  g_bytes_unref (now);
}

static GBytes *
save (GstHarness *h)
{
  GBytes *state = NULL;

  g_signal_emit_by_name (h->element, "save-state", &state);
  return state;
}

static gboolean
restore (GstHarness *h, GBytes *state)
{
  gboolean restored = FALSE;

  g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  return restored;
}

/* ---- the file ---- */

static const Case cases[] = { { 1, 0, 0, FALSE },   { 20, 0, 0, FALSE }, { 20, 0, 5, FALSE },
                              { 64, 0, 17, FALSE }, { 64, 0, 0, TRUE },  { 64, 0, 3, TRUE } };

GST_START_TEST (test_restarts_give_the_bytes_of_an_undisturbed_run)
{
  const Case *c = &cases[__i__ / 2];
  gboolean eos = __i__ % 2;
  GByteArray *expected = undisturbed (c, 0, N), *got = g_byte_array_new ();

  run (c, 0, 3, eos, got);
  run (c, 3, 90, eos, got);
  run (c, 90, 91, eos, got);
  run (c, 91, N, eos, got);
  fail_unless_equals_int (got->len, expected->len);
  fail_unless_frames (got, 0, expected, 0, N);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* What the first run owed its buffers it gave at its end; the second gives its own buffers theirs, and no more. */
GST_START_TEST (test_restart_with_look_ahead_equals_from_the_first_frame_on)
{
  static const Case ahead[] = { { 20, 5, 0, FALSE }, { 10, 30, 4, FALSE }, { 64, 2, 2, TRUE } };
  const Case *c = &ahead[__i__];
  GByteArray *expected = undisturbed (c, 0, N), *early = g_byte_array_new (), *late = g_byte_array_new ();

  run (c, 0, 90, TRUE, early);
  run (c, 90, N, TRUE, late);
  fail_unless_equals_int (early->len, 90 * D * sizeof (gfloat));
  fail_unless_equals_int (late->len, (N - 90) * D * sizeof (gfloat));
  fail_unless_frames (early, 0, expected, 0, 90 - c->look_ahead);
  fail_unless_frames (late, 0, expected, 90, N - 90);
  g_byte_array_unref (expected);
  g_byte_array_unref (early);
  g_byte_array_unref (late);
}
GST_END_TEST;

GST_START_TEST (test_state_is_that_before_the_drain)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *ignored = g_byte_array_new ();
  GBytes *stopped;

  run (&c, 0, 50, FALSE, ignored);
  stopped = read_file ();
  g_unlink (state_file);
  g_byte_array_set_size (ignored, 0);
  run (&c, 0, 50, TRUE, ignored);
  fail_unless_file_is (stopped);
  g_bytes_unref (stopped);
  g_byte_array_unref (ignored);
}
GST_END_TEST;

GST_START_TEST (test_run_without_frames_leaves_the_file_alone)
{
  static const Case plain = { 20, 5, 2, FALSE }, with_model = { 20, 5, 2, TRUE };
  const Case *c = __i__ ? &with_model : &plain;
  GByteArray *got = g_byte_array_new ();
  GBytes *before;

  run (c, 0, 0, TRUE, got);
  fail_if (g_file_test (state_file, G_FILE_TEST_EXISTS), "an empty run made a file");
  run (c, 0, 50, TRUE, got);
  before = read_file ();
  run (c, 50, 50, TRUE, got);
  fail_unless_file_is (before);
  run (c, 50, 50, FALSE, got);
  fail_unless_file_is (before);
  g_bytes_unref (before);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Not even a flush ends a stream that was restored, as long as no frame has come. */
GST_START_TEST (test_flush_before_the_first_frame_keeps_what_was_restored)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h;
  GstSegment segment;

  run (&c, 0, 90, TRUE, got);
  g_byte_array_set_size (got, 0);
  h = start (&c, state_file);
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, 90, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Sources call their first buffer DISCONT: that it follows nothing known is no reason to forget what was restored. */
GST_START_TEST (test_discont_before_the_first_frame_keeps_what_was_restored)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h;
  GstBuffer *buffer;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  buffer = gst_buffer_new_memdup (frames + 90 * D, (N - 90) * D * sizeof (gfloat));
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (
      gst_buffer_memcmp (buffer, 0, expected->data + 90 * D * sizeof (gfloat), (N - 90) * D * sizeof (gfloat)), 0);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Afterwards events end it as they always do. */
GST_START_TEST (test_restored_stream_ends_as_any_other)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *expected = undisturbed (&c, 100, N), *got = g_byte_array_new ();
  GstHarness *h;
  GstSegment segment;

  run (&c, 0, 90, TRUE, got);
  g_byte_array_set_size (got, 0);
  h = start (&c, state_file);
  push (h, 90, 100);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = GST_SECOND;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, 100, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  pull (h, 90, got);
  fail_unless_frames (got, 10, expected, 0, N - 100);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_events_do_not_wait_for_outputs_that_are_dropped)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *got = g_byte_array_new ();
  GstHarness *h;
  GstEvent *event;
  gboolean came = FALSE;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("passes")));
  while ((event = gst_harness_try_pull_event (h))) {
    came |= GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM;
    gst_event_unref (event);
  }
  fail_unless (came);
  gst_harness_teardown (h);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The element refuses to start (with a model), or the caps (without). */
static void
check_refused_file (const Case *c, const gchar *text)
{
  GstElement *element = make_element (c, state_file);
  GstBus *bus = attach_bus (element);
  GBytes *before = read_file ();

  if (c->model) {
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  } else {
    GstHarness *h = gst_harness_new_with_element (element, "sink", "src");

    gst_harness_set_src_caps_str (h, CAPS);
    gst_harness_push (h, gst_buffer_new_memdup (frames, D * sizeof (gfloat)));
    fail_unless_equals_int (gst_harness_buffers_received (h), 0);
    gst_element_set_bus (element, bus);
    gst_harness_teardown (h);
  }
  fail_unless_said (bus, GST_MESSAGE_ERROR, text);
  gst_element_set_state (element, GST_STATE_NULL);
  fail_unless_file_is (before);
  g_bytes_unref (before);
  detach_bus (element, bus);
  gst_object_unref (element);
}

GST_START_TEST (test_damaged_file_is_an_error_and_is_kept)
{
  static const Case plain = { 20, 0, 2, FALSE }, with_model = { 20, 0, 2, TRUE };
  const Case *c = __i__ ? &with_model : &plain;
  GByteArray *got = g_byte_array_new ();
  GBytes *state, *damaged;
  guint8 *bytes;
  gsize size;

  run (c, 0, 50, TRUE, got);
  state = read_file ();
  bytes = g_memdup2 (g_bytes_get_data (state, &size), g_bytes_get_size (state));
  bytes[size / 2] ^= 4;
  damaged = g_bytes_new_take (bytes, size);
  write_file (damaged);
  check_refused_file (c, "the state is damaged");
  g_bytes_unref (damaged);
  damaged = g_bytes_new_from_bytes (state, 0, 100);
  write_file (damaged);
  check_refused_file (c, "100 bytes");
  g_bytes_unref (damaged);
  damaged = g_bytes_new_static ("", 0);
  write_file (damaged);
  check_refused_file (c, "0 bytes");
  g_bytes_unref (damaged);
  g_bytes_unref (state);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_foreign_file_is_an_error_and_is_kept)
{
  static const Case plain = { 20, 0, 2, FALSE }, with_model = { 20, 0, 2, TRUE }, other = { 21, 0, 2, TRUE };
  GByteArray *got = g_byte_array_new ();

  run (&with_model, 0, 50, TRUE, got);
  check_refused_file (&plain, "another layer");
  check_refused_file (&other, "another layer");
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Mended, it runs. */
GST_START_TEST (test_element_runs_after_a_refused_file)
{
  static const Case c = { 20, 0, 2, TRUE };
  GBytes *nonsense = g_bytes_new_static ("nonsense", 8);
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstElement *element;
  GstHarness *h;

  write_file (nonsense);
  element = make_element (&c, state_file);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  gst_element_set_state (element, GST_STATE_NULL);
  g_unlink (state_file);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_harness_set_src_caps_str (h, CAPS);
  push (h, 0, N);
  pull (h, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  gst_harness_teardown (h);
  gst_object_unref (element);
  g_bytes_unref (nonsense);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The layer that the file was refused for is none that a stream could begin with. */
GST_START_TEST (test_refused_file_is_refused_with_other_caps_too)
{
  static const Case c = { 20, 0, 2, FALSE };
  GBytes *nonsense = g_bytes_new_static ("nonsense", 8);
  GstHarness *h;
  GstCaps *caps = gst_caps_from_string (CAPS);

  write_file (nonsense);
  h = start (&c, state_file);
  gst_caps_set_simple (caps, "rate", G_TYPE_INT, 50, NULL);
  gst_harness_set_src_caps (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frames, D * sizeof (gfloat))),
                          GST_FLOW_NOT_NEGOTIATED);
  gst_harness_teardown (h);
  fail_unless_file_is (nonsense);
  g_bytes_unref (nonsense);
}
GST_END_TEST;

GST_START_TEST (test_file_that_cannot_be_read_is_an_error)
{
  static const Case c = { 20, 0, 2, FALSE };
  GstElement *element = make_element (&c, folder);
  GstBus *bus = attach_bus (element);

  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  fail_unless_said (bus, GST_MESSAGE_ERROR, folder);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}
GST_END_TEST;

/* Its folder goes while the stream runs. */
GST_START_TEST (test_file_that_cannot_be_written_is_a_warning)
{
  static const Case c = { 20, 0, 2, FALSE };
  gchar *gone = g_build_filename (folder, "gone", NULL), *file = g_build_filename (gone, "state", NULL);
  GstHarness *h;
  GstBus *bus;

  fail_unless_equals_int (g_mkdir (gone, 0700), 0);
  h = start (&c, file);
  bus = attach_bus (h->element);
  push (h, 0, 10);
  fail_unless_equals_int (g_rmdir (gone), 0);
  gst_element_set_state (h->element, GST_STATE_READY);
  fail_unless_said (bus, GST_MESSAGE_WARNING, file);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  g_free (file);
  g_free (gone);
}
GST_END_TEST;

GST_START_TEST (test_state_file_without_its_folder_is_an_error)
{
  static const Case c = { 20, 0, 2, FALSE };
  gchar *nowhere = g_build_filename (folder, "nowhere", "state", NULL);
  GstElement *element = make_element (&c, nowhere);
  GstBus *bus = attach_bus (element);

  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  fail_unless_said (bus, GST_MESSAGE_ERROR, "there is no folder");
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
  g_free (nowhere);
}
GST_END_TEST;

GST_START_TEST (test_state_file_reads_back)
{
  static const Case c = { 20, 0, 2, FALSE };
  GstElement *element = make_element (&c, "/some/where");
  gchar *file;

  g_object_get (element, "state-file", &file, NULL);
  fail_unless_equals_string (file, "/some/where");
  g_free (file);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- signals ---- */

GST_START_TEST (test_signals_move_a_stream_to_another_element)
{
  const Case *c = &cases[__i__];
  GByteArray *expected = undisturbed (c, 0, N), *got = g_byte_array_new ();
  GstHarness *a = start (c, NULL), *b = start (c, NULL);
  GBytes *state;

  push (a, 0, 90);
  push (b, 30, 70); /* it has seen other frames */
  pull (b, 30, got);
  g_byte_array_set_size (got, 0);
  state = save (a);
  fail_unless (restore (b, state));
  push (b, 90, N);
  pull (b, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  /* Saving has not disturbed the other one. */
  push (a, 90, N);
  g_byte_array_set_size (got, 0);
  pull (a, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* The GAP comes behind what the state holds: like a frame it lets the restored stream in. */
GST_START_TEST (test_gap_after_restore_is_one_of_the_restored_stream)
{
  static const Case c = { 20, 0, 0, FALSE };
  GByteArray *expected = g_byte_array_new (), *got = g_byte_array_new ();
  GstHarness *a = start (&c, NULL), *b = start (&c, NULL);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  pull (a, 0, expected);
  g_byte_array_set_size (expected, 0);
  gst_harness_push_event (a, gst_event_new_gap (90 * FRAME_TIME, 5 * FRAME_TIME));
  push (a, 95, N);
  pull (a, 95, expected);
  push (b, 30, 70);
  pull (b, 30, got);
  g_byte_array_set_size (got, 0);
  fail_unless (restore (b, state));
  gst_harness_push_event (b, gst_event_new_gap (90 * FRAME_TIME, 5 * FRAME_TIME));
  push (b, 95, N);
  pull (b, 95, got);
  fail_unless_frames (got, 0, expected, 0, N - 95);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Buffers that wait get their own outputs, as at the end of their stream; those of the saved stream go nowhere. */
GST_START_TEST (test_restore_answers_what_waits_and_drops_what_it_owes)
{
  static const Case c = { 20, 7, 0, FALSE };
  GByteArray *whole = undisturbed (&c, 0, N), *other = undisturbed (&c, 30, 70), *got = g_byte_array_new ();
  GstHarness *a = start (&c, NULL), *b = start (&c, NULL);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  push (b, 30, 70);
  fail_unless (restore (b, state));
  push (b, 90, N);
  gst_harness_push_event (b, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (b), 12 + 31 - 1);
  {
    GstBuffer *buffer;

    while ((buffer = gst_harness_try_pull (b))) {
      gsize size = gst_buffer_get_size (buffer);
      guint8 *data = g_malloc (size);

      gst_buffer_extract (buffer, 0, data, size);
      g_byte_array_append (got, data, size);
      g_free (data);
      gst_buffer_unref (buffer);
    }
  }
  fail_unless_equals_int (got->len, (40 + N - 90) * D * sizeof (gfloat));
  fail_unless_frames (got, 0, other, 0, 40);
  fail_unless_frames (got, 40, whole, 90, N - 90);
  g_bytes_unref (state);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (whole);
  g_byte_array_unref (other);
  g_byte_array_unref (got);
}
GST_END_TEST;

GST_START_TEST (test_refused_state_is_a_warning_and_the_stream_goes_on)
{
  static const Case c = { 20, 3, 2, FALSE }, foreign = { 21, 3, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *a = start (&foreign, NULL), *b = start (&c, NULL);
  GstBus *bus = attach_bus (b->element);
  GBytes *state, *cut, *before, *after;

  push (a, 0, 90);
  state = save (a);
  cut = g_bytes_new_from_bytes (state, 0, 70);
  push (b, 0, 90);
  before = save (b);
  fail_if (restore (b, state));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "another layer");
  fail_if (restore (b, cut));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "70 bytes");
  after = save (b);
  fail_unless (g_bytes_equal (before, after));
  push (b, 90, N);
  gst_harness_push_event (b, gst_event_new_eos ());
  pull (b, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  g_bytes_unref (state);
  g_bytes_unref (cut);
  g_bytes_unref (before);
  g_bytes_unref (after);
  detach_bus (b->element, bus);
  gst_harness_teardown (a);
  gst_harness_teardown (b);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* Such a state only a program over the core can make. */
GST_START_TEST (test_state_of_a_drained_stream_is_refused)
{
  static const Case c = { 20, 3, 2, FALSE };
  AttnConfig config = attn_config_default ();
  GstHarness *h = start (&c, NULL);
  AttnLayer *layer;
  AttnStream *stream;
  GBytes *state;
  gsize size;

  config.n_features = D;
  config.n_heads = 4;
  config.window = c.window;
  config.look_ahead = c.look_ahead;
  config.n_sinks = c.sinks;
  attn_layer_new (&config, NULL, &layer, NULL);
  attn_stream_new (layer, &stream, NULL);
  attn_stream_drain (stream, NULL, NULL);
  size = attn_stream_state_size (stream);
  state = g_bytes_new_take (g_malloc (size), size);
  attn_stream_save (stream, (gpointer) g_bytes_get_data (state, NULL), size, NULL);
  fail_if (restore (h, state));
  attn_stream_reset (stream, 0);
  attn_stream_save (stream, (gpointer) g_bytes_get_data (state, NULL), size, NULL);
  fail_unless (restore (h, state));
  g_bytes_unref (state);
  attn_stream_free (stream);
  attn_layer_free (layer);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_there_is_no_state_before_the_caps)
{
  static const Case c = { 20, 0, 2, FALSE };
  GstElement *element = make_element (&c, NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = attach_bus (element);
  GBytes *nothing = g_bytes_new_static ("", 0);

  fail_unless (save (h) == NULL);
  fail_if (restore (h, nothing));
  fail_unless_said (bus, GST_MESSAGE_WARNING, "no stream yet");
  g_bytes_unref (nothing);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_state_after_eos_is_that_of_the_last_frame)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;
  GstSegment segment;

  push (h, 0, 90);
  before = save (h);
  gst_harness_push_event (h, gst_event_new_eos ());
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  pull (h, 0, got);
  /* And it brings the stream back to life. */
  fail_unless (restore (h, after));
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, CAPS);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, 90, N);
  gst_harness_push_event (h, gst_event_new_eos ());
  g_byte_array_set_size (got, 0);
  pull (h, 90, got);
  fail_unless_frames (got, 0, expected, 90, N - 90);
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* What ends where no frame has come has nothing to leave behind. */
GST_START_TEST (test_ends_without_frames_change_no_state)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;

  push (h, 0, 90);
  before = save (h);
  gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
  gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_flush_leaves_the_state_of_the_last_frame)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *h = start (&c, NULL);
  GBytes *before, *after;

  push (h, 0, 90);
  before = save (h);
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  after = save (h);
  fail_unless (g_bytes_equal (before, after));
  g_bytes_unref (before);
  g_bytes_unref (after);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Ten frames of half the width, as a stream of their own. */
static GByteArray *
undisturbed_half (const Case *c)
{
  GstCaps *caps = gst_caps_from_string (CAPS);
  GByteArray *bytes = g_byte_array_new ();
  GstElement *element = make_element (c, NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBuffer *buffer;

  gst_object_unref (element);
  gst_caps_set_simple (caps, "channels", G_TYPE_INT, D / 2, NULL);
  gst_harness_set_src_caps (h, caps);
  gst_harness_push (h, gst_buffer_new_memdup (frames, 10 * D / 2 * sizeof (gfloat)));
  gst_harness_push_event (h, gst_event_new_eos ());
  g_byte_array_set_size (bytes, 10 * D / 2 * sizeof (gfloat));
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (gst_buffer_extract (buffer, 0, bytes->data, bytes->len), bytes->len);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  return bytes;
}

/* Outputs that a restored stream owes are no longer waited for when another layer takes its place. */
GST_START_TEST (test_other_caps_owe_nothing)
{
  static const Case c = { 20, 5, 0, FALSE };
  GByteArray *got = g_byte_array_new (), *other;
  GstCaps *caps = gst_caps_from_string (CAPS);
  GstBuffer *buffer;
  GstHarness *h;

  run (&c, 0, 90, TRUE, got);
  h = start (&c, state_file);
  gst_caps_set_simple (caps, "channels", G_TYPE_INT, D / 2, NULL);
  gst_harness_set_src_caps (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frames, 10 * D / 2 * sizeof (gfloat))),
                          GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 1);
  /* And its own outputs stand in it, not those of five frames behind. */
  buffer = gst_harness_pull (h);
  other = undisturbed_half (&c);
  fail_unless_equals_int (gst_buffer_memcmp (buffer, 0, other->data, other->len), 0);
  gst_buffer_unref (buffer);
  g_byte_array_unref (other);
  gst_harness_teardown (h);
  g_byte_array_unref (got);
}
GST_END_TEST;

/* What is restored and then stopped at once is what the file holds. */
GST_START_TEST (test_restored_state_goes_to_the_file)
{
  static const Case c = { 20, 5, 2, FALSE };
  GstHarness *a = start (&c, NULL), *b = start (&c, state_file);
  GBytes *state;

  push (a, 0, 90);
  state = save (a);
  if (__i__ == 0) /* or nothing else has come */
    push (b, 30, 40);
  fail_unless (restore (b, state));
  gst_harness_teardown (b);
  fail_unless_file_is (state);
  g_bytes_unref (state);
  gst_harness_teardown (a);
}
GST_END_TEST;

typedef struct {
  GstHarness *h;
  gint stop;
} Saver;

static gpointer
save_all_the_time (gpointer data)
{
  Saver *saver = data;
  GBytes *cut = g_bytes_new_static ("attnstat", 8);
  guint n = 0;

  while (!g_atomic_int_get (&saver->stop)) {
    GBytes *state = save (saver->h);

    fail_unless (state != NULL);
    if (n++ % 8 == 0)
      fail_if (restore (saver->h, cut));
    g_bytes_unref (state);
    g_usleep (50); /* a mutex is not fair: let the buffers flow */
  }
  g_bytes_unref (cut);
  return NULL;
}

GST_START_TEST (test_other_threads_save_while_buffers_flow)
{
  static const Case c = { 20, 5, 2, FALSE };
  GByteArray *expected = undisturbed (&c, 0, N), *got = g_byte_array_new ();
  Saver saver = { start (&c, NULL), 0 };
  GThread *thread = g_thread_new ("saver", save_all_the_time, &saver);

  push (saver.h, 0, N);
  gst_harness_push_event (saver.h, gst_event_new_eos ());
  g_atomic_int_set (&saver.stop, 1);
  g_thread_join (thread);
  pull (saver.h, 0, got);
  fail_unless_frames (got, 0, expected, 0, N);
  gst_harness_teardown (saver.h);
  g_byte_array_unref (expected);
  g_byte_array_unref (got);
}
GST_END_TEST;

static Suite *
attention_state_suite (void)
{
  Suite *suite = suite_create ("attention-state");
  TCase *file = tcase_create ("file"), *memory = tcase_create ("signals");

  suite_add_tcase (suite, file);
  tcase_add_checked_fixture (file, setup, teardown);
  tcase_add_loop_test (file, test_restarts_give_the_bytes_of_an_undisturbed_run, 0, 2 * G_N_ELEMENTS (cases));
  tcase_add_loop_test (file, test_restart_with_look_ahead_equals_from_the_first_frame_on, 0, 3);
  tcase_add_test (file, test_state_is_that_before_the_drain);
  tcase_add_loop_test (file, test_run_without_frames_leaves_the_file_alone, 0, 2);
  tcase_add_test (file, test_flush_before_the_first_frame_keeps_what_was_restored);
  tcase_add_test (file, test_discont_before_the_first_frame_keeps_what_was_restored);
  tcase_add_test (file, test_restored_stream_ends_as_any_other);
  tcase_add_test (file, test_events_do_not_wait_for_outputs_that_are_dropped);
  tcase_add_loop_test (file, test_damaged_file_is_an_error_and_is_kept, 0, 2);
  tcase_add_test (file, test_foreign_file_is_an_error_and_is_kept);
  tcase_add_test (file, test_element_runs_after_a_refused_file);
  tcase_add_test (file, test_refused_file_is_refused_with_other_caps_too);
  tcase_add_test (file, test_file_that_cannot_be_read_is_an_error);
  tcase_add_test (file, test_file_that_cannot_be_written_is_a_warning);
  tcase_add_test (file, test_state_file_without_its_folder_is_an_error);
  tcase_add_test (file, test_state_file_reads_back);

  suite_add_tcase (suite, memory);
  tcase_add_checked_fixture (memory, setup, teardown);
  tcase_add_loop_test (memory, test_signals_move_a_stream_to_another_element, 0, G_N_ELEMENTS (cases));
  tcase_add_test (memory, test_gap_after_restore_is_one_of_the_restored_stream);
  tcase_add_test (memory, test_restore_answers_what_waits_and_drops_what_it_owes);
  tcase_add_test (memory, test_refused_state_is_a_warning_and_the_stream_goes_on);
  tcase_add_test (memory, test_state_of_a_drained_stream_is_refused);
  tcase_add_test (memory, test_there_is_no_state_before_the_caps);
  tcase_add_test (memory, test_state_after_eos_is_that_of_the_last_frame);
  tcase_add_test (memory, test_ends_without_frames_change_no_state);
  tcase_add_test (memory, test_flush_leaves_the_state_of_the_last_frame);
  tcase_add_test (memory, test_other_caps_owe_nothing);
  tcase_add_loop_test (memory, test_restored_state_goes_to_the_file, 0, 2);
  tcase_add_test (memory, test_other_threads_save_while_buffers_flow);
  return suite;
}

GST_CHECK_MAIN (attention_state);
