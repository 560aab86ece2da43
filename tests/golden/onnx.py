#!/usr/bin/python3
"""Makes onnx/*: cases of the operator Attention of ONNX, opsets 23 to 25, for tests/onnx-case.

The answers are NumPy's in float64, by a reference that was written from the text of the specification
(https://onnx.ai/onnx/operators/onnx__Attention.html), one rule after the other, and rounded once at the end. Each case is a folder of
.npy files with a case.json; onnx/refused holds combinations that the specification forbids, over one set of tensors.

  onnx.py            writes the files
  onnx.py --check    makes them anew and compares: inputs to the bit, outputs to a unit of rounding of their type

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import sys

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'onnx')
FLOAT, FLOAT16, DOUBLE = 1, 10, 11


def heads_first(x, n_heads):
    """(batch, sequence, heads * width) to (batch, heads, sequence, width)"""
    return x.reshape(x.shape[0], x.shape[1], n_heads, -1).transpose(0, 2, 1, 3)


def offsets(queries, tensors):
    """Valid keys before the block of queries, per batch: queries stand behind the past or, with padding, so that the last one is at the last key."""
    batch = tensors['Q'].shape[0]
    if 'nonpad_kv_seqlen' in tensors:
        return tensors['nonpad_kv_seqlen'] - queries
    return np.full(batch, tensors['past_key'].shape[2] if 'past_key' in tensors else 0)


def forbidden(queries, keys, tensors, attributes):
    """(batch, 1, query, key), True where position or padding forbid the key."""
    p = offsets(queries, tensors)[:, None, None, None] + np.arange(queries)[:, None]
    j = np.arange(keys)
    hidden = np.zeros(np.broadcast(p, j).shape, bool)
    if attributes.get('is_causal', 0):
        hidden |= j > p
    if attributes.get('left_window_size', -1) >= 0:
        hidden |= j < p - attributes['left_window_size']
    if attributes.get('right_window_size', -1) >= 0:
        hidden |= j > p + attributes['right_window_size']
    if 'nonpad_kv_seqlen' in tensors:
        hidden |= j >= tensors['nonpad_kv_seqlen'][:, None, None, None]
    return hidden


def mask_bias(mask, keys, opset):
    """The term that attn_mask adds to the scores, to be broadcast from the right."""
    bias = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask.astype(np.float64)
    if opset >= 24 and bias.shape[-1] < keys:
        missing = np.full(bias.shape[:-1] + (keys - bias.shape[-1],), -np.inf)
        bias = np.concatenate([bias, missing], axis=-1)
    return bias


def softmax(scores):
    """Rows that are all -inf give 0."""
    largest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def attention(tensors, attributes, opset):
    """All outputs by their names, in float64; present_key and present_value as they are."""
    q, k, v = (tensors[name] for name in 'QKV')
    flat = q.ndim == 3
    if flat:
        q = heads_first(q, attributes['q_num_heads'])
        k, v = (heads_first(x, attributes['kv_num_heads']) for x in (k, v))
    if 'past_key' in tensors:
        k = np.concatenate([tensors['past_key'], k], axis=2)
        v = np.concatenate([tensors['past_value'], v], axis=2)
    outputs = {'present_key': k, 'present_value': v}
    group = q.shape[1] // k.shape[1]
    q, k, v = q.astype(np.float64), *(np.repeat(x.astype(np.float64), group, axis=1) for x in (k, v))

    product = q @ k.transpose(0, 1, 3, 2) * attributes.get('scale', q.shape[3] ** -0.5)
    cap = attributes.get('softcap', 0)
    capped = cap * np.tanh(product / cap) if cap else product
    masked = np.where(forbidden(q.shape[2], k.shape[2], tensors, attributes), -np.inf, capped)
    if 'attn_mask' in tensors:
        masked = masked + mask_bias(tensors['attn_mask'], k.shape[2], opset)
    if attributes.get('softmax_precision') == FLOAT16:
        weights = softmax(masked.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)
    else:
        weights = softmax(masked)

    y = weights @ v
    outputs['Y'] = y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1) if flat else y
    outputs['qk_matmul_output'] = [product, capped, masked, weights][attributes.get('qk_matmul_output_mode', 0)]
    return outputs


class Case:
    """Random tensors for the given sizes; a mask is its shape (float) or ('bool', shape); padding is nonpad_kv_seqlen."""

    def __init__(self, name, opset, sizes, flat=False, past=None, mask=None, padding=None, dtype=np.float32, wants=('Y',), empty=None,
                 **attributes):
        self.name, self.opset, self.attributes, self.wants = name, opset, attributes, wants
        batch, heads, kv_heads, queries, keys, dk, dv = sizes
        random = np.random.RandomState(sum(map(ord, name)))
        normal = lambda *shape: random.standard_normal(shape).astype(dtype)
        if flat:
            self.tensors = {'Q': normal(batch, queries, heads * dk), 'K': normal(batch, keys, kv_heads * dk),
                            'V': normal(batch, keys, kv_heads * dv)}
            self.attributes.update(q_num_heads=heads, kv_num_heads=kv_heads)
        else:
            self.tensors = {'Q': normal(batch, heads, queries, dk), 'K': normal(batch, kv_heads, keys, dk),
                            'V': normal(batch, kv_heads, keys, dv)}
        if past is not None:
            self.tensors.update(past_key=normal(batch, kv_heads, past, dk), past_value=normal(batch, kv_heads, past, dv))
        if padding is not None:
            self.tensors['nonpad_kv_seqlen'] = np.array(padding, np.int64)
        if mask is not None and mask[0] == 'bool':
            self.tensors['attn_mask'] = random.random_sample(mask[1]) < 0.6
        elif mask is not None:
            self.tensors['attn_mask'] = normal(*mask)
            self.tensors['attn_mask'][random.random_sample(mask) < 0.2] = -np.inf
        if empty is not None:
            self.tensors['attn_mask'][empty] = False if mask[0] == 'bool' else -np.inf

    def expected(self):
        answers = attention(self.tensors, self.attributes, self.opset)
        types = dict.fromkeys(('Y', 'qk_matmul_output', 'present_key'), self.tensors['Q'].dtype)
        types['present_value'] = self.tensors['V'].dtype
        with np.errstate(over='ignore'):
            return {name: answers[name].astype(types[name]) for name in self.wants}


QK = ('Y', 'qk_matmul_output')
PRESENT = ('Y', 'present_key', 'present_value')
SIZES = (2, 2, 2, 3, 5, 4, 4)  # batches, heads, kv-heads, queries, keys, dk, dv
HALF = {'dtype': np.float16}
CASES = [
    Case('four-dimensions', 23, SIZES),
    Case('three-dimensions', 23, SIZES, flat=True),
    Case('grouped-queries', 23, (2, 6, 2, 3, 5, 4, 3)),
    Case('grouped-queries-3d', 23, (2, 6, 3, 3, 5, 2, 3), flat=True),
    Case('scale', 23, SIZES, scale=0.1),
    Case('scale-0', 23, SIZES, scale=0.0),
    Case('several-tiles', 23, (1, 2, 1, 20, 37, 3, 5), is_causal=1, mask=(20, 37)),
    Case('causal-more-keys', 23, SIZES, is_causal=1),
    Case('causal-more-queries', 23, (1, 2, 2, 6, 3, 4, 4), is_causal=1),
    Case('past-and-present', 23, SIZES, past=4, wants=PRESENT),
    Case('past-and-present-3d', 23, (2, 4, 2, 3, 5, 2, 3), past=4, wants=PRESENT, flat=True),
    Case('present-of-an-empty-past', 23, SIZES, past=0, wants=PRESENT, is_causal=1),
    Case('present-without-past', 23, SIZES, wants=PRESENT),
    Case('causal-with-past', 24, (2, 2, 2, 3, 3, 4, 4), past=4, is_causal=1),
    Case('causal-with-past-more-keys', 24, SIZES, past=4, is_causal=1),
    Case('mask-1d', 23, SIZES, mask=(5,)),
    Case('mask-2d', 23, SIZES, mask=(3, 5)),
    Case('mask-3d-is-heads', 23, SIZES, mask=(2, 3, 5)),
    Case('mask-4d-batches', 23, SIZES, mask=('bool', (2, 1, 3, 5))),
    Case('mask-4d', 23, SIZES, mask=('bool', (2, 2, 3, 5)), past=0),
    Case('mask-one-query', 23, SIZES, mask=('bool', (1, 5)), is_causal=1),
    Case('mask-one-key-broadcasts', 23, SIZES, mask=(3, 1)),
    Case('mask-one-key-is-short', 24, SIZES, mask=(3, 1)),
    Case('mask-short', 24, SIZES, mask=('bool', (3, 4))),
    Case('mask-short-with-past', 24, SIZES, past=4, mask=(2, 1, 3, 7)),
    Case('mask-empty-row', 23, SIZES, mask=('bool', (3, 5)), empty=1, qk_matmul_output_mode=3, wants=QK),
    Case('mask-empty-row-causal', 24, SIZES, mask=(3, 5), empty=(0, 0), is_causal=1, qk_matmul_output_mode=3, wants=QK),
    Case('padding', 24, SIZES, padding=(3, 5)),
    Case('padding-short-mask', 24, SIZES, padding=(3, 4), mask=(2, 3, 4)),
    Case('padding-causal', 24, SIZES, padding=(3, 5), is_causal=1),
    Case('padding-fewer-keys-than-queries', 24, SIZES, padding=(0, 2), is_causal=1, qk_matmul_output_mode=3, wants=QK),
    Case('window-left', 25, (1, 2, 2, 6, 6, 4, 4), left_window_size=2),
    Case('window-both', 25, (1, 2, 2, 4, 6, 4, 4), left_window_size=2, right_window_size=1),
    Case('window-causal', 25, (1, 2, 2, 6, 6, 4, 4), left_window_size=2, right_window_size=3, is_causal=1),
    Case('window-of-one', 25, (1, 2, 2, 5, 5, 4, 4), left_window_size=0, right_window_size=0),
    Case('window-unbounded', 25, SIZES, left_window_size=-1, right_window_size=-1),
    Case('window-with-past', 25, (2, 2, 1, 3, 3, 4, 4), past=4, left_window_size=3, wants=PRESENT),
    Case('window-padding-mask-3d', 25, SIZES, padding=(4, 5), mask=('bool', (2, 3, 5)), left_window_size=1, right_window_size=1),
    Case('softcap', 23, SIZES, softcap=0.7),
    Case('softcap-before-mask', 23, SIZES, softcap=0.7, mask=(3, 5)),
    Case('scores-product', 24, SIZES, softcap=0.7, mask=(3, 5), wants=QK, qk_matmul_output_mode=0),
    Case('scores-capped', 24, SIZES, softcap=0.7, mask=(3, 5), wants=QK, qk_matmul_output_mode=1),
    Case('scores-masked', 24, SIZES, softcap=0.7, mask=(3, 5), past=0, is_causal=1, wants=QK, qk_matmul_output_mode=2),
    Case('scores-weights', 24, SIZES, softcap=0.7, mask=(3, 5), wants=QK, qk_matmul_output_mode=3),
    Case('softmax-float', 24, SIZES, softmax_precision=FLOAT, qk_matmul_output_mode=3, wants=QK),
    Case('softmax-float16', 24, SIZES, softmax_precision=FLOAT16, qk_matmul_output_mode=3, wants=QK),
    Case('softmax-double', 24, SIZES, softmax_precision=DOUBLE, qk_matmul_output_mode=3, wants=QK),
    Case('float16', 23, SIZES, **HALF),
    Case('float16-softmax-float', 24, SIZES, softmax_precision=FLOAT, qk_matmul_output_mode=3, wants=QK, **HALF),
    Case('float16-past-mask', 23, (2, 4, 2, 3, 5, 4, 4), past=4, mask=(3, 9), wants=PRESENT + ('qk_matmul_output',),
         qk_matmul_output_mode=2, **HALF),
    Case('float16-padding-window', 25, SIZES, padding=(4, 5), mask=(1, 5), is_causal=1, left_window_size=1, **HALF),
]

# name: (opset, words of the refusal, attributes, tensors other than Q, K, V or None for one that is left out, further outputs)
REFUSED = {
    'past-key-alone': (23, 'past_value is NULL', {}, {'past_key': 'past'}, ()),
    'past-value-alone': (23, 'past_key is NULL', {}, {'past_value': 'past'}, ()),
    'present-key-alone': (23, 'present_value is NULL', {}, {}, ('present_key',)),
    'padding-with-past': (24, 'n_valid_keys and past_key', {},
                          {'past_key': 'past', 'past_value': 'past', 'nonpad_kv_seqlen': 'lengths'}, ()),
    'padding-with-present': (24, 'n_valid_keys and present_key', {}, {'nonpad_kv_seqlen': 'lengths'}, ('present_key', 'present_value')),
    'padding-in-opset-23': (23, 'from opset 24 on', {}, {'nonpad_kv_seqlen': 'lengths'}, ()),
    'padding-beyond-the-keys': (24, 'n_valid_keys[1] is 6', {}, {'nonpad_kv_seqlen': 'lengths-6'}, ()),
    'padding-of-another-batch': (24, 'nonpad_kv_seqlen has the shape (3,), expected (2,)', {}, {'nonpad_kv_seqlen': 'lengths-3'}, ()),
    'window-in-opset-24': (24, 'from opset 25 on', {'left_window_size': 1}, {}, ()),
    'window-below-minus-1': (25, 'right_window_size is -2', {'right_window_size': -2}, {}, ()),
    'heads-with-4d': (25, 'it goes with 3', {'q_num_heads': 2, 'kv_num_heads': 2}, {}, ()),
    '3d-without-heads': (23, 'q_num_heads is 0', {}, {'Q': 'flat', 'K': 'flat', 'V': 'flat'}, ()),
    'heads-that-do-not-divide-the-width': (23, 'kv_num_heads, 3', {'q_num_heads': 2, 'kv_num_heads': 3},
                                           {'Q': 'flat', 'K': 'flat', 'V': 'flat'}, ()),
    'heads-that-kv-heads-do-not-divide': (23, '2 heads cannot share 4', {'q_num_heads': 2, 'kv_num_heads': 4},
                                          {'Q': 'flat-2', 'K': 'flat', 'V': 'flat'}, ()),
    'ranks-that-differ': (23, 'K has the shape (2, 5, 8)', {}, {'K': 'flat'}, ()),
    'keys-and-values-of-different-lengths': (23, 'sequence of K and V alike', {}, {'V': 'past'}, ()),
    'no-value': (23, 'V is not there', {}, {'V': None}, ()),
    'mask-that-does-not-broadcast': (23, 'mask_queries is 2', {}, {'attn_mask': 'mask-2-5'}, ()),
    'mask-short-in-opset-23': (23, 'mask_keys is 4', {}, {'attn_mask': 'mask-3-4'}, ()),
    'mask-shorter-than-the-valid-keys': (24, 'mask_keys is 4', {}, {'attn_mask': 'mask-3-4', 'nonpad_kv_seqlen': 'lengths'}, ()),
    'mask-longer-than-the-keys': (24, 'mask_keys is 7', {}, {'attn_mask': 'mask-3-7'}, ()),
    'mask-of-another-type': (23, 'neither bool nor of the type of Q', {}, {'attn_mask': 'mask-half'}, ()),
    'key-of-another-type': (23, 'K has another type than Q', {}, {'K': 'half'}, ()),
    'output-mode-4': (24, 'qk_matmul_output_mode is 4', {'qk_matmul_output_mode': 4}, {}, ('qk_matmul_output',)),
    'softmax-of-integers': (24, 'softmax_type is 7', {'softmax_precision': 7}, {}, ()),
    'causal-2': (24, 'is_causal is 2', {'is_causal': 2}, {}, ()),
    'softcap-below-0': (24, 'softcap is -1', {'softcap': -1.0}, {}, ()),
}
REFUSED_TENSORS = {
    'Q': np.zeros((2, 2, 3, 4), np.float32), 'KV': np.zeros((2, 2, 5, 4), np.float32), 'past': np.zeros((2, 2, 4, 4), np.float32),
    'flat': np.zeros((2, 5, 8), np.float32), 'flat-2': np.zeros((2, 3, 4), np.float32), 'half': np.zeros((2, 2, 5, 4), np.float16),
    'lengths': np.array([3, 5]), 'lengths-6': np.array([5, 6]), 'lengths-3': np.array([3, 3, 3]),
    'mask-2-5': np.ones((2, 5), bool), 'mask-3-4': np.ones((3, 4), bool), 'mask-3-7': np.ones((3, 7), bool),
    'mask-half': np.zeros((3, 5), np.float16),
}


def description(opset, attributes, inputs, outputs, **more):
    return {'opset': opset, 'attributes': attributes, 'inputs': inputs, 'outputs': outputs, **more}


def files():
    """(path, JSON or array, whether it is an answer) of everything."""
    for case in CASES:
        expected = case.expected()
        names = lambda tensors: {name: name + '.npy' for name in tensors}
        yield os.path.join(case.name, 'case.json'), description(case.opset, case.attributes, names(case.tensors), names(expected)), False
        for name, tensor in case.tensors.items():
            yield os.path.join(case.name, name + '.npy'), tensor, False
        for name, tensor in expected.items():
            yield os.path.join(case.name, name + '.npy'), tensor, True
    for name, tensor in REFUSED_TENSORS.items():
        yield os.path.join('refused', name + '.npy'), tensor, False
    for name, (opset, words, attributes, tensors, outputs) in REFUSED.items():
        tensors = {'Q': 'Q', 'K': 'KV', 'V': 'KV', **tensors}
        inputs = {key: file + '.npy' for key, file in tensors.items() if file is not None}
        yield os.path.join('refused', name + '.json'), description(opset, attributes, inputs, dict.fromkeys(('Y', *outputs)),
                                                                   refused=words), False


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(content, dict):
        with open(path, 'w') as f:
            json.dump(content, f, indent=1)
            f.write('\n')
    else:
        np.save(path, np.ascontiguousarray(content))


def is_same(path, content, is_answer):
    if isinstance(content, dict):
        with open(path) as f:
            return json.load(f) == content
    there = np.load(path)
    if there.dtype != content.dtype or there.shape != content.shape:
        return False
    if not is_answer:
        return there.tobytes() == np.ascontiguousarray(content).tobytes()
    unit = np.finfo(content.dtype).eps
    return np.allclose(there.astype(np.float64), content.astype(np.float64), rtol=unit, atol=unit)


def main():
    failed = 0
    for number, (path, content, is_answer) in enumerate(files(), start=1):
        path = os.path.join(HERE, path)
        good = True
        if sys.argv[1:] == ['--check']:
            good = is_same(path, content, is_answer)
        else:
            write(path, content)
        failed += not good
        print('%s %d - %s' % ('ok' if good else 'not ok', number, os.path.relpath(path, HERE)))
    print('1..%d' % number)
    return failed > 0


sys.exit(main())
