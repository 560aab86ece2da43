/*
 * gst-attention: the element `attention`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattention-private.h"

#include <string.h>

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
  PROP_ALIGNMENT_THRESHOLD,
  PROP_PRECISION,
  PROP_ARITHMETIC,
  PROP_THREADS,
  PROP_STATE_FILE,
  PROP_POST_MESSAGES,
  PROP_INTERVAL,
  PROP_STATS,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

/* Of the properties that are fields of AttnConfig: where they stand in it; else 0, which is none of them. */
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
  [PROP_PRECISION] = offsetof (AttnConfig, precision),
  [PROP_ARITHMETIC] = offsetof (AttnConfig, arithmetic),
  [PROP_THREADS] = offsetof (AttnConfig, n_threads),
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
    { ATTN_ARITHMETIC_FAST,
      "A matrix unit where the processor has one: error about 1e-5 where scores are of order one, bits not promised",
      "fast" },
    { 0, NULL, NULL },
  };
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstAttentionArithmetic", values));
  return type;
}

/* ---- what nobody set ---- */

static gboolean
is_double (guint id)
{
  return id == PROP_SCALE || id == PROP_SOFTCAP || id == PROP_ROPE_BASE;
}

static gboolean
is_unset (const AttnConfig *config, guint id)
{
  const guint8 *field = (const guint8 *) config + config_offsets[id];

  return is_double (id) ? *(const gdouble *) field == ATTN_UNSET_DOUBLE : *(const guint32 *) field == ATTN_UNSET;
}

static gboolean
fields_differ (const AttnConfig *a, const AttnConfig *b, guint id)
{
  gsize at = config_offsets[id];

  return memcmp ((const guint8 *) a + at, (const guint8 *) b + at, is_double (id) ? 8 : 4) != 0;
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

/*
 * What the model that is set now says, before anything is started: the children of its heads are there as soon as it is
 * known. What is wrong with a file is said at start.
 */
static void
peek_at_model (GstAttention *self)
{
  AttnConfig config = attn_config_default ();
  AttnModel *model = NULL;
  gchar *file, *prefix;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->model_file);
  prefix = g_strdup (self->model_prefix);
  GST_OBJECT_UNLOCK (self);
  if (file == NULL || attn_model_peek (file, prefix, &model, NULL) != ATTN_OK
      || attn_config_resolve (&config, model, NULL) != ATTN_OK)
    g_warn_if_fail (attn_config_resolve (&config, NULL, NULL) == ATTN_OK);
  gst_attention_set_in_effect (self, &config);
  attn_model_free (model);
  g_free (file);
  g_free (prefix);
}

/* ---- set and get ---- */

static void
set_config_field (AttnConfig *config, guint id, const GValue *value)
{
  guint8 *field = (guint8 *) config + config_offsets[id];

  if (is_double (id))
    *(gdouble *) field = g_value_get_double (value);
  else if (G_VALUE_HOLDS_ENUM (value))
    *(gint32 *) field = g_value_get_enum (value);
  else
    *(guint32 *) field = g_value_get_uint (value);
}

static void
get_config_field (const AttnConfig *config, guint id, GValue *value)
{
  const guint8 *field = (const guint8 *) config + config_offsets[id];

  if (is_double (id))
    g_value_set_double (value, *(const gdouble *) field);
  else if (G_VALUE_HOLDS_ENUM (value))
    g_value_set_enum (value, *(const gint32 *) field);
  else
    g_value_set_uint (value, *(const guint32 *) field);
}

void
gst_attention_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAttention *self = GST_ATTENTION (object);

  GST_OBJECT_LOCK (self);
  switch (id) {
  case PROP_MODEL_FILE:
    g_free (self->model_file);
    self->model_file = g_value_dup_string (value);
    break;
  case PROP_MODEL_PREFIX:
    g_free (self->model_prefix);
    self->model_prefix = g_value_dup_string (value);
    break;
  case PROP_FRAME_RATE:
    self->frame_rate_n = gst_value_get_fraction_numerator (value);
    self->frame_rate_d = gst_value_get_fraction_denominator (value);
    break;
  case PROP_ALIGNMENT_THRESHOLD:
    self->alignment_threshold = g_value_get_uint64 (value);
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
    if (config_offsets[id] != 0)
      set_config_field (&self->config, id, value);
    else
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
  GST_OBJECT_UNLOCK (self);
  if (id == PROP_HEADS)
    gst_attention_heads_resize (self->heads, GST_OBJECT (self), g_value_get_uint (value));
  if (id == PROP_MODEL_FILE || id == PROP_MODEL_PREFIX)
    peek_at_model (self);
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
  case PROP_MODEL_FILE:
    g_value_set_string (value, self->model_file);
    break;
  case PROP_MODEL_PREFIX:
    g_value_set_string (value, self->model_prefix);
    break;
  case PROP_FRAME_RATE:
    gst_value_set_fraction (value, self->frame_rate_n, self->frame_rate_d);
    break;
  case PROP_ALIGNMENT_THRESHOLD:
    g_value_set_uint64 (value, self->alignment_threshold);
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
    if (config_offsets[id] != 0)
      get_config_field (is_unset (&self->config, id) ? &self->in_effect : &self->config, id, value);
    else
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
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
                              "How attention knows how far away a frame is: as the model was trained. Without a model, "
                              "alibi makes near frames count more",
                              GST_TYPE_ATTENTION_POSITION, DEFAULT_POSITION, flags));
  install (
      object_class, PROP_ROPE_BASE,
      g_param_spec_double ("rope-base", "RoPE base",
                           "position=rope: pair i of n/2 turns by base^(-2i/n) radians per frame. 10000 as in the "
                           "paper; models for long contexts have more (rope_theta in Hugging Face's configurations)",
                           1, G_MAXDOUBLE, DEFAULT_ROPE_BASE, flags));
  install (
      object_class, PROP_ROPE_LAYOUT,
      g_param_spec_enum ("rope-layout", "RoPE layout",
                         "position=rope: which values of a head are a pair. The wrong one gives wrong outputs without "
                         "an error: it is half for models in Hugging Face's files, mostly",
                         GST_TYPE_ATTENTION_ROPE_LAYOUT, DEFAULT_ROPE_LAYOUT, flags));
  install (
      object_class, PROP_ROPE_DIMENSIONS,
      g_param_spec_uint ("rope-dimensions", "RoPE dimensions",
                         "position=rope: how many values of each head are rotated, an even number; the others stay "
                         "as they are (partial rotary). 0 = the whole head",
                         0, ATTN_MAX_FEATURES, DEFAULT_ROPE_DIMENSIONS, flags));

  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_POSITION, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ROPE_LAYOUT, 0);
}

