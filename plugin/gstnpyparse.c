/* gst-attention: the element `npyparse`: a .npy file in, frames out.  SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-npyparse
 * @title: npyparse
 * @short_description: Reads a NumPy .npy file as a feature stream
 * @see_also: npyenc, filesrc
 *
 * Reads a file of `numpy.save()`: an array of shape (frames, features), or (frames,), which is one feature per frame.
 * float16, float32 and float64 of either byte order go out as float32. A float64 is rounded to nearest even, and
 * becomes infinity beyond the range of float32. The element refuses an array in Fortran order; `numpy.save(name,
 * numpy.ascontiguousarray(array))` writes it in C order.
 *
 * A file that holds fewer frames than its header says is an error. A file may hold more, for instance if npyenc was
 * killed. It then ends with the last frame that the header counts, as for `numpy.load()`, and a warning message reports
 * it.
 *
 * The file has no times. #GstNpyParse:frame-rate is the number of frames per second. Frame i has the timestamp i /
 * frame-rate, rounded to the nearest nanosecond, and its number is in the buffer's offset. The caps are audio/x-raw
 * with one channel per feature if the frame rate is a whole number of Hz, else other/tensors.
 *
 * In most arrays NaN stands for values that a sensor did not measure, and one row of NaN spoils every window that it is
 * in. With #GstNpyParse:nan-is-gap a row of nothing but NaN becomes a gap: zeros with the GAP flag, which `attention`
 * counts as an absent frame. It is still a row if the array is written again: npyenc writes zeros, not NaN. Rows with
 * at least one number go out as they are.
 *
 * Seeks in TIME, DEFAULT (frames) and BYTES land exactly on the frame at that place. Rates below 0 are refused.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse frame-rate=100/1 ! attention window=64 ! npyenc ! filesink
 * location=out.npy ]| Parameter-free attention over an array, frame by frame.
 */
#include "gstnpyparse-private.h"

#include <string.h>

#include "npyplace.h"

GST_DEBUG_CATEGORY (gst_npy_parse_debug);

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

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS ("application/x-npy"));

static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

G_DEFINE_TYPE (GstNpyParse, gst_npy_parse, GST_TYPE_BASE_PARSE)
GST_ELEMENT_REGISTER_DEFINE (npyparse, "npyparse", GST_RANK_NONE, GST_TYPE_NPY_PARSE)

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

static void
install_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_FRAME_RATE,
      gst_param_spec_fraction (
          "frame-rate", "Frame rate",
          "Frames per second, a fraction: 125/2, not 62.5, which GStreamer refuses. Frame i gets the time stamp "
          "i / frame-rate. A whole number goes out as audio/x-raw with that rate, another one as other/tensors. At "
          "most 10^9",
          1, G_MAXINT, MAX_RATE, 1, DEFAULT_RATE_N, DEFAULT_RATE_D, flags));
  g_object_class_install_property (
      object_class, PROP_FRAMES_PER_BUFFER,
      g_param_spec_uint ("frames-per-buffer", "Frames per buffer",
                         "Number of frames in a buffer; the last buffer has the remaining ones. 1 gives the lowest "
                         "latency; a larger number gives a higher throughput",
                         1, G_MAXINT, DEFAULT_FRAMES_PER_BUFFER, flags));

  g_object_class_install_property (
      object_class, PROP_NAN_IS_GAP,
      g_param_spec_boolean ("nan-is-gap", "NaN is gap",
                            "Treat a row of nothing but NaN as a gap. It goes out as zeros with the GAP flag, in a "
                            "buffer that holds only such rows, and attention counts it as an absent frame",
                            DEFAULT_NAN_IS_GAP, flags));
}

/* ---- the ends of a file ---- */

static void
refuse_empty (GstNpyParse *self)
{
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("this is not a .npy file: it is empty"), (NULL));
}

/* What a run begins with: the settings, and nothing of a file. */
static void
begin_run (GstNpyParse *self)
{
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
}

static gboolean
gst_npy_parse_start (GstBaseParse *parse)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  guint64 size;

  begin_run (self);
  gst_base_parse_set_frame_rate (parse, self->features.rate_n, self->features.rate_d, 0, 0);
  gst_base_parse_set_min_frame_size (parse, 1);

  /* When it pulls, the base class has nobody to tell that there was nothing. */
  if (gst_npy_parse_get_file_size (self, &size) && size == 0)
    goto empty;
  return TRUE;

  /* ERRORS */
empty:
  refuse_empty (self);
  return FALSE;
}

/* The end of what was pushed: everything that was asked for must have come. */
static void
check_end (GstNpyParse *self)
{
  gsize frame_size = npy_header_frame_size (&self->header);
  guint64 first, last;

  if (self->flow != GST_FLOW_OK)
    return; /* said already, or not ours to say */
  if (self->header.header_size == 0)
    goto empty;
  gst_npy_parse_get_range (self, &first, &last);
  last = MIN (last, npy_frame_at_offset (&self->header, self->stop_offset));
  if (self->next_frame < last)
    gst_npy_parse_refuse_size (self, "ended after", self->next_frame * frame_size + self->n_left_over);
  return;

  /* ERRORS */
empty:
  refuse_empty (self);
}

/* ---- events, conversions ---- */

static gboolean
gst_npy_parse_convert (GstBaseParse *parse, GstFormat src_format, gint64 src_value, GstFormat dest_format,
                       gint64 *dest_value)
{
  GstNpyParse *self = GST_NPY_PARSE (parse);
  GstFeatures features;
  NpyHeader header;

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
  return src_value >= 0 && npy_place_convert (&header, &features, src_format, src_value, dest_format, dest_value);
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
    check_end (self);
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
prepare_seek (GstNpyParse *self, GstEvent *event)
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
    event = prepare_seek (GST_NPY_PARSE (parse), event);
  }
  return GST_BASE_PARSE_CLASS (gst_npy_parse_parent_class)->src_event (parse, event);

  /* ERRORS */
backwards:
  GST_DEBUG_OBJECT (parse, "refusing a seek with rate %g: a window of frames has one direction", rate);
  gst_event_unref (event);
  return FALSE;
}

/* ---- object ---- */

static void
gst_npy_parse_class_init (GstNpyParseClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseParseClass *parse_class = GST_BASE_PARSE_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_npy_parse_debug, "npyparse", 0, "NumPy .npy reader");

  object_class->set_property = gst_npy_parse_set_property;
  object_class->get_property = gst_npy_parse_get_property;
  install_properties (object_class);

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
