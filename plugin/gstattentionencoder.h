/* gst-attention: the element `attentionencoder`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTATTENTIONENCODER_H
#define PLUGIN_GSTATTENTIONENCODER_H

#include <gst/gst.h>

#include "gstframefilter.h"

G_BEGIN_DECLS

#define GST_TYPE_ATTENTION_ENCODER (gst_attention_encoder_get_type ())
G_DECLARE_FINAL_TYPE (GstAttentionEncoder, gst_attention_encoder, GST, ATTENTION_ENCODER, GstFrameFilter)

GST_ELEMENT_REGISTER_DECLARE (attentionencoder)

G_END_DECLS

#endif
