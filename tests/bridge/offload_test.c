/* SPDX-License-Identifier: MIT
 *
 * What: jobs on offload pools, in every mode: results, cancelling, bounds, closing, and a job that outlives the
 *       runtime. Jobs are held up by semaphores, never by time.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "captured.h"
#include "live.h"
#include "modes.h"
#include "offload.h"
#include "worker.h"

/* What a job is given and what became of it. Static in each test: a job may outlive the test's frames. */
typedef struct task {
    sem_t begun, go; /* the job says it runs; the test lets it end */
    _Atomic int runs, interrupts, drops, result_drops;
    int code; /* what work returns */
    uint64_t number;
} task;

static void task_init(task *one) {
    memset(one, 0, sizeof *one);
    sem_init(&one->begun, 0, 0);
    sem_init(&one->go, 0, 0);
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {
        TEST_CHECK(errno == EINTR);
    }
}

static void drop_task(void *arg) {
    ((task *)arg)->drops++;
}

static void drop_result(void *value) {
    ((task *)value)->result_drops++;
}

static int quick(void *arg, pirn_result *out) {
    task *one = arg;
    one->runs++;
    if (one->code != 0) {
        return pirn_result_fail(out, one->code, "task %llu failed", (unsigned long long)one->number);
    }
    *out = (pirn_result){.value = one, .drop = drop_result};
    return 0;
}

static int slow(void *arg, pirn_result *out) {
    task *one = arg;
    sem_post(&one->begun);
    wait_for(&one->go);
    return quick(arg, out);
}

static void interrupt_slow(void *arg) {
    task *one = arg;
    one->interrupts++;
    sem_post(&one->go);
}

static pirn_work work_of(pirn_pool *pool, pirn_work_fn work, task *arg) {
    return (pirn_work){.pool = pool, .work = work, .arg = arg, .drop = drop_task, .name = "test job"};
}

static pirn_deferred *submit(pirn_pool *pool, pirn_work_fn work, task *arg) {
    pirn_work all = work_of(pool, work, arg);
    pirn_deferred *deferred = pirn_offload_with(&all);
    TEST_CHECK(deferred);
    return deferred;
}

/* ---- results ---- */

static task good, bad;

static int result_and_failure(void *arg) {
    (void)arg;
    task_init(&good);
    task_init(&bad);
    bad.code = PIRN_EDB;
    bad.number = 7;
    pirn_result out;

    pirn_deferred *deferred = pirn_offload(quick, &good, drop_task);
    TEST_CHECK(pirn_await(deferred, &out, PIRN_FOREVER) == 0 && out.value == &good);
    TEST_CHECK(good.runs == 1 && good.drops == 1 && good.result_drops == 0);
    pirn_deferred_release(deferred);

    deferred = pirn_offload(quick, &bad, drop_task);
    TEST_CHECK(pirn_await(deferred, &out, PIRN_FOREVER) == PIRN_EDB);
    TEST_CHECK(strcmp(pirn_failure_message(out.failure), "task 7 failed") == 0);
    TEST_CHECK(bad.drops == 1);
    pirn_deferred_release(deferred);
    return 0;
}

/* Goal: a job's value or failure comes to the tasklet that awaits it; argument and result are destroyed once each.
 * Method: one of each on the runtime's pool. */
Test(offload, job_result_and_failure_come_home, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        cr_assert_eq(test_run_in(&test_modes[i], result_and_failure, NULL), 0);
        cr_assert_eq(good.result_drops, 1); /* not before: the pool's thread may hold the deferred a moment longer */
        cr_assert_eq(pn_outside_count(), 0);
    }
}

static int return_code_alone(void *arg, pirn_result *out) {
    out->value = arg;
    out->drop = drop_result;
    return PIRN_EINVAL;
}

static int code_alone(void *arg) {
    (void)arg;
    static task one;
    task_init(&one);
    pirn_result out;
    pirn_deferred *deferred = pirn_offload(return_code_alone, &one, NULL);
    TEST_CHECK(pirn_await(deferred, &out, PIRN_FOREVER) == PIRN_EINVAL && out.value == NULL);
    TEST_CHECK(one.result_drops == 1);
    pirn_deferred_release(deferred);
    return 0;
}

