/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-npyparse
 * @title: npyparse
 * @short_description: Reads a NumPy .npy file as a feature stream
 * @see_also: npyenc, filesrc
 *
 * Reads what `numpy.save()` wrote: an array of shape (frames, features), or (frames,), which is one feature per frame.
 * float16, float32 and float64 of either byte order go out as float32; a float64 is rounded to nearest even, and beyond
 * the range of float32 becomes infinity. An array of Fortran order is refused:
 * `numpy.save(name, numpy.ascontiguousarray(array))` writes one that is not.
 *
 * A file that holds fewer frames than its header says is an error. One that holds more, as npyenc leaves it when it is
 * killed, ends with the last frame that the header counts, as it does for `numpy.load()`; a warning message says so.
 *
 * A file knows no time: #GstNpyParse:frame-rate says how many frames make a second. Frame i has the time stamp i /
 * frame-rate, rounded to the nearest nanosecond, and its number stands in the buffer's offset. The caps are audio/x-raw
 * with one channel per feature where the frame rate is a whole number of Hz, else other/tensors.
 *
 * What a sensor did not measure is NaN in most arrays, and one row of NaN spoils every window that it is in. With
 * #GstNpyParse:nan-is-gap a row that is wholly NaN becomes a gap: zeros with the GAP flag, which `attention` takes for
 * an absent frame, and which is still a row for whoever writes an array again (npyenc writes zeros, not NaN). Rows that
 * have a number somewhere go out as they are.
 *
 * Seeks in TIME, DEFAULT (frames) and BYTES land on the very frame: the one that lasts at that time. Rates below 0 are
 * refused.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse frame-rate=100/1 ! attention window=64 ! npyenc ! filesink
 * location=out.npy ]| Parameter-free attention over an array, frame by frame.
 */
#include "gstnpyparse.h"

#include <string.h>

#include "gstfeatures.h"
#include "npy.h"

GST_DEBUG_CATEGORY_STATIC (npy_parse_debug);
#define GST_CAT_DEFAULT npy_parse_debug

/* GstBaseParse counts the bytes of a buffer in a gint, and float16 doubles on its way to float32. */
#define MAX_BUFFER_SIZE (G_MAXINT / 4)

/* One frame per nanosecond: above, time stamps would not tell frames apart. */
#define MAX_RATE 1000000000

#define DEFAULT_RATE_N 100
#define DEFAULT_RATE_D 1
#define DEFAULT_FRAMES_PER_BUFFER 1
#define DEFAULT_NAN_IS_GAP FALSE

G_STATIC_ASSERT (NPY_MAX_FEATURES == GST_FEATURES_MAX_FEATURES);

enum {
  PROP_0,
  PROP_FRAME_RATE,
  PROP_FRAMES_PER_BUFFER,
  PROP_NAN_IS_GAP,
};

struct _GstNpyParse {
  GstBaseParse parse;

  /* Properties. Object lock. */
  gint rate_n, rate_d;
  guint frames_per_buffer;
  gboolean nan_is_gap;

  /*
   * Written by the streaming thread under the object lock: conversions ask from anywhere. header_size is 0 until there
   * is one.
   */
  NpyHeader header;
  GstFeatures features;

  /* Streaming thread. */
  guint n_per_buffer;  /* frames_per_buffer, no more than the array has */
  gboolean splits;     /* nan_is_gap */
  guint64 next_frame;  /* behind the last one that left */
  gboolean is_discont; /* the next one continues none */
  gboolean told_size;  /* that the file is longer than its header says */
  gsize n_left_over;   /* bytes that were too few for a frame when the base class drained */
  guint64 stop_offset; /* where upstream was asked to stop, in bytes */
  GstFlowReturn flow;
};

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS ("application/x-npy"));

static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

G_DEFINE_TYPE (GstNpyParse, gst_npy_parse, GST_TYPE_BASE_PARSE)
GST_ELEMENT_REGISTER_DEFINE (npyparse, "npyparse", GST_RANK_NONE, GST_TYPE_NPY_PARSE)

