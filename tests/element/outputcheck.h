/*
 * Code for the tests of attention's output: frames, the core's outputs for them, and a harness to push and pull them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_OUTPUTCHECK_H
#define TESTS_ELEMENT_OUTPUTCHECK_H

#include "attentioncheck.h"

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

/* The outputs that the element must give: attention over frames [n][D], `present` NULL = all. */
static inline gfloat *
expect_with_model (const AttnConfig *config, const AttnModel *model, const gfloat *frames, const guint8 *present,
                   guint n)
{
  gfloat *out = g_new0 (gfloat, n * config->n_features);

  attend (config, model, frames, present, n, out, NULL);
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
  GstHarness *h = subject_harness (config);

  if (caps != NULL)
    gst_harness_set_src_caps_str (h, caps);
  return h;
}

static inline void
push_frames (GstHarness *h, const gfloat *frames, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, frames_buffer (frames, D, begin, n)), GST_FLOW_OK);
}

/* All that is there; returns frames [*n][D]. */
static inline gfloat *
pull_frames (GstHarness *h, guint *n)
{
  gsize n_values;
  gfloat *frames = pull_all (h, &n_values);

  *n = n_values / D;
  return frames;
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
  check_values (h, expected, n * D);
}

/* All that came out are the frames of two streams, `before` [n][D] and `after` [n][D]. */
static inline void
check_two_streams (GstHarness *h, const gfloat *before, const gfloat *after, guint n)
{
  guint n_got;
  gfloat *got = pull_frames (h, &n_got);

  fail_unless_equals_int (n_got, 2 * n);
  fail_unless_same_frames (got, before, n);
  fail_unless_same_frames (got + n * D, after, n);
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
