/* SPDX-License-Identifier: MIT
 *
 * What: the word that says whether a deferred's result may be read (core/deferred_inside.h), in the explorer: the real
 *       pn_deferred_borrow on the words of bridge/shared.c.
 */
#include "test.h"

#include "deferred_inside.h"
#include "explorer.h"
#include "shared.h"

static struct pirn_deferred deferred;
static bool got[2];

static const pn_hooks hooks = {.load = pn_shared_load, .claim = pn_shared_claim, .store = pn_shared_store};

static void borrow(unsigned who) {
    pirn_result out;
    got[who] = pn_deferred_borrow(&deferred, &out);
    if (got[who]) {
        model_plain_read(&deferred.final);
    }
}

static void borrow_first(void) {
    borrow(0);
}

static void borrow_second(void) {
    borrow(1);
}

/* The home's publish, in deferred_run.c. */
static void settle(void) {
    model_plain_write(&deferred.final);
    hooks.store(&deferred.outcome, PN_SETTLED);
}

static void reset_unsettled(void) {
    memset(&deferred, 0, sizeof deferred);
    memset(got, 0, sizeof got);
}

static void reset_settled(void) {
    reset_unsettled();
    deferred.outcome.opaque = PN_SETTLED;
}

static void both_got_it(void) {
    if (!got[0] || !got[1]) {
        model_fail("a settled deferred was not had: its asker would park for nothing");
    }
}

static void expect_no_failure(const model_program *program) {
    pn_below = &hooks;
    model_result result = model_explore(program, 4, 20000000);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete && result.executions > 4);
}

/* Goal: a settled deferred is had without parking, also by the slower of two that ask at once.
 * Method: every execution of two that borrow. */
Test(deferred_model, two_that_borrow_at_once_both_get_it) {
    model_program program = {
        .threads = 2, .thread = {borrow_first, borrow_second}, .reset = reset_settled, .check = both_got_it};
    expect_no_failure(&program);
}

/* Goal: whichever look at a deferred finds the result sees what the home wrote before.
 * Method: every execution of two that borrow while the home settles; the result is marked plain data. */
Test(deferred_model, result_is_read_after_it_was_written) {
    model_program program = {.threads = 3, .thread = {borrow_first, borrow_second, settle}, .reset = reset_unsettled};
    expect_no_failure(&program);
}
