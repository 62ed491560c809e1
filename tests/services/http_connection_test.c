/* SPDX-License-Identifier: MIT
 *
 * What: a connection's life: its time limits, and what a client's half close and reset mean for the requests under way.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_site.h"

/* ---- time limits ---- */

static pirn_time endless;

/* Each phase of a connection that has a limit: idle, head, body, handler, write. */
static int live_without_limits(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    pirn_http_options options = {.header_timeout_ns = endless,
                                 .body_timeout_ns = endless,
                                 .idle_timeout_ns = endless,
                                 .handler_timeout_ns = endless,
                                 .write_timeout_ns = endless};
    site_open(&s, &options);
    client_open(&c, &s);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-");
    (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
    client_send(&c, "Length: 6\r\n\r\nabc");
    (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
    client_send(&c, "def");
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_str_eq(r.body, "abcdef");
    response_drop(&r);
    expect_status(&c, GET_TEXT("/later?ms=2"), 200);
    expect_status(&c, GET_TEXT("/big?n=3000000"), 200);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a time limit too long for the clock is none. Method: PIRN_FOREVER and numbers near it for all five, and a
 *       request that goes through each phase. */
Test(http_connection, limits_beyond_the_clock_are_endless, .timeout = 60) {
    static const pirn_time limits[] = {PIRN_FOREVER, PIRN_FOREVER - 1, PIRN_FOREVER / 2};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        endless = limits[i];
        run_everywhere(live_without_limits);
    }
}

/* Goal: a negative time limit is refused where it is given. Method: each of the five. */
Test(http_connection, negative_limits_refused) {
    const pirn_http_options wrong[] = {{.header_timeout_ns = -1},
                                       {.body_timeout_ns = -1},
                                       {.idle_timeout_ns = INT64_MIN},
                                       {.handler_timeout_ns = -1},
                                       {.write_timeout_ns = -1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_null(pirn_http_server_create(&wrong[i]));
    }
}

/* ---- half closed clients ---- */

/* All responses come, in order and whole, and then the close. */
static int serve_half_closed(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    for (unsigned round = 0; round < 8; round++) {
        client_open(&c, &s);
        client_send(&c, GET_TEXT("/later?ms=5") GET_TEXT("/stream?n=2000&flush=1") GET_TEXT(
                            "/big?n=3000000") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nlast");
        if (round % 2) {
            (void)pirn_sleep_until(pirn_after(round * PIRN_MILLISECOND)); /* the half close comes alone */
        }
        cr_assert_eq(pirn_shutdown(c.socket), 0);
        static const size_t sizes[] = {13, 8890, 3000000, 4};
        for (unsigned i = 0; i < 4; i++) {
            cr_assert(get_response(&c, &r), "round %u, response %u", round, i);
            cr_assert(r.status == 200 && r.complete && r.body_bytes == sizes[i], "round %u, response %u: %d, %zu bytes",
                      round, i, r.status, r.body_bytes);
            response_drop(&r);
        }
        expect_closed(&c);
        client_close(&c);
    }
    cr_assert_eq(atomic_load(&reports), 0);
    WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    site_close(&s);
    return 0;
}

/* Goal: a client that closes its sending side gets all its responses. Method: four requests in one pipeline (one that
 *       waits, a stream, a large one, one with a body), and the half close at once or a few milliseconds later. */
Test(http_connection, half_closed_clients_served_to_the_end, .timeout = 60) {
    run_everywhere(serve_half_closed);
}

/* More requests than the connection's buffer holds. */
static int serve_half_closed_pipeline(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    unsigned count = 300;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (unsigned i = 0; i < count; i++) {
        client_send(&c, i % 50 == 0 ? GET_TEXT("/later?ms=2") : GET_TEXT("/hello"));
    }
    cr_assert_eq(pirn_shutdown(c.socket), 0);
    for (unsigned i = 0; i < count; i++) {
        cr_assert(get_response(&c, &r), "response %u", i);
        cr_assert(r.status == 200 && r.complete);
        response_drop(&r);
    }
    expect_closed(&c);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: the end of a stream cuts off no request that was sent before it, however far behind. Method: 300 requests, some
 *       of which wait, then the half close. */
Test(http_connection, half_closed_pipeline_beyond_the_buffer_served, .timeout = 60) {
    run_everywhere(serve_half_closed_pipeline);
}

/* A request that is cut off by the half close gets no response, and those before it do. */
static int half_close_inside_a_request(void *arg) {
    (void)arg;
    static const char *const partial[] = {
        "GET /he", "GET /hello HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfour",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"};
    site s;
    client c;
    site_open(&s, NULL);
    for (size_t i = 0; i < sizeof partial / sizeof *partial; i++) {
        client_open(&c, &s);
        client_send(&c, GET_TEXT("/later?ms=2"));
        client_send(&c, partial[i]);
        cr_assert_eq(pirn_shutdown(c.socket), 0);
        expect_status(&c, "", 200);
        expect_closed(&c);
        client_close(&c);
    }
    site_close(&s);
    return 0;
}

/* Goal: a request that was not sent whole is not served. Method: a whole one, a part of another, the half close. */
Test(http_connection, half_close_inside_a_request_ends_the_connection, .timeout = 60) {
    run_everywhere(half_close_inside_a_request);
}

static int cancel_half_closed(void *arg) {
    const bool *by_route = arg;
    site s;
    client c;
    pirn_http_options options = {.cancel_half_closed = !*by_route};
    const char *alone = *by_route ? GET_TEXT("/leaving") : GET_TEXT("/patient");
    const char *followed =
        *by_route ? GET_TEXT("/leaving") GET_TEXT("/hello") : GET_TEXT("/patient") GET_TEXT("/hello");
    site_open(&s, &options);
    for (unsigned i = 1; i <= 10; i++) {
        client_open(&c, &s);
        client_send(&c, i % 2 ? alone : followed);
        WAIT_UNTIL(atomic_load(&slow_running) == 1);
        cr_assert_eq(pirn_shutdown(c.socket), 0);
        expect_closed(&c);
        client_close(&c);
        WAIT_UNTIL(atomic_load(&cancelled) == i);
    }
    site_close(&s);
    return 0;
}

/* Goal: with the server's option, or the route's flag, a half close cancels. Method: a request that would never end,
 *       alone and before another. */
Test(http_connection, half_close_cancels_with_the_option, .timeout = 60) {
    static bool by_route[] = {false, true};
    run_everywhere_with(cancel_half_closed, &by_route[0]);
    run_everywhere_with(cancel_half_closed, &by_route[1]);
}

/* ---- resets ---- */

/* Writes until it fails, as an event stream or a download does. */
static int write_for_ever(pirn_http_exchange *exchange, void *context) {
    static char block[65536];
    int rc = 0;
    (void)context;
    atomic_fetch_add(&slow_running, 1);
    while (rc == 0) {
        rc = pirn_http_write(exchange, block, sizeof block);
    }
    atomic_fetch_add(&cancelled, 1);
    atomic_fetch_sub(&slow_running, 1);
    return rc;
}

/* One small event, then a long wait. */
static int stream_then_wait(pirn_http_exchange *exchange, void *context) {
    int rc = pirn_http_print(exchange, "event\n");
    rc = rc ? rc : pirn_http_flush(exchange);
    return rc ? rc : slow(exchange, context);
}

static int reset_everywhere(void *arg) {
    (void)arg;
    static const char *const requests[] = {
        GET_TEXT("/slow"),
        GET_TEXT("/slow") GET_TEXT("/hello"),
        GET_TEXT("/slow") "GET /he",
        "GET /slow HTTP/1.0\r\n\r\n",
        GET_TEXT("/write"),
        GET_TEXT("/wait"),
        GET_TEXT("/wait") GET_TEXT("/wait"),
    };
    site s;
    client c;
    pirn_listener *listener;
    s.server = pirn_http_server_create(NULL);
    cr_assert_eq(pirn_http_route(s.server, "GET", "/slow", 0, slow, NULL), 0);
    cr_assert_eq(pirn_http_route(s.server, "GET", "/write", 0, write_for_ever, NULL), 0);
    cr_assert_eq(pirn_http_route(s.server, "GET", "/wait", PIRN_ROUTE_NO_DEADLINE, stream_then_wait, NULL), 0);
    cr_assert_eq(pirn_listen("127.0.0.1:0", NULL, &listener), 0);
    s.port = pirn_listener_port(listener);
    cr_assert_eq(pirn_http_serve(s.server, listener), 0);
    unsigned gone = 0;
    for (unsigned i = 0; i < 2 * sizeof requests / sizeof *requests; i++) {
        client_open(&c, &s);
        client_send(&c, requests[i / 2]);
        WAIT_UNTIL(atomic_load(&slow_running) == 1);
        if (i % 2) {
            cr_assert_eq(pirn_shutdown(c.socket), 0);
            (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
            cr_assert_eq(atomic_load(&cancelled), gone, "a half close is no reason to cancel: %s", requests[i / 2]);
        }
        client_reset(&c);
        WAIT_UNTIL(atomic_load(&cancelled) == gone + 1);
        gone++;
        WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    }
    site_close(&s);
    return 0;
}

/* Goal: a reset cancels the handler, whatever it does and whatever the client sent before.
 * Method: handlers that wait, write a download, or wait within a stream; alone, before other requests, in HTTP/1.0, and
 *       each of them also after a half close, which alone cancels nothing. */
Test(http_connection, reset_cancels, .timeout = 60) {
    run_everywhere(reset_everywhere);
}

/* ---- responses that break off ---- */

/* How the stream ended after all that could be read: 0 for an orderly close. */
static int read_to_the_end(client *c) {
    size_t moved = 1;
    int rc = 0;
    while (rc == 0 && moved > 0) {
        if (c->length == c->capacity) {
            c->length = 0;
        }
        rc = pirn_read(c->socket, c->bytes + c->length, c->capacity - c->length, &moved, pirn_after(PATIENCE));
        c->length += moved;
    }
    c->bytes[c->length < c->capacity ? c->length : c->capacity - 1] = '\0';
    return rc;
}

static int break_off(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open(&s, NULL);
    for (int i = 0; i < 5; i++) {
        client_open(&c, &s);
        client_send(&c, GET_TEXT("/fail-late") GET_TEXT("/hello"));
        cr_assert_eq(read_to_the_end(&c), 0);
        cr_assert_not_null(strstr(c.bytes, "\r\n\r\n5\r\nbegun\r\n"));
        cr_assert_null(strstr(c.bytes, "0\r\n\r\n"), "no last chunk: %s", c.bytes);
        cr_assert_null(strstr(c.bytes, "Hello"), "nothing follows: %s", c.bytes);
        client_close(&c);
        client_open(&c, &s);
        client_send(&c, "GET /fail-late HTTP/1.0\r\n\r\n");
        cr_assert_eq(read_to_the_end(&c), -ECONNRESET, "a body until the close can only be cut by a reset");
        client_close(&c);
        client_open(&c, &s);
        client_send(&c, "GET /stream?n=3&flush=1 HTTP/1.0\r\n\r\n");
        cr_assert_eq(read_to_the_end(&c), 0);
        cr_assert_not_null(strstr(c.bytes, "\r\n\r\n0 1 2 "));
        client_close(&c);
    }
    site_close(&s);
    return 0;
}

/* Goal: a handler that fails within its response cuts it so that the client sees it.
 * Method: a chunked response (no last chunk, and nothing behind it), one until the close (a reset), and a good one. */
Test(http_connection, failure_within_a_response_is_seen_by_the_client, .timeout = 60) {
    run_everywhere(break_off);
}

/* ---- a drain under load ---- */

#define DRAIN_CLIENTS 6

typedef struct drain_load {
    struct sockaddr_in address;
    atomic_uint answered, reset, cut; /* cut: the end of the stream in place of a first answer */
} drain_load;

/* A connected descriptor; -1: refused, or no answer, since the server is gone. */
static int load_connect(const drain_load *load) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t bytes = sizeof error;
    bool connected = fd >= 0 && (connect(fd, (const struct sockaddr *)&load->address, sizeof load->address) == 0 ||
                                 (errno == EINPROGRESS && poll(&ready, 1, 50) == 1 &&
                                  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error == 0));
    if (!connected) {
        (void)close(fd);
        return -1;
    }
    (void)fcntl(fd, F_SETFL, 0);
    return fd;
}

/* 1: answered, and the connection stays; 0: answered, and it closes; else what read gave: 0 bytes or an error. */
static int load_ask(drain_load *load, int fd, bool first) {
    static const char request[] = GET_TEXT("/hello");
    char answer[1024] = "";
    size_t have = 0;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0) {
        load->reset++;
        return -1;
    }
    while (!strstr(answer, "Hello, world!")) {
        ssize_t moved = recv(fd, answer + have, sizeof answer - 1 - have, 0);
        if (moved <= 0) {
            load->reset += moved < 0;
            load->cut += moved == 0 && first;
            return -1;
        }
        have += (size_t)moved;
        answer[have] = '\0';
    }
    load->answered++;
    return strstr(answer, "Connection: close") ? 0 : 1;
}

/* Connections of one request, and of many, until there is no server. */
static void *load_client(void *arg) {
    drain_load *load = arg;
    for (unsigned round = 0;; round++) {
        int fd = load_connect(load);
        if (fd < 0) {
            break;
        }
        int more = 1;
        for (unsigned i = 0; more == 1 && i <= round % 3 * 4; i++) {
            more = load_ask(load, fd, i == 0);
        }
        (void)close(fd);
    }
    return NULL;
}

static void drain_once(drain_load *load, unsigned cycle) {
    site s;
    pthread_t clients[DRAIN_CLIENTS];
    site_open(&s, NULL);
    load->address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)s.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned wanted = load->answered + 20;
    for (int i = 0; i < DRAIN_CLIENTS; i++) {
        cr_assert_eq(pthread_create(&clients[i], NULL, load_client, load), 0);
    }
    WAIT_UNTIL(load->answered >= wanted);
    (void)pirn_sleep_until(pirn_after((cycle % 5) * 300 * PIRN_MICROSECOND));
    pirn_http_server_close(s.server, pirn_after(PATIENCE));
    for (int i = 0; i < DRAIN_CLIENTS; i++) {
        cr_assert_eq(pthread_join(clients[i], NULL), 0);
    }
}

static int drain_under_load(void *arg) {
    drain_load *load = arg;
    unsigned cycles = (unsigned)pirn_test_count(5, 3);
    for (unsigned cycle = 0; cycle < cycles; cycle++) {
        drain_once(load, cycle);
    }
    return 0;
}

/* Goal: a drain under load answers every request of a client that had connected before, and resets none.
 * Method: threads with blocking sockets ask without a pause, over connections of one request and of several, until
 *       they are refused; the server is closed at different moments. No reset, and no end of the stream in place of a
 *       connection's first answer. */
Test(http_connection, drain_under_load_resets_nobody, .timeout = 60) {
    for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++) {
        pirn_options options;
        pirn_options_init(&options);
        options.mode = configurations[i].mode;
        options.poll = configurations[i].poll;
        options.workers = configurations[i].workers;
        options.stuck_warn_ns = PIRN_FOREVER;
        drain_load load = {0};
        cr_assert_eq(pirn_run(&options, drain_under_load, &load), 0);
        cr_assert(load.reset == 0 && load.cut == 0, "%s: of %u requests answered, %u reset and %u cut",
                  configurations[i].name, load.answered, load.reset, load.cut);
    }
}
