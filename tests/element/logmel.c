/*
 * gst-attention: tests of the element logmel.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The golden cases are made by tests/golden/logmel.py, which also describes their format.
 */
#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include <math.h>
#include <string.h>

/* Bins are natural or decimal logarithms; float32 alone is off by up to 1e-6 for values around 20. */
#define TOLERANCE 1e-4

#define N_BINS 80
#define RATE 16000
#define HOP 160
#define HALF_FRAME 200 /* of Whisper's 400 samples */

static const gchar *golden_names[] = { "speech-kaldi",    "speech-whisper", "8000-kaldi",    "11025-kaldi",
                                       "11025-whisper",   "44100-kaldi",    "44100-whisper", "options-kaldi",
                                       "options-whisper", "sparse-kaldi",   "sparse-whisper" };

static const gchar *styles[] = { "style=kaldi", "style=whisper" };

/* --- the element under test --- */

typedef struct {
  GstHarness *h;
  GstBus *bus;
} Fixture;

static void
set_properties (GstElement *element, const gchar *line)
{
  gchar **words = g_strsplit_set (line, " ", -1), **word;

  for (word = words; *word != NULL; word++) {
    gchar *value = strchr (*word, '=');

    if (value == NULL)
      continue;
    *value = '\0';
    gst_util_set_object_arg (G_OBJECT (element), *word, value + 1);
  }
  g_strfreev (words);
}

static Fixture
fixture_new (const gchar *properties)
{
  GstElement *element = gst_element_factory_make ("logmel", NULL);
  Fixture fixture;

  fail_unless (element != NULL);
  set_properties (element, properties);
  fixture.bus = gst_bus_new ();
  gst_element_set_bus (element, fixture.bus);
  fixture.h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  gst_harness_play (fixture.h);
  return fixture;
}

static void
fixture_free (Fixture *fixture)
{
  gst_element_set_bus (fixture->h->element, NULL);
  gst_bus_set_flushing (fixture->bus, TRUE);
  gst_object_unref (fixture->bus);
  gst_harness_teardown (fixture->h);
}

static GstCaps *
audio_caps (const gchar *format, gint rate, gint channels)
{
  return gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, format, "layout", G_TYPE_STRING, "interleaved",
                              "rate", G_TYPE_INT, rate, "channels", G_TYPE_INT, channels, NULL);
}

/* Caps are sticky: that they were refused shows at the next buffer. */
static void
push_caps (Fixture *fixture, GstCaps *caps)
{
  gst_harness_push_event (fixture->h, gst_event_new_caps (caps));
  gst_caps_unref (caps);
}

static void
push_segment (Fixture *fixture, GstClockTime base)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = base;
  gst_harness_push_event (fixture->h, gst_event_new_segment (&segment));
}

/* Everything in front of the first buffer. */
static void
start (Fixture *fixture, GstCaps *caps)
{
  fail_unless (gst_harness_push_event (fixture->h, gst_event_new_stream_start ("test")));
  push_caps (fixture, caps);
  push_segment (fixture, 0);
}

static Fixture
fixture_new_started (const gchar *properties, const gchar *format, gint rate)
{
  Fixture fixture = fixture_new (properties);

  start (&fixture, audio_caps (format, rate, 1));
  return fixture;
}

static Fixture
fixture_new_s16 (const gchar *properties)
{
  return fixture_new_started (properties, GST_AUDIO_NE (S16), RATE);
}

static GstFlowReturn
push_bytes (Fixture *fixture, gconstpointer data, gsize size, GstClockTime pts, GstBufferFlags flags)
{
  GstBuffer *buffer = size > 0 ? gst_buffer_new_memdup (data, size) : gst_buffer_new ();

  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_FLAG_SET (buffer, flags);
  return gst_harness_push (fixture->h, buffer);
}

static void
push_s16 (Fixture *fixture, const gint16 *samples, gsize n_samples, GstClockTime pts)
{
  fail_unless_equals_int (push_bytes (fixture, samples, n_samples * sizeof *samples, pts, 0), GST_FLOW_OK);
}

static void
push_in_chunks (Fixture *fixture, gconstpointer data, gsize size, gsize chunk)
{
  gsize i;

  for (i = 0; i < size; i += chunk)
    fail_unless_equals_int (
        push_bytes (fixture, (const guint8 *) data + i, MIN (chunk, size - i), GST_CLOCK_TIME_NONE, 0), GST_FLOW_OK);
}

static void
push_eos (Fixture *fixture)
{
  fail_unless (gst_harness_push_event (fixture->h, gst_event_new_eos ()));
}

/* --- what comes out --- */

/* All values that have come out so far. */
static GArray *
pull_frames (Fixture *fixture)
{
  GArray *values = g_array_new (FALSE, FALSE, sizeof (gfloat));
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (fixture->h)) != NULL) {
    GstMapInfo map;

    fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
    g_array_append_vals (values, map.data, map.size / sizeof (gfloat));
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return values;
}

static void
drop_frames (Fixture *fixture)
{
  g_array_unref (pull_frames (fixture));
}

static void
fail_unless_n_frames (Fixture *fixture, guint n_frames)
{
  GArray *values = pull_frames (fixture);

  fail_unless_equals_int (values->len, n_frames * N_BINS);
  g_array_unref (values);
}

static void
fail_unless_same_bits (const GArray *a, const GArray *b)
{
  fail_unless_equals_int (a->len, b->len);
  fail_unless (memcmp (a->data, b->data, a->len * sizeof (gfloat)) == 0);
}

static void
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

static void
fail_unless_no_buffer (Fixture *fixture)
{
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture->h), 0);
}

/* The message of the first error on the bus. */
static void
fail_unless_error (Fixture *fixture, const gchar *part)
{
  GstMessage *message = gst_bus_pop_filtered (fixture->bus, GST_MESSAGE_ERROR);
  GError *error;

  fail_unless (message != NULL, "no error, expected: %s", part);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, part) != NULL, "the error is: %s", error->message);
  g_error_free (error);
  gst_message_unref (message);
}

static void
fail_unless_not_negotiated (Fixture *fixture, const gchar *message)
{
  fail_unless_error (fixture, message);
  fail_unless_equals_int (push_bytes (fixture, "ab", 2, 0, 0), GST_FLOW_NOT_NEGOTIATED);
}

static void
fail_unless_refused (const gchar *properties, GstCaps *caps, const gchar *message)
{
  Fixture fixture = fixture_new (properties);

  start (&fixture, caps);
  fail_unless_not_negotiated (&fixture, message);
  fixture_free (&fixture);
}

