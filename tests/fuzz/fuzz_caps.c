/*
 * Any text as the caps of a feature stream, and as those of each element: read, or refused with a sentence, and never a
 * crash; then a buffer.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "elements.h"
#include "gstfeatures.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
read_features (GstCaps *caps)
{
  GstFeatures features;
  GError *error = NULL;
  GstCaps *made;

  if (!gst_features_from_caps (&features, caps, &error)) {
    must (error != NULL && error->message[0] != '\0');
    g_error_free (error);
    return;
  }
  must (error == NULL && features.n_features >= 1 && features.n_features <= GST_FEATURES_MAX_FEATURES);
  must (features.rate_n >= 0 && features.rate_d >= 1);
  made = gst_features_replace_n_features (caps, 7);
  must (gst_features_from_caps (&features, made, NULL) && features.n_features == 7);
  gst_caps_unref (made);
}

static void
try_element (const FuzzedElement *kind, GstCaps *caps)
{
  Fuzzed fuzzed;
  GstSegment segment;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 4 * 64, NULL);
  GstQuery *query = gst_query_new_accept_caps (caps);

  gst_buffer_memset (buffer, 0, 0, -1);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  start_element (&fuzzed, kind);
  gst_pad_peer_query (fuzzed.src, query);
  gst_query_unref (query);
  gst_caps_unref (gst_pad_peer_query_caps (fuzzed.src, caps));
  gst_caps_unref (gst_pad_peer_query_caps (fuzzed.sink, caps));
  if (gst_caps_is_fixed (caps)) {
    gst_pad_push_event (fuzzed.src, gst_event_new_caps (caps));
    gst_pad_push_event (fuzzed.src, gst_event_new_segment (&segment));
    gst_pad_push (fuzzed.src, gst_buffer_ref (buffer));
    begin_gains (&fuzzed, caps);
    if (fuzzed.gains != NULL)
      gst_pad_push (fuzzed.gains, gst_buffer_ref (buffer));
    gst_pad_push_event (fuzzed.src, gst_event_new_eos ());
  }
  gst_buffer_unref (buffer);
  stop_element (&fuzzed);
}

/* NULL: the text does not describe caps. Memory that GStreamer's own parser loses is not counted as a leak. */
static GstCaps *
parse (const gchar *text)
{
  GstCaps *caps = NULL, *ours = NULL;

  forgive_leaks ();
  if (g_utf8_validate (text, -1, NULL))
    caps = gst_caps_from_string (text);
  forgive_no_leaks ();
  if (caps != NULL)
    ours = gst_caps_copy (caps);
  gst_clear_caps (&caps);
  return ours;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  gchar *text = g_strndup ((const gchar *) data, size);
  GstCaps *caps;
  guint i;

  init_elements ();
  caps = parse (text);
  g_free (text);
  if (caps == NULL)
    return -1; /* not the text of caps: not for the corpus */
  if (!gst_caps_is_any (caps) && !gst_caps_is_empty (caps)) {
    read_features (caps);
    for (i = 0; i < G_N_ELEMENTS (fuzzed_elements); i++)
      try_element (&fuzzed_elements[i], caps);
  }
  gst_caps_unref (caps);
  return 0;
}
