/*
 * Attends to streams that come by NATS. Start as many workers as you like, on any number of machines, with one model:
 *
 *   worker [OPTION...] MODEL.safetensors
 *
 * Each takes its share of the streams. When a worker dies, the others go on where it was, with the bits that it would
 * have given: see docs/scaling.md. SIGTERM and SIGINT end a worker at once, and its streams do not wait.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "worker.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MOST_TAKEN 8   /* streams at a time: the others do not wait longer */
#define READ_AGAIN 200 /* milliseconds until a reader is started again that did not get what is there */

static volatile sig_atomic_t stopped;

static void
stop (int number)
{
  stopped = 1;
}

void
say (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputc ('\n', stderr);
}

/* ---- the model ---- */

/* A whole encoder, or one layer whose file says what it needs. */
static AttnLayer *
open_layer (const char *path)
{
  AttnConfig config = attn_config_default ();
  AttnMetadata *metadata;
  AttnLayer *layer = NULL;
  AttnModel *model = NULL;
  AttnError error;
  AttnStatus status = attn_metadata_open (path, &metadata, &error);

  if (status == ATTN_OK && attn_metadata_get (metadata, "encoder") != NULL)
    status = attn_encoder_open (path, NULL, &layer, &error);
  else if (status == ATTN_OK && (status = attn_model_open (path, NULL, &model, &error)) == ATTN_OK)
    status = attn_layer_new (&config, model, &layer, &error);
  if (status != ATTN_OK)
    fail ("%s", error.message);
  attn_model_free (model);
  attn_metadata_free (metadata);
  return layer;
}

/* As it stands in every state of the layer. */
static void
hash_layer (Worker *worker)
{
  AttnStream *stream;
  AttnError error;
  gsize size;
  guint8 *state;

  if (attn_stream_new (worker->layer, &stream, &error) != ATTN_OK)
    fail ("%s", error.message);
  size = attn_stream_state_size (stream);
  state = g_malloc (size);
  if (attn_stream_save (stream, state, size, &error) != ATTN_OK)
    fail ("%s", error.message);
  g_snprintf (worker->hash, sizeof worker->hash, "%016" G_GINT64_MODIFIER "x", *(const guint64 *) (state + 24));
  g_free (state);
  attn_stream_free (stream);
}

/* ---- streams come and go ---- */

static void
free_stream (gpointer data)
{
  Stream *stream = data;

  g_free (stream->name);
  g_free (stream->features);
  g_free (stream->attended);
  g_free (stream->state_key);
  g_free (stream->lease_key);
  kept_clear (&stream->kept);
  g_free (stream);
}

static void
free_arrival (gpointer data)
{
  natsMsg_Destroy (((Arrival *) data)->message);
  g_free (data);
}

static void
stop_reading (Stream *stream)
{
  reader_stop (&stream->reader);
  g_queue_clear_full (&stream->arrived, free_arrival);
  natsMsg_Destroy (stream->arrival.message);
  stream->arrival.message = NULL;
}

gboolean
is_quiet (const Stream *stream)
{
  return g_get_monotonic_time () > stream->came + QUIET * G_GINT64_CONSTANT (1000);
}

void
read_anew (Stream *stream, guint64 behind)
{
  stop_reading (stream);
  stream->queued = behind;
  stream->came = g_get_monotonic_time ();
  stream->read_at = stream->came + READ_AGAIN * 1000;
}

static void
drop (Stream *stream)
{
  stop_reading (stream);
  g_clear_pointer (&stream->values, g_free);
  g_clear_pointer (&stream->out, g_free);
  g_clear_pointer (&stream->present, g_free);
  g_clear_pointer (&stream->stream, attn_stream_free);
  stream->room = stream->n_out = stream->n_done = 0;
  stream->full = FALSE;
  stream->worker->n_held--;
}

