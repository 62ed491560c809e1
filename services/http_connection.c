/* SPDX-License-Identifier: MIT
 *
 * What: the connection tasklet: reads, parses, starts a request tasklet per request, one at a time and in order, and
 *       watches the client while it runs.
 *
 * Threads: one tasklet of one worker; the request tasklet shares nothing with it but the outcome, through the join.
 * States: IDLE -> HEAD (a part of a head is here) -> BODY -> RUNNING (a request tasklet is out) -> IDLE
 *       Each has its time limit, counted from `phase_since`. A read that brings the whole request skips HEAD and BODY.
 * While RUNNING: a read is out, and an error cancels the request. Bytes of the next request stay unparsed in the free
 *       rest of the buffer; once it is full nothing is read and the client has to wait: its pipeline is bounded by one
 *       buffer. The end of the client's stream is no reason to stop (unless an option says so): it gets all its
 *       responses. In both cases nothing is read any more, and a wait for the hang-up takes the read's place, so a
 *       reset cancels the request at any time. The end of the request is told to us (by a strike, PN_HTTP_NUDGE) only
 *       when something waits for it: the next request, a drain, or the close of the connection; else new bytes or a
 *       timer make us look (pirn_join), so a keep-alive request costs no wake-up besides that of its read.
 * Invariants: (1) a request tasklet is always joined before the connection ends or writes; (2) no byte is parsed
 *       while a request is out, nor after a refusal; (3) only this tasklet closes the socket.
 * Lifetime: the connection's memory ends with the tasklet; pn_http_server_leave is the last to know of it.
 * Rejected: a channel from request to connection: one more wake-up per request, to learn what the next read tells.
 */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "base.h"
#include "call.h"
#include "deadline.h"
#include "http_exchange.h"
#include "http_parse.h"
#include "http_server.h"
#include "socket.h"

#define INPUT_BYTES_FIRST 2048u  /* in the connection itself: most heads fit, and an idle one holds no more */
#define INPUT_BYTES_BODY  16384u /* while a body comes                                                    */
#define LINGER_BYTES_MAX  65536u
#define LINGER_NS         (2 * PIRN_SECOND)
#define LINGER_NS_IDLE    (100 * PIRN_MILLISECOND) /* of an idle one: no response of ours can be lost */
/* A drain: how long an idle client may take to send one more request, which is answered with Connection: close. A new
 * one has not sent its first request yet; an old one may have sent its next before it hears of the drain. */
#define DRAIN_NS_NEW     PIRN_SECOND
#define DRAIN_NS_IDLE    (100 * PIRN_MILLISECOND)
#define GIVE_WAY_NS      PIRN_MILLISECOND    /* a last look for bytes before an idle one is closed for a newcomer */
#define BODY_NS_PER_BYTE (PIRN_SECOND / 500) /* the slowest body that is not cut off                      */

typedef enum phase { IDLE, HEAD, BODY, RUNNING } phase;

typedef struct connection {
    pirn_http_server *server;
    pirn_tasklet self;
    pirn_socket socket;
    pn_http_member member;
    pn_http_parser parser;
    /* received and not used: [0, length) of input */
    char *input;
    size_t input_bytes, length;
    phase phase;
    pirn_time phase_since;
    bool hungry; /* the parser has seen all of `input`, and wants more                           */
    bool ended;  /* the client closed its sending side                                          */
    bool closing;
    bool linger;              /* the client may still be sending: see linger()                                */
    bool used;                /* it has brought a request                                                     */
    bool idle_end;            /* it is closed because it brings none                                      */
    pirn_time drain_deadline; /* of the next request, once the server drains; 0: it does not                */
    pirn_time began_at;       /* the first byte of the request that is being read came; 0: none has        */
    unsigned served;
    /* the request under way, while RUNNING */
    pirn_tasklet request;
    pirn_http_exchange *exchange; /* not ours to touch, unless it never started                         */
    pn_http_outcome outcome;
    pirn_time handler_deadline;
    bool cancels_half_closed; /* the running request, when the client closes its sending side */
    bool client_closes;       /* it said that it sends no other request                                       */
    char first[INPUT_BYTES_FIRST];
} connection;

