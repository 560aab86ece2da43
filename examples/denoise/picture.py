#!/usr/bin/python3
"""Noisy speech in, cleaned features out, and a picture of both above the clean ones.

    GST_PLUGIN_PATH=build/plugin examples/denoise/picture.py SPEECH [--noise car] [--level 0] [--out examples/output]

Takes any recording that GStreamer can decode, puts it into noise (noisy.wav), cleans its frames with the trained layer (cleaned.npy) and
draws noisy, cleaned and clean frames (cleaned.png). Needs python3-numpy and python3-cairo.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import shlex
import sys
import tempfile

try:
    import cairo
    import numpy as np
except ImportError as error:
    sys.exit('picture.py: %s; on Debian: apt-get install python3-cairo python3-numpy' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import baselines
import data

SHOWN = 1000  # frames: ten seconds
WIDTH, HEIGHT = 1000, 180  # of a panel
LEFT, TOP, GAP, BOTTOM = 64, 30, 52, 24
COLOURS = ((0.05, 0.03, 0.20), (0.35, 0.10, 0.45), (0.80, 0.25, 0.35), (0.98, 0.60, 0.20), (0.99, 0.98, 0.75))  # soft to loud
KILOHERTZ = (0.25, 0.5, 1, 2, 4)


def shade(frames, low, high):
    """[n, bins] -> cairo's pixels [bins, n], the lowest bin at the bottom."""
    place = np.clip((frames.T[::-1] - low) / (high - low), 0, 1)
    colours = [np.interp(place, np.linspace(0, 1, len(COLOURS)), [c[i] for c in COLOURS]) for i in range(3)]
    red, green, blue = (np.rint(255 * c).astype(np.uint32) for c in colours)
    return np.ascontiguousarray(red << 16 | green << 8 | blue)


def paint(context, frames, low, high):
    """A panel of WIDTH x HEIGHT at the origin."""
    pixels = shade(frames, low, high)
    bins, n = pixels.shape
    image = cairo.ImageSurface.create_for_data(pixels, cairo.FORMAT_RGB24, n, bins, 4 * n)
    context.save()
    context.scale(WIDTH / n, HEIGHT / bins)
    context.set_source_surface(image)
    context.get_source().set_filter(cairo.FILTER_NEAREST)
    context.paint()
    context.restore()


def mel(hertz):
    return np.log1p(np.asarray(hertz) / 700)


def axes(context, title, seconds):
    context.set_source_rgb(0, 0, 0)
    context.set_font_size(15)
    context.move_to(0, -9)
    context.show_text(title)
    context.set_font_size(12)
    for f in KILOHERTZ:
        y = HEIGHT * (1 - (mel(1000 * f) - mel(20)) / (mel(4000) - mel(20)))
        label = '%g kHz' % f
        context.move_to(-6 - context.text_extents(label).x_advance, y + 4)
        context.show_text(label)
    for s in range(int(seconds) + 1):
        context.move_to(WIDTH * s / seconds - 4, HEIGHT + 15)
        context.show_text('%d s' % s)


def draw(path, panels):
    """panels: [(title, frames)], all in the same colours."""
    panels = [(title, frames[:SHOWN]) for title, frames in panels]
    low, high = np.percentile(np.concatenate([frames for _, frames in panels]), (2, 99.5))
    surface = cairo.ImageSurface(cairo.FORMAT_RGB24, LEFT + WIDTH + 24, TOP + len(panels) * (HEIGHT + GAP) - GAP + BOTTOM)
    context = cairo.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    context.select_font_face('sans-serif')
    for i, (title, frames) in enumerate(panels):
        context.save()
        context.translate(LEFT, TOP + i * (HEIGHT + GAP))
        paint(context, frames, low, high)
        axes(context, title, len(frames) * 0.010)
        context.restore()
    surface.write_to_png(path)


def decode(path, folder):
    """The recording as speech at LEVEL."""
    wav = os.path.join(folder, 'speech.wav')
    data.run('filesrc location=%s ! decodebin ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate=%d ! wavenc ! '
             'filesink location=%s' % (shlex.quote(path), data.RATE, shlex.quote(wav)))
    samples = data.read_wav(wav)
    if len(samples) < data.RATE // 10 or not np.any(samples):
        sys.exit('%s: it takes at least a tenth of a second of sound' % path)
    return data.LEVEL / data.rms(samples) * samples


def main():
    parser = argparse.ArgumentParser(description='Noisy speech in, cleaned features out, and a picture of both above the clean ones.')
    parser.add_argument('speech', metavar='SPEECH', help='any recording that GStreamer can decode')
    parser.add_argument('--noise', default='car', choices=[kind for kind in data.NOISES if kind != 'babble'], help='default: %(default)s')
    parser.add_argument('--level', type=float, default=0, metavar='DB', help='by how much the speech is louder than the noise (default: 0)')
    parser.add_argument('--out', default='.', metavar='FOLDER', help='where noisy.wav, cleaned.npy and cleaned.png are written')
    options = parser.parse_args()
    wav, npy, png = (os.path.join(options.out, name) for name in ('noisy.wav', 'cleaned.npy', 'cleaned.png'))
    pipeline = data.pipeline(wav, npy, data.attention(os.path.relpath(os.path.join(HERE, 'model.safetensors'))))

    with tempfile.TemporaryDirectory() as folder:
        noisy, clean = data.mix(np.random.default_rng(1), decode(options.speech, folder), options.noise, options.level, None)
        data.write_wav(wav, noisy)
        print('gst-launch-1.0 ' + pipeline.replace(' ! ', ' \\\n  ! ', 1))
        data.run(pipeline)
        before, wanted = data.frames(noisy, folder), data.frames(clean, folder)
    after = np.load(npy)
    title = 'noisy: %s, %g dB' % (options.noise, options.level)
    draw(png, [(title, before), ('cleaned by the trained layer', after), ('clean: what was recorded', wanted)])
    print('\nRMSE to the clean frames, natural log: %.2f noisy, %.2f cleaned' % tuple(
        baselines.rmse(frames - wanted) for frames in (before, after)))
    print('picture: %s   frames: %s   sound: %s' % (png, npy, wav))


if __name__ == '__main__':
    main()
