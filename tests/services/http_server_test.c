/* SPDX-License-Identifier: MIT
 *
 * What: the HTTP server over real sockets, in both modes and policies.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#include <sys/resource.h>
#include <sys/socket.h>

/* ---- one response after another ---- */

static int hello_twice(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 2; i++) {
        client_send(&c, GET_TEXT("/hello"));
        cr_assert(get_response(&c, &r));
        cr_assert_eq(r.status, 200);
        cr_assert_str_eq(r.body, "Hello, world!");
        cr_assert_str_eq(response_field(&r, "Content-Length"), "13");
        cr_assert_str_eq(response_field(&r, "Content-Type"), "text/plain");
        cr_assert_not_null(response_field(&r, "Date"));
        cr_assert_null(response_field(&r, "Connection"));
        response_drop(&r);
    }
    cr_assert_eq(pirn_http_connections(s.server), 1);
    client_close(&c);
    WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    site_close(&s);
    return 0;
}

/* Goal: a keep-alive connection serves one request after the other, with the promised fields. Method: the same
 *       request twice. */
Test(http_server, keep_alive_serves_again, .timeout = 60) {
    run_everywhere(hello_twice);
}

static int pipeline_of_many(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    char text[8192] = "";
    size_t length = 0;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 60; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length,
                                   i % 7 == 3 ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d"
                                              : "GET /stream?n=%d HTTP/1.1\r\nHost: a\r\n\r\n",
                                   i + (i % 7 != 3));
    }
    client_send(&c, text);
    for (int i = 0; i < 60; i++) {
        cr_assert(get_response(&c, &r), "response %d", i);
        cr_assert_eq(r.status, 200);
        char expected[512] = "";
        for (int n = 0, at = 0; n <= i; n++) {
            at += snprintf(expected + at, sizeof expected - (size_t)at, "%d ", n);
        }
        if (i % 7 == 3) {
            snprintf(expected, sizeof expected, "%02d", i);
        }
        cr_assert_str_eq(r.body, expected);
        response_drop(&r);
    }
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: pipelined requests are all answered, in order. Method: sixty of two kinds in one write, more than one read
 *       takes. */
Test(http_server, pipeline_answered_in_order, .timeout = 60) {
    run_everywhere(pipeline_of_many);
}

static int slow_first(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/later?ms=80") GET_TEXT("/nothing") GET_TEXT("/fail"));
    static const int statuses[] = {200, 204, 500};
    for (int i = 0; i < 3; i++) {
        response r;
        cr_assert(get_response(&c, &r));
        cr_assert_eq(r.status, statuses[i]);
        response_drop(&r);
    }
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a slow request holds those behind it, and loses none. Method: a parked one first, two quick ones behind. */
Test(http_server, pipeline_waits_for_the_first, .timeout = 60) {
    run_everywhere(slow_first);
}

/* ---- bodies ---- */

static void expect_echo(client *c, const char *body, size_t bytes) {
    response r;
    cr_assert(get_response(c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_eq(r.body_bytes, bytes);
    cr_assert_eq(memcmp(r.body, body, bytes), 0);
    response_drop(&r);
}

static int upload(void *arg) {
    (void)arg;
    site s;
    client c;
    char head[128], *body = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) {
        body[i] = (char)(i * 2654435761u >> 13);
    }
    site_open(&s, NULL);
    client_open(&c, &s);
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 1 << 20);
    client_send(&c, head);
    client_send_bytes(&c, body, 1 << 20);
    expect_echo(&c, body, 1 << 20);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < 100000; at += 10000) {
        client_send(&c, "2710;x=y\r\n");
        client_send_bytes(&c, body + at, 10000);
        client_send(&c, "\r\n");
    }
    client_send(&c, "0\r\nTrailer: x\r\n\r\n");
    expect_echo(&c, body, 100000);
    client_send(&c, "POST /fields?one=a%20b HTTP/1.1\r\nHost: a\r\nX-Three: t\r\nContent-Length: 11\r\n"
                    "Content-Type: application/x-www-form-urlencoded\r\n\r\nq=1&two=c+d");
    expect_echo(&c, "a b c d t", 9);
    client_close(&c);
    free(body);
    site_close(&s);
    return 0;
}

