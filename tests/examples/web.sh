#!/bin/sh
# SPDX-License-Identifier: MIT
#
# web.sh: what the scripts share that drive the real pirn-web with curl; they source it, with BUILD_DIR as $1. Results
# are lines, "ok NAME", "not ok NAME - why" or "skip NAME - why", and the count at the end.
# One time is asserted, and in the release build only: from SIGTERM to the exit, 5 seconds, as --help promises. All
# other waits are polled, with a limit that only a failure meets.
set -u
build=${1:-${PIRN_BUILD_DIR:-build/release}}
web=$build/pirn-web
work=$(mktemp -d)
divisor=${PIRN_TEST_DIVISOR:-1}
server=''
helpers=''
failed_count=0
passed_count=0
skipped_count=0
exit_ms_max=5000
slowest_exit_ms=0
keeps_time=no
if [ "$divisor" -eq 1 ] && grep -q '^CMAKE_BUILD_TYPE:.*=Release' "$build/CMakeCache.txt"; then
    keeps_time=yes
fi

clean_up() {
    # shellcheck disable=SC2086 # one id per word
    kill -9 $server $helpers 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

ok() { # NAME
    passed_count=$((passed_count + 1))
    echo "ok $1"
}

not_ok() { # NAME WHY
    failed_count=$((failed_count + 1))
    echo "not ok $1 - $2"
}

skip() { # NAME WHY
    skipped_count=$((skipped_count + 1))
    echo "skip $1 - $2"
}

check() { # NAME WHY COMMAND...
    name=$1
    why=$2
    shift 2
    if "$@"; then ok "$name"; else not_ok "$name" "$why"; fi
}

# Until the command succeeds: 30 seconds at most.
wait_for() { # COMMAND...
    tries=600
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

has() { # FILE TEXT
    grep -qF -- "$2" "$1" 2>/dev/null
}

gone() { # PID
    ! kill -0 "$1" 2>/dev/null
}

lines_are() { # FILE COUNT
    [ "$(wc -l <"$1")" -eq "$2" ]
}

# Start pirn-web on a free port; $server, $port and $url are set.
start() { # FLAGS...
    # Also what clients of the last program wrote: the next ones truncate their files only after they were started.
    rm -rf "$work/out" "$work"/events.* "$work/streamed"
    mkdir -p "$work/tmp"
    TMPDIR=$work/tmp "$web" --listen 127.0.0.1:0 "$@" >"$work/out" 2>"${stderr_to:-$work/err}" &
    server=$!
    wait_for has "$work/out" 'listening on http://127.0.0.1:' || return 1
    url=$(sed -n 's/^listening on //p' "$work/out")
}

start_for() { # NAME FLAGS...
    wanted_for=$1
    shift
    start "$@" || { not_ok "$wanted_for" "did not start: $(cat "$work/err")"; return 1; }
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# SIGTERM, then the exit code in $code and how long it took in $exit_ms. A program that does not end is killed: 137.
stop() {
    asked_ms=$(now_ms)
    kill -TERM "$server"
    (sleep 30; kill -9 "$server") 2>/dev/null &
    watchdog=$!
    wait "$server"
    code=$?
    exit_ms=$(($(now_ms) - asked_ms))
    [ $exit_ms -le $slowest_exit_ms ] || slowest_exit_ms=$exit_ms
    kill "$watchdog" 2>/dev/null
    wait "$watchdog" 2>/dev/null
    server=''
}

check_exit_time() { # NAME MILLISECONDS
    if [ $keeps_time = yes ]; then
        check "$1" "$2 ms" test "$2" -le $exit_ms_max
    else
        echo "# $1: $2 ms"
    fi
}

# What the program says and how it exits, when it does not serve.
exits_with() { # CODE TEXT FLAGS...
    wanted_code=$1
    text=$2
    shift 2
    TMPDIR=$work "$web" "$@" >"$work/refused.out" 2>"$work/refused.err" </dev/null
    [ $? -eq "$wanted_code" ] && lines_are "$work/refused.err" 1 && lines_are "$work/refused.out" 0 &&
        has "$work/refused.err" "$text"
}

get() { # PATH CURL_FLAGS...
    path=$1
    shift
    curl -s --max-time 60 "$@" "$url$path"
}

parked() {
    get '/debug/pirn/?format=json' | sed -nE 's/.*"counts":\{[^}]*"parked":([0-9]+).*/\1/p'
}

parked_is() { # COUNT
    [ "$(parked)" = "$1" ]
}

parked_above() { # COUNT
    [ "$(parked)" -gt "$1" ]
}

flags_of() { # CONFIG
    case $1 in
    reactor) echo --mode threaded --workers 2 --poll reactor ;;
    worker) echo --mode threaded --workers 2 --poll worker ;;
    single) echo --mode single ;;
    esac
}

# Last of all: the slowest of all exits, and the count.
finish() {
    check_exit_time slowest_exit_takes_5_s_at_most $slowest_exit_ms
    echo "$passed_count passed, $failed_count failed, $skipped_count skipped"
    [ $failed_count -eq 0 ]
}
