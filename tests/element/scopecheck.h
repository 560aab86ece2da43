/*
 * Code for the tests of attentionscope: weights that make a known pattern, and a picture whose pixels are looked up.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_SCOPECHECK_H
#define TESTS_ELEMENT_SCOPECHECK_H

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <math.h>
#include <string.h>

#include "buscheck.h"
#include "harnesscheck.h"
#include "scopelayout.h"

#define FRAME_TIME (GST_SECOND / 100)
#define VIDEO(width, height, rate)                                                                        \
  "video/x-raw, format=(string)" GST_VIDEO_NE_FORMAT ", width=(int)" #width ", height=(int)" #height ", " \
  "framerate=(fraction)" rate
#if G_BYTE_ORDER == G_LITTLE_ENDIAN
#define GST_VIDEO_NE_FORMAT "BGRx"
#else
#define GST_VIDEO_NE_FORMAT "xRGB"
#endif

static inline gchar *
caps_of (ScopeShape shape)
{
  return g_strdup_printf (
      "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, "
                                                        "channels=(int)%u, channel-mask=(bitmask)0, heads=(int)%u, "
                                                        "sinks=(int)%u, window=(int)%u, look-ahead=(int)%u",
      shape.n_heads * scope_shape_get_span (&shape), shape.n_heads, shape.n_sinks, shape.window, shape.look_ahead);
}

/* Without labels, one second across. */
static inline GstHarness *
start_with (ScopeShape shape, const gchar *video)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  gchar *caps = caps_of (shape);

  g_object_set (h->element, "labels", FALSE, "seconds", 1.0, NULL);
  if (video != NULL)
    gst_harness_set_sink_caps_str (h, video);
  gst_harness_set_src_caps_str (h, caps);
  g_free (caps);
  return h;
}

static inline ScopeSettings
settings_of (GstHarness *h)
{
  ScopeSettings settings;

  g_object_get (h->element, "color-map", &settings.color_map, "scale", &settings.scale, "gain", &settings.gain, "range",
                &settings.range, "seconds", &settings.seconds, "layout", &settings.arrangement, "labels",
                &settings.labels, NULL);
  return settings;
}

/* The pixels of a frame of video. */
typedef struct {
  GstVideoFrame frame;
  ScopeShape shape;
  ScopeSettings settings;
  ScopeLayout layout;
  guint32 colors[SCOPE_N_COLORS];
} Picture;

/* Takes the buffer. */
static inline Picture *
open_picture (GstHarness *h, GstBuffer *buffer, ScopeShape shape)
{
  Picture *picture = g_new0 (Picture, 1);
  GstCaps *caps = gst_pad_get_current_caps (h->sinkpad);
  GstVideoInfo info;

  fail_unless (buffer != NULL);
  fail_unless (gst_video_info_from_caps (&info, caps));
  gst_caps_unref (caps);
  fail_unless (gst_video_frame_map (&picture->frame, &info, buffer, GST_MAP_READ));
  gst_buffer_unref (buffer);
  picture->shape = shape;
  picture->settings = settings_of (h);
  fail_unless (scope_layout_find (&picture->layout, &shape, &picture->settings, GST_VIDEO_INFO_WIDTH (&info),
                                  GST_VIDEO_INFO_HEIGHT (&info), NULL));
  scope_colors_fill (picture->settings.color_map, picture->colors);
  return picture;
}

static inline void
close_picture (Picture *picture)
{
  gst_video_frame_unmap (&picture->frame);
  g_free (picture);
}

static inline guint32
pixel (const Picture *picture, guint x, guint y)
{
  const guint8 *row = GST_VIDEO_FRAME_PLANE_DATA (&picture->frame, 0);

  return ((const guint32 *) (row + (gsize) y * GST_VIDEO_FRAME_PLANE_STRIDE (&picture->frame, 0)))[x];
}

/* Of the plot of a head. */
static inline guint32
plot_pixel (const Picture *picture, guint head, guint x, guint y)
{
  guint left, top;

  scope_layout_get_plot (&picture->layout, head, &left, &top);
  return pixel (picture, left + x, top + y);
}

static inline guint32
color_of (const Picture *picture, gdouble weight)
{
  gdouble level = picture->settings.scale == SCOPE_SCALE_LINEAR
                      ? weight * picture->settings.gain
                      : 1 + log10 (MAX (weight * picture->settings.gain, 1e-30)) / picture->settings.range;

  return picture->colors[(guint) (CLAMP (level, 0, 1) * 255 + 0.5)];
}

