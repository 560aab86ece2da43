/*
 * gst-attention: the element `ctctext`: its properties.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gstctctext-private.h"

#include "gstenums.h"
#include "gstsettings.h"

#define DEFAULT_BLANK -1
#define DEFAULT_OUTPUT GST_CTC_TEXT_OUTPUT_WORDS
#define DEFAULT_INTERVAL (200 * GST_MSECOND)
#define DEFAULT_WORD_TIMEOUT (800 * GST_MSECOND) /* tokens of one word are up to half a second apart */
#define DEFAULT_MAX_DURATION (3 * GST_SECOND)
#define DEFAULT_SEPARATOR " "

enum {
  PROP_0,
  PROP_TOKENS,
  PROP_BLANK,
  PROP_OUTPUT,
  PROP_INTERVAL,
  PROP_WORD_TIMEOUT,
  PROP_MAX_DURATION,
  PROP_SEPARATOR,
  PROP_STATE_FILE,
};

#define FIELD(name) G_STRUCT_OFFSET (CtcTextSettings, name)
static const gsize fields[] = {
  [PROP_TOKENS] = FIELD (tokens),
  [PROP_BLANK] = FIELD (blank),
  [PROP_OUTPUT] = FIELD (output),
  [PROP_INTERVAL] = FIELD (interval),
  [PROP_WORD_TIMEOUT] = FIELD (word_timeout),
  [PROP_MAX_DURATION] = FIELD (max_duration),
  [PROP_SEPARATOR] = FIELD (separator),
  [PROP_STATE_FILE] = FIELD (state_file),
};

#define GST_TYPE_CTC_TEXT_OUTPUT (gst_ctc_text_output_get_type ())
GST_DEFINE_ENUM (GstCtcTextOutput, gst_ctc_text_output,
                 { GST_CTC_TEXT_OUTPUT_WORDS, "Each word once, with the times of its frames", "words" },
                 { GST_CTC_TEXT_OUTPUT_PARTIAL, "The phrase so far, once per interval", "partial" })

/* ---- values ---- */

void
gst_ctc_text_init_settings (CtcTextSettings *settings)
{
  *settings = (CtcTextSettings){ .blank = DEFAULT_BLANK,
                                 .output = DEFAULT_OUTPUT,
                                 .interval = DEFAULT_INTERVAL,
                                 .word_timeout = DEFAULT_WORD_TIMEOUT,
                                 .max_duration = DEFAULT_MAX_DURATION,
                                 .separator = g_strdup (DEFAULT_SEPARATOR) };
}

void
gst_ctc_text_clear_settings (CtcTextSettings *settings)
{
  g_clear_pointer (&settings->tokens, g_free);
  g_clear_pointer (&settings->separator, g_free);
  g_clear_pointer (&settings->state_file, g_free);
}

void
gst_ctc_text_get_settings (GstCtcText *self, CtcTextSettings *settings)
{
  gst_ctc_text_clear_settings (settings);
  GST_OBJECT_LOCK (self);
  *settings = self->settings;
  settings->tokens = g_strdup (settings->tokens);
  settings->separator = g_strdup (settings->separator != NULL ? settings->separator : "");
  settings->state_file = g_strdup (settings->state_file);
  GST_OBJECT_UNLOCK (self);
}

void
gst_ctc_text_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstCtcText *self = GST_CTC_TEXT (object);

  GST_OBJECT_LOCK (self);
  gst_settings_set_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

void
gst_ctc_text_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstCtcText *self = GST_CTC_TEXT (object);

  GST_OBJECT_LOCK (self);
  gst_settings_get_field (G_STRUCT_MEMBER_P (&self->settings, fields[id]), value);
  GST_OBJECT_UNLOCK (self);
}

/* ---- the latency ---- */

/* Times in whole frames, at least one. */
static GstClockTime
in_frames (GstClockTime time, GstClockTime frame, gboolean up)
{
  if (frame == 0)
    return time;
  return MAX (time / frame + (up && time % frame != 0), 1) * frame;
}

