/* SPDX-License-Identifier: MIT
 *
 * What: the run queue, the switch and the run loop (see core/sched.h for the order and the invariants).
 * Threads: the owner; pn_sched_self, pn_current, pn_ready_anywhere and pn_report_error any.
 * Invariants: (1) whoever runs after a switch first reaps who departed (after_switch), so there is one such tasklet at
 *       most; (2) every dispatch takes one from `budget`, a switch to a preferred peer and a call that did not park
 *       too, so no tasklets can keep the loop from looking at I/O; (3) a dispatch reads no clock: `since` is as of the
 *       last turn of the loop.
 * Lifetime: a tasklet that ended still stands on its stack until the next one runs: `departed` keeps it so long.
 */
#include "sched.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "text.h"

/* Tasklets never leave their thread, so a compiler that keeps this variable's address across a switch is right to. */
static _Thread_local pn_sched *self;

/* Weak: core's own tests have no bridge. A static value, because threads that pirn did not start may read `pn_below`
 * before and while the first runtime starts. */
extern const pn_hooks pn_hooks_threads __attribute__((weak));

const pn_hooks *pn_below = &pn_hooks_threads;

pn_sched *pn_sched_self(void) {
    return self;
}

pn_tasklet *pn_current(void) {
    return self && !self->in_callback ? self->current : NULL;
}

bool pn_callback_enter(void) {
    bool outer = self && self->in_callback;
    if (self) {
        self->in_callback = true;
    }
    return outer;
}

void pn_callback_leave(bool outer) {
    if (self) {
        self->in_callback = outer;
    }
}

static bool describe_running(pn_overflow_subject *subject) {
    pn_tasklet *current = self ? self->current : NULL;
    if (!current) {
        return false;
    }
    *subject = (pn_overflow_subject){.id = pn_tasklet_handle(current).id,
                                     .name = current->name[0] ? current->name : pn_tasklet_function(current),
                                     .stack = &current->stack};
    return true;
}

int pn_sched_init(pn_sched *sched, const pn_sched_options *options) {
    PN_ASSERT(!self);
    PN_ASSERT(options->id < PN_WORKERS_MAX);
    memset(sched, 0, sizeof *sched);
    sched->options = *options;
    sched->random_state = options->seed * 0x9e3779b97f4a7c15u + options->id + 1;
    pn_list_init(&sched->ready);
    pn_list_init(&sched->all);
    pn_list_init(&sched->free);
    pn_timers_init(&sched->timers);
    if (pn_stack_thread_init(describe_running) != 0) {
        return PIRN_ENOMEM;
    }
    pn_stack_cache_init(&sched->stacks);
    pn_context_init_thread(&sched->context);
    sched->clock = pn_below->now();
    self = sched;
    return 0;
}

void pn_sched_fini(pn_sched *sched) {
    PN_ASSERT(sched == self);
    PN_ASSERT(sched->counts.live == 0);
    pn_context_fini_thread(&sched->context);
    pn_stack_cache_fini(&sched->stacks);
    pn_stack_thread_fini();
    pn_tasklet_slabs_free(sched);
    self = NULL;
}

uint64_t pn_random(pn_sched *sched) {
    uint64_t x = sched->random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    sched->random_state = x;
    return x * 0x2545f4914f6cdd1du;
}

/* ---- the switch ---- */

/* First thing after every switch, on the new stack: what the one that ended left behind. */
static void after_switch(pn_sched *sched) {
    pn_tasklet *departed = sched->departed;
    if (PN_UNLIKELY(departed != NULL)) {
        sched->departed = NULL;
        pn_tasklet_reap(departed);
    }
}

void pn_tasklet_entry(void) {
    pn_sched *sched = self;
    pn_tasklet *tasklet = sched->current;
    pn_context_entered(&tasklet->context);
    after_switch(sched);
    pn_tasklet_end(tasklet, tasklet->fn(tasklet->arg));
    pn_sched_depart(sched, tasklet);
}

static bool is_look_due(const pn_sched *sched) {
    return sched->budget == 0 || PN_UNLIKELY(pn_flag_raised(&sched->hurry));
}

/* The tasklet to run next, off the queue; NULL: let the scheduler's own context look at the world first. A new one that
 * gets no stack ends in that context: its end may ready the very tasklet that is about to leave, and runs callbacks. */
