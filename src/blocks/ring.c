/* libattn: the window of keys and values.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/ring.h"

#include <string.h>

#include "blocks/ring_split.h"

/* Bytes of a window; reading a larger one takes so long that its first lines do not matter. */
#define LARGEST_PREFETCHED (512 * 1024)

/*
 * Frames after a large block that are split for a matrix unit, too. Pushes of 15 or 17 frames, cut at the ends of
 * tiles, have large pieces at least so often.
 */
#define SPLIT_FOR 128

/* Bytes of a window that does not stay in the second-level cache of a core, of 1 or 2 MiB, beside the parameters. */
#define SMALLEST_FAR (1536 * 1024)

static size_t
tiles_for (size_t n_frames)
{
  return (n_frames + ATTN_LANES - 1) / ATTN_LANES;
}

/*
 * The tiles that are in use at once. At most one is written ahead of the frame that is being answered: where a tile
 * begins at frame f, the oldest frame in use is f - look_ahead - (window - 1), in the worst case the last of its tile.
 * With chunks it is f - (window - 1): before f is written, all but the last chunk have been answered.
 */
static size_t
count_window_slots (const AttnSizes *sizes, size_t max_frames)
{
  size_t n_waiting = sizes->chunk != 0 ? 0 : sizes->look_ahead;
  size_t n = tiles_for (n_waiting + sizes->window - 1) + 1, most = max_frames / ATTN_LANES + 2;

  return n < most ? n : most;
}

void
attn_ring_plan (AttnRing *ring, const AttnSizes *sizes, size_t max_frames, AttnArena *arena)
{
  size_t frame = ATTN_LANES * attn_precision_size (sizes->precision), n_row = sizes->n_key + sizes->n_value;
  size_t n_window_slots = count_window_slots (sizes, max_frames);
  size_t n_slots = n_window_slots + tiles_for (sizes->n_sinks), masks = n_slots * sizeof (uint16_t);
  size_t n_keys = attn_size_mul (n_slots, attn_size_mul (sizes->n_kv_heads, sizes->dk_stored));
  size_t n_values = attn_size_mul (n_slots, sizes->n_value);

  *ring = (AttnRing){
    .sizes = sizes, .n_sink_slots = n_slots - n_window_slots, .n_window_slots = n_window_slots, .n_slots = n_slots
  };
  ring->keys = attn_arena_take (arena, attn_size_mul (n_keys, frame));
  ring->values = attn_arena_take (arena, attn_size_add (attn_size_mul (n_values, frame), ATTN_VALUES_SLACK));
  ring->present = attn_arena_take (arena, masks);
  ring->finite = attn_arena_take (arena, masks);
  if (sizes->precision != ATTN_PRECISION_F32)
    ring->row = attn_arena_take (arena, n_row * sizeof (uint16_t));
  ring->is_far = attn_size_mul (attn_size_add (n_keys, n_values), frame) >= SMALLEST_FAR;
  if (sizes->is_split)
    attn_ring_plan_split (ring, arena);
  if (arena->memory != NULL)
    memset (ring->finite, 0xff, masks);
}

void
attn_ring_reset (AttnRing *ring, uint64_t first)
{
  ring->first = ring->next = first;
  ring->n_since_large = SPLIT_FOR;
  memset (ring->present, 0, ring->n_slots * sizeof *ring->present);
}

static size_t
slot_of (const AttnRing *ring, uint64_t frame, bool is_sink)
{
  return is_sink ? frame / ATTN_LANES : ring->n_sink_slots + frame / ATTN_LANES % ring->n_window_slots;
}

/* The hardware continues by itself within a page: one line of each page is enough, and costs little if it is cached. */
static void
prefetch_pages (const void *memory, size_t size)
{
  const size_t page = 4096;

  for (size_t at = 0; at < size; at += page)
    __builtin_prefetch ((const char *) memory + at);
}

