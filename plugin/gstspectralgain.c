/*
 * gst-attention: the element `spectralgain`: its pads, events and queries.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
/**
 * SECTION:element-spectralgain
 * @title: spectralgain
 * @short_description: Applies a model's gains to the sound
 * @see_also: logmel, attention
 *
 * Turns the output of a model into sound. Models that clean speech do not make samples. For each frame and band they
 * give a gain, a number from 0 to 1: the part of the band to keep. This element takes the sound on the pad `sink` and
 * the gains on the pad `gains`, applies the gains to the spectrum, and gives the resulting sound. Speech enhancement
 * calls this a spectral gain (or a mask), hence the name.
 *
 * The sound can have any rate, S16 or F32 samples, and any number of channels, which all get the same gains. If all
 * gains are 1, the output has exactly the samples of the input.
 *
 * ## Bands
 * A frame of gains holds one value per band. If it holds one more, the last is the probability of speech. The bands are
 * those of logmel, whose caps describe them. A model leaves only sample-rate of these fields. Then the properties
 * describe the bands, with logmel's names and defaults. If a property that was set disagrees with the caps, that is an
 * error. Between the centres of two bands the element interpolates the gains, as the triangles of the filter bank
 * overlap. Frequencies below the lowest centre or above the highest one take the gain of that band. The sound can have
 * another sample rate than the audio that logmel saw.
 *
 * NaN and negative gains count as 0, and gains above 1000 (60 dB) as 1000. After that, no gain is below
 * #GstSpectralGain:floor.
 *
 * ## Time
 * Timestamps decide which gains belong to which samples, however late the gains come. The gains of a frame belong to
 * its centre, and between two frames the element interpolates. Before the first frame, behind the last one and in a gap
 * (a GAP event, a buffer with the GAP flag, timestamps that jump) all gains are 1. The sound waits for its gains, and
 * never passes without them. The element holds up to #GstSpectralGain:max-wait of sound, so the branch with the model
 * needs a queue and the other one does not. If it holds sound, or the sound has ended, and no gains come for as long,
 * an error names both times. After EOS on the pad `gains` the sound does not wait.
 *
 * If sound is missing (a GAP event, a jump of the timestamps), the sound before the hole ends there, and new sound
 * begins behind it. Tags and events of applications overtake the sound in the element, which is less than a frame.
 *
 * The latency is that of the slower branch. The element adds one frame less a sample (24.9 ms) on the side of the
 * sound. On the side of the gains it adds nothing to the latency that the branch itself reports, if the frame and hop
 * are those of logmel. The latency is exact if both branches begin with the same sample.
 *
 * ## Speech
 * If the frames hold a probability of speech, the element posts a message named `spectralgain` whenever speech begins
 * (the probability reaches #GstSpectralGain:threshold) or ends (it falls below the threshold by
 * #GstSpectralGain:hysteresis). The fields are `speech` (boolean), `probability` (double), and the time of the frame's
 * centre as `timestamp`, `stream-time` and `running-time` (guint64). NaN changes nothing. Buffers then have a
 * #GstAudioLevelMeta: the level of the output, and whether there is speech in it. rtphdrextclientaudiolevel sends that
 * to the other side of a call.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! audioconvert ! audioresample ! tee name=t t. ! spectralgain
 * name=clean floor=-20 ! wavenc ! filesink location=clean.wav t. ! queue ! logmel ! attention
 * model-file=model.safetensors ! clean.gains ]| Cleans a recording with a model that makes a gain per band from log-mel
 * frames. No band goes below -20 dB.
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! audioconvert ! audioresample ! logmel ! attention
 * model-file=model.safetensors ! npyenc ! filesink location=gains.npy ]| Writes the same gains to a file, to look at
 * and to change in NumPy.
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! audioconvert ! audioresample ! spectralgain name=clean !
 * audioconvert ! autoaudiosink filesrc location=gains.npy ! npyparse ! clean.gains ]| Applies the gains from that file,
 * one frame every 10 ms, and plays the sound.
 */
#include "gstspectralgain-private.h"

#include <string.h>

GST_DEBUG_CATEGORY (gst_spectral_gain_debug);

#define AUDIO_CAPS                                                        \
  "audio/x-raw, format=(string){ " GST_AUDIO_NE (F32) ", " GST_AUDIO_NE ( \
      S16) " }, layout=(string)interleaved, rate=(int)[ 1, max ], channels=(int)[ 1, max ]"

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (AUDIO_CAPS));
static GstStaticPadTemplate gains_template =
    GST_STATIC_PAD_TEMPLATE ("gains", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (AUDIO_CAPS));

