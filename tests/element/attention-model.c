/*
 * The element `attention`: the metadata of its model file: values of unset properties, and the origin that the frames
 * must have.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"

#include "modelcheck.h"
#include "pipelinecheck.h"

#define HEADS 3 /* that the model has, of 6 features */
#define N_WEIGHTS (3 * D * D)

static gchar *file;

static void
setup (void)
{
  make_folder ();
  file = path_of ("model.safetensors");
}

static void
teardown (void)
{
  remove_folder ();
  g_clear_pointer (&file, g_free);
}

/* The entry of a norm's weight, whose values are those of the projections from the first on. */
static gchar *
norm_tensor (const gchar *name)
{
  return g_strdup_printf (",'a.%s.weight':{'dtype':'F32','shape':[%d],'data_offsets':[%d,%d]}", name, D / HEADS,
                          N_WEIGHTS * 4 + (*name == 'k') * D / HEADS * 4,
                          N_WEIGHTS * 4 + (1 + (*name == 'k')) * D / HEADS * 4);
}

/* A layer of D features with this metadata, such as "'heads':'3'", with ' in place of ". */
static void
write_layer (const gchar *metadata, gboolean with_norms)
{
  gfloat weights[N_WEIGHTS + 2 * D / HEADS];
  gchar *query = norm_tensor ("q_norm"), *key = norm_tensor ("k_norm");

  fill_random (weights, G_N_ELEMENTS (weights), 7);
  write_safetensors (file,
                     g_strdup_printf ("{'__metadata__':{%s},'a.in_proj_weight':{'dtype':'F32','shape':[%d,%d],"
                                      "'data_offsets':[0,%d]}%s%s}",
                                      metadata, 3 * D, D, N_WEIGHTS * 4, with_norms ? query : "",
                                      with_norms ? key : ""),
                     weights, with_norms ? sizeof weights : N_WEIGHTS * 4);
  g_free (query);
  g_free (key);
}

static void
write_model (const gchar *metadata)
{
  write_layer (metadata, FALSE);
}

static GstElement *
new_element (void)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "model-prefix", "a.", "model-file", file, NULL);
  return element;
}

/* ---- properties ---- */

static const gchar *const properties[] = { "heads",           "kv-heads", "window",     "look-ahead", "sinks",
                                           "scale",           "softcap",  "position",   "rope-base",  "rope-layout",
                                           "rope-dimensions", "qk-norm",  "qk-norm-eps" };

/* Other values than the defaults. There are as many kv-heads as heads, as in_proj_weight has a third for each. */
static const gchar *const said[] = { "3",    "3",   "9",           "2", "4",   "0.25", "30",
                                     "rope", "500", "interleaved", "2", "rms", "0.25" };
static const gchar *const defaults[] = {
  "1", "0", "64", "0", "0", "0", "0", "none", "10000", "half", "0", "none", "1.0000000000000001e-05"
};

static void
write_model_that_says_all (void)
{
  GString *metadata = g_string_new ("'licence':'none'");

  for (guint i = 0; i < G_N_ELEMENTS (properties); i++)
    g_string_append_printf (metadata, ",'%s':'%s'", properties[i], said[i]);
  write_layer (metadata->str, TRUE);
  g_string_free (metadata, TRUE);
}

static void
check_properties (GstElement *element, const gchar *const *expected)
{
  for (guint i = 0; i < G_N_ELEMENTS (properties); i++) {
    GValue value = G_VALUE_INIT;
    gchar *text;

    g_object_get_property (G_OBJECT (element), properties[i], &value);
    text = gst_value_serialize (&value);
    fail_unless_equals_string (text, expected[i]);
    g_free (text);
    g_value_unset (&value);
  }
}

static void
count (GObject *object, GParamSpec *pspec, gpointer n)
{
  ++*(guint *) n;
}

/* Before anything is started; each change, and the change back, sends a notification. */
GST_START_TEST (test_properties_that_nobody_set_read_as_the_model_says)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  guint n[G_N_ELEMENTS (properties)] = { 0 };

  write_model_that_says_all ();
  for (guint i = 0; i < G_N_ELEMENTS (properties); i++) {
    gchar *signal = g_strconcat ("notify::", properties[i], NULL);

    g_signal_connect (element, signal, G_CALLBACK (count), &n[i]);
    g_free (signal);
  }
  check_properties (element, defaults);
  g_object_set (element, "model-file", file, NULL); /* under "" there is nothing */
  check_properties (element, defaults);
  g_object_set (element, "model-prefix", "a.", NULL);
  check_properties (element, said);
  for (guint i = 0; i < G_N_ELEMENTS (properties); i++)
    fail_unless_equals_int (n[i], 1);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), HEADS);
  g_object_set (element, "model-file", NULL, NULL);
  check_properties (element, defaults);
  fail_unless_equals_int (n[0], 2);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), 1);
  gst_object_unref (element);
}
GST_END_TEST;

