#!/usr/bin/python3
"""Layers that examples/export_encoder.py wrote, run in the real pipeline. TAP.

    export-layer.py PLUGIN-FOLDER            without PyTorch: the format, prefixes, errors
    export-layer.py PLUGIN-FOLDER --torch    real modules and checkpoints; fails if PyTorch is missing

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
EXPORTER = os.path.join(os.path.dirname(HERE), 'examples', 'export_encoder.py')
sys.path.insert(0, os.path.dirname(EXPORTER))
os.environ['ATTN_LIBRARY'] = os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), 'src', 'libattn.so')

import export_encoder
import tap

TOLERANCE = 2e-6  # of the largest output: the promise of attn.h for f32
FRAMES, D, HEADS, WINDOW = 90, 24, 4, 16  # not 3 heads: query, key and value are 3, and the two could be confused


# ---- helpers ----

def attend(x, **properties):
    """x [frames, D] through the element. Raises the output of gst-launch."""
    np.save('x.npy', x)
    words = ' '.join('%s=%s' % (key.replace('_', '-'), value) for key, value in properties.items())
    line = 'filesrc location=x.npy ! npyparse ! attention %s ! npyenc ! filesink location=y.npy' % words
    went_well, printed = tap.launch(line)
    if not went_well:
        raise RuntimeError(printed)
    return np.load('y.npy')


def close(got, wanted):
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE, 'off by %.2g of the largest output' % error


def refused(words, call, *arguments, **named):
    """The call fails with a sentence that contains all the words."""
    try:
        call(*arguments, **named)
    except (export_encoder.ExportError, RuntimeError) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, '%s: nothing of %s' % (error, missing)
        return
    raise AssertionError('not refused: ' + ', '.join(words))


def arrays(prefix='', bias=True, seed=1):
    """The contents of a state_dict of nn.MultiheadAttention, without PyTorch."""
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


def command(*arguments, environment=None):
    return subprocess.run([sys.executable, EXPORTER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                          env=environment)


# ---- without PyTorch ----

def test_what_is_saved_is_loaded():
    tensors = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b.weight': np.array([1.5, -0.0], np.float16), 'c': np.array(1e300),
               'empty': np.zeros((0, 4), np.float32), 'view': np.arange(12, dtype=np.float64).reshape(3, 4).T, 'big': np.ones(3, '>f4')}
    export_encoder.save('m.safetensors', tensors, {'heads': 4, 'note': 'ä "quoted"'})
    loaded, metadata = export_encoder.load('m.safetensors')
    assert metadata == {'heads': '4', 'note': 'ä "quoted"'} and list(loaded) == list(tensors)
    for name, values in tensors.items():
        assert loaded[name].shape == values.shape and loaded[name].dtype == values.dtype.newbyteorder('<')
        assert np.array_equal(np.signbit(loaded[name]), np.signbit(values)) and np.array_equal(loaded[name], values), name
    with open('m.safetensors', 'rb') as f:
        assert int.from_bytes(f.read(8), 'little') % 8 == 0


def test_other_dtypes_are_refused():
    refused(['step', 'int64', 'float32'], export_encoder.save, 'm.safetensors', {'step': np.array(1)})


def test_layer_runs_as_by_definition():
    state = arrays('encoder.layers.0.self_attn.')
    export_encoder.export_layer_state({**state, 'encoder.layers.0.linear1.weight': np.ones((8, D), np.float32)}, 'm.safetensors', heads=HEADS, window=WINDOW)
    got = attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW)
    close(got, attention_by_definition(frames(), arrays()))


def test_element_checks_the_metadata():
    export_encoder.export_layer_state(arrays(), 'm.safetensors', heads=HEADS, window=WINDOW, look_ahead=2, position='alibi')
    good = {'model_file': 'm.safetensors', 'heads': HEADS, 'window': WINDOW, 'look_ahead': 2, 'position': 'alibi'}
    attend(frames(), **good)
    for key, value in {'heads': 2, 'window': 17, 'look_ahead': 1, 'position': 'rope'}.items():
        refused([key.replace('_', '-'), str(value), str(good[key])], attend, frames(), **{**good, key: value})


def test_relative_bias_says_its_position():
    state = {**arrays(), 'relative_bias': np.zeros((HEADS, WINDOW), np.float32)}
    assert export_encoder.export_layer_state(state, 'm.safetensors', heads=HEADS)['position'] == 'relative'
    got = attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW, position='relative')
    close(got, attention_by_definition(frames(), arrays()))


def test_layer_is_found_by_its_prefix():
    two = {**arrays('a.self_attn.'), **arrays('b.self_attn.', seed=5)}
    for prefix in ('b.self_attn.', 'b.self_attn', 'b.', 'b'):
        export_encoder.export_layer_state(two, 'm.safetensors', prefix, HEADS)
        assert np.array_equal(export_encoder.load('m.safetensors')[0]['in_proj_weight'], two['b.self_attn.in_proj_weight']), prefix
    refused(['2 attention layers', "'a.self_attn.'", "'b.self_attn.'"], export_encoder.export_layer_state, two, 'm.safetensors')
    refused(["'c'", "'a.self_attn.'", "'b.self_attn.'"], export_encoder.export_layer_state, two, 'm.safetensors', 'c')
    refused(['no nn.MultiheadAttention', '1 parameters', 'fc.weight'], export_encoder.export_layer_state,
            {'fc.weight': two['a.self_attn.in_proj_weight']}, 'm.safetensors')


def test_nothing_is_written_of_a_layer_that_is_refused():
    cross = {'q_proj_weight': np.ones((D, D)), 'k_proj_weight': np.ones((D, 5)), 'v_proj_weight': np.ones((D, 7)), 'out_proj.weight': np.ones((D, D))}
    refused(['cross-attention', 'k_proj_weight takes 5'], export_encoder.export_layer_state, cross, 'none.safetensors', heads=HEADS)
    refused(['add_bias_kv', 'bias_k'], export_encoder.export_layer_state, {**arrays(), 'bias_k': np.ones((1, 1, D))}, 'none.safetensors', heads=HEADS)
    refused(["'a.'", 'lora_A'], export_encoder.export_layer_state, {**arrays('a.'), 'a.lora_A': np.ones((1, D))}, 'none.safetensors', heads=HEADS)
    refused(["'a.'", 'q_norm.weight'], export_encoder.export_layer_state, {**by_names(NAMES[0], 'a.'), 'a.q_norm.weight': np.ones(D)}, 'none.safetensors', heads=HEADS)
    refused(['o_proj', 'dense'], export_encoder.export_layer_state, {**by_names(NAMES[0]), 'dense.weight': np.ones((D, D))}, 'none.safetensors', heads=HEADS)
    refused(['5 heads', '24 rows'], export_encoder.export_layer_state, arrays(), 'none.safetensors', heads=5)
    refused(['0 heads'], export_encoder.export_layer_state, arrays(), 'none.safetensors', heads=0)
    assert not os.path.exists('none.safetensors')


def test_heads_that_nobody_tells_are_asked_for():
    refused(['how many heads', '--heads'], export_encoder.export_layer_state, arrays(), 'none.safetensors', window=WINDOW)
    assert not os.path.exists('none.safetensors')
    biased = {**arrays(), 'relative_bias': np.zeros((HEADS, WINDOW), np.float32)}  # tells
    assert export_encoder.export_layer_state(biased, 'm.safetensors')['heads'] == HEADS
    assert export_encoder.export_layer_state(arrays(), 'm.safetensors', config={'num_attention_heads': HEADS})['heads'] == HEADS


def test_element_needs_the_file_alone():
    export_encoder.export_layer_state(arrays('a.'), 'm.safetensors', heads=HEADS, window=WINDOW)
    assert export_encoder.load('m.safetensors')[1] == {'heads': '4', 'window': '16', 'look-ahead': '0'}
    close(attend(frames(), model_file='m.safetensors'), attention_by_definition(frames(), arrays()))
    refused(['look-ahead=0', 'look-ahead is 2'], attend, frames(), model_file='m.safetensors', look_ahead=2)


def test_metadata_says_what_the_model_was_trained_on():
    export_encoder.save('checkpoint.safetensors', arrays())
    made = {'sample-rate': '8000', 'frame-rate': '125/2', 'bins': '24', 'style': 'kaldi', 'frame-length': '25', 'hop-length': '16', 'fft-size': '256',
            'low-frequency': '20', 'high-frequency': '3800.5', 'window-function': 'povey', 'mel-scale': 'htk'}
    done = command('checkpoint.safetensors', 'm.safetensors', '--layer', '--heads', '3', *(word for item in made.items() for word in ('--%s' % item[0], item[1])))
    assert done.returncode == 0 and 'nothing of the window' in done.stdout, done.stdout
    assert made.items() <= export_encoder.load('m.safetensors')[1].items()
    refused(['frame-rate=125/2', 'says 100'], attend, frames(), model_file='m.safetensors')
    wrong = command('checkpoint.safetensors', 'm.safetensors', '--layer', '--heads', '3', '--frame-rate', 'fast')
    assert wrong.returncode == 2 and "'fast'" in wrong.stdout and 'Traceback' not in wrong.stdout, wrong.stdout


# ---- other names: each is the layer of arrays (), so that the output is known ----

NAMES = [('q_proj', 'k_proj', 'v_proj', 'o_proj'), ('q_proj', 'k_proj', 'v_proj', 'output_proj'), ('q_proj', 'k_proj', 'v_proj', 'dense'),
         ('self.query', 'self.key', 'self.value', 'output.dense'), ('attention.query', 'attention.key', 'attention.value', 'output.dense'),
         ('query', 'key', 'value', 'out'), ('q_lin', 'k_lin', 'v_lin', 'out_lin'), ('linear_q', 'linear_k', 'linear_v', 'linear_out'),
         ('wq', 'wk', 'wv', 'wo'), ('to_q', 'to_k', 'to_v', 'to_out.0'), ('linears.0', 'linears.1', 'linears.2', 'linears.3')]


def by_names(names, prefix=''):
    """arrays () in a tensor for each projection."""
    layer, made = arrays(), {}
    for part in ('weight', 'bias'):
        parts = np.split(layer['in_proj_' + part], 3) + [layer['out_proj.' + part]]
        made.update({'%s%s.%s' % (prefix, name, part): values for name, values in zip(names, parts)})
    return made


def fused(name, output, layout, prefix='', transpose=False):
    """arrays () with query, key and value in one tensor."""
    layer, made = arrays(), {}
    for part in ('weight', 'bias'):
        values = layer['in_proj_' + part]
        if layout == 'interleaved':  # query, key and value of each head together
            values = np.concatenate([np.split(projection, HEADS)[head] for head in range(HEADS) for projection in np.split(values, 3)])
        made[prefix + name + '.' + part] = values.T if transpose else values
        made[prefix + output + '.' + part] = layer['out_proj.' + part].T if transpose else layer['out_proj.' + part]
    return made


def runs_as_defined(state, **options):
    export_encoder.export_layer_state(state, 'm.safetensors', window=WINDOW, **{'heads': HEADS, **options})
    close(attend(frames(), model_file='m.safetensors'), attention_by_definition(frames(), arrays()))


def test_layers_of_other_names_give_the_same_output():
    for names in NAMES:
        runs_as_defined(by_names(names, 'encoder.layers.0.attention.'), prefix='encoder.layers.0')
    runs_as_defined({**by_names(NAMES[3], 'a.'), 'a.output.LayerNorm.weight': np.ones(D, np.float32)})  # behind the residual
    runs_as_defined({**by_names(NAMES[0], 'a.'), 'a.rotary_emb.inv_freq': np.ones(4), 'a.bias': np.ones((1, 1, 9, 9), bool)})


def test_fused_layers_of_a_known_layout_give_the_same_output():
    for layout in ('stacked', 'interleaved'):
        for name, output in (('query_key_value', 'dense'), ('Wqkv', 'out_proj'), ('qkv', 'proj'), ('qkv_proj', 'o_proj')):
            runs_as_defined(fused(name, output, layout, 'h.0.attn.'), layout=layout)
    runs_as_defined(fused('query_key_value', 'dense', 'interleaved'), config={'model_type': 'gpt_neox'})
    runs_as_defined(fused('query_key_value', 'dense', 'interleaved'), config={'model_type': 'bloom'})
    runs_as_defined(fused('Wqkv', 'out_proj', 'stacked'), config={'model_type': 'mpt'})
    runs_as_defined({**fused('c_attn', 'c_proj', 'stacked', transpose=True), 'masked_bias': np.float32(-1e4)}, config={'model_type': 'gpt2', 'n_head': HEADS})


def test_fused_layers_of_an_unknown_layout_are_refused_with_both():
    words = ['query_key_value', 'stacked', 'interleaved', '--layout', 'gpt_neox']
    for config in ({}, {'model_type': 'falcon'}):
        refused(words, export_encoder.export_layer_state, fused('query_key_value', 'dense', 'stacked'), 'none.safetensors', heads=HEADS, config=config)
    refused(['kv-heads=1', 'heads=3'], export_encoder.export_layer_state, {'qkv.weight': np.ones((40, D))}, 'none.safetensors', heads=3, kv_heads=1,
            layout='interleaved')
    refused(['72 rows', '7 heads'], export_encoder.export_layer_state, fused('qkv', 'proj', 'stacked'), 'none.safetensors', heads=5, kv_heads=1, layout='stacked')
    assert not os.path.exists('none.safetensors')


def test_grouped_queries_are_told_by_the_shapes():
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((rows, D)).astype(np.float32) for rows in (D, 6, 6))
    export_encoder.export_layer_state({'q_proj.weight': q, 'k_proj.weight': k, 'v_proj.weight': v}, 'apart.safetensors', heads=HEADS)
    known = export_encoder.export_layer_state({'qkv_proj.weight': np.concatenate([q, k, v])}, 'm.safetensors', heads=HEADS, kv_heads=1, layout='stacked')
    apart, metadata = export_encoder.load('apart.safetensors')
    assert known['kv-heads'] == 1 and metadata['kv-heads'] == '1'
    for name, values in export_encoder.load('m.safetensors')[0].items():
        assert np.array_equal(values, apart[name]), name
    assert attend(frames(), model_file='m.safetensors').shape == (FRAMES, D)
    refused(['kv-heads is 3', '6 rows'], export_encoder.export_layer_state, {'q_proj.weight': q, 'k_proj.weight': k, 'v_proj.weight': v}, 'none.safetensors',
            heads=HEADS, kv_heads=3)


def test_positions_come_from_the_configuration():
    config = {'num_attention_heads': HEADS, 'hidden_size': D, 'rope_theta': 500000.0, 'model_type': 'llama', 'partial_rotary_factor': 0.7}
    known = export_encoder.export_layer_state(by_names(NAMES[0]), 'm.safetensors', config=config)
    assert (known['position'], known['rope-base'], known['rope-layout'], known['rope-dimensions']) == ('rope', 500000.0, 'half', 4), known
    attend(frames(), model_file='m.safetensors', position='rope', rope_base=500000, rope_dimensions=4)
    newer = {**config, 'rope_theta': None, 'rope_parameters': {'rope_theta': 500000.0, 'partial_rotary_factor': 0.7, 'rope_type': 'default'}}
    assert export_encoder.export_layer_state(by_names(NAMES[0]), 'm.safetensors', config=newer) == known
    refused(['rope_type=yarn'], export_encoder.export_layer_state, by_names(NAMES[0]), 'none.safetensors', config={
        **config, 'rope_parameters': {'rope_theta': 1.0, 'rope_type': 'yarn'}})
    refused(['rope_scaling'], export_encoder.export_layer_state, by_names(NAMES[0]), 'none.safetensors', config={**config, 'rope_scaling': {'factor': 8}})
    assert export_encoder.export_layer_state(by_names(NAMES[0]), 'm.safetensors', config=config, position='none')['position'] == 'none'


# ---- chunks, norms of queries and keys, positions of Transformer-XL ----

SIZE, CHUNK, CHUNKS = D // HEADS, 5, 2


def norms(kind, theirs=('q_norm', 'k_norm')):
    rng = np.random.default_rng(7)
    parts = ('weight', 'bias') if kind == 'layer' else ('weight',)
    return {'%s.%s' % (name, part): rng.uniform(0.5, 1.5, SIZE).astype(np.float32) for name in theirs for part in parts}


def distances(theirs=('linear_pos.weight', 'pos_bias_u', 'pos_bias_v')):
    rng = np.random.default_rng(8)
    return {name: (rng.standard_normal(shape) / 3).astype(np.float32) for name, shape in zip(theirs, ((D, D), (HEADS, SIZE), (HEADS, SIZE)))}


def by_definition(kind=None, eps=1e-5, by_distance=False):
    """The layer of arrays () over chunks, frame by frame: with a norm of this kind, and with scores by distance."""
    p = {name: values.astype(np.float64) for name, values in {**arrays(), **norms(kind), **distances()}.items()}
    x, out = frames().astype(np.float64), []
    q, k, v = (part.reshape(FRAMES, HEADS, SIZE) for part in np.split(x @ p['in_proj_weight'].T + p['in_proj_bias'], 3, axis=1))

    def normed(rows, name):
        rows = rows - rows.mean(axis=-1, keepdims=True) if kind == 'layer' else rows
        return rows / np.sqrt((rows ** 2).mean(axis=-1, keepdims=True) + eps) * p[name + '.weight'] + p.get(name + '.bias', 0)

    if kind:
        q, k = normed(q, 'q_norm'), normed(k, 'k_norm')
    for t in range(FRAMES):
        seen = range(max((t // CHUNK - CHUNKS) * CHUNK, 0), min((t // CHUNK + 1) * CHUNK, FRAMES))
        scores = np.array([np.sum((q[t] + p['pos_bias_u'] * by_distance) * k[j], axis=1) for j in seen])
        for i, j in enumerate(seen if by_distance else ()):
            angles = (t - j) * 10000.0 ** (-np.arange(0, D, 2) / D)
            r = np.stack([np.sin(angles), np.cos(angles)], 1).reshape(D)
            scores[i] += np.sum((q[t] + p['pos_bias_v']) * (p['linear_pos.weight'] @ r).reshape(HEADS, SIZE), axis=1)
        weights = np.exp((scores - scores.max(axis=0)) / SIZE ** 0.5)
        out.append(np.einsum('jh,jhd->hd', weights / weights.sum(axis=0), v[list(seen)]).reshape(D))
    return np.array(out) @ p['out_proj.weight'].T + p['out_proj.bias']


def chunked(state, **options):
    return export_encoder.export_layer_state(state, 'm.safetensors', heads=HEADS, chunk=CHUNK, chunks=CHUNKS, **options)


def test_layer_with_chunks_runs_as_by_definition():
    known = chunked(arrays())
    assert known == {'heads': HEADS, 'chunk': CHUNK, 'chunks': CHUNKS}, known
    close(attend(frames(), model_file='m.safetensors'), by_definition())


def test_norms_of_queries_and_keys_run_as_by_definition():
    for kind in ('rms', 'layer'):
        chunked({**arrays(), **norms(kind)}, qk_norm=kind, qk_norm_eps=0.25)
        close(attend(frames(), model_file='m.safetensors'), by_definition(kind, 0.25))
    renamed = {'a.' + name.replace('norm', 'layernorm'): values for name, values in norms('layer').items()}
    chunked({**arrays('a.'), **renamed}, qk_norm='layer')
    close(attend(frames(), model_file='m.safetensors'), by_definition('layer'))
    assert chunked({**arrays(), **norms('rms')}, qk_norm='rms', config={'model_type': 'qwen3', 'rms_norm_eps': 0.125})['qk-norm-eps'] == 0.125
    close(attend(frames(), model_file='m.safetensors'), by_definition('rms', 0.125))


def test_positions_of_transformer_xl_run_as_by_definition():
    for names in (('linear_pos.weight', 'pos_bias_u', 'pos_bias_v'), ('relative_k_proj.weight', 'bias_u', 'bias_v')):
        chunked({**arrays(), **distances(names)}, position='transformer-xl')
        close(attend(frames(), model_file='m.safetensors'), by_definition(by_distance=True))


def test_chunks_norms_and_distances_that_nobody_tells_are_refused():
    def no(words, state, **options):
        refused(words, export_encoder.export_layer_state, state, 'none.safetensors', heads=HEADS, **options)

    no(['linear_pos.weight', '--position transformer-xl', 'no shift'], {**arrays(), **distances()})
    no(['q_norm.weight', '--qk-norm rms'], {**arrays(), **norms('rms')})
    no(['qk-norm=rms', 'k_norm.weight'], {**arrays(), 'q_norm.weight': np.ones(SIZE)}, qk_norm='rms')
    no(['q_norm.weight', '[24]', '[6]'], {**arrays(), 'q_norm.weight': np.ones(D), 'k_norm.weight': np.ones(D)}, qk_norm='rms')
    no(['position=transformer-xl', 'pos_bias_u'], arrays(), position='transformer-xl')
    no(['pos_bias_v', '[6, 4]', '[4, 6]'], {**arrays(), **distances(), 'pos_bias_v': np.ones((SIZE, HEADS))}, position='transformer-xl')
    no(['gemma3_text', 'adds 1'], {**arrays(), **norms('rms')}, qk_norm='rms', config={'model_type': 'gemma3_text'})
    no(['chunk is 5', 'chunks'], arrays(), chunk=5)
    no(['chunks is 2', 'chunk is not given'], arrays(), chunks=2)
    no(['chunk is 5', 'window and look-ahead'], arrays(), chunk=5, chunks=2, window=9, look_ahead=0)
    assert not os.path.exists('none.safetensors')


def test_chunks_norms_and_distances_by_command():
    for kind in ('rms', 'layer'):
        export_encoder.save('checkpoint.safetensors', {**arrays('a.'), **{'a.' + name: values for name, values in {**norms(kind), **distances()}.items()}})
        done = command('checkpoint.safetensors', 'm.safetensors', '--layer', '--heads', str(HEADS), '--chunk', str(CHUNK), '--chunks', str(CHUNKS),
                       '--qk-norm', kind, '--qk-norm-eps', '0.25', '--position', 'transformer-xl', '--check')
        assert done.returncode == 0 and 'against the formula' in done.stdout and 'of the window' not in done.stdout, done.stdout
        assert 'heads=4 chunk=5 chunks=2 position=transformer-xl qk-norm=%s qk-norm-eps=0.25' % kind in done.stdout, done.stdout
        close(attend(frames(), model_file='m.safetensors'), by_definition(kind, 0.25, True))


# ---- the command, without PyTorch ----

def test_checkpoint_in_safetensors_by_command():
    layer = {**arrays('encoder.layers.0.self_attn.'), 'encoder.layers.0.linear1.weight': np.ones((9, D), np.float32),
             'encoder.layers.0.norm2.bias': np.ones(D, np.float32), 'head.weight': np.ones((2, D), np.float32)}
    export_encoder.save('checkpoint.safetensors', layer)
    listed = command('checkpoint.safetensors')
    assert listed.returncode == 0 and "'encoder.layers.0.self_attn.'" in listed.stdout, listed.stdout
    done = command('checkpoint.safetensors', 'm.safetensors', '--layer', '--heads', str(HEADS), '--window', str(WINDOW))
    assert done.returncode == 0, done.stdout
    assert 'heads=4 window=16 look-ahead=0' in done.stdout and 'attention model-file=m.safetensors !' in done.stdout, done.stdout
    assert 'beside the attention: encoder.layers.0.linear1.weight, encoder.layers.0.norm2.bias\n' in done.stdout, done.stdout
    assert 'other modules: 1 parameters' in done.stdout, done.stdout
    close(attend(frames(), model_file='m.safetensors'), attention_by_definition(frames(), arrays()))


def test_check_runs_a_pipeline_where_the_library_is_missing():
    os.mkdir('a folder')
    export_encoder.save('layer.safetensors', arrays())
    words = ['layer.safetensors', 'a folder/m.safetensors', '--layer', '--heads', str(HEADS), '--window', str(WINDOW), '--check']
    done = command(*words, environment={**os.environ, 'ATTN_LIBRARY': 'none'})
    assert done.returncode == 0 and 'checked: a pipeline of gst-launch-1.0 against the formula' in done.stdout, done.stdout
    done = command(*words, environment={**os.environ, 'ATTN_LIBRARY': 'none', 'PATH': ''})
    assert done.returncode == 1 and 'neither libattn' in done.stdout and 'Traceback' not in done.stdout, done.stdout


def test_configuration_beside_the_checkpoint_is_read():
    os.mkdir('hub')
    export_encoder.save('hub/model.safetensors', fused('query_key_value', 'dense', 'interleaved', 'gpt_neox.layers.0.attention.'))
    with open('hub/config.json', 'w') as f:
        json.dump({'model_type': 'gpt_neox', 'num_attention_heads': HEADS}, f)
    done = command('hub', 'm.safetensors', '--layer', '--window', str(WINDOW))
    assert done.returncode == 0, done.stdout
    close(attend(frames(), model_file='m.safetensors'), attention_by_definition(frames(), arrays()))
    with open('hub/config.json', 'w') as f:
        f.write('{')
    wrong = command('hub/model.safetensors', 'm.safetensors', '--layer')
    assert wrong.returncode == 1 and 'config.json: not JSON' in wrong.stdout and 'Traceback' not in wrong.stdout, wrong.stdout


def test_bfloat16_of_a_file_is_read():
    values = np.float32([1, -2.5, 3e38, 1e-30])
    header = json.dumps({'w': {'dtype': 'BF16', 'shape': [2, 2], 'data_offsets': [0, 8]}, 'm': {'dtype': 'BOOL', 'shape': [4], 'data_offsets': [8, 12]}})
    with open('b.safetensors', 'wb') as f:
        f.write(len(header).to_bytes(8, 'little') + header.encode() + (values.view('<u4') >> 16).astype('<u2').tobytes() + b'\1' * 4)
    loaded = export_encoder.load('b.safetensors')[0]
    assert loaded['w'].dtype == np.float32 and loaded['m'].shape == (4,)
    assert np.abs(loaded['w'].ravel() / values - 1).max() < 2 ** -7


def test_checkpoints_of_all_usual_forms_are_taken():
    plain = arrays('enc.self_attn.')
    for key in ('state_dict', 'model_state_dict', 'model', 'module', 'net', 'network', 'model.state_dict'):
        form = {'epoch': 3, key: plain, 'optimizer_state_dict': {'state': {0: {'exp_avg': np.ones(3)}}}}
        assert export_encoder.parameters(form, 'c').keys() == plain.keys(), key
    for wrapped in ('module.', '_orig_mod.', 'module._orig_mod.', '_fsdp_wrapped_module.'):
        assert export_encoder.parameters({'model': {'state_dict': {wrapped + name: v for name, v in plain.items()}}}, 'c').keys() == plain.keys(), wrapped
    lightning = {'state_dict': {'model.' + name: v for name, v in plain.items()}, 'pytorch-lightning_version': '2.0', 'hyper_parameters': {'lr': 0.1}}
    assert export_encoder.prefixes(export_encoder.parameters(lightning, 'c')) == ['model.enc.self_attn.']
    assert export_encoder.parameters({'whatever': plain, 'step': np.ones(())}, 'c').keys() == plain.keys()
    assert export_encoder.parameters(arrays(), 'c').keys() == arrays().keys()
    refused(["'student'", "'teacher'"], export_encoder.parameters, {'student': plain, 'teacher': plain}, 'c')
    refused(['list'], export_encoder.parameters, [1], 'c')


def test_failures_of_the_command_are_sentences():
    with open('broken.safetensors', 'wb') as f:
        f.write((100).to_bytes(8, 'little') + b'{"a": ')
    export_encoder.save('fc.safetensors', {'fc.weight': np.ones((2, 2), np.float32)})
    export_encoder.save('layer.safetensors', arrays())
    for arguments, words in ((['missing.pt'], 'missing.pt'), (['broken.safetensors'], 'not a safetensors file'),
                             (['.'], '.: a folder without model.safetensors'), (['fc.safetensors', 'm.safetensors', '--layer'], 'fc.weight'),
                             (['layer.safetensors', 'm.safetensors', '--layer'], 'how many heads'),
                             (['layer.safetensors', 'm.safetensors'], '--layer'), (['layer.safetensors', 'layer.safetensors', '--layer'], 'still read'),
                             (['layer.safetensors', 'm.safetensors', '--layer', '--heads', '4', '--activation', 'gelu'], '--activation would change'),
                             (['layer.safetensors', 'no/m.safetensors', '--layer', '--heads', '3'], 'no/m.safetensors')):
        done = command(*arguments)
        assert done.returncode == 1 and words in done.stdout and 'Traceback' not in done.stdout, (arguments, done.stdout)


def test_missing_pytorch_is_a_sentence():
    with open('checkpoint.pt', 'wb') as f:
        f.write(b'PK\3\4 and the rest')
    os.makedirs('without/torch')
    with open('without/torch/__init__.py', 'w') as f:
        f.write('raise ImportError("none")')
    done = command('checkpoint.pt', environment={**os.environ, 'PYTHONPATH': 'without'})
    assert done.returncode == 1 and 'python3-torch' in done.stdout and 'Traceback' not in done.stdout, done.stdout


def test_help():
    done = command('--help')
    assert done.returncode == 0 and '--prefix' in done.stdout and '--window FRAMES' in done.stdout, done.stdout


# ---- with PyTorch ----

def offline(attention, x, look_ahead=0):
    """The output of the module, in float64."""
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
    assert export_encoder.export_layer(attention, 'm.safetensors', window=WINDOW)['heads'] == HEADS
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
    export_encoder.export_layer(attention, 'm.safetensors', window=WINDOW, look_ahead=4)
    assert export_encoder.load('m.safetensors')[0]['in_proj_weight'].dtype == np.float64
    attention.float()  # the element keeps parameters in float32
    close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW, look_ahead=4), offline(attention, frames(), 4))


def torch_test_sixteen_bits():
    import torch
    for dtype in (torch.float16, torch.bfloat16):
        attention = random_attention(3).to(dtype)
        export_encoder.export_layer(attention, 'm.safetensors', window=WINDOW)
        close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(attention, frames()))


def torch_test_transformer_encoder_layer():
    import torch
    torch.manual_seed(4)
    encoder = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(D, HEADS, dim_feedforward=32, norm_first=True), 2).eval()  # no dropout
    for module, prefix in ((encoder, 'layers.1.self_attn.'), (encoder.layers[1], None)):
        export_encoder.export_layer(module, 'm.safetensors', prefix, window=WINDOW)
        assert sorted(export_encoder.load('m.safetensors')[0]) == ['in_proj_bias', 'in_proj_weight', 'out_proj.bias', 'out_proj.weight']
        close(attend(frames(), model_file='m.safetensors', heads=HEADS, window=WINDOW), offline(encoder.layers[1].self_attn, frames()))
        encoder.float()


def torch_test_what_is_no_plain_self_attention_is_refused():
    import torch
    refused(['cross-attention', 'k_proj_weight takes 5'], export_encoder.export_layer, torch.nn.MultiheadAttention(D, HEADS, kdim=5, vdim=7), 'none.safetensors')
    refused(['bias_k'], export_encoder.export_layer, torch.nn.MultiheadAttention(D, HEADS, add_bias_kv=True), 'none.safetensors')
    refused(['add_zero_attn'], export_encoder.export_layer, torch.nn.MultiheadAttention(D, HEADS, add_zero_attn=True), 'none.safetensors')
    refused(['no nn.MultiheadAttention'], export_encoder.export_layer, torch.nn.Linear(2, 2), 'none.safetensors')
    refused(['the module has %d heads, not %d' % (HEADS, HEADS // 2)], export_encoder.export_layer, torch.nn.MultiheadAttention(D, HEADS), 'none.safetensors',
            heads=HEADS // 2)
    assert not os.path.exists('none.safetensors')


def torch_test_checkpoint_by_command():
    import torch
    attention = random_attention(6)
    state = {'epoch': 3, 'model_state_dict': {**{'enc.self_attn.' + name: values for name, values in attention.state_dict().items()}, 'steps': torch.tensor(1)}}
    torch.save(state, 'checkpoint.pt')
    listed = command('checkpoint.pt')
    assert listed.returncode == 0 and "'enc.self_attn.'" in listed.stdout, listed.stdout
    done = command('checkpoint.pt', 'm.safetensors', '--layer', '--prefix', 'enc', '--heads', str(HEADS), '--window', str(WINDOW))
    assert done.returncode == 0 and 'heads=%d window=%d' % (HEADS, WINDOW) in done.stdout, done.stdout
    close(attend(frames(), model_file='m.safetensors'), offline(attention, frames()))
    torch.save({'fc.weight': torch.ones(2, 2)}, 'none.pt')
    assert command('none.pt').returncode == 1 and 'no nn.MultiheadAttention' in command('none.pt').stdout
    wrong = command('checkpoint.pt', 'm.safetensors', '--layer', '--prefix', 'dec')
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
        assert 'get the file fr)' not in done.stdout and 'Do it only' not in done.stdout, done.stdout
    assert not os.path.exists('trapped')


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'torch_test_' if '--torch' in sys.argv else 'test_', sys.argv[1]))
