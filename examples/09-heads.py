#!/usr/bin/python3
"""Lesson 9: one head against two on the same input, and a picture of what each of them sees.

A rhythm that speeds up (features 0-3) and a steady one (features 4-7) run side by side. One head weighs all features in one score:
it finds only the moments at which both rhythms happen to agree. Of two heads each has half of the features, and follows its own.

The picture, heads.png in the current folder or where the first argument says: time runs to the right, the lag downwards (at the top a
frame itself, at the bottom 63 frames back), and the brighter, the more a frame attends there. From top to bottom: the one head; of two
heads the first, with the lines of the rhythm that speeds up; and the second, with those of the steady one.

Expected output:
   looks back by whole beats    of the faster and faster rhythm    of the steady rhythm
   heads=1, the one head                                     50 %                    24 %
   heads=2, first head                                      100 %                     4 %
   heads=2, second head                                       9 %                   100 %

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

N_FRAMES, WINDOW = 240, 64
SELF = 6  # frames that are nearer look like the frame itself
PIXELS = 3  # per frame and lag
COLOURS = np.array([[12, 12, 40], [120, 40, 130], [240, 120, 60], [255, 250, 200]], float)  # from no weight to much


def beats():
    """How many beats each rhythm [2] has had at each frame: [n][2]"""
    t = np.arange(N_FRAMES)
    return np.stack([t / 36 + t * t / 36 / 240, t / 22], axis=1)


def frames_of(beats):
    """Frames [n][8]: where in its beat each rhythm is, as a hand of a clock, and as one that goes round twice."""
    turn = 2 * np.pi * beats[:, :, None] * [1, 2]
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1).reshape(len(beats), 8).astype('float32')


def attend(frames, heads):
    """Weights [n][heads][WINDOW], the frame itself first."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, 'frames.npy'), frames)
        run = subprocess.run(['gst-launch-1.0', '-q', *('''
            filesrc location=frames.npy ! npyparse ! attention name=a heads=%d window=%d scale=2
            a.src ! queue ! fakesink   a.weights ! queue ! npyenc ! filesink location=weights.npy
            ''' % (heads, WINDOW)).split()], cwd=folder)
        if run.returncode != 0:
            sys.exit('the pipeline failed: is GST_PLUGIN_PATH the folder of the plugin?')
        return np.load(os.path.join(folder, 'weights.npy')).reshape(-1, heads, WINDOW)[:, :, ::-1]


def agreement(weights, beats):
    """Share of frames whose most attended lag, beyond themselves, is a whole number of beats, to 1/25. weights [n][WINDOW]"""
    t = np.arange(WINDOW, N_FRAMES)
    lag = SELF + weights[t, SELF:].argmax(axis=1)
    back = beats[t] - beats[t - lag]
    return np.mean(abs(back - back.round()) < 0.04)


def panel(weights):
    """Colours [lag][frame][3] of weights [n][WINDOW]: each frame's largest weight beyond itself is the brightest."""
    level = np.sqrt(np.clip(weights / weights[:, SELF:].max(axis=1, keepdims=True).clip(1e-9), 0, 1))
    steps = np.linspace(0, 1, len(COLOURS))
    picture = np.stack([np.interp(level.T, steps, COLOURS[:, i]) for i in range(3)], axis=-1)
    return picture.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1).astype('uint8')


def write_png(path, picture):
    """picture [height][width][3], uint8, through GStreamer's own encoder"""
    height, width, _ = picture.shape
    subprocess.run(['gst-launch-1.0', '-q', *('fdsrc ! rawvideoparse format=rgb width=%d height=%d ! pngenc ! filesink'
                                              % (width, height)).split(), 'location=' + path], input=picture.tobytes(), check=True)


def main(path):
    rhythms = beats()
    frames = frames_of(rhythms)
    one, two = attend(frames, 1), attend(frames, 2)
    sights = {'heads=1, the one head': one[:, 0], 'heads=2, first head': two[:, 0], 'heads=2, second head': two[:, 1]}
    print('looks back by whole beats    of the faster and faster rhythm    of the steady rhythm')
    for name, weights in sights.items():
        print('%-25s %34.0f %% %21.0f %%' % (name, *(100 * agreement(weights, rhythms[:, i]) for i in range(2))))
    line = np.full((2 * PIXELS, N_FRAMES * PIXELS, 3), 255, 'uint8')
    first, second, third = (panel(weights) for weights in sights.values())
    write_png(path, np.vstack([first, line, second, line, third]))


main(sys.argv[1] if len(sys.argv) > 1 else 'heads.png')
