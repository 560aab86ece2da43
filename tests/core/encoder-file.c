/*
 * Encoders in files: what is accepted, and each refusal, which names the block, the tensor and both numbers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdarg.h>

#include "memory.h"
#include "model-file.h"
#include "parameters/tensors.h"
#include "stream/encoder.h"

static ModelFile file;

/* ---- files ---- */

/* The entry `encoder`, in which ' stands for "; NULL: there is none. */
static void
begin (const char *entry)
{
  size_t n;

  begin_file (&file);
  if (entry == NULL)
    return;
  strcat (file.header, "'__metadata__':{'sample-rate':'16000','encoder':'");
  for (n = strlen (file.header); *entry != '\0'; entry++) {
    if (n + 4 > sizeof file.header)
      abort ();
    if (*entry == '\'')
      file.header[n++] = '\\';
    file.header[n++] = *entry;
  }
  strcpy (file.header + n, "'}");
}

/* "name rows columns; name rows" */
static void
add_all (const char *tensors)
{
  char name[64];
  unsigned rows, columns;

  while (*tensors != '\0') {
    int n = 0, n_read = sscanf (tensors, " %63s %u %u", name, &rows, &columns);

    sscanf (tensors, "%*[^;]%n", &n);
    add_tensor (&file, name, "F32", rows, n_read == 3 ? columns : 0);
    tensors += n + (tensors[n] == ';');
  }
}

static AttnStatus
open_with (const AttnEncoderOptions *options, AttnLayer **layer, AttnError *error)
{
  uint8_t *copy;
  AttnStatus status;

  end_file (&file);
  copy = exact_copy (file.bytes, file.size);
  status = attn_encoder_open_memory (copy, file.size, options, layer, error);
  free (copy); /* the layer has copied what it needs */
  return status;
}

static AttnStatus
try_open (AttnError *error)
{
  AttnLayer *layer = (AttnLayer *) &file;
  AttnStatus status = open_with (NULL, &layer, error);

  if ((status == ATTN_OK) != (layer != NULL))
    abort ();
  attn_layer_free (layer);
  return status;
}

/* An encoder of these blocks, for 4 features. */
static void
begin_blocks (const char *blocks, const char *tensors)
{
  static char entry[MODEL_HEADER_SIZE];

  snprintf (entry, sizeof entry, "{'version':1,'features':4,'blocks':[%s]}", blocks);
  begin (entry);
  add_all (tensors);
}

static AttnLayer *
opened (const char *blocks, const char *tensors)
{
  AttnLayer *layer;
  AttnError error;

  begin_blocks (blocks, tensors);
  if (open_with (NULL, &layer, &error) != ATTN_OK)
    printf ("# %s\n", error.message);
  return layer;
}

typedef struct {
  const char *blocks, *tensors;
  const char *texts[4]; /* of the sentence */
} Refusal;

static void
check_refusals (const Refusal *refusals, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    AttnError error;
    AttnStatus status;

    begin_blocks (refusals[i].blocks, refusals[i].tensors);
    status = try_open (&error);
    CHECK_MSG (status == ATTN_ERROR_MODEL && error.status == status, "status %d of %s: %s", status, refusals[i].blocks,
               error.message);
    CHECK_MSG (strncmp (error.message, "memory: blocks[", 15) == 0, "no block first: %s", error.message);
    for (size_t j = 0; j < 4 && refusals[i].texts[j] != NULL; j++)
      CHECK_MSG (strstr (error.message, refusals[i].texts[j]) != NULL, "no \"%s\" in: %s", refusals[i].texts[j],
                 error.message);
  }
}
#define CHECK_REFUSALS(refusals) check_refusals (refusals, sizeof refusals / sizeof (refusals)[0])

/* ---- the entry ---- */

TEST (checkpoint_without_an_entry_says_how_to_export_it)
{
  begin (NULL);
  add_tensor (&file, "layers.0.weight", "F32", 4, 4);
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "no entry \"encoder\"", "examples/export_encoder.py",
               "attn_model_open ()");
}

TEST (entry_that_is_not_an_encoder_is_refused)
{
  static const struct {
    const char *entry, *a, *b;
  } entries[] = {
    { "{'version':1", "cannot be parsed as JSON", "of 12)" },
    { "{'version':1,'version':1}", "cannot be parsed as JSON", "duplicate" },
    { "[1]", "is a list", "expected an object" },
    { "{'features':4,'blocks':[{'activation':'relu'}]}", "has no key version", "" },
    { "{'version':1,'blocks':[{'activation':'relu'}]}", "has no key features", "" },
    { "{'version':1,'features':4}", "has no key blocks", "" },
    { "{'version':2,'features':4,'blocks':[]}", "version is 2", "from 1 to 1" },
    { "{'version':'1','features':4,'blocks':[]}", "version is \"1\"", "from 1 to 1" },
    { "{'version':1,'features':0,'blocks':[]}", "features is 0", "from 1 to 65536" },
    { "{'version':1,'features':65537,'blocks':[]}", "features is 65537", "from 1 to 65536" },
    { "{'version':1,'features':-4,'blocks':[]}", "features is -4", "from 1 to 65536" },
    { "{'version':1,'features':4.5,'blocks':[]}", "features is 4.5", "a whole number" },
    { "{'version':1,'features':99999999999999999999,'blocks':[]}", "cannot be parsed as JSON", "integer" },
    { "{'version':1,'features':4,'blocks':[]}", "blocks is an empty list", "at least one block" },
    { "{'version':1,'features':4,'blocks':{}}", "blocks is an object", "expected a list" },
    { "{'version':1,'features':4,'blocks':[{'activation':'relu'}],'bloks':1}", "the key \"bloks\"", "not known" },
    { "{'version':1,'features':4,'blocks':[{'activation':'relu'}],'frame-rate':100}", "frame-rate is 100", "[100, 1]" },
    { "{'version':1,'features':4,'blocks':[{'activation':'relu'}],'frame-rate':[100]}", "frame-rate is a list of",
      "[100, 1]" },
    { "{'version':1,'features':4,'blocks':[{'activation':'relu'}],'frame-rate':[100,0]}", "has the number 0",
      "from 1 to 2147483647" },
    { "{'version':1,'features':4,'blocks':[{'activation':'relu'}],'frame-rate':[12.5,1]}", "has the number 12.5",
      "from 1 to 2147483647" },
  };

  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    begin (entries[i].entry);
    CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", entries[i].a, entries[i].b);
  }
}

