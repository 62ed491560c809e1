/* SPDX-License-Identifier: MIT
 *
 * What: joins libcurl's multi-socket interface to libuv: one uv_poll for each socket curl waits for, one uv_timer for
 *       all.
 *
 * Threads: the reactor's.
 * Invariants: (1) a poll handle is stopped before its descriptor is closed, or libuv aborts with EBADF: so the engine
 *       closes curl's sockets itself (CURLOPT_CLOSESOCKETFUNCTION) and looks for a watch first, because curl may close
 *       a socket that it never told us to stop watching; (2) a watch is found by its descriptor and never by a pointer
 *       kept in curl, which could outlive it; (3) curl is entered from libuv callbacks and messages, never from a
 *       callback of curl; (4) a transfer whose socket cannot be watched is given up when curl has returned: an error
 *       from the callback itself would mark the whole multi handle as dead, and with it every other transfer and all to
 *       come; (5) an idle connection stays watched for its server's end, because curl looks at it only when it needs
 *       one (http_sweep.c closes it).
 * Lifetime: a watch is freed in its close callback; its descriptor may be closed, and its number used again, before
 *       that.
 * Rejected: curl_multi_wait or _poll on a thread of its own (a thread for nothing).
 */
#include "http_engine.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "alloc.h"
#include "base.h"
#include "http_sweep.h"
#include "reactor.h"
#include "runtime.h"

/* Bounds on transfers that move at once, when the options leave them open. Each has one connection. */
#define CONNECTIONS_MAX          4096U
#define CONNECTIONS_PER_HOST_MAX 1024U
/* Never more than this part of the descriptors the process may have, but some in any case. */
#define DESCRIPTORS_SHARE 4U
#define CONNECTIONS_MIN   16U
/* Sweeps for connections that libcurl does not close. */
#define SWEEPS_MAX 3U

typedef struct watch {
    uv_poll_t poll;
    curl_socket_t fd;
    int events; /* that curl waits for; 0: the connection is idle */
    bool dead;  /* idle, and its server has closed it */
} watch;

static struct {
    CURLM *multi; /* NULL: not running                                                                */
    uv_timer_t timer;
    watch **watches; /* by descriptor; curl's are few and small numbers                                */
    size_t watch_slots;
    pn_http_done done;
    pn_list unwatched;           /* of pn_http_transfer: a socket of each cannot be watched */
    unsigned dead_count, sweeps; /* dead watches; sweeps since the last one died                        */
} engine;

static void free_watch(uv_handle_t *handle) {
    pn_free(PN_CONTAINER_OF(handle, watch, poll));
}

static watch *find_watch(curl_socket_t fd) {
    return (size_t)fd < engine.watch_slots ? engine.watches[fd] : NULL;
}

static void unwatch(curl_socket_t fd) {
    watch *found = find_watch(fd);
    if (found) {
        engine.dead_count -= found->dead;
        engine.watches[fd] = NULL;
        pn_loop_touch(pn_reactor_current.loop);
        uv_close((uv_handle_t *)&found->poll, free_watch); /* takes the descriptor out of epoll at once */
    }
}

/* Room for a watch of `fd`. */
static bool reserve(curl_socket_t fd) {
    size_t slots = engine.watch_slots ? engine.watch_slots : 64;
    while (slots <= (size_t)fd) {
        slots *= 2;
    }
    if (slots == engine.watch_slots) {
        return true;
    }
    watch **grown = pn_realloc(engine.watches, slots * sizeof(watch *));
    if (!grown) {
        return false;
    }
    memset(grown + engine.watch_slots, 0, (slots - engine.watch_slots) * sizeof(watch *));
    engine.watches = grown;
    engine.watch_slots = slots;
    return true;
}

static watch *watch_create(curl_socket_t fd) {
    watch *made = reserve(fd) ? pn_calloc(1, sizeof *made) : NULL;
    if (!made) {
        return NULL;
    }
    if (uv_poll_init(&pn_reactor_current.loop->uv, &made->poll, fd) != 0) {
        pn_free(made);
        return NULL;
    }
    made->fd = fd;
    engine.watches[fd] = made;
    return made;
}

/* NULL for handles of curl's own. */
static pn_http_transfer *transfer_of(CURL *easy) {
    char *context = NULL;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &context);
    return (pn_http_transfer *)(void *)context;
}

static void take_out(pn_http_transfer *transfer) {
    if (pn_linked(&transfer->unwatched)) {
        pn_node_unlink(&transfer->unwatched);
    }
    if (transfer->pass.host && !pn_linked(&transfer->pass.waiting)) {
        (void)curl_multi_remove_handle(engine.multi, transfer->easy);
    }
    pn_http_gate_leave(&transfer->pass);
}

