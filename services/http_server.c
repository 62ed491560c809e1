/* SPDX-License-Identifier: MIT
 *
 * What: the server: options, routes, the register of connections, and its end.
 *
 * Threads: create, route, serve and close belong to one tasklet at a time; enter and leave are called by connection
 *       tasklets of every worker.
 * Lifetime: the server is freed by pirn_http_server_close when the last connection has left. Connections that were
 *       accepted but whose tasklets had not run when the listener closed are waited for by a round through all
 *       workers (see flush_workers).
 * Invariants: (1) a connection is in the register from its first instruction to its last; (2) nothing that may switch
 *       to another tasklet happens under the lock: strikes are `pending`, and the `ended` channel prefers neither
 *       side.
 * Rejected: answering 503 to connections above the limit: each costs an accept, a tasklet and a write when there is
 *       least of them; those the listener leaves in the kernel's queue cost nothing, and are served when an idle one
 *       has made room (http_idle.c) or another has closed.
 *       A counter in each worker, summed on demand: connections come and go far less often than requests.
 */
#include "http_server.h"

#include <string.h>
#include <sys/resource.h>

#include "alloc.h"
#include "base.h"
#include "listener.h"
#include "wait.h"

/* How often the closer says that cancelled requests still run. */
#define STUCK_LINE_NS (5 * PIRN_SECOND)
/* How soon a connection that could not be struck for want of memory is struck again. */
#define STRIKE_AGAIN_NS (10 * PIRN_MILLISECOND)

void pirn_http_options_init(pirn_http_options *options) {
    *options = (pirn_http_options){
        .line_bytes_max = 8192,
        .header_bytes_max = 32768,
        .header_count_max = 100,
        .body_bytes_max = 1u << 20,
        .header_timeout_ns = 10 * PIRN_SECOND,
        .body_timeout_ns = 20 * PIRN_SECOND,
        .idle_timeout_ns = 60 * PIRN_SECOND,
        .handler_timeout_ns = 30 * PIRN_SECOND,
        .write_timeout_ns = 30 * PIRN_SECOND,
        .requests_max = 1000,
        .connections_max = 4096,
    };
}

static void fill_in_defaults(pirn_http_options *given) {
    pirn_http_options defaults;
    pirn_http_options_init(&defaults);
    given->line_bytes_max = given->line_bytes_max ? given->line_bytes_max : defaults.line_bytes_max;
    given->header_bytes_max = given->header_bytes_max ? given->header_bytes_max : defaults.header_bytes_max;
    given->header_count_max = given->header_count_max ? given->header_count_max : defaults.header_count_max;
    given->body_bytes_max = given->body_bytes_max ? given->body_bytes_max : defaults.body_bytes_max;
    given->header_timeout_ns = given->header_timeout_ns ? given->header_timeout_ns : defaults.header_timeout_ns;
    given->body_timeout_ns = given->body_timeout_ns ? given->body_timeout_ns : defaults.body_timeout_ns;
    given->idle_timeout_ns = given->idle_timeout_ns ? given->idle_timeout_ns : defaults.idle_timeout_ns;
    given->handler_timeout_ns = given->handler_timeout_ns ? given->handler_timeout_ns : defaults.handler_timeout_ns;
    given->write_timeout_ns = given->write_timeout_ns ? given->write_timeout_ns : defaults.write_timeout_ns;
    given->requests_max = given->requests_max ? given->requests_max : defaults.requests_max;
    given->connections_max = given->connections_max ? given->connections_max : defaults.connections_max;
}

/* PIRN_FOREVER is a duration, a negative number is none. */
static bool has_durations(const pirn_http_options *options) {
    const struct {
        const char *name;
        pirn_time value;
    } durations[] = {{"header_timeout_ns", options->header_timeout_ns},
                     {"body_timeout_ns", options->body_timeout_ns},
                     {"idle_timeout_ns", options->idle_timeout_ns},
                     {"handler_timeout_ns", options->handler_timeout_ns},
                     {"write_timeout_ns", options->write_timeout_ns}};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        if (durations[i].value < 0) {
            pn_warn("http server: option %s is negative", durations[i].name);
            return false;
        }
    }
    return true;
}

