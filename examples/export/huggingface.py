"""The known models: Moonshine Streaming, Mimi, Voxtral Realtime, Parakeet and Nemotron Speech Streaming, from their folders at Hugging Face
(config.json and model.safetensors), and Mimi from Kyutai's own file.

Each is a description (description.py) that is made from config.json. Each key of config.json is used, or known to change nothing in the encoder,
or refused by its name.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import fractions
import json
import math
import os
import re

from . import fastconformer
from .checkpoints import read_json
from .description import taken_by
from .files import ExportError, np, refuse_unless, tensor
from .keys import is_number, is_whole
from .law import names_in

# A window of (16, 4), or of 16: which frames are meant.
READINGS = ('exclusive', 'inclusive')
PARTS = ('encoder', 'decoder')
READING_TEXT = {'exclusive': "Distances below these numbers, as Hugging Face's masks have it",
                'inclusive': 'Distances up to these numbers, as FlashAttention takes them'}

# Hugging Face's names of activations.
ACTIVATIONS = {'gelu': 'gelu', 'gelu_python': 'gelu', 'gelu_new': 'gelu-tanh', 'gelu_fast': 'gelu-tanh', 'gelu_pytorch_tanh': 'gelu-tanh',
               'gelu_python_tanh': 'gelu-tanh', 'silu': 'silu', 'swish': 'silu', 'relu': 'relu', 'tanh': 'tanh', 'sigmoid': 'sigmoid'}

# What any config.json may say, and what changes nothing in what an encoder computes.
HARMLESS = set('''
    _name_or_path _attn_implementation attn_implementation architectures auto_map transformers_version torch_dtype dtype model_type
    name_or_path initializer_range use_cache output_attentions output_hidden_states output_past return_dict use_return_dict torchscript
    tie_word_embeddings tie_encoder_decoder is_encoder_decoder is_decoder add_cross_attention cross_attention_hidden_size pad_token_id
    bos_token_id eos_token_id decoder_start_token_id sep_token_id id2label label2id num_labels problem_type task_specific_params
    finetuning_task tokenizer_class prefix chunk_size_feed_forward pruned_heads max_position_embeddings vocab_size attention_dropout dropout
    hidden_dropout activation_dropout layerdrop encoder_layerdrop gradient_checkpointing
'''.split())

# `takes`: which of OPTIONS change something; `used`: names of tensors that are no block's and went elsewhere.
Known = collections.namedtuple('Known', 'title description notes takes used', defaults=((),))
OPTIONS = ('part', 'window_reading', 'ignore', 'heads', 'window', 'rope_base', 'look_ahead', 'chunk', 'chunks')


# ---- config.json ----

class Config:
    """What config.json says; each key that is asked for is known, and what nobody asked for is refused."""

    def __init__(self, values, title, ignored=()):
        self.values, self.title, self.ignored, self.asked = values, title, ignored, set(HARMLESS) | set(ignored)

    def part(self, key, title):
        """Of the encoder, which a configuration of the whole model has under `key`."""
        self.title = title
        values = self.values if self.values['model_type'].endswith('_encoder') else self.need(key)
        refuse_unless(isinstance(values, dict), title, 'config.json has %s=%s, where an object is needed' % (key, json.dumps(values)[:80]))
        return Config(values, title, self.ignored)

    def get(self, key, default=None):
        self.asked.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def need(self, key, option=None):
        value = self.get(key)
        if value is None:
            raise ExportError('%s: config.json says nothing of %s%s' % (self.title, key, ': say it by %s' % option if option else ''))
        return value

    def whole(self, key, default=None):
        """A number from 1 on that it has to say, unless there is a default."""
        value = self.need(key) if default is None else self.get(key, default)
        refuse_unless(is_whole(value, 1), self.title, 'config.json says %s=%s, expected a whole number from 1 on' % (key, json.dumps(value)[:80]))
        return value

    def number(self, key, default):
        value = self.get(key, default)
        refuse_unless(is_number(value) and value > 0, self.title, 'config.json says %s=%s, expected a number above 0' % (key, json.dumps(value)[:80]))
        return value

    def ignore(self, *keys):
        """Those of parts that are not exported."""
        self.asked.update(keys)

    def check(self):
        for key, value in self.values.items():
            if key not in self.asked and value is not None:
                raise ExportError('%s: config.json says %s=%s, which is not known here and may change what the encoder computes. If it does not, '
                                  'let it pass: --ignore %s' % (self.title, key, json.dumps(value)[:80], key))


def activation_of(config, key='hidden_act'):
    name = config.need(key)
    refuse_unless(isinstance(name, str) and name in ACTIVATIONS, config.title, 'config.json says %s=%s, an activation that is not known here; these are: %s' % (
        key, name, ', '.join(ACTIVATIONS)))
    return ACTIVATIONS[name]


def size_of(config):
    """Values per head."""
    return config.whole('head_dim', max(1, config.whole('hidden_size') // config.whole('num_attention_heads')))


def rope_of(config, told, default=None):
    """The keys of rotary positions in the order of Hugging Face's rows. `told`: the base that a person said."""
    size = size_of(config)
    rope = {}
    for key in ('rope_parameters', 'rope_scaling'):
        said = config.get(key, {})
        refuse_unless(isinstance(said, dict), config.title, 'config.json has %s=%s, where an object is needed' % (key, json.dumps(said)[:80]))
        rope.update(said)
    kind = rope.pop('rope_type', rope.pop('type', 'default'))
    said = rope.pop('rope_theta', config.get('rope_theta'))
    refuse_unless(None in (told, said) or told == said, config.title, 'config.json says rope_theta=%s, but --rope-base says %s' % (json.dumps(said)[:80], told))
    base = next((each for each in (said, told, default) if each is not None), None)
    part = rope.pop('partial_rotary_factor', config.get('partial_rotary_factor', 1))
    refuse_unless(kind == 'default', config.title, 'config.json says rope_type=%s, and scaled rotary positions are not supported' % kind)
    refuse_unless(not any(rope.values()), config.title, 'config.json says %s of rotary positions, which is not known here' % json.dumps(rope))
    refuse_unless(base is not None, config.title, 'config.json says nothing of rope_theta: say it by --rope-base')
    refuse_unless(is_number(base) and is_number(part) and base >= 1 and 0 < part <= 1, config.title,
                  'config.json says rope_theta=%s and partial_rotary_factor=%s, expected a number from 1 on, and one up to 1' % (
                      json.dumps(base)[:80], json.dumps(part)[:80]))
    turned = int(size * part)
    return {'position': 'rope', 'rope-layout': 'half', 'rope-base': base, **({'rope-dimensions': turned} if turned != size else {})}


