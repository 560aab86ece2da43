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

void
gst_attention_encoder_use_children (GstAttentionEncoder *self, gboolean runs)
{
  guint i;

  g_clear_pointer (&self->gains, g_ptr_array_unref);
  if (!runs)
    return;
  self->gains = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_attention_gains_free);
  GST_OBJECT_LOCK (self);
  for (i = 0; i < self->layers->len; i++)
    g_ptr_array_add (self->gains, gst_attention_gains_new (
                                      gst_attention_encoder_layer_heads (g_ptr_array_index (self->layers, i)), i));
  GST_OBJECT_UNLOCK (self);
}

gboolean
gst_attention_encoder_follows_rows (GstFrameFilter *filter, guint side)
{
  return gst_attention_gains_follow_rows (g_ptr_array_index (GST_ATTENTION_ENCODER (filter)->gains, side));
}

void
gst_attention_encoder_before_rows (GstFrameFilter *filter, AttnStream *stream, guint64 n, gboolean is_new)
{
  GPtrArray *gains = GST_ATTENTION_ENCODER (filter)->gains;
  guint i;

  for (i = 0; i < gains->len; i++)
    gst_attention_gains_apply (g_ptr_array_index (gains, i), filter, stream, n, is_new);
}
