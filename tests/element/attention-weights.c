/*
 * The element `attention`: the output of its pad `weights`. Weights are checked against attn_forward (), which is
 * checked in tests/core.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "weightscheck.h"

#include <math.h>

#define TENSOR_CAPS                                                                   \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, " \
  "dimensions=(string)6:4:1:1, framerate=(fraction)100/1"

/* ---- helpers ---- */

/* ---- numbers and framing ---- */

GST_START_TEST (test_weights_are_those_of_the_core)
{
  const guint pieces[] = { 1, 3, 7, 16, N };
  Expected expected;
  guint i;

  expect (NULL, &expected);
  for (i = 0; i < G_N_ELEMENTS (pieces); i++) {
    Both both = start ();

    push_in_pieces (both.h, 0, N, pieces[i]);
    gst_harness_push_event (both.h, gst_event_new_eos ());
    check_values (both.h, expected.out, N * D);
    check_values (both.w, expected.weights, N * N_WEIGHTS);
    stop (both);
  }
}
GST_END_TEST;

GST_START_TEST (test_weights_have_the_times_of_src)
{
  Both both = start ();
  guint n = 0;
  GstBuffer *out, *weights, *last;

  push_in_pieces (both.h, 0, N - 5, 7);
  last = frames_buffer (frames, D, N - 5, 5);
  GST_BUFFER_FLAG_SET (last, GST_BUFFER_FLAG_MARKER | GST_BUFFER_FLAG_GAP);
  gst_harness_push (both.h, last);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  while ((out = gst_harness_try_pull (both.h))) {
    weights = gst_harness_try_pull (both.w);
    fail_unless (weights != NULL);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (weights), n * FRAME_TIME);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (weights), GST_BUFFER_PTS (out));
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (weights), GST_BUFFER_DURATION (out));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (weights), GST_BUFFER_OFFSET (out));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (weights), GST_BUFFER_OFFSET_END (out));
    fail_unless_equals_int (GST_BUFFER_FLAGS (weights), GST_BUFFER_FLAGS (out));
    n += gst_buffer_get_size (weights) / (N_WEIGHTS * sizeof (gfloat));
    gst_buffer_unref (out);
    gst_buffer_unref (weights);
  }
  fail_unless_equals_int (n, N);
  fail_unless (gst_harness_try_pull (both.w) == NULL);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_absent_frames_have_no_weight)
{
  guint8 present[N];
  Expected expected;
  Both both = start ();
  GstBuffer *gap = frames_buffer (frames, D, 10, 4);
  gsize n;
  gfloat *got;

  memset (present, 1, N);
  memset (present + 10, 0, 8);
  expect (present, &expected);
  push (both.h, 0, 10);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  gst_harness_push (both.h, gap);
  gst_harness_push_event (both.h, gst_event_new_gap (14 * FRAME_TIME, 4 * FRAME_TIME));
  push (both.h, 18, N - 18);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  /* the frames of the gap event have no buffer */
  got = pull_all (both.w, &n);
  fail_unless_equals_uint64 (n, (N - 4) * N_WEIGHTS);
  fail_unless (memcmp (got, expected.weights, 14 * N_WEIGHTS * sizeof (gfloat)) == 0);
  fail_unless (memcmp (got + 14 * N_WEIGHTS, expected.weights + 18 * N_WEIGHTS, (N - 18) * N_WEIGHTS * sizeof (gfloat))
               == 0);
  g_free (got);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_silenced_head_keeps_its_weights)
{
  gchar *gain = subject_gain (1);
  Expected expected;
  Both both = start ();

  expect (NULL, &expected);
  gst_child_proxy_set (GST_CHILD_PROXY (both.h->element), gain, 0.0f, NULL);
  g_free (gain);
  push_in_pieces (both.h, 0, N, 8);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  stop (both);
}
GST_END_TEST;

/* ---- every scheme ---- */

typedef struct {
  const gchar *file, *position; /* of golden data, without .safetensors; NULL: parameter-free */
  guint n_features, n_heads, n_kv_heads, window, look_ahead, n_sinks;
  const gchar *rope_layout;
  guint rope_dimensions;
} Scheme;

