/* gst-attention: the element `logmel`: its caps, events and queries.  SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-logmel
 * @title: logmel
 * @short_description: audio in, log-mel feature frames out
 *
 * Turns mono audio into log-mel frames, the input of most speech models. There is one frame every
 * #GstLogmel:hop-length. It holds the logarithm of the energy in #GstLogmel:bins bands, over #GstLogmel:frame-length of
 * audio. A model needs exactly the features that it was trained on: #GstLogmel:style chooses those of Kaldi (also
 * torchaudio.compliance.kaldi.fbank), of Whisper, or of NVIDIA's NeMo (FastConformer, Parakeet, Nemotron).
 *
 * Frames leave as audio/x-raw with one channel per bin and one sample per frame: with 16000 Hz and a hop of 10 ms, that
 * is 80 channels at 100 Hz. If the number of frames per second is not a whole number (at 11025 Hz, a hop of 10 ms is
 * 110 samples), frames leave as other/tensors, one frame in each buffer.
 *
 * The caps also describe how the frames were made: sample-rate, bins, style, frame-length, hop-length, fft-size,
 * low-frequency, high-frequency, window-function, mel-scale and log-maximum, with the values in use. If the file of a
 * model describes other frames, `attention` and `attentionencoder` refuse these.
 *
 * The timestamp of a frame is the time of its first sample. In the styles of Whisper and NeMo, whose frames reach as
 * far back as forward, it is the time of its centre. The element computes it from the timestamp of the first buffer and
 * the number of samples since. If the clock of the audio drifts, the frames follow it slowly, and no sample is dropped.
 * Jitter does not move the frames.
 *
 * Lost audio leaves frames absent. The frames beside a hole of any length have the bits and times that they have in the
 * whole audio, and no frame reaches across the hole. A GAP event reports the absent frames. The next buffer has the
 * DISCONT flag, and its offset, the number of its first frame, counts the absent ones. Audio counts as lost where a GAP
 * event says so, and where timestamps jump forward: by a millisecond or more with the DISCONT flag, by 40 ms or more
 * without it. The flag alone means nothing if times continue or are unknown. With the flag, a jump back by 40 ms or
 * more begins a new stream. Without the flag, the frames go on, and a warning reports a jump back by 80 ms or more.
 *
 * Whisper's style mirrors the audio at both of its ends. So it holds the first frame back until half a frame and one
 * sample have come, and completes the last frames when the stream ends. n samples make n / hop frames, rounded down.
 * Audio of half a frame or less is too short to be mirrored, and makes no frame. NeMo's style has zeros beyond the ends
 * instead, and makes n / hop frames from any audio. Kaldi's style gives only the frames that lie wholly inside the
 * audio.
 *
 * The element does not normalise over a recording, because a stream does not know its end. Whisper's models expect a
 * clamp to the maximum of 30 s. The streaming models of Voxtral have a fixed maximum, #GstLogmel:log-maximum. The
 * streaming models of NeMo were trained without normalisation (`normalize: NA`). If the configuration says per_feature,
 * the model was trained on whole recordings, and gets other numbers here. A fixed mean and variance per bin is an
 * `affine` block in the model file, and MFCC is a `linear` block: `examples/export/front_end.py` writes both.
 *
 * With #GstLogmel:model-file the frames are those that the model of this file was trained on, as the exporter wrote
 * them into the metadata: `logmel model-file=m.safetensors ! attentionencoder model-file=m.safetensors` cannot
 * disagree. The element asks upstream for the sample rate of the model, so that an audioresample in front makes it.
 *
 * The element does not mix channels and does not change the sample rate: put audioconvert and audioresample in front of
 * it, never behind it. If the audio has 8 bits, audioconvert turns silence into noise; `audioconvert dithering=none`
 * does not.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 -v audiotestsrc num-buffers=100 wave=pink-noise ! audio/x-raw,rate=16000 ! logmel ! fakesink
 * ]|
 * Frames of 80 bins, 100 per second, as Kaldi computes them.
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! audioconvert ! audioresample ! audio/x-raw,rate=16000 !
 * logmel style=whisper ! attention heads=4 ! fakesink ]|
 * Whisper's features of a file, through self-attention.
 * |[
 * gst-launch-1.0 -v audiotestsrc num-buffers=100 wave=pink-noise ! audio/x-raw,rate=16000 ! logmel style=nemo bins=128
 * ! fakesink ]| The input of the models of NeMo whose preprocessor has 128 features.
 */
