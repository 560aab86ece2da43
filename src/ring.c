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
  size_t masks = attn_size_mul (ring->n_slots, sizeof (uint16_t)), keys, values;

  ring->n_split_rows = attn_round_up (attn_size_mul (ring->n_slots, ATTN_LANES), ATTN_STEP);
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
  AttnStatus status;

  *ring = (AttnRing){
    .sizes = sizes, .n_sink_slots = n_slots - n_window_slots, .n_window_slots = n_window_slots, .n_slots = n_slots
  };
  /* The largest first: nothing is touched for a window that cannot be. */
  if (sizes->is_split && (status = init_split (ring, error)) != ATTN_OK)
    return status;
  if (!(ring->values = attn_alloc (attn_size_add (values, ATTN_VALUES_SLACK))) || !(ring->keys = attn_alloc (keys))
      || !(ring->present = attn_alloc (masks)) || !(ring->finite = attn_alloc (masks))
      || (sizes->precision != ATTN_PRECISION_F32 && !(ring->row = attn_alloc (n_row * sizeof (uint16_t)))))
    return attn_fail_memory (error, "window of keys and values", attn_size_add (keys, values));
  memset (ring->finite, 0xff, masks);
  return ATTN_OK;
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
  const AttnMatrixKernels *matrix; /* NULL: not split */
  const float *keys, *values;      /* [n][stride] */
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

/* `n` values of some frames [n_frames][stride] as the window holds them, in float32 again: widened [16][32]. */
static void
as_stored (const Writing *w, float *widened, const float *in, size_t n_frames, size_t n)
{
  AttnPrecision precision = w->ring->sizes->precision;
  uint16_t narrow[ATTN_STEP];

  for (size_t i = 0; i < n_frames; i++) {
    w->kernels->narrow (narrow, in + i * w->stride, n, precision);
    for (size_t d = 0; d < n; d++)
      widened[i * ATTN_STEP + d] = attn_stored_value (narrow, d, precision);
  }
}

/* The same, up to 32 values, in two parts [2][16][32]; all are 0 of a frame with one that is too large. */
static void
split_stored (const Writing *w, uint16_t *parts, const float *in, size_t n_frames, size_t n)
{
  bool is_f32 = w->ring->sizes->precision == ATTN_PRECISION_F32;
  size_t stride = is_f32 ? w->stride : ATTN_STEP, i;
  float widened[ATTN_LANES * ATTN_STEP];
  uint16_t *high = parts, *low = parts + ATTN_STEP_PART;

  if (!is_f32) {
    as_stored (w, widened, in, n_frames, n);
    in = widened;
  }
  if (w->matrix->split (high, low, in, stride, n_frames, n))
    return;
  for (i = 0; i < n_frames; i++)
    if (!w->matrix->split (high + i * ATTN_STEP, low + i * ATTN_STEP, in + i * stride, 0, 1, n)) {
      memset (high + i * ATTN_STEP, 0, ATTN_STEP * sizeof *high);
      memset (low + i * ATTN_STEP, 0, ATTN_STEP * sizeof *low);
    }
}

/* Keys are columns of their tile's right operand. */
static void
split_keys (const Writing *w, size_t head, size_t slot, size_t lane, size_t n)
{
  const AttnRing *ring = w->ring;
  size_t dk = ring->sizes->dk, n_rows = attn_round_up (dk, ATTN_STEP), d, part, pair, i;
  uint16_t *tile = ring->split_keys + (head * ring->n_slots + slot) * attn_right_size (dk, ATTN_LANES);
  uint16_t parts[ATTN_STEP_SIZE];

  for (d = 0; d < dk; d += ATTN_STEP) {
    size_t n_dimensions = dk - d < ATTN_STEP ? dk - d : ATTN_STEP;

    split_stored (w, parts, w->keys + head * dk + d, n, n_dimensions);
    for (part = 0; part < 2; part++)
      for (pair = 0; pair < n_dimensions; pair += 2) {
        const uint16_t *from = parts + part * ATTN_STEP_PART + pair;
        uint16_t *to = tile + part * n_rows * ATTN_LANES + attn_right_index (d + pair, lane, n_rows);

        for (i = 0; i < n; i++)
          memcpy (to + 2 * i, from + i * ATTN_STEP, 2 * sizeof *to);
      }
  }
}

