/* SPDX-License-Identifier: MIT
 *
 * What: every public call that can wait, in every context that cannot: each gives PIRN_ETHREAD and one line that names
 *       the call, and nothing stops or aborts.
 * Threads: main_fn's tasklet; callbacks on its worker; an offload thread; a foreign thread.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <pirn/http.h>
#include <pirn/sql.h>

#include "modes.h"

#define LATER pirn_after(3600 * PIRN_SECOND)

/* What the calls below are made on: alive, and nothing they wait for ever comes. */
static struct {
    pirn_channel *channel;
    pirn_deferred *unfired;
    pirn_tasklet parked;
    pirn_processor *processor;
    pirn_listener *listener;
    pirn_http_server *server;
    pirn_sql_pool *pool;
    int pipe_ends[2];
} made;

static int no_call(void *arg, pirn_result *out) {
    (void)arg, (void)out;
    return 0;
}

static int call_sleep(pirn_time deadline) {
    return pirn_sleep_until(deadline);
}

static int call_join(pirn_time deadline) {
    return pirn_join(made.parked, NULL, deadline);
}

static int call_send(pirn_time deadline) {
    char byte = 0;
    return pirn_send(made.channel, &byte, deadline);
}

static int call_recv(pirn_time deadline) {
    char byte;
    return pirn_recv(made.channel, &byte, deadline);
}

static int call_select(pirn_time deadline) {
    char byte;
    pirn_case one = {.channel = made.channel, .direction = PIRN_RECV, .elem = &byte};
    return pirn_select(&one, 1, deadline);
}

static int call_await(pirn_time deadline) {
    return pirn_await(made.unfired, NULL, deadline);
}

static int call_await_take(pirn_time deadline) {
    pirn_result result;
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN; /* it would cancel what nobody else waits for */
    }
    return pirn_await_take(pirn_deferred_retain(made.unfired), &result, deadline);
}

static int call_blocking_tasklet(pirn_time deadline) {
    return pirn_blocking_tasklet(no_call, NULL, NULL, deadline);
}

static int call_processor(pirn_time deadline) {
    return pirn_processor_call(made.processor, NULL, NULL, NULL, deadline);
}

static int call_processor_join(pirn_time deadline) {
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_processor_join(made.processor, deadline);
}

static int call_inspect(pirn_time deadline) {
    pirn_snapshot *snapshot;
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_inspect(10, &snapshot, deadline);
}

static int call_fd_wait(pirn_time deadline) {
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_fd_wait(made.pipe_ends[0], PIRN_FD_READ, deadline);
}

static int call_connect(pirn_time deadline) {
    pirn_socket socket;
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_connect("127.0.0.1:9", &socket, deadline);
}

static int call_sql_query(pirn_time deadline) {
    pirn_sql_rows *rows;
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_sql_query(made.pool, "SELECT 1", NULL, 0, &rows, deadline);
}

static int call_http_get(pirn_time deadline) {
    pirn_http_page *page;
    return deadline == PIRN_NOW ? PIRN_EAGAIN : pirn_http_get("http://127.0.0.1:9/", &page, NULL, 0, deadline);
}

/* These three return nothing; what they were asked to close is still open afterwards. */
static int call_listener_close(pirn_time deadline) {
    if (deadline != PIRN_NOW) {
        pirn_listener_close(made.listener);
    }
    return deadline == PIRN_NOW ? PIRN_EAGAIN : PIRN_ETHREAD;
}

static int call_server_close(pirn_time deadline) {
    if (deadline != PIRN_NOW) {
        pirn_http_server_close(made.server, deadline);
    }
    return deadline == PIRN_NOW ? PIRN_EAGAIN : PIRN_ETHREAD;
}

static int call_sql_close(pirn_time deadline) {
    if (deadline != PIRN_NOW) {
        pirn_sql_close(made.pool);
    }
    return deadline == PIRN_NOW ? PIRN_EAGAIN : PIRN_ETHREAD;
}

