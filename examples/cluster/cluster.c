/*
 * The side of the server: connection, streams and buckets, conditional writes, readers. See cluster.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define NANOSECONDS G_GINT64_CONSTANT (1000000000)

void
fail (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "%s: ", g_get_prgname ());
  vfprintf (stderr, format, args);
  va_end (args);
  fputs ("\n", stderr);
  exit (1);
}

static const char *
last_error (natsStatus status)
{
  const char *error = nats_GetLastError (NULL);

  return error != NULL && *error != '\0' ? error : natsStatus_GetText (status);
}

gboolean
is_name (const char *name)
{
  return *name != '\0' && strlen (name) < 100
         && strspn (name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "_-") == strlen (name);
}

/* ---- connection ---- */

static natsStatus
set_security (natsOptions *options)
{
  const char *creds = g_getenv ("NATS_CREDS"), *ca = g_getenv ("NATS_CA");
  const char *cert = g_getenv ("NATS_CERT"), *key = g_getenv ("NATS_KEY");
  natsStatus status = NATS_OK;

  if (creds != NULL)
    status = natsOptions_SetUserCredentialsFromFiles (options, creds, NULL);
  if (status == NATS_OK && ca != NULL)
    status = natsOptions_LoadCATrustedCertificates (options, ca);
  if (status == NATS_OK && cert != NULL)
    status = natsOptions_LoadCertificatesChain (options, cert, key);
  if (status == NATS_OK && (ca != NULL || cert != NULL))
    status = natsOptions_SetSecure (options, true);
  return status;
}

/* A server may be away for any time: whoever waits for it notices by the answers that do not come. */
static natsStatus
set_options (natsOptions *options, const char *program, char **urls)
{
  natsStatus status = natsOptions_SetServers (options, (const char **) urls, g_strv_length (urls));

  if (status == NATS_OK)
    status = natsOptions_SetName (options, program);
  if (status == NATS_OK)
    status = natsOptions_SetMaxReconnect (options, -1);
  if (status == NATS_OK)
    status = natsOptions_SetReconnectWait (options, 200);
  if (status == NATS_OK)
    status = natsOptions_UseGlobalMessageDelivery (options, true); /* one thread for all readers */
  if (status == NATS_OK)
    status = natsOptions_SetPingInterval (options, HEARTBEAT);
  return status == NATS_OK ? set_security (options) : status;
}

static void
listen_to_answers (Cluster *cluster)
{
  char *subject = g_strdup_printf ("%s.answer.*", cluster->inbox);
  natsStatus status = natsConnection_SubscribeSync (&cluster->answers, cluster->connection, subject);

  if (status != NATS_OK)
    fail ("%s: %s", subject, last_error (status));
  g_free (subject);
}

static void
free_arrival (gpointer data)
{
  natsMsg_Destroy (((Arrival *) data)->message);
  g_free (data);
}

Cluster *
cluster_connect (const char *program)
{
  const char *url = g_getenv ("NATS_URL") != NULL ? g_getenv ("NATS_URL") : "nats://127.0.0.1:4222";
  char **urls = g_strsplit (url, ",", -1);
  Cluster *cluster = g_new0 (Cluster, 1);
  natsOptions *options = NULL;
  natsStatus status;

  g_set_prgname (program);
  status = natsOptions_Create (&options);
  if (status == NATS_OK)
    status = set_options (options, program, urls);
  if (status == NATS_OK)
    status = natsConnection_Connect (&cluster->connection, options);
  if (status == NATS_OK)
    status = natsConnection_JetStream (&cluster->js, cluster->connection, NULL);
  if (status == NATS_OK)
    status = natsInbox_Create (&cluster->inbox);
  if (status != NATS_OK) /* passwords stay here */
    fail ("cannot connect to %s: %s", strchr (url, '@') != NULL ? strrchr (url, '@') + 1 : url, last_error (status));
  listen_to_answers (cluster);
  cluster->arrivals = g_async_queue_new_full (free_arrival);
  cluster->writes = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  natsOptions_Destroy (options);
  g_strfreev (urls);
  return cluster;
}

void
cluster_free (Cluster *cluster)
{
  natsSubscription_Destroy (cluster->answers);
  natsConnection_FlushTimeout (cluster->connection, PATIENCE);
  jsCtx_Destroy (cluster->js);
  natsConnection_Destroy (cluster->connection);
  natsInbox_Destroy (cluster->inbox);
  g_hash_table_unref (cluster->writes);
  g_free (cluster);
  nats_Close ();
}

