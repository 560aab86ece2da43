#!/usr/bin/python3
"""Parakeet and Nemotron Speech Streaming through examples/export_encoder.py: small random weights in the layout of Hugging Face, run by libattn and
compared with the published code, written down here again in float64, with the masks of NeMo. TAP.

    export-fastconformer.py LIBRARY

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import contextlib
import json
import math
import re
import sys

import numpy as np

import tap
from models import D, HEADS, INNER, attn, close, double, export_encoder, exported, folder, frames, layer_norm, linear, random_state, refused, silu
from export import check, law

LAYERS, CHANNELS, BINS, KERNEL, STAGES, WORDS = 2, 6, 20, 5, 3, 9
BACK, AHEAD = 6, 2  # frames of the attention, of the streaming model


# ---- folders ----

def encoder_config(kind, **changed):
    return {'model_type': kind, 'hidden_size': D, 'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS, 'num_key_value_heads': HEADS,
            'intermediate_size': INNER, 'hidden_act': 'silu', 'attention_bias': True, 'convolution_bias': True, 'conv_kernel_size': KERNEL,
            'subsampling_factor': 1 << STAGES, 'subsampling_conv_channels': CHANNELS, 'num_mel_bins': BINS, 'subsampling_conv_kernel_size': 3,
            'subsampling_conv_stride': 2, 'dropout': 0.1, 'dropout_positions': 0.0, 'layerdrop': 0.1, 'activation_dropout': 0.1, 'attention_dropout': 0.1,
            'max_position_embeddings': 5000, 'scale_input': True, 'initializer_range': 0.02, **changed}


def nemotron_config(**changed):
    return {'model_type': 'nemotron_asr_streaming', 'architectures': ['NemotronAsrStreamingForRNNT'], 'vocab_size': WORDS, 'decoder_hidden_size': 64,
            'blank_token_id': WORDS - 1, 'hidden_act': 'relu', 'encoder_config': encoder_config(
                'nemotron_asr_streaming_encoder', sliding_window=BACK + 1, default_num_lookahead_tokens=AHEAD, **changed)}


def parakeet_config(**changed):
    return {'model_type': 'parakeet_ctc', 'architectures': ['ParakeetForCTC'], 'vocab_size': WORDS, 'pad_token_id': WORDS - 1, 'ctc_zero_infinity': True,
            'encoder_config': encoder_config('parakeet_encoder', attention_bias=False, convolution_bias=False, scale_input=False, **changed)}


def names_of_stages(is_flat):
    """(the strided convolution, that of one point) of each stage of the subsampling."""
    if is_flat:
        return [('layers.0', None), ('layers.2', 'layers.3'), ('layers.5', 'layers.6')]
    return [('conv_in', None), *(('layers.%d.depthwise_conv' % i, 'layers.%d.pointwise_conv' % i) for i in range(2))]


def with_bias(shapes):
    return {**shapes, **{name.replace('weight', 'bias'): shape[:1] for name, shape in shapes.items()}}


def subsampling_shapes(at, is_flat, bins):
    shapes = {at + 'linear.weight': (D, CHANNELS * bins)}
    for strided, pointwise in names_of_stages(is_flat):
        shapes[at + strided + '.weight'] = (CHANNELS, 1, 3, 3)
        shapes.update({at + pointwise + '.weight': (CHANNELS, CHANNELS, 1, 1)} if pointwise else {})
    return with_bias(shapes)


def layer_shapes(at, has_biases, is_batch_norm):
    matrices = {'self_attn.%s_proj.weight' % letter: (D, D) for letter in 'qkvo'}
    for i in (1, 2):
        matrices.update({'feed_forward%d.linear1.weight' % i: (INNER, D), 'feed_forward%d.linear2.weight' % i: (D, INNER)})
    matrices.update({'conv.pointwise_conv1.weight': (2 * D, D, 1), 'conv.depthwise_conv.weight': (D, 1, KERNEL), 'conv.pointwise_conv2.weight': (D, D, 1)})
    norms = ['norm_feed_forward1', 'norm_self_att', 'norm_conv', 'norm_feed_forward2', 'norm_out', 'conv.norm']
    shapes = {**(with_bias(matrices) if has_biases else matrices), **with_bias({name + '.weight': (D,) for name in norms}),
              'self_attn.relative_k_proj.weight': (D, D), 'self_attn.bias_u': (HEADS, D // HEADS), 'self_attn.bias_v': (HEADS, D // HEADS)}
    shapes.update({'conv.norm.running_mean': (D,), 'conv.norm.running_var': (D,)} if is_batch_norm else {})
    return {at + name: shape for name, shape in shapes.items()}


def state_of(is_flat, has_biases, is_batch_norm, bins, prefix='encoder.'):
    shapes = subsampling_shapes(prefix + 'subsampling.', is_flat, bins)
    for i in range(LAYERS):
        shapes.update(layer_shapes('%slayers.%d.' % (prefix, i), has_biases, is_batch_norm))
    state = random_state(shapes)
    state.update({name: np.abs(values) + np.float32(0.1) for name, values in state.items() if name.endswith('running_var')})
    return state


def nemotron_state(is_flat=False):
    beside = {'encoder_projector.weight': (64, D), 'decoder.embedding.weight': (WORDS, 64), 'decoder.lstm.weight_ih_l0': (256, 64), 'joint.head.weight': (WORDS, 64)}
    return {**state_of(is_flat, True, False, 4), **random_state(beside)}


def parakeet_state():
    return {**state_of(True, False, True, 3), **random_state({'ctc_head.weight': (WORDS, D, 1), 'ctc_head.bias': (WORDS,)}, 3)}


# ---- the published code, in float64 ----

def conv2d(x, p, name, stride, before, behind):
    """x [channels, time, bins]; as many zeros around the bins as around the frames."""
    weight = p[name + '.weight']
    x = np.pad(x, ((0, 0), (before, behind), (before, behind)))
    _, inputs, kernel, _ = weight.shape
    n, bins = ((size - kernel) // stride + 1 for size in x.shape[1:])
    out = np.zeros((len(weight), n, bins))
    for channel in range(len(weight)):
        seen = x[channel:channel + 1] if inputs == 1 and len(x) > 1 else x
        for t in range(n):
            for f in range(bins):
                out[channel, t, f] = (weight[channel] * seen[:, t * stride:t * stride + kernel, f * stride:f * stride + kernel]).sum() + p[name + '.bias'][channel]
    return out


def subsampled(x, p, at, is_flat, pads):
    x = x.astype(np.float64)[None]
    for strided, pointwise in names_of_stages(is_flat):
        x = conv2d(x, p, at + strided, 2, *pads)
        x = np.maximum(conv2d(x, p, at + pointwise, 1, 0, 0) if pointwise else x, 0)
    return linear(x.transpose(1, 0, 2).reshape(x.shape[1], -1), p, at + 'linear')


def rel_shift(scores):
    """[heads, queries, positions]: appendix B of Transformer-XL."""
    heads, queries, positions = scores.shape
    padded = np.pad(scores, ((0, 0), (0, 0), (1, 0))).reshape(heads, positions + 1, queries)
    return padded[:, 1:].reshape(heads, queries, positions)


def position_embeddings(n):
    inverse = 1 / 10000 ** (np.arange(0, D, 2) / D)
    phases = np.arange(n - 1, -n, -1)[:, None] * inverse
    return np.stack([np.sin(phases), np.cos(phases)], -1).reshape(2 * n - 1, D)


def self_attention(x, p, at, mask):
    n, size = len(x), D // HEADS
    q, k, v = (linear(x, p, '%s%s_proj' % (at, letter)).reshape(n, HEADS, size).swapaxes(0, 1) for letter in 'qkv')
    r = (position_embeddings(n) @ p[at + 'relative_k_proj.weight'].T).reshape(-1, HEADS, size).swapaxes(0, 1)
    bd = rel_shift((q + p[at + 'bias_v'][:, None]) @ r.swapaxes(1, 2))[..., :n]
    scores = ((q + p[at + 'bias_u'][:, None]) @ k.swapaxes(1, 2) + bd) * size ** -0.5
    weights = np.exp(np.where(mask, scores, -np.inf) - scores.max())
    return linear((weights / weights.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, D), p, at + 'o_proj')


def conv_module(x, p, at, before):
    """Kernels of which `before` taps are earlier frames."""
    def pointwise(x, name):
        return x @ p[at + name + '.weight'][..., 0].T + p.get(at + name + '.bias', 0)
    a, b = np.split(pointwise(x, 'pointwise_conv1'), 2, 1)
    padded = np.pad(a / (1 + np.exp(-b)), ((before, KERNEL - 1 - before), (0, 0)))
    taps = p[at + 'depthwise_conv.weight'][:, 0]
    x = sum(padded[j:len(x) + j] * taps[:, j] for j in range(KERNEL)) + p.get(at + 'depthwise_conv.bias', 0)
    weight, bias = p[at + 'norm.weight'], p[at + 'norm.bias']
    if at + 'norm.running_var' in p:
        x = (x - p[at + 'norm.running_mean']) / np.sqrt(p[at + 'norm.running_var'] + 1e-5) * weight + bias
    else:
        x = layer_norm(x, weight, bias)
    return pointwise(silu(x), 'pointwise_conv2')


def body(x, p, prefix, before, mask):
    """The layers of the encoder over subsampled frames."""
    for i in range(LAYERS):
        at = '%slayers.%d.' % (prefix, i)

        def normed(name):
            return layer_norm(x, p[at + name + '.weight'], p[at + name + '.bias'])

        def feed_forward(i):
            return linear(silu(linear(normed('norm_feed_forward%d' % i), p, '%sfeed_forward%d.linear1' % (at, i))), p, '%sfeed_forward%d.linear2' % (at, i))
        x = x + 0.5 * feed_forward(1)
        x = x + self_attention(normed('norm_self_att'), p, at + 'self_attn.', mask)
        x = x + conv_module(normed('norm_conv'), p, at + 'conv.', before)
        x = x + 0.5 * feed_forward(2)
        x = normed('norm_out')
    return x


def chunked_limited(n, back, ahead):
    """NeMo's mask of att_context_size [back, ahead]."""
    chunk = ahead + 1
    difference = np.arange(n)[:, None] // chunk - np.arange(n)[None] // chunk
    return (difference >= 0) & (difference <= back // chunk)


def nemotron_read(x, state, ahead, is_flat=False, scale=math.sqrt(D), prefix='encoder.'):
    p = double(state)
    x = subsampled(x, p, prefix + 'subsampling.', is_flat, (2, 1)) * scale
    return body(x, p, prefix, KERNEL - 1, chunked_limited(len(x), BACK, ahead))


def parakeet_read(x, state, sees):
    """With the head, and its log_softmax. `sees` (n): the mask."""
    p = double(state)
    x = subsampled(x, p, 'encoder.subsampling.', True, (1, 1))
    x = body(x, p, 'encoder.', KERNEL // 2, sees(len(x))) @ p['ctc_head.weight'][..., 0].T + p['ctc_head.bias']
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# ---- Nemotron ----

def said_delay(said):
    return int(re.search(r'delay: (\d+) frames', said).group(1))


def test_nemotron_streaming_is_that_of_its_modelling_code_for_every_chunk_size():
    state = nemotron_state()
    folder(state, nemotron_config())
    for options, ahead in (([], AHEAD), (['--chunk', '2'], 1), (['--chunk', '1'], 0), (['--chunk', '4'], 3)):
        said = exported('folder', 'encoder.safetensors', *options)
        encoder = attn.Encoder('encoder.safetensors')
        for n in (200, 161):
            wanted = nemotron_read(frames(n, BINS), state, ahead)
            assert len(wanted) == ((n // 2 + 1) // 2 + 1) // 2 + 1
            close(frames(n, BINS), wanted, LAYERS)
        assert encoder.reach_ahead == said_delay(said) == 8 * ahead, said
        assert encoder.attentions[1]['chunk'] == ahead + 1 and encoder.attentions[1]['chunks'] == BACK // (ahead + 1)


@contextlib.contextmanager
def sizes(**others):
    """Other sizes than those at the top of this file."""
    before = {name: globals()[name] for name in others}
    globals().update(others)
    try:
        yield
    finally:
        globals().update(before)


def test_nemotron_of_wide_layers_streams_its_published_chunks():
    with sizes(LAYERS=4, D=256, HEADS=8, INNER=1024, KERNEL=9, BACK=70):
        state = nemotron_state()
        folder(state, nemotron_config())
        for chunk, chunks in ((2, 35), (7, 10)):
            exported('folder', 'encoder.safetensors', '--chunk', str(chunk))
            encoder, x = attn.Encoder('encoder.safetensors'), frames(8 * 90, BINS)
            assert [(each['chunk'], each['chunks']) for each in encoder.attentions] == 4 * [(chunk, chunks)]
            stream, wanted = encoder.stream(), nemotron_read(x, state, chunk - 1, scale=math.sqrt(D))
            got = np.concatenate([stream.push(x[i:i + 8 * chunk]) for i in range(0, len(x), 8 * chunk)] + [stream.drain()])
            assert got.shape == wanted.shape == (91, D)
            assert np.abs(got - wanted).max() / np.abs(wanted).max() <= 2e-6 * LAYERS
            close(x, wanted, LAYERS)


def test_nemotron_streamed_in_pieces_is_that_of_its_modelling_code():
    state = nemotron_state()
    folder(state, nemotron_config())
    exported('folder', 'encoder.safetensors')
    x, stream = frames(200, BINS), attn.Encoder('encoder.safetensors').stream()
    parts = [stream.push(part) for part in np.split(x, [1, 2, 60, 99, 171])] + [stream.drain()]
    wanted = nemotron_read(x, state, AHEAD)
    assert [len(part) for part in parts[:3]] == [0, 0, 6]
    assert np.abs(np.concatenate(parts) - wanted).max() / np.abs(wanted).max() <= 2e-6 * LAYERS


def test_layout_of_stages_scale_and_prefix_may_differ():
    state = {name[len('encoder.'):]: values for name, values in nemotron_state(True).items() if name.startswith('encoder.')}
    folder(state, {**nemotron_config(scale_input=False)['encoder_config'], 'dtype': 'float32'})
    exported('folder', 'encoder.safetensors')
    close(frames(120, BINS), nemotron_read(frames(120, BINS), state, AHEAD, True, 1, ''), LAYERS)


def test_table_says_what_each_chunk_size_costs():
    folder(nemotron_state(), nemotron_config())
    with open('folder/processor_config.json', 'w') as f:
        json.dump({'feature_extractor': {'feature_size': BINS, 'sampling_rate': 16000, 'hop_length': 160, 'win_length': 400, 'n_fft': 512, 'preemphasis': 0.97},
                   'supported_num_lookahead_tokens': [2, 1, 0]}, f)
    said = exported('folder', 'encoder.safetensors', '--check')
    for text in ('delay: 16 frames (160 ms at 100 frames', 'chunk 3 <- taken: earlier chunks seen: 2; a chunk is 240 ms of sound, and its first frame waits 160 ms',
                 'chunk 2: earlier chunks seen: 3; a chunk is 160 ms of sound, and its first frame waits 80 ms',
                 'chunk 1: earlier chunks seen: 6; a chunk is 80 ms of sound, and its first frame waits 0 ms', 'another size: --chunk',
                 'self_attn.relative_k_proj.weight -> linear_pos.weight', 'no element computes it', 'what encoder_projector takes', 'joint.head.weight', 'checked: libattn'):
        assert text in said, (text, said)
    encoder = attn.Encoder('encoder.safetensors')
    told = {key: encoder.metadata(key) for key in ('style', 'bins', 'sample-rate', 'hop-length', 'frame-length', 'fft-size', 'frame-rate')}
    assert told == {'style': 'nemo', 'bins': str(BINS), 'sample-rate': '16000', 'hop-length': '10', 'frame-length': '25', 'fft-size': '512', 'frame-rate': '100'}, told
    said = exported('folder', 'encoder.safetensors', '--chunk', '4')
    for text in ('not trained with chunks of 4', 'chunk 4 <- taken: earlier chunks seen: 1', 'sliding_window=7', '2 of them are left out'):
        assert text in said, (text, said)


def test_nemotron_with_languages_is_exported_up_to_its_prompt():
    state = {**nemotron_state(), **random_state({'prompt_projector.linear_1.weight': (48, D + 4)})}
    folder(state, {**nemotron_config(), 'model_type': 'nemotron3_5_asr', 'num_prompts': 4})
    said = exported('folder', 'encoder.safetensors')
    assert 'what prompt_projector takes' in said and 'prompt_projector.linear_1.weight' in said, said
    close(frames(100, BINS), nemotron_read(frames(100, BINS), state, AHEAD), LAYERS)


# ---- Parakeet ----

def add_counter(path, name):
    """A tensor of one whole number, as a BatchNorm has it, behind the others of the file."""
    with open(path, 'rb') as f:
        header, data = json.loads(f.read(int.from_bytes(f.read(8), 'little'))), f.read()
    text = json.dumps({**header, name: {'dtype': 'I64', 'shape': [], 'data_offsets': [len(data), len(data) + 8]}}).encode()
    with open(path, 'wb') as f:
        f.write(len(text).to_bytes(8, 'little') + text + data + bytes(8))


def test_parakeet_with_ctc_is_that_of_its_modelling_code_under_the_same_mask():
    state = parakeet_state()
    folder(state, parakeet_config())
    add_counter('folder/model.safetensors', 'encoder.layers.0.conv.norm.num_batches_tracked')
    x = frames(200, BINS)
    for options, sees in ((['--window', '7', '--look-ahead', '3'], lambda n: (distances_of(n) < 7) & (distances_of(n) >= -3)),
                          (['--window', '7'], lambda n: (distances_of(n) < 7) & (distances_of(n) >= 0)),
                          (['--chunk', '3', '--chunks', '1'], lambda n: chunked_limited(n, 3, 2))):
        said = exported('folder', 'encoder.safetensors', *options, '--check')
        close(x, parakeet_read(x, state, sees), LAYERS)
        assert attn.Encoder('encoder.safetensors').reach_ahead == said_delay(said), said
    for text in ('trained on whole utterances', 'look ahead in every layer', '--standardize', 'encoder and CTC'):
        assert text in said, (text, said)


def distances_of(n):
    return np.arange(n)[:, None] - np.arange(n)[None]


# ---- refusals ----

def test_models_that_no_stream_computes_as_they_are_are_refused_by_name():
    folder(parakeet_state(), parakeet_config())
    for words in ([], ['--chunk', '3'], ['--window', '5', '--chunk', '3', '--chunks', '2'], ['--chunks', '3'], ['--window', '7,5']):
        refused(['whole utterances', '--window', '--chunks'], 'folder', 'x.safetensors', *words)
    folder(nemotron_state(), nemotron_config())
    for words in (['--window', '7'], ['--look-ahead', '2'], ['--chunks', '2'], ['--heads', '4'], ['--part', 'encoder']):
        refused([words[0], 'would change nothing'], 'folder', 'x.safetensors', *words)
    refused(['--chunk says 0'], 'folder', 'x.safetensors', '--chunk', '0')


def test_what_a_folder_says_otherwise_is_refused_by_name():
    for changed, words in (({'conv_kernel_size': 7}, ['conv_kernel_size=7', 'has 5']), ({'subsampling_factor': 6}, ['subsampling_factor=6', 'power of 2']),
                           ({'num_attention_heads': 3}, ['3 heads', '32 rows']), ({'num_hidden_layers': 3}, ['num_hidden_layers=3', 'has 2']),
                           ({'num_mel_bins': 80}, ['encoder.subsampling.linear', '24', '66']), ({'scale_input': 2}, ['scale_input=2']),
                           ({'use_rotary': True}, ['use_rotary=true', '--ignore']), ({'hidden_act': 'selu'}, ['selu'])):
        folder(nemotron_state(), nemotron_config(**changed))
        refused(words, 'folder', 'x.safetensors')
    folder({**nemotron_state(), 'encoder.layers.1.self_attn.q_norm.weight': np.ones(8, np.float32)}, nemotron_config())
    refused(['encoder.layers.1.self_attn', 'q_norm.weight'], 'folder', 'x.safetensors')
    folder({**nemotron_state(), 'encoder.out_proj.weight': np.ones((8, D), np.float32)}, nemotron_config())
    refused(['encoder.out_proj.weight', 'no block'], 'folder', 'x.safetensors')
    folder(nemotron_state(), nemotron_config())
    with open('folder/preprocessor_config.json', 'w') as f:
        json.dump({'feature_size': BINS, 'preemphasis': 0.9}, f)
    refused(['preemphasis=0.9', '0.97'], 'folder', 'x.safetensors')


# ---- the table ----

def random_chunks(rng):
    """Blocks with chunks of several lengths, at several rates, inside and outside of residuals, and their tensors."""
    blocks, tensors, width = [], {}, 4

    def tensor(name, *shape):
        tensors[name] = (rng.standard_normal(shape) * 0.3).astype(np.float32)

    def attention(i):
        for projection in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
            tensor('a%d.%s.weight' % (i, projection), width, width)
        seen = {'chunk': int(rng.integers(1, 6)), 'chunks': int(rng.integers(0, 3))} if rng.random() < 0.7 else {'window': 3, 'look-ahead': 2}
        return {'attention': 'a%d' % i, 'heads': 2, **seen}
    for i in range(int(rng.integers(2, 7))):
        kernel, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        left = int(rng.integers(0, kernel))
        tensor('c%d.weight' % i, width, width, kernel)
        same = {'conv': 'c%d' % i, **{side: n for side, n in (('left', left), ('right', kernel - 1 - left)) if n}}
        blocks.append([{**same, 'stride': stride}, {'residual': [same, attention(i)]}, attention(i), {'residual': [attention(i)]}][int(rng.integers(0, 4))])
    return blocks, tensors


def test_reach_of_the_table_with_chunks_is_that_of_the_library():
    rng = np.random.default_rng(11)
    for _ in range(60):
        blocks, tensors = random_chunks(rng)
        table = export_encoder.write('encoder.safetensors', tensors, blocks, features=4)
        encoder = attn.Encoder('encoder.safetensors')
        told = 'reads %d frames back and %d ahead; delay: %d frames' % (encoder.reach_back, encoder.reach_ahead, encoder.reach_ahead)
        assert told in table, (told, table)
    refused_period = [{'attention': 'a%d' % i, 'heads': 2, 'chunk': chunk, 'chunks': 1} for i, chunk in enumerate((1021, 1031))]
    tensors = {'a%d.%s.weight' % (i, name): np.eye(4, dtype=np.float32) for i in range(2) for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj')}
    try:
        export_encoder.write('x.safetensors', tensors, refused_period, features=4)
    except export_encoder.ExportError as error:
        assert '1052651' in str(error) and '1048576' in str(error), error
    else:
        raise AssertionError('not refused')


def test_formula_of_the_check_is_told_apart_from_others():
    """The comparison fails where the file computes with other chunks, or with another bias of positions."""
    folder(nemotron_state(), nemotron_config())
    exported('folder', 'encoder.safetensors')
    blocks, tensors, features = check.encoder_of('encoder.safetensors')
    x = frames(160, features)
    right = attn.Encoder('encoder.safetensors').forward(x)
    assert law.measure_all(blocks, tensors, features)[0] == D
    assert np.abs(check.by_formula(x.astype(np.float64), blocks, tensors) - right).max() <= 2e-6 * LAYERS * np.abs(right).max()
    swapped = {**tensors, **{'encoder.layers.0.self_attn.pos_bias_' + name: tensors['encoder.layers.0.self_attn.pos_bias_' + other] for name, other in ('uv', 'vu')}}
    assert np.abs(check.by_formula(x.astype(np.float64), blocks, swapped) - right).max() > 1e-3 * np.abs(right).max()


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'test_', '.'))
