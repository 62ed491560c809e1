/* SPDX-License-Identifier: MIT
 *
 * What: what the HTTP server's tests share: a small site on a real socket, a client that speaks bytes, and the three
 *       ways to run both.
 * Threads: site and client are used by tasklets of one pirn_run; handlers run on any worker, so what they count is
 *       atomic.
 */
#ifndef HTTP_SITE_H
#define HTTP_SITE_H

#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>

#include <pirn.h>
#include <pirn/http.h>

#include "socket.h"
#include "test.h"

#define PATIENCE (10 * PIRN_SECOND) /* a test that waits longer has failed */

static const struct {
    const char *name;
    pirn_mode mode;
    pirn_poll poll;
    unsigned workers;
} configurations[] = {
    {"threaded, reactor", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, 2},
    {"threaded, worker", PIRN_MODE_THREADED, PIRN_POLL_WORKER, 2},
    {"single", PIRN_MODE_SINGLE, PIRN_POLL_WORKER, 1},
};

typedef struct site {
    pirn_http_server *server;
    int port;
} site;

/* Per test process. */
static atomic_uint reports, cancelled, slow_running;
static char last_report[512];
static pthread_mutex_t last_report_lock = PTHREAD_MUTEX_INITIALIZER; /* handlers of all workers report */

static inline void count_report(void *context, int code, const char *text) {
    (void)context;
    (void)code;
    pthread_mutex_lock(&last_report_lock);
    snprintf(last_report, sizeof last_report, "%s", text);
    pthread_mutex_unlock(&last_report_lock);
    atomic_fetch_add(&reports, 1);
}

/* Run `body` once in each mode and policy; each run must end with 0. */
static inline void run_everywhere_with(pirn_fn body, void *arg) {
    for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++) {
        pirn_options options;
        pirn_options_init(&options);
        options.mode = configurations[i].mode;
        options.poll = configurations[i].poll;
        options.workers = configurations[i].workers;
        options.on_error = count_report;
        options.stuck_warn_ns = PIRN_FOREVER; /* its look would hide a lost wake-up */
        atomic_store(&reports, 0);
        atomic_store(&cancelled, 0);
        atomic_store(&slow_running, 0);
        cr_assert_eq(pirn_run(&options, body, arg), 0, "%s", configurations[i].name);
    }
}

static inline void run_everywhere(pirn_fn body) {
    run_everywhere_with(body, NULL);
}

/* ---- the site ---- */

static inline int hello(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/plain", "Hello, world!", 13);
}

/* Answers with the body it was sent. */
static inline int echo(pirn_http_exchange *exchange, void *context) {
    (void)context;
    size_t bytes;
    const void *body = pirn_http_body(exchange, &bytes);
    return pirn_http_reply(exchange, 200, "application/octet-stream", body, bytes);
}

/* "0 1 2 ... n-1 " in as many writes; ?flush=1 sends each at once. */
static inline int stream(pirn_http_exchange *exchange, void *context) {
    (void)context;
    char text[16];
    int count = pirn_http_query_field(exchange, "n", text, sizeof text) > 0 ? atoi(text) : 3;
    bool flush = pirn_http_query_field(exchange, "flush", text, sizeof text) > 0;
    int rc = pirn_http_field(exchange, "Content-Type", "text/plain");
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = pirn_http_print(exchange, "%d ", i);
        rc = rc == 0 && flush ? pirn_http_flush(exchange) : rc;
    }
    return rc;
}

/* ?n bytes in one reply. */
static inline int big(pirn_http_exchange *exchange, void *context) {
    (void)context;
    char text[16];
    size_t bytes = pirn_http_query_field(exchange, "n", text, sizeof text) > 0 ? (size_t)atol(text) : 0;
    char *body = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        body[i] = (char)('a' + i % 26);
    }
    int rc = pirn_http_reply(exchange, 200, "text/plain", body, bytes);
    free(body);
    return rc;
}

static inline int fail(pirn_http_exchange *exchange, void *context) {
    (void)exchange;
    (void)context;
    return pirn_fail(PIRN_EFAILED, "planted failure %d", 7);
}

static inline int fail_late(pirn_http_exchange *exchange, void *context) {
    (void)context;
    int rc = pirn_http_print(exchange, "begun");
    rc = rc ? rc : pirn_http_flush(exchange);
    return rc ? rc : PIRN_EFAILED;
}

static inline int nothing(pirn_http_exchange *exchange, void *context) {
    (void)exchange;
    (void)context;
    return 0;
}

/* Waits until it is cancelled. */
static inline int slow(pirn_http_exchange *exchange, void *context) {
    (void)exchange;
    (void)context;
    atomic_fetch_add(&slow_running, 1);
    int rc = pirn_sleep_until(pirn_after(60 * PIRN_SECOND));
    atomic_fetch_add(&cancelled, rc == PIRN_ECANCELED);
    atomic_fetch_sub(&slow_running, 1);
    return rc;
}

