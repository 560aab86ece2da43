/*
 * gst-attention: the element `attention`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

#include <string.h>

#include "gstenums.h"
#include "gstsettings.h"

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
  PROP_QK_NORM,
  PROP_QK_NORM_EPS,
  PROP_CHUNK,
  PROP_CHUNKS,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

/* The offset in AttnConfig of each property that is a field of it; 0, which is no such field, for the others. */
static const gsize config_offsets[N_PROPS] = {
  [PROP_HEADS] = offsetof (AttnConfig, n_heads),
  [PROP_KV_HEADS] = offsetof (AttnConfig, n_kv_heads),
  [PROP_WINDOW] = offsetof (AttnConfig, window),
  [PROP_LOOK_AHEAD] = offsetof (AttnConfig, look_ahead),
  [PROP_SINKS] = offsetof (AttnConfig, n_sinks),
  [PROP_SCALE] = offsetof (AttnConfig, scale),
  [PROP_SOFTCAP] = offsetof (AttnConfig, softcap),
  [PROP_POSITION] = offsetof (AttnConfig, position),
  [PROP_ROPE_BASE] = offsetof (AttnConfig, rope_base),
  [PROP_ROPE_LAYOUT] = offsetof (AttnConfig, rope_layout),
  [PROP_ROPE_DIMENSIONS] = offsetof (AttnConfig, rope_dimensions),
  [PROP_QK_NORM] = offsetof (AttnConfig, qk_norm),
  [PROP_QK_NORM_EPS] = offsetof (AttnConfig, qk_norm_eps),
  [PROP_CHUNK] = offsetof (AttnConfig, chunk),
  [PROP_CHUNKS] = offsetof (AttnConfig, chunks),
};

/*
 * Where neither a model nor anybody else says anything, as attn.h has it. Here they are what gst-inspect-1.0 shows: a
 * property that is set to its default is set.
 */
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
#define DEFAULT_QK_NORM ATTN_QK_NORM_NONE
#define DEFAULT_QK_NORM_EPS 1e-5
#define DEFAULT_CHUNK 0
#define DEFAULT_CHUNKS 0

#define GST_TYPE_ATTENTION_POSITION (gst_attention_position_get_type ())
GST_DEFINE_ENUM (GstAttentionPosition, gst_attention_position,
                 { ATTN_POSITION_NONE, "None: the order of the frames does not count", "none" },
                 { ATTN_POSITION_ROPE, "RoPE: queries and keys are rotated by their frame number", "rope" },
                 { ATTN_POSITION_ALIBI, "ALiBi: scores fall linearly with distance, in each head at a slope of its own",
                   "alibi" },
                 { ATTN_POSITION_RELATIVE, "A trained bias for each head and distance, relative_bias of the model",
                   "relative" },
                 { ATTN_POSITION_TRANSFORMER_XL,
                   "Transformer-XL: sines of the distance, times linear_pos, pos_bias_u and pos_bias_v of the model",
                   "transformer-xl" })

#define GST_TYPE_ATTENTION_ROPE_LAYOUT (gst_attention_rope_layout_get_type ())
GST_DEFINE_ENUM (GstAttentionRopeLayout, gst_attention_rope_layout,
                 { ATTN_ROPE_HALF, "Pairs (i, i + n/2): GPT-NeoX, and Llama as Hugging Face has it", "half" },
                 { ATTN_ROPE_INTERLEAVED, "Pairs (2i, 2i + 1): RoFormer, GPT-J, and Llama as Meta has it",
                   "interleaved" })

#define GST_TYPE_ATTENTION_QK_NORM (gst_attention_qk_norm_get_type ())
GST_DEFINE_ENUM (GstAttentionQkNorm, gst_attention_qk_norm,
                 { ATTN_QK_NORM_NONE, "None: queries and keys are used as they are", "none" },
                 { ATTN_QK_NORM_LAYER, "LayerNorm: by mean and variance over the values of a head", "layer" },
                 { ATTN_QK_NORM_RMS, "RMSNorm: by the mean of their squares", "rms" })

/* ---- properties that nobody set ---- */

static gboolean
is_double (guint id)
{
  return id == PROP_SCALE || id == PROP_SOFTCAP || id == PROP_ROPE_BASE || id == PROP_QK_NORM_EPS;
}

static gpointer
config_field (const AttnConfig *config, guint id)
{
  return G_STRUCT_MEMBER_P (config, config_offsets[id]);
}

static gboolean
is_unset (const AttnConfig *config, guint id)
{
  const guint8 *field = config_field (config, id);

  return is_double (id) ? *(const gdouble *) field == ATTN_UNSET_DOUBLE : *(const guint32 *) field == ATTN_UNSET;
}

static gboolean
fields_differ (const AttnConfig *a, const AttnConfig *b, guint id)
{
  return memcmp (config_field (a, id), config_field (b, id), is_double (id) ? 8 : 4) != 0;
}

