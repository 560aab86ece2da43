/*
 * gst-attention: the element `attention`: its life and its caps. An AttnStream does the mathematics.
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
 * on how many frames a buffer holds. Look-ahead delays buffers, and the element reports that as latency. A branch
 * beside the element, behind the same tee, needs a queue that holds as much meanwhile (`queue max-size-time=0`, where
 * look-ahead is longer than its second): else both wait for each other.
 *
 * ## Feature streams
 *
 * `audio/x-raw, format=F32LE`: one channel per feature, one sample per frame, so that all that moves audio moves
 * features; or `other/tensors`, one float32 tensor of dimensions features:frames:1:1, as NNStreamer has it.
 *
 * ## Models
 *
 * Properties that are not set take what the metadata of the model file says (`heads`, `kv-heads`, `window`,
 * `look-ahead`, `sinks`, `scale`, `softcap`, `position`, `rope-base`, `rope-layout`, `rope-dimensions`), or else their
 * defaults; one that is set, be it to its default, and disagrees with the file is an error that names both. The file is
 * looked into when #GstAttention:model-file or #GstAttention:model-prefix is set, so that from then on the properties
 * read as they will be, and the children of its heads are there; it is read, and what is wrong with it said, at start.
 *
 * Metadata can also say what a model was trained on: `sample-rate`, `bins`, `style`, `frame-length`, `hop-length`,
 * `fft-size`, `low-frequency`, `high-frequency`, `window-function`, `mel-scale` (named as the properties of `logmel`,
 * which says in its caps what it made) and `frame-rate` (which all caps say). Frames that do not fit are refused. What
 * one side does not say is not compared. The output is no log-mel frame any more: its caps do not say what it is made
 * from.
 *
 * ## What ends a stream
 *
 * After EOS, a flush, caps of other frames (another D, type or rate; not another number of frames per buffer), a new
 * segment, or a discontinuity that is not a hole the next frame is frame 0 of a new stream. Frames that were still
 * waiting for their look-ahead are pushed first (unless flushed), with a window that is shorter at its end.
 *
 * ## Absent frames
 *
 * GAP events, buffers with the GAP flag, and timestamps that jump forward by whole frames leave frames absent: nothing
 * attends to them, and frame numbers go on. Every timestamp is looked at. With the DISCONT flag a jump counts from one
 * frame on; without it, as most sources never set it, from #GstAttention:alignment-threshold and one frame on. A
 * timestamp that is less off is jitter, and the drift of a clock is no jump at all, however long it lasts: frames
 * counted are frames sent. Jumps are whole within a quarter of a frame, or within what timestamps jittered by.
 *
 * With the flag, a jump back, or one that is not a whole number of frames, begins a new stream; without it the stream
 * goes on as if nothing were missing. Either is said once in a warning message, with the numbers. The flag alone, where
 * times continue or are unknown, ends nothing.
 *
 * Caps that do not fit are an error when the first buffer comes, or the end.
 *
 * ## State
 *
 * With #GstAttention:state-file a stream outlives its process: the file is read at start, and the next frame goes on
 * where the last one left off; it is written at EOS, and at stop if more has come since. A file that could not be
 * written then is an error at start. Symbolic links are followed. A new file takes the place of the old one at once,
 * with its mode, so that a crash leaves the one or the other; where it cannot (the file is mounted by itself, its
 * folder takes no new file, the disk is full) the old one is written over, and a crash in between damages it. A state
 * that is not kept is an error message on the bus, and an ERROR in the log, as at stop nobody may listen to the bus.
 * Each stream needs a file of its own.
 *
 * #GstAttention::save-state and #GstAttention::restore-state do the same in memory, from any thread, while buffers
 * flow. A stream that was restored goes on with the bits of an undisturbed one; the events at the beginning of its run
 * do not end it. Outputs that the saved stream still owed belong to buffers of another time, and are dropped. A state
 * belongs to its configuration and parameters; gains are no part of it.
 *
 * ## Gains
 *
 * The children `head0`, `head1`, ... have a property `gain`, which multiplies what the head contributes: `attention
 * heads=4 head2::gain=0` silences the third. It can be changed at any time, and holds from the next frame that leaves
 * on. Bound to a #GstController it is evaluated for every frame at that frame's own stream time, whatever the size of
 * the buffers; where the frame rate is unknown, at the time of its buffer; without timestamps it stays as it is.
 *
 * ## What each head attends to
 *
 * The pad `weights` can be requested and released at any time. For every buffer of `src` it gives one with the same
 * timestamps, in the media type of `src`: heads x span float32 per frame, span = sinks + window + look-ahead. Slot
 * sinks + j of frame t is frame t - window + 1 + j, so slot sinks + window - 1 is the frame itself; slot i < sinks is
 * sink i once the window has left it behind. A slot without a frame, or with an absent one, is 0; else a row adds up
 * to 1. Its caps carry heads, sinks, window and look-ahead. Both pads are pushed from one thread, so each branch needs
 * a queue. A branch that is not linked does not hold up the other; quality of service on it skips nothing. It changes
 * no bit of `src`, and costs nothing while it is not there. NumPy: `numpy.load (file).reshape (-1, heads, span)`.
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention name=a heads=4 a.src ! queue ! fakesink
 * a.weights ! queue ! npyenc ! filesink location=weights.npy ]| What four heads attended to, for NumPy.
 *
 * With #GstAttention:post-messages the element posts element messages named `attention` on the bus, one per
 * #GstAttention:interval of frames (and for what is left at the end of a stream; where the frame rate is unknown, one
 * per buffer):
 *
 * * `timestamp`, `stream-time`, `running-time` (guint64, ns): of the first frame
 * * `duration` (guint64, ns), `endtime` (#GstClockTime, running time): of all of them
 * * `frames` (guint64): how many frames attended to something; absent ones do not. The rest is over these
 * * `entropy` (#GstValueArray of gdouble per head, bits): mean of -sum (w log2 w). A head that looks at one frame has
 *   0, one that looks evenly at n has log2 (n)
 * * `mean-lag` (gdouble per head, frames): mean distance of what is attended to in the window; negative: later frames
 * * `peak-lag` (gint per head, frames): the distance that is attended to most
 * * `sink-weight` (gdouble per head, 0 to 1): share of the sinks that the window has left behind, which no lag counts
 *
 * ## Example
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention heads=4 window=100 ! npyenc ! filesink
 * location=attended.npy ]| Attends over the last 100 frames with four heads; features.npy is what numpy.save() wrote.
 */