static void
fail_unless_rate_refused (const gchar *properties, gint rate, const gchar *message)
{
  fail_unless_refused (properties, audio_caps (GST_AUDIO_NE (S16), rate, 1), message);
}

/* --- audio --- */

typedef struct {
  guint rate, n_samples, n_frames, n_bins;
  gchar *properties;
  gint16 *samples;
  gdouble *frames;
} Golden;

#define GOLDEN_HEADER 256
#define GOLDEN_VERSION 1

static guint32
read_u32 (const gchar *data)
{
  guint32 value;

  memcpy (&value, data, sizeof value);
  return GUINT32_FROM_LE (value);
}

static gdouble
read_f64 (const gchar *data)
{
  union {
    guint64 bits;
    gdouble value;
  } u;

  memcpy (&u.bits, data, sizeof u.bits);
  u.bits = GUINT64_FROM_LE (u.bits);
  return u.value;
}

static Golden
golden_load (const gchar *name)
{
  gchar *path = g_strdup_printf ("%s/logmel-%s.bin", GOLDEN_DIR, name), *data = NULL;
  Golden golden;
  gsize size, i;

  fail_unless (g_file_get_contents (path, &data, &size, NULL), "%s is missing: tests/golden/logmel.py makes it", path);
  fail_unless (size > GOLDEN_HEADER && memcmp (data, "GSTLOGML", 8) == 0 && read_u32 (data + 8) == GOLDEN_VERSION,
               "%s is of another version: tests/golden/logmel.py makes it anew", path);
  golden.rate = read_u32 (data + 12);
  golden.n_samples = read_u32 (data + 16);
  golden.n_frames = read_u32 (data + 20);
  golden.n_bins = read_u32 (data + 24);
  fail_unless_equals_uint64 (size, GOLDEN_HEADER + 2 * golden.n_samples + 8 * golden.n_frames * golden.n_bins);

  golden.properties = g_strndup (data + 32, GOLDEN_HEADER - 32);
  golden.samples = g_new (gint16, golden.n_samples);
  for (i = 0; i < golden.n_samples; i++) {
    memcpy (&golden.samples[i], data + GOLDEN_HEADER + 2 * i, 2);
    golden.samples[i] = GINT16_FROM_LE (golden.samples[i]);
  }
  golden.frames = g_new (gdouble, golden.n_frames * golden.n_bins);
  for (i = 0; i < golden.n_frames * golden.n_bins; i++)
    golden.frames[i] = read_f64 (data + GOLDEN_HEADER + 2 * golden.n_samples + 8 * i);
  g_free (data);
  g_free (path);
  return golden;
}

static void
golden_free (Golden *golden)
{
  g_free (golden->properties);
  g_free (golden->samples);
  g_free (golden->frames);
}

static void
fail_unless_close (const Golden *golden, const GArray *values)
{
  gdouble max_error = 0.0;
  guint i;

  fail_unless_equals_int (values->len, golden->n_frames * golden->n_bins);
  for (i = 0; i < values->len; i++) {
    gdouble error = fabs (g_array_index (values, gfloat, i) - golden->frames[i]);

    fail_unless (error < TOLERANCE, "frame %u, bin %u: %g, expected %g", i / golden->n_bins, i % golden->n_bins,
                 g_array_index (values, gfloat, i), golden->frames[i]);
    max_error = MAX (max_error, error);
  }
  GST_INFO ("%s at %u Hz: largest error %g", golden->properties, golden->rate, max_error);
}

static gint16 *
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

static gfloat *
make_float (const gint16 *samples, gsize n)
{
  gfloat *values = g_new (gfloat, n);
  gsize i;

  for (i = 0; i < n; i++)
    values[i] = samples[i] / 32768.0f;
  return values;
}

/* The frames of `n` samples that are pushed in pieces of `chunk` bytes. */
static GArray *
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

static GArray *
run_s16 (const gchar *properties, const gint16 *samples, gsize n)
{
  return run (properties, GST_AUDIO_NE (S16), RATE, samples, n * sizeof *samples, MAX (n, 1) * sizeof *samples);
}

/* --- the numbers --- */

GST_START_TEST (test_frames_equal_the_reference)
{
  Golden golden = golden_load (golden_names[__i__]);
  gsize size = golden.n_samples * sizeof *golden.samples;
  GArray *values = run (golden.properties, GST_AUDIO_NE (S16), golden.rate, golden.samples, size, size);

  fail_unless_close (&golden, values);
  g_array_unref (values);
  golden_free (&golden);
}
GST_END_TEST;