static void gst_npy_parse_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
static void gst_npy_parse_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);
static gboolean gst_npy_parse_start (GstBaseParse *parse);
static gboolean gst_npy_parse_sink_event (GstBaseParse *parse, GstEvent *event);
static gboolean gst_npy_parse_src_event (GstBaseParse *parse, GstEvent *event);
static gboolean gst_npy_parse_convert (GstBaseParse *parse, GstFormat src_format, gint64 src_value,
                                       GstFormat dest_format, gint64 *dest_value);
static GstFlowReturn gst_npy_parse_handle_frame (GstBaseParse *parse, GstBaseParseFrame *frame, gint *skip_size);
static GstFlowReturn gst_npy_parse_pre_push_frame (GstBaseParse *parse, GstBaseParseFrame *frame);

static void
gst_npy_parse_class_init (GstNpyParseClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseParseClass *parse_class = GST_BASE_PARSE_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (npy_parse_debug, "npyparse", 0, "NumPy .npy reader");

  object_class->set_property = gst_npy_parse_set_property;
  object_class->get_property = gst_npy_parse_get_property;

  g_object_class_install_property (
      object_class, PROP_FRAME_RATE,
      gst_param_spec_fraction (
          "frame-rate", "Frame rate",
          "Frames per second, a fraction: 125/2, not 62.5, which GStreamer refuses. Frame i gets the time stamp "
          "i / frame-rate. A whole number goes out as audio/x-raw with that rate, another one as other/tensors. At "
          "most 10^9",
          1, G_MAXINT, MAX_RATE, 1, DEFAULT_RATE_N, DEFAULT_RATE_D,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  g_object_class_install_property (
      object_class, PROP_FRAMES_PER_BUFFER,
      g_param_spec_uint (
          "frames-per-buffer", "Frames per buffer",
          "Frames in a buffer; the last one has what is left. 1 gives the lowest latency, more the higher "
          "throughput",
          1, G_MAXINT, DEFAULT_FRAMES_PER_BUFFER,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));

  g_object_class_install_property (
      object_class, PROP_NAN_IS_GAP,
      g_param_spec_boolean ("nan-is-gap", "NaN is gap",
                            "A row that is wholly NaN is a gap: it goes out as zeros with the GAP flag, in a buffer of "
                            "its own or with its like, and attention takes it for an absent frame",
                            DEFAULT_NAN_IS_GAP, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));

  parse_class->start = GST_DEBUG_FUNCPTR (gst_npy_parse_start);
  parse_class->sink_event = GST_DEBUG_FUNCPTR (gst_npy_parse_sink_event);
  parse_class->src_event = GST_DEBUG_FUNCPTR (gst_npy_parse_src_event);
  parse_class->convert = GST_DEBUG_FUNCPTR (gst_npy_parse_convert);
  parse_class->handle_frame = GST_DEBUG_FUNCPTR (gst_npy_parse_handle_frame);
  parse_class->pre_push_frame = GST_DEBUG_FUNCPTR (gst_npy_parse_pre_push_frame);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "NumPy .npy reader", "Codec/Parser",
                                         "Reads a NumPy array of shape (frames, features) as feature vectors",
                                         "the gst-attention authors");
}

static void
gst_npy_parse_init (GstNpyParse *self)
{
  self->rate_n = DEFAULT_RATE_N;
  self->rate_d = DEFAULT_RATE_D;
  self->frames_per_buffer = DEFAULT_FRAMES_PER_BUFFER;
  self->nan_is_gap = DEFAULT_NAN_IS_GAP;
}

static void
gst_npy_parse_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstNpyParse *self = GST_NPY_PARSE (object);

  GST_OBJECT_LOCK (self);
  switch (id) {
  case PROP_FRAME_RATE:
    self->rate_n = gst_value_get_fraction_numerator (value);
    self->rate_d = gst_value_get_fraction_denominator (value);
    break;
  case PROP_FRAMES_PER_BUFFER:
    self->frames_per_buffer = g_value_get_uint (value);
    break;
  case PROP_NAN_IS_GAP:
    self->nan_is_gap = g_value_get_boolean (value);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_npy_parse_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstNpyParse *self = GST_NPY_PARSE (object);

  GST_OBJECT_LOCK (self);
  switch (id) {
  case PROP_FRAME_RATE:
    gst_value_set_fraction (value, self->rate_n, self->rate_d);
    break;
  case PROP_FRAMES_PER_BUFFER:
    g_value_set_uint (value, self->frames_per_buffer);
    break;
  case PROP_NAN_IS_GAP:
    g_value_set_boolean (value, self->nan_is_gap);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
}

/*
 * The size of the file, where it is certain: who is pulled from counts the same bytes, but a query that is pushed up
 * may be answered by a source in front of an element that decompresses.
 */
static gboolean
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

static gboolean
gst_npy_parse_start (GstBaseParse *parse)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  guint64 size;

  GST_OBJECT_LOCK (self);
  memset (&self->header, 0, sizeof self->header);
  memset (&self->features, 0, sizeof self->features);
  self->features.rate_n = self->rate_n;
  self->features.rate_d = self->rate_d;
  self->n_per_buffer = self->frames_per_buffer;
  self->splits = self->nan_is_gap;
  GST_OBJECT_UNLOCK (self);
  self->next_frame = 0;
  self->is_discont = TRUE;
  self->told_size = FALSE;
  self->n_left_over = 0;
  self->stop_offset = GST_BUFFER_OFFSET_NONE;
  self->flow = GST_FLOW_OK;

  gst_base_parse_set_frame_rate (parse, self->features.rate_n, self->features.rate_d, 0, 0);
  gst_base_parse_set_min_frame_size (parse, 1);

  /* When it pulls, the base class has nobody to tell that there was nothing. */
  if (gst_npy_parse_get_file_size (self, &size) && size == 0)
    goto empty;
  return TRUE;

empty:
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("this is no .npy file: it is empty"), (NULL));
  return FALSE;
}

