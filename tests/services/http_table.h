/* SPDX-License-Identifier: MIT
 *
 * What: the table of HTTP/1.x cases: bytes in; statuses, fields, body and the connection's fate out. Written from
 *       RFC 9110 and RFC 9112, section by section.
 * Threads: immutable.
 */
#ifndef HTTP_TABLE_H
#define HTTP_TABLE_H

#include <stddef.h>

typedef struct http_case {
    const char *name;
    const char *bytes;
    size_t length;
    /* The statuses of the responses, in order. "200h": to a HEAD, so it has no body; "-": none, the server waits for
     * more; " close" behind them: the server closes after the last one. It does so after 400 and above, too, but for
     * 404 and 405. */
    const char *expected;
    /* What the handler saw of all requests, "METHOD path?query|Name=value|...|body", one a line; NULL: not asserted
     * here (every field is compared with the second reader's anyway). */
    const char *seen;
    /* `fill` times "a" in place of each "@", or, when fill_field is set, so many fields "F: v" in place of it. */
    unsigned fill;
    const char *fill_field;
} http_case;

typedef struct http_table {
    const char *part;
    const http_case *cases;
    size_t count;
} http_table;

extern const http_table http_table_request_line, http_table_targets, http_table_host, http_table_fields,
    http_table_lengths, http_table_codings, http_table_chunks, http_table_connections;

/* How other servers judge a case that pirn judges otherwise, as seen in a run of the long form. "": no response. */
typedef struct http_peer_case {
    const char *name;
    const char *nginx, *go;
} http_peer_case;

extern const http_peer_case http_peer_cases[];
extern const size_t http_peer_case_count;

#define HOST    "Host: a\r\n"
#define GET     "GET / HTTP/1.1\r\n"
#define POST    "POST / HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define NEXT    "GET /next HTTP/1.1\r\n" HOST "\r\n"

#define CASE(name, expected, bytes, seen)                                                                              \
    { name, bytes, sizeof(bytes) - 1, expected, seen, 0, NULL }
#define GOOD(name, bytes, seen) CASE(name, "200", bytes, seen)
#define BAD(name, bytes)        CASE(name, "400", bytes, NULL)
#define FILLED(name, expected, fill, bytes)                                                                            \
    { name, bytes, sizeof(bytes) - 1, expected, NULL, fill, NULL }
#define MANY(name, expected, fill, field, bytes)                                                                       \
    { name, bytes, sizeof(bytes) - 1, expected, NULL, fill, field }

#endif