/* What lasts from its first frame's begin to its last one's end is known when that one's begin has come. */
GstClockTime
gst_ctc_text_get_latency (GstCtcText *self)
{
  CtcTextSettings settings;
  GstClockTime frame, latency;

  GST_OBJECT_LOCK (self);
  settings = self->settings;
  frame = self->rate_n > 0 ? gst_util_uint64_scale_round (GST_SECOND, self->rate_d, self->rate_n) : 0;
  GST_OBJECT_UNLOCK (self);
  if (settings.output == GST_CTC_TEXT_OUTPUT_PARTIAL)
    latency = in_frames (settings.interval, frame, TRUE);
  else
    latency = in_frames (settings.max_duration, frame, FALSE) + in_frames (settings.word_timeout, frame, TRUE);
  return latency - frame;
}

/* ---- the class ---- */

static void
install_tokens (GObjectClass *klass, GParamFlags flags)
{
  g_object_class_install_property (
      klass, PROP_TOKENS,
      g_param_spec_string ("tokens", "Tokens",
                           "A text file with the token of each value of a frame: one token per line, with its number "
                           "behind it (sherpa-onnx), or in the order of the values (the vocabulary of a NeMo model). A "
                           "word begins at U+2581, as SentencePiece writes it. Required",
                           NULL, flags));
  g_object_class_install_property (
      klass, PROP_BLANK,
      g_param_spec_int ("blank", "Blank",
                        "The number of the blank. -1 = the number of the token <blk>, <blank>, <eps> or <pad>, or the "
                        "last value, if the file has one token less than a frame has values, as the files of NeMo",
                        -1, CTC_MAX_TOKENS - 1, DEFAULT_BLANK, flags));
}

static void
install_output (GObjectClass *klass, GParamFlags flags)
{
  g_object_class_install_property (
      klass, PROP_OUTPUT,
      g_param_spec_enum ("output", "Output",
                         "Whole words, each in a buffer with the times of its frames; or partial results: the phrase "
                         "so far, once per interval, with the time of the interval",
                         GST_TYPE_CTC_TEXT_OUTPUT, DEFAULT_OUTPUT, flags));
  g_object_class_install_property (
      klass, PROP_INTERVAL,
      g_param_spec_uint64 ("interval", "Interval",
                           "Time between two partial results (output=partial), in nanoseconds, rounded up to whole "
                           "frames",
                           1, GST_CTC_TEXT_MAX_TIME, DEFAULT_INTERVAL, flags));
  g_object_class_install_property (
      klass, PROP_SEPARATOR,
      g_param_spec_string ("separator", "Separator",
                           "Text to put behind each text, so that words stay apart if only their bytes are kept "
                           "(fdsink, filesink). If max-duration cuts a word, no separator follows its first part",
                           DEFAULT_SEPARATOR, flags));
}

static void
install_limits (GObjectClass *klass, GParamFlags flags)
{
  g_object_class_install_property (
      klass, PROP_WORD_TIMEOUT,
      g_param_spec_uint64 ("word-timeout", "Word timeout",
                           "A word (or phrase) ends if nothing follows it for this time, in nanoseconds. Otherwise a "
                           "word ends where the next one begins. A word with a longer pause inside comes out as two",
                           1, GST_CTC_TEXT_MAX_TIME, DEFAULT_WORD_TIMEOUT, flags));
  g_object_class_install_property (
      klass, PROP_MAX_DURATION,
      g_param_spec_uint64 ("max-duration", "Longest duration",
                           "The longest duration of a text, in nanoseconds. A longer word is cut, and so is text in a "
                           "language without spaces. A longer phrase ends with its current word. The latency of whole "
                           "words is the sum of this and word-timeout",
                           1, GST_CTC_TEXT_MAX_TIME, DEFAULT_MAX_DURATION, flags));
  g_object_class_install_property (
      klass, PROP_STATE_FILE,
      g_param_spec_string ("state-file", "State file",
                           "File that keeps the stream between runs. The element restores it at start if it exists, "
                           "and writes it at EOS, and at stop if frames have come. So a stream can go on in the middle "
                           "of a word. A damaged file, or a file for other tokens, is an error, and stays as it is",
                           NULL, flags));
}

void
gst_ctc_text_install_properties (GObjectClass *klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install_tokens (klass, flags);
  install_output (klass, flags);
  install_limits (klass, flags);
  gst_type_mark_as_plugin_api (GST_TYPE_CTC_TEXT_OUTPUT, 0);
}
