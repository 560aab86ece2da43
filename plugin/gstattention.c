/*
 * gst-attention: the element `attention`: the object, its layer and its heads. An AttnStream does the mathematics.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/**
 * SECTION:element-attention
 * @title: attention
 *
 * Multi-head self-attention, the layer at the heart of every Transformer, on a live stream of feature vectors (frames).
 * Each frame attends to the last #GstAttention:window frames, itself included, and to #GstAttention:look-ahead later
 * ones, or to the frames of its chunk and of earlier chunks (#GstAttention:chunk, #GstAttention:chunks). It leaves as a
 * mixture of these frames. The parameters come from a safetensors file (#GstAttention:model-file), as PyTorch users
 * have it. Without a file each head mixes its own slice of the frames.
 *
 * Each input buffer gives one output buffer, with as many frames and the same timestamps. The output does not depend on
 * how many frames a buffer holds. Look-ahead delays buffers, and the element reports that delay as latency. If a tee
 * feeds the element and another branch, the other branch needs a queue that holds as much as that delay; otherwise the
 * two branches wait for each other. If the look-ahead is longer than the second that a queue holds, use `queue
 * max-size-time=0`.
 *
 * ## Feature streams
 *
 * A feature stream has one of two kinds of caps. `audio/x-raw, format=F32LE` has one channel per feature and one sample
 * per frame, so every element that moves audio moves features. `other/tensors` has one float32 tensor of dimensions
 * features:frames:1:1, as in NNStreamer.
 *
 * ## Models
 *
 * The metadata of the model file can hold values for the properties `heads`, `kv-heads`, `window`, `look-ahead`,
 * `sinks`, `scale`, `softcap`, `position`, `rope-base`, `rope-layout`, `rope-dimensions`, `qk-norm`, `qk-norm-eps`,
 * `chunk` and `chunks`. A property that is not set takes its value from there, or else has its default. If a property
 * that is set, even to its default, disagrees with the file, an error names both values. The element reads the metadata
 * when #GstAttention:model-file or #GstAttention:model-prefix is set. From then on the properties show these values,
 * and the children for the heads exist. It reads the parameters at start, and reports faults of the file then.
 *
 * The metadata can also describe the frames that the model was trained on: `sample-rate`, `bins`, `style`,
 * `frame-length`, `hop-length`, `fft-size`, `low-frequency`, `high-frequency`, `window-function`, `mel-scale`,
 * `log-maximum` (with the names of the properties of `logmel`, which puts them into its caps) and `frame-rate` (which
 * all caps have). The element refuses frames that do not fit. It does not compare an entry that is missing on one side.
 * The outputs are not log-mel frames any more, so their caps keep only `sample-rate`, which is that of the sound.
 *
 * ## What ends a stream
 *
 * These end a stream: EOS, a flush, a new segment, caps that describe other frames (another D, type or rate, but not
 * another number of frames per buffer), and a discontinuity that is not a hole. The next frame is frame 0 of a new
 * stream. The element first pushes the outputs that still wait for their look-ahead, unless there was a flush. Their
 * windows are shorter at the end.
 *
 * ## Absent frames
 *
 * GAP events, buffers with the GAP flag, and timestamps that jump forward by whole frames leave frames absent: no frame
 * attends to them, and frame numbers go on. The element compares every timestamp with the one that it expects. With the
 * DISCONT flag, a jump of one frame counts. Most sources never set the flag. Without it, a jump counts if it is at
 * least one frame long, and at least #GstFrameFilter:alignment-threshold. Smaller differences are jitter. The slow
 * drift of a clock never counts as a jump, however long it lasts. A jump is a whole number of frames if it is off by at
 * most a quarter of a frame, or by the jitter of the timestamps.
 *
 * With the flag, a jump back, or a jump that is not a whole number of frames, begins a new stream. Without it, the
 * stream goes on as if nothing were missing. A warning message reports each case once, with the numbers. The flag alone
 * does not end a stream if the times continue or are unknown.
 *
 * Caps that do not fit are an error when the first buffer arrives, or the end of the stream.
 *
 * ## State
 *
 * With #GstFrameFilter:state-file a stream outlives its process. The element reads the file at start, and the stream
 * goes on where it stopped. It writes the file at EOS, and at stop if more frames have come since. A file that cannot
 * be written is an error at start. The element follows symbolic links. A new file replaces the old one as a whole, with
 * the same mode, so a crash leaves one or the other. Where that is impossible (the file is a mount point, its folder
 * takes no new file, the disk is full), the element overwrites the old file, and a crash while it does so damages the
 * file. If the element cannot save the state, it posts an error message on the bus, and also logs an ERROR, because at
 * stop perhaps nobody listens to the bus. Each stream needs its own file.
 *
 * #GstFrameFilter::save-state and #GstFrameFilter::restore-state do the same in memory, from any thread, while buffers
 * flow. A restored stream goes on with the bits of an undisturbed one. The events at the beginning of its run do not
 * end it. If outputs of the saved stream still waited for later frames, the element drops them, because their buffers
 * are gone. A state belongs to its configuration and parameters. It does not contain gains.
 *
 * ## Gains
 *
 * The children `head0`, `head1`, ... have a property `gain`, which multiplies the contribution of the head: `attention
 * heads=4 head2::gain=0` silences the third head. You can change a gain at any time; it applies from the next output
 * frame on. You can also bind a gain to a #GstController. The element then evaluates the gain for every frame at the
 * stream time of that frame, whatever the size of the buffers. If the frame rate is unknown, the time of the buffer
 * counts. Without timestamps the gain stays as it is.
 *
 * ## What each head attends to
 *
 * You can request and release the pad `weights` at any time. For every buffer of `src` it gives one with the same
 * timestamps, in the media type of `src`: heads x span float32 per frame, where span = sinks + window + look-ahead.
 * Slot sinks + j of frame t holds the weight of frame t - window + 1 + j, so slot sinks + window - 1 is that of the
 * frame itself. Slot i < sinks holds the weight of sink i once the window has left that sink behind. A slot without a
 * frame, or with an absent one, is 0. The weights of one head add up to 1, or to 0 if there was no frame to attend to.
 * The caps of the pad carry heads, sinks, window and look-ahead. One thread pushes both pads, so each branch needs a
 * queue. A branch that is not linked does not hold up the other, and quality of service on this pad skips nothing. The
 * pad changes no bit of `src`, and costs nothing while nobody has requested it. NumPy: `numpy.load (file).reshape (-1,
 * heads, span)`.
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention name=a heads=4 a.src ! queue ! fakesink
 * a.weights ! queue ! npyenc ! filesink location=weights.npy ]| Writes the weights of four heads for NumPy.
 *
 * With #GstFrameFilter:post-messages the element posts element messages named `attention` on the bus: one per
 * #GstFrameFilter:interval, and one for the remaining frames at the end of a stream. If the frame rate is unknown, it
 * posts one per buffer. The fields:
 *
 * * `timestamp`, `stream-time`, `running-time` (guint64, ns): of the first frame
 * * `duration` (guint64, ns), `endtime` (#GstClockTime, running time): of all of them
 * * `frames` (guint64): number of frames that attended to something; absent ones do not. The following fields describe
 *   these frames
 * * `entropy` (#GstValueArray of gdouble per head, bits): mean of -sum (w log2 w). A head that attends to one frame has
 *   0; a head that attends evenly to n frames has log2 (n)
 * * `mean-lag` (gdouble per head, frames): mean distance of the attended frames in the window; negative: later frames
 * * `peak-lag` (gint per head, frames): the distance with the largest weight
 * * `sink-weight` (gdouble per head, 0 to 1): share of the sinks that the window has left behind; the lags do not count
 *   them
 *
 * ## Example
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attention heads=4 window=100 ! npyenc ! filesink
 * location=attended.npy ]| Attends over the last 100 frames with four heads; features.npy is what numpy.save() wrote.
 */
