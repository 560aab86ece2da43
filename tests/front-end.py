#!/usr/bin/python3
"""Features from sound to model: the front end that examples/export/front_end.py puts in front of a model. TAP.   front-end.py PLUGIN-FOLDER

Against the published definitions, in float64, of tests/golden/logmel.py and of this file.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXPORTER = os.path.join(ROOT, 'examples', 'export_encoder.py')
GOLDEN = os.path.join(ROOT, 'tests', 'golden')
sys.path[:0] = [os.path.dirname(EXPORTER), GOLDEN]

import export_encoder
import logmel as definitions
import tap
from export import front_end

TOLERANCE = 1e-4  # of a bin, in the units of its logarithm: the promise of logmel
RATE = 16000


# ---- helpers ----

def speech():
    """A second of audio, int16."""
    with open(os.path.join(GOLDEN, 'logmel-speech-kaldi.bin'), 'rb') as f:
        return np.frombuffer(f.read(), '<i2', RATE, 256)


def of_pipeline(elements, samples, rate=RATE):
    """[frames, values], the output of elements behind the samples."""
    samples.astype('<i2').tofile('samples.raw')
    went_well, printed = tap.launch('filesrc location=samples.raw ! rawaudioparse format=pcm pcm-format=s16le sample-rate=%d num-channels=1 ! %s ! '
                                    'npyenc ! filesink location=frames.npy' % (rate, elements))
    assert went_well, printed
    return np.load('frames.npy')


def close(got, wanted, tolerance):
    """`tolerance`: one for all values, or one for each of a frame."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    worst = (np.abs(got - wanted) / tolerance).max()
    assert worst <= 1, 'off by %.3g times the tolerance' % worst