static pn_tasklet *take_next(pn_sched *sched) {
    while (!is_look_due(sched)) {
        pn_node *node = pn_list_pop(&sched->ready);
        if (!node) {
            return NULL;
        }
        pn_tasklet *next = PN_CONTAINER_OF(node, pn_tasklet, link);
        if (PN_LIKELY(next->state != PN_NEW) || pn_tasklet_start(next)) {
            sched->budget--;
            return next;
        }
        if (sched->current) {
            pn_list_prepend(&sched->ready, &next->link);
            return NULL;
        }
        pn_tasklet_fail_start(next);
    }
    return NULL;
}

/* Mark `next` (NULL: the scheduler's context) as running; returns the context to switch to. */
static pn_context *enter(pn_sched *sched, pn_tasklet *next) {
    sched->current = next;
    if (!next) {
        return &sched->context;
    }
    next->state = PN_RUNNING;
    sched->counts.switches++;
    return &next->context;
}

static void check_canary(const pn_tasklet *tasklet) {
    if (PN_UNLIKELY(tasklet->stack.canary) && !pn_stack_intact(&tasklet->stack)) {
        pn_overflow_subject subject;
        (void)describe_running(&subject);
        pn_stack_overflow_panic(&subject);
    }
}

/* Leave the running tasklet, whose next state is set, for `next`. Returns when it is resumed. */
static void switch_from(pn_sched *sched, pn_tasklet *tasklet, pn_tasklet *next) {
    check_canary(tasklet);
    pn_context_switch(&tasklet->context, enter(sched, next));
    after_switch(sched);
}

void pn_sched_depart(pn_sched *sched, pn_tasklet *tasklet) {
    check_canary(tasklet);
    sched->departed = tasklet;
    pn_tasklet *next = take_next(sched);
    pn_context_leave(&tasklet->context, enter(sched, next));
}

void pn_park(void) {
    pn_sched *sched = self;
    pn_tasklet *tasklet = sched->current;
    PN_ASSERT(tasklet && tasklet->state != PN_RUNNING);
    switch_from(sched, tasklet, take_next(sched));
}

void pirn_yield(void) {
    pn_sched *sched = self;
    pn_tasklet *tasklet = pn_current();
    if (!tasklet) {
        return;
    }
    if (PN_UNLIKELY(sched->stage == PN_FORCED || sched->main_stage == PN_FORCED)) {
        pn_tasklet_end_if_forced(tasklet);
    }
    if (pn_list_empty(&sched->ready) && !is_look_due(sched)) {
        sched->budget--;
        return;
    }
    tasklet->state = PN_RUNNABLE;
    pn_list_append(&sched->ready, &tasklet->link);
    pn_tasklet *next = take_next(sched);
    if (!next) {
        sched->giving_way = tasklet;
    }
    switch_from(sched, tasklet, next);
}

/* Whether the running tasklet may go on after one more look. A dispatch since the last one begins a new row. */
static bool may_keep_place(pn_sched *sched) {
    bool in_a_row = sched->counts.switches == sched->kept_switches;
    sched->kept = in_a_row ? sched->kept + 1 : 1;
    sched->kept_switches = sched->counts.switches;
    return sched->kept <= PN_KEEP_MAX;
}

void pn_turn(pn_place place) {
    pn_sched *sched = self;
    pn_tasklet *tasklet = pn_current();
    if (PN_UNLIKELY(!tasklet)) {
        return;
    }
    if (PN_LIKELY(!is_look_due(sched))) {
        sched->budget--;
        return;
    }
    tasklet->state = PN_RUNNABLE;
    if (place == PN_KEEPS_PLACE && may_keep_place(sched)) {
        pn_list_prepend(&sched->ready, &tasklet->link);
    } else {
        pn_list_append(&sched->ready, &tasklet->link);
        sched->giving_way = tasklet;
    }
    uint64_t before = sched->counts.switches;
    switch_from(sched, tasklet, NULL);
    if (sched->counts.switches == before + 1) {
        sched->counts.switches = before; /* nobody else ran: this was a look, and no dispatch */
    }
}

