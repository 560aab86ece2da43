/*
 * Sends frames of pipelines to features.NAME.
 *
 *   publish [OPTION...] NAME PIPELINE [NAME PIPELINE]...
 *
 * A PIPELINE is one for gst-launch-1.0 without its sink, whose frames are float32 ("audiotestsrc ! logmel"), or the
 * name of a .npy file. The end of the pipeline is the end of the stream. GAP buffers, and jumps of the time, are absent
 * frames. A pipeline waits while FEATURES is full. If the program dies, --again reads the source from its beginning,
 * and sends what is not there yet; --continue is for a live source: its frames get the next numbers.
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include <gst/app/app.h>
#include <gst/audio/audio.h>

#include "cluster.h"

typedef struct {
  const char *name;
  char *subject;
  GstElement *pipeline;
  GstAppSink *sink;
  guint64 already, next; /* frames that are there; number of the next one */
  guint64 from, start;   /* the number of the pipeline's first frame, and its time */
  guint64 sent, last;    /* the frames below this number are written; sequence of the last message, 0: none */
  GstSample *sample;     /* that has come and is not held yet */
  GByteArray *held;      /* frames that go into the next message, from frames.first on */
  Frames frames;         /* the message */
  Kept kept;             /* those before it */
  gboolean waits, ended;
  Write write;
} Source;

static gint n_frames = 8;
static gboolean again, go_on;
static guint64 sender; /* in each message that this program writes */

static GstElement *
start_pipeline (const char *text, const char *name)
{
  char *line =
      g_str_has_suffix (text, ".npy") ? g_strdup_printf ("filesrc location=\"%s\" ! npyparse", text) : g_strdup (text);
  char *whole = g_strdup_printf ("%s ! appsink name=cluster-sink sync=false max-buffers=16", line);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (whole, &error);

  if (error != NULL)
    fail ("%s: %s: %s", name, text, error->message);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  g_free (whole);
  g_free (line);
  return pipeline;
}

static void
check_bus (Source *source)
{
  GstBus *bus = gst_element_get_bus (source->pipeline);
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error = NULL;

  if (message != NULL) {
    gst_message_parse_error (message, &error, NULL);
    fail ("%s: %s: %s", source->name, GST_OBJECT_NAME (GST_MESSAGE_SRC (message)), error->message);
  }
  gst_object_unref (bus);
}

/* What the servers have of a stream. */
typedef struct {
  guint64 n;     /* frames, by the last message, or by the state if workers have removed that */
  guint64 last;  /* sequence of the last message; 0: there is none */
  Frames frames; /* what that holds; its sender is 0 if it is damaged */
  gboolean was;  /* outputs are there, but neither frames nor a state */
  gboolean ended;
} Place;

/* FALSE: the server does not answer. NULL: there is no message. */
static gboolean
read_last_of (Cluster *cluster, const char *stream, const char *prefix, const char *name, natsMsg **message)
{
  char *subject = g_strdup_printf ("%s.%s", prefix, name);
  gboolean ok = read_last (cluster, stream, subject, message);

  g_free (subject);
  return ok;
}

static gboolean
read_place (Cluster *cluster, const char *name, Place *place)
{
  natsMsg *last = NULL, *state = NULL, *output = NULL;
  gboolean ok = read_last_of (cluster, "FEATURES", "features", name, &last)
                && read_last_of (cluster, "KV_STATES", "$KV.STATES", name, &state)
                && read_last_of (cluster, "ATTENDED", "attended", name, &output);
  Frames outputs;
  char reason[256];

  *place = (Place){ .last = last != NULL ? natsMsg_GetSequence (last) : 0 };
  place->ended = output != NULL && frames_unpack (output, &outputs, reason) && outputs.end;
  place->was = output != NULL && last == NULL && state == NULL;
  if (state != NULL)
    place->n = frames_of_state (state);
  if (last != NULL && frames_unpack (last, &place->frames, reason)) {
    place->n = MAX (place->n, place->frames.first + place->frames.count);
    place->ended |= place->frames.end;
  }
  natsMsg_Destroy (last);
  natsMsg_Destroy (state);
  natsMsg_Destroy (output);
  return ok;
}

static void
look_up (Cluster *cluster, Source *source)
{
  Place place;

  if (!read_place (cluster, source->name, &place))
    fail ("%s cannot be read: the server does not answer", source->subject);
  source->ended = place.ended;
  source->already = source->sent = place.n;
  source->last = place.last;
  if (source->ended && !again)
    fail ("%s has ended: choose another name", source->name);
  if (place.was && !source->ended)
    fail ("%s was forgotten, because it was quiet for too long, but its outputs are still there: choose another name",
          source->name);
  if (source->already > 0 && !again && !go_on)
    fail ("%s has %" G_GUINT64_FORMAT " frames already: choose another name, or --again or --continue", source->name,
          source->already);
  source->next = source->from = go_on ? source->already : 0;
}

