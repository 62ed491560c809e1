#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR [PATTERN]: run the test programs, scripts and canaries of one build; ./dev test calls it once per
# build.
#
# For each test one line, "ok NAME", "not ok NAME - why" or "skip NAME - why", goes to BUILD_DIR/logs/results. On
# stdout: a line per program, and the whole output of one that failed. PATTERN limits it to programs whose name it
# matches (a grep). The exit status says nothing: the lines do.
#
# Environment: PIRN_TEST_DIVISOR=N: long counts are divided by N (./dev test sets it for each build).
# PIRN_TEST_LONG=1: tests of the whole program last minutes where they else last seconds: loads of 10 s, 100,000
# requests of the seeds' mix (divided, too). PIRN_TEST_LIMIT_S=N: after N seconds a test that names no limit has failed.
set -u
build=$(cd "$1" && pwd)
pattern=${2:-.}
here=$(cd "$(dirname "$0")" && pwd)
preset=$(basename "$build")
logs=$build/logs
limit_s=240
[ "${PIRN_TEST_LONG:-0}" != 1 ] || limit_s=1200
limit_s=${PIRN_TEST_LIMIT_S:-$limit_s}
export PIRN_TEST_LIMIT_S="$limit_s"
jobs=$(nproc)

# Sanitizers write their reports to files: a report of a test's own child would else be lost, and each file is a failure
# (judge_reports).
sanitizer_environment() { # LOG_DIR
    export ASAN_OPTIONS="detect_leaks=1:log_path=$1/report:exitcode=66:strict_string_checks=1"
    export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$1/report"
    export TSAN_OPTIONS="log_path=$1/report:exitcode=66:second_deadlock_stack=1:suppressions=$here/support/tsan.supp"
}

# Every report fails the program. A crash that a test provokes in its child on purpose is no exception: run_child() in
# core/child.h sends what the sanitizer says of it to the test, which judges it, and no file is left.
judge_reports() { # NAME LOG_DIR
    for report in "$2"/report.*; do
        if [ -f "$report" ]; then
            echo "not ok $1 - $(grep -Em1 'ERROR|WARNING|runtime error' "$report" || echo "sanitizer report")"
            sed -n '1,60s/^/    /p' "$report" >&2
        fi
    done
}

