#!/usr/bin/python3
"""Checks that the trained encoder of examples/speech-or-not does what its README says. TAP.

    speech-or-not.py PLUGIN-FOLDER            the shipped encoder over a few streams; the decisions that a person sees
    speech-or-not.py PLUGIN-FOLDER --full     against PyTorch; all figures of the README; two trainings give the same; a new training is as good

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import filecmp
import os
import re
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LESSON = os.path.join(ROOT, 'examples', 'speech-or-not')
MODEL = os.path.join(LESSON, 'model.safetensors')
sys.path[:0] = [LESSON, os.path.dirname(LESSON)]

import data
import export_encoder
import tap

LARGEST = 120000  # bytes of the model
WORST_ROW = 75  # percent, where a coin has 50: of every kind of noise that --quick hears
LATEST = 0.3  # seconds between speech and its detection: the window of a frame, its neighbours, and the soft begin of a word
# The samples come from the sines and FFTs of a machine's NumPy, rounded to 16 bits: a frame may fall to the other side of 0.5.
LAST_DIGIT = 0.11


def run(program, *arguments, timeout=900):
    done = subprocess.run([os.path.join(LESSON, program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    print('# ' + done.stdout.rstrip().replace('\n', '\n# '))
    return done


def table(text):
    """{title: numbers} of the rows that evaluate prints."""
    rows = re.findall(r'^(?: {4})?(\S.{31})((?: +\d+\.\d+){4})$', text, re.M)
    return {title.rstrip(): [float(n) for n in numbers.split()] for title, numbers in rows}


def needs(*speakers):
    """Skips the test where there are no recordings of these."""
    for folder in [os.path.join(data.ASTERISK, speaker) for speaker in speakers] + [data.SPHINX]:
        if not os.path.isdir(folder):
            raise tap.Skip('no recordings in %s: asterisk-core-sounds-*-wav and pocketsphinx-testdata have them' % folder)


def spoken_at_two_seconds():
    """(samples, when speech begins, when it ends): the training has heard neither this speaker nor this car."""
    needs(data.HELD_OUT[0])
    rng = np.random.default_rng(4)
    speech = np.concatenate([np.zeros(2 * data.RATE), data.asterisk(data.HELD_OUT[0])[2], np.zeros(2 * data.RATE)])
    spoken = np.flatnonzero(data.is_speech(speech)) * data.HOP / data.RATE
    return data.mix(rng, speech, data.car(rng, len(speech), []), 20), spoken[0], spoken[-1]


# ---- the shipped encoder ----

def test_model_is_small_and_names_its_features_and_credits():
    _, metadata = export_encoder.load(MODEL)
    assert os.path.getsize(MODEL) <= LARGEST, os.path.getsize(MODEL)
    trained_on = {name.replace('_', '-'): str(value) for name, value in data.TRAINED_ON.items()}
    assert trained_on.items() <= metadata.items() and 'CC-BY-SA' in metadata['licence'], metadata
    with open(os.path.join(LESSON, 'README.md')) as f:
        text = f.read()
    for name in ('Allison Smith', 'Carlo Flora', 'CC-BY-SA-3.0', 'CC-BY-3.0'):
        assert name in text, name


def test_encoder_is_right_about_speakers_that_it_has_never_heard():
    needs(*data.HELD_OUT)
    done = run('evaluate', '--quick')
    rows = table(done.stdout)
    assert done.returncode == 0 and 'is right more often' in done.stdout and len(rows) == 7, rows
    for title, numbers in rows.items():
        assert numbers[2] >= WORST_ROW, (title, numbers)


def test_evaluate_tells_an_encoder_that_is_not():
    needs(*data.HELD_OUT)
    tensors, metadata = export_encoder.load(MODEL)
    tensors['head.weight'] = -tensors['head.weight']
    os.mkdir('a folder')
    export_encoder.save('a folder/worse.safetensors', tensors, metadata)
    done = run('evaluate', '--quick', '--model', os.path.abspath('a folder/worse.safetensors'))
    assert done.returncode == 1 and 'NOT right' in done.stdout, done.stdout


def test_listen_says_when_speech_begins_and_ends():
    samples, begin, end = spoken_at_two_seconds()
    data.write_wav('spoken.wav', samples)
    done = run('listen', 'spoken.wav')
    said = re.findall(r'(\d+\.\d+) s  (speech|no speech)', done.stdout)
    assert done.returncode == 0 and len(said) % 2 == 0 and len(said) >= 2, done.stdout
    assert abs(float(said[0][0]) - begin) <= LATEST and said[0][1] == 'speech', (said, begin)
    assert abs(float(said[-1][0]) - end) <= LATEST and said[-1][1] == 'no speech', (said, end)


def test_listen_says_what_is_wrong():
    done = run('listen', os.path.join(LESSON, 'README.md'), timeout=30)
    assert done.returncode == 1 and done.stdout.startswith('listen: ') and 'Traceback' not in done.stdout, done.stdout
    plugin = os.environ.pop('GST_PLUGIN_PATH')
    try:
        done = run('listen', data.SPHINX, timeout=30)
    finally:
        os.environ['GST_PLUGIN_PATH'] = plugin
    assert done.returncode == 1 and 'GST_PLUGIN_PATH' in done.stdout and 'Traceback' not in done.stdout, done.stdout


def test_line_of_the_readme_shows_the_decision():
    """With a recording in the place of the microphone."""
    samples, begin, end = spoken_at_two_seconds()
    data.write_wav('spoken.wav', samples)
    with open(os.path.join(LESSON, 'README.md')) as f:
        (line,) = re.findall(r'^gst-launch-1.0 .*autoaudiosrc.*$', f.read(), re.M)
    os.symlink(os.path.join(ROOT, 'examples'), 'examples')
    done = subprocess.run(['sh', '-c', line.replace('autoaudiosrc', 'filesrc location=spoken.wav ! wavparse')], stdout=subprocess.PIPE, text=True, timeout=60)
    peaks = np.array([float(decibels) for decibels in done.stdout.split()])
    seconds = 0.2 * np.arange(len(peaks))
    loud = peaks > -6  # a probability of 0.5
    assert len(peaks) >= 20 and not loud[seconds < begin - 0.2 - LATEST].any() and not loud[seconds > end + LATEST].any(), peaks
    assert loud[(seconds > begin + LATEST) & (seconds < end - 0.2 - LATEST)].mean() > 0.8, peaks


# ---- everything, for minutes ----

def full_test_pipeline_is_the_module_of_pytorch():
    import torch

    import train
    tensors, _ = export_encoder.load(MODEL)
    module = train.speech_or_not()
    module.load_state_dict({name: torch.from_numpy(values.astype(np.float32)) for name, values in tensors.items() if not name.startswith('standardized')})
    module.eval().double()
    samples, _, _ = spoken_at_two_seconds()
    frames = data.run(samples).astype(np.float64) * tensors['standardized.weight'] + tensors['standardized.bias']
    t = torch.arange(len(frames))
    beyond = (t[None] <= t[:, None] - train.WINDOW) | (t[None] > t[:, None] + train.LOOK_AHEAD)
    with torch.enable_grad():  # or PyTorch takes a short cut, which this version computes otherwise
        wanted = module(torch.from_numpy(frames)[None], beyond)[0].detach().numpy()
    error = np.abs(data.run(samples, 'attentionencoder model-file=%s ! ' % MODEL) - wanted).max()
    assert error < 1e-5, error  # of a probability, in float32


def full_test_figures_are_those_of_the_readme():
    needs(*data.HELD_OUT)
    done = run('evaluate')
    assert done.returncode == 0, done.stdout
    measured = table(done.stdout)
    assert len(measured) == 24 + 3 + 2, measured
    with open(os.path.join(LESSON, 'README.md')) as f:
        told = table(f.read())
    assert told.keys() == measured.keys(), told
    for title, numbers in told.items():
        assert np.abs(np.subtract(numbers, measured[title])).max() <= LAST_DIGIT, (title, numbers, measured[title])


def full_test_training_twice_makes_the_same_file():
    needs(*data.TRAINING)
    for folder in ('first', 'second'):
        os.mkdir(folder)
        assert run('train.py', '--out', folder, '--steps', '50', '--streams', '18').returncode == 0
    assert filecmp.cmp('first/model.safetensors', 'second/model.safetensors', shallow=False)


def full_test_training_anew_is_as_good():
    needs(*data.TRAINING)
    assert run('train.py', '--out', '.', timeout=3600).returncode == 0
    done = run('evaluate', '--model', os.path.abspath('model.safetensors'))
    assert done.returncode == 0, done.stdout


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'full_test_' if '--full' in sys.argv else 'test_', sys.argv[1]))
