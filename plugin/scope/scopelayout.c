/* gst-attention: where the panels of the element `attentionscope` stand.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scopelayout.h"

#include <gst/gst.h>
#include <math.h>

#include "scopetext.h"

/* Letters, in pixels: larger than the smallest that can be read, and no larger than a title needs to be at 4K. */
#define SMALLEST_FONT 8
#define LARGEST_FONT 40

/* Panels are as wide as this many times their height where they can be: time wants more room than lags. */
#define BEST_ASPECT 2.5

/* Below this many rows a plot has no strip of its own for the sinks. */
#define ROWS_FOR_SINKS 16

#define MINUS "\342\210\222"

guint
scope_shape_get_span (const ScopeShape *shape)
{
  return shape->n_sinks + shape->window + shape->look_ahead;
}

guint
scope_settings_get_level (const ScopeSettings *settings, gfloat weight)
{
  gdouble level = weight * settings->gain;

  if (!(level > 0))
    return 0;
  if (settings->scale == SCOPE_SCALE_LOG)
    level = 1 + log10 (level) / settings->range;
  return CLAMP (level, 0, 1) * (SCOPE_N_COLORS - 1) + 0.5;
}

/* ---- where things are ---- */

/* How far the shape of a panel is from the best, and how much of the picture is left empty. */
static gdouble
badness (guint n_heads, guint n_columns, guint width, guint height)
{
  guint n_rows = (n_heads + n_columns - 1) / n_columns;
  gdouble aspect = ((gdouble) width / n_columns) / ((gdouble) height / n_rows);

  return fabs (log (aspect / BEST_ASPECT)) + 3 * ((gdouble) n_rows * n_columns / n_heads - 1);
}

static guint
count_columns (ScopeArrangement arrangement, guint n_heads, guint width, guint height)
{
  guint n, best = 1;

  switch (arrangement) {
  case SCOPE_LAYOUT_ROWS:
    return 1;
  case SCOPE_LAYOUT_COLUMNS:
    return n_heads;
  case SCOPE_LAYOUT_GRID:
    return ceil (sqrt (n_heads));
  default:
    for (n = 2; n <= n_heads; n++)
      if (badness (n_heads, n, width, height) < badness (n_heads, best, width, height))
        best = n;
    return best;
  }
}

/* `room` pixels, of which `used` are taken, shared by n parts with `gap` pixels between them. 0: too few. */
static guint
share (guint room, guint used, guint n, guint gap)
{
  guint64 taken = used + (guint64) (n - 1) * gap;

  return taken < room ? (room - taken) / n : 0;
}

static guint
widest_lag (ScopeText *text, const ScopeShape *shape)
{
  gchar *oldest = g_strdup_printf ("%u", shape->window - 1), *latest = g_strdup_printf (MINUS "%u", shape->look_ahead);
  guint width = MAX (scope_text_get_width (text, oldest), scope_text_get_width (text, latest));

  g_free (oldest);
  g_free (latest);
  return shape->n_sinks > 0 ? MAX (width, scope_text_get_width (text, "sinks")) : width;
}

/* With letters of `font` pixels, 0: without. FALSE: the plots would be too small. */
static gboolean
try_font (ScopeLayout *layout, const ScopeShape *shape, guint font)
{
  ScopeText *text = font > 0 ? scope_text_new (&(guint32){ 0 }, 1, 1, font) : NULL;
  guint tick, right, bottom, between, smallest = MIN (layout->width, layout->height);

  if (font > 0 && text == NULL)
    return FALSE;
  layout->font = font;
  layout->line = scope_text_get_height (text);
  layout->gap = font > 0 ? MAX (font / 2, 4) : CLAMP (smallest / 48, 1, 16);
  tick = layout->gap / 2;
  layout->left = font > 0 ? layout->line + widest_lag (text, shape) + 3 * tick : layout->gap;
  layout->top = layout->line + (font > 0 ? tick : layout->gap);
  bottom = font > 0 ? tick + layout->line + tick / 2 : layout->gap;
  layout->bar_width = layout->width >= 30 * font ? font : 0;
  right = layout->gap + layout->bar_width;
  if (layout->bar_width > 0)
    right += layout->gap + MAX (scope_text_get_width (text, "0.001") + 2 * tick, scope_text_get_width (text, "weight"));
  layout->bar_left = layout->width - right + 2 * layout->gap;
  between = font > 0 ? 2 * layout->gap + tick : layout->gap;
  scope_text_free (text);

  layout->plot_width = share (layout->width, layout->left + right, layout->n_columns, between);
  layout->plot_height = share (layout->height, layout->top + bottom, layout->n_rows, layout->line + layout->gap);
  layout->pitch_x = layout->plot_width + between;
  layout->pitch_y = layout->plot_height + layout->line + layout->gap;
  return layout->plot_width >= MAX (6 * font, 1) && layout->plot_height >= MAX (3 * font / 2, 1);
}

