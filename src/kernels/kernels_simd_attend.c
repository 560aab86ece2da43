/* libattn: kernels over 16 lanes: scores and contexts.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernels/kernels_simd.h"

/* How many of `n` tiles to take at once, at most `most`: in parts of equal size. */
LANES_INLINE size_t
share (size_t n, size_t most)
{
  size_t n_parts = (n + most - 1) / most;

  return n_parts == 1 ? n : (n + n_parts - 1) / n_parts; /* most often without a division */
}

/* ---- scores ---- */

/* One frame in float32 reads so fast that asking ahead only costs. */
LANES_INLINE bool
is_slow_to_come (const AttnRows *rows, const bool is_one_frame, AttnPrecision precision)
{
  return rows->is_far && !(is_one_frame && precision == ATTN_PRECISION_F32);
}

/* Asks for two vectors that stand one behind the other. */
LANES_INLINE void
prefetch_rows (AttnPrecision precision, const void *rows)
{
  __builtin_prefetch (rows);
  if (precision == ATTN_PRECISION_F32)
    __builtin_prefetch ((const float *) rows + N_LANES);
}

/* Adds the products of dimension d + odd of some queries and of some tiles of keys. */
LANES_INLINE void
score_dimension (const int n_queries, const int n_tiles, AttnPrecision precision, const int odd, const float *query,
                 size_t query_stride, const void *const tiles[8], size_t d, Lanes acc[6][8])
{
  Lanes key[8];

  EACH (t, n_tiles) key[t] = load_stored (precision, odd, tiles[t], d, N_LANES, 0);
  EACH (q, n_queries)
  {
    Lanes x = lanes_set (query[q * query_stride + d + odd]);

    EACH (t, n_tiles) acc[q][t] = lanes_fma (key[t], x, acc[q][t]);
  }
}

/*
 * Adds all dimensions. is_far: asks for the same ones of the tiles from `ahead` on, of all that one query will take
 * next, or of two; the four times four rows of a block share this work.
 */
LANES_INLINE void
score_dimensions (const int n_queries, const int n_tiles, const bool is_far, AttnPrecision precision,
                  const float *query, size_t query_stride, const void *const tiles[8], const void *ahead, size_t dk,
                  Lanes acc[6][8])
{
  const size_t tile_size = attn_stored_rows (dk, precision) * N_LANES;
  const int n_ahead = !is_far ? 0 : n_queries == 1 ? n_tiles : 2;
  size_t d = 0;

  for (; d + 2 <= dk; d += 2) {
    EACH (t, n_ahead) prefetch_rows (precision, advance (precision, ahead, t * tile_size + d * N_LANES));
    score_dimension (n_queries, n_tiles, precision, 0, query, query_stride, tiles, d, acc);
    score_dimension (n_queries, n_tiles, precision, 1, query, query_stride, tiles, d, acc);
  }
  if (d < dk)
    score_dimension (n_queries, n_tiles, precision, 0, query, query_stride, tiles, d, acc);
}

/* `n_queries` rows over n_tiles tiles, from `row` and `tile` on, with the keys of `row`. */
LANES_INLINE void
score_tiles (const int n_queries, const int n_tiles, AttnPrecision precision, const AttnRows *rows, size_t row,
             size_t tile, const float *query, size_t query_stride, const void *keys, size_t dk)
{
  float *scores = rows->scores + row * rows->score_stride + tile * N_LANES;
  size_t tile_size = attn_stored_rows (dk, precision) * N_LANES;
  size_t n_behind = n_queries == 1 ? 1 : row / 4 % 4 * 2 + 1; /* tiles from the last one to those to ask for */
  const void *tiles[8], *ahead;
  Lanes acc[6][8];

  EACH (t, n_tiles) tiles[t] = advance (precision, keys, rows->slots[tile + t] * tile_size);
  ahead = advance (precision, tiles[n_tiles - 1], n_behind * tile_size);
  EACH (q, n_queries) EACH (t, n_tiles) acc[q][t] = lanes_set (ATTN_GUARD);
  if (n_tiles >= 5 && is_slow_to_come (rows, n_queries == 1, precision))
    score_dimensions (n_queries, n_tiles, n_tiles >= 5, precision, query, query_stride, tiles, ahead, dk, acc);
  else
    score_dimensions (n_queries, n_tiles, false, precision, query, query_stride, tiles, ahead, dk, acc);
  EACH (q, n_queries) EACH (t, n_tiles) lanes_store (scores + q * rows->score_stride + t * N_LANES, acc[q][t]);
}

#if LANES_ROOM >= 24
#define MAX_SCORE_TILES_1 8
#define MAX_SCORE_TILES_4 6
#else
#define MAX_SCORE_TILES_1 5
#define MAX_SCORE_TILES_4 1
#endif

