/* libattn: kernels over 16 lanes: projections.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernels/kernels_simd.h"

#define INPUTS_PER_PASS 128      /* of a panel; what several tiles of frames read stays in the first-level cache */
#define BYTES_PER_FAR_PASS 16384 /* of weights that are asked for: this pass and the next one stay there */
#define FRAMES_PER_BLOCK 16
#define LINE 64 /* bytes of a cache line, or a part of one */

/* Some inputs of a block of frames against one panel. */
typedef struct {
  const float *in;
  const void *weight; /* of the first of these inputs */
  const float *start; /* the chains go on from here: their start [panel], the same for all frames, or `acc` */
  float *acc;         /* [FRAMES_PER_BLOCK][panel] */
  size_t in_stride, start_stride;
  size_t n_inputs;
  size_t panel;
  size_t n_frames;
  size_t ahead; /* as the projection has it */
} Pass;

/* Adds input i + odd of some frames, times its weights. */
LANES_INLINE void
project_input (const int n_frames, const int n_vectors, AttnPrecision precision, const int odd, const Pass *pass,
               const float *in, size_t i, size_t output, Lanes acc[6][5])
{
  Lanes w[5];

  EACH (c, n_vectors) w[c] = load_stored (precision, odd, pass->weight, i, pass->panel, output + c * N_LANES);
  EACH (r, n_frames)
  {
    Lanes x = lanes_set (in[r * pass->in_stride + i + odd]);

    EACH (c, n_vectors) acc[r][c] = lanes_fma (w[c], x, acc[r][c]);
  }
}

/*
 * Where the weights begin that a tile asks for, and, in *n_lines, their cache lines per two inputs. A tile of all
 * frames reads each weight once and asks for those that it soon needs. Several tiles read the same weights, which stay
 * in the first-level cache: they ask for those of the next pass, in turn, in parts in proportion to their frames.
 */
static inline const char *
lines_ahead (const Pass *pass, AttnPrecision precision, size_t frame, size_t n_frames, size_t *n_lines)
{
  size_t row = pass->panel * attn_precision_size (precision);

  *n_lines = 0;
  if (pass->ahead == 0)
    return NULL;
  *n_lines = (2 * row * n_frames / pass->n_frames + LINE - 1) / LINE;
  if (n_frames == pass->n_frames)
    return (const char *) pass->weight + pass->ahead;
  return (const char *) pass->weight + (pass->n_inputs + pass->n_inputs * frame / pass->n_frames) * row;
}

LANES_INLINE void
project_tile (const int n_frames, const int n_vectors, AttnPrecision precision, const Pass *pass_in, size_t frame,
              size_t output)
{
  const Pass copy = *pass_in, *pass = &copy; /* a local copy, so that it stays in registers */
  const float *in = pass->in + frame * pass->in_stride, *start = pass->start + frame * pass->start_stride + output;
  size_t panel = pass->panel, n_lines, i;
  const char *ahead = lines_ahead (pass, precision, frame, n_frames, &n_lines);
  float *out = pass->acc + frame * panel + output;
  Lanes acc[6][5];

  EACH (r, n_frames) EACH (c, n_vectors) acc[r][c] = lanes_load (start + r * pass->start_stride + c * N_LANES);
  for (i = 0; i + 2 <= pass->n_inputs; i += 2) {
    for (size_t line = 0; line < n_lines; line++, ahead += LINE)
      __builtin_prefetch (ahead);
    project_input (n_frames, n_vectors, precision, 0, pass, in, i, output, acc);
    project_input (n_frames, n_vectors, precision, 1, pass, in, i, output, acc);
  }
  if (i < pass->n_inputs)
    project_input (n_frames, n_vectors, precision, 0, pass, in, i, output, acc);
  EACH (r, n_frames) EACH (c, n_vectors) lanes_store (out + r * panel + c * N_LANES, acc[r][c]);
}

#define PROJECT_TILE(N_FRAMES, N_VECTORS)                                                                \
  static void project_##N_FRAMES##x##N_VECTORS (AttnPrecision precision, const Pass *pass, size_t frame, \
                                                size_t output)                                           \
  {                                                                                                      \
    if (precision == ATTN_PRECISION_F32)                                                                 \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_F32, pass, frame, output);                       \
    else if (precision == ATTN_PRECISION_F16)                                                            \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_F16, pass, frame, output);                       \
    else                                                                                                 \
      project_tile (N_FRAMES, N_VECTORS, ATTN_PRECISION_BF16, pass, frame, output);                      \
  }

typedef void (*ProjectTile) (AttnPrecision precision, const Pass *pass, size_t frame, size_t output);

