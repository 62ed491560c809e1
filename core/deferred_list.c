/* SPDX-License-Identifier: MIT
 *
 * What: many deferreds as one: pirn_deferred_list (all of them, or the first of a kind) and pirn_deferred_race.
 *
 * Threads: the home of all of them.
 *
 * A gather has one member per child, whose link is memory of the gather: adding them cannot fail half-way. A child's
 * result moves into the results; when the gather's deferred has fired, later results stay with their child and are
 * destroyed with it.
 *
 * Invariants: (1) `results` is set until the gather's deferred was fired; (2) a member has its child's hold until that
 *       child's result came through; (3) users == members whose result has not come + loops over the members that are
 *       under way.
 * Lifetime: the last user frees it. Its canceller needs it only while children are missing, which is while it lives: it
 *       fires at the latest when the last one comes.
 */

#include "alloc.h"
#include "deferred_inside.h"

typedef struct member {
    pn_link link;
    struct gather *gather;
    pirn_deferred *child; /* held until its result came                                                  */
} member;

typedef struct gather {
    pirn_deferred *deferred; /* held                                                                     */
    pirn_deferred_results *results;
    void (*came)(struct gather *gather, size_t index, pirn_result *result);
    size_t count, missing, users;
    unsigned flags;
    member members[];
} gather;

static void drop_results(void *value) {
    pirn_deferred_results *results = value;
    for (size_t i = 0; results && i < results->count; i++) {
        pirn_result_drop(&results->results[i]);
    }
    pn_free(results);
}

static void put(gather *g) {
    if (--g->users == 0) {
        drop_results(g->results);
        pirn_deferred_release(g->deferred);
        pn_free(g);
    }
}

static void cancel_children(gather *g) {
    g->users++;
    for (size_t i = 0; i < g->count; i++) {
        if (g->members[i].child) {
            pn_deferred_cancel_here(g->members[i].child);
        }
    }
    put(g);
}

static void cancel_gather(pirn_deferred *deferred, void *context) {
    (void)deferred;
    cancel_children(context);
}

/* Fire with all that came until now. */
static void fire(gather *g, size_t index) {
    pirn_deferred_results *results = g->results;
    g->results = NULL;
    results->index = index;
    (void)pirn_deferred_fire(g->deferred, results, drop_results);
}

/* ---- list ---- */

/* A failure: either it is consumed, or the child keeps one copy and the list another. */
static void record_failure(gather *g, pirn_result *slot, pirn_result *result) {
    slot->status = result->status;
    if (g->flags & PIRN_LIST_CONSUME_FAILURES) {
        slot->failure = result->failure;
        result->failure = NULL;
        pirn_result_drop(result);
    } else {
        slot->failure = pirn_failure_clone(result->failure);
    }
}

static void fail_on_first(gather *g, size_t index) {
    pirn_result *slot = &g->results->results[index];
    pirn_result outcome = {.status = slot->status};
    outcome.failure = pirn_failure_make(slot->status, "deferred %zu of a list of %zu failed", index, g->count);
    pirn_failure_because(outcome.failure, slot->failure);
    slot->failure = NULL;
    pirn_deferred_results *results = g->results;
    g->results = NULL;
    drop_results(results);
    (void)pirn_deferred_settle(g->deferred, &outcome);
}

static void came_to_list(gather *g, size_t index, pirn_result *result) {
    bool succeeded = result->status == 0;
    if (g->deferred->given_up) {
        g->members[index].child->given_up = true; /* nobody waits for the list, and so for none of it */
    }
    if (!g->results) {
        if (!succeeded && (g->flags & PIRN_LIST_CONSUME_FAILURES)) {
            pirn_result_drop(result);
        }
        return;
    }
    pirn_result *slot = &g->results->results[index];
    if (succeeded) {
        *slot = *result;
        *result = (pirn_result){0};
    } else {
        record_failure(g, slot, result);
    }
    if (succeeded && (g->flags & PIRN_LIST_FIRE_ON_ONE_RESULT)) {
        fire(g, index);
    } else if (!succeeded && (g->flags & PIRN_LIST_FIRE_ON_ONE_FAILURE)) {
        fail_on_first(g, index);
    } else if (g->missing == 0) {
        fire(g, g->count);
    }
}

/* ---- race ---- */

static void fail_race(gather *g, pirn_result *last) {
    pirn_deferred_results *results = g->results;
    g->results = NULL;
    drop_results(results);
    (void)pirn_deferred_settle(g->deferred, last);
}

