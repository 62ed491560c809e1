/* SPDX-License-Identifier: MIT
 *
 * What: how a runtime ends (rule 19 of docs/design.md), told in order by the main tasklet: stop accepting; drain until
 *       a deadline; cancel the rest while workers and reactor go on delivering; stop services and offload pools; wait
 *       for quiet; let everybody go.
 *
 * Threads: the main tasklet on worker 0; each look at a worker or the reactor is a message there and back.
 * Quiet: all tasklets but main have ended, nothing outside is counted, and between two looks nobody was delivered
 *       anything but the looks themselves. A message that was under way between the two would have been delivered
 *       before the second look (an inbox is first in, first out) and counted; and only a message, a tasklet or
 *       something outside makes a new message.
 * Invariants: (1) every wait here has a bound, and what outlives it is named; (2) a tasklet that shields itself may
 *       still use every service for GRACE_NS after it was cancelled.
 * Rejected: counting tasklets in a shared word (every end of a tasklet would pay for the end of the program); a hook
 *       that tells of the last end: looking again after a pause, at most every PAUSE_NS_MAX, happens once in a
 *       program's life.
 */
#include "shutdown.h"

#include "alloc.h"
#include "failure.h"
#include "foreign.h"
#include "listener.h"
#include "live.h"
#include "offload.h"
#include "reactor.h"
#include "request.h"
#include "runtime.h"
#include "signal_watch.h"
#include "watchdog.h"

#define GRACE_NS       (1 * PIRN_SECOND)  /* cancelled tasklets may use reactor and pools for so long            */
#define STUBBORN_NS    (5 * PIRN_SECOND)  /* then those that still live are named                                */
#define HOPELESS_NS    (30 * PIRN_SECOND) /* then it is a bug: a line and abort, as a supervisor would kill us    */
#define JOB_NS         (1 * PIRN_SECOND)  /* interrupted jobs may take so long to stop                            */
#define PAUSE_NS_FIRST (20 * PIRN_MICROSECOND)
#define PAUSE_NS_MAX   (5 * PIRN_MILLISECOND)
#define LOOKS_MAX      (PN_WORKERS_MAX + 1) /* workers, and the reactor on its own thread                        */

/* What to do at a worker besides looking. */
typedef enum errand { LOOK_ONLY, CANCEL_ALL, NAME_ALL } errand;

/* One look at one thread. */
typedef struct look {
    pn_message message;
    pn_driver *driver; /* immutable                                                                   */
    pn_sched *sched;   /* immutable; NULL: the reactor's thread                                       */
    errand errand;     /* main, before it is sent                                                     */
    /* the looked at, before it is sent back */
    unsigned live, holds_drain, delivered_count;
    bool busy;                 /* has completions to hand back, or requests under way                         */
    bool out;                  /* main: the answer is not back yet                                            */
    unsigned delivered_before; /* main: at the look before                                             */
} look;

/* One runtime runs at a time, so one of these. Main tasklet only, but for what a look says. */
static struct {
    look looks[LOOKS_MAX];
    unsigned count, outstanding;
    pn_waiter *waiter;
} all;

/* ---- at a worker ---- */

/* Strikes may end tasklets that have not started, and their ends may change the list: so first the handles. */
static void cancel_all(pn_sched *sched) {
    pirn_tasklet *handles = pn_malloc((sched->counts.live + 1) * sizeof *handles);
    if (!handles) {
        return; /* the next look tries again */
    }
    size_t count = 0;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (!tasklet->is_main && !tasklet->cancelled) {
            handles[count++] = pn_tasklet_handle(tasklet);
        }
    }
    for (size_t i = 0; i < count; i++) {
        pn_tasklet *tasklet = pn_tasklet_find(sched, handles[i]);
        if (tasklet && tasklet->state != PN_ENDED) {
            pn_tasklet_strike(tasklet, PIRN_ECANCELED, true, false);
        }
    }
    pn_free(handles);
}

