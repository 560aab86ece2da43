"""Safetensors files: eight bytes with a length, JSON of that length, the numbers. Also tensors that are read only when they are written.

Debian's PyTorch comes without the package safetensors, and the format is simple: save () and load () are all of it. A file is mapped, not
read, and is written tensor by tensor. So a file of gigabytes takes only the memory of its largest tensor.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import math
import os
import struct
import sys

try:
    import numpy as np
except ImportError as error:
    sys.exit('%s: %s; on Debian: apt-get install python3-numpy' % (sys.argv[0].rpartition('/')[2], error))

# What NumPy calls them. It has no bfloat16: the upper half of a float32 is kept as a whole number.
DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2'}
BYTES = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'U64': 8, 'I32': 4, 'U32': 4, 'I16': 2, 'U16': 2, 'I8': 1, 'U8': 1, 'BOOL': 1,
         'F8_E4M3': 1, 'F8_E5M2': 1}
OTHER_DTYPE = '%s has dtype %s, but one of %s is needed'


class ExportError(ValueError):
    """What is wrong, in a sentence."""


def refuse_unless(condition, name, what):
    if not condition:
        raise ExportError('%s: %s' % (name, what))


# ---- tensors ----

class Tensor:
    """A tensor whose values are read when they are asked for, each time anew. `dtype`: as safetensors calls it."""

    def __init__(self, dtype, shape, read):
        self.dtype, self.shape, self._read = dtype, tuple(shape), read

    def stored(self):
        """As it stands in a file: bfloat16 as whole numbers of 16 bits."""
        return self._read()

    def numpy(self):
        """Of floating-point numbers; bfloat16 becomes float32, the same numbers."""
        values = self.stored()
        if self.dtype != 'BF16':
            return values
        return (np.atleast_1d(values).astype('<u4') << 16).view('<f4').reshape(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def n_bytes(self):
        return self.size * BYTES[self.dtype]

    def moved(self, shape, move):
        """The same numbers in another order or another shape: `move` takes an array and gives one of `shape`."""
        return Tensor(self.dtype, shape, lambda: move(self.stored()))

    def computed(self, compute):
        """Of the same shape: what `compute` makes of the numbers in float64. Sixteen bits become 32, so that nothing is lost."""
        dtype = 'F64' if self.dtype == 'F64' else 'F32'

        def read():
            with np.errstate(all='ignore'):
                values = compute(self.numpy().astype(np.float64)).astype(DTYPES[dtype])
            refuse_unless(np.isfinite(values).all(), 'a tensor of the shape %s' % list(self.shape), 'what is computed of it is not finite')
            return values
        return Tensor(dtype, self.shape, read)

    @property
    def T(self):
        return self.moved(self.shape[::-1], lambda values: values.T)

    def __getitem__(self, rows):
        """A slice of rows."""
        n = len(range(*rows.indices(self.shape[0])))
        return self.moved((n, *self.shape[1:]), lambda values: values[rows])


def of_array(values, name=''):
    values = np.asarray(values)
    dtype = next((d for d, code in DTYPES.items() if d != 'BF16' and values.dtype.newbyteorder('<') == code), None)
    if dtype is None:
        raise ExportError(OTHER_DTYPE % (name, values.dtype, 'float64, float32, float16'))
    return Tensor(dtype, values.shape, lambda: values)


def of_torch(values, name=''):
    dtypes = {'torch.float64': 'F64', 'torch.float32': 'F32', 'torch.float16': 'F16', 'torch.bfloat16': 'BF16'}
    dtype = dtypes.get(str(values.dtype))
    if dtype is None:
        raise ExportError(OTHER_DTYPE % (name, values.dtype, ', '.join(dtypes)))

    def read():
        plain = values.detach().cpu().contiguous()
        if dtype != 'BF16':
            return plain.numpy()
        import torch
        return plain.view(torch.int16).numpy().view('<u2')
    return Tensor(dtype, tuple(values.shape), read)


def tensor(values, name=''):
    """A Tensor of whatever holds the numbers: of NumPy's arrays or PyTorch's tensors."""
    if isinstance(values, Tensor):
        return values
    return of_torch(values, name) if hasattr(values, 'detach') else of_array(values, name)


def joined(parts, name):
    """Their rows, one behind the other."""
    shapes = {part.shape[1:] for part in parts}
    refuse_unless(len(shapes) == 1, name, 'rows of %s cannot stand in one tensor' % ' and of '.join(str(list(shape)) for shape in sorted(shapes)))
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    dtypes = {part.dtype for part in parts}
    if len(dtypes) == 1:
        return Tensor(dtypes.pop(), shape, lambda: np.concatenate([part.stored() for part in parts]))
    dtype = 'F64' if 'F64' in dtypes else 'F32'
    return Tensor(dtype, shape, lambda: np.concatenate([part.numpy() for part in parts]).astype(DTYPES[dtype]))


# ---- the format ----

def check_finite(name, dtype, stored):
    """libattn refuses a file with NaN or infinity."""
    wrong = np.flatnonzero((stored & 0x7f80) == 0x7f80 if dtype == 'BF16' else ~np.isfinite(stored))
    if len(wrong):
        raise ExportError('%s: %d of its %d values are NaN or infinite, the first one is number %d' % (name, len(wrong), len(stored), wrong[0]))


def save(path, tensors, metadata=None):
    """Writes {name: array, PyTorch's tensor or Tensor} and {key: value} of what is known about them, one tensor at a time."""
    tensors = {name: tensor(values, name) for name, values in tensors.items()}
    header, end = {}, 0
    if metadata:
        header['__metadata__'] = {key: str(value) for key, value in metadata.items()}
    for name, values in tensors.items():
        if values.dtype not in DTYPES:
            raise ExportError(OTHER_DTYPE % (name, values.dtype, ', '.join(DTYPES)))
        header[name] = {'dtype': values.dtype, 'shape': list(values.shape), 'data_offsets': [end, end + values.n_bytes]}
        end += values.n_bytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # so that the numbers are aligned
    part = '%s.part' % path  # the file is whole, or it is not there
    try:
        with open(part, 'wb') as f:
            f.write(struct.pack('<Q', len(text)) + text)
            for name, values in tensors.items():
                stored = np.ascontiguousarray(values.stored(), DTYPES[values.dtype]).reshape(-1)
                check_finite(name, values.dtype, stored)
                f.write(stored.data.cast('B') if values.size else b'')
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def without_values(name, dtype, shape):
    """Masks and counters have a shape, but nothing is computed of them."""
    def read():
        raise ExportError(OTHER_DTYPE % (name, dtype, ', '.join(DTYPES)))
    return Tensor(dtype, shape, read)


def tensor_of(name, entry, data):
    """Of an entry of the header, over the mapped bytes of the file."""
    dtype, shape, (begin, end) = entry['dtype'], tuple(entry['shape']), entry['data_offsets']
    refuse_unless(0 <= begin <= end <= len(data), name, 'numbers from byte %d to %d, but the file has %d' % (begin, end, len(data)))
    if dtype not in DTYPES:
        return without_values(name, dtype, shape)
    wanted = math.prod(shape) * BYTES[dtype]
    refuse_unless(end - begin == wanted, name, 'the shape %s takes %d bytes, but there are %d' % (list(shape), wanted, end - begin))
    return Tensor(dtype, shape, lambda: data[begin:end].view(DTYPES[dtype]).reshape(shape))


def open_safetensors(path):
    """({name: Tensor}, {key: value}) of a safetensors file, which is mapped and not read."""
    try:
        with open(path, 'rb') as f:
            n, = struct.unpack('<Q', f.read(8))
            text = f.read(n)
            header = json.loads(text)
            empty = not f.read(1)
        data = np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, 'r', 8 + n)
        metadata = header.pop('__metadata__', None) or {}
        return {name: tensor_of(name, entry, data) for name, entry in header.items()}, metadata
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise ExportError('%s: not a safetensors file (%s)' % (path, error)) from None


def load(path):
    """({name: array}, {key: value}) of a safetensors file. Of masks and counters only the shapes are read."""
    tensors, metadata = open_safetensors(path)
    return {name: values.numpy() if values.dtype in DTYPES else np.broadcast_to(False, values.shape) for name, values in tensors.items()}, metadata