#define PROJECT_TILES(N_VECTORS) \
  PROJECT_TILE (1, N_VECTORS)    \
  PROJECT_TILE (2, N_VECTORS)    \
  PROJECT_TILE (4, N_VECTORS)

#define TILES_OF(N_VECTORS) project_1x##N_VECTORS, project_2x##N_VECTORS, project_4x##N_VECTORS

/* [vectors][of 1, 2, 4 and 6 frames] */
#if LANES_ROOM >= 24
#define MAX_PROJECT_VECTORS 5
PROJECT_TILES (1)
PROJECT_TILES (2)
PROJECT_TILES (3)
PROJECT_TILES (4)
PROJECT_TILES (5)
PROJECT_TILE (6, 1)
PROJECT_TILE (6, 2)
PROJECT_TILE (6, 3)
PROJECT_TILE (6, 4)
static const ProjectTile project_tiles[][4] = {
  { 0 },
  { TILES_OF (1), project_6x1 },
  { TILES_OF (2), project_6x2 },
  { TILES_OF (3), project_6x3 },
  { TILES_OF (4), project_6x4 },
  { TILES_OF (5) },
};
#else
#define MAX_PROJECT_VECTORS 1
PROJECT_TILES (1)
PROJECT_TILE (6, 1)
static const ProjectTile project_tiles[][4] = { { 0 }, { TILES_OF (1), project_6x1 } };
#endif

/* All frames against the inputs of one pass, in tiles of as many frames as fit. */
static void
project_pass (AttnPrecision precision, const Pass *pass, size_t n_frames)
{
  size_t n_vectors = pass->panel / N_LANES < MAX_PROJECT_VECTORS ? pass->panel / N_LANES : MAX_PROJECT_VECTORS;
  const ProjectTile *tiles = project_tiles[n_vectors];

  for (size_t output = 0; output < pass->panel; output += n_vectors * N_LANES) {
    size_t frame = 0;

    for (; tiles[3] != NULL && frame + 6 <= n_frames; frame += 6)
      tiles[3](precision, pass, frame, output);
    for (; frame + 4 <= n_frames; frame += 4)
      tiles[2](precision, pass, frame, output);
    for (; frame + 2 <= n_frames; frame += 2)
      tiles[1](precision, pass, frame, output);
    if (frame < n_frames)
      tiles[0](precision, pass, frame, output);
  }
}

/* out [n_rows][n] = sums [n_rows][stride], cleaned. */
static void
finish (float *out, size_t out_stride, const float *sums, size_t stride, size_t n_rows, size_t n)
{
  for (size_t r = 0; r < n_rows; r++)
    for (size_t o = 0; o < n; o += N_LANES)
      store_within (out + r * out_stride, o, n, clean (without_guard (lanes_load (sums + r * stride + o))));
}

/* How far ahead to ask for weights. The tiles of AVX2 and NEON are narrow: they compute until the weights have come. */
static size_t
bytes_ahead (const AttnProjection *projection)
{
  return MAX_PROJECT_VECTORS > 1 ? projection->ahead : 0;
}

/* An even number of inputs. */
static size_t
inputs_per_pass (const AttnProjection *projection)
{
  size_t row = projection->panel * attn_precision_size (projection->precision);

  return bytes_ahead (projection) == 0 ? INPUTS_PER_PASS : BYTES_PER_FAR_PASS / row / 2 * 2;
}

/* n_frames <= FRAMES_PER_BLOCK */
static void
project_block (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
               const AttnProjection *projection)
{
  size_t panel = projection->panel, n_inputs = projection->n_inputs;
  size_t n_rows = attn_stored_rows (n_inputs, projection->precision), n_per_pass = inputs_per_pass (projection);
  _Alignas(ATTN_ALIGNMENT) float acc[FRAMES_PER_BLOCK * ATTN_MAX_PANEL];

  for (size_t o = 0; o < projection->n_outputs; o += panel) {
    size_t left = projection->n_outputs - o;

    for (size_t i = 0; i < n_inputs; i += n_per_pass) {
      Pass pass = {
        .in = in + i,
        .weight = advance (projection->precision, projection->weight, o * n_rows + i * panel),
        .start = i == 0 ? projection->start + o : acc,
        .acc = acc,
        .in_stride = in_stride,
        .start_stride = i == 0 ? 0 : panel,
        .n_inputs = n_inputs - i < n_per_pass ? n_inputs - i : n_per_pass,
        .panel = panel,
        .n_frames = n_frames,
        .ahead = bytes_ahead (projection),
      };

      project_pass (projection->precision, &pass, n_frames);
    }
    finish (out + o, out_stride, acc, panel, n_frames, left < panel ? left : panel);
  }
}

