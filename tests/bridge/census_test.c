/* SPDX-License-Identifier: MIT
 *
 * What: the report about stuck tasklets over real workers: who is named, who is not, how waits are grouped, and how
 *       much is said. Read from the stderr of a child process.
 */
#include <stdlib.h>

#include "modes.h"

#define STUCK_NS (100 * PIRN_MILLISECOND)
#define TEXT     65536

static unsigned last_worker;

static int run_reporting_after(const test_mode *mode, pirn_fn main_fn, pirn_time stuck_ns) {
    pirn_options options;
    test_mode_options(mode, &options);
    options.stuck_warn_ns = stuck_ns;
    last_worker = mode->workers - 1;
    return pirn_run(&options, main_fn, NULL) == 0 ? 3 : 4;
}

static int run_reporting(const test_mode *mode, pirn_fn main_fn) {
    return run_reporting_after(mode, main_fn, STUCK_NS);
}

static pirn_tasklet spawn_at(unsigned worker, const char *name, pirn_fn fn, void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = name;
    options.home = (int)worker;
    options.flags = PIRN_JOINABLE;
    pirn_tasklet made = pirn_spawn_with(&options, fn, arg);
    TEST_CHECK(made.id != 0);
    return made;
}

static unsigned count_of(const char *text, const char *what) {
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) {
        count++;
    }
    return count;
}

static int nap(pirn_time nanoseconds) {
    return pirn_sleep_until(pirn_after(nanoseconds));
}

/* ---- who waits for work under way ---- */

/* Works for long in short naps: the worker dispatches, so reports are due. */
static int work(void *arg) {
    (void)arg;
    for (int i = 0; i < 30; i++) {
        (void)nap(STUCK_NS / 8);
    }
    return 0;
}

static int work_as_call(void *arg, pirn_result *out) {
    (void)out;
    return work(arg);
}

static int join_it(void *arg) {
    return pirn_join(*(pirn_tasklet *)arg, NULL, PIRN_FOREVER);
}

static pirn_deferred *wait_for_work(void *context, pirn_result *result) {
    (void)context, (void)result;
    return pirn_deferred_tasklet(work_as_call, NULL);
}

static int await_it(void *arg) {
    return pirn_await(arg, NULL, PIRN_FOREVER);
}

static int act_long(void *context, void *request, pirn_result *out) {
    (void)context, (void)request, (void)out;
    return work(NULL);
}

static int call_it(void *arg) {
    return pirn_processor_call(arg, NULL, NULL, NULL, PIRN_FOREVER);
}