#include "gstattention-private.h"

#include <string.h>

#include "gstattentionlayers.h"
#include "gstfrontend.h"

GST_DEBUG_CATEGORY (gst_attention_debug);

GstBaseTransformClass *gst_attention_base_class;

static void gst_attention_child_proxy_init (gpointer iface, gpointer data);
static void gst_attention_preset_init (gpointer iface, gpointer data);

G_DEFINE_TYPE_WITH_CODE (GstAttention, gst_attention, GST_TYPE_BASE_TRANSFORM,
                         G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_attention_child_proxy_init)
                             G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_attention_preset_init))
GST_ELEMENT_REGISTER_DEFINE (attention, "attention", GST_RANK_NONE, GST_TYPE_ATTENTION)

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate weights_template =
    GST_STATIC_PAD_TEMPLATE ("weights", GST_PAD_SRC, GST_PAD_REQUEST, GST_STATIC_CAPS (GST_FEATURES_CAPS));

static gboolean
refused (GstAttention *self, const AttnError *error)
{
  if (self->quiet)
    return FALSE;
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

void
gst_attention_free_layer (GstAttention *self)
{
  g_mutex_lock (&self->lock);
  g_clear_pointer (&self->stream, attn_stream_free);
  attn_stream_free (self->restored);
  g_atomic_pointer_set (&self->restored, NULL);
  g_clear_pointer (&self->layer, gst_attention_layers_release);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->layer_heads, g_ptr_array_unref);
  if (self->resumed) /* what the restored stream owed is gone with it */
    gst_attention_clear_items (self->waiting);
  self->resumed = FALSE;
}

static gpointer
ref_head (gconstpointer head, gpointer data)
{
  return gst_object_ref ((gpointer) head);
}

