/*
 * The element `attentionencoder`: the outputs of encoders made with PyTorch, their times and their caps.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encodercheck.h"
#include "modelcheck.h"

/* The largest error of a layer, relative to the largest output; encoder-golden.c says why. */
#define TOLERANCE_PER_LAYER 2e-6

static const guint sizes[] = { 1, 7, 64 };

/* ---- numbers ---- */

/* With look-ahead, RoPE, ALiBi, sinks, convolutions with and without strides, more outputs than frames, or fewer. */
static const gchar *names[] = {
  "transformer-6-pre-relu-final",
  "transformer-6-post-gelu",
  "transformer-2-post-gelu-final-ahead",
  "transformer-6-pre-gelu-ahead",
  "llama",
  "alibi",
  "moonshine",
  "mimi-interleaved",
  "conformer",
  "conv-strides",
  "conv-stride-beyond-kernel",
  "conv-ahead",
  "conv-same",
  "conv-causal",
  "conv-pointwise",
  "conv-longer-than-stream",
  "longer-than-stream",
  "stack",
  "log-softmax-head",
};

static gdouble
error_against_torch (const Encoder *e)
{
  gdouble worst = 0, largest = 0;
  guint i;

  for (i = 0; i < e->n_out * e->n_outputs; i++) {
    worst = MAX (worst, fabs ((gdouble) e->expected[i] - e->by_torch[i]));
    largest = MAX (largest, fabs (e->by_torch[i]));
  }
  return worst / largest;
}

GST_START_TEST (test_outputs_are_those_of_pytorch_for_any_buffers_and_caps)
{
  Encoder *e = encoder_open (names[__i__]);
  guint size, is_tensors;

  fail_unless (error_against_torch (e) <= TOLERANCE_PER_LAYER * e->n_layers);
  for (is_tensors = 0; is_tensors <= 1; is_tensors++)
    for (size = 0; size < G_N_ELEMENTS (sizes); size++) {
      GstHarness *h = encoder_harness (e);
      Seen seen;

      watch (h, &seen, e);
      play (h, e, is_tensors, sizes[size], GAP_EVENTS, NULL);
      check_all_seen (&seen, TRUE);
      gst_harness_teardown (h);
    }
  encoder_free (e);
}
GST_END_TEST;

/* ---- framing ---- */

