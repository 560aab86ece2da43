/*
 * The element `attentionencoder`: the weights of the heads of its layers, and their gains. Layers look ahead, behind
 * strides and in front of them.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encodercheck.h"

#include <gst/controller/gstdirectcontrolbinding.h>
#include <gst/controller/gstinterpolationcontrolsource.h>

#include "pipelinecheck.h"

/* ---- encoders ---- */

#define N_ENCODERS 6

/* Two more frames come to the layer than came in; they stand in front of the last output, or leave as well. */
#define WIDER "{\\'conv\\':\\'conv\\',\\'left\\':2,\\'right\\':2}"
#define LAYER                                                                                                          \
  "{\\'residual\\':[{\\'norm\\':\\'norm\\'},{\\'attention\\':\\'attn\\',\\'heads\\':2,\\'window\\':9,\\'look-ahead\\'" \
  ":3"                                                                                                                 \
  "}]}"
#define NARROWER "{\\'conv\\':\\'conv\\'}"

/* Six layers, two of them in front of strides, or all behind; golden files without strides, and with. */
static Encoder *
open_encoder (guint i)
{
  static const guint look_ahead[] = { 2, 0, 3, 1, 0, 4 };

  if (i == 0)
    return encoder_write (2, 2, G_N_ELEMENTS (look_ahead), look_ahead);
  if (i == 1)
    return encoder_write (0, 2, G_N_ELEMENTS (look_ahead), look_ahead);
  if (i == 2)
    return encoder_of_blocks (WIDER "," LAYER "," NARROWER);
  if (i == 3)
    return encoder_of_blocks (WIDER "," LAYER);
  return encoder_open (i == 4 ? "transformer-6-pre-gelu-ahead" : "moonshine");
}

static void
close_encoder (Encoder *e)
{
  if (!g_str_has_prefix (e->file, GOLDEN_DIR))
    g_unlink (e->file);
  encoder_free (e);
}

/* ---- rows ---- */

/* The core's rows of an attention, as an encoder whose outputs are these rows. */
static Encoder
rows_of (const Encoder *e, guint attention)
{
  const AttnConfig *config = attn_layer_attention (e->layer, attention);
  guint width = config->n_heads * (config->n_sinks + config->window + config->look_ahead);
  Encoder rows = { .stride = attn_layer_attention_stride (e->layer, attention), .n_outputs = width };
  AttnWatch watch = { .room = e->n + 3 };
  AttnStream *stream;
  guint i;

  rows.expected = g_new0 (gfloat, watch.room * width);
  rows.is_there = g_new0 (guint8, watch.room);
  watch.weights = rows.expected;
  watch.present = rows.is_there;
  g_assert (attn_stream_new (e->layer, &stream, NULL) == ATTN_OK);
  g_assert (attn_stream_watch (stream, attention, &watch) == ATTN_OK);
  for (i = 0; i <= e->n; i++) {
    if (i < e->n)
      attn_stream_run (stream, e->present[i] ? e->frames + i * e->n_features : NULL, 1, NULL, NULL, NULL);
    else
      attn_stream_drain (stream, NULL, NULL);
    fail_unless (watch.n_rows <= watch.room);
    rows.n_out += watch.n_rows;
    watch.weights += watch.n_rows * width;
    watch.present += watch.n_rows;
    watch.room -= watch.n_rows;
  }
  attn_stream_free (stream);
  return rows;
}

static void
free_rows (Encoder *rows)
{
  g_free (rows->expected);
  g_free (rows->is_there);
}

#define MAX_LAYERS 6

/* An element with a harness on every pad that it may have. */
typedef struct {
  GstHarness *h, *w[MAX_LAYERS];
  Encoder rows[MAX_LAYERS];
  Seen seen[MAX_LAYERS], outputs;
  guint n_layers;
} Watched;

