"""Speech in noise, with labels that tell where somebody speaks: train.py and evaluate share it.

A stream is some seconds of one speaker, with pauses, in one kind of noise. Everything is drawn from seeded generators, so the same call
makes the same samples. The features come from the element logmel, behind which the encoder runs.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import os
import shlex
import subprocess
import sys
import tempfile
import wave

import numpy as np

RATE = 8000  # Hz: what the recordings have
ASTERISK = '/usr/share/asterisk/sounds'  # Debian: asterisk-core-sounds-*-wav, one speaker per folder
TRAINING = ('en_US_f_Allison', 'es_MX_f_Allison', 'it_IT_m_Carlo')
HELD_OUT = ('fr_CA_f_June', 'ru_RU_f_IvrvoiceRU')
SPHINX = '/usr/share/pocketsphinx/test/data'  # Debian: pocketsphinx-testdata, 16 kHz, several speakers
SPHINX_FILES = ('cards/001.wav', 'cards/002.wav', 'cards/003.wav', 'cards/004.wav', 'cards/005.wav', 'goforward.raw', 'numbers.raw', 'something.raw',
                'librivox/sense_and_sensibility_01_austen_64kb-0870.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0880.wav',
                'librivox/sense_and_sensibility_01_austen_64kb-0890.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0930.wav')
NO_SPEECH = ('silence', 'beep', '2tone', 'monkeys.wav', 'confbridge-join.wav', 'confbridge-leave.wav')  # in the names of recordings

BINS, HOP, LENGTH = 40, 80, 200  # of a frame: 25 ms every 10 ms
# What the file says of it, and logmel makes: as logmel's own defaults, but for the bins.
TRAINED_ON = {'sample_rate': RATE, 'frame_rate': 100, 'bins': BINS, 'style': 'kaldi', 'frame_length': 25, 'hop_length': 10, 'fft_size': 256,
              'low_frequency': 20, 'high_frequency': RATE // 2, 'window_function': 'povey', 'mel_scale': 'htk'}

LEVEL = 1000.0  # of speech, rms on the 16-bit scale: -30 dBFS
ROOM = (2.0, 20.0)  # noise of the room and the microphone, on the same scale
QUIETEST = 10 ** (-20 / 20)  # speech is what is louder than this part of LEVEL ...
PAUSE = 20  # ... and pauses between its words, of up to so many frames


# ---- recordings ----

def read_wav(path):
    with wave.open(path) as f:
        assert (f.getframerate(), f.getnchannels(), f.getsampwidth()) == (RATE, 1, 2), path
        return np.frombuffer(f.readframes(f.getnframes()), '<i2').astype(np.float64)


def write_wav(path, samples):
    with wave.open(path, 'wb') as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes(np.clip(np.rint(samples), -32768, 32767).astype('<i2').tobytes())


def loudness(samples):
    """The rms of the parts that are not silent: stretches of 20 ms within 30 dB of the loudest."""
    energy = np.mean(np.square(samples[:len(samples) // 160 * 160].reshape(-1, 160)), axis=1)
    return np.sqrt(np.mean(energy[energy > 1e-3 * energy.max()]))


def at_level(samples):
    return LEVEL / loudness(samples) * samples


def asterisk(speaker):
    """All recordings of a speaker that are long enough to be words, each at LEVEL."""
    paths = sorted(glob.glob(os.path.join(ASTERISK, speaker, '**', '*.wav'), recursive=True))
    if not paths:
        sys.exit('%s/%s: no recordings; Debian has them in asterisk-core-sounds-%s-wav' % (ASTERISK, speaker, speaker[:2]))
    loaded = [read_wav(path) for path in paths if not any(name in path for name in NO_SPEECH)]
    return [at_level(samples) for samples in loaded if len(samples) > RATE // 2 and np.any(samples)]


def sphinx():
    """Those of pocketsphinx-testdata, at half their rate, each at LEVEL."""
    loaded = []
    for path in (os.path.join(SPHINX, name) for name in SPHINX_FILES):
        if not os.path.isfile(path):
            sys.exit('%s: no such recording; Debian has it in pocketsphinx-testdata' % path)
        samples = np.fromfile(path, '<i2', offset=44 if path.endswith('.wav') else 0).astype(np.float64)
        loaded.append(at_level(halved(samples)))
    return loaded


def halved(samples):
    """At half the rate: without what is above its half."""
    spectrum = np.fft.rfft(samples[:len(samples) // 4 * 4])
    return np.fft.irfft(spectrum[:len(spectrum) // 2 + 1]) / 2


def talk(rng, recordings, n):
    """`n` samples of them in random order, as if somebody else spoke (higher and faster, or deeper and slower), with pauses between them."""
    pieces, length = [], 0
    speed = rng.uniform(0.85, 1.2)
    while length < n * speed:
        pieces += [np.zeros(int(RATE * rng.uniform(0.2, 2.5))), recordings[rng.integers(len(recordings))]]
        length += sum(map(len, pieces[-2:]))
    spoken = np.concatenate(pieces)[:int(n * speed)]
    changed = np.fft.irfft(np.fft.rfft(spoken), n)
    return changed * np.sqrt(np.mean(np.square(spoken)) / np.mean(np.square(changed)))


# ---- noise: (generator, length) -> samples, and voices that babble is made of ----

def shaped(rng, n, gain):
    """White noise with its spectrum multiplied by gain (Hz)."""
    frequencies = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * gain(frequencies), n)


def white(rng, n, voices):
    return rng.standard_normal(n)


def coloured(rng, n, voices):
    """Of any colour: louder in some bands than in others, and it comes and goes."""
    corners, levels = np.geomspace(50, RATE / 2, 8), rng.uniform(-15, 15, 8) - np.linspace(0, rng.uniform(0, 25), 8)
    t = np.arange(n) / RATE
    return shaped(rng, n, lambda f: 10 ** (np.interp(np.log(f), np.log(corners), levels) / 20)) * (
        1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * (rng.uniform(0.1, 4) * t + rng.uniform())))


def hum(rng, n, voices):
    """Mains and its harmonics."""
    t, mains = np.arange(n) / RATE, rng.choice((50, 60)) * np.arange(1, 21)
    return sum(rng.uniform(0.3, 1) * mains[0] / f * np.sin(2 * np.pi * (f * t + rng.uniform())) for f in mains) + 0.02 * rng.standard_normal(n)


def clicks(rng, n, voices):
    """Keys and knocks: some a second, each rings for some milliseconds."""
    out, t = np.zeros(n), np.arange(RATE // 10) / RATE
    for at in rng.integers(0, n - len(t), int(rng.uniform(1, 12) * n / RATE)):
        ring = np.exp(-t / rng.uniform(0.001, 0.02)) * np.sin(2 * np.pi * rng.uniform(150, 3500) * t + rng.uniform(0, 6))
        out[at:at + len(t)] += rng.lognormal(0, 0.7) * (ring + 0.5 * np.exp(-t / 0.01) * rng.standard_normal(len(t)))
    return out + 0.01 * rng.standard_normal(n)


def tune(rng, n, voices):
    """Notes with harmonics, as instruments and telephones make them."""
    out, at = np.zeros(n), 0
    while at < n:
        length = int(RATE * rng.uniform(0.08, 0.8))
        t = np.arange(min(length, n - at)) / RATE
        for note in 220 * 2 ** (rng.integers(-12, 25, rng.integers(1, 4)) / 12):
            out[at:at + len(t)] += np.exp(-t / rng.uniform(0.1, 1)) * sum(
                np.sin(2 * np.pi * note * k * t) / k ** rng.uniform(0.5, 2) for k in range(1, 6) if note * k < RATE / 2)
        at += length if rng.uniform() < 0.8 else 3 * length
    return out + 0.01 * rng.standard_normal(n)


def babble(rng, n, voices):
    """A crowd: twelve people talk at once."""
    return sum(talk(rng, voices, n) for _ in range(12))


def car(rng, n, voices):
    """A rumble, wind that comes and goes, and an engine whose speed drifts."""
    t = np.arange(n) / RATE
    turns = np.cumsum(30 + 8 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.2) * t + rng.uniform()))) / RATE
    engine = sum(np.sin(2 * np.pi * (k * turns + rng.uniform())) / k ** 0.7 for k in range(1, 40))
    rumble, wind = shaped(rng, n, lambda f: 1 / f), shaped(rng, n, lambda f: 1 / (1 + (f / 1200) ** 2))
    wind *= 1 + 0.7 * np.sin(2 * np.pi * (0.3 * t + rng.uniform()))
    return engine / np.std(engine) + 2 * rumble / np.std(rumble) + 0.4 * wind / np.std(wind)


def sirens(rng, n, voices):
    """Two tones in turn, and one that glides."""
    t = np.arange(n) / RATE
    glide = np.cumsum(900 + 400 * np.sin(2 * np.pi * (rng.uniform(0.15, 0.4) * t + rng.uniform()))) / RATE
    steps = np.where((t * rng.uniform(0.7, 1.5)) % 2 < 1, 440.0, 585.0)
    return sum(np.sin(2 * np.pi * k * phase) / k for phase in (glide, np.cumsum(steps) / RATE) for k in (1, 2, 3)) + 0.02 * rng.standard_normal(n)


TRAINED = (white, coloured, hum, clicks, tune, babble)
NOT_TRAINED = (car, sirens)


# ---- a stream ----

def mix(rng, speech, noise, decibels):
    """`speech` in a room that is more or less quiet, over noise that is so much weaker than LEVEL."""
    room = np.exp(rng.uniform(*np.log(ROOM))) * rng.standard_normal(len(speech))
    return speech + room + noise * LEVEL * 10 ** (-decibels / 20) / np.sqrt(np.mean(np.square(noise)))


def n_frames(n):
    return 1 + (n - LENGTH) // HOP


def is_speech(speech):
    """[frames] of booleans, told from the speech without the noise: what is not quiet, and the short pauses in it."""
    sums = np.concatenate([[0], np.cumsum(np.square(speech))])
    starts = HOP * np.arange(n_frames(len(speech)))
    spoken = (sums[starts + LENGTH] - sums[starts]) / LENGTH > (QUIETEST * LEVEL) ** 2
    at = np.flatnonzero(spoken)
    for before, after in zip(at[:-1], at[1:]):
        if after - before <= PAUSE:
            spoken[before:after] = True
    return spoken


# ---- the pipeline ----

def run(samples, then=''):
    """[frames, values] of what comes out of `logmel`, and of the elements `then` behind it."""
    with tempfile.TemporaryDirectory() as folder:
        wav, npy = os.path.join(folder, 'samples.wav'), os.path.join(folder, 'frames.npy')
        write_wav(wav, samples)
        line = 'filesrc location=%s ! wavparse ! logmel bins=%d ! %snpyenc ! filesink location=%s' % (shlex.quote(wav), BINS, then, shlex.quote(npy))
        if subprocess.run(['gst-launch-1.0', '-q', *shlex.split(line)]).returncode != 0:
            sys.exit('this pipeline failed (is GST_PLUGIN_PATH the folder of the plugin?): gst-launch-1.0 ' + line)
        return np.load(npy)
