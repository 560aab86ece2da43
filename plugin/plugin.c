/* gst-attention: registers the elements.  SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gst/gst.h>

#include "gstattention.h"
#include "gstattentionencoder.h"
#include "gstctctext.h"
#include "gstlogmel.h"
#include "gstnpyenc.h"
#include "gstnpyparse.h"
#include "gstspectralgain.h"

static gboolean
plugin_init (GstPlugin *plugin)
{
  gboolean registered = FALSE;

  registered |= GST_ELEMENT_REGISTER (attention, plugin);
  registered |= GST_ELEMENT_REGISTER (attentionencoder, plugin);
  registered |= GST_ELEMENT_REGISTER (ctctext, plugin);
  registered |= GST_ELEMENT_REGISTER (logmel, plugin);
  registered |= GST_ELEMENT_REGISTER (npyenc, plugin);
  registered |= GST_ELEMENT_REGISTER (npyparse, plugin);
  registered |= GST_ELEMENT_REGISTER (spectralgain, plugin);
  return registered;
}

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, attention,
                   "Multi-head self-attention on streams of feature vectors", plugin_init, PACKAGE_VERSION, "LGPL",
                   PACKAGE, PACKAGE_ORIGIN)
