/*
 * gst-attention: the element `spectralgain`: its properties, and their values in the caps of the gains.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstspectralgain-private.h"

#include <math.h>
#include <string.h>

#include "gstlogmel.h"
#include "gstsettings.h"

#define DEFAULT_FLOOR -120.0 /* dB; far below the last bit of 16 */
#define DEFAULT_THRESHOLD 0.5
#define DEFAULT_HYSTERESIS 0.1
#define DEFAULT_MAX_WAIT (5 * GST_SECOND)

/* Decimal fractions may have been rounded on their way through caps. */
#define TOLERANCE 1e-9

enum {
  PROP_0,
  PROP_STYLE,
  PROP_BINS,
  PROP_FRAME_LENGTH,
  PROP_HOP_LENGTH,
  PROP_LOW_FREQUENCY,
  PROP_HIGH_FREQUENCY,
  PROP_MEL_SCALE,
  PROP_FLOOR,
  PROP_THRESHOLD,
  PROP_HYSTERESIS,
  PROP_MAX_WAIT,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

#define FIELD(name) G_STRUCT_OFFSET (SpectralGainSettings, name)
static const gsize fields[N_PROPS] = {
  [PROP_STYLE] = FIELD (bands.style),
  [PROP_BINS] = FIELD (bands.n_bins),
  [PROP_FRAME_LENGTH] = FIELD (bands.frame_length),
  [PROP_HOP_LENGTH] = FIELD (bands.hop_length),
  [PROP_LOW_FREQUENCY] = FIELD (bands.low_frequency),
  [PROP_HIGH_FREQUENCY] = FIELD (bands.high_frequency),
  [PROP_MEL_SCALE] = FIELD (bands.mel_scale),
  [PROP_FLOOR] = FIELD (floor),
  [PROP_THRESHOLD] = FIELD (threshold),
  [PROP_HYSTERESIS] = FIELD (hysteresis),
  [PROP_MAX_WAIT] = FIELD (max_wait),
};

/* ---- values ---- */

void
gst_spectral_gain_init_properties (GstSpectralGain *self)
{
  logmel_settings_init (&self->settings.bands, GST_LOGMEL_STYLE_KALDI);
  self->settings.floor = DEFAULT_FLOOR;
  self->settings.threshold = DEFAULT_THRESHOLD;
  self->settings.hysteresis = DEFAULT_HYSTERESIS;
  self->settings.max_wait = DEFAULT_MAX_WAIT;
}

static gboolean
is_set (guint bits, guint id)
{
  return bits >> id & 1;
}

/* Properties that nobody has set follow the style, as in logmel. */
static void
set_style (LogmelSettings *settings, guint bits, GstLogmelStyle style)
{
  LogmelSettings defaults;

  logmel_settings_init (&defaults, style);
  settings->style = style;
  if (!is_set (bits, PROP_LOW_FREQUENCY))
    settings->low_frequency = defaults.low_frequency;
  if (!is_set (bits, PROP_MEL_SCALE))
    settings->mel_scale = defaults.mel_scale;
}

void
gst_spectral_gain_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (object);

  GST_OBJECT_LOCK (self);
  gst_settings_set_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  self->is_set |= 1u << id;
  if (id == PROP_STYLE)
    set_style (&self->settings.bands, self->is_set, g_value_get_enum (value));
  g_cond_broadcast (&self->changed); /* waiting threads may have to wait for another time */
  GST_OBJECT_UNLOCK (self);
  if (id == PROP_STYLE) {
    g_object_notify_by_pspec (object, properties[PROP_LOW_FREQUENCY]);
    g_object_notify_by_pspec (object, properties[PROP_MEL_SCALE]);
  }
}

void
gst_spectral_gain_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (object);

  GST_OBJECT_LOCK (self);
  gst_settings_get_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

/* ---- values of the caps ---- */

static gboolean
refuse (GError **error, const gchar *field, const gchar *set, const gchar *said)
{
  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
               "%s=%s was set, but the caps of the gains say %s: leave the property unset, and it follows the caps",
               field, set, said);
  return FALSE;
}

/* Uses a number of the caps for a property that nobody has set. `set`: the property, with 0 and below spelled out. */
static gboolean
read_number (const GstStructure *caps, guint bits, guint id, gdouble set, gdouble *number, GError **error)
{
  const gchar *field = properties[id]->name;
  gchar *texts[2];
  gdouble said;
  gint whole;

  if (gst_structure_get_int (caps, field, &whole))
    said = whole;
  else if (!gst_structure_get_double (caps, field, &said))
    return TRUE;
  if (!is_set (bits, id) || fabs (said - set) <= TOLERANCE * MAX (fabs (said), fabs (set))) {
    *number = said;
    return TRUE;
  }
  texts[0] = g_strdup_printf ("%.10g", set);
  texts[1] = g_strdup_printf ("%.10g", said);
  refuse (error, field, texts[0], texts[1]);
  g_free (texts[0]);
  g_free (texts[1]);
  return FALSE;
}

