/*
 * gst-attention: GstFrameFilter: the object, and its life from start to stop.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

#include <string.h>

GST_DEBUG_CATEGORY (gst_frame_filter_debug);

GstBaseTransformClass *gst_frame_filter_base_class;

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

G_DEFINE_ABSTRACT_TYPE (GstFrameFilter, gst_frame_filter, GST_TYPE_BASE_TRANSFORM)

/* ---- from start to stop ---- */

/* The answer to caps queries, after the model came or went. */
static void
publish_width (GstFrameFilter *self)
{
  GST_OBJECT_LOCK (self);
  self->model_features = self->has_model ? attn_layer_n_features (self->layer) : 0;
  self->model_outputs = self->has_model ? attn_layer_n_outputs (self->layer) : 0;
  self->model_stride = self->has_model && self->outputs->leaves_at_once ? attn_layer_stride (self->layer) : 0;
  GST_OBJECT_UNLOCK (self);
}

static void
end_run (GstFrameFilter *self)
{
  gst_frame_filter_clear_line (self->outputs);
  gst_frame_filter_free_layer (self);
  gst_frame_filter_forget_refusal (self);
  gst_clear_event (&self->held_segment);
  gst_clear_caps (&self->outputs->own_caps);
  self->has_model = self->outputs->leaves_at_once = FALSE;
  publish_width (self);
  g_clear_pointer (&self->file, state_file_close);
  g_clear_pointer (&self->file_state, g_bytes_unref);
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->changed = self->skipped = FALSE;
  self->gap_rest = 0;
  frame_clock_forget (&self->clock);
  self->clock.rate_n = 0;
  memset (&self->features, 0, sizeof self->features);
}

static void
begin_run (GstFrameFilter *self)
{
  GST_OBJECT_LOCK (self);
  self->has_model = self->model_file != NULL;
  self->n_max = 0;
  self->varying = self->shifted = self->warned_rate = FALSE;
  self->latency = 0;
  GST_OBJECT_UNLOCK (self);
  g_mutex_lock (&self->lock);
  self->n_frames = self->n_absent = 0;
  self->n_calls = self->n_timed = 0;
  self->busy = 0;
  g_mutex_unlock (&self->lock);
  self->warned_new_stream = self->warned_jump = FALSE;
  gst_frame_filter_reset_flows (self);
}

/* With a model everything but the rate is known already, so its faults are reported now. */
static gboolean
read_model (GstFrameFilter *self)
{
  GError *error = NULL;

  if (self->has_model && !gst_frame_filter_make_layer (self, 0, &error)) {
    gst_features_post_error (self, error);
    return FALSE;
  }
  publish_width (self);
  return TRUE;
}

static gboolean
start_run (GstFrameFilter *self)
{
  begin_run (self);
  if (gst_frame_filter_open_state_file (self) && read_model (self))
    return TRUE;
  end_run (self); /* no stop () follows a start () that failed */
  return FALSE;
}

/* The pads are active already: a thread that pushes too early waits. */
static gboolean
gst_frame_filter_start (GstBaseTransform *trans)
{
  gboolean started;

  GST_PAD_STREAM_LOCK (trans->sinkpad);
  started = start_run (GST_FRAME_FILTER (trans));
  GST_PAD_STREAM_UNLOCK (trans->sinkpad);
  return started;
}

static gboolean
gst_frame_filter_stop (GstBaseTransform *trans)
{
  GstFrameFilter *self = GST_FRAME_FILTER (trans);

  gst_frame_filter_write_state_file (self);
  end_run (self);
  return TRUE; /* whatever became of the state: a pad that stays active leaves the whole pipeline undead */
}

/* ---- object ---- */

/*
 * Those outside of the template never reach the event function, nor do buffers behind them: what is wrong with them is
 * said at once, and then they are refused as by any element.
 */
static GstPadProbeReturn
gst_frame_filter_explain_other_caps (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstFrameFilter *self = data;
  GstEvent *event = GST_PAD_PROBE_INFO_EVENT (info);
  GstCaps *caps, *template;
  gboolean known;

  if (GST_EVENT_TYPE (event) != GST_EVENT_CAPS)
    return GST_PAD_PROBE_OK;
  gst_event_parse_caps (event, &caps);
  template = gst_static_pad_template_get_caps (&sink_template);
  known = gst_caps_can_intersect (caps, template);
  gst_caps_unref (template);
  if (!known && !gst_frame_filter_take_caps (self, caps))
    gst_frame_filter_has_refused (self);
  return GST_PAD_PROBE_OK;
}

