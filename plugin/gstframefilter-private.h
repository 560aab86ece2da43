/*
 * gst-attention: the inside of GstFrameFilter, for the files that it is made of, each of which knows those below alone:
 *   gstframefilter.c            the object, and its life from start to stop
 *   gstframefilterevents.c      events in
 *   gstframefilterbuffers.c     buffers in
 *   gstframefiltergaps.c        frames that are missing
 *   gstframefiltercaps.c        caps
 *   gstframefilterstream.c      the layer and the stream: frames in, outputs out
 *   gstframefilterlines.c       what leaves each pad; rows to those who look at them
 *   gstframefilteritems.c       what has come in and not left yet
 *   gstframefilterruns.c        outputs that leave without a buffer that waited for them
 *   gstframefiltersides.c       pads beside `src`
 *   gstframefilterlatency.c     how late outputs leave
 *   gstframefilterstate.c       streams that outlive their process
 *   gstframefilterproperties.c  properties
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PLUGIN_GSTFRAMEFILTER_PRIVATE_H
#define PLUGIN_GSTFRAMEFILTER_PRIVATE_H

#include "gstframefilter.h"

#define GST_CAT_DEFAULT gst_frame_filter_debug

G_GNUC_INTERNAL extern GstBaseTransformClass *gst_frame_filter_base_class;

/* Rows in a buffer that will leave, while they are being filled. */
typedef struct {
  GstBuffer *buffer; /* NULL: nobody wants them */
  GstMapInfo map;
  guint64 width; /* values per row */
} Rows;

/*
 * What came in and has not left yet, in its order: a buffer (its output, being filled; or where the outputs of its
 * frames come from, which leave by themselves), a GAP event with the frames that it stands for, frames that a jump of
 * the timestamps leaves out, or another serialised event, which waits behind the buffers before it.
 */
typedef struct {
  Rows out;
  GstEvent *event; /* or NULL */

  /* Of outputs that leave by themselves. */
  GstBuffer *source;         /* flags and metas, without content; NULL: no buffer brought the frames */
  gboolean is_discont;       /* the next of them is the first behind a discontinuity */
  GstFrameFilterTimes times; /* of the frames */

  guint64 n_frames;
  guint64 first_output; /* the number of the first output whose frame is among them */
  guint64 n_outputs;
  guint64 n_done;       /* outputs that are known */
  guint64 n_present;    /* those of them that are there; of chains */
  gboolean is_unwanted; /* outputs go nowhere */
  gboolean is_single;   /* ready: a frame of its own, whatever the caps say of frames per buffer */
} Item;

typedef struct _GstFrameFilterRun GstFrameFilterRun;

#define OUTPUTS (-1)

/*
 * What leaves one pad, in its order: rows, one for each `stride` frames. `src` has a line, of the outputs, and each
 * side has one while somebody looks at it, or follows_rows (). Every item stands in every line, with the rows there
 * that belong to its frames.
 */
typedef struct _GstFrameFilterLine {
  gint side;               /* or OUTPUTS */
  guint64 stride;          /* frames for each row */
  guint64 width;           /* values per row */
  gboolean leaves_at_once; /* rows do not wait for those of their buffer */
  gboolean is_watched;     /* of a side; else rows are only counted, for follows_rows () */
  gboolean gives_tensors;  /* what leaves is other/tensors: so many rows in a buffer as its caps say */
  gboolean owes_discont;   /* to the next row */
  gboolean left_out;       /* absent rows left no trace, and nothing has left since */
  GstCaps *own_caps;       /* of the pad, while it has those of single rows; NULL: it has not */
  GstQueueArray *waiting;  /* Items; the first one with rows to come is being filled */
  GstQueueArray *ready;    /* Items that are complete */
  GstFrameFilterRun *run;  /* rows without an item that waits for them, on their way to `ready` */
  GArray *rows;            /* that the core gives, of gfloat, on their way to items */
  GByteArray *marks;       /* the same: 1: it is there, 0: it is absent */
  AttnWatch watch;         /* of a side: where the core writes */
  gboolean is_straight;    /* that is the buffer of the first item that waits, and not `rows` */
} Line;

