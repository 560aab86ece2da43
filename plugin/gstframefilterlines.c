/*
 * gst-attention: GstFrameFilter: the outputs of each pad: the line of `src`, and one for each side that somebody looks
 * at.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The core computes the rows of an attention when the frames are there that it looks ahead to, so that those of a side
 * have a pace of their own. They leave as soon as they are known, each line by itself.
 */
#include "gstframefilter-private.h"

#include <string.h>

/* ---- lines ---- */

Line *
gst_frame_filter_line_new (gint side)
{
  Line *line = g_new0 (Line, 1);

  line->side = side;
  /* Without look-ahead one is enough, and stays in the cache. */
  line->waiting = gst_queue_array_new_for_struct (sizeof (Item), 1);
  line->ready = gst_queue_array_new_for_struct (sizeof (Item), 1);
  line->run = gst_frame_filter_run_new ();
  line->rows = g_array_new (FALSE, FALSE, sizeof (gfloat));
  line->marks = g_byte_array_new ();
  return line;
}

void
gst_frame_filter_clear_line (Line *line)
{
  gst_frame_filter_clear_items (line->waiting);
  gst_frame_filter_clear_items (line->ready);
  gst_frame_filter_clear_run (line);
  line->owes_discont = FALSE;
}

void
gst_frame_filter_line_free (Line *line)
{
  gst_frame_filter_clear_line (line);
  gst_queue_array_free (line->waiting);
  gst_queue_array_free (line->ready);
  gst_frame_filter_run_free (line->run);
  g_array_unref (line->rows);
  g_byte_array_unref (line->marks);
  gst_clear_caps (&line->own_caps);
  g_free (line);
}

void
gst_frame_filter_settle_media (GstFrameFilter *self, Line *line)
{
  line->gives_tensors =
      self->features.is_tensors || (line->leaves_at_once && self->features.rate_n % (gint) line->stride != 0);
}

guint64
gst_frame_filter_next_row_number (GstFrameFilter *self, const Line *line)
{
  return line->side == OUTPUTS ? attn_stream_next_output (self->stream)
                               : attn_stream_next_row (self->stream, line->side);
}

static guint64
divide_up (guint64 a, guint64 b)
{
  return a / b + (a % b != 0);
}

guint64
gst_frame_filter_count_owed (GstFrameFilter *self, const Line *line)
{
  return divide_up (attn_stream_next_frame (self->stream), line->stride)
         - gst_frame_filter_next_row_number (self, line);
}

guint64
gst_frame_filter_count_reaching_back (GstFrameFilter *self, const Line *line)
{
  guint64 next = gst_frame_filter_next_row_number (self, line);
  guint64 first_absent = divide_up (self->end_of_present + attn_layer_reach_back (self->layer), line->stride);

  return first_absent > next ? first_absent - next : 0;
}

/* ---- items ---- */

/* Row i is that of frame i stride. A discontinuity that no row begins is that of the next one. */
void
gst_frame_filter_add_item (GstFrameFilter *self, Line *line, Item *item)
{
  guint64 first = attn_stream_next_frame (self->stream);

  item->first_output = divide_up (first, line->stride);
  item->n_outputs = divide_up (first + item->n_frames, line->stride) - item->first_output;
  item->times.first = first;
  if (item->source != NULL) {
    item->is_discont |= line->owes_discont;
    line->owes_discont = item->is_discont && item->n_outputs == 0;
  }
  gst_queue_array_push_tail_struct (line->waiting, item);
}

/* The buffer that will leave with the rows of the frames of `output`. */
static void
make_side_buffer (GstFrameFilter *self, const Line *line, Item *item, GstBuffer *output)
{
  GstBuffer *buffer = gst_frame_filter_new_buffer (self, line, item->n_frames);

  if (!gst_frame_filter_fill_rows (&item->out, buffer, item->n_frames, line->width))
    goto no_memory;
  gst_buffer_copy_into (buffer, output, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_TIMESTAMPS, 0, -1);
  return;

  /* ERRORS */
no_memory:
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
                     ("no memory for the weights of %" G_GUINT64_FORMAT " frames", item->n_frames), (NULL));
  gst_frame_filter_clear_item (item);
  item->is_unwanted = TRUE;
}