#include "gstlogmel-private.h"

#include <gst/audio/audio.h>

GST_DEBUG_CATEGORY (gst_logmel_debug);

/* How far timestamps may be off before they are a hole: the alignment-threshold of audiobuffersplit and audio sinks. */
#define ALIGNMENT_THRESHOLD (40 * GST_MSECOND)

/* Less than that is rounding: containers count in milliseconds, and two such times differ by up to one. */
#define ROUNDING (GST_MSECOND - 1)

/* The time in which the frames follow the clock of the audio: jitter below the threshold moves them by 1/64 of it. */
#define FOLLOWING (64 * ALIGNMENT_THRESHOLD)

/* S16 samples divided by this are in [-1, 1]. */
#define S16_SCALE 32768.0

#define S16_FORMAT GST_AUDIO_NE (S16)
#define F32_FORMAT GST_AUDIO_NE (F32)
#define SINK_CAPS                                                    \
  "audio/x-raw, format=(string){ " S16_FORMAT ", " F32_FORMAT " }, " \
  "layout=(string)interleaved, rate=(int)[ 1, max ], channels=(int)1"

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (SINK_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));

G_DEFINE_TYPE (GstLogmel, gst_logmel, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (logmel, "logmel", GST_RANK_NONE, GST_TYPE_LOGMEL)

/* Settings that do not fit the rate make no frames, but the wrong one may be the rate. */
static gboolean
fits_model (GstLogmel *self, const LogmelSettings *settings, gint rate, GError **error)
{
  LogmelSizes sizes;
  GstCaps *caps;
  gboolean fits;

  caps = logmel_get_sizes (settings, rate, &sizes, NULL)
             ? gst_logmel_make_caps (settings, rate, &sizes)
             : gst_caps_new_simple ("audio/x-raw", "sample-rate", G_TYPE_INT, rate, NULL);
  fits = gst_logmel_fits_model (self, caps, error);
  gst_caps_unref (caps);
  return fits;
}

/* The filter bank for caps that fit the template; NULL, with an error posted, when the settings do not fit the rate. */
static Logmel *
make_logmel (GstLogmel *self, GstCaps *caps, GstAudioInfo *info, LogmelSettings *settings)
{
  Logmel *logmel;
  GError *error = NULL;

  if (!gst_audio_info_from_caps (info, caps))
    goto wrong_caps;
  gst_logmel_get_settings (self, settings);
  if (!fits_model (self, settings, GST_AUDIO_INFO_RATE (info), &error))
    goto wrong_settings;
  logmel = logmel_new (settings, GST_AUDIO_INFO_RATE (info), &error);
  if (logmel == NULL)
    goto wrong_settings;
  return logmel;

  /* ERRORS */
wrong_caps:
  GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("the caps are incomplete: %" GST_PTR_FORMAT, caps), (NULL));
  return NULL;

wrong_settings:
  gst_features_post_error (self, error);
  return NULL;
}

static gboolean
gst_logmel_start (GstBaseTransform *trans)
{
  GstLogmel *self = GST_LOGMEL (trans);
  GError *error = NULL;
  gboolean is_good;

  GST_PAD_STREAM_LOCK (trans->sinkpad); /* caps of a source that runs already have to meet the model */
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  is_good = gst_logmel_read_model (self, &error);
  GST_PAD_STREAM_UNLOCK (trans->sinkpad);
  if (!is_good)
    gst_features_post_error (self, error);
  return is_good;
}

