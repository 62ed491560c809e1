/* SPDX-License-Identifier: MIT
 *
 * What: runs the table of HTTP cases (http_table.h): against the parser alone and against the server on sockets, each
 *       case whole, byte by byte and at random splits. In the long form (PIRN_TEST_LONG=1) it sends the whole cases to
 *       nginx and to Go's server as well, and prints where their judgements differ from ours.
 * Threads: parser and peers: the test's own. Server: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#include "http_exchange.h"
#include "http_parse.h"
#include "http_peers.h"
#include "http_reference.h"
#include "http_table.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const http_table *const tables[] = {&http_table_request_line, &http_table_targets,    &http_table_host,
                                           &http_table_fields,       &http_table_lengths,    &http_table_codings,
                                           &http_table_chunks,       &http_table_connections};

/* A growing text. */
typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static void text_put(text *t, const void *bytes, size_t count) {
    if (t->length + count + 1 > t->capacity) {
        t->capacity = (t->length + count + 1) * 2;
        t->bytes = realloc(t->bytes, t->capacity);
    }
    if (count > 0) {
        memcpy(t->bytes + t->length, bytes, count);
    }
    t->length += count;
    t->bytes[t->length] = '\0';
}

/* The case's bytes with its filling. */
static void text_put_case(text *t, const http_case *c) {
    t->length = 0;
    for (size_t i = 0; i < c->length; i++) {
        if (c->bytes[i] != '@' || c->fill == 0) {
            text_put(t, &c->bytes[i], 1);
            continue;
        }
        for (unsigned n = 0; n < c->fill; n++) {
            text_put(t, c->fill_field ? c->fill_field : "a", c->fill_field ? strlen(c->fill_field) : 1);
        }
    }
}

/* What the handler saw of a request: "METHOD path?query|Name=value|...|body". */
static void text_put_seen(text *t, const pn_http_request *request) {
    text_put(t, request->method, strlen(request->method));
    text_put(t, " ", 1);
    text_put(t, request->path, strlen(request->path));
    text_put(t, "?", *request->query ? 1 : 0);
    text_put(t, request->query, strlen(request->query));
    for (unsigned i = 0; i < request->field_count; i++) {
        text_put(t, "|", 1);
        text_put(t, request->fields[i].name, strlen(request->fields[i].name));
        text_put(t, "=", 1);
        text_put(t, request->fields[i].value, strlen(request->fields[i].value));
    }
    text_put(t, "|", 1);
    text_put(t, request->body, request->body_bytes);
}

/* ---- what a case expects ---- */

typedef struct expectation {
    int status[8];
    bool head[8]; /* it answers a HEAD */
    unsigned count;
    bool closes, waits;
} expectation;

/* The parser refuses with these; all other statuses come from routes and handlers. */
static bool is_refusal(int status) {
    return status >= 400 && status != 404 && status != 405;
}

static expectation expectation_of(const http_case *c) {
    expectation e = {.count = 0};
    for (const char *at = c->expected; *at; at += strcspn(at, " "), at += *at == ' ') {
        if (*at >= '0' && *at <= '9') {
            cr_assert_lt(e.count, COUNT(e.status));
            e.status[e.count] = atoi(at);
            e.head[e.count] = at[3] == 'h';
            e.closes = e.closes || is_refusal(e.status[e.count]);
            e.count++;
        }
        e.waits = e.waits || *at == '-';
        e.closes = e.closes || *at == 'c';
    }
    return e;
}

/* How a case is cut: whole, byte by byte, or in random pieces. */
static uint64_t random_state = 88172645463325252u;

static size_t next_piece(unsigned way, size_t left) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    size_t largest = left > 2000 ? 700 : 40;
    size_t piece = way == 0 ? left : way == 1 && left <= 2000 ? 1 : (random_state >> 20) % largest + 1;
    return piece < left ? piece : left;
}

static const char *const ways[] = {"whole", "byte by byte", "in random pieces", "in other random pieces"};

/* ---- the parser ---- */

typedef struct parsing {
    pirn_http_options options;
    pn_http_parser parser;
    text seen;
    unsigned requests;
    int refused; /* a status, 0: none */
    bool closed; /* by a request that says so */
    size_t used; /* of the case's bytes */
} parsing;

/* The fields that the parser found are those that the second reader finds in the same bytes. An absolute target's host
 * takes the place of Host's value. */
