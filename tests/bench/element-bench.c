/*
 * The cost that the element `attention` adds to the core, how many of them a core carries, and the cost of
 * attentionscope.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gst/audio/audio.h>
#include <gst/base/gstbasetransform.h>

#include "attn.h"
#include "peaks.h"

#define USAGE                                                                                             \
  "usage: element-bench [D H W [STREAMS [PRECISION]]]       (64 4 64 1000 f32)\n"                         \
  "       element-bench --scope [WIDTH HEIGHT RATE [H W]]   (1920 1080 60 8 256)\n"                       \
  "       element-bench --encoder FILE D [RATE]             (50)\n\n"                                     \
  "Buffers of one frame, pushed into elements whose source pads lead nowhere. Prints, as medians in\n"    \
  "microseconds per buffer:\n"                                                                            \
  "  core       attn_stream_push () alone, again and again\n"                                             \
  "  minimal    a GstBaseTransform that allocates its output buffer and copies\n"                         \
  "  with core  the same, but calls the core: more than the two, which have the caches to themselves\n"   \
  "  attention  the element\n"                                                                            \
  "Then STREAMS of the minimal, as many with the core, and as many elements, at 100 frames per second\n"  \
  "each: memory per stream and share of one core.\n\n"                                                    \
  "--scope: what share of one core attentionscope takes for video of WIDTH x HEIGHT pixels at RATE\n"     \
  "frames per second, from 100 rows of weights per second, of H heads with a window of W.\n\n"            \
  "--encoder: what share of one core attentionencoder takes, live: a buffer of one frame of D features\n" \
  "at a time, RATE of them per second, and nothing to do in between.\n"

/* ---- the least that a transform can be ---- */

typedef struct {
  GstBaseTransform parent;
  AttnStream *core; /* NULL: copies */
} Minimal;
typedef GstBaseTransformClass MinimalClass;
GType minimal_get_type (void);
G_DEFINE_TYPE (Minimal, minimal, GST_TYPE_BASE_TRANSFORM)

static GstFlowReturn
minimal_transform (GstBaseTransform *trans, GstBuffer *in, GstBuffer *out)
{
  AttnStream *core = ((Minimal *) trans)->core;
  GstMapInfo map, out_map;

  gst_buffer_map (in, &map, GST_MAP_READ);
  if (core == NULL) {
    gst_buffer_fill (out, 0, map.data, map.size);
  } else {
    gst_buffer_map (out, &out_map, GST_MAP_WRITE);
    attn_stream_push (core, (const gfloat *) map.data, 1, (gfloat *) out_map.data, NULL);
    gst_buffer_unmap (out, &out_map);
  }
  gst_buffer_unmap (in, &map);
  return GST_FLOW_OK;
}

static void
minimal_class_init (MinimalClass *klass)
{
  GstCaps *caps = gst_caps_new_empty_simple ("audio/x-raw");

  gst_element_class_add_pad_template (GST_ELEMENT_CLASS (klass),
                                      gst_pad_template_new ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps));
  gst_element_class_add_pad_template (GST_ELEMENT_CLASS (klass),
                                      gst_pad_template_new ("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));
  gst_element_class_set_static_metadata (GST_ELEMENT_CLASS (klass), "minimal", "Filter", "Copies", "nobody");
  klass->transform = minimal_transform;
  gst_caps_unref (caps);
}

static void
minimal_init (Minimal *self)
{
  gst_base_transform_set_in_place (GST_BASE_TRANSFORM (self), FALSE);
  gst_base_transform_set_passthrough (GST_BASE_TRANSFORM (self), FALSE);
}

static GstElement *
minimal (AttnStream *core)
{
  Minimal *self = g_object_new (minimal_get_type (), NULL);

  self->core = core;
  return GST_ELEMENT (self);
}

/* ---- elements between two pads ---- */

typedef struct {
  GstElement *element;
  GstPad *source, *sink;
} Branch;

static GstFlowReturn
drop (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_buffer_unref (buffer);
  return GST_FLOW_OK;
}

/* Frames of `in` go into the element, and come out as what `out` allows. Takes the caps. */
static Branch
connect_element (GstElement *element, GstCaps *in, GstCaps *out)
{
  GstPadTemplate *template = gst_pad_template_new ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, out);
  Branch b = { element, gst_pad_new (NULL, GST_PAD_SRC), gst_pad_new_from_template (template, NULL) };
  GstPad *sink = gst_element_get_static_pad (element, "sink"), *source = gst_element_get_static_pad (element, "src");
  GstSegment segment;

  gst_pad_set_chain_function (b.sink, drop);
  gst_pad_set_active (b.source, TRUE);
  gst_pad_set_active (b.sink, TRUE);
  gst_pad_link (b.source, sink);
  gst_pad_link (source, b.sink);
  gst_element_set_state (element, GST_STATE_PLAYING);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_push_event (b.source, gst_event_new_stream_start ("bench"));
  gst_pad_push_event (b.source, gst_event_new_caps (in));
  gst_pad_push_event (b.source, gst_event_new_segment (&segment));
  gst_object_unref (template);
  gst_caps_unref (in);
  gst_caps_unref (out);
  gst_object_unref (sink);
  gst_object_unref (source);
  return b;
}

