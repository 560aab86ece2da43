"""How train.py trains a recogniser, and writes its file: what needs PyTorch. The loss is CTC.

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
import models
import sounds
from training import mel_edges, mel_filters, mel_points

FRAME, HOP, POINTS = 400, 160, 512  # samples
LEARNING_RATES, WARM_UPS = (2e-3, 1.2e-3), (300, 100)  # of the two rounds


def export(model, path, **metadata):
    """In bfloat16: the upper half of a float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    for module in model.modules():
        if isinstance(module, models.HalfStep):
            module.fold()
    return export_encoder.export(model, path, rules=models.RULES, frame_rate=100, **data.MADE_FROM, **metadata)


# ---- frames, as logmel has them ----

FILTERS = torch.tensor(mel_filters(mel_points(POINTS, data.RATE), mel_edges(data.BINS, data.LOW, data.HIGH)), dtype=torch.float32)
HAMMING = (0.54 - 0.46 * torch.cos(2 * math.pi * torch.arange(FRAME, dtype=torch.float64) / (FRAME - 1))).float()


def log_mel(samples, hop=HOP):
    """[..., samples] on the 16-bit scale -> [..., frames, bins]: Kaldi's, as logmel has it."""
    frames = samples.unfold(-1, FRAME, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    spectrum = torch.fft.rfft((frames - 0.97 * before) * HAMMING, POINTS)
    power = spectrum.real ** 2 + spectrum.imag ** 2
    return torch.log(torch.clamp(power @ FILTERS.T, min=1.1920929e-07))


# ---- training ----

def learning_rate(step, n_steps, which):
    """Rises, then falls along a cosine to nothing."""
    return LEARNING_RATES[which] * min(1, (step + 1) / WARM_UPS[which]) * (1 + math.cos(math.pi * step / n_steps)) / 2


class Trainer:
    """Two rounds, of which the second begins with the rounded parameters of the first, and hears what is harder. One thread, one seed, and a checkpoint
    from which a run that was ended goes on with the same digits."""

    def __init__(self, n_steps, checkpoint, pools, kind='windows'):
        """n_steps: of each round. kind: of models.KINDS."""
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(1)
        self.n_steps, self.checkpoint, self.pools, self.kind = list(n_steps), checkpoint, pools, kind
        self.of_data = zlib.crc32(b''.join(name.encode() + samples.tobytes() for name, pool in pools.items() for samples, _ in pool))
        self.model = models.KINDS[kind](len(data.TOKENS))
        self.optimizer, self.step, self.seconds = self.new_optimizer(), 0, 0.0
        if os.path.exists(checkpoint):
            self.restore()
        else:
            self.normalise()

    def new_optimizer(self):
        return torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATES[0], betas=(0.9, 0.98), weight_decay=0.02)

    def normalise(self):
        """Mean and spread of the coefficients, as the second block takes them off."""
        with torch.no_grad():
            frames = [self.model[0](self.batch(10 ** 6 + i, 0)[0]).reshape(-1, data.COEFFICIENTS) for i in range(20)]
        norm = self.model[1].over
        norm.running_mean.copy_(torch.cat(frames).mean(0))
        norm.running_var.copy_(torch.cat(frames).var(0))

    def begin_second_round(self):
        torch.manual_seed(2)
        for parameter in self.model.parameters():
            parameter.data = parameter.data.bfloat16().float()
        self.optimizer = self.new_optimizer()

    def save(self):
        torch.save({'step': self.step, 'n_steps': self.n_steps, 'of_data': self.of_data, 'seconds': self.seconds, 'kind': self.kind,
                    'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(), 'random': torch.get_rng_state()}, self.checkpoint + '.new')
        os.replace(self.checkpoint + '.new', self.checkpoint)

    def restore(self):
        saved = torch.load(self.checkpoint)
        if saved['kind'] != self.kind:
            sys.exit('%s is of a training of the kind %s, this one is of %s: remove it to start anew' % (self.checkpoint, saved['kind'], self.kind))
        if saved['n_steps'] != self.n_steps:
            sys.exit('%s is of a training of %s steps, this one has %s: remove it to start anew' % (self.checkpoint, saved['n_steps'], self.n_steps))
        if saved['of_data'] != self.of_data:
            sys.exit('%s is of a training on other sounds: remove it to start anew' % self.checkpoint)
        self.step, self.seconds = saved['step'], saved['seconds']
        self.model.load_state_dict(saved['model'])
        self.optimizer.load_state_dict(saved['optimizer'])
        torch.set_rng_state(saved['random'])
        print('goes on behind step %d' % self.step, flush=True)

    def batch(self, step, which):
        """(frames [streams, n, bins], words of each stream); the number of the step decides all of it."""
        rng = np.random.default_rng([3, step])
        streams, words = sounds.streams(rng, self.pools, which)
        frames = log_mel(torch.from_numpy(streams), int(rng.integers(128, 205))).numpy()
        return torch.from_numpy(sounds.masked(rng, sounds.warped(rng, frames))), words

    def one_step(self):
        which = int(self.step >= self.n_steps[0])
        if self.step == self.n_steps[0]:
            self.begin_second_round()
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate(self.step - which * self.n_steps[0], self.n_steps[which], which)
        frames, words = self.batch(self.step, which)
        self.model.train()
        self.model[1].over.eval()  # its statistics stay
        out = self.model(frames).transpose(0, 1)
        said = torch.tensor([1 + word for one in words for word in one])
        loss = nn.functional.ctc_loss(out, said, torch.full((len(words),), len(out)), torch.tensor(list(map(len, words))), blank=0, reduction='sum',
                                      zero_infinity=True) / len(said)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def run(self, every=100):
        begin, losses = time.process_time() - self.seconds, []
        while self.step < sum(self.n_steps):
            losses.append(self.one_step())
            self.seconds = time.process_time() - begin
            if self.step % every == 0 or self.step == sum(self.n_steps):
                self.save()
                print('%5d steps, %4.0f s of the processor: loss %.3f per word' % (self.step, self.seconds, np.mean(losses[-every:])), flush=True)
        return self.model.eval()
