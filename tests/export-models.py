#!/usr/bin/python3
"""Models that examples/export_encoder.py knows, with small random weights in the layouts of their folders, run by libattn and compared with
their published code, written down here again in float64. And descriptions, for models that it does not know. TAP.

    export-models.py LIBRARY            tests without PyTorch
    export-models.py LIBRARY --torch    archives and pickles; fails if PyTorch is missing

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import math
import os
import subprocess
import sys

import numpy as np

import tap
from models import (D, EXPORTER, HEADS, INNER, KV_HEADS, LAYERS, SIZE, attend, attention, attn, causal, close, conv_padded_left, distances, double,
                    export_encoder, exported, exporter, files, folder, frames, gelu, layer_norm, linear, random_state, refused, rms_norm,
                    rope_of_hugging_face, rope_of_kyutai, silu)


# ---- Moonshine Streaming ----

WINDOWS = [[6, 3], [5, 0], [4, 2]]
LENGTH = 40


def moonshine_config(**changed):
    encoder = {'model_type': 'moonshine_streaming_encoder', 'hidden_size': D, 'intermediate_size': INNER, 'hidden_act': 'gelu', 'num_hidden_layers': LAYERS,
               'num_attention_heads': HEADS, 'num_key_value_heads': KV_HEADS, 'head_dim': SIZE, 'max_position_embeddings': 4096, 'attention_dropout': 0.0,
               'attention_bias': False, 'sample_rate': 16000, 'frame_ms': 2.5, 'sliding_windows': WINDOWS, **changed}
    return {'model_type': 'moonshine_streaming', 'architectures': ['MoonshineStreamingForConditionalGeneration'], 'hidden_size': 64, 'hidden_act': 'silu',
            'num_attention_heads': 8, 'num_hidden_layers': 2, 'encoder_config': encoder, 'vocab_size': 100, 'rope_parameters': {'rope_theta': 10000.0}}


def moonshine_state(prefix='model.encoder.'):
    e = prefix + 'embedder.'
    shapes = {e + 'comp.log_k': (), e + 'linear.weight': (D, LENGTH), e + 'conv1.weight': (2 * D, D, 5), e + 'conv1.bias': (2 * D,),
              e + 'conv2.weight': (D, 2 * D, 5), e + 'conv2.bias': (D,), prefix + 'final_norm.gamma': (D,)}
    for i in range(LAYERS):
        at = '%slayers.%d.' % (prefix, i)
        shapes.update({at + 'self_attn.q_proj.weight': (HEADS * SIZE, D), at + 'self_attn.k_proj.weight': (KV_HEADS * SIZE, D),
                       at + 'self_attn.v_proj.weight': (KV_HEADS * SIZE, D), at + 'self_attn.o_proj.weight': (D, HEADS * SIZE),
                       at + 'mlp.fc1.weight': (INNER, D), at + 'mlp.fc1.bias': (INNER,), at + 'mlp.fc2.weight': (D, INNER), at + 'mlp.fc2.bias': (D,),
                       at + 'input_layernorm.gamma': (D,), at + 'post_attention_layernorm.gamma': (D,)})
    state = random_state({name: shape for name, shape in shapes.items() if shape})
    return {**state, e + 'comp.log_k': np.float32(math.log(0.75)), 'model.decoder.embed_tokens.weight': np.ones((4, D), np.float32)}


def moonshine_embedded(samples, p, e):
    """MoonshineStreamingFrameCMVN and MoonshineStreamingAsinhCompression."""
    x = samples.astype(np.float64).reshape(-1, LENGTH)
    centred = x - x.mean(-1, keepdims=True)
    return np.arcsinh(np.exp(p[e + 'comp.log_k']) * (centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-6)))


def moonshine_read(x, state, sees, prefix='model.encoder.'):
    """The encoder behind the compression. `sees` (dist, left, right): the mask."""
    p, e = double(state), prefix + 'embedder.'
    x = silu(linear(x, p, e + 'linear'))
    x = silu(conv_padded_left(x, p, e + 'conv1', 4, 2))
    x = conv_padded_left(x, p, e + 'conv2', 4, 2)
    for i, window in enumerate(WINDOWS):
        at = '%slayers.%d.' % (prefix, i)
        x = x + attention(layer_norm(x, p[at + 'input_layernorm.gamma'] + 1.0), p, at + 'self_attn', HEADS, sees(distances(len(x)), *window))
        x = x + linear(gelu(linear(layer_norm(x, p[at + 'post_attention_layernorm.gamma'] + 1.0), p, at + 'mlp.fc1')), p, at + 'mlp.fc2')
    return layer_norm(x, p[prefix + 'final_norm.gamma'] + 1.0)


def mask_of_transformers(dist, left, right):
    return ((dist >= 0) & (dist < left)) | ((dist < 0) & (-dist < right))


def test_moonshine_streaming_is_that_of_its_modelling_code():
    state = moonshine_state()
    folder(state, moonshine_config())
    said = exported('folder', 'encoder.safetensors', '--check')
    samples = np.random.default_rng(4).standard_normal(181 * LENGTH + 7).astype(np.float32)
    embedded = moonshine_embedded(samples[:181 * LENGTH], double(state), 'model.encoder.embedder.')
    x = export_encoder.moonshine_frames(samples, 0.75, LENGTH)
    assert np.abs(x - embedded).max() < 2e-6
    close(x, moonshine_read(x, state, mask_of_transformers))
    encoder = attn.Encoder('encoder.safetensors')
    assert encoder.stride == 4 and [(a['window'], a['look_ahead']) for a in encoder.attentions] == [(6, 2), (5, 0), (4, 1)]
    for text in ('window exclusive <- taken: (6, 3) is 5 back and 2 ahead; (5, 0) is 4 back and 0 ahead; (4, 2) is 3 back and 1 ahead',
                 'window inclusive: (6, 3) is 6 back and 3 ahead; (5, 0) is 5 back and 0 ahead', '--window-reading inclusive', 't−5 … t+2',
                 'moonshine_frames (samples, 0.75)', '12 frames (30 ms at 400 frames', 'left out, of other modules: 1 tensors: model.decoder.embed_tokens.weight', 'checked: '):
        assert text in said, said


def test_other_reading_of_windows_is_taken_when_asked_for():
    tensors, state = in_bf16(moonshine_state('encoder.'))
    folder(tensors, moonshine_config()['encoder_config'])  # of the encoder alone, in bf16: computed tensors are written in f32
    said = exported('folder', 'encoder.safetensors', '--window-reading', 'inclusive')
    assert 'window inclusive <- taken: ' in said, said
    dtypes = {name: values.dtype for name, values in files.open_safetensors('encoder.safetensors')[0].items()}
    assert dtypes['encoder.final_norm.weight'] == 'F32' and dtypes['encoder.layers.0.mlp.fc1.weight'] == 'BF16', dtypes
    x = frames(181, LENGTH)
    close(x, moonshine_read(x, state, lambda dist, left, right: (dist <= left) & (-dist <= right), 'encoder.'))


# ---- Mimi ----

CONTEXT = 7


def mimi_config(**changed):
    return {'model_type': 'mimi', 'architectures': ['MimiModel'], 'hidden_size': D, 'intermediate_size': INNER, 'num_hidden_layers': LAYERS, 'head_dim': 8,
            'num_attention_heads': HEADS, 'num_key_value_heads': HEADS, 'hidden_act': 'gelu', 'norm_eps': 1e-5, 'rope_theta': 9000.0, 'sliding_window': CONTEXT,
            'sampling_rate': 24000, 'upsampling_ratios': [8, 6, 5, 4], 'codebook_size': 16, 'layer_scale_initial_scale': 0.01, 'torch_dtype': 'float32',
            'frame_rate': 12.5, 'attention_bias': False, 'use_causal_conv': True, 'rope_scaling': None, **changed}


def kyutai_state(part):
    """As Kyutai's file has it."""
    shapes = {}
    for i in range(LAYERS):
        at = '%s_transformer.transformer.layers.%d.' % (part, i)
        shapes.update({at + 'self_attn.in_proj_weight': (3 * D, D), at + 'self_attn.out_proj.weight': (D, D), at + 'linear1.weight': (INNER, D),
                       at + 'linear2.weight': (D, INNER), at + 'norm1.weight': (D,), at + 'norm1.bias': (D,), at + 'norm2.weight': (D,), at + 'norm2.bias': (D,),
                       at + 'layer_scale_1.scale': (D,), at + 'layer_scale_2.scale': (D,)})
    return random_state(shapes, seed=sum(part.encode()))


