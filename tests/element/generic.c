/* Rules for every element of the plugins, also for future ones.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include "buscheck.h"
#include "memorycheck.h"

static GList *
our_factories (void)
{
  GstRegistry *registry = gst_registry_get ();
  GList *features = gst_registry_get_feature_list_by_plugin (registry, "attention");

  fail_unless (g_list_length (features) >= 5);
  features = g_list_concat (features, gst_registry_get_feature_list_by_plugin (registry, "attentionscope"));
  fail_unless (g_list_length (features) >= 6);
  return features;
}

static GstElement *
make (GList *feature)
{
  GstPluginFeature *loaded = gst_plugin_feature_load (feature->data);
  GstElement *element = gst_element_factory_create (GST_ELEMENT_FACTORY (loaded), NULL);

  fail_unless (element != NULL, "%s", GST_OBJECT_NAME (feature->data));
  gst_object_unref (loaded);
  /* Sets the required properties. */
  if (g_str_equal (GST_OBJECT_NAME (feature->data), "attentionencoder"))
    g_object_set (element, "model-file", GOLDEN_DIR "/encoder/conv-strides.safetensors", NULL);
  if (g_str_equal (GST_OBJECT_NAME (feature->data), "ctctext"))
    g_object_set (element, "tokens", TOKENS_FILE, NULL);
  return element;
}

