/* gst-attention: the element `attention`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTATTENTION_H
#define PLUGIN_GSTATTENTION_H

#include <gst/gst.h>

#include "gstframefilter.h"

G_BEGIN_DECLS

#define GST_TYPE_ATTENTION (gst_attention_get_type ())
G_DECLARE_FINAL_TYPE (GstAttention, gst_attention, GST, ATTENTION, GstFrameFilter)

GST_ELEMENT_REGISTER_DECLARE (attention)

G_END_DECLS

#endif
