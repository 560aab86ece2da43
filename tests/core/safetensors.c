/* safetensors files, from any hand.  SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include "parameters/safetensors.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "model-file.h"
#include "random.h"

#define MAX_HEADER (16 << 20)

static ModelFile file_space;

static AttnStatus
open_bytes (const void *bytes, size_t size, AttnError *error)
{
  uint8_t *copy = exact_copy (bytes, size);
  AttnSafetensors *file = (AttnSafetensors *) copy;
  AttnStatus status = attn_safetensors_open_memory (copy, size, &file, error);

  if ((status == ATTN_OK) != (file != NULL))
    abort ();
  attn_safetensors_close (file);
  free (copy);
  return status;
}

/* ' stands for " */
static AttnStatus
open_header (const char *header, size_t n_data, AttnError *error)
{
  make_file (&file_space, header, n_data);
  return open_bytes (file_space.bytes, file_space.size, error);
}

#define CHECK_OPENS(header, n_data)                                                   \
  do {                                                                                \
    AttnError error = { ATTN_ERROR_FORMAT, "untouched" };                             \
    CHECK_MSG (open_header (header, n_data, &error) == ATTN_OK, "%s", error.message); \
    CHECK (error.status == ATTN_OK && error.message[0] == '\0');                      \
  } while (0)

/* In the middle of one entry. */
#define X(dtype, shape, offsets) "{'x':{'dtype':'" dtype "','shape':" shape ",'data_offsets':" offsets "}}"
#define REFUSED(header, n_data, ...) \
  CHECK_FAILS (open_header (header, n_data, &error), ATTN_ERROR_FORMAT, "memory", __VA_ARGS__)

/* A file in the working directory that only this test uses. */
#define TEMPORARY "core-safetensors.tmp"

static void
write_temporary (const void *bytes, size_t size)
{
  FILE *file = fopen (TEMPORARY, "wb");

  if (file == NULL || fwrite (bytes, 1, size, file) != size || fclose (file) != 0)
    abort ();
}

static AttnStatus
open_path (const char *path, AttnError *error)
{
  AttnSafetensors *file;
  AttnStatus status = attn_safetensors_open (path, &file, error);

  attn_safetensors_close (file);
  return status;
}

/* ---- values that are read ---- */

TEST (empty_object_is_a_file_without_tensors)
{
  CHECK_OPENS ("{}", 0);
  CHECK_OPENS ("{'__metadata__':{}}   ", 0);
  CHECK_OPENS ("{'__metadata__':null}", 0); /* the reference implementation takes it */
}

TEST (tensors_come_in_the_order_of_their_data)
{
  AttnSafetensors *file;
  AttnError error;

  make_file (&file_space,
             "{'late':{'dtype':'I8','shape':[2,1,3],'data_offsets':[8,14]},'__metadata__':{'k':'v'},"
             "'early':{'dtype':'F32','shape':[2],'data_offsets':[0,8],'later':'ignored'},"
             "'none':{'dtype':'BF16','shape':[0,7],'data_offsets':[8,8]},'one':{'dtype':'F64','shape':[],'data_offsets'"
             ":[14,22]}}",
             22);
  CHECK (attn_safetensors_open_memory (file_space.bytes, file_space.size, &file, &error) == ATTN_OK);
  CHECK (attn_safetensors_n_tensors (file) == 4);
  CHECK (strcmp (attn_safetensors_tensor (file, 0)->name, "early") == 0);
  CHECK (strcmp (attn_safetensors_tensor (file, 1)->name, "none") == 0);
  CHECK (strcmp (attn_safetensors_tensor (file, 2)->name, "late") == 0);
  CHECK (strcmp (attn_safetensors_tensor (file, 3)->name, "one") == 0);
  CHECK (strcmp (attn_tensor_shape (attn_safetensors_tensor (file, 2)).text, "[2, 1, 3]") == 0);
  CHECK (strcmp (attn_safetensors_tensor (file, 2)->dtype_name, "I8") == 0);
  CHECK (attn_safetensors_tensor (file, 2)->dtype == ATTN_DTYPE_OTHER);
  CHECK (attn_safetensors_tensor (file, 2)->begin == 8 && attn_safetensors_tensor (file, 2)->end == 14);
  CHECK (attn_safetensors_tensor (file, 1)->n_elements == 0 && attn_safetensors_tensor (file, 2)->n_elements == 6);
  CHECK (attn_safetensors_tensor (file, 3)->n_elements == 1 && attn_safetensors_tensor (file, 3)->n_dims == 0);
  attn_safetensors_close (file);
}

