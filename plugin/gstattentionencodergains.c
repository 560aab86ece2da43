/*
 * gst-attention: the element `attentionencoder`: its layers of attention, and the gains of their heads.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionencoder-private.h"

#include "gstattentionhead.h"

/* ---- children ---- */

static gboolean
fits (GstAttentionEncoder *self, const AttnLayer *layer, guint n)
{
  gboolean fits;
  guint i;

  GST_OBJECT_LOCK (self);
  fits = self->layers->len == n;
  for (i = 0; fits && i < n; i++)
    fits = gst_attention_encoder_layer_heads (g_ptr_array_index (self->layers, i))->len
           == attn_layer_attention (layer, i)->n_heads;
  GST_OBJECT_UNLOCK (self);
  return fits;
}

static void
remove_layers (GstAttentionEncoder *self)
{
  GPtrArray *layers;
  guint i;

  GST_OBJECT_LOCK (self);
  layers = self->layers;
  self->layers = g_ptr_array_new_with_free_func (gst_object_unref);
  GST_OBJECT_UNLOCK (self);
  for (i = layers->len; i-- > 0;) {
    GstObject *layer = g_ptr_array_index (layers, i);

    gst_child_proxy_child_removed (GST_CHILD_PROXY (self), G_OBJECT (layer), GST_OBJECT_NAME (layer));
    gst_object_unparent (layer);
  }
  g_ptr_array_unref (layers);
}

/* Its heads are there when it is said to be. */
static void
add_layer (GstAttentionEncoder *self, guint number, guint n_heads)
{
  GstObject *layer = gst_object_ref_sink (gst_attention_encoder_layer_new (number, n_heads));

  gst_object_set_parent (layer, GST_OBJECT (self));
  GST_OBJECT_LOCK (self);
  g_ptr_array_add (self->layers, gst_object_ref (layer));
  GST_OBJECT_UNLOCK (self);
  gst_child_proxy_child_added (GST_CHILD_PROXY (self), G_OBJECT (layer), GST_OBJECT_NAME (layer));
  gst_object_unref (layer);
}

void
gst_attention_encoder_set_children (GstAttentionEncoder *self, const AttnLayer *layer)
{
  guint i, n = layer != NULL ? attn_layer_n_attentions (layer) : 0;

  if (fits (self, layer, n))
    return;
  remove_layers (self);
  for (i = 0; i < n; i++)
    add_layer (self, i, attn_layer_attention (layer, i)->n_heads);
}

static guint
gst_attention_encoder_get_children_count (GstChildProxy *proxy)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (proxy);
  guint n;

  GST_OBJECT_LOCK (self);
  n = self->layers->len;
  GST_OBJECT_UNLOCK (self);
  return n;
}

static GObject *
gst_attention_encoder_get_child_by_index (GstChildProxy *proxy, guint i)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (proxy);
  GObject *layer = NULL;

  GST_OBJECT_LOCK (self);
  if (i < self->layers->len)
    layer = gst_object_ref (g_ptr_array_index (self->layers, i));
  GST_OBJECT_UNLOCK (self);
  return layer;
}

void
gst_attention_encoder_child_proxy_init (gpointer iface, gpointer data)
{
  GstChildProxyInterface *proxy = iface;

  proxy->get_children_count = gst_attention_encoder_get_children_count;
  proxy->get_child_by_index = gst_attention_encoder_get_child_by_index;
}

/* ---- presets ---- */

static gchar **(*list_properties) (GstPreset *preset); /* GStreamer's own, which knows of no children of children */

static void
append_gains (GPtrArray *names, GObject *layer)
{
  guint head, n = gst_child_proxy_get_children_count (GST_CHILD_PROXY (layer));

  for (head = 0; head < n; head++)
    g_ptr_array_add (names, g_strdup_printf ("%s::head%u::gain", GST_OBJECT_NAME (layer), head));
}

static gchar **
gst_attention_encoder_get_property_names (GstPreset *preset)
{
  GPtrArray *names = g_ptr_array_new ();
  gchar **own = list_properties (preset), **name;
  GObject *layer;
  guint i;

  for (name = own; *name != NULL; name++)
    g_ptr_array_add (names, *name);
  g_free (own);
  for (i = 0; (layer = gst_attention_encoder_get_child_by_index (GST_CHILD_PROXY (preset), i)); i++) {
    append_gains (names, layer);
    g_object_unref (layer);
  }
  g_ptr_array_add (names, NULL);
  return (gchar **) g_ptr_array_free (names, FALSE);
}

void
gst_attention_encoder_preset_init (gpointer iface, gpointer data)
{
  GstPresetInterface *preset = iface;

  gst_attention_heads_preset_init (iface, data);
  list_properties = preset->get_property_names;
  preset->get_property_names = gst_attention_encoder_get_property_names;
}

