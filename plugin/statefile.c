/* gst-attention: the file that keeps a stream between runs.  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE /* TEMP_FAILURE_RETRY, flock */
#define _FILE_OFFSET_BITS 64
#include "statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINKS 40 /* as the kernel has it */

/* The new file while it is written: short, so that the name of the state may be as long as names can be. */
#define NEW_NAME ".state-XXXXXX"

/* Of a file that does not begin as a state does, however large, so much is enough. */
#define BEGINNING 64

struct _StateFile {
  gchar *path;   /* behind all links, absolute */
  gchar *folder; /* of `path` */
  gint fd;       /* holds the lock; -1: there is no file yet */
};

/* Paths that are open in this process: a file that is not there yet cannot be locked. */
static GMutex lock;
static GHashTable *open_paths;

/* ---- errors ---- */

static gboolean fail (GError **error, gint number, const gchar *path, const gchar *format, ...) G_GNUC_PRINTF (4, 5);

/* The sentence that `format` makes, behind the path, and before the text of `number`, if that is not 0. */
static gboolean
fail (GError **error, gint number, const gchar *path, const gchar *format, ...)
{
  gchar *name = g_filename_display_name (path), *text;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, G_FILE_ERROR, number != 0 ? (gint) g_file_error_from_errno (number) : G_FILE_ERROR_FAILED,
               "state-file: %s %s%s%s", name, text, number != 0 ? ": " : "", number != 0 ? g_strerror (number) : "");
  g_free (text);
  g_free (name);
  return FALSE;
}

static gboolean
fail_kind (GError **error, const gchar *path, mode_t mode)
{
  return fail (error, 0, path, "is %s, but a state is kept in a regular file",
               S_ISDIR (mode)    ? "a folder"
               : S_ISFIFO (mode) ? "a pipe"
               : S_ISSOCK (mode) ? "a socket"
                                 : "a device");
}

/* ---- where it is ---- */

/* What the links lead to, which need not be there. Transfer full; NULL: they lead in a circle. */
static gchar *
follow_links (const gchar *path)
{
  gchar *at = g_canonicalize_filename (path, NULL), *link;
  gint n_links;

  for (n_links = 0; at != NULL && (link = g_file_read_link (at, NULL)) != NULL; n_links++) {
    gchar *folder = g_path_get_dirname (at);

    g_free (at);
    at = n_links == MAX_LINKS        ? NULL
         : g_path_is_absolute (link) ? g_strdup (link)
                                     : g_build_filename (folder, link, NULL);
    g_free (folder);
    g_free (link);
  }
  return at;
}

/* FALSE: somebody has it. */
static gboolean
reserve_path (const gchar *path)
{
  gboolean is_free;

  g_mutex_lock (&lock);
  if (open_paths == NULL)
    open_paths = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  is_free = !g_hash_table_contains (open_paths, path);
  if (is_free)
    g_hash_table_add (open_paths, g_strdup (path));
  g_mutex_unlock (&lock);
  return is_free;
}

static void
release_path (const gchar *path)
{
  g_mutex_lock (&lock);
  g_hash_table_remove (open_paths, path);
  if (g_hash_table_size (open_paths) == 0)
    g_clear_pointer (&open_paths, g_hash_table_unref);
  g_mutex_unlock (&lock);
}

/* ---- files ---- */

static gboolean
read_all (gint fd, guint8 *bytes, gsize size)
{
  while (size > 0) {
    gssize n = TEMP_FAILURE_RETRY (read (fd, bytes, size));

    if (n == 0)
      errno = EIO; /* it has become shorter */
    if (n <= 0)
      return FALSE;
    bytes += n;
    size -= n;
  }
  return TRUE;
}

/* And on the disk. */
static gboolean
write_all (gint fd, GBytes *bytes)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  while (size > 0) {
    gssize n = TEMP_FAILURE_RETRY (write (fd, data, size));

    if (n < 0)
      return FALSE;
    data += n;
    size -= n;
  }
  return TEMP_FAILURE_RETRY (fsync (fd)) == 0;
}

/* `*path` (transfer full) is that of a new file beside it. -1: errno says why. */
static gint
open_new (StateFile *file, mode_t mode, gchar **path)
{
  *path = g_build_filename (file->folder, NEW_NAME, NULL);
  return g_mkstemp_full (*path, O_RDWR | O_CLOEXEC, mode);
}

