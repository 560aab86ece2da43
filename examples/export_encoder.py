#!/usr/bin/python3
"""To safetensors: a whole encoder, as a list of blocks, from a PyTorch module or from the checkpoint of an nn.TransformerEncoder.

    import export_encoder                                                      in the program that trained it: everything is taken from the module
    export_encoder.export(model, 'encoder.safetensors', window=16, look_ahead=4, frame_rate=100)

    examples/export_encoder.py checkpoint.pt                                   lists the encoders that it has
    examples/export_encoder.py checkpoint.pt encoder.safetensors --heads 4 --window 16 --activation gelu --norm-first

A module is an nn.TransformerEncoder, an nn.TransformerEncoderLayer, an nn.MultiheadAttention, nn.Linear, nn.Conv1d, nn.LayerNorm, nn.BatchNorm1d,
an activation, nn.GLU, or an nn.Sequential of these. A module of one's own becomes blocks by a rule; blocks_of ('f') gives those of its submodule f:

    def blocks_of_mine(module, name, blocks_of):                               x + f(x)
        return [{'residual': blocks_of('f')}]
    export_encoder.export(model, 'encoder.safetensors', rules={Mine: blocks_of_mine}, ...)

What is not known is refused by its name, and so is a class that computes in another way than the one it is derived from. What is only active in
training (dropout) is left out.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import collections
import fractions
import json
import os
import re
import sys

import export_torch
import front_end
from export_torch import ExportError

np = export_torch.np

ACTIVATIONS = ('relu', 'gelu', 'gelu-tanh', 'silu', 'tanh', 'sigmoid', 'softmax', 'log-softmax')
PER_FRAME = ('softmax', 'log-softmax')  # these two are blocks of their own, never an option of another
VERSION = 1


# ---- blocks ----

def kind_of(block):
    """Its one key that says what it is."""
    kinds = ('linear', 'norm', 'glu', 'affine', 'sinusoid', 'attention', 'conv', 'stack', 'residual')
    return next((kind for kind in kinds if kind in block), 'activation')


def attention_block(name, heads, **options):
    """`options`: window, look_ahead and the other properties of the element `attention`; None: its default."""
    if options.get('window') is None:
        raise ExportError('%s: the module does not tell how many frames each frame attends to: say it (window=16, or one number per layer)' % name)
    options = {key.replace('_', '-'): value for key, value in options.items() if value is not None}
    return {'attention': name, 'heads': heads, **options}


def norm_block(name, eps, **options):
    return {'norm': name, **({} if eps == 1e-5 else {'eps': eps}), **options}


def encoder_layer(name, attention, eps, activation, norm_first):
    """The blocks of an nn.TransformerEncoderLayer, whose modules are called as PyTorch calls them."""
    feed_forward = [{'linear': name + 'linear1', 'activation': activation}, {'linear': name + 'linear2'}]
    norms = [norm_block(name + norm, eps) for norm in ('norm1', 'norm2')]
    if norm_first:
        return [{'residual': [norms[0], attention]}, {'residual': [norms[1], *feed_forward]}]
    return [{'residual': [attention]}, norms[0], {'residual': feed_forward}, norms[1]]


def activated(blocks, activation):
    """The blocks with an activation behind them: an option of the last one, where it can have one."""
    if blocks and kind_of(blocks[-1]) in ('linear', 'conv') and 'activation' not in blocks[-1] and activation not in PER_FRAME:
        return blocks[:-1] + [{**blocks[-1], 'activation': activation}]
    return blocks + [{'activation': activation}]


# ---- from a module ----

def activation_of(module, name):
    """The name of an activation that is a module or a function; None: it is none."""
    import torch
    from torch import nn
    functions = {torch.nn.functional.relu: 'relu', torch.relu: 'relu', torch.nn.functional.gelu: 'gelu', torch.nn.functional.silu: 'silu',
                 torch.tanh: 'tanh', torch.sigmoid: 'sigmoid'}
    if is_a(module, nn.GELU):
        return 'gelu' if module.approximate == 'none' else 'gelu-tanh'
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)) and module.dim not in (-1, 2):
        raise ExportError('%s: %s over dimension %s, where only the values of a frame (dim=-1) can be meant' % (name, type(module).__name__, module.dim))
    modules = {nn.ReLU: 'relu', nn.SiLU: 'silu', nn.Tanh: 'tanh', nn.Sigmoid: 'sigmoid', nn.Softmax: 'softmax', nn.LogSoftmax: 'log-softmax'}
    return modules.get(type(module)) or (functions.get(module) if not isinstance(module, nn.Module) else None)


def refuse_unless(condition, name, what):
    if not condition:
        raise ExportError('%s: %s' % (name, what))


def multihead_attention(module, name, options):
    refuse_unless(module._qkv_same_embed_dim, name, 'cross-attention (kdim=%d, vdim=%d), where only self-attention is supported' % (module.kdim, module.vdim))
    refuse_unless(module.bias_k is None, name, 'a key and value that are appended to the sequence (add_bias_kv) are not supported')
    refuse_unless(not module.add_zero_attn, name, 'a key of zeros that is appended to the sequence (add_zero_attn) is not supported')
    return attention_block(name, module.num_heads, **options.next_attention(name))


def transformer_layer(module, name, options):
    activation = activation_of(module.activation, name)
    refuse_unless(activation is not None, name, 'the activation %s is not known' % getattr(module.activation, '__name__', module.activation))
    attention = multihead_attention(module.self_attn, name + 'self_attn', options)
    refuse_unless(module.norm1.eps == module.norm2.eps, name, 'norm1 has eps %g, norm2 %g' % (module.norm1.eps, module.norm2.eps))
    return encoder_layer(name, attention, module.norm1.eps, activation, module.norm_first)


def conv(module, name):
    kernel, stride, dilation, padding = module.kernel_size[0], module.stride[0], module.dilation[0], module.padding
    reach = (kernel - 1) * dilation
    refuse_unless(module.padding_mode == 'zeros', name, "padding_mode is '%s', where only zeros are supported" % module.padding_mode)
    left, right = (reach // 2, reach - reach // 2) if padding == 'same' else (0, 0) if padding == 'valid' else (padding[0], padding[0])
    refuse_unless(left <= reach, name, '%d zeros in front, but the kernel reaches over %d frames only' % (left, reach))
    options = {'stride': stride, 'dilation': dilation, 'groups': module.groups, 'left': left, 'right': right}
    return {'conv': name, **{key: value for key, value in options.items() if value != {'left': 0, 'right': 0}.get(key, 1)}}


def is_a(module, *kinds):
    """That it computes as one of them does: a subclass may have a forward () of its own."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def blocks_of(module, name='', rules=None, options=None):
    """The blocks of `module`, whose parameters are called NAMEweight ... in the state_dict: NAME is empty, or ends with a dot. `rules`: {class:
    function (module, name, blocks_of)} for the classes that are not known; what it is given as blocks_of takes the name of a submodule."""
    from torch import nn
    options, plain = options or Options(), name.rstrip('.')
    rule = next((rule for kind, rule in (rules or {}).items() if isinstance(module, kind)), None)
    if rule is not None:
        return rule(module, name, lambda child: blocks_of(module.get_submodule(child), name + child + '.', rules, options))
    if is_a(module, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d):
        return []
    if is_a(module, nn.Sequential, nn.TransformerEncoder):
        return blocks_in_a_row(module, name, rules, options)
    if is_a(module, nn.TransformerEncoderLayer):
        return transformer_layer(module, name, options)
    if is_a(module, nn.MultiheadAttention):
        return [multihead_attention(module, plain, options)]
    if is_a(module, nn.Linear):
        return [{'linear': plain}]
    if is_a(module, nn.LayerNorm):
        refuse_unless(len(module.normalized_shape) == 1, plain, 'it normalises over %d dimensions, where only the values of a frame can be meant' % len(
            module.normalized_shape))
        return [norm_block(plain if module.elementwise_affine else None, module.eps)]
    if hasattr(nn, 'RMSNorm') and is_a(module, nn.RMSNorm):
        refuse_unless(module.eps is not None, plain, 'its eps is that of its dtype: say it (eps=1e-6)')
        return [norm_block(plain, module.eps, kind='rms')]
    if is_a(module, nn.Conv1d):
        return [conv(module, plain)]
    if is_a(module, nn.BatchNorm1d):
        refuse_unless(module.track_running_stats, plain, 'without running statistics its output depends on the batch')
        return [{'affine': plain}]
    if is_a(module, nn.GLU):
        refuse_unless(module.dim in (-1, 2), plain, 'nn.GLU over dimension %d, where only the values of a frame (dim=-1) can be meant' % module.dim)
        return [{'glu': 'sigmoid'}]
    activation = activation_of(module, plain)
    refuse_unless(activation is not None, plain or 'the module', '%s is not a module that is known. Give a rule for it: rules={%s: function}' % (
        type(module).__name__, type(module).__name__))
    return [{'activation': activation}]


