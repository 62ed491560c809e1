/* SPDX-License-Identifier: MIT
 *
 * What: the deferred's life: create, holds, fire, cancel, pause, and the report of a failure nobody handled. The chain
 *       is in deferred_run.c; the struct and its words are explained in deferred_inside.h.
 *
 * Threads: create, retain, release, fire, add, cancel and finished: any thread, by a message to the home when that is
 *       elsewhere. The rest: home. A thread that pirn did not start may outlive the home: its calls pass the gate of
 *       foreign threads (enter_call).
 *
 * States:   unfired --fire--> arriving (a message, when fired elsewhere) --> running its chain <--> paused, or waiting
 *           for another deferred --> settled --late callback--> running ...
 *
 * Lifetime: counted. The last release destroys it at home: directly there, else by the struct's own message. Firing
 *       from elsewhere holds it until the result has arrived.
 * Rejected: a lock per deferred (callbacks would then run on the thread that fires: the reactor would run user code);
 *       allocating the message of a fire (a result would be lost for want of 60 bytes).
 */
#include <stdio.h>

#include "alloc.h"
#include "deferred_inside.h"
#include "failure.h"

/* ---- threads that may outlive the runtime ---- */

/* Before a message to a home of runtime `run` (0: of the one that runs): its number. 0: there is no home any more. */
static uint32_t enter_call(uint32_t run) {
    const pn_sched *sched = pn_sched_self();
    if (sched) {
        return run == 0 || run == sched->options.run ? sched->options.run : 0;
    }
    return pn_below ? pn_below->enter(run) : 0;
}

static void leave_call(void) {
    if (!pn_sched_self()) {
        pn_below->leave();
    }
}

/* Between the two, a message that is not part of the deferred. `*counted` is the message's. */
static bool reserve_message(bool *counted) {
    *counted = !pn_sched_self();
    return !*counted || pn_below->reserve();
}

static void end_message(bool counted) {
    if (counted) {
        pn_below->unreserve();
    }
}

/* ---- create ---- */

static void deliver_born(pn_message *message) {
    pirn_deferred *d = PN_CONTAINER_OF(message, pirn_deferred, lifeline);
    pn_sched_self()->counts.deferreds++;
    end_message(d->birth_counted);
    pirn_deferred_release(d);
}

static int resolve_home(int home) {
    if (home >= 0 && (unsigned)home >= pn_below->worker_count()) {
        return -1;
    }
    return home < 0 ? (int)pn_sched_self()->options.id : home;
}

static pirn_deferred *create(uint32_t run, int home, pirn_canceller canceller, void *context, const char *file,
                             int line) {
    home = resolve_home(home);
    pirn_deferred *d = home >= 0 ? pn_calloc(1, sizeof *d) : NULL;
    if (!d || !reserve_message(&d->birth_counted)) {
        pn_free(d);
        return NULL;
    }
    d->home = (unsigned)home;
    d->run = run;
    d->canceller = canceller;
    d->cancel_context = context;
    d->file = file;
    d->line = line;
    d->end = &d->first;
    pn_list_init(&d->awaiters);
    pn_below->store(&d->fired, PN_UNFIRED);
    pn_below->store(&d->outcome, PN_UNSETTLED);
    if (pn_deferred_is_home(d)) {
        pn_below->store(&d->holds, 1);
        pn_sched_self()->counts.deferreds++;
    } else {
        pn_below->store(&d->holds, 2); /* the caller's, and one until the home has counted it */
        d->lifeline.deliver = deliver_born;
        pn_below->post(d->home, &d->lifeline);
    }
    return d;
}

pirn_deferred *pn_deferred_create_from(int home, pirn_canceller canceller, void *context, const char *file, int line) {
    if (home < 0 && !pn_sched_self()) {
        pn_warn("pirn_deferred_create() from %s, which is no worker: use pirn_deferred_create_at() with a home.",
                pn_below ? pn_below->thread_role() : "a thread outside pirn_run()");
        return NULL;
    }
    pn_sched *sched = pn_sched_self();
    if (sched && sched->stage >= PN_FINAL) { /* callbacks that ask for new ones would go on without an end */
        pn_sched_tell_refusal(sched, "a new deferred", file, line);
        return NULL;
    }
    uint32_t run = enter_call(0);
    if (run == 0) {
        return NULL;
    }
    pirn_deferred *d = create(run, home, canceller, context, file, line);
    leave_call();
    return d;
}