GST_START_TEST (test_one_buffer_out_per_buffer_in_without_a_stride)
{
  Encoder *e = encoder_open ("transformer-6-pre-gelu-ahead");
  guint i, n_ahead = attn_layer_reach_ahead (e->layer);
  GstHarness *h = encoder_harness (e);
  Seen seen;

  fail_unless (n_ahead > 0 && n_ahead < e->n);
  watch (h, &seen, e);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  for (i = 0; i < e->n; i++) {
    gst_harness_push (h, encoder_buffer (e, i, 1));
    fail_unless_equals_int (seen.n_buffers, i < n_ahead ? 0 : i + 1 - n_ahead);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (seen.n_buffers, e->n);
  check_all_seen (&seen, TRUE);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* By the law of the core: a buffer for all outputs that get ready, or for each output. */
GST_START_TEST (test_with_a_stride_a_buffer_leaves_when_outputs_get_ready)
{
  static const gchar *const encoders[] = { "conv-strides", "conv-stride-beyond-kernel", "conv-absent", "conv-ahead" };
  Encoder *e = encoder_open (encoders[__i__ / 2]);
  gboolean is_tensors = __i__ % 2 || RATE % e->stride != 0;
  GstHarness *h = encoder_harness (e);
  guint i, n_buffers = 0;
  Seen seen;

  memset (e->present, 1, e->n);
  encoder_expect (e);
  watch (h, &seen, e);
  gst_harness_set_src_caps (h, encoder_caps (e, __i__ % 2, 7));
  for (i = 0; i + 7 <= e->n; i += 7) {
    guint before = attn_layer_ready (e->layer, i), after = attn_layer_ready (e->layer, i + 7);

    gst_harness_push (h, encoder_buffer (e, i, 7));
    n_buffers += is_tensors ? after - before : after > before;
    fail_unless_equals_int (seen.n_buffers, n_buffers);
    fail_unless_equals_int (seen.n_there, after);
    fail_unless_equals_int (seen.is_tensors, is_tensors);
  }
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* ---- caps ---- */

GST_START_TEST (test_the_rate_is_divided_by_the_stride)
{
  static const struct {
    const gchar *in;
    gboolean is_tensors;
    gint rate_n, rate_d;
  } cases[] = {
    { "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=%u", FALSE, 100, 1 },
    { "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=50, channels=%u", FALSE, 50, 1 },
    { "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=101, channels=%u", TRUE, 101, 1 },
    { "other/tensors, format=static, num_tensors=1, types=float32, framerate=100/1, dimensions=(string)%u:4:1:1", TRUE,
      100, 1 },
    { "other/tensors, format=static, num_tensors=1, types=float32, framerate=25/2, dimensions=(string)%u:1:1:1", TRUE,
      25, 2 },
    { "other/tensors, format=static, num_tensors=1, types=float32, framerate=0/1, dimensions=(string)%u:1:1:1", TRUE, 0,
      1 },
  };
  Encoder *e = encoder_open ("conv-strides");
  gchar *text = g_strdup_printf (cases[__i__].in, e->n_features);
  GstHarness *h = encoder_harness (e);
  Seen seen;

  watch (h, &seen, e);
  gst_harness_set_src_caps_str (h, text);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (seen.is_tensors, cases[__i__].is_tensors || cases[__i__].rate_n % (gint) e->stride != 0);
  fail_unless (seen.rate_n * cases[__i__].rate_d * (gint) e->stride == cases[__i__].rate_n * seen.rate_d);
  fail_unless_equals_int (seen.frames_per_buffer, seen.is_tensors ? 1 : 0);
  gst_harness_teardown (h);
  g_free (text);
  encoder_free (e);
}
GST_END_TEST;

/* Once at 25 frames per second, and once at a rate that is not a whole number, which makes them other/tensors. */
GST_START_TEST (test_other_fields_of_the_caps_stay_at_any_rate)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);
  GstCaps *caps = encoder_caps (e, FALSE, 0);
  const GstStructure *structure;
  gint sample_rate;

  gst_caps_set_simple (caps, "rate", G_TYPE_INT, 25 * (gint) e->stride + __i__, "channel-mask", GST_TYPE_BITMASK,
                       (guint64) 0, "sample-rate", G_TYPE_INT, 16000, "note", G_TYPE_STRING, "mine", NULL);
  gst_harness_set_src_caps (h, caps);
  caps = gst_pad_get_current_caps (h->sinkpad);
  structure = gst_caps_get_structure (caps, 0);
  fail_unless (gst_structure_has_name (structure, __i__ == 0 ? "audio/x-raw" : "other/tensors"));
  fail_unless (gst_structure_get_int (structure, "sample-rate", &sample_rate) && sample_rate == 16000);
  fail_unless_equals_string (gst_structure_get_string (structure, "note"), "mine");
  if (__i__ == 1)
    fail_if (gst_structure_has_field (structure, "rate") || gst_structure_has_field (structure, "layout")
             || gst_structure_has_field (structure, "channels") || gst_structure_has_field (structure, "channel-mask"));
  gst_caps_unref (caps);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* ---- times and metadata ---- */

/* Without a stride outputs have the times of the buffers: 7 frames in 80 ms, though the caps say 70. */
GST_START_TEST (test_outputs_have_the_times_of_their_frames_within_their_buffers)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);
  guint n_ahead = attn_layer_reach_ahead (e->layer), stride = e->stride, i;
  GstBuffer *buffer;

  gst_harness_set_src_caps (h, encoder_caps (e, TRUE, 7));
  for (i = 0; i < 21; i += 7) {
    buffer = encoder_buffer (e, i, 7);
    GST_BUFFER_PTS (buffer) = GST_SECOND + i / 7 * 80 * GST_MSECOND;
    GST_BUFFER_DURATION (buffer) = 80 * GST_MSECOND;
    gst_harness_push (h, buffer);
  }
  for (i = 0; i * stride + n_ahead < 21; i++) {
    guint frame = i * stride, end = frame + stride;
    GstClockTime begin =
        GST_SECOND + frame / 7 * 80 * GST_MSECOND + gst_util_uint64_scale_round (frame % 7, 80 * GST_MSECOND, 7);

    buffer = gst_harness_try_pull (h);
    fail_unless (buffer != NULL);
    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), begin);
    fail_unless_equals_clocktime (GST_BUFFER_DURATION (buffer),
                                  gst_util_uint64_scale_round (end - frame / 7 * 7, 80 * GST_MSECOND, 7)
                                      - gst_util_uint64_scale_round (frame % 7, 80 * GST_MSECOND, 7));
    gst_buffer_unref (buffer);
  }
  fail_unless (gst_harness_try_pull (h) == NULL);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/*
 * By the rate: 7 frames in 70 ms, though buffers come every 80 ms. Without a rate only the first of a buffer has a
 * time.
 */
