/* gst-attention: the element `ctctext`: its pads, events and queries.  SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-ctctext
 * @title: ctctext
 * @short_description: The output of a CTC model in, text out
 * @see_also: attentionencoder, textoverlay, srtenc
 *
 * Turns the output of a speech recogniser into words. For each frame a CTC model gives one value per token, and one for
 * the blank: log-probabilities, probabilities or the values in front of the softmax. Only the largest value of a frame
 * counts; if several are as large, one of them being the blank, the frame is a blank. The element keeps one token of
 * each run of equal ones, drops the blanks, and the remaining tokens are the text. This is greedy decoding, without a
 * dictionary or a language model.
 *
 * ## Tokens
 * #GstCtcText:tokens names a file with the token of each value. `tokens.txt` of a sherpa-onnx model has a token and its
 * number in each line, in any order; a number alone is that of a space. The vocabulary of a NeMo model has a token in
 * each line, in the order of the values. It leaves out the blank, which is the last value. U+2581, which SentencePiece
 * puts in front of words, is a space. If the file does not have it, the beginnings of words are unknown, and only
 * pauses divide the text. Other marks stay in the text as they are, such as the `|` of wav2vec 2.0 between words, or
 * the `##` of WordPiece inside of them: write U+2581 in the place of a `|`. A token such as <0xE4> is one byte of a
 * character. If the file names the blank otherwise than <blk>, <blank>, <eps> or <pad>, set #GstCtcText:blank to its
 * number.
 *
 * ## Words and their times
 * Each word leaves in a buffer of its own, with #GstCtcText:separator behind it. It begins with the first frame of its
 * first token and ends with the last frame of its last token, by the timestamps of the frames. (A model gives a token
 * when it is sure of it, often in a single frame, which may be later than the sound.)
 *
 * A word is complete when the next one begins, or when nothing has followed it for #GstCtcText:word-timeout. A word
 * that would last longer than #GstCtcText:max-duration is cut. So the frame that completes a word comes at most
 * max-duration and word-timeout after the beginning of the word. The element reports this sum as its latency. Set both
 * lower to get the text faster.
 *
 * While nobody speaks, GAP events go out, so that `textoverlay` and muxers do not wait for the next word.
 *
 * `output=partial` gives the phrase so far, once per #GstCtcText:interval, with the time of that interval. A phrase
 * ends with a pause of word-timeout, or with the word that makes it longer than max-duration.
 *
 * ## Absent frames and the end of a stream
 * Absent frames (a GAP event, a buffer with the GAP flag, timestamps that jump by 40 ms, or with the DISCONT flag by a
 * frame) count as blanks. So the same token in front of them and behind them counts twice, and a long hole ends the
 * word. A frame with NaN counts as a blank as well, and a warning reports that once. Timestamps that jump back end the
 * word, with a warning.
 *
 * The end of a stream, the end of a segment, and caps of other frames complete the word. With #GstCtcText:state-file,
 * or the signals #GstCtcText::save-state and #GstCtcText::restore-state, another process can go on in the middle of a
 * word. The first process gave a part of that word at its end; the other one then gives the whole word again.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attentionencoder model-file=encoder.safetensors ! ctctext
 * tokens=tokens.txt ! fdsink ]| An encoder reads log-mel frames, and its words go to the terminal.
 * |[
 * gst-launch-1.0 filesrc location=features.npy ! npyparse ! attentionencoder model-file=encoder.safetensors ! ctctext
 * tokens=tokens.txt ! matroskamux ! filesink location=words.mkv ]| The same words as subtitles in a Matroska file. Put
 * `srtenc` in the place of the muxer to write an .srt file.
 */
#include "gstctctext-private.h"

#include <string.h>

GST_DEBUG_CATEGORY (gst_ctc_text_debug);

/* How far timestamps may be off before they are a hole: the alignment-threshold of GStreamer's audio sinks. */
#define ALIGNMENT_THRESHOLD (40 * GST_MSECOND)

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_FEATURES_CAPS));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS ("text/x-raw, format=(string)utf8"));

