#!/usr/bin/python3
"""Lesson 3: a head for each sensor. The stream is not audio: it has six channels, and 50 frames per second.

Somebody with a phone at the leg walks, then hurries. Features 0-2 are the accelerometer, which feels every step, left and right alike.
Features 3-5 are the gyroscope, which turns forth with one step and back with the next. Without a model head h takes its own slice of the
frame, so with heads=2 each sensor has a head of its own. Each frame attends to the earlier frames that look like it, and their distance is
the rhythm. (You would push the frames of a live sensor into appsrc, as in lesson 6.)

Expected output:
   1000 frames of 6 features, 50 per second
   walking:  head 0, accelerometer: repeats after 0.56 s; head 1, gyroscope: after 1.12 s
   hurrying: head 0, accelerometer: repeats after 0.42 s; head 1, gyroscope: after 0.84 s

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as error:
    sys.exit('03-head-per-sensor.py: %s; on Debian: apt-get install python3-numpy' % error)

RATE = 50  # frames per second
HEADS = 2
WINDOW = 100  # 2 s
STRIDES = {'walking': 1.12, 'hurrying': 0.84}  # seconds from left foot to left foot


def record(seconds):
    """Frames [n][6], float32: what the sensors say, with their noise."""
    noise = np.random.RandomState(1)
    period = np.repeat(list(STRIDES.values()), RATE * seconds)
    stride = np.cumsum(1 / (RATE * period))[:, None]  # where in which stride
    channel = np.arange(3) / 3
    steps = np.sin(2 * np.pi * (2 * stride + channel)) + 0.5 * np.sin(2 * np.pi * (4 * stride + 2 * channel))
    turns = np.sin(2 * np.pi * (stride + channel)) + 0.3 * np.sin(2 * np.pi * (3 * stride + channel))
    frames = np.hstack([steps, turns])
    return (frames + 0.3 * noise.standard_normal(frames.shape)).astype('float32')


def attend(frames):
    """Weights [n][HEADS][WINDOW], oldest frame first. Both pads want a queue, and a sink."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, 'sensors.npy'), frames)
        run = subprocess.run(['gst-launch-1.0', '-q', *('''
            filesrc location=sensors.npy ! npyparse frame-rate=%d/1 ! attention name=a heads=%d window=%d scale=2
            a.src ! queue ! fakesink   a.weights ! queue ! npyenc ! filesink location=weights.npy
            ''' % (RATE, HEADS, WINDOW)).split()], cwd=folder)
        if run.returncode != 0:
            sys.exit('the pipeline failed: is GST_PLUGIN_PATH the folder of the plugin?')
        return np.load(os.path.join(folder, 'weights.npy')).reshape(-1, HEADS, WINDOW)


def rhythm(weights):
    """Seconds to the nearest lag, of 0.2 s or more, that is attended to more than those around it. weights [n][WINDOW]"""
    by_lag = weights.mean(axis=0)[::-1]
    near = RATE // 5
    return next(lag for lag in range(near, WINDOW - near) if by_lag[lag] == by_lag[lag - near:lag + near].max()) / RATE


def main():
    seconds = 10
    frames = record(seconds)
    print('%d frames of %d features, %d per second' % (*frames.shape, RATE))
    weights = attend(frames)
    for i, name in enumerate(STRIDES):
        settled = weights[i * RATE * seconds + WINDOW:(i + 1) * RATE * seconds]  # nothing else in the window
        print('%-9s head 0, accelerometer: repeats after %.2f s; head 1, gyroscope: after %.2f s'
              % (name + ':', rhythm(settled[:, 0]), rhythm(settled[:, 1])))


main()
