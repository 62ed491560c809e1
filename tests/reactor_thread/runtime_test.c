/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/runtime.c: pirn_run from the outside: results, threads, thousands of starts and stops.
 */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <pirn/reactor.h>

static int give_back(void *arg) {
    return *(int *)arg;
}

/* Goal: pirn_run returns main's result.
 * Method: a positive, a zero and a negative one, in every mode, and with NULL options; an error of main's is no
 *       report. */
Test(runtime, result_is_mains) {
    int results[] = {0, 42, -EIO, PIRN_ECANCELED};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        for (int which = 0; which < ENGINE_MODES; which++) {
            pirn_options options = engine_options(which);
            captured said = capture_begin();
            int result = pirn_run(&options, give_back, &results[i]);
            char *text = capture_end(said);
            cr_assert_eq(result, results[i]);
            cr_assert_str_eq(text, "");
            free(text);
        }
    }
    cr_assert_eq(pirn_run(NULL, give_back, &results[1]), 42);
}

static int run_inside(void *arg) {
    cr_assert_eq(pirn_run(NULL, give_back, arg), PIRN_EALREADY);
    return 0;
}

/* Goal: what cannot run is refused: bad options, no main, a runtime inside a runtime.
 * Method: the codes; the last from a tasklet in every mode. */
Test(runtime, wrong_call_is_refused) {
    pirn_options options = {.workers = 1000};
    captured said = capture_begin();
    int bad_options = pirn_run(&options, give_back, NULL);
    int no_main = pirn_run(NULL, NULL, NULL);
    char *text = capture_end(said);
    cr_assert_eq(bad_options, PIRN_EINVAL);
    cr_assert_eq(no_main, PIRN_EINVAL);
    cr_assert(strstr(text, "option workers is 1000"), "%s", text);
    free(text);
    in_every_mode(run_inside, NULL);
}

static int describe(void *arg) {
    const pirn_options *given = arg;
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    cr_assert_eq(info.mode, given->mode);
    cr_assert_eq(info.poll, given->mode == PIRN_MODE_SINGLE ? PIRN_POLL_WORKER : given->poll);
    cr_assert_eq(info.workers, given->mode == PIRN_MODE_SINGLE ? 1 : 2);
    cr_assert_eq(info.guard, PIRN_GUARD_CANARY);
    cr_assert_eq(info.stack_bytes, 32768);
    cr_assert_eq(pirn_worker(), 0);
    cr_assert_str_eq(pirn_name(), "main");
    return 0;
}

/* Goal: a runtime can be described while it runs, and only then.
 * Method: compare with what was asked for; PIRN_ETHREAD before and after. */
Test(runtime, describe_tells_what_runs) {
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), PIRN_ETHREAD);
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        options.guard = PIRN_GUARD_CANARY;
        options.stack_bytes = 32768;
        cr_assert_eq(pirn_run(&options, describe, &options), 0);
    }
    cr_assert_eq(pirn_runtime_describe(&info), PIRN_ETHREAD);
}

/* Whether some thread of this process is called `name`. */
static bool has_thread(const char *name) {
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;
    for (struct dirent *entry = readdir(tasks); entry && !found; entry = readdir(tasks)) {
        char path[300], comm[32] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file) {
            found = fgets(comm, sizeof comm, file) && strcspn(comm, "\n") == strlen(name) &&
                    strncmp(comm, name, strlen(name)) == 0;
            fclose(file);
        }
    }
    closedir(tasks);
    return found;
}

/* A thread names itself, some time after it was started. */
static bool all_have_their_names(void *context) {
    (void)context;
    return has_thread("offload-0") && has_thread("offload-1") && has_thread("watchdog");
}

static int look_at_threads(void *arg) {
    const pirn_options *given = arg;
    bool threaded = given->mode == PIRN_MODE_THREADED;
    cr_assert_eq(has_thread("reactor-0"), threaded);
    cr_assert_eq(has_thread("worker-0"), threaded);
    cr_assert_eq(has_thread("worker-1"), threaded);
    wait_until(all_have_their_names, NULL);
    cr_assert(!has_thread("offload-2"));
    return (int)count_threads();
}

