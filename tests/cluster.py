#!/usr/bin/python3
"""Workers on NATS JetStream: the shows of examples/cluster/run, in their small form, all at once, since they wait more than they compute.
TAP.   cluster.py BUILD-FOLDER [SHOW...]

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import os
import subprocess
import sys

import tap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(sys.argv[1])
SHOWS = {'kills': 'every_frame_is_answered_once_although_workers_are_killed',
         'pause': 'late_writes_of_a_stopped_worker_are_refused',
         'large': 'state_larger_than_a_message_is_cut_and_restored',
         'network': 'worker_without_network_loses_its_streams_and_no_frame',
         'damaged': 'damaged_messages_are_set_aside_and_the_stream_goes_on_as_with_a_gap',
         'model': 'state_of_another_model_is_refused',
         'servers': 'killed_server_costs_no_bit',
         'lost': 'acknowledged_messages_that_are_lost_are_written_again',
         'gone': 'what_is_lost_for_good_is_told',
         'quiet': 'stream_whose_state_was_forgotten_is_refused',
         'second': 'second_publisher_of_a_stream_is_told',
         'full': 'full_streams_make_everybody_wait',
         'security': 'wrong_password_and_unknown_certificate_are_refused'}


def start(show):
    return subprocess.Popen([os.path.join(ROOT, 'examples', 'cluster', 'run'), '--small', '--pause', '1.5', '--build', BUILD, show],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'})


def test_of(process):
    def test():
        said = process.communicate(timeout=250)[0].strip()
        print('# ' + said.splitlines()[-1])
        for reason in ('left out: ', 'run: there is no '):
            if reason in said:
                raise tap.Skip(said.splitlines()[-1])
        assert process.returncode == 0 and ' equal ' in said, said
    return test


def main():
    processes = {show: start(show) for show in sys.argv[2:] or SHOWS}
    try:
        return tap.run_all({SHOWS[show]: test_of(process) for show, process in processes.items()}, '', os.path.join(BUILD, 'plugin'))
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()


sys.exit(main())
