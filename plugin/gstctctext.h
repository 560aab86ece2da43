/* gst-attention: the element ctctext.  SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PLUGIN_GSTCTCTEXT_H
#define PLUGIN_GSTCTCTEXT_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_CTC_TEXT (gst_ctc_text_get_type ())
G_DECLARE_FINAL_TYPE (GstCtcText, gst_ctc_text, GST, CTC_TEXT, GstElement)

GST_ELEMENT_REGISTER_DECLARE (ctctext);

G_END_DECLS

#endif
