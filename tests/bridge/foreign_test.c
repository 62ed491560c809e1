/* SPDX-License-Identifier: MIT
 *
 * What: calls from threads that pirn did not start: posting, spawning, what an open handle means to the judge of
 *       deadlocks, and the end of the runtime around them.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "captured.h"
#include "live.h"
#include "modes.h"
#include "sched.h"

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {
        TEST_CHECK(errno == EINTR);
    }
}

static pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t thread;
    TEST_CHECK(pthread_create(&thread, NULL, body, arg) == 0);
    return thread;
}

/* ---- posting ---- */

typedef struct talk {
    pirn_foreign *foreign;
    pirn_channel *channel;
    sem_t answered;
    uint64_t rounds;
} talk;

static void *post_rounds(void *arg) {
    talk *one = arg;
    for (uint64_t i = 0; i < one->rounds; i++) {
        int code;
        do { /* until the receiver stands there again */
            code = pirn_post(one->foreign, one->channel, &i);
        } while (code == PIRN_EAGAIN);
        TEST_CHECK(code == 0);
        wait_for(&one->answered);
    }
    return NULL;
}

static int receive_rounds(void *arg) {
    (void)arg;
    talk one = {.foreign = pirn_foreign_open(),
                .channel = pirn_channel_create(sizeof(uint64_t), 0),
                .rounds = pirn_test_count(2000, 200)};
    TEST_CHECK(one.foreign && one.channel);
    sem_init(&one.answered, 0, 0);
    pthread_t thread = start(post_rounds, &one);
    for (uint64_t i = 0; i < one.rounds; i++) {
        uint64_t value = UINT64_MAX;
        TEST_CHECK(pirn_recv(one.channel, &value, PIRN_FOREVER) == 0);
        TEST_CHECK(value == i);
        sem_post(&one.answered);
    }
    pthread_join(thread, NULL);
    pirn_foreign_close(one.foreign);
    pirn_channel_destroy(one.channel);
    return 0;
}

/* Goal: a post reaches a parked receiver and wakes its sleeping worker, and while a handle is open a program that waits
 *       for nothing else is not called a deadlock.
 * Method: main parks without a deadline, again and again, with nothing alive but the handle; a plain thread posts. */
Test(foreign, post_wakes_a_parked_receiver, .timeout = 120) {
    captured_begin();
    int results[TEST_MODES];
    for (size_t i = 0; i < TEST_MODES; i++) {
        results[i] = test_run_in(&test_modes[i], receive_rounds, NULL);
    }
    const char *text = captured_end();
    for (size_t i = 0; i < TEST_MODES; i++) {
        cr_assert_eq(results[i], 0, "%s: %d, %s", test_modes[i].name, results[i], text);
    }
    cr_assert_null(strstr(text, "nothing can wake"), "%s", text);
    cr_assert_eq(pn_outside_count(), 0);
}

static void *post_answers(void *arg) {
    talk *one = arg;
    uint64_t value = 5;
    TEST_CHECK(pirn_post(one[0].foreign, one[0].channel, &value) == PIRN_EAGAIN);
    TEST_CHECK(pirn_post(one[0].foreign, one[1].channel, &value) == 0);
    TEST_CHECK(pirn_post(one[0].foreign, one[1].channel, &value) == PIRN_EAGAIN);
    TEST_CHECK(pirn_post(one[0].foreign, one[2].channel, &value) == PIRN_ECLOSED);
    TEST_CHECK(pirn_post(one[0].foreign, one[3].channel, &value) == PIRN_EINVAL);
    return NULL;
}

static int answers(void *arg) {
    (void)arg;
    pirn_channel_options local;
    pirn_channel_options_init(&local);
    local.flags = PIRN_CHANNEL_LOCAL;
    talk all[4] = {{.foreign = pirn_foreign_open(), .channel = pirn_channel_create(sizeof(uint64_t), 0)},
                   {.channel = pirn_channel_create(sizeof(uint64_t), 1)},
                   {.channel = pirn_channel_create(sizeof(uint64_t), 1)},
                   {.channel = pirn_channel_create_with(sizeof(uint64_t), 1, &local)}};
    pirn_channel_close(all[2].channel);
    pthread_join(start(post_answers, all), NULL);
    uint64_t value = 0;
    TEST_CHECK(pirn_recv(all[1].channel, &value, PIRN_NOW) == 0 && value == 5);
    TEST_CHECK(pirn_channel_length(all[3].channel) == 0);
    for (int i = 0; i < 4; i++) {
        pirn_channel_destroy(all[i].channel);
    }
    pirn_foreign_close(all[0].foreign);
    pirn_foreign_close(NULL);
    return 0;
}

