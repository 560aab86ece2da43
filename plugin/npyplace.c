/*
 * gst-attention: where a frame of an array is, in bytes of its file and in time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "npyplace.h"

guint64
npy_frame_at_time (const GstFeatures *features, GstClockTime time)
{
  guint64 frame = gst_util_uint64_scale (time, features->rate_n, GST_SECOND * (guint64) features->rate_d);

  while (gst_features_duration (features, frame + 1) <= time)
    frame++;
  return frame;
}

guint64
npy_frame_from_time (const GstFeatures *features, GstClockTime time)
{
  guint64 frame = npy_frame_at_time (features, time);

  return gst_features_duration (features, frame) < time ? frame + 1 : frame;
}

guint64
npy_frame_at_offset (const NpyHeader *header, guint64 offset)
{
  return offset < header->header_size ? 0 : (offset - header->header_size) / npy_header_frame_size (header);
}

guint64
npy_frame_offset (const NpyHeader *header, guint64 frame)
{
  return header->header_size + MIN (frame, header->n_frames) * npy_header_frame_size (header);
}

static gboolean
to_frame (const NpyHeader *header, const GstFeatures *features, GstFormat format, guint64 value, guint64 *frame)
{
  switch (format) {
  case GST_FORMAT_TIME:
    *frame = npy_frame_at_time (features, value);
    return TRUE;
  case GST_FORMAT_BYTES:
    *frame = npy_frame_at_offset (header, value);
    return TRUE;
  case GST_FORMAT_DEFAULT:
    *frame = value;
    return TRUE;
  default:
    return FALSE;
  }
}

static gboolean
from_frame (const NpyHeader *header, const GstFeatures *features, GstFormat format, guint64 frame, gint64 *value)
{
  switch (format) {
  case GST_FORMAT_TIME:
    *value = gst_features_duration (features, frame);
    return TRUE;
  case GST_FORMAT_BYTES:
    *value = npy_frame_offset (header, frame);
    return TRUE;
  case GST_FORMAT_DEFAULT:
    *value = frame;
    return TRUE;
  default:
    return FALSE;
  }
}

gboolean
npy_place_convert (const NpyHeader *header, const GstFeatures *features, GstFormat src_format, guint64 src_value,
                   GstFormat dest_format, gint64 *dest_value)
{
  guint64 frame;

  return to_frame (header, features, src_format, src_value, &frame)
         && from_frame (header, features, dest_format, frame, dest_value);
}
