/*
 * gst-attention: the element `attentionencoder`: a whole encoder from one file. An AttnStream does the mathematics.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/**
 * SECTION:element-attentionencoder
 * @title: attentionencoder
 *
 * A whole encoder, such as a Transformer of many layers, on a live stream of feature vectors (frames): norms,
 * feed-forward layers, attention, convolutions and residuals, from one model file (#GstAttentionEncoder:model-file).
 * `examples/export_encoder.py` writes such a file from a module of PyTorch, or from a checkpoint. The element
 * `attention` runs one layer of attention by itself. Several `attention` elements in a row have no residuals and no
 * norms between them, so they are not an encoder.
 *
 * Each block keeps its own past and computes every frame once. The output equals that of the whole stream at once, bit
 * for bit, however many frames a buffer holds. The look-aheads of the layers add up, and the element reports the sum as
 * latency: #GstAttentionEncoder:latency-frames. If a tee feeds the element and another branch, the other branch needs a
 * queue that holds as much as that.
 *
 * Feature streams, absent frames, states (#GstFrameFilter:state-file), metadata about the front end (`sample-rate`,
 * `bins`, `style` ...), and the ends of a stream are those of `attention`. `logmel model-file=...` with the same file,
 * in front of the encoder, makes the frames that the encoder was trained on. The encoder refuses other frames.
 *
 * ## Output
 *
 * With a stride of 1 there is one output for each frame. Then each input buffer gives one output buffer, with the same
 * timestamps, flags and metas.
 *
 * With a stride of s, which convolutions and stacks can have, an encoder gives one output for s frames. Output i has
 * the time of frame i s and lasts s frames. The output rate is the input rate divided by s. The caps are audio/x-raw if
 * that is a whole number of frames per second, else other/tensors. All outputs that become ready with an input buffer
 * leave in one buffer, or, as other/tensors, in one buffer each. If none becomes ready, no buffer leaves. The flags and
 * metas are those of the buffer that brought frame i s. A DISCONT flag goes to the first output behind the
 * discontinuity.
 *
 * ## Absent frames
 *
 * A convolution that reaches over a hole gives outputs that are present although their frames are absent. Such outputs
 * leave in buffers of their own, at their time. Absent outputs leave as the GAP event, or as the buffer with the GAP
 * flag, that brought their frames. If the timestamps jumped, absent outputs do not leave at all. A buffer loses its GAP
 * flag if any of its outputs is present. (If the caps state several frames per buffer, such a buffer of its own holds
 * one output and leaves between two CAPS events.)
 *
 * ## What its layers attend to
 *
 * Layers of attention are counted from 0, in the order in which frames meet them. The pad `weights_1` gives the weights
 * of the second layer: a row of heads x span float32 for each frame that comes to the layer, in the order of the pad
 * `weights` of `attention`, with the rate and the times of those frames. A layer behind a stride of 4 gives one row for
 * four frames. The caps of the pad carry heads, sinks, window and look-ahead, so that `attentionscope` can draw the
 * rows. Rows leave as soon as they are known, so they may be ahead of `src`. The pad reports the latency of `src`, or
 * its own if its rows are later. Each event keeps its place among the rows, and EOS comes behind the last row. You can
 * request and release a pad at any time. It changes no bit of `src`, and a pad that is not linked holds up nothing. One
 * thread pushes all pads, so each branch needs a queue.
 *
 * With #GstFrameFilter:post-messages the element posts the messages of `attention` for each layer, with one more field:
 * `layer` (guint), the number of the layer.
 *
 * ## Gains
 *
 * The children `layer0`, `layer1`, ... have children `head0`, `head1`, ... with a property `gain`, which multiplies the
 * contribution of the head: `layer2::head1::gain=0` silences the second head of the third layer. The children exist as
 * soon as #GstAttentionEncoder:model-file is set: the element reads the file then. You can change a gain at any time;
 * it applies from the next row that its layer computes. If a gain is bound to a #GstController, the element evaluates
 * it for every row at the stream time of that row, whatever the size of the buffers. A state does not contain gains;
 * presets do.
 *
 * ## Late outputs
 *
 * The element never skips late outputs (`qos`), because it computes the following outputs from the same frames.
 *
 * ## Example
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attentionencoder model-file=encoder.safetensors ! npyenc !
 * filesink location=encoded.npy ]| Runs an encoder over frames that numpy.save() wrote; numpy.load() reads the result.
 *
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attentionencoder name=e model-file=encoder.safetensors
 * e.weights_1 ! queue ! attentionscope ! videoconvert ! autovideosink ]| Shows what the second layer attends to.
 */
