/*
 * From frames to outputs. Each round takes one step of each stream that has frames, all in one call of the layer, and
 * writes the outputs, all under way at once. A stream has one message under way, because the next one must name the
 * sequence of the last.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#define STEP 64 /* frames, at most: nobody waits long for a stream that has many */
#define ROOM_FOR_HEADERS 1024

/* ---- messages that no layer can take ---- */

static const char *
judge (Stream *stream, char reason[256])
{
  const Frames *frames = &stream->frames;
  guint32 width = attn_layer_n_features (stream->worker->layer);
  guint64 next = attn_stream_next_frame (stream->stream);

  if (!frames_unpack (stream->arrival.message, &stream->frames, reason))
    return reason;
  if (stream->ended > 0)
    g_snprintf (reason, 256, "the stream has ended with message %" G_GUINT64_FORMAT, stream->ended);
  else if (frames->width != width)
    g_snprintf (reason, 256, "the frames have %u values, expected %u", frames->width, width);
  else if (frames->first > next + MOST_GAP)
    g_snprintf (reason, 256,
                "the first frame is %" G_GUINT64_FORMAT ", expected %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                frames->first, next, next + MOST_GAP);
  else
    return NULL;
  return reason;
}

/*
 * As it was, with the reason, under a subject that its sequence makes its own: a worker that comes to it again is
 * refused, so it stands there once. The stream goes on; the frames are absent if no later message brings them.
 */
static void
set_aside (Stream *stream, const char *reason)
{
  Cluster *cluster = stream->worker->cluster;
  natsMsg *message = stream->arrival.message, *copy;
  char *subject = g_strdup_printf ("damaged.%s.%" G_GUINT64_FORMAT, stream->name, stream->arrival.sequence);
  const char **keys = NULL, *value;
  int n_keys = 0, i;

  copy =
      write_message (cluster, &stream->write, subject, natsMsg_GetData (message), natsMsg_GetDataLength (message), 0);
  if (natsMsgHeader_Keys (message, &keys, &n_keys) == NATS_OK)
    for (i = 0; i < n_keys; i++)
      if (g_str_has_prefix (keys[i], "Attn-") && natsMsgHeader_Get (message, keys[i], &value) == NATS_OK)
        natsMsgHeader_Set (copy, keys[i], value);
  natsMsgHeader_Set (copy, "Attn-Reason", reason);
  write_send (cluster, copy);
  write_wait (cluster);
  say ("%s: message %" G_GUINT64_FORMAT " is set aside: %s", stream->name, stream->arrival.sequence, reason);
  if (stream->write.result == LOST)
    let_go (stream, "%s: %s", subject, stream->write.error);
  else if (stream->write.result == FULL)
    say ("%s is lost: %s", subject, stream->write.error);
  g_free (subject);
  free (keys);
}

/* ---- one message after the other ---- */

/* The message is done with. The server sends more when half of those under way are. */
static void
finish_message (Stream *stream)
{
  stream->input = stream->arrival.sequence;
  if (stream->arrival.n_came % (MOST_UNDERWAY / 4) == 0)
    acknowledge (stream->worker->cluster, stream->arrival.message);
  natsMsg_Destroy (stream->arrival.message);
  stream->arrival.message = NULL;
}

/*
 * Messages between the last one and this one did not come, although they were written: a server that has died leaves
 * messages out while it catches up with the others. After a message that was set aside, frames are absent anyway.
 */
static gboolean
is_missing (const Stream *stream)
{
  guint64 next = attn_stream_next_frame (stream->stream);

  return stream->aside == 0 && stream->frames.first > next && stream->frames.previous > MAX (next, stream->given_up);
}

/*
 * Reads again, from the last message on or from the beginning, in turns: a server that has lost messages counts anew.
 * FALSE: what is missing is lost, and the stream goes on as with a gap.
 */
static gboolean
await_missing (Stream *stream)
{
  gint64 now = g_get_monotonic_time ();
  guint64 next = attn_stream_next_frame (stream->stream), previous = stream->frames.previous;

  if (stream->missing_since == 0) {
    say ("%s: frames %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " did not come: it is read again", stream->name, next,
         previous - 1);
    stream->missing_since = now;
  }
  if (now - stream->missing_since < MISSING * G_GINT64_CONSTANT (1000)) {
    read_anew (stream, stream->n_tries++ % 2 == 0 ? stream->input : 0);
    return TRUE;
  }
  say ("%s: frames %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
       " are lost: they did not come in %d s. They count as absent",
       stream->name, next, previous - 1, MISSING / 1000);
  stream->given_up = previous;
  return FALSE;
}

/* FALSE: there is none to work on. */
static gboolean
next_message (Stream *stream)
{
  char reason[256];

  while (stream->arrival.message == NULL && !g_queue_is_empty (&stream->arrived)) {
    Arrival *arrival = g_queue_pop_head (&stream->arrived);

    stream->arrival = *arrival;
    g_free (arrival);
    if (stream->arrival.sequence <= stream->ended) { /* its end has left, but maybe the worker died then */
      finish_message (stream);
    } else if (judge (stream, reason) != NULL) {
      set_aside (stream, reason);
      if (stream->stream == NULL)
        return FALSE;
      stream->aside = 1;
      finish_message (stream);
    } else if (!is_missing (stream) || !await_missing (stream)) {
      if (stream->frames.first + stream->frames.count > attn_stream_next_frame (stream->stream))
        stream->aside = stream->missing_since = 0;
      stream->values = g_memdup2 (stream->frames.values, natsMsg_GetDataLength (stream->arrival.message));
    }
  }
  return stream->arrival.message != NULL;
}

static void
make_room (Stream *stream, guint64 n)
{
  if (n <= stream->room)
    return;
  stream->room = n;
  stream->out = g_renew (gfloat, stream->out, n * attn_layer_n_outputs (stream->worker->layer));
  stream->present = g_renew (guint8, stream->present, n);
}

/* FALSE: no frames are left, but maybe the end is. Frames that came before are left out. */
static gboolean
next_step (Stream *stream)
{
  const Frames *frames = &stream->frames;
  guint64 next = attn_stream_next_frame (stream->stream), n;

  stream->first_out = attn_stream_next_output (stream->stream);
  stream->n_out = stream->n_done = 0;
  stream->push = (AttnPush){ .stream = stream->stream };
  if (next < frames->first) {
    stream->push.n_frames = MIN (frames->first - next, STEP);
  } else if (next < frames->first + frames->count) {
    stream->push.frames = stream->values + (next - frames->first) * frames->width;
    stream->push.n_frames = MIN (frames->first + frames->count - next, STEP);
  } else {
    return FALSE;
  }
  n = attn_stream_ready (stream->stream, stream->push.n_frames);
  make_room (stream, n);
  stream->push.out = stream->out;
  stream->push.present = stream->present;
  return TRUE;
}

static void
end_of_stream (Stream *stream)
{
  guint64 room = attn_stream_pending (stream->stream) + 16, n;
  guint32 width = attn_layer_n_outputs (stream->worker->layer);

  make_room (stream, room);
  while ((n = attn_stream_finish (stream->stream, stream->out + stream->n_out * width, NULL,
                                  stream->present + stream->n_out, room - stream->n_out)))
    stream->n_out += n;
}

/* ---- outputs ---- */

/* The next outputs in a row that are there and were not answered; 0: none are left. */
static guint64
next_run (Stream *stream)
{
  gsize most = natsConnection_GetMaxPayload (stream->worker->cluster->connection) - ROOM_FOR_HEADERS;
  guint64 n = 0;

  most /= attn_layer_n_outputs (stream->worker->layer) * sizeof (gfloat);
  while (stream->n_done < stream->n_out
         && (!stream->present[stream->n_done] || stream->first_out + stream->n_done < stream->answered))
    stream->n_done++;
  while (n < most && stream->n_done + n < stream->n_out && stream->present[stream->n_done + n])
    n++;
  return n;
}

static gboolean
is_at_its_end (const Stream *stream)
{
  return stream->arrival.message != NULL && stream->frames.end && attn_stream_is_drained (stream->stream);
}

/* FALSE: there is nothing to write. */
static gboolean
start_output (Stream *stream)
{
  const AttnLayer *layer = stream->worker->layer;
  guint64 n = next_run (stream), number = stream->first_out + stream->n_done;
  Frames outputs = { .first = number, .width = attn_layer_n_outputs (layer), .count = n };
  const gfloat *values = stream->out + stream->n_done * outputs.width;

  if (n == 0 && (!is_at_its_end (stream) || stream->ended > 0))
    return FALSE;
  outputs.end = n == 0;
  outputs.time = frames_time (&stream->frames, number * attn_layer_stride (layer));
  outputs.rate[0] = stream->frames.rate[0];
  outputs.rate[1] = stream->frames.rate[1] * attn_layer_stride (layer);
  outputs.input = stream->arrival.sequence;
  outputs.previous = stream->answered;
  frames_write (stream->worker->cluster, &stream->write, stream->attended, &outputs, values, stream->last);
  stream->outputs = outputs;
  return TRUE;
}

gboolean
write_again (Stream *stream, guint64 from)
{
  gboolean reaches = kept_reaches (&stream->kept, from);

  say ("%s: the servers have lost outputs %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
       ", which they had acknowledged: %s",
       stream->name, from, stream->answered - 1, reaches ? "they are written again" : "this worker has not got them");
  return reaches && kept_write (&stream->kept, stream->worker->cluster, stream->attended, from, &stream->last);
}

/* A refused output is that of a worker that has lost the stream; or the servers have lost what is before it. */
static gboolean
mend_outputs (Stream *stream)
{
  guint64 answered = stream->answered, there;
  gboolean ok = read_answered (stream);

  there = stream->answered;
  stream->answered = answered;
  return ok && there < answered && write_again (stream, there);
}

static void
end_output (Stream *stream)
{
  if (stream->write.result == FULL && !stream->full)
    say ("%s waits: ATTENDED is full (%s)", stream->name, stream->write.error);
  stream->full = stream->write.result == FULL;
  if (stream->full)
    return;
  if (stream->write.result == REFUSED && mend_outputs (stream))
    return;
  if (stream->write.result != WRITTEN) {
    let_go (stream, "its output was %s: %s", stream->write.result == REFUSED ? "refused" : "not acknowledged",
            stream->write.error);
    return;
  }
  stream->last = stream->write.sequence;
  if (stream->outputs.end) {
    stream->ended = stream->arrival.sequence;
    return;
  }
  kept_add (&stream->kept, &stream->outputs, stream->out + stream->n_done * stream->outputs.width);
  stream->n_done += stream->outputs.count;
  stream->answered = stream->first_out + stream->n_done;
}

/* Writes what streams [n] have, one message of each at a time, until nothing is left or ATTENDED is full. */
static void
write_outputs (Worker *worker, GPtrArray *streams)
{
  GPtrArray *writing = g_ptr_array_new ();
  guint i;

  do {
    g_ptr_array_set_size (writing, 0);
    for (i = 0; i < streams->len; i++) {
      Stream *stream = g_ptr_array_index (streams, i);

      if (stream->stream != NULL && g_get_monotonic_time () > stream->ends + worker->late)
        let_go (stream, "its lease ended");
      if (stream->stream != NULL && start_output (stream))
        g_ptr_array_add (writing, stream);
    }
    write_wait (worker->cluster);
    for (i = 0; i < writing->len; i++)
      end_output (g_ptr_array_index (writing, i));
    for (i = streams->len; i-- > 0;)
      if (((Stream *) g_ptr_array_index (streams, i))->full)
        g_ptr_array_remove_index (streams, i); /* the next round tries it again */
  } while (writing->len > 0);
  g_ptr_array_unref (writing);
}

/* ---- a round ---- */

/* Streams that go on; those whose outputs wait for room are among them, without a step. */
static GPtrArray *
start_steps (Worker *worker, AttnPush *pushes, gsize *n_pushes)
{
  GPtrArray *streams = g_ptr_array_new ();
  GHashTableIter iter;
  Stream *stream;

  *n_pushes = 0;
  g_hash_table_iter_init (&iter, worker->streams);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &stream)) {
    if (stream->stream == NULL || (!stream->full && !next_message (stream)))
      continue;
    g_ptr_array_add (streams, stream);
    if (stream->full)
      continue;
    if (next_step (stream))
      pushes[(*n_pushes)++] = stream->push;
    else if (stream->frames.end && !attn_stream_is_drained (stream->stream))
      end_of_stream (stream);
  }
  return streams;
}

