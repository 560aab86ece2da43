#!/usr/bin/python3
"""Runs the examples in Python without a screen, and checks their output. TAP.   examples.py EXAMPLES-FOLDER PLUGIN-FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import wave


def run(*command):
    done = subprocess.run(['/usr/bin/python3', *command], timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def write_tone(path):
    """Three seconds of two tones in turn."""
    with wave.open(path, 'wb') as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes(struct.pack('<48000h', *(int(8000 * math.sin(i * (0.1 if i // 4000 % 2 else 0.3))) for i in range(48000))))


def check_watch(script, speech):
    """Each interval prints a block of four heads, whose numbers are within their bounds."""
    text = run(script, '--fast', '--window', '50', '--sinks', '2', '--interval', '1', speech)
    blocks = re.findall(r'^ *([\d.]+) s, (\d+) frames\n((?:  head .*\n)+)', text, re.M)
    assert [(float(time), int(frames)) for time, frames, _ in blocks] == [(0, 100), (1, 100), (2, 98)], text
    for _, _, heads in blocks:
        rows = re.findall(r'head (\d) +entropy +([\d.]+) bits +mean lag +([\d.]+) frames +peak lag +(\d+) frames +sinks ([\d.]+)', heads)
        assert [row[0] for row in rows] == ['0', '1', '2', '3'], heads
        for _, entropy, mean_lag, peak_lag, sinks in rows:
            assert 0 <= float(entropy) <= math.log2(52) and 0 <= float(mean_lag) <= 49 and int(peak_lag) <= 49 and float(sinks) <= 1


def check_help(script):
    assert 'usage: ' + os.path.basename(script) in run(script, '--help')


def check_error(script, option):
    """A missing file gives a sentence, not a traceback."""
    done = subprocess.run(['/usr/bin/python3', script, option, '/nowhere/speech.wav'], timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and os.path.basename(script) in done.stdout and 'Traceback' not in done.stdout, done.stdout


def check_fade(script):
    """If a head is faded out, the head behind it attends evenly to its 100 frames; the others do not."""
    rows = re.findall(r'^ *([\d.]+) s   gains ([\d. ]+)   entropy ([\d. ]+)$', run(script, '--headless'), re.M)
    assert len(rows) == 20, rows
    faded = set()
    for time, gains, entropy in rows:
        for head, (gain, bits) in enumerate(zip(map(float, gains.split()), map(float, entropy.split()))):
            if gain == 0:
                faded.add(head)
                assert abs(bits - math.log2(100)) < 0.01, (time, head, bits)
            elif gain == 1 and float(time) > 1:
                assert bits < 6.5, (time, head, bits)
    assert faded == {0, 1, 2, 3}, faded


def check_fade_picture(script, speech):
    with tempfile.TemporaryDirectory() as folder:
        picture = os.path.join(folder, 'fade.png')
        run(script, '--picture', picture, speech)
        with open(picture, 'rb') as f:
            assert f.read(24)[16:] == struct.pack('>II', 1280, 720)
        assert os.path.getsize(picture) > 10000


def read_encoder(path):
    """Its blocks, and {tensor: (dtype, shape, bytes)}."""
    with open(path, 'rb') as f:
        header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
        data = f.read()
    metadata = header.pop('__metadata__')
    return json.loads(metadata['encoder']), {name: (t['dtype'], t['shape'], data[slice(*t['data_offsets'])]) for name, t in header.items()}


def check_small_encoder(examples):
    """The file equals the output of its script, and the script's table agrees with lesson 12."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'made.safetensors')
        text = run(os.path.join(examples, 'models', 'small_encoder.py'), path)
        assert 'delay: 16 frames' in text and '13,312 parameters' in text, text
        assert read_encoder(path) == read_encoder(os.path.join(examples, 'models', 'small-encoder.safetensors'))


def main(examples, plugin):
    os.environ['GST_PLUGIN_PATH'] = plugin
    watch, fade = os.path.join(examples, 'watch-heads.py'), os.path.join(examples, 'fade-heads.py')
    with tempfile.TemporaryDirectory() as folder:
        speech = os.path.join(folder, 'speech.wav')
        write_tone(speech)
        checks = [('watch_heads_prints_what_heads_attend_to', check_watch, watch, speech),
                  ('watch_heads_has_help', check_help, watch),
                  ('watch_heads_says_what_is_wrong', check_error, watch, '--fast'),
                  ('fade_heads_fades_each_head_out_and_in', check_fade, fade),
                  ('fade_heads_leaves_a_picture', check_fade_picture, fade, speech),
                  ('fade_heads_has_help', check_help, fade),
                  ('fade_heads_says_what_is_wrong', check_error, fade, '--headless'),
                  ('small_encoder_is_what_its_script_writes', check_small_encoder, examples)]
        failed = 0
        for i, (name, check, *args) in enumerate(checks, start=1):
            try:
                check(*args)
                print('ok %d - %s' % (i, name))
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                failed += 1
                print('# ' + str(error).replace('\n', '\n# '))
                print('not ok %d - %s' % (i, name))
    print('1..%d' % len(checks))
    return failed != 0


sys.exit(main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])))
