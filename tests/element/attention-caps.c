/*
 * The element `attention`: the caps, buffers and models that it accepts, and its errors about others.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"

/* ---- helpers ---- */

/* `caps` are refused, with a message that contains each of the words. */
static void
check_refused_caps (guint heads, const gchar *caps, const gchar *a, const gchar *b)
{
  AttnConfig config = configuration (heads, 64, 0);
  GstHarness *h = subject_harness (&config);
  GstBus *bus = attach_bus (h->element);
  gfloat frame[64] = { 0 };
  gchar *text;

  gst_harness_set_src_caps_str (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_NOT_NEGOTIATED);
  text = pop_error (bus);
  fail_unless (strstr (text, a) != NULL && strstr (text, b) != NULL, "\"%s\" does not name %s and %s", text, a, b);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}

/* The element refuses AUDIO_CAPS because of its four heads, or because its file takes eight features. */
static GstHarness *
refusing_harness (void)
{
  AttnConfig config = configuration (4, 64, 0);

  config.n_features = 8;
  return subject_harness (&config);
}

static const gchar *
refusal (void)
{
  return subject_is_encoder () ? "the stream has 6" : "6 features";
}

/* ---- caps ---- */

GST_START_TEST (test_tensors_give_the_same_bits_and_keep_their_caps)
{
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (20, D), *expected = expect (&config, frames, NULL, 20);
  GstHarness *h = harness_new (&config, TENSOR_CAPS "dimensions=(string)6:5");
  GstCaps *caps;
  guint i;

  for (i = 0; i < 20; i += 5)
    push_frames (h, frames, i, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless_equals_string (gst_structure_get_string (gst_caps_get_structure (caps, 0), "dimensions"), "6:5");
  gst_caps_unref (caps);
  check_output (h, expected, 20);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_features_that_heads_do_not_divide_are_refused)
{
  check_refused_caps (4, AUDIO_CAPS, "6 features", "4 heads");
  check_refused_caps (4, AUDIO_CAPS, "heads=1", "pad the frames to 8 features");
}
GST_END_TEST;

GST_START_TEST (test_integer_samples_are_refused)
{
  AttnConfig config = configuration (1, 64, 0);
  GstHarness *h = subject_harness (&config);
  GstPad *sink = gst_element_get_static_pad (h->element, "sink");
  GstCaps *caps = gst_caps_from_string ("audio/x-raw, format=S16LE, layout=interleaved, rate=100, channels=6");

  fail_if (gst_pad_query_accept_caps (sink, caps));
  gst_caps_unref (caps);
  gst_object_unref (sink);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_integer_tensors_are_refused)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)int16, "
                      "framerate=(fraction)100/1, dimensions=(string)6:1",
                      "types=int16", "float32");
}
GST_END_TEST;

/* gst-launch reads dimensions=80:1 as flags; such caps are not fixed, and show only while they are negotiated. */
GST_START_TEST (test_untyped_dimensions_are_explained)
{
  GstElement *pipeline =
      gst_parse_launch ("fakesrc sizetype=fixed sizemax=320 num-buffers=1 ! other/tensors,format=static,"
                        "num_tensors=1,types=float32,dimensions=80:1,framerate=100/1 ! attention ! fakesink",
                        NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "flags") != NULL && strstr (error->message, "(string)80:1:1:1") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_dimensions_as_fixed_flags_are_explained)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                      "framerate=(fraction)100/1, dimensions=80:ffffffff",
                      "flags", "(string)80:1:1:1");
}
GST_END_TEST;

