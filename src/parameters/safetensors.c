/*
 * libattn: safetensors files: their header, and the values of tensors as float32.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* open, fstat, pread, strdup, strerror_r */
#define _FILE_OFFSET_BITS 64

#include "parameters/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/half.h"
#include "base/quote.h"
#include "base/status.h"

#define LENGTH_SIZE 8 /* bytes of the header's length in front of the header */
/*
 * Of the header, whose reference implementation allows 100 MB. A hundred and fifty thousand tensors fit, which are more
 * than any published file has; a file that is all header is then refused, or read, in a second.
 */
#define MAX_HEADER (16u << 20)
#define MAX_CONTAINERS (512u << 10) /* objects and arrays: a tensor has three */
#define MAX_VALUES (1u << 20)       /* as commas: a tensor of rank 4 has seven */

#define CHUNK_SIZE 16384 /* bytes read at once; a multiple of every element size */
#define METADATA_KEY "__metadata__"

struct AttnSafetensors {
  char *path;            /* as shown in messages */
  int fd;                /* -1: in memory */
  const uint8_t *memory; /* [size], owned by the caller; NULL: in a file */
  uint64_t size;         /* of the whole file */
  struct timespec mtime; /* when it was opened: of the last write */
  uint64_t data_begin;   /* offset of the data in the file */
  json_t *header;        /* holds the names */
  AttnTensor *tensors;   /* [n_tensors], ascending in their data */
  size_t n_tensors;
};

/* ---- values ---- */

/*
 * These give the bits of a float32. They work on integers so that no floating-point mode of the caller changes a
 * parameter.
 */

static uint32_t
f32_bits (const uint8_t *bytes)
{
  return (uint32_t) attn_get_number (bytes, 4);
}

static uint32_t
bf16_bits (const uint8_t *bytes)
{
  return attn_float_bits (attn_float_from_bf16 ((uint16_t) attn_get_number (bytes, 2)));
}

static uint32_t
f16_bits (const uint8_t *bytes)
{
  return attn_float_bits (attn_float_from_f16 ((uint16_t) attn_get_number (bytes, 2)));
}

static uint64_t
shift_right_to_even (uint64_t value, unsigned n)
{
  uint64_t rest = value & ((UINT64_C (1) << n) - 1), half = UINT64_C (1) << (n - 1), result = value >> n;

  return result + (rest > half || (rest == half && (result & 1)));
}

static uint32_t
f64_bits (const uint8_t *bytes)
{
  uint64_t bits = attn_get_number (bytes, 8), fraction = bits & ((UINT64_C (1) << 52) - 1);
  uint32_t sign = (uint32_t) (bits >> 32) & 0x80000000;
  int exponent = (int) (bits >> 52 & 0x7ff) - 1023; /* the value is 1.fraction * 2^exponent */

  if (exponent == 1024)
    return sign | 0x7f800000 | (fraction != 0);
  if (exponent > 127)
    return sign | 0x7f800000;
  if (exponent < -126 - 24) /* below half of 2^-149, the smallest subnormal */
    return sign;
  fraction |= UINT64_C (1) << 52;
  if (exponent < -126)
    return sign | (uint32_t) shift_right_to_even (fraction, (unsigned) (29 - 126 - exponent));
  /* The leading 1 of the fraction adds one to the exponent; a carry of the rounding does the same, up to infinity. */
  return sign | (((uint32_t) (exponent + 126) << 23) + (uint32_t) shift_right_to_even (fraction, 29));
}

