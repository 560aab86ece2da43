#!/usr/bin/python3
"""Makes attention/qk-norm*, chunk* and transformer-xl*.safetensors: what streaming speech models add to attention, in float64, by NumPy.

Each is written as it was published, and not as this library computes it:

- Transformer-XL (Dai et al. 2019, appendix B), as in the code of speech models: all distances of the sequence at once, times the queries,
  and then the shift of the rows by a padded column.
- Chunks as in NeMo: frames have the number of their chunk, and a frame sees those whose chunk is 0 to n chunks before its own.
- Queries and keys that are normalised per head, before rotations (Henry et al. 2020): LayerNorm (Ba et al. 2016), RMSNorm (Zhang and
  Sennrich 2019).

The files are those of position.py. Needs python3-numpy.

  streaming.py            writes the files
  streaming.py --check    makes them anew and compares

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import struct
import sys

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'attention')
VERSION = 1  # of golden.c
EVERY = 7  # the weights of one frame in so many are stored
DTYPES = {np.dtype('float32'): 'F32', np.dtype('float64'): 'F64'}

# name, D, heads, kv-heads, values per head, frames, absent runs, window: (window, look-ahead, sinks) or (chunk, chunks, sinks), settings
CASES = [
    ('qk-norm-rms', 32, 4, 2, 8, 60, [], (16, 2, 0), {'qk-norm': 'rms', 'qk-norm-eps': '1e-6', 'position': 'rope'}),
    ('qk-norm-layer', 18, 3, 3, 7, 70, [(4, 1), (30, 9)], (12, 0, 3), {'qk-norm': 'layer'}),
    ('chunk', 24, 3, 3, 8, 60, [], (7, 2, 0), {'chunk': ''}),
    ('chunk-alone', 16, 2, 1, 6, 52, [], (5, 0, 0), {'chunk': '', 'position': 'rope'}),
    ('chunk-sinks', 18, 2, 2, 9, 90, [(7, 3), (40, 20), (70, 1)], (6, 1, 4), {'chunk': '', 'qk-norm': 'layer'}),
    ('transformer-xl', 24, 3, 3, 8, 60, [], (20, 0, 0), {'position': 'transformer-xl'}),
    ('transformer-xl-ahead', 18, 4, 2, 7, 70, [(5, 2), (30, 9)], (13, 4, 0), {'position': 'transformer-xl', 'softcap': '5', 'qk-norm': 'rms'}),
    ('transformer-xl-chunk', 16, 2, 2, 6, 64, [], (5, 3, 0), {'chunk': '', 'position': 'transformer-xl'}),
]


# ---- files ----

def write(path, tensors, metadata):
    header, data = {'__metadata__': metadata}, b''
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {'dtype': DTYPES[values.dtype], 'shape': list(values.shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + data)


def check(path, tensors, metadata):
    with open(path, 'rb') as file:
        length = struct.unpack('<Q', file.read(8))[0]
        header, data = json.loads(file.read(length)), file.read()
    stored = header.pop('__metadata__')
    stored.pop('numpy'), metadata.pop('numpy')
    assert stored == metadata and header.keys() == tensors.keys(), path
    for name, values in tensors.items():
        begin, end = header[name]['data_offsets']
        there = np.frombuffer(data[begin:end], values.dtype).reshape(header[name]['shape'])
        assert np.abs(there - values).max() <= 1e-12, (path, name)


# ---- attention ----

def visible(frames, window, settings, present):
    """True where a query (row) sees a key (column)."""
    t, j = np.arange(frames)[:, None], np.arange(frames)[None, :]
    first, second, sinks = window
    if 'chunk' in settings:
        chunk = np.arange(frames) // first
        before = chunk[:, None] - chunk[None, :]
        seen = (before >= 0) & (before <= second)
    else:
        seen = (j > t - first) & (j <= t + second)
    return (seen | ((j < sinks) & (j <= t))) & present[None, :]


def normalise(x, settings, weight, bias):
    """x [frames, heads, values]"""
    eps = float(settings.get('qk-norm-eps', 1e-5))
    if settings['qk-norm'] == 'rms':
        return x / np.sqrt((x ** 2).mean(axis=2, keepdims=True) + eps) * weight
    return (x - x.mean(axis=2, keepdims=True)) / np.sqrt(x.var(axis=2, keepdims=True) + eps) * weight + bias


def rotate(x):
    """RoPE of pairs (i, i + n/2), of x [frames, heads, values]."""
    half = x.shape[2] // 2
    angle = np.arange(len(x))[:, None, None] * 10000.0 ** (-2 * np.arange(half) / (2 * half))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=2)


def rel_shift(x):
    """[heads, frames, 2 frames - 1], columns by falling distance -> [heads, frames, frames], column j by the distance of key j."""
    heads, frames, n = x.shape
    x = np.pad(x, ((0, 0), (0, 0), (1, 0))).reshape(heads, n + 1, frames)
    return x[:, 1:].reshape(heads, frames, n)[:, :, :frames]


def xl_scores(q, k, p, d):
    """q, k [frames, heads, values]"""
    frames, heads, _ = q.shape
    distance = np.arange(frames - 1, -frames, -1, dtype=np.float64)
    angle = distance[:, None] * np.exp(np.arange(0, d, 2) * -(np.log(10000.0) / d))
    table = np.zeros((len(distance), d))
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
    r = (table @ p['linear_pos.weight'].T).reshape(len(distance), heads, -1)
    content = np.einsum('thd,jhd->htj', q + p['pos_bias_u'], k)
    return content + rel_shift(np.einsum('thd,rhd->htr', q + p['pos_bias_v'], r))


def softmax(scores, mask):
    scores = np.where(mask, scores, -np.inf)
    largest = scores.max(axis=2, keepdims=True)
    weights = np.where(mask, np.exp(scores - np.where(np.isinf(largest), 0, largest)), 0)
    total = weights.sum(axis=2, keepdims=True)
    return weights / np.where(total == 0, 1, total)  # an absent frame may have nothing to see


def attention(x, p, heads, kv_heads, mask, settings):
    def project(name, n):
        return (x @ p[name + '_proj.weight'].T + p[name + '_proj.bias']).reshape(len(x), n, -1)
    q, k, v = project('q', heads), project('k', kv_heads), project('v', kv_heads)
    if 'qk-norm' in settings:
        q = normalise(q, settings, p['q_norm.weight'], p.get('q_norm.bias', 0))
        k = normalise(k, settings, p['k_norm.weight'], p.get('k_norm.bias', 0))
    if settings.get('position') == 'rope':
        q, k = rotate(q), rotate(k)
    k, v = (np.repeat(y, heads // kv_heads, axis=1) for y in (k, v))
    scores = xl_scores(q, k, p, x.shape[1]) if settings.get('position') == 'transformer-xl' else np.einsum('thd,jhd->htj', q, k)
    scores = scores / np.sqrt(q.shape[2])
    if 'softcap' in settings:
        scores = float(settings['softcap']) * np.tanh(scores / float(settings['softcap']))
    weights = softmax(scores, mask)
    context = np.einsum('htj,jhd->thd', weights, v).reshape(len(x), -1)
    return context @ p['o_proj.weight'].T + p['o_proj.bias'], weights


def by_slot(weights, window, settings):
    """[heads, frames, frames] -> [frames / EVERY, heads * span], as in position.py; chunks count as a window of all frames that any
    frame of a chunk may see."""
    first, second, sinks = window
    if 'chunk' in settings:
        first, second = first * second + first, first - 1
    heads, frames, _ = weights.shape
    slots = np.zeros((len(range(0, frames, EVERY)), heads, sinks + first + second))
    for row, t in enumerate(range(0, frames, EVERY)):
        for j in range(frames):
            seen_as_sink = j < sinks and j < (t - first + 1 if 'chunk' not in settings else t // window[0] * window[0] - window[0] * window[1])
            if seen_as_sink:
                slots[row, :, j] = weights[:, t, j]
            elif t - first < j <= t + second:
                slots[row, :, sinks + j - (t - first + 1)] = weights[:, t, j]
    return slots.reshape(len(slots), -1)


def parameters(rng, d, heads, kv_heads, dk, settings):
    p = {}
    for name, rows in (('q', heads * dk), ('k', kv_heads * dk), ('v', kv_heads * dk), ('o', d)):
        inputs = heads * dk if name == 'o' else d
        p[name + '_proj.weight'] = rng.standard_normal((rows, inputs)) * inputs ** -0.5
        p[name + '_proj.bias'] = rng.standard_normal(rows) * 0.5
    for name in 'qk' if 'qk-norm' in settings else '':
        p[name + '_norm.weight'] = 1 + 0.3 * rng.standard_normal(dk)
        if settings['qk-norm'] == 'layer':
            p[name + '_norm.bias'] = 0.3 * rng.standard_normal(dk)
    if settings.get('position') == 'transformer-xl':
        p['linear_pos.weight'] = rng.standard_normal((heads * dk, d)) * d ** -0.5
        p['pos_bias_u'], p['pos_bias_v'] = (0.5 * rng.standard_normal((heads, dk)) for _ in range(2))
    return {name: values.astype(np.float32) for name, values in p.items()}


def make(seed, d, heads, kv_heads, dk, frames, absent, window, settings):
    rng = np.random.default_rng(seed)
    p, x, present = parameters(rng, d, heads, kv_heads, dk, settings), rng.standard_normal((frames, d)).astype(np.float32), np.ones(frames, bool)
    for begin, n in absent:
        present[begin:begin + n] = False
    exact = {name: values.astype(np.float64) for name, values in p.items()}
    y, weights = attention(x.astype(np.float64), exact, heads, kv_heads, visible(frames, window, settings, present), settings)
    y[~present] = 0
    weights[:, ~present] = 0
    tensors = {'attn.' + name: values for name, values in p.items()}
    tensors.update({'input': x, 'output': y, 'weights': by_slot(weights, window, settings)})
    if absent:
        tensors['present'] = present.astype(np.float32)[:, None]
    names = ('chunk', 'chunks', 'sinks') if 'chunk' in settings else ('window', 'look-ahead', 'sinks')
    metadata = {'golden': 'gst-attention', 'version': str(VERSION), 'seed': str(seed), 'numpy': np.__version__, 'heads': str(heads),
                'kv-heads': str(kv_heads), **settings, **dict(zip(names, map(str, window)))}
    return tensors, metadata


def main():
    for seed, (name, *case) in enumerate(CASES, start=301):
        tensors, metadata = make(seed, *case)
        path = os.path.join(HERE, name + '.safetensors')
        (check if sys.argv[1:] == ['--check'] else write)(path, tensors, metadata)
        print('ok %d - %s' % (seed - 300, name))
    print('1..%d' % len(CASES))


if __name__ == '__main__':
    main()