static void name_all(pn_sched *sched) {
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (!tasklet->is_main) {
            char label[64], waits_on[96] = "its turn";
            if (tasklet->state == PN_PARKED) {
                (void)pn_waiter_describe(tasklet->waiter, waits_on, sizeof waits_on);
            }
            pn_warn("tasklet %s still lives %d s after it was cancelled: it waits for %s%s (spawned at %s:%u)",
                    pn_tasklet_label(tasklet, label, sizeof label), (int)(STUBBORN_NS / PIRN_SECOND), waits_on,
                    tasklet->shield > 0 ? ", shielded" : "", pn_base_name(tasklet->file), tasklet->line);
        }
    }
}

static void deliver_back(pn_message *message) {
    PN_CONTAINER_OF(message, look, message)->out = false;
    if (--all.outstanding == 0) {
        pn_waiter_complete(all.waiter);
    }
}

static void deliver_look(pn_message *message) {
    look *seen = PN_CONTAINER_OF(message, look, message);
    if (seen->sched && seen->errand == CANCEL_ALL) {
        cancel_all(seen->sched);
    } else if (seen->sched && seen->errand == NAME_ALL) {
        name_all(seen->sched);
    }
    seen->live = seen->sched ? seen->sched->counts.live : 0;
    seen->holds_drain = seen->sched ? seen->sched->counts.holds_drain : 0;
    seen->delivered_count = seen->driver->port.inbox.taken_count;
    seen->busy = seen->driver->out_mask != 0 || (seen->driver == pn_runtime_current.reactor && pn_requests_under_way());
    seen->message.deliver = deliver_back;
    pn_below->post(0, &seen->message);
}

/* ---- in the main tasklet ---- */

static void init_looks(void) {
    pn_runtime *runtime = &pn_runtime_current;
    all.count = runtime->worker_count;
    for (unsigned i = 0; i < all.count; i++) {
        all.looks[i] = (look){.driver = &runtime->workers[i].driver, .sched = &runtime->workers[i].sched};
    }
    if (runtime->reactor != &runtime->workers[0].driver) {
        all.looks[all.count++] = (look){.driver = runtime->reactor};
    }
}

/* Somebody does not even look into his inbox: the watchdog has told with what he is busy. */
static _Noreturn void name_the_absent(void) {
    unsigned absent = 0;
    while (absent + 1 < all.count && !all.looks[absent].out) {
        absent++;
    }
    pn_panic("%s %u has not come back from one slice for %d s: pirn_run() cannot return",
             all.looks[absent].sched ? "worker" : "the reactor, thread", absent, (int)(HOPELESS_NS / PIRN_SECOND));
}

/* Look at everybody. Worker 0, which also gets the answers, is asked first: so it sees its own question before any of
 * them. */
static void look_at_all(errand what) {
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_WORKERS, NULL);
    all.waiter = &waiter;
    all.outstanding = all.count;
    for (unsigned i = 0; i < all.count; i++) {
        look *one = &all.looks[i];
        one->errand = what;
        one->out = true;
        one->delivered_before = one->delivered_count;
        one->message.deliver = deliver_look;
        if (one->sched) {
            pn_below->post(i, &one->message);
        } else {
            pn_reactor_post(&one->message);
        }
    }
    if (pn_wait(&waiter, pirn_after(HOPELESS_NS), NULL) != 0) { /* shielded: only the deadline can end it */
        name_the_absent();
    }
}

/* Main itself is one of each. */
static bool is_drained(void) {
    unsigned holds_drain = 0;
    for (unsigned i = 0; i < all.count; i++) {
        holds_drain += all.looks[i].holds_drain;
    }
    return holds_drain <= 1;
}

static bool is_over(void) {
    unsigned live = 0;
    for (unsigned i = 0; i < all.count; i++) {
        live += all.looks[i].live;
    }
    return live <= 1;
}

/* See the head of the file. Between two of its looks worker 0 gets the answers of the first and the second look
 * itself. */