static void
open_source (Cluster *cluster, Source *source, const char *name, const char *text)
{
  if (!is_name (name))
    fail ("\"%s\" is not a name of letters, digits, _ and -", name);
  source->name = name;
  source->start = GST_CLOCK_TIME_NONE;
  source->held = g_byte_array_new ();
  source->subject = g_strdup_printf ("features.%s", name);
  look_up (cluster, source);
  if (source->ended)
    return;
  source->pipeline = start_pipeline (text, name);
  source->sink = GST_APP_SINK (gst_bin_get_by_name (GST_BIN (source->pipeline), "cluster-sink"));
}

static void
close_source (Source *source)
{
  if (source->pipeline != NULL)
    gst_element_set_state (source->pipeline, GST_STATE_NULL);
  g_clear_object (&source->sink);
  g_clear_object (&source->pipeline);
  g_byte_array_unref (source->held);
  kept_clear (&source->kept);
  g_free (source->subject);
}

/* ---- frames ---- */

static void
read_caps (Source *source, GstCaps *caps)
{
  GstAudioInfo info;
  char *text = gst_caps_to_string (caps);

  if (!gst_audio_info_from_caps (&info, caps) || GST_AUDIO_INFO_FORMAT (&info) != GST_AUDIO_FORMAT_F32LE)
    fail ("%s: the caps are %s, expected audio/x-raw with format=F32LE", source->name, text);
  if (source->frames.width > 0 && source->frames.width != (guint) GST_AUDIO_INFO_CHANNELS (&info))
    fail ("%s: the frames have %d values, expected %u as before", source->name, GST_AUDIO_INFO_CHANNELS (&info),
          source->frames.width);
  source->frames.width = GST_AUDIO_INFO_CHANNELS (&info);
  source->frames.rate[0] = GST_AUDIO_INFO_RATE (&info);
  source->frames.rate[1] = 1;
  g_free (text);
}

/* The number of the sample's first frame: the next one, or a later one if the time tells that. */
static guint64
number_of (Source *source, GstBuffer *buffer)
{
  guint64 time = GST_BUFFER_PTS (buffer), n;

  if (!GST_CLOCK_TIME_IS_VALID (time))
    return source->next;
  if (!GST_CLOCK_TIME_IS_VALID (source->start))
    source->start = time;
  n = gst_util_uint64_scale_round (time > source->start ? time - source->start : 0, source->frames.rate[0], GST_SECOND);
  return MAX (source->from + n, source->next);
}

static gsize
row_size (const Source *source)
{
  return source->frames.width * sizeof (gfloat);
}

static guint
n_held (const Source *source)
{
  return source->held->len > 0 ? source->held->len / row_size (source) : 0;
}

/* FALSE: frames are missing in front of it, so those that are held leave first. */
static gboolean
hold (Source *source, GstSample *sample)
{
  GstBuffer *buffer = gst_sample_get_buffer (sample);
  gsize size = gst_buffer_get_size (buffer), skipped;
  guint64 first;
  gboolean is_gap;

  read_caps (source, gst_sample_get_caps (sample));
  first = number_of (source, buffer);
  is_gap = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (!is_gap && source->held->len > 0 && first != source->frames.first + n_held (source))
    return FALSE;
  source->next = first + size / row_size (source);
  if (is_gap || source->next <= source->already)
    return TRUE;
  skipped = source->already > first ? source->already - first : 0; /* a publisher that died has sent them */
  if (source->held->len == 0)
    source->frames.first = first + skipped;
  skipped *= row_size (source);
  g_byte_array_set_size (source->held, source->held->len + size - skipped);
  gst_buffer_extract (buffer, skipped, source->held->data + source->held->len - (size - skipped), size - skipped);
  return TRUE;
}

/* TRUE: there is a message to send, frames or the end. */
static gboolean
next_frames (Source *source)
{
  gboolean whole = TRUE;

  if (source->frames.count > 0 || source->frames.end) /* it could not be sent */
    return TRUE;
  check_bus (source);
  while (whole && n_held (source) < (guint) n_frames) {
    if (source->sample == NULL)
      source->sample = gst_app_sink_try_pull_sample (source->sink, 0);
    if (source->sample == NULL && !gst_app_sink_is_eos (source->sink))
      return FALSE;
    whole = source->sample != NULL && hold (source, source->sample);
    if (whole)
      g_clear_pointer (&source->sample, gst_sample_unref);
  }
  source->frames.count = MIN (n_held (source), (guint) n_frames);
  if (source->frames.count > 0)
    return TRUE;
  check_bus (source);
  if (source->frames.width == 0)
    fail ("%s: the pipeline ended without a frame", source->name);
  source->frames.first = source->next;
  return source->frames.end = TRUE;
}

static void
start_send (Cluster *cluster, Source *source)
{
  guint64 start = GST_CLOCK_TIME_IS_VALID (source->start) ? source->start : 0;

  source->frames.time =
      start + gst_util_uint64_scale_round (source->frames.first - source->from, GST_SECOND, source->frames.rate[0]);
  source->frames.previous = source->sent;
  source->frames.sender = sender;
  frames_write (cluster, &source->write, source->subject, &source->frames, source->held->data, source->last);
}

