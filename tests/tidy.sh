#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tidy.sh: the rules of style that a script can check, over every file of the project.
#
# For each rule one line, "ok NAME" or "not ok NAME - N findings", the findings below it as FILE:LINE: what.
# tests/tidy.allow lists the exceptions, one a line: RULE FILE[:FUNCTION] REASON. The list is a ratchet: an exception
# nobody needs any more is a finding, too.
set -u
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/used"

# Every file of the project. Not from git, which a fresh machine may lack.
find . \( -path ./build -o -path ./.git \) -prune -o -type f -print | sed 's|^\./||' | sort >"$work/files"

files() { # PATTERN: an extended regular expression on the path
    grep -E "$1" "$work/files"
}

product='^(include|core|bridge|reactor_thread|services)/.*\.[ch]$'
all_c='^(include|core|bridge|reactor_thread|services|examples|bench|tests)/.*\.[ch]$'

# Reads findings ("FILE:LINE: what" or "FILE:FUNCTION: what"), takes away the allowed ones, prints the verdict.
verdict() { # RULE
    : >"$work/left"
    while IFS= read -r finding; do
        key=$(echo "$finding" | cut -d: -f1,2)
        file=${key%%:*}
        allowed=$(awk -v rule="$1" -v key="$key" -v file="$file" \
            '$1 == rule && ($2 == key || $2 == file) { print NR; exit }' tests/tidy.allow)
        if [ -n "$allowed" ]; then
            echo "$allowed" >>"$work/used"
        else
            echo "$finding" >>"$work/left"
        fi
    done
    count=$(wc -l <"$work/left")
    if [ "$count" -eq 0 ]; then
        echo "ok $1"
    else
        echo "not ok $1 - $count findings"
        sed 's/^/    /' "$work/left"
    fi
}

# Every file starts with its licence; sources go on with a comment that says what they are, product ones also for whom.
check_headers() {
    for file in $(files "$all_c|\.S$|\.sh$|^dev$|^\.ci/run$|CMakeLists\.txt$|\.cmake$"); do
        sed -n '1,2p' "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file:1: no SPDX line"
    done
    for file in $(files "$all_c"); do
        # The first comment: from line 1 to the first line that closes it.
        sed -n '1,/\*\//p' "$file" >"$work/head"
        [ "$(grep -c '[A-Za-z]' "$work/head")" -ge 2 ] || echo "$file:1: no header comment below the SPDX line"
        case $file in
        core/* | bridge/* | reactor_thread/* | services/*)
            grep -q 'What:' "$work/head" || echo "$file:1: the header comment has no \"What:\""
            grep -q 'Threads' "$work/head" || echo "$file:1: the header comment has no \"Threads:\"" ;;
        esac
    done
}

check_line_length() {
    for file in $(files "$all_c|\.S$|\.sh$|^dev$|\.cmake$|CMakeLists\.txt$"); do
        # Characters, not bytes: comments may hold a real arrow.
        awk -v file="$file" 'length($0) > 120 { print file ":" NR ": " length($0) " columns, 120 are allowed" }' "$file"
    done
}

check_whitespace() {
    for file in $(files "$all_c|\.S$|\.sh$|\.md$|^dev$|\.cmake$"); do
        grep -nE "[[:blank:]]$" "$file" | sed "s|^\([0-9]*\):.*|$file:\1: space at the end of the line|"
    done
    for file in $(files "$all_c"); do
        grep -n "$(printf '\t')" "$file" | sed "s|^\([0-9]*\):.*|$file:\1: a tab|"
    done
}

# A function starts at a line that begins in column one and ends at a closing brace in column one.
check_function_length() {
    for file in $(files "$all_c" | grep '\.c$'); do
        awk -v file="$file" '
            /^[A-Za-z_]/ && !inside { start = NR; text = "" }
            !inside && start { text = text $0 }
            !inside && start && /[;,]$/ && text !~ /\(/ { start = 0 }
            !inside && start && /;$/ { start = 0 }
            !inside && start && /\{$/ {
                inside = text ~ /\)[^=;]*\{$/ && text !~ /^(typedef|struct|enum|union)/ && text !~ /=/
                if (!inside) { start = 0 }
                name = text
                if (name ~ /^Test\(/) { sub(/^Test\([^,]*, */, "", name); sub(/[,)].*/, "", name) }
                else { sub(/^__attribute__\(\([^)]*\)\) */, "", name); sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
            }
            inside && /^}/ {
                if (NR - start + 1 > 70) { print file ":" name ": " NR - start + 1 " lines, 70 are allowed" }
                inside = 0; start = 0
            }' "$file"
    done
}

