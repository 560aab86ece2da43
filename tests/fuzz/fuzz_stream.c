/*
 * Any bytes as the life of an element: the first picks it and its settings, the others are buffers, events, queries,
 * property and state changes, pads that come and go, states that are saved and restored. It must not crash or leak, and
 * `attention` must give as many buffers as it took.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/audio/audio.h>

#include "elements.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

typedef struct {
  const uint8_t *data;
  size_t size;
} Input;

static uint8_t
next (Input *input)
{
  if (input->size == 0)
    return 0;
  input->size--;
  return *input->data++;
}

/* ---- what an element has besides its pads ---- */

typedef struct {
  Fuzzed fuzzed;
  gboolean is_attention;
  GstPad *weights, *weights_sink; /* or NULL */
  Fuzzed of_weights;              /* counts them */
  GBytes *state;                  /* or NULL */
  GstClockTime time;
} Life;

static const gchar *const feature_caps[] = {
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)100, channels=(int)4",
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)50, channels=(int)2",
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, dimensions=(string)4:3:1:1, "
  "framerate=(fraction)0/1",
  "other/tensors, format=(string)static, num_tensors=(int)1, types=(string)float32, dimensions=(string)6:1:1:1, "
  "framerate=(fraction)25/2",
};
static const gchar *const audio_caps[] = {
  "audio/x-raw, format=(string)" GST_AUDIO_NE (F32) ", layout=(string)interleaved, rate=(int)8000, channels=(int)1",
  "audio/x-raw, format=(string)" GST_AUDIO_NE (S16) ", layout=(string)interleaved, rate=(int)16000, channels=(int)1",
};
static const struct {
  const gchar *factory;
  const gchar *const *caps; /* NULL: bytes */
  guint n_caps;
} elements[] = {
  { "attention", feature_caps, G_N_ELEMENTS (feature_caps) },
  { "logmel", audio_caps, G_N_ELEMENTS (audio_caps) },
  { "npyenc", feature_caps, G_N_ELEMENTS (feature_caps) },
  { "npyparse", NULL, 1 },
};

static void
forget (Life *life)
{
  life->fuzzed.n_in = life->fuzzed.n_out = 0;
}

/* ---- what happens ---- */

static void
push_buffer (Life *life, Input *input)
{
  guint8 kind = next (input), n_words = next (input), extra = kind & 1 ? next (input) & 3 : 0;
  gsize size = 4 * (n_words % 97) + extra, i;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (i = 0; i < size; i++) /* real values, and now and then any bits */
    map.data[i] = kind & 2 ? next (input) : (i % 4 == 3 ? 0x3f : 0x11 * (i & 7));
  gst_buffer_unmap (buffer, &map);
  if (kind & 4)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  if (kind & 8)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (kind & 16)
    life->time += next (input) * 5 * GST_MSECOND;
  if (!(kind & 32)) {
    GST_BUFFER_PTS (buffer) = life->time;
    GST_BUFFER_DURATION (buffer) = size / 16 * 10 * GST_MSECOND;
    life->time += GST_BUFFER_DURATION (buffer);
  }
  if (gst_pad_push (life->fuzzed.src, buffer) == GST_FLOW_OK)
    life->fuzzed.n_in++;
}

static void
push_segment (Life *life, Input *input)
{
  static const GstFormat formats[] = { GST_FORMAT_TIME, GST_FORMAT_BYTES, GST_FORMAT_DEFAULT };
  guint8 kind = next (input);
  GstSegment segment;

  gst_segment_init (&segment, formats[kind % 3]);
  segment.start = segment.position = (kind >> 2) * GST_MSECOND;
  if (kind & 128)
    segment.rate = 0.5;
  if (kind == 0x77)
    segment.rate = -1;
  gst_pad_push_event (life->fuzzed.src, gst_event_new_segment (&segment));
}

static void
push_caps (Life *life, const gchar *description)
{
  GstCaps *caps = gst_caps_from_string (description);

  gst_pad_push_event (life->fuzzed.src, gst_event_new_caps (caps));
  gst_caps_unref (caps);
}

static void
flush (Life *life)
{
  gst_pad_push_event (life->fuzzed.src, gst_event_new_flush_start ());
  gst_pad_push_event (life->fuzzed.src, gst_event_new_flush_stop (TRUE));
  forget (life);
}

static void
end (Life *life)
{
  gst_pad_push_event (life->fuzzed.src, gst_event_new_eos ());
  if (life->is_attention)
    must (life->fuzzed.n_in == life->fuzzed.n_out);
}