#include "gstattentionencoder-private.h"

#include <stdio.h>
#include <string.h>

#include "gstattentionhead.h"
#include "gstattentionlayers.h"
#include "gstattentionweights.h"

static GstStaticPadTemplate weights_template =
    GST_STATIC_PAD_TEMPLATE ("weights_%u", GST_PAD_SRC, GST_PAD_REQUEST, GST_STATIC_CAPS (GST_FEATURES_CAPS));

enum {
  PROP_0,
  PROP_MODEL_FILE,
  PROP_LATENCY_FRAMES,
  PROP_MODEL,
};

static GParamSpec *properties[PROP_MODEL + 1];

G_DEFINE_TYPE_WITH_CODE (GstAttentionEncoder, gst_attention_encoder, GST_TYPE_FRAME_FILTER,
                         G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_attention_encoder_child_proxy_init)
                             G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_attention_encoder_preset_init))
GST_ELEMENT_REGISTER_DEFINE (attentionencoder, "attentionencoder", GST_RANK_NONE, GST_TYPE_ATTENTION_ENCODER)

/* ---- the layer ---- */

/* A rate is a fraction of two ints, and is divided by the stride. */
static AttnStatus
check_stride (const AttnLayer *layer, const gchar *file, AttnError *error)
{
  if (attn_layer_stride (layer) <= G_MAXINT)
    return ATTN_OK;
  g_snprintf (error->message, sizeof error->message,
              "%.500s: one output for %" G_GUINT64_FORMAT " frames, but caps can state at most %d", file,
              attn_layer_stride (layer), G_MAXINT);
  return error->status = ATTN_ERROR_MODEL;
}

/* Rates that are set and disagree; where nobody sets one, the file's counts if the caps do not tell. */
static AttnStatus
check_frame_rate (GstFrameFilter *filter, const AttnLayer *layer, const gchar *file, AttnError *error)
{
  guint32 numerator, denominator;
  gint rate_n, rate_d;

  attn_layer_frame_rate (layer, &numerator, &denominator);
  GST_OBJECT_LOCK (filter);
  rate_n = filter->frame_rate_n;
  rate_d = filter->frame_rate_d;
  GST_OBJECT_UNLOCK (filter);
  if (numerator == 0 || rate_n == 0 || (gint64) numerator * rate_d == (gint64) denominator * rate_n)
    return ATTN_OK;
  g_snprintf (error->message, sizeof error->message,
              "frame-rate is %d/%d, but %.500s was trained on %u/%u frames per second", rate_n, rate_d, file, numerator,
              denominator);
  return error->status = ATTN_ERROR_CONFIG;
}

static AttnEncoderOptions
options_of (const GstFrameFilterPlan *plan)
{
  AttnEncoderOptions options = attn_encoder_options_default ();

  options.precision = plan->precision;
  options.arithmetic = plan->arithmetic;
  options.n_threads = plan->n_threads;
  return options;
}

static AttnStatus
gst_attention_encoder_make_layer (GstFrameFilter *filter, const GstFrameFilterPlan *plan, AttnLayer **layer,
                                  AttnError *error)
{
  AttnEncoderOptions options = options_of (plan);
  AttnStatus status;

  if (plan->model_file == NULL)
    goto not_started;
  status = gst_attention_layers_get_encoder (plan->model_file, &options, layer, error);
  if (status != ATTN_OK)
    return status;
  if ((status = check_stride (*layer, plan->model_file, error)) != ATTN_OK
      || (status = check_frame_rate (filter, *layer, plan->model_file, error)) != ATTN_OK)
    gst_attention_layers_release (*layer);
  return status;

  /* ERRORS */
not_started: /* where it would have been read */
  g_strlcpy (error->message, "caps came before the element was started", sizeof error->message);
  return error->status = ATTN_ERROR_CONFIG;
}

static void
append_attention (GValue *array, const AttnConfig *config)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, GST_TYPE_STRUCTURE);
  g_value_take_boxed (&value,
                      gst_structure_new ("attention", "heads", G_TYPE_UINT, config->n_heads, "window", G_TYPE_UINT,
                                         config->window, "look-ahead", G_TYPE_UINT, config->look_ahead, "sinks",
                                         G_TYPE_UINT, config->n_sinks, "chunk", G_TYPE_UINT, config->chunk, "chunks",
                                         G_TYPE_UINT, config->chunks, NULL));
  gst_value_array_append_and_take_value (array, &value);
}

