/*
 * gst-attention: the element `attention`: buffers and events in, buffers and events out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

/* ---- items ---- */

static void
item_unmap (Item *item)
{
  if (item->map.memory != NULL)
    gst_memory_unmap (item->map.memory, &item->map);
  if (item->weights_map.memory != NULL)
    gst_buffer_unmap (item->weights, &item->weights_map);
  item->map.memory = item->weights_map.memory = NULL;
}

static void
item_clear (Item *item)
{
  item_unmap (item);
  gst_clear_buffer (&item->buffer);
  gst_clear_buffer (&item->weights);
  gst_clear_event (&item->event);
}

void
gst_attention_clear_items (GstQueueArray *items)
{
  Item *item;

  while ((item = gst_queue_array_pop_head_struct (items)))
    item_clear (item);
}

/* Complete items at the head of the line are ready; the next one is being filled. */
static void
advance (GstAttention *self)
{
  Item *item;

  while ((item = gst_queue_array_peek_head_struct (self->waiting)) && item->n_done == item->n_frames) {
    if (item->weights_map.memory != NULL)
      gst_attention_summarise (self, item->buffer, (const gfloat *) item->weights_map.data, item->n_frames);
    item_unmap (item);
    gst_queue_array_push_tail_struct (self->ready, gst_queue_array_pop_head_struct (self->waiting));
  }
}

/* The stream time of the next output of `item`; NONE when it has none. */
static GstClockTime
output_time (GstAttention *self, const Item *item)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;
  GstClockTime offset = gst_features_duration (&self->features, item->n_done);

  if (!GST_BUFFER_PTS_IS_VALID (item->buffer) || segment->format != GST_FORMAT_TIME)
    return GST_CLOCK_TIME_NONE;
  if (!GST_CLOCK_TIME_IS_VALID (offset))
    offset = 0;
  return gst_segment_to_stream_time (segment, GST_FORMAT_TIME, GST_BUFFER_PTS (item->buffer) + offset);
}

static void
read_gains (GstAttention *self)
{
  guint i, n_changes = gst_attention_heads_count_changes ();

  if (self->gains_are_read && n_changes == self->n_gain_changes)
    return;
  for (i = 0; i < self->layer_heads->len; i++)
    if (attn_stream_set_gain (self->stream, i, gst_attention_head_get_gain (g_ptr_array_index (self->layer_heads, i)))
        != ATTN_OK)
      g_assert_not_reached (); /* the property is finite, and layer_heads is as long as the layer has heads */
  self->gains_are_read = TRUE;
  self->n_gain_changes = n_changes;
}

/* The gains for the next output of `item`; TRUE when the one behind it may have others. */
static gboolean
update_gains (GstAttention *self, const Item *item)
{
  gboolean controlled;

  if (item->buffer == NULL)
    return FALSE;
  controlled = gst_attention_heads_are_controlled (self->layer_heads);
  if (controlled)
    gst_attention_heads_sync (self->layer_heads, output_time (self, item));
  read_gains (self);
  return controlled;
}

/* One call in so many is timed: asking the clock takes a tenth of what a frame takes. */
#define CALLS_PER_TIMED_CALL 16

/* The next `n` of `frames` (NULL: absent ones) to the core; how many outputs got ready. */
static guint64
call_core (GstAttention *self, const gfloat *frames, guint64 n, gfloat *out, gfloat *weights)
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

/* Gives the core `n` frames (NULL: absent ones) and the outputs that get ready to the items that wait for them. */
static void
feed (GstAttention *self, const gfloat *frames, guint64 n)
{
  guint n_features = attn_layer_n_features (self->layer), n_outputs = attn_layer_n_outputs (self->layer);
  guint look_ahead = attn_layer_reach_ahead (self->layer);
  gsize n_weights = (gsize) attn_layer_n_heads (self->layer) * attn_layer_span (self->layer);

  for (advance (self); n > 0; advance (self)) {
    Item *item = gst_queue_array_peek_head_struct (self->waiting);
    guint64 silent = look_ahead - attn_stream_pending (self->stream); /* frames that give no output yet */
    guint64 take = MIN (n, silent + item->n_frames - item->n_done);
    gfloat *out = item->buffer ? (gfloat *) item->map.data + item->n_done * n_outputs : NULL;
    gfloat *weights = item->weights ? (gfloat *) item->weights_map.data + item->n_done * n_weights : NULL;

    if (update_gains (self, item))
      take = MIN (take, silent + 1);
    g_mutex_lock (&self->lock);
    if (!self->draining)
      g_clear_pointer (&self->ended, g_bytes_unref);
    item->n_done += call_core (self, frames, take, out, weights);
    if (!self->draining) {
      self->n_frames += take;
      self->n_absent += frames == NULL ? take : 0;
    }
    self->changed = TRUE;
    g_mutex_unlock (&self->lock);
    self->resumed = FALSE;
    if (frames != NULL)
      frames += take * n_features;
    n -= take;
  }
}

