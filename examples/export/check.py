"""Checks an exported file: compares the outputs of libattn, or of a pipeline, with those of the PyTorch module or of NumPy in float64.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

from . import conformer
from .files import ExportError, np, open_safetensors, refuse_unless
from .keys import KINDS, kind_of
from .law import OUTPUTS, attentions_in, bins_of, measure_all, named, seen_by, walk

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PER_ATTENTION = 2e-6  # of the largest output: what attn.h promises of one layer in f32
MOST_FRAMES = 2000


# ---- what is exported, run ----

def built(*names):
    """The path of what stands in the project's folder build/; None: it is not there."""
    path = os.path.join(PROJECT, 'build', *names)
    return path if os.path.exists(path) else None


def library():
    """The module attn, or None where libattn is not installed."""
    if 'ATTN_LIBRARY' not in os.environ and built('src', 'libattn.so'):
        os.environ['ATTN_LIBRARY'] = built('src', 'libattn.so')
    sys.path.append(os.path.join(PROJECT, 'src'))  # behind one that is installed
    try:
        import attn
        return attn
    except ImportError:
        return None
    finally:
        sys.path.pop()


def run_pipeline(path, x, is_layer):
    """The frames x [n, D] through the element."""
    environment = dict(os.environ)
    if built('plugin'):
        environment['GST_PLUGIN_PATH'] = os.pathsep.join([built('plugin')] + [p for p in [os.environ.get('GST_PLUGIN_PATH')] if p])
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, 'x.npy'), x)
        words = ['gst-launch-1.0', '-q', *'filesrc location=x.npy ! npyparse !'.split(), 'attention' if is_layer else 'attentionencoder',
                 'model-file=' + os.path.abspath(path), *'! npyenc ! filesink location=y.npy'.split()]
        done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        refuse_unless(done.returncode == 0, path, 'the pipeline failed: ' + done.stdout.strip())
        return np.load(os.path.join(folder, 'y.npy'))


def run(path, x, is_layer=False):
    """(outputs, by what they were computed)."""
    attn = library()
    if attn is not None:
        try:
            return (attn.Layer if is_layer else attn.Encoder)(path).forward(x), 'libattn (attn.py)'
        except attn.Error as error:
            raise ExportError('%s: libattn refuses it: %s' % (path, error)) from None
    if shutil.which('gst-launch-1.0'):
        return run_pipeline(path, x, is_layer), 'a pipeline of gst-launch-1.0'
    raise ExportError('%s: it cannot be checked: neither libattn (ATTN_LIBRARY says where it is) nor gst-launch-1.0 is installed' % path)


# ---- the formulas, in float64 ----

def softmax(z):
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def activated(x, name):
    erf = np.vectorize(math.erf, otypes=[float])
    return {'none': lambda: x, 'relu': lambda: np.maximum(x, 0), 'gelu': lambda: x * 0.5 * (1 + erf(x / 2 ** 0.5)),
            'gelu-tanh': lambda: x * 0.5 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3))), 'silu': lambda: x / (1 + np.exp(-x)),
            'tanh': lambda: np.tanh(x), 'sigmoid': lambda: 1 / (1 + np.exp(-x)), 'softmax': lambda: softmax(x),
            'log-softmax': lambda: x - x.max(axis=-1, keepdims=True) - np.log(np.exp(x - x.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))}[name]()


def visible(n, block):
    """[query, key]: True where the query sees the key."""
    t, s = np.arange(n)[:, None], np.arange(n)[None]
    if 'chunk' in block:
        back = t // block['chunk'] - s // block['chunk']
        window = (back >= 0) & (back <= block['chunks'])
    else:
        window = (s > t - block['window']) & (s <= t + block.get('look-ahead', 0))
    return window | ((s < block.get('sinks', 0)) & (s <= t))


