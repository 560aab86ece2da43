/* libattn: the window of keys and values.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/ring.h"

#include <string.h>

#include "blocks/ring_split.h"

/* Bytes of a window; reading a larger one takes so long that its first lines do not matter. */
#define LARGEST_PREFETCHED (512 * 1024)

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
  if (sizes->is_split)
    attn_ring_plan_split (ring, arena);
  if (arena->memory != NULL)
    memset (ring->finite, 0xff, masks);
}

void
attn_ring_reset (AttnRing *ring, uint64_t first)
{
  ring->first = ring->next = first;
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

static void
store_f32 (float *keys, float *values, size_t lane, const float *key, const float *value, const AttnSizes *sizes)
{
  for (size_t d = 0; d < sizes->dk; d++)
    keys[d * ATTN_LANES + lane] = key[d];
  memcpy (values + lane * sizes->dv, value, sizes->dv * sizeof *values);
}

static void
store_16 (uint16_t *keys, uint16_t *values, size_t lane, const uint16_t *key, const uint16_t *value,
          const AttnSizes *sizes)
{
  for (size_t d = 0; d < sizes->dk; d++)
    keys[attn_stored_index (d, ATTN_LANES, lane, sizes->precision)] = key[d];
  for (size_t d = 0; d < sizes->dv; d++)
    values[attn_stored_index (lane, sizes->dv, d, sizes->precision)] = value[d];
}

/*
 * Writes one head's key [dk] and value [dv] of one frame to its place; in a window of 16 bits they come from ring->row.
 */
static void
store_head (AttnRing *ring, size_t head, size_t slot, size_t lane, const float *key, const float *value)
{
  const AttnSizes *sizes = ring->sizes;
  size_t tile = (head * ring->n_slots + slot) * ATTN_LANES;
  size_t at_key = tile * sizes->dk_stored, at_value = tile * sizes->dv;

  if (sizes->precision == ATTN_PRECISION_F32)
    store_f32 ((float *) ring->keys + at_key, (float *) ring->values + at_value, lane, key, value, sizes);
  else
    store_16 ((uint16_t *) ring->keys + at_key, (uint16_t *) ring->values + at_value, lane,
              ring->row + head * sizes->dk, ring->row + sizes->n_key + head * sizes->dv, sizes);
}

static void
write_head (const AttnArrivals *a, size_t head, size_t i)
{
  const AttnSizes *sizes = a->ring->sizes;
  const float *key = a->keys + i * a->stride + head * sizes->dk;
  const float *value = a->values + i * a->stride + head * sizes->dv;
  uint64_t frame = a->ring->next + i;

  if (sizes->precision != ATTN_PRECISION_F32) {
    a->machine->kernels->narrow (a->ring->row + head * sizes->dk, key, sizes->dk, sizes->precision);
    a->machine->kernels->narrow (a->ring->row + sizes->n_key + head * sizes->dv, value, sizes->dv, sizes->precision);
  }
  store_head (a->ring, head, a->slot, frame % ATTN_LANES, key, value);
  if (frame < sizes->n_sinks)
    store_head (a->ring, head, frame / ATTN_LANES, frame % ATTN_LANES, key, value);
}

static void
write_part (void *data, size_t part, size_t n_parts)
{
  const AttnArrivals *a = data;
  size_t n_heads = a->ring->sizes->n_kv_heads, n_sinks = a->ring->sizes->n_sinks, head, i;
  uint64_t next = a->ring->next;

  for (head = attn_share (n_heads, part, n_parts); head < attn_share (n_heads, part + 1, n_parts); head++) {
    for (i = 0; i < a->n; i++)
      write_head (a, head, i);
    if (a->machine->matrix != NULL)
      attn_ring_split_head (a, head, a->slot, a->n);
    if (a->machine->matrix != NULL && next < n_sinks)
      attn_ring_split_head (a, head, next / ATTN_LANES, n_sinks - next < a->n ? n_sinks - next : a->n);
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

void
attn_ring_write (AttnRing *ring, const AttnMachine *machine, AttnPool *pool, const float *keys, const float *values,
                 size_t stride, size_t n)
{
  AttnArrivals arrivals = { ring, machine, keys, values, stride, n, slot_of (ring, ring->next, false) };
  float limit = attn_infinite_from (ring->sizes->precision);
  size_t i;

  if (ring->next % ATTN_LANES == 0)
    ring->present[arrivals.slot] = 0;
  attn_pool_run (pool, write_part, &arrivals);
  for (i = 0; i < n; i++, ring->next++) {
    bool can_split = machine->matrix != NULL && attn_ring_can_split (&arrivals, i);
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

/* The lanes of the tile that begins at frame `base` which hold frames from `oldest` to before `end`. */
static uint16_t
lanes_between (uint64_t base, uint64_t oldest, uint64_t end)
{
  uint32_t mask = 0xffff;

  if (oldest >= base + ATTN_LANES || end <= base)
    return 0;
  if (oldest > base)
    mask = mask << (oldest - base) & 0xffff;
  if (end < base + ATTN_LANES)
    mask &= 0xffff >> (base + ATTN_LANES - end);
  return mask;
}

/* How many sinks the window of `frame` has left behind. */
static uint64_t
n_sinks_behind (const AttnRing *ring, uint64_t frame)
{
  uint64_t oldest = attn_oldest_seen (ring->sizes, frame);
  uint64_t n_sinks = oldest < ring->sizes->n_sinks ? oldest : ring->sizes->n_sinks;

  return ring->first < n_sinks ? n_sinks : 0;
}

/* The masks of one frame over the tiles of a view. */
static void
mask_tiles (const AttnRing *ring, const AttnView *view, uint64_t frame, uint16_t *masks)
{
  uint64_t oldest = attn_oldest_seen (ring->sizes, frame), n_sinks = n_sinks_behind (ring, frame);
  uint64_t end = attn_end_seen (ring->sizes, frame), base = view->first_frame;
  size_t i;

  if (oldest < ring->first)
    oldest = ring->first;
  if (end > ring->next)
    end = ring->next;
  for (i = 0; i < view->n_sink_tiles; i++)
    masks[i] = ring->present[view->slots[i]] & lanes_between (i * ATTN_LANES, 0, n_sinks);
  for (; i < view->n_tiles; i++, base += ATTN_LANES)
    masks[i] = ring->present[view->slots[i]] & lanes_between (base, oldest, end);
}

void
attn_ring_view (const AttnRing *ring, uint64_t frame, size_t n, AttnView *view)
{
  uint64_t oldest = attn_oldest_seen (ring->sizes, frame), end = attn_end_seen (ring->sizes, frame + n - 1);
  uint64_t tile, end_tile;
  size_t slot, i;

  if (oldest < ring->first)
    oldest = ring->first;
  if (end > ring->next)
    end = ring->next;
  view->n_sink_tiles = tiles_for (n_sinks_behind (ring, frame + n - 1));
  view->n_tiles = 0;
  for (slot = 0; slot < view->n_sink_tiles; slot++)
    view->slots[view->n_tiles++] = slot;

  tile = oldest / ATTN_LANES;
  end_tile = (end - 1) / ATTN_LANES + 1;
  view->first_frame = tile * ATTN_LANES;
  slot = tile % ring->n_window_slots;
  for (; tile < end_tile; tile++) {
    view->slots[view->n_tiles++] = ring->n_sink_slots + slot;
    slot = slot + 1 == ring->n_window_slots ? 0 : slot + 1;
  }
  for (i = 0; i < n; i++)
    mask_tiles (ring, view, frame + i, view->masks + i * view->n_tiles);
}
