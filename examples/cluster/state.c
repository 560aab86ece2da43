/*
 * What is saved of a stream, an entry of the bucket STATES: a line of text,
 *
 *   attn-state INPUT FRAMES ANSWERED SIZE PARTS PLACE ASIDE
 *
 * that is, the last message of FEATURES that the state has seen, the frames so far, the outputs that had left, the
 * state of libattn (attn.h describes its bytes), and whether that message was set aside. The state follows the line if
 * it fits into the message. Else it lies cut in the entries NAME.PLACE.0 to NAME.PLACE.(PARTS - 1), which are written
 * before the line. A worker writes to two places of its own, WORKER.a and WORKER.b, in turns, and never to the one that
 * the line names. So there is a whole state whenever a worker dies.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "worker.h"

#include <stdio.h>
#include <string.h>

#define LINE 160              /* bytes, at most */
#define ROOM_FOR_HEADERS 1024 /* of a message */

static gsize
part_size (Worker *worker)
{
  return natsConnection_GetMaxPayload (worker->cluster->connection) - ROOM_FOR_HEADERS;
}

/* ---- read ---- */

static guint8 *
read_parts (Stream *stream, gsize size, gint n_parts, const char *place)
{
  guint8 *data = g_malloc (size);
  gsize done = 0;
  gint i;

  for (i = 0; i < n_parts; i++) {
    char *key = g_strdup_printf ("%s.%s.%d", stream->state_key, place, i);
    natsMsg *part = NULL;
    gsize n = 0;

    if (read_last (stream->worker->cluster, "KV_STATES", key, &part) && part != NULL)
      n = natsMsg_GetDataLength (part);
    if (n == 0 || n > size - done) {
      let_go (stream, "%s: part %d of %d is missing", key, i + 1, n_parts);
      size = done = 0;
      i = n_parts;
    } else {
      memcpy (data + done, natsMsg_GetData (part), n);
    }
    done += n <= size - done ? n : 0;
    natsMsg_Destroy (part);
    g_free (key);
  }
  return data;
}

static gboolean
restore_from (Stream *stream, const char *data, gsize size)
{
  const char *line_end = memchr (data, '\n', size);
  char *line = g_strndup (data, line_end != NULL ? line_end - data : 0);
  gsize state_size = 0;
  guint8 *parts = NULL;
  AttnError error;
  AttnStatus status;
  gint n = sscanf (line, "attn-state %" G_GUINT64_FORMAT " %*s %" G_GUINT64_FORMAT " %zu %d %31s %d", &stream->input,
                   &stream->answered, &state_size, &stream->n_parts, stream->old_place, &stream->aside);

  g_free (line);
  if (n != 6 || (stream->n_parts == 0 && state_size != size - (line_end + 1 - data)) || state_size > (1u << 30)) {
    let_go (stream, "%s does not hold a state", stream->state_key);
    return FALSE;
  }
  if (stream->n_parts > 0) {
    parts = read_parts (stream, state_size, stream->n_parts, stream->old_place);
    if (stream->stream == NULL) {
      g_free (parts);
      return FALSE;
    }
  }
  status =
      attn_stream_restore (stream->stream, parts != NULL ? parts : (const guint8 *) line_end + 1, state_size, &error);
  g_free (parts);
  if (status != ATTN_OK) {
    let_go (stream, "%s", error.message);
    stream->not_before = G_MAXINT64; /* another model does not become the right one */
  }
  return status == ATTN_OK;
}

/* ---- write ---- */

/* The parts of a large state, all under way at once. */
static gboolean
write_parts (Stream *stream, const guint8 *state, gsize size)
{
  gsize most = part_size (stream->worker);
  gint n = (size + most - 1) / most, i, n_written = 0;
  Write *writes = g_new0 (Write, n);

  for (i = 0; i < n; i++) {
    char *key = g_strdup_printf ("%s.%s.%d", stream->state_key, stream->place, i);

    write_send (stream->worker->cluster, write_message (stream->worker->cluster, &writes[i], key, state + i * most,
                                                        MIN (most, size - i * most), ANY));
    g_free (key);
  }
  write_wait (stream->worker->cluster);
  for (i = 0; i < n; i++)
    n_written += writes[i].result == WRITTEN;
  stream->n_parts = n;
  g_free (writes);
  return n_written == n;
}

static gboolean
start_save (Stream *stream)
{
  gsize size = attn_stream_state_size (stream->stream), n;
  gboolean is_large = size + LINE > part_size (stream->worker), ok;
  char *entry = g_malloc (LINE + size);
  guint8 *state = (guint8 *) entry + LINE;
  AttnError error;

  if (attn_stream_save (stream->stream, state, size, &error) != ATTN_OK)
    fail ("%s: %s", stream->name, error.message); /* a fault of this program */
  g_snprintf (stream->place, sizeof stream->place, "%s.%c", stream->worker->id,
              g_str_has_suffix (stream->old_place, ".a") ? 'b' : 'a');
  ok = !is_large || write_parts (stream, state, size);
  if (!is_large) {
    stream->n_parts = 0;
    g_strlcpy (stream->place, "-", sizeof stream->place);
  }
  n = g_snprintf (entry, LINE,
                  "attn-state %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %zu %d %s %d\n",
                  stream->input, attn_stream_next_frame (stream->stream), stream->answered, size, stream->n_parts,
                  stream->place, stream->aside);
  if (!is_large)
    memmove (entry + n, state, size);
  if (ok)
    write_send (stream->worker->cluster, write_message (stream->worker->cluster, &stream->write, stream->state_key,
                                                        entry, n + (is_large ? 0 : size), stream->revision));
  else
    let_go (stream, "a part of its state could not be written");
  g_free (entry);
  return ok;
}