/* Something went wrong: others may try, and this worker tries again in a while. */
void
let_go (Stream *stream, const char *format, ...)
{
  char *why;
  va_list args;

  va_start (args, format);
  why = g_strdup_vprintf (format, args);
  va_end (args);
  say ("%s is let go: %s", stream->name, why);
  g_free (why);
  drop (stream);
  stream->not_before = g_get_monotonic_time () + stream->worker->lease / 2;
}

/* The outputs that have left already, by what stands in ATTENDED. */
gboolean
read_answered (Stream *stream)
{
  natsMsg *message;
  Frames outputs;
  char reason[256];

  stream->last = stream->ended = stream->answered = 0;
  if (!read_last (stream->worker->cluster, "ATTENDED", stream->attended, &message))
    return FALSE;
  if (message == NULL)
    return TRUE;
  if (!frames_unpack (message, &outputs, reason))
    fail ("%s: %s", stream->attended, reason);
  stream->last = natsMsg_GetSequence (message);
  stream->answered = outputs.first + outputs.count;
  stream->ended = outputs.end ? outputs.input : 0;
  natsMsg_Destroy (message);
  return TRUE;
}

static gboolean
read_on (Stream *stream, guint64 behind)
{
  stream->came = g_get_monotonic_time ();
  return reader_start (&stream->reader, stream->worker->cluster, "FEATURES", stream->features, behind + 1,
                       MOST_UNDERWAY);
}

static gboolean
take (Stream *stream)
{
  Worker *worker = stream->worker;
  guint64 there;
  AttnError error;

  if (!lease_take (stream))
    return FALSE;
  if (attn_stream_new (worker->layer, &stream->stream, &error) != ATTN_OK)
    fail ("%s", error.message);
  worker->n_held++;
  stream->missing_since = stream->given_up = stream->n_tries = 0;
  if (!read_answered (stream)) {
    let_go (stream, "the server does not answer");
    return FALSE;
  }
  there = stream->answered;
  if (!state_restore (stream)) {
    lease_give (stream); /* maybe another worker has the model */
    return FALSE;
  }
  if (stream->last > 0 && there < stream->answered)
    write_again (stream, there);
  stream->answered = MAX (stream->answered, there);
  if (!read_on (stream, stream->input)) {
    let_go (stream, "the server does not answer");
    return FALSE;
  }
  say ("%s: goes on from frame %" G_GUINT64_FORMAT ", message %" G_GUINT64_FORMAT "; %" G_GUINT64_FORMAT
       " outputs have left",
       stream->name, attn_stream_next_frame (stream->stream), stream->input, stream->answered);
  return TRUE;
}

static void
find_stream (const char *subject, gpointer data)
{
  Worker *worker = data;
  const char *name = strchr (subject, '.') + 1;
  Stream *stream = g_hash_table_lookup (worker->streams, name);

  if (stream == NULL && is_name (name)) {
    stream = g_new0 (Stream, 1);
    stream->worker = worker;
    stream->name = g_strdup (name);
    stream->features = g_strdup (subject);
    stream->attended = g_strdup_printf ("attended.%s", name);
    stream->state_key = g_strdup_printf ("$KV.STATES.%s", name);
    stream->lease_key = g_strdup_printf ("$KV.LEASES.stream.%s", name);
    g_hash_table_insert (worker->streams, stream->name, stream);
  }
  if (stream != NULL)
    stream->is_there = TRUE;
}

/* Streams that have ended leave FEATURES, and those that nobody writes to after the age of its messages. */
static gboolean
is_gone (gpointer name, gpointer data, gpointer nothing)
{
  const Stream *stream = data;

  return !stream->is_there && stream->stream == NULL;
}

static void
find_streams (Worker *worker)
{
  GHashTableIter iter;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    stream->is_there = FALSE;
  if (!list_subjects (worker->cluster, "FEATURES", "features.*", &worker->listed, &worker->replicas, find_stream,
                      worker))
    return;
  g_hash_table_foreach_remove (worker->streams, is_gone, NULL);
  lease_remove_frames (worker);
}

