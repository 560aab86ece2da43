/*
 * Whose stream it is. A lease is an entry of the bucket LEASES, "WORKER MILLISECONDS DONE", which its worker writes
 * anew three times in that time. Who sees the same revision for all of that time, by its own clock, may write its own
 * name over that revision. So no clocks are compared, and of two who try, one is refused. The name "-" makes it free at
 * once.
 *
 * DONE lets workers remove frames that no stream needs any more.
 *
 * A bucket's age could end leases as well. But three servers of version 2.9 forget an entry each at its own time, and
 * may disagree about who was first behind that.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "worker.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "$KV.LEASES."

static Stream *
stream_of (Worker *worker, const char *key)
{
  return g_str_has_prefix (key, "stream.") ? g_hash_table_lookup (worker->streams, key + strlen ("stream.")) : NULL;
}

/* "WORKER MILLISECONDS DONE" */
static void
note_lease (Stream *stream, guint64 revision, const char *value, gsize size)
{
  char owner[24] = "-";
  char *text = g_strndup (value, size);
  gint length = 0;
  guint64 done = 0;

  sscanf (text, "%23s %d %" G_GUINT64_FORMAT, owner, &length, &done);
  g_free (text);
  if (revision <= stream->lease)
    return; /* I know: I wrote it */
  stream->lease = revision;
  stream->seen = g_get_monotonic_time ();
  stream->length = length * 1000;
  stream->done = done;
  stream->is_mine = strcmp (owner, stream->worker->id) == 0;
  stream->is_free = strcmp (owner, "-") == 0;
}

static gboolean
is_text (natsMsg *message, const char *text)
{
  return (gsize) natsMsg_GetDataLength (message) == strlen (text)
         && memcmp (natsMsg_GetData (message), text, strlen (text)) == 0;
}

void
lease_seen (Worker *worker, const Arrival *arrival)
{
  const char *key = natsMsg_GetSubject (arrival->message) + strlen (PREFIX);
  Stream *stream = stream_of (worker, key);

  if (stream != NULL && stream->stream != NULL)
    return; /* the answer to the next renewal counts: a server that catches up tells old entries, by other numbers */
  if (stream != NULL)
    note_lease (stream, arrival->sequence, natsMsg_GetData (arrival->message),
                natsMsg_GetDataLength (arrival->message));
  else if (g_str_has_prefix (key, "worker.") && is_text (arrival->message, worker->hash))
    g_hash_table_replace (worker->workers, g_strdup (key + strlen ("worker.")),
                          g_memdup2 (&(gint64){ g_get_monotonic_time () }, sizeof (gint64)));
}

/* What the server says now, which counts more than what was heard: one that died may have told what the others lack. */
static gboolean
look_up (Stream *stream)
{
  natsMsg *message;

  if (!read_last (stream->worker->cluster, "KV_LEASES", stream->lease_key, &message))
    return FALSE;
  if (message == NULL || natsMsg_GetSequence (message) < stream->lease)
    stream->lease = 0;
  if (message != NULL)
    note_lease (stream, natsMsg_GetSequence (message), natsMsg_GetData (message), natsMsg_GetDataLength (message));
  natsMsg_Destroy (message);
  return TRUE;
}

gboolean
lease_is_over (const Stream *stream)
{
  gint64 now = g_get_monotonic_time ();

  if (now < stream->not_before)
    return FALSE;
  return stream->lease == 0 || stream->is_free || stream->is_mine || now - stream->seen > stream->length;
}

/* The time counts from before the message leaves. */
static void
start_renewal (Stream *stream, const char *owner)
{
  char value[72];
  gint n = g_snprintf (value, sizeof value, "%s %d %" G_GUINT64_FORMAT, owner, (gint) (stream->worker->lease / 1000),
                       stream->done);
  natsMsg *message =
      write_message (stream->worker->cluster, &stream->lease_write, stream->lease_key, value, n, stream->lease);

  stream->seen = g_get_monotonic_time ();
  write_send (stream->worker->cluster, message);
}

static gboolean
end_renewal (Stream *stream)
{
  if (stream->lease_write.result != WRITTEN)
    return FALSE;
  stream->lease = stream->lease_write.sequence;
  stream->length = stream->worker->lease;
  stream->ends = stream->seen + stream->length;
  stream->is_mine = TRUE;
  stream->is_free = FALSE;
  return TRUE;
}

gboolean
lease_take (Stream *stream)
{
  if (stream->lease == 0 && (!look_up (stream) || !lease_is_over (stream)))
    return FALSE;
  start_renewal (stream, stream->worker->id);
  write_wait (stream->worker->cluster);
  if (end_renewal (stream))
    return TRUE;
  if (stream->lease_write.result == REFUSED) /* somebody was faster, or the entry is gone */
    look_up (stream);
  return FALSE;
}