/* Goal: bodies arrive whole in both framings, and fields decoded. Method: 1 MiB by length, 100,000 bytes in chunks, a
 *       form. */
Test(http_server, bodies_both_ways, .timeout = 60) {
    run_everywhere(upload);
}

static int expect_continue(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 100);
    response_drop(&r);
    client_send(&c, "hi");
    expect_echo(&c, "hi", 2);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    expect_echo(&c, "hi", 2);
    expect_status(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
                  413);
    expect_closed(&c);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: "100 Continue" is sent to who waits for it, and only then. Method: body after, body with, body refused. */
Test(http_server, continue_sent_when_waited_for, .timeout = 60) {
    run_everywhere(expect_continue);
}

static int stream_ways(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/stream?n=3") GET_TEXT("/stream?n=3&flush=1") GET_TEXT("/stream?n=20000"));
    cr_assert(get_response(&c, &r));
    cr_assert_str_eq(r.body, "0 1 2 ");
    cr_assert_str_eq(response_field(&r, "Content-Length"), "6");
    response_drop(&r);
    cr_assert(get_response(&c, &r));
    cr_assert(r.chunked && strcmp(r.body, "0 1 2 ") == 0);
    response_drop(&r);
    cr_assert(get_response(&c, &r));
    cr_assert(r.chunked && r.body_bytes == 108890, "%zu", r.body_bytes);
    cr_assert_str_eq(r.body + r.body_bytes - 6, "19999 ");
    response_drop(&r);
    client_send(&c, "GET /stream?n=3&flush=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    cr_assert(get_response(&c, &r));
    cr_assert(!r.chunked && strcmp(r.body, "0 1 2 ") == 0);
    cr_assert_str_eq(response_field(&r, "Connection"), "close");
    response_drop(&r);
    client_close(&c);
    client_open(&c, &s);
    client_send(&c, "GET /stream?n=3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    cr_assert(get_response(&c, &r));
    cr_assert_str_eq(response_field(&r, "Connection"), "keep-alive");
    response_drop(&r);
    expect_status(&c, "GET /hello HTTP/1.0\r\n\r\n", 200);
    expect_closed(&c);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a streamed body is framed by what is known and by the version. Method: small, flushed, large; HTTP/1.0 with
 *       and without. */
Test(http_server, streams_framed_by_version, .timeout = 60) {
    run_everywhere(stream_ways);
}

static int head_requests(void *arg) {
    (void)arg;
    static const char *const paths[] = {"/hello", "/stream?n=3", "/stream?n=20000", "/big?n=100000"};
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 4; i++) {
        char text[128];
        snprintf(text, sizeof text, "HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n", paths[i]);
        client_send(&c, text);
        cr_assert(get_response_of(&c, &r, true));
        cr_assert_eq(r.status, 200);
        bool streamed = i == 1 || i == 2;
        cr_assert(r.chunked == streamed);
        if (streamed) {
            cr_assert_null(response_field(&r, "Content-Length"), "a handler that streams may write less for HEAD");
        } else {
            cr_assert_str_eq(response_field(&r, "Content-Length"), i == 0 ? "13" : "100000");
        }
        response_drop(&r);
    }
    expect_status(&c, GET_TEXT("/hello"), 200); /* nothing of a body was in between */
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: HEAD gives GET's head and no body. Method: four kinds of response, then a GET that must be read at once. */
Test(http_server, head_without_body, .timeout = 60) {
    run_everywhere(head_requests);
}

static int big_to_slow_reader(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/big?n=8000000"));
    (void)pirn_sleep_until(pirn_after(50 * PIRN_MILLISECOND)); /* the socket's buffers fill: the handler parks */
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.body_bytes, 8000000);
    for (size_t i = 0; i < r.body_bytes; i += 997) {
        cr_assert_eq(r.body[i], (char)('a' + i % 26));
    }
    response_drop(&r);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a response larger than all buffers arrives whole. Method: 8 MB to a client that starts late. */
Test(http_server, large_response_whole, .timeout = 60) {
    run_everywhere(big_to_slow_reader);
}

/* ---- routes and errors ---- */

static int statuses(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    expect_status(&c, GET_TEXT("/none"), 404);
    expect_status(&c, GET_TEXT("/nothing"), 204);
    expect_status(&c, GET_TEXT("/local"), 200);
    expect_status(&c, GET_TEXT("/below"), 200);
    expect_status(&c, GET_TEXT("/below/x/y"), 200);
    expect_status(&c, GET_TEXT("/belowx"), 404);
    expect_status(&c, GET_TEXT("/%68ello?x"), 200);
    client_send(&c, "DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 405);
    cr_assert_str_eq(response_field(&r, "Allow"), "GET, PUT, HEAD, OPTIONS");
    response_drop(&r);
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 204);
    cr_assert_str_eq(response_field(&r, "Allow"), "GET, PUT, HEAD, OPTIONS");
    response_drop(&r);
    expect_status(&c, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204);
    expect_status(&c, "BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    expect_closed(&c);
    client_close(&c);
    expect_status_alone(&s, "GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    expect_status_alone(&s, "GET /hello HTTP/1.1\r\n\r\n", 400);
    expect_status_alone(&s, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417);
    site_close(&s);
    return 0;
}

/* Goal: each kind of wrong request has its status, and only unreadable ones cost the connection.
 * Method: one of each. */
Test(http_server, wrong_requests_have_statuses, .timeout = 60) {
    run_everywhere(statuses);
}

static int failures(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    expect_status(&c, GET_TEXT("/fail"), 500);
    cr_assert_eq(atomic_load(&reports), 1);
    cr_assert(strstr(last_report, "GET /fail failed") && strstr(last_report, "planted failure 7"), "%s", last_report);
    expect_status(&c, GET_TEXT("/hello"), 200);
    client_send(&c, GET_TEXT("/fail-late"));
    cr_assert(get_response(&c, &r));
    cr_assert(r.status == 200 && !r.complete, "a cut body must not look whole");
    response_drop(&r);
    cr_assert_eq(atomic_load(&reports), 2);
    client_close(&c);
    expect_status_alone(&s, GET_TEXT("/hello"), 200);
    site_close(&s);
    return 0;
}

/* Goal: a handler's failure gives 500, or a cut when it had begun, one report each, and the server lives.
 * Method: both. */
Test(http_server, failing_handler_gives_500, .timeout = 60) {
    run_everywhere(failures);
}

/* ---- limits in time and number ---- */

static int timeouts(void *arg) {
    (void)arg;
    site s;
    client c;
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.header_timeout_ns = options.body_timeout_ns = options.handler_timeout_ns = 60 * PIRN_MILLISECOND;
    options.idle_timeout_ns = 150 * PIRN_MILLISECOND;
    site_open(&s, &options);
    client_open(&c, &s);
    expect_closed(&c); /* idle from the start: nothing is said */
    client_close(&c);
    expect_status_alone(&s, "GET /hello HTTP/1.1\r\nHo", 408);
    expect_status_alone(&s, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408);
    client_open(&c, &s);
    expect_status(&c, GET_TEXT("/slow"), 504);
    expect_closed(&c);
    client_close(&c);
    cr_assert_eq(atomic_load(&cancelled), 1);
    client_open(&c, &s); /* pipelined: the connection waits without reading */
    expect_status(&c, GET_TEXT("/slow") GET_TEXT("/hello"), 504);
    expect_closed(&c);
    client_close(&c);
    client_open(&c, &s);
    expect_status(&c, GET_TEXT("/hello"), 200);
    expect_closed(&c); /* idle after a request */
    client_close(&c);
    client_open(&c, &s); /* no deadline: it outlives handler and idle limits, and ends with its client */
    client_send(&c, GET_TEXT("/patient"));
    WAIT_UNTIL(atomic_load(&slow_running) == 1);
    (void)pirn_sleep_until(pirn_after(400 * PIRN_MILLISECOND));
    cr_assert_eq(atomic_load(&slow_running), 1);
    client_reset(&c);
    WAIT_UNTIL(atomic_load(&slow_running) == 0);
    site_close(&s);
    return 0;
}

/* Goal: each phase of a request has its limit and its answer. Method: options of some milliseconds, a client that
 *       stops there. */
Test(http_server, phases_time_out, .timeout = 60) {
    run_everywhere(timeouts);
}

static int sizes(void *arg) {
    (void)arg;
    site s;
    client c;
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.body_bytes_max = 1000;
    options.requests_max = 2;
    site_open(&s, &options);
    char *text = malloc(80000);
    memset(text, 'x', 80000);
    memcpy(text, "GET /", 5);
    strcpy(text + 8194, " HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_status_alone(&s, text, 414);
    strcpy(text, "GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
    size_t at = strlen(text);
    memset(text + at, 'y', 40000);
    strcpy(text + at + 40000, "\r\n\r\n");
    expect_status_alone(&s, text, 431);
    strcpy(text, "GET /hello HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++) {
        strcat(text, "A: b\r\n");
    }
    strcat(text, "\r\n");
    expect_status_alone(&s, text, 431);
    free(text);
    expect_status_alone(&s, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413);
    client_open(&c, &s);
    expect_status(&c, GET_TEXT("/hello"), 200);
    expect_status(&c, GET_TEXT("/hello") GET_TEXT("/hello"), 200);
    expect_closed(&c); /* the third is not answered */
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: each named bound answers with its status and costs nobody else. Method: one over each. */
Test(http_server, bounds_refuse, .timeout = 60) {
    run_everywhere(sizes);
}

/* Above `most` connections, none of them idle, the next one waits, unanswered, and is served when another closes. */
static void expect_limit(const site *s, int most) {
    client *some = calloc((size_t)most + 1, sizeof *some);
    client *last = &some[most];
    for (int i = 0; i < most; i++) {
        client_open(&some[i], s);
        client_send(&some[i], GET_TEXT("/patient"));
    }
    WAIT_UNTIL(atomic_load(&slow_running) == (unsigned)most);
    client_open(last, s); /* the kernel's queue has it */
    client_send(last, GET_TEXT("/hello"));
    size_t moved;
    int rc = pirn_read(last->socket, last->bytes, 1, &moved, pirn_after(150 * PIRN_MILLISECOND));
    cr_assert_eq(rc, PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_http_connections(s->server), (size_t)most);
    client_close(&some[0]);
    response r;
    cr_assert(get_response(last, &r));
    cr_assert_eq(r.status, 200);
    response_drop(&r);
    for (int i = 1; i <= most; i++) {
        client_close(&some[i]);
    }
    WAIT_UNTIL(atomic_load(&slow_running) == 0);
    free(some);
}

static int crowd(void *arg) {
    (void)arg;
    site s;
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.connections_max = 3;
    options.cancel_half_closed = true; /* a close is enough to give up the place */
    site_open(&s, &options);
    expect_limit(&s, 3);
    expect_limit(&s, 3);
    site_close(&s);
    struct rlimit whole, tight;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &whole), 0);
    tight = (struct rlimit){.rlim_cur = 64, .rlim_max = whole.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    options.connections_max = 0;
    site_open(&s, &options);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &whole), 0); /* for our own side of the connections */
    expect_limit(&s, 48);
    site_close(&s);
    return 0;
}

/* Goal: above the limit accepting stops until one closes; the limit leaves descriptors to others. Method: one more
 *       than an option allows, and than three quarters of the descriptors. */
Test(http_server, crowd_waits_its_turn, .timeout = 60) {
    run_everywhere(crowd);
}

static int stuck_reader(void *arg) {
    (void)arg;
    site s;
    client c;
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.write_timeout_ns = 80 * PIRN_MILLISECOND;
    site_open(&s, &options);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/big?n=20000000"));
    WAIT_UNTIL(pirn_http_connections(s.server) == 1);
    WAIT_UNTIL(pirn_http_connections(s.server) == 0); /* nobody reads: it is cut */
    cr_assert_eq(atomic_load(&reports), 0, "a slow client is not the handler's failure");
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a client that does not read cannot hold a response for ever. Method: a response over all buffers, nobody
 *       reading. */
Test(http_server, stuck_reader_cut, .timeout = 60) {
    run_everywhere(stuck_reader);
}

/* ---- clients that go ---- */

static int disconnects(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open(&s, NULL);
    for (unsigned i = 1; i <= 20; i++) {
        client_open(&c, &s);
        client_send(&c, GET_TEXT("/slow"));
        WAIT_UNTIL(atomic_load(&slow_running) == 1);
        if (i % 2) {
            (void)pirn_shutdown(c.socket); /* half closed is served; the reset comes later */
        }
        client_reset(&c);
        WAIT_UNTIL(atomic_load(&cancelled) == i);
        WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    }
    cr_assert_eq(atomic_load(&reports), 0);
    expect_status_alone(&s, GET_TEXT("/hello"), 200);
    site_close(&s);
    return 0;
}

/* Goal: a client that goes takes its parked request with it, silently. Method: reset, half of the times
 *       after a half close, twenty times. */
Test(http_server, disconnect_cancels, .timeout = 60) {
    run_everywhere(disconnects);
}

static int pipelined_disconnects(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open(&s, NULL);
    for (unsigned i = 1; i <= 20; i++) {
        client_open(&c, &s);
        client_send(&c, i % 2 ? GET_TEXT("/patient") GET_TEXT("/hello") : GET_TEXT("/patient") "GET /he");
        WAIT_UNTIL(atomic_load(&slow_running) == 1);
        if (i % 3 == 0) { /* more of it, while the first runs */
            client_send(&c, i % 2 ? GET_TEXT("/hello") : "llo HT");
        }
        if (i % 4 >= 2) {
            (void)pirn_shutdown(c.socket);
        }
        client_reset(&c);
        WAIT_UNTIL(atomic_load(&cancelled) == i);
        WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    }
    cr_assert_eq(atomic_load(&reports), 0);
    expect_status_alone(&s, GET_TEXT("/hello"), 200);
    site_close(&s);
    return 0;
}

/* Goal: a client that pipelines and then goes is noticed as any other (rule 17). Method: a request that would never
 *       end, whole and partial ones behind it, reset, half of the times after a half close, twenty times. */
Test(http_server, disconnect_cancels_before_a_pipeline, .timeout = 60) {
    run_everywhere(pipelined_disconnects);
}

static int pipeline_in_pieces(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (int i = 0; i < 20; i++) {
        client_send(&c, GET_TEXT("/later?ms=10") "GET /st");
        (void)pirn_sleep_until(pirn_after(i % 5 * 3 * PIRN_MILLISECOND)); /* before, near and after its end */
        client_send(&c, "ream?n=2 HTTP/1.1\r\nHost: a\r\n\r\n");
        cr_assert(get_response(&c, &r));
        cr_assert_str_eq(r.body, "Hello, world!");
        response_drop(&r);
        cr_assert(get_response(&c, &r));
        cr_assert_str_eq(r.body, "0 1 ");
        response_drop(&r);
    }
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: what comes while a request runs waits for its end, and no longer. Method: a head in two pieces, the second at
 *       several moments. */
Test(http_server, pipeline_in_pieces_goes_on_at_once, .timeout = 60) {
    run_everywhere(pipeline_in_pieces);
}

/* ---- the end of the server ---- */

static int ask_later(void *arg) {
    response r;
    client *c = arg;
    client_send(c, GET_TEXT("/later?ms=400"));
    cr_assert(get_response(c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_str_eq(response_field(&r, "Connection"), "close");
    response_drop(&r);
    expect_closed(c);
    return 0;
}

static int drain(void *arg) {
    (void)arg;
    site s;
    client idle, busy, stuck;
    site_open(&s, NULL);
    client_open(&idle, &s);
    expect_status(&idle, GET_TEXT("/hello"), 200);
    client_open(&stuck, &s);
    client_send(&stuck, GET_TEXT("/patient"));
    client_open(&busy, &s);
    pirn_spawn_options joinable;
    pirn_spawn_options_init(&joinable);
    joinable.flags = PIRN_JOINABLE;
    pirn_tasklet asking = pirn_spawn_with(&joinable, ask_later, &busy);
    WAIT_UNTIL(pirn_http_connections(s.server) == 3 && atomic_load(&slow_running) == 1);
    (void)pirn_sleep_until(pirn_after(30 * PIRN_MILLISECOND));
    pirn_http_server_close(s.server, pirn_after(900 * PIRN_MILLISECOND));
    cr_assert_eq(pirn_join(asking, NULL, pirn_after(PATIENCE)), 0);
    cr_assert_eq(atomic_load(&cancelled), 1);
    expect_closed(&idle);
    expect_closed(&stuck);
    client late;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", s.port);
    cr_assert_eq(pirn_connect(address, &late.socket, pirn_after(PATIENCE)), -ECONNREFUSED);
    client_close(&idle);
    client_close(&busy);
    client_close(&stuck);
    return 0;
}

/* Goal: a drain closes the idle, finishes the busy and cancels the stuck. Method: one connection of each kind. */
Test(http_server, drain_finishes_and_cancels, .timeout = 60) {
    run_everywhere(drain);
}

static int close_under_load(void *arg) {
    (void)arg;
    for (int round = 0; round < 10; round++) {
        site s;
        client some[16];
        site_open(&s, NULL);
        for (int i = 0; i < 16; i++) {
            client_open(&some[i], &s);
            if (i % 3) {
                client_send(&some[i], i % 2 ? GET_TEXT("/hello") : "GET /he");
            }
        }
        pirn_http_server_close(s.server, pirn_after(round % 2 ? 50 * PIRN_MILLISECOND : 0));
        for (int i = 0; i < 16; i++) {
            while (client_fill(&some[i])) {
            }
            client_close(&some[i]);
        }
    }
    return 0;
}

/* Goal: closing frees the server while connections are being born, read and answered. Method: ten rounds; sanitizers
 *       watch. */
Test(http_server, close_at_any_moment, .timeout = 60) {
    run_everywhere(close_under_load);
}

/* ---- many at once ---- */

static atomic_uint answered;

static unsigned requests_of_each(void) {
    return (unsigned)pirn_test_count(50, 10);
}

static int many_requests(void *arg) {
    client c;
    client_open(&c, arg);
    for (unsigned i = 0; i < requests_of_each(); i++) {
        expect_status(&c, i % 5 ? GET_TEXT("/hello") : GET_TEXT("/stream?n=100&flush=1"), 200);
        atomic_fetch_add(&answered, 1);
    }
    client_close(&c);
    return 0;
}

static int many_clients(void *arg) {
    (void)arg;
    site s;
    pirn_tasklet clients[50];
    site_open(&s, NULL);
    atomic_store(&answered, 0);
    pirn_spawn_options joinable;
    pirn_spawn_options_init(&joinable);
    joinable.flags = PIRN_JOINABLE;
    for (int i = 0; i < 50; i++) {
        clients[i] = pirn_spawn_with(&joinable, many_requests, &s);
    }
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(pirn_join(clients[i], NULL, pirn_after(60 * PIRN_SECOND)), 0);
    }
    cr_assert_eq(atomic_load(&answered), 50 * requests_of_each());
    WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    site_close(&s);
    return 0;
}

/* Goal: many connections at once are all served. Method: fifty clients with fifty requests each, or ten. */
Test(http_server, many_clients_served, .timeout = 120) {
    run_everywhere(many_clients);
}

/* ---- client ---- */

static int get_own_page(void *arg) {
    (void)arg;
    site s;
    pirn_http_options options = {.cancel_half_closed = true}; /* a transfer that is given up closes orderly */
    site_open(&s, &options);
    char url[64], error[128];
    pirn_http_page *page;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/stream?n=3&flush=1", s.port);
    cr_assert_eq(pirn_http_get(url, &page, error, sizeof error, pirn_after(PATIENCE)), 0, "%s", error);
    cr_assert_eq(page->status, 200);
    cr_assert_str_eq(page->body, "0 1 2 ");
    cr_assert_str_eq(page->content_type, "text/plain");
    pirn_http_page_drop(page);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/slow", s.port);
    cr_assert_eq(pirn_http_get(url, &page, error, sizeof error, pirn_after(300 * PIRN_MILLISECOND)), PIRN_ETIMEDOUT);
    cr_assert_null(page);
    WAIT_UNTIL(atomic_load(&cancelled) == 1); /* the transfer was ended, and the server noticed */
    site_close(&s);
    return 0;
}

/* Goal: the blocking client gets a page of our own server, and a deadline ends the transfer. Method: both. */
Test(http_server, client_gets_own_page, .timeout = 60) {
    run_everywhere(get_own_page);
}