/* A strip for the sinks at the top, a gap, and the window below. */
static void
divide_plot (ScopeLayout *layout, const ScopeShape *shape)
{
  guint height = layout->plot_height;

  layout->sinks_height = layout->window_top = 0;
  if (shape->n_sinks == 0 || height < ROWS_FOR_SINKS)
    return;
  layout->sinks_height = CLAMP ((guint64) height * shape->n_sinks / scope_shape_get_span (shape),
                                MIN (height / 8, MAX (layout->line, 4 * shape->n_sinks)), height / 3);
  layout->window_top = layout->sinks_height + MAX (layout->gap / 4, 1);
}

gboolean
scope_layout_find (ScopeLayout *layout, const ScopeShape *shape, const ScopeSettings *settings, guint width,
                   guint height, GError **error)
{
  guint font = CLAMP (MIN (width / 80, height / 45), SMALLEST_FONT + 1, LARGEST_FONT);

  layout->width = width;
  layout->height = height;
  layout->n_columns = count_columns (settings->arrangement, shape->n_heads, width, height);
  layout->n_rows = (shape->n_heads + layout->n_columns - 1) / layout->n_columns;
  if (!settings->labels)
    font = 0;
  while (font >= SMALLEST_FONT && !try_font (layout, shape, font))
    font--;
  if (font < SMALLEST_FONT && !try_font (layout, shape, 0))
    goto too_many;
  divide_plot (layout, shape);
  return TRUE;

  /* ERRORS */
too_many:
  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
               "%u heads, as %u columns and %u rows of panels, do not fit into a picture of %ux%u pixels",
               shape->n_heads, layout->n_columns, layout->n_rows, width, height);
  return FALSE;
}

void
scope_layout_get_plot (const ScopeLayout *layout, guint head, guint *x, guint *y)
{
  *x = layout->left + head % layout->n_columns * layout->pitch_x;
  *y = layout->top + head / layout->n_columns * layout->pitch_y;
}

/* ---- the parts that stand still ---- */

typedef struct {
  const ScopeLayout *layout;
  const ScopeShape *shape;
  const ScopeSettings *settings;
  guint32 *pixels; /* [height][width] */
  ScopeText *text;
} Drawing;

static void
fill (Drawing *drawing, gint x, gint y, gint width, gint height, guint32 color)
{
  gint right = MIN (x + width, (gint) drawing->layout->width),
       bottom = MIN (y + height, (gint) drawing->layout->height);
  gint i;

  for (y = MAX (y, 0); y < bottom; y++)
    for (i = MAX (x, 0); i < right; i++)
      drawing->pixels[(gsize) y * drawing->layout->width + i] = color;
}

/* 1, 2 or 5 times a power of ten, of which at most `n_most` go into `range`. */
static gdouble
nice_step (gdouble range, guint n_most)
{
  gdouble least = range / MAX (n_most, 1), power = pow (10, floor (log10 (least)));

  if (least <= power)
    return power;
  if (least <= 2 * power)
    return 2 * power;
  return least <= 5 * power ? 5 * power : 10 * power;
}

static guint
tick_length (const ScopeLayout *layout)
{
  return MAX (layout->gap / 2, 1);
}

