/*
 * gst-attention: log-mel frames: the mathematics of the element logmel, without pads, caps or time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A frame is the logarithm of the energy in `n_bins` overlapping bands of a short stretch of audio. Three styles are
 * spoken:
 *
 *   kaldi    Kaldi's compute-fbank-feats without dither, which torchaudio.compliance.kaldi.fbank follows: no DC,
 *            preemphasis, power spectrum, triangles that are linear in mel, natural logarithm. Samples on the 16-bit
 *            scale.
 *   whisper  the log_mel_spectrogram of Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision"
 *            (2022), before its clamp to the maximum: power spectrum, triangles that are linear in Hz and have one
 *            area, log10. Samples in [-1, 1]. With a maximum that was fixed in training instead of that of each
 *            recording, as Voxtral's streaming models have it, the clamp and the scale behind it follow.
 *   nemo     the AudioToMelSpectrogramPreprocessor of NVIDIA's NeMo, without dither and without normalisation:
 *            preemphasis of the whole audio, which is 0 outside of its ends, power spectrum, Whisper's triangles,
 *            natural logarithm of the energy and 2^-24. Samples in [-1, 1].
 */
#ifndef PLUGIN_LOGMEL_H
#define PLUGIN_LOGMEL_H

#include <glib.h>

G_BEGIN_DECLS

typedef enum { GST_LOGMEL_STYLE_KALDI, GST_LOGMEL_STYLE_WHISPER, GST_LOGMEL_STYLE_NEMO } GstLogmelStyle;

typedef enum {
  GST_LOGMEL_WINDOW_POVEY,
  GST_LOGMEL_WINDOW_HANN,
  GST_LOGMEL_WINDOW_HAMMING,
  GST_LOGMEL_WINDOW_BLACKMAN,
  GST_LOGMEL_WINDOW_RECTANGULAR
} GstLogmelWindow;

typedef enum { GST_LOGMEL_MEL_SCALE_HTK, GST_LOGMEL_MEL_SCALE_SLANEY } GstLogmelMelScale;

/* Most points of the FFT, and with it most samples of a frame and of a hop: ten seconds at 96 kHz. */
#define LOGMEL_MAX_FFT_SIZE (1 << 20)

typedef struct {
  GstLogmelStyle style;
  guint n_bins;
  gdouble frame_length, hop_length; /* ms */
  guint fft_size;                   /* points; 0 = as the style says */
  gdouble low_frequency;            /* Hz */
  gdouble high_frequency;           /* Hz; 0 and below = counted from half of the sample rate */
  GstLogmelWindow window_function;
  GstLogmelMelScale mel_scale;
  gdouble log_maximum; /* log10, of style whisper; 0 = none: neither clamp nor scale */
} LogmelSettings;

/* The settings in samples, at a sample rate. */
typedef struct {
  guint frame_length, hop_length; /* samples */
  guint fft_size;                 /* points, even, at least frame_length */
} LogmelSizes;

typedef struct _Logmel Logmel;

void logmel_settings_init (LogmelSettings *settings, GstLogmelStyle style);

/* On failure returns FALSE and sets `error` (GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS), as logmel_new () does. */
gboolean logmel_get_sizes (const LogmelSettings *settings, guint rate, LogmelSizes *sizes, GError **error);

/*
 * Where the bands lie on the axis on which the triangles are straight: mel for Kaldi, Hz for Whisper. Band b rises from
 * positions [b] to [b + 1] and falls to [b + 2]. positions [n_bins + 2], or NULL: only checks the settings.
 */
gboolean logmel_get_edges (const LogmelSettings *settings, guint rate, gdouble *positions, GError **error);
gdouble logmel_get_position (const LogmelSettings *settings, gdouble hz); /* on the same axis */

/* Whether frames lie around their time, and reach over both ends of the audio; those of Kaldi begin there. */
gboolean logmel_is_centred (GstLogmelStyle style);

/*
 * What a style does to the audio before it is cut into frames, in place: nemo takes 0.97 of the sample before from each
 * one. *before: the one in front of the first, 0 where there is none; becomes the last one, as it came.
 */
void logmel_preemphasise (GstLogmelStyle style, gdouble *samples, gsize n, gdouble *before);

/* NULL, with `error` set, where the settings and the rate do not go together. */
Logmel *logmel_new (const LogmelSettings *settings, guint rate, GError **error);
void logmel_free (Logmel *logmel); /* accepts NULL */

/* samples [frame_length] -> frame [n_bins]. Allocates nothing. A NaN or infinite sample makes NaN and infinite bins. */
void logmel_transform (Logmel *logmel, const gdouble *samples, gfloat *frame);

G_END_DECLS

#endif
