/* gst-attention: registers attentionscope, the one element that draws.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gstattentionscope.h"

static gboolean
plugin_init (GstPlugin *plugin)
{
  return GST_ELEMENT_REGISTER (attentionscope, plugin);
}

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, attentionscope, "What each head attends to, as video",
                   plugin_init, PACKAGE_VERSION, "LGPL", PACKAGE, PACKAGE_ORIGIN)