/* The stream that has waited longest for a worker; NULL: none waits. */
static Stream *
longest_waiting (Worker *worker)
{
  Stream *stream, *chosen = NULL;
  GHashTableIter iter;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream == NULL && stream->is_there && lease_is_over (stream)
        && (chosen == NULL || stream->seen < chosen->seen))
      chosen = stream;
  return chosen;
}

/* Gives a stream to the others if there are too many here, or takes some. */
static void
take_share (Worker *worker)
{
  guint share = lease_share (worker), n_tried;
  GHashTableIter iter;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->streams);
  while (worker->n_held > share && g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL && stream->ended == 0 && stream->arrival.message == NULL && state_save (stream)) {
      drop (stream);
      lease_give (stream);
      stream->not_before = g_get_monotonic_time () + worker->lease / 2;
    }
  for (n_tried = 0; n_tried < MOST_TAKEN && worker->n_held < share; n_tried++)
    if ((stream = longest_waiting (worker)) == NULL || !take (stream))
      break;
}

/* Streams whose end has left, and streams from which nothing comes any more. */
static void
look_after (Worker *worker)
{
  GHashTableIter iter;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream)) {
    if (stream->stream == NULL)
      continue;
    if (g_get_monotonic_time () > stream->ends + worker->late)
      let_go (stream, "its lease ended");
    else if (stream->reader.number == 0 && g_queue_is_empty (&stream->arrived)
             && g_get_monotonic_time () >= stream->read_at && !read_on (stream, stream->queued))
      let_go (stream, "the server does not answer");
    else if (stream->reader.number > 0 && reader_is_broken (&stream->reader))
      let_go (stream, "nothing was heard of %s", stream->features);
    else if (stream->ended > 0 && g_queue_is_empty (&stream->arrived) && stream->arrival.message == NULL
             && (stream->input >= stream->ended || is_quiet (stream)) && state_forget (stream)) {
      say ("%s has ended, and is forgotten", stream->name);
      drop (stream);
      stream->is_there = FALSE;
      stream->lease = stream->done = 0;
    }
  }
}

/* ---- the loop ---- */

static Stream *
stream_of (Worker *worker, guint64 number)
{
  GHashTableIter iter;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL && stream->reader.number == number)
      return stream;
  return NULL;
}

static void
receive (Worker *worker, gint64 timeout)
{
  Arrival arrival;

  for (; next_arrival (worker->cluster, timeout, &arrival); timeout = 0) {
    Stream *stream = stream_of (worker, arrival.number);

    if (arrival.number == worker->leases.number) {
      if (reader_accept (&worker->leases, &arrival))
        lease_seen (worker, &arrival);
    } else if (stream != NULL && reader_accept (&stream->reader, &arrival)) {
      g_queue_push_tail (&stream->arrived, g_memdup2 (&arrival, sizeof arrival));
      stream->queued = arrival.sequence;
      stream->came = g_get_monotonic_time ();
      arrival.message = NULL;
      if (g_queue_get_length (&stream->arrived) >= MOST_WAITING) /* 2.9.10 forgets at a removal what is under way */
        reader_stop (&stream->reader);
    }
    natsMsg_Destroy (arrival.message);
  }
}

/* Three times in a lease: who is there, what is mine. */
static void
keep (Worker *worker)
{
  if (reader_is_broken (&worker->leases)) {
    reader_stop (&worker->leases);
    reader_start (&worker->leases, worker->cluster, "KV_LEASES", "$KV.LEASES.>", 0, 0);
  }
  lease_renew_all (worker);
  find_streams (worker);
  receive (worker, 0);
}

static void
work (Worker *worker)
{
  gint64 next = 0;
  gboolean any = FALSE;

  while (!stopped) {
    receive (worker, any ? 0 : 10);
    look_after (worker);
    any = attend_all (worker);
    state_save_all (worker, FALSE);
    if (g_get_monotonic_time () >= next) {
      keep (worker);
      next = g_get_monotonic_time () + worker->lease / 3;
    }
    take_share (worker);
  }
}

