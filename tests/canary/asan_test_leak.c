/* SPDX-License-Identifier: MIT
 *
 * What: a test that passes and leaks. The runner must call it failed, or no leak of any test would ever be seen.
 * Threads: one.
 */
#include "test.h"

/* Goal: a leak fails the test that leaks. Method: lose the only pointer to a block. */
Test(leak, planted_leak_fails_its_test) {
    char *volatile lost = malloc(100);
    cr_assert_not_null(lost);
    lost[0] = 1;
    lost = NULL;
}
