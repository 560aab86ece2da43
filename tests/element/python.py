#!/usr/bin/python3
"""The element attention from Python, through GObject introspection: appsrc to appsink, gains, state, weights. TAP.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import sys

try:
    import gi
    import numpy
    gi.require_version('Gst', '1.0')
    from gi.repository import Gst
except (ImportError, ValueError) as error:
    print('1..0 # SKIP', error)
    sys.exit(0)

D, HEADS, WINDOW, LOOK_AHEAD, N, PIECE = 8, 2, 10, 3, 60, 6
RATE = 100
TOLERANCE = 2e-6  # of the largest output, as of the core against float64
FRAMES = numpy.random.default_rng(1).uniform(-2, 2, (N, D)).astype(numpy.float32)


def attention():
    """The expected outputs, by the definition, in float64: [N][D], and the weights [N][HEADS][WINDOW + LOOK_AHEAD]."""
    out, weights = numpy.zeros((N, D)), numpy.zeros((N, HEADS, WINDOW + LOOK_AHEAD))
    for t in range(N):
        seen = numpy.arange(max(t - WINDOW + 1, 0), min(t + LOOK_AHEAD, N - 1) + 1)
        for h in range(HEADS):
            own = slice(h * D // HEADS, (h + 1) * D // HEADS)
            x = FRAMES[:, own].astype(numpy.float64)
            scores = numpy.exp(x[seen] @ x[t] / numpy.sqrt(D // HEADS))
            scores /= scores.sum()
            weights[t, h, seen - t + WINDOW - 1] = scores
            out[t, own] = scores @ x[seen]
    return out, weights


class Pipeline:
    def __init__(self, tail=''):
        self.pipeline = Gst.parse_launch(
            'appsrc name=in format=time caps="audio/x-raw,format=F32%s,layout=interleaved,rate=%d,channels=%d" ! '
            'attention name=a heads=%d window=%d look-ahead=%d ! queue ! appsink name=out sync=false %s'
            % ('LE' if sys.byteorder == 'little' else 'BE', RATE, D, HEADS, WINDOW, LOOK_AHEAD, tail))
        self.element = self.pipeline.get_by_name('a')
        self.pipeline.set_state(Gst.State.PLAYING)

    def push(self, begin, end):
        for t in range(begin, end, PIECE):
            buffer = Gst.Buffer.new_wrapped(FRAMES[t:min(t + PIECE, end)].tobytes())
            buffer.pts = t * Gst.SECOND // RATE
            assert self.pipeline.get_by_name('in').emit('push-buffer', buffer) == Gst.FlowReturn.OK

    def end(self):
        self.pipeline.get_by_name('in').emit('end-of-stream')

    def pull(self, width=D, sink='out', first=0):
        """All outputs until the end, [frames][width]; each buffer has the time of its first frame."""
        frames, t = [], first
        while (sample := self.pipeline.get_by_name(sink).emit('pull-sample')) is not None:
            buffer = sample.get_buffer()
            assert buffer.pts == t * Gst.SECOND // RATE, (buffer.pts, t)
            frames.append(numpy.frombuffer(buffer.extract_dup(0, buffer.get_size()), numpy.float32).reshape(-1, width))
            t += len(frames[-1])
        return numpy.concatenate(frames)

    def stop(self):
        self.pipeline.set_state(Gst.State.NULL)


def off(got, expected):
    return abs(got - expected).max() / abs(expected).max()


def appsrc_to_appsink(out, weights):
    p = Pipeline()
    p.push(0, N)
    p.end()
    error = off(p.pull(), out)
    stats = p.element.get_property('stats')
    p.stop()
    assert stats.get_uint64('frames') == (True, N), stats.to_string()
    assert error < TOLERANCE, error


def gain_of_a_head(out, weights):
    p = Pipeline()
    assert p.element.get_children_count() == HEADS
    p.element.get_child_by_name('head1').set_property('gain', 0)
    p.push(0, N)
    p.end()
    got = p.pull()
    p.stop()
    assert off(got[:, :D // 2], out[:, :D // 2]) < TOLERANCE and not got[:, D // 2:].any()


def state_goes_to_another_pipeline(out, weights):
    p, q = Pipeline(), Pipeline()
    p.push(0, 30)
    p.end()
    p.pull()
    state = p.element.emit('save-state')
    p.stop()
    q.push(0, 6)  # so that caps and a stream exist
    while q.element.get_property('stats').get_uint64('frames')[1] < 6:
        pass
    assert q.element.emit('restore-state', state)
    q.push(30, N)
    q.end()
    got = [s for s in iter(lambda: q.pipeline.get_by_name('out').emit('pull-sample'), None)]
    q.stop()
    buffers = [s.get_buffer() for s in got[1:]]
    got = numpy.concatenate([numpy.frombuffer(b.extract_dup(0, b.get_size()), numpy.float32) for b in buffers])
    assert buffers[0].pts == 30 * Gst.SECOND // RATE
    assert off(got.reshape(-1, D), out[30:]) < TOLERANCE


def weights_are_an_array(out, weights):
    p = Pipeline('a.weights ! queue ! appsink name=weights sync=false')
    p.push(0, N)
    p.end()
    p.pull()
    got = p.pull(HEADS * (WINDOW + LOOK_AHEAD), 'weights').reshape(N, HEADS, -1)
    p.stop()
    assert off(got, weights) < TOLERANCE
    assert abs(got.sum(axis=2) - 1).max() < 1e-6


def main():
    Gst.init(None)
    tests = [appsrc_to_appsink, gain_of_a_head, state_goes_to_another_pipeline, weights_are_an_array]
    expected = attention()
    failed = False
    print('1..%d' % len(tests))
    for number, test in enumerate(tests, 1):
        try:
            test(*expected)
            print('ok %d - %s' % (number, test.__name__), flush=True)
        except AssertionError as error:
            print('not ok %d - %s # %s' % (number, test.__name__, error), flush=True)
            failed = True
    return failed


sys.exit(main())