GST_START_TEST (test_buffer_sizes_do_not_change_a_bit)
{
  const gsize chunks[] = { 1, 7, 160, 399, 400, 401, 16000 };
  const gchar *properties = styles[__i__];
  const gsize n = 16007;
  gint16 *samples = make_noise (n);
  GArray *whole = run_s16 (properties, samples, n);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (chunks); i++) {
    GArray *values = run (properties, GST_AUDIO_NE (S16), RATE, samples, n * 2, chunks[i] * 2);

    fail_unless_same_bits (whole, values);
    g_array_unref (values);
  }
  g_array_unref (whole);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_hops_of_one_sample_and_hops_longer_than_the_frame)
{
  const gchar *hops[] = { "style=kaldi hop-length=0.0625", "style=kaldi hop-length=41",
                          "style=whisper hop-length=0.0625", "style=whisper hop-length=41" };
  gint16 *samples = make_noise (1500);
  GArray *whole = run_s16 (hops[__i__], samples, 1500);
  GArray *pieces = run (hops[__i__], GST_AUDIO_NE (S16), RATE, samples, 3000, 14);
  const guint n_frames[] = { 1101, 2, 1500, 2 };

  fail_unless_equals_int (whole->len, n_frames[__i__] * N_BINS);
  fail_unless_same_bits (whole, pieces);
  g_array_unref (whole);
  g_array_unref (pieces);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_s16_and_f32_agree_to_the_bit)
{
  const gsize n = 2000;
  gint16 *samples = make_noise (n);
  gfloat *values = make_float (samples, n);
  GArray *s16 = run_s16 (styles[__i__], samples, n);
  GArray *f32 = run (styles[__i__], GST_AUDIO_NE (F32), RATE, values, n * 4, 100);

  fail_unless_same_bits (s16, f32);
  g_array_unref (s16);
  g_array_unref (f32);
  g_free (values);
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_memory_may_begin_at_any_byte)
{
  Fixture fixture = fixture_new_started ("", GST_AUDIO_NE (F32), RATE);
  gint16 *samples = make_noise (400);
  gfloat *values = make_float (samples, 400);
  guint8 *bytes = g_malloc0 (1601);
  GArray *expected = run_s16 ("", samples, 400), *frames;

  memcpy (bytes + 1, values, 1600);
  fail_unless_equals_int (
      gst_harness_push (fixture.h, gst_buffer_new_wrapped_full (0, bytes, 1601, 1, 1600, bytes, g_free)), GST_FLOW_OK);
  frames = pull_frames (&fixture);
  fail_unless_same_bits (expected, frames);
  g_array_unref (frames);
  g_array_unref (expected);
  g_free (values);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_kaldi_gives_only_whole_frames)
{
  const guint n_samples[] = { 0, 1, 399, 400, 401, 559, 560, 719, 720, 16000 };
  const guint n_frames[] = { 0, 0, 0, 1, 1, 1, 2, 2, 3, 98 };
  gint16 *samples = make_noise (16000);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (n_samples); i++) {
    GArray *values = run_s16 ("", samples, n_samples[i]);

    fail_unless_equals_int (values->len, n_frames[i] * N_BINS);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_whisper_gives_one_frame_for_each_whole_hop)
{
  const guint n_samples[] = { 201, 319, 320, 321, 399, 400, 401, 479, 480, 599, 600, 601, 15999, 16000 };
  gint16 *samples = make_noise (16000);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (n_samples); i++) {
    GArray *values = run_s16 ("style=whisper", samples, n_samples[i]);

    fail_unless_equals_int (values->len, n_samples[i] / HOP * N_BINS);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_whisper_gives_nothing_for_audio_too_short_to_mirror)
{
  gint16 *samples = make_noise (HALF_FRAME);
  guint n;

  for (n = 0; n <= HALF_FRAME; n += 25) {
    GArray *values = run_s16 ("style=whisper", samples, n);

    fail_unless_equals_int (values->len, 0);
    g_array_unref (values);
  }
  g_free (samples);
}
GST_END_TEST;

/* What is mirrored inside must equal what is mirrored outside, for ends that fall anywhere in a hop. */
GST_START_TEST (test_whisper_mirrors_the_end)
{
  gint16 *samples = make_noise (1000);
  guint n, i;

  for (n = 201; n < 700; n += 13) {
    gint16 *mirrored = g_memdup2 (samples, (n + HALF_FRAME) * sizeof *samples);
    GArray *values = run_s16 ("style=whisper", samples, n), *longer;

    for (i = 0; i < HALF_FRAME; i++)
      mirrored[n + i] = samples[n - 2 - i];
    longer = run_s16 ("style=whisper", mirrored, n + HALF_FRAME);
    g_array_set_size (longer, values->len);
    fail_unless_same_bits (longer, values);
    g_array_unref (values);
    g_array_unref (longer);
    g_free (mirrored);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_silence_is_the_floor)
{
  const gfloat floors[] = { -15.942385f, -10.0f }; /* ln of the float32 epsilon; log10 of 1e-10 */
  gint16 samples[800] = { 0 };
  GArray *values = run_s16 (styles[__i__], samples, 800);
  guint i;

  fail_unless (values->len > 0);
  for (i = 0; i < values->len; i++)
    fail_unless (fabsf (g_array_index (values, gfloat, i) - floors[__i__]) < 1e-6f);
  g_array_unref (values);
}
GST_END_TEST;

static gboolean
frame_is_finite (const GArray *values, guint frame)
{
  guint i;

  for (i = 0; i < N_BINS; i++)
    if (!isfinite (g_array_index (values, gfloat, frame * N_BINS + i)))
      return FALSE;
  return TRUE;
}

GST_START_TEST (test_nan_and_infinity_stay_in_their_frames)
{
  const gfloat bad[] = { NAN, INFINITY, -INFINITY };
  gint16 *samples = make_noise (3200);
  gfloat *values = make_float (samples, 3200);
  GArray *clean = run_s16 ("", samples, 3200), *frames;
  guint i;

  values[1000] = bad[__i__];
  frames = run ("", GST_AUDIO_NE (F32), RATE, values, 12800, 400);
  fail_unless_equals_int (frames->len, clean->len);
  for (i = 0; i < frames->len / N_BINS; i++) {
    gboolean has_bad = i * HOP <= 1000 && 1000 < i * HOP + 400;

    fail_unless_equals_int (frame_is_finite (frames, i), !has_bad);
    if (!has_bad)
      fail_unless (memcmp (frames->data + i * N_BINS * 4, clean->data + i * N_BINS * 4, N_BINS * 4) == 0);
  }
  g_array_unref (frames);
  g_array_unref (clean);
  g_free (values);
  g_free (samples);
}
GST_END_TEST;

/* --- properties --- */

static void
fail_unless_property (GstElement *element, const gchar *name, const gchar *expected)
{
  GValue value = G_VALUE_INIT;
  gchar *text;

  g_object_get_property (G_OBJECT (element), name, &value);
  text = gst_value_serialize (&value);
  fail_unless_equals_string (text, expected);
  g_free (text);
  g_value_unset (&value);
}

GST_START_TEST (test_unset_properties_follow_the_style)
{
  GstElement *element = gst_element_factory_make ("logmel", NULL);

  fail_unless_property (element, "window-function", "povey");
  fail_unless_property (element, "mel-scale", "htk");
  fail_unless_property (element, "low-frequency", "20");
  set_properties (element, "style=whisper");
  fail_unless_property (element, "window-function", "hann");
  fail_unless_property (element, "mel-scale", "slaney");
  fail_unless_property (element, "low-frequency", "0");
  set_properties (element, "style=kaldi");
  fail_unless_property (element, "window-function", "povey");
  fail_unless_property (element, "mel-scale", "htk");
  fail_unless_property (element, "low-frequency", "20");
  gst_object_unref (element);
}
GST_END_TEST;

/* Also one that was set to what it was anyway. */
GST_START_TEST (test_set_properties_win_over_the_style_in_any_order)
{
  const gchar *orders[] = { "style=whisper window-function=povey mel-scale=htk low-frequency=20",
                            "window-function=povey mel-scale=htk low-frequency=20 style=whisper",
                            "window-function=povey style=whisper low-frequency=20 mel-scale=htk" };
  GstElement *element = gst_element_factory_make ("logmel", NULL);

  set_properties (element, orders[__i__]);
  fail_unless_property (element, "style", "whisper");
  fail_unless_property (element, "window-function", "povey");
  fail_unless_property (element, "mel-scale", "htk");
  fail_unless_property (element, "low-frequency", "20");
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_order_of_properties_does_not_change_a_bit)
{
  gint16 *samples = make_noise (1600);
  GArray *a = run_s16 ("bins=20 mel-scale=htk window-function=hamming style=whisper", samples, 1600);
  GArray *b = run_s16 ("style=whisper window-function=hamming mel-scale=htk bins=20", samples, 1600);
  GArray *c = run_s16 ("style=whisper bins=20", samples, 1600);

  fail_unless_same_bits (a, b);
  fail_unless (memcmp (a->data, c->data, a->len * sizeof (gfloat)) != 0);
  g_array_unref (a);
  g_array_unref (b);
  g_array_unref (c);
  g_free (samples);
}
GST_END_TEST;

/* --- caps --- */

static void
fail_unless_src_caps (const gchar *properties, gint rate, const gchar *expected)
{
  Fixture fixture = fixture_new_started (properties, GST_AUDIO_NE (S16), rate);
  GstCaps *caps = gst_pad_get_current_caps (fixture.h->sinkpad), *expected_caps = gst_caps_from_string (expected);

  fail_unless (gst_caps_is_equal (caps, expected_caps), "caps: %s", gst_caps_to_string (caps));
  gst_caps_unref (caps);
  gst_caps_unref (expected_caps);
  fixture_free (&fixture);
}

GST_START_TEST (test_frames_are_channels_at_the_frame_rate)
{
  const gint rates[] = { 8000, 16000, 44100, 48000, 96000 };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (rates); i++)
    fail_unless_src_caps ("", rates[i],
                          "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=80, "
                                                                    "channel-mask=(bitmask)0");
  fail_unless_src_caps ("bins=2 hop-length=20", 16000,
                        "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=50, channels=2");
}
GST_END_TEST;

