/*
 * gst-attention: GstFrameFilter: outputs that leave without a buffer that waited for them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Of a layer with a stride, or one that gives more or fewer outputs than frames, all outputs leave so: what gets ready
 * together leaves in one buffer, or in a buffer for each frame where the caps say how many a buffer has. Of other
 * chains those do that are there though no buffer brought their frames.
 *
 * A *run* is the outputs that leave together. It goes on as long as outputs are neighbours in time, all there or all
 * absent, and nothing that their buffers say would be lost.
 */
#include "gstframefilter-private.h"

struct _GstFrameFilterRun {
  guint64 n; /* outputs; 0: there is no run */
  gboolean present;
  GstBuffer *source; /* that brought the first of their frames; NULL: none did */
  GstEvent *event;   /* that brought all of their frames; NULL: none did */
  guint64 n_event;   /* outputs of its frames */
  gboolean is_discont;
  GstClockTime begin, end;
  GArray *rows; /* [n][n_outputs], where they leave in a buffer */
};

/* Flags that do not keep the outputs of two buffers apart: they are set anew, or say nothing of content. */
#define OWN_FLAGS (GST_BUFFER_FLAG_DISCONT | GST_BUFFER_FLAG_RESYNC | GST_BUFFER_FLAG_GAP | GST_BUFFER_FLAG_TAG_MEMORY)

GstFrameFilterRun *
gst_frame_filter_run_new (void)
{
  GstFrameFilterRun *run = g_new0 (GstFrameFilterRun, 1);

  run->rows = g_array_new (FALSE, TRUE, sizeof (gfloat));
  return run;
}

static void
clear (GstFrameFilterRun *run)
{
  gst_clear_buffer (&run->source);
  gst_clear_event (&run->event);
  g_array_set_size (run->rows, 0);
  run->n = 0;
}

void
gst_frame_filter_run_free (GstFrameFilterRun *run)
{
  clear (run);
  g_array_unref (run->rows);
  g_free (run);
}

void
gst_frame_filter_clear_run (Line *line)
{
  clear (line->run);
  line->left_out = FALSE;
}

GstClockTime
gst_frame_filter_frame_time (GstFrameFilter *self, const GstFrameFilterTimes *times, guint64 frame)
{
  guint64 k = frame - times->first;
  GstClockTime offset;

  if (k == 0 || !GST_CLOCK_TIME_IS_VALID (times->begin))
    return times->begin;
  if (GST_CLOCK_TIME_IS_VALID (times->duration) && times->n > 0)
    offset = gst_util_uint64_scale_round (k, times->duration, times->n);
  else
    offset = frame_clock_duration (&self->clock, k);
  return GST_CLOCK_TIME_IS_VALID (offset) ? times->begin + offset : GST_CLOCK_TIME_NONE;
}

/* ---- how it leaves ---- */

GstBuffer *
gst_frame_filter_new_buffer (GstFrameFilter *self, const Line *line, guint64 n)
{
  GstAllocator *allocator;
  GstAllocationParams params;
  GstBuffer *buffer;

  if (line->side != OUTPUTS)
    return gst_features_new_buffer (n * line->width);
  gst_base_transform_get_allocator (GST_BASE_TRANSFORM (self), &allocator, &params);
  buffer = gst_buffer_new_allocate (allocator, n * line->width * sizeof (gfloat), &params);
  if (allocator != NULL)
    gst_object_unref (allocator);
  return buffer;
}

void
gst_frame_filter_drop_audio_meta (GstBuffer *buffer)
{
  GstMeta *meta = gst_buffer_get_meta (buffer, GST_AUDIO_META_API_TYPE);

  if (meta != NULL)
    gst_buffer_remove_meta (buffer, meta);
}

GstBuffer *
gst_frame_filter_make_source (GstBuffer *input)
{
  GstBuffer *source = gst_buffer_new ();

  gst_buffer_copy_into (source, input, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_META, 0, -1);
  gst_frame_filter_drop_audio_meta (source);
  GST_BUFFER_FLAG_UNSET (source, GST_BUFFER_FLAG_DISCONT | GST_BUFFER_FLAG_RESYNC | GST_BUFFER_FLAG_GAP);
  return source;
}

static gboolean
leaves_in_buffer (gboolean present, const GstBuffer *source)
{
  return present || source != NULL;
}

