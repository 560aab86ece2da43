"""The encoder that train.py trains, and how: what needs PyTorch.

Log-mel frames go in; out come a gain for each band, and the probability of speech. A convolution sees what is near, three layers of attention
look back over a second for what the noise is like and what was said. Together they look three frames ahead. The loss is that of the sound: gains
are applied to the spectrum as the element spectralgain does, and the spectrum is compared with that of the clean speech.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import os
import sys
import time
import zlib

import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    sys.exit('train.py: %s; on Debian: apt-get install python3-torch libopenblas0-serial' % error)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import data
import export_encoder
from training import mel_edges, mel_filters, mel_points
from training.layers import OverTime, Residual, rules

WIDTH, HEADS, INNER, KERNEL = 96, 4, 192, 5
WINDOWS, LOOK_AHEADS = (48, 64, 96), (1, 0, 0)  # frames; the convolution looks two more ahead
BLOCK = 64  # queries that share a stretch of keys
BATCH, LENGTH = 8, 5 * BLOCK  # stretches of that many frames
LEARNING_RATE = 1.5e-3
FRAME, HOP, POINTS = 400, 160, 512  # samples
SAMPLES = (LENGTH - 1) * HOP + FRAME
BOTH = 2400  # steps, from which on it is also trained to be understood
COSINE = 4500  # steps
SEGMENT = 38  # frames, 0.4 s, over which envelopes are compared
SMALLEST = 1e-3  # what a compressed gain is kept above


# ---- the model ----

class Attention(nn.Module):
    """Multi-head attention over a sliding window, for training: whole stretches at once. Parameters are named as libattn reads them."""

    def __init__(self, window, look_ahead):
        super().__init__()
        self.window, self.look_ahead = window, look_ahead
        span = window + look_ahead
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)
        nn.init.xavier_uniform_(self.in_proj_weight)
        distance = (torch.arange(span) - (window - 1)).abs()
        reaches = torch.tensor([1.0, 4.0, 16.0, 64.0])  # how far each head looks at first, in frames
        self.relative_bias = nn.Parameter(-distance / reaches[:, None])
        # where query i of a block finds its bias for key j: beyond the window stands a last one, minus infinity
        place = torch.arange(BLOCK + span - 1)[None, :] - torch.arange(BLOCK)[:, None]
        self.place = torch.where((place >= 0) & (place < span), place, span)

    def keys(self, rows):
        """[batch, frames, n] -> [batch, blocks, n, keys]: what the queries of each block may see."""
        padded = nn.functional.pad(rows, (0, 0, self.window - 1, self.look_ahead))
        return padded.unfold(1, BLOCK + self.window - 1 + self.look_ahead, BLOCK)

    def bias(self, n_blocks):
        """[blocks, heads, BLOCK, keys] added to the scores; keys before the start and behind the end are not there."""
        there = self.keys(torch.ones(1, n_blocks * BLOCK, 1))[0, :, 0]
        absent = torch.zeros_like(there).masked_fill(there == 0, -math.inf)
        beyond = torch.full((HEADS, 1), -math.inf)
        return torch.cat([self.relative_bias, beyond], 1)[:, self.place][None] + absent[:, None, None, :]

    def forward(self, x):
        batch, frames, _ = x.shape
        blocks, depth = frames // BLOCK, WIDTH // HEADS
        q, k, v = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=2)
        q = (q / math.sqrt(depth)).view(batch, blocks, BLOCK, HEADS, depth).transpose(2, 3)
        k, v = (self.keys(rows).reshape(batch, blocks, HEADS, depth, -1) for rows in (k, v))
        weights = torch.softmax(q @ k + self.bias(blocks), dim=-1)
        context = (weights @ v.transpose(-1, -2)).transpose(2, 3)
        return self.out_proj(context.reshape(batch, frames, WIDTH))


def make():
    layers = []
    for window, look_ahead in zip(WINDOWS, LOOK_AHEADS):
        layers += [Residual(nn.LayerNorm(WIDTH), Attention(window, look_ahead)),
                   Residual(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, INNER), nn.GELU(), nn.Linear(INNER, WIDTH))]
    conv = nn.Conv1d(data.BINS, WIDTH, KERNEL, padding=KERNEL // 2)
    return nn.Sequential(OverTime(nn.BatchNorm1d(data.BINS, affine=False)), OverTime(conv), nn.GELU(), *layers,
                         nn.LayerNorm(WIDTH), nn.Linear(WIDTH, data.BINS + 1), nn.Sigmoid())


RULES = rules(Attention, HEADS)


def export(model, path, **metadata):
    """In float16, which is exact enough, and half as large."""
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    return export_encoder.export(model, path, rules=RULES, frame_rate=100, **data.MADE_FROM, **metadata)


# ---- frames and spectra, as logmel and spectralgain have them ----

def bands():
    """(filters of logmel, interpolation of spectralgain), each [bins, points]."""
    points, edges = mel_points(POINTS, data.RATE), mel_edges(data.BINS, 20, data.RATE / 2)
    spread = np.stack([np.interp(points, edges[1:-1], one) for one in np.eye(data.BINS)])
    return torch.tensor(mel_filters(points, edges), dtype=torch.float32), torch.tensor(spread, dtype=torch.float32)


FILTERS, SPREAD = bands()
HANN = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(FRAME, dtype=torch.float64) / (FRAME - 1))
POVEY = (HANN ** 0.85).float()
SINE = torch.sin(math.pi * (torch.arange(FRAME, dtype=torch.float64) + 0.5) / FRAME).float()


def log_mel(samples):
    """[..., samples] on the 16-bit scale -> [..., frames, bins]: Kaldi's, as logmel has it."""
    frames = samples.unfold(-1, FRAME, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    spectrum = torch.fft.rfft((frames - 0.97 * before) * POVEY, POINTS)
    power = spectrum.real ** 2 + spectrum.imag ** 2
    return torch.log(torch.clamp(power @ FILTERS.T, min=1.1920929e-07))


def spectra(samples):
    return torch.fft.rfft(samples.unfold(-1, FRAME, HOP) * SINE, POINTS)


# ---- training ----

def equalised(rng, samples, narrow):
    """Another microphone for each: hills in the spectrum; what is narrow has nothing above 3.4 to 4 kHz."""
    n = 51840  # a good length for the FFT, the next one to SAMPLES
    hertz = np.fft.rfftfreq(n, 1 / data.RATE)
    at = np.log(np.array([20, 150, 500, 1500, 4000, 8000]))
    gains = [np.exp(np.interp(np.log(np.maximum(hertz, 20)), at, rng.normal(0, 0.35, 6))) * (hertz < limit) for limit in narrow]
    spectrum = torch.fft.rfft(samples, n) * torch.from_numpy(np.array(gains, np.float32))
    return torch.fft.irfft(spectrum, n)[..., :SAMPLES]


def batch(step, speech, noise):
    """(noisy, clean) [BATCH, SAMPLES]; the number of the step decides all of it."""
    rng = np.random.default_rng([3, step])

    def cut(pool):
        streams, starts = rng.integers(len(pool), size=BATCH), rng.integers(pool.shape[1] - SAMPLES, size=BATCH)
        return np.stack([pool[i, t:t + SAMPLES] for i, t in zip(streams, starts)])

    clean, sound = (torch.from_numpy(cut(pool).astype(np.float32)) for pool in (speech, noise))
    narrow = np.where(rng.random(BATCH) < 0.25, rng.uniform(3400, 4000, BATCH), data.RATE)
    clean, sound = (equalised(rng, part, narrow) for part in (clean, sound))
    decibels = torch.from_numpy(rng.uniform(-8, 16, (BATCH, 1)).astype(np.float32))
    level = torch.from_numpy((10 ** (rng.uniform(-45, -18, (BATCH, 1)) / 20) * 32768).astype(np.float32))
    clean, sound = (part / (part.square().mean(-1, keepdim=True).sqrt() + 1) for part in (clean, sound))
    sound = sound * 10 ** (-decibels / 20)
    return level * (clean + sound) + 0.3 * torch.from_numpy(rng.standard_normal(clean.shape).astype(np.float32)), level * clean


def is_speech(clean):
    """[batch, frames] 1 where the energy of the frame, with those beside it, is within 30 dB of the loudest tenth."""
    energy = clean.unfold(-1, FRAME, HOP).square().mean(-1)
    energy = nn.functional.max_pool1d(energy[:, None], 5, 1, 2)[:, 0]
    return (energy > 1e-3 * torch.quantile(energy, 0.9, dim=1, keepdim=True) + 1).float()


def third_octaves():
    """[points, bands]: which points of the spectrum are in each, from 150 Hz up, as STOI has them."""
    hertz = np.arange(POINTS // 2 + 1) * data.RATE / POINTS
    band = np.floor(3 * np.log2(np.maximum(hertz, 1) / 150) + 0.5)
    return torch.tensor(band[:, None] == np.arange(15), dtype=torch.float32)


THIRDS = third_octaves()


def unlikeness(power, wanted):
    """1 - the correlation of the envelopes in third octaves: as STOI, without its clipping. [batch, frames, points] of energies."""
    x, y = (torch.sqrt(one @ THIRDS + 1).unfold(1, SEGMENT, 4) for one in (wanted, power))
    x, y = (one - one.mean(-1, keepdim=True) for one in (x, y))
    norms = x.norm(dim=-1) * y.norm(dim=-1)
    there = (x.square().sum((-1, -2)) > 1e-4 * x.square().sum((-1, -2)).amax(1, keepdim=True)).float()[..., None]  # what is 40 dB softer is silence
    return (1 - ((x * y).sum(-1) / (norms + 1)) * there).mean() - (1 - there).mean()


def loss_of(out, noisy, clean, understood):
    """Of the sound: the error's energy in decibels, and that of the compressed magnitudes, as ears weigh it; and of the probability."""
    y, s = spectra(noisy), spectra(clean)
    gains = out[..., :-1] @ SPREAD
    y2, s2 = y.real ** 2 + y.imag ** 2, s.real ** 2 + s.imag ** 2
    error = gains ** 2 * y2 - 2 * gains * (y.real * s.real + y.imag * s.imag) + s2
    sound = torch.log(error.sum((1, 2)) / (s2.sum((1, 2)) + 1) + 1e-3).mean()
    ears = ((gains + SMALLEST) ** 0.3 * (y2 + 1) ** 0.15 - (s2 + 1) ** 0.15).square().sum((1, 2)) / ((s2 + 1) ** 0.3).sum((1, 2))
    speech = nn.functional.binary_cross_entropy(out[..., -1], is_speech(clean))
    loss = sound + 2 * torch.log(ears + 1e-3).mean() + 0.5 * speech
    if understood:
        loss = loss + 12 * unlikeness(gains ** 2 * y2, s2)
    return loss, sound, ears.mean(), speech


def learning_rate(step, n_steps):
    """Rises, then falls along a cosine, and from BOTH on in a straight line to nothing."""
    rate = LEARNING_RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * min(step, BOTH) / COSINE)) / 2)
    return rate * min(1, (n_steps - step) / max(n_steps - BOTH, 1))