static guint
line_width (const ScopeLayout *layout)
{
  return MAX (layout->font / 12, 1);
}

/* A tick on the left of a plot, y rows below the top of it; `label` may be NULL. */
static void
draw_left_tick (Drawing *drawing, gint x, gint y, const gchar *label)
{
  gint length = tick_length (drawing->layout), width = line_width (drawing->layout);

  fill (drawing, x - length, y - width / 2, length, width, SCOPE_COLOR_AXIS);
  if (label != NULL)
    scope_text_draw (drawing->text, x - length - 2, y, SCOPE_ALIGN_END, SCOPE_ALIGN_MIDDLE, label);
}

/* The row in the middle of those of a lag, from the top of the plot. */
static gint
row_of_lag (Drawing *drawing, gint lag)
{
  const ScopeLayout *layout = drawing->layout;
  gdouble n_slots = drawing->shape->window + drawing->shape->look_ahead, slot = drawing->shape->window - 1 - lag;

  return layout->window_top + (slot + 0.5) * (layout->plot_height - layout->window_top) / n_slots;
}

static void
draw_lags (Drawing *drawing, gint x, gint y, gboolean labelled)
{
  const ScopeLayout *layout = drawing->layout;
  const ScopeShape *shape = drawing->shape;
  guint n_most = (layout->plot_height - layout->window_top) / MAX (layout->line + layout->line / 2, 8);
  gdouble n_slots = shape->window + shape->look_ahead;
  gint step = MAX (nice_step (n_slots, n_most), 1), lag = -(gint) (shape->look_ahead / step) * step;
  gint highest = layout->sinks_height > 0 ? layout->sinks_height / 2 + layout->line : 0; /* below the word sinks */

  for (; lag < (gint) shape->window; lag += step) {
    gchar *label = g_strdup_printf ("%s%d", lag < 0 ? MINUS : "", ABS (lag));
    gint row = row_of_lag (drawing, lag);

    draw_left_tick (drawing, x, y + row, labelled && row >= highest ? label : NULL);
    g_free (label);
  }
  if (layout->sinks_height > 0)
    draw_left_tick (drawing, x, y + layout->sinks_height / 2, labelled ? "sinks" : NULL);
}

/* The name of the axis, as long as it may be. */
static void
draw_name_of_lags (Drawing *drawing, gint y)
{
  const ScopeLayout *layout = drawing->layout;
  const gchar *const names[] = { "lag (frames)", "lag" };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++)
    if (scope_text_get_width (drawing->text, names[i]) <= layout->plot_height) {
      scope_text_draw_upwards (drawing->text, (layout->gap + layout->line) / 2, y + layout->plot_height / 2, names[i]);
      return;
    }
}

/* Seconds before the right end of the plot, which is now. `y` is the bottom of the plot. */
static void
draw_times (Drawing *drawing, gint x, gint y, gboolean labelled)
{
  const ScopeLayout *layout = drawing->layout;
  gdouble seconds = drawing->settings->seconds;
  guint label_width = MAX (scope_text_get_width (drawing->text, MINUS "0.05 s") * 3 / 2, 32);
  gdouble step = nice_step (seconds, layout->plot_width / label_width), i;
  gint length = tick_length (layout), width = line_width (layout), end = x + layout->plot_width;

  for (i = 0; i * step <= seconds * (1 + 1e-9); i++) {
    gchar *label = i == 0 ? g_strdup ("0 s") : g_strdup_printf (MINUS "%g s", i * step);
    gint at = end - i * step / seconds * layout->plot_width, half = scope_text_get_width (drawing->text, label) / 2;

    fill (drawing, at - width / 2, y, width, length, SCOPE_COLOR_AXIS);
    if (labelled) /* at the ends inside, so that labels of neighbours do not touch */
      scope_text_draw (drawing->text, CLAMP (at, (gint) x + half, end - half), y + length, SCOPE_ALIGN_MIDDLE,
                       SCOPE_ALIGN_START, label);
    g_free (label);
  }
}

