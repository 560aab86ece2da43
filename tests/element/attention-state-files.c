/*
 * The element `attention`: what a state file may be, where it may be, and that no state is lost without a word.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _GNU_SOURCE /* unshare */
#include "statecheck.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const Case plain = { 20, 0, 2, FALSE };

/* ---- helpers ---- */

/* Each test is a process of its own, so what is done to that needs no undoing. */

/* Modes do not hold root back. */
static void
become_nobody (void)
{
  static const uid_t nobody = 65534;

  if (geteuid () != 0)
    return;
  gst_object_unref (gst_plugin_load_by_name ("attention")); /* he may not reach where it was built */
  fail_unless_equals_int (chown (folder, nobody, nobody), 0);
  if (g_file_test (state_file, G_FILE_TEST_EXISTS))
    fail_unless_equals_int (chown (state_file, nobody, nobody), 0);
  fail_unless_equals_int (seteuid (nobody), 0);
}

static void
become_root (void)
{
  fail_unless_equals_int (seteuid (getuid ()), 0);
}

static void
write_map (const gchar *file, const gchar *text)
{
  gint fd = open (file, O_WRONLY);

  fail_unless (write (fd, text, strlen (text)) > 0, "%s: %s", file, g_strerror (errno));
  g_close (fd, NULL);
}

