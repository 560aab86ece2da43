/*
 * gst-attention: the element `attention`: the pad `weights`, which shows what each head attends to.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pads come and go in any thread, under the object lock; what leaves them is the streaming thread's. The pad says what
 * `src` says, in the same order: each event is pushed to both, and a pad that has just come is told what `src` was told
 * last when the first thing leaves it.
 */
#include "gstattention-private.h"

/* ---- the pad ---- */

static GstPad *
ref_pad (GstAttention *self)
{
  GstPad *pad;

  GST_OBJECT_LOCK (self);
  pad = self->weights_pad != NULL ? gst_object_ref (self->weights_pad) : NULL;
  GST_OBJECT_UNLOCK (self);
  return pad;
}

static gboolean
handle_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_QOS:         /* that a picture is late is no reason to skip what it shows */
  case GST_EVENT_RECONFIGURE: /* the caps follow from those of `sink` alone */
    gst_event_unref (event);
    return TRUE;
  default:
    return !gst_attention_refuses_event (GST_ATTENTION (parent), event) && gst_pad_event_default (pad, parent, event);
  }
}

static gboolean
handle_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_attention_query_latency (GST_ATTENTION (parent), query);
  return gst_pad_query_default (pad, parent, query);
}

GstPad *
gst_attention_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name, const GstCaps *caps)
{
  GstAttention *self = GST_ATTENTION (element);
  GstPad *pad = ref_pad (self);

  if (pad != NULL) {
    GST_WARNING_OBJECT (self, "there is a pad weights already: put a tee behind it");
    gst_object_unref (pad);
    return NULL;
  }
  pad = gst_pad_new_from_template (template, "weights");
  gst_pad_set_event_function (pad, handle_event);
  gst_pad_set_query_function (pad, handle_query);
  gst_pad_use_fixed_caps (pad);
  gst_pad_set_active (pad, TRUE);
  if (!gst_element_add_pad (element, pad))
    return NULL;
  GST_OBJECT_LOCK (self);
  g_atomic_pointer_set (&self->weights_pad, pad);
  gst_flow_combiner_add_pad (self->flows, pad);
  GST_OBJECT_UNLOCK (self);
  return pad;
}

void
gst_attention_release_pad (GstElement *element, GstPad *pad)
{
  GstAttention *self = GST_ATTENTION (element);

  GST_OBJECT_LOCK (self);
  if (self->weights_pad == pad) {
    g_atomic_pointer_set (&self->weights_pad, NULL);
    gst_flow_combiner_remove_pad (self->flows, pad);
  }
  GST_OBJECT_UNLOCK (self);
  gst_pad_set_active (pad, FALSE);
  gst_element_remove_pad (element, pad);
}

GstFlowReturn
gst_attention_combine_flow (GstAttention *self, GstPad *pad, GstFlowReturn flow)
{
  /* Most often there is one pad, and all is well. */
  if (flow == GST_FLOW_OK && self->flow == GST_FLOW_OK && g_atomic_pointer_get (&self->weights_pad) == NULL)
    return GST_FLOW_OK;
  GST_OBJECT_LOCK (self);
  if (pad == self->weights_pad || pad == GST_BASE_TRANSFORM_SRC_PAD (self))
    self->flow = gst_flow_combiner_update_pad_flow (self->flows, pad, flow);
  else
    self->flow = GST_FLOW_OK; /* released in the meantime: its answer counts no more */
  GST_OBJECT_UNLOCK (self);
  return self->flow;
}

void
gst_attention_reset_flows (GstAttention *self)
{
  GST_OBJECT_LOCK (self);
  gst_flow_combiner_reset (self->flows);
  self->flow = GST_FLOW_OK;
  GST_OBJECT_UNLOCK (self);
}

/* ---- events ---- */

static guint64
n_weights (GstAttention *self)
{
  return (guint64) attn_layer_n_heads (self->layer) * attn_layer_span (self->layer);
}

static GstEvent *
make_stream_start (GstEvent *event)
{
  const gchar *upstream;
  gchar *id;

  gst_event_parse_stream_start (event, &upstream);
  id = g_strdup_printf ("%s/weights", upstream);
  event = gst_event_copy (event); /* with its sequence number */
  gst_structure_set (gst_event_writable_structure (event), "stream-id", G_TYPE_STRING, id, NULL);
  g_free (id);
  return event;
}