static GstFlowReturn
push_buffer (GstAttention *self, GstBuffer *buffer)
{
  GstBaseTransform *trans = GST_BASE_TRANSFORM (self);

  if (GST_BUFFER_PTS_IS_VALID (buffer) && trans->segment.format == GST_FORMAT_TIME)
    trans->segment.position =
        GST_BUFFER_PTS (buffer) + (GST_BUFFER_DURATION_IS_VALID (buffer) ? GST_BUFFER_DURATION (buffer) : 0);
  return gst_attention_combine_flow (self, trans->srcpad, gst_pad_push (trans->srcpad, buffer));
}

/* To both pads. */
static gboolean
forward_event (GstAttention *self, GstEvent *event)
{
  gboolean ok, is_caps = GST_EVENT_TYPE (event) == GST_EVENT_CAPS;

  gst_event_ref (event);
  ok = gst_attention_base_class->sink_event (GST_BASE_TRANSFORM (self), event);
  if (ok || !is_caps)
    gst_attention_push_event_to_weights (self, event);
  gst_event_unref (event);
  return ok;
}

/* All of them: nobody waits for what is behind a buffer that was refused, but for the events there. */
static GstFlowReturn
push_ready (GstAttention *self)
{
  GstFlowReturn flow = GST_FLOW_OK;
  Item *next;

  while ((next = gst_queue_array_pop_head_struct (self->ready))) {
    Item item = *next; /* the queue may move while we push */

    if (item.buffer != NULL && flow == GST_FLOW_OK)
      flow = push_buffer (self, g_steal_pointer (&item.buffer));
    if (item.weights != NULL && flow == GST_FLOW_OK)
      flow = gst_attention_push_weights (self, g_steal_pointer (&item.weights));
    if (item.event != NULL)
      forward_event (self, g_steal_pointer (&item.event));
    item_clear (&item);
  }
  return flow;
}

/* ---- the life of a stream ---- */

static void
reset_stream (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  if (attn_stream_reset (self->stream, 0, NULL) != ATTN_OK)
    g_assert_not_reached (); /* 0 is never refused */
  g_mutex_unlock (&self->lock);
}

/* No frame has come. */
static void
begin_stream (GstAttention *self)
{
  frame_clock_forget (&self->clock);
  self->gap_rest = 0;
}

static void
forget_stream (GstAttention *self)
{
  gst_attention_clear_items (self->waiting);
  gst_attention_clear_items (self->ready);
  gst_attention_finish_summary (self, FALSE);
  if (self->stream != NULL) {
    gst_attention_keep_state (self);
    reset_stream (self);
  }
  begin_stream (self);
}

/*
 * The last frame has come: what still waits sees a shorter window. To the frames that wait, absent frames behind the
 * end are the same as none, and they can be asked for in pieces.
 */
static void
finish_stream (GstAttention *self)
{
  if (self->stream != NULL) {
    gst_attention_keep_state (self);
    self->draining = TRUE;
    if (attn_stream_pending (self->stream) > 0)
      feed (self, NULL, attn_layer_reach_ahead (self->layer));
    self->draining = FALSE;
    reset_stream (self);
  }
  gst_attention_finish_summary (self, TRUE);
  begin_stream (self);
}

