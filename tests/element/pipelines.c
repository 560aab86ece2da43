/*
 * Whole pipelines over files: the same frames give the same bytes in any format.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/app/app.h>
#include <gst/audio/audio.h>

#include "corecheck.h"
#include "pipelinecheck.h"
#include "subjectcheck.h"

#define D 64
#define N_FRAMES 150
#define FRAME_SIZE (D * sizeof (gfloat))
#define ATTENTION \
  "attention heads=4 window=64 model-file=\"" GOLDEN_DIR "/attention/four-heads.safetensors\" model-prefix=attn. "
#define AUDIO_CAPS "audio/x-raw,format=" GST_AUDIO_NE (F32) ",layout=interleaved,rate=100,channels=64"

static gfloat *frames, *expected; /* [N_FRAMES][D] */
static gchar *subject;            /* with its properties */

/* As numpy.save () writes it: version 1.0, padded to a multiple of 64. */
static void
write_npy (const gchar *name)
{
  gchar *text = g_strdup_printf ("{'descr': '%cf4', 'fortran_order': False, 'shape': (%d, %d), }",
                                 G_BYTE_ORDER == G_LITTLE_ENDIAN ? '<' : '>', N_FRAMES, D);
  GString *npy = g_string_new_len ("\x93NUMPY\x01\x00\x76\x00", 10);

  g_string_append_printf (npy, "%-117s\n", text);
  g_string_append_len (npy, (const gchar *) frames, N_FRAMES * FRAME_SIZE);
  write_file (name, npy->str, npy->len);
  g_string_free (npy, TRUE);
  g_free (text);
}

static AttnConfig
configuration (void)
{
  AttnConfig config = attn_config_default ();

  config.n_heads = 4;
  config.n_features = D;
  return config;
}

/* The outputs for frames [n][D]: out [n][D]. Attention has a model; an encoder has the layer without one. */
static void
attend_as_there (const gfloat *in, guint n, gfloat *out)
{
  AttnConfig config = configuration ();
  AttnModel *model = NULL;

  if (!subject_is_encoder ())
    fail_unless (attn_model_open (GOLDEN_DIR "/attention/four-heads.safetensors", "attn.", &model, NULL) == ATTN_OK);
  attend (&config, model, in, NULL, n, out, NULL);
  attn_model_free (model);
}

static void
setup (void)
{
  AttnConfig config = configuration ();

  make_folder ();
  subject = subject_is_encoder () ? subject_line (&config) : g_strdup (ATTENTION);
  frames = g_new (gfloat, N_FRAMES * D);
  expected = g_new (gfloat, N_FRAMES * D);
  fill_random (frames, N_FRAMES * D, 1);
  attend_as_there (frames, N_FRAMES, expected);
  write_npy ("in.npy");
  write_file ("in.f32", frames, N_FRAMES * FRAME_SIZE);
}

static void
teardown (void)
{
  remove_folder ();
  g_clear_pointer (&subject, g_free);
  g_free (frames);
  g_free (expected);
}

/* Runs a pipeline to its EOS; %s in the line is the folder. */
#define run(...) check_text (run_launch_line (__VA_ARGS__), NULL)

static void
check_frames (const gchar *name)
{
  check_file (name, expected, N_FRAMES * FRAME_SIZE);
}

GST_START_TEST (test_npy_to_npy)
{
  gsize size;
  gchar *data;

  run ("filesrc location=%s/in.npy ! npyparse ! %s ! npyenc ! filesink location=%s/out.npy", folder, subject, folder);
  data = read_file ("out.npy", &size);
  fail_unless (size > N_FRAMES * FRAME_SIZE);
  data[127] = '\0';
  fail_unless (strstr (data + 10, "'shape': (150, 64)") != NULL, "%s", data + 10);
  fail_unless (memcmp (data + size - N_FRAMES * FRAME_SIZE, expected, N_FRAMES * FRAME_SIZE) == 0);
  g_free (data);
}
GST_END_TEST;

GST_START_TEST (test_npy_in_large_buffers)
{
  run ("filesrc location=%s/in.npy ! npyparse frames-per-buffer=64 ! %s ! filesink location=%s/out.f32", folder,
       subject, folder);
  check_frames ("out.f32");
}
GST_END_TEST;

GST_START_TEST (test_wav)
{
  run ("filesrc location=%s/in.f32 blocksize=2560 ! " AUDIO_CAPS
       ",channel-mask=(bitmask)0 ! wavenc ! filesink location=%s/in.wav",
       folder, folder);
  run ("filesrc location=%s/in.wav ! wavparse ! %s ! filesink location=%s/out.f32", folder, subject, folder);
  check_frames ("out.f32");
}
GST_END_TEST;

