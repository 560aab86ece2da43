/*
 * The element `attentionscope`: pixels are looked up where the layout says that a plot is, and what must be there is
 * worked out here.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include <gst/audio/audio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>

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

/* ---- helpers ---- */

static gchar *
caps_of (ScopeShape shape)
{
  return g_strdup_printf (
      "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, "
                                                        "channels=(int)%u, channel-mask=(bitmask)0, heads=(int)%u, "
                                                        "sinks=(int)%u, window=(int)%u, look-ahead=(int)%u",
      shape.n_heads * scope_shape_get_span (&shape), shape.n_heads, shape.n_sinks, shape.window, shape.look_ahead);
}

/* Without labels, one second across. */
static GstHarness *
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

static void
set_shape (GstHarness *h, ScopeShape shape)
{
  gchar *caps = caps_of (shape);

  gst_harness_set_src_caps_str (h, caps);
  g_free (caps);
}

static ScopeSettings
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
static Picture *
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

static void
close_picture (Picture *picture)
{
  gst_video_frame_unmap (&picture->frame);
  g_free (picture);
}

static guint32
pixel (const Picture *picture, guint x, guint y)
{
  const guint8 *row = GST_VIDEO_FRAME_PLANE_DATA (&picture->frame, 0);

  return ((const guint32 *) (row + (gsize) y * GST_VIDEO_FRAME_PLANE_STRIDE (&picture->frame, 0)))[x];
}

/* Of the plot of a head. */
static guint32
plot_pixel (const Picture *picture, guint head, guint x, guint y)
{
  guint left, top;

  scope_layout_get_plot (&picture->layout, head, &left, &top);
  return pixel (picture, left + x, top + y);
}

/* The slot whose part of n rows row `y` lies in. */
static guint
slot_at (guint y, guint n_rows, guint n_slots)
{
  return (guint64) y * n_slots / n_rows;
}

static guint32
color_of (const Picture *picture, gdouble weight)
{
  gdouble level = picture->settings.scale == SCOPE_SCALE_LINEAR
                      ? weight * picture->settings.gain
                      : 1 + log10 (MAX (weight * picture->settings.gain, 1e-30)) / picture->settings.range;

  return picture->colors[(guint) (CLAMP (level, 0, 1) * 255 + 0.5)];
}

/* `n` frames of shape, from frame `begin` on, filled by `fill` (weights of a head, its number, frame). */
typedef void (*Fill) (gfloat *weights, guint head, guint frame);

static GstBuffer *
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

static void
push (GstHarness *h, ScopeShape shape, guint begin, guint n, Fill fill)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (shape, begin, n, fill)), GST_FLOW_OK);
}

/* The last of the frames that have come; the others go. */
static GstBuffer *
pull_last (GstHarness *h)
{
  GstBuffer *buffer, *last = NULL;

  while ((buffer = gst_harness_try_pull (h)))
    gst_buffer_replace (&last, buffer), gst_buffer_unref (buffer);
  return last;
}

static Picture *
open_last (GstHarness *h, ScopeShape shape)
{
  return open_picture (h, pull_last (h), shape);
}

static void
push_segment (GstHarness *h, GstClockTime base)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = base;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
}

static void
flush (GstHarness *h)
{
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  push_segment (h, 0);
}

/* The next event of a type; those before it go. */
static GstEvent *
pull_event (GstHarness *h, GstEventType type)
{
  GstEvent *event;

  while ((event = gst_harness_try_pull_event (h)) && GST_EVENT_TYPE (event) != type)
    gst_event_unref (event);
  return event;
}

/* ---- patterns ---- */

#define WINDOW 8
#define LOOK_AHEAD 2
static const ScopeShape two_heads = { 2, 0, WINDOW, LOOK_AHEAD };
static const ScopeShape one_head = { 1, 0, 4, 0 };

static guint
slot_of_lag (ScopeShape shape, gint lag)
{
  return shape.n_sinks + shape.window - 1 - lag;
}

/* Head 0 attends to lag 3, in the second half of each second to lag -1; head 1 spreads evenly. */
static gint
lag_of_frame (guint frame)
{
  return frame % 100 < 50 ? 3 : -1;
}

static void
fill_pattern (gfloat *weights, guint head, guint frame)
{
  guint i;

  if (head == 0)
    weights[slot_of_lag (two_heads, lag_of_frame (frame))] = 1;
  else
    for (i = 0; i < WINDOW + LOOK_AHEAD; i++)
      weights[i] = 1.0f / (WINDOW + LOOK_AHEAD);
}

static void
fill_newest (gfloat *weights, guint head, guint frame)
{
  weights[one_head.window - 1] = 1;
}

/* Frame n attends to lag n % 4. */
static void
fill_in_turn (gfloat *weights, guint head, guint frame)
{
  weights[slot_of_lag (one_head, frame % 4)] = 1;
}

static void
fill_nothing (gfloat *weights, guint head, guint frame)
{
}

/* ---- the picture ---- */

static const struct {
  const gchar *video;
  gboolean labels;
} formats[] = {
  { VIDEO (320, 240, "25/1"), TRUE },   { VIDEO (320, 240, "10/1"), FALSE },      { VIDEO (1280, 720, "25/1"), TRUE },
  { VIDEO (1280, 720, "60/1"), FALSE }, { VIDEO (1920, 1080, "25/1"), TRUE },     { VIDEO (1920, 1080, "60/1"), TRUE },
  { VIDEO (3840, 2160, "25/1"), TRUE }, { VIDEO (321, 243, "30000/1001"), TRUE }, { VIDEO (4096, 64, "2/1"), FALSE },
  { VIDEO (640, 4096, "2/1"), TRUE },
};

/* The frame whose column pixel `x` of a plot shows, when the plot begins at frame 0 and the last pixel is its last. */
static guint
frame_at (guint x, guint width)
{
  guint frame = 0;

  while (frame + 1 < 100 && (guint64) (frame + 1) * width / 100 <= x)
    frame++;
  return frame;
}

