/*
 * The element `attention`: which files may hold a state, and that no state is silently lost.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE /* symlink */
#include "statefilecheck.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- links ---- */

GST_START_TEST (test_link_is_followed_and_stays)
{
  gchar *inner = g_build_filename (folder, "inner", NULL), *target = g_build_filename (inner, "state", NULL);
  gchar *between = g_build_filename (inner, "link", NULL);
  const gchar *links[] = { target, "inner/state", "inner/../inner/state", "inner/link" };

  fail_unless_equals_int (g_mkdir (inner, 0700), 0);
  fail_unless_equals_int (symlink ("../inner/state", between), 0);
  fail_unless_equals_int (symlink (links[__i__ / 2], state_file), 0);
  if (__i__ % 2) /* the target is there already, with a mode that says which file it is */
    check_run (0, 0);
  check_kept ();
  fail_unless (S_ISLNK (look_at (state_file).st_mode), "the link has become a file");
  fail_unless (S_ISREG (look_at (target).st_mode));
  fail_unless_equals_int (count_files (), 3);
  g_free (between);
  g_free (target);
  g_free (inner);
}
GST_END_TEST;

/* As many as the system follows itself, and one more. */
GST_START_TEST (test_forty_links_are_followed)
{
  gchar *before = g_strdup (state_file);
  gint i;

  for (i = 1; i <= 40 + __i__; i++) {
    gchar *name = g_strdup_printf ("link%d", i);

    fail_unless_equals_int (symlink (name, before), 0);
    g_free (before);
    before = path_of (name);
    g_free (name);
  }
  if (__i__ == 0)
    check_kept ();
  else
    check_refused_at_start (state_file, state_file, g_strerror (ELOOP));
  fail_unless_equals_int (g_file_test (before, G_FILE_TEST_IS_REGULAR), __i__ == 0);
  g_free (before);
}
GST_END_TEST;

GST_START_TEST (test_link_to_no_folder_is_an_error_at_start)
{
  fail_unless_equals_int (symlink ("nowhere/state", state_file), 0);
  check_refused_at_start (state_file, "nowhere/state", "there is no folder");
  fail_unless (S_ISLNK (look_at (state_file).st_mode));
}
GST_END_TEST;

GST_START_TEST (test_links_in_a_circle_are_an_error_at_start)
{
  gchar *other = g_build_filename (folder, "other", NULL);

  fail_unless_equals_int (symlink ("other", state_file), 0);
  fail_unless_equals_int (symlink ("state", other), 0);
  check_refused_at_start (state_file, state_file, g_strerror (ELOOP));
  g_free (other);
}
GST_END_TEST;

/* ---- properties of the file that stay ---- */

GST_START_TEST (test_mode_is_kept)
{
  static const mode_t modes[] = { 0600, 0640, 0664, 0400, 0444 };

  become_nobody ();
  check_run (0, 50);
  fail_unless_equals_int (chmod (state_file, modes[__i__]), 0);
  check_run (50, N);
  fail_unless_equals_int (look_at (state_file).st_mode & 07777, modes[__i__]);
  fail_unless_equals_int (count_files (), 2);
  become_root ();
}
GST_END_TEST;

GST_START_TEST (test_new_file_has_the_mode_of_any_new_file)
{
  umask (027);
  check_run (0, 50);
  fail_unless_equals_int (look_at (state_file).st_mode & 07777, 0640);
}
GST_END_TEST;

GST_START_TEST (test_owner_and_group_are_kept)
{
  if (geteuid () != 0) {
    g_print ("# skipped: only root can give a file away\n");
    return;
  }
  check_run (0, 50);
  fail_unless_equals_int (chown (state_file, 1234, 4321), 0);
  check_run (50, N);
  fail_unless_equals_int (look_at (state_file).st_uid, 1234);
  fail_unless_equals_int (look_at (state_file).st_gid, 4321);
}
GST_END_TEST;

GST_START_TEST (test_group_that_cannot_stay_does_not_let_another_one_read)
{
  if (geteuid () != 0) {
    g_print ("# skipped: only root can give a file away\n");
    return;
  }
  check_run (0, 50);
  fail_unless_equals_int (chmod (folder, 0777), 0);
  fail_unless_equals_int (chown (state_file, 1234, 4321), 0);
  fail_unless_equals_int (chmod (state_file, 0664), 0);
  fail_unless_equals_int (seteuid (65534), 0);
  check_run (50, N);
  become_root ();
  fail_unless_equals_int (look_at (state_file).st_uid, 65534);
  fail_unless_equals_int (look_at (state_file).st_mode & 07777, 0644);
}
GST_END_TEST;

