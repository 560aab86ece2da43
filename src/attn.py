"""libattn for NumPy: layers and streams, with the bits of the pipeline.

    import attn

    layer = attn.Layer('model.safetensors', window=100)       # what is not said is what the file says; without a file: n_features=80, heads=4
    out = layer.forward(frames)                               # [n, D] -> [n, Dout], all at once

    stream = layer.stream()                                   # the same, as frames come
    for part in parts:
        out = stream.push(part)                               # the outputs that are ready: fewer while later frames are awaited
    out = stream.drain()                                      # the rest, at the end of the stream

    encoder = attn.Encoder('encoder.safetensors')             # a whole encoder is used as a layer is
    out, rows = encoder.stream().push(frames, weights=[2])    # and what its third attention attends to: rows[0].weights, from row rows[0].first on

    streams = [encoder.stream() for caller in callers]        # many streams in one call: the parameters are read once for sixteen of them
    outs = encoder.group(len(streams)).push(streams, frames)  # the outputs of each stream, with the bits that it has alone

Frames are arrays of real numbers [n, D], in any order of bytes and axes; they are computed in float32. What the library refuses is an attn.Error.
The module needs NumPy and libattn.so.0. If the library is not installed, the environment variable ATTN_LIBRARY names it.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import contextlib
import ctypes
import numbers
import os
import threading

import numpy as np

__all__ = ['Encoder', 'Error', 'Group', 'Layer', 'Rows', 'Stream', 'version']

UNSET, UNSET_DOUBLE = 0xffffffff, -float(np.finfo(np.float64).max)
POSITIONS = ('none', 'rope', 'alibi', 'relative', 'transformer-xl')
ROPE_LAYOUTS = ('half', 'interleaved')
QK_NORMS = ('none', 'layer', 'rms')
PRECISIONS = ('f32', 'f16', 'bf16')
ARITHMETICS = ('exact', 'fast')

_floats = ctypes.POINTER(ctypes.c_float)
_bytes = ctypes.POINTER(ctypes.c_uint8)


class Error(ValueError):
    """What the library refused, in its sentence."""


# What one attention of an encoder attended to: weights [m, heads, span], the number of the first of these rows at that attention's own rate, and which of
# them are there [m]: an absent one is all 0. Slot sinks + j of row t is frame t - window + 1 + j.
Rows = collections.namedtuple('Rows', 'weights first present')


class _Error(ctypes.Structure):
    _fields_ = [('status', ctypes.c_int), ('message', ctypes.c_char * 1024)]


class _Config(ctypes.Structure):
    _fields_ = [('n_features', ctypes.c_uint32), ('n_heads', ctypes.c_uint32), ('n_kv_heads', ctypes.c_uint32), ('window', ctypes.c_uint32),
                ('look_ahead', ctypes.c_uint32), ('n_sinks', ctypes.c_uint32), ('scale', ctypes.c_double), ('softcap', ctypes.c_double),
                ('rope_base', ctypes.c_double), ('position', ctypes.c_int), ('rope_layout', ctypes.c_int), ('rope_dimensions', ctypes.c_uint32),
                ('precision', ctypes.c_int), ('n_threads', ctypes.c_uint32), ('arithmetic', ctypes.c_int),
                ('qk_norm_eps', ctypes.c_double), ('qk_norm', ctypes.c_int), ('chunk', ctypes.c_uint32), ('chunks', ctypes.c_uint32),
                ('reserved', ctypes.c_uint32 * 9)]


class _Options(ctypes.Structure):
    _fields_ = [('precision', ctypes.c_int), ('arithmetic', ctypes.c_int), ('n_threads', ctypes.c_uint32), ('reserved', ctypes.c_uint32 * 13)]


class _Watch(ctypes.Structure):
    _fields_ = [('weights', _floats), ('present', _bytes), ('room', ctypes.c_uint64), ('first', ctypes.c_uint64), ('n_rows', ctypes.c_uint64)]


class _Push(ctypes.Structure):
    _fields_ = [('stream', ctypes.c_void_p), ('frames', _floats), ('n_frames', ctypes.c_uint64), ('out', _floats), ('weights', _floats),
                ('present', _bytes), ('n_out', ctypes.c_uint64)]


# name of a property of the element: (field, names of the values of an enum)
_FIELDS = {'n_features': ('n_features', None), 'heads': ('n_heads', None), 'kv_heads': ('n_kv_heads', None), 'window': ('window', None),
           'look_ahead': ('look_ahead', None), 'sinks': ('n_sinks', None), 'scale': ('scale', None), 'softcap': ('softcap', None),
           'rope_base': ('rope_base', None), 'position': ('position', POSITIONS), 'rope_layout': ('rope_layout', ROPE_LAYOUTS),
           'rope_dimensions': ('rope_dimensions', None), 'qk_norm': ('qk_norm', QK_NORMS), 'qk_norm_eps': ('qk_norm_eps', None),
           'chunk': ('chunk', None), 'chunks': ('chunks', None), 'precision': ('precision', PRECISIONS), 'threads': ('n_threads', None),
           'arithmetic': ('arithmetic', ARITHMETICS)}

# what a function returns and takes
_pointer, _size, _uint64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64
_error = ctypes.POINTER(_Error)
_FUNCTIONS = {
    'attn_version': (ctypes.c_char_p, []),
    'attn_config_default': (_Config, []),
    'attn_model_open': (ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_pointer), _error]),
    'attn_model_free': (None, [_pointer]),
    'attn_layer_new': (ctypes.c_int, [ctypes.POINTER(_Config), _pointer, ctypes.POINTER(_pointer), _error]),
    'attn_layer_free': (None, [_pointer]),
    'attn_layer_attention': (ctypes.POINTER(_Config), [_pointer, ctypes.c_uint32]),
    'attn_layer_n_features': (ctypes.c_uint32, [_pointer]),
    'attn_layer_n_outputs': (ctypes.c_uint32, [_pointer]),
    'attn_layer_n_heads': (ctypes.c_uint32, [_pointer]),
    'attn_layer_span': (ctypes.c_uint32, [_pointer]),
    'attn_layer_reach_ahead': (_uint64, [_pointer]),
    'attn_encoder_options_default': (_Options, []),
    'attn_encoder_open': (ctypes.c_int, [ctypes.c_char_p, ctypes.POINTER(_Options), ctypes.POINTER(_pointer), _error]),
    'attn_layer_metadata': (ctypes.c_char_p, [_pointer, ctypes.c_char_p]),
    'attn_layer_n_attentions': (ctypes.c_uint32, [_pointer]),
    'attn_layer_attention_stride': (_uint64, [_pointer, ctypes.c_uint32]),
    'attn_layer_stride': (_uint64, [_pointer]),
    'attn_layer_reach_back': (_uint64, [_pointer]),
    'attn_layer_count': (_uint64, [_pointer, _uint64]),
    'attn_stream_ready': (_uint64, [_pointer, _uint64]),
    'attn_layer_operations': (ctypes.c_double, [_pointer]),
    'attn_layer_kernels': (ctypes.c_char_p, [_pointer]),
    'attn_forward': (ctypes.c_int, [_pointer, _floats, _bytes, _size, _uint64, _floats, _floats, _error]),
    'attn_stream_new': (ctypes.c_int, [_pointer, ctypes.POINTER(_pointer), _error]),
    'attn_stream_free': (None, [_pointer]),
    'attn_stream_push': (_size, [_pointer, _floats, _size, _floats, _floats]),
    'attn_stream_skip': (_uint64, [_pointer, _uint64, _floats, _floats]),
    'attn_stream_drain': (_size, [_pointer, _floats, _floats]),
    'attn_stream_is_drained': (ctypes.c_int, [_pointer]),
    'attn_stream_reset': (ctypes.c_int, [_pointer, _uint64, _error]),
    'attn_stream_next_frame': (_uint64, [_pointer]),
    'attn_stream_pending': (_size, [_pointer]),
    'attn_stream_watch': (ctypes.c_int, [_pointer, ctypes.c_uint32, ctypes.POINTER(_Watch)]),
    'attn_stream_rows_ready': (_uint64, [_pointer, ctypes.c_uint32, _uint64]),
    'attn_stream_rows_pending': (_uint64, [_pointer, ctypes.c_uint32]),
    'attn_stream_set_gain': (ctypes.c_int, [_pointer, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_float]),
    'attn_group_new': (ctypes.c_int, [_pointer, _size, ctypes.POINTER(_pointer), _error]),
    'attn_group_free': (None, [_pointer]),
    'attn_group_push': (ctypes.c_int, [_pointer, ctypes.POINTER(_Push), _size, _error]),
    'attn_stream_state_size': (_size, [_pointer]),
    'attn_stream_save': (ctypes.c_int, [_pointer, _pointer, _size, _error]),
    'attn_stream_restore': (ctypes.c_int, [_pointer, ctypes.c_char_p, _size, _error]),
}


def _load():
    path = os.environ.get('ATTN_LIBRARY') or 'libattn.so.0'
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError('libattn is not found (%s): install it, or set ATTN_LIBRARY to its path, such as build/src/libattn.so' % error) from None
    for name, (result, arguments) in _FUNCTIONS.items():
        if not hasattr(library, name):
            raise ImportError('%s has no %s: it is another version of libattn than this module' % (path, name))
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def version():
    """Of the library, such as '0.1.0'."""
    return _library.attn_version().decode()


def _call(name, *arguments):
    """A function with a status and an error at its end."""
    error = _Error()
    if getattr(_library, name)(*arguments, ctypes.byref(error)) != 0:
        raise Error(error.message.decode('utf-8', 'replace'))


def _path(path):
    return None if path is None else os.fsencode(path)


def _frames(values, width):
    """As float32 [n, width], in one piece."""
    array = np.asarray(values)
    if array.dtype.kind not in 'fiu':
        raise TypeError('frames are real numbers, and not of dtype %s' % array.dtype)
    if array.ndim == 1 and array.shape == (width,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError('frames have the shape %s, but the layer takes [n, %d]' % (list(array.shape), width))
    return np.ascontiguousarray(array, np.float32)


def _data(array, kind=_floats):
    return None if array is None else array.ctypes.data_as(kind)


def _number(value, what):
    """A whole number that the library can take."""
    if not 0 <= value < 1 << 63 or value != int(value):
        raise ValueError('%s is %s, expected a whole number from 0 on' % (what, value))
    return int(value)


def _fill(config, options, known):
    """Sets the fields of a structure. `known`: the options that it has."""
    for key, value in options.items():
        if key not in known:
            raise TypeError('%s is not an option; these are: %s' % (key, ', '.join(known)))
        field, names = _FIELDS[key]
        if names is not None and value not in names:
            raise ValueError("%s is '%s', expected one of %s" % (key, value, ', '.join(names)))
        if names is None and field not in ('scale', 'softcap', 'rope_base', 'qk_norm_eps') and not 0 <= value < UNSET:
            raise ValueError('%s is %s, expected a number from 0 to %d' % (key, value, UNSET - 1))
        setattr(config, field, names.index(value) if names else value)
    return config


def _told(config):
    """The options in effect."""
    return {key: names[getattr(config, field)] if names else getattr(config, field) for key, (field, names) in _FIELDS.items()}


class Layer:
    """A checked configuration with its parameters. It never changes, and any number of streams and threads may use it."""

    def __init__(self, model_file=None, model_prefix='', **options):
        """`options`: n_features, heads, kv_heads, window, look_ahead, sinks, scale, softcap, position, rope_base, rope_layout, rope_dimensions,
        qk_norm, qk_norm_eps, chunk, chunks, precision, threads, arithmetic, as the properties of the element `attention`."""
        self._handle, model = _pointer(), _pointer()
        config = _fill(_library.attn_config_default(), options, _FIELDS)
        if model_file is not None:
            _call('attn_model_open', _path(model_file), model_prefix.encode(), ctypes.byref(model))
        try:
            _call('attn_layer_new', ctypes.byref(config), model if model else None, ctypes.byref(self._handle))
        finally:
            _library.attn_model_free(model)
        self._ask()
        self.n_heads = _library.attn_layer_n_heads(self._handle)
        self.span = _library.attn_layer_span(self._handle)

    def _ask(self):
        self.n_features = _library.attn_layer_n_features(self._handle)
        self.n_outputs = _library.attn_layer_n_outputs(self._handle)
        self.stride = _library.attn_layer_stride(self._handle)
        self.reach_back = _library.attn_layer_reach_back(self._handle)
        self.reach_ahead = _library.attn_layer_reach_ahead(self._handle)
        self.operations = _library.attn_layer_operations(self._handle)
        self.kernels = _library.attn_layer_kernels(self._handle).decode()

    def __del__(self):
        if getattr(self, '_handle', None):
            _library.attn_layer_free(self._handle)
            self._handle = None

    @property
    def config(self):
        """The options in effect."""
        return _told(_library.attn_layer_attention(self._handle, 0).contents)

    @property
    def attentions(self):
        """The options in effect of each attention, in the order in which frames meet them."""
        return [_told(_library.attn_layer_attention(self._handle, i).contents) for i in range(_library.attn_layer_n_attentions(self._handle))]

    def attention_stride(self, i):
        """Frames of the layer per frame of attention i: its row j is that of frame j * attention_stride (i)."""
        self._attention(i)
        return _library.attn_layer_attention_stride(self._handle, i)

    def _attention(self, i):
        attentions = self.attentions
        if not 0 <= i < len(attentions):
            raise Error('attention %s is asked for, but the layer has %d, counted from 0' % (i, len(attentions)))
        return attentions[i]

    def _weights(self, n):
        return np.empty((n, self.n_heads, self.span), np.float32)

    def count(self, n):
        """Outputs of a finished stream of n frames."""
        return _library.attn_layer_count(self._handle, n)

    def forward(self, frames, present=None, first_frame=0, weights=False):
        """Outputs [n, Dout] of all frames [n, D]; `present` [n]: which of them are there; `weights`: (outputs, weights [n, heads, span])."""
        frames = _frames(frames, self.n_features)
        n = len(frames)
        if present is not None:
            present = np.ascontiguousarray(present, bool).astype(np.uint8)
            if present.shape != (n,):
                raise ValueError('present has the shape %s, but there are %d frames' % (list(present.shape), n))
        out, seen = np.empty((self.count(n), self.n_outputs), np.float32), self._weights(n) if weights else None
        _call('attn_forward', self._handle, _data(frames), _data(present, _bytes), n, _number(first_frame, 'first_frame'), _data(out), _data(seen))
        return (out, seen) if weights else out

    def stream(self):
        """A new stream over the layer, which starts at frame 0."""
        return Stream(self)

    def group(self, max_streams):
        """What pushes frames of up to max_streams streams over the layer in one call."""
        return Group(self, max_streams)


class Encoder(Layer):
    """A whole encoder, from a file that examples/export_encoder.py writes. Its streams show the weights of each attention."""

    config, n_heads = None, 0

    def __init__(self, model_file, **options):
        """`options`: precision, arithmetic, threads."""
        self._handle = _pointer()
        filled = _fill(_library.attn_encoder_options_default(), options, ('precision', 'arithmetic', 'threads'))
        _call('attn_encoder_open', _path(model_file), ctypes.byref(filled), ctypes.byref(self._handle))
        self._ask()

    def metadata(self, key):
        """The text that the file's metadata has under `key`; None: it has none."""
        text = _library.attn_layer_metadata(self._handle, key.encode())
        return None if text is None else text.decode()

    def _weights(self, n):
        raise Error('the weights of an encoder come from a stream: encoder.stream ().push (frames, weights=True)')


