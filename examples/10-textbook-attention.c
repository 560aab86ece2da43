/*
 * Lesson 10: the textbook's attention, on top of the plain operator, attn_sdpa ().
 *
 * The two modules of every course on Transformers (Vaswani et al. 2017, sections 3.2.1 and 3.2.2), and the same when
 * words come one by one. The numbers are small enough to check by hand:
 *
 *   1. scaled dot-product attention with one head: softmax (Q K^T / sqrt (dk)) V, and its weights;
 *   2. multi-head attention: four linear layers around h heads of d_model / h values each, with an optional mask;
 *   3. the same word by word, with the keys and values of earlier words kept, as language models write.
 *
 * There is no dropout here. Textbooks apply it to the weights, but only in training: at inference it is the identity.
 *
 * Build:  cc 10-textbook-attention.c $(pkg-config --cflags --libs libattn) -o 10-textbook-attention
 *
 * Expected output:
 *   1. one head, two queries, two keys
 *      query 0: weights 0.500 0.500, output 6.000
 *      query 1: weights 0.750 0.250, output 7.000
 *   2. two heads, three words, every word sees all
 *      word 0: 6.000 1.000 6.000 1.000
 *      word 1: 2.800 4.200 6.000 1.000
 *      word 2: 6.000 1.000 2.800 4.200
 *      and with a mask, no word sees a later one
 *      word 0: 7.000 0.000 7.000 0.000
 *      word 1: 1.750 5.250 7.000 0.000
 *      word 2: 6.000 1.000 2.800 4.200
 *   3. word by word, 2 x 2 values kept of each
 *      word 0: 7.000 0.000 7.000 0.000
 *      word 1: 1.750 5.250 7.000 0.000
 *      word 2: 6.000 1.000 2.800 4.200
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn_sdpa.h"

#define LN_3 1.0986123f /* exp (LN_3) is 3 */
#define SQRT_2 1.4142135f

static void
run (const AttnSdpa *sdpa)
{
  AttnError error;

  if (attn_sdpa (sdpa, &error) != ATTN_OK) {
    fprintf (stderr, "%s\n", error.message);
    exit (1);
  }
}

/* ---- 1. one head ---- */

/* query [n_queries][dk], key [n_keys][dk], value [n_keys][dv] to out [n_queries][dv] and weights [n_queries][n_keys] */
static void
single_head (const float *query, const float *key, const float *value, uint32_t n_queries, uint32_t n_keys, uint32_t dk,
             uint32_t dv, float *out, float *weights)
{
  AttnSdpa sdpa = attn_sdpa_default (); /* one batch, one head, no mask, scale 1 / sqrt (dk) */

  sdpa.query = query;
  sdpa.key = key;
  sdpa.value = value;
  sdpa.out = out;
  sdpa.weights = weights;
  sdpa.n_queries = n_queries;
  sdpa.n_keys = n_keys;
  sdpa.dk = dk;
  sdpa.dv = dv;
  run (&sdpa);
}

static void
show_one_head (void)
{
  /*
   * Query 0 scores both keys 0: equal weights, and the mean of 8 and 4. Query 1 scores them ln 3 and 0: the weights are
   * as 3 to 1, and the output is 8 * 3/4 + 4 * 1/4.
   */
  const float query[2] = { 0, LN_3 }, key[2] = { 1, 0 }, value[2] = { 8, 4 };
  float out[2], weights[2][2];

  single_head (query, key, value, 2, 2, 1, 1, out, weights[0]);
  printf ("1. one head, two queries, two keys\n");
  for (int i = 0; i < 2; i++)
    printf ("   query %d: weights %.3f %.3f, output %.3f\n", i, weights[i][0], weights[i][1], out[i]);
}

/* ---- 2. several heads ---- */

enum { d_model = 4, n_heads = 2, n_words = 3 };

typedef struct {
  float weight[d_model][d_model]; /* [out][in], as in PyTorch */
  float bias[d_model];
} Linear;

/* y = W x + b for each of the words. */
static void
linear (const Linear *layer, float x[n_words][d_model], float y[n_words][d_model])
{
  for (int word = 0; word < n_words; word++)
    for (int o = 0; o < d_model; o++) {
      y[word][o] = layer->bias[o];
      for (int i = 0; i < d_model; i++)
        y[word][o] += layer->weight[o][i] * x[word][i];
    }
}

/*
 * The four linear layers are those to query, key and value, and the one behind the heads. mask [n_words][n_words], row
 * i: the words that word i may see; NULL: all of them. Head h works on values h * d_model / n_heads and following: that
 * is the layout with the heads inside, and nothing needs to be split, transposed or put together.
 */
