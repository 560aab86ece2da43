#!/usr/bin/python3
"""Makes encoder/*.safetensors: the outputs of whole encoders in float64, by PyTorch.

nn.TransformerEncoder, nn.LayerNorm, nn.Conv1d, nn.Conv2d and the activations are PyTorch's own. What it has no module for (RMSNorm, RoPE,
grouped heads, SwiGLU, layer scale) is written here as the papers and the models' own code have it, over nn.Linear and torch.softmax.

Each file is an encoder as users have them: the tensors of a state_dict in float32, and the metadata's entry `encoder`, which says
what to do with them. Besides: `input` [frames, D] and `output` [frames', Dout]; `present` [frames, 1] and `output_present`
[frames', 1] where frames are absent; a header that says where it comes from (golden, version, seed, torch), and `layers`: how many
attentions and convolutions stand one behind the other, at least 1. Needs python3-torch.

  encoder.py            writes the files
  encoder.py --check    makes them anew and compares

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import sys

try:
    import torch
except ImportError as error:
    sys.exit('encoder.py: %s; on Debian: apt-get install python3-torch' % error)

from torch import nn
from torch.nn import functional as F

from generate import VERSION, band, check, write
from position import rotate, slopes, visible

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'encoder')


def randomise(module):
    """Parameters that float32 holds, in float64: matrices that keep the size of their inputs, factors near 1, biases."""
    module.double()
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() > 1:
                values = torch.randn(p.shape) * (p.numel() / p.shape[0]) ** -0.5
            else:
                values = torch.randn(p.shape) * 0.3 + (not name.endswith('bias'))
            p.copy_(values.float())
    return module


def parameters(module, prefix=''):
    return {prefix + name: p.detach().float() for name, p in module.state_dict().items()}


def absent_frames(frames, runs):
    present = torch.ones(frames, dtype=torch.bool)
    for begin, n in runs:
        present[begin:begin + n] = False
    return present


def case(features, blocks, tensors, x, y, layers=1, present=None, output_present=None):
    """The tensors and the metadata of one file; absent outputs are zeros."""
    tensors = dict(tensors)
    tensors['input'], tensors['output'] = x, y.detach()
    if present is not None:
        output_present = present if output_present is None else output_present
        tensors['output'] = torch.where(output_present[:, None], tensors['output'], torch.zeros(()).double())
        tensors['present'], tensors['output_present'] = present.float()[:, None], output_present.float()[:, None]
    encoder = {'version': 1, 'features': features, 'blocks': blocks}
    return tensors, {'encoder': json.dumps(encoder), 'layers': str(layers)}


# ---- nn.TransformerEncoder ----

def transformer_blocks(layers, heads, window, look_ahead, norm_first, activation, final_norm, **settings):
    blocks = []
    for i in range(layers):
        name = 'layers.%d.' % i
        attention = {'attention': name + 'self_attn', 'heads': heads, 'window': window, **settings}
        if look_ahead:
            attention['look-ahead'] = look_ahead
        forward = [{'linear': name + 'linear1', 'activation': activation}, {'linear': name + 'linear2'}]
        norms = [{'norm': name + 'norm1'}, {'norm': name + 'norm2'}]
        if norm_first:
            blocks += [{'residual': [norms[0], attention]}, {'residual': [norms[1]] + forward}]
        else:
            blocks += [{'residual': [attention]}, norms[0], {'residual': forward}, norms[1]]
    return blocks + [{'norm': 'norm'}] * final_norm


def transformer_module(d, hidden, layers, heads, norm_first, activation, final_norm):
    # in training mode: the fast path of inference is other code
    layer = nn.TransformerEncoderLayer(d, heads, hidden, dropout=0, activation=activation, norm_first=norm_first)
    return randomise(nn.TransformerEncoder(layer, layers, nn.LayerNorm(d) if final_norm else None))


def run_transformer(module, x, mask, present):
    """x [frames, D]; every absent row must see something: the softmax over nothing is NaN, which would spread in later layers."""
    padding = None if present is None else ~present[None]
    y = module(x[:, None], mask=mask, src_key_padding_mask=padding)[:, 0]
    assert not y.isnan().any()
    return y


def transformer(d, hidden, layers, heads, window, look_ahead, norm_first, activation, final_norm, frames, runs=()):
    module = transformer_module(d, hidden, layers, heads, norm_first, activation, final_norm)
    x, present = torch.randn(frames, d), absent_frames(frames, runs) if runs else None
    y = run_transformer(module, x.double(), band(frames, window, look_ahead), present)
    blocks = transformer_blocks(layers, heads, window, look_ahead, norm_first, activation, final_norm)
    return case(d, blocks, parameters(module), x, y, layers, present)


def sinusoid(frames, d, base, offset, layout):
    """Vaswani et al. 2017, section 3.5"""
    t = torch.arange(frames, dtype=torch.float64)[:, None] + offset
    angle = t * base ** (-2 * torch.arange(d // 2, dtype=torch.float64) / d)
    pair = [angle.sin(), angle.cos()]
    return torch.cat(pair, dim=1) if layout == 'half' else torch.stack(pair, dim=2).flatten(1)


def sinusoid_transformer(d, base, offset, layout, frames):
    module = transformer_module(d, 2 * d, 2, 2, True, 'gelu', True)
    x = torch.randn(frames, d)
    y = run_transformer(module, x.double() + sinusoid(frames, d, base, offset, layout), band(frames, 12, 2), None)
    front = {'sinusoid': True, 'base': base, 'offset': offset, 'layout': layout}
    return case(d, [front] + transformer_blocks(2, 2, 12, 2, True, 'gelu', True), parameters(module), x, y, 2)


def alibi_transformer(d, heads, window, look_ahead, frames):
    module = transformer_module(d, 2 * d, 2, heads, True, 'relu', False)
    x, t = torch.randn(frames, d), torch.arange(frames)
    bias = -torch.tensor(slopes(heads), dtype=torch.float64)[:, None, None] * (t[:, None] - t).abs()
    y = run_transformer(module, x.double(), bias.masked_fill(band(frames, window, look_ahead), -torch.inf), None)
    blocks = transformer_blocks(2, heads, window, look_ahead, True, 'relu', False, position='alibi')
    return case(d, blocks, parameters(module), x, y, 2)


def head(d, classes, activation, frames):
    """A transformer with a classifier behind it, as for CTC."""
    module = transformer_module(d, 2 * d, 1, 2, True, 'relu', True)
    ctc = randomise(nn.Linear(d, classes))
    x = torch.randn(frames, d)
    y = ctc(run_transformer(module, x.double(), band(frames, 10, 3), None))
    y = {'softmax': F.softmax, 'log-softmax': F.log_softmax}[activation](y, dim=1)
    blocks = transformer_blocks(1, 2, 10, 3, True, 'relu', True) + [{'linear': 'ctc'}, {'activation': activation}]
    return case(d, blocks, {**parameters(module), **parameters(ctc, 'ctc.')}, x, y, 1)


# ---- single blocks ----

ACTIVATIONS = {'none': lambda x: x, 'relu': F.relu, 'gelu': F.gelu, 'gelu-tanh': lambda x: F.gelu(x, approximate='tanh'),
               'silu': F.silu, 'tanh': torch.tanh, 'sigmoid': torch.sigmoid}


def layer_norm(d, eps, affine, frames):
    module = randomise(nn.LayerNorm(d, eps, elementwise_affine=affine))
    x = torch.randn(frames, d) * 3 + 1
    blocks = [{'norm': 'norm' if affine else None, 'eps': eps}]
    return case(d, blocks, parameters(module, 'norm.') if affine else {}, x, module(x.double()))


def glu(d, hidden, gate, frames):
    up, down = randomise(nn.Linear(d, 2 * hidden)), randomise(nn.Linear(hidden, d, bias=False))
    x = torch.randn(frames, d)
    first, second = up(x.double()).chunk(2, dim=1)
    y = first * ACTIVATIONS[gate](second)
    if gate == 'sigmoid':
        assert torch.equal(y, F.glu(up(x.double())))
    blocks = [{'linear': 'up'}, {'glu': gate}, {'linear': 'down'}]
    return case(d, blocks, {**parameters(up, 'up.'), **parameters(down, 'down.')}, x, down(y))


def activations(d, frames):
    """Each, as a block and as the key of a linear layer."""
    x = torch.randn(frames, d)
    y, blocks, tensors = x.double(), [], {}
    for i, (name, f) in enumerate(ACTIVATIONS.items()):
        linear = randomise(nn.Linear(d, d))
        y = f(linear(f(y)))
        blocks += [{'activation': name}, {'linear': 'linears.%d' % i, 'activation': name}]
        tensors.update(parameters(linear, 'linears.%d.' % i))
    return case(d, blocks, tensors, x, y, 2)


def affine(d, frames):
    """BatchNorm1d in inference: a factor and an offset, between two linear layers inside a residual inside a residual."""
    norm, inner, outer = randomise(nn.BatchNorm1d(d)), randomise(nn.Linear(d, d)), randomise(nn.Linear(d, d))
    norm.running_mean.copy_(torch.randn(d).float())
    norm.running_var.copy_((torch.rand(d) + 0.5).float())
    norm.eval()
    x = torch.randn(frames, d)
    y = norm(inner(x.double()))
    y = x.double() + outer(y + torch.tanh(y))
    weight = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    tensors = {'folded.weight': weight.float(), 'folded.bias': (norm.bias.detach() - norm.running_mean * weight).float(),
               **parameters(inner, 'inner.'), **parameters(outer, 'outer.')}
    blocks = [{'residual': [{'linear': 'inner'}, {'affine': 'folded'}, {'residual': [{'activation': 'tanh'}]}, {'linear': 'outer'}]}]
    return case(d, blocks, tensors, x, y)


# ---- stacks as Hugging Face has them ----

class RMSNorm(nn.Module):
    """Zhang and Sennrich 2019"""

    def __init__(self, d, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x):
        return x / (x.square().mean(dim=1, keepdim=True) + self.eps).sqrt() * self.weight


class Attention(nn.Module):
    def __init__(self, d, heads, kv_heads, dk):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj = nn.Linear(d, heads * dk, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(d, kv_heads * dk, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(heads * dk, d, bias=False)

    def forward(self, x, mask, rope):
        """mask [frames, frames], True where a frame is seen; rope: None, or the settings that position.py reads"""
        q = self.q_proj(x).unflatten(1, (self.heads, -1))
        k, v = (project(x).unflatten(1, (self.kv_heads, -1)) for project in (self.k_proj, self.v_proj))
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, dim=1) for y in (k, v))
        scores = torch.einsum('thd,jhd->htj', q, k) / q.shape[2] ** 0.5
        weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=2).nan_to_num(0)  # an absent frame may have nothing to see
        return self.o_proj(torch.einsum('htj,jhd->thd', weights, v).flatten(1))


class Layer(nn.Module):
    """Pre-norm, without biases. kind: llama (RMSNorm, SwiGLU), moonshine (LayerNorm, GELU) or mimi (the same, and layer scale)."""

    def __init__(self, kind, d, hidden, heads, kv_heads, dk):
        super().__init__()
        self.kind, self.self_attn = kind, Attention(d, heads, kv_heads, dk)
        if kind == 'llama':
            self.input_layernorm, self.post_attention_layernorm = RMSNorm(d, 1e-6), RMSNorm(d, 1e-6)
            self.up_proj, self.gate_proj = nn.Linear(d, hidden, False), nn.Linear(d, hidden, False)
            self.down_proj = nn.Linear(hidden, d, False)
        else:
            self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(d), nn.LayerNorm(d)
            self.fc1, self.fc2 = nn.Linear(d, hidden, kind == 'moonshine'), nn.Linear(hidden, d, kind == 'moonshine')
        if kind == 'moonshine':
            self.input_layernorm.bias = self.post_attention_layernorm.bias = None
        if kind == 'mimi':
            self.self_attn_layer_scale, self.mlp_layer_scale = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))

    def forward(self, x, mask, rope):
        scales = (self.self_attn_layer_scale, self.mlp_layer_scale) if self.kind == 'mimi' else (1, 1)
        x = x + scales[0] * self.self_attn(self.input_layernorm(x), mask, rope)
        y = self.post_attention_layernorm(x)
        if self.kind == 'llama':
            return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))
        return x + scales[1] * self.fc2(F.gelu(self.fc1(y)))


def exported(layer, name, attention):
    """Blocks and tensors of a layer, as an exporter writes them: up and gate as one linear layer, layer scale folded."""
    tensors = parameters(layer, name)
    norm = {'kind': 'rms', 'eps': 1e-6} if layer.kind == 'llama' else {}
    forward = [{'linear': name + 'fc1', 'activation': 'gelu'}, {'linear': name + 'fc2'}]
    if layer.kind == 'llama':
        tensors[name + 'up_gate.weight'] = torch.cat([tensors.pop(name + 'up_proj.weight'), tensors.pop(name + 'gate_proj.weight')])
        forward = [{'linear': name + 'up_gate'}, {'glu': 'silu'}, {'linear': name + 'down_proj'}]
    if layer.kind == 'mimi':
        for scale, matrix in (('self_attn_layer_scale', 'self_attn.o_proj.weight'), ('mlp_layer_scale', 'fc2.weight')):
            tensors[name + matrix] = tensors[name + matrix] * tensors.pop(name + scale)[:, None]
    attention = {'attention': name + 'self_attn', 'heads': layer.self_attn.heads, 'kv-heads': layer.self_attn.kv_heads, **attention}
    return [{'residual': [{'norm': name + 'input_layernorm', **norm}, attention]},
            {'residual': [{'norm': name + 'post_attention_layernorm', **norm}] + forward}], tensors


def half_rows(weight, heads):
    """Rows of an interleaved projection in the order of the layout half: pair i is i and i + n/2."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def stack_of_layers(kind, d, hidden, heads, kv_heads, dk, windows, x, present, settings, permute=False):
    """The output of a list of layers with these windows (window, look-ahead, sinks); blocks and tensors. x float64."""
    blocks, tensors = [], {}
    rope = settings if settings.get('position') == 'rope' else None
    for i, (window, look_ahead, sinks) in enumerate(windows):
        layer, name = randomise(Layer(kind, d, hidden, heads, kv_heads, dk)), 'layers.%d.' % i
        x = layer(x, visible(len(x), window, look_ahead, sinks, present), rope)
        keys = {'window': window, 'look-ahead': look_ahead, 'sinks': sinks, **settings}
        more, parts = exported(layer, name, {k: v for k, v in keys.items() if v != 0})
        if permute:
            for p, n in (('q', heads), ('k', kv_heads)):
                key = name + 'self_attn.%s_proj.weight' % p
                parts[key] = half_rows(parts[key], n)
            more[0]['residual'][1]['rope-layout'] = 'half'
        blocks += more
        tensors.update(parts)
    return x, blocks, tensors


