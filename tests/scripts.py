#!/usr/bin/python3
"""The messages of the scripts if something is missing, the parts of the suite `full`, and the summary's messages about failed tests. TAP.   scripts.py PLUGIN-FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import re
import shutil
import stat
import subprocess
import sys

import tap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODULES = ('cairo', 'gi', 'numpy', 'torch')  # that a machine may lack


def run(command, **environment):
    return subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)


def executable(path, text):
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, 0o755)


# ---- modules ----

def scripts():
    """Those in Python that are run: (path, the modules that it imports)."""
    for path in sorted(glob.glob(os.path.join(ROOT, 'examples', '**', '*'), recursive=True) + glob.glob(os.path.join(ROOT, 'tests', 'golden', '*.py'))):
        if not os.path.isfile(path) or not os.stat(path).st_mode & stat.S_IXUSR:
            continue
        with open(path, errors='replace') as f:
            text = f.read()
        if text.startswith('#!/usr/bin/python3'):
            yield path, text, [name for name in MODULES if re.search(r'^ {0,4}import %s\b' % name, text, re.M)]


def without(module):
    """An environment in which Python does not find a module."""
    os.makedirs('without', exist_ok=True)
    with open(os.path.join('without', module + '.py'), 'w') as f:
        f.write('raise ModuleNotFoundError("No module named %r", name=%r)\n' % (module, module))
    return {'PYTHONPATH': os.path.abspath('without'), 'PYTHONDONTWRITEBYTECODE': '1'}


def test_script_without_its_module_says_what_to_install():
    ran = 0
    for path, _, modules in scripts():
        for module in modules if 'golden' not in path else [name for name in modules if name == 'torch']:
            done = run(['/usr/bin/python3', path], **without(module))
            os.remove(os.path.join('without', module + '.py'))
            ran += 1
            assert 'Traceback' not in done.stdout and done.returncode != 0, (path, module, done.stdout)
            assert 'usage:' in done.stdout or re.search(r"No module named '%s'.*apt-get install.* python3-" % module, done.stdout), (path, done.stdout)
    assert ran >= 12, ran


def test_help_needs_no_torch():
    ran = 0
    for path, text, _ in scripts():
        if 'argparse' in text:
            done = run(['/usr/bin/python3', path, '--help'], **without('torch'))
            assert done.returncode == 0 and 'usage: ' + os.path.basename(path) in done.stdout, done.stdout
            ran += 1
    assert ran >= 6, ran


def test_training_without_torch_says_what_to_install():
    for lesson in ('denoise', 'digits', 'speech-or-not'):
        done = run([os.path.join(ROOT, 'examples', lesson, 'train.py'), '--out', '.'], **without('torch'))
        assert done.returncode == 1 and done.stdout.count('\n') == 1 and 'apt-get install python3-torch' in done.stdout, done.stdout


def test_training_that_could_not_be_written_ends_at_once():
    open('file', 'w').close()
    for lesson in ('denoise', 'digits', 'speech-or-not'):
        done = run([os.path.join(ROOT, 'examples', lesson, 'train.py'), '--out', 'file/folder'], **without('torch'))
        assert done.returncode == 1 and done.stdout == 'train.py: file/folder: Not a directory\n', done.stdout


# ---- packages ----

def bare(names):
    """A PATH as on a system with all programs but sudo, for a user without root and without any of the packages."""
    os.mkdir('bin')
    for folder in ('/bin', '/usr/bin'):
        for name in os.listdir(folder):
            if name not in ('sudo', 'id', 'dpkg-query', 'apt-get') and not os.path.lexists(os.path.join('bin', name)):
                os.symlink(os.path.join(folder, name), os.path.join('bin', name))
    executable('bin/id', '#!/bin/sh\necho 1000\n')
    executable('bin/apt-get', '#!/bin/sh\necho called >>%s\n' % os.path.abspath('called'))
    executable('bin/dpkg-query', '#!/bin/sh\ncase " %s " in *" $4 "*) ;; *) echo installed ;; esac\n' % names)
    return os.path.abspath('bin')


def test_without_root_or_sudo_it_says_one_line_to_copy_and_stops():
    path = bare('meson python3-numpy')
    for command in ('examples/quickstart', 'tests/run'):
        done = run([os.path.join(ROOT, command)], PATH=path)
        lines = done.stdout.splitlines()
        assert done.returncode == 1 and lines[-1] == 'apt-get install --no-install-recommends meson python3-numpy' and len(lines) == 2, done.stdout
    assert not os.path.exists('called')


def test_failed_installation_says_one_line_to_copy():
    path = bare('meson')
    executable('bin/id', '#!/bin/sh\necho 0\n')
    executable('bin/apt-get', '#!/bin/sh\necho no network\nexit 100\n')
    done = run([os.path.join(ROOT, 'examples/quickstart')], PATH=path)
    assert done.returncode == 1 and 'no network' in done.stdout and done.stdout.endswith('\napt-get install --no-install-recommends meson\n'), done.stdout


def test_build_shows_how_far_it_is():
    steps = ''.join('[%d/62] Compiling\nnote: [x]\n' % i for i in range(1, 63))
    done = subprocess.run(['sh', '-c', '. "$1"; counted', 'sh', os.path.join(ROOT, 'tests', 'packages.sh')], input=steps, text=True,
                          stdout=subprocess.PIPE, check=True)
    assert done.stdout.split('\n') == ['  %d of 62' % n for n in (13, 25, 38, 50, 62)] + [''], done.stdout


# ---- the suites ----

def test_unknown_part_is_an_error_that_lists_the_parts():
    path = bare('meson')  # nothing is installed or run for it
    done = run([os.path.join(ROOT, 'tests/run'), 'full', 'golden', 'gold.*'], PATH=path)
    lines = done.stdout.splitlines()
    assert done.returncode == 2 and lines[0] == '"gold.*" is not a part of full. The parts:', done.stdout
    parts = [line.split()[0] for line in lines[1:]]
    assert {'ci', 'kernels', 'valgrind', 'golden', 'armhf', 'fresh'} <= set(parts), done.stdout
    told = run([os.path.join(ROOT, 'tests/run'), '--help']).stdout
    assert re.findall(r'^    (\w+) ', told, re.M) == parts, told


def test_every_part_has_a_function():
    with open(os.path.join(ROOT, 'tests', 'run')) as f:
        functions = set(re.findall(r'^part_(\w+) \(\)', f.read(), re.M)) - {'names', 'fast'}
    told = run([os.path.join(ROOT, 'tests/run'), '--help']).stdout
    assert functions == set(re.findall(r'^    (\w+) ', told, re.M)), functions


def test_parts_after_one_that_fails_still_run_and_leave_their_results():
    path = bare('nothing')
    os.makedirs('copy/tests/fuzz')  # and no golden data
    for name in ('run', 'packages.sh', 'summary.py'):
        shutil.copy(os.path.join(ROOT, 'tests', name), 'copy/tests')
    executable('copy/tests/fuzz/run', '#!/bin/sh\n')
    done = run(['copy/tests/run', 'full', 'golden', 'fuzz'], PATH=path)
    said(['FAILED: golden data of encoder.py\n', '\n1 passed, 5 failed\n'], done)
    with open('copy/build-tests/results/fuzz/result') as f:
        result = f.read()
    assert re.fullmatch(r'== fuzz: commit \S+, \d+ minutes\nfuzz: 1 tests\n1 passed, 0 failed\n', result), result
    assert os.path.exists('copy/build-tests/results/golden/result') and done.returncode == 1, done.stdout


# ---- the summary ----

def summary(logs, taps=(), failed=''):
    """The output of tests/summary.py for logs as meson writes them."""
    with open('x.json', 'w') as f:
        f.writelines(json.dumps(log) + '\n' for log in logs)
    for name, text in taps:
        with open(name, 'w') as f:
            f.write(text)
    if failed:
        with open('failed', 'w') as f:
            f.write(failed)
    return run([os.path.join(ROOT, 'tests', 'summary.py'), '.'])


def said(words, done):
    for word in words:
        assert word in done.stdout, '%s: not in\n%s' % (word, done.stdout)


def test_summary_says_why_a_tap_test_failed():
    done = summary([{'name': 'good', 'result': 'OK', 'stdout': '# seed 1\nok 1 - a\nok 2 - b # SKIP no screen\n1..2\n'},
                    {'name': 'bad', 'result': 'FAIL', 'stdout': '# fine\nok 1 - a\n# 3 is not 4\nnot ok 2 - b\n', 'stderr': 'far away\n' * 50 + 'oh\n'}])
    said(['FAILED: x: bad (FAIL): 1\n  not ok 2 - b\n  # 3 is not 4\n  stderr: ', '  stderr: oh\n', '\n1 skipped\n2 passed, 1 failed\n'], done)
    assert done.returncode == 1 and 'fine' not in done.stdout and done.stdout.count('far away') < 15, done.stdout


def test_summary_says_why_a_check_program_failed():
    out = 'Running suite(s): a\n50%: Checks: 2, Failures: 1, Errors: 0\n../a.c:7:F:general:test_b:0: 3 is not 4\nCheck suite a ran\n'
    done = summary([{'name': 'a', 'result': 'FAIL', 'stdout': out}])
    said(['  ../a.c:7:F:general:test_b:0: 3 is not 4\n', '\n1 passed, 1 failed\n'], done)
    assert 'ran' not in done.stdout, done.stdout


def test_summary_shows_the_last_words_of_what_died():
    done = summary([{'name': 'a', 'result': 'TIMEOUT', 'stdout': 'waiting for b\n'}, {'name': 'c', 'result': 'ERROR', 'stdout': '', 'stderr': 'no memory\n'}])
    said(['a (TIMEOUT): 1\n  waiting for b\n', 'c (ERROR): 1\n  stderr: no memory\n', '\n0 passed, 2 failed\n'], done)


def test_summary_counts_tap_logs_and_what_is_no_test():
    done = summary([], [('package.tap', 'ok 1 - a\n# gone\nnot ok 2 - b\n1..2\n'), ('cut.tap', 'ok 1 - a\n')], 'building gcc\n# no such header\n')
    said(['package.tap (FAIL): 1\n  not ok 2 - b\n  # gone\n', 'FAILED: cut: cut.tap', 'FAILED: building gcc\n  # no such header\n'], done)
    said(['\n2 passed, 3 failed\n'], done)


def test_summary_counts_several_parts_together():
    for part, text in {'a': 'ok 1 - a\n1..1\n', 'b': 'not ok 1 - b\n1..1\n', 'c': 'ok 1 - c # SKIP no compiler\n1..1\n'}.items():
        os.mkdir(part)
        with open(os.path.join(part, part + '.tap'), 'w') as f:
            f.write(text)
    os.mkdir('empty')
    done = run([os.path.join(ROOT, 'tests', 'summary.py'), 'a', 'b', 'c', 'empty'])
    said(['not ok 1 - b', 'FAILED: no test ran\n1 skipped\n1 passed, 2 failed\n'], done)
    assert done.returncode == 1 and run([os.path.join(ROOT, 'tests', 'summary.py'), 'a', 'c']).returncode == 0, done.stdout


if __name__ == '__main__':
    sys.exit(tap.run_all(globals(), 'test_', sys.argv[1]))