/* `n` times `text` between `before` and `after`; free () it. */
static char *
repeated (const char *before, size_t n, const char *text, const char *after)
{
  char *all = malloc (strlen (before) + n * (strlen (text) + 1) + strlen (after) + 1), *end = all;

  end += sprintf (end, "%s", before);
  for (size_t i = 0; i < n; i++)
    end += sprintf (end, "%s%s", text, i + 1 < n ? "," : "");
  sprintf (end, "%s", after);
  return all;
}

/* A file that has only a header with this text. */
static AttnStatus
open_header (const char *header, AttnLayer **layer, AttnError *error)
{
  size_t n = strlen (header);
  uint8_t *bytes = malloc (8 + n);
  AttnStatus status;

  put_length (bytes, n);
  memcpy (bytes + 8, header, n);
  status = attn_encoder_open_memory (bytes, 8 + n, NULL, layer, error);
  free (bytes);
  return status;
}

#define IN_FRONT(features) \
  "{\"__metadata__\":{\"encoder\":\"{\\\"version\\\":1,\\\"features\\\":" features ",\\\"blocks\\\":["
#define RELU "{\\\"activation\\\":\\\"relu\\\"}"

static AttnStatus
open_many (const char *features, size_t n, AttnError *error)
{
  char front[128], *header;
  AttnLayer *layer;
  AttnStatus status;

  snprintf (front, sizeof front, IN_FRONT ("%s"), features);
  header = repeated (front, n, RELU, "]}\"}}");
  status = open_header (header, &layer, error);
  attn_layer_free (layer);
  free (header);
  return status;
}

TEST (amounts_beyond_the_limits_are_refused)
{
  CHECK (open_many ("4", 4096, NULL) == ATTN_OK);
  CHECK_FAILS (open_many ("4", 4097, &error), ATTN_ERROR_MODEL, "memory", "blocks[4096]: this is block 4097",
               "at most 4096");
  CHECK (open_many ("65536", 256, NULL) == ATTN_OK);
  CHECK_FAILS (open_many ("65536", 257, &error), ATTN_ERROR_MODEL, "memory",
               "blocks[256]: all blocks up to here give 16842752", "at most 16777216");
  CHECK_FAILS (open_many ("4", 200000, &error), ATTN_ERROR_MODEL, "memory", "\"encoder\" has 4400037 bytes",
               "at most 4194304");
}

/* The text of `n` nested residuals. */
static const char *
nested (unsigned n)
{
  static char text[1024];

  text[0] = '\0';
  for (unsigned i = 0; i < n; i++)
    strcat (text, "{'residual':[");
  strcat (text, "{'activation':'relu'}");
  for (unsigned i = 0; i < n; i++)
    strcat (text, "]}");
  return text;
}

TEST (residuals_that_are_too_deep_are_refused)
{
  AttnLayer *layer = opened (nested (8), "");

  CHECK (layer != NULL);
  attn_layer_free (layer);
  begin_blocks (nested (9), "");
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory",
               "blocks[0].residual[0].residual[0].residual[0].residual[0].residual[0].residual[0].residual[0]."
               "residual[0]: residuals are 9 deep",
               "at most 8");
}

TEST (parameters_beyond_the_limit_are_refused)
{
  AttnSafetensors *in_memory;
  AttnTensors tensors;
  AttnStatus status;
  float *values = NULL;

  begin_file (&file);
  add_tensor (&file, "x.weight", "F32", 3, 4);
  end_file (&file);
  status = attn_safetensors_open_memory (file.bytes, file.size, &in_memory, NULL);
  CHECK (status == ATTN_OK);
  status = attn_tensors_init (&tensors, in_memory, NULL);
  CHECK (status == ATTN_OK);
  tensors.max_values = 20;
  status = attn_tensors_read (&tensors, tensors.by_name[0].tensor, 0, 12, &values, NULL);
  CHECK (status == ATTN_OK);
  attn_free (values);
  values = NULL;
  CHECK_FAILS (attn_tensors_read (&tensors, tensors.by_name[0].tensor, 0, 12, &values, &error), ATTN_ERROR_MODEL,
               "memory", "\"x.weight\"", "24 parameters", "at most 20");
  CHECK (values == NULL);
  attn_tensors_clear (&tensors);
  attn_safetensors_close (in_memory);
}

/* So many blocks compute with one tensor of 2^18 values; NULL: it is refused. */
static AttnLayer *
encoder_of_one_tensor (int n_blocks, AttnError *error)
{
  char blocks[4096] = "{'linear':'first'}";
  AttnLayer *layer;

  for (int i = 0; i < n_blocks; i++)
    strcat (blocks, ",{'linear':'w'}");
  begin_blocks (blocks, "first.weight 512 4;w.weight 512 512");
  if (open_with (NULL, &layer, error) != ATTN_OK && layer != NULL)
    abort ();
  return layer;
}

