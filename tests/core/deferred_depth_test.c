/* SPDX-License-Identifier: MIT
 *
 * What: chains, lists and races inside each other, 100,000 deep: firing, failing, cancelling and destroying them takes
 *       no more stack than one does, and time in proportion. A tasklet's stack has 64 KiB, so recursion would overflow.
 * Threads: one, in virtual time.
 */
#include "deferred_test.h"

static unsigned depth(void) {
    return (unsigned)pirn_test_count(100000, 3000);
}

/* ---- chains ---- */

typedef enum fill_order { FORWARDS, BACKWARDS, FIRST_HALF_LAST } fill_order;

static unsigned link_number(unsigned i, unsigned links, fill_order order) {
    return order == FORWARDS ? i : order == BACKWARDS ? links - 1 - i : (i + links / 2) % links;
}

/* `count` deferreds, each chained to the next; the caller has a hold on the first and on the last. */
static void make_chain(unsigned count, fill_order order, pirn_deferred **first, pirn_deferred **last) {
    pirn_deferred **all = calloc(count, sizeof *all);
    for (unsigned i = 0; i < count; i++) {
        all[i] = pirn_deferred_create(NULL, NULL);
    }
    *first = pirn_deferred_retain(all[0]);
    *last = all[count - 1];
    for (unsigned i = 0; i + 1 < count; i++) {
        unsigned at = link_number(i, count - 1, order);
        cr_assert_eq(pirn_deferred_chain(all[at], pirn_deferred_retain(all[at + 1])), 0);
    }
    free(all);
}

static void body_chains(void) {
    for (fill_order order = FORWARDS; order <= FIRST_HALF_LAST; order++) {
        pirn_deferred *first, *last;
        make_chain(depth(), order, &first, &last);
        add(last, "end");
        cr_assert_eq(fire_number(first, 5), 0);
        expect_noted("end=5");
        pirn_deferred_release(first);
        pirn_deferred_release(last);
        make_chain(depth(), order, &first, &last);
        cr_assert_eq(fail_with(first, PIRN_EHTTP), 0);
        cr_assert_eq(pirn_await(last, NULL, PIRN_FOREVER), PIRN_EHTTP);
        pirn_deferred_release(last);
        pirn_deferred_release(first);
        make_chain(depth(), order, &first, &last);
        cr_assert_eq(pirn_deferred_cancel(first), 0);
        cr_assert_eq(pirn_await(last, NULL, PIRN_FOREVER), PIRN_ECANCELED);
        pirn_deferred_release(last);
        pirn_deferred_release(first);
        make_chain(depth(), order, &first, &last);
        pirn_deferred_release(last);
        cr_assert_eq(fire_number(first, 6), 0);
        pirn_deferred_release(first);
    }
    cr_assert_eq(destroyed, 2 * 3);
}

/* Goal: a chain of any length is fired, failed and cancelled through on a small stack, however it was made.
 * Method: chains made forwards, backwards and from the middle. */
Test(deferred_depth, chain_is_flat, .timeout = 60) {
    run_body(body_chains);
}

/* ---- lists in lists, races in races, and all of them in turns ---- */

typedef enum nest { NEST_LISTS, NEST_RACES, NEST_PAIRS, NEST_MIXED, NESTS } nest;

/* What one level of a nest adds: a list of it, a race of it and a sibling, a chain, one that waits for it. */
static pirn_deferred *wrap(nest kind, unsigned level, unsigned flags, pirn_deferred *inner, pirn_deferred **sibling) {
    unsigned form = kind == NEST_MIXED ? level % 4 : (unsigned)kind;
    pirn_deferred *pair[2] = {inner, NULL};
    pirn_deferred *outer;
    switch (form) {
    case NEST_LISTS:
        return pirn_deferred_list(pair, 1, flags);
    case NEST_RACES:
        return pirn_deferred_race(pair, 1);
    case NEST_PAIRS:
        pair[1] = pirn_deferred_create(NULL, NULL);
        *sibling = pirn_deferred_retain(pair[1]);
        return kind == NEST_MIXED ? pirn_deferred_list(pair, 2, flags) : pirn_deferred_race(pair, 2);
    default:
        outer = pirn_deferred_create(NULL, NULL);
        add_inner(outer, inner);
        cr_assert_eq(fire_number(outer, 0), 0);
        return outer;
    }
}