/* Goal: a code returned without a failure is the failure, and a value set beside it is destroyed, not delivered.
 * Method: a job that does both. */
Test(offload, returned_code_wins_over_a_value, .timeout = 60) {
    test_run_everywhere(code_alone, NULL);
}

static int tell_name(void *arg, pirn_result *out) {
    pthread_getname_np(pthread_self(), arg, 16);
    *out = (pirn_result){.value = arg};
    return 0;
}

static int thread_names(void *arg) {
    (void)arg;
    static char name[16];
    pirn_pool *pool = pirn_pool_create("a-long-pool-name", 1, 1);
    TEST_CHECK(pool);
    pirn_work work = {.pool = pool, .work = tell_name, .arg = name};
    pirn_deferred *deferred = pirn_offload_with(&work);
    TEST_CHECK(pirn_await(deferred, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(strcmp(name, "offload-a-long-") == 0);
    pirn_deferred_release(deferred);
    pirn_pool_close(pool);
    deferred = pirn_offload(tell_name, name, NULL);
    TEST_CHECK(pirn_await(deferred, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(strncmp(name, "offload-", 8) == 0 && name[8] >= '0' && name[8] <= '3' && name[9] == '\0');
    pirn_deferred_release(deferred);
    return 0;
}

/* Goal: a job runs on a thread of its pool, which a person recognises in top(1).
 * Method: jobs tell the name of their thread: the pool's cut at 15 bytes, the runtime's own numbered. */
Test(offload, threads_carry_the_pool_name, .timeout = 60) {
    test_run_everywhere(thread_names, NULL);
}

enum { ORDERED = 20 };

static int log_number(void *arg, pirn_result *out) {
    static _Atomic unsigned position;
    static task *log[ORDERED];
    log[position++ % ORDERED] = arg;
    *out = (pirn_result){.value = log};
    return 0;
}

static int in_order(void *arg) {
    (void)arg;
    static task gate, all[ORDERED];
    pirn_deferred *deferreds[ORDERED];
    pirn_pool *pool = pirn_pool_create("order", 1, ORDERED);
    task_init(&gate);
    pirn_deferred *held = submit(pool, slow, &gate);
    wait_for(&gate.begun);
    for (int i = 0; i < ORDERED; i++) {
        deferreds[i] = submit(pool, log_number, &all[i]);
    }
    sem_post(&gate.go);
    pirn_result out;
    for (int i = 0; i < ORDERED; i++) {
        TEST_CHECK(pirn_await(deferreds[i], &out, PIRN_FOREVER) == 0);
        TEST_CHECK(((task **)out.value)[i] == &all[i]);
        pirn_deferred_release(deferreds[i]);
    }
    TEST_CHECK(pirn_await(held, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(held);
    pirn_pool_close(pool);
    return 0;
}

/* Goal: first in, first out.
 * Method: one thread, held up until twenty jobs wait; each logs itself when it runs. */
Test(offload, queued_jobs_run_in_order, .timeout = 60) {
    test_run_everywhere(in_order, NULL);
}

/* ---- cancelling ---- */

static int cancel_queued(void *arg) {
    (void)arg;
    static task gate, waiting;
    task_init(&gate);
    task_init(&waiting);
    pirn_pool *pool = pirn_pool_create("cancel", 1, 4);
    pirn_deferred *held = submit(pool, slow, &gate);
    wait_for(&gate.begun);
    pirn_deferred *queued = submit(pool, quick, &waiting);
    TEST_CHECK(pirn_deferred_cancel(queued) == 0);
    TEST_CHECK(waiting.drops == 1);
    TEST_CHECK(pirn_await(queued, NULL, PIRN_NOW) == PIRN_ECANCELED);
    TEST_CHECK(pirn_deferred_cancel(queued) == 0);
    pirn_deferred_release(queued);
    sem_post(&gate.go);
    TEST_CHECK(pirn_await(held, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(held);
    pirn_pool_close(pool);
    TEST_CHECK(waiting.runs == 0 && waiting.drops == 1 && gate.drops == 1);
    return 0;
}

/* Goal: cancelling a queued job withdraws it: it never runs, its argument is destroyed now, its deferred fails at once.
 * Method: the pool's one thread is held up; look before it is let go, and again after. */
Test(offload, cancelled_queued_job_is_withdrawn, .timeout = 60) {
    test_run_everywhere(cancel_queued, NULL);
    cr_assert_eq(pn_outside_count(), 0);
}

static int cancel_running(void *arg) {
    (void)arg;
    static task running, next;
    task_init(&running);
    task_init(&next);
    pirn_pool *pool = pirn_pool_create("cancel", 1, 4);
    pirn_work work = work_of(pool, slow, &running);
    work.interrupt = interrupt_slow;
    pirn_deferred *deferred = pirn_offload_with(&work);
    wait_for(&running.begun);
    TEST_CHECK(pirn_deferred_cancel(deferred) == 0);
    TEST_CHECK(running.interrupts == 1);
    TEST_CHECK(pirn_await(deferred, NULL, PIRN_NOW) == PIRN_ECANCELED);
    pirn_deferred_release(deferred);
    /* The thread is free for the next job, and the late result of the first was destroyed before that began. */
    pirn_deferred *after = submit(pool, quick, &next);
    TEST_CHECK(pirn_await(after, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(running.drops == 1 && running.result_drops == 1);
    /* A job that is over is not interrupted any more. */
    TEST_CHECK(pirn_deferred_cancel(after) == 0 && next.interrupts == 0 && running.interrupts == 1);
    pirn_deferred_release(after);
    pirn_pool_close(pool);
    return 0;
}

/* Goal: cancelling a running job interrupts it; its deferred fails at once and the late result is destroyed.
 * Method: the job waits for its interrupt and nothing else; a second job on the same thread shows that the first
 *       ended. */
Test(offload, cancelled_running_job_is_interrupted, .timeout = 60) {
    test_run_everywhere(cancel_running, NULL);
    cr_assert_eq(pn_outside_count(), 0);
}

static pirn_deferred *count_success(void *context, pirn_result *result) {
    *(int *)context += result->status == 0;
    return NULL;
}

static int cancel_with_its_result_on_the_way(void *arg) {
    (void)arg;
    static task done;
    task_init(&done);
    int successes = 0;
    pirn_deferred *deferred = pirn_offload(quick, &done, drop_task);
    TEST_CHECK(pirn_deferred_add_both(deferred, count_success, &successes) == 0);
    for (pirn_time end = PIRN_FOREVER; pirn_now() < end;) { /* no turn of the scheduler: the message stays unread */
        end = done.drops > 0 && end == PIRN_FOREVER ? pirn_after(5 * PIRN_MILLISECOND) : end;
    }
    TEST_CHECK(pirn_deferred_cancel(deferred) == 0);
    TEST_CHECK(pirn_await(deferred, NULL, PIRN_FOREVER) == PIRN_ECANCELED);
    while (done.result_drops == 0 || pn_worker_self()->jobs > 0) {
        (void)pirn_sleep_until(pirn_after(100 * PIRN_MICROSECOND));
    }
    TEST_CHECK(done.runs == 1 && done.drops == 1 && done.result_drops == 1 && successes == 0);
    pirn_deferred_release(deferred);
    return 0;
}

/* Goal: a job cancelled at home after it ended, before its result arrived, fails: the late result is destroyed once.
 * Method: the home computes until the pool's thread has dropped the argument and had time to settle; then cancel. */
Test(offload, cancel_wins_over_a_result_on_its_way, .timeout = 60) {
    test_run_everywhere(cancel_with_its_result_on_the_way, NULL);
}

static int race_cancels_with_ends(void *arg) {
    (void)arg;
    static task job;
    unsigned rounds = (unsigned)pirn_test_count(3000, 100);
    for (unsigned i = 0; i < rounds; i++) {
        task_init(&job);
        pirn_deferred *deferred = pirn_offload(quick, &job, drop_task);
        for (unsigned spin = 0; spin < i % 64 * 40; spin++) {
            __asm__ volatile("" : : : "memory");
        }
        if (i % 7 == 0) {
            pirn_yield();
        }
        bool finished = pirn_deferred_finished(deferred);
        TEST_CHECK(pirn_deferred_cancel(deferred) == 0);
        TEST_CHECK(pirn_await(deferred, NULL, PIRN_FOREVER) == (finished ? 0 : PIRN_ECANCELED));
        pirn_deferred_release(deferred);
        while (pn_worker_self()->jobs > 0) {
            (void)pirn_sleep_until(pirn_after(20 * PIRN_MICROSECOND));
        }
        TEST_CHECK(job.drops == 1 && job.result_drops == job.runs);
    }
    return 0;
}

/* Goal: wherever a cancel meets a job (queued, running, dropping its argument, settling, settled), the job is counted,
 * its argument and its result are destroyed once, and it never succeeds afterwards.
 * Method: cancel after pauses of many lengths; the counts of jobs, runs and destructors. */
Test(offload, cancel_at_any_moment_has_one_outcome, .timeout = 60) {
    test_run_everywhere(race_cancels_with_ends, NULL);
}

static int await_and_release(void *arg) {
    pirn_deferred *deferred = arg;
    TEST_CHECK(pirn_await(deferred, NULL, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    pirn_deferred_release(deferred);
    return 0;
}

static int fail_after_their_waits(void *arg) {
    static task jobs[3];
    pirn_spawn_options options = {.flags = PIRN_JOINABLE, .home = (int)*(unsigned *)arg - 1}; /* another, if any */
    pirn_deferred *offloaded[3];
    for (unsigned i = 0; i < 3; i++) {
        task_init(&jobs[i]);
        jobs[i].code = PIRN_EHTTP;
        offloaded[i] = pirn_offload(slow, &jobs[i], drop_task);
    }
    pirn_result out;
    TEST_CHECK(pirn_await_take(offloaded[0], &out, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    TEST_CHECK(await_and_release(offloaded[1]) == 0);
    TEST_CHECK(pirn_join(pirn_spawn_with(&options, await_and_release, offloaded[2]), NULL, PIRN_FOREVER) == 0);
    for (unsigned i = 0; i < 3; i++) {
        sem_post(&jobs[i].go);
    }
    while (pn_worker_self()->jobs > 0) {
        (void)pirn_sleep_until(pirn_after(100 * PIRN_MICROSECOND));
    }
    (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    return 0;
}

static void count_report(void *context, int code, const char *text) {
    *(_Atomic unsigned *)context += code < 0 && text;
}

/* Goal: a job's failure that comes after the last wait for it has ended is not reported, wherever the waiter lives.
 * Method: waits by await_take, by await and from another worker end by their deadlines; then the jobs fail. */
Test(offload, failure_after_the_last_wait_is_not_reported, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        _Atomic unsigned reports = 0;
        pirn_options options;
        test_mode_options(&test_modes[i], &options);
        options.on_error = count_report;
        options.on_error_context = &reports;
        unsigned workers = options.workers;
        cr_assert_eq(pirn_run(&options, fail_after_their_waits, &workers), 0);
        cr_assert_eq(reports, 0, "%s", test_modes[i].name);
    }
}

static int await_to_cancel(void *arg) {
    pirn_deferred *deferred = arg;
    int code = pirn_await(deferred, NULL, PIRN_FOREVER);
    pirn_deferred_release(deferred);
    return code == PIRN_ECANCELED ? 0 : code;
}

static int cancel_waiting_tasklet(void *arg) {
    (void)arg;
    static task running;
    task_init(&running);
    pirn_work work = work_of(NULL, slow, &running);
    work.interrupt = interrupt_slow;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet waiter = pirn_spawn_with(&options, await_to_cancel, pirn_offload_with(&work));
    pirn_yield();
    wait_for(&running.begun);
    TEST_CHECK(pirn_cancel(waiter) == 0);
    int result = 1;
    TEST_CHECK(pirn_join(waiter, &result, PIRN_FOREVER) == 0 && result == 0);
    TEST_CHECK(running.interrupts == 1);
    return 0;
}

/* Goal: killing the tasklet that awaits a job reaches the job.
 * Method: the only consumer of the deferred is cancelled while it is parked; the running job hears its interrupt. */
Test(offload, cancelling_the_waiting_tasklet_interrupts_the_job, .timeout = 60) {
    test_run_everywhere(cancel_waiting_tasklet, NULL);
}

/* ---- bounds ---- */

static int over_the_limit(void *arg) {
    (void)arg;
    static task gate, queued, refused;
    task_init(&gate);
    task_init(&queued);
    task_init(&refused);
    pirn_result out;
    pirn_pool *pool = pirn_pool_create("small", 1, 1);
    pirn_deferred *held = submit(pool, slow, &gate);
    wait_for(&gate.begun);
    pirn_deferred *second = submit(pool, quick, &queued);
    pirn_deferred *third = submit(pool, quick, &refused);
    TEST_CHECK(pirn_await(third, &out, PIRN_NOW) == PIRN_ELIMIT);
    TEST_CHECK(strstr(pirn_failure_message(out.failure), "\"small\""));
    TEST_CHECK(strstr(pirn_failure_message(out.failure), "queue_max"));
    TEST_CHECK(refused.drops == 1 && refused.runs == 0);
    pirn_deferred_release(third);
    sem_post(&gate.go);
    TEST_CHECK(pirn_await(second, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(second);
    TEST_CHECK(pirn_await(held, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(held);
    pirn_pool_close(pool);
    return 0;
}

/* Goal: the queue is bounded, and the refusal names the bound and where to raise it.
 * Method: one job runs, one waits, the third is one too many. */
Test(offload, job_over_the_bound_fails_with_its_name, .timeout = 60) {
    test_run_everywhere(over_the_limit, NULL);
    cr_assert_eq(pn_outside_count(), 0);
}

static int bad_pools(void *arg) {
    (void)arg;
    TEST_CHECK(!pirn_pool_create("none", 0, 1));
    TEST_CHECK(!pirn_pool_create("many", 65, 1));
    TEST_CHECK(!pirn_pool_create("", 1, 1));
    TEST_CHECK(!pirn_pool_create(NULL, 1, 1));
    pirn_pool_close(NULL);
    return 0;
}

/* Goal: pools out of range are refused.
 * Method: each bound from outside; and on a thread without a worker. */
Test(offload, pool_out_of_range_is_refused) {
    cr_assert_null(pirn_pool_create("foreign", 1, 1));
    test_run_everywhere(bad_pools, NULL);
}

static void *offload_here(void *arg) {
    return pirn_offload(quick, arg, drop_task);
}

static int from_a_foreign_thread(void *arg) {
    task *one = arg;
    pthread_t thread;
    void *deferred = one;
    TEST_CHECK(pthread_create(&thread, NULL, offload_here, one) == 0);
    TEST_CHECK(pthread_join(thread, &deferred) == 0);
    TEST_CHECK(deferred == NULL && one->drops == 1 && one->runs == 0);
    return 0;
}

/* Goal: a thread without a worker gets NULL, its argument destroyed, and one line that says what to do.
 * Method: a plain thread beside a runtime. */
Test(offload, foreign_thread_is_told_what_to_call, .timeout = 60) {
    static task one;
    task_init(&one);
    captured_begin();
    int result = test_run_in(&test_modes[0], from_a_foreign_thread, &one);
    const char *text = captured_end();
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_not_null(strstr(text, "a foreign thread"), "%s", text);
    cr_assert_not_null(strstr(text, "pirn_post()"), "%s", text);
}

/* ---- closing ---- */

static int close_pool(void *arg) {
    (void)arg;
    static task running, queued;
    task_init(&running);
    task_init(&queued);
    pirn_pool *pool = pirn_pool_create("closing", 1, 4);
    pirn_work work = work_of(pool, slow, &running);
    work.interrupt = interrupt_slow;
    pirn_deferred *first = pirn_offload_with(&work);
    wait_for(&running.begun);
    pirn_deferred *second = submit(pool, quick, &queued);
    pirn_pool_close(pool);
    TEST_CHECK(queued.drops == 1 && queued.runs == 0 && running.interrupts == 1);
    TEST_CHECK(pirn_await(second, NULL, PIRN_NOW) == PIRN_ECLOSED);
    pirn_deferred_release(second);
    TEST_CHECK(pirn_await(first, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(first);
    return 0;
}

/* Goal: closing fails what is queued, interrupts what runs, and what runs still tells its result.
 * Method: one of each; the close does not wait. */
Test(offload, closed_pool_fails_queued_and_interrupts_running, .timeout = 60) {
    test_run_everywhere(close_pool, NULL);
    cr_assert_eq(pn_outside_count(), 0);
}

static int many_pools(void *arg) {
    (void)arg;
    static task one;
    task_init(&one);
    uint64_t rounds = pirn_test_count(500, 50);
    for (uint64_t i = 0; i < rounds; i++) {
        pirn_pool *pool = pirn_pool_create("short", 2, 4);
        TEST_CHECK(pool);
        pirn_deferred *deferred = submit(pool, quick, &one);
        if (i % 2 == 0) {
            TEST_CHECK(pirn_await(deferred, NULL, PIRN_FOREVER) == 0);
        }
        pirn_pool_close(pool);
        pirn_deferred_release(deferred);
    }
    return 0;
}

/* Goal: pools come and go without leaving threads or memory behind.
 * Method: hundreds of pools, closed while their job may wait, run or be over (the sanitizers count what is left). */
Test(offload, pools_come_and_go, .timeout = 120) {
    captured_begin(); /* a job that was closed before it began fails, and nobody awaits it: a line each */
    int result = test_run_in(&test_modes[0], many_pools, NULL);
    const char *text = captured_end();
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_eq(pn_outside_count(), 0);
}

static int leave_jobs(void *arg) {
    static task queued[8];
    task *running = arg;
    pirn_pool *pool = pirn_pool_create("left", 1, 8);
    pirn_work work = work_of(pool, slow, running);
    work.interrupt = interrupt_slow;
    pirn_deferred_release(pirn_offload_with(&work));
    wait_for(&running->begun);
    for (int i = 0; i < 8; i++) {
        task_init(&queued[i]);
        pirn_deferred_release(submit(pool, quick, &queued[i]));
    }
    pirn_pool_close(pool);
    for (int i = 0; i < 8; i++) {
        TEST_CHECK(queued[i].drops == 1);
    }
    pirn_deferred_release(pirn_offload(slow, running, drop_task));
    wait_for(&running->begun);
    sem_post(&running->go);
    return 0;
}

/* Goal: main may return with jobs under way: the runtime ends them, joins their threads and returns.
 * Method: running and queued jobs that nobody awaits, on a closed pool and on the runtime's own. */
Test(offload, runtime_ends_with_jobs_under_way, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        static task running;
        task_init(&running);
        captured_begin();
        int result = test_run_in(&test_modes[i], leave_jobs, &running);
        const char *text = captured_end();
        cr_assert_eq(result, 0, "%s: %s", test_modes[i].name, text);
        cr_assert_eq(running.drops, 2);
        cr_assert_eq(pn_outside_count(), 0);
    }
}

static void drop_slowly(void *arg) {
    drop_task(arg);
    usleep(2000);
}

static int close_with_many(void *arg) {
    static task queued[8];
    pirn_deferred *deferreds[8];
    task *running = arg;
    pirn_pool *pool = pirn_pool_create("closed", 1, 8);
    pirn_work work = work_of(pool, slow, running);
    work.interrupt = interrupt_slow;
    pirn_deferred_release(pirn_offload_with(&work));
    wait_for(&running->begun);
    for (int i = 0; i < 8; i++) {
        task_init(&queued[i]);
        work = work_of(pool, quick, &queued[i]);
        work.drop = drop_slowly; /* time for the thread that was interrupted to ask for the next job */
        deferreds[i] = pirn_offload_with(&work);
    }
    pirn_pool_close(pool);
    for (int i = 0; i < 8; i++) {
        TEST_CHECK(pirn_await(deferreds[i], NULL, PIRN_FOREVER) == PIRN_ECLOSED);
        TEST_CHECK(queued[i].runs == 0 && queued[i].drops == 1);
        pirn_deferred_release(deferreds[i]);
    }
    return 0;
}

/* Goal: closing a pool runs none of the jobs that still wait: each fails with PIRN_ECLOSED.
 * Method: the one thread is interrupted first, and would have time to take the next. */
Test(offload, closed_pool_runs_no_queued_job) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        static task running;
        task_init(&running);
        cr_assert_eq(test_run_in(&test_modes[i], close_with_many, &running), 0);
    }
}

static sem_t orphan_over;

static void drop_orphan(void *arg) {
    drop_task(arg);
    sem_post(&orphan_over);
}

static int disown(void *arg) {
    task *stuck = arg;
    pirn_work work = {.work = slow, .arg = stuck, .drop = drop_orphan, .name = "stubborn job"};
    pirn_deferred *deferred = pirn_offload_with(&work);
    wait_for(&stuck->begun);
    pn_offload_stop(pirn_after(PIRN_MILLISECOND));
    pirn_result out;
    TEST_CHECK(pirn_await(deferred, &out, PIRN_FOREVER) == PIRN_ECLOSED);
    TEST_CHECK(strstr(pirn_failure_message(out.failure), "stubborn job"));
    pirn_deferred_release(deferred);
    deferred = pirn_offload(quick, stuck, NULL);
    TEST_CHECK(pirn_await(deferred, NULL, PIRN_NOW) == PIRN_ECLOSED);
    pirn_deferred_release(deferred);
    return 0;
}

/* Goal: a job that will not end does not hold the runtime: it is named in one line, its deferred fails, and its result
 *       is destroyed where it ends, even after the runtime is gone.
 * Method: a job without interrupt; stop with a short deadline; the job is let go only after pirn_run has returned. */
Test(offload, job_that_outlives_the_deadline_is_named_and_disowned, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        static task stuck;
        task_init(&stuck);
        sem_init(&orphan_over, 0, 0);
        captured_begin();
        int result = test_run_in(&test_modes[i], disown, &stuck);
        const char *text = captured_end();
        cr_assert_eq(result, 0, "%s: %s", test_modes[i].name, text);
        cr_assert_not_null(strstr(text, "the job \"stubborn job\" on thread offload-"), "%s", text);
        cr_assert_eq(stuck.drops, 0);
        sem_post(&stuck.go);
        wait_for(&orphan_over);
        cr_assert_eq(stuck.drops, 1);
        cr_assert_eq(stuck.result_drops, 1);
        cr_assert_eq(pn_outside_count(), 0);
    }
}

typedef struct late_giver {
    pirn_deferred *deferred; /* of the runtime that is gone when it is fired */
    bool in_the_drop;        /* else in the work */
    int fired;
    sem_t begun, go, over;
} late_giver;

static void fire_late(late_giver *late) {
    sem_post(&late->begun);
    wait_for(&late->go);
    late->fired = pirn_deferred_fire(late->deferred, NULL, NULL);
    pirn_deferred_release(late->deferred);
}

static int work_late(void *arg, pirn_result *out) {
    (void)out;
    late_giver *late = arg;
    if (!late->in_the_drop) {
        fire_late(late);
    }
    return 0;
}

static void drop_late(void *arg) {
    late_giver *late = arg;
    if (late->in_the_drop) {
        fire_late(late);
    }
    sem_post(&late->over);
}

static int leave_a_late_giver(void *arg) {
    late_giver *late = arg;
    pirn_work work = {.work = work_late, .arg = late, .drop = drop_late, .name = "late giver"};
    late->deferred = pirn_deferred_create(NULL, NULL);
    pirn_deferred_release(pirn_offload_with(&work));
    wait_for(&late->begun); /* holds up this worker, as it may: the job needs none */
    return 0;
}

/* Goal: a job that goes on after the runtime touches nothing of it: what it fires then is refused.
 * Method: one that waits in its work, one in its argument's drop, until pirn_run has returned. */
Test(offload, job_that_outlives_the_runtime_fires_nothing, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        for (int in_the_drop = 0; in_the_drop < 2; in_the_drop++) {
            static late_giver late;
            late = (late_giver){.in_the_drop = in_the_drop};
            sem_init(&late.begun, 0, 0);
            sem_init(&late.go, 0, 0);
            sem_init(&late.over, 0, 0);
            captured_begin();
            int result = test_run_in(&test_modes[i], leave_a_late_giver, &late);
            (void)captured_end();
            cr_assert_eq(result, 0);
            sem_post(&late.go);
            wait_for(&late.over);
            cr_assert_eq(late.fired, PIRN_ECLOSED);
        }
    }
}

/* ---- conservation ---- */

enum { BATCH = 64 };

static uint64_t random_state;

static unsigned choose(unsigned bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % bound);
}

typedef struct race_plan {
    uint64_t rounds;
    task *tasks; /* [rounds * BATCH]: a cancelled job may still run when its round is over */
} race_plan;

static void race_once(pirn_pool *pool, task *tasks) {
    pirn_deferred *deferreds[BATCH];
    for (int i = 0; i < BATCH; i++) {
        deferreds[i] = submit(pool, quick, &tasks[i]);
        if (choose(8) == 0) {
            pirn_yield();
        }
        if (choose(2) == 0) {
            TEST_CHECK(pirn_deferred_cancel(deferreds[choose((unsigned)i + 1)]) == 0);
        }
    }
    for (int i = 0; i < BATCH; i++) {
        int code = pirn_await(deferreds[i], NULL, PIRN_FOREVER);
        TEST_CHECK(code == 0 || code == PIRN_ECANCELED);
        TEST_CHECK(code != 0 || tasks[i].runs == 1);
        pirn_deferred_release(deferreds[i]);
    }
}

static int race(void *arg) {
    race_plan *plan = arg;
    pirn_pool *pool = pirn_pool_create("race", 3, BATCH * 4);
    for (uint64_t round = 0; round < plan->rounds; round++) {
        race_once(pool, &plan->tasks[round * BATCH]);
    }
    pirn_pool_close(pool);
    return 0;
}

/* Goal: whatever the race between running and cancelling, argument and result are destroyed exactly once.
 * Method: three threads run jobs of no length while the home cancels at random; every job is counted when the runtime,
 *         and so every thread, is over. */
Test(offload, racing_cancels_conserve_arguments_and_results, .timeout = 200) {
    race_plan plan = {.rounds = pirn_test_count(300, 20)};
    random_state = (uint64_t)time(NULL) | 1;
    printf("offload: seed %llu, %llu rounds\n", (unsigned long long)random_state, (unsigned long long)plan.rounds);
    for (size_t mode = 0; mode < TEST_MODES; mode++) {
        plan.tasks = calloc(plan.rounds * BATCH, sizeof *plan.tasks);
        cr_assert_not_null(plan.tasks);
        cr_assert_eq(test_run_in(&test_modes[mode], race, &plan), 0);
        for (uint64_t i = 0; i < plan.rounds * BATCH; i++) {
            const task *one = &plan.tasks[i];
            cr_assert_eq(one->drops, 1, "job %llu: %d drops", (unsigned long long)i, one->drops);
            cr_assert(one->runs <= 1 && one->result_drops == one->runs, "job %llu", (unsigned long long)i);
        }
        free(plan.tasks);
        cr_assert_eq(pn_outside_count(), 0);
    }
}