def llama(d, hidden, heads, kv_heads, dk, windows, frames, runs, settings):
    x, present = torch.randn(frames, d), absent_frames(frames, runs)
    y, blocks, tensors = stack_of_layers('llama', d, hidden, heads, kv_heads, dk, windows, x.double(), present, settings)
    norm = randomise(RMSNorm(d, 1e-6))
    blocks.append({'norm': 'norm', 'kind': 'rms', 'eps': 1e-6})
    return case(d, blocks, {**tensors, **parameters(norm, 'norm.')}, x, norm(y), len(windows), present if runs else None)


def mimi(d, hidden, heads, dk, layers, frames, permute):
    torch.manual_seed(1)  # both layouts are one encoder, with one output
    x = torch.randn(frames, d)
    settings = {'position': 'rope', 'rope-layout': 'interleaved'}
    y, blocks, tensors = stack_of_layers('mimi', d, hidden, heads, heads, dk, [(20, 0, 0)] * layers, x.double(),
                                         absent_frames(frames, ()), settings, permute)
    return case(d, blocks, tensors, x, y, layers)


# ---- convolutions ----

def convolve(x, conv, left, right):
    return conv(F.pad(x.T, (left, right))).T


def conv_blocks(convs):
    of_tensors = ('out', 'kernel', 'bias')
    return [{'conv': 'convs.%d' % i, **{k: v for k, v in keys.items() if k not in of_tensors}} for i, keys in enumerate(convs)]


