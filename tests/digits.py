#!/usr/bin/python3
"""Checks that the trained recognisers of examples/digits do what docs/digits.md says. TAP.

    digits.py PLUGIN-FOLDER            the shipped recognisers on the recordings of pocketsphinx-testdata; streams, states, losses, latency
    digits.py PLUGIN-FOLDER --full     all figures; two trainings give the same; a new training is as good. Two hours

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import filecmp
import os
import re
import signal
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIGITS = os.path.join(ROOT, 'examples', 'digits')
TOKENS = os.path.join(DIGITS, 'tokens.txt')
PAGE = os.path.join(ROOT, 'docs', 'digits.md')
ERRORS, CONFORMER = 'How often it is wrong', 'The same as a Conformer with chunks'  # headings of the page
LOSSY = ', 5 % of packets lost'
sys.path[:0] = [DIGITS, os.path.dirname(DIGITS), os.path.join(ROOT, 'src')]

import data
import export_encoder
import tap

LARGEST = 1500000  # bytes of the model
STRIDE = 4  # frames
ONE_RUN = 5  # percent of the words: five of 107 are heard otherwise in one run than in another
WORSE = 6  # percent of the words: what a training on another machine may lose


def run(program, *arguments, timeout=900):
    done = subprocess.run([os.path.join(DIGITS, program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    print('# ' + done.stdout.rstrip().replace('\n', '\n# '))
    return done


def told(text):
    """{set: [figures or -]} of the rows that evaluate prints."""
    rows = re.findall(r'^\| (\S.*?) +\|((?: +(?:-|[\d.]+ %, \d+ %) \|)+)$', text, re.M)
    return {title: re.findall(r'-|[\d.]+ %, \d+ %', cells) for title, cells in rows}


def page(heading=None):
    """All of it, or what stands under one heading."""
    with open(PAGE) as f:
        text = f.read()
    return text if heading is None else re.search(r'^## %s\n(.*?)(?=^## |\Z)' % heading, text, re.M | re.S)[1]


def greedy(rows):
    """The words of the outputs of a whole recording, by the rule of CTC: runs of equal ones count once, blanks do not."""
    best = rows.argmax(axis=1)
    return [data.WORDS[token - 1] for token, before in zip(best, [0, *best[:-1]]) if token not in (0, before)]


def whole(model, frames):
    """The outputs of a whole recording: from the library in Python, without GStreamer."""
    os.environ['ATTN_LIBRARY'] = os.path.join(os.path.dirname(os.environ['GST_PLUGIN_PATH']), 'src', 'libattn.so')
    import attn
    return attn.Encoder(model).forward(frames)


class Recogniser:
    """One of those that are shipped."""

    def __init__(self, kind, file, delay, chunk=1):
        """delay: frames; chunk: outputs that come together"""
        self.kind, self.path, self.chunk = kind, os.path.join(DIGITS, file), chunk
        self.latency = 25 + 10 * delay + 40  # ms: a frame, the encoder, ctctext with both of its times at one output

    def told(self, title, lossy=False):
        """What the page says of a set, in percent of the words."""
        if self.kind == 'windows':
            return told(page(ERRORS))[title][3 if lossy else 2].split(',')[0]
        return told(page(CONFORMER))[title + LOSSY * lossy][1].split(',')[0]

    def words(self, heard):
        """What it hears in samples, or in frames [n, BINS]."""
        return (data.text_of_sound if heard.ndim == 1 else data.text_of_frames)(heard, '.', self.path, TOKENS)


SHIPPED = (Recogniser('windows', 'model.safetensors', 26), Recogniser('conformer', 'conformer.safetensors', 24, chunk=7))


def caller():
    ((samples, _),) = data.caller().values()
    return samples


def long_recording():
    """Frames [n, BINS]: all recordings of one speaker, one behind the other."""
    frames = np.concatenate([one for name, (one, _) in data.tidigits().items() if name.startswith('man')])
    return frames[:len(frames) // STRIDE * STRIDE]


# ---- the sounds of a training ----

def tone(n, hertz):
    return (1000 * np.sin(2 * np.pi * hertz * np.arange(n) / data.RATE)).astype(np.float32)


def test_slower_sound_is_deeper_and_as_loud():
    for factor in (0.5, 1.25, 2):
        slower = data.resampled(tone(data.RATE, 400), factor)
        assert len(slower) == data.RATE * factor and np.argmax(np.abs(np.fft.rfft(slower))) == 400, factor  # as many waves
        assert np.abs(slower - tone(len(slower), 400 / factor)).max() < 1, factor


def test_silence_around_a_sound_is_cut_but_for_30_ms():
    word, silent = tone(data.RATE // 5, 400), np.zeros(data.RATE // 2, np.float32)
    trimmed = data.trimmed(np.concatenate([silent, word, silent]))
    assert len(trimmed) == len(word) + 2 * 30 * data.RATE // 1000, len(trimmed)
    assert np.array_equal(trimmed[30 * data.RATE // 1000:][:len(word)], word)
    assert np.array_equal(data.trimmed(word), word)


def percent_wrong(recordings, heard):
    """As the page prints it."""
    wrong = sum(data.errors([data.WORDS[word] for word in said], words) for (_, said), words in zip(recordings.values(), heard))
    return '%.1f %%' % (100 * wrong / sum(len(said) for _, said in recordings.values()))


# ---- the shipped recognisers ----

def test_models_are_small_and_name_their_features_and_credits():
    made_from = {name.replace('_', '-'): str(value) for name, value in data.MADE_FROM.items()}
    for model in SHIPPED:
        _, metadata = export_encoder.load(model.path)
        assert os.path.getsize(model.path) <= LARGEST, (model.kind, os.path.getsize(model.path))
        assert made_from.items() <= metadata.items() and 'CC-BY-SA' in metadata['licence'], (model.kind, metadata)
    with open(TOKENS) as f:
        assert f.read().split() == list(data.TOKENS)
    with open(os.path.join(DIGITS, 'README.md')) as f:
        text = f.read()
    for name in ('Allison Smith', 'CC-BY-SA-3.0', 'flite', 'festival', 'espeak-ng'):
        assert name in text, name


def test_page_tells_the_size_of_both_models():
    for row, numbers in ((r'parameters', [sum(values.size for values in export_encoder.load(model.path)[0].values()) for model in SHIPPED]),
                         (r'bytes of the file', [os.path.getsize(model.path) for model in SHIPPED])):
        cells = re.search(r'^\| %s +\| +([\d,]+) \| +([\d,]+) \|$' % row, page(CONFORMER), re.M).groups()
        assert list(cells) == ['{:,}'.format(number) for number in numbers], (row, cells, numbers)


def test_both_tables_of_the_page_agree():
    for title, (first, _) in told(page(CONFORMER)).items():
        assert told(page(ERRORS))[title.replace(LOSSY, '')][3 if LOSSY in title else 2] == first, title


def test_caller_is_understood_as_the_page_says():
    for model in SHIPPED:
        assert model.told('a caller') == percent_wrong(data.caller(), [model.words(caller())]), model.kind


def test_speakers_that_it_has_never_heard_are_understood_as_the_page_says():
    """All words of the recordings of TIDIGITS, through the pipeline."""
    recordings = data.tidigits()
    for model in SHIPPED:
        percent = percent_wrong(recordings, [model.words(frames) for frames, _ in recordings.values()])
        assert model.told('TIDIGITS') == percent, (model.kind, percent)


def test_stream_gives_the_text_of_the_whole_recording():
    samples, frames = caller(), long_recording()
    for model in SHIPPED:
        words = greedy(whole(model.path, data.frames_of(samples, '.')))
        for blocksize in (322, 4096, 1000000):  # bytes of a buffer
            line = 'filesrc location=sound.wav blocksize=%d ! wavparse ! logmel model-file="%s" ! %s' % (
                blocksize, model.path, data.reading(model.path, TOKENS))
            assert data.run(line).decode().split() == words, (model.kind, blocksize)
        streamed = model.words(frames)
        assert streamed == greedy(whole(model.path, frames)) and len(streamed) > 40, (model.kind, streamed)


# Runs until the buffer at CUT comes, and is killed in the middle of everything. The encoder's state is that before the frame at CUT; the text's
# is that before the encoder's output at CUT, which comes when the encoder has seen the frames that it looks ahead to; outputs of a chunk come in one
# buffer, so there CUT is the first frame of a chunk.
KILLED = '''
import os, signal, sys
import gi
gi.require_version('Gst', '1.0')
from gi.repository import Gst
Gst.init(None)
pipeline, cut = Gst.parse_launch(sys.argv[1]), int(sys.argv[2])

def save(name):
    state = pipeline.get_by_name(name).emit('save-state')
    with open(name + '.state', 'wb') as f:
        f.write(state.get_data())

def at_cut(pad, info, name):
    if info.get_buffer().pts == cut:
        save(name)
        if name == 'text':
            os.kill(os.getpid(), signal.SIGKILL)
    return Gst.PadProbeReturn.OK

for name in ('encoder', 'text'):
    pipeline.get_by_name(name).get_static_pad('sink').add_probe(Gst.PadProbeType.BUFFER, at_cut, name)
pipeline.set_state(Gst.State.PLAYING)
pipeline.get_bus().timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
sys.exit(1)
'''


def killed_at(model, frames, cut):
    """The text of a run that is killed at frame `cut`, and of one that goes on there."""
    for name in ('encoder.state', 'text.state'):
        if os.path.exists(name):
            os.remove(name)
    np.save('all.npy', frames)
    np.save('rest.npy', frames[cut:])
    line = ('filesrc location=all.npy ! npyparse frames-per-buffer=1 ! attentionencoder name=encoder model-file=%s ! ctctext name=text tokens=%s ! '
            'fdsink' % (model.path, TOKENS))
    first = subprocess.run(['/usr/bin/python3', '-c', KILLED, line, str(cut * 10000000)], stdout=subprocess.PIPE, text=True, timeout=60)
    assert first.returncode == -signal.SIGKILL, first.returncode
    second = data.run('filesrc location=rest.npy ! npyparse ! attentionencoder model-file="%s" state-file=encoder.state ! ctctext tokens="%s" '
                      'state-file=text.state' % (model.path, TOKENS))
    return first.stdout, second.decode()


def test_recogniser_that_is_killed_in_mid_word_goes_on_with_the_same_text():
    frames = long_recording()
    for model in SHIPPED:
        words, spoken = model.words(frames), whole(model.path, frames).argmax(axis=1)
        places = STRIDE * model.chunk * np.unique(np.flatnonzero(spoken) // model.chunk)  # where a word is being said: its token comes in its middle
        for cut in places[len(places) // 5::len(places) // 4]:
            first, second = killed_at(model, frames, cut)
            assert first and second and (first + second).split() == words, (model.kind, cut, first, second)


def test_lost_packets_cost_no_more_than_the_page_says():
    """One run; the page tells the mean of several."""
    rng, recordings = np.random.default_rng(12), data.tidigits()
    lossy = [data.with_losses(rng, frames) for frames, _ in recordings.values()]
    assert 0.03 < np.mean([np.isnan(frames).any(axis=1).mean() for frames in lossy]) < 0.07
    for model in SHIPPED:
        percent = percent_wrong(recordings, [model.words(frames) for frames in lossy])
        assert float(percent[:-2]) <= float(model.told('TIDIGITS', lossy=True)[:-2]) + ONE_RUN, (model.kind, percent)


def test_text_is_late_by_the_latency_that_the_pipeline_reports():
    """From the begin of the token of a word to the text; to the millisecond, as a buffer has one. The outputs of a chunk come together, and ctctext waits
    for the one behind the word: the latency is that of a word at the end of a chunk, which waits for the next chunk. Earlier words wait for less."""
    samples = caller()
    for model in SHIPPED:
        reported, found = data.texts_in_time(np.concatenate([samples, np.zeros(data.RATE)]), data.RATE // 1000, model.path, TOKENS)
        assert [word for word, _, _ in found] == model.words(samples) and reported == model.latency, (model.kind, reported, found)
        for _, begin, left in found:
            earlier = (begin // 40 + 1) % model.chunk  # outputs
            assert reported - 1 < left - begin + 40 * earlier <= reported, (model.kind, found)
        assert '%d ms' % model.latency in page(), model.kind


def test_text_follows_the_end_of_a_word_as_the_page_says():
    """Some sequences of a speaker that it has never heard; the page tells the worst of more."""
    if not os.path.isdir(data.SAYTIME):
        raise tap.Skip('no recordings in %s: the package saytime has them' % data.SAYTIME)
    worst = re.search(r'^\| text after .* at most +\| .*?(-?\d+) ms \| .*?(-?\d+) ms \|$', page(CONFORMER), re.M).groups()
    for model, most in zip(SHIPPED, map(float, worst)):
        late = []
        for samples, words, ends in data.sequences(14):
            _, texts = data.texts_in_time(np.concatenate([samples, np.zeros(data.RATE)]), data.RATE // 100, model.path, TOKENS)
            if [word for word, _, _ in texts] == [data.WORDS[word] for word in words]:
                late += [left - 1000 * end / data.RATE for (_, _, left), end in zip(texts, ends)]
        assert most - 40 < max(late) <= most, (model.kind, late)  # within an output of the worst


def test_live_line_of_the_page_shows_the_words():
    """With a recording in the place of the microphone, and the text that reaches the picture in the place of the window."""
    (line,) = re.findall(r'^gst-launch-1.0 -e autoaudiosrc (.*)$', page(), re.M)
    samples = caller()
    heard = SHIPPED[0].words(samples)
    data.write_wav('caller.wav', np.concatenate([samples, np.zeros(data.RATE)]))
    line = 'filesrc location=caller.wav ! wavparse ' + line.replace('examples/digits/', DIGITS + '/').replace('autovideosink', 'fakesink')
    to_overlay = '! queue ! words.text_sink'  # without the queue, the text waits for the picture, and the picture for the text
    assert to_overlay in line, line
    went_well, printed = tap.launch(line.replace(to_overlay, '! tee name=text text. ! queue ! filesink location=words.txt text. ' + to_overlay))
    with open('words.txt') as f:
        shown = f.read().split()
    assert went_well and shown[:len(heard)] != heard and ' '.join(heard) in ' '.join(shown), (printed, shown)  # the phrase grows


# ---- everything, for hours ----

def full_test_figures_are_those_of_the_page():
    done = run('evaluate', timeout=3600)
    assert done.returncode == 0, done.stdout
    measured = told(done.stdout)
    assert len(measured) >= 6 and told(page(ERRORS)) == measured, (told(page(ERRORS)), measured)
    for number in re.findall(r'\d+ ms|\d+ words', done.stdout):
        assert number in page(), number


def full_test_figures_of_the_conformer_are_those_of_the_page():
    done = run('evaluate', '--model', SHIPPED[1].path, timeout=3600)
    assert done.returncode == 0, done.stdout
    measured = told(done.stdout)
    measured = {**{title: cells[2] for title, cells in measured.items()}, **{title + LOSSY: cells[3] for title, cells in measured.items()}}
    shown = {title: cells[1] for title, cells in told(page(CONFORMER)).items()}
    assert len(shown) >= 6 and shown.items() <= measured.items(), (shown, measured)
    for number in re.findall(r'\d+ ms|\d+ words', done.stdout):
        assert number in page(CONFORMER), number


def full_test_frames_of_the_training_are_those_of_logmel():
    import recogniser
    import torch
    samples = np.rint(1000 * np.random.default_rng(4).standard_normal(data.RATE))
    frames = data.frames_of(samples, '.')
    assert frames.shape == (98, data.BINS) and np.abs(frames - recogniser.log_mel(torch.tensor(samples, dtype=torch.float32)).numpy()).max() < 1e-4


def full_test_frames_from_cepstra_are_those_of_logmel():
    """pocketsphinx's own program makes cepstra of the same sound as in TIDIGITS; what is left are the edges of the bands."""
    ((samples, _),) = data.caller().values()
    settings = '-samprate 16000 -lowerf 1 -upperf 4000 -nfilt 20 -transform dct -round_filters no -remove_dc yes -wlen 0.025 -remove_noise no -remove_silence no'
    np.rint(samples).astype('<i2').tofile('sound.raw')
    subprocess.run(['sphinx_fe', '-i', 'sound.raw', '-raw', 'yes', '-mswav', 'no', '-o', 'sound.mfc', *settings.split()], stderr=subprocess.DEVNULL, check=True)
    cepstra = np.fromfile('sound.mfc', '<f4', offset=4).reshape(-1, data.COEFFICIENTS)
    wanted = data.frames_of(samples, '.') @ data.cosines().T
    of_cepstra = (cepstra @ data.cosines() - data.unit_area())[:len(wanted)] @ data.cosines().T
    assert np.abs((of_cepstra - wanted).mean(axis=0)).max() < 0.05 and (of_cepstra - wanted).std(axis=0).max() < 0.2
    assert SHIPPED[0].words(np.float32(of_cepstra @ data.cosines())) == SHIPPED[0].words(samples)