def window_of(back, ahead, reading):
    """The keys of a window that a configuration gives as (back, ahead)."""
    if reading == 'inclusive':
        return {'window': back + 1, 'look-ahead': ahead}
    return {'window': back, 'look-ahead': max(ahead - 1, 0)}


def span(keys):
    return '%d back and %d ahead' % (keys['window'] - 1, keys['look-ahead'])


def readings(windows, reading):
    """Both readings of the windows of a configuration, which are pairs or numbers, and which one was taken: sentences for a person."""
    other, lines = next(each for each in READINGS if each != reading), []
    for each in READINGS:
        seen = {}
        for window in windows:
            back, ahead = (window, 0) if isinstance(window, int) else window
            seen.setdefault(str(window), span(window_of(back, ahead, each)))
        lines.append('window %s%s: %s. %s' % (each, ' <- taken' if each == reading else '', '; '.join('%s is %s' % pair for pair in seen.items()),
                                              READING_TEXT[each]))
    return lines + ['Implementations read a window in both ways: --window-reading %s takes the other one' % other]


# ---- what they are made of ----

def prefix_of(state, end, title, part=''):
    """What stands before the names of the part that is exported."""
    found = sorted(name[:-len(end)] for name in state if name.endswith(part + end))
    refuse_unless(len(found) == 1, title, 'one tensor %s is needed, but the checkpoint has %d' % (part + end, len(found)))
    return found[0]


def count_layers(state, prefix, config):
    """As many as config.json says, and no others."""
    n = config.whole('num_hidden_layers')
    there = {int(match.group(1)) for match in (re.match(re.escape(prefix) + r'layers\.(\d+)\.', name) for name in state) if match}
    refuse_unless(len(there) == n and max(there) == n - 1, config.title, 'config.json says num_hidden_layers=%d, but the checkpoint has %d under %slayers' % (
        n, len(there), prefix))
    return n