static const Scheme schemes[] = {
  { NULL, "none", 6, 1, 0, 5, 0, 0 },
  { NULL, "rope", 24, 3, 0, 7, 2, 3, "interleaved", 6 },
  { NULL, "alibi", 12, 4, 0, 9, 3, 2 },
  { "grouped", "none", 16, 4, 2, 11, 4, 3 },
  { "rope-grouped", "rope", 24, 6, 2, 18, 4, 5, "interleaved", 8 },
  { "alibi-grouped", "alibi", 18, 6, 3, 12, 2, 20 },
  { "relative-grouped", "relative", 16, 4, 2, 9, 5, 4 },
};

static gchar *
golden_model (const Scheme *scheme)
{
  return scheme->file != NULL ? g_strdup_printf (GOLDEN_DIR "/attention/%s.safetensors", scheme->file) : NULL;
}

static AttnLayer *
layer_of (const Scheme *scheme)
{
  const gchar *const positions[] = { "none", "rope", "alibi", "relative" };
  AttnConfig config = attn_config_default ();
  gchar *path = golden_model (scheme);
  AttnModel *model = NULL;
  AttnLayer *layer;

  config.n_features = scheme->n_features;
  config.n_heads = scheme->n_heads;
  config.n_kv_heads = scheme->n_kv_heads;
  config.window = scheme->window;
  config.look_ahead = scheme->look_ahead;
  config.n_sinks = scheme->n_sinks;
  config.position = ATTN_POSITION_NONE;
  while (strcmp (positions[config.position], scheme->position) != 0)
    config.position++;
  config.rope_layout = scheme->rope_layout != NULL ? ATTN_ROPE_INTERLEAVED : ATTN_ROPE_HALF;
  config.rope_dimensions = scheme->rope_dimensions;
  if (path != NULL)
    g_assert (attn_model_open (path, "attn.", &model, NULL) == ATTN_OK);
  g_assert (attn_layer_new (&config, model, &layer, NULL) == ATTN_OK);
  attn_model_free (model);
  g_free (path);
  return layer;
}

static GstElement *
element_of (const Scheme *scheme)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  gchar *path = golden_model (scheme);

  g_object_set (element, "heads", scheme->n_heads, "kv-heads", scheme->n_kv_heads, "window", scheme->window,
                "look-ahead", scheme->look_ahead, "sinks", scheme->n_sinks, "rope-dimensions", scheme->rope_dimensions,
                "model-file", path, "model-prefix", path != NULL ? "attn." : "", NULL);
  gst_util_set_object_arg (G_OBJECT (element), "position", scheme->position);
  gst_util_set_object_arg (G_OBJECT (element), "rope-layout", scheme->rope_layout ? scheme->rope_layout : "half");
  g_free (path);
  return element;
}

/* Each row adds up to 1, or to 0 if there was nothing to attend to: `span` roundings of float32 at most. */
static void
check_sums (const gfloat *weights, gsize n_rows, guint span)
{
  gsize row;
  guint i;

  for (row = 0; row < n_rows; row++) {
    gdouble sum = 0;

    for (i = 0; i < span; i++)
      sum += weights[row * span + i];
    fail_unless (sum == 0 || fabs (sum - 1) <= span * 0x1p-24, "row %" G_GSIZE_FORMAT " adds up to %.9g", row, sum);
  }
}

#define SCHEME_FRAMES 60

/* Through the element, 7 frames at a time; frames 21 to 27, and 35, are absent. */
static GstHarness *
run_scheme (GstElement *element, const Scheme *scheme, const gfloat *in, const guint8 *present, GstHarness **w)
{
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)%u",
      scheme->n_features);
  guint i, n;

  *w = gst_harness_new_with_element (element, NULL, "weights");
  gst_harness_set_src_caps_str (h, caps);
  for (i = 0; i < SCHEME_FRAMES; i += n) {
    gsize size;
    GstBuffer *buffer;

    n = i == 35 ? 1 : MIN (i < 35 ? 7 : 8, SCHEME_FRAMES - i);
    size = n * scheme->n_features * sizeof (gfloat);
    buffer = gst_buffer_new_memdup (in + i * scheme->n_features, size);
    GST_BUFFER_PTS (buffer) = i * FRAME_TIME;
    if (!present[i])
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  g_free (caps);
  return h;
}

