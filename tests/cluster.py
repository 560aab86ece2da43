#!/usr/bin/python3
"""Workers on NATS JetStream (examples/cluster): the shows of examples/cluster/run, in their small form. TAP.   cluster.py BUILD-FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import sys

import tap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'examples', 'cluster'))
sys.dont_write_bytecode = True
import shows  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])


def run(name):
    reason = shows.missing(BUILD)
    if reason:
        raise tap.Skip(reason)
    try:
        print('# ' + shows.run('show_' + name, argparse.Namespace(build=BUILD, small=True, pause=1.5)), flush=True)
    except shows.Skip as skipped:
        raise tap.Skip(skipped)


def test_every_frame_is_answered_once_although_workers_are_killed():
    run('kills')


def test_late_writes_of_a_stopped_worker_are_refused():
    run('pause')


def test_state_larger_than_a_message_is_cut_and_restored():
    run('large')


def test_worker_without_network_loses_its_streams_and_no_frame():
    run('network')


def test_damaged_messages_are_set_aside_and_the_stream_goes_on_as_with_a_gap():
    run('damaged')


def test_state_of_another_model_is_refused():
    run('model')


def test_full_streams_make_everybody_wait():
    run('full')


def test_wrong_password_and_unknown_certificate_are_refused():
    run('security')


sys.exit(tap.run_all(dict(globals()), 'test_', os.path.join(BUILD, 'plugin')))
