#!/bin/sh
# Checks that the C sources are formatted by clang-format 14 (Debian 12's), and that no line is longer than 120 columns. TAP.
#   format.sh SOURCE-ROOT          to mend it: clang-format -i src/*.[ch] src/*/*.[ch] plugin/*.[ch] plugin/*/*.[ch] tests/*.[ch] tests/*/*.[ch] examples/*.c examples/*/*.[ch]
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
cd "$1" || exit 1
files=$(ls src/*.[ch] src/*/*.[ch] plugin/*.[ch] plugin/*/*.[ch] tests/*.[ch] tests/*/*.[ch] examples/*.c examples/*/*.[ch])
failed=0

if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
  if clang-format --dry-run -Werror $files 2>&1 | grep -A2 warning: | head -n 20 | sed 's/^/# /' | grep .; then
    echo "not ok 1 - sources_are_formatted"
    failed=1
  else
    echo "ok 1 - sources_are_formatted"
  fi
else
  echo "ok 1 - sources_are_formatted # SKIP no clang-format 14"
fi

long=$(awk 'length > 120 { print "# " FILENAME ":" FNR ": " length " columns" }' $files)
if [ -z "$long" ]; then
  echo "ok 2 - no_line_is_longer_than_120_columns"
else
  echo "$long"
  echo "not ok 2 - no_line_is_longer_than_120_columns"
  failed=1
fi
echo "1..2"
exit $failed
