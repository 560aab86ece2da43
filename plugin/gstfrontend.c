/*
 * gst-attention: compares the settings that made the features with those that a model was trained on.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstfrontend.h"

#include <math.h>
#include <string.h>

#include "gstattentionlayers.h"

/* Decimal fractions may have been rounded on their way through a text. */
#define TOLERANCE 1e-9

typedef enum { NUMBER, NAME } Kind;

/* The first of the fields speak of the sound, which no element behind the front end changes. */
#define OF_THE_SOUND 1

/* In the order in which it helps to hear of them. */
static const struct {
  const gchar *name;
  Kind kind;
} fields[] = {
  { "sample-rate", NUMBER },   { "bins", NUMBER },     { "style", NAME },           { "frame-length", NUMBER },
  { "hop-length", NUMBER },    { "fft-size", NUMBER }, { "low-frequency", NUMBER }, { "high-frequency", NUMBER },
  { "window-function", NAME }, { "mel-scale", NAME },  { "log-maximum", NUMBER },
};

/* ---- numbers ---- */

gdouble
gst_front_end_parse_number (const gchar *text)
{
  gchar *end;
  gdouble number = g_ascii_strtod (text, &end), denominator = 1;

  if (end != text && *end == '/') {
    text = end + 1;
    denominator = g_ascii_strtod (text, &end);
  }
  return end != text && *end == '\0' ? number / denominator : NAN;
}

static gboolean
are_equal (gdouble a, gdouble b)
{
  return fabs (a - b) <= TOLERANCE * MAX (fabs (a), fabs (b));
}

static gboolean
get_number (const GstStructure *structure, const gchar *field, gdouble *number)
{
  gint whole;

  if (gst_structure_get_double (structure, field, number))
    return TRUE;
  if (!gst_structure_get_int (structure, field, &whole))
    return FALSE;
  *number = whole;
  return TRUE;
}

/* What the properties of `logmel` say by 0 and below; caps say what it comes to. FALSE: nothing that can be told. */
static gboolean
spell_out (const gchar *field, const GstStructure *structure, gdouble *number)
{
  gdouble sample_rate;

  if (strcmp (field, "fft-size") == 0)
    return *number != 0;
  if (strcmp (field, "high-frequency") != 0 || *number > 0)
    return TRUE;
  if (!get_number (structure, "sample-rate", &sample_rate))
    return FALSE;
  *number += sample_rate / 2;
  return TRUE;
}

/* ---- the comparison ---- */

static gboolean
number_fits (const gchar *field, const gchar *trained_on, const GstStructure *structure, gchar **says)
{
  gdouble wanted = gst_front_end_parse_number (trained_on), is;

  if (!get_number (structure, field, &is) || !spell_out (field, structure, &wanted) || are_equal (is, wanted))
    return TRUE;
  *says = g_strdup_printf ("%.10g", is);
  return FALSE;
}

static gboolean
name_fits (const gchar *field, const gchar *trained_on, const GstStructure *structure, gchar **says)
{
  const gchar *is = gst_structure_get_string (structure, field);

  if (is == NULL || strcmp (is, trained_on) == 0)
    return TRUE;
  *says = g_strdup (is);
  return FALSE;
}

static gboolean
frame_rate_fits (const gchar *trained_on, const GstFeatures *features, gchar **says)
{
  if (features->rate_n <= 0
      || are_equal (gst_front_end_parse_number (trained_on), (gdouble) features->rate_n / features->rate_d))
    return TRUE;
  *says = features->rate_d == 1 ? g_strdup_printf ("%d", features->rate_n)
                                : g_strdup_printf ("%d/%d", features->rate_n, features->rate_d);
  return FALSE;
}

gboolean
gst_front_end_differs (GstFrontEndLookup lookup, gconstpointer model, const GstCaps *caps, const GstFeatures *features,
                       GstFrontEndDifference *difference)
{
  const GstStructure *structure = gst_caps_get_structure (caps, 0);
  const gchar *text;
  guint i;

  difference->says = NULL;
  for (i = 0; i < G_N_ELEMENTS (fields); i++) {
    difference->field = fields[i].name;
    text = lookup (model, fields[i].name);
    if (text != NULL
        && !(fields[i].kind == NUMBER ? number_fits : name_fits) (fields[i].name, text, structure, &difference->says))
      break;
  }
  if (difference->says == NULL) {
    difference->field = "frame-rate";
    text = lookup (model, "frame-rate");
    if (text == NULL || frame_rate_fits (text, features, &difference->says))
      return FALSE;
  }
  difference->trained_on = g_strescape (text, NULL); /* the bytes of a file may not be text for a terminal */
  return TRUE;
}

void
gst_front_end_difference_clear (GstFrontEndDifference *difference)
{
  g_clear_pointer (&difference->trained_on, g_free);
  g_clear_pointer (&difference->says, g_free);
}

/* Clears `difference`. */
static gboolean
refuse (GstFrontEndDifference *difference, GError **error)
{
  const gchar *field = difference->field, *wanted = difference->trained_on;
  gchar *help = strcmp (field, "frame-rate") == 0 ? g_strdup ("")
                : strcmp (field, "sample-rate") == 0
                    ? g_strdup_printf (": put audioresample ! audio/x-raw,rate=%s in front of logmel", wanted)
                    : g_strdup_printf (": logmel %s=%s makes the frames that it needs", field, wanted);

  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
               "the model was trained on %s=%.200s, but the stream says %s%.300s", field, wanted, difference->says,
               help);
  g_free (help);
  gst_front_end_difference_clear (difference);
  return FALSE;
}

static const gchar *
look_up (gconstpointer layer, const gchar *key)
{
  return gst_attention_layers_metadata (layer, key);
}

gboolean
gst_front_end_check (const AttnLayer *layer, const GstCaps *caps, const GstFeatures *features, GError **error)
{
  GstFrontEndDifference difference;
  guint32 numerator, denominator;
  gchar *of_encoder;

  if (gst_front_end_differs (look_up, layer, caps, features, &difference))
    return refuse (&difference, error);
  attn_layer_frame_rate (layer, &numerator, &denominator);
  of_encoder = g_strdup_printf ("%u/%u", numerator, denominator);
  if (numerator == 0 || frame_rate_fits (of_encoder, features, &difference.says)) {
    g_free (of_encoder);
    return TRUE;
  }
  difference.field = "frame-rate";
  difference.trained_on = of_encoder;
  return refuse (&difference, error);
}

GstCaps *
gst_front_end_remove (GstCaps *caps)
{
  guint i, j;

  caps = gst_caps_make_writable (caps);
  for (i = 0; i < gst_caps_get_size (caps); i++)
    for (j = OF_THE_SOUND; j < G_N_ELEMENTS (fields); j++)
      gst_structure_remove_field (gst_caps_get_structure (caps, i), fields[j].name);
  return caps;
}
