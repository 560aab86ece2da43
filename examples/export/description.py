"""Exports by a description, which names the tensors of a state_dict and lists the blocks: for models whose module is not known.

    {"features": 80, "frame-rate": [100, 1],
     "tensors": {"layers.{i}.norm.weight": {"from": "blocks.{i}.norm.gamma", "plus": 1},
                 "layers.{i}.up.weight": {"from": ["blocks.{i}.ff.up.weight", "blocks.{i}.ff.gate.weight"]}},
     "blocks": [{"repeat": 6, "blocks": [{"residual": [{"norm": "layers.{i}.norm"}, {"linear": "layers.{i}.up"}, {"glu": "silu"},
                                                       {"linear": "blocks.{i}.ff.down"}]}]}]}

`blocks` is what the file will say (attn.h lists the kinds and their keys), and the names in it are those of the checkpoint. `repeat` writes its
blocks n times, with {i} = 0, 1, ... in their names. `tensors` makes those that the checkpoint has under another name or in another form:
`from` one tensor, or several whose rows come one behind the other; then `transpose`: true, `shape`: another one of as many values, `times`: a
number, or a tensor with a factor for each row, `plus`: a number. `metadata`: what the model was trained on. An `affine` whose name is that of an
nn.BatchNorm1d becomes its factor and offset; the block says `batch-norm-eps` where it is not 1e-5.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import math

from .checkpoints import read_json
from .encoders import batch_norms_of, unused, write
from .files import joined, np, refuse_unless, tensor
from .keys import check_blocks, is_number, is_whole
from .law import names_in, walk

NO_METADATA = ('encoder', 'path', 'state', 'blocks', 'features', 'frame_rate', 'frame-rate', 'front')
KEYS = ('features', 'frame-rate', 'tensors', 'blocks', 'metadata')


# ---- repeated blocks ----

def filled(thing, i):
    """The same with {i} in all names."""
    if isinstance(thing, str):
        return thing.replace('{i}', str(i))
    if isinstance(thing, list):
        return [filled(inner, i) for inner in thing]
    return {filled(key, i): filled(inner, i) for key, inner in thing.items()} if isinstance(thing, dict) else thing


def expanded(blocks, name='blocks'):
    """(the blocks with what is repeated written out, the largest number of times)."""
    refuse_unless(isinstance(blocks, list), name, 'a list of blocks is needed, but it is %s' % json.dumps(blocks))
    out, most = [], 0
    for i, block in enumerate(blocks):
        if not isinstance(block, dict) or 'repeat' not in block:
            out.append(block)
            continue
        n, inner = block['repeat'], '%s[%d]' % (name, i)
        refuse_unless(block.keys() == {'repeat', 'blocks'} and is_whole(n) and n <= 4096, inner,
                      'repeat takes a number, and blocks beside it, but it is %s' % json.dumps(block)[:100])
        once, deeper = expanded(block['blocks'], inner + '.blocks')
        refuse_unless(not deeper, inner, 'what is repeated cannot stand in what is repeated')
        out += [filled(each, j) for j in range(n) for each in once]
        most = max(most, n)
    return out, most


# ---- tensors in another form ----

def source(state, name, wanted):
    refuse_unless(name in state, wanted, 'it is to be made from %s, which the checkpoint does not have' % name)
    return tensor(state[name], name)


def check_form(form, wanted):
    """That each key has a value of its kind."""
    refuse_unless(isinstance(form, dict) and 'from' in form, wanted, 'from is missing, which says what it is made from')
    names = form['from'] if isinstance(form['from'], list) else [form['from']]
    kinds = {'from': (names != [] and all(isinstance(name, str) for name in names), 'the name of a tensor, or a list of names'),
             'transpose': (isinstance(form.get('transpose'), bool), 'true or false'),
             'shape': (isinstance(form.get('shape'), list) and all(is_whole(n) for n in form['shape']), 'a list of whole numbers'),
             'times': (isinstance(form.get('times'), str) or is_number(form.get('times')), 'a number, or the name of a tensor'),
             'plus': (is_number(form.get('plus')), 'a number')}
    for key in form:
        refuse_unless(key in kinds, wanted, "'%s' is not known here; these are: %s" % (key, ', '.join(kinds)))
        refuse_unless(kinds[key][0], wanted, '%s is %s, expected %s' % (key, json.dumps(form[key])[:80], kinds[key][1]))


def times(values, by, state, wanted):
    """Its rows times a number, or each times its factor in a tensor."""
    if isinstance(by, (int, float)):
        return values.computed(lambda v: v * by)
    factors = source(state, by, wanted)
    refuse_unless(len(factors.shape) == 1 and factors.shape[0] == values.shape[0], wanted,
                  '%d rows, but %s has the shape %s' % (values.shape[0], by, list(factors.shape)))
    shape = (-1,) + (1,) * (len(values.shape) - 1)
    return values.computed(lambda v: v * factors.numpy().astype(np.float64).reshape(shape))


def sources(form):
    """The names that one of `tensors` is made from."""
    form = {'from': form} if isinstance(form, str) else form
    origin = form['from']
    return [origin] if isinstance(origin, str) else origin


def taken_by(forms):
    """The names of the tensors that all these forms are made from."""
    factors = [form['times'] for form in forms.values() if isinstance(form, dict) and isinstance(form.get('times'), str)]
    return {name for form in forms.values() for name in sources(form)}.union(factors)


def made(state, wanted, form):
    """The Tensor that a form describes."""
    form = {'from': form} if isinstance(form, str) else form
    check_form(form, wanted)
    parts = [source(state, name, wanted) for name in sources(form)]
    values = parts[0] if len(parts) == 1 else joined(parts, wanted)
    if form.get('transpose'):
        values = values.T
    if 'shape' in form:
        shape = tuple(form['shape'])
        refuse_unless(math.prod(shape) == values.size, wanted, 'the shape %s has not the %d values of %s' % (
            list(shape), values.size, list(values.shape)))
        values = values.moved(shape, lambda v: v.reshape(shape))
    if 'times' in form:
        values = times(values, form['times'], state, wanted)
    plus = form.get('plus')
    return values if plus is None else values.computed(lambda v: v + plus)


# ---- the whole ----

def without_eps(block):
    """The block without what stands in it for a batch norm alone."""
    if not isinstance(block, dict):
        return block
    inner = {'residual': [without_eps(each) for each in block['residual']]} if isinstance(block.get('residual'), list) else {}
    return {key: value for key, value in {**block, **inner}.items() if key != 'batch-norm-eps' or 'affine' not in block}


def told(description, state):
    """({name: Tensor} of the checkpoint and of what is made from it, blocks)."""
    unknown = [key for key in description if key not in KEYS]
    refuse_unless(not unknown, 'the description', "'%s' is not known here; these are: %s" % (', '.join(unknown), ', '.join(KEYS)))
    blocks, n = expanded(description.get('blocks'))
    forms = {}
    for key in ('tensors', 'metadata'):
        refuse_unless(isinstance(description.get(key, {}), dict), key, 'it is %s, expected an object' % json.dumps(description.get(key))[:80])
    for name, form in description.get('tensors', {}).items():
        forms.update({filled(name, i): filled(form, i) for i in (range(n) if '{i}' in name else (0,))})
    made_of = {name: made(state, name, form) for name, form in forms.items()}
    taken = taken_by(forms)
    state = {**{name: values for name, values in state.items() if name not in taken}, **made_of}
    plain = [without_eps(block) for block in blocks]
    check_blocks(plain)
    for name in batch_norms_of(state, plain):
        eps = next(block.get('batch-norm-eps', 1e-5) for block in walk(blocks) if block.get('affine') == name)
        refuse_unless(is_number(eps), name, 'batch-norm-eps is %s, expected a number' % json.dumps(eps)[:80])
        state[name + '.eps'] = eps
    return state, plain


def check_names(state, blocks):
    """That every block which names tensors has some."""
    for name in names_in(blocks):
        refuse_unless(any(key.startswith(name + '.') for key in state), name,
                      'a block names it, but the checkpoint has no tensor %s.*, and none is described' % name)


def export_described(state, path, description, front=(), **metadata):
    """Writes what a description (or its file's name) tells of a state_dict; returns (the table, the names of what is left out)."""
    description = read_json(description) if isinstance(description, str) else description
    state, blocks = told(description, state)
    check_names(state, blocks)
    for key, value in description.get('metadata', {}).items():
        refuse_unless(key not in NO_METADATA, 'metadata', "'%s' does not belong there" % key)
        refuse_unless(isinstance(value, str) or is_number(value), 'metadata', '%s is %s, expected a number or a text' % (key, json.dumps(value)[:80]))
    known = {**description.get('metadata', {}), **{key.replace('_', '-'): value for key, value in metadata.items() if value is not None}}
    rate = known.pop('frame-rate', description.get('frame-rate'))
    return write(path, state, blocks, description.get('features'), rate, front, **known), unused(state, blocks)
