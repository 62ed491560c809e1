#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install_test.sh BUILD_DIR: what `cmake --install` puts into a prefix, as a user of the library sees it. One line per
# test: "ok NAME", "not ok NAME - why" or "skip NAME - why".
set -u
build=$(cd "${1:-${PIRN_BUILD_DIR:-build/release}}" && pwd) || exit 2
source=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

tell() { # NAME STATUS WHY
    if [ "$2" -eq 0 ]; then
        echo "ok $1"
    else
        echo "not ok $1 - $(printf '%s' "$3" | tr '\n' ' ' | cut -c1-300)"
        failed=1
    fi
}

if grep -Eq '^PIRN_SANITIZE:[A-Z]+=.+' "$build/CMakeCache.txt"; then
    echo "skip install - a build with a sanitizer is not installed"
    exit 0
fi
prefix=$work/prefix
if ! cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1; then
    tell install_succeeds 1 "$(tail -3 "$work/log")"
    exit 1
fi
library=$(find "$prefix" -name libpirn.a)
web=$prefix/bin/pirn-web

# Goal: a program may have an llhttp, or anything else, of its own beside libpirn.a.
# Method: nm: each global name that the archive defines begins with pirn_ or pn_.
nm --defined-only --extern-only "$library" >"$work/names" 2>"$work/log"
status=$?
[ "$(wc -l <"$work/names")" -gt 100 ] || status=1
alien=$(awk 'NF == 3 && $3 !~ /^(pirn|pn)_/ { print $3 }' "$work/names" | head -5)
[ -z "$alien" ] || status=1
tell names_are_prefixed $status "${alien:-nm failed}"

# Goal: what is built tells nothing of the machine that built it.
# Method: the source's and the build's folder in no string of the archive and of pirn-web, debug information included.
strings -a "$library" >"$work/strings"
[ ! -x "$web" ] || strings -a "$web" >>"$work/strings"
found=$(grep -F -e "$source" -e "$build" "$work/strings" | head -3)
[ -s "$work/strings" ] && [ -z "$found" ]
tell paths_of_the_build_are_nowhere $? "${found:-no strings}"

# Goal: programs are hardened as Debian's are.
# Method: readelf: position-independent, relro, immediate binding, no executable stack; functions check their canary.
if [ -x "$web" ] && [ -e "$source/dev" ]; then
    readelf -hdlW "$web" >"$work/elf" 2>&1
    missing=""
    grep -q 'Type:.*DYN' "$work/elf" || missing="$missing PIE"
    grep -q 'GNU_RELRO' "$work/elf" || missing="$missing RELRO"
    grep -Eq 'BIND_NOW|Flags:.*NOW' "$work/elf" || missing="$missing BIND_NOW"
    grep -Eq 'GNU_STACK.* RW ' "$work/elf" || missing="$missing noexecstack"
    nm -u "$library" 2>/dev/null | grep -q '__stack_chk_fail' || missing="$missing stack-protector"
    [ -z "$missing" ]
    tell programs_are_hardened $? "missing:$missing"
fi

# Goal: a user's program, in C and in C++, builds against the prefix by pkg-config and by CMake, and runs.
# Method: one source that is both languages: a tasklet, a query, an HTTP server's options; all warnings are errors.
cat >"$work/user.c" <<'PROGRAM'
#include <stdio.h>

#include <pirn.h>
#include <pirn/http.h>
#include <pirn/sql.h>

static int run(void *arg) {
    pirn_sql_options options;
    pirn_sql_pool *pool = NULL;
    pirn_sql_rows *rows = NULL;
    pirn_http_options http;
    pirn_http_server *server;
    (void)arg;
    pirn_http_options_init(&http);
    server = pirn_http_server_create(&http);
    pirn_http_server_close(server, PIRN_NOW);
    pirn_sql_options_init(&options);
    options.connections = 1;
    if (pirn_sql_open(":memory:", &options, &pool, NULL, 0) != 0 ||
        pirn_sql_query(pool, "select 6 * 7", NULL, 0, &rows, PIRN_FOREVER) != 0) {
        return 1;
    }
    printf("%d\n", (int)pirn_sql_at(rows, 0, 0).integer);
    pirn_sql_rows_drop(rows);
    pirn_sql_close(pool);
    return 0;
}

int main(void) {
    return pirn_run(NULL, run, NULL);
}
PROGRAM
cp "$work/user.c" "$work/user.cpp"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name libpirn.pc)")
export PKG_CONFIG_PATH
build_and_run() { # NAME COMPILER SOURCE FLAGS...
    name=$1 compiler=$2 program=$3
    shift 3
    if ! command -v "$compiler" >/dev/null; then
        echo "skip $name - $compiler is not installed"
        return
    fi
    # shellcheck disable=SC2046 # pkg-config's answer is words
    "$compiler" "$@" -Wall -Wextra -Werror "$program" $(pkg-config --cflags --libs libpirn) -o "$work/user" \
        >"$work/log" 2>&1 && [ "$("$work/user" 2>&1)" = 42 ]
    tell "$name" $? "$(cat "$work/log")"
}
build_and_run program_in_c "${CC:-cc}" "$work/user.c" -std=c11 -Wpedantic
build_and_run program_in_cpp "${CXX:-c++}" "$work/user.cpp" -std=c++11
build_and_run program_in_cpp_20 "${CXX:-c++}" "$work/user.cpp" -std=c++20

# Without a compiler's test: the languages' own compilers were used above.
for language in C CXX; do
    command -v c++ >/dev/null || [ $language = C ] || continue
    suffix=c
    [ $language = C ] || suffix=cpp
    mkdir "$work/$language"
    cp "$work/user.$suffix" "$work/$language"
    cat >"$work/$language/CMakeLists.txt" <<LISTS
cmake_minimum_required(VERSION 3.18)
project(user $language)
find_package(pirn 0.1 REQUIRED)
add_executable(user user.$suffix)
target_link_libraries(user PRIVATE pirn::pirn)
LISTS
    (cd "$work/$language" && cmake -DCMAKE_PREFIX_PATH="$prefix" . && cmake --build .) >"$work/log" 2>&1 &&
        [ "$("$work/$language/user" 2>&1)" = 42 ]
    tell "cmake_project_in_$language" $? "$(tail -5 "$work/log")"
done
exit $failed
