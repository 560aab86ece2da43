/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring.h"

#include <string.h>

#include "alloc.h"
#include "status.h"

static size_t
tiles_for (size_t n_frames)
{
  return (n_frames + ATTN_LANES - 1) / ATTN_LANES;
}

size_t
attn_ring_stream_tiles (const AttnSizes *sizes)
{
  /*
   * A tile begins at frame f: the oldest frame in use is f - look_ahead - (window - 1), in the worst case the last of
   * its tile.
   */
  return tiles_for (sizes->look_ahead + sizes->window - 1) + 1;
}

size_t
attn_ring_max_tiles (const AttnRing *ring)
{
  return ring->window.n_tiles + ring->sinks.n_tiles;
}

static AttnStatus
init_tiles (AttnTiles *tiles, const AttnSizes *sizes, size_t n_tiles, AttnError *error)
{
  size_t n_frames = attn_size_mul (n_tiles, ATTN_LANES * sizeof (float));
  size_t keys = attn_size_mul (n_frames, sizes->n_key);
  size_t values = attn_size_mul (n_frames, attn_size_mul (sizes->n_kv_heads, sizes->dv_padded));

  tiles->n_tiles = n_tiles;
  /* The largest first: nothing is touched for a window that cannot be. */
  if (!(tiles->values = attn_alloc (values)) || !(tiles->keys = attn_alloc (keys))
      || !(tiles->present = attn_alloc (attn_size_mul (n_tiles, sizeof *tiles->present))))
    return attn_fail_memory (error, "window of keys and values", attn_size_add (keys, values));
  return ATTN_OK;
}

static void
free_tiles (AttnTiles *tiles)
{
  attn_free (tiles->keys);
  attn_free (tiles->values);
  attn_free (tiles->present);
}

AttnStatus
attn_ring_init (AttnRing *ring, const AttnSizes *sizes, size_t n_window_tiles, AttnError *error)
{
  AttnStatus status;

  *ring = (AttnRing){ .sizes = sizes };
  if ((status = init_tiles (&ring->window, sizes, n_window_tiles, error)) != ATTN_OK)
    return status;
  return init_tiles (&ring->sinks, sizes, tiles_for (sizes->n_sinks), error);
}

void
attn_ring_clear (AttnRing *ring)
{
  free_tiles (&ring->window);
  free_tiles (&ring->sinks);
}

void
attn_ring_reset (AttnRing *ring, uint64_t first)
{
  ring->first = ring->next = first;
  memset (ring->window.present, 0, ring->window.n_tiles * sizeof *ring->window.present);
  memset (ring->sinks.present, 0, ring->sinks.n_tiles * sizeof *ring->sinks.present);
}

static void
write_frame (AttnTiles *tiles, const AttnSizes *sizes, size_t slot, size_t lane, const float *key, const float *value)
{
  size_t head, d;

  for (head = 0; head < sizes->n_kv_heads; head++) {
    size_t tile = head * tiles->n_tiles + slot;
    float *keys = tiles->keys + tile * sizes->dk * ATTN_LANES + lane;
    float *values = tiles->values + (tile * ATTN_LANES + lane) * sizes->dv_padded;

    for (d = 0; d < sizes->dk; d++)
      keys[d * ATTN_LANES] = key[head * sizes->dk + d];
    memcpy (values, value + head * sizes->dv, sizes->dv * sizeof *values);
  }
  tiles->present[slot] |= 1u << lane;
}

void
attn_ring_write (AttnRing *ring, const float *keys, const float *values, size_t n)
{
  const AttnSizes *sizes = ring->sizes;
  size_t slot = ring->next / ATTN_LANES % ring->window.n_tiles;
  size_t i;

  if (ring->next % ATTN_LANES == 0)
    ring->window.present[slot] = 0;
  for (i = 0; i < n; i++, ring->next++, keys += sizes->n_key, values += sizes->n_value) {
    write_frame (&ring->window, sizes, slot, ring->next % ATTN_LANES, keys, values);
    if (ring->next < sizes->n_sinks)
      write_frame (&ring->sinks, sizes, ring->next / ATTN_LANES, ring->next % ATTN_LANES, keys, values);
  }
}

bool
attn_ring_read (const AttnRing *ring, uint64_t frame, bool is_sink, float *keys, float *values)
{
  const AttnSizes *sizes = ring->sizes;
  const AttnTiles *tiles = is_sink ? &ring->sinks : &ring->window;
  size_t slot = frame / ATTN_LANES % tiles->n_tiles, lane = frame % ATTN_LANES, head, d;

  if (!(tiles->present[slot] >> lane & 1))
    return false;
  for (head = 0; head < sizes->n_kv_heads; head++, keys += sizes->dk, values += sizes->dv) {
    size_t tile = head * tiles->n_tiles + slot;

    for (d = 0; d < sizes->dk; d++)
      keys[d] = tiles->keys[(tile * sizes->dk + d) * ATTN_LANES + lane];
    memcpy (values, tiles->values + (tile * ATTN_LANES + lane) * sizes->dv_padded, sizes->dv * sizeof *values);
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

  if (end_tile > tile && end_tile - tile > ring->window.n_tiles)
    tile = end_tile - ring->window.n_tiles;
  for (; tile < end_tile; tile++)
    ring->window.present[tile % ring->window.n_tiles] = 0;
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

/* Appends a run and the masks of its tiles: the frames from `oldest` to before `end` that are present. */
static void
add_run (AttnView *view, AttnRun run, uint64_t oldest, uint64_t end)
{
  size_t i;

  for (i = 0; i < run.n_tiles; i++)
    view->masks[view->n_tiles++] =
        run.tiles->present[run.begin + i] & lanes_between (run.first_frame + i * ATTN_LANES, oldest, end);
  view->runs[view->n_runs++] = run;
}

void
attn_ring_view (const AttnRing *ring, uint64_t frame, AttnView *view)
{
  const AttnSizes *sizes = ring->sizes;
  const AttnTiles *window = &ring->window;
  uint64_t oldest = frame < sizes->window ? 0 : frame - sizes->window + 1; /* of the window */
  uint64_t n_sinks = oldest < sizes->n_sinks ? oldest : sizes->n_sinks;    /* those that the window has left behind */
  uint64_t end = frame + sizes->look_ahead + 1;
  uint64_t tile, end_tile;

  view->n_runs = view->n_tiles = 0;
  if (ring->first < n_sinks)
    add_run (view, (AttnRun){ &ring->sinks, 0, tiles_for (n_sinks), 0, true }, 0, n_sinks);

  if (oldest < ring->first)
    oldest = ring->first;
  if (end > ring->next)
    end = ring->next;
  end_tile = (end - 1) / ATTN_LANES + 1;
  for (tile = oldest / ATTN_LANES; tile < end_tile;) {
    size_t slot = tile % window->n_tiles;
    size_t n_tiles = end_tile - tile < window->n_tiles - slot ? end_tile - tile : window->n_tiles - slot;

    add_run (view, (AttnRun){ window, slot, n_tiles, tile * ATTN_LANES, false }, oldest, end);
    tile += n_tiles;
  }
}
