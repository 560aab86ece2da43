/*
 * Code for the tests of ctctext: the element with its tokens, paths that go in, texts and gaps that come out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_CTCTEXTCHECK_H
#define TESTS_ELEMENT_CTCTEXTCHECK_H

#include <gst/audio/audio.h>

#include "ctccheck.h"
#include "harnesscheck.h"

#define RATE 25
#define FRAME (GST_SECOND / RATE)
#define FRAME_SIZE (N_TOKENS * sizeof (gfloat))
#define CAPS \
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)25, channels=(int)8"

static gchar *tokens_path;

static inline void
setup (void)
{
  make_folder ();
  tokens_path = write_tokens ();
}

static inline void
teardown (void)
{
  g_free (tokens_path);
  remove_folder ();
}

/* ---- in ---- */

/* `line`: properties; without caps. */
static inline GstHarness *
new_harness (const gchar *line)
{
  GstElement *element = gst_element_factory_make ("ctctext", NULL);
  GstHarness *h;

  g_object_set (element, "tokens", tokens_path, NULL);
  set_properties (element, line);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  return h;
}

static inline GstHarness *
new_ctctext (const gchar *line)
{
  GstHarness *h = new_harness (line);

  gst_harness_set_src_caps_str (h, CAPS);
  return h;
}

/*
 * Log-probabilities of frames begin ... begin + n - 1 of a path: the token has 0.9, the others share the rest. An
 * absent frame holds the first token, which must not show.
 */
static inline GstBuffer *
path_buffer (const gchar *path, guint begin, guint n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * FRAME_SIZE, NULL);
  GstMapInfo map;
  guint t, i;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (t = 0; t < n; t++)
    for (i = 0; i < N_TOKENS; i++)
      ((gfloat *) map.data)[t * N_TOKENS + i] = ABS (token_of (path[begin + t])) == (gint) i ? -0.105f : -4.25f;
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = begin * FRAME;
  GST_BUFFER_DURATION (buffer) = n * FRAME;
  return buffer;
}

typedef enum { GAP_EVENTS, GAP_BUFFERS, JUMPS, N_ABSENCES } Absence;

/* Frames of a path from `begin` on, in buffers of `size` frames at most; runs of '.' are absent. */
static inline void
push_path (GstHarness *h, const gchar *path, guint begin, guint size, Absence absence)
{
  guint n;

  for (; path[begin] != '\0'; begin += n) {
    gboolean present = path[begin] != '.';

    for (n = 1; n < size && path[begin + n] != '\0' && (path[begin + n] != '.') == present; n++)
      ;
    if (present || absence == GAP_BUFFERS) {
      GstBuffer *buffer = path_buffer (path, begin, n);

      if (!present)
        GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
      fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
    } else if (absence == GAP_EVENTS) {
      fail_unless (gst_harness_push_event (h, gst_event_new_gap (begin * FRAME, n * FRAME)));
    }
  }
}

static inline void
push_eos (GstHarness *h)
{
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
}

/* ---- out ---- */

static inline gchar *
dup_text (GstBuffer *buffer)
{
  GstMapInfo map;
  gchar *text;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  text = g_strndup ((gchar *) map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  return text;
}

/* All texts that have come: "text@first-last" in frames, one behind the other with '|' in between. Transfer full. */
static inline gchar *
pull_texts (GstHarness *h)
{
  GString *all = g_string_new (NULL);
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (h)) != NULL) {
    gchar *text = dup_text (buffer);

    g_string_append_printf (all, "%s%s@", all->len > 0 ? "|" : "", text);
    if (GST_BUFFER_PTS_IS_VALID (buffer))
      g_string_append_printf (all, "%g-%g", (gdouble) GST_BUFFER_PTS (buffer) / FRAME,
                              (gdouble) (GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer)) / FRAME - 1);
    g_free (text);
    gst_buffer_unref (buffer);
  }
  return g_string_free (all, FALSE);
}

static inline void
check_texts (GstHarness *h, const gchar *expected)
{
  gchar *got = pull_texts (h);

  fail_unless_equals_string (got, expected);
  g_free (got);
}

/* The result that pull_texts () must have for whole words, by the definition. */
static inline gchar *
expected_texts (const gchar *path, const gchar *separator)
{
  GArray *words = words_of (path);
  GString *all = g_string_new (NULL);
  guint i;

  for (i = 0; i < words->len; i++) {
    Word *word = &g_array_index (words, Word, i);

    g_string_append_printf (all, "%s%s%s@%u-%u", i > 0 ? "|" : "", word->text, separator, word->first, word->last);
  }
  g_array_unref (words);
  return g_string_free (all, FALSE);
}

#endif
