/* libattn: the keys of a block, and the tensors under its name.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/encoder.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- sentences ---- */

AttnStatus
attn_reader_fail (AttnReader *reader, const char *format, ...)
{
  char text[sizeof reader->error.message];
  va_list args;

  va_start (args, format);
  vsnprintf (text, sizeof text, format, args);
  va_end (args);
  return attn_fail (&reader->error, ATTN_ERROR_MODEL, "%s: %s", reader->label, text);
}

AttnJsonText
attn_json_text (const json_t *value)
{
  static const char *const types[] = { [JSON_OBJECT] = "an object",
                                       [JSON_ARRAY] = "a list",
                                       [JSON_TRUE] = "true",
                                       [JSON_FALSE] = "false",
                                       [JSON_NULL] = "null" };
  AttnJsonText shown;

  if (json_is_string (value))
    memcpy (shown.text, attn_quote (json_string_value (value)).text, sizeof shown.text);
  else if (json_is_integer (value))
    snprintf (shown.text, sizeof shown.text, "%" JSON_INTEGER_FORMAT, json_integer_value (value));
  else if (json_is_real (value))
    snprintf (shown.text, sizeof shown.text, "%g", json_real_value (value));
  else
    snprintf (shown.text, sizeof shown.text, "%s", value == NULL ? "missing" : types[json_typeof (value)]);
  return shown;
}

/* ---- keys ---- */

AttnStatus
attn_reader_whole (AttnReader *reader, const json_t *json, const char *key, uint64_t min, uint64_t max, uint64_t *value)
{
  const json_t *found = json_object_get (json, key);

  if (found == NULL)
    return ATTN_OK;
  if (!json_is_integer (found) || json_integer_value (found) < 0 || (uint64_t) json_integer_value (found) < min
      || (uint64_t) json_integer_value (found) > max)
    return attn_reader_fail (reader, "%s is %s, expected a whole number from %" PRIu64 " to %" PRIu64, key,
                             attn_json_text (found).text, min, max);
  *value = (uint64_t) json_integer_value (found);
  return ATTN_OK;
}

AttnStatus
attn_reader_pair (AttnReader *reader, const json_t *json, const char *key, const char *example, const uint64_t max[2],
                  uint64_t values[2])
{
  const json_t *list = json_object_get (json, key);
  size_t i;

  if (list == NULL)
    return ATTN_OK;
  if (json_array_size (list) != 2)
    return attn_reader_fail (reader, "%s is %s, expected two whole numbers, such as %s", key,
                             json_is_array (list) ? "a list of another length" : attn_json_text (list).text, example);
  for (i = 0; i < 2; i++) {
    const json_t *number = json_array_get (list, i);

    if (!json_is_integer (number) || json_integer_value (number) < 1 || (uint64_t) json_integer_value (number) > max[i])
      return attn_reader_fail (reader, "%s has the number %s, expected a whole number from 1 to %" PRIu64, key,
                               attn_json_text (number).text, max[i]);
    values[i] = (uint64_t) json_integer_value (number);
  }
  return ATTN_OK;
}

AttnStatus
attn_reader_number (AttnReader *reader, const json_t *json, const char *key, double min, double max, double *value)
{
  const json_t *found = json_object_get (json, key);

  if (found == NULL)
    return ATTN_OK;
  if (!json_is_number (found) || !(json_number_value (found) >= min && json_number_value (found) <= max))
    return attn_reader_fail (reader, "%s is %s, expected a number from %g to %g", key, attn_json_text (found).text, min,
                             max);
  *value = json_number_value (found);
  return ATTN_OK;
}