TEST (small_file_makes_no_large_layer)
{
  AttnError error;
  AttnLayer *layer = encoder_of_one_tensor (64, &error);

  CHECK_MSG (layer != NULL, "%s", error.message);
  attn_layer_free (layer);
  layer = encoder_of_one_tensor (65, &error);
  CHECK (layer == NULL && error.status == ATTN_ERROR_MODEL);
  CHECK_MSG (strstr (error.message, "blocks[65]") != NULL && strstr (error.message, "\"w.weight\"") != NULL
                 && strstr (error.message, "17041408 parameters") != NULL
                 && strstr (error.message, "at most 16908288") != NULL,
             "%s", error.message);
}

/* Half as much again is left for the C library, and for valgrind. */
TEST (layer_takes_the_memory_of_its_parameters_once)
{
  long before, parameters;
  AttnError error;
  AttnLayer *layer = encoder_of_one_tensor (1, &error); /* what the first one takes for good */

  attn_layer_free (layer);
  before = resident_kib ();
  layer = encoder_of_one_tensor (64, &error);
  CHECK (layer != NULL);
  parameters = (long) (attn_layer_n_parameters (layer) * sizeof (float) / 1024);
  CHECK_MSG (resident_kib () - before < parameters * 3 / 2, "%ld KiB for %ld KiB", resident_kib () - before,
             parameters);
  attn_layer_free (layer);
}

/* ---- blocks ---- */

TEST (keys_that_make_no_block_are_refused_with_their_path)
{
  static const Refusal refusals[] = {
    { "3", "", { "blocks[0]: it is 3", "expected an object" } },
    { "{}", "", { "blocks[0]: it has no key that names its kind", "linear, norm, activation", "missing" } },
    { "{'lineer':'x'}", "", { "blocks[0]: it has no key that names its kind", "\"lineer\"" } },
    { "{'linear':'x','norm':'y'}", "", { "blocks[0]: it has both linear and norm" } },
    { "{'activation':'relu','eps':1}", "", { "blocks[0]: it has the key \"eps\"", "kind activation" } },
    { "{'activation':'relu'},{'residual':[{'activation':'relu'},{'residual':[{'activation':'relu','x':1}]}]}",
      "",
      { "blocks[1].residual[1].residual[0]: it has the key \"x\"", "kind activation" } },
    { "{'residual':[]}", "", { "blocks[0]: residual is an empty list", "at least one block" } },
    { "{'residual':'x'}", "", { "blocks[0]: residual is \"x\"", "expected a list" } },
    { "{'activation':'selu'}", "", { "blocks[0]: activation is \"selu\"", "gelu-tanh", "log-softmax" } },
    { "{'activation':4}", "", { "blocks[0]: activation is 4", "expected one of" } },
    { "{'glu':'tanh'}", "", { "blocks[0]: glu is \"tanh\"", "expected one of", "sigmoid" } },
    { "{'glu':'silu'},{'glu':'silu'},{'glu':'silu'}", "", { "blocks[2]: glu takes", "even number", "they have 1" } },
    { "{'sinusoid':false}", "", { "blocks[0]: sinusoid is false", "expected true" } },
    { "{'glu':'silu'},{'glu':'silu'},{'sinusoid':true}", "", { "blocks[2]: sinusoid takes", "they have 1" } },
    { "{'sinusoid':true,'base':0.5}", "", { "base is 0.5", "from 1 to" } },
    { "{'sinusoid':true,'offset':-1}", "", { "offset is -1", "from 0 to 9007199254740992" } },
    { "{'sinusoid':true,'offset':9007199254740993}", "", { "offset is 9007199254740993", "9007199254740992" } },
    { "{'sinusoid':true,'layout':'rows'}", "", { "layout is \"rows\"", "interleaved, half" } },
  };

  CHECK_REFUSALS (refusals);
}

TEST (names_that_are_none_are_refused)
{
  char *blocks = repeated ("{'linear':'", 513, "x", "'}"), *end = blocks;
  AttnLayer *layer;

  for (char *at = blocks; *at != '\0'; at++) /* without the commas */
    if (*at != ',')
      *end++ = *at;
  *end = '\0';
  begin_blocks (blocks, "");
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "blocks[0]: the name of its tensors has 513 bytes",
               "1 to 512");
  free (blocks);
  begin_blocks ("{'linear':''}", "");
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "blocks[0]: the name of its tensors has 0 bytes");
  begin_blocks ("{'affine':null}", "");
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "blocks[0]: affine is null", "the name of its tensors");
  layer = opened ("{'norm':null}", "");
  CHECK (layer != NULL);
  attn_layer_free (layer);
}

