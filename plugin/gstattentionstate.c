/*
 * gst-attention: the element `attention`: streams that outlive their process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

/* NULL: no memory. Called with the lock. */
static GBytes *
state_of (const AttnStream *stream)
{
  gsize size = attn_stream_state_size (stream);
  gpointer data = g_try_malloc (size);

  if (data == NULL)
    return NULL;
  attn_stream_save (stream, data, size, NULL);
  return g_bytes_new_take (data, size);
}

/* What the last frame left behind is still there to be saved when the stream has been drained or dropped. */
void
gst_attention_keep_state (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  if (attn_stream_next_frame (self->stream) > 0) {
    g_clear_pointer (&self->ended, g_bytes_unref);
    self->ended = state_of (self->stream);
  }
  g_mutex_unlock (&self->lock);
}

/* A state of a stream that can go on. */
static AttnStatus
restore (AttnStream *stream, GBytes *state, AttnError *error)
{
  gsize size;
  gconstpointer data = g_bytes_get_data (state, &size);
  AttnStatus status = attn_stream_restore (stream, data, size, error);

  if (status != ATTN_OK || !attn_stream_is_drained (stream))
    return status;
  g_strlcpy (error->message, "the state is that of a stream which was drained: nothing can follow",
             sizeof error->message);
  return error->status = ATTN_ERROR_STATE;
}

/* The property may change at any time. NULL: none. */
static gchar *
dup_state_file (GstAttention *self)
{
  gchar *file;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->state_file);
  GST_OBJECT_UNLOCK (self);
  return file;
}

/* The state file goes to the first layer that there is. FALSE after an error message. */
gboolean
gst_attention_restore_file_state (GstAttention *self)
{
  AttnError error;
  AttnStatus status;

  if (self->file_state == NULL)
    return TRUE;
  g_mutex_lock (&self->lock);
  status = restore (self->stream, self->file_state, &error);
  g_mutex_unlock (&self->lock);
  if (status != ATTN_OK) {
    gchar *file = dup_state_file (self);

    gst_attention_free_layer (self);
    if (!self->quiet)
      GST_ELEMENT_ERROR (self, RESOURCE, READ, ("%s: %s", file, error.message), (NULL));
    g_free (file);
    return FALSE;
  }
  g_clear_pointer (&self->file_state, g_bytes_unref);
  gst_attention_resume_stream (self);
  return TRUE;
}

/* Said at start: at stop, when the state would be lost, nobody may listen any more. */
static gboolean
has_folder (GstAttention *self, const gchar *file)
{
  gchar *folder = g_path_get_dirname (file);
  gboolean ok = g_file_test (folder, G_FILE_TEST_IS_DIR);

  if (!ok)
    GST_ELEMENT_ERROR (self, RESOURCE, OPEN_WRITE,
                       ("state-file is %s, but there is no folder %s to write it in: make it first", file, folder),
                       (NULL));
  g_free (folder);
  return ok;
}

/* FALSE after an error message; that there is no file is none. */
gboolean
gst_attention_read_state_file (GstAttention *self)
{
  gchar *file = dup_state_file (self), *data;
  GError *error = NULL;
  gboolean ok = TRUE;
  gsize size;

  if (file != NULL && g_file_get_contents (file, &data, &size, &error))
    self->file_state = g_bytes_new_take (data, size);
  if (error != NULL && !g_error_matches (error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
    GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ, ("%s", error->message), (NULL));
    ok = FALSE;
  } else if (error != NULL) {
    ok = has_folder (self, file);
  }
  g_clear_error (&error);
  g_free (file);
  return ok;
}

/* What the next frame would go on from; NULL: there is no stream, or no memory. Called with the lock. */
static GBytes *
current_state (GstAttention *self)
{
  if (self->restored != NULL)
    return state_of (self->restored);
  if (self->ended != NULL)
    return g_bytes_ref (self->ended);
  return self->stream != NULL ? state_of (self->stream) : NULL;
}

/* Renamed into place, so that whoever reads the file meets the old state or the new one. */
static void
write_state (GstAttention *self, const gchar *file, GBytes *state)
{
  GError *error = NULL;

  if (g_file_set_contents_full (file, g_bytes_get_data (state, NULL), g_bytes_get_size (state),
                                G_FILE_SET_CONTENTS_CONSISTENT, 0666, &error))
    return;
  GST_ELEMENT_WARNING (self, RESOURCE, WRITE, ("%s", error->message), (NULL));
  g_error_free (error);
}

/* Only what frames or restore-state have changed: a run without frames leaves the file alone. */
void
gst_attention_write_state_file (GstAttention *self)
{
  gchar *file = dup_state_file (self);
  GBytes *state = NULL;
  gboolean changed;

  g_mutex_lock (&self->lock);
  changed = file != NULL && self->changed;
  if (changed)
    state = current_state (self);
  g_mutex_unlock (&self->lock);
  if (state != NULL)
    write_state (self, file, state);
  else if (changed)
    GST_ELEMENT_WARNING (self, RESOURCE, NO_SPACE_LEFT, ("no memory for the state of the stream"), (NULL));
  g_clear_pointer (&state, g_bytes_unref);
  g_free (file);
}

GBytes *
gst_attention_save_state (GstAttention *self)
{
  GBytes *state;

  g_mutex_lock (&self->lock);
  state = current_state (self);
  g_mutex_unlock (&self->lock);
  return state;
}

/*
 * Into a stream of its own, which the streaming thread adopts with the next frame: the present one still has buffers
 * to answer, and a state that is refused must not disturb it.
 */
gboolean
gst_attention_restore_state (GstAttention *self, GBytes *state)
{
  AttnError error = { ATTN_ERROR_STATE, "there is no stream yet: without a model it begins with the caps" };
  AttnStream *stream = NULL, *unused = NULL;
  AttnStatus status = ATTN_ERROR_STATE;

  g_return_val_if_fail (state != NULL, FALSE);
  g_mutex_lock (&self->lock);
  if (self->layer != NULL)
    status = attn_stream_new (self->layer, &stream, &error);
  if (stream != NULL)
    status = restore (stream, state, &error);
  if (status == ATTN_OK) {
    unused = self->restored;
    g_atomic_pointer_set (&self->restored, stream);
    self->changed = TRUE;
  } else {
    unused = stream;
  }
  g_mutex_unlock (&self->lock);
  attn_stream_free (unused);
  if (status != ATTN_OK)
    GST_ELEMENT_WARNING (self, STREAM, FAILED, ("%s", error.message), (NULL));
  return status == ATTN_OK;
}
