/*
 * A process that has no file descriptors left: whatever opens a file ends in an error that names the file and the
 * reason, and works as soon as there are descriptors again.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <sys/resource.h>

#include "statecheck.h"

/* Files that are opened when an element starts. */
static const struct {
  const gchar *factory, *property, *file;
  const gchar *also; /* more properties; NULL: none */
} starts[] = {
  { "attention", "model-file", GOLDEN_DIR "/attention/four-heads.safetensors", "model-prefix=attn." },
  { "attentionencoder", "model-file", GOLDEN_DIR "/encoder/moonshine.safetensors", NULL },
  { "logmel", "model-file", GOLDEN_DIR "/encoder/moonshine.safetensors", "style=kaldi" },
  { "ctctext", "tokens", TOKENS_FILE, NULL },
};

static const Case plain = { 20, 0, 2, FALSE };

/* Files that are open stay so. */
static void
set_limit (rlim_t limit)
{
  struct rlimit limits;

  fail_unless_equals_int (getrlimit (RLIMIT_NOFILE, &limits), 0);
  limits.rlim_cur = MIN (limit, limits.rlim_max);
  fail_unless_equals_int (setrlimit (RLIMIT_NOFILE, &limits), 0);
}

static void
exhaust (void)
{
  set_limit (0);
}

static void
relieve (void)
{
  set_limit (256);
}

static void
fail_unless_said_of (GstBus *bus, const gchar *file)
{
  gchar *text = pop_error (bus);

  fail_unless (text != NULL && strstr (text, file) != NULL && strstr (text, g_strerror (EMFILE)) != NULL,
               "got \"%s\", expected %s and %s", text, file, g_strerror (EMFILE));
  g_free (text);
}

/* The bus needs a descriptor itself. Takes both. */
static void
check_start (GstElement *element, GstBus *bus, const gchar *file)
{
  exhaust ();
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  relieve ();
  fail_unless_said_of (bus, file);
  gst_element_set_state (element, GST_STATE_NULL);
  fail_if (gst_element_set_state (element, GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
  check_text (pop_error (bus), NULL);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}

GST_START_TEST (test_start_without_descriptors_names_the_file)
{
  GstElement *element = gst_element_factory_make (starts[__i__].factory, NULL);
  GstBus *bus = attach_bus (element);

  exhaust (); /* attentionencoder reads its file now, too, and keeps what it has read */
  g_object_set (element, starts[__i__].property, starts[__i__].file, NULL);
  if (starts[__i__].also != NULL)
    set_properties (element, starts[__i__].also);
  check_start (element, bus, starts[__i__].file);
}
GST_END_TEST;

/* The properties, too, are set without descriptors: what the file says is known after the start. */
GST_START_TEST (test_property_set_without_descriptors_is_read_at_start)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  guint64 latency;

  exhaust ();
  g_object_set (element, "model-file", GOLDEN_DIR "/encoder/transformer-2-post-gelu-final-ahead.safetensors", NULL);
  relieve ();
  fail_if (gst_element_set_state (element, GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
  g_object_get (element, "latency-frames", &latency, NULL);
  fail_unless_equals_uint64 (latency, 10);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (element)), 2);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
}
GST_END_TEST;

/* There is a file already in the second round. */
GST_START_TEST (test_state_file_without_descriptors_is_an_error_at_start)
{
  GstElement *element;

  if (__i__) {
    GByteArray *bytes = g_byte_array_new ();

    run (&plain, 0, 50, TRUE, bytes);
    g_byte_array_unref (bytes);
  }
  element = make_element (&plain, state_file);
  check_start (element, attach_bus (element), state_file);
}
GST_END_TEST;

/* The error comes at EOS; at stop there are descriptors again, and nothing is lost. */
GST_START_TEST (test_state_that_cannot_be_written_at_the_end_is_written_at_stop)
{
  GByteArray *expected = undisturbed (&plain, 0, N), *got = g_byte_array_new ();
  GstHarness *h = start (&plain, state_file);
  GstBus *bus = attach_bus (h->element);

  push (h, 0, 90);
  exhaust ();
  gst_harness_push_event (h, gst_event_new_eos ());
  relieve ();
  fail_unless_said_of (bus, state_file);
  pull (h, 0, got);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  run (&plain, 90, N, TRUE, got);
  fail_unless_frames (got, 0, expected, 0, N);
  g_byte_array_unref (got);
  g_byte_array_unref (expected);
}
GST_END_TEST;

GST_START_TEST (test_words_that_cannot_be_kept_at_the_end_are_kept_at_stop)
{
  GstElement *element = gst_element_factory_make ("ctctext", NULL);
  GstBuffer *buffer = gst_buffer_new_memdup (frames, 4 * sizeof (gfloat));
  GstHarness *h;
  GstBus *bus;

  g_object_set (element, "tokens", TOKENS_FILE, "state-file", state_file, NULL);
  h = gst_harness_new_with_element (element, "sink", "src");
  bus = attach_bus (element);
  gst_harness_set_src_caps_str (h, "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, "
                                                                                     "rate=(int)100, channels=(int)4");
  GST_BUFFER_PTS (buffer) = 0;
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  exhaust ();
  gst_harness_push_event (h, gst_event_new_eos ());
  relieve ();
  fail_unless_said_of (bus, state_file);
  fail_if (g_file_test (state_file, G_FILE_TEST_EXISTS));
  detach_bus (element, bus);
  gst_object_unref (element);
  gst_harness_teardown (h);
  fail_unless (g_file_test (state_file, G_FILE_TEST_EXISTS));
}
GST_END_TEST;

static Suite *
descriptors_suite (void)
{
  Suite *suite = suite_create ("descriptors");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_loop_test (tc, test_start_without_descriptors_names_the_file, 0, G_N_ELEMENTS (starts));
  tcase_add_test (tc, test_property_set_without_descriptors_is_read_at_start);
  tcase_add_loop_test (tc, test_state_file_without_descriptors_is_an_error_at_start, 0, 2);
  tcase_add_test (tc, test_state_that_cannot_be_written_at_the_end_is_written_at_stop);
  tcase_add_test (tc, test_words_that_cannot_be_kept_at_the_end_are_kept_at_stop);
  return suite;
}

GST_CHECK_MAIN (descriptors);
