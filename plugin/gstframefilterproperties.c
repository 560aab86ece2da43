/*
 * gst-attention: GstFrameFilter: properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

#include "gstenums.h"
#include "gstsettings.h"

enum {
  PROP_0,
  PROP_FRAME_RATE,
  PROP_ALIGNMENT_THRESHOLD,
  PROP_PRECISION,
  PROP_ARITHMETIC,
  PROP_THREADS,
  PROP_STATE_FILE,
  PROP_POST_MESSAGES,
  PROP_INTERVAL,
  PROP_STATS,
};

/* Of the properties that are fields. */
static const gsize fields[] = {
  [PROP_ALIGNMENT_THRESHOLD] = G_STRUCT_OFFSET (GstFrameFilter, alignment_threshold),
  [PROP_PRECISION] = G_STRUCT_OFFSET (GstFrameFilter, precision),
  [PROP_ARITHMETIC] = G_STRUCT_OFFSET (GstFrameFilter, arithmetic),
  [PROP_THREADS] = G_STRUCT_OFFSET (GstFrameFilter, n_threads),
  [PROP_STATE_FILE] = G_STRUCT_OFFSET (GstFrameFilter, state_file),
  [PROP_POST_MESSAGES] = G_STRUCT_OFFSET (GstFrameFilter, post_messages),
  [PROP_INTERVAL] = G_STRUCT_OFFSET (GstFrameFilter, interval),
};

#define DEFAULT_ALIGNMENT_THRESHOLD (40 * GST_MSECOND)
#define DEFAULT_PRECISION ATTN_PRECISION_F32
#define DEFAULT_ARITHMETIC ATTN_ARITHMETIC_EXACT
#define DEFAULT_THREADS 1
#define DEFAULT_POST_MESSAGES FALSE
#define DEFAULT_INTERVAL (100 * GST_MSECOND)

#define GST_TYPE_ATTENTION_PRECISION (gst_attention_precision_get_type ())
GST_DEFINE_ENUM (GstAttentionPrecision, gst_attention_precision, { ATTN_PRECISION_F32, "float32", "f32" },
                 { ATTN_PRECISION_F16, "IEEE 754 binary16: 11 bits of precision, up to 65504", "f16" },
                 { ATTN_PRECISION_BF16, "The upper half of a float32: 8 bits of precision, its range", "bf16" })

#define GST_TYPE_ATTENTION_ARITHMETIC (gst_attention_arithmetic_get_type ())
GST_DEFINE_ENUM (
    GstAttentionArithmetic, gst_attention_arithmetic,
    { ATTN_ARITHMETIC_EXACT, "The same bits everywhere, however the stream is cut into buffers", "exact" },
    { ATTN_ARITHMETIC_FAST,
      "A matrix unit where the processor has one: error about 1e-5 where scores are of order one, bits not promised",
      "fast" })

/* ---- the model ---- */

void
gst_frame_filter_set_model_file (GstFrameFilter *self, const GValue *value)
{
  GST_OBJECT_LOCK (self);
  gst_settings_set_field (&self->model_file, value);
  GST_OBJECT_UNLOCK (self);
}

gchar *
gst_frame_filter_dup_model_file (GstFrameFilter *self)
{
  gchar *file;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->model_file);
  GST_OBJECT_UNLOCK (self);
  return file;
}

void
gst_frame_filter_get_plan (GstFrameFilter *self, GstFrameFilterPlan *plan)
{
  GST_OBJECT_LOCK (self);
  *plan = (GstFrameFilterPlan){ .model_file = g_strdup (self->model_file),
                                .precision = self->precision,
                                .arithmetic = self->arithmetic,
                                .n_threads = self->n_threads };
  GST_OBJECT_UNLOCK (self);
}

/* ---- set and get ---- */

void
gst_frame_filter_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstFrameFilter *self = GST_FRAME_FILTER (object);

  GST_OBJECT_LOCK (self);
  if (id == PROP_FRAME_RATE) {
    self->frame_rate_n = gst_value_get_fraction_numerator (value);
    self->frame_rate_d = gst_value_get_fraction_denominator (value);
  } else {
    gst_settings_set_field (G_STRUCT_MEMBER_P (self, fields[id]), value);
  }
  GST_OBJECT_UNLOCK (self);
}

