/*
 * Gives the outputs of attended.NAME to pipelines.
 *
 *   subscribe [OPTION...] NAME PIPELINE [NAME PIPELINE]...
 *
 * A PIPELINE is one for gst-launch-1.0 without its source ("npyenc ! filesink location=out.npy"), or the name of a .npy
 * file. It gets every output once and in order, with the time of its frame. Absent outputs are rows of NaN, with the
 * flag GAP. The program ends when all streams have ended. --forget removes from ATTENDED what a pipeline has got: else
 * it stays there until its age, for others to read. A pipeline that takes no more makes the program wait. If outputs
 * are lost, which only servers that die can do, the program says so, gives absent ones instead, and ends with status 1.
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include <gst/app/app.h>
#include <gst/audio/audio.h>

#include "cluster.h"

#define MOST_UNDERWAY 64 /* messages */
#define STEP 64          /* absent outputs in a buffer */

typedef struct {
  const char *name;
  char *subject;
  GstElement *pipeline;
  GstAppSrc *src;
  Reader reader;
  guint64 next;         /* output */
  guint64 n_again;      /* outputs that came a second time */
  guint64 sequence;     /* of the last message */
  guint64 n_lost;       /* outputs that the servers do not have any more */
  gint64 came;          /* when the last message came, or the reader was started */
  gint64 missing_since; /* 0: none are missing */
  guint n_tries;
  guint64 forgotten; /* the messages below are */
  guint32 width;
  gboolean ended;
} Sink;

static gboolean forget;

static void
start_pipeline (Sink *sink, const char *text)
{
  char *line =
      g_str_has_suffix (text, ".npy") ? g_strdup_printf ("npyenc ! filesink location=\"%s\"", text) : g_strdup (text);
  char *whole = g_strdup_printf ("appsrc name=cluster-src format=time block=true max-bytes=1048576 ! %s", line);
  GError *error = NULL;

  sink->pipeline = gst_parse_launch (whole, &error);
  if (error != NULL)
    fail ("%s: %s: %s", sink->name, text, error->message);
  sink->src = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (sink->pipeline), "cluster-src"));
  gst_element_set_state (sink->pipeline, GST_STATE_PLAYING);
  g_free (whole);
  g_free (line);
}

static gboolean
read_on (Cluster *cluster, Sink *sink, guint64 from)
{
  sink->came = g_get_monotonic_time ();
  return reader_start (&sink->reader, cluster, "ATTENDED", sink->subject, from, MOST_UNDERWAY);
}

static void
open_sink (Cluster *cluster, Sink *sink, const char *name, const char *text)
{
  if (!is_name (name))
    fail ("\"%s\" is not a name of letters, digits, _ and -", name);
  sink->name = name;
  sink->subject = g_strdup_printf ("attended.%s", name);
  start_pipeline (sink, text);
  if (!read_on (cluster, sink, 1))
    fail ("%s cannot be read: the server does not answer", sink->subject);
}

/* Waits until the pipeline has written all, and says what it could not. */
static void
close_sink (Sink *sink)
{
  GstBus *bus = gst_element_get_bus (sink->pipeline);
  GstMessage *message;
  GError *error = NULL;

  gst_app_src_end_of_stream (sink->src);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    fail ("%s: %s: %s", sink->name, GST_OBJECT_NAME (GST_MESSAGE_SRC (message)), error->message);
  }
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (sink->pipeline, GST_STATE_NULL);
  gst_object_unref (sink->src);
  gst_object_unref (sink->pipeline);
  g_free (sink->subject);
}

static void
fail_sink (Sink *sink)
{
  close_sink (sink); /* says why */
  fail ("%s: the pipeline ended before the stream", sink->name);
}

/* ---- outputs ---- */

/* Outputs at fewer than one per second have a fraction that audio cannot have: 1 stands for it. */
static void
set_caps (Sink *sink, const Frames *outputs)
{
  gint rate = MAX ((outputs->rate[0] + outputs->rate[1] / 2) / outputs->rate[1], 1);
  GstCaps *caps =
      gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, "F32LE", "layout", G_TYPE_STRING, "interleaved",
                           "rate", G_TYPE_INT, rate, "channels", G_TYPE_INT, (gint) outputs->width, NULL);

  if (outputs->width > 1)
    gst_caps_set_simple (caps, "channel-mask", GST_TYPE_BITMASK, G_GUINT64_CONSTANT (0), NULL);
  sink->width = outputs->width;
  gst_app_src_set_caps (sink->src, caps);
  gst_caps_unref (caps);
}

static void
push (Sink *sink, const Frames *outputs, guint64 number, const void *values, guint count)
{
  gsize size = (gsize) count * outputs->width * sizeof (gfloat), i;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (i = 0; values == NULL && i < size / sizeof (gfloat); i++)
    ((gfloat *) map.data)[i] = NAN;
  if (values != NULL)
    memcpy (map.data, values, size);
  gst_buffer_unmap (buffer, &map);
  if (values == NULL)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  GST_BUFFER_PTS (buffer) = frames_time (outputs, number);
  GST_BUFFER_DURATION (buffer) = frames_time (outputs, number + count) - GST_BUFFER_PTS (buffer);
  if (gst_app_src_push_buffer (sink->src, buffer) != GST_FLOW_OK)
    fail_sink (sink);
}

/*
 * TRUE: outputs between the last message and this one did not come. So they are read again, from the last message on or
 * from the beginning, in turns: a server that has lost messages counts anew.
 */