def kyutai_read(x, state, part):
    """StreamingTransformer with context, RoPE of neighbours and layer scales."""
    p, x = double(state), x.astype(np.float64)
    for i in range(LAYERS):
        at = '%s_transformer.transformer.layers.%d.' % (part, i)
        y = layer_norm(x, p[at + 'norm1.weight'], p[at + 'norm1.bias']) @ p[at + 'self_attn.in_proj_weight'].T
        q, k, v = y.reshape(len(x), 3, HEADS, -1).swapaxes(0, 1)
        y = attend(q, k, v, causal(len(x), CONTEXT), lambda each: rope_of_kyutai(each, 9000.0)) @ p[at + 'self_attn.out_proj.weight'].T
        x = x + p[at + 'layer_scale_1.scale'] * y
        y = linear(gelu(linear(layer_norm(x, p[at + 'norm2.weight'], p[at + 'norm2.bias']), p, at + 'linear1')), p, at + 'linear2')
        x = x + p[at + 'layer_scale_2.scale'] * y
    return x


# Their names at Hugging Face.
RENAMED = (('transformer.transformer', 'transformer'), ('linear1', 'mlp.fc1'), ('linear2', 'mlp.fc2'), ('out_proj', 'o_proj'), ('norm1', 'input_layernorm'),
           ('norm2', 'post_attention_layernorm'), ('layer_scale_1', 'self_attn_layer_scale'), ('layer_scale_2', 'mlp_layer_scale'))


