/*
 * Each allocation that can fail fails in turn while pipelines of every element run: those of the core
 * (core/failures.h), and those of the plugin that do not end the program. (g_malloc () does, by design of GLib. What
 * grows with files and caps the plugin asks for with g_try_malloc () or as a buffer.) A pipeline ends in an error that
 * says what failed, or it has done without: its output is that of an undisturbed run. It never crashes, and never gives
 * other output.
 *
 * The plugins are linked in, so that the linker can put the functions below in front of their own calls.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* off_t, setenv */
#include <glib/gstdio.h>
#include <gst/gst.h>

#include "core/failures.h"
#include "core/random.h"

#define N_FRAMES 60
#define SHARE 1000 /* in per cent of ordinary runs: where all failures are tried */
#define EXAMPLES GOLDEN_DIR "/../../examples"

GST_PLUGIN_STATIC_DECLARE (attention);
GST_PLUGIN_STATIC_DECLARE (attentionscope);

/* ---- the plugin's own ---- */

gpointer __real_g_try_malloc (gsize size);
gpointer __real_g_try_malloc_n (gsize n, gsize size);
gpointer __real_g_try_realloc (gpointer memory, gsize size);
GstBuffer *__real_gst_buffer_new_allocate (GstAllocator *allocator, gsize size, GstAllocationParams *params);

gpointer __wrap_g_try_malloc (gsize size);
gpointer __wrap_g_try_malloc_n (gsize n, gsize size);
gpointer __wrap_g_try_realloc (gpointer memory, gsize size);
GstBuffer *__wrap_gst_buffer_new_allocate (GstAllocator *allocator, gsize size, GstAllocationParams *params);

gpointer
__wrap_g_try_malloc (gsize size)
{
  return fails () ? NULL : __real_g_try_malloc (size);
}

gpointer
__wrap_g_try_malloc_n (gsize n, gsize size)
{
  return fails () ? NULL : __real_g_try_malloc_n (n, size);
}

gpointer
__wrap_g_try_realloc (gpointer memory, gsize size)
{
  return fails () ? NULL : __real_g_try_realloc (memory, size);
}

GstBuffer *
__wrap_gst_buffer_new_allocate (GstAllocator *allocator, gsize size, GstAllocationParams *params)
{
  return fails () ? NULL : __real_gst_buffer_new_allocate (allocator, size, params);
}

/* ---- files ---- */

static gchar *folder;

static gchar *
path_of (const gchar *name)
{
  return g_build_filename (folder, name, NULL);
}

/* N_FRAMES random frames as numpy.save () writes them. */
static void
write_frames (const gchar *name, guint n_features)
{
  gchar *text = g_strdup_printf ("{'descr': '%cf4', 'fortran_order': False, 'shape': (%d, %u), }",
                                 G_BYTE_ORDER == G_LITTLE_ENDIAN ? '<' : '>', N_FRAMES, n_features);
  GString *npy = g_string_new_len ("\x93NUMPY\x01\x00\x76\x00", 10);
  gfloat *frames = g_new (gfloat, N_FRAMES * n_features);
  gchar *path = path_of (name);

  random_fill (frames, N_FRAMES * n_features, 1);
  g_string_append_printf (npy, "%-117s\n", text);
  g_string_append_len (npy, (const gchar *) frames, N_FRAMES * n_features * sizeof (gfloat));
  g_assert_true (g_file_set_contents (path, npy->str, npy->len, NULL));
  g_string_free (npy, TRUE);
  g_free (frames);
  g_free (path);
  g_free (text);
}

/* What a pipeline has written; NULL: nothing. */
static GBytes *
read_output (void)
{
  gchar *path = path_of ("out"), *data = NULL;
  gsize size;
  GBytes *bytes = g_file_get_contents (path, &data, &size, NULL) ? g_bytes_new_take (data, size) : NULL;

  g_free (path);
  return bytes;
}

static void
remove_file (const gchar *name)
{
  gchar *path = path_of (name);

  g_unlink (path);
  g_free (path);
}

/* ---- runs ---- */

/* Runs to the end or to the first error, whose text is returned (transfer full). */
static gchar *
run (GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error = NULL;
  gchar *text = NULL;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (message == NULL)
    text = g_strdup ("no end");
  else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    text = g_strdup (error->message);
    g_error_free (error);
  }
  gst_clear_message (&message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  return text;
}

