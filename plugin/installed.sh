#!/bin/sh
# Runs at the end of `meson install`, and prints the variables to export, for folders in which nothing looks by itself.
#   installed.sh LIBDIR FOLDER-OF-THE-MODULE [FOLDER-OF-THE-PLUGINS FOLDER-WHERE-GSTREAMER-LOOKS]
# SPDX-License-Identifier: LGPL-2.1-or-later
set -eu
[ -z "${DESTDIR:-}" ] || exit 0 # a package is being made
PATH=$PATH:/sbin:/usr/sbin
libdir=$1 module=$2 plugins=${3:-} looks=${4:-}
[ "$(id -u)" != 0 ] || ! command -v ldconfig >/dev/null || ldconfig

# say VARIABLE FOLDER
say () {
  echo "  export $1=$2\${$1:+:\$$1}"
}

exports=$(
  [ "$plugins" = "$looks" ] || say GST_PLUGIN_PATH "$plugins"
  ldconfig -p 2>/dev/null | grep -qF "=> $libdir/libattn.so" || say LD_LIBRARY_PATH "$libdir"
  python3 -c 'import sys; sys.exit(sys.argv[1] not in sys.path)' "$module" 2>/dev/null || say PYTHONPATH "$module"
  pkg-config --variable pc_path pkg-config 2>/dev/null | tr : '\n' | grep -qxF "$libdir/pkgconfig" || say PKG_CONFIG_PATH "$libdir/pkgconfig"
)
# Meson hides the output of a script. So print to the output of meson, if that is a terminal or a pipe (a file would be overwritten).
out=/proc/$PPID/fd/1
{ [ -w "$out" ] && [ ! -f "$out" ]; } || out=/dev/stdout
[ -z "$exports" ] || printf 'To use it (or set up with --prefix=/usr, where everything looks):\n%s\n' "$exports" >"$out"
