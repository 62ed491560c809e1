/* SPDX-License-Identifier: MIT
 *
 * pirn/http.h: an HTTP/1.1 server whose connection and request tasklets live on the workers, and an HTTP client.
 */
#ifndef PIRN_HTTP_H
#define PIRN_HTTP_H

#include <pirn/base.h>
#include <pirn/deferred.h>
#include <pirn/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- server: services/http_server.c, http_route.c ---- */

typedef struct pirn_http_server pirn_http_server;

/* One request and its response; belongs to the handler until it returns. */
typedef struct pirn_http_exchange pirn_http_exchange;

/* Answer one request. Parks: as it likes. Thread: a tasklet of its own. Args: `context` as given to pirn_http_route.
 * Owns: nothing of the exchange survives the return. Returns: 0 after answering; a handler that answered nothing gives
 * 204. A negative code with nothing sent yet gives the client an error page: 503 with Retry-After for PIRN_ELIMIT (a
 * full queue: come again), 504 when it was the deadline, else 500; for PIRN_ECANCELED nothing is sent, the client is
 * gone. With a response begun the connection is cut. The failure is reported and the server lives. */
typedef int (*pirn_http_handler)(pirn_http_exchange *exchange, void *context);

/* What a request came to. */
typedef struct pirn_http_access {
    int64_t started_unix_ns; /* the wall clock when its first byte was read: nanoseconds since 1970 */
    pirn_time duration_ns;   /* from then until its response had been handed to the system, or was given up */
    const char *peer;        /* "127.0.0.1:4711" */
    const char *method;      /* as it came, any bytes; "-": the request line was not read */
    const char *target;      /* as it came, undecoded, with its query, any bytes; "-": the same */
    int status;              /* 0: no response was begun, the client had gone */
    uint64_t bytes; /* of the response's body, handed to the system: without head and chunk sizes; 0 for HEAD */
    bool complete;  /* the whole response was handed to the system */
} pirn_http_access;

/* Write `access` as one line without a line break, `time=2026-01-31T23:59:59.999Z peer=... method=... path="..."
 * status=... bytes=... us=...`, to `line`, cut and terminated. Times are UTC. The path is the target's, undecoded,
 * without scheme, host and query (a query may hold secrets); bytes that are not printable ASCII, quotes and backslashes
 * are written as \xHH. Parks: no. Thread: any. Args: `line` has `line_bytes` bytes; 512 take a path of 256 bytes.
 * Returns: the length, without the NUL. services/http_access.c */
PIRN_API size_t pirn_http_access_format(const pirn_http_access *access, char *line, size_t line_bytes);

#define PIRN_HTTP_NO_LIMIT 0xffffffffu

typedef struct pirn_http_options {
    size_t line_bytes_max;     /* 0: 8,192; longer request lines get 414 */
    size_t header_bytes_max;   /* 0: 32,768, all header fields together; more get 431 */
    unsigned header_count_max; /* 0: 100; more get 431 */
    size_t body_bytes_max;     /* 0: 1 MiB, chunked too; more get 413 */
    /* 0: 10 s for the whole head, from its first byte, but of a connection's first request from the accept; then 408,
     * or without a byte of it the connection is closed */
    pirn_time header_timeout_ns;
    pirn_time body_timeout_ns;    /* 0: 20 s, plus one second for each 500 bytes; then 408 */
    pirn_time idle_timeout_ns;    /* 0: 60 s between requests */
    pirn_time handler_timeout_ns; /* 0: 30 s; then the request tasklet is cancelled: 504 */
    pirn_time write_timeout_ns;   /* 0: 30 s without progress */
    unsigned requests_max;        /* 0: 1,000 on a connection; PIRN_HTTP_NO_LIMIT: any number */
    /* 0: 4,096 open at once; never more than three quarters of RLIMIT_NOFILE as it is when serving starts. When all are
     * open, the one that has been idle longest (between two requests, or without a byte of its first) is closed for
     * each newcomer; when none is idle, newcomers wait until one closes. */
    unsigned connections_max;
    /* Open at once from one IPv4 address, or from one IPv6 prefix of 64 bits; a connection beyond it is closed at once.
     * 0: a quarter of connections_max, but any number from loopback addresses, since a proxy on this machine brings all
     * of its clients from there; a number given here holds for loopback addresses, too. PIRN_HTTP_NO_LIMIT: any. */
    unsigned connections_per_address_max;
    /* Cancel the request of a client that closes its sending side before the response is complete. By default such a
     * client is served to the end, and only a reset or an error of its connection cancels. */
    bool cancel_half_closed;
    bool keep_home; /* request tasklets stay at their connection's worker */
    /* Told of each request when it is over, also of those that were refused; NULL: off. On any worker; must not park or
     * block. The record and its strings are the server's and end with the call. */
    void (*on_access)(void *context, const pirn_http_access *access);
    void *on_access_context;
    /* Send "X-Content-Type-Options: nosniff" with each response. The server's own error pages always have it. */
    bool nosniff;
} pirn_http_options;