void
attn_ring_prefetch (const AttnRing *ring)
{
  const AttnSizes *sizes = ring->sizes;
  size_t tile = ring->n_slots * sizes->n_kv_heads * ATTN_LANES * attn_precision_size (sizes->precision);

  if (tile * (sizes->dk_stored + sizes->dv) > LARGEST_PREFETCHED)
    return;
  prefetch_pages (ring->keys, tile * sizes->dk_stored);
  prefetch_pages (ring->values, tile * sizes->dv);
}

/* Where the tile in `slot` of a head begins, in frames from slot 0 of the first head. */
static size_t
first_frame_of (const AttnRing *ring, size_t head, size_t slot)
{
  return (head * ring->n_slots + slot) * ATTN_LANES;
}

/* Writes the first `n` frames of the heads from `begin` to before `end` to a slot. */
static void
store_f32 (const AttnArrivals *a, size_t begin, size_t end, size_t slot, size_t n)
{
  const AttnSizes *sizes = a->ring->sizes;
  size_t first = first_frame_of (a->ring, begin, slot), per_head = a->ring->n_slots * ATTN_LANES;
  AttnTiles tiles = { .keys = (float *) a->ring->keys + first * sizes->dk,
                      .values = (float *) a->ring->values + first * sizes->dv,
                      .key_stride = per_head * sizes->dk,
                      .value_stride = per_head * sizes->dv,
                      .n_heads = end - begin,
                      .dk = sizes->dk,
                      .dv = sizes->dv };

  a->machine->kernels->store (&tiles, a->ring->next % ATTN_LANES, a->keys + begin * sizes->dk,
                              a->values + begin * sizes->dv, a->stride, n);
}

/* Writes one frame of one head, whose key [dk] and value [dv] come from ring->row, to a slot. */
static void
store_16 (AttnRing *ring, size_t head, size_t slot, size_t lane)
{
  const AttnSizes *sizes = ring->sizes;
  size_t first = first_frame_of (ring, head, slot), is_bf16 = sizes->precision == ATTN_PRECISION_BF16;
  const uint16_t *restrict key = ring->row + head * sizes->dk;
  const uint16_t *restrict value = ring->row + sizes->n_key + head * sizes->dv;
  uint16_t *restrict keys = (uint16_t *) ring->keys + first * sizes->dk_stored;
  uint16_t *restrict values = (uint16_t *) ring->values + first * sizes->dv;

  for (size_t d = 0; d < sizes->dk; d++)
    keys[attn_stored_index (d, ATTN_LANES, lane, sizes->precision)] = key[d];
  values += attn_stored_index (lane, sizes->dv, 0, sizes->precision);
  for (size_t d = 0; d < sizes->dv; d++)
    values[d << is_bf16] = value[d];
}

/* Writes the heads from `begin` to before `end` of frame `i` in 16 bits. */
static void
write_16 (const AttnArrivals *a, size_t begin, size_t end, size_t i)
{
  AttnRing *ring = a->ring;
  const AttnSizes *sizes = ring->sizes;
  const AttnKernels *kernels = a->machine->kernels;
  size_t key = begin * sizes->dk, value = begin * sizes->dv, n = end - begin;
  uint64_t frame = ring->next + i;

  kernels->narrow (ring->row + key, a->keys + i * a->stride + key, n * sizes->dk, sizes->precision);
  kernels->narrow (ring->row + sizes->n_key + value, a->values + i * a->stride + value, n * sizes->dv,
                   sizes->precision);
  for (size_t head = begin; head < end; head++) {
    store_16 (ring, head, a->slot, frame % ATTN_LANES);
    if (frame < sizes->n_sinks)
      store_16 (ring, head, frame / ATTN_LANES, frame % ATTN_LANES);
  }
}

