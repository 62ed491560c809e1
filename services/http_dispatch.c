/* SPDX-License-Identifier: MIT
 *
 * What: the request tasklet: finds out who answers, lets them, and sees to it that exactly one response comes of it:
 *       the handler's, an error page when nothing was sent yet, or a cut connection.
 *
 * Threads: any worker; it owns the exchange, and is the only writer on the socket while it runs.
 * Invariants: (1) the outcome is written before the tasklet ends and read after the join; (2) a handler's failure is
 *       reported once and never leaves this tasklet: it always ends with 0.
 * Rejected: telling the request by a flag why it was cancelled: both causes are known here already. Past its deadline
 *       it was the deadline, before it the client is gone; so no word is needed for it.
 */
#include <stdio.h>
#include <string.h>

#include "http_exchange.h"
#include "http_server.h"
#include "http_text.h"
#include "sched.h"
#include "tasklet.h"

static bool peer_is_loopback(const pirn_http_exchange *exchange) {
    char peer[64];
    bool loopback = false;
    return pirn_socket_peer(exchange->socket, peer, sizeof peer, &loopback) == 0 && loopback;
}

/* 404, 405, and what OPTIONS asks for. */
static int answer_without_route(pirn_http_exchange *exchange) {
    int status = exchange->match.status;
    if (status != 404) {
        char allow[256];
        pn_http_routes_allow(&exchange->server->routes, exchange->request->path, allow, sizeof allow);
        int rc = pirn_http_field(exchange, "Allow", allow);
        if (rc != 0) {
            return rc;
        }
    }
    return status == 204 ? pirn_http_reply(exchange, 204, NULL, NULL, 0) : pn_http_reply_status(exchange, status);
}

static int answer(pirn_http_exchange *exchange) {
    const pn_http_route *route = exchange->match.route;
    if (!route) {
        return answer_without_route(exchange);
    }
    if ((route->flags & PIRN_ROUTE_LOOPBACK) && !peer_is_loopback(exchange)) {
        return pn_http_reply_status(exchange, 403);
    }
    int rc = route->handler(exchange, route->context);
    /* A handler that overlooked its cancellation has not answered. */
    return rc == 0 && pirn_cancelled() && !exchange->head_sent ? PIRN_ECANCELED : rc;
}

/* One line: which request, what code, and the words of pirn_fail when the handler left some for this code. */
static void report(const pirn_http_exchange *exchange, int code, const char *why) {
    char path[128], words[256];
    const pirn_failure *failure = pn_current()->failure;
    pn_http_log_escape(exchange->request->path, path, sizeof path);
    if (!why && failure && pirn_failure_code(failure) == code) {
        pirn_failure_format(failure, words, sizeof words);
        why = words;
    }
    pn_report_error(pn_sched_self(), code, "http: %s %s failed: %s", exchange->request->method, path,
                    why ? why : pirn_strerror(code));
}

/* 504: out of time; 503: some bound was reached (a full queue), so later it may go; 500: our fault. */
static int failure_status(bool overdue, int code) {
    return overdue ? 504 : code == PIRN_ELIMIT ? 503 : 500;
}

static void conclude_failure(pirn_http_exchange *exchange, int code) {
    bool cancelled = pirn_cancelled();
    bool overdue = cancelled && pirn_now() >= exchange->handler_deadline;
    bool sending_failed = exchange->failed != 0 && exchange->failed == code;
    if (overdue) {
        report(exchange, PIRN_ETIMEDOUT, "it took longer than handler_timeout_ns");
    } else if (!sending_failed && !(cancelled && code == PIRN_ECANCELED)) {
        report(exchange, code, NULL);
    }
    exchange->keep_alive = false;
    if (exchange->head_sent || (cancelled && !overdue)) {
        return; /* the connection is cut, or the client gone */
    }
    pn_http_response_reset(exchange);
    exchange->last = exchange->last || overdue;
    pirn_shield_enter();
    (void)pn_http_reply_status(exchange, failure_status(overdue, code));
    pirn_shield_leave();
}

static void tell_access(const pirn_http_exchange *exchange, pirn_time ended_at, bool whole) {
    pirn_http_access access = {.peer = pirn_http_peer(exchange),
                               .method = exchange->request->sent_method,
                               .target = exchange->request->target,
                               .status = exchange->head_sent ? exchange->status : 0,
                               .bytes = exchange->body_sent,
                               .complete = whole};
    pn_http_access_tell(exchange->server, &access, exchange->began_at, ended_at);
}

static void describe_peer(const pn_note *note, char *text, size_t text_bytes) {
    const pirn_http_exchange *exchange = PN_CONTAINER_OF(note, pirn_http_exchange, note);
    snprintf(text, text_bytes, "%s", pirn_http_peer(exchange));
}

int pn_http_dispatch(void *arg) {
    pirn_http_exchange *exchange = arg;
    pn_http_outcome *outcome = exchange->outcome;
    outcome->started = true;
    exchange->note = (pn_note){.started_at = exchange->started_at, .describe_peer = describe_peer};
    pn_current()->note = &exchange->note;
    int rc = answer(exchange);
    rc = rc > 0 ? pirn_fail(PIRN_EFAILED, "its handler returned %d: 0 or a negative code is wanted", rc) : rc;
    rc = rc == 0 ? pn_http_response_finish(exchange) : rc;
    if (rc != 0) {
        conclude_failure(exchange, rc);
    }
    bool whole = exchange->finished && exchange->failed == 0;
    outcome->keep_alive = exchange->keep_alive && whole;
    /* With the other framings a client sees that the last chunk, or some of the promised bytes, did not come. */
    outcome->cut = exchange->head_sent && !whole && exchange->framing == PN_HTTP_UNTIL_CLOSE;
    outcome->ended_at = pirn_now();
    if (exchange->server->options.on_access) {
        tell_access(exchange, outcome->ended_at, whole);
    }
    pn_current()->note = NULL;
    pn_http_exchange_destroy(exchange);
    return 0;
}
