#!/usr/bin/python3
"""Prints what each head of attention attends to, while the stream runs: the messages that the element posts on the bus with
post-messages=true.   watch-heads.py [SPEECH] [--help]

An application can read them like this and react, without touching a single frame. Each message is an element message named `attention`. It
describes the frames of one interval, with one number per head:

  entropy      bits    0: a head looks at one frame; log2(n): evenly at n frames
  mean-lag     frames  the average distance that it looks back (negative: into the look-ahead)
  peak-lag     frames  the distance with the largest weight
  sink-weight  0 to 1  the share of its attention that goes to sinks outside the window

Times (timestamp, stream-time, running-time, duration, endtime) are in nanoseconds; `frames` is the number of frames.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys

os.environ.setdefault('GST_PLUGIN_PATH', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'build', 'plugin'))

try:
    import gi
except ImportError as error:
    sys.exit('watch-heads.py: %s; on Debian: apt-get install python3-gst-1.0' % error)
gi.require_version('Gst', '1.0')
from gi.repository import Gst


def arguments():
    parser = argparse.ArgumentParser(description='Prints live what each head of attention attends to.')
    parser.add_argument('speech', nargs='?', help='a sound file that GStreamer can decode; none: ten seconds of pink noise')
    parser.add_argument('--heads', type=int, default=4, help='heads of attention, dividing 80 (default: 4)')
    parser.add_argument('--window', type=int, default=100, help='frames of 10 ms that each frame attends to (default: 100)')
    parser.add_argument('--sinks', type=int, default=0, help='first frames to which every later frame attends (default: 0)')
    parser.add_argument('--interval', type=float, default=0.5, help='seconds between two messages (default: 0.5)')
    parser.add_argument('--fast', action='store_true', help='as fast as possible, not at the pace of the speech')
    return parser.parse_args()


def make_pipeline(options):
    pipeline = Gst.parse_launch(
        ('filesrc name=file ! decodebin' if options.speech else 'audiotestsrc wave=pink-noise num-buffers=100 samplesperbuffer=1600')
        + ' ! audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! logmel bins=80'
          ' ! attention name=attention scale=0.005 post-messages=true ! fakesink name=sink')
    if options.speech:
        pipeline.get_by_name('file').set_property('location', options.speech)
    pipeline.get_by_name('sink').set_property('sync', not options.fast)
    attention = pipeline.get_by_name('attention')
    for name in 'heads', 'window', 'sinks':
        attention.set_property(name, getattr(options, name))
    attention.set_property('interval', int(options.interval * Gst.SECOND))
    return pipeline


def per_head(structure, field):
    return list(structure.get_value(field))


def show(structure):
    print('%6.2f s, %d frames' % (structure.get_value('stream-time') / Gst.SECOND, structure.get_value('frames')))
    fields = [per_head(structure, name) for name in ('entropy', 'mean-lag', 'peak-lag', 'sink-weight')]
    for head, values in enumerate(zip(*fields)):
        print('  head %d   entropy %5.2f bits   mean lag %6.2f frames   peak lag %4d frames   sinks %4.2f' % (head, *values), flush=True)


def main():
    options = arguments()
    Gst.init(None)
    pipeline = make_pipeline(options)
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
            show(message.get_structure())
    pipeline.set_state(Gst.State.NULL)
    return failure and 'watch-heads.py: ' + failure


try:
    sys.exit(main())
except KeyboardInterrupt:
    pass