GST_START_TEST (test_frame_rate_that_is_no_whole_number_leaves_as_tensors)
{
  fail_unless_src_caps ("", 11025,
                        "other/tensors, format=static, num_tensors=1, types=float32, dimensions=(string)80:1:1:1, "
                        "framerate=2205/22");
}
GST_END_TEST;

GST_START_TEST (test_audioconvert_in_front_mixes_to_mono)
{
  GstElement *pipeline =
      gst_parse_launch ("audiotestsrc num-buffers=2 ! audio/x-raw, channels=2, format=S32LE ! audioconvert ! "
                        "audioresample ! logmel name=logmel ! fakesink",
                        NULL);
  GstElement *logmel = gst_bin_get_by_name (GST_BIN (pipeline), "logmel");
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GstStructure *structure;
  GstCaps *caps;
  GstPad *pad;
  gint channels;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
  pad = gst_element_get_static_pad (logmel, "sink");
  caps = gst_pad_get_current_caps (pad);
  structure = gst_caps_get_structure (caps, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &channels) && channels == 1);

  gst_caps_unref (caps);
  gst_object_unref (pad);
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_object_unref (logmel);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_stereo_is_refused_with_a_way_out)
{
  fail_unless_refused ("", audio_caps (GST_AUDIO_NE (S16), RATE, 2),
                       "logmel takes mono, the caps have 2 channels: put audioconvert in front");
}
GST_END_TEST;

GST_START_TEST (test_other_formats_are_refused_by_name)
{
  fail_unless_refused ("", audio_caps ("S24LE", RATE, 1), "format=(string)S24LE");
}
GST_END_TEST;

GST_START_TEST (test_fft_smaller_than_the_frame_is_refused)
{
  fail_unless_rate_refused ("fft-size=256", RATE,
                            "fft-size 256 is smaller than the frame: frame-length 25 ms is 400 samples");
  fail_unless_rate_refused ("fft-size=399 style=whisper", RATE, "fft-size 399 is smaller than the frame");
  fail_unless_rate_refused ("fft-size=401", RATE, "fft-size 401 is odd");
}
GST_END_TEST;

GST_START_TEST (test_bin_without_an_fft_point_is_refused)
{
  fail_unless_rate_refused ("bins=128", 8000, "bin 4 of 0 to 127 (63.1 to 85.6 Hz) would always be empty");
  fail_unless_rate_refused ("bins=128", 8000, "256-point FFT, which are 31.25 Hz apart at 8000 Hz");
  fail_unless_rate_refused ("bins=65536", RATE, "bin 0 of 0 to 65535");
  fail_unless_src_caps ("bins=128 fft-size=1024", 8000,
                        "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=128, "
                                                                  "channel-mask=(bitmask)0");
}
GST_END_TEST;

GST_START_TEST (test_frequencies_out_of_range_are_refused)
{
  fail_unless_rate_refused ("high-frequency=8001", RATE, "high-frequency 8001 Hz is above 8000 Hz");
  fail_unless_rate_refused ("high-frequency=300 low-frequency=400", RATE,
                            "low-frequency 400 Hz is not below high-frequency 300 Hz");
  fail_unless_rate_refused ("high-frequency=-8000", RATE, "low-frequency 20 Hz is not below high-frequency 0 Hz");
  fail_unless_rate_refused ("frame-length=100 hop-length=100", 30,
                            "low-frequency 20 Hz is not below high-frequency 15 Hz");
}
GST_END_TEST;

GST_START_TEST (test_lengths_out_of_range_are_refused)
{
  fail_unless_rate_refused ("hop-length=0.05", RATE, "hop-length 0.05 ms is 0.8 samples at 16000 Hz, the least is 1");
  fail_unless_rate_refused ("frame-length=0.1", RATE, "frame-length 0.1 ms is 1.6 samples at 16000 Hz, the least is 2");
  fail_unless_rate_refused ("hop-length=0", RATE, "hop-length 0 ms is 0 samples");
  fail_unless_rate_refused ("frame-length=60000", 48000, "frame-length 60000 ms is 2880000 samples");
  fail_unless_rate_refused ("hop-length=60000", G_MAXINT, "frame-length 25 ms is");
}
GST_END_TEST;