/* The stream was restored: outputs that it still owes belong to buffers that are not here. */
void
gst_attention_resume_stream (GstAttention *self)
{
  Item dropped = { .n_frames = attn_stream_pending (self->stream) };

  GST_INFO_OBJECT (self, "going on with frame %" G_GUINT64_FORMAT, attn_stream_next_frame (self->stream));
  if (dropped.n_frames > 0)
    gst_queue_array_push_tail_struct (self->waiting, &dropped);
  self->resumed = TRUE;
}

/* A frame comes: what restore-state brought goes on with it, and what still waits is answered before. */
static void
adopt_restored (GstAttention *self)
{
  AttnStream *old;

  if (g_atomic_pointer_get (&self->restored) == NULL)
    return;
  finish_stream (self);
  g_mutex_lock (&self->lock);
  old = self->stream;
  self->stream = self->restored;
  g_atomic_pointer_set (&self->restored, NULL);
  self->gains_are_read = FALSE;
  g_clear_pointer (&self->ended, g_bytes_unref);
  g_mutex_unlock (&self->lock);
  attn_stream_free (old);
  gst_attention_resume_stream (self);
}

/* ---- buffers ---- */

/* No pool of downstream's: its buffers have one size, ours follow the input's. */
gboolean
gst_attention_decide_allocation (GstBaseTransform *trans, GstQuery *query)
{
  GstAllocator *allocator = NULL;
  GstAllocationParams params;

  gst_allocation_params_init (&params);
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  if (gst_query_get_n_allocation_params (query) > 0) {
    gst_query_parse_nth_allocation_param (query, 0, &allocator, &params);
    params.align |= GST_FEATURES_ALIGN;
    gst_query_set_nth_allocation_param (query, 0, allocator, &params);
  } else {
    params.align |= GST_FEATURES_ALIGN;
    gst_query_add_allocation_param (query, NULL, &params);
  }
  if (allocator != NULL)
    gst_object_unref (allocator);
  return TRUE;
}

/* The buffer that will leave for `input`: its metadata, and room for as many frames. */
static GstBuffer *
make_output (GstAttention *self, GstBuffer *input, gsize n_frames)
{
  GstAllocator *allocator;
  GstAllocationParams params;
  GstBuffer *buffer;
  GstMeta *meta;

  gst_base_transform_get_allocator (GST_BASE_TRANSFORM (self), &allocator, &params);
  buffer =
      gst_buffer_new_allocate (allocator, n_frames * attn_layer_n_outputs (self->layer) * sizeof (gfloat), &params);
  if (allocator != NULL)
    gst_object_unref (allocator);
  if (buffer == NULL)
    return NULL;
  gst_buffer_copy_into (buffer, input, GST_BUFFER_COPY_METADATA, 0, -1);
  if (attn_layer_n_outputs (self->layer) == self->features.n_features)
    return buffer;
  /* It counts channels. */
  meta = gst_buffer_get_meta (buffer, GST_AUDIO_META_API_TYPE);
  if (meta != NULL)
    gst_buffer_remove_meta (buffer, meta);
  return buffer;
}

/* `event` (NULL: none) waits for its turn, and for as many absent frames. */
static void
take_event (GstAttention *self, GstEvent *event, guint64 n_absent)
{
  Item item = { .event = event, .n_frames = n_absent };

  gst_queue_array_push_tail_struct (self->waiting, &item);
  feed (self, NULL, n_absent);
}

/* Once per stream of upstream's: a source that jumps does so again. */
static void
warn_of_jump (GstAttention *self, GstClockTime pts, GstClockTimeDiff jump, gboolean is_discont)
{
  GstClockTime expected = frame_clock_next (&self->clock);
  gboolean *warned = is_discont ? &self->warned_new_stream : &self->warned_jump;
  GstClockTime frame = frame_clock_duration (&self->clock, 1);
  gdouble n = GST_CLOCK_TIME_IS_VALID (frame) ? (gdouble) jump / MAX (frame, 1) : 0;

  GST_DEBUG_OBJECT (self, "a jump by %" GST_STIME_FORMAT " to %" GST_TIME_FORMAT, GST_STIME_ARGS (jump),
                    GST_TIME_ARGS (pts));
  if (*warned)
    return;
  *warned = TRUE;
  GST_ELEMENT_WARNING (
      self, STREAM, FAILED,
      ("a buffer has the timestamp %" GST_TIME_FORMAT " where %" GST_TIME_FORMAT
       " was expected: %.2f frames, which is %s. %s",
       GST_TIME_ARGS (pts), GST_TIME_ARGS (expected), n, jump < 0 ? "a jump back" : "not a whole number",
       is_discont ? "With the DISCONT flag a new stream begins, and what was in the window is forgotten"
                  : "Without the DISCONT flag the stream goes on as if nothing were missing"),
      ("said once per stream"));
}

