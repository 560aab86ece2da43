#!/usr/bin/python3
"""Trains an nn.TransformerEncoder that tells speech from everything else, and exports it: model.safetensors.

    GST_PLUGIN_PATH=build/plugin examples/speech-or-not/train.py [--out FOLDER] [--steps N]

Some minutes on one core. It is seeded and runs in one thread: a second run on the same machine makes the same file. Needs the packages of
packages_train in tests/packages.sh.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys

try:
    import numpy as np
except ImportError as error:
    sys.exit('train.py: %s; on Debian: apt-get install python3-numpy' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import data
from training import writable

SECONDS, STREAMS = 20, 300  # an hour and forty minutes of sound
LOUDER, QUIETER = 12, 25  # dB: how microphones differ ...
COLOUR, CORNERS = 1.0, 6  # ... and the deviation of so many bands of them, in natural-log units
D, HEADS, INNER, LAYERS, KERNEL = 32, 4, 64, 2, 5
WINDOW, LOOK_AHEAD = 50, 5  # frames, of each layer: half a second back, 50 ms ahead
CHUNK, BATCH = 250, 12  # frames and streams in a step of the training


def streams(n):
    """(frames [n, frames, bins], spoken [n, frames]): speakers and kinds of noise in turn, everything else at random."""
    rng = np.random.default_rng(1)
    speakers = [data.asterisk(speaker) for speaker in data.TRAINING]
    voices, length = sum(speakers, []), SECONDS * data.RATE
    frames, spoken = [], []
    for i in range(n):
        speech = data.talk(rng, speakers[i % len(speakers)], length)
        noise = data.TRAINED[i // len(speakers) % len(data.TRAINED)](rng, length, voices)
        gain = 10 ** (rng.uniform(-QUIETER, LOUDER) / 20)
        frames.append(data.run(gain * data.mix(rng, speech, noise, rng.uniform(0, 35))))
        spoken.append(data.is_speech(speech))
    return np.stack(frames), np.stack(spoken)


def microphones(rng, deviation):
    """[BATCH, 1, bins]: what each of them adds to the logarithms of the bins."""
    corners = rng.normal(0, COLOUR, (BATCH, CORNERS))
    at = np.linspace(0, CORNERS - 1, data.BINS)
    return np.stack([np.interp(at, np.arange(CORNERS), one) for one in corners])[:, None] / deviation


def make(frames, spoken, deviation, steps):
    """The trained module, whose input are frames with the mean 0 and the deviation 1; `deviation`: the one that they had."""
    import torch
    from torch import nn
    torch.manual_seed(1)
    torch.set_num_threads(1)  # so that a second run adds up in the same order
    module = speech_or_not()
    t = torch.arange(CHUNK)
    beyond = (t[None] <= t[:, None] - WINDOW) | (t[None] > t[:, None] + LOOK_AHEAD)  # what a frame must not see, as in the pipeline
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    rng = np.random.default_rng(2)
    for step in range(steps):
        which, first = rng.integers(len(frames), size=BATCH), rng.integers(frames.shape[1] - CHUNK, size=BATCH)
        x = np.stack([frames[i, a:a + CHUNK] for i, a in zip(which, first)]) + microphones(rng, deviation)
        y = torch.from_numpy(np.stack([spoken[i, a:a + CHUNK] for i, a in zip(which, first)]).astype(np.float32))
        probability = module(torch.from_numpy(x.astype(np.float32)), beyond)[..., 0]
        loss = nn.functional.binary_cross_entropy(probability.clamp(1e-6, 1 - 1e-6), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print('step %d: loss %.3f' % (step + 1, loss.item()), flush=True)
    return module.eval()


def speech_or_not():
    import torch
    from torch import nn

    class SpeechOrNot(nn.Module):
        """Frames in, the probability of speech in each out. Attention has no positions here: the convolution tells what changes."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(data.BINS, D, KERNEL, padding=KERNEL // 2)
            layer = nn.TransformerEncoderLayer(D, HEADS, INNER, dropout=0.1, activation='gelu', batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(D))
            self.head = nn.Linear(D, 1)

        def forward(self, frames, beyond):
            x = nn.functional.gelu(self.conv(frames.transpose(1, 2)).transpose(1, 2))
            return torch.sigmoid(self.head(self.encoder(x, mask=beyond)))

    return SpeechOrNot()


def blocks(module, name, blocks_of):
    """The same computation, for the exporter: a module of one's own becomes blocks by such a rule."""
    (conv,) = blocks_of('conv')
    return [{**conv, 'activation': 'gelu'}, *blocks_of('encoder'), *blocks_of('head'), {'activation': 'sigmoid'}]


def export(module, mean, deviation, path):
    import export_encoder
    from export import front_end
    return export_encoder.export(module, path, window=WINDOW, look_ahead=LOOK_AHEAD, rules={type(module): blocks},
                                 front=[front_end.standardized(mean, deviation)], **data.TRAINED_ON,
                                 licence='CC-BY-SA-3.0; credits: examples/speech-or-not/README.md')


def main():
    parser = argparse.ArgumentParser(description='Trains the encoder that tells speech from everything else.')
    parser.add_argument('--out', default=HERE, metavar='FOLDER', help='where model.safetensors is written (default: beside this program)')
    parser.add_argument('--steps', type=int, default=2200, metavar='N', help='of training (default: %(default)s)')
    parser.add_argument('--streams', type=int, default=STREAMS, metavar='N', help='of %d s that are made (default: %%(default)s)' % SECONDS)
    options = parser.parse_args()
    path = os.path.join(writable(options.out), 'model.safetensors')
    try:
        import torch  # before the data, which take a minute
    except ImportError as error:
        sys.exit('train.py: %s; on Debian: apt-get install python3-torch' % error)

    frames, spoken = streams(options.streams)
    print('%d streams, %d frames, %.0f %% of them speech, PyTorch %s' % (
        len(frames), spoken.size, 100 * spoken.mean(), torch.__version__), flush=True)
    mean, deviation = frames.mean(axis=(0, 1), dtype=np.float64), frames.std(axis=(0, 1), dtype=np.float64)
    module = make(((frames - mean) / deviation).astype(np.float32), spoken, deviation, options.steps)
    print(export(module, mean, deviation, path))


if __name__ == '__main__':
    main()
