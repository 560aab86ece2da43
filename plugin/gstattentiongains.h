/*
 * gst-attention: the gains of the heads of an attention, on their way to the core: as they are set, or, where a
 * GstController drives them, for each row by its time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONGAINS_H
#define PLUGIN_GSTATTENTIONGAINS_H

#include "gstframefilter.h"

G_BEGIN_DECLS

/* All of it is the streaming thread's. */
typedef struct _GstAttentionGains GstAttentionGains;

/* Of `attention`, which has as many heads as there are GstAttentionHeads in `heads`; those are held. */
GstAttentionGains *gst_attention_gains_new (GPtrArray *heads, guint attention);
void gst_attention_gains_free (GstAttentionGains *self);

/* For follows_rows () of GstFrameFilterClass: a GstController drives any of them. The answer holds until the next. */
gboolean gst_attention_gains_follow_rows (GstAttentionGains *self);

/* For before_rows () of GstFrameFilterClass: to `stream`, if there is anything new. */
void gst_attention_gains_apply (GstAttentionGains *self, GstFrameFilter *filter, AttnStream *stream, guint64 n,
                                gboolean is_new);

G_END_DECLS

#endif
