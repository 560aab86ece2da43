/*
 * The element `attentionencoder` over frames that are absent: by GAP events, by buffers with the GAP flag, by jumps of
 * timestamps. Convolutions reach over them.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encodercheck.h"

static const gchar *names[] = {
  "transformer-2-post-gelu-final-ahead",
  "transformer-6-pre-gelu-ahead",
  "llama-sinks-absent",
  "moonshine",
  "conformer",
  "conv-strides",
  "conv-absent",
  "conv-stride-beyond-kernel",
  "conv-ahead",
  "conv-same",
  "conv-causal",
  "conv-groups",
  "stack",
};

/* The first frame may be in a hole, too. */
static void
make_holes (Encoder *e, GRand *rand, Absence absence)
{
  encoder_make_holes (e, rand, absence);
  if (absence != JUMPS && g_rand_boolean (rand))
    e->present[0] = 0;
  encoder_expect (e);
}

GST_START_TEST (test_every_output_leaves_in_order_at_its_time_over_holes)
{
  Encoder *e = encoder_open (names[__i__]);
  GRand *rand = g_rand_new_with_seed (__i__);
  guint round;

  for (round = 0; round < 60; round++) {
    Absence absence = round % N_ABSENCES;
    GstHarness *h = encoder_harness (e);
    Seen seen;

    make_holes (e, rand, absence);
    watch (h, &seen, e);
    play (h, e, round / N_ABSENCES % 2, round % 4, absence, rand);
    check_all_seen (&seen, absence != JUMPS);
    gst_harness_teardown (h);
  }
  g_rand_free (rand);
  encoder_free (e);
}
GST_END_TEST;

/* The past of a restored stream is present, too: the hole begins with the first frame behind the state. */
GST_START_TEST (test_a_hole_behind_a_restored_state_is_reached_over)
{
  static const gchar *const encoders[] = { "conv-same", "conv-causal", "conv-strides", "conv-absent" };
  Encoder *e = encoder_open (encoders[__i__]);
  GstHarness *before = encoder_harness (e), *after = encoder_harness (e);
  guint cut = 12, i, n_there = 0;
  gboolean restored;
  GBytes *state;
  Seen seen;

  memset (e->present, 1, e->n);
  memset (e->present + cut, 0, 6);
  encoder_expect (e);
  gst_harness_set_src_caps (before, encoder_caps (e, FALSE, 0));
  gst_harness_push (before, encoder_buffer (e, 0, cut));
  g_signal_emit_by_name (before->element, "save-state", &state);
  watch (after, &seen, e);
  gst_harness_set_src_caps (after, encoder_caps (e, FALSE, 0));
  g_signal_emit_by_name (after->element, "restore-state", state, &restored);
  fail_unless (restored);
  gst_harness_push_event (after, gst_event_new_gap (cut * FRAME_TIME, 6 * FRAME_TIME));
  gst_harness_push (after, encoder_buffer (e, cut + 6, e->n - cut - 6));
  gst_harness_push_event (after, gst_event_new_eos ());
  for (i = (cut + e->stride - 1) / e->stride; i < e->n_out; i++)
    n_there += e->is_there[i];
  fail_unless_equals_int (seen.n_there, n_there);
  g_bytes_unref (state);
  gst_harness_teardown (before);
  gst_harness_teardown (after);
  encoder_free (e);
}
GST_END_TEST;

static Suite *
attentionencoder_gaps_suite (void)
{
  Suite *suite = suite_create ("attentionencoder-gaps");
  TCase *holes = tcase_create ("holes");

  suite_add_tcase (suite, holes);
  tcase_add_loop_test (holes, test_every_output_leaves_in_order_at_its_time_over_holes, 0, G_N_ELEMENTS (names));
  tcase_add_loop_test (holes, test_a_hole_behind_a_restored_state_is_reached_over, 0, 4);
  return suite;
}

GST_CHECK_MAIN (attentionencoder_gaps);
