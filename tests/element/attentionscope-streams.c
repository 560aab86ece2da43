/*
 * The element `attentionscope`: events, caps and buffers, and its errors about refused ones.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "scopecheck.h"

/* ---- helpers ---- */

static void
set_shape (GstHarness *h, ScopeShape shape)
{
  gchar *caps = caps_of (shape);

  gst_harness_set_src_caps_str (h, caps);
  g_free (caps);
}

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

/* The current frame began where the last one ended; its columns stay. */
GST_START_TEST (test_other_rate_keeps_the_time_that_was_reached)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBuffer *buffer;

  push (h, one_head, 0, 25, fill_in_turn);
  gst_harness_set_sink_caps_str (h, HUNDRED_PIXELS ("20/1"));
  push (h, one_head, 22, 5, fill_in_turn); /* before 25: it begins anew */
  buffer = pull_last (h);
  fail_unless_equals_clocktime (GST_BUFFER_PTS (buffer), 22 * FRAME_TIME);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The smallest ratio that downstream takes would not be square. */
GST_START_TEST (test_pixels_are_square_where_they_may)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstStructure *structure;
  gint n, d;
  GstCaps *caps;

  gst_harness_set_sink_caps_str (h, VIDEO (104, 104, "10/1") ", pixel-aspect-ratio=(fraction)[ 1/2, 2/1 ]");
  set_shape (h, one_head);
  push (h, one_head, 0, 10, fill_in_turn);
  caps = gst_pad_get_current_caps (h->sinkpad);
  structure = gst_caps_get_structure (caps, 0);
  fail_unless (gst_structure_get_fraction (structure, "pixel-aspect-ratio", &n, &d) && n == 1 && d == 1);
  gst_caps_unref (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Rows may then be as long as downstream wants them. */
GST_START_TEST (test_buffers_say_how_they_are_laid_out_where_that_is_read)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBuffer *buffer;

  if (__i__)
    gst_harness_add_propose_allocation_meta (h, GST_VIDEO_META_API_TYPE, NULL);
  gst_harness_set_sink_caps_str (h, HUNDRED_PIXELS ("10/1"));
  set_shape (h, one_head);
  push (h, one_head, 0, 10, fill_in_turn);
  buffer = gst_harness_pull (h);
  fail_unless_equals_int (gst_buffer_get_video_meta (buffer) != NULL, __i__);
  gst_buffer_unref (buffer);
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

GST_START_TEST (test_caps_that_say_no_row_of_weights_are_refused)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = attach_bus (h->element);
  GstCaps *caps = gst_caps_from_string (refusals[__i__].caps);

  gst_harness_set_sink_caps_str (h, VIDEO (320, 240, "10/1"));
  gst_harness_play (h);
  gst_harness_push_event (h, gst_event_new_stream_start ("bad"));
  gst_harness_push_event (h, gst_event_new_caps (caps));
  fail_unless_error (bus, refusals[__i__].sentence);
  push_segment (h, 0);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (two_heads, 0, 1, fill_pattern)), GST_FLOW_NOT_NEGOTIATED);
  fail_unless (pop_message (bus, GST_MESSAGE_ERROR) == NULL); /* said once */
  set_shape (h, two_heads);
  push (h, two_heads, 0, 10, fill_pattern);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_caps_unref (caps);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_more_heads_than_pixels_are_refused)
{
  const ScopeShape shape = { 300, 0, 1, 0 };
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = attach_bus (h->element);
  gchar *caps = caps_of (shape);

  g_object_set (h->element, "layout", SCOPE_LAYOUT_ROWS, NULL);
  gst_harness_set_sink_caps_str (h, VIDEO (320, 240, "10/1"));
  gst_harness_set_src_caps_str (h, caps);
  fail_unless_error (bus, "300 heads, as 1 columns and 300 rows of panels, do not fit into a picture of 320x240");
  g_object_set (h->element, "layout", SCOPE_LAYOUT_GRID, NULL); /* 18 x 17 do */
  push (h, shape, 0, 10, fill_nothing);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  detach_bus (h->element, bus);
  g_free (caps);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_video_of_another_kind_is_refused_in_a_sentence)
{
  GstHarness *h = gst_harness_new ("attentionscope");
  GstBus *bus = attach_bus (h->element);

  gst_harness_set_sink_caps_str (h, VIDEO (32, 240, "10/1"));
  set_shape (h, one_head);
  fail_unless_error (bus, "width=(int)[ 64, 8192 ]");
  fail_unless_equals_int (gst_harness_push (h, make_buffer (one_head, 0, 1, fill_in_turn)), GST_FLOW_NOT_NEGOTIATED);
  detach_bus (h->element, bus);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* ---- buffers ---- */

GST_START_TEST (test_partial_frame_names_both_sizes)
{
  GstHarness *h = start_with (one_head, HUNDRED_PIXELS ("10/1"));
  GstBus *bus = attach_bus (h->element);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 17, NULL);

  gst_buffer_memset (buffer, 0, 0, 17);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_ERROR);
  fail_unless_error (bus, "a buffer of 17 bytes is not a whole number of frames: one of 4 features has 16 bytes");
  detach_bus (h->element, bus);
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
  GstBus *bus = attach_bus (h->element);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.rate = -1;
  segment.stop = GST_SECOND;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  fail_unless_equals_int (gst_harness_push (h, make_buffer (one_head, 0, 1, fill_in_turn)), GST_FLOW_ERROR);
  fail_unless_error (bus, "at rate -1");
  detach_bus (h->element, bus);
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

static Suite *
attentionscope_streams_suite (void)
{
  Suite *suite = suite_create ("attentionscope-streams");
  TCase *stream = tcase_create ("stream");

  suite_add_tcase (suite, stream);
  tcase_add_test (stream, test_caps_of_video_come_between_stream_start_and_segment);
  tcase_add_test (stream, test_eos_brings_the_last_frame);
  tcase_add_test (stream, test_end_without_columns_brings_no_frame);
  tcase_add_test (stream, test_flush_clears_the_picture);
  tcase_add_loop_test (stream, test_other_streams_bring_the_last_frame_first_and_begin_anew, 0, 3);
  tcase_add_test (stream, test_what_is_told_twice_changes_nothing);
  tcase_add_test (stream, test_size_and_rate_are_1280x720_at_25_where_downstream_has_no_wish);
  tcase_add_test (stream, test_downstream_changes_size_and_rate_while_columns_flow);
  tcase_add_test (stream, test_other_rate_keeps_the_time_that_was_reached);
  tcase_add_test (stream, test_pixels_are_square_where_they_may);
  tcase_add_loop_test (stream, test_buffers_say_how_they_are_laid_out_where_that_is_read, 0, 2);
  tcase_add_test (stream, test_other_heads_bring_another_picture);
  tcase_add_loop_test (stream, test_caps_that_say_no_row_of_weights_are_refused, 0, G_N_ELEMENTS (refusals));
  tcase_add_test (stream, test_more_heads_than_pixels_are_refused);
  tcase_add_test (stream, test_video_of_another_kind_is_refused_in_a_sentence);
  tcase_add_test (stream, test_partial_frame_names_both_sizes);
  tcase_add_test (stream, test_memory_may_begin_at_any_byte);
  tcase_add_test (stream, test_stream_that_plays_backwards_is_an_error);
  tcase_add_test (stream, test_reuse_after_null);
  return suite;
}

GST_CHECK_MAIN (attentionscope_streams);
