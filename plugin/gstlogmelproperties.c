/*
 * gst-attention: the element `logmel`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstlogmel-private.h"

#include <math.h>

#include "gstattentionlayers.h"
#include "gstenums.h"
#include "gstfrontend.h"
#include "gstsettings.h"

#define DEFAULT_STYLE GST_LOGMEL_STYLE_KALDI

/* A hop that is rounded down to whole samples must not lose one where the rate of the frames is no finite decimal. */
#define ROUNDING 1e-12

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
  N_FIELDS,
  PROP_MODEL_FILE = N_FIELDS,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

static const gsize fields[N_FIELDS] = {
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

/* ---- settings in effect ---- */

static void
copy_field (LogmelSettings *to, const LogmelSettings *from, guint id)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_PARAM_SPEC_VALUE_TYPE (properties[id]));
  gst_settings_get_field (G_STRUCT_MEMBER_P (from, fields[id]), &value);
  gst_settings_set_field (G_STRUCT_MEMBER_P (to, fields[id]), &value);
  g_value_unset (&value);
}

static gboolean
has_bit (guint bits, guint id)
{
  return bits >> id & 1;
}

/* With the object lock. */
static void
update_settings (GstLogmel *self)
{
  GstLogmelStyle style = has_bit (self->is_set, PROP_STYLE)    ? self->set.style
                         : has_bit (self->is_said, PROP_STYLE) ? self->said.style
                                                               : DEFAULT_STYLE;
  guint id;

  logmel_settings_init (&self->settings, style);
  for (id = PROP_STYLE; id < N_FIELDS; id++) {
    if (has_bit (self->is_set, id))
      copy_field (&self->settings, &self->set, id);
    else if (has_bit (self->is_said, id))
      copy_field (&self->settings, &self->said, id);
  }
}

static void
notify_settings (GstLogmel *self)
{
  guint id;

  for (id = PROP_STYLE; id < N_FIELDS; id++)
    g_object_notify_by_pspec (G_OBJECT (self), properties[id]);
}

/* ---- the model file ---- */

/* FALSE, with a sentence about an entry of the metadata. */
static gboolean
refuse_entry (const gchar *field, const gchar *text, GError **error)
{
  gchar *escaped = g_strescape (text, NULL);

  g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
               "the model was trained on %s=%.200s, which logmel does not know", field, escaped);
  g_free (escaped);
  return FALSE;
}

/* The value of a property, in the place of the field of `settings` that it is. */
static gboolean
read_entry (LogmelSettings *settings, guint id, const gchar *text, GError **error)
{
  GValue value = G_VALUE_INIT;
  gboolean is_good;

  g_value_init (&value, G_PARAM_SPEC_VALUE_TYPE (properties[id]));
  is_good = gst_value_deserialize (&value, text) && !g_param_value_validate (properties[id], &value);
  if (is_good)
    gst_settings_set_field (G_STRUCT_MEMBER_P (settings, fields[id]), &value);
  g_value_unset (&value);
  return is_good || refuse_entry (properties[id]->name, text, error);
}

/* A rate of frames says as much as the hop: `text` such as "100" or "125/2". */
static gboolean
read_frame_rate (LogmelSettings *settings, const gchar *text, GError **error)
{
  gdouble rate = gst_front_end_parse_number (text);

  if (!(rate > 0))
    return refuse_entry ("frame-rate", text, error);
  settings->hop_length = 1000.0 / rate * (1 + ROUNDING);
  return TRUE;
}

static gboolean
read_settings (const AttnMetadata *metadata, LogmelSettings *said, guint *is_said, GError **error)
{
  const gchar *text;
  guint id;

  *is_said = 0;
  for (id = PROP_STYLE; id < N_FIELDS; id++) {
    text = attn_metadata_get (metadata, properties[id]->name);
    if (text != NULL && !read_entry (said, id, text, error))
      return FALSE;
    *is_said |= text != NULL ? 1u << id : 0;
  }
  text = attn_metadata_get (metadata, "frame-rate");
  if (text == NULL || has_bit (*is_said, PROP_HOP_LENGTH))
    return TRUE;
  *is_said |= 1u << PROP_HOP_LENGTH;
  return read_frame_rate (said, text, error);
}

