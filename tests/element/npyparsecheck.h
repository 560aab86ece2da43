/* Code for the tests of npyparse: its sources, and its outputs.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_ELEMENT_NPYPARSECHECK_H
#define TESTS_ELEMENT_NPYPARSECHECK_H

#include "npycheck.h"

/*
 * The sources of npyparse: it pulls from filesrc itself, a queue pushes, and chunks of one byte are the smallest
 * possible.
 */
static const gchar *const feeds[] = { "filesrc location=%s", "filesrc location=%s ! queue",
                                      "filesrc location=%s blocksize=1 ! queue" };

static inline GstElement *
new_pipeline (const gchar *feed, const gchar *path, const gchar *options)
{
  gchar **parts = g_strsplit (feed, "%s", 2);
  GstElement *pipeline = launch ("%s%s%s ! npyparse name=parse %s ! appsink name=sink sync=false max-buffers=0",
                                 parts[0], path, parts[1], options);

  g_strfreev (parts);
  return pipeline;
}

static inline GstSample *
pull_sample (GstElement *pipeline)
{
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  GstSample *sample;

  g_signal_emit_by_name (sink, "pull-sample", &sample);
  gst_object_unref (sink);
  return sample;
}

/* The rest of the stream as one array, after checking that numbers and times fit together. The caller frees it. */
static inline GArray *
pull_values (GstElement *pipeline)
{
  GArray *values = g_array_new (FALSE, FALSE, sizeof (gfloat));
  guint64 offset = GST_BUFFER_OFFSET_NONE;
  GstClockTime end = GST_CLOCK_TIME_NONE;
  GstSample *sample;

  while ((sample = pull_sample (pipeline)) != NULL) {
    GstBuffer *buffer = gst_sample_get_buffer (sample);
    GstMapInfo map;

    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    if (offset != GST_BUFFER_OFFSET_NONE) {
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), offset);
      fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), end);
    }
    offset = GST_BUFFER_OFFSET_END (buffer);
    end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_array_append_vals (values, map.data, map.size / sizeof (gfloat));
    gst_buffer_unmap (buffer, &map);
    gst_sample_unref (sample);
  }
  return values;
}

static inline GArray *
read_values (const gchar *feed, const gchar *path, const gchar *options)
{
  GstElement *pipeline = new_pipeline (feed, path, options);
  GstBus *bus = gst_element_get_bus (pipeline);
  GArray *values;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  values = pull_values (pipeline);
  check_text (pop_error (bus), NULL);
  gst_object_unref (bus);
  free_pipeline (pipeline);
  return values;
}

static inline GArray *
read_golden_values (const gchar *feed, const gchar *name)
{
  gchar *path = golden_path (name);
  GArray *values = read_values (feed, path, "");

  g_free (path);
  return values;
}

static inline GstHarness *
push_counting (const gchar *launch_line, guint n_frames, guint n_features)
{
  GstHarness *harness = gst_harness_new_parse (launch_line);
  Bytes bytes = make_counting_npy (n_frames, n_features);

  gst_harness_set_src_caps_str (harness, "application/x-npy");
  gst_harness_push (harness, gst_buffer_new_wrapped (bytes.data, bytes.size));
  gst_harness_push_event (harness, gst_event_new_eos ());
  return harness;
}

#endif
