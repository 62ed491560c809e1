/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/doorbell.c: who writes the eventfd and when. That no wake-up is lost between two threads is
 *       shown by tests/stress/doorbell_stress_test.c.
 */
#include "test.h"

#include <poll.h>
#include <unistd.h>

#include "doorbell.h"

static pn_doorbell bell;

static void setup(void) {
    cr_assert_eq(pn_doorbell_init(&bell), 0);
}

static void teardown(void) {
    pn_doorbell_fini(&bell);
}

/* How often the eventfd was written since the last call. */
static uint64_t writes(void) {
    uint64_t count = 0;
    return read(bell.fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

/* Goal: ringing a thread that is awake costs no system call.
 * Method: ring a fresh bell; the eventfd stays untouched. */
Test(doorbell, ring_while_awake_writes_nothing, .init = setup, .fini = teardown) {
    cr_assert(!pn_doorbell_ring(&bell));
    cr_assert(!pn_doorbell_away(&bell));
    cr_assert_eq(writes(), 0);
    cr_assert_eq(bell.rung_count, 0);
}

/* Goal: one sleep gets one write, however many ring.
 * Method: sleep, ring three times: the first says it wrote, the counter shows one. */
Test(doorbell, only_the_first_ring_of_a_sleep_writes, .init = setup, .fini = teardown) {
    pn_doorbell_sleep(&bell);
    cr_assert(pn_doorbell_away(&bell));
    cr_assert(pn_doorbell_ring(&bell));
    cr_assert(!pn_doorbell_ring(&bell));
    cr_assert(!pn_doorbell_ring(&bell));
    cr_assert(pn_doorbell_away(&bell), "the owner has not come back");
    cr_assert_eq(writes(), 1);
    pn_doorbell_wake(&bell);
    cr_assert(!pn_doorbell_away(&bell));
    cr_assert_eq(bell.rung_count, 1);
}

/* Goal: an owner that comes back by itself is not rung any more, and was not counted as rung.
 * Method: sleep, wake, ring; then the whole cycle again with a ring in it. */
Test(doorbell, owner_back_without_a_ring_counts_nothing, .init = setup, .fini = teardown) {
    pn_doorbell_sleep(&bell);
    pn_doorbell_wake(&bell);
    cr_assert(!pn_doorbell_ring(&bell));
    cr_assert_eq(bell.rung_count, 0);
    for (uint64_t cycle = 1; cycle <= 3; cycle++) {
        pn_doorbell_sleep(&bell);
        cr_assert(pn_doorbell_ring(&bell));
        pn_doorbell_wake(&bell);
        cr_assert_eq(bell.rung_count, cycle);
    }
    cr_assert_eq(writes(), 3);
}

/* Goal: a ring is seen by whoever waits on the descriptor.
 * Method: poll(2) it before and after. */
Test(doorbell, ring_makes_the_descriptor_readable, .init = setup, .fini = teardown) {
    struct pollfd polled = {.fd = bell.fd, .events = POLLIN};
    pn_doorbell_sleep(&bell);
    cr_assert_eq(poll(&polled, 1, 0), 0);
    cr_assert(pn_doorbell_ring(&bell));
    cr_assert_eq(poll(&polled, 1, 0), 1);
    pn_doorbell_wake(&bell);
}