/* Goal: the threads are those that the mode promises, by name, and none is left afterwards.
 * Method: names and number inside; the number outside is that of before. */
Test(runtime, threads_are_those_of_the_mode) {
    start_the_first_thread();
    unsigned before = count_threads();
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        options.offload_threads = 2;
        int inside = pirn_run(&options, look_at_threads, &options);
        cr_assert_eq(inside, (int)before + (options.mode == PIRN_MODE_SINGLE ? 3 : 6));
        wait_for_thread_count(before);
    }
}

static int note_worker(void *arg) {
    *(int *)arg = pirn_worker();
    return 0;
}

static int visit_all(void *arg) {
    (void)arg;
    int seen[64];
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    for (int i = 0; i < (int)info.workers; i++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.home = i;
        options.flags = PIRN_JOINABLE;
        pirn_tasklet visitor = pirn_spawn_with(&options, note_worker, &seen[i]);
        cr_assert_eq(pirn_join(visitor, NULL, PIRN_FOREVER), 0);
        cr_assert_eq(seen[i], i);
    }
    return (int)info.workers;
}

/* Goal: every worker runs what is sent to it, up to the highest number of them.
 * Method: 64 workers; spawn on each and join. */
Test(runtime, all_workers_run_tasklets) {
    pirn_options options = engine_options(1);
    options.workers = 64;
    cr_assert_eq(pirn_run(&options, visit_all, NULL), 64);
    options.poll = PIRN_POLL_REACTOR;
    cr_assert_eq(pirn_run(&options, visit_all, NULL), 64);
}

static int sleeper(void *arg) {
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER);
}

static int busy_little_main(void *arg) {
    (void)arg;
    (void)pirn_spawn(sleeper, NULL);
    pirn_deferred *call = pirn_call_later(0);
    cr_assert_eq(pirn_await(call, NULL, PIRN_FOREVER), 0);
    pirn_deferred_release(call);
    return 0;
}

/* Goal: starting and stopping a thousand times leaves no thread, descriptor or memory behind.
 * Method: a thousand runtimes with a tasklet left over and a call to the reactor each, in turns of all modes;
 *         descriptors and threads are those of before, and the peak of memory does not move after the first tenth. */
Test(runtime, thousand_starts_leave_nothing_behind) {
    unsigned runs = (unsigned)pirn_test_count(1000, 30);
    start_the_first_thread();
    unsigned threads = count_threads(), descriptors = 0;
    struct rusage early, late;
    for (unsigned i = 0; i < runs; i++) {
        pirn_options options = engine_options((int)(i % ENGINE_MODES));
        cr_assert_eq(pirn_run(&options, busy_little_main, NULL), 0);
        if (i == runs / 10) {
            descriptors = count_descriptors();
            getrusage(RUSAGE_SELF, &early);
        }
    }
    wait_for_thread_count(threads);
    cr_assert_eq(count_descriptors(), descriptors);
    getrusage(RUSAGE_SELF, &late);
    cr_assert_leq(late.ru_maxrss, early.ru_maxrss + 2048 * (runs < 1000 ? 64 : 1), "from %ld to %ld KiB",
                  early.ru_maxrss, late.ru_maxrss);
}

static int break_a_pipe(void *arg) {
    (void)arg;
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    close(ends[0]);
    cr_assert_eq(write(ends[1], "x", 1), -1);
    cr_assert_eq(errno, EPIPE);
    close(ends[1]);
    return 0;
}

/* Goal: a broken pipe is an error code on pirn's threads, and the caller's signals are as before.
 * Method: write to a pipe without a reader in every mode, where the default would be death; the mask outside is
 *         unchanged and no SIGPIPE is pending. */
Test(runtime, broken_pipe_kills_nobody) {
    sigset_t before, after, pending;
    cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    in_every_mode(break_a_pipe, NULL);
    cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int number = 1; number < SIGRTMAX; number++) {
        cr_assert_eq(sigismember(&before, number), sigismember(&after, number), "signal %d", number);
    }
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_eq(sigismember(&pending, SIGPIPE), 0);
}

