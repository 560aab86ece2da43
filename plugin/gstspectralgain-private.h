/*
 * gst-attention: declarations that the files of the element `spectralgain` share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   gstspectralgain.c            the other pads, events, queries, states
 *   gstspectralgaingains.c       the pad `gains`
 *   gstspectralgainflow.c        from buffers of audio to buffers of audio
 *   gstspectralgainframes.c      the gains over time
 *   gstspectralgainlatency.c     how late samples leave, and how long they wait for their gains
 *   gstspectralgainproperties.c  settings, and their values in the caps of the gains
 *   spectralgain.c               the mathematics of one frame
 *
 * Two threads come in, one per pad, and either may bring what is missing for the next samples to leave; so either
 * works, and pushes, under the stream lock of the source pad. GstAggregator would wait until both pads have a buffer,
 * which at buffers of different sizes is later than need be.
 */
#ifndef PLUGIN_GSTSPECTRALGAIN_PRIVATE_H
#define PLUGIN_GSTSPECTRALGAIN_PRIVATE_H

#include <gst/base/gstadapter.h>

#include "frameclock.h"
#include "gstfeatures.h"
#include "gstspectralgain.h"
#include "spectralgain.h"

G_BEGIN_DECLS

G_GNUC_INTERNAL extern GstDebugCategory *gst_spectral_gain_debug;
#define GST_CAT_DEFAULT gst_spectral_gain_debug

/* A timestamp beyond that is damaged, and sums of two are still in range. */
#define GST_SPECTRAL_GAIN_MAX_TIME (G_MAXINT64 / 4)

typedef struct {
  LogmelSettings bands;
  gdouble floor; /* dB */
  gdouble threshold, hysteresis;
  guint64 max_wait; /* ns */
} SpectralGainSettings;

typedef struct {
  gboolean is_known, is_float;
  gint rate, n_channels;
  gsize frame_size; /* bytes of a sample of all channels */
} AudioFormat;

/* Gains and where they belong: the running time of the centre of their frame. */
typedef struct {
  gint64 time;
  SpectralBands *bands; /* a g_rc_box; NULL: all gains are 1 */
  gboolean is_heard;    /* there was a probability of speech */
  gboolean is_speech;   /* as the last message says */
  gfloat gains[];       /* [n_bins] */
} GainFrame;

struct _GstSpectralGain {
  GstElement element;

  GstPad *sinkpad, *gainspad, *srcpad;

  /* Under the object lock. */
  SpectralGainSettings settings;
  guint is_set;            /* a bit per property, set by the user: caps must not disagree */
  GstClockTime latency;    /* from audio in to audio out; 0 until there are caps */
  gint64 gains_latency;    /* from gains in to audio out */
  GstClockTime audio_held; /* of audio that waits for gains, beyond the frame in work */
  GstClockTime gains_held; /* of gains that wait for audio */
  GstClockTime audio_at;   /* running time up to which each has come; NONE: nothing has */
  GstClockTime gains_at;   /* of their timestamps */
  gint64 waiting_since;    /* monotonic; gains came, samples left, or the element began to play */
  gboolean is_working;     /* samples are on their way, which may take its time: nobody waits for gains */
  gboolean is_paused;      /* after it has played */
  gboolean is_flushing;    /* the pad `sink` */
  gboolean is_gains_flushing;
  gboolean is_stopping;
  guint n_ending;     /* EOS events of the pad `sink` whose audio waits for its last gains */
  GstFlowReturn flow; /* of the last push */
  GCond changed;      /* any of these */
  GThread *watch;     /* while the audio is ending */

  /* ---- under the stream lock of the source pad ---- */

  /* Audio. */
  AudioFormat arriving; /* of the last CAPS event that came */
  GstSegment arriving_segment;
  GQueue items;       /* GstBuffer and GstEvent of the pad `sink`, in order, not yet looked at */
  AudioFormat format; /* of the frame in work */
  GstSegment segment;
  FrameClock clock;      /* of samples */
  SpectralGain *filter;  /* NULL: no audio is in work */
  SpectralBands *mapped; /* those that `filter` has */
  SpectralGainSizes sizes;
  GstAdapter *adapter; /* bytes from the next frame on */
  gint64 position;     /* samples from the first one of this stretch of audio to the next frame */
  gint64 n_samples;    /* of this stretch, that have come */
  GstClockTime begin;  /* PTS of the first */
  gboolean is_ended;   /* it is complete: the next buffers have other caps, another segment or another time */
  gint64 grid;         /* running time of some frame's begin; frames behind a hole keep their distance to it */
  gboolean has_grid;
  gdouble *samples, *done; /* [frame_length][n_channels], [hop_length][n_channels] */
  GByteArray *output;      /* samples that are done and have not left */
  GstClockTime output_pts;
  gdouble output_energy; /* the sum of squares of its values, where full scale is 1 */
  gboolean is_heard;     /* the gains of `output` came with a probability of speech */
  gboolean has_speech;   /* somewhere in `output` */
  guint64 n_output;      /* samples that have left */
  gboolean is_discont;