/* An item that leaves `src` in a buffer of its own does so here, or its rows leave by themselves. */
void
gst_frame_filter_add_item_to_side (GstFrameFilter *self, Line *line, const Item *item)
{
  Item own = { .n_frames = item->n_frames, .times = item->times, .is_discont = item->is_discont };
  GstBuffer *output = item->out.buffer;

  if (item->event != NULL)
    own.event = gst_event_ref (item->event);
  if (!line->is_watched) {
    own.is_unwanted = TRUE;
    gst_frame_filter_add_item (self, line, &own);
    return;
  }
  if (item->source != NULL)
    own.source = gst_buffer_ref (item->source);
  if (output != NULL && line->leaves_at_once) {
    own.source = gst_frame_filter_make_source (output);
    own.is_discont = GST_BUFFER_IS_DISCONT (output);
  } else if (output != NULL) {
    make_side_buffer (self, line, &own, output);
  } else if (!GST_FRAME_FILTER_GET_CLASS (self)->has_chains) {
    own.is_unwanted = TRUE; /* late, or absent: there is nothing to be shown */
  }
  gst_frame_filter_add_item (self, line, &own);
}

/* ---- rows ---- */

/*
 * The next `n` rows of `item`, all there or all absent; rows NULL: zeros. Only a chain gives rows that have no buffer.
 */
static void
give (GstFrameFilter *self, Line *line, Item *item, const gfloat *rows, guint64 n, gboolean present)
{
  gsize n_bytes = n * line->width * sizeof (gfloat);

  if (item->out.buffer == NULL && !item->is_unwanted && GST_FRAME_FILTER_GET_CLASS (self)->has_chains) {
    gst_frame_filter_add_to_run (self, line, item, rows, n, present);
    return;
  }
  if (item->out.buffer != NULL && rows != NULL)
    memcpy (gst_frame_filter_next_row (item, &item->out), rows, n_bytes);
  else if (item->out.buffer != NULL)
    memset (gst_frame_filter_next_row (item, &item->out), 0, n_bytes);
  item->n_done += n;
  item->n_present += present ? n : 0;
}

/* How many of `n` rows are like the first one; all without marks. */
static guint64
count_alike (const guint8 *marks, guint64 n)
{
  guint64 i = 1;

  while (marks != NULL && i < n && marks[i] == marks[0])
    i++;
  return marks != NULL ? i : n;
}

void
gst_frame_filter_distribute (GstFrameFilter *self, Line *line, const gfloat *rows, const guint8 *marks, guint64 n)
{
  while (n > 0) {
    Item *item;
    guint64 piece;

    gst_frame_filter_advance (self, line);
    item = gst_queue_array_peek_head_struct (line->waiting);
    piece = count_alike (marks, MIN (n, item->n_outputs - item->n_done));
    give (self, line, item, rows, piece, marks != NULL && marks[0]);
    n -= piece;
    rows = rows != NULL ? rows + piece * line->width : NULL;
    marks = marks != NULL ? marks + piece : NULL;
  }
}

/* ---- watched sides ---- */

static gboolean
watch (GstFrameFilter *self, guint side, AttnWatch *watch)
{
  gboolean ok;

  g_mutex_lock (&self->lock);
  ok = attn_stream_watch (self->stream, side, watch) == ATTN_OK;
  g_mutex_unlock (&self->lock);
  return ok;
}

/* The rows that come now, if any, are of frames that are not here. */
static void
begin_line (GstFrameFilter *self, Line *line)
{
  Item dropped = { .n_outputs = gst_frame_filter_count_owed (self, line),
                   .times = GST_FRAME_FILTER_NO_TIMES,
                   .is_unwanted = TRUE };

  if (!watch (self, line->side, &line->watch))
    g_assert_not_reached (); /* there are as many attentions as sides */
  dropped.first_output = gst_frame_filter_next_row_number (self, line);
  if (dropped.n_outputs > 0)
    gst_queue_array_push_tail_struct (line->waiting, &dropped);
}