static gboolean
gst_logmel_stop (GstBaseTransform *trans)
{
  GstLogmel *self = GST_LOGMEL (trans);

  gst_logmel_release_input (self);
  g_clear_pointer (&self->logmel, logmel_free);
  g_clear_pointer (&self->history, g_free);
  g_clear_pointer (&self->metadata, attn_metadata_free);
  GST_OBJECT_LOCK (self);
  self->latency = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

static GstCaps *
transform_structure (const GstStructure *structure, const LogmelSettings *settings)
{
  LogmelSizes sizes;
  GstCaps *any, *caps;
  gint rate;

  /* Settings that do not fit the rate pass here, so that the caps arrive and the error can say why they do not fit. */
  if (gst_structure_get_int (structure, "rate", &rate) && rate > 0 && logmel_get_sizes (settings, rate, &sizes, NULL))
    return gst_logmel_make_caps (settings, rate, &sizes);
  any = gst_static_pad_template_get_caps (&src_template);
  caps = gst_features_replace_n_features (any, settings->n_bins);
  gst_caps_unref (any);
  return caps;
}

/*
 * Only the rate that the model was trained on where upstream can give it, as an audioresample can. Any other arrives,
 * so that the error can name both. `filter`: the caps that upstream can give, or NULL.
 */
static GstCaps *
get_sink_caps (GstLogmel *self, GstCaps *filter)
{
  GstCaps *caps = gst_static_pad_template_get_caps (&sink_template), *wanted;
  gint rate = gst_logmel_get_model_rate (self);

  if (rate == 0 || filter == NULL)
    return caps;
  wanted = gst_caps_copy (caps);
  gst_caps_set_simple (wanted, "rate", G_TYPE_INT, rate, NULL);
  if (gst_caps_can_intersect (wanted, filter)) {
    gst_caps_unref (caps);
    return wanted;
  }
  gst_caps_unref (wanted);
  return caps;
}

static GstCaps *
gst_logmel_transform_caps (GstBaseTransform *trans, GstPadDirection direction, GstCaps *caps, GstCaps *filter)
{
  LogmelSettings settings;
  GstCaps *result;
  guint i;

  if (direction == GST_PAD_SRC) {
    result = get_sink_caps (GST_LOGMEL (trans), filter);
  } else {
    gst_logmel_get_settings (GST_LOGMEL (trans), &settings);
    result = gst_caps_new_empty ();
    for (i = 0; i < gst_caps_get_size (caps); i++)
      result = gst_caps_merge (result, transform_structure (gst_caps_get_structure (caps, i), &settings));
  }

  if (filter != NULL) {
    GstCaps *unfiltered = result;

    result = gst_caps_intersect_full (filter, unfiltered, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref (unfiltered);
  }
  return result;
}

/* From the timestamp of a frame to the end of the newest sample that it needs; Whisper's first frame waits longest. */
static void
update_latency (GstLogmel *self)
{
  GstClockTime latency = gst_util_uint64_scale_ceil (gst_logmel_get_n_first (self), GST_SECOND, self->rate);
  gboolean has_changed;

  GST_OBJECT_LOCK (self);
  has_changed = latency != self->latency;
  self->latency = latency;
  GST_OBJECT_UNLOCK (self);
  if (has_changed)
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
}

static void
set_framing (GstLogmel *self)
{
  guint length = self->sizes.frame_length, hop = self->sizes.hop_length;

  self->n_mixed = self->style == GST_LOGMEL_STYLE_NEMO ? 1 : 0;
  if (logmel_is_centred (self->style)) {
    self->n_before = (length + 1) / 2;
    self->n_after = MAX (length - self->n_before, hop);
  } else {
    self->n_before = 0;
    self->n_after = length;
  }
  g_free (self->history);
  self->history = g_new (gdouble, self->n_before + gst_logmel_get_n_first (self));
  gst_logmel_restart (self);
}

/* The audio is other audio from now on: `logmel` makes its frames. */
static void
begin_audio (GstLogmel *self, Logmel *logmel, const LogmelSettings *settings, const GstAudioInfo *info)
{
  logmel_free (self->logmel);
  self->logmel = logmel;
  logmel_get_sizes (settings, GST_AUDIO_INFO_RATE (info), &self->sizes, NULL);
  self->style = settings->style;
  self->rate = GST_AUDIO_INFO_RATE (info);
  frame_clock_set_rate (&self->clock, self->rate, 1, ROUNDING, ALIGNMENT_THRESHOLD);
  self->is_float = GST_AUDIO_INFO_IS_FLOAT (info);
  self->scale = self->is_float ? 1.0 : 1.0 / S16_SCALE;
  if (self->style == GST_LOGMEL_STYLE_KALDI)
    self->scale *= S16_SCALE;
  set_framing (self);
}

/* Only called when the caps have changed. */
static gboolean
gst_logmel_set_caps (GstBaseTransform *trans, GstCaps *in_caps, GstCaps *out_caps)
{
  GstLogmel *self = GST_LOGMEL (trans);
  LogmelSettings settings;
  GstFeatures features;
  GstAudioInfo info;
  Logmel *logmel;
  GError *error = NULL;

  if (!gst_features_from_caps (&features, out_caps, &error))
    goto wrong_out_caps;
  logmel = make_logmel (self, in_caps, &info, &settings);
  if (logmel == NULL)
    return FALSE;
  gst_logmel_end_audio (self); /* with the old caps */
  self->features = features;
  begin_audio (self, logmel, &settings, &info);
  update_latency (self);
  GST_INFO_OBJECT (self, "frames of %u samples every %u, FFT of %u points", self->sizes.frame_length,
                   self->sizes.hop_length, self->sizes.fft_size);
  return TRUE;

  /* ERRORS */
wrong_out_caps:
  gst_features_post_error (self, error);
  return FALSE;
}

/*
 * Caps outside the template never reach the event function, and accepting them would make an audioconvert in front pass
 * stereo through. The probe sees them before they are refused, and says in words what upstream only reports as
 * not-negotiated.
 */
static GstPadProbeReturn
gst_logmel_explain_caps (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  GstElement *self = user_data;
  GstEvent *event = GST_PAD_PROBE_INFO_EVENT (info);
  GstCaps *caps, *accepted;
  const GstStructure *structure;
  gint channels;

  if (GST_EVENT_TYPE (event) != GST_EVENT_CAPS)
    return GST_PAD_PROBE_OK;
  gst_event_parse_caps (event, &caps);
  accepted = gst_static_pad_template_get_caps (&sink_template);
  structure = gst_caps_get_structure (caps, 0);
  if (gst_caps_can_intersect (caps, accepted))
    goto done;
  if (gst_structure_get_int (structure, "channels", &channels) && channels != 1)
    GST_ELEMENT_ERROR (
        self, STREAM, WRONG_TYPE,
        ("the caps have %d channels, expected 1: logmel takes mono, put audioconvert in front", channels),
        ("caps: %" GST_PTR_FORMAT, caps));
  else
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
                       ("the caps are %" GST_PTR_FORMAT ", expected interleaved " S16_FORMAT " or " F32_FORMAT
                        ": put audioconvert in front",
                        caps),
                       (NULL));
done:
  gst_caps_unref (accepted);
  return GST_PAD_PROBE_OK;
}

/* Posts an error if it was downstream that refused the caps. */
static void
explain_refusal (GstLogmel *self, gint rate)
{
  GstPad *pad = GST_BASE_TRANSFORM_SRC_PAD (self);
  LogmelSettings settings;
  LogmelSizes sizes;
  GstCaps *caps;

  gst_logmel_get_settings (self, &settings);
  if (GST_PAD_IS_FLUSHING (pad) || !logmel_get_sizes (&settings, rate, &sizes, NULL))
    return;
  caps = gst_logmel_make_caps (&settings, rate, &sizes);
  if (gst_pad_peer_query_accept_caps (pad, caps))
    goto done;
  if (rate % sizes.hop_length == 0)
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
                       ("downstream refuses frames of %u bins at %u Hz", settings.n_bins, rate / sizes.hop_length),
                       ("caps: %" GST_PTR_FORMAT, caps));
  else
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
                       ("downstream refuses %g frames per second (%d Hz, a hop of %u samples): that is not a whole "
                        "number of Hz, so they leave as other/tensors; audioresample ! audio/x-raw,rate=16000 in "
                        "front helps",
                        (gdouble) rate / sizes.hop_length, rate, sizes.hop_length),
                       ("caps: %" GST_PTR_FORMAT, caps));
