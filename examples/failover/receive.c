/*
 * The side that attends. You can kill it at any time: its stream goes on in the next process.
 *
 *   receive tcp|udp ADDRESS PORT STATE LOG
 *
 * STATE is the stream's state: written every quarter of a second, and restored at the start if it is there. LOG (see
 * failover.h) lists the work of this process.
 *
 * It teaches this:
 *   - The element restores the state, from its property state-file. The number of the next frame stands at byte 40 of
 *     the state (attn.h).
 *   - A sender that remembers frames (tcp) sends from that frame on, if asked: then nothing is lost.
 *   - From a sender that does not (udp), the first frame that comes in is a later one. The element cannot know that: a
 *     state holds frame numbers but no times. A GAP event in front of that frame tells how many are missing, and these
 *     are absent, as lost frames are.
 *   - With look-ahead a state is written only after the outputs that waited for later frames have left.
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include <gio/gio.h>
#include <gst/rtp/rtp.h>

#include "failover.h"

#define SAVE_EVERY 25 /* frames. What comes between a save and the end of the process has to come again, or is lost */
#define ATTENTION                                                                               \
  "attention name=attention position=alibi heads=" G_STRINGIFY (HEADS) " window=" G_STRINGIFY ( \
      WINDOW) " look-ahead=" G_STRINGIFY (LOOK_AHEAD) " sinks=" G_STRINGIFY (SINKS) " ! fakesink sync=false"

typedef struct {
  const gchar *state_file;
  FILE *log;
  guint64 next; /* the frame that the state goes on from */
  gboolean is_rtp, met;
  guint32 rtp_time; /* of the packet that is being taken apart */
  GQueue here;      /* numbers of the frames that came and have not left */
  guint n_left;
  GBytes *state; /* not written yet, or NULL */
} Receiver;

static void
note (Receiver *receiver, Record record)
{
  fwrite (&record, sizeof record, 1, receiver->log);
  fflush (receiver->log); /* a killed process writes nothing any more */
}

/* ---- frames that come ---- */

static GstPadProbeReturn
see_packet (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Receiver *receiver = data;
  GstRTPBuffer rtp = GST_RTP_BUFFER_INIT;

  if (gst_rtp_buffer_map (GST_PAD_PROBE_INFO_BUFFER (info), GST_MAP_READ, &rtp)) {
    receiver->rtp_time = gst_rtp_buffer_get_timestamp (&rtp);
    gst_rtp_buffer_unmap (&rtp);
  }
  return GST_PAD_PROBE_OK;
}

/*
 * How many frames are missing between the state and the first that comes. RTP's time stamps have 32 bits, 13 hours; the
 * difference is right if the outage was shorter than half of that.
 */
static gint64
count_missing (const Receiver *receiver, GstBuffer *buffer)
{
  if (receiver->is_rtp)
    return (gint32) (receiver->rtp_time - (guint32) receiver->next * TICKS) / TICKS;
  return (gint64) (GST_BUFFER_PTS (buffer) / FRAME_TIME - receiver->next);
}

/* FALSE: the state has it already. */
static gboolean
meet (Receiver *receiver, GstPad *pad, GstBuffer *buffer)
{
  gint64 n_missing = count_missing (receiver, buffer);
  GstClockTime pts = GST_BUFFER_PTS (buffer), gap = MAX (n_missing, 0) * FRAME_TIME;

  if (n_missing > 0)
    gst_pad_send_event (pad, gst_event_new_gap (pts > gap ? pts - gap : 0, gap));
  receiver->met = n_missing >= 0;
  if (receiver->met)
    printf ("receive: going on from frame %" G_GUINT64_FORMAT ", %" G_GINT64_FORMAT " are missing\n", receiver->next,
            n_missing);
  return receiver->met;
}

static GstPadProbeReturn
take_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Receiver *receiver = data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  gfloat frame[N_FEATURES];

  if (!receiver->met && !meet (receiver, pad, buffer))
    return GST_PAD_PROBE_DROP;
  gst_buffer_extract (buffer, 0, frame, sizeof frame);
  note (receiver, (Record){ .what = CAME, .number = frame_number (frame) });
  g_queue_push_tail (&receiver->here, GUINT_TO_POINTER ((guint) frame_number (frame)));
  return GST_PAD_PROBE_OK;
}

/* ---- frames that leave ---- */

static void
write_state (Receiver *receiver)
{
  GError *error = NULL;

  if (!g_file_set_contents (receiver->state_file, g_bytes_get_data (receiver->state, NULL),
                            g_bytes_get_size (receiver->state), &error))
    fail ("%s", error->message);
  g_clear_pointer (&receiver->state, g_bytes_unref);
}

/*
 * A state owes the outputs that wait for their look-ahead, and who restores it has no buffers for them. So it counts
 * only when they have left as well.
 */
