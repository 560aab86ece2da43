/*
 * The element `attention`: gains of its heads, live and under control. Without a model the output is the contexts
 * themselves, so a gain is seen as it is.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "attentioncheck.h"

#include <gst/controller/gstdirectcontrolbinding.h>
#include <gst/controller/gstinterpolationcontrolsource.h>

#define D 6
#define HEADS 2
#define N 200
#define TENSOR_CAPS \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, framerate=(fraction)0/1"

/* ---- helpers ---- */

static gfloat frames[N * D];

static void
setup (void)
{
  fill_random (frames, N * D, 1);
}

static GstHarness *
start (guint look_ahead)
{
  AttnConfig config = attn_config_default ();
  GstHarness *h;

  config.n_features = D;
  config.n_heads = HEADS;
  config.window = 8;
  config.look_ahead = look_ahead;
  h = subject_harness (&config);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  return h;
}

static void
set_gain (GstHarness *h, guint head, gfloat gain)
{
  gchar *name = subject_gain (head);

  gst_child_proxy_set (GST_CHILD_PROXY (h->element), name, gain, NULL);
  g_free (name);
}

static gfloat
get_gain (gpointer element, guint head)
{
  gchar *name = subject_gain (head);
  gfloat gain = NAN;

  gst_child_proxy_get (GST_CHILD_PROXY (element), name, &gain, NULL);
  g_free (name);
  return gain;
}

/* Frames `begin` to before `end`, `size` in each buffer, at `start_time` + their number. */
static void
push (GstHarness *h, guint begin, guint end, guint size, GstClockTime start_time)
{
  while (begin < end) {
    guint n = MIN (size, end - begin);
    GstBuffer *buffer = gst_buffer_new_memdup (frames + begin * D, n * D * sizeof (gfloat));

    if (GST_CLOCK_TIME_IS_VALID (start_time))
      GST_BUFFER_PTS (buffer) = start_time + begin * FRAME_TIME;
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
    begin += n;
  }
}

/* Ends the stream; the N frames that came out. */
static gfloat *
finish (GstHarness *h)
{
  gfloat *out;
  gsize n;

  gst_harness_push_event (h, gst_event_new_eos ());
  out = pull_all (h, &n);
  fail_unless_equals_int (n, N * D);
  gst_harness_teardown (h);
  return out;
}

static gfloat *
run_plain (guint look_ahead)
{
  GstHarness *h = start (look_ahead);

  push (h, 0, N, 16, 0);
  return finish (h);
}

/* `out` is `plain`, with the second head of frame t times gains[t]. */
static void
fail_unless_scaled (const gfloat *out, const gfloat *plain, const gfloat *gains)
{
  guint t, i;

  for (t = 0; t < N; t++)
    for (i = 0; i < D; i++) {
      gfloat expected = i < D / HEADS ? plain[t * D + i] : plain[t * D + i] * gains[t];

      fail_unless (out[t * D + i] == expected, "frame %u, value %u: %g, not %g", t, i, out[t * D + i], expected);
    }
}

/* The gain of the second head rises from 0 at time 0 to 1 at 1 s, and falls to 0.25 at 3 s. */
static void
bind_head (GObject *head)
{
  GstControlSource *source = gst_interpolation_control_source_new ();
  GstTimedValueControlSource *curve = GST_TIMED_VALUE_CONTROL_SOURCE (source);

  g_object_set (source, "mode", GST_INTERPOLATION_MODE_LINEAR, NULL);
  gst_timed_value_control_source_set (curve, 0, 0);
  gst_timed_value_control_source_set (curve, GST_SECOND, 1);
  gst_timed_value_control_source_set (curve, 3 * GST_SECOND, 0.25);
  gst_object_add_control_binding (GST_OBJECT (head),
                                  gst_direct_control_binding_new_absolute (GST_OBJECT (head), "gain", source));
  gst_object_unref (source);
}

static void
bind_curve (GstHarness *h)
{
  GstChildProxy *heads = subject_heads (h->element);
  GObject *head = gst_child_proxy_get_child_by_name (heads, "head1");

  bind_head (head);
  gst_object_unref (head);
  gst_object_unref (heads);
}