GST_START_TEST (test_known_pattern_is_where_it_must_be)
{
  GstHarness *h = start_with (two_heads, formats[__i__].video);
  Picture *picture;
  guint x, y;

  g_object_set (h->element, "labels", formats[__i__].labels, NULL);
  push (h, two_heads, 0, 37, fill_pattern);
  push (h, two_heads, 37, 63, fill_pattern);
  gst_harness_push_event (h, gst_event_new_eos ());
  picture = open_last (h, two_heads);
  for (x = 0; x < picture->layout.plot_width; x++) {
    guint frame = frame_at (x, picture->layout.plot_width);

    for (y = 0; y < picture->layout.plot_height; y++) {
      guint slot = slot_at (y, picture->layout.plot_height, WINDOW + LOOK_AHEAD);
      gboolean bright = slot == slot_of_lag (two_heads, lag_of_frame (frame));

      if (plot_pixel (picture, 0, x, y) != picture->colors[bright ? 255 : 0]
          || plot_pixel (picture, 1, x, y) != picture->colors[170]) /* 1 - 1/3 of 255 */
        fail ("pixel %u, %u", x, y);
    }
  }
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_lag_grows_upwards_and_time_to_the_right)
{
  GstHarness *h = start_with (two_heads, VIDEO (640, 480, "25/1"));
  Picture *picture;
  guint lower = 0, upper = 0, x, y;

  push (h, two_heads, 0, 100, fill_pattern);
  picture = open_last (h, two_heads);
  x = picture->layout.plot_width / 4; /* lag 3 */
  while (plot_pixel (picture, 0, x, upper) != picture->colors[255])
    upper++;
  x *= 3; /* lag -1, later */
  while (plot_pixel (picture, 0, x, lower) != picture->colors[255])
    lower++;
  y = picture->layout.plot_height;
  fail_unless_equals_int (upper, (y * 4 + 9) / 10); /* slot 4 of 10, lag 7 being slot 0 */
  fail_unless_equals_int (lower, (y * 8 + 9) / 10);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* 64x64 pixels without labels: a plot of 62x62 with an edge of one pixel. */
GST_START_TEST (test_smallest_picture_is_all_plot)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "25/1"));
  Picture *picture;

  push (h, one_head, 0, 100, fill_newest);
  picture = open_last (h, one_head);
  fail_unless_equals_uint64_hex (pixel (picture, 0, 10), SCOPE_COLOR_PAGE);
  fail_unless_equals_uint64_hex (pixel (picture, 10, 0), SCOPE_COLOR_PAGE);
  fail_unless_equals_uint64_hex (pixel (picture, 1, 1), picture->colors[0]);
  fail_unless_equals_uint64_hex (pixel (picture, 62, 1), picture->colors[0]);
  fail_unless_equals_uint64_hex (pixel (picture, 1, 62), picture->colors[255]);
  fail_unless_equals_uint64_hex (pixel (picture, 62, 62), picture->colors[255]);
  fail_unless_equals_uint64_hex (pixel (picture, 62, 48), picture->colors[255]); /* a quarter of 62 rows */
  fail_unless_equals_uint64_hex (pixel (picture, 62, 47), picture->colors[0]);
  fail_unless_equals_uint64_hex (pixel (picture, 63, 30), SCOPE_COLOR_PAGE);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
fill_now_and_then (gfloat *weights, guint head, guint frame)
{
  weights[one_head.window - 1] = frame % 50 == 7 ? 1 : 0.01;
}

GST_START_TEST (test_columns_that_share_a_pixel_show_the_largest)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "25/1"));
  Picture *picture;
  guint x;

  g_object_set (h->element, "seconds", 10.0, NULL);
  push (h, one_head, 0, 1000, fill_now_and_then);
  picture = open_last (h, one_head);
  for (x = 0; x < 62; x++) {
    guint begin = (x * 1000 + 61) / 62, end = ((x + 1) * 1000 + 61) / 62, frame;
    gboolean bright = FALSE;

    for (frame = begin; frame < end; frame++)
      bright |= frame % 50 == 7;
    fail_unless_equals_uint64_hex (plot_pixel (picture, 0, x, 61), color_of (picture, bright ? 1 : 0.01));
  }
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

#define MANY_SLOTS 1000

static void
fill_thin_line (gfloat *weights, guint head, guint frame)
{
  weights[517] = 1;
}

GST_START_TEST (test_slots_that_share_a_row_show_the_largest)
{
  const ScopeShape shape = { 1, 0, MANY_SLOTS, 0 };
  GstHarness *h = start_with (shape, VIDEO (64, 64, "25/1"));
  Picture *picture;
  guint y;

  push (h, shape, 0, 100, fill_thin_line);
  picture = open_last (h, shape);
  for (y = 0; y < 62; y++) {
    gboolean bright = y * MANY_SLOTS / 62 <= 517 && 517 < (y + 1) * MANY_SLOTS / 62;

    fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, y), picture->colors[bright ? 255 : 0]);
  }
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

static const ScopeShape with_sinks = { 1, 2, 6, 0 };

static void
fill_sink_1 (gfloat *weights, guint head, guint frame)
{
  weights[1] = 0.5;
  weights[2] = 0.5; /* lag 5, the oldest of the window */
}

GST_START_TEST (test_sinks_have_a_strip_at_the_top)
{
  GstHarness *h = start_with (with_sinks, VIDEO (640, 480, "25/1"));
  Picture *picture;
  guint sinks, top, y;

  push (h, with_sinks, 0, 100, fill_sink_1);
  picture = open_last (h, with_sinks);
  sinks = picture->layout.sinks_height;
  top = picture->layout.window_top;
  fail_unless (sinks > 20 && top > sinks);
  for (y = 0; y < picture->layout.plot_height; y++) {
    guint32 expected = SCOPE_COLOR_PAGE;

    if (y < sinks)
      expected = color_of (picture, slot_at (y, sinks, 2) == 1 ? 0.5 : 0);
    else if (y >= top)
      expected = color_of (picture, slot_at (y - top, picture->layout.plot_height - top, 6) == 0 ? 0.5 : 0);
    fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 100, y), expected);
  }
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
fill_nan (gfloat *weights, guint head, guint frame)
{
  weights[1] = frame % 2 ? NAN : 0.5;
  weights[2] = INFINITY;
  weights[3] = -1;
}

GST_START_TEST (test_weights_that_are_no_numbers_are_red)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "25/1"));
  Picture *picture;

  g_object_set (h->element, "seconds", 10.0, NULL); /* NaN shares its pixels with numbers */
  push (h, one_head, 0, 1000, fill_nan);
  picture = open_last (h, one_head);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 0), picture->colors[0]);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 20), SCOPE_COLOR_NAN);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 40), picture->colors[255]);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 61), picture->colors[0]);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* In a plot of 100 pixels for a second, pixel n is frame n: -1 where there is nothing, else the lag. */
static gint
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

static void
check_lags (const Picture *picture, guint from, guint to, gint lag)
{
  guint x;

  fail_unless_equals_int (picture->layout.plot_width, 100);
  for (x = from; x < to; x++)
    fail_unless_equals_int (lag_at (picture, x), lag < 0 ? -1 : (gint) ((lag + x - from) % 4));
}

