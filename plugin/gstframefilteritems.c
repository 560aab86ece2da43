/*
 * gst-attention: GstFrameFilter: items that have come in and not left yet, and how they leave.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* ---- rows ---- */

gboolean
gst_frame_filter_fill_rows (Rows *rows, GstBuffer *buffer, guint64 n_frames, guint64 width)
{
  rows->buffer = buffer;
  rows->width = width;
  return buffer != NULL
         && (n_frames == 0 || gst_memory_map (gst_buffer_peek_memory (buffer, 0), &rows->map, GST_MAP_WRITE));
}

gfloat *
gst_frame_filter_next_row (const Item *item, const Rows *rows)
{
  return rows->buffer != NULL ? (gfloat *) rows->map.data + item->n_done * rows->width : NULL;
}

static void
unmap_rows (Rows *rows)
{
  if (rows->map.memory != NULL)
    gst_memory_unmap (rows->map.memory, &rows->map);
  rows->map.memory = NULL;
}

static void
clear_rows (Rows *rows)
{
  unmap_rows (rows);
  gst_clear_buffer (&rows->buffer);
}

/* ---- items ---- */

void
gst_frame_filter_clear_item (Item *item)
{
  clear_rows (&item->out);
  gst_clear_event (&item->event);
  gst_clear_buffer (&item->source);
}

void
gst_frame_filter_clear_items (GstQueueArray *items)
{
  Item *item;

  while ((item = gst_queue_array_pop_head_struct (items)))
    gst_frame_filter_clear_item (item);
}

/* A buffer is a gap if nothing in it is there: absent frames may give outputs that are, and the other way round. */
static void
mark_gap (const Item *item)
{
  if (item->n_frames == 0)
    return;
  if (item->n_present == 0)
    GST_BUFFER_FLAG_SET (item->out.buffer, GST_BUFFER_FLAG_GAP);
  else
    GST_BUFFER_FLAG_UNSET (item->out.buffer, GST_BUFFER_FLAG_GAP);
}

static void
complete (GstFrameFilter *self, const Line *line, Item *item)
{
  if (item->out.buffer != NULL && GST_FRAME_FILTER_GET_CLASS (self)->has_chains)
    mark_gap (item);
  if (line->side != OUTPUTS && item->out.map.memory != NULL)
    GST_FRAME_FILTER_GET_CLASS (self)->side_done (self, line->side, item->out.buffer,
                                                  (const gfloat *) item->out.map.data, item->n_outputs);
  unmap_rows (&item->out);
}

/* In its own turn. A gap that has outputs leaves as a run of them. */
static gboolean
leaves (GstFrameFilter *self, const Item *item)
{
  return item->out.buffer != NULL
         || (item->event != NULL && (item->n_frames == 0 || !GST_FRAME_FILTER_GET_CLASS (self)->has_chains));
}

void
gst_frame_filter_advance (GstFrameFilter *self, Line *line)
{
  Item *item;

  while ((item = gst_queue_array_peek_head_struct (line->waiting)) && item->n_done == item->n_outputs) {
    gst_queue_array_pop_head_struct (line->waiting);
    if (!leaves (self, item)) {
      gst_frame_filter_clear_item (item);
      continue;
    }
    gst_frame_filter_end_run (self, line);
    complete (self, line, item);
    gst_queue_array_push_tail_struct (line->ready, item);
  }
}

/* ---- out ---- */

/* Transfer full; NULL: there is none any more. */
static GstPad *
ref_pad (GstFrameFilter *self, const Line *line)
{
  return line->side == OUTPUTS ? gst_object_ref (GST_BASE_TRANSFORM_SRC_PAD (self))
                               : gst_frame_filter_ref_side_pad (self, line->side);
}

static void
push_caps (GstFrameFilter *self, const Line *line, GstCaps *caps)
{
  GstPad *pad = ref_pad (self, line);

  if (pad == NULL)
    return;
  gst_pad_push_event (pad, gst_event_new_caps (caps));
  gst_object_unref (pad);
}