#define gst_ctc_text_parent_class parent_class
G_DEFINE_TYPE (GstCtcText, gst_ctc_text, GST_TYPE_ELEMENT)
GST_ELEMENT_REGISTER_DEFINE (ctctext, "ctctext", GST_RANK_NONE, GST_TYPE_CTC_TEXT)

/* ---- caps ---- */

static void
set_clock (GstCtcText *self)
{
  GstClockTime frame = self->features.rate_n > 0 ? gst_features_duration (&self->features, 1) : 0;

  frame_clock_set_rate (&self->clock, self->features.rate_n, self->features.rate_d, frame / 4,
                        MAX (ALIGNMENT_THRESHOLD, frame - frame / 4));
}

static void
update_latency (GstCtcText *self)
{
  GstClockTime before = gst_ctc_text_get_latency (self);

  GST_OBJECT_LOCK (self);
  self->rate_n = self->features.rate_n;
  self->rate_d = self->features.rate_d;
  GST_OBJECT_UNLOCK (self);
  if (gst_ctc_text_get_latency (self) != before)
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
}

/* However many frames a buffer has. */
static gboolean
are_same_frames (const GstFeatures *a, const GstFeatures *b)
{
  return a->n_features == b->n_features && a->rate_n == b->rate_n && a->rate_d == b->rate_d;
}

static gboolean
push_caps (GstCtcText *self)
{
  GstCaps *caps;
  gboolean result;

  if (gst_pad_has_current_caps (self->srcpad))
    return TRUE;
  caps = gst_static_pad_template_get_caps (&src_template);
  result = gst_pad_push_event (self->srcpad, gst_event_new_caps (caps));
  gst_caps_unref (caps);
  return result;
}

static gboolean
take_caps (GstCtcText *self, GstCaps *caps)
{
  GstFeatures features;
  GError *error = NULL;
  gint blank;

  if (!gst_features_from_caps (&features, caps, &error))
    goto refused;
  blank = ctc_tokens_find_blank (self->tokens, features.n_features, self->used.blank, &error);
  if (blank < 0)
    goto do_not_fit;
  if (self->features.n_features != 0 && !are_same_frames (&features, &self->features))
    gst_ctc_text_end_stream (self);
  self->features = features;
  self->blank = blank;
  set_clock (self);
  update_latency (self);
  return push_caps (self);

  /* ERRORS */
do_not_fit:
  error->domain = GST_STREAM_ERROR;
  error->code = GST_STREAM_ERROR_WRONG_TYPE;
refused:
  gst_features_post_error (self, error);
  self->features.n_features = 0;
  return FALSE;
}

/* ---- events ---- */

/* Texts have times: a segment in bytes begins at 0. Takes the event. */
static gboolean
take_segment (GstCtcText *self, GstEvent *event)
{
  GstSegment segment, before = self->segment;
  guint32 seqnum = gst_event_get_seqnum (event);

  gst_event_copy_segment (event, &segment);
  gst_event_unref (event);
  if (segment.rate < 0)
    goto backwards;
  if (segment.format != GST_FORMAT_TIME)
    gst_segment_init (&segment, GST_FORMAT_TIME);
  before.position = segment.position; /* how far upstream has come changes nothing */
  if (!gst_segment_is_equal (&segment, &before))
    gst_ctc_text_end_stream (self);
  self->segment = segment;
  self->seqnum = seqnum;
  event = gst_event_new_segment (&segment);
  gst_event_set_seqnum (event, seqnum);
  return gst_pad_push_event (self->srcpad, event);

  /* ERRORS */
backwards:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
                     ("the stream plays backwards, at rate %g: words are said forwards", segment.rate), (NULL));
  return FALSE;
}

static gboolean
take_gap (GstCtcText *self, GstEvent *event)
{
  GstClockTime timestamp, duration;

  gst_event_parse_gap (event, &timestamp, &duration);
  if (self->features.n_features == 0)
    return gst_pad_push_event (self->srcpad, event);
  gst_event_unref (event);
  gst_ctc_text_take_gap (self, timestamp, duration);
  return TRUE;
}

