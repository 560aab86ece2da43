/*
 * gst-attention: the base class of elements that turn frames into frames, such as `attention`: what comes in and
 * leaves, and when; time, absent frames, latency, state. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * It runs an AttnStream over an AttnLayer. What the layer computes is the subclass's: that makes the layer, and may
 * show something beside the outputs, on sides.
 *
 * A *side* is a stream of rows beside `src`, made for the same frames: the weights of an attention of the layer, at the
 * rate of the frames that come to it. It has the number of the attention and, when somebody requests it, a pad; that
 * says what `src` says, in its own place among its rows.
 */
#ifndef PLUGIN_GSTFRAMEFILTER_H
#define PLUGIN_GSTFRAMEFILTER_H

#include <gst/gst.h>
#include <gst/base/gstbasetransform.h>
#include <gst/base/gstflowcombiner.h>
#include <gst/base/gstqueuearray.h>

#include "attn.h"
#include "frameclock.h"
#include "gstfeatures.h"
#include "statefile.h"

G_BEGIN_DECLS

#define GST_TYPE_FRAME_FILTER (gst_frame_filter_get_type ())
#define GST_FRAME_FILTER(object) (G_TYPE_CHECK_INSTANCE_CAST ((object), GST_TYPE_FRAME_FILTER, GstFrameFilter))
#define GST_FRAME_FILTER_CLASS(klass) (G_TYPE_CHECK_CLASS_CAST ((klass), GST_TYPE_FRAME_FILTER, GstFrameFilterClass))
#define GST_FRAME_FILTER_GET_CLASS(object) \
  (G_TYPE_INSTANCE_GET_CLASS ((object), GST_TYPE_FRAME_FILTER, GstFrameFilterClass))

GType gst_frame_filter_get_type (void);

/* `attention`, the category of all elements of the kind. */
G_GNUC_INTERNAL extern GstDebugCategory *gst_frame_filter_debug;

typedef struct _GstFrameFilter GstFrameFilter;
typedef struct _GstFrameFilterLine GstFrameFilterLine;
typedef struct _GstFrameFilterClass GstFrameFilterClass;

/* The settings that the base class knows of the layer to make. */
typedef struct {
  gchar *model_file; /* NULL: parameter-free */
  guint n_features;  /* D, values per frame; 0: as the model says */
  AttnPrecision precision;
  AttnArithmetic arithmetic;
  guint n_threads;
} GstFrameFilterPlan;

/* When frames are: number `first` at `begin` (NONE: unknown), and `n` of them in `duration` (NONE: by the rate). */
typedef struct {
  guint64 first, n;
  GstClockTime begin, duration;
} GstFrameFilterTimes;

struct _GstFrameFilter {
  GstBaseTransform parent;

  /* ---- fields that subclasses read ---- */

  AttnLayer *layer;     /* with a model from start, else from the caps on; the streaming thread's */
  GstFeatures features; /* of the frames that come in; the same */
  guint n_sides;        /* of the layer; the subclass sets it, at first in its init () */
  GPtrArray *summaries; /* of sides, which gstattentionweights.h makes; the same */

  /* Properties; the object lock. */
  gint post_messages; /* gboolean; atomic, too. Sides are made even if they have no pad */
  GstClockTime interval;

  /*< private >*/

  gchar *model_file;
  gchar *state_file;
  AttnPrecision precision;
  AttnArithmetic arithmetic;
  guint n_threads;
  gint frame_rate_n, frame_rate_d;
  GstClockTime alignment_threshold;

  /* Who is downstream; the object lock. */
  GPtrArray *side_pads; /* by number; NULL: nobody has requested it; the element's */
  gint n_side_pads;     /* that are there; atomic, too */
  GstFlowCombiner *flows;

  /*
   * D and Dout of the model, 0: none, for caps queries from any thread; the object lock. And its stride, where outputs
   * leave as they get ready, without the buffers of their frames; 0: with them.
   */
  guint model_features, model_outputs, model_stride;

  /*
   * Around calls into the core, and never around anything that leaves the element: the streaming thread alone replaces
   * these, and `layer`, and feeds the stream; other threads save it, and leave a restored one for the streaming thread
   * to adopt.
   */
  GMutex lock;
  AttnStream *stream;
  AttnStream *restored;       /* takes the place of `stream` when the next frame comes; atomic, too */
  GBytes *ended;              /* the last stream's state before its drain, until the next frame comes; empty: lost */
  gboolean changed;           /* the state is no longer the file's */
  guint64 n_frames, n_absent; /* since start */
  guint64 n_calls, n_timed;   /* of the core; the frames of those that were timed */
  GstClockTime busy;          /* in the core for these */

