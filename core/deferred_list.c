/* SPDX-License-Identifier: MIT
 *
 * What: many deferreds as one: pirn_deferred_list (all of them, or the first of a kind) and pirn_deferred_race.
 *
 * Threads: the home of all of them.
 *
 * A gather has one member per child, whose link is memory of the gather: adding them cannot fail half-way. A child's
 * result moves into the results; when the gather's deferred has fired, later results stay with their child and are
 * destroyed with it. A child whose result several entries get (it stands in one list twice, or in several) keeps it,
 * and each entry is a look at it, for which the results hold the child.
 *
 * Invariants: (1) `results` is set until the gather's deferred was fired; (2) a member has its child's hold until that
 *       child's result came through; (3) users == members whose result has not come + loops over the members that are
 *       under way; (4) of members with the same child, the first has the link and the others are its twins.
 * Depth: lists of lists of lists are as deep as their user likes, so nothing here recurses: firing (came), cancelling
 *       (pn_fan) and destroying (drop_results).
 * Lifetime: the last user frees it. Its fan is used only while children are missing, which is while it lives: it fires
 *       at the latest when the last one comes.
 */

#include "alloc.h"
#include "deferred_inside.h"

typedef struct member {
    pn_link link;
    struct gather *gather;
    pirn_deferred *child; /* held until its result came                                                  */
    struct member *twin;  /* another member with the same child                                          */
} member;

typedef struct gather {
    pn_fan fan;
    pirn_deferred *deferred; /* held                                                                     */
    pirn_deferred *fired;    /* `deferred`, held once more, until it is handed to the run loop           */
    pirn_deferred_results *results;
    void (*came)(struct gather *gather, member *member, pirn_result *result);
    size_t count, missing, users;
    size_t next; /* of the fan                                                                           */
    unsigned flags;
    member members[];
} gather;

/* ---- results ---- */

/* Behind the results there are `count` holds on children whose results are looked at, and the place for one link. */
static pirn_deferred **holds_of(pirn_deferred_results *results) {
    return (pirn_deferred **)(void *)&results->results[results->count];
}

static pirn_deferred_results **link_of(pirn_deferred_results *results) {
    return (pirn_deferred_results **)(void *)(holds_of(results) + results->count);
}

static pirn_deferred_results *make_results(size_t count) {
    const size_t entry_bytes = sizeof(pirn_result) + sizeof(pirn_deferred *);
    if (count > (SIZE_MAX - sizeof(pirn_deferred_results) - sizeof(void *)) / entry_bytes) {
        return NULL;
    }
    pirn_deferred_results *results = pn_calloc(1, sizeof *results + count * entry_bytes + sizeof(void *));
    if (results) {
        results->count = count;
    }
    return results;
}

/* Results that hold results are linked into a list instead of being destroyed inside their owner's destruction. */
static void drop_results(void *value) {
    pirn_deferred_results *first = value;
    while (first) {
        pirn_deferred_results *results = first;
        first = *link_of(results);
        for (size_t i = 0; i < results->count; i++) {
            pirn_result *entry = &results->results[i];
            pirn_deferred_results *nested = entry->drop == drop_results ? entry->value : NULL;
            if (nested) {
                *link_of(nested) = first;
                first = nested;
                entry->drop = NULL;
            }
            pirn_result_drop(entry);
            pirn_deferred_release(holds_of(results)[i]);
        }
        pn_free(results);
    }
}

/* ---- a gather's end ---- */

static void put(gather *g, size_t users) {
    g->users -= users;
    if (g->users == 0) {
        drop_results(g->results);
        pirn_deferred_release(g->deferred);
        pn_free(g);
    }
}

/* The fan: see deferred_inside.h. */
static pirn_deferred *next_child(pn_fan *fan) {
    gather *g = PN_CONTAINER_OF(fan, gather, fan);
    g->users += g->next == 0;
    while (g->next < g->count) {
        pirn_deferred *child = g->members[g->next++].child;
        if (child) {
            return child;
        }
    }
    g->next = 0;
    fan->active = false;
    put(g, 1);
    return NULL;
}

static void settle(gather *g, pirn_result *result) {
    g->fired = pn_deferred_settle_next(g->deferred, result);
    pirn_result_drop(result); /* somebody else had fired it */
}

/* Fire with all that came until now. */
static void fire(gather *g, size_t index) {
    pirn_result result = {.value = g->results, .drop = drop_results};
    g->results->index = index;
    g->results = NULL;
    settle(g, &result);
}

static void fail(gather *g, pirn_result *failure) {
    pirn_deferred_results *results = g->results;
    g->results = NULL;
    drop_results(results);
    settle(g, failure);
}

/* ---- what came ---- */

static size_t index_of(const gather *g, const member *m) {
    return (size_t)(m - g->members);
}

/* Put a success into the entry of `m`, and with `twins` of those that have the same child. */
static void keep_success(gather *g, member *m, bool twins, pirn_result *result) {
    pirn_deferred *child = m->child;
    bool shared = (twins && m->twin) || child->gathers > 0 || pn_deferred_must_stay(child);
    if (!shared || !pn_deferred_lend(child, &g->results->results[index_of(g, m)])) {
        g->results->results[index_of(g, m)] = *result;
        *result = (pirn_result){0};
        return;
    }
    holds_of(g->results)[index_of(g, m)] = pirn_deferred_retain(child);
    for (member *twin = twins ? m->twin : NULL; twin; twin = twin->twin) {
        (void)pn_deferred_lend(child, &g->results->results[index_of(g, twin)]);
        holds_of(g->results)[index_of(g, twin)] = pirn_deferred_retain(child);
    }
}

