/*
 * Code for the tests of the element `attention`: 100 frames of six features per second.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_ATTENTIONCHECK_H
#define TESTS_ELEMENT_ATTENTIONCHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <string.h>

#include "buscheck.h"
#include "corecheck.h"
#include "harnesscheck.h"
#include "subjectcheck.h"

#define RATE 100
#define FRAME_TIME (GST_SECOND / RATE)

#define AUDIO_CAPS \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)6"

/* Frames begin ... begin + n - 1 of frames [...][n_features], numbered, and timed by their number. */
static inline GstBuffer *
frames_buffer (const gfloat *frames, guint n_features, guint begin, guint n)
{
  gsize size = n * n_features * sizeof (gfloat);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL); /* also of no frames */

  gst_buffer_fill (buffer, 0, frames + begin * n_features, size);
  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_OFFSET (buffer) = begin;
  GST_BUFFER_OFFSET_END (buffer) = begin + n;
  return buffer;
}

#endif
