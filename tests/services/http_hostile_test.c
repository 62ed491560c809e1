/* SPDX-License-Identifier: MIT
 *
 * What: clients that mean harm or die badly, over real sockets: after each of them the server has no connection left
 *       over and answers the next honest client.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#include <sys/socket.h>

/* After an attack: nothing is left of it, and the server serves. */
static void expect_unharmed(const site *s) {
    WAIT_UNTIL(pirn_http_connections(s->server) == 0);
    expect_status_alone(s, GET_TEXT("/hello"), 200);
    cr_assert_eq(atomic_load(&reports), 0, "%s", last_report);
}

/* All that comes until the stream ends; the client may have been reset. */
static void drain_client(client *c) {
    while (client_fill(c)) {
    }
}

#define POST    "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define SLOW    GET_TEXT("/slow")

static int smuggled_second(void *arg) {
    (void)arg;
    static const char *const attacks[] = {
        POST "Content-Length: 4\r\n" CHUNKED "\r\n0\r\n\r\n" SLOW,
        POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" SLOW,
        POST "X: y\r\n Content-Length: 30\r\n\r\n" SLOW,
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" SLOW,
        "GET /hello HTTP/1.1\nHost: a\n\n" SLOW,
        "POST /echo HTTP/1.0\r\n" CHUNKED "\r\n0\r\n\r\n" SLOW,
    };
    site s;
    client c;
    site_open(&s, NULL);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        response r;
        client_open(&c, &s);
        client_send(&c, GET_TEXT("/hello"));
        client_send(&c, attacks[i]);
        cr_assert(get_response(&c, &r) && r.status == 200);
        response_drop(&r);
        cr_assert(get_response(&c, &r), "attack %zu", i);
        cr_assert_eq(r.status, 400, "attack %zu: %d", i, r.status);
        response_drop(&r);
        expect_closed(&c);
        client_close(&c);
    }
    cr_assert_eq(atomic_load(&slow_running), 0, "nothing behind an error is acted on");
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: nothing behind a refused request is ever acted on. Method: an honest request, then each attack with another
 *       behind. */
Test(http_hostile, bytes_after_an_error_ignored, .timeout = 60) {
    run_everywhere(smuggled_second);
}

static int byte_by_byte(void *arg) {
    (void)arg;
    static const char text[] =
        "POST /echo?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n";
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        client_send_bytes(&c, text + i, 1);
        if (i % 3 == 0) {
            (void)pirn_sleep_until(pirn_after(200 * PIRN_MICROSECOND)); /* so that reads end in between, too */
        }
    }
    cr_assert(get_response(&c, &r));
    cr_assert(r.status == 200 && strcmp(r.body, "abc") == 0);
    response_drop(&r);
    client_close(&c);
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: a request may arrive in any pieces. Method: one byte a write. */
Test(http_hostile, one_byte_a_segment_served, .timeout = 60) {
    run_everywhere(byte_by_byte);
}

