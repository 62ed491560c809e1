/* SPDX-License-Identifier: MIT
 *
 * What: the server's inside: options, routes, and the register of its connections, which live on several workers.
 * Threads: see the groups. The lock is held for a few instructions, never across a park.
 */
#ifndef PN_HTTP_SERVER_H
#define PN_HTTP_SERVER_H

#include <pthread.h>

#include <pirn/channel.h>
#include <pirn/http.h>

#include "hooks.h"
#include "http_exchange.h"
#include "http_route.h"
#include "list.h"

struct pirn_http_server {
    /* immutable once it serves */
    pirn_http_options options; /* with defaults filled in */
    pn_http_routes routes;
    bool serving;
    pirn_listener *listener;
    /* any thread, through pn_below */
    pn_word draining;
    /* under the lock */
    pthread_mutex_t lock;
    pn_list connections;
    pn_list victims; /* of members: see http_idle.c                                           */
    unsigned leaving;
    pirn_time chosen_at, told_at;
    uint64_t closed_for_others;
    size_t connection_count;
    pirn_channel *ended; /* while somebody waits for the last connection to end */
};

/* One connection's place in the register; part of the connection's memory. */
typedef struct pn_http_member {
    /* under the server's lock */
    pn_node link;
    pn_node victim; /* in `victims`                                                          */
    uint32_t victim_since;
    /* immutable */
    pirn_tasklet tasklet;
    /* any thread, through pn_below */
    pn_word idle_since; /* 0: busy; else as pn_http_idle_stamp                                  */
    pn_word chosen;     /* 1: it has to make room for a newcomer, if it is idle                */
} pn_http_member;

/* Enter the calling connection tasklet; it must leave. */
void pn_http_server_enter(pirn_http_server *server, pn_http_member *member);
/* The last call of a connection: after it the server may be gone. */
void pn_http_server_leave(pirn_http_server *server, pn_http_member *member);

/* ---- who makes room at connections_max: http_idle.c ---- */

/* The connection is idle since `since`, or busy. The connection's tasklet, or its request's as the last thing. */
void pn_http_idle_begin(pn_http_member *member, pirn_time since);
void pn_http_idle_end(pn_http_member *member);
/* pn_listener_limits.full, with the server as context. */
void pn_http_idle_make_room(void *server, unsigned count);
/* A connection that was chosen turned out to be busy: another one makes room. */
void pn_http_idle_spare(pirn_http_server *server, pn_http_member *member);
/* Lock held: it leaves the register. */
void pn_http_idle_forget(pirn_http_server *server, pn_http_member *member);

static inline bool pn_http_idle_chosen(const pn_http_member *member) {
    return pn_below->load(&member->chosen) != 0;
}

static inline bool pn_http_server_draining(const pirn_http_server *server) {
    return pn_below->load(&server->draining) != 0;
}

/* A connection tasklet: pirn_connection_fn with the server as context. http_connection.c */
int pn_http_connection(pirn_socket socket, void *server);

#endif