/* A reader that has the file open reads the state that it began with to its end. */
GST_START_TEST (test_state_is_replaced_as_a_whole)
{
  GBytes *before;
  guint8 *bytes;
  gsize size;
  gint fd;

  check_run (0, 50);
  before = read_state ();
  size = g_bytes_get_size (before);
  bytes = g_malloc (size);
  fd = open (state_file, O_RDONLY);
  check_run (50, N);
  fail_unless_equals_int (read (fd, bytes, size), size);
  fail_unless (memcmp (bytes, g_bytes_get_data (before, NULL), size) == 0);
  g_close (fd, NULL);
  g_free (bytes);
  g_bytes_unref (before);
}
GST_END_TEST;

/* A name may have 255 bytes. */
GST_START_TEST (test_longest_name_is_written)
{
  gchar *name = g_strnfill (__i__, 'n'), *file = g_build_filename (folder, name, NULL);

  fail_unless_equals_int (symlink (name, state_file), 0);
  check_kept ();
  fail_unless (S_ISREG (look_at (file).st_mode));
  g_free (file);
  g_free (name);
}
GST_END_TEST;

/* The file stays where it is if the application changes its folder. */
GST_START_TEST (test_relative_name_is_that_of_the_start)
{
  gchar *before = g_get_current_dir ();
  GstHarness *h;

  fail_unless_equals_int (g_chdir (folder), 0);
  h = start (&plain, "state");
  fail_unless_equals_int (g_chdir (before), 0);
  push (h, 0, 90);
  gst_harness_teardown (h);
  check_run (90, N);
  g_free (before);
}
GST_END_TEST;

/* ---- not a file, or not a state ---- */