typedef struct nested {
    pirn_deferred *innermost, *outermost;
    pirn_deferred **siblings;
    unsigned levels;
} nested;

static nested make_nest(nest kind, unsigned flags) {
    nested n = {.levels = depth()};
    n.siblings = calloc(n.levels, sizeof(pirn_deferred *));
    n.outermost = pirn_deferred_create(NULL, NULL);
    n.innermost = pirn_deferred_retain(n.outermost);
    for (unsigned i = 0; i < n.levels; i++) {
        n.outermost = wrap(kind, i, flags, n.outermost, &n.siblings[i]);
        cr_assert_not_null(n.outermost);
    }
    return n;
}

static void finish_siblings(nested *n) {
    for (unsigned i = 0; i < n->levels; i++) {
        if (n->siblings[i]) {
            (void)fire_number(n->siblings[i], 1);
            pirn_deferred_release(n->siblings[i]);
        }
    }
    free(n->siblings);
}

static void body_fire_nests(void) {
    for (nest kind = 0; kind < NESTS; kind++) {
        nested n = make_nest(kind, 0);
        cr_assert_eq(fire_number(n.innermost, 5), 0);
        finish_siblings(&n);
        pirn_result out;
        cr_assert_eq(pirn_await_take(n.outermost, &out, PIRN_NOW), 0, "kind %d", kind);
        pirn_result_drop(&out); /* results in results in results */
        pirn_deferred_release(n.innermost);
        n = make_nest(kind, 0); /* and released by everybody before it fires */
        pirn_deferred_release(n.outermost);
        cr_assert_eq(fire_number(n.innermost, 5), 0);
        pirn_deferred_release(n.innermost);
        finish_siblings(&n);
    }
}

/* Goal: nests of lists, races, lists of pairs and chains of waiting ones fire on a small stack, and their nested
 * results are destroyed on one. Method: fire the innermost; the outermost has the result, or was released before. */
Test(deferred_depth, nests_fire_flat, .timeout = 60) {
    run_body(body_fire_nests);
}

static void body_fail_nests(void) {
    for (nest kind = 0; kind < NESTS; kind++) {
        nested n = make_nest(kind, PIRN_LIST_FIRE_ON_ONE_FAILURE | PIRN_LIST_CONSUME_FAILURES);
        cr_assert_eq(fail_with(n.innermost, PIRN_EHTTP), 0);
        if (kind == NEST_PAIRS) {
            for (unsigned i = 0; i < n.levels; i++) {
                cr_assert_eq(fail_with(n.siblings[i], PIRN_EHTTP), 0);
            }
        }
        finish_siblings(&n);
        pirn_result out;
        cr_assert_eq(pirn_await_take(n.outermost, &out, PIRN_NOW), PIRN_EHTTP, "kind %d", kind);
        unsigned causes = 0;
        for (const pirn_failure *each = out.failure; each; each = pirn_failure_cause(each)) {
            causes++;
        }
        cr_assert_eq(causes, kind == NEST_LISTS ? n.levels + 1 : kind == NEST_MIXED ? causes : 1);
        pirn_result_drop(&out);
        pirn_deferred_release(n.innermost);
    }
    for (unsigned flags = 0; flags <= PIRN_LIST_FIRE_ON_ONE_FAILURE; flags += PIRN_LIST_FIRE_ON_ONE_FAILURE) {
        nested n = make_nest(NEST_LISTS, flags); /* each child keeps a copy, and is asked for it */
        add(n.innermost, "innermost");
        cr_assert_eq(fail_with(n.innermost, PIRN_EHTTP), 0);
        expect_noted("innermost=PIRN_EHTTP");
        free(n.siblings);
        give_up(n.innermost);
        pirn_result out;
        int code = pirn_await_take(n.outermost, &out, PIRN_NOW);
        cr_assert_eq(code, flags ? PIRN_EHTTP : 0);
        pirn_result_drop(&out);
    }
}

