/* gst-attention: the element `npyenc`: frames in, a .npy file out.  SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-npyenc
 * @title: npyenc
 * @short_description: Writes a feature stream as a NumPy .npy file
 * @see_also: npyparse, filesink
 *
 * Writes a stream of feature vectors as one array of shape (frames, features), float32, in C order, which
 * `numpy.load()` reads.
 *
 * The number of frames stands at the beginning of the file, but it is known only at the end. So the element first
 * writes a header with 0 frames, writes it again once a second with the number of frames so far, and completes it at
 * EOS. So the sink must be able to seek. filesink, and giosink on a file, can seek. A pipe cannot, and is an error at
 * the start. So is a filesink with append=true, which always writes at the end. To stop a recording by hand, use
 * `gst-launch-1.0 -e`, which sends EOS first. A file without EOS can still be read, and lacks at most the frames of its
 * last second. Even these may be in the file, behind those that the header counts: `numpy.fromfile(name, numpy.float32,
 * offset=128)`. The same holds if the disk is full, unless a queue in front of the sink hides its failure.
 *
 * Frames are written one after the other, whatever their timestamps. A buffer with the GAP flag is written as it is, so
 * rows that npyparse took for gaps (nan-is-gap) come out of attention as zeros, not as NaN. A GAP event has no frames,
 * so the element writes nothing for it.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 audiotestsrc num-buffers=10 ! audio/x-raw,format=F32LE,rate=100,channels=2 ! npyenc ! filesink
 * location=tone.npy ]| 10 buffers of a tone as frames of 2 features. `python3 -c 'import numpy;
 * print(numpy.load("tone.npy").shape)'` says (10240, 2).
 */
#define _POSIX_C_SOURCE 200809L /* O_APPEND */
#include "gstnpyenc.h"

#include <fcntl.h>

#include "gstfeatures.h"
#include "npy.h"

GST_DEBUG_CATEGORY_STATIC (npy_enc_debug);
#define GST_CAT_DEFAULT npy_enc_debug

/* The time of input that a file may lack if it is never finished. */
#define HEADER_INTERVAL GST_SECOND

struct _GstNpyEnc {
  GstElement element;

  GstPad *sinkpad, *srcpad;
  GstClock *clock; /* of the machine, because people wait: that of the pipeline may stand still */

  /* Streaming thread. */
  GstFeatures features;     /* n_features is 0 until there are caps */
  gboolean refused;         /* an error at the start: nothing may be written */
  gboolean header_written;  /* one of those before the last */
  GstClockTime header_time; /* of `clock`, when it was */
  guint64 n_frames, n_said; /* so far; in the header */
  gboolean has_lost;        /* frames that the header must not count: the sink did not write them */
};

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS ("application/x-npy"));

G_DEFINE_TYPE (GstNpyEnc, gst_npy_enc, GST_TYPE_ELEMENT)
GST_ELEMENT_REGISTER_DEFINE (npyenc, "npyenc", GST_RANK_NONE, GST_TYPE_NPY_ENC)

static void
reset (GstNpyEnc *self)
{
  self->header_written = FALSE;
  self->n_frames = self->n_said = 0;
  self->has_lost = FALSE;
}

/* Whether the header can be completed at EOS. No answer means no. */
static gboolean
can_seek (GstNpyEnc *self)
{
  GstQuery *query = gst_query_new_seeking (GST_FORMAT_BYTES);
  gboolean seekable = FALSE;

  if (gst_pad_peer_query (self->srcpad, query))
    gst_query_parse_seeking (query, NULL, &seekable, NULL, NULL);
  gst_query_unref (query);
  return seekable;
}

/* Writes at the end of its file, wherever it is told to seek. */
static gboolean
appends (GstElement *element)
{
  GObjectClass *object_class = G_OBJECT_GET_CLASS (element);
  GParamSpec *append = g_object_class_find_property (object_class, "append"); /* filesink */
  GParamSpec *fd = g_object_class_find_property (object_class, "fd");         /* fdsink, with >> in a shell */
  gboolean result = FALSE;
  gint number;

  if (append != NULL && append->value_type == G_TYPE_BOOLEAN)
    g_object_get (element, "append", &result, NULL);
  if (fd != NULL && fd->value_type == G_TYPE_INT) {
    g_object_get (element, "fd", &number, NULL);
    result |= fcntl (number, F_GETFL) > 0 && (fcntl (number, F_GETFL) & O_APPEND);
  }
  return result;
}