done:
  gst_caps_unref (caps);
}

static gboolean
take_caps (GstLogmel *self, GstEvent *event)
{
  LogmelSettings settings;
  GstAudioInfo info;
  GstCaps *caps;
  Logmel *logmel;
  gboolean ret;

  gst_event_parse_caps (event, &caps);
  logmel = make_logmel (self, caps, &info, &settings); /* before downstream is asked: wrong settings are our error */
  if (logmel == NULL) {
    gst_event_unref (event);
    return FALSE;
  }
  logmel_free (logmel);

  ret = GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->sink_event (GST_BASE_TRANSFORM (self), event);
  if (!ret)
    explain_refusal (self, GST_AUDIO_INFO_RATE (&info));
  return ret;
}

static void
take_segment (GstLogmel *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (gst_segment_is_equal (segment, &self->segment))
    return;
  gst_logmel_end_audio (self);
  gst_segment_copy_into (segment, &self->segment);
}

/* How many samples are missing up to the end of a gap. Where time is known, short ones add up. */
static guint64
count_gap (GstLogmel *self, GstClockTime timestamp, GstClockTime duration)
{
  GstClockTime next = frame_clock_next (&self->clock), end = timestamp + duration;

  if (!GST_CLOCK_TIME_IS_VALID (duration))
    return 0;
  if (!GST_CLOCK_TIME_IS_VALID (next))
    return frame_clock_round (&self->clock, duration);
  return end > next ? frame_clock_round (&self->clock, end - next) : 0;
}