pirn_http_server *pirn_http_server_create(const pirn_http_options *options) {
    if (options && !has_durations(options)) {
        return NULL;
    }
    pirn_http_server *server = pn_calloc(1, sizeof *server);
    if (!server) {
        return NULL;
    }
    if (options) {
        server->options = *options;
    }
    fill_in_defaults(&server->options);
    pthread_mutex_init(&server->lock, NULL);
    pn_list_init(&server->connections);
    pn_list_init(&server->victims);
    return server;
}

int pirn_http_route_at(pirn_http_server *server, const char *method, const char *path, unsigned flags,
                       pirn_http_handler handler, void *context, const char *file, int line) {
    if (server->serving) {
        return PIRN_EALREADY;
    }
    return pn_http_routes_add(&server->routes, method, path, flags, handler, context, file, line);
}

/* How many connections may be open: at least a quarter of the process' descriptors is left to databases, fetches and
 * files, so that a crowd of clients cannot take them from the requests under way. */
static unsigned connection_limit(const pirn_http_options *options) {
    unsigned limit = options->connections_max;
    struct rlimit descriptors;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        rlim_t share = descriptors.rlim_cur - descriptors.rlim_cur / 4;
        limit = share < limit ? (unsigned)share : limit;
    }
    return limit > 0 ? limit : 1;
}

static void limit_connections(pirn_http_server *server, pirn_listener *listener) {
    unsigned own = server->options.connections_per_address_max, all = connection_limit(&server->options);
    pn_listener_limits limits = {.connections_max = all,
                                 .connections_per_address_max = own       ? own
                                                                : all / 4 ? all / 4
                                                                          : 1,
                                 .counts_loopback = own != 0,
                                 .full = pn_http_idle_make_room,
                                 .context = server};
    if (own == PIRN_HTTP_NO_LIMIT) {
        limits.connections_per_address_max = 0;
    }
    pn_listener_limit(listener, &limits);
}

int pirn_http_serve(pirn_http_server *server, pirn_listener *listener) {
    if (!listener) {
        return PIRN_EINVAL;
    }
    if (server->serving) {
        return PIRN_EALREADY;
    }
    server->serving = true;
    limit_connections(server, listener);
    int rc = pirn_serve(listener, "http-connection", pn_http_connection, server);
    if (rc != 0) {
        server->serving = false;
        return rc;
    }
    server->listener = listener;
    return 0;
}

size_t pirn_http_connections(const pirn_http_server *server) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&server->lock; /* looking needs the lock too */
    pthread_mutex_lock(lock);
    size_t count = server->connection_count;
    pthread_mutex_unlock(lock);
    return count;
}

void pirn_http_count(const pirn_http_server *server, pirn_http_counts *counts) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&server->lock; /* looking needs the lock too */
    pthread_mutex_lock(lock);
    *counts =
        (pirn_http_counts){.connections = server->connection_count, .closed_for_others = server->closed_for_others};
    pthread_mutex_unlock(lock);
    counts->refused_by_address = server->listener ? pn_listener_refused_count(server->listener) : 0;
}

void pn_http_server_enter(pirn_http_server *server, pn_http_member *member) {
    member->tasklet = pirn_self();
    member->link = member->victim = (pn_node){0};
    pthread_mutex_lock(&server->lock);
    pn_list_append(&server->connections, &member->link);
    server->connection_count++;
    pthread_mutex_unlock(&server->lock);
}

void pn_http_server_leave(pirn_http_server *server, pn_http_member *member) {
    pthread_mutex_lock(&server->lock);
    pn_http_idle_forget(server, member);
    pn_node_unlink(&member->link);
    if (--server->connection_count == 0 && server->ended) {
        /* Under the lock, so that the closer, which takes it once more, cannot free the server around us. Buffered,
         * so it never waits; full means that the closer knows already. */
        (void)pirn_send(server->ended, NULL, PIRN_NOW);
    }
    pthread_mutex_unlock(&server->lock);
}

/* Strike every connection: `code` PN_HTTP_NUDGE to look again, PIRN_ECANCELED to give up. The lock is held
 * throughout: a connection cannot leave while we strike it, and new ones only wait for as long as this takes. False:
 * there was no memory for the message to one on another worker. */