/* Goal: a post that cannot go now says why, at once.
 * Method: nobody waits; the buffer is full; closed; local. The value is with its owner but for the one success. */
Test(foreign, post_that_cannot_go_says_why, .timeout = 60) {
    test_run_everywhere(answers, NULL);
}

static int post_from_a_tasklet(void *arg) {
    (void)arg;
    uint64_t value = 9;
    pirn_foreign *foreign = pirn_foreign_open();
    pirn_channel *channel = pirn_channel_create(sizeof value, 1);
    TEST_CHECK(pirn_post(foreign, channel, &value) == 0);
    value = 0;
    TEST_CHECK(pirn_recv(channel, &value, PIRN_NOW) == 0 && value == 9);
    pirn_foreign_close(foreign);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: "any thread" includes a worker's.
 * Method: a tasklet posts to itself through a buffer. */
Test(foreign, post_works_in_a_tasklet_too, .timeout = 60) {
    test_run_everywhere(post_from_a_tasklet, NULL);
}

/* ---- spawning ---- */

typedef struct spawn_plan {
    pirn_foreign *foreign;
    pirn_channel *done;
    int worker; /* where it ran */
} spawn_plan;

static int tell_done(void *arg) {
    spawn_plan *plan = arg;
    plan->worker = pirn_worker();
    TEST_CHECK(pirn_self().id != 0);
    return pirn_send(plan->done, NULL, PIRN_FOREVER);
}

static void *spawn_one(void *arg) {
    spawn_plan *plan = arg;
    TEST_CHECK(pirn_foreign_spawn(plan->foreign, tell_done, plan) == 0);
    return NULL;
}

static int spawn_from_outside(void *arg) {
    (void)arg;
    spawn_plan plan = {.foreign = pirn_foreign_open(), .done = pirn_channel_create(0, 0), .worker = -1};
    pthread_t thread = start(spawn_one, &plan);
    TEST_CHECK(pirn_recv(plan.done, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(plan.worker >= 0);
    pthread_join(thread, NULL);
    pirn_foreign_close(plan.foreign);
    pirn_channel_destroy(plan.done);
    return 0;
}

/* Goal: a foreign thread can start a tasklet, which is one like any other.
 * Method: it tells its worker and sends into a channel. */
Test(foreign, spawned_tasklet_runs_on_a_worker, .timeout = 60) {
    test_run_everywhere(spawn_from_outside, NULL);
    cr_assert_eq(pn_outside_count(), 0);
}

enum { FLOOD = 65536 };

static int flood_ran; /* worker 0 */

static int count_flood(void *arg) {
    (void)arg;
    flood_ran++;
    return 0;
}

static void *flood(void *arg) {
    pirn_foreign *foreign = arg;
    for (int i = 0; i < FLOOD; i++) {
        TEST_CHECK(pirn_foreign_spawn(foreign, count_flood, NULL) == 0);
    }
    TEST_CHECK(pirn_foreign_spawn(foreign, count_flood, NULL) == PIRN_ELIMIT);
    return NULL;
}

static int flooded(void *arg) {
    (void)arg;
    pirn_foreign *foreign = pirn_foreign_open();
    flood_ran = 0;
    /* Blocks the one worker, so that nothing gets its turn meanwhile. */
    pthread_join(start(flood, foreign), NULL);
    while (flood_ran < FLOOD) {
        pirn_yield();
    }
    TEST_CHECK(pirn_foreign_spawn(foreign, count_flood, NULL) == 0);
    pirn_foreign_close(foreign);
    return 0;
}

/* Goal: a thread that starts tasklets faster than they can run meets the bound, and all that were accepted run.
 * Method: one worker, held up while a plain thread spawns to the bound and once more; then room again. */
Test(foreign, spawns_beyond_the_bound_are_refused, .timeout = 120) {
    captured_begin(); /* the watchdog's line on main, which blocks */
    int result = test_run_in(&test_modes[TEST_MODES - 1], flooded, NULL);
    const char *text = captured_end();
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_eq(flood_ran, FLOOD + 1);
}

/* ---- deadlock ---- */

static void *close_after(void *arg) {
    talk *one = arg;
    wait_for(&one->answered);
    pirn_foreign_close(one->foreign);
    return NULL;
}

static int wait_in_vain(void *arg) {
    (void)arg;
    talk one = {.foreign = pirn_foreign_open(), .channel = pirn_channel_create(0, 0)};
    sem_init(&one.answered, 0, 0);
    pthread_t thread = start(close_after, &one);
    sem_post(&one.answered);
    TEST_CHECK(pirn_recv(one.channel, NULL, PIRN_FOREVER) == PIRN_EDEADLK);
    pthread_join(thread, NULL);
    pirn_channel_destroy(one.channel);
    return 0;
}

/* Goal: when the last handle is closed nobody outside can wake main any more, and that is told, not slept through.
 * Method: main waits for ever; a plain thread closes the handle without a post, at any moment around main's falling
 *       asleep. */
Test(foreign, closing_the_last_handle_lets_a_deadlock_be_seen, .timeout = 120) {
    uint64_t rounds = pirn_test_count(25, 3);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < TEST_MODES; i++) {
            captured_begin();
            int result = test_run_in(&test_modes[i], wait_in_vain, NULL);
            const char *text = captured_end();
            cr_assert(result == 0 || result == PIRN_EDEADLK, "%s: %d, %s", test_modes[i].name, result, text);
            cr_assert_not_null(strstr(text, "nothing can wake"), "%s", text);
        }
    }
}

/* ---- the end of the runtime ---- */

static int open_and_leave(void *arg) {
    *(pirn_foreign **)arg = pirn_foreign_open();
    TEST_CHECK(*(pirn_foreign **)arg);
    return 0;
}

/* Goal: a handle outlives its runtime: calls say so and touch nothing of it, and it counts as nobody's hope any more.
 * Method: use it after pirn_run has returned, with a channel that is gone; keep it over a second run that deadlocks. */
Test(foreign, calls_after_the_runtime_give_closed, .timeout = 60) {
    cr_assert_null(pirn_foreign_open(), "no runtime, no handle");
    for (size_t i = 0; i < TEST_MODES; i++) {
        pirn_foreign *foreign = NULL;
        cr_assert_eq(test_run_in(&test_modes[i], open_and_leave, &foreign), 0);
        cr_assert_eq(pn_outside_count(), 0);
        cr_assert_eq(pirn_post(foreign, NULL, NULL), PIRN_ECLOSED);
        cr_assert_eq(pirn_foreign_spawn(foreign, tell_done, NULL), PIRN_ECLOSED);
        captured_begin();
        int result = test_run_in(&test_modes[i], wait_in_vain, NULL);
        const char *text = captured_end();
        cr_assert(result == 0 || result == PIRN_EDEADLK, "%s", text);
        cr_assert_eq(pirn_post(foreign, NULL, NULL), PIRN_ECLOSED, "of the old runtime, not of the new");
        pirn_foreign_close(foreign);
    }
    cr_assert_null(pirn_foreign_open());
}

enum { CALLERS = 3 };

typedef struct storm {
    pirn_foreign *foreign;
    pirn_channel *channel;
    pthread_t callers[CALLERS];
    sem_t under_way; /* a caller has got through once */
} storm;

/* ---- deferreds ---- */

static _Atomic(unsigned) values_dropped, callbacks_run;

static void count_drop(void *value) {
    (void)value;
    values_dropped++;
}

static pirn_deferred *count_callback(void *context, pirn_result *result) {
    (void)context, (void)result;
    callbacks_run++;
    return NULL;
}

typedef struct promise {
    pirn_foreign *foreign;
    pirn_deferred *deferred; /* the thread's hold */
} promise;

static void *keep_a_promise(void *arg) {
    promise *one = arg;
    usleep(2000);
    TEST_CHECK(pirn_deferred_add_both(one->deferred, count_callback, NULL) == 0);
    TEST_CHECK(pirn_deferred_fire(one->deferred, &values_dropped, count_drop) == 0);
    pirn_deferred_release(one->deferred);
    pirn_foreign_close(one->foreign);
    return NULL;
}

static int await_a_promise(void *arg) {
    promise *one = arg;
    pirn_result out;
    one->foreign = pirn_foreign_open();
    one->deferred = pirn_deferred_create(NULL, NULL);
    pirn_deferred *ours = pirn_deferred_retain(one->deferred);
    pthread_t thread = start(keep_a_promise, one);
    TEST_CHECK(pirn_await(ours, &out, PIRN_FOREVER) == 0 && out.value == &values_dropped);
    pirn_deferred_release(ours);
    pthread_join(thread, NULL);
    one->deferred = pirn_deferred_create(NULL, NULL); /* left to main, which has it when the runtime is gone */
    return 0;
}

/* Goal: a foreign thread may add to, fire and release a deferred while the runtime runs; when it is over the same calls
 *       say so, and destroy what they were given.
 * Method: a thread that fires what a tasklet awaits; then main, after pirn_run. */
Test(foreign, deferred_is_fired_from_outside_and_outlives_the_runtime) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        promise one;
        values_dropped = callbacks_run = 0;
        cr_assert_eq(test_run_in(&test_modes[i], await_a_promise, &one), 0);
        cr_assert_eq(values_dropped, 1);
        cr_assert_eq(callbacks_run, 1);
        cr_assert_eq(pirn_deferred_add_both(one.deferred, count_callback, NULL), PIRN_ECLOSED);
        cr_assert_eq(pirn_deferred_cancel(one.deferred), PIRN_ECLOSED);
        cr_assert_eq(pirn_deferred_fire(one.deferred, &values_dropped, count_drop), PIRN_ECLOSED);
        cr_assert_eq(values_dropped, 2);
        pirn_deferred_release(one.deferred);
        cr_assert_null(pirn_deferred_create_at(0, NULL, NULL));
    }
}

