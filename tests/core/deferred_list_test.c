/* SPDX-License-Identifier: MIT
 *
 * What: lists and races of deferreds: Twisted's DeferredList flags, order, consumed failures, cancelling; defer.race.
 * Threads: one, in virtual time.
 */
#include "deferred.h"
#include "deferred_test.h"

#define CHILDREN 3

static pirn_deferred *child[CHILDREN]; /* the test's own holds                                           */
static unsigned cancels[CHILDREN];

static void count_cancel(pirn_deferred *deferred, void *context) {
    (void)deferred;
    cancels[(intptr_t)context]++;
}

/* "0=1 1=PIRN_EDB ... @index" for what a list or race came to. */
static pirn_deferred *note_results(void *context, pirn_result *result) {
    const pirn_deferred_results *results = result->value;
    (void)context;
    if (result->status < 0) {
        note("%s", pirn_error_name(result->status));
        return NULL;
    }
    for (size_t i = 0; i < results->count; i++) {
        note("%s", word_of(&results->results[i]));
    }
    note("@%zu", results->index);
    return NULL;
}

static void make_children(void) {
    for (intptr_t i = 0; i < CHILDREN; i++) {
        child[i] = pirn_deferred_create(count_cancel, number(i));
        cancels[i] = 0;
    }
}

/* The children with a hold of the list's each. */
static pirn_deferred **held_children(void) {
    static pirn_deferred *held[CHILDREN];
    for (unsigned i = 0; i < CHILDREN; i++) {
        held[i] = pirn_deferred_retain(child[i]);
    }
    return held;
}

static void release_children(void) {
    for (unsigned i = 0; i < CHILDREN; i++) {
        pirn_deferred_release(child[i]);
    }
}

static pirn_deferred *list_of_children(unsigned flags) {
    make_children();
    pirn_deferred *list = pirn_deferred_list(held_children(), CHILDREN, flags);
    cr_assert_not_null(list);
    cr_assert_eq(pirn_deferred_add_both(list, note_results, NULL), 0);
    return list;
}

static pirn_deferred *race_of_children(void) {
    make_children();
    pirn_deferred *race = pirn_deferred_race(held_children(), CHILDREN);
    cr_assert_not_null(race);
    cr_assert_eq(pirn_deferred_add_both(race, note_results, NULL), 0);
    return race;
}

/* ---- list ---- */

static void body_all(void) {
    pirn_deferred *list = list_of_children(PIRN_LIST_CONSUME_FAILURES);
    fire_number(child[2], 30);
    fail_with(child[0], PIRN_EDB);
    expect_noted("");
    fire_number(child[1], 20);
    expect_noted("PIRN_EDB 20 30 @3");
    add(child[1], "child");
    expect_noted("child=0");
    release_children();
    cr_assert_eq(destroyed, 0, "the values are the list's");
    pirn_deferred_release(list);
    cr_assert_eq(destroyed, 2);
}

/* Goal: a list fires when all have, with the results in list order whatever their order in time; they moved into it and
 * are destroyed with it (testDeferredList). Method: fire in another order. */
Test(deferred_list, list_fires_when_all_have_in_list_order) {
    run_body(body_all);
}

static void body_fired_before(void) {
    pirn_deferred *ready[] = {pirn_deferred_succeed(number(1), destroy_value),
                              pirn_deferred_fail_now(pirn_failure_make(PIRN_EDB, "x"))};
    pirn_deferred *list = pirn_deferred_list(ready, 2, PIRN_LIST_CONSUME_FAILURES);
    pirn_result out;
    cr_assert_eq(pirn_await_take(list, &out, PIRN_FOREVER), 0);
    pirn_deferred_results *results = out.value;
    cr_assert(results->count == 2 && results->index == 2);
    cr_assert_eq(results->results[0].value, number(1));
    cr_assert_str_eq(pirn_failure_message(results->results[1].failure), "x");
    pirn_result_drop(&out);
    cr_assert_eq(destroyed, 1);
}

/* Goal: children that had fired before count at once; the list's results can be taken and outlive it
 * (testDeferredListWithAlreadyFiredDeferreds). Method: await_take on a list of two such. */
Test(deferred_list, list_of_fired_ones_fires_at_once) {
    run_body(body_fired_before);
}