/* Fill in the defaults. Parks: no. Thread: any. */
PIRN_API void pirn_http_options_init(pirn_http_options *options);

/* Make a server; routes are added before it serves. Parks: no. Thread: any. Args: NULL options are the defaults, and
 * so is a 0 in them; a duration may be PIRN_FOREVER; they are copied. Owns: the caller, until pirn_http_server_close.
 * Returns: NULL when there is no memory, or a duration is negative (a line is on stderr). */
PIRN_API pirn_http_server *pirn_http_server_create(const pirn_http_options *options);

enum pirn_route_flags {
    PIRN_ROUTE_PREFIX = 1,      /* `path` and all below it */
    PIRN_ROUTE_NO_DEADLINE = 2, /* no handler timeout: event streams */
    PIRN_ROUTE_LOOPBACK = 4,    /* other peers than loopback ones get 403 */
    /* Cancel the request when its client closes its sending side (cancel_half_closed, for this route alone). For event
     * streams: a browser that leaves closes in order, and the handler would hear of it only at its second write after
     * that. */
    PIRN_ROUTE_CANCEL_HALF_CLOSED = 8,
};

/* Answer `method` on `path` with `handler`. GET answers HEAD too, without the body; a path known with other methods
 * gives 405 and Allow, an unknown path 404, an unknown method 501. Parks: no. Thread: any, one at a time, before the
 * server serves. Args: `path` decoded, from its '/'; `flags` of pirn_route_flags. Owns: strings are copied; `context`
 * stays the caller's and has to outlive the server. Returns: 0; PIRN_ENOMEM; PIRN_EINVAL (`path` does not begin
 * with '/', or no handler); PIRN_EALREADY (it serves, or has the same method, path and PIRN_ROUTE_PREFIX). */
#define pirn_http_route(server, method, path, flags, handler, context)                                                 \
    pirn_http_route_at((server), (method), (path), (flags), (handler), (context), __FILE__, __LINE__)
PIRN_API int pirn_http_route_at(pirn_http_server *server, const char *method, const char *path, unsigned flags,
                                pirn_http_handler handler, void *context, const char *file, int line);

/* Serve on `listener`. Parks: no. Thread: a tasklet. Owns: on 0 the listener is the server's, on failure the caller's.
 * Returns: 0; PIRN_EALREADY (the server or the listener serves); PIRN_ECLOSED (the listener was stopped, or the runtime
 * is ending). */
PIRN_API int pirn_http_serve(pirn_http_server *server, pirn_listener *listener);

/* Stop accepting, close idle connections, answer what is under way with `Connection: close`, wait for it until
 * `deadline`, cancel the rest, and free server and listener. Parks: yes, until the last connection has ended; ignores
 * cancellation. Thread: a tasklet, none of this server's handlers; elsewhere it does nothing, and a line is on stderr.
 * Args: NULL is allowed. */
PIRN_API void pirn_http_server_close(pirn_http_server *server, pirn_time deadline);

/* Connections open now, for drains and tests: a snapshot. Parks: no. Thread: any. */
PIRN_API size_t pirn_http_connections(const pirn_http_server *server);

typedef struct pirn_http_counts {
    size_t connections;          /* open now */
    uint64_t closed_for_others;  /* idle ones that were closed at connections_max for a newcomer */
    uint64_t refused_by_address; /* closed at once: connections_per_address_max */
} pirn_http_counts;

/* What the limits on connections did since the server was made: a snapshot. Parks: no. Thread: any. */
PIRN_API void pirn_http_count(const pirn_http_server *server, pirn_http_counts *counts);

/* ---- the request: services/http_request.c ---- */

/* The method, as "GET". This and the next five: Parks: no. Thread: the handler's tasklet. Owns: what they return is
 * the exchange's and lives as long. */