/* Frames are absent instead, and fill the gap up to the next frame; before the first one the gap is downstream's. */
static gboolean
take_gap (GstLogmel *self, GstEvent *event)
{
  GstClockTime timestamp, duration;
  gboolean is_told;
  guint64 n;

  gst_event_parse_gap (event, &timestamp, &duration);
  is_told = self->logmel != NULL && self->n_frames > 0 && GST_CLOCK_TIME_IS_VALID (self->first_pts)
            && GST_CLOCK_TIME_IS_VALID (duration);
  if (self->logmel != NULL) {
    n = count_gap (self, timestamp, duration);
    frame_clock_skip (&self->clock, n);
    if (n > 0 || !is_told)
      gst_logmel_lose (self, n);
  }
  if (!is_told)
    return GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->sink_event (GST_BASE_TRANSFORM (self), event);
  gst_event_unref (event);
  return TRUE;
}

static gboolean
gst_logmel_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstLogmel *self = GST_LOGMEL (trans);

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    return take_caps (self, event);
  case GST_EVENT_SEGMENT:
    take_segment (self, event);
    break;
  case GST_EVENT_GAP:
    return take_gap (self, event);
  case GST_EVENT_STREAM_START:
    self->warned_jump = FALSE;
    gst_logmel_end_audio (self);
    break;
  case GST_EVENT_SEGMENT_DONE:
  case GST_EVENT_EOS:
    gst_logmel_end_audio (self);
    break;
  case GST_EVENT_FLUSH_STOP:
    gst_logmel_restart (self);
    gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
    break;
  default:
    break;
  }
  return GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->sink_event (trans, event);
}

static gboolean
query_latency (GstLogmel *self, GstQuery *query)
{
  GstClockTime latency;

  GST_OBJECT_LOCK (self);
  latency = self->latency;
  GST_OBJECT_UNLOCK (self);
  return gst_features_query_latency (GST_BASE_TRANSFORM_SINK_PAD (self), query,
                                     GST_CLOCK_TIME_IS_VALID (latency) ? latency : 0);
}

/* Upstream counts samples and their bytes, downstream frames: only time is the same on both sides. */
static gboolean
query_src (GstLogmel *self, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return query_latency (self, query);
  return gst_features_query_is_in_time (query)
         && GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->query (GST_BASE_TRANSFORM (self), GST_PAD_SRC, query);
}

static gboolean
gst_logmel_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  if (direction == GST_PAD_SRC)
    return query_src (GST_LOGMEL (trans), query);
  return GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->query (trans, direction, query);
}

static gboolean
gst_logmel_src_event (GstBaseTransform *trans, GstEvent *event)
{
  GstFormat format;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    gst_event_parse_seek (event, NULL, &format, NULL, NULL, NULL, NULL, NULL);
    if (format != GST_FORMAT_TIME)
      goto not_time;
  }
  return GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->src_event (trans, event);

  /* ERRORS */
not_time:
  GST_DEBUG_OBJECT (trans, "refusing a seek in %s: upstream counts samples, not frames", gst_format_get_name (format));
  gst_event_unref (event);
  return FALSE;
}

/* Handles a jump back without the flag: the clock was put back. */
static GstFlowReturn
put_back (GstLogmel *self, GstClockTime pts, GstClockTimeDiff jump)
{
  if (!self->warned_jump)
    GST_ELEMENT_WARNING (self, STREAM, FAILED,
                         ("a buffer has the timestamp %" GST_TIME_FORMAT " where %" GST_TIME_FORMAT
                          " was expected: a jump back. Without the DISCONT flag the stream goes on as if nothing were "
                          "missing",
                          GST_TIME_ARGS (pts), GST_TIME_ARGS (frame_clock_next (&self->clock))),
                         ("said once per stream"));
  self->warned_jump = TRUE;
  self->shift += jump;
  frame_clock_forget (&self->clock);
  return GST_FLOW_OK;
}