/* Every dtype of the format; `bits` NULL: parameters cannot have it. */
static const struct Dtype {
  const char *name;
  unsigned n_bits;
  AttnDtype dtype;
  uint32_t (*bits) (const uint8_t *bytes);
} dtypes[] = {
  { "F32", 32, ATTN_DTYPE_F32, f32_bits },    { "F16", 16, ATTN_DTYPE_F16, f16_bits },
  { "BF16", 16, ATTN_DTYPE_BF16, bf16_bits }, { "F64", 64, ATTN_DTYPE_F64, f64_bits },
  { "BOOL", 8, ATTN_DTYPE_OTHER, NULL },      { "F4", 4, ATTN_DTYPE_OTHER, NULL },
  { "F6_E2M3", 6, ATTN_DTYPE_OTHER, NULL },   { "F6_E3M2", 6, ATTN_DTYPE_OTHER, NULL },
  { "U8", 8, ATTN_DTYPE_OTHER, NULL },        { "I8", 8, ATTN_DTYPE_OTHER, NULL },
  { "F8_E5M2", 8, ATTN_DTYPE_OTHER, NULL },   { "F8_E4M3", 8, ATTN_DTYPE_OTHER, NULL },
  { "F8_E8M0", 8, ATTN_DTYPE_OTHER, NULL },   { "I16", 16, ATTN_DTYPE_OTHER, NULL },
  { "U16", 16, ATTN_DTYPE_OTHER, NULL },      { "I32", 32, ATTN_DTYPE_OTHER, NULL },
  { "U32", 32, ATTN_DTYPE_OTHER, NULL },      { "C64", 64, ATTN_DTYPE_OTHER, NULL },
  { "I64", 64, ATTN_DTYPE_OTHER, NULL },      { "U64", 64, ATTN_DTYPE_OTHER, NULL },
};

static const struct Dtype *
find_dtype (const char *name)
{
  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
    if (strcmp (dtypes[i].name, name) == 0)
      return &dtypes[i];
  return NULL;
}

AttnShapeText
attn_tensor_shape (const AttnTensor *tensor)
{
  AttnShapeText shape = { "[" };
  size_t used = 1;

  for (unsigned i = 0; i < tensor->n_dims; i++)
    used += (size_t) snprintf (shape.text + used, sizeof shape.text - used, "%s%" PRIu64, i == 0 ? "" : ", ",
                               tensor->dims[i]);
  memcpy (shape.text + used, "]", 2);
  return shape;
}

/* ---- bytes ---- */

static AttnStatus
fail_memory (const char *path, size_t size, AttnError *error)
{
  if (size == SIZE_MAX)
    return attn_fail (error, ATTN_ERROR_MEMORY, "%s: its header would be too large to address", path);
  return attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory: %zu bytes for its header", path, size);
}

static AttnStatus
fail_errno (const char *path, const char *what, AttnError *error)
{
  char text[128];

  if (strerror_r (errno, text, sizeof text) != 0)
    snprintf (text, sizeof text, "error %d", errno);
  return attn_fail (error, ATTN_ERROR_FILE, "%s: %s: %s", path, what, text);
}

/* pread () may be interrupted and may return less than it was asked for. */
static AttnStatus
read_bytes (AttnSafetensors *file, uint64_t offset, uint8_t *bytes, size_t n, AttnError *error)
{
  if (file->memory != NULL) {
    memcpy (bytes, file->memory + offset, n);
    return ATTN_OK;
  }
  while (n > 0) {
    ssize_t n_read = pread (file->fd, bytes, n, (off_t) offset);

    if (n_read < 0 && errno == EINTR)
      continue;
    if (n_read < 0)
      return fail_errno (file->path, "cannot be read", error);
    if (n_read == 0)
      return attn_fail (error, ATTN_ERROR_FILE,
                        "%s: truncated after it was opened: it had %" PRIu64 " bytes, and ends before byte %" PRIu64
                        " now",
                        file->path, file->size, offset);
    bytes += n_read;
    offset += (uint64_t) n_read;
    n -= (size_t) n_read;
  }
  return ATTN_OK;
}

static const struct Dtype *
dtype_of (const AttnTensor *tensor)
{
  return find_dtype (tensor->dtype_name);
}

static AttnStatus
fail_not_finite (AttnSafetensors *file, const AttnTensor *tensor, uint64_t i, uint32_t bits, AttnError *error)
{
  const char *what = (bits & 0x7fffff) != 0 ? "NaN" : tensor->dtype == ATTN_DTYPE_F64 ? "beyond float32" : "infinite";

  return attn_fail (error, ATTN_ERROR_MODEL,
                    "%s: element %" PRIu64 " of %s (%s %s) is %s, but parameters must be finite", file->path, i,
                    attn_quote (tensor->name).text, tensor->dtype_name, attn_tensor_shape (tensor).text, what);
}