static int make_for_the_last_worker(void *arg) {
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    *(pirn_deferred **)arg = pirn_deferred_create_at((int)info.workers - 1, NULL, NULL);
    return 0;
}

static void *use_the_old_one(void *arg) {
    pirn_deferred *old = arg;
    TEST_CHECK(pirn_deferred_add_both(old, count_callback, NULL) == PIRN_ECLOSED);
    TEST_CHECK(pirn_deferred_fire(old, &values_dropped, count_drop) == PIRN_ECLOSED);
    return NULL;
}

static int use_an_old_deferred(void *arg) {
    pirn_deferred *old = *(pirn_deferred **)arg;
    pthread_t thread = start(use_the_old_one, old);
    pthread_join(thread, NULL);
    TEST_CHECK(pirn_deferred_cancel(old) == PIRN_ECLOSED);
    TEST_CHECK(pirn_deferred_fire(old, &values_dropped, count_drop) == PIRN_ECLOSED);
    pirn_deferred_release(old);
    pirn_snapshot *snapshot;
    TEST_CHECK(pirn_inspect(0, &snapshot, PIRN_FOREVER) == 0 && snapshot->deferreds == 0);
    pirn_snapshot_drop(snapshot);
    return 0;
}

/* Goal: a deferred of an earlier runtime is dead in the next, on its workers too, whatever their number.
 * Method: made for the second worker; used by a foreign thread and a tasklet of each kind of runtime after it. */