static void
multi_head (const Linear layers[4], const uint8_t *mask, float x[n_words][d_model], float y[n_words][d_model])
{
  float query[n_words][d_model], key[n_words][d_model], value[n_words][d_model], heads[n_words][d_model];
  AttnSdpa sdpa = attn_sdpa_default ();

  linear (&layers[0], x, query);
  linear (&layers[1], x, key);
  linear (&layers[2], x, value);
  sdpa.layout = ATTN_LAYOUT_HEADS_INSIDE;
  sdpa.query = query[0];
  sdpa.key = key[0];
  sdpa.value = value[0];
  sdpa.bool_mask = mask; /* the same for all heads: mask_heads is 1 */
  sdpa.out = heads[0];
  sdpa.n_heads = n_heads;
  sdpa.n_queries = sdpa.n_keys = n_words;
  sdpa.dk = d_model / n_heads;
  run (&sdpa);
  linear (&layers[3], heads, y);
}

static void
print_words (float y[n_words][d_model])
{
  for (int word = 0; word < n_words; word++)
    printf ("   word %d: %.3f %.3f %.3f %.3f\n", word, y[word][0], y[word][1], y[word][2], y[word][3]);
}

static Linear
diagonal (float factor)
{
  Linear layer;

  memset (&layer, 0, sizeof layer);
  for (int i = 0; i < d_model; i++)
    layer.weight[i][i] = factor;
  return layer;
}

static void
show_two_heads (void)
{
  /* Head 0 sees that words 0 and 2 are alike, head 1 that words 0 and 1 are. */
  float x[n_words][d_model] = { { 1, 0, 1, 0 }, { 0, 1, 1, 0 }, { 1, 0, 0, 1 } }, y[n_words][d_model];
  const uint8_t mask[n_words][n_words] = { { 1, 0, 0 }, { 1, 1, 0 }, { 1, 1, 1 } };
  /*
   * The query layer undoes the scale 1 / sqrt (2), so that a word scores another one ln 3 when they are alike and 0
   * when not: weights as 3 to 1. Head 0 of word 0: 3/7, 1/7, 3/7, hence (6/7, 1/7), times 7 in the last layer. Head 1
   * of word 0, with weights 3/7, 3/7, 1/7, gives the same.
   */
  const Linear layers[4] = { diagonal (SQRT_2 * LN_3), diagonal (1), diagonal (1), diagonal (7) };

  printf ("2. two heads, three words, every word sees all\n");
  multi_head (layers, NULL, x, y);
  print_words (y);
  printf ("   and with a mask, no word sees a later one\n");
  multi_head (layers, mask[0], x, y);
  print_words (y);
}

/* ---- 3. word by word ---- */

/* A cache of keys or values, [n_heads][words so far][d_model / n_heads]: one that is read, and one that is written. */
typedef float Cache[2][n_words * d_model];

/*
 * Query, key and value [d_model] of one word: the key and value are added to what the caches hold of the `n_past` words
 * before. No mask is needed: the query stands beside the last key, which is its own, and later ones are not there yet.
 */
static void
one_word (const float *query, const float *key, const float *value, uint32_t n_past, Cache keys, Cache values,
          float *heads)
{
  uint32_t from = n_past % 2, to = 1 - from;
  AttnSdpa sdpa = attn_sdpa_default ();

  sdpa.layout = ATTN_LAYOUT_HEADS_INSIDE;
  sdpa.query = query;
  sdpa.key = key;
  sdpa.value = value;
  sdpa.past_key = keys[from];
  sdpa.past_value = values[from];
  sdpa.present_key = keys[to];
  sdpa.present_value = values[to];
  sdpa.out = heads;
  sdpa.n_heads = n_heads;
  sdpa.n_past = n_past;
  sdpa.n_queries = sdpa.n_keys = 1;
  sdpa.dk = d_model / n_heads;
  run (&sdpa);
}

/* The words and layers of part 2, whose masked result this is. */
static void
show_word_by_word (void)
{
  float x[n_words][d_model] = { { 1, 0, 1, 0 }, { 0, 1, 1, 0 }, { 1, 0, 0, 1 } }, query[n_words][d_model];
  float heads[n_words][d_model], y[n_words][d_model];
  const Linear to_query = diagonal (SQRT_2 * LN_3), behind = diagonal (7);
  Cache keys, values;

  linear (&to_query, x, query);
  for (uint32_t word = 0; word < n_words; word++)
    one_word (query[word], x[word], x[word], word, keys, values, heads[word]);
  linear (&behind, heads, y);
  printf ("3. word by word, %d x %d values kept of each\n", n_heads, d_model / n_heads);
  print_words (y);
}

int
main (void)
{
  show_one_head ();
  show_two_heads ();
  show_word_by_word ();
  return 0;
}
