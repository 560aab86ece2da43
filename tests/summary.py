#!/usr/bin/python3
"""Counts test functions in meson's JSON logs: summary.py DIRECTORY. Last line: "N passed, M failed".

A gst-check program says "Checks: 12, Failures: 1, Errors: 0", a TAP program "ok" or "not ok" per test. A program that failed
without saying which test did (a crash before the first, a time-out) counts as one failure.
SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import re
import sys


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


def main(directory):
    passed = failed = skipped = 0
    for path in sorted(glob.glob(os.path.join(directory, '*.json'))):
        build = os.path.basename(path)[:-len('.json')]
        ran = 0
        with open(path) as log:
            for line in log:
                test = json.loads(line)
                p, f, s = count(test)
                passed, failed, skipped, ran = passed + p, failed + f, skipped + s, ran + p + f
                if f:
                    print('FAILED: %s: %s (%s): %d' % (build, test['name'], test['result'], f))
        print('%s: %d tests' % (build, ran))
    broken = os.path.join(directory, 'failed')
    if os.path.exists(broken):
        with open(broken) as lines:
            for line in lines:
                print('FAILED: ' + line.strip())
                failed += 1
    if passed == 0:
        print('FAILED: no test ran')
        failed += 1
    if skipped:
        print('%d skipped' % skipped)
    print('%d passed, %d failed' % (passed, failed))
    return failed != 0


sys.exit(main(sys.argv[1]))
