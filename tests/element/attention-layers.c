/*
 * Layers that elements share: which elements get the same one, and that no element holds another copy.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _DEFAULT_SOURCE /* symlink () */
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>

#include "gstattentionlayers.h"
#include "modelcheck.h"
#include "pipelinecheck.h"

#define D 256

static gchar *file, *other_file, *file_to_change;

/* nn.MultiheadAttention's parameters, all of them `value`: D * D * 16 bytes. */
static void
write_model (const gchar *path, gfloat value)
{
  gfloat *parameters = g_new (gfloat, 4 * D * D);
  guint i;

  for (i = 0; i < 4 * D * D; i++)
    parameters[i] = value;
  write_safetensors (path,
                     g_strdup_printf ("{'in_proj_weight':{'dtype':'F32','shape':[%d,%d],'data_offsets':[0,%d]},"
                                      "'out_proj.weight':{'dtype':'F32','shape':[%d,%d],'data_offsets':[%d,%d]}}",
                                      3 * D, D, 12 * D * D, D, D, 12 * D * D, 16 * D * D),
                     parameters, 16 * D * D);
  g_free (parameters);
}

/* Called once, for files that all tests but one leave unchanged: a file that was just written is not shared. */
static void
setup (void)
{
  make_folder ();
  file = path_of ("model");
  other_file = path_of ("other");
  write_model (file, 0.5f);
  file_to_change = path_of ("change");
  write_model (other_file, 0.5f);
  write_model (file_to_change, 0.5f);
  g_usleep (2 * G_USEC_PER_SEC + G_USEC_PER_SEC / 10);
}

static void
teardown (void)
{
  remove_folder ();
  g_free (file);
  g_free (other_file);
  g_free (file_to_change);
}

static AttnLayer *
get (const gchar *path, const AttnConfig *config)
{
  AttnLayer *layer;

  fail_unless_equals_int (gst_attention_layers_get (path, NULL, config, &layer, NULL), ATTN_OK);
  return layer;
}

GST_START_TEST (test_same_file_and_configuration_give_one_layer)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *a = get (file, &config), *b = get (file, &config), *c;
  gchar *link = path_of ("link");

  fail_unless (a == b);
  fail_unless_equals_int (symlink (file, link), 0); /* another name of the same file */
  c = get (link, &config);
  fail_unless (a == c);
  gst_attention_layers_release (a);
  gst_attention_layers_release (b);
  fail_unless_equals_int (attn_layer_n_features (c), D); /* still there */
  gst_attention_layers_release (c);
  g_unlink (link);
  g_free (link);
}
GST_END_TEST;

GST_START_TEST (test_other_files_and_configurations_give_other_layers)
{
  AttnConfig config = attn_config_default (), other = config, plain = config;
  AttnLayer *layers[5];
  guint i, j;

  other.window = 65;
  plain.n_features = D;
  layers[0] = get (file, &config);
  layers[1] = get (other_file, &config);
  layers[2] = get (file, &other);
  layers[3] = get (NULL, &plain);
  plain.n_features = 2 * D;
  layers[4] = get (NULL, &plain);
  for (i = 0; i < 5; i++)
    for (j = 0; j < i; j++)
      fail_unless (layers[i] != layers[j], "%u and %u", i, j);
  for (i = 0; i < 5; i++)
    gst_attention_layers_release (layers[i]);
}
GST_END_TEST;

GST_START_TEST (test_file_that_was_replaced_is_read_again)
{
  AttnConfig config = attn_config_default ();
  gchar *mine = path_of ("mine");
  AttnLayer *old, *new;
  gfloat frame[D] = { 1 }, before[D], after[D];

  write_model (mine, 0.5f);
  old = get (mine, &config);
  write_model (mine, 0.25f);
  new = get (mine, &config);
  fail_unless (old != new);
  g_assert (attn_forward (old, frame, NULL, 1, 0, before, NULL, NULL) == ATTN_OK);
  g_assert (attn_forward (new, frame, NULL, 1, 0, after, NULL, NULL) == ATTN_OK);
  fail_unless (before[0] == D * 0.5f * 0.5f && after[0] == D * 0.25f * 0.25f, "%g and %g", before[0], after[0]);
  gst_attention_layers_release (old);
  gst_attention_layers_release (new);
  g_unlink (mine);
  g_free (mine);
}
GST_END_TEST;

