/*
 * gst-attention: tests of the element spectralgain: caps, events, ends and refusals.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "spectralgaincheck.h"

#define N_SAMPLES (30 * HOP)

/* ---- the ends ---- */

GST_START_TEST (test_audio_waits_for_its_gains)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  push_f32 (&fixture, samples, 0, N_SAMPLES);
  fail_unless_equals_int (count_samples (&fixture), 0);
  push_flat_gains (&fixture, 0, 10, 1);
  fail_unless_equals_int (count_samples (&fixture), 10 * HOP);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  fail_unless_equals_int (count_samples (&fixture), 0);
  fail_unless (!has_event (fixture.audio, GST_EVENT_EOS));
  push_flat_gains (&fixture, 10, 28, 1);
  fail_unless_equals_int (count_samples (&fixture), 18 * HOP);
  fail_unless (!has_event (fixture.audio, GST_EVENT_EOS));
  fail_unless (gst_harness_push_event (fixture.gains, gst_event_new_eos ()));
  fail_unless_equals_int (count_samples (&fixture), 2 * HOP);
  fail_unless (has_event (fixture.audio, GST_EVENT_EOS));
  fail_unless_no_error (&fixture);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_behind_eos_of_the_gains_nothing_is_waited_for)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  push_f32 (&fixture, samples, 0, 10 * HOP);
  push_flat_gains (&fixture, 0, 3, 1);
  fail_unless (gst_harness_push_event (fixture.gains, gst_event_new_eos ()));
  push_f32 (&fixture, samples, 10 * HOP, N_SAMPLES - 10 * HOP);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  fail_unless (has_event (fixture.audio, GST_EVENT_EOS));
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* Not even caps have come to the pad. */
GST_START_TEST (test_gains_that_end_at_once_are_1)
{
  Fixture fixture = fixture_new ("");
  gfloat *samples = make_noise (N_SAMPLES);

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  gst_harness_push_event (fixture.gains, gst_event_new_stream_start ("gains"));
  fail_unless (gst_harness_push_event (fixture.gains, gst_event_new_eos ()));
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  fail_unless (has_event (fixture.audio, GST_EVENT_EOS));
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_empty_audio_ends)
{
  Fixture fixture = fixture_new ("");

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  push_bytes (fixture.audio, NULL, 0, 0, 0);
  fail_unless (gst_harness_push_event (fixture.audio, gst_event_new_eos ()));
  fail_unless (has_event (fixture.audio, GST_EVENT_EOS));
  fail_unless_equals_int (count_samples (&fixture), 0);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The second stream is as if there had been no first one. */
GST_START_TEST (test_another_stream_begins_behind_eos)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  guint i;

  for (i = 0; i < 2; i++) {
    push_f32 (&fixture, samples, 0, N_SAMPLES);
    push_flat_gains (&fixture, 0, 28, 1);
    push_eos (&fixture);
    fail_unless (has_event (fixture.audio, GST_EVENT_EOS));
    fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
    start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
    start_gains (&fixture, N_BINS, 100, 1, "");
  }
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_a_second_life_follows_the_first)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_flat_gains (&fixture, 0, 12, 0.5);
  gst_element_set_state (element_of (&fixture), GST_STATE_NULL);
  count_samples (&fixture);
  gst_element_set_state (element_of (&fixture), GST_STATE_PLAYING);
  start_audio (&fixture, GST_AUDIO_NE (F32), 8000, 1);
  fail_unless (start_gains (&fixture, 40, 100, 1, ", bins=(int)40"));
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_eos (&fixture);
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- caps ---- */

static void
fail_unless_halved (const GByteArray *bytes, const gfloat *samples, guint i)
{
  fail_unless (fabs (((const gfloat *) bytes->data)[i] - 0.5 * samples[i]) <= TOLERANCE, "sample %u", i);
}

