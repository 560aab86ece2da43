/* libattn: whole encoders from a file.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/float_mode.h"
#include "blocks/conv.h"
#include "parameters/config.h"
#include "parameters/schemes.h"

#define ENTRY "encoder"

/* Longer than any stream: from so many frames a block inside a residual must give as many. */
#define MANY_FRAMES (UINT64_C (1) << 40)

/* ---- lists of blocks ---- */

/*
 * Constructors do not know where their block stands. So their errors, and those of the file's reader, get the block's
 * label in front. An error that has a label already, of this block or of one inside of it, keeps it. A wrong
 * configuration is the file's fault.
 */
static AttnStatus
label_error (AttnReader *reader)
{
  char *message = reader->error.message;
  char text[sizeof reader->error.message];

  if (reader->error.status == ATTN_ERROR_CONFIG)
    reader->error.status = ATTN_ERROR_MODEL;
  if (strncmp (message, reader->label, strlen (reader->label)) == 0)
    return reader->error.status;
  strcpy (text, message);
  if (strncmp (text, reader->label, reader->path_length) == 0 && text[reader->path_length] == ':')
    memmove (text, text + reader->path_length + 2, strlen (text + reader->path_length + 2) + 1);
  snprintf (message, sizeof reader->error.message, "%.*s: %.*s", (int) sizeof reader->label, reader->label,
            (int) (sizeof text - sizeof reader->label - 3), text);
  return reader->error.status;
}

/* The reach of a chain, and that of each attention, is searched in all frames of a period: a file decides how many. */
static AttnStatus
check_period (AttnReader *reader, const AttnChain *chain, const AttnBlock *block)
{
  if (chain->period > ATTN_MAX_CHUNK)
    return attn_reader_fail (
        reader,
        "its chunks repeat after %llu frames, but those of all blocks up to here, with a stride of "
        "%llu, begin together only after more than the %u frames that are allowed",
        (unsigned long long) block->period, (unsigned long long) chain->stride, ATTN_MAX_CHUNK);
  if (chain->period * reader->n_blocks > ATTN_MAX_PERIOD_STEPS)
    return attn_reader_fail (reader,
                             "the chunks of all blocks up to here begin together after %llu frames: that times %zu "
                             "blocks is more than the %u that are allowed",
                             (unsigned long long) chain->period, reader->n_blocks, ATTN_MAX_PERIOD_STEPS);
  if (chain->period * reader->n_blocks * reader->n_attentions > ATTN_MAX_REACH_STEPS)
    return attn_reader_fail (reader,
                             "the chunks of all blocks up to here begin together after %llu frames: that times %zu "
                             "blocks and %zu attentions is more than the %u that are allowed",
                             (unsigned long long) chain->period, reader->n_blocks, reader->n_attentions,
                             ATTN_MAX_REACH_STEPS);
  return ATTN_OK;
}

/* Checks that hold for every kind of block: the sums up to it, and the conditions of a residual. */
static AttnStatus
check_block (AttnReader *reader, const AttnChain *chain, bool fits, const AttnBlock *block)
{
  AttnStatus status;

  reader->n_values += block->n_outputs;
  if (!fits)
    return attn_reader_fail (reader,
                             "the blocks up to here have a stride of %llu and reach %llu frames back and %llu ahead, "
                             "but at most %llu are allowed",
                             (unsigned long long) chain->stride, (unsigned long long) chain->reach_back,
                             (unsigned long long) chain->reach_ahead, (unsigned long long) ATTN_MAX_REACH);
  if ((status = check_period (reader, chain, block)))
    return status;
  if (reader->n_values > ATTN_MAX_VALUES)
    return attn_reader_fail (reader, "all blocks up to here give %llu values per frame, but at most %u are allowed",
                             (unsigned long long) reader->n_values, ATTN_MAX_VALUES);
  if (reader->depth == 0)
    return ATTN_OK;
  if (block->stride != 1)
    return attn_reader_fail (reader, "it has a stride of %llu, but inside a residual the stride has to be 1",
                             (unsigned long long) block->stride);
  if (attn_block_count (block, MANY_FRAMES) != MANY_FRAMES)
    return attn_reader_fail (reader, "from %llu frames it makes %llu, but inside a residual the numbers must be equal",
                             (unsigned long long) MANY_FRAMES,
                             (unsigned long long) attn_block_count (block, MANY_FRAMES));
  return ATTN_OK;
}