static void
gst_frame_filter_finalize (GObject *object)
{
  GstFrameFilter *self = GST_FRAME_FILTER (object);

  gst_frame_filter_line_free (self->outputs);
  g_ptr_array_unref (self->sides);
  g_ptr_array_unref (self->summaries);
  g_array_unref (self->side_paces);
  gst_flow_combiner_unref (self->flows);
  g_ptr_array_unref (self->side_pads);
  g_free (self->model_file);
  g_free (self->state_file);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (gst_frame_filter_parent_class)->finalize (object);
}

static void
install_signals (GType type)
{
  /**
   * GstFrameFilter::save-state:
   *
   * The state from which the next frame would go on. After the end of a stream, until the next frame, that is the state
   * before the drain. Any thread, while buffers flow; then it may be taken in the middle of a buffer, and the number of
   * the next frame stands at byte 40 (see attn.h).
   *
   * Returns: (transfer full) (nullable): the state; %NULL when there is no stream yet or, with a warning, no memory
   */
  g_signal_new_class_handler ("save-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_frame_filter_save_state), NULL, NULL, NULL, G_TYPE_BYTES, 0);

  /**
   * GstFrameFilter::restore-state:
   * @state: the bytes that save-state or a state file gave
   *
   * The next frame that comes in goes on from @state. What still waits for its look-ahead is answered before, as at the
   * end of a stream. Any thread, while buffers flow.
   *
   * Returns: %FALSE, after a warning message, when the state is damaged or not of this layer, or there is no stream
   * yet; then nothing changes
   */
  g_signal_new_class_handler ("restore-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_frame_filter_restore_state), NULL, NULL, NULL, G_TYPE_BOOLEAN, 1,
                              G_TYPE_BYTES);
}

static void
set_transform_functions (GstBaseTransformClass *trans_class)
{
  trans_class->start = GST_DEBUG_FUNCPTR (gst_frame_filter_start);
  trans_class->stop = GST_DEBUG_FUNCPTR (gst_frame_filter_stop);
  trans_class->query = GST_DEBUG_FUNCPTR (gst_frame_filter_query);
  trans_class->transform_caps = GST_DEBUG_FUNCPTR (gst_frame_filter_transform_caps);
  trans_class->decide_allocation = GST_DEBUG_FUNCPTR (gst_frame_filter_decide_allocation);
  trans_class->submit_input_buffer = GST_DEBUG_FUNCPTR (gst_frame_filter_submit_input_buffer);
  trans_class->generate_output = GST_DEBUG_FUNCPTR (gst_frame_filter_generate_output);
  trans_class->transform = GST_DEBUG_FUNCPTR (gst_frame_filter_transform);
  trans_class->sink_event = GST_DEBUG_FUNCPTR (gst_frame_filter_sink_event);
  trans_class->src_event = GST_DEBUG_FUNCPTR (gst_frame_filter_src_event);
  trans_class->passthrough_on_same_caps = FALSE;
}

static void
gst_frame_filter_class_init (GstFrameFilterClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_frame_filter_debug, "attention", 0, "self-attention on feature streams");
  gst_frame_filter_base_class = GST_BASE_TRANSFORM_CLASS (gst_frame_filter_parent_class);

  object_class->set_property = gst_frame_filter_set_property;
  object_class->get_property = gst_frame_filter_get_property;
  object_class->finalize = gst_frame_filter_finalize;
  gst_frame_filter_install_properties (object_class);
  install_signals (G_TYPE_FROM_CLASS (klass));
  set_transform_functions (GST_BASE_TRANSFORM_CLASS (klass));
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_type_mark_as_plugin_api (GST_TYPE_FRAME_FILTER, 0);
}

static void
gst_frame_filter_init (GstFrameFilter *self)
{
  GstBaseTransform *trans = GST_BASE_TRANSFORM (self);

  gst_frame_filter_init_properties (self);
  g_mutex_init (&self->lock);
  self->outputs = gst_frame_filter_line_new (OUTPUTS);
  self->sides = g_ptr_array_new ();
  self->summaries = g_ptr_array_new ();
  self->side_paces = g_array_new (FALSE, FALSE, 1);
  self->times = GST_FRAME_FILTER_NO_TIMES;
  frame_clock_forget (&self->clock);
  self->side_pads = g_ptr_array_new ();
  self->flows = gst_flow_combiner_new ();
  gst_flow_combiner_add_pad (self->flows, trans->srcpad);
  gst_base_transform_set_passthrough (trans, FALSE);
  gst_base_transform_set_in_place (trans, FALSE);
  gst_base_transform_set_gap_aware (trans, TRUE);
  gst_pad_add_probe (trans->sinkpad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, gst_frame_filter_explain_other_caps, self,
                     NULL);
}
