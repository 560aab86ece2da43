/*
 * gst-attention: the element `attention`: framing, time, caps and events around an AttnStream. No mathematics.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/**
 * SECTION:element-attention
 * @title: attention
 *
 * Multi-head self-attention, the layer at the heart of every Transformer, on a live stream of feature vectors (frames).
 * Each frame attends to the #GstAttention:window frames up to and including itself, and to #GstAttention:look-ahead
 * later ones, and leaves as the mixture of what it saw. Parameters come from a safetensors file
 * (#GstAttention:model-file) as PyTorch users have it; without one each head mixes its own slice of the frame.
 *
 * One buffer leaves per buffer that comes in, with as many frames and the same timestamps. The output does not depend
 * on how many frames a buffer holds. Look-ahead delays buffers, and the element reports that as latency.
 *
 * ## Feature streams
 *
 * `audio/x-raw, format=F32LE`: one channel per feature, one sample per frame, so that all that moves audio moves
 * features; or `other/tensors`, one float32 tensor of dimensions features:frames:1:1, as NNStreamer has it.
 *
 * ## What ends a stream
 *
 * After EOS, a flush, new caps, a new segment or a discontinuity backwards the next frame is frame 0 of a new stream.
 * Frames that were still waiting for their look-ahead are pushed first (unless flushed), with a window that is shorter
 * at its end. GAP events, buffers with the GAP flag, and timestamps that jump forward by whole frames leave frames
 * absent: nothing attends to them.
 *
 * ## State
 *
 * With #GstAttention:state-file a stream outlives its process: the file is read at start, and the next frame goes on
 * where the last one left off; it is written at stop. #GstAttention::save-state and #GstAttention::restore-state do the
 * same in memory, from any thread, while buffers flow. A stream that was restored goes on with the bits of an
 * undisturbed one; the events at the beginning of its run do not end it. Outputs that the saved stream still owed
 * belong to buffers of another time, and are dropped. A state belongs to its configuration and parameters; gains are
 * no part of it.
 *
 * ## Gains
 *
 * The children `head0`, `head1`, ... have a property `gain`, which multiplies what the head contributes: `attention
 * heads=4 head2::gain=0` silences the third. It can be changed at any time, and holds from the next frame that leaves
 * on. Bound to a #GstController it is evaluated for every frame at that frame's own stream time, whatever the size of
 * the buffers; where the frame rate is unknown, at the time of its buffer; without timestamps it stays as it is.
 *
 * ## Example
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention heads=4 window=100 ! npyenc ! filesink
 * location=attended.npy ]| Attends over the last 100 frames with four heads; features.npy is what numpy.save() wrote.
 */
#include "gstattention.h"

#include <string.h>

#include <gst/base/gstqueuearray.h>

#include "attn.h"
#include "gstattentionhead.h"
#include "gstfeatures.h"

GST_DEBUG_CATEGORY_STATIC (gst_attention_debug);
#define GST_CAT_DEFAULT gst_attention_debug

enum {
  PROP_0,
  PROP_HEADS,
  PROP_KV_HEADS,
  PROP_WINDOW,
  PROP_LOOK_AHEAD,
  PROP_SINKS,
  PROP_MODEL_FILE,
  PROP_MODEL_PREFIX,
  PROP_SCALE,
  PROP_SOFTCAP,
  PROP_POSITION,
  PROP_ROPE_BASE,
  PROP_ROPE_LAYOUT,
  PROP_ROPE_DIMENSIONS,
  PROP_FRAME_RATE,
  PROP_PRECISION,
  PROP_THREADS,
  PROP_STATE_FILE,
};

#define DEFAULT_HEADS 1
#define DEFAULT_KV_HEADS 0
#define DEFAULT_WINDOW 64
#define DEFAULT_LOOK_AHEAD 0
#define DEFAULT_SINKS 0
#define DEFAULT_SCALE 0.0
#define DEFAULT_SOFTCAP 0.0
#define DEFAULT_POSITION ATTN_POSITION_NONE
#define DEFAULT_ROPE_BASE 10000.0
#define DEFAULT_ROPE_LAYOUT ATTN_ROPE_HALF
#define DEFAULT_ROPE_DIMENSIONS 0
#define DEFAULT_PRECISION ATTN_PRECISION_F32
#define DEFAULT_THREADS 1

/*
 * What came in and has not left yet, in its order: a buffer (its output, being filled), a GAP event with the frames
 * that it stands for, frames that a jump of the timestamps leaves out, or another serialised event, which waits behind
 * the buffers before it.
 */
typedef struct {
  GstBuffer *buffer; /* or NULL */
  GstMapInfo map;    /* of `buffer`, as long as it is being filled */
  GstEvent *event;   /* or NULL */
  guint64 n_frames;
  guint64 n_done; /* frames whose output is known */
} Item;

struct _GstAttention {
  GstBaseTransform parent;

  /* Properties; the object lock. */
  AttnConfig config;
  gchar *model_file;
  gchar *model_prefix;
  gchar *state_file;
  gint frame_rate_n, frame_rate_d;
  GPtrArray *heads; /* GstAttentionHeads, n_heads of them */

  /* D and Dout of a model that changes it, else 0, for caps queries from any thread; the object lock. */
  guint model_features, model_outputs;

  /*
   * Around calls into the core, and never around anything that leaves this file: the streaming thread alone replaces
   * these and feeds the stream, other threads save it, and leave a restored one for the streaming thread to adopt.
   */
  GMutex lock;
  AttnLayer *layer; /* with a model from start, else from the caps on */
  AttnStream *stream;
  AttnStream *restored; /* takes the place of `stream` when the next frame comes */
  GBytes *ended;        /* the last stream's state before its drain, until the next frame comes */
  gboolean changed;     /* the state is no longer the file's */

  /* The streaming thread's. */
  AttnModel *model;       /* from start to stop; NULL: parameter-free */
  GPtrArray *layer_heads; /* those of `heads` that `layer` was made with */
  GBytes *file_state;     /* what the state file held, until there is a layer for it */
  gboolean resumed;       /* the stream was restored, and no frame has come since */
  gboolean draining;
  GstFeatures features;
  GstQueueArray *waiting; /* Items; the first one with frames is being filled */
  GstQueueArray *ready;   /* Items that are complete */
  GstCaps *refused_caps;  /* sticky events come again and again: one error is enough */
  gint warned_dimensions; /* the same for untyped dimensions; atomic, queries come from any thread */
  GstClockTime next_pts;  /* where the next buffer continues this one; NONE: unknown */
  gboolean streaming;     /* a frame has come since the stream began */

  /* Latency; the object lock. */
  guint64 n_max;    /* largest buffer, in frames; 0 = none yet */
  gboolean varying; /* buffers have differed in size */
  GstClockTime latency;
  gboolean warned_rate;
};

static void gst_attention_child_proxy_init (gpointer iface, gpointer data);

G_DEFINE_TYPE_WITH_CODE (GstAttention, gst_attention, GST_TYPE_BASE_TRANSFORM,
                         G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_attention_child_proxy_init))
GST_ELEMENT_REGISTER_DEFINE (attention, "attention", GST_RANK_NONE, GST_TYPE_ATTENTION)