static const struct {
    const char *name;
    int (*call)(pirn_time deadline);
    bool needs_worker; /* on another thread its line is about that                                       */
} calls[] = {
    {"pirn_sleep_until", call_sleep, false},
    {"pirn_join", call_join, true},
    {"pirn_send", call_send, false},
    {"pirn_recv", call_recv, false},
    {"pirn_select", call_select, false},
    {"pirn_await", call_await, false},
    {"pirn_await_take", call_await_take, true},
    {"pirn_blocking_tasklet", call_blocking_tasklet, false},
    {"pirn_processor_call", call_processor, false},
    {"pirn_processor_join", call_processor_join, false},
    {"pirn_inspect", call_inspect, false},
    {"pirn_fd_wait", call_fd_wait, false},
    {"pirn_connect", call_connect, false},
    {"pirn_sql_query", call_sql_query, false},
    {"pirn_http_get", call_http_get, false},
    {"pirn_listener_close", call_listener_close, false},
    {"pirn_http_server_close", call_server_close, false},
    {"pirn_sql_close", call_sql_close, false},
};
#define CALLS (sizeof calls / sizeof calls[0])

static _Atomic(unsigned) contexts_seen;

/* All of them, here, where nothing may wait. */
static void try_all(const char *context) {
    for (size_t i = 0; i < CALLS; i++) {
        int error = calls[i].call(LATER);
        if (error != PIRN_ETHREAD) {
            fprintf(stderr, "%s in %s gave %s\n", calls[i].name, context, pirn_error_name(error));
            abort();
        }
        if (pirn_worker() >= 0) {
            error = calls[i].call(PIRN_NOW); /* never waits, so it is allowed */
            bool sleeps = calls[i].call == call_sleep;
            if (error != (sleeps ? 0 : PIRN_EAGAIN)) {
                fprintf(stderr, "%s at once in %s gave %s\n", calls[i].name, context, pirn_error_name(error));
                abort();
            }
        }
    }
    pirn_yield(); /* nothing to do here, and no assertion */
    contexts_seen++;
}

/* ---- the contexts ---- */

static pirn_deferred *in_callback(void *context, pirn_result *result) {
    (void)result;
    try_all(context);
    return NULL;
}

static void in_canceller(pirn_deferred *deferred, void *context) {
    (void)deferred;
    try_all(context);
}

static void in_drop(void *value) {
    (void)value;
    try_all("a destructor");
}

static void in_error_handler(void *context, int code, const char *text) {
    (void)context, (void)code, (void)text;
    try_all("an error handler");
}

static int in_offload(void *arg, pirn_result *out) {
    (void)arg, (void)out;
    try_all("an offload thread");
    return 0;
}

static void *in_foreign_thread(void *arg) {
    (void)arg;
    try_all("a foreign thread");
    return NULL;
}

static int fail(void *arg) {
    (void)arg;
    return PIRN_EHTTP;
}

static void visit_deferreds(void) {
    pirn_deferred *d = pirn_deferred_create(in_canceller, "a canceller");
    TEST_CHECK(pirn_deferred_add_both(d, in_callback, "a callback after a cancel") == 0);
    TEST_CHECK(pirn_deferred_cancel(d) == 0);
    pirn_deferred_release(d);
    pirn_deferred *later = pirn_call_later(0);
    TEST_CHECK(pirn_deferred_add_both(later, in_callback, "a callback of the reactor's time") == 0);
    (void)pirn_await(later, NULL, PIRN_FOREVER);
    pirn_deferred_release(later);
    pirn_deferred *dropped = pirn_deferred_succeed("value", in_drop);
    pirn_deferred_release(dropped);
}

static void visit_destructors(void) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.drop = in_drop;
    pirn_channel *buffered = pirn_channel_create_with(1, 1, &options);
    TEST_CHECK(pirn_send(buffered, "x", PIRN_NOW) == 0);
    pirn_channel_destroy(buffered);
    TEST_CHECK(pirn_processor_call(made.processor, "request", in_drop, NULL, PIRN_NOW) == PIRN_EAGAIN);
    pirn_result result = {.value = "value", .drop = in_drop};
    pirn_result_drop(&result);
}