/* Every part keeps its length and its caps; the caps of the gains change later than those of the audio. */
GST_START_TEST (test_caps_change_in_mid_stream)
{
  Fixture fixture = fixture_new ("");
  gfloat *samples = make_noise (4800);
  GByteArray *before, *behind;
  GstCaps *caps;
  gint rate;
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), 16000, 1);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, ", sample-rate=(int)16000, bins=(int)80"));
  push_f32 (&fixture, samples, 0, 4800); /* 0.3 s */
  push_audio_caps (&fixture, GST_AUDIO_NE (F32), 8000, 1);
  push_bytes (fixture.audio, samples, 2400 * sizeof *samples, 300 * GST_MSECOND, 0); /* the same */
  push_flat_gains (&fixture, 0, 28, 0.5);
  push_caps (fixture.gains,
             "audio/x-raw, format=(string)" GST_AUDIO_NE (
                 F32) ", layout=(string)interleaved, rate=(int)50, "
                      "channels=(int)41, channel-mask=(bitmask)0, bins=(int)40, frame-length=(double)50, "
                      "hop-length=(double)20, sample-rate=(int)8000");
  for (i = 0; i < 13; i++)
    fail_unless_equals_int (push_even_gains (&fixture, 41, 0.5, 300 * GST_MSECOND + 2 * i * HOP_TIME), GST_FLOW_OK);
  push_eos (&fixture);

  fixture.rate = 16000;
  before = pull_some (&fixture, 4800 * sizeof *samples);
  behind = pull_audio (&fixture);
  fail_unless_equals_int (before->len, 4800 * sizeof *samples);
  fail_unless_equals_int (behind->len, 2400 * sizeof *samples);
  fail_unless_equals_uint64 (fixture.first_pts, 300 * GST_MSECOND);
  fail_unless_halved (before, samples, 2400);
  fail_unless_halved (behind, samples, 1200);
  caps = gst_pad_get_current_caps (fixture.audio->sinkpad);
  gst_structure_get_int (gst_caps_get_structure (caps, 0), "rate", &rate);
  fail_unless_equals_int (rate, 8000);
  fail_unless_no_error (&fixture);
  gst_caps_unref (caps);
  g_byte_array_unref (before);
  g_byte_array_unref (behind);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_caps_and_segments_that_come_again_change_nothing)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  push_flat_gains (&fixture, 0, 28, 1);
  push_f32 (&fixture, samples, 0, 1000);
  push_audio_caps (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  push_segment_from (fixture.audio, 0);
  push_f32 (&fixture, samples, 1000, N_SAMPLES - 1000);
  push_eos (&fixture);
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1); /* with no DISCONT in between */
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

typedef struct {
  const gchar *properties;
  guint n_values;
  gint rate;
  const gchar *caps, *error;
} Refusal;

static const Refusal refusals[] = {
  { "", 40, 100, "", "frames of 40 gains came, but bins=80: expected one gain per band, 80, or one more, 81" },
  { "bins=40", 80, 100, "", "frames of 80 gains came, but bins=40: expected one gain per band, 40, or one more, 41" },
  { "", 80, 100, ", bins=(int)82", "frames of 80 gains came, but bins=82" },
  { "bins=40", 80, 100, ", bins=(int)80", "bins=40 was set, but the caps of the gains say 80" },
  { "frame-length=32", 80, 100, ", frame-length=(double)25",
    "frame-length=32 was set, but the caps of the gains say 25" },
  { "low-frequency=20", 80, 100, ", low-frequency=(double)60",
    "low-frequency=20 was set, but the caps of the gains say 60" },
  { "high-frequency=-400", 80, 100, ", sample-rate=(int)16000, high-frequency=(double)8000",
    "high-frequency=7600 was set, but the caps of the gains say 8000" },
  { "style=whisper", 80, 100, ", style=(string)kaldi", "style=whisper was set, but the caps of the gains say kaldi" },
  { "mel-scale=htk", 80, 100, ", mel-scale=(string)slaney",
    "mel-scale=htk was set, but the caps of the gains say slaney" },
  { "", 80, 100, ", mel-scale=(string)bark", "the caps of the gains say mel-scale=bark, expected htk or slaney" },
  { "hop-length=10", 80, 50, "",
    "hop-length=10 ms was set, but 50/1 frames of gains come per second, one every 20 ms" },
};

GST_START_TEST (test_gains_for_other_bands_are_an_error)
{
  const Refusal *refusal = &refusals[__i__];
  Fixture fixture = fixture_new (refusal->properties);
  gfloat samples[HOP] = { 0 };

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  start_gains (&fixture, refusal->n_values, refusal->rate, 1, refusal->caps); /* sticky: a refusal shows later */
  await_error (&fixture, refusal->error);
  fail_unless_equals_int (push_bytes (fixture.audio, samples, sizeof samples, 0, 0), GST_FLOW_ERROR);
  fixture_free (&fixture);
}
GST_END_TEST;

