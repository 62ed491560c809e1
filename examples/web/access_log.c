/* SPDX-License-Identifier: MIT
 *
 * What: the access log. Workers append lines to one of two buffers and never wait for its reader; a thread of an
 *       offload pool takes the full one and writes it.
 * Threads: append: any, under a mutex held for one copy; write: the job's thread; open and close: the main tasklet.
 * Bounds: BUFFER_BYTES of unwritten lines. What does not fit is dropped and counted, and the count is written as a line
 *       once there is room again; the sum of all that is missing is told on stderr, once a minute and at the end.
 * Why poll before write: after POLLOUT a pipe takes PIPE_BUF bytes without blocking, so a reader that stands still
 *       cannot hold up the program's end either, and nobody's descriptor has to be made non-blocking (stderr is shared
 *       with others).
 */
#include "web.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 10)
#define LINE_BYTES   512
#define POLL_MS      100
#define TELL_NS      (60 * PIRN_SECOND) /* between two lines on stderr about missing ones */
#define CLOSE_NS     PIRN_SECOND

typedef struct buffer {
    size_t used;
    bool begins_with_count; /* "N lines dropped", which is no request's line */
    char bytes[BUFFER_BYTES];
} buffer;

struct access_log {
    /* immutable */
    int descriptor;
    pirn_pool *pool;
    pirn_deferred *ended;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool waiting, stop;
    pirn_time stop_at; /* after stop: when to give up */
    uint64_t dropped;  /* not yet written as a line */
    buffer *filling;
    /* the writer's, then close's */
    buffer *writing;
    uint64_t missing; /* from the log, all in all */
    uint64_t missing_told;
    pirn_time told_at;
};

/* Lock held. */
static bool append(access_log *log, const char *line, size_t length) {
    buffer *filling = log->filling;
    if (BUFFER_BYTES - filling->used < length + 1) {
        return false;
    }
    memcpy(filling->bytes + filling->used, line, length);
    filling->bytes[filling->used + length] = '\n';
    filling->used += length + 1;
    return true;
}

void access_log_record(void *context, const pirn_http_access *access) {
    access_log *log = context;
    char line[LINE_BYTES];
    size_t length = pirn_http_access_format(access, line, sizeof line);
    pthread_mutex_lock(&log->lock);
    if (!append(log, line, length)) {
        log->dropped++;
    }
    if (log->waiting) {
        log->waiting = false;
        pthread_cond_signal(&log->wake);
    }
    pthread_mutex_unlock(&log->lock);
}

/* ---- the writer's thread ---- */

/* Wait for lines and take them. False: none are left and it is the end. */
static bool take(access_log *log) {
    pthread_mutex_lock(&log->lock);
    while (!log->filling->used && !log->dropped && !log->stop) {
        log->waiting = true;
        pthread_cond_wait(&log->wake, &log->lock);
    }
    log->waiting = false;
    buffer *full = log->filling;
    log->filling = log->writing;
    log->writing = full;
    if (log->dropped) {
        char line[64];
        int length = snprintf(line, sizeof line, "%llu lines dropped", (unsigned long long)log->dropped);
        append(log, line, (size_t)length);
        log->filling->begins_with_count = true;
        log->missing += log->dropped;
        log->dropped = 0;
    }
    bool more = full->used || log->filling->used;
    pthread_mutex_unlock(&log->lock);
    return more;
}

static bool given_up(access_log *log) {
    pthread_mutex_lock(&log->lock);
    bool over = log->stop && pirn_now() >= log->stop_at;
    pthread_mutex_unlock(&log->lock);
    return over;
}

/* Only if stderr takes it at once: it may be the log's own descriptor, and its reader the one that stands still. */
static void tell_missing(access_log *log, const char *when) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (log->missing && poll(&ready, 1, 0) > 0) {
        complain("access log: %llu lines dropped%s", (unsigned long long)log->missing, when);
        log->missing_told = log->missing;
        log->told_at = pirn_now();
    }
}

