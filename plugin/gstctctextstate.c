/*
 * gst-attention: the element `ctctext`: streams that outlive their process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstctctext-private.h"

gboolean
gst_ctc_text_open_state_file (GstCtcText *self)
{
  GBytes *state = NULL;
  GError *error = NULL;
  gchar *name;

  if (self->used.state_file == NULL)
    return TRUE;
  self->file = state_file_open (self->used.state_file, CTC_STATE_MAGIC, &state, &error);
  if (self->file == NULL)
    goto not_opened;
  if (state != NULL && !ctc_decoder_check (self->decoder, state, &error))
    goto refused;
  self->restored = state;
  return TRUE;

  /* ERRORS */
refused:
  g_bytes_unref (state);
  name = state_file_dup_name (self->file);
  g_prefix_error (&error, "state-file: %s: ", name);
  g_free (name);
  g_clear_pointer (&self->file, state_file_close);
not_opened:
  GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ_WRITE, ("%s", error->message), (NULL));
  g_error_free (error);
  return FALSE;
}

/* What the next frame would go on from. With the lock. NULL: not started. */
static GBytes *
current_state (GstCtcText *self)
{
  if (self->restored != NULL)
    return g_bytes_ref (self->restored);
  if (self->ended != NULL)
    return g_bytes_ref (self->ended);
  return self->decoder != NULL ? ctc_decoder_save (self->decoder, self->told) : NULL;
}

void
gst_ctc_text_write_state_file (GstCtcText *self)
{
  GBytes *state = NULL;
  GError *error = NULL;

  g_mutex_lock (&self->lock);
  if (self->file != NULL && self->changed)
    state = current_state (self);
  self->changed = self->changed && state == NULL;
  g_mutex_unlock (&self->lock);
  if (state == NULL)
    return;
  if (!state_file_write (self->file, state, &error)) {
    /* At stop nobody may listen to the bus any more, but the log is still read. */
    GST_ERROR_OBJECT (self, "the state of the stream was not saved: %s", error->message);
    GST_ELEMENT_ERROR (self, RESOURCE, WRITE, ("%s", error->message), ("the state of the stream was not saved"));
    g_error_free (error);
    g_mutex_lock (&self->lock);
    self->changed = TRUE; /* to be tried again at stop */
    g_mutex_unlock (&self->lock);
  }
  g_bytes_unref (state);
}

GBytes *
gst_ctc_text_save_state (GstCtcText *self)
{
  GBytes *state;

  g_mutex_lock (&self->lock);
  state = current_state (self);
  g_mutex_unlock (&self->lock);
  return state;
}

gboolean
gst_ctc_text_restore_state (GstCtcText *self, GBytes *state)
{
  GError *error = NULL;
  gboolean ok = FALSE;

  g_return_val_if_fail (state != NULL, FALSE);
  g_mutex_lock (&self->lock);
  if (self->decoder == NULL)
    g_set_error (&error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                 "the tokens are not known yet: the element reads them in PAUSED");
  else
    ok = ctc_decoder_check (self->decoder, state, &error);
  if (ok) {
    g_clear_pointer (&self->restored, g_bytes_unref);
    self->restored = g_bytes_ref (state);
    self->changed = TRUE;
  }
  g_mutex_unlock (&self->lock);
  if (!ok)
    GST_ELEMENT_WARNING (self, STREAM, FAILED, ("%s", error->message), (NULL));
  g_clear_error (&error);
  return ok;
}
