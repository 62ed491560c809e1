#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in: release asan
#
# web_program_test.sh BUILD_DIR: pirn-web as a program, whatever its configuration: flags, files, logs, signals, and
# what it says of requests that wait for ever.
. "$(dirname "$0")/web.sh"

test_usage() {
    check usage_unknown_flag_suggests_nearest "$(cat "$work/refused.err" 2>/dev/null)" \
        exits_with 2 'do you mean --workers?' --wrokers 2
    check usage_value_out_of_range_is_refused 'exit code or line' exits_with 2 '1 to 64' --workers 0
    check usage_probability_out_of_range_is_refused 'exit code or line' exits_with 2 '0 to 1' --http-probability 1.5
    check usage_missing_value_is_refused 'exit code or line' exits_with 2 'needs a value' --mode
    check usage_two_reactors_are_not_in_this_version 'exit code or line' \
        exits_with 2 'not in this version' --reactors 2
    check usage_postgres_is_not_in_this_version 'exit code or line' \
        exits_with 2 'not in this version' --db postgres://localhost/test
    check usage_bad_address_is_refused 'exit code or line' exits_with 2 'ADDRESS:PORT' --listen nowhere:80
    check usage_single_has_one_worker 'exit code or line' exits_with 2 'has one' --workers 4 --mode single
    for target in http:// https:///path 'http://:80/' 'http://user@/' 'http://?q'; do
        check "usage_target_without_host_is_refused $target" 'exit code or line' \
            exits_with 2 'no host' --http-target "$target"
    done
    "$web" --help >"$work/help.out" 2>"$work/help.err"
    check usage_help_goes_to_stdout 'not as wanted' \
        sh -c "[ $? -eq 0 ] && grep -q -- --chat-deadline '$work/help.out' && [ ! -s '$work/help.err' ]"
    "$web" -h >"$work/h.out" 2>&1
    check usage_h_is_help 'not as wanted' sh -c "[ $? -eq 0 ] && cmp -s '$work/h.out' '$work/help.out'"
    head -c 4096 /dev/zero | tr '\0' x >"$work/no.db"
    check database_that_is_none_exits_4 'exit code or line' \
        exits_with 4 'file is not a database' --listen 127.0.0.1:0 --db "$work/no.db"
    check database_out_of_reach_exits_4 'exit code or line' \
        exits_with 4 'unable to open database file' --listen 127.0.0.1:0 --db "$work/absent/x.db"
}

test_database_is_kept() {
    start_for database_kept --db "$work/kept.db" --chat-probability 0 --http-probability 0 || return
    get / >"$work/kept.1"
    stop
    start_for database_kept --db "$work/kept.db" --chat-probability 0 --http-probability 0 || return
    get / >"$work/kept.2"
    stop
    check database_is_made_and_kept 'no file, or another page' \
        sh -c "[ -s '$work/kept.db' ] && cmp -s '$work/kept.1' '$work/kept.2' && [ -s '$work/kept.1' ]"
}

# Nobody reads the log: a pipe of 64 KiB and the program's two buffers fill, requests go on, then the loss is told.
# SIGHUP, as when the terminal of ./dev run is closed, ends it as SIGTERM does; nohup's children go on.
test_hangup() {
    start_for hangup || return
    kill -HUP "$server"
    wait "$server"
    code=$?
    check hangup_exits_0 "exit $code" test "$code" -eq 0
    check hangup_removes_the_temporary_database "$(ls "$work/tmp")" sh -c "[ -z \"\$(ls '$work/tmp')\" ]"
    rm -f "$work/out" # or the line of the one before would be taken for this one's
    (trap '' HUP; TMPDIR=$work/tmp exec "$web" --listen 127.0.0.1:0 >"$work/out" 2>"$work/err") &
    server=$!
    wait_for has "$work/out" 'listening on'
    kill -HUP "$server"
    url=$(sed -n 's/^listening on //p' "$work/out")
    check ignored_hangup_is_ignored 'it is gone' test "$(get /hello)" = 'Hello, world!'
    stop
}

# Two readers hear each of hundreds of messages that come at once, over one connection.
test_burst() {
    start_for burst --workers 2 --poll worker || return
    for reader in 1 2; do
        curl -sN "$url/chat/events" >"$work/burst.$reader" &
        helpers="$helpers $!"
        wait_for has "$work/burst.$reader" ': welcome'
    done
    set --
    for number in $(seq 1 300); do
        set -- "$@" --next -s -o /dev/null -d "message=burst $number" "$url/chat"
    done
    shift
    curl "$@"
    check burst_is_heard_whole "$(cat "$work/burst.1" "$work/burst.2" | grep -c '^data: burst') of 600" \
        wait_for sh -c "[ \$(cat '$work/burst.1' '$work/burst.2' | grep -c '^data: burst') -eq 600 ]"
    stop
}

