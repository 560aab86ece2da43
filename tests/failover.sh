#!/bin/sh
# Runs the fail-over example, whose exit code is 0 only if all bits are equal. TAP.   failover.sh EXAMPLE ONE-OF-ITS-PROGRAMS
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
n=0 failed=0 loopback=no spaces=
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/with a space"
export TMPDIR="$folder/with a space" # where the state is
grep ' /run/netns ' /proc/self/mounts >"$folder/mounts"

for transport in tcp udp; do
  n=$((n + 1))
  out=$("$1" --programs "$(dirname "$2")" $transport 2>&1)
  status=$?
  echo "$out" | sed 's/^/# /'
  spaces="$spaces $(echo "$out" | sed -n 's/^two network namespaces, \(.*\) and \(.*\)/\1 \2/p')"
  case "$out" in *"NO NETWORK NAMESPACES"*) loopback=yes ;; esac
  if [ $status = 0 ]; then
    echo "ok $n - killed_receiver_is_replaced_over_$transport"
  else
    echo "not ok $n - killed_receiver_is_replaced_over_$transport"
    failed=1
  fi
done
if [ $loopback = yes ]; then
  echo "ok 3 - in_network_namespaces # SKIP they cannot be made here: it went over the loopback interface"
elif ip netns list | grep -wF "$(echo $spaces | tr ' ' '\n')" | sed 's/^/# left behind: /' | grep .; then
  echo "not ok 3 - in_network_namespaces"
  failed=1
elif ! grep ' /run/netns ' /proc/self/mounts | diff "$folder/mounts" - | sed 's/^/# mounts: /' | grep .; then
  echo "ok 3 - in_network_namespaces"
else
  echo "not ok 3 - in_network_namespaces"
  failed=1
fi
head -c 80 /dev/zero >"$folder/log" # two records: where it begins, and from where again
printf '\0\0\0\0\377\377\377\377' | cat - "$folder/log" >"$folder/far"
if check=$(dirname "$2")/failover-check && ! "$check" 10 "$folder/log" 2>/dev/null && ! "$check" 10 "$folder/far" 2>/dev/null; then
  echo "ok 4 - log_of_nothing_or_of_frames_that_are_not_there_is_refused"
else
  echo "not ok 4 - log_of_nothing_or_of_frames_that_are_not_there_is_refused"
  failed=1
fi
echo 1..4
exit $failed
