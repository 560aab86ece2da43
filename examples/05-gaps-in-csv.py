#!/usr/bin/python3
"""Lesson 5: gaps. Turn a CSV file with time stamps and holes into frames, some of which are absent.

A gyroscope at a walker's leg sends its values by radio, 50 times per second, and packets get lost. The file has lines `seconds,x,y,z`, and
every second or so some lines are missing. Each line belongs to the frame that is nearest to its time. A frame without a line is a row of
NaN, which `npyparse nan-is-gap=true` turns into a gap. No frame attends to an absent one, and the frames around it keep their distance. So
the rhythm of the leg comes out right. Without the gaps, with one line simply behind the other, the strides look shorter. (A live source
need not mark holes: attention finds those of alignment-threshold or more in the timestamps.)

Expected output:
   1683 lines of 2000: 32 holes, the longest of 12 frames
   one behind the other: repeats after 0.94 s
   each at its time:     repeats after 1.12 s
   attended.npy: 2000 rows, 317 of them zeros

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as error:
    sys.exit('05-gaps-in-csv.py: %s; on Debian: apt-get install python3-numpy' % error)

RATE = 50  # frames per second
WINDOW = 100  # 2 s
STRIDE = 1.12  # seconds from left foot to left foot


def record(name, n):
    """A CSV file of `n` frames at times that are a few milliseconds off, without those that were lost."""
    noise = np.random.RandomState(1)
    stride = np.arange(n)[:, None] / (RATE * STRIDE) + np.arange(3) / 3
    frames = np.sin(2 * np.pi * stride) + 0.3 * np.sin(6 * np.pi * stride) + 0.3 * noise.standard_normal((n, 3))
    times = 1000 + (np.arange(n) + noise.uniform(-0.2, 0.2, n)) / RATE
    lost = np.zeros(n, bool)
    for begin in range(40, n - 20, 61):
        lost[begin:begin + 8 + begin % 5] = True
    np.savetxt(name, np.hstack([times[:, None], frames])[~lost], '%.4f', ',')


def at_their_times(lines):
    """Rows [n][features], float32, one for each frame from the first line to the last: NaN where there is none."""
    number = np.rint((lines[:, 0] - lines[0, 0]) * RATE).astype(int)
    rows = np.full((number[-1] + 1, lines.shape[1] - 1), np.nan, 'float32')
    rows[number] = lines[:, 1:]
    return rows


def attend(rows):
    """Attended rows, and weights [n][WINDOW], oldest frame first."""
    np.save('rows.npy', rows)
    run = subprocess.run(['gst-launch-1.0', '-q', *('''
        filesrc location=rows.npy ! npyparse frame-rate=%d/1 nan-is-gap=true ! attention name=a window=%d scale=2
        a.src ! queue ! npyenc ! filesink location=attended.npy
        a.weights ! queue ! npyenc ! filesink location=weights.npy''' % (RATE, WINDOW)).split()])
    if run.returncode != 0:
        sys.exit('the pipeline failed: is GST_PLUGIN_PATH the folder of the plugin?')
    return np.load('attended.npy'), np.load('weights.npy')


def rhythm(weights):
    """Seconds to the lag, of half a stride or more, that is attended to most, where it could be. weights [n][WINDOW]"""
    by_lag = weights[WINDOW:].sum(axis=0)[::-1] / np.maximum((weights[WINDOW:] > 0).sum(axis=0)[::-1], 1)
    near = int(RATE * STRIDE / 2)
    return (near + by_lag[near:].argmax()) / RATE


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        record('sensor.csv', 2000)
        lines = np.loadtxt('sensor.csv', delimiter=',')
        rows = at_their_times(lines)
        absent = np.isnan(rows).all(axis=1)
        holes = np.diff(np.flatnonzero(~absent)) - 1
        print('%d lines of %d: %d holes, the longest of %d frames' % (len(lines), len(rows), (holes > 0).sum(), holes.max()))
        print('one behind the other: repeats after %.2f s' % rhythm(attend(lines[:, 1:].astype('float32'))[1]))
        attended, weights = attend(rows)
        print('each at its time:     repeats after %.2f s' % rhythm(weights))
        print('attended.npy: %d rows, %d of them zeros' % (len(attended), (attended == 0).all(axis=1).sum()))
        os.chdir('/')


main()
