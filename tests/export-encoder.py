#!/usr/bin/python3
"""Encoders that examples/export_encoder.py wrote, run by libattn (src/attn.py). TAP.

    export-encoder.py LIBRARY            without PyTorch: checkpoints against their formulas in float64, errors
    export-encoder.py LIBRARY --torch    real modules against PyTorch in float64; fails if PyTorch is missing

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import os
import re
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXPORTER = os.path.join(ROOT, 'examples', 'export_encoder.py')
sys.path[:0] = [os.path.dirname(EXPORTER), os.path.join(ROOT, 'src')]
os.environ['ATTN_LIBRARY'] = os.path.abspath(sys.argv[1])

import attn
import export_encoder
import tap
from export import check, files, law

TOLERANCE = 2e-6  # of the largest output, per layer of attention: the promise of attn.h for f32
FRAMES, D, HEADS, INNER = 60, 24, 4, 40
BLOCKS = {'norm_first': False, 'activation': 'relu', 'eps': 1e-5}


# ---- helpers ----

def arrays(n_layers, prefix='', final_norm=True, seed=1):
    """The contents of a state_dict of nn.TransformerEncoder, without PyTorch."""
    rng = np.random.default_rng(seed)
    shapes = {}
    for i in range(n_layers):
        name = '%slayers.%d.' % (prefix, i)
        shapes.update({name + 'self_attn.in_proj_weight': (3 * D, D), name + 'self_attn.in_proj_bias': (3 * D,),
                       name + 'self_attn.out_proj.weight': (D, D), name + 'self_attn.out_proj.bias': (D,),
                       name + 'linear1.weight': (INNER, D), name + 'linear1.bias': (INNER,), name + 'linear2.weight': (D, INNER),
                       name + 'linear2.bias': (D,), name + 'norm1.weight': (D,), name + 'norm1.bias': (D,), name + 'norm2.weight': (D,),
                       name + 'norm2.bias': (D,)})
    if final_norm:
        shapes.update({prefix + 'norm.weight': (D,), prefix + 'norm.bias': (D,)})
    return {name: (rng.standard_normal(shape) / shape[-1] ** 0.5 + ('norm' in name and 'weight' in name)).astype(np.float32)
            for name, shape in shapes.items()}


def frames(width=D, seed=2):
    return np.random.default_rng(seed).standard_normal((FRAMES, width)).astype(np.float32)


def close(got, wanted, n_layers=1):
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE * n_layers, 'off by %.2g of the largest output' % error


def refused(words, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except (export_encoder.ExportError, attn.Error) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, '%s: nothing of %s' % (error, missing)
        return
    raise AssertionError('not refused: ' + ', '.join(words))


def beyond(window, look_ahead):
    """[query, key]: True where a query must not see a key."""
    t = np.arange(FRAMES)
    return (t[None] <= t[:, None] - window) | (t[None] > t[:, None] + look_ahead)


def exporter(*words):
    return subprocess.run([EXPORTER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# ---- the formulas, in float64 ----

def layer_norm(x, p, name):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axis=1, keepdims=True) + 1e-5) * p[name + '.weight'] + p[name + '.bias']


def self_attention(x, p, name, window, look_ahead):
    q, k, v = (part.reshape(FRAMES, HEADS, -1) for part in np.split(x @ p[name + '.in_proj_weight'].T + p[name + '.in_proj_bias'], 3, axis=1))
    scores = np.einsum('ihd,jhd->hij', q, k) / (D // HEADS) ** 0.5
    scores[:, beyond(window, look_ahead)] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    context = np.einsum('hij,jhd->ihd', weights / weights.sum(axis=2, keepdims=True), v).reshape(FRAMES, D)
    return context @ p[name + '.out_proj.weight'].T + p[name + '.out_proj.bias']


def feed_forward(x, p, name, activation):
    inner = x @ p[name + 'linear1.weight'].T + p[name + 'linear1.bias']
    inner = np.maximum(inner, 0) if activation == 'relu' else inner * 0.5 * (1 + np.vectorize(math.erf)(inner / 2 ** 0.5))
    return inner @ p[name + 'linear2.weight'].T + p[name + 'linear2.bias']


def by_formula(x, state, n_layers, windows, look_aheads, norm_first, activation, prefix=''):
    """nn.TransformerEncoder by its documentation."""
    p = {name: values.astype(np.float64) for name, values in state.items()}
    x = x.astype(np.float64)
    for i in range(n_layers):
        name = '%slayers.%d.' % (prefix, i)
        if norm_first:
            x = x + self_attention(layer_norm(x, p, name + 'norm1'), p, name + 'self_attn', windows[i], look_aheads[i])
            x = x + feed_forward(layer_norm(x, p, name + 'norm2'), p, name, activation)
        else:
            x = layer_norm(x + self_attention(x, p, name + 'self_attn', windows[i], look_aheads[i]), p, name + 'norm1')
            x = layer_norm(x + feed_forward(x, p, name, activation), p, name + 'norm2')
    return layer_norm(x, p, prefix + 'norm') if prefix + 'norm.weight' in p else x


# ---- without PyTorch ----

def test_checkpoint_becomes_the_encoder_of_the_formula():
    for norm_first, activation, final_norm in ((False, 'relu', False), (True, 'gelu', True)):
        state = arrays(2, 'net.', final_norm)
        export_encoder.save('checkpoint.safetensors', {**state, 'head.weight': np.zeros((3, D), np.float32)})
        words = ['--heads', str(HEADS), '--window', '9,5', '--look-ahead', '2,3', '--activation', activation, '--hop-length', '10', '--style', 'kaldi']
        done = exporter('checkpoint.safetensors', 'encoder.safetensors', *words, *(['--norm-first'] if norm_first else []))
        assert done.returncode == 0, done.stdout
        encoder = attn.Encoder('encoder.safetensors')
        wanted = by_formula(frames(), state, 2, (9, 5), (2, 3), norm_first, activation, 'net.')
        close(encoder.forward(frames()), wanted, 2)
        assert (encoder.stride, encoder.reach_back, encoder.reach_ahead) == (1, 12, 5)
        assert encoder.metadata('hop-length') == '10' and encoder.metadata('style') == 'kaldi' and encoder.metadata('bins') is None
        assert [told['window'] for told in encoder.attentions] == [9, 5] and [told['heads'] for told in encoder.attentions] == [HEADS] * 2
        assert 'an output reads 12 frames back and 5 ahead' in done.stdout and 't−8 … t+2' in done.stdout and 'head.weight' in done.stdout
        assert '{:,} parameters'.format(sum(values.size for values in state.values())) in done.stdout, done.stdout


def test_streams_of_an_encoder_have_the_bits_of_the_whole():
    export_encoder.write('encoder.safetensors', arrays(2), blocks(window=9, look_ahead=2))
    encoder = attn.Encoder('encoder.safetensors')
    stream, outs = encoder.stream(), []
    for at in range(0, FRAMES, 7):
        outs.append(stream.push(frames()[at:at + 7]))
        state, stream = stream.save(), encoder.stream()
        stream.restore(state)
    assert stream.pending == 4
    assert np.array_equal(np.concatenate([*outs, stream.drain()]), encoder.forward(frames()))
    refused(['weights'], encoder.forward, frames(), weights=True)
    refused(['attention 2', '2, counted'], stream.set_gain, 0, 1, attention=2)


def blocks(window=9, look_ahead=0, heads=HEADS, state=None):
    options = export_encoder.Options(window=window, look_ahead=look_ahead)
    return export_encoder.blocks_of_state(state or arrays(2), '', heads, options=options, **BLOCKS)


def test_what_the_model_was_trained_on_is_in_the_file():
    export_encoder.write('encoder.safetensors', arrays(2), blocks(), frame_rate='125/2', sample_rate=16000, bins=24)
    encoder = attn.Encoder('encoder.safetensors')
    assert encoder.metadata('sample-rate') == '16000' and encoder.metadata('bins') == '24' and encoder.metadata('frame-rate') == '125/2' and encoder.metadata('style') is None


def test_options_that_nothing_reads_are_refused():
    for name, meant in (('lookahead', 'look_ahead'), ('sink', 'sinks'), ('samplerate', 'sample_rate'), ('window', 'window')):
        refused([name, 'the option %s?' % meant], export_encoder.write, 'x.safetensors', arrays(2), blocks(), **{name: 4})
    layer = {'in_proj_weight': np.ones((3 * D, D), np.float32)}
    refused(['lookahead', 'look_ahead'], export_encoder.export_layer_state, layer, 'x.safetensors', heads=HEADS, window=5, lookahead=4)
    assert not os.path.exists('x.safetensors')
    export_encoder.write('encoder.safetensors', arrays(2), blocks(), title='mine', window_shape='hann')
    assert attn.Encoder('encoder.safetensors').metadata('window-shape') == 'hann'


def test_encoders_of_a_checkpoint_are_listed_and_chosen():
    export_encoder.save('two.safetensors', {**arrays(2, 'a.'), **arrays(1, 'b.')})
    done = exporter('two.safetensors')
    assert done.returncode == 0 and done.stdout.startswith("'a.' 2 layers\n'b.' 1 layers\nattention layers, for --layer:\n  'a.layers.0.self_attn.'"), done.stdout
    for words, said in (([], "'a.' (2 layers), 'b.' (1 layers)"), (['--prefix', 'c.'], "'c.'"), (['--prefix', 'b'], '--heads 4'),
                        (['--prefix', 'b.', '--heads', '4'], 'window=16'), (['--prefix', 'a', '--heads', '4', '--window', '3,4,5'], '3 values')):
        done = exporter('two.safetensors', 'out.safetensors', *words)
        assert done.returncode == 1 and said in done.stdout and 'Traceback' not in done.stdout, (words, done.stdout)
    assert not os.path.exists('out.safetensors')


def test_layer_that_stands_alone_is_an_encoder_of_one():
    alone = {name.replace('layers.0.', 'top.'): values for name, values in arrays(1, final_norm=False).items()}
    export_encoder.save('alone.safetensors', {**alone, 'head.weight': np.zeros((3, D), np.float32)})
    assert exporter('alone.safetensors').stdout.startswith("'top.' 1 layers\n")
    done = exporter('alone.safetensors', 'encoder.safetensors', '--heads', str(HEADS), '--window', '9', '--look-ahead', '2', '--norm-first')
    assert done.returncode == 0 and 'left out, of other modules: 1 tensors: head.weight' in done.stdout, done.stdout
    close(attn.Encoder('encoder.safetensors').forward(frames()), by_formula(frames(), arrays(1, final_norm=False), 1, (9,), (2,), True, 'relu'))
    decoder = {**alone, 'top.multihead_attn.in_proj_weight': np.zeros((3 * D, D), np.float32)}
    assert export_encoder.encoders(decoder) == {}, export_encoder.encoders(decoder)


def test_tensors_of_layers_that_pytorch_does_not_have_are_refused():
    for name in ('layers.1.layer_scale.gamma', 'layers.0.self_attn.bias_k', 'layers.0.norm1.running_mean'):
        export_encoder.save('more.safetensors', {**arrays(2), name: np.ones(D, np.float32)})
        done = exporter('more.safetensors', 'out.safetensors', '--heads', '4', '--window', '5')
        assert done.returncode == 1 and name.rpartition('.')[2] in done.stdout and 'Traceback' not in done.stdout, done.stdout
    assert not os.path.exists('out.safetensors')


def test_what_is_no_encoder_is_refused():
    export_encoder.save('none.safetensors', {'weight': np.zeros((3, 3), np.float32)})
    assert 'no nn.TransformerEncoder' in exporter('none.safetensors', 'x.safetensors').stdout and not os.path.exists('x.safetensors')
    assert 'no nn.MultiheadAttention' in exporter('none.safetensors').stdout
    assert exporter('none.safetensors', '--tensors').stdout == 'weight F32 [3, 3]\n'
    missing = {name: values for name, values in arrays(3).items() if not name.startswith('layers.1.')}
    refused(['layers.'], blocks, state=missing)
    export_encoder.write('heads.safetensors', arrays(2), blocks(heads=5))
    refused(['heads', '5', '24'], attn.Encoder, 'heads.safetensors')
    refused(['export_encoder.py'], attn.Encoder, 'none.safetensors')
    both = [{'attention': 'layers.0.self_attn', 'heads': HEADS, 'chunk': 4, 'chunks': 1, 'look-ahead': 0}]
    refused(['blocks[0]', 'chunks stand in the place of window and look-ahead'], export_encoder.write, 'x.safetensors', arrays(1), both)
    refused(['blocks[0]', 'attention takes chunks'], export_encoder.write, 'x.safetensors', arrays(1),
            [{'attention': 'layers.0.self_attn', 'heads': HEADS, 'chunk': 4}])


def test_table_tells_what_blocks_read_and_cost():
    """Counted by hand: two operations for each multiplication, per frame that comes in."""
    rng = np.random.default_rng(3)
    state = {'conv.weight': rng.standard_normal((D, 10, 3)), 'up.weight': rng.standard_normal((INNER, D)), 'down.weight': rng.standard_normal((D, INNER)),
             'norm.weight': np.ones(D), **{'a.' + name: values for name, values in arrays(1).items() if 'self_attn' in name}}
    state = {name.replace('layers.0.self_attn.', ''): values.astype(np.float32) for name, values in state.items()}
    blocks = [{'conv': 'conv', 'stride': 2, 'left': 2}, {'residual': [{'norm': 'norm'}, {'attention': 'a', 'heads': HEADS, 'window': 9, 'look-ahead': 4}]},
              {'residual': [{'linear': 'up'}, {'linear': 'down'}]}]
    text = export_encoder.write('encoder.safetensors', state, blocks, frame_rate=100)
    conv, attention, feed_forward = 2 * D * 10 * 3 / 2, 2 * (4 * D * D + 2 * D * 13) / 2, 2 * 2 * INNER * D / 2
    n = sum(values.size for values in state.values())
    assert law.cost_of(blocks, {name: files.tensor(values) for name, values in state.items()}, 10) == conv + attention + feed_forward
    rows = [line.split() for line in text.split('\n')]
    for row in (['conv', 'conv', '10', '->', '24', 't−2', '…', 't', '720', '%.3f' % (conv / 1e6)],
                ['attention', 'a', '24', 't−8', '…', 't+4', '2,400', '%.3f' % (attention / 1e6)], ['norm', 'norm', '24', '24']):
        assert row in rows, (row, text)
    for said in ('an output reads 18 frames back and 8 ahead; delay: 8 frames (80 ms at 100 frames per second)', 'one output per 2 frames',
                 'cost per frame: %.3f MFLOP, and %s parameters of %s bytes' % ((conv + attention + feed_forward) / 1e6, format(n, ','), format(4 * n, ','))):
        assert said in text, (said, text)
    encoder = attn.Encoder('encoder.safetensors')
    assert (encoder.stride, encoder.reach_back, encoder.reach_ahead) == (2, 18, 8)


def test_table_knows_chunks_and_convolutions_over_frequency():
    """By hand; test_check_has_the_formula_of_convolutions_over_frequency () asks the library."""
    tensors = {'c.weight': files.tensor(np.zeros((6, 1, 3, 3), np.float32)), 'a.in_proj_weight': files.tensor(np.zeros((72, 24), np.float32))}
    conv = {'conv2d': 'c', 'stride': [2, 2], 'left': 2, 'low': 1, 'high': 1}
    assert law.measure(conv, tensors, 8) == (24, (2, 2, 0))  # 4 bins of 6 channels
    assert law.measure({'attention': 'a', 'heads': 4, 'chunk': 5, 'chunks': 2}, tensors, 24) == (24, (1, 14, 4))
    assert law.cost_of([conv, {'attention': 'a', 'heads': 4, 'chunk': 5, 'chunks': 2}], tensors, 8) == (2 * 54 * 4 + 2 * (72 * 24 + 2 * 24 * 15)) / 2


def test_widths_behind_an_attention_are_those_of_the_library():
    """Whatever its output projection is called, and without one: values of all heads then leave."""
    rng = np.random.default_rng(9)
    q, kv, out = rng.standard_normal((20, D)), rng.standard_normal((12, D)), rng.standard_normal((7, 24))  # 4 heads of 5 and of 6 values, 2 of keys
    for output in ('out_proj', 'o_proj', 'output_proj', 'dense', None):
        p = {'a.q_proj.weight': q, 'a.k_proj.weight': kv[:10], 'a.v_proj.weight': kv, **({} if output is None else {'a.%s.weight' % output: out})}
        blocks = [{'attention': 'a', 'heads': 4, 'kv-heads': 2, 'window': 5}]
        text = export_encoder.write('encoder.safetensors', p, blocks)
        width = 24 if output is None else 7
        assert attn.Encoder('encoder.safetensors').n_outputs == width and '%d values in, %d out' % (D, width) in text, text
        assert law.cost_of(blocks, p, D) == 2 * (sum(values.size for values in p.values()) + (20 + 24) * 5)
        assert 'checked' in export_encoder.check('encoder.safetensors')


def test_table_is_printed_in_any_locale():
    export_encoder.save('checkpoint.safetensors', arrays(1))
    done = subprocess.run([EXPORTER, 'checkpoint.safetensors', 'e.safetensors', '--heads', '4', '--window', '9'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, 'PYTHONIOENCODING': 'ascii'})
    assert done.returncode == 0 and 't?8 ? t' in done.stdout, done.stdout


def test_check_compares_the_file_with_its_formulas():
    export_encoder.save('checkpoint.safetensors', arrays(2))
    words = ['checkpoint.safetensors', 'encoder.safetensors', '--heads', str(HEADS), '--window', '9', '--look-ahead', '2', '--check']
    done = exporter(*words)
    assert done.returncode == 0 and 'checked: libattn (attn.py) against the formulas of its blocks (NumPy, float64)' in done.stdout, done.stdout
    assert 'bound 4e-06' in done.stdout, done.stdout
    done = exporter(*words[:6], '--window', '9', '--layer', '--prefix', 'layers.1', '--check')
    assert done.returncode == 0 and 'against the formula (NumPy, float64)' in done.stdout and 'bound 2e-06' in done.stdout, done.stdout


def test_check_sends_enough_frames_for_an_output():
    state = {'conv.weight': np.random.default_rng(3).standard_normal((4, 3, 40)).astype(np.float32)}
    export_encoder.write('encoder.safetensors', state, [{'conv': 'conv', 'stride': 2, 'dilation': 5}])
    said = export_encoder.check('encoder.safetensors')
    assert int(re.search(r'(\d+) outputs', said).group(1)) >= 60, said


def test_check_says_when_outputs_are_too_far():
    x = frames(3)
    assert 'largest error 1e-06' in check.compare('m', x + 1e-6 * np.abs(x).max(), x, 1, 'this', 'that')
    refused(['this', 'that', 'bound 2e-06', 'too far'], check.compare, 'm', x + 3e-6 * np.abs(x).max(), x, 1, 'this', 'that')
    refused(['too far'], check.compare, 'm', np.where(x == x.max(), np.nan, x), x, 1, 'this', 'that')
    refused(['[3, 3]', '[2, 3]'], check.compare, 'm', frames(3)[:3], frames(3)[:2], 1, 'this', 'that')


def test_formulas_of_the_check_are_those_of_every_block():
    """Each kind and each key against libattn, which other tests compare with PyTorch."""
    rng = np.random.default_rng(6)
    shapes = {'in': (D, 10), 'c1': (D, D // 2, 3), 'c2': (D, D, 2), 'glu': (2 * D, D), 'out': (7, 2 * D), 'n': (D,), 'r': (D,), 'aff': (D,)}
    state = {name + '.weight': rng.standard_normal(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    state.update({name + '.bias': rng.standard_normal(state[name + '.weight'].shape[0]) for name in ('in', 'c1', 'c2', 'out', 'n', 'aff')})
    q, kv = rng.standard_normal((D, D)) / D ** 0.5, rng.standard_normal((2, 12, D)) / D ** 0.5
    for name in ('a1', 'a2'):
        state.update({name + '.q_proj.weight': q, name + '.k_proj.weight': kv[0], name + '.v_proj.weight': kv[1], name + '.o_proj.weight': q.T})
    attention = {'heads': 4, 'kv-heads': 2, 'window': 5, 'look-ahead': 2, 'sinks': 2, 'position': 'rope'}
    blocks = [{'linear': 'in', 'activation': 'tanh'}, {'sinusoid': True, 'offset': 3, 'base': 500}, {'sinusoid': True, 'layout': 'half'},
              {'residual': [{'conv': 'c1', 'groups': 2, 'left': 1, 'right': 3, 'dilation': 2, 'activation': 'gelu-tanh'}]},
              {'residual': [{'norm': 'n'}, {'attention': 'a1', **attention, 'rope-layout': 'interleaved', 'rope-dimensions': 4, 'softcap': 3}]},
              {'residual': [{'norm': 'r', 'kind': 'rms', 'eps': 0.1}, {'attention': 'a2', **attention, 'rope-base': 50, 'scale': 0.3}]},
              {'residual': [{'linear': 'glu'}, {'glu': 'silu'}]}, {'norm': None, 'eps': 0.01}, {'affine': 'aff'}, {'activation': 'sigmoid'},
              {'conv': 'c2', 'stride': 3, 'left': 1, 'activation': 'relu'}, {'stack': 2}, {'linear': 'out', 'activation': 'gelu'}, {'activation': 'log-softmax'}]
    export_encoder.write('encoder.safetensors', {name: values.astype(np.float32) for name, values in state.items()}, blocks)
    assert 'checked' in export_encoder.check('encoder.safetensors')


def test_check_has_the_formula_of_convolutions_over_frequency():
    rng = np.random.default_rng(7)
    shapes = {'c1': (6, 1, 3, 4), 'c2': (12, 1, 2, 3), 'c3': (4, 6, 3, 2)}
    state = {name + '.weight': rng.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    state.update({'c1.bias': rng.standard_normal(6).astype(np.float32), 'c3.bias': rng.standard_normal(4).astype(np.float32)})
    blocks = [{'conv2d': 'c1', 'stride': [2, 2], 'left': 2, 'right': 1, 'low': 3, 'high': 1, 'activation': 'relu'},
              {'conv2d': 'c2', 'groups': 6, 'left': 1, 'low': 1}, {'conv2d': 'c3', 'groups': 2, 'stride': [1, 3], 'high': 2, 'activation': 'tanh'}]
    export_encoder.write('encoder.safetensors', state, blocks, features=11)
    assert 'checked' in export_encoder.check('encoder.safetensors')


def test_positions_without_a_shift_are_refused_with_the_reason():
    state = {'encoder.encoders.%d.self_attn.%s' % (i, rest): np.zeros((2, 2), np.float32) for i in (0, 1) for rest in ('pos_bias_u', 'linear_pos.weight')}
    refused(['encoders.0.self_attn.pos_bias_u', 'no shift', 'how long the stream has run'], export_encoder.choose, state, None)


# ---- with PyTorch ----

def torch_encoder(norm_first=True, activation='gelu', n_layers=2):
    from torch import nn
    layer = nn.TransformerEncoderLayer(D, HEADS, INNER, dropout=0.1, activation=activation, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, n_layers, norm=nn.LayerNorm(D))


def of_torch(module, x, masks=()):
    """[frames, width] through a module in float64, attentions with their masks, convolutions over time."""
    import torch
    from torch import nn
    masks = list(masks)
    x = torch.tensor(x, dtype=torch.float64)[None]
    for part in module.double().eval():
        if isinstance(part, nn.TransformerEncoder):
            for layer in part.layers:
                x = layer(x, torch.tensor(masks.pop(0)))
            x = part.norm(x) if part.norm is not None else x
        elif isinstance(part, (nn.Conv1d, nn.BatchNorm1d)):
            x = part(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = part(x)
    return x[0].detach().numpy()


def torch_test_modules_have_their_outputs():
    import torch
    from torch import nn
    torch.manual_seed(3)
    for n, (norm_first, activation) in enumerate(((True, 'gelu'), (False, 'relu'), (True, nn.SiLU()))):
        module = nn.Sequential(nn.Linear(10, D), nn.Tanh(), nn.BatchNorm1d(D), torch_encoder(norm_first, activation), nn.Dropout(),
                               nn.Linear(D, 12), nn.GLU(), nn.LayerNorm(6, eps=1e-3), nn.LogSoftmax(-1))
        module[2].running_mean.normal_()
        module[2].running_var.uniform_(0.5, 2)
        table = export_encoder.export(module, 'encoder.safetensors', window=[9, 5], look_ahead=[2, 0], frame_rate=50)
        assert '2 ahead; delay: 2 frames (40 ms at 50 frames per second)' in table, table
        wanted = of_torch(module, frames(10), (beyond(9, 2), beyond(5, 0)))
        close(attn.Encoder('encoder.safetensors').forward(frames(10)), wanted, 2)


def torch_test_check_compares_the_file_with_the_module():
    import torch
    from torch import nn
    torch.manual_seed(7)
    later = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, HEADS, INNER), 1)  # batch_first=False, as it is by default
    module = nn.Sequential(nn.Conv1d(10, D, 3, stride=2, padding=1), torch_encoder(), nn.BatchNorm1d(D), later, nn.Linear(D, 3))
    for freeze in (False, True):
        for parameter in module.parameters():
            parameter.requires_grad_(not freeze)
        table = export_encoder.export(module, 'encoder.safetensors', window=[9, 5, 4], look_ahead=[2, 0, 1], check=True)
        assert 'checked: libattn (attn.py) against the module (PyTorch, float64)' in table, table
    assert 'checked' in export_encoder.export(nn.MultiheadAttention(D, HEADS), 'a.safetensors', window=7, check=True)
    with torch.no_grad():
        module[1].layers[1].linear1.bias[3] += 0.01
    refused(['too far'], export_encoder.check, 'encoder.safetensors', module)
    refused(['position', 'does not compute'], export_encoder.export, torch_encoder(), 'x.safetensors', window=7, position='rope', check=True)


def torch_test_check_sends_frames_through_what_stands_in_front():
    import torch
    from torch import nn
    from export import front_end

    class WithMask(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = torch_encoder()

        def forward(self, x, mask):
            return self.f(x, mask)

    torch.manual_seed(8)
    front = [front_end.standardized(np.arange(D) / 9, np.arange(1.0, D + 1))]
    rules = {WithMask: lambda module, name, blocks_of: blocks_of('f')}
    table = export_encoder.export(WithMask(), 'encoder.safetensors', window=5, rules=rules, front=front, check=lambda module, frames: module(frames, None))
    assert 'checked' in table and 'standardized' in table, table
    refused(['check=lambda', 'mask'], export_encoder.export, WithMask(), 'encoder.safetensors', window=5, rules=rules, check=True)


def torch_test_check_calls_modules_of_ones_own():
    from torch import nn

    class Plus(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.spare = torch_encoder(), nn.MultiheadAttention(D, HEADS, batch_first=True)

        def forward(self, x):
            return x + self.f(x)

    assert 'checked' in export_encoder.export(Plus(), 'encoder.safetensors', window=[9, 5], check=True,
                                              rules={Plus: lambda module, name, blocks_of: [{'residual': blocks_of('f')}]})
    refused(['too far'], export_encoder.export, Plus(), 'encoder.safetensors', window=[9, 5], check=True,
            rules={Plus: lambda module, name, blocks_of: blocks_of('f')})
    refused(['1 of its attentions', 'not called'], export_encoder.export, Plus(), 'encoder.safetensors', window=[9, 5, 5], check=True,
            rules={Plus: lambda module, name, blocks_of: [{'residual': blocks_of('f') + blocks_of('spare')}]})


def torch_test_convolutions_have_their_outputs():
    import torch
    from torch import nn
    torch.manual_seed(4)
    for options in ({'stride': 2, 'padding': 1}, {'padding': 'same'}, {'dilation': 2, 'padding': 2, 'groups': 2}, {'padding': 'valid', 'stride': 3}):
        module = nn.Sequential(nn.Conv1d(10, 8, 3, **options), nn.GELU(), nn.Conv1d(8, 8, 5, padding=2, groups=8), nn.Linear(8, 3))
        export_encoder.export(module, 'encoder.safetensors')
        close(attn.Encoder('encoder.safetensors').forward(frames(10)), of_torch(module, frames(10)))


def torch_test_what_is_not_known_is_refused_by_its_name():
    from torch import nn
    refused(['LSTM'], export_encoder.export, nn.LSTM(3, 4), 'x')
    refused(['1', 'ELU', 'rule'], export_encoder.export, nn.Sequential(nn.Linear(3, 3), nn.ELU()), 'x')
    refused(['window=16'], export_encoder.export, torch_encoder(), 'x')
    refused(['3 values', '2 attentions'], export_encoder.export, torch_encoder(), 'x', window=[3, 4, 5])
    refused(["'reflect'"], export_encoder.export, nn.Conv1d(3, 3, 3, padding=1, padding_mode='reflect'), 'x')
    refused(['dim=-1'], export_encoder.export, nn.Sequential(nn.Linear(3, 4), nn.Softmax(1)), 'x')
    refused(['add_bias_kv'], export_encoder.export, nn.MultiheadAttention(4, 2, add_bias_kv=True), 'x', window=3)
    assert not os.path.exists('x')


def torch_test_module_of_ones_own_goes_by_its_rule():
    import torch
    from torch import nn

    class Plus(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f = f

        def forward(self, x):
            return x + self.f(x)

    def rule(module, name, blocks_of):
        return [{'residual': blocks_of('f')}]

    torch.manual_seed(5)
    module = nn.Sequential(Plus(nn.Sequential(nn.LayerNorm(D), nn.Linear(D, D))), nn.Linear(D, 4))
    export_encoder.export(module, 'encoder.safetensors', rules={Plus: rule})
    close(attn.Encoder('encoder.safetensors').forward(frames()), of_torch(module, frames()))
    export_encoder.export(Plus(torch_encoder()), 'encoder.safetensors', window=[9, 5], look_ahead=1, rules={Plus: rule})
    assert [told['window'] for told in attn.Encoder('encoder.safetensors').attentions] == [9, 5]


def torch_test_module_that_stands_in_a_sequence_twice_is_there_twice():
    import torch
    from torch import nn
    torch.manual_seed(6)
    tanh, norm, linear = nn.Tanh(), nn.BatchNorm1d(D), nn.Linear(D, D)
    norm.running_var.uniform_(0.5, 2)
    module = nn.Sequential(linear, tanh, norm, nn.Linear(D, D), tanh, norm, linear)
    export_encoder.export(module, 'encoder.safetensors')
    close(attn.Encoder('encoder.safetensors').forward(frames()), of_torch(module, frames()))


def torch_test_subclass_that_computes_in_another_way_is_refused():
    from torch import nn

    class Half(nn.Linear):
        def forward(self, x):
            return super().forward(x) / 2

    class Backwards(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    refused(['0', 'Half'], export_encoder.export, nn.Sequential(Half(D, D)), 'x')
    refused(['Backwards'], export_encoder.export, Backwards(nn.Linear(D, D), nn.Tanh()), 'x')
    assert not os.path.exists('x')


def conformer(masks=None, **options):
    """torchaudio's, with random norms. masks: of its attentions, True where a frame is hidden."""
    import torch
    from torchaudio.models import Conformer
    torch.manual_seed(9)
    module = Conformer(D, HEADS, INNER, 2, depthwise_conv_kernel_size=7, dropout=0.1, **options).double().eval()
    with torch.no_grad():
        for name, values in [*module.named_parameters(), *module.named_buffers()]:
            if values.dim() == 1:
                values.copy_(values + torch.rand_like(values))
    for layer in module.conformer_layers:
        layer.conv_module.sequential[3].eps, layer.ffn1.sequential[0].eps, layer.self_attn_layer_norm.eps = 0.05, 0.01, 0.1
        layer.conv_module.layer_norm.eps, layer.ffn2.sequential[0].eps, layer.final_layer_norm.eps = 0.2, 0.02, 0.3
    for layer, mask in zip(module.conformer_layers, masks or ()):
        mask = torch.tensor(mask)
        layer.self_attn.forward = lambda query, at=layer.self_attn, mask=mask, **_: type(at).forward(at, query, query, query, attn_mask=mask)
    return module