static bool is_quiet(void) {
    for (unsigned i = 0; i < all.count; i++) {
        const look *one = &all.looks[i];
        unsigned expected = i == 0 ? all.count + 1 : 1;
        if (one->busy || one->delivered_count - one->delivered_before != expected) {
            return false;
        }
    }
    return is_over() && pn_outside_count() == 0;
}

/* Look until `goal` is reached; false: not by `deadline`. */
static bool wait_for(bool (*goal)(void), errand what, pirn_time deadline) {
    int64_t pause_ns = PAUSE_NS_FIRST;
    for (;;) {
        look_at_all(what);
        if (goal()) {
            return true;
        }
        pirn_time now = pirn_now();
        if (now >= deadline) {
            return false;
        }
        pirn_time next = now + pause_ns;
        (void)pirn_sleep_until(next < deadline ? next : deadline);
        pause_ns = pause_ns * 2 < PAUSE_NS_MAX ? pause_ns * 2 : PAUSE_NS_MAX;
    }
}

static void deliver_refuse(pn_message *message) {
    (void)message;
    pn_requests_refuse();
    pn_signal_watches_refuse();
}

/* Nothing new may come from outside, and what is out comes back as failures. */
static void refuse_services(void) {
    static pn_message refuse;
    pn_foreign_stop();
    pn_offload_refuse();
    refuse.deliver = deliver_refuse;
    pn_reactor_post(&refuse);
}

static void deliver_stop(pn_message *message) {
    PN_CONTAINER_OF(message, look, message)->sched->stop = true;
}

static void deliver_stop_reactor(pn_message *message) {
    (void)message;
    pn_reactor_current.stop = true;
}

/* The last messages of this runtime. Threads wait for each other before they take apart what these still touch
 * (runtime.c). */
static void tell_all_to_leave(void) {
    for (unsigned i = 1; i < all.count; i++) {
        look *one = &all.looks[i];
        one->message.deliver = one->sched ? deliver_stop : deliver_stop_reactor;
        pn_port_post(&one->driver->port, &one->message);
    }
    all.looks[0].sched->stop = true;
}

static void cancel_the_rest(void) {
    pirn_time begun = pirn_now();
    if (wait_for(is_over, CANCEL_ALL, begun + GRACE_NS)) {
        refuse_services();
        return;
    }
    refuse_services();
    if (wait_for(is_over, CANCEL_ALL, begun + STUBBORN_NS)) {
        return;
    }
    look_at_all(NAME_ALL);
    if (!wait_for(is_over, CANCEL_ALL, begun + HOPELESS_NS)) {
        look_at_all(NAME_ALL);
        pn_panic("tasklets ignore their cancellation for %d s: pirn_run() cannot return",
                 (int)(HOPELESS_NS / PIRN_SECOND));
    }
}

void pn_shutdown(void) {
    pirn_shield_enter();          /* who cancels main from now on comes too late */
    pn_sched_self()->main = NULL; /* nor is there a main that could hear of a deadlock */
    init_looks();
    pn_foreign_refuse_spawns();
    look_at_all(LOOK_ONLY); /* with a bound: everybody still answers, so the round trips below come back */
    pn_listeners_close_all();
    (void)wait_for(is_drained, LOOK_ONLY, pirn_after(pn_runtime_current.options.drain_ns));
    cancel_the_rest();
    pn_watchdog_stop(); /* joining threads is a long slice */
    pn_offload_stop(pirn_after(JOB_NS));
    if (!wait_for(is_quiet, CANCEL_ALL, pirn_after(HOPELESS_NS))) {
        pn_panic("something on the reactor never ended (%llu listeners, handles and signals are open): pirn_run() "
                 "cannot return",
                 (unsigned long long)pn_outside_count());
    }
    tell_all_to_leave();
    pirn_shield_leave();
}

void pn_shutdown_unused(void) {
    init_looks();
    pn_foreign_stop();
    pn_watchdog_stop();
    pn_offload_stop(pirn_after(JOB_NS));
    tell_all_to_leave();
}