static int all_wait_for_work(void *arg) {
    (void)arg;
    pirn_tasklet worker = spawn_at(last_worker, "worker", work, NULL);
    pirn_tasklet one = spawn_at(0, "joins another's", join_it, &worker);
    pirn_tasklet two = spawn_at(last_worker, "joins a joiner", join_it, &one);
    pirn_tasklet three = spawn_at(0, "joins far", join_it, &two);
    pirn_deferred *started = pirn_deferred_tasklet(work_as_call, NULL);
    pirn_deferred *chained = pirn_deferred_succeed(NULL, NULL);
    TEST_CHECK(pirn_deferred_add_both(chained, wait_for_work, NULL) == 0);
    pirn_deferred *parts[] = {pirn_deferred_tasklet(work_as_call, NULL), pirn_deferred_tasklet(work_as_call, NULL)};
    pirn_deferred *list = pirn_deferred_list(parts, 2, 0);
    pirn_processor *processor = pirn_processor_create(act_long, NULL, NULL);
    pirn_processor_options several;
    pirn_processor_options_init(&several);
    several.concurrency = 2;
    pirn_processor *pool = pirn_processor_create(act_long, NULL, &several);
    pirn_tasklet waiters[] = {
        spawn_at(0, "awaits", await_it, started),       spawn_at(last_worker, "awaits far", await_it, started),
        spawn_at(0, "awaits chain", await_it, chained), spawn_at(last_worker, "awaits chain far", await_it, chained),
        spawn_at(0, "awaits list", await_it, list),     spawn_at(last_worker, "awaits list far", await_it, list),
        spawn_at(0, "calls", call_it, processor),       spawn_at(last_worker, "calls far", call_it, pool),
    };
    TEST_CHECK(pirn_blocking_tasklet(work_as_call, NULL, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_join(three, NULL, PIRN_FOREVER) == 0);
    for (size_t i = 0; i < sizeof waiters / sizeof waiters[0]; i++) {
        int result;
        TEST_CHECK(pirn_join(waiters[i], &result, PIRN_FOREVER) == 0 && result == 0);
    }
    TEST_CHECK(pirn_processor_join(processor, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_processor_join(pool, PIRN_FOREVER) == 0);
    pirn_deferred_release(started);
    pirn_deferred_release(chained);
    pirn_deferred_release(list);
    return 0;
}

static int working(const test_mode *mode) {
    return run_reporting(mode, all_wait_for_work);
}

Test(census, who_waits_for_work_under_way_is_not_named, .timeout = 60) {
    /* Goal: no wait for a tasklet that goes on is called stuck, on any worker, over any number of waits.
     * Method: joins, awaits of tasklets, of chains, of lists, and calls of processors, four times the limit long. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char *text = malloc(TEXT);
        int status = test_run_child(working, &test_modes[i], text, TEXT);
        cr_assert(status == 3, "%s: %d: %s", test_modes[i].name, status, text);
        cr_assert(count_of(text, "without a deadline") == 0, "%s: %s", test_modes[i].name, text);
        free(text);
    }
}

/* ---- who is stuck ---- */

static pirn_channel *void_channel;

static int receive_there(void *arg) {
    (void)arg;
    char byte;
    return pirn_recv(void_channel, &byte, PIRN_FOREVER) == PIRN_ECLOSED ? 0 : PIRN_EFAILED;
}

static pirn_tasklet ring[3];
static _Atomic(bool) ring_is_made;

static int join_next(void *arg) {
    size_t place = (size_t)(uintptr_t)arg;
    while (!ring_is_made) {
        (void)nap(PIRN_MILLISECOND);
    }
    int error = pirn_join(ring[(place + 1) % 3], NULL, PIRN_FOREVER);
    return error == PIRN_ECANCELED || error == PIRN_EDEAD ? 0 : error;
}

static int some_are_stuck(void *arg) {
    (void)arg;
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "the void";
    void_channel = pirn_channel_create_with(1, 0, &options);
    ring_is_made = false;
    pirn_tasklet stuck = spawn_at(last_worker, "receives", receive_there, NULL);
    pirn_tasklet joins = spawn_at(0, "joins the stuck", join_it, &stuck);
    if (last_worker > 0) {
        for (size_t i = 0; i < 3; i++) {
            ring[i] = spawn_at(i == 1 ? last_worker : 0, "in a ring", join_next, (void *)(uintptr_t)i);
        }
        ring_is_made = true;
    }
    for (int i = 0; i < 16; i++) {
        TEST_CHECK(nap(STUCK_NS / 4) == 0);
    }
    pirn_channel_close(void_channel);
    TEST_CHECK(pirn_join(joins, NULL, PIRN_FOREVER) == 0);
    for (size_t i = 0; ring_is_made && i < 3; i++) {
        (void)pirn_cancel(ring[i]);
    }
    while (pirn_channel_balance(void_channel) != 0) {
        pirn_yield();
    }
    pirn_channel_destroy(void_channel);
    return 0;
}

static int stuck_in_part(const test_mode *mode) {
    return run_reporting(mode, some_are_stuck);
}

Test(census, stuck_ones_are_named_once_on_any_worker, .timeout = 60) {
    /* Goal: one that nobody wakes, those that wait for it elsewhere, and a ring over two workers are named, each once.
     * Method: a receiver and its joiner on another worker, and three that join each other. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char *text = malloc(TEXT);
        int status = test_run_child(stuck_in_part, &test_modes[i], text, TEXT);
        cr_assert(status == 3, "%s: %d: %s", test_modes[i].name, status, text);
        cr_assert(count_of(text, "\"receives\" waits for receive on the void") == 1, "%s", text);
        cr_assert(count_of(text, "\"joins the stuck\" waits for join") == 1, "%s", text);
        unsigned in_ring = test_modes[i].workers > 1 ? 3 : 0;
        cr_assert(count_of(text, "\"in a ring\" waits for join") == in_ring, "%s", text);
        cr_assert(count_of(text, "\"main\" waits") == 0, "%s", text);
        free(text);
    }
}

static int act_for_ever(void *context, void *request, pirn_result *out) {
    (void)context, (void)request, (void)out;
    return receive_there(NULL);
}

static int loop_for_ever(void *arg) {
    return receive_there(arg);
}

static int daemons_are_stuck(void *arg) {
    (void)arg;
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "the void";
    void_channel = pirn_channel_create_with(1, 0, &options);
    pirn_processor_options named;
    pirn_processor_options_init(&named);
    named.name = "culprit";
    pirn_processor *idle = pirn_processor_create(act_for_ever, NULL, NULL);
    pirn_processor *busy = pirn_processor_create(act_for_ever, NULL, &named);
    pirn_looping_call *looping = pirn_looping_call_start(PIRN_MILLISECOND, true, loop_for_ever, NULL);
    int error = pirn_processor_call(busy, NULL, NULL, NULL, pirn_after(4 * STUCK_NS));
    TEST_CHECK(error == PIRN_ETIMEDOUT);
    error = pirn_processor_call(busy, NULL, NULL, NULL, PIRN_FOREVER);
    TEST_CHECK(error == PIRN_EDEADLK);
    pirn_looping_call_stop(looping);
    pirn_channel_close(void_channel);
    TEST_CHECK(pirn_processor_join(busy, PIRN_FOREVER) == 0 && pirn_processor_join(idle, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_await(pirn_looping_call_done(looping), NULL, PIRN_FOREVER) == 0);
    pirn_looping_call_release(looping);
    pirn_channel_destroy(void_channel);
    return 0;
}

static int stuck_daemons(const test_mode *mode) {
    return run_reporting(mode, daemons_are_stuck);
}

Test(census, daemon_stuck_in_a_call_is_named, .timeout = 60) {
    /* Goal: the tasklets of processors and looping calls are named when a call they make is stuck, in both reports, and
     * not while they wait for the next one.
     * Method: an action and a looping call that receive where nobody sends, beside an idle processor. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char *text = malloc(TEXT);
        int status = test_run_child(stuck_daemons, &test_modes[i], text, TEXT);
        cr_assert(status == 3, "%s: %d: %s", test_modes[i].name, status, text);
        cr_assert(count_of(text, "\"culprit\" waits for receive on the void") == 2, "%s", text);
        cr_assert(count_of(text, "\"looping call\" waits for receive on the void") == 2, "%s", text);
        cr_assert(count_of(text, "\"main\" waits") == 1, "%s", text);
        cr_assert(count_of(text, "\"processor\"") == 0, "%s", text);
        free(text);
    }
}

/* ---- how much is said ---- */

static pirn_deferred *never;
static _Atomic(bool) all_are_there;

static int await_never(void *arg) {
    (void)arg;
    while (!all_are_there) {
        (void)nap(PIRN_MILLISECOND);
    }
    (void)pirn_await(never, NULL, PIRN_FOREVER);
    pirn_deferred_release(never);
    return 0;
}

static int many_await_one(void *arg) {
    (void)arg;
    never = pirn_deferred_create(NULL, NULL);
    all_are_there = false;
    pirn_tasklet waiters[40];
    for (unsigned i = 0; i < 40; i++) {
        pirn_deferred_retain(never);
        waiters[i] = spawn_at(i % 2 ? last_worker : 0, "waiter", await_never, NULL);
    }
    all_are_there = true; /* so that they park together, also on a slow machine */
    for (int i = 0; i < 8; i++) {
        TEST_CHECK(nap(STUCK_NS) == 0);
    }
    TEST_CHECK(pirn_await(never, NULL, PIRN_FOREVER) == PIRN_EDEADLK);
    TEST_CHECK(pirn_deferred_fire(never, NULL, NULL) == 0);
    pirn_deferred_release(never);
    for (unsigned i = 0; i < 40; i++) {
        TEST_CHECK(pirn_join(waiters[i], NULL, PIRN_FOREVER) == 0);
    }
    return 0;
}

static int alike(const test_mode *mode) {
    return run_reporting_after(mode, many_await_one, 4 * STUCK_NS);
}

Test(census, alike_waits_on_several_workers_are_one_group, .timeout = 60) {
    /* Goal: waits for one object are one group over all workers, in the partial report and in the total one.
     * Method: forty await one deferred, half of them on another worker; then main, too. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char *text = malloc(TEXT);
        int status = test_run_child(alike, &test_modes[i], text, TEXT);
        cr_assert(status == 3, "%s: %d: %s", test_modes[i].name, status, text);
        cr_assert(count_of(text, "40 tasklets are parked on deferred made at census_test.c:") == 1, "%s", text);
        cr_assert(count_of(text, "40 tasklets wait for deferred made at census_test.c:") == 2, "%s", text);
        cr_assert(count_of(text, "all 41 tasklets are parked and nothing can wake them") == 1, "%s", text);
        cr_assert(count_of(text, "\n") <= 8, "%s", text);
        free(text);
    }
}

enum { CROWD = 20000, CHAIN = 5000 };
static pirn_tasklet chain[CHAIN];
static unsigned chain_ready;

static int join_chain(void *arg) {
    size_t place = (size_t)(uintptr_t)arg;
    chain_ready++;
    return place == 0 ? receive_there(NULL) : pirn_join(chain[place - 1], NULL, PIRN_FOREVER);
}

static int receive_alone(void *arg) {
    char byte;
    int error = pirn_recv(arg, &byte, PIRN_FOREVER);
    pirn_channel_destroy(arg);
    return error == PIRN_ECLOSED ? 0 : error;
}

static int crowd_is_stuck(void *arg) {
    (void)arg;
    static pirn_channel *own[100];
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "the void";
    void_channel = pirn_channel_create_with(1, 0, &options);
    pirn_spawn_options joinable;
    pirn_spawn_options_init(&joinable);
    joinable.flags = PIRN_JOINABLE;
    joinable.stack_bytes = 16384;
    for (unsigned i = 0; i < CROWD; i++) {
        TEST_CHECK(pirn_spawn(receive_there, NULL).id != 0);
        if (i % 256 == 0) {
            pirn_yield();
        }
    }
    for (unsigned i = 0; i < 100; i++) {
        own[i] = pirn_channel_create(1, 0);
        TEST_CHECK(pirn_spawn(receive_alone, own[i]).id != 0);
    }
    for (unsigned i = 0; i < CHAIN; i++) {
        chain[i] = pirn_spawn_with(&joinable, join_chain, (void *)(uintptr_t)i);
        TEST_CHECK(chain[i].id != 0);
    }
    for (int i = 0; i < 24; i++) {
        TEST_CHECK(nap(STUCK_NS / 4) == 0);
    }
    pirn_channel *nobody = pirn_channel_create(1, 0);
    char byte;
    TEST_CHECK(pirn_recv(nobody, &byte, PIRN_FOREVER) == PIRN_EDEADLK);
    pirn_channel_destroy(nobody);
    for (unsigned i = 0; i < 100; i++) {
        pirn_channel_close(own[i]);
    }
    pirn_channel_close(void_channel);
    TEST_CHECK(pirn_join(chain[CHAIN - 1], NULL, PIRN_FOREVER) == 0);
    while (pirn_channel_balance(void_channel) != 0) {
        pirn_yield();
    }
    pirn_channel_destroy(void_channel);
    return 0;
}

static int crowd(const test_mode *mode) {
    return run_reporting(mode, crowd_is_stuck);
}

Test(census, report_of_thousands_is_twenty_lines_with_counts, .timeout = 120) {
    /* Goal: however many are stuck, a report has twenty lines at most, counts them all and groups them.
     * Method: 20,000 on one channel, 100 on one each and a chain of 5,000 joins; the partial and the total report. */
    char *text = malloc(TEXT);
    int status = test_run_child(crowd, &test_modes[0], text, TEXT);
    cr_assert(status == 3, "%d: %s", status, text);
    cr_assert(count_of(text, "without a deadline:") >= 1, "%s", text);
    cr_assert(count_of(text, "all 25101 tasklets are parked and nothing can wake them:") == 1, "%s", text);
    cr_assert(count_of(text, "20000 tasklets wait for receive on the void") >= 1, "%s", text);
    cr_assert(count_of(text, "\n") <= 20 * (count_of(text, "without a deadline:") + 1), "%s", text);
    free(text);
}