/* All fields of logmel, which agree with the properties. */
GST_START_TEST (test_caps_that_say_the_same_are_taken)
{
  Fixture fixture =
      fixture_new ("bins=80 style=kaldi frame-length=25 hop-length=10 low-frequency=20 high-frequency=-400 "
                   "mel-scale=htk");

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, 81, 100, 1,
                            ", sample-rate=(int)16000, bins=(int)80, style=(string)kaldi, frame-length=(double)25, "
                            "hop-length=(double)10, fft-size=(int)512, low-frequency=(double)20, "
                            "high-frequency=(double)7600, window-function=(string)povey, mel-scale=(string)htk"));
  fail_unless_no_error (&fixture);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_settings_that_do_not_fit_the_rate_are_an_error)
{
  Fixture fixture = fixture_new_started ("high-frequency=9000", GST_AUDIO_NE (F32), RATE);
  gfloat samples[HOP] = { 0 };

  push_bytes (fixture.audio, samples, sizeof samples, 0, 0);
  await_error (&fixture, "high-frequency 9000 Hz is above 8000 Hz");
  fixture_free (&fixture);
  fixture = fixture_new_started ("", GST_AUDIO_NE (F32), 10);
  push_bytes (fixture.audio, samples, sizeof samples, 0, 0);
  await_error (&fixture, "frame-length 25 ms is 0.25 samples at 10 Hz");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_buffers_of_another_size_are_an_error)
{
  Fixture fixture = fixture_new ("");
  gfloat samples[HOP] = { 0 };

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 2);
  fail_unless (start_gains (&fixture, N_BINS, 100, 1, ""));
  fail_unless_equals_int (push_bytes (fixture.audio, samples, 12, 0, 0), GST_FLOW_ERROR);
  await_error (&fixture, "a buffer of 12 bytes is not a whole number of samples: one of 2 channels has 8 bytes");
  fixture_free (&fixture);
  fixture = fixture_new_f32 ("");
  fail_unless_equals_int (push_bytes (fixture.gains, samples, 300, 0, 0), GST_FLOW_ERROR);
  await_error (&fixture, "300 bytes");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_segments_that_are_not_in_time_are_an_error)
{
  Fixture fixture = fixture_new_f32 ("");
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (fixture.audio, gst_event_new_segment (&segment));
  await_error (&fixture, "audio needs a segment in time that goes forward, this one is in bytes at rate 1");
  gst_harness_push_event (fixture.gains, gst_event_new_segment (&segment));
  await_error (&fixture, "gains need a segment in time that goes forward, this one is in bytes at rate 1");
  fixture_free (&fixture);
}
GST_END_TEST;

