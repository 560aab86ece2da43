/*
 * gst-attention: feature streams: the caps of every pad that carries feature vectors, read and made in one
 * place. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A feature stream is audio/x-raw (one channel per feature, one sample per frame) or NNStreamer's other/tensors (one
 * float32 tensor of dimensions D:N:1:1, innermost first). See docs/features.md.
 */
#ifndef PLUGIN_GSTFEATURES_H
#define PLUGIN_GSTFEATURES_H

#include <gst/gst.h>
#include <gst/audio/audio.h>

G_BEGIN_DECLS

/* For pad templates. No `types` or `dimensions`: NNStreamer's negotiation fails with them in a template. */
#define GST_FEATURES_CAPS                                     \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (               \
      F32) ", layout=(string)interleaved, "                   \
           "rate=(int)[ 1, max ], channels=(int)[ 1, max ]; " \
           "other/tensors, format=(string)static, num_tensors=(int)1, framerate=(fraction)[ 0/1, max ]"

/* Most values that a frame may have; the core's own limit. */
#define GST_FEATURES_MAX_FEATURES 65536

/* Of the buffers that we make, as in GstAllocationParams: a cache line, and the widest vector. */
#define GST_FEATURES_ALIGN 63

typedef struct {
  guint n_features;        /* D, float32 values per frame */
  gint rate_n, rate_d;     /* frames per second; 0/1 = unknown */
  gboolean is_tensors;     /* other/tensors, else audio/x-raw */
  guint frames_per_buffer; /* N of other/tensors: every buffer has just as many; 0 = any number */
} GstFeatures;

/*
 * Reads fixed caps. On failure returns FALSE and sets `error` (GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE) to a
 * sentence that names the field, what it says and what was expected, also for the untyped `dimensions=80:1` of
 * gst-launch.
 */
gboolean gst_features_from_caps (GstFeatures *features, const GstCaps *caps, GError **error);

/*
 * Untyped `dimensions=80:1`, which are a set of flags and never fixed, become the fixed set of the same flags, so that
 * a CAPS event brings them and gst_features_from_caps () can say what is wrong. Takes `caps`. Transfer full.
 */
GstCaps *gst_features_settle_dimensions (GstCaps *caps);

/*
 * Caps for frames that an element of ours makes: audio/x-raw where the rate is a whole number of Hz (with
 * channel-mask=0 above two channels), else other/tensors with n_features:frames_per_buffer:1:1. Transfer full.
 */
GstCaps *gst_features_to_caps (guint n_features, gint rate_n, gint rate_d, guint frames_per_buffer);

/* For gst_features_replace_n_features (): the caps no longer say how many. */
#define GST_FEATURES_ANY_NUMBER 0

/*
 * `caps` (fixed or not) with `n_features` in the place of their number of features; everything else is kept. Transfer
 * full.
 */
GstCaps *gst_features_replace_n_features (GstCaps *caps, guint n_features);

/* `caps` with buffers of so many frames, where they say how many (other/tensors). Transfer full. */
GstCaps *gst_features_set_frames_per_buffer (GstCaps *caps, guint frames_per_buffer);

/*
 * The form of `caps` (fixed or not) if one frame leaves for each `n` that come: the rate is divided by n, and
 * audio/x-raw becomes other/tensors where that is not a whole number. In other/tensors each frame has its own buffer.
 * Transfer full.
 */
GstCaps *gst_features_divide_rate (GstCaps *caps, guint n);

/* All that gives `caps` where one frame leaves for each `n` that come. Transfer full. */
GstCaps *gst_features_multiply_rate (GstCaps *caps, guint n);

/*
 * The number of frames in a buffer of `size` bytes. On failure returns FALSE and sets `error` (GST_STREAM_ERROR,
 * GST_STREAM_ERROR_FORMAT): not a whole number of frames, or not the number that the caps fix.
 */
gboolean gst_features_count_frames (const GstFeatures *features, gsize size, gsize *n_frames, GError **error);

/* A buffer of `n_values`, in one memory that begins at a cache line; NULL: no memory. Transfer full. */
GstBuffer *gst_features_new_buffer (guint64 n_values);

/* Answers a query of the latency with the latency of the elements upstream of `sinkpad`, and `own`. */
gboolean gst_features_query_latency (GstPad *sinkpad, GstQuery *query, GstClockTime own);

/*
 * For elements whose two sides count other things, so that only time is the same on both: FALSE for a query that
 * upstream cannot answer, which is CONVERT, and POSITION, DURATION and SEEKING in other formats.
 */
gboolean gst_features_query_is_in_time (GstQuery *query);

/* Posts `error`, which it takes, as an error message of `element`. */
#define gst_features_post_error(element, error)                                                         \
  G_STMT_START                                                                                          \
  {                                                                                                     \
    gst_element_message_full (GST_ELEMENT (element), GST_MESSAGE_ERROR, (error)->domain, (error)->code, \
                              g_strdup ((error)->message), NULL, __FILE__, GST_FUNCTION, __LINE__);     \
    g_error_free (error);                                                                               \
  }                                                                                                     \
  G_STMT_END

/* The time that `n` frames take, rounded to the nearest nanosecond; GST_CLOCK_TIME_NONE when the rate is unknown. */
GstClockTime gst_features_duration (const GstFeatures *features, guint64 n);

G_END_DECLS

#endif
