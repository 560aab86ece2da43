"""What the recogniser hears in training: streams of digits in rooms and noise, through telephones and microphones.

Everything is drawn from the generator that is passed.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np

import data
import voices

SECONDS = 72  # of sound in a batch
LENGTHS = (2, 3, 4, 6, 9)  # seconds of a stream
SHARES = {'recorded': 0.22, 'foreign': 0.06, 'espeak-ng': 0.2, 'accent': 0.17}  # of the utterances; the rest is that of the other voices
# Of the two rounds of the training: how far the noise is below the words and how loud all may be, at most, in dB; and the share of the recorded
# words that stand in a row, without pauses.
QUIETEST, LOUDEST, JOINED = (50, 70), (15, 25), (0, 0.7)
GOOD = 400  # lengths that are a multiple of this are fast to transform


def voice_of(rng, pools):
    """The name of one."""
    kind = str(rng.choice([*SHARES, 'others'], p=[*SHARES.values(), 1 - sum(SHARES.values())]))
    if kind in pools:
        return kind
    accented = {'festival ' + voice for names in voices.ACCENTED.values() for voice in names}
    of_kind = sorted(name for name in pools if name not in SHARES and (name in accented) == (kind == 'accent'))
    return str(rng.choice(of_kind or ['recorded']))


def in_a_row(rng, pool):
    """(samples, words): words as they are said in one breath, each faded over up to 80 ms into the next."""
    samples, words = np.zeros(0, np.float32), []
    for i in rng.integers(len(pool), size=rng.integers(2, 7)):
        part, fade = pool[i][0].astype(np.float32), min(int(rng.integers(160, 1280)), len(samples))
        rise = np.linspace(0, 1, fade, dtype=np.float32)
        samples = np.concatenate([samples[:len(samples) - fade], samples[len(samples) - fade:] * (1 - rise) + part[:fade] * rise, part[fade:]])
        words += pool[i][1]
    return samples, words


def utterance(rng, pools, which):
    """(samples, words), of a voice that is higher and faster, or deeper and slower. The recorded voice is that of a woman: it becomes deeper than
    others."""
    name = voice_of(rng, pools)
    if name == 'recorded' and JOINED[which] > 0 and rng.random() < JOINED[which]:
        samples, words = in_a_row(rng, pools[name])
        samples = data.resampled(samples, np.exp(rng.uniform(-0.45, 0)))
    else:
        samples, words = pools[name][rng.integers(len(pools[name]))]
    samples = np.pad(samples, (0, -len(samples) % GOOD))
    n = GOOD * round(len(samples) * np.exp(rng.uniform(-0.24, 0.34 if name == 'recorded' else 0.24)) / GOOD)
    samples = data.resampled(samples, n / len(samples))
    level = 10 ** (rng.uniform(-4, 4) / 20)
    return level * 1000 / (data.rms(samples) + 1) * samples, words


def stream(rng, pools, n, which):
    """(samples [n], words): utterances with pauses between them, in front and behind."""
    parts, words, length = [], [], 0
    while length < n - data.RATE // 4:
        samples, said = utterance(rng, pools, which)
        if length + len(samples) > n:
            if parts:
                break
            continue
        parts.append(samples)
        words += said
        length += len(samples)
    gaps = np.floor(rng.dirichlet(np.full(len(parts) + 1, 0.7)) * (n - length)).astype(int)
    out, at = np.zeros(n, np.float32), 0
    for gap, samples in zip(gaps, parts):
        out[at + gap:at + gap + len(samples)] = samples
        at += gap + len(samples)
    return out, words


def filtered(rng, samples):
    """Another microphone: hills in the spectrum; one in four is a telephone, which has nothing below 300 Hz."""
    hertz = np.fft.rfftfreq(len(samples), 1 / data.RATE)
    at = np.log([50, 150, 400, 1000, 2000, 4000])
    gain = np.exp(np.interp(np.log(np.maximum(hertz, 50)), at, rng.normal(0, 0.6, 6)))
    if rng.random() < 0.25:
        gain = gain / (1 + (rng.uniform(150, 320) / np.maximum(hertz, 1)) ** 6) / (1 + (hertz / rng.uniform(3300, 3700)) ** 20)
    return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))


def in_a_room(rng, samples):
    """Echoes that die away by 60 dB in 0.1 to 0.6 s."""
    n = GOOD * int(data.RATE / GOOD * rng.uniform(0.1, 0.6))
    echoes = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    echoes *= rng.uniform(0.1, 0.8) / np.sqrt(np.sum(echoes ** 2))
    echoes[0] = 1
    size = len(samples) + n
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echoes, size), size)[:len(samples)]


def noise(rng, pools, n):
    """White to brown, a hum, or people in another language."""
    kind = rng.random()
    if kind < 0.15:
        voices = [pools['foreign'][i][0] for i in rng.integers(len(pools['foreign']), size=6)]
        sound = sum(np.resize(voice / (data.rms(voice) + 1), n) for voice in voices)
    elif kind < 0.25:
        hertz, t = rng.uniform(45, 260), np.arange(n) / data.RATE
        sound = sum(rng.uniform(0, 1) / i * np.sin(2 * np.pi * i * hertz * t + rng.uniform(0, 6)) for i in range(1, 9)) + 0.02 * rng.standard_normal(n)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(n))
        sound = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(n, 1 / data.RATE), 60) ** -rng.uniform(0, 1.2), n)
    return sound / (np.sqrt(np.mean(np.square(sound))) + 1e-9)


def mu_law(samples):
    """As a digital telephone codes it."""
    scaled = np.clip(samples / 32768, -1, 1)
    coded = np.rint(127 * np.sign(scaled) * np.log1p(255 * np.abs(scaled)) / np.log(256)) / 127
    return 32768 * np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255


def heard(rng, pools, samples, which):
    """What reaches the recogniser."""
    if rng.random() < 0.4:
        samples = in_a_room(rng, samples)
    if rng.random() < 0.8:
        samples = filtered(rng, samples)
    samples = samples + 1000 * 10 ** (-rng.uniform(5, QUIETEST[which]) / 20) * noise(rng, pools, len(samples))
    samples = samples * 10 ** (rng.uniform(-35, LOUDEST[which]) / 20)
    if rng.random() < 0.1:
        samples = mu_law(samples)
    return np.clip(np.rint(samples + 0.5 * rng.standard_normal(len(samples))), -32768, 32767)


def streams(rng, pools, which):
    """(samples [streams, n], words of each); of round `which`, 0 or 1."""
    seconds = float(rng.choice(LENGTHS)) * rng.uniform(0.9, 1.1)
    made = [stream(rng, pools, GOOD * int(seconds * data.RATE / GOOD), which) for _ in range(max(1, round(SECONDS / seconds)))]
    return np.stack([heard(rng, pools, samples, which) for samples, _ in made]).astype(np.float32), [words for _, words in made]


# ---- frames ----

def warped(rng, frames):
    """[streams, n, bins] -> the same with a rhythm that changes every 0.3 s: faster here, slower there."""
    n = frames.shape[1]
    rates = np.exp(rng.normal(0, 0.25, (len(frames), n // 30 + 2)))
    rates[rng.random(len(frames)) < 0.4] = 1
    out = np.empty_like(frames)
    for i, one in enumerate(rates):
        at = np.cumsum(np.interp(np.arange(n), 30 * np.arange(len(one)), one))
        at = (at - at[0]) * (n - 1) / (at[-1] - at[0])
        before = np.minimum(at.astype(int), n - 2)
        part = (at - before)[:, None].astype(frames.dtype)
        out[i] = frames[i, before] * (1 - part) + frames[i, before + 1] * part
    return out


def masked(rng, frames):
    """Some bands of some streams tell nothing."""
    for one in frames:
        if rng.random() < 0.4:
            n = int(rng.integers(1, 5))
            band = int(rng.integers(frames.shape[2] - n))
            one[:, band:band + n] = one[:, band:band + n].mean(axis=0)
    return frames
