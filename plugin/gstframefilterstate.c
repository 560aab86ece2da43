/*
 * gst-attention: GstFrameFilter: streams that outlive their process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* The bytes with which every state begins (attn.h). */
#define MAGIC "attnstat"

#define NO_MEMORY "no memory for the state of the stream"

/* NULL: no memory, or outputs of its end are left (they come when its state has been kept). Called with the lock. */
static GBytes *
state_of (const AttnStream *stream)
{
  gsize size = attn_stream_state_size (stream);
  gpointer data = g_try_malloc (size);

  if (data == NULL)
    return NULL;
  if (attn_stream_save (stream, data, size, NULL) == ATTN_OK)
    return g_bytes_new_take (data, size);
  g_free (data);
  return NULL;
}

void
gst_frame_filter_keep_state (GstFrameFilter *self)
{
  g_mutex_lock (&self->lock);
  if (attn_stream_next_frame (self->stream) > 0) {
    g_clear_pointer (&self->ended, g_bytes_unref);
    self->ended = state_of (self->stream);
    if (self->ended == NULL)
      self->ended = g_bytes_new (NULL, 0); /* it is lost: the state of the next stream does not take its place */
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

gboolean
gst_frame_filter_restore_file_state (GstFrameFilter *self, GError **error)
{
  AttnError failure;
  AttnStatus status;
  gchar *name;

  if (self->file_state == NULL)
    return TRUE;
  g_mutex_lock (&self->lock);
  status = restore (self->stream, self->file_state, &failure);
  g_mutex_unlock (&self->lock);
  if (status != ATTN_OK)
    goto refused;
  g_clear_pointer (&self->file_state, g_bytes_unref);
  return TRUE;

  /* ERRORS */
refused:
  name = state_file_dup_name (self->file);
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "state-file: %s: %s", name, failure.message);
  g_free (name);
  return FALSE;
}

gboolean
gst_frame_filter_open_state_file (GstFrameFilter *self)
{
  GError *error = NULL;
  gchar *path;

  GST_OBJECT_LOCK (self);
  path = g_strdup (self->state_file);
  GST_OBJECT_UNLOCK (self);
  if (path != NULL)
    self->file = state_file_open (path, MAGIC, &self->file_state, &error);
  g_free (path);
  if (error == NULL)
    return TRUE;
  GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ_WRITE, ("%s", error->message), (NULL));
  g_error_free (error);
  return FALSE;
}

/* The state from which the next frame would go on; NULL: there is no stream, or no memory. Called with the lock. */
static GBytes *
current_state (GstFrameFilter *self)
{
  if (self->restored != NULL)
    return state_of (self->restored);
  if (self->ended != NULL)
    return g_bytes_get_size (self->ended) > 0 ? g_bytes_ref (self->ended) : NULL;
  return self->stream != NULL ? state_of (self->stream) : NULL;
}

/* At stop perhaps nobody listens to the bus any more, but the log is still read. */
static void
complain_of_lost_state (GstFrameFilter *self, const gchar *why)
{
  GST_ERROR_OBJECT (self, "the state of the stream was not saved: %s", why);
  GST_ELEMENT_ERROR (self, RESOURCE, WRITE, ("%s", why), ("the state of the stream was not saved"));
}

static gboolean
write_state (GstFrameFilter *self, GBytes *state)
{
  GError *error = NULL;

  if (state != NULL && state_file_write (self->file, state, &error))
    return TRUE;
  complain_of_lost_state (self, error != NULL ? error->message : NO_MEMORY);
  g_clear_error (&error);
  return FALSE;
}

void
gst_frame_filter_write_state_file (GstFrameFilter *self)
{
  GBytes *state = NULL;
  gboolean changed;

  g_mutex_lock (&self->lock);
  changed = self->file != NULL && self->changed;
  if (changed)
    state = current_state (self);
  self->changed = self->changed && !changed;
  g_mutex_unlock (&self->lock);
  if (changed && !write_state (self, state)) {
    g_mutex_lock (&self->lock);
    self->changed = TRUE; /* to be tried again at stop */
    g_mutex_unlock (&self->lock);
  }
  g_clear_pointer (&state, g_bytes_unref);
}

GBytes *
gst_frame_filter_save_state (GstFrameFilter *self)
{
  GBytes *state;
  gboolean is_there;

  g_mutex_lock (&self->lock);
  state = current_state (self);
  is_there = self->stream != NULL;
  g_mutex_unlock (&self->lock);
  if (state == NULL && is_there)
    GST_ELEMENT_WARNING (self, RESOURCE, NO_SPACE_LEFT, (NO_MEMORY), (NULL));
  return state;
}

/*
 * Into a stream of its own, which the streaming thread adopts with the next frame: the present one still has buffers
 * to answer, and a state that is refused must not disturb it. Returns the object that is no longer needed. Called with
 * the lock.
 */
static AttnStream *
leave_restored (GstFrameFilter *self, GBytes *state, AttnError *error)
{
  AttnStream *stream = NULL, *unused;
  AttnStatus status;

  if (self->layer == NULL) {
    *error = (AttnError){ ATTN_ERROR_STATE, "there is no stream yet: without a model it begins with the caps" };
    return NULL;
  }
  status = attn_stream_new (self->layer, &stream, error);
  if (status == ATTN_OK)
    status = restore (stream, state, error);
  error->status = status;
  if (status != ATTN_OK)
    return stream;
  unused = self->restored;
  g_atomic_pointer_set (&self->restored, stream);
  self->changed = TRUE;
  return unused;
}

gboolean
gst_frame_filter_restore_state (GstFrameFilter *self, GBytes *state)
{
  AttnError error;
  AttnStream *unused;

  g_return_val_if_fail (state != NULL, FALSE);
  g_mutex_lock (&self->lock);
  unused = leave_restored (self, state, &error);
  g_mutex_unlock (&self->lock);
  attn_stream_free (unused);
  if (error.status != ATTN_OK)
    GST_ELEMENT_WARNING (self, STREAM, FAILED, ("%s", error.message), (NULL));
  return error.status == ATTN_OK;
}
