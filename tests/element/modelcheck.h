/*
 * Model files that tests write themselves.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_MODELCHECK_H
#define TESTS_ELEMENT_MODELCHECK_H

#include <gst/check/gstcheck.h>
#include <string.h>

/* A safetensors file with this header, with ' in place of ", and these bytes behind it. Takes the header. */
static inline void
write_safetensors (const gchar *path, gchar *header, gconstpointer data, gsize size)
{
  guint64 length = GUINT64_TO_LE (strlen (header));
  GByteArray *bytes = g_byte_array_new ();

  g_byte_array_append (bytes, (const guint8 *) &length, sizeof length);
  g_byte_array_append (bytes, (const guint8 *) g_strdelimit (header, "'", '"'), strlen (header));
  g_byte_array_append (bytes, data, size);
  fail_unless (g_file_set_contents (path, (const gchar *) bytes->data, bytes->len, NULL));
  g_byte_array_unref (bytes);
  g_free (header);
}

#endif