/* The requests' lines that end in what was not written. */
static uint64_t count_unwritten(const buffer *full, size_t done) {
    uint64_t lines = 0;
    for (size_t i = done; i < full->used; i++) {
        lines += full->bytes[i] == '\n';
    }
    const char *first_end = memchr(full->bytes, '\n', full->used);
    bool with_count = full->begins_with_count && first_end && full->bytes + done <= first_end;
    return lines - (with_count ? 1 : 0);
}

/* Write what was taken, a piece at a time; lines are lost only when the descriptor fails or the program ends without a
 * reader. */
static void write_out(access_log *log) {
    buffer *full = log->writing;
    size_t done = 0;
    while (done < full->used && !given_up(log)) {
        struct pollfd ready = {.fd = log->descriptor, .events = POLLOUT};
        if (poll(&ready, 1, POLL_MS) <= 0) {
            continue;
        }
        size_t piece = full->used - done < PIPE_BUF ? full->used - done : PIPE_BUF;
        ssize_t moved = write(log->descriptor, full->bytes + done, piece);
        if (moved < 0 && errno != EINTR && errno != EAGAIN) {
            break;
        }
        done += moved > 0 ? (size_t)moved : 0;
    }
    log->missing += count_unwritten(full, done);
    full->used = 0;
    full->begins_with_count = false;
}

static int write_lines(void *arg, pirn_result *out) {
    (void)out;
    access_log *log = arg;
    while (take(log)) {
        write_out(log);
        if (log->missing > log->missing_told && (log->told_at == 0 || pirn_now() - log->told_at >= TELL_NS)) {
            tell_missing(log, " so far");
        }
    }
    return 0;
}

/* ---- open and close ---- */

static void destroy(access_log *log) {
    pirn_pool_close(log->pool);
    if (log->descriptor > STDERR_FILENO) {
        close(log->descriptor);
    }
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->wake);
    free(log->filling);
    free(log->writing);
    free(log);
}

static access_log *create(int descriptor) {
    access_log *log = calloc(1, sizeof *log);
    if (!log) {
        return NULL;
    }
    log->descriptor = descriptor;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->wake, NULL);
    log->filling = calloc(1, sizeof *log->filling);
    log->writing = calloc(1, sizeof *log->writing);
    log->pool = pirn_pool_create("log", 1, 1);
    if (log->filling && log->writing && log->pool) {
        const pirn_work work = {.pool = log->pool, .work = write_lines, .arg = log, .name = "access log"};
        log->ended = pirn_offload_with(&work);
    }
    if (!log->ended) {
        destroy(log);
        return NULL;
    }
    return log;
}

/* A FIFO that nobody reads would hold the whole program here: so it is opened without waiting, and then made to wait,
 * since it is the log's own thread that writes. -1 with errno. */
static int open_file(const char *path) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
    if (descriptor >= 0) {
        (void)fcntl(descriptor, F_SETFL, O_APPEND);
    }
    return descriptor;
}

/* Why `path` could not be opened, from errno. ENXIO is also a socket's. */
static const char *reason(const char *path) {
    int error = errno;
    struct stat status;
    bool fifo = error == ENXIO && stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
    return fifo ? "it is a FIFO and nobody reads it" : pirn_strerror(-error);
}

access_log *access_log_open(const char *path) {
    int descriptor = strcmp(path, "-") == 0 ? STDERR_FILENO : open_file(path);
    if (descriptor < 0) {
        complain("cannot write the access log %s: %s", path, reason(path));
        return NULL;
    }
    access_log *log = create(descriptor);
    if (!log) {
        complain("cannot start the access log: no memory or no thread");
    }
    return log;
}

void access_log_close(access_log *log) {
    if (!log) {
        return;
    }
    pthread_mutex_lock(&log->lock);
    log->stop = true;
    log->stop_at = pirn_after(CLOSE_NS);
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    pirn_shield_enter();
    pirn_result result;
    (void)pirn_await_take(log->ended, &result, PIRN_FOREVER);
    pirn_result_drop(&result);
    pirn_shield_leave();
    tell_missing(log, "");
    destroy(log);
}
