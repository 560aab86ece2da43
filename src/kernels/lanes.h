/*
 * libattn: 16 float32 lanes as one value, for the instruction set that this file is compiled for: one register of
 * AVX-512, two of AVX2, four of NEON. kernels_simd*.c use it.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LANES_ROOM says how many accumulators fit into the registers beside the values that a loop loads.
 */
#ifndef ATTN_SRC_LANES_H
#define ATTN_SRC_LANES_H

#include <stdint.h>
#include <string.h>

#define LANES_INLINE static inline __attribute__ ((always_inline))

#if defined(__AVX512F__) && defined(__AVX512DQ__)

#include <immintrin.h>

#define LANES_ISA avx512
#define LANES_ROOM 24

typedef __m512 Lanes;
typedef __mmask16 LanesMask;

LANES_INLINE Lanes
lanes_load (const float *p)
{
  return _mm512_loadu_ps (p);
}

LANES_INLINE Lanes
lanes_load_f16 (const uint16_t *p)
{
  return _mm512_cvtph_ps (_mm256_loadu_si256 ((const __m256i *) p));
}

/* The first, or with `odd` the second, of 16 pairs. */
LANES_INLINE Lanes
lanes_load_bf16 (const uint16_t *p, const int odd)
{
  __m512i pairs = _mm512_loadu_si512 (p);

  return _mm512_castsi512_ps (odd ? _mm512_and_si512 (pairs, _mm512_set1_epi32 (~0xffff))
                                  : _mm512_slli_epi32 (pairs, 16));
}

/* The first n lanes, n < 16; 0 behind them. */
LANES_INLINE Lanes
lanes_load_n (const float *p, size_t n)
{
  return _mm512_maskz_loadu_ps ((1u << n) - 1, p);
}

LANES_INLINE void
lanes_store (float *p, Lanes x)
{
  _mm512_storeu_ps (p, x);
}

LANES_INLINE void
lanes_store_n (float *p, Lanes x, size_t n)
{
  _mm512_mask_storeu_ps (p, (1u << n) - 1, x);
}

LANES_INLINE Lanes
lanes_set (float x)
{
  return _mm512_set1_ps (x);
}

/* a b + c, rounded once */
LANES_INLINE Lanes
lanes_fma (Lanes a, Lanes b, Lanes c)
{
  return _mm512_fmadd_ps (a, b, c);
}

LANES_INLINE Lanes
lanes_add (Lanes a, Lanes b)
{
  return _mm512_add_ps (a, b);
}

LANES_INLINE Lanes
lanes_sub (Lanes a, Lanes b)
{
  return _mm512_sub_ps (a, b);
}

LANES_INLINE Lanes
lanes_mul (Lanes a, Lanes b)
{
  return _mm512_mul_ps (a, b);
}

LANES_INLINE Lanes
lanes_div (Lanes a, Lanes b)
{
  return _mm512_div_ps (a, b);
}

/* a > b ? a : b */
LANES_INLINE Lanes
lanes_max (Lanes a, Lanes b)
{
  return _mm512_max_ps (a, b);
}

LANES_INLINE Lanes
lanes_abs (Lanes x)
{
  return _mm512_abs_ps (x);
}

/* The magnitude of x with the sign of `sign`. */
LANES_INLINE Lanes
lanes_copysign (Lanes x, Lanes sign)
{
  const __m512i bit = _mm512_set1_epi32 (INT32_MIN);

  return _mm512_castsi512_ps (
      _mm512_ternarylogic_epi32 (bit, _mm512_castps_si512 (sign), _mm512_castps_si512 (x), 0xca));
}

/* The bits of x plus those of `shifted` times 2^23: x 2^n, where n is the number in the lowest bits of `shifted`. */
LANES_INLINE Lanes
lanes_add_exponent (Lanes x, Lanes shifted)
{
  return _mm512_castsi512_ps (
      _mm512_add_epi32 (_mm512_castps_si512 (x), _mm512_slli_epi32 (_mm512_castps_si512 (shifted), 23)));
}

/* Bit i for lane i. */
LANES_INLINE LanesMask
lanes_mask (uint16_t bits)
{
  return bits;
}

