"""Lists of blocks, and the file that holds them and their tensors.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import fractions
import json
import re

from . import front_end
from .files import ExportError, np, refuse_unless, save, tensor
from .keys import PER_FRAME, check_blocks, check_metadata, is_whole, kind_of
from .law import OUTPUTS, first_width, names_in, table, walk
from .layers import TORCH, is_harmless

VERSION = 1


# ---- blocks ----

class Options:
    """The settings of the attentions that a module does not hold: one value for all, or a list with one for each. And what comes up on the way:
    `made`, tensors that take the place of the module's; `notes`, what to say under the table."""

    def __init__(self, **options):
        self.options, self.n, self.made, self.notes = options, 0, {}, {}

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


# ---- from the checkpoint of an nn.TransformerEncoder ----

LAYER = re.compile(r'(.*?)layers\.(\d+)\.self_attn\.in_proj_weight$')
ATTENTION = 'self_attn.in_proj_weight'
BESIDE = ('linear1.weight', 'linear2.weight', 'norm1.weight', 'norm2.weight')


def is_alone(state, name):
    """That `name` is the attention of an nn.TransformerEncoderLayer that stands in no nn.TransformerEncoder."""
    prefix = name[:-len(ATTENTION)]
    return name.endswith(ATTENTION) and not LAYER.match(name) and all(prefix + beside in state for beside in BESIDE)


def encoders(state):
    """{prefix: number of layers} of each nn.TransformerEncoder, and of each nn.TransformerEncoderLayer that stands alone."""
    found = collections.Counter(match.group(1) for match in map(LAYER.match, state) if match)
    found.update(name[:-len(ATTENTION)] for name in state if is_alone(state, name))
    decoders = {name[:-len('multihead_attn.in_proj_weight')] for name in state if name.endswith('multihead_attn.in_proj_weight')}
    return {prefix: n for prefix, n in found.items() if not decoders & {prefix, prefix + 'layers.0.'}}


def blocks_of_state(state, prefix, heads, activation, norm_first, eps, options):
    blocks, layers = [], ['%slayers.%d.' % (prefix, i) for i in range(encoders(state)[prefix])]
    for name in [prefix] if prefix + ATTENTION in state else layers:
        refuse_unless(name + ATTENTION in state, name, 'the checkpoint has no such layer, but later ones')
        attention = attention_block(name + 'self_attn', heads, **options.next_attention(name))
        blocks += encoder_layer(name, attention, eps, activation, norm_first)
    blocks += [norm_block(prefix + 'norm', eps)] if prefix + 'norm.weight' in state else []
    unknown = [name for name in unused(state, blocks) if name.startswith(prefix + 'layers.')]
    refuse_unless(not unknown, prefix + 'layers', 'an nn.TransformerEncoder has no %s, and without it the numbers are others' % ', '.join(unknown))
    return blocks


# ---- writing ----

def rate_of(frame_rate):
    """Frames per second of a number, of a text such as 125/2, or of two numbers; None: it is not known."""
    if frame_rate is None:
        return None
    try:
        rate = fractions.Fraction(*frame_rate) if isinstance(frame_rate, (list, tuple)) else fractions.Fraction(str(frame_rate))
    except (ValueError, TypeError, ZeroDivisionError):
        rate = fractions.Fraction(0)
    if not (0 < rate and max(rate.numerator, rate.denominator) < 1 << 31):
        raise ExportError('frame-rate is %s, expected a number above 0, such as 100, 62.5, 125/2 or [125, 2]' % json.dumps(frame_rate, default=str))
    return rate


def unused(state, blocks):
    """The names of what no block computes with."""
    wanted = tuple(name + '.' for name in names_in(blocks))
    return [name for name, values in state.items() if not name.startswith(wanted) and not is_harmless(name.rpartition('.')[2], values)]


def batch_norms_of(state, blocks):
    """The names of affine blocks that are an nn.BatchNorm1d in the checkpoint."""
    return {block['affine'] for block in walk(blocks) if kind_of(block) == 'affine' and block['affine'] + '.running_mean' in state}


