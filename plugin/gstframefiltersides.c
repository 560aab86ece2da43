/*
 * gst-attention: GstFrameFilter: the pads beside `src`. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pads come and go in any thread, under the object lock; what leaves them is the streaming thread's. A pad says what
 * `src` says, in the same order: each event is pushed to all, and a pad that has just come is told what `src` was told
 * last when the first thing leaves it.
 */
#include "gstframefilter-private.h"

/* ---- pads ---- */

Line *
gst_frame_filter_side (GstFrameFilter *self, guint side)
{
  return side < self->sides->len ? g_ptr_array_index (self->sides, side) : NULL;
}

void
gst_frame_filter_for_each_side (GstFrameFilter *self, void (*function) (GstFrameFilter *self, Line *line))
{
  guint i;

  for (i = 0; i < self->sides->len; i++)
    if (gst_frame_filter_side (self, i) != NULL)
      function (self, gst_frame_filter_side (self, i));
}

GstPad *
gst_frame_filter_ref_side_pad (GstFrameFilter *self, guint side)
{
  GstPad *pad = NULL;

  GST_OBJECT_LOCK (self);
  if (side < self->side_pads->len && g_ptr_array_index (self->side_pads, side) != NULL)
    pad = gst_object_ref (g_ptr_array_index (self->side_pads, side));
  GST_OBJECT_UNLOCK (self);
  return pad;
}

static guint
side_of (GstPad *pad)
{
  return GPOINTER_TO_UINT (gst_pad_get_element_private (pad));
}

/* Called with the object lock. */
static void
set_pad (GstFrameFilter *self, guint side, GstPad *pad)
{
  if (side >= self->side_pads->len)
    g_ptr_array_set_size (self->side_pads, side + 1);
  g_ptr_array_index (self->side_pads, side) = pad;
  g_atomic_int_add (&self->n_side_pads, pad != NULL ? 1 : -1);
}

gboolean
gst_frame_filter_is_watched (GstFrameFilter *self, guint side)
{
  GstPad *pad;

  if (g_atomic_int_get (&self->post_messages))
    return TRUE;
  if (g_atomic_int_get (&self->n_side_pads) == 0)
    return FALSE;
  pad = gst_frame_filter_ref_side_pad (self, side);
  if (pad != NULL)
    gst_object_unref (pad);
  return pad != NULL;
}

gboolean
gst_frame_filter_refuses_event (GstFrameFilter *self, GstEvent *event)
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

static gboolean
gst_frame_filter_side_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_QOS:         /* if a picture is late, the frames that it shows still count */
  case GST_EVENT_RECONFIGURE: /* the caps follow from those of `sink` alone */
    gst_event_unref (event);
    return TRUE;
  default:
    return !gst_frame_filter_refuses_event (GST_FRAME_FILTER (parent), event)
           && gst_pad_event_default (pad, parent, event);
  }
}

static gboolean
gst_frame_filter_side_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_frame_filter_query_latency (GST_FRAME_FILTER (parent), side_of (pad), query);
  return gst_pad_query_default (pad, parent, query);
}

static GstPad *
make_pad (guint side, GstPadTemplate *template, const gchar *name)
{
  GstPad *pad = gst_pad_new_from_template (template, name);

  gst_pad_set_element_private (pad, GUINT_TO_POINTER (side));
  gst_pad_set_event_function (pad, GST_DEBUG_FUNCPTR (gst_frame_filter_side_event));
  gst_pad_set_query_function (pad, GST_DEBUG_FUNCPTR (gst_frame_filter_side_query));
  gst_pad_use_fixed_caps (pad);
  gst_pad_set_active (pad, TRUE);
  return pad;
}

GstPad *
gst_frame_filter_add_side_pad (GstFrameFilter *self, guint side, GstPadTemplate *template, const gchar *name)
{
  GstPad *pad = gst_frame_filter_ref_side_pad (self, side);

  if (pad != NULL) {
    GST_WARNING_OBJECT (self, "there is a pad %s already: put a tee behind it", name);
    gst_object_unref (pad);
    return NULL;
  }
  pad = make_pad (side, template, name);
  if (!gst_element_add_pad (GST_ELEMENT (self), pad))
    return NULL;
  GST_OBJECT_LOCK (self);
  set_pad (self, side, pad);
  gst_flow_combiner_add_pad (self->flows, pad);
  GST_OBJECT_UNLOCK (self);
  return pad;
}

/* Called with the object lock. */
static gboolean
is_side_pad (GstFrameFilter *self, GstPad *pad)
{
  return side_of (pad) < self->side_pads->len && g_ptr_array_index (self->side_pads, side_of (pad)) == pad;
}

void
gst_frame_filter_remove_side_pad (GstFrameFilter *self, GstPad *pad)
{
  GST_OBJECT_LOCK (self);
  if (is_side_pad (self, pad)) {
    set_pad (self, side_of (pad), NULL);
    gst_flow_combiner_remove_pad (self->flows, pad);
  }
  GST_OBJECT_UNLOCK (self);
  gst_pad_set_active (pad, FALSE);
  gst_element_remove_pad (GST_ELEMENT (self), pad);
}

/* ---- results of their pushes ---- */