/* `first` is the number of the first element, for the message. */
static AttnStatus
convert (AttnSafetensors *file, const AttnTensor *tensor, const uint8_t *bytes, uint64_t first, size_t n, float *values,
         AttnError *error)
{
  const struct Dtype *dtype = dtype_of (tensor);

  for (size_t i = 0; i < n; i++) {
    uint32_t bits = dtype->bits (bytes + i * (dtype->n_bits / 8));

    if ((bits & 0x7f800000) == 0x7f800000)
      return fail_not_finite (file, tensor, first + i, bits, error);
    memcpy (&values[i], &bits, sizeof bits);
  }
  return ATTN_OK;
}

AttnStatus
attn_safetensors_read (AttnSafetensors *file, const AttnTensor *tensor, uint64_t first, uint64_t n, float *values,
                       AttnError *error)
{
  uint8_t chunk[CHUNK_SIZE];
  size_t element_size = dtype_of (tensor)->n_bits / 8, n_chunk;

  if (dtype_of (tensor)->bits == NULL)
    return attn_fail (error, ATTN_ERROR_MODEL, "%s: %s has dtype %s, but parameters are F32, F16, BF16 or F64",
                      file->path, attn_quote (tensor->name).text, tensor->dtype_name);
  for (; n > 0; n -= n_chunk, first += n_chunk, values += n_chunk) {
    uint64_t offset = file->data_begin + tensor->begin + first * element_size;
    AttnStatus status;

    n_chunk = CHUNK_SIZE / element_size;
    if (n_chunk > n)
      n_chunk = (size_t) n;
    if ((status = read_bytes (file, offset, chunk, n_chunk * element_size, error))
        || (status = convert (file, tensor, chunk, first, n_chunk, values, error)))
      return status;
  }
  return attn_succeed (error);
}

/* ---- one entry of the header ---- */

static const char *
json_type_name (const json_t *json)
{
  static const char *const names[] = { [JSON_OBJECT] = "an object",
                                       [JSON_ARRAY] = "an array",
                                       [JSON_STRING] = "a string",
                                       [JSON_INTEGER] = "a number",
                                       [JSON_REAL] = "a number with a fraction",
                                       [JSON_TRUE] = "true",
                                       [JSON_FALSE] = "false",
                                       [JSON_NULL] = "null" };

  return json == NULL ? "missing" : names[json_typeof (json)];
}

/* `what` completes "X has ..."; `instead` names the thing that was found. */
static AttnStatus
fail_entry (AttnSafetensors *file, const AttnTensor *tensor, const char *what, const char *instead, AttnError *error)
{
  return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s has %s, but that is %s", file->path,
                    attn_quote (tensor->name).text, what, instead);
}

static AttnStatus
parse_dtype (AttnSafetensors *file, AttnTensor *tensor, const json_t *entry, AttnError *error)
{
  const json_t *name = json_object_get (entry, "dtype");
  const struct Dtype *dtype;

  if (!json_is_string (name))
    return fail_entry (file, tensor, "to have a dtype, a string", json_type_name (name), error);
  dtype = find_dtype (json_string_value (name));
  if (dtype == NULL)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s has dtype %s, which the format does not know", file->path,
                      attn_quote (tensor->name).text, attn_quote (json_string_value (name)).text);
  tensor->dtype = dtype->dtype;
  tensor->dtype_name = dtype->name;
  return ATTN_OK;
}

/* A JSON integer that is not negative; jansson refuses those beyond int64. */
static AttnStatus
parse_count (AttnSafetensors *file, const AttnTensor *tensor, const char *what, const json_t *json, uint64_t *count,
             AttnError *error)
{
  if (!json_is_integer (json))
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s of %s has to hold whole numbers, but one is %s", file->path,
                      what, attn_quote (tensor->name).text, json_type_name (json));
  if (json_integer_value (json) < 0)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s of %s has the negative number %" JSON_INTEGER_FORMAT,
                      file->path, what, attn_quote (tensor->name).text, json_integer_value (json));
  *count = (uint64_t) json_integer_value (json);
  return ATTN_OK;
}

