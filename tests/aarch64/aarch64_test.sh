#!/bin/sh
# SPDX-License-Identifier: MIT
#
# aarch64_test.sh BUILD_DIR: what depends on the machine, on the other machine: core, cross-compiled, and the tests of
# its contexts and stacks, linked statically, run under qemu-user by the tests' own runner (Criterion is not there for
# it).
#
# What this cannot show: the real processor's memory order, and MADV_GUARD_INSTALL, which qemu 7.2 accepts and ignores:
# the tests that need it are skipped, and the automatic choice must fall back to mprotect.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ $# -ge 1 ] || { echo "usage: aarch64_test.sh BUILD_DIR" >&2; exit 2; }
compiler=${PIRN_AARCH64_CC:-aarch64-linux-gnu-gcc}
emulator=${PIRN_AARCH64_EMULATOR:-qemu-aarch64-static}
flags_of_all='-std=c11 -D_GNU_SOURCE -DPIRN_TEST_OWN_RUNNER=1 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla
 -Werror -fno-omit-frame-pointer -fstack-clash-protection -mbranch-protection=standard -Iinclude -Itests/support
 -iquote core -iquote tests/core'

for tool in "$compiler" "$emulator"; do
    if ! command -v "$tool" >/dev/null; then
        echo "skip aarch64 - $tool is not installed"
        exit 0
    fi
done
# "$compiler" without the other machine's libc finds no headers.
if ! echo '#include <stdio.h>' | "$compiler" -E - >/dev/null 2>&1; then
    echo "skip aarch64 - libc6-dev-arm64-cross is not installed"
    exit 0
fi

out=$(mkdir -p "$1/tests/aarch64" && cd "$1/tests/aarch64" && pwd) || exit 2
rm -f "$out"/*

compile() { # OPTIMISATION SOURCE...: objects named after their source, two at a time
    flags="$flags_of_all $1"
    shift
    # shellcheck disable=SC2016,SC2086 # the inner shell expands its own arguments; flags are words
    printf '%s\n' "$@" | xargs -P 2 -I '{}' sh -c '
        source=$1 out=$2 && shift 2 && exec "$@" -c "$source" -o "$out/$(basename "$source").o"
    ' compile '{}' "$out" "$compiler" $flags
}

# The runner's TAP file to result lines.
results() { # TAP_FILE NAME
    sed -nE -e "s|^ok - ([^ ]*) +# SKIP (.*)|skip $2 \1 - \2|p;t" -e "s|^ok - ([^ ]*).*|ok $2 \1|p;t" \
        -e "s|^not ok - ([^ ]*) *(.*)|not ok $2 \1 - \2|p" "$1"
}

if ! compile -O2 core/*.c core/context_aarch64.S || ! "${compiler%gcc}ar" rcs "$out/libcore.a" "$out"/*.o ||
    ! compile -O0 tests/support/runner.c; then
    echo "not ok compile - core does not compile for aarch64"
    exit 1
fi
# A small share of the long counts, also where the release runs them whole: each instruction costs ten here.
divisor=${PIRN_TEST_DIVISOR:-50}
[ "$divisor" -ge 50 ] || divisor=50
status=0
for name in context stack stack_guard stack_overflow panic tasklet channel select; do
    if ! compile -O0 "tests/core/${name}_test.c" ||
        ! "$compiler" -static -pthread -o "$out/${name}_test" "$out/${name}_test.c.o" "$out/runner.c.o" \
            "$out/libcore.a" -lm; then
        echo "not ok $name - does not build for aarch64"
        status=1
        continue
    fi
    PIRN_TEST_DIVISOR=$divisor timeout 200 "$emulator" "$out/${name}_test" --tap="$out/$name.tap" -j2 \
        >"$out/$name.output" 2>&1
    ended=$?
    results "$out/$name.tap" "$name"
    if [ $ended -ne 0 ]; then
        cat "$out/$name.output"
        grep -q '^not ok' "$out/$name.tap" || echo "not ok $name - ended with status $ended"
        status=1
    fi
done
exit $status