def children(module):
    """(name, submodule) in the order of computation. A module that stands in it twice is there twice."""
    from torch import nn
    if isinstance(module, nn.Sequential):
        return [(str(name), child) for name, child in module._modules.items()]
    layers = [('layers.%d' % i, layer) for i, layer in enumerate(module.layers)]
    return layers + ([('norm', module.norm)] if module.norm is not None else [])


def blocks_in_a_row(module, name, rules, options):
    """Of an nn.Sequential or nn.TransformerEncoder."""
    blocks = []
    for child, submodule in children(module):
        activation = activation_of(submodule, name + child)
        blocks = activated(blocks, activation) if activation else blocks + blocks_of(submodule, name + child + '.', rules, options)
    return blocks


class Options:
    """What a module does not tell of its attentions: one value for all, or a list with one for each."""

    def __init__(self, **options):
        self.options, self.n = options, 0

    def next_attention(self, name):
        taken = {}
        for key, value in self.options.items():
            if isinstance(value, (list, tuple)):
                refuse_unless(self.n < len(value), name, '%s has %d values, and this is attention %d' % (key, len(value), self.n + 1))
                value = value[self.n]
            taken[key] = value
        self.n += 1
        return taken

    def check(self):
        for key, value in self.options.items():
            if isinstance(value, (list, tuple)) and len(value) != self.n:
                raise ExportError('%s has %d values, but the module has %d attentions' % (key, len(value), self.n))


