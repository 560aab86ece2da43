/*
 * gst-attention: the element `attention`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

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
  PROP_ARITHMETIC,
  PROP_THREADS,
  PROP_STATE_FILE,
  PROP_POST_MESSAGES,
  PROP_INTERVAL,
  PROP_STATS,
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
#define DEFAULT_ARITHMETIC ATTN_ARITHMETIC_EXACT
#define DEFAULT_THREADS 1
#define DEFAULT_POST_MESSAGES FALSE

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

#define GST_TYPE_ATTENTION_ARITHMETIC (gst_attention_arithmetic_get_type ())
static GType
gst_attention_arithmetic_get_type (void)
{
  static const GEnumValue values[] = {
    { ATTN_ARITHMETIC_EXACT, "The same bits everywhere, however the stream is cut into buffers", "exact" },
    { ATTN_ARITHMETIC_FAST, "A matrix unit where the processor has one: error about 1e-5, bits not promised", "fast" },
    { 0, NULL, NULL },
  };
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstAttentionArithmetic", values));
  return type;
}

void
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
  case PROP_ARITHMETIC:
    self->config.arithmetic = g_value_get_enum (value);
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
  case PROP_POST_MESSAGES:
    g_atomic_int_set (&self->post_messages, g_value_get_boolean (value));
    break;
  case PROP_INTERVAL:
    self->interval = g_value_get_uint64 (value);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
  if (id == PROP_HEADS)
    gst_attention_heads_resize (self->heads, GST_OBJECT (self), g_value_get_uint (value));
}

static GstStructure *
get_stats (GstAttention *self)
{
  GstStructure *stats;

  g_mutex_lock (&self->lock);
  stats = gst_structure_new ("application/x-attention-stats", "frames", G_TYPE_UINT64, self->n_frames, "absent-frames",
                             G_TYPE_UINT64, self->n_absent, "kernels", G_TYPE_STRING,
                             self->layer ? attn_layer_kernels (self->layer) : NULL, "average-time-per-frame",
                             GST_TYPE_CLOCK_TIME, self->n_timed ? self->busy / self->n_timed : 0, NULL);
  g_mutex_unlock (&self->lock);
  return stats;
}

void
gst_attention_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  if (id == PROP_STATS) { /* it has a lock of its own */
    g_value_take_boxed (value, get_stats (self));
    return;
  }
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
  case PROP_ARITHMETIC:
    g_value_set_enum (value, self->config.arithmetic);
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
  case PROP_POST_MESSAGES:
    g_value_set_boolean (value, self->post_messages);
    break;
  case PROP_INTERVAL:
    g_value_set_uint64 (value, self->interval);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
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
install_glass_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING;

  g_object_class_install_property (
      object_class, PROP_POST_MESSAGES,
      g_param_spec_boolean ("post-messages", "Post messages",
                            "Say on the bus what each head attends to, once per interval: entropy (bits), mean lag and "
                            "most attended lag (frames back), weight of the sinks. Element messages named attention",
                            DEFAULT_POST_MESSAGES, flags));
  g_object_class_install_property (
      object_class, PROP_INTERVAL,
      g_param_spec_uint64 ("interval", "Interval",
                           "Stream time between two messages, in nanoseconds, rounded to whole frames, at least one", 1,
                           G_MAXUINT64, GST_ATTENTION_DEFAULT_INTERVAL, flags));
  g_object_class_install_property (
      object_class, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
                          "Since the start: frames (guint64, absent ones included), absent-frames (guint64), kernels "
                          "(string: which instructions compute), average-time-per-frame (guint64, ns in the core)",
                          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

static void
install_window_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_HEADS,
      g_param_spec_uint (
          "heads", "Heads",
          "Attention heads, each with its own query, key and value. 1 = single-head attention. Without a model the "
          "number of features must be a multiple. Each is a child, headN, with a gain that is live: head2::gain=0 "
          "silences the third",
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
}

static void
install_model_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

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
}

static void
install_arithmetic_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

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
  g_object_class_install_property (
      object_class, PROP_ARITHMETIC,
      g_param_spec_enum ("arithmetic", "Arithmetic",
                         "How buffers of several frames are computed. fast: where the processor has a matrix unit "
                         "(Intel AMX), they go through it, in blocks of up to 16, each product of float32 as three of "
                         "bf16; 16 frames per buffer suit it best, and buffers of one frame are better off with "
                         "exact. Takes two to three times the memory. stats says whether there is a unit: kernels",
                         GST_TYPE_ATTENTION_ARITHMETIC, DEFAULT_ARITHMETIC, flags));
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_PRECISION, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ARITHMETIC, 0);
}

static void
install_stream_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

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
                           "EOS and at stop (as the last frame left it, before the drain) if frames have come. A "
                           "regular file, or a link to where one is or can be, and no other stream's; opened at start, "
                           "so that another name counts from the next start on. A damaged file, or that of another "
                           "layer, is an error, and is left alone",
                           NULL, flags));
}

void
gst_attention_install_properties (GObjectClass *object_class)
{
  install_window_properties (object_class);
  install_model_properties (object_class);
  install_arithmetic_properties (object_class);
  install_stream_properties (object_class);
  install_position_properties (object_class);
  install_glass_properties (object_class);
}