#define GST_TYPE_ATTENTION_POSITION (gst_attention_position_get_type ())
static GType
gst_attention_position_get_type (void)
{
  static const GEnumValue values[] = {
    { ATTN_POSITION_NONE, "None: the order of the frames does not count", "none" },
    { ATTN_POSITION_ROPE, "RoPE: queries and keys are rotated by their frame number", "rope" },
    { ATTN_POSITION_ALIBI, "ALiBi: scores fall linearly with distance, in each head at a slope of its own", "alibi" },
    { ATTN_POSITION_RELATIVE, "A trained bias for each head and distance, relative_bias of the model", "relative" },
    { 0, NULL, NULL },
  };
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstAttentionPosition", values));
  return type;
}

#define GST_TYPE_ATTENTION_ROPE_LAYOUT (gst_attention_rope_layout_get_type ())
static GType
gst_attention_rope_layout_get_type (void)
{
  static const GEnumValue values[] = {
    { ATTN_ROPE_HALF, "Pairs (i, i + n/2): GPT-NeoX, and Llama as Hugging Face has it", "half" },
    { ATTN_ROPE_INTERLEAVED, "Pairs (2i, 2i + 1): RoFormer, GPT-J, and Llama as Meta has it", "interleaved" },
    { 0, NULL, NULL },
  };
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstAttentionRopeLayout", values));
  return type;
}

#define GST_TYPE_ATTENTION_PRECISION (gst_attention_precision_get_type ())
static GType
gst_attention_precision_get_type (void)
{
  static const GEnumValue values[] = {
    { ATTN_PRECISION_F32, "float32", "f32" },
    { ATTN_PRECISION_F16, "IEEE 754 binary16: 11 bits of precision, up to 65504", "f16" },
    { ATTN_PRECISION_BF16, "The upper half of a float32: 8 bits of precision, its range", "bf16" },
    { 0, NULL, NULL },
  };
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstAttentionPrecision", values));
  return type;
}

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

/* ---- latency ---- */

/* Called with the object lock. */
static GstClockTime
compute_latency (GstAttention *self)
{
  GstFeatures rate = self->features;
  guint64 look_ahead = self->config.look_ahead, n = MAX (self->n_max, 1), frames;

  if (self->frame_rate_n > 0) {
    rate.rate_n = self->frame_rate_n;
    rate.rate_d = self->frame_rate_d;
  }
  if (look_ahead == 0)
    return 0;
  if (rate.rate_n <= 0) {
    if (self->features.n_features > 0 && !self->warned_rate) {
      GST_WARNING_OBJECT (self,
                          "the frame rate is unknown: reporting no latency for a look-ahead of %" G_GUINT64_FORMAT
                          " frames; set frame-rate",
                          look_ahead);
      self->warned_rate = TRUE;
    }
    return 0;
  }
  /* A frame leaves with the last of its buffer, when the look-ahead of that one is there. */
  frames = self->varying ? look_ahead + n - 1 : (look_ahead + n - 1) / n * n;
  return gst_features_duration (&rate, frames);
}

/* After anything that latency depends on; tells the pipeline when it grew. */
static void
update_latency (GstAttention *self)
{
  GstClockTime latency;
  gboolean grew;

  GST_OBJECT_LOCK (self);
  latency = compute_latency (self);
  grew = latency > self->latency;
  self->latency = latency;
  GST_OBJECT_UNLOCK (self);
  if (grew) {
    GST_DEBUG_OBJECT (self, "latency grew to %" GST_TIME_FORMAT, GST_TIME_ARGS (latency));
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
  }
}

static void
note_buffer_size (GstAttention *self, guint64 n_frames)
{
  gboolean changed;

  GST_OBJECT_LOCK (self);
  changed = n_frames != 0 && n_frames != self->n_max;
  if (changed) {
    self->varying = self->varying || self->n_max != 0;
    self->n_max = MAX (self->n_max, n_frames);
  }
  GST_OBJECT_UNLOCK (self);
  if (changed)
    update_latency (self);
}

static gboolean
gst_attention_query_latency (GstAttention *self, GstQuery *query)
{
  GstClockTime min, max, own;
  gboolean live;

  if (!gst_pad_peer_query (GST_BASE_TRANSFORM_SINK_PAD (self), query))
    return FALSE;
  gst_query_parse_latency (query, &live, &min, &max);
  GST_OBJECT_LOCK (self);
  own = self->latency;
  GST_OBJECT_UNLOCK (self);
  gst_query_set_latency (query, live, min + own, GST_CLOCK_TIME_IS_VALID (max) ? max + own : max);
  return TRUE;
}

static gboolean
gst_attention_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_attention_query_latency (GST_ATTENTION (trans), query);
  return GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class)->query (trans, direction, query);
}

/* ---- items ---- */

static void
item_clear (Item *item)
{
  if (item->map.memory != NULL)
    gst_buffer_unmap (item->buffer, &item->map);
  gst_clear_buffer (&item->buffer);
  gst_clear_event (&item->event);
}

static void
clear_items (GstQueueArray *items)
{
  Item *item;

  while ((item = gst_queue_array_pop_head_struct (items)))
    item_clear (item);
}

/* Complete items at the head of the line are ready; the next one is being filled. */
static void
advance (GstAttention *self)
{
  Item *item;

  while ((item = gst_queue_array_peek_head_struct (self->waiting)) && item->n_done == item->n_frames) {
    if (item->map.memory != NULL) {
      gst_buffer_unmap (item->buffer, &item->map);
      item->map.memory = NULL;
    }
    gst_queue_array_push_tail_struct (self->ready, gst_queue_array_pop_head_struct (self->waiting));
  }
}

/* The stream time of the next output of `item`; NONE when it has none. */
static GstClockTime
output_time (GstAttention *self, const Item *item)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;
  GstClockTime offset = gst_features_duration (&self->features, item->n_done);

  if (!GST_BUFFER_PTS_IS_VALID (item->buffer) || segment->format != GST_FORMAT_TIME)
    return GST_CLOCK_TIME_NONE;
  if (!GST_CLOCK_TIME_IS_VALID (offset))
    offset = 0;
  return gst_segment_to_stream_time (segment, GST_FORMAT_TIME, GST_BUFFER_PTS (item->buffer) + offset);
}

/* The gains for the next output of `item`; TRUE when the one behind it may have others. */
static gboolean
update_gains (GstAttention *self, const Item *item)
{
  gboolean controlled;
  guint i;

  if (item->buffer == NULL)
    return FALSE;
  controlled = gst_attention_heads_sync (self->layer_heads, output_time (self, item));
  for (i = 0; i < self->layer_heads->len; i++)
    attn_stream_set_gain (self->stream, i, gst_attention_head_get_gain (g_ptr_array_index (self->layer_heads, i)));
  return controlled;
}