GST_START_TEST (test_outputs_have_times_by_the_rate_where_buffers_have_no_duration)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);
  GstCaps *caps = encoder_caps (e, TRUE, 7);
  GstBuffer *buffer;
  guint i;

  if (__i__ == 1)
    gst_caps_set_simple (caps, "framerate", GST_TYPE_FRACTION, 0, 1, NULL);
  gst_harness_set_src_caps (h, caps);
  for (i = 0; i < 56; i += 7) {
    buffer = encoder_buffer (e, i, 7);
    GST_BUFFER_PTS (buffer) = i / 7 * 80 * GST_MSECOND;
    GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
  }
  for (i = 0; (buffer = gst_harness_try_pull (h)); i++) {
    guint frame = i * e->stride;

    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), __i__ == 0 || frame % 7 == 0
                                                               ? (frame / 7 * 8 + frame % 7) * FRAME_TIME
                                                               : GST_CLOCK_TIME_NONE);
    gst_buffer_unref (buffer);
  }
  fail_unless (i > 8); /* also one that begins a buffer */
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

GST_START_TEST (test_without_times_outputs_have_none)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);
  GstBuffer *buffer;
  guint i;

  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  for (i = 0; i + 7 <= e->n; i += 7) {
    buffer = encoder_buffer (e, i, 7);
    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
  }
  fail_unless (gst_harness_buffers_in_queue (h) > 0);
  while ((buffer = gst_harness_try_pull (h))) {
    fail_if (GST_BUFFER_PTS_IS_VALID (buffer) || GST_BUFFER_DURATION_IS_VALID (buffer)
             || GST_BUFFER_OFFSET_IS_VALID (buffer));
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* Frames come one by one; each has a meta with its number, and some have flags. */
GST_START_TEST (test_flags_and_metas_come_from_the_buffer_of_the_frame)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);
  GstCaps *reference = gst_caps_new_empty_simple ("timestamp/x-test");
  GstBuffer *buffer;
  guint i, n_discont = e->stride + 1; /* with no output of its own: that of the next output */

  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  for (i = 0; i < e->n; i++) {
    buffer = encoder_buffer (e, i, 1);
    gst_buffer_add_reference_timestamp_meta (buffer, reference, i, GST_CLOCK_TIME_NONE);
    if (i % (2 * e->stride) == 0)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_MARKER);
    if (i == n_discont)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    gst_harness_push (h, buffer);
  }
  for (i = 0; (buffer = gst_harness_try_pull (h)); i++) {
    GstReferenceTimestampMeta *meta = gst_buffer_get_reference_timestamp_meta (buffer, reference);

    fail_unless (meta != NULL && meta->timestamp == i * e->stride);
    fail_unless_equals_int (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_MARKER), i % 2 == 0);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), i == 2);
    gst_buffer_unref (buffer);
  }
  fail_unless (i > 3);
  gst_caps_unref (reference);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/*
 * The second buffer makes an output of the first one ready, and three of its own: they leave together, unless the
 * buffers are not neighbours in time, or frames between them are announced as missing.
 */
