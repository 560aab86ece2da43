#!/usr/bin/python3
"""To safetensors: one attention layer of a checkpoint, or of a PyTorch module, with the metadata that the element reads.

    examples/export_torch.py checkpoint.pt                                     lists the attention layers that it has
    examples/export_torch.py checkpoint.pt model.safetensors --prefix encoder.layers.0.self_attn. --heads 4 --window 100

    import export_torch                                                        in the program that trained it
    export_torch.export(transformer.layers[0], 'model.safetensors', window=100)

Then: gst-launch-1.0 ... ! attention model-file=model.safetensors ! ...

A layer is nn.MultiheadAttention (or what contains some, such as nn.TransformerEncoderLayer), or one with the names of NAMES and FUSED below, as
in Hugging Face's files; those are written as q_proj, k_proj, v_proj and out_proj. A config.json beside the checkpoint is read where it tells
heads, positions, and the order of fused projections. What stands beside the attention is left out, and named; what belongs to it and
is not known is refused. The layer is checked before a file is written.

A .pt checkpoint is a pickle, which could run any program when it is read: it is read with weights_only, which takes plain parameters and refuses
the rest, and needs PyTorch. Checkpoints in safetensors need NumPy alone. Debian's PyTorch comes without the package safetensors, and the format is
simple: eight bytes of length, that much JSON, the numbers. save () and load () are all of it.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import os
import struct
import sys
import textwrap

try:
    import numpy as np
except ImportError as error:
    sys.exit('export_torch.py: %s; on Debian: apt-get install python3-numpy' % error)

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2'}
POSITIONS = ('none', 'rope', 'alibi', 'relative')
LAYOUTS = ('stacked', 'interleaved')

# What nn.MultiheadAttention has, and the bias of distances that the element adds to any layer.
TORCH = ('in_proj_weight', 'q_proj_weight', 'k_proj_weight', 'v_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias')
# Query, key, value; what the output projection is called; what stands beside them under the same prefix, and is no part of the attention.
NAMES = (
    (('q_proj', 'k_proj', 'v_proj'), ('out_proj', 'o_proj', 'output_proj', 'dense'), ()),
    (('self.query', 'self.key', 'self.value'), ('output.dense',), ('output.LayerNorm.',)),  # BERT
    (('attention.query', 'attention.key', 'attention.value'), ('output.dense',), ()),  # ViT
    (('query', 'key', 'value'), ('out', 'dense', 'output'), ()),
    (('q_lin', 'k_lin', 'v_lin'), ('out_lin',), ()),  # DistilBERT
    (('linear_q', 'linear_k', 'linear_v'), ('linear_out',), ()),  # ESPnet
    (('wq', 'wk', 'wv'), ('wo',), ()),  # Llama, as Meta has it
    (('to_q', 'to_k', 'to_v'), ('to_out.0', 'to_out'), ()),  # diffusers
    (('linears.0', 'linears.1', 'linears.2'), ('linears.3',), ()),  # Annotated Transformer
)
# The same in one tensor, whose rows are stacked (all queries, all keys, all values) or interleaved (query, key and value of each head).
FUSED = (('query_key_value', ('dense',)), ('Wqkv', ('out_proj', 'Wo')), ('qkv_proj', ('o_proj', 'out_proj')), ('qkv', ('proj', 'out_proj')),
         ('c_attn', ('c_proj',)), ('in_proj', ('out_proj',)))
MODEL_TYPES = {'gpt_neox': 'interleaved', 'bloom': 'interleaved', 'persimmon': 'interleaved',
               'mpt': 'stacked', 'phi3': 'stacked', 'gpt2': 'stacked', 'modernbert': 'stacked'}
# Tables and masks, which hold nothing that was trained.
HARMLESS = ('rotary_emb.inv_freq', 'rotary_emb.cos_cached', 'rotary_emb.sin_cached', 'position_ids', 'masked_bias')
# Where checkpoints keep their parameters, and what wrappers put into their names.
CONTAINERS = ('state_dict', 'model_state_dict', 'model', 'module', 'net', 'network', 'model.state_dict', 'weights', 'params')
WRAPPERS = ('_orig_mod.', '_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')


class ExportError(ValueError):
    """What is wrong with the layer, in a sentence."""


# ---- the format ----

def save(path, tensors, metadata=None):
    """Writes {name: array of float64, float32 or float16} and {key: value} of what is known about them."""
    header, data = {}, b''
    if metadata:
        header['__metadata__'] = {key: str(value) for key, value in metadata.items()}
    for name, values in tensors.items():
        values = np.asarray(values)
        dtype = next((d for d, code in DTYPES.items() if values.dtype.newbyteorder('<') == code), None)
        if dtype is None:
            raise ExportError('%s has dtype %s, but one of float64, float32 and float16 is needed' % (name, values.dtype))
        raw = np.ascontiguousarray(values, DTYPES[dtype]).tobytes()
        header[name] = {'dtype': dtype, 'shape': list(values.shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # so that the numbers are aligned
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def array_of(entry, data):
    raw = data[slice(*entry['data_offsets'])]
    if entry['dtype'] == 'BF16':  # the upper half of a float32
        return (np.frombuffer(raw, '<u2').astype('<u4') << 16).view('<f4').reshape(entry['shape'])
    if entry['dtype'] not in DTYPES:  # masks and counters: of no use here, but they have a shape
        return np.broadcast_to(np.zeros((), bool), entry['shape'])
    return np.frombuffer(raw, DTYPES[entry['dtype']]).reshape(entry['shape'])


def load(path):
    """({name: array}, {key: value}) of a safetensors file."""
    try:
        with open(path, 'rb') as f:
            header = json.loads(f.read(*struct.unpack('<Q', f.read(8))))
            data = f.read()
        metadata = header.pop('__metadata__', None) or {}
        return {name: array_of(entry, data) for name, entry in header.items()}, metadata
    except (struct.error, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise ExportError('%s: not a safetensors file (%s)' % (path, error)) from None


# ---- the layer ----

def stems():
    """By which a layer is known: (what its name ends with, what else has to be there)."""
    yield 'in_proj_weight', ()
    yield 'q_proj_weight', ('k_proj_weight', 'v_proj_weight')
    for (query, *others), outputs, _ in NAMES:
        apart = ['output.dense'] if outputs == ('output.dense',) else []  # or it is a `query` in a module of another name
        yield query + '.weight', [other + '.weight' for other in others + apart]
    for fused, _ in FUSED:
        yield fused + '.weight', ()


def prefixes(state):
    """Of all attention layers among the parameters, in their order."""
    found = {}
    for name in state:
        for stem, others in stems():
            prefix = name[:len(name) - len(stem)]
            if name.endswith(stem) and (prefix == '' or prefix.endswith('.')) and all(prefix + other in state for other in others):
                found.setdefault(prefix)
    # BERT's self.query is under `attention.`, and not `query` under `attention.self.`
    return [p for p in found if not any(p == q + inner for q in found for inner in ('self.', 'attention.'))]


def find(state, prefix):
    """The prefix as it is wanted, with its dot; None: the only one that there is."""
    there = prefixes(state)
    listed = ', '.join("'%s'" % p for p in there)
    if not there:
        raise ExportError('no nn.MultiheadAttention, and no attention under another name that is known, among its %d parameters: %s' % (
            len(state), textwrap.shorten(', '.join(state), 200, placeholder=' ...') or 'none'))
    if prefix is None and len(there) > 1:
        raise ExportError('it has %d attention layers, choose one by its prefix: %s' % (len(there), listed))
    if prefix is None:
        return there[0]
    wanted = [prefix + part for part in ('', '.', '.self_attn.', 'self_attn.', '.attention.', 'attention.', '.attn.', 'attn.')]
    match = next((p for p in wanted if p in there), None)
    if match is None:
        raise ExportError("no attention layer under the prefix '%s'; there is one under %s" % (prefix, listed))
    return match


def left_out(state, prefix):
    """(names of what stands beside the layer in the module that has it, how many parameters are elsewhere)."""
    parent = prefix[:prefix[:-1].rfind('.') + 1]
    beside = [name for name in state if name.startswith(parent) and not name.startswith(prefix)] if parent != prefix else []
    beside += [name for name in state if name.startswith(prefix) and is_beside(name[len(prefix):])]
    layer = [name for name in state if name.startswith(prefix)]
    if parent == '' and len(prefixes(state)) > 1:  # other layers are not beside it
        beside = []
    return beside, len(state) - len(layer) - len([name for name in beside if not name.startswith(prefix)])


def is_beside(name):
    return any(name.startswith(other) for _, _, others in NAMES for other in others)


def is_harmless(name, values):
    return name in HARMLESS or (name == 'bias' and (len(values.shape) == 4 or str(values.dtype).endswith('bool')))


def select(state, prefix):
    """The parameters of the layer under the prefix, without it. What the element does not compute is refused."""
    layer = {name[len(prefix):]: values for name, values in state.items() if name.startswith(prefix)}
    for name in ('bias_k', 'bias_v'):
        if name in layer:
            raise ExportError('%s%s: a key and value that are appended to the sequence (add_bias_kv) are not supported' % (prefix, name))
    return {name: values for name, values in layer.items() if not is_harmless(name, values) and not is_beside(name)}


def take(layer, name, into, written_as):
    for part in ('.weight', '.bias'):
        if name + part in layer:
            into[written_as + part] = layer.pop(name + part)


def take_output(layer, names, into):
    there = [name for name in names if name + '.weight' in layer or name + '.bias' in layer]
    if len(there) > 1:
        raise ExportError('it has both %s and %s, and it takes one of them as the output projection' % tuple(there[:2]))
    for name in there:
        take(layer, name, into, 'out_proj')


def take_apart(values, heads, kv_heads, layout, name):
    """Query, key and value of the rows (or of the biases) that one tensor holds."""
    rows, parts = len(values), heads + 2 * kv_heads
    if rows % parts != 0:
        raise ExportError('%s has %d rows, which %d heads of query, key and value (%d + 2 times %d) do not divide' % (
            name, rows, parts, heads, kv_heads))
    size = rows // parts
    if layout == 'stacked':
        return np.split(values, [heads * size, (heads + kv_heads) * size])
    if kv_heads != heads:
        raise ExportError('%s is interleaved, and kv-heads=%d is not heads=%d: how groups are interleaved differs from family to family' % (
            name, kv_heads, heads))
    grouped = values.reshape(heads, 3, size, *values.shape[1:])
    return [np.ascontiguousarray(grouped[:, i]).reshape(heads * size, *values.shape[1:]) for i in range(3)]


def unfuse(layer, name, outputs, into, known, layout):
    if layout is None:
        raise ExportError(
            '%s.weight holds query, key and value in one tensor, in an order that its shape does not tell: stacked (all queries, all keys, all '
            'values) or interleaved (query, key and value of each head, as GPT-NeoX and BLOOM have it). Say which by --layout, or by the '
            "model_type of a config.json that is known: %s" % (name, ', '.join(MODEL_TYPES)))
    heads, kv_heads = known['heads'], known.get('kv-heads') or known['heads']
    weight = layer[name + '.weight']
    transposed = name == 'c_attn' and weight.shape[1] > weight.shape[0]  # GPT-2's Conv1D
    for part in ('.weight', '.bias'):
        if name + part in layer:
            values = layer.pop(name + part)
            parts = take_apart(values.T if transposed and part == '.weight' else values, heads, kv_heads, layout, name + part)
            into.update({projection + part: one for projection, one in zip(('q_proj', 'k_proj', 'v_proj'), parts)})
    take_output(layer, outputs, into)
    if transposed and 'out_proj.weight' in into:
        into['out_proj.weight'] = np.ascontiguousarray(into['out_proj.weight'].T)


def translate(layer, prefix, known, layout):
    """The parameters by names that the element knows, from whatever they are called."""
    layer, into = dict(layer), {}
    names = next((names for names in NAMES if names[0][0] + '.weight' in layer), None)
    fused = next((fused for fused in FUSED if fused[0] + '.weight' in layer), None)
    bias = {'relative_bias': layer.pop('relative_bias')} if 'relative_bias' in layer else {}
    if 'in_proj_weight' in layer or 'q_proj_weight' in layer:
        into.update({name: layer.pop(name) for name in TORCH if name in layer})
    elif names is not None:
        for name, written_as in zip(names[0], ('q_proj', 'k_proj', 'v_proj')):
            take(layer, name, into, written_as)
        take_output(layer, names[1], into)
    else:
        unfuse(layer, *fused, into, known, layout)
    if layer:
        raise ExportError("the layer under '%s' has parameters that the element does not compute with, and that would be missing: %s" % (
            prefix, ', '.join(layer)))
    return {**into, **bias}


def inputs_and_rows(layer):
    """({projection: inputs}, {projection: rows}) of query, key and value."""
    if 'in_proj_weight' in layer:
        rows, inputs = layer['in_proj_weight'].shape
        return {'in_proj_weight': inputs}, dict.fromkeys('qkv', rows // 3)
    there = [(letter, name) for letter in 'qkv' for name in (letter + '_proj_weight', letter + '_proj.weight') if name in layer]
    return {name: layer[name].shape[1] for _, name in there}, {letter: layer[name].shape[0] for letter, name in there}


def check_layer(layer, prefix, known):
    """Shapes and heads, and how many kv-heads there are, which follows from them."""
    inputs, rows = inputs_and_rows(layer)
    if len(set(inputs.values())) != 1:
        raise ExportError('%s: cross-attention, where only self-attention is supported: %s' % (
            prefix, ', '.join('%s takes %d inputs' % item for item in inputs.items())))
    heads = known['heads']
    if heads < 1 or rows['q'] % heads != 0:
        raise ExportError('%d heads do not divide the %d rows of the query projection' % (heads, rows['q']))
    size = rows['q'] // heads
    if rows['k'] % size != 0 or heads % max(rows['k'] // size, 1) != 0:
        raise ExportError('%d heads have queries of %d values, which do not make whole heads, shared evenly, of the %d rows of the key projection' % (
            heads, size, rows['k']))
    kv_heads = rows['k'] // size
    if known.get('kv-heads') not in (None, 0, kv_heads):
        raise ExportError('kv-heads is %d, but the key projection has %d rows, which are %d heads of %d' % (
            known['kv-heads'], rows['k'], kv_heads, size))
    if kv_heads != heads:
        known['kv-heads'] = kv_heads


def rope_of(config):
    """What a config.json says of rotary positions."""
    base = config.get('rope_theta', config.get('rotary_emb_base'))
    kind = config.get('model_type')
    if base is None and kind not in ('gptj', 'codegen'):
        return {}
    if config.get('rope_scaling'):
        raise ExportError('config.json has rope_scaling, and scaled rotary positions are not supported')
    size = config.get('head_dim') or config.get('hidden_size', 0) // (config.get('num_attention_heads') or 1)
    rotated = config.get('rotary_dim') or int(size * config.get('partial_rotary_factor', config.get('rotary_pct', 1)))
    found = {'position': 'rope', 'rope-base': base or 10000, 'rope-layout': 'interleaved' if kind in ('gptj', 'codegen') else 'half'}
    return {**found, **({'rope-dimensions': rotated} if rotated != size else {})}


def describe(layer, config, given):
    """The metadata: what was given, or else what config.json and the parameters tell."""
    known = {key.replace('_', '-'): value for key, value in given.items() if value is not None}
    if 'position' not in known:
        known = {**rope_of(config), **known}
    told = {'heads': config.get('num_attention_heads', config.get('n_head')), 'kv-heads': config.get('num_key_value_heads')}
    if 'relative_bias' in layer:
        told.update(position='relative', heads=layer['relative_bias'].shape[0])
    for key, value in told.items():
        if value is not None:
            known.setdefault(key, value)
    if 'heads' not in known:
        raise ExportError('its parameters do not tell how many heads the layer has, and another number gives another output: say it (--heads 4)')
    known.setdefault('look-ahead', 0)
    return {key: known[key] for key in sorted(known, key=lambda key: key != 'heads')}


def numpy_of(values):
    """An array of a tensor (or of an array). bfloat16, which NumPy has not, becomes float32: the same numbers."""
    if not hasattr(values, 'detach'):
        return values
    return (values.float() if str(values.dtype) == 'torch.bfloat16' else values).detach().cpu().numpy()


def export_state(state, path, prefix=None, heads=None, layout=None, config=None, **metadata):
    """Writes the layer under `prefix` of a state_dict and returns its metadata: window, look_ahead, position, sample_rate ..., see attn.h and
    the element's documentation. `layout`: of fused projections; `config`: what config.json holds."""
    config = config or {}
    prefix = find(state, prefix)
    layer = {name: numpy_of(values) for name, values in select(state, prefix).items()}
    known = describe(layer, config, {'heads': heads, **metadata})
    layer = translate(layer, prefix, known, layout or MODEL_TYPES.get(config.get('model_type')))
    check_layer(layer, prefix, known)
    save(path, layer, known)
    return known


