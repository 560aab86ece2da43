"""What the tests of exported models share: folders as Hugging Face has them with small random weights, the command, and the parts of published code
that several models have, written down again in float64. The test that imports it has LIBRARY as its first argument.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import contextlib
import io
import json
import math
import os
import resource
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXPORTER = os.path.join(ROOT, 'examples', 'export_encoder.py')
sys.path[:0] = [os.path.dirname(EXPORTER), os.path.join(ROOT, 'src')]
os.environ['ATTN_LIBRARY'] = os.path.abspath(sys.argv[1])

import attn
import export_encoder
from export import files

TOLERANCE = 2e-6  # of the largest output, per layer of attention: the promise of attn.h for f32
LAYERS, D, HEADS, KV_HEADS, SIZE, INNER = 3, 32, 4, 2, 10, 48


# ---- helpers ----

def exporter(*words, limit=None):
    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return subprocess.run([EXPORTER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'}, preexec_fn=limited if limit else None)


def exported(*words):
    """The output of the command, which must succeed; without another process, which would take time."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        export_encoder.main(list(words))
    return said.getvalue()


def refused(words, *command):
    try:
        said = exported(*command)
    except (export_encoder.ExportError, OSError) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, '%s: nothing of %s' % (error, missing)
        return
    raise AssertionError('not refused: ' + said)


def close(x, wanted, n_layers=LAYERS):
    got = attn.Encoder('encoder.safetensors').forward(x)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE * n_layers, 'off by %.2g of the largest output' % error


def random_state(shapes, seed=1):
    """{name: float32}. Norms and scales are near 1, so that each matters."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) / max(shape[-1], 1) ** 0.5 + (len(shape) == 1 and not name.endswith('bias'))).astype(np.float32)
            for name, shape in shapes.items()}


def folder(state, config, path='folder', shards=1):
    """As Hugging Face has it: config.json, and model.safetensors in one piece or in several with an index."""
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, 'config.json'), 'w') as f:
        json.dump(config, f)
    if shards == 1:
        return export_encoder.save(os.path.join(path, 'model.safetensors'), state, {'format': 'pt'})
    where = {}
    for i in range(shards):
        name = 'model-%05d-of-%05d.safetensors' % (i + 1, shards)
        part = {key: state[key] for key in list(state)[i::shards]}
        export_encoder.save(os.path.join(path, name), part, {'format': 'pt'})
        where.update(dict.fromkeys(part, name))
    with open(os.path.join(path, 'model.safetensors.index.json'), 'w') as f:
        json.dump({'metadata': {}, 'weight_map': where}, f)
    return None


def frames(n, width, seed=2):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


# ---- the published code, in float64 ----

def linear(x, p, name):
    return x @ p[name + '.weight'].T + p.get(name + '.bias', 0)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / 2 ** 0.5))


def layer_norm(x, weight=1, bias=0, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps) * weight + bias


def rms_norm(x, weight, eps):
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps) * weight


def conv_padded_left(x, p, name, left, stride):
    """torch's Conv1d over x [time, channels] behind `left` zeros."""
    weight = p[name + '.weight']
    x = np.concatenate([np.zeros((left, x.shape[1])), x])
    starts = range(0, len(x) - weight.shape[2] + 1, stride)
    return np.stack([np.einsum('oik,ki->o', weight, x[at:at + weight.shape[2]]) for at in starts]) + p[name + '.bias']


def rotate_half(x):
    half = x.shape[-1] // 2
    return np.concatenate([-x[..., half:], x[..., :half]], -1)


def rope_of_hugging_face(x, base):
    """x [time, heads, size]: cos and sin of the frequencies twice, rotate_half."""
    size = x.shape[-1]
    angles = np.arange(len(x))[:, None] / base ** (np.arange(0, size, 2) / size)
    angles = np.concatenate([angles, angles], -1)[:, None]
    return x * np.cos(angles) + rotate_half(x) * np.sin(angles)


def rope_of_kyutai(x, base):
    """x [time, heads, size]: complex numbers of neighbours."""
    size = x.shape[-1]
    angles = np.arange(len(x))[:, None] * np.exp(np.arange(size // 2) * (-math.log(base) * 2 / size))
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def attend(q, k, v, mask, turn=None):
    """q [time, heads, size], k and v [time, kv-heads, size]; each key serves a group of neighbouring heads."""
    if turn is not None:
        q, k = turn(q), turn(k)
    out = np.zeros(q.shape)
    for head in range(q.shape[1]):
        group = head // (q.shape[1] // k.shape[1])
        scores = np.where(mask, q[:, head] @ k[:, group].T * q.shape[2] ** -0.5, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, group]
    return out.reshape(len(q), -1)


def attention(x, p, name, heads, mask, turn=None):
    q, k, v = (linear(x, p, '%s.%s_proj' % (name, letter)) for letter in 'qkv')
    size = q.shape[1] // heads
    return linear(attend(*(each.reshape(len(x), -1, size) for each in (q, k, v)), mask, turn), p, name + '.o_proj')


def distances(n):
    return np.arange(n)[:, None] - np.arange(n)[None]


def causal(n, window):
    return (distances(n) >= 0) & (distances(n) < window)


def double(state):
    return {name: values.astype(np.float64) for name, values in state.items()}