static void body_empty(void) {
    pirn_deferred *list = pirn_deferred_list(NULL, 0, 0);
    pirn_deferred_add_both(list, note_results, NULL);
    expect_noted("@0");
    pirn_deferred_release(list);
    list = pirn_deferred_list(NULL, 0, PIRN_LIST_FIRE_ON_ONE_FAILURE);
    cr_assert(pirn_deferred_finished(list));
    pirn_deferred_release(list);
    list = pirn_deferred_list(NULL, 0, PIRN_LIST_FIRE_ON_ONE_RESULT);
    cr_assert_not(pirn_deferred_finished(list));
    pirn_deferred_cancel(list);
    cr_assert_eq(pirn_await(list, NULL, PIRN_NOW), PIRN_ECANCELED);
    pirn_deferred_release(list);
    cr_assert_null(pirn_deferred_list(NULL, 0, 8), "an unknown flag");
}

/* Goal: an empty list fires at once, but never when it is to fire on one result (testEmptyDeferredList).
 * Method: each flag; the one that never fires can be cancelled. */
Test(deferred_list, empty_list_fires_at_once_unless_it_waits_for_one) {
    run_body(body_empty);
}

static void body_one_result(void) {
    pirn_deferred *list = list_of_children(PIRN_LIST_FIRE_ON_ONE_RESULT | PIRN_LIST_CONSUME_FAILURES);
    fail_with(child[0], PIRN_EDB);
    expect_noted("");
    fire_number(child[1], 20);
    expect_noted("PIRN_EDB 20 0 @1");
    cr_assert_eq(fire_number(child[2], 30), 0);
    release_children();
    cr_assert_eq(destroyed, 1, "the late one");
    cr_assert_eq(cancels[2], 0, "the others are not cancelled");
    pirn_deferred_release(list);
    cr_assert_eq(destroyed, 2);

    list = list_of_children(PIRN_LIST_FIRE_ON_ONE_RESULT | PIRN_LIST_CONSUME_FAILURES);
    for (unsigned i = 0; i < CHILDREN; i++) {
        fail_with(child[i], PIRN_EDNS);
    }
    expect_noted("PIRN_EDNS PIRN_EDNS PIRN_EDNS @3");
    release_children();
    pirn_deferred_release(list);
}

/* Goal: with FIRE_ON_ONE_RESULT the first success fires the list, late ones go nowhere, nobody is cancelled; when all
 * fail it fires with all.
 * Method: a failure first, then a success; then failures only. */
Test(deferred_list, list_on_one_result_fires_with_the_first) {
    run_body(body_one_result);
}

static void body_one_failure(void) {
    pirn_deferred *list = list_of_children(PIRN_LIST_FIRE_ON_ONE_FAILURE | PIRN_LIST_CONSUME_FAILURES);
    fire_number(child[0], 10);
    fail_with(child[2], PIRN_EHTTP);
    expect_noted("PIRN_EHTTP");
    cr_assert_eq(destroyed, 1, "what had come is destroyed");
    fail_with(child[1], PIRN_EDB);
    release_children();
    pirn_result out;
    cr_assert_eq(pirn_await(list, &out, PIRN_NOW), PIRN_EHTTP);
    cr_assert_str_eq(pirn_failure_message(out.failure), "deferred 2 of a list of 3 failed");
    cr_assert_str_eq(pirn_failure_message(pirn_failure_cause(out.failure)), "made by the test");
    pirn_deferred_release(list);
}

/* Goal: with FIRE_ON_ONE_FAILURE the first failure fails the list, as its cause; later ones are ignored
 * (testDeferredListFireOnOneError). Method: read the failure. */
Test(deferred_list, list_on_one_failure_fails_with_the_first) {
    run_body(body_one_failure);
}

static void body_dont_consume(void) {
    pirn_deferred *list = list_of_children(0);
    fail_with(child[0], PIRN_EDB);
    fire_number(child[1], 1);
    fire_number(child[2], 2);
    expect_noted("PIRN_EDB 1 2 @3");
    cr_assert_eq(reports, 0);
    release_children();
    cr_assert_eq(reports, 1, "the child's copy");
    pirn_deferred_release(list);
}

/* Goal: without CONSUME_FAILURES a child's failure is still unhandled there, although the list has it too
 * (testDeferredListDontConsumeErrors). Method: one report, made by the child's last release. */
Test(deferred_list, unconsumed_failure_is_reported_by_its_child) {
    run_with_reports(body_dont_consume, 1);
}

