#!/usr/bin/python3
"""Checks that every test is run, once. TAP.   behaviours.py [--list: print the names of all tests, which are the behaviours]

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def tests_of(path):
    """(the tests that are written, the tests that are run)"""
    with open(path) as f:
        text = f.read()
    written = re.findall(r'^(?:TEST|GOLDEN) \((\w+)', text, re.M) + re.findall(r'^GST_START_TEST \((\w+)\)', text, re.M)
    run = re.findall(r'^ *RUN \((\w+)\)', text, re.M) + re.findall(r'tcase_add_(?:loop_)?test \(\w+, (\w+)', text)
    return {t for t in written if t != 'test'}, collections.Counter(run)


def report(number, name, offenders):
    for offender in sorted(offenders):
        print('# ' + offender)
    print('%s %d - %s' % ('not ok' if offenders else 'ok', number, name))
    return bool(offenders)


def main():
    written, idle, repeated = set(), set(), set()
    for path in sorted(glob.glob(os.path.join(HERE, 'core', '*.c')) + glob.glob(os.path.join(HERE, 'element', '*.c'))):
        name = os.path.relpath(path, HERE)
        tests, run = tests_of(path)
        written |= {'%s: %s' % (name, test) for test in tests}
        idle |= {'%s: %s' % (name, test) for test in tests if run[test] == 0}
        repeated |= {'%s: %s' % (name, test) for test in tests if run[test] > 1}
    if sys.argv[1:] == ['--list']:
        print('\n'.join(sorted(written)))
        return 0
    failed = [report(1, 'every_test_is_run', idle), report(2, 'no_test_is_run_twice', repeated)]
    print('# %d behaviours' % len(written))
    print('1..2')
    return any(failed) or not written


sys.exit(main())
