/*
 * The element `attention`: its pad `weights` and its messages. Weights are checked against attn_forward (); that one is
 * checked in tests/core.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "attentioncheck.h"

#include <math.h>

#include "attn.h"

#define D 6
#define HEADS 2
#define SINKS 2
#define WINDOW 5
#define LOOK_AHEAD 3
#define SPAN (SINKS + WINDOW + LOOK_AHEAD)
#define N_WEIGHTS (HEADS * SPAN)
#define N 40
#define TENSOR_CAPS                                                                   \
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, " \
  "dimensions=(string)6:4:1:1, framerate=(fraction)100/1"

/* ---- helpers ---- */

static gfloat frames[N * D];

static void
setup (void)
{
  fill_random (frames, N * D, 1);
}

static GstElement *
new_element (void)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);

  g_object_set (element, "heads", HEADS, "sinks", SINKS, "window", WINDOW, "look-ahead", LOOK_AHEAD, NULL);
  return element;
}

/* `w` takes what the pad `weights` gives. */
typedef struct {
  GstHarness *h, *w;
} Both;

static Both
start_with_caps (const gchar *caps)
{
  GstElement *element = new_element ();
  Both both;

  both.h = gst_harness_new_with_element (element, "sink", "src");
  both.w = gst_harness_new_with_element (element, NULL, "weights");
  gst_harness_set_src_caps_str (both.h, caps);
  gst_object_unref (element);
  return both;
}

static Both
start (void)
{
  return start_with_caps (AUDIO_CAPS);
}

static void
stop (Both both)
{
  gst_harness_teardown (both.w);
  gst_harness_teardown (both.h);
}

static GstBuffer *
make_buffer (guint begin, guint n)
{
  GstBuffer *buffer = gst_buffer_new_memdup (frames + begin * D, n * D * sizeof (gfloat));

  GST_BUFFER_PTS (buffer) = begin * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = n * FRAME_TIME;
  GST_BUFFER_OFFSET (buffer) = begin;
  GST_BUFFER_OFFSET_END (buffer) = begin + n;
  return buffer;
}

static void
push (GstHarness *h, guint begin, guint n)
{
  fail_unless_equals_int (gst_harness_push (h, make_buffer (begin, n)), GST_FLOW_OK);
}

static void
push_in_pieces (GstHarness *h, guint begin, guint end, guint piece)
{
  for (; begin < end; begin += MIN (piece, end - begin))
    push (h, begin, MIN (piece, end - begin));
}

static void
push_segment (GstHarness *h)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
}

/* All that is there; the values are the caller's. */
static gfloat *
pull_all (GstHarness *h, gsize *n_values)
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
  *n_values = bytes->len / sizeof (gfloat);
  return (gfloat *) g_byte_array_free (bytes, FALSE);
}

static void
check_values (GstHarness *h, const gfloat *expected, gsize n)
{
  gsize n_got;
  gfloat *got = pull_all (h, &n_got);

  fail_unless_equals_uint64 (n_got, n);
  fail_unless (memcmp (got, expected, n * sizeof (gfloat)) == 0, "the values differ");
  g_free (got);
}

typedef struct {
  gfloat out[N * D], weights[N * N_WEIGHTS];
} Expected;

/* `present` NULL: all. */
static void
expect (const guint8 *present, Expected *expected)
{
  AttnConfig config = attn_config_default ();
  AttnLayer *layer;

  config.n_features = D;
  config.n_heads = HEADS;
  config.n_sinks = SINKS;
  config.window = WINDOW;
  config.look_ahead = LOOK_AHEAD;
  g_assert (attn_layer_new (&config, NULL, &layer, NULL) == ATTN_OK);
  g_assert (attn_forward (layer, frames, present, N, 0, expected->out, expected->weights) == ATTN_OK);
  attn_layer_free (layer);
}

static GstEvent *
pull_event (GstHarness *h, GstEventType type)
{
  GstEvent *event;

  while ((event = gst_harness_try_pull_event (h)) && GST_EVENT_TYPE (event) != type)
    gst_event_unref (event);
  return event;
}

/* ---- numbers and framing ---- */

GST_START_TEST (test_weights_are_those_of_the_core)
{
  const guint pieces[] = { 1, 3, 7, 16, N };
  Expected expected;
  guint i;

  expect (NULL, &expected);
  for (i = 0; i < G_N_ELEMENTS (pieces); i++) {
    Both both = start ();

    push_in_pieces (both.h, 0, N, pieces[i]);
    gst_harness_push_event (both.h, gst_event_new_eos ());
    check_values (both.h, expected.out, N * D);
    check_values (both.w, expected.weights, N * N_WEIGHTS);
    stop (both);
  }
}
GST_END_TEST;

