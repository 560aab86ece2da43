/*
 * What the programs of this example share: a connection to NATS, messages of frames, and five things that they do with
 * JetStream: write under a condition, read the last message of a subject, read on from a message, remove, list.
 *
 * Subjects and streams (a stream of frames has a name of letters, digits, _ and -):
 *
 *   FEATURES   features.NAME              frames that come; workers remove those that saved states have seen
 *   ATTENDED   attended.NAME              outputs that leave
 *   DAMAGED    damaged.NAME.SEQUENCE      a message that no layer can take, as it was, with the reason in a header
 *   KV_LEASES  $KV.LEASES.stream.NAME     who works on a stream: "WORKER MILLISECONDS DONE" (lease.c)
 *              $KV.LEASES.worker.WORKER   the workers that are there
 *   KV_STATES  $KV.STATES.NAME            the state of a stream (state.c)
 *
 * The last two are key-value buckets (`nats kv get STATES NAME` works). A write names the sequence that the last
 * message of its subject must have. So of two who write, one is refused, however late its message arrives.
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef EXAMPLES_CLUSTER_H
#define EXAMPLES_CLUSTER_H

#include <glib.h>
#include <nats/nats.h>

#define PATIENCE 5000  /* milliseconds until an answer of the server counts as lost */
#define HEARTBEAT 1000 /* milliseconds; a reader that hears nothing for three of them is broken */
#define QUIET 3000     /* milliseconds without a message until the leader is asked whether there is one */
#define MISSING 30000  /* milliseconds; messages that have not come by then are lost */
#define KEEP_FOR 60    /* seconds; a server that dies has lost less than that of what it had acknowledged */
#define ANY G_MAXUINT64

typedef struct {
  natsConnection *connection;
  jsCtx *js;
  natsInbox *inbox;
  natsSubscription *answers; /* to writes */
  GAsyncQueue *arrivals;     /* of all readers */
  GHashTable *writes;        /* number of the answer -> Write that waits for it */
  guint64 n_writes, n_readers;
} Cluster;

/* What there is to say about a cluster that does not exist yet. */
typedef struct {
  gint replicas;    /* servers that have each message */
  gint64 max_bytes; /* of FEATURES, and of ATTENDED; who writes to a full one waits */
  gint age;         /* seconds until messages, states and leases are forgotten */
} ClusterOptions;

/*
 * The environment names the server, as for the program `nats`: NATS_URL (nats://127.0.0.1:4222; several with commas),
 * NATS_CREDS, NATS_CA, NATS_CERT with NATS_KEY. Every function that cannot go on ends the program with a sentence.
 */
Cluster *cluster_connect (const char *program);
void cluster_create (Cluster *cluster, const ClusterOptions *options); /* does nothing with what is there */
/* For programs with the arguments [OPTION...] NAME PIPELINE [NAME PIPELINE]...; waits until a worker has created it. */
Cluster *cluster_join (const char *program, int *argc, char ***argv, const GOptionEntry *entries, GOptionGroup *more);
void cluster_free (Cluster *cluster);
void fail (const char *format, ...) G_GNUC_PRINTF (1, 2) G_GNUC_NORETURN;
gboolean is_name (const char *name); /* letters, digits, _ and - */

/* ---- frames in a message: float32, little-endian; the headers are those of frames.c ---- */

typedef struct {
  guint64 first;        /* number of the first frame (or output) */
  guint64 time;         /* of it, nanoseconds */
  guint32 width, count; /* values [count][width] */
  guint32 rate[2];      /* frames per second, a fraction */
  guint64 input;        /* outputs: sequence of the message of features.NAME that made them; else 0 */
  guint64 previous;     /* number behind the last frame of the message before; 0: there is none, or nobody knows */
  guint64 sender;       /* frames: which program wrote them; 0: nobody knows */
  gboolean end;         /* of the stream: `first` is the number of all frames, and `count` 0 */
  const void *values;   /* maybe not aligned */
} Frames;

void frames_describe (const Frames *frames, natsMsg *message);               /* sets the headers */
gboolean frames_unpack (natsMsg *message, Frames *frames, char reason[256]); /* FALSE: damaged, for this reason */
guint64 frames_time (const Frames *frames, guint64 number); /* of the frame with this number; may lie before `first` */
guint64 frames_of_state (natsMsg *state); /* that a saved state has seen (state.c); 0: the message is not a state */

