#!/bin/sh
# A lesson prints the text in its head, below "Expected output:", up to an empty line. TAP.
#   expect.sh SOURCE PROGRAM
# With GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 the lesson may not leave any object of GStreamer alive either.
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
name=$(basename "$1")
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
expected=$(awk '/^( \*|#|)$/ { on = 0 } on { sub(/^( \*|#|)   /, ""); print } /^( \*|#|) ?Expected output:$/ { on = 1 }' "$1")
got=$("$2" 2>"$log")
status=$?
alive=$(grep 'object-alive, type-name=(string)[A-Z]' "$log")

echo 1..1
if [ -n "$expected" ] && [ "$got" = "$expected" ] && [ $status = 0 ] && [ -z "$alive" ]; then
  echo "ok 1 - $name"
  exit 0
fi
{ echo "exit status $status"; echo "$got"; cat "$log"; } | sed 's/^/# /'
echo "not ok 1 - $name"
exit 1
