/* The delay line by itself, against a list of all frames that ever came.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"
#include "base/alloc.h"
#include "blocks/delay.h"
#include "kernels/kernels.h"
#include "random.h"

#define N_RANDOM random_rounds (300) /* lines */
#define WIDTH 3
#define MAX_FRAMES 4000

/* A line, and its expected contents: row `frame` holds `frame` in each of its values. */
typedef struct {
  AttnDelay delay;
  void *memory;
  uint64_t next;
  bool present[MAX_FRAMES];
} Line;

static void
line_init (Line *line, size_t n_waiting)
{
  AttnArena arena = { 0 };

  attn_delay_plan (n_waiting, WIDTH, &arena);
  line->memory = arena.memory = attn_alloc (arena.used);
  arena.used = 0;
  line->delay = attn_delay_plan (n_waiting, WIDTH, &arena);
  line->next = 0;
}

static void
put (Line *line)
{
  const float values[WIDTH] = { line->next, line->next, line->next };

  attn_delay_put (&line->delay, line->next, values);
  line->present[line->next++] = true;
}

static void
skip (Line *line, uint64_t n)
{
  attn_delay_skip (&line->delay, line->next, n);
  for (; n > 0; n--)
    line->present[line->next++] = false;
}

/* The last frames, as many as the line has slots, are present or absent as they came, with their values. */
static bool
is_right (const Line *line)
{
  uint64_t first = line->next > line->delay.n_slots ? line->next - line->delay.n_slots : 0;

  for (uint64_t frame = first; frame < line->next; frame++)
    if (attn_delay_has (&line->delay, frame) != line->present[frame]
        || (line->present[frame] && attn_delay_row (&line->delay, frame)[WIDTH - 1] != frame))
      return false;
  return true;
}

/* A run from `frame` on: all alike, in one piece of at most 16 if they are present, and as long as that allows. */
static bool
run_is_right (const Line *line, uint64_t frame, uint64_t n)
{
  const AttnDelay *delay = &line->delay;
  uint64_t run = attn_delay_run (delay, frame, n), i;

  for (i = 0; i < run; i++)
    if (line->present[frame + i] != line->present[frame]
        || (line->present[frame] && attn_delay_row (delay, frame + i) != attn_delay_row (delay, frame) + i * WIDTH))
      return false;
  if (line->present[frame] && run > ATTN_LANES)
    return false;
  if (run == n || line->present[frame + run] != line->present[frame])
    return run >= 1 && run <= n;
  return (frame + run) % delay->n_slots == 0 || (line->present[frame] && run == ATTN_LANES);
}

TEST (frames_wait_in_their_slots_and_come_in_runs)
{
  static Line line;

  for (int i = 0; i < N_RANDOM; i++) {
    line_init (&line, random_between (0, 100));
    while (line.next < MAX_FRAMES - 1000) {
      uint64_t n = random_between (0, 9) == 0 ? random_between (1, 300) : random_between (0, 40), first, frame;

      if (random_between (0, 1))
        skip (&line, n);
      else
        for (; n > 0; n--)
          put (&line);
      CHECK (is_right (&line));
      first = line.next > line.delay.n_slots ? line.next - line.delay.n_slots : 0;
      frame = first + random_between (0, line.next - first);
      if (frame < line.next)
        CHECK (run_is_right (&line, frame, random_between (1, line.next - frame)));
      if (first < line.next)
        CHECK (run_is_right (&line, first, line.next - first));
    }
    attn_free (line.memory);
  }
}

/* Any number of absent frames is one step, and leaves no slot as it was. */
TEST (jump_over_absent_frames_clears_every_slot)
{
  static Line line;

  for (uint64_t n = 1; n < 300; n++) {
    line_init (&line, 40);
    while (line.next < 150)
      put (&line);
    skip (&line, n);
    CHECK_MSG (is_right (&line), "%llu frames", (unsigned long long) n);
    if (n > line.delay.n_slots)
      CHECK (attn_delay_run (&line.delay, 150, n) == n);
    attn_free (line.memory);
  }
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  random_seed ();
  RUN (frames_wait_in_their_slots_and_come_in_runs);
  RUN (jump_over_absent_frames_clears_every_slot);
  return check_done ();
}