def conv_modules(d, convs):
    modules = []
    for keys in convs:
        modules.append(randomise(nn.Conv1d(d, keys['out'], keys['kernel'], keys.get('stride', 1), 0, keys.get('dilation', 1),
                                           keys.get('groups', 1), keys.get('bias', True))))
        d = keys['out']
    return modules


def conv_parameters(modules):
    tensors = {}
    for i, module in enumerate(modules):
        tensors.update(parameters(module, 'convs.%d.' % i))
    return tensors


def convs(d, frames, *convs):
    x = torch.randn(frames, d)
    modules, y = conv_modules(d, convs), x.double()
    for module, keys in zip(modules, convs):
        y = ACTIVATIONS[keys.get('activation', 'none')](convolve(y, module, keys.get('left', 0), keys.get('right', 0)))
    return case(d, conv_blocks(convs), conv_parameters(modules), x, y, len(convs))


def absent_convs(d, frames, runs, *convs):
    """An output is absent where all inputs that it reads, of those that exist, are; absent inputs are zeros."""
    x, present = torch.randn(frames, d), absent_frames(frames, runs)
    modules, y, there = conv_modules(d, convs), x.double() * present[:, None], present
    for module, keys in zip(modules, convs):
        left, right = keys.get('left', 0), keys.get('right', 0)
        ones = nn.Conv1d(1, 1, keys['kernel'], keys.get('stride', 1), 0, keys.get('dilation', 1), bias=False)
        nn.init.ones_(ones.weight)
        seen, existing = (convolve(p.float()[:, None], ones, left, right)[:, 0] for p in (there, torch.ones_like(there)))
        y = ACTIVATIONS[keys.get('activation', 'none')](convolve(y, module, left, right))
        there = (seen > 0) | (existing == 0)
        y = y * there[:, None]
    return case(d, conv_blocks(convs), conv_parameters(modules), x, y, len(convs), present, there)