#define SCORE_CASE(N_QUERIES, N_TILES)                                                                                 \
  case N_TILES:                                                                                                        \
    if (N_TILES <= MAX_SCORE_TILES_##N_QUERIES)                                                                        \
      score_tiles (N_QUERIES, N_TILES <= MAX_SCORE_TILES_##N_QUERIES ? N_TILES : 1, precision, rows, row, tile, query, \
                   query_stride, keys, dk);                                                                            \
    break;

LANES_INLINE void
score_one (AttnPrecision precision, const AttnRows *rows, size_t row, const float *query, const void *keys, size_t dk)
{
  size_t query_stride = 0, tile = 0;

  while (tile < rows->n_tiles) {
    size_t n = share (rows->n_tiles - tile, MAX_SCORE_TILES_1);

    switch (n) {
      SCORE_CASE (1, 1)
      SCORE_CASE (1, 2)
      SCORE_CASE (1, 3)
      SCORE_CASE (1, 4)
      SCORE_CASE (1, 5)
      SCORE_CASE (1, 6)
      SCORE_CASE (1, 7)
      SCORE_CASE (1, 8)
    }
    tile += n;
  }
}

/* Rows [row, row + 4 n_fours), which share their keys. */
LANES_INLINE void
score_fours (AttnPrecision precision, const AttnRows *rows, size_t n_fours, const float *queries, size_t query_stride,
             const void *keys, size_t dk)
{
  size_t tile = 0;

  while (tile < rows->n_tiles) {
    size_t n = share (rows->n_tiles - tile, MAX_SCORE_TILES_4);

    for (size_t row = 0; row < 4 * n_fours; row += 4) {
      const float *query = queries + row * query_stride;

      switch (n) {
        SCORE_CASE (4, 1)
        SCORE_CASE (4, 2)
        SCORE_CASE (4, 3)
        SCORE_CASE (4, 4)
        SCORE_CASE (4, 5)
        SCORE_CASE (4, 6)
      }
    }
    tile += n;
  }
}

LANES_INLINE void
scores_in (AttnPrecision precision, const AttnRows *rows, const float *queries, size_t query_stride, const void *keys,
           size_t key_stride, size_t dk)
{
  size_t n_fours = key_stride == 0 ? rows->n_rows / 4 : 0;

  if (n_fours > 0)
    score_fours (precision, rows, n_fours, queries, query_stride, keys, dk);
  for (size_t row = 4 * n_fours; row < rows->n_rows; row++)
    score_one (precision, rows, row, queries + row * query_stride, advance (precision, keys, row * key_stride), dk);
}

void
SIMD (scores) (const AttnRows *rows, const float *queries, size_t query_stride, const void *keys, size_t key_stride,
               size_t dk)
{
  if (rows->precision == ATTN_PRECISION_F32)
    scores_in (ATTN_PRECISION_F32, rows, queries, query_stride, keys, key_stride, dk);
  else if (rows->precision == ATTN_PRECISION_F16)
    scores_in (ATTN_PRECISION_F16, rows, queries, query_stride, keys, key_stride, dk);
  else
    scores_in (ATTN_PRECISION_BF16, rows, queries, query_stride, keys, key_stride, dk);
}

/* ---- context ---- */

/* The frames of a tile that any of the rows from `row` on attends to. */
LANES_INLINE uint32_t
attended (const AttnRows *rows, const int n_rows, size_t row, size_t tile)
{
  const uint16_t *mask = rows->masks + row * rows->mask_stride + tile;
  uint32_t any = *mask;

  if (rows->mask_stride != 0)
    UNROLL for (int r = 1; r < n_rows; r++) any |= mask[r * rows->mask_stride];
  return any;
}

/* The frames that all of them attend to. */
LANES_INLINE uint32_t
attended_by_all (const AttnRows *rows, const int n_rows, size_t row, size_t tile)
{
  const uint16_t *mask = rows->masks + row * rows->mask_stride + tile;
  uint32_t all = *mask;

  if (rows->mask_stride != 0)
    UNROLL for (int r = 1; r < n_rows; r++) all &= mask[r * rows->mask_stride];
  return all;
}

/* The data of mix_rows (). */
typedef struct {
  const AttnRows *rows;
  float *contexts;
  const void *values; /* of `row` */
  size_t context_stride, value_stride, weight_stride;
  size_t dv;
  size_t row; /* the first */
} Mix;

/*
 * Adds the values of frame `frame` + `odd` of a tile, times their weights. `shared`: all rows have the same values.
 * `careful`: the values count as 0 for rows whose mask of the tile does not attend to the frame.
 */
LANES_INLINE void
mix_frame (const int n_rows, const int n_vectors, const bool shared, const bool careful, AttnPrecision precision,
           const int odd, const Mix *mix, const void *values, const float *weights, const uint16_t *masks, size_t frame,
           size_t column, Lanes acc[8][4])
{
  const size_t weight_stride = mix->weight_stride, value_stride = mix->value_stride;

  EACH (r, n_rows)
  {
    Lanes weight = lanes_set (weights[r * weight_stride + frame + odd]), value[4];
    const void *v = advance (precision, values, shared ? 0 : r * value_stride);
    bool is_seen = !careful || (masks[r * mix->rows->mask_stride] >> (frame + odd) & 1);

    EACH (c, n_vectors)
    {
      value[c] = load_stored (precision, odd, v, frame, mix->dv, column + c * N_LANES);
      if (careful)
        value[c] = lanes_select (lanes_mask (is_seen ? 0xffff : 0), value[c], lanes_set (0));
      acc[r][c] = lanes_fma (value[c], weight, acc[r][c]);
    }
  }
}

/* Asks for what the next tile of values needs, while frames `frame` and `frame` + 1 of this one are added. */
LANES_INLINE void
prefetch_frames (const int n_rows, const int n_vectors, const bool shared, AttnPrecision precision, const Mix *mix,
                 const void *values, size_t frame, size_t column)
{
  const void *ahead = advance (precision, values, (frame + N_LANES) * mix->dv + column);

  EACH (r, n_rows)
  EACH (c, n_vectors)
  if (r == 0 || !shared)
    prefetch_rows (precision, advance (precision, ahead, r * mix->value_stride + 2 * c * N_LANES));
}

/*
 * Adds a tile in which some frames have values that are not finite. 0 times such a value would not be 0: frames that no
 * row attends to are left out, and frames that some rows attend to are mixed with care.
 */
LANES_INLINE void
mix_odd_tile (const int n_rows, const int n_vectors, const bool shared, AttnPrecision precision, const Mix *mix,
              const void *values, const float *weights, size_t tile, uint32_t any, size_t column, Lanes acc[8][4])
{
  const uint16_t *masks = mix->rows->masks + mix->row * mix->rows->mask_stride + tile;
  uint32_t all = attended_by_all (mix->rows, n_rows, mix->row, tile);

#define MIX_ODD_FRAME(ODD)                                                                                           \
  if (any >> (frame + ODD) & 1) {                                                                                    \
    if (n_rows == 1 || (all >> (frame + ODD) & 1))                                                                   \
      mix_frame (n_rows, n_vectors, shared, false, precision, ODD, mix, values, weights, masks, frame, column, acc); \
    else                                                                                                             \
      mix_frame (n_rows, n_vectors, shared, n_rows > 1, precision, ODD, mix, values, weights, masks, frame, column,  \
                 acc);                                                                                               \
  }
  for (uint32_t frame = 0; frame < N_LANES; frame += 2) {
    MIX_ODD_FRAME (0)
    MIX_ODD_FRAME (1)
  }
#undef MIX_ODD_FRAME
}

/*
 * Divides the sums of n_rows rows [n_rows][n] into contexts, from `column` on. It is a function of its own because
 * inside the tile's loop it would be unrolled as often as there are accumulators.
 */
static inline void
divide (const Mix *mix, size_t n_rows, const float *sums, size_t n, size_t column)
{
  float *contexts = mix->contexts + mix->row * mix->context_stride + column;
  size_t n_left = mix->dv - column < n ? mix->dv - column : n;

  for (size_t r = 0; r < n_rows; r++)
    simd_scale (contexts + r * mix->context_stride, sums + r * n, mix->rows->reciprocals[mix->row + r], n_left);
}

/*
 * Computes some vectors of the contexts of some rows, from `column` on. Frames that a row does not attend to are
 * multiplied by its weight of 0.
 */
LANES_INLINE void
mix_rows (const int n_rows, const int n_vectors, const bool shared, AttnPrecision precision, const Mix *mix_in,
          size_t column)
{
  const Mix copy = *mix_in, *mix = &copy; /* a local copy, so that it stays in registers */
  const AttnRows *rows = mix->rows;
  const float *weights = rows->scores + mix->row * rows->score_stride;
  const bool is_far = n_rows >= 4 && n_vectors >= 3 && is_slow_to_come (rows, !shared, precision);
  _Alignas(ATTN_ALIGNMENT) float result[8 * 4 * ATTN_LANES];
  Lanes acc[8][4];

  EACH (r, n_rows) EACH (c, n_vectors) acc[r][c] = lanes_set (ATTN_GUARD);
#define MIX_FRAME(ODD) \
  mix_frame (n_rows, n_vectors, shared, false, precision, ODD, mix, values, weights, NULL, frame, column, acc)
  for (size_t tile = 0; tile < rows->n_tiles; tile++, weights += N_LANES) {
    uint32_t any = attended (rows, n_rows, mix->row, tile);
    const void *values = advance (precision, mix->values, rows->slots[tile] * N_LANES * mix->dv);
    size_t first = any != 0 ? __builtin_ctz (any) : 0, end = any != 0 ? 32 - __builtin_clz (any) : 0, frame;

    if (rows->finite[rows->slots[tile]] != 0xffff && attended_by_all (rows, n_rows, mix->row, tile) != 0xffff) {
      mix_odd_tile (n_rows, n_vectors, shared, precision, mix, values, weights, tile, any, column, acc);
      continue;
    }
    frame = first & ~(size_t) 1;
    if (frame < first) {
      MIX_FRAME (1);
      frame += 2;
    }
    for (; frame + 2 <= end; frame += 2) {
      if (is_far)
        prefetch_frames (n_rows, n_vectors, shared, precision, mix, values, frame, column);
      MIX_FRAME (0);
      MIX_FRAME (1);
    }
    if (frame < end)
      MIX_FRAME (0);
  }
#undef MIX_FRAME
  if (n_rows == 1) {
    Lanes reciprocal = lanes_set (rows->reciprocals[mix->row]);
    Lanes limit = lanes_set (attn_smallest_factor (rows->reciprocals[mix->row]));

    EACH (c, n_vectors)
    store_within (mix->contexts + mix->row * mix->context_stride, column + c * N_LANES, mix->dv,
                  times (without_guard (acc[0][c]), reciprocal, limit));
    return;
  }
  EACH (r, n_rows)
  EACH (c, n_vectors) lanes_store (result + (r * n_vectors + c) * N_LANES, without_guard (acc[r][c]));
  divide (mix, n_rows, result, n_vectors * N_LANES, column);
}

/* The rows and vectors that fit into the registers: 24 accumulators, or 6. */
#if LANES_ROOM >= 24
#define MOST_ROWS 8
#define MOST_VECTORS(n_rows) ((n_rows) == 8 ? 3 : 4)
#else
#define MOST_ROWS 4
#define MOST_VECTORS(n_rows) (4 / (n_rows))
#endif

#define MIX_CASE(N_ROWS, N_VECTORS)                                                                          \
  case N_VECTORS:                                                                                            \
    if (N_VECTORS <= MOST_VECTORS (N_ROWS))                                                                  \
      mix_rows (N_ROWS, N_VECTORS <= MOST_VECTORS (N_ROWS) ? N_VECTORS : 1, shared, precision, mix, column); \
    break;

/* All columns of n_rows rows. */
#define MIX_ROWS(N_ROWS)                                                           \
  for (size_t column = 0, n; column < mix->dv; column += n * N_LANES) {            \
    n = share ((mix->dv - column + N_LANES - 1) / N_LANES, MOST_VECTORS (N_ROWS)); \
    switch (n) {                                                                   \
      MIX_CASE (N_ROWS, 1)                                                         \
      MIX_CASE (N_ROWS, 2)                                                         \
      MIX_CASE (N_ROWS, 3)                                                         \
      MIX_CASE (N_ROWS, 4)                                                         \
    }                                                                              \
  }                                                                                \
  mix->row += N_ROWS;                                                              \
  mix->values = advance (precision, mix->values, N_ROWS * mix->value_stride);

LANES_INLINE void
mix_all (const bool shared, AttnPrecision precision, Mix *mix)
{
  while (mix->row < mix->rows->n_rows) {
    size_t left = mix->rows->n_rows - mix->row;

    if (left >= 8 && MOST_ROWS >= 8 && mix->dv <= 3 * N_LANES) {
      MIX_ROWS (8)
    } else if (left >= 4) {
      MIX_ROWS (4)
    } else if (left >= 2) {
      MIX_ROWS (2)
    } else {
      MIX_ROWS (1)
    }
  }
}

#define CONTEXT(PRECISION, NAME)        \
  static void context_##NAME (Mix *mix) \
  {                                     \
    if (mix->value_stride == 0)         \
      mix_all (true, PRECISION, mix);   \
    else                                \
      mix_all (false, PRECISION, mix);  \
  }
CONTEXT (ATTN_PRECISION_F32, f32)
CONTEXT (ATTN_PRECISION_F16, f16)
CONTEXT (ATTN_PRECISION_BF16, bf16)

void
SIMD (context) (const AttnRows *rows, float *contexts, size_t context_stride, const void *values, size_t value_stride,
                size_t dv)
{
  Mix mix = { rows, contexts, values, context_stride, value_stride, rows->score_stride, dv, 0 };

  if (rows->precision == ATTN_PRECISION_F32)
    context_f32 (&mix);
  else if (rows->precision == ATTN_PRECISION_F16)
    context_f16 (&mix);
  else
    context_bf16 (&mix);
}