/* The whole frames that are missing before `pts`; -1, after a warning: the time jumps in another way. */
static gint64
count_missing (GstAttention *self, GstClockTime pts, gboolean is_discont)
{
  GstClockTimeDiff jump = frame_clock_jump (&self->clock, pts, is_discont);
  guint64 n = frame_clock_count (&self->clock, jump);

  if (jump == 0)
    return 0;
  if (n == 0) {
    warn_of_jump (self, pts, jump, is_discont);
    return -1;
  }
  GST_DEBUG_OBJECT (self, "%" G_GUINT64_FORMAT " frames are absent before %" GST_TIME_FORMAT, n, GST_TIME_ARGS (pts));
  frame_clock_skip (&self->clock, n);
  return MIN (n, G_MAXINT64);
}

static void
look_at_time (GstAttention *self, GstBuffer *buffer)
{
  gboolean is_discont = GST_BUFFER_IS_DISCONT (buffer);
  gint64 n = count_missing (self, GST_BUFFER_PTS (buffer), is_discont);

  if (n > 0)
    take_event (self, NULL, n);
  else if (n < 0 && is_discont)
    finish_stream (self);
  else if (n < 0)
    frame_clock_forget (&self->clock);
}

/* Frames at any address: upstream may have cut a buffer at any byte. */
static void
feed_bytes (GstAttention *self, const guint8 *data, gsize n_frames)
{
  gsize size = n_frames * self->features.n_features * sizeof (gfloat);
  gpointer copy = NULL;

  if (GPOINTER_TO_SIZE (data) % sizeof (gfloat) != 0)
    data = copy = g_memdup2 (data, size);
  feed (self, (const gfloat *) data, n_frames);
  g_free (copy);
}

/* What will leave for `input`, ready to be filled. FALSE after an error message. */
static gboolean
prepare_output (GstAttention *self, Item *item, GstBuffer *input)
{
  item->buffer = make_output (self, input, item->n_frames);
  if (item->buffer == NULL
      || (item->n_frames > 0 && !gst_memory_map (gst_buffer_peek_memory (item->buffer, 0), &item->map, GST_MAP_WRITE)))
    goto no_memory;
  if (!gst_attention_add_weights (self, item, input))
    goto fail;
  if (self->skipped)
    GST_BUFFER_FLAG_SET (item->buffer, GST_BUFFER_FLAG_DISCONT);
  self->skipped = FALSE;
  return TRUE;

  /* ERRORS */
no_memory : {
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
                     ("no memory for a buffer of %" G_GUINT64_FORMAT " frames", item->n_frames), (NULL));
}
fail : {
  item_clear (item);
  return FALSE;
}
}

/* `late`: its frames are attended to, but nothing leaves for them. */
static GstFlowReturn
take_buffer (GstAttention *self, GstBuffer *input, gboolean late)
{
  Item item = { 0 };
  GstMapInfo map;
  GError *error = NULL;
  gsize n_frames;

  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (input), &n_frames, &error))
    goto wrong_size;
  if (n_frames > 0)
    adopt_restored (self);
  look_at_time (self, input);
  gst_attention_note_buffer_size (self, n_frames);

  item.n_frames = n_frames;
  if (!gst_buffer_map (input, &map, GST_MAP_READ))
    goto cannot_read;
  if (!late && !prepare_output (self, &item, input))
    goto no_output;
  self->skipped = self->skipped || late;
  gst_queue_array_push_tail_struct (self->waiting, &item);
  if (GST_BUFFER_FLAG_IS_SET (input, GST_BUFFER_FLAG_GAP))
    feed (self, NULL, n_frames);
  else
    feed_bytes (self, map.data, n_frames);
  gst_buffer_unmap (input, &map);
  frame_clock_advance (&self->clock, GST_BUFFER_PTS (input), n_frames);
  return GST_FLOW_OK;

  /* ERRORS */
