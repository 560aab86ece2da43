"""The keys that a block may have, and their values, as in attn.h. So a wrong block is refused when it is written, not when it is read.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import difflib
import json

from .files import refuse_unless

ACTIVATIONS = ('none', 'relu', 'gelu', 'gelu-tanh', 'silu', 'tanh', 'sigmoid')
PER_FRAME = ('softmax', 'log-softmax')  # these two are blocks of their own, never an option of another

# Metadata that logmel reads: the frames that the model was trained on.
FRONT_END = ('sample_rate', 'frame_rate', 'bins', 'style', 'frame_length', 'hop_length', 'fft_size', 'low_frequency', 'high_frequency',
             'window_function', 'mel_scale', 'log_maximum')


# ---- kinds of values: (what is expected, whether it is that) ----

def is_whole(value, least=0):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1 << 53


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1 << 53  # what JSON's readers agree on


def one_of(*names):
    return 'one of ' + ', '.join(names), lambda value: value in names


WHOLE = 'a whole number from 0 on', is_whole
POSITIVE = 'a whole number from 1 on', lambda value: is_whole(value, 1)
NUMBER = 'a number', is_number
PAIR = 'two whole numbers from 1 on', lambda value: isinstance(value, list) and len(value) == 2 and all(is_whole(each, 1) for each in value)
NAME = 'the name of tensors', lambda value: isinstance(value, str) and value != ''
NAME_OR_NOT = 'the name of tensors, or null', lambda value: value is None or NAME[1](value)
TRUE = 'true', lambda value: value is True
LIST = 'a list of blocks', lambda value: isinstance(value, list) and value != []
ACTIVATION = one_of(*ACTIVATIONS)

# kind: (its own value, {key: value})
KINDS = {
    'linear': (NAME, {'activation': ACTIVATION}),
    'norm': (NAME_OR_NOT, {'kind': one_of('layer', 'rms'), 'eps': NUMBER}),
    'glu': (one_of('none', 'relu', 'gelu', 'gelu-tanh', 'silu', 'sigmoid'), {}),
    'affine': (NAME, {}),
    'sinusoid': (TRUE, {'base': NUMBER, 'offset': WHOLE, 'layout': one_of('interleaved', 'half')}),
    'attention': (NAME, {
        'heads': POSITIVE, 'kv-heads': WHOLE, 'window': POSITIVE, 'look-ahead': WHOLE, 'chunk': POSITIVE, 'chunks': WHOLE, 'sinks': WHOLE, 'scale': NUMBER,
        'softcap': NUMBER, 'position': one_of('none', 'rope', 'alibi', 'relative', 'transformer-xl'), 'rope-base': NUMBER,
        'rope-layout': one_of('half', 'interleaved'), 'rope-dimensions': WHOLE, 'qk-norm': one_of('rms', 'layer'), 'qk-norm-eps': NUMBER}),
    'conv': (NAME, {'stride': POSITIVE, 'dilation': POSITIVE, 'groups': POSITIVE, 'left': WHOLE, 'right': WHOLE, 'activation': ACTIVATION}),
    'conv2d': (NAME, {'stride': PAIR, 'groups': POSITIVE, 'left': WHOLE, 'right': WHOLE, 'low': WHOLE, 'high': WHOLE, 'activation': ACTIVATION}),
    'stack': (POSITIVE, {}),
    'residual': (LIST, {}),
    'activation': (one_of(*ACTIVATIONS, *PER_FRAME), {}),
}


def kind_of(block):
    """Its one key that says what it is."""
    return next((kind for kind in KINDS if kind in block), 'activation')


def check_metadata(names, options=()):
    """That none is a misspelled option, which would change nothing. `options`: those of an attention that may stand in metadata."""
    known = [key.replace('-', '_') for key in KINDS['attention'][1]]
    for name in (each.replace('-', '_') for each in names):
        near = difflib.get_close_matches(name, FRONT_END + tuple(known), 1, 0.85)
        refuse_unless(not near or name in (*FRONT_END, *options), name, 'nothing reads it in the metadata; is it the option %s?' % ''.join(near))


def check_block(block, path):
    refuse_unless(isinstance(block, dict), path, 'a block is an object, but it is %s' % json.dumps(block)[:80])
    kinds = [kind for kind in KINDS if kind in block and (kind != 'activation' or not set(block) & (set(KINDS) - {'activation'}))]
    refuse_unless(len(kinds) == 1, path, 'a block has one of these keys, which says what it is, but it has %s: %s' % (
        ' and '.join(kinds) or ', '.join(map(str, block)) or 'none', ', '.join(KINDS)))
    own, keys = KINDS[kinds[0]]
    for key, value in block.items():
        refuse_unless(key == kinds[0] or key in keys, path, "the block %s has no key '%s'; it has: %s" % (kinds[0], key, ', '.join(keys) or 'none'))
        expected, is_it = own if key == kinds[0] else keys[key]
        refuse_unless(is_it(value), path, '%s is %s, expected %s' % (key, json.dumps(value)[:80], expected))
    if kinds[0] == 'attention':
        wanted = ('heads', 'chunk', 'chunks') if 'chunk' in block or 'chunks' in block else ('heads', 'window')
        missing = [key for key in wanted if key not in block]
        refuse_unless(not missing, path, 'attention takes %s, which it does not have' % ' and '.join(missing))
        refuse_unless('chunk' not in block or not {'window', 'look-ahead'} & set(block), path, 'chunks stand in the place of window and look-ahead')


def check_blocks(blocks, path='blocks'):
    """That each has the keys and values of its kind; an error names it as libattn does: blocks[4].residual[1]."""
    for i, block in enumerate(blocks):
        here = '%s[%d]' % (path, i)
        check_block(block, here)
        if 'residual' in block:
            check_blocks(block['residual'], here + '.residual')
