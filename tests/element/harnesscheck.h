/*
 * Code for tests with a harness: events that go in, buffers and events that come out, statistics.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_HARNESSCHECK_H
#define TESTS_ELEMENT_HARNESSCHECK_H

#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

/* ---- in ---- */

static inline void
push_segment (GstHarness *h, GstClockTime base)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = base;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
}

static inline void
push_flush (GstHarness *h)
{
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
}

/* Queries a pad downstream. */
static inline GstFlowReturn
refuse_buffer (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;
}

/* ---- out ---- */

/* All that has come out. */
static inline GByteArray *
pull_bytes (GstHarness *h)
{
  GByteArray *bytes = g_byte_array_new ();
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h))) {
    GstMapInfo map;

    fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return bytes;
}

/* The same as values, which the caller frees. */
static inline gfloat *
pull_all (GstHarness *h, gsize *n_values)
{
  GByteArray *bytes = pull_bytes (h);

  *n_values = bytes->len / sizeof (gfloat);
  return (gfloat *) g_byte_array_free (bytes, FALSE);
}

static inline void
drop_buffers (GstHarness *h)
{
  g_byte_array_unref (pull_bytes (h));
}

/* All that came out equals expected [n]. */
static inline void
check_values (GstHarness *h, const gfloat *expected, gsize n)
{
  gsize n_got;
  gfloat *got = pull_all (h, &n_got);

  fail_unless_equals_uint64 (n_got, n);
  fail_unless (memcmp (got, expected, n * sizeof (gfloat)) == 0, "the values differ");
  g_free (got);
}

/* Words such as heads=2, with a space between. */
static inline void
set_properties (GstElement *element, const gchar *line)
{
  gchar **words = g_strsplit (line, " ", -1), **word;

  for (word = words; *word != NULL; word++) {
    gchar *value = strchr (*word, '=');

    if (value == NULL)
      continue;
    *value = '\0';
    gst_util_set_object_arg (G_OBJECT (element), *word, value + 1);
  }
  g_strfreev (words);
}

/* The next event of a type; those before it go. */
static inline GstEvent *
pull_event (GstHarness *h, GstEventType type)
{
  GstEvent *event;

  while ((event = gst_harness_try_pull_event (h)) && GST_EVENT_TYPE (event) != type)
    gst_event_unref (event);
  return event;
}

/* ---- states ---- */

/* The signals of elements whose streams outlive their process. Transfer full; NULL: there is no stream. */
static inline GBytes *
save (GstHarness *h)
{
  GBytes *state = NULL;

  g_signal_emit_by_name (h->element, "save-state", &state);
  return state;
}

static inline gboolean
restore (GstHarness *h, GBytes *state)
{
  gboolean restored = FALSE;

  g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  return restored;
}

/* ---- queries and statistics ---- */

static GstClockTime upstream_max;

static inline gboolean
answer_latency (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return gst_pad_query_default (pad, parent, query);
  gst_query_set_latency (query, TRUE, 10 * GST_MSECOND, upstream_max);
  return TRUE;
}

/*
 * Frames that wait in the element need not be held back upstream: `own` raises the maximum, too, unless there is none.
 */
static inline void
check_latency_behind_live (GstHarness *h, GstClockTime own)
{
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean is_live;

  gst_pad_set_query_function (h->srcpad, answer_latency);
  upstream_max = 20 * GST_MSECOND;
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (is_live && min == 10 * GST_MSECOND + own && max == 20 * GST_MSECOND + own);
  upstream_max = GST_CLOCK_TIME_NONE;
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (min == 10 * GST_MSECOND + own && !GST_CLOCK_TIME_IS_VALID (max));
  gst_query_unref (query);
}

/* Upstream answers 5 in every format, and can seek. */
static inline gboolean
answer_anything (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstFormat format;

  switch (GST_QUERY_TYPE (query)) {
  case GST_QUERY_DURATION:
    gst_query_parse_duration (query, &format, NULL);
    gst_query_set_duration (query, format, 5);
    return TRUE;
  case GST_QUERY_SEEKING:
    gst_query_parse_seeking (query, &format, NULL, NULL, NULL);
    gst_query_set_seeking (query, format, TRUE, 0, 5);
    return TRUE;
  case GST_QUERY_POSITION:
    gst_query_parse_position (query, &format, NULL);
    gst_query_set_position (query, format, 5);
    return TRUE;
  case GST_QUERY_CONVERT:
    gst_query_set_convert (query, GST_FORMAT_TIME, 1, GST_FORMAT_DEFAULT, 5);
    return TRUE;
  default:
    return gst_pad_query_default (pad, parent, query);
  }
}

/* Downstream gets answers in time alone, and upstream gets no other seeks. */
static inline void
check_only_time_passes (GstHarness *h)
{
  static const GstFormat formats[] = { GST_FORMAT_TIME, GST_FORMAT_DEFAULT, GST_FORMAT_BYTES };
  GstPad *pad = h->sinkpad;
  gint64 value;
  guint i;

  gst_pad_set_query_function (h->srcpad, answer_anything);
  for (i = 0; i < G_N_ELEMENTS (formats); i++) {
    GstQuery *seeking = gst_query_new_seeking (formats[i]);
    guint before = gst_harness_upstream_events_received (h);
    gboolean is_time = formats[i] == GST_FORMAT_TIME;

    fail_unless_equals_int (gst_pad_peer_query_duration (pad, formats[i], &value), is_time);
    fail_unless_equals_int (gst_pad_peer_query_position (pad, formats[i], &value), is_time);
    fail_unless_equals_int (gst_pad_peer_query (pad, seeking), is_time);
    fail_unless_equals_int (gst_pad_push_event (pad, gst_event_new_seek (1, formats[i], GST_SEEK_FLAG_FLUSH,
                                                                         GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, 0)),
                            is_time);
    fail_unless_equals_int (gst_harness_upstream_events_received (h) - before, is_time);
    gst_query_unref (seeking);
  }
  fail_if (gst_pad_peer_query_convert (pad, GST_FORMAT_TIME, 1, GST_FORMAT_DEFAULT, &value));
}

#endif
