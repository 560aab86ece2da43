"""The effect of blocks on widths, rates and time, their cost, and the table that shows these.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import math

from .files import BYTES, np, refuse_unless
from .keys import kind_of


def walk(blocks):
    """Each block and those inside of residuals, in the order in which frames meet them."""
    for block in blocks:
        if kind_of(block) == 'residual':
            yield from walk(block['residual'])
        else:
            yield block


def names_in(blocks):
    """Of the tensors, without what stands behind the last dot."""
    for block in walk(blocks):
        name = block.get(kind_of(block))
        if isinstance(name, str) and kind_of(block) not in ('glu', 'activation'):
            yield name


def attentions_in(blocks):
    return (block for block in walk(blocks) if kind_of(block) == 'attention')


def named(tensors, name):
    """{rest of its name: tensor} of those of a block."""
    return {key[len(name) + 1:]: values for key, values in tensors.items() if key.startswith(name + '.')}


def shape_of(tensors, name, rank):
    shape = tuple(tensors[name + '.weight'].shape) if name + '.weight' in tensors else None
    refuse_unless(shape is not None, name, 'it has no tensor %s.weight' % name)
    refuse_unless(len(shape) == rank, name, '%s.weight has %d dimensions, not %d' % (name, len(shape), rank))
    return shape


def check_width(name, takes, width):
    refuse_unless(takes == width, name, 'it takes frames of %s values, but those that come to it have %d' % (takes, width))


def inputs_of(block, tensors):
    """Values per frame that its tensors are made for; None: they do not tell."""
    kind = kind_of(block)
    name = block.get(kind)
    if kind == 'linear':
        return shape_of(tensors, name, 2)[1]
    if kind == 'conv':
        return shape_of(tensors, name, 3)[1] * block.get('groups', 1)
    if kind in ('norm', 'affine') and name is not None:
        return shape_of(tensors, name, 1)[0]
    if kind == 'attention':
        parts = named(tensors, name)
        return next((parts[key].shape[-1] for key in ('in_proj_weight', 'q_proj.weight', 'q_proj_weight', 'linears.0.weight') if key in parts), None)
    return None


# ---- widths and reach ----

Reach = collections.namedtuple('Reach', 'stride back ahead')
MOST_PERIOD = 1 << 20  # frames


def behind(first, second):
    """The reach of two blocks in a row."""
    return Reach(first.stride * second.stride, first.back + first.stride * second.back, first.ahead + first.stride * second.ahead)


# What the output projection may be called, and that of the values.
OUTPUTS = ('out_proj', 'o_proj', 'output_proj', 'dense', 'linears.3')
VALUES = ('v_proj.weight', 'v_proj_weight', 'linears.2.weight')


def context_width(block, tensors, width):
    """Values of all heads of an attention together, in front of the output projection."""
    parts = named(tensors, block['attention'])
    if 'in_proj_weight' in parts:
        return parts['in_proj_weight'].shape[0] // 3
    rows = next((parts[key].shape[0] for key in VALUES if key in parts), None)
    return width if rows is None else rows * block['heads'] // (block.get('kv-heads') or block['heads'])


def attention_width(block, tensors, width):
    """Values per frame that come out."""
    parts = named(tensors, block['attention'])
    rows = next((parts[name + '.weight'].shape[0] for name in OUTPUTS if name + '.weight' in parts), None)
    return context_width(block, tensors, width) if rows is None else rows


def seen_by(block):
    """(frames back, frames ahead) of an attention, at most."""
    if 'chunk' in block:
        return (block['chunks'] + 1) * block['chunk'] - 1, block['chunk'] - 1
    return block['window'] - 1, block.get('look-ahead', 0)


def bins_of(block, tensors, width):
    """(bins that come in, bins that go out) of a convolution over time and frequency."""
    _, inputs, _, kernel = shape_of(tensors, block['conv2d'], 4)
    channels, stride = inputs * block.get('groups', 1), block.get('stride', [1, 1])[1]
    refuse_unless(width % channels == 0, block['conv2d'], 'frames of %d values are not whole bins of %d channels' % (width, channels))
    bins = width // channels
    return bins, (bins + block.get('low', 0) + block.get('high', 0) - kernel) // stride + 1


def measure(block, tensors, width):
    """(width behind it, its reach) of one block."""
    kind, one = kind_of(block), Reach(1, 0, 0)
    name, takes = block.get(kind), inputs_of(block, tensors)
    check_width(name, width if takes is None else takes, width)
    if kind == 'linear':
        return shape_of(tensors, name, 2)[0], one
    if kind == 'glu':
        refuse_unless(width % 2 == 0, 'glu', 'it takes frames of an even number of values, but they have %d' % width)
        return width // 2, one
    if kind == 'stack':
        return width * name, Reach(name, 0, name - 1)
    if kind == 'attention':
        return attention_width(block, tensors, width), Reach(1, *seen_by(block))
    if kind == 'conv':
        outputs, _, kernel = shape_of(tensors, name, 3)
        left = block.get('left', 0)
        return outputs, Reach(block.get('stride', 1), left, (kernel - 1) * block.get('dilation', 1) - left)
    if kind == 'conv2d':
        outputs, _, kernel, _ = shape_of(tensors, name, 4)
        left = block.get('left', 0)
        return outputs * bins_of(block, tensors, width)[1], Reach(block.get('stride', [1, 1])[0], left, kernel - 1 - left)
    if kind != 'residual':
        return width, one
    inner, reach = measure_all(name, tensors, width)
    refuse_unless(inner == width and reach.stride == 1, 'residual', 'what it adds has %d values and a stride of %d, but it is added to frames of %d' % (
        inner, reach.stride, width))
    return width, reach


def measure_all(blocks, tensors, width):
    """The same of blocks in a row."""
    reach = Reach(1, 0, 0)
    for block in blocks:
        width, further = measure(block, tensors, width)
        reach = behind(reach, further)
    return width, reach


def period_of(blocks, tensors, width):
    """Frames after which what outputs read of the frames around them repeats itself; 1 without chunks."""
    period, stride = 1, 1
    for block in blocks:
        chunks = [inner['chunk'] for inner in attentions_in([block]) if 'chunk' in inner]  # inside of a residual, strides are 1
        period = math.lcm(period, *(stride * chunk for chunk in chunks))
        width, reach = measure(block, tensors, width)
        stride *= reach.stride
    return period if period == 1 else math.lcm(period, stride)


def reads(blocks, tensors, width, oldest, newest):
    """(first, last) of the frames in front of the blocks that are read for the frames `oldest` to `newest` behind them; arrays of many such."""
    widths = [width]
    for block in blocks:
        widths.append(measure(block, tensors, widths[-1])[0])
    for block, width in zip(reversed(blocks), reversed(widths[:-1])):
        if kind_of(block) == 'residual':
            inner = reads(block['residual'], tensors, width, oldest, newest)
            oldest, newest = np.minimum(oldest, inner[0]), np.maximum(newest, inner[1])
        elif 'chunk' in block:
            oldest, newest = (oldest // block['chunk'] - block['chunks']) * block['chunk'], (newest // block['chunk'] + 1) * block['chunk'] - 1
        else:
            reach = measure(block, tensors, width)[1]
            oldest, newest = oldest * reach.stride - reach.back, newest * reach.stride + reach.ahead
    return oldest, newest


def reach_of(blocks, tensors, width):
    """The reach of blocks in a row. Chunks of one length do not add up, so what counts is the farthest over a period."""
    period, reach = period_of(blocks, tensors, width), measure_all(blocks, tensors, width)[1]
    if period == 1:
        return reach
    refuse_unless(period <= MOST_PERIOD, 'the chunks', 'their lengths and the strides repeat after %d frames, at most %d are possible' % (period, MOST_PERIOD))
    frames = np.arange(0, period, reach.stride)
    oldest, newest = reads(blocks, tensors, width, frames // reach.stride, frames // reach.stride)
    return Reach(reach.stride, int((frames - oldest).max()), int((newest - frames).max()))


def first_width(blocks, tensors):
    """Values per frame that come in, which the first block with a matrix tells; None: none does."""
    for i, block in enumerate(blocks):
        kind = kind_of(block)
        name = block.get(kind)
        if kind == 'residual':
            width = first_width(name, tensors)
        elif kind == 'stack':
            width = first_width(blocks[i + 1:], tensors)
            return width if width is None or width % name else width // name
        elif kind == 'glu':
            width = first_width(blocks[i + 1:], tensors)
            return None if width is None else 2 * width
        elif kind == 'conv2d':  # which does not tell how many bins there are
            return None
        else:
            width = inputs_of(block, tensors)
        if width is not None:
            return width
    return None


# ---- parameters and cost ----

def tensors_of(block, tensors):
    kind = kind_of(block)
    if kind == 'residual':
        return [values for inner in block[kind] for values in tensors_of(inner, tensors)]
    name = block.get(kind)
    return list(named(tensors, name).values()) if isinstance(name, str) and kind not in ('activation', 'glu') else []


def parameters_of(block, tensors):
    return sum(values.size for values in tensors_of(block, tensors))


def bytes_of(blocks, tensors):
    """Of the parameters, as the file stores them."""
    return sum(values.size * BYTES[values.dtype] for block in blocks for values in tensors_of(block, tensors))


def multiplications_of(block, tensors, width):
    """Of matrices, convolutions and attention, per output; what takes a few for each value (norms, activations) is not counted."""
    kind = kind_of(block)
    matrices = sum(values.size for values in tensors_of(block, tensors) if len(values.shape) >= 2)
    if kind == 'conv2d':
        return matrices * bins_of(block, tensors, width)[1]
    if kind != 'attention':
        return matrices if kind in ('linear', 'conv') else 0
    parts = named(tensors, block['attention'])
    queries = parts['in_proj_weight'].shape[0] // 3 if 'in_proj_weight' in parts else parts['q_proj.weight'].shape[0] if 'q_proj.weight' in parts else width
    back, ahead = seen_by(block)
    seen = back + 1 if 'chunk' in block else back + 1 + ahead
    return matrices + (queries + context_width(block, tensors, width)) * (seen + block.get('sinks', 0))


def cost_of(blocks, tensors, width):
    """Additions and multiplications per frame that comes in."""
    cost, stride = 0, 1
    for block in blocks:
        if kind_of(block) == 'residual':
            cost += cost_of(block['residual'], tensors, width) / stride
        behind_width, reach = measure(block, tensors, width)
        stride *= reach.stride
        cost += 2 * multiplications_of(block, tensors, width) / stride
        width = behind_width
    return cost


# ---- the table ----

def span(back, ahead):
    """The frames that an output at t reads."""
    if not back and not ahead:
        return ''
    return 't%s … t%s' % ('\N{MINUS SIGN}%d' % back if back else '', '+%d' % ahead if ahead else '')


def words_of(block, tensors, width, stride):
    """(the words of its row, the width behind it)."""
    kind = kind_of(block)
    behind_width, reach = measure(block, tensors, width)
    name = block.get(kind)
    if kind == 'residual':
        return [kind, '', str(width), '', '', ''], behind_width
    n, cost = parameters_of(block, tensors), cost_of([block], tensors, width) / stride
    return [kind, '' if name is None else str(name), '%d -> %d' % (width, behind_width) if width != behind_width else str(width),
            span(reach.back, reach.ahead), '{:,}'.format(n) if n else '', '%.3f' % (cost / 1e6) if cost else ''], behind_width


def rows_of(blocks, tensors, width, stride=1, depth=0):
    """The words of a row for every block; those inside of residuals are indented. `stride`: of what is in front of them."""
    for block in blocks:
        words, behind_width = words_of(block, tensors, width, stride)
        yield ['  ' * depth + words[0], *words[1:]]
        if kind_of(block) == 'residual':
            yield from rows_of(block['residual'], tensors, width, stride, depth + 1)
        stride *= measure(block, tensors, width)[1].stride
        width = behind_width


def duration(frames, frame_rate):
    return '%d frames' % frames + ('' if frame_rate is None else ' (%g ms at %s frames per second)' % (1000 * frames / frame_rate, frame_rate))


def table(blocks, tensors, features, frame_rate=None):
    """What was made, for a person."""
    rows = [['block', 'tensors', 'values', 'reads frames', 'parameters', 'MFLOP'], *rows_of(blocks, tensors, features)]
    width, reach = measure_all(blocks, tensors, features)[0], reach_of(blocks, tensors, features)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(word.ljust(w) for word, w in zip(row, widths)).rstrip() for row in rows]
    lines += ['', '%d values in, %d out; one output per %s' % (features, width, 'frame' if reach.stride == 1 else '%d frames' % reach.stride),
              'an output reads %d frames back and %d ahead; delay: %s' % (reach.back, reach.ahead, duration(reach.ahead, frame_rate)),
              'cost per frame: %.3f MFLOP, and {:,} parameters of {:,} bytes are read'.format(
                  sum(parameters_of(block, tensors) for block in blocks), bytes_of(blocks, tensors)) % (cost_of(blocks, tensors, features) / 1e6)]
    return '\n'.join(lines)