def export(module, path, prefix=None, **metadata):
    """The same of a module, which knows its heads: an nn.MultiheadAttention, or what contains one (some: one of them by prefix)."""
    found = find(module.state_dict(), prefix)
    attention = module.get_submodule(found.rstrip('.'))
    if getattr(attention, 'add_zero_attn', False):
        raise ExportError('%s: a key of zeros that is appended to the sequence (add_zero_attn) is not supported' % found)
    known, heads = getattr(attention, 'num_heads', None), metadata.pop('heads', None)
    if None not in (known, heads) and known != heads:
        raise ExportError('%s: the module has %d heads, not %d' % (found, known, heads))
    heads = known if heads is None else heads
    return export_state(module.state_dict(), path, found, heads=heads, **metadata)


# ---- the command ----

def is_tensor(values):
    return hasattr(values, 'shape') and hasattr(values, 'dtype')


def has_tensors(thing):
    return isinstance(thing, dict) and any(is_tensor(v) or has_tensors(v) for v in thing.values())


def parameters(loaded, path):
    """{name: tensor} of what a checkpoint holds, however deep it stands, without what wrappers put before the names."""
    while isinstance(loaded, dict) and not any(isinstance(name, str) and is_tensor(v) and '.' in name for name, v in loaded.items()):
        inner = [key for key, value in loaded.items() if has_tensors(value) and not str(key).startswith('optim')]
        known = [key for key in CONTAINERS if key in inner] or inner
        if not known:
            break
        if len(known) > 1:
            raise ExportError('%s: it has parameters under %s, and which of them are the model is not known: save one of them alone' % (
                path, ', '.join("'%s'" % key for key in known)))
        loaded = loaded[known[0]]
    if not isinstance(loaded, dict):
        raise ExportError('%s: it holds a %s, where a state_dict is needed' % (path, type(loaded).__name__))
    state = {name: values for name, values in loaded.items() if isinstance(name, str) and is_tensor(values)}
    while state and all(name.startswith('module.') for name in state):
        state = {name[len('module.'):]: values for name, values in state.items()}
    for wrapper in WRAPPERS:
        state = {name.replace(wrapper, ''): values for name, values in state.items()}
    return state


