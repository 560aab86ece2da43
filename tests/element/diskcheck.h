/*
 * Mounts for tests of disks: each test is a process of its own, and its mounts go with it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_DISKCHECK_H
#define TESTS_ELEMENT_DISKCHECK_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE in front of all headers, for unshare ()"
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>

static inline void
write_map (const gchar *file, const gchar *text)
{
  gint fd = open (file, O_WRONLY);

  fail_unless (write (fd, text, strlen (text)) > 0, "%s: %s", file, g_strerror (errno));
  g_close (fd, NULL);
}

/* In a namespace of its own everybody may mount, as the user that he was. */
static inline gboolean
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
static inline gboolean
can_mount (void)
{
  if (enter_namespaces () && mount ("none", "/", "", MS_REC | MS_PRIVATE, NULL) == 0)
    return TRUE;
  g_print ("# skipped: mounts need root or user namespaces: %s\n", g_strerror (errno));
  return FALSE;
}

/* A disk of 256 KiB at `where`. */
static inline void
mount_small_disk (const gchar *where)
{
  fail_unless (mount ("none", where, "tmpfs", 0, "size=256k") == 0, "%s", g_strerror (errno));
}

#endif
