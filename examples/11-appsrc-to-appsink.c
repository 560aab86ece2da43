/*
 * Lesson 11: attention inside an application, with appsrc and appsink. Lesson 6 is the same in Python.
 *
 * The program pushes frames and gets attended frames back, each with its timestamp. With a look-ahead of one frame they
 * come one frame late, and the last one comes after the end of the stream (EOS). If something goes wrong, there is an
 * error message on the bus: here, two heads cannot share frames of three features.
 *
 * Build:  cc 11-appsrc-to-appsink.c $(pkg-config --cflags --libs gstreamer-app-1.0) -o 11-appsrc-to-appsink
 * Leaks:  with GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 in the environment GStreamer names every "object-alive" at the
 *         end. There is none: whoever gets a reference (get_by_name, get_bus, pull_sample, pop) gives it back.
 *
 * Expected output:
 *   four features
 *   0.00 s:  0.804  0.804  0.500  0.500
 *   0.02 s:  0.667  0.667  0.892  0.892
 *   0.04 s:  0.892  0.892  0.892  0.892
 *   0.06 s:  1.000  1.000  0.500  0.500
 *   end of stream
 *   three features
 *   attention: 3 features per frame cannot be divided among 2 heads: take heads=1, or pad the frames to 4 features
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/app/app.h>

#define FRAME_RATE 50
#define N_FRAMES 4
#define LAUNCH "appsrc name=in ! attention name=attention heads=2 window=2 look-ahead=1 ! appsink name=out sync=false"

static const gfloat frames[N_FRAMES][4] = { { 1, 1, 0, 0 }, { 0, 0, 1, 1 }, { 1, 1, 1, 1 }, { 1, 1, 0, 0 } };

/* appsrc must know the caps before the first buffer, and that its timestamps are times. */
static void
set_caps (GstAppSrc *in, gint n_features)
{
  GstCaps *caps =
      gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, "F32LE", "layout", G_TYPE_STRING, "interleaved",
                           "rate", G_TYPE_INT, FRAME_RATE, "channels", G_TYPE_INT, n_features, NULL);

  g_object_set (in, "format", GST_FORMAT_TIME, "caps", caps, NULL);
  gst_caps_unref (caps);
}

/* One frame per buffer. Its time is computed from its number, never added up. FALSE: the pipeline takes no more. */
static gboolean
push_frame (GstAppSrc *in, guint t, gint n_features)
{
  GstBuffer *buffer = gst_buffer_new_memdup (frames[t], n_features * sizeof (gfloat));

  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (t, GST_SECOND, FRAME_RATE);
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale (t + 1, GST_SECOND, FRAME_RATE) - GST_BUFFER_PTS (buffer);
  return gst_app_src_push_buffer (in, buffer) == GST_FLOW_OK; /* takes the buffer, also when it fails */
}

static void
print_frame (GstSample *sample)
{
  GstBuffer *buffer = gst_sample_get_buffer (sample);
  GstMapInfo map;
  gsize i;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return;
  g_print ("%.2f s:", (gdouble) GST_BUFFER_PTS (buffer) / GST_SECOND);
  for (i = 0; i < map.size / sizeof (gfloat); i++)
    g_print (" %6.3f", ((gfloat *) map.data)[i]);
  g_print ("\n");
  gst_buffer_unmap (buffer, &map);
}

/* Waits for the end of the stream, or for an error, which it prints. */
static gboolean
wait_for_the_end (GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  gboolean is_error = GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR;
  GError *error = NULL;

  if (is_error) {
    gst_message_parse_error (message, &error, NULL); /* the third: details for developers */
    g_print ("%s: %s\n", GST_OBJECT_NAME (GST_MESSAGE_SRC (message)), error->message);
    g_error_free (error);
  } else {
    g_print ("end of stream\n");
  }
  gst_message_unref (message);
  gst_object_unref (bus);
  return !is_error;
}

/* Everything goes in, then everything comes out: a program with a main loop would use appsink's signal new-sample. */
static gboolean
attend (GstElement *pipeline, gint n_features)
{
  GstAppSrc *in = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (pipeline), "in"));
  GstAppSink *out = GST_APP_SINK (gst_bin_get_by_name (GST_BIN (pipeline), "out"));
  GstSample *sample;
  guint t;

  set_caps (in, n_features);
  gst_element_set_state (pipeline, GST_STATE_PLAYING); /* should it fail, the bus says why */
  for (t = 0; t < N_FRAMES && push_frame (in, t, n_features); t++)
    ;
  gst_app_src_end_of_stream (in);
  while ((sample = gst_app_sink_pull_sample (out))) { /* NULL: end of stream, or stopped by an error */
    print_frame (sample);
    gst_sample_unref (sample);
  }
  gst_object_unref (in);
  gst_object_unref (out);
  return wait_for_the_end (pipeline);
}

static gboolean
run (gint n_features)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (LAUNCH, &error);
  gboolean ok = FALSE;

  if (error) { /* such as: no element "attention". Is GST_PLUGIN_PATH set? */
    g_printerr ("%s\n", error->message);
    g_error_free (error);
  } else {
    ok = attend (pipeline, n_features);
  }
  if (pipeline) {
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
  return ok;
}

int
main (int argc, char **argv)
{
  gboolean as_expected;

  gst_init (&argc, &argv);
  g_print ("four features\n");
  as_expected = run (4);
  g_print ("three features\n");
  as_expected = !run (3) && as_expected;
  gst_deinit (); /* only so that tools which look for leaks see none */
  return !as_expected;
}
