#!/bin/sh
# Checks which parts know of each other, from the sources and the built libraries. TAP.
#   boundaries.sh SOURCE-ROOT LIBATTN [ATTENTION-PLUGIN SCOPE-PLUGIN]          (CC and CXX: the compilers, "" = none)
# SPDX-License-Identifier: LGPL-2.1-or-later
set -u
root=$1 library=$2 plugin=${3:-} scope=${4:-}
n=0 failed=0

# report NAME OFFENDERS: passes when there are none.
report () {
  n=$((n + 1))
  if [ -z "$2" ]; then
    echo "ok $n - $1"
  else
    echo "$2" | sed 's/^/# /'
    echo "not ok $n - $1"
    failed=1
  fi
}

skip () {
  n=$((n + 1))
  echo "ok $n - $1 # SKIP $2"
}

# upward FILES: the places where one names a function that a file before it defines.
upward () {
  awk 'FNR == 1 { file++ }
    file < ARGC / 2 && /^gst_[a-z_]+ \(/ { level[$1] = file }
    file < ARGC / 2 { next }
    { text = $0
      while (match (text, /gst_[a-z_]+/)) {
        name = substr (text, RSTART, RLENGTH); text = substr (text, RSTART + RLENGTH)
        if (name in level && level[name] < file - (ARGC - 1) / 2) print FILENAME ": " name " () is of a file above"
      } }' "$@" "$@"
}
# The files that a header lists, the uppermost first.
listed () { sed -n "s|^ \* *\([a-z]*\.c\) .*|${1%/*}/\1|p" "$1"; }

exports () { nm -D --defined-only "$1" | awk '{ print $3 }' | sed 's/@.*//'; }
needs () { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
imports () { nm -D --undefined-only "$1" | awk '{ print $2 }' | sed 's/@.*//'; }

# compiles NAME COMPILER...: both headers (attn_sdpa.h includes attn.h), with nothing before it.
compiles () {
  name=$1; shift
  if [ -z "$1" ] || ! command -v "$1" >/dev/null; then
    skip "$name" "no compiler"
    return
  fi
  report "$name" "$(echo '#include "attn_sdpa.h"' | "$@" -I"$root/src" -Wall -Wextra -Wpedantic -Werror -fsyntax-only - 2>&1)"
}

# The program in attn.h, with the parts that it leaves to the reader.
program () {
  echo '#include <stdio.h>'
  echo '#include "attn.h"'
  echo 'static int read_frame (float *frame) { return scanf ("%f", frame); }'
  echo 'static void write_frame (const float *out) { printf ("%f", out[0]); }'
  echo 'int main (void) { float frame[80], out[80];'
  awk '/^ \*\/$/ { on = 0 } on && /^ \*   / { sub(/^ \*   /, ""); print } /^ \* A complete program$/ { on = 1 }' "$root/src/attn.h"
  echo 'return 0; }'
}

case "$(exports "$library")" in
  *attn_stream_push*) missing= ;;
  *) missing="attn_stream_push is not exported" ;;
esac
report exports_carry_the_prefix "$missing$(exports "$library" | grep -v '^attn_')"
report symbols_of_the_package_are_those_exported \
  "$({ exports "$library"; sed -n 's/^ \(.*\)@Base .*/\1/p' "$root/debian/libattn0.symbols"; } | sort | uniq -u)"
report core_imports_no_glib "$(imports "$library" | grep -E '^(g|gst)_')"
report core_imports_no_libm_but_fma_and_sqrt "$(imports "$library" | grep -E '^(exp|log|pow|sin|cos|tan|erf)')"
if [ -n "$plugin" ]; then
  report plugin_keeps_the_core_private "$(exports "$plugin" | grep '^attn_')"
  report plugins_export_what_registers_them_alone "$(exports "$plugin" | grep -v '^gst_plugin_attention_'; exports "$scope" | grep -v '^gst_plugin_attentionscope_')"
  report attention_links_no_video_and_no_text "$(needs "$plugin" | grep -E 'gstvideo|pango|cairo')"
else
  skip plugin_keeps_the_core_private "no plugin"
  skip plugins_export_what_registers_them_alone "no plugin"
  skip attention_links_no_video_and_no_text "no plugin"
fi
report core_includes_no_glib_or_gstreamer "$(grep -lE '#include *[<"](glib|gst|gio)' "$root"/src/*.[ch] "$root"/src/*/*.[ch])"
# stream/encoder*: the reader of a file's entry `encoder`.
report only_safetensors_and_the_reader_of_encoders_know_json "$(grep -l jansson "$root"/src/*.[ch] "$root"/src/*/*.[ch] \
  | grep -vE '/(parameters/safetensors\.c|stream/encoder(_blocks|_keys)?\.[ch])$')"
report plugin_knows_only_the_public_header \
  "$(grep -lE '#include "(base|kernels|parameters|blocks|stream|sdpa)/' "$root"/plugin/*.[ch] "$root"/plugin/*/*.[ch])"
report files_of_a_class_call_those_below_them \
  "$(for header in "$root"/plugin/*-private.h "$root"/plugin/*/*-private.h; do upward $(listed "$header"); done)"
report plugin_reads_no_private_field_of_gstreamer \
  "$(grep -nE -- '->(control_bindings|control_rate|priv|abidata|_gst_reserved)' "$root"/plugin/*.[ch] "$root"/plugin/*/*.[ch])"
compiles header_alone_as_c99 "${CC:-}" -std=c99 -x c
compiles header_alone_as_cxx "${CXX:-}" -std=c++98 -Wno-long-long -Wno-variadic-macros -x c++
program_of='the header has none'
program | grep -q attn_stream_push && program_of=$(program | ${CC:-cc} -std=c99 -x c -I"$root/src" -Wall -Wextra -Werror -fsyntax-only - 2>&1)
report program_of_the_header_compiles "$program_of"

echo "1..$n"
exit $failed