#include "gstattention-private.h"

#include "gstattentionlayers.h"
#include "gstattentionweights.h"

static GstStaticPadTemplate weights_template =
    GST_STATIC_PAD_TEMPLATE ("weights", GST_PAD_SRC, GST_PAD_REQUEST, GST_STATIC_CAPS (GST_FEATURES_CAPS));

static void gst_attention_child_proxy_init (gpointer iface, gpointer data);

G_DEFINE_TYPE_WITH_CODE (GstAttention, gst_attention, GST_TYPE_FRAME_FILTER,
                         G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_attention_child_proxy_init)
                             G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_attention_heads_preset_init))
GST_ELEMENT_REGISTER_DEFINE (attention, "attention", GST_RANK_NONE, GST_TYPE_ATTENTION)

/* ---- the layer ---- */

static AttnStatus
gst_attention_make_layer (GstFrameFilter *filter, const GstFrameFilterPlan *plan, AttnLayer **layer, AttnError *error)
{
  GstAttention *self = GST_ATTENTION (filter);
  gchar *prefix = gst_attention_dup_prefix (self);
  AttnConfig config;
  AttnStatus status;

  GST_OBJECT_LOCK (self);
  config = self->config;
  GST_OBJECT_UNLOCK (self);
  config.n_features = plan->n_features;
  config.precision = plan->precision;
  config.arithmetic = plan->arithmetic;
  config.n_threads = plan->n_threads;
  status = gst_attention_layers_get (plan->model_file, prefix, &config, layer, error);
  g_free (prefix);
  return status;
}

static void
gst_attention_layer_changed (GstFrameFilter *filter, AttnLayer *layer)
{
  GstAttention *self = GST_ATTENTION (filter);

  g_clear_pointer (&self->gains, gst_attention_gains_free);
  if (layer == NULL)
    return;
  GST_INFO_OBJECT (self, "%u heads", attn_layer_n_heads (layer));
  gst_attention_set_in_effect (self, attn_layer_attention (layer, 0));
  GST_OBJECT_LOCK (self);
  self->gains = gst_attention_gains_new (self->heads, 0);
  GST_OBJECT_UNLOCK (self);
}

