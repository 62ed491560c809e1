#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tidy.sh: the rules of style that a script can check, over every file of the project.
#
# For each rule one line, "ok NAME" or "not ok NAME - N findings", the findings below it as FILE:LINE: what.
# tests/tidy.allow lists the exceptions, one a line: RULE FILE[:FUNCTION] REASON. The list is a ratchet: an exception
# nobody needs any more is a finding, too.
#
# To start a process takes longer than to read a file. So a rule starts a few for all of its files, not some for each,
# and they get the names from xargs: names of files hold no blanks and no quotes.
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

# Runs an awk program once over the files that the input names. In the C locale, for one result with every awk.
xargs_awk() { # PROGRAM
    LC_ALL=C xargs awk "$1"
}

# Makes findings of what grep -nH prints, FILE:LINE:TEXT: for each line WHAT is wrong with it.
findings() { # WHAT
    sed "s|^\([^:]*:[0-9]*\):.*|\1: $1|"
}

# The same with the line itself behind it.
findings_with_text() { # WHAT
    sed "s|^\([^:]*:[0-9]*\): *|\1: $1: |"
}

# Reads findings ("FILE:LINE: what" or "FILE:FUNCTION: what"), takes away the allowed ones, prints the verdict. Fails if
# one is left.
verdict() { # RULE
    awk -v rule="$1" -v used="$work/used" '
        # The line of tests/tidy.allow that allows the finding, the first if there are more; 0 for none.
        function exception_for(finding, place, i) {
            split(finding, place, ":")
            for (i = 1; i <= exceptions; i++) {
                if (allowed[i] == place[1] || allowed[i] == (place[1] ":" place[2])) { return line_of[i] }
            }
            return 0
        }
        BEGIN {
            while ((getline <"tests/tidy.allow") > 0) {
                line++
                if ($1 == rule) { allowed[++exceptions] = $2; line_of[exceptions] = line }
            }
        }
        {
            exception = exception_for($0)
            if (exception) { print exception >>used } else { left[++count] = $0 }
        }
        END {
            if (!count) { print "ok " rule; exit 0 }
            print "not ok " rule " - " count " findings"
            for (i = 1; i <= count; i++) { print "    " left[i] }
            exit 1
        }'
}

# What a file lacks shows at its end, and an empty file, which awk passes by, lacks all: hence the loops over ARGV.
find_unlicensed() {
    files "$all_c|\.S$|\.sh$|^dev$|^\.ci/run$|CMakeLists\.txt$|\.cmake$" | xargs_awk '
        FNR <= 2 && /SPDX-License-Identifier: MIT/ { licensed[FILENAME] = 1 }
        END { for (i = 1; i < ARGC; i++) { if (!licensed[ARGV[i]]) { print ARGV[i] ":1: no SPDX line" } } }'
}

# The first comment goes from line 1, which may close that of the licence, to the next line that closes one.
find_undescribed() {
    files "$all_c" | xargs_awk '
        FNR == 1 { head = 1 }
        head && /[A-Za-z]/ { lines[FILENAME]++ }
        head && /What:/ { what[FILENAME] = 1 }
        head && /Threads/ { threads[FILENAME] = 1 }
        FNR > 1 && /\*\// { head = 0 }
        END {
            for (i = 1; i < ARGC; i++) {
                file = ARGV[i]
                if (lines[file] < 2) { print file ":1: no header comment below the SPDX line" }
                if (file !~ /^(core|bridge|reactor_thread|services)\//) { continue }
                if (!what[file]) { print file ":1: the header comment has no \"What:\"" }
                if (!threads[file]) { print file ":1: the header comment has no \"Threads:\"" }
            }
        }'
}

# Every file starts with its licence; sources go on with a comment that says what they are, product ones also for whom.
check_headers() {
    find_unlicensed
    find_undescribed
}

# In bytes, since mawk knows no characters: a real arrow in a comment counts as three.
check_line_length() {
    files "$all_c|\.S$|\.sh$|^dev$|\.cmake$|CMakeLists\.txt$" | xargs_awk '
        length($0) > 120 { print FILENAME ":" FNR ": " length($0) " columns, 120 are allowed" }'
}

check_whitespace() {
    files "$all_c|\.S$|\.sh$|\.md$|^dev$|\.cmake$" | xargs grep -nHE '[[:blank:]]$' |
        findings 'space at the end of the line'
    files "$all_c" | xargs grep -nH "$(printf '\t')" | findings 'a tab'
}

# A function starts at a line that begins in column one and ends at a closing brace in column one.
check_function_length() {
    files "$all_c" | grep '\.c$' | xargs_awk '
        FNR == 1 { inside = 0; start = 0 }
        /^[A-Za-z_]/ && !inside { start = FNR; text = "" }
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
            lines = FNR - start + 1
            if (lines > 70) { print FILENAME ":" name ": " lines " lines, 70 are allowed" }
            inside = 0; start = 0
        }'
}

