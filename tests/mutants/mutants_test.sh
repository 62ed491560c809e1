#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each mutant of this folder still fits the source: its file exists, its old lines occur in it once, and the tests that
# are to notice it exist. Whether they do notice it is what ./dev mutants shows, which takes some minutes.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/mutate.sh"

for mutant in "$here"/*.mutant; do
    name=$(basename "$mutant" .mutant)
    source=$root/$(field "$mutant" file)
    suite=$(field "$mutant" tests)
    if [ ! -f "$source" ]; then
        echo "not ok $name - there is no $source"
    elif ! mutate "$mutant" "$source" >/dev/null; then
        echo "not ok $name - its old lines do not occur exactly once in $source"
    elif ! ls "$root/tests/${suite}"_test.* >/dev/null 2>&1; then
        echo "not ok $name - there is no tests/${suite}_test.c"
    elif [ -z "$(field "$mutant" why)" ]; then
        echo "not ok $name - it does not say why"
    else
        echo "ok $name"
    fi
done
