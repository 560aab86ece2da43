/*
 * Code for the fuzz targets of the elements: the plugin linked in, an element between two pads of ours, and nobody to
 * read its log.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_FUZZ_ELEMENTS_H
#define TESTS_FUZZ_ELEMENTS_H

#include <stdint.h>
#include <stdlib.h>

#include <gst/audio/audio.h>
#include <gst/gst.h>

GST_PLUGIN_STATIC_DECLARE (attention);
GST_PLUGIN_STATIC_DECLARE (attentionscope);

/* ---- the elements: a new one is a row at the end, so that existing inputs keep their meaning ---- */

#define MAX_CAPS 5

#define RAW(format, rate, channels)                                                                         \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (format) ", layout=(string)interleaved, rate=(int)" rate ", " \
                                                       "channels=(int)" channels
#define TENSORS(dimensions, rate)                                                     \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, " \
  "dimensions=(string)" dimensions ", framerate=(fraction)" rate

typedef struct {
  const gchar *factory;
  const gchar *caps[MAX_CAPS];       /* caps that it takes, beginning with the first; none: bytes */
  const gchar *weights, *gain;       /* a request pad, and a property of a child; or NULL */
  const gchar *file_property, *file; /* that it cannot start without; or NULL */
} FuzzedElement;

#define FEATURE_CAPS                                                                                          \
  {                                                                                                           \
    RAW ("F32", "100", "4"), RAW ("F32", "50", "2"), TENSORS ("4:3:1:1", "0/1"), TENSORS ("6:1:1:1", "25/2"), \
        RAW ("F32", "2147483647", "1")                                                                        \
  }

static const FuzzedElement fuzzed_elements[] = {
  { "attention", FEATURE_CAPS, .weights = "weights", .gain = "head0::gain" },
  { "logmel", { RAW ("F32", "8000", "1"), RAW ("S16", "16000", "1") } },
  { "npyenc", FEATURE_CAPS },
  { "npyparse", { NULL } },
  { "attentionscope",
    { RAW ("F32", "100", "12") ", heads=(int)2, sinks=(int)1, window=(int)4, look-ahead=(int)1",
      TENSORS ("3:5:1:1", "25/2") ", heads=(int)1, sinks=(int)0, window=(int)3, look-ahead=(int)0" } },
  { "spectralgain", { RAW ("F32", "8000", "1"), RAW ("S16", "16000", "2"), RAW ("F32", "11025", "1") } },
  { "attentionencoder",
    { RAW ("F32", "100", "10"), RAW ("F32", "25", "10"), TENSORS ("10:3:1:1", "25/2"), TENSORS ("10:1:1:1", "0/1") },
    .weights = "weights_1",
    .gain = "layer1::head0::gain",
    .file_property = "model-file",
    .file = ENCODER_FILE },
  { "ctctext", FEATURE_CAPS, .file_property = "tokens", .file = TOKENS_FILE }, /* of 4 values */
};

/* The caps of its pad `gains`: with and without a probability of speech, and with other bands. */
static const gchar *const gains_caps[] = {
  TENSORS ("4:1:1:1", "100/1") ", bins=(int)4",
  RAW ("F32", "50", "3") ", bins=(int)2, sample-rate=(int)16000, frame-length=(double)10",
  TENSORS ("6:2:1:1", "0/1") ", bins=(int)6, style=(string)whisper",
};

/* ---- code of all targets ---- */

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_LEAK_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_LEAK_SANITIZER 1
#endif
#endif

/* Memory allocated between these two calls may leak. */
#ifdef HAVE_LEAK_SANITIZER
#include <sanitizer/lsan_interface.h>
#define forgive_leaks __lsan_disable
#define forgive_no_leaks __lsan_enable
#else
#define forgive_leaks()
#define forgive_no_leaks()
#endif

/* A broken promise has to stop the fuzzer, with NDEBUG too. */
static inline void
must (gboolean condition)
{
  if (!condition)
    abort ();
}

static inline void
say_nothing (const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
}

/* No plugins are loaded but ours. */
static inline void
init_elements (void)
{
  static gboolean done;

  if (done)
    return;
  g_setenv ("GST_REGISTRY_UPDATE", "no", TRUE);
  g_setenv ("GST_REGISTRY_1_0", "/dev/null", TRUE);
  g_setenv ("GST_PLUGIN_SYSTEM_PATH_1_0", "", TRUE);
  g_setenv ("GST_PLUGIN_PATH_1_0", "", TRUE);
  gst_init (NULL, NULL);
  GST_PLUGIN_STATIC_REGISTER (attention);
  GST_PLUGIN_STATIC_REGISTER (attentionscope);
  g_log_set_default_handler (say_nothing, NULL);
  done = TRUE;
}