PIRN_API const char *pirn_http_method(const pirn_http_exchange *exchange);
/* The path, decoded once, without the query; never with "." or ".." segments, encoded slashes or control bytes: such
 * requests got 400. */
PIRN_API const char *pirn_http_path(const pirn_http_exchange *exchange);
/* What follows the '?', raw; "" when there is none. */
PIRN_API const char *pirn_http_query(const pirn_http_exchange *exchange);
/* The first field called `name`, in any case, without white space around its value; "" when that is empty. "Host" is
 * the host of the target when that is in absolute form. Host, Content-Type, Content-Length and Transfer-Encoding come
 * once: requests with two got 400. Returns: NULL when absent. */
PIRN_API const char *pirn_http_header(const pirn_http_exchange *exchange, const char *name);
/* The body and its length. Returns: NULL, and 0 in `*bytes`, when there is none. */
PIRN_API const void *pirn_http_body(const pirn_http_exchange *exchange, size_t *bytes);
/* The client's address as "127.0.0.1:4711" or "[::1]:4711". */
PIRN_API const char *pirn_http_peer(const pirn_http_exchange *exchange);

/* Decode the urlencoded field `name` of the query, or of a form body, into `value`, terminated; "" on failure.
 * Parks: no. Thread: the handler's tasklet. Args: `value` has `value_bytes` bytes, the NUL included. Returns: its
 * length; PIRN_EINVAL (absent, badly encoded, with a NUL, no room at all; of a form: the body has another
 * Content-Type); PIRN_ELIMIT (longer than `value_bytes` - 1). */
PIRN_API int pirn_http_query_field(const pirn_http_exchange *exchange, const char *name, char *value,
                                   size_t value_bytes);
PIRN_API int pirn_http_form_field(const pirn_http_exchange *exchange, const char *name, char *value,
                                  size_t value_bytes);

/* ---- the response: services/http_response.c ---- */

/* Choose the status; 200 without it, or 204 for a handler that sends no body. With 204, 205 and 304 no body is sent,
 * whatever the handler writes. Parks: no. Thread: the handler's tasklet.
 * Args: 200 to 599. Returns: 0; PIRN_EINVAL (out of range); PIRN_EALREADY (the body was begun). */
PIRN_API int pirn_http_status(pirn_http_exchange *exchange, int status);

/* Add a header field. Parks: no. Thread: the handler's tasklet. Owns: strings are copied. Returns: 0; PIRN_EINVAL (a
 * name that is no token; a value with CR, LF or other control bytes; a field that is the server's: Content-Length,
 * Transfer-Encoding, Date, Upgrade, and Connection but for "close"; a second Content-Type); PIRN_EALREADY (the body was
 * begun); PIRN_ELIMIT (over 8 KiB of fields); PIRN_ENOMEM. */
PIRN_API int pirn_http_field(pirn_http_exchange *exchange, const char *name, const char *value);

/* Send the whole response in one go, with Content-Length. Parks: while the client is slow. Thread: the handler's
 * tasklet. Args: `content_type` NULL: no such field; `body` NULL only with 0 bytes. Owns: body and type stay the
 * caller's. Returns: 0; PIRN_EALREADY (a body was begun or sent); PIRN_EINVAL (the status, control bytes in the type,
 * or a type besides a Content-Type field); PIRN_ENOMEM: up to here nothing was sent, and another reply may be; then
 * PIRN_ETIMEDOUT (write_timeout_ns without progress), PIRN_ECANCELED, or the system's code, as -EPIPE. */
PIRN_API int pirn_http_reply(pirn_http_exchange *exchange, int status, const char *content_type, const void *body,
                             size_t bytes);

/* Send the next piece of a body: chunked in HTTP/1.1, until the connection closes in 1.0. Small pieces gather in a
 * buffer; what is left goes out when the handler returns. Parks: while the client is slow. Thread: the handler's
 * tasklet. Owns: `data` stays the caller's. Returns: 0; PIRN_EALREADY (after pirn_http_reply); PIRN_ENOMEM (the first
 * piece only); PIRN_ETIMEDOUT (write_timeout_ns without progress), PIRN_ECANCELED, or the system's code, as -EPIPE:
 * then every later piece gets that code, too. */
PIRN_API int pirn_http_write(pirn_http_exchange *exchange, const void *data, size_t bytes);

/* The same with a formatted text. As pirn_http_write; also PIRN_EINVAL (printf refuses the format) and PIRN_ENOMEM (no
 * memory for a text over 511 bytes). */