GST_START_TEST (test_weights_have_the_times_of_src)
{
  Both both = start ();
  guint n = 0;
  GstBuffer *out, *weights, *last;

  push_in_pieces (both.h, 0, N - 5, 7);
  last = make_buffer (N - 5, 5);
  GST_BUFFER_FLAG_SET (last, GST_BUFFER_FLAG_MARKER | GST_BUFFER_FLAG_GAP);
  gst_harness_push (both.h, last);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  while ((out = gst_harness_try_pull (both.h))) {
    weights = gst_harness_try_pull (both.w);
    fail_unless (weights != NULL);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (weights), n * FRAME_TIME);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (weights), GST_BUFFER_PTS (out));
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (weights), GST_BUFFER_DURATION (out));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (weights), GST_BUFFER_OFFSET (out));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (weights), GST_BUFFER_OFFSET_END (out));
    fail_unless_equals_int (GST_BUFFER_FLAGS (weights), GST_BUFFER_FLAGS (out));
    n += gst_buffer_get_size (weights) / (N_WEIGHTS * sizeof (gfloat));
    gst_buffer_unref (out);
    gst_buffer_unref (weights);
  }
  fail_unless_equals_int (n, N);
  fail_unless (gst_harness_try_pull (both.w) == NULL);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_absent_frames_have_no_weight)
{
  guint8 present[N];
  Expected expected;
  Both both = start ();
  GstBuffer *gap = make_buffer (10, 4);
  gsize n;
  gfloat *got;

  memset (present, 1, N);
  memset (present + 10, 0, 8);
  expect (present, &expected);
  push (both.h, 0, 10);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  gst_harness_push (both.h, gap);
  gst_harness_push_event (both.h, gst_event_new_gap (14 * FRAME_TIME, 4 * FRAME_TIME));
  push (both.h, 18, N - 18);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  /* the frames of the gap event have no buffer */
  got = pull_all (both.w, &n);
  fail_unless_equals_uint64 (n, (N - 4) * N_WEIGHTS);
  fail_unless (memcmp (got, expected.weights, 14 * N_WEIGHTS * sizeof (gfloat)) == 0);
  fail_unless (memcmp (got + 14 * N_WEIGHTS, expected.weights + 18 * N_WEIGHTS, (N - 18) * N_WEIGHTS * sizeof (gfloat))
               == 0);
  g_free (got);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_silenced_head_keeps_its_weights)
{
  Expected expected;
  Both both = start ();

  expect (NULL, &expected);
  gst_child_proxy_set (GST_CHILD_PROXY (both.h->element), "head1::gain", 0.0f, NULL);
  push_in_pieces (both.h, 0, N, 8);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  stop (both);
}
GST_END_TEST;

/* ---- every scheme ---- */

typedef struct {
  const gchar *file, *position; /* of golden data, without .safetensors; NULL: parameter-free */
  guint n_features, n_heads, n_kv_heads, window, look_ahead, n_sinks;
  const gchar *rope_layout;
  guint rope_dimensions;
} Scheme;

static const Scheme schemes[] = {
  { NULL, "none", 6, 1, 0, 5, 0, 0 },
  { NULL, "rope", 24, 3, 0, 7, 2, 3, "interleaved", 6 },
  { NULL, "alibi", 12, 4, 0, 9, 3, 2 },
  { "grouped", "none", 16, 4, 2, 11, 4, 3 },
  { "rope-grouped", "rope", 24, 6, 2, 18, 4, 5, "interleaved", 8 },
  { "alibi-grouped", "alibi", 18, 6, 3, 12, 2, 20 },
  { "relative-grouped", "relative", 16, 4, 2, 9, 5, 4 },
};

static gchar *
golden_model (const Scheme *scheme)
{
  return scheme->file != NULL ? g_strdup_printf (GOLDEN_DIR "/attention/%s.safetensors", scheme->file) : NULL;
}

static AttnLayer *
layer_of (const Scheme *scheme)
{
  const gchar *const positions[] = { "none", "rope", "alibi", "relative" };
  AttnConfig config = attn_config_default ();
  gchar *path = golden_model (scheme);
  AttnModel *model = NULL;
  AttnLayer *layer;

  config.n_features = scheme->n_features;
  config.n_heads = scheme->n_heads;
  config.n_kv_heads = scheme->n_kv_heads;
  config.window = scheme->window;
  config.look_ahead = scheme->look_ahead;
  config.n_sinks = scheme->n_sinks;
  while (strcmp (positions[config.position], scheme->position) != 0)
    config.position++;
  config.rope_layout = scheme->rope_layout != NULL ? ATTN_ROPE_INTERLEAVED : ATTN_ROPE_HALF;
  config.rope_dimensions = scheme->rope_dimensions;
  if (path != NULL)
    g_assert (attn_model_open (path, "attn.", &model, NULL) == ATTN_OK);
  g_assert (attn_layer_new (&config, model, &layer, NULL) == ATTN_OK);
  attn_model_free (model);
  g_free (path);
  return layer;
}

static GstElement *
element_of (const Scheme *scheme)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  gchar *path = golden_model (scheme);

  g_object_set (element, "heads", scheme->n_heads, "kv-heads", scheme->n_kv_heads, "window", scheme->window,
                "look-ahead", scheme->look_ahead, "sinks", scheme->n_sinks, "rope-dimensions", scheme->rope_dimensions,
                "model-file", path, "model-prefix", path != NULL ? "attn." : "", NULL);
  gst_util_set_object_arg (G_OBJECT (element), "position", scheme->position);
  gst_util_set_object_arg (G_OBJECT (element), "rope-layout", scheme->rope_layout ? scheme->rope_layout : "half");
  g_free (path);
  return element;
}

/* Each row adds up to 1, or is 0 where there was nothing to attend to: `span` roundings of float32 at most. */
static void
check_sums (const gfloat *weights, gsize n_rows, guint span)
{
  gsize row;
  guint i;

  for (row = 0; row < n_rows; row++) {
    gdouble sum = 0;

    for (i = 0; i < span; i++)
      sum += weights[row * span + i];
    fail_unless (sum == 0 || fabs (sum - 1) <= span * 0x1p-24, "row %" G_GSIZE_FORMAT " adds up to %.9g", row, sum);
  }
}

