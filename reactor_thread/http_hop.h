/* SPDX-License-Identifier: MIT
 *
 * What: one exchange of a fetch with one server: a request to the reactor, a transfer of libcurl, a page. A fetch with
 *       redirects has several, one after the other.
 * Threads: submit: a worker; the rest the reactor's.
 */
#ifndef PN_HTTP_HOP_H
#define PN_HTTP_HOP_H

#include <pirn/http.h>
#include <pirn/reactor.h>

#include "hooks.h"
#include "http_url.h"

/* What a fetch asks for. Home changes it between two hops, when no hop is under way. */
typedef struct pn_http_plan {
    pn_word holds; /* the home's, and one of each hop */
    pn_http_url url;
    char *method, *content_type; /* NULL: the default */
    char *body;                  /* NULL: none        */
    size_t body_bytes, page_bytes_max;
    unsigned redirects, redirects_max; /* followed so far, at most */
} pn_http_plan;

void pn_http_plan_release(pn_http_plan *plan);

/* A hop's result. `page` comes first: what a caller gets in the end. */
typedef struct pn_http_hop_page {
    pirn_http_page page;
    char *location; /* NULL: not a redirect that is to be followed */
} pn_http_hop_page;

/* Start the exchange. `addresses` are the host's, and become the hop's; NULL: the host needs no lookup. The deferred
 * fires with a pn_http_hop_page. NULL: no memory, or no worker here. */
pirn_deferred *pn_http_hop_submit(pn_http_plan *plan, pirn_addresses *addresses);

#endif