static AttnStatus
add_block (AttnReader *reader, const json_t *json, AttnChain *chain)
{
  AttnBlock *block = NULL;
  AttnStatus status;
  bool fits;

  if (++reader->n_blocks > ATTN_MAX_BLOCKS)
    return attn_reader_fail (reader, "this is block %zu, counting those inside residuals, but at most %u are allowed",
                             reader->n_blocks, ATTN_MAX_BLOCKS);
  status = attn_reader_block (reader, json, chain->n_outputs, &block);
  if (status != ATTN_OK) {
    if (block != NULL)
      block->kind->free (block);
    return label_error (reader);
  }
  if (chain->n_blocks > 0)
    attn_conv_join (chain->blocks[chain->n_blocks - 1], block);
  fits = attn_chain_add (chain, block);
  return check_block (reader, chain, fits, block);
}

AttnStatus
attn_reader_chain (AttnReader *reader, const char *key, const json_t *list, size_t width, AttnChain *chain)
{
  size_t length = strlen (reader->label), n = json_array_size (list), i;
  AttnStatus status;

  if (!json_is_array (list) || n == 0)
    return attn_reader_fail (reader, "%s is %s, expected a list of at least one block", key,
                             n == 0 && json_is_array (list) ? "an empty list" : attn_json_text (list).text);
  if ((status = attn_chain_init (chain, width, n, &reader->error)))
    return status;
  for (i = 0; i < n && status == ATTN_OK; i++) {
    snprintf (reader->label + length, sizeof reader->label - length, "%s%s[%zu]", reader->depth == 0 ? ": " : ".", key,
              i);
    status = add_block (reader, json_array_get (list, i), chain);
    reader->label[length] = '\0';
  }
  return status;
}

/* ---- tensors that nothing computes with ---- */

static int
compare_names (const void *a, const void *b)
{
  return strcmp (((const AttnBlockName *) a)->name, ((const AttnBlockName *) b)->name);
}

/* The block under whose name the tensor stands; NULL: there is none. The longest name wins. */
static const AttnBlockName *
block_of (const AttnReader *reader, const char *tensor)
{
  char name[ATTN_MAX_NAME + 1];
  size_t length = strlen (tensor) < sizeof name ? strlen (tensor) : sizeof name;

  while (length-- > 0) {
    AttnBlockName key = { .name = name };
    const AttnBlockName *found;

    if (tensor[length] != '.')
      continue;
    memcpy (name, tensor, length);
    name[length] = '\0';
    found = bsearch (&key, reader->names, reader->n_names, sizeof key, compare_names);
    if (found != NULL)
      return found;
  }
  return NULL;
}

static AttnStatus
fail_unused (AttnReader *reader, const AttnBlockName *block, const AttnTensor *tensor)
{
  const char *name = tensor->name + strlen (block->name) + 1;

  snprintf (reader->label + reader->path_length, sizeof reader->label - reader->path_length, ": %s", block->path);
  if (block->is_attention)
    return attn_schemes_fail_unused (reader->label, tensor, name, &reader->error);
  return attn_reader_fail (reader,
                           "the file has the tensor %s under its name, which no block computes with: leaving it out "
                           "could give other numbers",
                           attn_quote (tensor->name).text);
}

static AttnStatus
check_unused (AttnReader *reader)
{
  size_t i;

  qsort (reader->names, reader->n_names, sizeof *reader->names, compare_names);
  for (i = 0; i < reader->tensors.n; i++) {
    const AttnTensor *tensor = reader->tensors.by_name[i].tensor;
    const AttnBlockName *block = reader->tensors.by_name[i].is_used ? NULL : block_of (reader, tensor->name);

    if (block != NULL && !attn_schemes_is_harmless (tensor, tensor->name + strlen (block->name) + 1))
      return fail_unused (reader, block, tensor);
  }
  return ATTN_OK;
}

/* ---- the entry ---- */

