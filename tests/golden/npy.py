#!/usr/bin/python3
# gst-attention: writes tests/golden/npy/*.npy, with NumPy itself. SPDX-License-Identifier: LGPL-2.1-or-later
#
# Run from anywhere; the files are committed, so that the tests need no NumPy. expected.f32 is the output of npyparse for the
# arrays with the same values (f4, f2, f8, big-endian, version 2): values that every type represents exactly.
import pathlib

import numpy as np

SEED = 20240611
N_FRAMES, N_FEATURES = 5, 3
here = pathlib.Path(__file__).parent / 'npy'

rng = np.random.default_rng(SEED)
# Multiples of 1/64 below 16: 10 significant bits, exact in float16.
values = (rng.integers(-1023, 1024, (N_FRAMES, N_FEATURES)) / 64).astype(np.float32)


def save(name, array, version=None):
    with open(here / name, 'wb') as file:
        np.lib.format.write_array(file, array, version=version)


here.mkdir(exist_ok=True)
values.astype('<f4').tofile(here / 'expected.f32')
for dtype in '<f2', '<f4', '<f8', '>f2', '>f4', '>f8':
    save(('be-' if dtype[0] == '>' else '') + dtype[1:] + '.npy', values.astype(dtype))
save('version2.npy', values.astype('<f4'), (2, 0))
save('version3.npy', values.astype('<f4'), (3, 0))
save('one-dimension.npy', values.reshape(-1).astype('<f4'))
save('no-frames.npy', np.zeros((0, N_FEATURES), '<f4'))
# Values that float32 rounds: ties to even, beyond its range, below it, subnormals.
save('rounding.npy', np.array([1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e300, -1e300, 1e-300, 2.0**-149, np.inf, np.nan], '<f8'))
# Every float16, in the order of its bits.
save('every-half.npy', np.arange(65536, dtype=np.uint16).view('<f2'))
# Refused.
save('fortran.npy', np.asfortranarray(values))
save('three-dimensions.npy', np.zeros((2, 3, 4), '<f4'))
save('scalar.npy', np.zeros((), '<f4'))
save('integers.npy', np.zeros((2, 3), '<i4'))
save('no-features.npy', np.zeros((4, 0), '<f4'))
save('structured.npy', np.zeros(2, [('x', '<f4'), ('y', '<f4')]))
