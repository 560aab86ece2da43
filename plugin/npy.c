/* gst-attention: the header of NumPy's .npy files, and their values.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "npy.h"

#include <math.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_SIZE 6

/* How much of a header an error message quotes. */
#define QUOTE_SIZE 40

#define NATIVE_DESCR (G_BYTE_ORDER == G_LITTLE_ENDIAN ? "<f4" : ">f4")

G_DEFINE_QUARK (npy - error - quark, npy_error)

/* The part of the dict that is not read yet. */
typedef struct {
  const gchar *p, *end;
} Cursor;

/* The entries of the dict, with one flag per key. */
typedef struct {
  gboolean has_descr, has_fortran_order, has_shape;
  NpyArray *array;
} Dict;

/* FALSE, with a sentence. */
#define refuse(error, code, ...) (g_set_error (error, NPY_ERROR, code, __VA_ARGS__), FALSE)

/* The first of `size` bytes in a form that a message can hold. Transfer full. */
static gchar *
quote (const gchar *text, gsize size)
{
  gchar *copy = g_strndup (text, MIN (size, QUOTE_SIZE));
  gchar *escaped = g_strescape (copy, "\"");
  gchar *quoted = g_strconcat (escaped, size > QUOTE_SIZE ? "..." : NULL, NULL);

  g_free (copy);
  g_free (escaped);
  return quoted;
}

static gboolean
refuse_quoting (GError **error, NpyError code, const gchar *before, NpySlice slice, const gchar *after)
{
  gchar *quoted = quote (slice.text, slice.size);
  gboolean ok = refuse (error, code, "%s%s%s", before, quoted, after);

  g_free (quoted);
  return ok;
}

static void
skip_space (Cursor *cursor)
{
  while (cursor->p < cursor->end && g_ascii_isspace (*cursor->p))
    cursor->p++;
}

static NpySlice
rest (const Cursor *cursor)
{
  NpySlice slice = { cursor->p, cursor->end - cursor->p };

  return slice;
}

/* Skips white space, and then `c`. */
static gboolean
accept (Cursor *cursor, gchar c)
{
  skip_space (cursor);
  if (cursor->p == cursor->end || *cursor->p != c)
    return FALSE;
  cursor->p++;
  return TRUE;
}

static gboolean
accept_word (Cursor *cursor, const gchar *word)
{
  gsize size = strlen (word);

  if ((gsize) (cursor->end - cursor->p) < size || memcmp (cursor->p, word, size) != 0)
    return FALSE;
  cursor->p += size;
  return TRUE;
}

/* A string between ' or ". Names of types and keys need no escapes, so a backslash ends the attempt. */
static gboolean
accept_string (Cursor *cursor, NpySlice *string)
{
  gchar delimiter = accept (cursor, '\'') ? '\'' : accept (cursor, '"') ? '"' : '\0';

  string->text = cursor->p;
  if (delimiter == '\0')
    return FALSE;
  while (cursor->p < cursor->end && *cursor->p != delimiter && *cursor->p != '\\')
    cursor->p++;
  string->size = cursor->p - string->text;
  return accept (cursor, delimiter);
}

/* Decimal digits; the L that Python 2 wrote behind them is skipped, as NumPy does. FALSE also above 2^63-1. */
static gboolean
accept_number (Cursor *cursor, guint64 *number)
{
  const gchar *first;

  skip_space (cursor);
  first = cursor->p;
  *number = 0;
  for (; cursor->p < cursor->end && g_ascii_isdigit (*cursor->p); cursor->p++) {
    guint digit = *cursor->p - '0';

    if (*number > ((guint64) G_MAXINT64 - digit) / 10)
      return FALSE;
    *number = *number * 10 + digit;
  }
  if (cursor->p == first)
    return FALSE;
  accept_word (cursor, "L");
  return TRUE;
}

/* (), (7,), (7, 8), (7, 8,) and so on. (7) is a number in Python, not a shape. */
static gboolean
accept_shape (Cursor *cursor, NpyArray *array)
{
  gboolean comma = TRUE;

  if (!accept (cursor, '('))
    return FALSE;
  array->shape.text = cursor->p - 1;
  while (!accept (cursor, ')')) {
    guint64 dim;

    if (!comma || !accept_number (cursor, &dim))
      return FALSE;
    if (array->n_dims < NPY_MAX_DIMS)
      array->dims[array->n_dims] = dim;
    array->n_dims++;
    comma = accept (cursor, ',');
  }
  array->shape.size = cursor->p - array->shape.text;
  return array->n_dims != 1 || comma;
}

