#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in: every build
#
# web_test.sh BUILD_DIR [PARTS]: drive the real pirn-web with curl in its three configurations: threaded with the
# reactor's and with the workers' policy, and single. Prints "ok NAME", "not ok NAME - why" or "skip NAME - why" lines,
# then the count.
# One time is asserted, and in the release build only: from SIGTERM to the exit, 5 seconds, as --help promises. All
# other waits are polled, with a limit that only a failure meets.
set -u
build=${1:-${PIRN_BUILD_DIR:-build/release}}
web=$build/pirn-web
parts='pages chat crowd stream'
# A debug build shows nothing in the long one that release does not, or a sanitizer.
if grep -q '^CMAKE_BUILD_TYPE:.*=Debug' "$build/CMakeCache.txt" &&
    ! grep -q '^PIRN_SANITIZE:.*=.' "$build/CMakeCache.txt"; then
    parts='pages chat stream'
fi
parts=${2:-$parts}
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
    TMPDIR=$work/tmp "$web" --listen 127.0.0.1:0 "$@" >"$work/out" 2>"$work/err" &
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

# ---- what does not depend on the configuration ----

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

# ---- in each configuration ----

seed_strings='request arrives<br>
still in the reactor tasklet<br>
hi, we are now inside the request tasklet<br>
QUERY 1:<br>
QUERY 2:<br>
QUERY 3:<br>'

in_order() { # FILE
    flat=$(tr -d '\n' <"$1")
    echo "$seed_strings" | while read -r text; do
        case $flat in
        *"$text"*) flat=${flat#*"$text"} ;;
        *) exit 1 ;;
        esac
    done
}