/* A frame of the gains, in samples of the audio. */
GST_START_TEST (test_frames_that_audio_makes_too_short_or_too_large_are_an_error)
{
  static const struct {
    gint rate, n_channels;
    const gchar *text;
  } cases[] = {
    { 20, 1, "frame-length 25 ms is 0 samples at 20 Hz, the least is 2" },
    { 768000, 4096, "frames of 19200 samples in 4096 channels are 78643200 values, the most is 67108864" },
  };
  static const gfloat samples[4096] = { 0 };
  Fixture fixture = fixture_new ("");

  start_audio (&fixture, GST_AUDIO_NE (F32), cases[__i__].rate, cases[__i__].n_channels);
  start_gains (&fixture, N_BINS, 100, 1, ", sample-rate=(int)16000");
  push_flat_gains (&fixture, 0, 3, 1);
  push_bytes (fixture.audio, samples, cases[__i__].n_channels * sizeof *samples, 0, 0);
  await_error (&fixture, cases[__i__].text);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The elements in front of it must make what the elements behind it take. */
GST_START_TEST (test_caps_go_across)
{
  Fixture fixture = fixture_new ("");
  GstPad *pad = gst_element_get_static_pad (element_of (&fixture), "sink");
  GstCaps *caps, *expected;

  gst_harness_set_sink_caps_str (fixture.audio, "audio/x-raw, rate=(int)48000");
  caps = gst_pad_query_caps (pad, NULL);
  expected = gst_caps_from_string ("audio/x-raw, rate=(int)44100");
  fail_unless (!gst_caps_can_intersect (caps, expected));
  gst_caps_unref (expected);
  expected = gst_caps_from_string ("audio/x-raw, rate=(int)48000, format=(string)" GST_AUDIO_NE (S16));
  fail_unless (gst_caps_can_intersect (caps, expected));
  gst_caps_unref (expected);
  gst_caps_unref (caps);
  gst_object_unref (pad);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- events ---- */

/* Half of the earlier gains would still be there; they must not apply to the new audio. */
GST_START_TEST (test_flush_forgets_audio_and_gains)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);
  guint i;

  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_flat_gains (&fixture, 0, 20, 0.5);
  count_samples (&fixture);
  for (i = 0; i < 2; i++) {
    GstHarness *h = i == 0 ? fixture.audio : fixture.gains;

    gst_harness_push_event (h, gst_event_new_flush_start ());
    gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
    push_segment_from (h, 0);
  }
  fail_unless (has_event (fixture.audio, GST_EVENT_FLUSH_START));
  fail_unless (has_event (fixture.audio, GST_EVENT_FLUSH_STOP));
  fail_unless (!has_event (fixture.audio, GST_EVENT_FLUSH_START)); /* one */
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  fail_unless_equals_int (count_samples (&fixture), 0);
  push_flat_gains (&fixture, 0, 28, 1);
  push_eos (&fixture);
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_flush_of_the_gains_leaves_the_audio)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  push_flat_gains (&fixture, 0, 28, 0.5);
  gst_harness_push_event (fixture.gains, gst_event_new_flush_start ());
  gst_harness_push_event (fixture.gains, gst_event_new_flush_stop (TRUE));
  push_segment_from (fixture.gains, 0);
  fail_unless (!has_event (fixture.audio, GST_EVENT_FLUSH_START));
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_eos (&fixture);
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_an_error_ends_with_a_flush)
{
  Fixture fixture = fixture_new_f32 ("");
  gfloat *samples = make_noise (N_SAMPLES);

  fail_unless_equals_int (push_bytes (fixture.audio, samples, 3, 0, 0), GST_FLOW_ERROR);
  gst_harness_push_event (fixture.audio, gst_event_new_flush_start ());
  gst_harness_push_event (fixture.audio, gst_event_new_flush_stop (TRUE));
  push_segment_from (fixture.audio, 0);
  push_f32 (&fixture, samples, 0, N_SAMPLES);
  push_eos (&fixture);
  fail_unless_scaled (&fixture, samples, N_SAMPLES, 1);
  g_free (samples);
  fixture_free (&fixture);
}
GST_END_TEST;

/* All events of the audio pass, and none of the gains'. */
GST_START_TEST (test_events_of_the_sound_go_on)
{
  Fixture fixture = fixture_new_f32 ("");
  GstEvent *event;
  const gchar *id;

  gst_harness_push_event (fixture.gains, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "gains", NULL)));
  gst_harness_push_event (fixture.audio, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "sound", NULL)));
  gst_harness_push_event (fixture.audio,
                          gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("x")));
  event = pull_event (fixture.audio, GST_EVENT_STREAM_START);
  gst_event_parse_stream_start (event, &id);
  fail_unless_equals_string (id, "audio");
  gst_event_unref (event);
  fail_unless (has_event (fixture.audio, GST_EVENT_CAPS));
  fail_unless (has_event (fixture.audio, GST_EVENT_SEGMENT));
  event = pull_event (fixture.audio, GST_EVENT_TAG);
  fail_unless (event != NULL);
  gst_event_unref (event);
  fail_unless (has_event (fixture.audio, GST_EVENT_CUSTOM_DOWNSTREAM));
  fail_unless (!has_event (fixture.audio, GST_EVENT_TAG));
  fixture_free (&fixture);
}
GST_END_TEST;

static guint
count_events (GstHarness *h, GstEventType type)
{
  GstEvent *event;
  guint n = 0;

  while ((event = gst_harness_try_pull_upstream_event (h)) != NULL) {
    n += GST_EVENT_TYPE (event) == type;
    gst_event_unref (event);
  }
  return n;
}

static gboolean
send_seek (Fixture *fixture, gdouble rate)
{
  return gst_harness_push_upstream_event (
      fixture->audio, gst_event_new_seek (rate, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0,
                                          rate > 0 ? GST_SEEK_TYPE_NONE : GST_SEEK_TYPE_SET, GST_SECOND));
}