/* ---- gstframefilterevents.c; of GstBaseTransformClass ---- */

gboolean gst_frame_filter_sink_event (GstBaseTransform *trans, GstEvent *event);
gboolean gst_frame_filter_src_event (GstBaseTransform *trans, GstEvent *event);

/* ---- gstframefilterbuffers.c; of GstBaseTransformClass ---- */

gboolean gst_frame_filter_decide_allocation (GstBaseTransform *trans, GstQuery *query);
GstFlowReturn gst_frame_filter_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *input);
GstFlowReturn gst_frame_filter_generate_output (GstBaseTransform *trans, GstBuffer **output);
GstFlowReturn gst_frame_filter_transform (GstBaseTransform *trans, GstBuffer *input, GstBuffer *output);

/* ---- gstframefiltergaps.c ---- */

/* A buffer comes: what its time says is missing before it. */
void gst_frame_filter_look_at_time (GstFrameFilter *self, GstBuffer *buffer);

/* The absent frames of a GAP event, and before it; the first of them is at *begin. */
guint64 gst_frame_filter_count_gap_frames (GstFrameFilter *self, GstEvent *event, GstClockTime *begin);

/* ---- gstframefiltercaps.c ---- */

/* Of GstBaseTransformClass. */
GstCaps *gst_frame_filter_transform_caps (GstBaseTransform *trans, GstPadDirection direction, GstCaps *caps,
                                          GstCaps *filter);

/* Caps have come. FALSE: they are refused, which is said when they would be needed. */
gboolean gst_frame_filter_take_caps (GstFrameFilter *self, GstCaps *caps);

/* TRUE, after an error message, when the last caps were refused. */
gboolean gst_frame_filter_has_refused (GstFrameFilter *self);
void gst_frame_filter_forget_refusal (GstFrameFilter *self);

/* ---- gstframefilterstream.c ---- */

/* A layer for frames of `n_features`, 0: as its model says, and a stream; that of the state file, if there is one. */
gboolean gst_frame_filter_make_layer (GstFrameFilter *self, guint n_features, GError **error);

/* Drops both, and what a restored stream owed. */
void gst_frame_filter_free_layer (GstFrameFilter *self);

/* `item` waits for the outputs of its frames, which are numbered now, and are `frames`; NULL: they are absent. */
void gst_frame_filter_take_item (GstFrameFilter *self, const Item *item, const gfloat *frames);

/* The last frame has come: what still waits sees a shorter window. */
void gst_frame_filter_finish_stream (GstFrameFilter *self);

/* The next frame is the first one; what waits is dropped. */
void gst_frame_filter_forget_stream (GstFrameFilter *self);

/* A frame comes: what restore-state brought goes on with it, and what still waits is answered before. */
void gst_frame_filter_adopt_restored (GstFrameFilter *self);

/* ---- gstframefilteritems.c ---- */

/* Room for `n_frames` rows in `buffer`, which it takes. FALSE: no memory. */
gboolean gst_frame_filter_fill_rows (Rows *rows, GstBuffer *buffer, guint64 n_frames, guint64 width);

/* Where the next output of `item` goes; NULL: nowhere. */
gfloat *gst_frame_filter_next_row (const Item *item, const Rows *rows);

void gst_frame_filter_clear_item (Item *item);
void gst_frame_filter_clear_items (GstQueueArray *items);

/* Complete items at the head of the line are ready; the next one is being filled. */
void gst_frame_filter_advance (GstFrameFilter *self, Line *line);

/* To `src` and to sides: to all, or to those without a line, which have no place of their own for it. */
gboolean gst_frame_filter_forward_event (GstFrameFilter *self, GstEvent *event, gboolean to_lines);
GstFlowReturn gst_frame_filter_push_ready (GstFrameFilter *self);

/* To the pad of a side, whose rows before it have all left. */
void gst_frame_filter_tell_side (GstFrameFilter *self, Line *line, GstEvent *event);