GST_START_TEST (test_outputs_leave_together_while_nothing_is_lost_by_it)
{
  static const struct {
    GstClockTime late;
    GstBufferFlags flags;
    guint n_buffers;
  } cases[] = { { 0, 0, 1 },
                { GST_MSECOND, 0, 1 }, /* rounding */
                { 4 * GST_MSECOND, 0, 2 },
                { 0, GST_BUFFER_FLAG_DISCONT, 2 },
                { 0, GST_BUFFER_FLAG_MARKER, 2 } };
  Encoder *e = encoder_open ("conv-absent");
  GstHarness *h = encoder_harness (e);
  GstBuffer *buffer = encoder_buffer (e, 4, 8);
  GstClockTime begin = 40 * GST_MSECOND + cases[__i__].late;
  guint n_buffers = cases[__i__].n_buffers;

  fail_unless (e->stride == 2 && attn_layer_reach_ahead (e->layer) == 2);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, encoder_buffer (e, 0, 4));
  drop_buffers (h);
  GST_BUFFER_PTS (buffer) = begin;
  GST_BUFFER_FLAG_SET (buffer, cases[__i__].flags);
  gst_harness_push (h, buffer);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), n_buffers);
  buffer = gst_harness_pull (h);
  fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), 20 * GST_MSECOND);
  fail_if (GST_BUFFER_FLAG_IS_SET (buffer, cases[__i__].flags) && cases[__i__].flags != 0);
  gst_buffer_unref (buffer);
  if (n_buffers == 2) {
    buffer = gst_harness_pull (h);
    fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), begin);
    fail_unless_equals_int (GST_BUFFER_FLAGS (buffer) & (GST_BUFFER_FLAG_DISCONT | GST_BUFFER_FLAG_MARKER),
                            cases[__i__].flags);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* The meta says how many frames the input buffer had. */
GST_START_TEST (test_metas_of_audio_do_not_outlive_their_frames)
{
  Encoder *e = encoder_open ("conv-absent");
  GstHarness *h = encoder_harness (e);
  GstBuffer *buffer = encoder_buffer (e, 0, 8);
  GstAudioInfo info;

  gst_audio_info_set_format (&info, GST_AUDIO_FORMAT_F32, RATE, e->n_features, NULL);
  fail_unless (gst_buffer_add_audio_meta (buffer, &info, 8, NULL) != NULL);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, buffer);
  buffer = gst_harness_pull (h);
  fail_unless (gst_buffer_get_audio_meta (buffer) == NULL);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* ---- latency ---- */

/*
 * Frames come when they are complete, and so do their buffers: an output is late by the time from its frame to the
 * begin of its buffer. The element reports the longest delay.
 */
static guint
measure_latency (const Encoder *e, guint size)
{
  guint64 i, n_ahead = attn_layer_reach_ahead (e->layer), latest = 0;
  gboolean waits = e->stride == 1 && attn_layer_count (e->layer, 1) == 1; /* for the last of its buffer */

  for (i = 0; i < 1000; i++) {
    guint64 frame = i * e->stride, arrives = (frame + n_ahead) / size * size;

    if (waits)
      arrives = (frame / size * size + size - 1 + n_ahead) / size * size;
    if (waits)
      frame = frame / size * size; /* whose time is that of the first */
    latest = MAX (latest, arrives > frame ? arrives - frame : 0);
  }
  return latest;
}