class Stream:
    """The past of one stream. One call at a time: a second thread waits."""

    def __init__(self, layer):
        self.layer, self._handle, self._lock = layer, _pointer(), threading.Lock()
        _call('attn_stream_new', layer._handle, ctypes.byref(self._handle))

    def __del__(self):
        if getattr(self, '_handle', None):
            _library.attn_stream_free(self._handle)
            self._handle = None

    def _take(self, function, n_most, arguments, weights, n_rows):
        """n_rows (i): rows that attention i will have."""
        out = np.empty((n_most, self.layer.n_outputs), np.float32)
        if weights is not False and isinstance(self.layer, Encoder):
            return self._take_watched(function, out, arguments, weights, n_rows)
        seen = self.layer._weights(n_most) if weights else None
        n = function(self._handle, *arguments, _data(out), _data(seen))
        return (out[:n], seen[:n]) if weights else out[:n]

    def _take_watched(self, function, out, arguments, wanted, n_rows):
        seen = {}
        wanted = range(len(self.layer.attentions)) if wanted is True else wanted
        for i in wanted:
            told = self.layer._attention(i)
            weights = np.empty((n_rows(i), told['heads'], told['sinks'] + told['window'] + told['look_ahead']), np.float32)
            present = np.empty(len(weights), np.uint8)
            seen[i] = weights, present, _Watch(_data(weights), _data(present, _bytes), len(weights))
        for i in seen:
            _library.attn_stream_watch(self._handle, i, ctypes.byref(seen[i][2]))
        n = function(self._handle, *arguments, _data(out), None)
        for i in seen:
            _library.attn_stream_watch(self._handle, i, None)
        return out[:n], [Rows(seen[i][0], seen[i][2].first, seen[i][1].astype(bool)) for i in wanted]

    def _ready(self, n):
        return _library.attn_stream_ready(self._handle, n)

    def _rows_ready(self, n):
        return lambda i: _library.attn_stream_rows_ready(self._handle, i, n)

    def _running(self):
        if _library.attn_stream_is_drained(self._handle):
            raise Error('the stream is at its end: reset () begins another one')

    def push(self, frames, weights=False):
        """The outputs [m, Dout] that these frames [n, D] make ready, oldest first; `weights`: (outputs, weights [m, heads, span]).

        Of an encoder, `weights` is a list of attentions by number, or True for all, and what comes is (outputs, a list of Rows, one for each)."""
        frames = _frames(frames, self.layer.n_features)
        with self._lock:
            self._running()
            return self._take(_library.attn_stream_push, self._ready(len(frames)), (_data(frames), len(frames)), weights, self._rows_ready(len(frames)))

    def skip(self, n, weights=False):
        """As push (), for n frames that are absent."""
        n = _number(n, 'n')
        with self._lock:
            self._running()
            return self._take(_library.attn_stream_skip, self._ready(n), (n,), weights, self._rows_ready(n))

    def drain(self, weights=False):
        """The end of the stream: the outputs that waited for later frames."""
        with self._lock:
            return self._take(_library.attn_stream_drain, self.pending, (), weights, lambda i: _library.attn_stream_rows_pending(self._handle, i))

    def reset(self, first_frame=0):
        """Forgets all frames; the next one has that number."""
        with self._lock:
            _call('attn_stream_reset', self._handle, _number(first_frame, 'first_frame'))

    def set_gain(self, head, gain, attention=0):
        """From the next row of `attention` (of an encoder: of any of its attentions) on the context of `head` is multiplied by `gain`."""
        told = self.layer._attention(attention)
        with self._lock:
            if not 0 <= head < told['heads'] or _library.attn_stream_set_gain(self._handle, attention, head, gain) != 0:
                raise Error('gain %s of head %s: attention %d has %d heads, and gains are finite' % (gain, head, attention, told['heads']))

    def save(self):
        """The state, as bytes: what another stream over the same layer goes on from."""
        with self._lock:
            size = _library.attn_stream_state_size(self._handle)
            state = ctypes.create_string_buffer(size)
            _call('attn_stream_save', self._handle, state, size)
            return state.raw

    def restore(self, state):
        """Goes on from a saved state; on an error the stream is as it was."""
        with self._lock:
            _call('attn_stream_restore', self._handle, bytes(state), len(state))

    @property
    def next_frame(self):
        """The number of the next frame to come in."""
        return _library.attn_stream_next_frame(self._handle)

    @property
    def pending(self):
        """Outputs that wait for later frames."""
        return _library.attn_stream_pending(self._handle)


