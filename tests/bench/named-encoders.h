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

/* The caller frees *file by free (). False: there is no encoder of this name. */
static inline bool
named_encoder (const char *name, Bytes *file)
{
  for (size_t i = 0; i < sizeof named_encoders / sizeof named_encoders[0]; i++) {
    const NamedEncoder *n = &named_encoders[i];
    Encoder e = { 0 };

    if (strcmp (name, n->name) != 0)
      continue;
    bytes_print (&e.json, "{'version':1,'features':%u,'blocks':[", n->width);
    for (uint32_t layer = 0; layer < n->n_layers; layer++)
      write_layer (&e, n, layer);
    write_norm (&e, "norm", n->width);
    bytes_print (&e.json, "]}");
    finish_file (&e);
    *file = e.file;
    e.file = (Bytes){ 0 };
    encoder_clear (&e);
    return true;
  }
  return false;
}

#endif