static GstEvent *
make_caps (GstAttention *self, GstEvent *event)
{
  GstCaps *caps;

  gst_event_parse_caps (event, &caps);
  caps = gst_features_replace_n_features (caps, n_weights (self));
  gst_caps_set_simple (caps, "heads", G_TYPE_INT, attn_layer_n_heads (self->layer), "sinks", G_TYPE_INT,
                       attn_layer_n_sinks (self->layer), "window", G_TYPE_INT, attn_layer_window (self->layer),
                       "look-ahead", G_TYPE_INT, attn_layer_attention (self->layer, 0)->look_ahead, NULL);
  event = gst_event_new_caps (caps);
  gst_caps_unref (caps);
  return event;
}

/*
 * What `event` of `src` is on the pad `weights`. Transfer full. NULL: nothing. That `src` has caps does not mean that
 * there is a layer: those that came after them may have been refused.
 */
static GstEvent *
translate (GstAttention *self, GstEvent *event)
{
  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
    return make_stream_start (event);
  case GST_EVENT_CAPS:
    return self->layer != NULL ? make_caps (self, event) : NULL;
  default:
    return gst_event_ref (event);
  }
}

typedef struct {
  GstAttention *self;
  GstPad *pad;
} Telling;

static gboolean
tell_sticky (GstPad *src, GstEvent **event, gpointer data)
{
  Telling *telling = data;
  GstEvent *told = translate (telling->self, *event);

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

/* A pad without a STREAM_START has just come, or been activated: what `src` was told comes first. */
static void
catch_up (GstAttention *self, GstPad *pad)
{
  Telling telling = { self, pad };

  if (!was_told (pad, GST_EVENT_STREAM_START))
    gst_pad_sticky_events_foreach (GST_BASE_TRANSFORM_SRC_PAD (self), tell_sticky, &telling);
}

void
gst_attention_push_event_to_weights (GstAttention *self, GstEvent *event)
{
  GstPad *pad = ref_pad (self);
  GstEvent *translated;

  if (pad == NULL)
    return;
  if (GST_EVENT_IS_SERIALIZED (event) && GST_EVENT_TYPE (event) != GST_EVENT_FLUSH_STOP)
    catch_up (self, pad);
  translated = translate (self, event);
  if (translated != NULL)
    gst_pad_push_event (pad, translated);
  gst_object_unref (pad);
}

/* ---- buffers ---- */

static GstBuffer *
make_buffer (GstAttention *self, GstBuffer *input, guint64 n_frames)
{
  GstBuffer *buffer = gst_features_new_buffer (n_frames * n_weights (self));

  if (buffer != NULL)
    gst_buffer_copy_into (buffer, input, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_TIMESTAMPS, 0, -1);
  return buffer;
}

gboolean
gst_attention_add_weights (GstAttention *self, Item *item, GstBuffer *input)
{
  if (g_atomic_pointer_get (&self->weights_pad) == NULL && !g_atomic_int_get (&self->post_messages))
    return TRUE;
  if (n_weights (self) > GST_FEATURES_MAX_FEATURES)
    goto too_wide;
  item->weights = make_buffer (self, input, item->n_frames);
  if (item->weights == NULL
      || (item->n_frames > 0 && !gst_buffer_map (item->weights, &item->weights_map, GST_MAP_WRITE)))
    goto no_memory;
  return TRUE;

  /* ERRORS */
too_wide : {
  GST_ELEMENT_ERROR (
      self, LIBRARY, SETTINGS,
      ("%u heads that attend to %u frames have %" G_GUINT64_FORMAT " weights per frame, above the %u that a stream of "
       "weights may have: do without the pad weights and post-messages, or with a smaller window",
       attn_layer_n_heads (self->layer), attn_layer_span (self->layer), n_weights (self), GST_FEATURES_MAX_FEATURES),
      (NULL));
  return FALSE;
}
no_memory : {
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
                     ("no memory for the weights of %" G_GUINT64_FORMAT " frames", item->n_frames), (NULL));
  return FALSE;
}
}

GstFlowReturn
gst_attention_push_weights (GstAttention *self, GstBuffer *weights)
{
  GstPad *pad = ref_pad (self);
  GstFlowReturn flow = GST_FLOW_FLUSHING;

  if (pad == NULL) {
    gst_buffer_unref (weights);
    return GST_FLOW_OK;
  }
  catch_up (self, pad);
  if (was_told (pad, GST_EVENT_SEGMENT))
    flow = gst_pad_push (pad, weights);
  else /* `src` has just been deactivated, and forgotten what it was told */
    gst_buffer_unref (weights);
  flow = gst_attention_combine_flow (self, pad, flow);
  gst_object_unref (pad);
  return flow;
}
