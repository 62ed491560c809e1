/* SPDX-License-Identifier: MIT
 *
 * What: the one include of every C test. It is Criterion, or in a build with a sanitizer a runner of our own with the
 *       same few words: Test with .init .fini .signal .exit_code .timeout .disabled, and cr_assert, cr_expect and their
 *       kin. Other features of Criterion are not used, so the same tests run in both.
 *       Under ThreadSanitizer Criterion cannot run. Under AddressSanitizer it calls a test that leaks passed, and each
 *       test is a process with OpenSSL and libgit2 in it, whose data the search for leaks goes through: 0.2 s of CPU a
 *       test, 0.1 in a fork of our own.
 * Threads: assertions on the test's main thread or inside its tasklets; a failed one ends the test's process.
 */
#ifndef PIRN_TEST_H
#define PIRN_TEST_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define PIRN_TEST_OWN_RUNNER 1
#endif
#ifdef __has_feature
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define PIRN_TEST_OWN_RUNNER 1
#endif
#endif

#ifdef PIRN_TEST_OWN_RUNNER
#include "runner.h"
#else
#include <criterion/criterion.h>
#endif

/* The count a long test uses here: `whole` divided by the environment's PIRN_TEST_DIVISOR, at least `least`. Sanitizer
 * builds run with a divisor, which ./dev test prints; release runs the whole count. */
static inline uint64_t pirn_test_count(uint64_t whole, uint64_t least) {
    const char *text = getenv("PIRN_TEST_DIVISOR");
    uint64_t divisor = text ? strtoull(text, NULL, 10) : 1;
    uint64_t count = divisor > 1 ? whole / divisor : whole;
    return count < least ? least : count;
}

/* Whether this run may take long (PIRN_TEST_LONG=1): then counts that promise much are met whole. */
static inline bool pirn_test_is_long(void) {
    const char *text = getenv("PIRN_TEST_LONG");
    return text && strcmp(text, "1") == 0;
}

/* Whether promises about time are asserted here: in the build that is shipped. Others are slower by what they check,
 * and only print. */
static inline bool pirn_test_keeps_time(void) {
#ifdef NDEBUG
    return pirn_test_count(2, 1) == 2;
#else
    return false;
#endif
}

#endif
