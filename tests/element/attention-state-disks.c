/*
 * The element `attention`: state files where nothing can be written: folders, mounts, disks that are full.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE /* unshare */
#include "diskcheck.h"
#include "statefilecheck.h"

/* ---- where nothing can be written ---- */

GST_START_TEST (test_folder_that_takes_no_file_is_an_error_at_start)
{
  become_nobody ();
  fail_unless_equals_int (chmod (folder, 0555), 0);
  check_refused_at_start (state_file, state_file, "takes no new file: Permission denied");
  fail_unless_equals_int (chmod (folder, 0755), 0);
  become_root ();
}
GST_END_TEST;

GST_START_TEST (test_file_in_such_a_folder_is_written_over)
{
  struct stat before;

  become_nobody ();
  check_run (0, 50);
  before = look_at (state_file);
  fail_unless_equals_int (chmod (folder, 0555), 0);
  check_run (50, 90);
  fail_unless_equals_uint64 (look_at (state_file).st_ino, before.st_ino);
  fail_unless_equals_int (chmod (folder, 0755), 0);
  check_run (90, N);
  become_root ();
}
GST_END_TEST;

GST_START_TEST (test_file_and_folder_that_cannot_be_written_are_an_error_at_start)
{
  become_nobody ();
  check_run (0, 50);
  fail_unless_equals_int (chmod (state_file, 0444), 0);
  fail_unless_equals_int (chmod (folder, 0555), 0);
  check_refused_at_start (state_file, state_file, "cannot be written: Permission denied");
  fail_unless_equals_int (chmod (folder, 0755), 0);
  become_root ();
}
GST_END_TEST;

/* In a folder as /tmp is, whose files only their owners can replace. */
GST_START_TEST (test_file_of_another_user_in_a_shared_folder_is_an_error_at_start)
{
  if (geteuid () != 0) {
    g_print ("# skipped: only root can give a file away\n");
    return;
  }
  check_run (0, 50);
  fail_unless_equals_int (chmod (folder, 01777), 0);
  fail_unless_equals_int (seteuid (65534), 0);
  check_refused_at_start (state_file, state_file, "cannot be written: Permission denied");
  become_root ();
}
GST_END_TEST;

GST_START_TEST (test_file_that_cannot_be_read_is_an_error_at_start)
{
  become_nobody ();
  check_run (0, 50);
  fail_unless_equals_int (chmod (state_file, 0200), 0);
  check_refused_at_start (state_file, state_file, "cannot be read: Permission denied");
  become_root ();
}
GST_END_TEST;

/* ---- mounts, and disks that are full ---- */

static void
mount_alone (const gchar *from, const gchar *to, gulong flags)
{
  fail_unless (mount (from, to, "", MS_BIND, NULL) == 0, "%s: %s", to, g_strerror (errno));
  if (flags != 0)
    fail_unless (mount ("none", to, "", MS_BIND | MS_REMOUNT | flags, NULL) == 0, "%s", g_strerror (errno));
}

/* The copy that stays beside the file that could not be written takes its place. */
static void
take_copy (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  const gchar *name;
  gchar *copy;

  while ((name = g_dir_read_name (dir)) != NULL && !g_str_has_prefix (name, ".state-"))
    ;
  fail_unless (name != NULL, "there is no copy");
  copy = g_build_filename (folder, name, NULL);
  fail_unless_equals_int (g_rename (copy, state_file), 0);
  g_free (copy);
  g_dir_close (dir);
}

/* As containers do it: it cannot be replaced. */
GST_START_TEST (test_file_mounted_alone_is_written_over)
{
  struct stat before;

  check_run (0, 50);
  if (!can_mount ())
    return;
  mount_alone (state_file, state_file, 0);
  before = look_at (state_file);
  check_run (50, 90);
  fail_unless_equals_uint64 (look_at (state_file).st_ino, before.st_ino);
  check_run (90, N);
  fail_unless_equals_int (count_files (), 2);
  umount (state_file);
}
GST_END_TEST;

GST_START_TEST (test_file_mounted_for_reading_is_an_error_at_start)
{
  check_run (0, 50);
  if (!can_mount ())
    return;
  mount_alone (state_file, state_file, MS_RDONLY);
  check_refused_at_start (state_file, state_file, "cannot be written: Read-only file system");
  umount (state_file);
}
GST_END_TEST;

