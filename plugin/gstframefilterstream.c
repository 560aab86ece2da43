/*
 * gst-attention: GstFrameFilter: the layer and the stream: frames go in, outputs come out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

#include "gstattentionlayers.h"

/* ---- frames ---- */

GstClockTime
gst_frame_filter_output_time (GstFrameFilter *self)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;
  const Item *item = gst_queue_array_peek_head_struct (self->waiting);
  GstClockTime offset = gst_features_duration (&self->features, item->n_done);

  if (!GST_BUFFER_PTS_IS_VALID (item->out.buffer) || segment->format != GST_FORMAT_TIME)
    return GST_CLOCK_TIME_NONE;
  if (!GST_CLOCK_TIME_IS_VALID (offset))
    offset = 0;
  return gst_segment_to_stream_time (segment, GST_FORMAT_TIME, GST_BUFFER_PTS (item->out.buffer) + offset);
}

/* TRUE when the output behind the next one of `item` wants to be asked for by itself. */
static gboolean
announce_outputs (GstFrameFilter *self, const Item *item)
{
  gboolean is_new = self->is_new_stream;

  if (item->out.buffer == NULL)
    return FALSE;
  self->is_new_stream = FALSE;
  return GST_FRAME_FILTER_GET_CLASS (self)->before_outputs (self, self->stream, is_new);
}

/* One call in so many is timed: asking the clock takes a tenth of what a frame takes. */
#define CALLS_PER_TIMED_CALL 16

/* The next `n` of `frames` (NULL: absent ones) to the core; how many outputs got ready. */
static guint64
call_core (GstFrameFilter *self, const gfloat *frames, guint64 n, gfloat *out, gfloat *weights)
{
  gboolean timed = self->n_calls++ % CALLS_PER_TIMED_CALL == 0;
  GstClockTime begin = timed ? gst_util_get_timestamp () : 0;
  guint64 n_out;

  if (frames != NULL)
    n_out = attn_stream_push (self->stream, frames, n, out, weights);
  else
    n_out = attn_stream_skip (self->stream, n, out, weights);
  if (timed) {
    self->busy += gst_util_get_timestamp () - begin;
    self->n_timed += n;
  }
  return n_out;
}

/* The same for outputs that go to `item`; what the core shows of them are the rows of side 0. */
static void
run (GstFrameFilter *self, Item *item, const gfloat *frames, guint64 n)
{
  gfloat *out = gst_frame_filter_next_row (item, &item->out);
  gfloat *weights = item->sides != NULL ? gst_frame_filter_next_row (item, &item->sides[0]) : NULL;

  g_mutex_lock (&self->lock);
  item->n_done += call_core (self, frames, n, out, weights);
  if (!self->draining) {
    g_clear_pointer (&self->ended, g_bytes_unref);
    self->n_frames += n;
    self->n_absent += frames == NULL ? n : 0;
  }
  self->changed = TRUE;
  g_mutex_unlock (&self->lock);
  self->resumed = FALSE;
}

/* The frames that the core takes until it has given `n` more outputs. */
static guint64
frames_for (GstFrameFilter *self, guint64 n)
{
  return attn_layer_reach_ahead (self->layer) - attn_stream_pending (self->stream) + n;
}

/* Gives the core `n` frames (NULL: absent ones) and the outputs that get ready to the items that wait for them. */
static void
feed (GstFrameFilter *self, const gfloat *frames, guint64 n)
{
  for (gst_frame_filter_advance (self); n > 0; gst_frame_filter_advance (self)) {
    Item *item = gst_queue_array_peek_head_struct (self->waiting);
    guint64 take = MIN (n, frames_for (self, item->n_frames - item->n_done));

    if (announce_outputs (self, item))
      take = MIN (take, frames_for (self, 1));
    run (self, item, frames, take);
    if (frames != NULL)
      frames += take * attn_layer_n_features (self->layer);
    n -= take;
  }
}

void
gst_frame_filter_take_item (GstFrameFilter *self, const Item *item, const gfloat *frames)
{
  guint64 n_frames = item->n_frames;

  gst_queue_array_push_tail_struct (self->waiting, (gpointer) item);
  feed (self, frames, n_frames);
}

/* ---- the life of a stream ---- */

/* The next frame is the first one. */
static void
begin_stream (GstFrameFilter *self)
{
  if (self->stream != NULL) {
    g_mutex_lock (&self->lock);
    if (attn_stream_reset (self->stream, 0, NULL) != ATTN_OK)
      g_assert_not_reached (); /* 0 is never refused */
    g_mutex_unlock (&self->lock);
  }
  frame_clock_forget (&self->clock);
  self->gap_rest = 0;
}

void
gst_frame_filter_forget_stream (GstFrameFilter *self)
{
  gst_frame_filter_clear_items (self->waiting);
  gst_frame_filter_clear_items (self->ready);
  GST_FRAME_FILTER_GET_CLASS (self)->stream_ended (self, FALSE);
  if (self->stream != NULL)
    gst_frame_filter_keep_state (self);
  begin_stream (self);
}

