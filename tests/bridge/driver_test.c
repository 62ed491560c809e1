/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/driver.c: what one turn hands back, and whom it rings. The test's thread is the reactor, two
 *       workers are places to hand back to.
 */
#include "test.h"

#include <unistd.h>

#include "driver.h"
#include "runtime.h"
#include "worker.h"

enum { WORKERS = 2, COMPLETIONS = 40 };

static pn_worker workers[WORKERS];
static pn_driver reactor;

typedef struct completion {
    pn_message message;
    unsigned number;
} completion;

static completion completions[COMPLETIONS];
static unsigned delivered[COMPLETIONS], delivered_count;

static void setup(void) {
    pn_below = &pn_hooks_threads;
    pn_runtime_current.worker_count = WORKERS;
    pn_runtime_current.workers = workers;
    pn_runtime_current.reactor = &reactor;
    for (int i = 0; i < WORKERS; i++) {
        pn_inbox_init(&workers[i].driver.port.inbox);
        cr_assert_eq(pn_doorbell_init(&workers[i].driver.port.bell), 0);
    }
    cr_assert_eq(pn_driver_init(&reactor, true), 0);
}

static void teardown(void) {
    pn_driver_fini(&reactor);
    for (int i = 0; i < WORKERS; i++) {
        pn_doorbell_fini(&workers[i].driver.port.bell);
    }
}

/* How often worker `home`'s bell was written since the last call. */
static uint64_t rings(unsigned home) {
    uint64_t count = 0;
    return read(workers[home].driver.port.bell.fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

static void deliver_at_home(pn_message *message) {
    delivered[delivered_count++] = PN_CONTAINER_OF(message, completion, message)->number;
}

/* On the reactor: a request is done at once, and goes home to worker 0 or 1 in turns. */
static void deliver_to_reactor(pn_message *message) {
    completion *c = PN_CONTAINER_OF(message, completion, message);
    message->deliver = deliver_at_home;
    pn_driver_hand_back(&reactor, c->number % WORKERS, message);
    for (unsigned home = 0; home < WORKERS; home++) {
        cr_assert(pn_inbox_empty(&workers[home].driver.port.inbox), "pushed before the end of the turn");
    }
}

static void request_all(void) {
    for (unsigned i = 0; i < COMPLETIONS; i++) {
        completions[i] = (completion){.message.deliver = deliver_to_reactor, .number = i};
        pn_inbox_push_mpsc(&reactor.port.inbox, &completions[i].message);
    }
}

/* Goal: whatever a turn completes goes to each worker in one batch, in order, with one ring for a worker that sleeps
 *       and none for one that does not (rule 7).
 * Method: forty requests for two workers in one turn, one of them asleep; its eventfd counts the writes. */
Test(driver, turn_hands_back_in_one_batch_and_rings_once, .init = setup, .fini = teardown) {
    request_all();
    pn_doorbell_sleep(&workers[0].driver.port.bell);
    pn_driver_turn(&reactor, PIRN_NOW);
    cr_assert_eq(rings(0), 1);
    cr_assert_eq(rings(1), 0);
    pn_doorbell_wake(&workers[0].driver.port.bell);
    cr_assert_eq(workers[0].driver.port.bell.rung_count, 1);
    for (unsigned home = 0; home < WORKERS; home++) {
        delivered_count = 0;
        cr_assert_eq(pn_inbox_drain(&workers[home].driver.port.inbox), COMPLETIONS / WORKERS);
        cr_assert_eq(workers[home].driver.port.inbox.taken_count, COMPLETIONS / WORKERS);
        for (unsigned i = 0; i < delivered_count; i++) {
            cr_assert_eq(delivered[i], i * WORKERS + home);
        }
    }
}

/* Goal: a turn that completes nothing rings nobody, and a worker that was rung is not rung again before it wakes.
 * Method: an empty turn, and two turns with completions for a worker that sleeps through both. */
Test(driver, turn_without_completions_rings_nobody, .init = setup, .fini = teardown) {
    pn_doorbell_sleep(&workers[0].driver.port.bell);
    pn_doorbell_sleep(&workers[1].driver.port.bell);
    pn_driver_turn(&reactor, PIRN_NOW);
    cr_assert_eq(rings(0) + rings(1), 0);
    completions[0] = (completion){.message.deliver = deliver_at_home, .number = 0};
    completions[1] = (completion){.message.deliver = deliver_at_home, .number = 1};
    pn_driver_hand_back(&reactor, 1, &completions[0].message);
    pn_driver_turn(&reactor, PIRN_NOW);
    pn_driver_hand_back(&reactor, 1, &completions[1].message);
    pn_driver_turn(&reactor, PIRN_NOW);
    cr_assert_eq(rings(0), 0);
    cr_assert_eq(rings(1), 1);
    cr_assert_eq(pn_inbox_drain(&workers[1].driver.port.inbox), 2);
    cr_assert(delivered[0] == 0 && delivered[1] == 1);
}

/* Goal: workers get their completions in ascending order of their numbers: the message that stops a listener relies on
 *       it, since it visits the workers from the last to the first.
 * Method: completions for both, the second one's first; a set that watches both bells tells them in the order in which
 *       they were written. */
Test(driver, workers_are_served_in_ascending_order, .init = setup, .fini = teardown) {
    pn_readiness set;
    pn_ready_event events[PN_EVENTS_MAX];
    cr_assert_eq(pn_readiness_init(&set), 0);
    for (unsigned home = 0; home < WORKERS; home++) {
        cr_assert_eq(pn_readiness_add_bell(&set, workers[home].driver.port.bell.fd, &workers[home]), 0);
        pn_doorbell_sleep(&workers[home].driver.port.bell);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        completions[i] = (completion){.message.deliver = deliver_at_home, .number = i};
        pn_driver_hand_back(&reactor, WORKERS - 1 - i, &completions[i].message);
    }
    pn_driver_turn(&reactor, PIRN_NOW);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), WORKERS);
    for (unsigned home = 0; home < WORKERS; home++) {
        cr_assert(events[home].tag == &workers[home], "worker %u was not served in its place", home);
        (void)pn_inbox_drain(&workers[home].driver.port.inbox);
    }
    pn_readiness_fini(&set);
}

enum { FLOOD = 3 * PN_DRAIN_MAX };

static pn_message flood[FLOOD];
static unsigned flooded;

static void deliver_flood(pn_message *message) {
    cr_assert(message == &flood[flooded++]);
}

/* Goal: a turn delivers a bounded number of messages, so that timers and tasklets go on in between, and it does not
 *       sleep while some wait.
 * Method: three drains' worth in the inbox; turns that may sleep for ever, until all have arrived, in order. */
Test(driver, turn_takes_a_share_of_a_flood, .init = setup, .fini = teardown) {
    for (unsigned i = 0; i < FLOOD; i++) {
        flood[i].deliver = deliver_flood;
        pn_inbox_push_mpsc(&reactor.port.inbox, &flood[i]);
    }
    unsigned before = 0;
    do {
        pn_driver_turn(&reactor, PIRN_FOREVER);
        cr_assert(flooded > before && flooded - before <= 2 * PN_DRAIN_MAX);
        before = flooded;
    } while (flooded < FLOOD);
    cr_assert(pn_inbox_empty(&reactor.port.inbox));
}