/* Answers after ?ms milliseconds. */
static inline int later(pirn_http_exchange *exchange, void *context) {
    char text[16];
    int ms = pirn_http_query_field(exchange, "ms", text, sizeof text) > 0 ? atoi(text) : 50;
    int rc = pirn_sleep_until(pirn_after(ms * PIRN_MILLISECOND));
    return rc ? rc : hello(exchange, context);
}

/* "one two", decoded, from the query and the form. */
static inline int fields(pirn_http_exchange *exchange, void *context) {
    (void)context;
    char one[32], two[32];
    if (pirn_http_query_field(exchange, "one", one, sizeof one) < 0 ||
        pirn_http_form_field(exchange, "two", two, sizeof two) < 0) {
        return pirn_http_reply(exchange, 400, "text/plain", "no", 2);
    }
    return pirn_http_print(exchange, "%s %s %s", one, two, pirn_http_header(exchange, "x-three"));
}

static inline void site_open_at(site *s, const char *address, const pirn_http_options *options) {
    static const struct {
        const char *method, *path;
        unsigned flags;
        pirn_http_handler handler;
    } routes[] = {
        {"GET", "/hello", 0, hello},
        {"POST", "/echo", 0, echo},
        {"GET", "/stream", 0, stream},
        {"GET", "/big", 0, big},
        {"GET", "/fail", 0, fail},
        {"GET", "/fail-late", 0, fail_late},
        {"GET", "/nothing", 0, nothing},
        {"GET", "/slow", 0, slow},
        {"GET", "/later", 0, later},
        {"POST", "/fields", 0, fields},
        {"PUT", "/hello", 0, nothing},
        {"GET", "/below", PIRN_ROUTE_PREFIX, hello},
        {"GET", "/patient", PIRN_ROUTE_NO_DEADLINE, slow},
        {"GET", "/leaving", PIRN_ROUTE_NO_DEADLINE | PIRN_ROUTE_CANCEL_HALF_CLOSED, slow},
        {"GET", "/local", PIRN_ROUTE_LOOPBACK, hello},
    };
    pirn_listener *listener;
    s->server = pirn_http_server_create(options);
    cr_assert_not_null(s->server);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        cr_assert_eq(
            pirn_http_route(s->server, routes[i].method, routes[i].path, routes[i].flags, routes[i].handler, NULL), 0);
    }
    cr_assert_eq(pirn_http_inspector(s->server, "/debug/pirn/"), 0);
    cr_assert_eq(pirn_listen(address, NULL, &listener), 0);
    s->port = pirn_listener_port(listener);
    cr_assert_eq(pirn_http_serve(s->server, listener), 0);
}

static inline void site_open(site *s, const pirn_http_options *options) {
    site_open_at(s, "127.0.0.1:0", options);
}

static inline void site_close(site *s) {
    pirn_http_server_close(s->server, pirn_after(PATIENCE));
}

/* Park until `condition` (re-evaluated) holds; the test's time limit is the real bound. */
#define WAIT_UNTIL(condition)                                                                                          \
    for (pirn_time until = pirn_after(PATIENCE); !(condition);) {                                                      \
        cr_assert_lt(pirn_now(), until, "never came true: %s", #condition);                                            \
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));                                                          \
    }

/* ---- the client ---- */

typedef struct client {
    pirn_socket socket;
    size_t length; /* received, not yet taken as a response */
    char *bytes;
    size_t capacity;
} client;

typedef struct response {
    int status;
    char head[4096];
    char *body; /* the chunks joined; freed by the next get_response or client_close */
    size_t body_bytes;
    bool chunked;
    bool complete; /* false: the connection ended inside the body */
} response;

static inline void client_open_at(client *c, const char *host, int port) {
    char address[32];
    snprintf(address, sizeof address, "%s:%d", host, port);
    memset(c, 0, sizeof *c);
    c->capacity = 1 << 16;
    c->bytes = malloc(c->capacity);
    cr_assert_eq(pirn_connect(address, &c->socket, pirn_after(PATIENCE)), 0);
}

static inline void client_open(client *c, const site *s) {
    client_open_at(c, "127.0.0.1", s->port);
}

static inline void client_close(client *c) {
    (void)pirn_close(c->socket);
    free(c->bytes);
    c->bytes = NULL;
}

/* The same with a reset: what a client's kernel sends for one that died with bytes unread. */
static inline void client_reset(client *c) {
    pn_socket_reset_at_close(c->socket);
    client_close(c);
}

static inline void client_send_bytes(client *c, const void *bytes, size_t count) {
    cr_assert_eq(pirn_write(c->socket, bytes, count, NULL, pirn_after(PATIENCE)), 0);
}

static inline void client_send(client *c, const char *text) {
    client_send_bytes(c, text, strlen(text));
}

