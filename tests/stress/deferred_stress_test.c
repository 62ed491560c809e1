/* SPDX-License-Identifier: MIT
 *
 * What: deferreds and processors between workers under real preemption: who fires first, awaits that give up while the
 *       answer is on the way, cancels, last releases, and deferreds that wait for one of another home. Every value made
 *       is destroyed once, and no deferred is left.
 * Threads: four workers, and the same programs on one.
 */
#include <stdatomic.h>

#include "modes.h"

#define WORKERS 4

static const test_mode four_workers = {"threaded", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, WORKERS};
static const test_mode one_worker = {"single", PIRN_MODE_SINGLE, PIRN_POLL_REACTOR, 1};

static atomic_uint made, destroyed, reported;

static void destroy_value(void *value) {
    atomic_fetch_add_explicit(&destroyed, 1, memory_order_relaxed);
    free(value);
}

static void *make_value(unsigned number) {
    unsigned *value = malloc(sizeof *value);
    TEST_CHECK(value != NULL);
    *value = number;
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return value;
}

static void count_report(void *context, int code, const char *text) {
    (void)context;
    (void)code;
    (void)text;
    atomic_fetch_add_explicit(&reported, 1, memory_order_relaxed);
}

static int workers(void) {
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    return (int)info.workers;
}

static pirn_tasklet start(pirn_fn fn, void *arg, int home) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    options.home = home % workers();
    pirn_tasklet tasklet = pirn_spawn_with(&options, fn, arg);
    TEST_CHECK(tasklet.id != 0);
    return tasklet;
}

static void join(pirn_tasklet tasklet) {
    TEST_CHECK(pirn_join(tasklet, NULL, PIRN_FOREVER) == 0);
}