/* Upstream sends sticky events again with every buffer. */
GST_START_TEST (test_refused_caps_are_reported_once)
{
  GstHarness *h = refusing_harness ();
  GstBus *bus = attach_bus (h->element);
  guint i;

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (i = 0; i < 3; i++)
    gst_harness_push (h, gst_buffer_new_allocate (NULL, 24, NULL));
  g_free (pop_error (bus));
  check_text (pop_error (bus), NULL);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* After correct caps, and after a restart. */
GST_START_TEST (test_refused_caps_are_reported_when_they_come_anew)
{
  GstHarness *h = refusing_harness ();
  GstBus *bus = attach_bus (h->element);
  gfloat frame[8] = { 0 };
  GstSegment segment;
  gchar *text;
  guint i;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  for (i = 0; i < 3; i++) {
    gst_harness_push_event (h, gst_event_new_stream_start ("anew"));
    gst_harness_set_src_caps_str (h, AUDIO_CAPS);
    gst_harness_push_event (h, gst_event_new_segment (&segment));
    fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, 24)), GST_FLOW_NOT_NEGOTIATED);
    text = pop_error (bus);
    fail_unless (strstr (text, refusal ()) != NULL, "%u: %s", i, text);
    g_free (text);
    if (i == 0) {
      gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)8:1");
      fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_OK);
    } else {
      gst_element_set_state (h->element, GST_STATE_NULL);
      gst_element_set_state (h->element, GST_STATE_PLAYING);
    }
  }
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* NNStreamer's converter first sends provisional caps, with a segment behind them. */
GST_START_TEST (test_caps_that_are_taken_back_before_a_buffer_are_no_error)
{
  static const gchar *provisional[] = {
    "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)uint8, framerate=(fraction)100/1, "
    "dimensions=(string)1",
    TENSOR_CAPS "dimensions=(string)1:1:1:1", /* which two heads do not divide */
  };
  AttnConfig config = configuration (2, 8, 0);
  GstHarness *h = harness_new (&config, NULL);
  GstBus *bus = attach_bus (h->element);
  gfloat *frames = make_frames (8, D), *expected = expect (&config, frames, NULL, 8);
  GstCaps *caps = gst_caps_from_string (provisional[__i__]);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_stream_start ("provisional"));
  gst_harness_push_event (h, gst_event_new_caps (caps));
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)6:8:1:1");
  push_frames (h, frames, 0, 8);
  check_output (h, expected, 8);
  check_text (pop_error (bus), NULL);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  gst_caps_unref (caps);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

GST_START_TEST (test_several_tensors_are_refused_in_a_sentence)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)2, types=(string)\"float32,float32\", "
                      "framerate=(fraction)100/1, dimensions=(string)\"6:1,6:1\"",
                      "num_tensors=2, expected 1", "tensor_demux");
}
GST_END_TEST;

GST_START_TEST (test_refused_caps_are_reported_at_the_end_of_a_stream_without_buffers)
{
  GstHarness *h = refusing_harness ();
  GstBus *bus = attach_bus (h->element);

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  check_text (pop_error (bus), NULL);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_error (bus, refusal ());
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Each size with caps of its own, as npyparse sends them behind the last whole buffer. */
GST_START_TEST (test_another_number_of_frames_per_buffer_is_the_same_stream)
{
  const guint n = 16 - 3 * __i__;
  AttnConfig config = configuration (2, 8, 3);
  gfloat *frames = make_frames (50, D), *expected = expect (&config, frames, NULL, 50);
  GstHarness *h = harness_new (&config, NULL);
  GstBuffer *buffer;
  guint begin, size, i = 0;

  for (begin = 0; begin < 50; begin += size, i++) {
    gchar *caps;

    size = MIN (i % 2 == 0 ? n : 1, 50 - begin);
    caps = g_strdup_printf (TENSOR_CAPS "dimensions=(string)6:%u:1:1", size);
    gst_harness_set_src_caps_str (h, caps);
    g_free (caps);
    push_frames (h, frames, begin, size);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), i);
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_get_size (buffer), n * D * sizeof (gfloat));
  fail_unless (gst_buffer_memcmp (buffer, 0, expected, n * D * sizeof (gfloat)) == 0);
  gst_buffer_unref (buffer);
  check_output (h, expected + n * D, 50 - n);
  gst_harness_teardown (h);
  g_free (frames);
  g_free (expected);
}
GST_END_TEST;