static gboolean
is_key (const NpySlice *key, const gchar *name)
{
  return key->size == strlen (name) && memcmp (key->text, name, key->size) == 0;
}

/* Leaves the cursor where the value starts when it is none. */
static gboolean
accept_value (Cursor *cursor, const NpySlice *key, Dict *dict)
{
  if (is_key (key, "descr") && !dict->has_descr)
    return dict->has_descr = accept_string (cursor, &dict->array->descr);
  if (is_key (key, "shape") && !dict->has_shape)
    return dict->has_shape = accept_shape (cursor, dict->array);
  if (is_key (key, "fortran_order") && !dict->has_fortran_order) {
    skip_space (cursor);
    dict->array->fortran_order = accept_word (cursor, "True");
    return dict->has_fortran_order = dict->array->fortran_order || accept_word (cursor, "False");
  }
  return FALSE;
}

static gboolean
refuse_value (GError **error, const NpySlice *key, NpySlice value)
{
  if (is_key (key, "descr"))
    return refuse_quoting (error, NPY_ERROR_WRONG_TYPE, "the header has descr: ", value,
                           ", expected the name of one type, such as '<f4'");
  if (is_key (key, "fortran_order"))
    return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header has fortran_order: ", value,
                           ", expected True or False, once");
  return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header has shape: ", value,
                         ", expected one tuple of numbers from 0 to 2^63-1");
}

/* One `key: value`. */
static gboolean
read_entry (Cursor *cursor, Dict *dict, GError **error)
{
  NpySlice start = rest (cursor), key;

  if (!accept_string (cursor, &key) || !accept (cursor, ':'))
    return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header has ", start, " where a key was expected");
  if (!is_key (&key, "descr") && !is_key (&key, "shape") && !is_key (&key, "fortran_order"))
    return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header has the key '", key,
                           "', expected descr, fortran_order and shape alone");
  skip_space (cursor);
  start = rest (cursor);
  return accept_value (cursor, &key, dict) || refuse_value (error, &key, start);
}

static gboolean
read_dict (Cursor *cursor, Dict *dict, GError **error)
{
  gboolean comma = TRUE;

  if (!accept (cursor, '{'))
    return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header starts with ", rest (cursor),
                           ", expected a dict in braces");
  while (!accept (cursor, '}')) {
    if (!comma)
      return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header has ", rest (cursor),
                             " where a comma or the closing brace was expected");
    if (!read_entry (cursor, dict, error))
      return FALSE;
    comma = accept (cursor, ',');
  }
  skip_space (cursor);
  if (cursor->p != cursor->end)
    return refuse_quoting (error, NPY_ERROR_DAMAGED, "the header goes on with ", rest (cursor),
                           " behind the closing brace");
  if (!dict->has_descr || !dict->has_fortran_order || !dict->has_shape)
    return refuse (error, NPY_ERROR_DAMAGED, "the header has no %s",
                   !dict->has_descr   ? "descr"
                   : !dict->has_shape ? "shape"
                                      : "fortran_order");
  return TRUE;
}

static gboolean
use_descr (NpyHeader *header, NpySlice descr, GError **error)
{
  const gchar *text = descr.text;

  if (descr.size != 3 || (text[0] != '<' && text[0] != '>') || text[1] != 'f'
      || (text[2] != '2' && text[2] != '4' && text[2] != '8'))
    return refuse_quoting (error, NPY_ERROR_WRONG_TYPE, "the array has values of type '", descr,
                           "', expected '<f2', '<f4' or '<f8', or '>' for '<': save array.astype(numpy.float32)");
  header->big_endian = text[0] == '>';
  header->value_size = text[2] - '0';
  return TRUE;
}