def mimi_state(kyutai):
    """The same model as Hugging Face's file has it: rows of queries and keys from neighbours to halves."""
    state = {}
    for name, values in kyutai.items():
        for old, new in RENAMED:
            name = name.replace(old, new)
        if 'in_proj_weight' not in name:
            state[name] = values
            continue
        for letter, rows in zip('qkv', np.split(values, 3)):
            halves = rows.reshape(HEADS, D // HEADS // 2, 2, D).swapaxes(1, 2).reshape(D, D)
            state[name.replace('in_proj_weight', letter + '_proj.weight')] = rows if letter == 'v' else halves
    return state


def mimi_read(x, state, part):
    """MimiTransformerModel."""
    p, x = double(state), x.astype(np.float64)
    for i in range(LAYERS):
        at = '%s_transformer.layers.%d.' % (part, i)
        y = attention(layer_norm(x, p[at + 'input_layernorm.weight'], p[at + 'input_layernorm.bias']), p, at + 'self_attn', HEADS,
                      causal(len(x), CONTEXT), lambda each: rope_of_hugging_face(each, 9000.0))
        x = x + p[at + 'self_attn_layer_scale.scale'] * y
        y = linear(gelu(linear(layer_norm(x, p[at + 'post_attention_layernorm.weight'], p[at + 'post_attention_layernorm.bias']), p, at + 'mlp.fc1')),
                   p, at + 'mlp.fc2')
        x = x + p[at + 'mlp_layer_scale.scale'] * y
    return x


def test_mimi_is_that_of_both_programs_in_both_layouts():
    kyutai = {**kyutai_state('encoder'), **kyutai_state('decoder')}
    hugging_face = mimi_state(kyutai)
    folder({**hugging_face, 'encoder.layers.0.conv.weight': np.ones((4, 1, 7), np.float32)}, mimi_config(), shards=3)
    export_encoder.save('kyutai.safetensors', kyutai)
    x = frames(60, D)
    for part in ('encoder', 'decoder'):
        said = exported('folder', 'encoder.safetensors', '--part', part)
        close(x, mimi_read(x, hugging_face, part))
        assert "Mimi's %s transformer" % part in said and 'encoder.layers.0.conv.weight' in said and '7 is 6 back' in said, said
        assert json.loads(attn.Encoder('encoder.safetensors').metadata('encoder'))['frame-rate'] == [25, 1]
        exported('kyutai.safetensors', 'encoder.safetensors', '--part', part, '--heads', str(HEADS), '--window', str(CONTEXT), '--rope-base', '9000')
        close(x, kyutai_read(x, kyutai, part))
        assert np.abs(kyutai_read(x, kyutai, part) - mimi_read(x, hugging_face, part)).max() < 1e-9


def test_kyutais_file_tells_no_numbers():
    export_encoder.save('kyutai.safetensors', kyutai_state('encoder'))
    refused(['--heads', '32 values'], 'kyutai.safetensors', 'encoder.safetensors')
    refused(['one tensor', 'decoder_transformer'], folder(mimi_state(kyutai_state('encoder')), mimi_config()) or 'folder', 'x.safetensors', '--part', 'decoder')
    newer = {name.replace('in_proj_weight', 'in_projs.0.weight').replace('out_proj.', 'out_projs.0.'): values for name, values in kyutai_state('encoder').items()}
    export_encoder.save('kyutai.safetensors', newer)
    exported('kyutai.safetensors', 'encoder.safetensors', '--heads', str(HEADS), '--window', str(CONTEXT), '--rope-base', '9000')
    close(frames(60, D), kyutai_read(frames(60, D), kyutai_state('encoder'), 'encoder'))


# ---- Voxtral Realtime ----

BINS = 12


def voxtral_config(**changed):
    audio = {'model_type': 'voxtral_realtime_encoder', 'hidden_size': D, 'intermediate_size': INNER, 'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS,
             'activation_function': 'gelu', 'num_mel_bins': BINS, 'hidden_act': 'silu', 'rms_norm_eps': 1e-4, 'sliding_window': 6, 'head_dim': SIZE,
             'rope_parameters': {'rope_theta': 1e6, 'rope_type': 'default'}, 'vocab_size': 100, 'max_position_embeddings': 1500, **changed}
    return {'model_type': 'voxtral_realtime', 'audio_config': audio, 'text_config': {'hidden_size': 64}, 'downsample_factor': 4}


def voxtral_state(prefix='audio_tower.'):
    shapes = {prefix + 'embedder.conv1.weight': (D, BINS, 3), prefix + 'embedder.conv1.bias': (D,), prefix + 'embedder.conv2.weight': (D, D, 3),
              prefix + 'embedder.conv2.bias': (D,), prefix + 'norm.weight': (D,)}
    for i in range(LAYERS):
        at = '%slayers.%d.' % (prefix, i)
        shapes.update({at + 'self_attn.q_proj.weight': (HEADS * SIZE, D), at + 'self_attn.q_proj.bias': (HEADS * SIZE,), at + 'self_attn.k_proj.weight':
                       (HEADS * SIZE, D), at + 'self_attn.v_proj.weight': (HEADS * SIZE, D), at + 'self_attn.v_proj.bias': (HEADS * SIZE,),
                       at + 'self_attn.o_proj.weight': (D, HEADS * SIZE), at + 'self_attn.o_proj.bias': (D,), at + 'self_attn_layer_norm.weight': (D,),
                       at + 'final_layer_norm.weight': (D,), at + 'mlp.gate_proj.weight': (INNER, D), at + 'mlp.up_proj.weight': (INNER, D),
                       at + 'mlp.down_proj.weight': (D, INNER), at + 'mlp.down_proj.bias': (D,)})
    return random_state(shapes)


def voxtral_read(x, state, prefix='audio_tower.'):
    p = double(state)
    x = gelu(conv_padded_left(x.astype(np.float64), p, prefix + 'embedder.conv1', 2, 1))  # left_pad: kernel less stride
    x = gelu(conv_padded_left(x, p, prefix + 'embedder.conv2', 1, 2))
    for i in range(LAYERS):
        at = '%slayers.%d.' % (prefix, i)
        y = rms_norm(x, p[at + 'self_attn_layer_norm.weight'], 1e-4)
        x = x + attention(y, p, at + 'self_attn', HEADS, causal(len(x), 6), lambda each: rope_of_hugging_face(each, 1e6))
        y = rms_norm(x, p[at + 'final_layer_norm.weight'], 1e-4)
        x = x + linear(silu(linear(y, p, at + 'mlp.gate_proj')) * linear(y, p, at + 'mlp.up_proj'), p, at + 'mlp.down_proj')
    return rms_norm(x, p[prefix + 'norm.weight'], 1e-4)


def bf16(values):
    """The upper 16 bits of each float32, as whole numbers."""
    return (np.atleast_1d(values).astype('<f4').view('<u4') >> 16).astype('<u2').reshape(np.shape(values))


def in_bf16(state):
    """(the state as Tensors in bf16, the same numbers in float32)."""
    kept = {name: files.Tensor('BF16', values.shape, lambda values=values: bf16(values)) for name, values in state.items()}
    return kept, {name: values.numpy() for name, values in kept.items()}


def test_voxtral_realtime_is_that_of_its_modelling_code_in_bf16():
    tensors, state = in_bf16(voxtral_state())
    folder({**tensors, 'multi_modal_projector.linear_1.weight': np.ones((4, 4), np.float32)}, voxtral_config(), shards=2)
    said = exported('folder', 'encoder.safetensors')
    x = frames(61, BINS)
    close(x, voxtral_read(x, state))
    encoder = attn.Encoder('encoder.safetensors')
    told = {key: encoder.metadata(key) for key in ('style', 'bins', 'sample-rate', 'hop-length', 'frame-length', 'fft-size', 'log-maximum')}
    assert told == {'style': 'whisper', 'bins': str(BINS), 'sample-rate': '16000', 'hop-length': '10', 'frame-length': '25', 'fft-size': '400',
                    'log-maximum': '1.5'}, told
    assert 'multi_modal_projector.linear_1.weight' in said and '6 is 5 back' in said, said
    with open('folder/preprocessor_config.json', 'w') as f:
        json.dump({'feature_size': BINS, 'sampling_rate': 8000, 'hop_length': 100, 'win_length': 300, 'n_fft': 300, 'global_log_mel_max': 2.5}, f)
    exported('folder', 'other.safetensors')
    other = attn.Encoder('other.safetensors')
    told = [other.metadata(key) for key in ('sample-rate', 'hop-length', 'frame-length', 'fft-size', 'log-maximum', 'frame-rate')]
    assert told == ['8000', '12.5', '37.5', '300', '2.5', '80'], told
    with open('folder/preprocessor_config.json', 'w') as f:
        json.dump({'feature_size': 80}, f)
    refused(['feature_size=80', 'num_mel_bins=12'], 'folder', 'x.safetensors')
    written = files.open_safetensors('encoder.safetensors')[0]
    assert {values.dtype for values in written.values()} == {'BF16'}
    assert np.array_equal(written['audio_tower.embedder.conv1.weight'].stored(), tensors['audio_tower.embedder.conv1.weight'].stored())
    assert os.path.getsize('encoder.safetensors') < 2 * sum(values.size for values in state.values()) + 12000


# ---- refusals ----

def test_what_a_configuration_says_and_nobody_knows_is_refused_by_name():
    folder(mimi_state(kyutai_state('encoder')), mimi_config(query_norm=True))
    refused(['query_norm=true', '--ignore query_norm'], 'folder', 'x.safetensors')
    exported('folder', 'encoder.safetensors', '--ignore', 'query_norm')
    for changed, words in (({'hidden_act': 'quick_gelu'}, ['quick_gelu', 'gelu_new']), ({'rope_scaling': {'rope_type': 'yarn', 'factor': 4}}, ['rope_type=yarn']),
                           ({'num_hidden_layers': 4}, ['num_hidden_layers=4', 'has 3']), ({'num_attention_heads': 8}, ['32 rows', '8 heads of 8']), ({'num_key_value_heads': 2}, ['32 rows', '2 heads of 8']),
                           ({'sliding_window': None}, ['sliding_window']), ({'partial_rotary_factor': 0.5, 'rope_parameters': {'new': 1}}, ['new'])):
        folder(mimi_state(kyutai_state('encoder')), mimi_config(**changed))
        refused(words, 'folder', 'x.safetensors')
    folder(moonshine_state(), moonshine_config(sliding_windows=WINDOWS[:2]))
    refused(['2 sliding_windows', '3 layers'], 'folder', 'x.safetensors')
    for changed, words in (({'hidden_size': '32'}, ['hidden_size="32"']), ({'num_hidden_layers': 10 ** 9}, ['num_hidden_layers=1000000000']),
                           ({'sliding_windows': [[6, 3], 5, [4, 2]]}, ['sliding_windows', '[16, 4]']), ({'frame_ms': 0}, ['frame_ms=0'])):
        folder(moonshine_state(), moonshine_config(**changed))
        refused(words, 'folder', 'x.safetensors')
    folder(moonshine_state(), {**moonshine_config(), 'encoder_config': None})
    refused(['encoder_config'], 'folder', 'x.safetensors')
    folder(voxtral_state(), voxtral_config(num_mel_bins=80, rope_parameters={'rope_theta': 1e4}))
    refused(['num_mel_bins=80', 'takes 12'], 'folder', 'x.safetensors')
    folder(voxtral_state(), voxtral_config(rope_parameters=None))
    refused(['rope_theta', '--rope-base'], 'folder', 'x.safetensors')
    exported('folder', 'encoder.safetensors', '--rope-base', '1e6')
    close(frames(61, BINS), voxtral_read(frames(61, BINS), voxtral_state()))
    refused(['--heads', 'would change nothing'], 'folder', 'x.safetensors', '--heads', '4', '--rope-base', '1e6')
    assert not os.path.exists('x.safetensors')


def test_options_that_would_change_nothing_are_refused():
    mimi, voxtral = (mimi_state(kyutai_state('encoder')), mimi_config()), (voxtral_state(), voxtral_config())
    rope = ['--rope-base', '9000']
    for (state, config), words in (((moonshine_state(), moonshine_config()), rope), ((moonshine_state(), moonshine_config()), ['--part', 'encoder']),
                                   (voxtral, ['--part', 'decoder']), (mimi, ['--heads', '4'])):
        folder(state, config)
        refused([words[0], 'would change nothing'], 'folder', 'x.safetensors', *words)
    folder(*mimi)
    exported('folder', 'encoder.safetensors', *rope)
    refused(['rope_theta=9000.0', '--rope-base says 8000'], 'folder', 'x.safetensors', '--rope-base', '8000')
    export_encoder.save('kyutai.safetensors', kyutai_state('encoder'))
    for words in (['--ignore', 'x'], ['--window-reading', 'inclusive']):
        refused([words[0], 'would change nothing'], 'kyutai.safetensors', 'x.safetensors', '--heads', '4', '--window', '7', *words)
    export_encoder.save('any.safetensors', {'layers.0.self_attn.in_proj_weight': np.ones((12, 4), np.float32)})
    for words in (['--layer'], describe()[2:], []):
        refused(['--part, --window-reading would change nothing'], 'any.safetensors', 'x.safetensors', '--part', 'encoder', '--window-reading', 'exclusive', *words)
    with open('bert.json', 'w') as f:
        json.dump({'model_type': 'bert'}, f)
    for words in (describe()[2:], []):
        refused(['--config would change nothing'], 'any.safetensors', 'x.safetensors', '--config', 'bert.json', *words)
    assert not os.path.exists('x.safetensors')


def test_tensors_of_a_known_model_that_no_block_computes_with_are_refused():
    folder({**mimi_state(kyutai_state('encoder')), 'encoder_transformer.layers.1.gate.weight': np.ones((D, D), np.float32)}, mimi_config())
    refused(['encoder_transformer.layers.1.gate.weight'], 'folder', 'x.safetensors')
    folder({**moonshine_state(), 'model.encoder.layers.2.self_attn.q_norm.weight': np.ones(SIZE, np.float32)}, moonshine_config())
    refused(['model.encoder.layers.2.self_attn', 'q_norm.weight'], 'folder', 'x.safetensors')
    folder({**voxtral_state(), 'audio_tower.norm.weight_scale': np.ones(D, np.float32)}, voxtral_config())
    refused(['audio_tower.norm', 'weight_scale'], 'folder', 'x.safetensors')
    folder({**voxtral_state(), 'audio_tower.layers.0.self_attn.rotary_emb.inv_freq': np.ones(5, np.float32)}, voxtral_config())
    exported('folder', 'encoder.safetensors')
    close(frames(61, BINS), voxtral_read(frames(61, BINS), voxtral_state()))


def test_folders_that_are_not_whole_are_refused():
    os.mkdir('empty')
    refused(['model.safetensors.index.json', 'it has nothing'], 'empty', 'x.safetensors')
    folder(mimi_state(kyutai_state('encoder')), mimi_config(), shards=2)
    index = 'folder/model.safetensors.index.json'
    with open(index) as f:
        good = json.load(f)
    for where, words in (({'a.weight': 'model-00001-of-00002.safetensors'}, ['a.weight', 'no such tensor']), ({'a.weight': '../a.safetensors'}, ['../a.safetensors', 'not a file beside it']),
                         ({'a.weight': 'missing.safetensors'}, ['missing.safetensors'])):
        with open(index, 'w') as f:
            json.dump({'weight_map': {**good['weight_map'], **where}}, f)
        refused(words, 'folder', 'x.safetensors')
    folder({'x.weight': np.ones((2, 2), np.float32)}, {'model_type': 'wav2vec2'}, 'other')
    refused(['no nn.TransformerEncoder', 'voxtral_realtime', '--describe'], 'other', 'x.safetensors')


# ---- descriptions ----

def described(**changed):
    return {'features': 6, 'frame-rate': [125, 2], 'metadata': {'bins': 6},
            'tensors': {'proj.weight': {'from': 'w_in', 'transpose': True}, 'block{i}.norm.weight': {'from': 'g{i}', 'plus': 1},
                        'block{i}.up.weight': {'from': ['up{i}', 'gate{i}']}, 'block{i}.down.weight': {'from': 'down{i}', 'times': 'scale{i}'},
                        'taps.weight': {'from': 'flat', 'shape': [6, 1, 3], 'times': 0.5}, 'out.weight': 'head'},
            'blocks': [{'linear': 'proj'}, {'conv': 'taps', 'groups': 6, 'left': 2},
                       {'repeat': 2, 'blocks': [{'residual': [{'norm': 'block{i}.norm', 'kind': 'rms'}, {'linear': 'block{i}.up'}, {'glu': 'silu'},
                                                              {'linear': 'block{i}.down'}]}]}, {'linear': 'out'}], **changed}


def described_state():
    rng = np.random.default_rng(5)
    shapes = {'w_in': (6, 6), 'flat': (18,), 'head': (3, 6), 'spare.weight': (2,)}
    for i in range(2):
        shapes.update({'g%d' % i: (6,), 'up%d' % i: (8, 6), 'gate%d' % i: (8, 6), 'down%d' % i: (6, 8), 'scale%d' % i: (6,)})
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def describe(**changed):
    with open('description.json', 'w') as f:
        json.dump(described(**changed), f)
    return 'any.safetensors', 'encoder.safetensors', '--describe', 'description.json'


def described_read(x, p):
    p, x = double(p), x.astype(np.float64) @ p['w_in'].astype(np.float64)
    padded = np.concatenate([np.zeros((2, 6)), x])
    x = 0.5 * sum(padded[j:len(x) + j] * p['flat'].reshape(6, 3)[:, j] for j in range(3))
    for i in range(2):
        y = rms_norm(x, p['g%d' % i] + 1, 1e-5)
        x = x + p['scale%d' % i] * ((y @ p['up%d' % i].T) * silu(y @ p['gate%d' % i].T) @ p['down%d' % i].T)
    return x @ p['head'].T


def test_description_names_the_tensors_of_any_model():
    export_encoder.save('any.safetensors', described_state())
    said = exported(*describe(), '--check')
    close(frames(40, 6), described_read(frames(40, 6), described_state()), 1)
    assert 'left out, of other modules: 1 tensors: spare.weight' in said and 'checked: libattn (attn.py) against the formulas' in said, said
    encoder = attn.Encoder('encoder.safetensors')
    assert encoder.metadata('bins') == '6' and json.loads(encoder.metadata('encoder'))['frame-rate'] == [125, 2]
    assert exported('any.safetensors', '--tensors').startswith('w_in F32 [6, 6]\nflat F32 [18]\n')


def test_batch_norm_of_a_description_becomes_an_affine():
    rng = np.random.default_rng(7)
    p = {'bn.weight': rng.standard_normal(5), 'bn.bias': rng.standard_normal(5), 'bn.running_mean': rng.standard_normal(5), 'bn.running_var': rng.uniform(0, 1, 5)}
    export_encoder.save('any.safetensors', {name: values.astype(np.float32) for name, values in p.items()})
    for eps in (1e-5, 0.1):
        exported(*describe(features=5, tensors={}, blocks=[{'affine': 'bn', **({} if eps == 1e-5 else {'batch-norm-eps': eps})}]))
        x = frames(20, 5)
        close(x, (x - p['bn.running_mean']) / np.sqrt(p['bn.running_var'] + eps) * p['bn.weight'] + p['bn.bias'], 1)


def test_descriptions_that_are_wrong_are_refused_by_name():
    export_encoder.save('any.safetensors', described_state())
    for changed, words in (({'colour': 1}, ["'colour'", 'features']), ({'blocks': {}}, ['blocks', '{}']), ({'blocks': [{'linear': 'nowhere'}]}, ['nowhere.*']),
                           ({'tensors': {'proj.weight': 'none'}}, ['proj.weight', 'none']), ({'tensors': {'proj.weight': {'from': 'w_in', 'turn': 1}}}, ["'turn'"]),
                           ({'tensors': {'proj.weight': {'from': 'w_in', 'shape': [5, 5]}}}, ['[5, 5]', '36 values']),
                           ({'tensors': {'proj.weight': {'from': ['w_in', 'flat']}}}, ['[6]', '[]']), ({'tensors': {'proj.weight': {'plus': 1}}}, ['from']),
                           ({'tensors': {'proj.weight': {'from': 'w_in', 'times': 'flat'}}}, ['6 rows', '[18]']),
                           ({'blocks': [{'repeat': 2, 'blocks': [{'repeat': 2, 'blocks': []}]}]}, ['blocks[0]', 'repeated']),
                           ({'frame-rate': 'often'}, ['frame-rate', 'often']), ({'frame-rate': [0, 1]}, ['frame-rate', '[0, 1]']),
                           ({'metadata': {'encoder': '{}'}}, ['metadata', "'encoder'"]), ({'metadata': {'bins': []}}, ['bins is []']),
                           ({'features': 7}, ['proj', '6 values', 'have 7']), ({'features': 'six'}, ['features', 'six']),
                           ({'tensors': {'proj.weight': {'from': 'w_in', 'times': None}}}, ['times is null', 'a number']),
                           ({'tensors': {'proj.weight': {'from': 'w_in', 'times': 1e10}, 'w.weight': {'from': 'proj.weight'}}}, ['w.weight', 'proj.weight']),
                           ({'blocks': [{'linear': 'head', 'colour': 1}]}, ['blocks[0]', "no key 'colour'", 'activation']),
                           ({'blocks': [{'residual': [{'glu': 'tanh'}]}]}, ['blocks[0].residual[0]', 'glu is "tanh"', 'silu']),
                           ({'blocks': [{'linear': 'head', 'norm': 'head'}]}, ['blocks[0]', 'linear and norm']), ({'blocks': [{}]}, ['blocks[0]', 'none']),
                           ({'blocks': [{'attention': 'head', 'heads': 2}]}, ['blocks[0]', 'takes window']), ({'blocks': [3]}, ['blocks[0]', '3']),
                           ({'blocks': [{'stack': 2}, {'residual': [{'stack': 2}]}], 'tensors': {}}, ['residual', 'stride of 2', '24 values', 'of 12']),
                           ({'blocks': [{'repeat': 10 ** 9, 'blocks': []}]}, ['blocks[0]', 'repeat'])):
        refused(words, *describe(**changed))
    refused(['--heads', 'would change nothing'], *describe(), '--heads', '3')
    assert not os.path.exists('encoder.safetensors')


def test_file_is_whole_or_not_there():
    """A computed value that is too large is found while the file is written."""
    export_encoder.save('any.safetensors', {'w': np.full((3, 3), 1e30, np.float32)})
    exported(*describe(features=3, tensors={'w.weight': {'from': 'w', 'times': 1e3}}, blocks=[{'linear': 'w'}]))
    before = open('encoder.safetensors', 'rb').read()
    refused(['[3, 3]', 'not finite'], *describe(features=3, tensors={'w.weight': {'from': 'w', 'times': 1e10}}, blocks=[{'linear': 'w'}]))
    assert open('encoder.safetensors', 'rb').read() == before and not [name for name in os.listdir('.') if name.endswith('.part')]


def test_numbers_that_are_not_finite_are_refused_by_their_tensor():
    tensors = {'F32': np.float32([[1, np.nan], [np.inf, 2]]), 'F16': np.float16([[1, np.nan], [np.inf, 2]]), 'F64': np.array([[1, np.nan], [np.inf, 2]]),
               'BF16': files.Tensor('BF16', (2, 2), lambda: bf16(np.float32([[1, np.nan], [-np.inf, 2]])))}
    for values in tensors.values():
        refused(['fc.weight', '2 of its 4 values', 'number 1'], *stored(values))
    assert not os.path.exists('encoder.safetensors') and not os.path.exists('encoder.safetensors.part')
    exported(*stored(np.float32([[1, -3e38], [1e-45, 2]])))


def stored(values):
    """A checkpoint of one linear layer, written without a look at its numbers, and the words that export it."""
    values = files.tensor(values)
    header = json.dumps({'fc.weight': {'dtype': values.dtype, 'shape': list(values.shape), 'data_offsets': [0, values.n_bytes]}})
    with open('any.safetensors', 'wb') as f:
        f.write(len(header).to_bytes(8, 'little') + header.encode() + values.stored().tobytes())
    return describe(features=2, tensors={}, blocks=[{'linear': 'fc'}])


def test_numbers_of_eight_bits_are_refused_whatever_is_made_of_them():
    words = stored(files.Tensor('F8_E4M3', (2, 2), lambda: np.ones((2, 2), np.uint8)))
    refused(['fc.weight', 'F8_E4M3', 'BF16'], *words)
    for form in ({'times': 2}, {'transpose': True}, {'from': ['fc.weight', 'fc.weight']}):
        words = describe(features=2, tensors={'up.weight': {'from': 'fc.weight', **form}}, blocks=[{'linear': 'up'}])
        refused(['F8_E4M3', 'BF16'], *words)
    assert not os.path.exists('encoder.safetensors')


def test_onnx_is_a_sentence_that_says_how():
    open('model.onnx', 'wb').close()
    said = exporter('model.onnx', 'x.safetensors')
    assert said.returncode == 1 and '--describe' in said.stdout
    os.mkdir('onnx')  # in the place of the package, with the parts that the two lines need
    with open('onnx/__init__.py', 'w') as f:
        f.write('class load:\n  def __init__(self, path):\n    self.graph = self\n    self.initializer = [Named("w"), Named("n")]\n'
                'class Named:\n  def __init__(self, name):\n    self.name = name\n')
    with open('onnx/numpy_helper.py', 'w') as f:
        f.write('import numpy\ndef to_array(t):\n  return numpy.ones((2, 3), "f4" if t.name == "w" else "i8")\n')
    lines = [line.strip() for line in said.stdout.split('\n') if line.startswith('  ')]
    assert len(lines) == 2
    subprocess.run([sys.executable, '-c', '\n'.join(lines)], check=True, env={**os.environ, 'PYTHONPATH': os.path.dirname(EXPORTER) + ':.'})
    assert list(export_encoder.load('tensors.safetensors')[0]) == ['w']


# ---- large files ----

def test_file_is_never_in_memory_as_a_whole():
    """A sparse file of 320 MB in 40 tensors, under a memory limit of less than half of it. Mapped memory does not count."""
    n, rows = 40, 2048
    header = {'a%d.w' % i: {'dtype': 'BF16', 'shape': [rows, rows], 'data_offsets': [i * 2 * rows * rows, (i + 1) * 2 * rows * rows]} for i in range(n)}
    text = json.dumps(header).encode()
    with open('any.safetensors', 'wb') as f:
        f.write(len(text).to_bytes(8, 'little') + text)
        f.truncate(8 + len(text) + 2 * n * rows * rows)
    with open('description.json', 'w') as f:
        json.dump({'tensors': {'a{i}.weight': 'a{i}.w'}, 'blocks': [{'repeat': n, 'blocks': [{'linear': 'a{i}'}]}]}, f)
    done = exporter('any.safetensors', 'encoder.safetensors', '--describe', 'description.json', limit=128 << 20)
    assert done.returncode == 0, done.stdout
    assert os.path.getsize('encoder.safetensors') > 2 * n * rows * rows


# ---- with PyTorch ----

def torch_test_nemo_is_read_and_named_by_a_description():
    import tarfile

    import torch
    state = {name: torch.tensor(values) for name, values in described_state().items()}
    torch.save({**state, 'preprocessor.featurizer.window': torch.ones(4)}, 'model_weights.ckpt')
    with open('model_config.yaml', 'w') as f:
        f.write('sample_rate: 16000\n')
    for mode in ('w', 'w:gz'):
        with tarfile.open('any.nemo', mode) as archive:
            for name in ('./model_config.yaml', './model_weights.ckpt'):
                archive.add(name)
        exported('any.nemo', *describe()[1:])
        close(frames(40, 6), described_read(frames(40, 6), described_state()), 1)
    with open('broken.nemo', 'wb') as f:
        f.write(b'no tar')
    refused(['broken.nemo', 'tar'], 'broken.nemo', *describe()[1:])


def torch_test_sixteen_bits_of_a_pickle_stay_sixteen():
    import torch
    for dtype, called in ((torch.bfloat16, 'BF16'), (torch.float16, 'F16')):
        torch.save({'state_dict': {name: torch.tensor(values).to(dtype) for name, values in described_state().items()}}, 'any.pt')
        exported('any.pt', *describe()[1:])
        written = files.open_safetensors('encoder.safetensors')[0]
        assert written['proj.weight'].dtype == written['block0.up.weight'].dtype == called and written['block0.norm.weight'].dtype == 'F32'
        rounded = {name: torch.tensor(values).to(dtype).float().numpy() for name, values in described_state().items()}
        close(frames(40, 6), described_read(frames(40, 6), rounded), 1)


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'torch_test_' if '--torch' in sys.argv else 'test_', '.'))
