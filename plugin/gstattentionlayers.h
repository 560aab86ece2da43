/*
 * gst-attention: layers that elements share: one copy of the parameters, however many streams run over them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTIONLAYERS_H
#define PLUGIN_GSTATTENTIONLAYERS_H

#include <glib.h>

#include "attn.h"

G_BEGIN_DECLS

/*
 * The layer of the parameters under `prefix` in `file` (NULL: parameter-free) with `config`: the one that somebody else
 * holds already, if nothing of this differs, or a new one. The file counts by what it is on disk (device, inode, size,
 * times of its content and of its inode), so that one which was replaced or written to is read again; nobody shares
 * what was read within two seconds of being written, as what is written next may look the same. Transfer full:
 * gst_attention_layers_release (). Any thread; while a file is being read, others wait.
 */
AttnStatus gst_attention_layers_get (const gchar *file, const gchar *prefix, const AttnConfig *config,
                                     AttnLayer **layer, AttnError *error);

/* The same for a whole encoder: its options are compared. */
AttnStatus gst_attention_layers_get_encoder (const gchar *file, const AttnEncoderOptions *options, AttnLayer **layer,
                                             AttnError *error);

/* The text that the metadata of the layer's file has under `key`, there as long as the layer is; NULL: it has none. */
const gchar *gst_attention_layers_metadata (const AttnLayer *layer, const gchar *key);

/* The last one who holds the layer frees it. */
void gst_attention_layers_release (AttnLayer *layer);

/* Turns an error of the core about settings, files or memory into one of GStreamer. Returns FALSE. */
gboolean gst_attention_layers_set_error (GError **error, const AttnError *failure);

G_END_DECLS

#endif
