/*
 * gst-attention: the types of enums that are properties. SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTENUMS_H
#define PLUGIN_GSTENUMS_H

#include <glib-object.h>

/* Defines type_name_get_type () for this file. Its values follow, each { value, "what it is", "nick" }. */
#define GST_DEFINE_ENUM(TypeName, type_name, ...) \
  static GType type_name##_get_type (void);       \
  G_DEFINE_ENUM_TYPE (TypeName, type_name, __VA_ARGS__)

#endif
