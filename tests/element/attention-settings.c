/*
 * The element `attention`: the properties that change its numbers, which are those of the core with the same settings,
 * before and after a restart.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "outputcheck.h"
#include "pipelinecheck.h"

/* ---- positions ---- */

static const struct {
  const gchar *position, *layout;
  AttnPosition position_value;
  AttnRopeLayout layout_value;
  guint rope_dimensions;
  gdouble rope_base;
} positions[] = {
  { "none", "half", ATTN_POSITION_NONE, ATTN_ROPE_HALF, 0, 10000 },
  { "rope", "half", ATTN_POSITION_ROPE, ATTN_ROPE_HALF, 2, 10000 },
  { "rope", "interleaved", ATTN_POSITION_ROPE, ATTN_ROPE_INTERLEAVED, 2, 7 },
  { "alibi", "half", ATTN_POSITION_ALIBI, ATTN_ROPE_HALF, 0, 10000 },
};

static void
set_position (GstElement *element, guint i)
{
  gst_util_set_object_arg (G_OBJECT (element), "position", positions[i].position);
  gst_util_set_object_arg (G_OBJECT (element), "rope-layout", positions[i].layout);
  g_object_set (element, "rope-dimensions", positions[i].rope_dimensions, "rope-base", positions[i].rope_base, NULL);
}

GST_START_TEST (test_positions_give_the_bits_of_the_core)
{
  AttnConfig config = configuration (2, 9, 2), plain = config;
  gfloat *frames = make_frames (50, D), *expected, *without = expect (&plain, frames, NULL, 50);
  GstHarness *h = harness_new (&config, NULL);

  config.position = positions[__i__].position_value;
  config.rope_layout = positions[__i__].layout_value;
  config.rope_dimensions = positions[__i__].rope_dimensions;
  config.rope_base = positions[__i__].rope_base;
  expected = expect (&config, frames, NULL, 50);
  fail_unless ((memcmp (expected, without, 50 * D * sizeof (gfloat)) == 0) == (__i__ == 0));
  set_position (h->element, __i__);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 5)
    push_frames (h, frames, t, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  g_free (frames);
  g_free (expected);
  g_free (without);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_relative_bias_comes_from_the_model)
{
  GstHarness *h = harness_with_model ("attention/relative", 2, 12);
  AttnConfig config = configuration (2, 12, 3);
  gfloat *frames = make_frames (50, D), *expected;
  AttnModel *model;
  gchar *file;

  g_object_get (h->element, "model-file", &file, NULL);
  fail_unless_equals_int (attn_model_open (file, "attn.", &model, NULL), ATTN_OK);
  config.position = ATTN_POSITION_RELATIVE;
  expected = expect_with_model (&config, model, frames, NULL, 50);
  g_object_set (h->element, "look-ahead", 3, "position", ATTN_POSITION_RELATIVE, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 10)
    push_frames (h, frames, t, 10);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  attn_model_free (model);
  g_free (file);
  g_free (frames);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- all settings that change numbers ---- */

static void
set_sinks (AttnConfig *config)
{
  config->n_sinks = 3;
}

static void
set_scale (AttnConfig *config)
{
  config->scale = 2.5;
}

static void
set_softcap (AttnConfig *config)
{
  config->softcap = 0.75;
}

static void
set_f16 (AttnConfig *config)
{
  config->precision = ATTN_PRECISION_F16;
}

static void
set_bf16 (AttnConfig *config)
{
  config->precision = ATTN_PRECISION_BF16;
}

static void
set_threads (AttnConfig *config)
{
  config->n_threads = 3;
}

static const struct {
  const gchar *property, *value;
  void (*set) (AttnConfig *config);
} settings[] = {
  { "sinks", "3", set_sinks },        { "scale", "2.5", set_scale },
  { "softcap", "0.75", set_softcap }, { "precision", "f16", set_f16 },
  { "precision", "bf16", set_bf16 },  { "threads", "3", set_threads /* which changes nothing */ },
};

GST_START_TEST (test_settings_give_the_bits_of_the_core)
{
  AttnConfig config = configuration (2, 9, 2), plain = config;
  gfloat *frames = make_frames (50, D), *without = expect (&plain, frames, NULL, 50), *expected;
  GstHarness *h = harness_new (&config, NULL);

  settings[__i__].set (&config);
  expected = expect (&config, frames, NULL, 50);
  fail_unless ((memcmp (expected, without, 50 * D * sizeof (gfloat)) == 0) == (settings[__i__].set == set_threads));
  gst_util_set_object_arg (G_OBJECT (h->element), settings[__i__].property, settings[__i__].value);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 50; t += 5)
    push_frames (h, frames, t, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 50);
  g_free (frames);
  g_free (expected);
  g_free (without);
  gst_harness_teardown (h);
}
GST_END_TEST;

