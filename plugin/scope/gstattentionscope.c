/*
 * gst-attention: the element `attentionscope`: its pads, caps and events.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
/**
 * SECTION:element-attentionscope
 * @title: attentionscope
 * @short_description: Draws what each head attends to
 * @see_also: attention, npyenc
 *
 * Turns attention weights into video: those from the pad `weights` of attention, or from a pad `weights_%u` of
 * attentionencoder. Each head has a panel, in which each frame of the stream is a column, the newest on the right. The
 * vertical axis is the lag: the distance to the attended frame, in frames. The frame itself has lag 0, and later frames
 * (look-ahead) have negative lags. Sinks that the window has left behind have a strip at the top. The colour is the
 * weight; the bar on the right is its scale.
 *
 * A frame of video adds the columns that arrived since the last one. Its right edge is the end of its own time; the
 * last frame before the end of a stream may be shorter. Downstream chooses the size and the frame rate (the default is
 * 1280x720 at 25 frames per second), and can change them at any time. The latency is one frame of video.
 *
 * If there are more slots than rows of pixels, or more columns than pixels, the largest weight is shown, so a head that
 * looks at a single frame stays a bright line. Grey marks columns without a frame, or with a frame that could attend to
 * nothing. Red marks a weight that is NaN.
 *
 * Absent frames and gaps scroll through as grey, until the picture is empty; the rest of a long gap leaves as a GAP
 * event. A new stream, new caps, a new segment, time that goes back, and a change of the properties clear the picture.
 * If the stream has no timestamps, the element uses its frame rate. If it has no frame rate either, a column takes one
 * frame of video.
 *
 * The caps must describe a row of weights in the fields heads, sinks, window and look-ahead, as those of the pads with
 * weights do. For weights from a file, put these fields back: `npyparse ! capssetter caps="audio/x-raw, heads=4,
 * sinks=0, window=100, look-ahead=0"`.
 *
 * Colour maps are those of matplotlib by S. van der Walt, N. Smith and E. Firing: equal steps of the weight look equal.
 * Labels need Pango at build time (the option `text`).
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! audioconvert ! audioresample ! logmel ! attention name=a
 * heads=4 window=100 scale=0.005 a.weights ! queue ! attentionscope ! videoconvert ! autovideosink ]| Shows live what
 * four heads attend to in recorded speech.
 * |[ gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention name=a heads=4 a.weights ! queue !
 * attentionscope seconds=5 ! video/x-raw,width=1280,height=720,framerate=1/100000 ! videoconvert ! pngenc ! filesink
 * location=attention.png ]| One picture of the last five seconds. The frame of video is so long that only one comes, at
 * the end of the stream. This sink waits for the end: if the pipeline has other sinks, it needs async=false.
 */
#include "gstattentionscope-private.h"

GST_DEBUG_CATEGORY_STATIC (gst_attention_scope_debug);
#define GST_CAT_DEFAULT gst_attention_scope_debug

/* What Cairo draws into, 0xffrrggbb as a word of the machine. */
#if G_BYTE_ORDER == G_LITTLE_ENDIAN
#define FORMATS "{ BGRx, BGRA }"
#else
#define FORMATS "{ xRGB, ARGB }"
#endif
#define SRC_CAPS                                                                                 \
  "video/x-raw, format=(string)" FORMATS ", width=(int)[ 64, 8192 ], height=(int)[ 64, 8192 ], " \
  "framerate=(fraction)[ 1/2147483647, 2147483647/1 ]"

#define DEFAULT_WIDTH 1280
#define DEFAULT_HEIGHT 720
#define DEFAULT_RATE_N 25
#define DEFAULT_RATE_D 1

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (SRC_CAPS));

G_DEFINE_TYPE (GstAttentionScope, gst_attention_scope, GST_TYPE_ELEMENT)
GST_ELEMENT_REGISTER_DEFINE (attentionscope, "attentionscope", GST_RANK_NONE, GST_TYPE_ATTENTION_SCOPE)

/* ---- caps ---- */