PIRN_API int pirn_http_print(pirn_http_exchange *exchange, const char *format, ...) PIRN_PRINTF(2, 3);

/* Send what has gathered, and the head, now. As pirn_http_write. */
PIRN_API int pirn_http_flush(pirn_http_exchange *exchange);

/* Write `text` with & < > " ' escaped, for HTML text and attributes, to `out`, terminated; an escape comes whole or not
 * at all. Parks: no. Thread: any. Args: `out` has `out_bytes` bytes; 0 only measures. Returns: the length wanted,
 * without the NUL. */
PIRN_API size_t pirn_html_escape(const char *text, char *out, size_t out_bytes);

/* Mount the inspector at `path` (it should end in '/'; without that slash it redirects there): HTML for people,
 * `?format=json` for programs. Loopback peers only, and 403 for a Host field that names anything but localhost,
 * 127.x.y.z or [::1] (DNS rebinding), or with a field of a proxy (X-Forwarded-For, X-Forwarded-Host, X-Real-IP,
 * Forwarded, Via). A proxy on this machine that adds none of these opens it to everybody. Parks: no. Thread: as
 * pirn_http_route. Returns: pirn_http_route's codes. */
PIRN_API int pirn_http_inspector(pirn_http_server *server, const char *path);

/* ---- client: reactor_thread/http_fetch.c, services/http_client.c ---- */

typedef struct pirn_http_page {
    int status; /* 200, ... */
    size_t body_bytes;
    char *content_type; /* "" when the server named none */
    char *body;         /* body_bytes long and a terminating NUL */
} pirn_http_page;

typedef struct pirn_fetch_options {
    const char *method; /* NULL: GET, or POST with a body */
    const char *body;   /* NULL: none */
    size_t body_bytes;
    const char *content_type; /* of the body; NULL: application/x-www-form-urlencoded */
    size_t page_bytes_max;    /* 0: 16 MiB; a longer page fails with PIRN_ELIMIT */
    unsigned redirects_max;   /* 0: none are followed, their page comes; one more than this many is PIRN_EHTTP */
} pirn_fetch_options;

/* Fetch `url` (http or https) on the reactor: the deferred fires with a pirn_http_page whatever its status; cancelling
 * it ends the transfer, whichever redirect it is at. A user and password in the URL are sent as Basic authorisation to
 * that origin (scheme, host, port) only, and are in no message. Redirects (301, 302, 303, 307, 308 with a Location, to
 * http or https) change the method as RFC 9110 says: 303 makes GET of all but HEAD, 301 and 302 of POST, without the
 * body. No proxy is used, whatever the environment says. At most pirn_options.fetch_connections_max fetches move at
 * once, and fetch_connections_per_host_max to one host and port; the others wait. An exchange that ends without any
 * byte of an answer on a connection that was used before is made again on a new one, whatever its method. Parks: no.
 * Thread: a worker's. Args: NULL options are the defaults. Owns: the deferred is the
 * caller's; strings and body are copied. Returns: NULL when there is no memory or no worker here. Fails with:
 * PIRN_EHTTP (a URL, method or content type that cannot be, or the exchange failed; the message says how); PIRN_EDNS;
 * PIRN_ELIMIT (page_bytes_max, or too many lookups wait); PIRN_ENOMEM; PIRN_ECANCELED; PIRN_ECLOSED (the runtime ends).
 * Answers to client.getPage. */
PIRN_API pirn_deferred *pirn_http_fetch(const char *url, const pirn_fetch_options *options);

/* Fetch `url` with the default options and wait for it; a deadline or cancel ends the transfer. Parks: yes. Thread: a
 * tasklet. Args: the failure's text goes into `error` (NULL allowed), `error_bytes` long, terminated. Owns: on 0
 * `*page` is the caller's, for pirn_http_page_drop; else it is NULL. Returns: 0; what pirn_http_fetch fails with;
 * PIRN_EAGAIN; PIRN_ETIMEDOUT; PIRN_ECANCELED; PIRN_ETHREAD. */
PIRN_API int pirn_http_get(const char *url, pirn_http_page **page, char *error, size_t error_bytes, pirn_time deadline);

/* Free a page. It is a pirn_drop_fn. Parks: no. Thread: any. Args: NULL is allowed. */
PIRN_API void pirn_http_page_drop(void *page);

#ifdef __cplusplus
}
#endif
#endif
