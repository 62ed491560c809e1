/* SPDX-License-Identifier: MIT
 *
 * What: the lock-free stack and the inbox over it among threads: several producers, one consumer, real preemption. Runs
 *       over both builds of lf_stack.h; under TSan it also shows that the hand-over orders what the messages hold.
 */
#include "test.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "inbox.h"
#include "lf_stack.h"

enum { PRODUCERS = 4, CHAIN_MAX = 7 };

/* A message with its origin in plain fields: only the hand-over makes reading them right. */
typedef struct parcel {
    pn_message message;
    uint32_t producer;
    uint32_t padding;
    uint64_t number;
    uint64_t check; /* number * producer's factor */
} parcel;

static pn_inbox inbox;
static uint64_t per_producer;
static uint64_t seed;
static parcel *parcels[PRODUCERS];
/* The consumer's. */
static uint64_t next_number[PRODUCERS];
static uint64_t received;

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void deliver(pn_message *message) {
    parcel *one = PN_CONTAINER_OF(message, parcel, message);
    cr_assert_lt(one->producer, (uint32_t)PRODUCERS);
    cr_assert_eq(one->number, next_number[one->producer], "producer %u: %llu came, %llu was due", one->producer,
                 (unsigned long long)one->number, (unsigned long long)next_number[one->producer]);
    cr_assert_eq(one->check, one->number * (one->producer + 3));
    next_number[one->producer]++;
    received++;
    /* As a record is: used again at once by whoever got it. */
    memset(one, 0xa5, sizeof *one);
}

static void fill(parcel *one, uint32_t producer, uint64_t number) {
    *one =
        (parcel){.message.deliver = deliver, .producer = producer, .number = number, .check = number * (producer + 3)};
}

static void push_chain(uint32_t producer, uint64_t first, uint64_t count) {
    parcel *all = parcels[producer];
    for (uint64_t i = 0; i < count; i++) {
        fill(&all[first + i], producer, first + i);
        all[first + i].message.next = i + 1 < count ? &all[first + i + 1].message : NULL;
    }
    if (count == 1) {
        pn_inbox_push_mpsc(&inbox, &all[first].message);
    } else {
        pn_inbox_push_chain_mpsc(&inbox, &all[first].message, &all[first + count - 1].message);
    }
}

static void *produce(void *arg) {
    uint32_t producer = (uint32_t)(uintptr_t)arg;
    uint64_t state = seed + producer + 1;
    for (uint64_t number = 0; number < per_producer;) {
        uint64_t count = 1 + (next_random(&state) % 4 == 0 ? next_random(&state) % CHAIN_MAX : 0);
        count = count < per_producer - number ? count : per_producer - number;
        push_chain(producer, number, count);
        number += count;
        if (next_random(&state) % 1024 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

/* Goal: nothing is lost or doubled, each producer's order holds, and contents arrive with their message.
 * Method: four producers push single messages and chains of random length; the consumer drains until it has all of
 *         them, and each delivery checks its number, then overwrites its message. */
Test(lf_stack_stress, many_producers_one_consumer_conserve_order_and_count, .timeout = 300) {
    per_producer = pirn_test_count(500000, 2000);
    seed = (uint64_t)time(NULL);
    printf("lf_stack (%s): seed %llu, %d x %llu messages\n", pn_lf_stack_kind(), (unsigned long long)seed, PRODUCERS,
           (unsigned long long)per_producer);
    pn_inbox_init(&inbox);
    pthread_t threads[PRODUCERS];
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        parcels[i] = calloc(per_producer, sizeof *parcels[i]);
        cr_assert_not_null(parcels[i]);
    }
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, produce, (void *)i), 0);
    }
    while (received < PRODUCERS * per_producer) {
        if (pn_inbox_drain(&inbox) == 0) {
            sched_yield();
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(next_number[i], per_producer);
        free(parcels[i]);
    }
    cr_assert_eq(pn_inbox_drain(&inbox), 0, "nothing more than was sent");
    cr_assert(pn_inbox_empty(&inbox));
    cr_assert_eq(inbox.taken_count, (unsigned)(PRODUCERS * per_producer));
}