/* The failure after number `n`: each one where ATTN_TEST_PERCENT is large, and some of them, at random, elsewhere. */
static long
next_failure (long n)
{
  return n + (long) random_between (1, 2 * MAX (SHARE / random_rounds (100), 1) - 1);
}

/* In a launch line %s stands for the folder. Returns the text of the error. */
static gchar *
run_line (const gchar *line)
{
  GString *text = g_string_new (line);
  GError *error = NULL;
  GstElement *pipeline;
  gchar *said;

  g_string_replace (text, "%s", folder, 0);
  pipeline = gst_parse_launch (text->str, &error);
  if (error != NULL)
    g_error ("%s: %s", text->str, error->message);
  said = run (pipeline);
  gst_object_unref (pipeline);
  g_string_free (text, TRUE);
  return said;
}

/* pthread_create () fails as it does where memory is short. */
static gboolean
says_what_failed (const gchar *text)
{
  return strstr (text, "memory") != NULL || strstr (text, "Input/output error") != NULL
         || strstr (text, "threads") != NULL;
}

/* Whether the run was as good as an undisturbed one. */
static gboolean
is_output (GBytes *expected)
{
  GBytes *got = read_output ();
  gboolean same = got != NULL && g_bytes_equal (got, expected);

  g_clear_pointer (&got, g_bytes_unref);
  return same;
}

/* The line again and again with each allocation failing; the last time none does. */
static void
fail_each_of (const gchar *line)
{
  GBytes *expected;
  gchar *text = run_line (line);
  long n, alive;

  CHECK_MSG (text == NULL, "%s: %s", line, text);
  CHECK ((expected = read_output ()) != NULL);
  alive = atomic_load (&n_alive);
  for (n = 0;; n = next_failure (n)) {
    gboolean failed;

    remove_file ("out");
    remove_file ("state");
    atomic_store (&countdown, n);
    text = run_line (line);
    failed = atomic_exchange (&countdown, -1) < 0;
    CHECK_MSG (text != NULL ? failed && says_what_failed (text) : is_output (expected), "%s: failure %ld: %s", line, n,
               text != NULL ? text : "no error, but other output");
    CHECK_MSG (atomic_load (&n_alive) == alive, "%s: failure %ld leaves memory behind: %s", line, n, text);
    g_free (text);
    if (!failed)
      break;
  }
  printf ("# %s: %ld failures at most\n", line, n);
  CHECK (n > 0);
  g_bytes_unref (expected);
}

#define FRAMES(n) "filesrc location=%s/in-" n ".npy ! npyparse frames-per-buffer=7 ! "
#define SOUND "audiotestsrc freq=300 samplesperbuffer=1000 num-buffers=6 ! audio/x-raw,rate=16000,channels=1 ! "
#define TO_NPY " ! npyenc ! filesink location=%s/out"
#define TO_FILE " ! filesink location=%s/out"
#define MOONSHINE "attentionencoder model-file=" GOLDEN_DIR "/encoder/moonshine.safetensors "

TEST (attention_ends_in_an_error_that_says_so)
{
  fail_each_of (FRAMES ("16") "attention heads=2 window=9 look-ahead=3 sinks=2 position=rope" TO_NPY);
  fail_each_of (FRAMES ("16") "attention threads=3 precision=bf16 model-file=" GOLDEN_DIR
                              "/attention/grouped.safetensors model-prefix=attn." TO_NPY);
}

TEST (attentionencoder_ends_in_an_error_that_says_so)
{
  fail_each_of (FRAMES ("10") MOONSHINE "precision=f16 layer0::head1::gain=0.5" TO_NPY);
  fail_each_of (FRAMES ("10") MOONSHINE "name=e e. ! queue ! fakesink e.weights_1 ! queue" TO_NPY);
}

TEST (attentionscope_ends_in_an_error_that_says_so)
{
  fail_each_of (FRAMES (
      "16") "attention heads=2 window=9 name=a a. ! queue ! fakesink a.weights ! queue ! attentionscope" TO_FILE);
}

/* The whole way from sound to words. */
TEST (logmel_and_ctctext_end_in_an_error_that_says_so)
{
  fail_each_of (SOUND "logmel model-file=" EXAMPLES "/digits/model.safetensors ! attentionencoder model-file=" EXAMPLES
                      "/digits/model.safetensors ! tee name=t ! queue ! ctctext tokens=" EXAMPLES
                      "/digits/tokens.txt ! fakesink  t. ! queue" TO_NPY);
}