/* NULL after an error message. */
static GstBuffer *
make_buffer (GstFrameFilter *self, Line *line)
{
  const GstFrameFilterRun *run = line->run;
  GstBuffer *buffer = gst_frame_filter_new_buffer (self, line, run->n);

  if (buffer == NULL)
    goto no_memory;
  gst_buffer_fill (buffer, 0, run->rows->data, run->rows->len * sizeof (gfloat));
  if (run->source != NULL)
    gst_buffer_copy_into (buffer, run->source, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_META, 0, -1);
  GST_BUFFER_PTS (buffer) = run->begin;
  if (GST_CLOCK_TIME_IS_VALID (run->begin) && GST_CLOCK_TIME_IS_VALID (run->end))
    GST_BUFFER_DURATION (buffer) = run->end - run->begin;
  if (!run->present)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (run->is_discont || (run->source == NULL && line->left_out))
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  line->left_out = FALSE;
  if (line->side != OUTPUTS)
    GST_FRAME_FILTER_GET_CLASS (self)->side_done (self, line->side, buffer, (const gfloat *) run->rows->data, run->n);
  return buffer;

  /* ERRORS */
no_memory:
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT, ("no memory for a buffer of %" G_GUINT64_FORMAT " frames", run->n),
                     (NULL));
  return NULL;
}

/* As it came, if it says just that. */
static GstEvent *
make_gap (const Line *line)
{
  const GstFrameFilterRun *run = line->run;
  GstGapFlags flags = 0;
  GstEvent *event;

  if (run->n == run->n_event && line->stride == 1)
    return gst_event_ref (run->event);
  event = gst_event_new_gap (run->begin, run->end - run->begin);
  gst_event_set_seqnum (event, gst_event_get_seqnum (run->event));
  gst_event_parse_gap_flags (run->event, &flags);
  gst_event_set_gap_flags (event, flags);
  return event;
}

void
gst_frame_filter_end_run (GstFrameFilter *self, Line *line)
{
  GstFrameFilterRun *run = line->run;
  Item item = { .is_single = TRUE };

  if (run->n == 0)
    return;
  if (leaves_in_buffer (run->present, run->source))
    item.out.buffer = make_buffer (self, line);
  else if (run->event != NULL)
    item.event = make_gap (line);
  else
    line->left_out = TRUE;
  clear (run);
  if (item.out.buffer != NULL || item.event != NULL)
    gst_queue_array_push_tail_struct (line->ready, &item);
}

/* ---- outputs that belong together ---- */

static gboolean
continues_in_time (GstFrameFilter *self, GstClockTime end, GstClockTime begin)
{
  if (!GST_CLOCK_TIME_IS_VALID (end) || !GST_CLOCK_TIME_IS_VALID (begin))
    return end == begin;
  return ABS (GST_CLOCK_DIFF (end, begin)) <= (GstClockTimeDiff) self->clock.tolerance;
}

static gboolean
continues_buffer (const GstFrameFilterRun *run, const Item *item)
{
  return run->source != NULL && item->source != NULL && !item->is_discont
         && ((GST_BUFFER_FLAGS (run->source) ^ GST_BUFFER_FLAGS (item->source)) & ~OWN_FLAGS) == 0;
}

static gboolean
goes_on (GstFrameFilter *self, const Line *line, const Item *item, gboolean present, GstClockTime begin)
{
  const GstFrameFilterRun *run = line->run;

  if (run->n == 0 || run->present != present || run->event != item->event)
    return FALSE;
  if (leaves_in_buffer (present, item->source) && line->gives_tensors)
    return FALSE; /* one frame per buffer */
  if (run->source == item->source && (item->source != NULL || item->event != NULL))
    return TRUE;
  return (run->source == item->source || continues_buffer (run, item)) && continues_in_time (self, run->end, begin);
}

static void
begin_run (GstFrameFilter *self, Line *line, Item *item, gboolean present, GstClockTime begin)
{
  GstFrameFilterRun *run = line->run;

  gst_frame_filter_end_run (self, line);
  gst_buffer_replace (&run->source, item->source);
  gst_event_replace (&run->event, item->event);
  run->n_event = item->n_outputs;
  run->present = present;
  run->begin = begin;
  run->is_discont = item->is_discont;
  item->is_discont = FALSE;
}

static void
append_rows (GArray *array, const gfloat *rows, gsize n_values)
{
  if (rows != NULL)
    g_array_append_vals (array, rows, n_values);
  else
    g_array_set_size (array, array->len + n_values); /* zeros */
}

void
gst_frame_filter_add_to_run (GstFrameFilter *self, Line *line, Item *item, const gfloat *rows, guint64 n,
                             gboolean present)
{
  gboolean is_single = leaves_in_buffer (present, item->source) && line->gives_tensors;
  guint64 piece;

  for (; n > 0; n -= piece) {
    guint64 frame = (item->first_output + item->n_done) * line->stride;
    GstClockTime begin = gst_frame_filter_frame_time (self, &item->times, frame);

    piece = is_single ? 1 : n;
    if (!goes_on (self, line, item, present, begin))
      begin_run (self, line, item, present, begin);
    line->run->n += piece;
    line->run->end = gst_frame_filter_frame_time (self, &item->times, frame + piece * line->stride);
    if (leaves_in_buffer (present, item->source))
      append_rows (line->run->rows, rows, piece * line->width);
    if (rows != NULL)
      rows += piece * line->width;
    item->n_done += piece;
  }
}