/* To the frames that wait, absent frames behind the end are the same as none, and they can be asked for in pieces. */
void
gst_frame_filter_finish_stream (GstFrameFilter *self)
{
  if (self->stream != NULL) {
    gst_frame_filter_keep_state (self);
    self->draining = TRUE;
    if (attn_stream_pending (self->stream) > 0)
      feed (self, NULL, attn_layer_reach_ahead (self->layer));
    self->draining = FALSE;
  }
  GST_FRAME_FILTER_GET_CLASS (self)->stream_ended (self, TRUE);
  begin_stream (self);
}

/* The stream was restored: outputs that it still owes belong to buffers that are not here. */
static void
resume_stream (GstFrameFilter *self)
{
  Item dropped = { .n_frames = attn_stream_pending (self->stream) };

  GST_INFO_OBJECT (self, "going on with frame %" G_GUINT64_FORMAT, attn_stream_next_frame (self->stream));
  if (dropped.n_frames > 0)
    gst_queue_array_push_tail_struct (self->waiting, &dropped);
  self->resumed = TRUE;
}

void
gst_frame_filter_adopt_restored (GstFrameFilter *self)
{
  AttnStream *old;

  if (g_atomic_pointer_get (&self->restored) == NULL)
    return;
  gst_frame_filter_finish_stream (self);
  g_mutex_lock (&self->lock);
  old = self->stream;
  self->stream = self->restored;
  g_atomic_pointer_set (&self->restored, NULL);
  self->is_new_stream = TRUE;
  g_clear_pointer (&self->ended, g_bytes_unref);
  g_mutex_unlock (&self->lock);
  attn_stream_free (old);
  resume_stream (self);
}

/* ---- the layer ---- */

void
gst_frame_filter_free_layer (GstFrameFilter *self)
{
  g_mutex_lock (&self->lock);
  g_clear_pointer (&self->stream, attn_stream_free);
  attn_stream_free (self->restored);
  g_atomic_pointer_set (&self->restored, NULL);
  g_clear_pointer (&self->layer, gst_attention_layers_release);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->layer_file, g_free);
  GST_FRAME_FILTER_GET_CLASS (self)->layer_changed (self, NULL);
  if (self->resumed) /* what the restored stream owed is gone with it */
    gst_frame_filter_clear_items (self->waiting);
  self->resumed = FALSE;
}

/* What the core says of settings, files and memory, as GStreamer says it. */
static gboolean
set_error (GError **error, const AttnError *failure)
{
  GQuark domain = GST_RESOURCE_ERROR;
  gint code;

  switch (failure->status) {
  case ATTN_ERROR_FILE:
    code = GST_RESOURCE_ERROR_OPEN_READ;
    break;
  case ATTN_ERROR_STATE:
    code = GST_RESOURCE_ERROR_READ;
    break;
  case ATTN_ERROR_MEMORY:
    code = GST_RESOURCE_ERROR_NO_SPACE_LEFT;
    break;
  default:
    domain = GST_LIBRARY_ERROR;
    code = failure->status == ATTN_ERROR_CONFIG ? GST_LIBRARY_ERROR_SETTINGS : GST_LIBRARY_ERROR_INIT;
    break;
  }
  g_set_error_literal (error, domain, code, failure->message);
  return FALSE;
}

static AttnStatus
ask_for_layer (GstFrameFilter *self, guint n_features, AttnLayer **layer, AttnError *error)
{
  GstFrameFilterPlan plan = { .n_features = n_features };

  GST_OBJECT_LOCK (self);
  plan.model_file = n_features == 0 ? g_strdup (self->model_file) : NULL;
  plan.precision = self->precision;
  plan.arithmetic = self->arithmetic;
  plan.n_threads = self->n_threads;
  GST_OBJECT_UNLOCK (self);
  self->layer_file = plan.model_file;
  return GST_FRAME_FILTER_GET_CLASS (self)->make_layer (self, &plan, layer, error);
}

/* Frames will run through both, from the state file on where there is one. */
static gboolean
use_layer (GstFrameFilter *self, AttnLayer *layer, AttnStream *stream, GError **error)
{
  gboolean has_state = self->file_state != NULL;

  GST_FRAME_FILTER_GET_CLASS (self)->layer_changed (self, layer);
  g_mutex_lock (&self->lock);
  self->layer = layer;
  self->stream = stream;
  self->is_new_stream = TRUE;
  g_mutex_unlock (&self->lock);
  GST_INFO_OBJECT (self, "%u features, %u outputs; kernels %s", attn_layer_n_features (layer),
                   attn_layer_n_outputs (layer), attn_layer_kernels (layer));
  if (!gst_frame_filter_restore_file_state (self, error)) {
    gst_frame_filter_free_layer (self);
    return FALSE;
  }
  if (has_state)
    resume_stream (self);
  return TRUE;
}

gboolean
gst_frame_filter_make_layer (GstFrameFilter *self, guint n_features, GError **error)
{
  AttnLayer *layer;
  AttnStream *stream;
  AttnError failure;

  gst_frame_filter_free_layer (self);
  if (ask_for_layer (self, n_features, &layer, &failure) != ATTN_OK)
    return set_error (error, &failure);
  if (attn_stream_new (layer, &stream, &failure) != ATTN_OK) {
    gst_attention_layers_release (layer);
    return set_error (error, &failure);
  }
  return use_layer (self, layer, stream, error);
}
