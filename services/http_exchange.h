/* SPDX-License-Identifier: MIT
 *
 * What: one request under way: what the connection tasklet hands to the request tasklet, and the response it builds.
 *
 * Threads: made by the connection tasklet and moved to the request tasklet, which frees it. If that never ran
 *       (cancelled before its first turn, or without a stack) the connection tasklet frees it, after the join.
 * Invariants: (1) after the spawn the two tasklets share nothing but pn_http_outcome, which only the request tasklet
 *       writes and only the connection tasklet reads, after the join (but for its word `end`); (2) only one of them
 *       writes to the socket at a time: the connection tasklet while no request is out.
 */
#ifndef PN_HTTP_EXCHANGE_H
#define PN_HTTP_EXCHANGE_H

#include <pirn/http.h>
#include <pirn/tasklet.h>

#include "hooks.h"
#include "http_request.h"
#include "http_route.h"
#include "tasklet.h"

#define PN_HTTP_GATHER_BYTES 16384u /* of a streamed response before it is sent                           */
#define PN_HTTP_INLINE_BYTES 1024u  /* a small response needs no buffer of its own                         */

/* Strikes the connection tasklet's wait, so that it looks again: the request is over, or the server drains. */
#define PN_HTTP_NUDGE PIRN_EAGAIN

/* pn_http_outcome.end: UNWATCHED -> WATCHED (the connection tasklet wants a nudge at the end), both -> OVER (the
 * request tasklet: nothing of it is left but its end). */
enum { PN_HTTP_UNWATCHED, PN_HTTP_WATCHED, PN_HTTP_OVER };

/* What a request came to, in the connection's memory. */
typedef struct pn_http_outcome {
    bool started;    /* the request tasklet ran, and freed the exchange                              */
    bool keep_alive; /* the connection may serve another                                            */
    bool cut;        /* the response is not whole, and only a reset can tell the client              */
    pirn_time ended_at;
    pn_word end; /* both tasklets, through pn_below                                         */
} pn_http_outcome;

/* How the end of the response's body is told. */
typedef enum pn_http_framing {
    PN_HTTP_UNDECIDED,
    PN_HTTP_LENGTH, /* Content-Length                                                            */
    PN_HTTP_CHUNKED,
    PN_HTTP_UNTIL_CLOSE, /* HTTP/1.0                                                                  */
    PN_HTTP_NO_BODY,     /* 204 and 304                                                               */
    PN_HTTP_EMPTY,       /* 205: Content-Length: 0                                                    */
} pn_http_framing;

struct pirn_http_exchange {
    /* immutable for the request tasklet */
    pirn_http_server *server;
    pn_http_request *request;
    pn_http_match match;
    pirn_socket socket;
    pn_http_outcome *outcome;
    pirn_time began_at; /* its first byte was read, for the log                                      */
    pirn_time started_at, handler_deadline;
    bool last; /* no further request on this connection                                     */
    /* the response; request tasklet only */
    bool keep_alive;
    bool begun; /* a body was begun: status and fields are fixed                              */
    bool head_sent;
    bool finished;
    bool nosniff, has_nosniff; /* it gets that field; the handler has added it                            */
    bool has_type;             /* Content-Type is among `fields`                                            */
    pn_http_framing framing;
    int status;               /* 0: none chosen                                                          */
    int failed;               /* what ended the sending early                                            */
    const char *content_type; /* of pirn_http_reply: the caller's                                        */
    char *fields;             /* "Name: value\r\n"...                                                      */
    size_t fields_bytes, fields_capacity;
    char *buffer; /* [prefix_room of head and chunk size][gathered][room for chunk ends]        */
    size_t buffer_bytes;
    size_t prefix_room, gathered;
    uint64_t body_bytes; /* of the body so far, as the handler wrote it                              */
    uint64_t body_sent;  /* of it, handed to the system                                              */
    char peer[64];
    pn_note note; /* for the inspector                                                          */
    char inline_buffer[PN_HTTP_INLINE_BYTES];
};

/* All fields set but those of the response, which are initialised; NULL: no memory. */
pirn_http_exchange *pn_http_exchange_create(void);
void pn_http_exchange_destroy(pirn_http_exchange *exchange); /* frees the request too */

/* Send what is gathered and say that it was all. 0 or pirn_write's codes. Parks. */
int pn_http_response_finish(pirn_http_exchange *exchange);
/* Forget what the handler gathered and chose, if nothing was sent yet: room for an error page. */
void pn_http_response_reset(pirn_http_exchange *exchange);
/* The short text/plain page of an error status; 503 comes with Retry-After. */
int pn_http_reply_status(pirn_http_exchange *exchange, int status);
/* A whole response for a request that could not be read: closes. Returns its length. `text` is at least 512 bytes. */
size_t pn_http_refusal(int status, char *text, size_t text_bytes, size_t *body_bytes);

/* Tell the program of a request that is over. Its server has an on_access. http_access.c */
void pn_http_access_tell(pirn_http_server *server, pirn_http_access *access, pirn_time began_at, pirn_time ended_at);

/* The request tasklet: routes, runs the handler, completes the response, frees the exchange. http_dispatch.c */
int pn_http_dispatch(void *exchange);

#endif
