/*
 * Any bytes as the life of an element: the first picks it and its settings, the others are buffers, events, queries,
 * property and state changes, pads that come and go, states that are saved and restored. It must not crash or leak, and
 * `attention` must give as many buffers as it took, unless it was told to skip late ones.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

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

/* ---- an element beside its pads ---- */

typedef struct {
  Fuzzed fuzzed;
  const FuzzedElement *kind;
  gboolean is_attention;
  gboolean skips;                 /* outputs, for the quality of service */
  gboolean segment;               /* has been sent: no source pushes a buffer without */
  gboolean refused;               /* a buffer, since the last flush: it may have left in part */
  GstPad *weights, *weights_sink; /* or NULL */
  Fuzzed of_weights;              /* counts them */
  GBytes *state;                  /* or NULL */
  GstClockTime time;
  GstClockTime gains_time;
} Life;

static void
forget (Life *life)
{
  life->fuzzed.n_in = life->fuzzed.n_out = 0;
  life->refused = life->segment = FALSE;
}

/* ---- actions ---- */

static void
send_segment (Life *life)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  if (!life->segment)
    gst_pad_push_event (life->fuzzed.src, gst_event_new_segment (&segment));
  life->segment = TRUE;
}

static void
push_buffer (Life *life, Input *input)
{
  guint8 kind = next (input), n_words = next (input), extra = kind & 1 ? next (input) & 3 : 0;
  gsize size = 4 * (n_words % 97) + extra, i;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  GstMapInfo map;

  send_segment (life);
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
  if (kind & 64) /* to another age of the world */
    life->time ^= (guint64) next (input) << 56;
  if (!(kind & 32)) {
    GST_BUFFER_PTS (buffer) = life->time;
    GST_BUFFER_DURATION (buffer) = size / 16 * 10 * GST_MSECOND;
    life->time += GST_BUFFER_DURATION (buffer);
  }
  if (gst_pad_push (life->fuzzed.src, buffer) == GST_FLOW_OK)
    life->fuzzed.n_in++;
  else
    life->refused = TRUE;
}

static void
start_gains_again (Life *life, guint8 kind)
{
  GstCaps *caps = gst_caps_from_string (gains_caps[kind % G_N_ELEMENTS (gains_caps)]);

  begin_gains (&life->fuzzed, caps);
  gst_caps_unref (caps);
}

/* Pushes to the pad `gains`. */
static void
push_gains (Life *life, Input *input)
{
  guint8 kind = next (input), n = next (input);
  GstPad *pad = life->fuzzed.gains;
  gsize i, size = 4 * n;
  GstBuffer *buffer;
  GstMapInfo map;

  if (kind % 8 == 0)
    gst_pad_push_event (pad, gst_event_new_eos ());
  if (kind % 8 == 1)
    gst_pad_push_event (pad, gst_event_new_gap (life->gains_time, n * 10 * GST_MSECOND));
  if (kind % 8 == 2) {
    gst_pad_push_event (pad, gst_event_new_flush_start ());
    gst_pad_push_event (pad, gst_event_new_flush_stop (TRUE));
  }
  if (kind % 8 <= 3)
    start_gains_again (life, kind >> 3);
  buffer = gst_buffer_new_allocate (NULL, size, NULL);
  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (i = 0; i < size; i++) /* gains, and now and then any bits */
    map.data[i] = kind & 64 ? next (input) : (i % 4 == 3 ? 0x3f : 0x11 * (i & 7));
  gst_buffer_unmap (buffer, &map);
  if (kind & 128)
    life->gains_time += n * GST_MSECOND;
  GST_BUFFER_PTS (buffer) = life->gains_time;
  gst_pad_push (pad, buffer);
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
  life->segment = TRUE;
  gst_pad_push_event (life->fuzzed.src, gst_event_new_segment (&segment));
}

static void
push_caps (Life *life, const gchar *description)
{
  GstCaps *caps;

  if (description == NULL)
    return;
  caps = gst_caps_from_string (description);
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
  if (life->is_attention && !life->skips && !life->refused)
    must (life->fuzzed.n_in == life->fuzzed.n_out);
}

