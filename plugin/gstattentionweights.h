/*
 * gst-attention: the attention weights of each head, for elements whose layer has attentions: side i of the
 * GstFrameFilter is attention i, on a pad and, in a few numbers, on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONWEIGHTS_H
#define PLUGIN_GSTATTENTIONWEIGHTS_H

#include "gstframefilter.h"

G_BEGIN_DECLS

/* For class_init (): those functions of the class that are about sides. */
void gst_attention_weights_set_functions (GstFrameFilterClass *filter_class);

G_END_DECLS

#endif