def convolve_2d(x, conv, keys):
    """x [frames, channels, bins]"""
    pads = [keys.get(name, 0) for name in ('low', 'high', 'left', 'right')]
    return conv(F.pad(x.transpose(0, 1), pads)).transpose(0, 1)


def convs_2d(channels, bins, frames, runs, *convs):
    """As absent_convs (). Each key `kernel` and `stride` is in time, in frequency."""
    x, present = torch.randn(frames, channels * bins), absent_frames(frames, runs)
    y, there, tensors, blocks = (x.double() * present[:, None]).unflatten(1, (channels, bins)), present, {}, []
    for i, keys in enumerate(convs):
        kernel, stride, left, right = keys['kernel'], keys.get('stride', (1, 1)), keys.get('left', 0), keys.get('right', 0)
        module = randomise(nn.Conv2d(y.shape[1], keys['out'], kernel, stride, groups=keys.get('groups', 1), bias=keys.get('bias', True)))
        ones = nn.Conv1d(1, 1, kernel[0], stride[0], bias=False)
        nn.init.ones_(ones.weight)
        seen, existing = (convolve(p.float()[:, None], ones, left, right)[:, 0] for p in (there, torch.ones_like(there)))
        y = ACTIVATIONS[keys.get('activation', 'none')](convolve_2d(y, module, keys))
        there = (seen > 0) | (existing == 0)
        y = y * there[:, None, None]
        tensors.update(parameters(module, 'convs.%d.' % i))
        blocks.append({'conv2d': 'convs.%d' % i, **{k: v for k, v in keys.items() if k not in ('out', 'kernel', 'bias')}})
    presence = (present, there) if runs else (None, None)
    return case(channels * bins, blocks, tensors, x, y.flatten(1), len(convs), *presence)


