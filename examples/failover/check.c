/*
 * Compares the logs of receivers that followed each other with the whole sequence at once.
 *
 *   check N_FRAMES LOG...
 *
 * A receiver that went on from frame S must have given, to the bit, the outputs that attn_forward () gives for all
 * frames. The frames that did not come are absent there: before S, those that its predecessors did not get; from S on,
 * those that it did not get itself. Prints how many these are.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>
#include <string.h>

#include "attn.h"
#include "failover.h"

typedef struct {
  guint n_frames;
  AttnLayer *layer;
  gfloat *frames, *expected; /* [n_frames][N_FEATURES] */
  guint8 *present;           /* [n_frames]: what the stream knows of, through all lives */
  guint8 *answered;          /* [n_frames]: by any receiver */
} Check;

static void
start (Check *check)
{
  AttnConfig config = attn_config_default ();
  guint n = check->n_frames, i;

  config.n_features = N_FEATURES;
  config.n_heads = HEADS;
  config.window = WINDOW;
  config.look_ahead = LOOK_AHEAD;
  config.n_sinks = SINKS;
  config.position = ATTN_POSITION_ALIBI; /* so that a wrong frame number shows */
  if (attn_layer_new (&config, NULL, &check->layer, NULL) != ATTN_OK)
    fail ("check: no layer");
  check->frames = g_new (gfloat, (gsize) n * N_FEATURES);
  check->expected = g_new (gfloat, (gsize) n * N_FEATURES);
  check->present = g_new0 (guint8, n);
  check->answered = g_new0 (guint8, n);
  for (i = 0; i < n; i++)
    make_frame (i, check->frames + (gsize) i * N_FEATURES);
}

/* How many of the frames from `first` to `last` are there; [from, to). */
static guint
count (const guint8 *there, guint first, guint last)
{
  guint n = 0;

  for (; first < last; first++)
    n += there[first];
  return n;
}

/* Of what LEFT, all must be as expected. */
static guint
compare (const Check *check, const gchar *name, const Record *records, gsize n)
{
  guint n_left = 0;
  gsize i;

  for (i = 0; i < n; i++) {
    const gfloat *expected = check->expected + (gsize) records[i].number * N_FEATURES;

    if (records[i].what != LEFT)
      continue;
    if (memcmp (records[i].values, expected, FRAME_SIZE) != 0)
      fail ("%s: frame %u gave %.9g ..., but %.9g ... is expected", name, records[i].number, records[i].values[0],
            expected[0]);
    check->answered[records[i].number] = 1;
    n_left++;
  }
  return n_left;
}

/* Is there a frame of before the state that the first one behind it attends to, and that is no sink? */
static gboolean
window_reaches_back (const Check *check, guint begin, guint first)
{
  return begin == 0 || count (check->present, MAX (SINKS + WINDOW, first + 1) - WINDOW, begin) > 0;
}

static void
check_log (Check *check, const gchar *name, gboolean is_first, gboolean was_killed)
{
  gchar *data;
  gsize size, n, i;
  guint begin, first = G_MAXUINT, end = 0, n_came = 0, n_left;
  const Record *records;

  if (!g_file_get_contents (name, &data, &size, NULL) || size < sizeof (Record))
    fail ("%s: no log of a receiver", name);
  records = (const Record *) data;
  n = size / sizeof (Record);
  begin = records[0].number;
  if (records[0].what != BEGINS || begin > check->n_frames)
    fail ("%s: no log of %u frames", name, check->n_frames);
  if (!is_first && begin == 0)
    fail ("%s: began anew, and not from a state", name);
  memset (check->present + begin, 0, check->n_frames - begin); /* what came to a predecessor after its last save */
  for (i = 1; i < n; i++) {
    if (records[i].number >= check->n_frames)
      fail ("%s: frame %u of %u", name, records[i].number, check->n_frames);
    if (records[i].what != CAME)
      continue;
    first = MIN (first, records[i].number);
    end = records[i].number + 1;
    check->present[records[i].number] = 1;
    n_came++;
  }
  if (n_came == 0)
    fail ("%s: nothing came in", name);
  if (attn_forward (check->layer, check->frames, check->present, end, 0, check->expected, NULL, NULL) != ATTN_OK)
    fail ("check: out of memory");
  n_left = compare (check, name, records, n);
  printf ("%s: goes on from frame %u; the first to come is %u, the last %u; %u are absent; %u left, equal to the bit\n",
          name, begin, first, end - 1, end - begin - n_came, n_left);
  if (n_left > n_came || n_left + (was_killed ? LOOK_AHEAD + 1 : 0) < n_came)
    fail ("%s: %u frames came, but %u left", name, n_came, n_left);
  if (!window_reaches_back (check, begin, first))
    fail ("%s: the outage was longer than the window: this shows nothing", name);
  g_free (data);
}

int
main (int argc, char **argv)
{
  Check check = { 0 };
  int i;

  if (argc < 3)
    fail ("usage: check N_FRAMES LOG...");
  check.n_frames = atoi (argv[1]);
  start (&check);
  for (i = 2; i < argc; i++)
    check_log (&check, argv[i], i == 2, i + 1 < argc);
  printf ("%u of %u frames were answered\n", count (check.answered, 0, check.n_frames), check.n_frames);
  attn_layer_free (check.layer);
  g_free (check.frames);
  g_free (check.expected);
  g_free (check.present);
  g_free (check.answered);
  return 0;
}