def refused(words, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except export_encoder.ExportError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, '%s: nothing of %s' % (error, missing)
        return
    raise AssertionError('not refused: ' + ', '.join(words))


def cepstrum(energies, n, lifter):
    """The definition of Kaldi's mfcc: orthonormal DCT-II (here by the FFT of the mirrored frame), then the lifter."""
    bins = energies.shape[1]
    spectrum = np.fft.fft(np.concatenate([energies, energies[:, ::-1]], axis=1), axis=1)[:, :n]
    i = np.arange(n)
    values = (spectrum * np.exp(-1j * np.pi * i / (2 * bins))).real / np.sqrt(2 * bins)
    values[:, 0] /= np.sqrt(2)
    return values * (1 + 0.5 * lifter * np.sin(np.pi * i / lifter)) if lifter else values


# ---- blocks in front of a model ----

def test_mfcc_of_speech_are_those_of_the_definition():
    x = speech()
    for n, bins, lifter in ((13, 23, 22), (40, 40, 0)):
        block, tensors = front_end.mfcc(n, bins, lifter)
        export_encoder.write('mfcc.safetensors', tensors, [block], features=bins, frame_rate=100, sample_rate=RATE, bins=bins, style='kaldi')
        wanted = cepstrum(definitions.kaldi(x, RATE, {'bins': bins}), n, lifter)
        # a coefficient adds up all bins, each of which may be off by the tolerance
        close(of_pipeline('logmel bins=%d ! attentionencoder model-file=mfcc.safetensors' % bins, x), wanted,
              TOLERANCE * np.abs(tensors['mfcc.weight']).sum(axis=1))


def test_standardized_bins_have_the_mean_and_deviation_taken_away():
    x = speech()
    energies = definitions.nemo(x, RATE, {})
    mean, deviation = energies.mean(axis=0), energies.std(axis=0)
    block, tensors = front_end.standardized(mean, deviation)
    export_encoder.write('model.safetensors', tensors, [block])
    close(of_pipeline('logmel style=nemo ! attentionencoder model-file=model.safetensors', x), (energies - mean) / deviation, TOLERANCE / deviation.min())


def test_blocks_in_front_stand_before_the_model():
    rng = np.random.default_rng(1)
    mean, deviation = rng.standard_normal(13), rng.uniform(1, 2, 13)
    state = {'head.weight': rng.standard_normal((2, 13)).astype(np.float32)}
    export_encoder.write('model.safetensors', state, [{'linear': 'head'}], front=[front_end.mfcc(13, 23, 22), front_end.standardized(mean, deviation)])
    x = speech()
    wanted = (cepstrum(definitions.kaldi(x, RATE, {'bins': 23}), 13, 22) - mean) / deviation @ state['head.weight'].T.astype(np.float64)
    matrices = np.abs(state['head.weight']) @ np.abs(front_end.dct(13, 23, 22) / deviation[:, None])
    close(of_pipeline('logmel bins=23 ! attentionencoder model-file=model.safetensors', x), wanted, TOLERANCE * matrices.sum(axis=1))
    assert list(state) == ['head.weight'], list(state)


def checkpoint():
    """The state_dict of an nn.TransformerEncoder of one layer and 8 values per frame."""
    rng = np.random.default_rng(2)
    shapes = {'self_attn.in_proj_weight': (24, 8), 'self_attn.in_proj_bias': (24,), 'self_attn.out_proj.weight': (8, 8), 'self_attn.out_proj.bias': (8,),
              'linear1.weight': (16, 8), 'linear1.bias': (16,), 'linear2.weight': (8, 16), 'linear2.bias': (8,), 'norm1.weight': (8,), 'norm1.bias': (8,),
              'norm2.weight': (8,), 'norm2.bias': (8,)}
    export_encoder.save('checkpoint.safetensors', {'layers.0.' + name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()})


def test_command_puts_blocks_in_front():
    checkpoint()
    np.save('statistics.npy', np.stack([np.arange(8.0), np.arange(1.0, 9)]))
    words = ['checkpoint.safetensors', 'model.safetensors', '--heads', '2', '--window', '4', '--bins', '23', '--mfcc', '8', '--lifter', '22',
             '--standardize', 'statistics.npy']
    done = subprocess.run([EXPORTER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tensors, metadata = export_encoder.load('model.safetensors')
    assert done.returncode == 0 and '23 -> 8' in done.stdout, done.stdout
    assert metadata['encoder'].find('{"linear":"mfcc"},{"affine":"standardized"}') > 0 and metadata['bins'] == '23', metadata
    assert np.array_equal(tensors['mfcc.weight'], front_end.dct(8, 23, 22).astype(np.float32))
    assert np.array_equal(tensors['standardized.weight'], (1 / np.arange(1.0, 9)).astype(np.float32))
    done = subprocess.run([EXPORTER, *words[:6], '--mfcc', '8'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and 'of how many bins' in done.stdout, done.stdout
    done = subprocess.run([EXPORTER, *words[:6], '--lifter', '22'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and '--lifter 22 would change nothing without --mfcc' in done.stdout, done.stdout


def test_front_that_cannot_be_is_refused():
    refused(['24 coefficients', '23 bins'], front_end.mfcc, 24, 23)
    refused(['value 1', 'deviation 0'], front_end.standardized, [0, 0, 0], [1, 0, 1])
    refused(['(3,)', '(2,)'], front_end.standardized, [0, 0, 0], [1, 1])
    block, tensors = front_end.standardized([0.0], [1.0])
    refused(['standardized.weight'], export_encoder.write, 'model.safetensors', tensors, [block], front=[(block, tensors)])


# ---- one file for the features and the model ----

TRAINED_ON = {'sample_rate': RATE, 'frame_rate': 100, 'bins': 40, 'style': 'nemo', 'fft_size': 1024}


def encoder_of(**trained_on):
    """A file whose outputs are its inputs."""
    bins = trained_on['bins']
    export_encoder.write('model.safetensors', {'all.weight': np.eye(bins, dtype=np.float32)}, [{'linear': 'all'}], **trained_on)


def test_one_file_gives_the_features_and_the_model():
    x = speech()
    encoder_of(**TRAINED_ON)
    wanted = definitions.nemo(x, RATE, {'bins': 40, 'fft-size': 1024})
    close(of_pipeline('logmel model-file=model.safetensors ! attentionencoder model-file=model.safetensors', x), wanted, TOLERANCE)
    export_encoder.write('voxtral.safetensors', {'all.weight': np.eye(128, dtype=np.float32)}, [{'linear': 'all'}], sample_rate=RATE, bins=128,
                         style='whisper', log_maximum=1.5)
    wanted = definitions.whisper(x, RATE, {'bins': 128, 'log-maximum': 1.5})
    close(of_pipeline('logmel model-file=voxtral.safetensors ! attentionencoder model-file=voxtral.safetensors', x), wanted, TOLERANCE)


def test_audioresample_gives_the_rate_that_the_file_names():
    encoder_of(**TRAINED_ON)
    frames = of_pipeline('audioconvert ! audioresample ! logmel model-file=model.safetensors ! attentionencoder model-file=model.safetensors',
                         np.tile(speech(), 3), 48000)
    assert frames.shape == (100, 40), frames.shape


def test_audio_of_another_rate_is_refused():
    encoder_of(**TRAINED_ON)
    line = 'audiotestsrc num-buffers=9 ! audio/x-raw,rate=44100 ! logmel %s ! attentionencoder model-file=model.safetensors ! fakesink'
    for properties, words in (('model-file=model.safetensors', 'trained on audio with sample-rate=16000, but this audio has 44100'),
                              ('style=nemo bins=40 fft-size=2048', 'trained on sample-rate=16000, but the stream says 44100')):
        went_well, printed = tap.launch(line % properties)
        assert not went_well and words in printed, printed


def test_encoder_refuses_features_of_another_front_end():
    line = 'audiotestsrc num-buffers=9 ! audio/x-raw,rate=16000 ! logmel %s ! attentionencoder model-file=model.safetensors ! fakesink'
    for trained_on, properties, words in (
            (TRAINED_ON, 'style=whisper bins=40 fft-size=1024', 'trained on style=nemo, but the stream says whisper: logmel style=nemo'),
            (TRAINED_ON, 'style=nemo fft-size=1024', 'trained on bins=40, but the stream says 80'),
            (TRAINED_ON, 'style=nemo bins=40', 'trained on fft-size=1024, but the stream says 512'),
            (TRAINED_ON, 'style=nemo bins=40 fft-size=1024 hop-length=20', 'trained on frame-rate=100, but the stream says 50'),
            ({'bins': 80, 'style': 'whisper', 'log_maximum': 1.5}, 'style=whisper', 'trained on log-maximum=1.5, but the stream says 0')):
        encoder_of(**trained_on)
        went_well, printed = tap.launch(line % properties)
        assert not went_well and words in printed, printed


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'test_', sys.argv[1]))
