/* SPDX-License-Identifier: MIT
 *
 * What: the public calls of pirn/tasklet.h: each finds the home and acts there, or hands over to core/remote.c.
 * Threads: as each call's comment in the public header says.
 * Invariants: (1) a handle is looked up at its home only: another worker sends it there as it is; (2) a tasklet has one
 *       joiner at most, here or elsewhere, and its record stays until that one has taken the result or left: so a
 *       join's waiter finds it by its id at any time; (3) a call that cannot be made here fails before any side effect.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "failure.h"
#include "sched.h"

static pn_sched *require_worker(const char *call) {
    pn_sched *sched = pn_sched_self();
    if (!sched) {
        pn_warn("%s() from %s, which runs no scheduler; use pirn_foreign_spawn() or pirn_post() there.", call,
                pn_below ? pn_below->thread_role() : "a thread outside pirn_run()");
    }
    return sched;
}

/* ---- spawn ---- */

void pirn_spawn_options_init(pirn_spawn_options *options) {
    *options = (pirn_spawn_options){.home = -1};
}

static pirn_tasklet handle_of_new(pn_tasklet *tasklet, const char *function) {
    if (!tasklet) {
        return (pirn_tasklet){0};
    }
    tasklet->function = function;
    return pn_tasklet_handle(tasklet);
}

pirn_tasklet pirn_spawn_at(pirn_fn fn, void *arg, const char *function, const char *file, int line) {
    pn_sched *sched = require_worker("pirn_spawn");
    pn_tasklet *tasklet = sched && fn ? pn_tasklet_spawn(sched, NULL, fn, arg, file, line) : NULL;
    if (!tasklet) {
        pn_tasklet_was_refused();
    }
    return handle_of_new(tasklet, function);
}

static bool spawn_options_valid(const pirn_spawn_options *options) {
    unsigned known = PIRN_JOINABLE | PIRN_ANYWHERE | PIRN_DAEMON | PIRN_FLOAT_ENV;
    bool stack_ok = options->stack_bytes == 0 ||
                    (options->stack_bytes >= PN_STACK_BYTES_MIN && options->stack_bytes <= PN_STACK_BYTES_MAX);
    return stack_ok && (options->flags & ~known) == 0 && options->home >= -1 &&
           options->home < (int)pn_below->worker_count();
}

pirn_tasklet pirn_spawn_with_at(const pirn_spawn_options *options, pirn_fn fn, void *arg, const char *function,
                                const char *file, int line) {
    pn_sched *sched = require_worker("pirn_spawn_with");
    if (!sched || !fn || !options || !spawn_options_valid(options)) {
        return (pirn_tasklet){0};
    }
    if (options->home >= 0 && (unsigned)options->home != sched->options.id) {
        return pn_remote_spawn((unsigned)options->home, options, fn, arg, function, file, line);
    }
    pn_tasklet *tasklet = pn_tasklet_spawn(sched, options, fn, arg, file, line);
    if (!tasklet) {
        pn_tasklet_was_refused();
    }
    return handle_of_new(tasklet, function);
}

/* ---- sleep ---- */

int pirn_sleep_until(pirn_time deadline) {
    int error = pn_may_wait("pirn_sleep_until", deadline);
    if (error != 0 || deadline == PIRN_NOW) {
        return error;
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_SLEEP, NULL);
    error = pn_wait(&waiter, deadline, NULL);
    return pn_waiter_timed_out(&waiter) ? 0 : error; /* a thrown PIRN_ETIMEDOUT is not the end of the sleep */
}

/* ---- join ---- */

static pn_tasklet *joined_of(const pn_waiter *waiter) {
    return pn_tasklet_find(waiter->tasklet->home, (pirn_tasklet){waiter->detail});
}

static void leave_join(pn_waiter *waiter) {
    joined_of(waiter)->joiner = NULL;
}

/* Whom a parked tasklet joins on this home, NULL for none. */
static const pn_tasklet *joined_by(pn_sched *sched, const pn_tasklet *tasklet) {
    bool joins = tasklet->state == PN_PARKED && tasklet->waiter->reason == PN_ON_JOIN;
    return joins ? pn_tasklet_find(sched, (pirn_tasklet){tasklet->waiter->detail}) : NULL;
}

