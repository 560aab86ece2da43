/*
 * Code for the tests of the element `attentionencoder`: encoders that PyTorch made, their frames at 100 per second, and
 * a look at all that leaves, output by output.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_ELEMENT_ENCODERCHECK_H
#define TESTS_ELEMENT_ENCODERCHECK_H

#include <gst/audio/audio.h>
#include <math.h>
#include <stdlib.h>
#include <glib/gstdio.h>

#include "buscheck.h"
#include "corecheck.h"
#include "gstfeatures.h"
#include "harnesscheck.h"
#include "modelcheck.h"
#include "parameters/safetensors.h"

#define RATE 100
#define FRAME_TIME (GST_SECOND / RATE)

/* ---- encoders ---- */

typedef struct {
  gchar *file;
  AttnLayer *layer;
  guint64 stride;
  guint n_features, n_outputs; /* values per frame that comes in, and that leaves */
  guint n;                     /* frames */
  gfloat *frames;              /* [n][n_features] */
  guint8 *present;             /* [n] */
  guint n_out;                 /* outputs of the whole stream */
  gfloat *expected;            /* [n_out][n_outputs], by the core */
  guint8 *is_there;            /* [n_out] */
  gfloat *by_torch;            /* the same, by PyTorch */
  gdouble n_layers;            /* that errors add up over: encoder-golden.c */
} Encoder;

/* NULL: there is no such tensor. */
static inline gfloat *
read_tensor (AttnSafetensors *file, const gchar *name, guint *n_rows)
{
  gsize i;

  for (i = 0; i < attn_safetensors_n_tensors (file); i++) {
    const AttnTensor *tensor = attn_safetensors_tensor (file, i);
    gfloat *values;

    if (strcmp (tensor->name, name) != 0)
      continue;
    values = g_new (gfloat, tensor->n_elements);
    g_assert (attn_safetensors_read (file, tensor, 0, tensor->n_elements, values, NULL) == ATTN_OK);
    *n_rows = tensor->dims[0];
    return values;
  }
  return NULL;
}

/* The core's outputs for the frames that are present. */
static inline void
encoder_expect (Encoder *e)
{
  AttnStream *stream;
  gsize n = 0;
  guint i;

  e->n_out = attn_layer_count (e->layer, e->n);
  g_free (e->expected);
  g_free (e->is_there);
  e->expected = g_new0 (gfloat, (e->n_out + 1) * e->n_outputs);
  e->is_there = g_new0 (guint8, e->n_out + 1);
  g_assert (attn_forward (e->layer, e->frames, e->present, e->n, 0, e->expected, NULL, NULL) == ATTN_OK);
  g_assert (attn_stream_new (e->layer, &stream, NULL) == ATTN_OK);
  for (i = 0; i < e->n; i++)
    n += attn_stream_run (stream, e->present[i] ? e->frames + i * e->n_features : NULL, 1, NULL, NULL, e->is_there + n);
  n += attn_stream_finish (stream, NULL, NULL, e->is_there + n, e->n_out + 16);
  g_assert (n == e->n_out);
  attn_stream_free (stream);
}

/* A file with an encoder, and its frames. Takes the path. */
static inline Encoder *
encoder_open_file (gchar *path)
{
  Encoder *e = g_new0 (Encoder, 1);
  AttnSafetensors *file;
  AttnError error;
  gfloat *present;
  guint n, i;

  e->file = path;
  g_assert (attn_safetensors_open (e->file, &file, NULL) == ATTN_OK);
  if (attn_encoder_open (e->file, NULL, &e->layer, &error) != ATTN_OK)
    g_error ("%s", error.message);
  e->stride = attn_layer_stride (e->layer);
  e->n_features = attn_layer_n_features (e->layer);
  e->n_outputs = attn_layer_n_outputs (e->layer);
  e->frames = read_tensor (file, "input", &e->n);
  e->by_torch = read_tensor (file, "output", &n);
  e->n_layers = strtod (attn_safetensors_metadata (file, "layers"), NULL);
  e->present = g_new0 (guint8, e->n + 1);
  present = read_tensor (file, "present", &n);
  for (i = 0; i < e->n; i++)
    e->present[i] = present == NULL || present[i] != 0;
  g_free (present);
  attn_safetensors_close (file);
  encoder_expect (e);
  return e;
}

/* The encoder tests/golden/encoder/NAME.safetensors. */
static inline Encoder *
encoder_open (const gchar *name)
{
  return encoder_open_file (g_strdup_printf ("%s/encoder/%s.safetensors", GOLDEN_DIR, name));
}