/* `layer` NULL: there is nothing to say. */
static GstStructure *
describe (const AttnLayer *layer)
{
  GstStructure *model;
  GValue attentions = G_VALUE_INIT;
  guint i;

  if (layer == NULL)
    return gst_structure_new_empty ("attentionencoder");
  model = gst_structure_new ("attentionencoder", "features", G_TYPE_UINT, attn_layer_n_features (layer), "outputs",
                             G_TYPE_UINT, attn_layer_n_outputs (layer), "blocks", G_TYPE_UINT,
                             attn_layer_n_blocks (layer), "parameters", G_TYPE_UINT64, attn_layer_n_parameters (layer),
                             "operations", G_TYPE_DOUBLE, attn_layer_operations (layer), "stride", G_TYPE_UINT64,
                             attn_layer_stride (layer), "reach-back", G_TYPE_UINT64, attn_layer_reach_back (layer),
                             "reach-ahead", G_TYPE_UINT64, attn_layer_reach_ahead (layer), NULL);
  gst_value_array_init (&attentions, attn_layer_n_attentions (layer));
  for (i = 0; i < attn_layer_n_attentions (layer); i++)
    append_attention (&attentions, attn_layer_attention (layer, i));
  gst_structure_take_value (model, "attentions", &attentions);
  return model;
}

static void
gst_attention_encoder_layer_changed (GstFrameFilter *filter, AttnLayer *layer)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (filter);
  GstStructure *model = describe (layer);

  filter->n_sides = layer != NULL ? attn_layer_n_attentions (layer) : 0;
  if (layer != NULL)
    gst_attention_encoder_set_children (self, layer);
  gst_attention_encoder_use_children (self, layer != NULL);
  GST_OBJECT_LOCK (self);
  gst_structure_free (self->model);
  self->model = model;
  self->latency_frames = layer != NULL ? attn_layer_reach_ahead (layer) : 0;
  GST_OBJECT_UNLOCK (self);
  g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_LATENCY_FRAMES]);
  g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_MODEL]);
}

/* ---- pads ---- */

/* The one that `name` says, or else the first that has no pad. */
static guint
number_of (GstElement *element, const gchar *name)
{
  guint number = 0;
  gchar *text;
  GstPad *pad;

  if (name != NULL && sscanf (name, "weights_%u", &number) == 1)
    return number;
  for (;; number++) {
    text = g_strdup_printf ("weights_%u", number);
    pad = gst_element_get_static_pad (element, text);
    g_free (text);
    if (pad == NULL)
      return number;
    gst_object_unref (pad);
  }
}

/* As many as an encoder has blocks: attn.h. */
#define MAX_LAYERS 4096

/* The layers of attention that there are or, while no file is known, that there can be. */
static guint
count_layers (GstAttentionEncoder *self)
{
  gboolean is_known;
  guint n;

  GST_OBJECT_LOCK (self);
  n = self->layers->len;
  is_known = n > 0 || self->peeked != NULL || gst_structure_n_fields (self->model) > 0;
  GST_OBJECT_UNLOCK (self);
  return is_known ? n : MAX_LAYERS;
}

static GstPad *
gst_attention_encoder_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name,
                                       const GstCaps *caps)
{
  guint number = number_of (element, name), n = count_layers (GST_ATTENTION_ENCODER (element));
  gchar *text;
  GstPad *pad;

  if (number >= n)
    goto no_layer;
  text = g_strdup_printf ("weights_%u", number);
  pad = gst_frame_filter_add_side_pad (GST_FRAME_FILTER (element), number, template, text);
  g_free (text);
  return pad;

  /* ERRORS */
no_layer:
  GST_WARNING_OBJECT (element, "there is no pad weights_%u: the encoder has %u layers of attention, from 0 on", number,
                      n);
  return NULL;
}

static void
gst_attention_encoder_release_pad (GstElement *element, GstPad *pad)
{
  gst_frame_filter_remove_side_pad (GST_FRAME_FILTER (element), pad);
}