def subsampling(bins, channels, d, frames):
    """
    Causal subsampling by 8 of FastConformer (Rekesh et al. 2023), as NeMo's ConvSubsampling (dw_striding, causal) and CausalConv2D have
    it: kernels of 3, strides of 2, 2 zeros in front and 1 behind, in time and in frequency; from the second on a depthwise one and a
    pointwise one; values of a frame in the order of channels, then bins.
    """
    x, tensors, blocks = torch.randn(frames, bins), {}, []
    y, zeros = x.double()[None], {'left': 2, 'right': 1, 'low': 2, 'high': 1}
    for i, (out, kernel, groups, activation) in enumerate([(channels, 3, 1, 'relu')]
                                                          + [(channels, 3, channels, 'none'), (channels, 1, 1, 'relu')] * 2):
        module = randomise(nn.Conv2d(len(y), out, kernel, 2 if kernel == 3 else 1, groups=groups))
        y = ACTIVATIONS[activation](module(F.pad(y, (2, 1, 2, 1)) if kernel == 3 else y))
        tensors.update(parameters(module, 'conv.%d.' % i))
        keys = {'stride': [2, 2], **zeros} if kernel == 3 else {}
        blocks.append({'conv2d': 'conv.%d' % i, 'groups': groups, 'activation': activation, **keys})
    linear = randomise(nn.Linear(y.shape[0] * y.shape[2], d))
    y = linear(y.transpose(0, 1).flatten(1))
    for _ in range(3):
        frames = frames // 2 + 1
    assert len(y) == frames
    return case(bins, blocks + [{'linear': 'out'}], {**tensors, **parameters(linear, 'out.')}, x, y, 5)


