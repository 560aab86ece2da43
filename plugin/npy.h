/*
 * gst-attention: the header of NumPy's .npy files, read and written in one place. Bytes in, bytes out; no pads, no
 * files. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The file is: "\x93NUMPY"; version, 2 bytes; header length, little-endian, 2 bytes in version 1.0, else 4; a Python
 * dict with the keys descr, fortran_order and shape, padded with spaces and ended by a newline; the values. The format
 * is described at https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Files come from strangers:
 * nothing is believed.
 */
#ifndef PLUGIN_NPY_H
#define PLUGIN_NPY_H

#include <glib.h>

G_BEGIN_DECLS

/* Most values that a frame may have; the core's own limit. */
#define NPY_MAX_FEATURES 65536

/*
 * Longest dict that is read. No file of version 1.0 can have a longer one, and an array of two dimensions needs about
 * 100 bytes: newer versions are for dicts that name the hundreds of fields of a structured array.
 */
#define NPY_MAX_DICT_SIZE 65535

/*
 * Bytes that npy_header_write () writes, whatever the shape: the values behind it stay 64-byte aligned, as NumPy wants
 * them.
 */
#define NPY_HEADER_SIZE 128

#define NPY_ERROR (npy_error_quark ())
GQuark npy_error_quark (void);

typedef enum {
  NPY_ERROR_WRONG_TYPE, /* not a .npy file, or one that holds something else than frames */
  NPY_ERROR_DAMAGED     /* a .npy file with a header that cannot be read */
} NpyError;

/* A part of the header as it stands there. */
typedef struct {
  const gchar *text;
  gsize size;
} NpySlice;

#define NPY_MAX_DIMS 4

/* An array of any type and shape. */
typedef struct {
  gsize header_size;          /* bytes before the first value */
  NpySlice descr;             /* the name of its type, such as <f4 */
  gboolean fortran_order;     /* and not C order at the same time, as in arrays of one dimension */
  NpySlice shape;             /* such as (2, 3) */
  guint n_dims;               /* any */
  guint64 dims[NPY_MAX_DIMS]; /* the first of them, each below 2^63 */
} NpyArray;

/* An array of frames. */
typedef struct {
  gsize header_size; /* bytes before the first value */
  guint64 n_frames;  /* rows of the array */
  guint n_features;  /* D, values per frame; 1 where the array has one dimension */
  guint value_size;  /* bytes per value: 2, 4 or 8 */
  gboolean big_endian;
} NpyHeader;

typedef enum {
  NPY_OK,
  NPY_MORE, /* the header goes on behind the bytes given */
  NPY_REFUSED
} NpyResult;

/*
 * Reads the header of an array from the first `size` bytes of a file. NPY_MORE sets *needed to a number of bytes, above
 * `size`, without which another try makes no sense; it never exceeds NPY_MAX_DICT_SIZE + 12. NPY_REFUSED sets `error`
 * (NPY_ERROR) to a sentence that names the value found and what was expected. The slices point into `data`.
 */
NpyResult npy_array_read (NpyArray *array, const guint8 *data, gsize size, gsize *needed, GError **error);

/*
 * The same for an array of frames; others are refused, too. After NPY_OK n_frames frames and the header together fit a
 * gint64.
 */
NpyResult npy_header_read (NpyHeader *header, const guint8 *data, gsize size, gsize *needed, GError **error);

/*
 * The header, version 1.0, of float32 values of this machine's byte order, in C order, of shape (n_frames, n_features).
 */
void npy_header_write (guint8 header[NPY_HEADER_SIZE], guint64 n_frames, guint n_features);

/* Bytes per frame, and bytes of all frames. */
gsize npy_header_frame_size (const NpyHeader *header);
guint64 npy_header_data_size (const NpyHeader *header);

/*
 * Makes float32 values of this machine's byte order from values [n_values] of the file, which need no alignment.
 * float64 is rounded to nearest even; beyond the range of float32 that is infinity.
 */
void npy_values_to_float (const NpyHeader *header, const guint8 *data, gsize n_values, gfloat *values);

/* Whether all of the values are NaN. */
gboolean npy_values_are_nan (const NpyHeader *header, const guint8 *data, gsize n_values);

G_END_DECLS

#endif
