/*
 * gst-attention: the element `npyparse`: from the bytes of a file to buffers of frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstnpyparse-private.h"

#include <string.h>

#include "npyplace.h"

/* GstBaseParse counts the bytes of a buffer in a gint, and float16 doubles on its way to float32. */
#define MAX_BUFFER_SIZE (G_MAXINT / 4)

/* ---- the frames of the file, and those asked for ---- */

/*
 * The size of the file, where it is certain: who is pulled from counts the same bytes, but a query that is pushed up
 * may be answered by a source in front of an element that decompresses.
 */
gboolean
gst_npy_parse_get_file_size (GstNpyParse *self, guint64 *size)
{
  GstPad *pad = GST_BASE_PARSE_SINK_PAD (self);
  gint64 duration;

  if (GST_PAD_MODE (pad) != GST_PAD_MODE_PULL || !gst_pad_peer_query_duration (pad, GST_FORMAT_BYTES, &duration)
      || duration < 0)
    return FALSE;
  *size = duration;
  return TRUE;
}

void
gst_npy_parse_get_range (GstNpyParse *self, guint64 *first, guint64 *last)
{
  const GstSegment *segment = &GST_BASE_PARSE (self)->segment;

  *first = 0;
  *last = self->header.n_frames;
  if (GST_CLOCK_TIME_IS_VALID (segment->start))
    *first = npy_frame_at_time (&self->features, segment->start);
  if (GST_CLOCK_TIME_IS_VALID (segment->stop))
    *last = MIN (*last, npy_frame_from_time (&self->features, segment->stop));
}

void
gst_npy_parse_refuse_size (GstNpyParse *self, const gchar *found, guint64 size)
{
  GST_ELEMENT_ERROR (self, STREAM, DECODE,
                     ("the header promises %" G_GUINT64_FORMAT " frames of %u features, %" G_GUINT64_FORMAT
                      " bytes; the file %s %" G_GUINT64_FORMAT,
                      self->header.n_frames, self->header.n_features, npy_header_data_size (&self->header), found,
                      size),
                     (NULL));
}

/* ---- the header ---- */

static void
refuse_caps (GstNpyParse *self, GstCaps *caps)
{
  const GstFeatures *features = &self->features;

  if (features->is_tensors)
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                       ("downstream does not take other/tensors, and frame-rate=%d/%d is not a whole number of Hz, "
                        "which audio/x-raw needs",
                        features->rate_n, features->rate_d),
                       ("caps %" GST_PTR_FORMAT, caps));
  else
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                       ("downstream does not take frames of %u features, %d per second as audio/x-raw",
                        features->n_features, features->rate_n / features->rate_d),
                       ("caps %" GST_PTR_FORMAT, caps));
}

/* Sends downstream the caps of buffers of `n_frames`. audio/x-raw has no number of frames: sent once, it stays. */
static GstFlowReturn
negotiate (GstNpyParse *self, guint n_frames)
{
  GstPad *pad = GST_BASE_PARSE_SRC_PAD (self);
  GstFeatures *features = &self->features;
  GstCaps *caps = gst_features_to_caps (features->n_features, features->rate_n, features->rate_d, n_frames);
  GstCaps *current = gst_pad_get_current_caps (pad);
  gboolean accepted = current != NULL && gst_caps_is_equal (current, caps);
  GstFlowReturn flow = GST_FLOW_OK;

  features->is_tensors = gst_structure_has_name (gst_caps_get_structure (caps, 0), "other/tensors");
  features->frames_per_buffer = features->is_tensors ? n_frames : 0;
  if (!accepted)
    accepted = gst_pad_peer_query_accept_caps (pad, caps) && gst_pad_push_event (pad, gst_event_new_caps (caps));
  if (!accepted)
    flow = GST_PAD_IS_FLUSHING (pad) ? GST_FLOW_FLUSHING : GST_FLOW_NOT_NEGOTIATED;
  if (flow == GST_FLOW_NOT_NEGOTIATED)
    refuse_caps (self, caps);
  gst_clear_caps (&current);
  gst_caps_unref (caps);
  return flow;
}

static GstFlowReturn
refuse_header (GstNpyParse *self, GError *error)
{
  if (g_error_matches (error, NPY_ERROR, NPY_ERROR_WRONG_TYPE))
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", error->message), (NULL));
  else
    GST_ELEMENT_ERROR (self, STREAM, DECODE, ("%s", error->message), (NULL));
  g_error_free (error);
  return GST_FLOW_ERROR;
}