/* FALSE, with a sentence. */
#define wrong_caps(error, ...) (g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE, __VA_ARGS__), FALSE)

static gboolean
read_field (const GstStructure *structure, const gchar *name, gint least, guint *value, GError **error)
{
  gint number;

  if (!gst_structure_get_int (structure, name, &number))
    return wrong_caps (error,
                       "the caps have no %s=(int): attentionscope takes attention weights, from a pad weights of "
                       "attention or attentionencoder, whose caps have heads, sinks, window and look-ahead",
                       name);
  if (number < least)
    return wrong_caps (error, "the caps have %s=%d, expected at least %d", name, number, least);
  *value = number;
  return TRUE;
}

/* FALSE, with an error, when the caps do not describe a row of weights, or contradict themselves. */
static gboolean
read_shape (ScopeShape *shape, const GstFeatures *features, const GstCaps *caps, GError **error)
{
  const GstStructure *structure = gst_caps_get_structure (caps, 0);
  guint64 n_weights;

  if (!read_field (structure, "heads", 1, &shape->n_heads, error)
      || !read_field (structure, "sinks", 0, &shape->n_sinks, error)
      || !read_field (structure, "window", 1, &shape->window, error)
      || !read_field (structure, "look-ahead", 0, &shape->look_ahead, error))
    return FALSE;
  n_weights = (guint64) shape->n_sinks + shape->window + shape->look_ahead;
  if (n_weights > features->n_features || n_weights * shape->n_heads != features->n_features)
    return wrong_caps (error,
                       "the caps have heads=%u, sinks=%u, window=%u and look-ahead=%u, that is %u x %" G_GUINT64_FORMAT
                       " weights per frame, but frames of %u features",
                       shape->n_heads, shape->n_sinks, shape->window, shape->look_ahead, shape->n_heads, n_weights,
                       features->n_features);
  return TRUE;
}

static gboolean
make_picture (GstAttentionScope *self)
{
  ScopeSettings settings;
  GError *error = NULL;

  GST_OBJECT_LOCK (self);
  settings = self->settings;
  self->settings_changed = FALSE;
  GST_OBJECT_UNLOCK (self);
  g_clear_pointer (&self->picture, scope_picture_free);
  self->picture = scope_picture_new (&self->shape, &settings, GST_VIDEO_INFO_WIDTH (&self->info),
                                     GST_VIDEO_INFO_HEIGHT (&self->info), &error);
  if (self->picture == NULL)
    gst_features_post_error (self, error);
  return self->picture != NULL;
}

static void
free_pool (GstAttentionScope *self)
{
  if (self->pool != NULL)
    gst_buffer_pool_set_active (self->pool, FALSE);
  gst_clear_object (&self->pool);
}

/* Takes over the pool. FALSE, and the pool is gone, when it cannot give such buffers. */
static gboolean
take_pool (GstAttentionScope *self, GstBufferPool *pool, GstCaps *caps, GstQuery *query, guint size, guint min,
           guint max)
{
  GstStructure *config = gst_buffer_pool_get_config (pool);
  GstAllocationParams params;
  GstAllocator *allocator = NULL;

  gst_buffer_pool_config_set_params (config, caps, MAX (size, GST_VIDEO_INFO_SIZE (&self->info)), min, max);
  if (gst_query_get_n_allocation_params (query) > 0) {
    gst_query_parse_nth_allocation_param (query, 0, &allocator, &params);
    gst_buffer_pool_config_set_allocator (config, allocator, &params);
    gst_clear_object (&allocator);
  }
  if (gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL))
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config (pool, config) || !gst_buffer_pool_set_active (pool, TRUE)) {
    gst_object_unref (pool);
    return FALSE;
  }
  self->pool = pool;
  return TRUE;
}

