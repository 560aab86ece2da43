/* libattn: positions: RoPE, ALiBi and relative bias.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blocks/position.h"

#include <float.h>

#include "base/alloc.h"
#include "parameters/model.h"
#include "base/status.h"
#include "base/wide.h"

/* 1 / (2 pi): tests/golden/position_tables.py --constants */
static const AttnWide turns_per_radian = { { 0x7f9458eb, 0x4f10e410, 0x36d8a566, 0x7d4d3770, 0x7f09d5f4, 0x9391054a,
                                             0x28be60db, 0 } };

/* ---- RoPE ---- */

static AttnTurns
to_turns (AttnWide x)
{
  AttnTurns turns = { attn_wide_bits (x, 6), attn_wide_bits (x, 4) };
  uint64_t half = x.limbs[2] >> 31;

  turns.low += half;
  turns.high += turns.low < half;
  return turns;
}

void
attn_rope_turns (AttnTurns *turns, double base, size_t n_pairs)
{
  AttnWide exponent = attn_wide_div (attn_wide_log2 (base), (uint32_t) n_pairs);
  AttnWide ratio = attn_wide_exp2_negative (exponent), wide = turns_per_radian;

  for (size_t i = 0; i < n_pairs; i++) {
    turns[i] = to_turns (wide);
    wide = attn_wide_mul (wide, ratio); /* the error stays below 2^-190 over the largest number of pairs */
  }
}

/* The upper half of a * b. */
static uint64_t
multiply_high (uint64_t a, uint64_t b)
{
  uint64_t a_low = (uint32_t) a, a_high = a >> 32, b_low = (uint32_t) b, b_high = b >> 32;
  uint64_t middle = a_high * b_low + (a_low * b_low >> 32), other = a_low * b_high + (uint32_t) middle;

  return a_high * b_high + (middle >> 32) + (other >> 32);
}

uint64_t
attn_rope_phase (AttnTurns turns, uint64_t frame)
{
  return frame * turns.high + multiply_high (frame, turns.low);
}

/*
 * The nearest quarter turn, and the rest of at most 1/8 turn by polynomials in its square; coefficients and errors
 * (2^-47 and 2^-52): tests/golden/position_tables.py --constants. It computes in double, so that only the last
 * rounding, to float32, shows. It runs once per frame and pair, for all heads.
 */
void
attn_rope_angle (uint64_t phase, float *cosine, float *sine)
{
  uint64_t quarter = (phase + (UINT64_C (1) << 61)) >> 62, rest = phase - (quarter << 62);
  double y = (double) (int64_t) rest * 0x1p-64, z = y * y, s, c;

  s = z * -0x1.dd54805f3f706p+3 + 0x1.5071ce4b47930p+5;
  s = z * s - 0x1.32d2c644adc0bp+6;
  s = z * s + 0x1.466bc67123fa1p+6;
  s = z * s - 0x1.4abbce6257a2ap+5;
  s = z * s + 0x1.921fb54442cfap+2;
  s = y * s;
  c = z * 0x1.f3dbcea61b1a4p+2 - 0x1.a6c9c1be9eb49p+4;
  c = z * c + 0x1.e1f4fb60281f6p+5;
  c = z * c - 0x1.55d3c7dbfd139p+6;
  c = z * c + 0x1.03c1f081b0780p+6;
  c = z * c - 0x1.3bd3cc9be458bp+4;
  c = z * c + 1;
  *cosine = (float) (quarter % 2 ? s : c);
  *sine = (float) (quarter % 2 ? c : s);
  /* A quarter turn takes (cos, sin) to (-sin, cos). */
  if (quarter == 1 || quarter == 2)
    *cosine = -*cosine;
  if (quarter == 2 || quarter == 3)
    *sine = -*sine;
}

void
attn_rope_angles (const AttnTurns *turns, size_t n_pairs, uint64_t frame, float *cosines, float *sines)
{
  for (size_t i = 0; i < n_pairs; i++)
    attn_rope_angle (attn_rope_phase (turns[i], frame), &cosines[i], &sines[i]);
}

/* ---- ALiBi ---- */

/*
 * With n heads, n a power of two, the slopes are the powers of 2^(-8/n). Other numbers of heads take those of the next
 * lower power of two, and then every other one of twice as many.
 */
