#!/usr/bin/python3
"""Runs every gst-launch line of README.md as it stands there, in a folder of its own with the files that the lines name, and checks
what came out. TAP.   readme.py README.md PLUGIN-FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import wave

import numpy as np

D = 80


def speech(path):
    """Two seconds of a rising tone at 22050 Hz, to be resampled."""
    t = np.arange(44100) / 22050
    with wave.open(path, 'wb') as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(22050)
        f.writeframes((8000 * np.sin(2 * np.pi * (200 + 300 * t) * t)).astype('<i2').tobytes())


def model(path, prefix):
    """A layer as torch.nn.MultiheadAttention would save it."""
    rng = np.random.default_rng(1)
    shapes = {'in_proj_weight': (3 * D, D), 'in_proj_bias': (3 * D,), 'out_proj.weight': (D, D), 'out_proj.bias': (D,)}
    header, data = {}, b''
    for name, shape in shapes.items():
        part = (rng.standard_normal(shape) / D ** 0.5).astype('<f4').tobytes()
        header[prefix + name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def check_output(line):
    """What the line wrote: as many frames as it read, finite."""
    if 'features.npy ! npyparse' in line:
        a, b = np.load('features.npy'), np.load('attended.npy')
        assert a.shape == b.shape and len(a) > 100, (a.shape, b.shape)
        assert np.isfinite(b).all() and not np.array_equal(a, b)
    elif 'location=features.npy' in line:
        a = np.load('features.npy')
        assert a.shape[1] == D and len(a) > 100 and np.isfinite(a).all(), a.shape
        a.tofile('features.f32')
    elif 'location=weights.npy' in line:
        weights = np.load('weights.npy').reshape(-1, 4, 100)
        assert len(weights) == len(np.load('features.npy')), weights.shape
        assert np.abs(weights.sum(axis=2) - 1).max() < 1e-6
    elif '.png' in line:
        with open('attention.png', 'rb') as f:
            assert f.read(24) == b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', 1280, 720)
    elif 'features.f32' in line:
        assert os.path.getsize('attended.f32') == os.path.getsize('features.f32')


def main(readme, plugin):
    with open(readme) as f:
        blocks = re.findall(r'^```sh\n(.*?)^```', f.read(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith('gst-launch-1.0')]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        speech('speech.wav')
        model('model.safetensors', 'encoder.layers.0.self_attn.')
        environment = dict(os.environ, GST_PLUGIN_PATH=plugin)
        for i, line in enumerate(lines, start=1):
            try:
                # There may be no screen. -e: an error in the middle of a pipeline must not be waited for
                done = subprocess.run(['sh', '-ec', line.replace('autovideosink', 'fakesink sync=true')], env=environment, timeout=60, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)
                assert done.returncode == 0 and 'ERROR' not in done.stdout, done.stdout
                check_output(line)
                print('ok %d - %s' % (i, line[:100]))
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                failed += 1
                print('# ' + str(error).replace('\n', '\n# '))
                print('not ok %d - %s' % (i, line))
    print('1..%d' % len(lines))
    return failed != 0 or not lines


sys.exit(main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])))
