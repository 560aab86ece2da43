/*
 * What the tests of the element `attention` share: 100 frames of six features per second, random ones, and a bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_ATTENTIONCHECK_H
#define TESTS_ELEMENT_ATTENTIONCHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <string.h>

#include "buscheck.h"

#define RATE 100
#define FRAME_TIME (GST_SECOND / RATE)

#define AUDIO_CAPS \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)6"

/* Values from -2 to 2, the same ones for the same seed. */
static inline void
fill_random (gfloat *values, gsize n, guint32 seed)
{
  GRand *rand = g_rand_new_with_seed (seed);
  gsize i;

  for (i = 0; i < n; i++)
    values[i] = g_rand_double_range (rand, -2, 2);
  g_rand_free (rand);
}

static inline GstBus *
attach_bus (GstElement *element)
{
  GstBus *bus = gst_bus_new ();

  gst_element_set_bus (element, bus);
  return bus;
}

static inline void
detach_bus (GstElement *element, GstBus *bus)
{
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
}

#endif
