/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_SCOPE_GSTATTENTIONSCOPE_H
#define PLUGIN_SCOPE_GSTATTENTIONSCOPE_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_ATTENTION_SCOPE (gst_attention_scope_get_type ())
G_DECLARE_FINAL_TYPE (GstAttentionScope, gst_attention_scope, GST, ATTENTION_SCOPE, GstElement)

GST_ELEMENT_REGISTER_DECLARE (attentionscope);

G_END_DECLS

#endif