# ---- from the checkpoint of an nn.TransformerEncoder ----

LAYER = re.compile(r'(.*?)layers\.(\d+)\.self_attn\.in_proj_weight$')


def encoders(state):
    """{prefix: number of layers} of each nn.TransformerEncoder."""
    found = collections.Counter(match.group(1) for match in map(LAYER.match, state) if match)
    return {prefix: n for prefix, n in found.items() if not prefix + 'layers.0.multihead_attn.in_proj_weight' in state}  # a decoder


def blocks_of_state(state, prefix, heads, activation, norm_first, eps, options):
    blocks = []
    for i in range(encoders(state)[prefix]):
        name = '%slayers.%d.' % (prefix, i)
        refuse_unless(name + 'self_attn.in_proj_weight' in state, name, 'the checkpoint has no such layer, but later ones')
        attention = attention_block(name + 'self_attn', heads, **options.next_attention(name))
        blocks += encoder_layer(name, attention, eps, activation, norm_first)
    return blocks + ([norm_block(prefix + 'norm', eps)] if prefix + 'norm.weight' in state else [])


# ---- the law: width, stride and reach ----

Reach = collections.namedtuple('Reach', 'stride back ahead')


def behind(first, second):
    """The reach of two blocks in a row."""
    return Reach(first.stride * second.stride, first.back + first.stride * second.back, first.ahead + first.stride * second.ahead)


