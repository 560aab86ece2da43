/*
 * gst-attention: the element `attentionscope`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionscope-private.h"

#include "gstenums.h"
#include "gstsettings.h"

#define DEFAULT_COLOR_MAP SCOPE_COLOR_MAP_INFERNO
#define DEFAULT_SCALE SCOPE_SCALE_LOG
#define DEFAULT_GAIN 1.0
#define DEFAULT_RANGE 3.0
#define DEFAULT_SECONDS 10.0
#define DEFAULT_LAYOUT SCOPE_LAYOUT_AUTO
#define DEFAULT_LABELS TRUE
#define DEFAULT_QOS TRUE

enum {
  PROP_0,
  PROP_COLOR_MAP,
  PROP_SCALE,
  PROP_GAIN,
  PROP_RANGE,
  PROP_SECONDS,
  PROP_LAYOUT,
  PROP_LABELS,
  PROP_QOS,
  N_PROPS
};

static const gsize fields[N_PROPS] = {
  [PROP_COLOR_MAP] = G_STRUCT_OFFSET (GstAttentionScope, settings.color_map),
  [PROP_SCALE] = G_STRUCT_OFFSET (GstAttentionScope, settings.scale),
  [PROP_GAIN] = G_STRUCT_OFFSET (GstAttentionScope, settings.gain),
  [PROP_RANGE] = G_STRUCT_OFFSET (GstAttentionScope, settings.range),
  [PROP_SECONDS] = G_STRUCT_OFFSET (GstAttentionScope, settings.seconds),
  [PROP_LAYOUT] = G_STRUCT_OFFSET (GstAttentionScope, settings.arrangement),
  [PROP_LABELS] = G_STRUCT_OFFSET (GstAttentionScope, settings.labels),
  [PROP_QOS] = G_STRUCT_OFFSET (GstAttentionScope, qos),
};

#define GST_TYPE_ATTENTION_SCOPE_COLOR_MAP (gst_attention_scope_color_map_get_type ())
GST_DEFINE_ENUM (GstAttentionScopeColorMap, gst_attention_scope_color_map,
                 { SCOPE_COLOR_MAP_VIRIDIS, "From violet by green to yellow", "viridis" },
                 { SCOPE_COLOR_MAP_MAGMA, "From black by purple to pale yellow", "magma" },
                 { SCOPE_COLOR_MAP_INFERNO, "From black by red to yellow", "inferno" },
                 { SCOPE_COLOR_MAP_PLASMA, "From blue by red to yellow", "plasma" },
                 { SCOPE_COLOR_MAP_GREY, "From black to white", "grey" })

#define GST_TYPE_ATTENTION_SCOPE_SCALE (gst_attention_scope_scale_get_type ())
GST_DEFINE_ENUM (GstAttentionScopeScale, gst_attention_scope_scale,
                 { SCOPE_SCALE_LOG, "By the logarithm of the weight, over the decades of the range", "log" },
                 { SCOPE_SCALE_LINEAR, "By the weight", "linear" })

#define GST_TYPE_ATTENTION_SCOPE_LAYOUT (gst_attention_scope_layout_get_type ())
GST_DEFINE_ENUM (GstAttentionScopeLayout, gst_attention_scope_layout,
                 { SCOPE_LAYOUT_AUTO, "Chosen by the shape of the picture", "auto" },
                 { SCOPE_LAYOUT_ROWS, "One below the other", "rows" },
                 { SCOPE_LAYOUT_COLUMNS, "Side by side", "columns" },
                 { SCOPE_LAYOUT_GRID, "As many columns as rows, or one more", "grid" })

void
gst_attention_scope_init_properties (GstAttentionScope *self)
{
  self->settings = (ScopeSettings){ DEFAULT_COLOR_MAP, DEFAULT_SCALE,  DEFAULT_GAIN,  DEFAULT_RANGE,
                                    DEFAULT_SECONDS,   DEFAULT_LAYOUT, DEFAULT_LABELS };
  self->qos = DEFAULT_QOS;
}

void
gst_attention_scope_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAttentionScope *self = GST_ATTENTION_SCOPE (object);

  GST_OBJECT_LOCK (self);
  self->settings_changed |= id != PROP_QOS;
  gst_settings_set_field (G_STRUCT_MEMBER_P (self, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

void
gst_attention_scope_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GST_OBJECT_LOCK (object);
  gst_settings_get_field (G_STRUCT_MEMBER_P (object, fields[id]), value);
  GST_OBJECT_UNLOCK (object);
}

void
gst_attention_scope_install_properties (GObjectClass *object_class)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING;

  g_object_class_install_property (
      object_class, PROP_COLOR_MAP,
      g_param_spec_enum ("color-map", "Color map",
                         "Colors of the weights, from 0 to the largest; equal steps look equal",
                         GST_TYPE_ATTENTION_SCOPE_COLOR_MAP, DEFAULT_COLOR_MAP, flags));
  g_object_class_install_property (
      object_class, PROP_SCALE,
      g_param_spec_enum ("scale", "Scale",
                         "How a weight becomes a color. log shows sharp and broad attention side by side: evenly over "
                         "100 frames it is 0.01 for each",
                         GST_TYPE_ATTENTION_SCOPE_SCALE, DEFAULT_SCALE, flags));
  g_object_class_install_property (
      object_class, PROP_GAIN,
      g_param_spec_double ("gain", "Gain",
                           "Factor of the weights. The weight 1 / gain gets the brightest color, on either scale", 1e-3,
                           1e6, DEFAULT_GAIN, flags));
  g_object_class_install_property (
      object_class, PROP_RANGE,
      g_param_spec_double ("range", "Range",
                           "scale=log: powers of ten from the brightest weight down to the darkest, so that 3 shows "
                           "weights from 0.001 to 1",
                           0.1, 38, DEFAULT_RANGE, flags));
  g_object_class_install_property (
      object_class, PROP_SECONDS,
      g_param_spec_double ("seconds", "Seconds",
                           "Time from the left to the right of a panel, in seconds; the newest frame is on the right",
                           0.01, 86400, DEFAULT_SECONDS, flags));
  g_object_class_install_property (object_class, PROP_LAYOUT,
                                   g_param_spec_enum ("layout", "Layout", "Arrangement of the panels of the heads",
                                                      GST_TYPE_ATTENTION_SCOPE_LAYOUT, DEFAULT_LAYOUT, flags));
  g_object_class_install_property (
      object_class, PROP_LABELS,
      g_param_spec_boolean (
          "labels", "Labels",
          "Draw titles, numbers at the axes, and the color bar. A picture that is too small for them goes without",
          DEFAULT_LABELS, flags));
  g_object_class_install_property (object_class, PROP_QOS,
                                   g_param_spec_boolean ("qos", "Quality of service",
                                                         "Skip frames of video that would arrive too late, as "
                                                         "downstream reports. Their columns are drawn in the next one",
                                                         DEFAULT_QOS, flags));

  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_SCOPE_COLOR_MAP, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_SCOPE_SCALE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_ATTENTION_SCOPE_LAYOUT, 0);
}
