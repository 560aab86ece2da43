/*
 * Code for the tests of spectralgain: the element with a harness on each of its pads, sound and gains that go in, and
 * the expected output.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_SPECTRALGAINCHECK_H
#define TESTS_ELEMENT_SPECTRALGAINCHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <math.h>
#include <string.h>

#include "buscheck.h"
#include "harnesscheck.h"

/* The element computes in double and rounds once, to float32: 2^-25 of samples below 1, and some for its own sums. */
#define TOLERANCE 1e-6

/* The defaults in samples. */
#define RATE 16000
#define FRAME 400
#define HOP 160
#define N_BINS 80
#define HOP_TIME (10 * GST_MSECOND)

typedef struct {
  GstHarness *audio, *gains;
  GstBus *bus;
  gint rate, n_channels;
  GstClockTimeDiff jitter; /* of the timestamps, as they went in */
  GstClockTime first_pts;  /* of the last pulled buffer */
} Fixture;

/* ---- the element under test ---- */

static inline Fixture
fixture_new (const gchar *properties)
{
  GstElement *element = gst_element_factory_make ("spectralgain", NULL);
  Fixture fixture = { NULL };

  fail_unless (element != NULL);
  set_properties (element, properties);
  fixture.bus = attach_bus (element);
  fixture.audio = gst_harness_new_with_element (element, "sink", "src");
  fixture.gains = gst_harness_new_with_element (element, "gains", NULL);
  gst_object_unref (element);
  gst_harness_play (fixture.audio);
  gst_harness_play (fixture.gains);
  return fixture;
}

static inline void
fixture_free (Fixture *fixture)
{
  detach_bus (fixture->audio->element, fixture->bus);
  gst_harness_teardown (fixture->gains);
  gst_harness_teardown (fixture->audio);
}

static inline GstElement *
element_of (Fixture *fixture)
{
  return fixture->audio->element;
}

/* ---- inputs ---- */

static inline void
push_segment_at (GstHarness *h, GstClockTime start, gdouble rate)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.rate = rate;
  segment.start = segment.position = segment.time = start;
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
}

static inline void
push_segment_from (GstHarness *h, GstClockTime start)
{
  push_segment_at (h, start, 1);
}

static inline gboolean
push_caps (GstHarness *h, const gchar *text)
{
  GstCaps *caps = gst_caps_from_string (text);
  gboolean taken;

  fail_unless (caps != NULL, "%s", text);
  taken = gst_harness_push_event (h, gst_event_new_caps (caps));
  gst_caps_unref (caps);
  return taken;
}

static inline void
push_audio_caps (Fixture *fixture, const gchar *format, gint rate, gint n_channels)
{
  gchar *text =
      g_strdup_printf ("audio/x-raw, format=(string)%s, layout=(string)interleaved, rate=(int)%d, channels=(int)%d%s",
                       format, rate, n_channels, n_channels > 2 ? ", channel-mask=(bitmask)0" : "");

  fixture->rate = rate;
  fixture->n_channels = n_channels;
  fail_unless (push_caps (fixture->audio, text));
  g_free (text);
}

static inline void
start_audio (Fixture *fixture, const gchar *format, gint rate, gint n_channels)
{
  fail_unless (gst_harness_push_event (fixture->audio, gst_event_new_stream_start ("audio")));
  push_audio_caps (fixture, format, rate, n_channels);
  push_segment_from (fixture->audio, 0);
}

/* Frames of `n_values` at rate_n / rate_d, with the fields of logmel that `more` says. FALSE: refused. */
static inline gboolean
start_gains (Fixture *fixture, guint n_values, gint rate_n, gint rate_d, const gchar *more)
{
  gchar *text = g_strdup_printf ("other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                 "dimensions=(string)%u:1:1:1, framerate=(fraction)%d/%d%s",
                                 n_values, rate_n, rate_d, more);
  gboolean taken;

  gst_harness_push_event (fixture->gains, gst_event_new_stream_start ("gains"));
  taken = push_caps (fixture->gains, text);
  push_segment_from (fixture->gains, 0);
  g_free (text);
  return taken;
}

