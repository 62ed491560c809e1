/* SPDX-License-Identifier: MIT
 *
 * What: see core/inspect.h.
 * Threads: the owner.
 */
#include "inspect.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "failure.h"

static const char *state_name(const pn_tasklet *tasklet) {
    static const char *const names[] = {[PN_FREE] = "free",       [PN_NEW] = "new",       [PN_RUNNABLE] = "runnable",
                                        [PN_RUNNING] = "running", [PN_PARKED] = "parked", [PN_ENDED] = "ended"};
    return names[tasklet->state];
}

/* Cut, and of a URL without user and password. */
static void describe_doing(const char *text, char *out, size_t out_bytes) {
    const char *host = strstr(text, "://");
    const char *at = NULL;
    if (host) {
        host += 3;
        for (const char *each = host; *each && !strchr("/?# ", *each); each++) {
            at = *each == '@' ? each : at;
        }
    }
    if (at) {
        snprintf(out, out_bytes, "%.*s%s", (int)(host - text), text, at + 1);
    } else {
        snprintf(out, out_bytes, "%s", text);
    }
}

static void describe_request(const pn_tasklet *tasklet, pirn_tasklet_info *info) {
    const pn_note *note = tasklet->note;
    if (note) {
        note->describe_peer(note, info->peer, sizeof info->peer);
        info->age_ns = pirn_now() - note->started_at;
    }
    if (tasklet->doing) {
        describe_doing(tasklet->doing, info->doing, sizeof info->doing);
    }
}

static void describe(const pn_tasklet *tasklet, pirn_tasklet_info *info) {
    *info = (pirn_tasklet_info){.id = pn_tasklet_handle(tasklet).id,
                                .worker = tasklet->home->options.id,
                                .daemon = (tasklet->flags & PIRN_DAEMON) != 0,
                                .since_ns = pirn_now() - tasklet->since};
    (void)pn_handle_label(pn_tasklet_handle(tasklet), info->label, sizeof info->label);
    (void)pn_tasklet_name(tasklet, info->name, sizeof info->name);
    snprintf(info->state, sizeof info->state, "%s", state_name(tasklet));
    if (tasklet->state == PN_PARKED) {
        (void)pn_waiter_describe(tasklet->waiter, info->waiting_on, sizeof info->waiting_on);
    }
    describe_request(tasklet, info);
    snprintf(info->spawned_at, sizeof info->spawned_at, "%s:%u", pn_base_name(tasklet->file), tasklet->line);
}

static unsigned count_runnable(const pn_sched *sched) {
    unsigned count = sched->current != NULL;
    PN_LIST_EACH(&sched->ready, node) {
        count++;
    }
    return count;
}

int pn_inspect_sched(const pn_sched *sched, pirn_worker_info *worker, size_t max, pirn_tasklet_info **list,
                     size_t *count, bool *truncated) {
    *worker = (pirn_worker_info){.id = sched->options.id,
                                 .live = sched->counts.live,
                                 .parked = sched->counts.parked,
                                 .runnable = count_runnable(sched),
                                 .deferreds = sched->counts.deferreds,
                                 .switches = sched->counts.switches,
                                 .spawned = sched->counts.spawned,
                                 .stacks_cached = sched->stacks.cached,
                                 .stacks_in_use = sched->stacks.in_use};
    size_t wanted = sched->counts.live < max ? sched->counts.live : max;
    *truncated |= wanted < sched->counts.live;
    if (wanted == 0) {
        return 0;
    }
    pirn_tasklet_info *grown = pn_realloc(*list, (*count + wanted) * sizeof *grown);
    if (!grown) {
        return PIRN_ENOMEM;
    }
    *list = grown;
    PN_LIST_EACH(&sched->all, node) {
        if (wanted-- == 0) {
            break;
        }
        describe(PN_CONTAINER_OF(node, pn_tasklet, all_link), &grown[(*count)++]);
    }
    return 0;
}