/* Wait until no deferred lives anywhere: releases elsewhere are messages that may still be on the way. */
static void expect_nothing_left(void) {
    uint64_t left = 1;
    while (left > 0) {
        pirn_snapshot *snapshot;
        TEST_CHECK(pirn_inspect(0, &snapshot, PIRN_FOREVER) == 0);
        left = snapshot->deferreds;
        pirn_snapshot_drop(snapshot);
        TEST_CHECK(left == 0 || pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
    }
    TEST_CHECK(atomic_load(&made) == atomic_load(&destroyed));
}

static void run(pirn_fn main_fn, const test_mode *mode) {
    pirn_options options;
    test_mode_options(mode, &options);
    options.on_error = count_report;
    int result = pirn_run(&options, main_fn, NULL);
    cr_assert_eq(result, 0, "%s: main ended with %s", mode->name, pirn_error_name(result));
    cr_assert_eq(atomic_load(&made), atomic_load(&destroyed));
    cr_assert_eq(atomic_load(&reported), 0u);
}

static void run_on_four_and_on_one(pirn_fn main_fn) {
    run(main_fn, &four_workers);
    run(main_fn, &one_worker);
}

/* ---- who fires first ---- */

typedef struct duel {
    pirn_deferred *deferred; /* one hold per tasklet                                                     */
    atomic_uint won;
} duel;

static int fire_it(void *arg) {
    duel *d = arg;
    int code = pirn_deferred_fire(d->deferred, make_value(1), destroy_value);
    TEST_CHECK(code == 0 || code == PIRN_EALREADY);
    atomic_fetch_add(&d->won, code == 0);
    pirn_deferred_release(d->deferred);
    return 0;
}

static int fire_from_everywhere(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(5000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        duel d = {.deferred = pirn_deferred_create(NULL, NULL)};
        pirn_tasklet tasklets[WORKERS];
        for (int w = 0; w < WORKERS; w++) {
            (void)pirn_deferred_retain(d.deferred);
            tasklets[w] = start(fire_it, &d, w);
        }
        pirn_result out;
        TEST_CHECK(pirn_await(d.deferred, &out, PIRN_FOREVER) == 0 && *(unsigned *)out.value == 1);
        for (int w = 0; w < WORKERS; w++) {
            join(tasklets[w]);
        }
        TEST_CHECK(atomic_load(&d.won) == 1);
        pirn_deferred_release(d.deferred);
    }
    expect_nothing_left();
    return 0;
}

/* Goal: of fires from all workers exactly one succeeds, and every other value is destroyed once.
 * Method: four at once, thousands of times; count. */
Test(deferred_stress, one_of_many_fires_wins, .timeout = 120) {
    run_on_four_and_on_one(fire_from_everywhere);
}

/* ---- awaits elsewhere ---- */

typedef struct crowd {
    pirn_deferred *deferred; /* one hold per tasklet                                                     */
    int64_t patience_ns;
    atomic_uint got, gave_up;
} crowd;

static int await_it(void *arg) {
    crowd *c = arg;
    pirn_result out;
    int code = pirn_await(c->deferred, &out, pirn_after(c->patience_ns));
    if (code == 0) {
        TEST_CHECK(*(unsigned *)out.value == 7 && !out.drop);
        atomic_fetch_add(&c->got, 1);
    } else {
        TEST_CHECK(code == PIRN_ETIMEDOUT || code == PIRN_ECANCELED);
        TEST_CHECK(out.status == 0 || out.status == PIRN_ECANCELED);
        atomic_fetch_add(&c->gave_up, 1);
    }
    pirn_deferred_release(c->deferred);
    return 0;
}

static int await_from_everywhere(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(3000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        crowd c = {.deferred = pirn_deferred_create(NULL, NULL), .patience_ns = (int64_t)(i % 60) * PIRN_MICROSECOND};
        pirn_tasklet tasklets[WORKERS];
        for (int w = 0; w < WORKERS; w++) {
            (void)pirn_deferred_retain(c.deferred);
            tasklets[w] = start(await_it, &c, w);
        }
        if (i % 3 == 0) {
            TEST_CHECK(pirn_cancel(tasklets[i % WORKERS]) != PIRN_ETHREAD);
        }
        int code = pirn_deferred_fire(c.deferred, make_value(7), destroy_value);
        TEST_CHECK(code == 0); /* or the wait's cancel was first, and swallows it */
        pirn_deferred_release(c.deferred);
        for (int w = 0; w < WORKERS; w++) {
            join(tasklets[w]);
        }
        unsigned answered = atomic_load(&c.got) + atomic_load(&c.gave_up);
        TEST_CHECK(answered == WORKERS || (i % 3 == 0 && answered == WORKERS - 1)); /* cancelled before it began */
        while (i % 3 == 0 && answered < WORKERS) {
            pirn_deferred_release(c.deferred); /* its hold */
            answered++;
        }
    }
    expect_nothing_left();
    return 0;
}

/* Goal: every await elsewhere ends once, with the result or its own end, however the deadline, a cancel and the answer
 * race; nothing is lost.
 * Method: deadlines about as long as the answer takes, on four workers; the holder that fires releases first. */
Test(deferred_stress, awaits_elsewhere_end_once, .timeout = 120) {
    run_on_four_and_on_one(await_from_everywhere);
}

/* ---- cancel elsewhere ---- */

static atomic_uint asked;

static void count_asked(pirn_deferred *deferred, void *context) {
    (void)deferred;
    (void)context;
    atomic_fetch_add(&asked, 1);
}

static int cancel_it(void *arg) {
    TEST_CHECK(pirn_deferred_cancel(arg) == 0);
    pirn_deferred_release(arg);
    return 0;
}

static int cancel_from_everywhere(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(3000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_deferred *d = pirn_deferred_create(count_asked, NULL);
        pirn_tasklet tasklets[WORKERS];
        unsigned before = atomic_load(&asked);
        for (int w = 0; w < WORKERS; w++) {
            tasklets[w] = start(cancel_it, pirn_deferred_retain(d), w);
        }
        int fired = i % 2 == 0 ? pirn_deferred_fire(d, make_value(1), destroy_value) : PIRN_EALREADY;
        int code = pirn_await(d, NULL, PIRN_FOREVER);
        TEST_CHECK(code == (fired == 0 ? 0 : PIRN_ECANCELED));
        TEST_CHECK(atomic_load(&asked) - before == (fired != 0));
        for (int w = 0; w < WORKERS; w++) {
            join(tasklets[w]);
        }
        pirn_deferred_release(d);
    }
    expect_nothing_left();
    return 0;
}

/* Goal: cancels from all workers ask the canceller once, and not at all when the fire was first.
 * Method: four cancels against a fire. */
Test(deferred_stress, cancels_elsewhere_ask_once, .timeout = 120) {
    run_on_four_and_on_one(cancel_from_everywhere);
}

/* ---- an inner deferred of another home ---- */

static int fire_seven(void *arg) {
    TEST_CHECK(pirn_deferred_fire(arg, make_value(7), destroy_value) == 0);
    pirn_deferred_release(arg);
    return 0;
}

static pirn_deferred *go_on_with_context(void *inner, pirn_result *result) {
    (void)result;
    return inner;
}

static int wait_for_other_homes(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(5000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_deferred *inner = pirn_deferred_create_at((int)(i % (uint64_t)workers()), NULL, NULL);
        pirn_tasklet firer = start(fire_seven, pirn_deferred_retain(inner), (int)(i / 2));
        pirn_deferred *outer = pirn_deferred_succeed(NULL, NULL);
        TEST_CHECK(pirn_deferred_add_both(outer, go_on_with_context, inner) == 0);
        pirn_result out;
        pirn_time deadline = i % 5 == 0 ? pirn_after(30 * PIRN_MICROSECOND) : PIRN_FOREVER;
        int code = pirn_await_take(outer, &out, deadline);
        TEST_CHECK(code == 0 ? *(unsigned *)out.value == 7 : code == PIRN_ETIMEDOUT || code == PIRN_EAGAIN);
        pirn_result_drop(&out);
        join(firer);
    }
    expect_nothing_left();
    return 0;
}

/* Goal: a callback may return a deferred of another worker: its result moves over once, or is destroyed there when the
 * wait was given up.
 * Method: inner ones of all homes, fired by all workers, some with a deadline that often comes first. */
Test(deferred_stress, inner_of_another_home_is_waited_for, .timeout = 120) {
    run_on_four_and_on_one(wait_for_other_homes);
}

/* ---- processors ---- */

static int add_one(void *context, void *request, pirn_result *out) {
    unsigned *count = context;
    ++*count; /* plain: serial, and at home */
    if (*count % 16 == 0) {
        pirn_yield();
    }
    out->value = make_value(*(unsigned *)request + 1);
    out->drop = destroy_value;
    return 0;
}

typedef struct client {
    pirn_processor *processor;
    uint64_t calls, answered;
} client;

static int call_often(void *arg) {
    client *c = arg;
    for (uint64_t i = 0; i < c->calls; i++) {
        pirn_result out;
        pirn_time deadline = i % 4 == 0 ? pirn_after((int64_t)(i % 64) * PIRN_MICROSECOND) : PIRN_FOREVER;
        unsigned number = (unsigned)i;
        int code = pirn_processor_call(c->processor, make_value(number), destroy_value, &out, deadline);
        TEST_CHECK(code == 0 || (i % 4 == 0 && (code == PIRN_ETIMEDOUT || code == PIRN_EAGAIN)) ||
                   code == PIRN_ECLOSED);
        TEST_CHECK(code != 0 || *(unsigned *)out.value == number + 1);
        c->answered += code == 0;
        pirn_result_drop(&out);
    }
    return 0;
}

static int call_from_everywhere(void *arg) {
    (void)arg;
    unsigned served = 0;
    pirn_processor_options options;
    pirn_processor_options_init(&options);
    options.queue_max = 2;
    pirn_processor *processor = pirn_processor_create(add_one, &served, &options);
    client clients[2 * WORKERS];
    pirn_tasklet tasklets[2 * WORKERS];
    for (int i = 0; i < 2 * WORKERS; i++) {
        clients[i] = (client){.processor = processor, .calls = pirn_test_count(4000, 200)};
        tasklets[i] = start(call_often, &clients[i], i);
    }
    uint64_t answered = 0;
    for (int i = 0; i < 2 * WORKERS; i++) {
        if (i == 2 * WORKERS - 2) {
            pirn_processor_stop(processor); /* under the last two */
        }
        join(tasklets[i]);
        answered += clients[i].answered;
    }
    TEST_CHECK(pirn_processor_join(processor, PIRN_FOREVER) == 0);
    TEST_CHECK(answered > 0 && served >= answered);
    expect_nothing_left();
    return 0;
}

/* Goal: a serial processor answers callers of all workers, some of whom give up, through a queue of two, and a stop
 * under load; no request or answer is lost or destroyed twice. Method: eight clients; the action counts without
 * atomics. */
Test(deferred_stress, processor_serves_all_workers, .timeout = 120) {
    run_on_four_and_on_one(call_from_everywhere);
}
