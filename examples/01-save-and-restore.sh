#!/bin/sh
# Lesson 1: save the state, and go on in another process.
#
# With state-file=FILE a stream outlives its process: the element writes the window when the pipeline stops, and reads it when the next
# pipeline starts. So two runs over the parts of a stream give the same bits as one run over the whole. Without the state, the second run
# does not know the first 300 frames. Its own first 99 frames, whose windows of 100 reach back there, come out differently. (In C:
# attn_stream_save () and attn_stream_restore (), or the element's action signals save-state and restore-state.)
#
# Expected output:
#   638 frames, cut behind the first 300
#   with the state: two runs give the bits of one
#   without it: other bits
#   without it, from the 100th frame of the second run on: the same bits
#
# SPDX-License-Identifier: LGPL-2.1-or-later
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

frame=$((80 * 4)) # bytes: 80 features, float32
cut=300

# attend IN OUT [PROPERTY=VALUE...]: each call is a process of its own.
attend () {
  in=$1 out=$2; shift 2
  gst-launch-1.0 -q filesrc location="$in" blocksize=$frame ! audio/x-raw,format=F32LE,layout=interleaved,rate=100,channels=80 \
    ! attention heads=4 window=100 "$@" ! filesink location="$out"
}

# compare TITLE A B
compare () {
  if cmp -s "$2" "$3"; then echo "$1the same bits"; else echo "$1other bits"; fi
}

gst-launch-1.0 -q audiotestsrc wave=pink-noise num-buffers=100 ! audio/x-raw,rate=16000 ! logmel ! filesink location=frames
echo "$(($(wc -c <frames) / frame)) frames, cut behind the first $cut"
head -c $((cut * frame)) frames >frames-1
tail -c +$((cut * frame + 1)) frames >frames-2

attend frames whole
attend frames-1 part-1 state-file=stream.state
attend frames-2 part-2 state-file=stream.state
attend frames-2 alone

cat part-1 part-2 >parts
cmp parts whole && echo "with the state: two runs give the bits of one"
compare "without it: " alone part-2
tail -c +$((99 * frame + 1)) alone >alone-later
tail -c +$((99 * frame + 1)) part-2 >part-2-later
compare "without it, from the 100th frame of the second run on: " alone-later part-2-later