static void body_cancel_list(void) {
    pirn_deferred *list = list_of_children(PIRN_LIST_CONSUME_FAILURES);
    fire_number(child[1], 20);
    cr_assert_eq(pirn_deferred_cancel(list), 0);
    cr_assert(cancels[0] == 1 && cancels[1] == 0 && cancels[2] == 1);
    expect_noted("PIRN_ECANCELED 20 PIRN_ECANCELED @3");
    pirn_deferred_cancel(list);
    cr_assert(cancels[0] == 1 && cancels[2] == 1);
    release_children();
    pirn_deferred_release(list);

    list = list_of_children(PIRN_LIST_FIRE_ON_ONE_FAILURE | PIRN_LIST_CONSUME_FAILURES);
    pirn_deferred_cancel(list);
    expect_noted("PIRN_ECANCELED");
    cr_assert(cancels[0] == 1 && cancels[1] == 1 && cancels[2] == 1, "all, although the first fired the list");
    release_children();
    pirn_deferred_release(list);

    list = list_of_children(PIRN_LIST_FIRE_ON_ONE_RESULT | PIRN_LIST_CONSUME_FAILURES);
    fire_number(child[0], 1);
    expect_noted("1 0 0 @0");
    pirn_deferred_cancel(list);
    cr_assert(cancels[1] == 0 && cancels[2] == 0, "a fired list cancels nobody");
    fire_number(child[1], 2);
    fire_number(child[2], 3);
    release_children();
    pirn_deferred_release(list);
}

/* Goal: cancelling an unfired list cancels each child once, also when the first one's failure fires the list; a fired
 * one cancels nobody (test_cancelDeferredList...). Method: three lists with different flags, counting cancels. */
Test(deferred_list, cancel_of_a_list_cancels_its_children) {
    run_body(body_cancel_list);
}

static void body_release_list(void) {
    pirn_deferred *list = list_of_children(0);
    pirn_deferred_release(list);
    fire_number(child[0], 1);
    fire_number(child[1], 2);
    release_children();
    cr_assert_eq(destroyed, 0);
    (void)pirn_deferred_retain(child[2]);
    pirn_deferred_cancel(child[2]);
    expect_noted("1 2 PIRN_ECANCELED @3");
    pirn_deferred_release(child[2]);
    cr_assert_eq(destroyed, 2);
}

/* Goal: a list that nobody holds any more still collects its children, and then nothing is left.
 * Method: release it first; the run's end counts deferreds and destructions. */
Test(deferred_list, released_list_still_collects) {
    pn_alone_use_virtual_clock(true);
    run_body(body_release_list);
}

/* ---- race ---- */

static void body_race_won(void) {
    pirn_deferred *race = race_of_children();
    fail_with(child[0], PIRN_EDB);
    expect_noted("");
    fire_number(child[2], 30);
    expect_noted("0 0 30 @2");
    cr_assert(cancels[0] == 0 && cancels[1] == 1 && cancels[2] == 0, "each loser once, the failed one was over");
    cr_assert_eq(fire_number(child[1], 20), PIRN_EALREADY);
    release_children();
    cr_assert_eq(destroyed, 1);
    pirn_deferred_release(race);
    cr_assert_eq(destroyed, 2);
}

/* Goal: the first success wins with its index and value, the others are cancelled once each, failures before are silent
 * (RaceTests.test_success, test_resultAfterCancel). Method: a failure, a success, a late result. */
Test(deferred_list, race_is_won_by_the_first_success) {
    run_body(body_race_won);
}

static void fire_late(pirn_deferred *deferred, void *context) {
    (void)context;
    fire_number(deferred, 77);
}

static void body_race_cancel_gives_result(void) {
    pirn_deferred *racer[] = {pirn_deferred_create(fire_late, NULL), pirn_deferred_create(NULL, NULL)};
    (void)pirn_deferred_retain(racer[1]);
    pirn_deferred *race = pirn_deferred_race(racer, 2);
    pirn_deferred_add_both(race, note_results, NULL);
    fire_number(racer[1], 1);
    expect_noted("0 1 @1");
    cr_assert_eq(destroyed, 1, "the loser's result goes nowhere");
    pirn_deferred_release(racer[1]);
    pirn_deferred_release(race);
    cr_assert_eq(destroyed, 2);
}

/* Goal: a loser that answers its cancellation with a result changes nothing (RaceTests.test_resultFromCancel).
 * Method: a canceller that fires. */
Test(deferred_list, race_ignores_the_result_of_a_cancelled_loser) {
    run_body(body_race_cancel_gives_result);
}