def shape_of(tensors, name, rank):
    shape = tuple(tensors[name + '.weight'].shape) if name + '.weight' in tensors else None
    refuse_unless(shape is not None, name, 'it has no tensor %s.weight' % name)
    refuse_unless(len(shape) == rank, name, '%s.weight has %d dimensions, not %d' % (name, len(shape), rank))
    return shape


def attention_width(name, tensors, width):
    for output in ('out_proj', 'o_proj'):
        if '%s.%s.weight' % (name, output) in tensors:
            return tensors['%s.%s.weight' % (name, output)].shape[0]
    return width


def measure(block, tensors, width):
    """(width behind it, its reach) of one block."""
    kind, one = kind_of(block), Reach(1, 0, 0)
    name = block.get(kind)
    if kind == 'linear':
        return shape_of(tensors, name, 2)[0], one
    if kind == 'glu':
        return width // 2, one
    if kind == 'stack':
        return width * name, Reach(name, 0, name - 1)
    if kind == 'attention':
        ahead = block.get('look-ahead', 0)
        return attention_width(name, tensors, width), Reach(1, block['window'] - 1, ahead)
    if kind == 'conv':
        outputs, _, kernel = shape_of(tensors, name, 3)
        left = block.get('left', 0)
        return outputs, Reach(block.get('stride', 1), left, (kernel - 1) * block.get('dilation', 1) - left)
    if kind == 'residual':
        reach = one
        for inner in name:
            width, further = measure(inner, tensors, width)
            reach = behind(reach, further)
        return width, reach
    return width, one


def parameters_of(block, tensors):
    kind = kind_of(block)
    if kind == 'residual':
        return sum(parameters_of(inner, tensors) for inner in block[kind])
    name = block.get(kind)
    return sum(int(np.prod(values.shape)) for key, values in tensors.items() if isinstance(name, str) and key.startswith(name + '.'))


def rows_of_table(blocks, tensors, width, depth=0):
    """The words of a row for every block; those inside of residuals are indented."""
    for block in blocks:
        kind = kind_of(block)
        behind_width, reach = measure(block, tensors, width)
        if kind == 'residual':
            yield ['  ' * depth + kind, '', str(width), '', '']
            yield from rows_of_table(block[kind], tensors, width, depth + 1)
        else:
            name, n_parameters = block.get(kind), parameters_of(block, tensors)
            back, ahead = ('%+d' % frames if frames else '' for frames in (-reach.back, reach.ahead))
            yield ['  ' * depth + kind, '' if name is None else str(name), '%d -> %d' % (width, behind_width) if width != behind_width else str(width),
                   't%s ... t%s' % (back, ahead) if back or ahead else '', '{:,}'.format(n_parameters) if n_parameters else '']
        width = behind_width


def table(blocks, tensors, features, frame_rate=None):
    """What was made, for a person."""
    rows = [['block', 'tensors', 'values', 'reads frames', 'parameters'], *rows_of_table(blocks, tensors, features)]
    width, reach = features, Reach(1, 0, 0)
    for block in blocks:
        width, further = measure(block, tensors, width)
        reach = behind(reach, further)
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ['  '.join(word.ljust(w) for word, w in zip(row, widths)).rstrip() for row in rows]
    delay = '%d frames' % reach.ahead
    if frame_rate is not None:
        delay += ' (%g ms at %s frames per second)' % (1000 * reach.ahead / frame_rate, frame_rate)
    n_parameters = sum(parameters_of(block, tensors) for block in blocks)
    lines += ['', '%d values in, %d out; one output per %s' % (features, width, 'frame' if reach.stride == 1 else '%d frames' % reach.stride),
              'an output reads %d frames back and %d ahead; delay: %s' % (reach.back, reach.ahead, delay),
              '{:,} parameters'.format(n_parameters)]
    return '\n'.join(lines)


# ---- writing ----

def names_in(blocks):
    for block in blocks:
        name = block.get(kind_of(block))
        if isinstance(name, list):
            yield from names_in(name)
        elif isinstance(name, str) and kind_of(block) not in ('glu', 'activation'):
            yield name


