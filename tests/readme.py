#!/usr/bin/python3
"""Runs what the texts tell their readers to run, as it stands there and in that order, each text in a folder that looks like the project's
after the build; each page of docs/ in a folder as README.md leaves it, with its exports. Files that a line reads were made by a line
before it; the only exception are the reader's own files, a checkpoint of PyTorch and its list of tokens. Every link inside the project leads somewhere. TAP.

  readme.py SOURCE-ROOT BUILD-FOLDER

Of every code block in the .md files, by its language:
  sh       each line is run, after the exports above it in the same file (SUBSTITUTES replaces a few lines)
  python   is run, after the same exports
  json     is written to case.json, for the lines that follow
  meson    belongs to another project, which tests/package.sh builds
  (none)   shows the output of the block before it: each line must be there; in a line that begins with "took" numbers may differ
Any other block is an error. Of the elements' documentation in plugin/ each launch line |[ ... ]| is run, with the files that README.md made.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

import numpy as np

D = 80
TIMEOUT = 120  # seconds per line
TEXTS = ['examples/README.md', 'examples/denoise/README.md', 'examples/digits/README.md', 'examples/speech-or-not/README.md', 'CONTRIBUTING.md',
         'SECURITY.md', 'tests/README.md', 'NEWS.md']
README_LINES = 120  # a reader decides after one page
TWO_COMMANDS = ['./examples/quickstart', './tests/run']  # the set-up, before anything else

# Lines that would take minutes, run this test again, or open a window: the pattern of a line, and its replacement.
SUBSTITUTES = [
    (r'^(?:\./)?tests/run$', 'tests/run --help'),
    (r'^(?:\./)?tests/run (\w+)$', r'tests/run --help | grep "^  \1 "'),
    (r'^(?:\./)?tests/run full (\w+)$', r'tests/run --help | grep "^    \1 "'),
    (r'\bmeson setup build\b', 'meson setup fresh-build'),
    (r'&& ninja -C build\b', '&& ninja -C fresh-build -n'),
    (r'^ninja -C build$', 'ninja -C build -n'),
    (r'\bmeson test -C build\b', 'meson test -C fresh-build --list'),
    (r'^examples/(denoise|digits)/(train.py|evaluate)\b.*', r'examples/\1/\2 --help'),
    (r'^(?:dpkg-buildpackage|apt-get) .*', 'true'),  # tests/fresh runs them
    (r'^examples/speech-or-not/train.py$', 'examples/speech-or-not/train.py --help'),
    (r'^examples/speech-or-not/evaluate$', 'examples/speech-or-not/evaluate --quick'),
    (r'^nats-server .*', 'true'),  # tests/cluster.py starts the programs of the cluster, which need libnats
    (r'^(build/examples/cluster-\w+) .*', r'[ ! -x \1 ] || \1 --help'),
    (r'^(examples/cluster/run) .*', r'\1 --help'),
    (r'\bauto(?:audio|video)sink\b', 'fakesink'),
    # a second of a microphone, and Ctrl-C
    (r'^gst-launch-1.0 (-[em]) autoaudiosrc\b', r'timeout --foreground --preserve-status -s INT 2 gst-launch-1.0 \1 audiotestsrc is-live=true'),
]


# ---- the folder ----

def checkpoint(path):
    """The reader's trained model: an encoder of two layers with PyTorch's names, in safetensors."""
    rng = np.random.default_rng(1)
    shapes = {'self_attn.in_proj_weight': (3 * D, D), 'self_attn.in_proj_bias': (3 * D,), 'self_attn.out_proj.weight': (D, D),
              'self_attn.out_proj.bias': (D,), 'linear1.weight': (2 * D, D), 'linear1.bias': (2 * D,), 'linear2.weight': (D, 2 * D),
              'linear2.bias': (D,), 'norm1.weight': (D,), 'norm1.bias': (D,), 'norm2.weight': (D,), 'norm2.bias': (D,)}
    header, data = {}, b''
    for name, shape in [('encoder.layers.%d.%s' % (layer, name), shape) for layer in range(2) for name, shape in shapes.items()]:
        part = (rng.standard_normal(shape) / D ** 0.5).astype('<f4').tobytes()
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def furnish(root, build):
    """Makes the current folder look like the project's. Lines write only to examples/, so only that is a copy."""
    for name in ['src', 'plugin', 'tests', 'docs', 'meson.build', 'meson_options.txt']:
        os.symlink(os.path.join(root, name), name)
    os.symlink(build, 'build')
    shutil.copytree(os.path.join(root, 'examples'), 'examples', ignore=shutil.ignore_patterns('output', '__pycache__'))
    checkpoint('checkpoint.safetensors')
    with open('tokens.txt', 'w') as f:  # of its outputs, except the blank
        f.write(''.join('▁t%d\n' % i for i in range(D - 1)))