def conformer(d, kernel, frames, look_ahead):
    """A convolution module (Gulati et al. 2020): pointwise, GLU, depthwise, norm, SiLU, pointwise, in a residual with its norm."""
    norm, inner = randomise(nn.LayerNorm(d)), randomise(nn.LayerNorm(d))
    up, down = randomise(nn.Linear(d, 2 * d)), randomise(nn.Linear(d, d))
    depthwise = randomise(nn.Conv1d(d, d, kernel, groups=d))
    x = torch.randn(frames, d)
    y = convolve(F.glu(up(norm(x.double()))), depthwise, kernel - 1 - look_ahead, look_ahead)
    y = x.double() + down(F.silu(inner(y)))
    blocks = [{'residual': [{'norm': 'norm'}, {'linear': 'up'}, {'glu': 'sigmoid'},
                            {'conv': 'depthwise', 'groups': d, 'left': kernel - 1 - look_ahead, 'right': look_ahead},
                            {'norm': 'inner'}, {'activation': 'silu'}, {'linear': 'down'}]}]
    tensors = {}
    for name, module in (('norm', norm), ('up', up), ('down', down), ('inner', inner), ('depthwise', depthwise)):
        tensors.update(parameters(module, name + '.'))
    return case(d, blocks, tensors, x, y, 2)