/* Handles the effect of the timestamp of a buffer on the audio before it. */
static GstFlowReturn
look_at_time (GstLogmel *self, GstClockTime pts, gboolean is_discont)
{
  GstClockTimeDiff jump = frame_clock_jump (&self->clock, pts, is_discont);
  guint64 n;

  if (jump == 0)
    return GST_FLOW_OK;
  GST_DEBUG_OBJECT (self, "a jump by %" GST_STIME_FORMAT " to %" GST_TIME_FORMAT, GST_STIME_ARGS (jump),
                    GST_TIME_ARGS (pts));
  if (jump > 0) {
    n = frame_clock_round (&self->clock, jump);
    frame_clock_skip (&self->clock, n);
    return gst_logmel_lose (self, n);
  }
  if (!is_discont)
    return put_back (self, pts, jump);
  if (-jump < (GstClockTimeDiff) ALIGNMENT_THRESHOLD) /* a source that was paused */
    return gst_logmel_lose (self, 0);
  return gst_logmel_end_audio (self);
}

/*
 * The frames follow the clock of the audio where it drifts, slowly, and less than rounding not at all. Time may also
 * become known on the way.
 */
static void
follow_time (GstLogmel *self, GstClockTime pts, guint64 n_samples)
{
  GstClockTime elapsed = frame_clock_duration (&self->clock, self->n_samples);
  GstClockTime expected = gst_logmel_get_time (self), duration = frame_clock_duration (&self->clock, n_samples);
  GstClockTimeDiff late;

  if (!GST_CLOCK_TIME_IS_VALID (pts))
    return;
  if (!GST_CLOCK_TIME_IS_VALID (expected)) {
    self->first_pts = pts >= elapsed ? pts - elapsed : GST_CLOCK_TIME_NONE;
    return;
  }
  late = GST_CLOCK_DIFF (expected, pts);
  late -= CLAMP (late, -(GstClockTimeDiff) ROUNDING, (GstClockTimeDiff) ROUNDING);
  self->shift += late * ((gdouble) MIN (duration, FOLLOWING) / FOLLOWING);
}

/* Maps the buffer as the input. Takes the buffer. */
static GstFlowReturn
set_input (GstLogmel *self, GstBuffer *buffer)
{
  gsize size = gst_buffer_get_size (buffer), sample_size = self->is_float ? sizeof (gfloat) : sizeof (gint16);

  if (size % sample_size != 0)
    goto partial_sample;
  if (!gst_buffer_map (buffer, &self->map, GST_MAP_READ))
    goto not_mapped;
  self->input = buffer;
  self->n_input = size / sample_size;
  self->n_taken = 0;
  return GST_FLOW_OK;

  /* ERRORS */
partial_sample:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                     ("a buffer of %" G_GSIZE_FORMAT " bytes is not a whole number of samples: one has %" G_GSIZE_FORMAT
                      " bytes",
                      size, sample_size),
                     (NULL));
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;

not_mapped:
  GST_ELEMENT_ERROR (self, RESOURCE, READ, ("cannot map a buffer of %" G_GSIZE_FORMAT " bytes for reading", size),
                     (NULL));
  gst_buffer_unref (buffer);
  return GST_FLOW_ERROR;
}

/* The audio before `buffer`, and the part of it that could not be used. */
static GstFlowReturn
catch_up (GstLogmel *self, GstClockTime pts, gboolean is_discont)
{
  guint64 n_left = self->n_input - self->n_taken;
  GstFlowReturn ret = GST_FLOW_OK;

  if (self->input != NULL) { /* left over where downstream failed: there is a hole */
    gst_logmel_release_input (self);
    ret = gst_logmel_lose (self, n_left);
  }
  return ret == GST_FLOW_OK ? look_at_time (self, pts, is_discont) : ret;
}

