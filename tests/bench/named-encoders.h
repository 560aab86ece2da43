/*
 * Whole encoders to measure, by name, with random parameters: the bytes of a model file.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef TESTS_BENCH_NAMED_ENCODERS_H
#define TESTS_BENCH_NAMED_ENCODERS_H

#include <stdbool.h>

#include "../core/encoders.h"

/*
 * Layers with a norm in front of each part, GELU by erf, and a norm at the end. E1: speech in real time, where layers
 * look ahead. E2: a model too large for a second-level cache. E3: many small layers, where the calls dominate the cost.
 */
typedef struct {
  const char *name;
  uint32_t n_layers, width, heads, hidden;
  uint32_t window[12], look_ahead[12]; /* [n_layers] */
} NamedEncoder;

static const NamedEncoder named_encoders[] = {
  { "E1", 6, 320, 8, 1280, { 17, 17, 17, 17, 17, 17 }, { 4, 4, 0, 0, 4, 4 } },
  { "E2", 4, 256, 4, 1024, { 64, 64, 64, 64 }, { 0 } },
  { "E3", 12, 64, 4, 256, { 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64 }, { 0 } },
};

static inline void
write_weight (Encoder *e, const char *block, const char *part, uint32_t n_rows, uint32_t n_columns)
{
  free (add_weight (e, block, part, n_rows, n_columns).values);
}

static inline void
write_vector (Encoder *e, const char *block, const char *part, uint32_t n)
{
  free (add_vector (e, block, part, n).values);
}

static inline void
write_norm (Encoder *e, const char *name, uint32_t width)
{
  bytes_print (&e->json, "{'norm':'%s'}", name);
  write_vector (e, name, ".weight", width);
  write_vector (e, name, ".bias", width);
}

static inline void
write_linear (Encoder *e, const char *name, uint32_t n_out, uint32_t n_in)
{
  write_weight (e, name, ".weight", n_out, n_in);
  write_vector (e, name, ".bias", n_out);
}

static inline void
write_attention (Encoder *e, const NamedEncoder *n, uint32_t i)
{
  char name[32];

  snprintf (name, sizeof name, "%u.self_attn", i);
  bytes_print (&e->json, ",{'attention':'%s','heads':%u,'window':%u,'look-ahead':%u}", name, n->heads, n->window[i],
               n->look_ahead[i]);
  write_weight (e, name, ".in_proj_weight", 3 * n->width, n->width);
  write_vector (e, name, ".in_proj_bias", 3 * n->width);
  snprintf (name, sizeof name, "%u.self_attn.out_proj", i);
  write_linear (e, name, n->width, n->width);
}

static inline void
write_layer (Encoder *e, const NamedEncoder *n, uint32_t i)
{
  char name[3][32];

  snprintf (name[0], sizeof name[0], "%u.norm1", i);
  bytes_print (&e->json, "{'residual':[");
  write_norm (e, name[0], n->width);
  write_attention (e, n, i);
  snprintf (name[0], sizeof name[0], "%u.norm2", i);
  snprintf (name[1], sizeof name[1], "%u.linear1", i);
  snprintf (name[2], sizeof name[2], "%u.linear2", i);
  bytes_print (&e->json, "]},{'residual':[");
  write_norm (e, name[0], n->width);
  bytes_print (&e->json, ",{'linear':'%s','activation':'gelu'},{'linear':'%s'}]},", name[1], name[2]);
  write_linear (e, name[1], n->hidden, n->width);
  write_linear (e, name[2], n->width, n->hidden);
}

/* ---- cache-aware Conformers ---- */

/*
 * As Nemotron Speech Streaming has its layers: two feed-forward steps around attention over chunks, with positions of
 * Transformer-XL, and a causal depthwise convolution. `channels`: of the convolutions over time and frequency in front,
 * each of which halves both, three times. All layers name the same tensors, so that the file is one
 * layer long. In memory each layer has its own.
 */
typedef struct {
  const char *name;
  uint32_t n_layers, width, hidden, heads, chunk, chunks, channels, bins;
} NamedConformer;

#define TAPS 9 /* of the depthwise convolution */

static const NamedConformer named_conformers[] = {
  { "nemotron-2", 24, 1024, 4096, 8, 2, 35, 256, 128 },
  { "nemotron-7", 24, 1024, 4096, 8, 7, 10, 256, 128 },
  { "nemotron-small", 4, 256, 1024, 8, 7, 10, 32, 128 },
};

static inline void
write_conv2d (Encoder *e, const char *name, uint32_t n_out, uint32_t n_in, uint32_t kernel)
{
  char shape[64];

  snprintf (shape, sizeof shape, "%u,%u,%u,%u", n_out, n_in, kernel, kernel);
  free (add_tensor (e, name, ".weight", shape, n_out, n_in * kernel * kernel).values);
  write_vector (e, name, ".bias", n_out);
}