  /* Gains. */
  GstFeatures features;
  SpectralBands *bands; /* of the caps, or what the properties say where there are none yet; NULL: not looked at */
  gboolean has_gains_caps;
  GstSegment gains_segment;
  GQueue frames;          /* GainFrame, in order of time */
  gboolean is_closed;     /* no gains come for now: behind the last ones all are 1 */
  GstClockTime gains_pts; /* where frames without timestamps go on; NONE: unknown */
  gfloat *mixed;          /* [n_mixed], as many as the widest frame so far has */
  guint n_mixed;
  gboolean is_speech;
};

/* If nobody sets their rate, the bands are of audio at the rate of this one. */
static inline SpectralBands
gst_spectral_gain_resolve_bands (const SpectralBands *bands, gint rate)
{
  SpectralBands resolved = *bands;

  if (resolved.sample_rate == 0)
    resolved.sample_rate = rate;
  return resolved;
}

/* ---- gstspectralgainproperties.c ---- */

void gst_spectral_gain_install_properties (GObjectClass *klass);
void gst_spectral_gain_init_properties (GstSpectralGain *self);
void gst_spectral_gain_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec);
void gst_spectral_gain_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec);

/*
 * What the properties say, and `caps` of gains where they say something; both, and not the same, is an error that
 * names them. `caps` and `features` may be NULL. A sample_rate of 0 is that of the audio. A g_rc_box, or NULL with
 * `error` set.
 */
SpectralBands *gst_spectral_gain_read_bands (GstSpectralGain *self, const GstCaps *caps, const GstFeatures *features,
                                             GError **error);

/* ---- gstspectralgaingains.c ---- */

GstFlowReturn gst_spectral_gain_chain_gains (GstPad *pad, GstObject *parent, GstBuffer *buffer);
gboolean gst_spectral_gain_gains_event (GstPad *pad, GstObject *parent, GstEvent *event);

/* ---- gstspectralgainflow.c ---- */

/* Lets the items leave as far as they can. */
GstFlowReturn gst_spectral_gain_advance (GstSpectralGain *self);

/* Forgets all audio, and how it went on. */
void gst_spectral_gain_forget_audio (GstSpectralGain *self);

/* The time that the samples of a buffer take. */
GstClockTime gst_spectral_gain_duration (const AudioFormat *format, GstBuffer *buffer);

/* ---- gstspectralgainframes.c ---- */

/* Another stream of gains, or another time of it. */
void gst_spectral_gain_forget_gains (GstSpectralGain *self);

/* The gains of a buffer, or of a gap. */
GstFlowReturn gst_spectral_gain_add_gains (GstSpectralGain *self, GstBuffer *buffer);
void gst_spectral_gain_add_gap (GstSpectralGain *self, GstClockTime pts, GstClockTime duration);

/* No more gains come for now. */
void gst_spectral_gain_close_gains (GstSpectralGain *self);

/* Whether all is known that counts at running time `time`; times within `tolerance` are the same. */
gboolean gst_spectral_gain_is_known (GstSpectralGain *self, gint64 time, gint64 tolerance);

/* The gains at `time`, which may go back by no more than a frame, for *bands; until the next call. NULL: all are 1. */
const gfloat *gst_spectral_gain_look_up (GstSpectralGain *self, gint64 time, gint64 tolerance, SpectralBands **bands);

/* ---- gstspectralgainlatency.c ---- */

/* What `pts` is in running time, also outside of the segment. */
gint64 gst_spectral_gain_to_running_time (const GstSegment *segment, GstClockTime pts);

/* Not gst_audio_info_from_caps (): it wants a channel-mask, which float WAV files do not have. FALSE: not complete. */
gboolean gst_spectral_gain_read_format (AudioFormat *format, GstCaps *caps);

/* Posts it, and ends the flow. Takes the error. */
void gst_spectral_gain_fail (GstSpectralGain *self, GError *error);

/* A flag under the object lock: waiting threads look again. */
void gst_spectral_gain_set (GstSpectralGain *self, gboolean *flag, gboolean value);

/* Something goes on: threads that wait for gains begin to count anew. */
void gst_spectral_gain_count_anew (GstSpectralGain *self);

/* The caps of either pad have changed. */
void gst_spectral_gain_update_latency (GstSpectralGain *self, const AudioFormat *format);
gboolean gst_spectral_gain_query_latency (GstSpectralGain *self, GstQuery *query);

/* Until there are gains, or there is a reason not to wait. It is an error when none come for too long. */
void gst_spectral_gain_wait (GstSpectralGain *self);

/* The same in a thread of its own, behind EOS. */
void gst_spectral_gain_start_watch (GstSpectralGain *self);
void gst_spectral_gain_join_watch (GstSpectralGain *self);

G_END_DECLS

#endif