TEST (tensors_that_do_not_fit_are_refused_with_both_numbers)
{
  static const Refusal refusals[] = {
    { "{'linear':'l'}", "", { "blocks[0]: the file has no tensor \"l.weight\"" } },
    { "{'linear':'l'}", "l.weight 4", { "\"l.weight\" has shape [4]", "[1 to 65536, 4]" } },
    { "{'linear':'l'}", "l.weight 4 3", { "\"l.weight\" has shape [4, 3]", "[1 to 65536, 4]", "frames of 4" } },
    { "{'linear':'l'}", "l.weight 0 4", { "\"l.weight\" has shape [0, 4]", "[1 to 65536, 4]" } },
    { "{'linear':'l'}", "l.weight 70000 4", { "\"l.weight\" has shape [70000, 4]", "[1 to 65536, 4]" } },
    { "{'linear':'l'}", "l.weight 3 4; l.bias 4", { "\"l.bias\" has shape [4]", "[3] is needed" } },
    { "{'linear':'l'}", "l.weight 3 4; l.bias 1 3", { "\"l.bias\" has shape [1, 3]", "[3] is needed" } },
    { "{'linear':'l','activation':'softmax'}", "l.weight 3 4", { "activation is \"softmax\"", "sigmoid" } },
    { "{'linear':'l'},{'linear':'m'}",
      "l.weight 3 4; m.weight 4 4",
      { "blocks[1]: \"m.weight\" has shape [4, 4]", "[1 to 65536, 3]" } },
    { "{'norm':'n'}", "n.bias 4", { "blocks[0]: the file has no tensor \"n.weight\"" } },
    { "{'norm':'n'}", "n.weight 3", { "\"n.weight\" has shape [3]", "[4] is needed" } },
    { "{'norm':'n'}", "n.weight 4; n.bias 5", { "\"n.bias\" has shape [5]", "[4] is needed" } },
    { "{'norm':'n','eps':0}", "n.weight 4", { "eps is 0", "1e-30 to 1e+30" } },
    { "{'norm':'n','eps':'small'}", "n.weight 4", { "eps is \"small\"", "expected a number" } },
    { "{'norm':'n','kind':'batch'}", "n.weight 4", { "kind is \"batch\"", "layer, rms" } },
    { "{'affine':'a'}", "a.weight 5", { "\"a.weight\" has shape [5]", "[4] is needed" } },
    { "{'affine':'a'}", "a.weight 4; a.bias 4 4", { "\"a.bias\" has shape [4, 4]", "[4] is needed" } },
    { "{'residual':[{'linear':'l'}]}",
      "l.weight 3 4",
      { "blocks[0]: the blocks of a residual", "frames of 3 values", "frames of 4" } },
  };

  CHECK_REFUSALS (refusals);
  begin_blocks ("{'residual':[{'linear':'l'}]}", "");
  add_tensor (&file, "l.weight", "I8", 4, 4);
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "blocks[0].residual[0]: \"l.weight\" has dtype I8",
               "F32, F16, BF16 or F64");
}

#define QKV "a.q_proj.weight 4 4; a.k_proj.weight 4 4; a.v_proj.weight 4 4"