static void
begin (Watched *watched, const Encoder *e)
{
  guint i;

  *watched = (Watched){ .h = encoder_harness (e), .n_layers = attn_layer_n_attentions (e->layer) };
  fail_unless (watched->n_layers <= MAX_LAYERS);
  watch (watched->h, &watched->outputs, e);
  for (i = 0; i < watched->n_layers; i++) {
    gchar *name = g_strdup_printf ("weights_%u", i);

    watched->rows[i] = rows_of (e, i);
    watched->w[i] = gst_harness_new_with_element (watched->h->element, NULL, name);
    watch (watched->w[i], &watched->seen[i], &watched->rows[i]);
    g_free (name);
  }
}

static void
end (Watched *watched)
{
  guint i;

  for (i = 0; i < watched->n_layers; i++) {
    gst_harness_teardown (watched->w[i]);
    free_rows (&watched->rows[i]);
  }
  gst_harness_teardown (watched->h);
}

/* Each row has its bits, its time and its order; and the outputs do not change. */
GST_START_TEST (test_rows_of_every_layer_leave_in_order_at_their_times_over_holes)
{
  Encoder *e = open_encoder (__i__);
  GRand *rand = g_rand_new_with_seed (__i__);
  guint round, i;

  for (round = 0; round < 18; round++) {
    Absence absence = round % N_ABSENCES;
    Watched watched;

    if (round < 3)
      memset (e->present, 1, e->n);
    else
      encoder_make_holes (e, rand, absence);
    encoder_expect (e);
    begin (&watched, e);
    play (watched.h, e, round / N_ABSENCES % 2, round % 4, absence, rand);
    check_all_seen (&watched.outputs, absence != JUMPS && e->n_out <= e->n);
    for (i = 0; i < watched.n_layers; i++) /* absent frames beyond the last frame are not announced */
      check_all_seen (&watched.seen[i], absence != JUMPS && watched.rows[i].n_out <= e->n);
    end (&watched);
  }
  g_rand_free (rand);
  close_encoder (e);
}
GST_END_TEST;

/* The rate of the frames that come to the layer: 100, 50 and 25 per second; 101 / 4 in other/tensors. */
GST_START_TEST (test_caps_have_the_rate_of_the_layer_and_say_what_a_row_is)
{
  static const guint look_ahead[] = { 2, 3 };
  Encoder *e = encoder_write (1, 2, 2, look_ahead);
  GstHarness *h = encoder_harness (e), *w[2];
  GstCaps *caps = encoder_caps (e, FALSE, 0), *got[2];
  gint rate, window, ahead;

  if (__i__ == 1)
    gst_caps_set_simple (caps, "rate", G_TYPE_INT, 101, NULL);
  w[0] = gst_harness_new_with_element (h->element, NULL, "weights_0");
  w[1] = gst_harness_new_with_element (h->element, NULL, "weights_1");
  gst_harness_set_src_caps (h, caps);
  gst_harness_push (h, encoder_buffer (e, 0, 20));
  got[0] = gst_pad_get_current_caps (w[0]->sinkpad);
  got[1] = gst_pad_get_current_caps (w[1]->sinkpad);
  fail_unless (gst_structure_get_int (gst_caps_get_structure (got[0], 0), "rate", &rate));
  fail_unless_equals_int (rate, __i__ == 0 ? 100 : 101);
  if (__i__ == 0)
    fail_unless (gst_structure_get_int (gst_caps_get_structure (got[1], 0), "rate", &rate) && rate == 25);
  else
    fail_unless (gst_structure_get_fraction (gst_caps_get_structure (got[1], 0), "framerate", &rate, &ahead)
                 && rate == 101 && ahead == 4);
  fail_unless (gst_structure_get (gst_caps_get_structure (got[1], 0), "window", G_TYPE_INT, &window, "look-ahead",
                                  G_TYPE_INT, &ahead, NULL));
  fail_unless (window == 9 && ahead == 3);
  gst_caps_unref (got[0]);
  gst_caps_unref (got[1]);
  gst_harness_teardown (w[0]);
  gst_harness_teardown (w[1]);
  gst_harness_teardown (h);
  close_encoder (e);
}
GST_END_TEST;