/* Gives the core `n` frames (NULL: absent ones) and the outputs that get ready to the items that wait for them. */
static void
feed (GstAttention *self, const gfloat *frames, guint64 n)
{
  guint n_features = attn_layer_n_features (self->layer), n_outputs = attn_layer_n_outputs (self->layer);
  guint look_ahead = attn_layer_latency (self->layer);

  for (advance (self); n > 0; advance (self)) {
    Item *item = gst_queue_array_peek_head_struct (self->waiting);
    guint64 silent = look_ahead - attn_stream_pending (self->stream); /* frames that give no output yet */
    guint64 take = MIN (n, silent + item->n_frames - item->n_done);
    gfloat *out = item->buffer ? (gfloat *) item->map.data + item->n_done * n_outputs : NULL;

    if (update_gains (self, item))
      take = MIN (take, silent + 1);
    g_mutex_lock (&self->lock);
    if (!self->draining)
      g_clear_pointer (&self->ended, g_bytes_unref);
    if (frames != NULL) {
      item->n_done += attn_stream_push (self->stream, frames, take, out, NULL);
      frames += take * n_features;
    } else {
      item->n_done += attn_stream_skip (self->stream, take, out, NULL);
    }
    self->changed = TRUE;
    g_mutex_unlock (&self->lock);
    self->resumed = FALSE;
    n -= take;
  }
}

static GstFlowReturn
push_buffer (GstAttention *self, GstBuffer *buffer)
{
  GstBaseTransform *trans = GST_BASE_TRANSFORM (self);

  if (GST_BUFFER_PTS_IS_VALID (buffer) && trans->segment.format == GST_FORMAT_TIME)
    trans->segment.position =
        GST_BUFFER_PTS (buffer) + (GST_BUFFER_DURATION_IS_VALID (buffer) ? GST_BUFFER_DURATION (buffer) : 0);
  return gst_pad_push (GST_BASE_TRANSFORM_SRC_PAD (self), buffer);
}

static GstFlowReturn
push_ready (GstAttention *self)
{
  GstFlowReturn flow = GST_FLOW_OK;
  Item *next;

  while (flow == GST_FLOW_OK && (next = gst_queue_array_pop_head_struct (self->ready))) {
    Item item = *next; /* the queue may move while we push */

    if (item.buffer != NULL)
      flow = push_buffer (self, item.buffer);
    else if (item.event != NULL)
      GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class)->sink_event (GST_BASE_TRANSFORM (self), item.event);
  }
  return flow;
}

/* ---- the life of a stream ---- */

/* NULL: no memory. Called with the lock. */
static GBytes *
state_of (const AttnStream *stream)
{
  gsize size = attn_stream_state_size (stream);
  gpointer data = g_try_malloc (size);

  if (data == NULL)
    return NULL;
  attn_stream_save (stream, data, size, NULL);
  return g_bytes_new_take (data, size);
}

/* What the last frame left behind is still there to be saved when the stream has been drained or dropped. */
static void
keep_state (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  if (attn_stream_next_frame (self->stream) > 0) {
    g_clear_pointer (&self->ended, g_bytes_unref);
    self->ended = state_of (self->stream);
  }
  g_mutex_unlock (&self->lock);
}

static void
reset_stream (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  attn_stream_reset (self->stream, 0);
  g_mutex_unlock (&self->lock);
}

static void
forget_stream (GstAttention *self)
{
  clear_items (self->waiting);
  clear_items (self->ready);
  if (self->stream != NULL) {
    keep_state (self);
    reset_stream (self);
  }
  self->streaming = FALSE;
  self->next_pts = GST_CLOCK_TIME_NONE;
}

/*
 * The last frame has come: what still waits sees a shorter window. To the frames that wait, absent frames behind the
 * end are the same as none, and they can be asked for in pieces.
 */
static void
finish_stream (GstAttention *self)
{
  if (self->stream != NULL) {
    keep_state (self);
    self->draining = TRUE;
    if (attn_stream_pending (self->stream) > 0)
      feed (self, NULL, attn_layer_latency (self->layer));
    self->draining = FALSE;
    reset_stream (self);
  }
  advance (self);
  self->streaming = FALSE;
  self->next_pts = GST_CLOCK_TIME_NONE;
}

static gboolean
refused (GstAttention *self, const AttnError *error)
{
  switch (error->status) {
  case ATTN_ERROR_CONFIG:
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS, ("%s", error->message), (NULL));
    break;
  case ATTN_ERROR_FILE:
    GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ, ("%s", error->message), (NULL));
    break;
  case ATTN_ERROR_STATE:
    GST_ELEMENT_ERROR (self, RESOURCE, READ, ("%s", error->message), (NULL));
    break;
  case ATTN_ERROR_MEMORY:
    GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT, ("%s", error->message), (NULL));
    break;
  default:
    GST_ELEMENT_ERROR (self, LIBRARY, INIT, ("%s", error->message), (NULL));
    break;
  }
  return FALSE;
}

/* The stream was restored: outputs that it still owes belong to buffers that are not here. */
static void
resume_stream (GstAttention *self)
{
  Item dropped = { .n_frames = attn_stream_pending (self->stream) };

  GST_INFO_OBJECT (self, "going on with frame %" G_GUINT64_FORMAT, attn_stream_next_frame (self->stream));
  if (dropped.n_frames > 0)
    gst_queue_array_push_tail_struct (self->waiting, &dropped);
  self->resumed = TRUE;
}

/* A frame comes: what restore-state brought goes on with it, and what still waits is answered before. */
static void
adopt_restored (GstAttention *self)
{
  AttnStream *old = NULL;
  gboolean adopt;

  g_mutex_lock (&self->lock);
  adopt = self->restored != NULL;
  g_mutex_unlock (&self->lock);
  if (!adopt)
    return;
  finish_stream (self);
  g_mutex_lock (&self->lock);
  old = self->stream;
  self->stream = g_steal_pointer (&self->restored);
  g_clear_pointer (&self->ended, g_bytes_unref);
  g_mutex_unlock (&self->lock);
  attn_stream_free (old);
  resume_stream (self);
}

static void
free_layer (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  g_clear_pointer (&self->stream, attn_stream_free);
  g_clear_pointer (&self->restored, attn_stream_free);
  g_clear_pointer (&self->layer, attn_layer_free);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->layer_heads, g_ptr_array_unref);
  if (self->resumed) /* what the restored stream owed is gone with it */
    clear_items (self->waiting);
  self->resumed = FALSE;
}

/* A state of a stream that can go on. */
static AttnStatus
restore (AttnStream *stream, GBytes *state, AttnError *error)
{
  gsize size;
  gconstpointer data = g_bytes_get_data (state, &size);
  AttnStatus status = attn_stream_restore (stream, data, size, error);

  if (status != ATTN_OK || !attn_stream_is_drained (stream))
    return status;
  g_strlcpy (error->message, "the state is that of a stream which was drained: nothing can follow",
             sizeof error->message);
  return error->status = ATTN_ERROR_STATE;
}

/* The property may change at any time. NULL: none. */
static gchar *
dup_state_file (GstAttention *self)
{
  gchar *file;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->state_file);
  GST_OBJECT_UNLOCK (self);
  return file;
}

