/*
 * gst-attention: properties that are fields of a struct: booleans, numbers, enums and strings.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTSETTINGS_H
#define PLUGIN_GSTSETTINGS_H

#include <glib-object.h>

/*
 * `field` is a gboolean (set atomically: some are read without a lock), gint, guint, guint64, gdouble, an enum
 * or a gchar * of its own, as the type of `value` says.
 */
static inline void
gst_settings_set_field (gpointer field, const GValue *value)
{
  switch (G_TYPE_FUNDAMENTAL (G_VALUE_TYPE (value))) {
  case G_TYPE_BOOLEAN:
    g_atomic_int_set ((gboolean *) field, g_value_get_boolean (value));
    break;
  case G_TYPE_INT:
    *(gint *) field = g_value_get_int (value);
    break;
  case G_TYPE_UINT:
    *(guint *) field = g_value_get_uint (value);
    break;
  case G_TYPE_UINT64:
    *(guint64 *) field = g_value_get_uint64 (value);
    break;
  case G_TYPE_DOUBLE:
    *(gdouble *) field = g_value_get_double (value);
    break;
  case G_TYPE_ENUM:
    *(gint *) field = g_value_get_enum (value);
    break;
  case G_TYPE_STRING:
    g_free (*(gchar **) field);
    *(gchar **) field = g_value_dup_string (value);
    break;
  default:
    g_assert_not_reached ();
  }
}

static inline void
gst_settings_get_field (gconstpointer field, GValue *value)
{
  switch (G_TYPE_FUNDAMENTAL (G_VALUE_TYPE (value))) {
  case G_TYPE_BOOLEAN:
    g_value_set_boolean (value, *(const gboolean *) field);
    break;
  case G_TYPE_INT:
    g_value_set_int (value, *(const gint *) field);
    break;
  case G_TYPE_UINT:
    g_value_set_uint (value, *(const guint *) field);
    break;
  case G_TYPE_UINT64:
    g_value_set_uint64 (value, *(const guint64 *) field);
    break;
  case G_TYPE_DOUBLE:
    g_value_set_double (value, *(const gdouble *) field);
    break;
  case G_TYPE_ENUM:
    g_value_set_enum (value, *(const gint *) field);
    break;
  case G_TYPE_STRING:
    g_value_set_string (value, *(gchar *const *) field);
    break;
  default:
    g_assert_not_reached ();
  }
}

#endif
