/*
 * gst-attention: feature streams: their caps, buffers and times.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstfeatures.h"

#include <string.h>

#include "framerate.h"

#define NE_FORMAT GST_AUDIO_NE (F32)

/* FALSE, with a sentence. */
#define wrong_caps(error, ...) (g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE, __VA_ARGS__), FALSE)

static gboolean
check_string (const GstStructure *structure, const gchar *field, const gchar *expected, GError **error)
{
  const gchar *value = gst_structure_get_string (structure, field);

  if (g_strcmp0 (value, expected) == 0)
    return TRUE;
  return wrong_caps (error, "the caps have %s=%s, expected %s", field, value ? value : "(none)", expected);
}

static gboolean
check_n_features (guint64 n_features, const gchar *field, GError **error)
{
  if (n_features >= 1 && n_features <= GST_FEATURES_MAX_FEATURES)
    return TRUE;
  return wrong_caps (error, "the caps have %" G_GUINT64_FORMAT " features per frame (%s), expected 1 to %u", n_features,
                     field, GST_FEATURES_MAX_FEATURES);
}

static gboolean
from_audio (GstFeatures *features, const GstStructure *structure, GError **error)
{
  gint channels, rate;

  /* Not gst_audio_info_from_caps (): it wants a channel-mask above two channels, and float WAV files have none. */
  if (!check_string (structure, "format", NE_FORMAT, error)
      || !check_string (structure, "layout", "interleaved", error))
    return FALSE;
  if (!gst_structure_get_int (structure, "channels", &channels) || channels < 1)
    return wrong_caps (error, "the caps have no channels: they are the features of a frame");
  if (!gst_structure_get_int (structure, "rate", &rate) || rate < 1)
    return wrong_caps (error, "the caps have no rate: it is the number of frames per second");
  if (!check_n_features (channels, "channels", error))
    return FALSE;

  features->n_features = channels;
  features->rate_n = rate;
  features->rate_d = 1;
  return TRUE;
}

/* Reads "D:N:1:1": 1 to 16 numbers, innermost first. */
static gboolean
parse_dimensions (const gchar *dimensions, guint64 *n_features, guint64 *n_frames, GError **error)
{
  const gchar *p = dimensions;
  guint i;

  *n_features = *n_frames = 1;
  for (i = 0; i < 16; i++) {
    gchar *end;
    guint64 n = g_ascii_isdigit (*p) ? g_ascii_strtoull (p, &end, 10) : 0;

    /* A trailing 0 means "no such dimension" in newer NNStreamer. */
    if (!g_ascii_isdigit (*p) || (*end != ':' && *end != '\0') || n > G_MAXINT32 || (n == 0 && i == 0))
      return wrong_caps (error, "the caps have dimensions=%s, expected D:N:1:1, such as 80:1:1:1", dimensions);
    if (i == 0)
      *n_features = n;
    else if (i == 1)
      *n_frames = MAX (n, 1);
    else if (n > 1)
      return wrong_caps (error, "the caps have dimensions=%s: only the first two (features, frames) may be above 1",
                         dimensions);
    if (*end == '\0')
      return TRUE;
    p = end + 1;
  }
  return wrong_caps (error, "the caps have dimensions=%s: more than 16 numbers", dimensions);
}

static gboolean
check_no_flag_set (const GValue *value, GError **error)
{
  gboolean ok;
  gchar *text;

  if (value == NULL || !GST_VALUE_HOLDS_FLAG_SET (value))
    return TRUE;
  text = gst_value_serialize (value);
  ok = wrong_caps (error,
                   "the caps have dimensions=%s as a set of flags, which is how GStreamer reads a:b without a type: "
                   "write dimensions=(string)80:1:1:1, with the type",
                   text);
  g_free (text);
  return ok;
}

static gboolean
has_open_flag_set (const GstStructure *structure)
{
  const GValue *value = gst_structure_get_value (structure, "dimensions");

  return value != NULL && GST_VALUE_HOLDS_FLAG_SET (value) && !gst_value_is_fixed (value);
}

GstCaps *
gst_features_settle_dimensions (GstCaps *caps)
{
  guint i;

  for (i = 0; i < gst_caps_get_size (caps); i++)
    if (has_open_flag_set (gst_caps_get_structure (caps, i))) {
      caps = gst_caps_make_writable (caps);
      gst_structure_fixate_field (gst_caps_get_structure (caps, i), "dimensions");
    }
  return caps;
}

static gboolean
check_one_tensor (const GstStructure *structure, GError **error)
{
  gint num_tensors;

  if (!gst_structure_get_int (structure, "num_tensors", &num_tensors))
    return wrong_caps (error, "the caps have no num_tensors, expected 1: a feature stream is one tensor");
  if (num_tensors != 1)
    return wrong_caps (
        error,
        "the caps have num_tensors=%d, expected 1: a feature stream is one tensor; tensor_demux takes several "
        "apart",
        num_tensors);
  return TRUE;
}

