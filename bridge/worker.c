/* SPDX-License-Identifier: MIT
 *
 * What: a worker's life, and the hooks through which core sleeps, looks at I/O and reaches other threads.
 * Threads: the owner, but for post, load and the words of shared objects.
 * The idle ladder (rule 8 of docs/design.md): here and in driver.c: own queue, inbox, readiness set, sleep until the
 *       next timer.
 * Invariants: (1) a post to another thread rings at once: a bell that waited would wait behind user code; (2) a
 *       message to the own worker needs no ring: every turn drains the inbox before it may
 *       sleep; (3) `no_timer` is set only around a sleep that no tasklet's timer ends, for the judge of deadlocks: from
 *       one that ends for housekeeping (census, trim) the worker comes back and judges again, and sends nothing.
 * Lifetime: fini first delivers what is left in the inbox: messages whose tasklets are gone free themselves.
 * Rejected: one ring for several records. Who posts a record parks next; with others runnable here the bell would wait
 *       for their slices, and without them the ring before the sleep is this one. Of rings in a row the first one that
 *       finds the target asleep costs a system call, the others a fence and a load.
 */
#include "worker.h"

#include <malloc.h>
#include <stdatomic.h>
#include <time.h>

#include "deadlock.h"
#include "foreign.h"
#include "runtime.h"
#include "shared.h"
#include "thread.h"

#define TRIM_HEAP_NS (500 * PIRN_MILLISECOND)
#define TRIM_STACKS  16 /* a turn: messages and I/O do not wait for thousands */

int64_t pn_trim_period = 100 * PIRN_MILLISECOND;

static _Thread_local pn_worker *self;

pn_runtime pn_runtime_current;

pn_worker *pn_worker_self(void) {
    return self;
}

/* ---- load ---- */

void pn_worker_load_add(unsigned home, int delta) {
    /* relaxed: a hint for the next choice, nothing is published by it. */
    _Atomic uint32_t *load = (_Atomic uint32_t *)&pn_runtime_current.workers[home].load;
    atomic_fetch_add_explicit(load, (uint32_t)delta, memory_order_relaxed);
}

unsigned pn_worker_least_loaded(void) {
    static _Atomic uint32_t turn;
    unsigned count = pn_runtime_current.worker_count;
    /* relaxed: where to begin, so that equals take turns; what a foreign thread spawns is in nobody's load. */
    unsigned first = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % count;
    unsigned best = first;
    uint32_t best_load = UINT32_MAX;
    for (unsigned n = 0; n < count; n++) {
        unsigned i = (first + n) % count;
        const _Atomic uint32_t *word = (const _Atomic uint32_t *)&pn_runtime_current.workers[i].load;
        uint32_t load = atomic_load_explicit(word, memory_order_relaxed); /* as in pn_worker_load_add */
        if (load < best_load) {
            best = i;
            best_load = load;
        }
    }
    return best;
}

/* ---- posting ---- */

static void post(unsigned home, pn_message *message) {
    pn_worker *target = &pn_runtime_current.workers[home];
    if (target == self) {
        pn_inbox_push_mpsc(&target->driver.port.inbox, message); /* awake: it is us */
    } else {
        pn_port_post(&target->driver.port, message);
    }
}

void pn_reactor_post(pn_message *message) {
    pn_driver *reactor = pn_runtime_current.reactor;
    if (self && reactor == &self->driver) {
        pn_inbox_push_mpsc(&reactor->port.inbox, message); /* awake: it is us */
    } else {
        pn_port_post(&reactor->port, message);
    }
}

bool pn_reactor_is_here(void) {
    return pn_driver_self() == pn_runtime_current.reactor && !pn_current();
}

/* ---- hooks ---- */

static pirn_time monotonic_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (pirn_time)now.tv_sec * PIRN_SECOND + now.tv_nsec;
}

static void poll(pn_sched *sched) {
    pn_worker *worker = sched->below;
    pn_driver_turn(&worker->driver, PIRN_NOW);
    pn_census(worker);
}

static pirn_time earlier(pirn_time a, pirn_time b) {
    return a < b ? a : b;
}

/* What malloc keeps of what a burst freed goes back with the burst's stacks: by one worker that has nothing to do, and
 * at most once in TRIM_HEAP_NS in the process, since it takes milliseconds and malloc's locks. */