static GstFlowReturn
refuse_map (GstNpyParse *self, GstBuffer *buffer)
{
  GST_ELEMENT_ERROR (self, RESOURCE, READ,
                     ("cannot map a buffer of %" G_GSIZE_FORMAT " bytes for reading", gst_buffer_get_size (buffer)),
                     (NULL));
  return GST_FLOW_ERROR;
}

/* An unfinished file: the bytes that its header does not count may be a part of a frame. Warns once. */
static void
leave_out (GstNpyParse *self, const gchar *found, guint64 size)
{
  if (!self->told_size)
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
                         ("the header promises %" G_GUINT64_FORMAT " frames of %u features, %" G_GUINT64_FORMAT
                          " bytes; the file %s %" G_GUINT64_FORMAT ", and the rest of the file is left out",
                          self->header.n_frames, self->header.n_features, npy_header_data_size (&self->header), found,
                          size),
                         (NULL));
  self->told_size = TRUE;
}

/* A file that holds more than its header promises is read as far as that goes. */
static gboolean
check_file_size (GstNpyParse *self)
{
  guint64 n_promised = npy_header_data_size (&self->header), size;

  if (!gst_npy_parse_get_file_size (self, &size))
    return TRUE;
  size -= MIN (size, self->header.header_size);
  if (size < n_promised)
    gst_npy_parse_refuse_size (self, "has", size);
  if (size > n_promised)
    leave_out (self, "has", size);
  return size >= n_promised;
}

/* Checks a header against the properties and the file, and makes it the current one. */
static GstFlowReturn
use_header (GstNpyParse *self, const NpyHeader *header)
{
  guint64 frames_per_buffer;

  GST_OBJECT_LOCK (self);
  self->header = *header;
  self->features.n_features = header->n_features;
  frames_per_buffer = MIN (self->frames_per_buffer, MAX (header->n_frames, 1));
  GST_OBJECT_UNLOCK (self);

  if (frames_per_buffer > MAX_BUFFER_SIZE / npy_header_frame_size (header))
    goto too_large;
  self->n_per_buffer = frames_per_buffer;
  if (!check_file_size (self))
    return GST_FLOW_ERROR;
  gst_base_parse_set_duration (GST_BASE_PARSE (self), GST_FORMAT_TIME,
                               gst_features_duration (&self->features, header->n_frames), 0);
  return negotiate (self, self->n_per_buffer);

  /* ERRORS */
too_large:
  GST_ELEMENT_ERROR (self, STREAM, DECODE,
                     ("frames-per-buffer=%" G_GUINT64_FORMAT
                      " is too large for frames of %u features, expected no more "
                      "than %" G_GSIZE_FORMAT,
                      frames_per_buffer, header->n_features, MAX_BUFFER_SIZE / npy_header_frame_size (header)),
                     (NULL));
  return GST_FLOW_ERROR;
}

/* Number of bytes of the next buffer; 1 at the end, to notice bytes that should not be there. */
static gsize
next_size (GstNpyParse *self, guint64 next_frame)
{
  guint64 n_frames = MIN (self->n_per_buffer, self->header.n_frames - MIN (next_frame, self->header.n_frames));

  return MAX (n_frames * npy_header_frame_size (&self->header), 1);
}

/* The header, or GST_FLOW_CUSTOM_SUCCESS: there is only a part of it, and *needed bytes have to come. */
static GstFlowReturn
read_header (GstNpyParse *self, GstBuffer *buffer, NpyHeader *header, gsize *needed)
{
  GError *error = NULL;
  NpyResult result;
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return refuse_map (self, buffer);
  result = npy_header_read (header, map.data, map.size, needed, &error);
  gst_buffer_unmap (buffer, &map);
  if (result == NPY_REFUSED)
    return refuse_header (self, error);
  if (result == NPY_MORE && GST_BASE_PARSE_DRAINING (self))
    goto truncated;
  return result == NPY_MORE ? GST_FLOW_CUSTOM_SUCCESS : GST_FLOW_OK;

  /* ERRORS */
truncated:
  GST_ELEMENT_ERROR (self, STREAM, DECODE,
                     ("the header needs %" G_GSIZE_FORMAT " bytes or more; the file ended after %" G_GSIZE_FORMAT,
                      *needed, gst_buffer_get_size (buffer)),
                     (NULL));
  return GST_FLOW_ERROR;
}

