/*
 * gst-attention: declarations that the files of `attentionscope` share. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   gstattentionscope.c            pads, caps, events
 *   gstattentionscopeproperties.c  settings
 *   gstattentionscopetime.c        from columns to frames of video
 *   scopepicture.c                 the parts that scroll;          scopelayout.c  those that stand still
 *   scopecolors.c                  colour maps;                    scopetext.c    text
 */
#ifndef PLUGIN_SCOPE_GSTATTENTIONSCOPE_PRIVATE_H
#define PLUGIN_SCOPE_GSTATTENTIONSCOPE_PRIVATE_H

#include <gst/video/video.h>

#include "gstattentionscope.h"
#include "gstfeatures.h"
#include "scopepicture.h"

G_BEGIN_DECLS

struct _GstAttentionScope {
  GstElement element;

  GstPad *sinkpad, *srcpad;

  /* Under the object lock. */
  ScopeSettings settings;
  gboolean settings_changed, qos;
  GstClockTime latency;       /* of a frame of video; 0 until there are caps */
  GstClockTime earliest_time; /* running time; frames that end before it come too late */
  gdouble proportion;

  /* Streaming thread. */
  GstCaps *caps; /* NULL until there are any */
  GstFeatures features;
  ScopeShape shape;
  GstCaps *refused_caps; /* sticky caps come again with every buffer */
  GstVideoInfo info;
  GstBufferPool *pool;
  ScopePicture *picture;   /* NULL: nothing is negotiated */
  GstSegment segment;      /* as it came */
  GstSegment time_segment; /* as it went on */
  GstEvent *held_segment;  /* until there are caps of the video, or NULL */

  /* Time. What is relative counts from `base`; frame n of the video begins at n frames of it. */
  gboolean has_base;
  GstClockTime base;         /* PTS of the first column */
  GstClockTime reached;      /* relative: the end of the frames that came */
  GstClockTime filled;       /* relative: the end of the last column */
  guint64 n_frames;          /* of video, since the base */
  guint64 n_untimed;         /* columns without timestamps, one behind the other */
  GstClockTime untimed_base; /* where the first of them began */
  gboolean discont;
  guint64 n_pushed, n_dropped;
};

/* ---- gstattentionscopeproperties.c ---- */

void gst_attention_scope_init_properties (GstAttentionScope *self);
void gst_attention_scope_install_properties (GObjectClass *object_class);
void gst_attention_scope_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_attention_scope_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/* ---- gstattentionscopetime.c ---- */

/* Another stream, or another time of it: the picture is empty, and its time begins with the next column. */
void gst_attention_scope_restart (GstAttentionScope *self);
void gst_attention_scope_reset_qos (GstAttentionScope *self);

/* The format of the video from now on. Time goes on where the last frame ended. */
void gst_attention_scope_set_info (GstAttentionScope *self, const GstVideoInfo *info);

/* The n rows of weights of a buffer, and the frames of video that are complete with them. */
GstFlowReturn gst_attention_scope_add_columns (GstAttentionScope *self, GstBuffer *buffer, const gfloat *weights,
                                               gsize n);

/* Nothing comes for `duration`. */
GstFlowReturn gst_attention_scope_add_gap (GstAttentionScope *self, GstClockTime pts, GstClockTime duration);

/* The end of a stream: the last frame, as far as it got; then as restart. */
GstFlowReturn gst_attention_scope_finish (GstAttentionScope *self);

G_END_DECLS

#endif