static void *run_on_this_thread(void *arg) {
    int *result = arg;
    pirn_options options = engine_options(2);
    *result = pirn_run(&options, busy_little_main, NULL);
    return NULL;
}

/* Goal: any thread may run pirn, one at a time, and is then itself again.
 * Method: run on a thread that pirn did not start, whose role is a foreign thread's before and after. */
Test(runtime, any_thread_may_run_it) {
    pthread_t thread;
    int result = 1;
    cr_assert_eq(pthread_create(&thread, NULL, run_on_this_thread, &result), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(result, 0);
    in_every_mode(busy_little_main, NULL);
}

static int wait_for_nobody(void *arg) {
    (void)arg;
    pirn_channel *nobody = pirn_channel_create(0, 0);
    int status = pirn_recv(nobody, NULL, PIRN_FOREVER);
    pirn_channel_destroy(nobody);
    return status;
}

/* Goal: a main that nobody can ever wake ends pirn_run with PIRN_EDEADLK and a report, in every mode.
 * Method: main receives from a channel that only it knows. */
Test(runtime, main_that_waits_for_nobody_gives_edeadlk) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        captured said = capture_begin();
        int result = pirn_run(&options, wait_for_nobody, NULL);
        char *text = capture_end(said);
        cr_assert_eq(result, PIRN_EDEADLK, "%s: %s", engine_name(which), pirn_error_name(result));
        cr_assert(strstr(text, "\"main\""), "%s", text);
        free(text);
    }
}

/* Goal: without the means to start, pirn_run says so and takes nothing along.
 * Method: a limit on descriptors that lets only some of the threads start; the code is the system's, and with the limit
 *         lifted it runs. */
Test(runtime, start_that_fails_cleans_up) {
    struct rlimit before, tight;
    in_every_mode(busy_little_main, NULL);
    unsigned threads = count_threads();
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    unsigned failed = 0;
    for (unsigned room = 0; room < 12; room++) {
        for (int which = 0; which < ENGINE_MODES; which++) {
            tight = before;
            tight.rlim_cur = count_descriptors() - 3 + room; /* entries but "." and ".." and the folder itself */
            cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
            pirn_options options = engine_options(which);
            int result = 0;
            int code = pirn_run(&options, give_back, &result);
            cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
            cr_assert(code == 0 || code == -EMFILE, "%s with room for %u: %s", engine_name(which), room,
                      strerror(-code));
            failed += code != 0;
            wait_for_thread_count(threads);
        }
    }
    cr_assert_gt(failed, 0);
    in_every_mode(busy_little_main, NULL);
}

/* ---- main's clean-ups ---- */

typedef struct farewell {
    int later, slept, connected;
    pirn_tasklet far;
    unsigned ran;
} farewell;

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static void wait_in_cleanup(void *arg) {
    farewell *seen = arg;
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    pirn_deferred *call = pirn_call_later(PIRN_MILLISECOND);
    seen->later = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.home = (int)info.workers - 1;
    options.flags = PIRN_JOINABLE;
    seen->far = pirn_spawn_with(&options, do_nothing, NULL);
    cr_assert_eq(pirn_join(seen->far, NULL, PIRN_FOREVER), 0);
    seen->slept = pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    pirn_socket socket;
    seen->connected = pirn_connect("127.0.0.1:1", &socket, pirn_after(PIRN_SECOND));
    seen->ran++;
}

static void register_another(void *arg) {
    ((farewell *)arg)->ran++;
    cr_assert_eq(pirn_on_exit(wait_in_cleanup, arg), 0);
}

static int leave_cleanups(void *arg) {
    cr_assert_eq(pirn_on_exit(wait_in_cleanup, arg), 0);
    cr_assert_eq(pirn_on_exit(register_another, arg), 0);
    return 5;
}

/* Goal: main's clean-ups run while everything still works: the reactor, other workers, sockets, sleep.
 * Method: clean-ups that wait for each of these, one registered by another; the codes, and main's result. */