void
gst_attention_set_in_effect (GstAttention *self, const AttnConfig *config)
{
  gboolean has_changed[N_PROPS] = { FALSE };
  guint id, n_heads;

  GST_OBJECT_LOCK (self);
  for (id = 0; id < N_PROPS; id++)
    has_changed[id] =
        config_offsets[id] != 0 && is_unset (&self->config, id) && fields_differ (&self->in_effect, config, id);
  self->in_effect = *config;
  n_heads = is_unset (&self->config, PROP_HEADS) ? config->n_heads : self->config.n_heads;
  GST_OBJECT_UNLOCK (self);
  gst_attention_heads_resize (self->heads, GST_OBJECT (self), n_heads);
  for (id = 0; id < N_PROPS; id++)
    if (has_changed[id])
      g_object_notify_by_pspec (G_OBJECT (self), properties[id]);
}

gchar *
gst_attention_dup_prefix (GstAttention *self)
{
  gchar *prefix;

  GST_OBJECT_LOCK (self);
  prefix = g_strdup (self->model_prefix);
  GST_OBJECT_UNLOCK (self);
  return prefix;
}

/*
 * What the model that is set now says, before anything is started: the children of its heads are there as soon as it is
 * known. What is wrong with a file is said at start.
 */
static void
peek_at_model (GstAttention *self)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model = NULL;
  gchar *file = gst_frame_filter_dup_model_file (GST_FRAME_FILTER (self)), *prefix = gst_attention_dup_prefix (self);

  if (file == NULL || attn_model_peek (file, prefix, &model, NULL) != ATTN_OK
      || attn_config_resolve (&config, model, NULL) != ATTN_OK)
    g_warn_if_fail (attn_config_resolve (&config, NULL, NULL) == ATTN_OK);
  gst_attention_set_in_effect (self, &config);
  attn_model_free (model);
  g_free (file);
  g_free (prefix);
}

/* ---- set and get ---- */

void
gst_attention_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  if (id == PROP_MODEL_FILE) {
    gst_frame_filter_set_model_file (GST_FRAME_FILTER (self), value);
  } else {
    GST_OBJECT_LOCK (self);
    gst_settings_set_field (id == PROP_MODEL_PREFIX ? &self->model_prefix : config_field (&self->config, id), value);
    GST_OBJECT_UNLOCK (self);
  }
  if (id == PROP_HEADS)
    gst_attention_heads_resize (self->heads, GST_OBJECT (self), g_value_get_uint (value));
  if (id == PROP_MODEL_FILE || id == PROP_MODEL_PREFIX)
    peek_at_model (self);
}

void
gst_attention_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  if (id == PROP_MODEL_FILE) {
    g_value_take_string (value, gst_frame_filter_dup_model_file (GST_FRAME_FILTER (self)));
    return;
  }
  GST_OBJECT_LOCK (self);
  if (id == PROP_MODEL_PREFIX)
    g_value_set_string (value, self->model_prefix);
  else
    gst_settings_get_field (config_field (is_unset (&self->config, id) ? &self->in_effect : &self->config, id), value);
  GST_OBJECT_UNLOCK (self);
}

static void
install (GObjectClass *object_class, guint id, GParamSpec *pspec)
{
  properties[id] = pspec;
  g_object_class_install_property (object_class, id, pspec);
}

static void
install_position_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install (object_class, PROP_POSITION,
           g_param_spec_enum ("position", "Position",
                              "How scores depend on the distance of a frame. Set the value that the model was trained "
                              "with. Without a model, alibi makes near frames count more",
                              GST_TYPE_ATTENTION_POSITION, DEFAULT_POSITION, flags));
  install (
      object_class, PROP_ROPE_BASE,
      g_param_spec_double ("rope-base", "RoPE base",
                           "position=rope: pair i of n/2 turns by base^(-2i/n) radians per frame. 10000 as in the "
                           "paper; models for long contexts have more (rope_theta in Hugging Face's configurations)",
                           1, G_MAXDOUBLE, DEFAULT_ROPE_BASE, flags));
  install (object_class, PROP_ROPE_LAYOUT,
           g_param_spec_enum ("rope-layout", "RoPE layout",
                              "position=rope: the values of a head that form a pair. The wrong layout gives wrong "
                              "outputs, without an error. Most models in files of Hugging Face need half",
                              GST_TYPE_ATTENTION_ROPE_LAYOUT, DEFAULT_ROPE_LAYOUT, flags));
  install (object_class, PROP_ROPE_DIMENSIONS,
           g_param_spec_uint ("rope-dimensions", "RoPE dimensions",
                              "position=rope: number of values of each head that are rotated. It must be even; the "
                              "other values stay as they are (partial rotary). 0 = the whole head",
                              0, ATTN_MAX_FEATURES, DEFAULT_ROPE_DIMENSIONS, flags));

  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_POSITION, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ROPE_LAYOUT, 0);
}

