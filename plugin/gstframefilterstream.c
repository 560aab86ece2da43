/*
 * gst-attention: GstFrameFilter: the layer and the stream: frames go in, outputs come out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

#include <string.h>

#include "gstattentionlayers.h"

/* ---- frames ---- */

/* `n` frames come next, or GST_FRAME_FILTER_END. */
static void
announce_rows (GstFrameFilter *self, guint64 n)
{
  gboolean is_new = self->is_new_stream;

  self->is_new_stream = FALSE;
  GST_FRAME_FILTER_GET_CLASS (self)->before_rows (self, self->stream, n, is_new);
}

/* One call in so many is timed: asking the clock takes a tenth of the time of a frame. */
#define CALLS_PER_TIMED_CALL 16

/* The next `n` of `frames` (NULL: absent ones) to the core; how many outputs got ready. */
static guint64
call_core (GstFrameFilter *self, const gfloat *frames, guint64 n, gfloat *out, guint8 *marks)
{
  gboolean timed = self->n_calls++ % CALLS_PER_TIMED_CALL == 0;
  GstClockTime begin = timed ? gst_util_get_timestamp () : 0;
  guint64 n_out = attn_stream_run (self->stream, frames, n, out, NULL, marks);

  if (timed) {
    self->busy += gst_util_get_timestamp () - begin;
    self->n_timed += n;
  }
  return n_out;
}

/* The same, with the lock, and what is told of it. */
static guint64
run (GstFrameFilter *self, const gfloat *frames, guint64 n, gfloat *out, guint8 *marks)
{
  guint64 n_out;

  announce_rows (self, n);
  gst_frame_filter_watch_rows (self, frames, n);
  g_mutex_lock (&self->lock);
  n_out = call_core (self, frames, n, out, marks);
  if (!self->draining) {
    g_clear_pointer (&self->ended, g_bytes_unref);
    self->n_frames += n;
    self->n_absent += frames == NULL ? n : 0;
  }
  self->changed = TRUE;
  g_mutex_unlock (&self->lock);
  self->resumed = FALSE;
  if (frames != NULL)
    self->end_of_present = attn_stream_next_frame (self->stream);
  gst_frame_filter_take_rows (self);
  return n_out;
}

static gboolean
has_chains (GstFrameFilter *self)
{
  return GST_FRAME_FILTER_GET_CLASS (self)->has_chains;
}

static guint64
count_present (const guint8 *marks, guint64 n)
{
  guint64 i, n_present = 0;

  for (i = 0; i < n; i++)
    n_present += marks[i];
  return n_present;
}

static guint8 *
room_for_marks (GstFrameFilter *self, guint64 n)
{
  g_byte_array_set_size (self->outputs->marks, n);
  return self->outputs->marks->data;
}

static gfloat *
room_for_rows (GstFrameFilter *self, guint64 n)
{
  g_array_set_size (self->outputs->rows, n * self->outputs->width);
  return (gfloat *) self->outputs->rows->data;
}

/* The `n_out` outputs that get ready go to where `item` keeps them, if it does. */
static void
run_into (GstFrameFilter *self, Item *item, const gfloat *frames, guint64 n, guint64 n_out)
{
  gfloat *out = item != NULL ? gst_frame_filter_next_row (item, &item->out) : NULL;
  guint8 *marks = out != NULL && has_chains (self) ? room_for_marks (self, n_out) : NULL;

  run (self, frames, n, out, marks);
  if (item == NULL)
    return;
  item->n_done += n_out;
  if (marks != NULL)
    item->n_present += count_present (marks, n_out);
}

/* The most of `n` frames that give at most `room` outputs, at least one frame; how many outputs to *n_out. */
static guint64
count_frames_for (GstFrameFilter *self, guint64 n, guint64 room, guint64 *n_out)
{
  guint64 low = 1, high = n;

  *n_out = attn_stream_ready (self->stream, n);
  if (*n_out <= room)
    return n;
  while (high - low > 1) {
    guint64 middle = low + (high - low) / 2;

    if (attn_stream_ready (self->stream, middle) <= room)
      low = middle;
    else
      high = middle;
  }
  *n_out = attn_stream_ready (self->stream, low);
  return low;
}