/* ---- gstframefilterruns.c ---- */

/* A buffer for `n` rows of `line`. NULL: no memory. */
GstBuffer *gst_frame_filter_new_buffer (GstFrameFilter *self, const Line *line, guint64 n);

/* Whose number of channels is not that of the outputs. */
void gst_frame_filter_drop_audio_meta (GstBuffer *buffer);

/* What the outputs of `input`, which leave by themselves, take from it. */
GstBuffer *gst_frame_filter_make_source (GstBuffer *input);

/* Times that nobody knows. */
#define GST_FRAME_FILTER_NO_TIMES \
  ((GstFrameFilterTimes){ .begin = GST_CLOCK_TIME_NONE, .duration = GST_CLOCK_TIME_NONE })

GstClockTime gst_frame_filter_frame_time (GstFrameFilter *self, const GstFrameFilterTimes *times, guint64 frame);

GstFrameFilterRun *gst_frame_filter_run_new (void);
void gst_frame_filter_run_free (GstFrameFilterRun *run);

/* The next `n` rows of `item`, all there (`rows`, NULL: zeros) or all absent, leave without it. */
void gst_frame_filter_add_to_run (GstFrameFilter *self, Line *line, Item *item, const gfloat *rows, guint64 n,
                                  gboolean present);

/* What has been added is ready; or forgotten. */
void gst_frame_filter_end_run (GstFrameFilter *self, Line *line);
void gst_frame_filter_clear_run (Line *line);

/* ---- gstframefilterlines.c ---- */

Line *gst_frame_filter_line_new (gint side);
void gst_frame_filter_line_free (Line *line);
void gst_frame_filter_clear_line (Line *line); /* nothing waits, or leaves, any more */

/*
 * Before each buffer: a line for each side that somebody looks at, or whose rows somebody follows, and for no other.
 * FALSE after an error message.
 */
gboolean gst_frame_filter_update_sides (GstFrameFilter *self);
void gst_frame_filter_free_sides (GstFrameFilter *self); /* there is no stream any more */

/* After caps: whether what leaves is other/tensors, which it is where the rate is not a whole number, too. */
void gst_frame_filter_settle_media (GstFrameFilter *self, Line *line);

/* The rows of a stream that takes the place of another one; what it owes belongs to frames that are not here. */
void gst_frame_filter_watch_anew (GstFrameFilter *self);

/* The number of the line's next row. */
guint64 gst_frame_filter_next_row_number (GstFrameFilter *self, const Line *line);

/* Rows of frames that have come, and have not been computed yet. */
guint64 gst_frame_filter_count_owed (GstFrameFilter *self, const Line *line);

/* `item`, whose frames are the next ones, waits in `line`, which takes it. */
void gst_frame_filter_add_item (GstFrameFilter *self, Line *line, Item *item);

/* The same in the line of a side, which makes its own of it. */
void gst_frame_filter_add_item_to_side (GstFrameFilter *self, Line *line, const Item *item);

/* `n` rows to the items that wait for them; `marks` NULL: they are all absent. */
void gst_frame_filter_distribute (GstFrameFilter *self, Line *line, const gfloat *rows, const guint8 *marks, guint64 n);

/* The most of `n` frames that may be given to the core at once: rows are kept aside for a moment. */
guint64 gst_frame_filter_limit_frames (GstFrameFilter *self, const gfloat *frames, guint64 n);

/* Most rows that are kept aside, on their way to several items. */
#define MAX_ASIDE 256

/* Rows whose reach begins behind the last frame that was there are absent. How many may still be there. */
guint64 gst_frame_filter_count_reaching_back (GstFrameFilter *self, const Line *line);

/* The `n` rows of a stream that reach beyond its last frame go on from the time of that. */
void gst_frame_filter_add_beyond (GstFrameFilter *self, Line *line, guint64 n);

