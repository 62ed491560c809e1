/* SPDX-License-Identifier: MIT
 *
 * What: what Criterion 2.4.1 needs from us. (1) A time limit for each test that names none: its own --timeout does
 *       nothing, and a test that hangs would take the whole program with it. (2) Not to start libgit2, of which its
 *       newer assertions, that we do not use, print differences: each test is a process, and libgit2 parses all
 *       certificates of the system in each, a third of the CPU time of a small test.
 * Threads: the runner's, before the first test.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/internal/ordered-set.h>
#include <stdlib.h>

#define LIMIT_DEFAULT_S 240.0

static double limit_s(void) {
    const char *text = getenv("PIRN_TEST_LIMIT_S");
    double limit = text ? strtod(text, NULL) : 0;
    return limit > 0 ? limit : LIMIT_DEFAULT_S;
}

ReportHook(PRE_ALL)(struct criterion_test_set *tests) {
    FOREACH_SET(struct criterion_suite_set * set, tests->suites) {
        FOREACH_SET(struct criterion_test * test, set->tests) {
            if (test->data->timeout <= 0) {
                test->data->timeout = limit_s();
            }
        }
    }
}

/* In the place of libgit2's: with Criterion's archive there is no other, and with its shared library the program's own
 * symbols come first. */
__attribute__((visibility("default"))) int git_libgit2_init(void);
__attribute__((visibility("default"))) int git_libgit2_shutdown(void);
__attribute__((visibility("default"))) int git_diff_buffers(void);

int git_libgit2_init(void) {
    return 1;
}

int git_libgit2_shutdown(void) {
    return 0;
}

int git_diff_buffers(void) {
    return -1; /* as any of its errors: no difference is printed */
}