/* Whether `target` waits, through joins of this home, for the caller itself. Looked at from both ends at once: who is
 * joined by nobody, as the next in a growing chain, is no part of a ring; and where two chains meet, the shorter one
 * decides. So a chain of n joins costs n log n steps at most, in whatever order it is made. */
static bool joins_caller(pn_sched *sched, const pn_tasklet *target) {
    const pn_tasklet *down = target, *up = sched->current;
    while (down && up) {
        if (down == sched->current || up == target) {
            return true;
        }
        down = joined_by(sched, down);
        up = up->joiner ? up->joiner->tasklet : NULL;
    }
    return false;
}

/* `*parked` is set when it did. */
static int join_here(pn_sched *sched, pirn_tasklet handle, int *result, pirn_time deadline, bool *parked) {
    pn_tasklet *target = pn_tasklet_find(sched, handle);
    if (!target) {
        return PIRN_EDEAD;
    }
    if ((target->flags & PIRN_JOINABLE) == 0 || target == sched->current) {
        return PIRN_EINVAL;
    }
    if (target->joiner || target->remote_joiner) {
        return PIRN_EBUSY;
    }
    if (target->state != PN_ENDED) {
        if (deadline == PIRN_NOW) {
            return PIRN_EAGAIN;
        }
        if (joins_caller(sched, target)) {
            return PIRN_EDEADLK;
        }
        pn_waiter waiter;
        pn_waiter_init(&waiter, PN_ON_JOIN, NULL);
        waiter.detail = handle.id;
        waiter.unlink = leave_join;
        target->joiner = &waiter;
        *parked = true;
        int error = pn_wait(&waiter, deadline, NULL);
        if (error != 0) {
            return error;
        }
    }
    if (result) {
        *result = target->result;
    }
    target->joiner = NULL;
    pn_tasklet_free(target);
    return 0;
}

int pirn_join(pirn_tasklet tasklet, int *result, pirn_time deadline) {
    pn_sched *sched = require_worker("pirn_join");
    if (!sched) {
        return PIRN_ETHREAD;
    }
    int error = pn_may_wait("pirn_join", deadline);
    if (error != 0) {
        return error;
    }
    if (tasklet.id == 0 || pn_handle_home(tasklet) >= pn_below->worker_count()) {
        return pn_refused(PIRN_EDEAD, deadline);
    }
    if (pn_handle_home(tasklet) != sched->options.id) {
        return pn_remote_join(tasklet, result, deadline);
    }
    bool parked = false;
    error = join_here(sched, tasklet, result, deadline, &parked);
    if (!parked && deadline != PIRN_NOW) {
        pn_turn(PN_KEEPS_PLACE);
    }
    return error;
}

int pn_tasklet_release(pn_sched *sched, pirn_tasklet handle) {
    pn_tasklet *target = pn_tasklet_find(sched, handle);
    if (!target) {
        return PIRN_EDEAD;
    }
    if (target->joiner || target->remote_joiner) {
        return PIRN_EBUSY;
    }
    if (target->state == PN_ENDED) {
        pn_tasklet_report_unhandled(target);
        pn_tasklet_free(target);
    } else {
        target->flags &= (uint8_t)~PIRN_JOINABLE;
    }
    return 0;
}

int pirn_release(pirn_tasklet tasklet) {
    pn_sched *sched = require_worker("pirn_release");
    if (!sched) {
        return PIRN_ETHREAD;
    }
    if (tasklet.id == 0 || pn_handle_home(tasklet) >= pn_below->worker_count()) {
        return PIRN_EDEAD;
    }
    return pn_handle_home(tasklet) == sched->options.id ? pn_tasklet_release(sched, tasklet)
                                                        : pn_remote_release(tasklet);
}

/* ---- cancel and throw ---- */

static int strike(const char *call, pirn_tasklet handle, int code, bool sticky, bool run_now) {
    pn_sched *sched = require_worker(call);
    if (!sched) {
        return PIRN_ETHREAD;
    }
    if (handle.id == 0 || pn_handle_home(handle) >= pn_below->worker_count()) {
        return PIRN_EDEAD;
    }
    if (pn_handle_home(handle) != sched->options.id) {
        return pn_remote_strike(handle, code, sticky);
    }
    pn_tasklet *target = pn_tasklet_find(sched, handle);
    if (!target || target->state == PN_ENDED) {
        return PIRN_EDEAD;
    }
    pn_tasklet_strike(target, code, sticky, run_now);
    if (run_now) {
        pn_turn(PN_KEEPS_PLACE); /* one that had not started ended without a switch */
    }
    return 0;
}

