#!/usr/bin/python3
"""Makes attention/rope*, alibi*, relative* and grouped.safetensors: attention with positions, in float64, by PyTorch.

ALiBi and relative bias go through nn.MultiheadAttention as a float attn_mask per head, where that layer can be used (as many
key/value heads as heads). RoPE rotates complex numbers, as the paper of RoFormer writes it (equation 14): there is no such layer
in PyTorch. Files as those of generate.py, and in the metadata also kv-heads, sinks, position, rope-*; a tensor `present`
[frames, 1] where frames are absent, and `weights` [frames / 7, heads * span], the weights of every seventh frame by slot, as
attn.h has them. Needs python3-torch.

  position.py            writes the files
  position.py --check    makes them anew and compares

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import os
import sys

try:
    import torch
except ImportError as error:
    sys.exit('position.py: %s; on Debian: apt-get install python3-torch' % error)

from generate import HERE, VERSION, check, write

# name, D, heads, kv-heads, values per head, window, look-ahead, sinks, frames, absent runs, settings
CASES = [
    ('rope', 32, 2, 2, 16, 20, 0, 0, 60, [], {'position': 'rope'}),
    ('rope-interleaved', 32, 4, 4, 8, 16, 3, 0, 60, [], {'position': 'rope', 'rope-layout': 'interleaved', 'rope-base': '500000'}),
    ('rope-partial', 24, 2, 2, 12, 64, 0, 0, 70, [], {'position': 'rope', 'rope-dimensions': '6', 'rope-base': '100'}),
    ('rope-grouped', 24, 6, 2, 10, 18, 4, 5, 90, [(7, 3), (40, 20), (70, 1)],
     {'position': 'rope', 'rope-layout': 'interleaved', 'rope-dimensions': '8'}),
    ('alibi', 32, 8, 8, 4, 30, 0, 0, 80, [], {'position': 'alibi'}),
    ('alibi-ahead', 24, 6, 6, 4, 20, 7, 3, 80, [], {'position': 'alibi'}),
    ('alibi-grouped', 18, 6, 3, 5, 12, 2, 20, 80, [(3, 2), (30, 13)], {'position': 'alibi'}),
    ('relative', 6, 2, 2, 3, 12, 3, 0, 60, [], {'position': 'relative'}),
    ('relative-grouped', 16, 4, 2, 6, 9, 5, 4, 70, [(0, 2), (25, 10)], {'position': 'relative'}),
    ('grouped', 16, 4, 2, 6, 11, 4, 3, 70, [(5, 2), (30, 16)], {'position': 'none'}),
]
EVERY = 7  # the weights of one frame in so many are stored


def visible(frames, window, look_ahead, sinks, present):
    """True where a query (row) sees a key (column)."""
    t, j = torch.arange(frames)[:, None], torch.arange(frames)[None, :]
    return (((j > t - window) & (j <= t + look_ahead)) | ((j < sinks) & (j <= t))) & present[None, :]


def slopes(n):
    """Press et al. 2022, section 3 and its footnote: a geometric sequence; between powers of two every other one of the next."""
    lower = 2 ** math.floor(math.log2(n))
    ratio = 2 ** (-8 / lower)
    return [ratio ** (i + 1) for i in range(lower)] + [ratio ** (i + 0.5) for i in range(n - lower)]


def biases(case_heads, frames, window, look_ahead, position, table):
    """[heads, frames, frames], added to the scores."""
    distance = torch.arange(frames)[None, :] - torch.arange(frames)[:, None]
    if position == 'alibi':
        return -torch.tensor(slopes(case_heads), dtype=torch.float64)[:, None, None] * distance.abs()
    if position == 'relative':
        inside = (distance > -window) & (distance <= look_ahead)
        return torch.where(inside, table.double()[:, (distance + window - 1).clamp(0, window + look_ahead - 1)], 0.0)
    return torch.zeros(case_heads, frames, frames, dtype=torch.float64)


def rotate(x, settings):
    """x [frames, heads, values]"""
    n = int(settings.get('rope-dimensions', x.shape[2]))
    turned, rest = x[..., :n], x[..., n:]
    interleaved = settings.get('rope-layout', 'half') == 'interleaved'
    pairs = turned.unflatten(2, (n // 2, 2)) if interleaved else turned.unflatten(2, (2, n // 2)).transpose(2, 3)
    theta = float(settings.get('rope-base', 10000)) ** (-2 * torch.arange(n // 2, dtype=torch.float64) / n)
    angle = torch.arange(len(x), dtype=torch.float64)[:, None, None] * theta
    pairs = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angle), angle))
    return torch.cat([(pairs if interleaved else pairs.transpose(2, 3)).flatten(2), rest], dim=2)


def by_hand(x, p, heads, kv_heads, mask, bias, settings):
    q = torch.nn.functional.linear(x, p['q_proj.weight'], p['q_proj.bias']).unflatten(1, (heads, -1))
    k = torch.nn.functional.linear(x, p['k_proj.weight'], p['k_proj.bias']).unflatten(1, (kv_heads, -1))
    v = torch.nn.functional.linear(x, p['v_proj.weight'], p['v_proj.bias']).unflatten(1, (kv_heads, -1))
    if settings['position'] == 'rope':
        q, k = rotate(q, settings), rotate(k, settings)
    k, v = (y.repeat_interleave(heads // kv_heads, dim=1) for y in (k, v))
    scores = torch.einsum('thd,jhd->htj', q, k) / q.shape[2] ** 0.5 + bias
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=2).nan_to_num(0)  # an absent frame may have nothing to see
    context = torch.einsum('htj,jhd->thd', weights, v).flatten(1)
    return torch.nn.functional.linear(context, p['o_proj.weight'], p['o_proj.bias']), weights


def by_slot(weights, window, look_ahead, sinks):
    """[heads, frames, frames] -> [frames / EVERY, heads * span]: slot sinks + j is frame t - window + 1 + j; slot i < sinks
    is sink i where the window has left it behind."""
    heads, frames, _ = weights.shape
    slots = torch.zeros(len(range(0, frames, EVERY)), heads, sinks + window + look_ahead, dtype=torch.float64)
    for row, t in enumerate(range(0, frames, EVERY)):
        for j in range(frames):
            if t - window < j <= t + look_ahead:
                slots[row, :, sinks + j - (t - window + 1)] = weights[:, t, j]
            elif j < sinks and j < t:
                slots[row, :, j] = weights[:, t, j]
    return slots.flatten(1)


def by_layer(x, p, heads, mask, bias):
    d = x.shape[1]
    layer = torch.nn.MultiheadAttention(d, heads, dtype=torch.float64, batch_first=True)
    layer.load_state_dict({'in_proj_weight': torch.cat([p[n + '_proj.weight'] for n in 'qkv']),
                           'in_proj_bias': torch.cat([p[n + '_proj.bias'] for n in 'qkv']),
                           'out_proj.weight': p['o_proj.weight'], 'out_proj.bias': p['o_proj.bias']})
    with torch.no_grad():
        return layer(x[None], x[None], x[None], attn_mask=bias.masked_fill(~mask, -torch.inf), need_weights=False)[0][0]


def make(seed, name, d, heads, kv_heads, dk, window, look_ahead, sinks, frames, absent, settings):
    torch.manual_seed(seed)
    x = torch.randn(frames, d)
    present = torch.ones(frames, dtype=torch.bool)
    for begin, n in absent:
        present[begin:begin + n] = False
    rows = {'q': heads * dk, 'k': kv_heads * dk, 'v': kv_heads * dk, 'o': d}
    tensors = {}
    for n, r in rows.items():
        inputs = heads * dk if n == 'o' else d
        tensors[n + '_proj.weight'] = torch.randn(r, inputs) * inputs ** -0.5
        tensors[n + '_proj.bias'] = torch.randn(r) * 0.5
    if settings['position'] == 'relative':
        tensors['relative_bias'] = torch.randn(heads, window + look_ahead) * 1.5
    p = {key: value.double() for key, value in tensors.items()}
    mask = visible(frames, window, look_ahead, sinks, present)
    bias = biases(heads, frames, window, look_ahead, settings['position'], tensors.get('relative_bias'))
    y, weights = by_hand(x.double(), p, heads, kv_heads, mask, bias, settings)
    if kv_heads == heads and settings['position'] != 'rope':
        assert not absent and heads * dk == d
        layer = by_layer(x.double(), p, heads, mask, bias)
        assert (layer - y).abs().max() < 1e-12, name
        y = layer
    y[~present] = 0
    weights[:, ~present] = 0
    tensors = {'attn.' + key: value for key, value in tensors.items()}
    tensors['input'], tensors['output'] = x, y
    tensors['weights'] = by_slot(weights, window, look_ahead, sinks)
    if absent:
        tensors['present'] = present.float()[:, None]
    metadata = {'golden': 'gst-attention', 'version': str(VERSION), 'seed': str(seed), 'torch': torch.__version__,
                'heads': str(heads), 'kv-heads': str(kv_heads), 'window': str(window), 'look-ahead': str(look_ahead),
                'sinks': str(sinks), **settings}
    return tensors, metadata


def main():
    for seed, case in enumerate(CASES, start=101):
        tensors, metadata = make(seed, *case)
        path = os.path.join(HERE, case[0] + '.safetensors')
        (check if sys.argv[1:] == ['--check'] else write)(path, tensors, metadata)
        print('ok %d - %s' % (seed - 100, case[0]))
    print('1..%d' % len(CASES))


if __name__ == '__main__':
    main()