AttnStatus
attn_reader_choice (AttnReader *reader, const json_t *json, const char *key, const char *const *names, size_t *value)
{
  const json_t *found = json_object_get (json, key);
  char list[256] = "";
  size_t i, used = 0;

  if (found == NULL)
    return ATTN_OK;
  for (i = 0; names[i] != NULL; i++) {
    if (json_is_string (found) && strcmp (json_string_value (found), names[i]) == 0) {
      *value = i;
      return ATTN_OK;
    }
    used += (size_t) snprintf (list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", names[i]);
  }
  return attn_reader_fail (reader, "%s is %s, expected one of %s", key, attn_json_text (found).text, list);
}

AttnStatus
attn_reader_name (AttnReader *reader, const json_t *json, const char *key, const char **name)
{
  const json_t *found = json_object_get (json, key);
  AttnBlockName *entry = &reader->names[reader->n_names];
  const char *path = reader->label + reader->path_length + 2;

  if (!json_is_string (found))
    return attn_reader_fail (reader, "%s is %s, expected the name of its tensors", key, attn_json_text (found).text);
  if (json_string_length (found) == 0 || json_string_length (found) > ATTN_MAX_NAME)
    return attn_reader_fail (reader, "the name of its tensors has %zu bytes, expected 1 to %u",
                             json_string_length (found), ATTN_MAX_NAME);
  *name = json_string_value (found);
  *entry = (AttnBlockName){ .name = *name, .path = attn_alloc (strlen (path) + 1) };
  if (entry->path == NULL)
    return attn_fail_memory (&reader->error, "the name of a block", strlen (path) + 1);
  strcpy (entry->path, path);
  reader->n_names++;
  return ATTN_OK;
}

/* ---- tensors ---- */

static AttnStatus
find (AttnReader *reader, const char *name, const char *end, const AttnTensor **tensor)
{
  *tensor = attn_tensors_find (&reader->tensors, name, end);
  return *tensor != NULL ? attn_tensors_check_dtype (&reader->tensors, *tensor, &reader->error) : ATTN_OK;
}

static AttnStatus
fail_missing (AttnReader *reader, const char *name, const char *end)
{
  char whole[ATTN_MAX_NAME + 32];

  snprintf (whole, sizeof whole, "%s%s", name, end);
  return attn_reader_fail (reader, "the file has no tensor %s", attn_quote (whole).text);
}

AttnStatus
attn_reader_tensor (AttnReader *reader, const char *name, const char *end, const AttnTensor **tensor)
{
  AttnStatus status = find (reader, name, end, tensor);

  return status == ATTN_OK && *tensor == NULL ? fail_missing (reader, name, end) : status;
}

AttnStatus
attn_reader_vector (AttnReader *reader, const char *name, const char *end, size_t n, bool required, float **values)
{
  const AttnTensor *tensor;
  AttnStatus status = find (reader, name, end, &tensor);
  char wanted[64];

  *values = NULL;
  if (status != ATTN_OK)
    return status;
  if (tensor == NULL)
    return required ? fail_missing (reader, name, end) : ATTN_OK;
  if (tensor->n_dims != 1 || tensor->dims[0] != n) {
    snprintf (wanted, sizeof wanted, "[%zu] is needed", n);
    return attn_tensors_fail_shape (&reader->tensors, tensor, wanted, &reader->error);
  }
  return attn_tensors_read (&reader->tensors, tensor, 0, n, values, &reader->error);
}

AttnStatus
attn_reader_linear (AttnReader *reader, const char *name, size_t width, AttnLinear *linear)
{
  const AttnTensor *weight;
  AttnStatus status = attn_reader_tensor (reader, name, ".weight", &weight);
  char wanted[128];

  *linear = (AttnLinear){ 0 };
  if (status != ATTN_OK)
    return status;
  if (weight->n_dims != 2 || weight->dims[1] != width || weight->dims[0] == 0 || weight->dims[0] > ATTN_MAX_FEATURES) {
    snprintf (wanted, sizeof wanted, "[1 to %u, %zu] is needed, for frames of %zu values", ATTN_MAX_FEATURES, width,
              width);
    return attn_tensors_fail_shape (&reader->tensors, weight, wanted, &reader->error);
  }
  linear->n_outputs = (uint32_t) weight->dims[0];
  linear->n_inputs = (uint32_t) width;
  if ((status = attn_tensors_read (&reader->tensors, weight, 0, weight->n_elements, &linear->weight, &reader->error)))
    return status;
  return attn_reader_vector (reader, name, ".bias", linear->n_outputs, false, &linear->bias);
}