/* Keys that mean nothing together with a window have a file of their own. */
GST_START_TEST (test_chunks_and_their_positions_read_as_the_model_says)
{
  static const gchar *const names[] = { "position", "chunk", "chunks", "window", "look-ahead" };
  static const gchar *const values[] = { "transformer-xl", "5", "3", "20", "4" };
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "model-file", GOLDEN_DIR "/attention/transformer-xl-chunk.safetensors", "model-prefix",
                "attn.", NULL);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GValue value = G_VALUE_INIT;
    gchar *text;

    g_object_get_property (G_OBJECT (element), names[i], &value);
    text = gst_value_serialize (&value);
    fail_unless_equals_string (text, values[i]);
    g_free (text);
    g_value_unset (&value);
  }
  gst_object_unref (element);
}
GST_END_TEST;

/* The file alone is enough: the bits are those of the core with the same settings and a model without metadata. */
GST_START_TEST (test_model_file_alone_gives_the_bits_of_its_settings)
{
  AttnConfig config = configuration (HEADS, 9, 2);
  gfloat *frames = make_frames (40, D), *expected;
  GstHarness *h;
  AttnModel *model;

  write_layer ("'note':'nothing'", TRUE);
  fail_unless_equals_int (attn_model_open (file, "a.", &model, NULL), ATTN_OK);
  config.n_sinks = 4;
  config.scale = 0.25;
  config.softcap = 30;
  config.position = ATTN_POSITION_ROPE;
  config.rope_base = 500;
  config.rope_layout = ATTN_ROPE_INTERLEAVED;
  config.qk_norm = ATTN_QK_NORM_RMS;
  config.qk_norm_eps = 0.25;
  expected = expect_with_model (&config, model, frames, NULL, 40);
  write_model_that_says_all ();
  h = gst_harness_new_with_element (new_element (), "sink", "src");
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 40; t += 5)
    push_frames (h, frames, t, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 40);
  check_properties (h->element, said);
  attn_model_free (model);
  g_free (frames);
  g_free (expected);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
}
GST_END_TEST;

/*
 * Without heads and kv-heads, which fail by their shapes first, and without rope-dimensions, where 0 is the whole head.
 */
static const gchar *const other[] = { NULL,   NULL,    "64",   "0",  "0",    "0",    "0",
                                      "none", "10000", "half", NULL, "none", "1e-05" };

/* Even if it is set to its default. */
GST_START_TEST (test_property_that_was_set_and_disagrees_is_refused)
{
  const gchar *name = properties[__i__];
  GstElement *element;
  GstBus *bus;
  gchar *text, *model_says, *but;

  if (other[__i__] == NULL)
    return;
  write_model_that_says_all ();
  element = new_element ();
  bus = attach_bus (element);
  gst_util_set_object_arg (G_OBJECT (element), name, other[__i__]);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  text = pop_error (bus);
  fail_unless (text != NULL);
  model_says = g_strdup_printf ("metadata says %s=%s", name, said[__i__]);
  but = g_strdup_printf ("%s is %s", name, other[__i__]);
  fail_unless (strstr (text, model_says) && strstr (text, but), "%s", text);
  g_free (model_says);
  g_free (but);
  g_free (text);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}
GST_END_TEST;

/* Takes the pipeline. */
static gfloat
gain_in (GstElement *pipeline)
{
  GstElement *attention = gst_bin_get_by_name (GST_BIN (pipeline), "a");
  gfloat gain = -1;

  gst_child_proxy_get (GST_CHILD_PROXY (attention), "head2::gain", &gain, NULL);
  gst_object_unref (attention);
  gst_object_unref (pipeline);
  return gain;
}

GST_START_TEST (test_gst_launch_sets_gains_of_heads_that_the_model_has)
{
  write_model ("'heads':'3'");
  fail_unless (
      gain_in (launch ("fakesrc ! attention name=a model-prefix=a. model-file=%s head2::gain=0.5 ! fakesink", file))
      == 0.5);
  fail_unless (
      gain_in (launch ("fakesrc ! attention name=a model-file=%s head2::gain=0.5 model-prefix=a. ! fakesink", file))
      == 0.5);
  fail_unless (
      gain_in (launch ("fakesrc ! attention name=a head2::gain=0.5 model-prefix=a. model-file=%s ! fakesink", file))
      == 0.5);
}
GST_END_TEST;

