/* SPDX-License-Identifier: MIT
 *
 * What: a URL of the HTTP client taken apart by libcurl's parser: what goes to libcurl, to the resolver, and into
 *       messages.
 * Threads: any. Nothing here has state.
 */
#ifndef PN_HTTP_URL_H
#define PN_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>

#define PN_URL_SHOWN_BYTES 121

/* All NULL: nothing. The strings are libcurl's memory. */
typedef struct pn_http_url {
    char *text;            /* without user, password and fragment                            */
    char *scheme, *host;   /* the host as IDNA, an IPv6 address in brackets without its zone */
    char *port, *zone;     /* zone: NULL for none                                            */
    char *user, *password; /* decoded; NULL for none                                         */
} pn_http_url;

/* Take `text` apart; a relative one counts from `base` (NULL: none). NULL; or what is wrong, then `url` is empty. */
const char *pn_http_url_parse(pn_http_url *url, const pn_http_url *base, const char *text);
void pn_http_url_fini(pn_http_url *url);

/* Whether both have the same scheme, host (with zone) and port. */
bool pn_http_url_same_origin(const pn_http_url *one, const pn_http_url *two);

/* Any text that was meant as a URL, for a message: no user and password, no control bytes. `shown` is returned. */
const char *pn_http_url_show(const char *text, char shown[PN_URL_SHOWN_BYTES]);

#endif
