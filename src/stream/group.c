/*
 * libattn: groups: frames of several streams in one call.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each stream goes through its blocks by itself, up to the next linear layer, and asks for that. When all streams wait,
 * or are done, the layer that comes first among those asked for is computed for all streams that ask for it: their rows
 * are gathered, and their parameters are read once. So a stream that is behind catches up, and streams that stand alike
 * stay together. A row of a linear layer has the same bits whatever stands beside it; all else belongs to one stream.
 */
#include "stream/stream.h"

#include <string.h>

#include "base/float_mode.h"
#include "base/status.h"
#include "blocks/linear.h"

/* A stream in a call. */
typedef struct {
  AttnStream *stream;
  AttnOutlet outlet;
  bool waits;
} Member;

struct AttnGroup {
  const AttnLayer *layer;
  size_t max_streams;
  Member *members; /* [max_streams], those of the present call first */
  size_t n_members;
  AttnPool *pool;                 /* NULL: the caller alone */
  size_t max_inputs, max_outputs; /* of the linear layers */
  float *in, *out;                /* [16][max_inputs], [16][max_outputs]: gathered rows */
  uint16_t *left;                 /* room for a left operand (matrix.h); NULL: there is no unit */
  char *memory;                   /* of all these arrays */
};

/* ---- life ---- */

static void
plan_group (AttnGroup *group, AttnArena *arena)
{
  size_t n_left = group->layer->machine.matrix != NULL ? attn_left_size (group->max_inputs) : 0;

  group->members = attn_arena_take (arena, attn_size_mul (group->max_streams, sizeof *group->members));
  group->in = attn_arena_take (arena, attn_size_mul (group->max_inputs, ATTN_LANES * sizeof *group->in));
  group->out = attn_arena_take (arena, attn_size_mul (group->max_outputs, ATTN_LANES * sizeof *group->out));
  group->left = attn_arena_take (arena, attn_size_mul (n_left, sizeof *group->left));
}

AttnStatus
attn_group_new (const AttnLayer *layer, size_t max_streams, AttnGroup **result, AttnError *error)
{
  AttnGroup *group = attn_alloc (sizeof *group);
  AttnStream counted = { .layer = layer, .work = { .max_frames = SIZE_MAX } };
  AttnArena stream_arena = { 0 }, arena = { 0 };
  AttnStatus status;

  *result = NULL;
  if (group == NULL)
    return attn_fail_memory (error, "group of streams", sizeof *group);
  attn_stream_plan (&counted, &stream_arena);
  group->layer = layer;
  group->max_streams = max_streams;
  group->max_inputs = counted.request.max_inputs;
  group->max_outputs = counted.request.max_outputs;
  plan_group (group, &arena);
  group->memory = arena.memory = attn_alloc (arena.used);
  if (group->memory == NULL) {
    status = attn_fail_memory (error, "working memory of a group of streams", arena.used);
    goto fail;
  }
  if (layer->n_threads > 1 && (status = attn_pool_new (layer->n_threads, &group->pool, error)))
    goto fail;
  arena.used = 0;
  plan_group (group, &arena);
  *result = group;
  return attn_succeed (error);

fail:
  attn_group_free (group);
  return status;
}

void
attn_group_free (AttnGroup *group)
{
  if (group == NULL)
    return;
  attn_pool_free (group->pool);
  attn_free (group->memory);
  attn_free (group);
}

/* ---- linear layers for several streams ---- */

/* Where a stream stands. The memory of all streams of a layer is arranged alike, in the order of the blocks. */
static size_t
place_of (const AttnStream *stream)
{
  return (size_t) ((const char *) stream->request.in - stream->memory);
}

/* The stream that is furthest behind of those that wait; NULL: none waits. */
static const AttnStream *
find_last (const AttnGroup *group)
{
  const AttnStream *last = NULL;
  size_t i;

  for (i = 0; i < group->n_members; i++) {
    const AttnStream *stream = group->members[i].stream;

    if (group->members[i].waits && (last == NULL || place_of (stream) < place_of (last)))
      last = stream;
  }
  return last;
}

/* The threads that share a layer over `n` rows. */
static AttnPool *
pool_for (const AttnGroup *group, const AttnProjection *projection, size_t n)
{
  uint64_t n_operations = (uint64_t) 2 * projection->n_inputs * projection->n_outputs * n;

  return attn_is_worth_sharing (n_operations, (projection->n_inputs + projection->n_outputs) * n) ? group->pool : NULL;
}

