/* SPDX-License-Identifier: MIT
 *
 * What: the second seed's processor: serial calls in order, errors to the caller, callers that go away, stop and join.
 * Threads: one, in virtual time.
 */
#include <pirn/processor.h>

#include "deferred_test.h"

static unsigned requests_dropped;

static void drop_request(void *request) {
    (void)request;
    requests_dropped++;
}

/* A call made by a tasklet of its own. */
typedef struct caller {
    const char *name;
    pirn_processor *processor;
    intptr_t request; /* what the action does with it: see act                                           */
    pirn_time deadline;
    pirn_tasklet tasklet;
} caller;

/* The actions: a positive request sleeps that many ms and returns itself, a negative one is returned as the code. */
static int act(void *context, void *request, pirn_result *out) {
    intptr_t value = (intptr_t)request;
    (void)context;
    note("<%d", (int)value);
    if (value > 0) {
        int error = pirn_sleep_until(pirn_after(value * PIRN_MILLISECOND));
        cr_assert(error == 0 || error == PIRN_ECANCELED);
    }
    note("%d>", (int)value);
    if (value < 0) {
        return pirn_fail((int)value, "request %d", (int)value);
    }
    out->value = request;
    out->drop = destroy_value;
    return 0;
}

static int call_it(void *arg) {
    caller *c = arg;
    pirn_result out;
    int code = pirn_processor_call(c->processor, number(c->request), drop_request, &out,
                                   c->deadline ? c->deadline : PIRN_FOREVER);
    note("%s:%s", c->name, code == 0 ? word_of(&out) : pirn_error_name(code));
    pirn_result_drop(&out);
    return 0;
}

static void start(caller *c, const char *name, pirn_processor *processor, intptr_t request) {
    c->name = name;
    c->processor = processor;
    c->request = request;
    c->tasklet = pirn_spawn(call_it, c);
    let_others_run();
}

static pirn_processor *make(unsigned concurrency, unsigned queue_max) {
    pirn_processor_options options;
    pirn_processor_options_init(&options);
    options.name = "counter";
    options.concurrency = concurrency;
    options.queue_max = queue_max;
    pirn_processor *processor = pirn_processor_create(act, NULL, &options);
    cr_assert_not_null(processor);
    return processor;
}

static void wait_ms(int64_t milliseconds) {
    cr_assert_eq(pirn_sleep_until(pirn_after(milliseconds * PIRN_MILLISECOND)), 0);
    let_others_run();
}

/* ---- calls ---- */