static void compare_with_reference(const pn_http_request *request, const char *bytes, size_t length, const char *name) {
    reference *r = malloc(sizeof *r);
    while (length > 2 && memcmp(bytes, "\r\n", 2) == 0) {
        bytes += 2;
        length -= 2;
    }
    (void)reference_read(r, bytes, length);
    const char *target = memchr(bytes, ' ', length);
    bool absolute = target && target[1] != '/' && target[1] != '*';
    cr_assert(request->field_count == r->count || (absolute && request->field_count == r->count + 1), "%s: %u fields",
              name, request->field_count);
    for (unsigned i = 0; i < r->count; i++) {
        const pn_http_field *field = &request->fields[i];
        const reference_field *wanted = &r->fields[i];
        bool replaced = absolute && wanted->name_bytes == 4 && strncasecmp(wanted->name, "Host", 4) == 0;
        cr_assert(field->name_bytes == wanted->name_bytes && strlen(field->name) == field->name_bytes &&
                      memcmp(field->name, wanted->name, wanted->name_bytes) == 0,
                  "%s: field %u is called '%s'", name, i, field->name);
        cr_assert(replaced ||
                      (field->value_bytes == wanted->value_bytes && strlen(field->value) == field->value_bytes &&
                       memcmp(field->value, wanted->value, wanted->value_bytes) == 0),
                  "%s: the value of %s is '%s'", name, field->name, field->value);
    }
    free(r);
}

/* Give bytes[used, given) to the parser, as a copy of exactly that size: sanitizers see a read beyond it. */
static void parse_given(parsing *p, const text *bytes, size_t given, const char *name) {
    while (p->refused == 0 && !p->closed && p->used < given) {
        size_t used, count = given - p->used;
        char *exact = malloc(count);
        memcpy(exact, bytes->bytes + p->used, count);
        int status = pn_http_parser_feed(&p->parser, exact, count, &used);
        free(exact);
        p->used += used;
        if (status == 0) {
            return;
        }
        if (status < 0) {
            p->refused = -status;
            return;
        }
        pn_http_request *request = pn_http_parser_take(&p->parser);
        p->closed = !request->keep_alive;
        text_put(&p->seen, "\n", p->requests++ ? 1 : 0);
        text_put_seen(&p->seen, request);
        if (p->requests == 1) {
            compare_with_reference(request, bytes->bytes, bytes->length, name);
        }
        pn_http_request_destroy(request);
    }
}

/* HEAD, OPTIONS and methods without a route reach no handler of the table's, so `seen` does not have them. */
static bool seen_matches(const parsing *p, const http_case *c, const expectation *e) {
    if (!c->seen) {
        return true;
    }
    for (unsigned i = 0; i < e->count; i++) {
        if (e->status[i] != 200 || e->head[i]) {
            const char *tail = strrchr(c->seen, '\n');
            tail = tail ? tail + 1 : c->seen;
            size_t bytes = strlen(tail);
            return is_refusal(e->status[i])
                       ? strcmp(p->seen.bytes, c->seen) == 0
                       : p->seen.length >= bytes && strcmp(p->seen.bytes + p->seen.length - bytes, tail) == 0;
        }
    }
    return strcmp(p->seen.bytes, c->seen) == 0;
}

static void parse_case(const http_case *c, const text *bytes, unsigned way) {
    expectation e = expectation_of(c);
    parsing p = {.used = 0};
    pirn_http_options_init(&p.options);
    pn_http_parser_init(&p.parser, &p.options);
    text_put(&p.seen, "", 0);
    for (size_t given = 0; given < bytes->length;) {
        given += next_piece(way, bytes->length - given);
        parse_given(&p, bytes, given, c->name);
    }
    int refused = e.count > 0 && is_refusal(e.status[e.count - 1]) ? e.status[e.count - 1] : 0;
    cr_assert(p.requests == e.count - (refused != 0) && p.refused == refused,
              "%s, %s: %u requests and status %d instead of %s", c->name, ways[way], p.requests, p.refused,
              c->expected);
    cr_assert(refused || p.closed == e.closes, "%s, %s: closes %d", c->name, ways[way], p.closed);
    cr_assert(seen_matches(&p, c, &e), "%s, %s: seen was\n%s\ninstead of\n%s", c->name, ways[way], p.seen.bytes,
              c->seen);
    pn_http_parser_fini(&p.parser);
    free(p.seen.bytes);
}

/* Goal: the parser judges every case as the table says, and its fields are those of the bytes, however they arrive.
 * Method: each case whole, byte by byte and at random splits; the generator's start is printed. */
Test(http_table, parser_judges_every_case, .timeout = 60) {
    text bytes = {NULL, 0, 0};
    size_t cases = 0;
    unsigned rounds = (unsigned)pirn_test_count(8, 2);
    printf("random splits begin with %llu\n", (unsigned long long)random_state);
    for (size_t t = 0; t < COUNT(tables); t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            text_put_case(&bytes, &tables[t]->cases[i]);
            for (unsigned way = 0; way < rounds + 2; way++) {
                parse_case(&tables[t]->cases[i], &bytes, way < 2 ? way : 2);
            }
            cases++;
        }
    }
    cr_assert_geq(cases, 500);
    free(bytes.bytes);
}