def moonshine(features, d, hidden, heads, windows, frames):
    """Moonshine Streaming's encoder: two causal convolutions of stride 2, then layers of different look-ahead, no positions."""
    front = randomise(nn.Linear(features, d, bias=False))
    keys = [{'out': 2 * d, 'kernel': 5, 'stride': 2, 'left': 4, 'activation': 'silu'},
            {'out': d, 'kernel': 5, 'stride': 2, 'left': 4}]
    x, modules = torch.randn(frames, features), conv_modules(d, keys)
    y = F.silu(convolve(F.silu(front(x.double())), modules[0], 4, 0))
    y = convolve(y, modules[1], 4, 0)
    y, blocks, tensors = stack_of_layers('moonshine', d, hidden, heads, heads, d // heads, windows, y, absent_frames(len(y), ()), {})
    norm = randomise(nn.LayerNorm(d))
    norm.bias = None
    blocks = [{'linear': 'front', 'activation': 'silu'}] + conv_blocks(keys) + blocks + [{'norm': 'norm'}]
    tensors = {**parameters(front, 'front.'), **conv_parameters(modules), **tensors, **parameters(norm, 'norm.')}
    return case(features, blocks, tensors, x, norm(y), 2 + len(windows))


def stacking(d, n, out, frames):
    """Frames one behind the other, an incomplete last one dropped; then again."""
    linear = randomise(nn.Linear(d * n, out))
    x = torch.randn(frames, d)
    y = torch.tanh(linear(x.double()[:frames // n * n].unflatten(0, (-1, n)).flatten(1)))
    y = y[:len(y) // 2 * 2].unflatten(0, (-1, 2)).flatten(1)
    blocks = [{'stack': n}, {'linear': 'linear', 'activation': 'tanh'}, {'stack': 2}]
    return case(d, blocks, parameters(linear, 'linear.'), x, y)


CASES = {
    # D, hidden, layers, heads, window, look-ahead, pre-norm, activation, final norm, frames, absent runs
    'transformer-1-pre-relu': lambda: transformer(16, 32, 1, 2, 12, 0, True, 'relu', False, 40),
    'transformer-1-post-gelu': lambda: transformer(15, 31, 1, 3, 9, 2, False, 'gelu', False, 40),
    'transformer-1-pre-gelu-final': lambda: transformer(48, 64, 1, 4, 20, 0, True, 'gelu', True, 50),
    'transformer-2-pre-gelu-final': lambda: transformer(32, 64, 2, 4, 17, 4, True, 'gelu', True, 60),
    'transformer-2-post-relu': lambda: transformer(24, 48, 2, 2, 10, 0, False, 'relu', False, 50),
    'transformer-2-post-gelu-final-ahead': lambda: transformer(18, 37, 2, 3, 7, 5, False, 'gelu', True, 50),
    'transformer-6-pre-relu-final': lambda: transformer(20, 40, 6, 4, 12, 0, True, 'relu', True, 50),
    'transformer-6-pre-gelu-ahead': lambda: transformer(18, 35, 6, 3, 8, 2, True, 'gelu', False, 60),
    'transformer-6-post-gelu': lambda: transformer(16, 33, 6, 2, 9, 1, False, 'gelu', False, 50),
    'transformer-absent-pre': lambda: transformer(16, 32, 2, 2, 12, 0, True, 'gelu', True, 70, [(2, 1), (9, 4), (30, 9), (60, 1)]),
    'transformer-absent-post-ahead': lambda: transformer(17, 32, 3, 1, 10, 3, False, 'relu', False, 70, [(5, 2), (30, 7), (66, 4)]),
    'twelve-post-one-head': lambda: transformer(16, 24, 12, 1, 10, 1, False, 'relu', False, 60),
    'longer-than-stream': lambda: transformer(12, 24, 2, 2, 300, 200, True, 'relu', True, 40),
    'sinusoid-interleaved': lambda: sinusoid_transformer(20, 10000, 0, 'interleaved', 60),
    'sinusoid-half-offset': lambda: sinusoid_transformer(14, 500, 2, 'half', 50),
    'alibi': lambda: alibi_transformer(24, 6, 14, 3, 50),
    'log-softmax-head': lambda: head(24, 37, 'log-softmax', 50),
    'softmax-head': lambda: head(16, 29, 'softmax', 40),
    'layer-norm': lambda: layer_norm(33, 1e-5, True, 40),
    'layer-norm-plain': lambda: layer_norm(7, 1e-3, False, 40),
    'glu': lambda: glu(19, 23, 'sigmoid', 40),
    'glu-gelu-tanh': lambda: glu(16, 40, 'gelu-tanh', 40),
    'activations': lambda: activations(17, 40),
    'affine': lambda: affine(21, 40),
    # D, hidden, heads, kv-heads, values per head, windows, frames, absent runs, settings
    'llama': lambda: llama(24, 42, 6, 2, 8, [(20, 0, 0)] * 3, 60, [], {'position': 'rope'}),
    'llama-sinks-absent': lambda: llama(18, 30, 4, 2, 6, [(12, 0, 4), (9, 2, 0), (16, 0, 4)], 80, [(2, 1), (20, 30), (60, 3)],
                                        {'position': 'rope', 'rope-layout': 'interleaved', 'rope-base': 500}),
    'mimi-interleaved': lambda: mimi(24, 48, 3, 8, 2, 60, False),
    'mimi-half': lambda: mimi(24, 48, 3, 8, 2, 60, True),
    'conv-same': lambda: convs(5, 30, {'out': 7, 'kernel': 3, 'left': 1, 'right': 1, 'activation': 'gelu'}),
    'conv-causal': lambda: convs(8, 40, {'out': 6, 'kernel': 4, 'left': 3},
                                 {'out': 5, 'kernel': 3, 'dilation': 3, 'left': 6, 'activation': 'relu'}),
    'conv-ahead': lambda: convs(6, 40, {'out': 6, 'kernel': 3, 'dilation': 4}, {'out': 3, 'kernel': 5, 'bias': False}),
    'conv-strides': lambda: convs(6, 61, {'out': 8, 'kernel': 3, 'stride': 2, 'left': 1, 'right': 2, 'activation': 'gelu'},
                                  {'out': 5, 'kernel': 4, 'stride': 3, 'left': 2, 'right': 1}),
    'conv-stride-beyond-kernel': lambda: convs(4, 50, {'out': 5, 'kernel': 2, 'stride': 5, 'right': 4}),
    'conv-groups': lambda: convs(12, 40, {'out': 8, 'kernel': 3, 'groups': 4, 'left': 2},
                                 {'out': 8, 'kernel': 5, 'groups': 8, 'left': 2, 'right': 2},
                                 {'out': 16, 'kernel': 3, 'groups': 8, 'dilation': 2, 'left': 4}),
    'conv-pointwise': lambda: convs(9, 20, {'out': 11, 'kernel': 1}, {'out': 4, 'kernel': 1, 'stride': 2}),
    'conv-longer-than-stream': lambda: convs(4, 5, {'out': 6, 'kernel': 9, 'left': 6, 'right': 3},
                                             {'out': 3, 'kernel': 7, 'left': 6}),
    'conv-absent': lambda: absent_convs(5, 60, [(0, 2), (11, 1), (20, 9), (40, 6), (58, 2)],
                                        {'out': 6, 'kernel': 3, 'left': 2, 'activation': 'gelu'},
                                        {'out': 4, 'kernel': 4, 'stride': 2, 'left': 1, 'right': 1}),
    'conformer': lambda: conformer(16, 9, 50, 3),
    'moonshine': lambda: moonshine(10, 16, 32, 2, [(17, 4, 0), (17, 4, 0), (17, 0, 0), (17, 4, 0)], 150),
    'stack': lambda: stacking(5, 3, 7, 44),
    'conv2d': lambda: convs_2d(2, 9, 30, [], {'out': 3, 'kernel': (3, 4), 'left': 2, 'low': 3, 'activation': 'gelu'}),
    'conv2d-strides': lambda: convs_2d(3, 8, 61, [], {'out': 5, 'kernel': (3, 3), 'stride': (2, 2), 'left': 1, 'right': 2, 'low': 1,
                                                      'high': 2, 'activation': 'relu'},
                                       {'out': 4, 'kernel': (4, 2), 'stride': (3, 1), 'left': 2, 'right': 1, 'bias': False}),
    'conv2d-stride-beyond-kernel': lambda: convs_2d(2, 7, 50, [], {'out': 5, 'kernel': (2, 2), 'stride': (5, 4), 'right': 4, 'high': 4}),
    'conv2d-groups': lambda: convs_2d(12, 5, 40, [], {'out': 8, 'kernel': (3, 2), 'groups': 4, 'left': 2, 'high': 1},
                                      {'out': 8, 'kernel': (3, 3), 'groups': 8, 'left': 1, 'right': 1, 'low': 1, 'high': 1},
                                      {'out': 16, 'kernel': (2, 3), 'groups': 8, 'left': 1, 'activation': 'silu'}),
    'conv2d-one-bin': lambda: convs_2d(9, 1, 40, [], {'out': 9, 'kernel': (3, 3), 'groups': 9, 'left': 2, 'low': 2},
                                       {'out': 6, 'kernel': (2, 1), 'left': 1}),
    'conv2d-longer-than-stream': lambda: convs_2d(2, 4, 5, [], {'out': 6, 'kernel': (9, 3), 'left': 6, 'right': 3, 'low': 2},
                                                  {'out': 3, 'kernel': (7, 4), 'left': 6}),
    'conv2d-absent': lambda: convs_2d(3, 5, 60, [(0, 2), (11, 1), (20, 9), (40, 6), (58, 2)],
                                      {'out': 3, 'kernel': (3, 3), 'groups': 3, 'left': 2, 'low': 1, 'high': 1, 'activation': 'gelu'},
                                      {'out': 4, 'kernel': (4, 2), 'stride': (2, 2), 'left': 1, 'right': 1}),
    'conv2d-subsampling': lambda: subsampling(80, 6, 10, 83),
}


def main():
    checking = sys.argv[1:] == ['--check']
    torch.set_num_threads(1)
    os.makedirs(HERE, exist_ok=True)
    for seed, (name, make) in enumerate(CASES.items(), start=201):
        torch.manual_seed(seed)
        tensors, metadata = make()
        metadata = {'golden': 'gst-attention', 'version': str(VERSION), 'seed': str(seed), 'torch': torch.__version__, **metadata}
        (check if checking else write)(os.path.join(HERE, name + '.safetensors'), tensors, metadata)
        print('ok %d - %s' % (seed - 200, name))
    print('1..%d' % len(CASES))


if __name__ == '__main__':
    main()