float
attn_alibi_slope (size_t head, size_t n_heads)
{
  uint32_t lower = 1, eighths;
  AttnWide exponent;

  while (lower * 2 <= n_heads)
    lower *= 2;
  eighths = head < lower ? 2 * (uint32_t) (head + 1) : 2 * (uint32_t) (head - lower) + 1;
  exponent = attn_wide_div (attn_wide_from (4 * eighths), lower);
  return (float) attn_wide_bits (attn_wide_exp2_negative (exponent), 6) * 0x1p-64f;
}

/*
 * It computes in double and rounds once. The distance is exact below 2^53 frames; from there on it is rounded, but any
 * slope has long made the weight 0.
 */
static float
alibi_bias (float slope, uint64_t distance)
{
  return (float) (-slope * ATTN_LOG2_E * (double) distance);
}

void
attn_alibi_biases (float slope, uint64_t frame, uint64_t first, float *biases)
{
  for (uint64_t lane = 0; lane < ATTN_LANES; lane++)
    biases[lane] = first + lane <= frame ? alibi_bias (slope, frame - first - lane) : 0;
}

/* ---- tables of biases ---- */

/*
 * `x` times log2 (e), rounded once; denormal parameters count as 0. People mask with the largest float32: it must not
 * become infinite.
 */
static float
to_log2 (float x)
{
  double bias = x * ATTN_LOG2_E;

  if (x > -FLT_MIN && x < FLT_MIN)
    return 0;
  return bias > FLT_MAX ? FLT_MAX : bias < -FLT_MAX ? -FLT_MAX : (float) bias;
}

/* One head: from the oldest frame of the window to the last one of the look-ahead. */
static void
fill_alibi (float *biases, float slope, const AttnSizes *sizes)
{
  size_t here = sizes->window - 1, i;

  for (i = 0; i < sizes->window + sizes->look_ahead; i++)
    biases[i] = alibi_bias (slope, i < here ? here - i : i - here);
}

static void
fill_relative (float *biases, const float *trained, const AttnSizes *sizes)
{
  for (size_t i = 0; i < sizes->window + sizes->look_ahead; i++)
    biases[i] = to_log2 (trained[i]);
}

static AttnStatus
init_biases (AttnPositions *positions, const AttnSizes *sizes, const AttnModel *model, AttnError *error)
{
  size_t n = sizes->window + sizes->look_ahead, bytes, head;

  positions->bias_stride = n + 2 * ATTN_LANES;
  bytes = attn_size_mul (attn_size_mul (positions->bias_stride, sizes->n_heads), sizeof (float));
  positions->biases = attn_alloc (bytes);
  positions->slopes = attn_alloc (sizes->n_heads * sizeof (float));
  if (positions->biases == NULL || positions->slopes == NULL)
    return attn_fail_memory (error, "position biases", bytes);
  for (head = 0; head < sizes->n_heads; head++) {
    float *biases = positions->biases + head * positions->bias_stride + ATTN_LANES;

    if (sizes->position == ATTN_POSITION_RELATIVE) {
      fill_relative (biases, model->relative_bias.values + head * n, sizes);
      continue;
    }
    positions->slopes[head] = attn_alibi_slope (head, sizes->n_heads);
    fill_alibi (biases, positions->slopes[head], sizes);
  }
  return ATTN_OK;
}

AttnStatus
attn_positions_init (AttnPositions *positions, const AttnSizes *sizes, const AttnModel *model, AttnError *error)
{
  if (sizes->position == ATTN_POSITION_ALIBI || sizes->position == ATTN_POSITION_RELATIVE)
    return init_biases (positions, sizes, model, error);
  if (sizes->position != ATTN_POSITION_ROPE)
    return ATTN_OK;
  positions->turns = attn_alloc (sizes->n_rope_pairs * sizeof *positions->turns);
  if (positions->turns == NULL)
    return attn_fail_memory (error, "turns per frame", sizes->n_rope_pairs * sizeof *positions->turns);
  attn_rope_turns (positions->turns, sizes->rope_base, sizes->n_rope_pairs);
  return ATTN_OK;
}

void
attn_positions_clear (AttnPositions *positions)
{
  attn_free (positions->turns);
  attn_free (positions->slopes);
  attn_free (positions->biases);
}
