/*
 * gst-attention: the picture of the element `attentionscope`: the parts that scroll.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "scopepicture.h"

#include <gst/gst.h>
#include <string.h>

struct _ScopePicture {
  ScopeShape shape;
  ScopeSettings settings;
  ScopeLayout layout;
  guint32 colors[SCOPE_N_COLORS];
  guint64 seconds; /* across, ns */
  guint32 *pixels; /* [height][width]: the still parts, and the rings in the places of the plots */
  guint *first; /* [plot_height + 1]: row y shows slots first[y] to first[y + 1] - 1, or first[y], if these are none */
  guint64 n_drawn; /* pixels of time since the beginning; the next goes into the ring at n_drawn % plot_width */

  /* The column in work. */
  gboolean has_column;
  guint64 column, column_end; /* pixels of time */
  gfloat *weights;            /* [n_heads][span] */
  guint32 *column_pixels;     /* [n_heads][plot_height] */
  gboolean is_colored;        /* column_pixels are those of weights */
};

/* ---- life ---- */

/* Slot `i` of n in the rows from `top` to `bottom`. */
static void
spread_slots (ScopePicture *picture, guint top, guint bottom, guint first, guint n)
{
  guint y;

  for (y = top; y < bottom; y++)
    picture->first[y] = first + (guint64) (y - top) * n / (bottom - top);
}

static void
spread_all_slots (ScopePicture *picture)
{
  const ScopeLayout *layout = &picture->layout;
  guint span = scope_shape_get_span (&picture->shape), n_sinks = picture->shape.n_sinks;

  if (layout->sinks_height == 0) {
    spread_slots (picture, 0, layout->plot_height, 0, span);
  } else {
    spread_slots (picture, 0, layout->sinks_height, 0, n_sinks);
    spread_slots (picture, layout->sinks_height, layout->window_top, n_sinks, 0);
    spread_slots (picture, layout->window_top, layout->plot_height, n_sinks, span - n_sinks);
  }
  picture->first[layout->plot_height] = span;
}

ScopePicture *
scope_picture_new (const ScopeShape *shape, const ScopeSettings *settings, guint width, guint height, GError **error)
{
  ScopePicture *picture = g_new0 (ScopePicture, 1);
  ScopeLayout *layout = &picture->layout;

  picture->shape = *shape;
  picture->settings = *settings;
  picture->seconds = MAX (settings->seconds * GST_SECOND, 1);
  if (!scope_layout_find (layout, shape, settings, width, height, error))
    goto fail;
  picture->pixels = g_try_new (guint32, (gsize) width * height);
  picture->first = g_new (guint, layout->plot_height + 1);
  picture->weights = g_try_new (gfloat, (gsize) shape->n_heads * scope_shape_get_span (shape));
  picture->column_pixels = g_try_new (guint32, (gsize) shape->n_heads * layout->plot_height);
  if (picture->pixels == NULL || picture->weights == NULL || picture->column_pixels == NULL)
    goto no_memory;
  scope_colors_fill (settings->color_map, picture->colors);
  spread_all_slots (picture);
  scope_picture_clear (picture);
  return picture;

  /* ERRORS */
no_memory:
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT, "no memory for a picture of %ux%u pixels",
               width, height);
fail:
  scope_picture_free (picture);
  return NULL;
}

void
scope_picture_free (ScopePicture *picture)
{
  g_free (picture->pixels);
  g_free (picture->first);
  g_free (picture->weights);
  g_free (picture->column_pixels);
  g_free (picture);
}

void
scope_picture_clear (ScopePicture *picture)
{
  picture->n_drawn = 0;
  picture->has_column = FALSE;
  scope_layout_draw (&picture->layout, &picture->shape, &picture->settings, picture->pixels);
}

guint64
scope_picture_get_span (const ScopePicture *picture)
{
  return picture->seconds;
}

/* ---- columns ---- */

/* The pixel that a time lies in. */
static guint64
pixel_at (const ScopePicture *picture, guint64 time)
{
  return gst_util_uint64_scale (time, picture->layout.plot_width, picture->seconds);
}

/* The larger one; NaN stays. */
static inline gfloat
larger (gfloat a, gfloat b)
{
  return a > b || a != a ? a : b;
}

static gboolean
is_nothing (const gfloat *weights, guint n)
{
  while (n > 0 && *weights == 0)
    weights++, n--;
  return n == 0;
}

static guint32
color_of_row (const ScopePicture *picture, const gfloat *weights, guint y)
{
  guint slot = picture->first[y], end = MAX (picture->first[y + 1], slot + 1);
  gfloat largest = weights[slot];

  for (slot++; slot < end; slot++)
    largest = larger (largest, weights[slot]);
  if (largest != largest)
    return SCOPE_COLOR_NAN;
  return picture->colors[scope_settings_get_level (&picture->settings, largest)];
}