static gboolean
read_dimensions (GstFeatures *features, const GstStructure *structure, GError **error)
{
  const GValue *value = gst_structure_get_value (structure, "dimensions");
  guint64 n_features, n_frames;

  if (value == NULL)
    return wrong_caps (error, "the caps have no dimensions, expected dimensions=(string)D:N:1:1");
  if (!check_no_flag_set (value, error))
    return FALSE;
  if (!G_VALUE_HOLDS_STRING (value))
    return wrong_caps (error, "the caps have dimensions of type %s: write dimensions=(string)D:N:1:1",
                       G_VALUE_TYPE_NAME (value));
  if (!parse_dimensions (g_value_get_string (value), &n_features, &n_frames, error)
      || !check_n_features (n_features, "dimensions", error))
    return FALSE;
  features->n_features = n_features;
  features->frames_per_buffer = n_frames;
  return TRUE;
}

static gboolean
from_tensors (GstFeatures *features, const GstStructure *structure, GError **error)
{
  if (!check_string (structure, "format", "static", error) || !check_one_tensor (structure, error)
      || !check_string (structure, "types", "float32", error) || !read_dimensions (features, structure, error))
    return FALSE;
  features->is_tensors = TRUE;
  if (!gst_structure_get_fraction (structure, "framerate", &features->rate_n, &features->rate_d)) {
    features->rate_n = 0;
    features->rate_d = 1;
  }
  if (features->rate_n < 0)
    return wrong_caps (error, "the caps have framerate=%d/%d, expected frames per second, or 0/1 for unknown",
                       features->rate_n, features->rate_d);
  return TRUE;
}

gboolean
gst_features_from_caps (GstFeatures *features, const GstCaps *caps, GError **error)
{
  const GstStructure *structure;

  memset (features, 0, sizeof *features);
  if (!gst_caps_is_fixed (caps))
    return wrong_caps (error, "the caps are not fixed");
  structure = gst_caps_get_structure (caps, 0);
  if (gst_structure_has_name (structure, "audio/x-raw"))
    return from_audio (features, structure, error);
  if (gst_structure_has_name (structure, "other/tensors"))
    return from_tensors (features, structure, error);
  return wrong_caps (error, "the caps are %s, expected audio/x-raw or other/tensors",
                     gst_structure_get_name (structure));
}

/* Above two channels level, matroskamux and audiobuffersplit need a mask; 0 says that channels have no places. */
static void
set_channels (GstStructure *structure, guint n_features)
{
  if (n_features == GST_FEATURES_ANY_NUMBER)
    gst_structure_set (structure, "channels", GST_TYPE_INT_RANGE, 1, G_MAXINT, NULL);
  else
    gst_structure_set (structure, "channels", G_TYPE_INT, (gint) n_features, NULL);
  if (n_features > 2)
    gst_structure_set (structure, "channel-mask", GST_TYPE_BITMASK, G_GUINT64_CONSTANT (0), NULL);
  else
    gst_structure_remove_field (structure, "channel-mask");
}

GstCaps *
gst_features_to_caps (guint n_features, gint rate_n, gint rate_d, guint frames_per_buffer)
{
  GstCaps *caps;

  if (rate_n > 0 && rate_n % rate_d == 0) {
    caps = gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, NE_FORMAT, "layout", G_TYPE_STRING,
                                "interleaved", "rate", G_TYPE_INT, rate_n / rate_d, NULL);
    set_channels (gst_caps_get_structure (caps, 0), n_features);
  } else {
    gchar *dimensions = g_strdup_printf ("%u:%u:1:1", n_features, frames_per_buffer);

    caps = gst_caps_new_simple ("other/tensors", "format", G_TYPE_STRING, "static", "num_tensors", G_TYPE_INT, 1,
                                "types", G_TYPE_STRING, "float32", "dimensions", G_TYPE_STRING, dimensions, "framerate",
                                GST_TYPE_FRACTION, rate_n, rate_d, NULL);
    g_free (dimensions);
  }
  return caps;
}

GstCaps *
gst_features_replace_n_features (GstCaps *caps, guint n_features)
{
  GstCaps *result = gst_caps_copy (caps);
  guint i;

  for (i = 0; i < gst_caps_get_size (result); i++) {
    GstStructure *structure = gst_caps_get_structure (result, i);
    const gchar *dimensions = gst_structure_get_string (structure, "dimensions");

    if (gst_structure_has_name (structure, "audio/x-raw")) {
      set_channels (structure, n_features);
    } else if (n_features == GST_FEATURES_ANY_NUMBER) {
      gst_structure_remove_field (structure, "dimensions");
    } else if (dimensions != NULL) {
      const gchar *rest = strchr (dimensions, ':');
      gchar *replaced = g_strdup_printf ("%u%s", n_features, rest ? rest : "");

      gst_structure_set (structure, "dimensions", G_TYPE_STRING, replaced, NULL);
      g_free (replaced);
    }
  }
  return result;
}