#define SCHEME_FRAMES 60

/* Through the element, 7 frames at a time, of which the ones from 21 to 27, and 35, are absent. */
static GstHarness *
run_scheme (GstElement *element, const Scheme *scheme, const gfloat *in, const guint8 *present, GstHarness **w)
{
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  gchar *caps = g_strdup_printf (
      "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)%u",
      scheme->n_features);
  guint i, n;

  *w = gst_harness_new_with_element (element, NULL, "weights");
  gst_harness_set_src_caps_str (h, caps);
  for (i = 0; i < SCHEME_FRAMES; i += n) {
    gsize size;
    GstBuffer *buffer;

    n = i == 35 ? 1 : MIN (i < 35 ? 7 : 8, SCHEME_FRAMES - i);
    size = n * scheme->n_features * sizeof (gfloat);
    buffer = gst_buffer_new_memdup (in + i * scheme->n_features, size);
    GST_BUFFER_PTS (buffer) = i * FRAME_TIME;
    if (!present[i])
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
    fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  }
  gst_harness_push_event (h, gst_event_new_eos ());
  g_free (caps);
  return h;
}

GST_START_TEST (test_weights_of_every_scheme_are_those_of_the_core)
{
  const Scheme *scheme = &schemes[__i__];
  AttnLayer *layer = layer_of (scheme);
  guint span = attn_layer_span (layer);
  gsize n = (gsize) SCHEME_FRAMES * scheme->n_heads * span, i;
  gfloat *weights = g_new (gfloat, n), *out = g_new (gfloat, SCHEME_FRAMES * attn_layer_n_outputs (layer));
  gfloat *in = g_new (gfloat, SCHEME_FRAMES * scheme->n_features);
  guint8 present[SCHEME_FRAMES];
  GstElement *element = element_of (scheme);
  GstHarness *h, *w;

  memset (present, 1, sizeof present);
  memset (present + 21, 0, 7);
  present[35] = 0;
  for (i = 0; i < SCHEME_FRAMES * scheme->n_features; i++)
    in[i] = g_random_double_range (-2, 2);
  g_assert (attn_forward (layer, in, present, SCHEME_FRAMES, 0, out, weights) == ATTN_OK);
  h = run_scheme (element, scheme, in, present, &w);
  check_values (h, out, SCHEME_FRAMES * attn_layer_n_outputs (layer));
  check_values (w, weights, n);
  check_sums (weights, (gsize) SCHEME_FRAMES * scheme->n_heads, span);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_object_unref (element);
  attn_layer_free (layer);
  g_free (in);
  g_free (out);
  g_free (weights);
}
GST_END_TEST;

/* ---- events and caps ---- */

