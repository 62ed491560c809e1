/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/worker.c: when a worker's posts ring the reactor. The test's thread is worker 0 of a threaded
 *       runtime; the reactor is a port with a bell that sleeps.
 */
#include "test.h"

#include <unistd.h>

#include "runtime.h"
#include "worker.h"

enum { POSTS_MAX = 64 };

static pn_worker worker;
static pn_driver reactor;
static pn_message messages[POSTS_MAX];
static unsigned posted, delivered;

static void setup(void) {
    pn_below = &pn_hooks_threads;
    pirn_options_init(&pn_runtime_current.options);
    pn_runtime_current.options.mode = PIRN_MODE_THREADED;
    pn_runtime_current.options.stack_bytes = 64 << 10;
    pn_runtime_current.worker_count = 1;
    pn_runtime_current.workers = &worker;
    pn_runtime_current.reactor = &reactor;
    pn_inbox_init(&reactor.port.inbox);
    cr_assert_eq(pn_doorbell_init(&reactor.port.bell), 0);
    cr_assert_eq(pn_worker_init(&worker, 0), 0);
    pn_doorbell_sleep(&reactor.port.bell);
}

static void teardown(void) {
    pn_worker_fini(&worker);
    pn_doorbell_fini(&reactor.port.bell);
}

static uint64_t rings(void) {
    uint64_t count = 0;
    return read(reactor.port.bell.fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

static void deliver(pn_message *message) {
    cr_assert(message == &messages[delivered]);
    delivered++;
}

static void post(unsigned count) {
    for (; count > 0; count--) {
        messages[posted].deliver = deliver;
        pn_reactor_post(&messages[posted++]);
    }
}

/* The reactor has taken all that is there, and sleeps again. */
static void reactor_turns(void) {
    pn_doorbell_wake(&reactor.port.bell);
    (void)pn_inbox_drain(&reactor.port.inbox);
    cr_assert_eq(delivered, posted);
    pn_doorbell_sleep(&reactor.port.bell);
}

/* Goal: sixteen posts to the reactor share one ring, and all are in its inbox before it is rung (rule 7).
 * Method: post one after the other to a sleeping reactor; its eventfd counts the writes, twice round. */
Test(worker, sixteen_posts_share_one_ring, .init = setup, .fini = teardown) {
    for (uint64_t round = 1; round <= 2; round++) {
        post(15);
        cr_assert_eq(rings(), 0);
        cr_assert_not(pn_inbox_empty(&reactor.port.inbox), "only the ring waits");
        post(1);
        cr_assert_eq(rings(), 1);
        reactor_turns();
        cr_assert_eq(reactor.port.bell.rung_count, round);
    }
}

/* Goal: a ring that waits for more posts comes at the worker's next look at its events, at the latest.
 * Method: three posts, then the hook that the scheduler calls every 61 dispatches; a second look rings nobody. */
Test(worker, fewer_posts_ring_at_the_next_look, .init = setup, .fini = teardown) {
    post(3);
    cr_assert_eq(rings(), 0);
    pn_hooks_threads.poll(&worker.sched);
    cr_assert_eq(rings(), 1);
    reactor_turns();
    pn_hooks_threads.poll(&worker.sched);
    cr_assert_eq(rings(), 0);
    post(1);
    pn_hooks_threads.idle(&worker.sched, pirn_after(0)); /* before the worker sleeps, too */
    cr_assert_eq(rings(), 1);
    reactor_turns();
    cr_assert_eq(reactor.port.bell.rung_count, 2);
}
