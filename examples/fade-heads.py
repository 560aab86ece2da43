#!/usr/bin/python3
"""Fades heads of attention out and in again, one after the other, while the picture runs.   fade-heads.py [SPEECH] [--help]

Two layers follow each other. A controller moves the gains of the heads of the first layer; the picture shows the second layer. Without a
model head n of the second layer sees only the output of head n of the first one. When that head is faded out, all frames look alike, and
head n of the second layer attends evenly to its whole window. Each line of text shows the gains, and the entropy of the heads of the second
layer in bits. Even attention to 100 frames has log2(100) = 6.64 bits.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys

os.environ.setdefault('GST_PLUGIN_PATH', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'build', 'plugin'))

try:
    import gi
except ImportError as error:
    sys.exit('fade-heads.py: %s; on Debian: apt-get install python3-gst-1.0' % error)
gi.require_version('Gst', '1.0')
gi.require_version('GstController', '1.0')
from gi.repository import Gst, GstController

HEADS = 4
FADE = Gst.SECOND // 2      # from 1 to 0, and back
PER_HEAD = 2 * Gst.SECOND   # a head is out in the middle of its time


def arguments():
    parser = argparse.ArgumentParser(description='Fades heads of attention out and in again while the picture runs.')
    parser.add_argument('speech', nargs='?', help='a sound file that GStreamer can decode; none: ten seconds of ticks in noise')
    parser.add_argument('--picture', metavar='FILE.png', help='no window: write the picture at the end to a file, as fast as possible')
    parser.add_argument('--headless', action='store_true', help='no window and no picture, only the text, as fast as possible')
    return parser.parse_args()


def make_pipeline(options):
    source = 'filesrc name=file ! decodebin' if options.speech else 'audiotestsrc wave=ticks tick-interval=300000000 num-buffers=100 samplesperbuffer=1600'
    scope = 'second.weights ! queue ! attentionscope seconds=%s ! video/x-raw,width=1280,height=720,framerate=%s ! videoconvert ! %s'
    if options.headless:
        scope = ''
    elif options.picture:
        scope = scope % ('10', '1/100000', 'pngenc ! filesink name=png async=false')
    else:
        scope = scope % ('10', '30/1', 'autovideosink')
    pipeline = Gst.parse_launch(
        source + ' ! audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! logmel bins=80'
        ' ! attention name=first heads=%d window=50 scale=0.005' % HEADS
        + ' ! attention name=second heads=%d window=100 scale=0.005 post-messages=true interval=500000000' % HEADS
        + ' ! queue ! fakesink name=sink ' + scope)
    if options.speech:
        pipeline.get_by_name('file').set_property('location', options.speech)
    if options.picture and not options.headless:
        pipeline.get_by_name('png').set_property('location', options.picture)
    pipeline.get_by_name('sink').set_property('sync', not (options.headless or options.picture))
    return pipeline


def fade(head, begin):
    """Binds the gain of a head to a curve in stream time. The binding is evaluated for every frame, whatever the size of buffers."""
    curve = GstController.InterpolationControlSource(mode=GstController.InterpolationMode.LINEAR)
    for time, gain in ((0, 1), (begin, 1), (begin + FADE, 0), (begin + PER_HEAD - FADE, 0), (begin + PER_HEAD, 1)):
        curve.set(time, gain)
    binding = GstController.DirectControlBinding.new_absolute(head, 'gain', curve)
    head.add_control_binding(binding)
    return curve


def show(structure, curves):
    time = structure.get_value('stream-time') + structure.get_value('duration') // 2
    gains = ' '.join('%4.2f' % curve.control_source_get_value(time)[1] for curve in curves)
    bits = ' '.join('%5.2f' % bits for bits in structure.get_value('entropy'))
    print('%5.2f s   gains %s   entropy %s' % (time / Gst.SECOND, gains, bits), flush=True)


def main():
    options = arguments()
    Gst.init(None)
    pipeline = make_pipeline(options)
    first = pipeline.get_by_name('first')
    curves = [fade(first.get_child_by_index(head), PER_HEAD * head + Gst.SECOND) for head in range(HEADS)]
    bus = pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    failure = None
    while True:
        message = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.ELEMENT | Gst.MessageType.EOS | Gst.MessageType.ERROR)
        if message.type == Gst.MessageType.EOS:
            break
        if message.type == Gst.MessageType.ERROR:
            failure = message.parse_error()[0].message
            break
        if message.get_structure().has_name('attention'):
            show(message.get_structure(), curves)
    pipeline.set_state(Gst.State.NULL)
    return failure and 'fade-heads.py: ' + failure


try:
    sys.exit(main())
except KeyboardInterrupt:
    pass