LANES_INLINE LanesMask
lanes_less (Lanes a, Lanes b)
{
  return _mm512_cmp_ps_mask (a, b, _CMP_LT_OQ);
}

LANES_INLINE LanesMask
lanes_is_nan (Lanes x)
{
  return _mm512_cmp_ps_mask (x, x, _CMP_UNORD_Q);
}

/* mask ? a : b */
LANES_INLINE Lanes
lanes_select (LanesMask mask, Lanes a, Lanes b)
{
  return _mm512_mask_blend_ps (mask, b, a);
}

/* The magnitude of x is below `limit`, by its bits: a NaN's is larger than any. */
LANES_INLINE LanesMask
lanes_is_below (Lanes x, Lanes limit)
{
  const __m512i magnitude = _mm512_set1_epi32 (INT32_MAX);

  return _mm512_cmplt_epi32_mask (_mm512_and_si512 (_mm512_castps_si512 (x), magnitude), _mm512_castps_si512 (limit));
}

/* Below the smallest normal float32. */
LANES_INLINE LanesMask
lanes_is_tiny (Lanes x)
{
  return _mm512_fpclass_ps_mask (x, 0x02 | 0x04 | 0x20); /* +0, -0, denormal */
}

/*
 * x is cleaned. The instruction is not used for values that become subnormal, because it would raise an underflow: they
 * are added to 1/2, whose last place is 2^-24, as in the subnormals of f16. The sum rounds them and holds them in its
 * lowest bits.
 */
