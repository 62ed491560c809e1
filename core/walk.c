/* SPDX-License-Identifier: MIT
 *
 * What: the judgement whether a parked tasklet is stuck, step by step (see core/report.h).
 * Threads: each step at the home of the tasklet it looks at.
 */
#include "channel.h"
#include "deferred_inside.h"
#include "report.h"

/* Deferreds that wait for deferreds: further than this it is not followed. */
#define DEFERREDS_MAX 1000

/* Older than the limit: nobody knows who will come. */
static pn_fate by_age(const pn_tasklet *tasklet, const pn_walk *walk) {
    return tasklet->since < walk->older_than ? PN_STUCK : PN_LIVE;
}

static pn_fate follow(uint64_t id, uint64_t *next) {
    *next = id;
    return id == PN_SOMEBODY ? PN_LIVE : PN_FATE_OPEN;
}

static pn_fate look_at_deferred(const pirn_deferred *d, const pn_tasklet *tasklet, const pn_walk *walk,
                                uint64_t *next) {
    for (unsigned hops = 0; hops < DEFERREDS_MAX; hops++) {
        if (pn_below->load(&d->outcome) != PN_UNSETTLED || d->external) {
            return PN_LIVE; /* the result is on its way here, or comes from outside */
        }
        bool home = pn_deferred_is_home(d);
        if (home && d->waits_outside) {
            return PN_LIVE;
        }
        if (home && d->waits_for) {
            d = d->waits_for;
            continue;
        }
        if (d->producer != 0) {
            return follow(d->producer, next);
        }
        return pn_below->load(&d->fed) != 0 ? PN_LIVE : by_age(tasklet, walk);
    }
    return PN_LIVE;
}

static pn_fate look_at_channel(const pirn_channel *channel, const pn_tasklet *tasklet, const pn_walk *walk,
                               uint64_t *next) {
    return channel->server != 0 ? follow(channel->server, next) : by_age(tasklet, walk);
}

/* A select has as many who may come as cases: it is followed to none of them. */
static pn_fate look_at_select(const pn_waiter *waiter, const pn_walk *walk) {
    const pirn_case *cases = waiter->object;
    for (uint64_t i = 0; i < waiter->detail; i++) {
        if (cases[i].channel && cases[i].channel->server != 0) {
            return PN_LIVE;
        }
    }
    return by_age(waiter->tasklet, walk);
}

/* What the wait of `tasklet` says of it: its fate, or whom it waits for. */
static pn_fate look_at(const pn_tasklet *tasklet, const pn_walk *walk, uint64_t *next) {
    const pn_waiter *waiter = tasklet->waiter;
    if (tasklet->state != PN_PARKED || tasklet->rests || waiter->timer.armed || waiter->external ||
        !pn_waiter_is_open(waiter)) {
        return PN_LIVE;
    }
    switch (waiter->reason) {
    case PN_ON_JOIN:
        return follow(waiter->detail, next);
    case PN_ON_DEFERRED:
        return look_at_deferred(waiter->object, tasklet, walk, next);
    case PN_ON_SEND:
    case PN_ON_RECV:
        return look_at_channel(waiter->object, tasklet, walk, next);
    case PN_ON_SELECT:
        return look_at_select(waiter, walk);
    default:
        return PN_LIVE;
    }
}

static pn_fate step_marking(pn_sched *sched, pn_walk *walk) {
    pn_tasklet *tasklet = pn_tasklet_find(sched, (pirn_tasklet){walk->at});
    if (!tasklet || tasklet->walk != walk->number || tasklet->fate != PN_FATE_OPEN) {
        return walk->fate; /* the end of the way, or it has changed meanwhile */
    }
    tasklet->fate = (uint8_t)walk->fate;
    return look_at(tasklet, walk, &walk->at) == PN_FATE_OPEN ? PN_FATE_OPEN : walk->fate;
}

static pn_fate step_finding(pn_sched *sched, pn_walk *walk) {
    pn_tasklet *tasklet = pn_tasklet_find(sched, (pirn_tasklet){walk->at});
    if (!tasklet) {
        return PN_LIVE; /* it has ended: the answer is on its way */
    }
    if (tasklet->walk == walk->number) {
        return PN_STUCK; /* a ring */
    }
    if (tasklet->walk >= walk->first_number && tasklet->fate != PN_FATE_OPEN) {
        return (pn_fate)tasklet->fate;
    }
    tasklet->walk = walk->number;
    tasklet->fate = PN_FATE_OPEN;
    return look_at(tasklet, walk, &walk->at);
}

pn_fate pn_walk_step(pn_sched *sched, pn_walk *walk) {
    if (walk->marking) {
        return step_marking(sched, walk);
    }
    walk->fate = step_finding(sched, walk);
    if (walk->fate != PN_FATE_OPEN) {
        walk->marking = true; /* from the beginning again, to write it down */
        walk->at = walk->subject;
    }
    return PN_FATE_OPEN;
}
