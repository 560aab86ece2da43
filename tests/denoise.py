#!/usr/bin/python3
"""The trained layer of examples/denoise does what its README says. TAP.

    denoise.py PLUGIN-FOLDER            the shipped layer over a few streams; the picture
    denoise.py PLUGIN-FOLDER --full     all figures of the README; training twice is the same; training anew is as good. Some ten minutes

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import filecmp
import os
import re
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DENOISE = os.path.join(ROOT, 'examples', 'denoise')
MODEL = os.path.join(DENOISE, 'model.safetensors')
sys.path[:0] = [DENOISE, os.path.dirname(DENOISE)]

import baselines
import data
import export_encoder
import tap

LARGEST = 200000  # bytes of the model
# The samples come from the sines and FFTs of a machine's NumPy, rounded to 16 bits: one that falls to the other side moves no RMSE by 1e-3,
# but may turn the last printed digit.
LAST_DIGIT = 0.0011


def run(program, *arguments, timeout=900):
    done = subprocess.run([os.path.join(DENOISE, program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    print('# ' + done.stdout.rstrip().replace('\n', '\n# '))
    return done


def table(text):
    """{title: numbers} of the rows that evaluate prints."""
    rows = re.findall(r'^(\S.{27})((?: +-?\d+\.\d+){5}) %$', text, re.M)
    return {title.rstrip(): [float(n) for n in numbers.split()] for title, numbers in rows}


# ---- the shipped layer ----

def test_model_is_small_and_credits_its_data():
    _, metadata = export_encoder.load(MODEL)
    assert os.path.getsize(MODEL) <= LARGEST, os.path.getsize(MODEL)
    assert metadata['heads'] == '8' and 'CC-BY-SA' in metadata['licence'], metadata
    made_from = {name.replace('_', '-'): str(value) for name, value in data.MADE_FROM.items()}  # by which other frames are refused
    assert made_from.items() <= metadata.items(), metadata
    with open(os.path.join(DENOISE, 'README.md')) as f:
        text = f.read()
    for name in ('Allison Smith', 'June Wallack', 'Carlo Flora', 'Maxim Topal', 'CC-BY-SA-3.0', 'CC-BY-3.0'):
        assert name in text, name


def test_frames_of_another_sample_rate_are_refused():
    line = 'audiotestsrc num-buffers=20 ! audio/x-raw,rate=44100 ! logmel bins=40 ! attention model-file=%s ! fakesink' % MODEL
    went_well, printed = tap.launch(line)
    assert not went_well and 'trained on sample-rate=8000, but the stream says 44100' in printed, printed


def test_layer_beats_every_baseline_by_ten_percent():
    done = run('evaluate', '--quick')
    rows = table(done.stdout)
    assert done.returncode == 0 and 'at least 10 %' in done.stdout and len(rows) == 7, rows
    for numbers in rows.values():
        assert numbers[3] <= 0.9 * min(numbers[:3]), numbers


def test_evaluate_tells_a_layer_that_does_not():
    tensors, metadata = export_encoder.load(MODEL)
    tensors['out_proj.weight'] = 0.5 * tensors['out_proj.weight']
    export_encoder.save('worse.safetensors', tensors, metadata)
    done = run('evaluate', '--quick', '--model', os.path.abspath('worse.safetensors'))
    assert done.returncode == 1 and 'NOT 10 %' in done.stdout, done.stdout


def test_filter_sees_the_whole_window_and_the_look_ahead():
    """The normal equations, made from what shifts in and out, are those of the rows that the filter is applied to."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 3, 30, 2)).astype(np.float32)
    left, right = baselines.normal_equations(x, y, 5, 2)
    rows = np.concatenate([baselines.lagged(stream, 5, 2) for stream in x]).astype(np.float64)
    # sums of 90 products of float32
    assert np.abs(left - rows.T @ rows).max() < 1e-4 and np.abs(right - rows.T @ np.concatenate(y)).max() < 1e-4
    assert np.array_equal(rows[30 + 10].reshape(7, 2), x[1, 6:13].astype(np.float64))
    shipped = baselines.load(os.path.join(DENOISE, 'baselines.safetensors'))
    _, metadata = export_encoder.load(MODEL)
    assert (shipped.window, shipped.look_ahead) == (int(metadata['window']), int(metadata['look-ahead']))
    assert shipped.tensors['matrix'].shape == ((shipped.window + shipped.look_ahead) * data.BINS, data.BINS)


def test_picture_shows_noisy_cleaned_and_clean():
    done = run('picture.py', os.path.join(data.SPHINX, 'librivox', 'sense_and_sensibility_01_austen_64kb-0870.wav'), '--out', os.getcwd())
    assert done.returncode == 0, done.stdout
    before, after = map(float, re.search(r'(\S+) noisy, (\S+) cleaned', done.stdout).groups())
    assert after < 0.9 * before, (before, after)
    assert np.load('cleaned.npy').shape == (708, data.BINS), np.load('cleaned.npy').shape
    with open('cleaned.png', 'rb') as f:
        assert f.read(8) == b'\x89PNG\r\n\x1a\n'
    text = run('picture.py', os.path.join(ROOT, 'README.md'))
    assert text.returncode == 1 and 'this pipeline failed' in text.stdout and 'Traceback' not in text.stdout, text.stdout


def test_launch_lines_of_the_readme():
    with open(os.path.join(DENOISE, 'README.md')) as f:
        lines = re.findall(r'^gst-launch-1.0 .*model\.safetensors.*', f.read(), re.M)
    os.symlink(os.path.join(ROOT, 'examples'), 'examples')
    rng = np.random.default_rng(1)
    noise = 200 * rng.standard_normal(2 * data.RATE)
    wanted = data.frames(noise, os.getcwd(), data.attention(MODEL))
    data.write_wav('noisy.wav', noise)
    for line in lines:
        subprocess.run(['sh', '-ec', line], check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert np.array_equal(np.load('cleaned.npy'), wanted) and len(wanted) == 198, wanted.shape
        os.remove('cleaned.npy')
    assert lines


# ---- everything, for minutes ----

def full_test_figures_are_those_of_the_readme():
    done = run('evaluate')
    assert done.returncode == 0, done.stdout
    measured = table(done.stdout)
    assert len(measured) == 18 + 3 + 2, measured
    with open(os.path.join(DENOISE, 'README.md')) as f:
        told = table(f.read())
    assert told.keys() == measured.keys(), told
    for title, numbers in told.items():
        off = np.abs(np.subtract(numbers, measured[title])[:4])
        assert off.max() <= LAST_DIGIT, (title, numbers, measured[title])


def full_test_training_twice_makes_the_same_files():
    for folder in ('first', 'second'):
        os.mkdir(folder)
        assert run('train.py', '--out', folder, '--steps', '100', '--streams', '30').returncode == 0
    assert filecmp.cmpfiles('first', 'second', ('model.safetensors', 'baselines.safetensors'), shallow=False)[0] == [
        'model.safetensors', 'baselines.safetensors']


def full_test_training_anew_is_as_good():
    assert run('train.py', '--out', '.', timeout=3600).returncode == 0
    done = run('evaluate', '--model', os.path.abspath('model.safetensors'), '--baselines', os.path.abspath('baselines.safetensors'))
    assert done.returncode == 0, done.stdout


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'full_test_' if '--full' in sys.argv else 'test_', sys.argv[1]))