/* The value of the curve at `time`. */
static gfloat
curve_at (GstClockTime time)
{
  gdouble seconds = (gdouble) time / GST_SECOND;

  return seconds < 1 ? seconds : 1 - (seconds - 1) * 0.375;
}

/* As fail_unless_scaled (), up to the rounding of the interpolation. */
static void
fail_unless_on_curve (const gfloat *out, const gfloat *plain, const GstClockTime *times)
{
  guint t, i;

  for (t = 0; t < N; t++)
    for (i = D / HEADS; i < D; i++) {
      gfloat expected = plain[t * D + i] * curve_at (times[t]);

      fail_unless (ABS (out[t * D + i] - expected) <= 1e-6f, "frame %u: %g, not %g", t, out[t * D + i], expected);
    }
}

/* ---- children ---- */

static void
check_launch (const gchar *line)
{
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstElement *attention;

  fail_unless (pipeline != NULL);
  attention = gst_bin_get_by_name (GST_BIN (pipeline), "a");
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (attention)), 4);
  fail_unless (get_gain (attention, 2) == 0 && get_gain (attention, 1) == 1);
  gst_object_unref (attention);
  gst_object_unref (pipeline);
}

GST_START_TEST (test_gst_launch_sets_gains)
{
  check_launch ("fakesrc ! attention name=a heads=4 head2::gain=0 ! fakesink");
  check_launch ("fakesrc ! attention name=a head2::gain=0 heads=4 ! fakesink");
}
GST_END_TEST;

static void
count (GstChildProxy *proxy, GObject *child, gchar *name, gpointer n)
{
  ++*(guint *) n;
}

GST_START_TEST (test_there_is_a_child_for_each_head)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstChildProxy *proxy = GST_CHILD_PROXY (element);
  guint added = 0, removed = 0;
  GObject *child;

  g_signal_connect (element, "child-added", G_CALLBACK (count), &added);
  g_signal_connect (element, "child-removed", G_CALLBACK (count), &removed);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 1);
  g_object_set (element, "heads", 8, NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 8);
  child = gst_child_proxy_get_child_by_index (proxy, 7);
  fail_unless_equals_string (GST_OBJECT_NAME (child), "head7");
  gst_object_unref (child);
  gst_child_proxy_set (proxy, "head2::gain", 0.5f, NULL);
  g_object_set (element, "heads", 3, NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (proxy), 3);
  fail_unless (gst_child_proxy_get_child_by_index (proxy, 3) == NULL);
  fail_unless (gst_child_proxy_get_child_by_name (proxy, "head3") == NULL);
  fail_unless (get_gain (element, 2) == 0.5f);
  g_object_set (element, "heads", 4, NULL);
  fail_unless (get_gain (element, 3) == 1);
  fail_unless (added == 8 && removed == 5);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- live ---- */

