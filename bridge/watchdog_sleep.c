/* SPDX-License-Identifier: MIT
 *
 * What: the sleep of the watchdog's thread (watchdog_sleep.h).
 *
 * States: TICKING -> DEEP (watchdog, when all seem to be away) -> TICKING (the first notice, or the watchdog itself).
 *       Deep sleep is entered with the doorbell's protocol. Watchdog: DEEP; full fence; is everybody away still? The
 *       other side: no more away (pn_doorbell_wake); full fence; DEEP? So of a thread that wakes and a watchdog that
 *       falls asleep at least one sees the other.
 * Threads: watchdog_sleep.h.
 * Invariants: (1) `state` leaves DEEP under the mutex only; (2) who has woken and sees TICKING is seen by the look of
 *       each deep sleep that begins later.
 * Lifetime: mutex and condition live as long as the process: a late notice may still be at them when the watchdog has
 *       stopped.
 */
#include "watchdog_sleep.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base.h"

enum { TICKING, DEEP };

static struct {
    /* any thread */
    _Atomic(int) state;
    /* under mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* woken, or to stop */
    bool stop;
} resting;

static pthread_once_t sleep_once = PTHREAD_ONCE_INIT;

static void init_sleep(void) {
    pthread_condattr_t monotonic;
    PN_ASSERT(pthread_condattr_init(&monotonic) == 0);
    PN_ASSERT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    PN_ASSERT(pthread_cond_init(&resting.changed, &monotonic) == 0);
    PN_ASSERT(pthread_condattr_destroy(&monotonic) == 0);
    PN_ASSERT(pthread_mutex_init(&resting.mutex, NULL) == 0);
}

static void lock(void) {
    PN_ASSERT(pthread_mutex_lock(&resting.mutex) == 0);
}

static void unlock(void) {
    PN_ASSERT(pthread_mutex_unlock(&resting.mutex) == 0);
}

void pn_watchdog_sleep_start(void) {
    PN_ASSERT(pthread_once(&sleep_once, init_sleep) == 0);
    lock();
    resting.stop = false;
    unlock();
}

void pn_watchdog_sleep_stop(void) {
    lock();
    resting.stop = true;
    PN_ASSERT(pthread_cond_signal(&resting.changed) == 0);
    unlock();
}

bool pn_watchdog_sleep_until(pirn_time when) {
    struct timespec until = {.tv_sec = when / PIRN_SECOND, .tv_nsec = when % PIRN_SECOND};
    int error = 0;
    lock();
    while (!resting.stop && error == 0) {
        error = pthread_cond_timedwait(&resting.changed, &resting.mutex, &until);
    }
    bool goes_on = !resting.stop;
    unlock();
    PN_ASSERT(error == 0 || error == ETIMEDOUT);
    return goes_on;
}

bool pn_watchdog_sleep_deeply(bool (*all_away)(void)) {
    lock();
    /* relaxed: the fence orders it. */
    atomic_store_explicit(&resting.state, DEEP, memory_order_relaxed);
    /* Between our announcement and our look at the others. Pairs with the fence in pn_watchdog_notice. */
    atomic_thread_fence(memory_order_seq_cst);
    bool away = all_away();
    /* relaxed, here and below: changed from DEEP only under the mutex. */
    while (away && !resting.stop && atomic_load_explicit(&resting.state, memory_order_relaxed) == DEEP) {
        PN_ASSERT(pthread_cond_wait(&resting.changed, &resting.mutex) == 0);
    }
    /* Also when it ends here: notices that come later have nobody to wake. */
    atomic_store_explicit(&resting.state, TICKING, memory_order_relaxed); /* under mutex */
    bool goes_on = !resting.stop;
    unlock();
    return goes_on;
}

void pn_watchdog_notice(void) {
    /* Between the caller's wake (pn_doorbell_wake) and the look at the watchdog. Pairs with the fence in
     * pn_watchdog_sleep_deeply. */
    atomic_thread_fence(memory_order_seq_cst);
    /* relaxed: the fence orders it. */
    if (PN_LIKELY(atomic_load_explicit(&resting.state, memory_order_relaxed) == TICKING)) {
        return;
    }
    lock();
    atomic_store_explicit(&resting.state, TICKING, memory_order_relaxed); /* under mutex */
    PN_ASSERT(pthread_cond_signal(&resting.changed) == 0);
    unlock();
}