GST_START_TEST (test_refusal_of_tensors_names_the_rate)
{
  Fixture fixture = fixture_new ("");

  gst_harness_set_sink_caps_str (fixture.h, "audio/x-raw");
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), 11025, 1));
  fail_unless_not_negotiated (&fixture, "100.227 frames per second (11025 Hz, a hop of 110 samples)");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_refusal_of_bins_names_them)
{
  Fixture fixture = fixture_new ("bins=40");

  gst_harness_set_sink_caps_str (fixture.h, "audio/x-raw, channels=80");
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  fail_unless_not_negotiated (&fixture, "Downstream refuses frames of 40 bins at 100 Hz");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_identical_caps_and_segments_change_nothing)
{
  gint16 *samples = make_noise (1600);
  GArray *expected = run_s16 (styles[__i__], samples, 1600), *values;
  Fixture fixture = fixture_new_s16 (styles[__i__]);

  push_s16 (&fixture, samples, 700, 0);
  push_caps (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_segment (&fixture, 0);
  fail_unless (gst_harness_push_upstream_event (fixture.h, gst_event_new_reconfigure ()));
  push_s16 (&fixture, samples + 700, 900, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (expected, values);
  g_array_unref (values);
  g_array_unref (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_changed_caps_end_the_audio_and_begin_anew)
{
  Fixture fixture = fixture_new_s16 ("style=whisper");
  gint16 *samples = make_noise (1600);
  GArray *before = run_s16 ("style=whisper", samples, 1600);
  GArray *after = run ("style=whisper", GST_AUDIO_NE (S16), 8000, samples, 3200, 3200), *values;

  push_s16 (&fixture, samples, 1600, 0);
  push_caps (&fixture, audio_caps (GST_AUDIO_NE (S16), 8000, 1));
  values = pull_frames (&fixture);
  fail_unless_same_bits (before, values);
  g_array_unref (values);

  push_s16 (&fixture, samples, 1600, 0);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (after, values);
  g_array_unref (values);
  g_array_unref (before);
  g_array_unref (after);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- buffers --- */

GST_START_TEST (test_one_buffer_with_all_frames_that_got_complete)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (16000);

  push_s16 (&fixture, samples, 399, 0);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture.h), 1);
  fail_unless_n_frames (&fixture, 1);
  push_s16 (&fixture, samples, 16000, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (gst_harness_buffers_in_queue (fixture.h), 1);
  fail_unless_n_frames (&fixture, 100);
  push_s16 (&fixture, samples, 0, GST_CLOCK_TIME_NONE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_tensors_hold_one_frame_each)
{
  Fixture fixture = fixture_new_started (styles[__i__], GST_AUDIO_NE (S16), 11025);
  gint16 *samples = make_noise (11025);
  guint n_frames = 0;
  GstBuffer *buffer;

  push_s16 (&fixture, samples, 11025, 0);
  push_eos (&fixture);
  while ((buffer = gst_harness_try_pull (fixture.h)) != NULL) {
    fail_unless_equals_int (gst_buffer_get_size (buffer), N_BINS * 4);
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n_frames);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer),
                               gst_util_uint64_scale_round (n_frames * 110, GST_SECOND, 11025));
    gst_buffer_unref (buffer);
    n_frames++;
  }
  fail_unless_equals_int (n_frames, __i__ == 0 ? 1 + (11025 - 275) / 110 : 11025 / 110);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_partial_sample_is_an_error)
{
  Fixture fixture = fixture_new_s16 ("");

  fail_unless_equals_int (push_bytes (&fixture, "abc", 3, 0, 0), GST_FLOW_ERROR);
  fail_unless_error (&fixture, "A buffer of 3 bytes is no whole number of samples: one has 2 bytes");
  fixture_free (&fixture);

  fixture = fixture_new_started ("", GST_AUDIO_NE (F32), RATE);
  fail_unless_equals_int (push_bytes (&fixture, "abcdef", 6, 0, 0), GST_FLOW_ERROR);
  fail_unless_error (&fixture, "A buffer of 6 bytes is no whole number of samples: one has 4 bytes");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_gap_buffers_are_samples_and_the_flag_goes)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 samples[800] = { 0 };
  GstBuffer *buffer;

  fail_unless_equals_int (push_bytes (&fixture, samples, sizeof samples, 0, GST_BUFFER_FLAG_GAP), GST_FLOW_OK);
  buffer = gst_harness_try_pull (fixture.h);
  fail_unless (buffer != NULL);
  fail_unless_equals_int (gst_buffer_get_size (buffer), 3 * N_BINS * 4);
  fail_if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP));
  gst_buffer_unref (buffer);
  fixture_free (&fixture);
}
GST_END_TEST;

static GstFlowReturn
refuse_buffer (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_buffer_unref (buffer);
  return GST_FLOW_NOT_LINKED;
}

