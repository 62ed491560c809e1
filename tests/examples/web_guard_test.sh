#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in: release asan
#
# web_guard_test.sh BUILD_DIR: who may speak and listen in pirn-web's chat, where its inspector is, and what browsers
# are told of every response.
. "$(dirname "$0")/web.sh"

code=none # of the last request

# The status of PATH with these curl flags is STATUS.
answers() { # STATUS PATH CURL_FLAGS...
    wanted=$1
    shift
    code=$(get "$@" -o "$work/body" -w '%{http_code}')
    test "$code" = "$wanted" && { test "$wanted" != 403 || test -s "$work/body"; }
}

speak() { # STATUS CURL_FLAGS...
    wanted=$1
    shift
    answers "$wanted" /chat --data message=x "$@"
}

# 200 and a stream without an end, or another status.
listens() { # STATUS CURL_FLAGS...
    wanted=$1
    shift
    test "$(curl -sI --max-time 10 "$url/chat/events" "$@" | sed -nE '1s/^[^ ]* ([0-9]+).*/\1/p')" = "$wanted"
}

test_chat() {
    host=${url#http://}
    check chat_speaker_without_a_browser_is_heard "$code" speak 204
    check chat_speaker_without_a_browser_may_name_any_host "$code" speak 204 -H 'Host: a'
    check chat_speaker_of_our_page_is_heard "$code" speak 204 -H "Origin: $url" -H 'Sec-Fetch-Site: same-origin'
    check chat_speaker_of_our_page_by_its_origin_alone "$code" speak 204 -H "Origin: $url"
    for origin in http://evil.example null "http://$host.evil.example" http://127.0.0.1:1 "ftp://$host" \
        "http://x@$host"; do
        check "chat_speaker_of_another_origin_is_refused $origin" "$code" speak 403 -H "Origin: $origin"
    done
    for from in cross-site same-site other; do
        check "chat_speaker_from_another_site_is_refused $from" "$code" speak 403 -H "Sec-Fetch-Site: $from"
        check "chat_speaker_from_another_site_is_refused $from, our origin" "$code" \
            speak 403 -H "Sec-Fetch-Site: $from" -H "Origin: $url"
    done
    check chat_speaker_of_a_rebound_name_is_refused "$code" \
        speak 403 -H 'Host: evil.example' -H 'Origin: http://evil.example' -H 'Sec-Fetch-Site: same-origin'
    for name in localhost LOCALHOST:1 127.0.0.1 127.9.9.9:80 '[::1]:80' chat.example Chat.Example:80 two.example; do
        check "chat_events_for_our_name $name" 'another status' listens 200 -H "Host: $name"
    done
    for name in evil.example localhost.evil.example 127.0.0.1.evil.example 192.0.2.1 chat.example.evil \
        x.chat.example; do
        check "chat_events_for_a_foreign_name_are_refused $name" 'another status' listens 403 -H "Host: $name"
    done
}

nosniffs() { # PATH CURL_FLAGS...
    get "$@" -D - -o /dev/null | grep -ci '^X-Content-Type-Options: nosniff'
}

test_nosniff() {
    for path in / /hello /chat /chat.js /site.css /nowhere /debug/pirn/ /debug/pirn '/debug/pirn/?format=json' /%zz; do
        count=$(nosniffs "$path" --path-as-is)
        check "nosniff_once $path" "$count times" test "$count" -eq 1
    done
    for flags in '-X BREW' '-X PUT' '--data message=' '--data message=x' '-H Host:'; do
        # shellcheck disable=SC2086
        count=$(nosniffs /chat $flags)
        check "nosniff_once /chat $flags" "$count times" test "$count" -eq 1
    done
}

test_inspector() {
    check inspector_answers_this_machine "$code" answers 200 /debug/pirn/
    for field in X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-IP CF-Connecting-IP Forwarded Via \
        x-forwarded-for; do
        check "inspector_refuses_a_proxy $field" "$code" answers 403 /debug/pirn/ -H "$field: 127.0.0.1"
        check "inspector_refuses_a_proxy $field, json" "$code" \
            answers 403 '/debug/pirn/?format=json' -H "$field: 127.0.0.1"
    done
    check inspector_refuses_a_proxy_with_an_empty_field "$code" answers 403 /debug/pirn/ -H 'Via;'
    stop
    start_for inspector_off --inspector off || return
    check inspector_off_is_not_there "$code" answers 404 /debug/pirn/
    stop
    start_for inspector_elsewhere --inspector 127.0.0.1:0 || return
    wait_for has "$work/err" 'inspector on http://'
    own=$(sed -nE 's/.*inspector on (http:[^ ]*).*/\1/p' "$work/err")
    check inspector_elsewhere_is_not_on_the_site "$code" answers 404 /debug/pirn/
    check inspector_elsewhere_is_at_its_address "$own" \
        test "$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$own?format=json")" = 200
    check inspector_elsewhere_has_no_site "$own" \
        test "$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 "${own%/debug/pirn/}/hello")" = 404
    stop
    for value in nowhere '' OFF; do
        check "inspector_wrong_value_is_refused $value" 'exit code or line' \
            exits_with 2 'ADDRESS:PORT' --inspector "$value"
    done
    check inspector_wrong_address_is_refused 'exit code or line' \
        exits_with 2 'numeric ADDRESS:PORT' --listen 127.0.0.1:0 --inspector nowhere:1
    check allowed_host_wrong_value_is_refused 'exit code or line' exits_with 2 'names' --allowed-host http://a
}

start_for guards --allowed-host chat.example,two.example || exit 0
test_chat
test_nosniff
test_inspector
