/* SPDX-License-Identifier: MIT
 *
 * What: pirn_looping_call: Twisted's LoopingCall as a tasklet that sleeps until the next multiple of its interval.
 *
 * Threads: start and the calls: the home worker. done, stop and release: any, also after the runtime's end: elsewhere
 *       than at home a stop is a message.
 * Invariants: (1) the n-th call is never before start + n * interval, and of the ticks missed while `fn` runs none is
 *       made up for; (2) stop never strikes a wait of the user's `fn`, only our own sleep between two calls; (3) the
 *       deferred gets exactly one result, after the last call has returned.
 * Lifetime: counted: the user's handle, the tasklet's, and that of a stop on its way home.
 * Choice: the tasklet is a daemon: a repeated call lives as long as its program and must not hold up its end. When it
 *       is cancelled (by a shutdown) its deferred fires as after a stop: nobody is to blame.
 */
#include <pirn/reactor.h>

#include "alloc.h"
#include "call.h"
#include "deferred.h"
#include "hooks.h"
#include "sched.h"

struct pirn_looping_call {
    /* immutable after start */
    int64_t interval_ns;
    bool now;
    pirn_fn fn;
    void *arg;
    pirn_deferred *done;
    unsigned home;
    uint32_t run; /* of the home's runtime                                                          */
    /* any thread, through the hooks */
    pn_word holds;
    pn_word stop_sent; /* 1: `stop` is used                                                              */
    pn_message stop;   /* the thread that set `stop_sent`, until delivered                               */
    /* home only */
    pirn_tasklet tasklet;
    bool sleeping; /* between two calls                                                              */
    bool stopped;  /* no further call                                                                */
    bool ended;    /* `done` has its result                                                          */
};

static void drop_hold(pirn_looping_call *call) {
    if (pn_below->add(&call->holds, UINT32_MAX) == 0) {
        pirn_deferred_release(call->done);
        pn_free(call);
    }
}

/* The first multiple of the interval after `now`, counted from `start`: so it neither drifts nor bunches. */
static pirn_time next_tick(pirn_time start, pirn_time now, int64_t interval_ns) {
    pirn_time next = 0;
    int64_t ticks = (now - start) / interval_ns + 1;
    bool far = __builtin_mul_overflow(ticks, interval_ns, &next) || __builtin_add_overflow(next, start, &next);
    return far ? PIRN_FOREVER : next;
}

/* False: stopped or cancelled. */
static bool wait_for_tick(pirn_looping_call *call, pirn_time start) {
    if (call->interval_ns == 0) {
        pirn_yield(); /* once a turn of the scheduler */
    } else {
        call->sleeping = true;
        (void)pirn_sleep_until(next_tick(start, pirn_now(), call->interval_ns));
        call->sleeping = false;
    }
    return !call->stopped && !pirn_cancelled();
}

/* The result of the last call: 0 after a stop. */
static int run_calls(pirn_looping_call *call) {
    pirn_time start = pirn_now();
    int status = 0;
    bool due = call->now ? !call->stopped : wait_for_tick(call, start);
    while (due) {
        pn_tasklet_set_at_work(true);
        status = call->fn(call->arg);
        pn_tasklet_set_at_work(false);
        if (status != 0 || call->stopped) {
            break;
        }
        due = wait_for_tick(call, start);
    }
    return pirn_cancelled() ? 0 : status;
}

/* What `fn` said with pirn_fail goes along as the cause. */
static pirn_failure *failure_of(int status) {
    pirn_failure *failure =
        pirn_failure_make(status < 0 ? status : PIRN_EFAILED, "a repeated call returned %d", status);
    if (failure) {
        const pirn_failure *said = pn_current()->failure;
        if (pirn_failure_code(said) == status) { /* another code: an older failure that `fn` handled */
            pirn_failure_because(failure, pirn_failure_clone(said));
        }
    }
    return failure;
}