check_file_length() {
    files "$all_c" | xargs_awk '
        { lines[FILENAME] = FNR }
        END {
            for (i = 1; i < ARGC; i++) {
                count = lines[ARGV[i]]
                if (count > 800) { print ARGV[i] ":" count ": " count " lines, 800 are allowed" }
            }
        }'
}

check_words() {
    files "$all_c|\.S$|\.sh$|\.md$|^dev$|\.cmake$" | grep -v '^tests/tidy\.sh$' |
        xargs grep -nHwE 'TODO|FIXME|XXX|HACK' | findings 'an open end in a comment'
}

# No file of the folder includes what matches.
forbid_includes() { # FOLDER PATTERN
    files "^$1/.*\.[ch]$" | xargs grep -nHE "^ *# *include.*($2)" | findings_with_text 'against the layers'
}

find_atomics() {
    files '^(core|reactor_thread|services)/' | grep -v '^core/flag\.h$' |
        xargs grep -nHE '\b(_Atomic|atomic_(load|store|fetch|compare|exchange)|__atomic_|__sync_)' |
        findings 'an atomic operation outside bridge/'
}

# The layers of docs/design.md. CMake's include paths stop most of this; the headers of the system they can not.
check_includes() {
    forbid_includes bench '"\.\./'
    forbid_includes bridge '<(uv|curl|sqlite3|llhttp)|"\.\./'
    forbid_includes core '<(stdatomic|ck_|uv|curl|sqlite3|llhttp|threads)|"\.\./|pthread\.h'
    forbid_includes examples '<(stdatomic|ck_|uv|curl|llhttp)|"\.\./'
    forbid_includes include '<(stdatomic|ck_|uv|curl|sqlite3|llhttp|threads)|"'
    forbid_includes reactor_thread '<(stdatomic|ck_|sqlite3|llhttp)|"\.\./'
    forbid_includes services '<(stdatomic|ck_|uv|curl)|"\.\./'
    forbid_includes tests '"\.\./'
    find_atomics
}

# Memory comes from core/alloc.h and goes back there; comments may name libc's functions.
check_allocation() {
    libc='(malloc|calloc|realloc|reallocarray|(posix_)?memalign|aligned_alloc|strn?dup|v?asprintf|free)'
    files '^(core|bridge|reactor_thread|services)/.*\.[ch]$' | grep -v '^core/alloc\.h$' |
        xargs grep -nHE "(^|[^[:alnum:]_>.])$libc\(|[=,] *free *[,;)}]" | findings_with_text 'not through core/alloc.h'
}

# Conditional compilation: only where machines and tools differ. Include guards and C++ guards are not meant.
check_conditionals() {
    files "$product" | grep -vE '^core/context|^core/stack\.c$|/port\.h$' | xargs_awk '
        /^ *# *(if|ifdef|elif)[ (]/ || (/^ *# *ifndef/ && !/_H$/) {
            if (!/__cplusplus/) { print FILENAME ":" FNR ": conditional compilation" }
        }'
}

# Text of protocols is compared by core/ascii.h: what the locale calls a letter is no business of HTTP.
check_locale() {
    calls='(strn?casecmp|strcasestr|strcoll|strxfrm|(to|is)w?(lower|upper)'
    calls="$calls|isw?(alpha|alnum|digit|xdigit|space|blank|print|graph|punct|cntrl))"
    files '^(include|core|bridge|reactor_thread|services|examples|bench)/.*\.[ch]$' | grep -v '^core/ascii\.h$' |
        xargs grep -nHE "(^|[^[:alnum:]_>.])$calls(_l)?\(" | findings_with_text 'asks the locale'
}

# A prototype of a public header stands right below its comment, or in a group that does.
check_public_comments() {
    files '^include/.*\.h$' | xargs_awk '
        FNR == 1 { before = "" }
        /^PIRN_API/ && before ~ /^[[:blank:]]*$/ { print FILENAME ":" FNR ": a public call without a comment: " $0 }
        { before = $0 }'
}