/* The state file goes to the first layer that there is. FALSE after an error message. */
static gboolean
restore_file_state (GstAttention *self)
{
  AttnError error;
  AttnStatus status;

  if (self->file_state == NULL)
    return TRUE;
  g_mutex_lock (&self->lock);
  status = restore (self->stream, self->file_state, &error);
  g_mutex_unlock (&self->lock);
  if (status != ATTN_OK) {
    gchar *file = dup_state_file (self);

    free_layer (self);
    GST_ELEMENT_ERROR (self, RESOURCE, READ, ("%s: %s", file, error.message), (NULL));
    g_free (file);
    return FALSE;
  }
  g_clear_pointer (&self->file_state, g_bytes_unref);
  resume_stream (self);
  return TRUE;
}

static gpointer
ref_head (gconstpointer head, gpointer data)
{
  return gst_object_ref ((gpointer) head);
}

/* A layer for frames of `n_features` (0: as the model says). */
static gboolean
make_layer (GstAttention *self, guint n_features)
{
  AttnConfig config;
  AttnError error;
  AttnLayer *layer;
  AttnStream *stream;

  free_layer (self);
  GST_OBJECT_LOCK (self);
  config = self->config;
  self->layer_heads = g_ptr_array_copy (self->heads, ref_head, NULL);
  GST_OBJECT_UNLOCK (self);
  g_ptr_array_set_free_func (self->layer_heads, gst_object_unref);
  config.n_features = n_features;
  if (attn_layer_new (&config, self->model, &layer, &error) != ATTN_OK)
    return refused (self, &error);
  if (attn_stream_new (layer, &stream, &error) != ATTN_OK) {
    attn_layer_free (layer);
    return refused (self, &error);
  }
  g_mutex_lock (&self->lock);
  self->layer = layer;
  self->stream = stream;
  g_mutex_unlock (&self->lock);
  GST_INFO_OBJECT (self, "%u features, %u heads, %u outputs; kernels %s", attn_layer_n_features (self->layer),
                   attn_layer_n_heads (self->layer), attn_layer_n_outputs (self->layer),
                   attn_layer_kernels (self->layer));
  return restore_file_state (self);
}

/* FALSE after an error message; that there is no file is none. */
static gboolean
read_state_file (GstAttention *self)
{
  gchar *file = dup_state_file (self), *data;
  GError *error = NULL;
  gboolean ok = TRUE;
  gsize size;

  if (file != NULL && g_file_get_contents (file, &data, &size, &error))
    self->file_state = g_bytes_new_take (data, size);
  if (error != NULL && !g_error_matches (error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
    GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ, ("%s", error->message), (NULL));
    ok = FALSE;
  }
  g_clear_error (&error);
  g_free (file);
  return ok;
}

/* What the next frame would go on from; NULL: there is no stream, or no memory. Called with the lock. */
static GBytes *
current_state (GstAttention *self)
{
  if (self->restored != NULL)
    return state_of (self->restored);
  if (self->ended != NULL)
    return g_bytes_ref (self->ended);
  return self->stream != NULL ? state_of (self->stream) : NULL;
}

/* Renamed into place, so that whoever reads the file meets the old state or the new one. */
static void
write_state (GstAttention *self, const gchar *file, GBytes *state)
{
  GError *error = NULL;

  if (g_file_set_contents_full (file, g_bytes_get_data (state, NULL), g_bytes_get_size (state),
                                G_FILE_SET_CONTENTS_CONSISTENT, 0666, &error))
    return;
  GST_ELEMENT_WARNING (self, RESOURCE, WRITE, ("%s", error->message), (NULL));
  g_error_free (error);
}

/* Only what frames or restore-state have changed: a run without frames leaves the file alone. */
static void
write_state_file (GstAttention *self)
{
  gchar *file = dup_state_file (self);
  GBytes *state = NULL;
  gboolean changed;

  g_mutex_lock (&self->lock);
  changed = file != NULL && self->changed;
  if (changed)
    state = current_state (self);
  g_mutex_unlock (&self->lock);
  if (state != NULL)
    write_state (self, file, state);
  else if (changed)
    GST_ELEMENT_WARNING (self, RESOURCE, NO_SPACE_LEFT, ("no memory for the state of the stream"), (NULL));
  g_clear_pointer (&state, g_bytes_unref);
  g_free (file);
}

static GBytes *
gst_attention_save_state (GstAttention *self)
{
  GBytes *state;

  g_mutex_lock (&self->lock);
  state = current_state (self);
  g_mutex_unlock (&self->lock);
  return state;
}

/*
 * Into a stream of its own, which the streaming thread adopts with the next frame: the present one still has buffers
 * to answer, and a state that is refused must not disturb it.
 */
static gboolean
gst_attention_restore_state (GstAttention *self, GBytes *state)
{
  AttnError error = { ATTN_ERROR_STATE, "there is no stream yet: without a model it begins with the caps" };
  AttnStream *stream = NULL, *unused = NULL;
  AttnStatus status = ATTN_ERROR_STATE;

  g_return_val_if_fail (state != NULL, FALSE);
  g_mutex_lock (&self->lock);
  if (self->layer != NULL)
    status = attn_stream_new (self->layer, &stream, &error);
  if (stream != NULL)
    status = restore (stream, state, &error);
  if (status == ATTN_OK) {
    unused = self->restored;
    self->restored = stream;
    self->changed = TRUE;
  } else {
    unused = stream;
  }
  g_mutex_unlock (&self->lock);
  attn_stream_free (unused);
  if (status != ATTN_OK)
    GST_ELEMENT_WARNING (self, STREAM, FAILED, ("%s", error.message), (NULL));
  return status == ATTN_OK;
}

/* What caps queries are told, after the model came or went. */
static void
publish_width (GstAttention *self)
{
  gboolean changes = self->model != NULL && attn_layer_n_features (self->layer) != attn_layer_n_outputs (self->layer);

  GST_OBJECT_LOCK (self);
  self->model_features = changes ? attn_layer_n_features (self->layer) : 0;
  self->model_outputs = changes ? attn_layer_n_outputs (self->layer) : 0;
  GST_OBJECT_UNLOCK (self);
}

static void
end_run (GstAttention *self)
{
  clear_items (self->waiting);
  clear_items (self->ready);
  free_layer (self);
  gst_clear_caps (&self->refused_caps);
  g_atomic_int_set (&self->warned_dimensions, FALSE);
  g_clear_pointer (&self->model, attn_model_free);
  publish_width (self);
  g_clear_pointer (&self->file_state, g_bytes_unref);
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->changed = self->streaming = FALSE;
  self->next_pts = GST_CLOCK_TIME_NONE;
  memset (&self->features, 0, sizeof self->features);
}

static gboolean
gst_attention_start (GstBaseTransform *trans)
{
  GstAttention *self = GST_ATTENTION (trans);
  gchar *file, *prefix;
  AttnError error;
  AttnStatus status = ATTN_OK;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->model_file);
  prefix = g_strdup (self->model_prefix);
  self->n_max = 0;
  self->varying = self->warned_rate = FALSE;
  self->latency = 0;
  GST_OBJECT_UNLOCK (self);

  if (file != NULL)
    status = attn_model_open (file, prefix, &self->model, &error);
  g_free (file);
  g_free (prefix);
  if (status != ATTN_OK)
    return refused (self, &error);
  /* With a model everything but the rate is known already, and what is wrong with it is said now. */
  if (read_state_file (self) && (self->model == NULL || make_layer (self, 0))) {
    publish_width (self);
    return TRUE;
  }
  end_run (self); /* no stop () follows a start () that failed */
  return FALSE;
}