/* Of pads that were requested before the file was known. FALSE after an error message. */
static gboolean
check_pads (GstAttentionEncoder *self)
{
  guint n = gst_child_proxy_get_children_count (GST_CHILD_PROXY (self)), number;

  GST_OBJECT_LOCK (self);
  for (number = GST_FRAME_FILTER (self)->side_pads->len; number > n; number--)
    if (g_ptr_array_index (GST_FRAME_FILTER (self)->side_pads, number - 1) != NULL)
      break;
  GST_OBJECT_UNLOCK (self);
  if (number > n)
    goto no_layer;
  return TRUE;

  /* ERRORS */
no_layer:
  GST_ELEMENT_ERROR (
      self, RESOURCE, SETTINGS,
      ("there is a pad weights_%u, but the encoder has %u layers of attention, counted from 0", number - 1, n), (NULL));
  return FALSE;
}

/* ---- start ---- */

/* What is held of the file that was set is in the layer now, or is of no use. */
static void
release_peeked (GstAttentionEncoder *self)
{
  AttnLayer *peeked;

  GST_OBJECT_LOCK (self);
  peeked = g_steal_pointer (&self->peeked);
  GST_OBJECT_UNLOCK (self);
  if (peeked != NULL)
    gst_attention_layers_release (peeked);
}

/* It is for other options than those that start will want: there is no need of two copies of the parameters. */
static void
release_outdated (GstAttentionEncoder *self)
{
  GstFrameFilterPlan plan;
  AttnEncoderOptions options;
  gboolean is_outdated;

  gst_frame_filter_get_plan (GST_FRAME_FILTER (self), &plan);
  options = options_of (&plan);
  g_free (plan.model_file);
  GST_OBJECT_LOCK (self);
  is_outdated = self->peeked != NULL && memcmp (&self->peeked_options, &options, sizeof options) != 0;
  GST_OBJECT_UNLOCK (self);
  if (!is_outdated)
    return;
  GST_INFO_OBJECT (self, "reading model-file again: precision, arithmetic or threads have changed since it was set");
  release_peeked (self);
}

static gboolean
gst_attention_encoder_start (GstBaseTransform *trans)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (trans);
  gchar *file = gst_frame_filter_dup_model_file (GST_FRAME_FILTER (trans));
  gboolean started;

  if (file == NULL)
    goto no_file;
  g_free (file);
  release_outdated (self);
  started = GST_BASE_TRANSFORM_CLASS (gst_attention_encoder_parent_class)->start (trans);
  release_peeked (self);
  if (!started || check_pads (self))
    return started;
  GST_BASE_TRANSFORM_CLASS (gst_attention_encoder_parent_class)->stop (trans);
  return FALSE;

  /* ERRORS */
no_file:
  GST_ELEMENT_ERROR (trans, RESOURCE, SETTINGS,
                     ("model-file is not set: an encoder comes from a file, which examples/export_encoder.py makes "
                      "from a model of PyTorch"),
                     (NULL));
  return FALSE;
}

/* ---- properties ---- */

/*
 * The children of the layers are there as soon as the file is known. What was read for it is kept until start, which
 * will want it; what is wrong with a file is said then. What was kept before goes last, as it may be the same.
 */
static void
peek_at_model (GstAttentionEncoder *self)
{
  GstFrameFilterPlan plan;
  AttnEncoderOptions options;
  AttnLayer *layer = NULL;
  AttnError error;

  gst_frame_filter_get_plan (GST_FRAME_FILTER (self), &plan);
  options = options_of (&plan);
  if (plan.model_file != NULL
      && gst_attention_layers_get_encoder (plan.model_file, &options, &layer, &error) != ATTN_OK)
    GST_INFO_OBJECT (self, "no layers yet: %s", error.message);
  g_free (plan.model_file);
  gst_attention_encoder_set_children (self, layer);
  release_peeked (self);
  GST_OBJECT_LOCK (self);
  self->peeked = layer;
  self->peeked_options = options;
  GST_OBJECT_UNLOCK (self);
}

static void
gst_attention_encoder_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  switch (id) {
  case PROP_MODEL_FILE:
    gst_frame_filter_set_model_file (GST_FRAME_FILTER (object), value);
    peek_at_model (GST_ATTENTION_ENCODER (object));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
}

static void
gst_attention_encoder_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (object);

  if (id == PROP_MODEL_FILE) {
    g_value_take_string (value, gst_frame_filter_dup_model_file (GST_FRAME_FILTER (self)));
    return;
  }
  GST_OBJECT_LOCK (self);
  if (id == PROP_LATENCY_FRAMES)
    g_value_set_uint64 (value, self->latency_frames);
  else
    g_value_set_boxed (value, self->model);
  GST_OBJECT_UNLOCK (self);
}

