/* SPDX-License-Identifier: MIT
 *
 * What: promises about the whole program, looked at from outside, in the real pirn-web: idle costs nothing, and which
 *       threads there are.
 */
#include "program.h"

#include <dirent.h>
#include <sys/resource.h>

#define CONNECTIONS 1000

static void read_hello(int fd) {
    char text[1024];
    size_t length = 0;
    do {
        ssize_t count = read(fd, text + length, sizeof text - 1 - length);
        cr_assert(count > 0);
        length += (size_t)count;
        text[length] = '\0';
    } while (!strstr(text, "Hello, world!"));
}

/* Nanoseconds that all threads of the process have run; -1 when the kernel does not tell. */
static int64_t cpu_ns(pid_t pid) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    cr_assert(tasks != NULL);
    int64_t sum = 0;
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        if (task->d_name[0] != '.') {
            snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
            FILE *file = fopen(path, "r");
            long long ns = 0;
            if (!file || fscanf(file, "%lld", &ns) != 1) {
                sum = -1;
            }
            if (file) {
                fclose(file);
            }
            if (sum < 0) {
                break;
            }
            sum += ns;
        }
    }
    closedir(tasks);
    return sum;
}

static void raise_limit(void) {
    struct rlimit limit;
    cr_assert(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* What the program uses of the processor in ten seconds; -1 when the kernel does not tell. */
static int64_t idle_cost_ns(program p) {
    sleep(3); /* what the start and the requests left to do is over then */
    int64_t before = cpu_ns(p.pid);
    sleep(10);
    int64_t after = cpu_ns(p.pid);
    return before < 0 || after < 0 ? -1 : after - before;
}

/* Where the cost of idling is not to be measured, the connections are made and used all the same: what breaks with
 * many of them is then told. */
static void stay_idle(const char *const flags[]) {
    static int fds[CONNECTIONS];
    int count = (int)pirn_test_count(CONNECTIONS, 100);
    raise_limit();
    program p = program_start(flags);
    for (int i = 0; i < count; i++) {
        fds[i] = program_connect(p);
        program_ask(fds[i], "/hello");
        read_hello(fds[i]);
    }
    int64_t used = pirn_test_keeps_time() ? idle_cost_ns(p) : -1;
    for (int i = 0; i < count; i++) {
        program_ask(fds[i], "/hello"); /* they still live */
        read_hello(fds[i]);
        close(fds[i]);
    }
    program_stop(p);
    if (!pirn_test_keeps_time()) {
        cr_skip_test("the CPU time of idling is a promise of the release build");
    }
    if (used < 0) {
        cr_skip_test("the kernel tells no CPU time (/proc/PID/task/TID/schedstat)");
    }
    fprintf(stderr, "%s %s: 10 s idle with %d connections cost %lld us of CPU\n", flags[1], flags[2] ? flags[3] : "",
            count, (long long)used / 1000);
    cr_assert(used < 10 * 1000 * 1000, "%lld ns", (long long)used);
}

Test(promises, idle_costs_nothing_reactor_performs, .timeout = 120) {
    /* Goal: 1,000 parked keep-alive connections for 10 s cost under 10 ms of CPU in all (rule 8).
     * Method: the kernel's own count of what every thread of the program ran. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "reactor", "--workers", "2", NULL};
    stay_idle(flags);
}

Test(promises, idle_costs_nothing_workers_perform, .timeout = 120) {
    /* Goal and method: as above, with the workers' own readiness sets. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "worker", "--workers", "2", NULL};
    stay_idle(flags);
}

Test(promises, idle_costs_nothing_single, .timeout = 120) {
    /* Goal and method: as above, on one thread. */
    const char *const flags[] = {"--mode", "single", NULL};
    stay_idle(flags);
}

/* ---- threads ---- */

/* The number of threads; with `single` each must be main, an offload thread or the watchdog. */
static int count_threads(pid_t pid, bool single) {
    char path[300], name[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    cr_assert(tasks != NULL);
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        if (task->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/task/%s/comm", pid, task->d_name);
        FILE *file = fopen(path, "r");
        cr_assert(file && fgets(name, sizeof name, file));
        fclose(file);
        name[strcspn(name, "\n")] = '\0';
        bool expected =
            strcmp(name, "pirn-web") == 0 || strncmp(name, "offload", 7) == 0 || strcmp(name, "watchdog") == 0;
        bool instrumented = getenv("PIRN_TEST_DIVISOR") && strcmp(getenv("PIRN_TEST_DIVISOR"), "1") != 0;
        cr_assert(!single || expected || instrumented, "a thread called %s", name); /* sanitizers have their own */
        count++;
    }
    closedir(tasks);
    return count;
}

/* A listening socket whose connections nobody takes: the kernel shakes hands, and no answer ever comes. */
static int listen_silently(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&address, &bytes) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* Read until the page has got as far as its fetch. */
static void read_until_fetch(int fd) {
    static char text[65536];
    size_t length = 0;
    do {
        ssize_t count = read(fd, text + length, sizeof text - 1 - length);
        cr_assert(count > 0);
        length += (size_t)count;
        text[length] = '\0';
    } while (!strstr(text, "HTTP:"));
}

static void fetch_many(const char *mode, const char *poll) {
    int silent_port, fds[100];
    char target[64];
    int silent = listen_silently(&silent_port);
    snprintf(target, sizeof target, "http://127.0.0.1:%d/", silent_port);
    bool single = strcmp(mode, "single") == 0;
    const char *const flags[] = {
        "--mode", mode,        "--poll",           poll, "--http-probability", "1", "--http-target",
        target,   "--workers", single ? "1" : "2", NULL};
    program p = program_start(flags);
    int warm = program_connect(p);
    program_ask(warm, "/"); /* the database's threads are there when its first request has passed them */
    read_until_fetch(warm);
    int before = count_threads(p.pid, single);
    for (int i = 0; i < 100; i++) {
        fds[i] = program_connect(p);
        program_ask(fds[i], "/");
    }
    for (int i = 0; i < 100; i++) {
        read_until_fetch(fds[i]);
    }
    cr_assert(count_threads(p.pid, single) == before);
    for (int i = 0; i < 100; i++) {
        close(fds[i]);
    }
    close(warm);
    close(silent);
    program_stop(p);
}

Test(promises, fetches_add_no_thread_threaded, .timeout = 120) {
    /* Goal: 100 HTTP fetches in flight add no thread.
     * Method: a target that never answers, the thread list before and with all of them parked. */
    fetch_many("threaded", "reactor");
}

Test(promises, fetches_add_no_thread_single, .timeout = 120) {
    /* Goal: as above; and in single mode there are main, offload threads and the watchdog only.
     * Method: as above, with the threads' names. */
    fetch_many("single", "worker");
}