static AttnStatus
parse_shape (AttnSafetensors *file, AttnTensor *tensor, const json_t *entry, AttnError *error)
{
  const json_t *shape = json_object_get (entry, "shape");
  size_t n_dims = json_array_size (shape);

  if (!json_is_array (shape))
    return fail_entry (file, tensor, "to have a shape, an array", json_type_name (shape), error);
  if (n_dims > ATTN_TENSOR_MAX_DIMS)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s has %zu dimensions, but at most %d are supported", file->path,
                      attn_quote (tensor->name).text, n_dims, ATTN_TENSOR_MAX_DIMS);
  tensor->n_elements = 1;
  for (size_t i = 0; i < n_dims; i++) {
    uint64_t dim = 0;
    AttnStatus status = parse_count (file, tensor, "the shape", json_array_get (shape, i), &dim, error);

    if (status != ATTN_OK)
      return status;
    tensor->dims[i] = dim;
    tensor->n_dims = (unsigned) i + 1;
    if (dim != 0 && tensor->n_elements > UINT64_MAX / dim)
      return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s has more elements than 64 bits can count: shape %s ...",
                        file->path, attn_quote (tensor->name).text, attn_tensor_shape (tensor).text);
    tensor->n_elements *= dim;
  }
  return ATTN_OK;
}

static AttnStatus
parse_offsets (AttnSafetensors *file, AttnTensor *tensor, const json_t *entry, AttnError *error)
{
  const json_t *offsets = json_object_get (entry, "data_offsets");
  AttnStatus status;

  if (!json_is_array (offsets))
    return fail_entry (file, tensor, "to have data_offsets, an array", json_type_name (offsets), error);
  if (json_array_size (offsets) != 2)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s has %zu data_offsets, but there are 2, begin and end",
                      file->path, attn_quote (tensor->name).text, json_array_size (offsets));
  if ((status = parse_count (file, tensor, "data_offsets", json_array_get (offsets, 0), &tensor->begin, error))
      || (status = parse_count (file, tensor, "data_offsets", json_array_get (offsets, 1), &tensor->end, error)))
    return status;
  if (tensor->begin > tensor->end)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: %s has data_offsets %" PRIu64 " to %" PRIu64 ", which end before they begin", file->path,
                      attn_quote (tensor->name).text, tensor->begin, tensor->end);
  return ATTN_OK;
}

static AttnStatus
check_size (AttnSafetensors *file, const AttnTensor *tensor, AttnError *error)
{
  unsigned n_bits = dtype_of (tensor)->n_bits;
  uint64_t n_bytes = tensor->n_elements / 8 * n_bits + tensor->n_elements % 8 * n_bits / 8;

  /* Eight elements take n_bits bytes; only the types narrower than a byte can leave one unfilled. */
  if (tensor->n_elements / 8 >= UINT64_MAX / n_bits || tensor->n_elements % 8 * n_bits % 8 != 0)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: shape %s of %s, dtype %s, is not a whole number of bytes below 2^64", file->path,
                      attn_tensor_shape (tensor).text, attn_quote (tensor->name).text, tensor->dtype_name);
  if (tensor->end - tensor->begin != n_bytes)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: %s has data_offsets %" PRIu64 " to %" PRIu64 ", which are %" PRIu64
                      " bytes, but shape %s of %s takes %" PRIu64 " bytes",
                      file->path, attn_quote (tensor->name).text, tensor->begin, tensor->end,
                      tensor->end - tensor->begin, attn_tensor_shape (tensor).text, tensor->dtype_name, n_bytes);
  return ATTN_OK;
}

/* Keys that the format does not know are ignored, as in the reference implementation. */
static AttnStatus
parse_tensor (AttnSafetensors *file, AttnTensor *tensor, const char *name, const json_t *entry, AttnError *error)
{
  AttnStatus status;

  tensor->name = name;
  if (!json_is_object (entry))
    return fail_entry (file, tensor, "to be an object with dtype, shape and data_offsets", json_type_name (entry),
                       error);
  if ((status = parse_dtype (file, tensor, entry, error)) || (status = parse_shape (file, tensor, entry, error))
      || (status = parse_offsets (file, tensor, entry, error)))
    return status;
  return check_size (file, tensor, error);
}

/* ---- the whole header ---- */

/* The reference implementation takes null as no metadata. */
static AttnStatus
check_metadata (AttnSafetensors *file, AttnError *error)
{
  json_t *metadata = json_object_get (file->header, METADATA_KEY), *value;
  const char *key;

  if (metadata != NULL && !json_is_null (metadata) && !json_is_object (metadata))
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: \"" METADATA_KEY "\" is %s, but it has to be an object of strings",
                      file->path, json_type_name (metadata));
  json_object_foreach (metadata, key, value)
  {
    if (!json_is_string (value))
      return attn_fail (error, ATTN_ERROR_FORMAT, "%s: %s in \"" METADATA_KEY "\" is %s, but it has to be a string",
                        file->path, attn_quote (key).text, json_type_name (value));
  }
  return ATTN_OK;
}