static void
draw_panel (Drawing *drawing, guint head)
{
  const ScopeLayout *layout = drawing->layout;
  gboolean is_first = head % layout->n_columns == 0, is_last = head + layout->n_columns >= drawing->shape->n_heads;
  gchar *title = g_strdup_printf ("head %u", head);
  guint x, y;

  scope_layout_get_plot (layout, head, &x, &y);
  fill (drawing, x, y, layout->plot_width, layout->plot_height, SCOPE_COLOR_NOTHING);
  fill (drawing, x, y + layout->sinks_height, layout->plot_width, layout->window_top - layout->sinks_height,
        SCOPE_COLOR_PAGE);
  scope_text_draw (drawing->text, x, y, SCOPE_ALIGN_START, SCOPE_ALIGN_END, title);
  g_free (title);
  draw_lags (drawing, x, y, is_first);
  if (is_first)
    draw_name_of_lags (drawing, y);
  draw_times (drawing, x, y + layout->plot_height, is_last);
}

/* A tick at the bar for a weight, if it is on the scale. */
static void
draw_weight (Drawing *drawing, gint top, gint height, gdouble weight)
{
  const ScopeLayout *layout = drawing->layout;
  gint x = layout->bar_left + layout->bar_width, length = tick_length (layout), width = line_width (layout);
  gint y = top + (height - 1) * (1 - scope_settings_get_level (drawing->settings, weight) / (SCOPE_N_COLORS - 1.0));
  gint half = layout->line / 2;
  gchar *label = g_strdup_printf ("%.3g", weight);

  fill (drawing, x, y - width / 2, length, width, SCOPE_COLOR_AXIS);
  scope_text_draw (drawing->text, x + length + 2, CLAMP (y, top + half, top + height - half), SCOPE_ALIGN_START,
                   SCOPE_ALIGN_MIDDLE, label);
  g_free (label);
}

static void
draw_weights (Drawing *drawing, gint top, gint height)
{
  const ScopeSettings *settings = drawing->settings;
  guint n_most = MAX (height / (2 * (gint) drawing->layout->line), 1), i;
  gdouble brightest = 1 / settings->gain, step;

  if (settings->scale == SCOPE_SCALE_LINEAR) {
    step = nice_step (brightest, n_most);
    for (i = 0; i * step <= brightest * (1 + 1e-9); i++)
      draw_weight (drawing, top, height, i * step);
  } else {
    step = ceil (settings->range / n_most);
    for (i = 0; i * step <= settings->range * (1 + 1e-9); i++)
      draw_weight (drawing, top, height, brightest * pow (10, -(gdouble) i * step));
  }
}

static void
draw_bar (Drawing *drawing)
{
  const ScopeLayout *layout = drawing->layout;
  gint height = (layout->n_rows - 1) * layout->pitch_y + layout->plot_height, y;
  guint32 colors[SCOPE_N_COLORS];

  scope_colors_fill (drawing->settings->color_map, colors);
  for (y = 0; y < height; y++)
    fill (drawing, layout->bar_left, layout->top + height - 1 - y, layout->bar_width, 1,
          colors[(gint64) y * SCOPE_N_COLORS / height]);
  scope_text_draw (drawing->text, layout->bar_left, layout->top, SCOPE_ALIGN_START, SCOPE_ALIGN_END, "weight");
  draw_weights (drawing, layout->top, height);
}

void
scope_layout_draw (const ScopeLayout *layout, const ScopeShape *shape, const ScopeSettings *settings, guint32 *pixels)
{
  Drawing drawing = { layout, shape, settings, pixels, NULL };
  gsize i, n = (gsize) layout->width * layout->height;
  guint head;

  fill (&drawing, 0, 0, layout->width, layout->height, SCOPE_COLOR_PAGE);
  if (layout->font > 0)
    drawing.text = scope_text_new (pixels, layout->width, layout->height, layout->font);
  for (head = 0; head < shape->n_heads; head++)
    draw_panel (&drawing, head);
  if (layout->bar_width > 0)
    draw_bar (&drawing);
  scope_text_free (drawing.text);
  for (i = 0; i < n; i++) /* Cairo leaves the byte of alpha undefined */
    pixels[i] |= 0xff000000;
}
