/* SPDX-License-Identifier: MIT
 *
 * What: the inspector's route: takes a snapshot of all workers and answers with one of its faces; and the JSON one.
 *
 * Threads: a request tasklet; the snapshot is its own.
 * Invariants: (1) only loopback peers are answered (PIRN_ROUTE_LOOPBACK), and only if they ask for a loopback host: a
 *       browser here may have been sent by a page whose own name was made to resolve to us (DNS rebinding); (2) every
 *       text of the snapshot is escaped: names of tasklets contain what clients sent.
 */
#include "http_inspector.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "text.h"

#define TASKLETS_MAX      100000 /* for programs, of each worker                                           */
#define TASKLETS_PER_PAGE 1000   /* for people                                                             */
#define SNAPSHOT_PATIENCE (5 * PIRN_SECOND)
#define LOCATION_BYTES    512

const char *pn_http_mode_name(pirn_mode mode) {
    return mode == PIRN_MODE_SINGLE ? "single" : "threaded";
}

const char *pn_http_poll_name(const pirn_runtime_info *info) {
    return info->mode == PIRN_MODE_SINGLE || info->poll == PIRN_POLL_WORKER ? "worker" : "reactor";
}

const char *pn_http_guard_name(pirn_guard guard) {
    switch (guard) {
    case PIRN_GUARD_MADVISE:
        return "madvise";
    case PIRN_GUARD_MPROTECT:
        return "mprotect";
    case PIRN_GUARD_CANARY:
        return "canary";
    default:
        return "auto";
    }
}