/* The layer over the `n` rows that were gathered of the members who [n_who]. */
static void
compute_rows (AttnGroup *group, const AttnProjection *projection, const size_t *who, size_t n_who, size_t n)
{
  const float *out = group->out;
  size_t i;

  attn_linear_run (&group->layer->machine, pool_for (group, projection, n), projection, group->left, group->out,
                   group->in, n);
  for (i = 0; i < n_who; i++) {
    AttnRequest *request = &group->members[who[i]].stream->request;

    memcpy (request->out, out, request->n * projection->n_outputs * sizeof *out);
    out += request->n * projection->n_outputs;
    request->is_done = true;
  }
}

/* Computes the layer for all that ask for it, a block of rows after the other. Returns the number of the last rows. */
static size_t
serve (AttnGroup *group, const AttnProjection *projection)
{
  size_t who[ATTN_LANES], n_who = 0, n = 0, i;

  for (i = 0; i < group->n_members; i++) {
    const AttnRequest *request = &group->members[i].stream->request;

    if (!group->members[i].waits || request->projection != projection)
      continue;
    if (n + request->n > ATTN_LANES) {
      compute_rows (group, projection, who, n_who, n);
      n_who = n = 0;
    }
    memcpy (group->in + n * projection->n_inputs, request->in, request->n * projection->n_inputs * sizeof (float));
    who[n_who++] = i;
    n += request->n;
  }
  compute_rows (group, projection, who, n_who, n);
  return n;
}

/* ---- frames ---- */

/* Streams go on until they wait. */
static void
advance_part (void *data, size_t part, size_t n_parts)
{
  AttnGroup *group = data;
  size_t end = attn_share (group->n_members, part + 1, n_parts), i;

  for (i = attn_share (group->n_members, part, n_parts); i < end; i++) {
    Member *member = &group->members[i];

    if (member->waits)
      member->waits = !attn_stream_give (member->stream, &member->outlet);
  }
}

/* Between two linear layers streams have about as much work as in these: threads share both, or neither. */
static void
run (AttnGroup *group)
{
  const AttnStream *last;
  AttnPool *pool = NULL;

  for (;;) {
    attn_pool_run (pool, advance_part, group);
    last = find_last (group);
    if (last == NULL)
      return;
    pool = pool_for (group, last->request.projection, serve (group, last->request.projection));
  }
}

static size_t
find_member (const AttnGroup *group, const AttnStream *stream)
{
  size_t i = 0;

  while (group->members[i].stream != stream)
    i++;
  return i;
}

/* Its streams become the members. */
static AttnStatus
gather_members (AttnGroup *group, const AttnPush *pushes, size_t n, AttnError *error)
{
  if (n > group->max_streams)
    return attn_fail (error, ATTN_ERROR_CONFIG, "%zu streams are pushed by a group that was made for %zu", n,
                      group->max_streams);
  for (group->n_members = 0; group->n_members < n; group->n_members++) {
    const AttnPush *push = &pushes[group->n_members];
    Member *member = &group->members[group->n_members];

    if (push->stream->layer != group->layer)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "pushes[%zu] has a stream over another layer (hash %016llx) than that of the group (hash "
                        "%016llx): all streams of a call share one AttnLayer",
                        group->n_members, (unsigned long long) push->stream->layer->hash,
                        (unsigned long long) group->layer->hash);
    if (push->stream->request.in_group)
      return attn_fail (error, ATTN_ERROR_CONFIG, "pushes[%zu] and pushes[%zu] have the same stream",
                        find_member (group, push->stream), group->n_members);
    *member = (Member){ .stream = push->stream };
    member->outlet = (AttnOutlet){ .out = push->out, .present = push->present, .room = UINT64_MAX };
    push->stream->request.in_group = true;
  }
  return attn_succeed (error);
}

static void
release_members (AttnGroup *group)
{
  size_t i;

  for (i = 0; i < group->n_members; i++)
    group->members[i].stream->request.in_group = false;
  group->n_members = 0;
}

AttnStatus
attn_group_push (AttnGroup *group, AttnPush *pushes, size_t n, AttnError *error)
{
  AttnStatus status = gather_members (group, pushes, n, error);
  uint64_t mode;
  size_t i;

  if (status != ATTN_OK) {
    release_members (group);
    return status;
  }
  mode = attn_float_enter ();
  for (i = 0; i < n; i++)
    group->members[i].waits =
        attn_stream_begin_run (pushes[i].stream, pushes[i].frames, pushes[i].n_frames, pushes[i].weights);
  if (n == 1)
    pushes[0].stream->request.in_group = false; /* it has its own threads */
  run (group);
  for (i = 0; i < n; i++) {
    pushes[i].n_out = group->members[i].outlet.n;
    attn_stream_end_run (pushes[i].stream, pushes[i].weights);
  }
  release_members (group);
  attn_float_leave (mode);
  return status;
}
