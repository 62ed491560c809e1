/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/shared.c: the words and the lock of shared objects, alone and among threads.
 */
#include "test.h"

#include <pthread.h>

#include "shared.h"

enum { THREADS = 4 };

static pn_word word;
static pn_lock lock;
static uint64_t rounds;
static uint64_t guarded;      /* plain: only the lock protects it */
static uint64_t won[THREADS]; /* claims won, by thread */

static void setup(void) {
    rounds = pirn_test_count(200000, 1000);
    pn_shared_store(&word, 0);
    pn_shared_lock_init(&lock);
}

static void teardown(void) {
    pn_shared_lock_fini(&lock);
}

static void run_threads(void *(*body)(void *)) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, body, (void *)i), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
}

/* Goal: the four operations on a word do what core/hooks.h says of their values.
 * Method: on one thread, each in turn, a lost claim and a wrap-around included. */
Test(shared, word_operations_give_the_documented_values, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_shared_load(&word), 0);
    pn_shared_store(&word, 7);
    cr_assert(!pn_shared_claim(&word, 6, 9));
    cr_assert_eq(pn_shared_load(&word), 7);
    cr_assert(pn_shared_claim(&word, 7, 9));
    cr_assert_eq(pn_shared_add(&word, 3), 12);
    cr_assert_eq(pn_shared_add(&word, (uint32_t)-12), 0);
    cr_assert_eq(pn_shared_load(&word), 0);
}

static void *add_many(void *arg) {
    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        pn_shared_add(&word, 1);
    }
    return NULL;
}

/* Goal: no addition is lost.
 * Method: four threads count to N each; the word holds 4 N. */
Test(shared, additions_of_four_threads_are_all_counted, .init = setup, .fini = teardown) {
    run_threads(add_many);
    cr_assert_eq(pn_shared_load(&word), (uint32_t)(THREADS * rounds));
}

static void *claim_turns(void *arg) {
    uintptr_t own = (uintptr_t)arg;
    for (uint32_t turn = 0; turn < rounds;) {
        uint32_t seen = pn_shared_load(&word);
        if (seen >= rounds) {
            break;
        }
        if (pn_shared_claim(&word, seen, seen + 1)) {
            won[own]++;
        }
        turn = seen;
    }
    return NULL;
}

/* Goal: of those who claim the same value exactly one wins.
 * Method: four threads race through N turns; the wins of all add up to N. */
Test(shared, each_claim_has_one_winner, .init = setup, .fini = teardown) {
    run_threads(claim_turns);
    uint64_t total = 0;
    for (int i = 0; i < THREADS; i++) {
        total += won[i];
    }
    cr_assert_eq(total, rounds);
}

static void *guarded_increments(void *arg) {
    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        pn_shared_lock(&lock);
        guarded++;
        pn_shared_unlock(&lock);
    }
    return NULL;
}

/* Goal: the lock excludes, and orders what it guards.
 * Method: four threads increment a plain variable under it (TSan would see a hole). */
Test(shared, lock_guards_plain_data, .init = setup, .fini = teardown) {
    run_threads(guarded_increments);
    cr_assert_eq(guarded, THREADS * rounds);
}