static bool strike_all(pirn_http_server *server, int code) {
    bool all = true;
    pthread_mutex_lock(&server->lock);
    PN_LIST_EACH(&server->connections, node) {
        pn_http_member *member = PN_CONTAINER_OF(node, pn_http_member, link);
        if (code == PIRN_ECANCELED) {
            all &= pirn_cancel_pending(member->tasklet) != PIRN_ENOMEM;
        } else {
            all &= pirn_throw(member->tasklet, code, true) != PIRN_ENOMEM;
        }
    }
    pthread_mutex_unlock(&server->lock);
    return all;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

/* Let every worker run all tasklets that stand in its queue now. A connection accepted before the listener closed may
 * be such a tasklet, not yet in the register; a joinable one behind it that has ended proves that it has begun. */
static void flush_workers(void) {
    pirn_runtime_info info;
    if (pirn_runtime_describe(&info) != 0) {
        return;
    }
    for (unsigned worker = 0; worker < info.workers; worker++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.name = "http-flush";
        options.home = (int)worker;
        options.flags = PIRN_JOINABLE;
        pirn_tasklet tasklet = pirn_spawn_with(&options, nothing, NULL);
        while (tasklet.id == 0) { /* no memory now: this wait cannot be left out */
            (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
            tasklet = pirn_spawn_with(&options, nothing, NULL);
        }
        while (pirn_join(tasklet, NULL, PIRN_FOREVER) == PIRN_ENOMEM) {
            (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
        }
    }
}

static pirn_channel *make_ended_channel(pirn_http_server *server) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "http-server-close";
    options.flags = PIRN_CHANNEL_EXTERNAL; /* what wakes its receiver are connections that end */
    options.preference = PIRN_PREFER_NEITHER;
    pirn_channel *ended = pirn_channel_create_with(0, 1, &options);
    pthread_mutex_lock(&server->lock);
    server->ended = ended;
    pthread_mutex_unlock(&server->lock);
    return ended;
}

/* Until no connection is left or `deadline`; returns how many are left. Without a channel (no memory) by looking now
 * and then. */
static size_t wait_until_empty(pirn_http_server *server, pirn_time deadline) {
    size_t left = pirn_http_connections(server);
    while (left > 0 && pirn_now() < deadline) {
        pirn_time look_again = pirn_after(10 * PIRN_MILLISECOND);
        if (server->ended) {
            (void)pirn_recv(server->ended, NULL, deadline);
        } else {
            (void)pirn_sleep_until(look_again < deadline ? look_again : deadline);
        }
        left = pirn_http_connections(server);
    }
    return left;
}

/* Strike all and wait as above. One that did not hear of it would stay for its idle time: so again, until all did. */
static size_t strike_and_wait(pirn_http_server *server, int code, pirn_time deadline) {
    for (;;) {
        bool all = strike_all(server, code);
        pirn_time again = pirn_after(STRIKE_AGAIN_NS);
        size_t left = wait_until_empty(server, all || deadline < again ? deadline : again);
        if (all || left == 0 || pirn_now() >= deadline) {
            return left;
        }
    }
}

/* Stop accepting, let those under way finish, cancel the rest. Shielded. */
static void drain(pirn_http_server *server, pirn_time deadline) {
    pn_below->store(&server->draining, 1);
    pirn_listener_close(server->listener);
    flush_workers();
    pirn_channel *ended = make_ended_channel(server);
    size_t left = strike_and_wait(server, PN_HTTP_NUDGE, deadline);
    while (left > 0) {
        left = strike_and_wait(server, PIRN_ECANCELED, pirn_after(STUCK_LINE_NS));
        if (left > 0) {
            pn_warn("http server: %zu connections still run %lld s after they were cancelled", left,
                    (long long)(STUCK_LINE_NS / PIRN_SECOND));
        }
    }
    pirn_channel_destroy(ended);
}

void pirn_http_server_close(pirn_http_server *server, pirn_time deadline) {
    if (!server || (server->serving && pn_require_tasklet("pirn_http_server_close") != 0)) {
        return;
    }
    if (server->serving) {
        pirn_shield_enter();
        drain(server, deadline);
        pirn_shield_leave();
    }
    pthread_mutex_destroy(&server->lock);
    pn_http_routes_fini(&server->routes);
    pn_free(server);
}