test_pages() {
    start_for "$config/start" --chat-probability 0 --http-probability 0 "$@" || return
    check "$config/one_line_on_stdout" "$(cat "$work/out")" lines_are "$work/out" 1
    get /hello -i | tr -d '\r' >"$work/hello"
    check "$config/hello_has_13_bytes_and_a_date" "$(cat "$work/hello")" \
        sh -c "grep -qi '^content-length: 13$' '$work/hello' && grep -qi '^date: ' '$work/hello' &&
               grep -qi '^content-type: text/plain' '$work/hello' &&
               [ \"\$(tail -n 1 '$work/hello')\" = 'Hello, world!' ]"
    get / >"$work/page"
    check "$config/seed_page_has_its_strings_in_order" 'missing' in_order "$work/page"
    check "$config/seed_page_has_ten_rows_a_query" "$(grep -o '<tr>' "$work/page" | wc -l) rows" \
        test "$(grep -o '<tr>' "$work/page" | wc -l)" -eq 30
    same=yes
    for _ in 1 2 3 4 5; do
        get / | cmp -s - "$work/page" || same=no
    done
    [ -f "$work/first_page" ] || cp "$work/page" "$work/first_page"
    cmp -s "$work/page" "$work/first_page" || same=no
    check "$config/seed_page_without_odds_is_always_the_same" 'it differs' test $same = yes
    get / -o /dev/null -D - | tr -d '\r' >"$work/head"
    check "$config/seed_page_is_streamed_html" "$(cat "$work/head")" \
        sh -c "grep -qi '^content-type: text/html' '$work/head' && grep -qi '^transfer-encoding: chunked' '$work/head'"
    get '/debug/pirn/?format=json' >"$work/json"
    check "$config/inspector_names_its_parts" "$(cat "$work/json")" \
        sh -c "for key in mode poll workers tasklets counts; do grep -q \"\\\"\$key\\\":\" '$work/json' || exit 1; done"
    check "$config/inspector_redirects_without_slash" 'other' \
        test "$(get /debug/pirn -L -o /dev/null -w '%{http_code} %{num_redirects}')" = '200 1'
    check "$config/inspector_refuses_foreign_host" 'other' \
        test "$(get /debug/pirn/ -H 'Host: a.example' -o /dev/null -w '%{http_code}')" = 403
    check "$config/unknown_path_is_404" 'other' test "$(get /absent -o /dev/null -w '%{http_code}')" = 404
    check "$config/other_method_is_405" 'other' test "$(get /hello -X DELETE -o /dev/null -w '%{http_code}')" = 405
    exits_with 3 'another program has this port' --listen "${url#http://}" "$@"
    check "$config/port_in_use_exits_3" "$(cat "$work/refused.err")" test $? -eq 0
    stop
    check "$config/sigterm_exits_0" "exit $code" test "$code" -eq 0
    check "$config/temporary_database_is_removed" "$(ls "$work/tmp")" sh -c "[ -z \"\$(ls '$work/tmp')\" ]"
    check "$config/stderr_tells_the_configuration_alone" "$(head -n 3 "$work/err")" \
        sh -c "[ \$(wc -l <'$work/err') -eq 1 ] && grep -Eq '^pirn-web: (threaded|single), .* guarded by ' '$work/err'"
}

# On how many workers the chat's readers live.
count_readers_workers() {
    get '/debug/pirn/?format=json' | grep -oE '"name":"GET /chat/events"[^}]*' | grep -oE '"worker":[0-9]+' | sort -u |
        wc -l
}

# Four readers, and more until they live on all workers: where each worker accepts for itself, chance decides. Then
# errors of the post.
test_chat() {
    start_for "$config/chat" "$@" || return
    workers=2
    [ "$config" != single ] || workers=1
    readers=''
    count=0
    while [ $count -lt 4 ] || { [ $count -lt 40 ] && [ "$(count_readers_workers)" -lt $workers ]; }; do
        count=$((count + 1))
        curl -sN "$url/chat/events" >"$work/events.$count" &
        readers="$readers $!"
        helpers="$helpers $!"
        wait_for has "$work/events.$count" ': welcome'
    done
    check "$config/chat_readers_live_on_all_workers" "$(count_readers_workers) workers, $count readers" \
        test "$(count_readers_workers)" -eq $workers
    code=$(get /chat -o /dev/null -w '%{http_code}' --data-urlencode 'message=<b>woad & madder</b>
second line')
    check "$config/chat_post_answers_204" "$code" test "$code" = 204
    heard=0
    for reader in $(seq 1 $count); do
        wait_for has "$work/events.$reader" 'data: <b>woad & madder</b>' &&
            wait_for has "$work/events.$reader" 'data: second line' && heard=$((heard + 1))
    done
    check "$config/chat_message_reaches_every_reader" "$heard of $count" test $heard -eq $count
    check "$config/chat_post_without_message_is_400" 'other' \
        test "$(get /chat -o /dev/null -w '%{http_code}' -d 'other=1')" = 400
    for bad in %ff %c3 %c0%af %ed%a0%80 %f4%90%80%80 a%80 %e2%82; do
        check "$config/chat_post_that_is_no_utf8_is_400 $bad" 'other' \
            test "$(get /chat -o /dev/null -w '%{http_code}' -d "message=$bad")" = 400
    done
    check "$config/chat_post_in_utf8_is_204" 'other' \
        test "$(get /chat -o /dev/null -w '%{http_code}' -d 'message=%c3%a9%e2%82%ac%f0%9f%a7%b6%f4%8f%bf%bf')" = 204
    head -c 5000 /dev/zero | tr '\0' a >"$work/long"
    check "$config/chat_post_too_long_is_413" 'other' \
        test "$(get /chat -o /dev/null -w '%{http_code}' --data-urlencode "message@$work/long")" = 413
    check "$config/chat_events_answer_head" 'other' \
        test "$(get /chat/events -I -o /dev/null -w '%{http_code} %{content_type}')" = '200 text/event-stream'
    check "$config/head_of_a_stream_claims_no_length" "$(get /chat/events -I)" \
        sh -c "! curl -sI '$url/chat/events' | grep -qi '^content-length'"
    check "$config/chat_page_is_html" 'no form' sh -c "curl -s '$url/chat' | grep -q '<form'"
    before=$(parked)
    # shellcheck disable=SC2086
    kill -9 $readers
    check "$config/chat_readers_that_left_are_gone" "parked $(parked), was $before" \
        wait_for parked_is "$((before - 2 * count))"
    curl -sN "$url/chat/events" >"$work/events.last" &
    helpers="$helpers $!"
    wait_for has "$work/events.last" ': welcome'
    stop
    check "$config/drain_ends_open_event_streams" "exit $code: $(cat "$work/err")" test "$code" -eq 0
}

# Each curl can hold 300 streams. All of them hear one message; then all leave at once.
test_crowd() {
    start_for "$config/crowd" "$@" || return
    before=$(parked)
    curls=$((7 / (divisor > 7 ? 7 : divisor)))
    [ $curls -gt 0 ] || curls=1
    count=$((curls * 300))
    mkdir -p "$work/crowd"
    crowd=''
    for part_of_crowd in $(seq 1 $curls); do
        curl -sN --parallel --parallel-immediate --parallel-max 300 -o "$work/crowd/$part_of_crowd.#1" \
            "$url/chat/events?[1-300]" >/dev/null 2>&1 &
        crowd="$crowd $!"
    done
    helpers="$helpers $crowd"
    check "$config/crowd_of_${count}_readers_is_parked" "parked $(parked)" wait_for parked_is $((before + 2 * count))
    get /chat -d 'message=to everyone'
    all_heard() {
        [ "$(cat "$work"/crowd/* | grep -c '^data: to everyone$')" -eq "$count" ]
    }
    check "$config/crowd_hears_a_message_once_each" "$(cat "$work"/crowd/* | grep -c '^data: to everyone$') of $count" \
        wait_for all_heard
    # shellcheck disable=SC2086
    kill -9 $crowd
    check "$config/crowd_that_left_is_gone" "parked $(parked), was $before" wait_for parked_is "$before"
    rm -rf "$work/crowd"
    stop
    check "$config/crowd_exit_is_0" "exit $code" test "$code" -eq 0
}

# All odds 1: what waits is on the page before its wait ends, and its client may leave.
test_stream() {
    start_for "$config/stream" --http-probability 1 --chat-probability 1 --chat-deadline 60000 "$@" || return
    curl -sN "$url/" >"$work/streamed" &
    client=$!
    wait_for has "$work/streamed" 'sending to 0 clients'
    check "$config/page_comes_as_it_happens" "$(tail -c 200 "$work/streamed")" kill -0 $client
    check "$config/page_shows_the_fetched_page" "$(grep -o 'HTTP:.*' "$work/streamed")" \
        has "$work/streamed" 'HTTP:<br><pre>Hello, world!</pre>'
    # The connection and its request; the page was fetched over one that stays open, and counts as well.
    before=$(parked)
    kill -9 $client
    wait $client 2>/dev/null
    check "$config/chat_of_a_client_that_left_is_cancelled" "parked $(parked), was $before" \
        wait_for parked_is $((before - 2))
    stop
    check "$config/stream_exit_is_0" "exit $code" test "$code" -eq 0
}

flags_of() { # CONFIG
    case $1 in
    reactor) echo --mode threaded --workers 2 --poll reactor ;;
    worker) echo --mode threaded --workers 2 --poll worker ;;
    single) echo --mode single ;;
    esac
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

if [ $# -lt 2 ]; then
    test_usage
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
fi
for config in reactor worker single; do
    for part in $parts; do
        # shellcheck disable=SC2046
        "test_$part" $(flags_of $config)
    done
done
check_exit_time slowest_exit_takes_5_s_at_most $slowest_exit_ms
echo "$passed_count passed, $failed_count failed, $skipped_count skipped"
[ $failed_count -eq 0 ]