/* `n` frames of shape, from frame `begin` on, filled by `fill` (weights of a head, its number, frame). */
typedef void (*Fill) (gfloat *weights, guint head, guint frame);

static inline GstBuffer *
make_buffer (ScopeShape shape, guint begin, guint n, Fill fill)
{
  guint span = scope_shape_get_span (&shape), i, head;
  gfloat *weights = g_new0 (gfloat, n * shape.n_heads * span);
  GstBuffer *buffer;

  for (i = 0; i < n; i++)
    for (head = 0; head < shape.n_heads; head++)
      fill (weights + (i * shape.n_heads + head) * span, head, begin + i);
  buffer = gst_buffer_new_wrapped (weights, n * shape.n_heads * span * sizeof (gfloat));
  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  return buffer;
}

static inline void
push (GstHarness *h, ScopeShape shape, guint begin, guint n, Fill fill)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (shape, begin, n, fill)), GST_FLOW_OK);
}

/* The last of the frames that have come; the others go. */
static inline GstBuffer *
pull_last (GstHarness *h)
{
  GstBuffer *buffer, *last = NULL;

  while ((buffer = gst_harness_try_pull (h)))
    gst_buffer_replace (&last, buffer), gst_buffer_unref (buffer);
  return last;
}

static inline Picture *
open_last (GstHarness *h, ScopeShape shape)
{
  return open_picture (h, pull_last (h), shape);
}

static inline void
flush (GstHarness *h)
{
  push_flush (h);
  push_segment (h, 0);
}

/* ---- patterns ---- */

#define WINDOW 8
#define LOOK_AHEAD 2
static const ScopeShape two_heads = { 2, 0, WINDOW, LOOK_AHEAD };
static const ScopeShape one_head = { 1, 0, 4, 0 };

static inline guint
slot_of_lag (ScopeShape shape, gint lag)
{
  return shape.n_sinks + shape.window - 1 - lag;
}

/* Head 0 attends to lag 3, in the second half of each second to lag -1; head 1 spreads evenly. */
static inline gint
lag_of_frame (guint frame)
{
  return frame % 100 < 50 ? 3 : -1;
}

static inline void
fill_pattern (gfloat *weights, guint head, guint frame)
{
  guint i;

  if (head == 0)
    weights[slot_of_lag (two_heads, lag_of_frame (frame))] = 1;
  else
    for (i = 0; i < WINDOW + LOOK_AHEAD; i++)
      weights[i] = 1.0f / (WINDOW + LOOK_AHEAD);
}

static inline void
fill_newest (gfloat *weights, guint head, guint frame)
{
  weights[one_head.window - 1] = 1;
}

/* Frame n attends to lag n % 4. */
static inline void
fill_in_turn (gfloat *weights, guint head, guint frame)
{
  weights[slot_of_lag (one_head, frame % 4)] = 1;
}

static inline void
fill_nothing (gfloat *weights, guint head, guint frame)
{
}

static inline void
fill_sink_1 (gfloat *weights, guint head, guint frame)
{
  weights[1] = 0.5;
  weights[2] = 0.5; /* lag 5, the oldest of the window */
}

/* ---- lags in a picture ---- */

/* In a plot of 100 pixels for a second, pixel n is frame n: -1 where there is nothing, else the lag. */
static inline gint
lag_at (const Picture *picture, guint x)
{
  guint lag;

  for (lag = 0; lag < 4; lag++)
    if (plot_pixel (picture, 0, x, picture->layout.plot_height * (7 - 2 * lag) / 8) == picture->colors[255])
      return lag;
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, x, 10), SCOPE_COLOR_NOTHING);
  return -1;
}

/* 104 less an edge of two pixels on each side. */
#define HUNDRED_PIXELS(rate) VIDEO (104, 104, rate)

static inline void
check_lags (const Picture *picture, guint from, guint to, gint lag)
{
  guint x;

  fail_unless_equals_int (picture->layout.plot_width, 100);
  for (x = from; x < to; x++)
    fail_unless_equals_int (lag_at (picture, x), lag < 0 ? -1 : (gint) ((lag + x - from) % 4));
}

#endif
