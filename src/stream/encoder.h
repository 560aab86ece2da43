/*
 * libattn: the reader of encoders: from the entry `encoder` of a file's metadata to a chain of blocks. The text comes
 * from a stranger: anything in it that is not known, or does not fit, is an error that names the block.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   encoder.c         the file: its entry, lists of blocks, unused tensors
 *   encoder_keys.c    the keys of a block, and the tensors under its name
 *   encoder_blocks.c  the kinds of blocks: their keys and their constructors
 */
#ifndef ATTN_SRC_ENCODER_H
#define ATTN_SRC_ENCODER_H

#include <jansson.h>

#include "base/quote.h"
#include "base/status.h"

#include "blocks/block.h"
#include "parameters/model.h"
#include "stream/layer.h"

#define ATTN_ENCODER_VERSION 1
#define ATTN_MAX_ENCODER_TEXT (4u << 20)         /* bytes: parsed, they take up to a hundred times as much */
#define ATTN_MAX_BLOCKS 4096u                    /* counting those inside residuals */
#define ATTN_MAX_DEPTH 8u                        /* residuals nested in each other */
#define ATTN_MAX_NAME 512u                       /* bytes of a block's name */
#define ATTN_MAX_PARAMETERS (UINT64_C (1) << 32) /* of all blocks; a tensor that two of them name counts twice */
#define ATTN_MAX_REUSE 64u                       /* times the parameters of the file: as many an encoder may have */
#define ATTN_FEW_PARAMETERS (UINT64_C (1) << 20) /* it may have these whatever the file has */
#define ATTN_MAX_PERIOD_STEPS (1u << 22)         /* blocks times frames of a period: the reach is searched in these */
#define ATTN_MAX_REACH_STEPS (1u << 27)          /* those times attentions: each has a reach of its own */
#define ATTN_MAX_VALUES (1u << 24)               /* of a frame, added up over the outputs of all blocks */

/* The name of a block in the file, whose tensors begin with it and a dot. */
typedef struct {
  const char *name; /* the entry's */
  char *path;       /* blocks[4].residual[1] */
  bool is_attention;
} AttnBlockName;

/* The state of the reader. */
typedef struct {
  AttnTensors tensors; /* its label is the path of the file and of the block */
  const AttnEncoderOptions *options;
  const AttnMachine *machine;
  size_t path_length; /* of the path of the file in the label */
  char label[640];
  size_t n_blocks, n_attentions, depth;
  uint64_t n_values;
  uint64_t n_products;  /* values P r_d, added up over the attentions */
  AttnBlockName *names; /* [n_names], room for ATTN_MAX_BLOCKS */
  size_t n_names;
  AttnError error;
} AttnReader;

/* ---- encoder.c ---- */

/*
 * The blocks of `list`, which stands under `key` of the block (or of the entry), for frames of `width` values. On
 * failure *chain is for attn_chain_clear ().
 */
AttnStatus attn_reader_chain (AttnReader *reader, const char *key, const json_t *list, size_t width, AttnChain *chain);

/* ---- encoder_blocks.c ---- */

/*
 * The block that `json` describes, for frames of `width` values. On failure *block, if it is not NULL, is half-built.
 */
AttnStatus attn_reader_block (AttnReader *reader, const json_t *json, size_t width, AttnBlock **block);

/* ---- encoder_keys.c ---- */

/* Fails with a sentence about the present block, and puts the block's label in front. */
AttnStatus attn_reader_fail (AttnReader *reader, const char *format, ...) ATTN_PRINTF (2, 3);

/* A value in the words of a sentence: "relu", 3, a list. */
typedef struct {
  char text[sizeof (AttnQuote)];
} AttnJsonText;
AttnJsonText attn_json_text (const json_t *value);

/* The value of `key`, a whole number; *value stays as it is if the key is missing. */
AttnStatus attn_reader_whole (AttnReader *reader, const json_t *json, const char *key, uint64_t min, uint64_t max,
                              uint64_t *value);

/* The value of `key`, two whole numbers from 1 to their `max`; *values stays as it is if the key is missing. */
AttnStatus attn_reader_pair (AttnReader *reader, const json_t *json, const char *key, const char *example,
                             const uint64_t max[2], uint64_t values[2]);

/* A number. */
AttnStatus attn_reader_number (AttnReader *reader, const json_t *json, const char *key, double min, double max,
                               double *value);

/* The index of the value in `names`, which ends with NULL. */
AttnStatus attn_reader_choice (AttnReader *reader, const json_t *json, const char *key, const char *const *names,
                               size_t *value);

/* The name of the block, under the key that names its kind. */
AttnStatus attn_reader_name (AttnReader *reader, const json_t *json, const char *key, const char **name);

/* The tensor whose name is `name` followed by `end`. It must be there, with a dtype that can be read. */
AttnStatus attn_reader_tensor (AttnReader *reader, const char *name, const char *end, const AttnTensor **tensor);

/*
 * The values [n] of the tensor whose name is `name` followed by `end`. The caller owns them, also on failure. If it is
 * not required and not there, *values is NULL.
 */
AttnStatus attn_reader_vector (AttnReader *reader, const char *name, const char *end, size_t n, bool required,
                               float **values);

/*
 * NAME.weight [out, width] and, if it is there, NAME.bias [out]. The caller frees them by attn_linear_free_arrays (),
 * also on failure.
 */
AttnStatus attn_reader_linear (AttnReader *reader, const char *name, size_t width, AttnLinear *linear);

#endif