TEST (attentions_that_do_not_fit_are_refused)
{
  static const Refusal refusals[] = {
    { "{'attention':'a','window':5}", QKV, { "blocks[0]: attention has no key heads" } },
    { "{'attention':'a','heads':2}", QKV, { "blocks[0]: attention has no key window" } },
    { "{'attention':'a','heads':2,'window':0}", QKV, { "blocks[0]: window is 0", "1 to 16777216" } },
    { "{'attention':'a','heads':2,'window':-1}", QKV, { "blocks[0]: window is -1", "1 to 16777216" } },
    { "{'attention':'a','heads':2,'window':2.5}", QKV, { "blocks[0]: window is 2.5", "1 to 16777216" } },
    { "{'attention':'a','heads':2,'window':1e300}", QKV, { "blocks[0]: window is 1e+300", "1 to 16777216" } },
    { "{'attention':'a','heads':2,'window':4294967295}", QKV, { "blocks[0]: window is 4294967295", "16777216" } },
    { "{'attention':'a','heads':2,'window':'5'}", QKV, { "blocks[0]: window is \"5\"", "expected a number" } },
    { "{'attention':'a','heads':2,'window':5,'look-ahead':16777217}", QKV, { "look-ahead is 16777217", "16777216" } },
    { "{'attention':'a','heads':2,'window':5,'scale':-1}", QKV, { "blocks[0]: scale is -1" } },
    { "{'attention':'a','heads':2,'window':5,'position':'absolute'}",
      QKV,
      { "position is \"absolute\"", "none, rope, alibi, relative" } },
    { "{'attention':'a','heads':2,'window':5,'position':1}", QKV, { "position is 1", "expected one of none" } },
    { "{'attention':'a','heads':2,'window':5,'gain':1}", QKV, { "the key \"gain\"", "kind attention" } },
    { "{'attention':'a','heads':3,'window':5}", QKV, { "blocks[0]: \"a.\"", "4 rows", "3 heads" } },
    { "{'attention':'a','heads':2,'kv-heads':4,'window':5}", QKV, { "blocks[0]", "4" } },
    { "{'attention':'a','heads':2,'window':5,'position':'relative'}", QKV, { "blocks[0]", "no relative_bias" } },
    { "{'attention':'a','heads':2,'window':5}",
      "b.q_proj.weight 4 4",
      { "blocks[0]: no attention", "\"a.\"", "\"b.\"" } },
    { "{'attention':'a','heads':2,'window':5}",
      "a.q_proj.weight 4 4; a.k_proj.weight 4 4",
      { "blocks[0]: it has \"a.q_proj.weight\"", "no \"a.v_proj.weight\"" } },
    { "{'glu':'silu'},{'attention':'a','heads':2,'window':5}", QKV, { "blocks[1]", "takes 4 features", "have 2" } },
    { "{'attention':'a','heads':2,'window':5}",
      QKV "; a.q_norm.weight 2",
      { "blocks[0]: it has \"a.q_norm.weight\"", "normalised queries" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'rms'}",
      QKV "; a.q_norm.weight 2",
      { "blocks[0]: it has \"a.q_norm.weight\"", "no \"a.k_norm.weight\"" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'rms'}", QKV, { "qk-norm is rms", "no q_norm.weight" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'batch'}", QKV, { "qk-norm is \"batch\"", "layer, rms" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm-eps':1e-5}", QKV, { "qk-norm-eps, 1e-05", "no key qk-norm" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'none','qk-norm-eps':0.5}",
      QKV,
      { "qk-norm-eps is 0.5", "qk-norm is none" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'layer'}",
      QKV "; a.q_norm.weight 4; a.k_norm.weight 4",
      { "q_norm.weight has 4 values", "a head has 2" } },
    { "{'attention':'a','heads':2,'window':5,'qk-norm':'rms'}",
      QKV "; a.q_norm.weight 2; a.k_norm.weight 2; a.k_norm.bias 2",
      { "k_norm.bias, which takes qk-norm=layer", "qk-norm is rms" } },
    { "{'attention':'a','heads':2,'chunk':4,'chunks':2,'window':17}",
      QKV,
      { "blocks[0]: attention has the key window, 17", "beside chunk, 4" } },
    { "{'attention':'a','heads':2,'chunk':4,'chunks':2,'look-ahead':3}", QKV, { "key look-ahead, 3", "chunk, 4" } },
    { "{'attention':'a','heads':2,'chunk':4}", QKV, { "blocks[0]: attention has the key chunk, 4", "no key chunks" } },
    { "{'attention':'a','heads':2,'window':5,'chunks':4}", QKV, { "the key chunks, 4", "no key chunk," } },
    { "{'attention':'a','heads':2,'chunk':0,'chunks':4}", QKV, { "blocks[0]: chunk is 0", "from 1 to 1048576" } },
    { "{'attention':'a','heads':2,'chunk':2.5,'chunks':4}", QKV, { "blocks[0]: chunk is 2.5", "1048576" } },
    { "{'attention':'a','heads':2,'chunk':4,'chunks':-1}", QKV, { "blocks[0]: chunks is -1", "16777216" } },
    { "{'attention':'a','heads':2,'chunk':4,'chunks':2,'position':'relative'}", QKV, { "relative", "chunk is 4" } },
    { "{'attention':'a','heads':2,'chunk':1024,'chunks':0},{'residual':[{'attention':'a','heads':2,'chunk':1023,"
      "'chunks':0}]},{'attention':'a','heads':2,'chunk':1021,'chunks':0}",
      QKV,
      { "blocks[2]: its chunks repeat after 1021 frames", "1048576" } },
    { "{'attention':'a','heads':2,'chunk':1024,'chunks':0},{'attention':'a','heads':2,'chunk':1023,'chunks':0},"
      "{'activation':'relu'},{'activation':'relu'},{'residual':[{'activation':'relu'}]}",
      QKV,
      { "blocks[4]: ", "after 1047552 frames", "6 blocks", "4194304" } },
    { "{'stack':2},{'linear':'l'},{'attention':'a','heads':2,'chunk':524289,'chunks':0}",
      QKV "; l.weight 4 8",
      { "blocks[2]: its chunks repeat after 524289 frames", "a stride of 2", "1048576" } },
    { "{'attention':'a','heads':2,'window':5}",
      QKV "; a.linear_pos.weight 4 4; a.pos_bias_u 2 2; a.pos_bias_v 2 2",
      { "blocks[0]: it has \"a.linear_pos.weight\"", "position=transformer-xl" } },
    { "{'attention':'a','heads':2,'window':5,'position':'transformer-xl'}",
      QKV,
      { "position is transformer-xl", "no linear_pos.weight" } },
    { "{'attention':'a','heads':2,'window':5,'sinks':3,'position':'transformer-xl'}",
      QKV "; a.linear_pos.weight 4 4; a.pos_bias_u 2 2; a.pos_bias_v 2 2",
      { "blocks[0]: sinks is 3", "transformer-xl" } },
    { "{'attention':'a','heads':2,'window':5,'position':'transformer-xl'}",
      QKV "; a.linear_pos.weight 4 4; a.linear_pos.bias 4; a.pos_bias_u 2 2; a.pos_bias_v 2 2",
      { "blocks[0]: it has \"a.linear_pos.bias\"", "without a bias" } },
    { "{'attention':'a','heads':2,'window':5,'position':'transformer-xl'}",
      QKV "; a.linear_pos.weight 4 6; a.pos_bias_u 2 2; a.pos_bias_v 2 2",
      { "linear_pos.weight has shape [4, 6]", "need [4, 4]" } },
    { "{'stack':1},{'linear':'l'},{'attention':'b','heads':1,'window':5,'position':'transformer-xl'}",
      "l.weight 3 4; b.q_proj.weight 1 3; b.k_proj.weight 1 3; b.v_proj.weight 1 3; b.linear_pos.weight 1 3; "
      "b.pos_bias_u 1 1; b.pos_bias_v 1 1",
      { "blocks[2]: frames have 3 features, an odd number", "transformer-xl" } },
    { "{'attention':'a','heads':2,'window':65536,'position':'transformer-xl'},"
      "{'attention':'a','heads':2,'window':65536,'position':'transformer-xl'},"
      "{'attention':'a','heads':2,'window':65536,'position':'transformer-xl'},"
      "{'attention':'a','heads':2,'window':65536,'position':'transformer-xl'},"
      "{'attention':'a','heads':2,'window':65536,'position':'transformer-xl'}",
      QKV "; a.linear_pos.weight 4 4; a.pos_bias_u 2 2; a.pos_bias_v 2 2",
      { "blocks[4]: the distances", "1310720", "1048576" } },
    { "{'attention':'a','heads':2,'window':5}", QKV "; a.other 2", { "blocks[0]: it has \"a.other\"", "numbers" } },
  };

  CHECK_REFUSALS (refusals);
}

/* "name", a tensor of zeros whose shape is `shape`. */
static void
add_zeros (const char *name, const char *shape, size_t n)
{
  size_t used = strlen (file.header), size = sizeof (float) * n;

  snprintf (file.header + used, sizeof file.header - used,
            ",'%s':{'dtype':'F32','shape':[%s],'data_offsets':[%zu,%zu]}", name, shape, file.n_data,
            file.n_data + size);
  file.n_data += size;
}

/* [out, in, kernel] */
static void
add_kernel (const char *name, unsigned n_outputs, unsigned n_inputs, unsigned kernel)
{
  char shape[48];

  snprintf (shape, sizeof shape, "%u,%u,%u", n_outputs, n_inputs, kernel);
  add_zeros (name, shape, (size_t) n_outputs * n_inputs * kernel);
}

TEST (convolutions_and_stacks_that_do_not_fit_are_refused)
{
  static const struct {
    const char *blocks;
    unsigned n_outputs, n_inputs, kernel;
    const char *a, *b;
  } refusals[] = {
    { "{'conv':'c','stride':0}", 6, 4, 3, "blocks[0]: stride is 0", "1 to 16777216" },
    { "{'conv':'c','dilation':0}", 6, 4, 3, "blocks[0]: dilation is 0", "1 to 16777216" },
    { "{'conv':'c','dilation':1.5}", 6, 4, 3, "blocks[0]: dilation is 1.5", "a whole number" },
    { "{'conv':'c','groups':3}", 6, 4, 3, "blocks[0]: frames of 4 values", "3 groups" },
    { "{'conv':'c','groups':4}", 6, 1, 3, "\"c.weight\" has shape [6, 1, 3]", "[out, 1, kernel]" },
    { "{'conv':'c'}", 6, 3, 3, "\"c.weight\" has shape [6, 3, 3]", "[out, 4, kernel]" },
    { "{'conv':'c'}", 6, 4, 0, "\"c.weight\" has shape [6, 4, 0]", "[out, 4, kernel]" },
    { "{'conv':'c','dilation':16777216}", 6, 4, 3, "a kernel of 3 taps with a dilation of 16777216",
      "16777216 frames" },
    { "{'conv':'c','left':3}", 6, 4, 3, "blocks[0]: left is 3", "0 to 2" },
    { "{'conv':'c','left':-1}", 6, 4, 3, "blocks[0]: left is -1", "0 to 2" },
    { "{'conv':'c','stride':4,'right':6}", 6, 4, 3, "blocks[0]: right is 6", "0 to 5" },
    { "{'conv':'c','activation':'softmax'}", 6, 4, 3, "activation is \"softmax\"", "expected one of" },
    { "{'conv':'d'}", 6, 4, 3, "blocks[0]: the file has no tensor \"d.weight\"", "" },
    { "{'stack':0}", 6, 4, 3, "blocks[0]: stack is 0", "1 to 65536" },
    { "{'stack':20000}", 6, 4, 3, "blocks[0]: 20000 frames of 4 values are 80000", "at most 65536" },
    { "{'residual':[{'stack':1},{'stack':2},{'glu':'none'}]}", 6, 4, 3, "blocks[0].residual[1]: it has a stride of 2",
      "has to be 1" },
    { "{'residual':[{'conv':'c','left':2,'stride':2}]}", 4, 4, 3, "blocks[0].residual[0]: it has a stride of 2", "1" },
    { "{'residual':[{'conv':'c','left':1}]}", 4, 4, 3,
      "blocks[0].residual[0]: from 1099511627776 frames it makes "
      "1099511627775",
      "the numbers must be equal" },
  };

  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    begin_blocks (refusals[i].blocks, "");
    add_kernel ("c.weight", refusals[i].n_outputs, refusals[i].n_inputs, refusals[i].kernel);
    CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", refusals[i].a, refusals[i].b);
  }
}