class Group:
    """Pushes frames of many streams of a layer in one call, which reads the parameters once for sixteen streams. One call at a time: a second thread waits."""

    def __init__(self, layer, max_streams):
        self.layer, self._handle, self._lock = layer, _pointer(), threading.Lock()
        _call('attn_group_new', layer._handle, _number(max_streams, 'max_streams'), ctypes.byref(self._handle))

    def __del__(self):
        if getattr(self, '_handle', None):
            _library.attn_group_free(self._handle)
            self._handle = None

    def push(self, streams, frames):
        """What stream.push (frames) gives, for each of the streams and its frames: a list of outputs [m, Dout].

        `frames`: a list, for each stream an array [n, D] or one frame [D]; or a whole number: that many frames are absent, as in stream.skip (n).
        An array [streams, D] is one frame for each. [] or 0: the stream has no frame this time."""
        streams, frames = list(streams), list(frames)
        if len(streams) != len(frames):
            raise ValueError('there are %d streams, but frames for %d' % (len(streams), len(frames)))
        absent = [isinstance(part, numbers.Integral) for part in frames]
        parts = [_number(part, 'n') if gone else _frames(part if len(part) else np.empty((0, self.layer.n_features)), self.layer.n_features)
                 for part, gone in zip(frames, absent)]
        with contextlib.ExitStack() as locks:
            for lock in [self._lock] + [stream._lock for stream in sorted(set(streams), key=id)]:
                locks.enter_context(lock)
            return self._push(streams, parts, absent)

    def _push(self, streams, parts, absent):
        pushes, outs = (_Push * len(streams))(), []
        for push, stream, part, gone in zip(pushes, streams, parts, absent):
            stream._running()
            n = part if gone else len(part)
            outs.append(np.empty((stream._ready(n), stream.layer.n_outputs), np.float32))
            push.stream, push.frames, push.n_frames, push.out = stream._handle, None if gone else _data(part), n, _data(outs[-1])
        _call('attn_group_push', self._handle, pushes, len(streams))
        return outs
