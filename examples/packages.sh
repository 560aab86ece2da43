# What the project needs, as Debian 12 names it, and how to get it. Sourced by examples/quickstart and tests/run.
# SPDX-License-Identifier: LGPL-2.1-or-later

packages_build="gcc libc6-dev meson ninja-build pkg-config libjansson-dev libglib2.0-dev libgstreamer1.0-dev
  libgstreamer-plugins-base1.0-dev libpango1.0-dev"
packages_run="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good pocketsphinx-testdata python3 python3-gst-1.0
  python3-numpy python3-cairo"
packages_test="$packages_run gstreamer1.0-plugins-bad g++ binutils iproute2 asterisk-core-sounds-fr-wav asterisk-core-sounds-ru-wav"
packages_ci="clang libclang-rt-14-dev clang-format-14 clang-format"
packages_aarch64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libjansson-dev:arm64"
# what examples/denoise/train.py needs; OpenBLAS is ten times as fast as what PyTorch finds otherwise
packages_train="python3-torch libopenblas0-serial asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav asterisk-core-sounds-it-wav"
packages_full="valgrind $packages_train"

# as_root: what to put in front of a command that needs root: nothing, or sudo. Fails, and says so, where there is neither.
as_root () {
  [ "$(id -u)" = 0 ] && return 0
  command -v sudo >/dev/null && echo sudo && return 0
  echo "neither root nor sudo to install packages" >&2
  return 1
}

# install_packages NAME...: installs those that are missing, as root or through sudo; elsewhere says which are missing and fails.
install_packages () {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian: please see to it that the equivalents of these are installed: $*" >&2
    return 0
  fi
  missing=
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  echo "installing:$missing"
  root=$(as_root) || { echo "missing packages:$missing" >&2; return 1; }
  log=$(mktemp)
  if ! { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
      >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "could not install:$missing" >&2
    return 1
  fi
  rm -f "$log"
}