/* The frame that lasts at `time`, by the time stamps as they are rounded. */
static guint64
frame_at_time (const GstFeatures *features, GstClockTime time)
{
  guint64 frame = gst_util_uint64_scale (time, features->rate_n, GST_SECOND * (guint64) features->rate_d);

  while (gst_features_duration (features, frame + 1) <= time)
    frame++;
  return frame;
}

/* The first frame that starts at `time` or later. */
static guint64
frame_from_time (const GstFeatures *features, GstClockTime time)
{
  guint64 frame = frame_at_time (features, time);

  return gst_features_duration (features, frame) < time ? frame + 1 : frame;
}

static guint64
frame_at_offset (const NpyHeader *header, guint64 offset)
{
  return offset < header->header_size ? 0 : (offset - header->header_size) / npy_header_frame_size (header);
}

static guint64
frame_offset (const NpyHeader *header, guint64 frame)
{
  return header->header_size + MIN (frame, header->n_frames) * npy_header_frame_size (header);
}

/* Where frame numbers are concerned, all formats are. FALSE: a format that is none of a file. */
static gboolean
to_frame (const NpyHeader *header, const GstFeatures *features, GstFormat format, guint64 value, guint64 *frame)
{
  switch (format) {
  case GST_FORMAT_TIME:
    *frame = frame_at_time (features, value);
    return TRUE;
  case GST_FORMAT_BYTES:
    *frame = frame_at_offset (header, value);
    return TRUE;
  case GST_FORMAT_DEFAULT:
    *frame = value;
    return TRUE;
  default:
    return FALSE;
  }
}

static gboolean
from_frame (const NpyHeader *header, const GstFeatures *features, GstFormat format, guint64 frame, gint64 *value)
{
  switch (format) {
  case GST_FORMAT_TIME:
    *value = gst_features_duration (features, frame);
    return TRUE;
  case GST_FORMAT_BYTES:
    *value = frame_offset (header, frame);
    return TRUE;
  case GST_FORMAT_DEFAULT:
    *value = frame;
    return TRUE;
  default:
    return FALSE;
  }
}