/* The same for an enum, which caps name by its nick. */
static gboolean
read_name (const GstStructure *caps, guint bits, guint id, gint *number, GError **error)
{
  const gchar *said = gst_structure_get_string (caps, properties[id]->name);
  GEnumClass *klass = G_PARAM_SPEC_ENUM (properties[id])->enum_class;
  GEnumValue *value = said != NULL ? g_enum_get_value_by_nick (klass, said) : NULL;

  if (said == NULL || (value != NULL && value->value == *number))
    return TRUE;
  if (value == NULL) {
    g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
                 "the caps of the gains say %s=%.100s, expected %s", properties[id]->name, said,
                 id == PROP_STYLE ? "kaldi, whisper or nemo" : "htk or slaney");
    return FALSE;
  }
  if (is_set (bits, id))
    return refuse (error, properties[id]->name, g_enum_get_value (klass, *number)->value_nick, said);
  *number = value->value;
  return TRUE;
}

static gboolean
read_caps (SpectralBands *bands, guint bits, const GstStructure *caps, GError **error)
{
  LogmelSettings *settings = &bands->settings;
  gdouble n_bins = settings->n_bins, high = settings->high_frequency;
  gint style = settings->style, mel_scale, rate;

  if (gst_structure_get_int (caps, "sample-rate", &rate) && rate > 0)
    bands->sample_rate = rate;
  if (high <= 0)
    high += bands->sample_rate / 2.0;
  if (!read_name (caps, bits, PROP_STYLE, &style, error))
    return FALSE;
  set_style (settings, bits, style);
  mel_scale = settings->mel_scale;
  if (!read_name (caps, bits, PROP_MEL_SCALE, &mel_scale, error)
      || !read_number (caps, bits, PROP_BINS, n_bins, &n_bins, error)
      || !read_number (caps, bits, PROP_FRAME_LENGTH, settings->frame_length, &settings->frame_length, error)
      || !read_number (caps, bits, PROP_HOP_LENGTH, settings->hop_length, &settings->hop_length, error)
      || !read_number (caps, bits, PROP_LOW_FREQUENCY, settings->low_frequency, &settings->low_frequency, error)
      || !read_number (caps, bits, PROP_HIGH_FREQUENCY, high, &settings->high_frequency, error))
    return FALSE;
  settings->mel_scale = mel_scale;
  settings->n_bins = (guint) CLAMP (n_bins, 1, GST_FEATURES_MAX_FEATURES);
  return TRUE;
}

static gboolean
check_width (const SpectralBands *bands, const GstFeatures *features, GError **error)
{
  guint n_bins = bands->settings.n_bins;

  if (features->n_features == n_bins || features->n_features == n_bins + 1)
    return TRUE;
  g_set_error (
      error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
      "frames of %u gains came, but bins=%u: expected one gain per band, %u, or one more, %u, which is then the "
      "probability of speech",
      features->n_features, n_bins, n_bins, n_bins + 1);
  return FALSE;
}

/* The rate of the frames counts; a hop that was set must not be another one by more than the rounding to samples. */
static gboolean
check_rate (const SpectralBands *bands, guint bits, GError **error)
{
  gdouble set = bands->settings.hop_length / 1000, rounding = bands->sample_rate > 0 ? 1.0 / bands->sample_rate : 1e-3;

  if (bands->rate_n <= 0 || !is_set (bits, PROP_HOP_LENGTH)
      || fabs (set - (gdouble) bands->rate_d / bands->rate_n) <= rounding)
    return TRUE;
  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
               "hop-length=%g ms was set, but %d/%d frames of gains come per second, one every %g ms",
               bands->settings.hop_length, bands->rate_n, bands->rate_d, 1000.0 * bands->rate_d / bands->rate_n);
  return FALSE;
}

SpectralBands *
gst_spectral_gain_read_bands (GstSpectralGain *self, const GstCaps *caps, const GstFeatures *features, GError **error)
{
  SpectralBands *bands = g_rc_box_new0 (SpectralBands);
  guint bits;

  GST_OBJECT_LOCK (self);
  bands->settings = self->settings.bands;
  bits = self->is_set;
  GST_OBJECT_UNLOCK (self);
  bands->rate_d = 1;
  if (caps == NULL)
    return bands;
  bands->rate_n = features->rate_n;
  bands->rate_d = features->rate_d;
  if (read_caps (bands, bits, gst_caps_get_structure (caps, 0), error) && check_width (bands, features, error)
      && check_rate (bands, bits, error))
    return bands;
  g_rc_box_release (bands);
  return NULL;
}

