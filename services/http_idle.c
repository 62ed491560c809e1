/* SPDX-License-Identifier: MIT
 *
 * What: at connections_max the connection that has been idle longest is closed for each newcomer.
 *
 * The steps: (1) the listener finds no room and a newcomer waiting: make_room, on the acceptor's thread. (2) It looks
 *       through the register for those idle longest, marks one as chosen, and strikes its tasklet with PN_HTTP_NUDGE.
 *       (3) That tasklet, at its home, sees the mark. It looks once more for bytes; without any it closes, and the
 *       listener hears of the room. If a request has come meanwhile, the connection is spared and another is chosen.
 * Threads: make_room: an acceptor's driver; spare: a connection's tasklet; both under the server's lock.
 * The words: `idle_since` is written by the connection without the lock, so that a request takes none; it may be late.
 *       A wrong choice is found in step 3.
 * Bounds: a look through the register finds VICTIMS_MAX of them, so that a crowd of newcomers does not make one look
 *       each. No more are chosen than newcomers wait. One that is chosen and does not leave within PATIENCE_NS (its
 *       worker is held up) is no longer counted on.
 * Rejected: a list in the order of idleness: each request would take the lock twice. Connections in the middle of a
 *       head or a body: they have time limits of their own, and closing one would lose a request.
 */
#include "base.h"
#include "http_exchange.h"
#include "http_server.h"
#include "sched.h"
#include "tasklet.h"

#define VICTIMS_MAX 64
#define PATIENCE_NS (50 * PIRN_MILLISECOND)
#define TELL_NS     (60 * PIRN_SECOND) /* between two lines */

/* Units of half a millisecond, of which the lowest is always set: 0 is for busy. They wrap after 26 days, so two of
 * them are compared by their difference. */
static uint32_t stamp(pirn_time time) {
    return (uint32_t)(time >> 19) | 1;
}

void pn_http_idle_begin(pn_http_member *member, pirn_time since) {
    pn_below->store(&member->idle_since, stamp(since));
}

void pn_http_idle_end(pn_http_member *member) {
    pn_below->store(&member->idle_since, 0);
}

/* ---- under the lock ---- */

static bool longer(uint32_t one, uint32_t other) {
    return (int32_t)(one - other) < 0;
}

static void forget(pn_http_member *member) {
    if (pn_linked(&member->victim)) {
        pn_node_unlink(&member->victim);
    }
}

void pn_http_idle_forget(pirn_http_server *server, pn_http_member *member) {
    forget(member);
    if (pn_http_idle_chosen(member)) {
        server->closed_for_others++;
        server->leaving -= server->leaving > 0;
    }
}

/* Put it into `sorted`, of `count`, by how long it has been idle: the longest first. Returns the new count. */
static unsigned insert(pn_http_member **sorted, unsigned count, pn_http_member *member) {
    unsigned at = count;
    if (count == VICTIMS_MAX) {
        if (!longer(member->victim_since, sorted[count - 1]->victim_since)) {
            return count;
        }
        at = --count;
    }
    for (; at > 0 && longer(member->victim_since, sorted[at - 1]->victim_since); at--) {
        sorted[at] = sorted[at - 1];
    }
    sorted[at] = member;
    return count + 1;
}

/* Find those that have been idle longest. */
static void find_victims(pirn_http_server *server) {
    pn_http_member *sorted[VICTIMS_MAX];
    unsigned count = 0;
    PN_LIST_EACH(&server->connections, node) {
        pn_http_member *member = PN_CONTAINER_OF(node, pn_http_member, link);
        member->victim_since = pn_below->load(&member->idle_since);
        if (member->victim_since != 0 && !pn_http_idle_chosen(member)) {
            count = insert(sorted, count, member);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pn_list_append(&server->victims, &sorted[i]->victim);
    }
}

/* The next that is still idle since it was found; NULL: there is none. */
static pn_http_member *next_victim(pirn_http_server *server) {
    pn_node *node;
    while ((node = pn_list_pop(&server->victims)) != NULL) {
        pn_http_member *member = PN_CONTAINER_OF(node, pn_http_member, victim);
        if (pn_below->load(&member->idle_since) == member->victim_since) {
            return member;
        }
    }
    return NULL;
}

/* Choose one and tell it. False: none is idle, or there is no memory to tell it. */
static bool choose(pirn_http_server *server) {
    pn_http_member *member = next_victim(server);
    if (!member) {
        find_victims(server);
        member = next_victim(server);
    }
    if (!member) {
        return false;
    }
    pn_below->store(&member->chosen, 1);
    int error = pn_sched_self() ? pirn_throw(member->tasklet, PN_HTTP_NUDGE, true)
                                : pn_remote_strike(member->tasklet, PN_HTTP_NUDGE, false);
    if (error != 0) {
        pn_below->store(&member->chosen, 0);
        return false;
    }
    server->leaving++;
    return true;
}

static void tell(pirn_http_server *server, pirn_time now) {
    if (server->told_at == 0 || now - server->told_at >= TELL_NS) {
        server->told_at = now;
        pn_warn(
            "http server: all %zu connections are in use (connections_max): for each newcomer the one that has been "
            "idle longest is closed (%llu were before)",
            server->connection_count, (unsigned long long)server->closed_for_others);
    }
}

/* ---- the calls ---- */

void pn_http_idle_make_room(void *context, unsigned count) {
    pirn_http_server *server = context;
    pirn_time now = pirn_now();
    pthread_mutex_lock(&server->lock);
    if (now - server->chosen_at > PATIENCE_NS) {
        server->leaving = 0;
    }
    while (server->leaving < count && server->leaving < VICTIMS_MAX && choose(server)) {
        server->chosen_at = now;
    }
    tell(server, now);
    pthread_mutex_unlock(&server->lock);
}

void pn_http_idle_spare(pirn_http_server *server, pn_http_member *member) {
    pthread_mutex_lock(&server->lock);
    pn_below->store(&member->chosen, 0);
    server->leaving -= server->leaving > 0;
    (void)choose(server);
    pthread_mutex_unlock(&server->lock);
}
