/*
 * Runs cases of the ONNX operator Attention, opsets 23 to 25, on attn_sdpa (). A case is a JSON file beside .npy files:
 * README.md says what is in it. Prints TAP; fails when a case does.  SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   onnx-case CASE.json...
 */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "npy.h"
#include "sdpa/types.h"

/* Of float32 outputs. float16: one unit in the last place of the largest output. */
#define RELATIVE_TOLERANCE 1e-3
#define ABSOLUTE_TOLERANCE 1e-7

enum { Q, K, V, ATTN_MASK, PAST_KEY, PAST_VALUE, NONPAD_KV_SEQLEN, N_INPUTS };
enum { Y, PRESENT_KEY, PRESENT_VALUE, QK_MATMUL_OUTPUT, N_OUTPUTS };

static const gchar *const input_names[] = { "Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen",
                                            NULL };
static const gchar *const output_names[] = { "Y", "present_key", "present_value", "qk_matmul_output", NULL };

/* The type of a tensor: an AttnType, or one of these. */
enum { KIND_BOOL = 100, KIND_INT64 };

typedef struct {
  const gchar *name;
  gchar *values; /* NULL: there is none */
  guint kind;
  guint n_dims;
  guint64 dims[NPY_MAX_DIMS];
} Tensor;

typedef struct {
  json_t *json;
  gchar *folder;
  gint64 opset;
  Tensor inputs[N_INPUTS];
  Tensor expected[N_OUTPUTS]; /* without values: not compared */
  Tensor got[N_OUTPUTS];      /* without dimensions: not asked for */
  gint64 mode;                /* qk_matmul_output_mode */
  AttnSdpa sdpa;
  gboolean is_refused; /* by the specification's rules; otherwise a sentence gives the failure */
  gchar *sentence;
} Case;

/* ---- sentences ---- */

static gboolean fail (Case *c, const gchar *format, ...) G_GNUC_PRINTF (2, 3);
static gboolean refuse (Case *c, const gchar *format, ...) G_GNUC_PRINTF (2, 3);

/* The case cannot be run, or its result is not the expected one. Returns FALSE. */
static gboolean
fail (Case *c, const gchar *format, ...)
{
  va_list args;

  va_start (args, format);
  c->sentence = g_strdup_vprintf (format, args);
  va_end (args);
  return FALSE;
}

/* The operator does not take this. Returns FALSE. */
static gboolean
refuse (Case *c, const gchar *format, ...)
{
  va_list args;

  va_start (args, format);
  c->sentence = g_strdup_vprintf (format, args);
  va_end (args);
  c->is_refused = TRUE;
  return FALSE;
}

/* (2, 3, 4). Transfer full. */
static gchar *
shape_text (const Tensor *tensor)
{
  GString *text = g_string_new ("(");
  guint i;

  for (i = 0; i < tensor->n_dims; i++)
    g_string_append_printf (text, "%s%" G_GUINT64_FORMAT, i > 0 ? ", " : "", tensor->dims[i]);
  g_string_append (text, tensor->n_dims == 1 ? ",)" : ")");
  return g_string_free (text, FALSE);
}