GST_START_TEST (test_folder_mounted_for_reading_is_an_error_at_start)
{
  if (__i__) /* whether the file is there */
    check_run (0, 50);
  if (!can_mount ())
    return;
  mount_alone (folder, folder, MS_RDONLY);
  check_refused_at_start (state_file, state_file, "Read-only file system");
  umount (folder);
}
GST_END_TEST;

/* A disk at `where` with room for the present state and no more. */
static gboolean
mount_full_disk (const gchar *where)
{
  gchar *state = NULL, *filler = g_build_filename (where, "filler", NULL),
        *file = g_build_filename (where, "state", NULL);
  static guint8 zeros[4096];
  gboolean ok = can_mount ();
  gsize size;
  gint fd;

  if (ok) {
    g_file_get_contents (state_file, &state, &size, NULL);
    mount_small_disk (where);
    fail_unless (state == NULL || g_file_set_contents (file, state, size, NULL));
    fd = g_creat (filler, 0600);
    while (write (fd, zeros, sizeof zeros) > 0)
      ;
    g_close (fd, NULL);
  }
  g_free (file);
  g_free (filler);
  g_free (state);
  return ok;
}

GST_START_TEST (test_first_state_on_a_full_disk_is_an_error_at_eos)
{
  if (!mount_full_disk (folder))
    return;
  check_lost_at_eos (0, state_file, g_strerror (ENOSPC));
  fail_unless_equals_int (count_files (), 1);
  umount (folder);
}
GST_END_TEST;

/* Its blocks are allocated. */
GST_START_TEST (test_state_on_a_full_disk_is_written_over)
{
  check_run (0, 50);
  if (!mount_full_disk (folder))
    return;
  check_run (50, 90);
  check_run (90, N);
  fail_unless_equals_int (count_files (), 2);
  umount (folder);
}
GST_END_TEST;

GST_START_TEST (test_state_that_no_longer_fits_is_an_error_and_the_old_one_stays)
{
  GBytes *before;

  check_run (0, 1);
  before = read_state ();
  if (mount_full_disk (folder)) {
    check_lost_at_eos (1, "can neither be replaced (No space left on device) nor written over: No space", state_file);
    fail_unless_file_is (before);
    fail_unless_equals_int (count_files (), 2);
    umount (folder);
  }
  g_bytes_unref (before);
}
GST_END_TEST;

/* The folder takes the new state, but the file, which is mounted there, can neither be replaced nor grow. */
GST_START_TEST (test_state_that_cannot_get_to_its_place_stays_beside_it)
{
  gchar *disk = g_build_filename (folder, "disk", NULL), *source = g_build_filename (disk, "state", NULL);
  gchar *text = g_strdup_printf ("; the state is in %s" G_DIR_SEPARATOR_S, folder);
  GBytes *before;

  fail_unless_equals_int (g_mkdir (disk, 0700), 0);
  check_run (0, 1);
  before = read_state ();
  if (mount_full_disk (disk)) {
    mount_alone (source, state_file, 0);
    check_lost_at_eos (1, "can neither be replaced (Device or resource busy) nor written over", text);
    fail_unless_file_is (before);
    umount (state_file);
    umount (disk);
    take_copy ();
    check_run (90, N);
  }
  g_bytes_unref (before);
  g_free (text);
  g_free (source);
  g_free (disk);
}
GST_END_TEST;

static Suite *
attention_state_disks_suite (void)
{
  Suite *suite = suite_create ("attention-state-disks");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_folder_that_takes_no_file_is_an_error_at_start);
  tcase_add_test (tc, test_file_in_such_a_folder_is_written_over);
  tcase_add_test (tc, test_file_and_folder_that_cannot_be_written_are_an_error_at_start);
  tcase_add_test (tc, test_file_of_another_user_in_a_shared_folder_is_an_error_at_start);
  tcase_add_test (tc, test_file_that_cannot_be_read_is_an_error_at_start);
  tcase_add_test (tc, test_file_mounted_alone_is_written_over);
  tcase_add_test (tc, test_file_mounted_for_reading_is_an_error_at_start);
  tcase_add_loop_test (tc, test_folder_mounted_for_reading_is_an_error_at_start, 0, 2);
  tcase_add_test (tc, test_first_state_on_a_full_disk_is_an_error_at_eos);
  tcase_add_test (tc, test_state_on_a_full_disk_is_written_over);
  tcase_add_test (tc, test_state_that_no_longer_fits_is_an_error_and_the_old_one_stays);
  tcase_add_test (tc, test_state_that_cannot_get_to_its_place_stays_beside_it);
  return suite;
}

GST_CHECK_MAIN (attention_state_disks);