/* There is not always a text. Takes the event, transfer full. */
static GstEvent *
mark_sparse (GstEvent *event)
{
  GstStreamFlags flags;

  gst_event_parse_stream_flags (event, &flags);
  event = gst_event_make_writable (event);
  gst_event_set_stream_flags (event, flags | GST_STREAM_FLAG_SPARSE);
  return event;
}

static void
flush_stop (GstCtcText *self)
{
  gst_ctc_text_forget_stream (self);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
}

static gboolean
gst_ctc_text_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstCtcText *self = GST_CTC_TEXT (parent);
  GstCaps *caps;
  gboolean result;

  switch (GST_EVENT_TYPE (event)) {
  case GST_EVENT_CAPS:
    gst_event_parse_caps (event, &caps);
    result = take_caps (self, caps);
    gst_event_unref (event);
    return result;
  case GST_EVENT_SEGMENT:
    return take_segment (self, event);
  case GST_EVENT_GAP:
    return take_gap (self, event);
  case GST_EVENT_FLUSH_STOP:
    flush_stop (self);
    break;
  case GST_EVENT_STREAM_START:
    gst_ctc_text_end_stream (self);
    self->warned_nan = self->warned_jump = FALSE;
    event = mark_sparse (event);
    break;
  case GST_EVENT_SEGMENT_DONE:
    gst_ctc_text_end_stream (self);
    break;
  case GST_EVENT_EOS:
    gst_ctc_text_end_stream (self);
    gst_ctc_text_write_state_file (self); /* while somebody still listens to errors */
    break;
  default:
    break;
  }
  return gst_pad_event_default (pad, parent, event);
}

static GstFlowReturn
gst_ctc_text_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstCtcText *self = GST_CTC_TEXT (parent);

  if (self->features.n_features == 0) {
    gst_buffer_unref (buffer);
    return GST_FLOW_NOT_NEGOTIATED;
  }
  return gst_ctc_text_take_buffer (self, buffer);
}

/* ---- events and queries from downstream ---- */

static gboolean
refuses_seek (GstCtcText *self, GstEvent *event)
{
  GstFormat format;
  gdouble rate;

  gst_event_parse_seek (event, &rate, &format, NULL, NULL, NULL, NULL, NULL);
  if (rate > 0 && format == GST_FORMAT_TIME)
    return FALSE;
  GST_DEBUG_OBJECT (self, "refusing a seek in %s at rate %g: texts have times, and go forwards",
                    gst_format_get_name (format), rate);
  return TRUE;
}

static gboolean
gst_ctc_text_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK && refuses_seek (GST_CTC_TEXT (parent), event)) {
    gst_event_unref (event);
    return FALSE;
  }
  return gst_pad_event_default (pad, parent, event);
}

/* Upstream counts frames and their bytes, downstream letters: only time is the same on both sides. */
static gboolean
gst_ctc_text_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstCtcText *self = GST_CTC_TEXT (parent);

  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_features_query_latency (self->sinkpad, query, gst_ctc_text_get_latency (self));
  return gst_features_query_is_in_time (query) && gst_pad_query_default (pad, parent, query);
}

/* ---- from start to stop ---- */

static CtcDecoder *
make_decoder (GstCtcText *self)
{
  const CtcSettings settings = { .phrases = self->used.output == GST_CTC_TEXT_OUTPUT_PARTIAL,
                                 .timeout = self->used.word_timeout,
                                 .max_duration = self->used.max_duration };

  return ctc_decoder_new (self->tokens, &settings);
}

static void
end_run (GstCtcText *self)
{
  g_mutex_lock (&self->lock);
  g_clear_pointer (&self->decoder, ctc_decoder_free);
  g_clear_pointer (&self->restored, g_bytes_unref);
  g_clear_pointer (&self->ended, g_bytes_unref);
  self->changed = FALSE;
  self->told = GST_CLOCK_TIME_NONE;
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&self->tokens, ctc_tokens_free);
  g_clear_pointer (&self->file, state_file_close);
  g_queue_clear_full (&self->ready, (GDestroyNotify) gst_mini_object_unref);
  memset (&self->features, 0, sizeof self->features);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  frame_clock_forget (&self->clock);
  self->nan_at = GST_CLOCK_TIME_NONE;
  self->has_time = self->warned_nan = self->warned_jump = FALSE;
  GST_OBJECT_LOCK (self);
  self->rate_n = 0;
  self->rate_d = 1;
  GST_OBJECT_UNLOCK (self);
}

