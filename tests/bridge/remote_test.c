/* SPDX-License-Identifier: MIT
 *
 * What: tasklets, channels and deferreds between workers.
 */
#include "sockets.h"

static const test_mode two_workers = {"threaded, reactor performs", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, 2};

static int join(pirn_tasklet task) {
    int result = -1;
    TEST_CHECK(pirn_join(task, &result, PIRN_FOREVER) == 0);
    return result;
}

static int my_worker(void *arg) {
    (void)arg;
    return 100 + pirn_worker();
}

static int sleep_for_ever(void *arg) {
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER - 1);
}

static int life_elsewhere(void *arg) {
    (void)arg;
    TEST_CHECK(join(spawn_joinable(my_worker, NULL, 1)) == 101);
    pirn_tasklet task = spawn_joinable(sleep_for_ever, NULL, 1);
    int result = 7;
    TEST_CHECK(pirn_join(task, &result, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT && result == 7);
    TEST_CHECK(pirn_join(task, &result, PIRN_NOW) == PIRN_EAGAIN);
    TEST_CHECK(pirn_cancel(task) == 0);
    TEST_CHECK(join(task) == PIRN_ECANCELED);
    TEST_CHECK(pirn_join(task, &result, PIRN_FOREVER) == PIRN_EDEAD);
    task = spawn_joinable(sleep_for_ever, NULL, 1);
    TEST_CHECK(pirn_throw(task, PIRN_EFAILED, true) == 0);
    TEST_CHECK(join(task) == PIRN_EFAILED);
    task = spawn_joinable(my_worker, NULL, 1);
    TEST_CHECK(pirn_release(task) == 0);
    TEST_CHECK(pirn_join(task, &result, PIRN_FOREVER) == PIRN_EDEAD || result == 7);
    return 0;
}

Test(remote, life_of_a_tasklet_on_another_worker) {
    /* Goal: spawn, join with and without a deadline, cancel, throw and release across workers.
     * Method: worker 0 does each to tasklets of worker 1. */
    cr_assert(test_run_in(&two_workers, life_elsewhere, NULL) == 0);
}

static int joins_race_with_ends(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(5000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_tasklet task = spawn_joinable(my_worker, NULL, 1);
        int result = 0;
        int error = pirn_join(task, &result, pirn_after((int64_t)(i % 50) * PIRN_MICROSECOND));
        TEST_CHECK(error == 0 || error == PIRN_ETIMEDOUT || error == PIRN_EAGAIN);
        TEST_CHECK(error != 0 || result == 101);
        if (error != 0) {
            TEST_CHECK(join(task) == 101);
        }
    }
    return 0;
}

Test(remote, join_deadline_races_with_the_end, .timeout = 60) {
    /* Goal: a join that gives up while its answer is on the way loses nothing and leaks nothing.
     * Method: thousands of joins with deadlines about as long as the answer takes. */
    cr_assert(test_run_in(&two_workers, joins_race_with_ends, NULL) == 0);
}

/* ---- channels between workers ---- */

typedef struct flow {
    pirn_channel *channel[2];
    uint64_t per_sender;
    uint64_t received, sum;
} flow;

static int send_numbers(void *arg) {
    flow *f = arg;
    for (uint64_t i = 1; i <= f->per_sender; i++) {
        TEST_CHECK(pirn_send(f->channel[i % 2], &i, PIRN_FOREVER) == 0);
    }
    return 0;
}

typedef struct sink {
    flow *flow;
    uint64_t received, sum, timeouts;
} sink;

/* Receive from both channels, with deadlines that often come first, until both are closed. */
static int receive_numbers(void *arg) {
    sink *s = arg;
    unsigned random = (unsigned)(uintptr_t)arg;
    bool open[2] = {true, true};
    while (open[0] || open[1]) {
        uint64_t value[2];
        pirn_case cases[2] = {
            {.channel = open[0] ? s->flow->channel[0] : NULL, .direction = PIRN_RECV, .elem = &value[0]},
            {.channel = open[1] ? s->flow->channel[1] : NULL, .direction = PIRN_RECV, .elem = &value[1]}};
        random = random * 1103515245u + 12345u;
        int at = pirn_select(cases, 2, pirn_after((random >> 16) % 30 * PIRN_MICROSECOND));
        if (at == PIRN_ETIMEDOUT) {
            s->timeouts++;
        } else {
            TEST_CHECK(at >= 0);
            if (cases[at].status == PIRN_ECLOSED) {
                open[at] = false;
            } else {
                s->received++;
                s->sum += value[at];
            }
        }
    }
    return 0;
}

static int conserve(void *arg) {
    size_t capacity = *(size_t *)arg;
    flow f = {.per_sender = pirn_test_count(20000, 1000)};
    f.channel[0] = pirn_channel_create(sizeof(uint64_t), capacity);
    f.channel[1] = pirn_channel_create(sizeof(uint64_t), capacity);
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    int workers = (int)info.workers;
    pirn_tasklet sender[4], receiver[4];
    sink sinks[4];
    for (int i = 0; i < 4; i++) {
        sinks[i] = (sink){.flow = &f};
        receiver[i] = spawn_joinable(receive_numbers, &sinks[i], i % workers);
        sender[i] = spawn_joinable(send_numbers, &f, (i + i / 2) % workers);
    }
    for (int i = 0; i < 4; i++) {
        TEST_CHECK(join(sender[i]) == 0);
    }
    pirn_channel_close(f.channel[0]);
    pirn_channel_close(f.channel[1]);
    uint64_t received = 0, sum = 0;
    for (int i = 0; i < 4; i++) {
        TEST_CHECK(join(receiver[i]) == 0);
        received += sinks[i].received;
        sum += sinks[i].sum;
    }
    TEST_CHECK(received == 4 * f.per_sender);
    TEST_CHECK(sum == 4 * (f.per_sender * (f.per_sender + 1) / 2));
    pirn_channel_destroy(f.channel[0]);
    pirn_channel_destroy(f.channel[1]);
    return 0;
}

Test(remote, channels_conserve_values_between_workers, .timeout = 120) {
    /* Goal: every value sent is received once, whatever deadlines and selects do (rules 13 and 14).
     * Method: four senders, four selecting receivers with tiny deadlines, on both workers; rendezvous and buffered. */
    size_t rendezvous = 0, buffered = 3;
    test_run_everywhere(conserve, &rendezvous);
    test_run_everywhere(conserve, &buffered);
}

static int killed_receiver(void *arg) {
    uint64_t value;
    for (;;) {
        int error = pirn_recv(arg, &value, PIRN_FOREVER);
        if (error != 0) {
            return error;
        }
    }
}

static _Atomic unsigned dropped;

static void count_drop(void *elem) {
    (void)elem;
    dropped++;
}

static int kill_receivers(void *arg) {
    (void)arg;
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.drop = count_drop;
    pirn_channel *channel = pirn_channel_create_with(sizeof(uint64_t), 0, &options);
    uint64_t rounds = pirn_test_count(3000, 200);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_tasklet receiver = spawn_joinable(killed_receiver, channel, 1);
        int sent = pirn_send(channel, &i, pirn_after(PIRN_SECOND));
        TEST_CHECK(sent == 0);
        TEST_CHECK(pirn_cancel(receiver) == 0);
        TEST_CHECK(join(receiver) == PIRN_ECANCELED);
        TEST_CHECK(pirn_channel_balance(channel) == 0);
    }
    pirn_channel_destroy(channel);
    return 0;
}