static gboolean
use_shape (NpyHeader *header, const NpyArray *array, GError **error)
{
  guint64 n_features = array->n_dims == 2 ? array->dims[1] : 1;

  if (array->n_dims < 1 || array->n_dims > 2)
    return refuse_quoting (
        error, NPY_ERROR_WRONG_TYPE, "the array has the shape ", array->shape,
        ", expected two dimensions, (frames, features), or one, (frames,): save array.reshape(frames, features)");
  if (n_features < 1 || n_features > NPY_MAX_FEATURES)
    return refuse_quoting (error, NPY_ERROR_WRONG_TYPE, "the array has the shape ", array->shape,
                           ", expected 1 to " G_STRINGIFY (NPY_MAX_FEATURES) " features per frame");
  header->n_features = n_features;
  header->n_frames = array->dims[0];
  if (header->n_frames > ((guint64) G_MAXINT64 - header->header_size) / npy_header_frame_size (header))
    return refuse_quoting (error, NPY_ERROR_WRONG_TYPE, "the array has the shape ", array->shape,
                           ", expected a file of less than 2^63 bytes");
  return TRUE;
}

static gboolean
use_array (NpyHeader *header, const NpyArray *array, GError **error)
{
  memset (header, 0, sizeof *header);
  header->header_size = array->header_size;
  if (!use_descr (header, array->descr, error))
    return FALSE;
  if (array->fortran_order)
    return refuse (error, NPY_ERROR_WRONG_TYPE,
                   "the array has Fortran order, feature by feature, expected C order, frame by frame: "
                   "save numpy.ascontiguousarray(array)");
  return use_shape (header, array, error);
}

/* Magic and version. On NPY_OK the length has come, too: it stands in front of data + *dict_offset. */
static NpyResult
read_version (const guint8 *data, gsize size, gsize *dict_offset, gsize *needed, GError **error)
{
  NpySlice magic = { (const gchar *) data, MIN (size, MAGIC_SIZE) };

  if (magic.size > 0 && memcmp (data, MAGIC, magic.size) != 0) {
    refuse_quoting (error, NPY_ERROR_WRONG_TYPE, "this is not a .npy file: it starts with \"", magic,
                    "\", expected \"\\223NUMPY\"");
    return NPY_REFUSED;
  }
  *needed = MAGIC_SIZE + 2;
  if (size < *needed)
    return NPY_MORE;
  if (data[6] < 1 || data[6] > 3 || data[7] != 0) {
    g_set_error (error, NPY_ERROR, NPY_ERROR_WRONG_TYPE,
                 "the file has version %u.%u of the .npy format, expected 1.0, 2.0 or 3.0", data[6], data[7]);
    return NPY_REFUSED;
  }
  *needed = *dict_offset = data[6] == 1 ? 10 : 12;
  return size < *needed ? NPY_MORE : NPY_OK;
}

/* Magic, version and length. On NPY_OK *dict_size bytes follow at data + *dict_offset. */
static NpyResult
read_preamble (const guint8 *data, gsize size, gsize *dict_offset, gsize *dict_size, gsize *needed, GError **error)
{
  NpyResult result = read_version (data, size, dict_offset, needed, error);

  if (result != NPY_OK)
    return result;
  *dict_size = data[8] | (gsize) data[9] << 8;
  if (*dict_offset > 10)
    *dict_size |= (gsize) data[10] << 16 | (gsize) data[11] << 24;
  if (*dict_size > NPY_MAX_DICT_SIZE) {
    g_set_error (error, NPY_ERROR, NPY_ERROR_DAMAGED,
                 "the header has %" G_GSIZE_FORMAT " bytes, expected no more than " G_STRINGIFY (NPY_MAX_DICT_SIZE),
                 *dict_size);
    return NPY_REFUSED;
  }
  *needed = *dict_offset + *dict_size;
  return size < *needed ? NPY_MORE : NPY_OK;
}

/* With no more than one dimension to go along, both orders are the same bytes. */
static gboolean
has_one_order (const NpyArray *array)
{
  guint i, n_long = 0;

  for (i = 0; i < MIN (array->n_dims, NPY_MAX_DIMS); i++) {
    if (array->dims[i] == 0)
      return TRUE;
    n_long += array->dims[i] > 1;
  }
  return n_long <= 1 && array->n_dims <= NPY_MAX_DIMS;
}