/* FALSE after an error message. */
static gboolean
begin_run (GstCtcText *self)
{
  GError *error = NULL;

  gst_ctc_text_get_settings (self, &self->used);
  if (self->used.tokens == NULL)
    goto no_tokens;
  self->tokens = ctc_tokens_read (self->used.tokens, &error);
  if (self->tokens == NULL)
    goto not_read;
  g_mutex_lock (&self->lock);
  self->decoder = make_decoder (self);
  g_mutex_unlock (&self->lock);
  if (gst_ctc_text_open_state_file (self))
    return TRUE;
  end_run (self);
  return FALSE;

  /* ERRORS */
no_tokens:
  GST_ELEMENT_ERROR (self, RESOURCE, NOT_FOUND,
                     ("tokens is not set: it must name a file with the token of each value of a frame"), (NULL));
  return FALSE;

not_read:
  GST_ELEMENT_ERROR (self, RESOURCE, OPEN_READ, ("%s", error->message), (NULL));
  g_error_free (error);
  return FALSE;
}

static GstStateChangeReturn
gst_ctc_text_change_state (GstElement *element, GstStateChange transition)
{
  GstCtcText *self = GST_CTC_TEXT (element);
  GstStateChangeReturn result;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !begin_run (self))
    return GST_STATE_CHANGE_FAILURE;
  result = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    gst_ctc_text_write_state_file (self);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && result == GST_STATE_CHANGE_FAILURE))
    end_run (self);
  return result;
}

/* ---- object ---- */

static void
gst_ctc_text_finalize (GObject *object)
{
  GstCtcText *self = GST_CTC_TEXT (object);

  end_run (self);
  gst_ctc_text_clear_settings (&self->used);
  gst_ctc_text_clear_settings (&self->settings);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
install_signals (GType type)
{
  /**
   * GstCtcText::save-state:
   *
   * The state from which the next frame would go on. After the end of a stream, until the next frame, that is the state
   * before the end. Any thread, while buffers flow.
   *
   * Returns: (transfer full) (nullable): the state; %NULL below PAUSED
   */
  g_signal_new_class_handler ("save-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_ctc_text_save_state), NULL, NULL, NULL, G_TYPE_BYTES, 0);

  /**
   * GstCtcText::restore-state:
   * @state: the bytes that save-state or a state file gave
   *
   * The next frame goes on from @state; the word that is being said ends before it. The times of a word that goes on
   * are counted back from that frame. Any thread, while buffers flow.
   *
   * Returns: %FALSE, after a warning message, when the state is damaged or of other tokens, or below PAUSED; then
   * nothing changes
   */
  g_signal_new_class_handler ("restore-state", type, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
                              G_CALLBACK (gst_ctc_text_restore_state), NULL, NULL, NULL, G_TYPE_BOOLEAN, 1,
                              G_TYPE_BYTES);
}

static void
gst_ctc_text_class_init (GstCtcTextClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_ctc_text_debug, "ctctext", 0, "text of CTC models");

  object_class->set_property = gst_ctc_text_set_property;
  object_class->get_property = gst_ctc_text_get_property;
  object_class->finalize = gst_ctc_text_finalize;
  gst_ctc_text_install_properties (object_class);
  install_signals (G_TYPE_FROM_CLASS (klass));

  element_class->change_state = GST_DEBUG_FUNCPTR (gst_ctc_text_change_state);
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (
      element_class, "Text of CTC models", "Converter/Text",
      "Decodes the log-probabilities of a CTC model, such as a speech recogniser, to words and their times",
      "the gst-attention authors");
}

static void
gst_ctc_text_init (GstCtcText *self)
{
  gst_ctc_text_init_settings (&self->settings);
  g_mutex_init (&self->lock);
  g_queue_init (&self->ready);
  end_run (self);

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_ctc_text_chain));
  gst_pad_set_event_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_ctc_text_sink_event));
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_ctc_text_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_ctc_text_src_query));
  gst_pad_use_fixed_caps (self->srcpad);
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
