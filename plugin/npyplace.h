/*
 * gst-attention: where a frame of an array is, in bytes of its file and in time. No pads, no buffers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_NPYPLACE_H
#define PLUGIN_NPYPLACE_H

#include "gstfeatures.h"
#include "npy.h"

G_BEGIN_DECLS

/* The frame that lasts at `time`, by the time stamps as they are rounded. */
guint64 npy_frame_at_time (const GstFeatures *features, GstClockTime time);

/* The first frame that starts at `time` or later. */
guint64 npy_frame_from_time (const GstFeatures *features, GstClockTime time);

/* The frame that byte `offset` of the file is in. */
guint64 npy_frame_at_offset (const NpyHeader *header, guint64 offset);

/* The byte of the file that a frame begins with, or the end of the last one. */
guint64 npy_frame_offset (const NpyHeader *header, guint64 frame);

/* A place in frames is a place in all formats. FALSE: a format that a file does not have. */
gboolean npy_place_convert (const NpyHeader *header, const GstFeatures *features, GstFormat src_format,
                            guint64 src_value, GstFormat dest_format, gint64 *dest_value);

G_END_DECLS

#endif