/* A query about caps must not stop the pipeline. */
GST_START_TEST (test_caps_query_posts_no_message)
{
  AttnConfig config = configuration (1, 64, 0);
  GstHarness *h = subject_harness (&config);
  GstBus *bus = attach_bus (h->element);
  GstCaps *caps = gst_caps_from_string ("other/tensors, format=(string)static, num_tensors=(int)1, dimensions=80:1");

  gst_caps_unref (gst_pad_peer_query_caps (h->srcpad, caps));
  fail_unless (gst_bus_pop (bus) == NULL);
  gst_caps_unref (caps);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_missing_dimensions_are_refused)
{
  check_refused_caps (1, TENSOR_CAPS "x=(int)1", "no dimensions", "D:N:1:1");
}
GST_END_TEST;

GST_START_TEST (test_missing_types_are_refused)
{
  check_refused_caps (1,
                      "other/tensors, format=(string)static, num_tensors=(int)1, framerate=(fraction)100/1, "
                      "dimensions=(string)6:1",
                      "types=(none)", "float32");
}
GST_END_TEST;

GST_START_TEST (test_wild_dimensions_are_refused)
{
  static const gchar *wild[] = {
    "6:1:2", "abc", "0:1", "", "6:", "-6:1", "6:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1", "99999999999999999999:1", "65537:1"
  };
  gchar *caps = g_strdup_printf (TENSOR_CAPS "dimensions=(string)\"%s\"", wild[__i__]);

  check_refused_caps (1, caps, "dimensions", __i__ == 8 ? "65537" : wild[__i__]);
  g_free (caps);
}
GST_END_TEST;

/* 0 ends the list in newer NNStreamer. */
GST_START_TEST (test_dimensions_that_are_not_there_are_none)
{
  AttnConfig config = configuration (1, 64, 0);
  GstHarness *h = subject_harness (&config);
  gfloat *frames = make_frames (1, D);

  gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)6:0:0:0");
  push_frames (h, frames, 0, 1);
  check_output (h, frames, 1);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 2 * D * sizeof (gfloat), NULL)),
                          GST_FLOW_ERROR); /* one frame in each buffer */
  gst_harness_teardown (h);
  g_free (frames);
}
GST_END_TEST;

static void
check_refused_buffer (const gchar *caps, gsize size, const gchar *a, const gchar *b)
{
  AttnConfig config = configuration (1, 64, 0);
  GstHarness *h = subject_harness (&config);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  gst_harness_set_src_caps_str (h, caps);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, size, NULL)), GST_FLOW_ERROR);
  text = pop_error (bus);
  fail_unless (strstr (text, a) != NULL && strstr (text, b) != NULL, "\"%s\" does not name %s and %s", text, a, b);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}

GST_START_TEST (test_partial_frame_is_refused)
{
  check_refused_buffer (AUDIO_CAPS, 25, "25 bytes", "24 bytes");
}
GST_END_TEST;

GST_START_TEST (test_buffer_that_disagrees_with_dimensions_is_refused)
{
  check_refused_buffer (TENSOR_CAPS "dimensions=(string)6:5", 4 * D * sizeof (gfloat), "4 frames", "say 5");
}
GST_END_TEST;

/* ---- models ---- */