/* The first such element behind `pad`. Transfer full; NULL: none. */
static GstElement *
find_appending_sink (GstPad *pad)
{
  GstPad *peer = gst_pad_get_peer (pad);
  GstElement *element = peer != NULL ? gst_pad_get_parent_element (peer) : NULL, *found = NULL;
  GstIterator *links = peer != NULL ? gst_pad_iterate_internal_links (peer) : NULL;
  GValue item = G_VALUE_INIT;

  if (element != NULL && appends (element))
    found = gst_object_ref (element);
  while (found == NULL && links != NULL && gst_iterator_next (links, &item) == GST_ITERATOR_OK) {
    found = find_appending_sink (g_value_get_object (&item));
    g_value_unset (&item);
  }
  g_clear_pointer (&links, gst_iterator_free);
  gst_clear_object (&element);
  gst_clear_object (&peer);
  return found;
}

/*
 * Pushing a segment does not tell whether it was taken: there the refusal shows with the next buffer. But a pad keeps
 * the segment that it took.
 */
static gboolean
is_refused (GstNpyEnc *self, guint32 seqnum)
{
  GstPad *peer = gst_pad_get_peer (self->srcpad);
  GstEvent *segment = peer != NULL ? gst_pad_get_sticky_event (peer, GST_EVENT_SEGMENT, 0) : NULL;
  gboolean is_stopping = peer == NULL || GST_PAD_IS_FLUSHING (peer) || GST_PAD_IS_FLUSHING (self->srcpad);
  gboolean refused = !is_stopping && (segment == NULL || gst_event_get_seqnum (segment) != seqnum);

  gst_clear_event (&segment);
  gst_clear_object (&peer);
  return refused;
}

/*
 * The next bytes stand `offset` bytes from the beginning of the file. Before a sink goes there, it writes what it holds
 * back: if it cannot, these frames are lost.
 */
static GstFlowReturn
seek_to (GstNpyEnc *self, guint64 offset)
{
  GstSegment segment;
  GstEvent *event;
  guint32 seqnum;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  segment.start = segment.time = segment.position = offset;
  event = gst_event_new_segment (&segment);
  seqnum = gst_event_get_seqnum (event);
  gst_pad_push_event (self->srcpad, event);
  if (!is_refused (self, seqnum))
    return GST_FLOW_OK;
  self->has_lost = TRUE;
  return GST_FLOW_ERROR;
}

/* The header with the frames so far, at the beginning of the file. */
static GstFlowReturn
push_header (GstNpyEnc *self)
{
  guint8 header[NPY_HEADER_SIZE];
  GstFlowReturn flow = seek_to (self, 0);
  GstBuffer *buffer;

  if (flow != GST_FLOW_OK)
    return flow;
  npy_header_write (header, self->n_frames, self->features.n_features);
  buffer = gst_buffer_new_memdup (header, sizeof header);
  GST_BUFFER_OFFSET (buffer) = 0;
  GST_BUFFER_OFFSET_END (buffer) = NPY_HEADER_SIZE;
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_HEADER);

  self->header_written = TRUE;
  self->header_time = gst_clock_get_time (self->clock);
  flow = gst_pad_push (self->srcpad, buffer);
  if (flow == GST_FLOW_OK)
    self->n_said = self->n_frames;
  return flow;
}

/* The place where the frames so far end. */
static guint64
end_of_frames (GstNpyEnc *self)
{
  return NPY_HEADER_SIZE + self->n_frames * self->features.n_features * sizeof (gfloat);
}

/*
 * Makes the file readable, even if we are killed later. The sink writes out the bytes that it holds back before it
 * seeks.
 */