Test(foreign, deferred_of_an_earlier_runtime_is_dead) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        pirn_deferred *old = NULL;
        values_dropped = callbacks_run = 0;
        cr_assert_eq(test_run_in(&test_modes[0], make_for_the_last_worker, &old), 0);
        cr_assert_eq(test_run_in(&test_modes[i], use_an_old_deferred, &old), 0);
        cr_assert_eq(values_dropped, 2);
        cr_assert_eq(callbacks_run, 0);
    }
}

static void *fire_until_closed(void *arg) {
    storm *all = arg;
    for (uint64_t i = 0;; i++) {
        pirn_deferred *d = pirn_deferred_create_at(0, NULL, NULL);
        if (!d) {
            return NULL;
        }
        (void)pirn_deferred_add_both(d, count_callback, NULL);
        (void)pirn_deferred_fire(d, &values_dropped, count_drop);
        pirn_deferred_release(d);
        if (i == 1) {
            sem_post(&all->under_way);
        }
        usleep(20); /* three threads make messages faster than one worker can take them */
    }
}

static int end_amid_promises(void *arg) {
    storm *all = arg;
    for (int i = 0; i < CALLERS; i++) {
        all->callers[i] = start(fire_until_closed, all);
    }
    for (int i = 0; i < CALLERS; i++) {
        wait_for(&all->under_way);
    }
    return pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
}

/* Goal: as below, for deferreds, without a handle.
 * Method: three threads make, fire and release deferreds until they get none; main returns meanwhile, many times. */
Test(foreign, runtime_ends_amid_deferreds_of_foreign_threads, .timeout = 200) {
    uint64_t rounds = pirn_test_count(10, 2);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < TEST_MODES; i++) {
            static storm all;
            sem_init(&all.under_way, 0, 0);
            cr_assert_eq(test_run_in(&test_modes[i], end_amid_promises, &all), 0);
            for (int caller = 0; caller < CALLERS; caller++) {
                cr_assert_eq(pthread_join(all.callers[caller], NULL), 0);
            }
        }
    }
}

/* ---- the end ---- */

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