static void
color_column (ScopePicture *picture)
{
  const ScopeLayout *layout = &picture->layout;
  guint span = scope_shape_get_span (&picture->shape), head, y;

  for (head = 0; head < picture->shape.n_heads; head++) {
    const gfloat *weights = picture->weights + (gsize) head * span;
    guint32 *pixels = picture->column_pixels + (gsize) head * layout->plot_height;
    gboolean nothing = is_nothing (weights, span);

    for (y = 0; y < layout->plot_height; y++)
      pixels[y] = nothing ? SCOPE_COLOR_NOTHING : color_of_row (picture, weights, y);
    for (y = layout->sinks_height; y < layout->window_top; y++)
      pixels[y] = SCOPE_COLOR_PAGE;
  }
  picture->is_colored = TRUE;
}

/* One pixel of time, in every plot: the column in work, or nothing. */
static void
draw_pixels (ScopePicture *picture, gboolean has_column)
{
  const ScopeLayout *layout = &picture->layout;
  guint at = picture->n_drawn % layout->plot_width, head, x, y;

  if (has_column && !picture->is_colored)
    color_column (picture);
  for (head = 0; head < picture->shape.n_heads; head++) {
    const guint32 *from = picture->column_pixels + (gsize) head * layout->plot_height;
    guint32 *to;

    scope_layout_get_plot (layout, head, &x, &y);
    to = picture->pixels + (gsize) y * layout->width + x + at;
    for (y = 0; y < layout->plot_height; y++, to += layout->width)
      if (y < layout->sinks_height || y >= layout->window_top)
        *to = has_column ? from[y] : SCOPE_COLOR_NOTHING;
  }
}

static void
draw_until (ScopePicture *picture, guint64 pixel)
{
  guint width = picture->layout.plot_width;

  if (pixel > picture->n_drawn && pixel - picture->n_drawn > width) /* columns that would have left the plot again */
    picture->n_drawn = pixel - width;
  for (; picture->n_drawn < pixel; picture->n_drawn++)
    draw_pixels (picture, picture->has_column && picture->n_drawn < picture->column_end);
}

void
scope_picture_extend (ScopePicture *picture, guint64 end)
{
  if (picture->column_end != SCOPE_OPEN)
    picture->column_end = MAX (picture->column_end, pixel_at (picture, end));
}

void
scope_picture_add (ScopePicture *picture, guint64 begin, guint64 end, const gfloat *weights)
{
  gsize n = (gsize) picture->shape.n_heads * scope_shape_get_span (&picture->shape), i;
  guint64 pixel = MAX (pixel_at (picture, begin), picture->n_drawn);

  if (picture->has_column && pixel == picture->column) {
    for (i = 0; i < n; i++)
      picture->weights[i] = larger (picture->weights[i], weights[i]);
  } else {
    draw_until (picture, pixel);
    memcpy (picture->weights, weights, n * sizeof *weights);
    picture->column = pixel;
    picture->column_end = pixel + 1;
    picture->has_column = TRUE;
  }
  picture->is_colored = FALSE;
  if (end == SCOPE_OPEN)
    picture->column_end = SCOPE_OPEN;
  else
    scope_picture_extend (picture, end);
}

/* ---- out ---- */

/* Row y of the picture: the still part up to the next plot, the ring from its oldest pixel on, and so on. */
static void
write_row_of_plots (const ScopePicture *picture, guint first_head, guint y, guint oldest, guint32 *to)
{
  const ScopeLayout *layout = &picture->layout;
  guint end = MIN (first_head + layout->n_columns, picture->shape.n_heads), width = layout->plot_width;
  const guint32 *from = picture->pixels + (gsize) y * layout->width;
  guint head, x, top, done = 0;

  for (head = first_head; head < end; head++) {
    scope_layout_get_plot (layout, head, &x, &top);
    memcpy (to + done, from + done, (x - done) * sizeof *to);
    memcpy (to + x, from + x + oldest, (width - oldest) * sizeof *to);
    memcpy (to + x + width - oldest, from + x, oldest * sizeof *to);
    done = x + width;
  }
  memcpy (to + done, from + done, (layout->width - done) * sizeof *to);
}

void
scope_picture_write (ScopePicture *picture, guint64 until, guint8 *pixels, gsize stride)
{
  const ScopeLayout *layout = &picture->layout;
  guint y, oldest;

  draw_until (picture, pixel_at (picture, until));
  oldest = picture->n_drawn % layout->plot_width;
  for (y = 0; y < layout->height; y++) {
    guint32 *to = (guint32 *) (pixels + y * stride);
    guint below = y - layout->top, row = below / layout->pitch_y;

    if (y >= layout->top && row < layout->n_rows && below % layout->pitch_y < layout->plot_height)
      write_row_of_plots (picture, row * layout->n_columns, y, oldest, to);
    else
      memcpy (to, picture->pixels + (gsize) y * layout->width, layout->width * sizeof *to);
  }
}