# Criterion's and our runner's TAP file to result lines. Criterion's tells of every test of the folder.
judge_tap() { # NAME SUITE LOG_DIR STATUS
    [ -f "$3/tap" ] || : >"$3/tap"
    awk -v name="$1" -v suite="$2::" -v status="$4" '
        /^(not )?ok - / {
            good = sub(/^ok - /, "")
            sub(/^not ok - /, "")
            test = why = $0
            sub(/ .*/, "", test)
            if (index(test, suite) != 1) { next }
            sure = 1
            sub(/^[^ ]* */, "", why)
            if (good && sub(/^# SKIP /, "", why)) { print "skip " name " " test " - " why; next }
            if (good) { print "ok " name " " test; next }
            bad = 1
            if (why ~ /^(\([0-9.]+s\))?$/) { why = "an assertion failed" }
            print "not ok " name " " test " - " why
        }
        END {
            if (!sure) { print "not ok " name " - ended with status " status " and reported no test" }
            else if (status != 0 && !bad) { print "not ok " name " - ended with status " status }
        }' "$3/tap"
}

# In $now, without a process.
look_at_clock() {
    read -r now _ </proc/uptime
    now=${now%.*}
}

begin() { # LOG_DIR
    look_at_clock
    started=$now
    sanitizer_environment "$1"
}

# The program of a test's folder, or a twin's own (tests/CMakeLists.txt); in $program.
find_program() { # NAME
    program=$build/tests/${1##*/}
    [ -x "$program" ] || program=$build/tests/${1%/*}_tests
    [ -x "$program" ]
}

run_suite() { # NAME: folder/file
    name=$1
    suite=${1##*/}
    suite=${suite%_test*}
    log=$logs/$name
    begin "$log"
    find_program "$name"
    timeout -k 5 $((limit_s * 2)) "$program" --color=never --tap="$log/tap" --timeout "$limit_s" -j"$jobs" \
        --filter "$suite/*" </dev/null >"$log/output" 2>&1
    status=$?
    { judge_tap "$name" "$suite" "$log" $status; judge_reports "$name" "$log" 2>>"$log/output"; } >"$log/results"
    tell "$name" "$log"
}

# A script prints its own result lines. It gets the build folder as $1 and as PIRN_BUILD_DIR.
run_script() { # SCRIPT
    name=${1#"$here/"}
    log=$logs/$name
    begin "$log"
    PIRN_BUILD_DIR=$build timeout -k 5 $((limit_s * 2)) sh "$1" "$build" </dev/null >"$log/output" 2>&1
    status=$?
    sed -nE "s#^(ok|not ok|skip) (.*)#\1 $name \2#p" "$log/output" >"$log/results"
    if [ ! -s "$log/results" ]; then
        echo "not ok $name - ended with status $status and reported no test" >>"$log/results"
    elif [ $status -ne 0 ] && ! grep -q '^not ok' "$log/results"; then
        echo "not ok $name - ended with status $status" >>"$log/results"
    fi
    judge_reports "$name" "$log" >>"$log/results" 2>>"$log/output"
    tell "$name" "$log"
}

# A canary has a planted bug: the tool must find it in one of ten runs (a race is not met in each).
run_canary() { # PROGRAM
    name=canary/${1##*/}
    log=$logs/$name
    begin "$log"
    found=''
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        case ${1##*/} in
        valgrind_*) timeout 120 valgrind --error-exitcode=99 --leak-check=full "$1" </dev/null >"$log/output" 2>&1
            [ $? -eq 99 ] && found=yes ;;
        *_test_*) timeout 120 "$1" --tap="$log/tap" </dev/null >"$log/output" 2>&1
            grep -q '^not ok' "$log/tap" && found=yes ;;
        *) timeout 120 "$1" </dev/null >"$log/output" 2>&1
            cat "$log"/report.* "$log/output" 2>/dev/null | grep -Eq 'Sanitizer: |runtime error: ' && found=yes ;;
        esac
        [ -n "$found" ] && break
    done
    if [ -n "$found" ]; then
        echo "ok $name"
    else
        echo "not ok $name - the planted bug was not found"
    fi >"$log/results"
    tell "$name" "$log"
}

# In one piece: others are telling, too.
tell() { # NAME LOG_DIR
    look_at_clock
    told=$(awk -v name="$preset $1" -v seconds=$((now - started)) '
        /^ok/ { passed++ }
        /^not ok/ { failed++; lines = lines "\n    " $0 }
        /^skip/ { skipped++; lines = lines "\n    " $0 }
        END {
            printf "%s: %d passed, %d failed, %d skipped, %d s%s\n", name, passed, failed, skipped, seconds, lines
            exit failed > 0
        }' "$2/results") || told="$told
    output ($2/output):
$(tail -n 200 "$2/output" | sed 's/^/    | /')"
    printf '%s\n' "$told"
}

mkdir -p "$logs"
rm -f "$logs/results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/skipped"
{
    # The long ones first, so that no single one runs alone at the end.
    for script in "$here"/*/*_test.sh; do
        # A script runs in the release build only, unless it names others in a line of its own.
        builds=$(sed -n 's/^# Runs in: //p' "$script")
        case " ${builds:=release} " in
        *" $preset "*) echo "script $script" ;;
        *) echo "skip ${script#"$here/"} - runs in: $builds" >>"$work/skipped" ;;
        esac
    done
    printf '%s\n' "$here"/*/*_test.c |
        awk '{ print (/\/services\// ? 0 : /\/core\// ? 2 : 1), $0 }' | sort -s -k1,1n | while read -r _ source; do
        stem=${source#"$here/"}
        stem=${stem%.c}
        if find_program "$stem"; then
            echo "suite $stem"
        else
            echo "$stem" >>"$work/missing"
        fi
        for twin in _c11 _ck _poll _epoll; do
            [ -x "$build/tests/${stem##*/}$twin" ] && echo "suite $stem$twin"
        done
    done
    for source in "$here"/canary/*.c; do
        program=${source##*/}
        program=$build/tests/canary/${program%.c}
        [ -x "$program" ] && echo "canary $program"
    done
} | grep -e "$pattern" >"$work/list"
if [ "$preset" != tsan ] && [ "$preset" != asan ] && ! command -v valgrind >/dev/null; then
    sed -i '/^canary /d' "$work/list"
    echo "skip canary/valgrind - valgrind is not installed" >>"$work/skipped"
fi

# The folder of a test's log, for each in the list.
log_folders() {
    while read -r kind path; do
        case $kind in
        suite) echo "$logs/$path" ;;
        script) echo "$logs/${path#"$here/"}" ;;
        canary) echo "$logs/canary/${path##*/}" ;;
        esac
    done <"$work/list"
}
log_folders | xargs -r rm -rf
log_folders | xargs -r mkdir -p

# One more at a time than there are cores: many tests mostly wait. Who begins takes a token out of the pipe and puts it
# back at the end: a fork for each test, where xargs with a shell of its own for each took 0.2 s of CPU.
mkfifo "$work/tokens"
exec 3<>"$work/tokens"
for _ in $(seq $((jobs + 1))); do echo >&3; done
while read -r kind path; do
    read -r _ <&3
    { "run_$kind" "$path" 3>&-; echo >&3; } &
done <"$work/list"
wait

{
    while read -r kind path; do
        case $kind in
        suite) name=$path ;;
        script) name=${path#"$here/"} ;;
        canary) name=canary/${path##*/} ;;
        esac
        if [ -f "$logs/$name/results" ]; then
            while IFS= read -r line; do echo "$line"; done <"$logs/$name/results"
        else
            echo "not ok $name - never ran"
        fi
    done <"$work/list"
    grep -e "$pattern" "$work/skipped"
    if [ -f "$work/missing" ]; then
        grep -e "$pattern" "$work/missing" | sed 's|^\(.*\)|not ok \1 - was not built|'
    fi
} | sed -E "s/^(ok|not ok|skip) /\1 $preset /" >"$logs/results"
[ -f "$work/missing" ] && grep -e "$pattern" "$work/missing" | sed 's/^/not built: /'
grep -e "$pattern" "$work/skipped"
exit 0
