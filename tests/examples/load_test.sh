#!/bin/sh
# SPDX-License-Identifier: MIT
#
# load_test.sh BUILD_DIR: the real pirn-web under 200 busy connections, in its three configurations: no request fails,
# and what the load made the program take it gives back. Prints "ok NAME", "not ok NAME - why" or "skip NAME - why".
# Each load lasts a second, with PIRN_TEST_LONG=1 ten. They are promises of the program as shipped: other builds skip.
set -u
build=${1:-${PIRN_BUILD_DIR:-build/release}}
work=$(mktemp -d)
server=''
helper=''
seconds=1
[ "${PIRN_TEST_LONG:-0}" != 1 ] || seconds=10
trap 'kill -9 $server $helper 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

if ! grep -q '^CMAKE_BUILD_TYPE:.*=Release' "$build/CMakeCache.txt"; then
    echo "skip load - a promise of the release build"
    exit 0
fi
if ! command -v wrk >/dev/null; then
    echo "skip load - wrk is not installed"
    exit 0
fi

check() { # NAME WHY CONDITION...
    name=$1
    why=$2
    shift 2
    if [ "$@" ]; then echo "ok $name"; else echo "not ok $name - $why"; fi
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

wait_for_line() { # FILE TEXT
    tries=600
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

# Flags as pirn-web has them; $server and $url are set.
start() { # FLAGS...
    "$build/pirn-web" --listen 127.0.0.1:0 --http-probability 0 --chat-probability 0 "$@" >"$work/out" 2>"$work/err" &
    server=$!
    wait_for_line "$work/out" listening || return 1
    url=$(sed -n 's/^listening on //p' "$work/out")
}

parked() {
    curl -s --max-time 20 "$url/debug/pirn/?format=json" | sed -nE 's/.*"counts":\{[^}]*"parked":([0-9]+).*/\1/p'
}

descriptors() {
    find "/proc/$server/fd" -type l | wc -l
}

rss_kib() {
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$server/status"
}

# What is held now, the look itself included. The loads' connections have ended a moment before.
held() {
    echo "$(parked) parked, $(descriptors) descriptors"
}

# Until half a second passes without a change: the floor that the loads are measured from.
settle() {
    floor=$(held)
    unchanged=0
    while [ $unchanged -lt 5 ]; do
        sleep 0.1
        seen=$(held)
        unchanged=$((unchanged + 1))
        [ "$seen" = "$floor" ] || unchanged=0
        floor=$seen
    done
}

# Two seconds at most; what is held then is in $seen, and $grew has the memory. A burst's stacks are kept for 0.2 s.
is_back() {
    give_up=$(($(now_ms) + 2000))
    while seen=$(held); grew=$(($(rss_kib) - rss_before)); [ "$seen" != "$floor" ] || [ $grew -gt 2048 ]; do
        [ "$(now_ms)" -lt $give_up ] || return 1
        sleep 0.05
    done
}

load() { # NAME PATH
    wrk -t1 -c200 "-d${seconds}s" "$url$2" >"$work/wrk" 2>&1
    is_back
    check "$1/is_back_where_it_was_within_2_s" "now $seen, was $floor" "$seen" = "$floor"
    echo "# $1: $(sed -nE 's/^ *([0-9]+ requests in [^,]*),.*/\1/p' "$work/wrk"), memory grew by $grew KiB"
    failures=$(grep -cE 'Socket errors|Non-2xx' "$work/wrk")
    served=$(sed -nE 's/^ *([0-9]+) requests in .*/\1/p' "$work/wrk")
    check "$1/no_request_fails" "$(tr '\n' ' ' <"$work/wrk")" "$failures" -eq 0 -a "${served:-0}" -gt 200
    check "$1/memory_is_within_2_mib" "grew by $grew KiB from $rss_before" $grew -le 2048
}

# SIGTERM, then the exit code in $code and how long it took in $took_ms.
stop() {
    asked=$(now_ms)
    kill -TERM "$server"
    (sleep 20; kill -9 "$server") >/dev/null 2>&1 &
    watchdog=$!
    wait "$server"
    code=$?
    took_ms=$(($(now_ms) - asked))
    kill "$watchdog" 2>/dev/null
    wait "$watchdog" 2>/dev/null
    server=''
}

test_config() { # NAME FLAGS...
    config=$1
    shift
    if ! start "$@"; then
        echo "not ok $config/start - $(head -n 3 "$work/err" | tr '\n' ' ')"
        return
    fi
    # As many connections as later: stacks, descriptors' entries and buffers are made once and kept.
    wrk -t1 -c200 -d1s "$url/" >/dev/null 2>&1
    settle
    rss_before=$(rss_kib)
    echo "# $config: $floor, $rss_before KiB before the load"
    # What could not be read is equal to itself later: then nothing would have been compared.
    check "$config/state_can_be_read" "'$floor', '$rss_before' KiB" "${floor%% *}" -gt 0 -a "${rss_before:-0}" -gt 0
    load "$config/seed_page" /
    load "$config/hello" /hello
    # In the middle of requests; the client sees its connections cut, which is no failure here.
    wrk -t1 -c200 -d30s "$url/" >/dev/null 2>&1 &
    helper=$!
    sleep 0.5
    stop
    kill -9 $helper
    wait $helper 2>/dev/null
    helper=''
    echo "# $config: SIGTERM under load took $took_ms ms"
    check "$config/sigterm_under_load_exits_0" "exit $code" $code -eq 0
    check "$config/sigterm_under_load_exits_within_5_s" "$took_ms ms" $took_ms -le 5000
    check "$config/stderr_has_the_configuration_alone" "$(head -n 3 "$work/err" | tr '\n' ' ')" \
        "$(grep -vc ' guarded by ' "$work/err")" -eq 0
}

test_config reactor --mode threaded --workers 2 --poll reactor
test_config worker --mode threaded --workers 2 --poll worker
test_config single --mode single