/* Without dithering, as docs/features.md advises, 8 bits give the samples of 16 bits, and silence stays silence. */
GST_START_TEST (test_recording_of_8_bits)
{
  static const gchar *const formats[] = { "U8", "S16LE" };
  gchar *features[2];
  gsize sizes[2], i;

  for (i = 0; i < 2; i++) {
    run ("audiotestsrc num-buffers=16 wave=ticks ! audio/x-raw,format=U8,rate=16000,channels=1 ! audioconvert "
         "dithering=none "
         "! audio/x-raw,format=%s ! wavenc ! filesink location=%s/in.wav",
         formats[i], folder);
    run ("filesrc location=%s/in.wav ! wavparse ! audioconvert dithering=none ! audioresample ! logmel ! "
         "filesink location=%s/out.f32",
         folder, folder);
    features[i] = read_file ("out.f32", &sizes[i]);
  }
  fail_unless (sizes[0] == sizes[1] && sizes[0] > 0 && memcmp (features[0], features[1], sizes[0]) == 0);
  g_free (features[0]);
  g_free (features[1]);
}
GST_END_TEST;

GST_START_TEST (test_raw_floats)
{
  run ("filesrc location=%s/in.f32 blocksize=1792 ! " AUDIO_CAPS " ! %s ! filesink location=%s/out.f32", folder,
       subject, folder);
  check_frames ("out.f32");
}
GST_END_TEST;

GST_START_TEST (test_tensors)
{
  run ("filesrc location=%s/in.f32 blocksize=1280 ! other/tensors,format=static,num_tensors=1,types=(string)float32,"
       "dimensions=(string)64:5:1:1,framerate=(fraction)100/1 ! %s ! filesink location=%s/out.f32",
       folder, subject, folder);
  check_frames ("out.f32");
}
GST_END_TEST;

GST_START_TEST (test_appsrc_to_appsink)
{
  GstElement *pipeline =
      launch ("appsrc name=in format=time caps=" AUDIO_CAPS " ! %s ! appsink name=out sync=false", subject);
  GstElement *in = gst_bin_get_by_name (GST_BIN (pipeline), "in"),
             *out = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  GstSample *sample;
  guint t, n = 0;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (t = 0; t < N_FRAMES; t += 3)
    fail_unless_equals_int (
        gst_app_src_push_buffer (GST_APP_SRC (in), gst_buffer_new_memdup (frames + t * D, 3 * FRAME_SIZE)),
        GST_FLOW_OK);
  gst_app_src_end_of_stream (GST_APP_SRC (in));
  while ((sample = gst_app_sink_pull_sample (GST_APP_SINK (out)))) {
    fail_unless (gst_buffer_memcmp (gst_sample_get_buffer (sample), 0, expected + n * 3 * D, 3 * FRAME_SIZE) == 0);
    gst_sample_unref (sample);
    n++;
  }
  fail_unless_equals_int (n, N_FRAMES / 3);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (in);
  gst_object_unref (out);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/*
 * Frames behind the place of the seek are computed as if the stream began there; earlier frames have left, or are
 * forgotten.
 */
GST_START_TEST (test_a_seek_begins_a_stream_at_its_place)
{
  const guint begin = 50;
  GstElement *pipeline =
      launch ("filesrc location=%s/in.npy ! npyparse ! %s ! appsink name=out sync=false", folder, subject);
  GstElement *out = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  gfloat *behind = g_new (gfloat, (N_FRAMES - begin) * D);
  GstSample *sample;
  gsize at = 0;

  attend_as_there (frames + begin * D, N_FRAMES - begin, behind);
  preroll (pipeline);
  fail_unless (gst_element_seek_simple (pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, begin * 10 * GST_MSECOND));
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while ((sample = gst_app_sink_pull_sample (GST_APP_SINK (out)))) {
    GstBuffer *buffer = gst_sample_get_buffer (sample);
    gsize size = gst_buffer_get_size (buffer);

    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), (begin + at / FRAME_SIZE) * 10 * GST_MSECOND);
    fail_unless (at + size <= (N_FRAMES - begin) * FRAME_SIZE);
    fail_unless (gst_buffer_memcmp (buffer, 0, (guint8 *) behind + at, size) == 0);
    at += size;
    gst_sample_unref (sample);
  }
  fail_unless_equals_uint64 (at, (N_FRAMES - begin) * FRAME_SIZE);
  g_free (behind);
  gst_object_unref (out);
  free_pipeline (pipeline);
}
GST_END_TEST;