/* The deferred's one result, after the last call. */
static void end(pirn_looping_call *call, int status) {
    call->ended = true;
    if (status == 0) {
        (void)pirn_deferred_fire(call->done, NULL, NULL);
    } else {
        (void)pirn_deferred_fail(call->done, failure_of(status));
    }
}

static int body(void *arg) {
    pirn_looping_call *call = arg;
    end(call, run_calls(call));
    return 0;
}

/* The tasklet is over; perhaps it was cancelled before its first turn, and the body never ran. */
static void tasklet_ended(void *arg) {
    pirn_looping_call *call = arg;
    if (!call->ended) {
        end(call, 0);
    }
    drop_hold(call);
}

/* A daemon tasklet with a clean-up that runs even if it never starts. */
static bool start_tasklet(pirn_looping_call *call) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "looping call";
    options.flags = PIRN_DAEMON;
    pn_ending ending = {.fn = tasklet_ended, .arg = call};
    pn_tasklet *tasklet = pn_call_spawn(&options, body, call, &ending, __FILE__, __LINE__);
    if (tasklet) {
        call->tasklet = pn_tasklet_handle(tasklet);
        pn_deferred_set_producer(call->done, call->tasklet.id);
    }
    return tasklet != NULL;
}

pirn_looping_call *pirn_looping_call_start(int64_t interval_ns, bool now, pirn_fn fn, void *arg) {
    if (!pn_sched_self()) {
        pn_warn("pirn_looping_call_start() from %s: the calls need a worker. Do this in a tasklet, started with "
                "pirn_foreign_spawn().",
                pn_below->thread_role());
        return NULL;
    }
    if (interval_ns < 0 || !fn) {
        return NULL;
    }
    pirn_looping_call *call = pn_calloc(1, sizeof *call);
    if (!call) {
        return NULL;
    }
    *call = (pirn_looping_call){.interval_ns = interval_ns,
                                .now = now,
                                .fn = fn,
                                .arg = arg,
                                .home = pn_sched_self()->options.id,
                                .run = pn_sched_self()->options.run};
    pn_below->store(&call->holds, 2);
    call->done = pirn_deferred_create(NULL, NULL);
    if (!call->done || !start_tasklet(call)) {
        pirn_deferred_release(call->done);
        pn_free(call);
        return NULL;
    }
    return call;
}

pirn_deferred *pirn_looping_call_done(pirn_looping_call *call) {
    return call->done;
}

static void stop_here(pirn_looping_call *call) {
    if (call->stopped || call->ended) {
        return;
    }
    call->stopped = true;
    if (call->sleeping) {
        (void)pirn_throw(call->tasklet, PIRN_ECLOSED, true);
    }
}

static void deliver_stop(pn_message *message) {
    pirn_looping_call *call = PN_CONTAINER_OF(message, pirn_looping_call, stop);
    stop_here(call);
    drop_hold(call);
}

/* Another worker, or a thread that pirn did not start. The first of them sends the one message. */
static void stop_elsewhere(pirn_looping_call *call) {
    const pn_sched *sched = pn_sched_self();
    bool entered = sched ? sched->options.run == call->run : pn_below->enter(call->run) != 0;
    if (!entered) {
        return; /* its runtime is over, and so is its tasklet */
    }
    if (pn_below->claim(&call->stop_sent, 0, 1)) {
        (void)pn_below->add(&call->holds, 1);
        call->stop.deliver = deliver_stop;
        pn_below->post(call->home, &call->stop);
    }
    if (!sched) {
        pn_below->leave();
    }
}

void pirn_looping_call_stop(pirn_looping_call *call) {
    const pn_sched *sched = pn_sched_self();
    if (sched && sched->options.id == call->home && sched->options.run == call->run) {
        stop_here(call);
    } else {
        stop_elsewhere(call);
    }
}

void pirn_looping_call_release(pirn_looping_call *call) {
    if (call) {
        pirn_looping_call_stop(call);
        drop_hold(call);
    }
}