#define gst_spectral_gain_parent_class parent_class
G_DEFINE_TYPE (GstSpectralGain, gst_spectral_gain, GST_TYPE_ELEMENT);
GST_ELEMENT_REGISTER_DEFINE (spectralgain, "spectralgain", GST_RANK_NONE, GST_TYPE_SPECTRAL_GAIN)

/* ---- the pad sink ---- */

/* With the stream lock. Takes the item. */
static GstFlowReturn
take_in (GstSpectralGain *self, gpointer item)
{
  g_queue_push_tail (&self->items, item);
  return gst_spectral_gain_advance (self);
}

static GstFlowReturn
current_flow (GstSpectralGain *self)
{
  GstFlowReturn flow;

  GST_OBJECT_LOCK (self);
  flow = self->is_flushing || self->is_stopping ? GST_FLOW_FLUSHING : self->flow;
  GST_OBJECT_UNLOCK (self);
  return flow;
}

static gboolean
check_size (GstSpectralGain *self, GstBuffer *buffer)
{
  GError *error = NULL;

  if (gst_buffer_get_size (buffer) % self->arriving.frame_size == 0)
    return TRUE;
  g_set_error (&error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
               "a buffer of %" G_GSIZE_FORMAT
               " bytes is not a whole number of samples: one of %d channels has %" G_GSIZE_FORMAT " bytes",
               gst_buffer_get_size (buffer), self->arriving.n_channels, self->arriving.frame_size);
  gst_spectral_gain_fail (self, error);
  return FALSE;
}

/* So much audio is there. */
static void
count_audio (GstSpectralGain *self, GstBuffer *buffer)
{
  GstClockTime duration = gst_spectral_gain_duration (&self->arriving, buffer);

  if (GST_BUFFER_PTS_IS_VALID (buffer))
    self->arriving_segment.position = GST_BUFFER_PTS (buffer);
  self->arriving_segment.position = MIN (self->arriving_segment.position, GST_SPECTRAL_GAIN_MAX_TIME) + duration;
  GST_OBJECT_LOCK (self);
  self->audio_held += duration;
  self->audio_at =
      MAX (gst_spectral_gain_to_running_time (&self->arriving_segment, self->arriving_segment.position), 0);
  GST_OBJECT_UNLOCK (self);
}

/* What is not linked, or flushed by somebody else, may take the next buffer. */
static void
forgive (GstSpectralGain *self)
{
  GST_OBJECT_LOCK (self);
  if (self->flow == GST_FLOW_NOT_LINKED || self->flow == GST_FLOW_FLUSHING)
    self->flow = GST_FLOW_OK;
  GST_OBJECT_UNLOCK (self);
}

static GstFlowReturn
gst_spectral_gain_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (parent);
  GstFlowReturn flow;

  GST_PAD_STREAM_LOCK (self->srcpad);
  forgive (self);
  flow = current_flow (self);
  if (!self->arriving.is_known)
    flow = GST_FLOW_NOT_NEGOTIATED;
  else if (flow == GST_FLOW_OK && !check_size (self, buffer))
    flow = GST_FLOW_ERROR;
  if (flow == GST_FLOW_OK) {
    count_audio (self, buffer);
    take_in (self, g_steal_pointer (&buffer));
  }
  GST_PAD_STREAM_UNLOCK (self->srcpad);
  gst_clear_buffer (&buffer);
  if (flow != GST_FLOW_OK)
    return flow;
  gst_spectral_gain_wait (self);
  return current_flow (self);
}

/* What is looked at before it waits for its turn. FALSE: refused. */
static gboolean
look_at (GstSpectralGain *self, GstEvent *event)
{
  GstCaps *caps;
  GError *error = NULL;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    if (!gst_spectral_gain_read_format (&self->arriving, caps))
      return FALSE;
    gst_spectral_gain_update_latency (self, &self->arriving);
    return TRUE;
  case GST_EVENT_SEGMENT:
    gst_event_copy_segment (event, &self->arriving_segment);
    if (self->arriving_segment.format == GST_FORMAT_TIME && self->arriving_segment.rate > 0)
      return TRUE;
    g_set_error (&error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                 "audio needs a segment in time that goes forward, this one is in %s at rate %g",
                 gst_format_get_name (self->arriving_segment.format), self->arriving_segment.rate);
    gst_spectral_gain_fail (self, error);
    return FALSE;
  case GST_EVENT_STREAM_START:
    GST_OBJECT_LOCK (self);
    if (self->flow == GST_FLOW_EOS)
      self->flow = GST_FLOW_OK;
    GST_OBJECT_UNLOCK (self);
    return TRUE;
  case GST_EVENT_EOS:
    GST_OBJECT_LOCK (self);
    self->n_ending++;
    GST_OBJECT_UNLOCK (self);
    return TRUE;
  default:
    return TRUE;
  }
}

