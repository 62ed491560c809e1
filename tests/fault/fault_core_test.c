/* SPDX-License-Identifier: MIT
 *
 * What: out of memory, descriptors or threads below the runtime itself, tasklets, channels and deferreds. Each test
 *       runs its scenario in every mode with each call failing in turn, alone and with those after it.
 */
#include "campaign.h"

#include <pirn/inspect.h>
#include <pirn/processor.h>
#include <stdatomic.h>

static int leave(void *arg) {
    (void)arg;
    return 0;
}

Test(fault_core, start_and_stop_fail_whole) {
    /* Goal: a runtime that can not start gives a code and leaves nothing behind.
     * Method: nothing but pirn_run, counted from its first line. */
    fault_campaign(&(fault_scenario){.name = "start and stop", .body = leave, .from_the_start = true});
}

/* ---- tasklets ---- */

static int add_one(void *arg) {
    *(int *)arg += 1;
    return 0;
}

static atomic_uint ends;

static void note_end(void *arg) {
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static int sleep_for_ever(void *arg) {
    (void)arg;
    (void)pirn_on_exit(note_end, &ends);
    return pirn_sleep_until(PIRN_FOREVER - 1);
}

static void end_and_join(pirn_tasklet task, bool cancel, int also) {
    if (task.id != 0 && (!cancel || fault_expect(pirn_cancel(task), 0))) {
        (void)fault_expect(fault_join(task), also);
    }
}

static int tasklets(void *arg) {
    (void)arg;
    static int ran[48];
    pirn_tasklet many[48];
    for (int home = 0; home <= fault_far(); home++) {
        end_and_join(fault_spawn(sleep_for_ever, NULL, home, PIRN_JOINABLE), true, PIRN_ECANCELED);
        for (int i = 0; i < 48; i++) {
            ran[i] = 0;
            many[i] = fault_spawn(add_one, &ran[i], home, PIRN_JOINABLE);
        }
        for (int i = 0; i < 48; i++) {
            end_and_join(many[i], false, 0);
        }
    }
    pirn_snapshot *snapshot = NULL;
    if (fault_expect(pirn_inspect(100, &snapshot, FAULT_PATIENCE), 0)) {
        pirn_snapshot_drop(snapshot);
    }
    pirn_tasklet given_up = fault_spawn(leave, NULL, fault_far(), PIRN_JOINABLE);
    if (given_up.id != 0) {
        (void)fault_expect(pirn_release(given_up), 0);
    }
    (void)fault_spawn(sleep_for_ever, NULL, fault_far(), 0); /* for the shutdown */
    return 0;
}

Test(fault_core, tasklets_fail_or_run) {
    /* Goal: spawn, cancel, join and release, here and on the other worker, fail with a code or do it.
     * Method: more tasklets than one slab holds on each worker, one left to the shutdown. */
    fault_campaign(&(fault_scenario){.name = "tasklets", .body = tasklets});
}

static int newcomers(void *arg) {
    (void)arg;
    long asked, failed;
    int ran = 0, result;
    pirn_channel *gate = pirn_channel_create(0, 0);
    fault_arm(FAULT_SYSTEM, 1, 1000000);
    unsigned count = fault_take_stacks(gate);
    pirn_tasklet late = fault_spawn(add_one, &ran, pirn_worker(), PIRN_JOINABLE);
    TEST_CHECK(pirn_join(late, &result, PIRN_FOREVER) == 0 && result == PIRN_ENOMEM && ran == 0);
    late = fault_spawn(add_one, &ran, pirn_worker(), PIRN_JOINABLE);
    TEST_CHECK(pirn_send(gate, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_join(late, &result, PIRN_FOREVER) == 0 && result == 0 && ran == 1);
    fault_disarm(&asked, &failed);
    TEST_CHECK(failed > 0);
    fault_give_stacks(gate, count);
    pirn_channel_destroy(gate);
    return 0;
}

Test(fault_core, newcomer_without_a_stack_ends_beside_the_others) {
    /* Goal: a tasklet that gets no stack at its first turn ends with PIRN_ENOMEM, and who made way for it goes on; one
     * that comes right after an end has that one's stack.
     * Method: tasklets take all stacks; main yields to the next one, joins another, and lets one end before a third. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        cr_assert_eq(test_run_in(&test_modes[i], newcomers, NULL), 0);
    }
}

/* ---- channels ---- */

#define VALUES 30

static int send_some(void *arg) {
    int status = 0;
    for (int i = 1; i <= VALUES && status == 0; i++) {
        status = pirn_send(arg, &i, FAULT_PATIENCE);
    }
    pirn_channel_close(arg);
    return status;
}

static int channels(void *arg) {
    (void)arg;
    pirn_channel *channel[2] = {pirn_channel_create(sizeof(int), 0), pirn_channel_create(sizeof(int), 4)};
    bool open[2], began[2];
    int wanted = 0, sum = 0;
    static fault_task sender[2];
    for (int i = 0; i < 2; i++) {
        open[i] = began[i] = channel[i] && fault_begin(&sender[i], send_some, channel[i], i == 0 ? fault_far() : 0);
        wanted += open[i] ? VALUES * (VALUES + 1) / 2 : 0;
    }
    while (open[0] || open[1]) {
        int value[2];
        pirn_case cases[2] = {
            {.channel = open[0] ? channel[0] : NULL, .direction = PIRN_RECV, .elem = &value[0]},
            {.channel = open[1] ? channel[1] : NULL, .direction = PIRN_RECV, .elem = &value[1]},
        };
        int at = pirn_select(cases, 2, FAULT_PATIENCE);
        TEST_CHECK(at >= 0);
        open[at] = cases[at].status == 0;
        sum += open[at] ? value[at] : 0;
    }
    TEST_CHECK(sum == wanted);
    for (int i = 0; i < 2; i++) {
        TEST_CHECK(!began[i] || fault_end(&sender[i]) == 0);
        pirn_channel_destroy(channel[i]);
    }
    return 0;
}

Test(fault_core, channels_move_values_whatever_fails) {
    /* Goal: a channel that was made moves every value: waiting allocates nothing.
     * Method: a sender on each worker, select over both channels, the sum is exact. */
    fault_campaign(&(fault_scenario){.name = "channels", .body = channels});
}

static int answer(void *context, void *request, pirn_result *out) {
    (void)context;
    out->value = request;
    return 0;
}

static int call_it(void *arg) {
    for (int i = 0; i < 3; i++) {
        int request = i;
        pirn_result out = {0};
        if (fault_expect(pirn_processor_call(arg, &request, NULL, &out, FAULT_PATIENCE), PIRN_ECLOSED)) {
            TEST_CHECK(out.value == &request);
        }
        pirn_result_drop(&out);
    }
    return 0;
}

static int processor(void *arg) {
    (void)arg;
    pirn_processor_options options;
    pirn_processor_options_init(&options);
    options.concurrency = 2;
    pirn_processor *made = pirn_processor_create(answer, NULL, &options);
    if (!made) {
        return PIRN_ENOMEM;
    }
    pirn_tasklet caller = fault_spawn(call_it, made, fault_far(), PIRN_JOINABLE);
    (void)call_it(made);
    end_and_join(caller, false, 0);
    (void)fault_expect(pirn_processor_join(made, FAULT_PATIENCE), 0);
    return 0;
}

Test(fault_core, processor_answers_or_refuses) {
    /* Goal: each call of a processor is answered, or refused with a code, and its join ends.
     * Method: calls from both workers. */
    fault_campaign(&(fault_scenario){.name = "processor", .body = processor});
}

/* ---- deferreds ---- */

static pirn_deferred *pass_on(void *context, pirn_result *result) {
    (void)result;
    *(int *)context += 1;
    return NULL;
}

static int succeed(void *arg, pirn_result *out) {
    pirn_yield();
    out->value = arg;
    return 0;
}

static int fire_it(void *arg) {
    int status = pirn_deferred_fire(arg, NULL, NULL);
    pirn_deferred_release(arg);
    return status;
}

static int await_it(void *arg) {
    int status = pirn_await(arg, NULL, FAULT_PATIENCE);
    pirn_deferred_release(arg);
    return status;
}

/* Fired or awaited on the other worker, cancelled from there. */
static void across(pirn_fn there, bool cancel) {
    int seen = 0;
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    if (!d) {
        return;
    }
    bool added = fault_expect(pirn_deferred_add_both(d, pass_on, &seen), 0);
    (void)fault_expect(pirn_deferred_deadline(d, FAULT_PATIENCE), 0);
    fault_task other;
    bool began = fault_begin(&other, there, pirn_deferred_retain(d), fault_far());
    if (!began) {
        pirn_deferred_release(d);
    }
    if (cancel) {
        (void)fault_expect(pirn_deferred_cancel(d), 0);
    } else if (there == await_it || !began) {
        (void)fault_expect(pirn_deferred_fire(d, NULL, NULL), 0);
    }
    (void)fault_expect(pirn_await(d, NULL, FAULT_PATIENCE), cancel ? PIRN_ECANCELED : 0);
    TEST_CHECK(seen == (added ? 1 : 0));
    if (began) {
        (void)fault_expect(fault_end(&other), cancel ? PIRN_ECANCELED : 0);
    }
    pirn_deferred_release(d);
}

static int cancel_there(void *arg) {
    int status = pirn_deferred_cancel(arg);
    pirn_deferred_release(arg);
    return status;
}

/* Two in a list or a race: one fired here, one by a tasklet of its own; with a chain before it. */
static void together(bool race) {
    pirn_deferred *one = pirn_deferred_create(NULL, NULL), *front = pirn_deferred_create(NULL, NULL);
    pirn_deferred *both[2] = {one ? pirn_deferred_retain(one) : NULL, pirn_deferred_tasklet(succeed, NULL)};
    pirn_deferred *all = NULL;
    if (both[0] && both[1]) {
        all = race ? pirn_deferred_race(both, 2) : pirn_deferred_list(both, 2, PIRN_LIST_CONSUME_FAILURES);
    }
    if (!all) {
        pirn_deferred_release(both[0]);
        pirn_deferred_release(both[1]);
    }
    if (one && front) {
        pirn_deferred *source = pirn_deferred_retain(front), *target = pirn_deferred_retain(one);
        if (!fault_expect(pirn_deferred_chain(source, target), 0)) {
            pirn_deferred_release(source);
            pirn_deferred_release(target);
            (void)fault_expect(pirn_deferred_fire(one, NULL, NULL), 0);
        }
        (void)fault_expect(pirn_deferred_fire(front, NULL, NULL), 0);
    } else if (one) {
        (void)fault_expect(pirn_deferred_fire(one, NULL, NULL), 0);
    }
    pirn_deferred_release(one);
    pirn_deferred_release(front);
    if (all) {
        pirn_result out = {0};
        (void)fault_expect(pirn_await_take(all, &out, FAULT_PATIENCE), 0);
        pirn_result_drop(&out);
    }
}

static int deferreds(void *arg) {
    (void)arg;
    across(fire_it, false);
    across(await_it, false);
    across(await_it, true);
    across(cancel_there, true);
    together(false);
    together(true);
    pirn_result out = {0};
    (void)fault_expect(pirn_blocking_tasklet(succeed, NULL, &out, FAULT_PATIENCE), 0);
    pirn_result_drop(&out);
    pirn_failure *failure = pirn_failure_make(PIRN_EFAILED, "number %d", 1);
    pirn_failure *copy = pirn_failure_clone(failure);
    pirn_failure_drop(failure);
    pirn_deferred *failed = copy ? pirn_deferred_fail_now(copy) : NULL;
    if (failed) {
        (void)fault_expect(pirn_await_take(failed, &out, FAULT_PATIENCE), PIRN_EFAILED);
        pirn_result_drop(&out);
    }
    (void)pirn_fail(PIRN_EFAILED, "told at the end");
    return 0;
}

Test(fault_core, deferreds_finish_whatever_fails) {
    /* Goal: firing and releasing never fail, awaits end, lists and chains are made whole or not at all.
     * Method: fired, awaited and cancelled on the other worker; in a list, a race and a chain. */
    fault_campaign(&(fault_scenario){.name = "deferreds", .body = deferreds});
}