wrong_size : {
  GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("%s", error->message), (NULL));
  g_error_free (error);
  return GST_FLOW_ERROR;
}
cannot_read : {
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("cannot map a buffer for reading"), (NULL));
  return GST_FLOW_ERROR;
}
no_output : {
  gst_buffer_unmap (input, &map);
  return GST_FLOW_ERROR;
}
}

GstFlowReturn
gst_attention_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *input)
{
  GstAttention *self = GST_ATTENTION (trans);
  GstBuffer *kept;
  GstFlowReturn flow;

  if (gst_attention_has_refused (self)) {
    gst_buffer_unref (input);
    return GST_FLOW_NOT_NEGOTIATED;
  }
  kept = gst_buffer_ref (input);
  /* The parent negotiates, and leaves the buffer in queued_buf; or drops it when it is late, and qos is on. */
  flow = gst_attention_base_class->submit_input_buffer (trans, is_discont, input);
  gst_clear_buffer (&trans->queued_buf);
  if (flow != GST_FLOW_OK && flow != GST_BASE_TRANSFORM_FLOW_DROPPED)
    goto done;
  if (trans->segment.rate < 0)
    goto backwards;
  if (self->stream == NULL)
    flow = GST_FLOW_NOT_NEGOTIATED;
  else
    flow = take_buffer (self, kept, flow == GST_BASE_TRANSFORM_FLOW_DROPPED);
done:
  gst_buffer_unref (kept);
  return flow;

  /* ERRORS */
backwards : {
  GST_ELEMENT_ERROR (
      self, STREAM, FORMAT,
      ("the stream plays backwards, at rate %g: frames attend to those before them", trans->segment.rate), (NULL));
  flow = GST_FLOW_ERROR;
  goto done;
}
}

/*
 * Pushes by itself instead of handing one buffer after another to the parent, which would mark the first that leaves as
 * discontinuous when the one that just came in is: with look-ahead these are not the same.
 */
GstFlowReturn
gst_attention_generate_output (GstBaseTransform *trans, GstBuffer **output)
{
  *output = NULL;
  return push_ready (GST_ATTENTION (trans));
}

/* Never called; without it the parent passes everything through. */
GstFlowReturn
gst_attention_transform (GstBaseTransform *trans, GstBuffer *input, GstBuffer *output)
{
  return GST_FLOW_NOT_SUPPORTED;
}

/* ---- events ---- */

/* The same frames at the same rate, however many of them a buffer has. */
static gboolean
changes_stream (GstCaps *caps, GstCaps *current)
{
  GstFeatures a, b;

  if (gst_caps_is_equal (caps, current))
    return FALSE;
  return !gst_features_from_caps (&a, caps, NULL) || !gst_features_from_caps (&b, current, NULL)
         || a.n_features != b.n_features || a.is_tensors != b.is_tensors || a.rate_n != b.rate_n
         || a.rate_d != b.rate_d;
}

static gboolean
ends_stream (GstAttention *self, GstEvent *event)
{
  GstPad *sink = GST_BASE_TRANSFORM_SINK_PAD (self);

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    return TRUE;
  case GST_EVENT_SEGMENT: {
    GstSegment current = GST_BASE_TRANSFORM (self)->segment;
    const GstSegment *segment;

    gst_event_parse_segment (event, &segment);
    current.position = segment->position; /* ours moves with the buffers */
    return !gst_segment_is_equal (segment, &current);
  }
  case GST_EVENT_CAPS: {
    GstCaps *caps, *current = gst_pad_get_current_caps (sink);
    gboolean ends;

    gst_event_parse_caps (event, &caps);
    ends = current == NULL || changes_stream (caps, current);
    gst_clear_caps (&current);
    return ends;
  }
  default:
    return FALSE;
  }
}

/*
 * Absent frames of a GAP event, and before it. Short gaps add up to as many frames as a long one: what rounding leaves
 * over, or takes in advance, is the next's.
 */