static gint
open_over (StateFile *file)
{
  return open (file->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
}

/* ---- opening ---- */

/* `size` is that of the file. */
static gboolean
read_content (StateFile *file, const gchar *magic, gsize size, GBytes **bytes, GError **error)
{
  gsize n = MIN (size, BEGINNING);
  guint8 *data = g_malloc (n), *all = NULL;

  if (!read_all (file->fd, data, n))
    goto cannot_read;
  if (n < size && memcmp (data, magic, strlen (magic)) == 0) {
    errno = ENOMEM;
    all = g_try_realloc (data, size);
    if (all == NULL)
      goto cannot_read;
    data = all;
    if (!read_all (file->fd, data + n, size - n))
      goto cannot_read;
    n = size;
  }
  *bytes = g_bytes_new_take (data, n);
  return TRUE;

  /* ERRORS */
cannot_read:
  fail (error, errno, file->path, "cannot be read");
  g_free (data);
  return FALSE;
}

/* Checks that the path still means the open file: the last owner of the lock may have put another file there. */
static gboolean
is_current (StateFile *file, const struct stat *opened)
{
  struct stat named;

  return stat (file->path, &named) == 0 && named.st_dev == opened->st_dev && named.st_ino == opened->st_ino;
}

/* What is not a regular file is not opened: opening it may do something, or wait. */
static gboolean
open_and_lock (StateFile *file, struct stat *about, GError **error)
{
  do {
    if (file->fd >= 0)
      close (file->fd);
    file->fd = -1;
    if (stat (file->path, about) != 0)
      return fail (error, errno, file->path, "cannot be examined");
    if (!S_ISREG (about->st_mode))
      return fail_kind (error, file->path, about->st_mode);
    file->fd = open (file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    if (file->fd < 0 || fstat (file->fd, about) != 0)
      return fail (error, errno, file->path, "cannot be read");
    if (flock (file->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* not every file system has locks */
      return fail (error, 0, file->path, "is that of another stream, which is running: each needs its own");
  } while (!is_current (file, about));
  return TRUE;
}

/* 0, or why its folder takes no new file. */
static gint
try_folder (StateFile *file)
{
  gchar *path;
  gint fd = open_new (file, 0600, &path), number = fd < 0 ? errno : 0;

  if (fd >= 0) {
    g_unlink (path);
    close (fd);
  }
  g_free (path);
  return number;
}

/* 0, or why it cannot be written over. */
static gint
try_over (StateFile *file)
{
  gint fd = open_over (file), number = fd < 0 ? errno : 0;

  if (fd >= 0)
    close (fd);
  return number;
}

/* In a folder such as /tmp only its owner can replace a file. */
static gboolean
is_sticky (StateFile *file, const struct stat *about)
{
  struct stat folder;
  uid_t user = geteuid ();

  return stat (file->folder, &folder) == 0 && (folder.st_mode & S_ISVTX) && user != 0 && user != about->st_uid
         && user != folder.st_uid;
}

/* One that its mode alone protects can be replaced; one on a mount for reading, or an immutable one, cannot. */
static gboolean
check_writable (StateFile *file, const struct stat *about, GError **error)
{
  gint folder = try_folder (file), over = try_over (file);

  if (over == 0 || (folder == 0 && over == EACCES && !is_sticky (file, about)))
    return TRUE;
  return fail (error, over, file->path, "cannot be written");
}

static gboolean
check_folder (StateFile *file, GError **error)
{
  gint number = try_folder (file);
  gchar *name = g_filename_display_name (file->folder);

  if (number == ENOENT || number == ENOTDIR)
    fail (error, 0, file->path, "cannot be written: there is no folder %s, make it first", name);
  else if (number != 0)
    fail (error, number, file->path, "cannot be written: the folder %s takes no new file", name);
  g_free (name);
  return number == 0;
}

StateFile *
state_file_open (const gchar *path, const gchar *magic, GBytes **bytes, GError **error)
{
  StateFile *file = g_new0 (StateFile, 1);
  gboolean ok = FALSE;
  struct stat about;

  *bytes = NULL;
  file->fd = -1;
  file->path = follow_links (path);
  if (file->path == NULL)
    fail (error, ELOOP, path, "cannot be found");
  else if (!reserve_path (file->path)) {
    fail (error, 0, file->path, "is that of another stream, which is running: each needs its own");
    g_clear_pointer (&file->path, g_free); /* it is not ours to release */
  } else {
    file->folder = g_path_get_dirname (file->path);
    if (stat (file->path, &about) != 0 && (errno == ENOENT || errno == ENOTDIR))
      ok = check_folder (file, error);
    else
      ok = open_and_lock (file, &about, error) && check_writable (file, &about, error)
           && read_content (file, magic, about.st_size, bytes, error);
  }
  if (!ok)
    g_clear_pointer (&file, state_file_close);
  return file;
}

void
state_file_close (StateFile *file)
{
  if (file == NULL)
    return;
  if (file->path != NULL)
    release_path (file->path);
  if (file->fd >= 0)
    close (file->fd);
  g_free (file->folder);
  g_free (file->path);
  g_free (file);
}

gchar *
state_file_dup_name (const StateFile *file)
{
  return g_filename_display_name (file->path);
}

/* ---- writing ---- */

/* Where the group cannot stay, the new one gets what all others have. */
static gboolean
keep_attributes (gint fd, const struct stat *old)
{
  mode_t mode = old->st_mode & 0777;

  if (fchown (fd, (uid_t) -1, old->st_gid) != 0)
    mode = (mode & ~S_IRWXG) | (mode & S_IRWXO) << 3;
  if (old->st_uid != geteuid () && fchown (fd, old->st_uid, (gid_t) -1) != 0)
    g_debug ("the state file changes its owner");
  return fchmod (fd, mode) == 0;
}

/* A new file beside the old one, locked, whole and on the disk. -1: errno says why. */
static gint
write_new (StateFile *file, GBytes *bytes, gchar **path)
{
  struct stat old;
  gboolean is_there = lstat (file->path, &old) == 0;
  gint fd = open_new (file, is_there ? 0600 : 0666, path), number;

  if (fd < 0)
    return -1;
  flock (fd, LOCK_EX | LOCK_NB); /* nobody else can have it */
  if ((!is_there || keep_attributes (fd, &old)) && write_all (fd, bytes))
    return fd;
  number = errno;
  g_unlink (*path);
  close (fd);
  errno = number;
  return -1;
}

/* The lock is that of the new file now, and its name goes to the disk. */
static void
adopt (StateFile *file, gint fd)
{
  gint folder = open (file->folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY);

  if (file->fd >= 0)
    close (file->fd);
  file->fd = fd;
  if (folder < 0)
    return;
  fsync (folder);
  close (folder);
}

/* 0, or errno. That the disk is full is found before the old bytes are touched. */
static gint
write_over (StateFile *file, GBytes *bytes)
{
  gint fd = open_over (file), number;
  struct stat old;

  if (fd < 0)
    return errno;
  if (fstat (fd, &old) != 0 || !S_ISREG (old.st_mode)) {
    close (fd);
    return EINVAL;
  }
  number = posix_fallocate (fd, 0, g_bytes_get_size (bytes));
  if (number != 0 && number != EINVAL && number != EOPNOTSUPP) {
    if (ftruncate (fd, old.st_size) != 0)
      number = errno;
  } else {
    number = write_all (fd, bytes) && ftruncate (fd, g_bytes_get_size (bytes)) == 0 ? 0 : errno;
  }
  if (close (fd) != 0 && number == 0)
    number = errno;
  return number;
}

/* `path` (NULL: none) is a whole copy, which stays: of the file itself only a part may be new. */
static void
fail_write (StateFile *file, gint replace, gint over, const gchar *path, GError **error)
{
  gchar *copy = path != NULL ? g_filename_display_name (path) : NULL;

  if (over == ENOENT)
    fail (error, replace, file->path, "cannot be written");
  else if (copy == NULL)
    fail (error, over, file->path, "can neither be replaced (%s) nor written over", g_strerror (replace));
  else
    fail (error, over, file->path, "can neither be replaced (%s) nor written over; the state is in %s",
          g_strerror (replace), copy);
  g_free (copy);
}

gboolean
state_file_write (StateFile *file, GBytes *bytes, GError **error)
{
  gchar *path;
  gint fd = write_new (file, bytes, &path), number = fd < 0 ? errno : 0, over;

  if (fd >= 0 && g_rename (path, file->path) == 0) {
    adopt (file, fd);
    g_free (path);
    return TRUE;
  }
  if (fd >= 0)
    number = errno;
  over = write_over (file, bytes);
  if (over != 0)
    fail_write (file, number, over, fd >= 0 ? path : NULL, error);
  else if (fd >= 0)
    g_unlink (path);
  if (fd >= 0)
    close (fd);
  g_free (path);
  return over == 0;
}
