/*
 * gst-attention: the attention weights of each head, for elements whose layer has attentions: side i of the
 * GstFrameFilter is attention i, on a pad and, in a few numbers, on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONWEIGHTS_H
#define PLUGIN_GSTATTENTIONWEIGHTS_H

#include "gstframefilter.h"

G_BEGIN_DECLS

/* Of GstFrameFilterClass. */
gboolean gst_attention_weights_get_side_width (GstFrameFilter *filter, guint side, guint64 *width);
GstCaps *gst_attention_weights_make_side_caps (GstFrameFilter *filter, guint side, GstCaps *caps);
void gst_attention_weights_side_done (GstFrameFilter *filter, guint side, GstBuffer *buffer, const gfloat *weights,
                                      guint64 n_rows);

/* Posts the rest of the numbers, if the stream was drained, or else forgets it. */
void gst_attention_weights_end (GstFrameFilter *filter, gboolean drained);

G_END_DECLS

#endif
