/*
 * gst-attention: tests of the element logmel: its properties, and the caps that it takes and gives.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "logmelcheck.h"
#include "modelcheck.h"
#include "pipelinecheck.h"

/* --- refusals --- */

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
  set_properties (element, "style=nemo");
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

/* This includes a property that was set to its present value. */
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

/* The fields of the caps about the stream itself and, if not NULL, those about the audio that it is made from. */
static void
fail_unless_src_caps (const gchar *properties, gint rate, const gchar *expected, const gchar *made_from)
{
  Fixture fixture = fixture_new_started (properties, GST_AUDIO_NE (S16), rate);
  GstCaps *caps = gst_pad_get_current_caps (fixture.h->sinkpad), *expected_caps;
  gchar *full = g_strdup_printf ("%s, sample-rate=%d, %s", expected, rate, made_from);

  expected_caps = gst_caps_from_string (made_from != NULL ? full : expected);
  if (made_from != NULL)
    fail_unless (gst_caps_is_equal (caps, expected_caps), "caps: %s", gst_caps_to_string (caps));
  else
    fail_unless (gst_caps_is_subset (caps, expected_caps), "caps: %s", gst_caps_to_string (caps));
  gst_caps_unref (caps);
  gst_caps_unref (expected_caps);
  g_free (full);
  fixture_free (&fixture);
}

/* --- the model file --- */

/* A file without tensors, of these metadata. */
static gchar *
write_model (const gchar *metadata)
{
  gchar *path = path_of ("m.safetensors");

  write_safetensors (path, g_strdup_printf ("{'__metadata__':{%s}}", metadata), "", 0);
  return path;
}

#define OF_NEMO                                                                                                      \
  "'style':'nemo','sample-rate':'16000','bins':'128','frame-length':'20','fft-size':'1024','high-frequency':'-400'," \
  "'window-function':'hamming','frame-rate':'125/2','heads':'4'"

GST_START_TEST (test_properties_follow_the_model_file_in_any_order)
{
  gchar *path = write_model (OF_NEMO);
  GstElement *element = gst_element_factory_make ("logmel", NULL);

  if (__i__ == 0)
    g_object_set (element, "model-file", path, NULL);
  set_properties (element, "low-frequency=50");
  if (__i__ == 1)
    g_object_set (element, "model-file", path, NULL);
  fail_unless_property (element, "style", "nemo");
  fail_unless_property (element, "bins", "128");
  fail_unless_property (element, "frame-length", "20");
  fail_unless_property (element, "fft-size", "1024");
  fail_unless_property (element, "low-frequency", "50");
  fail_unless_property (element, "high-frequency", "-400");
  fail_unless_property (element, "window-function", "hamming");
  fail_unless_property (element, "mel-scale", "slaney");
  g_object_set (element, "model-file", NULL, NULL);
  fail_unless_property (element, "style", "kaldi");
  fail_unless_property (element, "bins", "80");
  fail_unless_property (element, "low-frequency", "50");
  gst_object_unref (element);
  g_free (path);
}
GST_END_TEST;

/* The bits are those of the same properties, and the caps say the same. */
GST_START_TEST (test_frames_of_a_model_file_are_those_of_its_properties)
{
  gchar *path = write_model (OF_NEMO), *properties = g_strdup_printf ("model-file=%s", path);
  gint16 *samples = make_noise (4000);
  GArray *got = run_s16 (properties, samples, 4000);
  GArray *expected = run_s16 ("style=nemo bins=128 frame-length=20 fft-size=1024 high-frequency=-400 "
                              "window-function=hamming hop-length=16",
                              samples, 4000);

  fail_unless_same_bits (got, expected);
  g_array_unref (got);
  g_array_unref (expected);
  g_free (samples);
  g_free (properties);
  g_free (path);
}
GST_END_TEST;

static const struct {
  const gchar *metadata, *properties;
  gint rate;
  const gchar *message;
} disagreements[] = {
  { OF_NEMO, "", 44100,
    "was trained on audio with sample-rate=16000, but this audio has 44100: put audioresample in front" },
  { OF_NEMO, "style=whisper", RATE, "was trained on style=nemo, but the properties make style=whisper" },
  { OF_NEMO, "bins=80", RATE, "was trained on bins=128, but the properties make bins=80" },
  { OF_NEMO, "fft-size=512", RATE, "was trained on fft-size=1024, but the properties make fft-size=512" },
  { OF_NEMO, "high-frequency=8000", RATE,
    "was trained on high-frequency=-400, but the properties make high-frequency=8000" },
  { OF_NEMO, "hop-length=10", RATE, "was trained on frame-rate=125/2, but the properties make frame-rate=100" },
  { "'style':'whisper','log-maximum':'1.5'", "log-maximum=0", RATE,
    "was trained on log-maximum=1.5, but the properties make log-maximum=0" },
  { "'style':'kaldi','hop-length':'10','frame-rate':'50'", "", RATE,
    "was trained on frame-rate=50, but the properties make frame-rate=100" },
};

