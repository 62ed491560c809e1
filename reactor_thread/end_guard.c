/* SPDX-License-Identifier: MIT
 *
 * What: see end_guard.h.
 *
 * Threads: its own; set and stop worker 0's. What it reads of the workers is theirs: it looks only when its deadline
 *       has passed, twice, and believes what did not change in between. A thread that is stuck changes nothing.
 * Rejected: the main tasklet itself with a deadline on its looks: a tasklet that never gives its turn, on worker 0 or
 *       in single mode, stops main too; the watchdog's thread: an option turns that off.
 */
#include "end_guard.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "failure.h"
#include "live.h"
#include "runtime.h"
#include "thread.h"

#define LOOK_AGAIN_US 50000

static struct {
    /* under mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pirn_time deadline;
    bool stop;
    /* worker 0's */
    pthread_t thread;
    bool started;
} guard;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_once(void) {
    pthread_condattr_t monotonic;
    PN_ASSERT(pthread_condattr_init(&monotonic) == 0);
    PN_ASSERT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    PN_ASSERT(pthread_cond_init(&guard.changed, &monotonic) == 0);
    PN_ASSERT(pthread_condattr_destroy(&monotonic) == 0);
    PN_ASSERT(pthread_mutex_init(&guard.mutex, NULL) == 0);
}

/* ---- who is in the way ---- */

typedef struct trace {
    uint64_t turns, switches;
    const pn_tasklet *current;
    bool away;
} trace;

__attribute__((no_sanitize("thread"), noinline)) static trace look(const pn_driver *driver, const pn_sched *sched) {
    trace seen = {.turns = driver->turn_count, .away = pn_doorbell_away(&driver->port.bell)};
    if (sched) {
        seen.switches = sched->counts.switches;
        seen.current = sched->current;
    }
    return seen;
}

static bool is_stuck(const trace *before, const trace *after) {
    return !after->away && before->turns == after->turns && before->switches == after->switches &&
           before->current == after->current;
}

/* Its fields stand still: its worker is stuck in it. */
__attribute__((no_sanitize("thread"), noinline)) static void name_worker(unsigned id, const pn_tasklet *tasklet,
                                                                         char *text, size_t text_bytes) {
    char label[64];
    if (tasklet) {
        (void)snprintf(text, text_bytes,
                       "tasklet %s (spawned at %s:%u) keeps worker %u and neither waits, yields nor ends",
                       pn_tasklet_label(tasklet, label, sizeof label), pn_base_name(tasklet->file), tasklet->line, id);
    } else {
        (void)snprintf(text, text_bytes, "a callback keeps worker %u and does not return", id);
    }
}

/* The first thread that is stuck; false: all move. */
static bool find_stuck(char *text, size_t text_bytes) {
    const pn_runtime *runtime = &pn_runtime_current;
    trace before[PN_WORKERS_MAX + 1];
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        before[i] = look(&runtime->workers[i].driver, &runtime->workers[i].sched);
    }
    before[runtime->worker_count] = look(runtime->reactor, NULL);
    (void)usleep(LOOK_AGAIN_US);
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        trace after = look(&runtime->workers[i].driver, &runtime->workers[i].sched);
        if (is_stuck(&before[i], &after)) {
            name_worker(i, after.current, text, text_bytes);
            return true;
        }
    }
    trace after = look(runtime->reactor, NULL);
    if (is_stuck(&before[runtime->worker_count], &after)) {
        (void)snprintf(text, text_bytes, "the reactor's thread does not come back from a callback");
        return true;
    }
    return false;
}

static _Noreturn void give_up(void) {
    char text[200];
    if (!find_stuck(text, sizeof text)) {
        (void)snprintf(text, sizeof text,
                       "listeners, handles and signals are still open (%llu), or somebody waits for "
                       "a tasklet that cannot end",
                       (unsigned long long)pn_outside_count());
    }
    pn_panic("main has returned, and pirn_run() cannot: %s", text);
}

/* ---- the thread ---- */

static void *watch_the_end(void *arg) {
    (void)arg;
    (void)pthread_mutex_lock(&guard.mutex);
    while (!guard.stop) {
        pirn_time deadline = guard.deadline;
        struct timespec until = {.tv_sec = deadline / PIRN_SECOND, .tv_nsec = deadline % PIRN_SECOND};
        int error = pthread_cond_timedwait(&guard.changed, &guard.mutex, &until);
        if (error == ETIMEDOUT && !guard.stop && pn_below->now() >= guard.deadline) {
            give_up();
        }
    }
    (void)pthread_mutex_unlock(&guard.mutex);
    return NULL;
}

void pn_end_guard_set(pirn_time deadline) {
    PN_ASSERT(pthread_once(&once, init_once) == 0);
    (void)pthread_mutex_lock(&guard.mutex);
    guard.deadline = deadline;
    guard.stop = false;
    (void)pthread_cond_signal(&guard.changed);
    (void)pthread_mutex_unlock(&guard.mutex);
    if (!guard.started) {
        guard.started = pn_thread_start(&guard.thread, PN_WATCHDOG, "end-guard", watch_the_end, NULL) == 0;
    }
}

void pn_end_guard_stop(void) {
    if (!guard.started) {
        return;
    }
    (void)pthread_mutex_lock(&guard.mutex);
    guard.stop = true;
    (void)pthread_cond_signal(&guard.changed);
    (void)pthread_mutex_unlock(&guard.mutex);
    (void)pthread_join(guard.thread, NULL);
    guard.started = false;
}