Test(remote, cancelled_receivers_elsewhere_leave_the_channel_clean, .timeout = 120) {
    /* Goal: cancel against claim: the balance is 0 after each, nobody waits for a dead receiver, nothing is dropped
     * twice.
     * Method: send to a receiver on the other worker, cancel it at once, thousands of times. */
    dropped = 0;
    cr_assert(test_run_in(&two_workers, kill_receivers, NULL) == 0);
    cr_assert(dropped <= pirn_test_count(3000, 200));
}

/* ---- deferreds between workers ---- */

static int fire_it(void *arg) {
    pirn_deferred *deferred = arg;
    int error = pirn_deferred_fire(deferred, (void *)(uintptr_t)(42 + pirn_worker()), NULL);
    pirn_deferred_release(deferred);
    return error;
}

static int await_it(void *arg) {
    pirn_deferred *deferred = arg;
    pirn_result result;
    int error = pirn_await(deferred, &result, PIRN_FOREVER);
    TEST_CHECK(error == 0 && (uintptr_t)result.value == 43);
    pirn_deferred_release(deferred);
    return 0;
}

static int deferreds_cross(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(3000, 100);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_deferred *deferred = pirn_deferred_create(NULL, NULL);
        pirn_tasklet there = spawn_joinable(await_it, pirn_deferred_retain(deferred), 1);
        pirn_tasklet firer = spawn_joinable(fire_it, pirn_deferred_retain(deferred), 1);
        pirn_result result;
        TEST_CHECK(pirn_await(deferred, &result, PIRN_FOREVER) == 0 && (uintptr_t)result.value == 43);
        TEST_CHECK(join(there) == 0 && join(firer) == 0);
        TEST_CHECK(pirn_deferred_fire(deferred, NULL, NULL) == PIRN_EALREADY);
        pirn_deferred_release(deferred);
    }
    return 0;
}