static gboolean
gst_npy_parse_convert (GstBaseParse *parse, GstFormat src_format, gint64 src_value, GstFormat dest_format,
                       gint64 *dest_value)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  GstFeatures features;
  NpyHeader header;
  guint64 frame;

  GST_OBJECT_LOCK (self);
  header = self->header;
  features = self->features;
  GST_OBJECT_UNLOCK (self);

  /* Nothing and nowhere are the same in every format. The base class uses *dest_value of the first segment unasked. */
  *dest_value = src_value;
  if (src_format == dest_format || src_value == -1)
    return TRUE;
  if (header.header_size == 0) {
    *dest_value = 0;
    return src_value == 0;
  }
  return src_value >= 0 && to_frame (&header, &features, src_format, src_value, &frame)
         && from_frame (&header, &features, dest_format, frame, dest_value);
}

/* The range of frames that the segment asks for, [*first, *last): from the one that lasts at its start. */
static void
gst_npy_parse_get_range (GstNpyParse *self, guint64 *first, guint64 *last)
{
  const GstSegment *segment = &GST_BASE_PARSE (self)->segment;

  *first = 0;
  *last = self->header.n_frames;
  if (GST_CLOCK_TIME_IS_VALID (segment->start))
    *first = frame_at_time (&self->features, segment->start);
  if (GST_CLOCK_TIME_IS_VALID (segment->stop))
    *last = MIN (*last, frame_from_time (&self->features, segment->stop));
}

static void
gst_npy_parse_refuse_size (GstNpyParse *self, const gchar *found, guint64 size)
{
  GST_ELEMENT_ERROR (self, STREAM, DECODE,
                     ("the header promises %" G_GUINT64_FORMAT " frames of %u features, %" G_GUINT64_FORMAT
                      " bytes; the file %s %" G_GUINT64_FORMAT,
                      self->header.n_frames, self->header.n_features, npy_header_data_size (&self->header), found,
                      size),
                     (NULL));
}

/* An unfinished file: what its header does not count may be a part of a frame. Said once. */
static void
gst_npy_parse_leave_out (GstNpyParse *self, const gchar *found, guint64 size)
{
  if (!self->told_size)
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
                         ("the header promises %" G_GUINT64_FORMAT " frames of %u features, %" G_GUINT64_FORMAT
                          " bytes; the file %s %" G_GUINT64_FORMAT ", and what is behind is left out",
                          self->header.n_frames, self->header.n_features, npy_header_data_size (&self->header), found,
                          size),
                         (NULL));
  self->told_size = TRUE;
}

/* The end of what was pushed: everything that was asked for must have come. */
static void
gst_npy_parse_check_end (GstNpyParse *self)
{
  gsize frame_size = npy_header_frame_size (&self->header);
  guint64 first, last;

  if (self->flow != GST_FLOW_OK)
    return; /* said already, or not ours to say */
  if (self->header.header_size == 0) {
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("this is no .npy file: it is empty"), (NULL));
    return;
  }
  gst_npy_parse_get_range (self, &first, &last);
  last = MIN (last, frame_at_offset (&self->header, self->stop_offset));
  if (self->next_frame < last)
    gst_npy_parse_refuse_size (self, "ended after", self->next_frame * frame_size + self->n_left_over);
}

static gboolean
gst_npy_parse_sink_event (GstBaseParse *parse, GstEvent *event)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  const GstSegment *segment;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_SEGMENT:
    /* The base class drains too, but with the new segment in force. */
    gst_base_parse_drain (parse);
    gst_event_parse_segment (event, &segment);
    self->stop_offset = segment->format == GST_FORMAT_BYTES ? segment->stop : GST_BUFFER_OFFSET_NONE;
    self->n_left_over = 0;
    self->is_discont = TRUE;
    break;
  case GST_EVENT_FLUSH_STOP:
    self->n_left_over = 0;
    self->is_discont = TRUE;
    self->flow = GST_FLOW_OK;
    break;
  case GST_EVENT_EOS:
    gst_base_parse_drain (parse);
    gst_npy_parse_check_end (self);
    break;
  default:
    break;
  }
  return GST_BASE_PARSE_CLASS (gst_npy_parse_parent_class)->sink_event (parse, event);
}