TEST (metadata_is_found_by_key)
{
  AttnSafetensors *file;

  make_file (&file_space, "{'__metadata__':{'heads':'8','empty':''}}", 0);
  CHECK (attn_safetensors_open_memory (file_space.bytes, file_space.size, &file, NULL) == ATTN_OK);
  CHECK (strcmp (attn_safetensors_metadata (file, "heads"), "8") == 0);
  CHECK (strcmp (attn_safetensors_metadata (file, "empty"), "") == 0);
  CHECK (attn_safetensors_metadata (file, "window") == NULL);
  CHECK (strcmp (attn_safetensors_path (file), "memory") == 0);
  attn_safetensors_close (file);
  make_file (&file_space, "{}", 0);
  CHECK (attn_safetensors_open_memory (file_space.bytes, file_space.size, &file, NULL) == ATTN_OK);
  CHECK (attn_safetensors_metadata (file, "heads") == NULL);
  attn_safetensors_close (file);
}

TEST (every_dtype_has_its_size)
{
  static const struct {
    const char *name;
    unsigned n_bytes; /* of 8 elements */
  } dtypes[] = { { "BOOL", 8 },    { "U8", 8 },   { "I8", 8 },   { "F8_E5M2", 8 }, { "F8_E4M3", 8 },
                 { "F8_E8M0", 8 }, { "I16", 16 }, { "U16", 16 }, { "F16", 16 },    { "BF16", 16 },
                 { "I32", 32 },    { "U32", 32 }, { "F32", 32 }, { "F64", 64 },    { "I64", 64 },
                 { "U64", 64 },    { "C64", 64 }, { "F4", 4 },   { "F6_E2M3", 6 }, { "F6_E3M2", 6 } };

  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
    for (unsigned more = 0; more < 2; more++) {
      unsigned size = dtypes[i].n_bytes + more;
      char header[128];
      AttnError error;
      AttnStatus status;

      snprintf (header, sizeof header, "{'x':{'dtype':'%s','shape':[2,4],'data_offsets':[0,%u]}}", dtypes[i].name,
                size);
      status = open_header (header, size, &error);
      CHECK_MSG (status == (more ? ATTN_ERROR_FORMAT : ATTN_OK), "%s: %s", header, error.message);
    }
}

/* Reads elements first ... first + n - 1 of the only tensor in a file with these bytes as its data. */
static AttnStatus
read_elements (const char *dtype, const void *data, size_t size, unsigned element_size, uint64_t first, size_t n,
               float *values, AttnError *error)
{
  char header[128];
  AttnSafetensors *file;
  AttnStatus status;

  snprintf (header, sizeof header, "{'x':{'dtype':'%s','shape':[%zu],'data_offsets':[0,%zu]}}", dtype,
            size / element_size, size);
  make_file (&file_space, header, size);
  memcpy (file_space.bytes + file_space.size - size, data, size);
  status = attn_safetensors_open_memory (file_space.bytes, file_space.size, &file, error);
  if (status == ATTN_OK)
    status = attn_safetensors_read (file, attn_safetensors_tensor (file, 0), first, n, values, error);
  attn_safetensors_close (file);
  return status;
}

/* All 65536 halves against their definition: the value is exact in float32. */
TEST (every_half_is_read_exactly)
{
  for (unsigned half = 0; half < 65536; half++) {
    uint8_t bytes[2] = { (uint8_t) half, (uint8_t) (half >> 8) };
    unsigned exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude = exponent == 0 ? ldexp (fraction, -24) : ldexp (1024 + fraction, (int) exponent - 25);
    AttnStatus status;
    AttnError error;
    float value;

    if (exponent == 31 && fraction % 64 > 1)
      continue;
    status = read_elements ("F16", bytes, 2, 2, 0, 1, &value, &error);
    CHECK_MSG (status == (exponent == 31 ? ATTN_ERROR_MODEL : ATTN_OK), "half %04x: %s", half, error.message);
    if (exponent != 31)
      CHECK_MSG (value == (float) magnitude * (half & 0x8000 ? -1 : 1) && !signbit (value) == !(half & 0x8000),
                 "half %04x: %a", half, value);
  }
}

TEST (bfloat16_is_the_upper_half_of_a_float)
{
  static const uint8_t bytes[] = { 0x80, 0x3f, 0x49, 0xc0, 0x01, 0x00, 0x7f, 0x7f, 0x00, 0x80 };
  static const float expected[] = { 1.f, -3.140625f, 0x1p-133f, 0x1.fep127f, -0.f };
  float values[5];

  CHECK (read_elements ("BF16", bytes, sizeof bytes, 2, 0, 5, values, NULL) == ATTN_OK);
  CHECK (memcmp (values, expected, sizeof expected) == 0);
}

