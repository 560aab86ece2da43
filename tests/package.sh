#!/bin/sh
# The project as users get it: installed, as a subproject, as a tarball, linked into a program. TAP.
#   package.sh SOURCE-ROOT BUILD-FOLDER          (CC: the compiler; BUILD-FOLDER is built, with the plugin)
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
root=$1 build=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0 failed=0

# check NAME COMMAND...: passes if the command does; otherwise shows its output.
check () {
  name=$1; shift
  n=$((n + 1))
  if "$@" >"$work/log" 2>&1; then
    echo "ok $n - $name"
  else
    tail -n 20 "$work/log" | sed 's/^/# /'
    echo "not ok $n - $name"
    failed=1
  fi
}

install_it () {
  DESTDIR=$work/installed meson install -C "$build" --no-rebuild --quiet || return 1
  libdir=$(dirname "$(find "$work/installed" -name libattn.so)")
  [ -n "$libdir" ] && [ -f "$libdir/gstreamer-1.0/libgstattention.so" ] && [ -f "$libdir/gstreamer-1.0/libgstattentionscope.so" ]
}

use_installed_core () {
  export PKG_CONFIG_PATH="$libdir/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/installed"
  ${CC:-cc} "$root/tests/user.c" -o "$work/user" $(pkg-config --cflags --libs libattn) || return 1
  unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
  [ "$(LD_LIBRARY_PATH=$libdir "$work/user")" = "1 4" ]
}

# Compiled by the line in the head of each lesson.
build_lessons () (
  export PKG_CONFIG_PATH="$libdir/pkgconfig"
  cp "$root"/examples/*.c "$work" && cd "$work" || exit 1
  for lesson in ??-*.c; do
    arguments=$(sed -n 's/^ \* Build:  cc //p' "$lesson")
    case "$arguments" in
      *libattn*) (export PKG_CONFIG_SYSROOT_DIR="$work/installed"; eval "${CC:-cc} $arguments") ;;
      *) eval "${CC:-cc} $arguments" ;;
    esac && [ -x "${lesson%.c}" ] || exit 1
  done
)

use_installed_plugin () {
  export GST_REGISTRY_1_0="$work/registry" GST_PLUGIN_PATH_1_0="$libdir/gstreamer-1.0"
  gst-launch-1.0 -q audiotestsrc num-buffers=2 ! audio/x-raw,format=F32LE,channels=4 ! attention heads=2 ! fakesink
}

# Another project that fetches this one by the wrap file, with the lines of docs/embedding.md.
use_as_subproject () {
  mkdir -p "$work/outer/subprojects"
  sed "s|^url = .*|url = file://$root|; s|^revision = .*|revision = $(git -C "$root" rev-parse HEAD)|" "$root/examples/libattn.wrap" \
    >"$work/outer/subprojects/libattn.wrap"
  cp "$root/tests/user.c" "$work/outer/program.c"
  { echo "project('outer', 'c')"; sed -n '/^```meson/,/^```/p' "$root/docs/embedding.md" | grep -v '^```'; } >"$work/outer/meson.build"
  meson setup "$work/outer/build" "$work/outer" -Doptimization=0 --force-fallback-for=libattn && ninja -C "$work/outer/build" || return 1
  [ "$("$work/outer/build/program")" = "1 4" ]
}

# without NAME: a PATH without this program.
without () (
  mkdir -p "$work/bin"
  IFS=:
  for folder in $PATH; do
    for program in "$folder"/*; do
      [ "${program##*/}" = "$1" ] || [ -e "$work/bin/${program##*/}" ] || ln -s "$program" "$work/bin/" 2>/dev/null
    done
  done
  echo "$work/bin"
)

# The tarball of a release builds on a machine without dpkg-dev.
make_tarball () {
  meson dist -C "$build" --no-tests --allow-dirty --formats=xztar || return 1
  tarball=$(ls -t "$build"/meson-dist/*.tar.xz | head -n 1)
  mkdir "$work/release" && tar -x -f "$tarball" -C "$work/release" --strip-components=1 || return 1
  (PATH=$(without dpkg-architecture)
  meson setup "$work/release/build" "$work/release" --prefix="$work/prefix" -Dplugin=enabled -Dtests=false -Doptimization=0 && ninja -C "$work/release/build")
}

install_release () {
  (unset DESTDIR; meson install -C "$work/release/build" --no-rebuild 2>&1 | cat >"$work/said") # a pipe: see installed.sh
  [ ! -e /etc/debian_version ] || [ -e "$work/prefix/lib/$(${CC:-cc} -print-multiarch)/libattn.so" ]
}

# The exports that `meson install` prints are enough. It prints none if every program looks there already, or for a package.
use_what_install_says () (
  unset LD_LIBRARY_PATH PKG_CONFIG_PATH GST_PLUGIN_PATH_1_0 PYTHONPATH ATTN_LIBRARY
  export GST_REGISTRY_1_0="$work/registry-said"
  eval "$(grep '^ *export ' "$work/said")"
  gst-inspect-1.0 attention && gst-inspect-1.0 attentionscope || exit 1
  ${CC:-cc} "$root/tests/user.c" -o "$work/user" $(pkg-config --cflags --libs libattn) && [ "$("$work/user")" = "1 4" ] || exit 1
  (cd / && /usr/bin/python3 -B -c 'import attn; print(attn.__file__)' | grep "^$work/prefix") || exit 1
  ! DESTDIR="$work/package" meson install -C "$work/release/build" --no-rebuild | grep export
)

use_devenv () (
  unset GST_PLUGIN_PATH GST_PLUGIN_PATH_1_0
  export GST_REGISTRY_1_0="$work/registry-devenv"
  meson devenv -C "$build" gst-inspect-1.0 attention && meson devenv -C "$build" /usr/bin/python3 -B -c 'import attn'
)

check installs_core_and_plugin install_it
check program_uses_the_installed_core use_installed_core
check lessons_build_as_they_say build_lessons
check gst_launch_uses_the_installed_plugin use_installed_plugin
check is_a_subproject use_as_subproject
check tarball_builds make_tarball
check without_dpkg_dev_it_installs_into_the_multiarch_folder install_release
check what_install_says_to_export_is_enough use_what_install_says
check devenv_finds_the_plugin_and_the_module use_devenv

echo "1..$n"
exit $failed
