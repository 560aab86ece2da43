/* gst-attention: the colours of the element `attentionscope`.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scopecolors.h"

#define N_POINTS 18

/*
 * Every 15th of the 256 colours of matplotlib's maps of these names, which S. van der Walt, N. Smith and E. Firing gave
 * to the public domain (CC0, https://bids.github.io/colormap). Straight lines between them are within 5 of 255 of the
 * published tables.
 */
static const guint32 points[][N_POINTS] = {
  [SCOPE_COLOR_MAP_VIRIDIS] = { 0x440154, 0x481769, 0x472a7a, 0x433d84, 0x3d4e8a, 0x355e8d, 0x2e6d8e, 0x297b8e,
                                0x23898e, 0x1f978b, 0x21a585, 0x2eb37c, 0x46c06f, 0x65cb5e, 0x89d548, 0xb0dd2f,
                                0xd8e219, 0xfde725 },
  [SCOPE_COLOR_MAP_MAGMA] = { 0x000004, 0x090720, 0x1a1042, 0x311165, 0x4a1079, 0x621980, 0x792282, 0x912b81, 0xaa337d,
                              0xc23b75, 0xd9466b, 0xec5860, 0xf7725c, 0xfc8e64, 0xfeaa74, 0xfec68a, 0xfde2a3,
                              0xfcfdbf },
  [SCOPE_COLOR_MAP_INFERNO] = { 0x000004, 0x0a0722, 0x1e0c45, 0x380962, 0x510e6c, 0x69166e, 0x801f6c, 0x982766,
                                0xb0315b, 0xc63d4d, 0xd94d3d, 0xe9612b, 0xf47918, 0xfa9407, 0xfcb014, 0xf8cd37,
                                0xf2ea69, 0xfcffa4 },
  [SCOPE_COLOR_MAP_PLASMA] = { 0x0d0887, 0x2f0596, 0x4903a0, 0x6100a7, 0x7801a8, 0x8e0ca4, 0xa21d9a, 0xb42e8d, 0xc43e7f,
                               0xd24f71, 0xde6164, 0xe97257, 0xf3854b, 0xf99a3e, 0xfdaf31, 0xfdc627, 0xf8df25,
                               0xf0f921 },
};

/* `part` of 15 parts on the way from one colour to the next. */
static guint32
mix (guint32 from, guint32 to, guint part)
{
  guint32 color = 0;
  guint shift;

  for (shift = 0; shift < 24; shift += 8)
    color |= (((from >> shift & 0xff) * (15 - part) + (to >> shift & 0xff) * part + 7) / 15) << shift;
  return color;
}

void
scope_colors_fill (ScopeColorMap map, guint32 colors[SCOPE_N_COLORS])
{
  guint i;

  for (i = 0; i < SCOPE_N_COLORS; i++) {
    guint point = MIN (i / 15, N_POINTS - 2);

    if (map == SCOPE_COLOR_MAP_GREY)
      colors[i] = 0xff000000 | i * 0x010101;
    else
      colors[i] = 0xff000000 | mix (points[map][point], points[map][point + 1], i - 15 * point);
  }
}
