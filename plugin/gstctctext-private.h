/*
 * gst-attention: declarations that the files of the element `ctctext` share. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   gstctctext.c            pads, events, queries, from start to stop
 *   gstctctextstate.c       streams that outlive their process
 *   gstctctextflow.c        from frames to texts and gaps, and their times
 *   gstctctextproperties.c  settings
 *   ctcdecoder.c            from the best token of each frame to words
 *   ctctokens.c             the list of the tokens
 *
 * It is a plain GstElement: few texts leave, at other times than the frames that made them. What GstBaseTransform does
 * for buffers that become other buffers (allocation, metadata, QoS) has no meaning here.
 */
#ifndef PLUGIN_GSTCTCTEXT_PRIVATE_H
#define PLUGIN_GSTCTCTEXT_PRIVATE_H

#include "ctcdecoder.h"
#include "frameclock.h"
#include "gstctctext.h"
#include "gstfeatures.h"
#include "statefile.h"

G_BEGIN_DECLS

G_GNUC_INTERNAL extern GstDebugCategory *gst_ctc_text_debug;
#define GST_CAT_DEFAULT gst_ctc_text_debug

/* Beyond that a timestamp is damaged. Sums of two are still times. */
#define GST_CTC_TEXT_MAX_TIME (G_MAXINT64 / 4)

typedef enum { GST_CTC_TEXT_OUTPUT_WORDS, GST_CTC_TEXT_OUTPUT_PARTIAL } GstCtcTextOutput;

typedef struct {
  gchar *tokens;
  gint blank; /* -1: as the tokens say */
  GstCtcTextOutput output;
  guint64 interval, word_timeout, max_duration; /* ns */
  gchar *separator;
  gchar *state_file;
} CtcTextSettings;

struct _GstCtcText {
  GstElement element;

  GstPad *sinkpad, *srcpad;

  /* Under the object lock. */
  CtcTextSettings settings;
  gint rate_n, rate_d; /* of the frames, for the latency; 0/1: unknown */

  /* From start to stop. */
  CtcTokens *tokens;
  CtcTextSettings used; /* the properties, as they were at start */
  StateFile *file;      /* NULL: none */

  /* Under `lock`, which is never held across a push or a message. */
  GMutex lock;
  CtcDecoder *decoder; /* NULL: not started */
  GBytes *restored;    /* the state from which the next frame goes on; NULL: that of the frame before it */
  GBytes *ended;       /* before the stream ended; NULL: a frame has come since */
  gboolean changed;    /* since the state file was written */
  GstClockTime told;   /* up to here downstream knows all texts and gaps; NONE: it knows nothing yet */

  /* Streaming thread. */
  GstFeatures features; /* n_features is 0 until there are caps */
  gint blank;
  GstSegment segment;
  guint32 seqnum; /* of the segment */
  FrameClock clock;
  GQueue ready;        /* GstBuffer and GstEvent, to be pushed */
  GstClockTime nan_at; /* NONE: no frame of this buffer has NaN */
  gboolean has_time;   /* else all that is known of it is that it does not go on */
  gboolean warned_nan, warned_jump;
};

/* ---- gstctctextproperties.c ---- */

void gst_ctc_text_install_properties (GObjectClass *klass);
void gst_ctc_text_init_settings (CtcTextSettings *settings);
void gst_ctc_text_clear_settings (CtcTextSettings *settings);
void gst_ctc_text_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_ctc_text_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/* Copies the current properties into `settings`, after clearing these. */
void gst_ctc_text_get_settings (GstCtcText *self, CtcTextSettings *settings);

/* From the time of a text to that of the frame that finishes it, at most. */
GstClockTime gst_ctc_text_get_latency (GstCtcText *self);

/* ---- gstctctextflow.c ---- */

/* Takes it. */
GstFlowReturn gst_ctc_text_take_buffer (GstCtcText *self, GstBuffer *buffer);
GstFlowReturn gst_ctc_text_take_gap (GstCtcText *self, GstClockTime timestamp, GstClockTime duration);

/* The current text ends here, and leaves. */
GstFlowReturn gst_ctc_text_end_stream (GstCtcText *self);

/* The same, and nothing leaves. */
void gst_ctc_text_forget_stream (GstCtcText *self);

/* ---- gstctctextstate.c ---- */

/* FALSE after an error message. */
gboolean gst_ctc_text_open_state_file (GstCtcText *self);
void gst_ctc_text_write_state_file (GstCtcText *self);

/* The action signals. */
GBytes *gst_ctc_text_save_state (GstCtcText *self);
gboolean gst_ctc_text_restore_state (GstCtcText *self, GBytes *state);

G_END_DECLS

#endif
