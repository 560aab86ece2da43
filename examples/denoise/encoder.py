"""The layer that train.py trains, and how: what needs PyTorch. Some minutes on one core.

The layer is one multi-head attention, nothing else: no residual, no feed-forward, no normalisation beside it. The mean and the spread of
the frames are folded into its projections. With relative positions a head can look at fixed distances, as a linear filter does; and by
what queries and keys say it can look where there was only noise, or where the speech was like now, which no linear filter can.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import sys
import time

import numpy as np

try:
    import torch
except ImportError as error:
    sys.exit('train.py: %s; on Debian: apt-get install python3-torch libopenblas0-serial' % error)

import data

REACHES = 2 * (0.5, 3, 12, 100)  # how far each head looks at first, in frames
HEADS, WIDTH = len(REACHES), data.BINS  # a head's queries, keys and values have as many dimensions as a frame
WINDOW, LOOK_AHEAD = 64, 5
BATCH, LENGTH = 16, 256  # stretches of that many frames
BLOCK = 64  # queries that share a stretch of keys
RATE = 8e-3  # of learning


class Layer(torch.nn.Module):
    """Attention over a sliding window, for training: whole stretches at once. Parameters are named as nn.MultiheadAttention names them."""

    def __init__(self, bins):
        super().__init__()
        rows, span = HEADS * WIDTH, WINDOW + LOOK_AHEAD
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * rows, bins))
        self.in_proj_bias = torch.nn.Parameter(torch.zeros(3 * rows))
        self.out_proj = torch.nn.Linear(rows, bins)
        torch.nn.init.xavier_uniform_(self.in_proj_weight)
        distance = (torch.arange(span) - (WINDOW - 1)).abs()
        self.relative_bias = torch.nn.Parameter(-distance / torch.tensor(REACHES)[:, None])
        # where query i of a block finds its bias for key j: beyond the window stands a last one, minus infinity
        place = torch.arange(BLOCK + span - 1)[None, :] - torch.arange(BLOCK)[:, None]
        self.place = torch.where((place >= 0) & (place < span), place, span)

    def bias(self, n_blocks):
        """[blocks, heads, BLOCK, keys] added to the scores; keys before the start and behind the end are not there."""
        beyond = torch.full((HEADS, 1), -math.inf)
        there = self.keys(torch.ones(1, n_blocks * BLOCK, 1))[0, :, 0]
        absent = torch.zeros_like(there).masked_fill(there == 0, -math.inf)
        return torch.cat([self.relative_bias, beyond], 1)[:, self.place][None] + absent[:, None, None, :]

    @staticmethod
    def keys(rows):
        """[batch, frames, n] -> [batch, blocks, n, keys]: what the queries of each block may see."""
        padded = torch.nn.functional.pad(rows, (0, 0, WINDOW - 1, LOOK_AHEAD))
        return padded.unfold(1, BLOCK + WINDOW - 1 + LOOK_AHEAD, BLOCK)

    def forward(self, x):
        batch, frames, _ = x.shape
        blocks = frames // BLOCK
        q, k, v = torch.nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=2)
        q = (q / math.sqrt(WIDTH)).view(batch, blocks, BLOCK, HEADS, WIDTH).transpose(2, 3)
        k, v = (self.keys(rows).reshape(batch, blocks, HEADS, WIDTH, -1) for rows in (k, v))
        weights = torch.softmax(q @ k + self.bias(blocks), dim=-1)
        context = (weights @ v.transpose(-1, -2)).transpose(2, 3)
        return self.out_proj(context.reshape(batch, frames, HEADS * WIDTH))


def train(noisy, clean, n_steps):
    """The layer over frames of mean 0 and spread 1; what it predicts has mean 0."""
    layer = Layer(noisy.shape[2])
    others = [p for name, p in layer.named_parameters() if name != 'relative_bias']
    optimizer = torch.optim.Adam([{'params': others, 'lr': RATE}, {'params': [layer.relative_bias], 'lr': 5 * RATE}])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / n_steps)) / 2)
    begin, errors = time.monotonic(), []
    for step in range(n_steps):
        streams = torch.randint(len(noisy), (BATCH,))
        starts = torch.randint(noisy.shape[1] - LENGTH, (BATCH,))
        x, y = (torch.stack([part[s, t:t + LENGTH] for s, t in zip(streams, starts)]) for part in (noisy, clean))
        loss = torch.mean((layer(x) - y) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1)
        optimizer.step()
        schedule.step()
        errors.append(loss.item())
        if (step + 1) % 250 == 0:
            print('%5d steps, %3.0f s: RMSE %.3f' % (step + 1, time.monotonic() - begin, np.sqrt(np.mean(errors[-250:]))), flush=True)
    return layer


def folded(layer, mean, spread, clean_mean):
    """The layer's parameters for frames as they are: W ((x - mean) / spread) + b = (W / spread) x + (b - (W / spread) mean). Float16 is exact
    enough, and half as large."""
    state = {name: values.double() for name, values in layer.state_dict().items()}
    state['in_proj_weight'] /= spread
    state['in_proj_bias'] -= state['in_proj_weight'] @ mean
    state['out_proj.bias'] += clean_mean
    return {name: values.float().half() for name, values in state.items()}


def make(noisy, clean, n_steps):
    """The parameters of a layer that was trained on frames [streams, frames, bins], as export_encoder takes them. One thread, one seed."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(1)
    noisy, clean = torch.from_numpy(noisy), torch.from_numpy(clean)
    mean, spread, clean_mean = noisy.mean((0, 1)), noisy.std((0, 1)), clean.mean((0, 1))
    layer = train((noisy - mean) / spread, clean - clean_mean, n_steps)
    return folded(layer, mean.double(), spread.double(), clean_mean.double())
