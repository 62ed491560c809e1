/* SPDX-License-Identifier: MIT
 *
 * What: the runs of a scenario (campaign.h).
 * Threads: the test's main thread. The handler of SIGALRM and SIGABRT tells where a run was when it hung or gave up.
 */
#include "campaign.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN_LIMIT_S  60
#define BURST        12
#define RUNS_DEFAULT 48
#define RUNS_LEAST   2
#define RUNS_MAX     100000

static struct {
    char where[200]; /* scenario, mode, kind and number of this run */
    int said, stderr_before;
} now;

/* ---- telling ---- */

static void write_all(const char *text, size_t bytes) {
    if (write(now.stderr_before, text, bytes) < 0) {
        return;
    }
}

/* Where the run is and what it said. Called from a handler, too. */
static void tell(const char *what) {
    static char text[16384];
    write_all(now.where, strlen(now.where));
    write_all(": ", 2);
    write_all(what, strlen(what));
    write_all("; it said:\n", 11);
    off_t end = lseek(now.said, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text ? end - (off_t)sizeof text : 0;
    ssize_t bytes = pread(now.said, text, sizeof text, from);
    write_all(text, bytes > 0 ? (size_t)bytes : 0);
}

static void gave_up(int signal_number) {
    signal(SIGABRT, SIG_DFL);
    tell(signal_number == SIGALRM ? "took too long" : "aborted");
    abort();
}

static void watch(void) {
    now.said = memfd_create("said", MFD_CLOEXEC);
    now.stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    cr_assert(now.said >= 0 && now.stderr_before >= 0);
    signal(SIGALRM, gave_up);
    signal(SIGABRT, gave_up);
    if (!getenv("PIRN_FAULT_LOUD")) {
        cr_assert_geq(dup2(now.said, STDERR_FILENO), 0);
    }
}

/* ---- judging ---- */

static bool explained(int code, int also) {
    static const int codes[] = {0, PIRN_ENOMEM, -EMFILE, PIRN_ELIMIT, -ENOSPC, PIRN_EFAILED};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (code == codes[i]) {
            return true;
        }
    }
    return code == also;
}

bool fault_expect_at(const char *file, int line, const char *text, int code, int also) {
    if (!explained(code, also)) {
        fprintf(stderr, "%s:%d: %s gave %d (%s)\n", file, line, text, code, pirn_error_name(code));
        abort();
    }
    return code == 0;
}

int fault_far(void) {
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    return (int)info.workers - 1;
}

pirn_tasklet fault_spawn(pirn_fn fn, void *arg, int home, unsigned flags) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.home = home;
    options.flags = flags;
    return pirn_spawn_with(&options, fn, arg);
}

static int wait_at(void *gate) {
    return pirn_recv(gate, NULL, PIRN_FOREVER);
}

enum { TAKERS_MAX = 4096 };
static pirn_tasklet takers[TAKERS_MAX];

unsigned fault_take_stacks(pirn_channel *gate) {
    for (unsigned count = 0;; count++) {
        TEST_CHECK(count < TAKERS_MAX);
        takers[count] = fault_spawn(wait_at, gate, pirn_worker(), PIRN_JOINABLE);
        pirn_yield();
        int result;
        if (pirn_join(takers[count], &result, PIRN_NOW) == 0) {
            TEST_CHECK(result == PIRN_ENOMEM);
            return count;
        }
    }
}

void fault_give_stacks(pirn_channel *gate, unsigned count) {
    pirn_channel_close(gate);
    for (unsigned i = 0; i < count; i++) {
        int result = fault_join(takers[i]);
        TEST_CHECK(result == PIRN_ECLOSED || result == 0);
    }
}

static int run_task(void *arg) {
    fault_task *task = arg;
    task->begun = true;
    return task->fn(task->arg);
}

bool fault_begin(fault_task *task, pirn_fn fn, void *arg, int home) {
    task->fn = fn;
    task->arg = arg;
    task->begun = false;
    task->handle = fault_spawn(run_task, task, home, PIRN_JOINABLE);
    if (task->handle.id == 0) {
        return false;
    }
    for (pirn_time until = FAULT_PATIENCE; !task->begun;) {
        int result, status = pirn_join(task->handle, &result, pirn_after(PIRN_MILLISECOND));
        if (status == 0) {
            TEST_CHECK(result == PIRN_ENOMEM || task->begun);
            task->handle.id = 0;
            task->result = result;
            return task->begun;
        }
        TEST_CHECK(status == PIRN_ETIMEDOUT || status == PIRN_ENOMEM);
        TEST_CHECK(pirn_now() < until);
    }
    return true;
}

int fault_end(fault_task *task) {
    return task->handle.id == 0 ? task->result : fault_join(task->handle);
}

