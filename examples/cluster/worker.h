/*
 * What a worker knows of itself and of each stream. worker.c: the loop; lease.c: whose stream it is; state.c: what is
 * saved; attend.c: from frames to outputs.  SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef EXAMPLES_CLUSTER_WORKER_H
#define EXAMPLES_CLUSTER_WORKER_H

#include "attn.h"
#include "cluster.h"

#define MOST_UNDERWAY 64 /* messages of a stream that the server sends before they are acknowledged */
#define MOST_WAITING 256 /* messages of a stream that wait in a worker */
#define MOST_GAP 360000  /* frames: an hour at 100 frames per second. A message behind a longer gap is set aside */

typedef struct {
  Cluster *cluster;
  AttnLayer *layer;
  AttnGroup *group;
  char id[24];
  char hash[24];            /* of the layer: workers with one hash share the streams */
  gint64 lease, save, late; /* options, microseconds */
  gint most_streams;        /* option */
  GHashTable *streams;      /* name -> Stream */
  GHashTable *workers;      /* id -> gint64, when it was heard; those with the same layer */
  Reader leases;
  guint64 listed;  /* messages of FEATURES up to this one are of `streams` */
  gint64 replicas; /* servers that keep FEATURES */
  guint64 removed; /* those below are */
  guint64 unused;  /* with several servers: at `noted` nobody needed those below */
  gint64 noted;
  guint n_held;
} Worker;

typedef struct {
  Worker *worker;
  char *name;
  char *features, *attended, *state_key, *lease_key; /* subjects */
  gboolean is_there;                                 /* in FEATURES */

  /* The lease, as it was seen last. All times are of this machine's clock, microseconds. */
  guint64 lease; /* revision; 0: there is none */
  gint64 seen, length;
  gboolean is_free, is_mine;
  guint64 done;      /* messages of FEATURES up to this one are not needed for this stream */
  gint64 ends;       /* mine: when others may take it */
  gint64 not_before; /* after something went wrong */
  Write lease_write;

  /* While it is held. */
  AttnStream *stream; /* NULL: it is not held */
  Reader reader;
  GQueue arrived;   /* Arrival */
  guint64 queued;   /* sequence of the last one */
  guint64 input;    /* sequence of the last message that the stream has seen */
  guint64 answered; /* the outputs below this number stand in ATTENDED */
  guint64 last;     /* sequence of the last message there; 0: none */
  guint64 ended;    /* the input that ended the stream; 0: it goes on */
  Write write;

  /* Messages that did not come in their turn. */
  gint64 came;          /* when the last one came, or the reader was started */
  gint64 read_at;       /* not before */
  gint64 missing_since; /* 0: none are missing */
  guint n_tries;
  guint64 given_up; /* the frames below this number */
  gint aside;       /* 1: messages in front of the next one were set aside */
  Kept kept;        /* outputs */

  /* The message that is being worked on, a step at a time. A state is saved only between two messages. */
  Arrival arrival; /* its message NULL: none */
  Frames frames;
  gfloat *values; /* its frames */
  AttnPush push;  /* of this step */

  /* The outputs of this step. */
  gfloat *out; /* [n_out][width], the first of which has the number first_out */
  guint8 *present;
  Frames outputs;                         /* that are being written */
  guint64 first_out, n_out, n_done, room; /* n_done: of n_out, those that stand in ATTENDED, or need not */
  gboolean full;                          /* ATTENDED is */

  /* The saved state. */
  guint64 revision, saved_input, saved_frames;
  gint64 saved_at;
  gint n_parts;
  char place[32], old_place[32];
} Stream;

/* lease.c */
void lease_seen (Worker *worker, const Arrival *arrival);
gboolean lease_is_over (const Stream *stream);
gboolean lease_take (Stream *stream); /* FALSE: somebody else has it */
void lease_renew_all (Worker *worker);
void lease_give (Stream *stream); /* anybody may take it at once */
guint lease_share (Worker *worker);
void lease_remove_frames (Worker *worker);

/* state.c; FALSE: the stream has to be let go */
gboolean state_restore (Stream *stream);
void state_save_all (Worker *worker, gboolean now);
gboolean state_save (Stream *stream);
gboolean state_forget (Stream *stream);

/* attend.c */
gboolean attend_all (Worker *worker); /* FALSE: nothing had arrived */
/* Outputs that ATTENDED has lost, from this number on. FALSE: not all. */
gboolean write_again (Stream *stream, guint64 from);

/* worker.c */
void let_go (Stream *stream, const char *format, ...) G_GNUC_PRINTF (2, 3);
gboolean read_answered (Stream *stream); /* last, answered and ended. FALSE: the server does not answer */
void say (const char *format, ...) G_GNUC_PRINTF (1, 2);
gboolean is_quiet (const Stream *stream);        /* nothing came for a while */
void read_anew (Stream *stream, guint64 behind); /* FEATURES, behind this message */

#endif
