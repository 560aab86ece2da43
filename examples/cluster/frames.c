/*
 * Messages of frames, and those that are kept. See cluster.h. The headers of a message are Attn-First, Attn-Time,
 * Attn-Width, Attn-Count and Attn-Rate; Attn-End at the end of the stream; and, if their writer knows them,
 * Attn-Previous, Attn-Input and Attn-Sender.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cluster.h"

#include <stdio.h>
#include <string.h>

#define MOST_VALUES (1u << 24) /* of a message; far more than a server takes */

#define MOST_KEPT 256 /* messages */
#define MOST_KEPT_SIZE (4u << 20)

typedef struct {
  Frames frames;
  gint64 written; /* when */
  guint8 values[];
} KeptMessage;

static void
set (natsMsg *message, const char *key, guint64 value)
{
  char text[24];

  g_snprintf (text, sizeof text, "%" G_GUINT64_FORMAT, value);
  natsMsgHeader_Set (message, key, text);
}

void
frames_describe (const Frames *frames, natsMsg *message)
{
  char rate[32];

  set (message, "Attn-First", frames->first);
  set (message, "Attn-Time", frames->time);
  set (message, "Attn-Width", frames->width);
  set (message, "Attn-Count", frames->count);
  g_snprintf (rate, sizeof rate, "%u/%u", frames->rate[0], frames->rate[1]);
  natsMsgHeader_Set (message, "Attn-Rate", rate);
  set (message, "Attn-Previous", frames->previous);
  if (frames->input > 0)
    set (message, "Attn-Input", frames->input);
  if (frames->sender > 0)
    set (message, "Attn-Sender", frames->sender);
  if (frames->end)
    natsMsgHeader_Set (message, "Attn-End", "1");
}

static gboolean
get (natsMsg *message, const char *key, guint64 most, guint64 *value, char reason[256])
{
  const char *text;

  if (natsMsgHeader_Get (message, key, &text) != NATS_OK) {
    g_snprintf (reason, 256, "the message has no header %s", key);
    return FALSE;
  }
  if (!g_ascii_string_to_unsigned (text, 10, 0, most, value, NULL)) {
    g_snprintf (reason, 256, "%s is \"%.40s\", expected a number from 0 to %" G_GUINT64_FORMAT, key, text, most);
    return FALSE;
  }
  return TRUE;
}

/* 0: it is not there. */
static guint64
get_if_there (natsMsg *message, const char *key)
{
  const char *text;

  return natsMsgHeader_Get (message, key, &text) == NATS_OK ? g_ascii_strtoull (text, NULL, 10) : 0;
}

static gboolean
get_rate (natsMsg *message, guint32 rate[2], char reason[256])
{
  const char *text = "";
  char behind;

  natsMsgHeader_Get (message, "Attn-Rate", &text);
  if (sscanf (text, "%u/%u%c", &rate[0], &rate[1], &behind) == 2 && rate[0] > 0 && rate[1] > 0)
    return TRUE;
  g_snprintf (reason, 256, "Attn-Rate is \"%.40s\", expected a fraction such as 100/1", text);
  return FALSE;
}

gboolean
frames_unpack (natsMsg *message, Frames *frames, char reason[256])
{
  gsize size = natsMsg_GetDataLength (message), expected;
  guint64 width, count;
  const char *text;

  *frames = (Frames){ .values = natsMsg_GetData (message) };
  frames->end = natsMsgHeader_Get (message, "Attn-End", &text) == NATS_OK;
  if (!get (message, "Attn-First", G_MAXINT64, &frames->first, reason)
      || !get (message, "Attn-Time", G_MAXINT64, &frames->time, reason)
      || !get (message, "Attn-Width", MOST_VALUES, &width, reason)
      || !get (message, "Attn-Count", MOST_VALUES, &count, reason) || !get_rate (message, frames->rate, reason))
    return FALSE;
  frames->input = get_if_there (message, "Attn-Input");
  frames->previous = get_if_there (message, "Attn-Previous");
  frames->sender = get_if_there (message, "Attn-Sender");
  frames->width = width;
  frames->count = count;
  expected = width * count * sizeof (gfloat);
  if (width == 0 || (count == 0) != frames->end) {
    g_snprintf (reason, 256, "the message has %u frames of %u values, expected %s", frames->count, frames->width,
                frames->end ? "0 frames at the end of the stream" : "one or more");
    return FALSE;
  }
  if (size == expected)
    return TRUE;
  g_snprintf (reason, 256, "the message has %zu bytes, expected %zu: %u frames of %u values", size, expected,
              frames->count, frames->width);
  return FALSE;
}