/*
 * The base class seeks by an index of what it has seen when it should be accurate, and by conversion when it need not.
 * Ours is exact, and does not read all that lies before. The index stays for a stop where upstream pushes: it would
 * stop short of the frame that the conversion lands on.
 */
static GstEvent *
gst_npy_parse_prepare_seek (GstNpyParse *self, GstEvent *event)
{
  gboolean pulls = GST_PAD_MODE (GST_BASE_PARSE_SINK_PAD (self)) == GST_PAD_MODE_PULL;
  GstSeekType start_type, stop_type;
  gint64 start, stop;
  GstSeekFlags flags;
  GstFormat format;
  gdouble rate;
  GstEvent *seek;

  gst_event_parse_seek (event, &rate, &format, &flags, &start_type, &start, &stop_type, &stop);
  if (pulls || stop_type == GST_SEEK_TYPE_NONE || stop == -1)
    flags &= ~GST_SEEK_FLAG_ACCURATE;
  else
    flags |= GST_SEEK_FLAG_ACCURATE;
  seek = gst_event_new_seek (rate, format, flags, start_type, start, stop_type, stop);
  gst_event_set_seqnum (seek, gst_event_get_seqnum (event));
  gst_event_unref (event);
  return seek;
}

static gboolean
gst_npy_parse_src_event (GstBaseParse *parse, GstEvent *event)
{
  gdouble rate;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    gst_event_parse_seek (event, &rate, NULL, NULL, NULL, NULL, NULL, NULL);
    if (rate < 0)
      goto backwards;
    event = gst_npy_parse_prepare_seek (GST_NPY_PARSE (parse), event);
  }
  return GST_BASE_PARSE_CLASS (gst_npy_parse_parent_class)->src_event (parse, event);

backwards:
  GST_DEBUG_OBJECT (parse, "refusing a seek with rate %g: a window of frames has one direction", rate);
  gst_event_unref (event);
  return FALSE;
}

/* Tells downstream what buffers of `n_frames` look like. audio/x-raw has no number of frames: said once, it stays. */
static GstFlowReturn
gst_npy_parse_negotiate (GstNpyParse *self, guint n_frames)
{
  GstPad *pad = GST_BASE_PARSE_SRC_PAD (self);
  GstFeatures *features = &self->features;
  GstCaps *caps = gst_features_to_caps (features->n_features, features->rate_n, features->rate_d, n_frames);
  GstCaps *current = gst_pad_get_current_caps (pad);
  gboolean accepted = current != NULL && gst_caps_is_equal (current, caps);

  if (!accepted)
    accepted = gst_pad_peer_query_accept_caps (pad, caps) && gst_pad_push_event (pad, gst_event_new_caps (caps));
  gst_caps_replace (&current, NULL);
  features->is_tensors = gst_structure_has_name (gst_caps_get_structure (caps, 0), "other/tensors");
  features->frames_per_buffer = features->is_tensors ? n_frames : 0;
  if (accepted)
    goto done;
  if (GST_PAD_IS_FLUSHING (pad))
    goto flushing;
  if (features->is_tensors)
    goto refused_tensors;

  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                     ("downstream does not take frames of %u features, %d per second as audio/x-raw",
                      features->n_features, features->rate_n / features->rate_d),
                     ("caps %" GST_PTR_FORMAT, caps));
  gst_caps_unref (caps);
  return GST_FLOW_NOT_NEGOTIATED;