GST_START_TEST (test_caps_tell_what_a_row_of_weights_is)
{
  Both both = start ();
  GstCaps *caps, *expected;

  push (both.h, 0, 8);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  expected = gst_caps_from_string ("audio/x-raw, format=(string)" GST_AUDIO_NE (
      F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)20, "
           "channel-mask=(bitmask)0, heads=(int)2, sinks=(int)2, window=(int)5, look-ahead=(int)3");
  fail_unless (gst_caps_is_equal (caps, expected), "%" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (expected);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_refused_caps_are_none_of_the_weights)
{
  Both both = start_with_caps ("audio/x-raw, format=(string)" GST_AUDIO_NE (
      F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)5"); /* two heads do not divide them */

  fail_unless_equals_int (gst_harness_push (both.h, gst_buffer_new_allocate (NULL, 5 * sizeof (gfloat), NULL)),
                          GST_FLOW_NOT_NEGOTIATED);
  fail_if (gst_pad_has_current_caps (both.w->sinkpad));
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, 10);
  fail_unless_equals_int (gst_harness_buffers_in_queue (both.h), gst_harness_buffers_in_queue (both.w));
  gst_harness_push_event (both.h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (both.w), 1);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_weights_of_tensors_are_tensors)
{
  Both both = start_with_caps (TENSOR_CAPS);
  Expected expected;
  GstCaps *caps;
  gchar *text;

  expect (NULL, &expected);
  push_in_pieces (both.h, 0, N, 4);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  text = gst_caps_to_string (caps);
  fail_unless (g_str_has_prefix (text, "other/tensors"));
  fail_unless (strstr (text, "dimensions=(string)20:4:1:1") != NULL, "%s", text);
  fail_unless (strstr (text, "window=(int)5") != NULL, "%s", text);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  g_free (text);
  gst_caps_unref (caps);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_weights_have_a_stream_of_their_own)
{
  Both both = start ();
  gchar *src, *weights, *expected;

  push (both.h, 0, 8);
  src = gst_pad_get_stream_id (both.h->sinkpad);
  weights = gst_pad_get_stream_id (both.w->sinkpad);
  expected = g_strconcat (src, "/weights", NULL);
  fail_unless_equals_string (weights, expected);
  g_free (src);
  g_free (weights);
  g_free (expected);
  stop (both);
}
GST_END_TEST;

/* Everything that `src` sees, in the same order: events as their types, buffers as 0. */
static GArray *sequence_src, *sequence_weights;

static GstPadProbeReturn
note (GstPad *pad, GstPadProbeInfo *info, gpointer sequence)
{
  gint type = info->type & GST_PAD_PROBE_TYPE_BUFFER ? 0 : (gint) GST_EVENT_TYPE (info->data);

  g_array_append_val ((GArray *) sequence, type);
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_events_keep_their_places_on_both_pads)
{
  const GstPadProbeType types =
      GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM | GST_PAD_PROBE_TYPE_EVENT_FLUSH;
  Both both = start ();

  sequence_src = g_array_new (FALSE, FALSE, sizeof (gint));
  sequence_weights = g_array_new (FALSE, FALSE, sizeof (gint));
  push_in_pieces (both.h, 0, 8, 2); /* the pads have begun */
  gst_pad_add_probe (both.h->sinkpad, types, note, sequence_src, NULL);
  gst_pad_add_probe (both.w->sinkpad, types, note, sequence_weights, NULL);
  gst_harness_push_event (both.h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  push_in_pieces (both.h, 8, 20, 2);
  gst_harness_push_event (both.h, gst_event_new_gap (20 * FRAME_TIME, FRAME_TIME));
  gst_harness_push_event (both.h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("x")));
  push_in_pieces (both.h, 21, N, 5);
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS ", channel-mask=(bitmask)0");
  push_in_pieces (both.h, 0, 9, 3);
  gst_harness_push_event (both.h, gst_event_new_flush_start ());
  gst_harness_push_event (both.h, gst_event_new_flush_stop (TRUE));
  push_segment (both.h);
  push_in_pieces (both.h, 0, 9, 3);
  gst_harness_push_event (both.h, gst_event_new_eos ());

  fail_unless (sequence_src->len > 20);
  fail_unless_equals_int (sequence_src->len, sequence_weights->len);
  fail_unless (memcmp (sequence_src->data, sequence_weights->data, sequence_src->len * sizeof (gint)) == 0);
  fail_unless_equals_int (g_array_index (sequence_weights, gint, sequence_weights->len - 1), GST_EVENT_EOS);
  g_array_unref (sequence_src);
  g_array_unref (sequence_weights);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_other_layer_gives_other_weights_caps)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  Both both = { gst_harness_new_with_element (element, "sink", "src"), NULL };
  GstCaps *caps;
  gint value;

  both.w = gst_harness_new_with_element (element, NULL, "weights");
  g_object_set (element, "window", 3, NULL);
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, 2);
  g_object_set (element, "window", 9, NULL); /* for the next layer */
  gst_harness_set_src_caps_str (both.h, "audio/x-raw, format=(string)" GST_AUDIO_NE (
                                            F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)12");
  push (both.h, 0, 2);
  caps = gst_pad_get_current_caps (both.w->sinkpad);
  fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, 0), "window", &value));
  fail_unless_equals_int (value, 9);
  gst_caps_unref (caps);
  gst_object_unref (element);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_both_pads_have_one_latency)
{
  Both both = start ();
  GstClockTime src, weights;

  push (both.h, 0, 2);
  src = gst_harness_query_latency (both.h);
  weights = gst_harness_query_latency (both.w);
  fail_unless_equals_uint64 (src, 4 * FRAME_TIME);
  fail_unless_equals_uint64 (weights, src);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_qos_of_weights_stays_there)
{
  Both both = start ();

  push (both.h, 0, 2);
  gst_harness_push_upstream_event (both.w, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2.0, GST_SECOND, 0));
  gst_harness_push_upstream_event (both.w, gst_event_new_reconfigure ());
  fail_unless (pull_event (both.h, GST_EVENT_QOS) == NULL);
  while (gst_harness_upstream_events_received (both.h) > 0) {
    GstEvent *event = gst_harness_pull_upstream_event (both.h);

    fail_if (GST_EVENT_TYPE (event) == GST_EVENT_QOS);
    gst_event_unref (event);
    if (gst_harness_upstream_events_in_queue (both.h) == 0)
      break;
  }
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_reconfiguring_weights_reconfigures_nothing_else)
{
  Both both = start ();
  guint before;

  push (both.h, 0, 2);
  before = gst_harness_upstream_events_received (both.h);
  gst_harness_push_upstream_event (both.w, gst_event_new_reconfigure ());
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before);
  stop (both);
}
GST_END_TEST;

GST_START_TEST (test_seek_on_weights_goes_upstream_unless_backwards)
{
  Both both = start ();
  guint before;

  push (both.h, 0, 2);
  before = gst_harness_upstream_events_received (both.h);
  gst_harness_push_upstream_event (both.w, gst_event_new_seek (1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_NONE,
                                                               GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, 0));
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before + 1);
  fail_if (
      gst_pad_push_event (both.w->sinkpad, gst_event_new_seek (-1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_NONE,
                                                               GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, GST_SECOND)));
  fail_unless_equals_int (gst_harness_upstream_events_received (both.h), before + 1);
  stop (both);
}
GST_END_TEST;

/* ---- coming and going ---- */

