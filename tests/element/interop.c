/*
 * `attention`, or an encoder, beside other projects' elements, which carry feature streams to and from it: the same
 * bytes come out as without them.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/audio/audio.h>

#include "corecheck.h"
#include "pipelinecheck.h"
#include "subjectcheck.h"

#define D 8
#define N_FRAMES 120
#define FRAME_SIZE (D * sizeof (gfloat))
#define LOOK_AHEAD 3
#define AUDIO_CAPS \
  "audio/x-raw,format=" GST_AUDIO_NE (F32) ",layout=interleaved,rate=100,channels=8,channel-mask=(bitmask)0"
#define RAW "filesrc location=%s/in.f32 blocksize=128 ! " AUDIO_CAPS " " /* no timestamps, and a segment of bytes */
#define TIMED                                                                                             \
  "filesrc location=%s/in.f32 blocksize=480 ! rawaudioparse format=pcm pcm-format=f32le sample-rate=100 " \
  "num-channels=8 "
#define ENCODER_FILE GOLDEN_DIR "/encoder/conv-causal.safetensors"
#define SINK "filesink location=%s/out.f32"
#define UNBUFFERED_SINK SINK " buffer-mode=unbuffered async=false"

static gfloat frames[N_FRAMES * D], expected[N_FRAMES * D];
static gchar *subject; /* with its properties */

/* ---- helpers ---- */

static AttnConfig
configuration (guint n_features)
{
  AttnConfig config = attn_config_default ();

  config.n_features = n_features;
  config.n_heads = 2;
  config.window = 20;
  config.look_ahead = LOOK_AHEAD;
  return config;
}

/* out [n][D]; `present` NULL: all. */
static void
attend_as_there (const gfloat *in, const guint8 *present, guint n, gfloat *out)
{
  AttnConfig config = configuration (D);

  attend (&config, NULL, in, present, n, out, NULL);
}

static void
setup (void)
{
  AttnConfig config = configuration (D);

  make_folder ();
  subject = subject_line (&config);
  fill_random (frames, N_FRAMES * D, 1);
  attend_as_there (frames, NULL, N_FRAMES, expected);
  write_file ("in.f32", frames, sizeof frames);
}

static void
teardown (void)
{
  g_clear_pointer (&subject, g_free);
  remove_folder ();
}

/* A pipeline that plays. */
#define start(...) play (launch (__VA_ARGS__))

