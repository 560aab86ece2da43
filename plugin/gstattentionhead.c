/*
 * gst-attention: one head of the element `attention`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstattentionhead.h"

enum {
  PROP_0,
  PROP_GAIN,
};

#define DEFAULT_GAIN 1.0f
/* Wide enough for learned factors, and narrow enough for a relative control binding to have a use. */
#define MAX_GAIN 10.0f

struct _GstAttentionHead {
  GstObject parent;

  gfloat gain; /* the object lock */
  gint is_out; /* gboolean, atomic: somebody may have got hold of it */
};

static gint n_changes, n_handed_out; /* atomic */

G_DEFINE_TYPE (GstAttentionHead, gst_attention_head, GST_TYPE_OBJECT)

GstAttentionHead *
gst_attention_head_new (guint number)
{
  gchar *name = g_strdup_printf ("head%u", number);
  GstAttentionHead *head = g_object_new (GST_TYPE_ATTENTION_HEAD, "name", name, NULL);

  g_free (name);
  return head;
}

gfloat
gst_attention_head_get_gain (GstAttentionHead *head)
{
  gfloat gain;

  GST_OBJECT_LOCK (head);
  gain = head->gain;
  GST_OBJECT_UNLOCK (head);
  return gain;
}

void
gst_attention_head_hand_out (GstAttentionHead *head)
{
  if (g_atomic_int_compare_and_exchange (&head->is_out, FALSE, TRUE))
    g_atomic_int_inc (&n_handed_out);
}

guint
gst_attention_heads_count_handed_out (void)
{
  return g_atomic_int_get (&n_handed_out);
}

gboolean
gst_attention_heads_are_out (GPtrArray *heads)
{
  gboolean is_out = FALSE;
  guint i;

  for (i = 0; i < heads->len; i++)
    is_out |= g_atomic_int_get (&((GstAttentionHead *) g_ptr_array_index (heads, i))->is_out);
  return is_out;
}

guint
gst_attention_heads_count_changes (void)
{
  return g_atomic_int_get (&n_changes);
}

guint
gst_attention_heads_count (GPtrArray *heads, GstObject *parent)
{
  guint n;

  GST_OBJECT_LOCK (parent);
  n = heads->len;
  GST_OBJECT_UNLOCK (parent);
  return n;
}

static void
announce (GstAttentionHead *head, GstObject *parent)
{
  if (g_signal_has_handler_pending (parent, g_signal_lookup ("child-added", GST_TYPE_CHILD_PROXY), 0, TRUE))
    gst_attention_head_hand_out (head);
  gst_child_proxy_child_added (GST_CHILD_PROXY (parent), G_OBJECT (head), GST_OBJECT_NAME (head));
}

/* Nothing happens where another thread was faster: there is a head `number`. */
static void
add_head (GPtrArray *heads, GstObject *parent, guint number)
{
  GstAttentionHead *head = gst_object_ref_sink (gst_attention_head_new (number)); /* another thread may take it away */
  gboolean added;

  gst_object_set_parent (GST_OBJECT (head), parent);
  GST_OBJECT_LOCK (parent);
  added = heads->len == number;
  if (added)
    g_ptr_array_add (heads, gst_object_ref (head));
  GST_OBJECT_UNLOCK (parent);
  if (added)
    announce (head, parent);
  else
    gst_object_unparent (GST_OBJECT (head));
  gst_object_unref (head);
}

/* The same: head `number` is no longer the last. */
static void
remove_head (GPtrArray *heads, GstObject *parent, guint number)
{
  GstObject *head = NULL;

  GST_OBJECT_LOCK (parent);
  if (heads->len == number + 1) {
    head = gst_object_ref (g_ptr_array_index (heads, number));
    g_ptr_array_set_size (heads, number);
  }
  GST_OBJECT_UNLOCK (parent);
  if (head == NULL)
    return;
  gst_child_proxy_child_removed (GST_CHILD_PROXY (parent), G_OBJECT (head), GST_OBJECT_NAME (head));
  gst_object_unparent (head);
  gst_object_unref (head);
}