typedef struct {
  GstElement *element;
  GstPad *src, *sink; /* ours: into the element, and out of it */
  GstPad *gains;      /* into the pad `gains`, where there is one, else NULL */
  guint n_in, n_out;  /* buffers that it took, and that left, since the last flush */
} Fuzzed;

static inline GstFlowReturn
take_output (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  Fuzzed *fuzzed = gst_pad_get_element_private (pad);

  must (gst_buffer_n_memory (buffer) <= 1);
  fuzzed->n_out++;
  gst_buffer_unref (buffer);
  return GST_FLOW_OK;
}

static inline gboolean
take_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  gst_event_unref (event);
  return TRUE;
}

/*
 * The caps that a pad of ours takes from `pad`: anything but large pictures, which would take too long. Transfer full.
 */
static inline GstCaps *
caps_to_take (GstPad *pad)
{
  GstCaps *video = gst_caps_from_string ("video/x-raw, width=(int)[1, 96], height=(int)[1, 96]");
  GstCaps *given = gst_pad_get_pad_template_caps (pad);

  if (gst_caps_is_any (given) || !gst_caps_can_intersect (given, video))
    gst_caps_replace (&video, given);
  gst_caps_unref (given);
  return video;
}

/* A pad of ours that receives the buffers of `pad`. */
static inline GstPad *
take_from (GstPad *pad, gpointer counter)
{
  GstCaps *caps = caps_to_take (pad);
  GstPadTemplate *template = gst_pad_template_new ("taken", GST_PAD_SINK, GST_PAD_ALWAYS, caps);
  GstPad *sink = gst_pad_new_from_template (gst_object_ref_sink (template), NULL);

  gst_object_unref (template);
  gst_caps_unref (caps);

  gst_pad_set_element_private (sink, counter);
  gst_pad_set_chain_function (sink, take_output);
  gst_pad_set_event_function (sink, take_event);
  gst_pad_set_active (sink, TRUE);
  must (gst_pad_link (pad, sink) == GST_PAD_LINK_OK);
  return sink;
}

/* No thread waits: one thread brings everything. */
static inline void
start_gains (Fuzzed *fuzzed)
{
  GstPad *pad = gst_element_get_static_pad (fuzzed->element, "gains");

  fuzzed->gains = NULL;
  if (pad == NULL)
    return;
  g_object_set (fuzzed->element, "max-wait", G_MAXUINT64, NULL);
  fuzzed->gains = gst_pad_new (NULL, GST_PAD_SRC);
  must (gst_pad_link (fuzzed->gains, pad) == GST_PAD_LINK_OK);
  gst_object_unref (pad);
}

static inline void
begin_gains (Fuzzed *fuzzed, GstCaps *caps)
{
  GstSegment segment;

  if (fuzzed->gains == NULL)
    return;
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_set_active (fuzzed->gains, TRUE);
  gst_pad_push_event (fuzzed->gains, gst_event_new_stream_start ("gains"));
  gst_pad_push_event (fuzzed->gains, gst_event_new_caps (caps));
  gst_pad_push_event (fuzzed->gains, gst_event_new_segment (&segment));
}

static inline void
start_element (Fuzzed *fuzzed, const FuzzedElement *kind)
{
  GstPad *pad;

  fuzzed->element = gst_object_ref_sink (gst_element_factory_make (kind->factory, NULL));
  if (kind->file != NULL)
    g_object_set (fuzzed->element, kind->file_property, kind->file, NULL);
  fuzzed->n_in = fuzzed->n_out = 0;
  fuzzed->src = gst_pad_new (NULL, GST_PAD_SRC);
  pad = gst_element_get_static_pad (fuzzed->element, "sink");
  must (gst_pad_link (fuzzed->src, pad) == GST_PAD_LINK_OK);
  gst_object_unref (pad);
  pad = gst_element_get_static_pad (fuzzed->element, "src");
  fuzzed->sink = take_from (pad, fuzzed);
  gst_object_unref (pad);
  start_gains (fuzzed);
  gst_pad_set_active (fuzzed->src, TRUE);
  gst_element_set_state (fuzzed->element, GST_STATE_PLAYING);
  gst_pad_push_event (fuzzed->src, gst_event_new_stream_start ("fuzz"));
}

static inline void
stop_element (Fuzzed *fuzzed)
{
  gst_pad_set_active (fuzzed->src, FALSE);
  if (fuzzed->gains != NULL)
    gst_pad_set_active (fuzzed->gains, FALSE);
  gst_element_set_state (fuzzed->element, GST_STATE_NULL);
  gst_pad_set_active (fuzzed->sink, FALSE);
  must (GST_OBJECT_REFCOUNT_VALUE (fuzzed->element) == 1);
  gst_object_unref (fuzzed->element);
  gst_clear_object (&fuzzed->gains);
  gst_object_unref (fuzzed->src);
  gst_object_unref (fuzzed->sink);
}

#endif