class Trainer:
    """One thread, one seed, and a checkpoint from which a run that was ended goes on with the same digits."""

    def __init__(self, n_steps, checkpoint, speech, noise):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(1)
        self.n_steps, self.checkpoint, self.pools = n_steps, checkpoint, (speech, noise)
        self.sounds = [zlib.crc32(pool) for pool in self.pools]
        self.model = make()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
        self.step = 0
        if os.path.exists(checkpoint):
            self.restore()
        else:
            self.normalise()

    def normalise(self):
        """Mean and spread of the frames, as the first block takes them off."""
        frames = torch.cat([log_mel(batch(10 ** 6 + i, *self.pools)[0]) for i in range(20)]).reshape(-1, data.BINS)
        norm = self.model[0].over
        norm.running_mean.copy_(frames.mean(0))
        norm.running_var.copy_(frames.var(0))

    def save(self):
        torch.save({'step': self.step, 'n_steps': self.n_steps, 'sounds': self.sounds, 'model': self.model.state_dict(),
                    'optimizer': self.optimizer.state_dict()}, self.checkpoint + '.new')
        os.replace(self.checkpoint + '.new', self.checkpoint)

    def restore(self):
        saved = torch.load(self.checkpoint)
        if saved['n_steps'] != self.n_steps:
            sys.exit('%s is of a training of %d steps, this one has %d: remove it to start anew' % (self.checkpoint, saved['n_steps'], self.n_steps))
        if saved.get('sounds') != self.sounds:
            sys.exit('%s is of a training on other sounds: remove it to start anew' % self.checkpoint)
        self.step = saved['step']
        self.model.load_state_dict(saved['model'])
        self.optimizer.load_state_dict(saved['optimizer'])
        print('goes on behind step %d' % self.step, flush=True)

    def one_step(self):
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate(self.step, self.n_steps)
        noisy, clean = batch(self.step, *self.pools)
        self.model.train()
        self.model[0].over.eval()  # its statistics stay
        losses = loss_of(self.model(log_mel(noisy)), noisy, clean, self.step >= BOTH)
        self.optimizer.zero_grad()
        losses[0].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1)
        self.optimizer.step()
        self.step += 1
        return [loss.item() for loss in losses]

    def run(self):
        begin, losses = time.monotonic(), []
        while self.step < self.n_steps:
            losses.append(self.one_step())
            if self.step % 100 == 0 or self.step == self.n_steps:
                self.save()
                loss, sound, ears, speech = np.mean(losses[-100:], axis=0)
                print('%5d steps, %4.0f s: loss %.3f; error %.2f dB, compressed %.3f; speech %.3f' % (
                    self.step, time.monotonic() - begin, loss, 10 / math.log(10) * sound, ears, speech), flush=True)
        return self.model.eval()
