/*
 * gst-attention: GstFrameFilter: buffers in.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

/* No pool of downstream's: its buffers have one size, ours follow the input's. */
gboolean
gst_frame_filter_decide_allocation (GstBaseTransform *trans, GstQuery *query)
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

/* The buffer that will leave for `input`: its metadata, and room for as many frames. NULL: no memory. */
static GstBuffer *
make_output (GstFrameFilter *self, GstBuffer *input, gsize n_frames)
{
  GstBuffer *buffer = gst_frame_filter_new_buffer (self, self->outputs, n_frames);

  if (buffer == NULL)
    return NULL;
  gst_buffer_copy_into (buffer, input, GST_BUFFER_COPY_METADATA, 0, -1);
  if (attn_layer_n_outputs (self->layer) != self->features.n_features)
    gst_frame_filter_drop_audio_meta (buffer);
  return buffer;
}

/* What will leave for `input`, ready to be filled. FALSE after an error message. */
static gboolean
prepare_output (GstFrameFilter *self, Item *item, GstBuffer *input)
{
  GstBuffer *buffer;

  if (!gst_frame_filter_update_sides (self))
    return FALSE;
  if (self->outputs->leaves_at_once) {
    item->source = gst_frame_filter_make_source (input);
    item->is_discont = GST_BUFFER_IS_DISCONT (input);
    return TRUE;
  }
  buffer = make_output (self, input, item->n_frames);
  if (!gst_frame_filter_fill_rows (&item->out, buffer, item->n_frames, self->outputs->width))
    goto no_memory;
  if (self->skipped)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->skipped = FALSE;
  return TRUE;

  /* ERRORS */
no_memory:
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
                     ("no memory for a buffer of %" G_GUINT64_FORMAT " frames", item->n_frames), (NULL));
  gst_frame_filter_clear_item (item);
  return FALSE;
}

/* `frames` are at any address: upstream may have cut a buffer at any byte. */
static void
take_frames (GstFrameFilter *self, const Item *item, const guint8 *frames)
{
  gpointer copy = NULL;

  if (GPOINTER_TO_SIZE (frames) % sizeof (gfloat) != 0)
    frames = copy = g_memdup2 (frames, item->n_frames * self->features.n_features * sizeof (gfloat));
  gst_frame_filter_take_item (self, item, (const gfloat *) frames);
  g_free (copy);
}

/* FALSE after an error message. `late`: its frames are attended to, but nothing leaves for them. */
static gboolean
take_content (GstFrameFilter *self, GstBuffer *input, gsize n_frames, gboolean late)
{
  Item item = { .n_frames = n_frames, .times = { 0, n_frames, GST_BUFFER_PTS (input), GST_BUFFER_DURATION (input) } };
  GstMapInfo map;

  if (!gst_buffer_map (input, &map, GST_MAP_READ))
    goto not_mapped;
  if (!late && !prepare_output (self, &item, input))
    goto no_output;
  self->skipped = self->skipped || late;
  take_frames (self, &item, GST_BUFFER_FLAG_IS_SET (input, GST_BUFFER_FLAG_GAP) ? NULL : map.data);
  gst_buffer_unmap (input, &map);
  return TRUE;

  /* ERRORS */
not_mapped:
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("cannot map a buffer for reading"), (NULL));
  return FALSE;
no_output:
  gst_buffer_unmap (input, &map);
  return FALSE;
}

static GstFlowReturn
take_buffer (GstFrameFilter *self, GstBuffer *input, gboolean late)
{
  GError *error = NULL;
  gsize n_frames;

  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (input), &n_frames, &error))
    goto wrong_size;
  if (n_frames > 0)
    gst_frame_filter_adopt_restored (self);
  gst_frame_filter_look_at_time (self, input);
  gst_frame_filter_note_buffer_size (self, n_frames);
  gst_frame_filter_note_place (self);
  if (!take_content (self, input, n_frames, late))
    return GST_FLOW_ERROR;
  frame_clock_advance (&self->clock, GST_BUFFER_PTS (input), n_frames);
  return GST_FLOW_OK;

  /* ERRORS */
wrong_size:
  gst_features_post_error (self, error);
  return GST_FLOW_ERROR;
}

/* `passed`: what the parent made of `input`. */
static GstFlowReturn
take_passed (GstFrameFilter *self, GstBuffer *input, GstFlowReturn passed)
{
  gdouble rate = GST_BASE_TRANSFORM (self)->segment.rate;

  if (passed != GST_FLOW_OK && passed != GST_BASE_TRANSFORM_FLOW_DROPPED)
    return passed;
  if (rate < 0)
    goto backwards;
  if (self->stream == NULL || self->features.n_features == 0) /* a model is there before caps are */
    return GST_FLOW_NOT_NEGOTIATED;
  return take_buffer (self, input,
                      passed == GST_BASE_TRANSFORM_FLOW_DROPPED && !GST_FRAME_FILTER_GET_CLASS (self)->has_chains);

  /* ERRORS */
backwards:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                     ("the stream plays backwards, at rate %g: frames attend to those before them", rate), (NULL));
  return GST_FLOW_ERROR;
}

GstFlowReturn
gst_frame_filter_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *input)
{
  GstFrameFilter *self = GST_FRAME_FILTER (trans);
  GstBuffer *kept;
  GstFlowReturn flow;

  if (gst_frame_filter_has_refused (self)) {
    gst_buffer_unref (input);
    return GST_FLOW_NOT_NEGOTIATED;
  }
  kept = gst_buffer_ref (input);
  /* The parent negotiates, and leaves the buffer in queued_buf; or drops it when it is late, and qos is on. */
  flow = gst_frame_filter_base_class->submit_input_buffer (trans, is_discont, input);
  gst_clear_buffer (&trans->queued_buf);
  flow = take_passed (self, kept, flow);
  gst_buffer_unref (kept);
  return flow;
}

/*
 * Pushes by itself instead of handing one buffer after another to the parent, which would mark the first that leaves as
 * discontinuous when the one that just came in is: with look-ahead these are not the same.
 */
GstFlowReturn
gst_frame_filter_generate_output (GstBaseTransform *trans, GstBuffer **output)
{
  *output = NULL;
  return gst_frame_filter_push_ready (GST_FRAME_FILTER (trans));
}

/* Never called; without it the parent passes everything through. */
GstFlowReturn
gst_frame_filter_transform (GstBaseTransform *trans, GstBuffer *input, GstBuffer *output)
{
  return GST_FLOW_NOT_SUPPORTED;
}