refused_tensors:
  GST_ELEMENT_ERROR (
      self, STREAM, FORMAT,
      ("downstream does not take other/tensors, and frame-rate=%d/%d is no whole number of Hz, which audio/x-raw needs",
       features->rate_n, features->rate_d),
      ("caps %" GST_PTR_FORMAT, caps));
  gst_caps_unref (caps);
  return GST_FLOW_NOT_NEGOTIATED;

flushing:
  gst_caps_unref (caps);
  return GST_FLOW_FLUSHING;

done:
  gst_caps_unref (caps);
  return GST_FLOW_OK;
}

static GstFlowReturn
gst_npy_parse_refuse_header (GstNpyParse *self, GError *error)
{
  if (g_error_matches (error, NPY_ERROR, NPY_ERROR_WRONG_TYPE))
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", error->message), (NULL));
  else
    GST_ELEMENT_ERROR (self, STREAM, DECODE, ("%s", error->message), (NULL));
  g_error_free (error);
  return GST_FLOW_ERROR;
}

/* Checks a header against the properties and the file, and makes it the current one. */
static GstFlowReturn
gst_npy_parse_use_header (GstNpyParse *self, const NpyHeader *header)
{
  guint64 frames_per_buffer, size;

  GST_OBJECT_LOCK (self);
  self->header = *header;
  self->features.n_features = header->n_features;
  frames_per_buffer = MIN (self->frames_per_buffer, MAX (header->n_frames, 1));
  GST_OBJECT_UNLOCK (self);

  if (frames_per_buffer > MAX_BUFFER_SIZE / npy_header_frame_size (header))
    goto too_large;
  self->n_per_buffer = frames_per_buffer;
  if (gst_npy_parse_get_file_size (self, &size)) {
    if (size < header->header_size + npy_header_data_size (header))
      goto too_short;
    if (size > header->header_size + npy_header_data_size (header))
      gst_npy_parse_leave_out (self, "has", size - header->header_size);
  }

  gst_base_parse_set_duration (GST_BASE_PARSE (self), GST_FORMAT_TIME,
                               gst_features_duration (&self->features, header->n_frames), 0);
  return gst_npy_parse_negotiate (self, self->n_per_buffer);

too_large:
  GST_ELEMENT_ERROR (self, STREAM, DECODE,
                     ("a buffer of %" G_GUINT64_FORMAT
                      " frames of %u features is too large, expected frames-per-buffer of no more "
                      "than %" G_GSIZE_FORMAT,
                      frames_per_buffer, header->n_features, MAX_BUFFER_SIZE / npy_header_frame_size (header)),
                     (NULL));
  return GST_FLOW_ERROR;

too_short:
  gst_npy_parse_refuse_size (self, "has", size - header->header_size);
  return GST_FLOW_ERROR;
}

/* Bytes that the next buffer is made of; 1 at the end, to notice what should not be there. */
static gsize
gst_npy_parse_next_size (GstNpyParse *self, guint64 next_frame)
{
  guint64 n_frames = MIN (self->n_per_buffer, self->header.n_frames - MIN (next_frame, self->header.n_frames));

  return MAX (n_frames * npy_header_frame_size (&self->header), 1);
}

/*
 * To the base class the header is a frame like others, so that it pushes what it holds back and does not call an array
 * without frames an error. The empty buffer goes no further than pre_push_frame ().
 */
static GstFlowReturn
gst_npy_parse_handle_header (GstNpyParse *self, GstBaseParseFrame *frame)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  gsize size = gst_buffer_get_size (frame->buffer), needed;
  GError *error = NULL;
  GstFlowReturn flow;
  NpyHeader header;
  NpyResult result;
  GstMapInfo map;

  if (!gst_buffer_map (frame->buffer, &map, GST_MAP_READ))
    goto not_mapped;
  result = npy_header_read (&header, map.data, map.size, &needed, &error);
  gst_buffer_unmap (frame->buffer, &map);
  if (result == NPY_REFUSED)
    return gst_npy_parse_refuse_header (self, error);
  if (result == NPY_MORE && GST_BASE_PARSE_DRAINING (parse))
    goto truncated;
  if (result == NPY_MORE) {
    gst_base_parse_set_min_frame_size (parse, needed);
    return GST_FLOW_OK;
  }

  flow = gst_npy_parse_use_header (self, &header);
  if (flow != GST_FLOW_OK)
    return flow;
  self->next_frame = 0;
  gst_base_parse_set_min_frame_size (parse, gst_npy_parse_next_size (self, 0));
  frame->out_buffer = gst_buffer_new ();
  GST_BUFFER_PTS (frame->out_buffer) = GST_BUFFER_DTS (frame->out_buffer) = GST_BUFFER_DURATION (frame->out_buffer) = 0;
  return gst_base_parse_finish_frame (parse, frame, header.header_size);