TEST (doubles_round_to_nearest_even)
{
  static const struct {
    uint64_t bits;
    uint32_t rounded;
  } cases[] = {
    { 0x3ff0000010000000, 0x3f800000 }, /* 1 + 2^-24: tie, down to even */
    { 0x3ff0000030000000, 0x3f800002 }, /* 1 + 3 * 2^-24: tie, up to even */
    { 0x3ff0000010000001, 0x3f800001 }, /* just above the tie */
    { 0x3ff000000fffffff, 0x3f800000 }, /* just below it */
    { 0xbffffffff0000000, 0xc0000000 }, /* -(2 - 2^-25): the carry runs into the exponent */
    { 0x8000000000000000, 0x80000000 }, /* -0 */
    { 0x3690000000000000, 0x00000000 }, /* 2^-150: tie between 0 and the smallest subnormal */
    { 0x3690000000000001, 0x00000001 }, /* above it */
    { 0x368fffffffffffff, 0x00000000 }, /* below it */
    { 0x36a0000000000000, 0x00000001 }, /* 2^-149 */
    { 0x36a8000000000000, 0x00000002 }, /* 3 * 2^-150: tie, up to even */
    { 0x380fffffffffffff, 0x00800000 }, /* just below 2^-126: the carry makes it normal */
    { 0x3810000000000000, 0x00800000 }, /* 2^-126 */
    { 0x0000000000000001, 0x00000000 }, /* the smallest double */
    { 0x47efffffefffffff, 0x7f7fffff }, /* below the largest float plus half a step */
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t bytes[8];
    AttnError error;
    float value;

    put_length (bytes, cases[i].bits);
    CHECK_MSG (read_elements ("F64", bytes, 8, 8, 0, 1, &value, &error) == ATTN_OK, "case %zu: %s", i, error.message);
    CHECK_MSG (memcmp (&value, &cases[i].rounded, 4) == 0, "case %zu: %a", i, value);
  }
}

/* One more than a chunk, and ranges that begin and end inside of one. */
TEST (long_tensors_are_read_in_ranges)
{
  static float data[5001], values[5001];
  static uint8_t bytes[sizeof data];
  static const size_t ranges[][2] = { { 0, 5001 }, { 0, 4096 },  { 0, 4097 }, { 4095, 2 },
                                      { 5000, 1 }, { 17, 4500 }, { 3, 0 } };

  for (size_t i = 0; i < 5001; i++)
    data[i] = (float) i + 0.25f;
  attn_put_floats (bytes, data, 5001);
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
    size_t first = ranges[i][0], n = ranges[i][1];

    memset (values, 0, sizeof values);
    CHECK (read_elements ("F32", bytes, sizeof bytes, 4, first, n, values, NULL) == ATTN_OK);
    CHECK_MSG (memcmp (values, data + first, n * sizeof (float)) == 0, "range %zu", i);
    CHECK_MSG (n == 5001 || values[n] == 0, "range %zu is too long", i);
  }
}

/* Such a file takes gigabytes: the test checks the product of the tensor's sizes instead. */
TEST (more_values_than_a_machine_can_address_are_not_taken_for_few)
{
  uint64_t size = attn_size_mul ((UINT64_C (1) << 32) + 5, sizeof (float));

  CHECK (size == (UINT64_C (1) << 34) + 20 || size == SIZE_MAX);
  CHECK (attn_size_mul (UINT64_C (1) << 62, 4) == SIZE_MAX && attn_size_mul (SIZE_MAX, 1) == SIZE_MAX);
}

TEST (values_that_are_not_finite_are_named)
{
  static const uint8_t nan_f32[8] = { 0, 0, 0, 0, 1, 0, 0x80, 0xff }, inf_bf16[4] = { 0, 0, 0x80, 0x7f };
  static const uint8_t nan_f16[2] = { 0x01, 0xfc };
  float values[8];
  uint8_t large[8];

  put_length (large, 0x47efffffefffffff + 1); /* the tie above the largest float */
  CHECK_FAILS (read_elements ("F32", nan_f32, 8, 4, 0, 2, values, &error), ATTN_ERROR_MODEL, "memory",
               "element 1 of \"x\"", "NaN", "F32 [2]");
  CHECK_FAILS (read_elements ("BF16", inf_bf16, 4, 2, 1, 1, values, &error), ATTN_ERROR_MODEL, "memory",
               "element 1 of \"x\"", "infinite");
  CHECK_FAILS (read_elements ("F16", nan_f16, 2, 2, 0, 1, values, &error), ATTN_ERROR_MODEL, "memory",
               "element 0 of \"x\"", "NaN");
  CHECK_FAILS (read_elements ("F64", large, 8, 8, 0, 1, values, &error), ATTN_ERROR_MODEL, "memory", "element 0",
               "beyond float32");
}

TEST (integers_are_no_parameters)
{
  float value;

  CHECK_FAILS (read_elements ("I32", "abcd", 4, 4, 0, 1, &value, &error), ATTN_ERROR_MODEL, "memory", "\"x\"", "I32",
               "F32, F16, BF16 or F64");
}

