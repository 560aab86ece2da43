"""Reads checkpoints: {name: Tensor} from a pickle of PyTorch, from safetensors, from a folder of Hugging Face, from a .nemo.

A .pt checkpoint is a pickle, which could run any program when it is read. So it is read with weights_only, which takes plain parameters and refuses
the rest. That needs PyTorch. Checkpoints in safetensors need only NumPy.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import sys
import tarfile
import textwrap

from .files import ExportError, open_safetensors, refuse_unless, tensor

# Where checkpoints keep their parameters, and what wrappers put into their names.
CONTAINERS = ('state_dict', 'model_state_dict', 'model', 'module', 'net', 'network', 'model.state_dict', 'weights', 'params')
WRAPPERS = ('_orig_mod.', '_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')
LARGE = 1 << 28  # bytes of a checkpoint, from where on a person may want to know that it is in memory
INDEX, ALONE = 'model.safetensors.index.json', 'model.safetensors'
FLOATS = ('torch.float64', 'torch.float32', 'torch.float16', 'torch.bfloat16')
ONNX = """%s: an .onnx holds a protobuf, which this program does not read. With the package onnx, two lines of Python write its tensors:
  import onnx, export_encoder
  export_encoder.save('tensors.safetensors', export_encoder.of_onnx(onnx.load('%s')))
Then name them by a description: examples/export_encoder.py tensors.safetensors MODEL --describe FILE.json"""


# ---- the usual wrappings ----

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


def kept(values, name):
    """A Tensor; masks and counters, of no use here, stay what they are."""
    return tensor(values, name) if not hasattr(values, 'detach') or str(values.dtype) in FLOATS else values


# ---- pickles ----

def unpickled(path, source):
    """What torch.load makes of a path or of an open file. A path is mapped where this version of PyTorch can, and read once where it cannot."""
    try:
        import torch
    except ImportError:
        raise ExportError('%s: to read it takes PyTorch, which is not installed (Debian: python3-torch); a checkpoint in safetensors does not' % (
            path)) from None
    try:
        if source == path:
            try:
                return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
            except (TypeError, ValueError, RuntimeError):  # PyTorch before 2.1, or a file of before 1.6
                if os.path.getsize(path) >= LARGE:
                    print('%s: read into memory, once: PyTorch %s cannot map it (2.1 and later can, what 1.6 and later wrote)' % (
                        path, torch.__version__), file=sys.stderr)
        return torch.load(source, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of pickle, zip, or the file: whatever it says
        reason = str(error).split('WeightsUnpickler error:')[-1]
        reason = textwrap.shorten(reason, 200, placeholder=' ...').rstrip('.') or type(error).__name__
        raise ExportError('%s: not a checkpoint of plain parameters (%s); of a pickled module save module.state_dict ()' % (path, reason)) from None


def nemo_weights(path):
    """Of a .nemo: a tar with model_config.yaml and model_weights.ckpt."""
    try:
        with tarfile.open(path) as archive:
            names = [name for name in archive.getnames() if name.endswith('.ckpt')]
            refuse_unless(len(names) == 1, path, 'a .nemo has one file *.ckpt with its parameters, but here are %d' % len(names))
            return unpickled(path, archive.extractfile(names[0]))
    except tarfile.TarError as error:
        raise ExportError('%s: not a .nemo, which is a tar (%s)' % (path, error)) from None


def of_onnx(model):
    """{name: array} of the floating-point initialisers of an onnx.ModelProto."""
    from onnx import numpy_helper
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return {name: values for name, values in arrays.items() if values.dtype.kind == 'f'}


# ---- folders ----

def read_json(path):
    try:
        with open(path, encoding='utf-8') as f:
            read = json.load(f)
    except ValueError as error:
        raise ExportError('%s: not JSON (%s)' % (path, error)) from None
    if not isinstance(read, dict):
        raise ExportError('%s: it holds a %s, where an object is needed' % (path, type(read).__name__))
    return read


def sharded(index_path):
    """{name: Tensor} of the files that an index names."""
    where, folder, state = read_json(index_path).get('weight_map'), os.path.dirname(index_path), {}
    refuse_unless(isinstance(where, dict), index_path, 'it has no weight_map, which says in which file each tensor is')
    shards = {}
    for name, shard in where.items():
        refuse_unless(isinstance(shard, str) and os.path.basename(shard) == shard, index_path, '%r, where %s is, is not a file beside it' % (shard, name))
        if shard not in shards:
            shards[shard] = open_safetensors(os.path.join(folder, shard))[0]
        refuse_unless(name in shards[shard], index_path, 'it says that %s is in %s, which has no such tensor' % (name, shard))
        state[name] = shards[shard][name]
    return state


def checkpoint_of(folder):
    """The file of a folder that holds its parameters, or their index."""
    for name in (ALONE, INDEX):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise ExportError("%s: a folder without %s and %s; it has %s" % (
        folder, ALONE, INDEX, textwrap.shorten(', '.join(sorted(os.listdir(folder))), 200, placeholder=' ...') or 'nothing'))


def read_checkpoint(path):
    """{name: Tensor}, of whatever is at `path`."""
    if os.path.isdir(path):
        path = checkpoint_of(path)
    if path.endswith('.onnx'):
        raise ExportError(ONNX % (path, path))
    if path.endswith('.index.json'):
        state = sharded(path)
    else:
        with open(path, 'rb') as f:
            is_safetensors = f.read(9)[8:] == b'{'
        state = open_safetensors(path)[0] if is_safetensors else nemo_weights(path) if path.endswith('.nemo') else unpickled(path, path)
    return {name: kept(values, name) for name, values in parameters(state, path).items()}


def read_config(path, checkpoint):
    """What config.json says, beside the checkpoint or in its folder unless another one is named; {}: there is none."""
    folder = checkpoint if os.path.isdir(checkpoint) else os.path.dirname(checkpoint)
    beside = os.path.join(folder, 'config.json')
    return {} if path is None and not os.path.exists(beside) else read_json(path or beside)