/* Behind a tee both pads have one source, which must not seek twice. */
GST_START_TEST (test_a_seek_goes_once_to_every_source)
{
  Fixture fixture = fixture_new_f32 ("");

  send_seek (&fixture, 1);
  fail_unless_equals_int (count_events (fixture.audio, GST_EVENT_SEEK), 1);
  fail_unless_equals_int (count_events (fixture.gains, GST_EVENT_SEEK), 1);
  gst_harness_push_event (fixture.gains, gst_event_new_stream_start ("audio"));
  send_seek (&fixture, 1);
  fail_unless_equals_int (count_events (fixture.audio, GST_EVENT_SEEK), 1);
  fail_unless_equals_int (count_events (fixture.gains, GST_EVENT_SEEK), 0);
  fail_unless (!send_seek (&fixture, -1));
  fail_unless_equals_int (count_events (fixture.audio, GST_EVENT_SEEK), 0);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_qos_goes_upstream)
{
  Fixture fixture = fixture_new_f32 ("");

  gst_harness_push_upstream_event (fixture.audio, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 1.5, 10, 0));
  fail_unless_equals_int (count_events (fixture.audio, GST_EVENT_QOS), 1);
  fixture_free (&fixture);
}
GST_END_TEST;

/* ---- speech ---- */

static void
fail_unless_speech (Fixture *fixture, gboolean speech, gdouble probability, GstClockTime time)
{
  GstMessage *message = pop_message (fixture->bus, GST_MESSAGE_ELEMENT);
  const GstStructure *structure;
  gboolean is_speech;
  gdouble is;
  guint64 at;

  fail_unless (message != NULL);
  structure = gst_message_get_structure (message);
  fail_unless (gst_structure_has_name (structure, "spectralgain"));
  fail_unless (gst_structure_get (structure, "speech", G_TYPE_BOOLEAN, &is_speech, "probability", G_TYPE_DOUBLE, &is,
                                  "running-time", G_TYPE_UINT64, &at, NULL));
  fail_unless_equals_int (is_speech, speech);
  fail_unless (fabs (is - probability) < 1e-6);
  fail_unless_equals_uint64 (at, time);
  gst_message_unref (message);
}

/* Each frame's time is its centre: 12.5 ms behind its timestamp. */
GST_START_TEST (test_speech_begins_and_ends_with_a_message)
{
  static const gfloat probabilities[] = { 0.1f, 0.49f, 0.5f, 0.9f, 0.45f, NAN, 0.41f, 0.39f, 0.45f, 0.49f, NAN, 0.7f };
  Fixture fixture = fixture_new ("threshold=0.5 hysteresis=0.1");
  gfloat gains[N_BINS + 1] = { 0 };
  guint i;

  start_audio (&fixture, GST_AUDIO_NE (F32), RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS + 1, 100, 1, ""));
  for (i = 0; i < G_N_ELEMENTS (probabilities); i++) {
    gains[N_BINS] = probabilities[i];
    push_bytes (fixture.gains, gains, sizeof gains, i * HOP_TIME, 0);
  }
  fail_unless_speech (&fixture, TRUE, 0.5, 2 * HOP_TIME + 12500000);
  fail_unless_speech (&fixture, FALSE, 0.39, 7 * HOP_TIME + 12500000);
  fail_unless_speech (&fixture, TRUE, 0.7, 11 * HOP_TIME + 12500000);
  fail_unless (pop_message (fixture.bus, GST_MESSAGE_ELEMENT) == NULL);
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_frames_without_a_probability_post_nothing)
{
  static const gfloat samples[5 * HOP] = { 0 };
  Fixture fixture = fixture_new_f32 ("");
  GstBuffer *buffer;

  push_flat_gains (&fixture, 0, 10, 1);
  fail_unless (pop_message (fixture.bus, GST_MESSAGE_ELEMENT) == NULL);
  push_bytes (fixture.audio, samples, sizeof samples, 0, 0);
  buffer = gst_harness_pull (fixture.audio);
  fail_unless (gst_buffer_get_audio_level_meta (buffer) == NULL);
  gst_buffer_unref (buffer);
  fixture_free (&fixture);
}
GST_END_TEST;

/* The gains are 1: the level is that of the input. */
static void
fail_unless_level (const gchar *format, gconstpointer samples, gsize size, gfloat probability, guint level)
{
  Fixture fixture = fixture_new ("");
  gfloat gains[N_BINS + 1];
  GstAudioLevelMeta *meta;
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < N_BINS; i++)
    gains[i] = 1;
  gains[N_BINS] = probability;
  start_audio (&fixture, format, RATE, 1);
  fail_unless (start_gains (&fixture, N_BINS + 1, 100, 1, ""));
  for (i = 0; i < 10; i++)
    push_bytes (fixture.gains, gains, sizeof gains, i * HOP_TIME, 0);
  push_bytes (fixture.audio, samples, size, 0, 0);
  buffer = gst_harness_pull (fixture.audio);
  meta = gst_buffer_get_audio_level_meta (buffer);
  fail_unless (meta != NULL);
  fail_unless_equals_int (meta->level, level);
  fail_unless_equals_int (meta->voice_activity, probability > 0.5f);
  gst_buffer_unref (buffer);
  fixture_free (&fixture);
}