TEST (spectralgain_ends_in_an_error_that_says_so)
{
  fail_each_of (SOUND "tee name=t t. ! queue ! spectralgain name=clean" TO_FILE
                      " t. ! queue ! logmel ! attention window=5 scale=0.005 ! clean.gains");
}

/* ---- states ---- */

#define WITH_STATE "state-file=%s/state"

/* Whether the state that is left goes on as the one of an undisturbed run does. */
static bool
goes_on (const gchar *line, GBytes *expected)
{
  gchar *text;
  bool same;

  remove_file ("out");
  text = run_line (line);
  same = text == NULL && is_output (expected);
  if (!same)
    printf ("# %s\n", text != NULL ? text : "other output");
  g_free (text);
  return same;
}

/* A run that keeps a state, and one that goes on with it: in whichever an allocation fails, nothing is lost unsaid. */
static void
fail_each_with_state (const gchar *line)
{
  GBytes *expected;
  long n;

  remove_file ("state");
  CHECK (run_line (line) == NULL && run_line (line) == NULL);
  expected = read_output ();
  for (n = 0;; n = next_failure (n)) {
    gboolean failed;
    gchar *text;

    remove_file ("state");
    atomic_store (&countdown, n);
    text = run_line (line);
    failed = atomic_exchange (&countdown, -1) < 0;
    CHECK_MSG (text != NULL ? failed && says_what_failed (text) : goes_on (line, expected), "%s: failure %ld: %s", line,
               n, text != NULL ? text : "no error, but the state does not go on");
    g_free (text);
    if (!failed)
      break;
  }
  for (n = 0;; n = next_failure (n)) {
    gboolean failed;
    gchar *text;

    remove_file ("state");
    CHECK (run_line (line) == NULL);
    atomic_store (&countdown, n);
    text = run_line (line);
    failed = atomic_exchange (&countdown, -1) < 0;
    CHECK_MSG (text != NULL ? failed && says_what_failed (text) : is_output (expected), "%s: failure %ld: %s", line, n,
               text != NULL ? text : "no error, but the state was not used");
    g_free (text);
    if (!failed)
      break;
  }
  g_bytes_unref (expected);
}

TEST (state_that_does_not_fit_is_an_error_or_goes_on)
{
  remove_file ("state");
  fail_each_with_state (FRAMES ("16") "attention heads=2 window=9 look-ahead=3 " WITH_STATE TO_NPY);
  fail_each_with_state (FRAMES ("10") MOONSHINE WITH_STATE TO_NPY);
}

/* The signal gives nothing, and says why. */
TEST (state_that_a_program_asks_for_does_not_fit)
{
  GstElement *pipeline = gst_parse_launch ("audiotestsrc ! logmel ! attention name=a ! fakesink", NULL);
  GstElement *attention = gst_bin_get_by_name (GST_BIN (pipeline), "a");
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GBytes *state = NULL;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  atomic_store (&countdown, 0);
  g_signal_emit_by_name (attention, "save-state", &state);
  CHECK (state == NULL && atomic_exchange (&countdown, -1) < 0);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING);
  CHECK (message != NULL && GST_MESSAGE_SRC (message) == GST_OBJECT (attention));
  gst_message_unref (message);
  g_signal_emit_by_name (attention, "save-state", &state);
  CHECK (state != NULL);
  g_bytes_unref (state);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (attention);
  gst_object_unref (pipeline);
}

int
main (int argc, char **argv)
{
  gchar *command;

  gst_init (&argc, &argv);
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  GST_PLUGIN_STATIC_REGISTER (attention);
  GST_PLUGIN_STATIC_REGISTER (attentionscope);
  folder = g_dir_make_tmp ("attention-XXXXXX", NULL);
  write_frames ("in-10.npy", 10);
  write_frames ("in-16.npy", 16);
  RUN (attention_ends_in_an_error_that_says_so);
  RUN (attentionencoder_ends_in_an_error_that_says_so);
  RUN (attentionscope_ends_in_an_error_that_says_so);
  RUN (logmel_and_ctctext_end_in_an_error_that_says_so);
  RUN (spectralgain_ends_in_an_error_that_says_so);
  RUN (state_that_does_not_fit_is_an_error_or_goes_on);
  RUN (state_that_a_program_asks_for_does_not_fit);
  command = g_strdup_printf ("rm -rf '%s'", folder);
  g_assert_true (system (command) == 0);
  g_free (command);
  g_free (folder);
  return check_done ();
}
