"""Noisy speech, and what it was before the noise: shared by train.py, evaluate and listen.py.

Everything is drawn from seeded generators, so that the same call makes the same samples. Speakers, languages and kinds of noise are split once
and for all: what evaluate hears, train.py does not.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import os
import shlex
import subprocess
import sys
import wave

import numpy as np

RATE = 16000
ASTERISK = '/usr/share/asterisk/sounds'  # Debian: asterisk-core-sounds-*-g722 (16 kHz) and -wav (8 kHz), one speaker per folder
TRAINING = ('en_US_f_Allison/*.g722', 'es_MX_f_Allison/*.g722', 'it_IT_m_Carlo/*.g722', 'it_IT_f_Menardi/*.wav')
SPHINX = '/usr/share/pocketsphinx/test/data'  # Debian: pocketsphinx-testdata, several speakers
# By name, and in this order: the figures hang on them, and newer versions bring files that are broken on purpose.
SPHINX_FILES = (
    'cards/001.wav', 'cards/002.wav', 'cards/003.wav', 'cards/004.wav', 'cards/005.wav',
    'librivox/sense_and_sensibility_01_austen_64kb-0870.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0880.wav',
    'librivox/sense_and_sensibility_01_austen_64kb-0890.wav', 'librivox/sense_and_sensibility_01_austen_64kb-0920.wav',
    'librivox/sense_and_sensibility_01_austen_64kb-0930.wav')
CODEC2 = '/usr/share/codec2'  # Debian: codec2-examples, 8 kHz, several speakers
CODEC2_FILES = ('raw/hts1a.raw', 'raw/hts2a.raw', 'raw/forig.raw', 'raw/morig.raw', 'raw/cq_ref.raw', 'raw/mmt1.raw', 'raw/kristoff.raw')
KLETTRES = '/usr/share/klettres'  # Debian: klettres-data, one speaker per language
SONIC_PI = '/usr/share/sonic-pi/samples'  # Debian: sonic-pi-samples: machines, drums, instruments, ambience
MUSIC = '/usr/share/asterisk/moh'  # Debian: asterisk-moh-opsound-g722

BINS = 64
FRAMES = 'logmel bins=%d' % BINS  # 25 ms every 10 ms, 20 Hz to 8 kHz
# The same for the metadata of the model, and what logmel makes of the rest.
MADE_FROM = {'sample_rate': RATE, 'bins': BINS, 'style': 'kaldi', 'frame_length': 25, 'hop_length': 10, 'fft_size': 512, 'low_frequency': 20,
             'high_frequency': RATE // 2, 'window_function': 'povey', 'mel_scale': 'htk'}
LEVEL = 1640.0  # of speech, rms on the 16-bit scale: -26 dBFS


# ---- files ----

def decode(path):
    """The samples of a sound file at RATE, mono, on the 16-bit scale; float32."""
    import gi
    gi.require_version('Gst', '1.0')
    from gi.repository import Gst
    Gst.init(None)
    parse = {'.g722': 'audio/G722,rate=16000,channels=1 ! avdec_g722',
             '.raw': 'audio/x-raw,format=S16LE,layout=interleaved,rate=8000,channels=1'}.get(os.path.splitext(path)[1])
    source = 'appsrc name=in format=time ! ' + parse if parse else 'filesrc name=in ! decodebin'
    line = source + ' ! audioconvert ! audioresample ! audio/x-raw,format=F32LE,rate=%d,channels=1 ! appsink name=out sync=false' % RATE
    try:
        pipeline = Gst.parse_launch(line)
    except gi.repository.GLib.Error as error:
        sys.exit('%s: %s; on Debian: apt-get install gstreamer1.0-libav' % (path, error.message))
    if parse:
        with open(path, 'rb') as f:
            pipeline.get_by_name('in').emit('push-buffer', Gst.Buffer.new_wrapped(f.read()))
        pipeline.get_by_name('in').emit('end-of-stream')
    else:
        pipeline.get_by_name('in').set_property('location', path)
    parts = samples_of(pipeline, Gst, path)
    return 32768 * np.concatenate(parts) if parts else np.zeros(0, np.float32)


def samples_of(pipeline, Gst, path):
    """What arrives at its appsink, up to the end; nothing of a file that is not sound."""
    parts, out, bus = [], pipeline.get_by_name('out'), pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    while not out.get_property('eos'):
        sample = out.emit('try-pull-sample', Gst.SECOND // 10)
        if sample is not None:
            parts.append(np.frombuffer(sample.get_buffer().extract_dup(0, sample.get_buffer().get_size()), '<f4'))
        message = bus.pop_filtered(Gst.MessageType.ERROR)
        if message is not None:
            print('left out: %s: %s' % (path, message.parse_error()[0].message), file=sys.stderr)
            parts = []
            break
    pipeline.set_state(Gst.State.NULL)
    return parts


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
    n = RATE // 50
    energy = np.mean(np.square(samples[:len(samples) // n * n].reshape(-1, n), dtype=np.float64), axis=1)
    return np.sqrt(np.mean(energy[energy > 1e-3 * energy.max()])) if len(energy) else 0.0


def trimmed(samples):
    """Without the silence at both ends."""
    n = RATE // 50
    energy = np.mean(np.square(samples[:len(samples) // n * n].reshape(-1, n)), axis=1)
    loud = np.flatnonzero(energy > 1e-3 * energy.max())
    return samples[max(0, loud[0] - 5) * n:(loud[-1] + 6) * n]


def recordings(paths, shortest):
    """Those that are `shortest` seconds long or more and not silent, each at LEVEL."""
    loaded = map(decode, paths)
    return [(LEVEL / rms(samples) * samples).astype(np.float32) for samples in loaded if len(samples) >= shortest * RATE and rms(samples) > 1]


def folder(pattern, package):
    """The files of a package of Debian, without those that hold silence."""
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if 'silence' not in path)
    if not paths:
        sys.exit('%s: no recordings; Debian has them in %s' % (pattern, package))
    return paths


def training_speech():
    """A list of recordings for each speaker and language."""
    package = 'asterisk-core-sounds-*-g722 and asterisk-prompt-it-menardi-wav'
    return [recordings(folder(os.path.join(ASTERISK, one.replace('/', '/**/')), package), 0.5) for one in TRAINING]


def training_noise():
    """Recorded noise: what is long enough not to be a single tone."""
    return recordings(folder(os.path.join(SONIC_PI, '*.flac'), 'sonic-pi-samples'), 1.5)


def people():
    """{name: recordings}: whom evaluate hears; none is a voice of the training. The last two were recorded through a telephone."""
    asterisk = {'French, June': 'fr_CA_f_June/*.g722', 'Russian, IvrvoiceRU': 'ru_RU_f_IvrvoiceRU/*.g722'}
    found = {name: recordings(folder(os.path.join(ASTERISK, one), 'asterisk-core-sounds-*-g722')[:120], 1) for name, one in asterisk.items()}
    found['English, pocketsphinx'] = sphinx()
    for name, language in (('Czech, klettres', 'cs'), ('Danish, klettres', 'da'), ('Ukrainian, klettres', 'uk')):
        found[name] = list(map(trimmed, recordings(folder(os.path.join(KLETTRES, language, '**', '*.ogg'), 'klettres-data'), 0.2)))
    found['English, codec2'] = recordings([existing(CODEC2, name, 'codec2-examples') for name in CODEC2_FILES], 1)
    found['Russian, telephone'] = recordings(folder(os.path.join(ASTERISK, 'ru_RU_f_IvrvoiceRU/*.wav'), 'asterisk-core-sounds-ru-wav')[120:240], 1)
    return found


TELEPHONE = ('English, codec2', 'Russian, telephone')


def music():
    return recordings(folder(os.path.join(MUSIC, '*.g722'), 'asterisk-moh-opsound-g722'), 10)


def narrowed(samples):
    """As a telephone hears it: nothing above 4 kHz."""
    spectrum = np.fft.rfft(samples)
    spectrum[len(samples) * 4000 // RATE:] = 0
    return np.fft.irfft(spectrum, len(samples))


def existing(where, name, package):
    path = os.path.join(where, name)
    if not os.path.isfile(path):
        sys.exit('%s: no such recording; Debian has it in %s' % (path, package))
    return path


def sphinx():
    return recordings([existing(SPHINX, name, 'pocketsphinx-testdata') for name in SPHINX_FILES], 0.5)


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


# ---- noise: each kind takes the generator, the length, and recordings that it is made of ----

def shaped(rng, n, gain):
    """White noise with its spectrum multiplied by gain (Hz)."""
    size = 1 << (n - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size))
    return np.fft.irfft(spectrum * gain(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20)))[:n]


def white(rng, n, parts):
    return rng.standard_normal(n)


def coloured(rng, n, parts):
    """From pink to brown, or with hills anywhere; some of it comes and goes."""
    tilt, at = -rng.uniform(0, 1.2), np.sort(rng.uniform(np.log(20), np.log(8000), 6))
    hills = rng.normal(0, 0.7, 6)
    noise = shaped(rng, n, lambda f: f ** tilt * np.exp(np.interp(np.log(f), at, hills)))
    depth = rng.uniform(0, 0.9) * rng.integers(2)
    return noise * (1 + depth * np.sin(2 * np.pi * (rng.uniform(0.1, 3) * np.arange(n) / RATE + rng.uniform())))


def hum(rng, n, parts):
    """Mains and its harmonics, and two steady tones."""
    t = np.arange(n) / RATE
    mains = rng.choice((50, 60)) * np.arange(1, 31)
    tones = [(f, rng.uniform(0.3, 1) * mains[0] / f) for f in mains] + [(f, 0.3) for f in rng.uniform(300, 7000, 2)]
    return sum(a * np.sin(2 * np.pi * (f * t + rng.uniform())) for f, a in tones) + 0.05 * rng.standard_normal(n)


def clicks(rng, n, parts):
    """Some ten a second, each rings for some milliseconds."""
    out = np.zeros(n)
    t = np.arange(RATE // 20) / RATE
    for at in rng.integers(0, n - len(t), int(rng.uniform(3, 20) * n / RATE)):
        ring = np.exp(-t / rng.uniform(0.001, 0.008)) * np.sin(2 * np.pi * rng.uniform(200, 7600) * t + rng.uniform(0, 6))
        out[at:at + len(t)] += rng.lognormal(0, 0.7) * ring
    return out + 0.02 * rng.standard_normal(n)


def babble(rng, n, parts):
    """Four to ten people talk at once."""
    return sum(joined(rng, parts, n) * rng.lognormal(0, 0.3) for _ in range(rng.integers(4, 11)))


def chords(rng, n, parts):
    """Tones with harmonics that change several times a second."""
    out, length = np.zeros(n), int(RATE * rng.uniform(0.1, 0.8))
    t = np.arange(length) / RATE
    for begin in range(0, n - length, length):
        for pitch in 110 * 2 ** (rng.integers(0, 40, rng.integers(1, 4)) / 12):
            tone = sum(np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6)) / k ** rng.uniform(0.7, 2) for k in range(1, 12) if k * pitch < 7800)
            out[begin:begin + length] += tone * np.exp(-t / rng.uniform(0.05, 1)) * np.minimum(1, t * 200)
    return out + 0.01 * rng.standard_normal(n)


def recorded(rng, n, parts):
    """Pieces of recordings, one behind the other, faded in and out."""
    out, at = np.zeros(n), 0
    while at < n:
        piece = parts[rng.integers(len(parts))]
        if len(piece) > RATE * 4:
            begin = rng.integers(len(piece) - RATE * 3)
            piece = piece[begin:begin + rng.integers(RATE, RATE * 12)]
        fade = np.minimum(1, np.minimum(np.arange(len(piece)) + 1, np.arange(len(piece))[::-1] + 1) / 400)
        piece = (piece * fade)[:n - at]
        out[at:at + len(piece)] += piece
        at += len(piece)
    return out + 0.003 * LEVEL * rng.standard_normal(n)


def car(rng, n, parts):
    """A rumble, wind that comes and goes, and an engine whose speed drifts."""
    t = np.arange(n) / RATE
    turns = np.cumsum(30 + 8 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.2) * t + rng.uniform()))) / RATE
    engine = sum(np.sin(2 * np.pi * (k * turns + rng.uniform())) / k ** 0.7 for k in range(1, 40))
    rumble, wind = shaped(rng, n, lambda f: 1 / f), shaped(rng, n, lambda f: 1 / (1 + (f / 1200) ** 2))
    wind *= 1 + 0.7 * np.sin(2 * np.pi * (0.3 * t + rng.uniform()))
    return engine / np.std(engine) + 2 * rumble / np.std(rumble) + 0.4 * wind / np.std(wind)


def rain(rng, n, parts):
    """Drops on a roof, some hundred a second, over a soft rush."""
    out, t = 0.3 * shaped(rng, n, lambda f: f / (f + 1500)), np.arange(RATE // 100) / RATE
    for at in rng.integers(0, n - len(t), int(300 * n / RATE)):
        out[at:at + len(t)] += rng.exponential() * np.exp(-t / 0.0015) * np.sin(2 * np.pi * rng.uniform(800, 5000) * t)
    return out


TRAINED = {kind.__name__: kind for kind in (white, coloured, hum, clicks, babble, chords, recorded)}
UNSEEN = {'car': car, 'rain': rain, 'music': recorded}  # by training; music is recorded
NOISES = {**TRAINED, 'car': car, 'rain': rain}
OF_RECORDINGS = (babble, recorded)
KINDS = {**{kind: TRAINED[kind] for kind in ('white', 'hum', 'babble')}, **UNSEEN}  # that evaluate hears


def mix(speech, noise, decibels):
    """(noisy, clean): speech that is so much louder than the noise."""
    noise = noise * (rms(speech) / np.sqrt(np.mean(np.square(noise))) * 10 ** (-decibels / 20))
    return speech + noise, speech


# ---- pipelines ----

def run(pipeline):
    """Runs a pipeline as gst-launch does, which has to find the plugin (GST_PLUGIN_PATH)."""
    if subprocess.run(['gst-launch-1.0', '-q', *shlex.split(pipeline)]).returncode != 0:
        sys.exit('this pipeline failed (is GST_PLUGIN_PATH the folder of the plugin?): gst-launch-1.0 ' + pipeline)


def cleaning(noisy, cleaned, model, gains=None):
    """One file of speech into another one, through a model that makes gains; these go to a file as well, if it is given."""
    keep = '! tee name=made ! queue ! npyenc ! filesink location=%s made. ! queue ' % shlex.quote(gains) if gains else ''
    return ('filesrc location=%s ! wavparse ! tee name=sound ! spectralgain name=clean bins=%d ! wavenc ! filesink location=%s '
            'sound. ! queue ! %s ! attentionencoder model-file=%s %s! clean.gains' % (
                shlex.quote(noisy), BINS, shlex.quote(cleaned), FRAMES, shlex.quote(model), keep))
