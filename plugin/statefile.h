/*
 * gst-attention: the file that keeps a stream between runs: read, found writable and reserved at start, written at the
 * end. No pads, no streams. SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_STATEFILE_H
#define PLUGIN_STATEFILE_H

#include <glib.h>

G_BEGIN_DECLS

typedef struct _StateFile StateFile;

/*
 * Follows symbolic links, and reserves what they lead to: another stream that opens it, here or (once it is there) in
 * another process, gets an error. `*bytes` (transfer full) is its content, NULL where there is no file yet. An error
 * also where nothing could be written later: the sentence names the file. NULL after an error, of G_FILE_ERROR.
 */
StateFile *state_file_open (const gchar *path, const gchar *magic, GBytes **bytes, GError **error);

/* For messages. Transfer full. */
gchar *state_file_dup_name (const StateFile *file);

/*
 * `bytes` take the place of the content at once, by a new file that is renamed: after a crash there are the old bytes
 * or the new ones, on the disk. Mode and, where the system allows it, owner and group stay. Where there can be no new
 * file (its folder takes none, the file is mounted by itself, the disk is full) the old one is written over, which a
 * crash can interrupt.
 */
gboolean state_file_write (StateFile *file, GBytes *bytes, GError **error);

/* Accepts NULL. */
void state_file_close (StateFile *file);

G_END_DECLS

#endif