static inline Fixture
fixture_new_started (const gchar *properties, const gchar *format, gint rate)
{
  Fixture fixture = fixture_new (properties);

  start_audio (&fixture, format, rate, 1);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, ""));
  return fixture;
}

static inline Fixture
fixture_new_f32 (const gchar *properties)
{
  return fixture_new_started (properties, GST_AUDIO_NE (F32), RATE);
}

static inline GstFlowReturn
push_bytes (GstHarness *h, gconstpointer data, gsize size, GstClockTime pts, GstBufferFlags flags)
{
  GstBuffer *buffer = size > 0 ? gst_buffer_new_memdup (data, size) : gst_buffer_new ();

  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_FLAG_SET (buffer, flags);
  return gst_harness_push (h, buffer);
}

static inline GstClockTime
time_of (Fixture *fixture, guint64 n)
{
  return gst_util_uint64_scale_round (n, GST_SECOND, fixture->rate);
}

/* samples [n] of one channel, the first of which is number `begin`. */
static inline void
push_f32 (Fixture *fixture, const gfloat *samples, guint64 begin, gsize n)
{
  fail_unless_equals_int (
      push_bytes (fixture->audio, samples + begin, n * sizeof *samples, time_of (fixture, begin), 0), GST_FLOW_OK);
}

static inline void
push_in_chunks (Fixture *fixture, const gfloat *samples, gsize n, gsize chunk)
{
  gsize i;

  for (i = 0; i < n; i += chunk)
    push_f32 (fixture, samples, i, MIN (chunk, n - i));
}

/* A frame of gains that are all `gain`. */
static inline GstFlowReturn
push_even_gains (Fixture *fixture, guint n_values, gfloat gain, GstClockTime pts)
{
  gfloat *gains = g_new (gfloat, n_values);
  GstFlowReturn flow;
  guint i;

  for (i = 0; i < n_values; i++)
    gains[i] = gain;
  flow = push_bytes (fixture->gains, gains, n_values * sizeof *gains, pts, 0);
  g_free (gains);
  return flow;
}

/* The gains over time: the gain of frame `i`, counted from 0. */
typedef gdouble (*GainOf) (guint i);

static inline void
push_gains (Fixture *fixture, guint begin, guint end, GainOf gain_of)
{
  guint i;

  for (i = begin; i < end; i++)
    fail_unless_equals_int (push_even_gains (fixture, N_BINS, (gfloat) gain_of (i), i * HOP_TIME), GST_FLOW_OK);
}

static inline void
push_eos (Fixture *fixture)
{
  fail_unless (gst_harness_push_event (fixture->audio, gst_event_new_eos ()));
  fail_unless (gst_harness_push_event (fixture->gains, gst_event_new_eos ()));
}

/* ---- outputs ---- */