GST_START_TEST (test_what_was_not_there_is_grey)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  Picture *picture;

  push (h, one_head, 0, 20, fill_in_turn);
  gst_harness_push_event (h, gst_event_new_gap (20 * FRAME_TIME, 10 * FRAME_TIME)); /* no frames */
  push (h, one_head, 30, 10, fill_in_turn);
  push (h, one_head, 40, 10, fill_nothing); /* absent frames */
  push (h, one_head, 55, 25, fill_in_turn); /* a jump in time */
  gst_harness_push_event (h, gst_event_new_gap (80 * FRAME_TIME, 20 * FRAME_TIME));
  picture = open_last (h, one_head);
  check_lags (picture, 0, 20, 0);
  check_lags (picture, 20, 30, -1);
  check_lags (picture, 30, 40, 2);
  check_lags (picture, 40, 55, -1);
  check_lags (picture, 55, 80, 3);
  check_lags (picture, 80, 100, -1);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_picture_is_grey_where_nothing_has_come_yet)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  Picture *picture;

  push (h, one_head, 0, 10, fill_in_turn);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 90, -1);
  check_lags (picture, 90, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_picture_scrolls)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint n, begin;

  for (begin = 0; begin < 371; begin += 7)
    push (h, one_head, begin, 7, fill_in_turn);
  for (n = 0; n < 37; n++) {
    Picture *picture = open_picture (h, gst_harness_pull (h), one_head);

    if (n >= 9)
      check_lags (picture, 0, 100, (10 * n + 10 - 100) % 4);
    else
      check_lags (picture, 90 - 10 * n, 100, 0);
    close_picture (picture);
  }
  fail_unless (gst_harness_try_pull (h) == NULL);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_frames_of_video_do_not_depend_on_the_size_of_buffers)
{
  const guint sizes[] = { 1, 3, 50, 200 };
  gchar *sums[G_N_ELEMENTS (sizes)];
  guint i, begin;

  for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
    GstHarness *h = start_with (one_head, VIDEO (77, 99, "30000/1001"));
    GChecksum *sum = g_checksum_new (G_CHECKSUM_MD5);
    GstBuffer *buffer;
    GstMapInfo map;

    for (begin = 0; begin < 200; begin += MIN (sizes[i], 200 - begin))
      push (h, one_head, begin, MIN (sizes[i], 200 - begin), fill_in_turn);
    gst_harness_push_event (h, gst_event_new_eos ());
    while ((buffer = gst_harness_try_pull (h))) {
      gst_buffer_map (buffer, &map, GST_MAP_READ);
      g_checksum_update (sum, map.data, map.size);
      g_checksum_update (sum, (guchar *) &GST_BUFFER_PTS (buffer), sizeof (GstClockTime));
      gst_buffer_unmap (buffer, &map);
      gst_buffer_unref (buffer);
    }
    sums[i] = g_strdup (g_checksum_get_string (sum));
    fail_unless_equals_string (sums[i], sums[0]);
    g_checksum_free (sum);
    gst_harness_teardown (h);
  }
  for (i = 0; i < G_N_ELEMENTS (sizes); i++)
    g_free (sums[i]);
}
GST_END_TEST;

/* ---- time ---- */

static const struct {
  gint n, d;
} rates[] = { { 25, 1 }, { 60, 1 }, { 30000, 1001 }, { 1, 1 }, { 240, 1 }, { 3, 7 } };

GST_START_TEST (test_frames_of_video_have_the_times_of_their_rate)
{
  gchar *rate = g_strdup_printf ("%d/%d", rates[__i__].n, rates[__i__].d);
  gchar *video = g_strdup_printf (VIDEO (64, 64, "%s"), rate);
  GstHarness *h = start_with (one_head, video);
  GstClockTime start = 12345 * FRAME_TIME, end = start + 331 * FRAME_TIME, time = start;
  guint n, begin;
  GstBuffer *buffer;

  for (begin = 0; begin < 330; begin += 10)
    push (h, one_head, 12345 + begin, 10, fill_in_turn);
  push (h, one_head, 12345 + 330, 1, fill_in_turn);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (n = 0; (buffer = gst_harness_try_pull (h)); n++) {
    GstClockTime next = start + gst_util_uint64_scale (n + 1, rates[__i__].d * GST_SECOND, rates[__i__].n);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), time);
    time = MIN (next, end); /* the last one as far as it got */
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), time - GST_BUFFER_PTS (buffer));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (buffer), n + 1);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), n == 0);
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_uint64 (time, end);
  gst_harness_teardown (h);
  g_free (video);
  g_free (rate);
}
GST_END_TEST;

GST_START_TEST (test_frame_leaves_with_the_column_that_completes_it)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "30/1"));
  guint i;

  for (i = 0; i < 100; i++) {
    push (h, one_head, i, 1, fill_in_turn);
    fail_unless_equals_int (gst_harness_buffers_received (h), (i + 1) * 30 / 100);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_jitter_leaves_no_hole)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  Picture *picture;
  guint i;

  for (i = 0; i < 101; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_newest);

    GST_BUFFER_PTS (buffer) += (i * 7 % 5) * GST_MSECOND;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  picture = open_last (h, one_head);
  for (i = 0; i < 100; i++)
    fail_unless_equals_int (lag_at (picture, i), 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_time_that_goes_back_begins_anew)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;
  Picture *picture;

  push (h, one_head, 100, 25, fill_in_turn);
  push (h, one_head, 50, 10, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 4); /* the third one as far as it got */
  gst_buffer_unref (gst_harness_pull (h));
  gst_buffer_unref (gst_harness_pull (h));
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), 5 * FRAME_TIME);
  gst_buffer_unref (buffer);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 50 * FRAME_TIME);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  picture = open_picture (h, buffer, one_head);
  check_lags (picture, 0, 90, -1);
  check_lags (picture, 90, 100, 50 % 4);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* An hour of nothing: grey scrolls through for the second that a picture has, and a GAP event says the rest. */
