/*
 * gst-attention: one layer of attention of the element `attentionencoder`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionencoderlayer.h"

#include "gstattentionhead.h"

struct _GstAttentionEncoderLayer {
  GstObject parent;

  GPtrArray *heads; /* GstAttentionHeads */
};

static void gst_attention_encoder_layer_child_proxy_init (gpointer iface, gpointer data);

G_DEFINE_TYPE_WITH_CODE (GstAttentionEncoderLayer, gst_attention_encoder_layer, GST_TYPE_OBJECT,
                         G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_attention_encoder_layer_child_proxy_init))

GstAttentionEncoderLayer *
gst_attention_encoder_layer_new (guint number, guint n_heads)
{
  gchar *name = g_strdup_printf ("layer%u", number);
  GstAttentionEncoderLayer *self = g_object_new (GST_TYPE_ATTENTION_ENCODER_LAYER, "name", name, NULL);

  gst_attention_heads_resize (self->heads, GST_OBJECT (self), n_heads);
  g_free (name);
  return self;
}

GPtrArray *
gst_attention_encoder_layer_heads (GstAttentionEncoderLayer *self)
{
  return self->heads;
}

/* ---- children ---- */

static guint
gst_attention_encoder_layer_get_children_count (GstChildProxy *proxy)
{
  return gst_attention_heads_count (GST_ATTENTION_ENCODER_LAYER (proxy)->heads, GST_OBJECT (proxy));
}

static GObject *
gst_attention_encoder_layer_get_child_by_index (GstChildProxy *proxy, guint i)
{
  return gst_attention_heads_get (GST_ATTENTION_ENCODER_LAYER (proxy)->heads, GST_OBJECT (proxy), i);
}

static void
gst_attention_encoder_layer_child_proxy_init (gpointer iface, gpointer data)
{
  GstChildProxyInterface *proxy = iface;

  proxy->get_children_count = gst_attention_encoder_layer_get_children_count;
  proxy->get_child_by_index = gst_attention_encoder_layer_get_child_by_index;
}

/* ---- object ---- */

static void
gst_attention_encoder_layer_dispose (GObject *object)
{
  gst_attention_heads_resize (GST_ATTENTION_ENCODER_LAYER (object)->heads, GST_OBJECT (object), 0);
  G_OBJECT_CLASS (gst_attention_encoder_layer_parent_class)->dispose (object);
}

static void
gst_attention_encoder_layer_finalize (GObject *object)
{
  g_ptr_array_unref (GST_ATTENTION_ENCODER_LAYER (object)->heads);
  G_OBJECT_CLASS (gst_attention_encoder_layer_parent_class)->finalize (object);
}

static void
gst_attention_encoder_layer_class_init (GstAttentionEncoderLayerClass *klass)
{
  G_OBJECT_CLASS (klass)->dispose = gst_attention_encoder_layer_dispose;
  G_OBJECT_CLASS (klass)->finalize = gst_attention_encoder_layer_finalize;
}

static void
gst_attention_encoder_layer_init (GstAttentionEncoderLayer *self)
{
  self->heads = g_ptr_array_new_with_free_func (gst_object_unref);
}