/* A pad that comes in mid-stream shows the rows of the frames that come after it. */
GST_START_TEST (test_a_pad_that_comes_late_begins_with_the_next_frame)
{
  Encoder *e = open_encoder (__i__);
  GstHarness *h = encoder_harness (e), *w;
  guint layer = attn_layer_n_attentions (e->layer) - 1, cut = 37;
  gchar *name = g_strdup_printf ("weights_%u", layer);
  Encoder rows;
  guint first;

  memset (e->present, 1, e->n);
  rows = rows_of (e, layer);
  first = (cut + rows.stride - 1) / rows.stride;
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, encoder_buffer (e, 0, cut));
  w = gst_harness_new_with_element (h->element, NULL, name);
  gst_harness_push (h, encoder_buffer (e, cut, e->n - cut));
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (w, rows.expected + first * rows.n_outputs, (rows.n_out - first) * rows.n_outputs);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  free_rows (&rows);
  g_free (name);
  close_encoder (e);
}
GST_END_TEST;

/* Rows of frames that another element received leave from that element. */
GST_START_TEST (test_rows_go_on_from_a_restored_state)
{
  Encoder *e = open_encoder (__i__), rows;
  guint layer = attn_layer_n_attentions (e->layer) - 1, cut = 41, first;
  gchar *name = g_strdup_printf ("weights_%u", layer);
  GstHarness *before = encoder_harness (e), *h = encoder_harness (e);
  GstHarness *w = gst_harness_new_with_element (h->element, NULL, name);
  gboolean restored;
  GBytes *state;

  memset (e->present, 1, e->n);
  rows = rows_of (e, layer);
  first = (cut + rows.stride - 1) / rows.stride;
  gst_harness_set_src_caps (before, encoder_caps (e, FALSE, 0));
  gst_harness_push (before, encoder_buffer (e, 0, cut));
  g_signal_emit_by_name (before->element, "save-state", &state);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, encoder_buffer (e, 0, 9)); /* of another stream, which ends here */
  g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  fail_unless (restored);
  gst_harness_push (h, encoder_buffer (e, cut, 1)); /* no row of its own is ready */
  drop_buffers (w);
  gst_harness_push (h, encoder_buffer (e, cut + 1, e->n - cut - 1));
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (w, rows.expected + first * rows.n_outputs, (rows.n_out - first) * rows.n_outputs);
  g_bytes_unref (state);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_harness_teardown (before);
  free_rows (&rows);
  g_free (name);
  close_encoder (e);
}
GST_END_TEST;