def turned(x, block):
    """RoPE of [n, heads, values]."""
    size = block.get('rope-dimensions') or x.shape[2]
    angles = np.arange(len(x))[:, None] * float(block.get('rope-base', 10000)) ** (-np.arange(0, size, 2) / size)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    interleaved = block.get('rope-layout') == 'interleaved'
    a, b = (x[..., :size:2], x[..., 1:size:2]) if interleaved else (x[..., :size // 2], x[..., size // 2:size])
    pair = (a * cos - b * sin, a * sin + b * cos)
    rotated = np.stack(pair, -1).reshape(*x.shape[:2], size) if interleaved else np.concatenate(pair, -1)
    return np.concatenate([rotated, x[..., size:]], -1)


def distance_scores(q, p, width):
    """[head, query, key] of q [n, heads, values] with the projection of each distance t - s, as Transformer-XL has it."""
    n, heads, size = q.shape
    angles = np.arange(n - 1, -n, -1)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    r = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(2 * n - 1, width)
    scores = np.einsum('ihd,khd->hik', q, (r @ p['linear_pos.weight'].T).reshape(-1, heads, size))
    return np.take_along_axis(scores, (np.arange(n)[None] - np.arange(n)[:, None] + n - 1)[None], 2)


def projections(p, x, name):
    """Query, key and value of the frames."""
    if 'in_proj_weight' in p:
        return np.split(x @ p['in_proj_weight'].T + p.get('in_proj_bias', 0), 3, axis=1)
    biases = np.split(p['in_proj_bias'], 3) if 'in_proj_bias' in p else [0, 0, 0]
    weights = [next((p[key] for key in (letter + '_proj.weight', letter + '_proj_weight') if key in p), None) for letter in 'qkv']
    refuse_unless(all(w is not None for w in weights), name, 'its formula is not known here: it has %s' % ', '.join(p))
    return [x @ w.T + p.get(letter + '_proj.bias', bias) for letter, w, bias in zip('qkv', weights, biases)]


def head_normed(x, block, p, name):
    """[n, heads, values] with the norm of the queries or keys of each head, if there is one."""
    if block.get('qk-norm', 'none') == 'none':
        return x
    centred = x - x.mean(axis=2, keepdims=True) if block['qk-norm'] == 'layer' else x
    normal = centred / np.sqrt((centred ** 2).mean(axis=2, keepdims=True) + block.get('qk-norm-eps', 1e-5))
    return normal * p[name + '.weight'] + p.get(name + '.bias', 0)


def attention(x, block, p):
    name, heads = block.get('attention', 'the layer'), block['heads']
    unknown = ['%s=%s' % item for item in block.items() if item[0] == 'position' and item[1] in ('alibi', 'relative')]
    refuse_unless(not unknown, name, 'the formula of %s is not known here' % ' '.join(unknown))
    q, k, v = projections(p, x, name)
    kv_heads = block.get('kv-heads') or heads * k.shape[1] // q.shape[1]
    q, k, v = q.reshape(len(x), heads, -1), k.reshape(len(x), kv_heads, -1), v.reshape(len(x), kv_heads, -1)
    q, k = head_normed(q, block, p, 'q_norm'), head_normed(k, block, p, 'k_norm')
    if block.get('position') == 'rope':
        q, k = turned(q, block), turned(k, block)
    k, v = (np.repeat(each, heads // kv_heads, axis=1) for each in (k, v))
    by_distance = block.get('position') == 'transformer-xl'
    scores = np.einsum('ihd,jhd->hij', q + p['pos_bias_u'] if by_distance else q, k)
    scores = (scores + (distance_scores(q + p['pos_bias_v'], p, x.shape[1]) if by_distance else 0)) * (block.get('scale') or q.shape[2] ** -0.5)
    cap = block.get('softcap')
    scores = np.where(visible(len(x), block), cap * np.tanh(scores / cap) if cap else scores, -np.inf)
    out = np.einsum('hij,jhd->ihd', softmax(scores), v).reshape(len(x), -1)
    output = next((each for each in OUTPUTS if each + '.weight' in p), None)
    return out if output is None else out @ p[output + '.weight'].T + p.get(output + '.bias', 0)


def normed(x, block, p):
    centred = x if block.get('kind') == 'rms' else x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axis=1, keepdims=True) + block.get('eps', 1e-5)) * p.get('weight', 1) + p.get('bias', 0)


def conv(x, block, p):
    weight, stride, dilation = p['weight'], block.get('stride', 1), block.get('dilation', 1)
    groups, (outputs, inputs, kernel) = block.get('groups', 1), weight.shape
    x = np.pad(x, ((block.get('left', 0), block.get('right', 0)), (0, 0)))
    n = (len(x) - (kernel - 1) * dilation - 1) // stride + 1
    weight, out = weight.reshape(groups, outputs // groups, inputs, kernel), np.zeros((max(n, 0), outputs)) + p.get('bias', 0)
    for j in range(kernel):
        taps = x[j * dilation:][::stride][:n].reshape(-1, groups, inputs)
        out += np.einsum('tgi,goi->tgo', taps, weight[..., j]).reshape(len(out), outputs)
    return out


def conv2d(x, block, tensors, p):
    """A frame is [channels][bins]."""
    weight, stride, groups = p['weight'], block.get('stride', [1, 1]), block.get('groups', 1)
    outputs, inputs, kernel, bin_kernel = weight.shape
    bins, bins_out = bins_of(block, tensors, x.shape[1])
    x = np.pad(x.reshape(len(x), groups, inputs, bins), ((block.get('left', 0), block.get('right', 0)), (0, 0), (0, 0),
                                                         (block.get('low', 0), block.get('high', 0))))
    n = max((len(x) - kernel) // stride[0] + 1, 0)
    weight, out = weight.reshape(groups, outputs // groups, inputs, kernel, bin_kernel), np.zeros((n, groups, outputs // groups, bins_out))
    for j in range(kernel):
        for k in range(bin_kernel):
            taps = x[j:][::stride[0]][:n, ..., k:][..., ::stride[1]][..., :bins_out]
            out += np.einsum('tgif,goi->tgof', taps, weight[..., j, k])
    return (out.reshape(n, outputs, bins_out) + np.reshape(p.get('bias', 0), (-1, 1))).reshape(n, -1)


def sinusoid(x, block):
    half = x.shape[1] // 2
    angles = (np.arange(len(x))[:, None] + block.get('offset', 0)) * float(block.get('base', 10000)) ** (-np.arange(half) / half)
    pair = np.sin(angles), np.cos(angles)
    return x + (np.concatenate(pair, 1) if block.get('layout') == 'half' else np.stack(pair, -1).reshape(len(x), -1))


def by_formula(x, blocks, tensors):
    """The outputs of the blocks in float64. `tensors` {name: Tensor}: those of one block at a time are in memory."""
    for block in blocks:
        kind = kind_of(block)
        value = block.get(kind)
        p = {key: values.numpy().astype(np.float64) for key, values in named(tensors, value).items()} if isinstance(value, str) else {}
        x = {'linear': lambda: x @ p['weight'].T + p.get('bias', 0), 'norm': lambda: normed(x, block, p), 'conv': lambda: conv(x, block, p),
             'conv2d': lambda: conv2d(x, block, tensors, p),
             'glu': lambda: x[:, :x.shape[1] // 2] * activated(x[:, x.shape[1] // 2:], value), 'attention': lambda: attention(x, block, p),
             'affine': lambda: x * p['weight'] + p.get('bias', 0), 'sinusoid': lambda: sinusoid(x, block), 'activation': lambda: x,
             'stack': lambda: x[:len(x) // value * value].reshape(-1, value * x.shape[1]),
             'residual': lambda: x + by_formula(x, value, tensors)}[kind]()
        x = activated(x, block.get('activation', 'none'))
    return x


# ---- a module, in float64 ----

def masked(module, blocks):
    """Gives every attention of the module the window that was exported, and returns a function that undoes it."""
    import torch
    from torch import nn
    waiting = list(attentions_in(blocks))
    found = [each for each in module.modules() if isinstance(each, nn.MultiheadAttention)]

    def forward_of(each):
        def forward(query, key, value, *_, need_weights=False, **__):
            refuse_unless(waiting, 'the module', 'it calls an attention that was not exported')
            hidden = torch.tensor(~visible(query.shape[each.batch_first], waiting.pop(0)))  # [1, n, D] or [n, 1, D]
            return nn.MultiheadAttention.forward(each, query, key, value, attn_mask=hidden, need_weights=False)
        return forward
    for each in found:
        each.forward = forward_of(each)

    def undo():
        for each in found:
            del each.forward
        refuse_unless(not waiting, 'the module', '%d of its attentions were exported, but not called' % len(waiting))
    return undo


def children(module):
    """(name, submodule) in the order of computation. A module that stands in it twice is there twice."""
    from torch import nn
    if isinstance(module, nn.Sequential):
        return [(str(name), child) for name, child in module._modules.items()]
    layers = [('layers.%d' % i, layer) for i, layer in enumerate(module.layers)]
    return layers + ([('norm', module.norm)] if module.norm is not None else [])


def call(module, x, rules):
    """[1, n, D] through a module of those that are known, each in the layout that it takes."""
    import torch
    from torch import nn
    if not any(isinstance(module, kind) for kind in rules or ()):
        if isinstance(module, (nn.Sequential, nn.TransformerEncoder)):
            for _, child in children(module):
                x = call(child, x, rules)
            return x
        if conformer.is_known(module, 'Conformer'):
            return module(x, torch.tensor([x.shape[1]]))[0]
        if conformer.is_known(module, 'ConformerLayer'):
            return module(x.transpose(0, 1), None).transpose(0, 1)
        if isinstance(module, (nn.Conv1d, nn.BatchNorm1d)):
            return module(x.transpose(1, 2)).transpose(1, 2)
        if isinstance(module, nn.MultiheadAttention):
            x = x if module.batch_first else x.transpose(0, 1)
            y = module(x, x, x, need_weights=False)[0]
            return y if module.batch_first else y.transpose(0, 1)
    attentions = [each for each in module.modules() if isinstance(each, nn.MultiheadAttention)]
    if attentions and not attentions[0].batch_first:
        return module(x.transpose(0, 1)).transpose(0, 1)
    return module(x)


def by_module(x, module, blocks, rules, forward):
    """What a copy of the module answers in float64, with the windows that were exported. `forward` (module, frames): how it is called; None: it
    takes frames alone."""
    import copy

    import torch
    for block in attentions_in(blocks):
        beside = [key for key in ('position', 'sinks', 'softcap', 'scale', 'qk-norm') if block.get(key) not in (None, 'none')]
        refuse_unless(not beside, block['attention'], 'it was exported with %s, which the module does not compute: it cannot be checked against it' % (
            ', '.join(beside)))
    module = copy.deepcopy(module).double().eval()
    undo = masked(module, blocks)
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)  # so that no fast path passes by the masks
    try:
        out = (forward(module, x[None]) if forward else call(module, x[None], rules))[0]
    except TypeError as error:
        raise ExportError('the module does not take frames alone (%s): say how it is called, check=lambda module, frames: module(frames, ...)' % (
            error)) from None
    undo()
    return out.detach().numpy()


# ---- the comparison ----

def frames_for(blocks, tensors, features):
    """Random frames, more than the widest window sees where that is not too many, and more than the convolutions need for an output."""
    stride = measure_all(blocks, tensors, features)[1].stride
    widest = max([1 + sum(seen_by(block)) for block in attentions_in(blocks)], default=0)
    taps = sum((tensors[block[kind_of(block)] + '.weight'].shape[2] - 1) * block.get('dilation', 1) for block in walk(blocks)
               if kind_of(block) in ('conv', 'conv2d'))
    n = min(max(60, widest + 40) * stride, max(MOST_FRAMES, 60 * stride)) + taps * stride
    return np.random.default_rng(1).standard_normal((n, features)).astype(np.float32)


def compare(path, got, wanted, n_attentions, by, against):
    """The sentence that says how far they are from each other. Too far is an ExportError."""
    refuse_unless(got.shape == wanted.shape, path, '%s gives outputs %s, but %s gives %s' % (by, list(got.shape), against, list(wanted.shape)))
    bound = PER_ATTENTION * max(1, n_attentions)
    error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    said = 'checked: %s against %s, %d outputs: largest error %.2g of the largest output, bound %.2g' % (by, against, len(got), error, bound)
    if not error <= bound:
        raise ExportError(said + ': too far')
    return said


def encoder_of(path):
    """(blocks, tensors, features) of an exported file."""
    tensors, metadata = open_safetensors(path)
    encoder = json.loads(metadata['encoder'])
    return encoder['blocks'], tensors, encoder['features']


def check(path, module=None, rules=None, n_front=0, forward=None):
    """Runs an exported encoder against the module, or without one against the formulas of its blocks; returns what to print. `n_front`: blocks that
    stand in front of the module; `forward`: see by_module ()."""
    blocks, tensors, features = encoder_of(path)
    x = frames_for(blocks, tensors, features)
    got, by = run(path, x)
    n = len(list(attentions_in(blocks)))
    if module is not None:
        x = by_formula(x.astype(np.float64), blocks[:n_front], tensors)
        return compare(path, got, by_module(x, module, blocks, rules, forward), n, by, 'the module (PyTorch, float64)')
    wanted = by_formula(x.astype(np.float64), blocks, tensors)
    return compare(path, got, wanted, n, by, 'the formulas of its blocks (NumPy, float64)')


def check_layer(path):
    """The same of a single layer of attention."""
    tensors, metadata = open_safetensors(path)
    texts, numbers = ('position', 'rope-layout', 'qk-norm'), ('scale', 'softcap', 'rope-base', 'qk-norm-eps')
    block = {key: value if key in texts else float(value) if key in numbers else int(value)
             for key, value in metadata.items() if key in KINDS['attention'][1]}
    if 'chunk' not in block:
        block.setdefault('window', 64)  # as the element has it
    parts = {key: values.numpy().astype(np.float64) for key, values in tensors.items()}
    width = next(parts[key] for key in ('in_proj_weight', 'q_proj.weight', 'q_proj_weight') if key in parts).shape[1]
    x = np.random.default_rng(1).standard_normal((min(1 + sum(seen_by(block)) + 60, MOST_FRAMES), width)).astype(np.float32)
    got, by = run(path, x, True)
    return compare(path, got, attention(x.astype(np.float64), block, parts), 1, by, 'the formula (NumPy, float64)')
