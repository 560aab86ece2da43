#!/usr/bin/python3
"""Counts test functions in logs, and says why tests failed: summary.py DIRECTORY... Last line: "N passed, M failed".

Logs are meson's (NAME.json), TAP (NAME.tap), and the list of other failures (failed: a line each, and lines that begin with #
below it that say why). A gst-check program says "Checks: 12, Failures: 1, Errors: 0", a TAP program "ok" or "not ok" per test. A program
that failed without saying which test did (a crash before the first, a time-out) counts as one failure.
SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import re
import sys

LINES = 12  # the most lines of a test's output, and of stderr


def count(test):
    """(passed, failed, skipped) of one program."""
    out = test.get('stdout', '')
    passed = len(re.findall(r'^ok \d+(?!.*# SKIP)', out, re.M))
    failed = len(re.findall(r'^not ok \d+', out, re.M))
    skipped = len(re.findall(r'^ok \d+.*# SKIP', out, re.M))
    for checks, failures, errors in re.findall(r'Checks: (\d+), Failures: (\d+), Errors: (\d+)', out):
        failed += int(failures) + int(errors)
        passed += int(checks) - int(failures) - int(errors)
    if test['result'] == 'SKIP':
        return 0, 0, max(skipped, 1)
    if test['result'] not in ('OK', 'EXPECTEDFAIL') and failed == 0:
        failed = 1
    if passed + failed + skipped == 0:
        passed = 1  # a program that is one test
    return passed, failed, skipped


def reasons(test):
    """The output of a failed program about its failure, as lines: each failed test, with TAP's remarks before it, and the end of stderr."""
    said, remarks = [], []
    for line in test.get('stdout', '').splitlines():
        if re.match(r'not ok \d+', line):
            said += [line] + remarks[-LINES:]
        elif re.search(r':\d+:[EF]:', line):  # gst-check
            said.append(line)
        elif re.match(r'(#|Bail out!)', line):
            remarks.append(line)
            continue
        remarks = []
    if not said:  # it died, or was ended: its last words
        said = test.get('stdout', '').splitlines()[-LINES:]
    return said + ['stderr: ' + line for line in test.get('stderr', '').splitlines()[-LINES:]]


def programs(path):
    """The contents of a log: dictionaries as meson writes them."""
    with open(path) as log:
        if path.endswith('.json'):
            yield from map(json.loads, log)
        else:
            out = log.read()
            whole = re.search(r'^1\.\.\d', out, re.M) and not re.search(r'^not ok', out, re.M)
            yield {'name': os.path.basename(path), 'stdout': out, 'result': 'OK' if whole else 'FAIL'}


def of(directory):
    """(passed, failed, skipped) of a directory."""
    passed = failed = skipped = 0
    for path in sorted(glob.glob(os.path.join(directory, '*.json')) + glob.glob(os.path.join(directory, '*.tap'))):
        build = os.path.splitext(os.path.basename(path))[0]
        ran = 0
        for test in programs(path):
            p, f, s = count(test)
            passed, failed, skipped, ran = passed + p, failed + f, skipped + s, ran + p + f
            if f:
                print('FAILED: %s: %s (%s): %d' % (build, test['name'], test['result'], f))
                print(''.join('  %s\n' % line[:500] for line in reasons(test)), end='')
        print('%s: %d tests' % (build, ran))
    broken = os.path.join(directory, 'failed')
    if os.path.exists(broken):
        with open(broken) as lines:
            for line in lines:
                if line.startswith('#'):
                    print('  ' + line.rstrip())
                else:
                    print('FAILED: ' + line.strip())
                    failed += 1
    if passed + failed + skipped == 0:
        print('FAILED: no test ran')
        failed += 1
    return passed, failed, skipped


def main(directories):
    passed, failed, skipped = map(sum, zip(*map(of, directories)))
    if skipped:
        print('%d skipped' % skipped)
    print('%d passed, %d failed' % (passed, failed))
    return failed != 0


sys.exit(main(sys.argv[1:]))