/* ---- the file ---- */

TEST (missing_file_is_named)
{
  CHECK_FAILS (open_path ("no/such.safetensors", &error), ATTN_ERROR_FILE, "no/such.safetensors", "No such file");
}

TEST (very_long_path_leaves_room_for_the_reason)
{
  char path[3001];
  AttnError error;

  memset (path, 'p', 3000);
  strcpy (path + 2990, "the-end.st");
  CHECK (open_path (path, &error) == ATTN_ERROR_FILE);
  CHECK_MSG (strncmp (error.message, "...ppp", 6) == 0 && strstr (error.message, "the-end.st: ") != NULL, "%s",
             error.message);
  CHECK_MSG (strstr (error.message, "too long") != NULL, "%s", error.message);
}

/* Names are bytes, messages are UTF-8 without control characters; as much is shown of either. */
TEST (messages_are_utf8_whatever_the_path)
{
  CHECK_FAILS (open_path ("no/\xc3\xa9t\xc3\xa9/\xe2\x82\xac\xf0\x9f\x8e\xb5", &error), ATTN_ERROR_FILE,
               "no/\xc3\xa9t\xc3\xa9/\xe2\x82\xac\xf0\x9f\x8e\xb5", "cannot be opened");
  CHECK_FAILS (open_path ("no/\xe9t\xe9\x1b[31m\n", &error), ATTN_ERROR_FILE, "no/\\xe9t\\xe9\\x1b[31m\\x0a",
               "cannot be opened");
  /* Cut off, too long, a surrogate, beyond Unicode, a control character of two bytes. */
  CHECK_FAILS (open_path ("no/\xc3", &error), ATTN_ERROR_FILE, "no/\\xc3", "cannot be opened");
  CHECK_FAILS (open_path ("no/\xc0\xaf\xe0\x80\xaf", &error), ATTN_ERROR_FILE, "no/\\xc0\\xaf\\xe0\\x80\\xaf",
               "cannot be opened");
  CHECK_FAILS (open_path ("no/\xed\xa0\x80", &error), ATTN_ERROR_FILE, "no/\\xed\\xa0\\x80", "cannot be opened");
  CHECK_FAILS (open_path ("no/\xf4\x90\x80\x80", &error), ATTN_ERROR_FILE, "no/\\xf4\\x90\\x80\\x80",
               "cannot be opened");
  CHECK_FAILS (open_path ("no/\xc2\x9b", &error), ATTN_ERROR_FILE, "no/\\xc2\\x9b", "cannot be opened");
}

TEST (very_long_path_is_cut_between_characters)
{
  char path[1001];
  AttnError error;

  memset (path, 0xff, 1000);
  path[1000] = '\0';
  CHECK (open_path (path, &error) == ATTN_ERROR_FILE);
  CHECK_MSG (strncmp (error.message, "...\\xff", 7) == 0 && strstr (error.message, "too long") != NULL, "%s",
             error.message);
  for (int i = 0; i < 1000; i++)
    path[i] = "\xe2\x82\xac"[(i + 2) % 3]; /* ends with a whole character, begins within one */
  CHECK (open_path (path, &error) == ATTN_ERROR_FILE);
  CHECK_MSG (strncmp (error.message, "...\xe2\x82\xac", 6) == 0 && strstr (error.message, "too long") != NULL, "%s",
             error.message);
}

TEST (directory_is_refused)
{
  CHECK_FAILS (open_path (".", &error), ATTN_ERROR_FILE, ".", "directory");
}

TEST (fifo_is_refused_without_waiting)
{
  unlink (TEMPORARY);
  CHECK (mkfifo (TEMPORARY, 0600) == 0);
  CHECK_FAILS (open_path (TEMPORARY, &error), ATTN_ERROR_FILE, TEMPORARY, "not a regular file");
  unlink (TEMPORARY);
}

TEST (device_is_refused)
{
  CHECK_FAILS (open_path ("/dev/zero", &error), ATTN_ERROR_FILE, "/dev/zero", "not a regular file");
}

TEST (empty_and_tiny_files_are_refused)
{
  write_temporary ("", 0);
  CHECK_FAILS (open_path (TEMPORARY, &error), ATTN_ERROR_FORMAT, TEMPORARY, "8 bytes", "has 0");
  unlink (TEMPORARY);
  CHECK_FAILS (open_bytes ("\2\0\0\0\0\0\0", 7, &error), ATTN_ERROR_FORMAT, "memory", "8 bytes", "has 7");
  CHECK_FAILS (open_bytes (NULL, 0, &error), ATTN_ERROR_FORMAT, "memory", "has 0");
  CHECK_FAILS (open_bytes ("\0\0\0\0\0\0\0\0", 8, &error), ATTN_ERROR_FORMAT, "memory", "header of 0 bytes");
}

