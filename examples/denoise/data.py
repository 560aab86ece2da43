"""Noisy speech, and what it was before the noise: shared by train.py, evaluate and picture.py.

A stream is some twenty seconds of one speaker in one kind of noise, at one level. Everything is drawn from seeded generators, so that
the same call makes the same samples. Features come from the element logmel, the one that the trained layer is used with.

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

RATE = 8000
SPEECH = '/usr/share/asterisk/sounds'  # Debian: asterisk-core-sounds-*-wav, one speaker per language
TRAINING = ('en_US_f_Allison', 'es_MX_f_Allison', 'it_IT_m_Carlo')
HELD_OUT = ('fr_CA_f_June', 'ru_RU_f_IvrvoiceRU')
SPHINX = '/usr/share/pocketsphinx/test/data'  # Debian: pocketsphinx-testdata, 16 kHz, several speakers
# By name, and in this order: the figures hang on them, and newer versions bring files that are broken on purpose.
SPHINX_FILES = (
    'cards/001.wav', 'cards/002.wav', 'cards/003.wav', 'cards/004.wav', 'cards/005.wav', 'goforward.raw',
    'librivox/sense_and_sensibility_01_austen_64kb-0870.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0880.wav',
    'librivox/sense_and_sensibility_01_austen_64kb-0890.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0920.wav',
    'librivox/sense_and_sensibility_01_austen_64kb-0930.wav', 'numbers.raw', 'something.raw', 'tidigits/dhd.2934z.raw')

KINDS = ('white', 'pink', 'hum', 'clicks', 'babble')
UNSEEN = ('car',)  # by training
FRAMES = 'logmel bins=40'  # 25 ms every 10 ms, 20 Hz to 4 kHz
BINS = 40
# The same for the metadata of the layer, and what logmel makes of the rest.
MADE_FROM = {'sample_rate': RATE, 'frame_rate': 100, 'bins': BINS, 'style': 'kaldi', 'frame_length': 25, 'hop_length': 10, 'fft_size': 256,
             'low_frequency': 20, 'high_frequency': RATE // 2, 'window_function': 'povey', 'mel_scale': 'htk'}

LEVEL = 800.0  # of speech, rms on the 16-bit scale: -32 dBFS, which leaves room for noise that is louder
ROOM = (3.0, 30.0)  # noise of the room itself, rms on the same scale, 48 to 28 dB below speech: gated recordings have none, and log 0 is no feature


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


def rms(samples):
    """Of the parts that are not silent: stretches of 20 ms within 30 dB of the loudest."""
    energy = np.mean(np.square(samples[:len(samples) // 160 * 160].reshape(-1, 160)), axis=1)
    return np.sqrt(np.mean(energy[energy > 1e-3 * energy.max()]))


def utterances(language):
    """All recordings of a speaker that are long enough to be words, each at LEVEL."""
    paths = sorted(glob.glob(os.path.join(SPEECH, language, '**', '*.wav'), recursive=True))
    if not paths:
        sys.exit('%s/%s: no recordings; Debian has them in asterisk-core-sounds-%s-wav' % (SPEECH, language, language[:2]))
    loaded = [read_wav(path) for path in paths if 'silence' not in path]
    return [LEVEL / rms(samples) * samples for samples in loaded if len(samples) > RATE // 2 and np.any(samples)]


def sphinx():
    """The recordings of pocketsphinx-testdata, resampled, each at LEVEL."""
    raw = 'rawaudioparse format=pcm pcm-format=s16le sample-rate=16000 num-channels=1'
    paths, loaded = [os.path.join(SPHINX, name) for name in SPHINX_FILES], []
    for path in paths:
        if not os.path.isfile(path):
            sys.exit('%s: no such recording; Debian has it in pocketsphinx-testdata' % path)
    with tempfile.TemporaryDirectory() as folder:
        wav = os.path.join(folder, 'speech.wav')
        for path in paths:
            parse = 'wavparse' if path.endswith('.wav') else raw
            run('filesrc location=%s ! %s ! audioresample ! audio/x-raw,rate=%d ! wavenc ! filesink location=%s' % (
                shlex.quote(path), parse, RATE, shlex.quote(wav)))
            loaded.append(read_wav(wav))
    return [LEVEL / rms(samples) * samples for samples in loaded]


def joined(rng, parts, n):
    """`n` samples of speech: recordings in random order, with pauses between them."""
    pieces, length = [], 0
    while length < n:
        for i in rng.permutation(len(parts)):
            pieces += [np.zeros(rng.integers(RATE // 10, RATE // 2)), parts[i]]
            length += sum(map(len, pieces[-2:]))
            if length >= n:
                break
    return np.concatenate(pieces)[:n]


# ---- noise: each kind takes the generator, the length, and speech that babble is made of ----

def shaped(rng, n, gain):
    """White noise with its spectrum multiplied by gain (Hz)."""
    size = 1 << (n - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size))
    return np.fft.irfft(spectrum * gain(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20)))[:n]


def white(rng, n, voices):
    return rng.standard_normal(n)


def pink(rng, n, voices):
    return shaped(rng, n, lambda f: f ** -rng.uniform(0.3, 0.8))


def hum(rng, n, voices):
    """Mains and its harmonics, and two steady tones."""
    t = np.arange(n) / RATE
    mains = rng.choice((50, 60)) * np.arange(1, 21)
    tones = [(f, rng.uniform(0.3, 1) * mains[0] / f) for f in mains] + [(f, 0.3) for f in rng.uniform(300, 3500, 2)]
    return sum(a * np.sin(2 * np.pi * (f * t + rng.uniform())) for f, a in tones) + 0.05 * rng.standard_normal(n)


def clicks(rng, n, voices):
    """Some ten a second, each rings for some milliseconds."""
    out = np.zeros(n)
    t = np.arange(RATE // 20) / RATE
    for at in rng.integers(0, n - len(t), int(rng.uniform(5, 20) * n / RATE)):
        ring = np.exp(-t / rng.uniform(0.001, 0.008)) * np.sin(2 * np.pi * rng.uniform(200, 3800) * t + rng.uniform(0, 6))
        out[at:at + len(t)] += rng.lognormal(0, 0.7) * ring
    return out + 0.02 * rng.standard_normal(n)


def babble(rng, n, voices):
    """Eight people talk at once."""
    return sum(joined(rng, voices, n) for _ in range(8))


def car(rng, n, voices):
    """A rumble, wind that comes and goes, and an engine whose speed drifts."""
    t = np.arange(n) / RATE
    turns = np.cumsum(30 + 8 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.2) * t + rng.uniform()))) / RATE
    engine = sum(np.sin(2 * np.pi * (k * turns + rng.uniform())) / k ** 0.7 for k in range(1, 40))
    rumble, wind = shaped(rng, n, lambda f: 1 / f), shaped(rng, n, lambda f: 1 / (1 + (f / 1200) ** 2))
    wind *= 1 + 0.7 * np.sin(2 * np.pi * (0.3 * t + rng.uniform()))
    return engine / np.std(engine) + 2 * rumble / np.std(rumble) + 0.4 * wind / np.std(wind)


NOISES = {noise.__name__: noise for noise in (white, pink, hum, clicks, babble, car)}


def mix(rng, speech, kind, decibels, voices):
    """(noisy, clean) samples: `speech`, in a room that is more or less quiet, over noise that is so much weaker than it."""
    clean = speech + np.exp(rng.uniform(*np.log(ROOM))) * rng.standard_normal(len(speech))
    noise = NOISES[kind](rng, len(speech), voices)
    noise *= rms(speech) / np.sqrt(np.mean(np.square(noise))) * 10 ** (-decibels / 20)
    return clean + noise, clean


# ---- features ----

def run(pipeline):
    """Runs a pipeline as gst-launch does, which has to find the plugin (GST_PLUGIN_PATH)."""
    if subprocess.run(['gst-launch-1.0', '-q', *shlex.split(pipeline)]).returncode != 0:
        sys.exit('this pipeline failed (is GST_PLUGIN_PATH the folder of the plugin?): gst-launch-1.0 ' + pipeline)


def attention(model):
    """The element. What it needs to know, heads and window and the rest, stands in the file."""
    return 'attention model-file=%s ! ' % shlex.quote(model)


def pipeline(wav, npy, then=''):
    """Sound in, log-mel frames out, through `then`."""
    return 'filesrc location=%s ! wavparse ! %s ! %snpyenc ! filesink location=%s' % (shlex.quote(wav), FRAMES, then, shlex.quote(npy))


def frames(samples, folder, then=''):
    """[frames, bins] of log-mel features of the samples; `then`: elements that they go through first."""
    wav, npy = os.path.join(folder, 'samples.wav'), os.path.join(folder, 'frames.npy')
    write_wav(wav, samples)
    run(pipeline(wav, npy, then))
    return np.load(npy)
