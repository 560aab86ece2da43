"""What the encoder is compared with: the best linear filter from log-mel frames to gains, fitted to the same sound. It is a convolution over the
frames, and so the same elements run it.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import torch

import data
import encoder
import export_encoder

BEHIND, AHEAD = 31, 3  # frames; as far ahead as the encoder looks
BATCHES, RIDGE = 60, 1e-2  # RIDGE: of the variance of a value, which is 1


def rows_and_gains(noisy, clean):
    """[batch, frames, taps bins] and [batch, frames, bins]: what a filter sees, and the gains that make the least error in each band."""
    y, s = encoder.spectra(noisy), encoder.spectra(clean)
    in_bands = [one @ encoder.SPREAD.T for one in (y.real * s.real + y.imag * s.imag, y.real ** 2 + y.imag ** 2)]
    frames = torch.nn.functional.pad(encoder.log_mel(noisy), (0, 0, BEHIND, AHEAD), mode='replicate')
    return frames.unfold(1, BEHIND + 1 + AHEAD, 1), torch.clamp(in_bands[0] / (in_bands[1] + 1), 0, 1)


def fit(speech, noise, mean, spread):
    """A convolution as a module: ridge regression over the batches that the training begins with."""
    inputs = data.BINS * (BEHIND + 1 + AHEAD)
    left, right = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64), torch.zeros(inputs + 1, data.BINS, dtype=torch.float64)
    n_rows = 0
    for step in range(BATCHES):
        rows, gains = rows_and_gains(*encoder.batch(step, speech, noise))
        rows = ((rows - mean[:, None]) / spread[:, None]).reshape(-1, inputs)
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        left += rows.T @ rows
        right += rows.T @ gains.reshape(-1, data.BINS)
        n_rows += len(rows)
    weight = torch.linalg.solve(left + RIDGE * n_rows * torch.eye(inputs + 1, dtype=torch.float64), right)
    conv = torch.nn.Conv1d(data.BINS, data.BINS, BEHIND + 1 + AHEAD)
    kernel = weight[:-1].T.reshape(data.BINS, data.BINS, -1)
    conv.weight.data = (kernel / spread[:, None]).float()
    conv.bias.data = (weight[-1] - (kernel / spread[:, None] * mean[:, None]).sum((1, 2))).float()
    return conv


def export(conv, path, **metadata):
    """`left` of them are zeros before the first frame, `right` behind the last."""
    block = {'conv': 'filter', 'left': BEHIND, 'right': AHEAD}
    state = {'filter.' + name: values.half() for name, values in conv.state_dict().items()}
    return export_encoder.write(path, state, [block], frame_rate=100, **data.MADE_FROM, **metadata)
