/*
 * The element `attentionscope`: pixels are looked up where the layout places a plot, and the expected pixels are worked
 * out here.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "scopecheck.h"

/* ---- helpers ---- */

/* The slot whose part of n rows row `y` lies in. */
static guint
slot_at (guint y, guint n_rows, guint n_slots)
{
  return (guint64) y * n_slots / n_rows;
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
  weights[1] = frame % 3 == 1 ? NAN : 0.5; /* before numbers and behind them */
  weights[2] = INFINITY;
  weights[3] = -1;
}

GST_START_TEST (test_weights_that_are_no_numbers_are_red)
{
  GstHarness *h = start_with (one_head, VIDEO (64, 64, "25/1"));
  Picture *picture;
  guint x;

  g_object_set (h->element, "seconds", 10.0, NULL); /* NaN shares its pixels with numbers */
  push (h, one_head, 0, 1000, fill_nan);
  picture = open_last (h, one_head);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 0), picture->colors[0]);
  for (x = 0; x < picture->layout.plot_width; x++)
    fail_unless_equals_uint64_hex (plot_pixel (picture, 0, x, 20), SCOPE_COLOR_NAN);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 40), picture->colors[255]);
  fail_unless_equals_uint64_hex (plot_pixel (picture, 0, 30, 61), picture->colors[0]);
  close_picture (picture);
  gst_harness_teardown (h);
}
GST_END_TEST;

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

static Suite *
attentionscope_suite (void)
{
  Suite *suite = suite_create ("attentionscope");
  TCase *picture = tcase_create ("picture");

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
  return suite;
}

GST_CHECK_MAIN (attentionscope);
