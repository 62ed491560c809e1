/* SPDX-License-Identifier: MIT
 *
 * What: lines on stderr come whole, cut visibly when too long, and a panic aborts.
 */
#include <fcntl.h>

#include "child.h"

static void warn_twice(void) {
    errno = EBUSY;
    pn_warn("queue %s has %d entries", "inbox", 3);
    pn_warn("errno is %s", errno == EBUSY ? "kept" : "lost");
}

/* Goal: a warning is one line with our name, and leaves errno alone.
 * Method: a child warns twice; its stderr must be these two lines. */
Test(panic, warn_writes_one_line_and_keeps_errno) {
    child_end end = run_child(warn_twice);
    cr_assert_str_eq(end.text, "pirn: queue inbox has 3 entries\npirn: errno is kept\n");
    cr_assert_eq(end.status, 0);
    free(end.text);
}

/* In a child whose stderr is a full pipe with nobody at the other end. */
static void warn_into_a_full_pipe(void) {
    int ends[2], told = dup(STDERR_FILENO);
    char page[4096] = {0};
    PN_ASSERT(pipe2(ends, O_NONBLOCK) == 0);
    while (write(ends[1], page, sizeof page) > 0) {
        /* fill it */
    }
    PN_ASSERT(fcntl(ends[1], F_SETFL, 0) == 0); /* from here on a write would wait for a reader, for ever */
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < 3; i++) {
        pn_warn("nobody reads this");
    }
    dup2(told, STDERR_FILENO);
    pn_warn("read again");
}

/* Goal: a warning never waits for a slow reader of stderr: it is counted, and the count is told with the next line.
 * Method: a child warns into a full pipe, which would hold it for ever, and then into a good one. */
Test(panic, warn_does_not_wait_for_a_slow_reader) {
    child_end end = run_child(warn_into_a_full_pipe);
    cr_assert_str_eq(end.text, "pirn: 3 lines were lost here: stderr is read too slowly\npirn: read again\n");
    cr_assert_eq(end.status, 0);
    free(end.text);
}

static void warn_long(void) {
    char text[5000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    pn_warn("%s", text);
}

/* Goal: a text that does not fit is cut, still one line, and says that it is cut.
 * Method: a child warns with 4,999 letters; look at the length and the end of what it wrote. */
Test(panic, warn_too_long_is_cut_visibly) {
    child_end end = run_child(warn_long);
    size_t length = strlen(end.text);
    cr_assert_leq(length, 1024);
    cr_assert_gt(length, 1000);
    cr_assert_str_eq(end.text + length - 5, "x...\n");
    cr_assert_eq(strchr(end.text, '\n'), end.text + length - 1);
    free(end.text);
}

static void assert_false(void) {
    int answer = 41;
    PN_ASSERT(answer == 42);
}

/* Goal: a failed assertion names its place and condition, in every build, and dies by SIGABRT.
 * Method: a child fails one. */
Test(panic, assert_failed_names_place_and_aborts) {
    child_end end = run_child(assert_false);
    expect_killed(&end, SIGABRT);
    expect_said(&end, "pirn: ");
    expect_said(&end, "panic_test.c:");
    expect_said(&end, "assertion failed: answer == 42\n");
    free(end.text);
}

static void warn_often(void) {
    for (int i = 0; i < 1000; i++) {
        pn_warn("a connection failed: number %d", i);
        if (i < 3) {
            pn_warn("another thing: number %d", i);
        }
        pn_tell("row %d of a report", i);
    }
    pn_warn_flush();
    PN_ASSERT(pn_warn_left_out() == 1000 - PN_WARN_BURST || pn_warn_left_out() == 1000 - 2 * PN_WARN_BURST);
}

static unsigned lines_with(const char *text, const char *part) {
    unsigned count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

/* Goal: a warning that repeats is written a few times a second and counted after that; other kinds and reports are not
 *       held back by it, and the count is told.
 * Method: a child warns 1,000 times of one thing and three times of another, in at most two seconds. */
Test(panic, warning_that_repeats_is_limited_and_counted) {
    child_end end = run_child(warn_often);
    cr_assert_eq(end.status, 0, "%s", end.text);
    unsigned said = lines_with(end.text, "pirn: a connection failed: number ");
    cr_assert(said == PN_WARN_BURST || said == 2 * PN_WARN_BURST, "%u", said);
    cr_assert_eq(lines_with(end.text, "another thing: number "), 3);
    cr_assert_eq(lines_with(end.text, " of a report\n"), 1000);
    expect_said(&end, " more like this: a connection failed: number %d\n");
    free(end.text);
}

static void warn_many_kinds(void) {
    static char names[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "kind %d", i);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 40; i++) {
            pn_warn_as(names[i], "one of forty kinds");
        }
    }
    pn_warn_flush();
}

/* Goal: more kinds of warnings than are kept apart cost neither memory nor a line that is lost without a count.
 * Method: forty kinds in turn. */
Test(panic, many_kinds_of_warnings_are_all_told) {
    child_end end = run_child(warn_many_kinds);
    cr_assert_eq(end.status, 0, "%s", end.text);
    cr_assert_geq(lines_with(end.text, "one of forty kinds"), 40);
    free(end.text);
}

static void warn_of_hostile_text(void) {
    pn_warn("tasklet \"%s\" failed", "GET /\x1b[31m\n\xc2\x9b\xff");
    pn_tell("%s", "\x1b]0;title\x07");
}

/* Goal: no text of a user or of the network steers the terminal that shows our lines, and a line stays one.
 * Method: escape sequences in a warning and in a report. */
Test(panic, control_bytes_of_a_line_are_escaped) {
    child_end end = run_child(warn_of_hostile_text);
    cr_assert_str_eq(end.text, "pirn: tasklet \"GET /\\x1b[31m\\x0a\\xc2\\x9b\\xff\" failed\n"
                               "pirn: \\x1b]0;title\\x07\n");
    free(end.text);
}