/* A failure: either it is consumed, or the child keeps one copy and the list others. */
static void keep_failure(gather *g, member *m, pirn_result *result) {
    for (member *each = m; each; each = each->twin) {
        pirn_result *slot = &g->results->results[index_of(g, each)];
        slot->status = result->status;
        slot->failure = pirn_failure_clone(result->failure);
    }
    if (g->flags & PIRN_LIST_CONSUME_FAILURES) {
        pirn_result_drop(result);
    }
}

static void fail_on_first(gather *g, size_t index) {
    pirn_result *slot = &g->results->results[index];
    pirn_result outcome = {.status = slot->status};
    outcome.failure = pirn_failure_make(slot->status, "deferred %zu of a list of %zu failed", index, g->count);
    pirn_failure_because(outcome.failure, slot->failure);
    slot->failure = NULL;
    fail(g, &outcome);
}

static void came_to_list(gather *g, member *m, pirn_result *result) {
    bool succeeded = result->status == 0;
    if (g->deferred->given_up) {
        m->child->given_up = true; /* nobody waits for the list, and so for none of it */
    }
    if (!g->results) {
        if (!succeeded && (g->flags & PIRN_LIST_CONSUME_FAILURES)) {
            pirn_result_drop(result);
        }
        return;
    }
    if (succeeded) {
        keep_success(g, m, true, result);
    } else {
        keep_failure(g, m, result);
    }
    if (succeeded && (g->flags & PIRN_LIST_FIRE_ON_ONE_RESULT)) {
        fire(g, index_of(g, m));
    } else if (!succeeded && (g->flags & PIRN_LIST_FIRE_ON_ONE_FAILURE)) {
        fail_on_first(g, index_of(g, m));
    } else if (g->missing == 0) {
        fire(g, g->count);
    }
}

static void came_to_race(gather *g, member *m, pirn_result *result) {
    if (result->status < 0) {
        pirn_result failure = *result;
        *result = (pirn_result){0}; /* consumed, as every loser's */
        if (g->results && g->missing == 0) {
            fail(g, &failure);
        }
        pirn_result_drop(&failure);
    } else if (g->results) {
        keep_success(g, m, false, result);
        pirn_result won = {.value = g->results, .drop = drop_results};
        g->results->index = index_of(g, m);
        g->results = NULL;    /* decided: the losers' failures, which come now, go nowhere */
        if (!g->fan.active) { /* else the race is being cancelled, and the losers' turn comes anyway */
            pn_deferred_cancel_fan(&g->fan);
        }
        settle(g, &won);
    }
}

/* The link of a child, and of its twins. */
static pirn_deferred *came(void *context, pirn_result *result) {
    member *m = context;
    gather *g = m->gather;
    pirn_deferred *child = m->child;
    child->gathers--;
    for (const member *each = m; each; each = each->twin) {
        g->missing--;
    }
    g->came(g, m, result);
    size_t over = 0;
    for (member *each = m; each; each = each->twin) {
        each->child = NULL;
        pirn_deferred_release(child); /* the run loop has a hold of its own */
        over++;
    }
    pirn_deferred *fired = g->fired;
    g->fired = NULL;
    put(g, over);
    return fired;
}

/* ---- making one ---- */

static gather *make_gather(size_t count) {
    gather *g = pn_calloc(1, sizeof *g + count * sizeof g->members[0]);
    pirn_deferred_results *results = g ? make_results(count) : NULL;
    pirn_deferred *deferred = results ? pn_deferred_create_from(-1, NULL, NULL, NULL, 0) : NULL;
    if (!deferred) {
        pn_free(results);
        pn_free(g);
        return NULL;
    }
    g->fan.next = next_child;
    deferred->fan = &g->fan; /* cancelled, it finishes as its children do */
    pn_below->store(&deferred->fed, 1);
    g->deferred = pirn_deferred_retain(deferred);
    g->results = results;
    g->count = g->missing = count;
    g->users = count + 1;
    return g;
}

/* Take over the holds, and find the twins. */
static void fill(gather *g, pirn_deferred **deferreds) {
    for (size_t i = 0; i < g->count; i++) {
        member *m = &g->members[i];
        *m = (member){.gather = g, .child = deferreds[i]};
        if (m->child->listed == g) {
            member *first = &g->members[m->child->listed_as];
            m->twin = first->twin;
            first->twin = m;
            continue;
        }
        m->child->listed = g;
        m->child->listed_as = i;
        m->link = (pn_link){.on_result = came, .on_failure = came, .context = m, .kind = PN_LINK_GATHER};
        g->deferred->waits_outside |= m->child->external || m->child->waits_outside;
    }
}

/* Take over the holds and let the results come; some may at once. Returns the deferred, with the caller's hold. */
static pirn_deferred *start(gather *g, pirn_deferred **deferreds) {
    pirn_deferred *deferred = g->deferred;
    fill(g, deferreds);
    for (size_t i = 0; i < g->count; i++) {
        member *m = &g->members[i];
        if (m->link.context) {
            pirn_deferred *child = m->child;
            child->listed = NULL;
            child->gathers++;
            pn_deferred_unshare(child);
            pn_deferred_add_link(child, &m->link);
        }
    }
    put(g, 1);
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
