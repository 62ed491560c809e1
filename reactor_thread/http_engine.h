/* SPDX-License-Identifier: MIT
 *
 * What: libcurl's multi handle on the reactor's loop: curl says which descriptors and which timeout it waits for, libuv
 *       waits.
 * Threads: the reactor's.
 * Lifetime: started by the first transfer, ended by pn_http_engine_fini(). Connections are kept for reuse in between.
 */
#ifndef PN_HTTP_ENGINE_H
#define PN_HTTP_ENGINE_H

#include <curl/curl.h>
#include <netinet/in.h>

#include "http_gate.h"
#include "list.h"

/* The engine's part of a transfer, in the owner's memory; zeroed by him, then the engine's until it is over. */
typedef struct pn_http_transfer pn_http_transfer;
struct pn_http_transfer {
    CURL *easy;
    pn_node unwatched; /* linked: a socket of it cannot be watched */
    pn_http_pass pass; /* its place among those that move or wait  */
    /* the owner's: the interface number that belongs to an address of the host, 0 for none */
    uint32_t (*scope_of)(const pn_http_transfer *transfer, const struct in6_addr *address);
};

/* Called when a transfer is over, out of the handle already: the callee frees it. */
typedef void (*pn_http_done)(pn_http_transfer *transfer, CURLcode code);

/* Start it if it does not run; `done` will be told of every transfer. 0, or PIRN_ENOMEM. */
int pn_http_engine_start(pn_http_done done);

/* Begin the transfer `easy`, or let it wait while too many move, in total or to `host` ("example.com:80"). The engine
 * adds what it needs to own the sockets of `easy` (and CURLOPT_PRIVATE). 0, or PIRN_ENOMEM. May call `done`. */
int pn_http_engine_add(pn_http_transfer *transfer, CURL *easy, const char *host);
/* Give it up; `done` is not called any more. */
void pn_http_engine_remove(pn_http_transfer *transfer);

/* No transfer may be under way. Its timer is closed by the loop's next turn. */
void pn_http_engine_fini(void);

#endif