/* The next `limit` bytes that have come, or all, one behind the other in time. */
static inline GByteArray *
pull_some (Fixture *fixture, gsize limit)
{
  GByteArray *bytes = g_byte_array_new ();
  GstClockTime next = GST_CLOCK_TIME_NONE;
  GstBuffer *buffer;

  while (bytes->len < limit && (buffer = gst_harness_try_pull (fixture->audio)) != NULL) {
    GstMapInfo map;

    if (bytes->len == 0)
      fixture->first_pts = GST_BUFFER_PTS (buffer);
    else
      fail_unless (!GST_BUFFER_IS_DISCONT (buffer));
    if (GST_CLOCK_TIME_IS_VALID (next))
      fail_unless (ABS (GST_CLOCK_DIFF (next, GST_BUFFER_PTS (buffer))) <= fixture->jitter + 1, "a hole");
    next = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
    fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return bytes;
}

static inline GByteArray *
pull_audio (Fixture *fixture)
{
  return pull_some (fixture, G_MAXSIZE);
}

static inline void
fail_unless_f32 (const GByteArray *bytes, const gdouble *expected, gsize n)
{
  const gfloat *samples = (const gfloat *) bytes->data;
  gsize i;

  fail_unless_equals_int (bytes->len, n * sizeof *samples);
  for (i = 0; i < n; i++)
    fail_unless (fabs (samples[i] - expected[i]) <= TOLERANCE * MAX (1, fabs (expected[i])),
                 "sample %" G_GSIZE_FORMAT " is %.9g, expected %.9g", i, samples[i], expected[i]);
}

static inline void
check_output (Fixture *fixture, const gdouble *expected, gsize n)
{
  GByteArray *bytes = pull_some (fixture, n * sizeof (gfloat));

  fail_unless_f32 (bytes, expected, n);
  g_byte_array_unref (bytes);
}

/* The first error on the bus, which comes within some seconds, from any thread. */
static inline void
await_error (Fixture *fixture, const gchar *part)
{
  GstMessage *message;

  while ((message = gst_bus_timed_pop (fixture->bus, 20 * GST_SECOND))
         && GST_MESSAGE_TYPE (message) != GST_MESSAGE_ERROR)
    gst_message_unref (message);
  fail_unless (message != NULL, "no error, expected: %s", part);
  check_text (text_of (message), part);
  gst_message_unref (message);
}

static inline void
fail_unless_no_error (Fixture *fixture)
{
  check_text (pop_error (fixture->bus), NULL);
}

static inline void
push_flat_gains (Fixture *fixture, guint begin, guint end, gfloat gain)
{
  guint i;

  for (i = begin; i < end; i++)
    fail_unless_equals_int (push_even_gains (fixture, N_BINS, gain, i * HOP_TIME), GST_FLOW_OK);
}

static inline gboolean
has_event (GstHarness *h, GstEventType type)
{
  GstEvent *event = pull_event (h, type);
  gboolean has = event != NULL;

  gst_clear_event (&event);
  return has;
}

static inline gsize
count_samples (Fixture *fixture)
{
  GByteArray *bytes = pull_audio (fixture);
  gsize n = bytes->len / sizeof (gfloat);

  g_byte_array_unref (bytes);
  return n;
}

static inline void
fail_unless_scaled (Fixture *fixture, const gfloat *samples, gsize n, gdouble gain)
{
  gdouble *expected = g_new (gdouble, n);
  gsize i;

  for (i = 0; i < n; i++)
    expected[i] = samples[i] * gain;
  check_output (fixture, expected, n);
  g_free (expected);
}

/* ---- sound, and the expected output ---- */

static inline gfloat *
make_noise (gsize n)
{
  gfloat *samples = g_new (gfloat, n);
  guint32 state = 1;
  gsize i;

  for (i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    samples[i] = (gint16) (state >> 16) / 32768.0f;
  }
  return samples;
}

/* The gain of a frame whose centre is at sample `centre`. */
typedef gdouble (*GainAt) (gdouble centre);

/*
 * If all bands have one gain, a frame is only scaled, and no FFT is needed: the factor of a sample is the weighted mean
 * of the gains of the frames that cover it. Frames begin at whole hops from `grid` on. In one channel. Transfer full.
 */
static inline gdouble *
scale_frames (const gfloat *samples, gint n, gint length, gint hop, gint grid, GainAt gain_at)
{
  gdouble *expected = g_new (gdouble, n);
  gint i, begin;

  for (i = 0; i < n; i++) {
    gdouble sum = 0, norm = 0;

    begin = (i - grid) / hop * hop + grid;
    for (begin = begin > i ? begin - hop : begin; begin > i - length; begin -= hop) {
      gdouble weight = pow (sin (G_PI * (i - begin + 0.5) / length), 2);

      sum += weight * gain_at (begin + length / 2.0);
      norm += weight;
    }
    expected[i] = samples[i] * sum / norm;
  }
  return expected;
}

/* `gain_of` frames 0 to n - 1 at their centres, 1 a hop before and behind, and straight lines in between. */
static inline gdouble
interpolate (GainOf gain_of, gint n, gdouble centre)
{
  gdouble at = (centre - FRAME / 2.0) / HOP, part = at - floor (at);
  gint i = (gint) floor (at);
  gdouble a = i >= 0 && i < n ? gain_of (i) : 1, b = i + 1 >= 0 && i + 1 < n ? gain_of (i + 1) : 1;

  return a + part * (b - a);
}

#endif
