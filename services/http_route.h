/* SPDX-License-Identifier: MIT
 *
 * What: the table of routes: method and path to handler.
 * Threads: filled by one before the server serves; immutable and read by all after.
 */
#ifndef PN_HTTP_ROUTE_H
#define PN_HTTP_ROUTE_H

#include <pirn/http.h>

#include "http_request.h"

typedef struct pn_http_route {
    char *method, *path;
    size_t path_bytes;
    unsigned flags; /* enum pirn_route_flags */
    pirn_http_handler handler;
    void *context;
    const char *file; /* of the call that made it; a literal */
    int line;
} pn_http_route;

typedef struct pn_http_routes {
    pn_http_route *list;
    size_t count;
} pn_http_routes;

/* Where a request goes: a route, or the status that answers instead (404, 405, or 204 for OPTIONS). */
typedef struct pn_http_match {
    const pn_http_route *route;
    int status;
} pn_http_match;

int pn_http_routes_add(pn_http_routes *routes, const char *method, const char *path, unsigned flags,
                       pirn_http_handler handler, void *context, const char *file, int line);
void pn_http_routes_fini(pn_http_routes *routes);

/* The longest path that fits wins, and an exact one before a prefix of the same length. */
pn_http_match pn_http_routes_match(const pn_http_routes *routes, const pn_http_request *request);

/* "GET, HEAD, OPTIONS": what `path` can be asked with. Always terminated. */
void pn_http_routes_allow(const pn_http_routes *routes, const char *path, char *text, size_t text_bytes);

#endif