/* Downstream's pool, or one of ours. */
static gboolean
negotiate_pool (GstAttentionScope *self, GstCaps *caps)
{
  GstQuery *query = gst_query_new_allocation (caps, TRUE);
  GstBufferPool *pool = NULL;
  guint size = 0, min = 0, max = 0;
  gboolean taken = FALSE;

  free_pool (self);
  gst_pad_peer_query (self->srcpad, query);
  if (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_parse_nth_allocation_pool (query, 0, &pool, &size, &min, &max);
  if (pool != NULL)
    taken = take_pool (self, pool, caps, query, size, min, max);
  if (!taken)
    taken = take_pool (self, gst_video_buffer_pool_new (), caps, query, 0, min, 0);
  gst_query_unref (query);
  return taken;
}

/* What downstream takes, as near to the defaults as it goes. NULL after an error message. */
static GstCaps *
choose_caps (GstAttentionScope *self)
{
  GstCaps *caps = gst_pad_get_allowed_caps (self->srcpad);
  GstStructure *structure;

  if (caps == NULL)
    caps = gst_pad_get_pad_template_caps (self->srcpad);
  if (gst_caps_is_empty (caps))
    goto nothing;
  caps = gst_caps_truncate (gst_caps_make_writable (caps));
  structure = gst_caps_get_structure (caps, 0);
  gst_structure_fixate_field_nearest_int (structure, "width", DEFAULT_WIDTH);
  gst_structure_fixate_field_nearest_int (structure, "height", DEFAULT_HEIGHT);
  gst_structure_fixate_field_nearest_fraction (structure, "framerate", DEFAULT_RATE_N, DEFAULT_RATE_D);
  if (gst_structure_has_field (structure, "pixel-aspect-ratio"))
    gst_structure_fixate_field_nearest_fraction (structure, "pixel-aspect-ratio", 1, 1);
  return gst_caps_fixate (caps);

  /* ERRORS */
nothing:
  gst_caps_unref (caps);
  caps = gst_pad_peer_query_caps (self->srcpad, NULL);
  if (!GST_PAD_IS_FLUSHING (self->srcpad))
    GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("downstream takes no video that this element can make: " SRC_CAPS),
                       ("downstream takes %" GST_PTR_FORMAT, caps));
  gst_caps_unref (caps);
  return NULL;
}

static gboolean
negotiate (GstAttentionScope *self)
{
  GstCaps *caps = choose_caps (self);
  GstVideoInfo info;
  gboolean done = FALSE;

  if (caps == NULL)
    return FALSE;
  if (gst_video_info_from_caps (&info, caps)) {
    if (self->picture == NULL || !gst_video_info_is_equal (&info, &self->info)) {
      gst_attention_scope_set_info (self, &info);
      done = make_picture (self) && gst_pad_set_caps (self->srcpad, caps);
      if (done && self->held_segment != NULL)
        gst_pad_push_event (self->srcpad, g_steal_pointer (&self->held_segment));
    } else {
      done = TRUE;
    }
    done = done && negotiate_pool (self, caps);
  }
  if (!done)
    g_clear_pointer (&self->picture, scope_picture_free);
  gst_caps_unref (caps);
  return done;
}

/* Whatever has changed on the other side, or in the properties. */
static GstFlowReturn
update (GstAttentionScope *self)
{
  gboolean changed;

  if (gst_pad_check_reconfigure (self->srcpad) || self->picture == NULL) {
    if (!negotiate (self)) {
      gst_pad_mark_reconfigure (self->srcpad);
      return GST_PAD_IS_FLUSHING (self->srcpad) ? GST_FLOW_FLUSHING : GST_FLOW_NOT_NEGOTIATED;
    }
  }
  GST_OBJECT_LOCK (self);
  changed = self->settings_changed;
  GST_OBJECT_UNLOCK (self);
  return changed && !make_picture (self) ? GST_FLOW_ERROR : GST_FLOW_OK;
}