GST_START_TEST (test_long_gap_is_told_and_not_drawn)
{
  const GstClockTime hour = 3600 * GST_SECOND;
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstClockTime time, duration;
  GstBuffer *buffer;
  GstEvent *event;
  guint jump;

  for (jump = 0; jump < 2; jump++) {
    flush (h);
    push (h, one_head, 0, 10, fill_in_turn);
    gst_buffer_unref (gst_harness_pull (h));
    if (!jump)
      gst_harness_push_event (h, gst_event_new_gap (10 * FRAME_TIME, hour));
    push (h, one_head, 10 + hour / FRAME_TIME, 10, fill_in_turn);
    fail_unless_equals_int (gst_harness_buffers_in_queue (h), 11);
    event = pull_event (h, GST_EVENT_GAP);
    fail_unless (event != NULL);
    gst_event_parse_gap (event, &time, &duration);
    fail_unless_equals_uint64 (time, GST_SECOND + 10 * FRAME_TIME);
    fail_unless_equals_uint64 (duration, hour - GST_SECOND);
    gst_event_unref (event);
    buffer = pull_last (h);
    fail_unless (GST_BUFFER_IS_DISCONT (buffer));
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), hour + 10 * FRAME_TIME);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_timestamps_the_rate_counts)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;
  guint i;

  for (i = 0; i < 5; i++) {
    buffer = make_buffer (one_head, 0, 10, fill_in_turn);
    GST_BUFFER_PTS (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_pull (h);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 10 * i * FRAME_TIME);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

#define AUDIO_AT(rate)                                                           \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (                                  \
      F32) ", layout=(string)interleaved, rate=(int)" rate ", channels=(int)4, " \
           "channel-mask=(bitmask)0, heads=(int)1, sinks=(int)0, window=(int)4, look-ahead=(int)0"
#define NO_RATE                                                                       \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, " \
  "dimensions=(string)4:1:1:1, framerate=(fraction)0/1, heads=(int)1, sinks=(int)0, window=(int)4, look-ahead=(int)0"

GST_START_TEST (test_without_a_rate_a_column_stays_until_the_next)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  const guint times[] = { 0, 10, 17, 60, 100 };
  GstBuffer *buffer;
  Picture *picture;
  guint i, x;

  gst_harness_set_src_caps_str (h, NO_RATE);
  for (i = 0; i < G_N_ELEMENTS (times); i++) {
    buffer = make_buffer (one_head, i, 1, fill_in_turn);
    GST_BUFFER_PTS (buffer) = times[i] * FRAME_TIME;
    GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  picture = open_last (h, one_head);
  for (i = 0; i + 1 < G_N_ELEMENTS (times); i++)
    for (x = times[i]; x < times[i + 1]; x++)
      fail_unless_equals_int (lag_at (picture, x), i);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_rate_and_timestamps_a_column_is_a_frame_of_video)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint i;

  gst_harness_set_src_caps_str (h, NO_RATE);
  for (i = 0; i < 10; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_in_turn);

    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_pull (h);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), i * GST_SECOND / 10);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A third of a second is no whole number of nanoseconds: each column completes its frame all the same. */
GST_START_TEST (test_without_timestamps_rounding_does_not_add_up)
{
  static const gchar *const caps[] = { AUDIO_AT ("3"), NO_RATE };
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "3/1"));
  guint i;

  gst_harness_set_src_caps_str (h, caps[__i__]);
  for (i = 0; i < 1000; i++) {
    GstBuffer *buffer = make_buffer (one_head, i, 1, fill_in_turn);

    GST_BUFFER_PTS (buffer) = GST_BUFFER_DURATION (buffer) = GST_CLOCK_TIME_NONE;
    gst_harness_push (h, buffer);
    buffer = gst_harness_try_pull (h);
    fail_unless (buffer != NULL, "after column %u", i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), gst_util_uint64_scale (i, GST_SECOND, 3));
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_segment_in_bytes_becomes_one_in_time)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  const GstSegment *sent;
  GstSegment segment;
  GstEvent *event;
  gchar *caps = caps_of (one_head);
  GstCaps *parsed = gst_caps_from_string (caps);

  gst_harness_set_sink_caps_str (h, HUNDRED_PIXELS ("10/1"));
  gst_harness_play (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("bytes"));
  gst_harness_push_event (h, gst_event_new_caps (parsed));
  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push (h, one_head, 777, 20, fill_in_turn);
  event = pull_event (h, GST_EVENT_SEGMENT);
  fail_unless (event != NULL);
  gst_event_parse_segment (event, &sent);
  fail_unless_equals_int (sent->format, GST_FORMAT_TIME);
  gst_event_unref (event);
  fail_unless_equals_int (gst_harness_buffers_received (h), 2);
  gst_caps_unref (parsed);
  g_free (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_latency_is_a_frame_of_video)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("25/1"));

  gst_harness_set_upstream_latency (h, 30 * GST_MSECOND);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 70 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_late_frames_are_left_out_and_their_columns_are_not)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  guint64 processed, dropped;
  Picture *picture;
  GstBuffer *buffer;

  gst_element_set_bus (h->element, bus);
  push (h, one_head, 0, 10, fill_in_turn);
  gst_buffer_unref (gst_harness_pull (h));
  /* late by 300 ms: until 0 + 2 * 300 + 100 ms nothing is drawn */
  gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2, 300 * GST_MSECOND, 0));
  push (h, one_head, 10, 70, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 1);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 70 * FRAME_TIME);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  picture = open_picture (h, buffer, one_head);
  check_lags (picture, 20, 100, 0);
  close_picture (picture);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_QOS);
  fail_unless (message != NULL);
  gst_message_parse_qos_stats (message, NULL, &processed, &dropped);
  fail_unless_equals_uint64 (processed, 1);
  fail_unless_equals_uint64 (dropped, 1);
  gst_message_unref (message);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_without_qos_all_frames_are_drawn)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));

  g_object_set (h->element, "qos", FALSE, NULL);
  push (h, one_head, 0, 10, fill_in_turn);
  gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2, GST_SECOND, 0));
  push (h, one_head, 10, 70, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 8);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- events ---- */