/* A layer of one feature whose output is the square of `value`, written in place: the file stays the same one. */
static void
write_tiny_model (gint fd, gfloat value)
{
  const gchar *header = "{\"in_proj_weight\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[0,12]},"
                        "\"out_proj.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[12,16]}}";
  guint64 length = GUINT64_TO_LE (strlen (header));
  gfloat values[4] = { value, value, value, value };

  fail_unless (pwrite (fd, &length, 8, 0) == 8 && pwrite (fd, header, strlen (header), 8) == (gssize) strlen (header)
               && pwrite (fd, values, 16, 8 + (off_t) strlen (header)) == 16);
}

/* The next version of the file may look the same. */
/* As rsync and tar leave it: another file of the same name, size and time. */
GST_START_TEST (test_file_that_was_changed_and_has_its_old_time_is_read_again)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *old = get (file_to_change, &config), *again = get (file_to_change, &config), *new;
  gint fd = g_open (file_to_change, O_WRONLY, 0);
  struct timespec times[2];
  struct stat about;
  gfloat value = 2;

  fail_unless (old == again);
  fail_unless_equals_int (fstat (fd, &about), 0);
  fail_unless_equals_int (pwrite (fd, &value, sizeof value, about.st_size - sizeof value), sizeof value);
  times[0] = about.st_atim;
  times[1] = about.st_mtim;
  fail_unless_equals_int (futimens (fd, times), 0);
  g_close (fd, NULL);
  new = get (file_to_change, &config);
  fail_unless (old != new);
  gst_attention_layers_release (old);
  gst_attention_layers_release (again);
  gst_attention_layers_release (new);
}
GST_END_TEST;

GST_START_TEST (test_file_that_was_just_written_is_not_shared)
{
  AttnConfig config = attn_config_default ();
  gchar *mine = path_of ("mine");
  AttnLayer *a, *b;

  write_model (mine, 0.5f);
  a = get (mine, &config);
  b = get (mine, &config);
  fail_unless (a != b);
  gst_attention_layers_release (a);
  gst_attention_layers_release (b);
  g_unlink (mine);
  g_free (mine);
}
GST_END_TEST;

/*
 * Before Linux 6.13 most of the tries fall into one tick of the clock that files are stamped by: nothing tells them
 * apart.
 */
GST_START_TEST (test_file_that_was_written_twice_in_a_moment_is_read_twice)
{
  AttnConfig config = attn_config_default ();
  gchar *mine = path_of ("mine");
  gint fd = g_open (mine, O_CREAT | O_RDWR, 0600);

  for (guint i = 0; i < 50; i++) {
    gfloat frame = 1, before, after;
    AttnLayer *old, *new;

    write_tiny_model (fd, 1);
    old = get (mine, &config);
    write_tiny_model (fd, 3);
    new = get (mine, &config);
    g_assert (attn_forward (old, &frame, NULL, 1, 0, &before, NULL, NULL) == ATTN_OK);
    g_assert (attn_forward (new, &frame, NULL, 1, 0, &after, NULL, NULL) == ATTN_OK);
    fail_unless (before == 1 && after == 9, "%g and %g", before, after);
    gst_attention_layers_release (old);
    gst_attention_layers_release (new);
  }
  close (fd);
  g_unlink (mine);
  g_free (mine);
}
GST_END_TEST;

/* The model says nothing: the layer is the same, wherever its settings come from. */
GST_START_TEST (test_settings_that_are_left_and_that_are_set_alike_give_one_layer)
{
  AttnConfig config = attn_config_default (), set = config, other;
  AttnLayer *a = get (file, &config), *b, *c;

  set.n_heads = 1;
  set.window = 64;
  set.position = ATTN_POSITION_NONE;
  b = get (file, &set);
  other = set;
  other.window = 65;
  c = get (file, &other);
  fail_unless (a == b && a != c);
  gst_attention_layers_release (a);
  gst_attention_layers_release (b);
  gst_attention_layers_release (c);
}
GST_END_TEST;

GST_START_TEST (test_layer_goes_with_the_last_who_holds_it)
{
  AttnConfig config = attn_config_default ();
  struct mallinfo2 before = mallinfo2 (), after;
  AttnLayer *a = get (file, &config), *b = get (file, &config);
  gsize size = 16 * D * D;

  gst_attention_layers_release (a);
  after = mallinfo2 ();
  fail_unless (after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + size);
  gst_attention_layers_release (b);
  after = mallinfo2 ();
  fail_unless (after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + size / 2);
}
GST_END_TEST;