/* "NAME has the shape (1, 2), expected ..." */
static gboolean refuse_shape (Case *c, const Tensor *tensor, const gchar *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
refuse_shape (Case *c, const Tensor *tensor, const gchar *format, ...)
{
  gchar *shape = shape_text (tensor), *expected;
  va_list args;

  va_start (args, format);
  expected = g_strdup_vprintf (format, args);
  va_end (args);
  refuse (c, "%s has the shape %s, expected %s", tensor->name, shape, expected);
  g_free (expected);
  g_free (shape);
  return FALSE;
}

/* ---- reading ---- */

static gsize
kind_size (guint kind)
{
  return kind == KIND_BOOL ? 1 : kind == KIND_INT64 ? sizeof (gint64) : attn_type_size (kind);
}

/* G_MAXSIZE: too many to be counted. */
static gsize
n_values (const Tensor *tensor)
{
  gsize n = 1;
  guint i;

  for (i = 0; i < tensor->n_dims; i++)
    if (tensor->dims[i] > G_MAXUINT32 || !g_size_checked_mul (&n, n, tensor->dims[i]))
      return G_MAXSIZE;
  return n;
}

static gboolean
use_descr (Case *c, Tensor *tensor, NpySlice descr)
{
  static const struct {
    const gchar *descr;
    guint kind;
  } kinds[] = { { "<f4", ATTN_TYPE_F32 }, { "<f2", ATTN_TYPE_F16 }, { "|b1", KIND_BOOL }, { "<i8", KIND_INT64 } };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (descr.size == 3 && memcmp (descr.text, kinds[i].descr, 3) == 0) {
      tensor->kind = kinds[i].kind;
      return TRUE;
    }
  return fail (c, "%s has values of type '%.*s', expected '<f4', '<f2', '|b1' or '<i8'", tensor->name,
               (int) MIN (descr.size, 40), descr.text);
}

/* Takes shape and values from a file in memory. */
static gboolean
use_file (Case *c, Tensor *tensor, const gchar *data, gsize size)
{
  GError *error = NULL;
  NpyArray array;
  gsize needed;
  NpyResult result = npy_array_read (&array, (const guint8 *) data, size, &needed, &error);

  if (result != NPY_OK) {
    fail (c, "%s: %s", tensor->name, result == NPY_MORE ? "the file ends in its header" : error->message);
    g_clear_error (&error);
    return FALSE;
  }
  if (!use_descr (c, tensor, array.descr))
    return FALSE;
  if (array.fortran_order || array.n_dims > NPY_MAX_DIMS)
    return fail (c,
                 "%s has %u dimensions in %s order, expected up to 4 in C order: save numpy.ascontiguousarray(array)",
                 tensor->name, array.n_dims, array.fortran_order ? "Fortran" : "C");
  tensor->n_dims = array.n_dims;
  memcpy (tensor->dims, array.dims, sizeof tensor->dims);
  size -= array.header_size;
  if (size % kind_size (tensor->kind) != 0 || size / kind_size (tensor->kind) != n_values (tensor))
    return fail (c, "%s has %" G_GSIZE_FORMAT " bytes of values, but the shape %.*s", tensor->name, size,
                 (int) MIN (array.shape.size, 80), array.shape.text);
  tensor->values = g_malloc0 (size + 1);
  memcpy (tensor->values, data + array.header_size, size);
  return TRUE;
}

static gboolean
read_tensor (Case *c, Tensor *tensor, const gchar *file)
{
  gchar *path = g_build_filename (c->folder, file, NULL), *data = NULL;
  GError *error = NULL;
  gsize size;
  gboolean done;

  if (g_file_get_contents (path, &data, &size, &error))
    done = use_file (c, tensor, data, size);
  else
    done = fail (c, "%s: %s", tensor->name, error->message);
  g_clear_error (&error);
  g_free (data);
  g_free (path);
  return done;
}

/* The files that the object `key` names; null stands for no file. `tensors` as many as `names`. */
static gboolean
read_tensors (Case *c, const gchar *key, const gchar *const *names, Tensor *tensors)
{
  const char *name;
  json_t *object = json_object_get (c->json, key), *file;
  guint i;

  for (i = 0; names[i] != NULL; i++)
    tensors[i].name = names[i];
  json_object_foreach (object, name, file)
  {
    for (i = 0; names[i] != NULL && strcmp (names[i], name) != 0;)
      i++;
    if (names[i] == NULL || (!json_is_string (file) && !json_is_null (file)))
      return fail (c, "\"%s\" has \"%s\", expected one of the operator's names, and a file or null", key, name);
    if (json_is_string (file) && !read_tensor (c, &tensors[i], json_string_value (file)))
      return FALSE;
  }
  return TRUE;
}

static gboolean
check_keys (Case *c)
{
  static const gchar *const keys[] = { "about", "opset", "attributes", "inputs", "outputs", "refused", NULL };
  const char *name;
  json_t *value;

  json_object_foreach (c->json, name, value) if (!g_strv_contains (keys, name)) return fail (
      c, "the case has \"%s\", expected about, opset, attributes, inputs, outputs or refused", name);
  if (!json_is_object (json_object_get (c->json, "inputs")) || !json_is_object (json_object_get (c->json, "outputs")))
    return fail (c, "the case has no objects \"inputs\" and \"outputs\"");
  return TRUE;
}

static gboolean
read_case (Case *c, const gchar *path)
{
  json_error_t error;

  c->json = json_load_file (path, JSON_REJECT_DUPLICATES, &error);
  if (c->json == NULL)
    return fail (c, "line %d: %s", error.line, error.text);
  if (!check_keys (c))
    return FALSE;
  c->opset = json_integer_value (json_object_get (c->json, "opset"));
  if (c->opset < 23 || c->opset > 25)
    return fail (c, "\"opset\" is %" G_GINT64_FORMAT ", expected 23 to 25", c->opset);
  c->folder = g_path_get_dirname (path);
  return read_tensors (c, "inputs", input_names, c->inputs) && read_tensors (c, "outputs", output_names, c->expected);
}

static gboolean
wants (const Case *c, guint output)
{
  return json_object_get (json_object_get (c->json, "outputs"), output_names[output]) != NULL;
}

/* ---- attributes ---- */

static json_t *
attribute (const Case *c, const gchar *name)
{
  return json_object_get (json_object_get (c->json, "attributes"), name);
}

static gint64
integer (const Case *c, const gchar *name, gint64 absent)
{
  json_t *value = attribute (c, name);

  return value != NULL ? json_integer_value (value) : absent;
}

/* Checks that the attributes belong to the operator and have its types. */
static gboolean
check_attributes (Case *c)
{
  static const gchar *const integers[] = { "is_causal",         "q_num_heads", "kv_num_heads", "qk_matmul_output_mode",
                                           "softmax_precision", NULL };
  static const gchar *const windows[] = { "left_window_size", "right_window_size", NULL };
  static const gchar *const reals[] = { "scale", "softcap", NULL };
  const char *name;
  json_t *value;

  json_object_foreach (json_object_get (c->json, "attributes"), name, value)
  {
    gboolean is_window = g_strv_contains (windows, name), is_real = g_strv_contains (reals, name);

    if (!is_window && !is_real && !g_strv_contains (integers, name))
      return fail (c, "\"attributes\" has \"%s\", which is no attribute of the operator", name);
    if (is_real ? !json_is_number (value) : !json_is_integer (value))
      return fail (c, "%s is no %s", name, is_real ? "number" : "whole number");
    if (is_window && c->opset < 25)
      return refuse (c, "%s is an attribute from opset 25 on, but the case has opset %" G_GINT64_FORMAT, name,
                     c->opset);
  }
  return TRUE;
}

static gboolean
use_window (Case *c, const gchar *name, uint32_t *window)
{
  gint64 size = integer (c, name, -1);

  if (size < -1)
    return refuse (c, "%s is %" G_GINT64_FORMAT ", expected -1 (unbounded) or more", name, size);
  *window = size == -1 || size > ATTN_UNLIMITED ? ATTN_UNLIMITED : (uint32_t) size;
  return TRUE;
}

static gboolean
use_attributes (Case *c)
{
  AttnSdpa *s = &c->sdpa;
  gint64 is_causal = integer (c, "is_causal", 0), precision = integer (c, "softmax_precision", ATTN_TYPE_DEFAULT);
  json_t *scale = attribute (c, "scale");

  c->mode = integer (c, "qk_matmul_output_mode", 0);
  if (c->mode < 0 || c->mode > 3)
    return refuse (c, "qk_matmul_output_mode is %" G_GINT64_FORMAT ", expected 0 to 3", c->mode);
  if (is_causal < 0 || is_causal > 1)
    return refuse (c, "is_causal is %" G_GINT64_FORMAT ", expected 0 or 1", is_causal);
  if (attribute (c, "softmax_precision") && (precision < 1 || precision > ATTN_TYPE_BF16))
    return refuse (c, "softmax_precision is %" G_GINT64_FORMAT ", expected 1, 10, 11 or 16", precision);
  s->is_causal = (uint32_t) is_causal;
  s->softmax_type = (uint32_t) precision;
  s->softcap = (float) json_number_value (attribute (c, "softcap"));
  if (scale != NULL) /* 0 would be the default; as the smallest number it makes every score 0 as well */
    s->scale = json_number_value (scale) == 0 ? DBL_MIN : (float) json_number_value (scale);
  return use_window (c, "left_window_size", &s->left_window) && use_window (c, "right_window_size", &s->right_window);
}

/* ---- shapes ---- */

/* batch, heads, sequence and width of Q, K or V; `heads`: the attribute for three dimensions. */
static gboolean
use_shape (Case *c, const Tensor *tensor, const gchar *heads, guint64 sizes[4])
{
  gint64 n_heads = integer (c, heads, 0);

  if (tensor->n_dims == 4) {
    memcpy (sizes, tensor->dims, 4 * sizeof *sizes);
    if (attribute (c, heads) != NULL && (c->opset >= 25 || n_heads != (gint64) sizes[1]))
      return refuse (c, "%s is %" G_GINT64_FORMAT " and %s has 4 dimensions: it goes with 3", heads, n_heads,
                     tensor->name);
    return TRUE;
  }
  if (n_heads <= 0)
    return refuse (c, "%s is %" G_GINT64_FORMAT ", but %s has 3 dimensions: expected 1 or more", heads, n_heads,
                   tensor->name);
  if (tensor->dims[2] % n_heads != 0)
    return refuse_shape (c, tensor, "a last dimension that %s, %" G_GINT64_FORMAT ", divides", heads, n_heads);
  sizes[0] = tensor->dims[0];
  sizes[1] = n_heads;
  sizes[2] = tensor->dims[1];
  sizes[3] = tensor->dims[2] / n_heads;
  return TRUE;
}

static gboolean
check_ranks (Case *c)
{
  guint i;

  for (i = Q; i <= V; i++) {
    const Tensor *tensor = &c->inputs[i];

    if (tensor->values == NULL)
      return refuse (c, "%s is not there", tensor->name);
    if (tensor->n_dims < 3 || tensor->n_dims != c->inputs[Q].n_dims)
      return refuse_shape (c, tensor, "3 or 4 dimensions, and Q, K and V alike");
  }
  return TRUE;
}

static gboolean
use_shapes (Case *c)
{
  AttnSdpa *s = &c->sdpa;
  guint64 q[4], k[4], v[4];

  if (!check_ranks (c) || !use_shape (c, &c->inputs[Q], "q_num_heads", q)
      || !use_shape (c, &c->inputs[K], "kv_num_heads", k) || !use_shape (c, &c->inputs[V], "kv_num_heads", v))
    return FALSE;
  if (k[0] != q[0] || v[0] != q[0] || v[1] != k[1] || v[2] != k[2] || k[3] != q[3])
    return refuse (c,
                   "batches, heads, sequence, head size are Q %u, %u, %u, %u, K %u, %u, %u, %u and V %u, %u, %u, %u: "
                   "expected one batch, the head size of Q and K alike, heads and sequence of K and V alike",
                   (guint) q[0], (guint) q[1], (guint) q[2], (guint) q[3], (guint) k[0], (guint) k[1], (guint) k[2],
                   (guint) k[3], (guint) v[0], (guint) v[1], (guint) v[2], (guint) v[3]);
  s->layout = c->inputs[Q].n_dims == 3 ? ATTN_LAYOUT_HEADS_INSIDE : ATTN_LAYOUT_HEADS_OUTSIDE;
  s->n_batches = (uint32_t) q[0];
  s->n_heads = (uint32_t) q[1];
  s->n_queries = (uint32_t) q[2];
  s->dk = (uint32_t) q[3];
  s->n_kv_heads = (uint32_t) k[1];
  s->n_keys = (uint32_t) k[2];
  s->dv = (uint32_t) v[3];
  if (s->n_kv_heads == 0 || s->dv == 0)
    return refuse_shape (c, &c->inputs[V], "no dimension of heads or values that is 0");
  return TRUE;
}

/* past_key or past_value; empty ones are none. */
static gboolean
use_past (Case *c, guint input, guint32 width, guint kind, const void **past)
{
  const Tensor *tensor = &c->inputs[input];
  AttnSdpa *s = &c->sdpa;

  if (tensor->values == NULL)
    return TRUE;
  if (tensor->kind != kind)
    return refuse (c, "%s has another type than %s", tensor->name, input_names[input - PAST_KEY + K]);
  if (tensor->n_dims != 4 || tensor->dims[0] != s->n_batches || tensor->dims[1] != s->n_kv_heads
      || tensor->dims[3] != width
      || (input == PAST_VALUE && c->inputs[PAST_KEY].values != NULL && tensor->dims[2] != s->n_past))
    return refuse_shape (c, tensor, "(%u, %u, the past's length, %u)", s->n_batches, s->n_kv_heads, width);
  s->n_past = (uint32_t) tensor->dims[2];
  *past = tensor->values;
  return TRUE;
}

static gboolean
use_padding (Case *c)
{
  const Tensor *tensor = &c->inputs[NONPAD_KV_SEQLEN];
  AttnSdpa *s = &c->sdpa;

  if (tensor->values == NULL) {
    s->query_offset = s->n_past; /* without padding ONNX puts the queries behind the past, not at the end */
    return TRUE;
  }
  if (c->opset < 24)
    return refuse (c, "nonpad_kv_seqlen is an input from opset 24 on, but the case has opset %" G_GINT64_FORMAT,
                   c->opset);
  if (tensor->kind != KIND_INT64)
    return refuse (c, "nonpad_kv_seqlen has another type than int64");
  if (tensor->n_dims != 1 || tensor->dims[0] != s->n_batches)
    return refuse_shape (c, tensor, "(%u,)", s->n_batches);
  s->n_valid_keys = (const int64_t *) tensor->values;
  return TRUE;
}

/* Its dimensions are the last ones of batches, heads, queries, keys; a scalar has none, and holds for all of them. */
static gboolean
use_mask (Case *c)
{
  const Tensor *mask = &c->inputs[ATTN_MASK];
  AttnSdpa *s = &c->sdpa;
  uint32_t *sizes[] = { &s->mask_batches, &s->mask_heads, &s->mask_queries, &s->mask_keys };
  guint i;

  if (mask->values == NULL)
    return TRUE;
  if (mask->kind != KIND_BOOL && mask->kind != c->inputs[Q].kind)
    return refuse (c, "attn_mask is neither bool nor of the type of Q");
  for (i = 0; i < 4; i++) {
    guint missing = 4 - mask->n_dims;

    *sizes[i] = i < missing ? 1 : (uint32_t) mask->dims[i - missing];
    if (*sizes[i] == 0 && n_values (&c->inputs[Q]) != 0)
      return refuse_shape (c, mask, "no dimension that is 0");
  }
  s->bool_mask = mask->kind == KIND_BOOL ? (const uint8_t *) mask->values : NULL;
  s->float_mask = mask->kind == KIND_BOOL ? NULL : mask->values;
  s->pad_mask = c->opset >= 24 && mask->n_dims > 0;
  return TRUE;
}

static gboolean
check_kinds (Case *c)
{
  guint i;

  for (i = Q; i <= V; i++)
    if (c->inputs[i].kind >= KIND_BOOL)
      return refuse (c, "%s is neither float32 nor float16", input_names[i]);
  if (c->inputs[K].kind != c->inputs[Q].kind)
    return refuse (c, "K has another type than Q");
  c->sdpa.type = c->inputs[Q].kind;
  c->sdpa.value_type = c->inputs[V].kind;
  return TRUE;
}

/* ---- outputs ---- */

/* Makes room for an output of four dimensions, if it is asked for; NULL: it is not. */
static void *
make_output (Case *c, guint output, guint kind, const guint32 dims[4])
{
  Tensor *tensor = &c->got[output];
  guint i;

  if (!wants (c, output))
    return NULL;
  tensor->name = output_names[output];
  tensor->kind = kind;
  tensor->n_dims = 4;
  for (i = 0; i < 4; i++)
    tensor->dims[i] = dims[i];
  tensor->values = g_malloc0 (n_values (tensor) * kind_size (kind) + 1);
  return tensor->values;
}

static void
make_outputs (Case *c)
{
  AttnSdpa *s = &c->sdpa;
  guint32 n_total = s->n_past + s->n_keys;
  const guint32 y[] = { s->n_batches, s->n_heads, s->n_queries, s->dv };
  const guint32 key[] = { s->n_batches, s->n_kv_heads, n_total, s->dk };
  const guint32 value[] = { s->n_batches, s->n_kv_heads, n_total, s->dv };
  const guint32 scores[] = { s->n_batches, s->n_heads, s->n_queries, n_total };
  void *qk;

  s->out = make_output (c, Y, s->type, y);
  s->present_key = make_output (c, PRESENT_KEY, s->type, key);
  s->present_value = make_output (c, PRESENT_VALUE, s->value_type, value);
  qk = make_output (c, QK_MATMUL_OUTPUT, s->type, scores);
  if (c->mode == 3)
    s->weights = qk;
  else
    s->scores = qk;
  s->scores_stage = c->mode == 3 ? ATTN_SCORES_PRODUCT : (uint32_t) c->mode;
  if (s->layout == ATTN_LAYOUT_HEADS_INSIDE && s->out != NULL) {
    c->got[Y].n_dims = 3;
    c->got[Y].dims[1] = s->n_queries;
    c->got[Y].dims[2] = (guint64) s->n_heads * s->dv;
  }
}

static gboolean
describe (Case *c)
{
  AttnSdpa *s = &c->sdpa;

  *s = attn_sdpa_default ();
  if (!check_attributes (c) || !use_shapes (c) || !check_kinds (c) || !use_attributes (c)
      || !use_past (c, PAST_KEY, s->dk, s->type, &s->past_key)
      || !use_past (c, PAST_VALUE, s->dv, s->value_type, &s->past_value) || !use_padding (c) || !use_mask (c))
    return FALSE;
  s->query = c->inputs[Q].values;
  s->key = c->inputs[K].values;
  s->value = c->inputs[V].values;
  make_outputs (c);
  return TRUE;
}

/* ---- comparing ---- */

static float
value_at (const Tensor *tensor, gsize i)
{
  float value;

  attn_type_load (tensor->kind, &value, tensor->values, i, 1);
  return value;
}

/* The distance from the largest finite value to its neighbour in float16. */
static double
unit_of_largest (const Tensor *tensor)
{
  double largest = 0x1p-14;
  gsize i;

  for (i = 0; i < n_values (tensor); i++)
    if (isfinite (value_at (tensor, i)))
      largest = fmax (largest, fabs (value_at (tensor, i)));
  return ldexp (1, ilogb (largest) - 10);
}

static gboolean
is_close (double got, double expected, double absolute, double relative)
{
  if (isnan (got) || isnan (expected) || isinf (expected))
    return got == expected || (isnan (got) && isnan (expected));
  return fabs (got - expected) <= absolute + relative * fabs (expected);
}

static gboolean
compare_values (Case *c, const Tensor *got, const Tensor *expected)
{
  gboolean is_half = expected->kind == ATTN_TYPE_F16;
  double absolute = is_half ? unit_of_largest (expected) : ABSOLUTE_TOLERANCE;
  double relative = is_half ? 0 : RELATIVE_TOLERANCE;
  gsize i, n = n_values (expected), n_wrong = 0, first = 0;

  for (i = 0; i < n; i++)
    if (!is_close (value_at (got, i), value_at (expected, i), absolute, relative) && n_wrong++ == 0)
      first = i;
  return n_wrong == 0
         || fail (c,
                  "%s: %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT " values differ, first number %" G_GSIZE_FORMAT
                  ", which is %.9g, expected %.9g",
                  got->name, n_wrong, n, first, value_at (got, first), value_at (expected, first));
}

static gboolean
compare (Case *c, const Tensor *got, const Tensor *expected)
{
  gboolean same =
      got->n_dims == expected->n_dims && memcmp (got->dims, expected->dims, got->n_dims * sizeof *got->dims) == 0;

  if (!same) {
    gchar *a = shape_text (got), *b = shape_text (expected);

    fail (c, "%s has the shape %s, expected %s", got->name, a, b);
    g_free (a);
    g_free (b);
    return FALSE;
  }
  if (got->kind != expected->kind)
    return fail (c, "%s has type %u, expected %u, in ONNX's numbers", got->name, got->kind, expected->kind);
  return compare_values (c, got, expected);
}

static gboolean
run (Case *c)
{
  AttnError error;
  guint i;

  if (!describe (c))
    return FALSE;
  if (attn_sdpa (&c->sdpa, &error) != ATTN_OK)
    return refuse (c, "%s", error.message);
  for (i = 0; i < N_OUTPUTS; i++)
    if (c->expected[i].values != NULL && !compare (c, &c->got[i], &c->expected[i]))
      return FALSE;
  return TRUE;
}

/* A case with "refused" must be refused, with these words. */
static gboolean
passes (Case *c, const gchar *path)
{
  const gchar *words;

  if (!read_case (c, path))
    return FALSE;
  words = json_string_value (json_object_get (c->json, "refused"));
  if (words == NULL)
    return run (c);
  if (run (c))
    return fail (c, "this was accepted, expected to be refused: %s", words);
  if (c->is_refused && strstr (c->sentence, words) != NULL)
    return TRUE;
  printf ("# expected to be refused in the words: %s\n", words);
  return FALSE;
}

static void
clear (Case *c)
{
  guint i;

  for (i = 0; i < N_INPUTS; i++)
    g_free (c->inputs[i].values);
  for (i = 0; i < N_OUTPUTS; i++) {
    g_free (c->expected[i].values);
    g_free (c->got[i].values);
  }
  g_free (c->sentence);
  g_free (c->folder);
  json_decref (c->json);
}

int
main (int argc, char **argv)
{
  int i, n_failed = 0;

  for (i = 1; i < argc; i++) {
    Case c = { NULL };
    gboolean passed = passes (&c, argv[i]);

    if (c.sentence != NULL)
      printf ("# %s\n", c.sentence);
    printf ("%s %d - %s\n", passed ? "ok" : "not ok", i, argv[i]);
    n_failed += !passed;
    clear (&c);
  }
  printf ("1..%d\n", argc - 1);
  return n_failed > 0 || argc == 1;
}
