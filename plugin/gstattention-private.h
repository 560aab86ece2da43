/*
 * gst-attention: the inside of the element `attention`, for the files that it is made of:
 *   gstattention.c            the object, its life and its caps
 *   gstattentionproperties.c  properties
 *   gstattentionflow.c        buffers and events in, buffers and events out
 *   gstattentionweights.c     the pad `weights`
 *   gstattentionsummary.c     the same in a few numbers, on the bus
 *   gstattentionlatency.c     how late they leave
 *   gstattentionstate.c       streams that outlive their process
 *   gstattentionhead.c        the heads, children of the element
 *   gstattentionlayers.c      layers, shared between elements
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTATTENTION_PRIVATE_H
#define PLUGIN_GSTATTENTION_PRIVATE_H

#include "gstattention.h"

#include <gst/base/gstflowcombiner.h>
#include <gst/base/gstqueuearray.h>

#include "attn.h"
#include "frameclock.h"
#include "gstattentionhead.h"
#include "gstfeatures.h"
#include "statefile.h"

G_GNUC_INTERNAL extern GstDebugCategory *gst_attention_debug;
#define GST_CAT_DEFAULT gst_attention_debug

/*
 * What came in and has not left yet, in its order: a buffer (its output, being filled), a GAP event with the frames
 * that it stands for, frames that a jump of the timestamps leaves out, or another serialised event, which waits behind
 * the buffers before it.
 */
typedef struct {
  GstBuffer *buffer;      /* or NULL */
  GstMapInfo map;         /* of `buffer`, as long as it is being filled */
  GstBuffer *weights;     /* of its frames; NULL: nobody looks */
  GstMapInfo weights_map; /* the same of `weights` */
  GstEvent *event;        /* or NULL */
  guint64 n_frames;
  guint64 n_done; /* frames whose output is known */
} Item;

typedef struct _GstAttentionSummary GstAttentionSummary;

struct _GstAttention {
  GstBaseTransform parent;

  /* Properties; the object lock. */
  AttnConfig config;    /* what was set; all else is unset */
  AttnConfig in_effect; /* what the unset ones are, as far as is known */
  gchar *model_file;
  gchar *model_prefix;
  gchar *state_file;
  gint frame_rate_n, frame_rate_d;
  GstClockTime alignment_threshold;
  GPtrArray *heads;   /* GstAttentionHeads, n_heads of them */
  gint post_messages; /* gboolean; atomic, too */
  GstClockTime interval;

  /* Who is downstream; the object lock. */
  GstPad *weights_pad; /* or NULL; the element's; atomic, too */
  GstFlowCombiner *flows;

  /* D and Dout of the model, 0: none, for caps queries from any thread; the object lock. */
  guint model_features, model_outputs;

  /*
   * Around calls into the core, and never around anything that leaves the element: the streaming thread alone replaces
   * these and feeds the stream, other threads save it, and leave a restored one for the streaming thread to adopt.
   */
  GMutex lock;
  AttnLayer *layer; /* with a model from start, else from the caps on */
  AttnStream *stream;
  AttnStream *restored;       /* takes the place of `stream` when the next frame comes; atomic, too */
  GBytes *ended;              /* the last stream's state before its drain, until the next frame comes */
  gboolean changed;           /* the state is no longer the file's */
  guint64 n_frames, n_absent; /* since start */
  guint64 n_calls, n_timed;   /* of the core; the frames of those that were timed */
  GstClockTime busy;          /* in the core for these */

  /* The streaming thread's. */
  gboolean has_model;      /* the layer is there from start on, and so is its width; or parameter-free */
  GPtrArray *layer_heads;  /* those of `heads` that `layer` was made with */
  StateFile *file;         /* from start to stop; NULL: no state-file */
  GBytes *file_state;      /* what it held, until there is a layer for it */
  gboolean gains_are_read; /* by `stream`, as they were after n_gain_changes */
  guint n_gain_changes;
  gboolean resumed; /* the stream was restored, and no frame has come since */
  gboolean draining;
  GstFeatures features;
  GstQueueArray *waiting;       /* Items; the first one with frames is being filled */
  GstQueueArray *ready;         /* Items that are complete */
  GstCaps *refused_caps;        /* NULL: none; the error comes with the first buffer, and */
  gboolean said_refusal;        /* is said once */
  GstEvent *held_segment;       /* NULL: none; no segment leaves before caps */
  gboolean quiet;               /* caps are tried: no error is said at all */
  gint warned_dimensions;       /* the same for untyped dimensions; atomic, queries come from any thread */
  FrameClock clock;             /* of the stream's frames */
  GstClockTimeDiff gap_rest;    /* time of GAP events that was no whole frame; below 0: taken in advance */
  gboolean warned_new_stream;   /* of a jump that began one */
  gboolean warned_jump;         /* of one that did not */
  GstFlowReturn flow;           /* what the pads' pushes last came to */
  gboolean skipped;             /* outputs were left out for the quality of service, and none has left since */
  GstAttentionSummary *summary; /* NULL: nothing to be posted yet */

