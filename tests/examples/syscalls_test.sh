#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in: release
#
# syscalls_test.sh BUILD_DIR: who makes the system calls on connections. With the reactor's policy the workers make no
# read, write or accept on them; with the workers' policy the reactor makes none. Traced with strace while curl asks.
set -u
build=${1:-${PIRN_BUILD_DIR:-build/release}}
work=$(mktemp -d)
tracer=''
trap 'kill -9 $tracer 2>/dev/null; rm -rf "$work"' EXIT

if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    echo "skip syscalls - strace cannot trace here"
    exit 0
fi

wait_for() { # FILE TEXT
    tries=600
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

# Trace one run; $work/calls gets "THREAD-NAME CALL" for each call on a connection or a listener. With -yy strace says
# what a descriptor is: "read(12<TCP:[127.0.0.1:8080->127.0.0.1:39412]>, ...". Doorbells, readiness sets, the database
# and pipes are other kinds.
trace() { # FLAGS...
    : >"$work/out"
    strace -f -yy -o "$work/trace" -e trace=read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,accept,accept4 \
        "$build/pirn-web" --listen 127.0.0.1:0 --http-probability 0 --chat-probability 0 "$@" \
        >"$work/out" 2>"$work/err" &
    tracer=$!
    wait_for "$work/out" listening || return 1
    url=$(sed -n 's/^listening on //p' "$work/out")
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        curl -sf "$url/hello" "$url/hello" "$url/" >/dev/null || return 1
    done
    server=$(pgrep -P "$tracer" | head -n 1)
    for task in "/proc/$server/task/"*; do
        echo "$(basename "$task") $(cat "$task/comm")"
    done >"$work/names"
    kill -TERM "$server"
    wait "$tracer"
    awk 'NR == FNR { name[$1] = $2; next }
         $2 ~ /^[a-z0-9]+\([0-9]+<(TCP|TCPv6|socket):/ {
             split($2, call, "("); print name[$1], call[1]
         }' \
        "$work/names" "$work/trace" >"$work/calls"
}

count() { # THREAD CALLS
    grep -cE "^$1[^ ]* ($2)\$" "$work/calls"
}

check() { # NAME CONDITION...
    name=$1
    shift
    if [ "$@" ]; then
        echo "ok $name"
    else
        echo "not ok $name - $(sort "$work/calls" | uniq -c | tr '\n' ';')"
    fi
}

if trace --mode threaded --workers 2 --poll reactor; then
    check workers_touch_no_connection "$(count worker '.*')" -eq 0
    check reactor_reads_them "$(count reactor recvfrom)" -ge 30
    check reactor_writes_them "$(count reactor sendto)" -ge 30
    check reactor_accepts "$(count reactor accept4)" -ge 10
else
    echo "not ok traced_reactor_policy - $(tail -n 3 "$work/err" | tr '\n' ' ')"
fi
if trace --mode threaded --workers 2 --poll worker; then
    check reactor_touches_no_connection "$(count reactor '.*')" -eq 0
    check workers_read_them "$(count worker recvfrom)" -ge 30
    check workers_accept "$(count worker accept4)" -ge 10
else
    echo "not ok traced_worker_policy - $(tail -n 3 "$work/err" | tr '\n' ' ')"
fi