GST_START_TEST (test_what_disagrees_with_the_model_file_is_refused)
{
  gchar *path = write_model (disagreements[__i__].metadata);
  gchar *properties = g_strdup_printf ("model-file=%s %s", path, disagreements[__i__].properties);

  fail_unless_rate_refused (properties, disagreements[__i__].rate, disagreements[__i__].message);
  g_free (properties);
  g_free (path);
}
GST_END_TEST;

static void
fail_unless_model_refused (const gchar *path, const gchar *message)
{
  GstElement *element = gst_element_factory_make ("logmel", NULL);

  g_object_set (element, "model-file", path, NULL);
  fail_unless_start_refused (element, message);
}

GST_START_TEST (test_model_file_that_tells_no_features_is_an_error_at_start)
{
  const gchar *metadata[] = { "'bins':'80'",
                              "'style':'mfcc'",
                              "'style':'kaldi','bins':'many'",
                              "'style':'kaldi','bins':'0'",
                              "'style':'nemo','sample-rate':'0'",
                              "'style':'nemo','frame-rate':'0/1'" };
  const gchar *messages[] = { "no entry \"style\"",          "trained on style=mfcc, which logmel does not know",
                              "trained on bins=many, which", "trained on bins=0, which",
                              "sample-rate=0, which",        "frame-rate=0/1, which" };
  gchar *path = write_model (metadata[__i__]);

  fail_unless_model_refused (path, messages[__i__]);
  g_free (path);
  fail_unless_model_refused ("no-such-file.safetensors", "no-such-file.safetensors");
}
GST_END_TEST;

/* A frame rate that is not a finite decimal must not lose a sample of the hop. */
GST_START_TEST (test_frame_rate_of_the_model_file_gives_whole_hops)
{
  gchar *path = write_model ("'style':'kaldi','sample-rate':'8000','frame-rate':'400/3'");
  gchar *properties = g_strdup_printf ("model-file=%s", path);

  fail_unless_src_caps (properties, 8000, "other/tensors, framerate=400/3", NULL);
  g_free (properties);
  g_free (path);
}
GST_END_TEST;

/* --- caps --- */

#define CHANNELS_80 \
  "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=80, channel-mask=(bitmask)0"

GST_START_TEST (test_frames_are_channels_at_the_frame_rate)
{
  const gint rates[] = { 8000, 16000, 44100, 48000, 96000 };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (rates); i++)
    fail_unless_src_caps ("", rates[i], CHANNELS_80, NULL);
  fail_unless_src_caps ("bins=2 hop-length=20", 16000,
                        "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=50, channels=2", NULL);
}
GST_END_TEST;

GST_START_TEST (test_frame_rate_that_is_no_whole_number_leaves_as_tensors)
{
  fail_unless_src_caps ("", 11025,
                        "other/tensors, format=static, num_tensors=1, types=float32, dimensions=(string)80:1:1:1, "
                        "framerate=2205/22",
                        "bins=80, style=kaldi, frame-length=25.0, hop-length=10.0, fft-size=512, low-frequency=20.0, "
                        "high-frequency=5512.5, window-function=povey, mel-scale=htk, log-maximum=0.0");
}
GST_END_TEST;