GST_START_TEST (test_caps_of_video_come_between_stream_start_and_segment)
{
  const GstEventType types[] = { GST_EVENT_STREAM_START, GST_EVENT_CAPS, GST_EVENT_SEGMENT };
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint i;

  for (i = 0; i < G_N_ELEMENTS (types); i++) {
    GstEvent *event = gst_harness_pull_event (h);

    fail_unless_equals_int (GST_EVENT_TYPE (event), types[i]);
    gst_event_unref (event);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_eos_brings_the_last_frame)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  GstEvent *event;
  Picture *picture;

  push (h, one_head, 0, 130, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (h), 2);
  event = pull_event (h, GST_EVENT_EOS);
  fail_unless (event != NULL);
  gst_event_unref (event);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 100, 30 % 4);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_end_without_columns_brings_no_frame)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));

  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new ()), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (h), 0);
  flush (h);
  push (h, one_head, 0, 10, fill_in_turn); /* no frame is left over */
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_flush_clears_the_picture)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;
  Picture *picture;

  push (h, one_head, 0, 55, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 5);
  gst_buffer_unref (pull_last (h));
  flush (h);
  fail_unless_equals_int (gst_harness_buffers_received (h), 5);
  push (h, one_head, 200, 10, fill_in_turn);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), 200 * FRAME_TIME);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  picture = open_picture (h, buffer, one_head);
  check_lags (picture, 0, 90, -1);
  check_lags (picture, 90, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstEvent *
ending_event (guint i)
{
  GstSegment segment;

  switch (i) {
  case 0:
    gst_segment_init (&segment, GST_FORMAT_TIME);
    segment.base = GST_SECOND;
    return gst_event_new_segment (&segment);
  case 1:
    return gst_event_new_segment_done (GST_FORMAT_TIME, 0);
  default:
    return gst_event_new_stream_start ("another");
  }
}

GST_START_TEST (test_other_streams_bring_the_last_frame_first_and_begin_anew)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  Picture *picture;

  push (h, one_head, 0, 15, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_harness_push_event (h, ending_event (__i__));
  fail_unless_equals_int (gst_harness_buffers_received (h), 2);
  gst_buffer_unref (pull_last (h));
  if (__i__ == 2)
    push_segment (h, 0);
  push (h, one_head, 0, 10, fill_in_turn);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 90, -1);
  check_lags (picture, 90, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_what_is_told_twice_changes_nothing)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  Picture *picture;

  push (h, one_head, 0, 95, fill_in_turn);
  push_segment (h, 0);
  set_shape (h, one_head);
  gst_harness_push_event (h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  gst_pad_push_event (h->sinkpad, gst_event_new_reconfigure ());
  push (h, one_head, 95, 5, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 10);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- negotiation ---- */

GST_START_TEST (test_size_and_rate_are_1280x720_at_25_where_downstream_has_no_wish)
{
  GstHarness *h = start_with (two_heads, NULL);
  GstCaps *caps;
  GstVideoInfo info;

  push (h, two_heads, 0, 10, fill_pattern);
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless (gst_video_info_from_caps (&info, caps));
  fail_unless_equals_int (GST_VIDEO_INFO_WIDTH (&info), 1280);
  fail_unless_equals_int (GST_VIDEO_INFO_HEIGHT (&info), 720);
  fail_unless_equals_int (GST_VIDEO_INFO_FPS_N (&info), 25);
  fail_unless_equals_int (GST_VIDEO_INFO_FPS_D (&info), 1);
  gst_caps_unref (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_downstream_changes_size_and_rate_while_columns_flow)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstClockTime time = 0;
  GstBuffer *buffer;
  Picture *picture;
  guint n = 0;

  push (h, one_head, 0, 55, fill_in_turn);
  gst_harness_set_sink_caps_str (h, VIDEO (1280, 720, "20/1"));
  gst_pad_push_event (h->sinkpad, gst_event_new_reconfigure ());
  push (h, one_head, 55, 45, fill_in_turn);
  while ((buffer = gst_harness_try_pull (h))) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), time);
    time += GST_BUFFER_DURATION (buffer);
    if (n++ < 5) {
      fail_unless_equals_int (gst_buffer_get_size (buffer), 104 * 104 * 4);
      fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), GST_SECOND / 10);
      gst_buffer_unref (buffer);
      continue;
    }
    fail_unless_equals_int (gst_buffer_get_size (buffer), 1280 * 720 * 4);
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), GST_SECOND / 20);
    picture = open_picture (h, buffer, one_head);
    if (n > 6) /* the first has nothing to show yet */
      fail_unless (plot_pixel (picture, 0, picture->layout.plot_width - 1, 100) != SCOPE_COLOR_NOTHING);
    close_picture (picture);
  }
  fail_unless_equals_uint64 (time, GST_SECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_other_heads_bring_another_picture)
{
  const ScopeShape shape = { 3, 1, 2, 1 };
  GstHarness *h = start_with (two_heads, VIDEO (320, 240, "10/1"));
  Picture *picture;

  push (h, two_heads, 0, 15, fill_pattern);
  set_shape (h, shape);
  fail_unless_equals_int (gst_harness_buffers_received (h), 2); /* the last one as far as it got */
  gst_buffer_unref (pull_last (h));
  push (h, shape, 15, 10, fill_sink_1);
  picture = open_last (h, shape);
  fail_unless_equals_uint64_hex (
      plot_pixel (picture, 2, picture->layout.plot_width - 1, picture->layout.window_top + 1), color_of (picture, 0.5));
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

static const struct {
  const gchar *caps, *sentence;
} refusals[] = {
#define AUDIO(channels, rest)                                                                       \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, " \
                                                    "channels=(int)" channels rest
  { AUDIO ("20", ""), "the caps have no heads=(int)" },
  { AUDIO ("20", ", heads=(int)2, sinks=(int)0, window=(int)8"), "the caps have no look-ahead=(int)" },
  { AUDIO ("20", ", heads=(string)2, sinks=(int)0, window=(int)8, look-ahead=(int)2"), "no heads=(int)" },
  { AUDIO ("20", ", heads=(int)0, sinks=(int)0, window=(int)8, look-ahead=(int)2"), "heads=0, expected at least 1" },
  { AUDIO ("20", ", heads=(int)-2, sinks=(int)0, window=(int)8, look-ahead=(int)2"), "heads=-2, expected at least 1" },
  { AUDIO ("20", ", heads=(int)2, sinks=(int)10, window=(int)0, look-ahead=(int)0"), "window=0, expected at least 1" },
  { AUDIO ("20", ", heads=(int)2, sinks=(int)-1, window=(int)9, look-ahead=(int)2"), "sinks=-1, expected at least 0" },
  { AUDIO ("21", ", heads=(int)2, sinks=(int)0, window=(int)8, look-ahead=(int)2"),
    "heads=2, sinks=0, window=8 and look-ahead=2, that is 2 x 10 weights per frame, but frames of 21 features" },
  { AUDIO ("20", ", heads=(int)2147483647, sinks=(int)2147483647, window=(int)2147483647, look-ahead=(int)2147483647"),
    "that is 2147483647 x 6442450941 weights per frame, but frames of 20 features" },
  { AUDIO ("70000", ", heads=(int)1, sinks=(int)0, window=(int)70000, look-ahead=(int)0"), "70000 features per frame" },
  { "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, dimensions=(string)20:3:1:1, "
    "framerate=(fraction)100/1, heads=(int)2, sinks=(int)1, window=(int)8, look-ahead=(int)2",
    "that is 2 x 11 weights per frame, but frames of 20 features" },
  { "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)int8, dimensions=(string)20:3:1:1, "
    "framerate=(fraction)100/1, heads=(int)2, sinks=(int)0, window=(int)8, look-ahead=(int)2",
    "types=int8, expected float32" },
};

static void
fail_unless_error (GstBus *bus, const gchar *sentence)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error;

  fail_unless (message != NULL, "no error, expected %s", sentence);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, sentence) != NULL, "%s, not %s", error->message, sentence);
  g_error_free (error);
  gst_message_unref (message);
}