static AttnStatus
parse_entry (AttnReader *reader, json_t **json)
{
  const char *text = attn_safetensors_metadata (reader->tensors.file, ENTRY);
  size_t length = text != NULL ? strlen (text) : 0;
  json_error_t error = { 0 };

  if (text == NULL)
    return attn_reader_fail (reader, "its metadata has no entry \"" ENTRY "\", which lists the blocks of an encoder: "
                                     "examples/export_encoder.py writes it. (A single layer of attention needs none: "
                                     "attn_model_open (), or the element attention)");
  if (length > ATTN_MAX_ENCODER_TEXT)
    return attn_reader_fail (reader, "the entry \"" ENTRY "\" has %zu bytes, but at most %u are allowed", length,
                             ATTN_MAX_ENCODER_TEXT);
  *json = json_loads (text, JSON_REJECT_DUPLICATES, &error);
  if (*json != NULL)
    return ATTN_OK;
  /* Out of memory is the one failure for which jansson has no words. */
  if (error.text[0] == '\0' || json_error_code (&error) == json_error_out_of_memory)
    return attn_tensors_fail_memory (&reader->tensors, length, "the entry \"" ENTRY "\"", &reader->error);
  return attn_reader_fail (reader, "the entry \"" ENTRY "\" cannot be parsed as JSON: %s (byte %d of %zu)",
                           attn_quote_bare (error.text).text, error.position, length);
}

static AttnStatus
check_keys (AttnReader *reader, const json_t *json)
{
  static const char *const keys[] = { "version", "features", "blocks", "frame-rate" };
  const size_t n_required = 3, n = sizeof keys / sizeof keys[0];
  const char *key;
  json_t *value;
  size_t i;

  if (!json_is_object (json))
    return attn_reader_fail (reader, "the entry \"" ENTRY "\" is %s, expected an object", attn_json_text (json).text);
  for (i = 0; i < n_required; i++)
    if (json_object_get (json, keys[i]) == NULL)
      return attn_reader_fail (reader, "the entry \"" ENTRY "\" has no key %s, which it needs", keys[i]);
  json_object_foreach ((json_t *) json, key, value)
  {
    for (i = 0; i < n && strcmp (key, keys[i]) != 0; i++)
      ;
    if (i == n)
      return attn_reader_fail (reader, "the entry \"" ENTRY "\" has the key %s, which is not known",
                               attn_quote (key).text);
  }
  return ATTN_OK;
}

static AttnStatus
read_frame_rate (AttnReader *reader, const json_t *json, uint32_t rate[2])
{
  static const uint64_t max[] = { INT32_MAX, INT32_MAX };
  uint64_t values[] = { rate[0], rate[1] };
  AttnStatus status = attn_reader_pair (reader, json, "frame-rate", "[100, 1]", max, values);

  rate[0] = (uint32_t) values[0];
  rate[1] = (uint32_t) values[1];
  return status;
}

static AttnStatus
read_entry (AttnReader *reader, const json_t *json, AttnLayer *layer)
{
  uint64_t version = 0, n_features = 0;
  AttnStatus status;

  if ((status = check_keys (reader, json))
      || (status = attn_reader_whole (reader, json, "version", ATTN_ENCODER_VERSION, ATTN_ENCODER_VERSION, &version))
      || (status = attn_reader_whole (reader, json, "features", 1, ATTN_MAX_FEATURES, &n_features))
      || (status = read_frame_rate (reader, json, layer->frame_rate))
      || (status = attn_reader_chain (reader, "blocks", json_object_get (json, "blocks"), n_features, &layer->chain)))
    return status;
  return check_unused (reader);
}

/* ---- the layer ---- */

AttnEncoderOptions
attn_encoder_options_default (void)
{
  return (AttnEncoderOptions){ .precision = ATTN_PRECISION_F32, .arithmetic = ATTN_ARITHMETIC_EXACT };
}

static AttnStatus
check_options (const AttnEncoderOptions *options, AttnError *error)
{
  AttnConfig config = attn_config_default ();
  AttnStatus status;
  size_t i;

  if ((status = attn_config_resolve (&config, NULL, error)))
    return status;
  config.precision = options->precision;
  config.arithmetic = options->arithmetic;
  config.n_threads = options->n_threads;
  if ((status = attn_config_check (&config, error)))
    return status;
  for (i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++)
    if (options->reserved[i] != 0)
      return attn_fail (error, ATTN_ERROR_CONFIG,
                        "reserved field %zu of the options is %u, expected 0: start from "
                        "attn_encoder_options_default ()",
                        i, options->reserved[i]);
  return ATTN_OK;
}