/* Goal: failures pass through nests on a small stack and in time in proportion, although each level gives the failure a
 * new head. Method: fail the innermost; count the causes; with lists that leave their children a copy, too. */
Test(deferred_depth, nests_fail_flat, .timeout = 60) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(run_checked, (void *)(uintptr_t)body_fail_nests), 0);
}

static void body_cancel_nests(void) {
    for (nest kind = 0; kind < NESTS; kind++) {
        nested n = make_nest(kind, PIRN_LIST_FIRE_ON_ONE_FAILURE | PIRN_LIST_CONSUME_FAILURES);
        cr_assert_eq(pirn_deferred_cancel(n.outermost), 0);
        cr_assert_eq(pirn_await(n.innermost, NULL, PIRN_NOW), 0, "its failure went to what waits for it");
        finish_siblings(&n);
        cr_assert_eq(pirn_await(n.outermost, NULL, PIRN_NOW), PIRN_ECANCELED, "kind %d", kind);
        pirn_deferred_release(n.outermost);
        pirn_deferred_release(n.innermost);
    }
}

/* Goal: a cancel reaches the innermost of a nest, and every sibling, on a small stack.
 * Method: cancel the outermost. */
Test(deferred_depth, nests_are_cancelled_flat, .timeout = 60) {
    run_body(body_cancel_nests);
}

static void body_decide_races(void) {
    nested n = make_nest(NEST_PAIRS, 0);
    cr_assert_eq(fire_number(n.siblings[n.levels - 1], 7),
                 0); /* the outermost race is decided: the nest is cancelled */
    pirn_result out;
    cr_assert_eq(pirn_await_take(n.outermost, &out, PIRN_NOW), 0);
    const pirn_deferred_results *results = out.value;
    cr_assert(results->index == 1 && results->results[1].value == number(7));
    pirn_result_drop(&out);
    for (unsigned i = 0; i < n.levels; i++) {
        cr_assert(pirn_deferred_finished(n.siblings[i]));
    }
    cr_assert(pirn_deferred_finished(n.innermost));
    pirn_deferred_release(n.innermost);
    finish_siblings(&n);
}

/* Goal: a race that is decided cancels losers that are nests of races, on a small stack.
 * Method: fire the sibling of the outermost; all others have finished then. */
Test(deferred_depth, loser_that_is_a_nest_is_cancelled_flat, .timeout = 60) {
    run_body(body_decide_races);
}

/* ---- destruction ---- */

static void release_value(void *value) {
    pirn_deferred_release(value);
}

static void body_values_in_values(void) {
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        pirn_deferred *d = pirn_deferred_succeed(number(1), destroy_value);
        for (unsigned i = 0; i < depth(); i++) {
            d = pirn_deferred_succeed(d, release_value);
            cr_assert_not_null(d);
        }
        if (elsewhere) {
            pirn_result out;
            cr_assert_eq(pirn_await_take(d, &out, PIRN_NOW), 0);
            pirn_result_drop(&out);
        } else {
            pirn_deferred_release(d);
        }
        cr_assert_eq(destroyed, 1 + (unsigned)elsewhere);
    }
}

/* Goal: values that are holds on deferreds whose values are holds, and so on, are destroyed on a small stack.
 * Method: release the outermost; take its value and drop it. */
Test(deferred_depth, values_in_values_are_destroyed_flat, .timeout = 60) {
    run_body(body_values_in_values);
}

static void release_and_yield(void *value) {
    note("begin%d", (int)(intptr_t)value);
    pirn_yield();
    note("end%d", (int)(intptr_t)value);
    destroyed++;
}

static int release_it(void *arg) {
    pirn_deferred_release(arg);
    return 0;
}