static int visit_all(void *arg) {
    (void)arg;
    contexts_seen = 0;
    visit_deferreds();                          /* 4 */
    visit_destructors();                        /* 3 */
    TEST_CHECK(pirn_spawn(fail, NULL).id != 0); /* 1 */
    while (contexts_seen < 8) {
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
    }
    pirn_deferred *job = pirn_offload(in_offload, NULL, NULL);
    TEST_CHECK(pirn_await(job, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(job);
    pirn_foreign *foreign = pirn_foreign_open();
    pthread_t thread;
    TEST_CHECK(pthread_create(&thread, NULL, in_foreign_thread, NULL) == 0);
    while (contexts_seen < 10) {
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
    }
    TEST_CHECK(pthread_join(thread, NULL) == 0);
    pirn_foreign_close(foreign);
    return 0;
}

/* ---- what they are made on ---- */

static int park(void *arg) {
    (void)arg;
    (void)pirn_sleep_until(PIRN_FOREVER);
    return 0;
}

static int act(void *context, void *request, pirn_result *out) {
    (void)context, (void)request, (void)out;
    return 0;
}

static int with_all_made(void *arg) {
    (void)arg;
    char error[128], path[] = "/tmp/pirn-waiting-XXXXXX";
    int file = mkstemp(path);
    TEST_CHECK(file >= 0);
    close(file);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    made.channel = pirn_channel_create(1, 0);
    made.unfired = pirn_deferred_create(NULL, NULL);
    made.parked = pirn_spawn_with(&options, park, NULL);
    made.processor = pirn_processor_create(act, NULL, NULL);
    made.server = pirn_http_server_create(NULL);
    pirn_listener *listener;
    TEST_CHECK(pipe(made.pipe_ends) == 0);
    TEST_CHECK(pirn_listen("127.0.0.1:0", NULL, &made.listener) == 0);
    TEST_CHECK(pirn_listen("127.0.0.1:0", NULL, &listener) == 0);
    TEST_CHECK(pirn_http_serve(made.server, listener) == 0);
    TEST_CHECK(pirn_sql_open(path, NULL, &made.pool, error, sizeof error) == 0);
    int result = visit_all(NULL);
    TEST_CHECK(pirn_processor_call(made.processor, NULL, NULL, NULL, LATER) == 0); /* it was not stopped */
    pirn_sql_close(made.pool);
    pirn_http_server_close(made.server, LATER);
    pirn_listener_close(made.listener);
    TEST_CHECK(pirn_processor_join(made.processor, PIRN_FOREVER) == 0);
    (void)pirn_cancel(made.parked);
    TEST_CHECK(pirn_join(made.parked, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(made.unfired);
    pirn_channel_destroy(made.channel);
    char beside[64];
    snprintf(beside, sizeof beside, "%s-wal", path);
    (void)unlink(beside);
    snprintf(beside, sizeof beside, "%s-shm", path);
    (void)unlink(beside);
    (void)unlink(path);
    close(made.pipe_ends[0]);
    close(made.pipe_ends[1]);
    return result;
}

static int in_mode(const test_mode *mode) {
    pirn_options options;
    test_mode_options(mode, &options);
    options.on_error = in_error_handler;
    return pirn_run(&options, with_all_made, NULL) == 0 ? 3 : 4;
}

Test(waiting, call_that_waits_where_nothing_may_is_refused_with_a_line, .timeout = 60) {
    /* Goal: no context turns a wait into an assertion, a hang or an endless loop, and the line names the call.
     * Method: all calls in callbacks, cancellers, destructors, the error handler, a job and a foreign thread. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char text[65536];
        int status = test_run_child(in_mode, &test_modes[i], text, sizeof text);
        cr_assert(status == 3, "%s: %d: %s", test_modes[i].name, status, text);
        for (size_t j = 0; j < CALLS; j++) {
            char line[64];
            snprintf(line, sizeof line, "pirn: %s() ", calls[j].name);
            cr_assert(strstr(text, line) || calls[j].needs_worker, "%s is not in: %s", line, text);
        }
    }
}
