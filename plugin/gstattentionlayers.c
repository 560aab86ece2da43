/*
 * gst-attention: layers that elements share, known by their files on disk.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define _POSIX_C_SOURCE 200809L /* st_mtim */
#include "gstattentionlayers.h"

#include <gst/gst.h>
#include <string.h>
#include <sys/stat.h>

/*
 * A file that is written twice within one tick of the file system's clock (4 ms before Linux 6.13) can look the same:
 * only one that was left alone for longer than any tick is known by its looks. FAT counts in steps of two seconds.
 */
#define SETTLED_AFTER (2 * G_USEC_PER_SEC)

/* What a file is on disk: as long as none of this changes, its content is the same. */
typedef struct {
  guint64 device, inode, size;
  gint64 modified_s, modified_ns, changed_s, changed_ns;
} Identity;

/* What a layer is made of. */
typedef struct {
  const gchar *file; /* NULL: parameter-free */
  const gchar *prefix;
  const AttnConfig *config;          /* of a single attention; NULL: of an encoder */
  const AttnEncoderOptions *options; /* of an encoder; NULL: of a single attention */
} Wanted;

typedef struct {
  Identity identity; /* zeros: parameter-free */
  gchar *prefix;
  AttnModel *header;          /* of the file; NULL: parameter-free, or an encoder */
  AttnEncoderOptions options; /* of an encoder */
  gboolean is_encoder;
  AttnLayer *layer;
  guint n_holders;
  gboolean is_unique; /* the file may have changed since it was read: nobody else gets this layer */
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

/* Written to so shortly ago (or, by clocks that disagree, later than now) that its looks tell nothing. */
static gboolean
is_young (const Identity *identity)
{
  gint64 written = MAX (identity->modified_s * G_USEC_PER_SEC + identity->modified_ns / 1000,
                        identity->changed_s * G_USEC_PER_SEC + identity->changed_ns / 1000);

  return g_get_real_time () - written < SETTLED_AFTER;
}

/* No byte of AttnConfig is padding, which would hold anything: it is compared as a whole. */
G_STATIC_ASSERT (sizeof (AttnConfig) == 26 * sizeof (guint32) + 3 * sizeof (gdouble));

G_STATIC_ASSERT (sizeof (AttnEncoderOptions) == 16 * sizeof (guint32));

/* Whether a field was set or left to the model makes no other layer. */
static gboolean
is_what_is_wanted (const Entry *entry, const Wanted *wanted)
{
  AttnConfig config;

  if (entry->is_encoder != (wanted->options != NULL) || strcmp (entry->prefix, wanted->prefix) != 0)
    return FALSE;
  if (entry->is_encoder)
    return memcmp (&entry->options, wanted->options, sizeof entry->options) == 0;
  config = *wanted->config;
  return attn_config_resolve (&config, entry->header, NULL) == ATTN_OK
         && memcmp (attn_layer_attention (entry->layer, 0), &config, sizeof config) == 0;
}

static Entry *
find (const Identity *identity, const Wanted *wanted)
{
  guint i;

  for (i = 0; entries != NULL && i < entries->len; i++) {
    Entry *entry = g_ptr_array_index (entries, i);

    if (!entry->is_unique && same_identity (&entry->identity, identity) && is_what_is_wanted (entry, wanted))
      return entry;
  }
  return NULL;
}

static void
entry_free (Entry *entry)
{
  attn_layer_free (entry->layer);
  attn_model_free (entry->header);
  g_free (entry->prefix);
  g_free (entry);
}

static AttnStatus
load_attention (Entry *entry, const Wanted *wanted, AttnError *error)
{
  AttnModel *model = NULL;
  AttnStatus status = ATTN_OK;

  if (wanted->file != NULL)
    status = attn_model_open (wanted->file, entry->prefix, &model, error);
  if (status == ATTN_OK && wanted->file != NULL)
    status = attn_model_peek (wanted->file, entry->prefix, &entry->header, error);
  if (status == ATTN_OK)
    status = attn_layer_new (wanted->config, model, &entry->layer, error);
  attn_model_free (model);
  return status;
}

static AttnStatus
load (Entry *entry, const Wanted *wanted, AttnError *error)
{
  if (wanted->options == NULL)
    return load_attention (entry, wanted, error);
  entry->is_encoder = TRUE;
  entry->options = *wanted->options;
  return attn_encoder_open (wanted->file, wanted->options, &entry->layer, error);
}

/* NULL on failure. */
static Entry *
add (const Identity *identity, const Wanted *wanted, AttnError *error)
{
  Entry *entry = g_new0 (Entry, 1);
  Identity after;

  entry->identity = *identity;
  entry->prefix = g_strdup (wanted->prefix);
  entry->is_unique = wanted->file != NULL && is_young (identity);
  if (load (entry, wanted, error) != ATTN_OK) {
    entry_free (entry);
    return NULL;
  }
  after = identify (wanted->file);
  entry->is_unique |= !same_identity (identity, &after);
  if (entries == NULL)
    entries = g_ptr_array_new ();
  g_ptr_array_add (entries, entry);
  return entry;
}

static AttnStatus
get (const Wanted *wanted, AttnLayer **layer, AttnError *error)
{
  AttnError failure = { 0 };
  Identity identity;
  Entry *entry;

  *layer = NULL;
  g_mutex_lock (&lock);
  identity = identify (wanted->file);
  entry = find (&identity, wanted);
  if (entry == NULL)
    entry = add (&identity, wanted, &failure);
  if (entry != NULL) {
    entry->n_holders++;
    *layer = entry->layer;
  }
  g_mutex_unlock (&lock);
  if (error != NULL)
    *error = failure;
  return failure.status;
}

AttnStatus
gst_attention_layers_get (const gchar *file, const gchar *prefix, const AttnConfig *config, AttnLayer **layer,
                          AttnError *error)
{
  Wanted wanted = { .file = file, .prefix = prefix != NULL && file != NULL ? prefix : "", .config = config };

  return get (&wanted, layer, error);
}

AttnStatus
gst_attention_layers_get_encoder (const gchar *file, const AttnEncoderOptions *options, AttnLayer **layer,
                                  AttnError *error)
{
  Wanted wanted = { .file = file, .prefix = "", .options = options };

  return get (&wanted, layer, error);
}

const gchar *
gst_attention_layers_metadata (const AttnLayer *layer, const gchar *key)
{
  const gchar *text = attn_layer_metadata (layer, key);
  guint i;

  g_mutex_lock (&lock);
  for (i = 0; text == NULL && i < entries->len; i++) {
    const Entry *entry = g_ptr_array_index (entries, i);

    if (entry->layer == layer && entry->header != NULL)
      text = attn_model_metadata (entry->header, key);
  }
  g_mutex_unlock (&lock);
  return text;
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

gboolean
gst_attention_layers_set_error (GError **error, const AttnError *failure)
{
  GQuark domain = GST_RESOURCE_ERROR;
  gint code;

  switch (failure->status) {
  case ATTN_ERROR_FILE:
    code = GST_RESOURCE_ERROR_OPEN_READ;
    break;
  case ATTN_ERROR_STATE:
    code = GST_RESOURCE_ERROR_READ;
    break;
  case ATTN_ERROR_MEMORY:
    code = GST_RESOURCE_ERROR_NO_SPACE_LEFT;
    break;
  default:
    domain = GST_LIBRARY_ERROR;
    code = failure->status == ATTN_ERROR_CONFIG ? GST_LIBRARY_ERROR_SETTINGS : GST_LIBRARY_ERROR_INIT;
    break;
  }
  g_set_error_literal (error, domain, code, failure->message);
  return FALSE;
}