TEST (other_formats_are_recognised)
{
  CHECK_FAILS (open_bytes ("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16, &error), ATTN_ERROR_FORMAT, "memory",
               "727905341920923785", "16", "PNG");
  CHECK_FAILS (open_bytes ("PK\3\4\0\0\x08\x08\0\0archive/data.pkl", 26, &error), ATTN_ERROR_FORMAT, "memory", "26",
               "torch.save");
  CHECK_FAILS (open_bytes ("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 14, &error), ATTN_ERROR_FORMAT, "memory", "14",
               "pickle");
  CHECK_FAILS (open_bytes ("\x93NUMPY\1\0v\0{'descr'", 18, &error), ATTN_ERROR_FORMAT, "memory", "NumPy");
  CHECK_FAILS (open_bytes ("any text that is long enough", 28, &error), ATTN_ERROR_FORMAT, "memory",
               "not a safetensors file", "28");
}

TEST (truncated_header_is_told)
{
  make_file (&file_space, X ("F32", "[2]", "[0,8]"), 8);
  CHECK_FAILS (open_bytes (file_space.bytes, 30, &error), ATTN_ERROR_FORMAT, "memory", "truncated", "54 bytes",
               "has 30");
}

TEST (truncated_data_is_told)
{
  REFUSED (X ("F32", "[2]", "[0,8]"), 7, "truncated", "\"x\" ends at byte 8", "holds 7 bytes");
  REFUSED (X ("F32", "[2]", "[0,8]"), 0, "truncated", "holds 0 bytes");
}

TEST (bytes_after_the_data_are_refused)
{
  REFUSED (X ("F32", "[2]", "[0,8]"), 9, "end at byte 8", "holds 9 bytes");
  REFUSED ("{}", 1, "end at byte 0", "holds 1 bytes");
}

TEST (header_length_is_not_believed)
{
  uint8_t bytes[] = "........{}      "; /* and a NUL behind the 16 */

  put_length (bytes, UINT64_C (1) << 62);
  CHECK_FAILS (open_bytes (bytes, 16, &error), ATTN_ERROR_FORMAT, "memory", "4611686018427387904", "has 16");
  put_length (bytes, UINT64_C (1) << 63);
  CHECK_FAILS (open_bytes (bytes, 16, &error), ATTN_ERROR_FORMAT, "memory", "9223372036854775808", "has 16");
  put_length (bytes, UINT64_MAX);
  CHECK_FAILS (open_bytes (bytes, 16, &error), ATTN_ERROR_FORMAT, "memory", "18446744073709551615");
  put_length (bytes, 9);
  CHECK_FAILS (open_bytes (bytes, 16, &error), ATTN_ERROR_FORMAT, "memory", "9 bytes", "has 16");
  put_length (bytes, 8);
  CHECK_MSG (open_bytes (bytes, 16, NULL) == ATTN_OK, "a header that ends with the file");
}

/* A file with a hole: as large as it says, and nothing on the disk. */
TEST (header_above_the_limit_is_refused)
{
  uint8_t length[8];

  put_length (length, MAX_HEADER + 1);
  write_temporary (length, 8);
  CHECK (truncate (TEMPORARY, MAX_HEADER + 9) == 0);
  CHECK_FAILS (open_path (TEMPORARY, &error), ATTN_ERROR_FORMAT, TEMPORARY, "16777217 bytes", "at most 16777216");
  unlink (TEMPORARY);
}

TEST (file_that_shrinks_after_opening_is_told)
{
  static float values[8];
  AttnSafetensors *file;
  AttnStatus status;

  make_file (&file_space, X ("F32", "[8]", "[0,32]"), 32);
  write_temporary (file_space.bytes, file_space.size);
  CHECK (attn_safetensors_open (TEMPORARY, &file, NULL) == ATTN_OK);
  CHECK (attn_safetensors_read (file, attn_safetensors_tensor (file, 0), 0, 8, values, NULL) == ATTN_OK);
  CHECK (truncate (TEMPORARY, (off_t) file_space.size - 20) == 0);
  CHECK_FAILS (status = attn_safetensors_read (file, attn_safetensors_tensor (file, 0), 0, 8, values, &error),
               ATTN_ERROR_FILE, TEMPORARY, "truncated", "it had 95 bytes", "before byte 75");
  attn_safetensors_close (file);
  unlink (TEMPORARY);
}

/* ---- the header ---- */

TEST (header_begins_with_a_brace)
{
  REFUSED (" {}", 0, "begin with \"{\"");
  REFUSED ("[]", 0, "begin with \"{\"");
}

TEST (broken_json_is_refused_with_its_place)
{
  REFUSED ("{'x'}", 0, "JSON", "byte 5 of 5");
  REFUSED ("{} {}", 0, "JSON", "end of file expected");
  REFUSED ("{'x':{'dtype':'F32'", 0, "JSON");
  REFUSED ("{'\xff\xfe':1}", 0, "JSON", "decode byte 0xff");
  REFUSED ("{'a\\u0000b':1}", 0, "JSON", "u0000");
  REFUSED ("{'x':18446744073709551616}", 0, "JSON", "too big");
}

TEST (zero_byte_in_the_header_is_refused)
{
  make_file (&file_space, "{'x':1}", 0);
  file_space.bytes[8 + 2] = 0;
  CHECK_FAILS (open_bytes (file_space.bytes, file_space.size, &error), ATTN_ERROR_FORMAT, "memory", "JSON", "0x0");
}

TEST (duplicate_names_are_refused)
{
  REFUSED (
      "{'x':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'x':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}", 8,
      "duplicate", "x");
  REFUSED ("{'x':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'dtype':'F32'}}", 4, "duplicate", "dtype");
  REFUSED ("{'__metadata__':{'a':'1','\\u0061':'2'}}", 0, "duplicate");
}

TEST (deep_json_is_refused)
{
  static char header[6010];

  strcpy (header, "{'x':");
  memset (header + 5, '[', 3000);
  memset (header + 3005, ']', 3000);
  strcpy (header + 6005, "}");
  REFUSED (header, 0, "depth");
}

TEST (metadata_is_strings)
{
  REFUSED ("{'__metadata__':'heads'}", 0, "\"__metadata__\" is a string", "object of strings");
  REFUSED ("{'__metadata__':['heads']}", 0, "\"__metadata__\" is an array");
  REFUSED ("{'__metadata__':{'ok':'1','heads':8}}", 0, "\"heads\"", "is a number");
  REFUSED ("{'__metadata__':{'heads':['8']}}", 0, "\"heads\"", "is an array");
}

TEST (entry_is_an_object_with_three_members)
{
  REFUSED ("{'x':1}", 0, "\"x\"", "an object", "is a number");
  REFUSED ("{'x':{'shape':[1],'data_offsets':[0,4]}}", 4, "\"x\"", "dtype", "is missing");
  REFUSED ("{'x':{'dtype':3,'shape':[1],'data_offsets':[0,4]}}", 4, "\"x\"", "dtype", "is a number");
  REFUSED ("{'x':{'dtype':'F32','data_offsets':[0,4]}}", 4, "\"x\"", "shape", "is missing");
  REFUSED ("{'x':{'dtype':'F32','shape':4,'data_offsets':[0,4]}}", 4, "\"x\"", "shape", "is a number");
  REFUSED ("{'x':{'dtype':'F32','shape':[1]}}", 4, "\"x\"", "data_offsets", "is missing");
  REFUSED ("{'x':{'dtype':'F32','shape':[1],'data_offsets':{}}}", 4, "\"x\"", "data_offsets", "is an object");
}

TEST (unknown_dtype_is_named)
{
  REFUSED (X ("F31", "[1]", "[0,4]"), 4, "\"x\"", "\"F31\"");
  REFUSED (X ("f32", "[1]", "[0,4]"), 4, "\"f32\"");
}

TEST (shape_is_whole_numbers)
{
  REFUSED (X ("F32", "[-1]", "[0,4]"), 4, "shape of \"x\"", "-1");
  REFUSED (X ("F32", "[1.0]", "[0,4]"), 4, "shape of \"x\"", "fraction");
  REFUSED (X ("F32", "[1e0]", "[0,4]"), 4, "shape of \"x\"", "fraction");
  REFUSED (X ("F32", "[true]", "[0,4]"), 4, "shape of \"x\"", "true");
  REFUSED (X ("F32", "['1']", "[0,4]"), 4, "shape of \"x\"", "a string");
}

TEST (rank_above_the_limit_is_refused)
{
  CHECK_OPENS (X ("F32", "[1,1,1,1,1,1,1,1]", "[0,4]"), 4);
  REFUSED (X ("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "\"x\"", "9 dimensions", "at most 8");
}

TEST (number_of_elements_does_not_overflow)
{
  REFUSED (X ("U8", "[4294967296,4294967296]", "[0,0]"), 0, "\"x\"", "[4294967296, 4294967296]", "64 bits");
  REFUSED (X ("F32", "[4611686018427387904]", "[0,0]"), 0, "\"x\"", "[4611686018427387904]", "below 2^64");
  REFUSED (X ("F64", "[9223372036854775807]", "[0,0]"), 0, "\"x\"", "9223372036854775807");
  CHECK_OPENS (X ("F64", "[0,9223372036854775807]", "[0,0]"), 0);
}

TEST (offsets_are_two_whole_numbers_in_order)
{
  REFUSED (X ("F32", "[1]", "[0]"), 4, "\"x\"", "1 data_offsets");
  REFUSED (X ("F32", "[1]", "[0,4,8]"), 4, "\"x\"", "3 data_offsets");
  REFUSED (X ("F32", "[1]", "[-4,0]"), 4, "data_offsets of \"x\"", "-4");
  REFUSED (X ("F32", "[1]", "[0,4.0]"), 4, "data_offsets of \"x\"", "fraction");
  REFUSED (X ("F32", "[1]", "[false,4]"), 4, "data_offsets of \"x\"", "false");
  REFUSED (X ("F32", "[1]", "[8,4]"), 8, "\"x\"", "8 to 4", "end before they begin");
  REFUSED (X ("F32", "[4611686018427387903]", "[8,4]"), 8, "8 to 4", "end before they begin"); /* 4 - 8 modulo 2^64 */
}

TEST (shape_and_offsets_agree)
{
  REFUSED ("{'in_proj_weight':{'dtype':'F32','shape':[240,80],'data_offsets':[0,76799]}}", 12, "\"in_proj_weight\"",
           "0 to 76799", "[240, 80]", "F32", "76800");
  REFUSED (X ("F16", "[3]", "[0,8]"), 8, "8 bytes", "[3] of F16 takes 6 bytes");
  REFUSED (X ("F32", "[]", "[0,0]"), 0, "0 bytes", "takes 4 bytes");
  REFUSED (X ("F4", "[3]", "[0,1]"), 1, "[3]", "whole number of bytes");
}

TEST (offsets_beyond_the_file_are_refused)
{
  REFUSED (X ("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 4, "truncated", "9223372036854775807",
           "holds 4");
  REFUSED (X ("F32", "[1]", "[400,404]"), 4, "\"x\" begins at byte 400", "at byte 0");
}

TEST (overlapping_tensors_are_refused)
{
  REFUSED (
      "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[2],'data_offsets':[4,12]}}",
      12, "\"b\" begins at byte 4", "\"a\"", "ends at byte 8", "overlap");
  REFUSED (
      "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", 8,
      "\"b\" begins at byte 0", "overlap");
}

TEST (holes_between_tensors_are_refused)
{
  REFUSED (
      "{'b':{'dtype':'F32','shape':[1],'data_offsets':[8,12]},'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}",
      12, "\"b\" begins at byte 8", "\"a\"", "ends at byte 4", "no tensor");
  REFUSED (X ("F32", "[1]", "[4,8]"), 8, "\"x\" begins at byte 4", "at byte 0");
}

/*
 * Many tensors cost time and memory in proportion to the file, no more: with ATTN_TEST_PERCENT=300 or more, as many as
 * a header may have.
 */
TEST (very_many_tensors_are_read)
{
  enum { ENTRY = 64, MOST = 150000 };
  int n = random_rounds (50000) < MOST ? random_rounds (50000) : MOST;
  size_t size = 8;
  char *text = malloc (8 + (size_t) n * ENTRY);
  AttnSafetensors *file;

  CHECK (text != NULL);
  for (int i = 0; i < n; i++)
    size += (size_t) snprintf (text + size, ENTRY, "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                               i == 0 ? '{' : ',', i);
  text[size++] = '}';
  put_length ((uint8_t *) text, size - 8);
  CHECK (attn_safetensors_open_memory (text, size, &file, NULL) == ATTN_OK);
  CHECK (attn_safetensors_n_tensors (file) == (size_t) n);
  attn_safetensors_close (file);
  CHECK_FAILS (open_bytes (text, size - 1, &error), ATTN_ERROR_FORMAT, "memory", "truncated");
  free (text);
}

/* [value,value,...] with `n` values, as a field of a tensor x. */
static AttnStatus
open_values (const char *value, size_t n, AttnError *error)
{
  size_t length = strlen (value), size = 8 + 6;
  char *text = malloc (8 + 6 + n * (length + 1) + 1);
  AttnStatus status;

  memcpy (text + 8, "{\"x\":[", 6);
  for (size_t i = 0; i < n; i++) {
    memcpy (text + size, value, length);
    size += length;
    text[size++] = i + 1 < n ? ',' : ']';
  }
  text[size++] = '}';
  put_length ((uint8_t *) text, size - 8);
  status = open_bytes (text, size, error);
  free (text);
  return status;
}

/* They are refused before the parser turns them into a hundred times their size. */
TEST (header_of_too_many_values_is_refused)
{
  static char string[5004];

  memset (string, '[', sizeof string - 1);
  memcpy (string, "\"\\\"", 3); /* characters in a string do not count */
  string[sizeof string - 2] = '"';
  CHECK_FAILS (open_values ("{}", (512 << 10) - 1, &error), ATTN_ERROR_FORMAT, "memory",
               "the header has 524289 objects and arrays", "at most 524288");
  CHECK_FAILS (open_values ("[]", 600000, &error), ATTN_ERROR_FORMAT, "memory", "600002 objects and arrays");
  CHECK_FAILS (open_values ("1", (1 << 20) + 2, &error), ATTN_ERROR_FORMAT, "memory", "the header has 1048578 values",
               "at most 1048576");
  CHECK_FAILS (open_values (string, 2000, &error), ATTN_ERROR_FORMAT, "memory", "\"x\"", "an array");
}

/* A hole of 8 GiB, which takes no space on the disk. */
TEST (tensors_beyond_32_bits_are_read)
{
  enum { GIB = 1 << 30 };
  AttnSafetensors *file;
  AttnError error;
  float value = -1;

  make_file (&file_space,
             "{'hole':{'dtype':'U8','shape':[8589934592],'data_offsets':[0,8589934592]},"
             "'x':{'dtype':'F32','shape':[1],'data_offsets':[8589934592,8589934596]}}",
             0);
  write_temporary (file_space.bytes, file_space.size);
  if (truncate (TEMPORARY, (off_t) file_space.size + 8 * (off_t) GIB + 4) != 0) {
    printf ("# no file of 8 GiB can be made here\n");
    unlink (TEMPORARY);
    return;
  }
  CHECK_MSG (attn_safetensors_open (TEMPORARY, &file, &error) == ATTN_OK, "%s", error.message);
  CHECK (attn_safetensors_read (file, attn_safetensors_tensor (file, 1), 0, 1, &value, NULL) == ATTN_OK && value == 0);
  attn_safetensors_close (file);
  unlink (TEMPORARY);
}

TEST (names_are_harmless_in_messages)
{
  static char header[2000];

  REFUSED ("{'\\u001b[31m\\nred\\u009b\\\"':1}", 0, "\"\\x1b[31m\\x0ared\\xc2\\x9b\\\"\"");
  REFUSED ("{' ~\x7f':1}", 0, "\" ~\\x7f\""); /* the last two of 7 bits */
  strcpy (header, "{'layers.");
  memset (header + 9, 'n', 1500);
  strcpy (header + 1509, ".weight':1}");
  REFUSED (header, 0, "\"layers.nnn", "nnn...nnn", "nnn.weight\"", "is a number");
}

int
main (int argc, char **argv)
{
  check_only = argc > 1 ? argv[1] : NULL;
  RUN (empty_object_is_a_file_without_tensors);
  RUN (tensors_come_in_the_order_of_their_data);
  RUN (metadata_is_found_by_key);
  RUN (every_dtype_has_its_size);
  RUN (every_half_is_read_exactly);
  RUN (bfloat16_is_the_upper_half_of_a_float);
  RUN (doubles_round_to_nearest_even);
  RUN (long_tensors_are_read_in_ranges);
  RUN (more_values_than_a_machine_can_address_are_not_taken_for_few);
  RUN (values_that_are_not_finite_are_named);
  RUN (integers_are_no_parameters);
  RUN (missing_file_is_named);
  RUN (very_long_path_leaves_room_for_the_reason);
  RUN (messages_are_utf8_whatever_the_path);
  RUN (very_long_path_is_cut_between_characters);
  RUN (directory_is_refused);
  RUN (fifo_is_refused_without_waiting);
  RUN (device_is_refused);
  RUN (empty_and_tiny_files_are_refused);
  RUN (other_formats_are_recognised);
  RUN (truncated_header_is_told);
  RUN (truncated_data_is_told);
  RUN (bytes_after_the_data_are_refused);
  RUN (header_length_is_not_believed);
  RUN (header_above_the_limit_is_refused);
  RUN (file_that_shrinks_after_opening_is_told);
  RUN (header_begins_with_a_brace);
  RUN (broken_json_is_refused_with_its_place);
  RUN (zero_byte_in_the_header_is_refused);
  RUN (duplicate_names_are_refused);
  RUN (deep_json_is_refused);
  RUN (metadata_is_strings);
  RUN (entry_is_an_object_with_three_members);
  RUN (unknown_dtype_is_named);
  RUN (shape_is_whole_numbers);
  RUN (rank_above_the_limit_is_refused);
  RUN (number_of_elements_does_not_overflow);
  RUN (offsets_are_two_whole_numbers_in_order);
  RUN (shape_and_offsets_agree);
  RUN (offsets_beyond_the_file_are_refused);
  RUN (overlapping_tensors_are_refused);
  RUN (holes_between_tensors_are_refused);
  RUN (very_many_tensors_are_read);
  RUN (header_of_too_many_values_is_refused);
  RUN (tensors_beyond_32_bits_are_read);
  RUN (names_are_harmless_in_messages);
  return check_done ();
}