GST_START_TEST (test_pad_that_comes_and_goes_changes_no_bit)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  Expected expected;
  gsize n;
  gfloat *got;

  expect (NULL, &expected);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, 12, 3);
  w = gst_harness_new_with_element (element, NULL, "weights");
  push_in_pieces (h, 12, 24, 3);
  got = pull_all (w, &n); /* of the buffers that came after it */
  fail_unless_equals_uint64 (n, 9 * N_WEIGHTS);
  fail_unless (memcmp (got, expected.weights + 12 * N_WEIGHTS, n * sizeof (gfloat)) == 0);
  g_free (got);
  gst_harness_teardown (w);
  push_in_pieces (h, 24, 36, 3);
  w = gst_harness_new_with_element (element, NULL, "weights");
  push_in_pieces (h, 36, N, 3);
  gst_harness_push_event (h, gst_event_new_eos ());
  check_values (w, expected.weights + 36 * N_WEIGHTS, 4 * N_WEIGHTS);
  gst_harness_teardown (w);
  check_values (h, expected.out, N * D);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_pad_that_comes_late_is_told_what_went_before)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  GstEventType types[] = { GST_EVENT_STREAM_START, GST_EVENT_CAPS, GST_EVENT_SEGMENT, GST_EVENT_TAG };
  guint i;

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  gst_harness_push_event (h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
  push (h, 0, 12);
  w = gst_harness_new_with_element (element, NULL, "weights");
  push (h, 12, 12);
  push (h, 24, 12);
  for (i = 0; i < G_N_ELEMENTS (types); i++) {
    GstEvent *event = gst_harness_try_pull_event (w);

    while (event != NULL && GST_EVENT_TYPE (event) != types[i]) {
      fail_unless (GST_EVENT_TYPE (event) == GST_EVENT_RECONFIGURE || GST_EVENT_TYPE (event) == GST_EVENT_LATENCY);
      gst_event_unref (event);
      event = gst_harness_try_pull_event (w);
    }
    fail_unless (event != NULL, "no %s", gst_event_type_get_name (types[i]));
    gst_event_unref (event);
  }
  fail_unless (gst_harness_buffers_received (w) > 0);
  gst_harness_teardown (w);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_there_is_one_weights_pad)
{
  GstElement *element = new_element ();
  GstPad *pad = gst_element_request_pad_simple (element, "weights");

  fail_unless (pad != NULL);
  fail_unless (gst_element_request_pad (element, GST_PAD_PAD_TEMPLATE (pad), NULL, NULL) == NULL);
  gst_element_release_request_pad (element, pad);
  gst_object_unref (pad);
  pad = gst_element_request_pad_simple (element, "weights");
  fail_unless (pad != NULL);
  gst_object_unref (pad); /* the element may go with it */
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_weights_survive_a_restart)
{
  Both both = start ();
  Expected expected;

  expect (NULL, &expected);
  push (both.h, 0, 20);
  fail_unless_equals_int (gst_element_set_state (both.h->element, GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
  fail_unless_equals_int (gst_element_set_state (both.h->element, GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  g_free (pull_all (both.w, &(gsize){ 0 }));
  gst_harness_push_event (both.h, gst_event_new_stream_start ("again"));
  gst_harness_set_src_caps_str (both.h, AUDIO_CAPS);
  push (both.h, 0, N);
  gst_harness_push_event (both.h, gst_event_new_eos ());
  check_values (both.w, expected.weights, N * N_WEIGHTS);
  stop (both);
}
GST_END_TEST;

static void
check_flow_without (const gchar *linked)
{
  GstElement *element = new_element ();
  GstPad *pad = gst_element_request_pad_simple (element, "weights");
  GstHarness *h = gst_harness_new_with_element (element, "sink", NULL);
  GstHarness *out = gst_harness_new_with_element (element, NULL, linked);

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (0, 10)), GST_FLOW_OK);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (10, 10)), GST_FLOW_OK); /* it looks ahead */
  fail_unless_equals_int (gst_harness_buffers_in_queue (out), 1);
  gst_harness_teardown (out);
  gst_harness_teardown (h);
  gst_object_unref (pad);
  gst_object_unref (element);
}

GST_START_TEST (test_pad_that_is_not_linked_does_not_hold_up_the_other)
{
  check_flow_without ("src");
  check_flow_without ("weights");
}
GST_END_TEST;

GST_START_TEST (test_nothing_linked_is_not_linked)
{
  GstElement *element = new_element ();
  GstPad *pad = gst_element_request_pad_simple (element, "weights");
  GstHarness *h = gst_harness_new_with_element (element, "sink", NULL);

  g_object_set (element, "look-ahead", 0, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (0, 10)), GST_FLOW_NOT_LINKED);
  gst_harness_teardown (h);
  gst_object_unref (pad);
  gst_object_unref (element);
}
GST_END_TEST;

static GstPadProbeReturn
release (GstPad *pad, GstPadProbeInfo *info, gpointer element)
{
  gst_element_release_request_pad (element, pad);
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_pad_that_goes_while_it_is_pushed_stops_nothing)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstPad *pad = gst_element_request_pad_simple (element, "weights");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, release, element, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, N, 5);
  fail_unless_equals_int (gst_harness_buffers_received (h), (N - LOOK_AHEAD) / 5);
  gst_object_unref (pad);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_flush_forgets_what_a_branch_answered)
{
  Both both = start ();

  push (both.h, 0, 10);
  gst_pad_set_active (both.w->sinkpad, FALSE);
  fail_unless_equals_int (gst_harness_push (both.h, make_buffer (10, 10)), GST_FLOW_FLUSHING);
  gst_pad_set_active (both.w->sinkpad, TRUE);
  gst_harness_push_event (both.h, gst_event_new_flush_start ());
  gst_harness_push_event (both.h, gst_event_new_flush_stop (TRUE));
  push_segment (both.h);
  push_in_pieces (both.h, 0, N, 10);
  fail_unless_equals_int (gst_harness_buffers_received (both.w), 3);
  stop (both);
}
GST_END_TEST;

