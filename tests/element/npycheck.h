/*
 * Code for the tests of npyenc and npyparse: files, headers made by hand, whole pipelines.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_NPYCHECK_H
#define TESTS_ELEMENT_NPYCHECK_H

#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <string.h>

#include "harnesscheck.h"
#include "pipelinecheck.h"

#define NE_FORMAT (G_BYTE_ORDER == G_LITTLE_ENDIAN ? "F32LE" : "F32BE")
#define NE_DESCR (G_BYTE_ORDER == G_LITTLE_ENDIAN ? "<f4" : ">f4")

/* The header that npyenc writes in front of the values. */
#define HEADER_SIZE 128

typedef struct {
  gchar *data;
  gsize size;
} Bytes;

static inline gchar *
golden_path (const gchar *name)
{
  return g_build_filename (GOLDEN_DIR, "npy", name, NULL);
}

/* A name for a new file. The caller frees it, after g_unlink (). */
static inline gchar *
temporary_path (void)
{
  gchar *path;
  gint fd = g_file_open_tmp ("npycheck-XXXXXX.npy", &path, NULL);

  fail_unless (fd >= 0);
  g_close (fd, NULL);
  g_unlink (path);
  return path;
}

static inline Bytes
read_bytes (const gchar *path)
{
  Bytes bytes;

  fail_unless (g_file_get_contents (path, &bytes.data, &bytes.size, NULL), "cannot read %s", path);
  return bytes;
}

static inline Bytes
read_golden (const gchar *name)
{
  gchar *path = golden_path (name);
  Bytes bytes = read_bytes (path);

  g_free (path);
  return bytes;
}

static inline gchar *
write_temporary (const Bytes *bytes)
{
  gchar *path = temporary_path ();

  fail_unless (g_file_set_contents (path, bytes->data, bytes->size, NULL));
  return path;
}

/* A version 1.0 file: `dict` and a newline, then `data`. */
static inline Bytes
make_npy (const gchar *dict, gconstpointer data, gsize size)
{
  gsize dict_size = strlen (dict) + 1;
  Bytes bytes = { g_malloc (10 + dict_size + size), 10 + dict_size + size };

  memcpy (bytes.data, "\x93NUMPY\x01\x00", 8);
  bytes.data[8] = dict_size & 255;
  bytes.data[9] = dict_size >> 8;
  memcpy (bytes.data + 10, dict, dict_size - 1);
  bytes.data[10 + dict_size - 1] = '\n';
  if (size > 0)
    memcpy (bytes.data + 10 + dict_size, data, size);
  return bytes;
}

/* (n_frames, n_features) float32 values 0, 1, 2, ... */
static inline Bytes
make_counting_npy (guint n_frames, guint n_features)
{
  gchar *dict =
      g_strdup_printf ("{'descr': '%s', 'fortran_order': False, 'shape': (%u, %u), }", NE_DESCR, n_frames, n_features);
  gfloat *values = g_new (gfloat, (gsize) n_frames * n_features + 1);
  Bytes bytes;
  gsize i;

  for (i = 0; i < (gsize) n_frames * n_features; i++)
    values[i] = i;
  bytes = make_npy (dict, values, (gsize) n_frames * n_features * sizeof (gfloat));
  g_free (values);
  g_free (dict);
  return bytes;
}

/* An element with pads of ours around it and a bus to hear its errors. */
static inline GstHarness *
new_harness (const gchar *element)
{
  GstHarness *harness = gst_harness_new (element);

  gst_object_unref (attach_bus (harness->element));
  return harness;
}

static inline void
check_harness_error (GstHarness *harness, const gchar *expected)
{
  GstBus *bus = gst_element_get_bus (harness->element);

  check_text (pop_error (bus), expected);
  gst_object_unref (bus);
}

static inline void
free_harness (GstHarness *harness)
{
  gst_element_set_bus (harness->element, NULL);
  gst_harness_teardown (harness);
}

#endif