static int
compare_tensors (const void *a, const void *b)
{
  const AttnTensor *left = a, *right = b;

  if (left->begin != right->begin)
    return left->begin < right->begin ? -1 : 1;
  if (left->end != right->end) /* empty tensors come first */
    return left->end < right->end ? -1 : 1;
  return strcmp (left->name, right->name);
}

static AttnStatus
parse_tensors (AttnSafetensors *file, AttnError *error)
{
  size_t n = json_object_size (file->header), size = attn_size_mul (n, sizeof (AttnTensor));
  const char *name;
  json_t *entry;

  file->tensors = attn_alloc (size);
  if (file->tensors == NULL)
    return fail_memory (file->path, size, error);
  json_object_foreach (file->header, name, entry)
  {
    AttnStatus status;

    if (strcmp (name, METADATA_KEY) == 0)
      continue;
    status = parse_tensor (file, &file->tensors[file->n_tensors], name, entry, error);
    if (status != ATTN_OK)
      return status;
    file->n_tensors++;
  }
  qsort (file->tensors, file->n_tensors, sizeof (AttnTensor), compare_tensors);
  return ATTN_OK;
}

static AttnStatus
fail_gap (AttnSafetensors *file, const AttnTensor *before, const AttnTensor *tensor, AttnError *error)
{
  if (before == NULL)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: %s begins at byte %" PRIu64
                      " of the data, but it is the first tensor, which must begin at byte 0",
                      file->path, attn_quote (tensor->name).text, tensor->begin);
  return attn_fail (error, ATTN_ERROR_FORMAT,
                    "%s: %s begins at byte %" PRIu64 " of the data, but %s before it ends at byte %" PRIu64 ": %s",
                    file->path, attn_quote (tensor->name).text, tensor->begin, attn_quote (before->name).text,
                    before->end,
                    tensor->begin < before->end ? "they overlap" : "the bytes between them belong to no tensor");
}

/* Checks that the tensors follow each other without gaps, from the first byte of the data to the last. */
static AttnStatus
check_layout (AttnSafetensors *file, AttnError *error)
{
  uint64_t data_size = file->size - file->data_begin, end = 0;
  const AttnTensor *last = NULL;

  for (size_t i = 0; i < file->n_tensors; i++) {
    if (file->tensors[i].begin != end)
      return fail_gap (file, last, &file->tensors[i], error);
    last = &file->tensors[i];
    end = last->end;
  }
  if (end > data_size)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: truncated: %s ends at byte %" PRIu64 " of the data, but the file holds %" PRIu64
                      " bytes of data",
                      file->path, attn_quote (last->name).text, end, data_size);
  if (end < data_size)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: the tensors end at byte %" PRIu64 " of the data, but the file holds %" PRIu64
                      " bytes of data",
                      file->path, end, data_size);
  return ATTN_OK;
}

/*
 * Called before anything is allocated: parsed, "{}," takes a hundred times the memory of its text. It only counts, and
 * leaves it to the parser to name other faults.
 */
static AttnStatus
check_amount (AttnSafetensors *file, const char *text, size_t n, AttnError *error)
{
  size_t n_containers = 0, n_commas = 0;
  bool in_string = false;

  for (size_t i = 0; i < n; i++) {
    if (text[i] == '"')
      in_string = !in_string;
    else if (in_string)
      i += text[i] == '\\';
    else if (text[i] == '{' || text[i] == '[')
      n_containers++;
    else
      n_commas += text[i] == ',';
  }
  if (n_containers > MAX_CONTAINERS)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: the header has %zu objects and arrays, but at most %u are allowed",
                      file->path, n_containers, MAX_CONTAINERS);
  if (n_commas > MAX_VALUES)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: the header has %zu values, but at most %u are allowed", file->path,
                      n_commas + 1, MAX_VALUES);
  return ATTN_OK;
}

