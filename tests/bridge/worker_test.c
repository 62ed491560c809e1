/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/worker.c: that a worker's posts ring at once, and what it gives back before it sleeps. For the
 *       former the test's thread is worker 0 of a threaded runtime; the reactor is a port with a bell that sleeps.
 */
#include <pthread.h>
#include <unistd.h>

#include "modes.h"
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

/* Goal: a post rings a sleeping reactor at once, whatever the worker does next, and only the first one of a row writes
 *       (rule 7).
 * Method: post one after the other to a sleeping reactor; its eventfd counts the writes, twice round. */
Test(worker, each_post_rings_a_sleeping_reactor, .init = setup, .fini = teardown) {
    for (uint64_t round = 1; round <= 2; round++) {
        post(1);
        cr_assert_eq(rings(), 1);
        cr_assert_not(pn_inbox_empty(&reactor.port.inbox), "pushed before the ring");
        post(15);
        cr_assert_eq(rings(), 0, "the reactor is being woken already");
        reactor_turns();
        cr_assert_eq(reactor.port.bell.rung_count, round);
    }
}

/* Goal: a completion for another worker leaves at once: what the turn delivers after it is user code (rule 7).
 * Method: hand one back from this worker's driver, and look at the other's inbox and bell before any flush. */
Test(worker, completion_for_another_worker_leaves_at_once, .init = setup, .fini = teardown) {
    static pn_worker both[2];
    pn_inbox_init(&both[1].driver.port.inbox);
    cr_assert_eq(pn_doorbell_init(&both[1].driver.port.bell), 0);
    pn_doorbell_sleep(&both[1].driver.port.bell);
    pn_runtime_current.workers = both;
    pn_runtime_current.worker_count = 2;
    messages[0].deliver = deliver;
    pn_driver_hand_back(&worker.driver, 1, &messages[0]);
    cr_assert_not(pn_inbox_empty(&both[1].driver.port.inbox));
    uint64_t count = 0;
    cr_assert_eq(read(both[1].driver.port.bell.fd, &count, sizeof count), (ssize_t)sizeof count);
    cr_assert_eq(count, 1);
    pn_doorbell_fini(&both[1].driver.port.bell);
    pn_runtime_current.workers = &worker;
    pn_runtime_current.worker_count = 1;
}

/* ---- memory ---- */

enum { BURST = 1000, TOUCHED = 16384 };

typedef struct burst {
    pirn_channel *go, *end;
    pirn_foreign *foreign;
    unsigned parked, over; /* worker 0 */
    long pages_before;     /* resident, with the whole burst's stacks in use */
} burst;

static long resident_pages(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    TEST_CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages;
}

static int touch_and_wait(void *arg) {
    burst *all = arg;
    volatile char pages[TOUCHED];
    for (int i = 0; i < TOUCHED; i += 1024) {
        pages[i] = 1;
    }
    all->parked++;
    TEST_CHECK(pirn_recv(all->go, NULL, PIRN_FOREVER) == PIRN_ECLOSED);
    all->over++;
    return pages[0] - 1;
}

/* Until half of what the burst touched has gone back, which a worker that never does it makes a time-out. */
static void *wait_for_memory(void *arg) {
    burst *all = arg;
    while (resident_pages() > all->pages_before - (long)BURST * TOUCHED / 2 / sysconf(_SC_PAGESIZE)) {
        usleep(5000);
    }
    TEST_CHECK(pirn_post(all->foreign, all->end, NULL) == 0);
    return NULL;
}

static int sleep_after_a_burst(void *arg) {
    (void)arg;
    burst all = {.go = pirn_channel_create(0, 0), .end = pirn_channel_create(0, 1), .foreign = pirn_foreign_open()};
    for (int i = 0; i < BURST; i++) {
        TEST_CHECK(pirn_spawn(touch_and_wait, &all).id != 0);
    }
    while (all.parked < BURST) {
        pirn_yield();
    }
    all.pages_before = resident_pages();
    pirn_channel_close(all.go);
    while (all.over < BURST) {
        pirn_yield();
    }
    pthread_t thread;
    TEST_CHECK(pthread_create(&thread, NULL, wait_for_memory, &all) == 0);
    TEST_CHECK(pirn_recv(all.end, NULL, PIRN_FOREVER) == 0);
    pthread_join(thread, NULL);
    pirn_foreign_close(all.foreign);
    pirn_channel_destroy(all.go);
    pirn_channel_destroy(all.end);
    return 0;
}

/* Goal: a worker that has nothing to do gives the memory of a burst's stacks back, though no timer and nobody wakes it.
 * Method: 1,000 tasklets at once touch 16 KiB each and end; main parks until a plain thread, which looks at the
 *         process's resident memory, has seen half of it go. */
Test(worker, memory_of_a_burst_goes_back_while_asleep, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        pirn_options options;
        test_mode_options(&test_modes[i], &options);
        pn_trim_period = 20 * PIRN_MILLISECOND;
        cr_assert_eq(pirn_run(&options, sleep_after_a_burst, NULL), 0);
    }
}
