/* gst-attention: the element logmel.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTLOGMEL_H
#define PLUGIN_GSTLOGMEL_H

#include <gst/base/gstbasetransform.h>

G_BEGIN_DECLS

#define GST_TYPE_LOGMEL (gst_logmel_get_type ())
G_DECLARE_FINAL_TYPE (GstLogmel, gst_logmel, GST, LOGMEL, GstBaseTransform)

GST_ELEMENT_REGISTER_DECLARE (logmel)

#define GST_TYPE_LOGMEL_STYLE (gst_logmel_style_get_type ())
GType gst_logmel_style_get_type (void);

#define GST_TYPE_LOGMEL_MEL_SCALE (gst_logmel_mel_scale_get_type ())
GType gst_logmel_mel_scale_get_type (void);

G_END_DECLS

#endif