static void
push_steps (Worker *worker, AttnPush *pushes, gsize n_pushes, GPtrArray *streams)
{
  AttnError error;
  gsize i, j;

  if (attn_group_push (worker->group, pushes, n_pushes, &error) != ATTN_OK)
    fail ("%s", error.message); /* a fault of this program */
  for (i = j = 0; i < streams->len && j < n_pushes; i++) {
    Stream *stream = g_ptr_array_index (streams, i);

    if (stream->stream == pushes[j].stream)
      stream->n_out = pushes[j++].n_out;
  }
}

gboolean
attend_all (Worker *worker)
{
  AttnPush *pushes = g_new (AttnPush, worker->most_streams);
  gsize n_pushes;
  GPtrArray *streams = start_steps (worker, pushes, &n_pushes), *writing = g_ptr_array_copy (streams, NULL, NULL);
  gboolean any = FALSE;
  guint i;

  push_steps (worker, pushes, n_pushes, streams);
  write_outputs (worker, writing);
  for (i = 0; i < streams->len; i++) {
    Stream *stream = g_ptr_array_index (streams, i);

    any |= stream->stream != NULL && !stream->full;
    if (stream->stream != NULL && !stream->full && stream->arrival.message != NULL
        && attn_stream_next_frame (stream->stream) >= stream->frames.first + stream->frames.count
        && (!stream->frames.end || stream->ended > 0)) {
      finish_message (stream);
      g_clear_pointer (&stream->values, g_free);
    }
  }
  g_ptr_array_unref (streams);
  g_ptr_array_unref (writing);
  g_free (pushes);
  return any;
}