void
gst_attention_heads_resize (GPtrArray *heads, GstObject *parent, guint n)
{
  guint n_now;

  while ((n_now = gst_attention_heads_count (heads, parent)) < n)
    add_head (heads, parent, n_now);
  while ((n_now = gst_attention_heads_count (heads, parent)) > n)
    remove_head (heads, parent, n_now - 1);
}

GObject *
gst_attention_heads_get (GPtrArray *heads, GstObject *parent, guint number)
{
  GstAttentionHead *head = NULL;

  GST_OBJECT_LOCK (parent);
  if (number < heads->len)
    head = gst_object_ref (g_ptr_array_index (heads, number));
  GST_OBJECT_UNLOCK (parent);
  if (head != NULL)
    gst_attention_head_hand_out (head);
  return (GObject *) head;
}

/*
 * Asked for each frame, and gst_object_has_active_control_bindings () locks: 15 ns for each head, a tenth of the
 * element's time at 16 heads. A head that nobody has got hold of has no bindings.
 */
gboolean
gst_attention_heads_are_controlled (GPtrArray *heads)
{
  guint i;

  for (i = 0; i < heads->len; i++) {
    GstAttentionHead *head = g_ptr_array_index (heads, i);

    if (g_atomic_int_get (&head->is_out) && gst_object_has_active_control_bindings (GST_OBJECT (head)))
      return TRUE;
  }
  return FALSE;
}

void
gst_attention_heads_sync (GPtrArray *heads, GstClockTime time)
{
  guint i;

  for (i = 0; i < heads->len && GST_CLOCK_TIME_IS_VALID (time); i++)
    gst_object_sync_values (g_ptr_array_index (heads, i), time);
}

/* ---- presets ---- */

static gboolean (*load_properties) (GstPreset *preset, const gchar *name); /* GStreamer's own */

/*
 * GStreamer loads the properties and children that the element has at the beginning. The gains of heads come with the
 * number of heads, or with the file: once that is loaded, they can be.
 */
static gboolean
gst_attention_heads_load_preset (GstPreset *preset, const gchar *name)
{
  return load_properties (preset, name) && load_properties (preset, name);
}

void
gst_attention_heads_preset_init (gpointer iface, gpointer data)
{
  GstPresetInterface *preset = iface;

  if (preset->load_preset != gst_attention_heads_load_preset)
    load_properties = preset->load_preset;
  preset->load_preset = gst_attention_heads_load_preset;
}

/* ---- object ---- */

static void
gst_attention_head_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAttentionHead *self = GST_ATTENTION_HEAD (object);

  switch (id) {
  case PROP_GAIN:
    GST_OBJECT_LOCK (self);
    self->gain = g_value_get_float (value);
    GST_OBJECT_UNLOCK (self);
    g_atomic_int_inc (&n_changes);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
}

static void
gst_attention_head_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  switch (id) {
  case PROP_GAIN:
    g_value_set_float (value, gst_attention_head_get_gain (GST_ATTENTION_HEAD (object)));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    break;
  }
}

static void
gst_attention_head_class_init (GstAttentionHeadClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->set_property = gst_attention_head_set_property;
  object_class->get_property = gst_attention_head_get_property;
  g_object_class_install_property (
      object_class, PROP_GAIN,
      g_param_spec_float ("gain", "Gain",
                          "Factor of the contribution of the head, before the output projection. 0 silences the head. "
                          "Under a GstController the gain is evaluated at the stream time of each output frame",
                          -MAX_GAIN, MAX_GAIN, DEFAULT_GAIN,
                          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_CONTROLLABLE
                              | GST_PARAM_MUTABLE_PLAYING));
}

static void
gst_attention_head_init (GstAttentionHead *self)
{
  self->gain = DEFAULT_GAIN;
}
