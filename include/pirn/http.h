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

/* ---- server ---- */

typedef struct pirn_http_server pirn_http_server;

/* One request and its response; belongs to the handler until it returns. */
typedef struct pirn_http_exchange pirn_http_exchange;

/* Answer one request, in a tasklet of its own. Return 0 after answering; a handler that answered nothing gives 204. A
 * negative code with nothing sent yet gives the client an error page: 503 with Retry-After for PIRN_ELIMIT (a full
 * queue: come again), 504 when it was the deadline, else 500. For PIRN_ECANCELED nothing is sent: the client is gone.
 * With a response begun the connection is cut. The failure is reported and the server lives. */
typedef int (*pirn_http_handler)(pirn_http_exchange *exchange, void *context);

typedef struct pirn_http_options {
    size_t line_bytes_max;        /* 0: 8,192: longer request lines get 414                            */
    size_t header_bytes_max;      /* 0: 32,768, all header fields together: 431                        */
    unsigned header_count_max;    /* 0: 100: 431                                                       */
    size_t body_bytes_max;        /* 0: 1 MiB: 413, chunked too                                        */
    pirn_time header_timeout_ns;  /* 0: 10 s for the whole head, from its first byte: 408                */
    pirn_time body_timeout_ns;    /* 0: 20 s, plus one second for each 500 bytes: 408                  */
    pirn_time idle_timeout_ns;    /* 0: 60 s between requests                                          */
    pirn_time handler_timeout_ns; /* 0: 30 s: the request tasklet is cancelled, 504                    */
    pirn_time write_timeout_ns;   /* 0: 30 s without progress                                          */
    unsigned requests_max;        /* 0: 1,000 requests on a connection; PIRN_HTTP_NO_LIMIT: none          */
    unsigned connections_max;     /* 0: 4,096 open at once, and never more than three quarters of RLIMIT_NOFILE as it is
                                 when serving starts; above it accepting stops until one closes */
    bool half_closed;             /* serve clients that close their sending side before the response is complete;
                                      by default that cancels the request                               */
    bool keep_home;               /* request tasklets stay at their connection's worker                */
    void (*on_access)(void *context, const char *line); /* one line a request, NULL: off. Must not park or block */
    void *on_access_context;
} pirn_http_options;
#define PIRN_HTTP_NO_LIMIT 0xffffffffu

/* Fill in the defaults. */
PIRN_API void pirn_http_options_init(pirn_http_options *options);

/* Make a server; routes are added before it serves. NULL: no memory. Owns: the caller, until pirn_http_server_close. */
PIRN_API pirn_http_server *pirn_http_server_create(const pirn_http_options *options);

enum pirn_route_flags {
    PIRN_ROUTE_PREFIX = 1,      /* `path` and all below it                                             */
    PIRN_ROUTE_NO_DEADLINE = 2, /* no handler timeout: event streams                                   */
    PIRN_ROUTE_LOOPBACK = 4,    /* other peers than loopback ones get 403                              */
};

/* Answer `method` on `path` with `handler`. GET answers HEAD too, without the body. A path known with other methods
 * gives 405 and Allow, an unknown path 404, an unknown method 501. Returns 0, PIRN_ENOMEM, PIRN_EALREADY (serving or
 * same route). */
PIRN_API int pirn_http_route(pirn_http_server *server, const char *method, const char *path, unsigned flags,
                             pirn_http_handler handler, void *context);

/* Serve on `listener`, which becomes the server's. Parks: no. Returns 0 or pirn_serve's codes. */
PIRN_API int pirn_http_serve(pirn_http_server *server, pirn_listener *listener);

/* Stop accepting, close idle connections, answer what is under way with `Connection: close`, wait for it until
 * `deadline`, cancel the rest, and free the server. Parks; ignores cancellation. NULL allowed. */
PIRN_API void pirn_http_server_close(pirn_http_server *server, pirn_time deadline);

/* Connections open now, for drains and tests. */
PIRN_API size_t pirn_http_connections(const pirn_http_server *server);

/* The request. Strings live as long as the exchange. */
PIRN_API const char *pirn_http_method(const pirn_http_exchange *exchange);
/* Decoded once; no query; never with "." or ".." segments, encoded slashes or control bytes: those get 400. */
PIRN_API const char *pirn_http_path(const pirn_http_exchange *exchange);
PIRN_API const char *pirn_http_query(const pirn_http_exchange *exchange); /* raw, after '?'; "" when none */
/* NULL when absent; name in any case */
PIRN_API const char *pirn_http_header(const pirn_http_exchange *exchange, const char *name);
PIRN_API const void *pirn_http_body(const pirn_http_exchange *exchange, size_t *bytes);
PIRN_API const char *pirn_http_peer(const pirn_http_exchange *exchange);
/* One urlencoded field, of the query or of a form body, decoded into `value` and terminated. Returns its length;
 * PIRN_EINVAL absent or badly encoded; PIRN_ELIMIT longer than `value_bytes` - 1. */
