/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _POSIX_C_SOURCE 200809L /* st_mtim */
#include "gstattentionlayers.h"

#include <string.h>
#include <sys/stat.h>

/* What a file is on disk: as long as none of this changes, its content is the same. */
typedef struct {
  guint64 device, inode, size;
  gint64 modified_s, modified_ns, changed_s, changed_ns;
} Identity;

typedef struct {
  Identity identity; /* zeros: parameter-free */
  gchar *prefix;
  AttnConfig config;
  AttnLayer *layer;
  guint n_holders;
  gboolean is_unique; /* the file changed while it was read: nobody else gets this layer */
} Entry;

static GMutex lock;
static GPtrArray *entries; /* few, as a rule one per model; NULL: none yet */

/* Zeros where there is no file: attn_model_open () will say what is wrong with it. */
static Identity
identify (const gchar *file)
{
  Identity identity = { 0 };
  struct stat info;

  if (file == NULL || stat (file, &info) != 0)
    return identity;
  identity.device = info.st_dev;
  identity.inode = info.st_ino;
  identity.size = info.st_size;
  identity.modified_s = info.st_mtim.tv_sec;
  identity.modified_ns = info.st_mtim.tv_nsec;
  identity.changed_s = info.st_ctim.tv_sec;
  identity.changed_ns = info.st_ctim.tv_nsec;
  return identity;
}

static gboolean
same_identity (const Identity *a, const Identity *b)
{
  return memcmp (a, b, sizeof *a) == 0;
}

/* AttnConfig has no padding, and what is reserved is 0. */
static Entry *
find (const Identity *identity, const gchar *prefix, const AttnConfig *config)
{
  guint i;

  for (i = 0; entries != NULL && i < entries->len; i++) {
    Entry *entry = g_ptr_array_index (entries, i);

    if (!entry->is_unique && same_identity (&entry->identity, identity) && strcmp (entry->prefix, prefix) == 0
        && memcmp (&entry->config, config, sizeof *config) == 0)
      return entry;
  }
  return NULL;
}

static AttnStatus
load (const gchar *file, const gchar *prefix, const AttnConfig *config, AttnLayer **layer, AttnError *error)
{
  AttnModel *model = NULL;
  AttnStatus status = file != NULL ? attn_model_open (file, prefix, &model, error) : ATTN_OK;

  if (status == ATTN_OK)
    status = attn_layer_new (config, model, layer, error);
  attn_model_free (model);
  return status;
}

static Entry *
add (const Identity *identity, const gchar *prefix, const AttnConfig *config, AttnLayer *layer, gboolean is_unique)
{
  Entry *entry = g_new0 (Entry, 1);

  entry->identity = *identity;
  entry->prefix = g_strdup (prefix);
  entry->config = *config;
  entry->layer = layer;
  entry->is_unique = is_unique;
  if (entries == NULL)
    entries = g_ptr_array_new ();
  g_ptr_array_add (entries, entry);
  return entry;
}

AttnStatus
gst_attention_layers_get (const gchar *file, const gchar *prefix, const AttnConfig *config, AttnLayer **layer,
                          AttnError *error)
{
  AttnStatus status = ATTN_OK;
  Identity before;
  Entry *entry;

  *layer = NULL;
  if (prefix == NULL || file == NULL)
    prefix = "";
  g_mutex_lock (&lock);
  before = identify (file);
  entry = find (&before, prefix, config);
  if (entry == NULL && (status = load (file, prefix, config, layer, error)) == ATTN_OK) {
    Identity after = identify (file);

    entry = add (&before, prefix, config, *layer, !same_identity (&before, &after));
  }
  if (entry != NULL) {
    entry->n_holders++;
    *layer = entry->layer;
  }
  g_mutex_unlock (&lock);
  return status;
}

static void
entry_free (Entry *entry)
{
  attn_layer_free (entry->layer);
  g_free (entry->prefix);
  g_free (entry);
}

void
gst_attention_layers_release (AttnLayer *layer)
{
  guint i;

  g_mutex_lock (&lock);
  for (i = 0; i < entries->len; i++) {
    Entry *entry = g_ptr_array_index (entries, i);

    if (entry->layer != layer || --entry->n_holders > 0)
      continue;
    g_ptr_array_remove_index_fast (entries, i);
    entry_free (entry);
    break;
  }
  if (entries->len == 0)
    g_clear_pointer (&entries, g_ptr_array_unref);
  g_mutex_unlock (&lock);
}