def check_files(line):
    """The output of a gst-launch line has as many frames as its input, all finite."""
    if 'features.npy ! npyparse' in line and 'attended.npy' in line:
        a, b = np.load('features.npy'), np.load('attended.npy')
        assert a.shape == b.shape and len(a) > 100, (a.shape, b.shape)
        assert np.isfinite(b).all() and not np.array_equal(a, b)
    elif 'location=encoded.npy' in line:
        a, b = np.load('features.npy'), np.load('encoded.npy')
        expected = ((len(a) + 3) // 4, 16) if 'small-encoder' in line else a.shape
        assert b.shape == expected and np.isfinite(b).all() and not np.array_equal(a, b), (a.shape, b.shape)
    elif 'location=features.npy' in line and 'npyparse' not in line:
        a = np.load('features.npy')
        assert a.shape[1] == D and len(a) > 100 and np.isfinite(a).all(), a.shape
    elif 'attended.f32' in line:
        assert os.path.getsize('attended.f32') == os.path.getsize('features.f32') == 4 * np.load('features.npy').size
    elif 'location=weights.npy' in line:
        window = re.search(r'window=(\d+)', line)
        weights = np.load('weights.npy').reshape(-1, 4, int(window[1]) if window else 64)
        assert len(weights) == len(np.load('features.npy')), weights.shape
        assert np.abs(weights.sum(axis=2) - 1).max() < 1e-6
    elif 'location=spoken.npy' in line:
        spoken = np.load('spoken.npy')
        assert spoken.shape[1] == D and len(spoken) > 50 and np.isfinite(spoken).all(), spoken.shape
    elif '.png' in line:
        with open('attention.png', 'rb') as f:
            assert f.read(24) == b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', 1280, 720)


def refuse_text(environment):
    """The quickstart ends, and says why, for a file that is not audio: gst-launch-1.0 may wait for ever."""
    done = subprocess.run(['examples/quickstart', 'meson.build'], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT)
    assert done.returncode == 1 and 'a sound file that GStreamer can decode?' in done.stderr, done.stderr


# ---- the texts ----

class Tap:
    number = failed = 0

    def report(self, name, function, *args):
        """One test: passes when the function raises nothing. Returns what it returns."""
        self.number += 1
        try:
            result = function(*args)
            print('ok %d - %s' % (self.number, name))
            return result
        except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.failed += 1
            print('# %s\nnot ok %d - %s' % (str(error)[-4000:].replace('\n', '\n# '), self.number, name))
            return ''


def run(command, environment):
    """Returns the output of the command. It does not wait for the end of a pipeline after an error."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, start_new_session=True)
    try:
        printed, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0 and 'ERROR' not in printed, printed
    alive = re.findall(r'object-alive, type-name=\(string\)(\w+)', printed)  # GStreamer's tracer of leaks
    if '::' in ' '.join(command):  # gst_parse_launch () of 1.22 leaks a reference to the child, of any element
        alive = [name for name in alive if name != 'GstAttentionHead']
    assert not alive, printed
    return printed


def run_line(line, exports, environment):
    command = re.sub(r'\s+# .*', '', line)
    for pattern, substitute in SUBSTITUTES:
        command = re.sub(pattern, substitute, command)
    printed = run(['sh', '-ec', '\n'.join(exports + [command])], environment)
    check_files(line)
    return printed


def compare(shown, printed):
    def mask(line):
        return re.sub(r'\d+(\.\d+)?', 'N', line) if line.startswith('took') else line
    printed = [mask(line) for line in printed.splitlines()]
    assert printed, 'no command stands before it'
    for line in shown.splitlines():
        assert mask(line) in printed, 'not printed: %s\nbut: %s' % (line, '\n'.join(printed))


def write_case(text):
    json.loads(text)
    with open('case.json', 'w') as f:
        f.write(text)


def refuse(language):
    raise ValueError('no rule runs a block in "%s"' % language)


def blocks(text):
    """(language, text) of each code block."""
    assert text.count('```') % 2 == 0, 'a code block has no end'
    return re.findall(r'^```([^\n]*)\n(.*?)^```$', text, re.M | re.S)


def check_text(tap, name, text, environment, exports=()):
    """All blocks of one file. Returns the exports."""
    exports, printed = list(exports), ''
    for language, block in blocks(text):
        if language == 'sh':
            printed = ''
            for line in block.replace('\\\n', ' ').splitlines():
                if line.startswith('export '):
                    exports.append(line)
                elif line and not line.startswith('#'):
                    printed += tap.report('%s: %s' % (name, line[:100]), run_line, line, exports, environment)
        elif language == 'python':
            printed = tap.report(name + ': python', run, ['sh', '-ec', '\n'.join(exports + ['exec /usr/bin/python3 -c "$0"']), block], environment)
        elif language == 'json':
            tap.report(name + ': json', write_case, block)
        elif language == '':
            tap.report('%s: prints %s' % (name, block.splitlines()[0][:80]), compare, block, printed)
        elif language != 'meson':
            tap.report('%s: %s' % (name, language), refuse, language)
    return exports


def check_readme(text):
    """README.md is short, and its first two commands are the set-up."""
    n = len(text.splitlines())
    assert n <= README_LINES, 'README.md has %d lines, at most %d are wanted' % (n, README_LINES)
    commands = [line.split()[0] for language, block in blocks(text) if language == 'sh' for line in block.splitlines()]
    assert commands[:2] == TWO_COMMANDS, commands[:2]


# ---- links ----

def prose(text):
    """Without its code blocks."""
    return re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)


def anchors(text):
    """Of the headings, as GitHub makes them: lower case, no punctuation, hyphens for spaces, and a number where one comes again."""
    plain = [re.sub(r'[^\w\- ]', '', re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).lower()).replace(' ', '-')
             for heading in re.findall(r'^#+ +(.*?) *$', prose(text), re.M)]
    return [anchor + ('-%d' % plain[:i].count(anchor) if anchor in plain[:i] else '') for i, anchor in enumerate(plain)]


def links(text):
    """The targets of [words](target) and [words]: target, but not inside of code."""
    words = re.sub(r'`[^`\n]*`', '`', prose(text))
    return re.findall(r'\]\(([^)\s]+)[^)]*\)', words) + re.findall(r'^\[[^\]]+\]: *(\S+)', words, re.M)


def check_links(root, name):
    """Each link of a text that stays inside of the project leads to a file of it, and to a heading there. Returns how many there are."""
    with open(os.path.join(root, name)) as f:
        inside = [link for link in links(f.read()) if not re.match(r'[a-z]+:', link)]
    for link in inside:
        path, _, anchor = link.partition('#')
        path = os.path.normpath(os.path.join(os.path.dirname(name), path) if path else name)
        assert not path.startswith('..') and os.path.exists(os.path.join(root, path)), '%s: %s is not there' % (name, link)
        if anchor:
            with open(os.path.join(root, path)) as f:
                assert anchor in anchors(f.read()), '%s: no heading for %s' % (name, link)
    return len(inside)


def check_documentation(tap, path, environment):
    with open(path) as f:
        lines = re.findall(r'\|\[(.*?)\]\|', re.sub(r'^ \* ?', '', f.read(), flags=re.M), re.S)
    for line in (' '.join(line.split()) for line in lines):
        tap.report('%s: %s' % (os.path.basename(path), line[:100]), run_line, line, ['export GST_PLUGIN_PATH=build/plugin'], environment)


def new_folder(parent, root, build):
    """The current folder is a new one, and looks like the project's."""
    folder = tempfile.mkdtemp(dir=parent)
    os.chdir(folder)
    furnish(root, build)
    return folder


def check_readme_and_docs(tap, parent, root, build, docs, environment):
    """README.md, and whatever begins where it ends."""
    folder = new_folder(parent, root, build)
    with open(os.path.join(root, 'README.md')) as f:
        text = f.read()
    tap.report('README.md: at most %d lines, and the two commands first' % README_LINES, check_readme, text)
    exports = check_text(tap, 'README.md', text, environment)
    for name in docs:
        copy = os.path.join(parent, os.path.basename(name))
        shutil.copytree(folder, copy, symlinks=True)
        os.chdir(copy)
        with open(os.path.join(root, name)) as f:
            check_text(tap, name, f.read(), environment, exports)
    os.chdir(folder)
    tap.report('examples/quickstart: a file that is no sound', refuse_text, environment)
    for path in sorted(glob.glob(os.path.join(root, 'plugin', '**', '*.c'), recursive=True)):
        check_documentation(tap, path, environment)


def main(root, build):
    # A reader has all of the system's plugins, and ours from where the text says.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('GST_PLUGIN', 'GST_REGISTRY'))}
    docs = sorted(os.path.relpath(path, root) for path in glob.glob(os.path.join(root, 'docs', '*.md')))
    tap = Tap()
    with tempfile.TemporaryDirectory() as parent:
        environment['GST_REGISTRY_1_0'] = os.path.join(parent, 'registry')
        check_readme_and_docs(tap, parent, root, build, docs, environment)
        for name in TEXTS:
            new_folder(parent, root, build)
            with open(os.path.join(root, name)) as f:
                check_text(tap, name, f.read(), environment)
        os.chdir('/')
    for name in ['README.md'] + docs + TEXTS:
        tap.report(name + ': each link leads somewhere', check_links, root, name)
    print('1..%d' % tap.number)
    return tap.failed != 0 or tap.number == 0


sys.exit(main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])))