NpyResult
npy_array_read (NpyArray *array, const guint8 *data, gsize size, gsize *needed, GError **error)
{
  gsize dict_offset, dict_size;
  NpyResult result = read_preamble (data, size, &dict_offset, &dict_size, needed, error);
  Dict dict = { .array = array };
  Cursor cursor;

  if (result != NPY_OK)
    return result;
  memset (array, 0, sizeof *array);
  array->header_size = dict_offset + dict_size;
  cursor.p = (const gchar *) data + dict_offset;
  cursor.end = cursor.p + dict_size;
  if (!read_dict (&cursor, &dict, error))
    return NPY_REFUSED;
  array->fortran_order = array->fortran_order && !has_one_order (array);
  return NPY_OK;
}

NpyResult
npy_header_read (NpyHeader *header, const guint8 *data, gsize size, gsize *needed, GError **error)
{
  NpyArray array;
  NpyResult result = npy_array_read (&array, data, size, needed, error);

  if (result != NPY_OK)
    return result;
  return use_array (header, &array, error) ? NPY_OK : NPY_REFUSED;
}

void
npy_header_write (guint8 header[NPY_HEADER_SIZE], guint64 n_frames, guint n_features)
{
  gchar *dict = g_strdup_printf ("{'descr': '%s', 'fortran_order': False, 'shape': (%" G_GUINT64_FORMAT ", %u), }",
                                 NATIVE_DESCR, n_frames, n_features);

  memset (header, ' ', NPY_HEADER_SIZE);
  memcpy (header, MAGIC "\x01\x00", MAGIC_SIZE + 2);
  header[8] = NPY_HEADER_SIZE - 10;
  header[9] = 0;
  memcpy (header + 10, dict, strlen (dict));
  header[NPY_HEADER_SIZE - 1] = '\n';
  g_free (dict);
}

gsize
npy_header_frame_size (const NpyHeader *header)
{
  return (gsize) header->n_features * header->value_size;
}

guint64
npy_header_data_size (const NpyHeader *header)
{
  return header->n_frames * npy_header_frame_size (header);
}

/* binary16 to binary32, exact. */
static gfloat
half_to_float (guint16 half)
{
  guint32 sign = (guint32) (half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023;
  guint32 bits;
  gfloat value;

  if (exponent == 0) {
    value = fraction * 0x1p-24f; /* zero or subnormal */
    memcpy (&bits, &value, sizeof bits);
  } else if (exponent == 31) {
    bits = 0x7f800000 | fraction << 13; /* infinity or NaN */
  } else {
    bits = (exponent + 127 - 15) << 23 | fraction << 13;
  }
  bits |= sign;
  memcpy (&value, &bits, sizeof value);
  return value;
}

static gfloat
double_to_float (guint64 bits)
{
  gdouble value;

  memcpy (&value, &bits, sizeof value);
  return (gfloat) value;
}

static gfloat
read_value (const NpyHeader *header, const guint8 *data)
{
  guint16 bits16;
  guint32 bits32;
  guint64 bits64;
  gfloat value;

  switch (header->value_size) {
  case 2:
    memcpy (&bits16, data, sizeof bits16);
    return half_to_float (header->big_endian ? GUINT16_FROM_BE (bits16) : GUINT16_FROM_LE (bits16));
  case 8:
    memcpy (&bits64, data, sizeof bits64);
    return double_to_float (header->big_endian ? GUINT64_FROM_BE (bits64) : GUINT64_FROM_LE (bits64));
  default:
    memcpy (&bits32, data, sizeof bits32);
    bits32 = header->big_endian ? GUINT32_FROM_BE (bits32) : GUINT32_FROM_LE (bits32);
    memcpy (&value, &bits32, sizeof value);
    return value;
  }
}

void
npy_values_to_float (const NpyHeader *header, const guint8 *data, gsize n_values, gfloat *values)
{
  gboolean is_native = header->big_endian == (G_BYTE_ORDER == G_BIG_ENDIAN);
  gsize i;

  if (header->value_size == sizeof (gfloat) && is_native) {
    memcpy (values, data, n_values * sizeof (gfloat));
    return;
  }
  for (i = 0; i < n_values; i++)
    values[i] = read_value (header, data + i * header->value_size);
}

gboolean
npy_values_are_nan (const NpyHeader *header, const guint8 *data, gsize n_values)
{
  gsize i;

  for (i = 0; i < n_values; i++)
    if (!isnan (read_value (header, data + i * header->value_size)))
      return FALSE;
  return TRUE;
}