static gboolean
await_missing (Sink *sink, const Frames *outputs)
{
  gint64 now = g_get_monotonic_time ();

  if (outputs->first <= sink->next || outputs->previous <= sink->next) {
    if (outputs->first + outputs->count > sink->next) /* not one that was read before */
      sink->missing_since = 0;
    return FALSE;
  }
  if (sink->missing_since == 0)
    sink->missing_since = now;
  if (now - sink->missing_since < MISSING * G_GINT64_CONSTANT (1000)) {
    reader_stop (&sink->reader); /* run () starts it again */
    return TRUE;
  }
  g_printerr ("%s: outputs %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " are lost: they did not come in %d s\n",
              sink->name, sink->next, outputs->previous - 1, MISSING / 1000);
  sink->n_lost += outputs->previous - sink->next;
  sink->missing_since = 0;
  return FALSE;
}

/*
 * Those that came before are left out: three servers may keep the messages of two workers, which have the same bits.
 * FALSE: messages before it are missing.
 */
static gboolean
take_message (Sink *sink, natsMsg *message)
{
  Frames outputs;
  char reason[256];
  guint64 skipped;

  if (!frames_unpack (message, &outputs, reason))
    fail ("%s: %s", sink->subject, reason);
  if (await_missing (sink, &outputs))
    return FALSE;
  if (sink->width == 0)
    set_caps (sink, &outputs);
  while (sink->next < outputs.first) {
    guint n = MIN (outputs.first - sink->next, STEP);

    push (sink, &outputs, sink->next, NULL, n);
    sink->next += n;
  }
  sink->ended = outputs.end;
  skipped = MIN (sink->next - outputs.first, outputs.count);
  sink->n_again += skipped;
  if (outputs.count == skipped)
    return TRUE;
  push (sink, &outputs, sink->next, (const gfloat *) outputs.values + skipped * outputs.width, outputs.count - skipped);
  sink->next = outputs.first + outputs.count;
  return TRUE;
}

/* The last message of a subject stays: workers read there what has left. */
static void
receive (Cluster *cluster, Sink *sink, const Arrival *arrival)
{
  sink->came = g_get_monotonic_time ();
  if (!take_message (sink, arrival->message))
    return;
  sink->sequence = arrival->sequence;
  if (arrival->n_came % (MOST_UNDERWAY / 4) == 0 || sink->ended) {
    acknowledge (cluster, arrival->message);
    if (forget)
      remove_below (cluster, "ATTENDED", sink->subject, sink->sequence);
  }
  if (sink->ended) {
    if (sink->n_again > 0)
      g_printerr ("%s: %" G_GUINT64_FORMAT " outputs came again\n", sink->name, sink->n_again);
    reader_stop (&sink->reader);
    close_sink (sink);
  }
}

/* There is a message, but nothing came for a while. */
static gboolean
does_not_come (Cluster *cluster, Sink *sink)
{
  natsMsg *message = NULL;
  Frames outputs;
  char reason[256];
  gboolean there;

  if (g_get_monotonic_time () < sink->came + QUIET * G_GINT64_CONSTANT (1000))
    return FALSE;
  sink->came = g_get_monotonic_time ();
  if (!read_last (cluster, "ATTENDED", sink->subject, &message) || message == NULL)
    return FALSE;
  there = natsMsg_GetSequence (message) > sink->sequence
          || (frames_unpack (message, &outputs, reason) && (outputs.first + outputs.count > sink->next || outputs.end));
  natsMsg_Destroy (message);
  return there;
}

static void
read_again (Cluster *cluster, Sink *sink)
{
  gboolean from_beginning = sink->missing_since > 0 && sink->n_tries++ % 2 == 1;

  reader_stop (&sink->reader);
  if (sink->missing_since > 0)
    g_usleep (G_USEC_PER_SEC / 5);
  read_on (cluster, sink, from_beginning ? 1 : sink->sequence + 1);
}

static void
run (Cluster *cluster, Sink *sinks, gint n)
{
  gint n_open = n, i;
  Arrival arrival;

  while (n_open > 0) {
    if (next_arrival (cluster, HEARTBEAT, &arrival)) {
      for (i = 0; i < n && (sinks[i].ended || sinks[i].reader.number != arrival.number); i++)
        ;
      if (i < n && reader_accept (&sinks[i].reader, &arrival)) {
        receive (cluster, &sinks[i], &arrival);
        n_open -= sinks[i].ended;
      }
      natsMsg_Destroy (arrival.message);
    }
    for (i = 0; i < n; i++)
      if (!sinks[i].ended && (reader_is_broken (&sinks[i].reader) || does_not_come (cluster, &sinks[i])))
        read_again (cluster, &sinks[i]);
  }
}

int
main (int argc, char **argv)
{
  GOptionEntry entries[] = { { "forget", 0, 0, G_OPTION_ARG_NONE, &forget, "Remove outputs that were taken", NULL },
                             { NULL } };
  Cluster *cluster = cluster_join ("subscribe", &argc, &argv, entries, gst_init_get_option_group ());
  gint n = (argc - 1) / 2, i;
  Sink *sinks = g_new0 (Sink, n);
  guint64 n_lost = 0;

  for (i = 0; i < n; i++)
    open_sink (cluster, &sinks[i], argv[2 * i + 1], argv[2 * i + 2]);
  run (cluster, sinks, n);
  for (i = 0; i < n; i++)
    n_lost += sinks[i].n_lost;
  g_free (sinks);
  cluster_free (cluster);
  return n_lost > 0;
}