GST_START_TEST (test_missing_model_is_an_error_at_start)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstBus *bus = attach_bus (element);
  gchar *text;

  g_object_set (element, "model-file", "/nowhere/w.safetensors", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  fail_unless_error (bus, "/nowhere/w.safetensors");
  /* A prefix without tensors is refused as well. */
  g_object_set (element, "model-file", NULL, "model-prefix", "encoder.", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "\"encoder.\"") != NULL && strstr (text, "no model-file") != NULL, "%s", text);
  g_free (text);
  /* Mended, it runs. */
  g_object_set (element, "model-prefix", "", NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_model_of_other_width_is_refused)
{
  GstHarness *h = harness_with_model ("attention/four-heads", 4, 64);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  gst_harness_play (h);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_harness_push (h, gst_buffer_new_allocate (NULL, 24, NULL));
  text = pop_error (bus);
  fail_unless (strstr (text, "64 features") != NULL && strstr (text, "has 6") != NULL, "%s", text);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The error also comes in a pipeline, not only in a harness, which pushes caps without a query. */
GST_START_TEST (test_model_that_changes_the_width_says_what_it_takes)
{
  GstElement *pipeline = gst_parse_launch (
      "audiotestsrc ! audio/x-raw,channels=8 ! attention heads=2 model-prefix=attn. model-file=\"" GOLDEN_DIR
      "/attention/wider.safetensors\" ! fakesink",
      NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "takes 6 features") != NULL && strstr (error->message, "has 8") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* A source with a choice takes the model's width, and the output caps are known before anything flows. */
GST_START_TEST (test_width_of_the_model_is_negotiated)
{
  static const struct {
    const gchar *name;
    guint heads;
    gint n_features, n_outputs;
  } models[] = { { "attention/four-heads", 4, 64, 64 }, { "attention/wider", 2, 6, 10 } };
  GstHarness *h = harness_with_model (models[__i__].name, models[__i__].heads, 64);
  GstCaps *any = gst_caps_from_string ("audio/x-raw"), *taken, *fixed;
  GstStructure *structure;
  gint n;

  gst_element_set_state (h->element, GST_STATE_PLAYING);
  taken = gst_pad_peer_query_caps (h->srcpad, NULL);
  fail_unless (gst_structure_get_int (gst_caps_get_structure (taken, 0), "channels", &n));
  fail_unless_equals_int (n, models[__i__].n_features);
  fixed = gst_caps_fixate (gst_caps_intersect_full (any, taken, GST_CAPS_INTERSECT_FIRST));
  gst_harness_set_src_caps (h, gst_caps_ref (fixed));
  structure = gst_caps_get_structure (fixed, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &n) && n == models[__i__].n_features);
  gst_caps_unref (fixed);
  fixed = gst_pad_get_current_caps (h->sinkpad);
  structure = gst_caps_get_structure (fixed, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &n) && n == models[__i__].n_outputs);
  gst_caps_unref (fixed);
  gst_caps_unref (taken);
  gst_caps_unref (any);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The order of a filter is kept. */
GST_START_TEST (test_caps_come_in_the_order_of_the_filter)
{
  AttnConfig config = configuration (1, 64, 0);
  GstHarness *h = subject_harness (&config);
  GstCaps *filter = gst_caps_from_string ("other/tensors, format=static; audio/x-raw, rate=50"), *caps;
  guint n;
  gint rate;

  caps = gst_pad_peer_query_caps (h->srcpad, filter);
  n = gst_caps_get_size (caps);
  fail_unless_equals_int (n, subject_is_encoder () ? 3 : 2); /* a width is written in two ways */
  fail_unless (gst_structure_has_name (gst_caps_get_structure (caps, 0), "other/tensors"));
  fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, n - 1), "rate", &rate) && rate == 50);
  gst_caps_unref (caps);
  caps = gst_pad_peer_query_caps (h->srcpad, NULL); /* by itself audio is first */
  fail_unless (gst_structure_has_name (gst_caps_get_structure (caps, 0), "audio/x-raw"));
  gst_caps_unref (caps);
  gst_caps_unref (filter);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* It counts channels. */