static void
restart (Life *life, gboolean from_null)
{
  gst_element_set_state (life->fuzzed.element, from_null ? GST_STATE_NULL : GST_STATE_READY);
  gst_element_set_state (life->fuzzed.element, GST_STATE_PAUSED);
  gst_element_set_state (life->fuzzed.element, GST_STATE_PLAYING);
  gst_pad_set_active (life->fuzzed.src, FALSE); /* its sticky events come again */
  gst_pad_set_active (life->fuzzed.src, TRUE);
  gst_pad_push_event (life->fuzzed.src, gst_event_new_stream_start ("again"));
  if (life->fuzzed.gains != NULL) {
    gst_pad_set_active (life->fuzzed.gains, FALSE);
    start_gains_again (life, 0);
  }
  forget (life);
}

/* Any property that is not a text (the tests cover files) or an object, with values that tests can afford. */
static void
set_something (Life *life, Input *input)
{
  GParamSpec **specs, *spec;
  GValue value = G_VALUE_INIT;
  guint n, number;

  specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (life->fuzzed.element), &n);
  spec = specs[next (input) % n];
  g_free (specs);
  number = next (input);
  if (life->kind->gain != NULL)
    gst_child_proxy_set (GST_CHILD_PROXY (life->fuzzed.element), life->kind->gain, number / 64.0f, NULL);
  if (!(spec->flags & G_PARAM_WRITABLE) || strcmp (spec->name, "max-wait") == 0) /* one thread must never wait */
    return;
  g_value_init (&value, spec->value_type);
  if (G_VALUE_HOLDS_BOOLEAN (&value))
    g_value_set_boolean (&value, number & 1);
  else if (G_VALUE_HOLDS_ENUM (&value))
    g_value_set_enum (&value, number % 5);
  else if (G_VALUE_HOLDS_UINT (&value))
    g_value_set_uint (&value, strcmp (spec->name, "threads") == 0 ? number % 3 : number % 41);
  else if (G_VALUE_HOLDS_UINT64 (&value))
    g_value_set_uint64 (&value, number * GST_MSECOND);
  else if (G_VALUE_HOLDS_FLOAT (&value))
    g_value_set_float (&value, number - 16);
  else if (G_VALUE_HOLDS_DOUBLE (&value))
    g_value_set_double (&value, number * (number - 16.0) / 8);
  else if (GST_VALUE_HOLDS_FRACTION (&value))
    gst_value_set_fraction (&value, number % 16 * 50, 1 + number / 16);
  else
    goto done;
  g_param_value_validate (spec, &value); /* into its range: GObject refuses other values */
  g_object_set_property (G_OBJECT (life->fuzzed.element), spec->name, &value);
  life->skips = life->skips || strcmp (spec->name, "qos") == 0;
done:
  g_value_unset (&value);
}