/* A model whose output is wider than its input: downstream's caps say so. */
GST_START_TEST (test_model_that_changes_the_number_of_features)
{
  GstElement *pipeline =
      gst_parse_launch ("audiotestsrc num-buffers=3 samplesperbuffer=4 ! audio/x-raw,format=" GST_AUDIO_NE (
                            F32) ",rate=100,channels=6 ! "
                                 "attention heads=2 model-file=\"" GOLDEN_DIR
                                 "/attention/wider.safetensors\" model-prefix=attn. ! appsink name=out sync=false",
                        NULL);
  GstElement *out = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  GstSample *sample;
  GstStructure *structure;
  gint channels;
  guint64 mask;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  sample = gst_app_sink_pull_sample (GST_APP_SINK (out));
  fail_unless (sample != NULL);
  structure = gst_caps_get_structure (gst_sample_get_caps (sample), 0);
  fail_unless (gst_structure_get_int (structure, "channels", &channels) && channels == 10);
  fail_unless (gst_structure_get (structure, "channel-mask", GST_TYPE_BITMASK, &mask, NULL) && mask == 0);
  fail_unless_equals_int (gst_buffer_get_size (gst_sample_get_buffer (sample)), 4 * 10 * sizeof (gfloat));
  gst_sample_unref (sample);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (out);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static void
count_buffer (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer n)
{
  g_atomic_int_inc ((gint *) n);
}

/*
 * One frame per buffer at 100 frames per second, look-ahead 5: 50 ms on top of the source's own 10 ms, and nothing is
 * too late.
 */
GST_START_TEST (test_live_pipeline_reports_its_latency_and_drops_nothing)
{
  AttnConfig config = { .n_features = 8, .n_heads = 2, .window = 20, .look_ahead = 5, .position = ATTN_POSITION_NONE };
  gchar *line = subject_line (&config);
  GstElement *pipeline = launch (
      "audiotestsrc is-live=true samplesperbuffer=1 num-buffers=60 ! audio/x-raw,format=" GST_AUDIO_NE (
          F32) ",rate=100,channels=8 ! %s ! identity name=behind ! fakesink name=out sync=true signal-handoffs=true",
      line);
  GstElement *out = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  GstElement *behind = gst_bin_get_by_name (GST_BIN (pipeline), "behind");
  GstBus *bus = gst_element_get_bus (pipeline);
  GstQuery *query = gst_query_new_latency ();
  GstStructure *stats;
  GstClockTime min, max;
  gboolean live;
  gint n = 0;
  guint64 dropped;
  GstMessage *message;

  g_signal_connect (out, "handoff", G_CALLBACK (count_buffer), &n);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 20 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
  gst_message_unref (message);
  fail_unless (gst_element_query (behind, query));
  gst_query_parse_latency (query, &live, &min, &max);
  fail_unless (live);
  fail_unless_equals_clocktime (min, 60 * GST_MSECOND);
  fail_unless_equals_int (g_atomic_int_get (&n), 60);
  g_object_get (out, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, "dropped", &dropped) && dropped == 0);
  gst_structure_free (stats);
  gst_query_unref (query);
  gst_object_unref (bus);
  gst_object_unref (behind);
  gst_object_unref (out);
  free_pipeline (pipeline);
  g_free (line);
}
GST_END_TEST;

static Suite *
pipelines_suite (void)
{
  Suite *suite = suite_create ("pipelines");
  TCase *files = tcase_create ("pipelines");

  suite_add_tcase (suite, files);
  tcase_add_checked_fixture (files, setup, teardown);
  tcase_add_test (files, test_npy_to_npy);
  tcase_add_test (files, test_npy_in_large_buffers);
  tcase_add_test (files, test_wav);
  tcase_add_test (files, test_raw_floats);
  tcase_add_test (files, test_tensors);
  tcase_add_test (files, test_appsrc_to_appsink);
  tcase_add_test (files, test_a_seek_begins_a_stream_at_its_place);
  tcase_add_test (files, test_live_pipeline_reports_its_latency_and_drops_nothing);
  if (!subject_is_encoder ()) { /* logmel, and a model of a single layer */
    tcase_add_test (files, test_recording_of_8_bits);
    tcase_add_test (files, test_model_that_changes_the_number_of_features);
  }
  return suite;
}

GST_CHECK_MAIN (pipelines);