static guint64
count_gap_frames (GstAttention *self, GstEvent *event)
{
  GstClockTime timestamp, duration;
  GstClockTimeDiff time;
  gint64 n_before;
  guint64 n = 0;

  gst_event_parse_gap (event, &timestamp, &duration);
  if (self->stream == NULL || self->clock.rate_n <= 0 || !GST_CLOCK_TIME_IS_VALID (duration))
    return 0;
  if (frame_clock_round (&self->clock, duration) > 0)
    adopt_restored (self); /* whose clock knows nothing yet */
  n_before = count_missing (self, timestamp, FALSE);
  if (GST_CLOCK_TIME_IS_VALID (frame_clock_next (&self->clock))) /* else what fills an outage may have any time */
    frame_clock_move (&self->clock, timestamp + duration);
  time = MIN (duration, (GstClockTime) (G_MAXINT64 - MAX (self->gap_rest, 0))) + self->gap_rest;
  if (time > 0)
    n = frame_clock_round (&self->clock, time);
  self->gap_rest = GST_CLOCK_DIFF (frame_clock_duration (&self->clock, n), time);
  return n + MAX (n_before, 0);
}

/*
 * What `event` means for the frames that come behind it; those before it have left, or wait in front of it. FALSE: it
 * goes no further.
 */
static gboolean
heed_event (GstAttention *self, GstEvent *event)
{
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
    self->warned_new_stream = self->warned_jump = FALSE;
    return TRUE;
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    return gst_attention_take_caps (self, caps);
  case GST_EVENT_SEGMENT:
    gst_event_replace (&self->held_segment, self->refused_caps != NULL ? event : NULL);
    return self->refused_caps == NULL;
  case GST_EVENT_GAP:
    return self->refused_caps == NULL;
  case GST_EVENT_EOS:
    gst_attention_has_refused (self);
    return TRUE;
  default:
    return TRUE;
  }
}

/* Now, and the segment that waited for caps. */
static gboolean
forward_now (GstAttention *self, GstEvent *event)
{
  gboolean is_caps = GST_EVENT_TYPE (event) == GST_EVENT_CAPS, ok = forward_event (self, event);

  if (is_caps && self->held_segment != NULL)
    forward_event (self, g_steal_pointer (&self->held_segment));
  return ok;
}

static gboolean
handle_serialized (GstAttention *self, GstEvent *event)
{
  guint64 n_absent = GST_EVENT_TYPE (event) == GST_EVENT_GAP ? count_gap_frames (self, event) : 0;
  gboolean ends = ends_stream (self, event);

  if (n_absent > 0)
    adopt_restored (self);
  if (ends && !self->resumed)
    finish_stream (self);
  if (ends)
    push_ready (self);
  if (GST_EVENT_TYPE (event) == GST_EVENT_EOS) /* while somebody listens to what goes wrong */
    gst_attention_write_state_file (self);
  if (!heed_event (self, event)) {
    gst_event_unref (event);
    return TRUE;
  }
  if (ends || (n_absent == 0 && (self->resumed || gst_queue_array_get_length (self->waiting) == 0)))
    return forward_now (self, event);
  take_event (self, event, n_absent);
  push_ready (self);
  return TRUE;
}

gboolean
gst_attention_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstAttention *self = GST_ATTENTION (trans);

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    gst_attention_reset_flows (self);
    gst_clear_event (&self->held_segment);
    if (!self->resumed)
      forget_stream (self);
  } else if (GST_EVENT_IS_SERIALIZED (event)) {
    return handle_serialized (self, event);
  }
  return forward_event (self, event);
}

gboolean
gst_attention_refuses_event (GstAttention *self, GstEvent *event)
{
  gdouble rate;

  if (GST_EVENT_TYPE (event) != GST_EVENT_SEEK)
    return FALSE;
  gst_event_parse_seek (event, &rate, NULL, NULL, NULL, NULL, NULL, NULL);
  if (rate > 0)
    return FALSE;
  GST_WARNING_OBJECT (self, "refusing a seek at rate %g: frames attend to those before them", rate);
  gst_event_unref (event);
  return TRUE;
}

gboolean
gst_attention_src_event (GstBaseTransform *trans, GstEvent *event)
{
  return !gst_attention_refuses_event (GST_ATTENTION (trans), event)
         && gst_attention_base_class->src_event (trans, event);
}
