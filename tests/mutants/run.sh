#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh [PATTERN]: apply each mutant of this folder whose name matches, one at a time, to a copy of the source in
# build/mutants, build it and run the tests that are to notice it. One line a mutant: "ok NAME - killed by TEST", or
# "not ok NAME - survived". The last line counts them. ./dev mutants calls it.
#
# First the tests are run without a mutation: a test that fails anyway kills nothing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tree=$root/build/mutants
pattern=${1:-.}
passed=0
failed=0
. "$here/mutate.sh"

say() { # RESULT TEXT
    echo "$1 $2"
    if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# Only what differs, so that the build tool sees each change by its time, and no other.
copy_source() {
    mkdir -p "$tree/build"
    (cd "$root" && find . \( -path ./build -o -path ./.git \) -prune -o -type f -print) | while read -r path; do
        cmp -s "$root/$path" "$tree/$path" && continue
        mkdir -p "$tree/${path%/*}"
        cp "$root/$path" "$tree/$path"
    done
    [ -d "$tree/build/llhttp" ] || [ ! -d "$root/build/llhttp" ] || cp -R "$root/build/llhttp" "$tree/build/llhttp"
}

build() { # PRESET TARGET
    (cd "$tree" &&
        { [ -f "build/$1/build.ninja" ] || cmake --preset "$1"; } &&
        cmake --build "build/$1" --target "$2") >"$tree/build/log" 2>&1
}

# The counts of ./dev test (PIRN_TEST_DIVISOR), and a limit after which a test that hangs has failed.
run_tests() { # PRESET PATTERN
    case $1 in debug) divisor=10 ;; asan) divisor=20 ;; tsan) divisor=50 ;; *) divisor=1 ;; esac
    PIRN_TEST_DIVISOR=$divisor PIRN_TEST_LIMIT_S=60 "$tree/tests/run.sh" "$tree/build/$1" "$2" \
        >>"$tree/build/log" 2>&1
    ! grep -q '^not ok' "$tree/build/$1/logs/results"
}

judge() { # MUTANT NAME
    file=$(field "$1" file)
    preset=$(field "$1" build)
    target=$(field "$1" target)
    suite=$(field "$1" tests)
    if ! build "$preset" "$target" || ! run_tests "$preset" "$suite"; then
        say "not ok" "$2 - $suite does not pass without it"
        return
    fi
    if ! mutate "$1" "$root/$file" >"$tree/$file"; then
        say "not ok" "$2 - its old lines do not occur exactly once in $file"
    elif ! build "$preset" "$target"; then
        say "not ok" "$2 - does not compile"
    elif run_tests "$preset" "$suite"; then
        say "not ok" "$2 - survived $suite"
    else
        say ok "$2 - killed by $(sed -n 's/^not ok //p' "$tree/build/$preset/logs/results" | head -1 | cut -c1-100)"
    fi
    cp "$root/$file" "$tree/$file"
}

copy_source
for mutant in "$here"/*.mutant; do
    name=$(basename "$mutant" .mutant)
    if echo "$name" | grep -qE -e "$pattern"; then
        judge "$mutant" "$name"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