/* A layer for frames of `n_features`, 0: as its model says. FALSE after an error message. */
static gboolean
make_layer (GstAttention *self, guint n_features)
{
  gchar *file, *prefix;
  AttnConfig config;
  AttnError error;
  AttnLayer *layer;
  AttnStream *stream;
  AttnStatus status;

  gst_attention_free_layer (self);
  GST_OBJECT_LOCK (self);
  config = self->config;
  file = n_features == 0 ? g_strdup (self->model_file) : NULL;
  prefix = g_strdup (self->model_prefix);
  GST_OBJECT_UNLOCK (self);
  config.n_features = n_features;
  status = gst_attention_layers_get (file, prefix, &config, &layer, &error);
  g_free (file);
  g_free (prefix);
  if (status != ATTN_OK)
    return refused (self, &error);
  if (attn_stream_new (layer, &stream, &error) != ATTN_OK) {
    gst_attention_layers_release (layer);
    return refused (self, &error);
  }
  gst_attention_set_in_effect (self, attn_layer_attention (layer, 0));
  GST_OBJECT_LOCK (self);
  self->layer_heads = g_ptr_array_copy (self->heads, ref_head, NULL);
  GST_OBJECT_UNLOCK (self);
  g_ptr_array_set_free_func (self->layer_heads, gst_object_unref);
  g_mutex_lock (&self->lock);
  self->layer = layer;
  self->stream = stream;
  self->gains_are_read = FALSE;
  g_mutex_unlock (&self->lock);
  GST_INFO_OBJECT (self, "%u features, %u heads, %u outputs; kernels %s", attn_layer_n_features (self->layer),
                   attn_layer_n_heads (self->layer), attn_layer_n_outputs (self->layer),
                   attn_layer_kernels (self->layer));
  return gst_attention_restore_file_state (self);
}

/* What caps queries are told, after the model came or went. */
static void
publish_width (GstAttention *self)
{
  GST_OBJECT_LOCK (self);
  self->model_features = self->has_model ? attn_layer_n_features (self->layer) : 0;
  self->model_outputs = self->has_model ? attn_layer_n_outputs (self->layer) : 0;
  GST_OBJECT_UNLOCK (self);
}

static void
end_run (GstAttention *self)
{
  gst_attention_clear_items (self->waiting);
  gst_attention_clear_items (self->ready);
  gst_attention_finish_summary (self, FALSE);
  gst_attention_free_layer (self);
  gst_clear_caps (&self->refused_caps);
  gst_clear_event (&self->held_segment);
  g_atomic_int_set (&self->warned_dimensions, FALSE);
  self->has_model = FALSE;
  publish_width (self);
  g_clear_pointer (&self->file, state_file_close);
  g_clear_pointer (&self->file_state, g_bytes_unref);
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->changed = self->skipped = FALSE;
  self->gap_rest = 0;
  frame_clock_forget (&self->clock);
  memset (&self->features, 0, sizeof self->features);
}

/* A prefix without a file: whoever set it thinks of a model, and would get identity projections. */
static gboolean
check_prefix (GstAttention *self)
{
  gchar *prefix, *shown;
  gboolean is_right;

  GST_OBJECT_LOCK (self);
  prefix = g_strdup (self->model_prefix);
  is_right = self->model_file != NULL || prefix == NULL || *prefix == '\0';
  GST_OBJECT_UNLOCK (self);
  shown = g_utf8_make_valid (prefix != NULL ? prefix : "", -1);
  if (!is_right)
    GST_ELEMENT_ERROR (self, RESOURCE, SETTINGS, ("model-prefix is \"%s\", but there is no model-file", shown),
                       ("set model-file, or leave model-prefix empty"));
  g_free (shown);
  g_free (prefix);
  return is_right;
}

