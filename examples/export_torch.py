#!/usr/bin/python3
"""From PyTorch to safetensors: one attention layer of a checkpoint, or of a module, with the metadata that the element checks.

    examples/export_torch.py checkpoint.pt                                     lists the attention layers that it has
    examples/export_torch.py checkpoint.pt model.safetensors --prefix encoder.layers.0.self_attn. --heads 4 --window 100

    import export_torch                                                        in the program that trained it
    export_torch.export(transformer.layers[0], 'model.safetensors', window=100)

Then: gst-launch-1.0 ... ! attention heads=4 window=100 model-file=model.safetensors ! ...

nn.MultiheadAttention, and what contains some, such as nn.TransformerEncoderLayer (of whose prefix the parameters beside the attention
are left out). The layer is checked before a file is written. A checkpoint is a pickle, which could run any program when it is read: it is
read with weights_only, which takes plain parameters and refuses the rest. Debian's PyTorch comes without the package safetensors, and the format is
simple: eight bytes of length, that much JSON, the numbers. save () and load () are all of it, and need NumPy alone.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import os
import struct
import sys

try:
    import numpy as np
except ImportError as error:
    sys.exit('export_torch.py: %s; on Debian: apt-get install python3-numpy' % error)

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2'}
WEIGHTS = ('in_proj_weight', 'q_proj_weight', 'k_proj_weight', 'v_proj_weight')
PARAMETERS = WEIGHTS + ('in_proj_bias', 'out_proj.weight', 'out_proj.bias', 'relative_bias')
POSITIONS = ('none', 'rope', 'alibi', 'relative')


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


def load(path):
    """({name: array}, {key: value}) of a file that save () wrote."""
    with open(path, 'rb') as f:
        header = json.loads(f.read(*struct.unpack('<Q', f.read(8))))
        data = f.read()
    metadata = header.pop('__metadata__', {})
    return {name: np.frombuffer(data[slice(*entry['data_offsets'])], DTYPES[entry['dtype']]).reshape(entry['shape'])
            for name, entry in header.items()}, metadata


# ---- the layer ----

def prefixes(state):
    """Of all attention layers among the parameters, in their order."""
    found = [name[:-len(weight)] for name in state for weight in WEIGHTS[:2] if name.endswith(weight)]
    return [prefix for prefix in found if prefix == '' or prefix.endswith('.')]


def find(state, prefix):
    """The prefix as it is wanted, with its dot; None: the only one that there is."""
    there = prefixes(state)
    listed = ', '.join("'%s'" % p for p in there)
    if not there:
        raise ExportError('no nn.MultiheadAttention among its %d parameters' % len(state))
    if prefix is None and len(there) > 1:
        raise ExportError('it has %d attention layers, choose one by its prefix: %s' % (len(there), listed))
    if prefix is None:
        return there[0]
    match = next((p for p in (prefix, prefix + '.', prefix + '.self_attn.', prefix + 'self_attn.') if p in there), None)
    if match is None:
        raise ExportError("no attention layer under the prefix '%s'; there is one under %s" % (prefix, listed))
    return match


def select(state, prefix):
    """The parameters of the layer under the prefix, without it. What the element does not compute is refused."""
    layer = {name[len(prefix):]: values for name, values in state.items() if name.startswith(prefix)}
    for name in ('bias_k', 'bias_v'):
        if name in layer:
            raise ExportError('%s%s: a key and value that are appended to the sequence (add_bias_kv) are not supported' % (prefix, name))
    others = ', '.join(name for name in layer if name not in PARAMETERS)
    if others:
        raise ExportError("the layer under '%s' has parameters that nn.MultiheadAttention has not, and that would be missing: %s" % (prefix, others))
    inputs = {name: layer[name].shape[1] for name in WEIGHTS if name in layer}
    if len(set(inputs.values())) != 1:
        raise ExportError('%s: cross-attention, where only self-attention is supported: %s' % (
            prefix, ', '.join('%s takes %d inputs' % item for item in inputs.items())))
    return layer


def check_heads(layer, heads):
    rows = layer['in_proj_weight'].shape[0] // 3 if 'in_proj_weight' in layer else layer['q_proj_weight'].shape[0]
    if heads < 1 or rows % heads != 0:
        raise ExportError('%d heads do not divide the %d rows of the query projection' % (heads, rows))


def numpy_of(values):
    """An array of a tensor (or of an array). bfloat16, which NumPy has not, becomes float32: the same numbers."""
    if not hasattr(values, 'detach'):
        return values
    return (values.float() if str(values.dtype) == 'torch.bfloat16' else values).detach().cpu().numpy()


def export_state(state, path, prefix=None, heads=None, **metadata):
    """Writes the layer under `prefix` of a state_dict and returns its metadata. For metadata see attn.h: window, look_ahead, position ..."""
    prefix = find(state, prefix)
    layer = {name: numpy_of(values) for name, values in select(state, prefix).items()}
    known = {key.replace('_', '-'): value for key, value in {'heads': heads, **metadata}.items() if value is not None}
    if heads is not None:
        check_heads(layer, heads)
    if 'relative_bias' in layer:
        known.setdefault('position', 'relative')
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

def read_checkpoint(path):
    """A state_dict, or what has one as 'state_dict' or 'model'."""
    import torch
    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # of pickle, zip, or the file: whatever it says
        raise ExportError('%s: not a checkpoint of plain parameters (%s); of a pickled module save module.state_dict ()' % (
            path, str(error).split('\n')[0][:200]))
    for key in ('state_dict', 'model'):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise ExportError('%s: it holds a %s, where a state_dict is needed' % (path, type(loaded).__name__))
    return {name: values for name, values in loaded.items() if isinstance(values, torch.Tensor)}


def arguments():
    parser = argparse.ArgumentParser(
        description='Takes one attention layer out of a PyTorch checkpoint, for gst-launch-1.0 ... ! attention model-file=MODEL ! ...',
        epilog='Checkpoints are read with weights_only: no program that is hidden in one runs. '
               'What is said here is checked when the file is used: a pipeline that disagrees gets an error instead of wrong numbers.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='what torch.save (module.state_dict (), ...) wrote')
    parser.add_argument('model', metavar='MODEL', nargs='?', help='safetensors file to write; without it the attention layers are listed')
    parser.add_argument('--prefix', help="of the layer, such as encoder.layers.0.self_attn. (not needed where there is but one)")
    parser.add_argument('--heads', type=int, help='which a checkpoint does not tell; say it')
    parser.add_argument('--window', type=int, metavar='FRAMES', help='that each frame attends to, itself included')
    parser.add_argument('--look-ahead', type=int, metavar='FRAMES', help='later frames that it also attends to')
    parser.add_argument('--position', choices=POSITIONS)
    parser.add_argument('--rope-base', type=float)
    parser.add_argument('--rope-layout', choices=('half', 'interleaved'))
    return parser.parse_args()


def main():
    options = vars(arguments())
    checkpoint, model, prefix = (options.pop(key) for key in ('checkpoint', 'model', 'prefix'))
    state = read_checkpoint(checkpoint)
    if model is None:
        find(state, next(iter(prefixes(state)), None))  # says so where there is none
        for found in prefixes(state):
            print("'%s'" % found, {name[len(found):]: list(values.shape) for name, values in state.items() if name.startswith(found)})
        return
    found = find(state, prefix)
    known = export_state(state, model, found, **options)
    print('%s: the layer \'%s\', %d bytes' % (model, found, os.path.getsize(model)))
    print('... ! attention model-file=%s %s ! ...' % (model, ' '.join('%s=%s' % item for item in known.items())))


if __name__ == '__main__':
    try:
        main()
    except (ExportError, OSError) as failure:
        sys.exit('%s: %s' % (os.path.basename(sys.argv[0]), failure))