static gboolean
gst_attention_stop (GstBaseTransform *trans)
{
  GstAttention *self = GST_ATTENTION (trans);

  write_state_file (self);
  end_run (self);
  return TRUE;
}

/* ---- caps ---- */

/* What upstream offers can never be negotiated with untyped dimensions, and nobody else would say why. */
static void
complain_of_dimensions (GstAttention *self, GstCaps *offered)
{
  GError *error = NULL;

  if (gst_features_check_dimensions (offered, &error))
    return;
  if (GST_STATE (self) > GST_STATE_READY && g_atomic_int_compare_and_exchange (&self->warned_dimensions, FALSE, TRUE))
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", error->message), ("caps are %" GST_PTR_FORMAT, offered));
  g_error_free (error);
}

static GstCaps *
gst_attention_transform_caps (GstBaseTransform *trans, GstPadDirection direction, GstCaps *caps, GstCaps *filter)
{
  GstAttention *self = GST_ATTENTION (trans);
  GstCaps *result;
  guint n_features;

  if (direction == GST_PAD_SINK)
    complain_of_dimensions (self, caps);
  /* Without a model, or with one that keeps D, both sides are the same, to the letter. */
  GST_OBJECT_LOCK (self);
  n_features = direction == GST_PAD_SINK ? self->model_outputs : self->model_features;
  GST_OBJECT_UNLOCK (self);
  if (n_features == 0)
    result = gst_caps_ref (caps);
  else
    result = gst_features_replace_n_features (caps, n_features);
  if (filter != NULL) {
    GstCaps *filtered = gst_caps_intersect_full (filter, result, GST_CAPS_INTERSECT_FIRST);

    gst_caps_unref (result);
    result = filtered;
  }
  return result;
}

/* FALSE after an error message. */
static gboolean
take_caps (GstAttention *self, GstCaps *caps)
{
  GstFeatures features;
  GError *error = NULL;

  if (!gst_features_from_caps (&features, caps, &error))
    goto wrong_caps;
  if (self->model != NULL && features.n_features != attn_layer_n_features (self->layer))
    goto wrong_width;
  if (self->model == NULL && (self->layer == NULL || attn_layer_n_features (self->layer) != features.n_features)
      && !make_layer (self, features.n_features))
    return FALSE;

  GST_OBJECT_LOCK (self);
  self->features = features;
  GST_OBJECT_UNLOCK (self);
  update_latency (self);
  return TRUE;

  /* ERRORS */
wrong_caps : {
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", error->message), ("caps are %" GST_PTR_FORMAT, caps));
  g_error_free (error);
  return FALSE;
}
wrong_width : {
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
                     ("%s takes %u features per frame, but the stream has %u", self->model_file,
                      attn_layer_n_features (self->layer), features.n_features),
                     ("caps are %" GST_PTR_FORMAT, caps));
  return FALSE;
}
}

static gboolean
gst_attention_set_caps (GstBaseTransform *trans, GstCaps *in_caps, GstCaps *out_caps)
{
  GstAttention *self = GST_ATTENTION (trans);

  if (self->refused_caps != NULL && gst_caps_is_equal (in_caps, self->refused_caps))
    return FALSE;
  if (take_caps (self, in_caps)) {
    gst_clear_caps (&self->refused_caps);
    return TRUE;
  }
  gst_caps_replace (&self->refused_caps, in_caps);
  return FALSE;
}

/* ---- buffers ---- */

/* No pool of downstream's: its buffers have one size, ours follow the input's. */
static gboolean
gst_attention_decide_allocation (GstBaseTransform *trans, GstQuery *query)
{
  GstAllocator *allocator = NULL;
  GstAllocationParams params;

  gst_allocation_params_init (&params);
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  if (gst_query_get_n_allocation_params (query) > 0) {
    gst_query_parse_nth_allocation_param (query, 0, &allocator, &params);
    params.align |= 63; /* a cache line; the bits of GstAllocationParams are a mask */
    gst_query_set_nth_allocation_param (query, 0, allocator, &params);
  } else {
    params.align |= 63;
    gst_query_add_allocation_param (query, NULL, &params);
  }
  if (allocator != NULL)
    gst_object_unref (allocator);
  return TRUE;
}

/* The buffer that will leave for `input`: its metadata, and room for as many frames. */
static GstBuffer *
make_output (GstAttention *self, GstBuffer *input, gsize n_frames)
{
  GstAllocator *allocator;
  GstAllocationParams params;
  GstBuffer *buffer;
  GstMeta *meta;

  gst_base_transform_get_allocator (GST_BASE_TRANSFORM (self), &allocator, &params);
  buffer =
      gst_buffer_new_allocate (allocator, n_frames * attn_layer_n_outputs (self->layer) * sizeof (gfloat), &params);
  if (allocator != NULL)
    gst_object_unref (allocator);
  if (buffer == NULL)
    return NULL;
  gst_buffer_copy_into (buffer, input, GST_BUFFER_COPY_METADATA, 0, -1);
  /* It counts channels. */
  meta = gst_buffer_get_meta (buffer, GST_AUDIO_META_API_TYPE);
  if (meta != NULL && attn_layer_n_outputs (self->layer) != self->features.n_features)
    gst_buffer_remove_meta (buffer, meta);
  return buffer;
}

/* `event` (NULL: none) waits for its turn, and for as many absent frames. */
static void
take_event (GstAttention *self, GstEvent *event, guint64 n_absent)
{
  Item item = { .event = event, .n_frames = n_absent };

  gst_queue_array_push_tail_struct (self->waiting, &item);
  feed (self, NULL, n_absent);
}

/* How many whole frames are missing in front of a discontinuous buffer; -1: this cannot be the same stream. */
static gint64
count_missing (GstAttention *self, GstBuffer *buffer)
{
  const GstFeatures *features = &self->features;
  GstClockTime pts = GST_BUFFER_PTS (buffer), quarter;
  guint64 n;

  if (features->rate_n <= 0 || !GST_CLOCK_TIME_IS_VALID (pts) || !GST_CLOCK_TIME_IS_VALID (self->next_pts))
    return -1;
  quarter = gst_features_duration (features, 1) / 4;
  if (pts + quarter < self->next_pts)
    return -1;
  if (pts <= self->next_pts + quarter)
    return 0;
  n = gst_util_uint64_scale_round (pts - self->next_pts, features->rate_n, GST_SECOND * (guint64) features->rate_d);
  pts -= self->next_pts;
  if (ABS (GST_CLOCK_DIFF (gst_features_duration (features, n), pts)) > (gint64) quarter)
    return -1;
  return n;
}

static void
handle_discont (GstAttention *self, GstBuffer *buffer)
{
  gint64 n = count_missing (self, buffer);

  if (n > 0) {
    GST_DEBUG_OBJECT (self, "%" G_GINT64_FORMAT " frames are absent before %" GST_PTR_FORMAT, n, buffer);
    take_event (self, NULL, n);
  } else if (n < 0) {
    GST_DEBUG_OBJECT (self, "a new stream begins with %" GST_PTR_FORMAT, buffer);
    finish_stream (self);
  }
}