/* Keeps the format of the video, if there is one. */
static gboolean
set_shape (GstAttentionScope *self, GstCaps *caps)
{
  GstFeatures features;
  ScopeShape shape;
  GError *error = NULL;

  if (self->refused_caps != NULL && gst_caps_is_equal (caps, self->refused_caps))
    return FALSE;
  if (self->caps != NULL && gst_caps_is_equal (caps, self->caps))
    return TRUE;
  if (!gst_features_from_caps (&features, caps, &error) || !read_shape (&shape, &features, caps, &error))
    goto refused;
  gst_clear_caps (&self->refused_caps);
  gst_attention_scope_finish (self);
  gst_caps_replace (&self->caps, caps);
  self->features = features;
  self->shape = shape;
  g_clear_pointer (&self->picture, scope_picture_free);
  return update (self) == GST_FLOW_OK;

  /* ERRORS */
refused:
  gst_caps_replace (&self->refused_caps, caps);
  gst_attention_scope_finish (self);
  gst_clear_caps (&self->caps);
  gst_features_post_error (self, error);
  return FALSE;
}

/* ---- input ---- */

static void
reset_segments (GstAttentionScope *self)
{
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  gst_segment_init (&self->time_segment, GST_FORMAT_TIME);
  gst_clear_event (&self->held_segment);
}

/* The n columns of a buffer. */
static GstFlowReturn
add_buffer (GstAttentionScope *self, GstBuffer *buffer, gsize n)
{
  gfloat *copy = NULL;
  GstFlowReturn flow;
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    goto not_mapped;
  if (GPOINTER_TO_SIZE (map.data) % sizeof (gfloat) != 0)
    copy = g_memdup2 (map.data, map.size); /* memory may begin anywhere */
  flow = gst_attention_scope_add_columns (self, buffer, copy != NULL ? copy : (const gfloat *) map.data, n);
  g_free (copy);
  gst_buffer_unmap (buffer, &map);
  return flow;

  /* ERRORS */
not_mapped:
  GST_ELEMENT_ERROR (self, RESOURCE, READ,
                     ("cannot map a buffer of %" G_GSIZE_FORMAT " bytes for reading", gst_buffer_get_size (buffer)),
                     (NULL));
  return GST_FLOW_ERROR;
}

static GstFlowReturn
gst_attention_scope_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAttentionScope *self = GST_ATTENTION_SCOPE (parent);
  GstFlowReturn flow = GST_FLOW_NOT_NEGOTIATED;
  GError *error = NULL;
  gsize n;

  if (self->caps == NULL)
    goto done;
  if (self->segment.rate < 0)
    goto backwards;
  flow = update (self);
  if (flow != GST_FLOW_OK || gst_buffer_get_size (buffer) == 0)
    goto done;
  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (buffer), &n, &error))
    goto partial_frame;
  flow = add_buffer (self, buffer, n);
done:
  gst_buffer_unref (buffer);
  return flow;

  /* ERRORS */
backwards:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                     ("the stream plays backwards, at rate %g: the picture scrolls one way", self->segment.rate),
                     (NULL));
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;

partial_frame:
  gst_features_post_error (self, error);
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;
}

/* Nothing comes for a while: it scrolls through. TRUE: the event is answered. */
static gboolean
take_gap (GstAttentionScope *self, GstEvent *event)
{
  GstClockTime pts, duration;

  if (self->caps == NULL || self->segment.format != GST_FORMAT_TIME || update (self) != GST_FLOW_OK)
    return FALSE;
  gst_event_parse_gap (event, &pts, &duration);
  if (!GST_CLOCK_TIME_IS_VALID (duration) || duration > GST_CLOCK_TIME_NONE - 1 - pts)
    return FALSE;
  gst_attention_scope_add_gap (self, pts, duration);
  return TRUE;
}

static gboolean
take_segment (GstAttentionScope *self, GstEvent *event)
{
  GstSegment segment;

  gst_event_copy_segment (event, &segment);
  if (!gst_segment_is_equal (&segment, &self->segment)) {
    gst_attention_scope_finish (self);
    self->segment = segment;
  }
  self->time_segment = segment;
  if (segment.format != GST_FORMAT_TIME) { /* video has a time, which counts from 0 */
    guint32 seqnum = gst_event_get_seqnum (event);

    gst_event_unref (event);
    gst_segment_init (&self->time_segment, GST_FORMAT_TIME);
    event = gst_event_new_segment (&self->time_segment);
    gst_event_set_seqnum (event, seqnum);
  }
  if (self->picture != NULL)
    return gst_pad_push_event (self->srcpad, event);
  gst_event_take (&self->held_segment, event);
  return TRUE;
}