GST_START_TEST (test_a_pad_of_a_layer_that_is_not_there_is_refused)
{
  Encoder *e = encoder_open ("transformer-6-pre-gelu-ahead");
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstBus *bus = attach_bus (element);
  GstPad *early = gst_element_request_pad_simple (element, "weights_6");
  gchar *text;

  fail_unless (early != NULL); /* no file is known yet */
  g_object_set (element, "model-file", e->file, NULL);
  fail_unless (gst_element_request_pad_simple (element, "weights_7") == NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (strstr (text, "weights_6") != NULL && strstr (text, "6 layers") != NULL, "%s", text);
  g_free (text);
  gst_element_release_request_pad (element, early);
  gst_object_unref (early);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
  encoder_free (e);
}
GST_END_TEST;

/* While no file is known, those are that no encoder has. */
GST_START_TEST (test_a_pad_that_no_encoder_has_is_refused)
{
  static const gchar *const names[] = { "weights_4096", "weights_4294967294", "weights_4294967295" };
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstPad *last = gst_element_request_pad_simple (element, "weights_4095");
  guint i;

  fail_unless (last != NULL);
  for (i = 0; i < G_N_ELEMENTS (names); i++)
    fail_unless (gst_element_request_pad_simple (element, names[i]) == NULL, "%s", names[i]);
  gst_element_release_request_pad (element, last);
  gst_object_unref (last);
  gst_object_unref (element);
}
GST_END_TEST;

/* In NULL, and while it runs. */
GST_START_TEST (test_an_encoder_without_attention_has_no_pads_of_weights)
{
  Encoder *e = encoder_open ("conv-same");
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstHarness *h = encoder_harness (e);

  g_object_set (element, "model-file", e->file, NULL);
  fail_unless (gst_element_request_pad_simple (element, "weights_0") == NULL);
  gst_object_unref (element);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  fail_unless (gst_element_request_pad_simple (h->element, "weights_%u") == NULL);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* Its pad, of a layer that does not run, is told no caps, and holds up nothing. */
GST_START_TEST (test_a_file_that_is_set_while_another_one_runs_waits_for_the_next_start)
{
  Encoder *e = encoder_open ("transformer-1-pre-relu");
  GstHarness *h = encoder_harness (e), *w;

  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  fail_unless_equals_int (gst_harness_push (h, encoder_buffer (e, 0, 9)), GST_FLOW_OK);
  g_object_set (h->element, "model-file", GOLDEN_DIR "/encoder/transformer-6-pre-gelu-ahead.safetensors", NULL);
  w = gst_harness_new_with_element (h->element, NULL, "weights_5");
  fail_unless_equals_int (gst_harness_push (h, encoder_buffer (e, 9, e->n - 9)), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (h, e->expected, e->n_out * e->n_outputs);
  fail_if (gst_pad_has_current_caps (w->sinkpad));
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  encoder_free (e);
}
GST_END_TEST;

/* Each layer posts its own, about as many rows as it has in an interval. */
GST_START_TEST (test_messages_say_which_layer_they_are_of)
{
  static const guint look_ahead[] = { 2, 3 };
  Encoder *e = encoder_write (1, 2, 2, look_ahead);
  GstHarness *h = encoder_harness (e);
  GstBus *bus = attach_bus (h->element);
  guint64 n_frames[2] = { 0 }, frames, timestamp, duration;
  GstMessage *message;
  guint layer, n = 0;

  g_object_set (h->element, "post-messages", TRUE, "interval", 200 * GST_MSECOND, NULL);
  gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
  gst_harness_push (h, encoder_buffer (e, 0, e->n));
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((message = pop_message (bus, GST_MESSAGE_ELEMENT))) {
    const GstStructure *structure = gst_message_get_structure (message);

    fail_unless (gst_structure_get (structure, "layer", G_TYPE_UINT, &layer, "frames", G_TYPE_UINT64, &frames,
                                    "timestamp", G_TYPE_UINT64, &timestamp, "duration", G_TYPE_UINT64, &duration,
                                    NULL));
    fail_unless_equals_clocktime (duration, 200 * GST_MSECOND);
    fail_unless_equals_uint64 (frames, layer == 0 ? 20 : 5);
    fail_unless_equals_clocktime (timestamp, n_frames[layer] * (layer == 0 ? 1 : 4) * FRAME_TIME);
    n_frames[layer] += frames;
    n++;
    gst_message_unref (message);
  }
  fail_unless_equals_int (n, 2 * 5);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  close_encoder (e);
}
GST_END_TEST;

GST_START_TEST (test_the_scope_draws_any_layer)
{
  check_text (run_launch_line ("audiotestsrc num-buffers=20 samplesperbuffer=10 ! audio/x-raw,rate=100,channels=10 ! "
                               "attentionencoder name=e model-file=\"" GOLDEN_DIR "/encoder/moonshine.safetensors\" "
                               "e.weights_1 ! queue ! attentionscope ! fakesink e.src ! queue ! fakesink"),
              NULL);
}
GST_END_TEST;

/* ---- children ---- */

static gfloat
get_gain (gpointer element, const gchar *name)
{
  gfloat gain = NAN;

  gst_child_proxy_get (GST_CHILD_PROXY (element), name, &gain, NULL);
  return gain;
}

GST_START_TEST (test_gst_launch_sets_gains_of_layers_in_either_order)
{
  static const gchar *const orders[] = { "%s layer2::head1::gain=0", "layer2::head1::gain=0 %s" };
  gchar *file = g_strdup ("model-file=\"" GOLDEN_DIR "/encoder/transformer-6-pre-gelu-ahead.safetensors\"");
  gchar *settings = g_strdup_printf (orders[__i__], file);
  GstElement *pipeline = launch ("fakesrc ! attentionencoder name=e %s ! fakesink", settings);
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), "e");

  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), 6);
  fail_unless (get_gain (element, "layer2::head1::gain") == 0);
  fail_unless (get_gain (element, "layer2::head0::gain") == 1 && get_gain (element, "layer1::head1::gain") == 1);
  gst_object_unref (element);
  gst_object_unref (pipeline);
  g_free (settings);
  g_free (file);
}
GST_END_TEST;