GST_START_TEST (test_latency_is_what_outputs_wait_for)
{
  static const gchar *const encoders[] = { "transformer-6-pre-gelu-ahead", "conv-strides", "stack", "conv-ahead",
                                           "moonshine" };
  static const guint buffer_sizes[] = { 1, 2, 4, 6, 7, 64 };
  Encoder *e = encoder_open (encoders[__i__]);
  guint64 latency_frames;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (buffer_sizes); i++) {
    GstHarness *h = encoder_harness (e);

    gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
    if (buffer_sizes[i] <= e->n) {
      gst_harness_push (h, encoder_buffer (e, 0, buffer_sizes[i]));
      check_latency_behind_live (h, measure_latency (e, buffer_sizes[i]) * FRAME_TIME);
    }
    g_object_get (h->element, "latency-frames", &latency_frames, NULL);
    fail_unless_equals_uint64 (latency_frames, attn_layer_reach_ahead (e->layer));
    gst_harness_teardown (h);
  }
  encoder_free (e);
}
GST_END_TEST;

/* Buffers of six frames bring all that their output reads, until a frame is missing. */
GST_START_TEST (test_latency_grows_when_buffers_no_longer_begin_with_outputs)
{
  Encoder *e = encoder_open ("conv-strides");
  GstHarness *h = encoder_harness (e);

  fail_unless (e->stride == 6 && attn_layer_reach_ahead (e->layer) == 3);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, encoder_buffer (e, 0, 6));
  check_latency_behind_live (h, 0);
  gst_harness_push_event (h, gst_event_new_gap (6 * FRAME_TIME, 6 * FRAME_TIME));
  check_latency_behind_live (h, 0);
  gst_harness_push_event (h, gst_event_new_gap (12 * FRAME_TIME, FRAME_TIME));
  check_latency_behind_live (h, 3 * FRAME_TIME);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* ---- the model ---- */

GST_START_TEST (test_the_model_is_described)
{
  Encoder *e = encoder_open ("transformer-6-pre-gelu-ahead");
  GstHarness *h = encoder_harness (e);
  GstStructure *model;
  const GValue *attentions;
  guint features, blocks;
  guint64 reach, parameters;
  gdouble operations;

  g_object_get (h->element, "model", &model, NULL);
  fail_unless (gst_structure_get (model, "features", G_TYPE_UINT, &features, "blocks", G_TYPE_UINT, &blocks,
                                  "parameters", G_TYPE_UINT64, &parameters, "reach-ahead", G_TYPE_UINT64, &reach,
                                  "operations", G_TYPE_DOUBLE, &operations, NULL));
  fail_unless_equals_int (features, e->n_features);
  fail_unless_equals_uint64 (reach, attn_layer_reach_ahead (e->layer));
  fail_unless (blocks > 6 * 5 && parameters > 1000);
  fail_unless (operations == attn_layer_operations (e->layer) && operations > parameters);
  attentions = gst_structure_get_value (model, "attentions");
  fail_unless_equals_int (gst_value_array_get_size (attentions), 6);
  gst_structure_free (model);
  gst_element_set_state (h->element, GST_STATE_NULL);
  g_object_get (h->element, "model", &model, NULL);
  fail_unless_equals_int (gst_structure_n_fields (model), 0);
  gst_structure_free (model);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* The error when the element is started; `file` NULL: no file. Transfer full. */
static gchar *
start_with (const gchar *file, const gchar *frame_rate)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstBus *bus = attach_bus (element);
  gchar *text;

  g_object_set (element, "model-file", file, NULL);
  gst_util_set_object_arg (G_OBJECT (element), "frame-rate", frame_rate);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  detach_bus (element, bus);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
  return text;
}

GST_START_TEST (test_what_is_wrong_with_the_file_is_said_at_start)
{
  gchar *bytes, *path = g_build_filename (g_get_tmp_dir (), "attentionencoder-damaged.safetensors", NULL);
  Encoder *e = encoder_open ("llama");
  gsize size;

  check_text (start_with (NULL, "0/1"), "model-file is not set");
  check_text (start_with (NULL, "0/1"), "export_encoder.py");
  check_text (start_with ("/nowhere/x.safetensors", "0/1"), "/nowhere/x.safetensors");
  check_text (start_with (GOLDEN_DIR "/attention/alibi.safetensors", "0/1"), "alibi.safetensors");
  fail_unless (g_file_get_contents (e->file, &bytes, &size, NULL));
  fail_unless (g_file_set_contents (path, bytes, size - 5, NULL));
  check_text (start_with (path, "0/1"), "attentionencoder-damaged.safetensors");
  g_unlink (path);
  g_free (bytes);
  g_free (path);
  encoder_free (e);
}
GST_END_TEST;

