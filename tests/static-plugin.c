/*
 * The plugins linked into an application, as GStreamer on phones and in players of one file is: registered by hand,
 * every element is there and `attention` works.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/audio/audio.h>
#include <gst/check/gstharness.h>

#include "check.h"

GST_PLUGIN_STATIC_DECLARE (attention);
GST_PLUGIN_STATIC_DECLARE (attentionscope);

TEST (every_element_is_registered)
{
  const char *const names[] = { "attention", "attentionscope", "logmel", "npyenc", "npyparse" };
  size_t i;

  for (i = 0; i < sizeof names / sizeof *names; i++) {
    GstElementFactory *factory = gst_element_factory_find (names[i]);

    CHECK_MSG (factory != NULL, "no %s", names[i]);
    g_clear_object (&factory);
  }
}

TEST (a_frame_attends_to_itself)
{
  GstHarness *h = gst_harness_new ("attention");
  const float frame[4] = { 1, 2, 3, 4 };
  GstBuffer *out;

  gst_harness_set_src_caps_str (
      h, "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=100, channels=4");
  CHECK (gst_harness_push (h, gst_buffer_new_memdup (frame, sizeof frame)) == GST_FLOW_OK);
  out = gst_harness_try_pull (h);
  CHECK (out != NULL && gst_buffer_memcmp (out, 0, frame, sizeof frame) == 0);
  gst_clear_buffer (&out);
  gst_harness_teardown (h);
}

int
main (int argc, char **argv)
{
  gst_init (&argc, &argv);
  check_only = argc > 1 ? argv[1] : NULL;
  GST_PLUGIN_STATIC_REGISTER (attention);
  GST_PLUGIN_STATIC_REGISTER (attentionscope);
  RUN (every_element_is_registered);
  RUN (a_frame_attends_to_itself);
  return check_done ();
}