/* PARKED -> RUNNABLE, not yet queued. */
static void unpark(pn_tasklet *tasklet) {
    if (tasklet->state == PN_PARKED) {
        tasklet->home->counts.parked--;
        tasklet->state = PN_RUNNABLE;
        tasklet->since = tasklet->home->clock;
    }
}

void pn_ready(pn_tasklet *tasklet) {
    pn_sched *sched = tasklet->home;
    PN_DCHECK(sched == self);
    PN_ASSERT(tasklet->state == PN_PARKED || tasklet->state == PN_NEW);
    unpark(tasklet);
    pn_list_append(&sched->ready, &tasklet->link);
}

static void deliver_ready(pn_message *message) {
    pn_ready(PN_CONTAINER_OF(message, pn_tasklet, message));
}

void pn_ready_anywhere(pn_tasklet *tasklet) {
    if (PN_LIKELY(tasklet->home == self)) {
        pn_ready(tasklet);
        return;
    }
    tasklet->message.deliver = deliver_ready;
    pn_below->post(tasklet->home->options.id, &tasklet->message);
}

void pn_switch_to(pn_tasklet *next, bool caller_first) {
    pn_sched *sched = self;
    pn_tasklet *caller = sched->current;
    PN_ASSERT(caller && next != caller && next->home == sched);
    PN_DCHECK(!pn_linked(&next->link));
    unpark(next);
    caller->state = PN_RUNNABLE;
    if (caller_first) {
        pn_list_prepend(&sched->ready, &caller->link);
    } else {
        pn_list_append(&sched->ready, &caller->link);
    }
    /* Through the queue's head, so that two tasklets which prefer each other still come to the end of the budget. */
    pn_list_prepend(&sched->ready, &next->link);
    switch_from(sched, caller, take_next(sched));
}

/* ---- the loop ---- */

/* Run what is ready until a look is due or the queue is empty. */
static void run_ready(pn_sched *sched) {
    sched->budget = PN_DISPATCH_MAX;
    pn_flag_lower(&sched->hurry); /* the look is just over: one that takes long does not bring about the next */
    pn_tasklet *next = take_next(sched);
    if (next) {
        pn_context_switch(&sched->context, enter(sched, next));
        after_switch(sched);
    }
    pn_flag_lower(&sched->hurry); /* raised from here on it says that the look takes long */
    PN_ASSERT(sched->current == NULL);
}

/* The end of a look: what it made ready stands before the tasklet that gave way. */
static void end_look(pn_sched *sched) {
    if (sched->giving_way) {
        pn_node_unlink(&sched->giving_way->link);
        pn_list_append(&sched->ready, &sched->giving_way->link);
        sched->giving_way = NULL;
    }
}

void pn_sched_run(pn_sched *sched) {
    PN_ASSERT(sched == self && !sched->current);
    while (!sched->stop || sched->counts.live > 0) {
        sched->clock = pn_below->now();
        pn_timers_run(&sched->timers, sched->clock);
        end_look(sched);
        if (pn_list_empty(&sched->ready)) {
            pn_flag_lower(&sched->hurry);
            pn_below->idle(sched, pn_timers_next(&sched->timers));
        } else {
            run_ready(sched);
            if (!pn_list_empty(&sched->ready)) {
                pn_below->poll(sched); /* else idle() looks, once, before it sleeps */
            }
        }
    }
}

/* ---- the runtime's end ---- */

void pn_sched_tell_refusal(pn_sched *sched, const char *what, const char *file, int line) {
    if (!sched->refusal_told) {
        sched->refusal_told = true;
        pn_warn("%s, asked for at %s:%d, is refused: the runtime is ending (further ones on worker %u are not told)",
                what, file ? pn_base_name(file) : "?", line, sched->options.id);
    }
}

/* ---- unhandled errors ---- */

void pn_report_error(pn_sched *sched, int code, const char *format, ...) {
    char raw[512], text[512];
    raw[0] = '\0';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    (void)pn_text_clean(raw, text, sizeof text);
    if (sched) {
        sched->counts.failed++;
    }
    if (sched && sched->options.on_error) {
        /* Its tasklet is at its end, or a deferred is: nothing here may wait. */
        bool outer = pn_callback_enter();
        sched->options.on_error(sched->options.on_error_context, code, text);
        pn_callback_leave(outer);
    } else {
        pn_warn_as(format, text);
    }
}