static int die_at_each_byte(void *arg) {
    (void)arg;
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /big?n=100000 HTTP/1.1\r\n"
        "Host: a\r\n\r\n";
    site s;
    client c;
    site_open(&s, NULL);
    for (size_t length = 0; length < sizeof text; length++) {
        client_open(&c, &s);
        client_send_bytes(&c, text, length);
        client_close(&c); /* with a response unread it is a reset */
    }
    expect_unharmed(&s);
    for (size_t length = 0; length < sizeof text; length += 3) {
        client_open(&c, &s);
        client_send_bytes(&c, text, length);
        cr_assert_eq(pirn_shutdown(c.socket), 0);
        drain_client(&c);
        client_close(&c);
    }
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: a client may vanish at any byte. Method: close, and half close, after each prefix of two requests. */
Test(http_hostile, vanished_clients_leave_nothing, .timeout = 60) {
    run_everywhere(die_at_each_byte);
}

static int slow_loris(void *arg) {
    site *s = arg;
    client c;
    response r;
    client_open(&c, s);
    client_send(&c, "GET /hello HTTP/1.1\r\nHost: a\r\n");
    int rc = PIRN_ETIMEDOUT;
    while (rc == PIRN_ETIMEDOUT) { /* a field now and then, for ever */
        client_send(&c, "X: y\r\n");
        rc = pirn_read(c.socket, c.bytes, c.capacity, &c.length, pirn_after(10 * PIRN_MILLISECOND));
    }
    cr_assert(rc == 0 && get_response(&c, &r), "no answer: %d", rc);
    cr_assert_eq(r.status, 408);
    response_drop(&r);
    client_close(&c);
    return 0;
}

static int many_loris(void *arg) {
    (void)arg;
    site s;
    pirn_tasklet loris[30];
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.header_timeout_ns = 200 * PIRN_MILLISECOND;
    site_open(&s, &options);
    pirn_spawn_options joinable;
    pirn_spawn_options_init(&joinable);
    joinable.flags = PIRN_JOINABLE;
    for (int i = 0; i < 30; i++) {
        loris[i] = pirn_spawn_with(&joinable, slow_loris, &s);
    }
    for (int i = 0; i < 20; i++) { /* meanwhile honest ones are served */
        expect_status_alone(&s, GET_TEXT("/hello"), 200);
    }
    for (int i = 0; i < 30; i++) {
        cr_assert_eq(pirn_join(loris[i], NULL, pirn_after(PATIENCE)), 0);
    }
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: the whole head has one time limit, whatever trickles in; others are served meanwhile. Method: thirty
 *       trickling clients. */
Test(http_hostile, slowloris_ended, .timeout = 60) {
    run_everywhere(many_loris);
}

static int noise(void *arg) {
    (void)arg;
    site s;
    uint64_t state = 0x9e3779b97f4a7c15u;
    site_open(&s, NULL);
    for (int round = 0; round < 100; round++) {
        client c;
        unsigned char bytes[700];
        for (size_t i = 0; i < sizeof bytes; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[i] = (unsigned char)state;
        }
        client_open(&c, &s);
        (void)pirn_write(c.socket, bytes, sizeof bytes, NULL, pirn_after(PATIENCE)); /* it may be closed already */
        drain_client(&c);
        cr_assert(c.length == 0 || memcmp(c.bytes, "HTTP/1.1 4", 10) == 0 || memcmp(c.bytes, "HTTP/1.1 5", 10) == 0);
        client_close(&c);
    }
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: noise is refused or cut, at once. Method: a hundred times 700 seeded bytes. */
Test(http_hostile, noise_refused, .timeout = 60) {
    run_everywhere(noise);
}

/* Writes pipelined requests, never reads, and sees that the server stops taking them. */
static void flood(client *c) {
    char *requests = malloc(1 << 20);
    size_t length = 0;
    static const char one[] = GET_TEXT("/big?n=20000");
    while (length + sizeof one < 1 << 20) {
        memcpy(requests + length, one, sizeof one - 1);
        length += sizeof one - 1;
    }
    size_t sent = 0;
    int rc = 0;
    while (rc == 0 && sent < 64u << 20) {
        size_t moved = 0;
        rc = pirn_write(c->socket, requests, length, &moved, pirn_after(300 * PIRN_MILLISECOND));
        sent += moved;
    }
    free(requests);
    cr_assert_neq(rc, 0, "%zu bytes of requests were taken without anybody reading a response", sent);
}

static int pipeline_flood(void *arg) {
    (void)arg;
    site s;
    client c;
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.write_timeout_ns = 500 * PIRN_MILLISECOND;
    options.requests_max = PIRN_HTTP_NO_LIMIT;
    site_open(&s, &options);
    client_open(&c, &s);
    flood(&c);
    client_close(&c);
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: a pipeline is bounded by back pressure, not by memory.
 * Method: requests without end for responses nobody reads. */
Test(http_hostile, pipeline_flood_bounded, .timeout = 60) {
    run_everywhere(pipeline_flood);
}

static int flood_behind_a_slow_one(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/patient"));
    WAIT_UNTIL(atomic_load(&slow_running) == 1);
    flood(&c);
    expect_status_alone(&s, GET_TEXT("/hello"), 200);
    cr_assert_eq(atomic_load(&slow_running), 1);
    client_reset(&c);
    WAIT_UNTIL(atomic_load(&cancelled) == 1);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/patient"));
    WAIT_UNTIL(atomic_load(&slow_running) == 1);
    flood(&c);
    client_close(&c); /* its bytes are still on their way, so this close is not seen */
    pirn_http_server_close(s.server, 0);
    cr_assert_eq(atomic_load(&cancelled), 2);
    return 0;
}

/* Goal: the connection that reads while a request runs reads no more than its buffer holds, and notices
 *       a reset all the time. Method: requests without end behind one that waits; a reset; the same, and a drain. */
Test(http_hostile, flood_behind_a_slow_request_bounded, .timeout = 60) {
    run_everywhere(flood_behind_a_slow_one);
}

static int churn(void *arg) {
    (void)arg;
    site s;
    site_open(&s, NULL);
    for (unsigned i = 0; i < pirn_test_count(300, 100); i++) {
        client c;
        client_open(&c, &s);
        if (i % 4 == 1) {
            client_send(&c, GET_TEXT("/slow"));
        } else if (i % 4 == 2) {
            client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
        } else if (i % 4 == 3) {
            client_send(&c, GET_TEXT("/big?n=1000000"));
        }
        if (i % 4 == 1) {
            client_reset(&c);
        } else {
            client_close(&c);
        }
    }
    WAIT_UNTIL(atomic_load(&slow_running) == 0);
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: connections that come and go in all phases leave nothing. Method: three hundred, or a hundred, of four kinds;
 *       sanitizers watch. */
Test(http_hostile, churn_leaves_nothing, .timeout = 60) {
    run_everywhere(churn);
}

static int unread_upload(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
    char *body = calloc(1, 40000);
    (void)pirn_write(c.socket, body, 40000, NULL, pirn_after(PATIENCE)); /* sent before the answer is read */
    free(body);
    cr_assert(get_response(&c, &r), "the refusal was lost in a reset");
    cr_assert_eq(r.status, 413);
    response_drop(&r);
    client_close(&c);
    expect_unharmed(&s);
    site_close(&s);
    return 0;
}

/* Goal: who is still sending when refused gets to read why. Method: a body too large, 40,000 bytes of it under way. */
Test(http_hostile, refusal_survives_unread_bytes, .timeout = 60) {
    run_everywhere(unread_upload);
}
