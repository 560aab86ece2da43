/*
 * gst-attention: declarations that the files of the element `npyparse` share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   gstnpyparse.c        settings, events, the ends of a file
 *   gstnpyparseframes.c  from the bytes of a file to buffers of frames
 *   npyplace.c           where a frame is, in bytes and in time
 */
#ifndef PLUGIN_GSTNPYPARSE_PRIVATE_H
#define PLUGIN_GSTNPYPARSE_PRIVATE_H

#include "gstfeatures.h"
#include "gstnpyparse.h"
#include "npy.h"

G_BEGIN_DECLS

G_GNUC_INTERNAL extern GstDebugCategory *gst_npy_parse_debug;
#define GST_CAT_DEFAULT gst_npy_parse_debug

struct _GstNpyParse {
  GstBaseParse parse;

  /* Properties. Object lock. */
  gint rate_n, rate_d;
  guint frames_per_buffer;
  gboolean nan_is_gap;

  /*
   * Written by the streaming thread under the object lock: conversions ask from anywhere. header_size is 0 until there
   * is one.
   */
  NpyHeader header;
  GstFeatures features;

  /* Streaming thread. */
  guint n_per_buffer;  /* frames_per_buffer, no more than the array has */
  gboolean splits;     /* nan_is_gap */
  guint64 next_frame;  /* behind the last one that left */
  gboolean is_discont; /* the next one continues none */
  gboolean told_size;  /* that the file is longer than its header says */
  gsize n_left_over;   /* bytes that were too few for a frame when the base class drained */
  guint64 stop_offset; /* where upstream was asked to stop, in bytes */
  GstFlowReturn flow;
};

/* ---- gstnpyparseframes.c ---- */

/* The size of the file. FALSE where it is not certain. */
gboolean gst_npy_parse_get_file_size (GstNpyParse *self, guint64 *size);

/* The range of frames that the segment asks for, [*first, *last): from the one that lasts at its start. */
void gst_npy_parse_get_range (GstNpyParse *self, guint64 *first, guint64 *last);

/* Posts an error: the file `found`, such as "has", too few bytes of values. */
void gst_npy_parse_refuse_size (GstNpyParse *self, const gchar *found, guint64 size);

/* Of GstBaseParseClass. */
GstFlowReturn gst_npy_parse_handle_frame (GstBaseParse *parse, GstBaseParseFrame *frame, gint *skip_size);
GstFlowReturn gst_npy_parse_pre_push_frame (GstBaseParse *parse, GstBaseParseFrame *frame);

G_END_DECLS

#endif
