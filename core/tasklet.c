/* SPDX-License-Identifier: MIT
 *
 * What: the tasklet's record and its life (see core/tasklet.h).
 * Threads: the home.
 * Rejected: malloc per record: a handle kept after the end could then point at freed memory, and a warm spawn would
 *       pay for it.
 */
#include "tasklet.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "sched.h"

/* ---- records and handles ---- */

/* By worker: the highest generation that a record of an earlier scheduler of that number had. New slabs start above it,
 * so a handle of an earlier run names no tasklet of this one. Each element is its worker's: a worker's thread ends
 * before the next runtime starts one with that number. */
static uint32_t generation_floor[PN_WORKERS_MAX];

static uint32_t next_generation(uint32_t generation) {
    return generation == UINT32_MAX ? 1 : generation + 1; /* {0} names none */
}

pirn_tasklet pn_tasklet_handle(const pn_tasklet *tasklet) {
    uint64_t home = tasklet->home->options.id;
    return (pirn_tasklet){home << 56 | (uint64_t)tasklet->slot << 32 | tasklet->generation};
}

unsigned pn_handle_home(pirn_tasklet handle) {
    return (unsigned)(handle.id >> 56);
}

pn_tasklet *pn_tasklet_find(pn_sched *sched, pirn_tasklet handle) {
    uint32_t slot = (uint32_t)(handle.id >> 32) & 0xffffffu;
    if (pn_handle_home(handle) != sched->options.id || slot / PN_SLAB_TASKLETS >= sched->slab_count) {
        return NULL;
    }
    pn_tasklet *tasklet = &sched->slabs[slot / PN_SLAB_TASKLETS][slot % PN_SLAB_TASKLETS];
    return tasklet->generation == (uint32_t)handle.id && tasklet->state != PN_FREE ? tasklet : NULL;
}

/* Room for one more slab in the list of slabs. */
static bool reserve_slab(pn_sched *sched) {
    if (sched->slab_count < sched->slab_room) {
        return true;
    }
    unsigned room = sched->slab_room ? sched->slab_room * 2 : PN_SLABS_FIRST;
    pn_tasklet **slabs = room <= PN_SLABS_MAX ? pn_reallocarray(sched->slabs, room, sizeof *slabs) : NULL;
    if (slabs) {
        sched->slabs = slabs;
        sched->slab_room = room;
    }
    return slabs != NULL;
}

static bool add_slab(pn_sched *sched) {
    if (!reserve_slab(sched)) {
        return false;
    }
    pn_tasklet *slab = pn_calloc(PN_SLAB_TASKLETS, sizeof *slab);
    if (!slab) {
        return false;
    }
    for (uint32_t i = 0; i < PN_SLAB_TASKLETS; i++) {
        slab[i].home = sched;
        slab[i].slot = sched->slab_count * PN_SLAB_TASKLETS + i;
        slab[i].generation = next_generation(generation_floor[sched->options.id]);
        pn_list_append(&sched->free, &slab[i].link);
    }
    sched->slabs[sched->slab_count++] = slab;
    return true;
}

void pn_tasklet_slabs_free(pn_sched *sched) {
    uint32_t highest = generation_floor[sched->options.id];
    for (uint32_t slot = 0; slot < sched->slab_count * PN_SLAB_TASKLETS; slot++) {
        pn_tasklet *tasklet = &sched->slabs[slot / PN_SLAB_TASKLETS][slot % PN_SLAB_TASKLETS];
        if (tasklet->state == PN_ENDED) { /* a joinable one that nobody joined */
            pn_tasklet_report_unhandled(tasklet);
            pn_tasklet_free(tasklet);
        }
        highest = tasklet->generation > highest ? tasklet->generation : highest;
    }
    for (unsigned i = 0; i < sched->slab_count; i++) { /* only now: the free list goes through all of them */
        pn_free(sched->slabs[i]);
    }
    pn_free(sched->slabs);
    sched->slabs = NULL;
    sched->slab_count = sched->slab_room = 0;
    generation_floor[sched->options.id] = highest;
}

/* A record off the free list, with the fields of the life before reset. The newest first: it is the warmest. */
static pn_tasklet *take_record(pn_sched *sched) {
    if (pn_list_empty(&sched->free) && !add_slab(sched)) {
        return NULL;
    }
    pn_tasklet *tasklet = PN_CONTAINER_OF(pn_list_pop(&sched->free), pn_tasklet, link);
    PN_DCHECK(tasklet->state == PN_FREE && !tasklet->failure && !tasklet->cleanups);
    tasklet->waiter = NULL;
    tasklet->cancelled = tasklet->is_main = tasklet->stuck_reported = tasklet->cancel_told = false;
    tasklet->at_work = tasklet->rests = false;
    tasklet->walk = 0;
    tasklet->note = NULL;
    tasklet->doing = NULL;
    tasklet->shield = 0;
    tasklet->strike = tasklet->result = 0;
    tasklet->swallowed = 0;
    tasklet->joiner = NULL;
    tasklet->remote_joiner = NULL;
    tasklet->local = NULL;
    tasklet->function = NULL;
    tasklet->name[0] = '\0';
    return tasklet;
}