static void came_to_race(gather *g, size_t index, pirn_result *result) {
    if (result->status < 0) {
        pirn_result failure = *result;
        *result = (pirn_result){0}; /* consumed, as every loser's */
        if (g->results && g->missing == 0) {
            fail_race(g, &failure);
        }
        pirn_result_drop(&failure);
    } else if (g->results) {
        pirn_deferred_results *results = g->results;
        g->results = NULL; /* decided: the losers' failures, which come now, go nowhere */
        results->index = index;
        results->results[index] = *result;
        *result = (pirn_result){0};
        cancel_children(g);
        (void)pirn_deferred_fire(g->deferred, results, drop_results);
    }
}

/* ---- both ---- */

static pirn_deferred *came(void *context, pirn_result *result) {
    member *m = context;
    gather *g = m->gather;
    pirn_deferred *child = m->child;
    g->missing--;
    g->came(g, (size_t)(m - g->members), result);
    m->child = NULL;
    pirn_deferred_release(child);
    put(g);
    return NULL;
}

static pirn_deferred_results *make_results(size_t count) {
    pirn_deferred_results *results = pn_calloc(1, sizeof *results + count * sizeof results->results[0]);
    if (results) {
        results->count = count;
    }
    return results;
}

static gather *make_gather(size_t count) {
    gather *g = pn_calloc(1, sizeof *g + count * sizeof g->members[0]);
    pirn_deferred_results *results = g ? make_results(count) : NULL;
    pirn_deferred *deferred = results ? pn_deferred_create_from(-1, cancel_gather, g, NULL, 0) : NULL;
    if (!deferred) {
        pn_free(results);
        pn_free(g);
        return NULL;
    }
    deferred->patient = true; /* cancelled, it finishes as its children do */
    g->deferred = pirn_deferred_retain(deferred);
    g->results = results;
    g->count = g->missing = count;
    g->users = count + 1;
    return g;
}

/* Take over the holds and let the results come; some may at once. Returns the deferred, with the caller's hold. */
static pirn_deferred *start(gather *g, pirn_deferred **deferreds) {
    pirn_deferred *deferred = g->deferred;
    for (size_t i = 0; i < g->count; i++) {
        member *m = &g->members[i];
        *m = (member){.gather = g, .child = deferreds[i]};
        m->link = (pn_link){.on_result = came, .on_failure = came, .context = m, .kind = PN_LINK_MOVER};
        deferred->waits_outside |= m->child->external || m->child->waits_outside;
    }
    for (size_t i = 0; i < g->count; i++) {
        pn_deferred_unshare(g->members[i].child);
        pn_deferred_add_link(g->members[i].child, &g->members[i].link);
    }
    put(g);
    return deferred;
}

static bool all_at_home(pirn_deferred **deferreds, size_t count, const char *call) {
    for (size_t i = 0; i < count; i++) {
        if (pn_deferred_require_home(deferreds[i], call) != 0) {
            return false;
        }
    }
    return true;
}

pirn_deferred *pirn_deferred_list(pirn_deferred **deferreds, size_t count, unsigned flags) {
    const unsigned known = PIRN_LIST_FIRE_ON_ONE_RESULT | PIRN_LIST_FIRE_ON_ONE_FAILURE | PIRN_LIST_CONSUME_FAILURES;
    if ((flags & ~known) || !all_at_home(deferreds, count, "pirn_deferred_list")) {
        return NULL;
    }
    if (count == 0) {
        if (flags & PIRN_LIST_FIRE_ON_ONE_RESULT) {
            return pn_deferred_create_from(-1, NULL, NULL, NULL, 0); /* no first one will ever come */
        }
        pirn_deferred_results *none = make_results(0);
        return none ? pirn_deferred_succeed(none, drop_results) : NULL;
    }
    gather *g = make_gather(count);
    if (!g) {
        return NULL;
    }
    g->came = came_to_list;
    g->flags = flags;
    return start(g, deferreds);
}

pirn_deferred *pirn_deferred_race(pirn_deferred **deferreds, size_t count) {
    if (!all_at_home(deferreds, count, "pirn_deferred_race")) {
        return NULL;
    }
    if (count == 0) {
        return pirn_deferred_fail_now(pirn_failure_make(PIRN_EINVAL, "a race of no deferreds"));
    }
    gather *g = make_gather(count);
    if (!g) {
        return NULL;
    }
    g->came = came_to_race;
    return start(g, deferreds);
}
