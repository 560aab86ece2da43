/*
 * Code for tests in which threads push buffers and events, change states and ask, all at once, for as long as
 * ATTN_TEST_PERCENT says.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_STRESSCHECK_H
#define TESTS_ELEMENT_STRESSCHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#define STRESS_TIME (3 * G_TIME_SPAN_MILLISECOND) /* per cent of an ordinary run */
#define N_EVENTS 5                                /* the same; fewer where they take longer */
#define CAPS_OF(channels)                                                                           \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, " \
                                                    "channels=(int)" channels

static inline guint
stress_percent (void)
{
  const gchar *percent = g_getenv ("ATTN_TEST_PERCENT");

  return percent != NULL ? MAX (g_ascii_strtoull (percent, NULL, 10), 10) : 100;
}

static inline GstHarnessThread *
push_buffers (GstHarness *h, const gchar *description, gsize size)
{
  GstCaps *caps = gst_caps_from_string (description);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  GstHarnessThread *thread;
  GstSegment segment;

  gst_buffer_memset (buffer, 0, 0, size);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  thread = gst_harness_stress_push_buffer_start (h, caps, &segment, buffer);
  gst_caps_unref (caps);
  gst_buffer_unref (buffer);
  return thread;
}

static inline void
let_run (GstHarness *h, GstHarnessThread *first, ...)
{
  GstHarnessThread *thread;
  va_list others;

  g_usleep (STRESS_TIME * stress_percent ());
  va_start (others, first);
  while ((thread = va_arg (others, GstHarnessThread *)))
    gst_harness_stress_thread_stop (thread);
  va_end (others);
  gst_harness_stress_thread_stop (first);
}

static inline void
do_nothing (gpointer thread, gpointer h)
{
}

static inline GstHarnessThread *
again_and_again (GstHarness *h, GFunc what)
{
  return gst_harness_stress_custom_start (h, do_nothing, what, h, 50);
}

/* Serialised events and buffers come one after the other, as from a source: in two threads, under a lock. */
typedef struct {
  GstHarness *h;
  gsize size;
  GMutex pushing;
  gint waiting; /* an event does: locks are not fair */
  gint running;
} Source;

static inline gpointer
push_until_stopped (gpointer data)
{
  Source *source = data;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, source->size, NULL);

  gst_buffer_memset (buffer, 0, 0, source->size);
  while (g_atomic_int_get (&source->running)) {
    g_mutex_lock (&source->pushing);
    gst_harness_push (source->h, gst_buffer_ref (buffer));
    g_mutex_unlock (&source->pushing);
    do
      g_thread_yield ();
    while (g_atomic_int_get (&source->waiting));
  }
  gst_buffer_unref (buffer);
  return NULL;
}

/* Events among the buffers. */
static inline void
push_events (GstHarness *h, const gchar *caps, gsize size, GstEvent *(*make_event) (const Source *source, guint i))
{
  Source source = { .h = h, .size = size, .running = TRUE };
  gint64 end = g_get_monotonic_time () + STRESS_TIME * stress_percent ();
  GThread *thread;
  guint i;

  g_mutex_init (&source.pushing);
  gst_harness_set_src_caps_str (h, caps);
  thread = g_thread_new ("source", push_until_stopped, &source);
  for (i = 0; i < N_EVENTS * stress_percent () && g_get_monotonic_time () < end; i++) {
    GstEvent *event = make_event (&source, i);
    gboolean flushes = GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP;
    GstSegment segment;

    g_usleep (200);
    gst_segment_init (&segment, GST_FORMAT_TIME);
    if (flushes) /* flowing buffers pass first */
      gst_harness_push_event (h, gst_event_new_flush_start ());
    g_atomic_int_set (&source.waiting, TRUE);
    g_mutex_lock (&source.pushing);
    g_atomic_int_set (&source.waiting, FALSE);
    gst_harness_push_event (h, event);
    if (flushes)
      gst_harness_push_event (h, gst_event_new_segment (&segment));
    g_mutex_unlock (&source.pushing);
  }
  g_atomic_int_set (&source.running, FALSE);
  g_thread_join (thread);
  g_mutex_clear (&source.pushing);
}

static inline GstEvent *
other_event (const Source *source, guint i)
{
  GstSegment segment;

  switch (i % 7) {
  case 0:
    return gst_event_new_flush_stop (TRUE);
  case 1:
    gst_segment_init (&segment, GST_FORMAT_TIME);
    segment.base = i * GST_SECOND;
    return gst_event_new_segment (&segment);
  case 2:
    return gst_event_new_gap (i * GST_MSECOND, GST_SECOND / 10);
  case 3:
    return gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL));
  case 4:
    return gst_event_new_segment_done (GST_FORMAT_TIME, 0);
  case 5:
    return gst_event_new_stream_group_done (i);
  default:
    return gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, gst_structure_new_empty ("x"));
  }
}

static inline gboolean
discard (const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
  return TRUE;
}

/*
 * GstHarness sends the sticky events again after it has changed the state, and its other thread pushes buffers in
 * between, or the state changes between two of them: GStreamer warns of that, but the element is not the cause.
 */
static inline void
expect_warnings_of_the_harness (void)
{
  static const gchar known[] = "Got data flow before (stream-start|segment) event"
                               "|Sticky event misordering, got '\\w+' before '(stream-start|caps)'";

  gst_check_add_log_filter ("GStreamer", G_LOG_LEVEL_WARNING, g_regex_new (known, 0, 0, NULL), discard, NULL, NULL);
}

#endif
