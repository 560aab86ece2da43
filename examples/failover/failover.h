/*
 * What the programs of this example agree on: the frames that are sent, the layer that attends to them, and the log of
 * a receiver.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef EXAMPLES_FAILOVER_H
#define EXAMPLES_FAILOVER_H

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <gst/audio/audio.h>
#include <gst/gst.h>

#define RATE 100 /* frames per second */
#define FRAME_TIME (GST_SECOND / RATE)
#define N_FEATURES 8
#define FRAME_SIZE (N_FEATURES * sizeof (gfloat))
#define CAPS "audio/x-raw,format=" GST_AUDIO_NE (F32) ",layout=interleaved,rate=100,channels=8,channel-mask=(bitmask)0"

/* A window of five seconds, so that frames from before an outage of a second or two still count behind it. */
#define HEADS 2
#define WINDOW 500
#define LOOK_AHEAD 3
#define SINKS 4

/* RTP's clock. A sender starts it at 0 with frame 0, so that a time stamp tells the number of the frame. */
#define CLOCK_RATE 90000
#define TICKS (CLOCK_RATE / RATE)

/* Frame `number`: any values, the same in every process; the first one tells which frame it is, exactly. */
static inline void
make_frame (guint64 number, gfloat *frame)
{
  guint32 bits = (guint32) number * 2654435761u;
  guint i;

  frame[0] = number / 1024.0f;
  for (i = 1; i < N_FEATURES; i++) {
    bits = bits * 1664525u + 1013904223u;
    frame[i] = (gint32) bits / 2147483648.0f;
  }
}

static inline guint64
frame_number (const gfloat *frame)
{
  return (guint64) (frame[0] * 1024);
}

/* What a receiver wrote down, in this order: from which frame it goes on, then each frame that came and that left. */
typedef struct {
  enum { BEGINS, CAME, LEFT } what;
  guint32 number;            /* of the frame */
  gfloat values[N_FEATURES]; /* of what LEFT */
} Record;

static inline void
fail (const gchar *format, ...)
{
  va_list args;

  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputs ("\n", stderr);
  exit (1);
}

/* Whatever happens, nobody waits for this process for more than a minute. */
static inline void
start_program (int *argc, char ***argv)
{
  gst_init (argc, argv);
  signal (SIGPIPE, SIG_IGN); /* an error of the sink says the same */
  alarm (60);
  setvbuf (stdout, NULL, _IOLBF, 0);
}

static inline GstElement *
start_pipeline (const gchar *format, ...)
{
  GError *error = NULL;
  GstElement *pipeline;
  gchar *description;
  va_list args;

  va_start (args, format);
  description = g_strdup_vprintf (format, args);
  va_end (args);
  pipeline = gst_parse_launch (description, &error);
  if (error != NULL)
    fail ("%s: %s", description, error->message);
  g_free (description);
  return pipeline;
}

static inline GstElement *
element_of (GstElement *pipeline, const gchar *name)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  gst_object_unref (element); /* the pipeline has it */
  return element;
}

static inline void
add_probe (GstElement *pipeline, const gchar *name, const gchar *pad_name, GstPadProbeType type,
           GstPadProbeCallback probe, gpointer data)
{
  GstPad *pad = gst_element_get_static_pad (element_of (pipeline, name), pad_name);

  gst_pad_add_probe (pad, type, probe, data, NULL);
  gst_object_unref (pad);
}

#endif