static AttnStatus
parse_header (AttnSafetensors *file, const char *text, size_t n, AttnError *error)
{
  json_error_t json_error;
  AttnStatus status;

  /* The format demands it, so that its files can be recognised by the ninth byte. */
  if (n == 0 || text[0] != '{')
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: not a safetensors file: the header of %zu bytes does not begin with \"{\"", file->path, n);
  status = check_amount (file, text, n, error);
  if (status != ATTN_OK)
    return status;
  json_error.text[0] = '\0';
  file->header = json_loadb (text, n, JSON_REJECT_DUPLICATES, &json_error);
  if (file->header != NULL)
    return ATTN_OK;
  /* Out of memory is the one failure for which jansson has no words. */
  if (json_error.text[0] == '\0' || json_error_code (&json_error) == json_error_out_of_memory)
    return fail_memory (file->path, n, error);
  return attn_fail (error, ATTN_ERROR_FORMAT, "%s: the header cannot be parsed as JSON: %s (byte %d of %zu)",
                    file->path, attn_quote_bare (json_error.text).text, json_error.position, n);
}

/* Other files that people hand over by mistake. */
static const char *
guess_format (const uint8_t *start)
{
  static const struct {
    char magic[5];
    const char *what;
  } formats[] = {
    { "PK\3\4", ": it looks like a zip archive, as torch.save () writes; save the state_dict as safetensors" },
    { "\x80\2\x8a\n", ": it looks like a Python pickle, as torch.save () writes; save the state_dict as safetensors" },
    { "\x93NUM", ": it looks like a NumPy file" },
    { "\x89PNG", ": it looks like a PNG image" },
    { "GGUF", ": it looks like a GGUF model" },
  };

  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (memcmp (start, formats[i].magic, 4) == 0)
      return formats[i].what;
  return "";
}

/* Called before anything is allocated: a length is only a claim. */
static AttnStatus
read_header_length (AttnSafetensors *file, size_t *n, AttnError *error)
{
  uint8_t start[LENGTH_SIZE];
  uint64_t length;
  AttnStatus status;

  if (file->size < LENGTH_SIZE)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: not a safetensors file: such files begin with %d bytes, but it has %" PRIu64, file->path,
                      LENGTH_SIZE, file->size);
  status = read_bytes (file, 0, start, LENGTH_SIZE, error);
  if (status != ATTN_OK)
    return status;
  length = attn_get_number (start, LENGTH_SIZE);
  if (length > file->size - LENGTH_SIZE)
    return attn_fail (error, ATTN_ERROR_FORMAT,
                      "%s: truncated, or not a safetensors file: its header would have %" PRIu64
                      " bytes, but the file has %" PRIu64 "%s",
                      file->path, length, file->size, guess_format (start));
  if (length > MAX_HEADER)
    return attn_fail (error, ATTN_ERROR_FORMAT, "%s: the header has %" PRIu64 " bytes, but at most %u are allowed",
                      file->path, length, MAX_HEADER);
  file->data_begin = LENGTH_SIZE + length;
  *n = (size_t) length;
  return ATTN_OK;
}

static AttnStatus
read_json (AttnSafetensors *file, size_t n, AttnError *error)
{
  uint8_t *text;
  AttnStatus status;

  if (file->memory != NULL)
    return parse_header (file, (const char *) file->memory + LENGTH_SIZE, n, error);
  text = attn_alloc (n);
  if (text == NULL)
    return fail_memory (file->path, n, error);
  status = read_bytes (file, LENGTH_SIZE, text, n, error);
  if (status == ATTN_OK)
    status = parse_header (file, (const char *) text, n, error);
  attn_free (text);
  return status;
}

static AttnStatus
read_header (AttnSafetensors *file, AttnError *error)
{
  size_t n = 0;
  AttnStatus status;

  if ((status = read_header_length (file, &n, error)) || (status = read_json (file, n, error))
      || (status = check_metadata (file, error)) || (status = parse_tensors (file, error)))
    return status;
  return check_layout (file, error);
}

/* ---- opening ---- */

static AttnSafetensors *
new_file (const char *path, AttnError *error)
{
  AttnSafetensors *file = calloc (1, sizeof *file);
  AttnPathText shown = attn_quote_path (path);

  if (file == NULL)
    goto fail;
  file->fd = -1;
  file->path = strdup (shown.text);
  if (file->path == NULL)
    goto fail;
  return file;

fail:
  attn_fail (error, ATTN_ERROR_MEMORY, "%s: out of memory while opening it", shown.text);
  attn_safetensors_close (file);
  return NULL;
}

