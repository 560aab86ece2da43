/*
 * The element under test in suites about frames, not about heads: `attention`, or with
 * ATTN_TEST_ELEMENT=attentionencoder an encoder whose only block is that layer. Its projections are the identity, so
 * that it gives the same bits.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_SUBJECTCHECK_H
#define TESTS_ELEMENT_SUBJECTCHECK_H

#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

#include "attn.h"
#include "modelcheck.h"

static inline const gchar *
subject_factory (void)
{
  const gchar *name = g_getenv ("ATTN_TEST_ELEMENT");

  return name != NULL ? name : "attention";
}

static inline gboolean
subject_is_encoder (void)
{
  return g_str_equal (subject_factory (), "attentionencoder");
}

/* All fields are set, as in the layer: attn.h. */
static inline AttnConfig
subject_resolve (const AttnConfig *config)
{
  AttnConfig resolved = *config;

  resolved.n_heads = config->n_heads == ATTN_UNSET ? 1 : config->n_heads;
  resolved.window = config->window == ATTN_UNSET ? 64 : config->window;
  resolved.look_ahead = config->look_ahead == ATTN_UNSET ? 0 : config->look_ahead;
  resolved.chunk = config->chunk == ATTN_UNSET ? 0 : config->chunk;
  resolved.n_sinks = config->n_sinks == ATTN_UNSET ? 0 : config->n_sinks;
  resolved.position = config->position == ATTN_POSITION_UNSET ? ATTN_POSITION_NONE : config->position;
  return resolved;
}

/* The keys of the window, or of the chunks. Transfer full. */
static inline gchar *
subject_keys (const AttnConfig *config)
{
  if (config->chunk != 0)
    return g_strdup_printf ("\\'chunk\\':%u,\\'chunks\\':%u", config->chunk, config->chunks);
  return g_strdup_printf ("\\'window\\':%u,\\'look-ahead\\':%u", config->window, config->look_ahead);
}

/* The header of a file with identities [3 D, D] and [D, D]. Transfer full. */
static inline gchar *
subject_header (const AttnConfig *config)
{
  guint n = config->n_features;
  gchar *keys = subject_keys (config), *header;

  header = g_strdup_printf (
      "{'__metadata__':{'encoder':'{\\'version\\':1,\\'features\\':%u,\\'blocks\\':[{\\'attention\\':\\'a\\',"
      "\\'heads\\':%u,%s,\\'sinks\\':%u,\\'position\\':\\'%s\\'}]}'},"
      "'a.in_proj_weight':{'dtype':'F32','shape':[%u,%u],'data_offsets':[0,%u]},"
      "'a.out_proj.weight':{'dtype':'F32','shape':[%u,%u],'data_offsets':[%u,%u]}}",
      n, config->n_heads, keys, config->n_sinks, config->position == ATTN_POSITION_ALIBI ? "alibi" : "none", 3 * n, n,
      12 * n * n, n, n, 12 * n * n, 16 * n * n);
  g_free (keys);
  return header;
}

/* The name determines the contents, so tests that run at the same time may share the file. Transfer full. */
static inline gchar *
subject_file (const AttnConfig *given)
{
  AttnConfig resolved = subject_resolve (given), *config = &resolved;
  guint n = config->n_features, i;
  gfloat *identities = g_new0 (gfloat, 4 * n * n);
  gboolean has_chunks = config->chunk != 0;
  gchar *path = g_strdup_printf (MODEL_DIR "/encoder-%u-%u-%s%u-%u-%u-%d.safetensors", n, config->n_heads,
                                 has_chunks ? "chunk-" : "", has_chunks ? config->chunk : config->window,
                                 has_chunks ? config->chunks : config->look_ahead, config->n_sinks, config->position);

  fail_unless_equals_int (g_mkdir_with_parents (MODEL_DIR, 0755), 0);
  for (i = 0; i < 4 * n; i++)
    identities[i * n + i % n] = 1;
  if (!g_file_test (path, G_FILE_TEST_EXISTS))
    write_safetensors (path, subject_header (config), identities, 16 * n * n);
  g_free (identities);
  return path;
}

static inline GstElement *
subject_new (const AttnConfig *given)
{
  AttnConfig resolved = subject_resolve (given), *config = &resolved;
  GstElement *element = gst_element_factory_make (subject_factory (), NULL);
  gchar *file;

  if (!subject_is_encoder ()) {
    g_object_set (element, "heads", config->n_heads, "sinks", config->n_sinks, "position", config->position, NULL);
    if (config->chunk != 0)
      g_object_set (element, "chunk", config->chunk, "chunks", config->chunks, NULL);
    else
      g_object_set (element, "window", config->window, "look-ahead", config->look_ahead, NULL);
    return element;
  }
  file = subject_file (config);
  g_object_set (element, "model-file", file, NULL);
  g_free (file);
  return element;
}

static inline GstHarness *
subject_harness (const AttnConfig *config)
{
  GstElement *element = subject_new (config);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");

  gst_object_unref (element);
  return h;
}

/* The same for a launch line. Transfer full. */
static inline gchar *
subject_line (const AttnConfig *given)
{
  AttnConfig resolved = subject_resolve (given), *config = &resolved;
  gchar *file, *line;

  if (!subject_is_encoder ())
    return g_strdup_printf ("attention heads=%u window=%u look-ahead=%u", config->n_heads, config->window,
                            config->look_ahead);
  file = subject_file (config);
  line = g_strdup_printf ("attentionencoder model-file=\"%s\"", file);
  g_free (file);
  return line;
}

/* The pad of its weights. */
static inline const gchar *
subject_weights (void)
{
  return subject_is_encoder () ? "weights_0" : "weights";
}

/* The child whose children are its heads: itself, or the layer. Transfer full. */
static inline GstChildProxy *
subject_heads (gpointer element)
{
  if (!subject_is_encoder ())
    return gst_object_ref (element);
  return GST_CHILD_PROXY (gst_child_proxy_get_child_by_name (element, "layer0"));
}

/* The property of a head, as GstChildProxy knows it. Transfer full. */
static inline gchar *
subject_gain (guint head)
{
  return g_strdup_printf ("%shead%u::gain", subject_is_encoder () ? "layer0::" : "", head);
}

/* One of its statistics; it is the element of the harness, or inside of it. */
static inline guint64
get_stat (GstHarness *h, const gchar *name)
{
  GstElement *element = gst_harness_find_element (h, subject_factory ());
  GstStructure *stats;
  guint64 value;

  g_object_get (element, "stats", &stats, NULL);
  fail_unless (gst_structure_get (stats, name, G_TYPE_UINT64, &value, NULL));
  gst_structure_free (stats);
  gst_object_unref (element);
  return value;
}

#endif
