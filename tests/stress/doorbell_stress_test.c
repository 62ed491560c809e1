/* SPDX-License-Identifier: MIT
 *
 * What: the litmus test of the doorbell: a sleeper and a ringer race 200,000 times through the store-load pair, and
 *       no wake-up is lost. There is no backstop: the sleeper sleeps without a deadline, so one lost wake-up stops the
 *       test for ever and the time limit fails it.
 */
#include "test.h"

#include <pthread.h>
#include <time.h>

#include "port.h"
#include "readiness.h"

typedef struct side {
    pn_port port;
    pn_readiness set;
    /* owner */
    uint64_t received, slept;
} side;

static side sleeper, ringer;
static pn_message ping, pong;
static uint64_t rounds, seed;

static void deliver_to_sleeper(pn_message *message) {
    (void)message;
    sleeper.received++;
}

static void deliver_to_ringer(pn_message *message) {
    (void)message;
    ringer.received++;
}

static void open_side(side *one) {
    pn_inbox_init(&one->port.inbox);
    cr_assert_eq(pn_doorbell_init(&one->port.bell), 0);
    cr_assert_eq(pn_readiness_init(&one->set), 0);
    cr_assert_eq(pn_readiness_add_bell(&one->set, one->port.bell.fd, one), 0);
}

static void close_side(side *one) {
    pn_readiness_fini(&one->set);
    pn_doorbell_fini(&one->port.bell);
}

/* Exactly the driver's way to sleep: announce, look again, sleep without a deadline. */
static void sleep_once(side *one) {
    pn_ready_event events[PN_EVENTS_MAX];
    pn_doorbell_sleep(&one->port.bell);
    if (pn_inbox_empty(&one->port.inbox)) {
        one->slept++;
        (void)pn_readiness_wait(&one->set, events, PIRN_FOREVER);
    }
    pn_doorbell_wake(&one->port.bell);
}

static void receive_until(side *one, uint64_t count) {
    while (one->received < count) {
        if (pn_inbox_drain(&one->port.inbox) == 0) {
            sleep_once(one);
        }
    }
}

/* Shift the two threads against each other, so that the ring meets every place of the way to sleep. */
static void dawdle(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    for (volatile unsigned i = (unsigned)(*state % 64); i > 0; i--) {
    }
}

static void *answer(void *arg) {
    (void)arg;
    uint64_t state = seed + 1;
    for (uint64_t round = 1; round <= rounds; round++) {
        receive_until(&sleeper, round);
        dawdle(&state);
        pn_port_post(&ringer.port, &pong);
    }
    return NULL;
}

/* Goal: with both sides sleeping whenever they have nothing, every message wakes its receiver.
 * Method: one message goes to and fro 200,000 times; each side sleeps without a deadline. The rounds arrive, or the
 *       test hangs. */
Test(doorbell_stress, ping_pong_of_sleepers_loses_no_wake_up, .timeout = 300) {
    rounds = pirn_test_count(200000, 2000);
    seed = (uint64_t)time(NULL);
    printf("doorbell: seed %llu, %llu rounds\n", (unsigned long long)seed, (unsigned long long)rounds);
    open_side(&sleeper);
    open_side(&ringer);
    ping.deliver = deliver_to_sleeper;
    pong.deliver = deliver_to_ringer;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, answer, NULL), 0);
    uint64_t state = seed;
    for (uint64_t round = 1; round <= rounds; round++) {
        dawdle(&state);
        pn_port_post(&sleeper.port, &ping);
        receive_until(&ringer, round);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(sleeper.received, rounds);
    cr_assert_eq(ringer.received, rounds);
    cr_assert_gt(sleeper.slept + ringer.slept, 0, "nobody slept: nothing was tested");
    close_side(&sleeper);
    close_side(&ringer);
}

/* ---- one way, with a burst: most rings find the sleeper awake ---- */

enum { POSTERS = 3 };

static pn_message *bursts[POSTERS];
static uint64_t writes[POSTERS]; /* rings that wrote, by poster */
static uint64_t per_poster;

static void *post_many(void *arg) {
    uintptr_t own = (uintptr_t)arg;
    uint64_t state = seed + own + 7;
    for (uint64_t i = 0; i < per_poster; i++) {
        bursts[own][i].deliver = deliver_to_sleeper;
        pn_inbox_push_mpsc(&sleeper.port.inbox, &bursts[own][i]);
        writes[own] += pn_doorbell_ring(&sleeper.port.bell);
        dawdle(&state);
    }
    return NULL;
}

/* Goal: with several ringers no wake-up is lost, and each sleep is rung once at most.
 * Method: three threads post as they like; the sleeper sleeps without a deadline until it has all. The writes that the
 *         ringers counted are the wakes that the sleeper counted. */
Test(doorbell_stress, several_ringers_wake_one_sleeper, .timeout = 300) {
    per_poster = pirn_test_count(300000, 1000);
    seed = (uint64_t)time(NULL);
    printf("doorbell: seed %llu, %d x %llu messages\n", (unsigned long long)seed, POSTERS,
           (unsigned long long)per_poster);
    open_side(&sleeper);
    pthread_t threads[POSTERS];
    for (uintptr_t i = 0; i < POSTERS; i++) {
        bursts[i] = calloc(per_poster, sizeof *bursts[i]);
        cr_assert_not_null(bursts[i]);
        cr_assert_eq(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    }
    receive_until(&sleeper, POSTERS * per_poster);
    uint64_t written = 0;
    for (int i = 0; i < POSTERS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        written += writes[i];
        free(bursts[i]);
    }
    cr_assert_eq(sleeper.received, POSTERS * per_poster);
    cr_assert_eq(sleeper.port.bell.rung_count, written);
    close_side(&sleeper);
}