def heads_of(state, name, config):
    """The keys of the heads, as config.json has them, checked against the rows of the projections under `name`."""
    heads, size = config.whole('num_attention_heads'), size_of(config)
    kv_heads = config.whole('num_key_value_heads', heads)
    for letter, n in (('q', heads), ('k', kv_heads), ('v', kv_heads)):
        projection = '%s.%s_proj.weight' % (name, letter)
        rows = state[projection].shape[0] if projection in state else None
        refuse_unless(rows == n * size, config.title, '%s has %s rows, but config.json says %d heads of %d values' % (projection, rows, n, size))
    return {'heads': heads, **({'kv-heads': kv_heads} if kv_heads != heads else {})}


def pre_norm_layer(norms, attention, feed_forward):
    return [{'residual': [norms[0], attention]}, {'residual': [norms[1], *feed_forward]}]


def check_used(state, prefix, blocks, forms, title, also=()):
    """That every tensor under the prefix is one that the blocks compute with: nothing is left out in silence."""
    names, used = tuple(name + '.' for name in names_in(blocks)), {*also, *taken_by(forms)}
    left = [name for name in state if name.startswith(prefix) and name not in used and not name.startswith(names)
            and not name.endswith('inv_freq')]
    refuse_unless(not left, title, 'the checkpoint has %s, which no block computes with, and without it the numbers are others' % ', '.join(left[:5]))


# ---- Moonshine Streaming ----