/* Gains that wait belong to audio that is gone. */
static void
flush_stop (GstSpectralGain *self)
{
  gst_spectral_gain_join_watch (self);
  GST_PAD_STREAM_LOCK (self->srcpad);
  gst_spectral_gain_forget_audio (self);
  gst_spectral_gain_forget_gains (self);
  GST_PAD_STREAM_UNLOCK (self->srcpad);
  gst_spectral_gain_set (self, &self->is_flushing, FALSE);
}

static gboolean
take_serialized (GstSpectralGain *self, GstEvent *event)
{
  gboolean is_eos = GST_EVENT_TYPE (event) == GST_EVENT_EOS, taken;

  if (GST_EVENT_TYPE (event) == GST_EVENT_STREAM_START)
    gst_spectral_gain_join_watch (self); /* of the stream before, whose gains may still be on their way */
  GST_PAD_STREAM_LOCK (self->srcpad);
  taken = current_flow (self) != GST_FLOW_FLUSHING && look_at (self, event);
  if (taken)
    take_in (self, event);
  else
    gst_event_unref (event);
  GST_PAD_STREAM_UNLOCK (self->srcpad);
  if (is_eos && taken)
    gst_spectral_gain_start_watch (self);
  return taken;
}

static gboolean
gst_spectral_gain_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (parent);

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_FLUSH_START:
    gst_spectral_gain_set (self, &self->is_flushing, TRUE);
    break;
  case GST_EVENT_FLUSH_STOP:
    flush_stop (self);
    break;
  default:
    if (GST_EVENT_IS_SERIALIZED (event))
      return take_serialized (self, event);
    break;
  }
  return gst_pad_event_default (pad, parent, event);
}

/* ---- queries, and events from downstream ---- */

/* Audio goes through as it is. Transfer full. */
static GstCaps *
caps_across (GstPad *other, GstPad *pad, GstCaps *filter)
{
  GstCaps *template = gst_pad_get_pad_template_caps (pad), *wanted = template, *caps;

  if (filter != NULL) {
    wanted = gst_caps_intersect_full (filter, template, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref (template);
  }
  caps = gst_pad_peer_query_caps (other, wanted);
  gst_caps_unref (wanted);
  return caps;
}

static gboolean
answer_caps (GstPad *other, GstPad *pad, GstQuery *query)
{
  GstCaps *filter, *caps;

  gst_query_parse_caps (query, &filter);
  caps = caps_across (other, pad, filter);
  gst_query_set_caps_result (query, caps);
  gst_caps_unref (caps);
  return TRUE;
}

static gboolean
gst_spectral_gain_sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_CAPS)
    return answer_caps (GST_SPECTRAL_GAIN (parent)->srcpad, pad, query);
  return gst_pad_query_default (pad, parent, query);
}

static gboolean
gst_spectral_gain_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (parent);

  switch (GST_QUERY_TYPE (query)) {
  case GST_QUERY_LATENCY:
    return gst_spectral_gain_query_latency (self, query);
  case GST_QUERY_CAPS:
    return answer_caps (self->sinkpad, pad, query);
  case GST_QUERY_POSITION:
  case GST_QUERY_DURATION:
  case GST_QUERY_SEEKING:
  case GST_QUERY_SEGMENT:
  case GST_QUERY_CONVERT:
    return gst_pad_peer_query (self->sinkpad, query);
  default:
    return gst_pad_query_default (pad, parent, query);
  }
}

/* Whether both pads come from one source, as behind a tee: a seek then reaches both, and must be sent once. */
static gboolean
have_one_source (GstSpectralGain *self)
{
  gchar *audio = gst_pad_get_stream_id (self->sinkpad), *gains = gst_pad_get_stream_id (self->gainspad);
  gboolean same = g_strcmp0 (audio, gains) == 0;

  g_free (audio);
  g_free (gains);
  return same;
}

/* Takes the event. */
static gboolean
seek (GstSpectralGain *self, GstEvent *event)
{
  gboolean shared = have_one_source (self), done;
  gdouble rate;

  gst_event_parse_seek (event, &rate, NULL, NULL, NULL, NULL, NULL, NULL);
  if (rate <= 0) {
    GST_DEBUG_OBJECT (self, "refusing a seek at rate %g: frames of gains go forward", rate);
    gst_event_unref (event);
    return FALSE;
  }
  done = gst_pad_push_event (self->sinkpad, gst_event_ref (event));
  if (!shared && gst_pad_is_linked (self->gainspad))
    done &= gst_pad_push_event (self->gainspad, gst_event_ref (event));
  gst_event_unref (event);
  return done;
}