/* Frames of 4 values: one channel of 4 bins, unless the weight says otherwise. */
TEST (convolutions_over_frequency_that_do_not_fit_are_refused)
{
  static const struct {
    const char *blocks;
    unsigned shape[4];
    const char *a, *b;
  } refusals[] = {
    { "{'conv2d':'c','stride':2}", { 6, 1, 3, 3 }, "blocks[0]: stride is 2", "two whole numbers, such as [2, 2]" },
    { "{'conv2d':'c','stride':[2]}", { 6, 1, 3, 3 }, "blocks[0]: stride is a list of another length", "two" },
    { "{'conv2d':'c','stride':[2,0]}", { 6, 1, 3, 3 }, "blocks[0]: stride has the number 0", "1 to 65536" },
    { "{'conv2d':'c','stride':[16777217,1]}", { 6, 1, 3, 3 }, "stride has the number 16777217", "1 to 16777216" },
    { "{'conv2d':'c','dilation':2}", { 6, 1, 3, 3 }, "blocks[0]: it has the key \"dilation\"", "conv2d" },
    { "{'conv':'c','low':1}", { 6, 1, 3, 3 }, "blocks[0]: it has the key \"low\"", "the kind conv" },
    { "{'conv2d':'c'}", { 6, 3, 3, 1 }, "blocks[0]: frames of 4 values", "the 3 channels of its weight" },
    { "{'conv2d':'c','groups':3}",
      { 6, 1, 3, 1 },
      "frames of 4 values",
      "the 3 channels of its weight (1 in each of 3" },
    { "{'conv2d':'c','groups':4}", { 6, 1, 3, 1 }, "\"c.weight\" has shape [6, 1, 3, 1]", "multiple of the 4 groups" },
    { "{'conv2d':'c'}",
      { 6, 1, 0, 3 },
      "\"c.weight\" has shape [6, 1, 0, 3]",
      "[out, channels / groups, kernel in time" },
    { "{'conv2d':'c','left':3}", { 6, 1, 3, 3 }, "blocks[0]: left is 3", "0 to 2" },
    { "{'conv2d':'c','stride':[4,1],'right':6}", { 6, 1, 3, 3 }, "blocks[0]: right is 6", "0 to 5" },
    { "{'conv2d':'c','low':3}", { 6, 1, 3, 3 }, "blocks[0]: low is 3", "0 to 2" },
    { "{'conv2d':'c','stride':[1,4],'high':6}", { 6, 1, 3, 3 }, "blocks[0]: high is 6", "0 to 5" },
    { "{'conv2d':'c'}", { 6, 1, 3, 6 }, "blocks[0]: its kernel reaches over 6 bins", "there are 4, with the zeros" },
    { "{'conv2d':'c','low':1}", { 6, 1, 3, 6 }, "blocks[0]: its kernel reaches over 6 bins", "there are 5" },
    { "{'conv2d':'c'}", { 1, 1, 1, 65537 }, "blocks[0]: the kernel reaches over 65537 bins", "at most 65536" },
    { "{'conv2d':'c'}", { 20000, 1, 1, 1 }, "blocks[0]: 20000 channels of 4 bins are 80000 values", "at most 65536" },
    { "{'residual':[{'conv2d':'c','left':1}]}",
      { 1, 1, 3, 1 },
      "blocks[0].residual[0]: from 1099511627776 frames",
      "the numbers must be equal" },
    { "{'residual':[{'conv2d':'c'}]}",
      { 2, 1, 1, 1 },
      "blocks[0]: the blocks of a residual give frames of 8 values",
      "frames of 4" },
  };

  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    const unsigned *n = refusals[i].shape;
    char shape[64];

    snprintf (shape, sizeof shape, "%u,%u,%u,%u", n[0], n[1], n[2], n[3]);
    begin_blocks (refusals[i].blocks, "");
    add_zeros ("c.weight", shape, (size_t) n[0] * n[1] * n[2] * n[3]);
    CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", refusals[i].a, refusals[i].b);
  }
}

