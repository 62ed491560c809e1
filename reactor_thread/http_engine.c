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
 *       come.
 * Lifetime: a watch is freed in its close callback; its descriptor may be closed, and its number used again, before
 *       that.
 * Rejected: curl_multi_wait or _poll on a thread of its own (a thread for nothing); uv_poll kept for a connection's
 *       life (curl hands idle connections out of its sight without a word).
 */
#include "http_engine.h"

#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "base.h"
#include "reactor.h"

/* Idle connections kept for reuse, over all hosts. */
#define CONNECTIONS_IDLE_MAX 16L

typedef struct watch {
    uv_poll_t poll;
    curl_socket_t fd;
} watch;

static struct {
    CURLM *multi; /* NULL: not running                                                                */
    uv_timer_t timer;
    watch **watches; /* by descriptor; curl's are few and small numbers                                */
    size_t watch_slots;
    pn_http_done done;
    pn_list doomed; /* of pn_http_transfer                                                             */
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
    if (pn_linked(&transfer->doomed)) {
        pn_node_unlink(&transfer->doomed);
    }
    (void)curl_multi_remove_handle(engine.multi, transfer->easy);
}

/* Tell who asked for the transfers that are over. */
static void tell_done(void) {
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(engine.multi, &left))) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        /* The message dies with its handle's removal. */
        CURLcode code = message->data.result;
        pn_http_transfer *transfer = transfer_of(message->easy_handle);
        take_out(transfer);
        engine.done(transfer, code);
    }
    for (pn_node *node = pn_list_first(&engine.doomed); node; node = pn_list_first(&engine.doomed)) {
        pn_http_transfer *transfer = PN_CONTAINER_OF(node, pn_http_transfer, doomed);
        take_out(transfer);
        engine.done(transfer, CURLE_OUT_OF_MEMORY);
    }
}

static void act(curl_socket_t fd, int events) {
    int running = 0;
    (void)curl_multi_socket_action(engine.multi, fd, events, &running);
    tell_done();
}

static void socket_ready(uv_poll_t *poll, int status, int events) {
    watch *found = PN_CONTAINER_OF(poll, watch, poll);
    int flags = 0;
    if (status < 0) {
        flags = CURL_CSELECT_ERR; /* curl reads the socket's own error */
    }
    if (events & UV_READABLE) {
        flags |= CURL_CSELECT_IN;
    }
    if (events & UV_WRITABLE) {
        flags |= CURL_CSELECT_OUT;
    }
    act(found->fd, flags); /* may close the watch */
}

static void timer_fired(uv_timer_t *timer) {
    (void)timer;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static void doom(pn_http_transfer *transfer) {
    if (transfer && !pn_linked(&transfer->doomed)) {
        pn_list_append(&engine.doomed, &transfer->doomed);
    }
}

/* Curl: wait for these events on `fd` from now on. */
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context) {
    (void)context;
    (void)socket_context;
    if (what == CURL_POLL_REMOVE) {
        unwatch(fd);
        return 0;
    }
    pn_loop_touch(pn_reactor_current.loop);
    watch *found = find_watch(fd);
    if (!found) {
        found = watch_create(fd);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (!found || uv_poll_start(&found->poll, events, socket_ready) != 0) {
        doom(transfer_of(easy));
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
    (void)context;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int close_socket(void *context, curl_socket_t fd) {
    (void)context;
    unwatch(fd);
    return close(fd);
}

int pn_http_engine_start(pn_http_done done) {
    if (engine.multi) {
        return 0;
    }
    engine.done = done;
    pn_list_init(&engine.doomed);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return PIRN_ENOMEM;
    }
    engine.multi = curl_multi_init();
    if (!engine.multi) {
        curl_global_cleanup();
        return PIRN_ENOMEM;
    }
    pn_loop_touch(pn_reactor_current.loop);
    PN_ASSERT(uv_timer_init(&pn_reactor_current.loop->uv, &engine.timer) == 0);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_TIMERFUNCTION, timeout_wanted);
    (void)curl_multi_setopt(engine.multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_IDLE_MAX);
    return 0;
}

CURLMcode pn_http_engine_add(pn_http_transfer *transfer, CURL *easy) {
    transfer->easy = easy;
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    return curl_multi_add_handle(engine.multi, easy);
}

void pn_http_engine_remove(pn_http_transfer *transfer) {
    take_out(transfer);
}

void pn_http_engine_fini(void) {
    if (!engine.multi) {
        return;
    }
    (void)curl_multi_cleanup(engine.multi); /* closes the connections kept for reuse, through close_socket */
    uv_close((uv_handle_t *)&engine.timer, NULL);
    curl_global_cleanup();
    pn_free(engine.watches);
    engine.watches = NULL;
    engine.watch_slots = 0;
    engine.multi = NULL;
}
