/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring.h"

#include <string.h>

#include "alloc.h"
#include "status.h"

/* Bytes of a window; reading a larger one takes so long that how it begins does not matter. */
#define LARGEST_PREFETCHED (512 * 1024)

static size_t
tiles_for (size_t n_frames)
{
  return (n_frames + ATTN_LANES - 1) / ATTN_LANES;
}

size_t
attn_ring_stream_slots (const AttnSizes *sizes)
{
  /*
   * A tile begins at frame f: the oldest frame in use is f - look_ahead - (window - 1), in the worst case the last of
   * its tile.
   */
  return tiles_for (sizes->look_ahead + sizes->window - 1) + 1;
}

/* The window once more, for a matrix unit. */
static AttnStatus
init_split (AttnRing *ring, AttnError *error)
{
  const AttnSizes *sizes = ring->sizes;
  size_t masks = ring->n_slots * sizeof (uint16_t), keys, values;

  ring->n_split_rows = attn_round_up (ring->n_slots * ATTN_LANES, ATTN_STEP);
  keys = attn_size_mul (attn_size_mul (sizes->n_kv_heads, ring->n_slots), attn_right_size (sizes->dk, ATTN_LANES));
  values = attn_size_mul (sizes->n_kv_heads, attn_right_size (ring->n_split_rows, sizes->dv));
  ring->split_keys = attn_alloc (attn_size_mul (keys, sizeof (uint16_t)));
  ring->split_values = attn_alloc (attn_size_mul (attn_size_add (values, ATTN_STEP_PART / 2), sizeof (uint16_t)));
  ring->splittable = attn_alloc (masks);
  if (ring->split_keys == NULL || ring->split_values == NULL || ring->splittable == NULL)
    return attn_fail_memory (error, "split keys and values",
                             attn_size_mul (attn_size_add (keys, values), sizeof (uint16_t)));
  memset (ring->splittable, 0xff, masks);
  return ATTN_OK;
}

AttnStatus
attn_ring_init (AttnRing *ring, const AttnSizes *sizes, size_t n_window_slots, AttnError *error)
{
  size_t n_slots = attn_size_add (n_window_slots, tiles_for (sizes->n_sinks));
  size_t frame = ATTN_LANES * attn_precision_size (sizes->precision), n_row = sizes->n_key + sizes->n_value;
  size_t keys = attn_size_mul (attn_size_mul (n_slots, frame), attn_size_mul (sizes->n_kv_heads, sizes->dk_stored));
  size_t values = attn_size_mul (attn_size_mul (n_slots, frame), sizes->n_value);
  size_t masks = attn_size_mul (n_slots, sizeof (uint16_t));

  *ring = (AttnRing){
    .sizes = sizes, .n_sink_slots = n_slots - n_window_slots, .n_window_slots = n_window_slots, .n_slots = n_slots
  };
  /* The largest first: nothing is touched for a window that cannot be. */
  if (!(ring->values = attn_alloc (attn_size_add (values, ATTN_VALUES_SLACK))) || !(ring->keys = attn_alloc (keys))
      || !(ring->present = attn_alloc (masks)) || !(ring->finite = attn_alloc (masks))
      || (sizes->precision != ATTN_PRECISION_F32 && !(ring->row = attn_alloc (n_row * sizeof (uint16_t)))))
    return attn_fail_memory (error, "window of keys and values", attn_size_add (keys, values));
  memset (ring->finite, 0xff, masks);
  return sizes->is_split ? init_split (ring, error) : ATTN_OK;
}

