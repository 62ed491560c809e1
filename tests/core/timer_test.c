/* SPDX-License-Identifier: MIT
 *
 * What: the timer heap by itself: order, ties, disarming at any time, re-arming from a firing timer, and a long
 *       random run against a plain array that does the same slowly.
 * Threads: one. No scheduler runs here; the time is an argument.
 */
#include "core_test.h"
#include "timer.h"

typedef struct probe {
    pn_timer timer;
    int number;
    pn_timers *timers;
    struct probe *other; /* what fire acts on                                                         */
    pirn_time again;     /* the deadline fire arms, 0: none                                           */
} probe;

static probe *probe_of(pn_timer *timer) {
    return PN_CONTAINER_OF(timer, probe, timer);
}

static void fire_note(pn_timer *timer) {
    cr_assert_not(timer->armed, "a timer is out of the heap before it fires");
    note("%d", probe_of(timer)->number);
}

static void fire_and_arm_again(pn_timer *timer) {
    fire_note(timer);
    pn_timer_arm(probe_of(timer)->timers, timer, probe_of(timer)->again, fire_note);
}

static void fire_and_disarm_other(pn_timer *timer) {
    fire_note(timer);
    pn_timer_disarm(probe_of(timer)->timers, &probe_of(timer)->other->timer);
}

/* Goal: an empty heap has no deadline and fires nothing.
 * Method: ask it. */
Test(timer, empty_heap_never_fires) {
    pn_timers timers;
    pn_timers_init(&timers);
    cr_assert_eq(pn_timers_next(&timers), PIRN_FOREVER);
    cr_assert_eq(pn_timers_run(&timers, INT64_MAX - 1), 0);
    cr_assert_eq(timers.count, 0);
}

/* Goal: timers fire by deadline, never early, and next tells the first one.
 * Method: arm 30, 10, 20; run at 9, 10, 25, 40. */
Test(timer, deadlines_fire_in_order_never_early) {
    pn_timers timers;
    probe probes[] = {{.number = 30}, {.number = 10}, {.number = 20}};
    pn_timers_init(&timers);
    for (int i = 0; i < 3; i++) {
        pn_timer_arm(&timers, &probes[i].timer, probes[i].number, fire_note);
    }
    cr_assert_eq(pn_timers_next(&timers), 10);
    cr_assert_eq(pn_timers_run(&timers, 9), 0);
    expect_noted("");
    cr_assert_eq(pn_timers_run(&timers, 10), 1);
    expect_noted("10");
    cr_assert_eq(pn_timers_run(&timers, 25), 1);
    cr_assert_eq(pn_timers_run(&timers, 40), 1);
    expect_noted("20 30");
    cr_assert_eq(pn_timers_next(&timers), PIRN_FOREVER);
}

/* Goal: among equal deadlines the first armed fires first.
 * Method: five timers of one deadline, armed in a mixed order; one of them disarmed and armed again goes last. */
Test(timer, equal_deadlines_fire_in_arming_order) {
    pn_timers timers;
    probe probes[5];
    const int armed[] = {3, 0, 4, 1, 2};
    pn_timers_init(&timers);
    for (int i = 0; i < 5; i++) {
        probes[armed[i]] = (probe){.number = armed[i]};
        pn_timer_arm(&timers, &probes[armed[i]].timer, 7, fire_note);
    }
    pn_timer_disarm(&timers, &probes[0].timer);
    pn_timer_arm(&timers, &probes[0].timer, 7, fire_note);
    cr_assert_eq(pn_timers_run(&timers, 7), 5);
    expect_noted("3 4 1 2 0");
}

/* Goal: a disarmed timer does not fire, and disarming twice or a never armed one is harmless.
 * Method: disarm the first, the middle and the last of three in turn. */
Test(timer, disarmed_timer_stays_silent) {
    for (int gone = 0; gone < 3; gone++) {
        pn_timers timers;
        probe probes[3], never = {.number = 9};
        pn_timers_init(&timers);
        for (int i = 0; i < 3; i++) {
            probes[i] = (probe){.number = i};
            pn_timer_arm(&timers, &probes[i].timer, i, fire_note);
        }
        pn_timer_disarm(&timers, &probes[gone].timer);
        pn_timer_disarm(&timers, &probes[gone].timer);
        pn_timer_disarm(&timers, &never.timer);
        cr_assert_eq(timers.count, 2);
        cr_assert_eq(pn_timers_run(&timers, 5), 2);
        expect_noted(gone == 0 ? "1 2" : gone == 1 ? "0 2" : "0 1");
    }
}