static gboolean
read_rate (const AttnMetadata *metadata, guint *rate, GError **error)
{
  const gchar *text = attn_metadata_get (metadata, "sample-rate");
  gdouble number = text != NULL ? gst_front_end_parse_number (text) : 0;

  if (text != NULL && !(number >= 1 && number <= G_MAXINT && number == floor (number)))
    return refuse_entry ("sample-rate", text, error);
  *rate = (guint) number;
  return TRUE;
}

/* Copies the values of the file into the properties that nobody has set. On failure the file counts as empty. */
static AttnMetadata *
read_file (GstLogmel *self, const gchar *file, GError **error)
{
  AttnMetadata *metadata = NULL;
  LogmelSettings said;
  guint is_said = 0, rate = 0;
  AttnError failure;

  logmel_settings_init (&said, DEFAULT_STYLE);
  if (attn_metadata_open (file, &metadata, &failure) != ATTN_OK)
    gst_attention_layers_set_error (error, &failure);
  else if (!read_settings (metadata, &said, &is_said, error) || !read_rate (metadata, &rate, error)) {
    gchar *name = g_filename_display_name (file);

    g_prefix_error (error, "%s: ", name);
    g_free (name);
    g_clear_pointer (&metadata, attn_metadata_free);
  }
  GST_OBJECT_LOCK (self);
  self->said = said;
  self->is_said = metadata != NULL ? is_said : 0;
  self->said_rate = metadata != NULL ? rate : 0;
  update_settings (self);
  GST_OBJECT_UNLOCK (self);
  return metadata;
}

static gchar *
dup_model_file (GstLogmel *self)
{
  gchar *file;

  GST_OBJECT_LOCK (self);
  file = g_strdup (self->model_file);
  GST_OBJECT_UNLOCK (self);
  return file;
}

static gboolean
knows_style (GstLogmel *self)
{
  gboolean knows;

  GST_OBJECT_LOCK (self);
  knows = has_bit (self->is_said | self->is_set, PROP_STYLE);
  GST_OBJECT_UNLOCK (self);
  return knows;
}

static gboolean
refuse_without_style (const gchar *file, GError **error)
{
  gchar *name = g_filename_display_name (file);

  g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
               "%s does not say which features its model was trained on: its metadata has no entry \"style\". Set "
               "style, or export the model with --style",
               name);
  g_free (name);
  return FALSE;
}

gboolean
gst_logmel_read_model (GstLogmel *self, GError **error)
{
  gchar *file = dup_model_file (self);
  gboolean is_good = TRUE;

  g_clear_pointer (&self->metadata, attn_metadata_free);
  if (file != NULL) {
    self->metadata = read_file (self, file, error);
    is_good = self->metadata != NULL;
    if (is_good && !knows_style (self))
      is_good = refuse_without_style (file, error);
  }
  g_free (file);
  return is_good;
}

static const gchar *
look_up (gconstpointer metadata, const gchar *key)
{
  return attn_metadata_get (metadata, key);
}

static void
set_difference (GstLogmel *self, const GstFrontEndDifference *difference, GError **error)
{
  gchar *file = dup_model_file (self), *name = g_filename_display_name (file);

  if (strcmp (difference->field, "sample-rate") == 0)
    g_set_error (
        error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
        "%s was trained on audio with sample-rate=%.200s, but this audio has %s: put audioresample in front of logmel",
        name, difference->trained_on, difference->says);
  else
    g_set_error (error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
                 "%s was trained on %s=%.200s, but the properties make %s=%s: leave the properties unset, and they "
                 "follow the file",
                 name, difference->field, difference->trained_on, difference->field, difference->says);
  g_free (name);
  g_free (file);
}

gboolean
gst_logmel_fits_model (GstLogmel *self, GstCaps *caps, GError **error)
{
  GstFrontEndDifference difference;
  GstFeatures features;

  if (!gst_features_from_caps (&features, caps, NULL))
    features.rate_n = 0;
  if (self->metadata == NULL || !gst_front_end_differs (look_up, self->metadata, caps, &features, &difference))
    return TRUE;
  set_difference (self, &difference, error);
  gst_front_end_difference_clear (&difference);
  return FALSE;
}

gint
gst_logmel_get_model_rate (GstLogmel *self)
{
  gint rate;

  GST_OBJECT_LOCK (self);
  rate = (gint) self->said_rate;
  GST_OBJECT_UNLOCK (self);
  return rate;
}