static gpointer
come_and_go (gpointer data)
{
  GstElement *element = data;
  guint i;

  for (i = 0; i < 300; i++) {
    GstPad *pad = gst_element_request_pad_simple (element, "weights");

    g_thread_yield ();
    gst_element_release_request_pad (element, pad);
    gst_object_unref (pad);
  }
  return NULL;
}

GST_START_TEST (test_pad_comes_and_goes_in_another_thread)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GThread *thread;
  Expected expected;
  guint i;

  expect (NULL, &expected);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  thread = g_thread_new ("pads", come_and_go, element);
  for (i = 0; i < 100; i++) {
    gst_harness_push_event (h, gst_event_new_flush_start ());
    gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
    push_segment (h);
    push_in_pieces (h, 0, N, 5);
    gst_harness_push_event (h, gst_event_new_segment_done (GST_FORMAT_TIME, 0));
    check_values (h, expected.out, N * D);
  }
  g_thread_join (thread);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- branches with queues ---- */

typedef struct {
  GMutex lock;
  GCond ended;
  gboolean has_ended;
  gint n_buffers;
} Branch;

static GstPadProbeReturn
watch_branch (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Branch *branch = data;

  g_mutex_lock (&branch->lock);
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER)
    branch->n_buffers++;
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_EOS)
    branch->has_ended = TRUE;
  g_cond_signal (&branch->ended);
  g_mutex_unlock (&branch->lock);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
block (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_PAD_PROBE_OK;
}

static void
wait_until_ended (Branch *branch)
{
  gint64 end = g_get_monotonic_time () + 30 * G_TIME_SPAN_SECOND;

  g_mutex_lock (&branch->lock);
  while (!branch->has_ended)
    fail_unless (g_cond_wait_until (&branch->ended, &branch->lock, end), "%d buffers, and no end", branch->n_buffers);
  g_mutex_unlock (&branch->lock);
}

static GstPad *
pad_of (GstElement *pipeline, const gchar *sink)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), sink);
  GstPad *pad = gst_element_get_static_pad (element, "sink");

  gst_object_unref (element);
  return pad;
}

/* One branch does not move at all, and the other one gets to its end; then the first may move, and gets there too. */
static void
check_branches (const gchar *slow, const gchar *fast)
{
  GstElement *pipeline = gst_parse_launch ("audiotestsrc num-buffers=100 samplesperbuffer=1 ! audio/x-raw, rate=100, "
                                           "channels=6 ! attention name=a window=20 "
                                           "look-ahead=5 a.src ! queue ! fakesink name=src async=false a.weights ! "
                                           "queue ! fakesink name=weights async=false",
                                           NULL);
  const GstPadProbeType types = GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM;
  GstPad *slow_pad = pad_of (pipeline, slow), *fast_pad = pad_of (pipeline, fast);
  Branch slow_branch = { 0 }, fast_branch = { 0 };
  gulong blocking =
      gst_pad_add_probe (slow_pad, GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER, block, NULL, NULL);

  gst_pad_add_probe (slow_pad, types, watch_branch, &slow_branch, NULL);
  gst_pad_add_probe (fast_pad, types, watch_branch, &fast_branch, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_until_ended (&fast_branch);
  fail_unless_equals_int (fast_branch.n_buffers, 100);
  fail_if (slow_branch.has_ended);
  gst_pad_remove_probe (slow_pad, blocking);
  wait_until_ended (&slow_branch);
  fail_unless_equals_int (slow_branch.n_buffers, 100);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (slow_pad);
  gst_object_unref (fast_pad);
  gst_object_unref (pipeline);
}

GST_START_TEST (test_slow_branch_behind_a_queue_does_not_stall_the_other)
{
  check_branches ("src", "weights");
  check_branches ("weights", "src");
}
GST_END_TEST;

/* ---- limits ---- */

GST_START_TEST (test_more_weights_than_a_frame_may_have_are_refused)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src"), *w;
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error;

  w = gst_harness_new_with_element (element, NULL, "weights");
  gst_element_set_bus (element, bus);
  g_object_set (element, "heads", 2, "window", 40000, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  fail_unless_equals_int (gst_harness_push (h, make_buffer (0, 1)), GST_FLOW_ERROR);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "2 heads that attend to 40000 frames have 80000 weights") != NULL, "%s",
               error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_harness_teardown (w); /* without the pad it goes on */
  fail_unless_equals_int (gst_harness_push (h, make_buffer (0, 1)), GST_FLOW_OK);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

/* ---- messages ---- */

/* Runs N frames in pieces of `piece`; the messages that came, as structures. */
static GPtrArray *
messages_of (GstElement *element, const gchar *caps, guint piece)
{
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GPtrArray *structures = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_structure_free);
  GstBus *bus = gst_bus_new ();
  GstMessage *message;

  gst_element_set_bus (element, bus);
  gst_harness_set_src_caps_str (h, caps);
  push_in_pieces (h, 0, N, piece);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT))) {
    fail_unless (gst_message_has_name (message, "attention"));
    g_ptr_array_add (structures, gst_structure_copy (gst_message_get_structure (message)));
    gst_message_unref (message);
  }
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  return structures;
}

static gdouble
get_double (const GstStructure *structure, const gchar *field, guint head)
{
  return g_value_get_double (gst_value_array_get_value (gst_structure_get_value (structure, field), head));
}