  /* The streaming thread's. */
  gboolean has_model;     /* the layer is there from start on, and so is its width; or parameter-free */
  gchar *layer_file;      /* that the layer is from; `model_file` may have been set since */
  gboolean is_new_stream; /* before_rows () has not seen it yet */
  StateFile *file;        /* from start to stop; NULL: no state-file */
  GBytes *file_state;     /* its contents, until there is a layer for them */
  gboolean resumed;       /* the stream was restored, and no frame has come since */
  gboolean draining;
  GstFrameFilterLine *outputs; /* the line of `src` */
  GPtrArray *sides;            /* Lines by number, up to the last that is there; NULL: nobody looks */
  guint64 end_of_present;      /* the number behind the last frame that was there */
  GstFrameFilterTimes times;   /* of the last frames that came */
  GstCaps *refused_caps;       /* NULL: none */
  GError *refusal;             /* why; said once, with the first buffer */
  GstEvent *held_segment;      /* NULL: none; no segment leaves before caps */
  FrameClock clock;            /* of the stream's frames */
  GstClockTimeDiff gap_rest;   /* time of GAP events that was not a whole frame; below 0: taken in advance */
  gboolean warned_new_stream;  /* of a jump that began one */
  gboolean warned_jump;        /* of one that did not */
  GstFlowReturn flow;          /* the last result of the pads' pushes */
  gboolean skipped;            /* outputs were left out for the quality of service, and none has left since */

  /* Latency; the object lock. */
  GArray *side_paces; /* Paces, by side, of the layer */
  guint64 n_max;      /* largest buffer, in frames; 0 = none yet; only the streaming thread changes it */
  gboolean varying;   /* buffers have differed in size; the same */
  gboolean shifted;   /* one has not begun at a multiple of its size; the same */
  GstClockTime latency;
  gboolean warned_rate;
};

/*
 * All are required; those of sides only where there are any. They are called in the streaming thread, or at start and
 * stop, without locks.
 */
struct _GstFrameFilterClass {
  GstBaseTransformClass parent_class;

  /*
   * Layers are chains of blocks: an output may be there where its frame is absent, or the other way round, and the last
   * ones may reach beyond the end. None is skipped for being late, as others are made from the same frames.
   */
  gboolean has_chains;

  /* The layer of `plan`, by gst_attention_layers_get () or alike. */
  AttnStatus (*make_layer) (GstFrameFilter *self, const GstFrameFilterPlan *plan, AttnLayer **layer, AttnError *error);

  /* Frames will run through `layer`; NULL: the one that there was goes. */
  void (*layer_changed) (GstFrameFilter *self, AttnLayer *layer);

  /*
   * `stream` computes next the rows of all attentions that `n` more frames, or GST_FRAME_FILTER_END, make ready.
   * `is_new`: it does so for the first time.
   */
  void (*before_rows) (GstFrameFilter *self, AttnStream *stream, guint64 n, gboolean is_new);

  /*
   * Something is set for each row of a side by its time: gst_frame_filter_get_row_times () will be asked, though nobody
   * may look at the rows. Called once for each buffer that comes in.
   */
  gboolean (*follows_rows) (GstFrameFilter *self, guint side);

  /* The stream has ended; `drained`, or it is forgotten. */
  void (*stream_ended) (GstFrameFilter *self, gboolean drained);

  /* Values per row, of a side that somebody looks at. FALSE after an error message. */
  gboolean (*get_side_width) (GstFrameFilter *self, guint side, guint64 *width);

  /* The caps of the pad of a side, if `src` has `caps`; there is a layer. Transfer full. */
  GstCaps *(*make_side_caps) (GstFrameFilter *self, guint side, GstCaps *caps);

  /* The rows [n_rows][width] of `buffer`, which is to leave; NULL: nobody looks at the side any more. */
  void (*side_done) (GstFrameFilter *self, guint side, GstBuffer *buffer, const gfloat *rows, guint64 n_rows);
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstFrameFilter, gst_object_unref)

/* ---- the property `model-file`, whose words are the subclass's; any thread ---- */

void gst_frame_filter_set_model_file (GstFrameFilter *self, const GValue *value);
gchar *gst_frame_filter_dup_model_file (GstFrameFilter *self);

/* The plan of the layer of that file, as things are. Its strings are the caller's. */
void gst_frame_filter_get_plan (GstFrameFilter *self, GstFrameFilterPlan *plan);

/* ---- for before_rows () ---- */

/* In the place of a number of frames: the end of the stream. */
#define GST_FRAME_FILTER_END G_MAXUINT64

/* The stream times [n] of the next rows of a side that follows_rows () is true of; NONE: it has none. */
void gst_frame_filter_get_row_times (GstFrameFilter *self, guint side, GstClockTime *times, guint64 n);

/* ---- for make_side_caps () ---- */

/* The rows of a side leave as they get ready, and not with the outputs of their buffer. */
gboolean gst_frame_filter_side_leaves_at_once (GstFrameFilter *self, guint side);

/* ---- pads of sides; for request_new_pad () and release_pad () ---- */

/* NULL, after a warning, when the side has a pad. */
GstPad *gst_frame_filter_add_side_pad (GstFrameFilter *self, guint side, GstPadTemplate *template, const gchar *name);
void gst_frame_filter_remove_side_pad (GstFrameFilter *self, GstPad *pad);

G_END_DECLS

#endif
