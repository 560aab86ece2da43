/* Whole pipelines, and a folder for their files.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_ELEMENT_PIPELINECHECK_H
#define TESTS_ELEMENT_PIPELINECHECK_H

#include <glib/gstdio.h>
#include <stdlib.h>

#include "buscheck.h"

/* ---- the folder of this test ---- */

static gchar *folder;

static inline void
make_folder (void)
{
  folder = g_dir_make_tmp ("attention-XXXXXX", NULL);
}

static inline gchar *
path_of (const gchar *name)
{
  return g_build_filename (folder, name, NULL);
}

/* Removes the folder and its contents. */
static inline void
remove_folder (void)
{
  gchar *command = g_strdup_printf ("rm -rf '%s'", folder);

  fail_unless_equals_int (system (command), 0);
  g_free (command);
  g_clear_pointer (&folder, g_free);
}

static inline void
write_file (const gchar *name, gconstpointer data, gsize size)
{
  gchar *path = path_of (name);

  fail_unless (g_file_set_contents (path, data, size, NULL));
  g_free (path);
}

static inline gchar *
read_file (const gchar *name, gsize *size)
{
  gchar *path = path_of (name), *data = NULL;

  fail_unless (g_file_get_contents (path, &data, size, NULL), "no %s", path);
  g_free (path);
  return data;
}

/* The file holds these bytes. */
static inline void
check_file (const gchar *name, gconstpointer expected, gsize size)
{
  gsize n;
  gchar *data = read_file (name, &n);

  fail_unless_equals_uint64 (n, size);
  fail_unless (memcmp (data, expected, size) == 0, "%s differs", name);
  g_free (data);
}

/* ---- pipelines ---- */

G_GNUC_PRINTF (1, 2) static inline GstElement *launch (const gchar *format, ...)
{
  GstElement *pipeline;
  GError *error = NULL;
  gchar *line;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  pipeline = gst_parse_launch (line, &error);
  fail_unless (error == NULL, "%s: %s", line, error != NULL ? error->message : "");
  g_free (line);
  return pipeline;
}

/*
 * Runs to EOS or to the first error; returns the text of the error (transfer full) or NULL. Then the pipeline is in
 * NULL again.
 */
static inline gchar *
run_to_end (GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  gchar *text = NULL;
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "no end");
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    text = text_of (message);
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return text;
}

/* The same; takes the pipeline. */
static inline gchar *
run_and_free (GstElement *pipeline)
{
  gchar *text = run_to_end (pipeline);

  gst_object_unref (pipeline);
  return text;
}

/* The text of the error in which the pipeline ends, or NULL. */
#define run_launch_line(...) run_and_free (launch (__VA_ARGS__))

static inline void
preroll (GstElement *pipeline)
{
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
}

static inline void
free_pipeline (GstElement *pipeline)
{
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

#endif
