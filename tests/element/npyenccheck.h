/*
 * Code for the tests of npyenc: the element in front of a sink that seeks, and a clock that stands still.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_NPYENCCHECK_H
#define TESTS_ELEMENT_NPYENCCHECK_H

#include <gst/check/gsttestclock.h>

#include "npycheck.h"

static gboolean sink_seekable, sink_answers;
static GstClock *machine_clock; /* stands still unless a test moves it */

static inline void
setup (void)
{
  machine_clock = gst_test_clock_new ();
  gst_system_clock_set_default (machine_clock);
}

static inline void
teardown (void)
{
  gst_system_clock_set_default (NULL);
  gst_object_unref (machine_clock);
}

static inline gboolean
sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_SEEKING)
    return gst_pad_query_default (pad, parent, query);
  gst_query_set_seeking (query, GST_FORMAT_BYTES, sink_seekable, 0, -1);
  return sink_answers;
}

/* npyenc in front of a sink that says it can seek. */
static inline GstHarness *
new_enc (void)
{
  GstHarness *harness = new_harness ("npyenc");

  sink_seekable = sink_answers = TRUE;
  gst_pad_set_query_function (harness->sinkpad, sink_query);
  return harness;
}

static inline void
set_audio_caps (GstHarness *harness, guint n_features, guint rate)
{
  gchar *caps =
      g_strdup_printf ("audio/x-raw, format=%s, layout=interleaved, channels=%u, rate=%u", NE_FORMAT, n_features, rate);

  gst_harness_set_src_caps_str (harness, caps);
  g_free (caps);
}

/* n_values values first, first + 1, ... */
static inline GstBuffer *
make_frames (guint n_values, gfloat first)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n_values * sizeof (gfloat), NULL);
  GstMapInfo map;
  guint i;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (i = 0; i < n_values; i++)
    ((gfloat *) map.data)[i] = first + i;
  gst_buffer_unmap (buffer, &map);
  return buffer;
}

/* Writes the outputs into a file: each buffer goes to the place of the last segment. */
static inline Bytes
render (GstHarness *harness)
{
  GByteArray *file = g_byte_array_new ();
  GstBuffer *buffer;
  Bytes bytes;

  while ((buffer = gst_harness_try_pull (harness)) != NULL) {
    gsize size = gst_buffer_get_size (buffer), offset = GST_BUFFER_OFFSET (buffer);

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), offset + size);
    fail_unless (offset <= file->len);
    if (offset + size > file->len)
      g_byte_array_set_size (file, offset + size);
    gst_buffer_extract (buffer, 0, file->data + offset, size);
    gst_buffer_unref (buffer);
  }
  bytes.size = file->len;
  bytes.data = (gchar *) g_byte_array_free (file, FALSE);
  return bytes;
}

/* The header of the file so far says (n_frames, n_features), and the file has as many values, 0, 1, 2, ... */
static inline void
check_array (GstHarness *harness, guint n_frames, guint n_features)
{
  Bytes bytes = render (harness);
  gchar *shape = g_strdup_printf ("'shape': (%u, %u), }", n_frames, n_features);
  guint i;

  fail_unless_equals_uint64 (bytes.size, HEADER_SIZE + (gsize) n_frames * n_features * sizeof (gfloat));
  fail_unless (g_strstr_len (bytes.data + 10, HEADER_SIZE - 10, shape) != NULL, "%.118s has no %s", bytes.data + 10,
               shape);
  fail_unless_equals_int (bytes.data[HEADER_SIZE - 1], '\n');
  for (i = 0; i < n_frames * n_features; i++) {
    gfloat value;

    memcpy (&value, bytes.data + HEADER_SIZE + i * sizeof value, sizeof value);
    fail_unless_equals_float (value, i);
  }
  g_free (shape);
  g_free (bytes.data);
}

/* The end of a stream; the whole file is as check_array () has it. */
static inline void
finish (GstHarness *harness, guint n_frames, guint n_features)
{
  gst_harness_push_event (harness, gst_event_new_eos ());
  check_array (harness, n_frames, n_features);
  free_harness (harness);
}

#endif