void pn_tasklet_free(pn_tasklet *tasklet) {
    PN_ASSERT(tasklet->state == PN_ENDED && !tasklet->joiner);
    pirn_failure_drop(tasklet->failure);
    tasklet->failure = NULL;
    tasklet->state = PN_FREE;
    tasklet->generation = next_generation(tasklet->generation);
    pn_list_prepend(&tasklet->home->free, &tasklet->link);
}

const char *pn_handle_label(pirn_tasklet handle, char *text, size_t text_bytes) {
    unsigned slot = (unsigned)(handle.id >> 32) & 0xffffffu;
    snprintf(text, text_bytes, "%u.%u", pn_handle_home(handle), slot + 1);
    return text;
}

const char *pn_tasklet_label(const pn_tasklet *tasklet, char *text, size_t text_bytes) {
    char number[PN_LABEL_BYTES], name[80];
    (void)pn_handle_label(pn_tasklet_handle(tasklet), number, sizeof number);
    snprintf(text, text_bytes, "%s \"%s\"", number, pn_tasklet_name(tasklet, name, sizeof name));
    return text;
}

static void set_name(pn_tasklet *tasklet, const char *name) {
    if (name) {
        size_t length = strnlen(name, PN_NAME_BYTES - 1);
        memcpy(tasklet->name, name, length);
        tasklet->name[length] = '\0';
    }
}

/* ---- birth ---- */

pn_tasklet *pn_tasklet_spawn(pn_sched *sched, const pirn_spawn_options *options, pirn_fn fn, void *arg,
                             const char *file, int line) {
    PN_ASSERT(sched == pn_sched_self());
    if (PN_UNLIKELY(sched->stage >= PN_REFUSING)) {
        pn_sched_tell_refusal(sched, "a new tasklet", file, line);
        return NULL;
    }
    pn_tasklet *tasklet = take_record(sched);
    if (!tasklet) {
        return NULL;
    }
    tasklet->fn = fn;
    tasklet->arg = arg;
    tasklet->file = file;
    tasklet->line = (uint16_t)line;
    tasklet->flags = 0;
    tasklet->stack = (pn_stack){.bytes = (uint32_t)sched->options.stack_bytes};
    if (options) {
        tasklet->flags = (uint8_t)options->flags;
        if (options->stack_bytes) {
            tasklet->stack.bytes = (uint32_t)options->stack_bytes;
        }
        set_name(tasklet, options->name);
    }
    tasklet->state = PN_NEW;
    tasklet->since = sched->clock;
    pn_list_append(&sched->all, &tasklet->all_link);
    sched->counts.live++;
    sched->counts.spawned++;
    sched->counts.holds_drain += (tasklet->flags & PIRN_DAEMON) == 0;
    pn_ready(tasklet);
    return tasklet;
}

void pn_set_doing(const char *text) {
    pn_tasklet *tasklet = pn_current();
    if (tasklet) {
        tasklet->doing = text;
    }
}

void pn_tasklet_set_at_work(bool at_work) {
    pn_tasklet *tasklet = pn_current();
    PN_DCHECK(tasklet && tasklet->flags & PIRN_DAEMON);
    tasklet->home->counts.daemons_at_work += (unsigned)at_work - (unsigned)tasklet->at_work;
    tasklet->at_work = at_work;
    tasklet->rests = !at_work;
}

bool pn_tasklet_start(pn_tasklet *tasklet) {
    if (pn_stack_get(&tasklet->home->stacks, tasklet->stack.bytes, &tasklet->stack) != 0) {
        return false;
    }
    pn_context_make(&tasklet->context, tasklet->stack.bottom, tasklet->stack.bytes, tasklet->stack.colour,
                    pn_tasklet_entry);
    tasklet->context.keeps |= tasklet->flags & PIRN_FLOAT_ENV ? PN_KEEPS_FLOAT_ENV : 0;
    return true;
}

void pn_tasklet_fail_start(pn_tasklet *tasklet) {
    pirn_failure_drop(tasklet->failure);
    tasklet->failure = pirn_failure_make(PIRN_ENOMEM, "no memory for a stack of %u bytes", tasklet->stack.bytes);
    pn_tasklet_end(tasklet, PIRN_ENOMEM);
    pn_tasklet_reap(tasklet);
}

/* ---- end ---- */

/* On its own stack, shielded: what pirn_on_exit registered, last first. */
static void run_cleanups(pn_tasklet *tasklet) {
    tasklet->shield++;
    while (tasklet->cleanups) {
        pn_cleanup *cleanup = tasklet->cleanups;
        tasklet->cleanups = cleanup->next;
        pn_cleanup now = *cleanup;
        bool is_argument = now.arg == cleanup; /* it has one with it: foreign.c */
        if (!is_argument) {
            pn_free(cleanup); /* first: the runtime's end may end the function where it waits */
        }
        now.fn(now.arg);
        if (is_argument) {
            pn_free(cleanup);
        }
    }
    tasklet->shield--;
}