static GstFlowReturn
gst_logmel_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont, GstBuffer *buffer)
{
  GstLogmel *self = GST_LOGMEL (trans);
  GstClockTime pts = GST_BUFFER_PTS (buffer);
  gboolean is_flagged = GST_BUFFER_IS_DISCONT (buffer); /* is_discont stays set until a frame leaves */
  guint64 n_samples = gst_buffer_get_size (buffer) / (self->is_float ? sizeof (gfloat) : sizeof (gint16));
  GstFlowReturn ret,
      passed = GST_BASE_TRANSFORM_CLASS (gst_logmel_parent_class)->submit_input_buffer (trans, is_discont, buffer);

  if (passed == GST_FLOW_NOT_NEGOTIATED && self->logmel != NULL)
    explain_refusal (self, self->rate);
  if (passed != GST_FLOW_OK && passed != GST_BASE_TRANSFORM_FLOW_DROPPED)
    return passed;
  buffer = g_steal_pointer (&trans->queued_buf);
  if (self->logmel == NULL) { /* the pad is up, and the caps have not come again yet */
    gst_clear_buffer (&buffer);
    return GST_FLOW_NOT_NEGOTIATED;
  }

  ret = catch_up (self, pts, is_flagged);
  if (ret == GST_FLOW_OK && passed == GST_FLOW_OK) {
    follow_time (self, pts, n_samples);
    ret = set_input (self, g_steal_pointer (&buffer));
  } else if (ret == GST_FLOW_OK) { /* QoS, where somebody turned it on */
    ret = gst_logmel_lose (self, n_samples);
  }
  frame_clock_advance (&self->clock, pts, n_samples);
  gst_clear_buffer (&buffer);
  return ret == GST_FLOW_OK ? passed : ret;
}

static GstFlowReturn
gst_logmel_generate_output (GstBaseTransform *trans, GstBuffer **buffer)
{
  GstLogmel *self = GST_LOGMEL (trans);
  guint64 n_frames;

  *buffer = NULL;
  if (self->input == NULL)
    return GST_FLOW_OK;
  n_frames = gst_logmel_count_frames (self, self->n_input - self->n_taken);
  if (n_frames > 0)
    return gst_logmel_make_buffer (self, n_frames, FALSE, buffer);

  gst_logmel_fill_history (self); /* with the rest, towards the next frame */
  gst_logmel_release_input (self);
  return GST_FLOW_OK;
}

static GstFlowReturn
gst_logmel_transform (GstBaseTransform *trans, GstBuffer *in, GstBuffer *out)
{
  g_return_val_if_reached (
      GST_FLOW_NOT_SUPPORTED); /* it tells the base class that this element works on no buffer in place */
}

static void
gst_logmel_finalize (GObject *object)
{
  gst_logmel_stop (GST_BASE_TRANSFORM (object));
  gst_logmel_clear_properties (GST_LOGMEL (object));
  G_OBJECT_CLASS (gst_logmel_parent_class)->finalize (object);
}

static void
gst_logmel_class_init (GstLogmelClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_logmel_debug, "logmel", 0, "log-mel features");

  object_class->set_property = gst_logmel_set_property;
  object_class->get_property = gst_logmel_get_property;
  object_class->finalize = gst_logmel_finalize;
  gst_logmel_install_properties (object_class);

  gst_element_class_set_static_metadata (
      element_class, "Log-mel features", "Filter/Analyzer/Audio",
      "Turns audio into log-mel feature frames, as Kaldi, Whisper or NeMo compute them", "the gst-attention authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);

  trans_class->start = GST_DEBUG_FUNCPTR (gst_logmel_start);
  trans_class->stop = GST_DEBUG_FUNCPTR (gst_logmel_stop);
  trans_class->transform_caps = GST_DEBUG_FUNCPTR (gst_logmel_transform_caps);
  trans_class->set_caps = GST_DEBUG_FUNCPTR (gst_logmel_set_caps);
  trans_class->sink_event = GST_DEBUG_FUNCPTR (gst_logmel_sink_event);
  trans_class->src_event = GST_DEBUG_FUNCPTR (gst_logmel_src_event);
  trans_class->query = GST_DEBUG_FUNCPTR (gst_logmel_query);
  trans_class->submit_input_buffer = GST_DEBUG_FUNCPTR (gst_logmel_submit_input_buffer);
  trans_class->generate_output = GST_DEBUG_FUNCPTR (gst_logmel_generate_output);
  trans_class->transform = GST_DEBUG_FUNCPTR (gst_logmel_transform);
}

static void
gst_logmel_init (GstLogmel *self)
{
  gst_logmel_init_properties (self);
  self->latency = GST_CLOCK_TIME_NONE;
  self->first_pts = GST_CLOCK_TIME_NONE;
  frame_clock_forget (&self->clock);
  gst_pad_add_probe (GST_BASE_TRANSFORM_SINK_PAD (self), GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, gst_logmel_explain_caps,
                     self, NULL);
}
