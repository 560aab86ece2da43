"""The two recognisers that train.py can train, in PyTorch: layers with sliding windows, and a Conformer with chunks.

Log-mel frames go in, 100 per second; out come the log-probabilities of the tokens, 25 per second. The first 13 coefficients of the cepstrum keep the
shape of the spectrum and drop the pitch. Two convolutions of stride 2 follow, and then four layers, which is where the two differ.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import os
import sys

try:
    import torch
    from torch import nn
except ImportError as error:
    sys.exit('train.py: %s; on Debian: apt-get install python3-torch libopenblas0-serial' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import data
from export import front_end
from training.layers import OverTime, Residual, rules

HEADS, LAYERS, KERNEL = 4, 4, 5
DROPOUT = 0.1

# Sliding windows, in outputs of 40 ms.
WIDTH, INNER = 128, 256
WINDOW, LOOK_AHEADS = 24, (2, 1, 1, 1)

# The Conformer: its chunks look back and ahead about as far as the windows.
CHUNK, CHUNKS, DEPTHWISE = 7, 3, 9


class Erased(nn.Module):
    """In training only: some stretches of frames are zeros, as if packets were lost."""

    def forward(self, x):
        if not self.training:
            return x
        batch, n, _ = x.shape
        starts, lengths = torch.randint(n, (batch, n // 60, 1)), torch.randint(1, 9, (batch, n // 60, 1))
        at = torch.arange(n)
        return x * ~((at >= starts) & (at < starts + lengths)).any(1)[:, :, None]


def cepstrum():
    made = nn.Linear(data.BINS, data.COEFFICIENTS, bias=False)
    made.weight = nn.Parameter(torch.tensor(front_end.dct(data.COEFFICIENTS, data.BINS), dtype=torch.float32), requires_grad=False)
    return made


def whole(convs, layers, width, n_tokens):
    """What both have: the coefficients, their mean and spread, and at the end the tokens."""
    return nn.Sequential(cepstrum(), OverTime(nn.BatchNorm1d(data.COEFFICIENTS, affine=False)), Erased(), convs[0], nn.GELU(), convs[1], nn.GELU(), *layers,
                         nn.LayerNorm(width), nn.Linear(width, n_tokens), nn.LogSoftmax(2))


class Projections(nn.Module):
    """What attention reads and writes with. Parameters are named as libattn reads them."""

    def __init__(self, width):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def heads_of(self, x):
        """[batch, n, D] -> queries, keys, values [batch, heads, n, D / heads]"""
        batch, n, _ = x.shape
        projected = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        return (part.view(batch, n, HEADS, -1).transpose(1, 2) for part in projected.chunk(3, dim=2))


# ---- sliding windows ----

class Attention(Projections):
    """Multi-head attention over a sliding window, for training: whole streams at once."""

    def __init__(self, window, look_ahead):
        super().__init__(WIDTH)
        self.window, self.look_ahead = window, look_ahead
        distance = (torch.arange(window + look_ahead) - (window - 1)).abs()
        reaches = torch.tensor([1.0, 3.0, 8.0, 24.0])  # how far each head looks at first
        self.relative_bias = nn.Parameter(-distance / reaches[:, None])

    def bias(self, n):
        """[heads, n, n]: minus infinity beyond the window."""
        place = torch.arange(n)[None, :] - torch.arange(n)[:, None] + self.window - 1
        span = self.window + self.look_ahead
        beyond = torch.full((HEADS, 1), -math.inf)
        return torch.cat([self.relative_bias, beyond], 1)[:, torch.where((place >= 0) & (place < span), place, span)]

    def forward(self, x):
        q, k, v = self.heads_of(x)
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + self.bias(x.shape[1]), dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))


def windows(n_tokens):
    layers = []
    for look_ahead in LOOK_AHEADS:
        layers += [Residual(nn.LayerNorm(WIDTH), Attention(WINDOW, look_ahead), nn.Dropout(DROPOUT)),
                   Residual(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, INNER), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(INNER, WIDTH), nn.Dropout(DROPOUT))]
    convs = [OverTime(nn.Conv1d(inputs, WIDTH, KERNEL, stride=2, padding=KERNEL // 2)) for inputs in (data.COEFFICIENTS, WIDTH)]
    return whole(convs, layers, WIDTH, n_tokens)


# ---- a Conformer with chunks ----

class ChunkAttention(Projections):
    """Multi-head attention over chunks, with the positions of Transformer-XL: an output attends to its chunk and to those before it."""

    def __init__(self, width, chunk, chunks):
        super().__init__(width)
        self.chunk, self.chunks = chunk, chunks
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u, self.pos_bias_v = (nn.Parameter(torch.zeros(HEADS, width // HEADS)) for _ in range(2))
        nn.init.xavier_uniform_(self.linear_pos.weight)
        distances = chunks * chunk + torch.arange(chunk)[:, None] - torch.arange((chunks + 1) * chunk)
        turns = distances[:, :, None] * 10000 ** (-torch.arange(0, width, 2) / width)
        self.register_buffer('positions', torch.stack([turns.sin(), turns.cos()], -1).flatten(2), persistent=False)  # [chunk, seen, width]

    def seen(self, x, n):
        """[batch, heads, n, d] -> [batch, heads, chunks, seen, d]: the rows that the queries of each chunk attend to; those beyond the ends are zeros."""
        padded = nn.functional.pad(x, (0, 0, self.chunks * self.chunk, -n % self.chunk))
        return padded.unfold(2, (self.chunks + 1) * self.chunk, self.chunk).transpose(3, 4)

    def exist(self, n):
        """[chunks, 1, seen]"""
        return self.seen(torch.ones(1, 1, n, 1), n)[0, 0].transpose(1, 2) > 0

    def forward(self, x):
        n, d = x.shape[1], x.shape[2] // HEADS
        q, k, v = self.heads_of(x)
        q = nn.functional.pad(q, (0, 0, 0, -n % self.chunk)).unflatten(2, (-1, self.chunk))  # [batch, heads, chunks, chunk, d]
        positions = self.linear_pos(self.positions).unflatten(2, (HEADS, d))
        scores = (q + self.pos_bias_u[:, None, None]) @ self.seen(k, n).transpose(3, 4)
        scores = scores + torch.einsum('bhcid,ijhd->bhcij', q + self.pos_bias_v[:, None, None], positions)
        weights = torch.softmax((scores / math.sqrt(d)).masked_fill(~self.exist(n), -math.inf), dim=-1)
        contexts = (weights @ self.seen(v, n)).flatten(2, 3)[:, :, :n]
        return self.out_proj(contexts.transpose(1, 2).reshape(x.shape))


class Causal(nn.Conv1d):
    """A convolution over [batch, frames, values] that reads no later frames."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x.transpose(1, 2), (self.kernel_size[0] - 1, 0))).transpose(1, 2)