GST_START_TEST (test_audio_meta_goes_where_the_width_changes)
{
  GstHarness *h = __i__ == 0 ? gst_harness_new ("attention") : harness_with_model ("attention/wider", 2, 64);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 2 * D * sizeof (gfloat), NULL);
  GstAudioInfo info;

  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_buffer_memset (buffer, 0, 0, -1);
  gst_audio_info_set_format (&info, GST_AUDIO_FORMAT_F32, RATE, D, NULL);
  gst_buffer_add_audio_meta (buffer, &info, 2, NULL);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_get_audio_meta (buffer) != NULL, __i__ == 0);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_metadata_that_disagrees_is_refused)
{
  GstHarness *h = harness_with_model ("attention/four-heads", 2, 64);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  fail_unless_equals_int (gst_element_set_state (h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "heads=4") != NULL && strstr (text, "heads is 2") != NULL, "%s", text);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_position_that_disagrees_with_the_model_is_refused)
{
  GstHarness *h = harness_with_model ("attention/relative", 2, 12);
  GstBus *bus = attach_bus (h->element);
  gchar *text;

  g_object_set (h->element, "look-ahead", 3, "position", ATTN_POSITION_NONE, NULL);
  fail_unless_equals_int (gst_element_set_state (h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "relative_bias") != NULL && strstr (text, "position is none") != NULL, "%s", text);
  g_free (text);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The properties of a single layer. */
static TCase *
models_case (void)
{
  TCase *models = tcase_create ("models");

  tcase_add_test (models, test_features_that_heads_do_not_divide_are_refused);
  tcase_add_test (models, test_missing_model_is_an_error_at_start);
  tcase_add_test (models, test_model_of_other_width_is_refused);
  tcase_add_test (models, test_model_that_changes_the_width_says_what_it_takes);
  tcase_add_loop_test (models, test_width_of_the_model_is_negotiated, 0, 2);
  tcase_add_loop_test (models, test_audio_meta_goes_where_the_width_changes, 0, 2);
  tcase_add_test (models, test_metadata_that_disagrees_is_refused);
  tcase_add_test (models, test_position_that_disagrees_with_the_model_is_refused);
  return models;
}

static Suite *
attention_caps_suite (void)
{
  Suite *suite = suite_create ("attention-caps");
  TCase *caps = tcase_create ("caps");

  suite_add_tcase (suite, caps);
  tcase_add_test (caps, test_tensors_give_the_same_bits_and_keep_their_caps);
  tcase_add_test (caps, test_integer_samples_are_refused);
  tcase_add_test (caps, test_integer_tensors_are_refused);
  tcase_add_test (caps, test_untyped_dimensions_are_explained);
  tcase_add_test (caps, test_dimensions_as_fixed_flags_are_explained);
  tcase_add_test (caps, test_refused_caps_are_reported_once);
  tcase_add_test (caps, test_refused_caps_are_reported_when_they_come_anew);
  tcase_add_loop_test (caps, test_caps_that_are_taken_back_before_a_buffer_are_no_error, 0, 2);
  tcase_add_test (caps, test_several_tensors_are_refused_in_a_sentence);
  tcase_add_test (caps, test_refused_caps_are_reported_at_the_end_of_a_stream_without_buffers);
  tcase_add_loop_test (caps, test_another_number_of_frames_per_buffer_is_the_same_stream, 0, 5);
  tcase_add_test (caps, test_caps_query_posts_no_message);
  tcase_add_test (caps, test_missing_dimensions_are_refused);
  tcase_add_test (caps, test_missing_types_are_refused);
  tcase_add_loop_test (caps, test_wild_dimensions_are_refused, 0, 9);
  tcase_add_test (caps, test_dimensions_that_are_not_there_are_none);
  tcase_add_test (caps, test_partial_frame_is_refused);
  tcase_add_test (caps, test_buffer_that_disagrees_with_dimensions_is_refused);
  tcase_add_test (caps, test_caps_come_in_the_order_of_the_filter);
  if (!subject_is_encoder ())
    suite_add_tcase (suite, models_case ());
  return suite;
}

GST_CHECK_MAIN (attention_caps);