GST_START_TEST (test_weights_of_every_scheme_are_those_of_the_core)
{
  const Scheme *scheme = &schemes[__i__];
  AttnLayer *layer = layer_of (scheme);
  guint span = attn_layer_span (layer);
  gsize n = (gsize) SCHEME_FRAMES * scheme->n_heads * span, i;
  gfloat *weights = g_new (gfloat, n), *out = g_new (gfloat, SCHEME_FRAMES * attn_layer_n_outputs (layer));
  gfloat *in = g_new (gfloat, SCHEME_FRAMES * scheme->n_features);
  guint8 present[SCHEME_FRAMES];
  GstElement *element = element_of (scheme);
  GstHarness *h, *w;

  memset (present, 1, sizeof present);
  memset (present + 21, 0, 7);
  present[35] = 0;
  for (i = 0; i < SCHEME_FRAMES * scheme->n_features; i++)
    in[i] = g_random_double_range (-2, 2);
  g_assert (attn_forward (layer, in, present, SCHEME_FRAMES, 0, out, weights, NULL) == ATTN_OK);
  h = run_scheme (element, scheme, in, present, &w);
  check_values (h, out, SCHEME_FRAMES * attn_layer_n_outputs (layer));
  check_values (w, weights, n);
  check_sums (weights, (gsize) SCHEME_FRAMES * scheme->n_heads, span);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_object_unref (element);
  attn_layer_free (layer);
  g_free (in);
  g_free (out);
  g_free (weights);
}
GST_END_TEST;

/* ---- events and caps ---- */

GST_START_TEST (test_caps_tell_what_a_row_of_weights_is)
{
  Both both = start ();
  GstCaps *caps, *expected;

  push (both.h, 0, 8);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  expected = gst_caps_from_string ("audio/x-raw, format=(string)" GST_AUDIO_NE (
      F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)20, "
           "channel-mask=(bitmask)0, heads=(int)2, sinks=(int)2, window=(int)5, look-ahead=(int)3");
  fail_unless (gst_caps_is_equal (caps, expected), "%" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (expected);
  stop (both);
}
GST_END_TEST;

/* The channel mask of the input would name channels that the weights do not have. */
GST_START_TEST (test_one_or_two_weights_have_no_channel_mask)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstHarness *w = gst_harness_new_with_element (element, NULL, "weights");
  GstStructure *structure;
  gint channels;
  GstCaps *caps;

  g_object_set (element, "window", 2, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS ", channel-mask=(bitmask)0");
  push (h, 0, 8);
  caps = gst_pad_get_current_caps (w->sinkpad);
  structure = gst_caps_get_structure (caps, 0);
  fail_unless (gst_structure_get_int (structure, "channels", &channels) && channels == 2);
  fail_if (gst_structure_has_field (structure, "channel-mask"));
  gst_caps_unref (caps);
  gst_object_unref (element);
  stop ((Both){ h, w });
}
GST_END_TEST;