static gboolean
gst_attention_scope_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAttentionScope *self = GST_ATTENTION_SCOPE (parent);
  gboolean result;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    result = set_shape (self, caps);
    gst_event_unref (event);
    return result;
  case GST_EVENT_SEGMENT:
    return take_segment (self, event);
  case GST_EVENT_GAP:
    if (!take_gap (self, event))
      break;
    gst_event_unref (event);
    return TRUE;
  case GST_EVENT_FLUSH_STOP:
    reset_segments (self);
    gst_attention_scope_restart (self);
    gst_attention_scope_reset_qos (self);
    break;
  case GST_EVENT_STREAM_START:
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    gst_attention_scope_finish (self);
    break;
  default:
    break;
  }
  return gst_pad_event_default (pad, parent, event);
}

/* ---- events and queries from downstream ---- */

static void
take_qos (GstAttentionScope *self, GstEvent *event)
{
  GstClockTimeDiff jitter;
  GstClockTime time;
  gdouble proportion;

  gst_event_parse_qos (event, NULL, &proportion, &jitter, &time);
  GST_OBJECT_LOCK (self);
  self->proportion = proportion;
  if (!GST_CLOCK_TIME_IS_VALID (time))
    self->earliest_time = GST_CLOCK_TIME_NONE;
  else if (jitter > 0) /* it takes as long again to catch up, and a frame to be sure */
    self->earliest_time = time + 2 * jitter + self->latency;
  else
    self->earliest_time = time - MIN ((GstClockTime) -jitter, time);
  GST_OBJECT_UNLOCK (self);
}

static gboolean
gst_attention_scope_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) != GST_EVENT_QOS)
    return gst_pad_event_default (pad, parent, event);
  take_qos (GST_ATTENTION_SCOPE (parent), event);
  gst_event_unref (event); /* if a picture is late, the frames that it shows still count */
  return TRUE;
}

static gboolean
gst_attention_scope_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAttentionScope *self = GST_ATTENTION_SCOPE (parent);
  GstClockTime latency;

  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return gst_pad_query_default (pad, parent, query);
  GST_OBJECT_LOCK (self);
  latency = self->latency;
  GST_OBJECT_UNLOCK (self);
  return gst_features_query_latency (self->sinkpad, query, latency);
}

/* ---- object ---- */

static void
end_run (GstAttentionScope *self)
{
  g_clear_pointer (&self->picture, scope_picture_free);
  free_pool (self);
  gst_clear_caps (&self->refused_caps);
  gst_clear_caps (&self->caps);
  reset_segments (self);
  gst_attention_scope_restart (self);
  gst_attention_scope_reset_qos (self);
  self->n_pushed = self->n_dropped = 0;
  GST_OBJECT_LOCK (self);
  self->latency = 0;
  GST_OBJECT_UNLOCK (self);
}

static GstStateChangeReturn
gst_attention_scope_change_state (GstElement *element, GstStateChange transition)
{
  GstStateChangeReturn result =
      GST_ELEMENT_CLASS (gst_attention_scope_parent_class)->change_state (element, transition);

  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    end_run (GST_ATTENTION_SCOPE (element));
  return result;
}

static void
gst_attention_scope_class_init (GstAttentionScopeClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_attention_scope_debug, "attentionscope", 0, "pictures of attention weights");

  object_class->set_property = gst_attention_scope_set_property;
  object_class->get_property = gst_attention_scope_get_property;
  gst_attention_scope_install_properties (object_class);

  element_class->change_state = GST_DEBUG_FUNCPTR (gst_attention_scope_change_state);
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Attention scope", "Visualization",
                                         "Draws what each head attends to, as a scrolling picture",
                                         "the gst-attention authors");
}

static void
gst_attention_scope_init (GstAttentionScope *self)
{
  gst_attention_scope_init_properties (self);
  end_run (self);

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_attention_scope_chain));
  gst_pad_set_event_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_attention_scope_sink_event));
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_attention_scope_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_attention_scope_src_query));
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
