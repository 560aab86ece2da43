#!/usr/bin/python3
"""Trains the layer that cleans noisy log-mel frames, and fits the filters that it is compared with: model.safetensors, baselines.safetensors.

    GST_PLUGIN_PATH=build/plugin examples/denoise/train.py [--out FOLDER] [--steps N]

Some minutes on one core. Everything is seeded and runs in one thread, so that a second run on the same machine makes the same files.
Needs the packages of packages_train in tests/packages.sh.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys
import tempfile

try:
    import numpy as np
except ImportError as error:
    sys.exit('train.py: %s; on Debian: apt-get install python3-numpy' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import baselines
import data
import export_encoder

SECONDS, STREAMS = 24, 360  # two hours and a half


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


def main():
    parser = argparse.ArgumentParser(description='Trains the layer that cleans noisy log-mel frames.')
    parser.add_argument('--out', default=HERE, metavar='FOLDER', help='where the two files are written (default: beside this program)')
    parser.add_argument('--steps', type=int, default=2000, metavar='N', help='of training (default: %(default)s)')
    parser.add_argument('--streams', type=int, default=STREAMS, metavar='N', help='of 24 s that are made (default: %(default)s)')
    options = parser.parse_args()
    import layer  # which needs PyTorch: --help does not

    noisy, clean = noisy_streams(data.KINDS, options.streams)
    print('%d streams, %d frames' % (len(noisy), noisy.shape[0] * noisy.shape[1]), flush=True)
    baselines.fit(noisy, clean, layer.WINDOW, layer.LOOK_AHEAD).save(os.path.join(options.out, 'baselines.safetensors'))
    export_encoder.export_layer_state(layer.make(noisy, clean, options.steps), os.path.join(options.out, 'model.safetensors'), heads=layer.HEADS,
                              window=layer.WINDOW, look_ahead=layer.LOOK_AHEAD, **data.MADE_FROM,
                              licence='CC-BY-SA-3.0; credits: examples/denoise/README.md')


if __name__ == '__main__':
    main()