/* Frames at any address: upstream may have cut a buffer at any byte. */
static void
feed_bytes (GstAttention *self, const guint8 *data, gsize n_frames)
{
  gsize size = n_frames * self->features.n_features * sizeof (gfloat);
  gpointer copy = NULL;

  if (GPOINTER_TO_SIZE (data) % sizeof (gfloat) != 0)
    data = copy = g_memdup2 (data, size);
  feed (self, (const gfloat *) data, n_frames);
  g_free (copy);
}

static GstFlowReturn
take_buffer (GstAttention *self, GstBuffer *input)
{
  Item item = { 0 };
  GstMapInfo map;
  GError *error = NULL;
  gsize n_frames;

  if (!gst_features_count_frames (&self->features, gst_buffer_get_size (input), &n_frames, &error))
    goto wrong_size;
  if (n_frames > 0)
    adopt_restored (self);
  if (GST_BUFFER_IS_DISCONT (input) && self->streaming)
    handle_discont (self, input);
  note_buffer_size (self, n_frames);

  item.n_frames = n_frames;
  item.buffer = make_output (self, input, n_frames);
  if (item.buffer == NULL)
    goto no_memory;
  if (n_frames > 0 && !gst_buffer_map (item.buffer, &item.map, GST_MAP_WRITE))
    goto no_memory;
  if (!gst_buffer_map (input, &map, GST_MAP_READ))
    goto cannot_read;
  gst_queue_array_push_tail_struct (self->waiting, &item);
  if (GST_BUFFER_FLAG_IS_SET (input, GST_BUFFER_FLAG_GAP))
    feed (self, NULL, n_frames);
  else
    feed_bytes (self, map.data, n_frames);
  gst_buffer_unmap (input, &map);

  if (n_frames > 0) {
    GstClockTime duration = gst_features_duration (&self->features, n_frames);
    gboolean known = GST_BUFFER_PTS_IS_VALID (input) && GST_CLOCK_TIME_IS_VALID (duration);

    self->streaming = TRUE;
    self->next_pts = known ? GST_BUFFER_PTS (input) + duration : GST_CLOCK_TIME_NONE;
  }
  return GST_FLOW_OK;

  /* ERRORS */
wrong_size : {
  GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("%s", error->message), (NULL));
  g_error_free (error);
  return GST_FLOW_ERROR;
}
no_memory : {
  item_clear (&item);
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT, ("no memory for a buffer of %" G_GSIZE_FORMAT " frames", n_frames),
                     (NULL));
  return GST_FLOW_ERROR;
}
cannot_read : {
  item_clear (&item);
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("cannot map a buffer for reading"), (NULL));
  return GST_FLOW_ERROR;
}
}

static GstFlowReturn
gst_attention_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *input)
{
  GstAttention *self = GST_ATTENTION (trans);
  GstFlowReturn flow;

  /* The parent negotiates, and leaves the buffer in queued_buf. */
  flow = GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class)->submit_input_buffer (trans, is_discont, input);
  if (flow != GST_FLOW_OK)
    return flow;
  input = trans->queued_buf;
  trans->queued_buf = NULL;
  if (self->stream == NULL) {
    gst_buffer_unref (input);
    return GST_FLOW_NOT_NEGOTIATED;
  }
  flow = take_buffer (self, input);
  gst_buffer_unref (input);
  return flow;
}

/*
 * Pushes by itself instead of handing one buffer after another to the parent, which would mark the first that leaves as
 * discontinuous when the one that just came in is: with look-ahead these are not the same.
 */
static GstFlowReturn
gst_attention_generate_output (GstBaseTransform *trans, GstBuffer **output)
{
  *output = NULL;
  return push_ready (GST_ATTENTION (trans));
}

/* Never called; without it the parent passes everything through. */
static GstFlowReturn
gst_attention_transform (GstBaseTransform *trans, GstBuffer *input, GstBuffer *output)
{
  return GST_FLOW_NOT_SUPPORTED;
}

/* ---- events ---- */

static gboolean
ends_stream (GstAttention *self, GstEvent *event)
{
  GstPad *sink = GST_BASE_TRANSFORM_SINK_PAD (self);

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_STREAM_START:
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    return TRUE;
  case GST_EVENT_SEGMENT: {
    GstSegment current = GST_BASE_TRANSFORM (self)->segment;
    const GstSegment *segment;

    gst_event_parse_segment (event, &segment);
    current.position = segment->position; /* ours moves with the buffers */
    return !gst_segment_is_equal (segment, &current);
  }
  case GST_EVENT_CAPS: {
    GstCaps *caps, *current = gst_pad_get_current_caps (sink);
    gboolean same;

    gst_event_parse_caps (event, &caps);
    same = current != NULL && gst_caps_is_equal (caps, current);
    gst_clear_caps (&current);
    return !same;
  }
  default:
    return FALSE;
  }
}

static guint64
count_gap_frames (GstAttention *self, GstEvent *event)
{
  GstClockTime timestamp, duration;

  gst_event_parse_gap (event, &timestamp, &duration);
  if (self->stream == NULL || self->features.rate_n <= 0 || !GST_CLOCK_TIME_IS_VALID (duration))
    return 0;
  if (GST_CLOCK_TIME_IS_VALID (timestamp))
    self->next_pts = timestamp + duration;
  return gst_util_uint64_scale_round (duration, self->features.rate_n, GST_SECOND * (guint64) self->features.rate_d);
}

static gboolean
gst_attention_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstAttention *self = GST_ATTENTION (trans);

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    if (self->resumed)
      clear_items (self->ready);
    else
      forget_stream (self);
  } else if (GST_EVENT_IS_SERIALIZED (event)) {
    guint64 n_absent = GST_EVENT_TYPE (event) == GST_EVENT_GAP ? count_gap_frames (self, event) : 0;

    if (n_absent > 0)
      adopt_restored (self);
    if (ends_stream (self, event)) {
      if (!self->resumed)
        finish_stream (self);
      push_ready (self);
    } else if (n_absent > 0 || (!self->resumed && gst_queue_array_get_length (self->waiting) > 0)) {
      take_event (self, event, n_absent);
      push_ready (self);
      return TRUE;
    }
  }
  return GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class)->sink_event (trans, event);
}

/* ---- heads ---- */

static guint
gst_attention_get_children_count (GstChildProxy *proxy)
{
  GstAttention *self = GST_ATTENTION (proxy);
  guint n;

  GST_OBJECT_LOCK (self);
  n = self->heads->len;
  GST_OBJECT_UNLOCK (self);
  return n;
}

static GObject *
gst_attention_get_child_by_index (GstChildProxy *proxy, guint i)
{
  GstAttention *self = GST_ATTENTION (proxy);
  GObject *head = NULL;

  GST_OBJECT_LOCK (self);
  if (i < self->heads->len)
    head = g_object_ref (g_ptr_array_index (self->heads, i));
  GST_OBJECT_UNLOCK (self);
  return head;
}

