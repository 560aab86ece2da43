"""The shows of `run`. Each breaks something while streams go on, and checks all outputs. See run --help.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import contextlib
import ctypes
import os
import random
import signal
import statistics
import subprocess
import time

import numpy as np

import bench
from bench import MODEL, Bench, attn, speech, wait_until, write_layer

LEASE = 1000  # milliseconds
SAVE = 300


class Skip(Exception):
    """Raised by a show that cannot be given here, with the reason."""


@contextlib.contextmanager
def chdir(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def missing(build):
    if not bench.program('nats-server'):
        return 'there is no nats-server; on Debian: apt-get install nats-server (which starts a service)'
    for name in ('worker', 'publish', 'subscribe'):
        if not os.path.exists(os.path.join(build, 'examples', 'cluster-' + name)):
            return 'there is no cluster-%s in %s: on Debian: apt-get install libnats-dev, then meson compile -C build' % (name, build)
    return None


def run(name, options):
    with Bench(options.build, options.small) as b:
        b.pause = options.pause
        b.attn = attn(options.build)
        return globals()[name](b)


class Watch:
    """When the outputs of each stream come, as they come."""

    def __init__(self, b, streams):
        self.times = {name: [] for name in streams}
        self.client = b.client()
        for name in streams:
            self.client.subscribe('attended.' + name, lambda head, data, times=self.times[name]: times.append(time.monotonic()))

    def outages(self, lease):
        """Seconds without an output that were longer than half a lease."""
        steps = [after - before for times in self.times.values() for before, after in zip(times, times[1:])]
        return sorted(step for step in steps if step > lease / 2000)


def kill_often(b, workers, n, until, *options):
    """Kills a random worker n times, and starts another one, until the streams end. How many times it did."""
    rng, killed = random.Random(3), 0
    while killed < n and until.poll() is None:
        time.sleep(rng.uniform(0.1, 0.8) if b.small else rng.uniform(0.8, 1.6))
        victim = rng.randrange(len(workers))
        workers[victim].kill()
        workers[victim].wait()
        workers[victim] = b.worker(*options)
        killed += 1
    return killed


def show_kills(b):
    n_streams, seconds, n_kills, lease = (6, 6, 5, 500) if b.small else (100, 130, 100, LEASE)
    streams, what = speech(b, n_streams, seconds)
    options = ('--lease', lease, '--save', SAVE)
    b.serve()
    workers = [b.worker(*options) for _ in range(2 if b.small else 3)]
    subscribe = b.subscribe(streams)
    time.sleep(0.5)
    watch = Watch(b, streams)
    publish = b.publish(streams)
    killed = kill_often(b, workers, n_kills, publish, *options)
    b.finish(publish, subscribe)
    n = b.check(streams, b.attn.Encoder(MODEL))
    outages = watch.outages(lease)
    left = ('FEATURES', 'features.*'), ('KV_STATES', '$KV.STATES.>'), ('KV_LEASES', '$KV.LEASES.stream.*')
    wait_until(lambda: not any(b.client().api('STREAM.INFO.' + name, subjects_filter=subjects)['state'].get('subjects') for name, subjects in left),
               60, 'something is left of streams that have ended')
    assert 'came again' not in b.log(subscribe), b.log(subscribe)
    assert killed >= n_kills, 'only %d of %d kills before the streams ended' % (killed, n_kills)
    return '%d streams of %s, %d frames; %d kills; lease %d ms; outages of a stream: %d, median %.2f s, worst %.2f s' % (
        n_streams, what, n, killed, lease, len(outages), statistics.median(outages or [0]), max(outages or [0]))


def show_pause(b):
    seconds, pause = (5, 1.5) if b.small else (20, b.pause)
    streams, what = speech(b, 4, seconds)
    options = ('--lease', 500 if b.small else LEASE, '--save', SAVE)
    b.serve()
    # It does not look at its lease when it goes on: so it writes late, and only the condition of the write refuses that.
    stopped = b.worker(*options, '--late', 3600 * 1000)
    publish, subscribe = b.publish(streams), b.subscribe(streams)
    wait_until(lambda: 'goes on' in b.log(stopped), 30, 'the worker takes no stream')
    time.sleep(1)
    stopped.send_signal(signal.SIGSTOP)
    other = b.worker(*options)
    time.sleep(pause)
    wait_until(lambda: b.log(other).count('goes on') >= len(streams), 60, 'nobody else takes the streams')
    stopped.send_signal(signal.SIGCONT)
    b.finish(publish, subscribe)
    n = b.check(streams, b.attn.Encoder(MODEL))
    late = 'wrong last sequence'  # outputs or states: it does not renew a lease that is over
    wait_until(lambda: late in b.log(stopped), 30, 'nothing was refused: ' + b.log(stopped)[-500:])
    refused = b.log(stopped).count(late)
    assert 'came again' not in b.log(subscribe), b.log(subscribe)
    return '%d frames; stopped for %g s; writes refused: %d' % (n, pause, refused)


def show_large(b):
    window = 8192
    model = write_layer('large.safetensors', window)
    layer = b.attn.Layer(model)
    rng = np.random.default_rng(4)
    streams = {'large%d' % i: rng.standard_normal((window + (8000 if b.small else 16000), bench.FEATURES)).astype('f') for i in range(1 if b.small else 2)}
    b.serve()
    options = ('--lease', 1500, '--save', 300)
    worker = b.worker(*options, model=model)
    subscribe, publish = b.subscribe(streams), b.publish(streams, 40 if b.small else 20, '--frames', '32')
    client = b.client()

    def parts():
        answer = client.api('STREAM.INFO.KV_STATES', subjects_filter='$KV.STATES.>') or {}
        return len(answer.get('state', {}).get('subjects') or {})
    n_kills, most = 1 if b.small else 5, 0
    wait_until(lambda: parts() > 5, 120, 'no state was cut')
    for i in range(n_kills):
        most = max(most, parts())
        worker.kill()
        worker.wait()
        worker = b.worker(*options, model=model)
        time.sleep(2)
    size = (client.api('STREAM.INFO.KV_STATES') or {'state': {'bytes': 0}})['state']['bytes']
    b.finish(publish, subscribe)
    n = b.check(streams, layer)
    return '%d frames, window %d; a state has %.1f MB; entries of STATES %d, %.1f MB; %d kills' % (
        n, window, window * 2 * bench.FEATURES * 4 / 1e6, most, size / 1e6, n_kills)


def outage(b, victim, seconds):
    b.servers[victim].kill()
    b.servers[victim].wait()
    time.sleep(seconds)
    b.start_server(victim)


def show_servers(b):
    down, pause = (3, 4) if b.small else (10, 10)
    streams, what = speech(b, 3 if b.small else 8, 18 if b.small else 60)
    b.serve(3)
    options = ('--lease', LEASE, '--save', SAVE, '--replicas', 3)
    workers = [b.worker(*options) for _ in range(2)]
    wait_until(lambda: all('values in' in b.log(w) for w in workers), 120, 'no worker connects')
    publish, subscribe = b.publish(streams), b.subscribe(streams)
    time.sleep(3)
    leader = b.leader('FEATURES')
    outage(b, random.choice([i for i in range(3) if i != leader]), down)
    time.sleep(pause)
    leader = b.leader('FEATURES')
    first = b.client().api('STREAM.INFO.FEATURES')['state']['first_seq']
    assert first == 1, 'frames were removed up to %d, which a new leader may count otherwise' % first
    outage(b, leader, down)
    b.finish(publish, subscribe)
    n = b.check(streams, b.attn.Encoder(MODEL))
    read_again = sum(b.log(w).count('did not come') for w in workers)
    return '%d frames; three servers; one was killed for %d s, then the leader of FEATURES; read again %d times; lost, and written again: %d' % (
        n, down, read_again, sum(b.log(p).count('servers have lost') for p in workers + [publish]))


def show_lost(b):
    """Acknowledged messages are deleted, as if the servers had lost them."""
    streams, what = speech(b, 2, 20)
    rng = np.random.default_rng(8)
    streams['m'] = rng.standard_normal((40, bench.FEATURES)).astype('f')
    b.serve()
    worker = b.worker('--lease', 500, '--save', 300)
    client = b.client()
    wait_until(lambda: 'error' not in (client.api('STREAM.INFO.KV_STATES') or {'error': 1}), 30, 'the worker creates nothing')
    publish, subscribe = b.publish({name: streams[name] for name in ('s000', 's001')}), b.subscribe(streams)
    put_frames(client, 'm', 0, streams['m'][:10])
    ahead = put_frames(client, 'm', 20, streams['m'][20:30], Attn_Previous=20)
    wait_until(lambda: 'm: frames 10 to 19 did not come' in b.log(worker), 30, 'the worker takes a missing message for a gap')
    client.api('STREAM.MSG.DELETE.FEATURES', seq=ahead)
    for first in range(10, 40, 10):
        put_frames(client, 'm', first, streams['m'][first:first + 10], Attn_Previous=first)
    put_frames(client, 'm', 40, streams['m'][:0], Attn_Previous=40, Attn_End=1)
    losses = (('FEATURES', 'features.s000', publish, 'have lost frames'), ('ATTENDED', 'attended.s001', worker, 'have lost outputs'),
              ('KV_STATES', '$KV.STATES.s000', worker, 'have lost its state'))
    for stream, subject, writer, what in losses:
        # once is not enough: what a saved state has seen is not missed
        wait_until(lambda: what in b.log(writer) or lose_last(client, stream, subject, writer), 60, 'nobody notices that %s loses messages' % subject)
    b.finish(publish, subscribe)
    n = b.check(streams, b.attn.Encoder(MODEL))
    return '%d frames; the last frames, outputs and states were deleted, and written again; a message that came late' % n


def show_gone(b):
    """Frames, and then outputs, that do not come back."""
    rng = np.random.default_rng(10)
    frames, present = rng.standard_normal((60, bench.FEATURES)).astype('f'), np.ones(60, bool)
    present[10:20] = False
    b.serve()
    worker = b.worker('--lease', 500, '--save', 300)
    client = b.client()
    wait_until(lambda: 'error' not in (client.api('STREAM.INFO.KV_STATES') or {'error': 1}), 30, 'the worker creates nothing')
    for first in (0, 20, 30, 40, 50):
        put_frames(client, 'gone', first, frames[first:first + 10], Attn_Previous=first)
    put_frames(client, 'gone', 60, frames[:0], Attn_Previous=60, Attn_End=1)
    b.finish(b.subscribe({'gone': 0}))
    b.check({'gone': frames}, b.attn.Encoder(MODEL), {'gone': present})
    assert 'gone: frames 10 to 19 are lost' in b.log(worker), b.log(worker)
    client.api('STREAM.MSG.DELETE.ATTENDED', seq=client.api('STREAM.INFO.ATTENDED')['state']['first_seq'] + 2)
    late = b.subscribe({'gone': 0})
    assert late.wait(90) == 1, 'lost outputs, and the status is 0: ' + b.log(late)
    lost = [line for process in (worker, late) for line in b.log(process).splitlines() if 'are lost' in line]
    assert len(lost) == 2, b.log(late)
    return '; '.join(lost)


def show_quiet(b):
    """A stream that is quiet for longer than the age of everything. The publisher still has all messages of the short one."""
    rng, age = np.random.default_rng(9), 3
    streams = {name: rng.standard_normal((n + 100, bench.FEATURES)).astype('f') for name, n in (('short', 100), ('long', 300))}
    b.serve()
    worker = b.worker('--lease', 500, '--save', 200, '--age', age)
    subscribe, publishers, pipes = b.subscribe({'short': 0}), {}, {}
    for name, frames in streams.items():
        os.mkfifo(name)
        publishers[name] = b.start(os.path.join(b.programs, 'cluster-publish'), '--frames', '1', name,
                                   'filesrc location=%s ! npyparse frame-rate=100/1' % name, log='publish-%s.log' % name)
        np.save(name + '.npy', frames)
        with open(name + '.npy', 'rb') as f:
            data = f.read()
        pipes[name], rest = open(name, 'wb', buffering=0), 100 * 4 * bench.FEATURES
        pipes[name].write(data[:-rest])
        publishers[name].rest = data[-rest:]
    client = b.client()
    wait_until(lambda: b.log(worker).count('goes on') >= len(streams), 60, 'the worker takes no stream')
    wait_until(lambda: not any(client.api('STREAM.INFO.' + name)['state']['messages'] for name in ('FEATURES', 'ATTENDED', 'KV_STATES')), 90,
               'nothing is forgotten')
    for name, pipe in pipes.items():
        pipe.write(publishers[name].rest)
        pipe.close()
    b.finish(publishers['short'], subscribe)
    b.check({'short': streams['short']}, b.attn.Encoder(MODEL))
    wait_until(lambda: publishers['long'].poll() is not None, 60, 'the publisher of a stream that was forgotten goes on')
    said = b.log(publishers['long']).strip()
    assert 'was forgotten' in said, said
    return 'quiet for longer than %d s: %s' % (age, said.splitlines()[-1])


def lose_last(client, stream, subject, writer):
    """Deletes the last message of the subject, while its writer stands still: else it would not be the last one any more."""
    writer.send_signal(signal.SIGSTOP)
    before, last = None, {}
    while last != before:  # one may be under way
        time.sleep(0.05)
        before, last = last, client.api('STREAM.MSG.GET.' + stream, last_by_subj=subject) or {}
    if 'message' in last and stream.startswith('KV'):  # from which nobody may delete
        client.api('STREAM.PURGE.' + stream, filter=subject)
    elif 'message' in last:
        client.api('STREAM.MSG.DELETE.' + stream, seq=last['message']['seq'])
    writer.send_signal(signal.SIGCONT)


def show_second(b):
    """A second publisher of a stream."""
    streams, what = speech(b, 1, 5)
    b.serve()
    worker = b.worker('--lease', 500, '--save', 300)
    first = b.publish(streams)
    wait_until(lambda: 'goes on' in b.log(worker), 30, 'the worker takes no stream')
    second = b.start(os.path.join(b.programs, 'cluster-publish'), '--continue', 's000', 'filesrc location=s000.npy ! npyparse ! identity sync=true', log='second.log')
    wait_until(lambda: first.poll() is not None or second.poll() is not None, 60, 'two write to one stream')
    said = b.log(first) + b.log(second)
    assert 'another program' in said, said
    return said.strip()[:200]


def ip(*words):
    done = subprocess.run([bench.program('ip') or 'ip', *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skip('ip %s: %s' % (' '.join(words), done.stderr.strip()))


@contextlib.contextmanager
def namespaces():
    """Two network namespaces with a cable between them; this process is in the first. Addresses are those for documentation (RFC 5737)."""
    if os.geteuid() != 0 or not bench.program('ip'):
        raise Skip('network namespaces need root and iproute2')
    here, far = ('attn-%s-%d' % (which, os.getpid()) for which in ('here', 'far'))
    libc, before = ctypes.CDLL(None, use_errno=True), os.open('/proc/thread-self/ns/net', os.O_RDONLY)
    try:
        ip('netns', 'add', here)
        ip('netns', 'add', far)
        ip('link', 'add', 'veth0', 'netns', here, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', far)
        for space, address in ((here, '192.0.2.1/24'), (far, '192.0.2.2/24')):
            ip('-n', space, 'address', 'add', address, 'dev', 'veth0')
            ip('-n', space, 'link', 'set', 'veth0', 'up')
            ip('-n', space, 'link', 'set', 'lo', 'up')
        with open('/run/netns/' + here) as space:
            if libc.setns(space.fileno(), 0) != 0:
                raise Skip('setns: ' + os.strerror(ctypes.get_errno()))
        yield far
    finally:
        libc.setns(before, 0)
        os.close(before)
        for space in (here, far):
            subprocess.run(['ip', 'netns', 'del', space], stderr=subprocess.DEVNULL, check=False)


def show_network(b):
    with namespaces() as far:
        return cut_network(b, far)


def cut_network(b, space):
    streams, what = speech(b, 4, 8 if b.small else 30)
    b.serve(1, '0.0.0.0')
    options = ('--lease', 500 if b.small else LEASE, '--save', SAVE)
    far = b.worker(*options, prefix=(bench.program('ip'), 'netns', 'exec', space),
                   env={'NATS_URL': 'nats://192.0.2.1:%d' % b.ports[0]})
    publish, subscribe = b.publish(streams), b.subscribe(streams)
    wait_until(lambda: 'goes on' in b.log(far), 30, 'the far worker takes no stream')
    near = b.worker(*options)
    wait_until(lambda: 'goes on' in b.log(near), 30, 'the near worker takes no stream')
    ip('link', 'set', 'veth0', 'down')
    time.sleep(3 if b.small else 10)
    ip('link', 'set', 'veth0', 'up')
    b.finish(publish, subscribe)
    n = b.check(streams, b.attn.Encoder(MODEL))
    assert 'is let go' in b.log(far), b.log(far)[-500:]
    return '%d frames; no network for %d s' % (n, 3 if b.small else 10)


def put_frames(client, name, first, frames, **headers):
    head = {'Attn-First': first, 'Attn-Time': first * 10 ** 7, 'Attn-Width': bench.FEATURES, 'Attn-Count': len(frames), 'Attn-Rate': '100/1', **headers}
    answer = client.put('features.' + name, {key.replace('_', '-'): value for key, value in head.items()}, frames.astype('<f4').tobytes())
    assert answer and 'seq' in answer, answer
    return answer['seq']


def show_damaged(b):
    rng = np.random.default_rng(6)
    frames, present = rng.standard_normal((600, bench.FEATURES)).astype('f'), np.ones(600, bool)
    damage = {100: {'Attn_Width': 79}, 150: {'Attn_Count': 9}, 200: {'Attn_First': 'x'}, 250: {'Attn_First': 10 ** 12}, 300: {'Attn_Rate': '0/0'}}
    b.serve()
    options = ('--lease', 500, '--save', 100)
    worker = b.worker(*options)
    client = b.client()
    wait_until(lambda: 'error' not in (client.api('STREAM.INFO.KV_STATES') or {'error': 1}), 30, 'the worker creates nothing')
    there = np.ones(600, bool)  # a second stream, which a pipeline continues, and whose gaps it tells
    there[150:170] = there[-3:] = False
    put_frames(client, 'g', 0, frames[:100])
    np.save('g.npy', np.where(there[:, None], frames, np.float32(np.nan))[100:])
    publish = b.start(os.path.join(b.programs, 'cluster-publish'), '--continue', 'g', 'filesrc location=g.npy ! npyparse frame-rate=100/1 nan-is-gap=true',
                      log='publish.log')
    subscribe = b.subscribe({'d': 0, 'g': 0})
    for i in range(0, 600, 10):
        if i in (400, 410, 420):  # lost
            present[i:i + 10] = False
            continue
        present[i:i + 10] &= i not in damage
        put_frames(client, 'd', i, frames[i:i + 10], **damage.get(i, {}))
        if i == 350:
            put_frames(client, 'd', i - 5, frames[i - 5:i + 10])  # a copy, cut elsewhere
            time.sleep(0.3)
            worker.kill()
            worker.wait()
            b.worker(*options)
    put_frames(client, 'd', 600, frames[:0], Attn_End=1)
    b.finish(publish, subscribe)
    b.check({'d': frames, 'g': frames}, b.attn.Encoder(MODEL), {'d': present, 'g': there})
    aside = client.api('STREAM.INFO.DAMAGED')['state']['messages']
    assert aside == len(damage), '%d messages are set aside, expected %d' % (aside, len(damage))
    return '600 frames; %d messages set aside, 3 lost, a copy; a kill; gaps of a pipeline' % aside


def show_model(b):
    streams, what = speech(b, 2, 4)
    b.serve()
    options = ('--lease', 500, '--save', 100)
    first = b.worker(*options)
    publish, subscribe = b.publish(streams), b.subscribe(streams)
    wait_until(lambda: b.log(first).count('goes on') == 2, 30, 'the worker does not take the streams')
    time.sleep(1)
    first.kill()
    other = b.worker(*options, model=write_layer('other.safetensors', 100))
    wait_until(lambda: b.log(other).count('is let go') == 2, 30, 'the other model was not refused')
    publish.kill()
    publish.wait()
    publish = b.publish(streams, 1, '--again')
    b.worker(*options)
    b.finish(publish, subscribe)
    b.check(streams, b.attn.Encoder(MODEL))
    line = next(line for line in b.log(other).splitlines() if 'is let go' in line)
    return 'the publisher was killed, too; refused: ' + line[:120]


def show_full(b):
    streams, what = speech(b, 2, 10 if b.small else 60)
    b.serve()
    worker = b.worker('--lease', 500, '--save', 100, '--max-bytes', 30000)
    publish = b.publish(streams, 0)
    wait_until(lambda: 'ATTENDED is full' in b.log(worker) and 'waits' in b.log(publish), 90, 'nobody waits')
    info = b.client().api('STREAM.INFO.FEATURES')['state']['bytes']
    time.sleep(0.5)
    subscribe = b.subscribe(streams, '--forget')
    b.finish(publish, subscribe)
    assert info <= 30000, info
    n = b.check(streams, b.attn.Encoder(MODEL))
    rss = next(int(line.split()[1]) for line in open('/proc/%d/status' % worker.pid) if line.startswith('VmHWM')) / 1024
    return '%d frames, %.1f MB, through 30 kB; the worker had at most %.0f MB' % (n, n * bench.FEATURES * 4 / 1e6, rss)


def show_security(b):
    streams, what = speech(b, 1, 2)
    certificate = ('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem', '-days', '1',
                   '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost')
    if not bench.program('openssl'):
        raise Skip('there is no openssl')
    subprocess.run(certificate, check=True, capture_output=True)
    b.serve(1, more='authorization {user: u, password: right}\ntls {cert_file: "cert.pem", key_file: "key.pem"}')
    url = 'nats://u:%s@127.0.0.1:%d'
    b.env.update(NATS_URL=url % ('wrong', b.ports[0]), NATS_CA=os.path.abspath('cert.pem'))
    wrong = b.worker()
    assert wrong.wait(30) == 1 and 'wrong@' not in b.log(wrong), 'a wrong password was taken, or written down: ' + b.log(wrong)
    b.env.pop('NATS_CA')
    b.env['NATS_URL'] = url % ('right', b.ports[0])
    stranger = b.worker()
    assert stranger.wait(30) == 1, 'a certificate of nobody was taken'
    b.env['NATS_CA'] = os.path.abspath('cert.pem')
    b.worker()
    b.finish(b.publish(streams, 0), b.subscribe(streams))
    b.check(streams, b.attn.Encoder(MODEL))
    return 'password: "%s"; certificate: "%s"; with both right: %d frames' % (
        *(b.log(w).strip().splitlines()[-1].split(': ', 2)[-1][:90] for w in (wrong, stranger)), 200)


def cpu(process):
    """Seconds of a processor that it has used."""
    with open('/proc/%d/stat' % process.pid) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def drain(b, streams, n_workers, *options):
    """All frames are there before the workers start. Seconds, seconds of a core of the workers and of the server, entries of STATES."""
    first = b.worker()
    wait_until(lambda: 'error' not in (b.client().api('STREAM.INFO.KV_STATES') or {'error': 1}), 30, 'the worker creates nothing')
    first.terminate()
    b.finish(first)
    b.finish(b.publish(streams, 0))
    before = b.client().api('STREAM.INFO.KV_STATES')['state']['last_seq'], cpu(b.servers[0])
    workers = [b.worker(*options) for _ in range(n_workers)]
    watch = Watch(b, streams)
    b.finish(b.subscribe(streams))
    times = [time for name in streams for time in watch.times[name]]
    return (max(times) - min(times), sum(map(cpu, workers)), cpu(b.servers[0]) - before[1],
            b.client().api('STREAM.INFO.KV_STATES')['state']['last_seq'] - before[0])


def show_speed(b):
    streams, what = speech(b, 16, 5 if b.small else 30)
    layer = b.attn.Encoder(MODEL)
    said = []
    for n_workers, options in ((1, ()), (2, ()), (1, ('--save', 0))):
        with Bench(os.path.dirname(b.programs), b.small) as inner:
            inner.serve()
            inner.attn = b.attn
            took, workers, server, saves = drain(inner, streams, n_workers, *options)
            n = inner.check(streams, layer)
            for log in os.listdir('.'):
                if log.startswith('js') or log.startswith('out-'):
                    subprocess.run(['rm', '-rf', log], check=True)
        said.append('%s: %.0f frames/s, %.0f per core of the workers; the server takes %.0f us per frame, %.0f states/s saved' % (
            ' '.join(('%d worker%s' % (n_workers, 's' * (n_workers > 1)), *map(str, options))), n / took, n / workers, 1e6 * server / n, saves / took))
    start = time.process_time()
    for frames in streams.values():
        layer.forward(frames)
    said.append('attn_forward () alone: %.0f frames/s' % (n / (time.process_time() - start)))
    return '%d streams at once\n%s' % (len(streams), '\n'.join(' ' * 21 + line for line in said))
