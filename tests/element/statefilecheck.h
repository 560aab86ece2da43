/*
 * Code for the tests of state files: runs that go on, and users without rights.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_STATEFILECHECK_H
#define TESTS_ELEMENT_STATEFILECHECK_H

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "statecheck.h"

static const Case plain = { 20, 0, 2, FALSE };

/* Each test is a process of its own, so that changes to the process need not be undone. */

/* Modes do not hold root back. */
static inline void
become_nobody (void)
{
  static const uid_t nobody = 65534;

  if (geteuid () != 0)
    return;
  gst_object_unref (gst_plugin_load_by_name ("attention")); /* the user may not reach the folder of the build */
  fail_unless_equals_int (chown (folder, nobody, nobody), 0);
  if (g_file_test (state_file, G_FILE_TEST_EXISTS))
    fail_unless_equals_int (chown (state_file, nobody, nobody), 0);
  fail_unless_equals_int (seteuid (nobody), 0);
}

static inline void
become_root (void)
{
  fail_unless_equals_int (seteuid (getuid ()), 0);
}

/* Frames `begin` to before `end` give the bytes of an undisturbed run, from the place in the state on. */
static inline void
check_run (guint begin, guint end)
{
  GByteArray *expected = undisturbed (&plain, 0, N), *got = g_byte_array_new ();

  run (&plain, begin, end, TRUE, got);
  fail_unless_equals_int (got->len, (end - begin) * D * sizeof (gfloat));
  fail_unless_frames (got, 0, expected, begin, end - begin);
  g_byte_array_unref (got);
  g_byte_array_unref (expected);
}

/* Two runs, the second of which goes on; no other file is left in the folder. */
static inline void
check_kept (void)
{
  check_run (0, 90);
  check_run (90, N);
}

static inline guint
count_files (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  g_dir_close (dir);
  return n;
}

static inline struct stat
look_at (const gchar *path)
{
  struct stat about;

  fail_unless (lstat (path, &about) == 0, "%s: %s", path, g_strerror (errno));
  return about;
}

/* The next error contains both texts, and is UTF-8. */
static inline void
check_said (GstBus *bus, const gchar *text, const gchar *more)
{
  GstMessage *message = pop_message (bus, GST_MESSAGE_ERROR);
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
static inline void
check_refuses_to_start (GstElement *element, const gchar *text, const gchar *more)
{
  GstBus *bus = attach_bus (element);

  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  check_said (bus, text, more);
  gst_element_set_state (element, GST_STATE_NULL);
  detach_bus (element, bus);
  gst_object_unref (element);
}

static inline void
check_refused_at_start (const gchar *path, const gchar *text, const gchar *more)
{
  check_refuses_to_start (make_element (&plain, path), text, more);
}

/* A run from `begin` on, with both texts in the error message at EOS. */
static inline void
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

#endif
