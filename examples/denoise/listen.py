#!/usr/bin/python3
"""Speech in noise, and what the encoder makes of it: noisy.wav, cleaned.wav, and a picture of both above the clean speech.

    GST_PLUGIN_PATH=build/plugin examples/denoise/listen.py SPEECH [--noise car] [--level 0] [--out examples/output]

Takes any recording that GStreamer can decode. Needs python3-gst-1.0, python3-numpy and python3-cairo.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys

try:
    import cairo
    import gi
    import numpy as np
except ImportError as error:
    sys.exit('listen.py: %s; on Debian: apt-get install python3-cairo python3-gst-1.0 python3-numpy' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import data
import measures

SHOWN = 7  # seconds
LENGTH, HOP = 512, 320  # samples of a column, and from one to the next
WIDTH, HEIGHT = 1000, 180  # of a panel
LEFT, TOP, GAP, BOTTOM = 64, 30, 52, 24
COLOURS = ((0.05, 0.03, 0.20), (0.35, 0.10, 0.45), (0.80, 0.25, 0.35), (0.98, 0.60, 0.20), (0.99, 0.98, 0.75))  # soft to loud
RANGE = 65  # dB
KILOHERTZ = (1, 2, 4, 6, 8)


def shade(frames, low, high):
    """[n, points] -> cairo's pixels [points, n], the lowest at the bottom."""
    place = np.clip((frames.T[::-1] - low) / (high - low), 0, 1)
    colours = [np.interp(place, np.linspace(0, 1, len(COLOURS)), [c[i] for c in COLOURS]) for i in range(3)]
    red, green, blue = (np.rint(255 * c).astype(np.uint32) for c in colours)
    return np.ascontiguousarray(red << 16 | green << 8 | blue)


def paint(context, frames, low, high):
    """A panel of WIDTH x HEIGHT at the origin."""
    pixels = shade(frames, low, high)
    points, n = pixels.shape
    image = cairo.ImageSurface.create_for_data(pixels, cairo.FORMAT_RGB24, n, points, 4 * n)
    context.save()
    context.scale(WIDTH / n, HEIGHT / points)
    context.set_source_surface(image)
    context.get_source().set_filter(cairo.FILTER_NEAREST)
    context.paint()
    context.restore()


def spectrogram(samples):
    """[columns, points] in decibels."""
    frames = measures.frames_of(samples[:SHOWN * data.RATE], LENGTH, HOP) * measures.hann(LENGTH)
    return 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1)


def axes(context, title, seconds):
    context.set_source_rgb(0, 0, 0)
    context.set_font_size(15)
    context.move_to(0, -9)
    context.show_text(title)
    context.set_font_size(12)
    for f in KILOHERTZ:
        y = HEIGHT * (1 - 2000 * f / data.RATE)
        label = '%g kHz' % f
        context.move_to(-6 - context.text_extents(label).x_advance, y + 4)
        context.show_text(label)
    for s in range(int(seconds) + 1):
        context.move_to(WIDTH * s / seconds - 4, HEIGHT + 15)
        context.show_text('%d s' % s)


def draw(path, panels):
    """panels: [(title, samples)], all in the same colours."""
    panels = [(title, spectrogram(samples)) for title, samples in panels]
    high = max(np.percentile(frames, 99.8) for _, frames in panels)
    low = high - RANGE
    surface = cairo.ImageSurface(cairo.FORMAT_RGB24, LEFT + WIDTH + 24, TOP + len(panels) * (HEIGHT + GAP) - GAP + BOTTOM)
    context = cairo.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    context.select_font_face('sans-serif')
    for i, (title, frames) in enumerate(panels):
        context.save()
        context.translate(LEFT, TOP + i * (HEIGHT + GAP))
        paint(context, frames, low, high)
        axes(context, title, len(frames) * HOP / data.RATE)
        context.restore()
    surface.write_to_png(path)


def speech_of(path):
    samples = data.decode(path)
    if len(samples) < data.RATE // 2 or data.rms(samples) < 1:
        sys.exit('%s: it takes at least half a second of sound that GStreamer can decode' % path)
    return data.LEVEL / data.rms(samples) * samples.astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description='Speech in noise, and what the encoder makes of it.')
    parser.add_argument('speech', metavar='SPEECH', help='any recording that GStreamer can decode')
    parser.add_argument('--noise', default='car', choices=[kind for kind, make in data.NOISES.items() if make not in data.OF_RECORDINGS],
                        help='default: %(default)s')
    parser.add_argument('--level', type=float, default=0, metavar='DB', help='by how much the speech is louder than the noise (default: 0)')
    parser.add_argument('--out', default='.', metavar='FOLDER', help='where noisy.wav, cleaned.wav and cleaned.png are written')
    options = parser.parse_args()
    noisy, cleaned, png = (os.path.join(options.out, name) for name in ('noisy.wav', 'cleaned.wav', 'cleaned.png'))
    pipeline = data.cleaning(noisy, cleaned, os.path.relpath(os.path.join(HERE, 'model.safetensors')))

    clean = speech_of(options.speech)
    os.makedirs(options.out, exist_ok=True)
    samples, clean = data.mix(clean, data.NOISES[options.noise](np.random.default_rng(1), len(clean), None), options.level)
    data.write_wav(noisy, samples)
    print('gst-launch-1.0 ' + pipeline.replace(' sound. !', ' \\\n  sound. !'))
    data.run(pipeline)
    before, after = data.read_wav(noisy), data.read_wav(cleaned)
    title = 'noisy: %s, %g dB' % (options.noise, options.level)
    draw(png, [(title, before), ('cleaned', after), ('clean: what was recorded', clean)])
    print('\nSI-SDR %.1f dB noisy, %.1f dB cleaned; STOI %.3f noisy, %.3f cleaned' % tuple(
        measure(samples, clean) for measure in (measures.si_sdr, measures.stoi) for samples in (before, after)))
    print('listen: %s and %s   picture: %s' % (noisy, cleaned, png))


if __name__ == '__main__':
    main()