static GstFlowReturn
update_header (GstNpyEnc *self)
{
  GstFlowReturn flow;

  if (GST_CLOCK_DIFF (self->header_time, gst_clock_get_time (self->clock)) < (GstClockTimeDiff) HEADER_INTERVAL)
    return GST_FLOW_OK;
  flow = push_header (self);
  return flow == GST_FLOW_OK ? seek_to (self, end_of_frames (self)) : flow;
}

/* It must take a header at EOS, at the beginning of its file. FALSE after an error message. */
static gboolean
check_sink (GstNpyEnc *self)
{
  GstElement *sink;

  if (!can_seek (self))
    goto not_seekable;
  sink = find_appending_sink (self->srcpad);
  if (sink != NULL)
    goto appending;
  return TRUE;

  /* ERRORS */
not_seekable:
  GST_ELEMENT_ERROR (self, RESOURCE, SEEK,
                     ("the sink cannot seek, so the number of frames could not be filled in at the end: "
                      "write to a file, with filesink"),
                     (NULL));
  return FALSE;

appending:
  GST_ELEMENT_ERROR (self, RESOURCE, SEEK,
                     ("%s appends to its file, but the number of frames stands at the beginning of a .npy file, which "
                      "holds one array: write a file for each stream, and join them with numpy.concatenate()",
                      GST_OBJECT_NAME (sink)),
                     (NULL));
  gst_object_unref (sink);
  return FALSE;
}

static gboolean
push_caps (GstNpyEnc *self)
{
  GstCaps *caps = gst_static_pad_template_get_caps (&src_template);
  gboolean result = gst_pad_push_event (self->srcpad, gst_event_new_caps (caps));

  gst_caps_unref (caps);
  return result;
}

static gboolean
take_caps (GstNpyEnc *self, GstCaps *caps)
{
  guint n_features = self->features.n_features; /* 0: the first caps */
  GstFeatures features;
  GError *error = NULL;

  if (self->refused)
    return FALSE; /* sticky caps come again with every buffer */
  if (!gst_features_from_caps (&features, caps, &error))
    goto wrong_caps;
  if (n_features != 0 && n_features != features.n_features)
    goto changed;
  if (n_features == 0 && !check_sink (self))
    goto refused;
  self->features = features;
  return push_caps (self);

  /* ERRORS */
wrong_caps:
  gst_features_post_error (self, error);
refused:
  self->refused = n_features == 0;
  return FALSE;

changed:
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
                     ("the stream changes from %u to %u features per frame, but an array has as many in every frame",
                      n_features, features.n_features),
                     (NULL));
  return FALSE;
}

/* Completes the header; an array without frames gets its first one here. */
static void
finish (GstNpyEnc *self)
{
  GstFlowReturn flow;

  if (self->refused)
    return;
  if (self->features.n_features == 0)
    goto no_caps;

  if (self->has_lost)
    goto lost;
  flow = push_header (self);
  if (flow != GST_FLOW_OK && flow != GST_FLOW_FLUSHING)
    goto not_written;
  GST_DEBUG_OBJECT (self, "wrote %" G_GUINT64_FORMAT " frames of %u features", self->n_frames,
                    self->features.n_features);
  return;

  /* ERRORS */
no_caps:
  GST_ELEMENT_ERROR (
      self, STREAM, WRONG_TYPE,
      ("the stream ended without caps: how many features a frame has is unknown, and nothing was written"), (NULL));
  return;

lost:
  GST_ELEMENT_ERROR (self, RESOURCE, WRITE,
                     ("the sink did not write all frames: the file says %" G_GUINT64_FORMAT
                      " frames, but %" G_GUINT64_FORMAT " have come",
                      self->n_said, self->n_frames),
                     (NULL));
  return;

not_written:
  GST_ELEMENT_ERROR (self, STREAM, MUX,
                     ("the header could not be completed: the file says %" G_GUINT64_FORMAT
                      " frames and has %" G_GUINT64_FORMAT,
                      self->n_said, self->n_frames),
                     ("flow %s", gst_flow_get_name (flow)));
}