void pn_tasklet_report_unhandled(pn_tasklet *tasklet) {
    if (tasklet->result >= 0 || tasklet->result == PIRN_ECANCELED || tasklet->is_main) {
        return;
    }
    char label[64], cause[300];
    if (pirn_failure_code(tasklet->failure) == tasklet->result) { /* else an older one, which it handled */
        pirn_failure_format(tasklet->failure, cause, sizeof cause);
    } else {
        snprintf(cause, sizeof cause, "%s", pirn_error_name(tasklet->result));
    }
    pn_report_error(tasklet->home, tasklet->result, "tasklet %s (spawned at %s:%u) ended with %s",
                    pn_tasklet_label(tasklet, label, sizeof label), tasklet->file, tasklet->line, cause);
}

void pn_tasklet_end(pn_tasklet *tasklet, int result) {
    pn_sched *sched = tasklet->home;
    if (tasklet->cleanups) {
        run_cleanups(tasklet);
    }
    tasklet->result = result;
    tasklet->state = PN_ENDED;
    pn_node_unlink(&tasklet->all_link);
    sched->counts.live--;
    sched->counts.holds_drain -= (tasklet->flags & PIRN_DAEMON) == 0;
    sched->counts.daemons_at_work -= tasklet->at_work;
    if (tasklet->is_main) {
        sched->main = NULL;
    }
    if (tasklet->joiner) {
        /* It takes the result from the record at its turn, and stays its joiner until then: nobody else may take it. */
        if (pn_waiter_claim(tasklet->joiner, 0)) {
            pn_waiter_ready(tasklet->joiner);
        }
    } else if (tasklet->remote_joiner) {
        struct pn_remote_join *join = tasklet->remote_joiner;
        tasklet->remote_joiner = NULL;
        if (pn_remote_join_answer(join, result)) {
            tasklet->flags &= (uint8_t)~PIRN_JOINABLE; /* joined: nobody else will ask */
        }
    } else if ((tasklet->flags & PIRN_JOINABLE) == 0) {
        pn_tasklet_report_unhandled(tasklet);
    }
}

void pn_tasklet_reap(pn_tasklet *tasklet) {
    if (tasklet->stack.bottom) {
        pn_context_unmake(&tasklet->context);
        pn_stack_put(&tasklet->home->stacks, &tasklet->stack);
        tasklet->stack.bottom = NULL;
    }
    if ((tasklet->flags & PIRN_JOINABLE) == 0) {
        pn_tasklet_free(tasklet);
    }
}

/* ---- the runtime's end ---- */

pn_stage pn_tasklet_stage(const pn_tasklet *tasklet) {
    return tasklet->is_main ? tasklet->home->main_stage : tasklet->home->stage;
}

bool pn_tasklet_is_shielded(const pn_tasklet *tasklet) {
    return tasklet->shield >= PN_FIRM_SHIELD || (tasklet->shield > 0 && pn_tasklet_stage(tasklet) < PN_FINAL);
}

void pn_tasklet_end_if_forced(pn_tasklet *tasklet) {
    if (pn_tasklet_stage(tasklet) == PN_FORCED && tasklet->shield < PN_FIRM_SHIELD) {
        pn_tasklet_end(tasklet, PIRN_ECANCELED);
        pn_sched_depart(tasklet->home, tasklet);
    }
}

/* ---- strike: cancel and throw ---- */

/* A tasklet that never ran dies without running. */
static void end_unstarted(pn_tasklet *tasklet, int code) {
    pn_node_unlink(&tasklet->link);
    pn_tasklet_end(tasklet, code);
    pn_tasklet_reap(tasklet);
}

void pn_tasklet_strike(pn_tasklet *tasklet, int code, bool sticky, bool run_now) {
    if (sticky) {
        tasklet->cancelled = true;
    } else {
        tasklet->strike = code;
    }
    bool can_switch = run_now && pn_current() && tasklet != pn_current();
    switch ((pn_state)tasklet->state) {
    case PN_NEW:
        end_unstarted(tasklet, code);
        break;
    case PN_PARKED:
        if (pn_tasklet_is_shielded(tasklet) || !pn_waiter_strike(tasklet->waiter, code)) {
            break;
        }
        tasklet->strike = 0;
        tasklet->cancel_told |= sticky;
        if (can_switch) {
            pn_switch_to(tasklet, true);
        } else {
            pn_ready(tasklet);
        }
        break;
    case PN_RUNNABLE:
        if (can_switch) {
            pn_node_unlink(&tasklet->link);
            pn_switch_to(tasklet, true);
        }
        break;
    case PN_RUNNING: /* itself: at its next parking call */
    case PN_ENDED:
    case PN_FREE:
        break;
    }
}
