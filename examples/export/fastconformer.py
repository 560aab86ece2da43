"""The blocks of FastConformers (Rekesh et al. 2023), by the names that Hugging Face gives to the encoders of Parakeet and Nemotron.

Two kinds are known. The streaming one is causal: its convolutions see only earlier frames, and its attention sees chunks. The other one has as many
zeros on both sides of each convolution, and attends to whole utterances. Each function returns (blocks, {name of a tensor: its form}); description.py
has the forms.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
# What Hugging Face calls them in an attention, and what attn.h does.
RENAMED = (('relative_k_proj.weight', 'linear_pos.weight'), ('bias_u', 'pos_bias_u'), ('bias_v', 'pos_bias_v'))


# ---- tensors in another form ----

def multiplied(state, name, factor):
    return {name + part: {'from': name + part, 'times': factor} for part in ('.weight', '.bias') if name + part in state}


def as_linear(state, name):
    """The weight of a convolution of one tap, [out, in, 1], as a matrix."""
    weight = name + '.weight'
    return {weight: {'from': weight, 'shape': list(state[weight].shape[:2])}} if weight in state else {}


# ---- blocks ----

def stages(state, at, n):
    """(convolution with a stride, convolution of one point behind it or None) of each stage that halves the rate. Newer programs name the parts of a
    stage; older ones have a list of all, with the activations in it."""
    if at + 'conv_in.weight' in state:
        names = [(at + 'layers.%d.depthwise_conv' % i, at + 'layers.%d.pointwise_conv' % i) for i in range(n - 1)]
        return [(at + 'conv_in', None), *names]
    return [(at + 'layers.0', None), *((at + 'layers.%d' % (3 * i + 2), at + 'layers.%d' % (3 * i + 3)) for i in range(n - 1))]


def zeros_of(kernel, stride, causal):
    """(in front of the first, behind the last) of the frames, and of the bins."""
    return (kernel - 1, stride - 1) if causal else ((kernel - 1) // 2, (kernel - 1) // 2)


def subsampling(state, at, n, channels, kernel, stride, causal, scale):
    """n stages of convolutions over time and frequency, and the linear layer behind them. `scale`: factor of its outputs."""
    before, behind = zeros_of(kernel, stride, causal)
    zeros = {key: n_zeros for key, n_zeros in (('left', before), ('right', behind), ('low', before), ('high', behind)) if n_zeros}
    blocks = []
    for strided, pointwise in stages(state, at, n):
        block = {'conv2d': strided, 'stride': [stride, stride], **zeros}
        blocks += [{**block, 'activation': 'relu'}] if pointwise is None else [{**block, 'groups': channels}, {'conv2d': pointwise, 'activation': 'relu'}]
    return blocks + [{'linear': at + 'linear'}], {} if scale == 1 else multiplied(state, at + 'linear', scale)


def feed_forward(state, at, i, activation):
    """Half a step: the factor 1/2 is in the weights."""
    name = '%sfeed_forward%d.' % (at, i)
    blocks = [{'norm': '%snorm_feed_forward%d' % (at, i)}, {'linear': name + 'linear1', 'activation': activation}, {'linear': name + 'linear2'}]
    return {'residual': blocks}, multiplied(state, name + 'linear2', 0.5)


def convolution(state, at, width, kernel, causal, activation):
    name = at + 'conv.'
    before, behind = zeros_of(kernel, 1, causal)
    zeros = {key: n for key, n in (('left', before), ('right', behind)) if n}
    norm = 'affine' if name + 'norm.running_mean' in state else 'norm'  # a BatchNorm is a factor and an offset
    blocks = [{'norm': at + 'norm_conv'}, {'linear': name + 'pointwise_conv1'}, {'glu': 'sigmoid'},
              {'conv': name + 'depthwise_conv', 'groups': width, **zeros}, {norm: name + 'norm'}, {'activation': activation},
              {'linear': name + 'pointwise_conv2'}]
    return {'residual': blocks}, {**as_linear(state, name + 'pointwise_conv1'), **as_linear(state, name + 'pointwise_conv2')}


def layer(state, at, width, kernel, causal, activation, seen):
    """`seen`: the keys of its attention: heads, and window or chunks."""
    attention = {'attention': at + 'self_attn', **seen, 'position': 'transformer-xl'}
    forms = {'%sself_attn.%s' % (at, ours): {'from': '%sself_attn.%s' % (at, theirs)} for theirs, ours in RENAMED}
    steps = [feed_forward(state, at, 1, activation), ({'residual': [{'norm': at + 'norm_self_att'}, attention]}, forms),
             convolution(state, at, width, kernel, causal, activation), feed_forward(state, at, 2, activation)]
    made = {name: form for _, forms in steps for name, form in forms.items()}
    return [*(block for block, _ in steps), {'norm': at + 'norm_out'}], made