/* Those of the worker that had the stream before. */
static void
forget_parts_of_others (Stream *stream)
{
  const char *dot = strchr (stream->old_place, '.');
  char *parts;

  if (dot == NULL || g_str_has_prefix (stream->old_place, stream->worker->id))
    return;
  parts = g_strdup_printf ("%s.%.*s.>", stream->state_key, (int) (dot - stream->old_place), stream->old_place);
  remove_below (stream->worker->cluster, "KV_STATES", parts, G_MAXINT64);
  g_free (parts);
}

/*
 * A refused state is that of a worker that has lost the stream, whose next worker has at least the frames of the last
 * state; or the servers have lost that one. Then it is written anew, over what is there now.
 */
static gboolean
is_lost (Stream *stream)
{
  natsMsg *message;
  guint64 n;

  if (!read_last (stream->worker->cluster, "KV_STATES", stream->state_key, &message))
    return FALSE;
  n = message != NULL ? frames_of_state (message) : 0;
  if (n < stream->saved_frames) {
    say ("%s: the servers have lost its state at frame %" G_GUINT64_FORMAT ": it is written again", stream->name,
         stream->saved_frames);
    stream->revision = message != NULL ? natsMsg_GetSequence (message) : 0;
    stream->saved_at = 0;
  }
  natsMsg_Destroy (message);
  return n < stream->saved_frames;
}

static gboolean
is_written (Stream *stream)
{
  if (stream->write.result == REFUSED && is_lost (stream))
    return FALSE;
  if (stream->write.result != WRITTEN) {
    let_go (stream, "its state could not be written: %s", stream->write.error);
    return FALSE;
  }
  stream->revision = stream->write.sequence;
  stream->saved_input = stream->input;
  stream->saved_frames = attn_stream_next_frame (stream->stream);
  stream->saved_at = g_get_monotonic_time ();
  return TRUE;
}

static gboolean
end_save (Stream *stream)
{
  if (!is_written (stream))
    return FALSE;
  forget_parts_of_others (stream);
  g_strlcpy (stream->old_place, stream->place, sizeof stream->old_place);
  return TRUE;
}

gboolean
state_save (Stream *stream)
{
  if (!start_save (stream))
    return FALSE;
  write_wait (stream->worker->cluster);
  return end_save (stream);
}

/*
 * The entry is written again as it is: the server refuses that if what it gave us was old. And a stream that has no
 * state gets one, which tells the workers of other models that it is not theirs.
 */
gboolean
state_restore (Stream *stream)
{
  Cluster *cluster = stream->worker->cluster;
  natsMsg *message;
  gboolean ok;

  if (!read_last (cluster, "KV_STATES", stream->state_key, &message)) {
    let_go (stream, "%s cannot be read", stream->state_key);
    return FALSE;
  }
  stream->revision = stream->input = stream->saved_frames = 0;
  stream->aside = 0;
  stream->old_place[0] = '\0';
  if (message == NULL && stream->answered > 0 && stream->ended == 0) {
    let_go (stream, "its state is gone, but %" G_GUINT64_FORMAT " outputs have left: choose another name",
            stream->answered);
    stream->not_before = G_MAXINT64;
    return FALSE;
  }
  if (message == NULL)
    return state_save (stream);
  stream->revision = natsMsg_GetSequence (message);
  ok = restore_from (stream, natsMsg_GetData (message), natsMsg_GetDataLength (message));
  if (ok) {
    write_send (cluster, write_message (cluster, &stream->write, stream->state_key, natsMsg_GetData (message),
                                        natsMsg_GetDataLength (message), stream->revision));
    write_wait (cluster);
    ok = is_written (stream);
  }
  natsMsg_Destroy (message);
  return ok;
}

/* Those that have seen something since, and whose time has come. */
void
state_save_all (Worker *worker, gboolean now)
{
  gint64 before = g_get_monotonic_time () - (now ? 0 : worker->save);
  GPtrArray *saved = g_ptr_array_new ();
  GHashTableIter iter;
  Stream *stream;
  guint i;

  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream))
    if (stream->stream != NULL && stream->ended == 0 && stream->arrival.message == NULL
        && stream->input != stream->saved_input && stream->saved_at <= before && start_save (stream))
      g_ptr_array_add (saved, stream);
  write_wait (worker->cluster);
  for (i = 0; i < saved->len; i++)
    end_save (g_ptr_array_index (saved, i));
  g_ptr_array_unref (saved);
}

/* After the end of the stream: nothing is left of it but its outputs. */
gboolean
state_forget (Stream *stream)
{
  Cluster *cluster = stream->worker->cluster;
  char *parts = g_strdup_printf ("%s.>", stream->state_key);
  gboolean ok = remove_below (cluster, "FEATURES", stream->features, MAX (stream->input, stream->ended) + 1)
                && remove_below (cluster, "KV_STATES", parts, G_MAXINT64)
                && remove_below (cluster, "KV_STATES", stream->state_key, stream->revision + 1)
                && remove_below (cluster, "KV_LEASES", stream->lease_key, stream->lease + 1);

  g_free (parts);
  return ok;
}