/* ---- what runs ---- */

static void
free_running (GstAttentionEncoder *self)
{
  guint i;

  for (i = 0; self->running != NULL && i < self->running->len; i++) {
    g_array_unref (self->row_gains[i].gains);
    g_array_unref (self->row_gains[i].times);
  }
  g_clear_pointer (&self->row_gains, g_free);
  g_clear_pointer (&self->running, g_ptr_array_unref);
}

static gpointer
ref_layer (gconstpointer layer, gpointer data)
{
  return gst_object_ref ((gpointer) layer);
}

void
gst_attention_encoder_use_children (GstAttentionEncoder *self, gboolean runs)
{
  guint i;

  free_running (self);
  if (!runs)
    return;
  GST_OBJECT_LOCK (self);
  self->running = g_ptr_array_copy (self->layers, ref_layer, NULL);
  GST_OBJECT_UNLOCK (self);
  g_ptr_array_set_free_func (self->running, gst_object_unref);
  self->row_gains = g_new0 (RowGains, self->running->len);
  for (i = 0; i < self->running->len; i++) {
    self->row_gains[i].gains = g_array_new (FALSE, FALSE, sizeof (gfloat));
    self->row_gains[i].times = g_array_new (FALSE, FALSE, sizeof (GstClockTime));
  }
}

/* ---- gains ---- */

static GPtrArray *
heads_of (GstAttentionEncoder *self, guint layer)
{
  return gst_attention_encoder_layer_heads (g_ptr_array_index (self->running, layer));
}

gboolean
gst_attention_encoder_follows_rows (GstFrameFilter *filter, guint side)
{
  return gst_attention_heads_are_controlled (heads_of (GST_ATTENTION_ENCODER (filter), side));
}

static void
set_row_gains (AttnStream *stream, guint layer, const gfloat *gains, guint64 n)
{
  if (attn_stream_set_row_gains (stream, layer, gains, n) != ATTN_OK)
    g_assert_not_reached (); /* the property is finite */
}

/* What a controller makes of them, at the time of each of the next `n` rows. */
static void
control (GstAttentionEncoder *self, AttnStream *stream, guint layer, guint64 n)
{
  RowGains *row_gains = &self->row_gains[layer];
  GPtrArray *heads = heads_of (self, layer);
  guint64 row;
  guint head;

  g_array_set_size (row_gains->times, n);
  g_array_set_size (row_gains->gains, n * heads->len);
  gst_frame_filter_get_row_times (GST_FRAME_FILTER (self), layer, (GstClockTime *) row_gains->times->data, n);
  for (row = 0; row < n; row++) {
    gst_attention_heads_sync (heads, g_array_index (row_gains->times, GstClockTime, row));
    for (head = 0; head < heads->len; head++)
      g_array_index (row_gains->gains, gfloat, row * heads->len + head) =
          gst_attention_head_get_gain (g_ptr_array_index (heads, head));
  }
  set_row_gains (stream, layer, (const gfloat *) row_gains->gains->data, n);
  row_gains->is_controlled = TRUE;
}

/* TRUE: they are again what was set last. */
static gboolean
leave_alone (GstAttentionEncoder *self, AttnStream *stream, guint layer)
{
  gboolean was_controlled = self->row_gains[layer].is_controlled;

  if (was_controlled)
    set_row_gains (stream, layer, NULL, 0);
  self->row_gains[layer].is_controlled = FALSE;
  return was_controlled;
}

/* More of them are those of absent frames, which nobody keeps aside: they have no gains of their own. */
#define MAX_CONTROLLED 4096

static guint64
count_rows (const AttnStream *stream, guint layer, guint64 n)
{
  return n == GST_FRAME_FILTER_END ? attn_stream_rows_pending (stream, layer)
                                   : attn_stream_rows_ready (stream, layer, n);
}

void
gst_attention_encoder_before_rows (GstFrameFilter *filter, AttnStream *stream, guint64 n, gboolean is_new)
{
  GstAttentionEncoder *self = GST_ATTENTION_ENCODER (filter);
  guint n_changes = gst_attention_heads_count_changes (), i;
  gboolean changed = is_new || n_changes != self->n_gain_changes;

  for (i = 0; i < self->running->len; i++) {
    gboolean is_controlled = gst_attention_heads_are_controlled (heads_of (self, i));
    guint64 n_rows = is_controlled ? count_rows (stream, i, n) : 0;

    if (is_controlled && n_rows <= MAX_CONTROLLED)
      control (self, stream, i, n_rows);
    else if (leave_alone (self, stream, i) || changed)
      gst_attention_heads_set_gains (heads_of (self, i), stream, i);
  }
  self->n_gain_changes = n_changes;
}