TEST (strides_and_reaches_beyond_the_limit_are_refused)
{
  static const char conv[] = "{'conv':'c','stride':16777216,'left':0}", two[] = "{'conv':'c','stride':16777216},"
                                                                                "{'conv':'c','stride':16777216}";
  char three[sizeof conv + sizeof two + 1];
  AttnLayer *layer;

  begin_blocks (two, "");
  add_kernel ("c.weight", 4, 4, 1);
  CHECK (open_with (NULL, &layer, NULL) == ATTN_OK);
  CHECK (attn_layer_stride (layer) == UINT64_C (1) << 48 && attn_layer_reach_ahead (layer) == 0);
  attn_layer_free (layer);
  snprintf (three, sizeof three, "%s,%s", two, conv);
  begin_blocks (three, "");
  add_kernel ("c.weight", 4, 4, 1);
  CHECK_FAILS (try_open (&error), ATTN_ERROR_MODEL, "memory", "blocks[2]: the blocks up to here have a stride of",
               "at most 281474976710656");
}

TEST (tensors_that_nobody_computes_with_are_refused)
{
  static const Refusal refusals[] = {
    { "{'linear':'l'}", "l.weight 4 4; l.weight_scale 4", { "blocks[0]: ", "\"l.weight_scale\"", "no block" } },
    { "{'activation':'relu'},{'residual':[{'norm':'n'}]}",
      "n.weight 4; n.running_mean 4",
      { "blocks[1].residual[0]: ", "\"n.running_mean\"" } },
    { "{'norm':'n','kind':'rms'}", "n.weight 4; n.bias 4", { "blocks[0]: ", "\"n.bias\"", "no block" } },
    /* The longest name of a block. */
    { "{'linear':'l'},{'norm':'l.n'}", "l.weight 4 4; l.n.weight 4; l.n.gate 4", { "blocks[1]: ", "\"l.n.gate\"" } },
  };

  CHECK_REFUSALS (refusals);
}

TEST (tensors_of_others_and_harmless_ones_are_let_pass)
{
  AttnLayer *layer = opened ("{'linear':'l'},{'norm':'l.norm'},{'linear':'l'}",
                             "l.weight 4 4; l.norm.weight 4; decoder.weight 7 7; lm 3");

  CHECK (layer != NULL);
  attn_layer_free (layer);
  /* Tensors that would not belong to the attention belong to another block. */
  layer = opened ("{'norm':'a.q_norm'},{'attention':'a','heads':2,'window':5}",
                  QKV "; a.q_norm.weight 4; a.position_ids 9");
  CHECK (layer != NULL);
  attn_layer_free (layer);
}

TEST (values_that_are_not_finite_are_refused_with_the_block)
{
  static const uint8_t nan[] = { 0, 0, 0xc0, 0x7f };
  AttnLayer *layer;

  begin_blocks ("{'residual':[{'linear':'l'}]}", "l.weight 4 4");
  end_file (&file);
  memcpy (file.bytes + file.size - sizeof nan, nan, sizeof nan);
  CHECK_FAILS (attn_encoder_open_memory (file.bytes, file.size, NULL, &layer, &error), ATTN_ERROR_MODEL, "memory",
               "memory: blocks[0].residual[0]: element 15 of \"l.weight\"", "NaN");
}

TEST (options_that_cannot_be_are_refused)
{
  AttnEncoderOptions options = attn_encoder_options_default ();
  AttnLayer *layer;
  AttnError error;

  begin_blocks ("{'activation':'relu'}", "");
  options.n_threads = 65;
  CHECK (open_with (&options, &layer, &error) == ATTN_ERROR_CONFIG && strstr (error.message, "threads is 65") != NULL);
  options = attn_encoder_options_default ();
  options.reserved[3] = 7;
  CHECK (open_with (&options, &layer, &error) == ATTN_ERROR_CONFIG && strstr (error.message, "field 3") != NULL);
}

/* ---- properties of a layer ---- */