def full_test_exported_recogniser_computes_what_was_trained():
    """In float32, as bfloat16 is a rounding of the parameters, not of the computation."""
    import models
    import recogniser
    import torch
    frames = 3 * np.random.default_rng(6).standard_normal((203, data.BINS)).astype(np.float32)
    for kind, make in models.KINDS.items():
        torch.manual_seed(5)
        model = make(len(data.TOKENS)).eval()
        for parameter in model.parameters():
            if not parameter.any():  # biases that begin as zeros would hide what happens to them
                torch.nn.init.normal_(parameter)
            parameter.data = parameter.data.bfloat16().float()
        with torch.no_grad():
            wanted = model(torch.from_numpy(frames)[None])[0].numpy()
        recogniser.export(model, 'model.safetensors')
        error = np.abs(whole('model.safetensors', frames) - wanted).max()
        assert error < 1e-4, (kind, error)


def noises(rng):
    """What stands for the recordings of a training: sound of no word."""
    return {name: [((1000 * rng.standard_normal(9600)).astype(np.int16), words)] for name, words in (('recorded', [3]), ('foreign', []), ('espeak-ng', [5, 6]))}


def full_test_training_that_was_ended_goes_on_with_the_same_digits():
    import models
    import recogniser
    pools = noises(np.random.default_rng(7))
    for kind in models.KINDS:
        trainer = recogniser.Trainer((3, 2), 'whole.pt', pools, kind)
        losses = [trainer.one_step() for _ in range(5)]
        first = recogniser.Trainer((3, 2), kind + '.pt', pools, kind)
        again = [first.one_step() for _ in range(2)]
        first.save()
        second = recogniser.Trainer((3, 2), kind + '.pt', pools, kind)
        assert second.step == 2 and losses == again + [second.one_step() for _ in range(3)], (kind, losses)