/*
 * The base class sees the header as a frame like others, so that it pushes the frames that it holds back and does not
 * call an array without frames an error. The empty buffer goes no further than pre_push_frame ().
 */
static GstFlowReturn
handle_header (GstNpyParse *self, GstBaseParseFrame *frame)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  GstFlowReturn flow;
  NpyHeader header;
  gsize needed;

  flow = read_header (self, frame->buffer, &header, &needed);
  if (flow == GST_FLOW_CUSTOM_SUCCESS) {
    gst_base_parse_set_min_frame_size (parse, needed);
    return GST_FLOW_OK;
  }
  if (flow == GST_FLOW_OK)
    flow = use_header (self, &header);
  if (flow != GST_FLOW_OK)
    return flow;
  self->next_frame = 0;
  gst_base_parse_set_min_frame_size (parse, next_size (self, 0));
  frame->out_buffer = gst_buffer_new ();
  GST_BUFFER_PTS (frame->out_buffer) = GST_BUFFER_DTS (frame->out_buffer) = GST_BUFFER_DURATION (frame->out_buffer) = 0;
  return gst_base_parse_finish_frame (parse, frame, header.header_size);
}

/* ---- frames ---- */

/* How many of the first `n_frames` in `data` are the same: wholly NaN, or not. */
static guint
count_alike (const NpyHeader *header, const guint8 *data, guint n_frames, gboolean *are_gaps)
{
  gsize frame_size = npy_header_frame_size (header);
  guint n = 1;

  *are_gaps = npy_values_are_nan (header, data, header->n_features);
  while (n < n_frames && npy_values_are_nan (header, data + n * frame_size, header->n_features) == *are_gaps)
    n++;
  return n;
}

/* Numbers and times. */
static void
describe_buffer (GstNpyParse *self, GstBuffer *buffer, guint64 first_frame, guint n_frames)
{
  GstClockTime begin = gst_features_duration (&self->features, first_frame);

  GST_BUFFER_OFFSET (buffer) = first_frame;
  GST_BUFFER_OFFSET_END (buffer) = first_frame + n_frames;
  GST_BUFFER_PTS (buffer) = GST_BUFFER_DTS (buffer) = begin;
  GST_BUFFER_DURATION (buffer) = gst_features_duration (&self->features, first_frame + n_frames) - begin;
  if (self->is_discont || first_frame != self->next_frame)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->is_discont = FALSE;
}

/* A buffer of `n_frames` from `data` as float32, or, where `data` is NULL, of zeros with the GAP flag. */
static GstFlowReturn
make_buffer (GstNpyParse *self, const guint8 *data, guint n_frames, GstBuffer **buffer)
{
  gsize n_values = (gsize) n_frames * self->header.n_features;
  GstMapInfo map;

  *buffer = gst_features_new_buffer (n_values);
  if (*buffer == NULL || !gst_buffer_map (*buffer, &map, GST_MAP_WRITE))
    goto no_memory;
  if (data != NULL) {
    npy_values_to_float (&self->header, data, n_values, (gfloat *) map.data);
  } else {
    memset (map.data, 0, map.size);
    GST_BUFFER_FLAG_SET (*buffer, GST_BUFFER_FLAG_GAP);
  }
  gst_buffer_unmap (*buffer, &map);
  return GST_FLOW_OK;

  /* ERRORS */
no_memory:
  gst_clear_buffer (buffer);
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
                     ("no memory for a buffer of %u frames of %u features", n_frames, self->features.n_features),
                     (NULL));
  return GST_FLOW_ERROR;
}

/* `n_frames` frames, from number `first_frame`, stand at the head of frame->buffer; those that are alike leave. */
static GstFlowReturn
push_frames (GstNpyParse *self, GstBaseParseFrame *frame, guint64 first_frame, guint n_frames)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  gboolean are_gaps = FALSE;
  GstFlowReturn flow = GST_FLOW_OK;
  GstMapInfo map;

  if (!gst_buffer_map (frame->buffer, &map, GST_MAP_READ))
    return refuse_map (self, frame->buffer);
  if (self->splits)
    n_frames = count_alike (&self->header, map.data, n_frames, &are_gaps);
  if (self->features.is_tensors && self->features.frames_per_buffer != n_frames)
    flow = negotiate (self, n_frames);
  if (flow == GST_FLOW_OK)
    flow = make_buffer (self, are_gaps ? NULL : map.data, n_frames, &frame->out_buffer);
  gst_buffer_unmap (frame->buffer, &map);
  if (flow != GST_FLOW_OK)
    return flow;

  describe_buffer (self, frame->out_buffer, first_frame, n_frames);
  self->next_frame = first_frame + n_frames;
  gst_base_parse_set_min_frame_size (parse, next_size (self, self->next_frame));
  return gst_base_parse_finish_frame (parse, frame, n_frames * npy_header_frame_size (&self->header));
}