check_file_length() {
    for file in $(files "$all_c"); do
        awk -v file="$file" 'END { if (NR > 800) { print file ":" NR ": " NR " lines, 800 are allowed" } }' "$file"
    done
}

check_words() {
    for file in $(files "$all_c|\.S$|\.sh$|\.md$|^dev$|\.cmake$" | grep -v '^tests/tidy\.sh$'); do
        grep -nwE 'TODO|FIXME|XXX|HACK' "$file" | sed "s|^\([0-9]*\):.*|$file:\1: an open end in a comment|"
    done
}

# The layers of docs/design.md. CMake's include paths stop most of this; the headers of the system they can not.
check_includes() {
    for file in $(files "$all_c"); do
        case $file in
        include/*) wrong='<(stdatomic|ck_|uv|curl|sqlite3|llhttp|threads)|"' ;;
        core/*) wrong='<(stdatomic|ck_|uv|curl|sqlite3|llhttp|threads)|"\.\./|pthread\.h' ;;
        bridge/*) wrong='<(uv|curl|sqlite3|llhttp)|"\.\./' ;;
        reactor_thread/*) wrong='<(stdatomic|ck_|sqlite3|llhttp)|"\.\./' ;;
        services/*) wrong='<(stdatomic|ck_|uv|curl)|"\.\./' ;;
        examples/*) wrong='<(stdatomic|ck_|uv|curl|llhttp)|"\.\./' ;;
        *) wrong='"\.\./' ;;
        esac
        grep -nE "^ *# *include.*($wrong)" "$file" | sed "s|^\([0-9]*\): *|$file:\1: against the layers: |"
    done
    for file in $(files '^(core|reactor_thread|services)/'); do
        grep -nE '\b(_Atomic|atomic_(load|store|fetch|compare|exchange)|__atomic_|__sync_)' "$file" |
            sed "s|^\([0-9]*\):.*|$file:\1: an atomic operation outside bridge/|"
    done
}

# Memory comes from core/alloc.h and goes back there; comments may name libc's functions.
check_allocation() {
    libc='(malloc|calloc|realloc|reallocarray|(posix_)?memalign|aligned_alloc|strn?dup|v?asprintf|free)'
    for file in $(files '^(core|bridge|reactor_thread|services)/.*\.[ch]$' | grep -v '^core/alloc\.h$'); do
        grep -nE "(^|[^[:alnum:]_>.])$libc\(|[=,] *free *[,;)}]" "$file" |
            sed "s|^\([0-9]*\): *|$file:\1: not through core/alloc.h: |"
    done
}

# Conditional compilation: only where machines and tools differ. Include guards and C++ guards are not meant.
check_conditionals() {
    for file in $(files "$product" | grep -vE '^core/context|^core/stack\.c$|/port\.h$'); do
        awk -v file="$file" '
            /^ *# *(if|ifdef|elif)[ (]/ || (/^ *# *ifndef/ && !/_H$/) {
                if (!/__cplusplus/) { print file ":" NR ": conditional compilation" }
            }' "$file"
    done
}

# A prototype of a public header stands right below its comment, or in a group that does.
check_public_comments() {
    for file in $(files '^include/.*\.h$'); do
        awk -v file="$file" '
            /^PIRN_API/ && before ~ /^[[:blank:]]*$/ { print file ":" NR ": a public call without a comment: " $0 }
            { before = $0 }' "$file"
    done
}

# tests/core/wait_test.c tests core/wait.c, or what starts with its name (lf_stack_ck.c, sql_pool.c).
check_mirror() {
    for file in $(files '^tests/(core|bridge|reactor_thread|services)/.*_test\.c$'); do
        stem=${file#tests/}
        stem=${stem%_test.c}
        files "^$stem(_[a-z0-9_]*)?\.[chS]$" | grep -q . || echo "$file:1: there is no $stem.c"
    done
}

# Every test says its goal and method, above it or first in it, and is named for its file: Test(<file>,
# <situation>_<outcome>).
check_test_names() {
    for file in $(files '^tests/.*_test\.c$'); do
        suite=$(basename "$file" _test.c)
        awk -v file="$file" -v suite="$suite" '
            wanted && /\{$/ { inside = NR + 1 }
            wanted && NR == inside {
                if (!/\/\*/) { print file ":" wanted ": a test without a comment" }
                wanted = 0; inside = 0
            }
            /^Test\(/ {
                if (before !~ /\*\/$/) { wanted = NR }
                if (wanted && /\{$/) { inside = NR + 1 }
                name = $0; sub(/^Test\( */, "", name); found = name; sub(/,.*/, "", found)
                if (found != suite) { print file ":" NR ": suite " found ", the file is called " suite }
            }
            { before = $0 }' "$file"
    done
}

# docs/rules.md names tests as `suite::name`, and scripts' tests as `path.sh: name`: each of them must exist.
check_rules() {
    [ -f docs/rules.md ] || echo "docs/rules.md:1: missing"
    for file in $(files '^tests/.*_test\.c$'); do
        tr '\n' ' ' <"$file" | grep -oE 'Test\( *[A-Za-z0-9_]+ *, *[A-Za-z0-9_]+' | sed -E 's/Test\( *//; s/ *, */::/'
    done | sort -u >"$work/tests"
    grep -noE '`[a-z0-9_]+::[a-z0-9_]+`' docs/rules.md | tr -d '`' | while IFS=: read -r line suite _ name; do
        grep -qx "$suite::$name" "$work/tests" || echo "docs/rules.md:$line: no test $suite::$name"
    done
    grep -noE '`tests/[A-Za-z0-9_/.]+`' docs/rules.md | tr -d '`' | while IFS=: read -r line path; do
        [ -e "$path" ] || echo "docs/rules.md:$line: no file $path"
    done
    # All twenty rules are there.
    for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        grep -qE "^\| $number \|" docs/rules.md || echo "docs/rules.md:1: rule $number is missing"
    done
}

# Links of the documents lead somewhere, and the README's program is the example that the build compiles.
check_documents() {
    for file in $(files '\.md$'); do
        grep -noE '\]\([^):#]+\)' "$file" | sed 's/](\(.*\))/\1/' | while IFS=: read -r line path; do
            [ -e "$(dirname "$file")/$path" ] || echo "$file:$line: leads to no file: $path"
        done
    done
    sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$work/program"
    sed -n '/^static pirn_channel/,$p' examples/readme.c | cmp -s - "$work/program" ||
        echo "README.md:1: the program is not that of examples/readme.c"
}

check_scripts() {
    for file in $(files '\.sh$|^dev$|^\.ci/run$'); do
        sh -n "$file" 2>/dev/null || echo "$file:1: does not parse as sh"
    done
}

# An exception that was not used. Last, since it reads what the others used.
check_allow() {
    awk 'NF && $1 !~ /^#/ { print NR ":" $1 " " $2 }' tests/tidy.allow | while IFS=: read -r line what; do
        grep -qx "$line" "$work/used" || echo "tests/tidy.allow:$line: not needed any more: $what"
    done
    awk 'NF && $1 !~ /^#/ && NF < 4 { print "tests/tidy.allow:" NR ": an exception without a reason" }' tests/tidy.allow
}

for rule in headers line_length whitespace function_length file_length words includes allocation conditionals \
    public_comments mirror test_names rules documents scripts allow; do
    "check_$rule" >"$work/findings"
    verdict "$rule" <"$work/findings" >"$work/verdict"
    cat "$work/verdict"
    grep -q '^not ok' "$work/verdict" && touch "$work/failed"
done
[ ! -e "$work/failed" ]
