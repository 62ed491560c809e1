/* SPDX-License-Identifier: MIT
 *
 * What: how many transfers move at once, in total and to one host and port. The others wait in order of asking.
 * Threads: the reactor's.
 */
#ifndef PN_HTTP_GATE_H
#define PN_HTTP_GATE_H

#include <stdbool.h>

#include "list.h"

typedef struct pn_http_host pn_http_host;

/* One transfer's place, in its owner's memory, zeroed. */
typedef struct pn_http_pass {
    pn_http_host *host; /* NULL: neither waits nor moves  */
    pn_node waiting;    /* linked: waits in its host      */
} pn_http_pass;

void pn_http_gate_init(unsigned total_max, unsigned per_host_max);

/* Ask for a place at `host` (a string as "example.com:80", copied). The pass then waits. 0, or PIRN_ENOMEM. */
int pn_http_gate_ask(pn_http_pass *pass, const char *host);

/* The next pass that may move, which then counts; NULL: none. */
pn_http_pass *pn_http_gate_next(void);

/* Give the place back, whether the pass waits, moves, or neither. */
void pn_http_gate_leave(pn_http_pass *pass);

#endif
