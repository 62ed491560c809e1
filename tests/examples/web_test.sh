#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in: release asan tsan
#
# web_test.sh BUILD_DIR [PARTS]: the site in its three configurations: threaded with the reactor's and with the
# workers' policy, and single.
. "$(dirname "$0")/web.sh"
parts=${2:-pages chat crowd stream}

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
    curls=7
    each=300
    if [ "$divisor" -gt 1 ]; then
        curls=1
        each=100
    fi
    count=$((curls * each))
    mkdir -p "$work/crowd"
    crowd=''
    for part_of_crowd in $(seq 1 $curls); do
        curl -sN --parallel --parallel-immediate --parallel-max $each -o "$work/crowd/$part_of_crowd.#1" \
            "$url/chat/events?[1-$each]" >/dev/null 2>&1 &
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
    # /seed waits without a deadline, so its client's leave is what ends it: the connection and its request.
    curl -sN "$url/seed" >"$work/patient" &
    client=$!
    wait_for has "$work/patient" 'sending to 0 clients'
    before=$(parked)
    kill -9 $client
    wait $client 2>/dev/null
    check "$config/chat_of_a_client_that_left_is_cancelled" "parked $(parked), was $before" \
        wait_for parked_is $((before - 2))
    curl -sN "$url/" >"$work/streamed" &
    client=$!
    wait_for has "$work/streamed" 'sending to 0 clients'
    check "$config/page_comes_as_it_happens" "$(tail -c 200 "$work/streamed")" kill -0 $client
    check "$config/page_shows_the_fetched_page" "$(grep -o 'HTTP:.*' "$work/streamed")" \
        has "$work/streamed" 'HTTP:<br><pre>Hello, world!</pre>'
    kill -9 $client
    wait $client 2>/dev/null
    stop
    check "$config/stream_exit_is_0" "exit $code" test "$code" -eq 0
}

for config in reactor worker single; do
    for part in $parts; do
        # shellcheck disable=SC2046
        "test_$part" $(flags_of $config)
    done
done
finish
