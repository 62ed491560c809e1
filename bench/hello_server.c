/* SPDX-License-Identifier: MIT
 *
 * What: starting a server's process, loading it, ending it (see hello_server.h).
 * Threads: the sample's process, which has one.
 */
#include "hello_server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"
#include "out.h"

static const unsigned connection_counts[] = {8, 64, 512};

typedef struct server {
    pid_t process;
    unsigned port;
} server;

static _Noreturn void server_main(hello_serve serve, const bench_setting *setting, int write_end) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *ready = fdopen(write_end, "w");
    _exit(ready && serve(setting, ready) == 0 ? 0 : 1);
}

/* Fork the server and read its port; its other lines go on to pirn-bench. */
static int start_server(server *s, hello_serve serve, const bench_setting *setting, bench_out *out) {
    int ends[2];
    char line[128];
    if (pipe(ends) != 0) {
        return -errno;
    }
    fflush(NULL);
    s->port = 0;
    s->process = fork();
    if (s->process == 0) {
        close(ends[0]);
        server_main(serve, setting, ends[1]);
    }
    close(ends[1]);
    FILE *ready = fdopen(ends[0], "r");
    while (s->process > 0 && ready && s->port == 0 && fgets(line, sizeof line, ready)) {
        if (sscanf(line, "port %u", &s->port) != 1) {
            fputs(line, out->pipe);
        }
    }
    if (ready) {
        fclose(ready);
    }
    return s->port != 0 ? 0 : -ECONNREFUSED;
}

/* A server that does not end well was not measured well. */
static int stop_server(const server *s) {
    int status = 1;
    if (s->process <= 0) {
        return 0;
    }
    kill(s->process, SIGTERM);
    return waitpid(s->process, &status, 0) == s->process && status == 0 ? 0 : -EPROTO;
}

static int load_once(const server *s, unsigned connections, load_result *result) {
    int error = load_wrk(s->port, connections, bench_sample_ns, result);
    return error == -ENOENT ? load_own(s->port, connections, bench_sample_ns, result) : error;
}

static int measure_connections(const server *s, unsigned connections, const char *suffix, bench_out *out) {
    load_result result;
    char variant[32];
    int error = load_own(s->port, connections, bench_sample_ns / 4, &result); /* warm-up */
    int64_t before = load_cpu_ns(s->process);
    if (error == 0) {
        error = load_once(s, connections, &result);
    }
    int64_t after = load_cpu_ns(s->process);
    if (error != 0 || before < 0 || after < 0 || result.requests == 0) {
        return error != 0 ? error : -EPROTO;
    }
    snprintf(variant, sizeof variant, "c%u%s", connections, suffix);
    bench_tell(out, variant, "requests/s", BENCH_HIGHER, (double)result.requests / result.seconds);
    snprintf(variant, sizeof variant, "c%u-cpu%s", connections, suffix);
    bench_tell(out, variant, "ns", BENCH_LOWER, (double)(after - before) / (double)result.requests);
    return 0;
}

int hello_measure(hello_serve serve, const bench_setting *setting, const char *suffix, bench_out *out) {
    server s;
    int error = start_server(&s, serve, setting, out);
    for (size_t i = 0; error == 0 && i < sizeof connection_counts / sizeof *connection_counts; i++) {
        error = measure_connections(&s, connection_counts[i], suffix, out);
    }
    int stopped = stop_server(&s);
    return error != 0 ? error : stopped;
}