def read_pickle(path):
    try:
        import torch
    except ImportError:
        raise ExportError('%s: to read it takes PyTorch, which is not installed (Debian: python3-torch); a checkpoint in safetensors does not' % (
            path)) from None
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of pickle, zip, or the file: whatever it says
        reason = str(error).split('WeightsUnpickler error:')[-1]
        reason = textwrap.shorten(reason, 200, placeholder=' ...').rstrip('.') or type(error).__name__
        raise ExportError('%s: not a checkpoint of plain parameters (%s); of a pickled module save module.state_dict ()' % (path, reason)) from None


def read_checkpoint(path):
    """{name: values}, of a pickle of PyTorch's or of safetensors."""
    with open(path, 'rb') as f:
        is_safetensors = f.read(9)[8:] == b'{'
    return parameters(load(path)[0] if is_safetensors else read_pickle(path), path)


def read_config(path, checkpoint):
    """What config.json says, beside the checkpoint unless another one is named; {}: there is none."""
    beside = os.path.join(os.path.dirname(checkpoint), 'config.json')
    if path is None and not os.path.exists(beside):
        return {}
    path = path or beside
    try:
        with open(path) as f:
            config = json.load(f)
    except ValueError as error:
        raise ExportError('%s: not JSON (%s)' % (path, error)) from None
    if not isinstance(config, dict):
        raise ExportError('%s: it holds a %s, where an object is needed' % (path, type(config).__name__))
    return config