static void body_serial(void) {
    caller a = {0}, b = {0};
    pirn_processor *processor = make(0, 0);
    start(&a, "a", processor, 20);
    start(&b, "b", processor, 10);
    expect_noted("<20");
    wait_ms(50);
    expect_noted("20> <10 a:20 10> b:10");
    cr_assert_eq(requests_dropped, 2);
    cr_assert_eq(destroyed, 2);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: calls are served strictly one after the other in the order of calling, also when an action waits.
 * Method: a slow call before a fast one. */
Test(processor, serial_calls_do_not_overlap) {
    run_body(body_serial);
}

static void body_concurrent(void) {
    caller a = {0}, b = {0}, c = {0};
    pirn_processor *processor = make(2, 0);
    start(&a, "a", processor, 20);
    start(&b, "b", processor, 10);
    start(&c, "c", processor, 30);
    expect_noted("<20 <10");
    wait_ms(15);
    expect_noted("10> <30 b:10");
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
    let_others_run();
    expect_noted("20> a:20 30> c:30");
}

/* Goal: with concurrency 2 two actions run at a time, never three; a join waits for those that run.
 * Method: three calls. */
Test(processor, concurrency_bounds_the_actions_that_run) {
    pn_alone_use_virtual_clock(true);
    run_body(body_concurrent);
}

static void body_error(void) {
    pirn_processor *processor = make(0, 0);
    pirn_result out;
    cr_assert_eq(pirn_processor_call(processor, number(PIRN_EDB), drop_request, &out, PIRN_FOREVER), PIRN_EDB);
    char words[64];
    snprintf(words, sizeof words, "request %d", PIRN_EDB);
    cr_assert_str_eq(pirn_failure_message(out.failure), words);
    pirn_result_drop(&out);
    cr_assert_eq(pirn_processor_call(processor, number(1), NULL, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(requests_dropped, 1);
    cr_assert_eq(destroyed, 1, "no `out`: the result is destroyed");
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: an action's error reaches its caller with its words, and the processor lives on (in the seed the caller hung).
 * Method: a failing call, then a good one. */
Test(processor, error_reaches_the_caller_and_the_processor_lives) {
    run_body(body_error);
}

static void body_full(void) {
    caller running = {0}, queued = {0}, waiting = {.deadline = pirn_after(5 * PIRN_MILLISECOND)};
    pirn_processor *processor = make(0, 1);
    start(&running, "running", processor, 20);
    start(&queued, "queued", processor, 1);
    start(&waiting, "waiting", processor, 2);
    wait_ms(10);
    expect_noted("<20 waiting:PIRN_ETIMEDOUT");
    cr_assert_eq(requests_dropped, 1, "never taken: dropped by the call");
    wait_ms(20);
    expect_noted("20> <1 running:20 1> queued:1");
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: a full queue makes callers wait, until their deadline if need be.
 * Method: a queue of one. */
Test(processor, full_queue_holds_callers_back) {
    run_body(body_full);
}

/* ---- callers that go away ---- */

static void body_late_answer(void) {
    caller a = {.deadline = pirn_after(5 * PIRN_MILLISECOND)}, b = {0};
    pirn_processor *processor = make(0, 0);
    start(&a, "a", processor, 20);
    wait_ms(6);
    expect_noted("<20 a:PIRN_ETIMEDOUT");
    cr_assert_eq(requests_dropped, 0, "the action still uses it");
    start(&b, "b", processor, 1);
    wait_ms(30);
    expect_noted("20> <1 1> b:1");
    cr_assert_eq(requests_dropped, 2);
    cr_assert_eq(destroyed, 2, "the late answer too, once");
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: a caller that timed out leaves the running action alone; its late answer is destroyed once and holds up nobody
 * (in the seed the processor parked for ever on the answer). Method: time out during the action, then call again. */
Test(processor, late_answer_goes_nowhere) {
    run_body(body_late_answer);
}

static void body_killed_caller(void) {
    caller running = {0}, killed = {0}, queued = {0};
    pirn_processor *processor = make(0, 0);
    start(&running, "running", processor, 10);
    start(&killed, "killed", processor, 11);
    start(&queued, "queued", processor, 12);
    pirn_cancel(killed.tasklet);
    pirn_cancel(running.tasklet);
    expect_noted("<10 killed:PIRN_ECANCELED running:PIRN_ECANCELED");
    wait_ms(50);
    expect_noted("10> <12 12> queued:12");
    cr_assert_eq(requests_dropped, 3);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: killed callers never harm the processor: a queued call is skipped, a running one finished, the next served.
 * Method: kill both kinds. */
Test(processor, killed_caller_is_skipped) {
    run_body(body_killed_caller);
}

static void body_refused(void) {
    pirn_processor *processor = make(0, 0);
    cr_assert_eq(pirn_processor_call(processor, number(1), drop_request, NULL, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(requests_dropped, 1);
    let_others_run();
    expect_noted("");
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: with PIRN_NOW nothing is begun, and the request is dropped all the same.
 * Method: the action must not run. */
Test(processor, call_that_may_not_wait_begins_nothing) {
    run_body(body_refused);
}

/* ---- stop and join ---- */

static void body_stop(void) {
    caller running = {0}, queued = {0}, waiting = {0}, late = {0};
    pirn_processor *processor = make(0, 1);
    start(&running, "running", processor, 10);
    start(&queued, "queued", processor, 1);
    start(&waiting, "waiting", processor, 2);
    pirn_processor_stop(processor);
    pirn_processor_stop(processor);
    let_others_run();
    expect_noted("<10 waiting:PIRN_ECLOSED queued:PIRN_ECLOSED");
    start(&late, "late", processor, 3);
    expect_noted("late:PIRN_ECLOSED");
    wait_ms(20);
    expect_noted("10> running:10");
    cr_assert_eq(requests_dropped, 4);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: stop does not wait and may be repeated; queued and waiting calls are answered PIRN_ECLOSED at once, the running
 * one finishes, later ones are refused (in the seed all of these parked for ever). Method: one call of each kind. */
Test(processor, stop_answers_every_call) {
    run_body(body_stop);
}

static pirn_processor *of_action;

static int act_on_itself(void *context, void *request, pirn_result *out) {
    (void)context;
    (void)request;
    (void)out;
    note("call:%s", pirn_error_name(pirn_processor_call(of_action, NULL, NULL, NULL, PIRN_FOREVER)));
    note("join:%s", pirn_error_name(pirn_processor_join(of_action, PIRN_FOREVER)));
    pirn_processor_stop(of_action);
    return 0;
}

static void body_self(void) {
    of_action = pirn_processor_create(act_on_itself, NULL, NULL);
    cr_assert_eq(pirn_processor_call(of_action, NULL, drop_request, NULL, PIRN_FOREVER), 0);
    expect_noted("call:PIRN_EDEADLK join:PIRN_EDEADLK");
    cr_assert_eq(pirn_processor_call(of_action, NULL, drop_request, NULL, PIRN_FOREVER), PIRN_ECLOSED);
    cr_assert_eq(requests_dropped, 2);
    cr_assert_eq(pirn_processor_join(of_action, PIRN_FOREVER), 0);
}

/* Goal: the action may stop its processor; calling or joining it from its own action is PIRN_EDEADLK, not a hang.
 * Method: an action that does all three; it is answered all the same. */
Test(processor, action_may_stop_but_not_call_itself) {
    run_body(body_self);
}

static void body_join_deadline(void) {
    caller a = {0};
    pirn_processor *processor = make(0, 0);
    start(&a, "a", processor, 10);
    cr_assert_eq(pirn_processor_join(processor, pirn_after(1)), PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
    let_others_run();
    expect_noted("<10 10> a:10");
}

/* Goal: a join that times out leaves the processor there, to be joined again.
 * Method: join during a slow action. */
Test(processor, join_may_be_repeated_after_its_deadline) {
    pn_alone_use_virtual_clock(true);
    run_body(body_join_deadline);
}

static pirn_tasklet taker;

static int tell_taker(void *context, void *request, pirn_result *out) {
    taker = pirn_self();
    return act(context, request, out);
}

static void body_taker_killed(void) {
    caller running = {0}, queued = {0};
    pirn_processor *processor = pirn_processor_create(tell_taker, NULL, NULL);
    start(&running, "running", processor, 10);
    start(&queued, "queued", processor, 1);
    pirn_cancel(taker);
    let_others_run();
    expect_noted("<10 10> running:10 queued:PIRN_ECLOSED");
    cr_assert_eq(pirn_processor_call(processor, NULL, NULL, NULL, PIRN_FOREVER), PIRN_ECLOSED);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
    cr_assert_eq(requests_dropped, 2);
}

/* Goal: a processor whose last taker was cancelled is stopped: no caller waits for nobody.
 * Method: cancel the taker during an action, with a call in the queue. */
Test(processor, cancelled_taker_stops_it) {
    run_body(body_taker_killed);
}

static void body_taker_thrown(void) {
    pirn_processor *processor = pirn_processor_create(tell_taker, NULL, NULL);
    cr_assert_eq(pirn_processor_call(processor, number(1), NULL, NULL, PIRN_FOREVER), 0);
    let_others_run();
    cr_assert_eq(pirn_throw(taker, PIRN_EHTTP, false), 0);
    cr_assert_eq(pirn_processor_call(processor, number(2), NULL, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
    expect_noted("<1 1> <2 2>");
}

/* Goal: an error thrown at an idle taker does not end it.
 * Method: throw between two calls. */
Test(processor, thrown_error_between_calls_is_survived) {
    run_body(body_taker_thrown);
}

static void body_unstarted(void) {
    pirn_processor *processor = make(3, 0);
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
    cr_assert_null(pirn_processor_create(NULL, NULL, NULL));
    pirn_processor_options options = {.concurrency = 1000000};
    cr_assert_null(pirn_processor_create(act, NULL, &options));
    options = (pirn_processor_options){.queue_max = UINT32_MAX};
    cr_assert_null(pirn_processor_create(act, NULL, &options));
}

/* Goal: a processor that never served can be joined; options out of range make none, and leave nothing.
 * Method: join at once; LeakSanitizer sees the rest. */
Test(processor, unused_one_can_be_joined) {
    run_body(body_unstarted);
}

static pirn_time busy_until;

static int fail_at_the_deadline(void *context, void *request, pirn_result *out) {
    (void)context;
    (void)request;
    (void)pirn_sleep_until(busy_until - 1);
    return pirn_result_fail(out, PIRN_EHTTP, "late");
}

static int pass_the_deadline(void *arg) {
    (void)arg;
    (void)pirn_sleep_until(busy_until - 5);
    pn_alone_advance(10); /* the action and the caller's deadline are due in one turn */
    return 0;
}

static void body_late_failure(void) {
    pirn_processor *processor = pirn_processor_create(fail_at_the_deadline, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        busy_until = pirn_after(20);
        pirn_spawn(pass_the_deadline, NULL);
        cr_assert_eq(pirn_processor_call(processor, NULL, NULL, NULL, busy_until), PIRN_ETIMEDOUT);
        pirn_sleep_until(pirn_after(100));
    }
    cr_assert_eq(pirn_processor_join(processor, PIRN_FOREVER), 0);
}

/* Goal: an action's failure that comes when its caller's deadline has passed is nobody's, and not reported, also when
 * the caller had no turn yet. Method: both are due in one turn of the scheduler. */
Test(processor, failure_after_its_callers_deadline_is_not_reported) {
    run_body(body_late_failure);
}