def is_passed_over(name, values, batch_norms):
    """That it holds nothing to compute with: tables and masks, and what becomes another tensor."""
    owner, _, rest = name.rpartition('.')
    if owner in batch_norms:
        return rest in ('running_mean', 'running_var', 'num_batches_tracked', 'eps', 'weight', 'bias')
    return is_harmless(rest, values) or is_harmless('.'.join(name.split('.')[-2:]), values)


def folded(state, name):
    """An nn.BatchNorm1d as the factor and offset that it is: {name: Tensor}."""
    var, eps = tensor(state[name + '.running_var']), state[name + '.eps']
    ones, zeros = var.computed(np.ones_like), var.computed(np.zeros_like)
    mean, weight, bias = (tensor(state.get(name + key, default)) for key, default in (('.running_mean', zeros), ('.weight', ones), ('.bias', zeros)))

    def factor():
        return weight.numpy().astype(np.float64) / np.sqrt(var.numpy().astype(np.float64) + eps)
    return {name + '.weight': weight.computed(lambda _: factor()),
            name + '.bias': bias.computed(lambda b: b - mean.numpy().astype(np.float64) * factor())}


# What an attention computes with; and the key of its block without which it does not.
OF_ATTENTION = {name + part: None for name in ('q_proj', 'k_proj', 'v_proj', 'linears.0', 'linears.1', 'linears.2', *OUTPUTS) for part in ('.weight', '.bias')}
OF_ATTENTION.update(dict.fromkeys((*TORCH, 'relative_bias')), **dict.fromkeys(('linear_pos.weight', 'pos_bias_u', 'pos_bias_v'), 'position'),
                    **{name + part: 'qk-norm' for name in ('q_norm', 'k_norm') for part in ('.weight', '.bias')})


def check_tensors(tensors, blocks):
    """That the blocks compute with every tensor under their names: what is left out would be missing."""
    known = {}
    for block in walk(blocks):
        kind = kind_of(block)
        if isinstance(block.get(kind), str) and kind not in ('glu', 'activation'):
            rests = [rest for rest, key in OF_ATTENTION.items() if key is None or key in block] if kind == 'attention' else ['weight', 'bias']
            known.setdefault(block[kind], (kind, set()))[1].update(rests)
    inner = {name + '.' + rest for name, (_, rests) in known.items() for rest in rests}
    for name in tensors:
        owner = next((each for each in known if name.startswith(each + '.')), None)
        refuse_unless(name in inner, owner, 'it is a block %s, which does not compute with %s: without it the numbers are others' % (
            known[owner][0], name))


def write(path, state, blocks, features=None, frame_rate=None, front=(), **metadata):
    """Writes the blocks and the tensors that they name, out of {name: tensor}; returns the table. `front`: blocks in front of them, front_end.py.
    `metadata`: what the model was trained on."""
    if not blocks:
        raise ExportError('there are no blocks: the module does nothing to a frame')
    check_metadata(metadata)
    state, blocks = front_end.put_in_front(front, state, blocks)
    check_blocks(blocks)
    wanted = tuple(name + '.' for name in names_in(blocks))
    batch_norms = batch_norms_of(state, blocks)
    tensors = {name: tensor(values, name) for name, values in state.items() if name.startswith(wanted) and not is_passed_over(name, values, batch_norms)}
    for name in sorted(batch_norms):
        tensors.update(folded(state, name))
    check_tensors(tensors, blocks)
    features = features or first_width(blocks, tensors)
    if features is None:
        raise ExportError('no block tells how many values a frame has: say it (features=80)')
    refuse_unless(is_whole(features, 1), 'features', 'it is %r, expected a whole number from 1 on' % (features,))
    encoder = {'version': VERSION, 'features': int(features), 'blocks': blocks}
    rate = rate_of(frame_rate)
    if rate is not None:
        encoder['frame-rate'] = [rate.numerator, rate.denominator]
        metadata['frame_rate'] = rate  # logmel reads this one
    text = table(blocks, tensors, features, rate)
    known = {key.replace('_', '-'): value for key, value in metadata.items() if value is not None}
    save(path, tensors, {'encoder': json.dumps(encoder, separators=(',', ':')), **known})
    return text