GstFlowReturn
gst_frame_filter_combine_flow (GstFrameFilter *self, GstPad *pad, GstFlowReturn flow)
{
  /* Most often there is one pad, and all is well. */
  if (flow == GST_FLOW_OK && self->flow == GST_FLOW_OK && g_atomic_int_get (&self->n_side_pads) == 0)
    return GST_FLOW_OK;
  GST_OBJECT_LOCK (self);
  if (pad == GST_BASE_TRANSFORM_SRC_PAD (self) || is_side_pad (self, pad))
    self->flow = gst_flow_combiner_update_pad_flow (self->flows, pad, flow);
  else
    self->flow = GST_FLOW_OK; /* released in the meantime: its answer counts no more */
  GST_OBJECT_UNLOCK (self);
  return self->flow;
}

void
gst_frame_filter_reset_flows (GstFrameFilter *self)
{
  GST_OBJECT_LOCK (self);
  gst_flow_combiner_reset (self->flows);
  self->flow = GST_FLOW_OK;
  GST_OBJECT_UNLOCK (self);
}

/* ---- events ---- */

static GstEvent *
make_stream_start (GstPad *pad, GstEvent *event)
{
  const gchar *upstream;
  gchar *id;

  gst_event_parse_stream_start (event, &upstream);
  id = g_strdup_printf ("%s/%s", upstream, GST_PAD_NAME (pad));
  event = gst_event_copy (event); /* with its sequence number */
  gst_structure_set (gst_event_writable_structure (event), "stream-id", G_TYPE_STRING, id, NULL);
  g_free (id);
  return event;
}

static GstEvent *
make_caps (GstFrameFilter *self, GstPad *pad, GstEvent *event)
{
  GstCaps *caps;

  gst_event_parse_caps (event, &caps);
  caps = GST_FRAME_FILTER_GET_CLASS (self)->make_side_caps (self, side_of (pad), caps);
  event = gst_event_new_caps (caps);
  gst_caps_unref (caps);
  return event;
}

/*
 * The form of `event` of `src` on the pad of a side. Transfer full. NULL: nothing. That `src` has caps does not mean
 * that there is a layer: those that came after them may have been refused. Nor does a pad mean that the layer has that
 * side: the file may have been set while another one runs.
 */
static GstEvent *
translate (GstFrameFilter *self, GstPad *pad, GstEvent *event)
{
  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
    return make_stream_start (pad, event);
  case GST_EVENT_CAPS:
    return self->layer != NULL && side_of (pad) < self->n_sides ? make_caps (self, pad, event) : NULL;
  default:
    return gst_event_ref (event);
  }
}

typedef struct {
  GstFrameFilter *self;
  GstPad *pad;
} Telling;

static gboolean
tell_sticky (GstPad *src, GstEvent **event, gpointer data)
{
  Telling *telling = data;
  GstEvent *told = translate (telling->self, telling->pad, *event);

  if (told != NULL)
    gst_pad_store_sticky_event (telling->pad, told);
  gst_clear_event (&told);
  return TRUE;
}

static gboolean
was_told (GstPad *pad, GstEventType type)
{
  GstEvent *event = gst_pad_get_sticky_event (pad, type, 0);

  if (event != NULL)
    gst_event_unref (event);
  return event != NULL;
}

/* A pad without a STREAM_START has just come, or been activated: the sticky events of `src` come first. */
static void
catch_up (GstFrameFilter *self, GstPad *pad)
{
  Telling telling = { self, pad };

  if (!was_told (pad, GST_EVENT_STREAM_START))
    gst_pad_sticky_events_foreach (GST_BASE_TRANSFORM_SRC_PAD (self), tell_sticky, &telling);
}

static void
push_event (GstFrameFilter *self, GstPad *pad, GstEvent *event)
{
  GstEvent *translated;

  if (GST_EVENT_IS_SERIALIZED (event) && GST_EVENT_TYPE (event) != GST_EVENT_FLUSH_STOP)
    catch_up (self, pad);
  translated = translate (self, pad, event);
  if (translated != NULL)
    gst_pad_push_event (pad, translated);
}

void
gst_frame_filter_push_event_to_side (GstFrameFilter *self, guint side, GstEvent *event)
{
  GstPad *pad = gst_frame_filter_ref_side_pad (self, side);

  if (pad == NULL)
    return;
  push_event (self, pad, event);
  gst_object_unref (pad);
}

static guint
count_sides (GstFrameFilter *self)
{
  guint n;

  GST_OBJECT_LOCK (self);
  n = self->side_pads->len;
  GST_OBJECT_UNLOCK (self);
  return n;
}

void
gst_frame_filter_push_event_to_sides (GstFrameFilter *self, GstEvent *event, gboolean to_lines)
{
  guint i;

  if (g_atomic_int_get (&self->n_side_pads) == 0)
    return;
  for (i = 0; i < count_sides (self); i++)
    if (to_lines || gst_frame_filter_side (self, i) == NULL)
      gst_frame_filter_push_event_to_side (self, i, event);
}

/* ---- buffers ---- */

GstFlowReturn
gst_frame_filter_push_side (GstFrameFilter *self, guint side, GstBuffer *rows)
{
  GstPad *pad = gst_frame_filter_ref_side_pad (self, side);
  GstFlowReturn flow = GST_FLOW_FLUSHING;

  if (pad == NULL) {
    gst_buffer_unref (rows);
    return GST_FLOW_OK;
  }
  catch_up (self, pad);
  if (was_told (pad, GST_EVENT_SEGMENT))
    flow = gst_pad_push (pad, rows);
  else /* `src` has just been deactivated, and has forgotten its sticky events */
    gst_buffer_unref (rows);
  flow = gst_frame_filter_combine_flow (self, pad, flow);
  gst_object_unref (pad);
  return flow;
}