/* Those that `src` has not been told yet, nor the pads of sides therefore. */
static void
add_waiting_events (GstFrameFilter *self, Line *line)
{
  guint i;

  for (i = 0; i < gst_queue_array_get_length (self->outputs->waiting); i++) {
    const Item *item = gst_queue_array_peek_nth_struct (self->outputs->waiting, i);
    Item event = { .event = item->event };

    if (item->event == NULL)
      continue;
    gst_event_ref (event.event);
    gst_queue_array_push_tail_struct (line->waiting, &event);
  }
}

static Line *
add_side (GstFrameFilter *self, guint side)
{
  Line *line = gst_frame_filter_line_new (side);

  line->stride = attn_layer_attention_stride (self->layer, side);
  line->leaves_at_once = gst_frame_filter_side_leaves_at_once (self, side);
  gst_frame_filter_settle_media (self, line);
  if (side >= self->sides->len)
    g_ptr_array_set_size (self->sides, side + 1);
  g_ptr_array_index (self->sides, side) = line;
  begin_line (self, line);
  add_waiting_events (self, line);
  return line;
}

static void
remove_side (GstFrameFilter *self, Line *line)
{
  if (self->stream != NULL && !watch (self, line->side, NULL))
    g_assert_not_reached (); /* as in begin_line () */
  g_ptr_array_index (self->sides, line->side) = NULL;
  gst_frame_filter_line_free (line);
  while (self->sides->len > 0 && g_ptr_array_index (self->sides, self->sides->len - 1) == NULL)
    g_ptr_array_set_size (self->sides, self->sides->len - 1);
}

static gboolean
update_side (GstFrameFilter *self, guint side)
{
  Line *line = gst_frame_filter_side (self, side);
  gboolean is_watched = gst_frame_filter_is_watched (self, side);
  gboolean is_needed = GST_FRAME_FILTER_GET_CLASS (self)->follows_rows (self, side) || is_watched;

  if (line != NULL && line->is_watched && !is_watched)
    GST_FRAME_FILTER_GET_CLASS (self)->side_done (self, side, NULL, NULL, 0);
  if (line != NULL && !is_needed)
    remove_side (self, line);
  if (!is_needed)
    return TRUE;
  if (line == NULL)
    line = add_side (self, side);
  if (is_watched && !line->is_watched && !GST_FRAME_FILTER_GET_CLASS (self)->get_side_width (self, side, &line->width))
    return FALSE;
  line->is_watched = is_watched;
  return TRUE;
}

gboolean
gst_frame_filter_update_sides (GstFrameFilter *self)
{
  guint i;

  for (i = 0; i < self->n_sides; i++)
    if (!update_side (self, i))
      return FALSE;
  return TRUE;
}

void
gst_frame_filter_free_sides (GstFrameFilter *self)
{
  gst_frame_filter_for_each_side (self, remove_side);
}

void
gst_frame_filter_watch_anew (GstFrameFilter *self)
{
  gst_frame_filter_for_each_side (self, begin_line);
}

/* ---- rows that the core shows ---- */

/* Whether all absent frames may be given at once: none of them shows a row that is there. */
static gboolean
are_all_absent (GstFrameFilter *self)
{
  guint i;

  for (i = 0; i < self->sides->len; i++) {
    const Line *line = gst_frame_filter_side (self, i);

    if (line != NULL && gst_frame_filter_count_reaching_back (self, line) > 0)
      return FALSE;
  }
  return TRUE;
}

guint64
gst_frame_filter_limit_frames (GstFrameFilter *self, const gfloat *frames, guint64 n)
{
  if (self->sides->len == 0 || (frames == NULL && are_all_absent (self)))
    return n;
  return MIN (n, MAX_ASIDE);
}

/* Of `n` rows the first `room` go aside; those behind are absent. */
static void
watch_aside (Line *line, guint64 room)
{
  g_array_set_size (line->rows, room * line->width);
  g_byte_array_set_size (line->marks, room);
  line->watch.weights = (gfloat *) line->rows->data;
  line->watch.present = line->marks->data;
  line->watch.room = room;
  line->is_straight = FALSE;
}