pirn_deferred *pirn_deferred_create_from(int home, pirn_canceller canceller, void *context, const char *file,
                                         int line) {
    pirn_deferred *d = pn_deferred_create_from(home, canceller, context, file, line);
    if (!d) {
        pn_tasklet_was_refused();
    }
    return d;
}

static pirn_deferred *create_settled(pirn_result *result) {
    pirn_deferred *d = pn_deferred_create_from(-1, NULL, NULL, NULL, 0);
    if (!d) {
        pirn_result_drop(result);
        pn_tasklet_was_refused();
        return NULL;
    }
    (void)pirn_deferred_settle(d, result);
    return d;
}

pirn_deferred *pirn_deferred_succeed(void *value, pirn_drop_fn drop) {
    pirn_result result = {.value = value, .drop = drop};
    return create_settled(&result);
}

/* A NULL failure, as where there was no memory to make one, is still a failure. */
static pirn_result failed(pirn_failure *failure) {
    return (pirn_result){.status = failure ? pirn_failure_code(failure) : PIRN_EFAILED, .failure = failure};
}

pirn_deferred *pirn_deferred_fail_now(pirn_failure *failure) {
    pirn_result result = failed(failure);
    return create_settled(&result);
}

/* ---- what it is ---- */

void pn_deferred_set_external(pirn_deferred *deferred) {
    deferred->external = true;
}

void pn_deferred_set_source(pirn_deferred *deferred, void (*arrived)(void *context)) {
    deferred->external = true;
    deferred->source_arrived = arrived;
}

void pn_deferred_set_producer(pirn_deferred *deferred, uint64_t tasklet_id) {
    deferred->producer = tasklet_id;
}

bool pn_deferred_is_external(const pirn_deferred *deferred) {
    return deferred->external;
}

unsigned pn_deferred_home(const pirn_deferred *deferred) {
    return deferred->home;
}

const char *pn_deferred_made_at(const pirn_deferred *deferred, int *line) {
    *line = deferred->line;
    return deferred->file;
}

const char *pn_deferred_describe(const pirn_deferred *deferred, char *text, size_t text_bytes) {
    if (deferred->file) {
        (void)snprintf(text, text_bytes, "deferred made at %s:%d", pn_base_name(deferred->file), deferred->line);
    } else {
        (void)snprintf(text, text_bytes, "deferred");
    }
    return text;
}

bool pn_deferred_is_stale(const pirn_deferred *deferred) {
    bool stale = enter_call(deferred->run) == 0;
    if (!stale) {
        leave_call();
    }
    return stale;
}

int pn_deferred_require_home(const pirn_deferred *deferred, const char *call) {
    if (pn_deferred_is_home(deferred)) {
        return 0;
    }
    if (pn_deferred_is_stale(deferred)) {
        pn_warn("%s(): the deferred belongs to a runtime that is over. It can only be released.", call);
        return PIRN_ECLOSED;
    }
    const pn_sched *sched = pn_sched_self();
    if (sched) {
        pn_warn("%s() on worker %u: the deferred lives on worker %u. Use pirn_await() here, or do this in a tasklet "
                "spawned there.",
                call, sched->options.id, deferred->home);
    } else {
        pn_warn("%s() from %s: the deferred lives on worker %u. Do this in a tasklet spawned there.", call,
                pn_below->thread_role(), deferred->home);
    }
    return PIRN_ETHREAD;
}

bool pirn_deferred_finished(pirn_deferred *deferred) {
    return pn_below->load(&deferred->outcome) != PN_UNSETTLED;
}

/* ---- holds and the end ---- */

pirn_deferred *pirn_deferred_retain(pirn_deferred *deferred) {
    (void)pn_below->add(&deferred->holds, 1);
    return deferred;
}

/* The failure that is left at the end, NULL for none. An errback that leaves the failure as it is has not handled it,
 * as in Twisted; an await that saw it has; and one that gave up will not see it. A cancellation is what somebody asked
 * for, and no error. */
static const pirn_result *left_failing(const pirn_deferred *d) {
    bool settled = pn_below->load(&d->outcome) != PN_UNSETTLED;
    const pirn_result *last = d->viewed || !settled ? &d->result : &d->final;
    bool awaited = pn_below->load(&d->outcome) == PN_BORROWED && d->final.status < 0;
    return last->status < 0 && last->status != PIRN_ECANCELED && !awaited && !d->given_up ? last : NULL;
}

static void report_unhandled(const pirn_deferred *d) {
    const pirn_result *failure = left_failing(d);
    if (!failure) {
        return;
    }
    char text[400];
    (void)pn_result_describe(failure, text, sizeof text);
    if (d->file) {
        pn_report_error(pn_sched_self(), failure->status, "unhandled failure in deferred created at %s:%d: %s",
                        pn_base_name(d->file), d->line, text);
    } else {
        pn_report_error(pn_sched_self(), failure->status, "unhandled failure in deferred: %s", text);
    }
}