/* Adds input i + odd of one frame, times its weights in several panels. */
LANES_INLINE void
project_input_of_frame (const int n_panels, const int n_vectors, AttnPrecision precision, const int odd,
                        const void *weight, size_t panel_rows, const float *in, size_t i, Lanes acc[4][5])
{
  Lanes x = lanes_set (in[i + odd]);

  EACH (p, n_panels)
  EACH (c, n_vectors)
  acc[p][c] = lanes_fma (load_stored (precision, odd, weight, p * panel_rows + i, n_vectors * N_LANES, c * N_LANES), x,
                         acc[p][c]);
}

/* One frame against panels side by side, each n_vectors wide: each panel is a stream from memory. */
LANES_INLINE void
project_panels (const int n_panels, const int n_vectors, AttnPrecision precision, float *out, const float *in,
                const AttnProjection *projection, size_t output)
{
  size_t panel = n_vectors * N_LANES, n_inputs = projection->n_inputs, left = projection->n_outputs - output, i;
  size_t rows = attn_stored_rows (n_inputs, precision);
  const void *weight = advance (precision, projection->weight, output * rows);
  const float *start = projection->start + output;
  Lanes acc[4][5];

  EACH (p, n_panels) EACH (c, n_vectors) acc[p][c] = lanes_load (start + p * panel + c * N_LANES);
  for (i = 0; i + 2 <= n_inputs; i += 2) {
    project_input_of_frame (n_panels, n_vectors, precision, 0, weight, rows, in, i, acc);
    project_input_of_frame (n_panels, n_vectors, precision, 1, weight, rows, in, i, acc);
  }
  if (i < n_inputs)
    project_input_of_frame (n_panels, n_vectors, precision, 0, weight, rows, in, i, acc);
  EACH (p, n_panels)
  EACH (c, n_vectors)
  store_within (out + output, p * panel + c * N_LANES, left, clean (without_guard (acc[p][c])));
}

#if LANES_ROOM >= 24
#define MAX_PANELS 4
#else
#define MAX_PANELS 1
#endif

LANES_INLINE void
project_frame_in (const int n_vectors, AttnPrecision precision, float *out, const float *in,
                  const AttnProjection *projection)
{
  size_t panel = n_vectors * N_LANES, output = 0, n = projection->n_outputs;

  /* n - output > k panel: k + 1 panels are left */
  for (; MAX_PANELS >= 4 && n > output + 3 * panel; output += 4 * panel)
    project_panels (4, n_vectors, precision, out, in, projection, output);
  for (; MAX_PANELS >= 3 && n > output + 2 * panel; output += 3 * panel)
    project_panels (3, n_vectors, precision, out, in, projection, output);
  for (; MAX_PANELS >= 2 && n > output + panel; output += 2 * panel)
    project_panels (2, n_vectors, precision, out, in, projection, output);
  for (; n > output; output += panel)
    project_panels (1, n_vectors, precision, out, in, projection, output);
}

#define PROJECT_FRAME(N_VECTORS)                                                                        \
  static void project_frame_##N_VECTORS (float *out, const float *in, const AttnProjection *projection) \
  {                                                                                                     \
    if (projection->precision == ATTN_PRECISION_F32)                                                    \
      project_frame_in (N_VECTORS, ATTN_PRECISION_F32, out, in, projection);                            \
    else if (projection->precision == ATTN_PRECISION_F16)                                               \
      project_frame_in (N_VECTORS, ATTN_PRECISION_F16, out, in, projection);                            \
    else                                                                                                \
      project_frame_in (N_VECTORS, ATTN_PRECISION_BF16, out, in, projection);                           \
  }
PROJECT_FRAME (1)
PROJECT_FRAME (2)
PROJECT_FRAME (3)
PROJECT_FRAME (4)
PROJECT_FRAME (5)

void
SIMD (project) (float *out, size_t out_stride, const float *in, size_t in_stride, size_t n_frames,
                const AttnProjection *projection)
{
  static void (*const project_frame[]) (float *, const float *, const AttnProjection *) = {
    NULL, project_frame_1, project_frame_2, project_frame_3, project_frame_4, project_frame_5,
  };

  for (; n_frames > 1; n_frames -= n_frames < FRAMES_PER_BLOCK ? n_frames : FRAMES_PER_BLOCK) {
    project_block (out, out_stride, in, in_stride, n_frames < FRAMES_PER_BLOCK ? n_frames : FRAMES_PER_BLOCK,
                   projection);
    out += FRAMES_PER_BLOCK * out_stride;
    in += FRAMES_PER_BLOCK * in_stride;
  }
  if (n_frames == 1)
    project_frame[projection->panel / N_LANES](out, in, projection);
}