static AttnStatus
open_path (AttnSafetensors *file, const char *path, AttnError *error)
{
  struct stat about;

  /* Does not wait for the writer of a fifo, which is refused below. */
  file->fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file->fd < 0)
    return fail_errno (file->path, "cannot be opened", error);
  if (fstat (file->fd, &about) != 0)
    return fail_errno (file->path, "cannot be examined", error);
  if (S_ISDIR (about.st_mode))
    return attn_fail (error, ATTN_ERROR_FILE, "%s: is a directory, but a safetensors file is needed", file->path);
  if (!S_ISREG (about.st_mode))
    return attn_fail (
        error, ATTN_ERROR_FILE,
        "%s: is not a regular file (a pipe, a socket or a device), but only a regular file can be read at any place",
        file->path);
  file->size = (uint64_t) about.st_size;
  file->mtime = about.st_mtim;
  return ATTN_OK;
}

static AttnStatus
finish_open (AttnSafetensors **file, AttnStatus status, AttnError *error)
{
  if (status == ATTN_OK)
    status = read_header (*file, error);
  if (status == ATTN_OK)
    return attn_succeed (error);
  status = attn_safetensors_end (*file, status, error);
  *file = NULL;
  return status;
}

AttnStatus
attn_safetensors_open (const char *path, AttnSafetensors **file, AttnError *error)
{
  *file = new_file (path, error);
  if (*file == NULL)
    return ATTN_ERROR_MEMORY;
  return finish_open (file, open_path (*file, path, error), error);
}

AttnStatus
attn_safetensors_open_memory (const void *data, size_t size, AttnSafetensors **file, AttnError *error)
{
  *file = new_file ("memory", error);
  if (*file == NULL)
    return ATTN_ERROR_MEMORY;
  (*file)->memory = data;
  (*file)->size = size;
  return finish_open (file, ATTN_OK, error);
}

/* Two writes within one tick of the file system's clock (some milliseconds) look like one. */
static bool
has_changed (const AttnSafetensors *file)
{
  struct stat now;

  return file->fd >= 0 && fstat (file->fd, &now) == 0
         && ((uint64_t) now.st_size != file->size || now.st_mtim.tv_sec != file->mtime.tv_sec
             || now.st_mtim.tv_nsec != file->mtime.tv_nsec);
}

AttnStatus
attn_safetensors_end (AttnSafetensors *file, AttnStatus status, AttnError *error)
{
  if (file != NULL && status != ATTN_ERROR_MEMORY && status != ATTN_ERROR_FILE && has_changed (file))
    status =
        attn_fail (error, ATTN_ERROR_FILE,
                   "%s: was written to while it was read: write a new version beside it, and rename that", file->path);
  attn_safetensors_close (file);
  return status;
}

void
attn_safetensors_close (AttnSafetensors *file)
{
  if (file == NULL)
    return;
  if (file->fd >= 0)
    close (file->fd);
  json_decref (file->header);
  attn_free (file->tensors);
  free (file->path);
  free (file);
}

size_t
attn_safetensors_n_tensors (const AttnSafetensors *file)
{
  return file->n_tensors;
}

const AttnTensor *
attn_safetensors_tensor (const AttnSafetensors *file, size_t i)
{
  return &file->tensors[i];
}

const char *
attn_safetensors_metadata (const AttnSafetensors *file, const char *key)
{
  return json_string_value (json_object_get (json_object_get (file->header, METADATA_KEY), key));
}

size_t
attn_safetensors_n_metadata (const AttnSafetensors *file)
{
  return json_object_size (json_object_get (file->header, METADATA_KEY));
}

AttnStatus
attn_safetensors_each_metadata (const AttnSafetensors *file,
                                AttnStatus (*take) (void *data, const char *key, const char *value), void *data)
{
  AttnStatus status = ATTN_OK;
  const char *key;
  json_t *value;

  json_object_foreach (json_object_get (file->header, METADATA_KEY), key, value)
  {
    if ((status = take (data, key, json_string_value (value))) != ATTN_OK)
      break;
  }
  return status;
}

const char *
attn_safetensors_path (const AttnSafetensors *file)
{
  return file->path;
}