/* In a namespace of its own everybody may mount, as the user that he was. */
static gboolean
enter_namespaces (void)
{
  uid_t uid = getuid ();
  gid_t gid = getgid ();
  gchar *uids = g_strdup_printf ("%u %u 1", uid, uid), *gids = g_strdup_printf ("%u %u 1", gid, gid);
  gboolean ok = unshare (uid == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0;

  if (ok && uid != 0) {
    write_map ("/proc/self/setgroups", "deny");
    write_map ("/proc/self/uid_map", uids);
    write_map ("/proc/self/gid_map", gids);
  }
  g_free (gids);
  g_free (uids);
  return ok;
}

/* FALSE, and why, where the system does not let us. */
static gboolean
can_mount (void)
{
  if (enter_namespaces () && mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
    return TRUE;
  g_print ("# skipped: mounts need root or user namespaces: %s\n", g_strerror (errno));
  return FALSE;
}

static void
mount_alone (const gchar *from, const gchar *to, gulong flags)
{
  fail_unless (mount (from, to, NULL, MS_BIND, NULL) == 0, "%s: %s", to, g_strerror (errno));
  if (flags != 0)
    fail_unless (mount (NULL, to, NULL, MS_BIND | MS_REMOUNT | flags, NULL) == 0, "%s", g_strerror (errno));
}

/* Frames `begin` to before `end` give the bytes of an undisturbed run, where the state says so. */
static void
check_run (guint begin, guint end)
{
  GByteArray *expected = undisturbed (&plain, 0, N), *got = g_byte_array_new ();

  run (&plain, begin, end, TRUE, got);
  fail_unless_equals_int (got->len, (end - begin) * D * sizeof (gfloat));
  fail_unless_frames (got, 0, expected, begin, end - begin);
  g_byte_array_unref (got);
  g_byte_array_unref (expected);
}

/* Two runs, the second of which goes on; nothing else is left in the folder than there was. */
static void
check_kept (void)
{
  check_run (0, 90);
  check_run (90, N);
}

static guint
count_files (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  g_dir_close (dir);
  return n;
}

/* What stays beside the file that could not be written takes its place. */
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

static struct stat
look_at (const gchar *path)
{
  struct stat about;

  fail_unless (lstat (path, &about) == 0, "%s: %s", path, g_strerror (errno));
  return about;
}

/* The next error has both texts, and is UTF-8. */
static void
check_said (GstBus *bus, const gchar *text, const gchar *more)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error;
  gchar *debug;

  fail_unless (message != NULL, "nothing was said of %s", text);
  gst_message_parse_error (message, &error, &debug);
  fail_unless (strstr (error->message, text) != NULL && strstr (error->message, more) != NULL, "no %s and %s in: %s",
               text, more, error->message);
  fail_unless (g_utf8_validate (error->message, -1, NULL));
  fail_unless (debug == NULL || g_utf8_validate (debug, -1, NULL));
  g_free (debug);
  g_error_free (error);
  gst_message_unref (message);
}

/* Takes the element. */
static void
check_refuses_to_start (GstElement *element, const gchar *text, const gchar *more)
{
  GstBus *bus = attach_bus (element);

  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  check_said (bus, text, more);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}

static void
check_refused_at_start (const gchar *path, const gchar *text, const gchar *more)
{
  check_refuses_to_start (make_element (&plain, path), text, more);
}

/* A run from `begin` on, with both texts in the error message at EOS. */
static void
check_lost_at_eos (guint begin, const gchar *text, const gchar *more)
{
  GstHarness *h = start (&plain, state_file);
  GstBus *bus = attach_bus (h->element);

  push (h, begin, 90);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_said (bus, text, more);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}

static void
teardown_all (void)
{
  gchar *command = g_strdup_printf ("rm -rf %s", folder);

  fail_unless_equals_int (system (command), 0);
  g_free (command);
  teardown ();
}

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

/* ---- what it keeps ---- */

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

/* Who has the file open reads on in the state that he began with. */
GST_START_TEST (test_state_is_replaced_as_a_whole)
{
  GBytes *before;
  guint8 *bytes;
  gsize size;
  gint fd;

  check_run (0, 50);
  before = read_file ();
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

/* An application that goes elsewhere takes the file not with it. */
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

/* A disk without room at `where`, but for the state that there is. */
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
    fail_unless (mount ("none", where, "tmpfs", 0, "size=256k") == 0, "%s", g_strerror (errno));
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

/* Its blocks are there. */
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
  before = read_file ();
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
  before = read_file ();
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

/* ---- what is not a file, or not a state ---- */

static void
make_socket (const gchar *path)
{
  struct sockaddr_un address = { AF_UNIX };
  gint fd = socket (AF_UNIX, SOCK_STREAM, 0);

  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  fail_unless_equals_int (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
  g_close (fd, NULL);
}

/* Nobody writes to the pipe: who opened it would wait for ever. */
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

/* A terabyte of zeros, none of which is read but the first. */
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
  fail_unless_said (bus, GST_MESSAGE_ERROR, "this is no saved state");
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
  check_refuses_to_start (make_element (&with_model, model_file), model_file, "this is no saved state");
  check_refuses_to_start (make_element (&with_model, state_file), model_file, "this is no saved state");
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

/* As another process would hold it; also when the stream has written in between, so that it is another file. */
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
  at_eos = read_file ();
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
  if (level == GST_LEVEL_ERROR && strstr (gst_debug_message_get (message), "not kept: state-file: ") != NULL)
    ++*(guint *) n;
}

/* Nobody listens to the bus any more. */
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

/* What failed at EOS is tried again: space may be made. */
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
  check_run (N, N); /* nobody has it */
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
  /* Caps may be provisional: what is wrong with them is said when a buffer comes. */
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
  TCase *files = tcase_create ("files");

  suite_add_tcase (suite, files);
  tcase_add_checked_fixture (files, setup, teardown_all);
  tcase_add_loop_test (files, test_link_is_followed_and_stays, 0, 8);
  tcase_add_test (files, test_link_to_no_folder_is_an_error_at_start);
  tcase_add_test (files, test_links_in_a_circle_are_an_error_at_start);
  tcase_add_loop_test (files, test_mode_is_kept, 0, 5);
  tcase_add_test (files, test_new_file_has_the_mode_of_any_new_file);
  tcase_add_test (files, test_owner_and_group_are_kept);
  tcase_add_test (files, test_group_that_cannot_stay_does_not_let_another_one_read);
  tcase_add_test (files, test_state_is_replaced_as_a_whole);
  tcase_add_loop_test (files, test_longest_name_is_written, 249, 256);
  tcase_add_test (files, test_relative_name_is_that_of_the_start);
  tcase_add_test (files, test_folder_that_takes_no_file_is_an_error_at_start);
  tcase_add_test (files, test_file_in_such_a_folder_is_written_over);
  tcase_add_test (files, test_file_and_folder_that_cannot_be_written_are_an_error_at_start);
  tcase_add_test (files, test_file_of_another_user_in_a_shared_folder_is_an_error_at_start);
  tcase_add_test (files, test_file_that_cannot_be_read_is_an_error_at_start);
  tcase_add_test (files, test_file_mounted_alone_is_written_over);
  tcase_add_test (files, test_file_mounted_for_reading_is_an_error_at_start);
  tcase_add_loop_test (files, test_folder_mounted_for_reading_is_an_error_at_start, 0, 2);
  tcase_add_test (files, test_first_state_on_a_full_disk_is_an_error_at_eos);
  tcase_add_test (files, test_state_on_a_full_disk_is_written_over);
  tcase_add_test (files, test_state_that_no_longer_fits_is_an_error_and_the_old_one_stays);
  tcase_add_test (files, test_state_that_cannot_get_to_its_place_stays_beside_it);
  tcase_add_test (files, test_what_is_not_a_regular_file_is_an_error_at_start);
  tcase_add_test (files, test_huge_file_is_refused_by_its_beginning);
  tcase_add_test (files, test_model_file_is_not_taken_for_the_state_file);
  tcase_add_loop_test (files, test_file_of_a_running_stream_is_an_error_at_start, 0, 4);
  tcase_add_test (files, test_file_is_locked_against_other_processes);
  tcase_add_test (files, test_state_is_in_the_file_when_eos_leaves);
  tcase_add_test (files, test_state_that_is_lost_at_stop_is_an_error_in_the_log);
  tcase_add_test (files, test_state_that_is_lost_at_eos_is_written_at_stop_if_it_can_be);
  tcase_add_test (files, test_another_state_file_counts_from_the_next_start_on);
  tcase_add_test (files, test_messages_are_utf8_whatever_the_names_are);
  tcase_add_test (files, test_message_of_a_wrong_width_is_utf8_too);
  return suite;
}

GST_CHECK_MAIN (attention_state_files);
