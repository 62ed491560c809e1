/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/runtime.c: pirn_run from the outside: results, threads, thousands of starts and stops.
 */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

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
