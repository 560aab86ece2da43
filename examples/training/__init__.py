"""What the programs share that train the encoders of denoise, digits and speech-or-not. Nothing here needs PyTorch: see layers.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import sys
import tempfile

import numpy as np


def writable(folder):
    """Makes the folder, and ends the program now, not when minutes have passed, if no file can be written there."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        sys.exit('train.py: %s: %s' % (folder, error.strerror))
    return folder


def mel(hertz):
    """The scale that logmel has by default."""
    return 1127 * np.log1p(np.asarray(hertz, np.float64) / 700)


def mel_points(n_points, rate):
    """[n_points // 2 + 1]: the mel of each point of a spectrum."""
    return mel(np.arange(n_points // 2 + 1) * rate / n_points)


def mel_edges(bins, low, high):
    """[bins + 2]: where the triangles of logmel begin, have their tops and end."""
    return np.linspace(mel(low), mel(high), bins + 2)


def mel_filters(points, edges):
    """[bins, points]: the triangles of logmel."""
    rise, fall = ((points - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None], (edges[2:, None] - points) / (edges[2:] - edges[1:-1])[:, None])
    return np.maximum(0, np.minimum(rise, fall))
