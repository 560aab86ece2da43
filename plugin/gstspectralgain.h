/* gst-attention: the element spectralgain.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTSPECTRALGAIN_H
#define PLUGIN_GSTSPECTRALGAIN_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_SPECTRAL_GAIN (gst_spectral_gain_get_type ())
G_DECLARE_FINAL_TYPE (GstSpectralGain, gst_spectral_gain, GST, SPECTRAL_GAIN, GstElement)

GST_ELEMENT_REGISTER_DECLARE (spectralgain)

G_END_DECLS

#endif