static gboolean
gst_attention_start (GstBaseTransform *trans)
{
  GstAttention *self = GST_ATTENTION (trans);

  GST_OBJECT_LOCK (self);
  self->has_model = self->model_file != NULL;
  self->n_max = 0;
  self->varying = self->warned_rate = FALSE;
  self->latency = 0;
  GST_OBJECT_UNLOCK (self);
  g_mutex_lock (&self->lock);
  self->n_frames = self->n_absent = 0;
  self->n_calls = self->n_timed = 0;
  self->busy = 0;
  g_mutex_unlock (&self->lock);
  self->warned_new_stream = self->warned_jump = FALSE;
  gst_attention_reset_flows (self);

  /* With a model everything but the rate is known already, and what is wrong with it is said now. */
  if (check_prefix (self) && gst_attention_open_state_file (self) && (!self->has_model || make_layer (self, 0))) {
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

  gst_attention_write_state_file (self);
  end_run (self);
  return TRUE; /* whatever became of the state: a pad that stays active leaves the whole pipeline undead */
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

/*
 * What gives `caps` downstream, for a model that makes n_outputs of n_features: just as many, where upstream has the
 * choice. Others come as well, so that the error can say how many it takes.
 */
static GstCaps *
offer_upstream (GstCaps *caps, guint n_features, guint n_outputs)
{
  GstCaps *others =
      n_features == n_outputs ? gst_caps_ref (caps) : gst_features_replace_n_features (caps, GST_FEATURES_ANY_NUMBER);

  return gst_caps_merge (gst_features_replace_n_features (caps, n_features), others);
}

static GstCaps *
gst_attention_transform_caps (GstBaseTransform *trans, GstPadDirection direction, GstCaps *caps, GstCaps *filter)
{
  GstAttention *self = GST_ATTENTION (trans);
  guint n_features, n_outputs;
  GstCaps *result;

  if (direction == GST_PAD_SINK)
    complain_of_dimensions (self, caps);
  GST_OBJECT_LOCK (self);
  n_features = self->model_features;
  n_outputs = self->model_outputs;
  GST_OBJECT_UNLOCK (self);
  /*
   * Without a model, or with one that keeps D, both sides are the same, to the letter; but what leaves is no longer
   * what a front end made, and does not say so.
   */
  if (n_features != 0 && direction == GST_PAD_SRC)
    result = offer_upstream (caps, n_features, n_outputs);
  else if (n_features != n_outputs)
    result = gst_features_replace_n_features (caps, n_outputs);
  else
    result = gst_caps_ref (caps);
  if (direction == GST_PAD_SINK)
    result = gst_front_end_remove (result);
  if (filter != NULL) {
    GstCaps *filtered = gst_caps_intersect_full (filter, result, GST_CAPS_INTERSECT_FIRST);

    gst_caps_unref (result);
    result = filtered;
  }
  return result;
}

/*
 * Where the caps do not tell the rate, the property does. Times that are off by less than a quarter of a frame are
 * whole, and so the shortest jump is three quarters of one.
 */
static void
set_clock (GstAttention *self)
{
  gint rate_n = self->features.rate_n, rate_d = self->features.rate_d;
  GstClockTime frame, threshold;

  GST_OBJECT_LOCK (self);
  if (rate_n <= 0) {
    rate_n = self->frame_rate_n;
    rate_d = self->frame_rate_d;
  }
  threshold = self->alignment_threshold;
  GST_OBJECT_UNLOCK (self);
  frame = rate_n > 0 ? gst_util_uint64_scale_round (1, GST_SECOND * (guint64) rate_d, rate_n) : 0;
  frame_clock_set_rate (&self->clock, rate_n, rate_d, frame / 4, MAX (threshold, frame - frame / 4));
}

/* FALSE after an error message. */
static gboolean
take_caps (GstAttention *self, GstCaps *caps)
{
  GstFeatures features;
  GError *error = NULL;

  if (!gst_features_from_caps (&features, caps, &error))
    goto wrong_caps;
  if (self->has_model && !gst_front_end_check (gst_attention_layers_header (self->layer), caps, &features, &error))
    goto wrong_front_end;
  if (self->has_model && features.n_features != attn_layer_n_features (self->layer))
    goto wrong_width;
  if (!self->has_model && (self->layer == NULL || attn_layer_n_features (self->layer) != features.n_features)
      && !make_layer (self, features.n_features))
    return FALSE;

  GST_OBJECT_LOCK (self);
  self->features = features;
  GST_OBJECT_UNLOCK (self);
  set_clock (self);
  gst_attention_update_latency (self);
  return TRUE;

  /* ERRORS */
wrong_caps : {
  if (!self->quiet)
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", error->message), ("caps are %" GST_PTR_FORMAT, caps));
  g_error_free (error);
  return FALSE;
}
wrong_front_end : {
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s: %s", self->model_file, error->message),
                     ("caps are %" GST_PTR_FORMAT, caps));
  g_error_free (error);
  return FALSE;
}
wrong_width : {
  if (!self->quiet) {
    gchar *name;

    GST_OBJECT_LOCK (self);
    name = g_filename_display_name (self->model_file);
    GST_OBJECT_UNLOCK (self);
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
                       ("%s takes %u features per frame, but the stream has %u", name,
                        attn_layer_n_features (self->layer), features.n_features),
                       ("caps are %" GST_PTR_FORMAT, caps));
    g_free (name);
  }
  return FALSE;
}
}

/* No error message yet: NNStreamer's converter offers caps that it takes back before the first buffer. */
gboolean
gst_attention_take_caps (GstAttention *self, GstCaps *caps)
{
  gboolean taken;

  if (self->refused_caps != NULL && gst_caps_is_equal (caps, self->refused_caps))
    return FALSE;
  self->quiet = TRUE;
  taken = take_caps (self, caps);
  self->quiet = FALSE;
  gst_caps_replace (&self->refused_caps, taken ? NULL : caps);
  self->said_refusal = FALSE;
  return taken;
}

gboolean
gst_attention_has_refused (GstAttention *self)
{
  if (self->refused_caps == NULL)
    return FALSE;
  if (!self->said_refusal)
    take_caps (self, self->refused_caps);
  self->said_refusal = TRUE;
  return TRUE;
}