def first_width(blocks, tensors):
    """Values per frame that come in, which the first block with a matrix tells; None: none does."""
    for block in blocks:
        kind = kind_of(block)
        name = block.get(kind)
        if kind == 'residual':
            width = first_width(name, tensors)
        elif kind == 'conv':
            width = shape_of(tensors, name, 3)[1] * block.get('groups', 1)
        elif kind == 'attention':
            width = next((tensors[key].shape[1] for key in (name + '.in_proj_weight', name + '.q_proj.weight') if key in tensors), None)
        elif kind == 'linear':
            width = shape_of(tensors, name, 2)[1]
        elif kind in ('norm', 'affine') and name is not None:
            width = shape_of(tensors, name, 1)[0]
        else:
            width = None
        if width is not None:
            return width
    return None


def folded(state, blocks):
    """BatchNorm1d as the factor and offset that it is: {name: array}."""
    made = {}
    for name in names_in(blocks):
        if name + '.running_mean' in state:
            mean, var = (np.asarray(export_torch.numpy_of(state[name + key]), np.float64) for key in ('.running_mean', '.running_var'))
            weight = np.asarray(export_torch.numpy_of(state.get(name + '.weight', np.ones(len(mean)))), np.float64) / np.sqrt(var + state[name + '.eps'])
            bias = np.asarray(export_torch.numpy_of(state.get(name + '.bias', np.zeros(len(mean)))), np.float64) - mean * weight
            made.update({name + '.weight': weight.astype(np.float32), name + '.bias': bias.astype(np.float32)})
    return made


def write(path, state, blocks, features=None, frame_rate=None, front=(), **metadata):
    """Writes the blocks and the tensors that they name, out of {name: tensor}; returns the table. `metadata`: what the model was trained on."""
    if not blocks:
        raise ExportError('there are no blocks: the module does nothing to a frame')
    state, blocks = front_end.put_in_front(front, state, blocks)
    batch_norms = folded(state, blocks)
    wanted = tuple(name + '.' for name in names_in(blocks))
    left = ('running_mean', 'running_var', 'num_batches_tracked', 'eps')
    tensors = {name: export_torch.numpy_of(values) for name, values in state.items()
               if name.startswith(wanted) and name.rpartition('.')[2] not in left}
    tensors.update(batch_norms)
    features = features or first_width(blocks, tensors)
    if features is None:
        raise ExportError('no block tells how many values a frame has: say it (features=80)')
    encoder = {'version': VERSION, 'features': int(features), 'blocks': blocks}
    rate = None
    if frame_rate is not None:
        rate = fractions.Fraction(str(frame_rate))
        encoder['frame-rate'] = [rate.numerator, rate.denominator]
        metadata['frame_rate'] = rate  # logmel reads this one
    text = table(blocks, tensors, features, rate)
    export_torch.save(path, tensors, {'encoder': json.dumps(encoder, separators=(',', ':')), **{key.replace('_', '-'): value for key, value in metadata.items() if value is not None}})
    return text


def export(module, path, window=None, look_ahead=None, rules=None, features=None, frame_rate=None, sinks=None, position=None, rope_base=None,
           rope_layout=None, rope_dimensions=None, softcap=None, scale=None, front=(), **metadata):
    """Writes `module` to `path` and returns a table of what it made. `window` and the other options of attentions: one value for all, or a list
    with one for each. `frame_rate`: frames per second, a number or '125/2'. `front`: blocks in front of the module, front_end.py. `metadata`: sample_rate, bins, style ..., as logmel has them."""
    options = Options(window=window, look_ahead=look_ahead, sinks=sinks, position=position, rope_base=rope_base, rope_layout=rope_layout,
                      rope_dimensions=rope_dimensions, softcap=softcap, scale=scale)
    blocks = blocks_of(module, '', rules, options)
    options.check()
    state = dict(module.state_dict())
    for name, submodule in module.named_modules(remove_duplicate=False):
        if hasattr(submodule, 'running_var'):
            state[name + '.eps'] = submodule.eps
    if any(name == '' for name in names_in(blocks)):  # a module that is one block has no name of its own
        blocks = json.loads(json.dumps(blocks).replace('": ""', '": "encoder"'))
        state = {'encoder.' + name.lstrip('.'): values for name, values in state.items()}
    return write(path, state, blocks, features, frame_rate, front, **metadata)


