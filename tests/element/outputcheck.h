/*
 * What the tests of attention's output share: frames, what the core makes of them, and a harness to push and pull them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_OUTPUTCHECK_H
#define TESTS_ELEMENT_OUTPUTCHECK_H

#include "attentioncheck.h"

#include "attn.h"

#define D 6

#define TENSOR_CAPS \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, framerate=(fraction)100/1, "

static inline gfloat *
make_frames (guint n, guint n_features)
{
  gfloat *frames = g_new (gfloat, n * n_features);

  fill_random (frames, n * n_features, n_features);
  return frames;
}

/* What the element must give: attention over frames [n][D], `present` NULL = all. */
static inline gfloat *
expect_with_model (const AttnConfig *config, const AttnModel *model, const gfloat *frames, const guint8 *present,
                   guint n)
{
  gfloat *out = g_new0 (gfloat, n * config->n_features);
  AttnLayer *layer;

  g_assert (attn_layer_new (config, model, &layer, NULL) == ATTN_OK);
  g_assert (attn_forward (layer, frames, present, n, 0, out, NULL, NULL) == ATTN_OK);
  attn_layer_free (layer);
  return out;
}

static inline gfloat *
expect (const AttnConfig *config, const gfloat *frames, const guint8 *present, guint n)
{
  return expect_with_model (config, NULL, frames, present, n);
}

static inline AttnConfig
configuration (guint heads, guint window, guint look_ahead)
{
  AttnConfig config = attn_config_default ();

  config.n_features = D;
  config.n_heads = heads;
  config.window = window;
  config.look_ahead = look_ahead;
  return config;
}

static inline GstHarness *
harness_new (const AttnConfig *config, const gchar *caps)
{
  GstHarness *h = gst_harness_new ("attention");

  g_object_set (h->element, "heads", config->n_heads, "window", config->window, "look-ahead", config->look_ahead, NULL);
  if (caps != NULL)
    gst_harness_set_src_caps_str (h, caps);
  return h;
}

/* Frames begin ... begin + n - 1, timed by their number. */
static inline GstBuffer *
make_buffer (const gfloat *frames, guint begin, guint n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * D * sizeof (gfloat), NULL);

  gst_buffer_fill (buffer, 0, frames + begin * D, n * D * sizeof (gfloat));
  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_OFFSET (buffer) = begin;
  GST_BUFFER_OFFSET_END (buffer) = begin + n;
  return buffer;
}

static inline void
push_frames (GstHarness *h, const gfloat *frames, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (frames, begin, n)), GST_FLOW_OK);
}

/* Pulls all that is there; returns frames [*n][D]. */
static inline gfloat *
pull_all (GstHarness *h, guint *n)
{
  GByteArray *bytes = g_byte_array_new ();
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h))) {
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  *n = bytes->len / (D * sizeof (gfloat));
  return (gfloat *) g_byte_array_free (bytes, FALSE);
}

static inline void
fail_unless_same_frames (const gfloat *got, const gfloat *expected, guint n)
{
  fail_unless (memcmp (got, expected, n * D * sizeof (gfloat)) == 0, "the frames differ");
}

/* All that came out equals `expected` [n][D]. */
static inline void
check_output (GstHarness *h, const gfloat *expected, guint n)
{
  guint n_got;
  gfloat *got = pull_all (h, &n_got);

  fail_unless_equals_int (n_got, n);
  fail_unless_same_frames (got, expected, n);
  g_free (got);
}

static inline GstHarness *
harness_with_model (const gchar *name, guint heads, guint window)
{
  GstHarness *h = gst_harness_new ("attention");
  gchar *file = g_strdup_printf ("%s/%s.safetensors", GOLDEN_DIR, name);

  /* The harness has started the element already; models are read at start. */
  gst_element_set_state (h->element, GST_STATE_READY);
  g_object_set (h->element, "heads", heads, "window", window, "model-file", file, "model-prefix", "attn.", NULL);
  g_free (file);
  return h;
}

#endif