static void
count (GstChildProxy *proxy, GObject *child, gchar *name, gpointer n)
{
  ++*(guint *) n;
}

GST_START_TEST (test_children_are_those_of_the_file)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstChildProxy *proxy = GST_CHILD_PROXY (element);
  guint added = 0, removed = 0;
  GObject *child;

  g_signal_connect (element, "child-added", G_CALLBACK (count), &added);
  g_signal_connect (element, "child-removed", G_CALLBACK (count), &removed);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 0);
  g_object_set (element, "model-file", GOLDEN_DIR "/encoder/moonshine.safetensors", NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 4);
  child = gst_child_proxy_get_child_by_name (proxy, "layer3");
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (child)), 2);
  gst_object_unref (child);
  g_object_set (element, "model-file", "/nowhere", NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 0);
  fail_unless (added == 4 && removed == 4);
  gst_object_unref (element);
}
GST_END_TEST;

static guint
count_heads (GstChildProxy *proxy, const gchar *layer)
{
  GObject *child = gst_child_proxy_get_child_by_name (proxy, layer);
  guint n = gst_child_proxy_get_children_count (GST_CHILD_PROXY (child));

  gst_object_unref (child);
  return n;
}

GST_START_TEST (test_children_of_a_file_with_other_heads_are_others)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstChildProxy *proxy = GST_CHILD_PROXY (element);

  g_object_set (element, "model-file", GOLDEN_DIR "/encoder/alibi.safetensors", NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 2);
  fail_unless_equals_int (count_heads (proxy, "layer1"), 6);
  g_object_set (element, "model-file", GOLDEN_DIR "/encoder/mimi-half.safetensors", NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 2);
  fail_unless_equals_int (count_heads (proxy, "layer1"), 3);
  gst_object_unref (element);
}
GST_END_TEST;

/* The children of its file come with the preset. */
GST_START_TEST (test_preset_brings_gains_of_layers_to_a_new_element)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);

  g_object_set (element, "model-file", GOLDEN_DIR "/encoder/moonshine.safetensors", NULL);
  gst_child_proxy_set (GST_CHILD_PROXY (element), "layer2::head1::gain", 0.25f, NULL);
  fail_unless (gst_preset_save_preset (GST_PRESET (element), "layers"));
  gst_object_unref (element);
  element = gst_element_factory_make ("attentionencoder", NULL);
  fail_unless (gst_preset_load_preset (GST_PRESET (element), "layers"));
  fail_unless (get_gain (element, "layer2::head1::gain") == 0.25f && get_gain (element, "layer0::head1::gain") == 1);
  fail_unless (gst_preset_delete_preset (GST_PRESET (element), "layers"));
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- gains ---- */

/* The last layer, whose rows are late. */
static gchar *
last_head (const Encoder *e, guint *layer)
{
  *layer = attn_layer_n_attentions (e->layer) - 1;
  return g_strdup_printf ("layer%u::head1::gain", *layer);
}

