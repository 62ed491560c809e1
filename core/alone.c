/* SPDX-License-Identifier: MIT
 *
 * What: core on one thread without a bridge: hooks with plain words and no locks, a clock that is real or turned by
 *       hand, and the smallest program around a scheduler. For core's own tests, and the proof that core needs nothing
 *       else.
 * Threads: one.
 * Invariants: messages posted to oneself are delivered between two tasklets, as the bridge's are.
 */
#include <time.h>

#include "sched.h"

static bool virtual_clock;
static pirn_time virtual_now = PIRN_SECOND;
static pn_message *posted_first, **posted_end = &posted_first;

void pn_alone_use_virtual_clock(bool on) {
    virtual_clock = on;
}

void pn_alone_advance(int64_t nanoseconds) {
    virtual_now += nanoseconds;
}

static pirn_time real_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (pirn_time)now.tv_sec * PIRN_SECOND + now.tv_nsec;
}

static pirn_time alone_now(void) {
    return virtual_clock ? virtual_now : real_now();
}

static void alone_poll(pn_sched *sched) {
    (void)sched;
    while (posted_first) {
        pn_message *message = posted_first;
        posted_first = message->next;
        if (!posted_first) {
            posted_end = &posted_first;
        }
        message->deliver(message);
    }
}

static void alone_post(unsigned home, pn_message *message) {
    PN_ASSERT(home == 0);
    message->next = NULL;
    *posted_end = message;
    posted_end = &message->next;
}

static void cancel_all(pn_sched *sched) {
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet_strike(PN_CONTAINER_OF(node, pn_tasklet, all_link), PIRN_ECANCELED, true, false);
    }
}

/* Nothing runnable, no timer, no message: on one thread that is a deadlock. Main hears of it first; without main the
 * rest, which nobody will ever wake, is cancelled. */
static void deadlock(pn_sched *sched) {
    (void)pn_report_parked(sched, 0, false);
    if (sched->main && sched->main->state == PN_PARKED && pn_waiter_strike(sched->main->waiter, PIRN_EDEADLK)) {
        pn_ready(sched->main);
    } else {
        cancel_all(sched);
    }
}

static void alone_idle(pn_sched *sched, pirn_time deadline) {
    alone_poll(sched);
    if (!pn_list_empty(&sched->ready) || sched->counts.live == 0) {
        return;
    }
    if (deadline == PIRN_FOREVER) {
        deadlock(sched);
    } else if (virtual_clock) {
        virtual_now = deadline > virtual_now ? deadline : virtual_now;
    } else {
        struct timespec until = {.tv_sec = deadline / PIRN_SECOND, .tv_nsec = deadline % PIRN_SECOND};
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

static uint32_t alone_load(const pn_word *word) {
    return word->opaque;
}

static void alone_store(pn_word *word, uint32_t value) {
    word->opaque = value;
}

static bool alone_claim(pn_word *word, uint32_t expected, uint32_t value) {
    if (word->opaque != expected) {
        return false;
    }
    word->opaque = value;
    return true;
}

static uint32_t alone_add(pn_word *word, uint32_t delta) {
    return word->opaque += delta;
}

static void alone_lock(pn_lock *lock) {
    (void)lock;
}

static const char *alone_role(void) {
    return "a thread outside pirn_run()";
}

static unsigned alone_workers(void) {
    return 1;
}

/* Its runs follow each other on one thread, and leave nothing behind: they need no numbers. */
#define ALONE_RUN 1

static uint32_t alone_enter(uint32_t run) {
    return run == 0 || run == ALONE_RUN ? ALONE_RUN : 0;
}

static void alone_leave(void) {
}

static bool alone_reserve(void) {
    return true;
}

static void alone_unreserve(void) {
}

const pn_hooks pn_hooks_alone = {
    .poll = alone_poll,
    .idle = alone_idle,
    .post = alone_post,
    .load = alone_load,
    .store = alone_store,
    .claim = alone_claim,
    .add = alone_add,
    .lock_init = alone_lock,
    .lock_fini = alone_lock,
    .lock = alone_lock,
    .unlock = alone_lock,
    .now = alone_now,
    .thread_role = alone_role,
    .worker_count = alone_workers,
    .enter = alone_enter,
    .leave = alone_leave,
    .reserve = alone_reserve,
    .unreserve = alone_unreserve,
};

typedef struct main_call {
    pirn_fn fn;
    void *arg;
    int result;
} main_call;

static int run_main(void *arg) {
    main_call *call = arg;
    call->result = call->fn(call->arg);
    pn_sched_self()->stop = true;
    return call->result;
}

int pn_alone_run(pirn_fn main_fn, void *arg) {
    pn_below = &pn_hooks_alone;
    int error = pn_stack_setup(PIRN_GUARD_AUTO);
    if (error != 0) {
        return error;
    }
    pn_sched sched;
    pn_sched_options options = {.run = ALONE_RUN, .stack_bytes = PN_STACK_BYTES_DEFAULT, .seed = 1};
    error = pn_sched_init(&sched, &options);
    if (error != 0) {
        return error;
    }
    main_call call = {.fn = main_fn, .arg = arg};
    pirn_spawn_options spawn;
    pirn_spawn_options_init(&spawn);
    spawn.name = "main";
    pn_tasklet *main_tasklet = pn_tasklet_spawn(&sched, &spawn, run_main, &call, __FILE__, __LINE__);
    PN_ASSERT(main_tasklet);
    main_tasklet->is_main = true;
    sched.main = main_tasklet;
    pn_sched_run(&sched);
    alone_poll(&sched); /* what the last tasklets posted */
    pn_sched_fini(&sched);
    return call.result;
}
