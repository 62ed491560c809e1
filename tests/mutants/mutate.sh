# SPDX-License-Identifier: MIT
#
# What the two scripts of this folder share: reading a mutant and applying it.
#
# A mutant is a small change to the source that a test must notice. A file NAME.mutant has these lines, in any order but
# for the last two:
#     file: the source that it changes
#     why: what goes wrong in a program with this change
#     build: the preset whose tests notice it (release, debug, asan or tsan)
#     target: the test program to build
#     tests: a pattern for tests/run.sh
#     old:
#         the lines to replace
#     new:
#         the lines in their place; none: they are deleted
# Lines are compared without the blanks around them, so that a mutant outlives a change of indentation. `old` must occur
# once.

field() { # MUTANT NAME
    sed -n "s/^$2: *//p" "$1"
}

# The source with the mutation, on stdout. Fails unless `old` occurs exactly once.
mutate() { # MUTANT SOURCE
    awk -v mutant="$1" '
        function trim(text) { gsub(/^[ \t]+|[ \t]+$/, "", text); return text }
        BEGIN {
            while ((getline line <mutant) > 0) {
                if (line == "old:") { part = "old" }
                else if (line == "new:") { part = "new" }
                else if (part == "old") { old[++olds] = trim(line) }
                else if (part == "new") { fresh[++news] = line }
            }
        }
        { text[NR] = $0; trimmed[NR] = trim($0) }
        END {
            for (i = 1; i + olds - 1 <= NR; i++) {
                for (k = 1; k <= olds && trimmed[i + k - 1] == old[k]; k++) { }
                if (k > olds) { at = i; found++ }
            }
            if (olds == 0 || found != 1) { exit 1 }
            for (i = 1; i <= NR; i++) {
                if (i == at) {
                    for (k = 1; k <= news; k++) { print fresh[k] }
                    i += olds - 1
                } else {
                    print text[i]
                }
            }
        }' "$2"
}
