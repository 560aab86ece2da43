"""Runs Python test functions, each in a temporary folder of its own, and prints TAP.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import shlex
import subprocess
import tempfile
import threading


class Skip(Exception):
    """Raised by a test that cannot be run here, with the reason."""


def run_all(names, prefix, plugin):
    """All functions among `names` (globals ()) that start with the prefix; gst-launch finds the plugin in its folder. Returns the exit status."""
    os.environ['GST_PLUGIN_PATH'] = os.path.abspath(plugin)
    tests = [(name, test) for name, test in names.items() if name.startswith(prefix)]
    failed = 0
    print('1..%d' % len(tests))
    for i, (name, test) in enumerate(tests, start=1):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                test()
                print('ok %d - %s' % (i, name), flush=True)
            except Skip as reason:
                print('ok %d - %s # SKIP %s' % (i, name, reason), flush=True)
            except Exception as error:
                failed += 1
                print('# ' + ('%s: %s' % (type(error).__name__, error)).replace('\n', '\n# '))
                print('not ok %d - %s' % (i, name), flush=True)
            os.chdir('/')
    return int(failed != 0 or not tests)


def launch(line, timeout=60):
    """(success, output up to the first error) of gst-launch-1.0, which does not always return after an error."""
    process = subprocess.Popen(['gst-launch-1.0', '-q', *shlex.split(line)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.start()
    printed = ''
    for part in process.stdout:
        printed += part
        if part.startswith('ERROR: from element'):
            process.kill()
            break
    watchdog.cancel()
    process.stdout.close()
    return process.wait() == 0, printed