def full_test_training_does_not_go_on_from_the_checkpoint_of_another_kind():
    import recogniser
    pools = noises(np.random.default_rng(7))
    recogniser.Trainer((3, 2), 'windows.pt', pools, 'windows').save()
    try:
        recogniser.Trainer((3, 2), 'windows.pt', pools, 'conformer')
    except SystemExit as error:
        assert 'windows' in str(error) and 'conformer' in str(error), error
    else:
        raise AssertionError('it went on')


def full_test_training_twice_makes_the_same_files():
    for kind, name in (('windows', 'model.safetensors'), ('conformer', 'conformer.safetensors')):
        for folder in ('first', 'second'):
            assert run('train.py', '--kind', kind, '--out', folder, '--steps', '2', '2', '--share', '0.01').returncode == 0
        names = [name, 'tokens.txt']
        assert filecmp.cmpfiles('first', 'second', names, shallow=False)[0] == names, kind


def full_test_training_anew_is_as_good():
    """Rounding makes a different training on each machine."""
    assert run('train.py', '--out', '.', timeout=14400).returncode == 0
    done = run('evaluate', '--quick', '--model', os.path.abspath('model.safetensors'), '--tokens', os.path.abspath('tokens.txt'), timeout=3600)
    again, shipped = (float(told(text)['TIDIGITS'][2].split()[0]) for text in (done.stdout, page(ERRORS)))
    assert again <= shipped + WORSE, (again, shipped)


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'full_test_' if '--full' in sys.argv else 'test_', sys.argv[1]))