/* ---- the class ---- */

static void
install_bands (const LogmelSettings *defaults, GParamFlags flags)
{
  properties[PROP_STYLE] =
      g_param_spec_enum ("style", "Style",
                         "The style of logmel. It tells where the triangles of the bands are straight (mel or Hz), and "
                         "whether the timestamp of a frame is its first sample (kaldi) or its centre (others). If this "
                         "and the other properties of the bands are not set, they follow the caps of the gains",
                         GST_TYPE_LOGMEL_STYLE, defaults->style, flags);
  properties[PROP_BINS] = g_param_spec_uint (
      "bins", "Bins", "Number of bands. A frame holds as many gains, or one value more: the probability of speech", 1,
      GST_FEATURES_MAX_FEATURES - 1, defaults->n_bins, flags);
  properties[PROP_FRAME_LENGTH] =
      g_param_spec_double ("frame-length", "Frame length",
                           "Length of the audio of one frame of gains, in ms, and of the frames in which the element "
                           "applies the gains. It is the latency of the audio",
                           0.0, 60000.0, defaults->frame_length, flags);
  properties[PROP_HOP_LENGTH] = g_param_spec_double (
      "hop-length", "Hop length",
      "Time from one frame to the next, in ms. If the caps of the gains have a rate, it follows from that. If it is "
      "longer than half of a frame, the element applies the gains in hops that divide it evenly",
      0.0, 60000.0, defaults->hop_length, flags);
  properties[PROP_LOW_FREQUENCY] =
      g_param_spec_double ("low-frequency", "Low frequency",
                           "Beginning of the lowest band, in Hz; if not set, 20 (kaldi) or 0 (others). Frequencies "
                           "below the bands take the gain of the lowest one",
                           0.0, G_MAXDOUBLE, defaults->low_frequency, flags);
  properties[PROP_HIGH_FREQUENCY] =
      g_param_spec_double ("high-frequency", "High frequency",
                           "End of the highest band, in Hz. 0 = half of the sample rate; a negative number counts down "
                           "from there. Frequencies above the bands take the gain of the highest one",
                           -G_MAXDOUBLE, G_MAXDOUBLE, defaults->high_frequency, flags);
  properties[PROP_MEL_SCALE] =
      g_param_spec_enum ("mel-scale", "Mel scale",
                         "The scale on which all bands are equally wide; if not set, htk (kaldi) or slaney (others)",
                         GST_TYPE_LOGMEL_MEL_SCALE, defaults->mel_scale, flags);
}

void
gst_spectral_gain_install_properties (GObjectClass *klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
  LogmelSettings defaults;

  logmel_settings_init (&defaults, GST_LOGMEL_STYLE_KALDI);
  install_bands (&defaults, flags | GST_PARAM_MUTABLE_READY);
  properties[PROP_FLOOR] =
      g_param_spec_double ("floor", "Floor",
                           "The smallest gain, in dB. No band is turned down further. -20 keeps the "
                           "sound of the room and hides the errors of a model; -120 is silence",
                           -120.0, 0.0, DEFAULT_FLOOR, flags | GST_PARAM_MUTABLE_PLAYING);
  properties[PROP_THRESHOLD] = g_param_spec_double (
      "threshold", "Threshold", "Speech begins when the probability reaches this value. A message reports the change",
      0.0, 1.0, DEFAULT_THRESHOLD, flags | GST_PARAM_MUTABLE_PLAYING);
  properties[PROP_HYSTERESIS] = g_param_spec_double (
      "hysteresis", "Hysteresis", "Speech ends when the probability falls below the threshold by this much", 0.0, 1.0,
      DEFAULT_HYSTERESIS, flags | GST_PARAM_MUTABLE_PLAYING);
  properties[PROP_MAX_WAIT] =
      g_param_spec_uint64 ("max-wait", "Maximum wait",
                           "Time in nanoseconds. The element holds this much audio while the gains are missing. Then "
                           "it waits for the same time before it reports an error. Set more than the latency of the "
                           "branch that computes the gains. 18446744073709551615 = for ever",
                           0, G_MAXUINT64, DEFAULT_MAX_WAIT, flags | GST_PARAM_MUTABLE_PLAYING);
  g_object_class_install_properties (klass, N_PROPS, properties);
}
