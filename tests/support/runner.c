/* SPDX-License-Identifier: MIT
 *
 * What: the runner behind test.h where Criterion cannot run: forks one child per test, several at once, and judges each
 *       by how it ended. Command line and TAP file as Criterion's, as far as ./dev uses them.
 * Threads: one, so that fork() is safe; a test's own threads live in its child.
 * States: of a test: waiting -> running (a pid) -> passed, failed or skipped.
 * Invariants: a child that ends in any way but the one its test expects has failed; so has one that outlives its time
 *       limit.
 */
#include "runner.h"

#include <errno.h>
#include <fnmatch.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_FAILED = 101, /* the child's word for a failed assertion                                         */
    EXIT_SKIPPED = 102,
    TIMEOUT_DEFAULT_S = 300,
    JOBS_MAX = 64,
};

typedef struct runner_job {
    runner_test *test;
    pid_t pid;
    struct timespec start;
    bool timed_out;
} runner_job;

typedef struct runner_state {
    const char *filter; /* a glob on "suite/name", or NULL                                                */
    FILE *tap;
    unsigned jobs_max, running;
    double timeout_s;
    unsigned tested, passed, failed, crashed, skipped;
    sigset_t mask_before; /* the signal mask that a test starts with                                       */
    runner_job jobs[JOBS_MAX];
} runner_state;

static runner_test *first_test;
static bool expectation_failed;

void runner_register(runner_test *test) {
    runner_test **place = &first_test;
    while (*place && (*place)->line < test->line) {
        place = &(*place)->next;
    }
    test->next = *place;
    *place = test;
}

void runner_fail(bool fatal, const char *file, int line, const char *what, const char *format, ...) {
    char message[1024] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "[----] %s:%d: Assertion failed: %s%s%s\n", file, line, what, message[0] ? ": " : "", message);
    fflush(NULL);
    expectation_failed = true;
    if (fatal) {
        _exit(EXIT_FAILED);
    }
}

/* Why the child of each job skipped its test: memory it shares with its parent. */
#define REASON_BYTES 128
static char (*reasons)[REASON_BYTES];
static char *my_reason; /* in a child                                                                      */

void runner_skip(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(my_reason, REASON_BYTES, format, arguments);
    va_end(arguments);
    fflush(NULL);
    _exit(EXIT_SKIPPED);
}

_Noreturn static void child_main(const runner_test *test) {
    if (test->options.init) {
        test->options.init();
    }
    test->body();
    if (test->options.fini) {
        test->options.fini();
    }
    /* exit, not _exit: the sanitizer's last word is an exit handler, and its code (66) fails the test. */
    exit(expectation_failed ? EXIT_FAILED : 0);
}

static double seconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void tell(runner_state *state, const runner_job *job, const char *verdict, const char *why) {
    const runner_test *test = job->test;
    bool bad = strcmp(verdict, "FAIL") == 0;
    fprintf(stderr, "[%s] %s::%s%s%s: (%.2fs)\n", verdict, test->suite, test->name, why[0] ? ": " : "", why,
            seconds_since(&job->start));
    if (state->tap) {
        fprintf(state->tap, "%sok - %s::%s %s%s\n", bad ? "not " : "", test->suite, test->name,
                strcmp(verdict, "SKIP") == 0 ? "# SKIP " : "", why);
    }
}

/* How the test ended against how it was to end. */
static void judge(runner_state *state, const runner_job *job, int status) {
    const runner_options *options = &job->test->options;
    char why[128] = "";
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        state->skipped++;
        tell(state, job, "SKIP", reasons[job - state->jobs]);
        return;
    }
    state->tested++;
    bool expected = options->signal ? WIFSIGNALED(status) && WTERMSIG(status) == options->signal
                                    : WIFEXITED(status) && WEXITSTATUS(status) == options->exit_code;
    if (expected && !job->timed_out) {
        state->passed++;
        tell(state, job, "PASS", "");
        return;
    }
    if (job->timed_out) {
        snprintf(why, sizeof why, "timed out");
    } else if (WIFSIGNALED(status)) {
        snprintf(why, sizeof why, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != EXIT_FAILED) {
        snprintf(why, sizeof why, "exit code %d", WEXITSTATUS(status));
    }
    state->failed++;
    state->crashed += WIFSIGNALED(status) && !job->timed_out;
    tell(state, job, "FAIL", why);
}

static void start(runner_state *state, runner_test *test) {
    runner_job *job = state->jobs;
    while (job->pid) {
        job++;
    }
    *job = (runner_job){.test = test};
    clock_gettime(CLOCK_MONOTONIC, &job->start);
    fflush(NULL);
    my_reason = reasons[job - state->jobs];
    my_reason[0] = '\0';
    job->pid = fork();
    if (job->pid == 0) {
        setpgid(0, 0); /* a time-out then also ends what the test started */
        sigprocmask(SIG_SETMASK, &state->mask_before, NULL);
        child_main(test);
    }
    if (job->pid < 0) {
        perror("fork");
        exit(70);
    }
    state->running++;
}

