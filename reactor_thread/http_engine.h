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

#include "list.h"

/* The engine's part of a transfer, in the owner's memory; zeroed by him, then the engine's until it is over. */
typedef struct pn_http_transfer {
    CURL *easy;
    pn_node doomed; /* linked: a socket of it cannot be watched */
} pn_http_transfer;

/* Called when a transfer is over, out of the handle already: the callee frees it. */
typedef void (*pn_http_done)(pn_http_transfer *transfer, CURLcode code);

/* Start it if it does not run; `done` will be told of every transfer. 0, or PIRN_ENOMEM. */
int pn_http_engine_start(pn_http_done done);

/* Begin the transfer `easy`, to which the engine adds what it needs to own its sockets (and CURLOPT_PRIVATE). */
CURLMcode pn_http_engine_add(pn_http_transfer *transfer, CURL *easy);
/* Give it up; `done` is not called any more. */
void pn_http_engine_remove(pn_http_transfer *transfer);

/* No transfer may be under way. Its timer is closed by the loop's next turn. */
void pn_http_engine_fini(void);

#endif
