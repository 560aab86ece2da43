#!/usr/bin/python3
"""Layers that examples/export_torch.py wrote, run in the real pipeline. TAP.

    export-torch.py PLUGIN-FOLDER            what needs no PyTorch: the format, prefixes, errors
    export-torch.py PLUGIN-FOLDER --torch    real modules and checkpoints; fails where there is no PyTorch

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
EXPORTER = os.path.join(os.path.dirname(HERE), 'examples', 'export_torch.py')
sys.path.insert(0, os.path.dirname(EXPORTER))

import export_torch
import tap

TOLERANCE = 2e-6  # of the largest output: what attn.h promises for f32
FRAMES, D, HEADS, WINDOW = 90, 24, 3, 16


# ---- helpers ----

def attend(x, **properties):
    """x [frames, D] through the element. Raises with what gst-launch said."""
    np.save('x.npy', x)
    words = ' '.join('%s=%s' % (key.replace('_', '-'), value) for key, value in properties.items())
    line = 'filesrc location=x.npy ! npyparse ! attention %s ! npyenc ! filesink location=y.npy' % words
    done = subprocess.run(['gst-launch-1.0', '-q', *line.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stdout)
    return np.load('y.npy')


def close(got, wanted):
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE, 'off by %.2g of the largest output' % error


def refused(words, call, *arguments, **named):
    """The call fails with a sentence that holds all the words."""
    try:
        call(*arguments, **named)
    except (export_torch.ExportError, RuntimeError) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, '%s: nothing of %s' % (error, missing)
        return
    raise AssertionError('not refused: ' + ', '.join(words))


def arrays(prefix='', bias=True, seed=1):
    """What a state_dict of nn.MultiheadAttention holds, without PyTorch."""
    rng = np.random.default_rng(seed)
    shapes = {'in_proj_weight': (3 * D, D), 'out_proj.weight': (D, D)}
    if bias:
        shapes.update({'in_proj_bias': (3 * D,), 'out_proj.bias': (D,)})
    return {prefix + name: (rng.standard_normal(shape) / D ** 0.5).astype(np.float32) for name, shape in shapes.items()}


def frames(seed=2):
    return np.random.default_rng(seed).standard_normal((FRAMES, D)).astype(np.float32)


def beyond(look_ahead=0):
    """[query, key]: True where a query must not see a key."""
    t = np.arange(FRAMES)
    return (t[None, :] <= t[:, None] - WINDOW) | (t[None, :] > t[:, None] + look_ahead)


def attention_by_definition(x, state):
    x, p = x.astype(np.float64), {name: values.astype(np.float64) for name, values in state.items()}
    q, k, v = (part.reshape(FRAMES, HEADS, -1) for part in np.split(x @ p['in_proj_weight'].T + p['in_proj_bias'], 3, axis=1))
    scores = np.einsum('ihd,jhd->hij', q, k) / (D // HEADS) ** 0.5
    scores[:, beyond()] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    context = np.einsum('hij,jhd->ihd', weights / weights.sum(axis=2, keepdims=True), v).reshape(FRAMES, D)
    return context @ p['out_proj.weight'].T + p['out_proj.bias']


def command(*arguments):
    return subprocess.run([sys.executable, EXPORTER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


# ---- without PyTorch ----

def test_what_is_saved_is_loaded():
    tensors = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b.weight': np.array([1.5, -0.0], np.float16), 'c': np.array(1e300),
               'empty': np.zeros((0, 4), np.float32), 'view': np.arange(12, dtype=np.float64).reshape(3, 4).T, 'big': np.ones(3, '>f4')}
    export_torch.save('m.safetensors', tensors, {'heads': 4, 'note': 'ä "quoted"'})
    loaded, metadata = export_torch.load('m.safetensors')
    assert metadata == {'heads': '4', 'note': 'ä "quoted"'} and list(loaded) == list(tensors)
    for name, values in tensors.items():
        assert loaded[name].shape == values.shape and loaded[name].dtype == values.dtype.newbyteorder('<')
        assert np.array_equal(np.signbit(loaded[name]), np.signbit(values)) and np.array_equal(loaded[name], values), name
    with open('m.safetensors', 'rb') as f:
        assert int.from_bytes(f.read(8), 'little') % 8 == 0


def test_other_dtypes_are_refused():
    refused(['step', 'int64', 'float32'], export_torch.save, 'm.safetensors', {'step': np.array(1)})


def test_layer_runs_as_by_definition():
    state = arrays('encoder.layers.0.self_attn.')
    export_torch.export_state({**state, 'encoder.layers.0.linear1.weight': np.ones((8, D), np.float32)}, 'm.safetensors', heads=HEADS, window=WINDOW)
    got = attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW)
    close(got, attention_by_definition(frames(), arrays()))


def test_element_checks_the_metadata():
    export_torch.export_state(arrays(), 'm.safetensors', heads=HEADS, window=WINDOW, look_ahead=2, position='alibi')
    good = {'model_file': 'm.safetensors', 'heads': HEADS, 'window': WINDOW, 'look_ahead': 2, 'position': 'alibi'}
    attend(frames(), **good)
    for key, value in {'heads': 2, 'window': 17, 'look_ahead': 1, 'position': 'rope'}.items():
        refused([key.replace('_', '-'), str(value), str(good[key])], attend, frames(), **{**good, key: value})


def test_relative_bias_says_its_position():
    state = {**arrays(), 'relative_bias': np.zeros((HEADS, WINDOW), np.float32)}
    assert export_torch.export_state(state, 'm.safetensors', heads=HEADS)['position'] == 'relative'
    got = attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW, position='relative')
    close(got, attention_by_definition(frames(), arrays()))


def test_layer_is_found_by_its_prefix():
    two = {**arrays('a.self_attn.'), **arrays('b.self_attn.', seed=5)}
    for prefix in ('b.self_attn.', 'b.self_attn', 'b.', 'b'):
        export_torch.export_state(two, 'm.safetensors', prefix)
        assert np.array_equal(export_torch.load('m.safetensors')[0]['in_proj_weight'], two['b.self_attn.in_proj_weight']), prefix
    refused(['2 attention layers', "'a.self_attn.'", "'b.self_attn.'"], export_torch.export_state, two, 'm.safetensors')
    refused(["'c'", "'a.self_attn.'", "'b.self_attn.'"], export_torch.export_state, two, 'm.safetensors', 'c')
    refused(['no nn.MultiheadAttention', '1 parameters'], export_torch.export_state, {'fc.weight': two['a.self_attn.in_proj_weight']}, 'm.safetensors')


def test_nothing_is_written_of_a_layer_that_is_refused():
    cross = {'q_proj_weight': np.ones((D, D)), 'k_proj_weight': np.ones((D, 5)), 'v_proj_weight': np.ones((D, 7)), 'out_proj.weight': np.ones((D, D))}
    refused(['cross-attention', 'k_proj_weight takes 5'], export_torch.export_state, cross, 'none.safetensors')
    refused(['add_bias_kv', 'bias_k'], export_torch.export_state, {**arrays(), 'bias_k': np.ones((1, 1, D))}, 'none.safetensors')
    refused(["'a.'", 'lora_A'], export_torch.export_state, {**arrays('a.'), 'a.lora_A': np.ones((1, D))}, 'none.safetensors')
    refused(['5 heads', '24 rows'], export_torch.export_state, arrays(), 'none.safetensors', heads=5)
    refused(['0 heads'], export_torch.export_state, arrays(), 'none.safetensors', heads=0)
    assert not os.path.exists('none.safetensors')


def test_help():
    done = command('--help')
    assert done.returncode == 0 and '--prefix' in done.stdout and '--window FRAMES' in done.stdout, done.stdout


# ---- with PyTorch ----

def offline(attention, x, look_ahead=0):
    """What the module answers, in float64."""
    import torch
    attention = attention.double()
    x = torch.from_numpy(x).double()[None if attention.batch_first else slice(None)]
    if not attention.batch_first:
        x = x[:, None]
    with torch.no_grad():
        y = attention(x, x, x, attn_mask=torch.from_numpy(beyond(look_ahead)), need_weights=False)[0]
    return y.reshape(FRAMES, D).numpy()


def random_attention(seed, **options):
    import torch
    torch.manual_seed(seed)
    attention = torch.nn.MultiheadAttention(D, HEADS, **options)
    for p in attention.parameters():
        torch.nn.init.normal_(p, std=D ** -0.5)  # biases too, which start as zeros
    return attention


def torch_module(**options):
    attention = random_attention(1, **options)
    assert export_torch.export(attention, 'm.safetensors', window=WINDOW)['heads'] == HEADS
    close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(attention, frames()))


def torch_test_multihead_attention():
    torch_module()


def torch_test_batch_first():
    torch_module(batch_first=True)


def torch_test_without_bias():
    torch_module(bias=False)


def torch_test_kdim_and_vdim_of_self_attention():
    torch_module(kdim=D, vdim=D)


def torch_test_double_and_look_ahead():
    attention = random_attention(2).double()
    export_torch.export(attention, 'm.safetensors', window=WINDOW, look_ahead=4)
    assert export_torch.load('m.safetensors')[0]['in_proj_weight'].dtype == np.float64
    attention.float()  # the element keeps parameters in float32
    close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW, look_ahead=4), offline(attention, frames(), 4))


def torch_test_sixteen_bits():
    import torch
    for dtype in (torch.float16, torch.bfloat16):
        attention = random_attention(3).to(dtype)
        export_torch.export(attention, 'm.safetensors', window=WINDOW)
        close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(attention, frames()))


def torch_test_transformer_encoder_layer():
    import torch
    torch.manual_seed(4)
    encoder = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(D, HEADS, dim_feedforward=32, norm_first=True), 2).eval()  # no dropout
    for module, prefix in ((encoder, 'layers.1.self_attn.'), (encoder.layers[1], None)):
        export_torch.export(module, 'm.safetensors', prefix, window=WINDOW)
        assert sorted(export_torch.load('m.safetensors')[0]) == ['in_proj_bias', 'in_proj_weight', 'out_proj.bias', 'out_proj.weight']
        close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(encoder.layers[1].self_attn, frames()))
        encoder.float()


def torch_test_what_is_no_plain_self_attention_is_refused():
    import torch
    refused(['cross-attention', 'k_proj_weight takes 5'], export_torch.export, torch.nn.MultiheadAttention(D, HEADS, kdim=5, vdim=7), 'none.safetensors')
    refused(['bias_k'], export_torch.export, torch.nn.MultiheadAttention(D, HEADS, add_bias_kv=True), 'none.safetensors')
    refused(['add_zero_attn'], export_torch.export, torch.nn.MultiheadAttention(D, HEADS, add_zero_attn=True), 'none.safetensors')
    refused(['no nn.MultiheadAttention'], export_torch.export, torch.nn.Linear(2, 2), 'none.safetensors')
    refused(['the module has %d heads, not %d' % (HEADS, HEADS // 2)], export_torch.export, torch.nn.MultiheadAttention(D, HEADS), 'none.safetensors',
            heads=HEADS // 2)
    assert not os.path.exists('none.safetensors')


def torch_test_checkpoint_by_command():
    import torch
    attention = random_attention(6)
    state = {'epoch': 3, 'state_dict': {**{'enc.self_attn.' + name: values for name, values in attention.state_dict().items()}, 'steps': torch.tensor(1)}}
    torch.save(state, 'checkpoint.pt')
    listed = command('checkpoint.pt')
    assert listed.returncode == 0 and "'enc.self_attn.'" in listed.stdout, listed.stdout
    done = command('checkpoint.pt', 'm.safetensors', '--prefix', 'enc', '--heads', str(HEADS), '--window', str(WINDOW))
    assert done.returncode == 0 and 'heads=%d window=%d' % (HEADS, WINDOW) in done.stdout, done.stdout
    close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(attention, frames()))
    torch.save({'fc.weight': torch.ones(2, 2)}, 'none.pt')
    assert command('none.pt').returncode == 1 and 'no nn.MultiheadAttention' in command('none.pt').stdout
    wrong = command('checkpoint.pt', 'm.safetensors', '--prefix', 'dec')
    assert wrong.returncode == 1 and "'enc.self_attn.'" in wrong.stdout and 'Traceback' not in wrong.stdout, wrong.stdout


class Trap:
    def __reduce__(self):
        return os.mkdir, ('trapped',)


def torch_test_checkpoint_runs_no_program():
    import torch
    torch.save({'x': Trap()}, 'trap.pt')
    for path in ('trap.pt', 'missing.pt', EXPORTER):
        done = command(path)
        assert done.returncode == 1 and os.path.basename(path) in done.stdout and 'Traceback' not in done.stdout, done.stdout
    assert not os.path.exists('trapped')


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'torch_test_' if '--torch' in sys.argv else 'test_', sys.argv[1]))