/* Read once; false: the stream has ended, in whatever way. */
static inline bool client_fill(client *c) {
    size_t moved;
    if (c->length == c->capacity) {
        c->capacity *= 2;
        c->bytes = realloc(c->bytes, c->capacity);
    }
    int rc = pirn_read(c->socket, c->bytes + c->length, c->capacity - c->length, &moved, pirn_after(PATIENCE));
    cr_assert_neq(rc, PIRN_ETIMEDOUT, "nothing came from the server, %zu bytes are here: %.*s", c->length,
                  (int)c->length, c->bytes);
    if (rc != 0 || moved == 0) {
        return false;
    }
    c->length += moved;
    return true;
}

static inline void client_take(client *c, size_t bytes) {
    c->length -= bytes;
    memmove(c->bytes, c->bytes + bytes, c->length);
}

/* Read up to `bytes`; false when the stream ends before. */
static inline bool client_need(client *c, size_t bytes) {
    while (c->length < bytes) {
        if (!client_fill(c)) {
            return false;
        }
    }
    return true;
}

/* The length of the text up to and with `end`; 0 when the stream ends before. */
static inline size_t client_until(client *c, const char *end) {
    for (;;) {
        char *found = memmem(c->bytes, c->length, end, strlen(end));
        if (found) {
            return (size_t)(found - c->bytes) + strlen(end);
        }
        if (!client_fill(c)) {
            return 0;
        }
    }
}

/* The value of a field of the head, NULL when absent. Static memory. */
static inline const char *response_field(const response *r, const char *name) {
    static char value[256];
    for (const char *line = strstr(r->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        size_t bytes = strlen(name);
        if (strncasecmp(line + 2, name, bytes) == 0 && line[2 + bytes] == ':') {
            const char *from = line + 2 + bytes + 2;
            snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
            return value;
        }
    }
    return NULL;
}

static inline bool read_chunks(client *c, response *r) {
    for (;;) {
        size_t line = client_until(c, "\r\n");
        if (line == 0) {
            return false;
        }
        size_t size = strtoul(c->bytes, NULL, 16);
        client_take(c, line);
        if (!client_need(c, size + 2)) {
            return false;
        }
        cr_assert_eq(memcmp(c->bytes + size, "\r\n", 2), 0, "a chunk ends in CR LF");
        r->body = realloc(r->body, r->body_bytes + size + 1);
        memcpy(r->body + r->body_bytes, c->bytes, size);
        r->body_bytes += size;
        client_take(c, size + 2);
        if (size == 0) {
            r->body[r->body_bytes] = '\0';
            return true;
        }
    }
}

static inline void response_drop(response *r) {
    free(r->body);
    r->body = NULL;
}

static inline void keep_body(client *c, response *r, size_t bytes) {
    r->body = malloc(bytes + 1);
    memcpy(r->body, c->bytes, bytes);
    r->body[bytes] = '\0';
    r->body_bytes = bytes;
    client_take(c, bytes);
}

/* Read one response; `no_body` for HEAD. False: the stream ended before its head was whole. */
static inline bool get_response_of(client *c, response *r, bool no_body) {
    memset(r, 0, sizeof *r);
    size_t head = client_until(c, "\r\n\r\n");
    if (head == 0) {
        return false;
    }
    cr_assert_lt(head, sizeof r->head);
    memcpy(r->head, c->bytes, head);
    cr_assert_eq(sscanf(r->head, "HTTP/1.1 %d ", &r->status), 1, "%s", r->head);
    client_take(c, head);
    const char *length = response_field(r, "Content-Length");
    r->chunked = response_field(r, "Transfer-Encoding") != NULL;
    cr_assert(!(length && r->chunked), "two framings");
    if (no_body || r->status == 204 || r->status == 304 || r->status == 100) {
        r->complete = true;
        keep_body(c, r, 0);
    } else if (r->chunked) {
        r->complete = read_chunks(c, r);
    } else {
        size_t bytes = 0;
        if (response_field(r, "Content-Length")) {
            bytes = strtoul(response_field(r, "Content-Length"), NULL, 10);
            r->complete = client_need(c, bytes);
        } else {
            while (client_fill(c)) {
            }
            r->complete = true;
            bytes = c->length;
        }
        keep_body(c, r, bytes < c->length ? bytes : c->length);
    }
    return true;
}

static inline bool get_response(client *c, response *r) {
    return get_response_of(c, r, false);
}

/* Send `text` and expect one response with that status; the rest of it is dropped. */
static inline void expect_status(client *c, const char *text, int status) {
    response r;
    client_send(c, text);
    cr_assert(get_response(c, &r), "no response to %s", text);
    cr_assert_eq(r.status, status, "%d instead of %d for %s", r.status, status, text);
    response_drop(&r);
}

/* The server must close now, having sent nothing more. */
static inline void expect_closed(client *c) {
    cr_assert_eq(c->length, 0, "left over: %.*s", (int)c->length, c->bytes);
    cr_assert_not(client_fill(c), "not closed but: %.*s", (int)c->length, c->bytes);
}

/* One exchange on a connection of its own. */
static inline void expect_status_alone(const site *s, const char *text, int status) {
    client c;
    client_open(&c, s);
    expect_status(&c, text, status);
    client_close(&c);
}

#define GET_TEXT(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

#endif
