/*
 * A long life of an encoder of six layers in a live pipeline, as fast as it can: two minutes of stream time
 * (ATTN_TEST_PERCENT=10000: three hours) with gaps, lost buffers, and states that are saved and restored in the middle.
 * Memory stays flat, every output is counted, and the last ones are those of the core over the frames that they read.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* sysconf () */
#include <gst/app/app.h>

#include "encodercheck.h"
#include "memory.h"

#define N_FRAMES (3 * 3600 * RATE / 100)
#define D 8
#define MAX_BUFFER 7 /* frames */
#define N_TABLE 1024 /* frames, again and again; above the reach */
#define N_KEPT 64    /* outputs */

/* Queues, pools of GLib and malloc (), with a margin. */
#define MAX_GROWTH_KIB 2048

typedef struct {
  Encoder *e;
  GRand *rand;
  GstElement *pipeline, *element;
  GstAppSrc *source;
  gfloat table[(N_TABLE + MAX_BUFFER) * D];
  guint64 next;            /* frames of this stream, absent ones included */
  guint8 present[N_TABLE]; /* of frame number modulo its size */
  gboolean jumps;          /* the next buffer does */
  guint n;                 /* frames until the end comes, in which no state is restored */

  /* Streaming thread of the encoder. */
  guint n_seen, n_restored;

  /* Streaming thread of the sink. */
  guint64 n_outputs, numbers[N_KEPT];
  gfloat rows[N_KEPT][D];
  GstClockTime end;
} Soak;

/* ---- in ---- */

static const gfloat *
frame_at (const Soak *soak, guint64 number)
{
  return soak->table + number % N_TABLE * D;
}

static void
push (Soak *soak, guint n, gboolean present)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * D * sizeof (gfloat), NULL);
  guint i;

  for (i = 0; i < n; i++) {
    gst_buffer_fill (buffer, i * D * sizeof (gfloat), frame_at (soak, soak->next + i), D * sizeof (gfloat));
    soak->present[(soak->next + i) % N_TABLE] = present;
  }
  GST_BUFFER_PTS (buffer) = soak->next * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  if (!present)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (soak->jumps)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  soak->jumps = FALSE;
  soak->next += n;
  fail_unless_equals_int (gst_app_src_push_buffer (soak->source, buffer), GST_FLOW_OK);
}

static void
step (Soak *soak)
{
  guint n = g_rand_int_range (soak->rand, 1, MAX_BUFFER + 1);

  switch (g_rand_int_range (soak->rand, 0, 20)) {
  case 0:
    push (soak, n, FALSE);
    break;
  case 1: /* lost on the way */
    for (; soak->next > 0 && n > 0; n--)
      soak->present[soak->next++ % N_TABLE] = FALSE;
    soak->jumps = soak->next > 0;
    break;
  default:
    push (soak, n, TRUE);
    break;
  }
}

/*
 * Now and then the stream goes on from its own state. What it owes leaves with the frames that it has. (Not where
 * frames were lost: the state does not know at which time it was saved.)
 */
static GstPadProbeReturn
restore_again (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  Soak *soak = data;
  GBytes *state = NULL;
  gboolean restored = FALSE;

  if (++soak->n_seen % 100 != 50 || GST_BUFFER_IS_DISCONT (buffer) || GST_BUFFER_PTS (buffer) >= soak->n * FRAME_TIME)
    return GST_PAD_PROBE_OK;
  g_signal_emit_by_name (soak->element, "save-state", &state);
  fail_unless (state != NULL);
  g_signal_emit_by_name (soak->element, "restore-state", state, &restored);
  fail_unless (restored);
  g_bytes_unref (state);
  soak->n_restored++;
  return GST_PAD_PROBE_OK;
}

/* ---- out ---- */

