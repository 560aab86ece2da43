/*
 * gst-attention: the element `spectralgain`: its pad `gains`.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstspectralgain-private.h"

static GstFlowReturn
gains_flow (GstSpectralGain *self)
{
  GstFlowReturn flow;

  GST_OBJECT_LOCK (self);
  if (self->is_gains_flushing || self->is_stopping)
    flow = GST_FLOW_FLUSHING;
  else if (self->flow == GST_FLOW_FLUSHING || self->flow == GST_FLOW_NOT_LINKED)
    flow = GST_FLOW_OK; /* that of the audio alone, and for a time */
  else
    flow = self->flow;
  GST_OBJECT_UNLOCK (self);
  return flow;
}

/* Gains that come long before their audio wait here. */
static void
wait_for_audio (GstSpectralGain *self)
{
  GST_OBJECT_LOCK (self);
  while (self->gains_held > self->settings.max_wait && self->flow == GST_FLOW_OK && !self->is_gains_flushing
         && !self->is_flushing && !self->is_stopping)
    g_cond_wait (&self->changed, GST_OBJECT_GET_LOCK (self));
  GST_OBJECT_UNLOCK (self);
}

GstFlowReturn
gst_spectral_gain_chain_gains (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (parent);
  GstFlowReturn flow;

  GST_PAD_STREAM_LOCK (self->srcpad);
  flow = self->has_gains_caps ? gains_flow (self) : GST_FLOW_NOT_NEGOTIATED;
  if (flow == GST_FLOW_OK)
    flow = gst_spectral_gain_add_gains (self, buffer);
  if (flow == GST_FLOW_OK)
    gst_spectral_gain_advance (self);
  GST_PAD_STREAM_UNLOCK (self->srcpad);
  gst_buffer_unref (buffer);
  if (flow != GST_FLOW_OK)
    return flow;
  wait_for_audio (self);
  return gains_flow (self);
}

static gboolean
take_gains_caps (GstSpectralGain *self, GstEvent *event)
{
  GstFeatures features;
  SpectralBands *bands;
  GError *error = NULL;
  GstCaps *caps;

  gst_event_parse_caps (event, &caps);
  if (!gst_features_from_caps (&features, caps, &error))
    goto wrong;
  bands = gst_spectral_gain_read_bands (self, caps, &features, &error);
  if (bands == NULL)
    goto wrong;
  g_rc_box_release (self->bands);
  self->bands = bands;
  self->features = features;
  self->n_mixed = MAX (self->n_mixed, features.n_features);
  self->mixed = g_renew (gfloat, self->mixed, self->n_mixed);
  self->has_gains_caps = TRUE;
  gst_spectral_gain_update_latency (self, &self->arriving);
  return TRUE;

  /* ERRORS */
wrong:
  gst_spectral_gain_fail (self, error);
  return FALSE;
}

static gboolean
take_gains_segment (GstSpectralGain *self, GstEvent *event)
{
  GError *error = NULL;

  gst_event_copy_segment (event, &self->gains_segment);
  if (self->gains_segment.format == GST_FORMAT_TIME && self->gains_segment.rate > 0)
    return TRUE;
  g_set_error (&error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
               "gains need a segment in time that goes forward, this one is in %s at rate %g",
               gst_format_get_name (self->gains_segment.format), self->gains_segment.rate);
  gst_segment_init (&self->gains_segment, GST_FORMAT_TIME);
  gst_spectral_gain_fail (self, error);
  return FALSE;
}

/* With the stream lock. */
static gboolean
look_at_gains (GstSpectralGain *self, GstEvent *event)
{
  GstClockTime pts, duration;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    return take_gains_caps (self, event);
  case GST_EVENT_SEGMENT:
    self->gains_pts = GST_CLOCK_TIME_NONE;
    return take_gains_segment (self, event);
  case GST_EVENT_GAP:
    gst_event_parse_gap (event, &pts, &duration);
    gst_spectral_gain_add_gap (self, pts, duration);
    return TRUE;
  case GST_EVENT_STREAM_START:
    self->is_closed = FALSE;
    return TRUE;
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    gst_spectral_gain_close_gains (self);
    return TRUE;
  default:
    return TRUE;
  }
}

static void
flush_gains (GstSpectralGain *self)
{
  GST_PAD_STREAM_LOCK (self->srcpad);
  gst_spectral_gain_forget_gains (self);
  gst_segment_init (&self->gains_segment, GST_FORMAT_TIME);
  GST_PAD_STREAM_UNLOCK (self->srcpad);
  gst_spectral_gain_set (self, &self->is_gains_flushing, FALSE);
}

/* Only audio leaves: the events of the gains do not. */
gboolean
gst_spectral_gain_gains_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (parent);
  gboolean taken = TRUE;

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_START) {
    gst_spectral_gain_set (self, &self->is_gains_flushing, TRUE);
  } else if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    flush_gains (self);
  } else if (GST_EVENT_IS_SERIALIZED (event)) {
    GST_PAD_STREAM_LOCK (self->srcpad);
    taken = look_at_gains (self, event);
    gst_spectral_gain_advance (self);
    GST_PAD_STREAM_UNLOCK (self->srcpad);
  }
  gst_event_unref (event);
  return taken;
}