static void body_race_lost(void) {
    pirn_deferred *race = race_of_children();
    fail_with(child[1], PIRN_EDB);
    fail_with(child[0], PIRN_EDNS);
    fail_with(child[2], PIRN_EHTTP);
    expect_noted("PIRN_EHTTP");
    release_children();
    give_up(race);
    race = pirn_deferred_race(NULL, 0);
    cr_assert_eq(pirn_await(race, NULL, PIRN_NOW), PIRN_EINVAL);
    pirn_deferred_release(race);
}

/* Goal: when all fail the race fails with the last failure, the others are silent; a race of none fails too
 * (RaceTests.test_failure). Method: fail in another order than the list's. */
Test(deferred_list, race_fails_when_all_fail) {
    run_body(body_race_lost);
}

static void body_race_cancelled(void) {
    pirn_deferred *race = race_of_children();
    pirn_deferred_cancel(race);
    expect_noted("PIRN_ECANCELED");
    cr_assert(cancels[0] == 1 && cancels[1] == 1 && cancels[2] == 1);
    release_children();
    pirn_deferred_release(race);
}

/* Goal: cancelling the race cancels each of them once (RaceTests.test_cancel).
 * Method: count. */
Test(deferred_list, cancel_of_a_race_cancels_all) {
    run_body(body_race_cancelled);
}

static void body_race_fired_before(void) {
    make_children();
    fire_number(child[1], 20);
    pirn_deferred *race = pirn_deferred_race(held_children(), CHILDREN);
    pirn_deferred_add_both(race, note_results, NULL);
    expect_noted("0 20 0 @1");
    cr_assert(cancels[0] == 1 && cancels[2] == 1);
    release_children();
    pirn_deferred_release(race);
    cr_assert_eq(destroyed, 1);
}

/* Goal: one that had fired before wins at once; those after it in the array are cancelled as well.
 * Method: fire the middle one first. */
Test(deferred_list, race_is_won_at_once_by_one_that_had_fired) {
    run_body(body_race_fired_before);
}

/* ---- one deferred in several places ---- */

static void body_twins(void) {
    for (int fired_first = 0; fired_first < 2; fired_first++) {
        destroyed = 0;
        pirn_deferred *d = pirn_deferred_create(NULL, NULL), *other = pirn_deferred_succeed(number(9), destroy_value);
        pirn_deferred *entries[] = {d, other, pirn_deferred_retain(d), pirn_deferred_retain(d)};
        pirn_deferred_retain(d);
        if (fired_first) {
            fire_number(d, 4);
        }
        pirn_deferred *list = pirn_deferred_list(entries, 4, 0);
        cr_assert_eq(pirn_deferred_add_both(list, note_results, NULL), 0);
        if (!fired_first) {
            fire_number(d, 4);
        }
        expect_noted("4 9 4 4 @4");
        pirn_deferred_release(d);
        cr_assert_eq(destroyed, 0, "the list's entries look at it");
        pirn_deferred_release(list);
        cr_assert_eq(destroyed, 2, "once each");
    }
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred *entries[] = {d, pirn_deferred_retain(d)};
    pirn_deferred *list = pirn_deferred_list(entries, 2, PIRN_LIST_CONSUME_FAILURES);
    cr_assert_eq(pirn_deferred_add_both(list, note_results, NULL), 0);
    fail_with(d, PIRN_EDB);
    expect_noted("PIRN_EDB PIRN_EDB @2");
    pirn_deferred_release(list);
}

/* Goal: a deferred that stands in a list twice gives both entries its result, and its value is destroyed once.
 * Method: three entries of one, fired before and after the list was made; and a failure. */
Test(deferred_list, deferred_twice_in_a_list_gives_both_entries_its_result) {
    run_body(body_twins);
}

