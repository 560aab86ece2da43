/*
 * gst-attention: the colours of the element attentionscope.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_SCOPE_SCOPECOLORS_H
#define PLUGIN_SCOPE_SCOPECOLORS_H

#include <glib.h>

G_BEGIN_DECLS

/* 0xaarrggbb */
#define SCOPE_COLOR_PAGE 0xff16181d    /* around the panels */
#define SCOPE_COLOR_NOTHING 0xff2b2e35 /* no frame, or one that attended to nothing */
#define SCOPE_COLOR_NAN 0xffff2020     /* a weight that is no number */
#define SCOPE_COLOR_TEXT 0xffe8e8e8
#define SCOPE_COLOR_AXIS 0xff9a9da5

#define SCOPE_N_COLORS 256

typedef enum {
  SCOPE_COLOR_MAP_VIRIDIS,
  SCOPE_COLOR_MAP_MAGMA,
  SCOPE_COLOR_MAP_INFERNO,
  SCOPE_COLOR_MAP_PLASMA,
  SCOPE_COLOR_MAP_GREY,
  SCOPE_N_COLOR_MAPS
} ScopeColorMap;

/* From the colour of 0 to that of 1, in steps that look alike: their lightness rises evenly. */
void scope_colors_fill (ScopeColorMap map, guint32 colors[SCOPE_N_COLORS]);

G_END_DECLS

#endif