/* Everybody may go on at once. */
static void
leave (Worker *worker)
{
  GHashTableIter iter;
  Stream *stream;

  state_save_all (worker, TRUE);
  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL) {
      gboolean forgotten = stream->ended > 0 && state_forget (stream);

      drop (stream);
      if (!forgotten)
        lease_give (stream);
    }
  reader_stop (&worker->leases);
}

static const char *
read_options (int *argc, char ***argv, Worker *worker, ClusterOptions *options)
{
  gint lease = 3000, save = 1000, late = 0;
  GOptionEntry entries[] = {
    { "lease", 0, 0, G_OPTION_ARG_INT, &lease, "A stream goes on elsewhere after this time (3000)", "MS" },
    { "save", 0, 0, G_OPTION_ARG_INT, &save, "Time between two saved states of a stream (1000)", "MS" },
    { "streams", 0, 0, G_OPTION_ARG_INT, &worker->most_streams, "Streams that this worker takes, at most (64)", "N" },
    { "late", 0, 0, G_OPTION_ARG_INT, &late, "For tests: go on for so long behind the end of a lease", "MS" },
    { "replicas", 0, 0, G_OPTION_ARG_INT, &options->replicas, "Servers that keep each message (1)", "N" },
    { "max-bytes", 0, 0, G_OPTION_ARG_INT64, &options->max_bytes, "Of FEATURES, and of ATTENDED (2^30)", "N" },
    { "age", 0, 0, G_OPTION_ARG_INT, &options->age, "Until messages and states are forgotten (86400)", "S" },
    { NULL }
  };
  GOptionContext *context = g_option_context_new ("MODEL.safetensors");
  GError *error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, "Attends to streams that come by NATS. The last three count for the first "
                                         "worker, which creates the streams and buckets.");
  if (!g_option_context_parse (context, argc, argv, &error))
    fail ("%s", error->message);
  if (*argc != 2)
    fail ("%s", g_option_context_get_help (context, TRUE, NULL));
  if (lease < 300 || save < 0 || worker->most_streams < 1)
    fail ("--lease is %d, expected 300 or more; --save is %d, expected 0 or more; --streams is %d, expected 1 or more",
          lease, save, worker->most_streams);
  worker->lease = lease * G_GINT64_CONSTANT (1000);
  worker->save = save * G_GINT64_CONSTANT (1000);
  worker->late = late * G_GINT64_CONSTANT (1000);
  g_option_context_free (context);
  return (*argv)[1];
}

int
main (int argc, char **argv)
{
  Worker worker = { .most_streams = 64 };
  ClusterOptions options = { .replicas = 1, .max_bytes = G_GINT64_CONSTANT (1) << 30, .age = 86400 };
  const char *model;
  AttnError error;

  g_set_prgname ("worker");
  model = read_options (&argc, &argv, &worker, &options);
  worker.layer = open_layer (model);
  if (attn_group_new (worker.layer, worker.most_streams, &worker.group, &error) != ATTN_OK)
    fail ("%s", error.message);
  hash_layer (&worker);
  worker.cluster = cluster_connect ("worker");
  cluster_create (worker.cluster, &options);
  g_snprintf (worker.id, sizeof worker.id, "%08x%08x", g_random_int (), g_random_int ());
  worker.streams = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, free_stream);
  worker.workers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  signal (SIGTERM, stop);
  signal (SIGINT, stop);
  say ("worker %s: %s, %u values in, %u out", worker.id, model, attn_layer_n_features (worker.layer),
       attn_layer_n_outputs (worker.layer));
  work (&worker);
  leave (&worker);
  g_hash_table_unref (worker.streams);
  g_hash_table_unref (worker.workers);
  cluster_free (worker.cluster);
  attn_group_free (worker.group);
  attn_layer_free (worker.layer);
  return 0;
}