GST_START_TEST (test_file_that_is_not_there_is_a_status)
{
  AttnConfig config = attn_config_default ();
  AttnError error;
  AttnLayer *layer;

  gchar *missing = path_of ("missing");

  fail_unless_equals_int (gst_attention_layers_get (missing, NULL, &config, &layer, &error), ATTN_ERROR_FILE);
  fail_unless (layer == NULL && strstr (error.message, missing) != NULL, "%s", error.message);
  g_free (missing);
}
GST_END_TEST;

GST_START_TEST (test_other_prefix_is_another_model)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *held = get (file, &config), *layer;

  fail_unless (gst_attention_layers_get (file, "decoder.", &config, &layer, NULL) != ATTN_OK); /* nothing is there */
  fail_unless (layer == NULL);
  gst_attention_layers_release (held);
}
GST_END_TEST;

static gpointer
get_and_release (gpointer data)
{
  AttnConfig config = attn_config_default ();
  guint i;

  for (i = 0; i < 50; i++)
    gst_attention_layers_release (get (file, &config));
  return NULL;
}

GST_START_TEST (test_threads_get_and_release_layers)
{
  GThread *threads[4];
  guint i;

  for (i = 0; i < 4; i++)
    threads[i] = g_thread_new (NULL, get_and_release, NULL);
  for (i = 0; i < 4; i++)
    g_thread_join (threads[i]);
}
GST_END_TEST;

GST_START_TEST (test_elements_hold_one_copy_of_the_parameters)
{
  enum { n_elements = 20 };
  gsize size = 16 * D * D;
  GstElement *elements[n_elements];
  struct mallinfo2 before = mallinfo2 (), after;
  guint i;

  for (i = 0; i < n_elements; i++) {
    elements[i] = gst_element_factory_make ("attention", NULL);
    g_object_set (elements[i], "window", 1, "model-file", file, NULL);
    fail_unless_equals_int (gst_element_set_state (elements[i], GST_STATE_PAUSED), GST_STATE_CHANGE_SUCCESS);
  }
  after = mallinfo2 ();
  fail_unless (after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + size, "nothing was loaded");
  fail_unless (after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + 5 * size, "%zu bytes for %d elements",
               after.uordblks + after.hblkhd - before.uordblks - before.hblkhd, n_elements);
  for (i = 0; i < n_elements; i++) {
    gst_element_set_state (elements[i], GST_STATE_NULL);
    gst_object_unref (elements[i]);
  }
}
GST_END_TEST;

/* The allocators of sanitizers and of valgrind are not glibc's. */
static gboolean
can_count_memory (void)
{
  enum { size = 1 << 24 };
  struct mallinfo2 before = mallinfo2 (), after;
  gpointer memory = g_malloc (size);

  after = mallinfo2 ();
  g_free (memory);
  return after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + size;
}

static Suite *
attention_layers_suite (void)
{
  Suite *suite = suite_create ("attention-layers");
  TCase *layers = tcase_create ("layers");

  suite_add_tcase (suite, layers);
  tcase_add_unchecked_fixture (layers, setup, teardown);
  tcase_add_test (layers, test_same_file_and_configuration_give_one_layer);
  tcase_add_test (layers, test_other_files_and_configurations_give_other_layers);
  tcase_add_test (layers, test_file_that_was_replaced_is_read_again);
  tcase_add_test (layers, test_file_that_was_changed_and_has_its_old_time_is_read_again);
  tcase_add_test (layers, test_file_that_was_just_written_is_not_shared);
  tcase_add_test (layers, test_file_that_was_written_twice_in_a_moment_is_read_twice);
  tcase_add_test (layers, test_settings_that_are_left_and_that_are_set_alike_give_one_layer);
  tcase_add_test (layers, test_file_that_is_not_there_is_a_status);
  tcase_add_test (layers, test_other_prefix_is_another_model);
  tcase_add_test (layers, test_threads_get_and_release_layers);
  if (can_count_memory ()) {
    tcase_add_test (layers, test_layer_goes_with_the_last_who_holds_it);
    tcase_add_test (layers, test_elements_hold_one_copy_of_the_parameters);
  } else {
    g_printerr ("left out: two tests that count memory, which this allocator does not\n");
  }
  return suite;
}

GST_CHECK_MAIN (attention_layers);