test_access_log() {
    start_for access_log_to_file --access-log "$work/access" || return
    get /hello >/dev/null
    check access_log_has_a_line_for_a_request "$(cat "$work/access")" wait_for has "$work/access" '/hello'
    stop
    count=3000
    long=$(printf '%0200d' 0) # lines of 300 bytes, so that fewer are needed
    mkfifo "$work/pipe"
    (exec 3<"$work/pipe"; wait_for test -e "$work/read_now"; exec cat <&3 >"$work/read") &
    helpers="$helpers $!"
    reader=$!
    mkfifo "$work/unread"
    exits_with 2 'nobody reads it' --access-log "$work/unread"
    check access_log_without_a_reader_exits_2 "$(cat "$work/refused.err")" test $? -eq 0
    start_for access_log_slow_reader --access-log "$work/pipe" || return
    answers=$(get "/absent$long[1-$count]" -o /dev/null -w '%{http_code}\n' --max-time 100 | grep -c '^404$')
    check access_log_slow_reader_stalls_nobody "$answers of $count answers" test "$answers" -eq $count
    touch "$work/read_now"
    check access_log_dropped_lines_are_counted 'no such line' wait_for has "$work/read" 'lines dropped'
    stop
    wait "$reader"
    check access_log_exit_is_0 "exit $code" test "$code" -eq 0
    told=$(sed -nE 's/^pirn-web: access log: ([0-9]+) lines dropped$/\1/p' "$work/err")
    logged=$(grep -c 'path="/absent' "$work/read")
    check access_log_exit_tells_how_many_were_dropped "told '$told', $logged of $count are there" \
        test "$((${told:-0} + logged))" -eq $count
}

# A target that never ends its page: another pirn-web's event stream.
test_cancel_and_second_signal() {
    start_for second_signal || return
    endless=$server
    helpers="$helpers $endless"
    target=$url/chat/events
    start_for second_signal --http-target "$target" --http-probability 1 --chat-probability 0 || return
    # The first answer's connection has ended when the second is asked for: what is parked now is the floor.
    before=$(parked)
    # Not by get: its process would be the shell's, and killing that one leaves its curl alive.
    curl -s --max-time 60 "$url/" >/dev/null &
    client=$!
    check fetch_is_parked 'nothing parked' wait_for parked_above "$((before + 1))"
    kill -9 $client
    wait $client 2>/dev/null
    check fetch_of_a_client_that_left_is_cancelled "parked $(parked), was $before" wait_for parked_is "$before"
    curl -s --max-time 60 "$url/" >/dev/null &
    helpers="$helpers $!"
    wait_for parked_above "$((before + 1))"
    # Two signals that arrive together, as from GNU timeout, are one.
    kill -STOP "$server"
    kill -TERM "$server"
    kill -INT "$server"
    kill -CONT "$server"
    check drain_refuses_new_connections 'still accepts' \
        wait_for sh -c "! curl -s -o /dev/null --max-time 5 '$url/hello'"
    sleep 0.5 # what comes within 200 ms of the first is the first
    check signals_that_arrive_together_are_one "$(cat "$work/err")" sh -c "! grep -q 'exiting now' '$work/err'"
    kill -TERM "$server"
    wait "$server"
    code=$?
    check second_signal_exits_at_once "exit $code" test $code -eq 143
    check second_signal_leaves_no_files "$(ls "$work/tmp")" \
        test "$(ls "$work/tmp" | wc -l)" -eq 1 # the other program's
    kill -TERM "$endless"
    wait "$endless"
    server=''
}

# As the seed was: requests that wait for each other for ever. The report names them; the drain still ends. It takes ten
# seconds and more to come, so the three configurations wait side by side.
test_stuck() {
    for config in reactor worker single; do
        # shellcheck disable=SC2046
        start_for "$config/stuck" --http-probability 0 --chat-probability 1 $(flags_of $config) || return
        echo "$server" >"$work/stuck.$config"
        mv "$work/err" "$work/stuck.$config.err" # it goes on writing there
        helpers="$helpers $server"
        for _ in 1 2 3; do
            curl -sN "$url/seed" >/dev/null &
            helpers="$helpers $!"
        done
    done
    for config in reactor worker single; do
        err=$work/stuck.$config.err
        check "$config/seed_that_waits_for_ever_is_reported" "$(cat "$err")" \
            wait_for has "$err" '"GET /seed" waits for send on chat'
        sed 's/^/# /' "$err"
        server=$(cat "$work/stuck.$config")
        stop
        check "$config/drain_ends_those_who_wait_for_ever" "exit $code" test "$code" -eq 0
        check_exit_time "$config/drain_of_those_who_wait_for_ever_takes_5_s_at_most" "$exit_ms"
    done
}

# Nobody reads stderr, and it is full: the site says nothing there, serves, and ends.
test_full_stderr() {
    start_for full_stderr || return
    endless=$server
    helpers="$helpers $endless"
    target=$url/chat/events
    mkfifo "$work/full"
    exec 4<>"$work/full"
    dd if=/dev/zero of="$work/full" bs=4096 oflag=nonblock 2>/dev/null
    stderr_to=$work/full
    for config in reactor single; do
        # shellcheck disable=SC2046
        start_for "$config/full_stderr" --http-target "$target" --http-probability 1 --chat-probability 0 \
            $(flags_of $config) || break
        check "$config/full_stderr_does_not_hold_requests_up" 'no answer' \
            test "$(get /hello -o /dev/null -w '%{http_code}')" = 200
        before=$(parked)
        curl -s --max-time 60 "$url/" >/dev/null &
        helpers="$helpers $!"
        wait_for parked_above "$((before + 1))"
        kill -TERM "$server"
        sleep 0.5
        stop
        check "$config/full_stderr_does_not_hold_the_second_signal_up" "exit $code" test "$code" -eq 143
    done
    kill -TERM "$endless"
    wait "$endless"
    stderr_to=''
    exec 4>&-
}

test_usage
test_full_stderr
test_database_is_kept
test_access_log
test_hangup
test_burst
test_cancel_and_second_signal
if [ "$divisor" -eq 1 ]; then
    test_stuck
else
    skip seed_that_waits_for_ever_is_reported 'takes ten seconds: release only'
fi
finish