/* Start the transfers for which there is room. */
static void start_waiting(void) {
    for (pn_http_pass *pass = pn_http_gate_next(); pass; pass = pn_http_gate_next()) {
        pn_http_transfer *transfer = PN_CONTAINER_OF(pass, pn_http_transfer, pass);
        if (curl_multi_add_handle(engine.multi, transfer->easy) != CURLM_OK) {
            pn_http_gate_leave(pass);
            engine.done(transfer, CURLE_OUT_OF_MEMORY);
        }
    }
}

/* Tell who asked for the transfers that are over. */
static void tell_done(void) {
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(engine.multi, &left))) {
        /* The message dies with its handle's removal. */
        CURLcode code = message->data.result;
        pn_http_transfer *transfer = message->msg == CURLMSG_DONE ? transfer_of(message->easy_handle) : NULL;
        if (!transfer) {
            continue;
        }
        take_out(transfer);
        engine.done(transfer, code);
    }
    for (pn_node *node = pn_list_first(&engine.unwatched); node; node = pn_list_first(&engine.unwatched)) {
        pn_http_transfer *transfer = PN_CONTAINER_OF(node, pn_http_transfer, unwatched);
        take_out(transfer);
        engine.done(transfer, CURLE_OUT_OF_MEMORY);
    }
    start_waiting();
}

static void act(curl_socket_t fd, int events) {
    int running = 0;
    (void)curl_multi_socket_action(engine.multi, fd, events, &running);
    tell_done();
}

static void socket_ready(uv_poll_t *poll, int status, int events) {
    watch *found = PN_CONTAINER_OF(poll, watch, poll);
    curl_socket_t fd = found->fd;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    if (status < 0) {
        /* An error of the socket. CURL_CSELECT_ERR alone makes curl fail the transfer without a look at the socket. So
         * let curl read and write: the call gives the socket's own error, and curl may try again elsewhere. */
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT | CURL_CSELECT_ERR;
    }
    act(fd, flags); /* may close the watch; its memory stays until the close callback */
    if (status < 0 && find_watch(fd) == found && found->events && !uv_is_active((uv_handle_t *)&found->poll)) {
        /* libuv has stopped to watch, and curl still waits. */
        pn_loop_touch(pn_reactor_current.loop);
        (void)uv_poll_start(&found->poll, found->events, socket_ready);
    }
}