static GstStructure *
get_stats (GstFrameFilter *self)
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
gst_frame_filter_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstFrameFilter *self = GST_FRAME_FILTER (object);

  if (id == PROP_STATS) { /* it has a lock of its own */
    g_value_take_boxed (value, get_stats (self));
    return;
  }
  GST_OBJECT_LOCK (self);
  if (id == PROP_FRAME_RATE)
    gst_value_set_fraction (value, self->frame_rate_n, self->frame_rate_d);
  else
    gst_settings_get_field (G_STRUCT_MEMBER_P (self, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

/* ---- the class ---- */

static void
install_time (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_FRAME_RATE,
      gst_param_spec_fraction ("frame-rate", "Frame rate",
                               "Frames per second, for caps that do not state it. The latency of look-ahead and the "
                               "number of absent frames follow from it. 0/1 = from the caps",
                               0, 1, G_MAXINT, 1, 0, 1, flags));
  g_object_class_install_property (
      object_class, PROP_ALIGNMENT_THRESHOLD,
      g_param_spec_uint64 (
          "alignment-threshold", "Alignment threshold",
          "A timestamp that jumps forward by this time (in nanoseconds) or more, and by at least one frame, leaves the "
          "frames in between absent. A smaller jump is jitter. With the DISCONT flag one frame is enough",
          1, G_MAXUINT64 - 1, DEFAULT_ALIGNMENT_THRESHOLD, flags));
}

static void
install_state (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_STATE_FILE,
      g_param_spec_string ("state-file", "State file",
                           "File that keeps the stream between runs. The element restores it at start if it exists, "
                           "and writes it at EOS, and at stop if frames have come, with the state after the last frame "
                           "and before the drain. It must be a regular file, or a link to one, and belong to this "
                           "stream alone. The element opens it at start; a new name counts from the next start on. A "
                           "damaged file, or one of another layer, is an error, and stays as it is",
                           NULL, flags));
}

static void
install_arithmetic (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (
      object_class, PROP_PRECISION,
      g_param_spec_enum ("precision", "Precision",
                         "The type in which parameters and window are stored. All arithmetic is float32. 16 bits halve "
                         "the memory. They also halve the time if most of it goes into reading memory (many features, "
                         "one frame per buffer). The error, relative to the largest output, where scores are of order "
                         "one: f16 0.1 %, bf16 0.8 %, more if a frame has fewer than 8 values",
                         GST_TYPE_ATTENTION_PRECISION, DEFAULT_PRECISION, flags));
  g_object_class_install_property (
      object_class, PROP_ARITHMETIC,
      g_param_spec_enum ("arithmetic", "Arithmetic",
                         "How buffers of several frames are computed. fast sends them through the processor's matrix "
                         "unit (Intel AMX) in blocks of up to 16 frames, each product of float32 as three of bf16. Use "
                         "16 frames per buffer with fast: small buffers are computed as with exact. fast takes two to "
                         "three times the memory. The field kernels of stats names the unit if there is one",
                         GST_TYPE_ATTENTION_ARITHMETIC, DEFAULT_ARITHMETIC, flags));
  g_object_class_install_property (
      object_class, PROP_THREADS,
      g_param_spec_uint (
          "threads", "Threads",
          "Threads that share the work of each buffer, the streaming thread included, where there is "
          "enough of it (some ten microseconds). They help with large layers. The output is the same, bit for bit",
          1, ATTN_MAX_THREADS, DEFAULT_THREADS, flags));
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_PRECISION, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_ARITHMETIC, 0);
}

static void
install_messages (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING;

  g_object_class_install_property (
      object_class, PROP_POST_MESSAGES,
      g_param_spec_boolean (
          "post-messages", "Post messages",
          "Post element messages named attention on the bus, one per interval. They hold, for each head, the entropy "
          "(bits), the mean lag and the most attended lag (frames back), and the weight of the sinks. Each layer of an "
          "encoder posts its own message, with the number of the layer in the field layer",
          DEFAULT_POST_MESSAGES, flags));
  g_object_class_install_property (
      object_class, PROP_INTERVAL,
      g_param_spec_uint64 ("interval", "Interval",
                           "Stream time between two messages, in nanoseconds, rounded to whole frames, at least one", 1,
                           G_MAXUINT64, DEFAULT_INTERVAL, flags));
  g_object_class_install_property (
      object_class, PROP_STATS,
      g_param_spec_boxed (
          "stats", "Statistics",
          "Statistics since the start: frames (guint64, including absent ones), absent-frames (guint64), kernels "
          "(string, the instruction set in use), average-time-per-frame (guint64, ns in the core)",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

void
gst_frame_filter_install_properties (GObjectClass *object_class)
{
  install_time (object_class);
  install_state (object_class);
  install_arithmetic (object_class);
  install_messages (object_class);
}

void
gst_frame_filter_init_properties (GstFrameFilter *self)
{
  self->frame_rate_d = 1;
  self->alignment_threshold = DEFAULT_ALIGNMENT_THRESHOLD;
  self->precision = DEFAULT_PRECISION;
  self->arithmetic = DEFAULT_ARITHMETIC;
  self->n_threads = DEFAULT_THREADS;
  self->post_messages = DEFAULT_POST_MESSAGES;
  self->interval = DEFAULT_INTERVAL;
}