LANES_INLINE void
lanes_store_f16 (uint16_t *p, Lanes x)
{
  const __m512 half = _mm512_set1_ps (0.5f);
  LanesMask small = lanes_is_below (x, _mm512_set1_ps (0x1p-14f));
  __m512i sign = _mm512_and_si512 (_mm512_srli_epi32 (_mm512_castps_si512 (x), 16), _mm512_set1_epi32 (0x8000));
  __m512i rounded =
      _mm512_sub_epi32 (_mm512_castps_si512 (_mm512_add_ps (_mm512_abs_ps (x), half)), _mm512_castps_si512 (half));
  __m256i halves = _mm512_cvtps_ph (_mm512_maskz_mov_ps (~small, x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);

  rounded = _mm512_maskz_mov_epi32 (small, _mm512_or_si512 (rounded, sign));
  _mm256_storeu_si256 ((__m256i *) p, _mm256_or_si256 (halves, _mm512_cvtepi32_epi16 (rounded)));
}

/* A NaN x is 0x7fc00000. Adds half of the last place, or a little less where the last place is even already. */
LANES_INLINE void
lanes_store_bf16 (uint16_t *p, Lanes x)
{
  const __m512i one = _mm512_set1_epi32 (1), half = _mm512_set1_epi32 (0x7fff);
  __m512i bits = _mm512_castps_si512 (x), odd = _mm512_and_si512 (_mm512_srli_epi32 (bits, 16), one);

  bits = _mm512_srli_epi32 (_mm512_add_epi32 (bits, _mm512_add_epi32 (half, odd)), 16);
  _mm256_storeu_si256 ((__m256i *) p, _mm512_cvtepi32_epi16 (bits));
}

/* a0 b0 a1 b1 ... of the lower halves of two vectors, or of the upper ones. */
LANES_INLINE Lanes
lanes_zip (Lanes a, Lanes b, const int upper)
{
  const __m512i lower_half = _mm512_setr_epi32 (0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  __m512i lanes = upper ? _mm512_add_epi32 (lower_half, _mm512_set1_epi32 (8)) : lower_half;

  return _mm512_permutex2var_ps (a, lanes, b);
}

/* The sums of lanes i and i + 8, then + 4, + 2, + 1. */
LANES_INLINE float
lanes_sum (Lanes x)
{
  __m256 eight = _mm256_add_ps (_mm512_castps512_ps256 (x), _mm512_extractf32x8_ps (x, 1));
  __m128 four = _mm_add_ps (_mm256_castps256_ps128 (eight), _mm256_extractf128_ps (eight, 1));
  __m128 two = _mm_add_ps (four, _mm_movehl_ps (four, four));

  return _mm_cvtss_f32 (_mm_add_ss (two, _mm_movehdup_ps (two)));
}

/* No lane is a NaN. */
LANES_INLINE float
lanes_greatest (Lanes x)
{
  return _mm512_reduce_max_ps (x);
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

#define LANES_ISA avx2
#define LANES_ROOM 6

typedef struct {
  __m256 a, b;
} Lanes;
typedef Lanes LanesMask; /* all bits of a lane, or none */

LANES_INLINE Lanes
lanes_load (const float *p)
{
  return (Lanes){ _mm256_loadu_ps (p), _mm256_loadu_ps (p + 8) };
}

LANES_INLINE Lanes
lanes_load_f16 (const uint16_t *p)
{
  return (Lanes){ _mm256_cvtph_ps (_mm_loadu_si128 ((const __m128i *) p)),
                  _mm256_cvtph_ps (_mm_loadu_si128 ((const __m128i *) (p + 8))) };
}

LANES_INLINE __m256
lanes_load_8_bf16 (const uint16_t *p, const int odd)
{
  __m256i pairs = _mm256_loadu_si256 ((const __m256i *) p);

  return _mm256_castsi256_ps (odd ? _mm256_and_si256 (pairs, _mm256_set1_epi32 (~0xffff))
                                  : _mm256_slli_epi32 (pairs, 16));
}

LANES_INLINE Lanes
lanes_load_bf16 (const uint16_t *p, const int odd)
{
  return (Lanes){ lanes_load_8_bf16 (p, odd), lanes_load_8_bf16 (p + 16, odd) };
}

/* All bits of lane i where first + i < n. */
LANES_INLINE __m256i
lanes_first_8 (size_t n, int first)
{
  __m256i lane = _mm256_add_epi32 (_mm256_setr_epi32 (0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32 (first));

  return _mm256_cmpgt_epi32 (_mm256_set1_epi32 ((int) n), lane);
}

LANES_INLINE Lanes
lanes_load_n (const float *p, size_t n)
{
  return (Lanes){ _mm256_maskload_ps (p, lanes_first_8 (n, 0)), _mm256_maskload_ps (p + 8, lanes_first_8 (n, 8)) };
}

LANES_INLINE void
lanes_store (float *p, Lanes x)
{
  _mm256_storeu_ps (p, x.a);
  _mm256_storeu_ps (p + 8, x.b);
}

LANES_INLINE void
lanes_store_n (float *p, Lanes x, size_t n)
{
  _mm256_maskstore_ps (p, lanes_first_8 (n, 0), x.a);
  _mm256_maskstore_ps (p + 8, lanes_first_8 (n, 8), x.b);
}

LANES_INLINE Lanes
lanes_set (float x)
{
  __m256 all = _mm256_set1_ps (x);

  return (Lanes){ all, all };
}

LANES_INLINE Lanes
lanes_fma (Lanes a, Lanes b, Lanes c)
{
  return (Lanes){ _mm256_fmadd_ps (a.a, b.a, c.a), _mm256_fmadd_ps (a.b, b.b, c.b) };
}

LANES_INLINE Lanes
lanes_add (Lanes a, Lanes b)
{
  return (Lanes){ _mm256_add_ps (a.a, b.a), _mm256_add_ps (a.b, b.b) };
}

LANES_INLINE Lanes
lanes_sub (Lanes a, Lanes b)
{
  return (Lanes){ _mm256_sub_ps (a.a, b.a), _mm256_sub_ps (a.b, b.b) };
}

LANES_INLINE Lanes
lanes_mul (Lanes a, Lanes b)
{
  return (Lanes){ _mm256_mul_ps (a.a, b.a), _mm256_mul_ps (a.b, b.b) };
}

LANES_INLINE Lanes
lanes_div (Lanes a, Lanes b)
{
  return (Lanes){ _mm256_div_ps (a.a, b.a), _mm256_div_ps (a.b, b.b) };
}

LANES_INLINE Lanes
lanes_max (Lanes a, Lanes b)
{
  return (Lanes){ _mm256_max_ps (a.a, b.a), _mm256_max_ps (a.b, b.b) };
}

LANES_INLINE Lanes
lanes_abs (Lanes x)
{
  const __m256 sign = _mm256_set1_ps (-0.0f);

  return (Lanes){ _mm256_andnot_ps (sign, x.a), _mm256_andnot_ps (sign, x.b) };
}

LANES_INLINE Lanes
lanes_copysign (Lanes x, Lanes sign)
{
  const __m256 bit = _mm256_set1_ps (-0.0f);

  return (Lanes){ _mm256_or_ps (_mm256_andnot_ps (bit, x.a), _mm256_and_ps (bit, sign.a)),
                  _mm256_or_ps (_mm256_andnot_ps (bit, x.b), _mm256_and_ps (bit, sign.b)) };
}

LANES_INLINE __m256
lanes_add_8_exponents (__m256 x, __m256 shifted)
{
  return _mm256_castsi256_ps (
      _mm256_add_epi32 (_mm256_castps_si256 (x), _mm256_slli_epi32 (_mm256_castps_si256 (shifted), 23)));
}

LANES_INLINE Lanes
lanes_add_exponent (Lanes x, Lanes shifted)
{
  return (Lanes){ lanes_add_8_exponents (x.a, shifted.a), lanes_add_8_exponents (x.b, shifted.b) };
}

LANES_INLINE LanesMask
lanes_mask (uint16_t bits)
{
  const __m256i low = _mm256_setr_epi32 (1, 2, 4, 8, 16, 32, 64, 128), high = _mm256_slli_epi32 (low, 8);
  __m256i all = _mm256_set1_epi32 (bits);

  return (LanesMask){ _mm256_castsi256_ps (_mm256_cmpeq_epi32 (_mm256_and_si256 (all, low), low)),
                      _mm256_castsi256_ps (_mm256_cmpeq_epi32 (_mm256_and_si256 (all, high), high)) };
}

LANES_INLINE LanesMask
lanes_less (Lanes a, Lanes b)
{
  return (LanesMask){ _mm256_cmp_ps (a.a, b.a, _CMP_LT_OQ), _mm256_cmp_ps (a.b, b.b, _CMP_LT_OQ) };
}

LANES_INLINE LanesMask
lanes_is_nan (Lanes x)
{
  return (LanesMask){ _mm256_cmp_ps (x.a, x.a, _CMP_UNORD_Q), _mm256_cmp_ps (x.b, x.b, _CMP_UNORD_Q) };
}

LANES_INLINE Lanes
lanes_select (LanesMask mask, Lanes a, Lanes b)
{
  return (Lanes){ _mm256_blendv_ps (b.a, a.a, mask.a), _mm256_blendv_ps (b.b, a.b, mask.b) };
}

LANES_INLINE __m256
lanes_8_are_below (__m256 x, __m256 limit)
{
  const __m256i magnitude = _mm256_set1_epi32 (INT32_MAX);

  return _mm256_castsi256_ps (
      _mm256_cmpgt_epi32 (_mm256_castps_si256 (limit), _mm256_and_si256 (_mm256_castps_si256 (x), magnitude)));
}

LANES_INLINE LanesMask
lanes_is_below (Lanes x, Lanes limit)
{
  return (LanesMask){ lanes_8_are_below (x.a, limit.a), lanes_8_are_below (x.b, limit.b) };
}

LANES_INLINE LanesMask
lanes_is_tiny (Lanes x)
{
  return lanes_is_below (x, lanes_set (0x1p-126f));
}

/* Two halves of 128 bits each, packed: a0-3 b0-3 a4-7 b4-7, in the order of their lanes. */
LANES_INLINE __m256i
lanes_pack (__m256i a, __m256i b)
{
  return _mm256_permute4x64_epi64 (_mm256_packus_epi32 (a, b), 0xd8);
}

LANES_INLINE __m256i
lanes_8_subnormals (__m256 x, __m256 small)
{
  const __m256 half = _mm256_set1_ps (0.5f);
  __m256i sign = _mm256_and_si256 (_mm256_srli_epi32 (_mm256_castps_si256 (x), 16), _mm256_set1_epi32 (0x8000));
  __m256 sum = _mm256_add_ps (_mm256_andnot_ps (_mm256_set1_ps (-0.0f), x), half);
  __m256i rounded = _mm256_sub_epi32 (_mm256_castps_si256 (sum), _mm256_castps_si256 (half));

  return _mm256_and_si256 (_mm256_or_si256 (rounded, sign), _mm256_castps_si256 (small));
}

LANES_INLINE void
lanes_store_f16 (uint16_t *p, Lanes x)
{
  LanesMask small = lanes_is_below (x, lanes_set (0x1p-14f));
  __m256i subnormals = lanes_pack (lanes_8_subnormals (x.a, small.a), lanes_8_subnormals (x.b, small.b));
  __m128i a = _mm256_cvtps_ph (_mm256_andnot_ps (small.a, x.a), _MM_FROUND_TO_NEAREST_INT);
  __m128i b = _mm256_cvtps_ph (_mm256_andnot_ps (small.b, x.b), _MM_FROUND_TO_NEAREST_INT);

  _mm256_storeu_si256 ((__m256i *) p, _mm256_or_si256 (_mm256_set_m128i (b, a), subnormals));
}

LANES_INLINE __m256i
lanes_round_8_bf16 (__m256 x)
{
  const __m256i one = _mm256_set1_epi32 (1), half = _mm256_set1_epi32 (0x7fff);
  __m256i bits = _mm256_castps_si256 (x), odd = _mm256_and_si256 (_mm256_srli_epi32 (bits, 16), one);

  return _mm256_srli_epi32 (_mm256_add_epi32 (bits, _mm256_add_epi32 (half, odd)), 16);
}

LANES_INLINE void
lanes_store_bf16 (uint16_t *p, Lanes x)
{
  _mm256_storeu_si256 ((__m256i *) p, lanes_pack (lanes_round_8_bf16 (x.a), lanes_round_8_bf16 (x.b)));
}

LANES_INLINE Lanes
lanes_zip (Lanes a, Lanes b, const int upper)
{
  __m256 x = upper ? a.b : a.a, y = upper ? b.b : b.a;
  __m256 low = _mm256_unpacklo_ps (x, y), high = _mm256_unpackhi_ps (x, y); /* within each half of 128 bits */

  return (Lanes){ _mm256_permute2f128_ps (low, high, 0x20), _mm256_permute2f128_ps (low, high, 0x31) };
}

LANES_INLINE float
lanes_sum (Lanes x)
{
  __m256 eight = _mm256_add_ps (x.a, x.b);
  __m128 four = _mm_add_ps (_mm256_castps256_ps128 (eight), _mm256_extractf128_ps (eight, 1));
  __m128 two = _mm_add_ps (four, _mm_movehl_ps (four, four));

  return _mm_cvtss_f32 (_mm_add_ss (two, _mm_movehdup_ps (two)));
}

LANES_INLINE float
lanes_greatest (Lanes x)
{
  __m256 eight = _mm256_max_ps (x.a, x.b);
  __m128 four = _mm_max_ps (_mm256_castps256_ps128 (eight), _mm256_extractf128_ps (eight, 1));
  __m128 two = _mm_max_ps (four, _mm_movehl_ps (four, four));

  return _mm_cvtss_f32 (_mm_max_ss (two, _mm_movehdup_ps (two)));
}

#elif defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>

#define LANES_ISA neon
#define LANES_ROOM 6

typedef struct {
  float32x4_t q[4];
} Lanes;
typedef struct {
  uint32x4_t q[4];
} LanesMask;

#define EACH_QUARTER for (int i = 0; i < 4; i++)

LANES_INLINE Lanes
lanes_load (const float *p)
{
  return (Lanes){ { vld1q_f32 (p), vld1q_f32 (p + 4), vld1q_f32 (p + 8), vld1q_f32 (p + 12) } };
}

LANES_INLINE Lanes
lanes_load_f16 (const uint16_t *p)
{
  Lanes x;

  EACH_QUARTER x.q[i] = vcvt_f32_f16 (vreinterpret_f16_u16 (vld1_u16 (p + 4 * i)));
  return x;
}

LANES_INLINE Lanes
lanes_load_bf16 (const uint16_t *p, const int odd)
{
  Lanes x;

  EACH_QUARTER
  {
    uint32x4_t pairs = vreinterpretq_u32_u16 (vld1q_u16 (p + 8 * i));

    x.q[i] = vreinterpretq_f32_u32 (odd ? vandq_u32 (pairs, vdupq_n_u32 (0xffff0000)) : vshlq_n_u32 (pairs, 16));
  }
  return x;
}

LANES_INLINE void
lanes_store (float *p, Lanes x)
{
  EACH_QUARTER vst1q_f32 (p + 4 * i, x.q[i]);
}

LANES_INLINE Lanes
lanes_load_n (const float *p, size_t n)
{
  float all[16] = { 0 };

  memcpy (all, p, n * sizeof *p);
  return lanes_load (all);
}

LANES_INLINE void
lanes_store_n (float *p, Lanes x, size_t n)
{
  float all[16];

  lanes_store (all, x);
  memcpy (p, all, n * sizeof *p);
}

LANES_INLINE Lanes
lanes_set (float value)
{
  float32x4_t all = vdupq_n_f32 (value);

  return (Lanes){ { all, all, all, all } };
}

LANES_INLINE Lanes
lanes_fma (Lanes a, Lanes b, Lanes c)
{
  EACH_QUARTER c.q[i] = vfmaq_f32 (c.q[i], a.q[i], b.q[i]);
  return c;
}

LANES_INLINE Lanes
lanes_add (Lanes a, Lanes b)
{
  EACH_QUARTER a.q[i] = vaddq_f32 (a.q[i], b.q[i]);
  return a;
}

LANES_INLINE Lanes
lanes_sub (Lanes a, Lanes b)
{
  EACH_QUARTER a.q[i] = vsubq_f32 (a.q[i], b.q[i]);
  return a;
}

LANES_INLINE Lanes
lanes_mul (Lanes a, Lanes b)
{
  EACH_QUARTER a.q[i] = vmulq_f32 (a.q[i], b.q[i]);
  return a;
}

LANES_INLINE Lanes
lanes_div (Lanes a, Lanes b)
{
  EACH_QUARTER a.q[i] = vdivq_f32 (a.q[i], b.q[i]);
  return a;
}

LANES_INLINE Lanes
lanes_max (Lanes a, Lanes b)
{
  /* vmaxq_f32 () would hand on a NaN of either side. */
  EACH_QUARTER a.q[i] = vbslq_f32 (vcgtq_f32 (a.q[i], b.q[i]), a.q[i], b.q[i]);
  return a;
}

LANES_INLINE Lanes
lanes_abs (Lanes x)
{
  EACH_QUARTER x.q[i] = vabsq_f32 (x.q[i]);
  return x;
}

LANES_INLINE Lanes
lanes_copysign (Lanes x, Lanes sign)
{
  EACH_QUARTER x.q[i] = vbslq_f32 (vdupq_n_u32 (0x80000000), sign.q[i], x.q[i]);
  return x;
}

LANES_INLINE Lanes
lanes_add_exponent (Lanes x, Lanes shifted)
{
  EACH_QUARTER
  {
    uint32x4_t exponent = vshlq_n_u32 (vreinterpretq_u32_f32 (shifted.q[i]), 23);

    x.q[i] = vreinterpretq_f32_u32 (vaddq_u32 (vreinterpretq_u32_f32 (x.q[i]), exponent));
  }
  return x;
}

LANES_INLINE LanesMask
lanes_mask (uint16_t bits)
{
  const uint32x4_t lowest = { 1, 2, 4, 8 };
  LanesMask mask;

  EACH_QUARTER mask.q[i] = vtstq_u32 (vdupq_n_u32 (bits >> 4 * i), lowest);
  return mask;
}

LANES_INLINE LanesMask
lanes_less (Lanes a, Lanes b)
{
  LanesMask mask;

  EACH_QUARTER mask.q[i] = vcltq_f32 (a.q[i], b.q[i]);
  return mask;
}

LANES_INLINE LanesMask
lanes_is_nan (Lanes x)
{
  LanesMask mask;

  EACH_QUARTER mask.q[i] = vmvnq_u32 (vceqq_f32 (x.q[i], x.q[i]));
  return mask;
}

LANES_INLINE Lanes
lanes_select (LanesMask mask, Lanes a, Lanes b)
{
  EACH_QUARTER a.q[i] = vbslq_f32 (mask.q[i], a.q[i], b.q[i]);
  return a;
}

LANES_INLINE LanesMask
lanes_is_below (Lanes x, Lanes limit)
{
  LanesMask mask;

  EACH_QUARTER
  {
    uint32x4_t magnitude = vandq_u32 (vreinterpretq_u32_f32 (x.q[i]), vdupq_n_u32 (INT32_MAX));

    mask.q[i] = vcltq_u32 (magnitude, vreinterpretq_u32_f32 (limit.q[i]));
  }
  return mask;
}

LANES_INLINE LanesMask
lanes_is_tiny (Lanes x)
{
  return lanes_is_below (x, lanes_set (0x1p-126f));
}

LANES_INLINE void
lanes_store_f16 (uint16_t *p, Lanes x)
{
  const uint32x4_t half = vreinterpretq_u32_f32 (vdupq_n_f32 (0.5f));
  LanesMask small = lanes_is_below (x, lanes_set (0x1p-14f));

  EACH_QUARTER
  {
    uint32x4_t bits = vreinterpretq_u32_f32 (x.q[i]), sign = vandq_u32 (vshrq_n_u32 (bits, 16), vdupq_n_u32 (0x8000));
    float32x4_t sum = vaddq_f32 (vabsq_f32 (x.q[i]), vdupq_n_f32 (0.5f));
    uint32x4_t subnormal = vorrq_u32 (vsubq_u32 (vreinterpretq_u32_f32 (sum), half), sign);
    float32x4_t large = vreinterpretq_f32_u32 (vbicq_u32 (bits, small.q[i]));

    subnormal = vandq_u32 (subnormal, small.q[i]);
    vst1_u16 (p + 4 * i, vorr_u16 (vreinterpret_u16_f16 (vcvt_f16_f32 (large)), vmovn_u32 (subnormal)));
  }
}

LANES_INLINE void
lanes_store_bf16 (uint16_t *p, Lanes x)
{
  EACH_QUARTER
  {
    uint32x4_t bits = vreinterpretq_u32_f32 (x.q[i]), odd = vandq_u32 (vshrq_n_u32 (bits, 16), vdupq_n_u32 (1));

    vst1_u16 (p + 4 * i, vshrn_n_u32 (vaddq_u32 (bits, vaddq_u32 (vdupq_n_u32 (0x7fff), odd)), 16));
  }
}

LANES_INLINE Lanes
lanes_zip (Lanes a, Lanes b, const int upper)
{
  float32x4_t x0 = a.q[2 * upper], x1 = a.q[2 * upper + 1], y0 = b.q[2 * upper], y1 = b.q[2 * upper + 1];

  return (Lanes){ { vzip1q_f32 (x0, y0), vzip2q_f32 (x0, y0), vzip1q_f32 (x1, y1), vzip2q_f32 (x1, y1) } };
}

LANES_INLINE float
lanes_sum (Lanes x)
{
  float32x4_t four = vaddq_f32 (vaddq_f32 (x.q[0], x.q[2]), vaddq_f32 (x.q[1], x.q[3]));
  float32x2_t two = vadd_f32 (vget_low_f32 (four), vget_high_f32 (four));

  return vget_lane_f32 (two, 0) + vget_lane_f32 (two, 1);
}

LANES_INLINE float
lanes_greatest (Lanes x)
{
  return vmaxvq_f32 (vmaxq_f32 (vmaxq_f32 (x.q[0], x.q[1]), vmaxq_f32 (x.q[2], x.q[3])));
}

#undef EACH_QUARTER

#else
#error "kernels_simd.h is for AVX-512 (F, DQ), for AVX2 with FMA and F16C, or for NEON"
#endif

#endif
