#!/usr/bin/python3
"""Holds the table of behaviours in README.md against the tests that there are, and that they are run. TAP.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def tests_of(path):
    """(those that are written, those that are run)"""
    with open(path) as f:
        text = f.read()
    written = re.findall(r'^(?:TEST|GOLDEN) \((\w+)', text, re.M) + re.findall(r'^GST_START_TEST \((\w+)\)', text, re.M)
    run = re.findall(r'^ *RUN \((\w+)\)', text, re.M) + re.findall(r'tcase_add_(?:loop_)?test \(\w+, (\w+)', text)
    return {t for t in written if t != 'test'}, set(run)


def report(number, name, offenders):
    for offender in sorted(offenders):
        print('# ' + offender)
    print('%s %d - %s' % ('not ok' if offenders else 'ok', number, name))
    return bool(offenders)


def main():
    with open(os.path.join(HERE, 'README.md')) as f:
        rows = re.findall(r'^\| (.+?) \| (\S+\.c): `(\w+)` \|$', f.read(), re.M)
    listed = ['%s: %s' % row[1:] for row in rows]
    written, idle = set(), set()
    for path in glob.glob(os.path.join(HERE, 'core', '*.c')) + glob.glob(os.path.join(HERE, 'element', '*.c')):
        name = os.path.relpath(path, HERE)
        tests, run = tests_of(path)
        written |= {'%s: %s' % (name, test) for test in tests}
        idle |= {'%s: %s' % (name, test) for test in tests - run}
    failed = [report(1, 'every_test_has_a_row', written - set(listed)),
              report(2, 'every_row_has_a_test', set(listed) - written),
              report(3, 'every_row_is_there_once', {row for row in listed if listed.count(row) > 1}),
              report(4, 'every_test_is_run', idle)]
    print('# %d behaviours' % len(rows))
    print('1..4')
    return any(failed) or not rows


sys.exit(main())
