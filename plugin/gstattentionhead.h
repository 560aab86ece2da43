/*
 * gst-attention: one head of the element `attention`, as a child of it: what can be changed and controlled per head.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONHEAD_H
#define PLUGIN_GSTATTENTIONHEAD_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_ATTENTION_HEAD (gst_attention_head_get_type ())
G_DECLARE_FINAL_TYPE (GstAttentionHead, gst_attention_head, GST, ATTENTION_HEAD, GstObject)

/* Named "head" and its number. Transfer floating. */
GstAttentionHead *gst_attention_head_new (guint number);

/* Any thread. */
gfloat gst_attention_head_get_gain (GstAttentionHead *head);

/* Somebody gets hold of the head: from now on it may be controlled. Any thread. */
void gst_attention_head_hand_out (GstAttentionHead *head);

/* How many heads, of any elements, somebody has got hold of; and whether one of `heads` is among them. Any thread. */
guint gst_attention_heads_count_handed_out (void);
gboolean gst_attention_heads_are_out (GPtrArray *heads);

/* How often gains have been set, of any head of any element: as long as it stays, so do they all. Any thread. */
guint gst_attention_heads_count_changes (void);

/*
 * Makes `heads`, an array of the children of `parent` (a GstChildProxy) under its object lock, `n` long: adds and
 * removes at its end, and says so by GstChildProxy's signals. Called without the lock.
 */
void gst_attention_heads_resize (GPtrArray *heads, GstObject *parent, guint n);

/* Of GstChildProxy, over such an array. Transfer full; NULL: there are not so many. Called without the lock. */
guint gst_attention_heads_count (GPtrArray *heads, GstObject *parent);
GObject *gst_attention_heads_get (GPtrArray *heads, GstObject *parent, guint number);

/* Of GstPreset, for elements whose heads come with their properties. */
void gst_attention_heads_preset_init (gpointer iface, gpointer data);

/* Whether a GstController drives any of the gains. */
gboolean gst_attention_heads_are_controlled (GPtrArray *heads);

/*
 * Brings the gains of `heads` that a GstController drives to what they are at stream time `time` (NONE: leaves them).
 * No lock may be held: properties that change are notified of.
 */
void gst_attention_heads_sync (GPtrArray *heads, GstClockTime time);

G_END_DECLS

#endif