static void
gst_attention_child_proxy_init (gpointer iface, gpointer data)
{
  GstChildProxyInterface *proxy = iface;

  proxy->get_children_count = gst_attention_get_children_count;
  proxy->get_child_by_index = gst_attention_get_child_by_index;
}

/* ---- object ---- */

static void
gst_attention_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  GST_OBJECT_LOCK (self);
  switch (id) {
  case PROP_HEADS:
    self->config.n_heads = g_value_get_uint (value);
    break;
  case PROP_KV_HEADS:
    self->config.n_kv_heads = g_value_get_uint (value);
    break;
  case PROP_WINDOW:
    self->config.window = g_value_get_uint (value);
    break;
  case PROP_LOOK_AHEAD:
    self->config.look_ahead = g_value_get_uint (value);
    break;
  case PROP_SINKS:
    self->config.n_sinks = g_value_get_uint (value);
    break;
  case PROP_MODEL_FILE:
    g_free (self->model_file);
    self->model_file = g_value_dup_string (value);
    break;
  case PROP_MODEL_PREFIX:
    g_free (self->model_prefix);
    self->model_prefix = g_value_dup_string (value);
    break;
  case PROP_SCALE:
    self->config.scale = g_value_get_double (value);
    break;
  case PROP_SOFTCAP:
    self->config.softcap = g_value_get_double (value);
    break;
  case PROP_POSITION:
    self->config.position = g_value_get_enum (value);
    break;
  case PROP_ROPE_BASE:
    self->config.rope_base = g_value_get_double (value);
    break;
  case PROP_ROPE_LAYOUT:
    self->config.rope_layout = g_value_get_enum (value);
    break;
  case PROP_ROPE_DIMENSIONS:
    self->config.rope_dimensions = g_value_get_uint (value);
    break;
  case PROP_PRECISION:
    self->config.precision = g_value_get_enum (value);
    break;
  case PROP_THREADS:
    self->config.n_threads = g_value_get_uint (value);
    break;
  case PROP_FRAME_RATE:
    self->frame_rate_n = gst_value_get_fraction_numerator (value);
    self->frame_rate_d = gst_value_get_fraction_denominator (value);
    break;
  case PROP_STATE_FILE:
    g_free (self->state_file);
    self->state_file = g_value_dup_string (value);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
  if (id == PROP_HEADS)
    gst_attention_heads_resize (self->heads, GST_OBJECT (self), g_value_get_uint (value));
}

static void
gst_attention_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  GST_OBJECT_LOCK (self);
  switch (id) {
  case PROP_HEADS:
    g_value_set_uint (value, self->config.n_heads);
    break;
  case PROP_KV_HEADS:
    g_value_set_uint (value, self->config.n_kv_heads);
    break;
  case PROP_WINDOW:
    g_value_set_uint (value, self->config.window);
    break;
  case PROP_LOOK_AHEAD:
    g_value_set_uint (value, self->config.look_ahead);
    break;
  case PROP_SINKS:
    g_value_set_uint (value, self->config.n_sinks);
    break;
  case PROP_MODEL_FILE:
    g_value_set_string (value, self->model_file);
    break;
  case PROP_MODEL_PREFIX:
    g_value_set_string (value, self->model_prefix);
    break;
  case PROP_SCALE:
    g_value_set_double (value, self->config.scale);
    break;
  case PROP_SOFTCAP:
    g_value_set_double (value, self->config.softcap);
    break;
  case PROP_POSITION:
    g_value_set_enum (value, self->config.position);
    break;
  case PROP_ROPE_BASE:
    g_value_set_double (value, self->config.rope_base);
    break;
  case PROP_ROPE_LAYOUT:
    g_value_set_enum (value, self->config.rope_layout);
    break;
  case PROP_PRECISION:
    g_value_set_enum (value, self->config.precision);
    break;
  case PROP_THREADS:
    g_value_set_uint (value, self->config.n_threads);
    break;
  case PROP_ROPE_DIMENSIONS:
    g_value_set_uint (value, self->config.rope_dimensions);
    break;
  case PROP_FRAME_RATE:
    gst_value_set_fraction (value, self->frame_rate_n, self->frame_rate_d);
    break;
  case PROP_STATE_FILE:
    g_value_set_string (value, self->state_file);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_attention_dispose (GObject *object)
{
  gst_attention_heads_resize (GST_ATTENTION (object)->heads, GST_OBJECT (object), 0);
  G_OBJECT_CLASS (gst_attention_parent_class)->dispose (object);
}

static void
gst_attention_finalize (GObject *object)
{
  GstAttention *self = GST_ATTENTION (object);

  gst_queue_array_free (self->waiting);
  gst_queue_array_free (self->ready);
  g_free (self->model_file);
  g_free (self->model_prefix);
  g_free (self->state_file);
  g_ptr_array_unref (self->heads);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (gst_attention_parent_class)->finalize (object);
}

static void
gst_attention_init (GstAttention *self)
{
  GstBaseTransform *trans = GST_BASE_TRANSFORM (self);

  self->config = attn_config_default ();
  self->config.n_threads = DEFAULT_THREADS;
  g_mutex_init (&self->lock);
  self->heads = g_ptr_array_new_with_free_func (gst_object_unref);
  gst_attention_heads_resize (self->heads, GST_OBJECT (self), self->config.n_heads);
  self->frame_rate_n = 0;
  self->frame_rate_d = 1;
  self->model_prefix = g_strdup ("");
  self->waiting = gst_queue_array_new_for_struct (sizeof (Item), 16);
  self->ready = gst_queue_array_new_for_struct (sizeof (Item), 16);
  self->next_pts = GST_CLOCK_TIME_NONE;
  gst_base_transform_set_passthrough (trans, FALSE);
  gst_base_transform_set_in_place (trans, FALSE);
  gst_base_transform_set_gap_aware (trans, TRUE);
}

static void
install_position_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_POSITION,
      g_param_spec_enum ("position", "Position",
                         "How attention knows how far away a frame is: as the model was trained. Without a model, "
                         "alibi makes near frames count more",
                         GST_TYPE_ATTENTION_POSITION, DEFAULT_POSITION, flags));
  g_object_class_install_property (
      object_class, PROP_ROPE_BASE,
      g_param_spec_double ("rope-base", "RoPE base",
                           "position=rope: pair i of n/2 turns by base^(-2i/n) radians per frame. 10000 as in the "
                           "paper; models for long contexts have more (rope_theta in Hugging Face's configurations)",
                           1, G_MAXDOUBLE, DEFAULT_ROPE_BASE, flags));
  g_object_class_install_property (
      object_class, PROP_ROPE_LAYOUT,
      g_param_spec_enum ("rope-layout", "RoPE layout",
                         "position=rope: which values of a head are a pair. The wrong one gives wrong outputs without "
                         "an error: it is half for models in Hugging Face's files, mostly",
                         GST_TYPE_ATTENTION_ROPE_LAYOUT, DEFAULT_ROPE_LAYOUT, flags));
  g_object_class_install_property (
      object_class, PROP_ROPE_DIMENSIONS,
      g_param_spec_uint ("rope-dimensions", "RoPE dimensions",
                         "position=rope: how many values of each head are rotated, an even number; the others stay "
                         "as they are (partial rotary). 0 = the whole head",
                         0, G_MAXUINT, DEFAULT_ROPE_DIMENSIONS, flags));

  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_POSITION, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ROPE_LAYOUT, 0);
}