def moonshine_frames(samples, scale, length=80):
    """[n, 80] of samples: what Moonshine Streaming's first linear layer takes. Each frame less its mean, divided by its root mean square,
    compressed by asinh. `scale`: e to the log_k of its embedder."""
    frames = np.asarray(samples, np.float64)[:len(samples) // length * length].reshape(-1, length)
    frames = frames - frames.mean(axis=1, keepdims=True)
    return np.arcsinh(scale * frames / np.sqrt((frames ** 2).mean(axis=1, keepdims=True) + 1e-6)).astype(np.float32)


def moonshine_layer(at, heads, window, activation):
    attention = {'attention': at + 'self_attn', **heads, **window}
    return pre_norm_layer([{'norm': at + 'input_layernorm'}, {'norm': at + 'post_attention_layernorm'}], attention,
                          [{'linear': at + 'mlp.fc1', 'activation': activation}, {'linear': at + 'mlp.fc2'}])


def moonshine(state, config, options):
    config = config.part('encoder_config', 'Moonshine Streaming')  # what stands beside it is of the decoder
    prefix = prefix_of(state, 'embedder.comp.log_k', config.title)
    windows, n = config.need('sliding_windows'), count_layers(state, prefix, config)
    refuse_unless(isinstance(windows, list), config.title, 'config.json says sliding_windows=%s, expected a list of pairs' % json.dumps(windows)[:80])
    refuse_unless(len(windows) == n, config.title, 'config.json has %d sliding_windows, but %d layers' % (len(windows), n))
    refuse_unless(all(isinstance(pair, list) and len(pair) == 2 and is_whole(pair[0], 1) and is_whole(pair[1]) for pair in windows), config.title,
                  'config.json says sliding_windows=%s, expected pairs such as [16, 4]' % json.dumps(windows)[:80])
    rate, milliseconds = config.whole('sample_rate', 16000), config.number('frame_ms', 5.0)
    length, activation = int(round(rate * milliseconds / 1000)), activation_of(config)
    heads_of(state, prefix + 'layers.0.self_attn', config)
    config.ignore('intermediate_size', 'attention_bias')  # the shapes tell
    config.check()
    linear = state.get(prefix + 'embedder.linear.weight')
    refuse_unless(linear is not None and linear.shape[1] == length, config.title,
                  'config.json makes frames of %d samples, but embedder.linear takes %s' % (length, linear and linear.shape[1]))
    blocks = [{'linear': prefix + 'embedder.linear', 'activation': 'silu'},
              {'conv': prefix + 'embedder.conv1', 'stride': 2, 'left': 4, 'activation': 'silu'},
              {'conv': prefix + 'embedder.conv2', 'stride': 2, 'left': 4}]
    for i, window in enumerate(windows):
        at = '%slayers.%d.' % (prefix, i)
        blocks += moonshine_layer(at, heads_of(state, at + 'self_attn', config), window_of(*window, options.reading), activation)
    blocks.append({'norm': prefix + 'final_norm'})
    norms = [block['norm'] for layer in blocks for block in layer.get('residual', [layer]) if 'norm' in block]
    forms = {name + '.weight': {'from': name + '.gamma', 'plus': 1} for name in norms}
    log_scale = prefix + 'embedder.comp.log_k'  # said below, and no block's
    check_used(state, prefix, blocks, forms, config.title, [log_scale])
    scale = float(np.exp(tensor(state[log_scale]).numpy().astype(np.float64).reshape(-1)[0]))
    metadata = {'sample-rate': rate, 'frame-length': milliseconds, 'hop-length': milliseconds, 'asinh-scale': '%.9g' % scale}
    notes = readings([tuple(window) for window in windows], options.reading) + [
        'Frames: %d samples each, less their mean, divided by their root mean square, then asinh (%.6g x): no element makes them; '
        'export_encoder.moonshine_frames (samples, %.6g) does' % (length, scale, scale)]
    rate = fractions.Fraction(str(rate)) / length
    return Known(config.title, {'features': length, 'frame-rate': str(rate), 'blocks': blocks, 'tensors': forms, 'metadata': metadata}, notes,
                 ('window_reading', 'ignore'), (log_scale,))


# ---- Mimi ----

def mimi_layer(at, heads, window, rope, eps, activation):
    norms = [{'norm': at + name, **({} if eps == 1e-5 else {'eps': eps})} for name in ('input_layernorm', 'post_attention_layernorm')]
    attention = {'attention': at + 'self_attn', **heads, **window, **rope}
    return pre_norm_layer(norms, attention, [{'linear': at + 'mlp.fc1', 'activation': activation}, {'linear': at + 'mlp.fc2'}])


def scaled(state, at, layers, weights):
    """The rows of what a residual adds times its layer scale."""
    return {'%s%s%s' % (at, layer, part): {'from': '%s%s%s' % (at, layer, part), 'times': at + scale}
            for layer, scale in zip(layers, weights) for part in ('.weight', '.bias') if at + layer + part in state}


# Of parts of Mimi that are not exported: its convolutions and its quantizer.
MIMI_OTHERS = '''audio_channels num_filters num_residual_layers kernel_size last_kernel_size residual_kernel_size dilation_growth_rate use_causal_conv
    pad_mode compress trim_right_ratio codebook_size codebook_dim num_quantizers use_conv_shortcut vector_quantization_hidden_dimension
    num_semantic_quantizers upsample_groups layer_scale_initial_scale use_streaming frame_rate _frame_rate normalize norm_type'''.split()


def mimi(state, config, options):
    config.title = 'Mimi'
    prefix = prefix_of(state, 'layers.0.input_layernorm.weight', config.title, options.part + '_transformer.')
    width, n = config.whole('hidden_size'), count_layers(state, prefix, config)
    window, eps = config.whole('sliding_window'), config.number('norm_eps', 1e-5)
    rope, activation = rope_of(config, options.rope_base, 10000), activation_of(config)
    heads_of(state, prefix + 'layers.0.self_attn', config)
    ratios = config.get('upsampling_ratios', [8, 6, 5, 4])
    refuse_unless(isinstance(ratios, list) and all(is_whole(ratio, 1) for ratio in ratios), config.title,
                  'config.json says upsampling_ratios=%s, expected whole numbers' % json.dumps(ratios)[:80])
    rate = fractions.Fraction(config.whole('sampling_rate', 24000), math.prod(ratios))
    config.ignore('intermediate_size', 'attention_bias', *MIMI_OTHERS)
    config.check()
    blocks, forms, seen = [], {}, window_of(window, 0, options.reading)
    for i in range(n):
        at = '%slayers.%d.' % (prefix, i)
        blocks += mimi_layer(at, heads_of(state, at + 'self_attn', config), seen, rope, eps, activation)
        forms.update(scaled(state, at, ('self_attn.o_proj', 'mlp.fc2'), ('self_attn_layer_scale.scale', 'mlp_layer_scale.scale')))
    check_used(state, prefix, blocks, forms, config.title)
    return Known("%s's %s transformer" % (config.title, options.part),
                 {'features': width, 'frame-rate': str(rate), 'blocks': blocks, 'tensors': forms}, readings([window], options.reading),
                 ('part', 'window_reading', 'ignore', 'rope_base'))


# The numbers of Kyutai's own program for its file of 512 values per frame, which holds none.
KYUTAI = {'heads': 8, 'window': 250, 'width': 512, 'rate': '25'}


def kyutai_part(state, options):
    """What stands before the names of a transformer in Kyutai's file; None: it is not such a file."""
    prefix = options.part + '_transformer.transformer.'
    return prefix if any(name.startswith(prefix + 'layers.0.norm1.') for name in state) else None


def kyutai_layer(state, at, heads, window, base):
    """({name: form}, blocks). Rows of queries and keys stand as Kyutai's RoPE has them, interleaved."""
    forms = {}
    for projection, written_as in (('in_projs.0.weight', 'in_proj_weight'), ('out_projs.0.weight', 'out_proj.weight')):  # of newer programs
        if at + 'self_attn.' + projection in state:
            forms[at + 'self_attn.' + written_as] = {'from': at + 'self_attn.' + projection}
    for name, scale in (('self_attn.out_proj.weight', 'layer_scale_1.scale'), ('linear2.weight', 'layer_scale_2.scale')):
        if at + scale in state:
            forms[at + name] = {**forms.get(at + name, {'from': at + name}), 'times': at + scale}
    attention = {'attention': at + 'self_attn', 'heads': heads, **window, 'position': 'rope', 'rope-layout': 'interleaved', 'rope-base': base}
    return forms, pre_norm_layer([{'norm': at + 'norm1'}, {'norm': at + 'norm2'}], attention,
                                 [{'linear': at + 'linear1', 'activation': 'gelu'}, {'linear': at + 'linear2'}])


def kyutai(state, prefix, options):
    title, width = "Kyutai's Mimi", state[prefix + 'layers.0.norm1.weight'].shape[0]
    known = KYUTAI if width == KYUTAI['width'] else {}
    heads, window = options.heads or known.get('heads'), options.window or known.get('window')
    for value, what in ((heads, '--heads'), (window, '--window')):
        refuse_unless(value is not None, title, "frames of %d values are not of Kyutai's own model, and the file does not tell %s: say it" % (width, what))
    n = 1 + max(int(name[len(prefix):].split('.')[1]) for name in state if name.startswith(prefix + 'layers.'))
    seen = {'window': window, 'look-ahead': 0} if options.window else window_of(window, 0, options.reading)
    blocks, forms, base = [], {}, options.rope_base or 10000
    for i in range(n):
        made, layer = kyutai_layer(state, '%slayers.%d.' % (prefix, i), heads, seen, base)
        forms.update(made)
        blocks += layer
    check_used(state, prefix, blocks, forms, title)
    notes = ["the file says no numbers; taken: heads=%d window=%d rope-base=%g gelu eps=1e-5, as Kyutai's own program has them or as you said" % (
        heads, seen['window'], base)]
    return Known("%s, %s transformer" % (title, options.part),
                 {'features': width, 'frame-rate': known.get('rate'), 'blocks': blocks, 'tensors': forms},
                 notes + ([] if options.window else readings([window], options.reading)),
                 ('part', 'heads', 'window', 'rope_base', *(() if options.window else ('window_reading',))))


# ---- what the preprocessor of a folder says ----

def preprocessor_of(folder):
    """(path, what it says of the features); nothing where there is none."""
    alone, beside = (os.path.join(folder or '', name) for name in ('preprocessor_config.json', 'processor_config.json'))
    if folder and os.path.exists(alone):
        return alone, read_json(alone)
    said = read_json(beside).get('feature_extractor') if folder and os.path.exists(beside) else None
    return (beside, said) if isinstance(said, dict) else (alone, {})


def features_of(folder, bins, fft_size, style):
    """(metadata, frames per second, what else is said): what the folder's preprocessor says, or else what the published code has."""
    path, said = preprocessor_of(folder)
    for key in ('sampling_rate', 'hop_length', 'win_length', 'n_fft'):
        refuse_unless(is_whole(said.get(key, 1), 1), path, 'it says %s=%s, expected a whole number from 1 on' % (key, json.dumps(said.get(key))[:80]))
    rate, hop = said.get('sampling_rate', 16000), said.get('hop_length', 160)
    refuse_unless(said.get('feature_size', bins) == bins, path, 'it says feature_size=%s, but config.json num_mel_bins=%d' % (said.get('feature_size'), bins))
    milliseconds = {key: '%.15g' % (1000 * samples / rate) for key, samples in (('frame-length', said.get('win_length', 400)), ('hop-length', hop))}
    metadata = {'style': style, 'sample-rate': rate, 'bins': bins, **milliseconds, 'fft-size': said.get('n_fft', fft_size)}
    return metadata, fractions.Fraction(rate, hop), said


# ---- Voxtral Realtime ----

def voxtral_layer(at, heads, window, rope, eps, activation):
    def norm(name):
        return {'norm': at + name, 'kind': 'rms', **({} if eps == 1e-5 else {'eps': eps})}
    attention = {'attention': at + 'self_attn', **heads, **window, **rope}
    feed_forward = [{'linear': at + 'mlp.up_gate'}, {'glu': activation}, {'linear': at + 'mlp.down_proj'}]
    return pre_norm_layer([norm('self_attn_layer_norm'), norm('final_layer_norm')], attention, feed_forward)


def voxtral(state, config, options):
    config = config.part('audio_config', 'Voxtral Realtime')  # what stands beside it is of the language model
    prefix = prefix_of(state, 'embedder.conv1.weight', config.title)
    n, window, eps = count_layers(state, prefix, config), config.whole('sliding_window'), config.number('rms_norm_eps', 1e-5)
    rope, activation, bins = rope_of(config, options.rope_base), activation_of(config), config.whole('num_mel_bins', 128)
    heads_of(state, prefix + 'layers.0.self_attn', config)
    config.ignore('intermediate_size', 'activation_function')  # the last one is made, and not used
    config.check()
    taken = state[prefix + 'embedder.conv1.weight'].shape[1]
    refuse_unless(taken == bins, config.title, 'config.json says num_mel_bins=%d, but embedder.conv1 takes %d' % (bins, taken))
    blocks = [{'conv': prefix + 'embedder.conv1', 'left': 2, 'activation': 'gelu'},
              {'conv': prefix + 'embedder.conv2', 'stride': 2, 'left': 1, 'activation': 'gelu'}]
    forms = {}
    for i in range(n):
        at = '%slayers.%d.' % (prefix, i)
        blocks += voxtral_layer(at, heads_of(state, at + 'self_attn', config), window_of(window, 0, options.reading), rope, eps, activation)
        forms[at + 'mlp.up_gate.weight'] = {'from': [at + 'mlp.up_proj.weight', at + 'mlp.gate_proj.weight']}
    blocks.append({'norm': prefix + 'norm', 'kind': 'rms', **({} if eps == 1e-5 else {'eps': eps})})
    check_used(state, prefix, blocks, forms, config.title)
    metadata, rate, said = features_of(options.folder, bins, 400, 'whisper')
    maximum = said.get('global_log_mel_max', 1.5)
    metadata.update({} if maximum is None else {'log-maximum': maximum})
    made = {'features': bins, 'frame-rate': str(rate), 'blocks': blocks, 'tensors': forms, 'metadata': metadata}
    return Known("%s's encoder" % config.title, made, readings([window], options.reading), ('window_reading', 'ignore', 'rope_base'))


# ---- Parakeet and Nemotron ----

LOOK_AHEADS = (13, 6, 1, 0)  # which the published code takes where the folder says none


def of_transducer(state):
    """What is left out of a transducer, for a person."""
    first = next((name for name in ('prompt_projector', 'encoder_projector') if any('.%s.' % name in '.' + each for each in state)), None)
    return [] if first is None else ['left out: the transducer (RNN-T or TDT), which is encoder_projector, decoder and joint. Its output depends on the words '
                                     'before, and no element computes it. An output of this file is what %s takes' % first]


def look_aheads(config, folder):
    """The frames of look-ahead with which a streaming model was trained."""
    path = os.path.join(folder or '', 'processor_config.json')
    said = read_json(path) if folder and os.path.exists(path) else {}
    trained = config.get('supported_num_lookahead_tokens', said.get('supported_num_lookahead_tokens') or list(LOOK_AHEADS))
    refuse_unless(isinstance(trained, list) and all(is_whole(each) for each in trained), config.title,
                  'supported_num_lookahead_tokens is %s, expected a list of whole numbers' % json.dumps(trained)[:80])
    return trained


def chunk_notes(trained, back, chunk, milliseconds):
    """What each chunk size costs that the model was trained with. `back`: frames; `milliseconds`: of a frame of the attention."""
    sizes = [each + 1 for each in trained]
    lines = ['chunk %d%s: earlier chunks seen: %d; a chunk is %g ms of sound, and its first frame waits %g ms for its last' % (
        size, ' <- taken' if size == chunk else '', back // size, size * milliseconds, (size - 1) * milliseconds)
        for size in [*sizes, *([] if chunk in sizes else [chunk])]]
    lines.append('another size: --chunk FRAMES' if chunk in sizes else 'the model was not trained with chunks of %d' % chunk)
    if back % chunk:
        lines.append('the %d earlier frames of sliding_window=%d are not a multiple of %d: %d of them are left out, as in the published code' % (
            back, back + 1, chunk, back % chunk))
    return lines


def streaming_seen(config, options, milliseconds):
    """(keys of the attention of a streaming model, notes)."""
    back, ahead = config.whole('sliding_window', 71) - 1, config.get('default_num_lookahead_tokens', 13)
    refuse_unless(is_whole(ahead), config.title, 'config.json says default_num_lookahead_tokens=%s, expected a whole number' % json.dumps(ahead)[:80])
    chunk = ahead + 1 if options.chunk is None else options.chunk
    refuse_unless(is_whole(chunk, 1), config.title, 'a chunk has 1 frame or more, but --chunk says %s' % chunk)
    return {'chunk': chunk, 'chunks': back // chunk}, chunk_notes(look_aheads(config, options.folder), back, chunk, milliseconds)


def whole_seen(config, options):
    """The same of a model that attends to whole utterances, for which a person says what a stream sees."""
    if options.chunk is not None and options.chunks is not None and options.window is None and options.look_ahead is None:
        seen = {'chunk': options.chunk, 'chunks': options.chunks}
    else:
        refuse_unless(options.chunk is None and options.chunks is None and is_whole(options.window, 1), config.title,
                      'it attends to whole utterances, and a stream never has one. Say what it sees instead: --window 128 --look-ahead 16, or --chunk 16 '
                      '--chunks 7 (one number each, in frames of the attention, which are %d input frames each)' % config.whole('subsampling_factor', 8))
        seen = {'window': options.window, 'look-ahead': options.look_ahead or 0}
    return seen, ['it was trained on whole utterances: the outputs are those of the published code under this window, not those without one',
                  'its convolutions look ahead in every layer, and the delay above includes this',
                  'it was trained on features less their mean, divided by their deviation over each utterance, which a stream does not know: fix both by '
                  '--standardize FILE.npy']


def fastconformer_body(state, prefix, config, causal, seen):
    """(blocks, forms) of the whole encoder."""
    width, factor, kernel = config.whole('hidden_size'), config.whole('subsampling_factor', 8), config.whole('conv_kernel_size', 9)
    stages = factor.bit_length() - 1
    refuse_unless(factor == 1 << stages and stages, config.title, 'config.json says subsampling_factor=%d, expected a power of 2' % factor)
    scaled, activation = config.get('scale_input', True), activation_of(config)
    refuse_unless(isinstance(scaled, bool), config.title, 'config.json says scale_input=%s, expected true or false' % json.dumps(scaled)[:80])
    refuse_unless(causal or kernel % 2, config.title, 'config.json says conv_kernel_size=%d, expected an odd number' % kernel)
    blocks, forms = fastconformer.subsampling(
        state, prefix + 'subsampling.', stages, config.whole('subsampling_conv_channels', 256), config.whole('subsampling_conv_kernel_size', 3),
        config.whole('subsampling_conv_stride', 2), causal, math.sqrt(width) if scaled else 1)
    for i in range(count_layers(state, prefix, config)):
        at = '%slayers.%d.' % (prefix, i)
        taps = state[at + 'conv.depthwise_conv.weight'].shape[-1] if at + 'conv.depthwise_conv.weight' in state else None
        refuse_unless(taps == kernel, config.title, 'config.json says conv_kernel_size=%d, but %sconv.depthwise_conv has %s' % (kernel, at, taps))
        heads = heads_of(state, at + 'self_attn', config)
        made, also = fastconformer.layer(state, at, width, kernel, causal, activation, {**heads, **seen})
        blocks, forms = blocks + made, {**forms, **also}
    return blocks, forms


def ctc_head(state, prefix):
    """(blocks, forms) of what stands beside the encoder, where it is that of CTC."""
    name = prefix[:-len('encoder.')] + 'ctc_head' if prefix.endswith('encoder.') else ''
    if name + '.weight' not in state:
        return [], {}
    return [{'linear': name}, {'activation': 'log-softmax'}], fastconformer.as_linear(state, name)


def parakeet(state, config, options):
    kind = config.values['model_type']
    config = config.part('encoder_config', 'Nemotron' if kind.startswith('nemotron') else 'Parakeet')  # what stands beside it is of the transducer
    causal = str(config.values.get('model_type', kind)).startswith('nemotron')
    prefix, bins = prefix_of(state, 'subsampling.linear.weight', config.title), config.whole('num_mel_bins', 80)
    metadata, rate, said = features_of(options.folder, bins, 512, 'nemo')
    refuse_unless(said.get('preemphasis', 0.97) == 0.97, config.title, 'its preprocessor says preemphasis=%s, and logmel style=nemo has 0.97' % (
        json.dumps(said.get('preemphasis'))[:80]))
    milliseconds = float(1000 * config.whole('subsampling_factor', 8) / rate)
    seen, notes = streaming_seen(config, options, milliseconds) if causal else whole_seen(config, options)
    blocks, forms = fastconformer_body(state, prefix, config, causal, seen)
    config.ignore('intermediate_size', 'attention_bias', 'convolution_bias', 'dropout_positions')  # the shapes tell; training
    config.check()
    check_used(state, prefix, blocks, forms, config.title)
    head, also = ctc_head(state, prefix)
    notes = ['renamed: ' + ', '.join('self_attn.%s -> %s' % pair for pair in fastconformer.RENAMED), *notes, *of_transducer(state)]
    made = {'features': bins, 'frame-rate': str(rate), 'blocks': blocks + head, 'tensors': {**forms, **also}, 'metadata': metadata}
    return Known("%s's encoder%s" % (config.title, ' and CTC' if head else ''), made, notes,
                 ('ignore', 'chunk', *(() if causal else ('chunks', 'window', 'look_ahead'))))


# ---- which one ----

class ModelOptions:
    """What a person says of a known model. `part`: of Mimi; `reading`: of windows; `ignored`: keys of config.json that are let pass; `told`: the other
    OPTIONS."""

    def __init__(self, part=None, reading=None, ignored=None, folder=None, **told):
        self.part, self.reading, self.ignored, self.folder = part or PARTS[0], reading or READINGS[0], tuple(ignored or ()), folder
        for name in ('heads', 'window', 'rope_base', 'look_ahead', 'chunk', 'chunks'):
            setattr(self, name, told.get(name))


MODELS = {'moonshine_streaming': moonshine, 'moonshine_streaming_encoder': moonshine, 'mimi': mimi, 'voxtral_realtime': voxtral,
          'voxtral_realtime_encoder': voxtral, **dict.fromkeys(('parakeet_ctc', 'parakeet_tdt', 'parakeet_rnnt', 'parakeet_encoder', 'nemotron_asr_streaming',
                                                               'nemotron_asr_streaming_encoder', 'nemotron3_5_asr'), parakeet)}


def recognise(state, config, options=None):
    """The model that a checkpoint and its config.json are, a Known; None: none of those that are known here."""
    options, kind = options or ModelOptions(), config.get('model_type')
    if isinstance(kind, str) and kind in MODELS:
        return MODELS[kind](state, Config(config, kind, options.ignored), options)
    prefix = kyutai_part(state, options)
    return None if prefix is None else kyutai(state, prefix, options)