/* Outputs of the next frames go to any items, or to none. Returns how many frames were taken. */
static guint64
run_aside (GstFrameFilter *self, const gfloat *frames, guint64 n)
{
  guint64 reaching = gst_frame_filter_count_reaching_back (self, self->outputs);
  guint64 room = frames == NULL ? MIN (reaching, MAX_ASIDE) : MAX_ASIDE;
  guint64 n_out, take = count_frames_for (self, n, room > 0 ? room : G_MAXUINT64, &n_out);
  gfloat *rows = room > 0 ? room_for_rows (self, n_out) : NULL;
  guint8 *marks = room > 0 ? room_for_marks (self, n_out) : NULL;

  run (self, frames, take, rows, marks);
  gst_frame_filter_distribute (self, self->outputs, rows, marks, n_out);
  return take;
}

/*
 * Outputs of the next frames go to `item`, or there are none (NULL). Returns how many frames were taken; 0: they
 * cannot.
 */
static guint64
run_straight (GstFrameFilter *self, Item *item, const gfloat *frames, guint64 n)
{
  guint64 room = item != NULL ? item->n_outputs - item->n_done : 0, take, n_out;

  if (item != NULL && item->out.buffer == NULL && has_chains (self))
    return 0;
  take = count_frames_for (self, n, room, &n_out);
  if (n_out > room)
    return 0;
  run_into (self, item, frames, take, n_out);
  return take;
}

/* Gives the core `n` frames (NULL: absent ones) and the outputs that get ready to the items that wait for them. */
static void
feed (GstFrameFilter *self, const gfloat *frames, guint64 n)
{
  guint n_features = attn_layer_n_features (self->layer);
  Line *line = self->outputs;

  for (gst_frame_filter_advance (self, line); n > 0; gst_frame_filter_advance (self, line)) {
    guint64 limit = gst_frame_filter_limit_frames (self, frames, n);
    guint64 taken = run_straight (self, gst_queue_array_peek_head_struct (line->waiting), frames, limit);

    if (taken == 0)
      taken = run_aside (self, frames, limit);
    if (frames != NULL)
      frames += taken * n_features;
    n -= taken;
  }
}

/* ---- items ---- */

/* What has been computed is on its way. */
static void
settle (GstFrameFilter *self, Line *line)
{
  gst_frame_filter_advance (self, line);
  gst_frame_filter_end_run (self, line);
}

void
gst_frame_filter_take_item (GstFrameFilter *self, const Item *item, const gfloat *frames)
{
  Item taken = *item;
  guint i;

  for (i = 0; i < self->sides->len; i++)
    if (gst_frame_filter_side (self, i) != NULL)
      gst_frame_filter_add_item_to_side (self, gst_frame_filter_side (self, i), item);
  gst_frame_filter_add_item (self, self->outputs, &taken);
  if (taken.n_frames > 0)
    self->times = taken.times;
  feed (self, frames, taken.n_frames);
  gst_frame_filter_end_run (self, self->outputs);
  gst_frame_filter_for_each_side (self, settle);
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
  self->end_of_present = 0;
  self->outputs->owes_discont = FALSE;
  self->times = GST_FRAME_FILTER_NO_TIMES;
}

static void
forget_line (GstFrameFilter *self, Line *line)
{
  gst_frame_filter_clear_line (line);
}

void
gst_frame_filter_forget_stream (GstFrameFilter *self)
{
  gst_frame_filter_clear_line (self->outputs);
  gst_frame_filter_for_each_side (self, forget_line);
  GST_FRAME_FILTER_GET_CLASS (self)->stream_ended (self, FALSE);
  if (self->stream != NULL)
    gst_frame_filter_keep_state (self);
  begin_stream (self);
}

/* Frames whose rows would read beyond the end have none. */
static void
end_line (GstFrameFilter *self, Line *line)
{
  guint i;

  for (i = 0; i < gst_queue_array_get_length (line->waiting); i++) {
    Item *item = gst_queue_array_peek_nth_struct (line->waiting, i);

    item->n_outputs = item->n_done;
  }
  settle (self, line);
}