PIRN_API int pirn_http_query_field(const pirn_http_exchange *exchange, const char *name, char *value,
                                   size_t value_bytes);
PIRN_API int pirn_http_form_field(const pirn_http_exchange *exchange, const char *name, char *value,
                                  size_t value_bytes);

/* The response. Set status and fields before the first write, else PIRN_EALREADY. PIRN_EINVAL: a status outside 200 to
 * 599, a name that is no token, a value with CR, LF or other control bytes, and the fields that are the server's
 * (Content-Length, Transfer-Encoding, Date, Upgrade; of Connection only "close" is taken). PIRN_ELIMIT: more than 8 KiB
 * of fields. Do not park. */
PIRN_API int pirn_http_status(pirn_http_exchange *exchange, int status);
PIRN_API int pirn_http_field(pirn_http_exchange *exchange, const char *name, const char *value);

/* The whole response in one go, with Content-Length. Parks while the client is slow. Returns 0 or pirn_write's
 * codes. */
PIRN_API int pirn_http_reply(pirn_http_exchange *exchange, int status, const char *content_type, const void *body,
                             size_t bytes);

/* Stream: chunked in HTTP/1.1, until the connection closes in 1.0. Small writes gather in a buffer; flush sends them
 * now. What is left goes out when the handler returns. Park while the client is slow. Return 0 or pirn_write's
 * codes. */
PIRN_API int pirn_http_write(pirn_http_exchange *exchange, const void *data, size_t bytes);
PIRN_API int pirn_http_print(pirn_http_exchange *exchange, const char *format, ...) PIRN_PRINTF(2, 3);
PIRN_API int pirn_http_flush(pirn_http_exchange *exchange);

/* `text` with & < > " ' escaped, for HTML text and attributes, into `out`, terminated. Returns the length wanted. */
PIRN_API size_t pirn_html_escape(const char *text, char *out, size_t out_bytes);

/* Mount the inspector at `path` (it should end in '/'; without that slash it redirects there): HTML for people,
 * `?format=json` for programs. Loopback peers only, and 403 for a Host field that names anything but localhost,
 * 127.x.y.z or [::1] (DNS rebinding). Returns pirn_http_route's codes. */
PIRN_API int pirn_http_inspector(pirn_http_server *server, const char *path);

/* ---- client ---- */

typedef struct pirn_http_page {
    int status; /* 200, ...                                                                    */
    size_t body_bytes;
    char *content_type; /* "" when the server named none                                               */
    char *body;         /* body_bytes long and a terminating NUL                                       */
} pirn_http_page;

typedef struct pirn_fetch_options {
    const char *method; /* NULL: GET, or POST with a body                                         */
    const char *body;   /* copied; NULL: none                                                     */
    size_t body_bytes;
    const char *content_type; /* of the body; NULL: application/x-www-form-urlencoded                  */
    size_t page_bytes_max;    /* 0: 16 MiB; a longer page fails with PIRN_ELIMIT                         */
    unsigned redirects_max;   /* 0: none are followed                                                   */
} pirn_fetch_options;

/* Fetch `url` (http or https) on the reactor: the deferred fires with a pirn_http_page whatever its status. Fails with
 * PIRN_EHTTP (the message says how), PIRN_EDNS, PIRN_ELIMIT. Cancelling it ends the transfer. Strings are copied.
 * Thread: a worker's.
 * Parks: never. NULL: no memory, no worker here. Answers to client.getPage. */
PIRN_API pirn_deferred *pirn_http_fetch(const char *url, const pirn_fetch_options *options);

/* Fetch and wait. Parks. Owns: on 0 `*page` is the caller's: pirn_http_page_drop. Returns 0 or the failure's code; the
 * failure's text is in `error` (NULL allowed), `error_bytes` long, terminated. A deadline or cancel ends the
 * transfer. */
PIRN_API int pirn_http_get(const char *url, pirn_http_page **page, char *error, size_t error_bytes, pirn_time deadline);
PIRN_API void pirn_http_page_drop(void *page);

#ifdef __cplusplus
}
#endif
#endif