/* By the core, frame by frame: from frame `cut` on the second head of a layer has another gain. */
static gfloat *
expect_gain (const Encoder *e, guint layer, guint cut, gfloat gain)
{
  gfloat *out = g_new0 (gfloat, (e->n_out + 1) * e->n_outputs);
  AttnStream *stream;
  gsize n = 0;
  guint i;

  g_assert (attn_stream_new (e->layer, &stream, NULL) == ATTN_OK);
  for (i = 0; i < e->n; i++) {
    if (i == cut)
      g_assert (attn_stream_set_gain (stream, layer, 1, gain) == ATTN_OK);
    n += attn_stream_push (stream, e->frames + i * e->n_features, 1, out + n * e->n_outputs, NULL);
  }
  n += attn_stream_drain (stream, out + n * e->n_outputs, NULL);
  fail_unless_equals_uint64 (n, e->n_out);
  attn_stream_free (stream);
  return out;
}

GST_START_TEST (test_a_gain_holds_from_the_next_row_that_its_layer_computes)
{
  static const guint sizes[] = { 1, 7, 64 };
  Encoder *e = open_encoder (__i__);
  guint layer, cut = 29, i, begin, n;
  gchar *name = last_head (e, &layer);
  gfloat *expected;

  memset (e->present, 1, e->n);
  encoder_expect (e);
  expected = expect_gain (e, layer, cut, -0.5f);
  fail_if (memcmp (expected, e->expected, e->n_out * e->n_outputs * sizeof *expected) == 0);
  for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
    GstHarness *h = encoder_harness (e);

    gst_harness_set_src_caps (h, encoder_caps (e, FALSE, 0));
    for (begin = 0; begin < e->n; begin += n) {
      if (begin == cut)
        gst_child_proxy_set (GST_CHILD_PROXY (h->element), name, -0.5f, NULL);
      n = MIN (sizes[i], (begin < cut ? cut : e->n) - begin);
      gst_harness_push (h, encoder_buffer (e, begin, n));
    }
    gst_harness_push_event (h, gst_event_new_eos ());
    check_values (h, expected, e->n_out * e->n_outputs);
    gst_harness_teardown (h);
  }
  g_free (expected);
  g_free (name);
  close_encoder (e);
}
GST_END_TEST;

/* From 0 to 1 within the stream. */
static GstControlSource *
make_curve (const Encoder *e)
{
  GstControlSource *source = gst_interpolation_control_source_new ();

  g_object_set (source, "mode", GST_INTERPOLATION_MODE_LINEAR, NULL);
  gst_timed_value_control_source_set (GST_TIMED_VALUE_CONTROL_SOURCE (source), 0, 0);
  gst_timed_value_control_source_set (GST_TIMED_VALUE_CONTROL_SOURCE (source), e->n * FRAME_TIME, 1);
  return source;
}

/* By the core, where each row has the gain of its own time. */
static gfloat *
expect_curve (const Encoder *e, guint layer, GstControlSource *curve)
{
  const AttnConfig *config = attn_layer_attention (e->layer, layer);
  guint64 stride = attn_layer_attention_stride (e->layer, layer), n_rows = e->n / stride + 3, i, head;
  gfloat *out = g_new0 (gfloat, (e->n_out + 1) * e->n_outputs), *gains = g_new (gfloat, n_rows * config->n_heads);
  AttnStream *stream;
  gsize n;

  for (i = 0; i < n_rows; i++)
    for (head = 0; head < config->n_heads; head++) {
      gdouble value = 1;

      if (head == 1)
        fail_unless (gst_control_source_get_value (curve, i * stride * FRAME_TIME, &value));
      gains[i * config->n_heads + head] = value;
    }
  g_assert (attn_stream_new (e->layer, &stream, NULL) == ATTN_OK);
  g_assert (attn_stream_set_row_gains (stream, layer, gains, n_rows) == ATTN_OK);
  n = attn_stream_push (stream, e->frames, e->n, out, NULL);
  n += attn_stream_drain (stream, out + n * e->n_outputs, NULL);
  fail_unless_equals_uint64 (n, e->n_out);
  attn_stream_free (stream);
  g_free (gains);
  return out;
}