static GstCaps *
features (guint d)
{
  return gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, GST_AUDIO_NE (F32), "layout", G_TYPE_STRING,
                              "interleaved", "rate", G_TYPE_INT, 100, "channels", G_TYPE_INT, (gint) d, NULL);
}

static Branch
make_branch (GstElement *element, guint d)
{
  return connect_element (element, features (d), gst_caps_new_any ());
}

static void
push_at (const Branch *b, const gfloat *frames, guint d, guint i, guint rate)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, d * sizeof (gfloat), NULL);

  gst_buffer_fill (buffer, 0, frames + i % 64 * d, d * sizeof (gfloat));
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (i, GST_SECOND, rate);
  GST_BUFFER_DURATION (buffer) = GST_SECOND / rate;
  gst_pad_push (b->source, buffer);
}

static void
push (const Branch *b, const gfloat *frames, guint d, guint i)
{
  push_at (b, frames, d, i, 100);
}

static GstElement *
make (const gchar *name)
{
  GstElement *element = gst_element_factory_make (name, NULL);

  if (element == NULL) {
    g_printerr ("element-bench: there is no %s in GST_PLUGIN_PATH\n", name);
    exit (2);
  }
  return element;
}

static GstElement *
attention (const AttnConfig *config)
{
  GstElement *element = make ("attention");

  g_object_set (element, "heads", config->n_heads, "window", config->window, "precision", config->precision, NULL);
  return element;
}

