/*
 * gst-attention: GstFrameFilter: caps.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstframefilter-private.h"

#include "gstattentionlayers.h"
#include "gstfrontend.h"

/* ---- what can be negotiated ---- */

/*
 * What gives `caps` downstream, for a model that makes n_outputs of n_features: just as many, where upstream has the
 * choice. Others come as well, so that the error can say how many it takes.
 */
static GstCaps *
offer_upstream (GstCaps *caps, guint n_features, guint n_outputs)
{
  GstCaps *others =
      n_features == n_outputs ? gst_caps_ref (caps) : gst_features_replace_n_features (caps, GST_FEATURES_ANY_NUMBER);

  return gst_caps_merge (gst_features_replace_n_features (caps, n_features), others);
}

/* Takes `caps`. Transfer full. */
static GstCaps *
intersect (GstCaps *filter, GstCaps *caps)
{
  GstCaps *result = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);

  gst_caps_unref (caps);
  return result;
}

/* Where outputs leave by themselves, one for each `stride` frames; 0: they do not. Transfer full. */
static GstCaps *
at_other_rate (GstCaps *caps, GstPadDirection direction, guint stride)
{
  if (stride == 0)
    return gst_caps_ref (caps);
  return direction == GST_PAD_SINK ? gst_features_divide_rate (caps, stride)
                                   : gst_features_multiply_rate (caps, stride);
}

GstCaps *
gst_frame_filter_transform_caps (GstBaseTransform *trans, GstPadDirection direction, GstCaps *caps, GstCaps *filter)
{
  GstFrameFilter *self = GST_FRAME_FILTER (trans);
  guint n_features, n_outputs, stride;
  GstCaps *result;

  GST_OBJECT_LOCK (self);
  n_features = self->model_features;
  n_outputs = self->model_outputs;
  stride = self->model_stride;
  GST_OBJECT_UNLOCK (self);
  caps = at_other_rate (caps, direction, stride);
  /*
   * Without a model, or with one that keeps D, both sides are the same, to the letter. But the frames that leave are no
   * longer those of a front end, and do not say so.
   */
  if (n_features != 0 && direction == GST_PAD_SRC)
    result = offer_upstream (caps, n_features, n_outputs);
  else if (n_features != n_outputs)
    result = gst_features_replace_n_features (caps, n_outputs);
  else
    result = gst_caps_ref (caps);
  gst_caps_unref (caps);
  result = direction == GST_PAD_SINK ? gst_front_end_remove (result) : gst_features_settle_dimensions (result);
  return filter != NULL ? intersect (filter, result) : result;
}

/* ---- what is ---- */

/*
 * Where the caps do not tell the rate, the property does, or else the model. Times that are off by less than a quarter
 * of a frame are whole, and so the shortest jump is three quarters of one.
 */
static void
set_clock (GstFrameFilter *self)
{
  gint rate_n = self->features.rate_n, rate_d = self->features.rate_d;
  GstClockTime frame, threshold;

  GST_OBJECT_LOCK (self);
  if (rate_n <= 0)
    gst_frame_filter_get_other_rate (self, &rate_n, &rate_d);
  threshold = self->alignment_threshold;
  GST_OBJECT_UNLOCK (self);
  frame = rate_n > 0 ? gst_util_uint64_scale_round (1, GST_SECOND * (guint64) rate_d, rate_n) : 0;
  frame_clock_set_rate (&self->clock, rate_n, rate_d, frame / 4, MAX (threshold, frame - frame / 4));
}

static gboolean
fits_front_end (GstFrameFilter *self, GstCaps *caps, const GstFeatures *features, GError **error)
{
  gchar *name;

  if (gst_front_end_check (self->layer, caps, features, error))
    return TRUE;
  name = g_filename_display_name (self->layer_file);
  g_prefix_error (error, "%s: ", name);
  g_free (name);
  return FALSE;
}

static gboolean
fits_width (GstFrameFilter *self, const GstFeatures *features, GError **error)
{
  guint n_features = attn_layer_n_features (self->layer);
  gchar *name;

  if (features->n_features == n_features)
    return TRUE;
  name = g_filename_display_name (self->layer_file);
  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
               "%s takes %u features per frame, but the stream has %u", name, n_features, features->n_features);
  g_free (name);
  return FALSE;
}

static gboolean
refuse_early (GError **error)
{
  g_set_error_literal (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "caps came before the element was started");
  return FALSE;
}

/* A layer for the frames that `caps` bring. */
static gboolean
ensure_layer (GstFrameFilter *self, GstCaps *caps, const GstFeatures *features, GError **error)
{
  if (self->has_model && self->layer == NULL)
    return refuse_early (error);
  if (self->has_model)
    return fits_front_end (self, caps, features, error) && fits_width (self, features, error);
  if (self->layer != NULL && attn_layer_n_features (self->layer) == features->n_features)
    return TRUE;
  return gst_frame_filter_make_layer (self, features->n_features, error);
}

static gboolean
has_output_rate (GstFrameFilter *self, const GstFeatures *features, GError **error)
{
  guint64 stride = attn_layer_stride (self->layer);
  gint rate_n, rate_d;

  if (gst_util_fraction_multiply (features->rate_n, features->rate_d, 1, (gint) stride, &rate_n, &rate_d))
    return TRUE;
  g_set_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
               "at %d/%d frames per second, one output for %" G_GUINT64_FORMAT
               " frames has a rate that caps cannot hold: a fraction of two numbers up to %d",
               features->rate_n, features->rate_d, stride, G_MAXINT);
  return FALSE;
}

static gboolean
use_caps (GstFrameFilter *self, GstCaps *caps, GError **error)
{
  GstFeatures features;

  if (!gst_features_from_caps (&features, caps, error) || !ensure_layer (self, caps, &features, error)
      || !has_output_rate (self, &features, error))
    return FALSE;
  GST_OBJECT_LOCK (self);
  self->features = features;
  GST_OBJECT_UNLOCK (self);
  gst_frame_filter_settle_media (self, self->outputs);
  gst_frame_filter_for_each_side (self, gst_frame_filter_settle_media);
  set_clock (self);
  gst_frame_filter_update_latency (self);
  return TRUE;
}

void
gst_frame_filter_forget_refusal (GstFrameFilter *self)
{
  gst_clear_caps (&self->refused_caps);
  g_clear_error (&self->refusal);
}

/* No error message yet: NNStreamer's converter offers caps that it takes back before the first buffer. */
gboolean
gst_frame_filter_take_caps (GstFrameFilter *self, GstCaps *caps)
{
  if (self->refused_caps != NULL && gst_caps_is_equal (caps, self->refused_caps))
    return FALSE;
  gst_frame_filter_forget_refusal (self);
  if (use_caps (self, caps, &self->refusal))
    return TRUE;
  self->refused_caps = gst_caps_ref (caps);
  return FALSE;
}

gboolean
gst_frame_filter_has_refused (GstFrameFilter *self)
{
  if (self->refused_caps == NULL)
    return FALSE;
  if (self->refusal != NULL)
    gst_element_message_full (GST_ELEMENT (self), GST_MESSAGE_ERROR, self->refusal->domain, self->refusal->code,
                              g_strdup (self->refusal->message),
                              gst_info_strdup_printf ("caps are %" GST_PTR_FORMAT, self->refused_caps), __FILE__,
                              GST_FUNCTION, __LINE__);
  g_clear_error (&self->refusal);
  return TRUE;
}