GST_START_TEST (test_file_that_cannot_be_read_is_said_at_start_only)
{
  GstElement *element = new_element ();
  GstBus *bus = attach_bus (element);

  check_properties (element, defaults);
  fail_unless (pop_error (bus) == NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  fail_unless_error (bus, "No such file");
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}
GST_END_TEST;

/* The file of the start keeps running, with its heads and gains. */
GST_START_TEST (test_file_that_changed_since_it_was_set_counts_at_start)
{
  GstElement *element;
  guint window, n_window = 0;

  write_model ("'heads':'2','window':'5'");
  element = new_element ();
  g_signal_connect (element, "notify::window", G_CALLBACK (count), &n_window);
  write_model ("'heads':'3','window':'7'");
  gst_element_set_state (element, GST_STATE_PAUSED);
  g_object_get (element, "window", &window, NULL);
  fail_unless_equals_int (window, 7);
  fail_unless_equals_int (n_window, 1);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), 3);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_heads_that_were_set_stay)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  write_model ("'heads':'3'");
  g_object_set (element, "heads", 6, "model-prefix", "a.", "model-file", file, NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), 6);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- the origin of the frames ---- */

/* The caps, the metadata, and the words of the error; NULL: no error. */
static const struct {
  const gchar *caps, *metadata, *trained_on, *says;
} made_from[] = {
  { "sample-rate=(int)16000", "'sample-rate':'8000'", "sample-rate=8000", "the stream says 16000" },
  { "sample-rate=(int)8000", "'sample-rate':'8000'", NULL, NULL },
  { "sample-rate=(int)192001", "'sample-rate':'192000'", "sample-rate=192000", "the stream says 192001" },
  { "sample-rate=(int)8000", "'sample-rate':'8000.0'", NULL, NULL },
  { "sample-rate=(int)8000", "'sample-rate':'8 kHz'", "sample-rate=8 kHz", "the stream says 8000" },
  { "sample-rate=(int)16000", "'note':'says nothing'", NULL, NULL },
  { "note=(string)says-nothing", "'sample-rate':'8000','style':'whisper'", NULL, NULL },
  { "bins=(int)6", "'bins':'40'", "bins=40", "the stream says 6" },
  { "style=(string)kaldi", "'style':'whisper'", "style=whisper", "the stream says kaldi" },
  { "style=(string)kaldi", "'style':'kaldi'", NULL, NULL },
  { "frame-length=(double)25", "'frame-length':'32'", "frame-length=32", "the stream says 25" },
  { "hop-length=(double)12.5", "'hop-length':'10'", "hop-length=10", "the stream says 12.5" },
  { "hop-length=(double)12.5", "'hop-length':'12.5'", NULL, NULL },
  { "fft-size=(int)512", "'fft-size':'400'", "fft-size=400", "the stream says 512" },
  { "fft-size=(int)512", "'fft-size':'0'", NULL, NULL }, /* as the style says */
  { "low-frequency=(double)20", "'low-frequency':'0'", "low-frequency=0", "the stream says 20" },
  { "sample-rate=(int)16000,high-frequency=(double)8000", "'high-frequency':'0'", NULL, NULL },
  { "sample-rate=(int)16000,high-frequency=(double)7600", "'high-frequency':'-400'", NULL, NULL },
  { "sample-rate=(int)16000,high-frequency=(double)8000", "'high-frequency':'-400'", "high-frequency=-400",
    "says 8000" },
  { "window-function=(string)povey", "'window-function':'hann'", "window-function=hann", "the stream says povey" },
  { "mel-scale=(string)htk", "'mel-scale':'slaney'", "mel-scale=slaney", "the stream says htk" },
  { "note=(string)rate-is-100", "'frame-rate':'100'", NULL, NULL },
  { "note=(string)rate-is-100", "'frame-rate':'200/2'", NULL, NULL },
  { "note=(string)rate-is-100", "'frame-rate':'62.5'", "frame-rate=62.5", "the stream says 100" },
};