/* A layer of the encoders below. */
static inline void
append_layer (GString *blocks, guint look_ahead)
{
  g_string_append_printf (blocks,
                          ",{\\'residual\\':[{\\'norm\\':\\'norm\\'},{\\'attention\\':\\'attn\\',\\'heads\\':2,"
                          "\\'window\\':9,\\'look-ahead\\':%u,\\'position\\':\\'rope\\'}]},{\\'residual\\':"
                          "[{\\'norm\\':\\'norm\\'},{\\'linear\\':\\'linear\\',\\'activation\\':\\'gelu\\'}]}",
                          look_ahead);
}

/* Transfer full. */
static inline gchar *
make_blocks (guint n_front, guint n_convolutions, guint n_layers, const guint *look_ahead)
{
  GString *blocks = g_string_new ("{\\'affine\\':\\'norm\\'}");
  guint i;

  for (i = 0; i < n_front; i++)
    append_layer (blocks, look_ahead[i]);
  for (i = 0; i < n_convolutions; i++)
    g_string_append (blocks, ",{\\'conv\\':\\'conv\\',\\'stride\\':2,\\'left\\':1,\\'activation\\':\\'gelu\\'}");
  for (i = n_front; i < n_layers; i++)
    append_layer (blocks, look_ahead[i]);
  return g_string_free (blocks, FALSE);
}

/* An encoder of these blocks, which share random parameters, over 100 frames of eight features. */
static inline Encoder *
encoder_of_blocks (const gchar *blocks)
{
  enum { D = 8, N = 100 };
  static const struct {
    const gchar *name, *shape;
    guint n;
  } tensors[] = { { "norm.weight", "[8]", D },
                  { "norm.bias", "[8]", D },
                  { "conv.weight", "[8,8,3]", D * D * 3 },
                  { "attn.in_proj_weight", "[24,8]", 3 * D * D },
                  { "attn.out_proj.weight", "[8,8]", D * D },
                  { "linear.weight", "[8,8]", D * D },
                  { "input", "[100,8]", N * D } };
  gchar *path = g_strdup_printf ("%s/attentionencoder-XXXXXX", g_get_tmp_dir ());
  GString *header = g_string_new (NULL);
  gfloat *values;
  guint i, n = 0;

  g_string_append_printf (header,
                          "{'__metadata__':{'layers':'1','encoder':'{\\'version\\':1,\\'features\\':8,"
                          "\\'blocks\\':[%s]}'}",
                          blocks);
  for (i = 0; i < G_N_ELEMENTS (tensors); n += tensors[i++].n)
    g_string_append_printf (header, ",'%s':{'dtype':'F32','shape':%s,'data_offsets':[%u,%u]}", tensors[i].name,
                            tensors[i].shape, 4 * n, 4 * (n + tensors[i].n));
  g_string_append_c (header, '}');
  values = g_new (gfloat, n);
  fill_random (values, n, 1);
  g_close (g_mkstemp (path), NULL);
  write_safetensors (path, g_string_free (header, FALSE), values, 4 * n);
  g_free (values);
  return encoder_open_file (path);
}

/*
 * `n_convolutions` that halve the rate, each with a look-ahead of one frame, and layers with the given look-aheads,
 * `n_front` of them in front.
 */
static inline Encoder *
encoder_write (guint n_front, guint n_convolutions, guint n_layers, const guint *look_ahead)
{
  gchar *blocks = make_blocks (n_front, n_convolutions, n_layers, look_ahead);
  Encoder *e = encoder_of_blocks (blocks);

  g_free (blocks);
  return e;
}

static inline void
encoder_free (Encoder *e)
{
  attn_layer_free (e->layer);
  g_free (e->file);
  g_free (e->frames);
  g_free (e->present);
  g_free (e->expected);
  g_free (e->is_there);
  g_free (e->by_torch);
  g_free (e);
}

/* ---- in ---- */

static inline GstCaps *
encoder_caps (const Encoder *e, gboolean is_tensors, guint frames_per_buffer)
{
  gchar *text =
      is_tensors ? g_strdup_printf ("other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                                    "framerate=(fraction)%d/1, dimensions=(string)%u:%u:1:1",
                                    RATE, e->n_features, frames_per_buffer)
                 : g_strdup_printf ("audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, "
                                                                                      "rate=(int)%d, channels=(int)%u",
                                    RATE, e->n_features);
  GstCaps *caps = gst_caps_from_string (text);

  g_free (text);
  return caps;
}

