/*
 * gst-attention: declarations that the files of the element `logmel` share. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   gstlogmel.c            caps, events, queries
 *   gstlogmelproperties.c  settings, also those that a model file says
 *   gstlogmelframing.c     from buffers of audio to buffers of frames
 *   logmel.c               the mathematics of one frame
 */
#ifndef PLUGIN_GSTLOGMEL_PRIVATE_H
#define PLUGIN_GSTLOGMEL_PRIVATE_H

#include "attn.h"
#include "frameclock.h"
#include "gstfeatures.h"
#include "gstlogmel.h"
#include "logmel.h"

G_BEGIN_DECLS

G_GNUC_INTERNAL extern GstDebugCategory *gst_logmel_debug;
#define GST_CAT_DEFAULT gst_logmel_debug

struct _GstLogmel {
  GstBaseTransform parent;

  /* Under the object lock. */
  LogmelSettings settings; /* in effect: a value that was set, else that of the file, else that of the style */
  LogmelSettings set;
  guint is_set; /* a bit per property, set by the user */
  gchar *model_file;
  LogmelSettings said;
  guint is_said;        /* a bit per property, of the model file */
  guint said_rate;      /* Hz, of the audio; 0: the file does not say */
  GstClockTime latency; /* NONE without caps */

  AttnMetadata *metadata; /* of the model file, from start to stop; NULL: there is none */

  /* Of the caps. */
  Logmel *logmel;
  LogmelSizes sizes;
  GstFeatures features;
  GstLogmelStyle style;
  gint rate;
  gboolean is_float;
  gdouble scale;

  /* Frame n begins `n_before` samples before sample n * hop, and needs `n_after` samples from that one on. */
  guint n_before, n_after;
  guint n_mixed; /* samples in front of each one that it is mixed with before the framing: 1 in NeMo's style */

  /* The audio since the framing began; lost audio counts. */
  gdouble *history; /* from the first sample of the next frame on */
  guint n_history;
  gdouble before; /* the newest sample as it came */
  guint64 n_skip; /* samples until the next frame begins, where frames do not touch */
  guint64 n_samples, n_frames;
  GstClockTime first_pts;  /* NONE: unknown */
  GstClockTimeDiff shift;  /* the drift of the clock of the audio since */
  gboolean is_behind_hole; /* the next frame is the first one there */
  FrameClock clock;        /* of samples */
  gboolean warned_jump;
  GstSegment segment; /* as it came; the base class moves the position of its own */

  /* The buffer in work. */
  GstBuffer *input;
  GstMapInfo map;
  gsize n_input, n_taken; /* samples */
};

/* ---- gstlogmelproperties.c ---- */

/* A copy of the properties. Any thread. */
void gst_logmel_get_settings (GstLogmel *self, LogmelSettings *settings);

/* Reads the model file, if one is set. FALSE: `error` says why. */
gboolean gst_logmel_read_model (GstLogmel *self, GError **error);

/* Whether `caps`, which leave, are what the model was trained on; where they are not, `error` says why. */
gboolean gst_logmel_fits_model (GstLogmel *self, GstCaps *caps, GError **error);

/* The sample rate that the model file says; 0: none. Any thread. */
gint gst_logmel_get_model_rate (GstLogmel *self);

/* What leaves at this rate, and in fields of their own what it is made from (gstfrontend.h). Transfer full. */
GstCaps *gst_logmel_make_caps (const LogmelSettings *settings, gint rate, const LogmelSizes *sizes);

void gst_logmel_install_properties (GObjectClass *klass);
void gst_logmel_init_properties (GstLogmel *self);
void gst_logmel_clear_properties (GstLogmel *self);
void gst_logmel_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_logmel_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/* ---- gstlogmelframing.c: the streaming thread's ---- */

/* Lets go of the buffer in work, if there is one. */
void gst_logmel_release_input (GstLogmel *self);

/* Other audio comes: forgets the audio that has not yet become a frame. */
void gst_logmel_restart (GstLogmel *self);

/* The samples that must have come before the first frame leaves. */
guint gst_logmel_get_n_first (GstLogmel *self);

/* The frames that are done, and have not left, when `n` more samples have come. */
guint64 gst_logmel_count_frames (GstLogmel *self, guint64 n);

/* The time of the first sample that has not come, or has not been taken; NONE: unknown. */
GstClockTime gst_logmel_get_time (GstLogmel *self);

/*
 * `n` samples are missing before those that come, or, with 0, these do not continue those before. The frames stay where
 * they are in time; those that would hold a missing sample are absent, which a GAP event says.
 */
GstFlowReturn gst_logmel_lose (GstLogmel *self, guint64 n);

/* Takes samples from the input until a frame is done. FALSE: the input is used up. */
gboolean gst_logmel_fill_history (GstLogmel *self);

/*
 * Makes a buffer of up to `n_frames` frames: from the input or, when `is_draining`, from what is left at the end. The
 * buffer is the caller's; NULL after an error, which is posted.
 */
GstFlowReturn gst_logmel_make_buffer (GstLogmel *self, guint64 n_frames, gboolean is_draining, GstBuffer **buffer);

/* The audio has ended: pushes the frames that still belong to it, and is ready for other audio. */
GstFlowReturn gst_logmel_end_audio (GstLogmel *self);

G_END_DECLS

#endif