static void body_destructors_side_by_side(void) {
    pirn_deferred *one = pirn_deferred_succeed(number(1), release_and_yield);
    pirn_deferred *two = pirn_deferred_succeed(number(2), release_and_yield);
    pirn_tasklet first = spawn_joinable(release_it, one), second = spawn_joinable(release_it, two);
    cr_assert_eq(pirn_join(first, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_join(second, NULL, PIRN_FOREVER), 0);
    expect_noted("begin1 end1 begin2 end2");
    cr_assert_eq(destroyed, 2);
}

/* Goal: a destructor runs in one piece: no other tasklet runs before it has returned.
 * Method: two tasklets release the last holds; both destructors yield, which does nothing there. */
Test(deferred_depth, destructor_that_yields_goes_on) {
    run_body(body_destructors_side_by_side);
}

/* ---- rings ---- */

static void body_rings(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_chain(d, d), PIRN_EINVAL);
    cr_assert_eq(fire_number(d, 1), 0);
    cr_assert_eq(pirn_deferred_chain(d, d), PIRN_EINVAL);
    add(d, "still");
    expect_noted("still=1");
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
    for (unsigned count = 2; count < 5; count++) {
        pirn_deferred *ring[4];
        for (unsigned i = 0; i < count; i++) {
            ring[i] = pirn_deferred_create(NULL, NULL);
        }
        for (unsigned i = 0; i < count; i++) {
            pirn_deferred_retain(ring[i]);
            cr_assert_eq(pirn_deferred_chain(ring[i], pirn_deferred_retain(ring[(i + 1) % count])), 0);
        }
        destroyed = 0;
        cr_assert_eq(fire_number(ring[1], 4), 0);
        add(ring[0], "last"); /* the one before the first: there the value stays */
        expect_noted("last=4");
        cr_assert_eq(destroyed, 0);
        for (unsigned i = 0; i < count; i++) {
            pirn_deferred_release(ring[i]);
        }
        cr_assert_eq(destroyed, 1);
    }
}

/* Goal: one cannot be chained to itself, and says so with its value and holds left alone; a longer ring loses nothing:
 * the value goes round and stays with the last. Method: rings of one to four. */
Test(deferred_depth, ring_of_chains_keeps_the_value) {
    run_body(body_rings);
}

/* ---- failures ---- */

static void body_long_failures(void) {
    pirn_failure *below = NULL, *above = pirn_failure_make(PIRN_EDB, "head"), *clone = NULL;
    for (unsigned i = 0; i < depth(); i++) {
        pirn_failure *head = pirn_failure_make(PIRN_EDB, "level %u", i);
        pirn_failure_because(head, below);
        below = head;
        pirn_failure_because(above, pirn_failure_make(PIRN_EDB, "cause %u", i));
    }
    clone = pirn_failure_clone(above);
    pirn_failure_because(clone, pirn_failure_make(PIRN_EHTTP, "the clone's own"));
    pirn_failure_because(above, below);
    unsigned of_above = 0, of_clone = 0;
    for (const pirn_failure *each = above; each; each = pirn_failure_cause(each)) {
        of_above++;
    }
    for (const pirn_failure *each = clone; each; each = pirn_failure_cause(each)) {
        of_clone++;
    }
    cr_assert(of_above == 1 + 2 * depth() && of_clone == 2 + depth(), "%u and %u", of_above, of_clone);
    pirn_failure_drop(above);
    cr_assert_str_eq(pirn_failure_message(pirn_failure_cause(clone)), "cause 0");
    pirn_failure_drop(clone);
    clone = pirn_failure_make(PIRN_EDB, "shared");
    for (unsigned i = 0; i < depth(); i++) { /* each level keeps a clone, as lists in lists do */
        pirn_failure *head = pirn_failure_make(PIRN_EDB, "level %u", i), *copy = pirn_failure_clone(clone);
        pirn_failure_because(head, clone);
        pirn_failure_drop(copy);
        clone = head;
    }
    pirn_failure_drop(clone);
}

/* Goal: chains of causes grow at either end, are cloned and freed, in time in proportion and without recursion; what is
 * added to a clone is not the original's. Method: 100,000 causes from below and from above, and a clone at each
 * level. */
Test(deferred_depth, causes_of_causes_are_flat, .timeout = 60) {
    run_body(body_long_failures);
}