static void
change_weights (Life *life)
{
  if (life->kind->weights == NULL)
    return;
  if (life->weights == NULL) {
    life->weights = gst_element_request_pad_simple (life->fuzzed.element, life->kind->weights);
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

  if (g_signal_lookup ("save-state", G_OBJECT_TYPE (life->fuzzed.element)) == 0)
    return;
  if (next (input) & 1) {
    g_clear_pointer (&life->state, g_bytes_unref);
    g_signal_emit_by_name (life->fuzzed.element, "save-state", &life->state);
  } else if (life->state != NULL) {
    g_signal_emit_by_name (life->fuzzed.element, "restore-state", life->state, &restored);
  }
}

static void
query (GstPad *pad, GstQuery *query)
{
  gst_pad_peer_query (pad, query);
  gst_query_unref (query);
}

/* From both sides. */
static void
ask (Life *life)
{
  GstPad *const pads[] = { life->fuzzed.sink, life->fuzzed.src, life->weights_sink };
  GstCaps *caps = gst_caps_from_string (life->kind->caps[0] != NULL ? life->kind->caps[0] : "application/x-npy");
  guint i;

  for (i = 0; i < G_N_ELEMENTS (pads) && pads[i] != NULL; i++) {
    query (pads[i], gst_query_new_latency ());
    query (pads[i], gst_query_new_position (GST_FORMAT_TIME));
    query (pads[i], gst_query_new_duration (GST_FORMAT_TIME));
    query (pads[i], gst_query_new_seeking (GST_FORMAT_BYTES));
    query (pads[i], gst_query_new_caps (caps));
    query (pads[i], gst_query_new_accept_caps (caps));
    query (pads[i], gst_query_new_custom (GST_QUERY_CUSTOM, gst_structure_new_empty ("x")));
  }
  query (life->fuzzed.src, gst_query_new_allocation (caps, TRUE));
  query (life->fuzzed.src, gst_query_new_drain ());
  gst_caps_unref (caps);
}

static void
send_upstream (Life *life, guint8 kind)
{
  GstPad *pad = life->weights_sink != NULL && kind & 1 ? life->weights_sink : life->fuzzed.sink;
  GstClockTime latency = kind * GST_MSECOND;

  gst_pad_push_event (pad, gst_event_new_reconfigure ());
  gst_pad_push_event (pad, gst_event_new_latency (latency));
  gst_pad_push_event (pad, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 1.5, latency, life->time));
  gst_pad_push_event (pad, gst_event_new_seek (kind & 2 ? -1 : 1, kind & 4 ? GST_FORMAT_TIME : GST_FORMAT_BYTES,
                                               kind & 8 ? GST_SEEK_FLAG_FLUSH : GST_SEEK_FLAG_NONE, GST_SEEK_TYPE_SET,
                                               0, GST_SEEK_TYPE_NONE, 0));
}

static void
send_gap (Life *life, GstClockTime duration)
{
  if (GST_CLOCK_TIME_IS_VALID (life->time))
    gst_pad_push_event (life->fuzzed.src, gst_event_new_gap (life->time, duration));
}

static void
send_downstream (Life *life, guint8 kind)
{
  GstTagList *tags = gst_tag_list_new (GST_TAG_TITLE, "t", NULL);
  GstStructure *structure = gst_structure_new_empty ("x");

  gst_pad_push_event (life->fuzzed.src, kind & 1 ? gst_event_new_segment_done (GST_FORMAT_TIME, life->time)
                                                 : gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, structure));
  if (kind & 1)
    gst_structure_free (structure);
  gst_pad_push_event (life->fuzzed.src, gst_event_new_tag (tags));
}

static void
step (Life *life, Input *input)
{
  guint8 op = next (input);

  switch (op % 16) {
  case 0:
    push_segment (life, input);
    break;
  case 1:
    push_caps (life, life->kind->caps[next (input) % MAX_CAPS]);
    break;
  case 2:
    flush (life);
    break;
  case 3:
    end (life);
    break;
  case 4:
    restart (life, op & 16);
    break;
  case 5:
    set_something (life, input);
    break;
  case 6:
    if (life->fuzzed.gains != NULL)
      push_gains (life, input);
    else
      change_weights (life);
    break;
  case 7:
    save_or_restore (life, input);
    break;
  case 8:
    ask (life);
    send_upstream (life, op >> 4);
    break;
  case 9:
    send_gap (life, next (input) * 10 * GST_MSECOND << 2 * (op >> 4)); /* up to 87 years */
    break;
  case 10:
    send_downstream (life, op >> 4);
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
  guint8 first = next (&input);
  const FuzzedElement *kind = &fuzzed_elements[first % 8 % G_N_ELEMENTS (fuzzed_elements)];
  Life life = { .kind = kind, .is_attention = kind == fuzzed_elements };

  init_elements ();
  start_element (&life.fuzzed, kind);
  if (life.is_attention)
    g_object_set (life.fuzzed.element, "window", 1 + (first >> 3) % 9, "look-ahead", (first >> 5) % 5, NULL);
  push_caps (&life, kind->caps[0]);
  if (life.fuzzed.gains != NULL)
    start_gains_again (&life, first >> 3);
  send_segment (&life);
  while (input.size > 0)
    step (&life, &input);
  end (&life);
  if (life.weights != NULL)
    change_weights (&life);
  g_clear_pointer (&life.state, g_bytes_unref);
  stop_element (&life.fuzzed);
  return 0;
}
