/*
 * A long life in a pipeline: ten thousand buffers (ATTN_TEST_PERCENT=10000: 10^6), with gaps of every kind, streams
 * that end or are flushed, and caps that change, all at random. Memory stays flat, and nothing drifts: the last output
 * of each stream is that of the core over its window alone, to the bit.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* sysconf () */
#include <string.h>

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include "attn.h"
#include "memory.h"

#define N_BUFFERS 10000
#define FRAME_TIME (10 * GST_MSECOND)
#define MAX_D 8
#define MAX_BUFFER 6 /* frames */
#define WINDOW 23
#define LOOK_AHEAD 3
#define N_TABLE 1024 /* frames, again and again */

/* Events, buffers and layers take some kilobytes; this allows for the pools of GLib and malloc (), with a margin. */
#define MAX_GROWTH_KIB 1024

typedef struct {
  GstHarness *h;
  GRand *rand;
  gfloat table[(N_TABLE + MAX_BUFFER) * MAX_D];
  guint d;
  guint64 next;            /* frames of this stream, absent ones included */
  guint64 last;            /* the last frame of the last buffer */
  guint8 present[N_TABLE]; /* of frame number modulo its size */
  guint n_pushed, n_streams;
} Soak;

static const gfloat *
frame_at (const Soak *soak, guint64 number)
{
  return soak->table + number % N_TABLE * soak->d;
}

static void
note_frames (Soak *soak, guint n, guint8 present)
{
  for (; n > 0; n--)
    soak->present[soak->next++ % N_TABLE] = present;
}

/* ---- actions ---- */

static void
push_buffer (Soak *soak, GstBufferFlags flags)
{
  guint n = g_rand_int_range (soak->rand, 1, MAX_BUFFER + 1), i;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * soak->d * sizeof (gfloat), NULL);

  for (i = 0; i < n; i++)
    gst_buffer_fill (buffer, i * soak->d * sizeof (gfloat), frame_at (soak, soak->next + i), soak->d * sizeof (gfloat));
  GST_BUFFER_PTS (buffer) = soak->next * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_FLAG_SET (buffer, flags);
  note_frames (soak, n, !(flags & GST_BUFFER_FLAG_GAP));
  soak->last = soak->next - 1;
  soak->n_pushed++;
  fail_unless_equals_int (gst_harness_push (soak->h, buffer), GST_FLOW_OK);
}

static void
step (Soak *soak)
{
  guint n = g_rand_int_range (soak->rand, 1, 2 * WINDOW);

  switch (g_rand_int_range (soak->rand, 0, 20)) {
  case 0:
    push_buffer (soak, GST_BUFFER_FLAG_GAP);
    break;
  case 1:
    fail_unless (gst_harness_push_event (soak->h, gst_event_new_gap (soak->next * FRAME_TIME, n * FRAME_TIME)));
    note_frames (soak, n, 0);
    break;
  case 2: /* lost on the way; the first buffer of a stream has nothing before it */
    if (soak->n_pushed > 0)
      note_frames (soak, n, 0);
    push_buffer (soak, GST_BUFFER_FLAG_DISCONT);
    break;
  default:
    push_buffer (soak, 0);
    break;
  }
}

static void
begin (Soak *soak)
{
  GstSegment segment;
  GstCaps *caps;

  if (g_rand_int_range (soak->rand, 0, 4) == 0)
    soak->d = 2 * g_rand_int_range (soak->rand, 1, MAX_D / 2 + 1);
  caps = gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, GST_AUDIO_NE (F32), "layout", G_TYPE_STRING,
                              "interleaved", "rate", G_TYPE_INT, 100, "channels", G_TYPE_INT, (gint) soak->d, NULL);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (soak->h, gst_event_new_stream_start ("soak"));
  gst_harness_push_event (soak->h, gst_event_new_caps (caps));
  gst_harness_push_event (soak->h, gst_event_new_segment (&segment));
  gst_caps_unref (caps);
  soak->next = soak->n_pushed = 0;
  soak->n_streams++;
}

/* ---- outputs ---- */

