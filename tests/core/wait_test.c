/* SPDX-License-Identifier: MIT
 *
 * What: the waiter by itself, with objects made for the test: claim before and after the park, exactly one outcome
 *       whoever comes first, queues left at once, and waits on a record whose result wins.
 * Threads: one, in virtual time.
 */
#include <pirn/processor.h>

#include "core_test.h"
#include "wait.h"

/* An object with one place to wait at. */
typedef struct place {
    pn_waiter *waiter;
    unsigned unlinked, withdrawn;
    bool record_is_back; /* what withdraw answers                                                        */
    int result;          /* of pn_wait                                                                  */
    uint32_t clause;
} place;

static place here;

static void leave_place(pn_waiter *waiter) {
    cr_assert_eq(here.waiter, waiter);
    here.waiter = NULL;
    here.unlinked++;
}

static bool withdraw_record(pn_waiter *waiter) {
    cr_assert_eq(here.waiter, waiter);
    here.withdrawn++;
    return here.record_is_back;
}

/* Wait at `here` until `deadline`, as every blocking call does. */
static int wait_here(pirn_time deadline, bool shared, bool on_record) {
    int error = pn_may_wait("wait_here", deadline);
    if (error != 0) {
        return error;
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, on_record ? PN_ON_READ : PN_ON_RECV, NULL);
    waiter.shared = shared;
    if (on_record) {
        waiter.withdraw = withdraw_record;
    } else {
        waiter.unlink = leave_place;
    }
    here.waiter = &waiter;
    error = pn_wait(&waiter, deadline, &here.clause);
    here.waiter = NULL;
    return error;
}

typedef struct wait_args {
    pirn_time deadline;
    bool shared, on_record;
} wait_args;

static int waiting_tasklet(void *arg) {
    const wait_args *args = arg;
    here.result = wait_here(args->deadline, args->shared, args->on_record);
    note("woken:%s", here.result == 0 ? "0" : pirn_error_name(here.result));
    return 0;
}

static void claim_and_ready(uint32_t clause) {
    pn_waiter *waiter = here.waiter;
    cr_assert(pn_waiter_is_here(waiter));
    cr_assert(pn_waiter_claim(waiter, clause));
    cr_assert_not(pn_waiter_claim(waiter, clause + 1), "a second claim must lose");
    here.waiter = NULL;
    pn_waiter_ready(waiter);
}

/* ---- a peer ---- */

static int main_claims(void *arg) {
    wait_args args = {PIRN_FOREVER, arg != NULL, false};
    pirn_spawn(waiting_tasklet, &args);
    let_others_run();
    claim_and_ready(5);
    note("claimed");
    let_others_run();
    cr_assert_eq(here.clause, 5);
    cr_assert_eq(here.unlinked, 0, "a claimed wait is not unlinked: its claimer did that");
    return 0;
}

/* Goal: a claim ends the wait with its clause, later claims lose, the claimer goes on first.
 * Method: claim a parked waiter twice, once as a local and once as a shared one. */
Test(wait, claim_ends_the_wait_once) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_claims, NULL), 0);
    expect_noted("claimed woken:0");
    cr_assert_eq(pn_alone_run(main_claims, &here), 0);
    expect_noted("claimed woken:0");
}

static int ready_it(void *arg) {
    note("ready");
    pn_waiter_ready(arg);
    return 0;
}

static int main_claimed_before(void *arg) {
    (void)arg;
    pn_waiter waiter;
    uint32_t clause = 0;
    pn_waiter_init(&waiter, PN_ON_RECV, NULL);
    waiter.shared = true;
    cr_assert(pn_waiter_claim(&waiter, 3));
    pirn_spawn(ready_it, &waiter);
    cr_assert_eq(pn_wait(&waiter, pirn_after(0), &clause), 0);
    cr_assert_eq(clause, 3);
    note("woken");
    return 0;
}

/* Goal: a waiter claimed by a peer before the park keeps that outcome, and parks for the "ready" that is on its way.
 * Method: claim, wait with a deadline that is over at once; a second tasklet brings the "ready". */
Test(wait, claimed_before_the_park_waits_for_its_ready) {
    cr_assert_eq(run_alone(main_claimed_before), 0);
    expect_noted("ready woken");
}

/* ---- deadlines ---- */

