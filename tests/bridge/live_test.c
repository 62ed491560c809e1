/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/live.c: what counts as outside, alone and among threads.
 */
#include "test.h"

#include <pthread.h>

#include "live.h"

/* Goal: records are outside things too, and both counts come back to zero.
 * Method: begin and end of each kind, nested. */
Test(live, records_count_as_outside_things) {
    cr_assert_eq(pn_outside_count(), 0);
    pn_outside_begin();
    pn_record_begin();
    pn_record_begin();
    cr_assert_eq(pn_outside_count(), 3);
    cr_assert_eq(pn_record_count(), 2);
    pn_record_end();
    pn_outside_end();
    cr_assert_eq(pn_outside_count(), 1);
    cr_assert_eq(pn_record_count(), 1);
    pn_record_end();
    cr_assert_eq(pn_outside_count(), 0);
    cr_assert_eq(pn_record_count(), 0);
}

/* Goal: an end without a begin is a bug, not a count of four billion.
 * Method: the process aborts. */
Test(live, end_without_begin_aborts, .signal = SIGABRT) {
    pn_outside_begin();
    pn_record_end();
}

static uint64_t rounds;

static void *begin_and_end(void *arg) {
    for (uint64_t i = 0; i < rounds; i++) {
        pn_record_begin();
        pn_outside_begin();
        pn_record_end();
        pn_outside_end();
    }
    return arg;
}

/* Goal: a reader never sees zero while there always was something.
 * Method: three threads begin and end things; one more stays all the time, and a reader looks. */
Test(live, count_never_dips_below_what_there_is, .timeout = 60) {
    pthread_t threads[3];
    rounds = pirn_test_count(200000, 1000);
    pn_outside_begin();
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, begin_and_end, NULL), 0);
    }
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t all = pn_outside_count();
        cr_assert(all >= 1 && all <= 7, "%llu things", (unsigned long long)all);
        cr_assert_leq(pn_record_count(), 3);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    pn_outside_end();
    cr_assert_eq(pn_outside_count(), 0);
    cr_assert_eq(pn_record_count(), 0);
}