/* What chunks reach is not the sum of what each of them reaches: chunks of one length do not add up at all. */
TEST (reach_of_chunks_is_the_largest_of_a_period)
{
  static const struct {
    const char *blocks;
    uint64_t stride, back, ahead, ready_21, of_last, period, last_ready_21;
  } encoders[] = {
    { "{'attention':'a','heads':2,'chunk':4,'chunks':2},{'residual':[{'attention':'a','heads':2,'chunk':4,'chunks':1}]"
      "}",
      1, 15, 3, 20, 3, 4, 20 },
    { "{'attention':'a','heads':2,'chunk':2,'chunks':0},{'attention':'a','heads':2,'window':1,'look-ahead':1},"
      "{'attention':'a','heads':2,'chunk':3,'chunks':0}",
      1, 3, 4, 18, 4, 6, 18 },
    { "{'attention':'a','heads':2,'chunk':1,'chunks':3}", 1, 3, 0, 21, 0, 1, 21 },
    { "{'conv':'c','stride':2},{'attention':'a','heads':2,'chunk':3,'chunks':1}", 2, 10, 4, 9, 4, 6, 9 },
  };

  for (size_t i = 0; i < sizeof encoders / sizeof encoders[0]; i++) {
    AttnLayer *layer;

    begin_blocks (encoders[i].blocks, QKV);
    add_kernel ("c.weight", 4, 4, 1);
    MUST (open_with (NULL, &layer, NULL));
    CHECK_MSG (attn_layer_stride (layer) == encoders[i].stride && attn_layer_reach_back (layer) == encoders[i].back
                   && attn_layer_reach_ahead (layer) == encoders[i].ahead
                   && attn_layer_ready (layer, 21) == encoders[i].ready_21,
               "%zu: %llu, %llu, %llu, %llu", i, (unsigned long long) attn_layer_stride (layer),
               (unsigned long long) attn_layer_reach_back (layer), (unsigned long long) attn_layer_reach_ahead (layer),
               (unsigned long long) attn_layer_ready (layer, 21));
    CHECK (attn_layer_attention_reach_ahead (layer, attn_layer_n_attentions (layer) - 1) == encoders[i].of_last);
    CHECK (attn_layer_attention_ready (layer, attn_layer_n_attentions (layer) - 1, 21) == encoders[i].last_ready_21);
    CHECK (attn_layer_attention_ready (layer, attn_layer_n_attentions (layer), 21) == 0);
    CHECK (attn_layer_period (layer) == encoders[i].period);
    attn_layer_free (layer);
  }
}

TEST (encoder_says_what_it_is)
{
  static const char blocks[] = "{'residual':[{'norm':null},{'attention':'a','heads':2,'window':5,'look-ahead':3}]},"
                               "{'attention':'b','heads':1,'window':9},{'linear':'l'}";
  AttnLayer *layer =
      opened (blocks, QKV "; b.q_proj.weight 4 4; b.k_proj.weight 4 4; b.v_proj.weight 4 4; l.weight 7 4");
  uint32_t numerator, denominator;

  CHECK (layer != NULL);
  CHECK (attn_layer_n_features (layer) == 4 && attn_layer_n_outputs (layer) == 7);
  CHECK (attn_layer_stride (layer) == 1 && attn_layer_reach_back (layer) == 12 && attn_layer_reach_ahead (layer) == 3);
  CHECK (attn_layer_ready (layer, 3) == 0 && attn_layer_ready (layer, 10) == 7 && attn_layer_count (layer, 10) == 10);
  CHECK (attn_layer_n_attentions (layer) == 2 && attn_layer_attention (layer, 2) == NULL);
  CHECK (attn_layer_attention (layer, 0)->window == 5 && attn_layer_attention (layer, 0)->look_ahead == 3);
  CHECK (attn_layer_attention (layer, 1)->window == 9 && attn_layer_attention (layer, 1)->n_features == 4);
  CHECK (strcmp (attn_layer_metadata (layer, "sample-rate"), "16000") == 0);
  CHECK (attn_layer_metadata (layer, "bins") == NULL);
  attn_layer_frame_rate (layer, &numerator, &denominator);
  CHECK (numerator == 0 && denominator == 1);
  attn_layer_free (layer);

  begin ("{'version':1,'features':4,'frame-rate':[25,2],'blocks':[{'activation':'relu'}]}");
  CHECK (open_with (NULL, &layer, NULL) == ATTN_OK);
  attn_layer_frame_rate (layer, &numerator, &denominator);
  CHECK (numerator == 25 && denominator == 2 && attn_layer_n_attentions (layer) == 0);
  attn_layer_free (layer);
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (checkpoint_without_an_entry_says_how_to_export_it);
  RUN (entry_that_is_not_an_encoder_is_refused);
  RUN (amounts_beyond_the_limits_are_refused);
  RUN (residuals_that_are_too_deep_are_refused);
  RUN (parameters_beyond_the_limit_are_refused);
  RUN (small_file_makes_no_large_layer);
  RUN (layer_takes_the_memory_of_its_parameters_once);
  RUN (keys_that_make_no_block_are_refused_with_their_path);
  RUN (names_that_are_none_are_refused);
  RUN (tensors_that_do_not_fit_are_refused_with_both_numbers);
  RUN (attentions_that_do_not_fit_are_refused);
  RUN (convolutions_and_stacks_that_do_not_fit_are_refused);
  RUN (convolutions_over_frequency_that_do_not_fit_are_refused);
  RUN (strides_and_reaches_beyond_the_limit_are_refused);
  RUN (tensors_that_nobody_computes_with_are_refused);
  RUN (tensors_of_others_and_harmless_ones_are_let_pass);
  RUN (values_that_are_not_finite_are_refused_with_the_block);
  RUN (options_that_cannot_be_are_refused);
  RUN (reach_of_chunks_is_the_largest_of_a_period);
  RUN (encoder_says_what_it_is);
  return check_done ();
}