static void destroy_now(pirn_deferred *d) {
    PN_ASSERT(!d->running && !d->waits_for && pn_list_empty(&d->awaiters));
    report_unhandled(d);
    while (d->first) { /* never fired, or paused for good: like Twisted's, these callbacks never run */
        pn_link *link = d->first;
        d->first = link->next;
        PN_ASSERT(link->kind == PN_LINK_CALLBACK); /* movers and continuations hold the deferred */
        if (link->on_heap) {
            pn_free(link);
        }
    }
    pirn_result_drop(&d->result);
    pirn_result_drop(&d->final);
    pirn_result_drop(&d->lent);
    if (pn_deferred_is_home(d)) { /* else that is gone, with its counts */
        pn_sched_self()->counts.deferreds--;
    }
    pn_free(d);
}

/* A value's destructor may give up the last hold on another deferred, whose value's destructor may do the same, and so
 * on: those wait here for the end of the first destructor, so that the stack does not grow with their number. */
typedef struct destroying {
    struct destroying *outer;
    const pn_tasklet *tasklet; /* whose stack it stands on: another's, while a destructor waits, is no concern of it */
    pn_message *waiting;       /* lifelines of deferreds                                                  */
} destroying;

/* Tasklets never leave their thread. */
static _Thread_local destroying *under_way;

static void leave_destroying(const destroying *loop) {
    destroying **place = &under_way;
    while (*place != loop) {
        place = &(*place)->outer;
    }
    *place = loop->outer;
}

static void destroy(pirn_deferred *d) {
    const pn_sched *sched = pn_sched_self();
    destroying loop = {.outer = under_way, .tasklet = sched ? sched->current : NULL};
    for (destroying *each = under_way; each; each = each->outer) {
        if (each->tasklet == loop.tasklet) {
            d->lifeline.next = each->waiting;
            each->waiting = &d->lifeline;
            return;
        }
    }
    under_way = &loop;
    destroy_now(d);
    while (loop.waiting) {
        pirn_deferred *next = PN_CONTAINER_OF(loop.waiting, pirn_deferred, lifeline);
        loop.waiting = loop.waiting->next;
        destroy_now(next);
    }
    leave_destroying(&loop);
}

static void deliver_last_release(pn_message *message) {
    destroy(PN_CONTAINER_OF(message, pirn_deferred, lifeline));
}

void pirn_deferred_release(pirn_deferred *deferred) {
    if (!deferred) {
        return;
    }
    uint32_t left = pn_below->add(&deferred->holds, (uint32_t)-1);
    if (PN_UNLIKELY(left == (uint32_t)-1)) {
        pn_panic("pirn_deferred_release() of a deferred that nobody held: it was released once too often");
    }
    if (left > 0) {
        return;
    }
    bool has_home_elsewhere = !pn_deferred_is_home(deferred) && enter_call(deferred->run) != 0;
    if (has_home_elsewhere) {
        deferred->lifeline.deliver = deliver_last_release;
        pn_below->post(deferred->home, &deferred->lifeline);
        leave_call();
    } else { /* at home; or that is gone, and nobody else can touch it */
        destroy(deferred);
    }
}

/* ---- fire ---- */

static void tell_source(const pirn_deferred *d) {
    if (d->source_arrived) {
        d->source_arrived(d->cancel_context);
    }
}

/* Home; `fired` is claimed. */
static void arrive(pirn_deferred *d, pirn_result *result) {
    d->result = *result;
    *result = (pirn_result){0};
    d->arrived = true;
}

static void deliver_arrival(pn_message *message) {
    pirn_deferred *d = PN_CONTAINER_OF(message, pirn_deferred, arrival);
    if (d->arrived) { /* a cancel at home came first and was final */
        pirn_result_drop(&d->arriving);
        tell_source(d);
    } else {
        arrive(d, &d->arriving);
        tell_source(d);
        pn_deferred_run(d);
    }
    pirn_deferred_release(d);
}

