/* gst-attention: text in the pictures of the element `attentionscope`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scopetext.h"

#ifdef HAVE_PANGOCAIRO

#include <pango/pangocairo.h>

#include "scopecolors.h"

struct _ScopeText {
  cairo_t *cairo;
  PangoLayout *layout;
};

ScopeText *
scope_text_new (guint32 *pixels, guint width, guint height, guint size)
{
  ScopeText *text = g_new0 (ScopeText, 1);
  PangoFontDescription *font = pango_font_description_from_string ("Sans");
  cairo_surface_t *surface =
      cairo_image_surface_create_for_data ((guchar *) pixels, CAIRO_FORMAT_RGB24, width, height, 4 * width);

  text->cairo = cairo_create (surface);
  cairo_surface_destroy (surface);
  cairo_set_source_rgb (text->cairo, (SCOPE_COLOR_TEXT >> 16 & 0xff) / 255.0, (SCOPE_COLOR_TEXT >> 8 & 0xff) / 255.0,
                        (SCOPE_COLOR_TEXT & 0xff) / 255.0);
  text->layout = pango_cairo_create_layout (text->cairo);
  pango_font_description_set_absolute_size (font, size * PANGO_SCALE);
  pango_layout_set_font_description (text->layout, font);
  pango_font_description_free (font);
  return text;
}

void
scope_text_free (ScopeText *text)
{
  if (text == NULL)
    return;
  g_object_unref (text->layout);
  cairo_destroy (text->cairo);
  g_free (text);
}

static void
measure (ScopeText *text, const gchar *string, gint *width, gint *height)
{
  pango_layout_set_text (text->layout, string, -1);
  pango_layout_get_pixel_size (text->layout, width, height);
}

guint
scope_text_get_width (ScopeText *text, const gchar *string)
{
  gint width = 0, height;

  if (text != NULL)
    measure (text, string, &width, &height);
  return width;
}

guint
scope_text_get_height (ScopeText *text)
{
  gint width, height = 0;

  if (text != NULL)
    measure (text, "0", &width, &height);
  return height;
}

void
scope_text_draw (ScopeText *text, gint x, gint y, ScopeAlign horizontal, ScopeAlign vertical, const gchar *string)
{
  gint width, height;

  if (text == NULL)
    return;
  measure (text, string, &width, &height);
  cairo_move_to (text->cairo, x - (gint) horizontal * width / 2, y - (gint) vertical * height / 2);
  pango_cairo_show_layout (text->cairo, text->layout);
}

void
scope_text_draw_upwards (ScopeText *text, gint x, gint y, const gchar *string)
{
  gint width, height;

  if (text == NULL)
    return;
  measure (text, string, &width, &height);
  cairo_save (text->cairo);
  cairo_translate (text->cairo, x, y);
  cairo_rotate (text->cairo, -G_PI / 2);
  cairo_move_to (text->cairo, -width / 2, -height / 2);
  pango_cairo_show_layout (text->cairo, text->layout);
  cairo_restore (text->cairo);
}

#endif