/* The end of a chain is not the same as absent frames behind it. */
static void
drain (GstFrameFilter *self)
{
  guint64 n = attn_stream_pending (self->stream), n_owed = gst_frame_filter_count_owed (self, self->outputs);
  gfloat *rows = room_for_rows (self, MAX_ASIDE);
  guint8 *marks = room_for_marks (self, MAX_ASIDE);

  if (n > n_owed)
    gst_frame_filter_add_beyond (self, self->outputs, n - n_owed);
  gst_frame_filter_watch_last_rows (self);
  announce_rows (self, GST_FRAME_FILTER_END);
  do {
    g_mutex_lock (&self->lock);
    n = attn_stream_finish (self->stream, rows, NULL, marks, MAX_ASIDE);
    g_mutex_unlock (&self->lock);
    gst_frame_filter_distribute (self, self->outputs, rows, marks, n);
    gst_frame_filter_take_rows (self);
  } while (n > 0);
  end_line (self, self->outputs);
  gst_frame_filter_for_each_side (self, end_line);
}

/*
 * To the frames that wait for their look-ahead, absent frames behind them are the same as none. So a stream of one
 * attention can end by absent frames, which may come in pieces. With chunks this would be wrong: the absent frames that
 * complete a chunk would have outputs, too.
 */
static gboolean
ends_at_once (GstFrameFilter *self)
{
  return has_chains (self) || attn_layer_attention (self->layer, 0)->chunk != 0;
}

void
gst_frame_filter_finish_stream (GstFrameFilter *self)
{
  if (self->stream != NULL) {
    gst_frame_filter_keep_state (self);
    self->draining = TRUE;
    if (ends_at_once (self))
      drain (self);
    else if (attn_stream_pending (self->stream) > 0)
      feed (self, NULL, attn_layer_reach_ahead (self->layer));
    self->draining = FALSE;
    gst_frame_filter_for_each_side (self, settle);
  }
  GST_FRAME_FILTER_GET_CLASS (self)->stream_ended (self, TRUE);
  begin_stream (self);
}

/* The stream was restored: outputs that it still owes belong to buffers that are not here. */
static void
resume_stream (GstFrameFilter *self)
{
  Item dropped = { .n_outputs = gst_frame_filter_count_owed (self, self->outputs), .is_unwanted = TRUE };

  dropped.first_output = attn_stream_next_output (self->stream);
  self->end_of_present = attn_stream_next_frame (self->stream);
  GST_INFO_OBJECT (self, "going on with frame %" G_GUINT64_FORMAT, attn_stream_next_frame (self->stream));
  if (dropped.n_outputs > 0)
    gst_queue_array_push_tail_struct (self->outputs->waiting, &dropped);
  gst_frame_filter_watch_anew (self);
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
  g_clear_pointer (&self->stream, attn_stream_free); /* and then its watches */
  attn_stream_free (self->restored);
  g_atomic_pointer_set (&self->restored, NULL);
  g_clear_pointer (&self->layer, gst_attention_layers_release);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->layer_file, g_free);
  gst_frame_filter_free_sides (self);
  gst_frame_filter_note_paces (self);
  GST_FRAME_FILTER_GET_CLASS (self)->stream_ended (self, FALSE);
  GST_FRAME_FILTER_GET_CLASS (self)->layer_changed (self, NULL);
  if (self->resumed) /* the outputs that the restored stream still owed are gone with it */
    gst_frame_filter_clear_items (self->outputs->waiting);
  self->resumed = FALSE;
}

static AttnStatus
ask_for_layer (GstFrameFilter *self, guint n_features, AttnLayer **layer, AttnError *error)
{
  GstFrameFilterPlan plan;

  gst_frame_filter_get_plan (self, &plan);
  plan.n_features = n_features;
  if (n_features != 0)
    g_clear_pointer (&plan.model_file, g_free);
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
  self->outputs->stride = attn_layer_stride (layer);
  self->outputs->width = attn_layer_n_outputs (layer);
  self->outputs->leaves_at_once = attn_layer_stride (layer) != 1 || attn_layer_count (layer, 1) != 1;
  g_mutex_unlock (&self->lock);
  gst_frame_filter_note_paces (self);
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
    return gst_attention_layers_set_error (error, &failure);
  if (attn_stream_new (layer, &stream, &failure) != ATTN_OK) {
    gst_attention_layers_release (layer);
    return gst_attention_layers_set_error (error, &failure);
  }
  return use_layer (self, layer, stream, error);
}