static gint
get_int (const GstStructure *structure, const gchar *field, guint head)
{
  return g_value_get_int (gst_value_array_get_value (gst_structure_get_value (structure, field), head));
}

static guint64
get_uint64 (const GstStructure *structure, const gchar *field)
{
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (structure, field, &value)
               || gst_structure_get_clock_time (structure, field, &value));
  return value;
}

static void
fail_unless_close (gdouble got, gdouble expected)
{
  fail_unless (fabs (got - expected) < 1e-5, "%.9g, not %.9g", got, expected);
}

GST_START_TEST (test_messages_say_what_heads_attend_to)
{
  GstElement *element = new_element ();
  GPtrArray *messages;
  Expected expected;
  guint m, h, i;

  expect (NULL, &expected);
  g_object_set (element, "post-messages", TRUE, "interval", (guint64) 80 * GST_MSECOND, NULL);
  messages = messages_of (element, AUDIO_CAPS, 3);
  fail_unless_equals_int (messages->len, N / 8);
  for (m = 0; m < messages->len; m++)
    for (h = 0; h < HEADS; h++) {
      const GstStructure *message = g_ptr_array_index (messages, m);
      gdouble entropy = 0, moment = 0, window = 0, sinks = 0, slots[SPAN] = { 0 };
      guint peak = SINKS + WINDOW - 1;

      for (i = 0; i < 8 * SPAN; i++) {
        gdouble w = expected.weights[((m * 8 + i / SPAN) * HEADS + h) * SPAN + i % SPAN];

        entropy -= w > 0 ? w * log2 (w) : 0;
        slots[i % SPAN] += w;
      }
      for (i = 0; i < SPAN; i++) {
        if (i < SINKS)
          sinks += slots[i];
        else
          window += slots[i], moment += slots[i] * (SINKS + WINDOW - 1.0 - i);
        if (i >= SINKS && slots[i] > slots[peak])
          peak = i;
      }
      fail_unless_close (get_double (message, "entropy", h), entropy / 8);
      fail_unless_close (get_double (message, "mean-lag", h), moment / window);
      fail_unless_close (get_double (message, "sink-weight", h), sinks / 8);
      fail_unless_equals_int (get_int (message, "peak-lag", h), SINKS + WINDOW - 1 - (gint) peak);
    }
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_even_attention_has_the_entropy_of_its_frames)
{
  GstElement *element = gst_element_factory_make ("attention", NULL);
  GPtrArray *messages;
  const GstStructure *last;

  memset (frames, 0, sizeof frames);
  g_object_set (element, "sinks", 2, "window", 6, "post-messages", TRUE, NULL);
  messages = messages_of (element, AUDIO_CAPS, 10);
  fail_unless_equals_int (messages->len, 4);
  last = g_ptr_array_index (messages, 3);
  fail_unless_close (get_double (last, "entropy", 0), 3); /* 8 frames */
  fail_unless_close (get_double (last, "mean-lag", 0), 2.5);
  fail_unless_close (get_double (last, "sink-weight", 0), 0.25);
  fail_unless_equals_int (get_int (last, "peak-lag", 0), 0); /* the nearest of equals */
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_are_timed_by_their_frames)
{
  GstElement *element = new_element ();
  GPtrArray *messages;
  const GstStructure *message;

  g_object_set (element, "post-messages", TRUE, "interval", (guint64) 150 * GST_MSECOND, NULL);
  messages = messages_of (element, AUDIO_CAPS, 4);
  fail_unless_equals_int (messages->len, 3); /* 15, 15 and the 10 at the end */
  message = g_ptr_array_index (messages, 1);
  fail_unless_equals_uint64 (get_uint64 (message, "timestamp"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "stream-time"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "running-time"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "duration"), 15 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "endtime"), 30 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (message, "frames"), 15);
  message = g_ptr_array_index (messages, 2);
  fail_unless_equals_uint64 (get_uint64 (message, "frames"), 10);
  fail_unless_equals_uint64 (get_uint64 (message, "endtime"), 40 * FRAME_TIME);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_do_not_depend_on_the_size_of_buffers)
{
  GPtrArray *messages[2];
  guint i;

  for (i = 0; i < 2; i++) {
    GstElement *element = new_element ();

    g_object_set (element, "post-messages", TRUE, NULL);
    messages[i] = messages_of (element, AUDIO_CAPS, i == 0 ? 1 : 13);
    gst_object_unref (element);
  }
  fail_unless_equals_int (messages[0]->len, 4);
  fail_unless_equals_int (messages[1]->len, 4);
  for (i = 0; i < 4; i++)
    fail_unless (gst_structure_is_equal (g_ptr_array_index (messages[0], i), g_ptr_array_index (messages[1], i)));
  g_ptr_array_unref (messages[0]);
  g_ptr_array_unref (messages[1]);
}
GST_END_TEST;

