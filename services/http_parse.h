/* SPDX-License-Identifier: MIT
 *
 * What: the request parser: a pure function of the bytes so far. It reads nothing, writes nothing and never parks.
 * Threads: whoever owns the struct: a connection tasklet.
 */
#ifndef PN_HTTP_PARSE_H
#define PN_HTTP_PARSE_H

#include "http_chunk.h"
#include "http_lint.h"
#include "http_request.h"

typedef enum pn_http_phase {
    PN_HTTP_HEAD, /* waits for a whole head; uses no byte before                                      */
    PN_HTTP_BODY, /* the head is known, the body comes                                                 */
} pn_http_phase;

typedef struct pn_http_parser {
    const pirn_http_options *limits;
    pn_http_phase phase;
    bool chunked;
    bool wants_continue; /* the client waits for "100 Continue" before it sends the body: cleared by the owner */
    pn_http_lint lint;
    pn_http_chunk chunk;
    uint64_t body_left; /* of a body with Content-Length                                           */
    size_t body_capacity;
    pn_http_request *request; /* from the end of its head on                                             */
} pn_http_parser;

/* `limits` must have no zero in it and outlive the parser. */
void pn_http_parser_init(pn_http_parser *parser, const pirn_http_options *limits);
void pn_http_parser_fini(pn_http_parser *parser);

/* Take bytes. `data` begins with the first byte that is not used yet: *used tells how many now are, and the caller
 * gives the others again, with more behind them. Returns 1: a request is complete, take it with pn_http_parser_take;
 * 0: more bytes are needed; or minus the status to refuse with, after which the parser must not be fed any more (500:
 * no memory). */
int pn_http_parser_feed(pn_http_parser *parser, const char *data, size_t bytes, size_t *used);

/* The complete request, the caller's from now on; the parser is ready for the next one. */
pn_http_request *pn_http_parser_take(pn_http_parser *parser);

#endif