int pirn_cancel(pirn_tasklet tasklet) {
    return strike("pirn_cancel", tasklet, PIRN_ECANCELED, true, true);
}

int pirn_cancel_pending(pirn_tasklet tasklet) {
    return strike("pirn_cancel_pending", tasklet, PIRN_ECANCELED, true, false);
}

int pirn_throw(pirn_tasklet tasklet, int code, bool pending) {
    return code < 0 ? strike("pirn_throw", tasklet, code, false, !pending) : PIRN_EINVAL;
}

/* ---- the calling tasklet ---- */

pirn_tasklet pirn_self(void) {
    pn_tasklet *current = pn_current();
    return current ? pn_tasklet_handle(current) : (pirn_tasklet){0};
}

int pirn_worker(void) {
    pn_sched *sched = pn_sched_self();
    return sched ? (int)sched->options.id : -1;
}

bool pirn_cancelled(void) {
    pn_tasklet *current = pn_current();
    if (!current || !current->cancelled) {
        return false;
    }
    current->cancel_told = true;
    return true;
}

void pirn_shield_enter(void) {
    pn_tasklet *current = pn_current();
    if (current) {
        PN_ASSERT(current->shield % PN_FIRM_SHIELD < PN_FIRM_SHIELD - 1);
        current->shield++;
    }
}

void pirn_shield_leave(void) {
    pn_tasklet *current = pn_current();
    if (current) {
        if (current->shield == 0) {
            char label[80];
            pn_panic("pirn_shield_leave() without a pirn_shield_enter() in tasklet %s (spawned at %s:%u)",
                     pn_tasklet_label(current, label, sizeof label), pn_base_name(current->file), current->line);
        }
        current->shield--;
    }
}

void pn_firm_shield_enter(void) {
    pn_tasklet *current = pn_current();
    if (current) {
        PN_ASSERT(current->shield <= UINT16_MAX - PN_FIRM_SHIELD);
        current->shield = (uint16_t)(current->shield + PN_FIRM_SHIELD);
    }
}

void pn_firm_shield_leave(void) {
    pn_tasklet *current = pn_current();
    if (current) {
        PN_ASSERT(current->shield >= PN_FIRM_SHIELD);
        current->shield = (uint16_t)(current->shield - PN_FIRM_SHIELD);
    }
}

int pirn_on_exit(void (*fn)(void *arg), void *arg) {
    pn_tasklet *current = pn_current();
    if (!current) {
        return PIRN_ETHREAD;
    }
    if (!fn) {
        return PIRN_EINVAL;
    }
    pn_cleanup *cleanup = pn_malloc(sizeof *cleanup);
    if (!cleanup) {
        return PIRN_ENOMEM;
    }
    *cleanup = (pn_cleanup){.next = current->cleanups, .fn = fn, .arg = arg};
    current->cleanups = cleanup;
    return 0;
}

void pirn_set_name(const char *name) {
    pn_tasklet *current = pn_current();
    if (current && name) {
        size_t length = strnlen(name, PN_NAME_BYTES - 1);
        memcpy(current->name, name, length);
        current->name[length] = '\0';
    }
}

const char *pirn_name(void) {
    pn_tasklet *current = pn_current();
    if (current) {
        const char *function = pn_tasklet_function(current);
        return current->name[0] ? current->name : function ? function : "tasklet";
    }
    return pn_below ? pn_below->thread_role() : "a thread";
}

void pirn_set_local(void *value) {
    pn_tasklet *current = pn_current();
    if (current) {
        current->local = value;
    }
}

void *pirn_local(void) {
    pn_tasklet *current = pn_current();
    return current ? current->local : NULL;
}

int pirn_fail_at(const char *file, int line, const char *function, int code, const char *format, ...) {
    pn_tasklet *current = pn_current();
    if (current) {
        char text[201];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        pirn_failure_drop(current->failure);
        current->failure = pirn_failure_make_at(file, line, function, code, "%s", text);
    }
    return code;
}