# ---- the command ----

def frames_list(text):
    """16, or 16,16,8: one number for each layer."""
    numbers = [int(part) for part in text.split(',')]
    return numbers[0] if len(numbers) == 1 else numbers


def arguments():
    parser = argparse.ArgumentParser(description='Takes an nn.TransformerEncoder out of a checkpoint, for gst-launch-1.0 ... ! attentionencoder model-file=MODEL ! ...',
                                     epilog='Other modules: import export_encoder in the program that has them. Checkpoints are read with weights_only.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='what torch.save (module.state_dict (), ...) wrote, or a safetensors file')
    parser.add_argument('model', metavar='MODEL', nargs='?', help='safetensors file to write; without it the encoders are listed')
    parser.add_argument('--prefix', help='of the encoder, such as encoder. (not needed where there is but one)')
    told = parser.add_argument_group('what a checkpoint does not tell')
    told.add_argument('--heads', type=int, help='of each attention; required')
    told.add_argument('--window', type=frames_list, metavar='FRAMES', help='that each frame attends to, itself included; or one for each layer: 16,16,8; required')
    told.add_argument('--look-ahead', type=frames_list, metavar='FRAMES', default=0, help='later frames that it also attends to (default: 0)')
    told.add_argument('--activation', choices=ACTIVATIONS[:6], default='relu', help='between linear1 and linear2 (default: relu, as in PyTorch)')
    told.add_argument('--norm-first', action='store_true', help='norms before attention and feed-forward (default: after them, as in PyTorch)')
    told.add_argument('--eps', type=float, default=1e-5, help='of the norms (default: 1e-5, as in PyTorch)')
    export_torch.add_front_end(parser)
    front_end.add_options(parser)
    return parser.parse_args()


def choose(state, prefix):
    there = encoders(state)
    listed = ', '.join("'%s' (%d layers)" % item for item in there.items())
    if not there:
        raise ExportError('no nn.TransformerEncoder among its %d parameters; one attention layer alone: export_torch.py; other modules: import export_encoder '
                          'in the program that has them' % len(state))
    if prefix is None and len(there) > 1:
        raise ExportError('it has %d encoders, choose one by its prefix: %s' % (len(there), listed))
    found = next(iter(there)) if prefix is None else next((p for p in there if p in (prefix, prefix + '.')), None)
    if found is None:
        raise ExportError("no encoder under the prefix '%s'; there is one under %s" % (prefix, listed))
    return found


def main():
    options = arguments()
    state = export_torch.read_checkpoint(options.checkpoint)
    if options.model is None:
        choose(state, next(iter(encoders(state)), None))  # says so where there is none
        for prefix, n in encoders(state).items():
            print("'%s' %d layers" % (prefix, n))
        return
    prefix = choose(state, options.prefix)
    if options.heads is None:
        raise ExportError('its parameters do not tell how many heads an attention has, and another number gives another output: say it (--heads 4)')
    attentions = Options(window=options.window, look_ahead=options.look_ahead)
    blocks = blocks_of_state(state, prefix, options.heads, options.activation, options.norm_first, options.eps, attentions)
    attentions.check()
    print(write(options.model, state, blocks, front=front_end.of_options(options), **{key: export_torch.plain(getattr(options, key)) for key in export_torch.FRONT_END}))
    others = [name for name in state if not name.startswith(prefix)]
    if others:
        print('left out, of other modules: %d tensors: %s' % (len(others), export_torch.textwrap.shorten(', '.join(others), 200, placeholder=' ...')))
    print('... ! attentionencoder model-file=%s ! ...' % options.model)


if __name__ == '__main__':
    try:
        main()
    except (ExportError, OSError) as failure:
        sys.exit('%s: %s' % (os.path.basename(sys.argv[0]), failure))
