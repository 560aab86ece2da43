#!/usr/bin/python3
"""Makes sdpa/*.safetensors: scaled dot-product attention on explicit tensors by PyTorch, in float64.

Each file holds query, key, value (in the order of its layout), maybe mask, and output, and says in its header where it comes from and
how it is to be run. Cases that torch.nn.MultiheadAttention can compute are held against it as well. Needs python3-torch.

  sdpa.py            writes the files
  sdpa.py --check    makes them anew and compares: inputs to the bit, output to 1e-12 before rounding

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import sys

try:
    import torch
except ImportError as error:
    sys.exit('sdpa.py: %s; on Debian: apt-get install python3-torch' % error)

import generate

VERSION = 1
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sdpa')

# name: (batches, heads, kv-heads, queries, keys, dk, dv), layout, options; a mask is its sizes
CASES = [
    ('plain', (2, 4, 4, 20, 20, 8, 8), 'outside', {}),
    ('cross', (1, 2, 2, 7, 33, 8, 12), 'outside', {}),
    ('grouped', (2, 6, 2, 17, 17, 8, 5), 'inside', {}),
    ('causal', (1, 4, 4, 10, 19, 8, 8), 'inside', {'causal': 1}),
    ('window', (1, 2, 1, 40, 40, 8, 8), 'outside', {'left': 5, 'right': 2}),
    ('bool-mask', (2, 3, 3, 9, 17, 8, 8), 'inside', {'bool-mask': (2, 1, 9, 17)}),
    ('float-mask', (2, 3, 3, 9, 17, 8, 8), 'outside', {'float-mask': (1, 3, 1, 17)}),
    ('softcap', (1, 4, 2, 18, 18, 16, 8), 'inside', {'softcap': 5.0, 'scale': 0.5, 'causal': 1}),
    ('softcap-float-mask', (1, 4, 2, 18, 18, 16, 8), 'outside', {'softcap': 2.5, 'float-mask': (1, 1, 18, 18)}),
]


def make_mask(options):
    """(tensor for the file or None, the term that is added to the scores)"""
    if 'bool-mask' in options:
        mask = torch.rand(options['bool-mask']) < 0.7
        mask[..., 0] = True
        return mask.float(), torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    if 'float-mask' in options:
        mask = torch.randn(options['float-mask'])
        mask[..., 3] = -1e30  # works like infinity, which files of parameters cannot hold
        return mask, mask.double()
    return None, 0


def band(queries, keys, options):
    """True where a query must not see a key: is_causal and windows about the diagonal that ends at the last key."""
    distance = torch.arange(keys)[None, :] - (torch.arange(queries)[:, None] + keys - queries)
    hidden = torch.zeros(queries, keys, dtype=torch.bool)
    if 'causal' in options:
        hidden |= distance > 0
    if 'left' in options:
        hidden |= -distance > options['left']
    if 'right' in options:
        hidden |= distance > options['right']
    return hidden


def attention(q, k, v, added, hidden, options):
    """The formula, on [batch, head, position, value]."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(2, 3) * options.get('scale', q.shape[3] ** -0.5)
    if 'softcap' in options:
        scores = options['softcap'] * torch.tanh(scores / options['softcap'])
    return torch.softmax((scores + added).masked_fill(hidden, -torch.inf), dim=3) @ v


def by_module(q, k, v, added, hidden):
    """The same by nn.MultiheadAttention with identity projections."""
    batches, heads, queries, width = q.shape
    d = heads * width
    layer = torch.nn.MultiheadAttention(d, heads, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(d, dtype=torch.float64).repeat(3, 1))
        layer.out_proj.weight.copy_(torch.eye(d, dtype=torch.float64))
    mask = torch.zeros(batches, heads, queries, k.shape[2], dtype=torch.float64).masked_fill(hidden, -torch.inf) + added
    inside = [t.transpose(1, 2).flatten(2) for t in (q, k, v)]
    with torch.no_grad():
        y = layer(*inside, attn_mask=mask.flatten(0, 1), need_weights=False)[0]
    return y.unflatten(2, (heads, width)).transpose(1, 2)


def make(seed, name, sizes, layout, options):
    torch.manual_seed(seed)
    batches, heads, kv_heads, queries, keys, dk, dv = sizes
    q, k = torch.randn(batches, heads, queries, dk), torch.randn(batches, kv_heads, keys, dk)
    v = torch.randn(batches, kv_heads, keys, dv)
    mask, added = make_mask(options)
    hidden = band(queries, keys, options)
    y = attention(q.double(), k.double(), v.double(), added, hidden, options)
    if heads == kv_heads and dk == dv and 'softcap' not in options and 'scale' not in options:
        difference = (by_module(q.double(), k.double(), v.double(), added, hidden) - y).abs().max().item()
        assert difference < 1e-13, (name, difference)
    tensors = {'query': q, 'key': k, 'value': v, 'output': y}
    if layout == 'inside':
        tensors = {key: t.transpose(1, 2).contiguous() for key, t in tensors.items()}
    if mask is not None:
        tensors['mask'] = mask
    metadata = {'golden': 'gst-attention', 'version': str(VERSION), 'seed': str(seed), 'torch': torch.__version__, 'layout': layout,
                'sizes': ' '.join(map(str, sizes))}
    metadata.update({key: ' '.join(map(str, x)) if isinstance(x, tuple) else str(x) for key, x in options.items()})
    return tensors, metadata


def main():
    checking = sys.argv[1:] == ['--check']
    os.makedirs(HERE, exist_ok=True)
    for seed, case in enumerate(CASES, start=1):
        tensors, metadata = make(seed, *case)
        path = os.path.join(HERE, case[0] + '.safetensors')
        if checking:
            generate.check(path, tensors, metadata)
        else:
            generate.write(path, tensors, metadata)
        print('ok %d - %s: %s' % (seed, case[0], metadata['sizes']))
    print('1..%d' % len(CASES))


main()