/* Before and after each call of the core: `n` frames, or the end. */
void gst_frame_filter_watch_rows (GstFrameFilter *self, const gfloat *frames, guint64 n);
void gst_frame_filter_watch_last_rows (GstFrameFilter *self);
void gst_frame_filter_take_rows (GstFrameFilter *self);

/* ---- gstframefiltersides.c ---- */

Line *gst_frame_filter_side (GstFrameFilter *self, guint side); /* NULL: it has none */

/* Calls `function` with each line that a side has. */
void gst_frame_filter_for_each_side (GstFrameFilter *self, void (*function) (GstFrameFilter *self, Line *line));

/* Somebody looks at a side. */
gboolean gst_frame_filter_is_watched (GstFrameFilter *self, guint side);

/* Transfer full; NULL: nobody has requested it. */
GstPad *gst_frame_filter_ref_side_pad (GstFrameFilter *self, guint side);

/* Transfer full. */
GstFlowReturn gst_frame_filter_push_side (GstFrameFilter *self, guint side, GstBuffer *rows);

/* `event`, which `src` has been told, in the words of the side; to all sides, or to those without a line. */
void gst_frame_filter_push_event_to_side (GstFrameFilter *self, guint side, GstEvent *event);
void gst_frame_filter_push_event_to_sides (GstFrameFilter *self, GstEvent *event, gboolean to_lines);

/* What a push on `pad` that returned `flow` means for the element: one pad that is not linked is enough. */
GstFlowReturn gst_frame_filter_combine_flow (GstFrameFilter *self, GstPad *pad, GstFlowReturn flow);

void gst_frame_filter_reset_flows (GstFrameFilter *self); /* at the start, and after a flush */

/* Refuses, and takes, a seek backwards. */
gboolean gst_frame_filter_refuses_event (GstFrameFilter *self, GstEvent *event);

/* ---- gstframefilterlatency.c ---- */

/* There is a layer, and a stream that has not begun; or neither. */
void gst_frame_filter_note_paces (GstFrameFilter *self);

/* After anything that latency depends on: says so on the bus when it has grown. */
void gst_frame_filter_update_latency (GstFrameFilter *self);

/* A buffer of so many frames has come in. */
void gst_frame_filter_note_buffer_size (GstFrameFilter *self, guint64 n_frames);

/*
 * A buffer begins here. Absent frames, or the state that was restored, can have shifted buffers: then they do not begin
 * at multiples of their size.
 */
void gst_frame_filter_note_place (GstFrameFilter *self);

/* `side`, or OUTPUTS: the rows of a side are never promised earlier than the outputs. */
gboolean gst_frame_filter_query_latency (GstFrameFilter *self, gint side, GstQuery *query);

/* Of GstBaseTransformClass. */
gboolean gst_frame_filter_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query);

/*
 * Frames per second, where the caps do not tell: what the property says, or else the model. Called with the object
 * lock.
 */
void gst_frame_filter_get_other_rate (GstFrameFilter *self, gint *rate_n, gint *rate_d);

/* ---- gstframefilterstate.c ---- */

/* What the last frame left behind is still there to be saved when the stream has been drained or dropped. */
void gst_frame_filter_keep_state (GstFrameFilter *self);

/* At start. FALSE after an error message; that there is no file yet is none. */
gboolean gst_frame_filter_open_state_file (GstFrameFilter *self);

/* The state file goes to the first stream that there is. TRUE: `stream` goes on from it, or there is none. */
gboolean gst_frame_filter_restore_file_state (GstFrameFilter *self, GError **error);

/* Only what frames or restore-state have changed since: a run without frames leaves the file alone. */
void gst_frame_filter_write_state_file (GstFrameFilter *self);

/* The action signals. Any thread. */
GBytes *gst_frame_filter_save_state (GstFrameFilter *self);
gboolean gst_frame_filter_restore_state (GstFrameFilter *self, GBytes *state);

/* ---- gstframefilterproperties.c ---- */

void gst_frame_filter_init_properties (GstFrameFilter *self);
void gst_frame_filter_install_properties (GObjectClass *object_class);
void gst_frame_filter_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_frame_filter_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

#endif