static void
restart (Life *life)
{
  gst_element_set_state (life->fuzzed.element, GST_STATE_READY);
  gst_element_set_state (life->fuzzed.element, GST_STATE_PLAYING);
  gst_pad_set_active (life->fuzzed.src, FALSE); /* its sticky events come again */
  gst_pad_set_active (life->fuzzed.src, TRUE);
  gst_pad_push_event (life->fuzzed.src, gst_event_new_stream_start ("again"));
  forget (life);
}

static void
set_something (Life *life, Input *input)
{
  static const gchar *const properties[] = { "heads", "window", "look-ahead", "sinks", "bins", "frames-per-buffer" };
  const gchar *property = properties[next (input) % G_N_ELEMENTS (properties)];
  guint8 value = next (input);

  if (g_object_class_find_property (G_OBJECT_GET_CLASS (life->fuzzed.element), property))
    g_object_set (life->fuzzed.element, property, 1 + value % 40, NULL);
  if (life->is_attention) {
    gst_child_proxy_set (GST_CHILD_PROXY (life->fuzzed.element), "head0::gain", value / 64.0f, NULL);
    g_object_set (life->fuzzed.element, "post-messages", value & 1, "position", value >> 1 & 1 ? 2 : 0, NULL);
  }
}

static void
change_weights (Life *life)
{
  if (!life->is_attention)
    return;
  if (life->weights == NULL) {
    life->weights = gst_element_request_pad_simple (life->fuzzed.element, "weights");
    life->weights_sink = take_from (life->weights, &life->of_weights);
    return;
  }
  gst_element_release_request_pad (life->fuzzed.element, life->weights);
  gst_pad_set_active (life->weights_sink, FALSE);
  g_clear_pointer (&life->weights, gst_object_unref);
  g_clear_pointer (&life->weights_sink, gst_object_unref);
}

static void
save_or_restore (Life *life, Input *input)
{
  gboolean restored;

  if (!life->is_attention)
    return;
  if (next (input) & 1) {
    g_clear_pointer (&life->state, g_bytes_unref);
    g_signal_emit_by_name (life->fuzzed.element, "save-state", &life->state);
  } else if (life->state != NULL) {
    g_signal_emit_by_name (life->fuzzed.element, "restore-state", life->state, &restored);
  }
}

static void
ask (Life *life)
{
  GstQuery *query = gst_query_new_latency ();

  gst_pad_peer_query (life->fuzzed.sink, query);
  gst_query_unref (query);
  query = gst_query_new_position (GST_FORMAT_TIME);
  gst_pad_peer_query (life->fuzzed.sink, query);
  gst_query_unref (query);
  gst_pad_push_event (life->fuzzed.sink, gst_event_new_reconfigure ());
  gst_pad_push_event (life->fuzzed.sink, gst_event_new_seek (1, GST_FORMAT_TIME, GST_SEEK_FLAG_NONE, GST_SEEK_TYPE_SET,
                                                             0, GST_SEEK_TYPE_NONE, 0));
}

static void
step (Life *life, Input *input, guint8 which)
{
  guint8 op = next (input);

  switch (op % 16) {
  case 0:
    push_segment (life, input);
    break;
  case 1:
    if (elements[which].caps != NULL)
      push_caps (life, elements[which].caps[next (input) % elements[which].n_caps]);
    break;
  case 2:
    flush (life);
    break;
  case 3:
    end (life);
    break;
  case 4:
    restart (life);
    break;
  case 5:
    set_something (life, input);
    break;
  case 6:
    change_weights (life);
    break;
  case 7:
    save_or_restore (life, input);
    break;
  case 8:
    ask (life);
    break;
  case 9:
    gst_pad_push_event (life->fuzzed.src, gst_event_new_gap (life->time, next (input) * 10 * GST_MSECOND));
    break;
  case 10:
    gst_pad_push_event (life->fuzzed.src, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE, "t", NULL)));
    break;
  case 11:
    gst_pad_push_event (life->fuzzed.src, gst_event_new_stream_start ("other"));
    break;
  default:
    push_buffer (life, input);
    break;
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  Input input = { data, MIN (size, 4096) };
  guint8 first = next (&input), which = first % G_N_ELEMENTS (elements);
  Life life = { .is_attention = which == 0 };
  GstSegment segment;

  init_elements ();
  start_element (&life.fuzzed, elements[which].factory);
  if (life.is_attention)
    g_object_set (life.fuzzed.element, "window", 1 + (first >> 2) % 9, "look-ahead", (first >> 5) % 5, NULL);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  if (elements[which].caps != NULL)
    push_caps (&life, elements[which].caps[0]);
  gst_pad_push_event (life.fuzzed.src, gst_event_new_segment (&segment));
  while (input.size > 0)
    step (&life, &input, which);
  end (&life);
  if (life.weights != NULL)
    change_weights (&life);
  g_clear_pointer (&life.state, g_bytes_unref);
  stop_element (&life.fuzzed);
  return 0;
}