/* 0.1 is 20 dB below full scale in either format. */
GST_START_TEST (test_buffers_say_their_level_and_whether_there_is_speech)
{
  gfloat f32[5 * HOP];
  gint16 s16[5 * HOP];
  guint i;

  for (i = 0; i < G_N_ELEMENTS (f32); i++) {
    f32[i] = i % 2 == 0 ? 0.1f : -0.1f;
    s16[i] = i % 2 == 0 ? 3277 : -3277;
  }
  fail_unless_level (GST_AUDIO_NE (F32), f32, sizeof f32, 0.9f, 20);
  fail_unless_level (GST_AUDIO_NE (F32), f32, sizeof f32, 0.1f, 20);
  fail_unless_level (GST_AUDIO_NE (S16), s16, sizeof s16, 0.9f, 20);
}
GST_END_TEST;

/* Levels below and above those of RFC 6464; what is damaged is not the loudest of a call. */
GST_START_TEST (test_levels_beyond_the_range_are_its_ends)
{
  static const struct {
    gfloat sample;
    guint level;
  } cases[] = { { 0, 127 }, { 1e-30f, 127 }, { 2, 0 }, { NAN, 127 }, { INFINITY, 127 } };
  gfloat f32[5 * HOP];
  guint i;

  for (i = 0; i < G_N_ELEMENTS (f32); i++)
    f32[i] = i % 2 == 0 ? cases[__i__].sample : -cases[__i__].sample;
  fail_unless_level (GST_AUDIO_NE (F32), f32, sizeof f32, 0.9f, cases[__i__].level);
}
GST_END_TEST;

static Suite *
spectralgain_streams_suite (void)
{
  Suite *suite = suite_create ("spectralgain-streams");
  TCase *ends = tcase_create ("ends"), *caps = tcase_create ("caps"), *events = tcase_create ("events");

  suite_add_tcase (suite, ends);
  tcase_add_test (ends, test_audio_waits_for_its_gains);
  tcase_add_test (ends, test_behind_eos_of_the_gains_nothing_is_waited_for);
  tcase_add_test (ends, test_gains_that_end_at_once_are_1);
  tcase_add_test (ends, test_empty_audio_ends);
  tcase_add_test (ends, test_another_stream_begins_behind_eos);
  tcase_add_test (ends, test_a_second_life_follows_the_first);
  suite_add_tcase (suite, caps);
  tcase_add_test (caps, test_caps_change_in_mid_stream);
  tcase_add_test (caps, test_caps_and_segments_that_come_again_change_nothing);
  tcase_add_loop_test (caps, test_gains_for_other_bands_are_an_error, 0, G_N_ELEMENTS (refusals));
  tcase_add_test (caps, test_caps_that_say_the_same_are_taken);
  tcase_add_test (caps, test_settings_that_do_not_fit_the_rate_are_an_error);
  tcase_add_test (caps, test_buffers_of_another_size_are_an_error);
  tcase_add_test (caps, test_segments_that_are_not_in_time_are_an_error);
  tcase_add_loop_test (caps, test_frames_that_audio_makes_too_short_or_too_large_are_an_error, 0, 2);
  tcase_add_test (caps, test_caps_go_across);
  suite_add_tcase (suite, events);
  tcase_add_test (events, test_flush_forgets_audio_and_gains);
  tcase_add_test (events, test_flush_of_the_gains_leaves_the_audio);
  tcase_add_test (events, test_an_error_ends_with_a_flush);
  tcase_add_test (events, test_events_of_the_sound_go_on);
  tcase_add_test (events, test_a_seek_goes_once_to_every_source);
  tcase_add_test (events, test_qos_goes_upstream);
  tcase_add_test (events, test_speech_begins_and_ends_with_a_message);
  tcase_add_test (events, test_frames_without_a_probability_post_nothing);
  tcase_add_test (events, test_buffers_say_their_level_and_whether_there_is_speech);
  tcase_add_loop_test (events, test_levels_beyond_the_range_are_its_ends, 0, 5);
  return suite;
}

GST_CHECK_MAIN (spectralgain_streams);
