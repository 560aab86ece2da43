/*
 * gst-attention: the element `logmel`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstlogmel-private.h"

#include "gstenums.h"
#include "gstsettings.h"

enum {
  PROP_0,
  PROP_STYLE,
  PROP_BINS,
  PROP_FRAME_LENGTH,
  PROP_HOP_LENGTH,
  PROP_FFT_SIZE,
  PROP_LOW_FREQUENCY,
  PROP_HIGH_FREQUENCY,
  PROP_WINDOW_FUNCTION,
  PROP_MEL_SCALE,
  PROP_LOG_MAXIMUM,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

static const gsize fields[N_PROPS] = {
  [PROP_STYLE] = G_STRUCT_OFFSET (LogmelSettings, style),
  [PROP_BINS] = G_STRUCT_OFFSET (LogmelSettings, n_bins),
  [PROP_FRAME_LENGTH] = G_STRUCT_OFFSET (LogmelSettings, frame_length),
  [PROP_HOP_LENGTH] = G_STRUCT_OFFSET (LogmelSettings, hop_length),
  [PROP_FFT_SIZE] = G_STRUCT_OFFSET (LogmelSettings, fft_size),
  [PROP_LOW_FREQUENCY] = G_STRUCT_OFFSET (LogmelSettings, low_frequency),
  [PROP_HIGH_FREQUENCY] = G_STRUCT_OFFSET (LogmelSettings, high_frequency),
  [PROP_WINDOW_FUNCTION] = G_STRUCT_OFFSET (LogmelSettings, window_function),
  [PROP_MEL_SCALE] = G_STRUCT_OFFSET (LogmelSettings, mel_scale),
  [PROP_LOG_MAXIMUM] = G_STRUCT_OFFSET (LogmelSettings, log_maximum),
};

G_DEFINE_ENUM_TYPE (GstLogmelStyle, gst_logmel_style,
                    { GST_LOGMEL_STYLE_KALDI,
                      "Kaldi's filter bank: natural logarithm, 16-bit scale, frames inside the audio", "kaldi" },
                    { GST_LOGMEL_STYLE_WHISPER, "Whisper's log-mel spectrogram: log10, scale of 1, centred frames",
                      "whisper" },
                    { GST_LOGMEL_STYLE_NEMO,
                      "NeMo's log-mel spectrogram: preemphasis, natural logarithm, scale of 1, centred frames",
                      "nemo" })

#define GST_TYPE_LOGMEL_WINDOW (gst_logmel_window_get_type ())
GST_DEFINE_ENUM (GstLogmelWindow, gst_logmel_window,
                 { GST_LOGMEL_WINDOW_POVEY, "Povey (Hann to the power of 0.85)", "povey" },
                 { GST_LOGMEL_WINDOW_HANN, "Hann", "hann" }, { GST_LOGMEL_WINDOW_HAMMING, "Hamming", "hamming" },
                 { GST_LOGMEL_WINDOW_BLACKMAN, "Blackman", "blackman" },
                 { GST_LOGMEL_WINDOW_RECTANGULAR, "Rectangular (none)", "rectangular" })

G_DEFINE_ENUM_TYPE (GstLogmelMelScale, gst_logmel_mel_scale,
                    { GST_LOGMEL_MEL_SCALE_HTK, "HTK: 1127 ln (1 + f / 700 Hz)", "htk" },
                    { GST_LOGMEL_MEL_SCALE_SLANEY, "Slaney: linear up to 1000 Hz, logarithmic above", "slaney" })

void
gst_logmel_get_settings (GstLogmel *self, LogmelSettings *settings)
{
  GST_OBJECT_LOCK (self);
  *settings = self->settings;
  GST_OBJECT_UNLOCK (self);
}

static gboolean
is_set (GstLogmel *self, guint id)
{
  return self->is_set >> id & 1;
}

static void
set_style (GstLogmel *self, GstLogmelStyle style)
{
  LogmelSettings defaults;

  GST_OBJECT_LOCK (self);
  logmel_settings_init (&defaults, style);
  self->settings.style = style;
  if (!is_set (self, PROP_LOW_FREQUENCY))
    self->settings.low_frequency = defaults.low_frequency;
  if (!is_set (self, PROP_WINDOW_FUNCTION))
    self->settings.window_function = defaults.window_function;
  if (!is_set (self, PROP_MEL_SCALE))
    self->settings.mel_scale = defaults.mel_scale;
  GST_OBJECT_UNLOCK (self);

  g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_LOW_FREQUENCY]);
  g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_WINDOW_FUNCTION]);
  g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_MEL_SCALE]);
}

void
gst_logmel_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstLogmel *self = GST_LOGMEL (object);

  if (id == PROP_STYLE) {
    set_style (self, g_value_get_enum (value));
    return;
  }
  GST_OBJECT_LOCK (self);
  gst_settings_set_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  self->is_set |= 1u << id;
  GST_OBJECT_UNLOCK (self);
}

void
gst_logmel_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstLogmel *self = GST_LOGMEL (object);

  GST_OBJECT_LOCK (self);
  gst_settings_get_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

static const gchar *
nick (GType type, gint value)
{
  GEnumClass *klass = g_type_class_ref (type);
  const gchar *name = g_enum_get_value (klass, value)->value_nick;

  g_type_class_unref (klass);
  return name; /* static */
}

