#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench_test.sh BUILD_DIR: does pirn-bench work? Tiny runs, whose figures mean nothing; what is checked is their form.
# One line per test: "ok NAME", "not ok NAME - why" or "skip NAME - why".
set -u
build=${1:-${PIRN_BUILD_DIR:-build/release}}
bench=$build/pirn-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

verdict() { # NAME STATUS WHY
    if [ "$2" -eq 0 ]; then
        echo "ok $1"
    else
        echo "not ok $1 - $3"
        failed=1
    fi
}

if [ ! -x "$bench" ]; then
    echo "skip bench - $bench was not built"
    exit 0
fi

# Goal: list names every case with its question.
# Method: the five names, each with text behind it.
"$bench" list >"$work/list" 2>&1
status=$?
for name in yield spawn channel defer-hop http-hello; do
    grep -Eq "^$name +[A-Z].*\?\$" "$work/list" || status=1
done
verdict list_names_every_case $status "$(tr '\n' ' ' <"$work/list")"

# One object a line, each with every key, each but the last with a comma; R samples in each.
json_is_well_formed() { # FILE SAMPLES
    awk -v samples="$2" '
        NR == 1 { if ($0 != "[") bad("the first line is " $0); next }
        closed { bad("text behind the end") }
        $0 == "]" { closed = 1; next }
        {
            if (NR > 2 && !comma) bad("no comma before line " NR)
            comma = sub(/,$/, "")
            number = "[0-9.e+-]+"
            pattern = "^[{]\"case\":\"[a-z-]+\",\"variant\":\"[a-z0-9-]+\"," \
                "\"mode\":\"(threaded|single|peer)\"," \
                "\"workers\":[0-9]+,\"poll\":\"(reactor|worker|-)\"," \
                "\"unit\":\"[a-z/]+\",\"better\":\"(lower|higher)\"," \
                "\"median\":" number ",\"min\":" number ",\"max\":" number \
                ",\"samples\":\\[" number "(," number ")*\\]}$"
            if ($0 !~ pattern) bad("line " NR ": " $0)
            list = $0; sub(/.*\[/, "", list)
            if (split(list, values, ",") != samples) bad("line " NR " has not " samples " samples")
            objects++
        }
        END { if (!closed || comma || objects == 0) bad("it does not end as an array"); exit wrong }
        function bad(why) { if (!wrong) print why; wrong = 1 }' "$1" || return 1
    if command -v jq >/dev/null 2>&1; then
        jq -e 'length > 0 and all(.[]; .min <= .median and .median <= .max)' "$1" >/dev/null || return 1
    fi
}

# Goal: a run in all settings succeeds and writes JSON of the promised shape.
# Method: the two cheapest cases, two rounds of a millisecond; every setting must be there.
"$bench" run yield spawn --repeat 2 --sample-ms 1 --json "$work/run.json" >"$work/run" 2>&1
verdict run_succeeds $? "$(tail -n 3 "$work/run" | tr '\n' ' ')"
why=$(json_is_well_formed "$work/run.json" 2)
verdict json_is_well_formed $? "$why"
status=0
for setting in '"threaded","workers":[1-9][0-9]*,"poll":"reactor"' '"threaded","workers":[1-9][0-9]*,"poll":"worker"' \
    '"single","workers":1,"poll":"worker"'; do
    grep -Eq "\"case\":\"yield\".*\"mode\":$setting" "$work/run.json" || status=1
    grep -Eq "\"case\":\"spawn\".*\"mode\":$setting" "$work/run.json" || status=1
done
verdict run_covers_every_setting $status "a mode or policy is missing in the JSON"
grep -q 'share this machine' "$work/run"
verdict run_notes_that_the_machine_is_shared $? "no note"

# Goal: --mode, --poll and --workers choose; values move to another worker when there are two.
# Method: channel with two workers in one setting; every line has that setting.
"$bench" run channel --mode threaded --poll worker --workers 2 --repeat 1 --sample-ms 1 --json "$work/one.json" \
    >"$work/one" 2>&1
status=$?
grep -q '"to-other-worker"' "$work/one.json" || status=1
grep '"case"' "$work/one.json" | grep -vq '"mode":"threaded","workers":2,"poll":"worker"' && status=1
verdict options_choose_the_setting $status "$(tail -n 3 "$work/one" | tr '\n' ' ')"

# Goal: deferreds that hop between threads all come back, in each setting (a lost one fails its sample).
# Method: a tiny run of the case.
"$bench" run defer-hop --repeat 1 --sample-ms 1 >"$work/hop" 2>&1
verdict every_hop_comes_back $? "$(tail -n 3 "$work/hop" | tr '\n' ' ')"

# Goal: the HTTP case measures a real server, with the client of our own where wrk is missing.
# Method: a PATH without wrk; requests and CPU must be there for each number of connections.
PATH=/nonexistent "$bench" run http-hello --mode single --repeat 1 --sample-ms 20 --json "$work/http.json" \
    >"$work/http" 2>&1
status=$?
for variant in c8 c8-cpu c64 c64-cpu c512 c512-cpu; do
    grep -q "\"variant\":\"$variant\"" "$work/http.json" || status=1
done
verdict http_hello_measures_a_server $status "$(tail -n 3 "$work/http" | tr '\n' ' ')"

# Goal: compare puts a peer beside ours and tells which peers are absent.
# Method: one case; the JSON holds both.
"$bench" compare spawn --mode single --repeat 1 --sample-ms 1 --json "$work/compare.json" >"$work/compare" 2>&1
status=$?
grep -q '"mode":"single"' "$work/compare.json" || status=1
grep -q '"variant":"pthread","mode":"peer"' "$work/compare.json" || status=1
grep -q '^peer absent: ' "$work/compare" || status=1
verdict compare_has_a_peer $status "$(tail -n 3 "$work/compare" | tr '\n' ' ')"

# Goal: plot draws an SVG, or says in one line that gnuplot is missing.
# Method: the JSON of the run above, with and without a PATH.
"$bench" plot --json "$work/run.json" --svg "$work/run.svg" >"$work/plot" 2>&1
status=$?
if command -v gnuplot >/dev/null 2>&1; then
    grep -q '<svg' "$work/run.svg" || status=1
fi
verdict plot_draws_or_says_why $status "$(cat "$work/plot")"
PATH=/nonexistent "$bench" plot --json "$work/run.json" >"$work/plot" 2>&1
status=$?
[ "$(wc -l <"$work/plot")" -eq 1 ] && grep -q 'gnuplot is not installed' "$work/plot" || status=1
verdict plot_without_gnuplot_is_one_line $status "$(cat "$work/plot")"

# Goal: a wrong command line is exit 2 with a line that says what is wrong.
# Method: an unknown case, option, value and command; a missing value; nothing to run.
status=0
while read -r arguments; do
    # shellcheck disable=SC2086 # the words are the arguments
    "$bench" $arguments >"$work/usage" 2>&1
    if [ $? -ne 2 ] || ! head -n 1 "$work/usage" | grep -q '^pirn-bench: '; then
        status=1
        echo "$arguments" >"$work/wrong"
    fi
done <<END
run no-such-case
run yield --no-such-option 1
run yield --mode sideways
run yield --mode single --poll reactor
run yield --workers 65
run yield --repeat 0
run yield --repeat
run
no-such-command
END
verdict wrong_arguments_exit_2 $status "$(cat "$work/wrong" 2>/dev/null)"

# Goal: a file that cannot be written or read is exit 1, and says so.
# Method: a JSON file in a folder that does not exist.
"$bench" run yield --mode single --repeat 1 --sample-ms 1 --json "$work/none/x.json" >"$work/file" 2>&1
[ $? -eq 1 ] && grep -q 'none/x.json: ' "$work/file"
verdict unwritable_json_is_told $? "$(tail -n 1 "$work/file")"
"$bench" plot --json "$work/none.json" >"$work/file" 2>&1
[ $? -eq 1 ] && grep -q 'none.json: ' "$work/file"
verdict unreadable_json_is_told $? "$(tail -n 1 "$work/file")"

exit $failed
