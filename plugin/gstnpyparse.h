/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTNPYPARSE_H
#define PLUGIN_GSTNPYPARSE_H

#include <gst/base/gstbaseparse.h>

G_BEGIN_DECLS

#define GST_TYPE_NPY_PARSE (gst_npy_parse_get_type ())
G_DECLARE_FINAL_TYPE (GstNpyParse, gst_npy_parse, GST, NPY_PARSE, GstBaseParse)

GST_ELEMENT_REGISTER_DECLARE (npyparse);

G_END_DECLS

#endif
