/*
 * Messages of frames. See cluster.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cluster.h"

#include <stdio.h>

#define MOST_VALUES (1u << 24) /* of a message; far more than a server takes */

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
  if (frames->input > 0)
    set (message, "Attn-Input", frames->input);
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
  if (natsMsgHeader_Get (message, "Attn-Input", &text) == NATS_OK)
    frames->input = g_ascii_strtoull (text, NULL, 10);
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