static void
make_socket (const gchar *path)
{
  struct sockaddr_un address = { AF_UNIX };
  gint fd = socket (AF_UNIX, SOCK_STREAM, 0);

  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  fail_unless_equals_int (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
  g_close (fd, NULL);
}

/* No process writes to the pipe: opening it would wait for ever. */
GST_START_TEST (test_what_is_not_a_regular_file_is_an_error_at_start)
{
  fail_unless_equals_int (mkfifo (state_file, 0600), 0);
  check_refused_at_start (state_file, state_file, "is a pipe, but a state is kept in a regular file");
  g_unlink (state_file);
  make_socket (state_file);
  check_refused_at_start (state_file, state_file, "is a socket, but");
  g_unlink (state_file);
  fail_unless_equals_int (symlink ("/dev/zero", state_file), 0);
  check_refused_at_start (state_file, "/dev/zero", "is a device, but");
  check_refused_at_start ("/dev/null", "/dev/null", "is a device, but");
  check_refused_at_start (folder, folder, "is a folder, but");
  check_refused_at_start ("", "", "is a folder, but");
}
GST_END_TEST;

/* A terabyte of zeros, of which only the first are read. */
GST_START_TEST (test_huge_file_is_refused_by_its_beginning)
{
  GstHarness *h;
  GstBus *bus;
  gint fd = g_creat (state_file, 0600);

  fail_unless_equals_int (ftruncate (fd, G_GINT64_CONSTANT (1) << 40), 0);
  g_close (fd, NULL);
  h = gst_harness_new_with_element (make_element (&plain, state_file), "sink", "src");
  bus = attach_bus (h->element);
  gst_harness_set_src_caps_str (h, CAPS);
  gst_harness_push (h, gst_buffer_new_memdup (frames, D * sizeof (gfloat)));
  fail_unless_said (bus, GST_MESSAGE_ERROR, "this is not a saved state");
  detach_bus (h->element, bus);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
  fail_unless_equals_int64 (look_at (state_file).st_size, G_GINT64_CONSTANT (1) << 40);
}
GST_END_TEST;

GST_START_TEST (test_model_file_is_not_taken_for_the_state_file)
{
  static const Case with_model = { 64, 0, 2, TRUE };
  gchar *before, *after;
  gsize size, size_after;

  fail_unless (g_file_get_contents (model_file, &before, &size, NULL));
  fail_unless_equals_int (symlink (model_file, state_file), 0);
  check_refuses_to_start (make_element (&with_model, model_file), model_file, "this is not a saved state");
  check_refuses_to_start (make_element (&with_model, state_file), model_file, "this is not a saved state");
  fail_unless (g_file_get_contents (model_file, &after, &size_after, NULL));
  fail_unless (size == size_after && memcmp (before, after, size) == 0);
  g_free (after);
  g_free (before);
}
GST_END_TEST;

/* ---- two streams ---- */

/* Under its own name, a link's or, once it is there, another name of its own. */
GST_START_TEST (test_file_of_a_running_stream_is_an_error_at_start)
{
  gchar *other = g_build_filename (folder, "other", NULL);
  gboolean is_there = __i__ / 2;
  GstHarness *h;

  if (is_there)
    check_run (0, 50);
  h = start (&plain, state_file);
  check_refused_at_start (state_file, state_file, "is that of another stream");
  fail_unless_equals_int (is_there && __i__ % 2 ? link (state_file, other) : symlink ("state", other), 0);
  check_refused_at_start (other, folder, "is that of another stream");
  gst_harness_teardown (h);
  check_run (is_there ? 50 : 0, 90); /* it is free again */
  g_free (other);
}
GST_END_TEST;

/* As if another process held it; also when the stream has written in between, so that the file is another one. */
GST_START_TEST (test_file_is_locked_against_other_processes)
{
  GstHarness *h;
  gint fd;

  check_run (0, 50);
  fd = open (state_file, O_RDONLY);
  fail_unless_equals_int (flock (fd, LOCK_EX | LOCK_NB), 0);
  check_refused_at_start (state_file, state_file, "is that of another stream");
  g_close (fd, NULL);

  h = start (&plain, state_file);
  push (h, 50, 60);
  gst_harness_push_event (h, gst_event_new_eos ());
  fd = open (state_file, O_RDONLY);
  fail_unless_equals_int (flock (fd, LOCK_EX | LOCK_NB), -1);
  gst_harness_teardown (h);
  fail_unless_equals_int (flock (fd, LOCK_EX | LOCK_NB), 0);
  g_close (fd, NULL);
}
GST_END_TEST;

/* ---- when ---- */

GST_START_TEST (test_state_is_in_the_file_when_eos_leaves)
{
  GstHarness *h = start (&plain, state_file);
  GBytes *at_eos;

  push (h, 0, 90);
  gst_harness_push_event (h, gst_event_new_eos ());
  at_eos = read_state ();
  gst_harness_teardown (h);
  fail_unless_file_is (at_eos);
  check_run (90, N);
  g_bytes_unref (at_eos);
}
GST_END_TEST;

static void
count_errors (GstDebugCategory *category, GstDebugLevel level, const gchar *file, const gchar *function, gint line,
              GObject *object, GstDebugMessage *message, gpointer n)
{
  if (level == GST_LEVEL_ERROR && strstr (gst_debug_message_get (message), "was not saved: state-file: ") != NULL)
    ++*(guint *) n;
}

/* The bus has no listener any more. */
GST_START_TEST (test_state_that_is_lost_at_stop_is_an_error_in_the_log)
{
  struct rlimit limit;
  GstHarness *h = start (&plain, state_file);
  guint n = 0;

  gst_debug_set_threshold_for_name ("attention", GST_LEVEL_ERROR);
  gst_debug_add_log_function (count_errors, &n, NULL);
  gst_debug_remove_log_function (gst_debug_log_default);
  push (h, 0, 90);
  signal (SIGXFSZ, SIG_IGN);
  getrlimit (RLIMIT_FSIZE, &limit);
  limit.rlim_cur = 1000;
  setrlimit (RLIMIT_FSIZE, &limit);
  gst_harness_teardown (h);
  fail_unless_equals_int (n, 1);
  fail_unless_equals_int (count_files (), 1);
  gst_debug_remove_log_function (count_errors);
}
GST_END_TEST;

/* A write that failed at EOS is tried again: there may be room by then. */
GST_START_TEST (test_state_that_is_lost_at_eos_is_written_at_stop_if_it_can_be)
{
  gchar *away = g_build_filename (folder, "away", NULL), *inner = g_build_filename (folder, "inner", NULL);
  gchar *file = g_build_filename (inner, "state", NULL);
  GstHarness *h;
  GstBus *bus;

  fail_unless_equals_int (g_mkdir (inner, 0700), 0);
  fail_unless_equals_int (symlink (file, state_file), 0);
  h = start (&plain, state_file);
  bus = attach_bus (h->element);
  push (h, 0, 90);
  fail_unless_equals_int (g_rename (inner, away), 0);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_said (bus, GST_MESSAGE_ERROR, file);
  fail_unless_equals_int (g_rename (away, inner), 0);
  gst_element_set_state (h->element, GST_STATE_READY);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR) == NULL);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
  check_run (90, N);
  g_free (file);
  g_free (inner);
  g_free (away);
}
GST_END_TEST;

GST_START_TEST (test_another_state_file_counts_from_the_next_start_on)
{
  gchar *other = g_build_filename (folder, "other", NULL);
  GstHarness *h = start (&plain, state_file);

  push (h, 0, 90);
  g_object_set (h->element, "state-file", NULL, NULL);
  g_object_set (h->element, "state-file", other, NULL);
  gst_element_set_state (h->element, GST_STATE_READY);
  fail_if (g_file_test (other, G_FILE_TEST_EXISTS));
  check_run (90, N);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  check_run (N, N); /* no stream has it */
  gst_harness_teardown (h);
  g_free (other);
}
GST_END_TEST;