  /* Latency; the object lock. */
  guint64 n_max;    /* largest buffer, in frames; 0 = none yet; only the streaming thread changes it */
  gboolean varying; /* buffers have differed in size; the same */
  GstClockTime latency;
  gboolean warned_rate;
};

/* ---- gstattention.c ---- */

G_GNUC_INTERNAL extern GstBaseTransformClass *gst_attention_base_class;

/* Drops layer and stream, and what a restored stream owed. */
void gst_attention_free_layer (GstAttention *self);

/* Caps have come. FALSE: they are refused, which is said when they would be needed. */
gboolean gst_attention_take_caps (GstAttention *self, GstCaps *caps);

/* TRUE, after an error message, when the last caps were refused. */
gboolean gst_attention_has_refused (GstAttention *self);

/* ---- gstattentionproperties.c ---- */

#define GST_ATTENTION_DEFAULT_INTERVAL (100 * GST_MSECOND)
#define GST_ATTENTION_DEFAULT_ALIGNMENT_THRESHOLD (40 * GST_MSECOND)

/*
 * What properties that nobody set are from now on (those of `config` that were set count as they are), and as many
 * children as there are heads. Notifies of what changes. Called without locks.
 */
void gst_attention_set_in_effect (GstAttention *self, const AttnConfig *config);

void gst_attention_install_properties (GObjectClass *object_class);
void gst_attention_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_attention_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/* ---- gstattentionflow.c ---- */

void gst_attention_clear_items (GstQueueArray *items);

/* The stream was restored: outputs that it still owes belong to buffers that are not here. */
void gst_attention_resume_stream (GstAttention *self);

/* Of GstBaseTransformClass. */
gboolean gst_attention_decide_allocation (GstBaseTransform *trans, GstQuery *query);
GstFlowReturn gst_attention_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *input);
GstFlowReturn gst_attention_generate_output (GstBaseTransform *trans, GstBuffer **output);
GstFlowReturn gst_attention_transform (GstBaseTransform *trans, GstBuffer *input, GstBuffer *output);
gboolean gst_attention_sink_event (GstBaseTransform *trans, GstEvent *event);

/* Refuses to play backwards. */
gboolean gst_attention_refuses_event (GstAttention *self, GstEvent *event);
gboolean gst_attention_src_event (GstBaseTransform *trans, GstEvent *event);

/* ---- gstattentionweights.c ---- */

/* Of GstElementClass. */
GstPad *gst_attention_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name,
                                       const GstCaps *caps);
void gst_attention_release_pad (GstElement *element, GstPad *pad);

/* Room for the weights of `item`, whose frames come from `input`, if anybody looks. FALSE after an error message. */
gboolean gst_attention_add_weights (GstAttention *self, Item *item, GstBuffer *input);

/* Transfer full. */
GstFlowReturn gst_attention_push_weights (GstAttention *self, GstBuffer *weights);

/* `event`, which `src` has just been told, in the words of the pad `weights`. */
void gst_attention_push_event_to_weights (GstAttention *self, GstEvent *event);

/* What a push on `pad` that returned `flow` means for the element: one pad that is not linked is enough. */
GstFlowReturn gst_attention_combine_flow (GstAttention *self, GstPad *pad, GstFlowReturn flow);

void gst_attention_reset_flows (GstAttention *self); /* at the start, and after a flush */

/* ---- gstattentionsummary.c ---- */

/* Takes the weights of a buffer's frames, and posts what is due. */
void gst_attention_summarise (GstAttention *self, GstBuffer *buffer, const gfloat *weights, guint64 n_frames);

/* The stream has ended: what is left over is posted where it is `wanted`, else forgotten. */
void gst_attention_finish_summary (GstAttention *self, gboolean wanted);

/* ---- gstattentionlatency.c ---- */

/* Says so on the bus when the latency has grown. */
void gst_attention_update_latency (GstAttention *self);

/* A buffer of so many frames has come in. */
void gst_attention_note_buffer_size (GstAttention *self, guint64 n_frames);
gboolean gst_attention_query_latency (GstAttention *self, GstQuery *query);
gboolean gst_attention_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query);

/* ---- gstattentionstate.c ---- */

/* What the last frame left behind is still there to be saved when the stream has been drained or dropped. */
void gst_attention_keep_state (GstAttention *self);

/* At start. FALSE after an error message; that there is no file yet is none. */
gboolean gst_attention_open_state_file (GstAttention *self);

/* The state file goes to the first layer that there is. FALSE after an error message. */
gboolean gst_attention_restore_file_state (GstAttention *self);

/* Only what frames or restore-state have changed since: a run without frames leaves the file alone. */
void gst_attention_write_state_file (GstAttention *self);

/* The action signals. Any thread. */
GBytes *gst_attention_save_state (GstAttention *self);
gboolean gst_attention_restore_state (GstAttention *self, GBytes *state);

#endif