/* Caps that say how many frames a buffer has say one. */
static void
set_single_caps (GstFrameFilter *self, Line *line)
{
  GstPad *pad = ref_pad (self, line);
  GstCaps *caps = pad != NULL ? gst_pad_get_current_caps (pad) : NULL, *single;

  g_clear_pointer (&pad, gst_object_unref);
  if (caps == NULL)
    return;
  single = gst_features_set_frames_per_buffer (caps, 1);
  if (!gst_caps_is_equal (single, caps)) {
    line->own_caps = gst_caps_ref (caps);
    push_caps (self, line, single);
  }
  gst_caps_unref (single);
  gst_caps_unref (caps);
}

static void
restore_caps (GstFrameFilter *self, Line *line)
{
  GstCaps *caps = g_steal_pointer (&line->own_caps);

  if (caps == NULL)
    return;
  push_caps (self, line, caps);
  gst_caps_unref (caps);
}

static void
settle_caps (GstFrameFilter *self, Line *line, gboolean is_single)
{
  if (!is_single)
    restore_caps (self, line);
  else if (line->own_caps == NULL && line->gives_tensors && !line->leaves_at_once)
    set_single_caps (self, line);
}

gboolean
gst_frame_filter_forward_event (GstFrameFilter *self, GstEvent *event, gboolean to_lines)
{
  gboolean ok, is_caps = GST_EVENT_TYPE (event) == GST_EVENT_CAPS;

  if (GST_EVENT_IS_SERIALIZED (event) && GST_EVENT_TYPE (event) != GST_EVENT_FLUSH_STOP) {
    restore_caps (self, self->outputs);
    if (to_lines)
      gst_frame_filter_for_each_side (self, restore_caps);
  }
  gst_event_ref (event);
  ok = gst_frame_filter_base_class->sink_event (GST_BASE_TRANSFORM (self), event);
  if (ok || !is_caps)
    gst_frame_filter_push_event_to_sides (self, event, to_lines);
  gst_event_unref (event);
  return ok;
}

static GstFlowReturn
push_buffer (GstFrameFilter *self, GstBuffer *buffer, gboolean is_single)
{
  GstBaseTransform *trans = GST_BASE_TRANSFORM (self);

  settle_caps (self, self->outputs, is_single);
  if (GST_BUFFER_PTS_IS_VALID (buffer) && trans->segment.format == GST_FORMAT_TIME)
    trans->segment.position =
        GST_BUFFER_PTS (buffer) + (GST_BUFFER_DURATION_IS_VALID (buffer) ? GST_BUFFER_DURATION (buffer) : 0);
  return gst_frame_filter_combine_flow (self, trans->srcpad, gst_pad_push (trans->srcpad, buffer));
}

static GstFlowReturn
push_row_buffer (GstFrameFilter *self, Line *line, GstBuffer *buffer, gboolean is_single)
{
  if (line->side == OUTPUTS)
    return push_buffer (self, buffer, is_single);
  settle_caps (self, line, is_single);
  return gst_frame_filter_push_side (self, line->side, buffer);
}

void
gst_frame_filter_tell_side (GstFrameFilter *self, Line *line, GstEvent *event)
{
  restore_caps (self, line);
  gst_frame_filter_push_event_to_side (self, line->side, event);
}

static void
push_event (GstFrameFilter *self, Line *line, GstEvent *event)
{
  if (line->side == OUTPUTS) {
    gst_frame_filter_forward_event (self, event, FALSE);
    return;
  }
  gst_frame_filter_tell_side (self, line, event);
  gst_event_unref (event);
}

/* All of them: nobody waits for the buffers behind one that was refused, only for the events there. */
static GstFlowReturn
push_line (GstFrameFilter *self, Line *line, GstFlowReturn flow)
{
  Item *next;

  while ((next = gst_queue_array_pop_head_struct (line->ready))) {
    Item item = *next; /* the queue may move while we push */

    if (item.out.buffer != NULL && flow == GST_FLOW_OK)
      flow = push_row_buffer (self, line, g_steal_pointer (&item.out.buffer), item.is_single);
    if (item.event != NULL)
      push_event (self, line, g_steal_pointer (&item.event));
    gst_frame_filter_clear_item (&item);
  }
  return flow;
}

GstFlowReturn
gst_frame_filter_push_ready (GstFrameFilter *self)
{
  GstFlowReturn flow = push_line (self, self->outputs, GST_FLOW_OK);
  guint i;

  for (i = 0; i < self->sides->len; i++) {
    Line *line = gst_frame_filter_side (self, i);

    if (line != NULL)
      flow = push_line (self, line, flow);
  }
  return flow;
}
