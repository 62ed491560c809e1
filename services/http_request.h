/* SPDX-License-Identifier: MIT
 *
 * What: one parsed request: a single block of memory with its fields and a copy of its head, which the strings point
 *       into, and its body in a second block.
 * Threads: written by the connection tasklet while it parses, then moved whole to the request tasklet.
 */
#ifndef PN_HTTP_REQUEST_H
#define PN_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http_field.h"

typedef struct pn_http_request {
    const char *method;
    const char *path;                 /* decoded                                                                    */
    const char *query;                /* raw                                                                        */
    const char *sent_method, *target; /* as they came, for the log: set with the first of the others         */
    char *body;                       /* malloc'ed; NULL: none                                                      */
    size_t body_bytes;
    uint8_t minor; /* HTTP/1.minor                                                              */
    bool is_head;
    bool keep_alive; /* the client's wish                                                          */
    unsigned field_count, field_max;
    pn_http_field fields[]; /* [field_max], then the copy of the head                                   */
} pn_http_request;

/* A request for a head of `head_bytes` with at most `field_max` fields; `*head` is where its copy goes. NULL: no
 * memory. */
pn_http_request *pn_http_request_create(unsigned field_max, size_t head_bytes, char **head);
void pn_http_request_destroy(pn_http_request *request); /* NULL allowed */

/* The first field of that name from number `from` on, in any case; NULL: none. */
const pn_http_field *pn_http_request_field(const pn_http_request *request, const char *name, unsigned from);

#endif
