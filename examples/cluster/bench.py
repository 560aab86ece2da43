"""What `run` needs of the outside: nats-server, processes that end with it, a client of NATS, streams of speech, models.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODEL = os.path.join(ROOT, 'examples', 'models', 'small-encoder.safetensors')
FEATURES, RATE = 80, 100  # of the model
PATIENCE = 600  # seconds until whatever runs is killed


def wait_until(true, seconds, what):
    """""Looks ten times a second."""""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, 'after %g s: %s' % (seconds, what)
        time.sleep(0.1)


def ports_of(attempt):
    """Six ports that no other show takes at the same time, not even while a server is away; below those that the system gives to anybody."""
    first = 10000 + (os.getpid() + 997 * attempt) % 2000 * 10
    return list(range(first, first + 6))


class Client:
    """A few lines of the protocol of NATS: messages as they are stored, and requests. No TLS."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), 10)
        self.socket.settimeout(None)
        self.file = self.socket.makefile('rb')
        self.file.readline()  # INFO
        self.lock, self.heard, self.n = threading.Lock(), {}, 0
        self.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        threading.Thread(target=self.read, daemon=True).start()

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def read(self):
        for line in self.file:
            words = line.split()
            if words[0] == b'PING':
                self.send(b'PONG\r\n')
            elif words[0] in (b'MSG', b'HMSG'):
                data = self.file.read(int(words[-1]) + 2)[:-2]
                head = int(words[-2]) if words[0] == b'HMSG' else 0
                self.heard[int(words[2])](data[:head].decode(), data[head:])

    def subscribe(self, subject, hear):
        """Calls hear (headers, data) in another thread."""
        self.n += 1
        self.heard[self.n] = hear
        self.send(b'SUB %s %d\r\n' % (subject.encode(), self.n))

    def publish(self, subject, headers, data, reply=''):
        head = ('NATS/1.0\r\n' + ''.join('%s: %s\r\n' % item for item in headers.items()) + '\r\n').encode()
        self.send(b'HPUB %s %s %d %d\r\n%s%s\r\n' % (subject.encode(), reply.encode(), len(head), len(head) + len(data), head, data))

    def request(self, subject, headers=None, data=b''):
        """The answer as JSON, or None after five seconds."""
        answers, came = [], threading.Event()
        inbox = '_INBOX.run.%d.%d' % (os.getpid(), self.n)
        self.subscribe(inbox, lambda head, answer: (answers.append(answer), came.set()))
        if headers:
            self.publish(subject, headers, data, inbox)
        else:
            self.send(b'PUB %s %s %d\r\n%s\r\n' % (subject.encode(), inbox.encode(), len(data), data))
        return json.loads(answers[0]) if came.wait(5) and answers[0] else None

    def put(self, subject, headers, data):
        """Stores a message; the answer of JetStream."""
        return self.request(subject, {**headers}, data)

    def api(self, what, **arguments):
        return self.request('$JS.API.' + what, data=json.dumps(arguments).encode())

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)


