/* SPDX-License-Identifier: MIT
 *
 * What: deferreds that are looked at from several threads at the moment in which they fire: pollers with PIRN_NOW, an
 *       await elsewhere whose answer is on the way while the home adds callbacks.
 * Threads: two workers.
 */
#include <sched.h>
#include <stdatomic.h>

#include "modes.h"

static const test_mode two_workers = {"threaded", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, 2};

static pirn_tasklet start(pirn_fn fn, void *arg, int home) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    options.home = home;
    pirn_tasklet tasklet = pirn_spawn_with(&options, fn, arg);
    TEST_CHECK(tasklet.id != 0);
    return tasklet;
}

/* Workers spin here on purpose: the watchdog is not told. */
static void run(pirn_fn main_fn) {
    pirn_options options;
    test_mode_options(&two_workers, &options);
    options.slice_warn_ns = PIRN_FOREVER;
    int result = pirn_run(&options, main_fn, NULL);
    cr_assert_eq(result, 0, "main ended with %s", pirn_error_name(result));
}

/* A turn of a loop that waits for the other worker: with fewer processors than threads that one may need ours. */
static void spin(unsigned *turns) {
    if (++*turns % 256 == 0) {
        (void)sched_yield();
    }
}

/* ---- pollers ---- */

typedef struct poll_round {
    _Atomic(pirn_deferred *) deferred; /* of this round; NULL: none yet, or all are over              */
    atomic_uint done;                  /* rounds whose result the poller has                          */
    atomic_bool stop;
} poll_round;

/* Poll without a turn for others: this worker has nothing else to do, and a yield would take the load past the moment
 * that the test looks for. */
static int poll_it(void *arg) {
    poll_round *r = arg;
    pirn_deferred *last = NULL;
    unsigned turns = 0;
    while (!atomic_load(&r->stop)) {
        pirn_deferred *d = atomic_load(&r->deferred);
        if (!d || d == last) {
            spin(&turns);
            continue;
        }
        pirn_result out;
        int code;
        while ((code = pirn_await(d, &out, PIRN_NOW)) == PIRN_EAGAIN) {
            spin(&turns);
        }
        TEST_CHECK(code == 0 && *(unsigned *)out.value == 7);
        last = d;
        atomic_fetch_add(&r->done, 1);
    }
    return 0;
}

static int fire_under_pollers(void *arg) {
    (void)arg;
    poll_round r = {.deferred = NULL};
    pirn_tasklet poller = start(poll_it, &r, 1);
    unsigned rounds = (unsigned)pirn_test_count(20000, 2000), turns = 0;
    pirn_deferred *before = NULL;
    for (unsigned i = 0; i < rounds; i++) {
        pirn_deferred *d = pirn_deferred_create(NULL, NULL);
        unsigned *value = malloc(sizeof *value);
        TEST_CHECK(d != NULL && value != NULL);
        *value = 7; /* plain: only the deferred publishes it */
        atomic_store(&r.deferred, d);
        for (volatile unsigned pause = i % 64; pause > 0; pause--) { /* so that the fire meets every place of a look */
        }
        TEST_CHECK(pirn_deferred_fire(d, value, free) == 0);
        while (atomic_load(&r.done) <= i) {
            spin(&turns);
        }
        pirn_deferred_release(before); /* its address is not used again before all have seen the next one */
        before = d;
    }
    atomic_store(&r.stop, true);
    pirn_deferred_release(before);
    return pirn_join(poller, NULL, PIRN_FOREVER);
}

/* Goal: whichever look at a deferred finds the result, it sees what the firing thread wrote before.
 * Method: one worker polls one deferred after the other with PIRN_NOW while the other makes and fires them. What is
 *       read is plain memory, so ThreadSanitizer sees a claim that does not acquire. */
Test(deferred_poll_stress, pollers_see_the_value_of_a_fire, .timeout = 120) {
    run(fire_under_pollers);
}

/* ---- an answer on the way ---- */

static pirn_deferred *wait_for_inner(void *inner, pirn_result *result) {
    (void)result;
    return inner;
}

static int await_elsewhere(void *arg) {
    pirn_result out;
    int code = pirn_await(arg, &out, PIRN_FOREVER);
    TEST_CHECK(code == 0 && *(unsigned *)out.value == 7);
    pirn_deferred_release(arg);
    return 0;
}

static int end_at_once(void *arg) {
    (void)arg;
    return 0;
}

/* Until what worker 1's earlier tasklets have sent here has arrived: this one's answer comes after it. */
static void join_behind(void) {
    TEST_CHECK(pirn_join(start(end_at_once, NULL, 1), NULL, PIRN_FOREVER) == 0);
}

static int add_behind_the_answer(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(2000, 100);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_deferred *outer = pirn_deferred_create(NULL, NULL), *inner = pirn_deferred_create(NULL, NULL);
        unsigned *value = malloc(sizeof *value);
        TEST_CHECK(outer && inner && value);
        *value = 7;
        pirn_tasklet waiter = start(await_elsewhere, pirn_deferred_retain(outer), 1);
        join_behind();
        TEST_CHECK(pirn_deferred_fire(outer, value, free) == 0);
        /* Its answer is on the way. From here on the chain waits again, for one that nobody has fired. */
        TEST_CHECK(pirn_deferred_add_both(outer, wait_for_inner, pirn_deferred_retain(inner)) == 0);
        TEST_CHECK(pirn_join(waiter, NULL, PIRN_FOREVER) == 0);
        TEST_CHECK(pirn_deferred_fire(inner, NULL, NULL) == 0);
        pirn_deferred_release(inner);
        pirn_deferred_release(outer);
    }
    return 0;
}

/* Goal: the result that answers an await elsewhere stays what it was until the asker has seen it.
 * Method: the home fires, and adds at once a callback after which the chain has no result; the asker still gets the
 *       value that it waited for. */
Test(deferred_poll_stress, answer_on_the_way_keeps_its_result, .timeout = 120) {
    run(add_behind_the_answer);
}