Test(runtime, cleanup_of_main_may_wait) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        farewell seen = {.later = 1, .slept = 1, .connected = 1};
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, leave_cleanups, &seen), 5);
        cr_assert_eq(seen.ran, 3);
        cr_assert_eq(seen.later, 0, "%s: %s", engine_name(which), pirn_error_name(seen.later));
        cr_assert_neq(seen.far.id, 0);
        cr_assert_eq(seen.slept, 0);
        cr_assert_eq(seen.connected, -ECONNREFUSED, "%s", pirn_error_name(seen.connected));
    }
}

/* ---- main's words ---- */

static int fail_after_a_handled_failure(void *arg) {
    (void)pirn_fail(PIRN_EDB, "handled long ago");
    return *(bool *)arg ? pirn_fail(PIRN_EHTTP, "the real one") : PIRN_EHTTP;
}

/* Goal: the line at main's end tells the failure that main returned, not an older one that it handled.
 * Method: pirn_fail of one code, then a return of another, with and without its own pirn_fail. */
Test(runtime, words_of_main_are_those_of_its_result) {
    for (int with_words = 0; with_words <= 1; with_words++) {
        bool says_why = with_words;
        captured said = capture_begin();
        int result = pirn_run(NULL, fail_after_a_handled_failure, &says_why);
        char *text = capture_end(said);
        cr_assert_eq(result, PIRN_EHTTP);
        cr_assert_null(strstr(text, "handled long ago"), "%s", text);
        cr_assert_eq(strstr(text, "the real one") != NULL, says_why, "%s", text);
        free(text);
    }
}

/* ---- what is kept from an earlier run ---- */

typedef struct kept {
    unsigned workers;
    pirn_tasklet main, child, far;
    pirn_deferred *far_deferred, *near_deferred, *fired, *later;
    pirn_looping_call *loop;
    pirn_processor *processor;
    pirn_foreign *foreign;
    pirn_socket socket;
    pirn_pool *pool;
    pirn_channel *channel;
    int victim_saw;
} kept;

static int note_self(void *arg) {
    *(pirn_tasklet *)arg = pirn_self();
    return 0;
}

static int echo_action(void *context, void *request, pirn_result *out) {
    (void)context;
    out->value = request;
    return 0;
}

static int keep_handles(void *arg) {
    kept *k = arg;
    k->main = pirn_self();
    (void)pirn_spawn(note_self, &k->child);
    pirn_yield();
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.home = (int)k->workers - 1;
    k->far = pirn_spawn_with(&options, do_nothing, NULL);
    k->far_deferred = pirn_deferred_create_at((int)k->workers - 1, NULL, NULL);
    k->near_deferred = pirn_deferred_create(NULL, NULL);
    k->fired = pirn_deferred_succeed((void *)(uintptr_t) "kept", NULL);
    k->later = pirn_call_later(3600 * PIRN_SECOND);
    k->loop = pirn_looping_call_start(PIRN_MILLISECOND, true, do_nothing, NULL);
    k->processor = pirn_processor_create(echo_action, NULL, NULL);
    k->foreign = pirn_foreign_open();
    k->pool = pirn_pool_create("kept", 1, 4);
    k->channel = pirn_channel_create(sizeof(int), 1);
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    (void)close(pair[1]);
    cr_assert_eq(pirn_socket_adopt(pair[0], &k->socket), 0);
    return 0;
}

static int be_innocent(void *arg) {
    *(int *)arg = pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    return 0;
}

static pirn_deferred *never_called(void *context, pirn_result *result) {
    (void)result;
    *(int *)context = 1;
    return NULL;
}

static pirn_deferred *go_on_with_kept(void *context, pirn_result *result) {
    pirn_result_drop(result);
    return pirn_deferred_retain(context);
}