/* Messages that the server has acknowledged, and has no more. */
static gboolean
send_again (Cluster *cluster, Source *source, guint64 from)
{
  g_printerr ("%s: the servers have lost frames %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
              ", which they had acknowledged: %s are sent again\n",
              source->name, from, source->sent - 1, kept_reaches (&source->kept, from) ? "they" : "not all of them");
  return kept_write (&source->kept, cluster, source->subject, from, &source->last);
}

/*
 * The last message of features.NAME is not the one that this program wrote before. TRUE: it is the one that it writes
 * now, whose answer was lost. FALSE: the message has to be sent again, behind the one that is the last now.
 */
static gboolean
compare (Cluster *cluster, Source *source)
{
  const Frames *frames = &source->frames;
  Place place;

  if (!read_place (cluster, source->name, &place))
    return FALSE;
  if ((place.ended && frames->end) /* a worker may have come to the end already, and removed it */
      || (place.last > 0 && place.frames.sender == sender && place.frames.first == frames->first
          && place.frames.count == frames->count)) {
    source->write.sequence = place.last;
    return TRUE;
  }
  if (place.ended)
    fail ("%s has ended: another program has written its end", source->name);
  if (place.last > 0 && place.frames.sender != sender
      && (place.frames.width == 0 || place.frames.first + place.frames.count > source->already)) {
    if (!again || source->sent > source->already)
      fail ("another program writes to %s: message %" G_GUINT64_FORMAT " is not of this one", source->subject,
            place.last);
    source->already = source->sent = place.n; /* of a program that died: it came late */
  }
  if (place.n == 0 && source->sent > 0 && !kept_reaches (&source->kept, 0))
    fail ("%s was forgotten, because it was quiet for too long (see worker --age): choose another name", source->name);
  source->last = place.last;
  if (place.n < source->sent)
    send_again (cluster, source, place.n);
  return FALSE;
}

/* What was not acknowledged is sent again. If it was there, the server refuses the second copy. */
static void
end_send (Cluster *cluster, Source *source)
{
  if (source->write.result == REFUSED && compare (cluster, source))
    source->write.result = WRITTEN;
  if (source->write.result != WRITTEN) {
    if (!source->waits && source->write.result != REFUSED)
      g_printerr ("%s waits: %s\n", source->name, source->write.error);
    source->waits = TRUE;
    return;
  }
  source->waits = FALSE;
  source->ended = source->frames.end;
  source->last = source->write.sequence;
  if (source->frames.count > 0) {
    kept_add (&source->kept, &source->frames, source->held->data);
    g_byte_array_remove_range (source->held, 0, source->frames.count * row_size (source));
  }
  source->frames.first += source->frames.count;
  source->sent = source->frames.first;
  source->frames.count = 0;
}

/* One message of each source at a time. */
static void
run (Cluster *cluster, Source *sources, gint n)
{
  GPtrArray *sending = g_ptr_array_new ();
  gint n_open = 0, i;

  for (i = 0; i < n; i++)
    n_open += !sources[i].ended;
  while (n_open > 0) {
    gboolean waits = FALSE;

    g_ptr_array_set_size (sending, 0);
    for (i = 0; i < n; i++)
      if (!sources[i].ended && next_frames (&sources[i])) {
        start_send (cluster, &sources[i]);
        g_ptr_array_add (sending, &sources[i]);
      }
    write_wait (cluster);
    for (i = 0; i < (gint) sending->len; i++) {
      Source *source = g_ptr_array_index (sending, i);

      end_send (cluster, source);
      n_open -= source->ended;
      waits |= source->waits;
    }
    if (sending->len == 0 || waits)
      g_usleep (waits ? G_USEC_PER_SEC / 10 : 2000);
  }
  g_ptr_array_unref (sending);
}

int
main (int argc, char **argv)
{
  GOptionEntry entries[] = { { "frames", 0, 0, G_OPTION_ARG_INT, &n_frames, "Frames per message (8)", "N" },
                             { "again", 0, 0, G_OPTION_ARG_NONE, &again, "Send what is not there yet", NULL },
                             { "continue", 0, 0, G_OPTION_ARG_NONE, &go_on, "Number on behind what is there", NULL },
                             { NULL } };
  Cluster *cluster = cluster_join ("publish", &argc, &argv, entries, gst_init_get_option_group ());
  gint n = (argc - 1) / 2, i;
  Source *sources = g_new0 (Source, n);

  if (n_frames < 1)
    fail ("--frames is %d, expected 1 or more", n_frames);
  sender = ((guint64) g_random_int () << 32 | g_random_int ()) >> 1 | 1;
  for (i = 0; i < n; i++)
    open_source (cluster, &sources[i], argv[2 * i + 1], argv[2 * i + 2]);
  run (cluster, sources, n);
  for (i = 0; i < n; i++)
    close_source (&sources[i]);
  g_free (sources);
  cluster_free (cluster);
  return 0;
}