static void
bind_curve (GstHarness *h, guint layer, GstControlSource *curve)
{
  gchar *name = g_strdup_printf ("layer%u", layer);
  GObject *child = gst_child_proxy_get_child_by_name (GST_CHILD_PROXY (h->element), name);
  GObject *head = gst_child_proxy_get_child_by_name (GST_CHILD_PROXY (child), "head1");

  gst_object_add_control_binding (GST_OBJECT (head),
                                  gst_direct_control_binding_new_absolute (GST_OBJECT (head), "gain", curve));
  gst_object_unref (head);
  gst_object_unref (child);
  g_free (name);
}

static void
check_curve (const Encoder *e, guint layer, guint size, gboolean is_watched, GstControlSource *curve,
             const gfloat *expected)
{
  gchar *name = g_strdup_printf ("weights_%u", layer);
  GstHarness *h = encoder_harness (e), *w = NULL;

  if (is_watched)
    w = gst_harness_new_with_element (h->element, NULL, name);
  bind_curve (h, layer, curve);
  play (h, e, FALSE, size, GAP_EVENTS, NULL);
  check_values (h, expected, e->n_out * e->n_outputs);
  g_clear_pointer (&w, gst_harness_teardown);
  gst_harness_teardown (h);
  g_free (name);
}

/* The same bits for any buffers, in the first layer and in the last, watched or not. */
GST_START_TEST (test_a_controller_is_evaluated_at_the_time_of_each_row)
{
  static const guint sizes[] = { 1, 7, 64 };
  Encoder *e = open_encoder (__i__);
  const guint layers[] = { 0, attn_layer_n_attentions (e->layer) - 1 };
  GstControlSource *curve = make_curve (e);
  guint i, j;

  memset (e->present, 1, e->n);
  encoder_expect (e);
  for (i = 0; i < 2; i++) {
    gfloat *expected = expect_curve (e, layers[i], curve);

    for (j = 0; j < 2 * G_N_ELEMENTS (sizes); j++)
      check_curve (e, layers[i], sizes[j / 2], j % 2, curve, expected);
    g_free (expected);
  }
  gst_object_unref (curve);
  close_encoder (e);
}
GST_END_TEST;

static Suite *
attentionencoder_weights_suite (void)
{
  Suite *suite = suite_create ("attentionencoder-weights");
  TCase *rows = tcase_create ("rows"), *gains = tcase_create ("gains");

  suite_add_tcase (suite, rows);
  tcase_add_loop_test (rows, test_rows_of_every_layer_leave_in_order_at_their_times_over_holes, 0, N_ENCODERS);
  tcase_add_loop_test (rows, test_caps_have_the_rate_of_the_layer_and_say_what_a_row_is, 0, 2);
  tcase_add_loop_test (rows, test_a_pad_that_comes_late_begins_with_the_next_frame, 0, N_ENCODERS);
  tcase_add_loop_test (rows, test_rows_go_on_from_a_restored_state, 0, N_ENCODERS);
  tcase_add_test (rows, test_a_pad_of_a_layer_that_is_not_there_is_refused);
  tcase_add_test (rows, test_a_pad_that_no_encoder_has_is_refused);
  tcase_add_test (rows, test_an_encoder_without_attention_has_no_pads_of_weights);
  tcase_add_test (rows, test_a_file_that_is_set_while_another_one_runs_waits_for_the_next_start);
  tcase_add_test (rows, test_messages_say_which_layer_they_are_of);
  tcase_add_test (rows, test_the_scope_draws_any_layer);

  suite_add_tcase (suite, gains);
  tcase_add_loop_test (gains, test_gst_launch_sets_gains_of_layers_in_either_order, 0, 2);
  tcase_add_test (gains, test_children_are_those_of_the_file);
  tcase_add_test (gains, test_children_of_a_file_with_other_heads_are_others);
  tcase_add_test (gains, test_preset_brings_gains_of_layers_to_a_new_element);
  tcase_add_loop_test (gains, test_a_gain_holds_from_the_next_row_that_its_layer_computes, 0, N_ENCODERS);
  tcase_add_loop_test (gains, test_a_controller_is_evaluated_at_the_time_of_each_row, 0, N_ENCODERS);
  return suite;
}

GST_CHECK_MAIN (attentionencoder_weights);
