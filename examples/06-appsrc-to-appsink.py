#!/usr/bin/python3
"""Lesson 6: attention inside an application, with appsrc and appsink, and NumPy arrays in and out. Lesson 11 is the same in C.

Needs python3-gst-1.0 and python3-numpy. NumPy reads the buffers in place, without a copy.

Expected output:
   four features
   0.00 s:  0.804  0.804  0.500  0.500
   0.02 s:  0.667  0.667  0.892  0.892
   0.04 s:  0.892  0.892  0.892  0.892
   0.06 s:  1.000  1.000  0.500  0.500
   end of stream
   three features
   attention: 3 features per frame cannot be divided among 2 heads: take heads=1, or pad the frames to 4 features

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import sys

try:
    import gi
    import numpy as np
except ImportError as error:
    sys.exit('06-appsrc-to-appsink.py: %s; on Debian: apt-get install python3-gst-1.0 python3-numpy' % error)

gi.require_version('Gst', '1.0')
gi.require_version('GstApp', '1.0')
from gi.repository import GLib, Gst, GstApp  # noqa: E402 (GstApp gives appsrc and appsink their methods)

FRAME_RATE = 50
FRAMES = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], 'float32')
LAUNCH = ('appsrc name=in format=time ! attention name=attention heads=2 window=2 look-ahead=1'
          ' ! appsink name=out sync=false')


def caps_of(frames):
    return Gst.Caps.from_string('audio/x-raw,format=F32LE,layout=interleaved,rate=%d,channels=%d'
                                % (FRAME_RATE, frames.shape[1]))


def buffer_of(t, frame):
    """The time of a frame is computed from its number, never added up."""
    buffer = Gst.Buffer.new_wrapped(frame.tobytes())
    buffer.pts = t * Gst.SECOND // FRAME_RATE
    buffer.duration = (t + 1) * Gst.SECOND // FRAME_RATE - buffer.pts
    return buffer


def print_frame(sample):
    buffer = sample.get_buffer()
    with buffer.map(Gst.MapFlags.READ) as data:
        frame = np.frombuffer(data.data, 'float32')
        print('%.2f s:' % (buffer.pts / Gst.SECOND), ' '.join('%6.3f' % value for value in frame))


def wait_for_the_end(pipeline):
    """Waits for the end of the stream; an error is raised."""
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
    if message.type == Gst.MessageType.ERROR:
        raise RuntimeError('%s: %s' % (message.src.get_name(), message.parse_error()[0].message))
    print('end of stream')


def attend(frames):
    pipeline = Gst.parse_launch(LAUNCH)  # raises GLib.Error, such as: no element "attention"
    source, sink = pipeline.get_by_name('in'), pipeline.get_by_name('out')
    source.set_caps(caps_of(frames))
    pipeline.set_state(Gst.State.PLAYING)
    try:
        for t, frame in enumerate(frames):
            source.push_buffer(buffer_of(t, frame))
        source.end_of_stream()
        while sample := sink.pull_sample():  # None: end of stream, or stopped by an error
            print_frame(sample)
        wait_for_the_end(pipeline)
    finally:
        pipeline.set_state(Gst.State.NULL)


def main():
    Gst.init(None)
    print('four features')
    try:
        attend(FRAMES)
    except (RuntimeError, GLib.Error) as error:
        sys.exit(str(error))
    print('three features')
    try:
        attend(FRAMES[:, :3])
    except RuntimeError as error:
        print(error)


main()
