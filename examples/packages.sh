# What the project needs, as Debian 12 names it, and how to get it. Sourced by examples/quickstart and tests/run.
# SPDX-License-Identifier: LGPL-2.1-or-later

packages_build="gcc libc6-dev meson ninja-build pkg-config libjansson-dev libglib2.0-dev libgstreamer1.0-dev
  libgstreamer-plugins-base1.0-dev"
packages_run="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good pocketsphinx-testdata python3 python3-numpy"
packages_test="$packages_run g++ binutils"
packages_ci="clang libclang-rt-14-dev clang-format-14 clang-format"
packages_full="valgrind python3-torch"

# install_packages NAME...: installs those that are missing, as root or through sudo; elsewhere says which are missing and fails.
install_packages () {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian: please see to it that the equivalents of these are installed: $*" >&2
    return 0
  fi
  missing=
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  echo "installing:$missing"
  as_root=
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "missing packages, and neither root nor sudo to install them:$missing" >&2
      return 1
    fi
    as_root=sudo
  fi
  log=$(mktemp)
  if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
      >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "could not install:$missing" >&2
    return 1
  fi
  rm -f "$log"
}