/* Takes over `*result`, and zeroes it; not when the deferred has one already. */
static int settle(pirn_deferred *deferred, pirn_result *result) {
    if (!pn_below->claim(&deferred->fired, PN_UNFIRED, PN_FIRED)) {
        return pn_below->claim(&deferred->fired, PN_SWALLOW, PN_FIRED) ? 0 : PIRN_EALREADY;
    }
    if (pn_deferred_is_home(deferred)) {
        arrive(deferred, result);
        tell_source(deferred);
        pn_deferred_run(deferred);
        return 0;
    }
    deferred->arriving = *result;
    *result = (pirn_result){0};
    deferred->arrival.deliver = deliver_arrival;
    (void)pirn_deferred_retain(deferred);
    pn_below->post(deferred->home, &deferred->arrival);
    return 0;
}

pirn_deferred *pn_deferred_settle_next(pirn_deferred *deferred, pirn_result *result) {
    if (!pn_below->claim(&deferred->fired, PN_UNFIRED, PN_FIRED)) {
        return NULL;
    }
    arrive(deferred, result);
    tell_source(deferred);
    return pirn_deferred_retain(deferred);
}

int pirn_deferred_settle(pirn_deferred *deferred, pirn_result *result) {
    pn_result_refuse_positive(result);
    int error = PIRN_ECLOSED;
    if (enter_call(deferred->run) != 0) {
        error = settle(deferred, result);
        leave_call();
    }
    pirn_result_drop(result); /* outside of the call: a destructor may take its time, and the runtime's end not wait */
    return error;
}

int pirn_deferred_fire(pirn_deferred *deferred, void *value, pirn_drop_fn drop) {
    pirn_result result = {.value = value, .drop = drop};
    return pirn_deferred_settle(deferred, &result);
}

int pirn_deferred_fail(pirn_deferred *deferred, pirn_failure *failure) {
    pirn_result result = failed(failure);
    return pirn_deferred_settle(deferred, &result);
}

/* ---- cancel ---- */

static void ask_canceller(pirn_deferred *d) {
    bool outer = pn_callback_enter();
    d->canceller(d, d->cancel_context);
    pn_callback_leave(outer);
}

/* Fail it now, unless it has a result. One that another thread fired, and whose message has not arrived, fails too: the
 * cancel is final, and the result is destroyed when it arrives. */
static void fail_cancelled(pirn_deferred *d) {
    if (d->arrived) {
        return; /* the canceller fired it */
    }
    bool on_its_way = !pn_below->claim(&d->fired, PN_UNFIRED, d->canceller ? PN_FIRED : PN_SWALLOW);
    pirn_result result = {.status = PIRN_ECANCELED};
    arrive(d, &result);
    if (!on_its_way) {
        tell_source(d); /* else when the message has come: what its result's destructor does is counted until then */
    }
    pn_deferred_run(d);
}

/* Returns the fan that the cancel has to go on to. */
static pn_fan *cancel_one(pirn_deferred *d) {
    while (d->waits_for) {
        d = d->waits_for;
    }
    if (d->cancelling || d->arrived) {
        return NULL; /* its result stays; or the canceller, asked before, is still at it */
    }
    if (d->fan) {
        d->cancelling = true;
        return d->fan->active ? NULL : d->fan;
    }
    (void)pirn_deferred_retain(d); /* the canceller or a callback may give up what the caller relies on */
    d->cancelling = true;
    if (d->canceller && pn_below->load(&d->fired) == PN_UNFIRED) {
        ask_canceller(d); /* not when it was fired: then the work is over, and its context may be gone */
    }
    if (!d->patient) {
        fail_cancelled(d);
    }
    pirn_deferred_release(d);
    return NULL;
}

/* Lists of lists of lists: those under way stand on a stack of their own, linked through `under`. */
void pn_deferred_cancel_fan(pn_fan *fan) {
    fan->active = true;
    fan->under = NULL;
    for (pn_fan *top = fan; top;) {
        pn_fan *under = top->under;
        pirn_deferred *child = top->next(top);
        pn_fan *inner = child ? cancel_one(child) : NULL;
        if (inner) {
            inner->active = true;
            inner->under = top;
            top = inner;
        } else if (!child) {
            top = under;
        }
    }
}

void pn_deferred_cancel_here(pirn_deferred *deferred) {
    pn_fan *fan = cancel_one(deferred);
    if (fan) {
        pn_deferred_cancel_fan(fan);
    }
}

typedef struct cancel_order {
    pn_message message;
    pirn_deferred *deferred; /* held                                                                     */
    bool only_if_unwanted, counted;
} cancel_order;

void pn_deferred_give_up_here(pirn_deferred *deferred, bool cancel) {
    if (deferred->consumers == 0) {
        deferred->given_up = true;
        if (cancel) {
            pn_deferred_cancel_here(deferred);
        }
    }
}