/* ---- streams and buckets ---- */

static gboolean
exists (Cluster *cluster, const char *stream)
{
  jsErrCode code = 0;
  jsStreamInfo *info = NULL;
  natsStatus status = js_GetStreamInfo (&info, cluster->js, stream, NULL, &code);

  jsStreamInfo_Destroy (info);
  if (status != NATS_OK && status != NATS_NOT_FOUND && code == JSNotEnabledErr)
    fail ("the server has no JetStream: start it with nats-server -js");
  return status == NATS_OK;
}

static void
create_stream (Cluster *cluster, const ClusterOptions *options, const char *name, const char *subject,
               gboolean is_bucket)
{
  jsStreamConfig config;
  jsErrCode code = 0;
  char error[256];
  gint tries;

  jsStreamConfig_Init (&config);
  config.Name = name;
  config.Subjects = &subject;
  config.SubjectsLen = 1;
  config.Replicas = options->replicas;
  config.MaxAge = options->age * NANOSECONDS;
  config.MaxBytes = is_bucket ? -1 : options->max_bytes;
  config.Discard = js_DiscardNew; /* a full stream loses nothing: it refuses */
  config.MaxMsgsPerSubject = is_bucket ? 1 : -1;
  config.AllowRollup = is_bucket;
  config.DenyDelete = is_bucket;
  for (tries = 0; !exists (cluster, name); tries++) { /* maybe another worker was faster */
    natsStatus status = js_AddStream (NULL, cluster->js, &config, NULL, &code);

    if (status == NATS_OK)
      return;
    g_strlcpy (error, last_error (status), sizeof error);
    if (tries == 20 || code == JSStreamReplicasNotSupportedErr)
      fail ("cannot create the stream %s with %d replicas: %s", name, options->replicas, error);
    g_usleep (G_USEC_PER_SEC / 2); /* servers that have just started do not know each other yet */
  }
}

void
cluster_create (Cluster *cluster, const ClusterOptions *options)
{
  create_stream (cluster, options, "FEATURES", "features.*", FALSE);
  create_stream (cluster, options, "ATTENDED", "attended.*", FALSE);
  create_stream (cluster, options, "DAMAGED", "damaged.*.*", FALSE);
  create_stream (cluster, options, "KV_LEASES", "$KV.LEASES.>", TRUE);
  create_stream (cluster, options, "KV_STATES", "$KV.STATES.>", TRUE);
}

static void
wait_until_created (Cluster *cluster)
{
  gint tries;

  for (tries = 0; !exists (cluster, "KV_STATES"); tries++) { /* the last that is created */
    if (tries == 20)
      fail ("there are no streams and buckets of a cluster: a worker creates them, so start one");
    g_usleep (G_USEC_PER_SEC / 2);
  }
}

Cluster *
cluster_join (const char *program, int *argc, char ***argv, const GOptionEntry *entries, GOptionGroup *more)
{
  GOptionContext *context = g_option_context_new ("NAME PIPELINE [NAME PIPELINE]...");
  GError *error = NULL;
  Cluster *cluster;

  g_set_prgname (program);
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, more);
  if (!g_option_context_parse (context, argc, argv, &error))
    fail ("%s", error->message);
  if (*argc < 3 || *argc % 2 == 0)
    fail ("%s", g_option_context_get_help (context, TRUE, NULL));
  g_option_context_free (context);
  cluster = cluster_connect (program);
  wait_until_created (cluster);
  return cluster;
}

/* ---- writes ---- */

natsMsg *
write_message (Cluster *cluster, Write *write, const char *subject, const void *data, gsize size, guint64 expected)
{
  guint64 number = ++cluster->n_writes;
  char *answer = g_strdup_printf ("%s.answer.%" G_GUINT64_FORMAT, cluster->inbox, number), text[24];
  natsMsg *message = NULL;

  write->result = WAITING;
  g_hash_table_insert (cluster->writes, g_memdup2 (&number, sizeof number), write);
  if (natsMsg_Create (&message, subject, answer, data, size) != NATS_OK)
    fail ("%s: no message of %zu bytes: %s", subject, size, last_error (NATS_NO_MEMORY));
  g_snprintf (text, sizeof text, "%" G_GUINT64_FORMAT, expected);
  if (expected != ANY)
    natsMsgHeader_Set (message, "Nats-Expected-Last-Subject-Sequence", text);
  g_free (answer);
  return message;
}

