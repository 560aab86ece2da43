"""ONNX models in a few lines: the messages of onnx.proto3 (github.com/onnx/onnx) that the benchmarks need, by number.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np


def varint(n):
    n &= (1 << 64) - 1
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + np.float32(value).tobytes()
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, array):
    kind = {np.dtype('f4'): 1, np.dtype('i8'): 7}[array.dtype]
    return b''.join(field(1, int(d)) for d in array.shape) + field(2, kind) + field(8, name) + field(9, array.tobytes())


def attribute(name, value):
    out = field(1, name)
    if isinstance(value, int):
        return out + field(3, value) + field(20, 2)
    if isinstance(value, float):
        return out + field(2, value) + field(20, 1)
    return out + b''.join(field(8, int(i)) for i in value) + field(20, 7)


def node(op, inputs, outputs, domain='', **attributes):
    out = b''.join(field(1, i) for i in inputs) + b''.join(field(2, o) for o in outputs) + field(4, op)
    return out + b''.join(field(5, attribute(k, v)) for k, v in attributes.items()) + (field(7, domain) if domain else b'')


def value(name, shape, kind=1):
    dims = b''.join(field(1, field(1, int(d))) for d in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def model(nodes, initializers, inputs, outputs, caches={}, opset=17):
    """inputs, outputs, caches (of cached_attention (), if any): {name: shape}, float32; initializers: {name: array}."""
    graph = b''.join(field(1, n) for n in nodes) + field(2, 'attention')
    graph += b''.join(field(5, tensor(k, v)) for k, v in initializers.items())
    graph += b''.join(field(11, value(k, v)) for k, v in {**inputs, **caches}.items())
    graph += b''.join(field(12, value(k, v)) for k, v in outputs.items())
    graph += b''.join(field(12, value('present_' + k, v)) for k, v in caches.items())
    graph += b''.join(field(11, value(k, [1], kind=6)) for k in ('last', 'total') if caches)
    opsets = field(8, field(1, '') + field(2, opset)) + field(8, field(1, 'com.microsoft') + field(2, 1))
    return field(1, 9) + field(7, graph) + opsets


# ---- ONNX Runtime's attention with caches in place ----

def cached_attention(qkv, context, caches, heads, window):
    """`qkv` [1, n, 3 D] to `context` [1, n, D]; it appends to `caches` (keys, values: cache_shape ()) and sees a window of them."""
    return node('GroupQueryAttention', [qkv, '', '', *caches, 'last', 'total'], [context, *('present_' + name for name in caches)],
                'com.microsoft', num_heads=heads, kv_num_heads=heads, local_window_size=window, scale=1.0)


def cache_shape(heads, window, head):
    """The operator reads all rows that are in a cache, so they are few: a full one is moved."""
    return [1, heads, 2 * window, head]


def cache_arguments(caches, window, n):
    """Of ort-bench, for `caches` {name: shape}, if any, and runs of n frames."""
    arguments = ['count', 'last', str(n - 1), 'count', 'total', str(n)] if caches else []
    for name, shape in caches.items():
        arguments += ['in', name, 'x'.join(map(str, shape)), '-', 'cache', name, str(window)]
    return arguments