def torch_test_conformer_has_the_outputs_of_torchaudio_under_the_same_mask():
    import torch
    x = frames()
    for options in ({}, {'convolution_first': True}):
        table = export_encoder.export(conformer(**options), 'encoder.safetensors', window=[9, 5], look_ahead=[2, 0], frame_rate=100, check=True)
        wanted = conformer((beyond(9, 2), beyond(5, 0)), **options)(torch.tensor(x, dtype=torch.float64)[None], torch.tensor([FRAMES]))[0][0]
        close(attn.Encoder('encoder.safetensors').forward(x), wanted.detach().numpy(), 2)
        for words in ('factors 1/2', 'BatchNorm', 'whole utterances', 'delay: 8 frames (80 ms', 'checked'):  # 2 and two kernels of 7
            assert words in table, (words, table)
    export_encoder.export(conformer().conformer_layers[0], 'encoder.safetensors', window=9, check=True)


def torch_test_conformer_that_no_stream_computes_is_refused():
    from torchaudio.models import Conformer

    class Twice(Conformer):
        def forward(self, x, lengths):
            return super().forward(super().forward(x, lengths)[0], lengths)

    refused(['window=16', 'conformer_layers.0.self_attn'], export_encoder.export, conformer(), 'x')
    refused(['3 values', '2 attentions'], export_encoder.export, conformer(), 'x', window=[3, 4, 5])
    refused(['conformer_layers.0.conv_module', 'GroupNorm', 'all frames'], export_encoder.export, conformer(use_group_norm=True), 'x', window=9)
    refused(['Twice'], export_encoder.export, Twice(D, HEADS, INNER, 1, 7), 'x', window=9)
    changed = conformer()
    changed.conformer_layers[1].ffn2 = type('Other', (type(changed.conformer_layers[1].ffn2),), {'forward': lambda self, x: x})(D, INNER)
    refused(['conformer_layers.1.ffn2', 'Other'], export_encoder.export, changed, 'x', window=9)
    assert not os.path.exists('x')


def torch_test_module_with_positions_without_a_shift_is_refused_with_the_reason():
    from torch import nn
    wenet = type('RelPositionMultiHeadedAttention', (nn.Linear,), {'__module__': 'wenet.transformer.attention'})
    refused(['1', 'no shift', 'how long the stream has run'], export_encoder.export, nn.Sequential(nn.Linear(D, D), wenet(D, D)), 'x')


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'torch_test_' if '--torch' in sys.argv else 'test_', '.'))
