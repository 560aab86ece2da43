#!/usr/bin/python3
"""src/attn.py: the core from NumPy. Against the definition in float64, and streams against the whole, to the bit. TAP.

    attn-module.py LIBRARY ATTN-BENCH

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import subprocess
import sys
import threading

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'src'), os.path.join(ROOT, 'examples')]
os.environ['ATTN_LIBRARY'] = os.path.abspath(sys.argv[1])
BENCH = os.path.abspath(sys.argv[2])

import attn
import export_encoder
import tap

TOLERANCE = 2e-6  # of the largest output: the promise of attn.h for f32


def random_layer(rng):
    heads = int(rng.integers(1, 5))
    return attn.Layer(n_features=heads * int(rng.integers(1, 9)), heads=heads, window=int(rng.integers(1, 30)), look_ahead=int(rng.integers(0, 6)),
                      sinks=int(rng.integers(0, 4)))


def random_frames(rng, layer, n=70):
    return rng.standard_normal((n, layer.n_features)).astype(np.float32)


def by_definition(x, heads, window, look_ahead):
    """Vaswani et al. 2017, equation 1, in float64, over the window."""
    n, d = x.shape
    parts = x.astype(np.float64).reshape(n, heads, d // heads)
    scores = np.einsum('ihd,jhd->hij', parts, parts) / (d // heads) ** 0.5
    t = np.arange(n)
    scores[:, (t[None] <= t[:, None] - window) | (t[None] > t[:, None] + look_ahead)] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.einsum('hij,jhd->ihd', weights, parts).reshape(n, d), weights


def refused(error, words, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error as failure:
        assert all(word in str(failure) for word in words), failure
        return
    raise AssertionError('not refused: %s' % words)


def test_forward_is_the_definition():
    layer = attn.Layer(n_features=12, heads=3, window=9, look_ahead=2)
    x = random_frames(np.random.default_rng(1), layer)
    out, weights = layer.forward(x, weights=True)
    wanted, wanted_weights = by_definition(x, 3, 9, 2)
    assert np.abs(out - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    assert weights.shape == (70, 3, 11)
    for t in (0, 5, 30, 69):
        for slot in range(11):
            frame = t - 8 + slot
            there = wanted_weights[:, t, frame] if 0 <= frame < 70 else 0
            assert np.abs(weights[t, :, slot] - there).max() <= TOLERANCE, (t, slot)


def test_streams_have_the_bits_of_the_whole():
    rng = np.random.default_rng(2)
    for _ in range(200):
        layer = random_layer(rng)
        x, present = random_frames(rng, layer), np.ones(70, bool)
        gap = sorted(rng.integers(0, 71, 2))
        present[gap[0]:gap[1]] = False
        first = int(rng.integers(0, 10))
        whole, weights = layer.forward(x, present, first, weights=True)
        stream, outs, at = layer.stream(), [], 0
        stream.reset(first)
        while at < 70:
            n = min(int(rng.integers(1, 20)), (70 if at >= gap[1] else gap[0] if at < gap[0] else gap[1]) - at)
            outs.append(stream.push(x[at:at + n], weights=True) if present[at] else stream.skip(n, weights=True))
            at += n
            if rng.random() < 0.2:
                state, stream = stream.save(), layer.stream()
                stream.restore(state)
            assert stream.next_frame == first + at and stream.pending <= layer.reach_ahead
        outs.append(stream.drain(weights=True))
        assert np.array_equal(np.concatenate([out for out, _ in outs]), whole)
        assert np.array_equal(np.concatenate([seen for _, seen in outs]), weights)


def test_arrays_of_any_kind_are_the_same_frames():
    layer = attn.Layer(n_features=6, heads=2, window=4)
    x = random_frames(np.random.default_rng(3), layer)
    wanted = layer.forward(x)
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    for same in (x.astype('>f4'), x.astype(np.float64), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], backwards, x.tolist()):
        assert np.array_equal(layer.forward(same), wanted)
    assert np.array_equal(layer.forward(np.arange(12).reshape(2, 6)), layer.forward(np.arange(12, dtype=np.float32).reshape(2, 6)))
    assert layer.forward(np.empty((0, 6))).shape == (0, 6)
    assert layer.stream().push(x[0]).shape == (1, 6)


def test_what_does_not_fit_is_refused():
    layer = attn.Layer(n_features=6, heads=2, window=4)
    x, stream = random_frames(np.random.default_rng(4), layer), layer.stream()
    refused(ValueError, ['[70, 5]', '[n, 6]'], layer.forward, x[:, :5])
    refused(ValueError, ['[70, 6, 1]'], layer.forward, x[..., None])
    refused(TypeError, ['complex64'], layer.forward, x.astype(np.complex64))
    refused(TypeError, ['<U'], layer.forward, [['a'] * 6])
    refused(ValueError, ['[3]', '70'], layer.forward, x, np.ones(3, bool))
    refused(attn.Error, ['heads=1'], attn.Layer, n_features=7, heads=2)
    refused(attn.Error, ['/nowhere'], attn.Layer, '/nowhere')
    refused(TypeError, ['windows', 'window'], attn.Layer, n_features=6, windows=3)
    refused(ValueError, ['-1'], attn.Layer, n_features=6, window=-1)
    refused(ValueError, ["'sine'", 'rope'], attn.Layer, n_features=6, position='sine')
    refused(ValueError, ['first_frame', '-1'], layer.forward, x, None, -1)
    refused(ValueError, ['first_frame', '-2'], stream.reset, -2)
    refused(ValueError, ['n is -3'], stream.skip, -3)
    refused(ValueError, ['n is 2.5', 'whole number'], stream.skip, 2.5)
    refused(attn.Error, ['5', '2 heads'], stream.set_gain, 5, 1)
    refused(attn.Error, ['3 bytes'], stream.restore, b'abc')
    stream.drain()
    refused(attn.Error, ['reset'], stream.push, x)
    stream.reset()
    assert len(stream.push(x)) == 70


def test_gain_of_zero_silences_a_head():
    layer = attn.Layer(n_features=6, heads=2, window=4)
    x, stream = random_frames(np.random.default_rng(5), layer), layer.stream()
    stream.set_gain(1, 0)
    out = stream.push(x)
    assert np.array_equal(out[:, :3], layer.forward(x)[:, :3]) and not out[:, 3:].any()


def encoder_of_two(path, silenced=None):
    """Two attentions with residuals, the second at half the rate; the output columns of the attention and head `silenced` are 0. (encoder, its tensors)"""
    rng = np.random.default_rng(7)
    tensors = {'%s.%s_proj.weight' % (name, part): 0.5 * rng.standard_normal((8, 8)).astype(np.float32) for name in 'ab' for part in 'qkvo'}
    tensors['half.weight'] = 0.3 * rng.standard_normal((8, 16)).astype(np.float32)
    if silenced is not None:
        tensors['%s.o_proj.weight' % 'ab'[silenced[0]]][:, 4 * silenced[1]:4 * silenced[1] + 4] = 0
    blocks = [{'residual': [{'attention': 'a', 'heads': 2, 'window': 5, 'look-ahead': 2}]}, {'stack': 2}, {'linear': 'half'},
              {'residual': [{'attention': 'b', 'heads': 2, 'window': 3, 'sinks': 1}]}]
    export_encoder.save(path, tensors, {'encoder': json.dumps({'version': 1, 'features': 8, 'blocks': blocks})})
    return attn.Encoder(path), tensors


def alone(tensors, name, x, **options):
    """(outputs, weights) of one of these attentions by itself."""
    export_encoder.save('alone.safetensors', {key[2:]: tensors[key] for key in tensors if key.startswith(name + '.')})
    return attn.Layer('alone.safetensors', heads=2, **options).forward(x, weights=True)


def test_streams_of_encoders_show_what_each_attention_attends_to():
    encoder, tensors = encoder_of_two('two.safetensors')
    x, stream, seen, at = random_frames(np.random.default_rng(8), encoder), encoder.stream(), [], 0
    for n in (1, 2, 30, 7, 30):
        out, rows = stream.push(x[at:at + n], weights=True)
        assert [row.first for row in rows] == [max(at - 2, 0), max(at - 2, 0) // 2]
        at, seen = at + n, seen + [(out, rows)]
    seen.append(stream.drain(weights=True))
    assert np.array_equal(np.concatenate([out for out, _ in seen]), encoder.forward(x))
    assert all(row.present.all() for _, rows in seen for row in rows)
    out, weights = alone(tensors, 'a', x, window=5, look_ahead=2)
    assert np.array_equal(np.concatenate([rows[0].weights for _, rows in seen]), weights)
    behind = (x + out).reshape(35, 16) @ tensors['half.weight'].T.astype(np.float64)
    weights = alone(tensors, 'b', behind, window=3, sinks=1)[1]
    assert np.abs(np.concatenate([rows[1].weights for _, rows in seen]) - weights).max() <= 1e-5  # the rounding of `behind` to float32
    assert (encoder.attention_stride(0), encoder.attention_stride(1)) == (1, 2)


def test_absent_rows_of_encoders_are_marked():
    encoder, _ = encoder_of_two('two.safetensors')
    stream = encoder.stream()
    stream.push(random_frames(np.random.default_rng(9), encoder, 6))
    _, (rows,) = stream.skip(5, weights=[0])
    assert rows.first == 4 and rows.present.tolist() == [True, True, False, False, False]
    assert rows.weights[:2].any() and not rows.weights[2:].any()
    refused(attn.Error, ['attention 2', '2, counted'], stream.skip, 5, weights=[2])


def test_gain_of_any_attention_of_an_encoder_silences_its_head():
    for silenced in ((0, 0), (0, 1), (1, 0), (1, 1)):
        encoder, _ = encoder_of_two('two.safetensors')
        without, _ = encoder_of_two('without.safetensors', silenced)
        x, stream = random_frames(np.random.default_rng(10), encoder), encoder.stream()
        stream.set_gain(silenced[1], 0, attention=silenced[0])
        assert np.array_equal(np.concatenate([stream.push(x), stream.drain()]), without.forward(x))
        assert not np.array_equal(without.forward(x), encoder.forward(x))
        refused(attn.Error, ['attention 1', '2 heads'], stream.set_gain, 2, 0, attention=1)
        refused(attn.Error, ['attention 2', '2, counted'], stream.set_gain, 0, 0, attention=2)


def test_options_in_effect_are_told():
    layer = attn.Layer(n_features=8, heads=2, window=7, look_ahead=1, position='rope', precision='bf16', threads=2)
    told = layer.config
    assert (told['heads'], told['window'], told['look_ahead'], told['position'], told['precision'], told['threads']) == (2, 7, 1, 'rope', 'bf16', 2)
    told = attn.Layer(n_features=8, chunk=3, chunks=2).config
    assert (told['chunk'], told['chunks'], told['window'], told['look_ahead']) == (3, 2, 9, 2)
    told = layer.config
    assert told['qk_norm'] == 'none' and told['qk_norm_eps'] == 1e-5
    assert told['rope_base'] == 10000 and told['sinks'] == 0 and told['arithmetic'] == 'exact'
    assert (layer.n_features, layer.n_outputs, layer.n_heads, layer.span, layer.reach_ahead) == (8, 8, 2, 8, 1)


def test_streams_in_threads_have_the_same_bits():
    layer = attn.Layer(n_features=16, heads=4, window=20)
    x = random_frames(np.random.default_rng(6), layer, 400)
    wanted, got = layer.forward(x), {}

    def run(i):
        stream = layer.stream()
        got[i] = np.concatenate([stream.push(x[at:at + 1 + i]) for at in range(0, 400, 1 + i)])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[i], wanted) for i in range(8))


def bench(*arguments):
    return subprocess.run([BENCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout


def random_parts(rng, layer, n):
    """For each of n streams: frames [m, D], one frame [D], none, or a number of absent ones."""
    kinds = (lambda: random_frames(rng, layer, int(rng.integers(0, 5))), lambda: random_frames(rng, layer, 1)[0], lambda: [],
             lambda: int(rng.integers(0, 5)))
    return [kinds[int(rng.integers(4))]() for _ in range(n)]


def test_streams_pushed_together_have_the_bits_of_each_alone():
    rng = np.random.default_rng(20)
    for layer in [random_layer(rng) for _ in range(20)] + [encoder_of_two('two.safetensors')[0]]:
        streams, alone = [layer.stream() for _ in range(20)], [layer.stream() for _ in range(20)]
        group = layer.group(20)
        for _ in range(10):
            who = [int(i) for i in rng.permutation(20)[:rng.integers(0, 21)]]
            parts = random_parts(rng, layer, len(who))
            outs = group.push([streams[i] for i in who], parts)
            for i, part, out in zip(who, parts, outs):
                expected = alone[i].skip(part) if isinstance(part, int) else alone[i].push(part if len(part) else np.empty((0, layer.n_features)))
                assert np.array_equal(out, expected), (i, part)
        frames = random_frames(rng, layer, 20)
        outs = group.push(streams, frames)
        assert all(np.array_equal(out, other.push(frame)) for out, other, frame in zip(outs, alone, frames))


def test_groups_refuse_what_cannot_be_right():
    layer, other = attn.Layer(n_features=4), attn.Layer(n_features=4, window=9)
    group, a, b = layer.group(2), layer.stream(), layer.stream()
    frame = np.ones(4)
    refused(attn.Error, ['3 streams', 'for 2'], group.push, [a, b, layer.stream()], [frame] * 3)
    refused(attn.Error, ['pushes[0] and pushes[1]', 'same stream'], group.push, [a, a], [frame] * 2)
    refused(attn.Error, ['pushes[1]', 'another layer'], group.push, [a, other.stream()], [frame] * 2)
    refused(ValueError, ['1 streams', 'frames for 2'], group.push, [a], [frame] * 2)
    refused(ValueError, ['[1, 3]', '[n, 4]'], group.push, [a, b], [frame, np.ones((1, 3))])
    refused(ValueError, ['-1'], group.push, [a], [-1])
    b.drain()
    refused(attn.Error, ['at its end'], group.push, [a, b], [frame] * 2)
    assert a.next_frame == 0 and len(group.push([a], [frame])[0]) == 1


def test_benchmark_runs_encoders_from_files_and_by_name():
    encoder, _ = encoder_of_two('two.safetensors')
    x = random_frames(np.random.default_rng(11), encoder)
    x.tofile('x.bin')
    for n in ('1', '7'):
        assert bench('--encoder', 'two.safetensors', n, '--input', 'x.bin', '--output', 'out.bin') == ''
        assert np.array_equal(np.fromfile('out.bin', np.float32).reshape(-1, 8), encoder.forward(x))
    layer = 2 * 64 + 4 * 64 * 64 + 4 * 64 + 2 * 64 + 2 * 64 * 256 + 256 + 64  # norm, attention, norm, feed-forward
    assert bench('--encoder', 'E3', '1', '--frames', '1').startswith('E3 D=64 blocks=85 parameters=%d N=1 ' % (12 * layer + 2 * 64))
    assert 'times as fast' in bench('--encoder', 'two.safetensors', '1', '--streams', '3', '--together', '--seconds', '0.01')
    assert 'N is needed' in bench('--encoder', 'E3') and '--encoder has parameters of its own' in bench('--encoder', 'E3', '1', '--no-model')
    assert 'nowhere: cannot be opened' in bench('--encoder', 'nowhere', '1')


def test_library_that_is_not_there_is_said():
    done = subprocess.run(['/usr/bin/python3', '-c', 'import attn'], cwd=os.path.join(ROOT, 'src'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, 'ATTN_LIBRARY': '/nowhere/libattn.so', 'PYTHONDONTWRITEBYTECODE': '1'})
    assert done.returncode == 1 and '/nowhere/libattn.so' in done.stderr and 'set ATTN_LIBRARY' in done.stderr, done.stderr


def test_library_of_another_version_is_said():
    done = subprocess.run(['/usr/bin/python3', '-c', 'import attn'], cwd=os.path.join(ROOT, 'src'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, 'ATTN_LIBRARY': 'libm.so.6', 'PYTHONDONTWRITEBYTECODE': '1'})
    assert done.returncode == 1 and 'libm.so.6 has no attn_' in done.stderr and 'another version' in done.stderr, done.stderr


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'test_', '.'))