def frame_rate(text):
    """Checks a number such as 100, 62.5 or 125/2."""
    numerator, _, denominator = text.partition('/')
    if not float(numerator) / float(denominator or 1) > 0:
        raise ValueError(text)
    return text


FRONT_END = ('sample_rate', 'frame_rate', 'bins', 'style', 'frame_length', 'hop_length', 'fft_size', 'low_frequency', 'high_frequency',
             'window_function', 'mel_scale', 'log_maximum')


def add_front_end(parser):
    """The options of FRONT_END, which become metadata."""
    made = parser.add_argument_group('what it was trained on', 'named as the properties of logmel, which tells the element what it made')
    made.add_argument('--sample-rate', type=int, metavar='HZ', help='of the audio')
    made.add_argument('--frame-rate', type=frame_rate, metavar='RATE', help='frames per second: 100, 62.5, 125/2')
    made.add_argument('--bins', type=int)
    made.add_argument('--style', choices=('kaldi', 'whisper', 'nemo'))
    for name in ('frame-length', 'hop-length'):
        made.add_argument('--' + name, type=float, metavar='MS')
    made.add_argument('--fft-size', type=int, metavar='POINTS')
    for name in ('low-frequency', 'high-frequency'):
        made.add_argument('--' + name, type=float, metavar='HZ')
    made.add_argument('--window-function', choices=('povey', 'hann', 'hamming', 'blackman', 'rectangular'))
    made.add_argument('--mel-scale', choices=('htk', 'slaney'))
    made.add_argument('--log-maximum', type=float, metavar='LOG10', help='of --style whisper, where it was fixed in training (Voxtral: 1.5)')