static void body_twins_early(void) {
    static const unsigned flags[] = {PIRN_LIST_FIRE_ON_ONE_RESULT, PIRN_LIST_FIRE_ON_ONE_FAILURE};
    for (int i = 0; i < 2; i++) {
        pirn_deferred *d = pirn_deferred_create(NULL, NULL), *never = pirn_deferred_create(NULL, NULL);
        pirn_deferred *entries[] = {pirn_deferred_retain(never), pirn_deferred_retain(d), pirn_deferred_retain(d)};
        pirn_deferred *list = pirn_deferred_list(entries, 3, flags[i] | PIRN_LIST_CONSUME_FAILURES);
        (void)(i == 0 ? fire_number(d, 3) : fail_with(d, PIRN_EDB));
        pirn_result out;
        cr_assert_eq(pirn_await_take(list, &out, PIRN_NOW), i == 0 ? 0 : PIRN_EDB);
        if (i == 0) {
            cr_assert_eq(((pirn_deferred_results *)out.value)->index, 1, "the first of them");
        }
        pirn_deferred_release(d);
        pirn_deferred_cancel(never);
        pirn_deferred_release(never);
        pirn_result_drop(&out);
    }
    cr_assert_eq(destroyed, 1);
    for (int i = 0; i < 2; i++) {
        pirn_deferred *d = pirn_deferred_create(NULL, NULL);
        pirn_deferred *entries[] = {pirn_deferred_retain(d), pirn_deferred_retain(d)};
        pirn_deferred *race = pirn_deferred_race(entries, 2);
        (void)(i == 0 ? fire_number(d, 3) : fail_with(d, PIRN_EDB));
        pirn_deferred_release(d);
        pirn_result out;
        cr_assert_eq(pirn_await_take(race, &out, PIRN_NOW), i == 0 ? 0 : PIRN_EDB);
        pirn_result_drop(&out);
    }
    cr_assert_eq(destroyed, 2);
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred *entries[] = {d, pirn_deferred_retain(d)};
    pirn_deferred *list = pirn_deferred_list(entries, 2, 0);
    cr_assert_eq(pirn_deferred_cancel(list), 0);
    pirn_result out;
    cr_assert_eq(pirn_await_take(list, &out, PIRN_NOW), 0);
    const pirn_deferred_results *results = out.value;
    cr_assert(results->results[0].status == PIRN_ECANCELED && results->results[1].status == PIRN_ECANCELED);
    pirn_result_drop(&out);
}

/* Goal: the same where the list fires early, in a race, and for a cancel.
 * Method: success and failure of one that stands there twice. */
Test(deferred_list, deferred_twice_decides_once) {
    run_body(body_twins_early);
}

static void body_two_lists(void) {
    for (int order = 0; order < 2; order++) {
        destroyed = 0;
        pirn_deferred *d = pirn_deferred_create(NULL, NULL);
        pirn_deferred *one = pirn_deferred_retain(d), *two = pirn_deferred_retain(d), *three = pirn_deferred_retain(d);
        pirn_deferred *lists[] = {pirn_deferred_list(&one, 1, 0), pirn_deferred_race(&two, 1),
                                  pirn_deferred_list(&three, 1, 0)};
        add(d, "after");
        fire_number(d, 8);
        expect_noted("after=8");
        pirn_deferred_release(d);
        for (int i = 0; i < 3; i++) {
            pirn_result out;
            cr_assert_eq(pirn_await_take(lists[order ? 2 - i : i], &out, PIRN_NOW), 0);
            const pirn_deferred_results *results = out.value;
            cr_assert_eq(results->results[0].value, number(8), "list %d", i);
            cr_assert_eq(destroyed, 0);
            pirn_result_drop(&out);
        }
        cr_assert_eq(destroyed, 1, "with the last of them");
    }
}

/* Goal: a deferred that stands in several lists and races when it fires gives each its result, which lives until the
 * last of them is destroyed. Method: destroy them in both orders. */
Test(deferred_list, deferred_in_several_lists_gives_each_its_result) {
    run_body(body_two_lists);
}

static void body_lent_is_not_moved(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred *entries[] = {pirn_deferred_retain(d), pirn_deferred_retain(d)};
    pirn_deferred *list = pirn_deferred_list(entries, 2, 0), *target = pirn_deferred_create(NULL, NULL);
    fire_number(d, 8);
    cr_assert_eq(pirn_deferred_chain(pirn_deferred_retain(d), pirn_deferred_retain(target)), 0);
    add(target, "target");
    expect_noted("target=PIRN_EBUSY");
    give_up(target);
    pirn_deferred_release(list);
    cr_assert_eq(destroyed, 0);
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
    d = pirn_deferred_create(NULL, NULL);
    entries[0] = pirn_deferred_retain(d);
    entries[1] = pirn_deferred_retain(d);
    list = pirn_deferred_list(entries, 2, 0);
    fire_number(d, 9);
    pirn_deferred_release(list);
    pirn_result out;
    cr_assert_eq(pirn_await_take(d, &out, PIRN_NOW), 0, "nobody looks at it any more");
    cr_assert(out.value == number(9) && out.drop);
    pirn_result_drop(&out);
    cr_assert_eq(destroyed, 2);
}

/* Goal: a value that entries of lists look at is not taken from them: PIRN_EBUSY; when they are gone, the last holder
 * may take it. Method: chain it, and await_take it after the list's end. */
Test(deferred_list, value_that_lists_look_at_stays_with_its_deferred) {
    run_body(body_lent_is_not_moved);
}