/* An idle connection's server has closed or reset it. */
static void idle_ended(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    watch *found = PN_CONTAINER_OF(poll, watch, poll);
    (void)uv_poll_stop(poll);
    found->dead = true;
    engine.dead_count++;
    engine.sweeps = 0;
    /* Nobody waits for these bytes, and curl takes a connection with bytes to read for one that lives. */
    char rest[4096];
    for (int i = 0; i < 16 && recv(found->fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++) {
    }
    pn_http_sweep_ask();
}

static void swept(void) {
    tell_done();
    if (engine.dead_count > 0 && ++engine.sweeps < SWEEPS_MAX) {
        pn_http_sweep_ask();
    }
}

/* Curl waits for nothing on `fd` any more: its connection is idle now, or about to be closed. */
static void watch_idle(curl_socket_t fd) {
    watch *found = find_watch(fd);
    if (found) {
        found->events = 0;
        pn_loop_touch(pn_reactor_current.loop);
        if (uv_poll_start(&found->poll, UV_DISCONNECT, idle_ended) != 0) {
            unwatch(fd);
        }
    }
}

static void timer_fired(uv_timer_t *timer) {
    (void)timer;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static void give_up_unwatched(pn_http_transfer *transfer) {
    if (transfer && !pn_linked(&transfer->unwatched)) {
        pn_list_append(&engine.unwatched, &transfer->unwatched);
    }
}

/* Curl: wait for these events on `fd` from now on. */
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context) {
    (void)context;
    (void)socket_context;
    if (what == CURL_POLL_REMOVE) {
        watch_idle(fd);
        return 0;
    }
    pn_loop_touch(pn_reactor_current.loop);
    watch *found = find_watch(fd);
    if (!found) {
        found = watch_create(fd);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (!found) {
        give_up_unwatched(transfer_of(easy));
        return 0;
    }
    engine.dead_count -= found->dead;
    found->dead = false;
    found->events = events;
    if (uv_poll_start(&found->poll, events, socket_ready) != 0) {
        give_up_unwatched(transfer_of(easy));
    }
    return 0;
}

/* Curl: come back after `timeout_ms`; 0: soon, but not from inside of this call, which a timer grants. */
static int timeout_wanted(CURLM *multi, long timeout_ms, void *context) {
    (void)multi;
    (void)context;
    pn_loop_touch(pn_reactor_current.loop);
    if (timeout_ms < 0) {
        (void)uv_timer_stop(&engine.timer);
    } else {
        PN_ASSERT(uv_timer_start(&engine.timer, timer_fired, (uint64_t)timeout_ms, 0) == 0);
    }
    return 0;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    const pn_http_transfer *transfer = context;
    (void)purpose;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)&address->addr;
    if (address->family == AF_INET6 && six->sin6_scope_id == 0) {
        six->sin6_scope_id = transfer->scope_of(transfer, &six->sin6_addr);
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int close_socket(void *context, curl_socket_t fd) {
    (void)context;
    unwatch(fd);
    return close(fd);
}

/* Mark libcurl's own wake-up pair, which it makes without FD_CLOEXEC, so that a program's child inherits none of it.
 * The pair is found by what it is: two unnamed stream sockets that were not there before. */
static void keep_from_children(const bool *taken, int count) {
    for (int fd = 0; fd < count; fd++) {
        struct sockaddr_un name;
        socklen_t bytes = sizeof name;
        int flags = taken[fd] ? -1 : fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC) && getsockname(fd, (struct sockaddr *)&name, &bytes) == 0 &&
            name.sun_family == AF_UNIX && bytes == sizeof(sa_family_t)) {
            (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        }
    }
}

static CURLM *make_multi(void) {
    /* The pair gets the lowest free numbers. */
    int low = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int count = (low > 0 ? low : 0) + 64;
    bool *taken = pn_calloc((size_t)count, sizeof *taken);
    if (low >= 0) {
        close(low);
    }
    for (int fd = 0; taken && fd < count; fd++) {
        taken[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    CURLM *multi = taken ? curl_multi_init() : NULL;
    if (multi) {
        keep_from_children(taken, count);
    }
    pn_free(taken);
    return multi;
}

/* The bounds of the options, or the defaults for 0. */
static void set_bounds(void) {
    const pirn_options *options = &pn_runtime_current.options;
    struct rlimit descriptors;
    unsigned total = options->fetch_connections_max, per_host = options->fetch_connections_per_host_max;
    if (total == 0) {
        total = CONNECTIONS_MAX;
        if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur / DESCRIPTORS_SHARE < total) {
            total = (unsigned)(descriptors.rlim_cur / DESCRIPTORS_SHARE);
            total = total < CONNECTIONS_MIN ? CONNECTIONS_MIN : total;
        }
    }
    pn_http_gate_init(total, per_host ? per_host : CONNECTIONS_PER_HOST_MAX);
    /* Idle connections kept for reuse; and those idle and in use together: an idle one makes room for a new one. */
    (void)curl_multi_setopt(engine.multi, CURLMOPT_MAXCONNECTS, (long)total);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)total);
}

int pn_http_engine_start(pn_http_done done) {
    if (engine.multi) {
        return 0;
    }
    engine.done = done;
    pn_list_init(&engine.unwatched);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return PIRN_ENOMEM;
    }
    engine.multi = make_multi();
    if (!engine.multi) {
        curl_global_cleanup();
        return PIRN_ENOMEM;
    }
    pn_loop_touch(pn_reactor_current.loop);
    PN_ASSERT(uv_timer_init(&pn_reactor_current.loop->uv, &engine.timer) == 0);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_TIMERFUNCTION, timeout_wanted);
    set_bounds();
    pn_http_sweep_start(engine.multi, swept);
    return 0;
}

int pn_http_engine_add(pn_http_transfer *transfer, CURL *easy, const char *host) {
    transfer->easy = easy;
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    int error = pn_http_gate_ask(&transfer->pass, host);
    if (error == 0) {
        start_waiting();
    }
    return error;
}

void pn_http_engine_remove(pn_http_transfer *transfer) {
    take_out(transfer);
    start_waiting();
}

void pn_http_engine_fini(void) {
    if (!engine.multi) {
        return;
    }
    (void)curl_multi_cleanup(engine.multi); /* closes the connections kept for reuse, through close_socket */
    uv_close((uv_handle_t *)&engine.timer, NULL);
    pn_http_sweep_fini();
    curl_global_cleanup();
    pn_free(engine.watches);
    engine.watches = NULL;
    engine.watch_slots = 0;
    engine.multi = NULL;
}
