"""Recordings of spoken digits, their features, and who is heard where: shared by train.py and evaluate.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import os
import sys
import wave

import numpy as np

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from export import front_end
from training import mel, mel_edges

RATE = 16000
WORDS = ('zero', 'oh', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
TOKENS = ('<blk>', *('▁' + word for word in WORDS))  # as ctctext reads them: ▁ begins a word
ASTERISK = '/usr/share/asterisk/sounds'  # Debian: asterisk-core-sounds-*-g722 (16 kHz) and -wav (8 kHz), one speaker per folder
SAYTIME = '/usr/share/saytime'  # Debian: saytime; mu-law at 8 kHz, without a header
TIDIGITS = '/usr/share/pocketsphinx/test/data/tidigits'  # Debian: pocketsphinx-testdata

# The features are those of the recordings in TIDIGITS: telephone bandwidth.
BINS, COEFFICIENTS, LOW, HIGH = 20, 13, 1, 4000
MADE_FROM = {'sample_rate': RATE, 'bins': BINS, 'style': 'kaldi', 'frame_length': 25, 'hop_length': 10, 'fft_size': 512, 'low_frequency': LOW,
             'high_frequency': HIGH, 'window_function': 'hamming', 'mel_scale': 'htk'}
LOST, PACKET = 0.05, 2  # part of the packets, and frames in each
AT_ONCE = 'word-timeout=40000000 max-duration=40000000'  # a word is one token: ctctext need not wait for more of it
FRAMES = 'logmel bins=%d low-frequency=%d high-frequency=%d window-function=hamming' % (BINS, LOW, HIGH)


def resampled(samples, factor):
    """factor times as many samples: at another rate, or as if somebody with a longer throat spoke more slowly. float32."""
    n = max(1, round(len(samples) * factor))
    spectrum = np.fft.rfft(samples)[:n // 2 + 1]
    return (np.fft.irfft(spectrum, n) * (n / len(samples))).astype(np.float32)


def trimmed(samples):
    """Without the silence at both ends, but for 30 ms: what is 40 dB softer than the loudest 10 ms."""
    n = RATE // 100
    energy = np.mean(np.square(samples[:len(samples) // n * n].reshape(-1, n)), axis=1)
    loud = np.flatnonzero(energy > 1e-4 * energy.max())
    return samples[max(0, loud[0] - 3) * n:(loud[-1] + 4) * n]


def rms(samples):
    """Of the parts that are not silent: stretches of 20 ms within 30 dB of the loudest."""
    n = RATE // 50
    energy = np.mean(np.square(samples[:len(samples) // n * n].reshape(-1, n), dtype=np.float64), axis=1)
    return np.sqrt(np.mean(energy[energy > 1e-3 * energy.max()]))


def gst():
    import gi
    gi.require_version('Gst', '1.0')
    from gi.repository import Gst
    Gst.init(None)
    return Gst


def run(line, sound=None, advice=''):
    """The bytes of the buffers that reach the appsink `out` of a pipeline; `sound`: bytes for its appsrc `in`."""
    Gst, parts = gst(), []
    try:
        pipeline = Gst.parse_launch(line + ' ! appsink name=out sync=false')
    except Exception as error:  # of GLib
        sys.exit('%s: %s%s' % (line, error, advice))
    if sound is not None:
        source = pipeline.get_by_name('in')
        source.emit('push-buffer', Gst.Buffer.new_wrapped(sound))
        source.emit('end-of-stream')
    pipeline.set_state(Gst.State.PLAYING)
    for sample in iter(lambda: pipeline.get_by_name('out').emit('pull-sample'), None):
        parts.append(sample.get_buffer().extract_dup(0, sample.get_buffer().get_size()))
    error = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if error is not None:
        sys.exit('%s: %s' % (line, error.parse_error()[0].message))
    return b''.join(parts)


def decoded(path):
    """The samples of a sound file at RATE, mono, 16-bit scale."""
    kind = os.path.splitext(path)[1]
    parse = {'.g722': 'audio/G722,rate=16000,channels=1 ! avdec_g722', '.au': 'audio/x-mulaw,rate=8000,channels=1 ! mulawdec',
             '.raw': 'audio/x-raw,format=S16LE,layout=interleaved,rate=%d,channels=1' % RATE}[kind]
    with open(path, 'rb') as f:
        sound = f.read()
    line = 'appsrc name=in format=time ! %s ! audioconvert ! audioresample ! audio/x-raw,format=F32LE,rate=%d,channels=1' % (parse, RATE)
    return 32768 * np.frombuffer(run(line, sound, '; on Debian: apt-get install gstreamer1.0-libav'), '<f4')


# ---- pipelines ----

def write_wav(path, samples):
    with wave.open(path, 'wb') as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes(np.clip(np.rint(samples), -32768, 32767).astype('<i2').tobytes())


def frames_of(samples, folder):
    """Log-mel frames [n, BINS]."""
    path = os.path.join(folder, 'sound.wav')
    write_wav(path, samples)
    return np.frombuffer(run('filesrc location="%s" ! wavparse ! %s' % (path, FRAMES)), '<f4').reshape(-1, BINS)


def reading(model, tokens):
    return 'attentionencoder model-file="%s" ! ctctext tokens="%s"' % (model, tokens)


def text_of_sound(samples, folder, model, tokens):
    """The words."""
    path = os.path.join(folder, 'sound.wav')
    write_wav(path, samples)
    return run('filesrc location="%s" ! wavparse ! logmel model-file="%s" ! %s' % (path, model, reading(model, tokens))).decode().split()


def text_of_frames(frames, folder, model, tokens):
    """The words. A frame of NaN is absent."""
    path = os.path.join(folder, 'frames.npy')
    np.save(path, frames)
    return run('filesrc location="%s" ! npyparse nan-is-gap=true ! %s' % (path, reading(model, tokens))).decode().split()


def with_losses(rng, frames):
    """Packets of frames that do not arrive: NaN, which npyparse reads as absent."""
    lost = np.repeat(rng.random(len(frames) // PACKET + 1) < LOST, PACKET)[:len(frames)]
    return np.where(lost[:, None], np.float32(np.nan), frames)


def texts_in_time(samples, n_samples, model, tokens):
    """(latency that the pipeline reports, [(word, begin of its token, sound that had come when its text left)]), in ms. The sound comes in buffers of
    n_samples."""
    Gst = gst()
    pipeline = Gst.parse_launch(
        'appsrc name=in is-live=true format=time min-latency=0 caps=audio/x-raw,format=S16LE,layout=interleaved,rate=%d,channels=1 ! logmel model-file="%s" '
        '! attentionencoder model-file="%s" ! ctctext name=text tokens="%s" %s ! fakesink sync=false' % (RATE, model, model, tokens, AT_ONCE))
    source, text, arrived, found = pipeline.get_by_name('in'), pipeline.get_by_name('text'), [0], []

    def come(pad, info):
        arrived[0] = (info.get_buffer().pts + info.get_buffer().duration) / 1e6
        return Gst.PadProbeReturn.OK

    def leave(pad, info):
        buffer = info.get_buffer()
        found.append((buffer.extract_dup(0, buffer.get_size()).decode().strip(), buffer.pts / 1e6, arrived[0]))
        return Gst.PadProbeReturn.OK

    source.get_static_pad('src').add_probe(Gst.PadProbeType.BUFFER, come)
    text.get_static_pad('src').add_probe(Gst.PadProbeType.BUFFER, leave)
    pipeline.set_state(Gst.State.PLAYING)
    for at in range(0, len(samples) - n_samples + 1, n_samples):
        buffer = Gst.Buffer.new_wrapped(samples[at:at + n_samples].astype('<i2').tobytes())
        buffer.pts, buffer.duration = at * Gst.SECOND // RATE, n_samples * Gst.SECOND // RATE
        source.emit('push-buffer', buffer)
    source.emit('end-of-stream')
    message = pipeline.get_bus().timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    query = Gst.Query.new_latency()
    if message is None or message.type != Gst.MessageType.EOS or not text.get_static_pad('src').query(query):
        sys.exit('the pipeline failed: %s' % (message and message.parse_error()[0].message))
    pipeline.set_state(Gst.State.NULL)
    return query.parse_latency()[1] / 1e6, found


# ---- recordings ----

def files(pattern, package):
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if 'silence' not in path)
    if not paths:
        sys.exit('%s: no recordings; Debian has them in %s' % (pattern, package))
    return paths


def errors(said, heard):
    """Words that must be changed, left out or put in."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        last, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def number(name):
    """The word of the file of a digit."""
    return WORDS.index('oh') if name == 'oh' else WORDS.index(('zero', *WORDS[2:])[int(name)])


