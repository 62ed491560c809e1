/* SPDX-License-Identifier: MIT
 *
 * What: the framing of responses byte by byte: statuses without a body, HEAD, and fields that may come once.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

static int status_of(pirn_http_exchange *exchange) {
    char text[16];
    return pirn_http_query_field(exchange, "status", text, sizeof text) > 0 ? atoi(text) : 200;
}

static int reply_whole(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, status_of(exchange), "text/plain", "body", 4);
}

static int reply_in_pieces(pirn_http_exchange *exchange, void *context) {
    (void)context;
    int rc = pirn_http_status(exchange, status_of(exchange));
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = pirn_http_print(exchange, "piece");
        rc = rc ? rc : pirn_http_flush(exchange);
    }
    return rc;
}

static int reply_with_fields_alone(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_status(exchange, status_of(exchange));
}

/* Every way to give the type twice is refused, and the first one counts. */
static int give_two_types(pirn_http_exchange *exchange, void *context) {
    (void)context;
    if (pirn_http_field(exchange, "Content-Type", "text/html") != 0 ||
        pirn_http_field(exchange, "Content-Type", "text/plain") != PIRN_EINVAL ||
        pirn_http_field(exchange, "CONTENT-TYPE", "text/html") != PIRN_EINVAL ||
        pirn_http_reply(exchange, 200, "text/plain", "x", 1) != PIRN_EINVAL) {
        return PIRN_EFAILED;
    }
    return pirn_http_reply(exchange, 200, NULL, "one", 3);
}

static int type_then_failure(pirn_http_exchange *exchange, void *context) {
    (void)context;
    int rc = pirn_http_field(exchange, "Content-Type", "image/png");
    return rc ? rc : PIRN_ELIMIT;
}

static void open_site(site *s) {
    static const struct {
        const char *path;
        pirn_http_handler handler;
    } routes[] = {{"/whole", reply_whole},
                  {"/pieces", reply_in_pieces},
                  {"/fields", reply_with_fields_alone},
                  {"/types", give_two_types},
                  {"/type-fail", type_then_failure}};
    pirn_listener *listener;
    s->server = pirn_http_server_create(NULL);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        cr_assert_eq(pirn_http_route(s->server, "GET", routes[i].path, 0, routes[i].handler, NULL), 0);
    }
    cr_assert_eq(pirn_listen("127.0.0.1:0", NULL, &listener), 0);
    s->port = pirn_listener_port(listener);
    cr_assert_eq(pirn_http_serve(s->server, listener), 0);
}

/* The head of the response to `method` on `path`. Nothing may stand between it and the next response's, unless
 * `body_bytes` do. */
static void expect_framing(client *c, const char *method, const char *path, int status, const char *length,
                           size_t body_bytes) {
    char text[256];
    response r, next;
    snprintf(text, sizeof text,
             "%s %s?status=%d HTTP/1.1\r\nHost: a\r\n\r\nGET /fields?status=202 HTTP/1.1\r\nHost: a\r\n\r\n", method,
             path, status);
    client_send(c, text);
    cr_assert(get_response_of(c, &r, true));
    cr_assert_eq(r.status, status, "%s", r.head);
    const char *told = response_field(&r, "Content-Length");
    cr_assert((told != NULL) == (length != NULL) && (!told || strcmp(told, length) == 0), "%s %s: %s", method, path,
              r.head);
    cr_assert(client_need(c, body_bytes));
    client_take(c, body_bytes);
    cr_assert(get_response(c, &next), "%s %s %d", method, path, status);
    cr_assert_eq(next.status, 202, "%s %s %d: %s", method, path, status, next.head);
    response_drop(&r);
    response_drop(&next);
}

static int frame_each_status(void *arg) {
    (void)arg;
    static const char *const paths[] = {"/whole", "/pieces", "/fields"};
    static const char *const methods[] = {"GET", "HEAD"};
    site s;
    client c;
    open_site(&s);
    client_open(&c, &s);
    for (unsigned i = 0; i < 6; i++) {
        const char *method = methods[i % 2], *path = paths[i / 2];
        expect_framing(&c, method, path, 204, NULL, 0);
        expect_framing(&c, method, path, 304, NULL, 0);
        expect_framing(&c, method, path, 205, "0", 0);
    }
    expect_framing(&c, "GET", "/whole", 200, "4", 4);
    expect_framing(&c, "HEAD", "/whole", 200, "4", 0);
    expect_framing(&c, "HEAD", "/pieces", 200, NULL, 0);
    expect_framing(&c, "GET", "/pieces", 200, NULL, 3 * strlen("5\r\npiece\r\n") + strlen("0\r\n\r\n"));
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a response ends where its client believes it ends. Method: statuses without a body (205 says so by its length),
 *       whole, in pieces and by a handler that writes none, for GET and HEAD, each with another response behind it. */
Test(http_response, statuses_without_a_body_have_none, .timeout = 60) {
    run_everywhere(frame_each_status);
}

static int answer_two_types(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    open_site(&s);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/types"));
    cr_assert(get_response(&c, &r));
    cr_assert(r.status == 200 && strcmp(r.body, "one") == 0, "%d %s", r.status, r.body);
    cr_assert_str_eq(response_field(&r, "Content-Type"), "text/html");
    response_drop(&r);
    client_close(&c);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/type-fail"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 503);
    cr_assert_str_eq(response_field(&r, "Content-Type"), "text/plain; charset=utf-8");
    response_drop(&r);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a response has one Content-Type. Method: a handler that gives a second one in each way; one that gives a type
 *       and then fails, whose error page has its own. */
Test(http_response, second_content_type_refused, .timeout = 60) {
    run_everywhere(answer_two_types);
}