Test(remote, deferred_fired_elsewhere_wakes_both_homes, .timeout = 60) {
    /* Goal: a deferred of worker 0, fired and awaited on worker 1 and awaited at home; a second fire is refused (rule
     * 12).
     * Method: thousands of them, one after the other. */
    cr_assert(test_run_in(&two_workers, deferreds_cross, NULL) == 0);
}

static int await_with_deadline(void *arg) {
    pirn_result result;
    int error = pirn_await(arg, &result, pirn_after(20 * PIRN_MICROSECOND));
    pirn_deferred_release(arg);
    return error == 0 || error == PIRN_ETIMEDOUT ? 0 : error;
}

static int late_results(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(3000, 100);
    dropped = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_deferred *deferred = pirn_deferred_create(NULL, NULL);
        pirn_tasklet there = spawn_joinable(await_with_deadline, pirn_deferred_retain(deferred), 1);
        TEST_CHECK(pirn_sleep_until(pirn_after((int64_t)(i % 40) * PIRN_MICROSECOND)) == 0);
        TEST_CHECK(pirn_deferred_fire(deferred, &dropped, count_drop) == 0);
        pirn_deferred_release(deferred);
        TEST_CHECK(join(there) == 0);
    }
    /* The last releases are messages to this worker: they are read before the answer of a join that is sent after
     * them. */
    TEST_CHECK(join(spawn_joinable(my_worker, NULL, 1)) == 101);
    TEST_CHECK(dropped == rounds);
    return 0;
}

Test(remote, late_result_is_destroyed_once, .timeout = 60) {
    /* Goal: an await elsewhere that gives up while the result is on its way: the payload's destructor runs once (rule
     * 13).
     * Method: deadlines about as long as the fire takes; destructors counted. */
    cr_assert(test_run_in(&two_workers, late_results, NULL) == 0);
}

static int offload_value(void *arg, pirn_result *out) {
    out->value = arg;
    return 0;
}

static int offload_hops(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(5000, 200);
    for (uintptr_t i = 0; i < rounds; i++) {
        pirn_deferred *deferred = pirn_offload(offload_value, (void *)i, NULL);
        pirn_result result;
        TEST_CHECK(pirn_await(deferred, &result, PIRN_FOREVER) == 0 && (uintptr_t)result.value == i);
        pirn_deferred_release(deferred);
    }
    return 0;
}

Test(remote, offloaded_results_come_back_to_parked_tasklets, .timeout = 60) {
    /* Goal: the bridge hands every result of another thread back to the tasklet parked for it, no wake-up is lost
     * (rules 1, 7).
     * Method: thousands of jobs one after the other: a lost wake-up would hang, there is no other one. */
    test_run_everywhere(offload_hops, NULL);
}

static int already_fired(void *arg) {
    (void)arg;
    uint64_t rounds = pirn_test_count(100000, 1000);
    pirn_snapshot *before, *after;
    pirn_deferred *deferred = pirn_deferred_succeed((void *)7, NULL);
    TEST_CHECK(pirn_inspect(0, &before, PIRN_FOREVER) == 0);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_result result;
        TEST_CHECK(pirn_await(deferred, &result, PIRN_FOREVER) == 0 && result.value == (void *)7);
    }
    TEST_CHECK(pirn_inspect(0, &after, PIRN_FOREVER) == 0);
    TEST_CHECK(after->workers[0].switches - before->workers[0].switches < 10);
    pirn_snapshot_drop(before);
    pirn_snapshot_drop(after);
    pirn_deferred_release(deferred);
    return 0;
}

Test(remote, await_of_a_fired_deferred_never_parks) {
    /* Goal: the first seed's hang: block_on of an already fired deferred returns without parking, 1e5 times, in every
     * mode.
     * Method: the worker's count of switches. */
    test_run_everywhere(already_fired, NULL);
}