GST_START_TEST (test_frames_of_another_width_are_refused_with_both_numbers)
{
  Encoder *e = encoder_open ("llama");
  GstHarness *h = encoder_harness (e);
  GstBus *bus = attach_bus (h->element);
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=%u", e->n_features + 1);
  gchar *expected =
      g_strdup_printf ("takes %u features per frame, but the stream has %u", e->n_features, e->n_features + 1);

  gst_harness_set_src_caps_str (h, caps);
  gst_harness_push (h, gst_buffer_new_allocate (NULL, (e->n_features + 1) * sizeof (gfloat), NULL));
  fail_unless_error (bus, expected);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  g_free (caps);
  g_free (expected);
  encoder_free (e);
}
GST_END_TEST;

/* A file of a single linear block for 2 features, at 100 frames per second; `metadata` beside its entry. */
static gchar *
write_small_encoder (const gchar *metadata)
{
  static const gfloat weights[4] = { 1, 0, 0, 1 };
  gchar *path = g_build_filename (g_get_tmp_dir (), "attentionencoder-small.safetensors", NULL);

  write_safetensors (
      path,
      g_strdup_printf ("{'__metadata__':{%s'encoder':'{\\'version\\':1,\\'features\\':2,\\'frame-rate\\':"
                       "[100,1],\\'blocks\\':[{\\'linear\\':\\'a\\'}]}'},"
                       "'a.weight':{'dtype':'F32','shape':[2,2],'data_offsets':[0,16]}}",
                       metadata),
      weights, sizeof weights);
  return path;
}

GST_START_TEST (test_frames_that_the_model_was_not_trained_on_are_refused)
{
  static const struct {
    const gchar *caps, *text;
  } cases[] = {
    { "rate=50", "frame-rate=100/1, but the stream says 50" },
    { "rate=100, sample-rate=8000", "sample-rate=16000, but the stream says 8000" },
    { "rate=100, sample-rate=16000, bins=2", NULL },
  };
  gchar *path = write_small_encoder ("'sample-rate':'16000','bins':'2',");
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstBus *bus = attach_bus (element);
  gchar *caps = g_strdup_printf ("audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, channels=2, %s",
                                 cases[__i__].caps);
  GstHarness *h;

  g_object_set (element, "model-file", path, NULL);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_harness_set_src_caps_str (h, caps);
  gst_harness_push (h, gst_buffer_new_allocate (NULL, 2 * sizeof (gfloat), NULL));
  check_text (pop_error (bus), cases[__i__].text);
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
  g_unlink (path);
  g_free (path);
  g_free (caps);
}
GST_END_TEST;

GST_START_TEST (test_a_frame_rate_that_is_not_the_models_is_an_error)
{
  gchar *path = write_small_encoder ("");

  check_text (start_with (path, "50/1"), "frame-rate is 50/1, but ");
  check_text (start_with (path, "50/1"), "was trained on 100/1 frames per second");
  check_text (start_with (path, "100/3"), "frame-rate is 100/3, but ");
  g_unlink (path);
  g_free (path);
}
GST_END_TEST;

/* A file of convolutions of one tap over frames of one value, with these strides. */
static gchar *
write_strides (guint first, guint second)
{
  static const gfloat weights[2] = { 1, 1 };
  gchar *path = g_build_filename (g_get_tmp_dir (), "attentionencoder-strides.safetensors", NULL);

  write_safetensors (path,
                     g_strdup_printf ("{'__metadata__':{'encoder':'{\\'version\\':1,\\'features\\':1,\\'blocks\\':["
                                      "{\\'conv\\':\\'a\\',\\'stride\\':%u},{\\'conv\\':\\'b\\',\\'stride\\':%u}]}'},"
                                      "'a.weight':{'dtype':'F32','shape':[1,1,1],'data_offsets':[0,4]},"
                                      "'b.weight':{'dtype':'F32','shape':[1,1,1],'data_offsets':[4,8]}}",
                                      first, second),
                     weights, sizeof weights);
  return path;
}