# tests/core/wait_test.c tests core/wait.c, or what starts with its name (lf_stack_ck.c, sql_pool.c).
check_mirror() {
    files '\.[chS]$' >"$work/sources"
    files '^tests/(core|bridge|reactor_thread|services)/.*_test\.c$' | awk -v sources="$work/sources" '
        BEGIN {
            while ((getline stem <sources) > 0) {
                sub(/\.[chS]$/, "", stem)
                do { there[stem] = 1 } while (sub(/_[a-z0-9]*$/, "", stem))
            }
        }
        {
            stem = $0; sub(/^tests\//, "", stem); sub(/_test\.c$/, "", stem)
            if (!there[stem]) { print $0 ":1: there is no " stem ".c" }
        }'
}

# Every test says its goal and method, above it or first in it, and is named for its file: Test(<file>,
# <situation>_<outcome>).
check_test_names() {
    files '^tests/.*_test\.c$' | xargs_awk '
        FNR == 1 {
            wanted = 0; inside = 0; before = ""
            suite = FILENAME; sub(/.*\//, "", suite); sub(/_test\.c$/, "", suite)
        }
        wanted && /\{$/ { inside = FNR + 1 }
        wanted && FNR == inside {
            if (!/\/\*/) { print FILENAME ":" wanted ": a test without a comment" }
            wanted = 0; inside = 0
        }
        /^Test\(/ {
            if (before !~ /\*\/$/) { wanted = FNR }
            if (wanted && /\{$/) { inside = FNR + 1 }
            name = $0; sub(/^Test\( */, "", name); found = name; sub(/,.*/, "", found)
            if (found != suite) { print FILENAME ":" FNR ": suite " found ", the file is called " suite }
        }
        { before = $0 }'
}

# Every test as SUITE::NAME. A record ends at a parenthesis, not at a line, since a name may stand below its suite.
list_tests() {
    files '^tests/.*_test\.c$' | xargs_awk '
        BEGIN { RS = "(" }
        FNR > 1 && opened && match($0, /^[ \n]*[A-Za-z0-9_]+[ \n]*,[ \n]*[A-Za-z0-9_]+/) {
            test = substr($0, 1, RLENGTH); gsub(/[ \n]/, "", test); sub(/,/, "::", test)
            print test
        }
        { opened = /Test$/ }'
}

find_absent_tests() {
    list_tests >"$work/tests"
    grep -noE "\`[a-z0-9_]+::[a-z0-9_]+\`" docs/rules.md | tr -d '`' | awk -v tests="$work/tests" '
        BEGIN { while ((getline test <tests) > 0) { there[test] = 1 } }
        {
            line = $0; sub(/:.*/, "", line)
            test = $0; sub(/^[0-9]*:/, "", test)
            if (!there[test]) { print "docs/rules.md:" line ": no test " test }
        }'
}

find_absent_scripts() {
    grep -noE "\`tests/[A-Za-z0-9_/.]+\`" docs/rules.md | tr -d '`' | while IFS=: read -r line path; do
        [ -e "$path" ] || echo "docs/rules.md:$line: no file $path"
    done
}

find_absent_rules() {
    awk '
        /^\| [0-9]+ \|/ { there[$2] = 1 }
        END { for (i = 1; i <= 20; i++) { if (!there[i]) { print "docs/rules.md:1: rule " i " is missing" } } }
    ' docs/rules.md
}

# docs/rules.md has all twenty rules. It names tests as `suite::name`, and scripts and folders as `tests/path`: each of
# them must exist.
check_rules() {
    [ -f docs/rules.md ] || { echo "docs/rules.md:1: missing"; return; }
    find_absent_tests
    find_absent_scripts
    find_absent_rules
}

find_broken_links() {
    files '\.md$' | xargs grep -noHE '\]\([^):#]+\)' | sed 's/](\(.*\))/\1/' | while IFS=: read -r file line path; do
        folder=./$file
        folder=${folder%/*}
        [ -e "$folder/$path" ] || echo "$file:$line: leads to no file: $path"
    done
}

compare_program() {
    fence='```'
    sed -n "/^${fence}c\$/,/^$fence\$/p" README.md | sed '1d;$d' >"$work/program"
    sed -n '/^static pirn_channel/,$p' examples/readme.c | cmp -s - "$work/program" ||
        echo "README.md:1: the program is not that of examples/readme.c"
}

# Links of the documents lead somewhere, and the README's program is the example that the build compiles.
check_documents() {
    find_broken_links
    compare_program
}

# A process for each script, since sh reads one: together, the quote one lacks could close in the next.
check_scripts() {
    for file in $(files '\.sh$|^dev$|^\.ci/run$'); do
        sh -n "$file" 2>/dev/null || echo "$file:1: does not parse as sh"
    done
}

# An exception that was not used. Last, since it reads what the others used.
check_allow() {
    awk -v used="$work/used" '
        BEGIN { while ((getline line <used) > 0) { needed[line] = 1 } }
        NF && $1 !~ /^#/ && !needed[NR] { print "tests/tidy.allow:" NR ": not needed any more: " $1 " " $2 }
    ' tests/tidy.allow
    awk 'NF && $1 !~ /^#/ && NF < 4 { print "tests/tidy.allow:" NR ": an exception without a reason" }' tests/tidy.allow
}

# What a tool complains of is a finding as well: a process that gave up has not looked at the rest of the files.
failed=0
for rule in headers line_length whitespace function_length file_length words includes allocation locale conditionals \
    public_comments mirror test_names rules documents scripts allow; do
    "check_$rule" >"$work/findings" 2>&1
    verdict "$rule" <"$work/findings" || failed=1
done
[ "$failed" -eq 0 ]