/* Goal: a timer that arms itself again while it fires waits for the next run, even when that deadline has passed too.
 * Method: fire arms for a past deadline; the same run must not fire it again, the next one must. */
Test(timer, rearmed_while_firing_waits_for_the_next_run) {
    pn_timers timers;
    pn_timers_init(&timers);
    probe self = {.number = 1, .timers = &timers, .again = 5};
    probe later = {.number = 2};
    pn_timer_arm(&timers, &self.timer, 5, fire_and_arm_again);
    pn_timer_arm(&timers, &later.timer, 6, fire_note);
    cr_assert_eq(pn_timers_run(&timers, 10), 2);
    expect_noted("1 2");
    cr_assert_eq(pn_timers_next(&timers), 5);
    cr_assert_eq(pn_timers_run(&timers, 10), 1);
    expect_noted("1");
}

/* Goal: a timer disarmed by another one that fires in the same run does not fire.
 * Method: two due timers, the first disarms the second. */
Test(timer, disarmed_by_a_firing_one_stays_silent) {
    pn_timers timers;
    pn_timers_init(&timers);
    probe second = {.number = 2};
    probe first = {.number = 1, .timers = &timers, .other = &second};
    pn_timer_arm(&timers, &first.timer, 5, fire_and_disarm_other);
    pn_timer_arm(&timers, &second.timer, 5, fire_note);
    cr_assert_eq(pn_timers_run(&timers, 5), 1);
    expect_noted("1");
    cr_assert_eq(timers.count, 0);
    cr_assert_not(second.timer.armed);
}

enum { PROBES = 200 };

static probe crowd[PROBES];
static uint64_t armed_order[PROBES]; /* the reference: 0 is not armed                                    */
static pirn_time last_deadline;
static uint64_t last_order;
static unsigned fired;

static void fire_checked(pn_timer *timer) {
    uint64_t order = armed_order[probe_of(timer)->number];
    cr_assert_neq(order, 0, "a timer fired that was not armed");
    cr_assert(timer->deadline > last_deadline || (timer->deadline == last_deadline && order > last_order));
    last_deadline = timer->deadline;
    last_order = order;
    armed_order[probe_of(timer)->number] = 0;
    fired++;
}

/* The slow twin: how many of the armed ones are due at `now`, and the next deadline after them. */
static unsigned due_at(pirn_time now, pirn_time *next) {
    unsigned due = 0;
    *next = PIRN_FOREVER;
    for (int i = 0; i < PROBES; i++) {
        if (armed_order[i] && crowd[i].timer.deadline <= now) {
            due++;
        } else if (armed_order[i] && crowd[i].timer.deadline < *next) {
            *next = crowd[i].timer.deadline;
        }
    }
    return due;
}

/* Goal: any mix of arming, disarming and running keeps order and count.
 * Method: 200,000 seeded random steps on 200 timers beside a plain array of what is armed. */
Test(timer, random_steps_agree_with_a_plain_array) {
    pn_timers timers;
    pirn_time now = 0, next;
    uint64_t order = 0;
    unsigned short seed[3] = {1, 2, 3};
    pn_timers_init(&timers);
    for (unsigned step = 0; step < pirn_test_count(200000, 20000); step++) {
        int i = (int)(nrand48(seed) % PROBES);
        crowd[i].number = i;
        if (nrand48(seed) % 16 == 0) {
            now += nrand48(seed) % 50;
            unsigned due = due_at(now, &next);
            last_deadline = -1;
            last_order = fired = 0;
            cr_assert_eq(pn_timers_run(&timers, now), due);
            cr_assert_eq(fired, due);
            cr_assert_eq(pn_timers_next(&timers), next);
        } else if (armed_order[i]) {
            pn_timer_disarm(&timers, &crowd[i].timer);
            armed_order[i] = 0;
        } else {
            pn_timer_arm(&timers, &crowd[i].timer, now + nrand48(seed) % 100, fire_checked);
            armed_order[i] = ++order;
        }
    }
}