GST_START_TEST (test_frames_that_the_model_was_not_trained_on_are_refused)
{
  gchar *caps = g_strconcat (AUDIO_CAPS ", ", made_from[__i__].caps, NULL), *text;
  GstHarness *h;
  GstBus *bus;

  write_model (made_from[__i__].metadata);
  h = gst_harness_new_with_element (new_element (), "sink", "src");
  bus = attach_bus (h->element);
  gst_harness_set_src_caps_str (h, caps);
  gst_harness_push_event (h, gst_event_new_eos ());
  text = pop_error (bus);
  if (made_from[__i__].trained_on == NULL)
    fail_unless (text == NULL, "%s", text);
  else
    fail_unless (text != NULL && strstr (text, made_from[__i__].trained_on) && strstr (text, made_from[__i__].says)
                     && strstr (text, file),
                 "%s", text);
  g_free (text);
  g_free (caps);
  detach_bus (h->element, bus);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* As with all caps that do not fit, the error comes when they are needed. */
GST_START_TEST (test_other_frames_that_are_taken_back_before_a_buffer_are_no_error)
{
  gfloat frame[6] = { 0 };
  GstHarness *h;
  GstBus *bus;

  write_model ("'sample-rate':'8000'");
  h = gst_harness_new_with_element (new_element (), "sink", "src");
  bus = attach_bus (h->element);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS ", sample-rate=(int)16000");
  gst_harness_set_src_caps_str (h, AUDIO_CAPS ", sample-rate=(int)8000");
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)), GST_FLOW_OK);
  fail_unless (pop_error (bus) == NULL);
  detach_bus (h->element, bus);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The model is that of the start, whatever was set later. */
