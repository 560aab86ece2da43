/*
 * The side of the microphone: 100 frames per second, as many as the command line says.
 *
 *   send tcp ADDRESS PORT N_FRAMES           a receiver that connects names the first frame that it wants, and
 *                                            gets it if it is among the last 1000; connections may break, and
 *                                            come again
 *   send udp ADDRESS PORT N_FRAMES PERCENT   receivers ask for nothing, and PERCENT of the packets get lost on the way
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include <gio/gio.h>
#include <gst/app/app.h>

#include "failover.h"

#define MEMORY 1000 /* frames: how long a receiver may be away without losing one */

typedef struct {
  guint64 n_frames;
  gint64 start; /* of frame 0, monotonic time */
  GRand *rand;
  gdouble loss;
} Sender;

static gint64
time_of (const Sender *sender, guint64 number)
{
  return sender->start + number * (G_USEC_PER_SEC / RATE);
}

static void
push_frame (GstElement *appsrc, guint64 number)
{
  gfloat frame[N_FEATURES];
  GstBuffer *buffer;

  make_frame (number, frame);
  buffer = gst_buffer_new_memdup (frame, sizeof frame);
  GST_BUFFER_PTS (buffer) = number * FRAME_TIME;
  GST_BUFFER_DURATION (buffer) = FRAME_TIME;
  gst_app_src_push_buffer (GST_APP_SRC (appsrc), buffer);
}

/* Frames from `number` on, each at its time, and the end. FALSE when the other side went away before. */
static gboolean
run (const Sender *sender, GstElement *pipeline, guint64 number)
{
  GstElement *appsrc = element_of (pipeline, "src");
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = NULL;
  gboolean ended;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (; number < sender->n_frames && message == NULL; number++) {
    gint64 wait = time_of (sender, number) - g_get_monotonic_time ();

    if (wait > 0)
      g_usleep (wait);
    push_frame (appsrc, number);
    message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  }
  gst_app_src_end_of_stream (GST_APP_SRC (appsrc));
  if (message == NULL)
    message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  ended = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return ended;
}

/* ---- tcp: GDP carries caps, time stamps and the end ---- */

/* One receiver, from the frame that it asks for on. */
static gboolean
serve (const Sender *sender, GSocketConnection *connection)
{
  gint fd = g_socket_get_fd (g_socket_connection_get_socket (connection));
  guint64 wanted, now = (g_get_monotonic_time () - sender->start) / (G_USEC_PER_SEC / RATE);
  GInputStream *in = g_io_stream_get_input_stream (G_IO_STREAM (connection));

  if (!g_input_stream_read_all (in, &wanted, sizeof wanted, NULL, NULL, NULL))
    return FALSE;
  wanted = GUINT64_FROM_BE (wanted);
  if (wanted + MEMORY < now)
    wanted = now - MEMORY; /* the receiver will see that they are missing */
  printf ("send: a receiver goes on from frame %" G_GUINT64_FORMAT "\n", wanted);
  return run (sender, start_pipeline ("appsrc name=src format=time caps=\"" CAPS "\" ! gdppay ! fdsink fd=%d", fd),
              wanted);
}

static void
serve_tcp (Sender *sender, const gchar *address, guint16 port)
{
  GSocketListener *listener = g_socket_listener_new ();
  GSocketAddress *socket_address = g_inet_socket_address_new_from_string (address, port);
  GError *error = NULL;
  gboolean ended = FALSE;

  if (!g_socket_listener_add_address (listener, socket_address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL, NULL,
                                      &error))
    fail ("%s port %u: %s", address, port, error->message);
  g_object_unref (socket_address);
  while (!ended) {
    GSocketConnection *connection = g_socket_listener_accept (listener, NULL, NULL, &error);

    if (connection == NULL)
      fail ("%s port %u: %s", address, port, error->message);
    if (sender->start == 0)
      sender->start = g_get_monotonic_time ();
    ended = serve (sender, connection);
    g_object_unref (connection);
  }
  g_object_unref (listener);
}

/* ---- udp: RTP, one frame in one packet ---- */

static GstPadProbeReturn
lose (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Sender *sender = data;

  return g_rand_double (sender->rand) < sender->loss ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

static void
send_udp (Sender *sender, const gchar *address, guint16 port)
{
  GstElement *pipeline = start_pipeline ("appsrc name=src format=time caps=\"" CAPS "\" ! rtpgstpay timestamp-offset=0 "
                                         "! udpsink name=sink host=%s port=%u sync=false async=false",
                                         address, port);

  add_probe (pipeline, "sink", "sink", GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, lose, sender);
  sender->start = g_get_monotonic_time ();
  run (sender, pipeline, 0);
}

int
main (int argc, char **argv)
{
  Sender sender = { .rand = g_rand_new_with_seed (1) };

  start_program (&argc, &argv);
  if (argc < 5 || (strcmp (argv[1], "tcp") != 0 && strcmp (argv[1], "udp") != 0))
    fail ("usage: send tcp|udp ADDRESS PORT N_FRAMES [PERCENT]");
  sender.n_frames = g_ascii_strtoull (argv[4], NULL, 10);
  sender.loss = argc > 5 ? g_ascii_strtod (argv[5], NULL) / 100 : 0;
  if (strcmp (argv[1], "tcp") == 0)
    serve_tcp (&sender, argv[2], atoi (argv[3]));
  else
    send_udp (&sender, argv[2], atoi (argv[3]));
  g_rand_free (sender.rand);
  return 0;
}
