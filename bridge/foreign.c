/* SPDX-License-Identifier: MIT
 *
 * What: calls from threads that pirn did not start: send into a channel, start a tasklet.
 *
 * Threads: any. The gate: one per run of the runtime, shared by that run's handles, outlives the runtime as long as a
 *       handle is open. Its `calls` word counts the foreign calls under way and says whether the runtime is over.
 * Invariants: (1) a call touches the runtime only between a successful enter and its leave; (2) stop sets OVER and then
 *       waits until no call is left in `calls`: afterwards no foreign call is inside and none can come; (3) each open
 *       handle counts as one outside thing (live.h) while its gate is open.
 * Bounds: each call of a foreign thread that allocates a message takes one of PIRN_FOREIGN_CALLS_MAX until the message
 *       is delivered, so such threads can't outrun the workers. Calls that must not fail need no bound: a fire and the
 *       last release of a deferred use messages inside it, a post readies a tasklet that waits, by a message inside
 *       that, or fills a buffer that has a size.
 * A call from a worker does not count itself: its runtime cannot end around it.
 * Lifetime: the gate is held by the runtime and by each handle. A handle closed while the runtime runs travels to
 *       worker 0 as a message: a wake that may have been the last possible one is gone, so the judge of deadlocks must
 *       look again.
 */
#include "foreign.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "alloc.h"
#include "channel.h"
#include "live.h"
#include "runtime.h"
#include "thread.h"

/* In `calls`: two flags, and what one call under way adds. NO_SPAWNS: the runtime has begun to end. */
enum { OVER = 1, NO_SPAWNS = 2, CALL = 4 };

/* Tasklets started by foreign threads that have not had their first turn. */
#define SPAWNS_WAITING_MAX 65536
/* Handles that are open, or closed and not freed yet. */
#define HANDLES_MAX 65536

typedef struct gate {
    /* immutable */
    uint32_t run; /* of the runtime behind it */
    /* any thread */
    _Atomic(uint64_t) calls;
    /* under gate_mutex */
    unsigned holds;
    unsigned handles; /* open ones, each an outside thing */
} gate;

struct pirn_foreign {
    pn_message closing; /* to worker 0, when closed */
    gate *gate;         /* immutable */
};

static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
/* Under gate_mutex; NULL: no runtime. The second is the offload threads', which have to deliver for longer: it is shut
 * when they are joined, or disowned. */
static gate *current, *jobs_gate;
static _Atomic(uint32_t) spawns_waiting, calls_waiting, handles_out;

/* Take one of `max`. False: all are taken. relaxed, here and in count_down: bounds, nothing is published by them. */
static bool count_up(_Atomic(uint32_t) *count, uint32_t max) {
    if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) < max) {
        return true;
    }
    atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
    return false;
}

static void count_down(_Atomic(uint32_t) *count) {
    atomic_fetch_sub_explicit(count, 1, memory_order_relaxed); /* as in count_up */
}

/* What the calling thread passed without a handle, and how often it has to leave. */
static _Thread_local gate *passed;
static _Thread_local unsigned passed_count;

static void lock_gates(void) {
    PN_ASSERT(pthread_mutex_lock(&gate_mutex) == 0);
}

static void unlock_gates(void) {
    PN_ASSERT(pthread_mutex_unlock(&gate_mutex) == 0);
}

/* gate_mutex held. */
static void give_up(gate *held) {
    if (--held->holds == 0) {
        pn_free(held);
    }
}

/* ---- passing the gate ---- */

/* Unless one of the flags in `refusal` is up. */
static bool enter(gate *entered, uint64_t refusal) {
    if (pn_sched_self()) {
        /* acquire: a closed gate is seen with what its closer did before; pairs with the or in raise_flag. */
        return (atomic_load_explicit(&entered->calls, memory_order_acquire) & refusal) == 0;
    }
    /* acquire: the runtime as it was set up is seen; a call that comes after a flag sees that too, for both are changes
     * of one word. Pairs with the or in raise_flag. */
    uint64_t before = atomic_fetch_add_explicit(&entered->calls, CALL, memory_order_acquire);
    if (before & refusal) {
        /* relaxed: nothing was touched. */
        atomic_fetch_sub_explicit(&entered->calls, CALL, memory_order_relaxed);
        return false;
    }
    return true;
}