/* Goal: a case can be named. Method: no two have one name. */
Test(http_table, names_are_unique) {
    for (size_t t = 0; t < COUNT(tables); t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            for (size_t u = 0; u <= t; u++) {
                for (size_t j = 0; j < (u == t ? i : tables[u]->count); j++) {
                    cr_assert_str_neq(tables[t]->cases[i].name, tables[u]->cases[j].name);
                }
            }
        }
    }
}

/* ---- the server ---- */

/* Answers with what it saw; a path that is a number gives that status. */
static int tell_seen(pirn_http_exchange *exchange, void *context) {
    (void)context;
    text seen = {NULL, 0, 0};
    text_put_seen(&seen, exchange->request);
    int status = atoi(pirn_http_path(exchange) + 1);
    int rc =
        pirn_http_reply(exchange, status >= 200 && status < 600 ? status : 200, "text/plain", seen.bytes, seen.length);
    free(seen.bytes);
    return rc;
}

static void table_site_open(site *s) {
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH"};
    pirn_listener *listener;
    s->server = pirn_http_server_create(NULL);
    for (size_t i = 0; i < COUNT(methods); i++) {
        cr_assert_eq(pirn_http_route(s->server, methods[i], "/", PIRN_ROUTE_PREFIX, tell_seen, NULL), 0);
    }
    cr_assert_eq(pirn_listen("127.0.0.1:0", NULL, &listener), 0);
    s->port = pirn_listener_port(listener);
    cr_assert_eq(pirn_http_serve(s->server, listener), 0);
}

/* A server that has refused may close while we still send: that is not looked at. */
static void send_case(client *c, const text *bytes, unsigned way) {
    int rc = 0;
    for (size_t sent = 0; rc == 0 && sent < bytes->length;) {
        size_t piece = next_piece(way, bytes->length - sent);
        rc = pirn_write(c->socket, bytes->bytes + sent, piece, NULL, pirn_after(PATIENCE));
        sent += piece;
        if (way > 1 && sent % 7 == 0) {
            pirn_yield();
        }
    }
}

/* The next response that is not a 100. */
static void expect_response(client *c, const http_case *wanted, int status, bool head, text *seen, const char *way) {
    response r;
    do {
        cr_assert(get_response_of(c, &r, head), "%s, %s: no response, %d was wanted", wanted->name, way, status);
        if (r.status == 100) {
            response_drop(&r);
        }
    } while (r.status == 100);
    cr_assert(r.status == status && r.complete, "%s, %s: %d instead of %d", wanted->name, way, r.status, status);
    cr_assert(response_field(&r, "Date") != NULL, "%s, %s: no Date in %s", wanted->name, way, r.head);
    bool framed = response_field(&r, "Content-Length") != NULL;
    cr_assert_eq(framed, status != 204 && status != 304, "%s, %s: %s", wanted->name, way, r.head);
    if (is_refusal(status)) {
        cr_assert_str_eq(response_field(&r, "Connection"), "close");
    }
    if (status == 200 && !head) {
        text_put(seen, "\n", seen->length > 0 ? 1 : 0);
        text_put(seen, r.body, r.body_bytes);
    }
    response_drop(&r);
}

static void serve_case(const site *s, const http_case *wanted, const text *bytes, unsigned way) {
    static const char probe[] = "GET /probe HTTP/1.1\r\nHost: p\r\n\r\n";
    expectation e = expectation_of(wanted);
    text seen = {NULL, 0, 0};
    client c;
    text_put(&seen, "", 0);
    client_open(&c, s);
    send_case(&c, bytes, way);
    if (e.waits) {
        cr_assert_eq(pirn_shutdown(c.socket), 0);
    } else if (!e.closes) {
        client_send(&c, probe);
    }
    for (unsigned i = 0; i < e.count; i++) {
        expect_response(&c, wanted, e.status[i], e.head[i], &seen, ways[way]);
    }
    cr_assert(!wanted->seen || strcmp(seen.bytes, wanted->seen) == 0, "%s, %s: seen was\n%s\ninstead of\n%s",
              wanted->name, ways[way], seen.bytes, wanted->seen);
    if (e.waits || e.closes) {
        expect_closed(&c);
    } else {
        seen.length = 0;
        expect_response(&c, wanted, 200, false, &seen, "the probe behind it");
        cr_assert_str_eq(seen.bytes, "GET /probe|Host=p|", "%s, %s: the probe behind it was read as %s", wanted->name,
                         ways[way], seen.bytes);
    }
    client_close(&c);
    free(seen.bytes);
}