/* A prefix without a file: the user expects a model, and would get identity projections. */
static gboolean
check_prefix (GstAttention *self)
{
  gchar *file = gst_frame_filter_dup_model_file (GST_FRAME_FILTER (self)), *prefix = gst_attention_dup_prefix (self);
  gboolean is_right = file != NULL || prefix == NULL || *prefix == '\0';

  if (!is_right) {
    gchar *shown = g_utf8_make_valid (prefix, -1);

    GST_ELEMENT_ERROR (self, RESOURCE, SETTINGS, ("model-prefix is \"%s\", but there is no model-file", shown),
                       ("set model-file, or leave model-prefix empty"));
    g_free (shown);
  }
  g_free (prefix);
  g_free (file);
  return is_right;
}

static gboolean
gst_attention_start (GstBaseTransform *trans)
{
  return check_prefix (GST_ATTENTION (trans)) && GST_BASE_TRANSFORM_CLASS (gst_attention_parent_class)->start (trans);
}

/* ---- heads ---- */

static gboolean
gst_attention_follows_rows (GstFrameFilter *filter, guint side)
{
  return gst_attention_gains_follow_rows (GST_ATTENTION (filter)->gains);
}

static void
gst_attention_before_rows (GstFrameFilter *filter, AttnStream *stream, guint64 n, gboolean is_new)
{
  gst_attention_gains_apply (GST_ATTENTION (filter)->gains, filter, stream, n, is_new);
}

/* ---- weights ---- */

static GstPad *
gst_attention_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name, const GstCaps *caps)
{
  return gst_frame_filter_add_side_pad (GST_FRAME_FILTER (element), 0, template, "weights");
}

static void
gst_attention_release_pad (GstElement *element, GstPad *pad)
{
  gst_frame_filter_remove_side_pad (GST_FRAME_FILTER (element), pad);
}

/* ---- children ---- */

static guint
gst_attention_get_children_count (GstChildProxy *proxy)
{
  return gst_attention_heads_count (GST_ATTENTION (proxy)->heads, GST_OBJECT (proxy));
}

static GObject *
gst_attention_get_child_by_index (GstChildProxy *proxy, guint i)
{
  return gst_attention_heads_get (GST_ATTENTION (proxy)->heads, GST_OBJECT (proxy), i);
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
gst_attention_dispose (GObject *object)
{
  gst_attention_heads_resize (GST_ATTENTION (object)->heads, GST_OBJECT (object), 0);
  G_OBJECT_CLASS (gst_attention_parent_class)->dispose (object);
}

static void
gst_attention_finalize (GObject *object)
{
  GstAttention *self = GST_ATTENTION (object);

  g_free (self->model_prefix);
  g_ptr_array_unref (self->heads);
  G_OBJECT_CLASS (gst_attention_parent_class)->finalize (object);
}

static void
set_filter_functions (GstFrameFilterClass *filter_class)
{
  filter_class->make_layer = GST_DEBUG_FUNCPTR (gst_attention_make_layer);
  filter_class->layer_changed = GST_DEBUG_FUNCPTR (gst_attention_layer_changed);
  filter_class->follows_rows = GST_DEBUG_FUNCPTR (gst_attention_follows_rows);
  filter_class->before_rows = GST_DEBUG_FUNCPTR (gst_attention_before_rows);
  gst_attention_weights_set_functions (filter_class);
}

static void
gst_attention_class_init (GstAttentionClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = gst_attention_set_property;
  object_class->get_property = gst_attention_get_property;
  object_class->dispose = gst_attention_dispose;
  object_class->finalize = gst_attention_finalize;
  gst_attention_install_properties (object_class);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_HEAD, 0);

  element_class->request_new_pad = GST_DEBUG_FUNCPTR (gst_attention_request_new_pad);
  element_class->release_pad = GST_DEBUG_FUNCPTR (gst_attention_release_pad);
  GST_BASE_TRANSFORM_CLASS (klass)->start = GST_DEBUG_FUNCPTR (gst_attention_start);
  set_filter_functions (GST_FRAME_FILTER_CLASS (klass));

  gst_element_class_add_static_pad_template (element_class, &weights_template);
  gst_element_class_set_static_metadata (element_class, "Self-attention", "Filter/Effect/Audio",
                                         "Multi-head self-attention over a sliding window of feature vectors",
                                         "the gst-attention authors");
}

static void
gst_attention_init (GstAttention *self)
{
  self->config = self->in_effect = attn_config_default ();
  if (attn_config_resolve (&self->in_effect, NULL, NULL) != ATTN_OK)
    g_assert_not_reached (); /* only a model can disagree */
  self->model_prefix = g_strdup ("");
  self->heads = g_ptr_array_new_with_free_func (gst_object_unref);
  gst_attention_heads_resize (self->heads, GST_OBJECT (self), self->in_effect.n_heads);
  GST_FRAME_FILTER (self)->n_sides = 1; /* the weights */
}