static void
install_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_HEADS,
      g_param_spec_uint ("heads", "Heads",
                         "Attention heads, each with its own query, key and value. 1 = single-head attention. "
                         "Without a model the number of features must be a multiple",
                         1, ATTN_MAX_FEATURES, DEFAULT_HEADS, flags));
  g_object_class_install_property (
      object_class, PROP_KV_HEADS,
      g_param_spec_uint ("kv-heads", "Key/value heads",
                         "Heads of keys and values, each shared by heads / kv-heads heads "
                         "(grouped-query attention). 0 = as many as heads. Less than heads needs a model",
                         0, ATTN_MAX_FEATURES, DEFAULT_KV_HEADS, flags));
  g_object_class_install_property (
      object_class, PROP_WINDOW,
      g_param_spec_uint ("window", "Window",
                         "Frames that each frame attends to, itself included: window=1 sees only itself, "
                         "window=100 at 100 frames per second looks back 0.99 s",
                         1, ATTN_MAX_WINDOW, DEFAULT_WINDOW, flags));
  g_object_class_install_property (
      object_class, PROP_LOOK_AHEAD,
      g_param_spec_uint ("look-ahead", "Look-ahead",
                         "Later frames that each frame also attends to. Each of them adds one frame of "
                         "latency",
                         0, ATTN_MAX_WINDOW, DEFAULT_LOOK_AHEAD, flags));
  g_object_class_install_property (
      object_class, PROP_SINKS,
      g_param_spec_uint ("sinks", "Sinks",
                         "Frames at the start of the stream that stay attended to for ever, also when the window "
                         "has left them behind (attention sinks)",
                         0, ATTN_MAX_WINDOW, DEFAULT_SINKS, flags));
  g_object_class_install_property (
      object_class, PROP_MODEL_FILE,
      g_param_spec_string (
          "model-file", "Model file",
          "Safetensors file with the projections, named as in PyTorch "
          "nn.MultiheadAttention, Hugging Face or the Annotated Transformer. None = parameter-free attention: each "
          "head takes its own slice of the frame as query, key and value",
          NULL, flags));
  g_object_class_install_property (
      object_class, PROP_MODEL_PREFIX,
      g_param_spec_string ("model-prefix", "Model prefix",
                           "What stands before the names of the parameters in the model file, such as "
                           "encoder.layers.0.self_attn. (with the dot)",
                           "", flags));
  g_object_class_install_property (
      object_class, PROP_SCALE,
      g_param_spec_double ("scale", "Scale",
                           "Factor of query times key before the softmax. 0 = 1 / sqrt (values per head)", 0,
                           G_MAXFLOAT, DEFAULT_SCALE, flags));
  g_object_class_install_property (
      object_class, PROP_SOFTCAP,
      g_param_spec_double ("softcap", "Softcap",
                           "Keeps scores softly between -softcap and softcap, so that no single frame takes all the "
                           "attention: softcap * tanh (score / softcap), before the mask, as models such as Gemma 2 "
                           "are trained with (50 there). 0 = off",
                           0, 1e30, DEFAULT_SOFTCAP, flags));
  g_object_class_install_property (
      object_class, PROP_PRECISION,
      g_param_spec_enum ("precision", "Precision",
                         "What parameters and window are stored in; everything is computed in float32. 16 bits halve "
                         "the memory, and the time where reading it is the work (many features, one frame per "
                         "buffer). Error, of the largest output: f16 0.1 %, bf16 0.8 %",
                         GST_TYPE_ATTENTION_PRECISION, DEFAULT_PRECISION, flags));
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_PRECISION, 0);
  g_object_class_install_property (
      object_class, PROP_THREADS,
      g_param_spec_uint ("threads", "Threads",
                         "Threads that share the work of each buffer, the streaming thread included, where there is "
                         "enough of it (some ten microseconds). For large layers; the output is the same, bit for bit",
                         1, ATTN_MAX_THREADS, DEFAULT_THREADS, flags));
  g_object_class_install_property (
      object_class, PROP_FRAME_RATE,
      gst_param_spec_fraction ("frame-rate", "Frame rate",
                               "Frames per second where the caps do not tell, used for the latency that "
                               "look-ahead costs. 0/1 = from the caps",
                               0, 1, G_MAXINT, 1, 0, 1, flags));
  g_object_class_install_property (
      object_class, PROP_STATE_FILE,
      g_param_spec_string ("state-file", "State file",
                           "Where the stream is kept between runs: restored at start if the file is there, written at "
                           "stop (as the last frame left it, before the drain) if frames have come. A damaged file, or "
                           "that of another layer, is an error, and is left alone",
                           NULL, flags));
}

static void
install_signals (GType type)
{
  /**
   * GstAttention::save-state:
   *
   * What the next frame would go on from. After the end of a stream, until the next frame, that is the state before the
   * drain. Any thread, while buffers flow; then it may be taken in the middle of a buffer, and the number of the next
   * frame stands at byte 40 (see attn.h).
   *
   * Returns: (transfer full) (nullable): the state; %NULL when there is no stream yet
   */
  g_signal_new_class_handler ("save-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_attention_save_state), NULL, NULL, NULL, G_TYPE_BYTES, 0);

  /**
   * GstAttention::restore-state:
   * @state: what save-state or a state file gave
   *
   * The next frame that comes in goes on from @state. What still waits for its look-ahead is answered before, as at the
   * end of a stream. Any thread, while buffers flow.
   *
   * Returns: %FALSE, after a warning message, when the state is damaged or not of this layer, or there is no stream
   * yet; then nothing changes
   */
  g_signal_new_class_handler ("restore-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_attention_restore_state), NULL, NULL, NULL, G_TYPE_BOOLEAN, 1,
                              G_TYPE_BYTES);
}

static void
gst_attention_class_init (GstAttentionClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_attention_debug, "attention", 0, "self-attention on feature streams");

  object_class->set_property = gst_attention_set_property;
  object_class->get_property = gst_attention_get_property;
  object_class->dispose = gst_attention_dispose;
  object_class->finalize = gst_attention_finalize;
  install_properties (object_class);
  install_position_properties (object_class);
  install_signals (G_TYPE_FROM_CLASS (klass));
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_HEAD, 0);

  trans_class->start = gst_attention_start;
  trans_class->stop = gst_attention_stop;
  trans_class->query = gst_attention_query;
  trans_class->transform_caps = gst_attention_transform_caps;
  trans_class->set_caps = gst_attention_set_caps;
  trans_class->decide_allocation = gst_attention_decide_allocation;
  trans_class->submit_input_buffer = gst_attention_submit_input_buffer;
  trans_class->generate_output = gst_attention_generate_output;
  trans_class->transform = gst_attention_transform;
  trans_class->sink_event = gst_attention_sink_event;
  trans_class->passthrough_on_same_caps = FALSE;

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Self-attention", "Filter/Effect",
                                         "Multi-head self-attention over a sliding window of feature vectors",
                                         "the gst-attention authors");
}
