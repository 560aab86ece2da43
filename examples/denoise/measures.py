"""How near speech is to what it was before the noise: the measures that evaluate prints.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np

import data

# Taal, Hendriks, Heusdens, Jensen: "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech" (2011), section II
STOI_RATE, STOI_FRAME, STOI_HOP, STOI_POINTS = 10000, 256, 128, 512
STOI_BANDS, STOI_LOWEST, STOI_SEGMENT = 15, 150.0, 30  # third octaves, Hz, frames
STOI_CLIP, STOI_SILENCE = -15.0, 40.0  # dB


def si_sdr(estimate, clean):
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux, Wisdom, Erdogan, Hershey: "SDR - half-baked or well done?", 2019)."""
    target = np.dot(estimate, clean) / np.dot(clean, clean) * clean
    return 10 * np.log10(np.dot(target, target) / np.dot(estimate - target, estimate - target))


def frames_of(samples, length, hop):
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]


def hann(length):
    """Without the zeros at its ends."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1))


def resampled(samples, rate):
    """In the spectrum: exact below half of the lower rate."""
    n = len(samples) * rate // data.RATE
    return np.fft.irfft(np.fft.rfft(samples)[:n // 2 + 1], n) * (n / len(samples))


def without_silence(clean, other):
    """Both without the frames in which `clean` is more than 40 dB below its loudest frame, put together again."""
    window = hann(STOI_FRAME)
    framed = [frames_of(x, STOI_FRAME, STOI_HOP) * window for x in (clean, other)]
    energy = 20 * np.log10(np.linalg.norm(framed[0], axis=1) + 1e-12)
    made = []
    for one in framed:
        one = one[energy > energy.max() - STOI_SILENCE]
        out = np.zeros((len(one) - 1) * STOI_HOP + STOI_FRAME)
        for i, frame in enumerate(one):
            out[i * STOI_HOP:i * STOI_HOP + STOI_FRAME] += frame
        made.append(out)
    return made


def third_octaves():
    """[bands, points] of 0 and 1."""
    hertz = np.arange(STOI_POINTS // 2 + 1) * STOI_RATE / STOI_POINTS
    centres = STOI_LOWEST * 2 ** (np.arange(STOI_BANDS) / 3)
    edges = [np.abs(hertz[None] - (centres * 2 ** side)[:, None]).argmin(axis=1) for side in (-1 / 6, 1 / 6)]
    points = np.arange(len(hertz))
    return ((points >= edges[0][:, None]) & (points < edges[1][:, None])).astype(np.float64)


def envelopes(samples):
    """[bands, frames] of magnitudes."""
    spectrum = np.fft.rfft(frames_of(samples, STOI_FRAME, STOI_HOP) * hann(STOI_FRAME), STOI_POINTS)
    return np.sqrt(third_octaves() @ np.abs(spectrum.T) ** 2)


def stoi(estimate, clean):
    """Short-time objective intelligibility: the mean correlation of the envelopes in third octaves over 0.4 s; 1 is the best."""
    clean, estimate = without_silence(resampled(clean, STOI_RATE), resampled(estimate, STOI_RATE))
    x, y = (np.lib.stride_tricks.sliding_window_view(envelopes(one), STOI_SEGMENT, axis=1) for one in (clean, estimate))
    tiny = np.finfo(np.float64).eps
    scaled = y * np.linalg.norm(x, axis=2, keepdims=True) / (np.linalg.norm(y, axis=2, keepdims=True) + tiny)
    clipped = np.minimum(scaled, x * (1 + 10 ** (-STOI_CLIP / 20)))
    x, clipped = (one - one.mean(axis=2, keepdims=True) for one in (x, clipped))
    norms = np.linalg.norm(x, axis=2) * np.linalg.norm(clipped, axis=2) + tiny
    return float(np.mean(np.sum(x * clipped, axis=2) / norms))


def log_spectral_distance(estimate, clean):
    """In dB, over frames of 32 ms; what is 60 dB below the loudest point of the clean speech counts as that."""
    power = [np.abs(np.fft.rfft(frames_of(x, 512, 256) * hann(512))) ** 2 for x in (estimate, clean)]
    least = 1e-6 * power[1].max()
    difference = 10 * np.log10(np.maximum(power[0], least) / np.maximum(power[1], least))
    return float(np.mean(np.sqrt(np.mean(difference ** 2, axis=1))))


def area_under_curve(scores, truth):
    """That a frame of speech has a higher score than one without (equal ones count half): the area under the ROC curve."""
    order = np.argsort(scores, kind='stable')
    values, first, counts = np.unique(scores[order], return_index=True, return_counts=True)
    ranks = np.repeat(first + (counts + 1) / 2, counts)
    speech = truth[order]
    n = speech.sum()
    return float((ranks[speech].sum() - n * (n + 1) / 2) / (n * (len(speech) - n)))


def is_speech(clean, n_frames):
    """For each frame of logmel: within 30 dB of the loudest tenth, or beside one that is."""
    energy = np.mean(np.square(frames_of(clean, 400, 160)[:n_frames]), axis=1)
    padded = np.pad(energy, 2, mode='edge')
    near = np.max([padded[i:i + len(energy)] for i in range(5)], axis=0)
    return near > 1e-3 * np.quantile(energy, 0.9) + 1


def aligned(estimate, clean, most=int(0.05 * data.RATE)):
    """`estimate`, moved by so many samples (at most 50 ms) that it is like `clean`, and as long: elements that do not say how late they are."""
    n = 1 << (len(clean) + len(estimate)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(estimate, n) * np.conj(np.fft.rfft(clean, n)), n)
    lags = np.arange(-most, most + 1)
    lag = lags[np.argmax(correlation[lags])]
    moved = estimate[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag), estimate])
    return np.concatenate([moved, np.zeros(max(0, len(clean) - len(moved)))])[:len(clean)]