static gboolean
gst_spectral_gain_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK)
    return seek (GST_SPECTRAL_GAIN (parent), event);
  return gst_pad_event_default (pad, parent, event);
}

/* ---- object ---- */

static void
begin_run (GstSpectralGain *self)
{
  g_clear_pointer (&self->bands, g_rc_box_release);
  self->bands = gst_spectral_gain_read_bands (self, NULL, NULL, NULL);
  GST_OBJECT_LOCK (self);
  self->is_stopping = self->is_flushing = self->is_gains_flushing = self->is_paused = FALSE;
  self->flow = GST_FLOW_OK;
  GST_OBJECT_UNLOCK (self);
}

/* All waiting threads go. */
static void
stop (GstSpectralGain *self)
{
  gst_spectral_gain_set (self, &self->is_stopping, TRUE);
  gst_spectral_gain_join_watch (self);
}

static void
end_run (GstSpectralGain *self)
{
  gst_spectral_gain_forget_audio (self);
  gst_spectral_gain_forget_gains (self);
  memset (&self->arriving, 0, sizeof self->arriving);
  memset (&self->format, 0, sizeof self->format);
  gst_segment_init (&self->gains_segment, GST_FORMAT_TIME);
  self->has_gains_caps = FALSE;
  self->waiting_since = 0;
  self->latency = 0;
  self->gains_latency = 0;
}

static void
play (GstSpectralGain *self)
{
  gst_spectral_gain_count_anew (self);
  gst_spectral_gain_set (self, &self->is_paused, FALSE);
}

static GstStateChangeReturn
gst_spectral_gain_change_state (GstElement *element, GstStateChange transition)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (element);
  GstStateChangeReturn result;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED)
    begin_run (self);
  else if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop (self);
  else if (transition == GST_STATE_CHANGE_PAUSED_TO_PLAYING)
    play (self);
  result = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED)
    gst_spectral_gain_set (self, &self->is_paused, TRUE);
  else if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    end_run (self);
  return result;
}

static void
gst_spectral_gain_finalize (GObject *object)
{
  GstSpectralGain *self = GST_SPECTRAL_GAIN (object);

  end_run (self);
  g_clear_pointer (&self->bands, g_rc_box_release);
  g_free (self->mixed);
  g_object_unref (self->adapter);
  g_byte_array_unref (self->output);
  g_cond_clear (&self->changed);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_spectral_gain_class_init (GstSpectralGainClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_spectral_gain_debug, "spectralgain", 0, "gains in the spectrum of audio");

  object_class->set_property = gst_spectral_gain_set_property;
  object_class->get_property = gst_spectral_gain_get_property;
  object_class->finalize = gst_spectral_gain_finalize;
  gst_spectral_gain_install_properties (object_class);

  element_class->change_state = GST_DEBUG_FUNCPTR (gst_spectral_gain_change_state);
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &gains_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Spectral gain", "Filter/Effect/Audio",
                                         "Applies gains per mel band, which a model makes, to the spectrum of audio",
                                         "the gst-attention authors");
}

static GstPad *
add_sink (GstSpectralGain *self, GstStaticPadTemplate *template, GstPadChainFunction chain, GstPadEventFunction event)
{
  GstPad *pad = gst_pad_new_from_static_template (template, template->name_template);

  gst_pad_set_chain_function (pad, chain);
  gst_pad_set_event_function (pad, event);
  gst_element_add_pad (GST_ELEMENT (self), pad);
  return pad;
}

static void
gst_spectral_gain_init (GstSpectralGain *self)
{
  gst_spectral_gain_init_properties (self);
  g_cond_init (&self->changed);
  g_queue_init (&self->items);
  g_queue_init (&self->frames);
  self->adapter = gst_adapter_new ();
  self->output = g_byte_array_new ();
  end_run (self);
  begin_run (self);

  self->sinkpad = add_sink (self, &sink_template, GST_DEBUG_FUNCPTR (gst_spectral_gain_chain),
                            GST_DEBUG_FUNCPTR (gst_spectral_gain_sink_event));
  gst_pad_set_query_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_spectral_gain_sink_query));
  self->gainspad = add_sink (self, &gains_template, GST_DEBUG_FUNCPTR (gst_spectral_gain_chain_gains),
                             GST_DEBUG_FUNCPTR (gst_spectral_gain_gains_event));
  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_spectral_gain_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_spectral_gain_src_query));
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
