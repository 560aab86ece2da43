#!/usr/bin/python3
"""Makes attention/*.safetensors: the outputs of PyTorch's nn.MultiheadAttention in float64, with a band mask.

Each file is a model as users have them, with two more tensors, `input` [frames, D] and `output` [frames, Dout], and a header
that says where it comes from (golden, version, seed, torch) and how it is to be run (heads, window, look-ahead). Needs python3-torch.

  generate.py            writes the files
  generate.py --check    makes them anew and compares: parameters and input to the bit, output to 1e-12 before rounding

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import struct
import sys

try:
    import torch
except ImportError as error:
    sys.exit('generate.py: %s; on Debian: apt-get install python3-torch' % error)

VERSION = 1
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'attention')
DTYPES = {torch.float32: 'F32', torch.float16: 'F16', torch.bfloat16: 'BF16', torch.float64: 'F64'}

# name, D, heads, window, look-ahead, frames, bias, scheme, dtype of the parameters
CASES = [
    ('tiny', 1, 1, 1, 0, 9, True, 'torch', torch.float32),
    ('single-head', 64, 1, 64, 0, 100, True, 'torch', torch.float32),
    ('four-heads', 64, 4, 64, 0, 100, True, 'torch', torch.float32),
    ('no-bias', 64, 8, 7, 0, 60, False, 'torch', torch.float32),
    ('split', 15, 3, 7, 1, 60, True, 'torch-split', torch.float32),
    ('split-no-bias', 6, 2, 64, 5, 80, False, 'torch-split', torch.float64),
    ('hugging-face', 80, 4, 64, 5, 100, True, 'hf', torch.float32),
    ('hugging-face-o', 6, 3, 1, 1, 40, False, 'hf-o', torch.float32),
    ('annotated', 80, 8, 7, 1, 70, True, 'annotated', torch.bfloat16),
    ('annotated-no-bias', 15, 1, 7, 5, 50, False, 'annotated', torch.float32),
    ('longer-than-stream', 64, 2, 500, 0, 90, True, 'torch', torch.float32),
    ('longer-than-stream-ahead', 6, 1, 500, 200, 90, True, 'hf', torch.float32),
    ('wide', 256, 8, 64, 0, 80, True, 'torch', torch.float16),
    ('wide-ahead', 256, 4, 64, 5, 80, True, 'hf', torch.bfloat16),
    ('no-output', 15, 3, 16, 0, 50, True, 'no-output', torch.float32),
    ('parameter-free', 64, 4, 16, 3, 60, False, 'none', torch.float32),
    ('wider', 6, 2, 64, 0, 50, True, 'wider', torch.float32),
    ('large-gain', 64, 4, 64, 0, 100, True, 'torch', torch.float32),
]


def band(frames, window, look_ahead):
    """True where a query (row) must not see a key (column)."""
    t = torch.arange(frames)[:, None]
    j = torch.arange(frames)[None, :]
    return (j <= t - window) | (j > t + look_ahead)


def random_layer(d, heads, bias, dtype, gain):
    layer = torch.nn.MultiheadAttention(d, heads, bias=bias, dtype=torch.float64, batch_first=True)
    with torch.no_grad():
        for p in layer.parameters():
            # exactly as in the file: torch must compute with the rounded parameters
            p.copy_((torch.randn(p.shape, dtype=torch.float64) * gain * d ** -0.5).to(dtype).double())
    return layer


def named(layer, scheme, bias):
    """The parameters under the names of a scheme, without the prefix."""
    w = dict(zip('qkv', layer.in_proj_weight.detach().chunk(3)))
    b = dict(zip('qkv', layer.in_proj_bias.detach().chunk(3))) if bias else {}
    out_w = layer.out_proj.weight.detach()
    out_b = layer.out_proj.bias.detach() if bias else None
    if scheme in ('torch', 'torch-split'):
        if scheme == 'torch':
            tensors = {'in_proj_weight': layer.in_proj_weight.detach()}
        else:
            tensors = {x + '_proj_weight': w[x] for x in 'qkv'}
        if bias:
            tensors['in_proj_bias'] = layer.in_proj_bias.detach()
        outer = 'out_proj'
    elif scheme == 'annotated':
        tensors = {'linears.%d.weight' % i: w[x] for i, x in enumerate('qkv')}
        tensors.update({'linears.%d.bias' % i: b[x] for i, x in enumerate('qkv') if bias})
        outer = 'linears.3'
    else:
        tensors = {x + '_proj.weight': w[x] for x in 'qkv'}
        tensors.update({x + '_proj.bias': b[x] for x in 'qkv' if bias})
        outer = {'hf-o': 'o_proj', 'hf': 'out_proj'}.get(scheme)
    if outer:
        tensors[outer + '.weight'] = out_w
        if bias:
            tensors[outer + '.bias'] = out_b
    return tensors


def largest_score(layer, x, heads):
    """The largest |query . key| / sqrt (dk), to which the rounding errors of the scores are proportional."""
    q, k, _ = (x @ layer.in_proj_weight.T + (0 if layer.in_proj_bias is None else layer.in_proj_bias)).chunk(3, dim=1)
    return max((a @ b.T).abs().max().item() / a.shape[1] ** 0.5 for a, b in zip(q.chunk(heads, dim=1), k.chunk(heads, dim=1)))


def parameter_free(x, heads, mask):
    """Attention of each slice of the frame with itself, from the published formula."""
    out = []
    for s in x.chunk(heads, dim=1):
        scores = s @ s.T / s.shape[1] ** 0.5
        out.append(torch.softmax(scores.masked_fill(mask, -torch.inf), dim=1) @ s)
    return torch.cat(out, dim=1)


def make(seed, name, d, heads, window, look_ahead, frames, bias, scheme, dtype):
    torch.manual_seed(seed)
    x = torch.randn(frames, d, dtype=torch.float32)
    mask = band(frames, window, look_ahead)
    tensors = {}
    metadata = {'golden': 'gst-attention', 'version': str(VERSION), 'seed': str(seed), 'torch': torch.__version__,
                'scheme': scheme, 'heads': str(heads), 'window': str(window), 'look-ahead': str(look_ahead)}
    if scheme == 'none':
        y = parameter_free(x.double(), heads, mask)
    else:
        layer = random_layer(d, heads, bias, dtype, 4 if name == 'large-gain' else 1)
        if scheme in ('no-output', 'wider'):
            with torch.no_grad():
                layer.out_proj.weight.copy_(torch.eye(d, dtype=torch.float64))
                layer.out_proj.bias.zero_()
        with torch.no_grad():
            y = layer(x.double()[None], x.double()[None], x.double()[None], attn_mask=mask, need_weights=False)[0][0]
        tensors = named(layer, scheme, bias)
        if scheme == 'wider':
            tensors['o_proj.weight'], tensors['o_proj.bias'] = torch.randn(10, d).double(), torch.randn(10).double()
            y = torch.nn.functional.linear(y, tensors['o_proj.weight'], tensors['o_proj.bias'])
        tensors = {'attn.' + key: value.to(dtype) for key, value in tensors.items()}
        metadata['largest-score'] = '%.6g' % largest_score(layer, x.double(), heads)
    tensors['input'] = x
    tensors['output'] = y
    return tensors, metadata


def raw(tensor):
    view = torch.int16 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype
    return tensor.contiguous().view(view).numpy().tobytes()


def write(path, tensors, metadata):
    header, data = {'__metadata__': metadata}, b''
    for key, tensor in tensors.items():
        part = raw(tensor)
        header[key] = {'dtype': DTYPES[tensor.dtype], 'shape': list(tensor.shape),
                       'data_offsets': [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header, indent=0).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def read(path):
    with open(path, 'rb') as f:
        n, = struct.unpack('<Q', f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    metadata = header.pop('__metadata__')
    return {key: (e['dtype'], e['shape'], data[slice(*e['data_offsets'])]) for key, e in header.items()}, metadata


def check(path, tensors, metadata):
    stored, stored_metadata = read(path)
    assert stored.keys() == tensors.keys(), (path, stored.keys(), tensors.keys())
    assert {k: v for k, v in stored_metadata.items() if k != 'torch'} == {k: v for k, v in metadata.items() if k != 'torch'}
    for key, tensor in tensors.items():
        if key not in ('output', 'weights'):
            assert stored[key][2] == raw(tensor), (path, key)
            continue
        old = torch.frombuffer(bytearray(stored[key][2]), dtype=torch.float64)
        difference = (old - tensor.reshape(-1)).abs().max().item()
        assert difference <= 1e-12 * tensor.abs().max().item(), (path, key, difference)


def main():
    checking = sys.argv[1:] == ['--check']
    os.makedirs(HERE, exist_ok=True)
    for seed, case in enumerate(CASES, start=1):
        tensors, metadata = make(seed, *case)
        path = os.path.join(HERE, case[0] + '.safetensors')
        if checking:
            check(path, tensors, metadata)
        else:
            write(path, tensors, metadata)
        print('ok %d - %s: D %d, heads %d, window %d, look-ahead %d' % (seed, *case[:5]))
    print('1..%d' % len(CASES))


if __name__ == '__main__':
    main()