/* Rows [n][32], of which 16 columns, from row `first` on, of a right operand whose row 0 is `to`: in pairs. */
static void
store_rows (uint16_t *to, size_t first, const uint16_t *rows, size_t n)
{
  size_t i = 0, c;

  for (; i < n && (first + i) % 2 != 0; i++)
    for (c = 0; c < ATTN_LANES; c++)
      to[(first + i) / 2 * 2 * ATTN_LANES + 2 * c + 1] = rows[i * ATTN_STEP + c];
  for (; i + 2 <= n; i += 2)
    for (c = 0; c < ATTN_LANES; c++) {
      to[(first + i) * ATTN_LANES + 2 * c] = rows[i * ATTN_STEP + c];
      to[(first + i) * ATTN_LANES + 2 * c + 1] = rows[(i + 1) * ATTN_STEP + c];
    }
  for (c = 0; i < n && c < ATTN_LANES; c++)
    to[(first + i) * ATTN_LANES + 2 * c] = rows[i * ATTN_STEP + c];
}

/* Values are rows of their head's right operand. */
static void
split_values (const Writing *w, size_t head, size_t slot, size_t lane, size_t n)
{
  const AttnRing *ring = w->ring;
  size_t dv = ring->sizes->dv, v, part, half;
  uint16_t *values = ring->split_values + head * attn_right_size (ring->n_split_rows, dv);
  uint16_t parts[ATTN_STEP_SIZE];

  for (v = 0; v < dv; v += ATTN_STEP) {
    split_stored (w, parts, w->values + head * dv + v, n, dv - v < ATTN_STEP ? dv - v : ATTN_STEP);
    for (part = 0; part < 2; part++)
      for (half = 0; half < ATTN_STEP && v + half < dv; half += ATTN_LANES)
        store_rows (values + attn_right_index (0, v + half, ring->n_split_rows)
                        + part * ring->n_split_rows * ATTN_LANES,
                    slot * ATTN_LANES + lane, parts + part * ATTN_STEP_PART + half, n);
  }
}

/* The first `n` of the frames. */
static void
split_head (const Writing *w, size_t head, size_t slot, size_t n)
{
  split_keys (w, head, slot, w->ring->next % ATTN_LANES, n);
  split_values (w, head, slot, w->ring->next % ATTN_LANES, n);
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
  store_head (w->ring, head, w->slot, frame % ATTN_LANES, key, value);
  if (frame < sizes->n_sinks)
    store_head (w->ring, head, frame / ATTN_LANES, frame % ATTN_LANES, key, value);
}

static void
write_part (void *data, size_t part, size_t n_parts)
{
  const Writing *w = data;
  size_t n_heads = w->ring->sizes->n_kv_heads, n_sinks = w->ring->sizes->n_sinks, head, i;
  uint64_t next = w->ring->next;

  for (head = attn_share (n_heads, part, n_parts); head < attn_share (n_heads, part + 1, n_parts); head++) {
    for (i = 0; i < w->n; i++)
      write_head (w, head, i);
    if (w->matrix != NULL)
      split_head (w, head, w->slot, w->n);
    if (w->matrix != NULL && next < n_sinks)
      split_head (w, head, next / ATTN_LANES, n_sinks - next < w->n ? n_sinks - next : w->n);
  }
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
  if (ring->splittable != NULL)
    set_bit (&ring->splittable[slot], lane, is_splittable);
}

static bool
is_splittable (const Writing *w, const float *keys, const float *values)
{
  const AttnSizes *sizes = w->ring->sizes;
  float infinite = attn_infinite_from (sizes->precision), largest = ATTN_SPLIT_LIMIT / 2; /* it may be rounded up */
  float limit = infinite < largest ? infinite : largest;

  return w->matrix != NULL && w->kernels->all_below (keys, sizes->n_key, limit)
         && w->kernels->all_below (values, sizes->n_value, limit);
}

void
attn_ring_write (AttnRing *ring, const AttnKernels *kernels, const AttnMatrixKernels *matrix, AttnPool *pool,
                 const float *keys, const float *values, size_t stride, size_t n)
{
  Writing writing = { ring, kernels, matrix, keys, values, stride, n, slot_of (ring, ring->next, false) };
  float limit = attn_infinite_from (ring->sizes->precision);
  size_t i;

  if (ring->next % ATTN_LANES == 0)
    ring->present[writing.slot] = 0;
  attn_pool_run (pool, write_part, &writing);
  for (i = 0; i < n; i++, ring->next++) {
    bool can_split = is_splittable (&writing, keys + i * stride, values + i * stride);
    bool is_finite = can_split || kernels->all_below (values + i * stride, ring->sizes->n_value, limit);
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