/* Every way between the states, twice, so that a second life follows the first. */
GST_START_TEST (test_states_up_and_down_and_again)
{
  static const GstState walk[] = { GST_STATE_READY,   GST_STATE_NULL,   GST_STATE_PAUSED,  GST_STATE_READY,
                                   GST_STATE_PLAYING, GST_STATE_PAUSED, GST_STATE_PLAYING, GST_STATE_READY,
                                   GST_STATE_PAUSED,  GST_STATE_NULL,   GST_STATE_PLAYING, GST_STATE_NULL };
  GList *features = our_factories (), *f;
  guint i;

  for (f = features; f != NULL; f = f->next) {
    GstElement *element = make (f);

    for (i = 0; i < 2 * G_N_ELEMENTS (walk); i++)
      fail_unless (gst_element_set_state (element, walk[i % G_N_ELEMENTS (walk)]) != GST_STATE_CHANGE_FAILURE,
                   "%s, step %u", GST_ELEMENT_NAME (element), i);
    ASSERT_OBJECT_REFCOUNT (element, "element", 1);
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (features);
}
GST_END_TEST;

GST_START_TEST (test_dispose_in_every_state_up_to_ready)
{
  GList *features = our_factories (), *f;

  for (f = features; f != NULL; f = f->next) {
    GstElement *element = make (f);

    ASSERT_OBJECT_REFCOUNT (element, "element", 1);
    gst_object_unref (element);
    element = make (f);
    gst_element_set_state (element, GST_STATE_READY);
    gst_element_set_state (element, GST_STATE_NULL);
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (features);
}
GST_END_TEST;

static const gchar *
metadata (GstElement *element, const gchar *key)
{
  return gst_element_class_get_metadata (GST_ELEMENT_GET_CLASS (element), key);
}

/*
 * The text of gst-inspect-1.0: every property and element is described, pads have templates, and all have the same
 * authors.
 */
GST_START_TEST (test_everything_is_described)
{
  GList *features = our_factories (), *f;
  guint i, n;

  for (f = features; f != NULL; f = f->next) {
    GstElement *element = make (f);
    GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

    for (i = 0; i < n; i++) {
      const gchar *blurb = g_param_spec_get_blurb (specs[i]);

      if (!g_type_is_a (specs[i]->owner_type, G_OBJECT_TYPE (element)))
        continue;
      fail_unless (blurb != NULL && strlen (blurb) > 20, "%s: %s", GST_ELEMENT_NAME (element), specs[i]->name);
    }
    g_free (specs);
    fail_unless (gst_element_class_get_pad_template_list (GST_ELEMENT_GET_CLASS (element)) != NULL);
    fail_unless (strlen (metadata (element, GST_ELEMENT_METADATA_DESCRIPTION)) > 10);
    fail_unless_equals_string (metadata (element, GST_ELEMENT_METADATA_AUTHOR), "the gst-attention authors");
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (features);
}
GST_END_TEST;

GST_START_TEST (test_plugins_say_where_they_come_from)
{
  static const gchar *names[] = { "attention", "attentionscope" };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    GstPlugin *plugin = gst_registry_find_plugin (gst_registry_get (), names[i]);

    fail_unless (plugin != NULL, "%s", names[i]);
    fail_unless_equals_string (gst_plugin_get_package (plugin), "gst-attention");
    fail_unless_equals_string (gst_plugin_get_origin (plugin), PACKAGE_ORIGIN);
    fail_unless (strstr (PACKAGE_ORIGIN, "nknown") == NULL && strlen (PACKAGE_ORIGIN) > 0);
    gst_object_unref (plugin);
  }
}
GST_END_TEST;

/* A value of a numeric property at its lowest, its highest, and its default, reads back as it was set. */
static void
check_number (GstElement *element, GParamSpec *spec)
{
  enum { LOWEST, HIGHEST, DEFAULT, N_PLACES };
  guint i;

  for (i = 0; i < N_PLACES; i++) {
    GValue value = G_VALUE_INIT, got = G_VALUE_INIT;

    g_value_init (&value, spec->value_type);
    g_value_init (&got, spec->value_type);
    if (G_IS_PARAM_SPEC_UINT (spec))
      g_value_set_uint (&value, i == LOWEST ? G_PARAM_SPEC_UINT (spec)->minimum : G_PARAM_SPEC_UINT (spec)->maximum);
    else if (G_IS_PARAM_SPEC_DOUBLE (spec))
      g_value_set_double (&value,
                          i == LOWEST ? G_PARAM_SPEC_DOUBLE (spec)->minimum : G_PARAM_SPEC_DOUBLE (spec)->maximum);
    if (i == DEFAULT)
      g_param_value_set_default (spec, &value);
    g_object_set_property (G_OBJECT (element), spec->name, &value);
    g_object_get_property (G_OBJECT (element), spec->name, &got);
    fail_unless (g_param_values_cmp (spec, &value, &got) == 0, "%s: %s", GST_ELEMENT_NAME (element), spec->name);
    g_value_unset (&value);
    g_value_unset (&got);
  }
}

GST_START_TEST (test_numeric_properties_read_back_at_their_limits)
{
  GList *features = our_factories (), *f;
  guint i, n;

  for (f = features; f != NULL; f = f->next) {
    GstElement *element = make (f);
    GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

    for (i = 0; i < n; i++)
      if (specs[i]->owner_type == G_OBJECT_TYPE (element) && (specs[i]->flags & G_PARAM_WRITABLE)
          && (G_IS_PARAM_SPEC_UINT (specs[i]) || G_IS_PARAM_SPEC_DOUBLE (specs[i])))
        check_number (element, specs[i]);
    g_free (specs);
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (features);
}
GST_END_TEST;

/* A value that is read is one that may be set: no property is forgotten where they are read. */
GST_START_TEST (test_every_property_is_read)
{
  GList *features = our_factories (), *f;
  guint i, n;

  for (f = features; f != NULL; f = f->next) {
    GstElement *element = make (f);
    GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

    for (i = 0; i < n; i++) {
      GValue value = G_VALUE_INIT;

      if (specs[i]->owner_type != G_OBJECT_TYPE (element) || !(specs[i]->flags & G_PARAM_READABLE))
        continue;
      g_value_init (&value, specs[i]->value_type);
      g_object_get_property (G_OBJECT (element), specs[i]->name, &value);
      fail_if (g_param_value_validate (specs[i], &value), "%s: %s", GST_ELEMENT_NAME (element), specs[i]->name);
      g_value_unset (&value);
    }
    g_free (specs);
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (features);
}
GST_END_TEST;

/* The text of an error names the failure; the stream ends there. */
GST_START_TEST (test_memory_that_cannot_be_mapped_is_an_error)
{
  static const struct {
    const gchar *element, *caps;
  } cases[] = {
    { "attention", "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=4" },
    { "attentionscope", "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=4, "
                                                                  "channel-mask=(bitmask)0, heads=1, sinks=0, window=4,"
                                                                  "look-ahead=0" },
    { "logmel", "audio/x-raw, format=" GST_AUDIO_NE (S16) ", layout=interleaved, rate=16000, channels=1" },
    { "npyparse", "application/x-npy" },
    { "ctctext tokens=\"" TOKENS_FILE "\"",
      "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=4" },
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = gst_harness_new_parse (cases[i].element);
    GstBus *bus = attach_bus (h->element);
    gchar *text;

    gst_harness_set_src_caps_str (h, cases[i].caps);
    fail_unless_equals_int (gst_harness_push (h, new_unmappable_buffer (160)), GST_FLOW_ERROR);
    text = pop_error (bus);
    fail_unless (text != NULL && strstr (text, "cannot map a buffer") != NULL, "%s: %s", cases[i].element, text);
    g_free (text);
    detach_bus (h->element, bus);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

static Suite *
generic_suite (void)
{
  Suite *suite = suite_create ("generic");
  TCase *tc = tcase_create ("every element");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_states_up_and_down_and_again);
  tcase_add_test (tc, test_dispose_in_every_state_up_to_ready);
  tcase_add_test (tc, test_everything_is_described);
  tcase_add_test (tc, test_plugins_say_where_they_come_from);
  tcase_add_test (tc, test_numeric_properties_read_back_at_their_limits);
  tcase_add_test (tc, test_every_property_is_read);
  tcase_add_test (tc, test_memory_that_cannot_be_mapped_is_an_error);
  return suite;
}

GST_CHECK_MAIN (generic);