/* ---- caps of other rates ---- */

static void
set_frames_per_buffer (GstStructure *structure, guint frames_per_buffer)
{
  const gchar *dimensions = gst_structure_get_string (structure, "dimensions");
  gchar *replaced;

  if (dimensions == NULL)
    return;
  replaced = g_strdup_printf ("%.*s:%u:1:1", (int) strcspn (dimensions, ":"), dimensions, frames_per_buffer);
  gst_structure_set (structure, "dimensions", G_TYPE_STRING, replaced, NULL);
  g_free (replaced);
}

GstCaps *
gst_features_set_frames_per_buffer (GstCaps *caps, guint frames_per_buffer)
{
  GstCaps *result = gst_caps_copy (caps);
  guint i;

  for (i = 0; i < gst_caps_get_size (result); i++)
    set_frames_per_buffer (gst_caps_get_structure (result, i), frames_per_buffer);
  return result;
}

/* other/tensors of as many features as `audio` has, where that says it. Fields that are not those of audio stay. */
static GstStructure *
make_tensors (const GstStructure *audio)
{
  GstStructure *tensors = gst_structure_copy (audio);
  gint channels;
  gchar *dimensions;

  gst_structure_set_name (tensors, "other/tensors");
  gst_structure_remove_fields (tensors, "layout", "rate", "channels", "channel-mask", NULL);
  gst_structure_set (tensors, "format", G_TYPE_STRING, "static", "num_tensors", G_TYPE_INT, 1, "types", G_TYPE_STRING,
                     "float32", NULL);
  if (gst_structure_get_int (audio, "channels", &channels)) {
    dimensions = g_strdup_printf ("%d:1:1:1", channels);
    gst_structure_set (tensors, "dimensions", G_TYPE_STRING, dimensions, NULL);
    g_free (dimensions);
  }
  return tensors;
}

static GstStructure *
make_audio (gint rate)
{
  GstStructure *audio = gst_structure_new ("audio/x-raw", "format", G_TYPE_STRING, NE_FORMAT, "layout", G_TYPE_STRING,
                                           "interleaved", NULL);

  if (rate > 0)
    gst_structure_set (audio, "rate", G_TYPE_INT, rate, NULL);
  return audio;
}

/* Takes `tensors`. A rate of 0 is unknown, and one that is too large for a fraction is not told. */
static GstStructure *
with_framerate (GstStructure *tensors, gint rate_n, gint rate_d, gint numerator, gint denominator)
{
  gint n, d;

  if (gst_util_fraction_multiply (rate_n, rate_d, numerator, denominator, &n, &d))
    gst_structure_set (tensors, "framerate", GST_TYPE_FRACTION, n, d, NULL);
  else
    gst_structure_remove_field (tensors, "framerate");
  return tensors;
}

static void
divide_audio (GstCaps *result, const GstStructure *structure, gint n)
{
  GstStructure *audio = gst_structure_copy (structure);
  gint rate;

  if (!gst_structure_get_int (structure, "rate", &rate)) {
    gst_structure_remove_field (audio, "rate");
    gst_caps_append_structure (result, audio);
    gst_caps_append_structure (result, make_tensors (structure));
  } else if (rate % n == 0) {
    gst_structure_set (audio, "rate", G_TYPE_INT, rate / n, NULL);
    gst_caps_append_structure (result, audio);
  } else {
    gst_caps_append_structure (result, with_framerate (make_tensors (structure), rate, 1, 1, n));
    gst_structure_free (audio);
  }
}

static void
divide_tensors (GstCaps *result, const GstStructure *structure, gint n)
{
  GstStructure *tensors = gst_structure_copy (structure);
  gint rate_n, rate_d;

  if (gst_structure_get_fraction (structure, "framerate", &rate_n, &rate_d))
    tensors = with_framerate (tensors, rate_n, rate_d, 1, n);
  else if (gst_structure_has_field (structure, "framerate"))
    gst_structure_remove_field (tensors, "framerate");
  set_frames_per_buffer (tensors, 1);
  gst_caps_append_structure (result, tensors);
}

GstCaps *
gst_features_divide_rate (GstCaps *caps, guint n)
{
  GstCaps *result = gst_caps_new_empty ();
  guint i;

  for (i = 0; i < gst_caps_get_size (caps); i++) {
    const GstStructure *structure = gst_caps_get_structure (caps, i);

    if (gst_structure_has_name (structure, "audio/x-raw"))
      divide_audio (result, structure, n);
    else
      divide_tensors (result, structure, n);
  }
  return result;
}

