#!/usr/bin/python3
"""Trains the encoder that cleans speech, and fits the linear filter that it is compared with: model.safetensors, filter.safetensors.

    examples/denoise/train.py [--speech FOLDER --noise FOLDER] [--out FOLDER] [--steps N]

Some fifteen minutes of one core. Everything is seeded and runs in one thread: a second run on the same machine makes the same files. A run that
was ended goes on where it was. Needs the packages of packages_train in tests/packages.sh.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import glob
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

SECONDS, STREAMS = 12, 420  # of speech, and as many of noise


def varied(rng, samples, n):
    """As if somebody else spoke: higher and faster or deeper and slower, so that it takes `n` samples."""
    changed = np.fft.irfft(np.fft.rfft(samples), n)
    return data.LEVEL / data.rms(changed) * changed


def speech_pool(rng, speakers, n_streams):
    n, pool = SECONDS * data.RATE, []
    for i in range(n_streams):
        pool.append(varied(rng, data.joined(rng, speakers[i % len(speakers)], int(n * rng.uniform(0.8, 1.25))), n))
    return np.stack(pool).astype(np.int16)


def noise_pool(rng, voices, recordings, n_streams):
    n, kinds, pool = SECONDS * data.RATE, list(data.TRAINED.items()), []
    for i in range(n_streams):
        name, kind = kinds[i % len(kinds)]
        noise = kind(rng, n, recordings if name == 'recorded' else voices)
        pool.append(noise * min(data.LEVEL / np.sqrt(np.mean(np.square(noise))), 30000 / np.abs(noise).max()))
    return np.stack(pool).astype(np.int16)


def files_in(folder):
    paths = sorted(path for path in glob.glob(os.path.join(glob.escape(folder), '**'), recursive=True) if os.path.isfile(path))
    found = data.recordings(paths, 0.5)
    if not found:
        sys.exit('%s: no sound file of half a second or more' % folder)
    if len(found) < len(paths):
        print('%s: %d of %d files are left out: not sound, shorter than half a second, or silent' % (folder, len(paths) - len(found), len(paths)))
    return found


def make_pools(options):
    """(speech, noise) [streams, samples]. From one's own folders, or from Debian's packages."""
    speakers = [files_in(options.speech)] if options.speech else data.training_speech()
    recordings = files_in(options.noise) if options.noise else data.training_noise()
    print('%.0f minutes of speech, %.0f of recorded noise' % (
        sum(len(part) for parts in speakers for part in parts) / data.RATE / 60, sum(map(len, recordings)) / data.RATE / 60), flush=True)
    rng = np.random.default_rng(1)
    return speech_pool(rng, speakers, options.streams), noise_pool(rng, sum(speakers, []), recordings, options.streams)


def main():
    parser = argparse.ArgumentParser(description='Trains the encoder that cleans speech.')
    parser.add_argument('--speech', metavar='FOLDER', help='with clean speech, in any format (default: what Debian has)')
    parser.add_argument('--noise', metavar='FOLDER', help='with noise, likewise; noise that is made comes on top')
    parser.add_argument('--out', default=HERE, metavar='FOLDER', help='where the files are written (default: beside this program)')
    parser.add_argument('--steps', type=int, default=3700, metavar='N', help='of training (default: %(default)s)')
    parser.add_argument('--streams', type=int, default=STREAMS, metavar='N', help='of 12 s that are made (default: %(default)s)')
    options = parser.parse_args()
    writable(options.out)
    import encoder  # which needs PyTorch: --help does not
    import baselines

    pools = make_pools(options)
    checkpoint = os.path.join(options.out, 'checkpoint.pt')
    model = encoder.Trainer(options.steps, checkpoint, *pools).run()
    norm = model[0].over
    filters = baselines.fit(*pools, norm.running_mean, norm.running_var.sqrt())
    licence = {} if options.speech else {'licence': 'CC-BY-SA-3.0; credits: examples/denoise/README.md'}
    print(baselines.export(filters, os.path.join(options.out, 'filter.safetensors'), **licence))
    print(encoder.export(model, os.path.join(options.out, 'model.safetensors'), **licence))
    os.remove(checkpoint)


if __name__ == '__main__':
    main()