static void
expect_last (const Soak *soak, gfloat *out)
{
  guint64 from = soak->last >= WINDOW ? soak->last - WINDOW + 1 : 0, to = MIN (soak->next, soak->last + LOOK_AHEAD + 1);
  gfloat frames[(WINDOW + LOOK_AHEAD) * MAX_D], all[(WINDOW + LOOK_AHEAD) * MAX_D];
  guint8 present[WINDOW + LOOK_AHEAD];
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;
  guint64 i;

  config.n_features = soak->d;
  config.n_heads = 2;
  config.window = WINDOW;
  config.look_ahead = LOOK_AHEAD;
  config.position = ATTN_POSITION_ALIBI;
  for (i = from; i < to; i++) {
    memcpy (frames + (i - from) * soak->d, frame_at (soak, i), soak->d * sizeof (gfloat));
    present[i - from] = soak->present[i % N_TABLE];
  }
  fail_unless (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  fail_unless (attn_forward (layer, frames, present, to - from, from, all, NULL, NULL) == ATTN_OK);
  attn_layer_free (layer);
  memcpy (out, all + (soak->last - from) * soak->d, soak->d * sizeof (gfloat));
}

/* As many buffers as went in; the last frame of the last one is what it must be. */
static void
check_stream (Soak *soak)
{
  gfloat expected[MAX_D], got[MAX_D];
  gsize size = soak->d * sizeof (gfloat);
  guint i;

  for (i = 1; i <= soak->n_pushed; i++) {
    GstBuffer *buffer = gst_harness_pull (soak->h);

    fail_unless (buffer != NULL, "stream %u: buffer %u of %u", soak->n_streams, i, soak->n_pushed);
    if (i == soak->n_pushed) {
      gst_buffer_extract (buffer, gst_buffer_get_size (buffer) - size, got, size);
      expect_last (soak, expected);
      fail_unless (memcmp (got, expected, size) == 0, "stream %u, frame %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT,
                   soak->n_streams, soak->last, soak->next);
    }
    gst_buffer_unref (buffer);
  }
}

/* The harness keeps them all. */
static void
drop_events (Soak *soak)
{
  GstEvent *event;

  while ((event = gst_harness_try_pull_event (soak->h)))
    gst_event_unref (event);
}

/* A flush, after which it is unknown which outputs have left, or the end; then a new stream begins. */
static void
end (Soak *soak)
{
  GstBuffer *buffer;

  if (g_rand_int_range (soak->rand, 0, 4) == 0) {
    gst_harness_push_event (soak->h, gst_event_new_flush_start ());
    gst_harness_push_event (soak->h, gst_event_new_flush_stop (TRUE));
    while ((buffer = gst_harness_try_pull (soak->h)))
      gst_buffer_unref (buffer);
    return;
  }
  gst_harness_push_event (soak->h, gst_event_new_eos ());
  check_stream (soak);
}

static guint
n_buffers (void)
{
  const gchar *percent = g_getenv ("ATTN_TEST_PERCENT");

  return MAX (percent != NULL ? N_BUFFERS / 100 * g_ascii_strtoull (percent, NULL, 10) : N_BUFFERS, 100);
}

GST_START_TEST (test_long_life_leaves_memory_flat_and_does_not_drift)
{
  Soak *soak = g_new0 (Soak, 1);
  guint n = n_buffers (), done = 0, i;
  glong before = 0, after;

  soak->rand = g_rand_new_with_seed (1);
  soak->d = 4;
  for (i = 0; i < G_N_ELEMENTS (soak->table); i++)
    soak->table[i] = g_rand_double_range (soak->rand, -2, 2);
  soak->h = gst_harness_new_parse ("identity ! attention heads=2 window=" G_STRINGIFY (
      WINDOW) " look-ahead=" G_STRINGIFY (LOOK_AHEAD) " position=alibi ! identity");
  while (done < n) {
    guint length = g_rand_int_range (soak->rand, 1, 300);

    for (begin (soak); soak->n_pushed < length;)
      step (soak);
    done += soak->n_pushed;
    end (soak);
    drop_events (soak);
    if (before == 0 && done > n / 10)
      before = resident_kib ();
  }
  after = resident_kib ();
  g_print ("%u buffers in %u streams, %ld KiB, then %ld KiB\n", done, soak->n_streams, before, after);
  fail_unless (after <= before + MAX_GROWTH_KIB, "%ld KiB, then %ld KiB", before, after);
  gst_harness_teardown (soak->h);
  g_rand_free (soak->rand);
  g_free (soak);
}
GST_END_TEST;

static Suite *
attention_soak_suite (void)
{
  Suite *suite = suite_create ("attention-soak");
  TCase *tcase = tcase_create ("soak");

  suite_add_tcase (suite, tcase);
  tcase_set_timeout (tcase, 1800);
  tcase_add_test (tcase, test_long_life_leaves_memory_flat_and_does_not_drift);
  return suite;
}

GST_CHECK_MAIN (attention_soak);