static int main_deadline(void *arg) {
    (void)arg;
    pirn_time deadline = pirn_after(PIRN_SECOND);
    here.result = wait_here(deadline, false, false);
    cr_assert_eq(here.result, PIRN_ETIMEDOUT);
    cr_assert_geq(pirn_now(), deadline);
    cr_assert_eq(here.unlinked, 1);
    cr_assert_eq(pn_sched_self()->timers.count, 0);
    return 0;
}

/* Goal: the deadline ends a wait with PIRN_ETIMEDOUT and takes it out of its queue, once.
 * Method: nobody claims; read the unlink count. */
Test(wait, deadline_ends_the_wait_and_unlinks) {
    cr_assert_eq(run_alone(main_deadline), 0);
}

static int main_claim_beats_deadline(void *arg) {
    (void)arg;
    wait_args args = {pirn_after(PIRN_MILLISECOND), false, false};
    pirn_spawn(waiting_tasklet, &args);
    let_others_run();
    claim_and_ready(0);
    pn_alone_advance(PIRN_SECOND);
    let_others_run();
    cr_assert_eq(here.result, 0);
    cr_assert_eq(here.unlinked, 0);
    cr_assert_eq(pn_sched_self()->timers.count, 0, "the deadline's timer went with the wait");
    return 0;
}

/* Goal: exactly one outcome: a claim made before the deadline wins, also when the tasklet runs after it.
 * Method: claim, let the deadline pass, then let the tasklet run. */
Test(wait, claim_before_the_deadline_wins) {
    cr_assert_eq(run_alone(main_claim_beats_deadline), 0);
    expect_noted("woken:0");
}

static int main_now(void *arg) {
    (void)arg;
    pirn_time before = pirn_now();
    cr_assert_eq(wait_here(PIRN_NOW, false, false), PIRN_EAGAIN);
    cr_assert_eq(here.unlinked, 1);
    cr_assert_eq(pirn_now(), before);
    return 0;
}

/* Goal: a wait with PIRN_NOW that nobody has claimed gives PIRN_EAGAIN, takes no time and leaves no trace in the
 *       queue.
 * Method: nobody claims; read clock and unlink count. */
Test(wait, now_gives_eagain) {
    cr_assert_eq(run_alone(main_now), 0);
}

/* ---- strikes ---- */

static int main_cancel_parked(void *arg) {
    (void)arg;
    wait_args args = {PIRN_FOREVER, false, false};
    pirn_tasklet waiting = pirn_spawn(waiting_tasklet, &args);
    let_others_run();
    cr_assert_eq(pirn_cancel_pending(waiting), 0);
    cr_assert_eq(here.unlinked, 1, "out of the queue before the tasklet runs");
    note("struck");
    let_others_run();
    return 0;
}

/* Goal: a strike takes the waiter out of its queue at once and ends the wait at the tasklet's turn.
 * Method: cancel pending; read the unlink count before the tasklet ran. */
Test(wait, strike_unlinks_before_the_tasklet_runs) {
    cr_assert_eq(run_alone(main_cancel_parked), 0);
    expect_noted("struck woken:PIRN_ECANCELED");
}

static int main_may_wait_tells_strike(void *arg) {
    (void)arg;
    cr_assert_eq(pn_may_wait("test", PIRN_FOREVER), 0);
    cr_assert_eq(pirn_throw(pirn_self(), PIRN_EDB, false), 0);
    cr_assert_eq(pn_may_wait("test", PIRN_FOREVER), PIRN_EDB);
    cr_assert_eq(pn_may_wait("test", PIRN_FOREVER), 0, "a thrown code strikes once");
    cr_assert_eq(pirn_cancel(pirn_self()), 0);
    cr_assert_eq(pn_may_wait("test", PIRN_FOREVER), PIRN_ECANCELED);
    cr_assert_eq(pn_may_wait("test", PIRN_FOREVER), PIRN_ECANCELED, "cancellation is sticky");
    return 0;
}

/* Goal: pn_may_wait tells a due strike before any side effect: a thrown code once, cancellation again and again.
 * Method: main strikes itself. */
Test(wait, may_wait_tells_a_due_strike) {
    cr_assert_eq(run_alone(main_may_wait_tells_strike), 0);
}

/* ---- a thrown code that a wait has as its own ---- */

typedef int (*parking_call)(void);

static pirn_channel *empty_channel;

static int throw_sleep(void) {
    return pirn_sleep_until(pirn_after(PIRN_SECOND));
}

