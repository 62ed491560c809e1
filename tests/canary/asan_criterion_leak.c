/* SPDX-License-Identifier: MIT
 *
 * What: a test that passes and leaks. Criterion calls it passed; tests/run.sh must call it failed, or no leak of any
 *       test would ever be seen.
 * Threads: one.
 */
#include "test.h"

/* Goal: a leak fails the run. Method: lose the only pointer to a block; the report's file is what run.sh looks for. */
Test(leak, planted_leak_is_found_by_the_runner) {
    char *volatile lost = malloc(100);
    cr_assert_not_null(lost);
    lost[0] = 1;
    lost = NULL;
}