class HalfStep(Residual):
    """x + f (x) / 2; the last module of f is linear, so that the file can have the half in its parameters."""

    factor = 0.5

    def forward(self, x):
        return x + self.factor * nn.Sequential.forward(self, x)

    def fold(self):
        """The half goes into the last linear layer."""
        last = [module for module in self if isinstance(module, nn.Linear)][-1]
        for parameter in last.parameters():
            parameter.data *= self.factor
        self.factor = 1


def half_step(width):
    return HalfStep(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(DROPOUT), nn.Linear(2 * width, width), nn.Dropout(DROPOUT))


def conformer_block(width):
    """As Gulati et al. 2020 describe it, with what streaming models changed: causal convolutions, norms of single outputs in them, and chunks."""
    attention = Residual(nn.LayerNorm(width), ChunkAttention(width, CHUNK, CHUNKS), nn.Dropout(DROPOUT))
    convolution = Residual(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GLU(), Causal(width, width, DEPTHWISE, groups=width), nn.LayerNorm(width),
                           nn.SiLU(), nn.Linear(width, width), nn.Dropout(DROPOUT))
    return [half_step(width), attention, convolution, half_step(width), nn.LayerNorm(width)]


def conformer(n_tokens, width=96):
    layers = [module for _ in range(LAYERS) for module in conformer_block(width)][:-1]  # the norm behind the last block is that of the whole
    return whole([Causal(inputs, width, KERNEL, stride=2) for inputs in (data.COEFFICIENTS, width)], layers, width, n_tokens)


# ---- blocks ----

KINDS = {'windows': windows, 'conformer': conformer}


def chunk_block(module, name, blocks_of):
    return [{'attention': name.rstrip('.'), 'heads': HEADS, 'chunk': module.chunk, 'chunks': module.chunks, 'position': 'transformer-xl'}]


def causal_block(module, name, blocks_of):
    options = {'stride': module.stride[0], 'groups': module.groups}
    return [{'conv': name.rstrip('.'), **{key: value for key, value in options.items() if value != 1}, 'left': module.kernel_size[0] - 1}]


RULES = rules(Attention, HEADS)
RULES.update({Erased: lambda module, name, blocks_of: [], ChunkAttention: chunk_block, Causal: causal_block})