GST_START_TEST (test_strides_that_caps_cannot_state_are_errors)
{
  gchar *path = write_strides (65536, 65536);
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstBus *bus = attach_bus (element);
  GstHarness *h;

  check_text (start_with (path, "0/1"), "one output for 4294967296 frames, but caps can state at most 2147483647");
  g_free (path);
  path = write_strides (65536, 1);
  g_object_set (element, "model-file", path, NULL);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_harness_set_src_caps_str (h, "other/tensors, format=static, num_tensors=1, types=float32, framerate=1/40000, "
                                   "dimensions=(string)1:1:1:1");
  gst_harness_push (h, gst_buffer_new_allocate (NULL, sizeof (gfloat), NULL));
  fail_unless_error (bus, "at 1/40000 frames per second, one output for 65536 frames has a rate that caps cannot hold");
  detach_bus (element, bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
  g_unlink (path);
  g_free (path);
}
GST_END_TEST;

/* ---- state ---- */

/* The second element goes on where the first one was stopped: its outputs begin with the frames that it received. */
GST_START_TEST (test_a_stream_goes_on_from_its_state_file_in_another_element)
{
  static const gchar *const encoders[] = { "transformer-6-pre-gelu-ahead", "conv-strides", "moonshine", "conv-same" };
  Encoder *e = encoder_open (encoders[__i__ / 3]);
  guint cut = e->n / 2 + __i__ % 3, first_output = (cut + e->stride - 1) / e->stride;
  gchar *path = g_build_filename (g_get_tmp_dir (), "attentionencoder-state", NULL);
  gsize n_values;
  gfloat *got;
  GstHarness *h;
  guint i;

  g_unlink (path);
  for (i = 0; i < 2; i++) {
    h = encoder_harness (e);
    gst_element_set_state (h->element, GST_STATE_NULL);
    g_object_set (h->element, "state-file", path, NULL);
    gst_element_set_state (h->element, GST_STATE_PLAYING);
    gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
    if (i == 0)
      gst_harness_push (h, encoder_buffer (e, 0, cut));
    else
      gst_harness_push (h, encoder_buffer (e, cut, e->n - cut));
    if (i == 1) {
      gst_harness_push_event (h, gst_event_new_eos ());
      got = pull_all (h, &n_values);
      fail_unless_equals_uint64 (n_values, (e->n_out - first_output) * e->n_outputs);
      fail_unless (memcmp (got, e->expected + first_output * e->n_outputs, n_values * sizeof *got) == 0);
      g_free (got);
    }
    gst_harness_teardown (h);
  }
  g_unlink (path);
  g_free (path);
  encoder_free (e);
}
GST_END_TEST;

/* Bytes, of all files, since the process began. */
static gsize
count_bytes_read (void)
{
  gchar *text = NULL;
  gsize n;

  fail_unless (g_file_get_contents ("/proc/self/io", &text, NULL, NULL));
  fail_unless (sscanf (text, "rchar: %" G_GSIZE_FORMAT, &n) == 1, "%s", text);
  g_free (text);
  return n;
}

/* As a preset does, which sets everything twice. */
GST_START_TEST (test_a_file_that_is_set_again_is_read_once)
{
  static const gchar file[] = GOLDEN_DIR "/encoder/moonshine.safetensors";
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  gsize begin = count_bytes_read (), once, more;
  GStatBuf status;

  fail_unless_equals_int (g_stat (file, &status), 0);
  g_object_set (element, "model-file", file, NULL);
  once = count_bytes_read () - begin;
  fail_unless (once > (gsize) status.st_size / 2, "%" G_GSIZE_FORMAT " bytes", once);
  g_object_set (element, "model-file", file, NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  more = count_bytes_read () - begin - once;
  fail_unless (more < (gsize) status.st_size / 2, "%" G_GSIZE_FORMAT " bytes", more);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
}
GST_END_TEST;

static void
count_readings (GstDebugCategory *category, GstDebugLevel level, const gchar *file, const gchar *function, gint line,
                GObject *object, GstDebugMessage *message, gpointer n)
{
  if (strstr (gst_debug_message_get (message), "reading model-file again") != NULL)
    ++*(guint *) n;
}

/* What was read when model-file was set is for the settings of that moment. */
GST_START_TEST (test_settings_that_change_after_the_file_make_it_read_again)
{
  static const gchar file[] = GOLDEN_DIR "/encoder/moonshine.safetensors";
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  guint n = 0;

  if (__i__ == 0)
    g_object_set (element, "threads", 2, "model-file", file, NULL);
  else
    g_object_set (element, "model-file", file, "threads", 2, NULL);
  gst_debug_set_active (TRUE);
  gst_debug_set_threshold_for_name ("attention", GST_LEVEL_INFO);
  gst_debug_add_log_function (count_readings, &n, NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  gst_debug_remove_log_function (count_readings);
  fail_unless_equals_int (n, __i__);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attentionencoder_suite (void)
{
  Suite *suite = suite_create ("attentionencoder");
  TCase *numbers = tcase_create ("numbers"), *framing = tcase_create ("framing"), *model = tcase_create ("model");

  suite_add_tcase (suite, numbers);
  tcase_add_loop_test (numbers, test_outputs_are_those_of_pytorch_for_any_buffers_and_caps, 0, G_N_ELEMENTS (names));

  suite_add_tcase (suite, framing);
  tcase_add_test (framing, test_one_buffer_out_per_buffer_in_without_a_stride);
  tcase_add_loop_test (framing, test_with_a_stride_a_buffer_leaves_when_outputs_get_ready, 0, 8);
  tcase_add_loop_test (framing, test_the_rate_is_divided_by_the_stride, 0, 6);
  tcase_add_loop_test (framing, test_other_fields_of_the_caps_stay_at_any_rate, 0, 2);
  tcase_add_test (framing, test_outputs_have_the_times_of_their_frames_within_their_buffers);
  tcase_add_loop_test (framing, test_outputs_have_times_by_the_rate_where_buffers_have_no_duration, 0, 2);
  tcase_add_test (framing, test_without_times_outputs_have_none);
  tcase_add_test (framing, test_flags_and_metas_come_from_the_buffer_of_the_frame);
  tcase_add_loop_test (framing, test_outputs_leave_together_while_nothing_is_lost_by_it, 0, 5);
  tcase_add_test (framing, test_metas_of_audio_do_not_outlive_their_frames);
  tcase_add_test (framing, test_latency_grows_when_buffers_no_longer_begin_with_outputs);
  tcase_add_loop_test (framing, test_latency_is_what_outputs_wait_for, 0, 5);

  suite_add_tcase (suite, model);
  tcase_add_test (model, test_the_model_is_described);
  tcase_add_test (model, test_what_is_wrong_with_the_file_is_said_at_start);
  tcase_add_test (model, test_a_file_that_is_set_again_is_read_once);
  tcase_add_loop_test (model, test_settings_that_change_after_the_file_make_it_read_again, 0, 2);
  tcase_add_test (model, test_frames_of_another_width_are_refused_with_both_numbers);
  tcase_add_loop_test (model, test_frames_that_the_model_was_not_trained_on_are_refused, 0, 3);
  tcase_add_test (model, test_a_frame_rate_that_is_not_the_models_is_an_error);
  tcase_add_test (model, test_strides_that_caps_cannot_state_are_errors);
  tcase_add_loop_test (model, test_a_stream_goes_on_from_its_state_file_in_another_element, 0, 12);
  return suite;
}

GST_CHECK_MAIN (attentionencoder);