not_mapped:
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("the buffer cannot be read"), (NULL));
  return GST_FLOW_ERROR;

truncated:
  GST_ELEMENT_ERROR (
      self, STREAM, DECODE,
      ("the header needs %" G_GSIZE_FORMAT " bytes or more; the file ended after %" G_GSIZE_FORMAT, needed, size),
      (NULL));
  return GST_FLOW_ERROR;
}

/* How many of the first `n_frames` in `input` are the same: wholly NaN, or not. */
static guint
gst_npy_parse_count_alike (GstNpyParse *self, GstBuffer *input, guint n_frames, gboolean *are_gaps)
{
  gsize frame_size = npy_header_frame_size (&self->header);
  GstMapInfo map;
  guint n = 1;

  if (!gst_buffer_map (input, &map, GST_MAP_READ))
    return n_frames; /* which says so when it copies them */
  *are_gaps = npy_values_are_nan (&self->header, map.data, self->header.n_features);
  while (n < n_frames
         && npy_values_are_nan (&self->header, map.data + n * frame_size, self->header.n_features) == *are_gaps)
    n++;
  gst_buffer_unmap (input, &map);
  return n;
}

/* `n_frames` frames from the head of `input` as float32, numbered and timed; or zeros, with the GAP flag. */
static GstBuffer *
gst_npy_parse_make_buffer (GstNpyParse *self, GstBuffer *input, guint64 first_frame, guint n_frames, gboolean are_gaps)
{
  gsize n_values = (gsize) n_frames * self->header.n_features;
  GstBuffer *buffer = gst_features_new_buffer (n_values);
  GstMapInfo in, out;

  if (buffer == NULL || !gst_buffer_map (input, &in, GST_MAP_READ))
    goto failed;
  gst_buffer_map (buffer, &out, GST_MAP_WRITE);
  if (are_gaps)
    memset (out.data, 0, out.size);
  else
    npy_values_to_float (&self->header, in.data, n_values, (gfloat *) out.data);
  gst_buffer_unmap (buffer, &out);
  gst_buffer_unmap (input, &in);

  GST_BUFFER_OFFSET (buffer) = first_frame;
  GST_BUFFER_OFFSET_END (buffer) = first_frame + n_frames;
  GST_BUFFER_PTS (buffer) = GST_BUFFER_DTS (buffer) = gst_features_duration (&self->features, first_frame);
  GST_BUFFER_DURATION (buffer) =
      gst_features_duration (&self->features, first_frame + n_frames) - GST_BUFFER_PTS (buffer);
  if (are_gaps)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (self->is_discont || first_frame != self->next_frame)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->is_discont = FALSE;
  return buffer;

failed:
  gst_clear_buffer (&buffer);
  return NULL;
}