GST_START_TEST (test_refused_caps_are_none_of_the_weights)
{
  Both both = start_with_caps ("audio/x-raw, format=(string)" GST_AUDIO_NE (
      F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)5"); /* two heads do not divide them */

  fail_unless_equals_int (gst_harness_push (both.h, gst_buffer_new_allocate (NULL, 5 * sizeof (gfloat), NULL)),
                          GST_FLOW_NOT_NEGOTIATED);
  fail_if (gst_pad_has_current_caps (both.w->sinkpad));
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, 10);
  fail_unless_equals_int (gst_harness_buffers_in_queue (both.h), gst_harness_buffers_in_queue (both.w));
  gst_harness_push_event (both.h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (both.w), 1);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_weights_of_tensors_are_tensors)
{
  Both both = start_with_caps (TENSOR_CAPS);
  Expected expected;
  GstCaps *caps;
  gchar *text;

  expect (NULL, &expected);
  push_in_pieces (both.h, 0, N, 4);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  text = gst_caps_to_string (caps);
  fail_unless (g_str_has_prefix (text, "other/tensors"));
  fail_unless (strstr (text, "dimensions=(string)20:4:1:1") != NULL, "%s", text);
  fail_unless (strstr (text, "window=(int)5") != NULL, "%s", text);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  g_free (text);
  gst_caps_unref (caps);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_weights_have_a_stream_of_their_own)
{
  Both both = start ();
  gchar *src, *weights, *expected;

  push (both.h, 0, 8);
  src = gst_pad_get_stream_id (both.h->sinkpad);
  weights = gst_pad_get_stream_id (both.w->sinkpad);
  expected = g_strconcat (src, "/", subject_weights (), NULL);
  fail_unless_equals_string (weights, expected);
  g_free (src);
  g_free (weights);
  g_free (expected);
  stop (both);
}
GST_END_TEST;

/* Everything that leaves `src`, in the same order: events as their types, buffers as 0. */
static GArray *sequence_src, *sequence_weights;

static GstPadProbeReturn
note (GstPad *pad, GstPadProbeInfo *info, gpointer sequence)
{
  gint type = info->type & GST_PAD_PROBE_TYPE_BUFFER ? 0 : (gint) GST_EVENT_TYPE (info->data);

  g_array_append_val ((GArray *) sequence, type);
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_events_keep_their_places_on_both_pads)
{
  const GstPadProbeType types =
      GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM | GST_PAD_PROBE_TYPE_EVENT_FLUSH;
  Both both = start ();

  sequence_src = g_array_new (FALSE, FALSE, sizeof (gint));
  sequence_weights = g_array_new (FALSE, FALSE, sizeof (gint));
  push_in_pieces (both.h, 0, 8, 2); /* the pads have begun */
  gst_pad_add_probe (both.h->sinkpad, types, note, sequence_src, NULL);
  gst_pad_add_probe (both.w->sinkpad, types, note, sequence_weights, NULL);
  gst_harness_push_event (both.h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  push_in_pieces (both.h, 8, 20, 2);
  gst_harness_push_event (both.h, gst_event_new_gap (20 * FRAME_TIME, FRAME_TIME));
  gst_harness_push_event (both.h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("x")));
  push_in_pieces (both.h, 21, N, 5);
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS ", channel-mask=(bitmask)0");
  push_in_pieces (both.h, 0, 9, 3);
  push_flush (both.h);
  push_segment (both.h, 0);
  push_in_pieces (both.h, 0, 9, 3);
  gst_harness_push_event (both.h, gst_event_new_eos ());

  fail_unless (sequence_src->len > 20);
  fail_unless_equals_int (sequence_src->len, sequence_weights->len);
  fail_unless (memcmp (sequence_src->data, sequence_weights->data, sequence_src->len * sizeof (gint)) == 0);
  fail_unless_equals_int (g_array_index (sequence_weights, gint, sequence_weights->len - 1), GST_EVENT_EOS);
  g_array_unref (sequence_src);
  g_array_unref (sequence_weights);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_other_layer_gives_other_weights_caps)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  Both both = { gst_harness_new_with_element (element, "sink", "src"), NULL };
  GstCaps *caps;
  gint value;

  both.w = gst_harness_new_with_element (element, NULL, "weights");
  g_object_set (element, "window", 3, NULL);
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, 2);
  g_object_set (element, "window", 9, NULL); /* for the next layer */
  gst_harness_set_src_caps_str (both.h, "audio/x-raw, format=(string)" GST_AUDIO_NE (
                                            F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)12");
  push (both.h, 0, 2);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, 0), "window", &value));
  fail_unless_equals_int (value, 9);
  gst_caps_unref (caps);
  gst_object_unref (element);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_both_pads_have_one_latency)
{
  Both both = start ();
  GstClockTime src, weights;

  push (both.h, 0, 2);
  src = gst_harness_query_latency (both.h);
  weights = gst_harness_query_latency (both.w);
  fail_unless_equals_uint64 (src, 4 * FRAME_TIME);
  fail_unless_equals_uint64 (weights, src);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_qos_of_weights_stays_there)
{
  Both both = start ();

  push (both.h, 0, 2);
  gst_harness_push_upstream_event (both.w, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2.0, GST_SECOND, 0));
  gst_harness_push_upstream_event (both.w, gst_event_new_reconfigure ());
  fail_unless (pull_event (both.h, GST_EVENT_QOS) == NULL);
  while (gst_harness_upstream_events_received (both.h) > 0) {
    GstEvent *event = gst_harness_pull_upstream_event (both.h);

    fail_if (GST_EVENT_TYPE (event) == GST_EVENT_QOS);
    gst_event_unref (event);
    if (gst_harness_upstream_events_in_queue (both.h) == 0)
      break;
  }
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_reconfiguring_weights_reconfigures_nothing_else)
{
  Both both = start ();
  guint before;

  push (both.h, 0, 2);
  before = gst_harness_upstream_events_received (both.h);
  gst_harness_push_upstream_event (both.w, gst_event_new_reconfigure ());
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_seek_on_weights_goes_upstream_unless_backwards)
{
  Both both = start ();
  guint before;

  push (both.h, 0, 2);
  before = gst_harness_upstream_events_received (both.h);
  gst_harness_push_upstream_event (both.w, gst_event_new_seek (1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_NONE,
                                                               GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, 0));
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before + 1);
  fail_if (
      gst_pad_push_event (both.w->sinkpad, gst_event_new_seek (-1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_NONE,
                                                               GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, GST_SECOND)));
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before + 1);
  stop (both);
}
GST_END_TEST;