static GstPadProbeReturn
give_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Receiver *receiver = data;
  Record record = { .what = LEFT, .number = GPOINTER_TO_UINT (g_queue_pop_head (&receiver->here)) };

  gst_buffer_extract (GST_PAD_PROBE_INFO_BUFFER (info), 0, record.values, sizeof record.values);
  note (receiver, record);
  receiver->n_left++;
  if (receiver->n_left % SAVE_EVERY == 0)
    g_signal_emit_by_name (GST_OBJECT_PARENT (pad), "save-state", &receiver->state);
  if (receiver->n_left % SAVE_EVERY == LOOK_AHEAD && receiver->state != NULL)
    write_state (receiver);
  return GST_PAD_PROBE_OK;
}

/* ---- pipelines ---- */

static void
read_state (Receiver *receiver)
{
  gchar *state;
  gsize size;

  if (!g_file_get_contents (receiver->state_file, &state, &size, NULL))
    return;
  if (size >= 48)
    receiver->next = GST_READ_UINT64_LE (state + 40);
  g_free (state);
}

static GstElement *
receive_tcp (Receiver *receiver, const gchar *address, guint16 port, GSocketConnection **connection)
{
  GSocketClient *client = g_socket_client_new ();
  guint64 wanted = GUINT64_TO_BE (receiver->next);
  GOutputStream *out;
  GError *error = NULL;
  guint tries;

  *connection = g_socket_client_connect_to_host (client, address, port, NULL, NULL);
  for (tries = 0; *connection == NULL && tries < 100; tries++) { /* ten seconds */
    g_usleep (G_USEC_PER_SEC / 10);
    *connection = g_socket_client_connect_to_host (client, address, port, NULL, NULL);
  }
  g_object_unref (client);
  if (*connection == NULL)
    fail ("%s port %u: nobody answers", address, port);
  out = g_io_stream_get_output_stream (G_IO_STREAM (*connection));
  if (!g_output_stream_write_all (out, &wanted, sizeof wanted, NULL, NULL, &error))
    fail ("%s port %u: %s", address, port, error->message);
  return start_pipeline ("fdsrc fd=%d ! gdpdepay ! " ATTENTION,
                         g_socket_get_fd (g_socket_connection_get_socket (*connection)));
}

/*
 * The sender's caps come as a session description would bring them, so that no packet has to be waited for. mode=none:
 * time stamps are RTP's own, and not what the clock of this machine makes of them: lost packets leave whole frames out.
 */
static GstElement *
receive_udp (Receiver *receiver, const gchar *address, guint16 port)
{
  GstCaps *caps = gst_caps_from_string (CAPS);
  gchar *text = gst_caps_to_string (caps), *encoded = g_base64_encode ((guchar *) text, strlen (text));
  GstElement *pipeline =
      start_pipeline ("udpsrc address=%s port=%u timeout=2000000000 caps=\"application/x-rtp,media=application,"
                      "clock-rate=90000,encoding-name=X-GST,caps=(string)\\\"%s\\\",capsversion=(string)0\" ! "
                      "rtpjitterbuffer mode=none ! rtpgstdepay name=depay ! " ATTENTION,
                      address, port, encoded);

  receiver->is_rtp = TRUE;
  add_probe (pipeline, "depay", "sink", GST_PAD_PROBE_TYPE_BUFFER, see_packet, receiver);
  gst_caps_unref (caps);
  g_free (text);
  g_free (encoded);
  return pipeline;
}

/* Until the end of the stream; with udp, which has none, until nothing has come for two seconds. */
static void
run (Receiver *receiver, GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  gboolean ended = FALSE;

  g_object_set (element_of (pipeline, "attention"), "state-file", receiver->state_file, NULL);
  add_probe (pipeline, "attention", "sink", GST_PAD_PROBE_TYPE_BUFFER, take_frame, receiver);
  add_probe (pipeline, "attention", "src", GST_PAD_PROBE_TYPE_BUFFER, give_frame, receiver);
  gst_element_set_state (pipeline, GST_STATE_READY); /* with udp, packets are taken from now on */
  note (receiver, (Record){ .what = BEGINS, .number = receiver->next });
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (!ended) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
                                                      GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT);
    GError *error;

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      fail ("receive: %s", error->message);
    }
    if (gst_message_has_name (message, "GstUDPSrcTimeout") && receiver->met)
      gst_element_send_event (pipeline, gst_event_new_eos ());
    ended = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    gst_message_unref (message);
  }
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

int
main (int argc, char **argv)
{
  Receiver receiver = { .here = G_QUEUE_INIT };
  GSocketConnection *connection = NULL;

  start_program (&argc, &argv);
  if (argc != 6 || (strcmp (argv[1], "tcp") != 0 && strcmp (argv[1], "udp") != 0))
    fail ("usage: receive tcp|udp ADDRESS PORT STATE LOG");
  receiver.state_file = argv[4];
  receiver.log = fopen (argv[5], "wb");
  if (receiver.log == NULL)
    fail ("cannot write %s", argv[5]);
  read_state (&receiver);
  run (&receiver, strcmp (argv[1], "tcp") == 0 ? receive_tcp (&receiver, argv[2], atoi (argv[3]), &connection)
                                               : receive_udp (&receiver, argv[2], atoi (argv[3])));
  g_clear_object (&connection);
  g_clear_pointer (&receiver.state, g_bytes_unref);
  g_queue_clear (&receiver.here);
  fclose (receiver.log);
  return 0;
}
