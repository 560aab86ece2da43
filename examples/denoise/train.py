#!/usr/bin/python3
"""Trains the layer that cleans noisy log-mel frames, and fits the filters that it is compared with: model.safetensors, baselines.safetensors.

    GST_PLUGIN_PATH=build/plugin examples/denoise/train.py [--out FOLDER] [--steps N]

Some minutes on one core. Everything is seeded and runs in one thread, so that a second run on the same machine makes the same files.
Needs the packages of packages_train in examples/packages.sh.

The layer is one multi-head attention, nothing else: no residual, no feed-forward, no normalisation beside it. The mean and the spread of
the frames are folded into its projections. With relative positions a head can look at fixed distances, as a linear filter does; and by
what queries and keys say it can look where there was only noise, or where the speech was like now, which no linear filter can.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import math
import os
import sys
import tempfile
import time

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import baselines
import data
import export_torch

REACHES = 2 * (0.5, 3, 12, 100)  # how far each head looks at first, in frames
HEADS, WIDTH = len(REACHES), data.BINS  # a head's queries, keys and values have as many dimensions as a frame
WINDOW, LOOK_AHEAD = 64, 5
SECONDS, STREAMS = 24, 360  # two hours and a half
BATCH, LENGTH = 16, 256  # stretches of that many frames
BLOCK = 64  # queries that share a stretch of keys
RATE = 8e-3  # of learning


# ---- data ----

def varied(rng, samples, n):
    """As if somebody else spoke into another microphone: higher and faster or deeper and slower, so that it takes `n` samples; brighter or
    darker; louder or softer."""
    hertz = np.fft.rfftfreq(len(samples), 1 / data.RATE)
    tilt = np.maximum(hertz / 1000, 0.1) ** rng.uniform(-0.3, 0.3)
    changed = np.fft.irfft(np.fft.rfft(samples) * tilt, n)
    return data.LEVEL / data.rms(changed) * 10 ** (rng.uniform(-6, 6) / 20) * changed


def noisy_streams(kinds, n_streams):
    """(noisy, clean) [streams, frames, bins]: speakers and kinds in turn, everything else at random."""
    rng = np.random.default_rng(1)
    speech = {language: data.utterances(language) for language in data.TRAINING}
    voices, n = sum(speech.values(), []), SECONDS * data.RATE
    noisy, clean = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n_streams):
            language, kind = data.TRAINING[i % len(data.TRAINING)], kinds[i // len(data.TRAINING) % len(kinds)]
            one = varied(rng, data.joined(rng, speech[language], int(n * rng.uniform(0.85, 1.2))), n)
            for samples, made in zip(data.mix(rng, one, kind, rng.uniform(-5, 25), voices), (noisy, clean)):
                made.append(data.frames(samples, folder))
    return np.stack(noisy), np.stack(clean)


# ---- the layer ----

class Layer(torch.nn.Module):
    """Attention over a sliding window, for training: whole stretches at once. Parameters are named as nn.MultiheadAttention names them."""

    def __init__(self, bins):
        super().__init__()
        rows, span = HEADS * WIDTH, WINDOW + LOOK_AHEAD
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * rows, bins))
        self.in_proj_bias = torch.nn.Parameter(torch.zeros(3 * rows))
        self.out_proj = torch.nn.Linear(rows, bins)
        torch.nn.init.xavier_uniform_(self.in_proj_weight)
        distance = (torch.arange(span) - (WINDOW - 1)).abs()
        self.relative_bias = torch.nn.Parameter(-distance / torch.tensor(REACHES)[:, None])
        # where query i of a block finds its bias for key j: beyond the window stands a last one, minus infinity
        place = torch.arange(BLOCK + span - 1)[None, :] - torch.arange(BLOCK)[:, None]
        self.place = torch.where((place >= 0) & (place < span), place, span)

    def bias(self, n_blocks):
        """[blocks, heads, BLOCK, keys] added to the scores; keys before the start and behind the end are not there."""
        beyond = torch.full((HEADS, 1), -math.inf)
        there = self.keys(torch.ones(1, n_blocks * BLOCK, 1))[0, :, 0]
        absent = torch.zeros_like(there).masked_fill(there == 0, -math.inf)
        return torch.cat([self.relative_bias, beyond], 1)[:, self.place][None] + absent[:, None, None, :]

    @staticmethod
    def keys(rows):
        """[batch, frames, n] -> [batch, blocks, n, keys]: what the queries of each block may see."""
        padded = torch.nn.functional.pad(rows, (0, 0, WINDOW - 1, LOOK_AHEAD))
        return padded.unfold(1, BLOCK + WINDOW - 1 + LOOK_AHEAD, BLOCK)

    def forward(self, x):
        batch, frames, _ = x.shape
        blocks = frames // BLOCK
        q, k, v = torch.nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=2)
        q = (q / math.sqrt(WIDTH)).view(batch, blocks, BLOCK, HEADS, WIDTH).transpose(2, 3)
        k, v = (self.keys(rows).reshape(batch, blocks, HEADS, WIDTH, -1) for rows in (k, v))
        weights = torch.softmax(q @ k + self.bias(blocks), dim=-1)
        context = (weights @ v.transpose(-1, -2)).transpose(2, 3)
        return self.out_proj(context.reshape(batch, frames, HEADS * WIDTH))


def train(noisy, clean, n_steps):
    """The layer over frames of mean 0 and spread 1; what it predicts has mean 0."""
    layer = Layer(noisy.shape[2])
    others = [p for name, p in layer.named_parameters() if name != 'relative_bias']
    optimizer = torch.optim.Adam([{'params': others, 'lr': RATE}, {'params': [layer.relative_bias], 'lr': 5 * RATE}])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / n_steps)) / 2)
    begin, errors = time.monotonic(), []
    for step in range(n_steps):
        streams = torch.randint(len(noisy), (BATCH,))
        starts = torch.randint(noisy.shape[1] - LENGTH, (BATCH,))
        x, y = (torch.stack([part[s, t:t + LENGTH] for s, t in zip(streams, starts)]) for part in (noisy, clean))
        loss = torch.mean((layer(x) - y) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1)
        optimizer.step()
        schedule.step()
        errors.append(loss.item())
        if (step + 1) % 250 == 0:
            print('%5d steps, %3.0f s: RMSE %.3f' % (step + 1, time.monotonic() - begin, np.sqrt(np.mean(errors[-250:]))), flush=True)
    return layer


def folded(layer, mean, spread, clean_mean):
    """The layer's parameters for frames as they are: W ((x - mean) / spread) + b = (W / spread) x + (b - (W / spread) mean). Float16 is exact
    enough, and half as large."""
    state = {name: values.double() for name, values in layer.state_dict().items()}
    state['in_proj_weight'] /= spread
    state['in_proj_bias'] -= state['in_proj_weight'] @ mean
    state['out_proj.bias'] += clean_mean
    return {name: values.float().half() for name, values in state.items()}


def main():
    parser = argparse.ArgumentParser(description='Trains the layer that cleans noisy log-mel frames.')
    parser.add_argument('--out', default=HERE, metavar='FOLDER', help='where the two files are written (default: beside this program)')
    parser.add_argument('--steps', type=int, default=2000, metavar='N', help='of training (default: %(default)s)')
    parser.add_argument('--streams', type=int, default=STREAMS, metavar='N', help='of 24 s that are made (default: %(default)s)')
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(1)

    noisy, clean = noisy_streams(data.KINDS, options.streams)
    print('%d streams, %d frames' % (len(noisy), noisy.shape[0] * noisy.shape[1]), flush=True)
    baselines.fit(noisy, clean, WINDOW, LOOK_AHEAD).save(os.path.join(options.out, 'baselines.safetensors'))

    noisy, clean = torch.from_numpy(noisy), torch.from_numpy(clean)
    mean, spread, clean_mean = noisy.mean((0, 1)), noisy.std((0, 1)), clean.mean((0, 1))
    layer = train((noisy - mean) / spread, clean - clean_mean, options.steps)
    export_torch.export_state(folded(layer, mean.double(), spread.double(), clean_mean.double()), os.path.join(options.out, 'model.safetensors'),
                              heads=HEADS, window=WINDOW, look_ahead=LOOK_AHEAD, **data.MADE_FROM,
                              licence='CC-BY-SA-3.0; credits: examples/denoise/README.md')


if __name__ == '__main__':
    main()
