/*
 * gst-attention: summaries of the weights of each head, in a few numbers, on the bus.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONSUMMARY_H
#define PLUGIN_GSTATTENTIONSUMMARY_H

#include "gstframefilter.h"

G_BEGIN_DECLS

typedef struct _GstAttentionSummary GstAttentionSummary;

/* Of an attention of the layer of `filter`, which posts it. */
GstAttentionSummary *gst_attention_summary_new (GstFrameFilter *filter, guint attention);
void gst_attention_summary_free (GstAttentionSummary *summary);

/*
 * Takes the weights [n_frames][heads][span] of `buffer`, one frame of the attention after the other, and posts what is
 * due, every `interval`.
 */
void gst_attention_summary_add (GstAttentionSummary *summary, GstBuffer *buffer, const gfloat *weights,
                                guint64 n_frames, GstClockTime interval);

/* Posts a summary of the remaining frames, if there are any. */
void gst_attention_summary_post (GstAttentionSummary *summary);

G_END_DECLS

#endif
