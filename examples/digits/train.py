#!/usr/bin/python3
"""Trains the recogniser of spoken digits: model.safetensors and tokens.txt.

    examples/digits/train.py [--kind KIND] [--out FOLDER] [--steps N N] [--share PART]

Everything is seeded and runs in one thread: a second run on the same machine makes the same files. A run that was ended goes on where it was. Needs
the packages of packages_digits in tests/packages.sh.

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
import voices
from training import writable

STEPS = (3200, 2400)  # of the two rounds
FILES = {'windows': 'model.safetensors', 'conformer': 'conformer.safetensors'}  # of each kind
LICENCE = 'CC-BY-SA-3.0; credits: examples/digits/README.md'


def make_pools(share):
    """{voice: [(samples, numbers of words)]}, 16-bit."""
    pools = {'recorded': data.allison(), 'foreign': data.foreign(), **voices.synthesised(share)}
    return {name: [(np.clip(np.rint(samples), -32768, 32767).astype(np.int16), words) for samples, words in pool] for name, pool in pools.items()}


def pools_of(path, share):
    """Those that a run before this one has left in a file, or new ones."""
    if os.path.exists(path):
        with np.load(path, allow_pickle=True) as f:
            if f['share'] == share:
                return f['pools'].item()
    pools = make_pools(share)
    np.savez(path, share=share, pools=np.array(pools, dtype=object))
    return pools


def main():
    parser = argparse.ArgumentParser(description='Trains the recogniser of spoken digits.')
    parser.add_argument('--kind', default='windows', choices=FILES, help='layers with sliding windows (the default), or a Conformer with chunks')
    parser.add_argument('--out', default=HERE, metavar='FOLDER', help='where the files are written (default: beside this program)')
    parser.add_argument('--steps', type=int, nargs=2, default=STEPS, metavar='N', help='of the two rounds of the training (default: %d %d)' % STEPS)
    parser.add_argument('--share', type=float, default=1.0, metavar='PART', help='of the utterances that are synthesised, for a first try (default: all)')
    options = parser.parse_args()
    writable(options.out)
    import recogniser  # which needs PyTorch: --help does not

    sounds, checkpoint = (os.path.join(options.out, name) for name in ('sounds.npz', 'checkpoint.pt'))
    trainer = recogniser.Trainer(options.steps, checkpoint, pools_of(sounds, options.share), options.kind)
    model = trainer.run()
    with open(os.path.join(options.out, 'tokens.txt'), 'w') as f:
        f.write('\n'.join(data.TOKENS) + '\n')
    print(recogniser.export(model, os.path.join(options.out, FILES[options.kind]), licence=LICENCE))
    print('%.0f minutes of the processor' % (trainer.seconds / 60))
    os.remove(checkpoint)
    os.remove(sounds)


if __name__ == '__main__':
    main()