static int throw_recv(void) {
    int value;
    return pirn_recv(empty_channel, &value, pirn_after(PIRN_SECOND));
}

static int throw_send(void) {
    int value = 1;
    return pirn_send(empty_channel, &value, pirn_after(PIRN_SECOND));
}

static int throw_select(void) {
    int value;
    pirn_case cases[] = {{.channel = empty_channel, .direction = PIRN_RECV, .elem = &value}};
    return pirn_select(cases, 1, pirn_after(PIRN_SECOND));
}

static int never(void *arg) {
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER);
}

static int throw_join(void) {
    pirn_tasklet other = spawn_joinable(never, NULL);
    int error = pirn_join(other, NULL, pirn_after(PIRN_SECOND));
    (void)pirn_cancel(other);
    (void)pirn_release(other);
    return error;
}

static int throw_await(void) {
    pirn_deferred *deferred = pirn_deferred_create(NULL, NULL);
    pirn_time deadline = pirn_after(PIRN_SECOND);
    int error = pirn_await(deferred, NULL, deadline);
    cr_assert_eq(pirn_deferred_finished(deferred), pirn_now() < deadline,
                 "a strike cancels what nobody else waits for");
    pirn_deferred_release(deferred);
    return error;
}

static int throw_await_take(void) {
    pirn_result out;
    return pirn_await_take(pirn_deferred_create(NULL, NULL), &out, pirn_after(PIRN_SECOND));
}

static int never_call(void *arg, pirn_result *out) {
    (void)out;
    return never(arg);
}

static int throw_blocking(void) {
    return pirn_blocking_tasklet(never_call, NULL, NULL, pirn_after(PIRN_SECOND));
}

static int never_action(void *context, void *request, pirn_result *out) {
    (void)request;
    return never_call(context, out);
}

static int throw_processor(void) {
    static pirn_processor *processor;
    if (!processor) {
        processor = pirn_processor_create(never_action, NULL, NULL);
    }
    return pirn_processor_call(processor, NULL, NULL, NULL, pirn_after(PIRN_SECOND));
}

static const parking_call parking_calls[] = {throw_sleep, throw_recv,       throw_send,     throw_select,   throw_join,
                                             throw_await, throw_await_take, throw_blocking, throw_processor};

static int park_at_one(void *arg) {
    return (*(const parking_call *)arg)();
}

static int main_thrown_codes_arrive(void *arg) {
    (void)arg;
    static const int codes[] = {PIRN_ETIMEDOUT, PIRN_ECANCELED, PIRN_EAGAIN, PIRN_ECLOSED,
                                PIRN_EDEADLK,   PIRN_ETHREAD,   PIRN_EBUSY,  PIRN_EDEAD};
    empty_channel = pirn_channel_create(sizeof(int), 0);
    for (size_t c = 0; c < sizeof parking_calls / sizeof *parking_calls; c++) {
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
            for (int pending = 0; pending < 2; pending++) {
                pirn_tasklet target = spawn_joinable(park_at_one, (void *)(uintptr_t)&parking_calls[c]);
                let_others_run();
                cr_assert_eq(pirn_throw(target, codes[i], pending), 0);
                int result = 1;
                cr_assert_eq(pirn_join(target, &result, pirn_after(PIRN_MILLISECOND)), 0);
                cr_assert_eq(result, codes[i], "call %zu, code %s: %s", c, pirn_error_name(codes[i]),
                             pirn_error_name(result));
            }
        }
        pirn_tasklet late = spawn_joinable(park_at_one, (void *)(uintptr_t)&parking_calls[c]);
        let_others_run();
        int result = 1;
        cr_assert_eq(pirn_join(late, &result, pirn_after(2 * PIRN_SECOND)), 0);
        cr_assert_eq(result, c == 0 ? 0 : PIRN_ETIMEDOUT, "call %zu's own deadline", c);
    }
    cr_assert_eq(pirn_throw(pirn_self(), 0, false), PIRN_EINVAL);
    cr_assert_eq(pirn_throw(pirn_self(), 1, false), PIRN_EINVAL);
    pirn_channel_destroy(empty_channel);
    return 0;
}

/* Goal: a thrown code reaches every parking call, also a code that the call has as its own, such as the PIRN_ETIMEDOUT
 * at which a sleep ends well; 0 and positive codes are refused. Method: each call with each code, now and pending; and
 * the call's own deadline. */