static guint
count_threads (void)
{
  GDir *dir = g_dir_open ("/proc/self/task", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  g_dir_close (dir);
  return n;
}

/* The streaming thread is one of them. */
GST_START_TEST (test_threads_are_as_many_as_were_set)
{
  AttnConfig config = configuration (2, 8, 0);
  GstHarness *h = harness_new (&config, NULL);
  guint before;

  g_object_set (h->element, "threads", 4, NULL);
  before = count_threads ();
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (count_threads (), before + 3);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The core fed in the same buffers, large ones, gives the same bits, and they are not those of exact. */
GST_START_TEST (test_fast_goes_through_the_matrix_unit)
{
  AttnConfig config = configuration (2, 9, 0);
  gfloat *frames = make_frames (48, D), *exact = expect (&config, frames, NULL, 48);
  gfloat *expected = g_new0 (gfloat, 48 * D);
  GstStructure *stats;
  AttnLayer *layer;
  AttnStream *stream;
  GstHarness *h;

  g_setenv ("ATTN_MATRIX", "c", TRUE);
  h = harness_new (&config, NULL);
  gst_util_set_object_arg (G_OBJECT (h->element), "arithmetic", "fast");
  config.arithmetic = ATTN_ARITHMETIC_FAST;
  config.n_features = D;
  fail_unless_equals_int (attn_layer_new (&config, NULL, &layer, NULL), ATTN_OK);
  fail_unless_equals_int (attn_stream_new (layer, &stream, NULL), ATTN_OK);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  for (guint t = 0; t < 48; t += 16) {
    push_frames (h, frames, t, 16);
    attn_stream_push (stream, frames + t * D, 16, expected + t * D, NULL);
  }
  g_object_get (h->element, "stats", &stats, NULL);
  fail_unless (g_str_has_suffix (gst_structure_get_string (stats, "kernels"), "+c"));
  gst_structure_free (stats);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_output (h, expected, 48);
  fail_if (memcmp (expected, exact, 48 * D * sizeof (gfloat)) == 0);
  g_unsetenv ("ATTN_MATRIX");
  attn_stream_free (stream);
  attn_layer_free (layer);
  g_free (frames);
  g_free (exact);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Four heads over two of keys and values, 16 features. */
GST_START_TEST (test_kv_heads_give_the_bits_of_the_core)
{
  GstHarness *h = harness_with_model ("attention/relative-grouped", 4, 9);
  AttnConfig config = configuration (4, 9, 5);
  gfloat *frames = make_frames (50, 16), *expected;
  AttnModel *model;
  GstBuffer *buffer;
  gchar *file;

  g_object_get (h->element, "model-file", &file, NULL);
  fail_unless_equals_int (attn_model_open (file, "attn.", &model, NULL), ATTN_OK);
  config.n_features = 16;
  config.n_kv_heads = 2;
  config.n_sinks = 4;
  config.position = ATTN_POSITION_RELATIVE;
  expected = expect_with_model (&config, model, frames, NULL, 50);
  g_object_set (h->element, "kv-heads", 2, "look-ahead", 5, "sinks", 4, "position", ATTN_POSITION_RELATIVE, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, TENSOR_CAPS "dimensions=(string)16:50:1:1");
  gst_harness_push (h, gst_buffer_new_memdup (frames, 50 * 16 * sizeof (gfloat)));
  gst_harness_push_event (h, gst_event_new_eos ());
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_memcmp (buffer, 0, expected, 50 * 16 * sizeof (gfloat)), 0);
  gst_buffer_unref (buffer);
  attn_model_free (model);
  g_free (file);
  g_free (frames);
  g_free (expected);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- restarts ---- */

#define N_RESTARTS (3 * (G_N_ELEMENTS (positions) + 1))

/* In PLAYING: position i / 3, the last of them the model's relative bias; precision i % 3; four sinks. */
static GstHarness *
harness_for_restart (guint i, const gchar *state_file)
{
  static const gchar *const precisions[] = { "f32", "f16", "bf16" };
  AttnConfig config = configuration (2, 9, 0);
  gboolean relative = i / 3 == G_N_ELEMENTS (positions);
  GstHarness *h = relative ? harness_with_model ("attention/relative", 2, 12) : harness_new (&config, NULL);

  gst_element_set_state (h->element, GST_STATE_READY);
  if (relative)
    g_object_set (h->element, "position", ATTN_POSITION_RELATIVE, "look-ahead", 3, NULL);
  else
    set_position (h->element, i / 3);
  gst_util_set_object_arg (G_OBJECT (h->element), "precision", precisions[i % 3]);
  g_object_set (h->element, "sinks", relative ? 0 : 4, "state-file", state_file, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  return h;
}

/* The outputs for frames `begin` to before `end`, between a start and a stop of the element. */
static gfloat *
live (guint i, const gchar *state_file, const gfloat *frames, guint begin, guint end)
{
  GstHarness *h = harness_for_restart (i, state_file);
  gfloat *out;
  guint n;

  for (; begin < end; begin += 5)
    push_frames (h, frames, begin, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  out = pull_frames (h, &n);
  gst_harness_teardown (h);
  return out;
}

GST_START_TEST (test_restart_gives_the_same_bytes_with_any_position_and_precision)
{
  gchar *file = (make_folder (), path_of ("state"));
  gfloat *frames = make_frames (60, D), *whole = live (__i__, NULL, frames, 0, 60);
  gfloat *before = live (__i__, file, frames, 0, 35), *after = live (__i__, file, frames, 35, 60);

  fail_unless_same_frames (before, whole, 35 - 3); /* the look-ahead of the relative bias ended with the first life */
  fail_unless_same_frames (after, whole + 35 * D, 25);
  remove_folder ();
  g_free (file);
  g_free (frames);
  g_free (whole);
  g_free (before);
  g_free (after);
}
GST_END_TEST;

/* ---- properties ---- */

GST_START_TEST (test_properties_read_back_what_was_set)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  guint heads, kv_heads, window, look_ahead, sinks, threads;
  gint rate_n, rate_d;
  gdouble scale, softcap;
  gint precision, arithmetic;
  gchar *file, *prefix;

  g_object_set (element, "heads", 8, "kv-heads", 2, "window", 100, "look-ahead", 5, "sinks", 4, "scale", 0.25,
                "softcap", 50.0, "frame-rate", 25, 2, "model-file", "w.safetensors", "model-prefix", "a.", "precision",
                ATTN_PRECISION_BF16, "arithmetic", ATTN_ARITHMETIC_FAST, "threads", 2, NULL);
  g_object_get (element, "heads", &heads, "kv-heads", &kv_heads, "window", &window, "look-ahead", &look_ahead, "sinks",
                &sinks, "scale", &scale, "softcap", &softcap, "model-file", &file, "model-prefix", &prefix, "precision",
                &precision, "arithmetic", &arithmetic, "threads", &threads, NULL);
  fail_unless (heads == 8 && kv_heads == 2 && window == 100 && look_ahead == 5 && sinks == 4 && scale == 0.25
               && softcap == 50 && precision == ATTN_PRECISION_BF16 && arithmetic == ATTN_ARITHMETIC_FAST
               && threads == 2);
  fail_unless_equals_string (file, "w.safetensors");
  fail_unless_equals_string (prefix, "a.");
  {
    GValue value = G_VALUE_INIT;

    g_value_init (&value, GST_TYPE_FRACTION);
    g_object_get_property (G_OBJECT (element), "frame-rate", &value);
    rate_n = gst_value_get_fraction_numerator (&value);
    rate_d = gst_value_get_fraction_denominator (&value);
    g_value_unset (&value);
  }
  fail_unless (rate_n == 25 && rate_d == 2);
  g_free (file);
  g_free (prefix);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_position_properties_read_back_what_was_set)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  gint position, layout;
  guint dimensions;
  gdouble base;

  set_position (element, __i__);
  g_object_get (element, "position", &position, "rope-layout", &layout, "rope-dimensions", &dimensions, "rope-base",
                &base, NULL);
  fail_unless_equals_int (position, (gint) positions[__i__].position_value);
  fail_unless_equals_int (layout, (gint) positions[__i__].layout_value);
  fail_unless (dimensions == positions[__i__].rope_dimensions && base == positions[__i__].rope_base);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_settings_suite (void)
{
  Suite *suite = suite_create ("attention-settings");
  TCase *numbers = tcase_create ("numbers"), *properties = tcase_create ("properties");

  suite_add_tcase (suite, numbers);
  tcase_add_loop_test (numbers, test_positions_give_the_bits_of_the_core, 0, G_N_ELEMENTS (positions));
  tcase_add_test (numbers, test_relative_bias_comes_from_the_model);
  tcase_add_loop_test (numbers, test_settings_give_the_bits_of_the_core, 0, G_N_ELEMENTS (settings));
  tcase_add_test (numbers, test_threads_are_as_many_as_were_set);
  tcase_add_test (numbers, test_fast_goes_through_the_matrix_unit);
  tcase_add_test (numbers, test_kv_heads_give_the_bits_of_the_core);
  tcase_add_loop_test (numbers, test_restart_gives_the_same_bytes_with_any_position_and_precision, 0, N_RESTARTS);

  suite_add_tcase (suite, properties);
  tcase_add_test (properties, test_properties_read_back_what_was_set);
  tcase_add_loop_test (properties, test_position_properties_read_back_what_was_set, 0, G_N_ELEMENTS (positions));
  return suite;
}

GST_CHECK_MAIN (attention_settings);