/* Without a connection the answer will not come, and the write counts as lost. */
void
write_send (Cluster *cluster, natsMsg *message)
{
  natsConnection_PublishMsg (cluster->connection, message);
  natsMsg_Destroy (message);
}

/* {"stream": ..., "seq": ...} or {"error": {"err_code": ..., "description": ...}} */
static void
take_answer (Write *write, natsMsg *message)
{
  json_t *answer = json_loadb (natsMsg_GetData (message), natsMsg_GetDataLength (message), 0, NULL);
  const json_t *error = json_object_get (answer, "error");
  gint64 code = json_integer_value (json_object_get (error, "err_code"));
  const char *description = json_string_value (json_object_get (error, "description"));

  write->sequence = json_integer_value (json_object_get (answer, "seq"));
  if (error == NULL && write->sequence > 0)
    write->result = WRITTEN;
  else if (code == JSStreamWrongLastSequenceErr)
    write->result = REFUSED;
  else if (code == JSStreamStoreFailedErr || code == JSInsufficientResourcesErr
           || code == JSStorageResourcesExceededErr)
    write->result = FULL;
  else
    write->result = LOST;
  g_strlcpy (write->error, description != NULL ? description : "no answer of JetStream", sizeof write->error);
  json_decref (answer);
}

void
write_wait (Cluster *cluster)
{
  gint64 end = g_get_monotonic_time () / 1000 + PATIENCE, left;
  GHashTableIter iter;
  gpointer write;
  natsMsg *message;

  while (g_hash_table_size (cluster->writes) > 0 && (left = end - g_get_monotonic_time () / 1000) > 0
         && natsSubscription_NextMsg (&message, cluster->answers, left) == NATS_OK) {
    const char *subject = natsMsg_GetSubject (message);
    guint64 number = g_ascii_strtoull (strrchr (subject, '.') + 1, NULL, 10);

    write = g_hash_table_lookup (cluster->writes, &number);
    if (write != NULL) /* else it is the late answer to a write that counts as lost */
      take_answer (write, message);
    g_hash_table_remove (cluster->writes, &number);
    natsMsg_Destroy (message);
  }
  g_hash_table_iter_init (&iter, cluster->writes);
  while (g_hash_table_iter_next (&iter, NULL, &write)) {
    ((Write *) write)->result = LOST;
    g_snprintf (((Write *) write)->error, sizeof ((Write *) write)->error, "no answer in %d ms", PATIENCE);
  }
  g_hash_table_remove_all (cluster->writes);
}

/* ---- the last message, removal, subjects ---- */

gboolean
read_last (Cluster *cluster, const char *stream, const char *subject, natsMsg **message)
{
  jsErrCode code = 0;
  natsStatus status = js_GetLastMsg (message, cluster->js, stream, subject, NULL, &code);

  if (status != NATS_OK)
    *message = NULL;
  return status == NATS_OK || status == NATS_NOT_FOUND || code == JSNoMessageFoundErr;
}

gboolean
read_at (Cluster *cluster, const char *stream, guint64 sequence, natsMsg **message)
{
  return js_GetMsg (message, cluster->js, stream, sequence, NULL, NULL) == NATS_OK;
}

gboolean
remove_below (Cluster *cluster, const char *stream, const char *subject, guint64 below)
{
  jsOptions options;

  if (below <= 1) /* nothing lies there; a server would take 1 for "all" */
    return TRUE;
  jsOptions_Init (&options);
  options.Stream.Purge.Subject = subject;
  options.Stream.Purge.Sequence = below;
  return js_PurgeStream (cluster->js, stream, &options, NULL) == NATS_OK;
}

gboolean
list_subjects (Cluster *cluster, const char *stream, const char *filter, guint64 *last, gint64 *replicas,
               void (*visit) (const char *subject, gpointer data), gpointer data)
{
  jsStreamInfo *info = NULL;
  jsOptions options;
  int i;

  jsOptions_Init (&options);
  options.Stream.Info.SubjectsFilter = filter;
  if (js_GetStreamInfo (&info, cluster->js, stream, &options, NULL) != NATS_OK)
    return FALSE;
  *last = info->State.LastSeq;
  *replicas = info->Config->Replicas;
  for (i = 0; info->State.Subjects != NULL && i < info->State.Subjects->Count; i++)
    visit (info->State.Subjects->List[i].Subject, data);
  jsStreamInfo_Destroy (info);
  return TRUE;
}