static void raise_flag(gate *raised, uint64_t flag) {
    /* acq_rel: publishes the end, and acquires what earlier calls did; pairs with enter and leave. */
    atomic_fetch_or_explicit(&raised->calls, flag, memory_order_acq_rel);
}

static bool has_calls(gate *asked) {
    /* acquire: pairs with the release in leave. */
    return atomic_load_explicit(&asked->calls, memory_order_acquire) >= CALL;
}

static void leave(gate *left) {
    if (!pn_sched_self()) {
        /* release: publishes what the call did to whoever waits for it; pairs with the acquire in has_calls. */
        atomic_fetch_sub_explicit(&left->calls, CALL, memory_order_release);
    }
}

static bool is_gated(pn_role role) {
    return role == PN_FOREIGN || role == PN_OFFLOAD;
}

/* `have` if that is the runtime that was asked for, else 0. */
static uint32_t match(uint32_t have, uint32_t wanted) {
    return wanted == 0 || wanted == have ? have : 0;
}

uint32_t pn_foreign_enter(uint32_t run) {
    pn_role role = pn_thread_role();
    if (!is_gated(role)) {
        return match(pn_runtime_current.run, run);
    }
    if (passed_count > 0) {
        passed_count += match(passed->run, run) != 0;
        return match(passed->run, run);
    }
    lock_gates(); /* keeps the gate until we are counted in it */
    gate *asked = role == PN_OFFLOAD ? jobs_gate : current;
    bool open = asked && match(asked->run, run) != 0 && enter(asked, OVER);
    unlock_gates();
    if (!open) {
        return 0;
    }
    passed = asked;
    passed_count = 1;
    return asked->run;
}

void pn_foreign_leave(void) {
    if (is_gated(pn_thread_role()) && --passed_count == 0) {
        leave(passed);
    }
}

bool pn_foreign_reserve(void) {
    return count_up(&calls_waiting, is_gated(pn_thread_role()) ? PIRN_FOREIGN_CALLS_MAX : UINT32_MAX);
}

void pn_foreign_unreserve(void) {
    count_down(&calls_waiting);
}

static gate *make_gate(void) {
    gate *fresh = pn_calloc(1, sizeof *fresh);
    if (fresh) {
        atomic_init(&fresh->calls, 0);
        fresh->run = pn_runtime_current.run;
        fresh->holds = 1;
    }
    return fresh;
}

int pn_foreign_start(void) {
    gate *foreign = make_gate(), *jobs = make_gate();
    if (!foreign || !jobs) {
        pn_free(foreign);
        pn_free(jobs);
        return PIRN_ENOMEM;
    }
    lock_gates();
    PN_ASSERT(!current && !jobs_gate);
    current = foreign;
    jobs_gate = jobs;
    unlock_gates();
    return 0;
}

void pn_foreign_refuse_spawns(void) {
    lock_gates();
    if (current) {
        raise_flag(current, NO_SPAWNS);
    }
    unlock_gates();
}

static void shut(gate **which) {
    lock_gates();
    gate *closed = *which;
    *which = NULL;
    unlock_gates();
    if (!closed) {
        return;
    }
    raise_flag(closed, OVER);
    /* A call under way never blocks, so this is a matter of microseconds unless its thread was preempted: then giving
     * up the processor is what helps it. */
    while (has_calls(closed)) {
        sched_yield();
    }
    lock_gates();
    for (; closed->handles > 0; closed->handles--) {
        pn_outside_end();
    }
    give_up(closed);
    unlock_gates();
}

void pn_foreign_stop(void) {
    shut(&current);
}

void pn_foreign_stop_jobs(void) {
    shut(&jobs_gate);
}

/* ---- handles ---- */

static void free_handle(pirn_foreign *foreign) {
    pn_free(foreign);
    count_down(&handles_out);
}

pirn_foreign *pirn_foreign_open(void) {
    if (!count_up(&handles_out, HANDLES_MAX)) {
        return NULL;
    }
    pirn_foreign *foreign = pn_malloc(sizeof *foreign);
    if (!foreign) {
        count_down(&handles_out);
        return NULL;
    }
    lock_gates();
    bool running = current != NULL;
    if (running) {
        foreign->gate = current;
        current->holds++;
        current->handles++;
        pn_outside_begin();
    }
    unlock_gates();
    if (!running) {
        free_handle(foreign);
        return NULL;
    }
    return foreign;
}