static GstElement *
play (GstElement *pipeline)
{
  fail_if (gst_element_set_state (pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE);
  return pipeline;
}

/* Waits for the end of `pipeline`, and takes the pipeline. */
static void
finish (GstElement *pipeline)
{
  check_text (run_and_free (pipeline), NULL);
}

static void
check_output (void)
{
  check_file ("out.f32", expected, N_FRAMES * FRAME_SIZE);
}

/* ---- containers and splitters ---- */

GST_START_TEST (test_matroska)
{
  finish (start (TIMED "! matroskamux ! filesink location=%s/in.mka", folder, folder));
  finish (start ("filesrc location=%s/in.mka ! matroskademux ! %s ! " SINK, folder, subject, folder));
  check_output ();
}
GST_END_TEST;

GST_START_TEST (test_audiobuffersplit)
{
  finish (start (TIMED "! audiobuffersplit output-buffer-duration=7/100 ! %s ! " SINK, folder, subject, folder));
  check_output ();
}
GST_END_TEST;

/* Convolutions, which any lost or added frame would change for a while. */
GST_START_TEST (test_encoder_behind_matroska_and_a_splitter)
{
  AttnLayer *layer;
  gfloat *encoded;
  gsize n_outputs;

  fail_unless (attn_encoder_open (ENCODER_FILE, NULL, &layer, NULL) == ATTN_OK);
  n_outputs = attn_layer_n_outputs (layer);
  fail_unless (attn_layer_n_features (layer) == D && attn_layer_count (layer, N_FRAMES) == N_FRAMES);
  encoded = g_new (gfloat, N_FRAMES * n_outputs);
  fail_unless (attn_forward (layer, frames, NULL, N_FRAMES, 0, encoded, NULL, NULL) == ATTN_OK);
  finish (start (TIMED "! matroskamux ! filesink location=%s/in.mka", folder, folder));
  finish (start ("filesrc location=%s/in.mka ! matroskademux ! audiobuffersplit output-buffer-duration=7/100 ! "
                 "attentionencoder model-file=" ENCODER_FILE " ! " SINK,
                 folder, folder));
  check_file ("out.f32", encoded, N_FRAMES * n_outputs * sizeof *encoded);
  g_free (encoded);
  attn_layer_free (layer);
}
GST_END_TEST;

GST_START_TEST (test_tee_with_the_frames_as_they_are)
{
  finish (start (RAW " ! tee name=t t. ! queue ! %s ! " SINK " t. ! queue ! filesink location=%s/same.f32", folder,
                 subject, folder, folder));
  check_output ();
  check_file ("same.f32", frames, N_FRAMES * FRAME_SIZE);
}
GST_END_TEST;

GST_START_TEST (test_interleaved_sensors)
{
  static gfloat reference[4 * 200];
  AttnConfig config = configuration (4);
  gchar *line = subject_line (&config);
  gsize n;
  gfloat *in;

  finish (start ("interleave name=i ! tee name=t t. ! queue ! filesink location=%s/sensors.f32 "
                 "t. ! queue ! %s ! " SINK " "
                 "audiotestsrc num-buffers=20 samplesperbuffer=10 wave=sine freq=3 ! audio/x-raw,format=" GST_AUDIO_NE (
                     F32) ",rate=100,channels=1 ! i.sink_0 "
                          "audiotestsrc num-buffers=20 samplesperbuffer=10 wave=square freq=2 ! "
                          "audio/x-raw,rate=100,channels=1 ! i.sink_1 "
                          "audiotestsrc num-buffers=20 samplesperbuffer=10 wave=white-noise ! "
                          "audio/x-raw,rate=100,channels=1 ! i.sink_2 "
                          "audiotestsrc num-buffers=20 samplesperbuffer=10 wave=saw freq=5 ! "
                          "audio/x-raw,rate=100,channels=1 ! i.sink_3",
                 folder, line, folder));
  in = (gfloat *) read_file ("sensors.f32", &n);
  fail_unless_equals_uint64 (n, 4 * 200 * sizeof (gfloat));
  attend (&config, NULL, in, NULL, 200, reference, NULL);
  check_file ("out.f32", reference, n);
  g_free (in);
  g_free (line);
}
GST_END_TEST;

GST_START_TEST (test_level_of_features)
{
  GstElement *pipeline = start (TIMED "! %s ! level interval=100000000 ! " SINK, folder, subject, folder);

  finish (pipeline);
  check_output ();
}
GST_END_TEST;

/* ---- in a row ---- */

GST_START_TEST (test_two_in_a_row_attend_to_what_was_attended)
{
  static gfloat twice[N_FRAMES * D];

  attend_as_there (expected, NULL, N_FRAMES, twice);
  finish (start (RAW " ! %s ! %s ! " SINK, folder, subject, subject, folder));
  check_file ("out.f32", twice, N_FRAMES * FRAME_SIZE);
}
GST_END_TEST;

GST_START_TEST (test_latencies_in_a_row_add_up)
{
  GstElement *pipeline = start ("audiotestsrc is-live=true samplesperbuffer=1 ! audio/x-raw,format=" GST_AUDIO_NE (
                                    F32) ",rate=100,channels=8 ! %s ! %s ! fakesink name=out",
                                subject, subject);
  GstElement *out = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min;

  fail_unless_equals_int (gst_element_get_state (pipeline, NULL, NULL, 20 * GST_SECOND), GST_STATE_CHANGE_SUCCESS);
  fail_unless (gst_element_query (out, query));
  gst_query_parse_latency (query, NULL, &min, NULL);
  fail_unless_equals_uint64 (min, (1 + 2 * LOOK_AHEAD) * 10 * GST_MSECOND); /* 1: the source's own buffer */
  gst_query_unref (query);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (out);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* ---- between processes and machines: here both ends are in one ---- */

static GstElement *
get (GstElement *pipeline, const gchar *name)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  gst_object_unref (element); /* the pipeline holds it */
  return element;
}

GST_START_TEST (test_gdp_over_tcp)
{
  GstElement *receiver = start ("tcpserversrc name=in host=127.0.0.1 port=0 ! gdpdepay ! %s ! " SINK, subject, folder);
  gint port = 0;

  while (port == 0) {
    g_object_get (get (receiver, "in"), "current-port", &port, NULL);
    g_usleep (1000);
  }
  finish (start (RAW " ! gdppay ! tcpclientsink host=127.0.0.1 port=%d", folder, port));
  finish (receiver);
  check_output ();
}
GST_END_TEST;

/* If a stream of `n` has no end of its own, all but the last buffer of 4 comes out, because that one waits for more. */
static void
wait_for_frames (GstElement *receiver, guint n)
{
  gchar *path = path_of ("out.f32");
  GStatBuf status = { 0 };
  guint i;

  for (i = 0; i < 10000 && (guint64) status.st_size < (n - 4) * FRAME_SIZE; i++) {
    g_usleep (1000);
    g_stat (path, &status);
  }
  fail_unless_equals_uint64 (status.st_size, (n - 4) * FRAME_SIZE);
  gst_element_send_event (receiver, gst_event_new_eos ());
  finish (receiver);
  g_free (path);
}

GST_START_TEST (test_shared_memory)
{
  GstElement *sender = start (RAW " ! shmsink socket-path=%s/socket wait-for-connection=true", folder, folder);
  gchar *socket = path_of ("socket");
  GstElement *receiver;

  while (!g_file_test (socket, G_FILE_TEST_EXISTS))
    g_usleep (1000);
  receiver =
      start ("shmsrc name=in socket-path=%s/socket ! " AUDIO_CAPS " ! %s ! " UNBUFFERED_SINK, folder, subject, folder);
  wait_for_frames (receiver, N_FRAMES);
  check_output ();
  finish (sender);
  g_free (socket);
}
GST_END_TEST;

#define UDP_SOURCE                                                                                       \
  "udpsrc name=in address=127.0.0.1 port=0 caps=\"application/x-rtp,media=application,clock-rate=90000," \
  "encoding-name=X-GST\" "
#define RTP TIMED "! audiobuffersplit output-buffer-duration=4/100 ! rtpgstpay config-interval=1 "

/* Without a jitter buffer the times would be those of the arrival, and a pause of the machine a jump of the stream. */
GST_START_TEST (test_rtpgst_over_udp)
{
  GstElement *receiver = start (UDP_SOURCE "do-timestamp=false ! rtpgstdepay ! %s ! " UNBUFFERED_SINK, subject, folder);
  GstElement *sender;
  gint port;

  g_object_get (get (receiver, "in"), "port", &port, NULL);
  sender = start (RTP "! udpsink sync=false host=127.0.0.1 port=%d", folder, port);
  wait_for_frames (receiver, N_FRAMES);
  check_output ();
  finish (sender);
}
GST_END_TEST;

/* Of 30 packets, each of four frames. */
static gboolean
is_lost (guint packet)
{
  return packet == 3 || packet == 7 || packet == 8 || packet == 20;
}

static GstPadProbeReturn
lose_packets (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstClockTime pts = GST_BUFFER_PTS (GST_PAD_PROBE_INFO_BUFFER (info));

  return is_lost (pts / (40 * GST_MSECOND)) ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

/* out [.][D]: the outputs of the frames that are not lost, which do not see the lost ones; returns their number. */
static guint
attend_with_loss (gfloat *out)
{
  gfloat *all = g_new (gfloat, N_FRAMES * D);
  guint8 present[N_FRAMES];
  guint i, n = 0;

  for (i = 0; i < N_FRAMES; i++)
    present[i] = !is_lost (i / 4);
  attend_as_there (frames, present, N_FRAMES, all);
  for (i = 0; i < N_FRAMES; i++)
    if (present[i])
      memcpy (out + n++ * D, all + i * D, FRAME_SIZE);
  g_free (all);
  return n;
}

/* Losses show by GAP events, or only by the times of the frames that came. */
GST_START_TEST (test_frames_of_lost_packets_are_absent)
{
  static gfloat with_loss[N_FRAMES * D];
  guint n = attend_with_loss (with_loss);
  GstElement *receiver =
      start (UDP_SOURCE "! rtpjitterbuffer mode=none do-lost=%s latency=100 ! rtpgstdepay ! %s ! " UNBUFFERED_SINK,
             __i__ == 0 ? "true" : "false", subject, folder);
  GstElement *sender;
  GstPad *pad;
  gint port;

  g_object_get (get (receiver, "in"), "port", &port, NULL);
  sender = launch (RTP "! identity name=loss ! udpsink sync=false host=127.0.0.1 port=%d", folder, port);
  pad = gst_element_get_static_pad (get (sender, "loss"), "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, lose_packets, NULL, NULL);
  gst_object_unref (pad);
  play (sender);
  wait_for_frames (receiver, n);
  check_file ("out.f32", with_loss, n * FRAME_SIZE);
  finish (sender);
}
GST_END_TEST;

static Suite *
interop_suite (void)
{
  Suite *suite = suite_create ("interop");
  TCase *all = tcase_create ("interop");

  suite_add_tcase (suite, all);
  tcase_add_checked_fixture (all, setup, teardown);
  tcase_add_test (all, test_matroska);
  tcase_add_test (all, test_audiobuffersplit);
  if (subject_is_encoder ())
    tcase_add_test (all, test_encoder_behind_matroska_and_a_splitter);
  tcase_add_test (all, test_tee_with_the_frames_as_they_are);
  tcase_add_test (all, test_interleaved_sensors);
  tcase_add_test (all, test_level_of_features);
  tcase_add_test (all, test_two_in_a_row_attend_to_what_was_attended);
  tcase_add_test (all, test_latencies_in_a_row_add_up);
  tcase_add_test (all, test_gdp_over_tcp);
  tcase_add_test (all, test_shared_memory);
  tcase_add_test (all, test_rtpgst_over_udp);
  tcase_add_loop_test (all, test_frames_of_lost_packets_are_absent, 0, 2);
  return suite;
}

GST_CHECK_MAIN (interop);