static inline GstHarness *
encoder_harness (const Encoder *e)
{
  GstElement *element = gst_element_factory_make ("attentionencoder", NULL);
  GstHarness *h;

  g_object_set (element, "model-file", e->file, NULL);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  return h;
}

/* Frames begin ... begin + n - 1, at the times of their numbers. */
static inline GstBuffer *
encoder_buffer (const Encoder *e, guint begin, guint n)
{
  GstBuffer *buffer =
      gst_buffer_new_memdup (e->frames + (gsize) begin * e->n_features, (gsize) n * e->n_features * sizeof (gfloat));

  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  return buffer;
}

/* The ways in which absent frames come. */
typedef enum { GAP_EVENTS, GAP_BUFFERS, JUMPS, N_ABSENCES } Absence;

/* Runs of present frames, and shorter runs of absent ones. A jump has frames on both sides. */
static inline void
encoder_make_holes (Encoder *e, GRand *rand, Absence absence)
{
  guint i = 0, n;

  while (i < e->n) {
    for (n = g_rand_int_range (rand, 1, 12); n > 0 && i < e->n; n--)
      e->present[i++] = 1;
    for (n = g_rand_int_range (rand, 1, 9); n > 0 && i < e->n; n--)
      e->present[i++] = 0;
  }
  if (absence == JUMPS)
    e->present[e->n - 1] = 1;
}

typedef struct {
  GstHarness *h;
  const Encoder *e;
  gboolean is_tensors;
  guint frames_per_buffer; /* of the last caps */
  gboolean jumps;          /* the next buffer does */
} Player;

/* Pushes the next `n` frames, all present or all absent. */
static inline void
player_push (Player *p, guint begin, guint n, Absence absence)
{
  gboolean present = p->e->present[begin];
  GstBuffer *buffer;

  if (!present && absence == GAP_EVENTS) {
    fail_unless (gst_harness_push_event (p->h, gst_event_new_gap (begin * FRAME_TIME, n * FRAME_TIME)));
    return;
  }
  p->jumps |= !present && absence == JUMPS;
  if (!present && absence == JUMPS)
    return;
  if (p->frames_per_buffer == 0 || (p->is_tensors && n != p->frames_per_buffer))
    gst_harness_set_src_caps (p->h, encoder_caps (p->e, p->is_tensors, n));
  p->frames_per_buffer = n;
  buffer = encoder_buffer (p->e, begin, n);
  if (!present)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (p->jumps)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  p->jumps = FALSE;
  fail_unless_equals_int (gst_harness_push (p->h, buffer), GST_FLOW_OK);
}

/* All frames, in buffers of `size`; 0: of random sizes. Then the end. */
static inline void
play (GstHarness *h, const Encoder *e, gboolean is_tensors, guint size, Absence absence, GRand *rand)
{
  Player p = { .h = h, .e = e, .is_tensors = is_tensors };
  guint begin, n;

  gst_harness_set_src_caps (h, encoder_caps (e, is_tensors, size != 0 ? size : 1));
  p.frames_per_buffer = size != 0 ? size : 1;
  for (begin = 0; begin < e->n; begin += n) {
    guint longest = size != 0 ? size : (guint) g_rand_int_range (rand, 1, 20);

    for (n = 1; begin + n < e->n && n < longest && e->present[begin + n] == e->present[begin]; n++)
      ;
    player_push (&p, begin, n, absence);
  }
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
}

/* ---- out ---- */

/* The outputs and events, in their order. */
typedef struct {
  const Encoder *e;
  guint64 next;   /* the first output that may come next */
  guint n_there;  /* outputs that came, and are present */
  guint n_absent; /* outputs announced as absent, by an event or a flag */
  guint n_buffers;
  GstClockTime end;        /* of the last output; NONE: there was none */
  guint64 at_event;        /* `next` when a custom event came */
  guint frames_per_buffer; /* by the caps; 0: any number */
  gboolean is_tensors;
  gint rate_n, rate_d;
} Seen;

/* The time must be that of an output's frame. */
static inline guint64
output_at (const Encoder *e, GstClockTime time)
{
  fail_unless (GST_CLOCK_TIME_IS_VALID (time) && time % (e->stride * FRAME_TIME) == 0,
               "time %" GST_TIME_FORMAT " is not that of an output", GST_TIME_ARGS (time));
  return time / (e->stride * FRAME_TIME);
}