GST_START_TEST (test_gain_scales_the_head)
{
  gfloat *plain = run_plain (0), *out, gains[N];
  GstHarness *h = start (0);
  guint t;

  for (t = 0; t < N; t++)
    gains[t] = -0.3f;
  set_gain (h, 1, -0.3f);
  push (h, 0, N, 16, 0);
  out = finish (h);
  fail_unless_scaled (out, plain, gains);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

GST_START_TEST (test_live_change_holds_from_the_next_frame_that_leaves)
{
  guint look_ahead = __i__ * 5, t;
  gfloat *plain = run_plain (look_ahead), *out, gains[N];
  GstHarness *h = start (look_ahead);

  for (t = 0; t < N; t++)
    gains[t] = t < 90 - look_ahead ? 1 : t < 120 - look_ahead ? 0 : 2;
  push (h, 0, 90, 7, 0);
  set_gain (h, 1, 0);
  push (h, 90, 120, 7, 0);
  set_gain (h, 1, 2);
  push (h, 120, N, 7, 0);
  out = finish (h);
  fail_unless_scaled (out, plain, gains);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

/* Through new caps, a new layer, a restart, and a state that is restored. */
GST_START_TEST (test_gains_stay)
{
  gfloat *plain = run_plain (0), *out, gains[N];
  GstHarness *h = start (0);
  GstCaps *wide = gst_caps_from_string (AUDIO_CAPS);
  GBytes *state;
  gboolean restored;
  guint t;

  for (t = 0; t < N; t++)
    gains[t] = 0.5f;
  g_signal_emit_by_name (h->element, "save-state", &state);
  set_gain (h, 1, 0.5f);
  gst_caps_set_simple (wide, "channels", G_TYPE_INT, 2, NULL);
  if (!subject_is_encoder ()) { /* whose frames have one width */
    gst_harness_set_src_caps (h, gst_caps_ref (wide));
    gst_harness_push (h, gst_buffer_new_memdup (frames, 4 * D));
  }
  gst_caps_unref (wide);
  drop_buffers (h);
  gst_element_set_state (h->element, GST_STATE_NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  gst_harness_push_event (h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_segment (h, 0);
  g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  fail_unless (restored);
  push (h, 0, N, 7, 0);
  out = finish (h);
  fail_unless_scaled (out, plain, gains);
  g_bytes_unref (state);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

/* The stream of new caps, and the restored one, begin with the present gains. */
GST_START_TEST (test_gains_are_those_of_the_next_stream_too)
{
  gfloat *plain = run_plain (0), *out, gains[N];
  GstHarness *h = start (0);
  GBytes *state;
  gboolean restored = TRUE;
  guint t;

  for (t = 0; t < N; t++)
    gains[t] = 0.5f;
  g_signal_emit_by_name (h->element, "save-state", &state);
  set_gain (h, 1, 0.5f);
  push (h, 0, 10, 1, 0);
  if (__i__ == 0) {
    gst_harness_set_src_caps_str (
        h, "audio/x-raw, format=" GST_AUDIO_NE (F32) ", layout=interleaved, rate=100, channels=2");
    gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  } else {
    g_signal_emit_by_name (h->element, "restore-state", state, &restored);
  }
  fail_unless (restored);
  drop_buffers (h);
  push (h, 0, N, 7, 0);
  out = finish (h);
  fail_unless_scaled (out, plain, gains);
  g_bytes_unref (state);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

/* ---- under control ---- */

GST_START_TEST (test_curve_gives_the_same_bits_for_any_buffer_size)
{
  static const guint look_aheads[] = { 0, 5, 100 }, sizes[] = { 1, 7, 64 };
  guint look_ahead = look_aheads[__i__], i, t;
  gfloat *plain = run_plain (look_ahead), *first = NULL;
  GstClockTime times[N];

  for (t = 0; t < N; t++)
    times[t] = t * FRAME_TIME;
  for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
    GstHarness *h = start (look_ahead);
    gfloat *out;

    bind_curve (h);
    push (h, 0, N, sizes[i], 0);
    out = finish (h);
    fail_unless_on_curve (out, plain, times);
    if (first == NULL)
      first = g_memdup2 (out, N * D * sizeof (gfloat));
    fail_unless (memcmp (out, first, N * D * sizeof (gfloat)) == 0, "%u frames per buffer", sizes[i]);
    g_free (out);
  }
  g_free (first);
  g_free (plain);
}
GST_END_TEST;

static void
bind_second_head (GstChildProxy *element, GObject *head, const gchar *name, gpointer data)
{
  if (strcmp (name, "head1") == 0)
    bind_head (head);
}

/* An application that hears of a new head by the signal need not ask for it. */
GST_START_TEST (test_head_can_be_bound_when_it_is_added)
{
  gfloat *plain = run_plain (0), *out;
  GstHarness *h = start (0);
  GstClockTime times[N];
  guint t;

  for (t = 0; t < N; t++)
    times[t] = t * FRAME_TIME;
  gst_element_set_state (h->element, GST_STATE_NULL);
  g_object_set (h->element, "heads", 1, NULL);
  g_signal_connect (h->element, "child-added", G_CALLBACK (bind_second_head), NULL);
  g_object_set (h->element, "heads", HEADS, NULL);
  gst_element_set_state (h->element, GST_STATE_PLAYING);
  push (h, 0, N, 7, 0);
  out = finish (h);
  fail_unless_on_curve (out, plain, times);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

/* Timestamps begin at 5 s, which the segment maps to 0.5 s of the stream. */
GST_START_TEST (test_curve_follows_stream_time)
{
  gfloat *plain = run_plain (3), *out;
  GstHarness *h = start (3);
  GstClockTime times[N];
  GstSegment segment;
  guint t;

  for (t = 0; t < N; t++)
    times[t] = GST_SECOND / 2 + t * FRAME_TIME;
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = 5 * GST_SECOND;
  segment.time = GST_SECOND / 2;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  bind_curve (h);
  push (h, 0, N, 16, 5 * GST_SECOND);
  out = finish (h);
  fail_unless_on_curve (out, plain, times);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

GST_START_TEST (test_unknown_rate_gives_all_frames_the_time_of_their_buffer)
{
  gfloat *plain = run_plain (0), *out;
  GstHarness *h = start (0);
  GstClockTime times[N];
  guint t;

  for (t = 0; t < N; t++)
    times[t] = t / 10 * 10 * FRAME_TIME;
  gst_harness_set_src_caps_str (h, TENSOR_CAPS ", dimensions=(string)6:10");
  bind_curve (h);
  push (h, 0, N, 10, 0);
  out = finish (h);
  fail_unless_on_curve (out, plain, times);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

GST_START_TEST (test_gain_stays_where_there_is_no_time)
{
  gfloat *plain = run_plain (0), *out, gains[N];
  GstHarness *h = start (0);
  guint t;

  for (t = 0; t < N; t++)
    gains[t] = 0.7f;
  bind_curve (h);
  set_gain (h, 1, 0.7f);
  push (h, 0, N, 16, GST_CLOCK_TIME_NONE);
  out = finish (h);
  fail_unless_scaled (out, plain, gains);
  g_free (plain);
  g_free (out);
}
GST_END_TEST;

static void
save_state (GObject *head, GParamSpec *pspec, gpointer element)
{
  GBytes *state;

  g_signal_emit_by_name (element, "save-state", &state);
  fail_unless (state != NULL);
  g_bytes_unref (state);
}

/* No lock is held while other code is called. */
GST_START_TEST (test_notification_of_a_gain_may_save_the_state)
{
  GstHarness *h = start (5);
  GstChildProxy *heads = subject_heads (h->element);
  GObject *head = gst_child_proxy_get_child_by_name (heads, "head1");

  bind_curve (h);
  g_signal_connect (head, "notify::gain", G_CALLBACK (save_state), h->element);
  push (h, 0, N, 16, 0);
  gst_object_unref (head);
  gst_object_unref (heads);
  g_free (finish (h));
}
GST_END_TEST;

static Suite *
attention_gains_suite (void)
{
  Suite *suite = suite_create ("attention-gains");
  TCase *heads = tcase_create ("heads");

  suite_add_tcase (suite, heads);
  tcase_add_checked_fixture (heads, setup, NULL);
  tcase_add_test (heads, test_gain_scales_the_head);
  tcase_add_loop_test (heads, test_live_change_holds_from_the_next_frame_that_leaves, 0, 2);
  tcase_add_test (heads, test_gains_stay);
  tcase_add_loop_test (heads, test_gains_are_those_of_the_next_stream_too, subject_is_encoder () ? 1 : 0, 2);
  tcase_add_loop_test (heads, test_curve_gives_the_same_bits_for_any_buffer_size, 0, 3);
  tcase_add_test (heads, test_curve_follows_stream_time);
  tcase_add_test (heads, test_unknown_rate_gives_all_frames_the_time_of_their_buffer);
  tcase_add_test (heads, test_gain_stays_where_there_is_no_time);
  tcase_add_test (heads, test_notification_of_a_gain_may_save_the_state);
  if (!subject_is_encoder ()) { /* whose children are those of its file */
    tcase_add_test (heads, test_gst_launch_sets_gains);
    tcase_add_test (heads, test_there_is_a_child_for_each_head);
    tcase_add_test (heads, test_head_can_be_bound_when_it_is_added);
  }
  return suite;
}

GST_CHECK_MAIN (attention_gains);