/* ---- names ---- */

/* On disk a name is bytes, in a message it is UTF-8: bindings cannot read anything else. */
GST_START_TEST (test_messages_are_utf8_whatever_the_names_are)
{
  static const Case with_model = { 64, 0, 2, TRUE };
  gchar *odd = g_build_filename (folder, "\xffodd", NULL), *below = g_build_filename (odd, "state", NULL);
  GstElement *element;

  check_refused_at_start (below, "odd", "there is no folder");
  fail_unless_equals_int (mkfifo (odd, 0600), 0);
  check_refused_at_start (odd, "odd", "is a pipe");
  g_unlink (odd);
  fail_unless (g_file_set_contents (odd, "nonsense", 8, NULL));
  check_refuses_to_start (make_element (&with_model, odd), "odd", "the state has 8 bytes");
  g_free (model_file);
  model_file = g_strdup (odd);
  check_refuses_to_start (make_element (&with_model, NULL), "\\xffodd", "safetensors");
  element = make_element (&plain, NULL);
  g_object_set (element, "model-prefix", "\xff.", NULL);
  check_refuses_to_start (element, "\xef\xbf\xbd.", "there is no model-file");
  g_unlink (odd);
  g_free (below);
  g_free (odd);
}
GST_END_TEST;

GST_START_TEST (test_message_of_a_wrong_width_is_utf8_too)
{
  static const Case with_model = { 64, 0, 2, TRUE };
  gchar *odd = g_build_filename (folder, "\xffodd", NULL);
  GstHarness *h;
  GstBus *bus;

  fail_unless_equals_int (g_rename (model_file, odd), 0);
  g_free (model_file);
  model_file = odd;
  h = gst_harness_new_with_element (make_element (&with_model, NULL), "sink", "src");
  bus = attach_bus (h->element);
  gst_harness_set_src_caps_str (
      h, "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, "
                                                           "rate=(int)100, channels=(int)63, channel-mask=(bitmask)0");
  /* Caps may be provisional: their fault is reported when a buffer comes. */
  fail_unless (gst_harness_push (h, gst_buffer_new_allocate (NULL, 63 * sizeof (gfloat), NULL)) < GST_FLOW_OK);
  check_said (bus, "odd takes 64 features per frame", "63");
  detach_bus (h->element, bus);
  gst_object_unref (h->element);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
attention_state_files_suite (void)
{
  Suite *suite = suite_create ("attention-state-files");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_loop_test (tc, test_link_is_followed_and_stays, 0, 8);
  tcase_add_loop_test (tc, test_forty_links_are_followed, 0, 2);
  tcase_add_test (tc, test_link_to_no_folder_is_an_error_at_start);
  tcase_add_test (tc, test_links_in_a_circle_are_an_error_at_start);
  tcase_add_loop_test (tc, test_mode_is_kept, 0, 5);
  tcase_add_test (tc, test_new_file_has_the_mode_of_any_new_file);
  tcase_add_test (tc, test_owner_and_group_are_kept);
  tcase_add_test (tc, test_group_that_cannot_stay_does_not_let_another_one_read);
  tcase_add_test (tc, test_state_is_replaced_as_a_whole);
  tcase_add_loop_test (tc, test_longest_name_is_written, 249, 256);
  tcase_add_test (tc, test_relative_name_is_that_of_the_start);
  tcase_add_test (tc, test_what_is_not_a_regular_file_is_an_error_at_start);
  tcase_add_test (tc, test_huge_file_is_refused_by_its_beginning);
  tcase_add_test (tc, test_model_file_is_not_taken_for_the_state_file);
  tcase_add_loop_test (tc, test_file_of_a_running_stream_is_an_error_at_start, 0, 4);
  tcase_add_test (tc, test_file_is_locked_against_other_processes);
  tcase_add_test (tc, test_state_is_in_the_file_when_eos_leaves);
  tcase_add_test (tc, test_state_that_is_lost_at_stop_is_an_error_in_the_log);
  tcase_add_test (tc, test_state_that_is_lost_at_eos_is_written_at_stop_if_it_can_be);
  tcase_add_test (tc, test_another_state_file_counts_from_the_next_start_on);
  tcase_add_test (tc, test_messages_are_utf8_whatever_the_names_are);
  tcase_add_test (tc, test_message_of_a_wrong_width_is_utf8_too);
  return suite;
}

GST_CHECK_MAIN (attention_state_files);
