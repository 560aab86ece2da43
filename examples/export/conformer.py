"""The blocks of torchaudio.models.Conformer (Gulati et al. 2020), from the module.

It attends to whole utterances. In a stream each attention has the window that the export says, and the file gives what the module gives under the
same mask. The depthwise convolutions look (kernel - 1) / 2 frames ahead, each of them, which the table adds up.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import sys

from .files import np, refuse_unless, tensor

WHAT = ('torchaudio.models.Conformer: the factors 1/2 of its feed-forward steps are in the weights of their second linear layers, each BatchNorm is in\n'
        'its depthwise convolution, and the pointwise convolutions are linear layers. It attends to whole utterances: in a stream it attends to the\n'
        'frames above, as the module does under the same mask.')


def classes():
    """torchaudio's module of a Conformer, where a program uses it; else None."""
    return sys.modules.get('torchaudio.models.conformer')


def is_known(module, name):
    """That it is the class `name` of torchaudio, and computes as it does."""
    known = getattr(classes(), name, None)
    return known is not None and isinstance(module, known) and type(module).forward is known.forward


def check_without_shift(module):
    """WeNet's relative positions are not those of Transformer-XL."""
    for name, each in module.named_modules():
        kind = type(each)
        refuse_unless('wenet' not in kind.__module__.split('.') or kind.__name__ != 'RelPositionMultiHeadedAttention', name or 'the module', NO_SHIFT)


NO_SHIFT = ("WeNet's rel_pos has no shift: the position that it adds to a score is that of the key in the utterance, not its distance from the query. So "
            'an output depends on how long the stream has run, and no stream can give it for ever. A model that was trained with rel_shift, or '
            'without positions (selfattn), can be exported')


# ---- tensors in another form: {name: Tensor}, which stand in the place of the module's ----

def halved(linear, name):
    return {name + part: tensor(values, name).computed(lambda v: v * 0.5) for part, values in (('.weight', linear.weight), ('.bias', linear.bias))}


def as_linear(conv, name):
    """The weight of a convolution of one tap, [out, in, 1], as a matrix."""
    shape = tuple(conv.weight.shape[:2])
    return {name + '.weight': tensor(conv.weight, name).moved(shape, lambda v: v.reshape(shape))}


def with_norm(conv, norm, name):
    """A convolution with the nn.BatchNorm1d behind it: each output times a factor, plus an offset."""
    def values_of(each, default):
        return np.float64(default) if each is None else tensor(each, name).numpy().astype(np.float64)
    factor = values_of(norm.weight, 1) / np.sqrt(values_of(norm.running_var, 1) + norm.eps)
    offset = values_of(norm.bias, 0) + (values_of(conv.bias, 0) - values_of(norm.running_mean, 0)) * factor
    return {name + '.weight': tensor(conv.weight, name).computed(lambda v: v * factor[:, None, None]),
            name + '.bias': tensor(norm.running_mean, name).computed(lambda _: offset)}


# ---- blocks ----

def norm(module, name):
    return {'norm': name, **({} if module.eps == 1e-5 else {'eps': module.eps})}


def feed_forward(module, name, made):
    parts = module.sequential
    made.update(halved(parts[4], name + '.sequential.4'))
    return {'residual': [norm(parts[0], name + '.sequential.0'), {'linear': name + '.sequential.1', 'activation': 'silu'}, {'linear': name + '.sequential.4'}]}


def convolution(module, name, made):
    from torch import nn
    parts, at = module.sequential, name + '.sequential.'
    depthwise, batch_norm = parts[2], parts[3]
    refuse_unless(not isinstance(batch_norm, nn.GroupNorm), at + '3', 'GroupNorm (use_group_norm=True) takes its mean and variance over all frames of an '
                  'utterance, so no output is known before the end: a stream cannot compute it. BatchNorm can be exported')
    refuse_unless(isinstance(batch_norm, nn.BatchNorm1d) and batch_norm.track_running_stats, at + '3',
                  '%s, where an nn.BatchNorm1d with running statistics is needed' % type(batch_norm).__name__)
    made.update({**as_linear(parts[0], at + '0'), **as_linear(parts[5], at + '5'), **with_norm(depthwise, batch_norm, at + '2')})
    zeros = {side: depthwise.padding[0] for side in ('left', 'right') if depthwise.padding[0]}
    return {'residual': [norm(module.layer_norm, name + '.layer_norm'), {'linear': at + '0'}, {'glu': 'sigmoid'},
                         {'conv': at + '2', 'groups': depthwise.groups, **zeros, 'activation': 'silu'}, {'linear': at + '5'}]}


def layer(module, name, made, attention):
    """Of a ConformerLayer. `attention`: the block of its nn.MultiheadAttention."""
    for part, kind in (('ffn1', '_FeedForwardModule'), ('ffn2', '_FeedForwardModule'), ('conv_module', '_ConvolutionModule')):
        refuse_unless(is_known(getattr(module, part), kind), name + part, '%s computes in another way than %s of torchaudio' % (
            type(getattr(module, part)).__name__, kind))
    steps = [{'residual': [norm(module.self_attn_layer_norm, name + 'self_attn_layer_norm'), attention]},
             convolution(module.conv_module, name + 'conv_module', made)]
    return [feed_forward(module.ffn1, name + 'ffn1', made), *(reversed(steps) if module.convolution_first else steps),
            feed_forward(module.ffn2, name + 'ffn2', made), norm(module.final_layer_norm, name + 'final_layer_norm')]