/* Each call of a deferred whose runtime is over. */
static void use_deferred_of_before(pirn_deferred *old) {
    pirn_result out;
    int called = 0;
    cr_assert_eq(pirn_await(old, &out, PIRN_FOREVER), PIRN_ECLOSED);
    cr_assert_eq(pirn_await(old, &out, pirn_after(PIRN_SECOND)), PIRN_ECLOSED);
    cr_assert_eq(pirn_await(old, &out, PIRN_NOW), PIRN_ECLOSED);
    cr_assert_eq(pirn_await_take(pirn_deferred_retain(old), &out, PIRN_FOREVER), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_add_both(old, never_called, &called), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_fire(old, NULL, NULL), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_fail(old, NULL), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_cancel(old), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_pause(old), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_unpause(old), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_deadline(old, pirn_after(0)), PIRN_ECLOSED);
    cr_assert_null(pirn_deferred_list(&old, 1, 0));
    cr_assert_null(pirn_deferred_race(&old, 1));
    cr_assert(!pirn_deferred_finished(old));
    pirn_deferred *fresh = pirn_deferred_succeed(NULL, NULL);
    cr_assert_eq(pirn_deferred_chain(fresh, old), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_chain(old, fresh), PIRN_ECLOSED);
    cr_assert_eq(pirn_deferred_add_both(fresh, go_on_with_kept, old), 0);
    cr_assert_eq(pirn_await(fresh, NULL, PIRN_FOREVER), PIRN_ECLOSED);
    pirn_deferred_release(fresh);
    cr_assert_eq(called, 0);
    pirn_deferred_release(old);
}

static void use_tasklet_of_before(pirn_tasklet old) {
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    bool here = old.id >> 56 == 0 || old.id >> 56 >= info.workers; /* else the answer is a message away, and 0 */
    int cancelled = pirn_cancel(old);
    cr_assert_eq(cancelled, here ? PIRN_EDEAD : 0);
    cr_assert_eq(pirn_throw(old, PIRN_EFAILED, true), here ? PIRN_EDEAD : 0);
    cr_assert_eq(pirn_release(old), here ? PIRN_EDEAD : 0);
    cr_assert_eq(pirn_join(old, NULL, PIRN_FOREVER), PIRN_EDEAD);
}

static int use_handles(void *arg) {
    kept *k = arg;
    pirn_result out;
    pirn_tasklet victim[4];
    for (unsigned i = 0; i < 4; i++) {
        victim[i] = pirn_spawn(be_innocent, &k->victim_saw);
    }
    cr_assert(k->main.id != pirn_self().id && victim[0].id != k->child.id);
    use_tasklet_of_before(k->main);
    use_tasklet_of_before(k->child);
    use_tasklet_of_before(k->far);
    use_deferred_of_before(k->far_deferred);
    use_deferred_of_before(k->near_deferred);
    cr_assert_eq(pirn_await(k->fired, &out, PIRN_NOW), 0); /* a result that came stays */
    cr_assert_str_eq(out.value, "kept");
    pirn_deferred_release(k->fired);
    cr_assert_eq(pirn_await(k->later, &out, PIRN_FOREVER), PIRN_ECLOSED);
    pirn_deferred_release(k->later);
    cr_assert_eq(pirn_await(pirn_looping_call_done(k->loop), NULL, PIRN_FOREVER), 0);
    pirn_looping_call_stop(k->loop);
    pirn_looping_call_release(k->loop);
    cr_assert_eq(pirn_processor_call(k->processor, NULL, NULL, NULL, PIRN_FOREVER), PIRN_ECLOSED);
    pirn_processor_stop(k->processor);
    cr_assert_eq(pirn_processor_join(k->processor, PIRN_FOREVER), 0);
    int number = 7, got = 0;
    cr_assert_eq(pirn_post(k->foreign, k->channel, &number), PIRN_ECLOSED);
    cr_assert_eq(pirn_foreign_spawn(k->foreign, do_nothing, NULL), PIRN_ECLOSED);
    pirn_foreign_close(k->foreign);
    cr_assert_eq(pirn_write(k->socket, "x", 1, NULL, PIRN_FOREVER), PIRN_EBADF);
    cr_assert_eq(pirn_close(k->socket), PIRN_EBADF);
    pirn_pool_close(k->pool);
    cr_assert_eq(pirn_send(k->channel, &number, PIRN_NOW), 0); /* a channel belongs to no runtime */
    cr_assert_eq(pirn_recv(k->channel, &got, PIRN_NOW), 0);
    cr_assert_eq(got, 7);
    pirn_channel_destroy(k->channel);
    cr_assert_eq(pirn_sleep_until(pirn_after(10 * PIRN_MILLISECOND)), 0);
    return 0;
}

