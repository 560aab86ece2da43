#!/usr/bin/python3
"""Lesson 4: one head or two on the same input, with a picture of what each head attends to.

A rhythm that speeds up (features 0-3) and a steady one (features 4-7) run side by side. A single head weighs all features in one score: it
finds only the moments at which both rhythms happen to agree. With two heads, each has half of the features and follows one rhythm.

attentionscope draws the pictures, heads-1.png and heads-2.png, in the current folder, or in the one that the first argument names. Time
runs to the right and the lag upwards (the frame itself is at the bottom). A brighter pixel is a larger weight. The single head shows
patches where the rhythms agree. Of the two heads, the first shows falling lines, for the rhythm that speeds up, and the second shows level
lines.

Expected output:
   looks back by whole beats    of the faster and faster rhythm    of the steady rhythm
   heads=1, the one head                                     50 %                    24 %
   heads=2, first head                                      100 %                     4 %
   heads=2, second head                                       9 %                   100 %

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as error:
    sys.exit('04-one-head-or-two.py: %s; on Debian: apt-get install python3-numpy' % error)

N_FRAMES, WINDOW = 240, 64
SELF = 6  # frames that are nearer look like the frame itself
# One frame of video, which lasts longer than the stream: the picture at its end. No sink may wait for it to begin (async).
PICTURE = 'attentionscope layout=rows seconds=2.4 range=1.5 ! video/x-raw,width=800,height=%d,framerate=1/100000 ! videoconvert ! pngenc'


def beats():
    """How many beats each rhythm [2] has had at each frame: [n][2]"""
    t = np.arange(N_FRAMES)
    return np.stack([t / 36 + t * t / 36 / 240, t / 22], axis=1)


def frames_of(beats):
    """Frames [n][8]: where in its beat each rhythm is, as a hand of a clock, and as one that goes round twice."""
    turn = 2 * np.pi * beats[:, :, None] * [1, 2]
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1).reshape(len(beats), 8).astype('float32')


def attend(frames, heads, picture):
    """Weights [n][heads][WINDOW], the frame itself first, and a picture of them."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, 'frames.npy'), frames)
        run = subprocess.run(['gst-launch-1.0', '-q', *('''
            filesrc location=frames.npy ! npyparse ! attention name=a heads=%d window=%d scale=2
            a.src ! queue ! fakesink async=false   a.weights ! tee name=weights
            weights. ! queue ! npyenc ! filesink location=weights.npy async=false
            weights. ! queue ! %s ! filesink location=picture.png async=false
            ''' % (heads, WINDOW, PICTURE % (90 + 210 * heads))).split()], cwd=folder)
        if run.returncode != 0:
            sys.exit('the pipeline failed: is GST_PLUGIN_PATH the folder of the plugin?')
        shutil.copy(os.path.join(folder, 'picture.png'), picture)
        return np.load(os.path.join(folder, 'weights.npy')).reshape(-1, heads, WINDOW)[:, :, ::-1]


def agreement(weights, beats):
    """Share of frames whose most attended lag, beyond themselves, is a whole number of beats, to 1/25. weights [n][WINDOW]"""
    t = np.arange(WINDOW, N_FRAMES)
    lag = SELF + weights[t, SELF:].argmax(axis=1)
    back = beats[t] - beats[t - lag]
    return np.mean(abs(back - back.round()) < 0.04)


def main(folder):
    rhythms = beats()
    frames = frames_of(rhythms)
    one, two = (attend(frames, heads, os.path.join(folder, 'heads-%d.png' % heads)) for heads in (1, 2))
    sights = {'heads=1, the one head': one[:, 0], 'heads=2, first head': two[:, 0], 'heads=2, second head': two[:, 1]}
    print('looks back by whole beats    of the faster and faster rhythm    of the steady rhythm')
    for name, weights in sights.items():
        print('%-25s %34.0f %% %21.0f %%' % (name, *(100 * agreement(weights, rhythms[:, i]) for i in range(2))))


main(sys.argv[1] if len(sys.argv) > 1 else '.')