def arguments():
    parser = argparse.ArgumentParser(
        description='Takes one attention layer out of a checkpoint, for gst-launch-1.0 ... ! attention model-file=MODEL ! ...',
        epilog='Checkpoints are read with weights_only: no program that is hidden in one runs. '
               'What is said here is what the element then takes; a pipeline that disagrees gets an error instead of wrong numbers.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='what torch.save (module.state_dict (), ...) wrote, or a safetensors file')
    parser.add_argument('model', metavar='MODEL', nargs='?', help='safetensors file to write; without it the attention layers are listed')
    parser.add_argument('--prefix', help="of the layer, such as encoder.layers.0.self_attn. (not needed where there is but one)")
    parser.add_argument('--config', metavar='FILE', help='config.json of Hugging Face (default: the one beside the checkpoint, if there is one)')
    parser.add_argument('--layout', choices=LAYOUTS, help='of query, key and value in one tensor: all queries, all keys, all values; or by heads')
    layer = parser.add_argument_group('the layer')
    layer.add_argument('--heads', type=int, help='which a checkpoint does not tell; say it')
    layer.add_argument('--kv-heads', type=int, help='of keys and values in one tensor with the queries; else the shapes tell')
    layer.add_argument('--window', type=int, metavar='FRAMES', help='that each frame attends to, itself included')
    layer.add_argument('--look-ahead', type=int, metavar='FRAMES', default=0, help='later frames that it also attends to (default: 0)')
    layer.add_argument('--sinks', type=int, metavar='FRAMES', help='first frames that stay attended to')
    layer.add_argument('--scale', type=float, help='of query times key (default: 1 / sqrt (values per head))')
    layer.add_argument('--softcap', type=float)
    layer.add_argument('--position', choices=POSITIONS)
    layer.add_argument('--rope-base', type=float)
    layer.add_argument('--rope-layout', choices=('half', 'interleaved'))
    layer.add_argument('--rope-dimensions', type=int)
    add_front_end(parser)
    return parser.parse_args()


def plain(value):
    return '%.15g' % value if isinstance(value, float) else value


def list_layers(state):
    for found in prefixes(state):
        print("'%s'" % found, {name[len(found):]: list(values.shape) for name, values in state.items() if name.startswith(found)})


def main():
    options = {name: plain(value) for name, value in vars(arguments()).items()}
    checkpoint, model, prefix, config = (options.pop(key) for key in ('checkpoint', 'model', 'prefix', 'config'))
    state = read_checkpoint(checkpoint)
    if model is None:
        find(state, next(iter(prefixes(state)), None))  # says so where there is none
        return list_layers(state)
    found = find(state, prefix)
    known = export_state(state, model, found, config=read_config(config, checkpoint), **options)
    beside, n_others = left_out(state, found)
    print("%s: the layer '%s', %d bytes" % (model, found, os.path.getsize(model)))
    print('it says: ' + ' '.join('%s=%s' % item for item in known.items()))
    if 'window' not in known:
        print('it says nothing of the window: attention then takes 64 frames, unless it is set')
    if beside:
        print('left out, which stand beside the attention: ' + ', '.join(beside))
    if n_others:
        print('left out, of other modules: %d parameters' % n_others)
    print('... ! attention model-file=%s ! ...' % model)
    return None


if __name__ == '__main__':
    try:
        main()
    except (ExportError, OSError) as failure:
        sys.exit('%s: %s' % (os.path.basename(sys.argv[0]), failure))