/* The values in use, not their names in the properties. */
GST_START_TEST (test_caps_say_what_the_frames_are_made_from)
{
  fail_unless_src_caps ("", 16000, CHANNELS_80,
                        "bins=80, style=kaldi, frame-length=25.0, hop-length=10.0, fft-size=512, low-frequency=20.0, "
                        "high-frequency=8000.0, window-function=povey, mel-scale=htk, log-maximum=0.0");
  fail_unless_src_caps ("style=whisper", 16000, CHANNELS_80,
                        "bins=80, style=whisper, frame-length=25.0, hop-length=10.0, fft-size=400, low-frequency=0.0, "
                        "high-frequency=8000.0, window-function=hann, mel-scale=slaney, log-maximum=0.0");
  fail_unless_src_caps ("style=whisper log-maximum=1.5", 16000, CHANNELS_80,
                        "bins=80, style=whisper, frame-length=25.0, hop-length=10.0, fft-size=400, low-frequency=0.0, "
                        "high-frequency=8000.0, window-function=hann, mel-scale=slaney, log-maximum=1.5");
  fail_unless_src_caps ("style=nemo", 16000, CHANNELS_80,
                        "bins=80, style=nemo, frame-length=25.0, hop-length=10.0, fft-size=512, low-frequency=0.0, "
                        "high-frequency=8000.0, window-function=hann, mel-scale=slaney, log-maximum=0.0");
  fail_unless_src_caps ("frame-length=32 fft-size=1024 low-frequency=64 high-frequency=-400 window-function=hamming "
                        "mel-scale=slaney",
                        16000, CHANNELS_80,
                        "bins=80, style=kaldi, frame-length=32.0, hop-length=10.0, fft-size=1024, low-frequency=64.0, "
                        "high-frequency=7600.0, window-function=hamming, mel-scale=slaney, log-maximum=0.0");
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
  free_pipeline (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_stereo_is_refused_with_a_way_out)
{
  fail_unless_refused ("", audio_caps (GST_AUDIO_NE (S16), RATE, 2),
                       "the caps have 2 channels, expected 1: logmel takes mono, put audioconvert in front");
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

/* Both points are on its edges, where its weight is 0, however they are rounded. */
GST_START_TEST (test_bin_between_neighbouring_fft_points_is_refused)
{
  gchar *properties = g_strdup_printf ("style=whisper mel-scale=htk bins=1 frame-length=4 fft-size=16 low-frequency=%g "
                                       "high-frequency=%g",
                                       __i__ * 62.5, (__i__ + 1) * 62.5);

  fail_unless_rate_refused (properties, 1000, "would always be empty");
  g_free (properties);
}
GST_END_TEST;

GST_START_TEST (test_bin_without_an_fft_point_is_refused)
{
  fail_unless_rate_refused ("bins=128", 8000, "bin 4 of 0 to 127 (63.1 to 85.6 Hz) would always be empty");
  fail_unless_rate_refused ("bins=128", 8000, "256-point FFT, which are 31.25 Hz apart at 8000 Hz");
  fail_unless_rate_refused ("bins=65536", RATE, "bin 0 of 0 to 65535");
  fail_unless_src_caps ("bins=128 fft-size=1024", 8000,
                        "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=128, "
                                                                  "channel-mask=(bitmask)0",
                        NULL);
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

GST_START_TEST (test_maximum_of_another_style_is_refused)
{
  fail_unless_rate_refused ("log-maximum=1.5", RATE, "log-maximum 1.5 is for style=whisper, but the style is kaldi");
  fail_unless_rate_refused ("log-maximum=-1 style=nemo", RATE,
                            "log-maximum -1 is for style=whisper, but the style is nemo");
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
  fail_unless_not_negotiated (&fixture, "downstream refuses frames of 40 bins at 100 Hz");
  fixture_free (&fixture);
}
GST_END_TEST;

GST_START_TEST (test_identical_caps_and_segments_change_nothing)
{
  gint16 *samples = make_noise (1600);
  GArray *expected = run_s16 (styles[__i__], samples, 1600);
  Fixture fixture = fixture_new_s16 (styles[__i__]);

  push_s16 (&fixture, samples, 700, 0);
  push_caps (&fixture, audio_caps (GST_AUDIO_NE (S16), RATE, 1));
  push_segment (fixture.h, 0);
  fail_unless (gst_harness_push_upstream_event (fixture.h, gst_event_new_reconfigure ()));
  push_s16 (&fixture, samples + 700, 900, GST_CLOCK_TIME_NONE);
  push_eos (&fixture);
  check_frames (&fixture, expected);
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

static Suite *
logmel_caps_suite (void)
{
  Suite *suite = suite_create ("logmel-caps");
  TCase *tc = tcase_create ("general");
  const guint n_styles = G_N_ELEMENTS (styles);

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_unset_properties_follow_the_style);
  tcase_add_loop_test (tc, test_set_properties_win_over_the_style_in_any_order, 0, 3);
  tcase_add_test (tc, test_order_of_properties_does_not_change_a_bit);

  tcase_add_loop_test (tc, test_properties_follow_the_model_file_in_any_order, 0, 2);
  tcase_add_test (tc, test_frames_of_a_model_file_are_those_of_its_properties);
  tcase_add_loop_test (tc, test_what_disagrees_with_the_model_file_is_refused, 0, G_N_ELEMENTS (disagreements));
  tcase_add_loop_test (tc, test_model_file_that_tells_no_features_is_an_error_at_start, 0, 6);
  tcase_add_test (tc, test_frame_rate_of_the_model_file_gives_whole_hops);

  tcase_add_test (tc, test_frames_are_channels_at_the_frame_rate);
  tcase_add_test (tc, test_frame_rate_that_is_no_whole_number_leaves_as_tensors);
  tcase_add_test (tc, test_caps_say_what_the_frames_are_made_from);
  tcase_add_test (tc, test_audioconvert_in_front_mixes_to_mono);
  tcase_add_test (tc, test_stereo_is_refused_with_a_way_out);
  tcase_add_test (tc, test_other_formats_are_refused_by_name);
  tcase_add_test (tc, test_fft_smaller_than_the_frame_is_refused);
  tcase_add_loop_test (tc, test_bin_between_neighbouring_fft_points_is_refused, 0, 8);
  tcase_add_test (tc, test_bin_without_an_fft_point_is_refused);
  tcase_add_test (tc, test_frequencies_out_of_range_are_refused);
  tcase_add_test (tc, test_maximum_of_another_style_is_refused);
  tcase_add_test (tc, test_lengths_out_of_range_are_refused);
  tcase_add_test (tc, test_refusal_of_tensors_names_the_rate);
  tcase_add_test (tc, test_refusal_of_bins_names_them);
  tcase_add_loop_test (tc, test_identical_caps_and_segments_change_nothing, 0, n_styles);
  tcase_add_test (tc, test_changed_caps_end_the_audio_and_begin_anew);
  return suite;
}

GST_CHECK_MAIN (logmel_caps);
