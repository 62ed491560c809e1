/* SPDX-License-Identifier: MIT
 *
 * What: a time limit for each Criterion test that names none. Criterion's own --timeout does nothing in version 2.4.1,
 *       and a test that hangs would then take the whole program with it.
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