guint64
frames_time (const Frames *frames, guint64 number)
{
  guint64 distance = number > frames->first ? number - frames->first : frames->first - number;
  guint64 time = distance / frames->rate[0] * frames->rate[1] * G_GUINT64_CONSTANT (1000000000)
                 + distance % frames->rate[0] * frames->rate[1] * G_GUINT64_CONSTANT (1000000000) / frames->rate[0];

  if (number > frames->first)
    return frames->time + time;
  return frames->time > time ? frames->time - time : 0;
}

guint64
frames_of_state (natsMsg *state)
{
  char *line = g_strndup (natsMsg_GetData (state), MIN (natsMsg_GetDataLength (state), 80));
  guint64 n = 0;

  sscanf (line, "attn-state %*s %" G_GUINT64_FORMAT, &n);
  g_free (line);
  return n;
}

void
frames_write (Cluster *cluster, Write *write, const char *subject, const Frames *frames, const void *values,
              guint64 expected)
{
  gsize size = (gsize) frames->count * frames->width * sizeof (gfloat);
  natsMsg *message = write_message (cluster, write, subject, values, size, expected);

  frames_describe (frames, message);
  write_send (cluster, message);
}

/* ---- messages that are kept ---- */

static gsize
size_of (const KeptMessage *message)
{
  return (gsize) message->frames.count * message->frames.width * sizeof (gfloat);
}

static void
forget_oldest (Kept *kept)
{
  KeptMessage *oldest = g_queue_pop_head (&kept->messages);

  kept->size -= size_of (oldest);
  g_free (oldest);
}

void
kept_add (Kept *kept, const Frames *frames, const void *values)
{
  gsize size = (gsize) frames->count * frames->width * sizeof (gfloat);
  KeptMessage *message = g_malloc (sizeof *message + size);

  message->frames = *frames;
  message->written = g_get_monotonic_time ();
  memcpy (message->values, values, size);
  g_queue_push_tail (&kept->messages, message);
  kept->size += size;
  while (g_queue_peek_head (&kept->messages) != message
         && (g_queue_get_length (&kept->messages) > MOST_KEPT || kept->size > MOST_KEPT_SIZE
             || ((KeptMessage *) g_queue_peek_head (&kept->messages))->written
                    < message->written - KEEP_FOR * G_TIME_SPAN_SECOND))
    forget_oldest (kept);
}

gboolean
kept_reaches (const Kept *kept, guint64 from)
{
  const KeptMessage *oldest = g_queue_peek_head ((GQueue *) &kept->messages);

  return oldest != NULL && oldest->frames.previous <= from;
}

gboolean
kept_write (const Kept *kept, Cluster *cluster, const char *subject, guint64 from, guint64 *last)
{
  const GList *item;
  Write write;

  for (item = kept->messages.head; item != NULL; item = item->next) {
    const KeptMessage *message = item->data;

    if (message->frames.first + message->frames.count <= from)
      continue;
    frames_write (cluster, &write, subject, &message->frames, message->values, *last);
    write_wait (cluster);
    if (write.result != WRITTEN)
      return FALSE;
    *last = write.sequence;
  }
  return TRUE;
}

void
kept_clear (Kept *kept)
{
  while (!g_queue_is_empty (&kept->messages))
    forget_oldest (kept);
}