static void
install_glass_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING;

  install (
      object_class, PROP_POST_MESSAGES,
      g_param_spec_boolean ("post-messages", "Post messages",
                            "Say on the bus what each head attends to, once per interval: entropy (bits), mean lag and "
                            "most attended lag (frames back), weight of the sinks. Element messages named attention",
                            DEFAULT_POST_MESSAGES, flags));
  install (
      object_class, PROP_INTERVAL,
      g_param_spec_uint64 ("interval", "Interval",
                           "Stream time between two messages, in nanoseconds, rounded to whole frames, at least one", 1,
                           G_MAXUINT64, GST_ATTENTION_DEFAULT_INTERVAL, flags));
  install (
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

  install (
      object_class, PROP_HEADS,
      g_param_spec_uint (
          "heads", "Heads",
          "Attention heads, each with its own query, key and value. 1 = single-head attention. Without a model the "
          "number of features must be a multiple. Each is a child, headN, with a gain that is live: head2::gain=0 "
          "silences the third",
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
  install (object_class, PROP_SINKS,
           g_param_spec_uint ("sinks", "Sinks",
                              "Frames at the start of the stream that stay attended to for ever, also when the window "
                              "has left them behind (attention sinks)",
                              0, ATTN_MAX_WINDOW, DEFAULT_SINKS, flags));
}

static void
install_model_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install (
      object_class, PROP_MODEL_FILE,
      g_param_spec_string (
          "model-file", "Model file",
          "Safetensors file with the projections, named as in PyTorch nn.MultiheadAttention, Hugging Face or the "
          "Annotated Transformer. Properties that are not set (heads, window, look-ahead, position ...) take what its "
          "metadata says; those that are set must agree. None = parameter-free attention: each head takes its own "
          "slice of the frame as query, key and value",
          NULL, flags));
  install (object_class, PROP_MODEL_PREFIX,
           g_param_spec_string ("model-prefix", "Model prefix",
                                "What stands before the names of the parameters in the model file, such as "
                                "encoder.layers.0.self_attn. (with the dot)",
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
  install (
      object_class, PROP_PRECISION,
      g_param_spec_enum ("precision", "Precision",
                         "What parameters and window are stored in; everything is computed in float32. 16 bits halve "
                         "the memory, and the time where reading it is the work (many features, one frame per "
                         "buffer). Error, of the largest output, where scores are of order one: f16 0.1 %, bf16 0.8 %, "
                         "more where a frame has fewer than 8 values",
                         GST_TYPE_ATTENTION_PRECISION, DEFAULT_PRECISION, flags));
  install (
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

  install (
      object_class, PROP_THREADS,
      g_param_spec_uint ("threads", "Threads",
                         "Threads that share the work of each buffer, the streaming thread included, where there is "
                         "enough of it (some ten microseconds). For large layers; the output is the same, bit for bit",
                         1, ATTN_MAX_THREADS, DEFAULT_THREADS, flags));
  install (object_class, PROP_FRAME_RATE,
           gst_param_spec_fraction ("frame-rate", "Frame rate",
                                    "Frames per second where the caps do not tell, used for the latency that "
                                    "look-ahead costs, and for absent frames. 0/1 = from the caps",
                                    0, 1, G_MAXINT, 1, 0, 1, flags));
  install (
      object_class, PROP_ALIGNMENT_THRESHOLD,
      g_param_spec_uint64 ("alignment-threshold", "Alignment threshold",
                           "A timestamp that jumps forward by so much (in nanoseconds), and by a frame or more, leaves "
                           "the frames in between absent; less is jitter. With the DISCONT flag one frame is enough",
                           1, G_MAXUINT64 - 1, GST_ATTENTION_DEFAULT_ALIGNMENT_THRESHOLD, flags));
  install (
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
