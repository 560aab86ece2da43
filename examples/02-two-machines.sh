#!/bin/sh
# Lesson 2: two machines. One sends features, and the other attends to them. Here two processes on this machine play both.
#
# TCP with GDP loses nothing: caps, timestamps and frames arrive as they left, and the bits are those of attention in a single process. On
# two machines, start the receiver first:
#
#   tcpserversrc host=0.0.0.0 port=5004 ! gdpdepay ! attention ...
#   ... ! gdppay ! tcpclientsink host=RECEIVER port=5004
#
# RTP over UDP keeps to its time, and does not send a lost packet again. Here the sender drops one packet in twenty on purpose. The jitter
# buffer reports which frames are missing (do-lost), and attention counts them as absent: no frame attends to them. So a lost frame changes
# only the frames whose window would have contained it. All others leave with the bits of a network that loses nothing.
#
# Needs gstreamer1.0-plugins-bad for GDP (tests/run installs it), and four seconds.
#
# Expected output:
#   TCP: all frames arrived, the same bits
#   UDP: some frames were lost
#   UDP: every frame whose window arrived whole: the same bits
#
# SPDX-License-Identifier: LGPL-2.1-or-later
set -eu
folder=$(mktemp -d)
receiver=
trap '[ -z "$receiver" ] || kill "$receiver" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"

# receive PIPELINE...: in the background, until its source has a port, $port; -e: an interrupt ends the stream.
receive () {
  gst-launch-1.0 -e -v "$@" >receiver.log 2>&1 &
  receiver=$!
  port=
  while [ -z "$port" ]; do
    kill -0 $receiver || { cat receiver.log; exit 1; }
    sleep 0.05
    port=$(sed -nE 's/.*Gst(TCPServer|UDP)Src:.* (current-)?port = ([1-9][0-9]*)$/\3/p' receiver.log | head -n 1)
  done
}

send () {
  gst-launch-1.0 -q filesrc location=frames.npy ! npyparse ! "$@"
}

# Three seconds of features, and what attention on the spot makes of them.
attention="attention heads=4 window=20"
gst-launch-1.0 -q audiotestsrc wave=pink-noise num-buffers=50 ! audio/x-raw,rate=16000 ! logmel ! npyenc ! filesink location=frames.npy
send $attention ! npyenc ! filesink location=local.npy

receive tcpserversrc host=127.0.0.1 port=0 ! gdpdepay ! $attention ! npyenc ! filesink location=tcp.npy
send gdppay ! tcpclientsink host=127.0.0.1 port="$port"
wait $receiver
receiver=
cmp local.npy tcp.npy && echo "TCP: all frames arrived, the same bits"

receive udpsrc address=127.0.0.1 port=0 caps=application/x-rtp,media=application,clock-rate=90000,encoding-name=X-GST \
  ! rtpjitterbuffer mode=none do-lost=true latency=100 ! rtpgstdepay ! tee name=t \
  t. ! queue ! $attention ! npyenc ! filesink location=udp.npy t. ! queue ! npyenc ! filesink location=arrived.npy
send rtpgstpay config-interval=1 ! identity drop-probability=0.05 ! udpsink host=127.0.0.1 port="$port"
sleep 0.5 # what is still on its way
kill -INT $receiver
wait $receiver
receiver=

/usr/bin/python3 - <<'END'
import numpy as np

frames, arrived, local, udp = (np.load(name + '.npy') for name in ('frames', 'arrived', 'local', 'udp'))
numbers = {frame.tobytes(): t for t, frame in enumerate(frames)}  # no two are alike
came = np.array([numbers[frame.tobytes()] for frame in arrived])
if len(came) < len(frames):
    print('UDP: some frames were lost')
whole = [i for i, t in enumerate(came) if i >= 19 and came[i - 19] == t - 19]
same = np.array_equal(udp[whole], local[came[whole]])
print('UDP: every frame whose window arrived whole:', 'the same bits' if same and whole else 'OTHER BITS, or there is none')
END