int fault_join(pirn_tasklet task) {
    int result, status;
    do {
        status = pirn_join(task, &result, FAULT_PATIENCE);
    } while (status == PIRN_ENOMEM);
    TEST_CHECK(status == 0);
    return result;
}

static long entries(const char *path) {
    DIR *folder = opendir(path);
    cr_assert_not_null(folder);
    long count = 0;
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

typedef struct holdings {
    long blocks, descriptors, threads;
} holdings;

static holdings held(void) {
    return (holdings){fault_balance(), entries("/proc/self/fd"), entries("/proc/self/task")};
}

/* A thread that was joined may still be listed for a moment, and one that was detached may just be ending: a thread of
 * the run before this one may have been counted. */
static bool holds_more(const holdings *after, const holdings *before) {
    return after->blocks != before->blocks || after->descriptors != before->descriptors ||
           after->threads > before->threads;
}

static void check_holdings(const holdings *before) {
    holdings after = held();
    for (int i = 0; i < 2000 && holds_more(&after, before); i++) {
        usleep(1000);
        after = held();
    }
    if (holds_more(&after, before)) {
        fprintf(stderr, "blocks %ld, %ld before; descriptors %ld, %ld before; threads %ld, %ld before\n", after.blocks,
                before->blocks, after.descriptors, before->descriptors, after.threads, before->threads);
        abort();
    }
}

/* ---- running ---- */

typedef struct run_record {
    const fault_scenario *scenario;
    const test_mode *mode;
    unsigned kinds;
    long first, count; /* which calls fail */
    long asked, failed;
} run_record;

static atomic_uint reports;

unsigned fault_reports(void) {
    return atomic_load(&reports);
}

static void note_report(void *context, int code, const char *text) {
    (void)context;
    (void)code;
    atomic_fetch_add(&reports, 1);
    fprintf(stderr, "reported: %s\n", text);
}

static int run_main(void *arg) {
    run_record *run = arg;
    if (!run->scenario->from_the_start) {
        fault_arm(run->kinds, run->first, run->count);
    }
    return run->scenario->body(NULL);
}

static void run_once(run_record *run) {
    snprintf(now.where, sizeof now.where, "%s, %s: %s, %ld from number %ld on", run->scenario->name, run->mode->name,
             run->kinds == FAULT_MEMORY ? "memory" : "system calls", run->count, run->first);
    TEST_CHECK(ftruncate(now.said, 0) == 0 && lseek(now.said, 0, SEEK_SET) == 0);
    if (getenv("PIRN_FAULT_LOUD")) {
        fprintf(stderr, "%s\n", now.where);
    }
    if (run->scenario->prepare) {
        run->scenario->prepare();
    }
    pirn_options options;
    test_mode_options(run->mode, &options);
    options.stuck_warn_ns = PIRN_FOREVER;
    options.on_error = note_report;
    options.slice_warn_ns = PIRN_SECOND; /* other tests are running, too */
    atomic_store(&reports, 0);
    alarm(RUN_LIMIT_S);
    if (run->scenario->from_the_start) {
        fault_arm(run->kinds, run->first, run->count);
    }
    int result = pirn_run(&options, run_main, run);
    fault_disarm(&run->asked, &run->failed);
    alarm(0);
    (void)fault_expect(result, 0);
}

/* First without a fault, to warm up what stays and to count; then each call in turn, in steps when there are more of
 * them than this build has time for. The rest of the division makes the runs of a day try different ones. */
static void sweep(run_record *run, long count) {
    run->first = RUNS_MAX;
    run->count = 1;
    run_once(run);
    TEST_CHECK(run->failed == 0);
    run_once(run);
    holdings before = held();
    unsigned wanted = run->scenario->runs ? run->scenario->runs : RUNS_DEFAULT;
    long step = getenv("PIRN_FAULT_WHOLE") ? 1 : run->asked / (long)pirn_test_count(wanted, RUNS_LEAST) + 1;
    run->count = count;
    for (run->first = 1 + (step > 1 ? (long)getpid() % step : 0); run->first < RUNS_MAX; run->first += step) {
        run_once(run);
        check_holdings(&before);
        if (run->failed == 0) {
            return;
        }
    }
    TEST_CHECK(!"a run without a fault comes");
}

static void *no_work(void *arg) {
    return arg;
}

void fault_campaign(const fault_scenario *scenario) {
    watch();
    pthread_join(fault_thread(no_work, NULL), NULL); /* sanitizers start a thread of their own with the first */
    for (size_t i = 0; i < TEST_MODES; i++) {
        for (unsigned kind = FAULT_MEMORY; kind <= FAULT_SYSTEM; kind++) {
            run_record run = {.scenario = scenario, .mode = &test_modes[i], .kinds = kind};
            sweep(&run, 1);
            sweep(&run, BURST);
        }
    }
    dup2(now.stderr_before, STDERR_FILENO);
}