static void trim_heap(void) {
    static _Atomic int64_t next_at;
    int64_t now = monotonic_now(), due = atomic_load_explicit(&next_at, memory_order_relaxed);
    /* relaxed, both: of several workers one does it, nothing is published by it. */
    if (now >= due && atomic_compare_exchange_strong_explicit(&next_at, &due, now + TRIM_HEAP_NS, memory_order_relaxed,
                                                              memory_order_relaxed)) {
        (void)malloc_trim(0);
    }
}

/* The memory of stacks that a burst left goes back after one to two periods. Returns when to look again. */
static pirn_time trim_stacks(pn_worker *worker) {
    if (!pn_stack_surplus(&worker->sched.stacks)) {
        worker->trim_at = PIRN_FOREVER;
    } else if (worker->trim_at == PIRN_FOREVER) {
        worker->trim_at = pirn_after(pn_trim_period);
    } else if (monotonic_now() >= worker->trim_at && pn_stack_trim(&worker->sched.stacks, TRIM_STACKS)) {
        bool more = pn_stack_surplus(&worker->sched.stacks);
        worker->trim_at = more ? pirn_after(pn_trim_period) : PIRN_FOREVER;
        if (!more) {
            trim_heap();
        }
    }
    return worker->trim_at;
}

static void idle(pn_sched *sched, pirn_time deadline) {
    pn_worker *worker = sched->below;
    worker->no_timer = deadline == PIRN_FOREVER;
    deadline = earlier(deadline, pn_census(worker));
    deadline = earlier(deadline, trim_stacks(worker));
    pn_driver_turn(&worker->driver, deadline);
    worker->no_timer = false;
}

static void around_sleep(pn_driver *driver, bool asleep) {
    pn_worker *worker = PN_CONTAINER_OF(driver, pn_worker, driver);
    if (worker->no_timer && asleep) {
        pn_idle_begin(worker);
    } else if (worker->no_timer) {
        pn_idle_end(worker);
    }
}

static unsigned count_workers(void) {
    return pn_runtime_current.worker_count;
}

const pn_hooks pn_hooks_threads = {
    .poll = poll,
    .idle = idle,
    .post = post,
    .load = pn_shared_load,
    .store = pn_shared_store,
    .claim = pn_shared_claim,
    .add = pn_shared_add,
    .lock_init = pn_shared_lock_init,
    .lock_fini = pn_shared_lock_fini,
    .lock = pn_shared_lock,
    .unlock = pn_shared_unlock,
    .now = monotonic_now,
    .thread_role = pn_thread_role_text,
    .worker_count = count_workers,
    .enter = pn_foreign_enter,
    .leave = pn_foreign_leave,
    .reserve = pn_foreign_reserve,
    .unreserve = pn_foreign_unreserve,
};

/* ---- life ---- */

int pn_worker_init(pn_worker *worker, unsigned id) {
    const pirn_options *options = &pn_runtime_current.options;
    bool sockets = options->mode == PIRN_MODE_SINGLE || options->poll == PIRN_POLL_WORKER;
    int error = pn_driver_init(&worker->driver, sockets);
    if (error != 0) {
        return error;
    }
    pn_sched_options sched_options = {.id = id,
                                      .run = pn_runtime_current.run,
                                      .stack_bytes = options->stack_bytes,
                                      .seed = options->seed,
                                      .on_error = options->on_error,
                                      .on_error_context = options->on_error_context};
    error = pn_sched_init(&worker->sched, &sched_options);
    if (error != 0) {
        pn_driver_fini(&worker->driver);
        return error;
    }
    worker->sched.below = worker;
    worker->driver.on_sleep = around_sleep;
    worker->census_at = PIRN_FOREVER;
    worker->trim_at = PIRN_FOREVER;
    self = worker;
    return 0;
}

void pn_worker_fini(pn_worker *worker) {
    PN_ASSERT(worker == self);
    (void)pn_inbox_drain(&worker->driver.port.inbox); /* messages to tasklets that are gone free themselves */
    pn_sched_fini(&worker->sched);
    pn_driver_fini(&worker->driver);
    pn_warn_flush();
    self = NULL;
}
