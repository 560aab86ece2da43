# The packages that the project needs, by their names in Debian 12 and 13, how to install them, and how to build. Sourced by examples/quickstart and tests/run.
# SPDX-License-Identifier: LGPL-2.1-or-later

packages_build="gcc libc6-dev meson ninja-build pkg-config libjansson-dev libglib2.0-dev libgstreamer1.0-dev
  libgstreamer-plugins-base1.0-dev libpango1.0-dev"
packages_run="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-x pocketsphinx-testdata python3
  python3-gst-1.0 python3-numpy python3-cairo"
packages_test="$packages_run gstreamer1.0-plugins-bad g++ binutils iproute2 asterisk-core-sounds-fr-wav asterisk-core-sounds-ru-wav"
packages_docs="doxygen cmark-gfm" # of docs/build.py
packages_ci="clang libclang-rt-dev clang-format libnats-dev $packages_docs"
# for train.py of examples/denoise and examples/speech-or-not; OpenBLAS is ten times as fast as the library that PyTorch finds otherwise
packages_train="$packages_run python3-torch libopenblas0-serial gstreamer1.0-libav asterisk-core-sounds-en-g722 asterisk-core-sounds-es-g722
  asterisk-core-sounds-it-g722 asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav asterisk-core-sounds-it-wav
  asterisk-prompt-it-menardi-wav sonic-pi-samples"
# and for evaluate of both
packages_evaluate="$packages_run gstreamer1.0-plugins-bad gstreamer1.0-libav asterisk-core-sounds-fr-g722 asterisk-core-sounds-ru-g722
  asterisk-core-sounds-fr-wav asterisk-core-sounds-ru-wav klettres-data codec2-examples asterisk-moh-opsound-g722"
# for train.py and evaluate of examples/digits: synthesizers and their voices, two speakers, and what the recogniser is compared with
packages_digits="$packages_run python3-torch libopenblas0-serial gstreamer1.0-libav asterisk-core-sounds-en-g722 asterisk-core-sounds-es-g722
  asterisk-core-sounds-fr-g722 asterisk-core-sounds-it-g722 saytime espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k
  festvox-us-slt-hts festival-czech festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph festvox-italp16k
  festvox-itapc16k festvox-suopuhe-lj festvox-suopuhe-mv pocketsphinx pocketsphinx-en-us sphinxbase-utils"
packages_full="valgrind llvm openssl python3-torchaudio $packages_train $packages_evaluate $packages_digits"

# as_root: the prefix of a command that needs root: empty, or sudo. Fails if the user is not root and has no sudo.
as_root () {
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && echo sudo; }
}

# install_packages NAME...: installs missing packages, as root or through sudo. If it cannot, it prints how, and fails; on a
# system other than Debian it lists all, and goes on.
install_packages () {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: please see to it that the equivalents of these are installed: $*" >&2
    return 0
  fi
  missing=
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  by_hand="apt-get install --no-install-recommends$missing"
  root=$(as_root) || { printf 'Packages are missing. As root:\n%s\n' "$by_hand" >&2; return 1; }
  echo "installing (a minute or two):$missing"
  log=$(mktemp)
  if ! { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
      >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    printf 'Packages could not be installed:\n%s\n' "$by_hand" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# counted: turns the lines of ninja into a running number on a terminal; elsewhere into a line for each fifth.
counted () {
  last=0
  while read -r line; do
    n=${line#[}; n=${n%%]*}
    case "$n" in
      *[!0-9/]* | '' | [!0-9]* | *[!0-9]) continue ;;
    esac
    fifth=$((5 * ${n%/*} / ${n#*/}))
    if [ -t 1 ]; then
      printf '\r  %s of %s ' "${n%/*}" "${n#*/}"
    elif [ $fifth -gt $last ]; then
      echo "  ${n%/*} of ${n#*/}"
      last=$fifth
    fi
  done
  [ ! -t 1 ] || echo
}

# ninja_counted LOG [ninja's arguments]: builds, and shows the progress. The output of ninja goes to LOG.
ninja_counted () {
  log=$1; shift
  rm -f "$log.failed"
  { NINJA_STATUS='[%f/%t] ' ninja "$@" 2>&1 || echo >"$log.failed"; } | tee "$log" | counted
  ! rm "$log.failed" 2>/dev/null
}