/* The next `n` outputs from number `i` on. */
static inline void
see_outputs (Seen *seen, guint64 i, guint64 n, const gfloat *rows, gboolean is_gap)
{
  const Encoder *e = seen->e;
  guint64 end = i + n, n_there = 0;

  fail_unless (n > 0 && i >= seen->next && end <= e->n_out, "%u outputs from %u on, expected from %u on, of %u",
               (guint) n, (guint) i, (guint) seen->next, e->n_out);
  for (; i < end; i++) {
    seen->n_there += e->is_there[i];
    n_there += e->is_there[i];
    seen->n_absent += !e->is_there[i];
    fail_if (is_gap && e->is_there[i], "output %u is told to be absent", (guint) i);
    if (rows == NULL)
      continue;
    fail_unless (memcmp (rows, e->expected + i * e->n_outputs, e->n_outputs * sizeof *rows) == 0,
                 "output %u is another one", (guint) i);
    rows += e->n_outputs;
  }
  fail_if (!is_gap && n_there == 0, "the outputs before %u are absent, and nothing says so", (guint) end);
  seen->next = end;
}

static inline void
see_buffer (Seen *seen, GstBuffer *buffer)
{
  const Encoder *e = seen->e;
  guint64 n = gst_buffer_get_size (buffer) / (e->n_outputs * sizeof (gfloat));
  GstMapInfo map;

  fail_unless_equals_uint64 (n * e->n_outputs * sizeof (gfloat), gst_buffer_get_size (buffer));
  fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
  if (seen->is_tensors)
    fail_unless_equals_uint64 (n, seen->frames_per_buffer);
  fail_unless_equals_clocktime (GST_BUFFER_DURATION (buffer), n * e->stride * FRAME_TIME);
  if (GST_CLOCK_TIME_IS_VALID (seen->end) && GST_BUFFER_PTS (buffer) != seen->end)
    fail_unless (GST_BUFFER_IS_DISCONT (buffer), "nothing says what is missing before %" GST_TIME_FORMAT,
                 GST_TIME_ARGS (GST_BUFFER_PTS (buffer)));
  seen->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  gst_buffer_map (buffer, &map, GST_MAP_READ);
  see_outputs (seen, output_at (e, GST_BUFFER_PTS (buffer)), n, (const gfloat *) map.data,
               GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP));
  gst_buffer_unmap (buffer, &map);
  seen->n_buffers++;
}

static inline void
see_event (Seen *seen, GstEvent *event)
{
  GstClockTime time, duration;
  GstFeatures features;
  GstCaps *caps;

  if (GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM) {
    seen->at_event = seen->next;
  } else if (GST_EVENT_TYPE (event) == GST_EVENT_GAP) {
    gst_event_parse_gap (event, &time, &duration);
    see_outputs (seen, output_at (seen->e, time), output_at (seen->e, duration), NULL, TRUE);
    seen->end = time + duration;
  } else if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
    gst_event_parse_caps (event, &caps);
    fail_unless (gst_features_from_caps (&features, caps, NULL));
    fail_unless_equals_int (features.n_features, seen->e->n_outputs);
    seen->is_tensors = features.is_tensors;
    seen->frames_per_buffer = features.frames_per_buffer;
    seen->rate_n = features.rate_n;
    seen->rate_d = features.rate_d;
  }
}

static inline GstPadProbeReturn
see (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  if (GST_PAD_PROBE_INFO_TYPE (info) & GST_PAD_PROBE_TYPE_BUFFER)
    see_buffer (data, GST_PAD_PROBE_INFO_BUFFER (info));
  else
    see_event (data, GST_PAD_PROBE_INFO_EVENT (info));
  return GST_PAD_PROBE_OK;
}

static inline void
watch (GstHarness *h, Seen *seen, const Encoder *e)
{
  *seen = (Seen){ .e = e, .end = GST_CLOCK_TIME_NONE };
  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see, seen, NULL);
}

/* Every present output has left, and each absent one, except in a jump, has been announced. */
static inline void
check_all_seen (const Seen *seen, gboolean with_absent)
{
  guint i, n_there = 0;

  for (i = 0; i < seen->e->n_out; i++)
    n_there += seen->e->is_there[i];
  fail_unless_equals_int (seen->n_there, n_there);
  if (with_absent)
    fail_unless_equals_int (seen->n_absent, seen->e->n_out - n_there);
}

#endif
