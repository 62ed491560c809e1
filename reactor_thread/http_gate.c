/* SPDX-License-Identifier: MIT
 *
 * What: the bounds of http_gate.h: a queue for each host and port, and a list of the hosts that may start a transfer.
 *
 * Threads: the reactor's.
 * Invariants: (1) a host exists while a transfer of it waits or moves; (2) a host is in `ready` exactly when a transfer
 *       of it waits and fewer than per_host_max of it move; (3) hosts in `ready` take turns, so one busy host does not
 *       hold up the others.
 * Rejected: CURLMOPT_MAX_HOST_CONNECTIONS: when a transfer ends, libcurl 7.88 starts only the first of all that wait.
 *       When that one's host is still full, a transfer to another host waits although it could move.
 */
#include "http_gate.h"

#include <stdint.h>
#include <string.h>

#include "alloc.h"
#include "base.h"

#define BUCKETS 64

struct pn_http_host {
    pn_node link;    /* in its bucket */
    pn_node ready;   /* in gate.ready */
    pn_list waiting; /* of pn_http_pass */
    unsigned moving;
    char name[];
};

static struct {
    unsigned total_max, per_host_max, moving;
    pn_list ready;
    pn_list buckets[BUCKETS];
} gate;

void pn_http_gate_init(unsigned total_max, unsigned per_host_max) {
    gate.total_max = total_max;
    gate.per_host_max = per_host_max;
    gate.moving = 0;
    pn_list_init(&gate.ready);
    for (unsigned i = 0; i < BUCKETS; i++) {
        pn_list_init(&gate.buckets[i]);
    }
}

static pn_list *bucket_of(const char *name) {
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 16777619U;
    }
    return &gate.buckets[hash % BUCKETS];
}

static pn_http_host *find_or_make(const char *name) {
    pn_list *bucket = bucket_of(name);
    PN_LIST_EACH(bucket, node) {
        pn_http_host *host = PN_CONTAINER_OF(node, pn_http_host, link);
        if (strcmp(host->name, name) == 0) {
            return host;
        }
    }
    size_t bytes = strlen(name) + 1;
    pn_http_host *made = pn_calloc(1, sizeof *made + bytes);
    if (made) {
        memcpy(made->name, name, bytes);
        pn_list_init(&made->waiting);
        pn_list_append(bucket, &made->link);
    }
    return made;
}

/* Keep invariants 1 and 2 after a change of `host`. */
static void settle(pn_http_host *host) {
    bool may_start = !pn_list_empty(&host->waiting) && host->moving < gate.per_host_max;
    if (may_start && !pn_linked(&host->ready)) {
        pn_list_append(&gate.ready, &host->ready);
    } else if (!may_start && pn_linked(&host->ready)) {
        pn_node_unlink(&host->ready);
    }
    if (host->moving == 0 && pn_list_empty(&host->waiting)) {
        pn_node_unlink(&host->link);
        pn_free(host);
    }
}

int pn_http_gate_ask(pn_http_pass *pass, const char *host) {
    pass->host = find_or_make(host);
    if (!pass->host) {
        return PIRN_ENOMEM;
    }
    pn_list_append(&pass->host->waiting, &pass->waiting);
    settle(pass->host);
    return 0;
}

pn_http_pass *pn_http_gate_next(void) {
    pn_node *first = gate.moving < gate.total_max ? pn_list_pop(&gate.ready) : NULL;
    if (!first) {
        return NULL;
    }
    pn_http_host *host = PN_CONTAINER_OF(first, pn_http_host, ready);
    pn_http_pass *pass = PN_CONTAINER_OF(pn_list_pop(&host->waiting), pn_http_pass, waiting);
    host->moving++;
    gate.moving++;
    settle(host);
    return pass;
}

void pn_http_gate_leave(pn_http_pass *pass) {
    pn_http_host *host = pass->host;
    if (!host) {
        return;
    }
    pass->host = NULL;
    if (pn_linked(&pass->waiting)) {
        pn_node_unlink(&pass->waiting);
    } else {
        host->moving--;
        gate.moving--;
    }
    settle(host);
}