/* Faults of a file are reported at start. */
static void
set_model_file (GstLogmel *self, const GValue *value)
{
  gchar *file;

  GST_OBJECT_LOCK (self);
  gst_settings_set_field (&self->model_file, value);
  self->is_said = self->said_rate = 0;
  update_settings (self);
  GST_OBJECT_UNLOCK (self);
  file = dup_model_file (self);
  if (file != NULL)
    attn_metadata_free (read_file (self, file, NULL));
  g_free (file);
  notify_settings (self);
}

/* ---- set and get ---- */

void
gst_logmel_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstLogmel *self = GST_LOGMEL (object);

  if (id == PROP_MODEL_FILE) {
    set_model_file (self, value);
    return;
  }
  GST_OBJECT_LOCK (self);
  gst_settings_set_field (G_STRUCT_MEMBER_P (&self->set, fields[id]), value);
  self->is_set |= 1u << id;
  update_settings (self);
  GST_OBJECT_UNLOCK (self);
  if (id == PROP_STYLE)
    notify_settings (self);
}

void
gst_logmel_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstLogmel *self = GST_LOGMEL (object);

  GST_OBJECT_LOCK (self);
  if (id == PROP_MODEL_FILE)
    g_value_set_string (value, self->model_file);
  else
    gst_settings_get_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

void
gst_logmel_init_properties (GstLogmel *self)
{
  logmel_settings_init (&self->settings, DEFAULT_STYLE);
}

void
gst_logmel_clear_properties (GstLogmel *self)
{
  g_clear_pointer (&self->model_file, g_free);
}

/* ---- caps ---- */

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
      "frame-length", "Frame length", "Length of the audio of one frame, in ms, rounded down to whole samples", 0.0,
      60000.0, defaults->frame_length, flags);
  properties[PROP_HOP_LENGTH] = g_param_spec_double (
      "hop-length", "Hop length", "Time from one frame to the next, in ms, rounded down to whole samples", 0.0, 60000.0,
      defaults->hop_length, flags);
  properties[PROP_FFT_SIZE] = g_param_spec_uint (
      "fft-size", "FFT size",
      "Number of points of the FFT. It must be even, and at least the number of samples of a frame. 0 = as in the "
      "style: the next power of two (kaldi, nemo) or the number of samples of a frame (whisper)",
      0, LOGMEL_MAX_FFT_SIZE, defaults->fft_size, flags);
  properties[PROP_WINDOW_FUNCTION] =
      g_param_spec_enum ("window-function", "Window function",
                         "The window function, which multiplies each frame. It is symmetric (kaldi, nemo) or periodic "
                         "(whisper). If not set: povey (kaldi) or hann (others)",
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
      "low-frequency", "Low frequency", "Beginning of the lowest band, in Hz; if not set, 20 (kaldi) or 0 (others)",
      0.0, G_MAXDOUBLE, defaults->low_frequency, flags);
  properties[PROP_HIGH_FREQUENCY] =
      g_param_spec_double ("high-frequency", "High frequency",
                           "End of the highest band, in Hz. 0 = half of the sample rate; a negative number counts down "
                           "from there (-400 with 16000 Hz is 7600 Hz)",
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

  logmel_settings_init (&defaults, DEFAULT_STYLE);
  properties[PROP_STYLE] =
      g_param_spec_enum ("style", "Style",
                         "The program whose features the element computes. It must be the one that the model was "
                         "trained with. Properties that were not set follow the style",
                         GST_TYPE_LOGMEL_STYLE, defaults.style, flags);
  install_framing (&defaults, flags);
  install_bands (&defaults, flags);
  properties[PROP_LOG_MAXIMUM] = g_param_spec_double (
      "log-maximum", "Logarithmic maximum",
      "style=whisper: the maximum that a model was trained with, fixed for all audio (global_log_mel_max in the "
      "configuration of Voxtral's streaming models, 1.5 there). Values more than 8 below it are raised to that, and "
      "each x becomes (x + 4) / 4. 0 = off. Whisper itself uses the maximum of the whole recording, which a stream "
      "does not know",
      -G_MAXDOUBLE, G_MAXDOUBLE, defaults.log_maximum, flags);
  properties[PROP_MODEL_FILE] = g_param_spec_string (
      "model-file", "Model file",
      "The safetensors file of the model that will get the frames, as the exporter writes it. The other properties "
      "take their values from its metadata. Properties that are set must agree with the metadata, and so must the "
      "sample rate of the audio. None = only the properties count",
      NULL, flags);
  g_object_class_install_properties (klass, N_PROPS, properties);

  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_STYLE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_WINDOW, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_LOGMEL_MEL_SCALE, 0);
}