static void enter(connection *conn, phase next, pirn_time since) {
    conn->phase = next;
    conn->phase_since = since;
}

/* ---- writing, while no request is out ---- */

/* Write a few bytes of our own. Nudges may come in between. */
static int write_own(connection *conn, const char *bytes, size_t count, size_t *done) {
    pirn_time deadline = pirn_after(conn->server->options.write_timeout_ns);
    int rc = 0;
    *done = 0;
    while (*done < count) {
        size_t moved = 0;
        rc = pirn_write(conn->socket, bytes + *done, count - *done, &moved, deadline);
        *done += moved;
        if (rc != 0 && rc != PN_HTTP_NUDGE) {
            break;
        }
    }
    return *done == count ? 0 : rc;
}

/* The request line as it came, in `line`: method and target, cut short where they are too long to log. False: it is not
 * whole. */
static bool read_line(const connection *conn, char line[512], pirn_http_access *access) {
    const char *from = conn->input + conn->parser.lint.head_start;
    size_t left = conn->length > conn->parser.lint.head_start ? conn->length - conn->parser.lint.head_start : 0;
    const char *end = memchr(from, '\n', left);
    if (!end) {
        return false;
    }
    size_t bytes = (size_t)(end - from) < 511 ? (size_t)(end - from) : 511;
    memcpy(line, from, bytes);
    line[bytes] = '\0';
    line[strcspn(line, "\r")] = '\0';
    access->method = line;
    char *space = strchr(line, ' ');
    if (space) {
        *space = '\0';
        access->target = space + 1;
        space[1 + strcspn(space + 1, " ")] = '\0';
    }
    return true;
}

/* Tell of a request that no request tasklet tells of. `request` NULL: of what was read of it so far. */
static void tell_access(const connection *conn, const pn_http_request *request, pirn_http_access *access) {
    char peer[64] = "?", line[512];
    bool loopback;
    if (!conn->server->options.on_access) {
        return;
    }
    (void)pirn_socket_peer(conn->socket, peer, sizeof peer, &loopback);
    request = request ? request : conn->parser.request;
    access->peer = peer;
    access->method = access->target = "-";
    if (request) {
        access->method = request->sent_method;
        access->target = request->target;
    } else {
        (void)read_line(conn, line, access);
    }
    pirn_time now = pirn_now();
    pn_http_access_tell(conn->server, access, conn->began_at ? conn->began_at : now, now);
}

/* Answer what cannot be read as a request, or not be served, and close. */
static void refuse(connection *conn, int status, const pn_http_request *request) {
    char text[512];
    size_t body_bytes, moved;
    size_t length = pn_http_refusal(status, text, sizeof text, &body_bytes);
    conn->closing = true;
    conn->linger = write_own(conn, text, length, &moved) == 0;
    size_t head = length - body_bytes;
    pirn_http_access access = {
        .status = moved > 0 ? status : 0, .bytes = moved > head ? moved - head : 0, .complete = moved == length};
    tell_access(conn, request, &access);
}

/* ---- the request under way ---- */

/* The request has been joined: what it came to. Returns its exchange, the caller's to destroy, if it was cancelled
 * before its first turn, or got no stack; NULL: it ran. */
static pirn_http_exchange *settle(connection *conn) {
    pirn_http_exchange *unused = conn->outcome.started ? NULL : conn->exchange;
    conn->request.id = 0;
    conn->exchange = NULL;
    if (!conn->outcome.started || !conn->outcome.keep_alive) {
        conn->closing = true;
        conn->linger = conn->outcome.started && (!conn->client_closes || conn->length > 0) && !conn->ended;
    }
    enter(conn, IDLE, conn->outcome.ended_at);
    return unused;
}