/*
 * Those outside of the template never reach the event function, nor do buffers behind them: what is wrong with them is
 * said at once, and then they are refused as by any element.
 */
static GstPadProbeReturn
explain_other_caps (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstAttention *self = data;
  GstEvent *event = GST_PAD_PROBE_INFO_EVENT (info);
  GstCaps *caps, *template;
  gboolean known;

  if (GST_EVENT_TYPE (event) != GST_EVENT_CAPS)
    return GST_PAD_PROBE_OK;
  gst_event_parse_caps (event, &caps);
  template = gst_static_pad_template_get_caps (&sink_template);
  known = gst_caps_can_intersect (caps, template);
  gst_caps_unref (template);
  if (!known && !gst_attention_take_caps (self, caps))
    gst_attention_has_refused (self);
  return GST_PAD_PROBE_OK;
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

/* ---- presets ---- */

static gboolean (*load_properties) (GstPreset *preset, const gchar *name); /* GStreamer's own */

/*
 * GStreamer loads what properties and children the element has at the beginning. The gains of heads come with the
 * number of heads: once that is loaded, they can be.
 */
static gboolean
gst_attention_load_preset (GstPreset *preset, const gchar *name)
{
  return load_properties (preset, name) && load_properties (preset, name);
}

static void
gst_attention_preset_init (gpointer iface, gpointer data)
{
  GstPresetInterface *preset = iface;

  load_properties = preset->load_preset;
  preset->load_preset = gst_attention_load_preset;
}

/* ---- object ---- */

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
  gst_flow_combiner_unref (self->flows);
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

  self->config = self->in_effect = attn_config_default ();
  if (attn_config_resolve (&self->in_effect, NULL, NULL) != ATTN_OK)
    g_assert_not_reached (); /* only a model can disagree */
  self->config.n_threads = 1;
  g_mutex_init (&self->lock);
  self->heads = g_ptr_array_new_with_free_func (gst_object_unref);
  gst_attention_heads_resize (self->heads, GST_OBJECT (self), self->in_effect.n_heads);
  self->frame_rate_n = 0;
  self->frame_rate_d = 1;
  self->model_prefix = g_strdup ("");
  /* Without look-ahead one is enough, and stays in the cache. */
  self->waiting = gst_queue_array_new_for_struct (sizeof (Item), 1);
  self->ready = gst_queue_array_new_for_struct (sizeof (Item), 1);
  frame_clock_forget (&self->clock);
  self->interval = GST_ATTENTION_DEFAULT_INTERVAL;
  self->alignment_threshold = GST_ATTENTION_DEFAULT_ALIGNMENT_THRESHOLD;
  self->flows = gst_flow_combiner_new ();
  gst_flow_combiner_add_pad (self->flows, trans->srcpad);
  gst_base_transform_set_passthrough (trans, FALSE);
  gst_base_transform_set_in_place (trans, FALSE);
  gst_base_transform_set_gap_aware (trans, TRUE);
  gst_pad_add_probe (trans->sinkpad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, explain_other_caps, self, NULL);
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

  gst_attention_base_class = GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class);

  object_class->set_property = gst_attention_set_property;
  object_class->get_property = gst_attention_get_property;
  object_class->dispose = gst_attention_dispose;
  object_class->finalize = gst_attention_finalize;
  gst_attention_install_properties (object_class);
  install_signals (G_TYPE_FROM_CLASS (klass));
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_HEAD, 0);

  element_class->request_new_pad = gst_attention_request_new_pad;
  element_class->release_pad = gst_attention_release_pad;

  trans_class->start = gst_attention_start;
  trans_class->stop = gst_attention_stop;
  trans_class->query = gst_attention_query;
  trans_class->transform_caps = gst_attention_transform_caps;
  trans_class->decide_allocation = gst_attention_decide_allocation;
  trans_class->submit_input_buffer = gst_attention_submit_input_buffer;
  trans_class->generate_output = gst_attention_generate_output;
  trans_class->transform = gst_attention_transform;
  trans_class->sink_event = gst_attention_sink_event;
  trans_class->src_event = gst_attention_src_event;
  trans_class->passthrough_on_same_caps = FALSE;

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_add_static_pad_template (element_class, &weights_template);
  gst_element_class_set_static_metadata (element_class, "Self-attention", "Filter/Effect/Audio",
                                         "Multi-head self-attention over a sliding window of feature vectors",
                                         "the gst-attention authors");
}