static int
by_size (const void *a, const void *b)
{
  gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

enum { N_SAMPLES = 301, PER_SAMPLE = 100 };
enum { MINIMAL, WITH_CORE, ATTENTION, N_BRANCHES, CORE = N_BRANCHES };

/* Medians of `n` branches, sampled in turn, and of the core alone as the last. */
static void
measure (Branch *branches, guint n, AttnStream *core, const gfloat *frames, guint d, gdouble *medians)
{
  static gdouble times[N_BRANCHES + 1][N_SAMPLES];
  gfloat *out = g_new (gfloat, d);
  guint count = 0;

  for (guint s = 0; s < N_SAMPLES; s++)
    for (guint b = 0; b <= n; b++) {
      gdouble start = now_us ();

      for (guint i = 0; i < PER_SAMPLE; i++, count++)
        if (b < n)
          push (&branches[b], frames, d, s * PER_SAMPLE + i);
        else
          attn_stream_push (core, frames + count % 64 * d, 1, out, NULL);
      times[b][s] = (now_us () - start) / PER_SAMPLE;
    }
  for (guint b = 0; b <= n; b++) {
    qsort (times[b], N_SAMPLES, sizeof (gdouble), by_size);
    medians[b] = times[b][N_SAMPLES / 2];
  }
  g_free (out);
}

/* `layer` is NULL: a transform that copies. `config` is not: the element. Else a transform that calls the core. */
static GstElement *
make_subject (const AttnConfig *config, const AttnLayer *layer)
{
  AttnStream *core = NULL;

  if (config != NULL)
    return attention (config);
  if (layer != NULL && attn_stream_new (layer, &core, NULL) != ATTN_OK)
    exit (2);
  return minimal (core);
}

/* Of `n`, in turn. What is less than the element shows how much of its time the machine and GStreamer take. */
static void
measure_many (guint n, const gchar *what, const AttnConfig *config, const AttnLayer *layer, guint d, guint window,
              const gfloat *frames)
{
  struct mallinfo2 before = mallinfo2 (), after;
  Branch *branches = g_new (Branch, n);
  gdouble start;
  guint rounds = 200;

  for (guint i = 0; i < n; i++)
    branches[i] = make_branch (make_subject (config, layer), d);
  for (guint i = 0; i < 2 * window; i++)
    for (guint b = 0; b < n; b++)
      push (&branches[b], frames, d, i);
  after = mallinfo2 ();
  start = now_us ();
  for (guint i = 0; i < rounds; i++)
    for (guint b = 0; b < n; b++)
      push (&branches[b], frames, d, 2 * window + i);
  g_print ("%u %s: %.1f KiB per stream, %.2f us per buffer, %.1f %% of one core at 100 frames per second each\n", n,
           what, (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / 1024.0 / n,
           (now_us () - start) / rounds / n, (now_us () - start) / rounds / 10000 * 100);
}

/* Ten seconds of weights that differ from place to place, after one second of warm-up. */
static int
measure_scope (guint width, guint height, guint rate, guint heads, guint window)
{
  const guint d = heads * window, n = 1000;
  gfloat *weights = g_new (gfloat, 64 * d);
  GstCaps *in = features (d),
          *out = gst_caps_new_simple ("video/x-raw", "width", G_TYPE_INT, (gint) width, "height", G_TYPE_INT,
                                      (gint) height, "framerate", GST_TYPE_FRACTION, (gint) rate, 1, NULL);
  gdouble start = 0;
  Branch b;

  gst_caps_set_simple (in, "heads", G_TYPE_INT, (gint) heads, "sinks", G_TYPE_INT, 0, "window", G_TYPE_INT,
                       (gint) window, "look-ahead", G_TYPE_INT, 0, NULL);
  for (guint i = 0; i < 64 * d; i++)
    weights[i] = g_random_double_range (0, 2.0 / window);
  b = connect_element (make ("attentionscope"), in, out);
  if (!gst_pad_has_current_caps (b.sink))
    return g_print (USAGE), 2;
  for (guint i = 0; i < n + 100; i++) {
    if (i == 100)
      start = now_us ();
    push (&b, weights, d, i);
  }
  g_print ("attentionscope, %ux%u at %u frames per second, %u heads, window %u: %.1f %% of one core\n", width, height,
           rate, heads, window, (now_us () - start) / (n * 10000) * 100);
  gst_element_set_state (b.element, GST_STATE_NULL);
  g_free (weights);
  return 0;
}

/* The processor time that the process has taken, in microseconds. */
static gdouble
cpu_us (void)
{
  struct timespec t;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

/* Ten seconds of frames at their own time, after one second of warm-up. */
static int
measure_live (const gchar *file, guint d, guint rate)
{
  enum { SECONDS = 10 };
  gfloat *frames = g_new (gfloat, 64 * d);
  GstElement *element = make ("attentionencoder");
  GstCaps *caps = features (d);
  gdouble begin, busy = 0;
  Branch b;

  for (guint i = 0; i < 64 * d; i++)
    frames[i] = g_random_double_range (-1, 1);
  g_object_set (element, "model-file", file, NULL);
  gst_caps_set_simple (caps, "rate", G_TYPE_INT, (gint) rate, NULL);
  b = connect_element (element, caps, gst_caps_new_any ());
  begin = now_us ();
  for (guint i = 0; i < (SECONDS + 1) * rate; i++) {
    gdouble wait = begin + i * 1e6 / rate - now_us ();

    if (wait > 0)
      g_usleep ((gulong) wait);
    if (i == rate)
      busy = cpu_us ();
    push_at (&b, frames, d, i, rate);
  }
  busy = (cpu_us () - busy) / SECONDS;
  g_print ("%s, %u frames per second: %.2f %% of one core, %.0f us per frame\n", file, rate, busy / 1e4, busy / rate);
  if (!gst_pad_has_current_caps (b.sink))
    return g_print (USAGE), 2;
  gst_element_set_state (b.element, GST_STATE_NULL);
  g_free (frames);
  return 0;
}

/* Argument `i`, or its default. */
static guint
number (int argc, char **argv, int i, guint otherwise)
{
  return argc > i ? (guint) atoi (argv[i]) : otherwise;
}

/* Argument `i`, the nickname of a precision; -1: there is no such precision. */
static int
precision (int argc, char **argv, int i)
{
  static const gchar *const names[] = { "f32", "f16", "bf16" };

  for (guint p = 0; p < G_N_ELEMENTS (names); p++)
    if (strcmp (argc > i ? argv[i] : "f32", names[p]) == 0)
      return p;
  return -1;
}

static int
run_live (int argc, char **argv)
{
  guint d = number (argc, argv, 3, 0), rate = number (argc, argv, 4, 50);

  if (d < 1 || d > 4096 || rate < 1)
    return g_print (USAGE), 2;
  gst_init (NULL, NULL);
  return measure_live (argv[2], d, rate);
}

static int
run_scope (int argc, char **argv)
{
  guint width = number (argc, argv, 2, 1920), height = number (argc, argv, 3, 1080), rate = number (argc, argv, 4, 60);
  guint heads = number (argc, argv, 5, 8), window = number (argc, argv, 6, 256);

  if (rate < 1 || heads < 1 || heads > 65536 || window < 1 || window > 65536 / heads)
    return g_print (USAGE), 2;
  gst_init (NULL, NULL);
  return measure_scope (width, height, rate, heads, window);
}

int
main (int argc, char **argv)
{
  guint d = number (argc, argv, 1, 64), heads = number (argc, argv, 2, 4), window = number (argc, argv, 3, 64);
  guint streams;
  int stored_in = precision (argc, argv, 5);
  AttnConfig config = attn_config_default ();
  gfloat *frames = g_new (gfloat, 64 * 65536 / 16);
  AttnStream *core, *of_minimal;
  AttnLayer *layer;
  Branch branches[N_BRANCHES];
  gdouble medians[N_BRANCHES + 1];

  if (argc > 1 && strcmp (argv[1], "--scope") == 0)
    return run_scope (argc, argv);
  if (argc > 1 && strcmp (argv[1], "--encoder") == 0)
    return run_live (argc, argv);
  if (d < 1 || d > 4096 || heads < 1 || window < 1 || stored_in < 0)
    return g_print (USAGE), 2;
  gst_init (NULL, NULL);
  for (guint i = 0; i < 64 * d; i++)
    frames[i] = g_random_double_range (-1, 1);
  config.n_features = d;
  config.n_heads = heads;
  config.window = window;
  config.precision = stored_in;
  if (attn_layer_new (&config, NULL, &layer, NULL) != ATTN_OK || attn_stream_new (layer, &core, NULL) != ATTN_OK
      || attn_stream_new (layer, &of_minimal, NULL) != ATTN_OK)
    return g_print (USAGE), 2;
  branches[MINIMAL] = make_branch (minimal (NULL), d);
  branches[WITH_CORE] = make_branch (minimal (of_minimal), d);
  branches[ATTENTION] = make_branch (attention (&config), d);
  measure (branches, N_BRANCHES, core, frames, d, medians);
  g_print ("D=%u H=%u W=%u %s, parameter-free: core %.3f, minimal %.3f, with core %.3f, attention %.3f\n"
           "without the core: %.2f times minimal; without the core as it runs there: %.2f times\n",
           d, heads, window, argc > 5 ? argv[5] : "f32", medians[CORE], medians[MINIMAL], medians[WITH_CORE],
           medians[ATTENTION], (medians[ATTENTION] - medians[CORE]) / medians[MINIMAL],
           (medians[ATTENTION] - medians[WITH_CORE] + medians[MINIMAL]) / medians[MINIMAL]);
  streams = number (argc, argv, 4, 1000);
  measure_many (streams, "minimal", NULL, NULL, d, window, frames);
  measure_many (streams, "with core", NULL, layer, d, window, frames);
  measure_many (streams, "elements", &config, NULL, d, window, frames);
  return 0;
}
