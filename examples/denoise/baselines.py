"""What the trained layer is compared with: the best that moving averages and linear filters do on the same training data.

Both see what the layer sees: the frames of its window and of its look-ahead, none before the start and behind the end of a stream.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import export_encoder

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # of moving averages
RIDGES = (1e-3, 1e-1, 1e1)  # added to the variances, nats squared
VALIDATION = 10  # every tenth stream chooses length and ridge


def lagged(frames, window, look_ahead):
    """[n, D] -> [n, (window + look_ahead) D]: in a row what the frame may see, oldest first; 0 where there is no frame."""
    padded = np.pad(frames, ((window - 1, look_ahead), (0, 0)))
    return np.concatenate([padded[i:i + len(frames)] for i in range(window + look_ahead)], axis=1)


def average(frames, length, look_ahead):
    """Each frame with those around it: at most `look_ahead` later ones."""
    after = min(length // 2, look_ahead)
    sums = np.cumsum(np.pad(frames.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    t = np.arange(len(frames))
    begin, end = np.maximum(t - (length - 1 - after), 0), np.minimum(t + after + 1, len(frames))
    return (sums[end] - sums[begin]) / (end - begin)[:, None]


def rmse(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


# ---- moving average and a line for each bin ----

def fit_line(x, y):
    """(slope, offset) of each bin, by least squares. x, y [n, D]."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    slope = ((x - mean_x) * (y - mean_y)).mean(axis=0) / x.var(axis=0)
    return slope, mean_y - slope * mean_x


def fit_average(noisy, clean, look_ahead):
    best = (np.inf,)
    for length in LENGTHS:
        x, y = np.concatenate([average(stream, length, look_ahead) for stream in noisy]), np.concatenate(clean)
        slope, offset = fit_line(x, y)
        best = min(best, (rmse(slope * x + offset - y), length, slope, offset), key=lambda fit: fit[0])
    return best[1:]


# ---- a linear filter over all bins of all frames ----

def normal_equations(noisy, clean, window, look_ahead):
    """Sums over all frames of z z' and z y', where z is a row of lagged (). Block (i + 1, j + 1) of the first is block (i, j) shifted by
    a frame: what leaves and enters at the ends of the streams is all that differs."""
    span, bins = window + look_ahead, noisy[0].shape[1]
    first, right = np.zeros((bins, span * bins)), np.zeros((span * bins, bins))
    ends = np.zeros((span * bins, span * bins))
    for x, y in zip(noisy, clean):
        z = lagged(x, window, look_ahead)
        first += z[:, :bins].T @ z
        right += z.T @ y
        behind = np.pad(x, ((window, window + look_ahead), (0, 0)))  # row window + t is frame t
        leaves, enters = behind[1:span + 1].ravel(), behind[len(x) + 1:len(x) + span + 1].ravel()
        ends += np.outer(enters, enters) - np.outer(leaves, leaves)
    left = np.empty_like(ends)
    for i in range(span):
        row = slice(i * bins, (i + 1) * bins)
        before = slice((i - 1) * bins, i * bins)
        left[row, row.start:] = first if i == 0 else (left[before, before.start:-bins] + ends[before, before.start:-bins])
        left[row.start:, row] = left[row, row.start:].T
    return left, right


def fit_filter(noisy, clean, window, look_ahead):
    """(mean of noisy, matrix [(window + look_ahead) D, D], mean of clean). Some streams choose the ridge for the others; then all are used."""
    mean, clean_mean = noisy.mean(axis=(0, 1)), clean.mean(axis=(0, 1))
    noisy, clean = noisy - mean, clean - clean_mean
    apart = np.arange(len(noisy)) % VALIDATION == VALIDATION - 1
    sums = [normal_equations(noisy[part], clean[part], window, look_ahead) for part in (~apart, apart)]
    n_frames = [noisy[part][..., 0].size for part in (~apart, apart)]

    def solve(left, right, ridge):
        return np.linalg.solve(left + ridge * np.eye(len(left)), right).astype(np.float32)

    def error(ridge):
        matrix = solve(*sums[0], ridge * n_frames[0])
        return rmse([lagged(x, window, look_ahead) @ matrix - y for x, y in zip(noisy[apart], clean[apart])])

    ridge = min(RIDGES, key=error)
    print('linear filter: ridge %g' % ridge, flush=True)
    return mean, solve(sums[0][0] + sums[1][0], sums[0][1] + sums[1][1], ridge * sum(n_frames)), clean_mean


# ---- both ----

class Baselines:
    def __init__(self, tensors, metadata):
        self.tensors = tensors
        self.length, self.window, self.look_ahead = (int(metadata[key]) for key in ('length', 'window', 'look-ahead'))

    def save(self, path):
        export_encoder.save(path, self.tensors, {'length': self.length, 'window': self.window, 'look-ahead': self.look_ahead})

    def average(self, frames):
        return self.tensors['slope'] * average(frames, self.length, self.look_ahead) + self.tensors['offset']

    def filter(self, frames):
        rows = lagged(frames - self.tensors['mean'], self.window, self.look_ahead)
        return rows @ self.tensors['matrix'].astype(np.float32) + self.tensors['clean-mean']


def fit(noisy, clean, window, look_ahead):
    """noisy, clean [streams, frames, D]. The filter's matrix is kept in float16, which costs the last printed digit at most."""
    length, slope, offset = fit_average(noisy, clean, look_ahead)
    mean, matrix, clean_mean = fit_filter(noisy, clean, window, look_ahead)
    print('moving average: %d frames' % length, flush=True)
    vectors = {'slope': slope, 'offset': offset, 'mean': mean, 'clean-mean': clean_mean}
    tensors = {name: vector.astype(np.float32) for name, vector in vectors.items()}
    return Baselines({**tensors, 'matrix': matrix.astype(np.float16)}, {'length': length, 'window': window, 'look-ahead': look_ahead})


def load(path):
    return Baselines(*export_encoder.load(path))
