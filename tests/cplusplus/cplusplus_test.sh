#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cplusplus_test.sh BUILD_DIR: C++ on pirn: every public header compiles as C++, and exceptions.cpp runs against the
# archive, against a shared library made of it, with a C++ runtime linked in statically, and as the plug-in of a C
# program.
# Runs in: release asan tsan
set -u
cd "$(dirname "$0")/../.." || exit 2
[ $# -ge 1 ] || { echo "usage: cplusplus_test.sh BUILD_DIR" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 2
case ${build##*/} in
asan) compiler=g++ c_compiler=gcc sanitize=-fsanitize=address,undefined ;;
tsan) compiler=clang++ c_compiler=clang sanitize=-fsanitize=thread ;;
*) compiler=g++ c_compiler=gcc sanitize= ;;
esac
libraries="$(pkg-config --libs libuv libcurl sqlite3) -lpthread -lm"

if ! echo '#include <stdexcept>
int main() { try { throw std::runtime_error("x"); } catch (...) { return 0; } }' |
    "$compiler" -x c++ - -o /dev/null 2>/dev/null; then
    echo "skip cplusplus - $compiler with its library is not installed"
    exit 0
fi
out=$build/tests/cplusplus
mkdir -p "$out" || exit 2

compile_headers() {
    for standard in c++11 c++20; do
        for header in include/pirn.h include/pirn/*.h; do
            echo "#include \"$header\"" | "$compiler" -std=$standard -fsyntax-only -Wall -Wextra -Wpedantic -Werror \
                -Iinclude -I. -x c++ - || return 1
        done
    done
}

# shellcheck disable=SC2086 # flags and libraries are words
build_program() { # NAME FLAG...
    name=$1
    shift
    "$compiler" -std=c++17 -g -O1 -Wall -Wextra -Werror $sanitize -Iinclude -o "$out/$name" "$@" $libraries
}

tell_failure() { # NAME
    echo "not ok $1 - does not build or run"
}

if [ -z "$sanitize" ]; then
    if compile_headers; then echo "ok headers::compile_as_cplusplus"; else tell_failure headers; fi
fi
archive=$build/libpirn.a
{ build_program exceptions tests/cplusplus/exceptions.cpp "$archive" && "$out/exceptions" archive; } ||
    tell_failure archive
[ -z "$sanitize" ] || exit 0
{ build_program static_runtime -static-libstdc++ -static-libgcc tests/cplusplus/exceptions.cpp "$archive" &&
    "$out/static_runtime" static_runtime; } || tell_failure static_runtime
# shellcheck disable=SC2086
{ "$c_compiler" -shared -o "$out/libpirn.so" -Wl,--whole-archive "$archive" -Wl,--no-whole-archive $libraries &&
    build_program shared tests/cplusplus/exceptions.cpp "$out/libpirn.so" -Wl,-rpath,"$out" &&
    "$out/shared" shared; } || tell_failure shared
# shellcheck disable=SC2086
{ build_program plugin.so -DPLUGIN -shared -fPIC tests/cplusplus/exceptions.cpp "$out/libpirn.so" \
    -Wl,-rpath,"$out" && "$c_compiler" -std=c11 -D_GNU_SOURCE -Iinclude -o "$out/plugin_main" \
    tests/cplusplus/plugin_main.c "$out/libpirn.so" -Wl,-rpath,"$out" $libraries &&
    "$out/plugin_main" "$out/plugin.so"; } || tell_failure plugin