static void
install_window_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install (
      object_class, PROP_HEADS,
      g_param_spec_uint (
          "heads", "Heads",
          "Attention heads, each with its own query, key and value. 1 = single-head attention. Without a model the "
          "number of features must be a multiple of heads. Each head is a child, headN, with a gain that can change at "
          "any time: head2::gain=0 silences the third head",
          1, ATTN_MAX_FEATURES, DEFAULT_HEADS, flags));
  install (object_class, PROP_KV_HEADS,
           g_param_spec_uint ("kv-heads", "Key/value heads",
                              "Heads of keys and values, each shared by heads / kv-heads heads "
                              "(grouped-query attention). 0 = as many as heads. Less than heads needs a model",
                              0, ATTN_MAX_FEATURES, DEFAULT_KV_HEADS, flags));
  install (object_class, PROP_WINDOW,
           g_param_spec_uint ("window", "Window",
                              "Frames that each frame attends to, itself included: window=1 sees only itself, "
                              "window=100 at 100 frames per second looks back 0.99 s",
                              1, ATTN_MAX_WINDOW, DEFAULT_WINDOW, flags));
  install (object_class, PROP_LOOK_AHEAD,
           g_param_spec_uint ("look-ahead", "Look-ahead",
                              "Later frames that each frame also attends to. Each of them adds one frame of "
                              "latency",
                              0, ATTN_MAX_WINDOW, DEFAULT_LOOK_AHEAD, flags));
  install (object_class, PROP_CHUNK,
           g_param_spec_uint (
               "chunk", "Chunk",
               "Frames of a chunk, in place of window and look-ahead. The frames of a chunk attend to "
               "each other and to earlier chunks, and leave together when the last of them has come in. "
               "The latency is chunk - 1 frames; buffers that are whole chunks wait for nothing. 0 = no chunks",
               0, ATTN_MAX_CHUNK, DEFAULT_CHUNK, flags));
  install (object_class, PROP_CHUNKS,
           g_param_spec_uint ("chunks", "Chunks",
                              "Earlier chunks that each frame attends to, besides its own. 0 = its own chunk alone. "
                              "Set both chunk and chunks, and neither window nor look-ahead",
                              0, ATTN_MAX_WINDOW, DEFAULT_CHUNKS, flags));
  install (object_class, PROP_SINKS,
           g_param_spec_uint ("sinks", "Sinks",
                              "Frames at the start of the stream to which every later frame attends, also when the "
                              "window has left them behind (attention sinks)",
                              0, ATTN_MAX_WINDOW, DEFAULT_SINKS, flags));
}

static void
install_model_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install (object_class, PROP_MODEL_FILE,
           g_param_spec_string (
               "model-file", "Model file",
               "Safetensors file with the projections, named as in PyTorch nn.MultiheadAttention, Hugging Face or the "
               "Annotated Transformer. Properties that are not set (heads, window, look-ahead, position ...) take "
               "their values from its metadata; properties that are set must agree with it. None = parameter-free "
               "attention: each head takes its own "
               "slice of the frame as query, key and value",
               NULL, flags));
  install (
      object_class, PROP_MODEL_PREFIX,
      g_param_spec_string (
          "model-prefix", "Model prefix",
          "Prefix of the names of the parameters in the model file, such as encoder.layers.0.self_attn. (with the dot)",
          "", flags));
}

static void
install_arithmetic_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install (object_class, PROP_SCALE,
           g_param_spec_double ("scale", "Scale",
                                "Factor of query times key before the softmax. 0 = 1 / sqrt (values per head)", 0,
                                G_MAXFLOAT, DEFAULT_SCALE, flags));
  install (
      object_class, PROP_SOFTCAP,
      g_param_spec_double ("softcap", "Softcap",
                           "Keeps scores softly between -softcap and softcap, so that no single frame takes all the "
                           "attention: softcap * tanh (score / softcap), before the mask, as models such as Gemma 2 "
                           "are trained with (50 there). 0 = off",
                           0, 1e30, DEFAULT_SOFTCAP, flags));
  install (object_class, PROP_QK_NORM,
           g_param_spec_enum ("qk-norm", "Query and key norm",
                              "Norm of the queries and keys of each head, before positions, with q_norm.weight and "
                              "k_norm.weight of the model. A model that has these needs the norm that it was trained "
                              "with, usually rms",
                              GST_TYPE_ATTENTION_QK_NORM, DEFAULT_QK_NORM, flags));
  install (object_class, PROP_QK_NORM_EPS,
           g_param_spec_double ("qk-norm-eps", "Epsilon of the norm",
                                "What qk-norm adds to the variance (layer), or to the mean of the squares (rms), as "
                                "rms_norm_eps in Hugging Face's configurations",
                                1e-30, 1e30, DEFAULT_QK_NORM_EPS, flags));

  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_QK_NORM, 0);
}

void
gst_attention_install_properties (GObjectClass *object_class)
{
  install_window_properties (object_class);
  install_model_properties (object_class);
  install_arithmetic_properties (object_class);
  install_position_properties (object_class);
}
