/*
 * gst-attention: where the panels of the element attentionscope stand, with their axes and labels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A panel is a plot with a title above it. Plots are of one size; lags are labelled at the left of the picture, times
 * below the last plot of a column, weights at the colour bar on the right. Letters shrink with the picture until they
 * cannot be read any more; then there are none, and the plots get their room.
 */
#ifndef PLUGIN_SCOPE_SCOPELAYOUT_H
#define PLUGIN_SCOPE_SCOPELAYOUT_H

#include "scopecolors.h"

G_BEGIN_DECLS

typedef enum { SCOPE_LAYOUT_AUTO, SCOPE_LAYOUT_ROWS, SCOPE_LAYOUT_COLUMNS, SCOPE_LAYOUT_GRID } ScopeArrangement;

typedef enum { SCOPE_SCALE_LOG, SCOPE_SCALE_LINEAR } ScopeScale;

/* A row of weights: slots [n_heads][n_sinks + window + look_ahead], oldest first. */
typedef struct {
  guint n_heads, n_sinks, window, look_ahead;
} ScopeShape;

typedef struct {
  ScopeColorMap color_map;
  ScopeScale scale;
  gdouble gain;    /* a weight of 1 / gain is brightest */
  gdouble range;   /* decades from there to the darkest, of the logarithmic scale */
  gdouble seconds; /* across a plot */
  ScopeArrangement arrangement;
  gboolean labels;
} ScopeSettings;

typedef struct {
  guint width, height; /* of the picture */
  guint n_columns, n_rows;
  guint left, top, pitch_x, pitch_y; /* of the first plot, and from one to the next */
  guint plot_width, plot_height;     /* of each */
  guint sinks_height, window_top;    /* rows of a plot: of the sinks; where the window begins */
  guint font, line, gap;             /* pixels: letters (0: none), a line of them, between things */
  guint bar_left, bar_width;         /* of the colour bar; width 0: none */
} ScopeLayout;

/* Where things are. FALSE, with a sentence, when there are more panels than pixels. */
gboolean scope_layout_find (ScopeLayout *layout, const ScopeShape *shape, const ScopeSettings *settings, guint width,
                            guint height, GError **error);

/* The left end and top of the plot of a head. */
void scope_layout_get_plot (const ScopeLayout *layout, guint head, guint *x, guint *y);

/* All that stands still, into pixels [height][width]. */
void scope_layout_draw (const ScopeLayout *layout, const ScopeShape *shape, const ScopeSettings *settings,
                        guint32 *pixels);

/* Slots in one head's row. */
guint scope_shape_get_span (const ScopeShape *shape);

/* 0 to SCOPE_N_COLORS - 1, the colour of a weight that is a number. */
guint scope_settings_get_level (const ScopeSettings *settings, gfloat weight);

G_END_DECLS

#endif