/* Frames before the first one that was asked for. */
static GstFlowReturn
drop_frames (GstNpyParse *self, GstBaseParseFrame *frame, guint64 n_frames)
{
  frame->flags |= GST_BASE_PARSE_FRAME_FLAG_DROP;
  return gst_base_parse_finish_frame (GST_BASE_PARSE (self), frame, n_frames * npy_header_frame_size (&self->header));
}

/* At least one whole frame has come, the first of them being `number`. */
static GstFlowReturn
handle_whole_frames (GstNpyParse *self, GstBaseParseFrame *frame, guint64 number)
{
  guint64 n_come = gst_buffer_get_size (frame->buffer) / npy_header_frame_size (&self->header), first, last, n_frames;

  gst_npy_parse_get_range (self, &first, &last);
  if (number >= last)
    return GST_FLOW_EOS;
  if (number < first) {
    self->next_frame = MIN (first, number + MIN (self->header.n_frames - number, n_come));
    return drop_frames (self, frame, self->next_frame - number);
  }
  n_frames = MIN (self->n_per_buffer, last - number);
  if (n_come < n_frames && !GST_BASE_PARSE_DRAINING (self)) {
    gst_base_parse_set_min_frame_size (GST_BASE_PARSE (self), n_frames * npy_header_frame_size (&self->header));
    return GST_FLOW_OK;
  }
  return push_frames (self, frame, number, MIN (n_frames, n_come));
}

static GstFlowReturn
handle_frames (GstNpyParse *self, GstBaseParseFrame *frame, gint *skip_size)
{
  gsize frame_size = npy_header_frame_size (&self->header), size = gst_buffer_get_size (frame->buffer);
  guint64 number = npy_frame_at_offset (&self->header, frame->offset);
  guint64 misplaced = (frame->offset - self->header.header_size) % frame_size;

  if (frame->offset >= npy_frame_offset (&self->header, self->header.n_frames)) {
    leave_out (self, "has at least", npy_header_data_size (&self->header) + size);
    return GST_FLOW_EOS;
  }
  if (misplaced != 0) {
    *skip_size = frame_size - misplaced;
    return GST_FLOW_OK;
  }
  if (size >= frame_size)
    return handle_whole_frames (self, frame, number);
  self->n_left_over = GST_BASE_PARSE_DRAINING (self) ? size : 0;
  gst_base_parse_set_min_frame_size (GST_BASE_PARSE (self), next_size (self, number));
  return GST_FLOW_OK;
}

GstFlowReturn
gst_npy_parse_handle_frame (GstBaseParse *parse, GstBaseParseFrame *frame, gint *skip_size)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);

  /* Posts an error once, although the base class tries the held bytes again at EOS. */
  if (self->flow < GST_FLOW_EOS && GST_PAD_MODE (GST_BASE_PARSE_SINK_PAD (self)) == GST_PAD_MODE_PUSH)
    return self->flow;

  frame->overhead = -1;                                      /* the bit rate of raw data is no news */
  self->is_discont |= GST_BUFFER_IS_DISCONT (frame->buffer); /* which may be skipped, or be the header */
  if (self->header.header_size == 0 || frame->offset == 0) {
    self->flow = handle_header (self, frame);
  } else if (frame->offset < self->header.header_size) {
    *skip_size = self->header.header_size - frame->offset;
    self->flow = GST_FLOW_OK;
  } else {
    self->flow = handle_frames (self, frame, skip_size);
  }
  return self->flow;
}

/* Last word on time stamps: where upstream has its own time, the base class would use that. Raw data needs no DTS. */
GstFlowReturn
gst_npy_parse_pre_push_frame (GstBaseParse *parse, GstBaseParseFrame *frame)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  GstBuffer *buffer = frame->buffer;

  if (gst_buffer_get_size (buffer) == 0)
    return GST_BASE_PARSE_FLOW_DROPPED;
  GST_BUFFER_PTS (buffer) = gst_features_duration (&self->features, GST_BUFFER_OFFSET (buffer));
  GST_BUFFER_DTS (buffer) = GST_CLOCK_TIME_NONE;
  return GST_FLOW_OK;
}