GST_START_TEST (test_without_a_rate_each_buffer_gives_a_message)
{
  GstElement *element = new_element ();
  GPtrArray *messages;

  g_object_set (element, "post-messages", TRUE, NULL);
  messages = messages_of (element,
                          "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, "
                          "dimensions=(string)6:5:1:1, framerate=(fraction)0/1",
                          5);
  fail_unless_equals_int (messages->len, N / 5);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_count_frames_that_attended)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = gst_bus_new ();
  GstBuffer *gap = make_buffer (4, 4);
  GstMessage *message;

  gst_element_set_bus (element, bus);
  g_object_set (element, "post-messages", TRUE, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push (h, 0, 4);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  gst_harness_push (h, gap);
  push (h, 8, 10);
  push (h, 18, 5);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "frames"), 6);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "duration"), 10 * FRAME_TIME);
  gst_message_unref (message);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_flush_forgets_what_was_not_posted)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;

  gst_element_set_bus (element, bus);
  g_object_set (element, "post-messages", TRUE, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push (h, 0, 5);
  push (h, 5, 8);
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  push_segment (h);
  push (h, 20, 10);
  push (h, 30, 4);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "timestamp"), 20 * FRAME_TIME);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "frames"), 10);
  gst_message_unref (message);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_nobody_asked_for_messages)
{
  GstElement *element = new_element ();
  GPtrArray *messages = messages_of (element, AUDIO_CAPS, 4);

  fail_unless_equals_int (messages->len, 0);
  g_ptr_array_unref (messages);
  gst_object_unref (element);
}
GST_END_TEST;

GST_START_TEST (test_messages_come_and_go_while_frames_flow)
{
  GstElement *element = new_element ();
  GstHarness *h = gst_harness_new_with_element (element, "sink", "src");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  Expected expected;

  expect (NULL, &expected);
  gst_element_set_bus (element, bus);
  g_object_set (element, "interval", (guint64) 50 * GST_MSECOND, NULL);
  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  push_in_pieces (h, 0, 10, 5);
  g_object_set (element, "post-messages", TRUE, NULL);
  push_in_pieces (h, 10, 25, 5);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  fail_unless_equals_uint64 (get_uint64 (gst_message_get_structure (message), "timestamp"), 10 * FRAME_TIME);
  gst_message_unref (message);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  fail_unless (message != NULL);
  gst_message_unref (message);
  g_object_set (element, "post-messages", FALSE, NULL);
  push_in_pieces (h, 25, N, 5);
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT) == NULL);
  check_values (h, expected.out, N * D);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  gst_object_unref (element);
}
GST_END_TEST;

static Suite *
attention_weights_suite (void)
{
  Suite *suite = suite_create ("attention-weights");
  TCase *pad = tcase_create ("pad"), *messages = tcase_create ("messages");

  suite_add_tcase (suite, pad);
  tcase_add_checked_fixture (pad, setup, NULL);
  tcase_add_test (pad, test_weights_are_those_of_the_core);
  tcase_add_test (pad, test_weights_have_the_times_of_src);
  tcase_add_test (pad, test_absent_frames_have_no_weight);
  tcase_add_test (pad, test_silenced_head_keeps_its_weights);
  tcase_add_loop_test (pad, test_weights_of_every_scheme_are_those_of_the_core, 0, G_N_ELEMENTS (schemes));
  tcase_add_test (pad, test_caps_tell_what_a_row_of_weights_is);
  tcase_add_test (pad, test_refused_caps_are_none_of_the_weights);
  tcase_add_test (pad, test_weights_of_tensors_are_tensors);
  tcase_add_test (pad, test_weights_have_a_stream_of_their_own);
  tcase_add_test (pad, test_events_keep_their_places_on_both_pads);
  tcase_add_test (pad, test_other_layer_gives_other_weights_caps);
  tcase_add_test (pad, test_both_pads_have_one_latency);
  tcase_add_test (pad, test_qos_of_weights_stays_there);
  tcase_add_test (pad, test_reconfiguring_weights_reconfigures_nothing_else);
  tcase_add_test (pad, test_seek_on_weights_goes_upstream_unless_backwards);
  tcase_add_test (pad, test_pad_that_comes_and_goes_changes_no_bit);
  tcase_add_test (pad, test_pad_that_comes_late_is_told_what_went_before);
  tcase_add_test (pad, test_there_is_one_weights_pad);
  tcase_add_test (pad, test_weights_survive_a_restart);
  tcase_add_test (pad, test_pad_that_is_not_linked_does_not_hold_up_the_other);
  tcase_add_test (pad, test_nothing_linked_is_not_linked);
  tcase_add_test (pad, test_pad_that_goes_while_it_is_pushed_stops_nothing);
  tcase_add_test (pad, test_flush_forgets_what_a_branch_answered);
  tcase_add_test (pad, test_pad_comes_and_goes_in_another_thread);
  tcase_add_test (pad, test_slow_branch_behind_a_queue_does_not_stall_the_other);
  tcase_add_test (pad, test_more_weights_than_a_frame_may_have_are_refused);
  suite_add_tcase (suite, messages);
  tcase_add_checked_fixture (messages, setup, NULL);
  tcase_add_test (messages, test_messages_say_what_heads_attend_to);
  tcase_add_test (messages, test_even_attention_has_the_entropy_of_its_frames);
  tcase_add_test (messages, test_messages_are_timed_by_their_frames);
  tcase_add_test (messages, test_messages_do_not_depend_on_the_size_of_buffers);
  tcase_add_test (messages, test_without_a_rate_each_buffer_gives_a_message);
  tcase_add_test (messages, test_messages_count_frames_that_attended);
  tcase_add_test (messages, test_flush_forgets_what_was_not_posted);
  tcase_add_test (messages, test_nobody_asked_for_messages);
  tcase_add_test (messages, test_messages_come_and_go_while_frames_flow);
  return suite;
}

GST_CHECK_MAIN (attention_weights);