static GstFlowReturn
take_outputs (GstAppSink *sink, gpointer data)
{
  Soak *soak = data;
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer = gst_sample_get_buffer (sample);
  guint64 number = output_at (soak->e, GST_BUFFER_PTS (buffer));
  GstMapInfo map;
  gsize i;

  gst_buffer_map (buffer, &map, GST_MAP_READ);
  for (i = 0; i < map.size / sizeof soak->rows[0]; i++, number++) {
    memcpy (soak->rows[number % N_KEPT], map.data + i * sizeof soak->rows[0], sizeof soak->rows[0]);
    soak->numbers[number % N_KEPT] = number;
  }
  soak->n_outputs += i;
  soak->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  gst_buffer_unmap (buffer, &map);
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

/* The outputs that read the last frames, by the core, from the first of these frames on. */
static void
check_last_outputs (const Soak *soak)
{
  guint64 stride = soak->e->stride, n_all = attn_layer_count (soak->e->layer, soak->next), begin = n_all - N_KEPT / 2;
  guint64 from = (begin * stride - attn_layer_reach_back (soak->e->layer)) / stride * stride, i, n = 0, number;
  guint room = soak->next - from + 16;
  gfloat *rows = g_new0 (gfloat, room * D);
  guint8 *present = g_new0 (guint8, room);
  AttnStream *stream;
  guint n_there = 0;

  fail_unless (soak->next - from < N_TABLE);
  fail_unless (attn_stream_new (soak->e->layer, &stream, NULL) == ATTN_OK);
  fail_unless (attn_stream_reset (stream, from, NULL) == ATTN_OK);
  for (i = from; i < soak->next; i++)
    n += attn_stream_run (stream, soak->present[i % N_TABLE] ? frame_at (soak, i) : NULL, 1, rows + n * D, NULL,
                          present + n);
  n += attn_stream_finish (stream, rows + n * D, NULL, present + n, room - n);
  fail_unless_equals_uint64 (attn_stream_next_output (stream), n_all);
  for (number = begin; number < n_all; number++) {
    i = number - (n_all - n);
    if (!present[i])
      continue;
    n_there++;
    fail_unless_equals_uint64 (soak->numbers[number % N_KEPT], number);
    fail_unless (memcmp (soak->rows[number % N_KEPT], rows + i * D, sizeof soak->rows[0]) == 0,
                 "output %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT, number, n_all);
  }
  fail_unless (n_there > 0);
  attn_stream_free (stream);
  g_free (present);
  g_free (rows);
}

/* ---- the soak ---- */

static guint
n_frames (void)
{
  const gchar *percent = g_getenv ("ATTN_TEST_PERCENT");

  return MAX (percent != NULL ? N_FRAMES / 100 * g_ascii_strtoull (percent, NULL, 10) : N_FRAMES, 2 * N_TABLE);
}

static void
open_pipeline (Soak *soak)
{
  GstAppSinkCallbacks callbacks = { .new_sample = take_outputs };
  gchar *line = g_strdup_printf ("appsrc name=source is-live=true format=time block=true max-bytes=65536 ! queue ! "
                                 "attentionencoder name=e model-file=\"%s\" ! queue ! appsink name=sink sync=false",
                                 soak->e->file);
  GstCaps *caps = encoder_caps (soak->e, FALSE, 1);
  GstElement *sink;
  GstPad *pad;

  soak->pipeline = gst_parse_launch (line, NULL);
  soak->element = gst_bin_get_by_name (GST_BIN (soak->pipeline), "e");
  soak->source = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (soak->pipeline), "source"));
  gst_app_src_set_caps (soak->source, caps);
  gst_caps_unref (caps);
  sink = gst_bin_get_by_name (GST_BIN (soak->pipeline), "sink");
  gst_app_sink_set_callbacks (GST_APP_SINK (sink), &callbacks, soak, NULL);
  gst_object_unref (sink);
  pad = gst_element_get_static_pad (soak->element, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, restore_again, soak, NULL);
  gst_object_unref (pad);
  g_free (line);
  gst_element_set_state (soak->pipeline, GST_STATE_PLAYING);
}

/* To the end, without an error or a warning. */
static void
close_pipeline (Soak *soak)
{
  GstBus *bus = gst_element_get_bus (soak->pipeline);
  GstMessage *message;

  gst_app_src_end_of_stream (soak->source);
  message =
      gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (soak->pipeline, GST_STATE_NULL);
  gst_object_unref (soak->element);
  gst_object_unref (soak->source);
  gst_object_unref (soak->pipeline);
}

GST_START_TEST (test_hours_of_a_live_encoder_leave_memory_flat_and_do_not_drift)
{
  static const guint look_ahead[] = { 2, 0, 1, 3, 0, 2 };
  Soak *soak = g_new0 (Soak, 1);
  guint i;
  glong before = 0, after;

  soak->n = n_frames ();
  soak->e = encoder_write (2, 2, 6, look_ahead);
  soak->rand = g_rand_new_with_seed (1);
  for (i = 0; i < G_N_ELEMENTS (soak->table); i++)
    soak->table[i] = g_rand_double_range (soak->rand, -2, 2);
  open_pipeline (soak);
  while (soak->next < soak->n) {
    step (soak);
    if (before == 0 && soak->next > soak->n / 10)
      before = resident_kib ();
  }
  for (i = 0; i < N_TABLE / 2; i++) /* the last outputs read no frame from before the last restore */
    push (soak, 1, TRUE);
  after = resident_kib ();
  close_pipeline (soak);
  g_print ("%" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT " outputs, %u restores, %ld KiB, then %ld KiB\n",
           soak->next, soak->n_outputs, soak->n_restored, before, after);
  fail_unless_equals_clocktime (soak->end,
                                attn_layer_count (soak->e->layer, soak->next) * soak->e->stride * FRAME_TIME);
  fail_unless (soak->n_restored > 0);
  check_last_outputs (soak);
  fail_unless (after <= before + MAX_GROWTH_KIB, "%ld KiB, then %ld KiB", before, after);
  g_unlink (soak->e->file);
  encoder_free (soak->e);
  g_rand_free (soak->rand);
  g_free (soak);
}
GST_END_TEST;

static Suite *
attentionencoder_soak_suite (void)
{
  Suite *suite = suite_create ("attentionencoder-soak");
  TCase *tcase = tcase_create ("soak");

  suite_add_tcase (suite, tcase);
  tcase_set_timeout (tcase, 1800);
  tcase_add_test (tcase, test_hours_of_a_live_encoder_leave_memory_flat_and_do_not_drift);
  return suite;
}

GST_CHECK_MAIN (attentionencoder_soak);