Test(wait, thrown_code_reaches_every_parking_call) {
    (void)run_alone(main_thrown_codes_arrive);
}

static int twice_struck(void *arg) {
    (void)arg;
    here.record_is_back = false;
    cr_assert_eq(wait_here(PIRN_FOREVER, false, true), 0, "the record's result wins");
    int error = pirn_sleep_until(pirn_after(PIRN_SECOND));
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0, "a thrown code strikes once");
    return error;
}

static int main_thrown_cancel_stays_due(void *arg) {
    (void)arg;
    for (int parked = 0; parked < 2; parked++) {
        pirn_tasklet target = spawn_joinable(twice_struck, NULL);
        here.waiter = NULL;
        if (parked) {
            let_others_run();
        }
        cr_assert_eq(pirn_throw(target, PIRN_ECANCELED, true), 0);
        if (!parked) {
            int result = 1;
            cr_assert_eq(pirn_join(target, &result, PIRN_FOREVER), 0);
            cr_assert_eq(result, PIRN_ECANCELED, "it had not started");
            continue;
        }
        let_others_run();
        pn_waiter_complete(here.waiter);
        int result = 1;
        cr_assert_eq(pirn_join(target, &result, PIRN_FOREVER), 0);
        cr_assert_eq(result, PIRN_ECANCELED);
    }
    return 0;
}

/* Goal: a thrown PIRN_ECANCELED that loses to a record's result stays due, like every other thrown code, and is no
 * sticky cancel. Method: throw at a tasklet whose record is under way; its next wait is struck, the one after not. */
Test(wait, thrown_cancel_that_lost_to_a_result_stays_due) {
    cr_assert_eq(run_alone(main_thrown_cancel_stays_due), 0);
}

/* ---- records ---- */

static int main_record_withdrawn(void *arg) {
    (void)arg;
    here.record_is_back = true;
    cr_assert_eq(wait_here(pirn_after(PIRN_MILLISECOND), false, true), PIRN_ETIMEDOUT);
    cr_assert_eq(here.withdrawn, 1);
    return 0;
}

/* Goal: a deadline on a record that can be withdrawn ends the wait.
 * Method: withdraw answers true. */
Test(wait, withdrawn_record_ends_with_its_deadline) {
    cr_assert_eq(run_alone(main_record_withdrawn), 0);
}

static int complete_later(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0);
    cr_assert_not_null(here.waiter, "the tasklet must still be parked on its record");
    note("complete");
    pn_waiter_complete(here.waiter);
    return 0;
}

static int main_record_result_wins(void *arg) {
    pirn_tasklet waiting;
    wait_args args = {arg ? PIRN_FOREVER : pirn_after(PIRN_MILLISECOND), true, true};
    here.record_is_back = false;
    waiting = spawn_joinable(waiting_tasklet, &args);
    let_others_run();
    pirn_spawn(complete_later, NULL);
    if (arg) {
        cr_assert_eq(pirn_cancel(waiting), 0);
    }
    cr_assert_eq(pirn_join(waiting, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(here.withdrawn, 1);
    cr_assert_eq(here.result, 0);
    return 0;
}

/* Goal: when the performer is at the record already, neither a deadline nor a cancel ends the wait: the result wins.
 * Method: withdraw answers false; the completion comes a second later. */
Test(wait, record_under_way_keeps_its_result) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_record_result_wins, NULL), 0);
    expect_noted("complete woken:0");
    here = (place){0};
    cr_assert_eq(pn_alone_run(main_record_result_wins, &here), 0);
    expect_noted("complete woken:0");
}

/* ---- names ---- */

/* Goal: every reason has its own name: it is the first question of every report.
 * Method: compare all pairs. */
Test(wait, reasons_have_unique_names) {
    for (int i = 0; i < PN_REASON_COUNT; i++) {
        cr_assert_not_null(pn_reason_name((pn_reason)i));
        for (int j = 0; j < i; j++) {
            cr_assert_str_neq(pn_reason_name((pn_reason)i), pn_reason_name((pn_reason)j));
        }
    }
    cr_assert(pn_reason_is_internal(PN_ON_RECV) && pn_reason_is_internal(PN_ON_JOIN));
    cr_assert(!pn_reason_is_internal(PN_ON_READ) && !pn_reason_is_internal(PN_ON_SLEEP));
}