void pn_http_duration(pirn_time nanoseconds, char *text, size_t text_bytes) {
    int64_t seconds = nanoseconds / PIRN_SECOND;
    if (nanoseconds < PIRN_MILLISECOND) {
        snprintf(text, text_bytes, "%" PRId64 " µs", nanoseconds / PIRN_MICROSECOND);
    } else if (seconds < 1) {
        snprintf(text, text_bytes, "%" PRId64 " ms", nanoseconds / PIRN_MILLISECOND);
    } else if (seconds < 60) {
        snprintf(text, text_bytes, "%.1f s", (double)nanoseconds / (double)PIRN_SECOND);
    } else if (seconds < 3600) {
        snprintf(text, text_bytes, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    } else {
        snprintf(text, text_bytes, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds / 60 % 60);
    }
}

/* ---- JSON ---- */

/* A string in quotes. Names may hold any bytes, and be cut inside a character: what is no UTF-8 becomes U+FFFD. */
static int print_string(pirn_http_exchange *exchange, const char *text) {
    char quoted[6 * 128 + 16]; /* the longest text of a snapshot is 128 bytes */
    char *at = quoted;
    *at++ = '"';
    while (*text && at < quoted + sizeof quoted - 8) {
        unsigned char byte = (unsigned char)*text;
        size_t length = pn_utf8_length(text);
        if (length == 0 || byte < 0x20 || byte == 0x7f) {
            at += snprintf(at, 7, "\\u%04x", length ? byte : 0xfffdu);
            length = 1;
        } else {
            if (byte == '"' || byte == '\\') {
                *at++ = '\\';
            }
            memcpy(at, text, length);
            at += length;
        }
        text += length;
    }
    *at++ = '"';
    return pirn_http_write(exchange, quoted, (size_t)(at - quoted));
}

static int print_member(pirn_http_exchange *exchange, const char *name, const char *text) {
    int rc = pirn_http_print(exchange, "\"%s\":", name);
    return rc == 0 ? print_string(exchange, text) : rc;
}

static int json_worker(pirn_http_exchange *exchange, const pirn_worker_info *worker, bool first) {
    return pirn_http_print(
        exchange,
        "%s{\"id\":%u,\"runnable\":%u,\"inbox\":%u,\"switches\":%" PRIu64 ",\"live\":%u,\"parked\":%u,"
        "\"deferreds\":%u,\"spawned\":%" PRIu64 ",\"stacks_in_use\":%u,\"stacks_cached\":%u}",
        first ? "" : ",", worker->id, worker->runnable, worker->inbox, worker->switches, worker->live, worker->parked,
        worker->deferreds, worker->spawned, worker->stacks_in_use, worker->stacks_cached);
}

static int json_tasklet(pirn_http_exchange *exchange, const pirn_tasklet_info *tasklet, bool first) {
    /* The label and not the number: JavaScript's numbers are exact to 2^53 only. */
    int rc = pirn_http_print(exchange, "%s{", first ? "" : ",");
    rc = rc ? rc : print_member(exchange, "id", tasklet->label);
    rc = rc ? rc : pirn_http_write(exchange, ",", 1);
    rc = rc ? rc : print_member(exchange, "name", tasklet->name);
    rc = rc ? rc : pirn_http_write(exchange, ",", 1);
    rc = rc ? rc : print_member(exchange, "state", tasklet->state);
    rc = rc ? rc : pirn_http_write(exchange, ",", 1);
    rc = rc ? rc : print_member(exchange, "waiting_on", tasklet->waiting_on);
    rc = rc ? rc : pirn_http_print(exchange, ",\"since_ns\":%" PRId64 ",", tasklet->since_ns);
    rc = rc ? rc : print_member(exchange, "spawned_at", tasklet->spawned_at);
    if (tasklet->peer[0]) {
        rc = rc ? rc : pirn_http_write(exchange, ",", 1);
        rc = rc ? rc : print_member(exchange, "peer", tasklet->peer);
        rc = rc ? rc : pirn_http_print(exchange, ",\"age_ns\":%" PRId64, tasklet->age_ns);
    }
    if (tasklet->doing[0]) {
        rc = rc ? rc : pirn_http_write(exchange, ",", 1);
        rc = rc ? rc : print_member(exchange, "doing", tasklet->doing);
    }
    return rc ? rc
              : pirn_http_print(exchange, ",\"worker\":%u,\"daemon\":%s}", tasklet->worker,
                                tasklet->daemon ? "true" : "false");
}

static int json_wait(pirn_http_exchange *exchange, const pirn_wait_info *wait, bool first) {
    int rc = pirn_http_print(exchange, "%s{", first ? "" : ",");
    rc = rc ? rc : print_member(exchange, "waiting_on", wait->waiting_on);
    return rc ? rc
              : pirn_http_print(exchange, ",\"count\":%" PRIu64 ",\"longest_ns\":%" PRId64 "}", wait->count,
                                wait->longest_ns);
}

/* What the list of tasklets has no room for is counted here. */
static int json_end(pirn_http_exchange *exchange, const pirn_snapshot *snapshot) {
    int rc = pirn_http_print(exchange, "],\"truncated\":%s,\"listed\":%zu,\"waits\":[",
                             snapshot->truncated ? "true" : "false", snapshot->tasklet_count);
    for (size_t i = 0; rc == 0 && i < snapshot->wait_count; i++) {
        rc = json_wait(exchange, &snapshot->waits[i], i == 0);
    }
    return rc ? rc
              : pirn_http_print(exchange,
                                "],\"counts\":{\"live\":%" PRIu64 ",\"parked\":%" PRIu64 ",\"deferreds\":%" PRIu64
                                ",\"records\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"lines_left_out\":%" PRIu64 "}}\n",
                                snapshot->live, snapshot->parked, snapshot->deferreds, snapshot->records,
                                snapshot->failed, snapshot->lines_left_out);
}

int pn_http_inspector_json(pirn_http_exchange *exchange, const pirn_runtime_info *info, const pirn_snapshot *snapshot) {
    int rc = pirn_http_field(exchange, "Content-Type", "application/json");
    rc = rc ? rc
            : pirn_http_print(exchange, "{\"mode\":\"%s\",\"poll\":\"%s\",\"guard\":\"%s\",\"workers\":[",
                              pn_http_mode_name(info->mode), pn_http_poll_name(info), pn_http_guard_name(info->guard));
    for (unsigned i = 0; rc == 0 && i < snapshot->worker_count; i++) {
        rc = json_worker(exchange, &snapshot->workers[i], i == 0);
    }
    rc = rc ? rc : pirn_http_print(exchange, "],\"tasklets\":[");
    for (size_t i = 0; rc == 0 && i < snapshot->tasklet_count; i++) {
        rc = json_tasklet(exchange, &snapshot->tasklets[i], i == 0);
    }
    return rc ? rc : json_end(exchange, snapshot);
}

/* ---- who may ask ---- */

/* "" or ":" and digits. */
static bool is_port(const char *text) {
    return !*text || (*text == ':' && strspn(text + 1, "0123456789") == strlen(text + 1));
}

/* localhost, 127.x.y.z or [::1], with or without a port. */
static bool is_loopback_host(const char *host) {
    char name[16]; /* of the longest IPv4 address */
    struct in_addr address;
    if (strncmp(host, "[::1]", 5) == 0) {
        return is_port(host + 5);
    }
    size_t length = strcspn(host, ":");
    if (length >= sizeof name || !is_port(host + length)) {
        return false;
    }
    memcpy(name, host, length);
    name[length] = '\0';
    return pn_ascii_equal(name, "localhost") ||
           (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

/* A client without a Host field, which HTTP/1.0 allows, is no browser. */
static bool asks_for_loopback(const pirn_http_exchange *exchange) {
    const char *host = pirn_http_header(exchange, "Host");
    return !host || is_loopback_host(host);
}

/* A proxy on this machine is a loopback peer, and speaks for anybody. Most say that they do so. */
static bool came_through_proxy(const pirn_http_exchange *exchange) {
    static const char *const fields[] = {"Forwarded",          "Via",
                                         "X-Forwarded-For",    "X-Forwarded-Host",
                                         "X-Forwarded-Port",   "X-Forwarded-Proto",
                                         "X-Forwarded-Server", "X-Real-IP",
                                         "X-Client-IP",        "X-Cluster-Client-IP",
                                         "CF-Connecting-IP",   "True-Client-IP"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (pirn_http_header(exchange, fields[i])) {
            return true;
        }
    }
    return false;
}

static bool may_ask(const pirn_http_exchange *exchange) {
    return asks_for_loopback(exchange) && !came_through_proxy(exchange);
}

static int refuse(pirn_http_exchange *exchange) {
    static const char words[] = "the inspector answers to localhost, 127.0.0.1 and [::1] only, and not to proxies\n";
    return pirn_http_reply(exchange, 403, "text/plain; charset=utf-8", words, sizeof words - 1);
}

/* ---- the routes ---- */

static int inspector(pirn_http_exchange *exchange, void *context) {
    (void)context;
    if (!may_ask(exchange)) {
        return refuse(exchange);
    }
    char format[16];
    bool json = pirn_http_query_field(exchange, "format", format, sizeof format) >= 0 && strcmp(format, "json") == 0;
    pirn_runtime_info info;
    pirn_snapshot *snapshot;
    int rc = pirn_runtime_describe(&info);
    rc = rc ? rc : pirn_inspect(json ? TASKLETS_MAX : TASKLETS_PER_PAGE, &snapshot, pirn_after(SNAPSHOT_PATIENCE));
    if (rc != 0) {
        return rc;
    }
    rc = pirn_http_field(exchange, "Cache-Control", "no-store");
    rc = rc ? rc : pirn_http_field(exchange, "X-Content-Type-Options", "nosniff");
    rc = rc     ? rc
         : json ? pn_http_inspector_json(exchange, &info, snapshot)
                : pn_http_inspector_html(exchange, &info, snapshot);
    pirn_snapshot_drop(snapshot);
    return rc;
}

/* From the path without its last slash to the one with it; a query too long for a place of ours is left out. */
static int redirect(pirn_http_exchange *exchange, void *context) {
    (void)context;
    if (!may_ask(exchange)) {
        return refuse(exchange);
    }
    char location[LOCATION_BYTES];
    const char *path = pirn_http_path(exchange), *query = pirn_http_query(exchange);
    int length = snprintf(location, sizeof location, "%s/%s%s", path, *query ? "?" : "", query);
    if (length < 0 || (size_t)length >= sizeof location) {
        snprintf(location, sizeof location, "%s/", path);
    }
    int rc = pirn_http_field(exchange, "Location", location);
    return rc ? rc : pirn_http_reply(exchange, 301, NULL, NULL, 0);
}

static int add_redirect(pirn_http_server *server, const char *path, size_t length) {
    char *bare = pn_strndup(path, length - 1);
    int rc = bare ? pirn_http_route(server, "GET", bare, PIRN_ROUTE_LOOPBACK, redirect, NULL) : PIRN_ENOMEM;
    pn_free(bare);
    return rc;
}

int pirn_http_inspector(pirn_http_server *server, const char *path) {
    size_t length = strlen(path);
    int rc = pirn_http_route(server, "GET", path, PIRN_ROUTE_LOOPBACK, inspector, NULL);
    bool has_bare_path = length > 1 && path[length - 1] == '/';
    return rc == 0 && has_bare_path ? add_redirect(server, path, length) : rc;
}