/* A renewal that got no answer is tried again until the lease ends: worker.c looks at that. */
void
lease_renew_all (Worker *worker)
{
  char key[64];
  GHashTableIter iter;
  Stream *stream;
  Write presence;

  g_snprintf (key, sizeof key, PREFIX "worker.%s", worker->id);
  write_send (worker->cluster,
              write_message (worker->cluster, &presence, key, worker->hash, strlen (worker->hash), ANY));
  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL && g_get_monotonic_time () < stream->ends)
      start_renewal (stream, worker->id);
    else
      stream->lease_write.result = LOST;
  write_wait (worker->cluster);
  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL && !end_renewal (stream) && stream->lease_write.result == REFUSED)
      let_go (stream, "its lease was lost: %s", stream->lease_write.error);
}

void
lease_give (Stream *stream)
{
  start_renewal (stream, "-");
  write_wait (stream->worker->cluster);
  stream->is_mine = FALSE;
  stream->is_free = TRUE;
  if (stream->lease_write.result == WRITTEN)
    stream->lease = stream->lease_write.sequence;
}

/* How many of the streams are mine if each worker that is there has as many as the others. */
guint
lease_share (Worker *worker)
{
  gint64 since = g_get_monotonic_time () - worker->lease;
  guint n_workers = 0, n_streams = 0;
  GHashTableIter iter;
  gint64 *heard;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->workers);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &heard))
    n_workers += *heard > since;
  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    n_streams += stream->is_there && stream->not_before < G_MAXINT64;
  n_workers = MAX (n_workers, 1);
  return MIN ((n_streams + n_workers - 1) / n_workers, (guint) worker->most_streams);
}

/*
 * The saved state has seen the message, or does not need it. Servers that have lost messages give their sequences to
 * others: so the numbers of the frames count. *end: the message is the end of the stream.
 */
static gboolean
is_in_state (const Stream *stream, natsMsg *message, gboolean *end)
{
  Frames frames;
  char reason[256];
  gboolean counts = stream->aside == 0 && frames_unpack (message, &frames, reason);

  *end = counts && frames.end;
  return !counts || frames.first + frames.count <= stream->saved_frames;
}

static gboolean
has_seen (const Stream *stream, natsMsg *last)
{
  gboolean end;

  return natsMsg_GetSequence (last) <= stream->saved_input && is_in_state (stream, last, &end)
         && (!end || stream->ended > 0);
}

/* The leader removes by its own count, but maybe another server has sent the message, one that counts otherwise. */
static gboolean
is_last_seen (const Stream *stream)
{
  natsMsg *message = NULL;
  gboolean end, ok;

  ok = read_at (stream->worker->cluster, "FEATURES", stream->saved_input, &message)
       && strcmp (natsMsg_GetSubject (message), stream->features) == 0 && is_in_state (stream, message, &end);
  natsMsg_Destroy (message);
  return ok;
}

/*
 * The messages of FEATURES that a stream does not need. A saved state has seen them; of a stream that rests they are
 * all that were there when they were counted, if its last message is not behind the state.
 */
static void
count_done (Stream *stream)
{
  Worker *worker = stream->worker;
  natsMsg *message = NULL;

  if (stream->saved_input > stream->done && is_last_seen (stream))
    stream->done = stream->saved_input;
  if (stream->done >= worker->listed || stream->input != stream->saved_input || stream->arrival.message != NULL
      || !g_queue_is_empty (&stream->arrived))
    return;
  if (!read_last (worker->cluster, "FEATURES", stream->features, &message))
    return;
  if (message == NULL || has_seen (stream, message))
    stream->done = worker->listed;
  else if (is_quiet (stream)) /* it did not come */
    read_anew (stream, natsMsg_GetSequence (message) > stream->input ? stream->input : 0);
  natsMsg_Destroy (message);
}

/*
 * A server that becomes the leader without the last messages gives their sequences to others. So where several servers
 * keep them, a sequence is removed when it is older than anything that such a server can lack, and that writers keep.
 */
static guint64
old_enough (Worker *worker, guint64 below)
{
  gint64 now = g_get_monotonic_time ();
  guint64 old = worker->unused;

  if (worker->replicas == 1)
    return below;
  if (now - worker->noted < KEEP_FOR * G_TIME_SPAN_SECOND)
    return 0;
  worker->unused = below;
  worker->noted = now;
  return old;
}

/* Each lease tells what its stream does not need. What no stream needs is removed, by whoever comes to it first. */
void
lease_remove_frames (Worker *worker)
{
  guint64 below = worker->listed;
  GHashTableIter iter;
  Stream *stream;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream)) {
    if (stream->stream != NULL)
      count_done (stream);
    if (stream->is_there)
      below = MIN (below, stream->done);
  }
  below = old_enough (worker, below);
  if (below > worker->removed && remove_below (worker->cluster, "FEATURES", NULL, below))
    worker->removed = below;
}
