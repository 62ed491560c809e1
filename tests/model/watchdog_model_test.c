/* SPDX-License-Identifier: MIT
 *
 * What: bridge/watchdog_sleep.c with bridge/doorbell.c in the explorer: a worker that came back from its sleep is never
 *       left alone with a watchdog that sleeps deeply.
 * Threads of the model: the first is the watchdog, the others are workers. The mutex and the condition variable are
 *       modelled here: CMakeLists.txt renames the calls.
 */
#include "test.h"

#include <pthread.h>

#include "doorbell.h"
#include "explorer.h"
#include "watchdog_sleep.h"

#define WORKERS_MAX 2

static pn_doorbell bells[WORKERS_MAX];

static struct {
    unsigned workers, sleeps; /* of this test: each worker's */
    /* of one execution */
    bool awake[WORKERS_MAX]; /* and not ticked since it came back */
    unsigned steps;          /* of the workers */
    unsigned signals, over;
    bool locked, told_to_stop;
} world;

/* ---- what is below watchdog_sleep.c ---- */

int model_lock(pthread_mutex_t *mutex);
int model_unlock(pthread_mutex_t *mutex);
int model_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int model_cond_signal(pthread_cond_t *condition);

static uint32_t mutex_word; /* its changes order what is done under the mutex */

static bool is_unlocked(const void *arg) {
    (void)arg;
    return !world.locked;
}

int model_lock(pthread_mutex_t *mutex) {
    (void)mutex;
    while (world.locked) {
        model_block(is_unlocked, NULL);
    }
    world.locked = true;
    (void)model_modify(&mutex_word, sizeof mutex_word, MODEL_ADD, 1, MODEL_ACQUIRE);
    return 0;
}

int model_unlock(pthread_mutex_t *mutex) {
    (void)mutex;
    (void)model_modify(&mutex_word, sizeof mutex_word, MODEL_ADD, 1, MODEL_RELEASE);
    world.locked = false;
    return 0;
}

static bool is_signalled(const void *arg) {
    return world.signals != (unsigned)(uintptr_t)arg;
}

/* A signal that comes before the wait is lost, as it is with the real one. */
int model_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    (void)condition;
    unsigned before = world.signals;
    (void)model_unlock(mutex);
    model_block(is_signalled, (const void *)(uintptr_t)before);
    return model_lock(mutex);
}

int model_cond_signal(pthread_cond_t *condition) {
    (void)condition;
    world.signals++;
    return 0;
}

/* ---- the threads ---- */

static bool all_away(void) {
    bool away = true;
    for (unsigned i = 0; i < world.workers && away; i++) {
        away = pn_doorbell_away(&bells[i]);
    }
    return away;
}

static bool has_gone_on(const void *arg) {
    return world.steps != (unsigned)(uintptr_t)arg;
}

/* Each time it comes back it ticks: who is awake at that moment has been seen. It tries to sleep deeply after each step
 * of a worker: one that is awake all the while has it tick on. */
static void run_watchdog(void) {
    while (world.over < world.workers) {
        unsigned steps = world.steps;
        (void)pn_watchdog_sleep_deeply(all_away);
        memset(world.awake, 0, sizeof world.awake);
        model_block(has_gone_on, (const void *)(uintptr_t)steps);
    }
}

static bool was_ticked(const void *arg) {
    return !world.awake[(uintptr_t)arg];
}

/* It sleeps and comes back, and then runs until a tick. The last one's end lets the watchdog end. */
static void run_worker(void) {
    unsigned self = model_self() - 1;
    for (unsigned i = 0; i < world.sleeps; i++) {
        world.steps++;
        pn_doorbell_sleep(&bells[self]);
        pn_doorbell_wake(&bells[self]);
        world.awake[self] = true;
        world.steps++;
        pn_watchdog_notice();
        model_block(was_ticked, (const void *)(uintptr_t)self);
    }
    world.over++;
    world.steps++;
}

/* A worker that sleeps on, while the runtime stops the watchdog. */
static void stop_watchdog(void) {
    world.told_to_stop = true;
    pn_watchdog_sleep_stop();
}

static void run_until_stopped(void) {
    while (pn_watchdog_sleep_deeply(all_away)) {
    }
    if (!world.told_to_stop) {
        model_fail("the watchdog stops unasked");
    }
}

static void reset(void) {
    unsigned workers = world.workers, sleeps = world.sleeps;
    memset(&world, 0, sizeof world);
    world.workers = workers;
    world.sleeps = sleeps;
    mutex_word = 0;
    for (unsigned i = 0; i < workers; i++) {
        (void)pn_doorbell_init(&bells[i]);
    }
    pn_watchdog_sleep_start();
}

static void reset_asleep(void) {
    reset();
    pn_doorbell_sleep(&bells[0]);
}

static void explore(const model_program *program, unsigned preemptions) {
    model_result result = model_explore(program, preemptions, 20000000);
    printf("%llu executions\n", (unsigned long long)result.executions);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete, "the bound on executions was reached");
    cr_assert_gt(result.executions, 10);
}

/* Goal: a worker that comes back while the watchdog falls asleep is seen, whichever of the two is first.
 * Method: every execution of the watchdog and a worker that sleeps once or twice, with three preemptions. A worker that
 *         nobody ticks, and a watchdog that nobody wakes, are a state in which no thread can run. */
Test(watchdog_model, worker_that_comes_back_is_ticked, .timeout = 120) {
    model_program program = {.threads = 2, .thread = {run_watchdog, run_worker}, .reset = reset};
    world.workers = 1;
    world.sleeps = 1;
    explore(&program, 3);
    world.sleeps = 2;
    explore(&program, pirn_test_count(2, 1) == 2 ? 3 : 2);
}

/* Goal: the same for two workers, of which either may be the first to come back.
 * Method: every execution of the watchdog and two workers that sleep once, with two preemptions. */
Test(watchdog_model, first_of_two_workers_that_comes_back_is_ticked, .timeout = 120) {
    model_program program = {.threads = 3, .thread = {run_watchdog, run_worker, run_worker}, .reset = reset};
    world.workers = 2;
    world.sleeps = 1;
    explore(&program, pirn_test_count(2, 1) == 2 ? 2 : 1);
}

/* Goal: a stop ends the deep sleep, and no stop comes too early or too late for it.
 * Method: every execution of the watchdog and its stopper, beside a worker that sleeps on, with three preemptions. */
Test(watchdog_model, stop_ends_the_deep_sleep, .timeout = 120) {
    model_program program = {.threads = 2, .thread = {run_until_stopped, stop_watchdog}, .reset = reset_asleep};
    world.workers = 1;
    explore(&program, 3);
}