static void
install (GObjectClass *object_class, guint id, GParamSpec *pspec)
{
  properties[id] = pspec;
  g_object_class_install_property (object_class, id, pspec);
}

static void
install_properties (GObjectClass *object_class)
{
  install (object_class, PROP_MODEL_FILE,
           g_param_spec_string (
               "model-file", "Model file",
               "Safetensors file with a whole encoder, as examples/export_encoder.py writes it from a "
               "model of PyTorch: its parameters, and the list of its blocks. Required. The element reads the file "
               "when this property is set, so that the children of its layers exist (layer2::head1::gain), and reports "
               "faults of the file at start. Set precision, arithmetic and threads first: if one of them changes "
               "afterwards, the element reads the file again at start. Elements that name the same file share its "
               "parameters",
               NULL, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  install (object_class, PROP_LATENCY_FRAMES,
           g_param_spec_uint64 (
               "latency-frames", "Latency in frames",
               "Number of later frames that an output waits for: the sum of all look-aheads. Chunks of one length in "
               "many layers count once. The reported latency follows from it, from the frame rate and from the size "
               "of the buffers. 0 before the file is read",
               0, G_MAXUINT64, 0, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  install (object_class, PROP_MODEL,
           g_param_spec_boxed ("model", "Model",
                               "Contents of the file, once it is read: features and outputs (guint, values per frame), "
                               "blocks (guint), parameters (guint64), operations (gdouble, sums and multiplications "
                               "per frame), stride, reach-back and reach-ahead (guint64, frames), attentions (array of "
                               "structures: heads, window, look-ahead, sinks, chunk and chunks; chunk is 0 if there is "
                               "a window). Empty before",
                               GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

/* ---- object ---- */

static void
gst_attention_encoder_dispose (GObject *object)
{
  gst_attention_encoder_set_children (GST_ATTENTION_ENCODER (object), NULL);
  release_peeked (GST_ATTENTION_ENCODER (object));
  G_OBJECT_CLASS (gst_attention_encoder_parent_class)->dispose (object);
}

static void
gst_attention_encoder_finalize (GObject *object)
{
  gst_structure_free (GST_ATTENTION_ENCODER (object)->model);
  g_ptr_array_unref (GST_ATTENTION_ENCODER (object)->layers);
  G_OBJECT_CLASS (gst_attention_encoder_parent_class)->finalize (object);
}

static void
gst_attention_encoder_class_init (GstAttentionEncoderClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstFrameFilterClass *filter_class = GST_FRAME_FILTER_CLASS (klass);

  object_class->set_property = gst_attention_encoder_set_property;
  object_class->get_property = gst_attention_encoder_get_property;
  object_class->dispose = gst_attention_encoder_dispose;
  object_class->finalize = gst_attention_encoder_finalize;
  install_properties (object_class);
  GST_BASE_TRANSFORM_CLASS (klass)->start = GST_DEBUG_FUNCPTR (gst_attention_encoder_start);
  GST_ELEMENT_CLASS (klass)->request_new_pad = GST_DEBUG_FUNCPTR (gst_attention_encoder_request_new_pad);
  GST_ELEMENT_CLASS (klass)->release_pad = GST_DEBUG_FUNCPTR (gst_attention_encoder_release_pad);
  filter_class->has_chains = TRUE;
  filter_class->make_layer = GST_DEBUG_FUNCPTR (gst_attention_encoder_make_layer);
  filter_class->layer_changed = GST_DEBUG_FUNCPTR (gst_attention_encoder_layer_changed);
  filter_class->follows_rows = GST_DEBUG_FUNCPTR (gst_attention_encoder_follows_rows);
  filter_class->before_rows = GST_DEBUG_FUNCPTR (gst_attention_encoder_before_rows);
  gst_attention_weights_set_functions (filter_class);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ENCODER_LAYER, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_HEAD, 0);
  gst_element_class_add_static_pad_template (GST_ELEMENT_CLASS (klass), &weights_template);
  gst_element_class_set_static_metadata (
      GST_ELEMENT_CLASS (klass), "Encoder", "Filter/Effect/Audio",
      "A whole Transformer encoder, from one model file, on a live stream of "
      "feature vectors: pads weights_%u show what its layers attend to, and layer2::head1::gain=0 silences a head",
      "the gst-attention authors");
}

static void
gst_attention_encoder_init (GstAttentionEncoder *self)
{
  self->model = describe (NULL);
  self->layers = g_ptr_array_new_with_free_func (gst_object_unref);
}