/* ---- writes: started, any number of them, then waited for ---- */

typedef struct {
  enum { WAITING, WRITTEN, REFUSED, FULL, LOST } result; /* LOST: nobody knows whether it was written */
  guint64 sequence;                                      /* WRITTEN: of the message */
  char error[256];                                       /* else: what the server said */
} Write;

/* `expected`: the sequence of the last message of the subject; 0: there is none; ANY. *write stays until write_wait. */
natsMsg *write_message (Cluster *cluster, Write *write, const char *subject, const void *data, gsize size,
                        guint64 expected);
void write_send (Cluster *cluster, natsMsg *message); /* takes it; headers are set before */
void write_wait (Cluster *cluster);

/* Starts to write frames (or outputs, or the end). */
void frames_write (Cluster *cluster, Write *write, const char *subject, const Frames *frames, const void *values,
                   guint64 expected);

/*
 * The last messages that were written to a subject. A server that dies may lose them although it has acknowledged them:
 * whoever wrote them still has them. 256 messages, 4 MiB, one minute at most: that is longer than servers take to
 * choose a new leader, and at the next write it is known what the new one has.
 */
typedef struct {
  GQueue messages; /* oldest first */
  gsize size;      /* of their values */
} Kept;

void kept_add (Kept *kept, const Frames *frames, const void *values);
gboolean kept_reaches (const Kept *kept, guint64 from); /* all frames from this number on are here */
/* Writes those again that have frames from this number on. FALSE: not all. *last: of the subject, before and after. */
gboolean kept_write (const Kept *kept, Cluster *cluster, const char *subject, guint64 from, guint64 *last);
void kept_clear (Kept *kept);

/* ---- the others ---- */

/* The caller frees it; NULL: there is none. FALSE: the server does not answer. */
gboolean read_last (Cluster *cluster, const char *stream, const char *subject, natsMsg **message);

/* The message with this sequence. FALSE: it is not there, or the server does not answer. */
gboolean read_at (Cluster *cluster, const char *stream, guint64 sequence, natsMsg **message);

/*
 * Messages with a sequence below `below` are gone, of the subject, or (NULL) all. FALSE: maybe not. For a subject the
 * server looks through all that is stored, so nobody should ask that often; all cost next to nothing.
 */
gboolean remove_below (Cluster *cluster, const char *stream, const char *subject, guint64 below);

/*
 * Calls `visit` for each subject of the stream that matches `filter`. Messages up to *last are of these subjects, and
 * *replicas servers keep each of them. FALSE: the server does not answer.
 */
gboolean list_subjects (Cluster *cluster, const char *stream, const char *filter, guint64 *last, gint64 *replicas,
                        void (*visit) (const char *subject, gpointer data), gpointer data);

/* Reads a subject in order. At most `most` messages are under way that were not acknowledged. */
typedef struct {
  Cluster *cluster;
  natsSubscription *subscription;
  const char *stream; /* a constant */
  guint64 number;     /* which of its messages are ours; 0: not reading */
  char *consumer;
  guint64 n_came; /* messages, in the consumer's count */
  gboolean lost;  /* messages */
  gint64 heard;   /* when anything came */
} Reader;

gboolean reader_start (Reader *reader, Cluster *cluster, const char *stream, const char *subject, guint64 from,
                       int most);
void reader_stop (Reader *reader);
/* Messages were lost, or nothing was heard for too long: start anew. */
gboolean reader_is_broken (const Reader *reader);

/* What came for any reader of the cluster. */
typedef struct {
  guint64 number;   /* of the reader */
  natsMsg *message; /* NULL: a heartbeat. The caller frees it */
  guint64 sequence; /* of the message */
  guint64 n_came;   /* it included */
} Arrival;

gboolean next_arrival (Cluster *cluster, gint64 timeout, Arrival *arrival); /* FALSE: none in so many milliseconds */
/* TRUE: it is the reader's next message. FALSE: a heartbeat, or messages were lost (and the reader is broken). */
gboolean reader_accept (Reader *reader, const Arrival *arrival);
void acknowledge (Cluster *cluster, natsMsg *message); /* this message and all before it */

#endif