/* ---- limits ---- */

GST_START_TEST (test_more_weights_than_a_frame_may_have_are_refused)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  GstBus *bus = attach_bus (element);
  GstMessage *message;
  GError *error;

  w = gst_harness_new_with_element (element, NULL, "weights");
  g_object_set (element, "heads", 2, "window", 40000, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, 0, 1)), GST_FLOW_ERROR);
  message = pop_message (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "2 heads that attend to 40000 frames have 80000 weights") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_harness_teardown (w); /* without the pad it goes on */
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, 0, 1)), GST_FLOW_OK);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_weights_suite (void)
{
  Suite *suite = suite_create ("attention-weights");
  TCase *pad = tcase_create ("pad");

  suite_add_tcase (suite, pad);
  tcase_add_checked_fixture (pad, setup, NULL);
  tcase_add_test (pad, test_weights_are_those_of_the_core);
  tcase_add_test (pad, test_weights_have_the_times_of_src);
  tcase_add_test (pad, test_absent_frames_have_no_weight);
  tcase_add_test (pad, test_silenced_head_keeps_its_weights);
  tcase_add_test (pad, test_caps_tell_what_a_row_of_weights_is);
  tcase_add_test (pad, test_refused_caps_are_none_of_the_weights);
  tcase_add_test (pad, test_weights_of_tensors_are_tensors);
  tcase_add_test (pad, test_weights_have_a_stream_of_their_own);
  tcase_add_test (pad, test_events_keep_their_places_on_both_pads);
  tcase_add_test (pad, test_both_pads_have_one_latency);
  tcase_add_test (pad, test_qos_of_weights_stays_there);
  tcase_add_test (pad, test_reconfiguring_weights_reconfigures_nothing_else);
  tcase_add_test (pad, test_seek_on_weights_goes_upstream_unless_backwards);
  if (!subject_is_encoder ()) { /* whose layers are those of its file */
    tcase_add_loop_test (pad, test_weights_of_every_scheme_are_those_of_the_core, 0, G_N_ELEMENTS (schemes));
    tcase_add_test (pad, test_one_or_two_weights_have_no_channel_mask);
    tcase_add_test (pad, test_other_layer_gives_other_weights_caps);
    tcase_add_test (pad, test_more_weights_than_a_frame_may_have_are_refused);
  }
  return suite;
}

GST_CHECK_MAIN (attention_weights);