GST_START_TEST (test_caps_that_say_no_row_of_weights_are_refused)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = gst_bus_new ();
  GstCaps *caps = gst_caps_from_string (refusals[__i__].caps);

  gst_element_set_bus (h->element, bus);
  gst_harness_set_sink_caps_str (h, VIDEO (320, 240, "10/1"));
  gst_harness_play (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("bad"));
  gst_harness_push_event (h, gst_event_new_caps (caps));
  fail_unless_error (bus, refusals[__i__].sentence);
  push_segment (h, 0);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (two_heads, 0, 1, fill_pattern)), GST_FLOW_NOT_NEGOTIATED);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR) == NULL); /* said once */
  set_shape (h, two_heads);
  push (h, two_heads, 0, 10, fill_pattern);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_caps_unref (caps);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_more_heads_than_pixels_are_refused)
{
  const ScopeShape shape = { 300, 0, 1, 0 };
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = gst_bus_new ();
  gchar *caps = caps_of (shape);

  gst_element_set_bus (h->element, bus);
  g_object_set (h->element, "layout", SCOPE_LAYOUT_ROWS, NULL);
  gst_harness_set_sink_caps_str (h, VIDEO (320, 240, "10/1"));
  gst_harness_set_src_caps_str (h, caps);
  fail_unless_error (bus, "300 heads, as 1 columns and 300 rows of panels, do not fit into a picture of 320x240");
  g_object_set (h->element, "layout", SCOPE_LAYOUT_GRID, NULL); /* 18 x 17 do */
  push (h, shape, 0, 10, fill_nothing);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  g_free (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_video_of_another_kind_is_refused_in_a_sentence)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = gst_bus_new ();

  gst_element_set_bus (h->element, bus);
  gst_harness_set_sink_caps_str (h, VIDEO (32, 240, "10/1"));
  set_shape (h, one_head);
  fail_unless_error (bus, "width=(int)[ 64, 8192 ]");
  fail_unless_equals_int (gst_harness_push (h, make_buffer (one_head, 0, 1, fill_in_turn)), GST_FLOW_NOT_NEGOTIATED);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- buffers ---- */

GST_START_TEST (test_partial_frame_names_both_sizes)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBus *bus = gst_bus_new ();
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 17, NULL);

  gst_element_set_bus (h->element, bus);
  gst_buffer_memset (buffer, 0, 0, 17);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_ERROR);
  fail_unless_error (bus, "a buffer of 17 bytes is no whole number of frames: one of 4 features has 16 bytes");
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_memory_may_begin_at_any_byte)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  GstBuffer *aligned = make_buffer (one_head, 0, 100, fill_in_turn),
            *buffer = gst_buffer_new_allocate (NULL, 1601, NULL);
  GstMapInfo map;
  Picture *picture;

  gst_buffer_map (aligned, &map, GST_MAP_READ);
  gst_buffer_fill (buffer, 1, map.data, map.size);
  gst_buffer_unmap (aligned, &map);
  gst_buffer_unref (aligned);
  gst_buffer_resize (buffer, 1, 1600);
  GST_BUFFER_PTS (buffer) = 0;
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_stream_that_plays_backwards_is_an_error)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  GstBus *bus = gst_bus_new ();
  GstSegment segment;

  gst_element_set_bus (h->element, bus);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.rate = -1;
  segment.stop = GST_SECOND;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  fail_unless_equals_int (gst_harness_push (h, make_buffer (one_head, 0, 1, fill_in_turn)), GST_FLOW_ERROR);
  fail_unless_error (bus, "at rate -1");
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_reuse_after_null)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  Picture *picture;

  push (h, one_head, 0, 55, fill_in_turn);
  gst_element_set_state (h->element, GST_STATE_NULL);
  gst_harness_play (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  set_shape (h, one_head);
  push_segment (h, 0);
  push (h, one_head, 400, 100, fill_in_turn);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 100, 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- properties ---- */

/* Of frames that attend to lag 0 with `weight`, the rest of it going to lag 1. */
static gfloat weight_of_newest;

static void
fill_weight (gfloat *weights, guint head, guint frame)
{
  weights[slot_of_lag (one_head, 0)] = weight_of_newest;
  weights[slot_of_lag (one_head, 1)] = 1 - weight_of_newest;
}

static guint32
color_shown (GstHarness *h, gdouble weight)
{
  Picture *picture;
  guint32 color;

  weight_of_newest = weight;
  flush (h);
  push (h, one_head, 0, 100, fill_weight);
  picture = open_last (h, one_head);
  color = plot_pixel (picture, 0, 50, picture->layout.plot_height - 1);
  close_picture (picture);
  return color;
}

GST_START_TEST (test_color_maps_have_their_ends)
{
  const guint32 ends[][2] = { { 0xff440154, 0xfffde725 },
                              { 0xff000004, 0xfffcfdbf },
                              { 0xff000004, 0xfffcffa4 },
                              { 0xff0d0887, 0xfff0f921 },
                              { 0xff000000, 0xffffffff } };
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint map;

  for (map = 0; map < SCOPE_N_COLOR_MAPS; map++) {
    g_object_set (h->element, "color-map", map, NULL);
    fail_unless_equals_uint64_hex (color_shown (h, 1e-9), ends[map][0]);
    fail_unless_equals_uint64_hex (color_shown (h, 1), ends[map][1]);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

/* CIE lightness of an sRGB colour, 0 to 100. */
static gdouble
lightness (guint32 color)
{
  const gdouble shares[] = { 0.0722, 0.7152, 0.2126 }; /* blue, green, red */
  gdouble luminance = 0;
  guint i;

  for (i = 0; i < 3; i++) {
    gdouble value = (color >> 8 * i & 0xff) / 255.0;

    luminance += shares[i] * (value <= 0.04045 ? value / 12.92 : pow ((value + 0.055) / 1.055, 2.4));
  }
  return luminance > 216.0 / 24389 ? 116 * cbrt (luminance) - 16 : luminance * 24389 / 27;
}

/* Of a uniform map lightness is a straight line; plasma's ends are steeper, and bend it by 7. */
GST_START_TEST (test_lightness_of_color_maps_rises_evenly)
{
  const gdouble bend = 7;
  guint map, i;

  for (map = 0; map < SCOPE_N_COLOR_MAPS; map++) {
    guint32 colors[SCOPE_N_COLORS];
    gdouble first, last;

    scope_colors_fill (map, colors);
    first = lightness (colors[0]);
    last = lightness (colors[255]);
    fail_unless (last - first > 70);
    for (i = 0; i < 256; i++) {
      gdouble straight = first + (last - first) * i / 255;

      fail_unless (fabs (lightness (colors[i]) - straight) < bend, "map %u, color %u: %g, not %g", map, i,
                   lightness (colors[i]), straight);
      fail_unless (i == 0 || lightness (colors[i]) > lightness (colors[i - 1]) - 0.2, "map %u, color %u", map, i);
    }
  }
}
GST_END_TEST;

GST_START_TEST (test_scale_gain_and_range_make_the_color)
{
  const struct {
    guint scale;
    gdouble gain, range, weight;
    guint level;
  } cases[] = {
    { SCOPE_SCALE_LINEAR, 1, 3, 0.5, 128 },  { SCOPE_SCALE_LINEAR, 1, 3, 0.25, 64 },
    { SCOPE_SCALE_LINEAR, 2, 3, 0.25, 128 }, { SCOPE_SCALE_LINEAR, 10, 3, 0.25, 255 },
    { SCOPE_SCALE_LINEAR, 0.5, 3, 1, 128 },  { SCOPE_SCALE_LOG, 1, 3, 0.1, 170 },
    { SCOPE_SCALE_LOG, 1, 3, 0.01, 85 },     { SCOPE_SCALE_LOG, 1, 3, 0.001, 0 },
    { SCOPE_SCALE_LOG, 1, 3, 0.0005, 0 },    { SCOPE_SCALE_LOG, 10, 3, 0.01, 170 },
    { SCOPE_SCALE_LOG, 1, 2, 0.1, 128 },     { SCOPE_SCALE_LOG, 1, 6, 0.001, 128 },
  };
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  guint32 colors[SCOPE_N_COLORS];
  guint i;

  scope_colors_fill (SCOPE_COLOR_MAP_GREY, colors);
  g_object_set (h->element, "color-map", SCOPE_COLOR_MAP_GREY, NULL);
  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_object_set (h->element, "scale", cases[i].scale, "gain", cases[i].gain, "range", cases[i].range, NULL);
    fail_unless_equals_uint64_hex (color_shown (h, cases[i].weight), colors[cases[i].level]);
  }
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_seconds_are_the_time_across)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("1/1"));
  Picture *picture;
  guint x;

  g_object_set (h->element, "seconds", 2.0, NULL);
  push (h, one_head, 0, 100, fill_newest);
  picture = open_last (h, one_head);
  for (x = 0; x < 100; x++)
    fail_unless_equals_int (lag_at (picture, x), x < 50 ? -1 : 0);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_properties_change_the_picture_while_columns_flow)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  Picture *picture;

  push (h, one_head, 0, 50, fill_in_turn);
  g_object_set (h->element, "color-map", SCOPE_COLOR_MAP_VIRIDIS, NULL);
  push (h, one_head, 50, 20, fill_in_turn);
  fail_unless_equals_int (gst_harness_buffers_received (h), 7);
  picture = open_last (h, one_head);
  check_lags (picture, 0, 80, -1);
  check_lags (picture, 80, 100, 50 % 4);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Where the panel of a head is, by the colours alone: head n of 4 attends to lag n. */