/* `n_frames` frames, from number `first_frame`, stand at the head of frame->buffer. */
static GstFlowReturn
gst_npy_parse_push_frames (GstNpyParse *self, GstBaseParseFrame *frame, guint64 first_frame, guint n_frames)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  gboolean are_gaps = FALSE;
  gsize size;

  if (self->splits)
    n_frames = gst_npy_parse_count_alike (self, frame->buffer, n_frames, &are_gaps);
  size = (gsize) n_frames * npy_header_frame_size (&self->header);
  if (self->features.is_tensors && self->features.frames_per_buffer != n_frames) {
    GstFlowReturn flow = gst_npy_parse_negotiate (self, n_frames);

    if (flow != GST_FLOW_OK)
      return flow;
  }
  frame->out_buffer = gst_npy_parse_make_buffer (self, frame->buffer, first_frame, n_frames, are_gaps);
  if (frame->out_buffer == NULL)
    goto no_buffer;
  self->next_frame = first_frame + n_frames;
  gst_base_parse_set_min_frame_size (parse, gst_npy_parse_next_size (self, self->next_frame));
  return gst_base_parse_finish_frame (parse, frame, size);

no_buffer:
  GST_ELEMENT_ERROR (self, RESOURCE, FAILED,
                     ("no memory for %u frames of %u features", n_frames, self->features.n_features), (NULL));
  return GST_FLOW_ERROR;
}

static GstFlowReturn
gst_npy_parse_handle_frames (GstNpyParse *self, GstBaseParseFrame *frame, gint *skip_size)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  gsize frame_size = npy_header_frame_size (&self->header), size = gst_buffer_get_size (frame->buffer);
  guint64 number = frame_at_offset (&self->header, frame->offset), n_left = self->header.n_frames - number;
  guint64 misplaced = (frame->offset - self->header.header_size) % frame_size, first, last, n_frames;

  if (frame->offset >= frame_offset (&self->header, self->header.n_frames))
    goto too_long;
  if (misplaced != 0) {
    *skip_size = frame_size - misplaced;
    return GST_FLOW_OK;
  }
  if (size < frame_size) {
    self->n_left_over = GST_BASE_PARSE_DRAINING (parse) ? size : 0;
    gst_base_parse_set_min_frame_size (parse, gst_npy_parse_next_size (self, number));
    return GST_FLOW_OK;
  }

  gst_npy_parse_get_range (self, &first, &last);
  if (number >= last)
    return GST_FLOW_EOS;
  if (number < first) {
    frame->flags |= GST_BASE_PARSE_FRAME_FLAG_DROP;
    self->next_frame = MIN (first, number + MIN (n_left, size / frame_size));
    return gst_base_parse_finish_frame (parse, frame, (self->next_frame - number) * frame_size);
  }
  n_frames = MIN (self->n_per_buffer, last - number);
  if (size / frame_size < n_frames && !GST_BASE_PARSE_DRAINING (parse)) {
    gst_base_parse_set_min_frame_size (parse, n_frames * frame_size);
    return GST_FLOW_OK;
  }
  return gst_npy_parse_push_frames (self, frame, number, MIN (n_frames, size / frame_size));

too_long:
  gst_npy_parse_leave_out (self, "has at least", npy_header_data_size (&self->header) + size);
  return GST_FLOW_EOS;
}

static GstFlowReturn
gst_npy_parse_handle_frame (GstBaseParse *parse, GstBaseParseFrame *frame, gint *skip_size)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);

  /* An error is said once, though the base class tries again what it holds at EOS. */
  if (self->flow < GST_FLOW_EOS && GST_PAD_MODE (GST_BASE_PARSE_SINK_PAD (self)) == GST_PAD_MODE_PUSH)
    return self->flow;

  frame->overhead = -1;                                      /* the bit rate of raw data is no news */
  self->is_discont |= GST_BUFFER_IS_DISCONT (frame->buffer); /* which may be skipped, or be the header */
  if (self->header.header_size == 0 || frame->offset == 0) {
    self->flow = gst_npy_parse_handle_header (self, frame);
  } else if (frame->offset < self->header.header_size) {
    *skip_size = self->header.header_size - frame->offset;
    self->flow = GST_FLOW_OK;
  } else {
    self->flow = gst_npy_parse_handle_frames (self, frame, skip_size);
  }
  return self->flow;
}

/* Last word on time stamps: where upstream has its own time, the base class would use that. Raw data needs no DTS. */
static GstFlowReturn
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
