/*
 * gst-attention: the duration of frames, at rate_n / rate_d of them per second. Times are rounded to the nearest
 * nanosecond. SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_FRAMERATE_H
#define PLUGIN_FRAMERATE_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* The time that `n` frames take; GST_CLOCK_TIME_NONE where the rate is unknown, 0/1. */
static inline GstClockTime
frame_rate_duration (gint rate_n, gint rate_d, guint64 n)
{
  if (rate_n <= 0)
    return GST_CLOCK_TIME_NONE;
  return gst_util_uint64_scale_round (n, GST_SECOND * (guint64) rate_d, rate_n);
}

G_END_DECLS

#endif