/* Worker 0. That it woke for this is the point: it judges again before it sleeps. */
static void deliver_closing(pn_message *message) {
    free_handle(PN_CONTAINER_OF(message, pirn_foreign, closing));
}

void pirn_foreign_close(pirn_foreign *foreign) {
    if (!foreign) {
        return;
    }
    gate *its_gate = foreign->gate;
    bool running = enter(its_gate, OVER);
    lock_gates();
    /* Zero when the runtime ended in between and stop has counted all handles down. */
    if (its_gate->handles > 0) {
        its_gate->handles--;
        pn_outside_end();
    }
    unlock_gates();
    if (running) {
        foreign->closing.deliver = deliver_closing;
        pn_below->post(0, &foreign->closing);
        leave(its_gate);
    } else {
        free_handle(foreign);
    }
    lock_gates();
    give_up(its_gate);
    unlock_gates();
}

/* ---- calls ---- */

static int send_now(pirn_channel *channel, const void *elem) {
    if (!channel || !channel->shared) {
        return PIRN_EINVAL;
    }
    /* A send only reads its element. */
    pirn_case one = {.channel = channel, .direction = PIRN_SEND, .elem = (void *)(uintptr_t)elem};
    int chosen = pn_channel_operate(&one, 1, PIRN_NOW, "pirn_post");
    return chosen < 0 ? chosen : one.status;
}

int pirn_post(pirn_foreign *foreign, pirn_channel *channel, const void *elem) {
    if (!enter(foreign->gate, OVER)) {
        return PIRN_ECLOSED;
    }
    int error = send_now(channel, elem);
    leave(foreign->gate);
    return error;
}

/* A tasklet on its way from a foreign thread: a message until it is delivered, then the clean-up of the tasklet, which
 * core frees with pn_free(): so the clean-up comes first. */
typedef struct spawn {
    pn_cleanup cleanup;
    pn_message message;
    pirn_fn fn;
    void *arg;
    const char *function, *file;
    int line;
    bool started; /* home */
} spawn;

_Static_assert(offsetof(spawn, cleanup) == 0, "core frees the clean-up, and with it the whole spawn");

static void count_started(spawn *one) {
    one->started = true;
    count_down(&spawns_waiting);
}

/* However the tasklet ends: one that was struck before its first turn does not wait any more either. */
static void end_spawn(void *arg) {
    spawn *one = arg;
    if (!one->started) {
        count_started(one);
    }
}

static int run_spawn(void *arg) {
    spawn *one = arg;
    count_started(one);
    return one->fn(one->arg);
}

static void deliver_spawn(pn_message *message) {
    spawn *one = PN_CONTAINER_OF(message, spawn, message);
    pn_sched *sched = pn_sched_self();
    pn_tasklet *tasklet = pn_tasklet_spawn(sched, NULL, run_spawn, one, one->file, one->line);
    if (!tasklet) {
        pn_report_error(sched, PIRN_ENOMEM, "no memory for the tasklet that a foreign thread started at %s:%d",
                        one->file, one->line);
        count_started(one);
        pn_free(one);
        return;
    }
    tasklet->function = one->function;
    one->cleanup = (pn_cleanup){.fn = end_spawn, .arg = one};
    tasklet->cleanups = &one->cleanup;
}

int pirn_foreign_spawn_at(pirn_foreign *foreign, pirn_fn fn, void *arg, const char *function, const char *file,
                          int line) {
    spawn *one = pn_malloc(sizeof *one);
    if (!one) {
        return PIRN_ENOMEM;
    }
    *one = (spawn){
        .message.deliver = deliver_spawn, .fn = fn, .arg = arg, .function = function, .file = file, .line = line};
    int error = PIRN_ECLOSED;
    if (enter(foreign->gate, OVER | NO_SPAWNS)) {
        error = count_up(&spawns_waiting, SPAWNS_WAITING_MAX) ? 0 : PIRN_ELIMIT;
        if (error == 0) {
            pn_below->post(pn_worker_least_loaded(), &one->message);
        }
        leave(foreign->gate);
    }
    if (error != 0) {
        pn_free(one);
    }
    return error;
}