void
attn_ring_clear (AttnRing *ring)
{
  attn_free (ring->keys);
  attn_free (ring->values);
  attn_free (ring->present);
  attn_free (ring->finite);
  attn_free (ring->row);
  attn_free (ring->split_keys);
  attn_free (ring->split_values);
  attn_free (ring->splittable);
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

/* The hardware goes on by itself within a page: a line of each is enough, and costs little where it is there. */
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

/* Frames on their way into the window, which threads share by heads. */
typedef struct {
  AttnRing *ring;
  const AttnKernels *kernels;
  const float *keys, *values; /* [n][stride] */
  size_t stride, n, slot;
} Writing;

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

/* One head's key [dk] and value [dv] of one frame to its place; those of a window in 16 bits stand in ring->row. */
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

/* Up to 32 values as the window holds them, `row` if not in float32, in two parts; 0 where one is too large. */
static void
split_stored (const Writing *w, uint16_t parts[2][ATTN_STEP], const float *values, const uint16_t *row, size_t n)
{
  AttnPrecision precision = w->ring->sizes->precision;
  float widened[ATTN_STEP];
  size_t i;

  if (precision != ATTN_PRECISION_F32) {
    for (i = 0; i < n; i++)
      widened[i] = attn_stored_value (row, i, precision);
    values = widened;
  }
  if (!w->kernels->split (parts[0], parts[1], values, 0, 1, n))
    memset (parts, 0, 2 * sizeof parts[0]);
}

/* A key is a column of its tile's right operand. */
static void
split_key (const Writing *w, size_t head, size_t slot, size_t lane, const float *key)
{
  const AttnRing *ring = w->ring;
  size_t dk = ring->sizes->dk, n_rows = attn_round_up (dk, ATTN_STEP), d, part, i;
  uint16_t *tile = ring->split_keys + (head * ring->n_slots + slot) * attn_right_size (dk, ATTN_LANES);
  uint16_t parts[2][ATTN_STEP];

  for (d = 0; d < dk; d += ATTN_STEP) {
    split_stored (w, parts, key + d, ring->row + head * dk + d, dk - d < ATTN_STEP ? dk - d : ATTN_STEP);
    for (part = 0; part < 2; part++)
      for (i = 0; i < ATTN_STEP; i += 2)
        memcpy (tile + attn_right_index (d + i, lane, n_rows) + part * n_rows * ATTN_LANES, &parts[part][i],
                2 * sizeof parts[part][i]);
  }
}

/* A value is a row of its head's right operand. */
static void
split_value (const Writing *w, size_t head, size_t slot, size_t lane, const float *value)
{
  const AttnRing *ring = w->ring;
  const AttnSizes *sizes = ring->sizes;
  uint16_t *values = ring->split_values + head * attn_right_size (ring->n_split_rows, sizes->dv);
  uint16_t parts[2][ATTN_STEP];
  size_t v, part, i;

  for (v = 0; v < sizes->dv; v += ATTN_LANES) {
    size_t n = sizes->dv - v < ATTN_LANES ? sizes->dv - v : ATTN_LANES;
    uint16_t *to = values + attn_right_index (slot * ATTN_LANES + lane, v, ring->n_split_rows);

    split_stored (w, parts, value + v, ring->row + sizes->n_key + head * sizes->dv + v, n);
    for (part = 0; part < 2; part++, to += ring->n_split_rows * ATTN_LANES)
      for (i = 0; i < ATTN_LANES; i++)
        to[2 * i] = parts[part][i];
  }
}

static void
write_to_slot (const Writing *w, size_t head, size_t slot, size_t lane, const float *key, const float *value)
{
  store_head (w->ring, head, slot, lane, key, value);
  if (w->ring->sizes->is_split) {
    split_key (w, head, slot, lane, key);
    split_value (w, head, slot, lane, value);
  }
}

static void
write_head (const Writing *w, size_t head, size_t i)
{
  const AttnSizes *sizes = w->ring->sizes;
  const float *key = w->keys + i * w->stride + head * sizes->dk;
  const float *value = w->values + i * w->stride + head * sizes->dv;
  uint64_t frame = w->ring->next + i;

  if (sizes->precision != ATTN_PRECISION_F32) {
    w->kernels->narrow (w->ring->row + head * sizes->dk, key, sizes->dk, sizes->precision);
    w->kernels->narrow (w->ring->row + sizes->n_key + head * sizes->dv, value, sizes->dv, sizes->precision);
  }
  write_to_slot (w, head, w->slot, frame % ATTN_LANES, key, value);
  if (frame < sizes->n_sinks)
    write_to_slot (w, head, frame / ATTN_LANES, frame % ATTN_LANES, key, value);
}

static void
write_part (void *data, size_t part, size_t n_parts)
{
  const Writing *w = data;
  size_t n_heads = w->ring->sizes->n_kv_heads, head, i;

  for (head = attn_share (n_heads, part, n_parts); head < attn_share (n_heads, part + 1, n_parts); head++)
    for (i = 0; i < w->n; i++)
      write_head (w, head, i);
}

static void
set_bit (uint16_t *bits, size_t lane, bool is_set)
{
  *bits = (*bits & ~(1u << lane)) | (uint32_t) is_set << lane;
}

/* The frame is there, whether its values are finite, and whether it can be split. */
static void
note_frame (AttnRing *ring, size_t slot, size_t lane, bool is_finite, bool is_splittable)
{
  set_bit (&ring->present[slot], lane, true);
  set_bit (&ring->finite[slot], lane, is_finite);
  if (ring->sizes->is_split)
    set_bit (&ring->splittable[slot], lane, is_splittable);
}

static bool
is_splittable (const Writing *w, const float *keys, const float *values)
{
  const AttnSizes *sizes = w->ring->sizes;
  float infinite = attn_infinite_from (sizes->precision);
  float limit = infinite < ATTN_SPLIT_LIMIT ? infinite : ATTN_SPLIT_LIMIT;

  return sizes->is_split && w->kernels->all_below (keys, sizes->n_key, limit)
         && w->kernels->all_below (values, sizes->n_value, limit);
}

void
attn_ring_write (AttnRing *ring, const AttnKernels *kernels, AttnPool *pool, const float *keys, const float *values,
                 size_t stride, size_t n)
{
  Writing writing = { ring, kernels, keys, values, stride, n, slot_of (ring, ring->next, false) };
  float limit = attn_infinite_from (ring->sizes->precision);
  size_t i;

  if (ring->next % ATTN_LANES == 0)
    ring->present[writing.slot] = 0;
  attn_pool_run (pool, write_part, &writing);
  for (i = 0; i < n; i++, ring->next++) {
    bool is_finite = kernels->all_below (values + i * stride, ring->sizes->n_value, limit);
    bool can_split = is_splittable (&writing, keys + i * stride, values + i * stride);
    size_t lane = ring->next % ATTN_LANES;

    note_frame (ring, writing.slot, lane, is_finite, can_split);
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
  /* The tiles that are entered on the way: those that begin at ring->next or later, before `end`. */
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

/* The oldest frame of the window of `frame`, and how many sinks that window has left behind. */
static uint64_t
oldest_in_window (const AttnSizes *sizes, uint64_t frame)
{
  return frame < sizes->window ? 0 : frame - sizes->window + 1;
}

static uint64_t
n_sinks_behind (const AttnRing *ring, uint64_t frame)
{
  uint64_t oldest = oldest_in_window (ring->sizes, frame);
  uint64_t n_sinks = oldest < ring->sizes->n_sinks ? oldest : ring->sizes->n_sinks;

  return ring->first < n_sinks ? n_sinks : 0;
}

/* The masks of one frame over the tiles of a view. */
static void
mask_tiles (const AttnRing *ring, const AttnView *view, uint64_t frame, uint16_t *masks)
{
  uint64_t oldest = oldest_in_window (ring->sizes, frame), n_sinks = n_sinks_behind (ring, frame);
  uint64_t end = frame + ring->sizes->look_ahead + 1, base = view->first_frame;
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
  uint64_t oldest = oldest_in_window (ring->sizes, frame), end = frame + n + ring->sizes->look_ahead;
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