static void kill_late_jobs(runner_state *state) {
    for (runner_job *job = state->jobs; job < state->jobs + state->jobs_max; job++) {
        double limit = job->pid && job->test->options.timeout > 0 ? job->test->options.timeout : state->timeout_s;
        if (job->pid && !job->timed_out && seconds_since(&job->start) > limit) {
            job->timed_out = true;
            kill(-job->pid, SIGKILL);
            kill(job->pid, SIGKILL);
        }
    }
}

/* Wait until one child has ended and judge it. SIGCHLD is blocked, so sigtimedwait sees each end and the clock. */
static void reap_one(runner_state *state) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) == 0) {
        struct timespec turn = {.tv_nsec = 100000000};
        sigtimedwait(&child, NULL, &turn);
        kill_late_jobs(state);
    }
    for (runner_job *job = state->jobs; job < state->jobs + state->jobs_max; job++) {
        if (pid > 0 && job->pid == pid) {
            judge(state, job, status);
            job->pid = 0;
            state->running--;
        }
    }
}

static bool chosen(const runner_state *state, const runner_test *test) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
    return !state->filter || fnmatch(state->filter, name, 0) == 0;
}

static void run_all(runner_state *state) {
    for (runner_test *test = first_test; test; test = test->next) {
        if (!chosen(state, test)) {
            continue;
        }
        if (test->options.disabled) {
            runner_job job = {.test = test};
            clock_gettime(CLOCK_MONOTONIC, &job.start);
            state->skipped++;
            tell(state, &job, "SKIP", "disabled");
            continue;
        }
        while (state->running >= state->jobs_max) {
            reap_one(state);
        }
        start(state, test);
    }
    while (state->running > 0) {
        reap_one(state);
    }
}

static void list_all(void) {
    for (const runner_test *test = first_test; test; test = test->next) {
        printf("%s: %s\n", test->suite, test->name);
    }
}

/* The value of "--name=value" or "--name value" or "-n value" at argv[*index]; NULL when it is another argument. */
static const char *value_of(char **argv, int *index, const char *name, const char *letter) {
    const char *argument = argv[*index];
    size_t length = strlen(name);
    if (strncmp(argument, name, length) == 0 && argument[length] == '=') {
        return argument + length + 1;
    }
    if ((strcmp(argument, name) == 0 || strcmp(argument, letter) == 0) && argv[*index + 1]) {
        return argv[++*index];
    }
    if (strncmp(argument, letter, 2) == 0 && letter[2] == '\0' && argument[2] != '\0') {
        return argument + 2;
    }
    return NULL;
}

static void parse(runner_state *state, char **argv) {
    for (int i = 1; argv[i]; i++) {
        const char *value;
        if (strcmp(argv[i], "--list") == 0 || strcmp(argv[i], "-l") == 0) {
            list_all();
            exit(0);
        } else if ((value = value_of(argv, &i, "--filter", "-f"))) {
            state->filter = value;
        } else if ((value = value_of(argv, &i, "--jobs", "-j"))) {
            unsigned jobs = (unsigned)strtoul(value, NULL, 10);
            state->jobs_max = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs;
        } else if ((value = value_of(argv, &i, "--timeout", "-t"))) {
            state->timeout_s = strtod(value, NULL);
        } else if ((value = value_of(argv, &i, "--tap", "-T"))) {
            state->tap = fopen(value, "w");
        } else if (strncmp(argv[i], "--color", 7) != 0 && strcmp(argv[i], "--verbose") != 0) {
            fprintf(stderr, "unknown argument %s; known: --list, --filter GLOB, --jobs N, --timeout S, --tap FILE\n",
                    argv[i]);
            exit(2);
        }
    }
}

/* Of LeakSanitizer; not there with another one. */
extern void __lsan_do_leak_check(void) __attribute__((weak));

/* Read a byte of each page of a module's data. Sanitizers keep other data beside a variable's. */
__attribute__((no_sanitize("address", "thread"))) static int touch_data(struct dl_phdr_info *module, size_t info_bytes,
                                                                        void *unused) {
    (void)info_bytes, (void)unused;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W)) {
            const volatile char *data = (const volatile char *)(module->dlpi_addr + segment->p_vaddr);
            for (size_t at = 0; at < segment->p_memsz; at += (size_t)sysconf(_SC_PAGESIZE)) {
                (void)data[at];
            }
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    if (__lsan_do_leak_check) {
        /* Each child reads all of this when it looks for leaks: with the pages there before the forks, not after each,
         * a small test takes 40 ms of CPU and not 62. */
        (void)dl_iterate_phdr(touch_data, NULL);
    }
    static runner_state state;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    state.jobs_max = cores < 1 ? 1 : cores > JOBS_MAX / 2 ? JOBS_MAX : (unsigned)cores * 2;
    state.timeout_s = TIMEOUT_DEFAULT_S;
    parse(&state, argv);
    reasons = mmap(NULL, JOBS_MAX * sizeof *reasons, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reasons == MAP_FAILED) {
        perror("mmap");
        return 70;
    }
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &state.mask_before);
    run_all(&state);
    if (state.tap) {
        fclose(state.tap);
    }
    fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n", state.tested,
            state.passed, state.failed, state.crashed);
    return state.failed ? 1 : 0;
}