/* The client is gone, or we have to go: end the request whatever it does. Its handler's clean-up may take its time. */
static void abandon(connection *conn) {
    (void)pirn_cancel(conn->request);
    pn_firm_shield_enter();
    while (pirn_join(conn->request, NULL, PIRN_FOREVER) != 0) {
        /* PIRN_ENOMEM, for the message to another worker: it must be joined all the same. */
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    pn_firm_shield_leave();
    pirn_http_exchange *unused = settle(conn);
    if (unused) {
        pirn_http_access access = {.status = 0};
        conn->began_at = unused->began_at;
        tell_access(conn, unused->request, &access);
        pn_http_exchange_destroy(unused);
    }
    conn->closing = true;
    conn->linger = false;
}

static void cancel_overdue(connection *conn) {
    conn->handler_deadline = PIRN_FOREVER; /* once */
    (void)pirn_cancel(conn->request);
}

/* It has ended by itself, or was overdue. Without a stack, or a turn in all its time, it has answered nothing. */
static void conclude(connection *conn) {
    pirn_http_exchange *unused = settle(conn);
    if (unused) {
        conn->began_at = unused->began_at;
        refuse(conn, 503, unused->request);
        pn_http_exchange_destroy(unused);
    }
}

/* The request is over, or nearly: join it. */
static void await_request(connection *conn) {
    int rc = pirn_join(conn->request, NULL, conn->handler_deadline);
    if (rc == 0) {
        conclude(conn);
    } else if (rc == PIRN_ETIMEDOUT) {
        cancel_overdue(conn);
    } else if (rc != PN_HTTP_NUDGE) {
        abandon(conn);
    }
}

/* Wait for the request's end, which is told to us, without reading. The client may go meanwhile. */
static void await_end_or_hangup(connection *conn) {
    int rc = pn_socket_await_hangup(conn->socket, conn->handler_deadline);
    if (rc == PIRN_ETIMEDOUT) {
        cancel_overdue(conn);
    } else if (rc != PN_HTTP_NUDGE) {
        abandon(conn);
    }
}

/* Whether the request still runs; when not, it is settled. */
static bool still_running(connection *conn) {
    if (conn->request.id == 0) {
        return false;
    }
    int rc = pirn_join(conn->request, NULL, PIRN_NOW);
    if (rc == PN_HTTP_NUDGE) { /* it runs, or that was a nudge and not the answer: a strike is told once */
        rc = pirn_join(conn->request, NULL, PIRN_NOW);
    }
    if (rc == 0) {
        conclude(conn);
    }
    return rc != 0;
}

/* "GET /path", so that lists of tasklets can be read. */
static void name_request(const pn_http_request *request, char *name, size_t name_bytes) {
    snprintf(name, name_bytes, "%s %s", request->method, request->path);
    for (char *at = name; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
}

/* However the request tasklet ends, also without a turn; on its side. Our read may be out for as long as the client is
 * silent: if we have to close, or wait for this end, we have to look now. We end only after we have joined it. */
static void request_ended(void *arg) {
    connection *conn = arg;
    if (conn->outcome.keep_alive) {
        pn_http_idle_begin(&conn->member, conn->outcome.ended_at);
    }
    bool watched = !pn_below->claim(&conn->outcome.end, PN_HTTP_UNWATCHED, PN_HTTP_OVER);
    if (watched) {
        pn_below->store(&conn->outcome.end, PN_HTTP_OVER);
    }
    if (watched || !conn->outcome.keep_alive) {
        (void)pirn_throw(conn->self, PN_HTTP_NUDGE, true);
    }
}

static void spawn_request(connection *conn, pirn_http_exchange *exchange) {
    char name[32];
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    name_request(exchange->request, name, sizeof name);
    options.name = name;
    options.flags = PIRN_JOINABLE | (conn->server->options.keep_home ? 0 : PIRN_ANYWHERE);
    conn->outcome = (pn_http_outcome){.ended_at = exchange->started_at};
    conn->exchange = exchange;
    pn_ending ending = {.fn = request_ended, .arg = conn};
    const pn_http_route *route = exchange->match.route; /* its line says more than one of ours */
    const char *file = route ? route->file : __FILE__;
    int line = route ? route->line : __LINE__;
    pn_tasklet *request = pn_call_spawn(&options, pn_http_dispatch, exchange, &ending, file, line);
    conn->request = request ? pn_tasklet_handle(request) : (pirn_tasklet){0};
}

/* A request, or a part of one, is here or runs: who was chosen to make room as an idle one does not. */
static void be_busy(connection *conn) {
    pn_http_idle_end(&conn->member);
    if (pn_http_idle_chosen(&conn->member)) {
        pn_http_idle_spare(conn->server, &conn->member);
    }
}

/* A request is complete: hand it to a tasklet of its own. */
static void start_request(connection *conn) {
    const pirn_http_options *options = &conn->server->options;
    be_busy(conn);
    pirn_http_exchange *exchange = pn_http_exchange_create();
    if (!exchange) {
        refuse(conn, 503, NULL);
        return;
    }
    exchange->server = conn->server;
    exchange->request = pn_http_parser_take(&conn->parser);
    exchange->match = pn_http_routes_match(&conn->server->routes, exchange->request);
    exchange->socket = conn->socket;
    exchange->outcome = &conn->outcome;
    exchange->started_at = pirn_now();
    exchange->began_at = conn->began_at ? conn->began_at : exchange->started_at;
    conn->began_at = 0;
    unsigned flags = exchange->match.route ? exchange->match.route->flags : 0;
    conn->cancels_half_closed = options->cancel_half_closed || (flags & PIRN_ROUTE_CANCEL_HALF_CLOSED);
    exchange->handler_deadline =
        flags & PIRN_ROUTE_NO_DEADLINE ? PIRN_FOREVER : pn_deadline(exchange->started_at, options->handler_timeout_ns);
    exchange->last = options->requests_max != PIRN_HTTP_NO_LIMIT && ++conn->served >= options->requests_max;
    conn->used = true;
    conn->drain_deadline = 0;
    conn->client_closes = !exchange->request->keep_alive;
    conn->handler_deadline = exchange->handler_deadline;
    enter(conn, RUNNING, exchange->started_at);
    spawn_request(conn, exchange);
    if (conn->request.id == 0) {
        refuse(conn, 503, exchange->request);
        pn_http_exchange_destroy(exchange);
    }
}

/* ---- reading ---- */

static void continue_if_waited_for(connection *conn) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t done;
    bool nothing_yet = conn->length == 0 && conn->parser.request->body_bytes == 0;
    conn->parser.wants_continue = false;
    if (nothing_yet && write_own(conn, go_on, sizeof go_on - 1, &done) != 0) {
        conn->closing = true;
    }
}

/* The parser wants more. The clock of the phase starts with its first byte, not with each; of the first request's head
 * it starts with the accept, or a client could take twice the time. */
static void go_hungry(connection *conn) {
    conn->hungry = true;
    if (conn->length > 0 || conn->parser.phase == PN_HTTP_BODY) {
        conn->began_at = conn->began_at ? conn->began_at : pirn_now();
        be_busy(conn);
    } else {
        pn_http_idle_begin(&conn->member, conn->phase_since);
    }
    if (conn->parser.phase == PN_HTTP_BODY && conn->phase != BODY) {
        enter(conn, BODY, pirn_now());
        if (conn->parser.wants_continue) {
            continue_if_waited_for(conn);
        }
    } else if (conn->phase == IDLE && conn->length > 0) {
        enter(conn, HEAD, conn->used ? pirn_now() : conn->phase_since); /* the first: from the accept */
    }
}

static void parse_input(connection *conn) {
    size_t used;
    int status = pn_http_parser_feed(&conn->parser, conn->input, conn->length, &used);
    conn->length -= used;
    if (conn->length > 0 && used > 0) {
        memmove(conn->input, conn->input + used, conn->length);
    }
    if (status > 0) {
        start_request(conn);
    } else if (status < 0) {
        refuse(conn, -status, NULL);
    } else {
        go_hungry(conn);
    }
}

static bool grow_input(connection *conn, size_t bytes) {
    char *input = pn_malloc(bytes);
    if (!input) {
        return false;
    }
    memcpy(input, conn->input, conn->length);
    if (conn->input != conn->first) {
        pn_free(conn->input);
    }
    conn->input = input;
    conn->input_bytes = bytes;
    return true;
}

/* Fit the buffer to what comes next: large for a body, small again when nothing is in it. False: no memory. */
static bool make_room(connection *conn) {
    const pirn_http_options *options = &conn->server->options;
    if (conn->phase == BODY && conn->input_bytes < INPUT_BYTES_BODY) {
        (void)grow_input(conn, INPUT_BYTES_BODY); /* without memory the small one does */
    }
    if (conn->length == 0 && conn->phase != BODY && conn->input != conn->first) {
        pn_free(conn->input);
        conn->input = conn->first;
        conn->input_bytes = sizeof conn->first;
    }
    if (conn->length < conn->input_bytes) {
        return true;
    }
    /* Only a head may fill it, and the parser refuses one above these limits, so this ends. */
    PN_ASSERT(conn->input_bytes <= 2 * (options->line_bytes_max + options->header_bytes_max + INPUT_BYTES_FIRST));
    return grow_input(conn, conn->input_bytes * 2);
}

/* Of an idle one, once the server drains: see DRAIN_NS_NEW. */
static pirn_time drain_deadline(connection *conn) {
    if (conn->phase != IDLE || !pn_http_server_draining(conn->server)) {
        return PIRN_FOREVER;
    }
    if (conn->drain_deadline == 0) {
        conn->drain_deadline = pirn_after(conn->used ? DRAIN_NS_IDLE : DRAIN_NS_NEW);
    }
    return conn->drain_deadline;
}

static pirn_time input_deadline(connection *conn) {
    const pirn_http_options *options = &conn->server->options;
    pirn_time limit = options->idle_timeout_ns;
    if (!conn->used && options->header_timeout_ns < limit) {
        limit = options->header_timeout_ns;
    }
    if (conn->phase == HEAD) {
        limit = options->header_timeout_ns;
    } else if (conn->phase == BODY) {
        pirn_time for_bytes = (pirn_time)conn->parser.request->body_bytes * BODY_NS_PER_BYTE;
        limit = pn_deadline(for_bytes, options->body_timeout_ns);
    }
    pirn_time deadline = pn_deadline(conn->phase_since, limit);
    pirn_time drain = drain_deadline(conn);
    deadline = drain < deadline ? drain : deadline;
    return conn->phase == RUNNING && conn->handler_deadline < deadline ? conn->handler_deadline : deadline;
}

static void input_timed_out(connection *conn) {
    if (conn->phase == HEAD || conn->phase == BODY) {
        refuse(conn, 408, NULL);
    } else if (conn->phase == IDLE) {
        conn->closing = conn->idle_end = true;
        conn->linger = true; /* its next request may be under way: it then finds the end, not a reset */
    } else if (still_running(conn)) {
        pirn_time now = pirn_now();
        if (now >= conn->handler_deadline) {
            cancel_overdue(conn);
        } else {
            enter(conn, RUNNING, now); /* look again after another idle_timeout_ns */
        }
    } /* else it has ended since, and its idle time goes on from there */
}

/* The client closed its sending side. It may still read, so its requests are served, unless the server's option or the
 * route's flag says no. */
static void input_ended(connection *conn) {
    conn->ended = true;
    if (conn->cancels_half_closed && still_running(conn)) {
        abandon(conn);
    }
}

static void input_failed(connection *conn) {
    if (conn->request.id != 0) {
        abandon(conn);
    }
    conn->closing = true;
    conn->linger = false;
}

static void receive(connection *conn, pirn_time deadline) {
    if (!make_room(conn)) {
        refuse(conn, 503, NULL);
        return;
    }
    size_t moved = 0;
    int rc = pirn_read(conn->socket, conn->input + conn->length, conn->input_bytes - conn->length, &moved, deadline);
    if (rc == 0 && moved > 0) {
        pn_http_idle_end(&conn->member);
        conn->length += moved;
        conn->hungry = false;
    } else if (rc == 0) {
        input_ended(conn);
    } else if (rc == PIRN_ETIMEDOUT) {
        input_timed_out(conn);
    } else if (rc != PN_HTTP_NUDGE) { /* that one: the request is over, or the server drains; serve() looks */
        input_failed(conn);
    }
}

/* ---- the whole ---- */

/* A request is out. Its end is told to us if we say so before it comes; after that there is only the join. */
static void attend(connection *conn) {
    pn_word *end = &conn->outcome.end;
    bool reading = !conn->ended && conn->length < conn->input_bytes;
    if (!reading || conn->length > 0 || pn_http_server_draining(conn->server)) {
        (void)pn_below->claim(end, PN_HTTP_UNWATCHED, PN_HTTP_WATCHED);
    }
    bool over = pn_below->load(end) == PN_HTTP_OVER;
    if (!over && pn_http_idle_chosen(&conn->member)) {
        pn_http_idle_spare(conn->server, &conn->member);
    }
    if (over) {
        await_request(conn);
    } else if (!reading) {
        await_end_or_hangup(conn);
    } else {
        receive(conn, input_deadline(conn));
    }
}

/* A newcomer waits, and we are the one that has been idle longest: close, unless a request has just come. */
static void give_way(connection *conn) {
    receive(conn, pirn_after(GIVE_WAY_NS));
    if (conn->length == 0) {
        conn->closing = true;
        conn->linger = false; /* the newcomer waits for the place */
    }
}

static void serve(connection *conn) {
    while (!conn->closing) {
        if (conn->request.id != 0) {
            attend(conn);
        } else if (conn->length > 0 && !conn->hungry) {
            parse_input(conn);
        } else if (conn->ended) {
            conn->closing = true;
        } else if (conn->phase == IDLE && pn_http_idle_chosen(&conn->member)) {
            give_way(conn);
        } else {
            receive(conn, input_deadline(conn));
        }
    }
}

/* Closing a socket with unread bytes in it resets the connection, and the reset may overtake our last response. So:
 * say that we are done, and read a little more, until the client has closed too. */
static void linger(connection *conn) {
    pirn_time deadline = pirn_after(conn->idle_end ? LINGER_NS_IDLE : LINGER_NS);
    size_t total = 0;
    if (pirn_shutdown(conn->socket) != 0) {
        return;
    }
    while (total < LINGER_BYTES_MAX) {
        size_t moved = 0;
        int rc = pirn_read(conn->socket, conn->first, sizeof conn->first, &moved, deadline);
        if ((rc != 0 && rc != PN_HTTP_NUDGE) || (rc == 0 && moved == 0)) {
            return;
        }
        total += moved;
    }
}

static void close_connection(connection *conn) {
    if (conn->input != conn->first) {
        pn_free(conn->input);
    }
    if (conn->outcome.cut) {
        pn_socket_reset_at_close(conn->socket);
    } else if (conn->linger) {
        linger(conn);
    }
    (void)pirn_close(conn->socket);
    pn_http_parser_fini(&conn->parser);
}

int pn_http_connection(pirn_socket socket, void *context) {
    pirn_http_server *server = context;
    connection *conn = pn_malloc(sizeof *conn);
    if (!conn) {
        (void)pirn_close(socket);
        return 0;
    }
    memset(conn, 0, offsetof(connection, first));
    conn->server = server;
    conn->self = pirn_self();
    conn->socket = socket;
    conn->input = conn->first;
    conn->input_bytes = sizeof conn->first;
    pn_http_parser_init(&conn->parser, &server->options);
    enter(conn, IDLE, pirn_now());
    pn_http_idle_begin(&conn->member, conn->phase_since);
    pn_http_server_enter(server, &conn->member);
    serve(conn);
    close_connection(conn);
    pn_http_server_leave(server, &conn->member);
    pn_free(conn);
    return 0;
}