/* Spawns are refused as soon as main has returned; posts until all tasklets are over. */
static void *call_until_closed(void *arg) {
    storm *all = arg;
    bool may_spawn = true;
    for (uint64_t i = 0;; i++) {
        bool spawn = may_spawn && i % 2 == 1;
        int code =
            spawn ? pirn_foreign_spawn(all->foreign, do_nothing, NULL) : pirn_post(all->foreign, all->channel, &i);
        if (code == PIRN_ECLOSED && !spawn) {
            return NULL;
        }
        may_spawn = may_spawn && code != PIRN_ECLOSED;
        TEST_CHECK(code == 0 || code == PIRN_EAGAIN || code == PIRN_ELIMIT || !may_spawn);
        if (i == 1) {
            sem_post(&all->under_way);
        }
    }
}

static int leave_in_the_middle(void *arg) {
    storm *all = arg;
    uint64_t value;
    all->foreign = pirn_foreign_open();
    all->channel = pirn_channel_create(sizeof value, 4);
    for (int i = 0; i < CALLERS; i++) {
        all->callers[i] = start(call_until_closed, all);
    }
    for (int i = 0; i < CALLERS; i++) {
        wait_for(&all->under_way);
    }
    (void)pirn_recv(all->channel, &value, pirn_after(PIRN_MILLISECOND));
    return 0;
}

/* Goal: a runtime may end in the middle of foreign calls: none of them touches what is gone, and none holds the end up.
 * Method: three threads post and spawn until they are told that it is over; main returns meanwhile, many times. */
Test(foreign, runtime_ends_in_the_middle_of_calls, .timeout = 200) {
    uint64_t rounds = pirn_test_count(10, 2);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < TEST_MODES; i++) {
            static storm all;
            sem_init(&all.under_way, 0, 0);
            cr_assert_eq(test_run_in(&test_modes[i], leave_in_the_middle, &all), 0);
            for (int caller = 0; caller < CALLERS; caller++) {
                cr_assert_eq(pthread_join(all.callers[caller], NULL), 0);
            }
            pirn_foreign_close(all.foreign);
            pirn_channel_destroy(all.channel);
            cr_assert_eq(pn_outside_count(), 0);
        }
    }
}

/* ---- bounds ---- */

typedef struct call_flood {
    pirn_deferred *made[PIRN_FOREIGN_CALLS_MAX + 1];
    unsigned count;
    int add_code, cancel_code, fire_code;
    _Atomic bool done;
} call_flood;

static pirn_deferred *pass(void *context, pirn_result *result) {
    (void)context;
    (void)result;
    return NULL;
}

static void *make_deferreds(void *arg) {
    call_flood *all = arg;
    while (all->count <= PIRN_FOREIGN_CALLS_MAX) {
        pirn_deferred *made = pirn_deferred_create_at(0, NULL, NULL);
        if (!made) {
            break;
        }
        all->made[all->count++] = made;
    }
    all->add_code = pirn_deferred_add_both(all->made[0], pass, NULL);
    all->cancel_code = pirn_deferred_cancel(all->made[0]);
    all->fire_code = pirn_deferred_fire(all->made[0], NULL, NULL);
    for (unsigned i = 0; i < all->count; i++) {
        pirn_deferred_release(all->made[i]);
    }
    all->done = true;
    return NULL;
}

static bool marker_arrived;

static void deliver_marker(pn_message *message) {
    (void)message;
    marker_arrived = true;
}

/* What was posted to this worker before has been delivered, for its inbox is first in, first out. */
static void wait_for_delivery(void) {
    static pn_message marker;
    marker_arrived = false;
    marker.deliver = deliver_marker;
    pn_below->post(0, &marker);
    while (!marker_arrived) {
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
    }
}

static int keep_worker_0_while_flooded(void *arg) {
    (void)arg;
    static call_flood all;
    for (int round = 0; round < 2; round++) {
        all.count = 0;
        all.done = false;
        pthread_t thread = start(make_deferreds, &all);
        while (!all.done) { /* in one slice: nothing is delivered */
        }
        pthread_join(thread, NULL);
        TEST_CHECK(all.count == PIRN_FOREIGN_CALLS_MAX);
        TEST_CHECK(all.add_code == PIRN_ELIMIT && all.cancel_code == PIRN_ELIMIT);
        TEST_CHECK(all.fire_code == 0);
        wait_for_delivery(); /* then the next round has the whole bound again */
        TEST_CHECK(pn_sched_self()->counts.deferreds == 0);
    }
    return 0;
}

/* Goal: foreign threads can't fill a worker's inbox without end: the call beyond the bound is refused, a fire and the
 *       releases never are, and what was delivered may be asked for again (rule 15).
 * Method: a worker that keeps busy while a thread makes deferreds for it until it is refused; twice. */
Test(foreign, calls_beyond_the_bound_are_refused, .timeout = 120) {
    test_run_everywhere(keep_worker_0_while_flooded, NULL);
}