static void
write_part (void *data, size_t part, size_t n_parts)
{
  const AttnArrivals *a = data;
  const AttnSizes *sizes = a->ring->sizes;
  size_t begin = attn_share (sizes->n_kv_heads, part, n_parts), end = attn_share (sizes->n_kv_heads, part + 1, n_parts);
  uint64_t next = a->ring->next, n_left = next < sizes->n_sinks ? sizes->n_sinks - next : 0;
  size_t n_sinks = n_left < a->n ? n_left : a->n, sink_slot = next / ATTN_LANES;

  if (sizes->precision == ATTN_PRECISION_F32) {
    store_f32 (a, begin, end, a->slot, a->n);
    if (n_sinks > 0)
      store_f32 (a, begin, end, sink_slot, n_sinks);
  } else
    for (size_t i = 0; i < a->n; i++)
      write_16 (a, begin, end, i);
  for (size_t head = begin; head < end && a->is_split; head++) {
    attn_ring_split_head (a, head, a->slot, a->n);
    if (n_sinks > 0)
      attn_ring_split_head (a, head, sink_slot, n_sinks);
  }
}

static void
set_bit (uint16_t *bits, size_t lane, bool is_set)
{
  *bits = (*bits & ~(1u << lane)) | (uint32_t) is_set << lane;
}

/* Notes that the frame is present, whether its values are finite, and whether it can be split. */
static void
note_frame (AttnRing *ring, size_t slot, size_t lane, bool is_finite, bool is_splittable)
{
  set_bit (&ring->present[slot], lane, true);
  set_bit (&ring->finite[slot], lane, is_finite);
  if (ring->splittable != NULL)
    set_bit (&ring->splittable[slot], lane, is_splittable);
}

/*
 * Whether a block of `n` frames is split. Where pushes are too small for a matrix unit, nothing is; where large pushes
 * are cut at the ends of tiles, their small pieces are, as the large ones attend to them.
 */
static bool
is_block_split (AttnRing *ring, const AttnMachine *machine, size_t n)
{
  if (machine->matrix == NULL)
    return false;
  if (n >= attn_least_attended (ring->sizes->dk))
    ring->n_since_large = 0;
  else if (ring->n_since_large < SPLIT_FOR)
    ring->n_since_large += n;
  return ring->n_since_large < SPLIT_FOR;
}

void
attn_ring_write (AttnRing *ring, const AttnMachine *machine, AttnPool *pool, const float *keys, const float *values,
                 size_t stride, size_t n)
{
  bool is_split = is_block_split (ring, machine, n);
  AttnArrivals arrivals = { ring, machine, keys, values, stride, n, slot_of (ring, ring->next, false), is_split };
  float limit = attn_infinite_from (ring->sizes->precision);
  size_t i;

  if (ring->next % ATTN_LANES == 0)
    ring->present[arrivals.slot] = 0;
  attn_pool_run (pool, write_part, &arrivals);
  for (i = 0; i < n; i++, ring->next++) {
    bool can_split = is_split && attn_ring_can_split (&arrivals, i);
    bool is_finite = can_split || machine->kernels->all_below (values + i * stride, ring->sizes->n_value, limit);
    size_t lane = ring->next % ATTN_LANES;

    note_frame (ring, arrivals.slot, lane, is_finite, can_split);
    if (ring->next < ring->sizes->n_sinks)
      note_frame (ring, ring->next / ATTN_LANES, lane, is_finite, can_split);
  }
}

bool
attn_ring_has (const AttnRing *ring, uint64_t frame, bool is_sink)
{
  return ring->present[slot_of (ring, frame, is_sink)] >> frame % ATTN_LANES & 1;
}

bool
attn_ring_read (const AttnRing *ring, uint64_t frame, bool is_sink, float *keys, float *values)
{
  const AttnSizes *sizes = ring->sizes;
  AttnPrecision precision = sizes->precision;
  size_t tile = slot_of (ring, frame, is_sink) * ATTN_LANES, lane = frame % ATTN_LANES, head, d;

  if (!attn_ring_has (ring, frame, is_sink))
    return false;
  for (head = 0; head < sizes->n_kv_heads; head++, keys += sizes->dk, values += sizes->dv) {
    for (d = 0; d < sizes->dk; d++)
      keys[d] =
          attn_stored_value (attn_ring_keys (ring, head),
                             tile * sizes->dk_stored + attn_stored_index (d, ATTN_LANES, lane, precision), precision);
    for (d = 0; d < sizes->dv; d++)
      values[d] = attn_stored_value (attn_ring_values (ring, head),
                                     attn_stored_index (tile + lane, sizes->dv, d, precision), precision);
  }
  return true;
}

