/*
 * gst-attention: the gains of the heads of an attention, on their way to the core.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentiongains.h"

#include "gstattentionhead.h"

struct _GstAttentionGains {
  GPtrArray *heads; /* GstAttentionHeads */
  guint attention;
  guint n_changes;    /* as many as there were when the stream last read the gains */
  guint n_handed_out; /* as many as there were when the heads were last looked at */
  gboolean is_out;    /* one of the heads was handed out then */

  /* Under control. */
  gboolean follows_rows; /* as the answer was */
  GArray *times;         /* GstClockTime [rows] */
  GArray *row_gains;     /* gfloat [rows][heads]; the core reads them */
  gboolean is_controlled;
};

static gpointer
ref_head (gconstpointer head, gpointer data)
{
  return gst_object_ref ((gpointer) head);
}

/* The count is read first: what is handed out in between is seen now, or makes the next call look again. */
static void
look_at_heads (GstAttentionGains *self)
{
  self->n_handed_out = gst_attention_heads_count_handed_out ();
  self->is_out = gst_attention_heads_are_out (self->heads);
}

GstAttentionGains *
gst_attention_gains_new (GPtrArray *heads, guint attention)
{
  GstAttentionGains *self = g_new0 (GstAttentionGains, 1);

  self->heads = g_ptr_array_copy (heads, ref_head, NULL);
  g_ptr_array_set_free_func (self->heads, gst_object_unref);
  self->attention = attention;
  self->times = g_array_new (FALSE, FALSE, sizeof (GstClockTime));
  self->row_gains = g_array_new (FALSE, FALSE, sizeof (gfloat));
  look_at_heads (self);
  return self;
}

void
gst_attention_gains_free (GstAttentionGains *self)
{
  g_ptr_array_unref (self->heads);
  g_array_unref (self->times);
  g_array_unref (self->row_gains);
  g_free (self);
}

/* With a thousand elements in turn, no cache holds their heads. So this looks at them only if one was handed out. */
gboolean
gst_attention_gains_follow_rows (GstAttentionGains *self)
{
  if (self->n_handed_out != gst_attention_heads_count_handed_out ())
    look_at_heads (self);
  self->follows_rows = self->is_out && gst_attention_heads_are_controlled (self->heads);
  return self->follows_rows;
}

static gfloat
gain_of (const GstAttentionGains *self, guint head)
{
  return gst_attention_head_get_gain (g_ptr_array_index (self->heads, head));
}

static void
set_gains (const GstAttentionGains *self, AttnStream *stream)
{
  guint i;

  for (i = 0; i < self->heads->len; i++)
    if (attn_stream_set_gain (stream, self->attention, i, gain_of (self, i)) != ATTN_OK)
      g_assert_not_reached (); /* the property is finite, and the attention has as many heads */
}

static void
set_row_gains (const GstAttentionGains *self, AttnStream *stream, guint64 n)
{
  if (attn_stream_set_row_gains (stream, self->attention, (const gfloat *) self->row_gains->data, n) != ATTN_OK)
    g_assert_not_reached (); /* as in set_gains () */
}

/* What a controller makes of them, at the time of each of the next `n` rows. */
static void
control (GstAttentionGains *self, GstFrameFilter *filter, AttnStream *stream, guint64 n)
{
  guint n_heads = self->heads->len, head;
  guint64 row;

  g_array_set_size (self->times, n);
  g_array_set_size (self->row_gains, n * n_heads);
  gst_frame_filter_get_row_times (filter, self->attention, (GstClockTime *) self->times->data, n);
  for (row = 0; row < n; row++) {
    gst_attention_heads_sync (self->heads, g_array_index (self->times, GstClockTime, row));
    for (head = 0; head < n_heads; head++)
      g_array_index (self->row_gains, gfloat, row * n_heads + head) = gain_of (self, head);
  }
  set_row_gains (self, stream, n);
  self->is_controlled = TRUE;
}

/* TRUE: the stream no longer has the gains that were set last. */
static gboolean
end_control (GstAttentionGains *self, AttnStream *stream)
{
  gboolean was_controlled = self->is_controlled;

  if (was_controlled)
    set_row_gains (self, stream, 0);
  self->is_controlled = FALSE;
  return was_controlled;
}

/* More of them are those of absent frames, which nobody keeps aside: they have no gains of their own. */
#define MAX_CONTROLLED 4096

static guint64
count_rows (const GstAttentionGains *self, const AttnStream *stream, guint64 n)
{
  return n == GST_FRAME_FILTER_END ? attn_stream_rows_pending (stream, self->attention)
                                   : attn_stream_rows_ready (stream, self->attention, n);
}

void
gst_attention_gains_apply (GstAttentionGains *self, GstFrameFilter *filter, AttnStream *stream, guint64 n,
                           gboolean is_new)
{
  guint64 n_rows = self->follows_rows ? count_rows (self, stream, n) : 0;
  guint n_changes = gst_attention_heads_count_changes ();
  gboolean has_changed = is_new || n_changes != self->n_changes;

  if (self->follows_rows && n_rows <= MAX_CONTROLLED)
    control (self, filter, stream, n_rows);
  else if (end_control (self, stream) || has_changed)
    set_gains (self, stream);
  self->n_changes = n_changes;
}