/* Goal: what a program keeps of an earlier run is harmless in the next one, with any number of workers.
 * Method: in a first run one of each kind is made and kept, at the first and at the last worker; each call on it in a
 *       second run gives the documented code, and strikes no tasklet of that run. */
Test(runtime, handles_of_an_earlier_run_are_harmless) {
    static const unsigned counts[][2] = {{8, 1}, {1, 8}, {2, 2}};
    for (size_t i = 0; i < 3; i++) {
        for (int which = 0; which < ENGINE_MODES; which++) {
            pirn_options options = engine_options(which);
            kept k = {.workers = which == 2 ? 1 : counts[i][0], .victim_saw = 1};
            options.workers = k.workers;
            cr_assert_eq(pirn_run(&options, keep_handles, &k), 0);
            options.workers = counts[i][1];
            captured said = capture_begin();
            int result = pirn_run(&options, use_handles, &k);
            free(capture_end(said));
            cr_assert_eq(result, 0);
            cr_assert_eq(k.victim_saw, 0, "%s", pirn_error_name(k.victim_saw));
        }
    }
}

static int join_kept_processor(void *arg) {
    return pirn_processor_join(arg, PIRN_FOREVER);
}

/* Goal: the same, given up outside of any run.
 * Method: what was kept is released by a thread that is no worker. */
Test(runtime, deferreds_of_an_earlier_run_can_be_released_by_any_thread) {
    pirn_options options = engine_options(0);
    kept k = {.workers = 2};
    cr_assert_eq(pirn_run(&options, keep_handles, &k), 0);
    cr_assert_eq(pirn_deferred_fire(k.near_deferred, NULL, NULL), PIRN_ECLOSED);
    pirn_deferred_release(k.near_deferred);
    pirn_deferred_release(k.far_deferred);
    pirn_deferred_release(k.fired);
    pirn_deferred_release(k.later);
    pirn_looping_call_stop(k.loop);
    pirn_looping_call_release(k.loop);
    pirn_foreign_close(k.foreign);
    pirn_pool_close(k.pool);
    pirn_channel_destroy(k.channel);
    options.workers = 1;
    cr_assert_eq(pirn_run(&options, join_kept_processor, k.processor), 0); /* only a tasklet can */
}

/* ---- foreign threads around the first run ---- */

static _Atomic bool around_stop;
static _Atomic unsigned around_rounds;

static void *call_all_the_time(void *arg) {
    (void)arg;
    while (!around_stop) {
        pirn_runtime_info info;
        (void)pirn_runtime_describe(&info);
        (void)pirn_name();
        (void)pirn_worker();
        pirn_deferred *deferred = pirn_deferred_create_at(0, NULL, NULL);
        if (deferred) {
            (void)pirn_deferred_fire(deferred, NULL, NULL);
            (void)pirn_await(deferred, NULL, PIRN_NOW);
            pirn_deferred_release(deferred);
        }
        pirn_foreign *foreign = pirn_foreign_open();
        if (foreign) {
            (void)pirn_foreign_spawn(foreign, do_nothing, NULL);
            pirn_foreign_close(foreign);
        }
        around_rounds++;
        usleep(100); /* no flood: the runtimes shall end, too */
    }
    return NULL;
}

static int wait_for_rounds(void *arg) {
    (void)arg;
    unsigned until = around_rounds + 20;
    while ((int)(around_rounds - until) < 0) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    return 0;
}

/* Goal: a foreign thread may call before, while and after the first run of a process, without a race.
 * Method: one that makes each of its calls all the time, while runtimes start and end in every mode; ThreadSanitizer
 *       judges. */
Test(runtime, foreign_calls_around_the_first_run_do_not_race) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, call_all_the_time, NULL), 0);
    while (around_rounds < 10) {
        usleep(200);
    }
    for (int round = 0; round < 6; round++) {
        pirn_options options = engine_options(round % ENGINE_MODES);
        cr_assert_eq(pirn_run(&options, wait_for_rounds, NULL), 0);
    }
    around_stop = true;
    cr_assert_eq(pthread_join(thread, NULL), 0);
}