void
attn_ring_skip (AttnRing *ring, uint64_t n)
{
  uint64_t end = ring->next + n;
  /* The tiles that the window enters: those that begin at ring->next or later, before `end`. */
  uint64_t tile = ring->next / ATTN_LANES + (ring->next % ATTN_LANES != 0),
           end_tile = end / ATTN_LANES + (end % ATTN_LANES != 0);

  if (end_tile > tile && end_tile - tile > ring->n_window_slots)
    tile = end_tile - ring->n_window_slots;
  for (; tile < end_tile; tile++)
    ring->present[ring->n_sink_slots + tile % ring->n_window_slots] = 0;
  ring->next = end;
}

/*
 * The frames that a frame attends to, of those that the ring has: from `oldest` to before `end`, and the first
 * `n_sinks`, which its window has left behind.
 */
typedef struct {
  uint64_t oldest, end, n_sinks;
} Sight;

static inline Sight
sight_of (const AttnRing *ring, uint64_t frame)
{
  uint64_t oldest = attn_oldest_seen (ring->sizes, frame), end = attn_end_seen (ring->sizes, frame);
  uint64_t n_sinks = oldest < ring->sizes->n_sinks ? oldest : ring->sizes->n_sinks;

  return (Sight){ .oldest = oldest < ring->first ? ring->first : oldest,
                  .end = end < ring->next ? end : ring->next,
                  .n_sinks = ring->first < n_sinks ? n_sinks : 0 };
}

/* The masks of one frame over the tiles of a view. It attends to none of them where the numbers of frames overflow. */
static inline void
mask_tiles (const AttnRing *ring, const AttnView *view, const Sight *sight, uint16_t *masks)
{
  /* The number of the view's tile that would hold frame 0 of the window; modulo 2^64. */
  uint64_t origin = view->n_sink_tiles - view->first_frame / ATTN_LANES;
  uint64_t first = origin + sight->oldest / ATTN_LANES, last = origin + (sight->end - 1) / ATTN_LANES;
  size_t i;

  for (i = 0; i < view->n_sink_tiles; i++) {
    uint64_t n_left = sight->n_sinks > i * ATTN_LANES ? sight->n_sinks - i * ATTN_LANES : 0;

    masks[i] = ring->present[view->slots[i]] & (n_left < ATTN_LANES ? (1u << n_left) - 1 : 0xffff);
  }
  for (; i < view->n_tiles; i++)
    masks[i] = i >= first && i <= last ? ring->present[view->slots[i]] : 0;
  if (first > last || last >= view->n_tiles)
    return;
  masks[first] &= 0xffffu << sight->oldest % ATTN_LANES;
  masks[last] &= 0xffffu >> (ATTN_LANES - 1 - (sight->end - 1) % ATTN_LANES);
}

void
attn_ring_view (const AttnRing *ring, uint64_t frame, size_t n, AttnView *view)
{
  Sight sight = sight_of (ring, frame), last = n > 1 ? sight_of (ring, frame + n - 1) : sight;
  uint64_t tile = sight.oldest / ATTN_LANES, end_tile = (last.end - 1) / ATTN_LANES + 1;
  size_t slot, i;

  view->first_frame = tile * ATTN_LANES;
  view->n_sink_tiles = tiles_for (last.n_sinks);
  view->n_tiles = view->n_sink_tiles + (end_tile > tile ? end_tile - tile : 0);
  for (i = 0; i < view->n_sink_tiles; i++)
    view->slots[i] = i;
  for (slot = slot_of (ring, view->first_frame, false); i < view->n_tiles; i++) {
    view->slots[i] = slot++;
    slot = slot < ring->n_slots ? slot : ring->n_sink_slots;
  }
  mask_tiles (ring, view, &sight, view->masks);
  for (i = 1; i < n; i++) {
    sight = sight_of (ring, frame + i);
    mask_tiles (ring, view, &sight, view->masks + i * view->n_tiles);
  }
}
