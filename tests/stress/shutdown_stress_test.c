/* SPDX-License-Identifier: MIT
 *
 * What: messages that make messages while the runtime ends: no tasklet lives any more, but the program is not over.
 * Threads: four workers.
 */
#include <stdatomic.h>

#include "modes.h"

#define WORKERS 4

static const test_mode four_workers = {"threaded", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, WORKERS};

static atomic_uint fired;

/* Fire the next one, which lives on another worker: a message there. */
static pirn_deferred *fire_next(void *next, pirn_result *result) {
    (void)result;
    atomic_fetch_add_explicit(&fired, 1, memory_order_relaxed);
    if (next) {
        TEST_CHECK(pirn_deferred_fire(next, NULL, NULL) == 0);
        pirn_deferred_release(next);
    }
    return NULL;
}

/* A chain of `arg` deferreds, each fired by the one before. Its start is the last that main does. */
static int start_a_chain(void *arg) {
    unsigned hops = *(unsigned *)arg;
    pirn_deferred *next = NULL;
    for (unsigned i = hops; i-- > 0;) {
        pirn_deferred *made = pirn_deferred_create_at((int)(i % WORKERS), NULL, NULL);
        TEST_CHECK(made != NULL);
        TEST_CHECK(pirn_deferred_add_both(made, fire_next, next) == 0);
        next = made;
    }
    /* What was added elsewhere has arrived when this await, which goes the same way, is answered. */
    for (int home = 1; home < WORKERS; home++) {
        pirn_deferred *marker = pirn_deferred_create_at(home, NULL, NULL);
        TEST_CHECK(marker && pirn_deferred_fire(marker, NULL, NULL) == 0);
        TEST_CHECK(pirn_await(marker, NULL, PIRN_FOREVER) == 0);
        pirn_deferred_release(marker);
    }
    TEST_CHECK(pirn_deferred_fire(next, NULL, NULL) == 0);
    pirn_deferred_release(next);
    return 0;
}

/* Goal: the runtime ends when no message is under way, not when no tasklet lives.
 * Method: main starts a chain of fires from worker to worker and returns; every link must have fired at the end. */
Test(shutdown_stress, chain_between_workers_is_finished, .timeout = 120) {
    uint64_t rounds = pirn_test_count(30, 4);
    for (uint64_t round = 0; round < rounds; round++) {
        unsigned hops = 200;
        atomic_store(&fired, 0);
        int result = test_run_in(&four_workers, start_a_chain, &hops);
        cr_assert_eq(result, 0);
        cr_assert_eq(atomic_load(&fired), hops, "round %u: %u of %u fired", (unsigned)round, atomic_load(&fired), hops);
    }
}