GstCaps *
gst_logmel_make_caps (const LogmelSettings *settings, gint rate, const LogmelSizes *sizes)
{
  GstCaps *caps = gst_features_to_caps (settings->n_bins, rate, sizes->hop_length, 1);
  gdouble high = settings->high_frequency > 0 ? settings->high_frequency : rate / 2.0 + settings->high_frequency;

  gst_caps_set_simple (
      caps, "sample-rate", G_TYPE_INT, rate, "bins", G_TYPE_INT, (gint) settings->n_bins, "style", G_TYPE_STRING,
      nick (GST_TYPE_LOGMEL_STYLE, settings->style), "frame-length", G_TYPE_DOUBLE, settings->frame_length,
      "hop-length", G_TYPE_DOUBLE, settings->hop_length, "fft-size", G_TYPE_INT, (gint) sizes->fft_size,
      "low-frequency", G_TYPE_DOUBLE, settings->low_frequency, "high-frequency", G_TYPE_DOUBLE, high, "window-function",
      G_TYPE_STRING, nick (GST_TYPE_LOGMEL_WINDOW, settings->window_function), "mel-scale", G_TYPE_STRING,
      nick (GST_TYPE_LOGMEL_MEL_SCALE, settings->mel_scale), "log-maximum", G_TYPE_DOUBLE, settings->log_maximum, NULL);
  return caps;
}

static void
install_framing (const LogmelSettings *defaults, GParamFlags flags)
{
  properties[PROP_FRAME_LENGTH] = g_param_spec_double (
      "frame-length", "Frame length", "Length of the audio that a frame looks at, in ms, rounded down to whole samples",
      0.0, 60000.0, defaults->frame_length, flags);
  properties[PROP_HOP_LENGTH] = g_param_spec_double ("hop-length", "Hop length",
                                                     "From one frame to the next, in ms, rounded down to whole samples",
                                                     0.0, 60000.0, defaults->hop_length, flags);
  properties[PROP_FFT_SIZE] = g_param_spec_uint ("fft-size", "FFT size",
                                                 "Points of the FFT, even, at least the samples of a frame; 0 = as the "
                                                 "style says: the next power of two (kaldi, nemo) or the samples of "
                                                 "a frame (whisper)",
                                                 0, LOGMEL_MAX_FFT_SIZE, defaults->fft_size, flags);
  properties[PROP_WINDOW_FUNCTION] =
      g_param_spec_enum ("window-function", "Window function",
                         "What a frame is faded in and out with: symmetric (kaldi, nemo) or periodic (whisper); if not "
                         "set, povey (kaldi) or hann (others)",
                         GST_TYPE_LOGMEL_WINDOW, defaults->window_function, flags);
}

static void
install_bands (const LogmelSettings *defaults, GParamFlags flags)
{
  properties[PROP_BINS] = g_param_spec_uint ("bins", "Bins",
                                             "Number of mel bands, which is the number of features in a frame: 80 for "
                                             "most models, 128 for whisper-large-v3, Voxtral and newer models of NeMo",
                                             1, GST_FEATURES_MAX_FEATURES, defaults->n_bins, flags);
  properties[PROP_LOW_FREQUENCY] = g_param_spec_double (
      "low-frequency", "Low frequency", "Where the lowest band begins, in Hz; if not set, 20 (kaldi) or 0 (others)",
      0.0, G_MAXDOUBLE, defaults->low_frequency, flags);
  properties[PROP_HIGH_FREQUENCY] =
      g_param_spec_double ("high-frequency", "High frequency",
                           "Where the highest band ends, in Hz; 0 = at half of the sample rate, below 0 = so much "
                           "below that (-400 with 16000 Hz is 7600 Hz)",
                           -G_MAXDOUBLE, G_MAXDOUBLE, defaults->high_frequency, flags);
  properties[PROP_MEL_SCALE] =
      g_param_spec_enum ("mel-scale", "Mel scale",
                         "The scale on which all bands are equally wide; if not set, htk (kaldi) or slaney (others)",
                         GST_TYPE_LOGMEL_MEL_SCALE, defaults->mel_scale, flags);
}

void
gst_logmel_install_properties (GObjectClass *klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;
  LogmelSettings defaults;

  logmel_settings_init (&defaults, GST_LOGMEL_STYLE_KALDI);
  properties[PROP_STYLE] = g_param_spec_enum ("style", "Style",
                                              "Whose numbers to compute: they must be those that the model was trained "
                                              "on. Properties that were not set follow the style",
                                              GST_TYPE_LOGMEL_STYLE, defaults.style, flags);
  install_framing (&defaults, flags);
  install_bands (&defaults, flags);
  properties[PROP_LOG_MAXIMUM] = g_param_spec_double (
      "log-maximum", "Logarithmic maximum",
      "style=whisper: the maximum that a model was trained with, fixed for all audio (global_log_mel_max in the "
      "configuration of Voxtral's streaming models, 1.5 there). Values more than 8 below it are raised to that, and "
      "each "
      "x becomes (x + 4) / 4. 0 = none of that: Whisper itself takes the maximum of a whole recording, which a stream "
      "does not know",
      -G_MAXDOUBLE, G_MAXDOUBLE, defaults.log_maximum, flags);
  g_object_class_install_properties (klass, N_PROPS, properties);

  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_STYLE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_WINDOW, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_MEL_SCALE, 0);
}
