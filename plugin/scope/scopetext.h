/*
 * gst-attention: text in the pictures of the element attentionscope, by Pango and Cairo. Built without them
 * (HAVE_PANGOCAIRO), a ScopeText is NULL, and its text has no size.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_SCOPE_SCOPETEXT_H
#define PLUGIN_SCOPE_SCOPETEXT_H

#include <glib.h>

G_BEGIN_DECLS

/* Where the point that is given stands in the text. */
typedef enum { SCOPE_ALIGN_START, SCOPE_ALIGN_MIDDLE, SCOPE_ALIGN_END } ScopeAlign;

typedef struct _ScopeText ScopeText;

#ifdef HAVE_PANGOCAIRO

/* Letters of `size` pixels (from top to bottom of a line, about 1.2 times as much) into pixels [height][width]. */
ScopeText *scope_text_new (guint32 *pixels, guint width, guint height, guint size);
void scope_text_free (ScopeText *text);
guint scope_text_get_width (ScopeText *text, const gchar *string);
guint scope_text_get_height (ScopeText *text);
void scope_text_draw (ScopeText *text, gint x, gint y, ScopeAlign horizontal, ScopeAlign vertical, const gchar *string);
/* From bottom to top, (x, y) being its middle. */
void scope_text_draw_upwards (ScopeText *text, gint x, gint y, const gchar *string);

#else

static inline ScopeText *
scope_text_new (guint32 *pixels, guint width, guint height, guint size)
{
  return NULL;
}

static inline void
scope_text_free (ScopeText *text)
{
}

static inline guint
scope_text_get_width (ScopeText *text, const gchar *string)
{
  return 0;
}

static inline guint
scope_text_get_height (ScopeText *text)
{
  return 0;
}

static inline void
scope_text_draw (ScopeText *text, gint x, gint y, ScopeAlign horizontal, ScopeAlign vertical, const gchar *string)
{
}

static inline void
scope_text_draw_upwards (ScopeText *text, gint x, gint y, const gchar *string)
{
}

#endif

G_END_DECLS

#endif
