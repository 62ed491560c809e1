/* SPDX-License-Identifier: MIT
 *
 * What: our rules on the raw bytes of a request head, applied before llhttp sees any of them.
 * Threads: whoever owns the struct.
 * Source: RFC 9112 sections 2 to 5; the cases are in tests/services/http_parse_test.c.
 */
#ifndef PN_HTTP_LINT_H
#define PN_HTTP_LINT_H

#include <stdbool.h>
#include <stddef.h>

#include <pirn/http.h>

/* How far a head has been looked at. Zeroed: nothing yet. Offsets are from the first byte given. */
typedef struct pn_http_lint {
    size_t seen;       /* bytes that need no second look                                             */
    size_t head_start; /* after empty lines, which a client may send before a request                */
    size_t line_start;
    size_t fields_start;               /* after the request line                                                     */
    unsigned lines;                    /* complete ones, the request line included                                    */
    size_t method_bytes, target_bytes; /* of the request line                                            */
    int minor;                         /* HTTP/1.minor                                                              */
} pn_http_lint;

/* Look at the `bytes` of `data` received so far; earlier calls saw a prefix of them. Returns 1 when the head is
 * whole: it is [head_start, seen); 0 when more bytes are needed; or minus the status to refuse it with (400, 414,
 * 431, 505), as soon as the bytes so far deserve it. */
int pn_http_lint_head(pn_http_lint *lint, const pirn_http_options *limits, const char *data, size_t bytes);

/* host[:port], an IPv6 address in brackets; no user, no path, not empty. */
bool pn_http_valid_authority(const char *text, size_t bytes);

#endif