/* One input buffer makes many output buffers here; those behind the failed one must not turn up later. */
GST_START_TEST (test_input_left_over_by_a_failing_downstream_is_dropped)
{
  const GstClockTime pts[] = { 200 * GST_MSECOND, GST_CLOCK_TIME_NONE };
  Fixture fixture = fixture_new_started ("", GST_AUDIO_NE (S16), 11025);
  gint16 *samples = make_noise (2205);
  GstPadChainFunction chain = GST_PAD_CHAINFUNC (fixture.h->sinkpad);

  gst_pad_set_chain_function (fixture.h->sinkpad, refuse_buffer);
  fail_unless_equals_int (push_bytes (&fixture, samples, 4410, 0, 0), GST_FLOW_NOT_LINKED);
  gst_pad_set_chain_function (fixture.h->sinkpad, chain);
  push_s16 (&fixture, samples, 275, pts[__i__]); /* also where no jump of the time gives the hole away */
  fail_unless_buffer (&fixture, pts[__i__], 9977324, 0, 1, TRUE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- time --- */

GST_START_TEST (test_time_of_a_frame_is_that_of_its_first_sample)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (1600);

  push_s16 (&fixture, samples, 560, 1234567);
  fail_unless_buffer (&fixture, 1234567, 20 * GST_MSECOND, 0, 2, TRUE);
  push_s16 (&fixture, samples, 1000, 1234567 + 35 * GST_MSECOND);
  fail_unless_buffer (&fixture, 1234567 + 20 * GST_MSECOND, 60 * GST_MSECOND, 2, 8, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_time_of_a_whisper_frame_is_that_of_its_centre)
{
  Fixture fixture = fixture_new_s16 ("style=whisper");
  gint16 *samples = make_noise (1600);

  push_s16 (&fixture, samples, HALF_FRAME, GST_SECOND);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_SECOND, 10 * GST_MSECOND, 0, 1, TRUE);
  push_s16 (&fixture, samples, 158, GST_CLOCK_TIME_NONE);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_SECOND + 10 * GST_MSECOND, 10 * GST_MSECOND, 1, 2, FALSE);
  push_s16 (&fixture, samples, 120, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  fail_unless_buffer (&fixture, GST_SECOND + 20 * GST_MSECOND, 10 * GST_MSECOND, 2, 3, FALSE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Buffers of 7 samples, whose own timestamps are rounded; an hour into a stream. */
GST_START_TEST (test_time_does_not_drift)
{
  Fixture fixture = fixture_new_started ("bins=4", GST_AUDIO_NE (S16), 44100);
  gint16 *samples = make_noise (44100);
  const GstClockTime begin = 3600 * GST_SECOND + 1;
  GstClockTime expected = begin;
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < 44100; i += 7)
    push_s16 (&fixture, samples + i, 7, begin + i * GST_SECOND / 44100);
  while ((buffer = gst_harness_try_pull (fixture.h)) != NULL) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), expected);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), begin + GST_BUFFER_OFFSET (buffer) * 10 * GST_MSECOND);
    expected += GST_BUFFER_DURATION (buffer);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_uint64 (expected, begin + 98 * 10 * GST_MSECOND);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_unknown_time_stays_unknown)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (560);

  push_s16 (&fixture, samples, 560, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 20 * GST_MSECOND, 0, 2, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_time_may_become_known_on_the_way)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 10 * GST_MSECOND, 0, 1, TRUE);
  push_s16 (&fixture, samples, 160, GST_SECOND + 25 * GST_MSECOND);
  fail_unless_buffer (&fixture, GST_SECOND + 10 * GST_MSECOND, 10 * GST_MSECOND, 1, 2, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* 25 ms have come: a buffer at 5 ms cannot follow them. */
GST_START_TEST (test_time_before_the_beginning_is_not_believed)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_CLOCK_TIME_NONE);
  drop_frames (&fixture);
  push_s16 (&fixture, samples, 160, 5 * GST_MSECOND);
  fail_unless_buffer (&fixture, GST_CLOCK_TIME_NONE, 10 * GST_MSECOND, 1, 2, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* No frame reaches across what the quality of service left out, be it shorter than the jitter that is let pass. */
GST_START_TEST (test_late_audio_leaves_a_hole)
{
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);
  guint i;

  g_object_set (fixture.h->element, "qos", TRUE, NULL);
  push_s16 (&fixture, samples, 400, 0);
  fail_unless_buffer (&fixture, 0, 10 * GST_MSECOND, 0, 1, TRUE);
  gst_harness_push_upstream_event (fixture.h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 1, 0, 30 * GST_MSECOND));
  push_s16 (&fixture, samples, 160, 25 * GST_MSECOND); /* late */
  fail_unless_no_buffer (&fixture);
  for (i = 0; i < 3; i++)
    push_s16 (&fixture, samples, 160, (35 + 10 * i) * GST_MSECOND);
  fail_unless_buffer (&fixture, 35 * GST_MSECOND, 10 * GST_MSECOND, 0, 1, TRUE);
  fail_unless_no_buffer (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* 25 ms have come when the second buffer does. */
GST_START_TEST (test_timestamps_that_are_a_little_off_are_not_believed)
{
  const GstClockTime pts[] = { GST_SECOND + 65 * GST_MSECOND, GST_SECOND - 15 * GST_MSECOND };
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_SECOND);
  drop_frames (&fixture);
  push_s16 (&fixture, samples, 160, pts[__i__]);
  fail_unless_buffer (&fixture, GST_SECOND + 10 * GST_MSECOND, 10 * GST_MSECOND, 1, 2, FALSE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_jump_in_time_begins_anew)
{
  const GstClockTime pts[] = { GST_SECOND + 65 * GST_MSECOND + 1, GST_SECOND - 15 * GST_MSECOND - 1 };
  Fixture fixture = fixture_new_s16 ("");
  gint16 *samples = make_noise (800);

  push_s16 (&fixture, samples, 400, GST_SECOND);
  drop_frames (&fixture);
  push_s16 (&fixture, samples, 399, pts[__i__]);
  fail_unless_no_buffer (&fixture);
  push_s16 (&fixture, samples, 1, GST_CLOCK_TIME_NONE);
  fail_unless_buffer (&fixture, pts[__i__], 10 * GST_MSECOND, 0, 1, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The frames of both parts are those of two streams. */
GST_START_TEST (test_discont_ends_the_audio_and_begins_anew)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (2000);
  GArray *before = run_s16 (styles[__i__], samples, 1000), *after = run_s16 (styles[__i__], samples + 1000, 1000),
         *values;

  push_s16 (&fixture, samples, 1000, 0);
  fail_unless_equals_int (push_bytes (&fixture, samples + 1000, 400, 62500 * GST_USECOND, GST_BUFFER_FLAG_DISCONT),
                          GST_FLOW_OK);
  values = pull_frames (&fixture);
  fail_unless_same_bits (before, values);
  g_array_unref (values);

  push_s16 (&fixture, samples + 1200, 800, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (after, values);
  g_array_unref (values);
  g_array_unref (before);
  g_array_unref (after);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- events --- */

GST_START_TEST (test_flush_drops_the_audio)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (2000);
  GArray *expected = run_s16 (styles[__i__], samples, 1000), *values;

  push_s16 (&fixture, samples + 1000, 999, GST_SECOND);
  drop_frames (&fixture);
  fail_unless (gst_harness_push_event (fixture.h, gst_event_new_flush_start ()));
  fail_unless (gst_harness_push_event (fixture.h, gst_event_new_flush_stop (TRUE)));
  push_segment (&fixture, 0);
  push_s16 (&fixture, samples, 1000, 5 * GST_SECOND);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (expected, values);
  g_array_unref (values);
  g_array_unref (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static void
fail_unless_n_frames_in_front (Fixture *fixture, GstEvent *event, guint n_frames)
{
  GstEventType type = GST_EVENT_TYPE (event);
  GstEvent *pulled;

  while ((pulled = gst_harness_try_pull_event (fixture->h)) != NULL)
    gst_event_unref (pulled);
  fail_unless (gst_harness_push_event (fixture->h, event));
  fail_unless_n_frames (fixture, n_frames);
  pulled = gst_harness_try_pull_event (fixture->h);
  fail_unless (pulled != NULL && GST_EVENT_TYPE (pulled) == type);
  gst_event_unref (pulled);
}

/* 640 samples are 4 hops, so 4 frames; the last of them would need sample 679. */
GST_START_TEST (test_events_that_end_the_audio_bring_the_last_frames)
{
  GstEvent *events[] = { gst_event_new_gap (GST_SECOND, GST_SECOND), gst_event_new_segment_done (GST_FORMAT_TIME, 0),
                         gst_event_new_stream_start ("other"), gst_event_new_eos () };
  gint16 *samples = make_noise (640);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (events); i++) {
    Fixture fixture = fixture_new_s16 ("style=whisper");

    push_s16 (&fixture, samples, 640, 0);
    fail_unless_n_frames (&fixture, 3);
    fail_unless_n_frames_in_front (&fixture, events[i], 1);
    fixture_free (&fixture);
  }
  g_free (samples);
}
GST_END_TEST;

GST_START_TEST (test_new_segment_begins_anew)
{
  Fixture fixture = fixture_new_s16 ("style=whisper");
  gint16 *samples = make_noise (640);
  GstSegment segment;

  push_s16 (&fixture, samples, 640, 0);
  fail_unless_n_frames (&fixture, 3);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = GST_SECOND;
  fail_unless_n_frames_in_front (&fixture, gst_event_new_segment (&segment), 1);
  push_s16 (&fixture, samples, 640, 7 * GST_SECOND);
  fail_unless_buffer (&fixture, 7 * GST_SECOND, 30 * GST_MSECOND, 0, 3, TRUE);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_streams_without_audio_or_caps_end)
{
  Fixture fixture = fixture_new (styles[__i__]);

  push_eos (&fixture);
  fail_unless_no_buffer (&fixture);
  fixture_free (&fixture);

  fixture = fixture_new_s16 (styles[__i__]);
  push_eos (&fixture);
  fail_unless_no_buffer (&fixture);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- latency --- */

static void
fail_unless_latency (const gchar *properties, gint rate, GstClockTime expected)
{
  Fixture fixture = fixture_new (properties);

  gst_harness_set_upstream_latency (fixture.h, 7 * GST_MSECOND);
  fail_unless_equals_uint64 (gst_harness_query_latency (fixture.h),
                             7 * GST_MSECOND); /* nothing is known without caps */
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), rate, 1));
  fail_unless_equals_uint64 (gst_harness_query_latency (fixture.h), 7 * GST_MSECOND + expected);
  fixture_free (&fixture);
}

GST_START_TEST (test_latency_is_from_a_frame_to_its_newest_sample)
{
  fail_unless_latency ("", RATE, 25 * GST_MSECOND);
  fail_unless_latency ("frame-length=32", RATE, 32 * GST_MSECOND);
  fail_unless_latency ("", 11025, 24943311);                                   /* 275 samples */
  fail_unless_latency ("style=whisper", RATE, 12562500);                       /* 201 samples */
  fail_unless_latency ("style=whisper hop-length=20", RATE, 20 * GST_MSECOND); /* known not to be the dropped frame */
}
GST_END_TEST;

static GstClockTime upstream_max;

static gboolean
answer_latency (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return gst_pad_query_default (pad, parent, query);
  gst_query_set_latency (query, TRUE, 10 * GST_MSECOND, upstream_max);
  return TRUE;
}

/* What upstream can hold back it can hold back longer by what is kept here; no maximum stays none. */
GST_START_TEST (test_latency_keeps_the_maximum_ahead_of_the_minimum)
{
  Fixture fixture = fixture_new_s16 ("");
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean is_live;

  gst_pad_set_query_function (fixture.h->srcpad, answer_latency);
  upstream_max = 20 * GST_MSECOND;
  fail_unless (gst_pad_peer_query (fixture.h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (is_live && min == 35 * GST_MSECOND && max == 45 * GST_MSECOND);
  upstream_max = GST_CLOCK_TIME_NONE;
  fail_unless (gst_pad_peer_query (fixture.h->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  fail_unless (min == 35 * GST_MSECOND && !GST_CLOCK_TIME_IS_VALID (max));
  gst_query_unref (query);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_latency_is_posted_once)
{
  Fixture fixture = fixture_new_s16 ("");
  GstMessage *message = gst_bus_pop_filtered (fixture.bus, GST_MESSAGE_LATENCY);

  fail_unless (message != NULL);
  gst_message_unref (message);
  push_caps (&fixture, audio_caps (GST_AUDIO_NE (F32), RATE, 1)); /* as long as before */
  fail_unless (gst_bus_pop_filtered (fixture.bus, GST_MESSAGE_LATENCY) == NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- what downstream asks --- */

/* Upstream has 5 of whatever is asked for, and can seek in it. */
static gboolean
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

GST_START_TEST (test_only_time_is_the_same_on_both_sides)
{
  static const GstFormat formats[] = { GST_FORMAT_TIME, GST_FORMAT_DEFAULT, GST_FORMAT_BYTES };
  Fixture fixture = fixture_new_s16 ("");
  GstPad *pad = fixture.h->sinkpad;
  gint64 value;
  guint i;

  gst_pad_set_query_function (fixture.h->srcpad, answer_anything);
  for (i = 0; i < G_N_ELEMENTS (formats); i++) {
    GstQuery *seeking = gst_query_new_seeking (formats[i]);
    guint before = gst_harness_upstream_events_received (fixture.h);
    gboolean is_time = formats[i] == GST_FORMAT_TIME;

    fail_unless_equals_int (gst_pad_peer_query_duration (pad, formats[i], &value), is_time);
    fail_unless_equals_int (gst_pad_peer_query_position (pad, formats[i], &value), is_time);
    fail_unless_equals_int (gst_pad_peer_query (pad, seeking), is_time);
    fail_unless_equals_int (gst_pad_push_event (pad, gst_event_new_seek (1, formats[i], GST_SEEK_FLAG_FLUSH,
                                                                         GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, 0)),
                            is_time);
    fail_unless_equals_int (gst_harness_upstream_events_received (fixture.h) - before, is_time);
    gst_query_unref (seeking);
  }
  fail_if (gst_pad_peer_query_convert (pad, GST_FORMAT_TIME, 1, GST_FORMAT_DEFAULT, &value));
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_frames_begin_at_a_cache_line)
{
  Fixture fixture = fixture_new_s16 ("bins=7");
  gint16 samples[4 * HOP] = { 0 };
  guint i;

  for (i = 0; i < 5; i++) {
    GstBuffer *buffer;
    GstMapInfo map;

    push_s16 (&fixture, samples, 4 * HOP, GST_CLOCK_TIME_NONE);
    buffer = gst_harness_pull (fixture.h);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    fail_unless_equals_int (GPOINTER_TO_SIZE (map.data) % 64, 0);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  fixture_free (&fixture);
}
GST_END_TEST;

/* --- life --- */

GST_START_TEST (test_reuse_after_null)
{
  Fixture fixture = fixture_new_s16 (styles[__i__]);
  gint16 *samples = make_noise (1000);
  GArray *expected = run_s16 (styles[__i__], samples, 1000), *values;

  push_s16 (&fixture, samples, 777, 0);
  drop_frames (&fixture);
  gst_element_set_state (fixture.h->element, GST_STATE_NULL);
  gst_harness_play (fixture.h);
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_s16 (&fixture, samples, 1000, 0);
  push_eos (&fixture);
  values = pull_frames (&fixture);
  fail_unless_same_bits (expected, values);
  g_array_unref (values);
  g_array_unref (expected);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_right_caps_after_an_error)
{
  Fixture fixture = fixture_new ("fft-size=256");
  gint16 *samples = make_noise (400);

  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  fail_unless_not_negotiated (&fixture, "fft-size 256");
  gst_element_set_state (fixture.h->element, GST_STATE_READY);
  set_properties (fixture.h->element, "fft-size=0");
  gst_harness_play (fixture.h);
  start (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_s16 (&fixture, samples, 400, 0);
  fail_unless_n_frames (&fixture, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

static Suite *
logmel_suite (void)
{
  Suite *suite = suite_create ("logmel");
  TCase *tc = tcase_create ("general");
  const guint n_styles = G_N_ELEMENTS (styles);

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_frames_equal_the_reference, 0, G_N_ELEMENTS (golden_names));
  tcase_add_loop_test (tc, test_buffer_sizes_do_not_change_a_bit, 0, n_styles);
  tcase_add_loop_test (tc, test_hops_of_one_sample_and_hops_longer_than_the_frame, 0, 4);
  tcase_add_loop_test (tc, test_s16_and_f32_agree_to_the_bit, 0, n_styles);
  tcase_add_test (tc, test_memory_may_begin_at_any_byte);
  tcase_add_test (tc, test_kaldi_gives_only_whole_frames);
  tcase_add_test (tc, test_whisper_gives_one_frame_for_each_whole_hop);
  tcase_add_test (tc, test_whisper_gives_nothing_for_audio_too_short_to_mirror);
  tcase_add_test (tc, test_whisper_mirrors_the_end);
  tcase_add_loop_test (tc, test_silence_is_the_floor, 0, n_styles);
  tcase_add_loop_test (tc, test_nan_and_infinity_stay_in_their_frames, 0, 3);

  tcase_add_test (tc, test_unset_properties_follow_the_style);
  tcase_add_loop_test (tc, test_set_properties_win_over_the_style_in_any_order, 0, 3);
  tcase_add_test (tc, test_order_of_properties_does_not_change_a_bit);

  tcase_add_test (tc, test_frames_are_channels_at_the_frame_rate);
  tcase_add_test (tc, test_frame_rate_that_is_no_whole_number_leaves_as_tensors);
  tcase_add_test (tc, test_audioconvert_in_front_mixes_to_mono);
  tcase_add_test (tc, test_stereo_is_refused_with_a_way_out);
  tcase_add_test (tc, test_other_formats_are_refused_by_name);
  tcase_add_test (tc, test_fft_smaller_than_the_frame_is_refused);
  tcase_add_test (tc, test_bin_without_an_fft_point_is_refused);
  tcase_add_test (tc, test_frequencies_out_of_range_are_refused);
  tcase_add_test (tc, test_lengths_out_of_range_are_refused);
  tcase_add_test (tc, test_refusal_of_tensors_names_the_rate);
  tcase_add_test (tc, test_refusal_of_bins_names_them);
  tcase_add_loop_test (tc, test_identical_caps_and_segments_change_nothing, 0, n_styles);
  tcase_add_test (tc, test_changed_caps_end_the_audio_and_begin_anew);

  tcase_add_test (tc, test_one_buffer_with_all_frames_that_got_complete);
  tcase_add_loop_test (tc, test_tensors_hold_one_frame_each, 0, n_styles);
  tcase_add_test (tc, test_partial_sample_is_an_error);
  tcase_add_test (tc, test_gap_buffers_are_samples_and_the_flag_goes);
  tcase_add_loop_test (tc, test_input_left_over_by_a_failing_downstream_is_dropped, 0, 2);

  tcase_add_test (tc, test_time_of_a_frame_is_that_of_its_first_sample);
  tcase_add_test (tc, test_time_of_a_whisper_frame_is_that_of_its_centre);
  tcase_add_test (tc, test_time_does_not_drift);
  tcase_add_test (tc, test_unknown_time_stays_unknown);
  tcase_add_test (tc, test_time_may_become_known_on_the_way);
  tcase_add_test (tc, test_time_before_the_beginning_is_not_believed);
  tcase_add_test (tc, test_late_audio_leaves_a_hole);
  tcase_add_loop_test (tc, test_timestamps_that_are_a_little_off_are_not_believed, 0, 2);
  tcase_add_loop_test (tc, test_jump_in_time_begins_anew, 0, 2);
  tcase_add_loop_test (tc, test_discont_ends_the_audio_and_begins_anew, 0, n_styles);

  tcase_add_loop_test (tc, test_flush_drops_the_audio, 0, n_styles);
  tcase_add_test (tc, test_events_that_end_the_audio_bring_the_last_frames);
  tcase_add_test (tc, test_new_segment_begins_anew);
  tcase_add_loop_test (tc, test_streams_without_audio_or_caps_end, 0, n_styles);
  tcase_add_test (tc, test_latency_is_from_a_frame_to_its_newest_sample);
  tcase_add_test (tc, test_latency_keeps_the_maximum_ahead_of_the_minimum);
  tcase_add_test (tc, test_latency_is_posted_once);
  tcase_add_test (tc, test_only_time_is_the_same_on_both_sides);
  tcase_add_test (tc, test_frames_begin_at_a_cache_line);
  tcase_add_loop_test (tc, test_reuse_after_null, 0, n_styles);
  tcase_add_test (tc, test_right_caps_after_an_error);
  return suite;
}

GST_CHECK_MAIN (logmel);
