#!/bin/sh
# An example prints what its head comment says, below "Expected output:", up to an empty line. TAP.
#   expect.sh SOURCE PROGRAM
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
name=$(basename "$1" .c)
expected=$(awk '/^ \*$/ { on = 0 } on { sub(/^ \*   /, ""); print } /^ \* Expected output:$/ { on = 1 }' "$1")
got=$("$2")
status=$?

echo 1..1
if [ -n "$expected" ] && [ "$got" = "$expected" ] && [ $status = 0 ]; then
  echo "ok 1 - example_$name"
  exit 0
fi
echo "$got" | sed 's/^/# /'
echo "not ok 1 - example_$name"
exit 1