/* The number of tensors and that of the bytes of a file are far too small for an overflow. */
static uint64_t
max_parameters (const AttnTensors *tensors)
{
  uint64_t n = 0;

  for (size_t i = 0; i < tensors->n; i++)
    n += tensors->by_name[i].tensor->n_elements;
  n = n > ATTN_MAX_PARAMETERS / ATTN_MAX_REUSE ? ATTN_MAX_PARAMETERS : n * ATTN_MAX_REUSE;
  return n > ATTN_FEW_PARAMETERS ? n : ATTN_FEW_PARAMETERS;
}

static AttnStatus
init_reader (AttnReader *reader, AttnSafetensors *file)
{
  size_t bytes = ATTN_MAX_BLOCKS * sizeof *reader->names;
  AttnStatus status = attn_tensors_init (&reader->tensors, file, &reader->error);

  if (status != ATTN_OK)
    return status;
  snprintf (reader->label, sizeof reader->label, "%s", attn_safetensors_path (file));
  reader->path_length = strlen (reader->label);
  reader->tensors.label = reader->label;
  reader->tensors.max_values = max_parameters (&reader->tensors);
  reader->names = attn_alloc (bytes);
  return reader->names != NULL ? ATTN_OK : attn_tensors_fail_memory (&reader->tensors, bytes, "names", &reader->error);
}

static void
clear_reader (AttnReader *reader)
{
  size_t i;

  for (i = 0; i < reader->n_names; i++)
    attn_free (reader->names[i].path);
  attn_free (reader->names);
  attn_tensors_clear (&reader->tensors);
}

static AttnStatus
init_layer (AttnLayer *layer, AttnReader *reader, AttnSafetensors *file)
{
  json_t *json = NULL;
  AttnStatus status;

  layer->n_threads = reader->options->n_threads > 1 ? reader->options->n_threads : 1;
  if ((status = check_options (reader->options, &reader->error)) || (status = init_reader (reader, file))
      || (status = attn_machine_pick (&layer->machine, reader->options->arithmetic, &reader->error))
      || (status = parse_entry (reader, &json)))
    return status;
  status = read_entry (reader, json, layer);
  layer->n_blocks = (uint32_t) reader->n_blocks;
  layer->n_parameters = reader->tensors.n_read;
  json_decref (json);
  if (status || (status = attn_metadata_copy (&layer->metadata, file, &reader->error))
      || (status = attn_layer_sum_up (layer, &reader->error)))
    return status;
  return attn_layer_settle (layer, &reader->error);
}

/* `opened`: the result of opening `file`, which is closed here. */
static AttnStatus
read_file (AttnStatus opened, AttnSafetensors *file, const AttnEncoderOptions *options, AttnLayer **result,
           AttnError *error)
{
  AttnEncoderOptions defaults = attn_encoder_options_default ();
  AttnReader reader = { .options = options != NULL ? options : &defaults };
  AttnLayer *layer = opened == ATTN_OK ? attn_alloc (sizeof *layer) : NULL;
  AttnStatus status = opened;
  uint64_t mode;

  *result = NULL;
  if (opened != ATTN_OK)
    return opened;
  if (layer == NULL)
    status = attn_fail_memory (&reader.error, "layer", sizeof *layer);
  else {
    reader.machine = &layer->machine;
    mode = attn_float_enter (); /* the constants of a layer are rounded, too */
    status = init_layer (layer, &reader, file);
    attn_float_leave (mode);
  }
  clear_reader (&reader);
  status = attn_safetensors_end (file, status, &reader.error);
  if (status != ATTN_OK) {
    attn_layer_free (layer);
    return attn_fail (error, status, "%s", reader.error.message);
  }
  *result = layer;
  return attn_succeed (error);
}

AttnStatus
attn_encoder_open (const char *path, const AttnEncoderOptions *options, AttnLayer **layer, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  return read_file (status, file, options, layer, error);
}

AttnStatus
attn_encoder_open_memory (const void *data, size_t size, const AttnEncoderOptions *options, AttnLayer **layer,
                          AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open_memory (data, size, &file, error);

  return read_file (status, file, options, layer, error);
}