def allison():
    """[(samples, [number of a word])] of the speaker of the training: said in the middle, and (h-) at the end of a number."""
    names = [str(i) for i in range(10)] + ['oh'] + ['h-%d' % i for i in range(1, 10)]
    paths = [files(os.path.join(ASTERISK, 'en_US_f_Allison', 'digits', name + '.g722'), 'asterisk-core-sounds-en-g722')[0] for name in names]
    return [(trimmed(samples), [number(name.replace('h-', ''))]) for samples, name in zip(map(decoded, paths), names)]


def foreign():
    """[(samples, [])]: speech without English digits."""
    paths = [path for folder, kind in (('es_MX_f_Allison', 'g722'), ('fr_CA_f_June', 'g722'), ('it_IT_m_Carlo', 'g722'))
             for path in files(os.path.join(ASTERISK, folder, '*.' + kind), 'asterisk-core-sounds-*-g722')]
    found = [trimmed(samples) for samples in map(decoded, paths[::4]) if len(samples) > RATE // 4 and rms(samples) > 10]
    return [(samples[:2 * RATE], []) for samples in found]


def saytime():
    """The same of a speaker whom the training does not hear."""
    names = [str(i) for i in range(10)] + ['oh']
    paths = [files(os.path.join(SAYTIME, name + '.au'), 'saytime')[0] for name in names]
    return [(trimmed(samples), [number(name)]) for samples, name in zip(map(decoded, paths), names)]


def sequences(n=60):
    """(samples, numbers of words, where each word ends): words of saytime in a row, with pauses of up to 0.3 s."""
    spoken = {words[0]: samples for samples, words in saytime()}
    for i in range(n):
        rng = np.random.default_rng([9, i])
        words = [int(word) for word in rng.integers(len(WORDS), size=rng.integers(1, 8))]
        parts, ends = [np.zeros(rng.integers(1600, 6400))], []
        for word in words:
            parts.append(spoken[word])
            ends.append(sum(map(len, parts)))
            parts.append(np.zeros(rng.integers(0, 4800)))
        samples = np.concatenate(parts + [np.zeros(rng.integers(800, 4800))])
        yield np.rint(samples + rng.standard_normal(len(samples))), words, ends


def clock(noise=None):
    """{name: (samples, numbers of words)}: the sequences, as they are or `noise` dB above white noise."""
    found = {}
    for i, (samples, words, _) in enumerate(sequences()):
        if noise is not None:
            samples = np.rint(samples + rms(samples) * 10 ** (-noise / 20) * np.random.default_rng([10, i]).standard_normal(len(samples)))
        found['clock-%d' % i] = samples, words
    return found


def caller():
    """The same of a recording that comes with TIDIGITS as sound."""
    path = files(os.path.join(TIDIGITS, 'dhd.2934z.raw'), 'pocketsphinx-testdata')[0]
    return {'dhd.2934z': (decoded(path), [WORDS.index(word) for word in ('two', 'nine', 'three', 'four', 'zero')])}


# ---- the recordings in TIDIGITS, of which Debian has the cepstra, not the sound ----

def unit_area():
    """[bins]: the logarithm of a band of pocketsphinx less that of logmel. There a triangle has an area of 1 (per Hz), here a height of 1."""
    edges = 700 * np.expm1(mel_edges(BINS, LOW, HIGH) / 1127)
    fine = np.linspace(0, HIGH, 40001)
    areas = [np.sum(np.maximum(0, np.minimum((mel(fine) - a) / (b - a), (c - mel(fine)) / (c - b)))) * (fine[1] - fine[0])
             for a, b, c in zip(mel(edges), mel(edges[1:]), mel(edges[2:]))]
    return -np.log(areas)


def cosines():
    """[coefficients, bins]"""
    return front_end.dct(COEFFICIENTS, BINS)


def read_mfc(path):
    """[n, coefficients]: as pocketsphinx stores them, big endian."""
    numbers = np.fromfile(path, '>f4', offset=4)
    return numbers.reshape(-1, COEFFICIENTS).astype(np.float64)


def tidigits():
    """{name: (log-mel frames, numbers of words)} of two speakers. The frames are smooth, as of the cepstrum only 13 coefficients are there; the
    recogniser itself computes no more of them."""
    found, back, area = {}, cosines(), unit_area()
    with open(files(os.path.join(TIDIGITS, 'tidigits.lsn'), 'pocketsphinx-testdata')[0]) as f:
        for line in f:
            *words, name = line.split()
            name = name.strip('()')
            frames = read_mfc(os.path.join(TIDIGITS, name + '.mfc')) @ back - area
            found[name] = frames.astype(np.float32), [WORDS.index(word) for word in words]
    return found