static void
fill_own_lag (gfloat *weights, guint head, guint frame)
{
  weights[slot_of_lag (one_head, head)] = 1;
}

static guint
lag_below (const Picture *picture, guint x, guint y)
{
  guint bright = 0, i;

  for (i = 0; i < picture->layout.plot_height; i++)
    if (pixel (picture, x, y + i) == picture->colors[255])
      bright = i;
  return 3 - bright * 4 / picture->layout.plot_height;
}

GST_START_TEST (test_layouts_place_the_panels)
{
  const ScopeShape shape = { 4, 0, 4, 0 };
  const struct {
    guint layout, n_columns, n_rows;
    const gchar *video;
  } cases[] = {
    { SCOPE_LAYOUT_ROWS, 1, 4, VIDEO (400, 400, "1/1") },  { SCOPE_LAYOUT_COLUMNS, 4, 1, VIDEO (400, 400, "1/1") },
    { SCOPE_LAYOUT_GRID, 2, 2, VIDEO (400, 400, "1/1") },  { SCOPE_LAYOUT_GRID, 2, 2, VIDEO (1000, 100, "1/1") },
    { SCOPE_LAYOUT_AUTO, 4, 1, VIDEO (1000, 100, "1/1") }, { SCOPE_LAYOUT_AUTO, 2, 2, VIDEO (1280, 720, "1/1") },
    { SCOPE_LAYOUT_AUTO, 1, 4, VIDEO (200, 400, "1/1") }
  };
  guint i, head;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = start_with (shape, cases[i].video);
    Picture *picture;
    guint width, height;

    g_object_set (h->element, "layout", cases[i].layout, NULL);
    push (h, shape, 0, 100, fill_own_lag);
    picture = open_last (h, shape);
    width = GST_VIDEO_FRAME_WIDTH (&picture->frame) / cases[i].n_columns;
    height = GST_VIDEO_FRAME_HEIGHT (&picture->frame) / cases[i].n_rows;
    for (head = 0; head < 4; head++) {
      guint x, y, middle = head % cases[i].n_columns * width + width / 2;

      scope_layout_get_plot (&picture->layout, head, &x, &y);
      fail_unless (x <= middle && middle < x + picture->layout.plot_width);
      fail_unless (y >= head / cases[i].n_columns * height && y < head / cases[i].n_columns * height + height / 4);
      fail_unless_equals_int (lag_below (picture, middle, y), head);
    }
    close_picture (picture);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* Bright pixels in a part of the picture: letters. */
static guint
count_letters (const Picture *picture, guint left, guint top, guint right, guint bottom)
{
  guint x, y, n = 0;

  for (y = top; y < bottom; y++)
    for (x = left; x < right; x++)
      n += lightness (pixel (picture, x, y)) > 70;
  return n;
}

/* Titles, lags and times are outside the plots, and nothing of them is cut off at the edge. */
GST_START_TEST (test_panels_are_labelled)
{
#ifdef HAVE_PANGOCAIRO
  const gchar *const videos[] = { VIDEO (320, 240, "1/1"), VIDEO (1280, 720, "1/1"), VIDEO (1920, 1080, "1/1") };
  const ScopeShape shape = { 4, 2, 100, 20 };
  guint i, head;

  for (i = 0; i < G_N_ELEMENTS (videos); i++) {
    GstHarness *h = start_with (shape, videos[i]);
    Picture *picture;
    guint width, height, x, y;

    g_object_set (h->element, "labels", TRUE, NULL);
    push (h, shape, 0, 100, fill_nothing);
    picture = open_last (h, shape);
    width = GST_VIDEO_FRAME_WIDTH (&picture->frame);
    height = GST_VIDEO_FRAME_HEIGHT (&picture->frame);
    for (head = 0; head < 4; head++) {
      scope_layout_get_plot (&picture->layout, head, &x, &y);
      fail_unless (count_letters (picture, x, y - picture->layout.line, x + picture->layout.plot_width, y) > 20);
    }
    scope_layout_get_plot (&picture->layout, 0, &x, &y);
    fail_unless (count_letters (picture, 0, y, x, y + picture->layout.plot_height) > 40);
    scope_layout_get_plot (&picture->layout, 2, &x, &y);
    fail_unless (count_letters (picture, x, y + picture->layout.plot_height, width, height) > 40);
    fail_unless (count_letters (picture, picture->layout.bar_left + picture->layout.bar_width, 0, width, height) > 40);
    fail_unless_equals_int (count_letters (picture, 0, 0, 1, height), 0);
    fail_unless_equals_int (count_letters (picture, width - 1, 0, width, height), 0);
    fail_unless_equals_int (count_letters (picture, 0, 0, width, 1), 0);
    fail_unless_equals_int (count_letters (picture, 0, height - 1, width, height), 0);
    fail_unless (picture->layout.plot_width * 2 > width * 6 / 10);
    close_picture (picture);
    gst_harness_teardown (h);
  }
#endif
}
GST_END_TEST;

GST_START_TEST (test_labels_leave_room_when_they_are_off_or_too_large)
{
  const gchar *const videos[] = { VIDEO (640, 480, "1/1"), VIDEO (64, 64, "1/1") };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (videos); i++) {
    GstHarness *h = start_with (two_heads, videos[i]);
    Picture *picture;

    g_object_set (h->element, "labels", i == 1, "color-map", SCOPE_COLOR_MAP_VIRIDIS, NULL);
    push (h, two_heads, 0, 100, fill_nothing);
    picture = open_last (h, two_heads);
    fail_unless_equals_int (count_letters (picture, 0, 0, GST_VIDEO_FRAME_WIDTH (&picture->frame),
                                           GST_VIDEO_FRAME_HEIGHT (&picture->frame)),
                            0);
    close_picture (picture);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

static Suite *
attentionscope_suite (void)
{
  Suite *suite = suite_create ("attentionscope");
  TCase *picture = tcase_create ("picture"), *time = tcase_create ("time"), *stream = tcase_create ("stream"),
        *properties = tcase_create ("properties");

  suite_add_tcase (suite, picture);
  tcase_add_loop_test (picture, test_known_pattern_is_where_it_must_be, 0, G_N_ELEMENTS (formats));
  tcase_add_test (picture, test_lag_grows_upwards_and_time_to_the_right);
  tcase_add_test (picture, test_smallest_picture_is_all_plot);
  tcase_add_test (picture, test_columns_that_share_a_pixel_show_the_largest);
  tcase_add_test (picture, test_slots_that_share_a_row_show_the_largest);
  tcase_add_test (picture, test_sinks_have_a_strip_at_the_top);
  tcase_add_test (picture, test_weights_that_are_no_numbers_are_red);
  tcase_add_test (picture, test_what_was_not_there_is_grey);
  tcase_add_test (picture, test_picture_is_grey_where_nothing_has_come_yet);
  tcase_add_test (picture, test_picture_scrolls);
  tcase_add_test (picture, test_frames_of_video_do_not_depend_on_the_size_of_buffers);
  suite_add_tcase (suite, time);
  tcase_add_loop_test (time, test_frames_of_video_have_the_times_of_their_rate, 0, G_N_ELEMENTS (rates));
  tcase_add_test (time, test_frame_leaves_with_the_column_that_completes_it);
  tcase_add_test (time, test_jitter_leaves_no_hole);
  tcase_add_test (time, test_time_that_goes_back_begins_anew);
  tcase_add_test (time, test_long_gap_is_told_and_not_drawn);
  tcase_add_test (time, test_without_timestamps_the_rate_counts);
  tcase_add_test (time, test_without_a_rate_a_column_stays_until_the_next);
  tcase_add_test (time, test_without_rate_and_timestamps_a_column_is_a_frame_of_video);
  tcase_add_loop_test (time, test_without_timestamps_rounding_does_not_add_up, 0, 2);
  tcase_add_test (time, test_segment_in_bytes_becomes_one_in_time);
  tcase_add_test (time, test_latency_is_a_frame_of_video);
  tcase_add_test (time, test_late_frames_are_left_out_and_their_columns_are_not);
  tcase_add_test (time, test_without_qos_all_frames_are_drawn);
  suite_add_tcase (suite, stream);
  tcase_add_test (stream, test_caps_of_video_come_between_stream_start_and_segment);
  tcase_add_test (stream, test_eos_brings_the_last_frame);
  tcase_add_test (stream, test_end_without_columns_brings_no_frame);
  tcase_add_test (stream, test_flush_clears_the_picture);
  tcase_add_loop_test (stream, test_other_streams_bring_the_last_frame_first_and_begin_anew, 0, 3);
  tcase_add_test (stream, test_what_is_told_twice_changes_nothing);
  tcase_add_test (stream, test_size_and_rate_are_1280x720_at_25_where_downstream_has_no_wish);
  tcase_add_test (stream, test_downstream_changes_size_and_rate_while_columns_flow);
  tcase_add_test (stream, test_other_heads_bring_another_picture);
  tcase_add_loop_test (stream, test_caps_that_say_no_row_of_weights_are_refused, 0, G_N_ELEMENTS (refusals));
  tcase_add_test (stream, test_more_heads_than_pixels_are_refused);
  tcase_add_test (stream, test_video_of_another_kind_is_refused_in_a_sentence);
  tcase_add_test (stream, test_partial_frame_names_both_sizes);
  tcase_add_test (stream, test_memory_may_begin_at_any_byte);
  tcase_add_test (stream, test_stream_that_plays_backwards_is_an_error);
  tcase_add_test (stream, test_reuse_after_null);
  suite_add_tcase (suite, properties);
  tcase_add_test (properties, test_color_maps_have_their_ends);
  tcase_add_test (properties, test_lightness_of_color_maps_rises_evenly);
  tcase_add_test (properties, test_scale_gain_and_range_make_the_color);
  tcase_add_test (properties, test_seconds_are_the_time_across);
  tcase_add_test (properties, test_properties_change_the_picture_while_columns_flow);
  tcase_add_test (properties, test_layouts_place_the_panels);
  tcase_add_test (properties, test_panels_are_labelled);
  tcase_add_test (properties, test_labels_leave_room_when_they_are_off_or_too_large);
  return suite;
}

GST_CHECK_MAIN (attentionscope);