static unsigned ways_served;

static int serve_all(void *arg) {
    (void)arg;
    text bytes = {NULL, 0, 0};
    site s;
    table_site_open(&s);
    for (size_t t = 0; t < COUNT(tables); t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            text_put_case(&bytes, &tables[t]->cases[i]);
            for (unsigned way = 0; way < ways_served; way++) {
                serve_case(&s, &tables[t]->cases[i], &bytes, way);
            }
        }
    }
    free(bytes.bytes);
    cr_assert_eq(atomic_load(&reports), 0);
    WAIT_UNTIL(pirn_http_connections(s.server) == 0);
    site_close(&s);
    return 0;
}

/* Goal: the server answers every case as the table says, its handler sees the table's values, and the connection then
 *       closes or serves on. Method: each case on a connection of its own, whole, byte by byte and at random splits; a
 *       probe or the end of the stream behind it; in every mode. */
Test(http_table, server_answers_every_case, .timeout = 120) {
    ways_served = pirn_test_is_long() ? 4 : 3;
    run_everywhere(serve_all);
}

/* ---- other servers ---- */

static const http_peer_case *recorded_of(const char *name) {
    for (size_t i = 0; i < http_peer_case_count; i++) {
        if (strcmp(http_peer_cases[i].name, name) == 0) {
            return &http_peer_cases[i];
        }
    }
    return NULL;
}

/* Our judgement in the words of http_peers.h. */
static void put_own(const http_case *c, char *own, size_t bytes) {
    expectation e = expectation_of(c);
    size_t length = 0;
    own[0] = '\0';
    for (unsigned i = 0; i < e.count; i++) {
        length += (size_t)snprintf(own + length, bytes - length, "%s%d", i ? " " : "", e.status[i]);
    }
    if (e.closes) {
        snprintf(own + length, bytes - length, " close");
    }
}

typedef struct tally {
    unsigned cases, nginx_differs, go_differs, changed;
} tally;

static void judge_everywhere(const http_case *c, const text *bytes, const http_peers *peers, tally *sum) {
    char own[128], nginx[128], go[128];
    put_own(c, own, sizeof own);
    http_peers_ask(peers->nginx_port, bytes->bytes, bytes->length, nginx, sizeof nginx);
    http_peers_ask(peers->go_port, bytes->bytes, bytes->length, go, sizeof go);
    sum->cases++;
    sum->nginx_differs += strcmp(own, nginx) != 0;
    sum->go_differs += strcmp(own, go) != 0;
    const http_peer_case *recorded = recorded_of(c->name);
    const char *recorded_nginx = recorded ? recorded->nginx : own, *recorded_go = recorded ? recorded->go : own;
    bool changed = strcmp(nginx, recorded_nginx) != 0 || strcmp(go, recorded_go) != 0;
    sum->changed += changed;
    if (strcmp(own, nginx) != 0 || strcmp(own, go) != 0) {
        printf("%s {\"%s\", \"%s\", \"%s\"}, /* pirn: %s */\n", changed ? "changed" : "       ", c->name, nginx, go,
               own);
    } else if (changed) {
        printf("changed %s: all three say \"%s\"\n", c->name, own);
    }
    fflush(stdout);
}

/* Goal: our judgements can be compared with those of two servers that are widely used. Method: the long form starts
 *       both on loopback, sends every case whole, and prints where one differs, in the form of http_table_peers.c; a
 *       line that is not as recorded there begins with "changed": another version may be installed. */
Test(http_table, compared_with_nginx_and_go, .timeout = 600) {
    if (!pirn_test_is_long()) {
        cr_skip_test("the comparison with nginx and Go is in the long form only (PIRN_TEST_LONG=1)");
    }
    http_peers peers;
    const char *missing = http_peers_start(&peers);
    if (missing) {
        cr_skip_test("%s", missing);
    }
    text bytes = {NULL, 0, 0};
    tally sum = {0};
    for (size_t t = 0; t < COUNT(tables); t++) {
        printf("---- %s: {name, nginx, Go}\n", tables[t]->part);
        for (size_t i = 0; i < tables[t]->count; i++) {
            text_put_case(&bytes, &tables[t]->cases[i]);
            judge_everywhere(&tables[t]->cases[i], &bytes, &peers, &sum);
        }
    }
    http_peers_stop(&peers);
    printf("%u cases: nginx differs in %u, Go in %u; %u are not as recorded\n", sum.cases, sum.nginx_differs,
           sum.go_differs, sum.changed);
    free(bytes.bytes);
}