/* ---- readers ---- */

/* In the library's thread. Heartbeats have the reader's subject; for messages the consumer's name tells the number. */
static void
arrive (natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *data)
{
  Cluster *cluster = data;
  Arrival *arrival = g_new0 (Arrival, 1);
  jsMsgMetaData *meta = NULL;
  const char *name;

  if (natsMsg_GetMetaData (&meta, message) == NATS_OK) {
    name = strrchr (meta->Consumer, '-');
    *arrival = (Arrival){ .message = message, .sequence = meta->Sequence.Stream, .n_came = meta->Sequence.Consumer };
  } else {
    name = strrchr (natsMsg_GetSubject (message), '.');
  }
  arrival->number = name != NULL ? g_ascii_strtoull (name + 1, NULL, 10) : 0;
  if (meta == NULL)
    natsMsg_Destroy (message);
  jsMsgMetaData_Destroy (meta);
  g_async_queue_push (cluster->arrivals, arrival);
}

/* A server delivers only to a subject that somebody listens to by its whole name. */
static gboolean
listen_to (Reader *reader, const char *subject)
{
  return natsConnection_Subscribe (&reader->subscription, reader->cluster->connection, subject, arrive, reader->cluster)
             == NATS_OK
         && natsSubscription_SetPendingLimits (reader->subscription, -1, -1) == NATS_OK; /* the consumer has a limit */
}

gboolean
reader_start (Reader *reader, Cluster *cluster, const char *stream, const char *subject, guint64 from, gint most)
{
  guint64 number = ++cluster->n_readers;
  char *deliver = g_strdup_printf ("%s.read.%" G_GUINT64_FORMAT, cluster->inbox, number);
  char *name = g_strdup_printf ("%s-%" G_GUINT64_FORMAT, strrchr (cluster->inbox, '.') + 1, number);
  jsConsumerConfig config;
  gboolean started;

  *reader = (Reader){ .cluster = cluster, .stream = stream, .number = number, .consumer = name };
  jsConsumerConfig_Init (&config);
  config.Name = name;
  config.DeliverSubject = deliver;
  config.FilterSubject = subject;
  config.DeliverPolicy = from > 0 ? js_DeliverByStartSequence : js_DeliverLastPerSubject;
  config.OptStartSeq = from;
  config.AckPolicy = most > 0 ? js_AckAll : js_AckNone;
  config.MaxAckPending = most;
  config.AckWait = 3600 * NANOSECONDS; /* nothing comes twice: a broken reader starts anew */
  config.Heartbeat = HEARTBEAT * (NANOSECONDS / 1000);
  config.Replicas = 1;
  config.MemoryStorage = true;
  started = listen_to (reader, deliver) && js_AddConsumer (NULL, cluster->js, stream, &config, NULL, NULL) == NATS_OK;
  reader->heard = g_get_monotonic_time ();
  g_free (deliver);
  return started;
}

void
reader_stop (Reader *reader)
{
  if (reader->number > 0)
    js_DeleteConsumer (reader->cluster->js, reader->stream, reader->consumer, NULL, NULL);
  natsSubscription_Destroy (reader->subscription);
  g_free (reader->consumer);
  *reader = (Reader){ 0 };
}

gboolean
reader_is_broken (const Reader *reader)
{
  return reader->number == 0 || reader->lost || g_get_monotonic_time () - reader->heard > 3 * HEARTBEAT * 1000;
}

gboolean
next_arrival (Cluster *cluster, gint64 timeout, Arrival *arrival)
{
  Arrival *next = g_async_queue_timeout_pop (cluster->arrivals, timeout * 1000);

  if (next == NULL)
    return FALSE;
  *arrival = *next;
  g_free (next);
  return TRUE;
}

gboolean
reader_accept (Reader *reader, const Arrival *arrival)
{
  reader->heard = g_get_monotonic_time ();
  if (arrival->message == NULL)
    return FALSE;
  if (arrival->n_came != ++reader->n_came)
    reader->lost = TRUE;
  return !reader->lost;
}

void
acknowledge (Cluster *cluster, natsMsg *message)
{
  natsConnection_Publish (cluster->connection, natsMsg_GetReply (message), NULL, 0);
}
