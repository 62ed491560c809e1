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
    cr_assert_str_eq(end.text, "pirn: 3 lines were lost here: who reads stderr is too slow\npirn: read again\n");
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
