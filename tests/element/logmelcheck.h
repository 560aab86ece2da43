/*
 * Code for the tests of logmel: the element with its bus, audio that goes in, and frames that come out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_LOGMELCHECK_H
#define TESTS_ELEMENT_LOGMELCHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <string.h>

#include "buscheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define N_BINS 80
#define RATE 16000
#define HOP 160
#define HALF_FRAME 200 /* of Whisper's 400 samples */

static const gchar *styles[] = { "style=kaldi", "style=whisper", "style=nemo" };

/* --- the element under test --- */

typedef struct {
  GstHarness *h;
  GstBus *bus;
} Fixture;

static inline Fixture
fixture_new (const gchar *properties)
{
  GstElement *element = gst_element_factory_make ("logmel", NULL);
  Fixture fixture;

  fail_unless (element != NULL);
  set_properties (element, properties);
  fixture.bus = attach_bus (element);
  fixture.h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  gst_harness_play (fixture.h);
  return fixture;
}

static inline void
fixture_free (Fixture *fixture)
{
  detach_bus (fixture->h->element, fixture->bus);
  gst_harness_teardown (fixture->h);
}

static inline GstCaps *
audio_caps (const gchar *format, gint rate, gint channels)
{
  return gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, format, "layout", G_TYPE_STRING, "interleaved",
                              "rate", G_TYPE_INT, rate, "channels", G_TYPE_INT, channels, NULL);
}

/* Caps are sticky: a refusal shows at the next buffer. */
static inline void
push_caps (Fixture *fixture, GstCaps *caps)
{
  gst_harness_push_event (fixture->h, gst_event_new_caps (caps));
  gst_caps_unref (caps);
}

/* Everything in front of the first buffer. */
static inline void
start (Fixture *fixture, GstCaps *caps)
{
  fail_unless (gst_harness_push_event (fixture->h, gst_event_new_stream_start ("test")));
  push_caps (fixture, caps);
  push_segment (fixture->h, 0);
}

static inline Fixture
fixture_new_started (const gchar *properties, const gchar *format, gint rate)
{
  Fixture fixture = fixture_new (properties);

  start (&fixture, audio_caps (format, rate, 1));
  return fixture;
}

static inline Fixture
fixture_new_s16 (const gchar *properties)
{
  return fixture_new_started (properties, GST_AUDIO_NE (S16), RATE);
}

static inline GstFlowReturn
push_bytes (Fixture *fixture, gconstpointer data, gsize size, GstClockTime pts, GstBufferFlags flags)
{
  GstBuffer *buffer = size > 0 ? gst_buffer_new_memdup (data, size) : gst_buffer_new ();

  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_FLAG_SET (buffer, flags);
  return gst_harness_push (fixture->h, buffer);
}

static inline void
push_s16 (Fixture *fixture, const gint16 *samples, gsize n_samples, GstClockTime pts)
{
  fail_unless_equals_int (push_bytes (fixture, samples, n_samples * sizeof *samples, pts, 0), GST_FLOW_OK);
}

static inline void
push_in_chunks (Fixture *fixture, gconstpointer data, gsize size, gsize chunk)
{
  gsize i;

  for (i = 0; i < size; i += chunk)
    fail_unless_equals_int (
        push_bytes (fixture, (const guint8 *) data + i, MIN (chunk, size - i), GST_CLOCK_TIME_NONE, 0), GST_FLOW_OK);
}

static inline void
push_eos (Fixture *fixture)
{
  fail_unless (gst_harness_push_event (fixture->h, gst_event_new_eos ()));
}

/* --- outputs --- */

/* All values that have come out so far. */
static inline GArray *
pull_frames (Fixture *fixture)
{
  GArray *values = g_array_new (FALSE, FALSE, sizeof (gfloat));
  GByteArray *bytes = pull_bytes (fixture->h);

  g_array_append_vals (values, bytes->data, bytes->len / sizeof (gfloat));
  g_byte_array_unref (bytes);
  return values;
}

static inline void
fail_unless_same_bits (const GArray *a, const GArray *b)
{
  fail_unless_equals_int (a->len, b->len);
  fail_unless (memcmp (a->data, b->data, a->len * sizeof (gfloat)) == 0);
}

/* All that has come out so far. Takes `expected`. */
static inline void
check_frames (Fixture *fixture, GArray *expected)
{
  GArray *values = pull_frames (fixture);

  fail_unless_same_bits (expected, values);
  g_array_unref (values);
  g_array_unref (expected);
}

static inline void
fail_unless_buffer (Fixture *fixture, GstClockTime pts, GstClockTime duration, guint64 offset, guint64 offset_end,
                    gboolean discont)
{
  GstBuffer *buffer = gst_harness_try_pull (fixture->h);

  fail_unless (buffer != NULL);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), pts);
  fail_unless_equals_uint64 (GST_BUFFER_DTS (buffer), GST_CLOCK_TIME_NONE);
  fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), duration);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), offset);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), offset_end);
  fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), discont);
  gst_buffer_unref (buffer);
}

static inline void
fail_unless_no_buffer (Fixture *fixture)
{
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture->h), 0);
}

static inline void
fail_unless_not_negotiated (Fixture *fixture, const gchar *message)
{
  fail_unless_error (fixture->bus, message);
  fail_unless_equals_int (push_bytes (fixture, "ab", 2, 0, 0), GST_FLOW_NOT_NEGOTIATED);
}

/* --- audio --- */

static inline gint16 *
make_noise (gsize n)
{
  gint16 *samples = g_new (gint16, n);
  guint32 state = 1;
  gsize i;

  for (i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    samples[i] = (gint16) (state >> 16);
  }
  return samples;
}

/* The frames of `n` samples that are pushed in pieces of `chunk` bytes. */
static inline GArray *
run (const gchar *properties, const gchar *format, gint rate, gconstpointer data, gsize size, gsize chunk)
{
  Fixture fixture = fixture_new_started (properties, format, rate);
  GArray *values;

  push_in_chunks (&fixture, data, size, chunk);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fixture_free (&fixture);
  return values;
}

static inline GArray *
run_s16 (const gchar *properties, const gint16 *samples, gsize n)
{
  return run (properties, GST_AUDIO_NE (S16), RATE, samples, n * sizeof *samples, MAX (n, 1) * sizeof *samples);
}

#endif