GST_START_TEST (test_frames_are_refused_in_the_name_of_the_model_that_runs)
{
  static const gchar *set_since[] = { "another", NULL };
  GstHarness *h;
  GstBus *bus;
  gchar *text;

  write_model ("'sample-rate':'8000'");
  h = gst_harness_new_with_element (new_element (), "sink", "src");
  bus = attach_bus (h->element);
  g_object_set (h->element, "model-file", set_since[__i__ % 2], NULL);
  gst_harness_set_src_caps_str (h, __i__ < 2 ? AUDIO_CAPS ", sample-rate=(int)16000" : AUDIO_CAPS ", channels=(int)5");
  gst_harness_push_event (h, gst_event_new_eos ());
  text = pop_error (bus);
  fail_unless (text != NULL && g_str_has_prefix (text, file), "%s", text);
  g_free (text);
  detach_bus (h->element, bus);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* 0/1 is unknown, and no reason to refuse. */
GST_START_TEST (test_frame_rate_counts_where_caps_tell)
{
  const gchar *rates[] = { "0/1", "125/2", "63/1" };

  for (guint i = 0; i < G_N_ELEMENTS (rates); i++) {
    gchar *caps = g_strdup_printf ("other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                   "dimensions=(string)6:1:1:1, framerate=(fraction)%s",
                                   rates[i]);
    gchar *text;
    GstHarness *h;
    GstBus *bus;

    write_model ("'frame-rate':'62.5'");
    h = gst_harness_new_with_element (new_element (), "sink", "src");
    bus = attach_bus (h->element);
    gst_harness_set_src_caps_str (h, caps);
    gst_harness_push_event (h, gst_event_new_eos ());
    text = pop_error (bus);
    if (i == 2)
      fail_unless (text != NULL && strstr (text, "frame-rate=62.5") && strstr (text, "says 63"), "%s", text);
    else
      fail_unless (text == NULL, "%s", text);
    g_free (text);
    g_free (caps);
    detach_bus (h->element, bus);
    gst_object_unref (h->element);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* Attended frames are no longer log-mel frames, but come from the same sound. All other fields of the caps stay. */
GST_START_TEST (test_output_says_of_its_front_end_the_sample_rate_alone)
{
  GstHarness *h = gst_harness_new ("attention");
  GstCaps *caps, *expected = gst_caps_from_string (AUDIO_CAPS ", note=(string)mine, sample-rate=(int)16000");

  gst_harness_set_src_caps_str (h, AUDIO_CAPS ", note=(string)mine, sample-rate=(int)16000, style=(string)kaldi");
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless (gst_caps_is_equal (caps, expected), "caps: %s", gst_caps_to_string (caps));
  gst_caps_unref (caps);
  gst_caps_unref (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_weights_say_of_their_front_end_the_sample_rate_alone)
{
  GstHarness *h = gst_harness_new ("attention"), *w = gst_harness_new_with_element (h->element, NULL, "weights");
  gfloat frame[D] = { 0 };
  const GstStructure *structure;
  GstCaps *caps;
  gint sample_rate;

  gst_harness_set_src_caps_str (h, AUDIO_CAPS ", sample-rate=(int)16000, style=(string)kaldi, bins=(int)80");
  gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame));
  caps = gst_pad_get_current_caps (w->sinkpad);
  structure = gst_caps_get_structure (caps, 0);
  fail_unless (gst_structure_get_int (structure, "sample-rate", &sample_rate) && sample_rate == 16000);
  fail_if (gst_structure_has_field (structure, "style") || gst_structure_has_field (structure, "bins"));
  gst_caps_unref (caps);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Both ends are real elements. The model says the same as the properties of logmel. */
GST_START_TEST (test_logmel_tells_attention_what_it_made)
{
  static const struct {
    const gchar *rate, *logmel, *wrong;
  } lines[] = {
    { "8000", "bins=6", NULL },
    { "44100", "bins=6", "sample-rate=8000" },
    { "8000", "bins=6 style=whisper", "style=kaldi" },
    { "8000", "bins=6 mel-scale=slaney", "mel-scale=htk" },
    { "8000", "bins=5", "bins=6" },
  };

  write_model ("'sample-rate':'8000','bins':'6','style':'kaldi','frame-rate':'100','fft-size':'0','high-frequency':'0',"
               "'mel-scale':'htk','window-function':'povey','low-frequency':'20','frame-length':'25'");
  for (guint i = 0; i < G_N_ELEMENTS (lines); i++) {
    gchar *line =
        g_strdup_printf ("audiotestsrc num-buffers=20 ! audio/x-raw,rate=%s ! logmel %s ! queue ! tee ! identity "
                         "! gdppay ! gdpdepay ! audiobuffersplit output-buffer-duration=1/50 ! level ! "
                         "attention model-prefix=a. model-file=%s ! fakesink",
                         lines[i].rate, lines[i].logmel, file);
    GstElement *pipeline = gst_parse_launch (line, NULL);
    GstBus *bus = gst_element_get_bus (pipeline);
    GstMessage *message;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    fail_unless (message != NULL);
    if (lines[i].wrong == NULL) {
      fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
    } else {
      GError *error;

      gst_message_parse_error (message, &error, NULL);
      fail_unless (strstr (error->message, lines[i].wrong), "%s", error->message);
      g_error_free (error);
    }
    gst_message_unref (message);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (bus);
    gst_object_unref (pipeline);
    g_free (line);
  }
}
GST_END_TEST;

static Suite *
attention_model_suite (void)
{
  Suite *suite = suite_create ("attention-model");
  TCase *properties_case = tcase_create ("properties"), *frames = tcase_create ("frames");

  suite_add_tcase (suite, properties_case);
  tcase_add_checked_fixture (properties_case, setup, teardown);
  tcase_add_test (properties_case, test_properties_that_nobody_set_read_as_the_model_says);
  tcase_add_test (properties_case, test_chunks_and_their_positions_read_as_the_model_says);
  tcase_add_test (properties_case, test_model_file_alone_gives_the_bits_of_its_settings);
  tcase_add_loop_test (properties_case, test_property_that_was_set_and_disagrees_is_refused, 0,
                       G_N_ELEMENTS (properties));
  tcase_add_test (properties_case, test_gst_launch_sets_gains_of_heads_that_the_model_has);
  tcase_add_test (properties_case, test_file_that_cannot_be_read_is_said_at_start_only);
  tcase_add_test (properties_case, test_file_that_changed_since_it_was_set_counts_at_start);
  tcase_add_test (properties_case, test_heads_that_were_set_stay);

  suite_add_tcase (suite, frames);
  tcase_add_checked_fixture (frames, setup, teardown);
  tcase_add_loop_test (frames, test_frames_that_the_model_was_not_trained_on_are_refused, 0, G_N_ELEMENTS (made_from));
  tcase_add_test (frames, test_other_frames_that_are_taken_back_before_a_buffer_are_no_error);
  tcase_add_loop_test (frames, test_frames_are_refused_in_the_name_of_the_model_that_runs, 0, 4);
  tcase_add_test (frames, test_frame_rate_counts_where_caps_tell);
  tcase_add_test (frames, test_output_says_of_its_front_end_the_sample_rate_alone);
  tcase_add_test (frames, test_weights_say_of_their_front_end_the_sample_rate_alone);
  tcase_add_test (frames, test_logmel_tells_attention_what_it_made);
  return suite;
}

GST_CHECK_MAIN (attention_model);
