/*
 * The element `attentionscope`: the effect of its properties on the picture: colours, time, panels and labels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "scopecheck.h"
#include "scopetext.h"

/* Frames that attend to lag 0 with `weight`, and to lag 1 with the rest. */
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

GST_START_TEST (test_grid_has_as_many_columns_as_rows_or_one_more)
{
  static const guint n_columns[] = { 1, 2, 2, 2, 3, 3, 3, 3, 3, 4 };
  const ScopeSettings settings = { .seconds = 1, .gain = 1, .range = 3, .arrangement = SCOPE_LAYOUT_GRID };
  guint n;

  for (n = 1; n <= G_N_ELEMENTS (n_columns); n++) {
    const ScopeShape shape = { n, 0, 4, 0 };
    ScopeLayout layout;

    fail_unless (scope_layout_find (&layout, &shape, &settings, 320, 240, NULL));
    fail_unless_equals_int (layout.n_columns, n_columns[n - 1]);
    fail_unless_equals_int (layout.n_rows, (n + layout.n_columns - 1) / layout.n_columns);
  }
}
GST_END_TEST;

/* From the color of 0 at the bottom to that of the brightest weight at the top. */
GST_START_TEST (test_bar_has_all_colors)
{
  GstHarness *h = start_with (one_head, VIDEO (1280, 720, "1/1"));
  const ScopeLayout *layout;
  Picture *picture;

  g_object_set (h->element, "labels", TRUE, NULL);
  push (h, one_head, 0, 100, fill_nothing);
  picture = open_last (h, one_head);
  layout = &picture->layout;
  if (layout->bar_width > 0) { /* otherwise there is no text */
    fail_unless_equals_uint64_hex (pixel (picture, layout->bar_left, layout->top), picture->colors[255]);
    fail_unless_equals_uint64_hex (pixel (picture, layout->bar_left, layout->top + layout->plot_height - 1),
                                   picture->colors[0]);
  }
  close_picture (picture);
  gst_harness_teardown (h);
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

/* The oldest lag, 100, is at the top of the window, right below them: it has a tick, and no number. */
GST_START_TEST (test_word_sinks_has_its_place_alone)
{
#ifdef HAVE_PANGOCAIRO
  const ScopeShape shape = { 1, 2, 101, 0 };
  GstHarness *h = start_with (shape, VIDEO (640, 480, "1/1"));
  guint32 *alone = g_new (guint32, 640 * 480);
  guint n_alone = 0, middle, top, i, x, y;
  const ScopeLayout *layout;
  ScopeText *text;
  Picture *picture;

  g_object_set (h->element, "labels", TRUE, NULL);
  push (h, shape, 0, 100, fill_nothing);
  picture = open_last (h, shape);
  layout = &picture->layout;
  scope_layout_get_plot (layout, 0, &x, &y);
  middle = y + layout->sinks_height / 2;
  top = middle - layout->line / 2;
  for (i = 0; i < 640 * 480; i++)
    alone[i] = SCOPE_COLOR_PAGE;
  text = scope_text_new (alone, 640, 480, layout->font);
  scope_text_draw (text, x - layout->gap / 2 - 2, middle, SCOPE_ALIGN_END, SCOPE_ALIGN_MIDDLE, "sinks");
  scope_text_free (text);
  for (i = 640 * top; i < 640 * (top + layout->line); i++)
    n_alone += lightness (alone[i]) > 70;
  fail_unless (n_alone > 10);
  fail_unless_equals_int (count_letters (picture, 0, top, x, top + layout->line), n_alone);
  g_free (alone);
  close_picture (picture);
  gst_harness_teardown (h);
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
attentionscope_properties_suite (void)
{
  Suite *suite = suite_create ("attentionscope-properties");
  TCase *properties = tcase_create ("properties");

  suite_add_tcase (suite, properties);
  tcase_add_test (properties, test_color_maps_have_their_ends);
  tcase_add_test (properties, test_lightness_of_color_maps_rises_evenly);
  tcase_add_test (properties, test_scale_gain_and_range_make_the_color);
  tcase_add_test (properties, test_seconds_are_the_time_across);
  tcase_add_test (properties, test_properties_change_the_picture_while_columns_flow);
  tcase_add_test (properties, test_layouts_place_the_panels);
  tcase_add_test (properties, test_grid_has_as_many_columns_as_rows_or_one_more);
  tcase_add_test (properties, test_bar_has_all_colors);
  tcase_add_test (properties, test_panels_are_labelled);
  tcase_add_test (properties, test_word_sinks_has_its_place_alone);
  tcase_add_test (properties, test_labels_leave_room_when_they_are_off_or_too_large);
  return suite;
}

GST_CHECK_MAIN (attentionscope_properties);