/* Into the buffer that waits for them, where they all belong there. What chains show may be absent, each by itself. */
static gboolean
watch_straight (GstFrameFilter *self, Line *line, guint64 n)
{
  const Item *item;

  if (GST_FRAME_FILTER_GET_CLASS (self)->has_chains)
    return FALSE;
  gst_frame_filter_advance (self, line);
  item = gst_queue_array_peek_head_struct (line->waiting);
  if (item == NULL || item->out.buffer == NULL || n > item->n_outputs - item->n_done)
    return FALSE;
  line->watch.weights = gst_frame_filter_next_row (item, &item->out);
  line->watch.present = NULL;
  line->watch.room = n;
  line->is_straight = TRUE;
  return TRUE;
}

/* Also rows of items from before, which somebody looked at. */
static gboolean
shows_rows (const Line *line)
{
  return line->width > 0;
}

void
gst_frame_filter_watch_rows (GstFrameFilter *self, const gfloat *frames, guint64 n)
{
  guint i;

  for (i = 0; i < self->sides->len; i++) {
    Line *line = gst_frame_filter_side (self, i);
    guint64 n_rows;

    if (line == NULL)
      continue;
    n_rows = attn_stream_rows_ready (self->stream, i, n);
    if (watch_straight (self, line, n_rows))
      continue;
    if (frames == NULL)
      n_rows = MIN (n_rows, gst_frame_filter_count_reaching_back (self, line));
    watch_aside (line, shows_rows (line) ? n_rows : 0);
  }
}

void
gst_frame_filter_add_beyond (GstFrameFilter *self, Line *line, guint64 n)
{
  Item item = { .times = self->times, .n_outputs = n };

  item.first_output = divide_up (attn_stream_next_frame (self->stream), line->stride);
  gst_queue_array_push_tail_struct (line->waiting, &item);
}

static void
watch_last_rows_of (GstFrameFilter *self, Line *line)
{
  guint64 n = attn_stream_rows_pending (self->stream, line->side), n_owed = gst_frame_filter_count_owed (self, line);

  if (n > n_owed)
    gst_frame_filter_add_beyond (self, line, n - n_owed);
  watch_aside (line, shows_rows (line) ? n : 0);
}

void
gst_frame_filter_watch_last_rows (GstFrameFilter *self)
{
  gst_frame_filter_for_each_side (self, watch_last_rows_of);
}

static void
take_rows_of (GstFrameFilter *self, Line *line)
{
  guint64 n = line->watch.n_rows, room = MIN (n, line->watch.room);

  line->watch.n_rows = 0;
  if (line->is_straight && n > 0)
    ((Item *) gst_queue_array_peek_head_struct (line->waiting))->n_done += n;
  if (line->is_straight)
    return;
  gst_frame_filter_distribute (self, line, line->watch.weights, line->watch.present, room);
  gst_frame_filter_distribute (self, line, NULL, NULL, n - room);
}

void
gst_frame_filter_take_rows (GstFrameFilter *self)
{
  gst_frame_filter_for_each_side (self, take_rows_of);
}

/* ---- when ---- */

/* If the rate is unknown, all rows of a buffer have its time. */
static GstClockTime
row_time (GstFrameFilter *self, const Line *line, const Item *item, guint64 row)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;
  GstClockTime time = gst_frame_filter_frame_time (self, &item->times, row * line->stride);

  if (!GST_CLOCK_TIME_IS_VALID (time))
    time = item->times.begin;
  if (!GST_CLOCK_TIME_IS_VALID (time) || segment->format != GST_FORMAT_TIME)
    return GST_CLOCK_TIME_NONE;
  return gst_segment_to_stream_time (segment, GST_FORMAT_TIME, time);
}

void
gst_frame_filter_get_row_times (GstFrameFilter *self, guint side, GstClockTime *times, guint64 n)
{
  const Line *line = gst_frame_filter_side (self, side);
  guint64 done = 0;
  guint i, j;

  for (i = 0; done < n && line != NULL && i < gst_queue_array_get_length (line->waiting); i++) {
    const Item *item = gst_queue_array_peek_nth_struct (line->waiting, i);

    for (j = item->n_done; done < n && j < item->n_outputs; j++)
      times[done++] = row_time (self, line, item, item->first_output + j);
  }
  while (done < n)
    times[done++] = GST_CLOCK_TIME_NONE;
}
