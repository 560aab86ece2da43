/*
 * gst-attention: the settings that made the features of a stream, and those that a model was trained on.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Features that look alike need not be alike: log-mel frames of 80 bins at 100 Hz come from speech at 8 kHz as well as
 * at 44.1 kHz, and a model that was trained on one of them gives nonsense on the other. `logmel` says in its caps what
 * it made, in fields with the names of its properties and sample-rate; a model says in its metadata, under the same
 * names and frame-rate, what it was trained on.
 */
#ifndef PLUGIN_GSTFRONTEND_H
#define PLUGIN_GSTFRONTEND_H

#include "attn.h"
#include "gstfeatures.h"

G_BEGIN_DECLS

/* The number in a text such as "16000", "62.5" or "125/2"; NAN: the text is not a number. */
gdouble gst_front_end_parse_number (const gchar *text);

/* The text that the metadata of a model have under `key`; NULL: they do not speak of it. */
typedef const gchar *(*GstFrontEndLookup) (gconstpointer model, const gchar *key);

typedef struct {
  const gchar *field; /* such as "bins" */
  gchar *trained_on;  /* the value in the metadata, escaped */
  gchar *says;        /* the value in the caps */
} GstFrontEndDifference;

/*
 * The first field of which `caps` (fixed, those of `features`) and the metadata both say something, and not the same:
 * `difference` is then for gst_front_end_difference_clear (). FALSE: there is none.
 */
gboolean gst_front_end_differs (GstFrontEndLookup lookup, gconstpointer model, const GstCaps *caps,
                                const GstFeatures *features, GstFrontEndDifference *difference);
void gst_front_end_difference_clear (GstFrontEndDifference *difference);

/*
 * FALSE where `caps` (fixed, those of `features`) and the metadata of the model's file, from which `layer` was made,
 * both say something, and not the same: then `error` (GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE) names both, and
 * what helps.
 */
gboolean gst_front_end_check (const AttnLayer *layer, const GstCaps *caps, const GstFeatures *features, GError **error);

/*
 * `caps` without these fields, for frames that are not those of a front end any more. The sample rate stays: it is that
 * of the sound, and tells where the bands of a model's gains end. Takes `caps`. Transfer full.
 */
GstCaps *gst_front_end_remove (GstCaps *caps);

G_END_DECLS

#endif
