/*
 * The element `ctctext` in whole pipelines: behind a model, and in front of elements that take text.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <fcntl.h>
#include <unistd.h>

#include "ctctextcheck.h"

#define PATH "-HHl-ll-o--WW-d-----------------------------"
#define WORDS "filesrc location=%s/in.npy ! npyparse frame-rate=25/1 ! ctctext tokens=%s/tokens.txt "
#define N_FRAMES (sizeof PATH - 1)

/* As numpy.save () writes it: version 1.0, padded to a multiple of 64. */
static void
write_npy (const gchar *name, guint width, gconstpointer frames, gsize size)
{
  gchar *text = g_strdup_printf ("{'descr': '%cf4', 'fortran_order': False, 'shape': (%u, %u), }",
                                 G_BYTE_ORDER == G_LITTLE_ENDIAN ? '<' : '>', (guint) (size / width / 4), width);
  GString *npy = g_string_new_len ("\x93NUMPY\x01\x00\x76\x00", 10);

  g_string_append_printf (npy, "%-117s\n", text);
  g_string_append_len (npy, frames, size);
  write_file (name, npy->str, npy->len);
  g_string_free (npy, TRUE);
  g_free (text);
}

static void
setup_pipelines (void)
{
  GstBuffer *buffer;
  GstMapInfo map;

  setup ();
  buffer = path_buffer (PATH, 0, N_FRAMES);
  gst_buffer_map (buffer, &map, GST_MAP_READ);
  write_npy ("in.npy", N_TOKENS, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  gst_buffer_unref (buffer);
}

#define run(...) check_text (run_launch_line (__VA_ARGS__), NULL)

GST_START_TEST (test_filesink_has_words_with_spaces)
{
  run (WORDS "! filesink location=%s/out.txt", folder, folder, folder);
  check_file ("out.txt", "hello world ", 12);
}
GST_END_TEST;

GST_START_TEST (test_fdsink_has_words_with_spaces)
{
  gchar *name = path_of ("out.txt");
  gint fd = open (name, O_CREAT | O_WRONLY, 0600);

  run (WORDS "! fdsink fd=%d", folder, folder, fd);
  close (fd);
  check_file ("out.txt", "hello world ", 12);
  g_free (name);
}
GST_END_TEST;

/* Containers count in milliseconds. With GStreamer 1.26 buffers without text come out of the file, too. */
static GstPadProbeReturn
add_text (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  gchar *text;

  if (gst_buffer_get_size (buffer) == 0)
    return GST_PAD_PROBE_OK;
  text = dup_text (buffer);
  g_string_append_printf (data, "%s@%u+%u|", g_strchomp (text), (guint) (GST_BUFFER_PTS (buffer) / GST_MSECOND),
                          (guint) (GST_BUFFER_DURATION (buffer) / GST_MSECOND));
  g_free (text);
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_matroska_keeps_words_as_subtitles)
{
  GString *texts = g_string_new (NULL);
  GstElement *pipeline, *sink;
  GstPad *pad;

  run (WORDS "! matroskamux ! filesink location=%s/out.mkv", folder, folder, folder);
  pipeline = launch ("filesrc location=%s/out.mkv ! matroskademux ! fakesink name=sink", folder);
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, add_text, texts, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  check_text (run_and_free (pipeline), NULL);
  fail_unless_equals_string (texts->str, "hello@40+320|world@440+160|");
  g_string_free (texts, TRUE);
}
GST_END_TEST;

GST_START_TEST (test_srtenc_writes_a_file_of_subtitles)
{
  static const gchar expected[] =
      "1\n00:00:00,040 --> 00:00:00,360\nhello\n\n2\n00:00:00,440 --> 00:00:00,600\nworld\n\n";

  run (WORDS "separator=\"\" ! srtenc ! filesink location=%s/out.srt", folder, folder, folder);
  check_file ("out.srt", expected, strlen (expected));
}
GST_END_TEST;

/* ---- over video ---- */

typedef struct {
  guint n;
  GString *drawn; /* per frame of video: whether anything is drawn on the black */
} Video;

static GstPadProbeReturn
look (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Video *video = data;
  GstMapInfo map;
  gboolean is_black = TRUE;
  gsize i;

  gst_buffer_map (GST_PAD_PROBE_INFO_BUFFER (info), &map, GST_MAP_READ);
  for (i = 0; i < map.size; i++)
    is_black &= map.data[i] == map.data[0];
  gst_buffer_unmap (GST_PAD_PROBE_INFO_BUFFER (info), &map);
  g_string_append_c (video->drawn, is_black ? '-' : 'x');
  video->n++;
  return GST_PAD_PROBE_OK;
}

/*
 * With both at 25 frames per second, a word stands on exactly the frames of video of its time. Video goes on during
 * silence: each frame comes although the first word is the only text for a long time.
 */
GST_START_TEST (test_textoverlay_draws_words_at_their_times)
{
  Video video = { 0, g_string_new (NULL) };
  GstElement *pipeline = launch ("videotestsrc pattern=black num-buffers=44 ! video/x-raw,format=GRAY8,framerate=25/1,"
                                 "width=160,height=64 ! textoverlay name=overlay shaded-background=true ! fakesink "
                                 "name=sink " WORDS " ! overlay.text_sink",
                                 folder, folder);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  GstPad *pad = gst_element_get_static_pad (sink, "sink");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, look, &video, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  check_text (run_and_free (pipeline), NULL);
  fail_unless_equals_int (video.n, 44);
  fail_unless_equals_string (video.drawn->str, "-xxxxxxxx--xxxx-----------------------------");
  g_string_free (video.drawn, TRUE);
}
GST_END_TEST;

/* ---- behind a model ---- */

/*
 * An encoder of one linear layer, which puts feature i of a frame in the place of token 7 - i, and a log-softmax: its
 * frames are a path in the opposite order of the tokens.
 */
static void
write_encoder (void)
{
  static const gchar header[] = "{\"__metadata__\":{\"encoder\":\"{\\\"version\\\":1,\\\"features\\\":8,\\\"blocks\\\":"
                                "[{\\\"linear\\\":\\\"ctc\\\"},"
                                "{\\\"activation\\\":\\\"log-softmax\\\"}]}\"},"
                                "\"ctc.weight\":{\"dtype\":\"F32\",\"shape\":[8,8],\"data_offsets\":[0,256]}}";
  guint64 size = GUINT64_TO_LE (strlen (header));
  GByteArray *file = g_byte_array_new ();
  guint i, j;

  g_byte_array_append (file, (const guint8 *) &size, sizeof size);
  g_byte_array_append (file, (const guint8 *) header, strlen (header));
  for (i = 0; i < 8; i++)
    for (j = 0; j < 8; j++) {
      union {
        gfloat value;
        guint32 bits;
      } weight = { i + j == 7 ? 1.0f : 0.0f };

      weight.bits = GUINT32_TO_LE (weight.bits);
      g_byte_array_append (file, (const guint8 *) &weight, sizeof weight);
    }
  write_file ("encoder.safetensors", file->data, file->len);
  g_byte_array_unref (file);
}

GST_START_TEST (test_encoder_speaks)
{
  gfloat frames[N_FRAMES][N_TOKENS] = { { 0 } };
  guint t;

  for (t = 0; t < N_FRAMES; t++)
    frames[t][7 - token_of (PATH[t])] = 5;
  write_npy ("in.npy", N_TOKENS, frames, sizeof frames);
  write_encoder ();
  run ("filesrc location=%s/in.npy ! npyparse frame-rate=25/1 ! attentionencoder model-file=%s/encoder.safetensors ! "
       "ctctext tokens=%s/tokens.txt ! filesink location=%s/out.txt",
       folder, folder, folder, folder);
  check_file ("out.txt", "hello world ", 12);
}
GST_END_TEST;

/* A seek while it plays: the unfinished word is dropped, and later words have the times of the file. */
GST_START_TEST (test_seek_in_a_file)
{
  GString *texts = g_string_new (NULL);
  GstElement *pipeline = launch (WORDS "! fakesink name=sink sync=true", folder, folder);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  GstPad *pad = gst_element_get_static_pad (sink, "sink");

  preroll (pipeline);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, add_text, texts, NULL);
  fail_unless (
      gst_element_seek_simple (pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, 10 * FRAME));
  gst_object_unref (pad);
  gst_object_unref (sink);
  check_text (run_and_free (pipeline), NULL);
  fail_unless_equals_string (texts->str, "world@440+160|");
  g_string_free (texts, TRUE);
}
GST_END_TEST;

static Suite *
ctctext_pipelines_suite (void)
{
  Suite *suite = suite_create ("ctctext-pipelines");
  TCase *tc = tcase_create ("pipelines");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup_pipelines, teardown);
  tcase_add_test (tc, test_filesink_has_words_with_spaces);
  tcase_add_test (tc, test_fdsink_has_words_with_spaces);
  tcase_add_test (tc, test_matroska_keeps_words_as_subtitles);
  tcase_add_test (tc, test_srtenc_writes_a_file_of_subtitles);
  tcase_add_test (tc, test_textoverlay_draws_words_at_their_times);
  tcase_add_test (tc, test_encoder_speaks);
  tcase_add_test (tc, test_seek_in_a_file);
  return suite;
}

GST_CHECK_MAIN (ctctext_pipelines);