static void
multiply_audio (GstCaps *result, const GstStructure *structure, gint n)
{
  GstStructure *audio = gst_structure_copy (structure);
  gint rate;

  if (!gst_structure_get_int (structure, "rate", &rate))
    gst_structure_remove_field (audio, "rate");
  else if (rate <= G_MAXINT / n)
    gst_structure_set (audio, "rate", G_TYPE_INT, rate * n, NULL);
  gst_caps_append_structure (result, audio);
}

/* From other/tensors with any number of frames, or from audio/x-raw at a rate that n does not divide. */
static void
multiply_tensors (GstCaps *result, const GstStructure *structure, gint n)
{
  GstStructure *tensors = gst_structure_copy (structure);
  gint rate_n, rate_d, audio_n = 0, audio_d = 1;
  gboolean is_known = gst_structure_get_fraction (structure, "framerate", &rate_n, &rate_d);

  if (is_known)
    tensors = with_framerate (tensors, rate_n, rate_d, n, 1);
  else if (gst_structure_has_field (structure, "framerate"))
    gst_structure_remove_field (tensors, "framerate");
  gst_structure_remove_field (tensors, "dimensions");
  gst_caps_append_structure (result, tensors);
  if (!is_known)
    gst_caps_append_structure (result, make_audio (0));
  else if (gst_structure_get_fraction (tensors, "framerate", &audio_n, &audio_d) && audio_n > 0 && audio_d == 1
           && audio_n % n != 0)
    gst_caps_append_structure (result, make_audio (audio_n));
}

GstCaps *
gst_features_multiply_rate (GstCaps *caps, guint n)
{
  GstCaps *result = gst_caps_new_empty ();
  guint i;

  for (i = 0; i < gst_caps_get_size (caps); i++) {
    const GstStructure *structure = gst_caps_get_structure (caps, i);

    if (gst_structure_has_name (structure, "audio/x-raw"))
      multiply_audio (result, structure, n);
    else
      multiply_tensors (result, structure, n);
  }
  return result;
}

/* ---- buffers ---- */

gboolean
gst_features_count_frames (const GstFeatures *features, gsize size, gsize *n_frames, GError **error)
{
  gsize frame_size = features->n_features * sizeof (gfloat);

  if (size % frame_size != 0) {
    g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                 "a buffer of %" G_GSIZE_FORMAT
                 " bytes is not a whole number of frames: one of %u features has %" G_GSIZE_FORMAT " bytes",
                 size, features->n_features, frame_size);
    return FALSE;
  }
  *n_frames = size / frame_size;
  if (features->frames_per_buffer != 0 && *n_frames != features->frames_per_buffer) {
    g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                 "a buffer of %" G_GSIZE_FORMAT " bytes has %" G_GSIZE_FORMAT
                 " frames, but the dimensions in the caps say %u",
                 size, *n_frames, features->frames_per_buffer);
    return FALSE;
  }
  return TRUE;
}

GstBuffer *
gst_features_new_buffer (guint64 n_values)
{
  GstAllocationParams params;

  gst_allocation_params_init (&params);
  params.align = GST_FEATURES_ALIGN;
  return gst_buffer_new_allocate (NULL, n_values * sizeof (gfloat), &params);
}

GstClockTime
gst_features_duration (const GstFeatures *features, guint64 n)
{
  return frame_rate_duration (features->rate_n, features->rate_d, n);
}

/* ---- queries ---- */

gboolean
gst_features_query_latency (GstPad *sinkpad, GstQuery *query, GstClockTime own)
{
  GstClockTime min, max;
  gboolean is_live;

  if (!gst_pad_peer_query (sinkpad, query))
    return FALSE;
  gst_query_parse_latency (query, &is_live, &min, &max);
  gst_query_set_latency (query, is_live, min + own, GST_CLOCK_TIME_IS_VALID (max) ? max + own : max);
  return TRUE;
}

gboolean
gst_features_query_is_in_time (GstQuery *query)
{
  GstFormat format = GST_FORMAT_TIME;

  switch (GST_QUERY_TYPE (query)) {
  case GST_QUERY_CONVERT:
    return FALSE;
  case GST_QUERY_POSITION:
    gst_query_parse_position (query, &format, NULL);
    break;
  case GST_QUERY_DURATION:
    gst_query_parse_duration (query, &format, NULL);
    break;
  case GST_QUERY_SEEKING:
    gst_query_parse_seeking (query, &format, NULL, NULL, NULL);
    break;
  default:
    break;
  }
  return format == GST_FORMAT_TIME;
}