class Bench:
    """Servers, workers, publishers, subscribers of one show; all of them end with it."""

    def __init__(self, build, small):
        self.programs, self.small = os.path.join(build, 'examples'), small
        self.env = {**os.environ, 'GST_PLUGIN_PATH': os.path.join(build, 'plugin')}
        self.processes, self.servers, self.ports, self.logs = [], {}, [], {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def start(self, *command, log=None, env=None):
        out = open(log, 'ab') if log else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**self.env, **(env or {})})
        if log:
            out.close()
            self.logs[process.pid] = log
        self.processes.append(process)
        return process

    # ---- servers ----

    def serve(self, n=1, host='127.0.0.1', more=''):
        """n servers; clusters know each other by their ports. Another program may be faster to take a port: then others are tried."""
        for attempt in range(5):
            ports = ports_of(attempt)
            self.ports, routes = ports[:n], ports[n:2 * n]
            for i in range(n):
                self.configure(i, host, routes if n > 1 else [], more)
                self.start_server(i)
            if all([self.is_up(i) for i in range(n)]):
                break
            for server in self.servers.values():
                server.kill()
                server.wait()
        else:
            raise AssertionError('nats-server finds no port: ' + open('server0.log').read()[-500:])
        self.env['NATS_URL'] = ','.join('nats://127.0.0.1:%d' % port for port in self.ports)
        if n > 1:
            wait_until(lambda: 'error' not in (self.client().api('INFO') or {'error': 1}), 60, 'the three servers have no leader')

    def name(self, i):
        return 'show-%d-%d' % (os.getpid(), i)

    def configure(self, i, host, routes, more):
        with open('server%d.conf' % i, 'w') as f:
            f.write('server_name: %s\nlisten: "%s:%d"\njetstream {store_dir: "js%d"}\n%s\n' % (self.name(i), host, self.ports[i], i, more))
            if routes:
                f.write('cluster {name: c, listen: "127.0.0.1:%d", routes: [%s]}\n' % (
                    routes[i], ', '.join('"nats://127.0.0.1:%d"' % route for route in routes)))

    def start_server(self, i):
        self.servers[i] = self.start('nats-server', '-c', 'server%d.conf' % i, log='server%d.log' % i)

    def is_up(self, i):
        """Waits until this server answers at its port, and not a server of somebody else."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.servers[i].poll() is None:
            try:
                with socket.create_connection(('127.0.0.1', self.ports[i]), 10) as s, s.makefile('rb') as lines:
                    return json.loads(lines.readline().split(b' ', 1)[1])['server_name'] == self.name(i)
            except (OSError, IndexError):
                time.sleep(0.1)
        return False

    def client(self):
        """Of the first server that is there."""
        return Client(next(self.ports[i] for i in sorted(self.servers) if self.servers[i].poll() is None))

    def leader(self, stream):
        """The number of the server that leads the stream."""
        found = []

        def look():
            name = ((self.client().api('STREAM.INFO.' + stream) or {}).get('cluster') or {}).get('leader')
            found.extend(i for i in self.servers if self.name(i) == name)
            return found
        wait_until(look, 60, '%s has no leader' % stream)
        return found[0]

    # ---- programs ----

    def worker(self, *options, model=MODEL, env=None, prefix=()):
        n = len(self.processes)
        return self.start(*prefix, os.path.join(self.programs, 'cluster-worker'), *map(str, options), model, log='worker%d.log' % n, env=env)

    def publish(self, streams, speed=1, *options):
        """Streams {name: frames}, in real time, or so many times faster; 0: as fast as they go."""
        words = []
        for name, frames in streams.items():
            np.save(name + '.npy', frames)
            live = ' ! identity sync=true' if speed else ''
            words += [name, 'filesrc location=%s ! npyparse frame-rate=%d/1%s' % (os.path.abspath(name + '.npy'), RATE * (speed or 1), live)]
        return self.start(os.path.join(self.programs, 'cluster-publish'), *options, *words, log='publish.log')

    def subscribe(self, streams, *options):
        words = [word for name in streams for word in (name, 'out-%s.npy' % name)]
        return self.start(os.path.join(self.programs, 'cluster-subscribe'), *options, *words, log='subscribe.log')

    def log(self, process):
        with open(self.logs[process.pid]) as f:
            return f.read()

    def finish(self, *processes, seconds=PATIENCE):
        for process in processes:
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise AssertionError('it did not end in %g s: %s; %s' % (seconds, ' '.join(process.args[:3]), self.log(process)[-300:]))
            assert status == 0, '%s: exit code %d: %s' % (process.args[0], status, self.log(process)[-500:])

    # ---- answers ----

    def check(self, streams, layer, presents=None):
        """Every output, bit by bit, against the whole stream at once; absent ones are NaN. The number of frames."""
        for name, frames in streams.items():
            present = presents[name] if presents else None
            expected = layer.forward(frames, present)
            got = np.load('out-%s.npy' % name)
            assert got.shape == expected.shape, '%s: %d outputs, expected %d' % (name, len(got), len(expected))
            there = ~np.isnan(got).all(axis=1)
            missing = np.flatnonzero(~there & (expected != 0).any(axis=1))
            assert len(missing) == 0, '%s: %d outputs are missing, the first is %d' % (name, len(missing), missing[0])
            wrong = np.flatnonzero((got[there].view(np.uint32) != expected[there].view(np.uint32)).any(axis=1))
            assert len(wrong) == 0, '%s: output %d differs' % (name, wrong[0])
        return sum(len(frames) for frames in streams.values())


# ---- streams and models ----

def attn(build):
    os.environ['ATTN_LIBRARY'] = os.path.join(build, 'src', 'libattn.so.0')
    sys.path.insert(0, os.path.join(ROOT, 'src'))
    import attn as module
    return module


def recordings():
    found = [path for pattern in ('/usr/share/asterisk/sounds/*/*.wav', '/usr/share/pocketsphinx/test/data/**/*.wav')
             for path in sorted(glob.glob(pattern, recursive=True)) if os.path.getsize(path) > 30000]
    random.Random(1).shuffle(found)
    return found


def speech(bench, n, seconds):
    """({name: frames}, what they are): n streams; each begins elsewhere in a long talk of all recordings."""
    length, files = round(seconds * RATE), recordings()[:40]
    if files:
        line = ' '.join('filesrc location=%s ! wavparse ! audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! c.' % f for f in files)
        subprocess.run('gst-launch-1.0 -q concat name=c ! logmel bins=%d ! npyenc ! filesink location=talk.npy %s' % (FEATURES, line),
                       shell=True, check=True, env=bench.env, timeout=PATIENCE)
        talk, what = np.load('talk.npy'), 'speech'
    else:
        talk, what = np.random.default_rng(1).standard_normal((length, FEATURES)).astype('f'), 'noise'
    talk = np.concatenate([talk] * (1 + length // len(talk) + 1))
    starts = np.random.default_rng(2).integers(0, len(talk) - length, n)
    return {'s%03d' % i: talk[start:start + length + i % 7].copy() for i, start in enumerate(starts)}, what


def write_layer(path, window, seed=1):
    """One attention layer with random parameters, whose state holds `window` keys and values."""
    rng = np.random.default_rng(seed)
    tensors = {'in_proj_weight': rng.standard_normal((3 * FEATURES, FEATURES)) / 9, 'out_proj.weight': rng.standard_normal((FEATURES, FEATURES)) / 9}
    header, data = {'__metadata__': {'heads': '4', 'window': str(window)}}, b''
    for name, tensor in tensors.items():
        part = tensor.astype('<f4').tobytes()
        header[name] = {'dtype': 'F32', 'shape': tensor.shape, 'data_offsets': [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    with open(path, 'wb') as f:
        f.write(len(text).to_bytes(8, 'little') + text + data)
    return path


def program(name):
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')
