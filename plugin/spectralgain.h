/*
 * gst-attention: gains in the spectrum of audio: the mathematics of the element spectralgain, without pads, caps or
 * time. SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Audio is cut into frames that overlap. A frame goes through a window, the FFT, one gain for each point, the inverse
 * FFT and a second window; the frames are then added up. Both windows are half a period of a sine, and the second one
 * is divided by what the products of both add up to at its sample, so that gains of 1 give back the audio at any frame
 * length and any hop up to half of it. All is computed in double precision.
 *
 * Gains come as one per band of a mel filter bank. A point of the FFT gets the mean of the gains of the bands that
 * cover it, each weighted by the height of its triangle: between the centres of two bands that is linear
 * interpolation, in mel (style kaldi) or in Hz (whisper, nemo). Points below the centre of the lowest band take the
 * lowest gain, points above that of the highest band the highest gain: where there is no band, the nearest one counts.
 */
#ifndef PLUGIN_SPECTRALGAIN_H
#define PLUGIN_SPECTRALGAIN_H

#include "logmel.h"

G_BEGIN_DECLS

/* The largest gain, 60 dB: nothing that comes in may make infinite samples of finite ones. */
#define SPECTRAL_GAIN_MAX 1000.0

/* Which bands the gains are for, and when they come. */
typedef struct {
  LogmelSettings settings; /* fft_size and window_function play no part */
  guint sample_rate;       /* Hz, of the audio that the bands were made from */
  gint rate_n, rate_d;     /* frames of gains per second; 0/1 = as the hop length says */
} SpectralBands;

/* In samples of the audio that the gains are applied to. */
typedef struct {
  guint frame_length, hop_length, fft_size;
} SpectralGainSizes;

typedef struct _SpectralGain SpectralGain;

/*
 * Frames are as long as those of the gains. Their hop is that of the gains, or the largest whole part of it that is no
 * more than half of a frame. On failure returns FALSE and sets `error` (GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS).
 */
gboolean spectral_gain_get_sizes (const SpectralBands *bands, guint rate, SpectralGainSizes *sizes, GError **error);

/* What of the frame and the hop of the gains is not in their caps, in seconds. The settings must have been accepted. */
gdouble spectral_bands_get_frame_time (const SpectralBands *bands);
gdouble spectral_bands_get_hop_time (const SpectralBands *bands);

/* From the timestamp of a frame of gains to its centre: half a frame (kaldi), or nothing (whisper). */
gdouble spectral_bands_get_centre_time (const SpectralBands *bands);

/*
 * The longest time that a frame of audio waits, counted from the timestamp of its first sample, for the timestamp of
 * the frame of gains that it needs, in nanoseconds; may be negative. Both must begin at the same sample.
 */
gint64 spectral_gain_get_wait (const SpectralBands *bands, guint rate, const SpectralGainSizes *sizes);

/* What a gain counts as: NaN and negative ones as 0; then at least `floor` and at most SPECTRAL_GAIN_MAX. */
gfloat spectral_gain_limit (gfloat gain, gdouble floor);

SpectralGain *spectral_gain_new (const SpectralGainSizes *sizes, guint n_channels);
void spectral_gain_free (SpectralGain *self); /* accepts NULL */

/* The bands of the gains from now on, for audio of `rate`. On failure returns FALSE and sets `error`. */
gboolean spectral_gain_set_bands (SpectralGain *self, const SpectralBands *bands, guint rate, GError **error);

/*
 * The next frame: samples [frame_length][n_channels] and gains [n_bins] (NULL: all are 1) -> the samples that are done,
 * which are the first of the frame, out [hop_length][n_channels]. The next frame begins hop_length later. Allocates
 * nothing.
 */
void spectral_gain_process (SpectralGain *self, const gdouble *samples, const gfloat *gains, gdouble *out);

G_END_DECLS

#endif