static void cancel_now(pirn_deferred *d, bool only_if_unwanted) {
    if (only_if_unwanted) {
        pn_deferred_give_up_here(d, true);
    } else {
        pn_deferred_cancel_here(d);
    }
}

static void deliver_cancel(pn_message *message) {
    cancel_order *order = PN_CONTAINER_OF(message, cancel_order, message);
    end_message(order->counted);
    cancel_now(order->deferred, order->only_if_unwanted);
    pirn_deferred_release(order->deferred);
    pn_free(order);
}

static int post_cancel(pirn_deferred *d, bool only_if_unwanted) {
    bool counted;
    if (!reserve_message(&counted)) {
        return PIRN_ELIMIT;
    }
    cancel_order *order = pn_malloc(sizeof *order);
    if (!order) {
        end_message(counted);
        return PIRN_ENOMEM;
    }
    *order = (cancel_order){.message.deliver = deliver_cancel,
                            .deferred = pirn_deferred_retain(d),
                            .only_if_unwanted = only_if_unwanted,
                            .counted = counted};
    pn_below->post(d->home, &order->message);
    return 0;
}

static int cancel(pirn_deferred *d, bool only_if_unwanted) {
    if (pn_deferred_is_home(d)) {
        cancel_now(d, only_if_unwanted);
        return 0;
    }
    if (enter_call(d->run) == 0) {
        return PIRN_ECLOSED;
    }
    int error = post_cancel(d, only_if_unwanted);
    leave_call();
    return error;
}

int pirn_deferred_cancel(pirn_deferred *deferred) {
    return cancel(deferred, false);
}

void pn_deferred_cancel_unwanted(pirn_deferred *deferred) {
    (void)cancel(deferred, true); /* without memory the work goes on for nobody, and its result is destroyed */
}

/* ---- callbacks, pause ---- */

/* A pair on its way to the home; the chain frees the whole by its link. */
typedef struct add_order {
    pn_link link;
    pn_message message;
    pirn_deferred *deferred; /* held until it has arrived                                                */
    bool counted;
} add_order;

_Static_assert(offsetof(add_order, link) == 0, "a chain frees its links, and with them the order");

static void deliver_add(pn_message *message) {
    add_order *order = PN_CONTAINER_OF(message, add_order, message);
    pirn_deferred *d = order->deferred;
    end_message(order->counted);
    pn_deferred_add_link(d, &order->link); /* may run and free it */
    pirn_deferred_release(d);
}

static int post_add(pirn_deferred *d, const pn_link *link) {
    bool counted;
    if (!reserve_message(&counted)) {
        return PIRN_ELIMIT;
    }
    add_order *order = pn_malloc(sizeof *order);
    if (!order) {
        end_message(counted);
        return PIRN_ENOMEM;
    }
    *order = (add_order){
        .link = *link, .message.deliver = deliver_add, .deferred = pirn_deferred_retain(d), .counted = counted};
    pn_below->post(d->home, &order->message);
    return 0;
}

static int add_elsewhere(pirn_deferred *d, const pn_link *link) {
    const pn_sched *sched = pn_sched_self();
    if ((sched && sched->stage >= PN_FINAL) || enter_call(d->run) == 0) {
        return PIRN_ECLOSED;
    }
    int error = post_add(d, link);
    leave_call();
    return error;
}

int pirn_deferred_add_callbacks(pirn_deferred *deferred, pirn_callback on_result, pirn_callback on_failure,
                                void *context) {
    pn_link pair = {.on_result = on_result, .on_failure = on_failure, .context = context, .on_heap = true};
    if (!pn_deferred_is_home(deferred)) {
        return add_elsewhere(deferred, &pair);
    }
    pn_link *link = pn_malloc(sizeof *link);
    if (!link) {
        return PIRN_ENOMEM;
    }
    *link = pair;
    pn_deferred_add_link(deferred, link);
    return 0;
}

int pirn_deferred_add_both(pirn_deferred *deferred, pirn_callback callback, void *context) {
    return pirn_deferred_add_callbacks(deferred, callback, callback, context);
}

int pirn_deferred_pause(pirn_deferred *deferred) {
    int error = pn_deferred_require_home(deferred, "pirn_deferred_pause");
    if (error == 0) {
        deferred->paused++;
    }
    return error;
}

int pirn_deferred_unpause(pirn_deferred *deferred) {
    int error = pn_deferred_require_home(deferred, "pirn_deferred_unpause");
    if (error != 0) {
        return error;
    }
    if (deferred->paused == 0) {
        return PIRN_EINVAL;
    }
    deferred->paused--;
    pn_deferred_run(deferred);
    return 0;
}
