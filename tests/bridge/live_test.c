/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/live.c: what counts as outside, alone and among threads.
 */
#include "modes.h"

#include <pthread.h>

#include "live.h"

static int count_at_home(void *arg) {
    (void)arg;
    unsigned before = pn_record_count();
    pn_record_begin();
    pn_record_begin();
    pn_job_count_begin();
    TEST_CHECK(pn_record_count() == before + 2);
    TEST_CHECK(pn_outside_count() == 0);
    pn_job_count_end();
    pn_record_end();
    pn_record_end();
    TEST_CHECK(pn_record_count() == before);
    return 0;
}

/* Goal: records and jobs are plain numbers of their home, beside the things that anybody may be woken by.
 * Method: begin and end of each, nested. */
Test(live, records_and_jobs_count_at_home) {
    test_run_everywhere(count_at_home, NULL);
}

/* Goal: an end without a begin is a bug, not a count of four billion.
 * Method: the process aborts. */
Test(live, end_without_begin_aborts, .signal = SIGABRT) {
    pn_outside_begin();
    pn_outside_end();
    pn_outside_end();
}

static uint64_t rounds;

static void *begin_and_end(void *arg) {
    for (uint64_t i = 0; i < rounds; i++) {
        pn_outside_begin();
        pn_outside_begin();
        pn_outside_end();
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
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    pn_outside_end();
    cr_assert_eq(pn_outside_count(), 0);
}
