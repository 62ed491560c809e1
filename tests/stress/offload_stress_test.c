/* SPDX-License-Identifier: MIT
 *
 * What: a job is cancelled in the moment in which its thread settles it.
 * Threads: one or two workers and the pool's.
 */
#include <sched.h>
#include <stdatomic.h>

#include "modes.h"

static atomic_uint at_its_end;

static int work(void *arg, pirn_result *out) {
    (void)arg;
    (void)out;
    return 0;
}

/* The argument's destructor: the last that a job's thread does before it settles. */
static void tell_the_end(void *arg) {
    atomic_store_explicit((atomic_uint *)arg, 1, memory_order_relaxed); /* relaxed: it must order nothing */
}

static int cancel_at_the_end(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(10000, 6000);
    for (uint64_t i = 0; i < rounds; i++) {
        atomic_store_explicit(&at_its_end, 0, memory_order_relaxed);
        pirn_deferred *job = pirn_offload(work, &at_its_end, tell_the_end);
        TEST_CHECK(job != NULL);
        for (unsigned turns = 1; !atomic_load_explicit(&at_its_end, memory_order_relaxed); turns++) {
            if (turns % 256 == 0) {
                (void)sched_yield();
            }
        }
        for (volatile unsigned pause = (unsigned)(i % 512) * 16; pause > 0; pause--) {
        }
        TEST_CHECK(pirn_deferred_cancel(job) == 0);
        int code = pirn_await(job, NULL, PIRN_FOREVER);
        TEST_CHECK(code == 0 || code == PIRN_ECANCELED);
        pirn_deferred_release(job);
    }
    return 0;
}

/* Goal: a cancel and the end of a job decide under the pool's mutex which of them was first.
 * Method: main waits until the job's thread is at its end and cancels some moments later, without a turn for others in
 *       between. ThreadSanitizer sees a state that is changed outside of the mutex. */
Test(offload_stress, cancel_meets_the_end, .timeout = 120) {
    test_run_everywhere(cancel_at_the_end, NULL);
}