static gboolean
gst_npy_enc_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstNpyEnc *self = GST_NPY_ENC (parent);
  gboolean result = TRUE;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    result = take_caps (self, caps);
    gst_event_unref (event);
    return result;
  case GST_EVENT_SEGMENT: /* in TIME: a file has bytes */
  case GST_EVENT_GAP:
    gst_event_unref (event);
    return TRUE;
  case GST_EVENT_FLUSH_STOP: /* filesink empties its file */
    reset (self);
    break;
  case GST_EVENT_EOS:
    finish (self);
    break;
  default:
    break;
  }
  return gst_pad_event_default (pad, parent, event);
}

static GstFlowReturn
gst_npy_enc_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstNpyEnc *self = GST_NPY_ENC (parent);
  gsize n_frames;
  GstFlowReturn flow = GST_FLOW_NOT_NEGOTIATED;
  GError *error = NULL;

  if (self->refused || self->features.n_features == 0)
    goto done;
  flow = GST_FLOW_OK;
  if (gst_buffer_get_size (buffer) == 0)
    goto done;
  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (buffer), &n_frames, &error))
    goto partial_frame;
  if (!self->header_written)
    flow = push_header (self);
  if (flow != GST_FLOW_OK)
    goto done;

  buffer = gst_buffer_make_writable (buffer);
  GST_BUFFER_OFFSET (buffer) = end_of_frames (self);
  self->n_frames += n_frames;
  GST_BUFFER_OFFSET_END (buffer) = end_of_frames (self);
  flow = gst_pad_push (self->srcpad, buffer);
  self->has_lost |= flow == GST_FLOW_ERROR; /* this buffer, and what the sink has held back */
  return flow == GST_FLOW_OK ? update_header (self) : flow;

done:
  gst_buffer_unref (buffer);
  return flow;

  /* ERRORS */
partial_frame:
  gst_buffer_unref (buffer);
  gst_features_post_error (self, error);
  return GST_FLOW_ERROR;
}

/* Bytes that are written stay written: the frames cannot be taken back. */
static gboolean
gst_npy_enc_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    GST_DEBUG_OBJECT (parent, "refusing a seek");
    gst_event_unref (event);
    return FALSE;
  }
  return gst_pad_event_default (pad, parent, event);
}

static gboolean
gst_npy_enc_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstFormat format;

  if (GST_QUERY_TYPE (query) == GST_QUERY_SEEKING) {
    gst_query_parse_seeking (query, &format, NULL, NULL, NULL);
    gst_query_set_seeking (query, format, FALSE, 0, -1);
    return TRUE;
  }
  return gst_pad_query_default (pad, parent, query);
}

/* ---- object ---- */

static GstStateChangeReturn
gst_npy_enc_change_state (GstElement *element, GstStateChange transition)
{
  GstNpyEnc *self = GST_NPY_ENC (element);
  GstStateChangeReturn result = GST_ELEMENT_CLASS (gst_npy_enc_parent_class)->change_state (element, transition);

  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
    reset (self);
    self->features.n_features = 0;
    self->refused = FALSE;
  }
  return result;
}

static void
gst_npy_enc_finalize (GObject *object)
{
  gst_object_unref (GST_NPY_ENC (object)->clock);
  G_OBJECT_CLASS (gst_npy_enc_parent_class)->finalize (object);
}

static void
gst_npy_enc_class_init (GstNpyEncClass *klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (npy_enc_debug, "npyenc", 0, "NumPy .npy writer");

  G_OBJECT_CLASS (klass)->finalize = gst_npy_enc_finalize;
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_npy_enc_change_state);
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "NumPy .npy writer", "Codec/Muxer",
                                         "Writes feature vectors as a NumPy array of shape (frames, features)",
                                         "the gst-attention authors");
}

static void
gst_npy_enc_init (GstNpyEnc *self)
{
  self->clock = gst_system_clock_obtain ();
  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_npy_enc_chain));
  gst_pad_set_event_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_npy_enc_sink_event));
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_npy_enc_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_npy_enc_src_query));
  gst_pad_use_fixed_caps (self->srcpad);
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