/* Two zeros in front and one behind: T / 2 + 1 of T. */
static inline void
write_subsampling (Encoder *e, const NamedConformer *c)
{
  static const char zeros[] = "'stride':[2,2],'left':2,'right':1,'low':2,'high':1";
  uint32_t bins = c->bins / 2 + 1;

  bytes_print (&e->json, "{'conv2d':'sub.0',%s,'activation':'relu'},", zeros);
  write_conv2d (e, "sub.0", c->channels, 1, 3);
  for (int i = 1; i < 3; i++, bins = bins / 2 + 1) {
    char names[2][32];

    snprintf (names[0], sizeof names[0], "sub.%d.dw", i);
    snprintf (names[1], sizeof names[1], "sub.%d.pw", i);
    bytes_print (&e->json, "{'conv2d':'%s','groups':%u,%s},{'conv2d':'%s','activation':'relu'},", names[0], c->channels,
                 zeros, names[1]);
    write_conv2d (e, names[0], c->channels, 1, 3);
    write_conv2d (e, names[1], c->channels, c->channels, 1);
  }
  bytes_print (&e->json, "{'linear':'sub.linear'},");
  write_linear (e, "sub.linear", c->width, c->channels * bins);
}

static inline void
write_conformer_blocks (Encoder *e, const NamedConformer *c)
{
  static const char step[] = "{'residual':[{'norm':'norm_ff%d'},{'linear':'ff%d.1','activation':'silu'},"
                             "{'linear':'ff%d.2'}]}";

  bytes_print (&e->json, step, 1, 1, 1);
  bytes_print (&e->json,
               ",{'residual':[{'norm':'norm_att'},{'attention':'att','heads':%u,'chunk':%u,'chunks':%u,"
               "'position':'transformer-xl'}]}",
               c->heads, c->chunk, c->chunks);
  bytes_print (&e->json,
               ",{'residual':[{'norm':'norm_conv'},{'linear':'conv.1'},{'glu':'sigmoid'},{'conv':'conv.dw',"
               "'groups':%u,'left':%d},{'norm':'conv.norm'},{'activation':'silu'},{'linear':'conv.2'}]},",
               c->width, TAPS - 1);
  bytes_print (&e->json, step, 2, 2, 2);
  bytes_print (&e->json, ",{'norm':'norm_out'}");
}

static inline void
write_conformer_tensors (Encoder *e, const NamedConformer *c)
{
  static const char *const norms[] = { "norm_ff1", "norm_att", "norm_conv", "conv.norm", "norm_ff2", "norm_out" };
  static const char *const projections[] = { "att.q_proj", "att.k_proj", "att.v_proj", "att.o_proj" };
  uint32_t width = c->width;
  char shape[32];

  for (int i = 0; i < 6; i++) {
    write_vector (e, norms[i], ".weight", width);
    write_vector (e, norms[i], ".bias", width);
  }
  for (int i = 0; i < 4; i++)
    write_linear (e, projections[i], width, width);
  write_weight (e, "att", ".linear_pos.weight", width, width);
  write_weight (e, "att", ".pos_bias_u", c->heads, width / c->heads);
  write_weight (e, "att", ".pos_bias_v", c->heads, width / c->heads);
  write_linear (e, "ff1.1", c->hidden, width);
  write_linear (e, "ff1.2", width, c->hidden);
  write_linear (e, "ff2.1", c->hidden, width);
  write_linear (e, "ff2.2", width, c->hidden);
  write_linear (e, "conv.1", 2 * width, width);
  write_linear (e, "conv.2", width, width);
  snprintf (shape, sizeof shape, "%u,1,%d", width, TAPS);
  free (add_tensor (e, "conv.dw", ".weight", shape, width, TAPS).values);
  write_vector (e, "conv.dw", ".bias", width);
}

static inline void
write_conformer (Encoder *e, const NamedConformer *c)
{
  bytes_print (&e->json, "{'version':1,'features':%u,'blocks':[", c->bins);
  write_subsampling (e, c);
  for (uint32_t i = 0; i < c->n_layers; i++) {
    bytes_print (&e->json, i == 0 ? "" : ",");
    write_conformer_blocks (e, c);
  }
  bytes_print (&e->json, "]}");
  write_conformer_tensors (e, c);
}

/* ---- by name ---- */

static inline void
write_transformer (Encoder *e, const NamedEncoder *n)
{
  bytes_print (&e->json, "{'version':1,'features':%u,'blocks':[", n->width);
  for (uint32_t layer = 0; layer < n->n_layers; layer++)
    write_layer (e, n, layer);
  write_norm (e, "norm", n->width);
  bytes_print (&e->json, "]}");
}

/* The caller frees *file by free (). False: there is no encoder of this name. */
static inline bool
named_encoder (const char *name, Bytes *file)
{
  Encoder e = { 0 };

  for (size_t i = 0; i < sizeof named_encoders / sizeof named_encoders[0]; i++)
    if (strcmp (name, named_encoders[i].name) == 0)
      write_transformer (&e, &named_encoders[i]);
  for (size_t i = 0; i < sizeof named_conformers / sizeof named_conformers[0]; i++)
    if (strcmp (name, named_conformers[i].name) == 0)
      write_conformer (&e, &named_conformers[i]);
  if (e.json.size == 0)
    return false;
  finish_file (&e);
  *file = e.file;
  e.file = (Bytes){ 0 };
  encoder_clear (&e);
  return true;
}

#endif
