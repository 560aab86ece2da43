/*
 * gst-attention: the picture of the element attentionscope: columns of weights in, pixels out.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time is in nanoseconds since the picture began, and lies on a grid of pixels that never moves: pixel p begins at p *
 * seconds / plot_width. The plots are a ring of pixels, in which only new columns are drawn; to scroll is to read them
 * from another place. Where several columns share a pixel, or several slots a row, the largest weight is shown: a head
 * that looks at a single frame stays a bright line, however thin.
 */
#ifndef PLUGIN_SCOPE_SCOPEPICTURE_H
#define PLUGIN_SCOPE_SCOPEPICTURE_H

#include "scopelayout.h"

G_BEGIN_DECLS

/* The end of a column that stays until the next. */
#define SCOPE_OPEN G_MAXUINT64

typedef struct _ScopePicture ScopePicture;

/* NULL, with a sentence, when there are more panels than pixels, or no memory. */
ScopePicture *scope_picture_new (const ScopeShape *shape, const ScopeSettings *settings, guint width, guint height,
                                 GError **error);
void scope_picture_free (ScopePicture *picture);

/* The time across a plot. */
guint64 scope_picture_get_span (const ScopePicture *picture);

/* Nothing has been shown, and time begins at 0. */
void scope_picture_clear (ScopePicture *picture);

/*
 * The weights [n_heads][span] of one frame, which lasts from `begin` to `end`, or is SCOPE_OPEN. The one before is
 * drawn up to its own end only: between them there is nothing. Time does not go back.
 */
void scope_picture_add (ScopePicture *picture, guint64 begin, guint64 end, const gfloat *weights);

/* The column that was added last stays until `end`. */
void scope_picture_extend (ScopePicture *picture, guint64 end);

/* The whole picture, whose right end is `until`, into rows of `stride` bytes. */
void scope_picture_write (ScopePicture *picture, guint64 until, guint8 *pixels, gsize stride);

G_END_DECLS

#endif
